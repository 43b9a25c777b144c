/**
 * BBR, version 1 (draft-cardwell-iccrg-bbr-congestion-control-00; with Linux's tcp_bbr.c where the draft leaves room): a
 * model of the path, made of the largest delivery rate of ten rounds (BtlBw) and the least round trip of ten seconds
 * (RTprop), instead of a window that losses push about. Data is paced at BtlBw times a gain, and what is in flight is
 * held to about two of BtlBw × RTprop.
 *
 *     STARTUP --rate grows no more--> DRAIN --queue is gone--> PROBE_BW: gains 1.25, 0.75, 1, 1, 1, 1, 1, 1
 *                                                                 |  ^
 *                          RTprop was not seen again for 10 s     v  |
 *                                                              PROBE_RTT: four segments in flight, for 200 ms
 *
 * All is driven by `model`, once for each acknowledgment. Rates are bytes a second, times µs or ms of the home.
 * Losses and ECN marks are no signs of congestion to it; in a repair it sends for a round what arrives, and no more.
 *
 * Left out: Linux's long-term bandwidth (token-bucket policers) and its allowance for aggregated ACKs, both of them
 * not in the draft. Shallow buffers and many flows are where version 1 is known to lose more than others.
 */

import { initialWindow, MAX_CWND } from './cwnd.ts';
import type { CongestionControl, RateSample } from './congestion-control.ts';
import { MaxFilter } from './max-filter.ts';
import { RECOVERY_FAST, RECOVERY_OPEN } from '../tcb.ts';
import type { Tcb } from '../tcb.ts';

const STARTUP = 0;
const DRAIN = 1;
const PROBE_BW = 2;
const PROBE_RTT = 3;
const MODE_NAMES = ['STARTUP', 'DRAIN', 'PROBE_BW', 'PROBE_RTT'];

/** 2 / ln 2: the least gain that doubles the rate each round (4.3.2.1). */
const HIGH_GAIN = 2.885;
const CWND_GAIN = 2;
/** Gain of each phase of PROBE_BW, an RTprop long (4.3.4.2). */
const CYCLE = [1.25, 0.75, 1, 1, 1, 1, 1, 1];
/** The pipe is full when three rounds have not brought 25 % more (4.3.2.2). */
const FULL_GROWTH = 1.25;
const FULL_ROUNDS = 3;
/** RTpropFilterLen, ProbeRTTDuration (4.1.2.2, 4.3.5). */
const MIN_RTT_LIFE_MS = 10_000;
const PROBE_RTT_MS = 200;
/** BBRMinPipeCwnd, segments (4.2.3.2). */
const MIN_SEGMENTS = 4;
/** As Linux: a little less than the rate, so that queues shrink rather than grow. */
const PACING_MARGIN = 0.99;
/** What a super-segment may be. */
const MAX_QUANTUM = 65_536;

export class Bbr implements CongestionControl {
  readonly name = 'bbr';
  readonly #bandwidth = new MaxFilter();
  #mode = STARTUP;
  #started = false;
  #pacingGain = HIGH_GAIN;
  #cwndGain = HIGH_GAIN;
  /** The rate is one that a measured round trip has had a part in. */
  #rateKnown = false;

  // ---- round trips, by what had been delivered when a segment was sent (4.1.1.3) ----
  #round = 0;
  #roundStart = false;
  #nextRoundDelivered = 0;

  // ---- has the pipe been full? (4.3.2.2) ----
  #filled = false;
  #fullRate = 0;
  #fullRounds = 0;

  // ---- RTprop, µs; 0: not known (4.1.2) ----
  #minRttUs = 0;
  #minRttMs = 0;
  /** When PROBE_RTT may end; 0: four segments are not reached yet. */
  #probeRttUntilMs = 0;
  #probeRttRound = false;
  /** Samples of what was sent before so much was delivered are of PROBE_RTT's making: no measure of the path. */
  #slowUntil = 0;

