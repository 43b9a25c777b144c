/** The load generator (load.c): compiled when needed, run as a client in a topology, its JSON read. */

import { mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Child, cpuSeconds, run } from './processes.ts';
import { PORTS, SOURCES } from './topology.ts';
import type { Server, Topology } from './topology.ts';
import type { Workload } from './workloads.ts';

const SOURCE = fileURLToPath(new URL('load.c', import.meta.url));
const BIN = fileURLToPath(new URL('bin/', import.meta.url));

/** The compiled load generator. */
export const LOAD = `${BIN}load`;

/** Compiles the load generator when it is missing or older than its source. */
export function compileLoad(): void {
  const built = statSync(LOAD, { throwIfNoEntry: false });
  if (built && built.mtimeMs >= statSync(SOURCE).mtimeMs) return;
  mkdirSync(BIN, { recursive: true });
  run(process.env['CC'] ?? 'cc', '-O2', '-Wall', '-o', LOAD, SOURCE);
}

/** What `load` prints; which fields are there depends on the mode. */
export interface LoadResult {
  seconds: number;
  /** bulk: Gbit/s of application data. */
  gbit?: number;
  /** bulk: mean bytes of a send() or recv(). */
  meanCall?: number;
  /** bulk-in: segments Linux retransmitted. */
  retransmits?: number;
  /** bulk-in: connections whose last byte was taken and FIN answered. */
  drained?: number;
  /** bulk: congestion control of the client's sockets. */
  congestion?: string;
  /** rr, crr. */
  perSecond?: number;
  /** rr, crr: latency quantiles, µs. */
  p50?: number;
  p99?: number;
  p999?: number;
  /** crr: connections that did not end in order. */
  failed?: number;
}

/** One measurement. */
export interface Sample {
  /** In the workload's unit. */
  value: number;
  result: LoadResult;
  /** CPUs that the answering processes kept busy together: user, system. */
  serverCpu: Cpu;
  /** The same for each of them, where there are several. */
  cpuOf?: Partial<Record<Server['name'], Cpu>>;
}

/** CPUs kept busy. */
export interface Cpu {
  user: number;
  system: number;
}

export interface Timing {
  warmupS: number;
  durationS: number;
}

/** Arguments of `load` for a client in `topology`. */
export function clientArgs(workload: Workload, topology: Topology, timing: Timing): string[] {
  return [
    workload.mode, '--to', topology.target, '--port', `${PORTS[workload.service]}`,
    '--connections', `${workload.connections}`, '--size', `${workload.size}`,
    '--warmup', `${timing.warmupS}`, '--duration', `${timing.durationS}`,
    '--source', topology.source, '--sources', `${SOURCES}`,
  ];
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

/** Runs one measurement. @throws Error with what the client or the server said */
export async function measure(workload: Workload, topology: Topology, timing: Timing): Promise<Sample> {
  const { servers } = topology;
  for (const { name, child } of servers) if (!child.isRunning) throw new Error(`the ${name} has ended: ${child.stderr.trim()}`);
  if (servers.length === 0) throw new Error('nothing answers: not started');
  const before = servers.map(({ child }) => cpuSeconds(child.pid));
  const begin = performance.now();
  const client = new Child(topology.clientNamespace, LOAD, clientArgs(workload, topology, timing));
  const line = await client.line((timing.warmupS + timing.durationS + 15) * 1000);
  const seconds = (performance.now() - begin) / 1000;
  const cpus = servers.map(({ child }, i): Cpu => {
    const after = cpuSeconds(child.pid);
    return { user: (after.user - before[i]!.user) / seconds, system: (after.system - before[i]!.system) / seconds };
  });
  await client.ended;
  const result = JSON.parse(line) as LoadResult;
  if (result.failed) throw new Error(`${result.failed} connections did not end in order`);
  if (workload.mode === 'bulk-in' && result.drained !== workload.connections) {
    throw new Error(`${result.drained} of ${workload.connections} connections took all that was sent`);
  }
  return {
    value: (workload.mode.startsWith('bulk') ? result.gbit : result.perSecond) ?? NaN,
    result,
    serverCpu: { user: sum(cpus.map((cpu) => cpu.user)), system: sum(cpus.map((cpu) => cpu.system)) },
    ...(servers.length > 1 ? { cpuOf: Object.fromEntries(servers.map(({ name }, i) => [name, cpus[i]!])) } : {}),
  };
}
