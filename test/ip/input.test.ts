/** What comes in: accepted, dropped with its reason, checksums as the link knows them. */
import t from 'tap';
import {
  OURS4, OURS6, PEER4, PEER6, World, addressBytes, concat, cidr, icmpv6, ipv4, ipv6, naiveChecksum, parse, pattern, pseudoHeader, u16, udp, words,
} from './harness.ts';
import type { V4, V6 } from './harness.ts';
import { transportChecksumOk } from '../../lib/ip/checksum.ts';
import type { IpCounters } from '../../lib/ip/counters.ts';
import { RX_CSUM_COMPLETE, RX_CSUM_PARTIAL, RX_CSUM_VALID } from '../../lib/link/link.ts';

/** Names of the counters that are not 0. */
function counted(counters: IpCounters): Record<string, number> {
  return Object.fromEntries(Object.entries(counters).filter(([, n]) => n !== 0));
}

t.test('a plain packet of each version', async (t) => {
  const w = new World();
  w.ip.nowUs = 5_000_000_000;
  const data = udp([1, 2, 3]);
  w.receive(ipv4(data, { tos: 0x2b, ttl: 1 }));
  t.match(w.udp.packets[0], {
    version: 4, source: PEER4, destination: OURS4, protocol: 17, tos: 0x2b, ttl: 1, toMany: false, checksumOk: false,
    transportSum: -1, gsoType: 0, timeUs: 5_000_000_000,
  });
  t.same(w.udp.packets[0]!.payload, data);
  const data6 = udp([1, 2, 3], PEER6, OURS6);
  w.receive(ipv6(data6, { tos: 0x2b, hopLimit: 1, label: 0xfffff }));
  t.match(w.udp.packets[1], { version: 6, source: PEER6, destination: OURS6, protocol: 17, tos: 0x2b, ttl: 1 });
  t.same(w.udp.packets[1]!.payload, data6);
  t.same(counted(w.ip.ip4), { InReceives: 1, InOctets: 31, InDelivers: 1, InCEPkts: 1 });
  t.same(counted(w.ip.ip6), { InReceives: 1, InOctets: 51, InDelivers: 1, InCEPkts: 1 });
});

t.test('padding is cut off, truncation dropped at every length', async (t) => {
  const w = new World();
  const four = ipv4(udp(pattern(30)), { options: [1, 1, 1, 0] });
  const six = ipv6(concat([60, 0, 1, 4, 0, 0, 0, 0], [17, 0, 1, 4, 0, 0, 0, 0], udp(pattern(30), PEER6, OURS6)), { nextHeader: 0 });
  w.receive(concat(four, [9, 9, 9]));
  w.receive(concat(six, [9, 9, 9]));
  t.same(w.udp.packets.map((p) => p.payload), [udp(pattern(30)), udp(pattern(30), PEER6, OURS6)]);
  for (let n = 0; n < four.length; n++) t.equal(w.receive(four.subarray(0, n)).length, 0);
  for (let n = 0; n < six.length; n++) t.equal(w.receive(six.subarray(0, n)).length, 0);
  t.equal(w.udp.packets.length, 2);
  t.equal(w.ip.ip4.InBadVersion, 2, 'nothing at all has no version');
  t.equal(w.ip.ip4.InTruncatedPkts, four.length - 1);
  t.equal(w.ip.ip6.InTruncatedPkts, six.length - 1);
});

