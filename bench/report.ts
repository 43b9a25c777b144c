/** Medians, spread, ratios, marks; the tables in Markdown. */

import { cpus, loadavg, release, totalmem } from 'node:os';
import { spawnSync } from 'node:child_process';
import type { IdleResult } from './idle.ts';
import type { Cpu, Sample } from './load.ts';
import type { Topology } from './topology.ts';
import { COMPARISONS, IDLE_CONNECTIONS, IDLE_MARK_KB, WORKLOADS } from './workloads.ts';
import type { Comparison, Workload } from './workloads.ts';

/** Samples of one workload in one topology, in the order of the repetitions, and what went wrong. */
export interface Cell {
  workload: string;
  topology: string;
  samples: Sample[];
  failures: string[];
}

export function median(values: readonly number[]): number {
  if (values.length === 0) return NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

export interface Summary {
  median: number;
  min: number;
  max: number;
  values: number[];
}

export function summary(values: number[]): Summary {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), values };
}

function valuesOf(cell: Cell | undefined): number[] {
  return cell ? cell.samples.map((sample) => sample.value) : [];
}

export interface Verdict extends Comparison {
  candidateValue: Summary;
  baselineValue: Summary;
  /** Median over median. */
  ratio: number;
  /** Median CPUs the stack's process kept busy. */
  cpu: Cpu;
  /** The same for each unit of work: ms for a Gbit, µs for an exchange or a connection. Suffers least from other load. */
  cost: Cpu;
  /** The same for the stack's process and the application's; undefined where one process does both. */
  costOf: { stack: Cpu; application: Cpu } | undefined;
  /** The baseline's `cost`. */
  baselineCost: Cpu;
  /** Undefined where there is no mark. */
  pass: boolean | undefined;
  failures: string[];
}

function costOf(cell: Cell, scale: number, cpu: (sample: Sample) => Cpu): Cpu {
  return {
    user: median(cell.samples.map((sample) => (cpu(sample).user / sample.value) * scale)),
    system: median(cell.samples.map((sample) => (cpu(sample).system / sample.value) * scale)),
  };
}

/** Every comparison both of whose sides were to be measured. */
export function verdicts(cells: ReadonlyMap<string, Cell>): Verdict[] {
  const found: Verdict[] = [];
  for (const comparison of COMPARISONS) {
    const candidate = cells.get(`${comparison.workload}/${comparison.candidate}`);
    const baseline = cells.get(`${comparison.workload}/${comparison.baseline}`);
    if (!candidate || !baseline) continue;
    const candidateValue = summary(valuesOf(candidate));
    const baselineValue = summary(valuesOf(baseline));
    const ratio = candidateValue.median / baselineValue.median;
    const failures = [...candidate.failures, ...baseline.failures];
    const pass = comparison.mark === undefined ? undefined : ratio >= comparison.mark && failures.length === 0;
    const cpu = {
      user: median(candidate.samples.map((sample) => sample.serverCpu.user)),
      system: median(candidate.samples.map((sample) => sample.serverCpu.system)),
    };
    const workload = WORKLOADS.find((one) => one.name === comparison.workload)!;
    const scale = workload.unit === '/s' ? 1e6 : 1e3;
    const cost = costOf(candidate, scale, (sample) => sample.serverCpu);
    const separate = candidate.samples.length > 0 && candidate.samples[0]!.cpuOf?.application !== undefined;
    found.push({
      ...comparison, candidateValue, baselineValue, ratio, cpu, cost, pass, failures,
      costOf: separate ? {
        stack: costOf(candidate, scale, (sample) => sample.cpuOf!.stack!),
        application: costOf(candidate, scale, (sample) => sample.cpuOf!.application!),
      } : undefined,
      baselineCost: costOf(baseline, scale, (sample) => sample.serverCpu),
    });
  }
  return found;
}

function figure(value: number, workload: Workload): string {
  if (Number.isNaN(value)) return '-';
  return workload.unit === '/s' ? Math.round(value).toLocaleString('en') : value.toFixed(2);
}

function spread(value: Summary, workload: Workload): string {
  if (value.values.length === 0) return '-';
  return `${figure(value.median, workload)} (${figure(value.min, workload)}–${figure(value.max, workload)})`;
}

function cpuText(cpu: Cpu | undefined): string {
  return cpu === undefined || Number.isNaN(cpu.user) ? '-' : `${cpu.user.toFixed(1)} + ${cpu.system.toFixed(1)}`;
}

function verdictWord(pass: boolean | undefined): string {
  return pass === undefined ? '' : pass ? 'pass' : '**FAIL**';
}

