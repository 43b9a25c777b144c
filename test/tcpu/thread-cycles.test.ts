/**
 * Worker threads that run TCPU come and go, and leave no descriptor, no thread, and nothing in the stack. With the compiled
 * library, as it is installed: the worker's entry is another file there than in the sources.
 */

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import t from 'tap';
import type * as Attaching from '../../lib/attach.ts';
import { queryStack } from '../../lib/channel/process-channel.ts';
import { startPeer } from './thread-control.ts';
import { PEER } from './thread-peer.ts';

/** Two at a time. */
const ROUNDS = 25;

const folder = mkdtempSync(join(tmpdir(), 'tcpu-thread-'));
const path = join(folder, 'socket');
const peer = await startPeer(path);
t.teardown(() => {
  peer.disconnect();
  rmSync(folder, { recursive: true });
});

const root = fileURLToPath(new URL('../..', import.meta.url));
const built = spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', join(folder, 'dist')], {
  // Without what tap has for its own processes.
  cwd: root, encoding: 'utf8', timeout: 60_000,
});
if (built.status !== 0) throw new Error(`${built.stdout}${built.stderr}`);
copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
for (const name of ['node_modules', 'native']) symlinkSync(join(root, name), join(folder, name));
const { attach } = await import(pathToFileURL(join(folder, 'dist/lib/attach.js')).href) as typeof Attaching;

async function cycle(): Promise<void> {
  const app = await attach({ socket: path, thread: true, window: { rxRing: 256 << 10, txRing: 128 << 10, call: 4096, memory: 1 << 20 } });
  const socket = app.net.connect(7, PEER);
  // More than the call area takes at once.
  socket.end(Buffer.alloc(20_000));
  let bytes = 0;
  for await (const piece of socket) bytes += (piece as Buffer).length;
  if (bytes !== 20_000) throw new Error(`${bytes} bytes came back`);
  await app.close();
}

function open(): { descriptors: number; threads: number } {
  return { descriptors: readdirSync('/proc/self/fd').length, threads: readdirSync('/proc/self/task').length };
}

t.test('attached and closed again and again', { timeout: 110_000 }, async (t) => {
  await Promise.all([cycle(), cycle()]);
  const before = open();
  for (let i = 0; i < ROUNDS; i++) await Promise.all([cycle(), cycle()]);
  t.same(open(), before);
  const { applications } = await queryStack(path, 'counters') as { applications: unknown[] };
  t.same(applications, []);
});
