/** Every parser alone (parsers.ts): nothing is thrown but what is documented, nothing is read that is not there, no hang. */

import t from 'tap';
import { SeededRandom } from '../../lib/random.ts';
import { SEED, inputs, timeLimit } from './budget.ts';
import { Mutator } from './mutate.ts';
import { REFUSED, parsers } from './parsers.ts';

const INPUTS = inputs('parsers');
/** Inputs between two looks at the processor time, and the most that they may take, ms. */
const LOOK = 100;
const SLOW_MS = 400;

const weights = parsers.reduce((sum, { weight }) => sum + weight, 0);

for (const [i, { name, weight, start }] of parsers.entries()) {
  const count = Math.ceil((INPUTS * weight) / weights);
  t.test(name, { timeout: timeLimit(count) }, async (t) => {
    const mutator = new Mutator(new SeededRandom(SEED * 1000 + i));
    const run = start();
    let refused = 0;
    let made = 0;
    let cpu = process.cpuUsage();
    let slowestMs = 0;
    const begun = cpu;
    try {
      for (; made < count; made++) {
        if (run.run(mutator) === REFUSED) refused++;
        if (made % LOOK !== 0) continue;
        const { user, system } = process.cpuUsage(cpu);
        cpu = process.cpuUsage();
        slowestMs = Math.max(slowestMs, (user + system) / 1000);
      }
      run.end?.();
    } catch (error) {
      t.fail(`TCPU_FUZZ_SEED=${SEED}, input ${made}: ${run.shown()}\n${error instanceof Error ? error.stack : String(error)}`);
    }
    const { user } = process.cpuUsage(begun);
    t.comment(`${made} inputs, ${(user / made).toFixed(1)} µs each, ${refused} refused`);
    t.ok(slowestMs < SLOW_MS, `${LOOK} inputs took ${slowestMs.toFixed(0)} ms at most`);
    // A parser that takes everything, or nothing, was not tested.
    t.ok(refused > made / 200 && refused < made * 0.995, 'some were taken, some refused');
  });
}
