/** UDP's host and low-level sockets above a plain fake of IP: demultiplexing, checks, queues, options, errors. */

import t from 'tap';
import { EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, ECONNREFUSED, EDESTADDRREQ, EHOSTUNREACH, EINVAL,
  EMFILE, EMSGSIZE, ENETUNREACH, ENOBUFS, ENOPROTOOPT, ENOTCONN } from '../../lib/errno.ts';
import { IPV6_RECVERR, IP_MULTICAST_TTL, IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_RECVERR, SO_RXQ_OVFL } from '../../lib/kernel/udp-options.ts';
import type { UdpErrorInfo, UdpSocket } from '../../lib/kernel/udp-socket.ts';
import { GSO_UDP_L4 } from '../../lib/buffer/transmit-queue.ts';
import { LINK_USO } from '../../lib/link/link.ts';
import {
  AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPV6_UNICAST_HOPS, IPV6_V6ONLY, IP_MTU_DISCOVER, IP_TOS, IP_TTL,
  MSG_PEEK, MSG_TRUNC, POLLERR, POLLIN, POLLOUT, SOL_SOCKET, SO_BROADCAST, SO_ERROR, SO_RCVBUF, SO_REUSEADDR, SO_REUSEPORT,
  SO_SNDBUF, SO_TYPE,
} from '../../lib/socket.ts';
import { datagram, deliver, fakeHost, icmpError, packetOf } from './fake-ip.ts';
import type { FakeHost } from './fake-ip.ts';

const A = '10.0.0.1';
const B = '10.0.0.2';
const A6 = 'fd00::1';
const B6 = 'fd00::2';

