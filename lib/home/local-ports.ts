/**
 * Where a home's local ports and flows come from. The kernel-style TCP owns them (lib/kernel/kernel-ports.ts);
 * TCP in an application asks TCPK for them (lib/tcpu/channel-ports.ts), or takes those of a UDP socket.
 */

import type { Tcb } from '../tcp/tcb.ts';
import { MAPPED, isMapped } from '../wire/address.ts';

/** What a bound socket tells of itself. */
export interface PortUser {
  /** Bound address: words; all zero for `::`, zero but for the mapped prefix for `0.0.0.0`. */
  readonly b0: number;
  readonly b1: number;
  readonly b2: number;
  readonly b3: number;
  readonly v6only: boolean;
  readonly reuseAddress: boolean;
  readonly reusePort: boolean;
  readonly listening: boolean;
  /** Of a binding of an application: which. */
  readonly owner?: object;
  /** Its user. */
  readonly uid: number;
}

/** Whether what is bound as `user` is covers this local address. */
export function covers(user: PortUser, l0: number, l1: number, l2: number, l3: number): boolean {
  if (user.b0 === l0 && user.b1 === l1 && user.b2 === l2 && user.b3 === l3) return true;
  if ((user.b0 | user.b1 | user.b3) !== 0) return false;
  const v4 = isMapped(l0, l1, l2);
  return user.b2 === MAPPED ? v4 : user.b2 === 0 && !(v4 && user.v6only);
}

export interface LocalPorts {
  /** Binds `user` to `port` (0: one that is free). Returns the port, or a negative errno. */
  bind(user: PortUser, port: number): number;
  /** A bound socket is going to listen: 0, or -EADDRINUSE when that makes it conflict with another. */
  listen(user: PortUser, port: number): number;
  unbind(user: PortUser, port: number): void;
  /**
   * Active open: completes `tcb.flow` and `tcb.localPort` for a connection to `tcb.remotePort`, from the port
   * that `user` is bound to or from one of its choice. Returns 0, or a negative errno.
   */
  connect(tcb: Tcb, user: PortUser | null, port: number): number;
  /** The TCB has taken its place in the connection table (`tcb.entry`). False: its flow cannot be had. */
  opened(tcb: Tcb): boolean;
  /** The flow at `entry` of the connection table is no more, TIME-WAIT included. */
  closed(entry: number): void;
}