t.test('IPv4 drops, each with its reason', async (t) => {
  const cases: [string, V4, string[]][] = [
    ['for somebody else', { destination: '10.90.0.3' }, ['InAddrErrors', 'InNotOurs']],
    ['another network', { destination: '8.8.8.8' }, ['InAddrErrors', 'InNotOurs']],
    ['0.0.0.0', { destination: '0.0.0.0' }, ['InAddrErrors', 'InNotOurs']],
    ['a group nobody joined', { destination: '224.0.0.251' }, ['InNotJoined']],
    ['to 127.0.0.1 over the link', { destination: '127.0.0.1' }, ['InAddrErrors', 'InMartians']],
    ['from 127.0.0.1 over the link', { source: '127.0.0.1' }, ['InAddrErrors', 'InMartians']],
    ['from ourselves', { source: OURS4 }, ['InAddrErrors', 'InOwnSource']],
    ['from 0.0.0.0', { source: '0.0.0.0' }, ['InAddrErrors', 'InBadSource']],
    ['from 0.1.2.3', { source: '0.1.2.3' }, ['InAddrErrors', 'InBadSource']],
    ['from multicast', { source: '224.0.0.1' }, ['InAddrErrors', 'InBadSource']],
    ['from class E', { source: '240.0.0.1' }, ['InAddrErrors', 'InBadSource']],
    ['from 255.255.255.255', { source: '255.255.255.255' }, ['InAddrErrors', 'InBadSource']],
    ['from the subnet broadcast', { source: '10.90.0.255' }, ['InAddrErrors', 'InBadSource']],
    ['loose source route', { options: [131, 7, 4, 10, 0, 0, 1, 0] }, ['InHdrErrors', 'InSourceRoutes']],
    ['strict source route', { options: [1, 137, 7, 4, 10, 0, 0, 1] }, ['InHdrErrors', 'InSourceRoutes']],
    ['option of length 0', { options: [7, 0, 0, 0] }, ['InHdrErrors', 'InBadOption']],
    ['option of length 1', { options: [7, 1, 0, 0] }, ['InHdrErrors', 'InBadOption']],
    ['option too long', { options: [7, 5, 0, 0] }, ['InHdrErrors', 'InBadOption']],
    ['option without length', { options: [1, 1, 1, 7] }, ['InHdrErrors', 'InBadOption']],
    ['total length below the header', { totalLength: 19 }, ['InHdrErrors', 'InBadHeaderLength']],
    ['total length beyond the packet', { totalLength: 100 }, ['InTruncatedPkts']],
  ];
  for (const [name, v, reasons] of cases) {
    const w = new World();
    const answer = w.receive(ipv4(udp([1]), v));
    t.equal(w.udp.packets.length, 0, name);
    const { InReceives, InOctets, ...rest } = counted(w.ip.ip4);
    t.same(Object.keys(rest).filter((k) => k.startsWith('In')).sort(), [...reasons].sort(), `${name}: counted`);
    t.equal(InReceives! > 0 && InOctets! > 0, true);
    t.equal(answer.length, reasons.includes('InBadOption') ? 1 : 0, `${name}: answered only where asked for`);
  }
});

t.test('header checksum and length', async (t) => {
  const w = new World();
  const packet = ipv4(udp([1]));
  for (let i = 0; i < 20; i++) {
    const bad = packet.slice();
    bad[i] = bad[i]! ^ 0x10;
    w.receive(bad);
  }
  t.equal(w.udp.packets.length, 0, 'any flipped bit is noticed');
  t.ok(w.ip.ip4.InBadChecksum >= 15);
  const short = packet.slice();
  short[0] = 0x44;
  w.receive(short);
  t.ok(w.ip.ip4.InBadHeaderLength >= 1);
  // A checksum field of 0xffff where 0 is right, or the other way round, is valid too: both are zero (RFC 1624).
  const id = naiveChecksum(ipv4(udp([1]), { id: 0 }).subarray(0, 20).map((b, i) => i === 10 || i === 11 ? 0 : b));
  const edge = ipv4(udp([1]), { id });
  t.same([...edge.subarray(10, 12)], [0, 0], 'the edge was hit');
  w.receive(edge);
  t.equal(w.udp.packets.length, 1);
});

t.test('options that are fine are ignored', async (t) => {
  const w = new World();
  for (const options of [[1, 1, 1, 1], [0, 255, 255, 255], [148, 4, 0, 0], [68, 8, 5, 0, 0, 0, 0, 0], [7, 7, 4, 0, 0, 0, 0, 0]]) {
    w.receive(ipv4(udp([1]), { options }));
  }
  t.equal(w.udp.packets.length, 5);
  t.same(w.udp.packets[4]!.payload, udp([1]));
});

