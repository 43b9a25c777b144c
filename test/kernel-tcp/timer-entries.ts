/** What the tests of timer queues (the wheel, the heap) share: TCBs that are nothing but timers, and what is done with them. */

import fc from 'fast-check';
import type { Tcb } from '../../lib/tcp/tcb.ts';

/** What a timer queue knows of a TCB. */
export interface Entry {
  firesAt: number;
  wheelNext: Tcb | null;
  wheelPrevious: Tcb | null;
  wheelSlot: number;
  /** Model: when it must fire, as a number that does not wrap; Infinity: not set. */
  due: number;
}

export function entry(): Entry {
  return { firesAt: 0, wheelNext: null, wheelPrevious: null, wheelSlot: -1, due: Infinity };
}

export const asTcb = (e: Entry): Tcb => e as unknown as Tcb;

export interface Step {
  kind: 'set' | 'remove' | 'pass' | 'next';
  who: number;
  ms: number;
}

/** Up to 80 steps with `entries` of them: set after one of `delays`, remove, let time pass, go on to the next deadline. */
export function stepsOf(entries: number, delays: fc.Arbitrary<number>): fc.Arbitrary<Step[]> {
  const who = fc.nat(entries - 1);
  const none = fc.constant(0);
  return fc.array(fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('set' as const), who, ms: delays }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), who, ms: none }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('pass' as const), who: none, ms: fc.integer({ min: 0, max: 700 }) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('next' as const), who: none, ms: none }) },
  ), { minLength: 1, maxLength: 80 });
}

/** Times to begin at: around the wraps of int32. */
export const STARTS: fc.Arbitrary<number> = fc.constantFrom<number[]>(
  0, 1_000_000, 0x7fffff00, 0x7fffffff, -0x80000000, -256, -1, 0x7f000000, -0x1000001,
);
