/**
 * Everybody talks to everybody: TCP in applications, the stack's own, and the stack's own across the boundary, on
 * two stacks, in every pairing and both directions of opening, with IPv4 and IPv6; and several applications that
 * share a port.
 *
 *     near: kernel-style, one, two, classic ──── link ──── far: kernel-style, three
 */

import t from 'tap';
import { attach } from '../../lib/attach.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { EADDRINUSE, ECONNREFUSED } from '../../lib/errno.ts';
import { LINK_CSUM, LINK_TSO4, LINK_TSO6 } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6, SHUT_WR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket, SocketProvider } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import { exchange } from '../sim/pair.ts';

const ADDRESSES = { near: ['10.90.0.1', 'fd90::1'], far: ['10.90.0.2', 'fd90::2'] } as const;

interface End {
  name: string;
  host: SocketProvider;
  /** IPv4, IPv6. */
  addresses: readonly [string, string];
}

class Network {
  readonly clock = new VirtualClock(1_000_000);
  readonly near: Stack;
  readonly far: Stack;
  readonly ends: End[] = [];

  constructor(features: number, tcp = {}) {
    const { clock } = this;
    const [left, right] = createMemoryPair({ clock, latencyUs: 500, features });
    const make = (link: typeof left, [v4, v6]: readonly [string, string], seed: number): Stack => createStack({
      link, addresses: [`${v4}/24`, `${v6}/64`], clock, random: new SeededRandom(seed), memory: 32 << 20, tcp,
      applications: { shared: false },
    });
    this.near = make(left, ADDRESSES.near, 1);
    this.far = make(right, ADDRESSES.far, 2);
  }

  async populate(): Promise<void> {
    const { near, far } = this;
    let seed = 10;
    const add = async (name: string, stack: Stack, tcp: 'tcpu' | 'kernel'): Promise<void> => {
      const host = await attach({ stack, tcp, random: new SeededRandom(seed++) });
      this.ends.push({ name, host, addresses: stack === near ? ADDRESSES.near : ADDRESSES.far });
    };
    this.ends.push({ name: 'kernel-style, near', host: near, addresses: ADDRESSES.near });
    await add('TCPU one, near', near, 'tcpu');
    await add('TCPU two, near', near, 'tcpu');
    await add('classic, near', near, 'kernel');
    this.ends.push({ name: 'kernel-style, far', host: far, addresses: ADDRESSES.far });
    await add('TCPU three, far', far, 'tcpu');
  }

  until(done: () => boolean, what: string): void {
    if (!this.clock.runUntil(done, 60e6)) throw new Error(`${what} has not happened in a minute`);
  }

  /** What TCPK still has, or complains of, when all connections have ended. */
  leftOver(): string {
    const left: string[] = [];
    for (const [name, stack] of [['near', this.near], ['far', this.far]] as const) {
      const { table, counters } = stack.tcpk!;
      if (table.flows + table.bound > 0) left.push(`${name}: ${table.flows} flows, ${table.bound} bindings`);
      if (counters.Violations > 0) left.push(`${name}: ${counters.Violations} violations`);
      if (stack.tcp.connections + stack.tcp.timeWaits > 0) left.push(`${name}: connections of the stack's own`);
      if (stack.memory.freeBlocks !== stack.memory.blockCount) left.push(`${name}: blocks`);
    }
    return left.join('; ');
  }

  close(): void {
    void this.near.close({ graceful: false });
    void this.far.close({ graceful: false });
  }
}

