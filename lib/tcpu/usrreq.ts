/**
 * The report's own interface (3.2, figures 3 to 5), by the name of its file there (`tcpu_usrreq.c`): descriptors,
 * arguments, errors. What the calls do is told where users see them (lib/api.ts); how they wait, in
 * waiting-socket.ts.
 */

import type { Clock } from '../clock.ts';
import { EAFNOSUPPORT, EBADF, EFAULT, EINVAL, EOPNOTSUPP, EPROTONOSUPPORT, errnoName } from '../errno.ts';
import { AF_INET, AF_INET6, MSG_MORE, MSG_OOB, MSG_PEEK, MSG_TRUNC, SOCK_STREAM } from '../socket.ts';
import type { BsdSocket, SocketAddress, SocketProvider, TcpInfo } from '../socket.ts';
import { WaitingSocket } from './waiting-socket.ts';

/**
 * Protocol of `socket_tcpu`: TCPU over TCPK. Like Linux's IPPROTO_MPTCP it lies beyond the eight bits of IP's
 * protocol field, since it never appears there; the report is RR-2650.
 */
export const IPPROTO_TCPK = 2650;
/** Flag of `send_tcpu`: this message leaves at once, however short it is. */
export const TF_NODELAY = 0x10000;

/** The first descriptor: 0, 1 and 2 mean something else to everybody. */
const FIRST_DESCRIPTOR = 3;

/** `sockaddr_in` and `sockaddr_in6`. */
export interface SockAddr {
  /** Numeric; '' or nothing is any, '0.0.0.0' or '::'. */
  address?: string;
  port: number;
  /** AF_INET, AF_INET6, 'IPv4', 'IPv6', or nothing. Is not looked at: the address tells. */
  family?: number | string;
}

/** An error of a call, as Node shapes those of the system. */
export interface TcpuError extends Error {
  /** 'ECONNREFUSED' … */
  code: string;
  /** Negative. */
  errno: number;
  /** 'connect_tcpu' … */
  syscall: string;
  address?: string;
  port?: number;
}

function tcpuError(errno: number, syscall: string, at?: SockAddr): TcpuError {
  const code = errnoName(-errno);
  const where = at === undefined ? '' : ` ${at.address ?? ''}:${at.port}`;
  const error = Object.assign(new Error(`${syscall} ${code}${where}`), { errno, code, syscall });
  return at === undefined ? error : Object.assign(error, { address: at.address ?? '', port: at.port });
}

export interface UserRequestsOptions {
  clock: Clock;
  /** Where sockets over TCPK come from, and those over UDP. */
  tcpk: () => SocketProvider | Promise<SocketProvider>;
  udp: () => SocketProvider | Promise<SocketProvider>;
}

/** Descriptors and the calls on them. */
export class UserRequests {
  readonly #options: UserRequestsOptions;
  readonly #table: (WaitingSocket | null)[] = [];

  constructor(options: UserRequestsOptions) {
    this.#options = options;
  }

  #add(socket: BsdSocket): number {
    const waiting = new WaitingSocket(socket, this.#options.clock);
    let index = this.#table.indexOf(null);
    if (index < 0) index = this.#table.length;
    this.#table[index] = waiting;
    return FIRST_DESCRIPTOR + index;
  }

