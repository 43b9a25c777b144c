/** Linux's errno numbers (asm-generic/errno.h), as the low-level sockets return them: negated. */

export const EPERM = 1;
export const EINTR = 4;
export const EBADF = 9;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const EBUSY = 16;
export const EINVAL = 22;
export const EMFILE = 24;
export const EPIPE = 32;
export const ENONET = 64;
export const EPROTO = 71;
export const EDESTADDRREQ = 89;
export const EMSGSIZE = 90;
export const EPROTOTYPE = 91;
export const ENOPROTOOPT = 92;
export const EPROTONOSUPPORT = 93;
export const EOPNOTSUPP = 95;
export const EAFNOSUPPORT = 97;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const EISCONN = 106;
export const ENOTCONN = 107;
export const ESHUTDOWN = 108;
export const ETIMEDOUT = 110;
export const ECONNREFUSED = 111;
export const EHOSTDOWN = 112;
export const EHOSTUNREACH = 113;
export const EALREADY = 114;
export const EINPROGRESS = 115;
export const ECANCELED = 125;

const names = new Map<number, string>([
  [EPERM, 'EPERM'], [EINTR, 'EINTR'], [EBADF, 'EBADF'], [EAGAIN, 'EAGAIN'], [ENOMEM, 'ENOMEM'], [EACCES, 'EACCES'],
  [EFAULT, 'EFAULT'], [EBUSY, 'EBUSY'], [EINVAL, 'EINVAL'], [EMFILE, 'EMFILE'], [EPIPE, 'EPIPE'],
  [ENONET, 'ENONET'], [EPROTO, 'EPROTO'],
  [EDESTADDRREQ, 'EDESTADDRREQ'], [EMSGSIZE, 'EMSGSIZE'], [EPROTOTYPE, 'EPROTOTYPE'], [ENOPROTOOPT, 'ENOPROTOOPT'],
  [EPROTONOSUPPORT, 'EPROTONOSUPPORT'], [EOPNOTSUPP, 'EOPNOTSUPP'], [EAFNOSUPPORT, 'EAFNOSUPPORT'],
  [EADDRINUSE, 'EADDRINUSE'], [EADDRNOTAVAIL, 'EADDRNOTAVAIL'], [ENETDOWN, 'ENETDOWN'], [ENETUNREACH, 'ENETUNREACH'],
  [ECONNABORTED, 'ECONNABORTED'], [ECONNRESET, 'ECONNRESET'], [ENOBUFS, 'ENOBUFS'], [EISCONN, 'EISCONN'],
  [ENOTCONN, 'ENOTCONN'], [ESHUTDOWN, 'ESHUTDOWN'], [ETIMEDOUT, 'ETIMEDOUT'], [ECONNREFUSED, 'ECONNREFUSED'], [EHOSTDOWN, 'EHOSTDOWN'],
  [EHOSTUNREACH, 'EHOSTUNREACH'], [EALREADY, 'EALREADY'], [EINPROGRESS, 'EINPROGRESS'], [ECANCELED, 'ECANCELED'],
]);

/** The name of errno `n` (positive), as Node puts it into `error.code`. */
export function errnoName(n: number): string {
  return names.get(n) ?? `errno ${n}`;
}
