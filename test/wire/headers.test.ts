/** Header accessors: what is written is what is read, and what hand-made bytes say. */
import t from 'tap';
import fc from 'fast-check';
import * as ipv4 from '../../lib/wire/ipv4.ts';
import * as ipv6 from '../../lib/wire/ipv6.ts';
import * as icmp from '../../lib/wire/icmp.ts';
import * as udp from '../../lib/wire/udp.ts';

function bytes(hex: string): DataView {
  const list = hex.replace(/\s/g, '').match(/../g)!.map((b) => parseInt(b, 16));
  return new DataView(Uint8Array.from([0xff, ...list]).buffer);
}

t.test('an IPv4 header', async (t) => {
  // A UDP packet from 192.168.0.1 to 192.168.0.199, as many texts on the header checksum use it.
  const view = bytes('4500 0073 0000 4000 4011 b861 c0a8 0001 c0a8 00c7');
  t.equal(ipv4.ipVersion(view, 1), 4);
  t.equal(ipv4.ipv4HeaderLength(view, 1), 20);
  t.equal(ipv4.ipv4TotalLength(view, 1), 0x73);
  t.equal(ipv4.ipv4Flags(view, 1), ipv4.IPV4_DF);
  t.equal(ipv4.ipv4FragmentOffset(view, 1), 0);
  t.equal(ipv4.ipv4Ttl(view, 1), 64);
  t.equal(ipv4.ipv4Protocol(view, 1), 17);
  t.equal(ipv4.ipv4Checksum(view, 1), 0xb861);
  t.equal(ipv4.ipv4Source(view, 1), 0xc0a80001 | 0);
  t.ok(ipv4.ipv4ChecksumOk(view, 1));
  view.setUint8(9, 63);
  t.notOk(ipv4.ipv4ChecksumOk(view, 1));
  ipv4.finishIpv4Checksum(view, 1);
  t.ok(ipv4.ipv4ChecksumOk(view, 1));
  t.equal(ipv4.ipv4Checksum(view, 1), 0xb961);
});

t.test('IPv4 round trip', async () => {
  const octet = fc.nat(255);
  const word = fc.nat(0xffff);
  fc.assert(fc.property(fc.integer({ min: 5, max: 15 }), octet, word, word, word, octet, octet, fc.integer(), fc.integer(), fc.nat(9),
    (ihl, tos, length, id, fragment, ttl, protocol, source, destination, at) => {
      const view = new DataView(new ArrayBuffer(80));
      ipv4.writeIpv4Header(view, at, ihl * 4, tos, length, id, fragment, ttl, protocol, source, destination);
      ipv4.finishIpv4Checksum(view, at);
      return ipv4.ipVersion(view, at) === 4 && ipv4.ipv4HeaderLength(view, at) === ihl * 4 && ipv4.ipv4Tos(view, at) === tos
        && ipv4.ipv4TotalLength(view, at) === length && ipv4.ipv4Id(view, at) === id
        && ipv4.ipv4Flags(view, at) === (fragment & 0x6000) && ipv4.ipv4FragmentOffset(view, at) === (fragment & 0x1fff) * 8
        && ipv4.ipv4Ttl(view, at) === ttl && ipv4.ipv4Protocol(view, at) === protocol && ipv4.ipv4Source(view, at) === source
        && ipv4.ipv4Destination(view, at) === destination && ipv4.ipv4ChecksumOk(view, at);
    }), { numRuns: 2000 });
});

t.test('IPv6 round trip', async () => {
  const octet = fc.nat(255);
  const addresses = fc.array(fc.integer(), { minLength: 8, maxLength: 8 });
  fc.assert(fc.property(octet, fc.nat(0xfffff), fc.nat(0xffff), octet, octet, addresses, fc.nat(9),
    (tos, label, length, next, hops, a, at) => {
      const view = new DataView(new ArrayBuffer(80));
      ipv6.writeIpv6Header(view, at, tos, label, length, next, hops, a[0]!, a[1]!, a[2]!, a[3]!, a[4]!, a[5]!, a[6]!, a[7]!);
      return ipv4.ipVersion(view, at) === 6 && ipv6.ipv6TrafficClass(view, at) === tos && ipv6.ipv6FlowLabel(view, at) === label
        && ipv6.ipv6PayloadLength(view, at) === length && ipv6.ipv6NextHeader(view, at) === next && ipv6.ipv6HopLimit(view, at) === hops
        && a.every((w, i) => view.getInt32(at + 8 + i * 4) === w);
    }), { numRuns: 2000 });
});

t.test('fragment header and other extension headers', async (t) => {
  fc.assert(fc.property(fc.nat(255), fc.nat(8191), fc.boolean(), fc.integer(), (next, offset, more, id) => {
    const view = new DataView(new ArrayBuffer(8));
    ipv6.writeFragmentHeader(view, 0, next, offset * 8, more, id);
    return ipv6.extNextHeader(view, 0) === next && ipv6.fragmentOffset(view, 0) === offset * 8 && ipv6.fragmentMore(view, 0) === more
      && ipv6.fragmentId(view, 0) === id;
  }));
  const routing = bytes('3a 02 00 01 00000000 00000000 00000000');
  t.equal(ipv6.extNextHeader(routing, 1), 58);
  t.equal(ipv6.extLength(routing, 1), 24);
  t.equal(ipv6.routingType(routing, 1), 0);
  t.equal(ipv6.routingSegmentsLeft(routing, 1), 1);
});

t.test('UDP and ICMP', async (t) => {
  const view = new DataView(new ArrayBuffer(16));
  udp.writeUdpHeader(view, 3, 53, 65535, 40000);
  t.same([udp.udpSourcePort(view, 3), udp.udpDestinationPort(view, 3), udp.udpLength(view, 3), udp.udpChecksum(view, 3)],
    [53, 65535, 40000, 0]);
  icmp.writeIcmpHeader(view, 2, 128, 3, icmp.echoWord(0xfedc, 0xba98));
  t.same([icmp.icmpType(view, 2), icmp.icmpCode(view, 2), icmp.icmpChecksum(view, 2), icmp.icmpId(view, 2), icmp.icmpSequence(view, 2)],
    [128, 3, 0, 0xfedc, 0xba98]);
  t.same([icmp.icmpMtu(view, 2), icmp.icmpv6Mtu(view, 2), icmp.icmpPointer(view, 2), icmp.icmpv6Pointer(view, 2)],
    [0xba98, 0xfedcba98, 0xfe, 0xfedcba98]);
});
