/**
 * The soak (soak.ts): twenty seconds in CI, an hour in nightly mode, and neither memory nor descriptors grow.
 *
 *     TCPU_SOAK_MINUTES=10 node --import=tsx test/soak/soak.test.ts
 */

import '../kernel/namespace.ts';
import t from 'tap';
import { lacking } from '../kernel/harness.ts';
import { soak, thirds } from './soak.ts';
import type { Sample } from './soak.ts';

const MINUTES = Number(process.env['TCPU_SOAK_MINUTES'] ?? (process.env['TCPU_NIGHTLY'] === '1' ? 60 : 20 / 60));
/** From here on it is no longer warming up that is measured. */
const LONG = MINUTES >= 5;
const MIB = 1 << 20;

/**
 * What the median of the last third may be above that of the middle third: in a short run, and in a long one. Packet memory
 * is committed where it is touched for the first time, so RSS goes on rising for a while.
 */
const LIMITS: [of: keyof Sample, short: number, long: number, unit: number, name: string][] = [
  ['rss', 96 * MIB, 32 * MIB, MIB, 'MiB'], ['heapUsed', 12 * MIB, 4 * MIB, MIB, 'MiB'], ['external', 16 * MIB, 8 * MIB, MIB, 'MiB'],
  ['arrayBuffers', 16 * MIB, 8 * MIB, MIB, 'MiB'], ['descriptors', 6, 4, 1, 'descriptors'], ['blocks', 4000, 2000, 1, 'blocks'],
];

const skip = lacking('curl', 'iperf3', 'nft', 'nsenter', process.env['CC'] ?? 'cc');

t.test('a mix of everything', { skip, timeout: MINUTES * 60_000 + (LONG ? 300_000 : 100_000) }, async (t) => {
  const result = await soak(t, MINUTES, LONG ? 120_000 : 2000);
  const { samples, before, after, done, problems, counters } = result;
  t.comment(`${MINUTES.toFixed(1)} minutes: ${Object.entries(done).map(([name, times]) => `${name} ${times}`).join(', ')}`);
  for (const layer of ['tcp', 'ip']) {
    t.comment(`${layer} ${JSON.stringify(Object.fromEntries(Object.entries(counters[layer] ?? {}).filter(([, value]) => value !== 0)))}`);
  }
  t.same(problems, [], 'every transfer was right');
  t.ok(Object.values(done).every((times) => times > 0), 'everything took part');
  t.ok(samples.length >= 9, `${samples.length} samples`);
  for (const [of, short, long, unit, name] of LIMITS) {
    const [middle, last] = thirds(samples, of);
    const show = (value: number): string => (value / unit).toFixed(1);
    t.ok(last - middle <= (LONG ? long : short),
      `${of}: ${show(before[of])} before, ${show(middle)}, then ${show(last)} ${name}, ${show(after[of])} after`);
  }
  t.ok(after.descriptors <= before.descriptors + 1, `${after.descriptors} descriptors at the end, ${before.descriptors} before`);
  if (LONG) {
    t.equal(after.connections, 0, 'no connection is left');
    // UDP keeps one block, which it fills up with what waits for the link.
    t.ok(after.blocks <= before.blocks + 1, `${after.blocks} blocks in use at the end, ${before.blocks} before`);
  }
  t.equal(result.exitCode, 0, 'it ends in order');
  t.equal(result.stderr, '', 'nothing was complained about');
});