function socketOf(host: FakeHost, domain = AF_INET): UdpSocket {
  const socket = host.udp.socket(domain);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

function text(s: string): Uint8Array {
  return new TextEncoder().encode(s);
}

interface Got {
  data: string;
  address: string;
  port: number;
}

/** Collects what a socket gets through its callback. */
function collect(socket: UdpSocket): Got[] {
  const got: Got[] = [];
  socket.onmessage = (slab, offset, length, remote) => {
    got.push({ data: new TextDecoder().decode(slab.slice(offset, offset + length)), address: remote.address, port: remote.port });
  };
  return got;
}

function pair(): [FakeHost, FakeHost] {
  return [fakeHost([A, A6]), fakeHost([B, B6])];
}

t.test('a datagram arrives, and its answer goes back without text', async (t) => {
  const [a, b] = pair();
  const server = socketOf(b);
  server.onmessage = (slab, offset, length, remote) => {
    t.equal(remote.family, 'IPv4');
    t.equal(remote.ttl, 61);
    t.equal(remote.tos, 0x28);
    t.equal(server.reply(slab, offset, length, remote), length);
  };
  t.equal(server.bind('0.0.0.0', 7), 0);
  const client = socketOf(a);
  const got = collect(client);
  for (const payload of ['', 'x', 'hello', 'y'.repeat(64), 'z'.repeat(65), 'w'.repeat(1400)]) {
    t.equal(client.sendTo(text(payload), 0, payload.length, B, 7), payload.length);
    deliver(a, b);
    deliver(b, a);
    t.same(got.pop(), { data: payload, address: B, port: 7 });
  }
  t.equal(a.ip.routes, 1, 'one route for all of them');
  t.equal(a.udp.counters.OutDatagrams, 6);
  t.equal(b.udp.counters.InDatagrams, 6);
  t.ok(client.localPort >= 32768 && client.localPort <= 60999, 'an ephemeral port');
});

t.test('part of an array is sent', async (t) => {
  const [a, b] = pair();
  const server = socketOf(b);
  const got = collect(server);
  server.bind(B, 9);
  socketOf(a).sendTo(text('abcdef'), 2, 3, B, 9);
  deliver(a, b);
  t.equal(got[0]!.data, 'cde');
});

t.test('demultiplexing: connected, then address and port, then port', async (t) => {
  const b = fakeHost([B, '10.0.0.3']);
  const any = socketOf(b);
  const bound = socketOf(b);
  const connected = socketOf(b);
  for (const s of [any, bound, connected]) s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  t.equal(any.bind('0.0.0.0', 5000), 0);
  t.equal(connected.bind('0.0.0.0', 5000), 0);
  t.equal(bound.bind(B, 5000), 0);
  t.equal(connected.connect(A, 77), 0);
  const hits = [collect(any), collect(bound), collect(connected)];
  const arrive = (port: number, to: string): void => b.udp.input(packetOf(datagram(A, port, to, 5000, text('q')), A, to));
  const counts = (): number[] => hits.map((h) => h.length);
  arrive(77, B);
  t.same(counts(), [0, 0, 1], 'the 4-tuple');
  arrive(78, B);
  t.same(counts(), [0, 1, 1], 'address and port');
  arrive(78, '10.0.0.3');
  t.same(counts(), [1, 1, 1], 'port');
  arrive(77, '10.0.0.3');
  t.same(counts(), [2, 1, 1], 'connected to another local address');
  t.equal(connected.disconnect(), 0);
  bound.close();
  arrive(77, B);
  t.same(counts(), [2, 1, 2], 'of two that share the port the one bound last');
  connected.close();
  arrive(77, B);
  t.same(counts(), [3, 1, 2]);
  any.close();
  arrive(77, B);
  t.equal(b.udp.counters.NoPorts, 1);
  t.equal(b.ip.unreachables, 1);
});

t.test('dual-stack sockets', async (t) => {
  const b = fakeHost([B, B6]);
  const six = socketOf(b, AF_INET6);
  const got = collect(six);
  t.equal(six.bind('::', 600), 0);
  b.udp.input(packetOf(datagram(A, 1, B, 600, text('four')), A, B));
  b.udp.input(packetOf(datagram(A6, 1, B6, 600, text('six')), A6, B6));
  t.same(got, [{ data: 'four', address: `::ffff:${A}`, port: 1 }, { data: 'six', address: A6, port: 1 }]);
  const four = socketOf(b);
  t.equal(four.bind('0.0.0.0', 600), -EADDRINUSE);
  t.equal(six.sendTo(text('x'), 0, 1, A, 5), 1, 'IPv4 goes out of it');
  t.equal(six.sendTo(text('x'), 0, 1, A6, 5), 1);
  six.close();

  const only = socketOf(b, AF_INET6);
  t.equal(only.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
  const gotOnly = collect(only);
  t.equal(only.bind('::', 600), 0);
  t.equal(only.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0), -EINVAL, 'not when bound');
  const gotFour = collect(four);
  t.equal(four.bind('0.0.0.0', 600), 0);
  b.udp.input(packetOf(datagram(A, 1, B, 600, text('four')), A, B));
  b.udp.input(packetOf(datagram(A6, 1, B6, 600, text('six')), A6, B6));
  t.equal(gotFour.length, 1);
  t.equal(gotOnly.length, 1);
  t.equal(only.sendTo(text('x'), 0, 1, A, 5), -ENETUNREACH);
  t.equal(four.sendTo(text('x'), 0, 1, A6, 5), -EAFNOSUPPORT);
});

t.test('SO_REUSEPORT spreads by sender and keeps a sender at its socket', async (t) => {
  const b = fakeHost([B]);
  const sockets = [0, 1, 2, 3].map(() => socketOf(b));
  const hits = sockets.map((s) => {
    s.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
    const got = collect(s);
    t.equal(s.bind('0.0.0.0', 53), 0);
    return got;
  });
  const other = socketOf(b);
  t.equal(other.bind('0.0.0.0', 53), -EADDRINUSE, 'without the option');
  for (let round = 0; round < 3; round++) {
    for (let port = 1000; port < 1400; port++) b.udp.input(packetOf(datagram(A, port, B, 53, text('q')), A, B));
  }
  for (const got of hits) {
    t.ok(got.length > 150 && got.length < 450, `about a quarter each: ${got.length}`);
    const perPort = new Map<number, number>();
    for (const { port } of got) perPort.set(port, (perPort.get(port) ?? 0) + 1);
    t.ok([...perPort.values()].every((n) => n === 3), 'all three of a sender');
  }
});

t.test('checksums and lengths', async (t) => {
  const b = fakeHost([B, B6]);
  const socket = socketOf(b, AF_INET6);
  const got = collect(socket);
  socket.bind('::', 9);
  const { counters } = b.udp;
  const good = (): Uint8Array => datagram(A, 1, B, 9, text('abcd'));

  const wrong = good();
  wrong[9]! ^= 1;
  b.udp.input(packetOf(wrong, A, B));
  t.equal(counters.InCsumErrors, 1);
  t.equal(counters.InErrors, 1);

  const trusted = packetOf(wrong, A, B);
  trusted.checksumOk = true;
  b.udp.input(trusted);
  t.equal(got.length, 1, 'the link has verified it');

  const none = good();
  none[6] = none[7] = 0;
  b.udp.input(packetOf(none, A, B));
  t.equal(got.length, 2, 'IPv4 without a checksum');
  const none6 = datagram(A6, 1, B6, 9, text('abcd'));
  none6[6] = none6[7] = 0;
  b.udp.input(packetOf(none6, A6, B6));
  t.equal(counters.InCsumErrors, 2, 'IPv6 without a checksum');

  const long = good();
  new DataView(long.buffer).setUint16(4, 13);
  b.udp.input(packetOf(long, A, B));
  t.equal(counters.InLengthErrors, 1, 'longer than the packet');
  const short = good();
  new DataView(short.buffer).setUint16(4, 7);
  b.udp.input(packetOf(short, A, B));
  t.equal(counters.InLengthErrors, 2, 'shorter than a header');
  b.udp.input(packetOf(good().subarray(0, 7), A, B));
  t.equal(counters.InLengthErrors, 3, 'a packet shorter than a header');

  const padded = new Uint8Array(20);
  padded.set(good());
  padded.fill(0xee, 12);
  const packet = packetOf(padded, A, B);
  packet.transportSum = 0x1234;
  b.udp.input(packet);
  t.equal(got.length, 3, 'what lies behind the datagram is cut');
  t.equal(got[2]!.data, 'abcd');
  t.equal(counters.InErrors, 5);
  t.equal(counters.InDatagrams, 3);
});

t.test('a computed checksum of zero arrives as 0xffff', async (t) => {
  const [a, b] = pair();
  const socket = socketOf(b);
  const got = collect(socket);
  socket.bind('0.0.0.0', 9);
  for (let i = 0; i < 65536; i += 1) {
    const payload = Uint8Array.of(i >> 8, i & 0xff);
    const bytes = datagram(A, 1, B, 9, payload);
    if (bytes[6] === 0xff && bytes[7] === 0xff) {
      b.udp.input(packetOf(bytes, A, B));
      t.equal(got.length, 1);
      a.udp.input(packetOf(bytes, A, B));
      return;
    }
  }
  t.fail('no such payload');
});

t.test('recvFrom: queue, peek, truncation, SO_RCVBUF', async (t) => {
  const b = fakeHost([B]);
  const socket = socketOf(b);
  let readable = 0;
  socket.onreadable = () => readable++;
  socket.bind(B, 9);
  const to = new Uint8Array(9000);
  t.equal(socket.recvFrom(to, 0, 9000), -EAGAIN);
  t.equal(socket.poll(), POLLOUT);
  const arrive = (payload: string, port = 1): void => b.udp.input(packetOf(datagram(A, port, B, 9, text(payload)), A, B));
  arrive('first', 1001);
  arrive('');
  arrive('second', 1002);
  t.equal(readable, 1, 'told once, when the queue was empty');
  t.equal(socket.poll(), POLLIN | POLLOUT);
  t.equal(socket.available, 5);
  t.equal(socket.recvFrom(to, 0, 2, MSG_PEEK | MSG_TRUNC), 5);
  t.equal(socket.recvFrom(to, 10, 100), 5);
  t.equal(new TextDecoder().decode(to.subarray(10, 15)), 'first');
  t.equal(socket.remote.address, A);
  t.equal(socket.remote.port, 1001);
  t.equal(socket.remote.ttl, 61);
  t.equal(socket.recvFrom(to, 0, 100), 0, 'an empty datagram');
  t.equal(socket.recvFrom(to, 0, 3), 3, 'cut');
  t.equal(socket.remote.port, 1002);
  t.equal(socket.recvFrom(to, 0, 100), -EAGAIN);
  arrive('third');
  t.equal(readable, 2);
  socket.recvFrom(to, 0, 100);

  const free = b.ip.memory.freeBlocks;
  t.equal(socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 10000), 0);
  t.equal(socket.getsockopt(SOL_SOCKET, SO_RCVBUF), 20000);
  for (let i = 0; i < 30; i++) arrive(String.fromCharCode(65 + i).repeat(1000));
  const taken = Math.floor(20000 / 1056);
  t.equal(socket.drops, 30 - taken);
  t.equal(socket.getsockopt(SOL_SOCKET, SO_RXQ_OVFL), 30 - taken);
  t.equal(b.udp.counters.RcvbufErrors, 30 - taken);
  for (let i = 0; i < taken; i++) {
    t.equal(socket.recvFrom(to, 0, 9000), 1000);
    t.ok(to.subarray(0, 1000).every((byte) => byte === 65 + i), 'in order, whole across blocks');
  }
  t.equal(b.ip.memory.freeBlocks, free, 'all blocks are back');
  arrive('left over');
  socket.close();
  t.equal(b.ip.memory.freeBlocks, free, 'those of a closed socket too');
  t.equal(socket.recvFrom(to, 0, 1), -EBADF);
});

