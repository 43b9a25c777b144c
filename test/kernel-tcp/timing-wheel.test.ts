/** The timing wheel against a list: everything fires at its millisecond, over cascades and the wrap of int32 time. */

import fc from 'fast-check';
import t from 'tap';
import { TimingWheel } from '../../lib/kernel/timing-wheel.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { STARTS, asTcb, entry, stepsOf } from './timer-entries.ts';
import type { Entry } from './timer-entries.ts';

const delays = fc.oneof(
  fc.integer({ min: 1, max: 10 }), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 200, max: 70_000 }),
  fc.integer({ min: 65_000, max: 20_000_000 }),
  fc.constantFrom(255, 256, 257, 65_535, 65_536, 65_537, 0xffffff, 0x1000000, 0x1000001),
);

const steps = stepsOf(12, delays);

t.test('fires exactly at the millisecond, never early, never late', (t) => {
  fc.assert(fc.property(STARTS, steps, (start, list) => {
    const wheel = new TimingWheel(start);
    const entries = Array.from({ length: 12 }, entry);
    let now: number = start;
    const fired = (tcb: Tcb): void => {
      const e = tcb as unknown as Entry;
      // Time stops at the tick that fires: the model checks with what the wheel believes.
      if (e.due === Infinity) throw new Error('fired, but was not set');
      firedNow.push(e);
    };
    let firedNow: Entry[] = [];
    const advanceTo = (to: number): void => {
      // Tick by tick where the model says something happens, in one leap elsewhere.
      while (now < to) {
        const nextDue = Math.min(to, ...entries.map((e) => e.due));
        if (nextDue > now + 1) {
          const target = nextDue - 1;
          firedNow = [];
          wheel.advance(target | 0, fired);
          if (firedNow.length > 0) throw new Error(`early: due ${firedNow[0]!.due}, now ${target}`);
          now = target;
        }
        firedNow = [];
        now = Math.min(now + 1, to);
        wheel.advance(now | 0, fired);
        for (const e of firedNow) if (e.due !== now) throw new Error(`due ${e.due}, fired ${now}`);
        for (const e of entries) {
          if (e.due === now && !firedNow.includes(e)) throw new Error(`due ${e.due}, did not fire`);
          if (firedNow.includes(e)) e.due = Infinity;
        }
      }
    };
    for (const step of list) {
      const e = entries[step.who]!;
      if (step.kind === 'set') {
        wheel.set(asTcb(e), (now + step.ms) | 0);
        e.due = now + step.ms;
      } else if (step.kind === 'remove') {
        wheel.remove(asTcb(e));
        e.due = Infinity;
      } else if (step.kind === 'pass') {
        advanceTo(now + step.ms);
      } else {
        // What the wheel asks to be woken for must not be later than the truth, and must lead there.
        const first = Math.min(...entries.map((x) => x.due));
        for (let turns = 0; first !== Infinity && entries.some((x) => x.due === first); turns++) {
          const wait = wheel.nextIn();
          if (wait < 1) throw new Error(`nextIn ${wait}`);
          if (now + wait > first) throw new Error(`nextIn ${wait} from ${now} is later than ${first}`);
          if (turns > 5) throw new Error('nextIn does not lead to the first deadline in a few steps');
          advanceTo(now + wait);
        }
        if (!entries.some((x) => x.due !== Infinity) && wheel.nextIn() !== -1) throw new Error('nextIn of an empty wheel');
      }
      if (wheel.size !== entries.filter((x) => x.due !== Infinity).length) throw new Error('size');
    }
  }), { numRuns: 200 });
  t.pass();
  t.end();
});

t.test('a callback that sets again, sets others and removes others', (t) => {
  const wheel = new TimingWheel(0);
  const a = entry();
  const b = entry();
  const c = entry();
  const log: string[] = [];
  wheel.set(asTcb(a), 10);
  wheel.set(asTcb(b), 10);
  wheel.set(asTcb(c), 20);
  const fire = (tcb: Tcb): void => {
    const e = tcb as unknown as Entry;
    log.push(e === a ? 'a' : e === b ? 'b' : 'c');
    if (e === a && log.length < 4) {
      wheel.set(asTcb(a), 15);
      wheel.remove(asTcb(b));
      wheel.remove(asTcb(c));
    } else if (e === b) {
      wheel.remove(asTcb(a));
      wheel.set(asTcb(a), 10);
    }
  };
  for (let ms = 1; ms <= 30; ms++) wheel.advance(ms, fire);
  t.ok(log.length >= 2 && log.length <= 5, log.join());
  t.equal(wheel.size, 0);
  t.end();
});

t.test('a deadline that has passed fires at the next tick', (t) => {
  const wheel = new TimingWheel(1000);
  const e = entry();
  let fired = 0;
  wheel.set(asTcb(e), 500);
  t.equal(wheel.nextIn(), 1);
  wheel.advance(1001, () => fired++);
  t.equal(fired, 1);
  t.end();
});

t.test('a far deadline does not wake the stack again and again', (t) => {
  const wheel = new TimingWheel(12_345);
  wheel.set(asTcb(entry()), 12_345 + 7_200_000);
  let wakes = 0;
  let now = 12_345;
  let fired = false;
  while (!fired) {
    now += wheel.nextIn();
    wheel.advance(now, () => (fired = true));
    wakes++;
  }
  t.equal(now, 12_345 + 7_200_000);
  t.ok(wakes <= 4, `${wakes} wake-ups in two hours: one for each level`);
  t.end();
});

t.test('deadlines as far away as int32 time allows, across its wrap', (t) => {
  for (const delay of [0x1000000, 0x12345678, 0x7ffffe00]) {
    const wheel = new TimingWheel(0x70000000);
    const e = entry();
    wheel.set(asTcb(e), (0x70000000 + delay) | 0);
    let at = 0;
    wheel.advance((0x70000000 + delay - 1) | 0, () => (at = delay - 1));
    t.equal(at, 0, `${delay} ms: not before`);
    wheel.advance((0x70000000 + delay) | 0, () => (at = delay));
    t.equal(at, delay, `${delay} ms: then`);
  }
  t.end();
});