t.test('IPv6 drops, each with its reason', async (t) => {
  const cases: [string, V6, string[]][] = [
    ['for somebody else', { destination: 'fd90::3' }, ['InAddrErrors', 'InNotOurs']],
    ['a group nobody joined', { destination: 'ff02::fb' }, ['InNotJoined']],
    ['to ::1', { destination: '::1' }, ['InAddrErrors', 'InMartians']],
    ['from ::1', { source: '::1' }, ['InAddrErrors', 'InMartians']],
    ['from ::', { source: '::' }, ['InAddrErrors', 'InBadSource']],
    ['from multicast', { source: 'ff02::1' }, ['InAddrErrors', 'InBadSource']],
    ['from ourselves', { source: OURS6 }, ['InAddrErrors', 'InOwnSource']],
    ['payload length beyond the packet', { payloadLength: 100 }, ['InTruncatedPkts']],
    ['nothing follows', { nextHeader: 59 }, ['InNoNextHeader']],
  ];
  for (const [name, v, reasons] of cases) {
    const w = new World();
    t.equal(w.receive(ipv6(udp([1], PEER6, OURS6), v)).length, 0, name);
    t.equal(w.udp.packets.length, 0, name);
    const { InReceives, InOctets, ...rest } = counted(w.ip.ip6);
    t.same(Object.keys(rest).sort(), [...reasons].sort(), `${name}: counted`);
    t.equal(InReceives! > 0 && InOctets! > 0, true);
  }
});

t.test('IPv4 cannot be smuggled in as mapped IPv6', async (t) => {
  const w = new World();
  const mapped = (ip: string): number[] => [...new Array<number>(10).fill(0), 0xff, 0xff, ...addressBytes(ip)];
  const packet = ipv6(udp([1], PEER6, OURS6));
  for (const [at, ip] of [[8, PEER4], [24, OURS4]] as const) {
    const bad = packet.slice();
    bad.set(mapped(ip), at);
    w.receive(bad);
  }
  t.equal(w.udp.packets.length, 0);
  t.equal(w.ip.ip6.InMartians, 2);
});

t.test('to many', async (t) => {
  const w = new World();
  for (const destination of ['255.255.255.255', '10.90.0.255', '224.0.0.1']) w.receive(ipv4(udp([1]), { destination }));
  for (const destination of ['ff02::1', 'ff01::1', 'ff02::1:ff00:2']) w.receive(ipv6(udp([1]), { destination }));
  t.equal(w.udp.packets.length, 6);
  t.ok(w.udp.packets.every((p) => p.toMany));
  w.ip.routes.joinGroup(words('239.1.2.3'));
  w.ip.routes.joinGroup(words('239.1.2.3'));
  w.ip.routes.joinGroup(words('ff05::77'));
  w.receive(ipv4(udp([1]), { destination: '239.1.2.3' }));
  w.receive(ipv6(udp([1]), { destination: 'ff05::77' }));
  t.equal(w.udp.packets.length, 8, 'joined');
  t.ok(w.ip.routes.leaveGroup(words('239.1.2.3')));
  w.receive(ipv4(udp([1]), { destination: '239.1.2.3' }));
  t.equal(w.udp.packets.length, 9, 'one member is left');
  t.ok(w.ip.routes.leaveGroup(words('239.1.2.3')));
  t.notOk(w.ip.routes.leaveGroup(words('239.1.2.3')));
  w.receive(ipv4(udp([1]), { destination: '239.1.2.3' }));
  t.equal(w.udp.packets.length, 9);
  const node = 'ff02::1:ff00:2';
  t.equal(w.receive(ipv6(icmpv6(128, 0, 1, [], PEER6, node), { nextHeader: 58, destination: node })).length, 1);
});

