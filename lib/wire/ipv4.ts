/**
 * The IPv4 header (RFC 791 section 3.1; DSCP and ECN: RFC 2474, RFC 3168): fields over (view, offset),
 * where offset is that of the header's first byte. No meaning is checked here.
 *
 *     0                   1                   2                   3
 *     |Version|  IHL  |   DSCP    |ECN|          Total Length         |
 *     |         Identification        |0|DF|MF|     Fragment Offset    |
 *     |  Time to Live |    Protocol   |         Header Checksum       |
 *     |                         Source Address                        |
 *     |                      Destination Address                      |
 *     |                    Options, padded to words                   |
 */

import { sumBytes } from './checksum.ts';

export const IPV4_HEADER_LENGTH = 20;
export const IPV4_MAX_HEADER_LENGTH = 60;
/** Largest total length. */
export const IPV4_MAX_LENGTH = 65535;
/** Every IPv4 network carries packets of this size (RFC 791 section 3.2). */
export const IPV4_MIN_MTU = 68;

/** Bits of the 16-bit word at offset 6. */
export const IPV4_DF = 0x4000;
export const IPV4_MF = 0x2000;
export const IPV4_OFFSET_MASK = 0x1fff;

/** Offsets of fields, for parameter problems and for whoever writes one alone. */
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_ID = 4;
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SOURCE = 12;
export const IPV4_DESTINATION = 16;

/** Option types (RFC 791; RFC 7126 says what to do with each). The upper bit: copied into fragments. */
export const IPV4_OPT_END = 0;
export const IPV4_OPT_NOP = 1;
export const IPV4_OPT_LSRR = 131;
export const IPV4_OPT_SSRR = 137;

/** Version of the IP packet at `at`, 4 or 6 (or nonsense). */
export function ipVersion(view: DataView, at: number): number {
  return view.getUint8(at) >>> 4;
}

/** Bytes of the header, options included. */
export function ipv4HeaderLength(view: DataView, at: number): number {
  return (view.getUint8(at) & 15) << 2;
}

export function ipv4Tos(view: DataView, at: number): number {
  return view.getUint8(at + 1);
}

/** Bytes of the packet, header included. */
export function ipv4TotalLength(view: DataView, at: number): number {
  return view.getUint16(at + IPV4_TOTAL_LENGTH);
}

export function ipv4Id(view: DataView, at: number): number {
  return view.getUint16(at + IPV4_ID);
}

/** `IPV4_DF`, `IPV4_MF`. */
export function ipv4Flags(view: DataView, at: number): number {
  return view.getUint16(at + IPV4_FRAGMENT) & (IPV4_DF | IPV4_MF);
}

/** Where this fragment's payload belongs, in bytes. */
export function ipv4FragmentOffset(view: DataView, at: number): number {
  return (view.getUint16(at + IPV4_FRAGMENT) & IPV4_OFFSET_MASK) << 3;
}

export function ipv4Ttl(view: DataView, at: number): number {
  return view.getUint8(at + IPV4_TTL);
}

export function ipv4Protocol(view: DataView, at: number): number {
  return view.getUint8(at + IPV4_PROTOCOL);
}

export function ipv4Checksum(view: DataView, at: number): number {
  return view.getUint16(at + IPV4_CHECKSUM);
}

/** int32 */
export function ipv4Source(view: DataView, at: number): number {
  return view.getInt32(at + IPV4_SOURCE);
}

/** int32 */
export function ipv4Destination(view: DataView, at: number): number {
  return view.getInt32(at + IPV4_DESTINATION);
}

/**
 * Writes the first twenty bytes; the checksum is left 0.
 * @param fragment  DF, MF and the offset in units of eight bytes, as they stand in the header
 */
export function writeIpv4Header(
  view: DataView, at: number, headerLength: number, tos: number, totalLength: number, id: number, fragment: number,
  ttl: number, protocol: number, source: number, destination: number,
): void {
  view.setInt32(at, 0x40000000 | (headerLength << 22) | (tos << 16) | totalLength);
  view.setInt32(at + 4, (id << 16) | fragment);
  view.setInt32(at + 8, (ttl << 24) | (protocol << 16));
  view.setInt32(at + 12, source);
  view.setInt32(at + 16, destination);
}

/** Computes the header checksum and stores it. */
export function finishIpv4Checksum(view: DataView, at: number): void {
  view.setUint16(at + IPV4_CHECKSUM, 0);
  view.setUint16(at + IPV4_CHECKSUM, ~sumBytes(view, at, ipv4HeaderLength(view, at)) & 0xffff);
}

/** Whether the header's checksum is right. */
export function ipv4ChecksumOk(view: DataView, at: number): boolean {
  return sumBytes(view, at, ipv4HeaderLength(view, at)) === 0xffff;
}
