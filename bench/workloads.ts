/** What is measured, what it is compared with, and the marks the ratios are held to. */

import type { Column, Service } from './topology.ts';

export interface Workload {
  /** As it stands in tables and filters. */
  readonly name: string;
  readonly title: string;
  readonly unit: 'Gbit/s' | '/s';
  /** Mode of load.c. Directions are the stack's: `bulk-in` goes into it. */
  readonly mode: 'bulk-in' | 'bulk-out' | 'rr' | 'crr';
  readonly service: Service;
  readonly connections: number;
  /** Bytes of a request; of no meaning to bulk transfers. */
  readonly size: number;
}

const BULK = { unit: 'Gbit/s', size: 1 } as const;
const ECHO = { unit: '/s', service: 'echo', size: 64 } as const;

export const WORKLOADS: readonly Workload[] = [
  { ...BULK, name: 'in-1', title: 'bulk in, 1 connection', mode: 'bulk-in', service: 'discard', connections: 1 },
  { ...BULK, name: 'in-8', title: 'bulk in, 8 connections', mode: 'bulk-in', service: 'discard', connections: 8 },
  { ...BULK, name: 'out-1', title: 'bulk out, 1 connection', mode: 'bulk-out', service: 'chargen', connections: 1 },
  { ...BULK, name: 'out-8', title: 'bulk out, 8 connections', mode: 'bulk-out', service: 'chargen', connections: 8 },
  { ...ECHO, name: 'rr-1', title: '64 B request-response, 1 connection', mode: 'rr', connections: 1 },
  { ...ECHO, name: 'rr-32', title: '64 B request-response, 32 connections', mode: 'rr', connections: 32 },
  { ...ECHO, name: 'crr', title: 'connect, 64 B exchange, close; 32 at a time', mode: 'crr', connections: 32 },
];

/** A ratio: `candidate` over `baseline` (topologies) in one workload. */
export interface Comparison {
  readonly workload: string;
  readonly candidate: string;
  readonly baseline: string;
  /** The least ratio that passes; undefined where the ratio is for information. */
  readonly mark: number | undefined;
  /** Which column this belongs to: where the TCP of the candidate runs. */
  readonly column: Column;
}

type Marks = Record<string, number | undefined>;

function row(candidate: string, baseline: string, marks: Marks, column: Column = 'embedded'): Comparison[] {
  return Object.entries(marks).map(([workload, mark]) => ({ workload, candidate, baseline, mark, column }));
}

/** The stack beside Linux. */
const BESIDE_LINUX: readonly Comparison[] = [
  ...row('tun', 'veth', { 'in-1': 1.0, 'in-8': 1.0, 'out-1': 0.8, 'out-8': 0.8, 'rr-1': 0.8, 'rr-32': 0.7, crr: 0.8 }),
  ...row('tun-65535', 'veth', { 'in-1': 1.0, 'in-8': 1.0, 'out-1': 0.8, 'out-8': 0.8 }),
  ...row('tun-plain', 'veth-plain', { 'in-1': 0.9, 'in-8': 0.9, 'out-1': 0.3, 'out-8': 0.3 }),
  ...row('tun-plain', 'veth', { 'rr-1': undefined, 'rr-32': undefined, crr: undefined }),
  ...row('tun-65535', 'veth-65535', { 'in-1': undefined, 'in-8': undefined, 'out-1': undefined, 'out-8': undefined }),
  ...row('tun-65535-plain', 'veth-65535', { 'in-1': undefined, 'in-8': undefined, 'out-1': undefined, 'out-8': undefined }),
];

/** The same workload through an application beside the stack's own process. Marks are for TCPU in another process. */
function column(name: Exclude<Column, 'embedded'>): Comparison[] {
  const marked = (mark: number) => (name === 'tcpu' ? mark : undefined);
  const bulk = { 'in-1': marked(0.75), 'in-8': marked(0.75), 'out-1': marked(0.75), 'out-8': marked(0.75) };
  return [
    ...row(name, 'tun', { ...bulk, 'rr-1': marked(0.6), 'rr-32': marked(0.6), crr: marked(0.6) }, name),
    ...row(`${name}-65535`, 'tun-65535', bulk, name),
  ];
}

export const COMPARISONS: readonly Comparison[] = [...BESIDE_LINUX, ...column('tcpu'), ...column('thread'), ...column('kernel-app')];

/** Baselines that are measured although no ratio needs them: they tell what the machine can do. */
export const FOR_INFORMATION: readonly [workload: string, topology: string][] = [
  ...WORKLOADS.map((workload): [string, string] => [workload.name, 'loopback']),
  ...['rr-1', 'rr-32', 'crr'].map((workload): [string, string] => [workload, 'veth-plain']),
];

/** Most KB that an idle connection may cost the stack's process, and how many must be held. */
export const IDLE_MARK_KB = 4;
export const IDLE_CONNECTIONS = 20_000;
