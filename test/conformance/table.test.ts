/**
 * docs/CONFORMANCE.md: every id of RFC 9293 appendix B has its row, every test that a row names exists and would run, and the
 * file is what the rows make. docs/LINUX-DIFFERENCES.md: its explanations are those of the code, each with a case.
 */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { conformanceDocument, reference } from './document.ts';
import { EXPLANATIONS, differencesDocument, recordedDifferences, recordedKernel } from './linux-differences.ts';
import type { Difference, Explanation } from './linux-differences.ts';
import type { RecordedTest } from './registry.ts';
import { SOURCES } from './requirements/index.ts';
import { FILES } from './requirements/requirement.ts';
import { rfc9293 } from './requirements/rfc9293.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

function read(path: string): string {
  return readFileSync(`${ROOT}${path}`, 'utf8');
}

/** How often the table of appendix B has an id. */
const TIMES: Record<string, number> = { 'SHLD-5': 2, 'MUST-15': 2, 'MUST-20': 2, 'MUST-46': 2, 'MUST-56': 3, 'MUST-57': 2 };

t.test('every id of RFC 9293 appendix B', async (t) => {
  const counts = new Map<string, number>();
  for (const { id } of rfc9293.rows) counts.set(id, (counts.get(id) ?? 0) + 1);
  const ids = ['REC-1'];
  for (const [word, most] of [['MUST', 69], ['SHLD', 31], ['MAY', 18]] as const) {
    for (let n = 1; n <= most; n++) ids.push(`${word}-${n}`);
  }
  for (const id of ids) t.equal(counts.get(id) ?? 0, TIMES[id] ?? 1, id);
  t.equal(counts.size, ids.length, 'and no other');
});

t.test('rows are complete', async (t) => {
  for (const source of SOURCES) {
    for (const r of source.rows) {
      const name = `${source.title}: ${r.id}`;
      t.ok(r.words !== '', name);
      if (r.status === 'pass') t.ok(r.tests.length > 0, `${name}: a test shows it`);
      else t.ok(r.why !== '', `${name}: why`);
    }
  }
});

t.test('every test that is named exists, and runs', { timeout: 100_000 }, async (t) => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import=tsx', '--import=./test/conformance/record-tap.mjs', 'test/conformance/registry.ts', ...new Set(Object.values(FILES))],
    { cwd: ROOT, encoding: 'utf8', timeout: 90_000, killSignal: 'SIGKILL', maxBuffer: 16 << 20 },
  );
  if (status !== 0) {
    t.fail(`the test files cannot be loaded: ${stderr}`);
    return;
  }
  const found = JSON.parse(stdout) as Record<string, RecordedTest[]>;
  const named = new Set<string>();
  for (const source of SOURCES) for (const r of source.rows) for (const test of r.tests) named.add(test);
  for (const test of named) {
    const { file, name } = reference(test);
    const recorded = found[file]?.filter((one) => one.name === name) ?? [];
    if (recorded.length === 0) t.fail(`no such test: ${test}`);
    else t.ok(recorded.some((one) => !one.skipped && !one.empty), `${test} runs`);
  }
  t.ok(named.size > 100, `${named.size} tests are named`);
});

t.test('docs/CONFORMANCE.md is what the rows make', async (t) => {
  t.ok(read('docs/CONFORMANCE.md') === conformanceDocument(), 'npm run conformance writes it anew');
});

t.test('docs/LINUX-DIFFERENCES.md has every explanation, and each explains something', async (t) => {
  const text = read('docs/LINUX-DIFFERENCES.md');
  const groups = new Map<Explanation, Difference[]>();
  for (const explanation of EXPLANATIONS) {
    const from = text.indexOf(`## ${explanation.title}\n`);
    const to = text.indexOf('\n## ', from + 1);
    const cases = from < 0 ? [] : [...recordedDifferences(text.slice(from, to < 0 ? undefined : to)).values()];
    t.ok(cases.length > 0, explanation.title);
    groups.set(explanation, cases);
  }
  const cases = Number(/^(\d+) cases/m.exec(text)?.[1]);
  t.ok(text === differencesDocument(groups, cases, recordedKernel(text)), 'the file is as it was written (npm run conformance -- --linux)');
});
