/** Checksums of transports over IP: the pseudo-header (RFC 9293 3.1, RFC 768, RFC 8200 8.1) and what it covers. */

import { fold, sumAddress, sumBytes } from '../wire/checksum.ts';
import type { IpPacket } from './packet.ts';

/**
 * Sum of the pseudo-header: both addresses, protocol, and transport length. One formula serves both
 * versions, because an IPv4 address in mapped form adds only 0xffff, which is zero.
 */
export function pseudoHeaderSum(packet: IpPacket): number {
  return sumAddress(packet.src0, packet.src1, packet.src2, packet.src3)
    + sumAddress(packet.dst0, packet.dst1, packet.dst2, packet.dst3)
    + packet.protocol + packet.length;
}

/** Sum of the transport's bytes, from the link when it gave it. */
export function payloadSum(packet: IpPacket): number {
  return packet.transportSum >= 0 ? packet.transportSum : sumBytes(packet.view, packet.offset, packet.length);
}

/**
 * Whether the transport checksum (TCP, UDP, ICMPv6: with pseudo-header) is right, as far as it is not
 * known already. UDP asks only when its checksum field is not 0.
 */
export function transportChecksumOk(packet: IpPacket): boolean {
  return packet.checksumOk || fold(pseudoHeaderSum(packet) + payloadSum(packet)) === 0xffff;
}

/** The same for ICMP of IPv4, which has no pseudo-header (RFC 792). */
export function icmpChecksumOk(packet: IpPacket): boolean {
  if (packet.checksumOk) return true;
  const sum = fold(payloadSum(packet));
  // A sum that the link derived may be either zero.
  return sum === 0xffff || (sum === 0 && packet.transportSum >= 0);
}
