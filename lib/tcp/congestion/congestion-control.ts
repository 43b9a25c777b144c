/**
 * Congestion control as the engine sees it. The engine finds out what was acknowledged and what was
 * lost (input.ts, recovery.ts) and keeps within `tcb.cwnd`; an implementation moves `cwnd` and
 * `ssthresh`. All in bytes. One object per connection.
 */

import type { Tcb } from '../tcb.ts';
import { Bbr } from './bbr.ts';
import { Cubic } from './cubic.ts';
import { NewReno } from './newreno.ts';

/**
 * What one arrival has told of the path (delivery rate: draft-cheng-iccrg-delivery-rate-estimation, section 3).
 * One object, filled again for each acknowledgment.
 */
export interface RateSample {
  /** Bytes newly known to have arrived, by SEG.ACK and by SACK. */
  acked: number;
  /** Bytes newly thought lost. */
  lost: number;
  /** pipe before this acknowledgment, bytes. */
  priorPipe: number;
  /** Bytes delivered in `intervalUs`; `intervalUs` 0: no rate could be measured. */
  delivered: number;
  intervalUs: number;
  /** `tcb.delivered` when the newest segment acknowledged was sent: rounds are counted by it. */
  priorDelivered: number;
  /** The sender had too little to send while the sample was taken: the path may be faster. */
  appLimited: boolean;
  /** Round trip of the newest segment acknowledged that was sent once only, µs; 0: none. */
  rttUs: number;
}

export interface CongestionControl {
  /** As TCP_CONGESTION and `ss` show it. */
  readonly name: string;
  /**
   * `acked` new bytes were acknowledged while cwnd was the limit and no loss is being repaired, or in
   * slow start after a timeout. `tcb.lastRttUs` has the round trip that came with it, or 0.
   */
  onAck(tcb: Tcb, acked: number, nowMs: number): void;
  /**
   * Loss was noticed by SACK, RACK or duplicate ACKs, or the network has marked a packet (ECN): sets `ssthresh`.
   * How `cwnd` comes down to it is proportional rate reduction's (prr.ts), unless `model`.
   */
  onLoss(tcb: Tcb, nowMs: number): void;
  /** The recovery is over: the window to go on with. */
  onRecovered(tcb: Tcb, nowMs: number): void;
  /** The retransmission timer fired: sets `ssthresh` and `cwnd` (RFC 5681 (4)). `first`: not a repeated one. */
  onTimeout(tcb: Tcb, first: boolean, nowMs: number): void;
  /** Nothing was sent for more than an RTO (RFC 5681 4.1). */
  onIdle(tcb: Tcb, nowMs: number): void;
  /**
   * The last onLoss, or onTimeout, was for nothing (undo.ts): `cwnd` and `ssthresh` are restored by the engine;
   * what else was changed is restored here (RFC 9438 4.9).
   */
  onUndo(tcb: Tcb, nowMs: number): void;
  /**
   * Present when the algorithm has a model of the path and sets `cwnd` and `tcb.pacingRate` by itself: called for
   * every acknowledgment, after the scoreboard and the loss detection. `onAck` is not called then.
   */
  model?(tcb: Tcb, sample: RateSample): void;
}

const makers = new Map<string, () => CongestionControl>([
  ['cubic', () => new Cubic()],
  ['bbr', () => new Bbr()],
  ['newreno', () => new NewReno()],
  // Linux's name for it, which iperf3 -C and others use.
  ['reno', () => new NewReno()],
]);

export function congestionNames(): string[] {
  return [...makers.keys()];
}

/** Another algorithm takes over, perhaps in the middle of a connection; the same one goes on with what it knows. */
export function changeCongestionControl(tcb: Tcb, next: CongestionControl): void {
  if (tcb.congestion.name === next.name) return;
  if (tcb.congestion.model !== undefined && next.model === undefined) {
    // What a model has found out is where to go on from, not to begin slow start at.
    tcb.ssthresh = Math.min(tcb.ssthresh, Math.max(tcb.cwnd, 2 * tcb.sndMss));
    tcb.pacingRate = 0;
  }
  tcb.congestion = next;
}

/** @throws RangeError when there is no such algorithm, with the names of those that there are */
export function checkCongestion(name: string): void {
  if (!makers.has(name)) throw new RangeError(`there is no congestion control '${name}'; there are ${congestionNames().join(', ')}`);
}

/** A new object for one connection, or undefined when there is no such algorithm. */
export function createCongestionControl(name: string): CongestionControl | undefined {
  return makers.get(name)?.();
}
