/**
 * `tcpu up` for a long time under a mix of everything at once, in a namespace of the test's own, while its memory and its
 * descriptors are watched:
 *
 *     curl up and down, over a clean path and through a router that loses packets; iperf3 in several modes; short
 *     connections; connections that are reset; clients that do not read; applications that attach and leave; attacks
 *
 *     +-- client --+      +-- namespace ----------------------------------------------------------+
 *     | curl  veth |------| veth  nft: loses 1 %  ── TUN ── tcpu up        curl iperf3 flood  ... |
 *     +------------+      +------------------------------------------------------------------------+
 *
 * Whatever is transferred is compared byte for byte. Samples (after a forced collection) are divided into thirds: the
 * first is for warming up, and the medians of the other two are compared, which a leak cannot hide from and a peak cannot
 * spoil.
 */

import '../kernel/namespace.ts';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { FLOOD, compileFlood, floodArgs } from '../../bench/flooder.ts';
import { queryStack } from '../../lib/channel/process-channel.ts';
import { patternDigest } from '../../lib/services/byte-pattern.ts';
import type { StackCounters } from '../../lib/stack.ts';
import { STACK4, STACK6, TcpuProcess, lossyClient, run, runOn } from '../kernel/harness.ts';
import { iperf3 } from '../kernel/iperf3-modes.ts';

const SOCKET = `${process.env['XDG_RUNTIME_DIR']}/tcpu.sock`;
const TCPU = fileURLToPath(new URL('../kernel/tcpu.ts', import.meta.url));
const REPORT = new URL('../../bench/memory-report.mjs', import.meta.url).href;
const ECHO = 7;
const CHARGEN = 19;
const HTTP = 80;
const APPLICATION = 8002;
/** Forged packets a second. */
const ATTACK_RATE = 5000;

/** What is watched; bytes but where the name says otherwise. */
export interface Sample {
  seconds: number;
  rss: number;
  heapUsed: number;
  external: number;
  arrayBuffers: number;
  /** Open descriptors. */
  descriptors: number;
  /** Blocks of packet memory in use. */
  blocks: number;
  connections: number;
}

/** The stack's process. */
class Soaked {
  readonly child: ChildProcess;
  stderr = '';
  readonly #reports: AsyncIterator<string>;
  readonly #ready: Promise<void>;

