/** Errors of TUN devices: Node's fields, and a sentence that says what to do. */

import { getSystemErrorName } from 'node:util';

/** Like Node's system errors: `code` ('EPERM'), `errno` (negative), `syscall`. */
export class TunError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  /** @param errno negative */
  constructor(errno: number, syscall: string, sentence: string) {
    const code = errno === -77 ? 'EBADFD' : getSystemErrorName(errno);
    super(`${code}: ${sentence}`);
    this.name = 'TunError';
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
  }
}

const EPERM = -1;
const ENOENT = -2;
const ENXIO = -6;
const EACCES = -13;
const EBUSY = -16;
const EEXIST = -17;
const ENODEV = -19;
const EINVAL = -22;
const EMFILE = -24;
const EAFNOSUPPORT = -97;
const EOPNOTSUPP = -95;
const ENETDOWN = -100;

const GET_RIGHTS = 'run as root, or under `unshare -Urn`, or give the container `--cap-add NET_ADMIN`';
const GET_DEVICE = 'run `modprobe tun`, or run the container with `--device /dev/net/tun`';

/** The error for an `open` that failed. `exists`: an interface of this name is there. */
export function openError(errno: number, syscall: string, name: string, exists: boolean): TunError {
  switch (errno) {
    case ENOENT:
      return new TunError(errno, syscall, `there is no /dev/net/tun; ${GET_DEVICE}`);
    case ENXIO:
    case ENODEV:
      return new TunError(errno, syscall, `the kernel has no TUN driver behind /dev/net/tun; ${GET_DEVICE}`);
    case EACCES:
      return new TunError(errno, syscall, 'no permission to open /dev/net/tun; run as root,'
        + ' or make it readable and writable for this user');
    case EPERM:
      return new TunError(errno, syscall, exists
        ? `the device ${name} belongs to another user, and there is no CAP_NET_ADMIN; ${GET_RIGHTS}`
        : `no permission to make a TUN device (no CAP_NET_ADMIN); ${GET_RIGHTS}`);
    case EBUSY:
      return new TunError(errno, syscall, `the device ${name} is in use by another process; stop that, or choose another name`);
    case EINVAL:
      if (exists) {
        return new TunError(EBUSY, syscall, `the name ${name} is taken by an interface that is not a (single-queue) TUN device;`
          + ' choose another');
      }
      return new TunError(errno, syscall, `the kernel refused to make a TUN device named '${name}'`);
    case EMFILE:
      return new TunError(errno, syscall, 'too many open files; raise the limit (`ulimit -n`)');
    default:
      return new TunError(errno, syscall, `the TUN device ${name || 'tun%d'} could not be opened`);
  }
}

/** The error for a failed change (`what`, such as 'set the MTU to 9000') of device `name`. */
export function configureError(errno: number, syscall: string, name: string, what: string): TunError {
  switch (errno) {
    case EPERM:
      return new TunError(errno, syscall, `${name}: no permission to ${what} (no CAP_NET_ADMIN); ${GET_RIGHTS}`);
    case EEXIST:
      return new TunError(errno, syscall, `${name}: cannot ${what}: it is there already`);
    case ENETDOWN:
      return new TunError(errno, syscall, `${name}: cannot ${what} while the device is down`);
    default:
      return new TunError(errno, syscall, `${name}: the kernel refused to ${what}`);
  }
}

/** Like `configureError`, for IPv6 addresses. */
export function ipv6Error(errno: number, syscall: string, name: string, what: string): TunError {
  switch (errno) {
    case EACCES:
      return new TunError(errno, syscall, `${name}: cannot ${what}: IPv6 is disabled here; leave the address out,`
        + ' or run the container with `--sysctl net.ipv6.conf.all.disable_ipv6=0`');
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
      return new TunError(errno, syscall, `${name}: cannot ${what}: the kernel has no IPv6; leave the address out`);
    default:
      return configureError(errno, syscall, name, what);
  }
}

/** An option that makes no sense. */
export function optionError(sentence: string): TunError {
  return new TunError(EINVAL, 'openTun', sentence);
}

/** An address that another interface has. */
export function addressTakenError(name: string, address: string): TunError {
  return new TunError(EEXIST, 'RTM_NEWADDR',
    `${name}: the address ${address} belongs to another interface of this machine; choose another`);
}

/** The device was deleted, or its descriptor broke, while it was in use. */
export function downError(errno: number, name: string): TunError {
  return new TunError(-errno, 'read', `the device ${name} is gone: someone deleted it`);
}
