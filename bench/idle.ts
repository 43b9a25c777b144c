/**
 * What an idle connection costs: Linux opens 20,000 connections to the stack's echo service and holds them. The growth of
 * the stack process's memory after garbage collection, for each connection; then each connection echoes a byte. A first
 * round of a thousand connections that are closed again keeps what the process needs once out of the figure.
 */

import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Readable } from 'node:stream';
import { LOAD } from './load.ts';
import { Child } from './processes.ts';
import { PORTS, SOURCES, Tun } from './topology.ts';
import { IDLE_CONNECTIONS, IDLE_MARK_KB } from './workloads.ts';

/** Descriptors of one process are limited (often to 20,000), so several clients share the connections. */
const CLIENTS = 4;

/** Bytes, as `process.memoryUsage()` has them. */
export interface Memory {
  rss: number;
  heapUsed: number;
  external: number;
  arrayBuffers: number;
}

export interface IdleResult {
  connections: number;
  /** Connections that echoed their byte. */
  alive: number;
  /** Growth for each connection, KB (1024 B): of the resident set, and of JavaScript heap and array buffers. */
  rssKb: number;
  heapKb: number;
  openSeconds: number;
  before: Memory;
  open: Memory;
  closed: Memory;
  pass: boolean;
}

interface Opened {
  event: 'open';
  seconds: number;
}

interface Alive {
  event: 'alive';
  alive: number;
}

class Holder {
  readonly #child: Child;

  constructor(tun: Tun, connections: number) {
    this.#child = new Child(tun.clientNamespace, LOAD, ['idle', '--to', tun.target, '--port', `${PORTS.echo}`,
      '--connections', `${connections}`, '--source', tun.source, '--sources', `${SOURCES}`]);
  }

  async opened(): Promise<number> {
    return (JSON.parse(await this.#child.line(90_000)) as Opened).seconds;
  }

  async ping(): Promise<number> {
    this.#child.process.stdin!.write('ping\n');
    return (JSON.parse(await this.#child.line(30_000)) as Alive).alive;
  }

  async close(): Promise<void> {
    this.#child.process.stdin!.end('quit\n');
    await this.#child.within(10_000, this.#child.ended);
  }
}

export async function measureIdle(connections = IDLE_CONNECTIONS): Promise<IdleResult> {
  const preload = fileURLToPath(new URL('memory-report.mjs', import.meta.url));
  const tun = new Tun('tun-idle', 1500, true);
  tun.nodeArgs = ['--expose-gc', '--import', preload];
  await tun.start();
  const server = tun.servers[0]!.child;
  const reports = createInterface({ input: server.process.stdio[3] as Readable })[Symbol.asyncIterator]();
  const memory = async (): Promise<Memory> => {
    server.process.kill('SIGUSR2');
    const line = await server.within(10_000, reports.next());
    return JSON.parse(line.value as string) as Memory;
  };
  const hold = async (count: number): Promise<{ holders: Holder[]; seconds: number }> => {
    const holders: Holder[] = [];
    let seconds = 0;
    for (let i = 0; i < CLIENTS; i++) {
      const holder = new Holder(tun, count / CLIENTS);
      holders.push(holder);
      seconds += await holder.opened();
    }
    return { holders, seconds };
  };
  const ping = async (holders: Holder[]): Promise<number> => {
    let alive = 0;
    for (const holder of holders) alive += await holder.ping();
    return alive;
  };
  const close = (holders: Holder[]) => Promise.all(holders.map((holder) => holder.close()));
  try {
    const first = await hold(1000);
    await ping(first.holders);
    await close(first.holders);
    const before = await memory();
    const { holders, seconds } = await hold(connections);
    const open = await memory();
    const alive = await ping(holders);
    await close(holders);
    const closed = await memory();
    const heap = (m: Memory) => m.heapUsed + m.external; // external includes arrayBuffers
    const rssKb = (open.rss - before.rss) / 1024 / connections;
    const heapKb = (heap(open) - heap(before)) / 1024 / connections;
    return {
      connections, alive, rssKb, heapKb, openSeconds: seconds, before, open, closed,
      pass: alive === connections && Math.max(rssKb, heapKb) <= IDLE_MARK_KB,
    };
  } finally {
    await tun.stop();
  }
}
