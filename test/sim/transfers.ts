/**
 * Hundreds of draws, one after the other; the suites that differ in what they draw share this.
 *
 *     TCPU_SEEDS=5000   that many seeds instead of the suite's own number
 *     TCPU_SEED=123     this one only, with a capture of what each stack saw
 *     TCPU_NIGHTLY=1    ten times as many
 */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Draw } from './draw.ts';
import { simulate } from './simulation.ts';

/** The only seed to run, if one was named. */
export const ONLY = process.env.TCPU_SEED === undefined ? undefined : Number(process.env.TCPU_SEED);
/** What the nightly run has more of. */
const NIGHTLY = process.env.TCPU_NIGHTLY === '1' ? 10 : 1;
/** More failures than this are not worth their captures. */
const MOST_FAILURES = 5;

/** Runs the draw again, recording it. Returns where. */
function record(draw: Draw): string {
  const directory = mkdtempSync(join(tmpdir(), `tcpu-sim-${draw.seed}-`));
  simulate(draw, { captures: [join(directory, 'stack0.pcapng'), join(directory, 'stack1.pcapng')] });
  return directory;
}

function report(draw: Draw, failure: string): string {
  return `seed ${draw.seed}: ${failure}\n  ${JSON.stringify(draw)}\n  recorded in ${record(draw)}\n`
    + `  again: TCPU_SEED=${draw.seed} node --import=tsx ${process.argv[1]}`;
}

/** Seeds of a suite that runs `usual` of them when nobody asks for another number, and ten times as many at night. */
export function seeds(usual: number): number {
  return Number(process.env.TCPU_SEEDS ?? usual * NIGHTLY);
}

/** Simulates seeds 1 … `count`; none may fail. Returns sums over all of them, null when only one seed was asked for. */
export function transfers(t: Test, draw: (seed: number) => Draw, count: number): Record<string, number> | null {
  const failures: string[] = [];
  const total: Record<string, number> = {};
  const first = ONLY ?? 1;
  const last = ONLY ?? count;
  for (let seed = first; seed <= last && failures.length < MOST_FAILURES; seed++) {
    const { failure, ...sums } = simulate(draw(seed));
    for (const [name, value] of Object.entries(sums)) total[name] = (total[name] ?? 0) + value;
    if (failure !== '') failures.push(report(draw(seed), failure));
  }
  if (ONLY !== undefined && failures.length === 0) t.comment(`recorded in ${record(draw(first))}`);
  t.comment(`${last - first + 1} seeds: ${Object.entries(total).map(([name, value]) => `${name} ${Math.round(value)}`).join(', ')}`);
  t.equal(failures.join('\n\n'), '');
  return ONLY === undefined ? total : null;
}
