/**
 * `npm run bench`: our stack over TUN beside Linux's own TCP, and attached applications beside the stack's own TCP, in one
 * run. All topologies stand side by side; each
 * repetition goes through the workloads, and each workload through the topologies, forwards and backwards in turn, so
 * that what disturbs the machine disturbs all. See README.md here for how to read the tables.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { loadavg } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import { measureIdle } from './idle.ts';
import type { IdleResult } from './idle.ts';
import { compileLoad, measure } from './load.ts';
import type { Timing } from './load.ts';
import { refusedSettings, removeStaleNamespaces } from './processes.ts';
import { columnTable, idleTable, machine, medianTable, ratioTable, summary, verdicts } from './report.ts';
import type { Cell } from './report.ts';
import { COLUMNS, ROOT, topologies } from './topology.ts';
import type { Column, Topology } from './topology.ts';
import { COMPARISONS, FOR_INFORMATION, WORKLOADS } from './workloads.ts';

interface Options {
  quick: boolean;
  repeat: number | undefined;
  duration: number | undefined;
  only: RegExp | undefined;
  columns: readonly Column[];
  json: string;
  check: boolean;
  list: boolean;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('a number above zero is needed');
  return value;
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function columns(text: string): readonly Column[] {
  const names = text.split(',');
  const unknown = names.find((name) => !COLUMNS.some((column) => column === name));
  if (unknown !== undefined) throw new InvalidArgumentError(`there is no column '${unknown}'; there are ${COLUMNS.join(', ')}`);
  return names as Column[];
}

/** The cells to measure: those `only` and `asked` select, and the baseline of each candidate. In the order of WORKLOADS. */
function plan(only: RegExp | undefined, asked: readonly Column[]): Map<string, Cell> {
  const wanted = new Set<string>();
  const matches = (key: string) => only === undefined || only.test(key);
  for (const { workload, candidate, baseline, column } of COMPARISONS) {
    if (!asked.includes(column)) continue;
    if (matches(`${workload}/${candidate}`)) wanted.add(`${workload}/${candidate}`).add(`${workload}/${baseline}`);
    if (matches(`${workload}/${baseline}`)) wanted.add(`${workload}/${baseline}`);
  }
  for (const [workload, topology] of asked.includes('embedded') ? FOR_INFORMATION : []) {
    if (matches(`${workload}/${topology}`)) wanted.add(`${workload}/${topology}`);
  }
  const cells = new Map<string, Cell>();
  for (const workload of WORKLOADS) {
    for (const topology of topologies()) {
      const key = `${workload.name}/${topology.name}`;
      if (wanted.has(key)) cells.set(key, { workload: workload.name, topology: topology.name, samples: [], failures: [] });
    }
  }
  return cells;
}