  // ---- PROBE_BW ----
  #phase = 0;
  #phaseUs = 0;

  // ---- repairs (4.2.3.4, 4.2.3.5) ----
  #recovery = RECOVERY_OPEN;
  #conserve = false;
  /** The round of conservation: it is over when something that was sent after so much was delivered arrives. */
  #conserveUntil = 0;
  #priorCwnd = 0;
  #idleRestart = false;

  /** For tests and diagnosis. */
  get mode(): string {
    return MODE_NAMES[this.#mode]!;
  }

  /** BtlBw, bytes a second; RTprop, µs. */
  get bandwidth(): number {
    return this.#bandwidth.best;
  }

  get minRttUs(): number {
    return this.#minRttUs;
  }

  model(tcb: Tcb, sample: RateSample): void {
    if (!this.#started) this.#start(tcb);
    this.#updateBandwidth(tcb, sample);
    this.#checkCycle(tcb, sample);
    this.#checkFullPipe(sample);
    this.#checkDrain(tcb);
    this.#updateMinRtt(tcb, sample);
    this.#setPacingRate(tcb);
    this.#setCwnd(tcb, sample);
  }

  /** Not called: `model` is. */
  onAck(): void {
  }

  onLoss(tcb: Tcb): void {
    this.#saveCwnd(tcb);
  }

  /** `model` sees it by itself. */
  onRecovered(): void {
  }

  /** All in flight is taken for lost: what is sent next tells anew what the path carries. */
  onTimeout(tcb: Tcb, first: boolean): void {
    if (first) this.#saveCwnd(tcb);
    tcb.cwnd = tcb.sndMss;
    this.#conserve = false;
    this.#fullRate = 0;
    this.#nextRoundDelivered = tcb.delivered;
  }

  /** 4.3.4.3: goes on at the rate that was, and not at one and a quarter of it. */
  onIdle(tcb: Tcb): void {
    this.#idleRestart = true;
    this.#phaseUs = tcb.home.nowUs;
    if (this.#mode === PROBE_BW) tcb.pacingRate = this.#rate(1);
    else if (this.#mode === PROBE_RTT) this.#checkProbeRttDone(tcb);
  }

  /** There was no loss: perhaps the pipe was not full either. */
  onUndo(): void {
    this.#fullRate = 0;
    this.#fullRounds = 0;
  }

  // ------------------------------------------------------------------------------------- the model

  #start(tcb: Tcb): void {
    this.#started = true;
    this.#nextRoundDelivered = tcb.delivered;
    this.#minRttUs = tcb.minRttUs;
    this.#minRttMs = tcb.home.nowMs;
    this.#recovery = tcb.recovery;
    // 4.2.1: what the window would be spread over, until there is a measurement.
    const rttUs = tcb.srttUs > 0 ? tcb.srttUs : 1000;
    this.#rateKnown = tcb.srttUs > 0;
    tcb.pacingRate = Math.floor((HIGH_GAIN * tcb.cwnd * 1e6) / rttUs);
  }

  #updateBandwidth(tcb: Tcb, sample: RateSample): void {
    this.#roundStart = sample.acked > 0 && sample.priorDelivered >= this.#nextRoundDelivered;
    if (this.#roundStart) {
      this.#nextRoundDelivered = tcb.delivered;
      this.#round++;
    }
    if (this.#conserve && sample.acked > 0 && sample.priorDelivered >= this.#conserveUntil) this.#conserve = false;
    if (sample.intervalUs <= 0) return;
    const rate = (sample.delivered * 1e6) / sample.intervalUs;
    // A sender with little to send measures itself, not the path; but no path is slower than what it has carried.
    if (rate >= this.#bandwidth.best || !sample.appLimited && sample.priorDelivered >= this.#slowUntil) {
      this.#bandwidth.update(rate, this.#round);
    }
  }

  /** `gain` × BtlBw × RTprop, bytes; the initial window while there is no model. */
  #bdp(tcb: Tcb, gain: number): number {
    if (this.#minRttUs === 0 || this.#bandwidth.best === 0) return initialWindow(tcb.sndMss, tcb.home.config.initialWindow);
    return (gain * this.#bandwidth.best * this.#minRttUs) / 1e6;
  }

  /** BBRInflight (4.2.3.2): with room for the super-segments that wait on both sides of the path. */
  #inflight(tcb: Tcb, gain: number): number {
    const quantum = Math.min(Math.max(tcb.pacingRate / 1000, 2 * tcb.sndMss), MAX_QUANTUM);
    return this.#bdp(tcb, gain) + 3 * quantum;
  }

  #rate(gain: number): number {
    return Math.floor(gain * this.#bandwidth.best * PACING_MARGIN);
  }

  // ------------------------------------------------------------------------------------ the phases

  #checkCycle(tcb: Tcb, sample: RateSample): void {
    if (this.#mode !== PROBE_BW) return;
    const long = ((tcb.home.nowUs - this.#phaseUs) | 0) > this.#minRttUs;
    const gain = this.#pacingGain;
    let over = long;
    if (gain > 1) over = long && (sample.lost > 0 || sample.priorPipe >= this.#inflight(tcb, gain));
    else if (gain < 1) over = long || sample.priorPipe <= this.#inflight(tcb, 1);
    if (over) this.#nextPhase(tcb);
  }

  #nextPhase(tcb: Tcb): void {
    this.#phase = (this.#phase + 1) % CYCLE.length;
    this.#phaseUs = tcb.home.nowUs;
    this.#pacingGain = CYCLE[this.#phase]!;
  }

  #checkFullPipe(sample: RateSample): void {
    if (this.#filled || !this.#roundStart || sample.appLimited) return;
    const rate = this.#bandwidth.best;
    if (rate >= this.#fullRate * FULL_GROWTH) {
      this.#fullRate = rate;
      this.#fullRounds = 0;
    } else if (++this.#fullRounds >= FULL_ROUNDS) {
      this.#filled = true;
    }
  }

  #checkDrain(tcb: Tcb): void {
    if (this.#mode === STARTUP && this.#filled) {
      this.#mode = DRAIN;
      this.#pacingGain = 1 / HIGH_GAIN;
      this.#cwndGain = HIGH_GAIN;
    }
    if (this.#mode === DRAIN && tcb.pipe <= this.#inflight(tcb, 1)) this.#enterProbeBw(tcb);
  }

  #enterStartup(): void {
    this.#mode = STARTUP;
    this.#pacingGain = HIGH_GAIN;
    this.#cwndGain = HIGH_GAIN;
  }

  /** Flows begin the cycle in different phases, but never in the one that drains what none has filled (4.3.4.3). */
  #enterProbeBw(tcb: Tcb): void {
    this.#mode = PROBE_BW;
    this.#cwndGain = CWND_GAIN;
    const dice = (Math.imul(tcb.iss ^ tcb.home.nowUs, 0x9e3779b1) >>> 16) % (CYCLE.length - 1);
    this.#phase = CYCLE.length - 1 - dice;
    this.#nextPhase(tcb);
  }

  #updateMinRtt(tcb: Tcb, sample: RateSample): void {
    const { nowMs } = tcb.home;
    const expired = ((nowMs - this.#minRttMs) | 0) > MIN_RTT_LIFE_MS;
    if (sample.rttUs > 0 && (this.#minRttUs === 0 || sample.rttUs <= this.#minRttUs || expired)) {
      this.#minRttUs = sample.rttUs;
      this.#minRttMs = nowMs;
    }
    if (expired && !this.#idleRestart && this.#mode !== PROBE_RTT) {
      this.#saveCwnd(tcb);
      this.#mode = PROBE_RTT;
      this.#pacingGain = 1;
      this.#cwndGain = 1;
      this.#probeRttUntilMs = 0;
    }
    if (this.#mode === PROBE_RTT) this.#handleProbeRtt(tcb);
    if (sample.acked > 0) this.#idleRestart = false;
  }

  #handleProbeRtt(tcb: Tcb): void {
    this.#slowUntil = tcb.delivered + 1;
    if (this.#probeRttUntilMs === 0) {
      if (tcb.pipe > MIN_SEGMENTS * tcb.sndMss) return;
      this.#probeRttUntilMs = (tcb.home.nowMs + PROBE_RTT_MS) | 0 || 1;
      this.#probeRttRound = false;
      this.#nextRoundDelivered = tcb.delivered;
    } else {
      if (this.#roundStart) this.#probeRttRound = true;
      if (this.#probeRttRound) this.#checkProbeRttDone(tcb);
    }
  }

  #checkProbeRttDone(tcb: Tcb): void {
    const { nowMs } = tcb.home;
    if (this.#probeRttUntilMs === 0 || ((nowMs - this.#probeRttUntilMs) | 0) < 0) return;
    this.#minRttMs = nowMs;
    tcb.cwnd = Math.max(tcb.cwnd, this.#priorCwnd);
    if (this.#filled) this.#enterProbeBw(tcb);
    else this.#enterStartup();
  }

  // ---------------------------------------------------------------------------- what the sender obeys

  /** 4.2.1: in STARTUP the rate only grows. */
  #setPacingRate(tcb: Tcb): void {
    if (!this.#rateKnown && tcb.srttUs > 0) {
      this.#rateKnown = true;
      tcb.pacingRate = Math.floor((HIGH_GAIN * tcb.cwnd * 1e6) / tcb.srttUs);
    }
    const rate = this.#rate(this.#pacingGain);
    if (rate > 0 && (this.#filled || rate > tcb.pacingRate)) tcb.pacingRate = rate;
  }

  #saveCwnd(tcb: Tcb): void {
    if (this.#recovery === RECOVERY_OPEN && this.#mode !== PROBE_RTT) this.#priorCwnd = tcb.cwnd;
    else this.#priorCwnd = Math.max(this.#priorCwnd, tcb.cwnd);
  }

  /** 4.2.3 */
  #setCwnd(tcb: Tcb, sample: RateSample): void {
    const mss = tcb.sndMss;
    const { acked } = sample;
    let cwnd = tcb.cwnd;
    const before = this.#recovery;
    this.#recovery = tcb.recovery;
    if (sample.lost > 0) cwnd = Math.max(cwnd - sample.lost, mss);
    if (tcb.recovery === RECOVERY_FAST && before !== RECOVERY_FAST) {
      // A repair begins: for a round what arrives is what may leave. Rounds are counted on: repairs that follow each other
      // closely would otherwise leave none to tell that the pipe is full.
      this.#conserve = true;
      this.#conserveUntil = tcb.delivered;
      cwnd = tcb.pipe + Math.max(acked, mss);
    } else if (tcb.recovery === RECOVERY_OPEN && before !== RECOVERY_OPEN) {
      this.#conserve = false;
      cwnd = Math.max(cwnd, this.#priorCwnd);
    }
    if (this.#conserve) {
      cwnd = Math.max(cwnd, tcb.pipe + acked);
    } else if (acked > 0) {
      const target = this.#inflight(tcb, this.#cwndGain);
      if (this.#filled) cwnd = Math.min(cwnd + acked, target);
      else if (cwnd < target || tcb.delivered < initialWindow(mss, tcb.home.config.initialWindow)) cwnd += acked;
      cwnd = Math.max(cwnd, MIN_SEGMENTS * mss);
    }
    if (this.#mode === PROBE_RTT) cwnd = Math.min(cwnd, MIN_SEGMENTS * mss);
    tcb.cwnd = Math.min(Math.floor(cwnd), MAX_CWND);
  }
}
