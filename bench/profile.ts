/**
 * Where the time goes in one workload: node's CPU profile of the stack's process and of the application's, where there is one
 * (functions by self time), and with --perf Linux's view of the same processes (kernel, addon and compiled JavaScript
 * together). With an application also what crossed the channel.
 *
 *     node --import=tsx bench/profile.ts in-1 tun
 *     node --import=tsx bench/profile.ts crr tcpu
 *     node --import=tsx bench/profile.ts --perf rr-32 tun-plain
 */

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Command } from 'commander';
import { queryStack } from '../lib/channel/process-channel.ts';
import type { StackCounters } from '../lib/stack.ts';
import { compileLoad, measure } from './load.ts';
import { removeStaleNamespaces } from './processes.ts';
import { AttachedTun, ROOT, topologies, Tun } from './topology.ts';
import type { Server } from './topology.ts';
import { WORKLOADS } from './workloads.ts';

interface Options {
  perf: boolean;
  callers: boolean;
  keep: boolean;
  duration: string;
  top: string;
  window: string;
}

interface ProfileNode {
  id: number;
  callFrame: { functionName: string; url: string; lineNumber: number };
}

interface CpuProfile {
  nodes: ProfileNode[];
  samples: number[];
  /** µs */
  timeDeltas: number[];
}

interface SelfTimes {
  rows: [name: string, us: number][];
  busyUs: number;
  allUs: number;
}

/** Self time by function, the largest first; idle time left out, as is all before the workload began. */
function selfTimes(profile: CpuProfile, lastSeconds: number): SelfTimes {
  const names = new Map<number, string>();
  for (const { id, callFrame } of profile.nodes) {
    const file = callFrame.url.replace('file://', '').replace(`${ROOT}/`, '');
    names.set(id, `${callFrame.functionName || '(anonymous)'}${file ? `  ${file}:${callFrame.lineNumber + 1}` : ''}`);
  }
  const times = new Map<string, number>();
  let busyUs = 0;
  let allUs = 0;
  for (let i = profile.samples.length - 1; i >= 0 && allUs < lastSeconds * 1e6; i--) {
    const us = profile.timeDeltas[i]!;
    const name = names.get(profile.samples[i]!)!;
    allUs += us;
    if (name.startsWith('(idle)')) continue;
    busyUs += us;
    times.set(name, (times.get(name) ?? 0) + us);
  }
  return { rows: [...times].sort((a, b) => b[1] - a[1]), busyUs, allUs };
}

/** The profiles of a process: of its main thread, and of its workers. Names are `CPU.date.time.pid.thread.serial.cpuprofile`. */
function printProfiles(directory: string, name: Server['name'], pid: number, seconds: number, top: number): void {
  const files = readdirSync(directory).filter((file) => file.split('.')[3] === `${pid}`).sort();
  if (files.length === 0) console.log(`node wrote no profile: the ${name} did not end in order`);
  for (const file of files) {
    const profile = JSON.parse(readFileSync(join(directory, file), 'utf8')) as CpuProfile;
    const { rows, busyUs, allUs } = selfTimes(profile, seconds);
    // The profiler takes the addon's own work outside JavaScript, which is reading the device, for idleness.
    const share = ((busyUs / allUs) * 100).toFixed(0);
    const thread = file.split('.')[4] === '0' ? '' : `, thread ${file.split('.')[4]}`;
    console.log(`\n${name}${thread}: self time in JavaScript and what it calls, ${share} % of the time; reading is not in it.\n`);
    for (const [row, us] of rows.slice(0, top)) console.log(`${((us / busyUs) * 100).toFixed(1).padStart(6)} %  ${row}`);
  }
}

type Groups = Record<string, Record<string, number>>;

/** What the stack and its one application have counted. */
async function countersOf(topology: AttachedTun): Promise<Groups> {
  const { layers, applications } = await queryStack(topology.socket, 'counters') as StackCounters;
  const { link, tcpk } = layers;
  const [application] = applications;
  const own = Object.entries(application?.counters ?? {}).map(([group, counters]) => [`application ${group}`, counters] as const);
  return { link: link ?? {}, tcpk: tcpk ?? {}, channel: application?.channel ?? {}, ...Object.fromEntries(own) };
}

/** What was counted between two looks, a second. */
function printCounters(before: Groups, after: Groups, seconds: number): void {
  console.log('\nCounted, a second:\n');
  for (const [group, counters] of Object.entries(after)) {
    const changed = Object.entries(counters).map(([name, value]) => [name, (value - (before[group]?.[name] ?? 0)) / seconds] as const)
      .filter(([, rate]) => rate !== 0);
    if (changed.length === 0) continue;
    console.log(`  ${group}: ${changed.map(([name, rate]) => `${name} ${Math.round(rate).toLocaleString('en')}`).join(', ')}`);
  }
}

