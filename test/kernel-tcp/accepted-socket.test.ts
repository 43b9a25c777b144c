/** What an accepted socket has of its listener, and what a closed one may still cost. */

import t from 'tap';
import type { Test } from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import {
  AF_INET, IPPROTO_IP, IPPROTO_TCP, IP_TTL, SO_KEEPALIVE, SO_RCVBUF, SOL_SOCKET, TCP_NODELAY, TCP_USER_TIMEOUT,
} from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';

function twoStacks(t: Test): { clock: VirtualClock; a: Stack; b: Stack } {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair({ clock, latencyUs: 100 });
  const [a, b] = [left, right].map((link, i) =>
    createStack({ link, addresses: [`10.0.0.${i + 1}/24`], clock, random: new SeededRandom(i), memory: 8 << 20 })) as [Stack, Stack];
  t.teardown(() => Promise.all([a.close({ graceful: false }), b.close({ graceful: false })]));
  return { clock, a, b };
}

function connect(clock: VirtualClock, a: Stack, b: Stack, prepare: (listener: BsdSocket, client: BsdSocket) => void): BsdSocket[] {
  const listener = b.socket(AF_INET) as BsdSocket;
  const client = a.socket(AF_INET) as BsdSocket;
  prepare(listener, client);
  t.equal(listener.bind('', 80), 0);
  t.equal(listener.listen(8), 0);
  client.connect('10.0.0.2', 80);
  clock.advance(1000);
  return [client, listener.accept() as BsdSocket];
}

t.test('an option that is set on an accepted socket leaves the inherited ones alone', (t) => {
  const { clock, a, b } = twoStacks(t);
  const [, server] = connect(clock, a, b, (listener) => {
    listener.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    listener.setsockopt(IPPROTO_IP, IP_TTL, 7);
    listener.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
  });
  t.equal(server!.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1), 0);
  t.equal(server!.getsockopt(SOL_SOCKET, SO_KEEPALIVE), 1);
  t.equal(server!.getsockopt(IPPROTO_TCP, TCP_NODELAY), 1);
  t.equal(server!.getsockopt(IPPROTO_IP, IP_TTL), 7);
  t.equal(server!.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
  t.end();
});

t.test('a closed connection whose peer keeps its window shut for ever is given up', (t) => {
  const { clock, a, b } = twoStacks(t);
  const full = a.memory.freeBlocks;
  const [client, server] = connect(clock, a, b, (_listener, one) => one.setsockopt(SOL_SOCKET, SO_RCVBUF, 8192));
  void client;
  // The client never reads, but its stack goes on answering probes.
  t.ok(server!.send(new Uint8Array(100_000), 0, 100_000) > 8192);
  clock.advance(1_000_000);
  server!.close();
  t.ok(clock.runUntil(() => b.tcp.connections === 0, 3600e6), 'within the hour');
  t.equal(b.memory.freeBlocks, full);
  t.end();
});

t.test('listen() again keeps to the longest backlog', (t) => {
  const { b } = twoStacks(t);
  const listener = b.socket(AF_INET) as BsdSocket;
  listener.bind('', 81);
  listener.listen(1);
  listener.listen(1e9);
  t.equal(b.connections().find((one) => one.state === 'LISTEN')!.sendQueue, 4096);
  t.end();
});
