/** The benchmark's arithmetic: medians, ratios, and when a mark counts as reached. */

import t from 'tap';
import { columnTable, median, ratioTable, verdicts } from '../../bench/report.ts';
import type { Cell } from '../../bench/report.ts';

function cell(workload: string, topology: string, values: number[], failures: string[] = []): [string, Cell] {
  const samples = values.map((value) => ({ value, result: { seconds: 1 }, serverCpu: { user: 0.5, system: 0.25 } }));
  return [`${workload}/${topology}`, { workload, topology, samples, failures }];
}

t.test('median', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.ok(Number.isNaN(median([])));
});

t.test('a mark is reached by the ratio of the medians', async (t) => {
  const found = verdicts(new Map([cell('out-1', 'tun', [8, 100, 8]), cell('out-1', 'veth', [10, 10, 1])]));
  t.equal(found.length, 1);
  t.match(found[0], { ratio: 0.8, mark: 0.8, pass: true, candidateValue: { median: 8, min: 8, max: 100 } });
  t.match(found[0], { cost: { user: 62.5, system: 31.25 } });
  const below = verdicts(new Map([cell('out-1', 'tun', [7.9]), cell('out-1', 'veth', [10])]));
  t.match(below[0], { pass: false });
  t.match(ratioTable(below), /0\.79 +\| ≥ 0\.8 +\| \*\*FAIL\*\*/);
});

t.test('a failure, or no sample at all, misses the mark', async (t) => {
  t.match(verdicts(new Map([cell('in-1', 'tun', [20], ['reset']), cell('in-1', 'veth', [10])])), [{ ratio: 2, pass: false }]);
  t.match(verdicts(new Map([cell('in-1', 'tun', []), cell('in-1', 'veth', [10])])), [{ pass: false }]);
});

t.test('only what was measured on both sides is compared; information has no mark', async (t) => {
  t.same(verdicts(new Map([cell('in-1', 'tun', [20])])), []);
  const found = verdicts(new Map([cell('rr-1', 'tun-plain', [1]), cell('rr-1', 'veth', [10])]));
  t.equal(found.length, 1);
  t.equal(found[0]?.mark, undefined);
  t.equal(found[0]?.pass, undefined);
});

t.test('a column is compared with the stack itself, and shows what each process costs', async (t) => {
  const [key, attached] = cell('rr-1', 'tcpu', [6000, 6500]);
  for (const sample of attached.samples) {
    sample.cpuOf = { stack: { user: 0.3, system: 0.15 }, application: { user: 0.2, system: 0.1 } };
  }
  const found = verdicts(new Map([[key, attached], cell('rr-1', 'tun', [10_000, 10_000])]));
  t.match(found, [{ column: 'tcpu', ratio: 0.625, mark: 0.6, pass: true, baselineCost: { user: 50, system: 25 } }]);
  t.ok(Math.abs(found[0]!.costOf!.stack.user - 48.08) < 0.01);
  t.match(columnTable(found), /tcpu +\| 6,250 \(6,000–6,500\) +\| tun +\| .* 0\.63 +\| ≥ 0\.6 +\| pass +\| 48\.1 \+ 24\.0 +\| 32\.1 \+ 16\.0 +\| 50\.0/);
});

t.test('in-process samples have no parts; columns without a mark have none', async (t) => {
  const found = verdicts(new Map([cell('crr', 'thread', [1]), cell('crr', 'tun', [1])]));
  t.equal(found.length, 1);
  t.match(found[0], { column: 'thread', mark: undefined, pass: undefined, costOf: undefined });
});
