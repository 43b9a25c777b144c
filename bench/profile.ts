/**
 * Where the stack's time goes in one workload: node's CPU profile of the stack's process (functions by self time), and
 * with --perf Linux's view of the same process (kernel, addon and compiled JavaScript together).
 *
 *     node --import=tsx bench/profile.ts in-1 tun
 *     node --import=tsx bench/profile.ts --perf rr-32 tun-plain
 */

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Command } from 'commander';
import { compileLoad, measure } from './load.ts';
import { removeStaleNamespaces } from './processes.ts';
import { ROOT, topologies, Tun } from './topology.ts';
import { WORKLOADS } from './workloads.ts';

interface Options {
  perf: boolean;
  callers: boolean;
  keep: boolean;
  duration: string;
  top: string;
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

function printProfile(directory: string, seconds: number, top: number): void {
  const file = readdirSync(directory).find((name) => name.endsWith('.cpuprofile'));
  if (!file) {
    console.log('node wrote no profile: the stack did not end in order');
    return;
  }
  const profile = JSON.parse(readFileSync(join(directory, file), 'utf8')) as CpuProfile;
  const { rows, busyUs, allUs } = selfTimes(profile, seconds);
  // The profiler takes the addon's own work outside JavaScript, which is reading the device, for idleness.
  const share = ((busyUs / allUs) * 100).toFixed(0);
  console.log(`\nSelf time in JavaScript and what it calls, ${share} % of the time; reading is not in it.\n`);
  for (const [name, us] of rows.slice(0, top)) console.log(`${((us / busyUs) * 100).toFixed(1).padStart(6)} %  ${name}`);
}

function printPerf(data: string, callers: boolean, top: number): void {
  const shared = ['report', '-i', data, '--stdio', '--percent-limit', '0.4'];
  const graph = callers ? ['-g', 'caller,0.5,callee', '--children'] : ['-g', 'none', '--no-children'];
  for (const sort of callers ? ['symbol'] : ['dso', 'dso,symbol']) {
    const done = spawnSync('perf', [...shared, ...graph, '--sort', sort], { encoding: 'utf8', maxBuffer: 1 << 26 });
    const lines = done.stdout.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'))
      .map((line) => line.replace(/(\s+-)*\s*$/, '').replace(`file://${ROOT}/`, ''));
    console.log(`\nperf, by ${sort}:\n`);
    console.log(lines.slice(0, callers ? top * 8 : top).join('\n'));
  }
}

async function main(workloadName: string, topologyName: string, options: Options): Promise<void> {
  const workload = WORKLOADS.find((one) => one.name === workloadName);
  const plain = topologies().find((one) => one.name === topologyName);
  if (!workload) throw new Error(`no workload ${workloadName}; there are ${WORKLOADS.map((one) => one.name).join(', ')}`);
  if (!(plain instanceof Tun)) throw new Error(`${topologyName} is not a topology of the stack (tun, tun-plain, tun-65535)`);
  compileLoad();
  removeStaleNamespaces();
  const directory = mkdtempSync(join(tmpdir(), 'tcpu-profile-'));
  const seconds = Number(options.duration);
  const tun = plain.withNodeArgs(options.perf
    ? ['--perf-basic-prof', '--interpreted-frames-native-stack']
    : ['--cpu-prof', `--cpu-prof-dir=${directory}`, '--cpu-prof-interval=200']);
  let perfMap = '';
  try {
    await tun.start();
    await measure(workload, tun, { warmupS: 0, durationS: 1 });
    perfMap = `/tmp/perf-${tun.server!.pid}.map`;
    const data = join(directory, 'perf.data');
    const perf = options.perf
      ? spawn('perf', ['record', '-q', '-e', 'cpu-clock', '-F', '1999', '-g', '-p', `${tun.server!.pid}`, '-o', data],
        { stdio: 'inherit' })
      : undefined;
    const sample = await measure(workload, tun, { warmupS: 0.2, durationS: seconds });
    if (perf) {
      perf.kill('SIGINT');
      await once(perf, 'exit');
    }
    console.log(`${workload.title}, ${tun.title}: ${sample.value.toFixed(2)} ${workload.unit}; ` +
      `CPUs ${sample.serverCpu.user.toFixed(2)} user + ${sample.serverCpu.system.toFixed(2)} system`);
    if (perf) printPerf(data, options.callers, Number(options.top));
    await tun.stop();
    if (!perf) printProfile(directory, seconds, Number(options.top));
  } finally {
    await tun.stop();
    if (options.keep) {
      console.log(`\nkept: ${directory}`);
    } else {
      rmSync(directory, { recursive: true, force: true });
      if (perfMap) rmSync(perfMap, { force: true });
    }
  }
}

await new Command('bench/profile.ts')
  .description('Profiles the stack\'s process during one workload. Needs root and a build (npm run build).')
  .argument('<workload>', WORKLOADS.map((one) => one.name).join(', '))
  .argument('[topology]', 'tun, tun-plain, tun-65535, tun-65535-plain', 'tun')
  .option('--perf', 'use perf instead of node\'s profiler', false)
  .option('--callers', 'perf: a call graph', false)
  .option('--keep', 'keep the profile (.cpuprofile opens in Chrome\'s developer tools)', false)
  .option('--duration <seconds>', 'counted time', '3')
  .option('--top <n>', 'lines to print', '30')
  .action(main)
  .parseAsync();