  #socket(descriptor: number, syscall: string): WaitingSocket {
    const socket = this.#table[descriptor - FIRST_DESCRIPTOR] ?? null;
    if (socket === null) throw tcpuError(-EBADF, syscall);
    return socket;
  }

  async socket(domain: number, type: number, protocol: number): Promise<number> {
    if (domain !== AF_INET && domain !== AF_INET6) throw tcpuError(-EAFNOSUPPORT, 'socket_tcpu');
    if (type !== SOCK_STREAM) throw tcpuError(-EPROTONOSUPPORT, 'socket_tcpu');
    const provider = await (protocol === IPPROTO_TCPK ? this.#options.tcpk() : this.#options.udp());
    const socket = provider.socket(domain, SOCK_STREAM, 0);
    if (typeof socket === 'number') throw tcpuError(socket, 'socket_tcpu');
    return this.#add(socket);
  }

  async bind(descriptor: number, address: SockAddr): Promise<number> {
    const socket = this.#socket(descriptor, 'bind_tcpu');
    checkAddress(address, 'bind_tcpu');
    const result = socket.socket.bind(address.address ?? '', address.port);
    if (result < 0) throw tcpuError(result, 'bind_tcpu', address);
    return 0;
  }

  accept(descriptor: number, address?: Partial<SocketAddress> | null): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#socket(descriptor, 'accept_tcpu').accept((result) => {
        if (typeof result === 'number') {
          reject(tcpuError(result, 'accept_tcpu'));
          return;
        }
        if (typeof address === 'object' && address !== null) Object.assign(address, result.getpeername());
        resolve(this.#add(result));
      });
    });
  }

  connect(descriptor: number, address: SockAddr): Promise<number> {
    return new Promise((resolve, reject) => {
      const socket = this.#socket(descriptor, 'connect_tcpu');
      checkAddress(address, 'connect_tcpu');
      const { address: text = '', port } = address;
      socket.connect(text, port, (result) => {
        if (result < 0) reject(tcpuError(result, 'connect_tcpu', { address: text, port }));
        else resolve(0);
      });
    });
  }

  send(descriptor: number, buffer: Uint8Array, length: number, flags: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const socket = this.#socket(descriptor, 'send_tcpu');
      checkBuffer(buffer, length, 'send_tcpu');
      checkFlags(flags, TF_NODELAY | MSG_MORE | MSG_OOB, 'send_tcpu');
      socket.send(buffer, length, flags & ~TF_NODELAY, (flags & TF_NODELAY) !== 0, (result) => {
        if (result < 0) reject(tcpuError(result, 'send_tcpu'));
        else resolve(result);
      });
    });
  }

  receive(descriptor: number, buffer: Uint8Array, length: number, flags: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const socket = this.#socket(descriptor, 'recv_tcpu');
      checkBuffer(buffer, length, 'recv_tcpu');
      checkFlags(flags, MSG_PEEK | MSG_TRUNC, 'recv_tcpu');
      socket.receive(buffer, length, flags, (result) => {
        if (result < 0) reject(tcpuError(result, 'recv_tcpu'));
        else resolve(result);
      });
    });
  }

  close(descriptor: number): Promise<number> {
    return new Promise((resolve) => {
      const socket = this.#socket(descriptor, 'close_tcpu');
      // From now on the number may be another socket's.
      this.#table[descriptor - FIRST_DESCRIPTOR] = null;
      socket.close(resolve);
    });
  }

  setOption(descriptor: number, level: number, option: number, value: number | string): number {
    const result = this.#socket(descriptor, 'setsockopt_tcpu').setOption(level, option, value);
    if (result < 0) throw tcpuError(result, 'setsockopt_tcpu');
    return 0;
  }

  getOption(descriptor: number, level: number, option: number): number | string | TcpInfo {
    const result = this.#socket(descriptor, 'getsockopt_tcpu').getOption(level, option);
    if (typeof result === 'number' && result < -1) throw tcpuError(result, 'getsockopt_tcpu');
    return result;
  }

  socketName(descriptor: number): SocketAddress | null {
    return this.#socket(descriptor, 'getsockname_tcpu').socket.getsockname();
  }

  peerName(descriptor: number): SocketAddress | null {
    return this.#socket(descriptor, 'getpeername_tcpu').socket.getpeername();
  }
}

// JavaScript reaches these without a compiler's word.

function checkAddress(at: SockAddr, syscall: string): void {
  if (typeof at !== 'object' || at === null) throw tcpuError(-EFAULT, syscall);
  const { address = '', port } = at;
  if (typeof address !== 'string' || !Number.isInteger(port) || port < 0 || port > 65_535) throw tcpuError(-EINVAL, syscall);
}

function checkBuffer(buffer: Uint8Array, length: number, syscall: string): void {
  if (!(buffer instanceof Uint8Array)) throw tcpuError(-EFAULT, syscall);
  if (!Number.isInteger(length) || length < 0 || length > buffer.length) throw tcpuError(-EINVAL, syscall);
}

function checkFlags(flags: number, known: number, syscall: string): void {
  if (!Number.isInteger(flags) || (flags & ~known) !== 0) throw tcpuError(-EOPNOTSUPP, syscall);
}
