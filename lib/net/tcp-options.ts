/**
 * What can be said about TCP for one socket or one server: the `tcp` option of `connect()`, `new Socket()` and
 * `createServer()`. An extension: Node has nothing of the kind. For a whole stack it is `TcpOptions`.
 */

import { IPPROTO_TCP, TCP_CONGESTION, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT } from '../socket.ts';
import type { BsdSocket, SocketProvider } from '../socket.ts';
import { congestionNames } from '../tcp/congestion/congestion-control.ts';
import { invalidArgType, invalidArgValue, validateInt32 } from './errors.ts';

export interface SocketTcpOptions {
  /** Congestion control: 'cubic', 'bbr' or 'newreno' (also 'reno'). Default: what the stack or the attachment was made with. */
  congestion?: string;
  /**
   * Fast Open (RFC 7413), off by default: for programs that can live with it that a request arrives twice. A server takes
   * data that comes with the SYN; a number says of how many connections at one time (`true`: 128). A client sends its first
   * write with the SYN where the server has given it a cookie before; it is 'connect'ed at once then, and hears of a server
   * that refuses, or does not answer, by 'error' afterwards.
   */
  fastOpen?: boolean | number;
}

/** Connections of a server that are open by their SYN alone, when it does not say how many. */
const FAST_OPEN_QUEUE = 128;

/** @throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE with the names that there are */
export function validateCongestion(name: unknown, option: string): asserts name is string {
  if (typeof name !== 'string') throw invalidArgType(option, 'of type string', name);
  const names = congestionNames();
  if (!names.includes(name)) {
    throw invalidArgValue(option, name, `is not a congestion control that there is; there are ${names.join(', ')}`);
  }
}

/** Checks `options.tcp`. @throws as `validateCongestion` */
export function validateTcp(tcp: unknown): SocketTcpOptions {
  if (typeof tcp !== 'object' || tcp === null) throw invalidArgType('options.tcp', 'of type object', tcp);
  const { congestion, fastOpen } = tcp as SocketTcpOptions;
  if (congestion !== undefined) validateCongestion(congestion, 'options.tcp.congestion');
  if (fastOpen !== undefined && typeof fastOpen !== 'boolean') validateInt32(fastOpen, 'options.tcp.fastOpen', 0);
  return { congestion, fastOpen };
}

/** Sets them on a low-level socket. Returns 0 or a negative errno: a stack in another process may know less than we do. */
export function applyTcp(handle: BsdSocket, tcp: SocketTcpOptions): number {
  const { congestion, fastOpen } = tcp;
  let result = congestion === undefined ? 0 : handle.setsockopt(IPPROTO_TCP, TCP_CONGESTION, congestion);
  if (result === 0 && fastOpen !== undefined) {
    // Of the two, a socket has use for one.
    result = handle.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, fastOpen === true ? FAST_OPEN_QUEUE : Number(fastOpen));
    if (result === 0) result = handle.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, fastOpen === false || fastOpen === 0 ? 0 : 1);
  }
  return result;
}

/** A provider all of whose sockets have these options; `socket()` then also fails as `applyTcp` does. */
export function withTcp(provider: SocketProvider, tcp: SocketTcpOptions): SocketProvider {
  return {
    clock: provider.clock,
    socket(domain: number, type: number, protocol: number): BsdSocket | number {
      const handle = provider.socket(domain, type, protocol);
      if (typeof handle === 'number') return handle;
      const result = applyTcp(handle, tcp);
      if (result === 0) return handle;
      handle.close();
      return result;
    },
  };
}
