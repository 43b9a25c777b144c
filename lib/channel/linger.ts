/**
 * Whether to stay awake for an answer. To sleep and be woken costs each side of a channel five to ten
 * microseconds, and more where a processor goes idle meanwhile, which is as long as a small answer takes. So a side
 * that has shown something to the other stays awake for a moment before it sleeps, if lately that was worth it: when
 * single records went to and fro. Dense traffic does not need it: bells are rare there, and processors wanted.
 *
 * This decides; how to stay awake, and give way to others meanwhile, is `Channel.stayAwake` (and, in the stack,
 * `ApplicationPort.stayAwake`). There is none where time is virtual.
 */

/** So long one stays awake, µs. */
const MOST_US = 100;
/** An answer so soon would have come within that, if the one who gives it had not had to wake us. */
const SOON_US = 2 * MOST_US;
/** Records of an answer that is single; more are dense traffic. */
const SINGLE = 2;
/** A hit counts one, up to `BEST`, a miss takes as many as make it worth it. */
const BEST = 8;
const ENOUGH = 4;

export class Linger {
  #score = 0;
  /** An answer is due since then; we have stayed awake for it. */
  #due = false;
  #sinceUs = 0;
  #stayed = false;

  /** Something was shown to the other side. */
  shown(nowUs: number): void {
    if (this.#due) return;
    this.#due = true;
    this.#stayed = false;
    this.#sinceUs = nowUs;
  }

  /** So many records have come at once. */
  came(nowUs: number, records: number): void {
    if (!this.#due) return;
    this.#due = false;
    const soon = nowUs - this.#sinceUs <= (this.#stayed ? MOST_US : SOON_US);
    this.#score = soon && records <= SINGLE ? Math.min(this.#score + 1, BEST) : Math.max(this.#score - ENOUGH, 0);
  }

  /** Whether to look again soon instead of sleeping. */
  stays(nowUs: number): boolean {
    if (!this.#due || this.#score < ENOUGH || nowUs - this.#sinceUs > MOST_US) return false;
    this.#stayed = true;
    return true;
  }
}

/** How long one looks at the ring before looking at everything else, µs. */
export const SLICE_US = 5;
