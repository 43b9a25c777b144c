/** The timing wheel against a plain list: what is due fires, in its millisecond, and `nextIn` never says later. */

import t from 'tap';
import { TimingWheel } from '../../lib/kernel/timing-wheel.ts';
import { SeededRandom } from '../../lib/random.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';

/** As much of a TCB as the wheel looks at. */
function timed(): Tcb {
  return { firesAt: 0, wheelNext: null, wheelPrevious: null, wheelSlot: -1 } as unknown as Tcb;
}

t.test('sleeping for as long as nextIn says misses nothing', async (t) => {
  let late = 0;
  let missed = 0;
  let idle = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const random = new SeededRandom(seed);
    // Some begin just before int32 wraps.
    let nowMs = seed % 3 === 0 ? 0x7fffffff - 5000 : seed % 3 === 1 ? -5000 : 1_000_000;
    const wheel = new TimingWheel(nowMs);
    const due = new Map<Tcb, number>();
    const fire = (tcb: Tcb): void => {
      const at = due.get(tcb);
      if (at === undefined) throw new Error('fired, and was not set');
      if (((at - nowMs) | 0) > 0) throw new Error('fired early');
      if (((nowMs - at) | 0) > 0) late++;
      due.delete(tcb);
    };
    for (let step = 0; step < 600; step++) {
      if (due.size < 8 && random.unit() < 0.7) {
        const tcb = timed();
        // From a millisecond to three hours, each power of ten as likely as the other.
        const at = (nowMs + Math.max(Math.round(10_800_000 ** random.unit()), 1)) | 0;
        due.set(tcb, at);
        wheel.set(tcb, at);
      }
      const next = wheel.nextIn();
      if (next < 0) {
        t.equal(due.size, 0);
        continue;
      }
      // Sometimes something else wakes the stack before.
      const sleep = random.unit() < 0.3 ? Math.max(Math.floor(next * random.unit()), 1) : next;
      const before = due.size;
      nowMs = (nowMs + sleep) | 0;
      wheel.advance(nowMs, fire);
      if (due.size === before) idle++;
      for (const at of due.values()) if (((nowMs - at) | 0) >= 0) missed++;
    }
  }
  t.equal(late, 0, 'nothing fires late');
  t.equal(missed, 0, 'nothing is left that was due');
  t.ok(idle < 30 * 600 * 0.9, `${idle} wakings for nothing`);
});
