/**
 * The time of the turns of whoever runs a home of TCP (a stack, or TCPU): read once a turn, given to the home in its
 * units; and the one alarm that wakes it for the earliest of its deadlines.
 */

import type { Alarm, Clock } from '../clock.ts';
import type { TcpHost } from './tcp-host.ts';

/** Milliseconds of TCP at the clock's zero: 0 can mean 'never' in TCP's fields. */
export const MS_EPOCH = 1_000_000;

/** An alarm that comes later than this is the alarm of a process that was busy, µs. */
const LATE_US = 2000;

export class TurnClock {
  /** Time of this turn, µs of the clock. */
  nowUs = 0;
  readonly #clock: Clock;
  readonly #alarm: Alarm;
  #host: TcpHost | null = null;
  /** When the alarm will fire, µs. */
  #wakeUs = Infinity;
  #stopped = false;
  /** The alarm was late, and has been put off once. */
  #putOff = false;

  /** `wake` runs the turn in which deadlines are looked at. */
  constructor(clock: Clock, wake: () => void) {
    this.#clock = clock;
    this.#alarm = clock.alarm(() => this.#fire(wake));
  }

  /** The home whose time this is; its own is right from here on. */
  serve(host: TcpHost): void {
    this.#host = host;
    this.look();
  }

  /** It is later: reads the clock. Returns the time, µs. */
  look(): number {
    const nowUs = this.#clock.nowUs();
    const host = this.#host!;
    this.nowUs = nowUs;
    host.nowUs = nowUs | 0;
    host.nowMs = (Math.floor(nowUs / 1000) + MS_EPOCH) | 0;
    return nowUs;
  }

  /** The home has something to do at `atMs` (TCP's time). */
  wakeAtMs(atMs: number): void {
    const delta = Math.max((atMs - this.#host!.nowMs) | 0, 0);
    this.wakeAt((Math.floor(this.nowUs / 1000) + delta) * 1000);
  }

  /** There is something to do at `atUs`, if not before. */
  wakeAt(atUs: number): void {
    if (atUs >= this.#wakeUs || this.#stopped) return;
    this.#wakeUs = atUs;
    this.#alarm.set(atUs);
  }

  #fire(wake: () => void): void {
    if (this.#stopped) return;
    const nowUs = this.#clock.nowUs();
    if (nowUs - this.#wakeUs > LATE_US && !this.#putOff) {
      // While the process was busy, what was waited for may have arrived: it comes first. A retransmission timer must
      // not fire because nobody has looked.
      this.#putOff = true;
      this.#alarm.set(nowUs);
      return;
    }
    this.#putOff = false;
    this.#wakeUs = Infinity;
    wake();
    const host = this.#host!;
    const next = host.nextIn();
    if (next >= 0) this.wakeAtMs((host.nowMs + next) | 0);
  }

  /** For good. */
  stop(): void {
    this.#stopped = true;
    this.#alarm.clear();
  }
}
