/**
 * What an attack costs those who are served: the throughput of established connections while packets of no use arrive at
 * a set rate, beside the same without, in one run and in turn. The attacker (flood.c) has a set rate, forged source
 * addresses, and sends straight onto the device from the client's namespace.
 *
 *     +-- namespace -------------------------------------------+
 *     | load  -- Linux TCP --+                                 |
 *     | flood -- AF_PACKET --+-- tcpu0 (TUN) -- bin/tcpu up .2 |
 *     +--------------------------------------------------------+
 *
 *     node --import=tsx bench/flood.ts                          50,000 a second of each kind
 *     node --import=tsx bench/flood.ts --kinds syn,udp --rate 100000 --workloads in-1
 *     node --import=tsx bench/flood.ts --profile syn            where the time of the stack goes under it, and what one costs
 */

import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { FLOOD, compileFlood, floodArgs } from './flooder.ts';
import type { FloodResult } from './flooder.ts';
import { compileLoad, measure } from './load.ts';
import type { Timing } from './load.ts';
import { Child, cpuSeconds, removeStaleNamespaces } from './processes.ts';
import { ROOT, Tun } from './topology.ts';
import { WORKLOADS } from './workloads.ts';
import type { Workload } from './workloads.ts';

/** The least share of the quiet figure that is left under 50,000 packets a second. */
export const FLOOD_MARK = 0.5;
/** The kinds that the mark is for; the others are for information. */
export const MARKED_KINDS: readonly string[] = ['syn', 'udp', 'ack'];

/** Time that a client has to open its connections before the attack begins, s. */
const OPENING_S = 0.3;

/** The port that is attacked: somebody listens there, who is not measured. */
const ATTACKED_PORT = 99;

/** The stack with one more service, for the attacker. */
class Attacked extends Tun {
  protected override get services(): string[] {
    return [...super.services, `discard@${ATTACKED_PORT}`];
  }
}

interface Options {
  kinds: string;
  workloads: string;
  rate: string;
  repeat: string;
  duration: string;
  mtu: string;
  offload: string;
  json: string;
  profile?: string;
  check: boolean;
}

interface Cell {
  workload: string;
  kind: string;
  /** Of the workload, without and with the attack, in pairs. */
  quiet: number[];
  attacked: number[];
  /** Packets a second that the device took. */
  rates: number[];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? NaN;
}

/** The workload while the attack goes on, which begins once the connections are open. */
async function attacked(workload: Workload, topology: Attacked, timing: Timing, kind: string, rate: number): Promise<{ value: number; rate: number }> {
  const seconds = timing.warmupS + timing.durationS;
  const flood = new Child(topology.clientNamespace, FLOOD, floodArgs({
    kind, rate, seconds, device: 'tcpu0', target: topology.target, port: ATTACKED_PORT, delay: OPENING_S,
  }));
  try {
    const { value } = await measure(workload, topology, { ...timing, warmupS: timing.warmupS + OPENING_S });
    const result = JSON.parse(await flood.line((seconds + 10) * 1000)) as FloodResult;
    return { value, rate: result.perSecond };
  } finally {
    await flood.stop();
  }
}

function formatted(value: number, unit: Workload['unit']): string {
  return unit === '/s' ? `${Math.round(value).toLocaleString('en')} /s` : `${value.toFixed(2)} Gbit/s`;
}

function table(cells: readonly Cell[], rate: number): string {
  const rows = cells.map((cell) => {
    const workload = WORKLOADS.find((one) => one.name === cell.workload)!;
    const ratio = ratioOf(cell);
    const verdict = !MARKED_KINDS.includes(cell.kind) ? '' : ratio >= FLOOD_MARK ? `>= ${FLOOD_MARK}` : `**below ${FLOOD_MARK}**`;
    return `| ${workload.title} | ${cell.kind} | ${Math.round(median(cell.rates)).toLocaleString('en')} | ${formatted(median(cell.quiet), workload.unit)} `
      + `| ${formatted(median(cell.attacked), workload.unit)} | ${ratio.toFixed(2)} | ${verdict} |`;
  });
  return [
    `| workload | attack, ${rate.toLocaleString('en')} /s wanted | packets /s | quiet | attacked | ratio | mark |`,
    '|---|---|---|---|---|---|---|', ...rows,
  ].join('\n');
}

/** Median of the ratios of the pairs. */
function ratioOf(cell: Cell): number {
  return median(cell.quiet.map((quiet, i) => cell.attacked[i]! / quiet));
}

