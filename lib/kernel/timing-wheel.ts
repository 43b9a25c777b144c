/**
 * The one clock for all connections: a hierarchical timing wheel (Varghese and Lauck 1987) of 1 ms
 * ticks, four levels of 256 slots, intrusive doubly linked lists of TCBs. Setting, moving and removing
 * cost the same however many connections there are, and allocate nothing.
 *
 * A TCB is in the wheel once, at `tcb.firesAt`, the earliest of its deadlines when it was set.
 * A deadline that moves to later leaves it where it is: it fires early, finds nothing due, and is set
 * again. A TCP that restarts its retransmission timer with every ACK needs that.
 */

import type { TimerQueue } from '../home/timer-queue.ts';
import type { Tcb } from '../tcp/tcb.ts';

const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
const SLOT_MASK = SLOTS - 1;
const LEVELS = 4;
/** Deadlines further away than this wait at the last slot of the top level and are set again. */
const HORIZON_MS = 0x7fffff00;

export class TimingWheel implements TimerQueue {
  readonly #slots: (Tcb | null)[] = new Array<Tcb | null>(SLOTS * LEVELS).fill(null);
  /** One bit for each slot that is not empty. */
  readonly #occupied = new Int32Array((SLOTS * LEVELS) >> 5);
  /** The last tick that was handled. */
  #nowMs: number;
  size = 0;

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  /** Puts the TCB in at `atMs`, or moves it there. A time that has passed fires at the next tick. */
  set(tcb: Tcb, atMs: number): void {
    if (tcb.wheelSlot >= 0) this.#unlink(tcb);
    tcb.firesAt = atMs;
    this.#link(tcb, 1);
  }

  remove(tcb: Tcb): void {
    if (tcb.wheelSlot >= 0) this.#unlink(tcb);
    tcb.firesAt = 0;
  }

  /** `least`: 1, or 0 during a cascade, when the present tick has not been fired yet. */
  #link(tcb: Tcb, least: number): void {
    let delta = (tcb.firesAt - this.#nowMs) | 0;
    if (delta < least) delta = least;
    if (delta > HORIZON_MS) delta = HORIZON_MS;
    const at = (this.#nowMs + delta) | 0;
    const level = delta < SLOTS ? 0 : delta < SLOTS << SLOT_BITS ? 1 : delta < SLOTS << (2 * SLOT_BITS) ? 2 : 3;
    const slot = level * SLOTS + ((at >>> (level * SLOT_BITS)) & SLOT_MASK);
    const head = this.#slots[slot]!;
    tcb.wheelSlot = slot;
    tcb.wheelPrevious = null;
    tcb.wheelNext = head;
    if (head !== null) head.wheelPrevious = tcb;
    this.#slots[slot] = tcb;
    this.#occupied[slot >> 5]! |= 1 << (slot & 31);
    this.size++;
  }

  #unlink(tcb: Tcb): void {
    const slot = tcb.wheelSlot;
    if (tcb.wheelPrevious !== null) tcb.wheelPrevious.wheelNext = tcb.wheelNext;
    else {
      this.#slots[slot] = tcb.wheelNext;
      if (tcb.wheelNext === null) this.#occupied[slot >> 5]! &= ~(1 << (slot & 31));
    }
    if (tcb.wheelNext !== null) tcb.wheelNext.wheelPrevious = tcb.wheelPrevious;
    tcb.wheelNext = null;
    tcb.wheelPrevious = null;
    tcb.wheelSlot = -1;
    this.size--;
  }

  /** Moves on to `nowMs` and calls `fire` for every TCB whose time has come. `fire` may set TCBs again. */
  advance(nowMs: number, fire: (tcb: Tcb) => void): void {
    if (this.size === 0) {
      this.#nowMs = nowMs;
      return;
    }
    while (((nowMs - this.#nowMs) | 0) > 0) {
      const skip = this.#emptyTicks((nowMs - this.#nowMs) | 0);
      this.#nowMs = (this.#nowMs + skip) | 0;
      if (skip > 0 && this.#nowMs === nowMs) return;
      this.#nowMs = (this.#nowMs + 1) | 0;
      const tick = this.#nowMs;
      if ((tick & SLOT_MASK) === 0) {
        this.#cascade(1, (tick >>> SLOT_BITS) & SLOT_MASK);
        if ((tick & 0xffff) === 0) {
          this.#cascade(2, (tick >>> (2 * SLOT_BITS)) & SLOT_MASK);
          if ((tick & 0xffffff) === 0) this.#cascade(3, (tick >>> (3 * SLOT_BITS)) & SLOT_MASK);
        }
      }
      const slot = tick & SLOT_MASK;
      for (let tcb = this.#slots[slot]!; tcb !== null; tcb = this.#slots[slot]!) {
        this.#unlink(tcb);
        tcb.firesAt = 0;
        fire(tcb);
      }
    }
  }

  /** Ticks, at most `limit`, that can be skipped at once: nothing fires and nothing cascades in them. */
  #emptyTicks(limit: number): number {
    const next = this.#nowMs + 1;
    // Up to the next multiple of 256, where a level above may come down.
    const most = Math.min(limit, SLOTS - 1 - (this.#nowMs & SLOT_MASK));
    let n = 0;
    while (n < most && (this.#occupied[((next + n) & SLOT_MASK) >> 5]! & (1 << ((next + n) & 31))) === 0) n++;
    return n;
  }

  /** Spreads a slot of a higher level over the levels below. */
  #cascade(level: number, index: number): void {
    const slot = level * SLOTS + index;
    let tcb = this.#slots[slot]!;
    this.#slots[slot] = null;
    this.#occupied[slot >> 5]! &= ~(1 << (slot & 31));
    while (tcb !== null) {
      const next: Tcb | null = tcb.wheelNext;
      tcb.wheelSlot = -1;
      this.size--;
      this.#link(tcb, 0);
      if (next === null) return;
      tcb = next;
    }
  }

  /** Milliseconds from the last `advance` until something may have to be done, -1 when empty. Never later than the truth. */
  nextIn(): number {
    if (this.size === 0) return -1;
    const toCascade = SLOTS - (this.#nowMs & SLOT_MASK);
    for (let n = 1; n < SLOTS; n++) {
      const slot = (this.#nowMs + n) & SLOT_MASK;
      if ((this.#occupied[slot >> 5]! & (1 << (slot & 31))) !== 0) return n;
      if (n >= toCascade && this.#anyAbove()) return toCascade;
    }
    // Nothing in the lowest level: the next slot of a higher level that is occupied. A far level may come
    // first: what it holds was put there long ago.
    let soonest = HORIZON_MS;
    for (let level = 1; level < LEVELS; level++) {
      const shift = level * SLOT_BITS;
      const base = this.#nowMs >>> shift;
      for (let n = 1; n <= SLOTS; n++) {
        const slot = level * SLOTS + ((base + n) & SLOT_MASK);
        if ((this.#occupied[slot >> 5]! & (1 << (slot & 31))) !== 0) {
          const at = ((base + n) << shift) | 0;
          soonest = Math.min(soonest, Math.max((at - this.#nowMs) | 0, 1));
          break;
        }
      }
    }
    return soonest;
  }

  #anyAbove(): boolean {
    for (let i = SLOTS >> 5; i < this.#occupied.length; i++) if (this.#occupied[i] !== 0) return true;
    return false;
  }
}
