/** The test that the files state-segment-linux-….test.ts share: each has some of the states, so that none takes long. */

import { readFileSync } from 'node:fs';
import t from 'tap';
import { compare } from './linux-compare.ts';
import { EXPLANATIONS, recordedDifferences, recordedKernel } from './linux-differences.ts';
import type { Difference } from './linux-differences.ts';
import type { SituationName } from './situations.ts';

export const DOCUMENT = new URL('../../docs/LINUX-DIFFERENCES.md', import.meta.url);

const row = (d: Difference): string => `${d.situation} | ${d.arrival} | ${d.ours} | ${d.theirs}`;

export function linuxSuite(names: readonly SituationName[]): void {
  t.setTimeout(120_000);
  t.test('each difference from Linux is known and explained', { timeout: 110_000 }, async (t) => {
    const text = readFileSync(DOCUMENT, 'utf8');
    const recorded = recordedDifferences(text);
    const found = await compare(names, recorded);
    for (const d of found.unexplained) t.fail(`not explained: ${row(d)}`);
    const differ = new Map<string, Difference>();
    for (const list of found.groups.values()) for (const d of list) differ.set(`${d.situation} | ${d.arrival}`, d);
    const sameKernel = found.kernel === recordedKernel(text);
    // Another Linux may do other things: what can be explained is only told then.
    const complain = (message: string): void => {
      if (sameKernel) t.fail(`${message} (npm run conformance -- --linux writes docs/LINUX-DIFFERENCES.md anew)`);
      else t.comment(`${message}: Linux ${found.kernel}, recorded with ${recordedKernel(text)}`);
    };
    for (const [key, d] of differ) {
      const known = recorded.get(key);
      if (known === undefined) complain(`explained, but not in the file: ${row(d)}`);
      else if (row(known) !== row(d)) complain(`the file says otherwise: ${row(known)}; now ${row(d)}`);
    }
    for (const [key, d] of recorded) {
      if ((names as readonly string[]).includes(d.situation) && !differ.has(key)) complain(`in the file, but no difference any more: ${row(d)}`);
    }
    t.ok(found.cases >= names.length * 80, `${found.cases} cases, ${differ.size} differ`);
    t.ok(EXPLANATIONS.length > 0);
  });
}
