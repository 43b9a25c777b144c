/**
 * Random networks of the simulator, and random programs over them (scenario.ts), one seed after the other; the suites
 * that share this differ in the seeds. TCPU_SEEDS, TCPU_SEED and TCPU_NIGHTLY as in transfers.ts.
 */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { drawScenario, runScenario } from './scenario.ts';
import { ONLY } from './transfers.ts';

/** More failures than this are not worth their captures. */
const MOST_FAILURES = 5;

/** Seeds `first` to `first + count - 1`; none may fail. */
export function scenarios(t: Test, first: number, count: number): void {
  const failures: string[] = [];
  const total: Record<string, number> = {};
  const begin = ONLY ?? first;
  const end = ONLY ?? first + count - 1;
  for (let seed = begin; seed <= end && failures.length < MOST_FAILURES; seed++) {
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
  t.comment(`${end - begin + 1} seeds: ${Object.entries(total).map(([name, value]) => `${name} ${Math.round(value)}`).join(', ')}`);
  t.equal(failures.join('\n\n'), '');
  // A network that loses nothing would prove nothing.
  if (ONLY === undefined) t.ok(total.retransmitted! > count * 5 && total.rtos! > count / 2, 'there was something to repair');
}
