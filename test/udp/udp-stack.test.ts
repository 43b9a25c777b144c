/** UDP and echo sockets over two whole stacks: fragments, offload, ICMP errors, path MTU, loopback, the port table's edge. */

import t from 'tap';
import { EACCES, ECONNREFUSED, EMSGSIZE, ENETUNREACH, ETIMEDOUT } from '../../lib/errno.ts';
import type { EchoErrorInfo } from '../../lib/kernel/echo-socket.ts';
import { IP_MTU, IP_PMTUDISC_DO } from '../../lib/kernel/udp-options.ts';
import type { UdpErrorInfo } from '../../lib/kernel/udp-socket.ts';
import { LINK_CSUM, LINK_USO } from '../../lib/link/link.ts';
import { ping } from '../../lib/net/ping.ts';
import type { PingResult } from '../../lib/net/ping.ts';
import { AF_INET, AF_INET6, IPPROTO_IP, IP_MTU_DISCOVER, SOL_SOCKET, SO_BROADCAST, SO_ERROR, SO_RCVBUF } from '../../lib/socket.ts';
import { A, A6, B, B6, echoSocket, twoStacks, udpSocket } from './two-stacks.ts';

const LINKS = [
  { name: 'plain', features: 0 },
  { name: 'checksums left to the link', features: LINK_CSUM },
  { name: 'datagrams cut by the link', features: LINK_CSUM | LINK_USO },
];

for (const { name, features } of LINKS) {
  t.test(`echo of every size, both versions: ${name}`, async (t) => {
    const { clock, a, b } = twoStacks(t, { features, latencyUs: 100 });
    const server = udpSocket(b, AF_INET6);
    server.onmessage = (slab, offset, length, remote) => server.reply(slab, offset, length, remote);
    t.equal(server.bind('::', 7), 0);
    const client = udpSocket(a, AF_INET6);
    let got: Uint8Array | null = null;
    client.onmessage = (slab, offset, length) => {
      got = slab.slice(offset, offset + length);
    };
    for (const [address, largest] of [[B, 65507], [B6, 65527]] as const) {
      for (const length of [0, 1, 2, 63, 64, 65, 511, 1452, 1453, 1472, 1473, 4096, 8192, 9000, 40001, largest]) {
        const data = new Uint8Array(length).map((_, i) => (i * 7 + length) & 0xff);
        t.equal(client.sendTo(data, 0, length, address, 7), length);
        clock.advance(10_000);
        t.ok(got !== null && Buffer.compare(got, data) === 0, `${length} bytes to ${address}`);
        got = null;
      }
    }
    t.equal(a.udp.counters.InCsumErrors + b.udp.counters.InCsumErrors, 0);
  });

  t.test(`bulk: ${name}`, async (t) => {
    const { clock, a, b } = twoStacks(t, { features });
    const sink = udpSocket(b);
    let bytes = 0;
    let datagrams = 0;
    let sum = 0;
    sink.onmessage = (slab, offset, length) => {
      bytes += length;
      datagrams++;
      sum = (sum + slab[offset]! + slab[offset + length - 1]!) | 0;
    };
    sink.bind(B, 9);
    const source = udpSocket(a);
    source.connect(B, 9);
    const data = new Uint8Array(144_000).fill(3);
    for (let i = 0; i < 50; i++) {
      for (let at = 0; at < data.length;) {
        const n = source.sendSegments(data, at, data.length - at, 1440, null, 0);
        if (n > 0) at += n;
        else clock.advance(0);
      }
      clock.advance(0);
    }
    t.equal(datagrams, 5000);
    t.equal(bytes, 50 * data.length);
    t.equal(sum, 5000 * 6);
  });
}

t.test('a computed checksum of zero is sent as 0xffff', async (t) => {
  const { clock, a, b } = twoStacks(t);
  const server = udpSocket(b);
  let got = 0;
  server.onmessage = () => got++;
  server.bind(B, 9);
  const client = udpSocket(a);
  client.bind(A, 1);
  const data = new Uint8Array(2);
  for (let i = 0; i < 65536; i++) {
    data[0] = i >> 8;
    data[1] = i & 0xff;
    client.sendTo(data, 0, 2, B, 9);
    if ((i & 255) === 255) clock.advance(0);
  }
  t.equal(got, 65536, 'each of the 65536 sums, zero among them');
  t.equal(b.udp.counters.InErrors, 0);
});

