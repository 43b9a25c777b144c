/** Echo, errors sent and received, rate limit, path MTU. */
import t from 'tap';
import {
  OURS4, OURS6, PEER4, PEER6, World, concat, fragmentHeader, icmp, icmpv6, ipv4, ipv6, parse, pattern, u16, u32, udp, words,
} from './harness.ts';
import type { IpPacket } from '../../lib/ip/packet.ts';
import {
  EACCES, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP, EPROTO,
} from '../../lib/errno.ts';

t.test('echo, small and large, both versions', async (t) => {
  for (const size of [0, 1, 56, 72, 73, 1000, 1472]) {
    const w = new World();
    const data = pattern(size);
    const [reply, ...none] = w.receive(ipv4(icmp(8, 0, 0x12345678, data), { protocol: 1, tos: 0x2a }));
    t.equal(none.length, 0);
    const p = parse(reply!);
    t.match(p, { source: OURS4, destination: PEER4, protocol: 1, tos: 0x2a, ttl: 64 });
    t.same(p.payload, icmp(0, 0, 0x12345678, data), `IPv4, ${size} bytes`);
    const data6 = data.subarray(0, 1452);
    const [reply6] = w.receive(ipv6(icmpv6(128, 0, 0x12345678, data6), { nextHeader: 58, tos: 3 }));
    const p6 = parse(reply6!);
    t.match(p6, { source: OURS6, destination: PEER6, protocol: 58, tos: 3, ttl: 64 });
    t.same(p6.payload, icmpv6(129, 0, 0x12345678, data6, OURS6, PEER6), `IPv6, ${data6.length} bytes`);
    t.equal(w.blocksInUse, 0, 'all blocks are back');
    t.equal(w.ip.icmp4.OutEchoReps, 1);
    t.equal(w.ip.icmp6.OutEchoReps, 1);
  }
});

t.test('echo of 65507 bytes comes back in fragments', async (t) => {
  const w = new World();
  const data = pattern(65507);
  const fragments = w.receive(ipv4(icmp(8, 0, 1, data), { protocol: 1 }));
  t.equal(fragments.length, Math.ceil(65515 / 1480));
  t.ok(fragments.every((f) => f.length <= 1500));
  t.same(concat(...fragments.map((f) => parse(f).payload)), icmp(0, 0, 1, data));
  t.equal(w.blocksInUse, 0);
  const six = w.receive(ipv6(icmpv6(128, 0, 1, data), { nextHeader: 58 }));
  t.ok(six.length > 40 && six.every((f) => f.length <= 1500 && f[6] === 44));
  t.same(concat(...six.map((f) => f.subarray(48))), icmpv6(129, 0, 1, data, OURS6, PEER6));
});

t.test('no memory for a reply: counted, nothing sent, nothing lost', async (t) => {
  const w = new World({ memorySize: 1 << 20, headerSlots: 64 });
  const taken: number[] = [];
  while (w.memory.freeBlocks > 2) taken.push(w.memory.allocate());
  t.equal(w.receive(ipv4(icmp(8, 0, 1, pattern(30000)), { protocol: 1 })).length, 0);
  t.equal(w.ip.icmp4.OutErrors, 1);
  t.equal(w.memory.freeBlocks, 2);
});

t.test('echo with a wrong checksum, cut short, or to everybody', async (t) => {
  const w = new World();
  const bad = icmp(8, 0, 1, [1, 2, 3]);
  bad[9] = bad[9]! ^ 1;
  t.equal(w.receive(ipv4(bad, { protocol: 1 })).length, 0);
  t.equal(w.ip.icmp4.InCsumErrors, 1);
  const bad6 = icmpv6(128, 0, 1, [1, 2, 3]);
  bad6[9] = bad6[9]! ^ 1;
  t.equal(w.receive(ipv6(bad6, { nextHeader: 58 })).length, 0);
  t.equal(w.ip.icmp6.InCsumErrors, 1);
  for (let n = 0; n < 8; n++) {
    t.equal(w.receive(ipv4(icmp(8, 0, 1, []).subarray(0, n), { protocol: 1 })).length, 0);
    t.equal(w.receive(ipv6(icmpv6(128, 0, 1, []).subarray(0, n), { nextHeader: 58 })).length, 0);
  }
  t.equal(w.receive(ipv4(icmp(8, 0, 1, []), { protocol: 1, destination: '10.90.0.255' })).length, 0, 'not to broadcast');
  t.equal(w.receive(ipv4(icmp(8, 0, 1, []), { protocol: 1, destination: '224.0.0.1' })).length, 0, 'not to multicast');
  const [reply] = w.receive(ipv6(icmpv6(128, 0, 1, [], PEER6, 'ff02::1'), { nextHeader: 58, destination: 'ff02::1' }));
  t.equal(parse(reply!).source, OURS6, 'IPv6 answers a group from its own address');
});