t.test('the queue runs through its blocks for long', async (t) => {
  const b = fakeHost([B]);
  const socket = socketOf(b);
  socket.bind(B, 9);
  const to = new Uint8Array(70000);
  let next = 0;
  let expected = 0;
  const lengths = [0, 1, 31, 32, 33, 4000, 8160, 8161, 20000, 65000];
  for (let round = 0; round < 300; round++) {
    for (let k = 0; k <= round % 3; k++) {
      const length = lengths[next % lengths.length]!;
      const payload = new Uint8Array(length).fill(next & 0xff);
      b.udp.input(packetOf(datagram(A, 1 + next % 60000, B, 9, payload), A, B));
      next++;
    }
    while (socket.available > 0 || (socket.poll() & POLLIN) !== 0) {
      const length = socket.recvFrom(to, 0, to.length);
      if (length !== lengths[expected % lengths.length] || socket.remote.port !== 1 + expected % 60000
        || !to.subarray(0, length).every((byte) => byte === (expected & 0xff))) t.fail(`datagram ${expected}`);
      expected++;
    }
  }
  t.equal(expected, next);
  t.equal(socket.drops, 0);
});

t.test('memory that is used up costs datagrams, not the stack', async (t) => {
  const b = fakeHost([B]);
  const socket = socketOf(b);
  socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 8 << 20);
  socket.bind(B, 9);
  for (let i = 0; i < 200; i++) b.udp.input(packetOf(datagram(A, 1, B, 9, new Uint8Array(60000)), A, B));
  t.ok(b.udp.counters.MemErrors > 0);
  t.equal(b.ip.memory.exhausted, 0, 'asked before taken');
  const { memory } = b.ip;
  t.ok(memory.freeBlocks >= (memory.blockCount >> 3) * 3, 'and something is left for others');
  while (memory.freeBlocks > 0) memory.allocate();
  t.equal(socket.sendTo(new Uint8Array(65000), 0, 65000, A, 1), -ENOBUFS);
  socket.close();
});

