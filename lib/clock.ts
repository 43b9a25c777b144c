/**
 * Time for a stack. Everything below the stream API takes its time from a `Clock`, so that a whole
 * stack, or several, can run in virtual time.
 */

/** One pending wake-up; made once, set as often as needed, allocates nothing when it is set. */
export interface Alarm {
  /** Fire once at or soon after `atUs` (µs of the clock); replaces an earlier setting. */
  set(atUs: number): void;
  clear(): void;
}

export interface Clock {
  /** Monotonic time in whole microseconds, from an origin of the clock's own. */
  nowUs(): number;
  /** Milliseconds since 1970 that belong to the clock's zero, for capture files and people. */
  readonly originMs: number;
  alarm(fire: () => void): Alarm;
}

/** Longest time that one Node timer can wait. */
const MAX_TIMEOUT_MS = 0x7fffffff;

/** A Node timer that never keeps the process alive by itself: sockets do that, through their link. */
class SystemAlarm implements Alarm {
  readonly #clock: SystemClock;
  readonly #fire: () => void;
  #timer: NodeJS.Timeout | null = null;
  #atUs = 0;
  /** When the Node timer will fire; it is left in place when the alarm moves to later. */
  #timerAtUs = 0;
  #set = false;

  constructor(clock: SystemClock, fire: () => void) {
    this.#clock = clock;
    this.#fire = fire;
  }

  set(atUs: number): void {
    this.#atUs = atUs;
    this.#set = true;
    if (this.#timer === null || atUs < this.#timerAtUs) this.#start();
  }

  clear(): void {
    this.#set = false;
  }

  #start(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    const delayMs = Math.min(Math.max(Math.ceil((this.#atUs - this.#clock.nowUs()) / 1000), 1), MAX_TIMEOUT_MS);
    this.#timerAtUs = this.#atUs;
    this.#timer = setTimeout(() => this.#onTimer(), delayMs);
    this.#timer.unref();
  }

  #onTimer(): void {
    this.#timer = null;
    if (!this.#set) return;
    if (this.#clock.nowUs() < this.#atUs) {
      this.#start();
      return;
    }
    this.#set = false;
    this.#fire();
  }
}

/** The machine's monotonic clock and Node's timers (resolution 1 ms). */
export class SystemClock implements Clock {
  readonly originMs = performance.timeOrigin;

  nowUs(): number {
    return Math.floor(performance.now() * 1000);
  }

  alarm(fire: () => void): Alarm {
    return new SystemAlarm(this, fire);
  }
}

/** Looks at two clocks, of which the quickest counts. */
const LOOKS = 8;

/**
 * What the machine's monotonic clock (`process.hrtime()`, the addon's) shows when a clock that tells `nowUs` shows 0,
 * µs. A first look at a clock takes tens of microseconds, more than many round trips.
 */
export function monotonicZeroUs(nowUs: () => number): number {
  let least = Infinity;
  let zeroUs = 0;
  for (let i = 0; i < LOOKS; i++) {
    const before = process.hrtime.bigint();
    const now = nowUs();
    const after = process.hrtime.bigint();
    const took = Number(after - before);
    if (took >= least) continue;
    least = took;
    zeroUs = Number((before + after) / 2000n) - now;
  }
  return zeroUs;
}

class VirtualAlarm implements Alarm {
  readonly fire: () => void;
  readonly #clock: VirtualClock;
  atUs = 0;
  /** Orders alarms of the same instant by when they were set. */
  order = 0;
  active = false;

  constructor(clock: VirtualClock, fire: () => void) {
    this.#clock = clock;
    this.fire = fire;
  }

  set(atUs: number): void {
    this.atUs = atUs;
    this.#clock.activate(this);
  }

  clear(): void {
    this.#clock.deactivate(this);
  }
}

/** Time that moves only when told to. Alarms fire in order of their time, then in the order they were set. */
export class VirtualClock implements Clock {
  readonly originMs: number;
  #nowUs: number;
  #order = 0;
  readonly #active: VirtualAlarm[] = [];

  constructor(startUs = 0, originMs = 0) {
    this.#nowUs = startUs;
    this.originMs = originMs;
  }

  nowUs(): number {
    return this.#nowUs;
  }

  alarm(fire: () => void): Alarm {
    return new VirtualAlarm(this, fire);
  }

  /** @internal */
  activate(alarm: VirtualAlarm): void {
    alarm.order = this.#order++;
    if (!alarm.active) {
      alarm.active = true;
      this.#active.push(alarm);
    }
  }

  /** @internal */
  deactivate(alarm: VirtualAlarm): void {
    if (!alarm.active) return;
    alarm.active = false;
    this.#active.splice(this.#active.indexOf(alarm), 1);
  }

  /** Time of the next alarm in µs, or Infinity. */
  get nextUs(): number {
    return this.#earliest()?.atUs ?? Infinity;
  }

  /** Fires the next alarm, one only, wherever it is in time. Returns false when none is set. */
  step(): boolean {
    const next = this.#earliest();
    if (next === undefined) return false;
    this.#run(next);
    return true;
  }

  /** Moves on by `us`, firing every alarm on the way. */
  advance(us: number): void {
    this.advanceTo(this.#nowUs + us);
  }

  /** Moves to `atUs`, firing every alarm on the way. */
  advanceTo(atUs: number): void {
    for (let next = this.#earliest(); next !== undefined && next.atUs <= atUs; next = this.#earliest()) this.#run(next);
    if (atUs > this.#nowUs) this.#nowUs = atUs;
  }

  /**
   * Fires alarms, one after the other, until `done()` holds. Returns whether it does; false when
   * nothing is left to fire, or when the time limit is reached first.
   */
  runUntil(done: () => boolean, limitUs = Infinity): boolean {
    const stopUs = this.#nowUs + limitUs;
    while (!done()) {
      const next = this.#earliest();
      if (next === undefined || next.atUs > stopUs) {
        if (Number.isFinite(stopUs)) this.#nowUs = Math.max(this.#nowUs, stopUs);
        return false;
      }
      this.#run(next);
    }
    return true;
  }

  #run(alarm: VirtualAlarm): void {
    this.deactivate(alarm);
    if (alarm.atUs > this.#nowUs) this.#nowUs = alarm.atUs;
    alarm.fire();
  }

  #earliest(): VirtualAlarm | undefined {
    let best: VirtualAlarm | undefined;
    for (const alarm of this.#active) {
      if (best === undefined || alarm.atUs < best.atUs || (alarm.atUs === best.atUs && alarm.order < best.order)) best = alarm;
    }
    return best;
  }
}
