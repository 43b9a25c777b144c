/**
 * What can be said about TCP for one socket or one server: the `tcp` option of `connect()`, `new Socket()` and
 * `createServer()`. An extension: Node has nothing of the kind. For a whole stack it is `TcpOptions`.
 */

import { IPPROTO_TCP, TCP_CONGESTION } from '../socket.ts';
import type { BsdSocket, SocketProvider } from '../socket.ts';
import { congestionNames } from '../tcp/congestion/congestion-control.ts';
import { invalidArgType, invalidArgValue } from './errors.ts';

export interface SocketTcpOptions {
  /** Congestion control: 'cubic', 'bbr' or 'newreno' (also 'reno'). Default: what the stack or the attachment was made with. */
  congestion?: string;
}

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
  const { congestion } = tcp as SocketTcpOptions;
  if (congestion !== undefined) validateCongestion(congestion, 'options.tcp.congestion');
  return { congestion };
}

/** Sets them on a low-level socket. Returns 0 or a negative errno: a stack in another process may know less than we do. */
export function applyTcp(handle: BsdSocket, tcp: SocketTcpOptions): number {
  return tcp.congestion === undefined ? 0 : handle.setsockopt(IPPROTO_TCP, TCP_CONGESTION, tcp.congestion);
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