function say(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** One measurement into its cell; a stack that died is started again for the next. */
async function fill(cell: Cell, topology: Topology, timing: Timing, keep: boolean): Promise<void> {
  const workload = WORKLOADS.find((one) => one.name === cell.workload)!;
  try {
    const sample = await measure(workload, topology, timing);
    if (keep) cell.samples.push(sample);
  } catch (error) {
    const message = (error as Error).message;
    if (!cell.failures.includes(message)) cell.failures.push(message);
    if (topology.servers.every(({ child }) => child.isRunning)) return;
    await topology.stop();
    await topology.start();
  }
}

/**
 * Starts the topologies. A column whose application does not start (in a build without it) is left out with a loud
 * note, and misses its marks; the rest is measured.
 */
async function start(used: readonly Topology[], cells: Map<string, Cell>): Promise<Topology[]> {
  const started: Topology[] = [];
  for (const topology of used) {
    try {
      await topology.start();
      started.push(topology);
    } catch (error) {
      await topology.stop();
      if (topology.column === null || topology.column === 'embedded') throw error;
      console.log(`**NOT MEASURED: ${topology.name} (${topology.title}): ${(error as Error).message}**\n`);
      for (const [key, cell] of cells) {
        if (cell.topology !== topology.name) continue;
        if (COMPARISONS.some((one) => one.workload === cell.workload && one.candidate === cell.topology && one.mark !== undefined)) {
          cell.failures.push('not measured, see above');
        } else {
          cells.delete(key);
        }
      }
    }
  }
  return started;
}

async function main(options: Options): Promise<number> {
  if (process.getuid?.() !== 0) {
    console.error('The benchmark makes network namespaces and a TUN device: run it as root (sudo npm run bench).');
    return 2;
  }
  const repeat = options.repeat ?? (options.quick ? 2 : 5);
  const timing: Timing = {
    warmupS: options.quick ? 0.15 : 0.4,
    durationS: options.duration ?? (options.quick ? 0.3 : 1.4),
  };
  const cells = plan(options.only, options.columns);
  const wantIdle = options.columns.includes('embedded') && (options.only === undefined || options.only.test('idle'));
  if (options.list) {
    console.log([...cells.keys(), ...(wantIdle ? ['idle'] : [])].join('\n'));
    return 0;
  }
  let used = topologies().filter((topology) => [...cells.values()].some((cell) => cell.topology === topology.name));
  compileLoad();
  removeStaleNamespaces();
  const about = machine();
  const begun = performance.now();
  console.log(`# tcpu beside Linux, ${repeat} x ${timing.durationS} s, medians\n`);
  const { cpu, cores, kernel, node, commit } = about;
  console.log(`${cpu}, ${cores} CPUs, kernel ${kernel}, node ${node}, commit ${commit}`);
  if (loadavg()[0]! > 0.5) console.log(`Load average ${loadavg()[0]!.toFixed(1)} at the start: others use this machine.`);
  console.log();

  used = await start(used, cells);
  if (refusedSettings.size > 0) console.log(`This kernel did not take: ${[...refusedSettings].join(', ')}\n`);
  try {
    // Once without counting: the engine compiles, caches and congestion metrics settle.
    for (const topology of used.filter((one) => one.column !== null)) {
      for (const workload of WORKLOADS) {
        const cell = cells.get(`${workload.name}/${topology.name}`);
        if (cell) await fill(cell, topology, { warmupS: 0, durationS: 0.3 }, false);
      }
    }
    for (let repetition = 0; repetition < repeat; repetition++) {
      for (const workload of WORKLOADS) {
        for (const topology of repetition % 2 === 0 ? used : [...used].reverse()) {
          const cell = cells.get(`${workload.name}/${topology.name}`);
          if (!cell) continue;
          say(`${repetition + 1}/${repeat} ${workload.name} ${topology.name}`);
          await fill(cell, topology, timing, true);
        }
      }
    }
  } finally {
    say('');
    for (const topology of used) await topology.stop();
  }

  const found = verdicts(cells);
  const beside = found.filter((verdict) => verdict.column === 'embedded');
  if (beside.length > 0) console.log(`${ratioTable(beside)}\n`);
  if (found.length > beside.length) console.log(`${columnTable(found.filter((verdict) => verdict.column !== 'embedded'))}\n`);
  if (cells.size > 0) console.log(`${medianTable(cells, used)}\n`);
  const failures = [...cells.values()].flatMap((cell) => cell.failures.map((f) => `${cell.workload}/${cell.topology}: ${f}`));
  let idle: IdleResult | undefined;
  if (wantIdle) {
    say('idle');
    try {
      idle = await measureIdle();
      say('');
      console.log(`${idleTable(idle)}\n`);
    } catch (error) {
      failures.push(`idle: ${(error as Error).message}`);
    }
  }
  if (failures.length > 0) console.log(`Failed:\n${failures.map((text) => `- ${text}`).join('\n')}\n`);

  const marked = found.filter((verdict) => verdict.pass !== undefined);
  const passed = marked.filter((verdict) => verdict.pass).length + (idle?.pass ? 1 : 0);
  const all = marked.length + (wantIdle ? 1 : 0);
  console.log(`${passed} of ${all} marks reached, ${Math.round((performance.now() - begun) / 1000)} s.`);

  const file = resolve(ROOT, options.json);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({
    machine: about, repeat, ...timing, refusedSettings: [...refusedSettings],
    topologies: Object.fromEntries(used.map((topology) => [topology.name, topology.title])),
    cells: [...cells.values()].map((cell) => ({ ...summary(cell.samples.map((sample) => sample.value)), ...cell })),
    comparisons: found, idle, failures,
  }, undefined, 1)}\n`);
  console.log(`Figures: ${file}`);
  return options.check && passed < all ? 1 : 0;
}

const program = new Command('npm run bench --')
  .description('Compares the stack over TUN with Linux\'s own TCP (loopback, veth pairs), and applications that are attached to '
    + 'it with the stack itself, in one run; needs root.')
  .option('--quick', 'two short repetitions: under two minutes, for a first look', false)
  .option('--repeat <n>', 'repetitions of each measurement (5)', positive)
  .option('--duration <seconds>', 'counted time of one measurement (1.4)', positive)
  .option('--only <pattern>', 'measure only workload/topology pairs that match, e.g. in-1/tun$, rr, plain, idle', pattern)
  .option('--columns <list>', `where our TCP runs, of ${COLUMNS.join(', ')} (all)`, columns, COLUMNS)
  .option('--json <file>', 'where all figures go', 'bench/results/latest.json')
  .option('--check', 'exit with 1 when a mark is missed', false)
  .option('--list', 'print the measurements that --only selects, and stop', false)
  .addHelpText('after', '\nProfiles: node --import=tsx bench/profile.ts --help');

try {
  process.exitCode = await main(program.parse().opts<Options>());
} catch (error) {
  console.error(`bench: ${(error as Error).message}`);
  process.exit(2); // removes what was set up
}
