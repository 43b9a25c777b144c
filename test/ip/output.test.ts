/** What goes out: headers, checksums with and without offload, routes, sources, fragments, loopback. */
import t from 'tap';
import fc from 'fast-check';
import {
  OURS4, OURS6, PEER4, PEER6, World, cidr, concat, ipv4, ipv6, parse, pattern, transportOk, u16, udp, words,
} from './harness.ts';
import { EADDRNOTAVAIL, EINVAL, EMSGSIZE, ENETUNREACH, ENOBUFS } from '../../lib/errno.ts';
import { TX_CSUM, TX_FLAGS, TX_GSO_SIZE, TX_GSO_TYPE, TX_HEADER_LENGTH } from '../../lib/buffer/transmit-queue.ts';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { formatAddress } from '../../lib/wire/address.ts';
import { transportChecksumOk } from '../../lib/ip/checksum.ts';
import type { IpFlow } from '../../lib/ip/flow.ts';

const source = (f: IpFlow): string => formatAddress(f.l0, f.l1, f.l2, f.l3);

/** A UDP header whose checksum is nonsense, to be filled in. */
function header(length: number): Uint8Array {
  return concat(u16(1000), u16(2000), u16(8 + length), [0xde, 0xad]);
}

t.test('headers', async (t) => {
  const w = new World();
  const flow = w.flow('192.0.2.9', 17, { tos: 0xb9, ttl: 7 });
  t.equal(w.ip.route(flow), 0);
  t.match(flow, { version: 4, headerLength: 20, mtu: 1500, loopback: false });
  t.equal(w.send(flow, header(3), pattern(3), 6), 0);
  const [packet] = w.sent();
  t.match(parse(packet!), {
    version: 4, source: OURS4, destination: '192.0.2.9', protocol: 17, tos: 0xb9, ttl: 7, id: 0, fragment: 0x4000,
  });
  t.ok(transportOk(packet!));
  const flow6 = w.flow('2001:db8::9', 17, { tos: 0xb9, ttl: 7, flowLabel: 0x54321 });
  t.equal(w.ip.route(flow6), 0);
  t.match(flow6, { version: 6, headerLength: 40, mtu: 1500 });
  t.equal(w.send(flow6, header(3), pattern(3), 6), 0);
  const [packet6] = w.sent();
  t.match(parse(packet6!), { version: 6, source: OURS6, destination: '2001:db8::9', protocol: 17, tos: 0xb9, ttl: 7 });
  t.same([...packet6!.subarray(0, 4)], [0x6b, 0x95, 0x43, 0x21]);
  t.ok(transportOk(packet6!));
  t.equal(w.ip.ip4.OutRequests, 1);
  t.equal(w.ip.ip6.OutOctets, 51);
});

t.test('checksums by us and by the link are the same', async () => {
  const worlds = [new World(), new World({ features: LINK_CSUM })];
  fc.assert(fc.property(fc.uint8Array({ maxLength: 900 }), fc.integer({ min: 1, max: 300 }), fc.boolean(), (data, pieceSize, six) => {
    const [soft, hard] = worlds.map((w) => {
      const flow = w.flow(six ? PEER6 : PEER4, 17);
      if (w.ip.route(flow) !== 0 || w.send(flow, header(data.length), data, 6, pieceSize) !== 0) throw new Error('not sent');
      return w.sent()[0]!;
    });
    return transportOk(soft!) && Buffer.compare(soft!, hard!) === 0;
  }), { numRuns: 500 });
});

t.test('a UDP checksum that comes out as zero is sent as 0xffff', async (t) => {
  const w = new World();
  const flow = w.flow(PEER4);
  w.ip.route(flow);
  const probe = udp([0, 0], OURS4, PEER4);
  const data = probe.subarray(6, 8);
  w.send(flow, header(2), data, 6);
  const { payload } = parse(w.sent()[0]!);
  t.same([...payload.subarray(6, 8)], [0xff, 0xff]);
});

t.test('what the link is to do is in the descriptor', async (t) => {
  const w = new World({ features: LINK_CSUM | LINK_TSO4 });
  const flow = w.flow(PEER4, 6);
  w.ip.route(flow);
  const at = w.ip.begin(flow, 32);
  t.equal((at - 20) % 128, w.memory.headerBase % 128);
  for (let i = 0; i < 7; i++) w.tx.piece(w.memory.blockBase, 8192);
  t.equal(w.ip.end(flow, 16, 1, 1448), 0);
  const d = w.tx.packets;
  t.same([d[TX_FLAGS], d[TX_CSUM], d[TX_GSO_TYPE], d[TX_GSO_SIZE], d[TX_HEADER_LENGTH]], [1, 20 | (16 << 16), 1, 1448, 52]);
  const [packet] = w.sent();
  t.equal(packet!.length, 52 + 7 * 8192);
  t.ok(transportOk(packet!));
  parse(packet!);
  const icmp = w.flow(PEER4, 1);
  w.ip.route(icmp);
  w.send(icmp, concat([8, 0, 0, 0, 0, 1, 0, 1]), pattern(10), 2);
  t.equal(w.tx.packets[TX_FLAGS], 0, 'ICMP is finished here');
  t.ok(transportOk(w.sent()[0]!));
});

