/**
 * Random networks of the simulator, and random programs over them (scenario.ts): every byte arrives once and in order,
 * connections end, no memory is lost, what must hold of every TCB holds after every event. With scenarios-more.test.ts,
 * transfer.test.ts and tcpu-transfer.test.ts these are 2,000 seeds in every run, and 20,000 with TCPU_NIGHTLY=1.
 *
 *     TCPU_SEEDS=5000   that many seeds
 *     TCPU_SEED=123     this one only
 */

import t from 'tap';
import { drawScenario, runScenario } from './scenario.ts';
import { scenarios } from './scenarios.ts';
import { seeds } from './transfers.ts';

const SEEDS = seeds(600);

t.test('every byte arrives once and in order', { timeout: Math.max(SEEDS * 1000, 110_000) }, async (t) => scenarios(t, 1, SEEDS));

t.test('a seed gives the same packets at the same times', async (t) => {
  const hashes = new Set<string>();
  for (let seed = 1; seed <= 10; seed++) {
    const { hash } = runScenario(drawScenario(seed));
    t.equal(runScenario(drawScenario(seed)).hash, hash, `seed ${seed}`);
    hashes.add(hash);
  }
  t.equal(hashes.size, 10);
});
