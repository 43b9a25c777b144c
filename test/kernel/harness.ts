/** What the kernel-peer tests share: programs that run and end, `tcpu` processes, stacks in this process. */

import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { openTun } from '../../lib/link/tun.ts';
import type { Tun, TunOptions } from '../../lib/link/tun.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack, StackOptions } from '../../lib/stack.ts';

export const LINUX4 = '10.90.0.1';
export const LINUX6 = 'fd90::1';
export const STACK4 = '10.90.0.2';
export const STACK6 = 'fd90::2';

const TCPU = fileURLToPath(new URL('./tcpu.ts', import.meta.url));

export interface Finished {
  /** Exit code; -1 after a signal. */
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  input?: string | Buffer;
  timeoutMs?: number;
  /** Takes stdout piece by piece instead of collecting it. */
  onData?: (piece: Buffer) => void;
  env?: NodeJS.ProcessEnv;
}

/** The reason to skip a test that needs these programs, or false. */
export function lacking(...programs: string[]): string | false {
  const missing = programs.filter((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined);
  if (missing.length === 0) return false;
  const reason = `${missing.join(' and ')} not installed: NOT tested against Linux (apt-get install ${missing.join(' ')})`;
  process.stderr.write(`SKIPPED: ${reason}\n`);
  return reason;
}

/** A child that dies with this process. */
export function start(command: string, args: string[], env: NodeJS.ProcessEnv = process.env): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env });
}

/** Runs a program to its end. */
export function run(command: string, args: string[], options: RunOptions = {}): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = start(command, args, options.env);
    const finished: Finished = { code: 0, stdout: '', stderr: '' };
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 30_000);
    child.stdout!.on('data', options.onData ?? ((piece: Buffer) => {
      finished.stdout += piece.toString();
    }));
    child.stderr!.on('data', (piece: Buffer) => {
      finished.stderr += piece.toString();
    });
    child.stdin!.on('error', () => {});
    child.stdin!.end(options.input);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      finished.code = code ?? -1;
      resolve(finished);
    });
  });
}

