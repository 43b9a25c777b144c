/**
 * The table of test/sim/matrix.snapshot.md (matrix.ts measures it) is what comes out. The simulator is exact, so a figure
 * moves only when the code does; small moves are allowed, others are to be looked at and written down: TCPU_UPDATE=1.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { LOSSES, formatMatrix, measureMatrix, parseMatrix } from './matrix.ts';

const SNAPSHOT = new URL('matrix.snapshot.md', import.meta.url);
/** How far a figure may move. */
const GOODPUT_TOLERANCE = 0.06;
const JAIN_TOLERANCE = 0.12;

t.test('goodput and fairness over loss, reordering, jitter, rate and buffer', { timeout: 110_000 }, async (t) => {
  const rows = measureMatrix();
  if (process.env.TCPU_UPDATE === '1') writeFileSync(SNAPSHOT, formatMatrix(rows));
  const known = parseMatrix(readFileSync(SNAPSHOT, 'utf8'));
  t.equal(known.length, rows.length, 'rows');
  const moved: string[] = [];
  for (const [i, { rate, buffer, disturbance, cells }] of rows.entries()) {
    const before = known[i]!;
    t.match(before, { rate, buffer, disturbance });
    for (const [j, { goodput, jain }] of cells.entries()) {
      const was = before.cells[j]!;
      if (Math.abs(goodput - was.goodput) <= GOODPUT_TOLERANCE && Math.abs(jain - was.jain) <= JAIN_TOLERANCE) continue;
      moved.push(`${rate}, ${buffer}, ${disturbance === '' ? 'calm' : disturbance}, ${LOSSES[j]! * 100} % lost: `
        + `goodput ${was.goodput.toFixed(2)} → ${goodput.toFixed(2)}, Jain ${was.jain.toFixed(2)} → ${jain.toFixed(2)}`);
    }
  }
  t.same(moved, [], 'no figure has moved; TCPU_UPDATE=1 node --import=tsx test/sim/matrix.test.ts writes them anew');
});
