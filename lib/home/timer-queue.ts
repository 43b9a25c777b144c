/**
 * The clock of a home. The kernel-style TCP has one for all its connections, a timing wheel
 * (lib/kernel/timing-wheel.ts); TCP in an application has none that runs: the earliest deadline is the
 * timeout of its wait (lib/tcpu/deadlines.ts; section 4.2 of the report).
 */

import type { Tcb } from '../tcp/tcb.ts';

export interface TimerQueue {
  /** TCBs that wait. */
  readonly size: number;
  /** Puts the TCB in at `atMs` (int32), or moves it there; `tcb.firesAt` says where it is. */
  set(tcb: Tcb, atMs: number): void;
  remove(tcb: Tcb): void;
  /** Calls `fire` for every TCB whose time has come by `nowMs`. `fire` may set TCBs again. */
  advance(nowMs: number, fire: (tcb: Tcb) => void): void;
  /** Milliseconds from the last `advance` until something may have to be done, -1 when empty. */
  nextIn(): number;
}
