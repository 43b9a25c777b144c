/**
 * The alarm of links that live inside the process (memory pair, packet link): it defers a delivery out
 * of `Link.send()`, and holds the process while a link is ref'ed, as a device's descriptor would.
 *
 * Alarms of the system clock resolve 1 ms, which would cap an undelayed link at a thousand round trips
 * a second. So with the system clock what is due at once is run by `setImmediate`; with any other clock
 * an alarm at the present instant is set, which keeps virtual time deterministic.
 */

import { SystemClock } from '../clock.ts';
import type { Alarm, Clock } from '../clock.ts';

/** Longest wait of a Node timer. */
const FOREVER_MS = 0x7fffffff;

export class LinkAlarm implements Alarm {
  readonly #clock: Clock;
  readonly #fire: () => void;
  readonly #alarm: Alarm;
  readonly #system: boolean;
  #immediate: NodeJS.Immediate | null = null;
  #holder: NodeJS.Timeout | null = null;

  constructor(clock: Clock, fire: () => void) {
    this.#clock = clock;
    this.#fire = fire;
    this.#alarm = clock.alarm(fire);
    this.#system = clock instanceof SystemClock;
  }

  /** Fires once at or after `atUs`; never from inside this call. */
  set(atUs: number): void {
    if (this.#immediate !== null) return;
    // An unref'ed immediate does not wake an event loop that waits, so without a ref the timer does it.
    if (this.#holder !== null && atUs <= this.#clock.nowUs()) {
      this.#alarm.clear();
      this.#immediate = setImmediate(() => {
        this.#immediate = null;
        this.#fire();
      });
    } else {
      this.#alarm.set(atUs);
    }
  }

  clear(): void {
    this.#alarm.clear();
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
  }

  /** From now on the process stays alive. In virtual time nothing ever holds it. */
  ref(): void {
    if (this.#system) this.#holder ??= setInterval(() => {}, FOREVER_MS);
  }

  unref(): void {
    if (this.#holder === null) return;
    clearInterval(this.#holder);
    this.#holder = null;
    if (this.#immediate !== null) {
      this.clear();
      this.#alarm.set(this.#clock.nowUs());
    }
  }
}