t.test('merged datagrams are cut apart', async (t) => {
  const b = fakeHost([B]);
  const socket = socketOf(b);
  const got = collect(socket);
  socket.bind(B, 9);
  const packet = packetOf(datagram(A, 1, B, 9, text('aaaabbbbcc')), A, B);
  packet.gsoType = GSO_UDP_L4;
  packet.gsoSize = 4;
  packet.checksumOk = true;
  b.udp.input(packet);
  t.same(got.map((g) => g.data), ['aaaa', 'bbbb', 'cc']);
  t.equal(b.udp.counters.InDatagrams, 3);
  socket.onmessage = () => void socket.close();
  b.udp.input(packet);
  t.equal(b.udp.counters.InDatagrams, 4, 'not to a socket that was closed by the first');
});

t.test('sendSegments with and without a link that cuts', async (t) => {
  const data = new Uint8Array(150000).map((_, i) => i >> 8);
  for (const features of [0, LINK_USO]) {
    const [a, b] = pair();
    a.ip.features = features;
    const server = socketOf(b);
    const got: number[] = [];
    const all: number[] = [];
    server.onmessage = (slab, offset, length) => {
      got.push(length);
      for (let i = 0; i < length; i++) all.push(slab[offset + i]!);
    };
    server.bind(B, 9);
    const client = socketOf(a);
    t.equal(client.connect(B, 9), 0);
    let sent = 0;
    while (sent < data.length) {
      const n = client.sendSegments(data, sent, data.length - sent, 1000, null, 0);
      if (n <= 0) return t.fail(`sent ${n}`);
      sent += n;
      const gso = a.ip.sent.filter((s) => s.gsoType === GSO_UDP_L4);
      if (features === LINK_USO) {
        t.ok(gso.length >= a.ip.sent.length - 1 && gso.length > 0, 'in large packets');
        t.ok(gso.every((s) => s.bytes.length <= 8 + 64000 && s.gsoSize === 1000));
      } else {
        t.equal(gso.length, 0);
        t.equal(n, Math.min(56, (data.length - sent + n) / 1000) * 1000, 'whole datagrams until the queue is full');
      }
      deliver(a, b);
    }
    t.equal(a.udp.counters.OutDatagrams, 150);
    t.same(got, new Array(150).fill(1000));
    t.same(all, [...data]);
    t.equal(client.sendSegments(data, 0, 2500, 1000, null, 0), 2500);
    deliver(a, b);
    t.same(got.slice(150), [1000, 1000, 500], 'the last one is short');
    t.equal(client.sendSegments(data, 0, 10, 0, null, 0), -EINVAL);
  }
});

