/** What happens on real paths, one thing at a time, over hours of virtual time. */

import t from 'tap';
import { EADDRNOTAVAIL, ETIMEDOUT } from '../../lib/errno.ts';
import {
  IPPROTO_TCP, POLLERR, SHUT_WR, SO_ERROR, SO_KEEPALIVE, SO_RCVBUF, SOL_SOCKET, TCP_INFO,
} from '../../lib/socket.ts';
import type { BsdSocket, TcpInfo } from '../../lib/socket.ts';
import { B4, Pair, exchange, open, pump, tcbOf } from './pair.ts';
import { Wire } from './wire.ts';
import type { WireOptions } from './wire.ts';

const MINUTE = 60e6;
const HOUR = 60 * MINUTE;

/** Two stacks and the wire between them. */
function wired(options: WireOptions = {}, both = {}): [Pair, Wire] {
  let wire!: Wire;
  const pair = new Pair({ both, links: (clock) => (wire = new Wire(clock, options)).links });
  return [pair, wire];
}

function infoOf(socket: BsdSocket): TcpInfo {
  return socket.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
}

for (const version of [4, 6] as const) {
  t.test(`a router in the middle takes less from now on (IPv${version})`, async (t) => {
    const [pair, wire] = wired({ latencyUs: 10_000 });
    const [client, server] = pair.connect(7000, version, (socket) => socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 200_000));
    const total = 4_000_000;
    const flows = exchange(client, server, total);
    const [there, back] = flows as [typeof flows[0], typeof flows[0]];
    pair.until(() => there.received > 500_000);
    t.equal(wire.largest, 1500);
    const steps = version === 4 ? [1280, 800] : [1400, 1280];
    for (const mtu of steps) {
      wire.routerMtu = mtu;
      const { received } = there;
      pair.until(() => there.received > received + 500_000, MINUTE, `more than ${received} bytes at ${mtu}`);
      wire.largest = 0;
      const refused = wire.tooBig[0]! + wire.tooBig[1]!;
      pair.for(60_000);
      t.equal(wire.largest, mtu, 'packets of just that size leave');
      t.equal(wire.tooBig[0]! + wire.tooBig[1]!, refused, 'and none that is larger');
    }
    pair.until(() => there.received === total && back.received === total, MINUTE, 'everything');
    const { rtos, pmtu } = infoOf(client);
    t.ok(rtos <= steps.length, `${rtos} timeouts: what large packets have got through before is doubted until one (RFC 5927 7.2)`);
    t.equal(pmtu, steps[1]);
    // Ten minutes later the value is forgotten (RFC 1191 6.3), and the path has become wider again.
    wire.routerMtu = 1500;
    pair.for(11 * MINUTE);
    wire.largest = 0;
    const again = pump(client, server, 1_000_000);
    pair.until(() => again.received === 1_000_000, MINUTE, 'the second part');
    t.equal(wire.largest, 1500, 'large packets are tried again');
    pair.close();
  });
}

t.test('a partition that heals, and one that does not', async (t) => {
  const [pair, wire] = wired({ latencyUs: 20_000 });
  const [client, server] = pair.connect();
  const flow = pump(client, server, 20_000_000);
  pair.until(() => flow.received > 1_000_000);
  wire.cut = true;
  pair.for(MINUTE);
  wire.cut = false;
  const { received } = flow;
  // The timer is backed off: at most as long again as the partition was, and a little.
  pair.until(() => flow.received > received + 1_000_000, 75e6, 'the data after the partition');
  t.ok(infoOf(client).rtos < 12, `${infoOf(client).rtos} timeouts`);
  t.ok(infoOf(client).backoff <= 1, 'the backoff is over');
  wire.cut = true;
  let failed = 0;
  client.onready = (events) => {
    if ((events & POLLERR) !== 0) failed++;
  };
  const before = pair.clock.nowUs();
  pair.until(() => failed > 0, 40 * MINUTE, 'the failure');
  const minutes = (pair.clock.nowUs() - before) / MINUTE;
  t.ok(minutes > 10 && minutes < 20, `given up after ${minutes.toFixed(1)} minutes, as Linux does after about 15`);
  t.equal(client.getsockopt(SOL_SOCKET, SO_ERROR), ETIMEDOUT);
  t.equal(pair.a.tcp.connections, 0);
  pair.close();
});