t.test('port unreachable finds the socket', async (t) => {
  const { clock, a, b } = twoStacks(t);
  for (const [domain, address] of [[AF_INET, B], [AF_INET6, B6]] as const) {
    const loose = udpSocket(a, domain);
    const told: [number, UdpErrorInfo][] = [];
    loose.onerror = (errno, info) => told.push([errno, info]);
    loose.sendTo(new Uint8Array(10), 0, 10, address, 999);
    clock.advance(0);
    t.equal(told.length, 1);
    t.equal(told[0]![0], ECONNREFUSED);
    const { address: to, port, from, pending } = told[0]![1];
    t.same({ to, port, from, pending }, { to: address, port: 999, from: address, pending: false });
    t.equal(loose.sendTo(new Uint8Array(10), 0, 10, address, 999), 10, 'no pending error');

    const connected = udpSocket(a, domain);
    connected.connect(address, 998);
    connected.sendTo(new Uint8Array(2000), 0, 2000, null, 0);
    clock.advance(0);
    t.equal(connected.sendTo(new Uint8Array(1), 0, 1, null, 0), -ECONNREFUSED, 'told by the next call, of a fragmented one too');
    t.equal(connected.getsockopt(SOL_SOCKET, SO_ERROR), 0);
  }
  t.ok(b.udp.counters.NoPorts >= 4);
});

t.test('path MTU: packet too big is taken over, and DF asks for EMSGSIZE', async (t) => {
  const { clock, a, b } = twoStacks(t, { mtu: 9000 });
  const server = udpSocket(b);
  let bytes = 0;
  server.onmessage = (_slab, _offset, length) => {
    bytes += length;
  };
  server.bind(B, 9);
  const client = udpSocket(a);
  client.connect(B, 9);
  t.equal(client.getsockopt(IPPROTO_IP, IP_MTU), 9000);
  client.sendTo(new Uint8Array(8000), 0, 8000, null, 0);
  clock.advance(0);
  t.equal(bytes, 8000);
  // What a router says: next-hop MTU 1400, about a datagram of this socket's.
  const words = { from0: 0, from1: 0, from2: 0xffff, from3: 1, type: 3, code: 4, errno: EMSGSIZE, fatal: false, mtu: 1400 };
  const slab = new Uint8Array(8);
  new DataView(slab.buffer).setUint16(0, client.localPort);
  new DataView(slab.buffer).setUint16(2, 9);
  a.enter();
  const known = a.udp.icmpError({
    version: 4, ...words, slab, view: new DataView(slab.buffer), offset: 0, length: 8,
    src0: client.l0, src1: client.l1, src2: client.l2, src3: client.l3, dst0: client.r0, dst1: client.r1, dst2: client.r2, dst3: client.r3,
  });
  a.leave();
  t.equal(known, true, 'so IP takes the path MTU over');
  t.equal(client.getsockopt(SOL_SOCKET, SO_ERROR), EMSGSIZE);
  a.ip.setMtu(1400);
  client.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
  t.equal(client.sendTo(new Uint8Array(8000), 0, 8000, null, 0), -EMSGSIZE);
  client.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, 1);
  const warm = client.sendTo(new Uint8Array(10), 0, 10, null, 0);
  a.ip.setMtu(1000);
  t.equal(warm, 10);
  t.equal(client.sendTo(new Uint8Array(1300), 0, 1300, null, 0), 1300, 'routed before the MTU fell');
  clock.advance(0);
  t.equal(bytes, 8000 + 10 + 1300);
});

t.test('to itself', async (t) => {
  const { a } = twoStacks(t);
  for (const address of [A, '127.0.0.1']) {
    const server = udpSocket(a);
    server.onmessage = (slab, offset, length, remote) => server.reply(slab, offset, length, remote);
    server.bind(address, 7);
    const client = udpSocket(a);
    const got: number[] = [];
    client.onmessage = (_slab, _offset, length) => void got.push(length);
    for (const length of [0, 5, 65, 60000, 65507]) client.sendTo(new Uint8Array(length), 0, length, address, 7);
    t.same(got, [0, 5, 65, 60000, 65507], `all done when the call returns: ${address}`);
    const refused: number[] = [];
    client.onerror = (errno) => void refused.push(errno);
    client.sendTo(new Uint8Array(1), 0, 1, address, 8);
    t.same(refused, [ECONNREFUSED]);
    server.close();
  }
});

