/**
 * Goodput of Linux's TCP and of ours over the same bad path, in real time: 100 Mbit/s, 40 ms, 1 % of the data packets
 * lost by chance. The receiver is Linux both times; only the sender differs.
 *
 *     +-- namespace 1 --------------------------------------------+   +-- namespace 2 ------------+
 *     | Linux's TCP ── TUN ── PatchCable ──┐                      |   |                           |
 *     |                                    ├── impair ── TUN ─────┼───┼── Linux's TCP ── receiver |
 *     | our stack ─────────────────────────┘                      |   |                           |
 *     +-----------------------------------------------------------+   +---------------------------+
 *
 *     node --import=tsx bench/linux-goodput.ts [--seconds 20] [--seeds 5] [--parallel 3] [--out FILE]
 *
 * The n-th data packet of a run has the same fate with both senders, since fates come from the seed. Alarms of the
 * machine's clock resolve 1 ms, which both senders have to live with. On a busy machine packets come late, and goodput under
 * random loss is as the inverse of the round trip (Mathis et al. 1997): so the round trip is measured, and figures are
 * also told as they would be at 40 ms. Needs root (or user namespaces), ip, nsenter, unshare,
 * setpriv. The marks in test/sim/marks.test.ts read the results.
 */

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpus, release } from 'node:os';
import { writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SystemClock, createStack, impair, openTun } from '../lib/index.ts';
import { PatchCable } from './patch-cable.ts';

const SENDER = '10.77.0.1';
const RECEIVER = '10.77.0.2';
const PORT = 9;
const PATH = { rate: '100Mbit', delayMs: 20, queuePackets: 350, loss: 0.01 };
const RESULTS = fileURLToPath(new URL('results/linux-goodput.json', import.meta.url));

interface Task {
  sender: 'linux' | 'tcpu';
  congestion: string;
  seed: number;
  seconds: number;
}

interface Sample extends Task {
  mbps: number;
  /** The sender's own measure of the path, the mean of one each second: above 40 ms when the machine was busy. */
  rttMs: number;
  lost: number;
  packets: number;
  drops: number;
}

/** Accepts one connection, and prints the bytes of so many seconds from its beginning. It ends with its parent, as does the namespace. */
const RECEIVE = `
  const server = require('node:net').createServer((socket) => {
    let bytes = 0;
    socket.on('data', (piece) => { bytes += piece.length; });
    socket.on('error', () => undefined);
    setTimeout(() => console.log(bytes), Number(process.argv[1]) * 1000);
  }).listen(${PORT}, () => console.log('listening'));
`;

/** Connects and writes for ever. */
const SEND = `
  const socket = require('node:net').connect(${PORT}, '${RECEIVER}');
  const data = Buffer.alloc(256 << 10);
  const write = () => { while (socket.write(data)); };
  socket.on('connect', write).on('drain', write).on('error', () => process.exit(0));
`;

/** What Linux says of its one connection: its congestion control and its smoothed round trip, ms. */
function linuxInfo(): { congestion: string; rttMs: number } {
  const text = execFileSync('ss', ['-tinH', 'dst', RECEIVER], { encoding: 'utf8' });
  return { congestion: /^\s+(?:ts |sack |ecn |ecnseen |fastopen )*(\w+) wscale/m.exec(text)?.[1] ?? '', rttMs: Number(/ rtt:([\d.]+)/.exec(text)?.[1] ?? NaN) };
}

/** Lets a process run before all others: it does little, but has to do it in time. Where that is not allowed, it does not. */
function first(pid: number): void {
  spawnSync('chrt', ['-a', '-f', '-p', '10', String(pid)], { stdio: 'ignore' });
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** One measurement, in a network namespace that this process has for itself. */
async function measure(task: Task): Promise<Sample> {
  const receiver = spawn('setpriv', [
    '--pdeathsig', 'KILL', 'unshare', '-n', process.execPath, '-e', RECEIVE, String(task.seconds),
  ], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = receiver.stdout.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
  await lines.next();
  const pid = String(receiver.pid);
  first(receiver.pid!);
  first(process.pid);
  const far = openTun({ name: 'path1', offload: 'off', up: false });
  ip('link', 'set', 'path1', 'netns', pid);
  const there = ['-t', pid, '-n', 'ip'];
  execFileSync('nsenter', [...there, 'link', 'set', 'path1', 'up', 'mtu', '1500']);
  execFileSync('nsenter', [...there, 'address', 'add', `${RECEIVER}/24`, 'dev', 'path1']);

  const path = { seed: task.seed, delayUs: PATH.delayMs * 1000, rate: 100e6, queuePackets: PATH.queuePackets };
  const clock = new SystemClock();
  const link = impair(far, { ...path, up: { loss: PATH.loss } });
  let drops = (): number => 0;
  let info = linuxInfo;
  if (task.sender === 'linux') {
    const near = openTun({ name: 'path0', offload: 'off', hostAddresses: [`${SENDER}/24`] });
    // By the route, since a namespace's default may only be what the whole machine allows.
    ip('route', 'replace', '10.77.0.0/24', 'dev', 'path0', 'src', SENDER, 'congctl', task.congestion);
    const cable = new PatchCable(near, link, clock);
    drops = () => cable.drops;
    first(spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, '-e', SEND], { stdio: ['ignore', 'ignore', 'inherit'] }).pid!);
  } else {
    const stack = createStack({ link, clock, addresses: [`${SENDER}/24`], tcp: { congestion: task.congestion } });
    const socket = stack.net.connect(PORT, RECEIVER);
    info = () => ({ congestion: task.congestion, rttMs: socket.tcpInfo()?.srttMs ?? NaN });
    const data = Buffer.alloc(256 << 10);
    const write = (): void => {
      while (socket.write(data));
    };
    socket.on('connect', write).on('drain', write).on('error', () => undefined);
  }
  const rtts: number[] = [];
  for (let second = 1; second < task.seconds; second++) {
    await setTimeout(1000);
    const { congestion, rttMs } = info();
    // A busy machine may not have connected yet.
    if (congestion === '' || !(rttMs > 0)) continue;
    if (congestion !== task.congestion) throw new Error(`congestion control is '${congestion}' instead of '${task.congestion}'`);
    rtts.push(rttMs);
  }
  const rttMs = rtts.reduce((a, b) => a + b, 0) / rtts.length;
  const { value } = await lines.next();
  const { lost, packets, queueDrops } = link.paths.up.counters;
  return { ...task, rttMs, mbps: Number(value) * 8 / task.seconds / 1e6, lost, packets, drops: drops() + queueDrops };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}

