/**
 * CUBIC (RFC 9438), with HyStart++ (RFC 9406) for the first slow start (4.10).
 *
 * Windows are kept in segments as in the RFC's formulas and turned into bytes at the end; time in
 * seconds since the epoch began. Where the RFC leaves a choice: reductions are from cwnd as far as it was used (4.6; cwnd.ts),
 * and time without growth is taken out of t when it was an RTO or more (4.2, 5.8).
 */

import type { Tcb } from '../tcb.ts';
import type { CongestionControl } from './congestion-control.ts';
import { MAX_CWND, NO_SSTHRESH, restartWindow, slowStart, usedWindow } from './cwnd.ts';
import { HyStart } from './hystart.ts';

/** Section 5: C in segments per second cubed, and the factor of multiplicative decrease. */
const C = 0.4;
const BETA = 0.7;
/** Section 4.3: additive increase that gives Reno's average window with this β. */
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);

export class Cubic implements CongestionControl {
  readonly name = 'cubic';
  #hystart: HyStart | null = null;
  /** W_max: window before the last reduction, segments; 0: there was none, or a timeout since (4.8, 4.10: K = 0). */
  #wMax = 0;
  /** cwnd_prior: for the Reno-friendly region's switch of α (4.3). */
  #cwndPrior = 0;
  /** Start of the present congestion avoidance stage, ms; 0 when none runs. */
  #epochMs = 0;
  /** When the window last grew in this stage, ms. */
  #lastMs = 0;
  /** K (4.2), seconds: when the curve reaches W_max. */
  #k = 0;
  /** W_est (4.3): Reno's window, segments. */
  #wEst = 0;
  /** Part of a byte by which the window is to grow: with large windows an ACK brings no more. */
  #credit = 0;
  /** What these were before the last reduction (4.9.2); null before the first. */
  #undo: Float64Array | null = null;

  onAck(tcb: Tcb, acked: number, nowMs: number): void {
    if (tcb.ssthresh === NO_SSTHRESH) {
      (this.#hystart ??= new HyStart(tcb)).onAck(tcb, acked);
      return;
    }
    if (tcb.cwnd < tcb.ssthresh) {
      acked = slowStart(tcb, acked);
      if (acked <= 0) return;
    }
    const mss = tcb.sndMss;
    const cwnd = tcb.cwnd / mss;
    if (this.#epochMs !== 0) {
      // Time in which the window was not what limits, and did not grow, is no part of t (4.2, 5.8).
      const gapMs = (nowMs - this.#lastMs) | 0;
      if (gapMs > tcb.rtoMs) this.#epochMs = (this.#epochMs + gapMs) | 0 || 1;
    }
    this.#lastMs = nowMs;
    if (this.#epochMs === 0) {
      this.#epochMs = nowMs === 0 ? 1 : nowMs;
      this.#wEst = cwnd;
      // Out of HyStart++ without a loss (4.10).
      if (this.#cwndPrior === 0) this.#cwndPrior = cwnd;
      if (this.#wMax < cwnd) {
        this.#wMax = cwnd;
        this.#k = 0;
      } else {
        this.#k = Math.cbrt((this.#wMax - cwnd) / C);
      }
    }
    const rtt = Math.max(tcb.srttUs, 1) / 1e6;
    const t = ((nowMs - this.#epochMs) | 0) / 1000;
    const offset = t + rtt - this.#k;
    // W_cubic(t + RTT), bounded to [cwnd, 1.5 cwnd] (4.2).
    const target = Math.min(Math.max(C * offset * offset * offset + this.#wMax, cwnd), 1.5 * cwnd);
    // W_est grows by α segments a window (4.3); by 1 once it has passed the window before the loss.
    this.#wEst += (this.#wEst >= this.#cwndPrior ? 1 : ALPHA) * (acked / tcb.cwnd);
    const past = t - this.#k;
    const wCubic = C * past * past * past + this.#wMax;
    if (wCubic < this.#wEst) {
      if (this.#wEst > cwnd) tcb.cwnd = Math.min(Math.floor(this.#wEst * mss), MAX_CWND);
    } else {
      const grow = this.#credit + ((target - cwnd) / cwnd) * acked;
      const whole = Math.floor(grow);
      this.#credit = grow - whole;
      tcb.cwnd = Math.min(tcb.cwnd + whole, MAX_CWND);
    }
  }

  onLoss(tcb: Tcb): void {
    this.#reduce(tcb);
    tcb.cwnd = tcb.ssthresh;
  }

  onRecovered(tcb: Tcb): void {
    tcb.cwnd = tcb.ssthresh;
  }

  onTimeout(tcb: Tcb, first: boolean): void {
    if (first) this.#reduce(tcb);
    tcb.cwnd = tcb.sndMss;
    this.#epochMs = 0;
    // The next stage begins where slow start ends, with K = 0 (4.8).
    this.#wMax = 0;
  }

  /** 4.9: as if the reduction had not been, unless the window has passed the old one meanwhile. */
  onUndo(tcb: Tcb): void {
    const undo = this.#undo;
    if (undo === null || tcb.cwnd > this.#cwndPrior * tcb.sndMss + 1) return;
    this.#wMax = undo[0]!;
    this.#cwndPrior = undo[1]!;
    this.#epochMs = undo[2]!;
    this.#lastMs = undo[3]!;
    this.#k = undo[4]!;
    this.#wEst = undo[5]!;
  }

  onIdle(tcb: Tcb): void {
    restartWindow(tcb);
    this.#epochMs = 0;
    this.#hystart = null;
  }

  /** Multiplicative decrease with fast convergence (4.6, 4.7). */
  #reduce(tcb: Tcb): void {
    const undo = this.#undo ??= new Float64Array(6);
    undo[0] = this.#wMax;
    undo[1] = this.#cwndPrior;
    undo[2] = this.#epochMs;
    undo[3] = this.#lastMs;
    undo[4] = this.#k;
    undo[5] = this.#wEst;
    this.#hystart = null;
    const cwnd = tcb.cwnd / tcb.sndMss;
    this.#wMax = cwnd < this.#wMax ? (cwnd * (1 + BETA)) / 2 : cwnd;
    this.#cwndPrior = cwnd;
    this.#epochMs = 0;
    tcb.ssthresh = Math.max(Math.floor(usedWindow(tcb) * BETA), 2 * tcb.sndMss);
  }
}