t.test('a receiver that stops reading for ten minutes', async (t) => {
  const [pair, wire] = wired({ latencyUs: 10_000 });
  const [client, server] = pair.connect(7000, 4, (socket) => socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 100_000));
  const flow = pump(client, server, 5_000_000, (socket) => socket.shutdown(SHUT_WR));
  pair.until(() => flow.received > 300_000);
  const read = server.onready!;
  server.onready = null;
  pair.for(5e6);
  const closed = flow.sent;
  t.equal(tcbOf(pair.a).sndWnd, 0, 'the window is closed');
  const passed = wire.passed[0]!;
  pair.for(10 * MINUTE);
  t.equal(flow.sent, closed, 'nothing went into the closed window');
  const probes = wire.passed[0]! - passed;
  t.ok(probes >= 8 && probes <= 25, `${probes} probes in ten minutes`);
  const before = pair.clock.nowUs();
  server.onready = read;
  read(0);
  pair.until(() => flow.ended, MINUTE, 'the end');
  t.equal(flow.received, 5_000_000);
  t.ok(pair.clock.nowUs() - before < 5e6, `the rest came in ${(pair.clock.nowUs() - before) / 1e6} s: the reader's window update was enough`);
  t.equal(tcbOf(pair.a).rtos, 0, 'no timeout');
  pair.close();
});

t.test('10,000 idle connections for three hours, with keep-alive', { timeout: 100_000 }, async (t) => {
  const [pair, wire] = wired();
  const count = 10_000;
  const { clock } = pair;
  const listener = open(pair.b);
  listener.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
  listener.bind('', 80);
  listener.listen(4096);
  const servers: BsdSocket[] = [];
  listener.onready = () => {
    for (let socket = listener.accept(); typeof socket !== 'number'; socket = listener.accept()) servers.push(socket);
  };
  const clients: BsdSocket[] = [];
  for (let i = 0; i < count; i++) {
    const client = open(pair.a);
    client.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
    client.connect(B4, 80);
    clients.push(client);
    if (i % 1000 === 999) clock.advance(20_000);
  }
  clock.advance(1e6);
  t.equal(servers.length, count);
  const started = Date.now();
  clock.advance(3 * HOUR);
  t.comment(`three hours of ${2 * count} idle ends in ${Date.now() - started} ms`);
  t.equal(pair.a.tcp.connections, count);
  t.equal(pair.b.tcp.connections, count);
  // Two hours of silence, then a probe from one side, which the answer tells the other of too.
  const probes = pair.a.tcp.counters.KeepaliveProbes + pair.b.tcp.counters.KeepaliveProbes;
  t.ok(probes >= count && probes <= 2 * count, `${probes} probes`);
  t.equal(pair.a.memory.freeBlocks, pair.a.memory.blockCount, 'idle connections hold no blocks');
  for (const i of [0, 4711, count - 1]) {
    const client = clients[i]!;
    const { port } = client.getsockname()!;
    const server = servers.find((one) => one.getpeername()!.port === port)!;
    client.send(new Uint8Array([1, 2, 3]), 0, 3);
    clock.advance(10_000);
    t.equal(server.available, 3, 'still alive');
    server.recv(new Uint8Array(3), 0, 3);
  }
  // The path is gone: two hours, and nine probes of 75 s.
  wire.cut = true;
  let failed = 0;
  for (const socket of [...clients, ...servers]) socket.onready = () => failed++;
  clock.advance(2 * HOUR + 13 * MINUTE);
  t.equal(failed, 2 * count, 'all were told');
  t.equal(pair.a.tcp.connections + pair.b.tcp.connections, 0);
  pair.close();
});

