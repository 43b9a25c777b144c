/**
 * Runs a test file in a network namespace of its own, so that the kernel's devices can be used without
 * touching the machine's. The namespace goes with the process; nothing is left behind.
 *
 *     import { inNamespace } from './namespace.ts';
 *     if (await inNamespace(import.meta.url)) await import('./x.suite.ts');
 *
 * The first time it starts the same file again under `unshare -n` (without root: `unshare -Urn`), passes
 * its TAP output through, and ends with its status; in there it returns true.
 */

import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MARK = 'TCPU_TEST_NAMESPACE';

export async function inNamespace(url: string): Promise<boolean> {
  if (process.env[MARK] !== undefined) {
    // The parent holds the other end of stdin: when it dies, so do we.
    process.stdin.on('end', () => process.exit(1)).resume();
    (process.stdin as unknown as { unref(): void }).unref();
    return true;
  }
  const flags = ['-n', '-Urn'].find((f) => spawnSync('unshare', [f, 'true'], { stdio: 'ignore', timeout: 10_000 }).status === 0);
  if (flags === undefined) {
    console.log('TAP version 14\n1..0 # SKIP neither root nor user namespaces: no network namespace can be made here');
    return false;
  }
  const args = [flags, process.execPath, ...process.execArgv, fileURLToPath(url)];
  const child = spawn('unshare', args, { stdio: ['pipe', 'inherit', 'inherit'], env: { ...process.env, [MARK]: '1' } });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  process.exitCode = await new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
  return false;
}