t.test('subnet broadcast and groups', async (t) => {
  const { clock, a, b } = twoStacks(t);
  const server = udpSocket(b);
  let got = 0;
  server.onmessage = () => got++;
  server.bind('0.0.0.0', 9);
  const client = udpSocket(a);
  const one = new Uint8Array(1);
  t.equal(client.sendTo(one, 0, 1, '10.90.0.255', 9), -EACCES);
  client.setsockopt(SOL_SOCKET, SO_BROADCAST, 1);
  t.equal(client.sendTo(one, 0, 1, '10.90.0.255', 9), 1);
  t.equal(client.sendTo(one, 0, 1, '255.255.255.255', 9), 1);
  clock.advance(0);
  t.equal(got, 2);
  t.equal(client.sendTo(one, 0, 1, '239.1.2.3', 9), 1);
  clock.advance(0);
  t.equal(got, 2, 'nobody joined');
  t.equal(server.addMembership('239.1.2.3'), 0);
  client.sendTo(one, 0, 1, '239.1.2.3', 9);
  clock.advance(0);
  t.equal(got, 3);
  server.dropMembership('239.1.2.3');
  client.sendTo(one, 0, 1, '239.1.2.3', 9);
  clock.advance(0);
  t.equal(got, 3);
});

t.test('datagrams beyond the buffer are dropped and counted', async (t) => {
  const { clock, a, b } = twoStacks(t);
  const server = udpSocket(b);
  server.setsockopt(SOL_SOCKET, SO_RCVBUF, 5000);
  server.bind(B, 9);
  const client = udpSocket(a);
  for (let i = 0; i < 20; i++) client.sendTo(new Uint8Array(1000), 0, 1000, B, 9);
  clock.advance(0);
  t.equal(b.udp.counters.InDatagrams, Math.floor(10000 / 1056));
  t.equal(server.drops, 20 - Math.floor(10000 / 1056));
});

t.test('echo sockets', async (t) => {
  const { clock, a } = twoStacks(t, { latencyUs: 2500 });
  for (const [domain, address] of [[AF_INET, B], [AF_INET6, B6]] as const) {
    const one = echoSocket(a, domain);
    const other = echoSocket(a, domain);
    t.not(one.id, other.id);
    const got: unknown[] = [];
    one.onreply = ({ seq, bytes, ttl, rttUs, duplicate, from }) => got.push({ seq, bytes, ttl, rttUs, duplicate, from });
    other.onreply = () => t.fail('not ours');
    for (const size of [0, 56, 64, 65, 1400, 8192, 65507]) {
      t.equal(one.send(size & 0xff, size, address), 8 + size);
      clock.advance(20_000);
      t.same(got.pop(), { seq: size & 0xff, bytes: 8 + size, ttl: 64, rttUs: 5000, duplicate: false, from: address });
    }
    t.equal(one.send(1, 65508, address), -EMSGSIZE);
    t.equal(one.send(1, Uint8Array.of(1, 2, 3), address), 11, 'bytes of our own');
    clock.advance(20_000);
    t.equal(got.length, 1);
    t.equal(one.send(1, 1, domain === AF_INET ? '10.90.0.255' : 'ff02::1'), -EACCES);
    one.close();
    other.close();
  }
  const late = echoSocket(a);
  late.send(1, 1, B);
  late.close();
  clock.advance(20_000);
  t.equal(a.echo.unknown, 1, 'a reply to a closed socket');
});

