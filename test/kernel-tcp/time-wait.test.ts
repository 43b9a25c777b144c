/** The TIME-WAIT table against a list; what it costs when pairs are used again and again. */

import fc from 'fast-check';
import t from 'tap';
import { TimeWaitTable } from '../../lib/home/time-wait.ts';

t.test('rows expire in order; removed and restarted ones do not get in the way', (t) => {
  const step = fc.tuple(fc.constantFrom('add', 'add', 'add', 'remove', 'restart', 'pass'), fc.nat(1000));
  fc.assert(fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
    const table = new TimeWaitTable();
    let now = 0x7ffff000;
    let serial = 0;
    const live = new Map<number, { row: number; expires: number; order: number }>();
    let order = 0;
    for (const [kind, n] of steps) {
      const some = [...live.keys()][n % Math.max(live.size, 1)];
      if (kind === 'add') {
        const entry = serial++;
        const row = table.add(entry, (now + 60_000) | 0, entry * 3, entry * 5, n, (n & 1) === 1, -n, n * 7, n & 0xff, 64);
        live.set(entry, { row, expires: now + 60_000, order: order++ });
        const fields = [
          table.rcvNxt(row), table.sndNxt(row), table.window(row), table.tsRecent(row), table.timestamps(row), table.tsOffset(row),
          table.tos(row), table.ttl(row),
        ];
        const want = [entry * 5, entry * 3, n, -n, (n & 1) === 1, n * 7, n & 0xff, 64];
        if (fields.some((field, i) => field !== want[i] && !(field === 0 && want[i] === 0))) throw new Error(`fields ${fields}`);
      } else if (kind === 'remove' && some !== undefined) {
        table.remove(live.get(some)!.row);
        live.delete(some);
      } else if (kind === 'restart' && some !== undefined) {
        const { row } = live.get(some)!;
        table.restart(row, (now + 60_000) | 0);
        if (table.rcvNxt(row) !== some * 5) throw new Error('restart');
        live.set(some, { row, expires: now + 60_000, order: order++ });
      } else if (kind === 'pass') {
        now += n * 50;
        for (let entry = table.expire(now | 0); entry >= 0; entry = table.expire(now | 0)) {
          const e = live.get(entry);
          if (e === undefined || e.expires > now) throw new Error(`entry ${entry} expired early`);
          live.delete(entry);
        }
        for (const e of live.values()) if (e.expires <= now) throw new Error('late');
      }
      if (table.size !== live.size) throw new Error('size');
      const oldest = [...live.entries()].sort((a, b) => a[1].order - b[1].order)[0];
      if (table.oldestEntry !== (oldest === undefined ? -1 : oldest[0])) throw new Error('oldest');
      if (oldest !== undefined && table.nextMs !== (oldest[1].expires | 0)) throw new Error('next');
    }
  }), { numRuns: 200 });
  t.pass();
  t.end();
});

t.test('a pair that is used again and again takes the place of one', (t) => {
  const table = new TimeWaitTable();
  const before = process.memoryUsage().arrayBuffers;
  const first = table.add(1, 60_000, 0, 0, 0, false, 0, 0, 0, 64);
  let highest = 0;
  for (let i = 0; i < 300_000; i++) {
    const row = table.add(2, 60_000, 0, 0, 0, false, 0, 0, 0, 64);
    highest = Math.max(highest, row);
    table.remove(row);
  }
  t.ok(highest <= first + 2);
  t.ok(process.memoryUsage().arrayBuffers - before < 1 << 20, 'no growth');
  t.end();
});
