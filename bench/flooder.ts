/** The attacker (flood.c): compiled when needed, its arguments and its figures. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const SOURCE = fileURLToPath(new URL('flood.c', import.meta.url));
/** The compiled attacker. */
export const FLOOD = fileURLToPath(new URL('bin/flood', import.meta.url));

/** Compiles the attacker when it is missing or older than its source. @throws Error with what the compiler says */
export function compileFlood(): void {
  const built = statSync(FLOOD, { throwIfNoEntry: false });
  if (built && built.mtimeMs >= statSync(SOURCE).mtimeMs) return;
  mkdirSync(dirname(FLOOD), { recursive: true });
  const done = spawnSync(process.env['CC'] ?? 'cc', ['-O2', '-Wall', '-o', FLOOD, SOURCE], { encoding: 'utf8' });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(done.stderr);
}

/** What `flood` prints. */
export interface FloodResult {
  sent: number;
  refused: number;
  seconds: number;
  perSecond: number;
}

export interface FloodOptions {
  /** See the head of flood.c. */
  kind: string;
  /** Packets a second; 0 is as fast as it goes. */
  rate: number;
  seconds: number;
  /** Where it goes: the device, the address, the port. */
  device: string;
  target: string;
  port: number;
  seed?: number;
  /** Seconds until it begins. */
  delay?: number;
}

/** Arguments of `flood`. */
export function floodArgs(options: FloodOptions): string[] {
  return [
    '--dev', options.device, '--to', options.target, '--kind', options.kind, '--rate', `${options.rate}`, '--duration', `${options.seconds}`,
    '--port', `${options.port}`, '--seed', `${options.seed ?? 1}`, '--delay', `${options.delay ?? 0}`,
  ];
}