async function compare(topology: Attacked, options: Options): Promise<boolean> {
  const timing: Timing = { warmupS: 0.3, durationS: Number(options.duration) };
  const rate = Number(options.rate);
  const cells: Cell[] = [];
  await topology.start();
  for (const name of options.workloads.split(',')) {
    const workload = WORKLOADS.find((one) => one.name === name);
    if (!workload) throw new Error(`no workload ${name}; there are ${WORKLOADS.map((one) => one.name).join(', ')}`);
    await measure(workload, topology, { warmupS: 0, durationS: 0.5 });
    for (const kind of options.kinds.split(',')) {
      const cell: Cell = { workload: name, kind, quiet: [], attacked: [], rates: [] };
      for (let i = 0; i < Number(options.repeat); i++) {
        cell.quiet.push((await measure(workload, topology, timing)).value);
        const under = await attacked(workload, topology, timing, kind, rate);
        cell.attacked.push(under.value);
        cell.rates.push(under.rate);
      }
      cells.push(cell);
    }
  }
  console.log(`${topology.title}\n\n${table(cells, rate)}\n`);
  if (options.json !== '') {
    const file = resolve(ROOT, options.json);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify({ rate, ...timing, cells: cells.map((cell) => ({ ratio: ratioOf(cell), ...cell })) }, undefined, 1)}\n`);
  }
  return cells.every((cell) => !MARKED_KINDS.includes(cell.kind) || ratioOf(cell) >= FLOOD_MARK);
}

interface CpuProfile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}

/** Nothing but the attack: CPU time of the stack for each packet, and the functions that take it. */
async function profile(topology: Attacked, kind: string, rate: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'tcpu-flood-'));
  topology.nodeArgs = ['--cpu-prof', `--cpu-prof-dir=${directory}`, '--cpu-prof-interval=200'];
  const seconds = 4;
  try {
    await topology.start();
    const stack = topology.servers[0]!.child;
    const attack = (duration: number): Promise<string> => new Child(topology.clientNamespace, FLOOD, floodArgs({
      kind, rate, seconds: duration, device: 'tcpu0', target: topology.target, port: ATTACKED_PORT,
    })).line((duration + 10) * 1000);
    await attack(1);
    const before = cpuSeconds(stack.pid);
    const { sent, perSecond } = JSON.parse(await attack(seconds)) as FloodResult;
    const after = cpuSeconds(stack.pid);
    const user = after.user - before.user;
    const system = after.system - before.system;
    console.log(`${kind}: ${Math.round(perSecond).toLocaleString('en')} packets a second; CPU of the stack for each: `
      + `${(user / sent * 1e6).toFixed(2)} µs user + ${(system / sent * 1e6).toFixed(2)} µs system, ${((user + system) / seconds * 100).toFixed(0)} % of one`);
    await topology.stop();
    for (const file of readdirSync(directory)) {
      const data = JSON.parse(readFileSync(join(directory, file), 'utf8')) as CpuProfile;
      const names = new Map(data.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => (
        [id, `${functionName || '(anonymous)'}  ${url.replace('file://', '').replace(`${ROOT}/`, '')}:${lineNumber + 1}`])));
      const times = new Map<string, number>();
      let busy = 0;
      let all = 0;
      for (let i = data.samples.length - 1; i >= 0 && all < seconds * 1e6; i--) {
        const name = names.get(data.samples[i]!)!;
        all += data.timeDeltas[i]!;
        if (name.startsWith('(idle)')) continue;
        busy += data.timeDeltas[i]!;
        times.set(name, (times.get(name) ?? 0) + data.timeDeltas[i]!);
      }
      console.log('\nself time in JavaScript and what it calls:\n');
      for (const [name, us] of [...times].sort((a, b) => b[1] - a[1]).slice(0, 25)) console.log(`${((us / busy) * 100).toFixed(1).padStart(6)} %  ${name}`);
    }
  } finally {
    await topology.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function main(options: Options): Promise<number> {
  compileLoad();
  compileFlood();
  removeStaleNamespaces();
  const topology = new Attacked('flood', Number(options.mtu), options.offload !== 'off');
  try {
    if (options.profile !== undefined) {
      await profile(topology, options.profile, Number(options.rate));
      return 0;
    }
    return await compare(topology, options) || !options.check ? 0 : 1;
  } finally {
    await topology.stop();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const program = new Command('bench/flood.ts')
    .description('What attacks of a set rate leave of the throughput. Needs root and a build (npm run build).')
    .option('--kinds <list>', 'kinds of attack, see flood.c', 'syn,udp,ack,data,icmp,fragments,mix')
    .option('--workloads <list>', WORKLOADS.map((one) => one.name).join(', '), 'in-1,out-1,rr-32')
    .option('--rate <n>', 'packets a second', '50000')
    .option('--repeat <n>', 'pairs of measurements, of which the median counts', '3')
    .option('--duration <seconds>', 'counted time of one measurement', '1')
    .option('--mtu <bytes>', 'of the device', '1500')
    .option('--offload <mode>', 'on or off', 'on')
    .option('--json <file>', 'where all figures go', 'bench/results/flood.json')
    .option('--profile <kind>', 'only the attack: where the stack\'s time goes')
    .option('--check', 'exit with 1 when a mark is missed', false);
  try {
    process.exitCode = await main(program.parse().opts<Options>());
  } catch (error) {
    console.error(`bench: ${(error as Error).message}`);
    process.exit(2);
  }
}