t.test('replies and errors go to the listener', async (t) => {
  const w = new World();
  const got: string[] = [];
  w.ip.onEcho({
    echoReply: (packet: IpPacket, id, sequence) => {
      got.push(`${packet.version} ${id} ${sequence} ${packet.slab[packet.offset + 8]}`);
    },
    icmpError: (error) => {
      got.push(`error ${error.errno} ${error.slab[error.offset]}`);
      return true;
    },
  });
  w.receive(ipv4(icmp(0, 0, 0x00070009, [42]), { protocol: 1 }));
  w.receive(ipv6(icmpv6(129, 0, 0x00080001, [43]), { nextHeader: 58 }));
  w.receive(ipv4(icmp(3, 1, 0, ipv4(icmp(8, 0, 1, []), { protocol: 1, source: OURS4, destination: '1.2.3.4' })), { protocol: 1 }));
  t.same(got, ['4 7 9 42', '6 8 1 43', `error ${EHOSTUNREACH} 8`]);
});

t.test('what an end host ignores is counted', async (t) => {
  const w = new World();
  for (const type of [4, 9, 10, 13, 14, 15, 17, 99]) t.equal(w.receive(ipv4(icmp(type, 0, 0, []), { protocol: 1 })).length, 0);
  t.equal(w.ip.icmp4.InIgnored, 8);
  w.receive(ipv4(icmp(5, 0, 0, []), { protocol: 1 }));
  t.equal(w.ip.icmp4.InRedirects, 1);
  for (const type of [130, 131, 132, 133, 134, 135, 136, 143, 200]) {
    t.equal(w.receive(ipv6(icmpv6(type, 0, 0, []), { nextHeader: 58 })).length, 0);
  }
  t.equal(w.ip.icmp6.InIgnored, 9);
});

t.test('unknown protocol, unknown port', async (t) => {
  const w = new World();
  const packet = ipv4([1, 2, 3, 4, 5, 6, 7, 8], { protocol: 132, tos: 8 });
  const [unreachable] = w.receive(packet);
  const p = parse(unreachable!);
  t.match(p, { source: OURS4, destination: PEER4, protocol: 1, tos: 0xc0 });
  t.same(p.payload, icmp(3, 2, 0, packet));
  const packet6 = ipv6([1, 2, 3, 4, 5, 6, 7, 8], { nextHeader: 132 });
  const [problem] = w.receive(packet6);
  t.same(parse(problem!).payload, icmpv6(4, 1, 6, packet6, OURS6, PEER6));
  t.equal(w.ip.ip4.InUnknownProtos, 1);
  t.equal(w.ip.ip6.InUnknownProtos, 1);
  t.equal(w.ip.ip4.InDelivers, 0);

  w.udp.onPacket = (q) => w.ip.sendPortUnreachable(q);
  const long = ipv4(udp(pattern(1400)));
  t.same(parse(w.receive(long)[0]!).payload, icmp(3, 3, 0, long.subarray(0, 548)), 'as much as makes 576 bytes');
  const long6 = ipv6(udp(pattern(1400), PEER6, OURS6));
  t.same(parse(w.receive(long6)[0]!).payload, icmpv6(1, 4, 0, long6.subarray(0, 1232), OURS6, PEER6), '1280 bytes');
  t.equal(w.receive(ipv4(udp([1]), { destination: '10.90.0.255' })).length, 0, 'never about broadcast');
  t.equal(w.receive(ipv6(udp([1]), { destination: 'ff02::1' })).length, 0, 'never about multicast');
  t.equal(w.udp.packets.filter((q) => q.toMany).length, 2);
});

t.test('the rate of errors is limited', async (t) => {
  const w = new World();
  let sent = 0;
  for (let i = 0; i < 200; i++) sent += w.receive(ipv4([0, 0, 0, 0], { protocol: 132 })).length;
  t.equal(sent, 50, 'the burst');
  t.equal(w.ip.icmp4.OutRateLimited, 150);
  w.ip.nowUs = 10_000;
  sent = 0;
  for (let i = 0; i < 200; i++) sent += w.receive(ipv4([0, 0, 0, 0], { protocol: 132 })).length;
  t.equal(sent, 10, '1000 a second');
  t.equal(w.receive(ipv4(icmp(8, 0, 1, []), { protocol: 1 })).length, 1, 'echo is not limited');
});

/** An error about a UDP datagram of ours, and the datagram. */
function quoting4(type: number, code: number, rest = 0): Uint8Array {
  const quoted = ipv4(udp([1, 2, 3], OURS4, '192.0.2.9'), { source: OURS4, destination: '192.0.2.9' });
  return ipv4(icmp(type, code, rest, quoted), { protocol: 1, source: '203.0.113.1' });
}

