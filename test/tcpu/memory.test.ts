/**
 * The memory and the rings that an application shares with its stack: blocks that the stack has still to send
 * are nobody else's, whoever waits for blocks or for room in a ring is told when there is some, and nothing is
 * left over, however often connections come and go.
 */

import t from 'tap';
import { MIN_RING, MIN_RX_RING, TX_WAITS } from '../../lib/channel/window.ts';
import { EAGAIN, EINPROGRESS } from '../../lib/errno.ts';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { AF_INET, POLLOUT } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { B4, Pair, exchange, open, pump } from '../sim/pair.ts';
import type { Flow } from '../sim/pair.ts';
import { script } from '../tcp/harness.ts';
import type { Harness, Options } from '../tcp/harness.ts';

/** The smallest memory that an application can have: 125 blocks. */
const LEAST = 1 << 20;

/** What is left of an application at rest. */
function leftOver(pair: Pair): string {
  return pair.a.leftOver() || pair.b.leftOver();
}

// ------------------------------------------------------------------------------ one application, segment by segment

/** So little memory that two send buffers fill it. */
const shortOfMemory: Options = { tcpu: { window: { memory: LEAST } }, tcp: { sndbuf: { initial: 1 << 20 } } };

/** A second connection, from the peer's port 7001, on the listener of the first. */
function two(h: Harness): [BsdSocket, BsdSocket] {
  const listener = h.listen();
  const first = h.passive({ ws: 7 }, listener);
  h.peerPort = 7001;
  const second = h.passive({ ws: 7 }, listener);
  return [first, second];
}

/** Writes until nothing is taken. Returns how many bytes were. */
function fill(socket: BsdSocket): number {
  const bytes = new Uint8Array(10_000).fill(0x46);
  let sum = 0;
  for (;;) {
    const taken = socket.send(bytes, 0, bytes.length);
    if (taken === -EAGAIN) return sum;
    if (taken < 0) throw new Error(`send: ${taken}`);
    sum += taken;
  }
}

script('blocks that were acknowledged before they have left are not used for other data', shortOfMemory, (h) => {
  const s = h.passive({ ws: 7 });
  // The link takes nothing: records of the first data wait in the ring, and the peer acknowledges all the same.
  h.link.room = 0;
  let sent = 0;
  let acked = 0;
  for (let round = 0; round < 12; round++) {
    const length = 5000 + round * 997;
    if (h.send(s, length, 0, true) === length) sent += length;
    h.stack.settle();
    const una = h.tcb.sndNxt;
    acked = (una - h.iss) | 0;
    h.inject({ flags: '.', seq: 1, ack: acked });
  }
  h.t.ok(h.stack.tcpu!.memory.kept > 3, `${h.stack.tcpu!.memory.kept} blocks kept back`);
  h.link.room = Infinity;
  h.stack.writable();
  const out = h.take();
  let wrong = 0;
  for (const { seq, len, payload } of out) {
    for (let i = 0; i < len; i++) if (payload[i] !== (((seq - 1 + i) * 31 + ((seq - 1 + i) >> 8) * 7 + 11) & 0xff)) wrong++;
  }
  h.t.equal(wrong, 0, 'every byte that leaves is the one that was sent');
  h.t.ok(out.reduce((sum, one) => sum + one.len, 0) >= sent - 14_600);
  h.advance(60_000);
  h.take();
});

script('a sender that waits for blocks hears when the stack has passed those that were freed', shortOfMemory, (h) => {
  const [first, second] = two(h);
  h.link.room = 0;
  fill(first);
  fill(second);
  h.t.ok(second.writable > 0, 'it is memory that stops the second');
  let told = 0;
  second.onready = (events) => (told |= events);
  first.abort();
  h.clock.advance(0);
  h.t.equal(told & POLLOUT, 0, 'what the first had may still be named in the ring');
  h.t.ok(h.stack.tcpu!.memory.kept > 10);
  h.link.room = Infinity;
  // Not by way of the harness, which looks after the memory.
  h.stack.stack.writable();
  h.clock.advance(0);
  h.t.equal(told & POLLOUT, POLLOUT);
  h.t.ok(fill(second) > 100_000);
  second.abort();
  h.take();
});

script('… and when they are free at once', shortOfMemory, (h) => {
  const [first, second] = two(h);
  fill(first);
  fill(second);
  h.take();
  h.t.ok(second.writable > 0);
  let told = 0;
  second.onready = (events) => (told |= events);
  // The peer resets the first connection, and nothing comes after that.
  h.inject({ flags: 'R', seq: 1, srcPort: 7000 });
  h.t.equal(told & POLLOUT, POLLOUT);
  second.abort();
  first.abort();
  h.take();
});

