/**
 * Timers of streams: Node's own where the stack below lives in real time, else alarms of its clock, so that a program in
 * virtual time (lib/sim) sees its timeouts there.
 */

import { SystemClock } from '../clock.ts';
import type { Alarm, Clock } from '../clock.ts';

/** What is needed of Node's `Timeout`, which is one. Never keeps the process alive. */
export interface StreamTimer {
  /** Begins again with the full time. */
  refresh(): unknown;
  close(): unknown;
}

class ClockTimer implements StreamTimer {
  readonly #clock: Clock;
  readonly #alarm: Alarm;
  readonly #us: number;

  constructor(clock: Clock, ms: number, fire: () => void) {
    this.#clock = clock;
    this.#us = Math.round(ms * 1000);
    this.#alarm = clock.alarm(fire);
    this.refresh();
  }

  refresh(): void {
    this.#alarm.set(this.#clock.nowUs() + this.#us);
  }

  close(): void {
    this.#alarm.clear();
  }
}

/**
 * Calls `fire(argument)` after `ms`, once.
 * @param clock  of the stack; undefined when it does not tell: then time is real
 */
export function startTimer<T>(clock: Clock | undefined, ms: number, fire: (argument: T) => void, argument: T): StreamTimer {
  if (clock === undefined || clock instanceof SystemClock) return setTimeout(fire, ms, argument).unref();
  return new ClockTimer(clock, ms, () => fire(argument));
}
