/**
 * NewReno congestion control: slow start, congestion avoidance and the windows around fast recovery
 * (RFC 5681 section 3, RFC 6582). What is retransmitted is decided in recovery.ts; its accounting of
 * the pipe takes the place of "inflating" the window.
 */

import type { Tcb } from '../tcb.ts';
import type { CongestionControl } from './congestion-control.ts';

/** IW (RFC 6928): min(10 × MSS, max(2 × MSS, 14600)), for `segments` = 10. */
export function initialWindow(mss: number, segments: number): number {
  return Math.min(segments * mss, Math.max(2 * mss, segments * 1460));
}

/**
 * Slow start: one byte for each byte acknowledged. A peer may acknowledge 64 KB with one ACK, so
 * there is no limit to two segments an ACK (RFC 3465's L); what is sent is clocked by ACKs all the same.
 * Returns the acknowledged bytes that are left when ssthresh is reached.
 */
export function slowStart(tcb: Tcb, acked: number): number {
  const grow = Math.min(acked, tcb.ssthresh - tcb.cwnd);
  tcb.cwnd += grow;
  return acked - grow;
}

/** Largest congestion window: nothing can ever need more. */
export const MAX_CWND = 1 << 30;

export class NewReno implements CongestionControl {
  readonly name = 'newreno';
  /** Bytes acknowledged since cwnd last grew (RFC 5681 3.1: byte counting in congestion avoidance). */
  #acked = 0;

  onAck(tcb: Tcb, acked: number): void {
    if (tcb.cwnd < tcb.ssthresh) acked = slowStart(tcb, acked);
    if (acked <= 0) return;
    this.#acked += acked;
    if (this.#acked >= tcb.cwnd) {
      this.#acked -= tcb.cwnd;
      tcb.cwnd = Math.min(tcb.cwnd + tcb.sndMss, MAX_CWND);
      if (this.#acked > tcb.cwnd) this.#acked = 0;
    }
  }

  onLoss(tcb: Tcb): void {
    // RFC 5681 (4): half of what is in flight, at least two segments.
    tcb.ssthresh = Math.max(tcb.flight >> 1, 2 * tcb.sndMss);
    tcb.cwnd = tcb.ssthresh;
    this.#acked = 0;
  }

  onRecovered(tcb: Tcb): void {
    tcb.cwnd = tcb.ssthresh;
    this.#acked = 0;
  }

  onTimeout(tcb: Tcb, first: boolean): void {
    if (first) tcb.ssthresh = Math.max(tcb.flight >> 1, 2 * tcb.sndMss);
    tcb.cwnd = tcb.sndMss;
    this.#acked = 0;
  }

  onUndo(): void {
  }

  onIdle(tcb: Tcb): void {
    tcb.cwnd = Math.min(tcb.cwnd, initialWindow(tcb.sndMss, tcb.home.config.initialWindow));
  }
}