t.test('an ICMP error finds the echo socket that caused it', async (t) => {
  const { a } = twoStacks(t);
  const socket = echoSocket(a);
  const told: [number, EchoErrorInfo][] = [];
  socket.onerror = (errno, info) => told.push([errno, info]);
  socket.send(77, 1, B);
  const slab = new Uint8Array(8);
  const view = new DataView(slab.buffer);
  const quote = (type: number, id: number, seq: number, to: number): boolean => {
    view.setUint8(0, type);
    view.setUint16(4, id);
    view.setUint16(6, seq);
    return a.echo.icmpError({
      version: 4, type: 11, code: 0, errno: 113, fatal: false, mtu: 0, slab, view, offset: 0, length: 8,
      from0: 0, from1: 0, from2: 0xffff, from3: 0x0a5a0009, src0: 0, src1: 0, src2: 0xffff, src3: 0x0a5a0001,
      dst0: 0, dst1: 0, dst2: 0xffff, dst3: to,
    });
  };
  t.equal(quote(8, socket.id, 77, 0x0a5a0002), true);
  t.same(told, [[113, { seq: 77, address: B, from: '10.90.0.9', type: 11, code: 0, mtu: 0 }]]);
  t.equal(quote(0, socket.id, 77, 0x0a5a0002), false, 'not about a request');
  t.equal(quote(8, socket.id ^ 1, 77, 0x0a5a0002), false, 'not our identifier');
  t.equal(quote(8, socket.id, 78, 0x0a5a0002), false, 'not a number that was sent');
  t.equal(quote(8, socket.id, 77, 0x0a5a0003), false, 'not to there');
  t.equal(told.length, 1);
});

/** Collects all results while virtual time goes by. */
async function collect(iterator: AsyncGenerator<PingResult>, advance: () => void): Promise<PingResult[]> {
  const results: PingResult[] = [];
  let done = false;
  const all = (async () => {
    for await (const result of iterator) results.push(result);
    done = true;
  })();
  for (let i = 0; i < 10_000 && !done; i++) {
    advance();
    await new Promise(setImmediate);
  }
  await all;
  return results;
}

t.test('ping', async (t) => {
  const { clock, a, b } = twoStacks(t, { latencyUs: 1234 });
  const advance = (): void => clock.advance(10_000);
  const start = clock.nowUs();
  const results = await collect(ping(a, B, { count: 3, intervalMs: 200 }), advance);
  t.same(results, [1, 2, 3].map((seq) => ({ seq, bytes: 64, ttl: 64, timeMs: 2.468, from: B })));
  t.ok(clock.nowUs() - start >= 400_000 && clock.nowUs() - start < 500_000, 'two intervals');
  const six = await collect(ping(a, B6, { count: 1, size: 8192, ttl: 5 }), advance);
  t.same(six, [{ seq: 1, bytes: 8200, ttl: 64, timeMs: 2.468, from: B6 }]);
  const own = await collect(ping(a, A6, { count: 1 }), advance);
  t.same(own, [{ seq: 1, bytes: 64, ttl: 64, timeMs: 0, from: A6 }]);

  const lost = await collect(ping(a, '10.90.0.77', { count: 2, intervalMs: 10, timeoutMs: 300 }), advance);
  t.same(lost.map(({ seq, error, from }) => [seq, error?.code, error?.errno, from]),
    [[1, 'ETIMEDOUT', -ETIMEDOUT, '10.90.0.77'], [2, 'ETIMEDOUT', -ETIMEDOUT, '10.90.0.77']]);
  t.ok(Number.isNaN(lost[0]!.timeMs));

  const controller = new AbortController();
  const endless = ping(a, B, { intervalMs: 1, signal: controller.signal });
  const some: number[] = [];
  const all = (async () => {
    for await (const { seq } of endless) {
      some.push(seq);
      if (seq === 5) controller.abort();
    }
  })();
  while (some.length < 5) {
    advance();
    await new Promise(setImmediate);
  }
  await all;
  t.same(some.slice(0, 5), [1, 2, 3, 4, 5]);
  await t.rejects(ping(a, B, { size: -1 }).next(), { code: 'ERR_INVALID_ARG_VALUE' });
  await t.rejects(ping(a, B, { ttl: 300 }).next(), { code: 'ERR_INVALID_ARG_VALUE' });
  t.equal(a.echo.unknown, 0);
  void b;
});

t.test('no route', async (t) => {
  const { a } = twoStacks(t);
  a.ip.removeAddress({ w0: 0, w1: 0, w2: 0xffff, w3: 0x0a5a0001 });
  t.equal(udpSocket(a).sendTo(new Uint8Array(1), 0, 1, '8.8.8.8', 9), -ENETUNREACH);
  const [result] = await collect(ping(a, '8.8.8.8', { count: 1 }), () => {});
  t.equal(result!.error!.code, 'ENETUNREACH');
  t.equal(result!.error!.message, 'send ENETUNREACH 8.8.8.8');
});