/** Runs a task in a process and a namespace of its own. */
async function run(task: Task): Promise<Sample> {
  const root = process.getuid?.() === 0;
  const child = spawn('setpriv', [
    '--pdeathsig', 'KILL', 'unshare', root ? '-n' : '-Urn', process.execPath, ...process.execArgv,
    fileURLToPath(import.meta.url), '--task', JSON.stringify(task),
  ], { stdio: ['ignore', 'pipe', 'inherit'], timeout: (task.seconds + 30) * 1000, killSignal: 'SIGKILL' });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  const [code] = await once(child, 'close') as [number | null];
  if (code !== 0) throw new Error(`${JSON.stringify(task)} ended with ${code}`);
  return JSON.parse(text) as Sample;
}

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '20' }, seeds: { type: 'string', default: '5' }, parallel: { type: 'string', default: '3' },
    congestion: { type: 'string', default: 'cubic,reno' }, out: { type: 'string', default: RESULTS }, task: { type: 'string' },
  },
});

if (options.task !== undefined) {
  process.stdout.write(JSON.stringify(await measure(JSON.parse(options.task) as Task)), () => process.exit(0));
} else {
  const seconds = Number(options.seconds);
  const tasks: Task[] = [];
  for (let seed = 1; seed <= Number(options.seeds); seed++) {
    for (const name of options.congestion.split(',')) {
      for (const sender of ['linux', 'tcpu'] as const) {
        tasks.push({ sender, congestion: sender === 'tcpu' && name === 'reno' ? 'newreno' : name, seed, seconds });
      }
    }
  }
  const samples: Sample[] = [];
  const queue = [...tasks];
  await Promise.all(Array.from({ length: Number(options.parallel) }, async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) {
      const sample = await run(task);
      samples.push(sample);
      console.log(`${sample.sender.padEnd(5)} ${sample.congestion.padEnd(7)} seed ${sample.seed}: ${sample.mbps.toFixed(2)} Mbit/s, `
        + `RTT ${sample.rttMs.toFixed(1)} ms, ${sample.lost} of ${sample.packets} packets lost, ${sample.drops} dropped`);
    }
  }));
  const rows = (sender: Task['sender']): { congestion: string; medianMbps: number; atRttMbps: number; rttMs: number; mbps: number[] }[] => (
    [...new Set(samples.filter((one) => one.sender === sender).map((one) => one.congestion))].sort().map((congestion) => {
      const own = samples.filter((one) => one.sender === sender && one.congestion === congestion).sort((a, b) => a.seed - b.seed);
      const mbps = own.map((one) => Math.round(one.mbps * 1000) / 1000);
      const scaled = own.map((one) => Math.round(one.mbps * one.rttMs / (2 * PATH.delayMs) * 1000) / 1000);
      return { congestion, medianMbps: median(mbps), atRttMbps: median(scaled), rttMs: median(own.map((one) => Math.round(one.rttMs * 10) / 10)), mbps };
    })
  );
  const results = {
    measured: new Date().toISOString().slice(0, 10), kernel: release(), node: process.version, cpus: cpus().length,
    path: { ...PATH, seconds }, linux: rows('linux'), tcpu: rows('tcpu'),
  };
  writeFileSync(options.out, `${JSON.stringify(results, null, 2)}\n`);
  console.table([...results.linux.map((row) => ({ sender: 'linux', ...row })), ...results.tcpu.map((row) => ({ sender: 'tcpu', ...row }))]
    .map(({ sender, congestion, medianMbps, rttMs, atRttMbps }) => ({ sender, congestion, medianMbps, rttMs, atRttMbps })));
}