/** As `run`, for what must succeed. */
export async function must(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit code ${code}\n${stdout}${stderr}`);
  return stdout;
}

/** Runs `tcpu` to its end. */
export function tcpu(args: string[], options: RunOptions = {}): Promise<Finished> {
  return run(process.execPath, ['--import=tsx', TCPU, ...args], options);
}

/** A running `tcpu`. */
export class TcpuProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<number>;
  stdout = '';
  stderr = '';
  #wake: (() => void)[] = [];

  constructor(args: string[], env?: NodeJS.ProcessEnv) {
    this.child = start(process.execPath, ['--import=tsx', TCPU, ...args], env);
    this.child.stdout!.on('data', (piece: Buffer) => {
      this.stdout += piece.toString();
      for (const wake of this.#wake.splice(0)) wake();
    });
    this.child.stderr!.on('data', (piece: Buffer) => {
      this.stderr += piece.toString();
      for (const wake of this.#wake.splice(0)) wake();
    });
    this.ended = new Promise((resolve) => this.child.on('close', (code, signal) => {
      for (const wake of this.#wake.splice(0)) wake();
      resolve(code ?? (signal === null ? -1 : -2));
    }));
  }

  /** Resolves with the first match in what it printed (stdout, then stderr); rejects when it ends without one. */
  async printed(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
      if (match !== null) return match;
      if (this.child.exitCode !== null) throw new Error(`tcpu ended with ${this.child.exitCode}: ${this.stdout}${this.stderr}`);
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  /** SIGTERM; resolves with the exit code. */
  stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    this.child.kill(signal);
    return this.ended;
  }
}

/** Starts `tcpu up …` and waits until packets flow. It ends with the test, which notes how. */
export function up(t: Test, ...args: string[]): Promise<TcpuProcess> {
  return untilReady(t, 'up', args);
}

/** Starts `tcpu serve …`, attached to the stack that `up()` has started, and waits until its services listen. */
export function serve(t: Test, ...args: string[]): Promise<TcpuProcess> {
  return untilReady(t, 'serve', args);
}

async function untilReady(t: Test, command: string, args: string[]): Promise<TcpuProcess> {
  const process = new TcpuProcess([command, ...args]);
  await process.printed(/^(ready |\{"event":"ready").*\n/m);
  t.teardown(async () => {
    if (process.child.exitCode !== null || process.child.signalCode !== null) return;
    const code = await process.stop();
    if (code !== 0) throw new Error(`tcpu ${command} ended with ${code}: ${process.stderr}`);
  });
  return process;
}

/** A stack in this process, on a TUN device; closed with the test. */
export function stackOnTun(t: Test, options: TunOptions = {}, more: Partial<StackOptions> = {}): { stack: Stack; tun: Tun } {
  const tun = openTun({ name: 'tcpu0', hostAddresses: [`${LINUX4}/24`, `${LINUX6}/64`], mtu: 1500, ...options });
  const stack = createStack({ link: tun, addresses: [`${STACK4}/24`, `${STACK6}/64`], ...more });
  t.teardown(() => stack.close({ graceful: false }));
  return { stack, tun };
}

export const CLIENT4 = '10.91.0.2';
export const CLIENT6 = 'fd91::2';

/**
 * A Linux host behind a router that loses packets: `toStack` of each hundred on the way to the stack,
 * `toClient` on the way back. The sender learns nothing of it, which it would if it lost its own.
 *
 *     +-- client (sleep holds it) --+     +-- this test's namespace -------------------------------+
 *     |  10.91.0.2 fd91::2    veth  |-----|  veth  10.91.0.1 fd91::1   nft forward   TUN --- tcpu  |
 *     +-----------------------------+     +--------------------------------------------------------+
 *
 * With `cut` the client sends no segment larger than the MTU, so that packets and not whole
 * super-segments are lost. Returns the words to put before a command that runs on the client.
 * The device `tcpu0` must be there already.
 */
export async function lossyClient(t: Test, toStack: number, toClient: number, cut = true): Promise<string[]> {
  const holder = start('unshare', ['-n', 'sleep', '1000']);
  t.teardown(async () => {
    const gone = new Promise((resolve) => holder.once('close', resolve));
    holder.kill('SIGKILL');
    await gone;
    await run('ip', ['link', 'del', 'veth-r']);
    await run('nft', ['delete', 'table', 'inet', 'loss']);
  });
  const inside = ['nsenter', '-n', '-t', String(holder.pid)];
  const here = readlinkSync('/proc/self/ns/net');
  // unshare has done its work when the namespace is another one.
  while (readlinkSync(`/proc/${holder.pid}/ns/net`) === here) await new Promise((resolve) => setTimeout(resolve, 5));
  await must('ip', 'link', 'add', 'veth-r', 'type', 'veth', 'peer', 'name', 'veth-c', 'netns', String(holder.pid));
  const script = (lines: string[]): string => lines.join(' && ');
  await must('sh', '-c', script([
    'ip addr add 10.91.0.1/24 dev veth-r', 'ip addr add fd91::1/64 dev veth-r nodad', 'ip link set veth-r up',
    'echo 1 > /proc/sys/net/ipv4/ip_forward', 'echo 1 > /proc/sys/net/ipv6/conf/all/forwarding',
  ]));
  await must(inside[0]!, ...inside.slice(1), 'sh', '-c', script([
    'ip link set lo up', `ip addr add ${CLIENT4}/24 dev veth-c`, `ip addr add ${CLIENT6}/64 dev veth-c nodad`, 'ip link set veth-c up',
    'ip route add default via 10.91.0.1', 'ip route add default via fd91::1',
    ...(cut ? ['ip link set veth-c gso_max_segs 1'] : []),
  ]));
  const rule = (direction: string, percent: number): string => (
    percent > 0 ? `${direction} "tcpu0" numgen random mod 1000 < ${Math.round(percent * 10)} drop;` : ''
  );
  const table = `table inet loss { chain both { type filter hook forward priority 0; ${rule('oifname', toStack)} ${rule('iifname', toClient)}\n }\n }`;
  const { code, stderr } = await run('nft', ['-f', '-'], { input: table });
  if (code !== 0) throw new Error(`nft: ${stderr}`);
  return inside;
}

/** Runs a command on the client of `lossyClient`. */
export function runOn(inside: string[], command: string, args: string[], options: RunOptions = {}): Promise<Finished> {
  return run(inside[0]!, [...inside.slice(1), command, ...args], options);
}