t.test('sizes, fragments, DF', async (t) => {
  const [a] = pair();
  const socket = socketOf(a);
  const data = new Uint8Array(70000);
  t.equal(socket.sendTo(data, 0, 65508, B, 9), -EMSGSIZE);
  t.equal(socket.sendTo(data, 0, 65507, B, 9), 65507);
  t.equal(a.ip.sent.at(-1)!.dontFragment, false, 'must be cut here');
  t.equal(socket.sendTo(data, 0, 1472, B, 9), 1472);
  t.equal(a.ip.sent.at(-1)!.dontFragment, true);
  t.equal(socket.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO), 0);
  t.equal(socket.sendTo(data, 0, 1473, B, 9), -EMSGSIZE);
  t.equal(socket.sendTo(data, 0, 1472, B, 9), 1472);
  t.equal(socket.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT), 0);
  t.equal(socket.sendTo(data, 0, 100, B, 9), 100);
  t.equal(a.ip.sent.at(-1)!.dontFragment, false);
  t.equal(socket.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, 7), -EINVAL);

  // The path's MTU goes down: told, the flow is routed again.
  socket.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
  t.equal(socket.sendTo(data, 0, 1400, B, 9), 1400);
  a.ip.mtu = 1280;
  a.udp.pathMtuChanged();
  t.equal(socket.sendTo(data, 0, 1400, B, 9), -EMSGSIZE);
  const six = socketOf(a, AF_INET6);
  t.equal(six.sendTo(data, 0, 65528, B6, 9), -EMSGSIZE);
  t.equal(six.sendTo(data, 0, 65527, B6, 9), 65527);
});

t.test('a full transmit queue', async (t) => {
  const a = fakeHost([A]);
  const socket = socketOf(a);
  const second = socketOf(a);
  let writable = 0;
  socket.onwritable = () => writable++;
  a.ip.stuck = true;
  let n = 0;
  while (socket.sendTo(text('x'), 0, 1, B, 9) === 1) n++;
  t.equal(n, 64 - 8, 'an eighth is left for others');
  t.equal(socket.sendTo(text('x'), 0, 1, B, 9), -EAGAIN);
  t.equal(second.sendTo(text('x'), 0, 1, B, 9), -EAGAIN);
  t.equal(a.udp.blocked, true);
  a.udp.writable();
  t.equal(writable, 0, 'not before there is room');
  a.ip.flush();
  second.close();
  a.udp.writable();
  t.equal(writable, 1);
  t.equal(a.udp.blocked, false);
  t.equal(socket.sendTo(text('x'), 0, 1, B, 9), 1);
  a.ip.flush();

  // With a way to empty the queue in the middle of a turn nothing is turned away.
  const host = fakeHost([A], { flush: () => b.ip.flush() });
  const b = host;
  const sender = socketOf(host);
  host.ip.enter();
  for (let i = 0; i < 500; i++) if (sender.sendTo(new Uint8Array(1400), 0, 1400, B, 9) !== 1400) t.fail('turned away');
  host.ip.leave();
  t.equal(host.udp.counters.OutDatagrams, 500);
});

