/** Nonsense and nearly right packets: nothing throws, nothing stays, nothing is answered without limit. */
import t from 'tap';
import { PEER6, OURS6, OURS4, World, concat, fragmentHeader, icmp, icmpv6, ipv4, ipv6, pattern, udp } from './harness.ts';
import { SeededRandom } from '../../lib/random.ts';
import { transportChecksumOk } from '../../lib/ip/checksum.ts';
import type { IpPacket } from '../../lib/ip/packet.ts';
import { RX_CSUM_COMPLETE } from '../../lib/link/link.ts';

const PAD = [1, 4, 0, 0, 0, 0];

const seeds: Uint8Array[] = [
  ipv4(udp(pattern(64))),
  ipv4(pattern(40), { protocol: 6 }),
  ipv4(udp(pattern(20)), { options: [68, 8, 5, 0, 0, 0, 0, 0] }),
  ipv4(icmp(8, 0, 1, pattern(100)), { protocol: 1 }),
  ipv4(icmp(3, 4, 1400, ipv4(udp(pattern(20)), { source: OURS4, destination: '192.0.2.1' })), { protocol: 1 }),
  ipv4(pattern(64), { fragment: 0x2000 }),
  ipv4(pattern(64), { fragment: 8 }),
  ipv6(udp(pattern(64), PEER6, OURS6)),
  ipv6(pattern(40), { nextHeader: 6 }),
  ipv6(icmpv6(128, 0, 1, pattern(100)), { nextHeader: 58 }),
  ipv6(icmpv6(2, 0, 1400, ipv6(udp(pattern(20)), { source: OURS6, destination: '2001:db8::1' })), { nextHeader: 58 }),
  ipv6(concat([60, 0, ...PAD], [43, 0, ...PAD], [44, 0, 0, 0, 0, 0, 0, 0], fragmentHeader(60, 0, false, 1), [17, 0, ...PAD], udp([1])),
    { nextHeader: 0 }),
  ipv6(concat(fragmentHeader(17, 0, true, 5), pattern(64)), { nextHeader: 44 }),
  ipv6(concat(fragmentHeader(17, 64, false, 5), pattern(60)), { nextHeader: 44 }),
];

/** Puts the IPv4 header checksum right, so that mutations get behind it. */
function mend(packet: Uint8Array): void {
  const length = (packet[0]! & 15) * 4;
  if (packet[0]! >> 4 !== 4 || length < 20 || length > packet.length) return;
  packet[10] = 0;
  packet[11] = 0;
  let sum = 0;
  for (let i = 0; i < length; i += 2) sum += packet[i]! * 256 + packet[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  packet[10] = (~sum >>> 8) & 0xff;
  packet[11] = ~sum & 0xff;
}

t.test('mutated packets', { timeout: 60_000 }, async (t) => {
  const random = new SeededRandom(4711);
  const below = (n: number): number => (random.int32() >>> 0) % n;
  const w = new World();
  let delivered = 0;
  let outside = 0;
  const look = (p: IpPacket): void => {
    delivered++;
    if (p.offset < p.ipOffset || p.length < 0 || p.offset + p.length > p.slab.length
      || p.offset + p.length !== p.ipOffset + p.ipLength) outside++;
    transportChecksumOk(p);
  };
  w.udp.onPacket = (p) => {
    look(p);
    w.ip.sendPortUnreachable(p);
  };
  w.tcp.onPacket = look;
  let answers = 0;
  let answerBytes = 0;
  let receivedBytes = 0;
  const runs = 60_000;
  const startMs = performance.now();
  for (let i = 0; i < runs; i++) {
    let packet: Uint8Array = seeds[below(seeds.length)]!.slice();
    for (let k = below(4); k >= 0; k--) {
      switch (below(5)) {
        case 0: packet[below(packet.length)] = below(256); break;
        case 1: packet[below(Math.min(packet.length, 60))] = below(256); break;
        case 2: packet[below(packet.length)]! ^= 1 << below(8); break;
        case 3: packet = packet.slice(0, 1 + below(packet.length)); break;
        default: packet = concat(packet, pattern(below(30), i));
      }
    }
    if (below(4) > 0) mend(packet);
    receivedBytes += packet.length;
    const flags = below(8) === 0 ? RX_CSUM_COMPLETE : 0;
    for (const answer of w.receive(packet, { flags, csum: below(65536) })) {
      answers++;
      answerBytes += answer.length;
    }
    w.udp.packets.length = 0;
    w.tcp.packets.length = 0;
    w.udp.errors.length = 0;
    w.ip.nowUs += 100;
  }
  const tookMs = performance.now() - startMs;
  t.comment(`${runs} packets in ${tookMs.toFixed(0)} ms, ${delivered} delivered, ${answers} answers`);
  t.equal(outside, 0, 'what is delivered lies inside the packet');
  t.ok(delivered > runs / 10, 'many got through');
  t.ok(answers > 100 && answerBytes < 2 * receivedBytes, 'answers do not amplify');
  t.ok(w.blocksInUse <= 512);
  w.ip.poll(w.ip.nowUs + 61e6);
  w.sent();
  t.equal(w.blocksInUse, 0, 'nothing stays');
  t.equal(w.ip.reassemblyUse.datagrams, 0);
  const total = w.ip.ip4.InReceives + w.ip.ip6.InReceives;
  t.equal(total, runs, 'every packet was counted');
  t.ok(tookMs < 15_000);
});

t.test('pure noise', async (t) => {
  const random = new SeededRandom(1);
  const w = new World();
  const packet = new Uint8Array(120);
  for (let i = 0; i < 20_000; i++) {
    for (let k = 0; k < packet.length; k++) packet[k] = random.int32();
    packet[0] = (packet[0]! & 1) !== 0 ? 0x45 : 0x60;
    w.receive(packet.subarray(0, (random.int32() >>> 0) % 121));
  }
  t.equal(w.udp.packets.length + w.tcp.packets.length, 0);
  t.equal(w.blocksInUse, 0);
});