script('a call while the link takes nothing: ports and flows are had, segments are sent again', { tcpu: {} }, (h) => {
  const s = h.passive({ ws: 7 });
  h.link.room = 0;
  // More than the stack's queue takes: the rest stays in the ring.
  for (let i = 0; i < 300; i++) {
    h.send(s, 1000, 0, true);
    h.stack.settle();
    h.inject({ flags: '.', seq: 1, ack: (h.tcb.sndNxt - h.iss) | 0 });
  }
  const { application } = h.stack;
  for (let port = 5000; port < 5040; port++) {
    const other = h.socket();
    h.ok(other.bind('', port), 'bind');
    h.ok(other.listen(1), 'listen');
  }
  const client = h.socket();
  h.t.equal(client.connect('10.90.0.1', 9000), -115);
  h.t.equal(application!.counters.Violations, 0);
  h.link.room = Infinity;
  h.stack.writable();
  h.take();
  h.advance(1100);
  h.t.ok(h.take().some((one) => one.flags === 'S' && one.dstPort === 9000), 'the SYN that may have been lost comes again');
});

// --------------------------------------------------------------------------------------------- two applications

t.test('transmit rings that are full: senders wait, and go on when there is room', async (t) => {
  const tcp = { sndbuf: { initial: 4 << 20 }, rcvbuf: { initial: 4 << 20 }, initialWindow: 1000 };
  const window = { txRing: MIN_RING, rxRing: 8 << 20, memory: 16 << 20 };
  const pair = new Pair({ pair: { queuePackets: 8192 }, both: { tcp }, tcpu: { window, stackWakesUs: 3000 } });
  const flows: Flow[] = [];
  for (let i = 0; i < 4; i++) flows.push(...exchange(...pair.connect(7000 + i), 3_000_000));
  const wakeups = pair.a.tcpu!.counters.Wakeups;
  pair.until(() => flows.every((flow) => flow.received === 3_000_000), 120e6, 'everything');
  const { RingFull, Wakeups } = pair.a.tcpu!.counters;
  t.ok(RingFull > 3, `the ring was full ${RingFull} times`);
  // Nobody runs in circles for the room: about two wake-ups for each time that the stack has looked.
  const { Bells } = pair.a.application!.counters;
  t.ok(Wakeups - wakeups <= 2 * Bells + 100, `${Wakeups - wakeups} wake-ups, ${Bells} doorbells`);
  t.equal(Atomics.load(pair.a.application!.window.words, TX_WAITS), 0, 'nobody waits any more');
  pair.for(1e6);
  t.equal(pair.a.tcp.counters.RtoTimeouts + pair.b.tcp.counters.RtoTimeouts, 0, 'and nothing was lost');
  pair.close();
});

t.test('receive rings that are full: segments are dropped and counted, every byte comes', async (t) => {
  const tcp = { sndbuf: { initial: 1 << 20 }, rcvbuf: { initial: 1 << 20 }, initialWindow: 100 };
  for (const features of [0, LINK_CSUM | LINK_TSO4]) {
    const window = { rxRing: MIN_RX_RING, memory: 8 << 20 };
    const pair = new Pair({ pair: { features }, both: { tcp }, tcpu: { window, appWakesUs: 5000 } });
    const flows: Flow[] = [];
    for (let i = 0; i < 16; i++) flows.push(...exchange(...pair.connect(7000 + i), 1_000_000));
    pair.until(() => flows.every((flow) => flow.received === 1_000_000), 600e6, 'everything');
    const dropped = pair.a.application!.counters.InRingFull + pair.b.application!.counters.InRingFull;
    t.ok(dropped > 0, `${dropped} segments dropped`);
    pair.close();
  }
});

t.test('much more to send than there is memory, in both directions at once', async (t) => {
  for (const late of [0, 2000]) {
    const tcp = { sndbuf: { initial: 1 << 20 }, rcvbuf: { initial: 256 << 10 } };
    const window = { memory: LEAST, rxRing: MIN_RX_RING, txRing: MIN_RING };
    const pair = new Pair({ both: { tcp }, tcpu: { window, stackWakesUs: late, appWakesUs: late } });
    const flows: Flow[] = [];
    for (let i = 0; i < 10; i++) flows.push(...exchange(...pair.connect(7000 + i), 1_000_000));
    const { memory } = pair.a;
    pair.until(() => memory.freeBlocks < memory.blockCount / 3, 10e6, 'shortage');
    pair.until(() => flows.every((flow) => flow.received === 1_000_000), 1200e6, 'everything');
    pair.for(5e6);
    t.equal(pair.a.blocksHeld + pair.b.blocksHeld, 0);
    pair.close();
  }
});

t.test('flows that end together wait for room in the ring to be given up', async (t) => {
  const pair = new Pair({ both: { tcp: { timeWaitMs: 1000 } }, tcpu: { window: { txRing: MIN_RING }, stackWakesUs: 5000 } });
  const listener = open(pair.b);
  listener.bind('', 80);
  listener.listen(5000);
  const clients = Array.from({ length: 3000 }, () => {
    const client = open(pair.a);
    client.connect(B4, 80);
    return client;
  });
  const servers: BsdSocket[] = [];
  pair.until(() => {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) servers.push(one);
    return servers.length === clients.length;
  }, 60e6, 'all connections');
  t.equal(pair.a.application!.flowCount, 3000);
  const before = pair.a.tcpu!.counters.RingFull;
  pair.a.enter();
  for (const client of clients) client.abort();
  pair.a.leave();
  t.ok(pair.a.tcpu!.ports.waiting, 'some wait');
  t.ok(pair.a.tcpu!.counters.RingFull > before);
  t.equal(pair.a.tcp.connections, 0);
  pair.until(() => pair.a.application!.flowCount === 0, 1e6, 'the last is given up');
  for (const server of servers) server.abort();
  listener.close();
  pair.for(5e6);
  t.equal(leftOver(pair), '');
  pair.close();
});