function open(end: End, version: number): BsdSocket {
  const socket = end.host.socket(version === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

function listen(end: End, version: number, port: number, prepare: (socket: BsdSocket) => void = () => undefined): BsdSocket {
  const listener = open(end, version);
  prepare(listener);
  const bound = listener.bind('', port);
  if (bound < 0) throw new Error(`bind ${end.name}: ${bound}`);
  const result = listener.listen(100);
  if (result < 0) throw new Error(`listen ${end.name}: ${result}`);
  return listener;
}

for (const [name, features] of [['plain packets', 0], ['super-segments', LINK_CSUM | LINK_TSO4 | LINK_TSO6]] as const) {
  t.test(`every pairing, ${name}`, { timeout: 100_000 }, async (t) => {
    const network = new Network(features);
    await network.populate();
    let port = 5000;
    const bytes = 150_000;
    for (const server of network.ends) {
      for (const client of network.ends) {
        for (const version of [4, 6]) {
          const listener = listen(server, version, ++port);
          let accepted: BsdSocket | number = -1;
          listener.onready = () => (accepted = listener.accept());
          const opener = open(client, version);
          const family = version === 4 ? 0 : 1;
          opener.connect(server.addresses[family], port);
          const what = `${client.name} to ${server.name}, IPv${version}`;
          network.until(() => typeof accepted !== 'number', what);
          const peer = accepted as unknown as BsdSocket;
          // What arrives is compared byte by byte there.
          const flows = exchange(opener, peer, bytes);
          network.until(() => flows.every((flow) => flow.received === bytes), `${what}: the data`);
          const [from, at] = [peer.getpeername()!.address, opener.getsockname()!.address];
          if (from !== client.addresses[family] || at !== from) t.fail(`${what}: from ${from}, ${at}`);
          // Either side first.
          const [first, second] = (port & 2) === 0 ? [opener, peer] : [peer, opener];
          first.shutdown(SHUT_WR);
          const [flow] = flows.slice(first === opener ? 0 : 1);
          network.until(() => flow!.ended, `${what}: the end`);
          second.close();
          first.close();
          listener.close();
        }
      }
    }
    t.equal(port - 5000, 72, 'connections');
    network.clock.advance(70e6);
    t.equal(network.leftOver(), '');
    network.close();
  });
}

t.test('a port that nobody has is refused by whoever is asked', async (t) => {
  const network = new Network(0);
  await network.populate();
  for (const client of network.ends) {
    for (const address of [ADDRESSES.near[0], ADDRESSES.far[0]]) {
      const socket = open(client, 4);
      socket.connect(address, 4444);
      network.until(() => socket.connect(address, 4444) === -ECONNREFUSED, `${client.name} to ${address}: ECONNREFUSED`);
      socket.close();
    }
  }
  network.clock.advance(1e6);
  t.equal(network.leftOver(), '');
  network.close();
});

t.test('applications that share a port: connections are spread, and stay where they are', async (t) => {
  const network = new Network(0, { timeWaitMs: 1000 });
  await network.populate();
  const sharers = network.ends.slice(1, 3);
  const [kernel] = network.ends;
  const share = (socket: BsdSocket): unknown => socket.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
  const served = new Map<string, BsdSocket[]>();
  const listeners = sharers.map((end) => {
    const listener = listen(end, 4, 80, share);
    served.set(end.name, []);
    listener.onready = () => {
      for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) {
        const socket = one;
        served.get(end.name)!.push(socket);
        socket.send(Buffer.from(end.name), 0, end.name.length);
        // An echo, besides.
        socket.onready = () => {
          const buffer = new Uint8Array(1000);
          const n = socket.recv(buffer, 0, buffer.length);
          if (n > 0) socket.send(buffer, 0, n);
        };
      }
    };
    return listener;
  });
  // Who does not ask for it does not get it.
  t.equal(open(kernel!, 4).bind('', 80), -EADDRINUSE);
  t.equal(open(sharers[0]!, 4).bind('', 80), -EADDRINUSE);

  const clients: { socket: BsdSocket; server: string }[] = [];
  const buffer = new Uint8Array(1000);
  const ask = (end: End): void => {
    const socket = open(end, 4);
    const client = { socket, server: '' };
    socket.connect(ADDRESSES.near[0], 80);
    socket.onready = () => {
      const n = socket.recv(buffer, 0, buffer.length);
      if (n > 0) client.server += Buffer.from(buffer.subarray(0, n)).toString();
    };
    clients.push(client);
  };
  const askers = [network.ends[4]!, network.ends[5]!, kernel!];
  for (let i = 0; i < 300; i++) {
    ask(askers[i % askers.length]!);
    network.clock.advance(300);
  }
  network.until(() => clients.every(({ server }) => server !== ''), 'all are served');
  const counts = sharers.map(({ name }) => clients.filter(({ server }) => server === name).length);
  t.equal(counts[0]! + counts[1]!, 300, 'each by one of the two');
  t.ok(Math.min(...counts) > 90, `spread: ${counts.join(' and ')}`);
  t.same(sharers.map(({ name }) => served.get(name)!.length), counts, 'nobody has a connection that another answers');

  // One stops listening: the other has all that is new; what the first has goes on.
  listeners[0]!.close();
  const old = clients.find(({ server }) => server === sharers[0]!.name)!;
  old.server = '';
  old.socket.send(Buffer.from('still there'), 0, 11);
  clients.length = 0;
  for (let i = 0; i < 60; i++) ask(askers[i % askers.length]!);
  network.until(() => clients.every(({ server }) => server !== '') && old.server !== '', 'all are served');
  t.equal(old.server, 'still there');
  t.ok(clients.every(({ server }) => server === sharers[1]!.name));
  listeners[1]!.close();
  t.equal(network.near.tcpk!.counters.Violations + network.far.tcpk!.counters.Violations, 0);
  network.close();
});
