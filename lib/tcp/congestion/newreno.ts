/**
 * NewReno congestion control: slow start (the first one by HyStart++), congestion avoidance and the windows around fast
 * recovery (RFC 5681 section 3, RFC 6582). What is retransmitted is decided in recovery.ts; its accounting of
 * the pipe takes the place of "inflating" the window.
 */

import type { Tcb } from '../tcb.ts';
import type { CongestionControl } from './congestion-control.ts';
import { MAX_CWND, NO_SSTHRESH, restartWindow, slowStart } from './cwnd.ts';
import { HyStart } from './hystart.ts';

export class NewReno implements CongestionControl {
  readonly name = 'newreno';
  #hystart: HyStart | null = null;
  /** Bytes acknowledged since cwnd last grew (RFC 5681 3.1, RFC 3465: byte counting in congestion avoidance). */
  #acked = 0;

  onAck(tcb: Tcb, acked: number): void {
    if (tcb.ssthresh === NO_SSTHRESH) {
      (this.#hystart ??= new HyStart(tcb)).onAck(tcb, acked);
      return;
    }
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
    this.#halve(tcb);
    tcb.cwnd = tcb.ssthresh;
  }

  onRecovered(tcb: Tcb): void {
    tcb.cwnd = tcb.ssthresh;
    this.#acked = 0;
  }

  onTimeout(tcb: Tcb, first: boolean): void {
    if (first) this.#halve(tcb);
    tcb.cwnd = tcb.sndMss;
    this.#acked = 0;
  }

  /** Nothing else was changed than the windows; a first slow start begins to measure again. */
  onUndo(): void {
  }

  onIdle(tcb: Tcb): void {
    restartWindow(tcb);
    this.#hystart = null;
  }

  /** RFC 5681 (4): half of what is in flight (and not of an unused window), at least two segments. */
  #halve(tcb: Tcb): void {
    tcb.ssthresh = Math.max(tcb.flight >> 1, 2 * tcb.sndMss);
    this.#acked = 0;
    this.#hystart = null;
  }
}
