/**
 * Which tests a file runs: loads each file named on the command line with a recorder in the place of tap (record-tap.mjs), and
 * prints `{ file: [{ name, skipped, empty }] }`. Names that are made in loops are there, and so are skips that depend on the machine.
 * Files that make a network namespace for themselves cannot be loaded like that.
 */

import { pathToFileURL } from 'node:url';

export interface RecordedTest {
  name: string;
  skipped: boolean;
  /** There is no body. */
  empty: boolean;
}

const found: Record<string, RecordedTest[]> = {};
await import('tap');
const tests = (globalThis as unknown as { recordedTests: RecordedTest[] }).recordedTests;
for (const file of process.argv.slice(2)) {
  tests.length = 0;
  await import(pathToFileURL(file).href);
  found[file] = [...tests];
}
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0));