t.test('addresses come and go', async (t) => {
  const w = new World();
  const packet = ipv4(udp([1]), { destination: '192.0.2.1' });
  w.receive(ipv4(udp([1])));
  w.receive(packet);
  t.equal(w.udp.packets.length, 1);
  t.ok(w.ip.addAddress(cidr('192.0.2.1/31')));
  t.notOk(w.ip.addAddress(cidr('192.0.2.1/31')), 'once');
  w.receive(packet);
  t.equal(w.udp.packets.length, 2);
  t.ok(w.ip.removeAddress(words(OURS4)));
  t.notOk(w.ip.removeAddress(words(OURS4)));
  w.receive(ipv4(udp([1])));
  t.equal(w.udp.packets.length, 2, 'the pair that was admitted before is not any more');
});

t.test('extension headers', async (t) => {
  const w = new World();
  const data = udp([1, 2, 3], PEER6, OURS6);
  const pad = [1, 4, 0, 0, 0, 0];
  const send = (nextHeader: number, ...headers: number[][]): Uint8Array[] => w.receive(ipv6(concat(...headers, data), { nextHeader }));
  const problem = (answer: Uint8Array[]): number[] => {
    const p = parse(answer[0]!).payload;
    return [p[0]!, p[1]!, new DataView(p.buffer, p.byteOffset).getUint32(4)];
  };
  send(0, [60, 0, ...pad], [43, 0, ...pad], [60, 0, 4, 0, 0, 0, 0, 0], [17, 0, ...pad]);
  t.equal(w.udp.packets.length, 1, 'every kind in order');
  t.same(w.udp.packets[0]!.payload, data);
  send(60, [17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  t.equal(w.udp.packets.length, 2, 'Pad1 alone');
  send(0, [17, 0, 5, 2, 0, 0, 1, 0]);
  t.equal(w.udp.packets.length, 3, 'router alert');
  send(44, [17, 0, 0, 0, 1, 2, 3, 4]);
  t.equal(w.udp.packets.length, 4, 'atomic fragment (RFC 6946)');
  t.equal(w.ip.ip6.ReasmReqds, 0);

  t.same(problem(send(60, [0, 0, ...pad], [17, 0, ...pad])), [4, 1, 40], 'hop-by-hop not first');
  t.same(problem(send(43, [17, 0, 0, 1, 0, 0, 0, 0])), [4, 0, 42], 'routing type 0 with segments left (RFC 5095)');
  t.same(problem(send(43, [17, 0, 4, 2, 0, 0, 0, 0])), [4, 0, 42], 'unknown routing type');
  t.same(problem(send(51, [17, 0, ...pad])), [4, 1, 6], 'authentication header');
  t.same(problem(send(60, [99, 0, ...pad])), [4, 1, 40], 'unknown header after a known one');
  const option = (type: number): number[] => [17, 0, 1, 0, type, 0, 1, 0];
  t.equal(send(60, option(0x1e)).length, 0);
  t.equal(w.udp.packets.length, 5, 'unknown option, action 00: skipped');
  t.equal(send(60, option(0x5e)).length, 0, 'action 01: dropped');
  t.same(problem(send(60, option(0x9e))), [4, 2, 44], 'action 10: reported');
  t.same(problem(send(60, option(0xde))), [4, 2, 44], 'action 11: reported');
  t.same(problem(send(0, [17, 0, 0xc2, 4, 0, 1, 0, 0])), [4, 2, 42], 'jumbo payload is unknown here');
  t.same(problem(send(60, [17, 0, 1, 5, 0, 0, 0, 0])), [4, 0, 42], 'an option that runs out');
  t.equal(w.udp.packets.length, 5);
  const toMany = (type: number): number =>
    w.receive(ipv6(concat(option(type), data), { nextHeader: 60, destination: 'ff02::1' })).length;
  t.equal(toMany(0x9e), 1, 'action 10: even to many');
  t.equal(toMany(0xde), 0, 'action 11: not to many');
  send(60, ...Array.from({ length: 11 }, (_, i) => [i === 10 ? 17 : 60, 0, ...pad]));
  t.equal(w.ip.ip6.InLongChain, 1);
  t.equal(w.udp.packets.length, 5);
  t.equal(w.ip.ip6.InUnknownOption, 6);
  t.equal(w.ip.ip6.InSourceRoutes, 2);
});

t.test('what the link knows about checksums', async (t) => {
  for (const version of [4, 6]) {
    const w = new World();
    let ok = false;
    w.udp.onPacket = (p) => { ok = transportChecksumOk(p); };
    const wrap = (d: Uint8Array): Uint8Array => version === 4 ? ipv4(d, { options: [1, 1, 1, 1] })
      : ipv6(concat([17, 0, 1, 4, 1, 2, 3, 4], d), { nextHeader: 60 });
    const good = version === 4 ? udp(pattern(99)) : udp(pattern(99), PEER6, OURS6);
    const bad = good.slice();
    bad[20] = bad[20]! ^ 4;
    const sumOf = (p: Uint8Array): number => ~naiveChecksum(p) & 0xffff;
    for (const [data, right] of [[good, true], [bad, false]] as const) {
      const packet = wrap(data);
      w.receive(packet);
      t.equal(ok, right, `IPv${version}: computed`);
      w.receive(packet, { flags: RX_CSUM_COMPLETE, csum: sumOf(packet) });
      t.equal(ok, right, `IPv${version}: from the sum of the link`);
      const { transportSum } = w.udp.packets.at(-1)!;
      t.equal(transportSum % 0xffff, sumOf(data) % 0xffff, 'the sum is that of the transport');
      w.receive(concat(packet, [7, 7]), { flags: RX_CSUM_COMPLETE, csum: sumOf(concat(packet, [7, 7])) });
      t.equal(ok, right, `IPv${version}: not from the sum when there is padding`);
      t.equal(w.udp.packets.at(-1)!.transportSum, -1);
      for (const flags of [RX_CSUM_VALID, RX_CSUM_PARTIAL]) {
        w.receive(packet, { flags });
        t.ok(ok && w.udp.packets.at(-1)!.checksumOk, `IPv${version}: taken as right`);
      }
    }
    // Both edges: data that makes the checksum field 0xffff or 0x0000.
    const ends = version === 4 ? [PEER4, OURS4] as const : [PEER6, OURS6] as const;
    const base = concat(u16(1), u16(2), u16(10), [0, 0, 0, 0]);
    const rest = naiveChecksum(concat(pseudoHeader(ends[0], ends[1], 17, 10), base));
    for (const [field, word] of [[0xffff, rest], [0x0000, rest]] as const) {
      w.receive(wrap(concat(base.subarray(0, 6), u16(field), u16(word))));
      t.ok(ok, `IPv${version}: checksum field ${field.toString(16)}`);
    }
  }
});

t.test('merged packets keep their marks', async (t) => {
  const w = new World();
  w.receive(ipv4(pattern(5000), { protocol: 6 }), { gsoType: 1, gsoSize: 1460, flags: RX_CSUM_PARTIAL });
  t.match(w.tcp.packets[0], { gsoType: 1, gsoSize: 1460, checksumOk: true });
  w.receive(ipv4(pattern(50), { protocol: 6 }));
  t.match(w.tcp.packets[1], { gsoType: 0, gsoSize: 0, checksumOk: false });
});

t.test('the port table is asked before TCP', async (t) => {
  const w = new World();
  const taken: number[] = [];
  w.ip.ports = {
    deliver: (packet) => {
      taken.push(packet.version);
      return packet.slab[packet.offset] === 9;
    },
    icmpError: () => null,
    pathMtuChanged: () => undefined,
  };
  w.receive(ipv4(concat([9], pattern(19)), { protocol: 6 }));
  w.receive(ipv4(concat([8], pattern(19)), { protocol: 6 }));
  w.receive(ipv6(concat([9], pattern(19)), { nextHeader: 6 }));
  w.receive(ipv6(concat([8], pattern(19)), { nextHeader: 6 }));
  w.receive(ipv4(udp([1])));
  t.same(taken, [4, 4, 6, 6], 'every TCP segment, and nothing else');
  t.same(w.tcp.packets.map((p) => p.version), [4, 6]);
});
