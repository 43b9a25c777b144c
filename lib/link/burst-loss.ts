/**
 * Loss that comes in bursts: the model of Gilbert (1960) and Elliott (1963). The path is in a good or in a bad state,
 * and changes, or not, with each packet:
 *
 *               p
 *     good ──────────▶ bad        mean length of a burst: 1 / r packets
 *          ◀──────────            share of the time in it: p / (p + r)
 *               r
 */

import type { SeededRandom } from '../random.ts';

export interface GilbertElliott {
  /** Probability, for each packet, that a good path becomes bad, and that a bad one becomes good. */
  p: number;
  r: number;
  /** Probability that a packet is lost in the good state, in the bad state. Default 0 and 1. */
  good?: number;
  bad?: number;
}

export class BurstLoss {
  readonly #model: GilbertElliott;
  #bad = false;

  /** @throws RangeError when a setting is no probability */
  constructor(model: GilbertElliott) {
    for (const [name, value] of Object.entries(model) as [string, number | undefined][]) {
      if (value === undefined) continue;
      if (!(value >= 0 && value <= 1)) throw new RangeError(`burstLoss.${name} ${value} is not a probability between 0 and 1`);
    }
    for (const name of ['p', 'r'] as const) if (model[name] === undefined) throw new RangeError(`burstLoss.${name} is missing`);
    this.#model = model;
  }

  /** Whether the packet that comes now is lost. */
  loses(random: SeededRandom): boolean {
    const { p, r, good = 0, bad = 1 } = this.#model;
    if (random.unit() < (this.#bad ? r : p)) this.#bad = !this.#bad;
    return random.unit() < (this.#bad ? bad : good);
  }

  /** Share of packets that are lost in the long run. */
  get mean(): number {
    const { p, r, good = 0, bad = 1 } = this.#model;
    const share = p + r === 0 ? 0 : p / (p + r);
    return share * bad + (1 - share) * good;
  }
}
