/**
 * What a router answers to a packet that it cannot pass on: ICMP and ICMPv6 errors (RFC 792, RFC 1191, RFC 1812 4.3;
 * RFC 4443). Never about an error, a fragment but the first, or a packet to many (RFC 1122 3.2.2, RFC 4443 2.4 e).
 */

import { checksum, fold, sumBytes } from '../wire/checksum.ts';
import {
  ICMPV6_PACKET_TOO_BIG, ICMPV6_TIME_EXCEEDED, ICMPV6_UNREACHABLE, ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER_LENGTH, ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE, UNREACH6_NO_ROUTE, UNREACH_NEEDFRAG, UNREACH_NET,
} from '../wire/icmp.ts';
import {
  IPV4_HEADER_LENGTH, finishIpv4Checksum, ipv4Destination, ipv4FragmentOffset, ipv4HeaderLength, ipv4Protocol, ipv4Source, writeIpv4Header,
} from '../wire/ipv4.ts';
import { ipv6NextHeader, writeIpv6Header } from '../wire/ipv6.ts';

const ICMP = 1;
const ICMPV6 = 58;
const IPV6_HEADER = 40;
const TTL = 64;
/** Longest error (RFC 1812 4.3.2.3; RFC 4443 2.4 c). */
const MAX_ERROR4 = 576;
const MAX_ERROR6 = 1280;

export type RouterError = 'too big' | 'time exceeded' | 'no route';

/**
 * The error about `packet`, or null when none may be sent.
 * @param from4  the router's address, int32; `from6` the low two words of its IPv6 address behind 2001:2::
 * @param mtu    for 'too big': that of the next link
 */
export function routerError(packet: Uint8Array, error: RouterError, from4: number, from6: number, mtu: number): Uint8Array | null {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  return packet[0]! >> 4 === 4 ? error4(packet, view, error, from4, mtu) : error6(packet, view, error, from6, mtu);
}

function error4(packet: Uint8Array, view: DataView, error: RouterError, from: number, mtu: number): Uint8Array | null {
  const headerLength = ipv4HeaderLength(view, 0);
  if (ipv4FragmentOffset(view, 0) !== 0 || ipv4Destination(view, 0) >>> 28 >= 14) return null;
  if (ipv4Protocol(view, 0) === ICMP) {
    const type = packet[headerLength]!;
    if (type !== ICMP_ECHO && type !== ICMP_ECHO_REPLY) return null;
  }
  const quoted = Math.min(packet.length, MAX_ERROR4 - IPV4_HEADER_LENGTH - ICMP_HEADER_LENGTH);
  const out = new Uint8Array(IPV4_HEADER_LENGTH + ICMP_HEADER_LENGTH + quoted);
  const to = new DataView(out.buffer);
  writeIpv4Header(to, 0, IPV4_HEADER_LENGTH, 0, out.length, 0, 0, TTL, ICMP, from, ipv4Source(view, 0));
  finishIpv4Checksum(to, 0);
  const at = IPV4_HEADER_LENGTH;
  to.setUint8(at, error === 'time exceeded' ? ICMP_TIME_EXCEEDED : ICMP_UNREACHABLE);
  to.setUint8(at + 1, error === 'too big' ? UNREACH_NEEDFRAG : UNREACH_NET);
  to.setUint16(at + 6, error === 'too big' ? mtu : 0);
  out.set(packet.subarray(0, quoted), at + ICMP_HEADER_LENGTH);
  to.setUint16(at + 2, checksum(to, at, ICMP_HEADER_LENGTH + quoted));
  return out;
}

function error6(packet: Uint8Array, view: DataView, error: RouterError, from: number, mtu: number): Uint8Array | null {
  if (packet[24] === 0xff) return null;
  if (ipv6NextHeader(view, 0) === ICMPV6 && packet[IPV6_HEADER]! < 128) return null;
  const quoted = Math.min(packet.length, MAX_ERROR6 - IPV6_HEADER - ICMP_HEADER_LENGTH);
  const length = ICMP_HEADER_LENGTH + quoted;
  const out = new Uint8Array(IPV6_HEADER + length);
  const to = new DataView(out.buffer);
  writeIpv6Header(
    to, 0, 0, 0, length, ICMPV6, TTL, 0x20010002, 0, 0, from, view.getInt32(8), view.getInt32(12), view.getInt32(16), view.getInt32(20),
  );
  const type = error === 'too big' ? ICMPV6_PACKET_TOO_BIG : error === 'time exceeded' ? ICMPV6_TIME_EXCEEDED : ICMPV6_UNREACHABLE;
  to.setUint8(IPV6_HEADER, type);
  to.setUint8(IPV6_HEADER + 1, error === 'no route' ? UNREACH6_NO_ROUTE : 0);
  to.setUint32(IPV6_HEADER + 4, error === 'too big' ? mtu : 0);
  out.set(packet.subarray(0, quoted), IPV6_HEADER + ICMP_HEADER_LENGTH);
  // Addresses, length and protocol are the pseudo-header (RFC 8200 8.1).
  to.setUint16(IPV6_HEADER + 2, ~fold(sumBytes(to, 8, IPV6_HEADER - 8 + length) + ICMPV6 + length) & 0xffff);
  return out;
}