  constructor() {
    this.child = spawn('setpriv', [
      '--pdeathsig', 'KILL', process.execPath, '--expose-gc', '--import=tsx', `--import=${REPORT}`, TCPU, 'up', '--serve', 'all',
    ], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    this.child.stderr!.on('data', (piece) => (this.stderr = (this.stderr + String(piece)).slice(-16_384)));
    this.#reports = createInterface({ input: this.child.stdio[3] as Readable })[Symbol.asyncIterator]();
    this.#ready = new Promise((resolve, reject) => {
      createInterface({ input: this.child.stdout! }).on('line', (line) => line.startsWith('ready ') && resolve());
      this.child.once('close', (code) => reject(new Error(`tcpu up ended with ${code}: ${this.stderr}`)));
    });
    this.#ready.catch(() => undefined);
  }

  ready(): Promise<void> {
    return this.#ready;
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async counters(): Promise<StackCounters['layers']> {
    return (await queryStack(SOCKET, 'counters') as StackCounters).layers;
  }

  async sample(seconds: number): Promise<Sample> {
    this.child.kill('SIGUSR2');
    const { value, done } = await this.#reports.next();
    if (done) throw new Error(`the stack has ended: ${this.stderr}`);
    const memory = JSON.parse(value as string) as NodeJS.MemoryUsage;
    const { memory: packets } = await this.counters();
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.child.pid}/status`, 'latin1'))![1]) * 1024;
    return {
      seconds, rss, heapUsed: memory.heapUsed, external: memory.external, arrayBuffers: memory.arrayBuffers,
      descriptors: readdirSync(`/proc/${this.child.pid}/fd`).length,
      blocks: packets!['blocks']! - packets!['freeBlocks']!, connections: packets!['connections']!,
    };
  }

  async stop(): Promise<number> {
    const closed = once(this.child, 'close');
    this.child.kill('SIGTERM');
    const [code] = await closed;
    return code as number;
  }
}

/** What goes on beside everything else, again and again; each counts what it has done, and throws when something is wrong. */
type Activity = [name: string, once: () => Promise<void>, pauseMs: number];

async function download(run: (args: string[], take: (piece: Buffer) => void) => Promise<{ code: number; stderr: string }>, url: string, bytes: number): Promise<void> {
  const hash = createHash('sha256');
  const { code, stderr } = await run(['-sS', '-m', '50', '--connect-timeout', '30', `${url}/bytes/${bytes}`], (piece) => hash.update(piece));
  if (code !== 0) throw new Error(`curl ${url}: ${code} ${stderr}`);
  if (hash.digest('hex') !== patternDigest(bytes)) throw new Error(`curl ${url}: wrong bytes`);
}

async function upload(url: string, bytes: number): Promise<void> {
  const body = Buffer.alloc(bytes, 'soak');
  const hash = createHash('sha256');
  const { code, stderr } = await run('curl', ['-sS', '-m', '50', '--connect-timeout', '30', '-H', 'Expect:', '--data-binary', '@-', `${url}/echo`], {
    timeoutMs: 60_000, input: body, onData: (piece) => void hash.update(piece),
  });
  if (code !== 0) throw new Error(`curl ${url}: ${code} ${stderr}`);
  if (hash.digest('hex') !== createHash('sha256').update(body).digest('hex')) throw new Error('upload: wrong bytes');
}

/** Sends to echo, reads it back, closes; or resets the connection in the middle. */
function exchange(reset: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(ECHO, STACK4);
    const message = Buffer.alloc(3000, 'e');
    let got = 0;
    socket.setTimeout(50_000, () => socket.destroy(new Error('echo: no answer')));
    socket.on('connect', () => socket.write(message));
    socket.on('data', (piece) => {
      got += piece.length;
      if (reset) socket.resetAndDestroy();
      else if (got === message.length) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => (reset || got === message.length ? resolve() : reject(new Error(`echo: ${got} of ${message.length}`))));
  });
}

/** Lets chargen fill both windows, then goes away with a reset. */
async function slowReader(): Promise<void> {
  const socket = connect(CHARGEN, STACK4);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  await once(socket, 'readable');
  await sleep(500);
  socket.resetAndDestroy();
  await new Promise((resolve) => (socket.closed ? resolve(null) : socket.once('close', resolve)));
}

/** An application with a TCP of its own comes, serves, and goes. */
async function application(kill: boolean): Promise<void> {
  const app = new TcpuProcess(['serve', `http@${APPLICATION}`]);
  await app.printed(/^ready /m);
  await download((args, onData) => run('curl', args, { timeoutMs: 60_000, onData }), `http://${STACK4}:${APPLICATION}`, 1_000_000);
  await app.stop(kill ? 'SIGKILL' : 'SIGTERM');
}

const KINDS = ['syn', 'ip', 'fragments', 'ack', 'tcp', 'udps', 'flags', 'icmps', 'options', 'mix', 'land', 'data'];
const IPERF3 = [['-t', '1'], ['-t', '1', '-R'], ['-t', '1', '-P', '4'], ['-t', '1', '-u', '-b', '20M'], ['-t', '1', '--bidir'], ['-n', '5M', '-l', '1K']];

