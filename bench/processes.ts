/**
 * Child processes and network namespaces of the benchmark, and their end: whatever way the benchmark ends, the processes
 * it started and the namespaces it made are gone. (After a SIGKILL: children die with their parent, and the next run
 * removes the namespaces.) Needs root.
 */

import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';

const PREFIX = 'tcpu-bench-';
const namespaces = new Set<string>();
const children = new Set<ChildProcess>();

/** Runs a command to its end. @returns its stdout @throws Error with its stderr when it fails */
export function run(command: string, ...args: string[]): string {
  const done = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000 });
  if (done.error) throw done.error;
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${(done.stderr || done.stdout).trim()}`);
  return done.stdout;
}

/** Runs a command inside a namespace to its end. */
export function runIn(namespace: string, command: string, ...args: string[]): string {
  return run('ip', 'netns', 'exec', namespace, command, ...args);
}

/**
 * Linux's own defaults where a distribution may have changed them, and room for connections: the same for baseline and
 * candidate. (The congestion control of Linux is CUBIC, set on each socket by load.c: a namespace may not choose it
 * everywhere.)
 */
const SYSCTLS: Record<string, string> = {
  'net.ipv4.tcp_rmem': '4096 131072 6291456',
  'net.ipv4.tcp_wmem': '4096 16384 4194304',
  'net.ipv4.ip_local_port_range': '1024 65535',
  'net.ipv4.tcp_tw_reuse': '1',
  'net.ipv4.tcp_max_syn_backlog': '4096',
  'net.core.somaxconn': '4096',
};

/** Settings of every namespace that this kernel refused (reported beside the figures). */
export const refusedSettings = new Set<string>();

/** Makes a network namespace with loopback up. @returns its name */
export function addNamespace(name: string): string {
  const full = `${PREFIX}${process.pid}-${name}`;
  run('ip', 'netns', 'add', full);
  namespaces.add(full);
  run('ip', '-n', full, 'link', 'set', 'lo', 'up');
  for (const [key, value] of Object.entries(SYSCTLS)) {
    try {
      runIn(full, 'sysctl', '-qw', `${key}=${value}`);
    } catch {
      refusedSettings.add(key);
    }
  }
  return full;
}

/** Removes one namespace (what lives in it must have ended). */
export function removeNamespace(full: string): void {
  if (namespaces.delete(full)) spawnSync('ip', ['netns', 'del', full]);
}

/** Removes what a benchmark that was killed has left behind. */
export function removeStaleNamespaces(): void {
  let names: string[];
  try {
    names = readdirSync('/run/netns');
  } catch {
    return;
  }
  for (const name of names) {
    const pid = name.startsWith(PREFIX) ? Number.parseInt(name.slice(PREFIX.length), 10) : 0;
    if (pid > 0 && !existsSync(`/proc/${pid}`)) spawnSync('ip', ['netns', 'del', name]);
  }
}

/** A child whose stdout is read line by line. */
export class Child {
  readonly process: ChildProcess;
  /** Everything it said on stderr (the last 16 KB). */
  stderr = '';
  /** Settles when it has ended: exit code, or 128 when a signal ended it. */
  readonly ended: Promise<number>;
  #lines: string[] = [];
  #waiting: ((line: string | undefined) => void) | undefined;
  #over = false;

  constructor(namespace: string, command: string, args: string[], stdio: StdioOptions = ['pipe', 'pipe', 'pipe']) {
    const child = spawn('ip', ['netns', 'exec', namespace, 'setpriv', '--pdeathsig', 'KILL', command, ...args], { stdio });
    this.process = child;
    children.add(child);
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-16384);
    });
    child.stdin?.on('error', () => undefined);
    if (child.stdout) {
      createInterface({ input: child.stdout }).on('line', (line) => {
        if (this.#waiting) this.#settle(line);
        else this.#lines.push(line);
      });
    }
    this.ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code) => {
        children.delete(child);
        this.#over = true;
        this.#settle(undefined);
        resolve(code ?? 128);
      });
    });
    this.ended.catch(() => undefined);
  }

  get pid(): number {
    return this.process.pid ?? -1;
  }

  get isRunning(): boolean {
    return !this.#over;
  }

  #settle(line: string | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.(line);
  }

  /** The next line of stdout. @throws Error when it ends or `timeoutMs` passes before one came */
  async line(timeoutMs: number): Promise<string> {
    const ready = this.#lines.shift();
    if (ready !== undefined) return ready;
    const line = await this.within(timeoutMs, new Promise<string | undefined>((resolve) => {
      if (this.#over) resolve(undefined);
      else this.#waiting = resolve;
    }));
    if (line === undefined) throw new Error(`it ended: ${this.stderr.trim() || 'without a word'}`);
    return line;
  }

  /** Awaits `promise`; kills the child and fails when that takes longer than `timeoutMs`. */
  async within<T>(timeoutMs: number, promise: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.process.kill('SIGKILL');
        reject(new Error(`no answer within ${timeoutMs} ms${this.stderr ? `: ${this.stderr.trim()}` : ''}`));
      }, timeoutMs);
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends it with SIGTERM, with SIGKILL when that takes more than `timeoutMs`. @returns its exit code */
  async stop(timeoutMs = 5000): Promise<number> {
    if (this.#over) return this.ended;
    this.process.kill('SIGTERM');
    return this.within(timeoutMs, this.ended).catch(() => 137);
  }
}

/** Seconds of CPU a process has used, user and system; zeros when it is gone. */
export function cpuSeconds(pid: number): { user: number; system: number } {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { user: Number(fields[11]) / 100, system: Number(fields[12]) / 100 };
  } catch {
    return { user: 0, system: 0 };
  }
}

/** Kills every child and removes every namespace, at once. Runs on every exit. */
function cleanUp(): void {
  for (const child of children) child.kill('SIGKILL');
  for (const name of namespaces) removeNamespace(name);
}

process.once('exit', cleanUp);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(signal === 'SIGINT' ? 130 : 143));
}