t.test('bind', async (t) => {
  const a = fakeHost([A, A6], { limits: { sockets: 4 } });
  const s = socketOf(a);
  t.same(s.getsockname(), { address: '0.0.0.0', port: 0, family: 'IPv4' });
  t.equal(s.bind('nonsense', 1), -EINVAL);
  t.equal(s.bind(A, 65536), -EINVAL);
  t.equal(s.bind(A6, 1), -EAFNOSUPPORT);
  t.equal(s.bind('10.9.9.9', 1), -EADDRNOTAVAIL);
  t.equal(s.bind(A, 1000), 0);
  t.equal(s.bind(A, 1001), -EINVAL, 'bound already');
  t.same(s.getsockname(), { address: A, port: 1000, family: 'IPv4' });
  const other = socketOf(a);
  t.equal(other.bind('0.0.0.0', 1000), -EADDRINUSE);
  t.equal(other.bind('224.0.0.5', 1000), 0, 'a group is an address of its own');
  const six = socketOf(a, AF_INET6);
  t.equal(six.bind(`::ffff:${A}`, 1000), -EADDRINUSE);
  t.equal(six.bind(A6, 1000), 0);
  t.equal(a.udp.socket(99), -EAFNOSUPPORT);
  socketOf(a);
  t.equal(a.udp.socket(AF_INET), -EMFILE);
  s.close();
  t.equal(s.close(), -EBADF);
  t.equal(s.bind(A, 1), -EBADF);
  t.equal(s.getsockname(), null);
  const again = socketOf(a);
  t.equal(again.bind(A, 1000), 0, 'a closed socket leaves its port');
});

t.test('ephemeral ports differ and run out', async (t) => {
  const a = fakeHost([A], { limits: { sockets: 40000 } });
  const ports = new Set<number>();
  for (let i = 0; i < 28232; i++) {
    const s = socketOf(a);
    if (s.bind(A, 0) !== 0) return t.fail(`bind ${i}`);
    ports.add(s.localPort);
  }
  t.equal(ports.size, 28232);
  const last = socketOf(a);
  t.equal(last.bind(A, 0), -EADDRINUSE);
  t.equal(last.sendTo(text('x'), 0, 1, B, 1), -EAGAIN);
});

t.test('connect and disconnect', async (t) => {
  const a = fakeHost([A, A6]);
  const s = socketOf(a);
  t.equal(s.sendTo(text('x'), 0, 1, null, 0), -EDESTADDRREQ);
  t.equal(s.getpeername(), null);
  t.equal(s.disconnect(), -ENOTCONN);
  t.equal(s.connect(B, 0), -EINVAL);
  t.equal(s.connect('x', 1), -EINVAL);
  t.equal(s.connect(B6, 1), -EAFNOSUPPORT);
  t.equal(s.connect(B, 1), 0);
  t.same(s.getpeername(), { address: B, port: 1, family: 'IPv4' });
  t.equal(s.getsockname()!.address, A, 'the source address is known');
  t.equal(s.connect('10.0.0.9', 2), 0, 'connects anew');
  t.same(s.getpeername(), { address: '10.0.0.9', port: 2, family: 'IPv4' });
  t.equal(s.sendTo(text('x'), 0, 1, null, 0), 1);
  t.equal(s.sendTo(text('x'), 0, 1, B, 5), 1, 'elsewhere too');
  t.equal(s.sendTo(text('x'), 0, 1, B, 0), -EINVAL);
  t.equal(s.sendTo(text('x'), 0, 1, 'no', 1), -EINVAL);
  t.equal(s.disconnect(), 0);
  t.same(s.getsockname(), { address: '0.0.0.0', port: 0, family: 'IPv4' }, 'a port that was picked is given back, as on Linux');
  const chosen = socketOf(a);
  chosen.bind('0.0.0.0', 44);
  chosen.connect(B, 1);
  chosen.disconnect();
  t.same(chosen.getsockname(), { address: '0.0.0.0', port: 44, family: 'IPv4' });
  t.equal(chosen.connect(B, 1), 0);
  const twin = socketOf(a);
  for (const one of [chosen, twin]) one.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  t.equal(twin.bind('0.0.0.0', 44), 0);
  t.equal(twin.connect(B, 1), -EADDRINUSE, 'the very same 4-tuple');
  t.equal(twin.getpeername(), null);
  t.equal(twin.connect(B, 2), 0);
  t.equal(twin.connect(B, 1), -EADDRINUSE);
  t.same(twin.getpeername(), { address: B, port: 2, family: 'IPv4' }, 'as it was before');
  const only4 = fakeHost([A]);
  t.equal(socketOf(only4, AF_INET6).connect(B6, 1), -ENETUNREACH);
});

