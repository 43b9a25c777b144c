/**
 * HyStart++ (RFC 9406): a first slow start that ends when round trips grow, before the queue of the bottleneck runs over
 * and a whole window is lost at once. A delay that was noise costs little: conservative slow start goes on at a quarter
 * of the pace for five rounds, and becomes slow start again when round trips shrink.
 *
 *     slow start --round trips have grown by RttThresh--> conservative slow start --CSS_ROUNDS--> congestion avoidance
 *          ^------------------they are shorter again-------------------'
 *
 * A round is a flight: it ends when what was sent last at its beginning is acknowledged. Its delay is the least of its
 * samples, of which RFC 9406 wants eight (N_RTT_SAMPLE), one an ACK. A receiver that merges segments (GRO) may answer 64 KB
 * with one ACK, and so never give eight in a round until 512 KB are in flight; an ACK therefore counts for as many samples
 * as it stands for delayed ACKs (two segments each, RFC 5681 4.2). What makes one ACK of so much also makes its sample
 * late by no more than the merging took, far below the thresholds; where it was something slower, conservative slow start
 * repairs the error with the next round.
 *
 * Deviations: no limit L of eight segments an ACK for senders without pacing (4.3), for the reason given at `slowStart`.
 * Only the first slow start uses it; later ones end at ssthresh (4.3).
 */

import { seqGeq } from '../../wire/seq.ts';
import type { Seq } from '../../wire/seq.ts';
import type { Tcb } from '../tcb.ts';
import { MAX_CWND } from './cwnd.ts';

/** Section 4.3; times in µs. */
const MIN_RTT_THRESH = 4000;
const MAX_RTT_THRESH = 16_000;
const MIN_RTT_DIVISOR = 8;
const N_RTT_SAMPLE = 8;
const CSS_GROWTH_DIVISOR = 4;
const CSS_ROUNDS = 5;

/** One for each connection in its first slow start, made with its first ACK. */
export class HyStart {
  #conservative = false;
  /** windowEnd: the round ends when this is acknowledged. */
  #windowEnd: Seq;
  /** The round has just begun: it ends with what the ACK that ended the last one made room for. */
  #fresh = false;
  /** Least samples, µs; 0: none ("infinity" in the RFC). */
  #lastRoundMinRtt = 0;
  #currentRoundMinRtt = 0;
  #cssBaselineMinRtt = 0;
  #samples = 0;
  #cssRounds = 0;

  constructor(tcb: Tcb) {
    this.#windowEnd = tcb.sndNxt;
  }

  /** `acked` new bytes were acknowledged in the first slow start. When that is over, `tcb.ssthresh` has been set. */
  onAck(tcb: Tcb, acked: number): void {
    if (this.#fresh) {
      this.#windowEnd = tcb.sndNxt;
      this.#fresh = false;
    }
    tcb.cwnd = Math.min(tcb.cwnd + (this.#conservative ? Math.floor(acked / CSS_GROWTH_DIVISOR) : acked), MAX_CWND);
    if (tcb.lastRttUs > 0) this.#sample(tcb.lastRttUs, Math.max(Math.floor(acked / (2 * tcb.sndMss)), 1));
    if (seqGeq(tcb.sndUna, this.#windowEnd)) this.#endRound(tcb);
  }

  #sample(rttUs: number, weight: number): void {
    if (this.#currentRoundMinRtt === 0 || rttUs < this.#currentRoundMinRtt) this.#currentRoundMinRtt = rttUs;
    this.#samples += weight;
    if (this.#samples < N_RTT_SAMPLE) return;
    if (this.#conservative) {
      // The delay was not a queue of ours, or it has gone: slow start goes on.
      if (this.#currentRoundMinRtt < this.#cssBaselineMinRtt) this.#conservative = false;
    } else if (this.#lastRoundMinRtt > 0) {
      const thresh = Math.max(MIN_RTT_THRESH, Math.min(this.#lastRoundMinRtt / MIN_RTT_DIVISOR, MAX_RTT_THRESH));
      if (this.#currentRoundMinRtt >= this.#lastRoundMinRtt + thresh) {
        this.#conservative = true;
        this.#cssBaselineMinRtt = this.#currentRoundMinRtt;
        this.#cssRounds = 0;
      }
    }
  }

  #endRound(tcb: Tcb): void {
    // The round in which conservative slow start began counts as one (4.2).
    if (this.#conservative && ++this.#cssRounds >= CSS_ROUNDS) tcb.ssthresh = tcb.cwnd;
    this.#fresh = true;
    this.#lastRoundMinRtt = this.#currentRoundMinRtt;
    this.#currentRoundMinRtt = 0;
    this.#samples = 0;
  }
}