t.test('a storm of short connections: TIME-WAIT is bounded and passes', { timeout: 100_000 }, async (t) => {
  const tcp = { maxTimeWait: 2000 };
  const pair = new Pair({ both: { tcp } });
  const { clock } = pair;
  const listener = open(pair.b);
  listener.bind('', 80);
  listener.listen(100);
  let served = 0;
  listener.onready = () => {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) {
      const socket = one;
      socket.onready = () => {
        if (socket.recv(new Uint8Array(10), 0, 10) === 0) socket.close();
      };
      served++;
    }
  };
  const count = 20_000;
  let most = 0;
  for (let i = 0; i < count; i++) {
    const client = open(pair.a);
    const result = client.connect(B4, 80);
    if (result === -EADDRNOTAVAIL) throw new Error(`no port for connection ${i}`);
    client.onready = () => client.close();
    if (i % 10 === 9) clock.advance(5000);
    most = Math.max(most, pair.a.tcp.timeWaits);
  }
  clock.advance(1e6);
  t.equal(served, count);
  t.equal(most, 2000, 'as many in TIME-WAIT as are allowed');
  t.equal(pair.a.tcp.counters.TimeWaits, count);
  t.equal(pair.a.tcp.counters.TimeWaitOverflows, count - 2000);
  t.equal(pair.a.tcp.connections + pair.b.tcp.connections, 0);
  clock.advance(61e6);
  t.equal(pair.a.tcp.timeWaits, 0);
  t.equal(pair.a.memory.freeBlocks, pair.a.memory.blockCount);
  pair.close();
});

t.test('more connections at once than the backlog takes', async (t) => {
  const pair = new Pair({ pair: { latencyUs: 5000 } });
  const listener = open(pair.b);
  listener.bind('', 80);
  listener.listen(8);
  const count = 300;
  let established = 0;
  const clients = Array.from({ length: count }, () => {
    const client = open(pair.a);
    client.connect(B4, 80);
    client.onready = () => {
      if (infoOf(client).state === 'ESTABLISHED') established++;
      client.onready = null;
    };
    return client;
  });
  // Nobody accepts yet.
  pair.for(2e6);
  let waiting = 0;
  pair.b.tcp.forEachListener((one) => (waiting = one.queue.length + one.halfOpen.size));
  t.ok(waiting <= 8 + 1 + 1024, `${waiting} wait, half open ones included`);
  t.ok(pair.b.tcp.counters.SyncookiesSent > 200);
  t.ok(pair.b.tcp.counters.ListenOverflows > 0);
  const servers: BsdSocket[] = [];
  const accept = (): void => {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) servers.push(one);
  };
  listener.onready = accept;
  accept();
  pair.until(() => servers.length === count, 2 * MINUTE, 'the last of them');
  pair.for(1e6);
  t.equal(established, count);
  for (const [i, client] of clients.entries()) client.send(new Uint8Array([i & 0xff]), 0, 1);
  pair.until(() => servers.every((server) => server.available === 1));
  t.equal(new Set(servers.map((server) => server.getpeername()!.port)).size, count);
  pair.close();
});

t.test('a slow and a fast reader in one small memory', async (t) => {
  const tcp = { rcvbuf: { initial: 1 << 20, max: 1 << 20 }, sndbuf: { initial: 1 << 20, max: 1 << 20 } };
  const pair = new Pair({ both: { tcp }, a: { memory: 8 << 20 }, b: { memory: 1 << 20 } });
  const [slowClient, slowServer] = pair.connect(7000);
  const [fastClient, fastServer] = pair.connect(7001);
  const total = 4_000_000;
  const slow = pump(slowClient, slowServer, total);
  const readSlow = slowServer.onready!;
  slowServer.onready = null;
  pair.for(1e6);
  const { memory } = pair.b;
  t.ok(memory.freeBlocks < memory.blockCount / 4, `unread data holds ${memory.blockCount - memory.freeBlocks} of ${memory.blockCount} blocks`);
  const fast = pump(fastClient, fastServer, total);
  const before = pair.clock.nowUs();
  pair.until(() => fast.received === total, 10 * MINUTE, 'the fast one');
  t.comment(`the fast one took ${((pair.clock.nowUs() - before) / 1e6).toFixed(1)} s beside one that does not read`);
  t.equal(slow.received, 0);
  // Read by read, a little each half second, while the fast one sends again.
  const fastAgain = pump(fastClient, fastServer, total);
  const buffer = new Uint8Array(20_000);
  let slowly = 0;
  for (let i = 0; i < 20; i++) {
    const taken = slowServer.recv(buffer, 0, buffer.length);
    if (taken > 0) slowly += taken;
    pair.for(500_000);
  }
  t.equal(slowly, 400_000, 'the slow one always finds something');
  pair.until(() => fastAgain.received === total, 10 * MINUTE, 'the fast one again');
  slow.received = slowly;
  slowServer.onready = readSlow;
  readSlow(0);
  pair.until(() => slow.received === total, 10 * MINUTE, 'the slow one');
  t.equal(memory.freeBlocks, memory.blockCount);
  pair.close();
});
