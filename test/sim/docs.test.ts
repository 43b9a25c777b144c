/** docs/SIMULATION.md: its examples type-check, run, and print what it says. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const text = readFileSync(join(ROOT, 'docs/SIMULATION.md'), 'utf8');
const examples = [...text.matchAll(/^```ts\n([^]*?)^```$\n\n```text\n([^]*?)^```$/gm)].map(([, code, output]) => ({ code: code!, output: output! }));

const directory = mkdtempSync(join(tmpdir(), 'tcpu-sim-docs-'));
t.teardown(() => rmSync(directory, { recursive: true }));
writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');

/** Without tap's hooks for child processes. */
function node(...args: string[]): { stdout: string; stderr: string; status: number | null } {
  return spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, ...args], { cwd: ROOT, encoding: 'utf8', timeout: 60_000 });
}

t.test('every example says what it prints', async (t) => {
  t.ok(examples.length >= 4, `${examples.length} examples`);
  t.equal(examples.length, [...text.matchAll(/^```ts$/gm)].length);
});

t.test('they type-check', { timeout: 100_000 }, async (t) => {
  const paths = { tcpu: [join(ROOT, 'lib/index.ts')], 'tcpu/sim': [join(ROOT, 'lib/sim/index.ts')] };
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({
    extends: join(ROOT, 'tsconfig.json'),
    compilerOptions: { paths, typeRoots: [join(ROOT, 'node_modules/@types')] },
    include: [],
    files: examples.map((_, i) => `${i}.ts`),
  }));
  examples.forEach(({ code }, i) => writeFileSync(join(directory, `${i}.ts`), code));
  const { stdout, stderr, status } = node(join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', directory);
  t.equal(stdout + stderr, '');
  t.equal(status, 0);
});

t.test('they print what they are said to print', { timeout: 100_000 }, async (t) => {
  for (const [i, { code, output }] of examples.entries()) {
    const file = join(directory, `run-${i}.ts`);
    writeFileSync(file, code.replaceAll("'tcpu/sim'", `'${join(ROOT, 'lib/sim/index.ts')}'`).replaceAll("'tcpu'", `'${join(ROOT, 'lib/index.ts')}'`));
    const { stdout, stderr, status } = node('--import=tsx', file);
    t.equal(stderr, '', `example ${i + 1}`);
    t.equal(stdout, output);
    t.equal(status, 0);
  }
});
