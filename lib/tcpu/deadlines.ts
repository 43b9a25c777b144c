/**
 * The timers of TCP in an application (4.2 of the report): "the timer management moved to the interface
 * between the application and TCPU". There is no clock that runs; the earliest deadline is the timeout of
 * the wait for the next segment (of Node's event loop, where the report has `select`), and an
 * application without deadlines waits for ever.
 *
 * A binary heap of TCBs by `firesAt`. As with the timing wheel, a deadline that moves to later leaves the
 * TCB where it is: it fires early, finds nothing due, and is set again.
 */

import type { TimerQueue } from '../home/timer-queue.ts';
import type { Tcb } from '../tcp/tcb.ts';

export class Deadlines implements TimerQueue {
  /** `heap[i]` is due no later than `heap[2i + 1]` and `heap[2i + 2]`; `tcb.wheelSlot` is its index. */
  readonly #heap: Tcb[] = [];
  #nowMs: number;

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  get size(): number {
    return this.#heap.length;
  }

  set(tcb: Tcb, atMs: number): void {
    const heap = this.#heap;
    let i = tcb.wheelSlot;
    if (i < 0) {
      i = heap.length;
      heap.push(tcb);
      tcb.wheelSlot = i;
    }
    tcb.firesAt = atMs;
    this.#up(i);
    this.#down(tcb.wheelSlot);
  }

  remove(tcb: Tcb): void {
    const i = tcb.wheelSlot;
    tcb.firesAt = 0;
    if (i < 0) return;
    tcb.wheelSlot = -1;
    const last = this.#heap.pop()!;
    if (last === tcb) return;
    this.#heap[i] = last;
    last.wheelSlot = i;
    this.#up(i);
    this.#down(last.wheelSlot);
  }

  advance(nowMs: number, fire: (tcb: Tcb) => void): void {
    this.#nowMs = nowMs;
    // What is set again meanwhile fires in the next millisecond at the earliest.
    for (let left = this.#heap.length; left > 0; left--) {
      const tcb = this.#heap[0];
      if (tcb === undefined || ((tcb.firesAt - nowMs) | 0) > 0) return;
      this.remove(tcb);
      fire(tcb);
    }
  }

  nextIn(): number {
    const first = this.#heap[0];
    return first === undefined ? -1 : Math.max((first.firesAt - this.#nowMs) | 0, 1);
  }

  #up(i: number): void {
    const heap = this.#heap;
    const tcb = heap[i]!;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const other = heap[parent]!;
      if (((other.firesAt - tcb.firesAt) | 0) <= 0) break;
      heap[i] = other;
      other.wheelSlot = i;
      i = parent;
    }
    heap[i] = tcb;
    tcb.wheelSlot = i;
  }

  #down(i: number): void {
    const heap = this.#heap;
    const tcb = heap[i]!;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && ((heap[child + 1]!.firesAt - heap[child]!.firesAt) | 0) < 0) child++;
      const other = heap[child]!;
      if (((tcb.firesAt - other.firesAt) | 0) <= 0) break;
      heap[i] = other;
      other.wheelSlot = i;
      i = child;
    }
    heap[i] = tcb;
    tcb.wheelSlot = i;
  }
}
