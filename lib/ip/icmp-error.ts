/**
 * What arrived ICMP errors mean to sockets: the errno that Linux gives (net/ipv4/icmp.c and
 * net/ipv6/icmp.c, icmp_err_convert and tab_unreach), and the one error object that is filled again
 * and again.
 */

import {
  EACCES, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP, EPROTO,
} from '../errno.ts';
import {
  ICMPV6_PACKET_TOO_BIG, ICMPV6_TIME_EXCEEDED, ICMPV6_UNREACHABLE, ICMP_PARAMETER_PROBLEM, ICMP_UNREACHABLE,
} from '../wire/icmp.ts';
import type { IcmpError } from './packet.ts';

const EMPTY = new Uint8Array(0);

export class IcmpErrorRecord implements IcmpError {
  version = 4;
  type = 0;
  code = 0;
  errno = 0;
  fatal = false;
  mtu = 0;
  from0 = 0;
  from1 = 0;
  from2 = 0;
  from3 = 0;
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  dst0 = 0;
  dst1 = 0;
  dst2 = 0;
  dst3 = 0;
  slab: Uint8Array = EMPTY;
  view: DataView = new DataView(EMPTY.buffer);
  offset = 0;
  length = 0;
}

/** By code of ICMP unreachable: errno, and whether it is final. */
const UNREACHABLE_ERRNO = [
  ENETUNREACH, EHOSTUNREACH, ENOPROTOOPT, ECONNREFUSED, EMSGSIZE, EOPNOTSUPP, ENETUNREACH, EHOSTDOWN,
  ENONET, ENETUNREACH, EHOSTUNREACH, ENETUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH,
];
const UNREACHABLE_FATAL = [
  false, false, true, true, false, false, true, true, true, true, true, false, false, true, true, true,
];

/** By code of ICMPv6 unreachable. */
const UNREACHABLE6_ERRNO = [ENETUNREACH, EACCES, EHOSTUNREACH, EHOSTUNREACH, ECONNREFUSED, EACCES, EACCES];
const UNREACHABLE6_FATAL = [false, true, false, false, true, true, true];

/** Sets `errno` and `fatal` from `version`, `type` and `code`. */
export function classifyIcmpError(error: IcmpErrorRecord): void {
  const { type, code } = error;
  error.errno = EHOSTUNREACH;
  error.fatal = false;
  if (error.version === 4) {
    if (type === ICMP_UNREACHABLE) {
      error.errno = UNREACHABLE_ERRNO[code] ?? EHOSTUNREACH;
      error.fatal = UNREACHABLE_FATAL[code] ?? false;
    } else if (type === ICMP_PARAMETER_PROBLEM) {
      error.errno = EPROTO;
      error.fatal = true;
    }
  } else if (type === ICMPV6_UNREACHABLE) {
    error.errno = UNREACHABLE6_ERRNO[code] ?? EPROTO;
    error.fatal = UNREACHABLE6_FATAL[code] ?? true;
  } else if (type === ICMPV6_PACKET_TOO_BIG) {
    error.errno = EMSGSIZE;
  } else if (type !== ICMPV6_TIME_EXCEEDED) {
    error.errno = EPROTO;
    error.fatal = true;
  }
}