t.test('broadcast and multicast', async (t) => {
  const [a, b] = pair();
  const groups: string[] = [];
  const joins = fakeHost([B], {
    groups: { joinGroup: (w) => groups.push(`+${w.w3 >>> 0}`), leaveGroup: (w) => groups.push(`-${w.w3 >>> 0}`) },
  });
  const s = socketOf(a);
  t.equal(s.sendTo(text('x'), 0, 1, '255.255.255.255', 9), -EACCES);
  t.equal(s.setsockopt(SOL_SOCKET, SO_BROADCAST, 1), 0);
  t.equal(s.sendTo(text('x'), 0, 1, '255.255.255.255', 9), 1);
  t.equal(a.ip.sent.at(-1)!.ttl, 64);
  t.equal(s.sendTo(text('x'), 0, 1, '224.0.0.5', 9), 1);
  t.equal(a.ip.sent.at(-1)!.ttl, 1, 'multicast has a TTL of its own');
  s.setsockopt(IPPROTO_IP, IP_MULTICAST_TTL, 9);
  s.sendTo(text('x'), 0, 1, '224.0.0.5', 9);
  t.equal(a.ip.sent.at(-1)!.ttl, 9);
  a.ip.sent.length = 0;

  const sockets = [socketOf(b), socketOf(b), socketOf(b, AF_INET6), socketOf(b)];
  const hits = sockets.map((one) => {
    one.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
    return collect(one);
  });
  sockets[0]!.bind('0.0.0.0', 9);
  sockets[1]!.bind('224.0.0.5', 9);
  sockets[2]!.bind('::', 9);
  sockets[3]!.bind('0.0.0.0', 10);
  s.sendTo(text('x'), 0, 1, '224.0.0.5', 9);
  deliver(a, b);
  t.same(hits.map((h) => h.length), [1, 1, 1, 0], 'to all on the port');
  s.sendTo(text('x'), 0, 1, '255.255.255.255', 9);
  deliver(a, b);
  t.same(hits.map((h) => h.length), [2, 1, 2, 0]);
  s.sendTo(text('x'), 0, 1, '224.0.0.5', 11);
  deliver(a, b);
  t.equal(b.udp.counters.IgnoredMulti, 1);
  t.equal(b.ip.unreachables, 0, 'no complaint about a multicast');
  sockets[0]!.onmessage = () => sockets.forEach((one) => one.close());
  sockets[2]!.onmessage = () => sockets.forEach((one) => one.close());
  s.sendTo(text('x'), 0, 1, '255.255.255.255', 9);
  deliver(a, b);
  t.equal(b.udp.sockets, 0, 'sockets may be closed on the way');

  const m = socketOf(joins);
  t.equal(m.addMembership('10.0.0.1'), -EINVAL);
  t.equal(m.addMembership('ff02::1'), -EINVAL, 'not on an IPv4 socket');
  t.equal(m.addMembership('224.0.0.5'), 0);
  t.equal(m.addMembership('224.0.0.5'), -EADDRINUSE);
  t.equal(m.dropMembership('224.0.0.6'), -EADDRNOTAVAIL);
  t.equal(m.dropMembership('224.0.0.5'), 0);
  m.addMembership('224.0.0.7');
  m.close();
  t.same(groups, ['+3758096389', '-3758096389', '+3758096391', '-3758096391']);
});

t.test('options', async (t) => {
  const a = fakeHost([A, A6]);
  const s = socketOf(a, AF_INET6);
  t.equal(s.getsockopt(SOL_SOCKET, SO_TYPE), 2);
  t.equal(s.getsockopt(SOL_SOCKET, SO_RCVBUF), 212992);
  t.equal(s.setsockopt(SOL_SOCKET, SO_SNDBUF, 1), 0);
  t.equal(s.getsockopt(SOL_SOCKET, SO_SNDBUF), 4608);
  t.equal(s.setsockopt(SOL_SOCKET, SO_RCVBUF, 1), 0);
  t.equal(s.getsockopt(SOL_SOCKET, SO_RCVBUF), 2304);
  t.equal(s.setsockopt(IPPROTO_IP, IP_TTL, 0), -EINVAL);
  t.equal(s.setsockopt(IPPROTO_IP, IP_TTL, 256), -EINVAL);
  t.equal(s.setsockopt(IPPROTO_IP, IP_TTL, 3), 0);
  t.equal(s.setsockopt(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 4), 0);
  t.equal(s.setsockopt(IPPROTO_IP, IP_TOS, 0xb8), 0);
  s.sendTo(text('x'), 0, 1, B, 1);
  s.sendTo(text('x'), 0, 1, B6, 1);
  t.same(a.ip.sent.map((p) => [p.ttl, p.tos]), [[3, 0xb8], [4, 0]]);
  t.equal(s.setsockopt(IPPROTO_IP, IP_TTL, -1), 0);
  t.equal(s.getsockopt(IPPROTO_IP, IP_TTL), 64);
  t.equal(s.setsockopt(IPPROTO_TCP, 1, 1), -ENOPROTOOPT);
  t.equal(s.getsockopt(SOL_SOCKET, 77), -ENOPROTOOPT);
  t.equal(socketOf(a).setsockopt(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 4), -ENOPROTOOPT);
});

