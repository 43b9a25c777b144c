/**
 * Bulk transfers over the simulator, by low-level sockets: what the matrix and the marks measure with.
 *
 *     sender 1 ──┐
 *     sender 2 ──┤ router ── bottleneck ── receiver          (one sender: the bottleneck alone)
 *     …        ──┘
 */

import { createSimulation } from '../../lib/sim/index.ts';
import type { LinkOptions, SimHost, SimLink, Simulation } from '../../lib/sim/index.ts';
import { AF_INET, IPPROTO_TCP, TCP_INFO } from '../../lib/socket.ts';
import type { BsdSocket, TcpInfo } from '../../lib/socket.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import { Invariants } from './invariants.ts';
import { open, pump } from './pair.ts';
import type { Flow } from './pair.ts';

export interface BulkOptions {
  seed?: number;
  /** The bottleneck; from the senders to the receiver is forward. */
  link: LinkOptions;
  /** When each of the flows begins, ms. Default: one flow, at once. */
  starts?: number[];
  tcp?: TcpOptions;
  memory?: number;
  /** What is measured, ms of virtual time. */
  fromMs: number;
  toMs: number;
  /** Check the invariants after each event. Default false. */
  check?: boolean;
  capture?: string;
}

export interface Bulk {
  /** Of each flow in the time measured, Mbit/s at the receiving application. */
  mbps: number[];
  total: number;
  /** Jain's index: 1 when all have the same, 1 / n when one has all. */
  jain: number;
  infos: TcpInfo[];
  rtos: number;
  retransmitted: number;
  link: SimLink;
}

export function jain(shares: readonly number[]): number {
  const sum = shares.reduce((a, b) => a + b, 0);
  const squares = shares.reduce((a, b) => a + b * b, 0);
  return squares === 0 ? 1 : sum * sum / (shares.length * squares);
}

export function infoOf(socket: BsdSocket): TcpInfo {
  return socket.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
}

/** Both ends of a new connection. */
export function connectPair(sim: Simulation, from: SimHost, to: SimHost, port: number): [BsdSocket, BsdSocket] {
  const listener = open(to.stack);
  listener.bind('', port);
  listener.listen(16);
  const client = open(from.stack, AF_INET);
  client.connect(to.address, port);
  let server: BsdSocket | number = -1;
  const reached = sim.runUntil(() => {
    if (typeof server === 'number') server = listener.accept();
    return typeof server !== 'number';
  }, 60_000);
  if (!reached) throw new Error('the connection has not come about in a minute');
  listener.close();
  return [client, server as unknown as BsdSocket];
}

export function bulk(options: BulkOptions): Bulk {
  const { starts = [0], tcp, memory = 64 << 20 } = options;
  const sim = createSimulation({
    seed: options.seed, keepBytes: 0, capture: options.capture,
    onEvent: options.check === true ? () => checkers.forEach((one) => one.check()) : undefined,
  });
  const receiver = sim.host({ name: 'receiver', address: '10.0.0.1', tcp, memory });
  const senders = starts.map((_, i) => sim.host({ name: `sender${i + 1}`, address: `10.0.1.${i + 1}`, tcp, memory }));
  const checkers = [receiver, ...senders].map((host) => new Invariants({ tcp: host.stack.tcp, memory: host.stack.memory, clock: sim.clock }, host.name));
  let link: SimLink;
  if (senders.length === 1) {
    link = sim.link(senders[0]!, receiver, options.link);
  } else {
    const router = sim.router();
    link = sim.link(router, receiver, options.link);
    for (const sender of senders) sim.link(sender, router, { mtu: options.link.mtu });
  }
  const flows: Flow[] = [];
  const sockets: BsdSocket[] = [];
  const order = starts.map((ms, i) => ({ ms, i })).sort((a, b) => a.ms - b.ms);
  for (const { ms, i } of order) {
    if (ms > sim.nowMs) sim.advance(ms - sim.nowMs);
    const [client, server] = connectPair(sim, senders[i]!, receiver, 7000 + i);
    sockets[i] = client;
    flows[i] = pump(client, server);
  }
  sim.advance(options.fromMs - sim.nowMs);
  const before = flows.map(({ received }) => received);
  sim.advance(options.toMs - sim.nowMs);
  const mbps = flows.map(({ received }, i) => (received - before[i]!) * 8 / (options.toMs - options.fromMs) / 1000);
  const infos = sockets.map(infoOf);
  sim.close();
  return {
    mbps, infos, link, total: mbps.reduce((a, b) => a + b, 0), jain: jain(mbps),
    rtos: infos.reduce((sum, { rtos }) => sum + rtos, 0), retransmitted: infos.reduce((sum, { retransSegs }) => sum + retransSegs, 0),
  };
}