function quoting6(type: number, code: number, rest = 0): Uint8Array {
  const quoted = ipv6(udp([1, 2, 3], OURS6, '2001:db8::9'), { source: OURS6, destination: '2001:db8::9' });
  return ipv6(icmpv6(type, code, rest, quoted, '2001:db8::1'), { nextHeader: 58, source: '2001:db8::1' });
}

t.test('errors reach the transport with the errno of Linux', async (t) => {
  const w = new World();
  const table: [number, number, number, boolean][] = [
    [3, 0, ENETUNREACH, false], [3, 1, EHOSTUNREACH, false], [3, 2, ENOPROTOOPT, true], [3, 3, ECONNREFUSED, true],
    [3, 4, EMSGSIZE, false], [3, 5, EOPNOTSUPP, false], [3, 6, ENETUNREACH, true], [3, 7, EHOSTDOWN, true], [3, 8, ENONET, true],
    [3, 9, ENETUNREACH, true], [3, 10, EHOSTUNREACH, true], [3, 11, ENETUNREACH, false], [3, 12, EHOSTUNREACH, false],
    [3, 13, EHOSTUNREACH, true], [11, 0, EHOSTUNREACH, false], [11, 1, EHOSTUNREACH, false], [12, 0, EPROTO, true],
  ];
  for (const [type, code, errno, fatal] of table) {
    t.equal(w.receive(quoting4(type, code)).length, 0, 'no error about an error');
    t.match(w.udp.errors.pop(), { version: 4, type, code, errno, fatal }, `ICMP ${type}/${code}`);
  }
  const table6: [number, number, number, boolean][] = [
    [1, 0, ENETUNREACH, false], [1, 1, EACCES, true], [1, 2, EHOSTUNREACH, false], [1, 3, EHOSTUNREACH, false],
    [1, 4, ECONNREFUSED, true], [1, 5, EACCES, true], [1, 6, EACCES, true], [3, 0, EHOSTUNREACH, false], [4, 1, EPROTO, true],
  ];
  for (const [type, code, errno, fatal] of table6) {
    t.equal(w.receive(quoting6(type, code)).length, 0);
    t.match(w.udp.errors.pop(), { version: 6, type, code, errno, fatal }, `ICMPv6 ${type}/${code}`);
  }
  w.receive(quoting4(3, 3));
  const error = w.udp.errors[0]!;
  t.same([error.src3, error.dst3, error.from3], [OURS4, '192.0.2.9', '203.0.113.1'].map((a) => words(a).w3));
  t.same(error.quoted, udp([1, 2, 3], OURS4, '192.0.2.9'));
  w.receive(quoting6(1, 4));
  const error6 = w.udp.errors[1]!;
  t.same([error6.src0, error6.dst0, error6.from3], [words(OURS6).w0, words('2001:db8::').w0, 1]);
  t.same(error6.quoted, udp([1, 2, 3], OURS6, '2001:db8::9'));
});

t.test('quoted packets are checked', async (t) => {
  const w = new World();
  const whole = quoting4(3, 3);
  for (let n = 0; n < 20 + 8 + 20 + 8; n++) {
    const cut = whole.subarray(28, Math.max(28, n));
    w.receive(ipv4(icmp(3, 3, 0, cut), { protocol: 1 }));
  }
  t.equal(w.udp.errors.length, 0, 'cut short');
  t.ok(w.ip.icmp4.InQuoteErrors > 50);
  const before = w.ip.icmp4.InQuoteErrors;
  const other = ipv4(udp([1]), { source: '10.90.0.77', destination: '192.0.2.9' });
  w.receive(ipv4(icmp(3, 3, 0, other), { protocol: 1 }));
  const later = ipv4(udp([1]), { source: OURS4, destination: '192.0.2.9', fragment: 5 });
  w.receive(ipv4(icmp(3, 3, 0, later), { protocol: 1 }));
  t.equal(w.ip.icmp4.InQuoteErrors, before + 2, 'not from here, not the first fragment');
  w.udp.knows = false;
  w.receive(quoting4(3, 3));
  t.equal(w.ip.icmp4.InQuoteUnknown, 1);

  const whole6 = quoting6(1, 4).subarray(48);
  for (let n = 0; n < 48; n++) {
    w.receive(ipv6(icmpv6(1, 4, 0, whole6.subarray(0, n)), { nextHeader: 58 }));
  }
  t.equal(w.udp.errors.length, 1, 'only the one that nobody knew');
  const inner = udp([1, 2, 3], OURS6, '2001:db8::9');
  const chain = concat([60, 0, 1, 4, 0, 0, 0, 0], [44, 0, 1, 4, 0, 0, 0, 0], fragmentHeader(17, 0, true, 9), inner);
  w.receive(ipv6(icmpv6(1, 4, 0, ipv6(chain, { nextHeader: 0, source: OURS6, destination: '2001:db8::9' })), { nextHeader: 58 }));
  t.same(w.udp.errors[1]!.quoted, inner, 'extension headers are walked over');
});

