/**
 * The closing line of a test run: `N passed, N failed[, N skipped]`, from tap's own totals.
 * Usage: node scripts/test-totals.mjs LOG EXIT-STATUS; exits with 1 when anything failed or nothing ran.
 */
import { readFileSync } from 'node:fs';

const [log, status] = process.argv.slice(2);
const text = readFileSync(log, 'utf8');
// tap ends with `# { total: 136, pass: 134, fail: 1, skip: 1 }`.
const totals = [...text.matchAll(/^# \{ total: .*\}$/gm)].at(-1)?.[0] ?? '';
const count = (name) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(totals)?.[1] ?? 0);
const passed = count('pass');
const skipped = count('skip') + count('todo');
let failed = count('fail');
if (failed === 0 && (status !== '0' || passed === 0)) {
  console.log(totals === '' ? 'the tests did not run to their end' : `the test command exited with ${status}`);
  failed = 1;
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exitCode = failed === 0 ? 0 : 1;
