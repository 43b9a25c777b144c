/**
 * Congestion control as the engine sees it. The engine finds out what was acknowledged and what was
 * lost (input.ts, recovery.ts) and keeps within `tcb.cwnd`; an implementation moves `cwnd` and
 * `ssthresh`. All in bytes. One object per connection.
 */

import type { Tcb } from '../tcb.ts';
import { Cubic } from './cubic.ts';
import { NewReno } from './newreno.ts';

export interface CongestionControl {
  /** As TCP_CONGESTION and `ss` show it. */
  readonly name: string;
  /**
   * `acked` new bytes were acknowledged while cwnd was the limit and no loss is being repaired, or in
   * slow start after a timeout.
   */
  onAck(tcb: Tcb, acked: number, nowMs: number): void;
  /** Loss was noticed by duplicate ACKs or SACK: sets `ssthresh`, and `cwnd` for the recovery. */
  onLoss(tcb: Tcb, nowMs: number): void;
  /** The recovery is over: the window to go on with. */
  onRecovered(tcb: Tcb, nowMs: number): void;
  /** The retransmission timer fired: sets `ssthresh` and `cwnd` (RFC 5681 (4)). `first`: not a repeated one. */
  onTimeout(tcb: Tcb, first: boolean, nowMs: number): void;
  /** Nothing was sent for more than an RTO (RFC 5681 4.1). */
  onIdle(tcb: Tcb, nowMs: number): void;
}

const makers = new Map<string, () => CongestionControl>([
  ['cubic', () => new Cubic()],
  ['newreno', () => new NewReno()],
  // Linux's name for it, which iperf3 -C and others use.
  ['reno', () => new NewReno()],
]);

export function congestionNames(): string[] {
  return [...makers.keys()];
}

/** A new object for one connection, or undefined when there is no such algorithm. */
export function createCongestionControl(name: string): CongestionControl | undefined {
  return makers.get(name)?.();
}