function table(head: string[], rows: string[][]): string {
  const widths = head.map((cell, i) => Math.max(3, cell.length, ...rows.map((row) => row[i]!.length)));
  const line = (row: string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(' | ')} |`;
  return [line(head), `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`, ...rows.map(line)].join('\n');
}

/** The table of ratios: marked ones first. */
export function ratioTable(found: readonly Verdict[]): string {
  const rows: string[][] = [];
  const byMark = [...found.filter((v) => v.mark !== undefined), ...found.filter((v) => v.mark === undefined)];
  for (const verdict of byMark) {
    const workload = WORKLOADS.find((one) => one.name === verdict.workload)!;
    rows.push([
      workload.title, verdict.candidate, spread(verdict.candidateValue, workload),
      verdict.baseline, spread(verdict.baselineValue, workload), workload.unit,
      Number.isNaN(verdict.ratio) ? '-' : verdict.ratio.toFixed(2),
      verdict.mark === undefined ? '' : `≥ ${verdict.mark}`, verdictWord(verdict.pass),
      Number.isNaN(verdict.cpu.user) ? '-' : `${verdict.cpu.user.toFixed(2)} + ${verdict.cpu.system.toFixed(2)}`,
      Number.isNaN(verdict.cost.user) ? '-'
        : `${verdict.cost.user.toFixed(1)} + ${verdict.cost.system.toFixed(1)} ${workload.unit === '/s' ? 'µs' : 'ms/Gbit'}`,
    ]);
  }
  return table(['workload', 'stack', 'median (min–max)', 'Linux', 'median (min–max)', 'unit', 'ratio', 'mark', '',
    'CPUs user + sys', 'CPU for each'], rows);
}

/** The table of columns: what an application of another process gets, beside the stack's own process. Marked ones first. */
export function columnTable(found: readonly Verdict[]): string {
  const rows: string[][] = [];
  for (const verdict of [...found.filter((v) => v.mark !== undefined), ...found.filter((v) => v.mark === undefined)]) {
    const workload = WORKLOADS.find((one) => one.name === verdict.workload)!;
    rows.push([
      workload.title, verdict.candidate, spread(verdict.candidateValue, workload),
      verdict.baseline, spread(verdict.baselineValue, workload), workload.unit,
      Number.isNaN(verdict.ratio) ? '-' : verdict.ratio.toFixed(2),
      verdict.mark === undefined ? '' : `≥ ${verdict.mark}`, verdictWord(verdict.pass),
      cpuText(verdict.costOf?.stack), cpuText(verdict.costOf?.application), cpuText(verdict.baselineCost),
      workload.unit === '/s' ? 'µs' : 'ms/Gbit',
    ]);
  }
  return table(['workload', 'column', 'median (min–max)', 'embedded', 'median (min–max)', 'unit', 'ratio', 'mark', '',
    'CPU for each: stack', 'application', 'embedded', 'user + sys'], rows);
}

/** All medians: a row for each topology, a column for each workload. */
export function medianTable(cells: ReadonlyMap<string, Cell>, topologies: readonly Topology[]): string {
  const columns = WORKLOADS.filter((workload) => topologies.some((t) => cells.has(`${workload.name}/${t.name}`)));
  const rows = topologies.filter((t) => columns.some((workload) => cells.has(`${workload.name}/${t.name}`))).map((t) => [
    t.name, ...columns.map((workload) => figure(median(valuesOf(cells.get(`${workload.name}/${t.name}`))), workload)),
  ]);
  return table(['median', ...columns.map((workload) => `${workload.name} ${workload.unit}`)], rows);
}

export function idleTable(idle: IdleResult): string {
  const head = ['idle connections', 'alive', 'KB each, RSS', 'KB each, heap', 'mark', '', 'RSS before/with/after, MB', 'opened in'];
  return table(head, [[
    idle.connections.toLocaleString('en'), idle.alive.toLocaleString('en'), idle.rssKb.toFixed(2), idle.heapKb.toFixed(2),
    `≤ ${IDLE_MARK_KB}, all of ${IDLE_CONNECTIONS.toLocaleString('en')} alive`, verdictWord(idle.pass),
    [idle.before, idle.open, idle.closed].map((memory) => (memory.rss / 1e6).toFixed(0)).join(' / '),
    `${idle.openSeconds.toFixed(2)} s`,
  ]]);
}

/** What the figures were measured on. */
export function machine(): Record<string, string | number | number[]> {
  const git = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    v8: process.versions.v8,
    commit: git.status === 0 ? git.stdout.trim() : 'unknown',
    command: process.argv.slice(2).join(' '),
    date: new Date().toISOString(),
    loadAverage: loadavg().map((value) => Math.round(value * 100) / 100),
  };
}
