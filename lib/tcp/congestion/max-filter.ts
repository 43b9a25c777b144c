/**
 * The largest of the measurements of the last `ROUNDS` round trips: BBR.BtlBwFilter
 * (draft-cardwell-iccrg-bbr-congestion-control-00, 4.1.1.3). One maximum for each round in a ring, so it is exact.
 * Rounds without a measurement take nothing away until the next one comes.
 */

/** BtlBwFilterLen, rounds. */
const ROUNDS = 10;

export class MaxFilter {
  readonly #maxima = new Float64Array(ROUNDS);
  /** Round of the newest measurement. */
  #round = 0;
  #best = 0;

  /** 0 before the first measurement. */
  get best(): number {
    return this.#best;
  }

  /** A measurement of round `round`, which never goes back. */
  update(value: number, round: number): void {
    const maxima = this.#maxima;
    const slot = round % ROUNDS;
    if (round !== this.#round) {
      for (let i = Math.max(this.#round + 1, round - ROUNDS + 1); i <= round; i++) maxima[i % ROUNDS] = 0;
      this.#round = round;
      maxima[slot] = value;
      let best = 0;
      for (let i = 0; i < ROUNDS; i++) best = Math.max(best, maxima[i]!);
      this.#best = best;
      return;
    }
    if (value > maxima[slot]!) maxima[slot] = value;
    if (value > this.#best) this.#best = value;
  }
}