t.test('too large', async (t) => {
  const w = new World();
  const flow = w.flow(PEER4);
  w.ip.route(flow);
  t.equal(w.send(flow, header(1473), pattern(1473), 6), -EMSGSIZE);
  t.equal(w.send(flow, header(1472), pattern(1472), 6), 0);
  flow.dontFragment = false;
  t.equal(w.send(flow, header(0), pattern(65508), 6), -EMSGSIZE);
  t.equal(w.sent().length, 1);
  w.ip.setMtu(576);
  t.equal(w.send(w.flow(PEER4, 17, { ...flow, dontFragment: true }), header(600), pattern(600), 6), -EMSGSIZE, 'the new MTU holds');
});

t.test('fragments carry every byte, whatever the pieces', async () => {
  const w = new World({ headerSlots: 1024 });
  const sizes = [fc.integer({ min: 0, max: 20000 }), fc.integer({ min: 60, max: 5000 }), fc.integer({ min: 1280, max: 2000 })] as const;
  fc.assert(fc.property(fc.boolean(), ...sizes,
    (six, size, pieceSize, mtu) => {
      w.ip.setMtu(mtu);
      const flow = w.flow(six ? PEER6 : PEER4, 17, { dontFragment: false });
      const data = pattern(size);
      if (w.ip.route(flow) !== 0) return false;
      const result = w.send(flow, header(size), data, 6, pieceSize);
      const fragments = w.sent();
      if (result !== 0) return false;
      if (fragments.length === 1) return transportOk(fragments[0]!) && fragments[0]!.length <= mtu;
      let expected = 0;
      const parts = fragments.map((f, i) => {
        const p = parse(f);
        const last = i === fragments.length - 1;
        const view = new DataView(f.buffer, f.byteOffset);
        const word = six ? view.getUint16(42) : p.fragment;
        const offset = six ? word & 0xfff8 : (word & 0x1fff) * 8;
        const more = six ? (word & 1) !== 0 : (word & 0x2000) !== 0;
        if (f.length > mtu || offset !== expected || more === last || (six && p.protocol !== 44)) throw new Error('bad fragment');
        const part = six ? p.payload.subarray(8) : p.payload;
        expected += part.length;
        return part;
      });
      const ids = new Set(fragments.map((f) => six ? new DataView(f.buffer).getInt32(44) : parse(f).id));
      const whole = concat(...parts);
      const packet = six ? ipv6(whole, { source: OURS6, destination: PEER6 }) : ipv4(whole, { source: OURS4, destination: PEER4 });
      return ids.size === 1 && transportOk(packet) && Buffer.compare(whole.subarray(8), data) === 0;
    }), { numRuns: 300 });
});

t.test('identifications differ from datagram to datagram', async (t) => {
  const w = new World();
  const flow = w.flow(PEER4, 17, { dontFragment: false });
  w.ip.route(flow);
  const ids = new Set<number>();
  for (let i = 0; i < 200; i++) {
    w.send(flow, header(1), pattern(1), 6);
    const p = parse(w.sent()[0]!);
    t.equal(p.fragment, 0, 'DF is clear');
    ids.add(p.id);
  }
  t.equal(ids.size, 200);
});

t.test('no room', async (t) => {
  const w = new World({ headerSlots: 8 });
  const flow = w.flow(PEER4, 17, { dontFragment: false });
  w.ip.route(flow);
  t.equal(w.send(flow, header(0), pattern(20000), 6), -ENOBUFS, 'all fragments or none');
  t.equal(w.sent().length, 0);
  for (let i = 0; i < 8; i++) t.equal(w.send(flow, header(1), pattern(1), 6), 0);
  t.equal(w.ip.begin(flow, 8), -1);
  t.equal(w.ip.ip4.OutQueueFull, 1);
  t.equal(w.sent().length, 8);
});

