/**
 * The end of a test run, from tap's own log: every failed assertion with its file, since some viewers keep the end of a log
 * only; then `N passed, N failed[, N skipped]`.
 * Usage: node scripts/test-totals.mjs LOG EXIT-STATUS; exits with 1 when anything failed or nothing ran.
 */
import { readFileSync } from 'node:fs';

/** Failures that are told, and lines of the difference of each. */
const MOST_FAILURES = 40;
const MOST_LINES = 12;

/**
 * The failed assertions in a TAP log, as lines of text: `FAILED file > subtest > assertion (line 7)`, and below it what was
 * expected and what came. A subtest that failed for what is in it is not listed itself.
 */
function failures(text) {
  const found = [];
  /** Names of the subtests around the current line, by depth. */
  const around = [];
  /** Depths below which something has failed already. */
  let failedBelow = -1;
  /** What is being read of the last failure's details. */
  let details = null;
  for (const line of text.split('\n')) {
    const indent = /^ */.exec(line)[0].length;
    const depth = indent >> 2;
    const rest = line.slice(indent);
    if (details !== null) {
      if (details.diff !== null && (indent >= details.diff || rest === '')) {
        if (rest !== '' && details.lines.length < MOST_LINES) details.lines.push(`    ${line.slice(details.diff)}`);
        continue;
      }
      details.diff = null;
      if (/^diff: [|>]/.test(rest)) details.diff = indent + 2;
      else if (rest.startsWith('lineNumber: ')) details.line ||= rest.slice(12);
      else if (rest === '...') details = null;
      // Everything else of the details goes by, whatever it looks like.
      if (details !== null && indent >= details.indent) continue;
      if (details === null) continue;
      details = null;
    }
    const subtest = /^# Subtest: (.*)$/.exec(rest);
    if (subtest !== null) {
      around.length = depth;
      around[depth] = subtest[1];
      if (failedBelow > depth) failedBelow = -1;
      continue;
    }
    const result = /^(not )?ok \d+(?: - (.*?))?( # (TODO|SKIP|time=).*)?$/.exec(rest);
    if (result === null) continue;
    if (result[1] === undefined || result[4] === 'TODO') {
      if (failedBelow > depth) failedBelow = -1;
      continue;
    }
    if (failedBelow > depth) {
      // The subtest that the failures just listed were in.
      failedBelow = depth;
      continue;
    }
    failedBelow = depth;
    details = { indent: indent + 2, line: '', diff: null, lines: [], name: [...around.slice(0, depth), result[2] ?? 'an assertion'].join(' > ') };
    found.push(details);
  }
  return found.map(({ name, line, lines }) => [`FAILED ${name}${line === '' ? '' : ` (line ${line})`}`, ...lines].join('\n'));
}

const [log, status] = process.argv.slice(2);
const text = readFileSync(log, 'utf8');
// tap ends with `# { total: 136, pass: 134, fail: 1, skip: 1 }`.
const totals = [...text.matchAll(/^# \{ total: .*\}$/gm)].at(-1)?.[0] ?? '';
const count = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0);
const passed = count('pass');
const skipped = count('skip') + count('todo');
let failed = count('fail');
const told = failures(text);
for (const failure of told.slice(0, MOST_FAILURES)) console.log(failure);
if (told.length > MOST_FAILURES) console.log(`and ${told.length - MOST_FAILURES} more failures`);
if (failed === 0 && (status !== '0' || passed === 0)) {
  console.log(totals === '' ? 'the tests did not run to their end' : `the test command exited with ${status}`);
  failed = 1;
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed === 0 ? 0 : 1;