function printPerf(data: string, callers: boolean, top: number): void {
  const shared = ['report', '-i', data, '--stdio', '--percent-limit', '0.4'];
  const graph = callers ? ['-g', 'caller,0.5,callee', '--children'] : ['-g', 'none', '--no-children'];
  for (const sort of callers ? ['symbol'] : ['dso', 'dso,symbol']) {
    const done = spawnSync('perf', [...shared, ...graph, '--sort', sort], { encoding: 'utf8', maxBuffer: 1 << 26 });
    const lines = done.stdout.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'))
      .map((line) => line.replace(/(\s+-)*\s*$/, '').replace(`file://${ROOT}/`, ''));
    console.log(`\n${basename(data, '.perf')}: perf, by ${sort}:\n`);
    console.log(lines.slice(0, callers ? top * 8 : top).join('\n'));
  }
}

function recordPerf(pid: number, file: string): { file: string; stop(): Promise<void> } {
  const perf = spawn('perf', ['record', '-q', '-e', 'cpu-clock', '-F', '1999', '-g', '-p', `${pid}`, '-o', file], { stdio: 'inherit' });
  return {
    file,
    stop: async () => {
      perf.kill('SIGINT');
      await once(perf, 'exit');
    },
  };
}

async function main(workloadName: string, topologyName: string, options: Options): Promise<void> {
  const workload = WORKLOADS.find((one) => one.name === workloadName);
  const tun = topologies().find((one) => one.name === topologyName);
  if (!workload) throw new Error(`no workload ${workloadName}; there are ${WORKLOADS.map((one) => one.name).join(', ')}`);
  if (!(tun instanceof Tun)) throw new Error(`${topologyName} is not a topology of the stack (tun, tcpu, tun-plain, ...)`);
  compileLoad();
  removeStaleNamespaces();
  const directory = mkdtempSync(join(tmpdir(), 'tcpu-profile-'));
  const seconds = Number(options.duration);
  const top = Number(options.top);
  tun.nodeArgs = options.perf
    ? ['--perf-basic-prof', '--interpreted-frames-native-stack']
    : ['--cpu-prof', `--cpu-prof-dir=${directory}`, '--cpu-prof-interval=200'];
  if (tun instanceof AttachedTun) tun.window = options.window;
  let servers: readonly Server[] = [];
  try {
    await tun.start();
    servers = tun.servers;
    await measure(workload, tun, { warmupS: 0, durationS: 1 });
    const recordings = options.perf ? servers.map(({ name, child }) => recordPerf(child.pid, join(directory, `${name}.perf`))) : [];
    const before = tun instanceof AttachedTun ? await countersOf(tun) : undefined;
    const begun = performance.now();
    const sample = await measure(workload, tun, { warmupS: 0.2, durationS: seconds });
    for (const recording of recordings) await recording.stop();
    const unit = workload.unit === '/s' ? 'µs each' : 'ms/Gbit';
    const scale = (workload.unit === '/s' ? 1e6 : 1e3) / sample.value;
    console.log(`${workload.title}, ${tun.title}: ${sample.value.toFixed(2)} ${workload.unit}`);
    for (const [name, cpu] of Object.entries({ ...sample.cpuOf, all: sample.serverCpu })) {
      console.log(`  ${name}: CPUs ${cpu.user.toFixed(2)} user + ${cpu.system.toFixed(2)} system; ` +
        `${(cpu.user * scale).toFixed(1)} + ${(cpu.system * scale).toFixed(1)} ${unit}`);
    }
    if (before !== undefined) printCounters(before, await countersOf(tun as AttachedTun), (performance.now() - begun) / 1000);
    for (const { file } of recordings) printPerf(file, options.callers, top);
    await tun.stop();
    if (!options.perf) for (const { name, child } of servers) printProfiles(directory, name, child.pid, seconds, top);
  } finally {
    await tun.stop();
    if (options.keep) {
      console.log(`\nkept: ${directory}`);
    } else {
      rmSync(directory, { recursive: true, force: true });
      for (const { child } of servers) rmSync(`/tmp/perf-${child.pid}.map`, { force: true });
    }
  }
}

await new Command('bench/profile.ts')
  .description('Profiles the processes of our stack during one workload. Needs root and a build (npm run build).')
  .argument('<workload>', WORKLOADS.map((one) => one.name).join(', '))
  .argument('[topology]', topologies().filter((one) => one.column !== null).map((one) => one.name).join(', '), 'tun')
  .option('--perf', 'use perf instead of node\'s profiler', false)
  .option('--callers', 'perf: a call graph', false)
  .option('--keep', 'keep the profile (.cpuprofile opens in Chrome\'s developer tools)', false)
  .option('--duration <seconds>', 'counted time', '3')
  .option('--top <n>', 'lines to print', '30')
  .option('--window <sizes>', 'sizes of parts of the application\'s window, as `tcpu serve` takes them, e.g. rx=1M', '')
  .action(main)
  .parseAsync();