t.test('ICMP errors', async (t) => {
  const a = fakeHost([A, A6]);
  const s = socketOf(a);
  s.bind('0.0.0.0', 100);
  const told: [number, UdpErrorInfo][] = [];
  s.onerror = (errno, info) => told.push([errno, info]);
  t.equal(a.udp.icmpError(icmpError(A, 100, B, 9)), false, 'nothing was sent there');
  t.equal(a.udp.icmpError(icmpError(A, 101, B, 9)), false, 'no socket');
  t.equal(a.udp.counters.IcmpErrorsIgnored, 2);
  s.sendTo(text('x'), 0, 1, B, 9);
  for (let i = 0; i < 50; i++) s.sendTo(text('x'), 0, 1, '10.0.0.7', 1000 + i);
  t.equal(a.udp.icmpError(icmpError(A, 100, B, 9)), true);
  t.same(told, [[ECONNREFUSED, { address: B, port: 9, from: B, type: 3, code: 3, mtu: 0, pending: false }]]);
  t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), 0, 'no pending error without a peer');
  s.setsockopt(IPPROTO_IP, IP_RECVERR, 1);
  a.udp.icmpError(icmpError(A, 100, B, 9, { errno: EHOSTUNREACH, fatal: false, code: 1 }));
  t.equal(told[1]![1].pending, true, 'IP_RECVERR');
  t.equal(s.sendTo(text('x'), 0, 1, B, 9), -EHOSTUNREACH);
  t.equal(s.sendTo(text('x'), 0, 1, B, 9), 1, 'told once');

  const c = socketOf(a);
  c.connect(B, 9);
  t.equal(a.udp.icmpError(icmpError(A, c.localPort, B, 9)), true, 'a connected socket is believed without a send');
  t.equal(c.poll() & POLLERR, POLLERR);
  t.equal(c.recvFrom(new Uint8Array(1), 0, 1), -ECONNREFUSED);
  t.equal(c.recvFrom(new Uint8Array(1), 0, 1), -EAGAIN);
  a.udp.icmpError(icmpError(A, c.localPort, B, 9, { errno: EHOSTUNREACH, fatal: false, code: 1 }));
  t.equal(c.getsockopt(SOL_SOCKET, SO_ERROR), 0, 'a soft error is none');
  a.udp.icmpError(icmpError(A, c.localPort, B, 9, { errno: EMSGSIZE, fatal: false, code: 4, mtu: 1300 }));
  t.equal(c.getsockopt(SOL_SOCKET, SO_ERROR), EMSGSIZE);
  c.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
  a.udp.icmpError(icmpError(A, c.localPort, B, 9, { errno: EMSGSIZE, fatal: false, code: 4, mtu: 1300 }));
  t.equal(c.getsockopt(SOL_SOCKET, SO_ERROR), 0);

  const six = socketOf(a, AF_INET6);
  t.equal(six.setsockopt(IPPROTO_IPV6, IPV6_RECVERR, 1), 0);
  six.sendTo(text('x'), 0, 1, B6, 9);
  t.equal(a.udp.icmpError(icmpError(A6, six.localPort, B6, 9, { type: 1, code: 4 })), true);
  t.equal(six.getsockopt(SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  t.equal(a.udp.counters.IcmpErrors, 7);
});

t.test('bound sockets keep the process alive, once each', async (t) => {
  let held = 0;
  const a = fakeHost([A], { liveness: { ref: () => held++, unref: () => held-- } });
  const s = socketOf(a);
  s.ref();
  t.equal(held, 0, 'not before it is bound');
  s.bind(A, 1);
  s.ref();
  t.equal(held, 1);
  s.unref();
  s.unref();
  t.equal(held, 0);
  s.ref();
  s.close();
  t.equal(held, 0);
  const early = socketOf(a);
  early.unref();
  early.bind(A, 2);
  t.equal(held, 0);
  const loose = socketOf(a);
  loose.connect(B, 1);
  t.equal(held, 1);
  loose.disconnect();
  t.equal(held, 0, 'its port was given back');
  t.equal(a.ip.depth, 0, 'every turn was ended');
});