t.test('thousands of short connections in both directions leave nothing, and use the same handles again', async (t) => {
  for (const late of [0, 300]) {
    const count = 4000;
    const pair = new Pair({ both: { tcp: { timeWaitMs: 50 } }, tcpu: { stackWakesUs: late, appWakesUs: late } });
    const hosts = [pair.a, pair.b];
    const served = [0, 0];
    const listeners = hosts.map((host, side) => {
      const listener = open(host);
      listener.bind('', 80);
      listener.listen(200);
      listener.onready = () => {
        for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) {
          const socket = one;
          const buffer = new Uint8Array(2000);
          const serve = (): void => {
            const n = socket.recv(buffer, 0, buffer.length);
            if (n > 0) socket.send(buffer, 0, n);
            else if (n === 0) socket.close();
          };
          socket.onready = serve;
          serve();
          served[side]!++;
        }
      };
      return listener;
    });
    let answered = 0;
    let most = 0;
    for (let i = 0; i < count; i++) {
      const client = open(hosts[i & 1]!);
      client.connect((i & 1) === 0 ? B4 : '10.90.0.1', 80);
      let asked = false;
      const buffer = new Uint8Array(2000);
      client.onready = (events) => {
        if (!asked && (events & POLLOUT) !== 0) asked = client.send(buffer, 0, 100 + (i % 1500)) > 0;
        const n = client.recv(buffer, 0, buffer.length);
        if (n <= 0) return;
        answered++;
        // Some reset, some close; the server sees either.
        if (i % 5 === 0) client.abort();
        else client.close();
      };
      pair.for(500);
      pair.a.tcp.forEach((tcb) => (most = Math.max(most, tcb.flow.handle)));
    }
    pair.for(2e6);
    t.equal(served[0]! + served[1]!, count);
    t.equal(answered, count);
    t.ok(most < 500, `the highest handle was ${most}`);
    for (const listener of listeners) listener.close();
    pair.for(1e6);
    t.equal(leftOver(pair), '');
    pair.close();
  }
});

t.test('an application that goes leaves no window behind', async (t) => {
  const pair = new Pair({ tcpu: true });
  const [client, server] = pair.connect();
  const flow = pump(client, server, 300_000);
  pair.until(() => flow.received > 100_000);
  const { stack } = pair.a;
  let failed = 0;
  server.onready = () => {
    if (server.recv(new Uint8Array(1 << 16), 0, 1 << 16) < 0) failed++;
  };
  pair.a.tcpu!.close(false);
  t.ok(client.send(new Uint8Array(10), 0, 10) < 0);
  t.ok(Number(pair.a.socket(AF_INET)) < 0, 'no new sockets');
  pair.for(1e6);
  t.ok(failed > 0, 'the peer was told');
  t.equal(stack.tcpk!.applications.size, 0);
  t.equal(stack.tcpk!.table.flows + stack.tcpk!.table.bound, 0);
  t.equal(stack.windows!.freeBytes, stack.windows!.end - stack.windows!.start, 'the window is free again');
  t.equal(stack.memory.freeBlocks, stack.memory.blockCount);
  pair.close();
});

t.test('more connections than TCPK allows: those beyond are refused, and that is no violation', async (t) => {
  const pair = new Pair({
    a: { applications: { maxFlows: 50 } }, b: { applications: { maxFlows: 60 } }, both: { tcp: { timeWaitMs: 100 } }, tcpu: true,
  });
  const listener = open(pair.b);
  listener.bind('', 80);
  listener.listen(200);
  const connect = (host: typeof pair.a, count: number, address: string): [BsdSocket[], number] => {
    const sockets = Array.from({ length: count }, () => open(host));
    return [sockets, sockets.filter((socket) => socket.connect(address, 80) !== -EINPROGRESS).length];
  };
  const [clients, failed] = connect(pair.a, 70, B4);
  t.equal(failed, 20, 'connect() says so');
  pair.for(1e6);
  t.equal(pair.b.application!.flowCount, 50);
  // From the stack's own TCP, which has no such limit.
  const others = Array.from({ length: 30 }, () => pair.a.stack.socket(AF_INET) as BsdSocket);
  for (const other of others) other.connect(B4, 80);
  pair.for(500_000);
  t.equal(pair.b.application!.flowCount, 60);
  t.equal(pair.a.violations() + pair.b.violations(), '');
  for (const one of [...clients, ...others]) one.abort();
  listener.close();
  pair.for(5e6);
  // All are free again.
  t.equal(pair.b.application!.flowCount, 0);
  t.equal(leftOver(pair), '');
  pair.close();
});
