/** Measures where Linux differs, and writes docs/LINUX-DIFFERENCES.md: `npm run conformance -- --linux`. */

import '../kernel/namespace.ts';
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { compare } from './linux-compare.ts';
import { differencesDocument, recordedDifferences } from './linux-differences.ts';
import { DOCUMENT } from './linux-suite.ts';
import { SITUATIONS } from './situations.ts';

t.setTimeout(600_000);
let recorded = '';
try {
  recorded = readFileSync(DOCUMENT, 'utf8');
} catch {
  // The first time there is none.
}
const found = await compare(SITUATIONS, recordedDifferences(recorded));
writeFileSync(DOCUMENT, differencesDocument(found.groups, found.cases, found.kernel));
for (const d of found.unexplained) process.stderr.write(`not explained: ${d.situation} | ${d.arrival} | ${d.ours} | ${d.theirs}\n`);
for (const [explanation, list] of found.groups) if (list.length === 0) process.stderr.write(`explains nothing: ${explanation.title}\n`);
process.exit(found.unexplained.length > 0 ? 1 : 0);