t.test('routes and sources', async (t) => {
  const w = new World({
    addresses: ['10.1.0.5/16', '10.1.2.5/24', '192.168.7.1/24', 'fd00:1::5/64', 'fe80::5/64', 'fd00:2::5/64'],
    routes: [{ to: cidr('172.16.0.0/12') }, { to: cidr('172.20.0.0/16'), source: words('192.168.7.1') }, { to: cidr('2001:db8::/32') }],
  });
  const route = (remote: string, choices: Partial<IpFlow> = {}): string | number => {
    const flow = w.flow(remote, 6, choices);
    const result = w.ip.route(flow);
    return result === 0 ? source(flow) : result;
  };
  t.equal(route('10.1.2.77'), '10.1.2.5', 'longest prefix');
  t.equal(route('10.1.3.77'), '10.1.0.5');
  t.equal(route('172.16.1.1'), '10.1.0.5', 'no better: the first');
  t.equal(route('172.20.1.1'), '192.168.7.1', 'the route names it');
  t.equal(route('8.8.8.8'), -ENETUNREACH);
  t.equal(route('2001:db8::1'), 'fd00:1::5');
  t.equal(route('fd00:2::9'), 'fd00:2::5');
  t.equal(route('fe80::9'), 'fe80::5', 'scope');
  t.equal(route('ff02::1'), 'fe80::5');
  t.equal(route('2002::1'), -ENETUNREACH);
  t.equal(route('0.0.0.0'), -EINVAL);
  t.equal(route('::'), -EINVAL);
  const bound = (text: string): Partial<IpFlow> => {
    const a = words(text);
    return { l0: a.w0, l1: a.w1, l2: a.w2, l3: a.w3 };
  };
  t.equal(route('10.1.2.77', bound('192.168.7.1')), '192.168.7.1', 'a source that was chosen stays');
  t.equal(route('10.1.2.77', bound('192.168.7.2')), -EADDRNOTAVAIL);
  t.equal(route('10.1.2.77', bound('127.0.0.1')), -EADDRNOTAVAIL);
  t.equal(route('10.1.2.77', bound('fd00:1::5')), -EINVAL, 'versions are not mixed');
  t.equal(route('10.1.2.77', bound('0.0.0.0')), '10.1.2.5');
  t.equal(w.ip.isLocal(0, 0, 0xffff, words('10.1.2.5').w3), true);
  t.equal(w.ip.isToMany(0, 0, 0xffff, words('10.1.255.255').w3), true);
  t.equal(w.ip.isToMany(0, 0, 0xffff, words('10.1.2.5').w3), false);
  const only4 = new World({ addresses: ['10.1.0.5/16'] });
  t.equal(only4.ip.route(only4.flow('2001:db8::1')), -ENETUNREACH, 'no address of that version');
  t.throws(() => new World({ addresses: ['10.1.0.5/16'], routes: [{ to: { words: words('10.0.0.0'), prefix: 33 } }] }), RangeError);
});

t.test('loopback', async (t) => {
  const w = new World({ limits: { loopbackBytes: 1 << 20 } });
  const sums: boolean[] = [];
  w.udp.onPacket = (p) => { sums.push(transportChecksumOk(p)); };
  for (const remote of ['127.0.0.1', '127.9.9.9', OURS4, '::1', OURS6]) {
    const flow = w.flow(remote);
    t.equal(w.ip.route(flow), 0);
    t.equal(source(flow), remote);
    t.ok(flow.loopback && flow.mtu === 65535);
    t.equal(w.send(flow, header(60000), pattern(60000), 6), 0);
    t.equal(w.sent().length, 0, 'nothing for the link');
    t.ok(w.ip.loopbackPending);
    t.equal(w.udp.packets.length, 0, 'not before it is taken');
    t.equal(w.loop(), 1);
    const p = w.udp.packets.pop()!;
    t.match(p, { source: remote, destination: remote, checksumOk: true });
    t.same(p.payload.subarray(8), pattern(60000));
  }
  t.ok(sums.every((ok) => ok));
  const echo = w.flow('127.0.0.1', 1);
  w.ip.route(echo);
  const replies: number[] = [];
  w.ip.onEcho({ echoReply: (p, id, sequence) => { replies.push(id, sequence, p.length); } });
  w.send(echo, concat([8, 0, 0, 0, 0, 1, 0, 2]), pattern(9000), 2);
  t.equal(w.loop(), 2, 'request and reply');
  t.same(replies, [1, 2, 9008]);
  t.equal(w.sent().length, 0);
  t.equal(w.blocksInUse, 0);

  const flow = w.flow('127.0.0.1');
  w.ip.route(flow);
  for (let i = 0; i < 40; i++) w.send(flow, header(60000), pattern(60000), 6);
  t.ok(w.ip.ip4.OutDiscards > 20 && w.ip.ip4.OutDiscards < 40, 'bounded');
  t.equal(w.loop() + w.ip.ip4.OutDiscards, 40);
  w.sent();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 1000; i++) {
      t.equal(w.send(flow, header(1), pattern(1), 6), 0);
    }
    w.sent();
    t.equal(w.loop(), 1000, 'many small ones');
  }
});

t.test('what a stack cuts, another puts together', async (t) => {
  const a = new World();
  const b = new World({ addresses: [`${PEER4}/24`, `${PEER6}/64`] });
  for (const remote of [PEER4, PEER6]) {
    const flow = a.flow(remote, 17, { dontFragment: false });
    a.ip.route(flow);
    a.send(flow, header(60000), pattern(60000), 6);
    for (const f of a.sent()) b.receive(f);
    t.same(b.udp.packets.pop()!.payload.subarray(8), pattern(60000));
  }
  t.equal(b.blocksInUse, 0);
});
