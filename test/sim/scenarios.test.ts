/**
 * Random networks of the simulator, and random programs over them (scenario.ts): every byte arrives once and in order,
 * connections end, no memory is lost, what must hold of every TCB holds after every event. With transfer.test.ts and
 * tcpu-transfer.test.ts these are 2,000 seeds in every run, and 20,000 with TCPU_NIGHTLY=1.
 *
 *     TCPU_SEEDS=5000   that many seeds
 *     TCPU_SEED=123     this one only
 */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { drawScenario, runScenario } from './scenario.ts';
import { ONLY, seeds } from './transfers.ts';

const SEEDS = seeds(1200);
const MOST_FAILURES = 5;

t.test('every byte arrives once and in order', { timeout: Math.max(SEEDS * 1000, 110_000) }, async (t) => {
  const failures: string[] = [];
  const total: Record<string, number> = {};
  const first = ONLY ?? 1;
  const last = ONLY ?? SEEDS;
  for (let seed = first; seed <= last && failures.length < MOST_FAILURES; seed++) {
    const scenario = drawScenario(seed);
    const { failure, hash, ...sums } = runScenario(scenario);
    for (const [name, value] of Object.entries(sums)) total[name] = (total[name] ?? 0) + value;
    if (ONLY !== undefined) t.comment(`hash ${hash}`);
    if (failure === '') continue;
    const path = join(mkdtempSync(join(tmpdir(), 'tcpu-sim-')), `seed-${seed}.pcapng`);
    runScenario(scenario, path);
    failures.push(`seed ${seed}: ${failure}\n  ${JSON.stringify(scenario)}\n  the last packets: ${path}\n`
      + `  again: TCPU_SEED=${seed} node --import=tsx ${process.argv[1]}`);
  }
  t.comment(`${last - first + 1} seeds: ${Object.entries(total).map(([name, value]) => `${name} ${Math.round(value)}`).join(', ')}`);
  t.equal(failures.join('\n\n'), '');
  if (ONLY === undefined) t.ok(total.retransmitted! > SEEDS * 10 && total.rtos! > SEEDS / 10, 'there was something to repair');
});

t.test('a seed gives the same packets at the same times', async (t) => {
  const hashes = new Set<string>();
  for (let seed = 1; seed <= 10; seed++) {
    const { hash } = runScenario(drawScenario(seed));
    t.equal(runScenario(drawScenario(seed)).hash, hash, `seed ${seed}`);
    hashes.add(hash);
  }
  t.equal(hashes.size, 10);
});