t.test('path MTU', async (t) => {
  const w = new World();
  const flow = w.flow('192.0.2.9');
  t.equal(w.ip.route(flow), 0);
  t.equal(flow.mtu, 1500);
  w.udp.knows = false;
  w.receive(quoting4(3, 4, 1400));
  t.equal(w.ip.nextDeadlineUs, Infinity, 'not from packets that nobody sent');
  w.udp.knows = true;
  w.receive(quoting4(3, 4, 1400));
  t.equal(w.udp.errors.at(-1)!.mtu, 1400);
  t.same(w.udp.changed, ['192.0.2.9']);
  t.same(w.tcp.changed, ['192.0.2.9'], 'every transport is told');
  w.ip.begin(flow, 8);
  t.equal(flow.mtu, 1400, 'begin() sees the new generation');
  w.receive(quoting4(3, 4, 1450));
  w.receive(quoting4(3, 4, 9000));
  t.equal(w.udp.changed.length, 1, 'never raised by ICMP');
  w.receive(quoting4(3, 4, 100));
  w.ip.begin(flow, 8);
  t.equal(flow.mtu, 552, 'not below 552');
  const bound = w.flow('192.0.2.9', 17, { l2: 0xffff, l3: words(OURS4).w3, version: 4, mtu: 0 });
  t.equal(w.send(bound, udp([]), pattern(600), 6), -EMSGSIZE, 'a sender that must not fragment is told');
  t.equal(w.ip.nextDeadlineUs, 600e6);
  w.ip.poll(599e6);
  t.equal(w.udp.changed.length, 2);
  w.ip.poll(600e6);
  t.equal(w.udp.changed.length, 3, 'forgotten after ten minutes');
  w.ip.begin(flow, 8);
  t.equal(flow.mtu, 1500);
  t.equal(w.ip.nextDeadlineUs, Infinity);

  const flow6 = w.flow('2001:db8::9');
  t.equal(w.ip.route(flow6), 0);
  w.receive(quoting6(2, 0, 1279));
  t.equal(w.ip.begin(flow6, 8) >= 0 && flow6.mtu, 1500, 'below 1280: ignored');
  w.receive(quoting6(2, 0, 1300));
  t.equal(w.ip.begin(flow6, 8) >= 0 && flow6.mtu, 1300);
  w.receive(quoting6(2, 0, 0xffffffff));
  t.equal(w.ip.begin(flow6, 8) >= 0 && flow6.mtu, 1300);
});

t.test('path MTU from routers that do not tell it', async (t) => {
  const w = new World({ mtu: 9000 });
  const big = concat(u16(0x4500), u16(8200), ipv4(udp([]), { source: OURS4, destination: '192.0.2.9' }).subarray(4));
  w.receive(ipv4(icmp(3, 4, 0, big), { protocol: 1 }));
  t.equal(w.udp.errors[0]!.mtu, 8166, 'the plateau below the packet');
});

t.test('the path MTU table is bounded', async (t) => {
  const w = new World();
  for (let i = 0; i < 5000; i++) {
    const destination = `192.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
    const quoted = ipv4(udp([1, 2, 3]), { source: OURS4, destination });
    w.receive(ipv4(icmp(3, 4, 1200, quoted), { protocol: 1 }));
  }
  t.ok(w.ip.pathMtu.size > 900 && w.ip.pathMtu.size <= 1024, `${w.ip.pathMtu.size} entries`);
  w.ip.poll(600e6);
  t.equal(w.ip.pathMtu.size, 0);
});

t.test('no errors about errors, fragments that are not first, or the nameless', async (t) => {
  const w = new World();
  t.equal(w.receive(ipv4(concat([3, 0], u32(0)), { protocol: 1, options: [7, 200, 0, 0] })).length, 0, 'ICMP error with bad options');
  t.equal(w.receive(ipv4(icmp(8, 0, 0, []), { protocol: 1, options: [7, 200, 0, 0] })).length, 1, 'a question with bad options');
  t.equal(w.receive(ipv6(concat([58, 0, 0x80, 0, 0, 0, 0, 0], icmpv6(1, 0, 0, [])), { nextHeader: 60 })).length, 0);
  t.equal(w.receive(ipv6(concat([58, 0, 0x80, 0, 0, 0, 0, 0], icmpv6(128, 0, 0, [])), { nextHeader: 60 })).length, 1);
});
