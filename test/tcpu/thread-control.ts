/** Starts thread-peer.ts. */

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Resolves when a stack listens at this path. The process ends when it is disconnected, or with this one. */
export async function startPeer(at: string): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL('./thread-peer.ts', import.meta.url)), [at], { execArgv: ['--import=tsx'] });
  const [message] = await once(child, 'message') as [string];
  if (message !== 'ready') throw new Error(message);
  return child;
}