function activities(lossy: string[]): Activity[] {
  let turn = 0;
  const here = (args: string[], onData: (piece: Buffer) => void): ReturnType<typeof run> => run('curl', args, { timeoutMs: 60_000, onData });
  const there = (args: string[], onData: (piece: Buffer) => void): ReturnType<typeof run> => runOn(lossy, 'curl', args, { timeoutMs: 60_000, onData });
  return [
    ['curl down', () => download(here, `http://${STACK4}:${HTTP}`, 3_000_000), 200],
    ['curl down, IPv6', () => download(here, `http://[${STACK6}]:${HTTP}`, 1_000_000), 300],
    ['curl up', () => upload(`http://${STACK4}:${HTTP}`, 1_000_000), 300],
    ['curl down with loss', () => download(there, `http://${STACK4}:${HTTP}`, 1_000_000), 100],
    ['iperf3', async () => {
      const json = await iperf3('-c', turn % 2 === 0 ? STACK4 : STACK6, ...IPERF3[turn++ % IPERF3.length]!);
      if (json.error !== undefined) throw new Error(`iperf3: ${json.error}`);
    }, 1000],
    ['short connections', async () => void await Promise.all(Array.from({ length: 20 }, () => exchange(false))), 200],
    ['resets', async () => void await Promise.all(Array.from({ length: 20 }, () => exchange(true))), 300],
    ['slow readers', async () => void await Promise.all([slowReader(), slowReader()]), 500],
    ['applications', () => application(turn % 2 === 0), 1000],
    ['attacks', async () => {
      const kind = KINDS[turn++ % KINDS.length]!;
      await run(FLOOD, floodArgs({ kind, rate: ATTACK_RATE, seconds: 1, device: 'tcpu0', target: STACK4, port: [ECHO, HTTP, 9][turn % 3]!, seed: turn }));
    }, 1000],
  ];
}

export interface Soak {
  /** What each activity has done. */
  done: Record<string, number>;
  problems: string[];
  samples: Sample[];
  /** Before anything went on, and a while after the last of it ended. */
  before: Sample;
  after: Sample;
  counters: StackCounters['layers'];
  exitCode: number;
  stderr: string;
}

/**
 * Runs the mix for so long. `settleMs`: how long the stack may take at the end until it has no connection and no block in use.
 */
export async function soak(t: Test, minutes: number, settleMs: number): Promise<Soak> {
  compileFlood();
  const stack = new Soaked();
  t.teardown(() => stack.child.kill('SIGKILL'));
  await stack.ready();
  const lossy = await lossyClient(t, 1, 1);
  const before = await stack.sample(0);
  const begun = performance.now();
  const durationMs = minutes * 60_000;
  const passed = (): number => performance.now() - begun;
  const result: Soak = { done: {}, problems: [], samples: [], before, after: before, counters: {}, exitCode: -1, stderr: '' };
  const going = activities(lossy).map(async ([name, act, pauseMs]) => {
    result.done[name] = 0;
    while (passed() < durationMs && result.problems.length < 10 && stack.isRunning) {
      try {
        await act();
        result.done[name]!++;
      } catch (error) {
        result.problems.push(`after ${(passed() / 1000).toFixed(0)} s, ${name}: ${(error as Error).message}`);
      }
      await sleep(pauseMs);
    }
  });
  // Some ninety samples, whatever the duration.
  const everyMs = Math.max(durationMs / 90, 300);
  while (passed() < durationMs && stack.isRunning && result.problems.length < 10) {
    result.samples.push(await stack.sample(passed() / 1000));
    await sleep(everyMs);
  }
  await Promise.all(going);
  const settled = performance.now() + settleMs;
  do {
    result.after = await stack.sample(passed() / 1000);
    if (result.after.connections === 0 && result.after.blocks <= before.blocks + 1) break;
    await sleep(200);
  } while (performance.now() < settled);
  result.counters = await stack.counters();
  result.exitCode = await stack.stop();
  result.stderr = stack.stderr;
  return result;
}

/** Medians of the second and of the last third. */
export function thirds(samples: readonly Sample[], of: keyof Sample): [middle: number, last: number] {
  const median = (from: number, to: number): number => {
    const values = samples.slice(from, to).map((sample) => sample[of]).sort((a, b) => a - b);
    return values[values.length >> 1]!;
  };
  const third = Math.floor(samples.length / 3);
  return [median(third, 2 * third), median(2 * third, samples.length)];
}
