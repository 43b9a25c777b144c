/**
 * Two stacks over a bad network, in virtual time, hundreds of seeds: every byte arrives once and in
 * order, both ends see the end, connections end, no block of memory is lost, the invariants hold.
 *
 *     TCPU_SEEDS=5000   that many seeds instead of 500
 *     TCPU_SEED=123     this one only, with a capture of what each stack saw
 */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { draw } from './draw.ts';
import { simulate } from './simulation.ts';

const SEEDS = Number(process.env.TCPU_SEEDS ?? 500);
const ONLY = process.env.TCPU_SEED;
/** More failures than this are not worth their captures. */
const MOST_FAILURES = 5;

/** Runs the seed again, recording it. Returns where. */
function record(seed: number): string {
  const directory = mkdtempSync(join(tmpdir(), `tcpu-sim-${seed}-`));
  simulate(draw(seed), { captures: [join(directory, 'stack0.pcapng'), join(directory, 'stack1.pcapng')] });
  return directory;
}

function report(seed: number, failure: string): string {
  return `seed ${seed}: ${failure}\n  ${JSON.stringify(draw(seed))}\n  recorded in ${record(seed)}\n`
    + `  again: TCPU_SEED=${seed} node --import=tsx test/sim/transfer.test.ts`;
}

t.test('every byte arrives once and in order', { timeout: Math.max(SEEDS * 1000, 110_000) }, async (t) => {
  const failures: string[] = [];
  const total = { ms: 0, bytes: 0, segments: 0, retransmitted: 0, rtos: 0, checks: 0 };
  const first = ONLY === undefined ? 1 : Number(ONLY);
  const last = ONLY === undefined ? SEEDS : first;
  for (let seed = first; seed <= last && failures.length < MOST_FAILURES; seed++) {
    const result = simulate(draw(seed));
    total.ms += result.ms;
    total.bytes += result.bytes;
    total.segments += result.segments;
    total.retransmitted += result.retransmitted;
    total.rtos += result.rtos;
    total.checks += result.checks;
    if (result.failure !== '') failures.push(report(seed, result.failure));
  }
  if (ONLY !== undefined && failures.length === 0) t.comment(`seed ${ONLY}: ${JSON.stringify(total)}, recorded in ${record(first)}`);
  t.comment(`${last - first + 1} seeds, ${Math.round(total.ms / 1000)} s of virtual time, ${total.bytes} bytes, ${total.segments} segments,`
    + ` ${total.retransmitted} sent again, ${total.rtos} timeouts, ${total.checks} TCBs checked`);
  t.equal(failures.join('\n\n'), '');
  // A network that loses nothing would prove nothing.
  if (ONLY === undefined) t.ok(total.retransmitted > SEEDS * 10 && total.rtos > SEEDS / 10, 'there was something to repair');
});
