/**
 * The IPv6 header and its extension headers (RFC 8200): fields over (view, offset). No meaning is
 * checked here.
 *
 *     0                   1                   2                   3
 *     |Version| Traffic Class |           Flow Label                  |
 *     |         Payload Length        |  Next Header  |   Hop Limit   |
 *     |                    Source Address (16 bytes)                  |
 *     |                 Destination Address (16 bytes)                |
 *
 *     extension header     |  Next Header  |  Hdr Ext Len  | data: 6 + 8 · Hdr Ext Len bytes
 *     fragment header      |  Next Header  |   Reserved    |   Offset (13 bits)  |Res|M|
 *                          |                     Identification                        |
 */

export const IPV6_HEADER_LENGTH = 40;
export const IPV6_FRAGMENT_HEADER_LENGTH = 8;
/** Largest payload length (jumbograms, RFC 2675, are left out). */
export const IPV6_MAX_PAYLOAD = 65535;
/** Every IPv6 link carries packets of this size (RFC 8200 section 5). */
export const IPV6_MIN_MTU = 1280;

export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;

/** Option types of hop-by-hop and destination options headers (RFC 8200 section 4.2; RFC 2711). */
export const IPV6_OPT_PAD1 = 0;
export const IPV6_OPT_PADN = 1;
export const IPV6_OPT_ROUTER_ALERT = 5;

/** What to do with an option that is not known: its two highest bits (RFC 8200 section 4.2). */
export const OPTION_SKIP = 0;
export const OPTION_DISCARD = 1;
export const OPTION_REPORT = 2;
/** Report unless the destination is multicast. */
export const OPTION_REPORT_UNICAST = 3;

export function ipv6TrafficClass(view: DataView, at: number): number {
  return (view.getUint16(at) >>> 4) & 0xff;
}

export function ipv6FlowLabel(view: DataView, at: number): number {
  return view.getInt32(at) & 0xfffff;
}

/** Bytes after the first forty. */
export function ipv6PayloadLength(view: DataView, at: number): number {
  return view.getUint16(at + IPV6_PAYLOAD_LENGTH);
}

export function ipv6NextHeader(view: DataView, at: number): number {
  return view.getUint8(at + IPV6_NEXT_HEADER);
}

export function ipv6HopLimit(view: DataView, at: number): number {
  return view.getUint8(at + IPV6_HOP_LIMIT);
}

/** Writes the whole header. */
export function writeIpv6Header(
  view: DataView, at: number, trafficClass: number, flowLabel: number, payloadLength: number, nextHeader: number,
  hopLimit: number, s0: number, s1: number, s2: number, s3: number, d0: number, d1: number, d2: number, d3: number,
): void {
  view.setInt32(at, 0x60000000 | (trafficClass << 20) | flowLabel);
  view.setInt32(at + 4, (payloadLength << 16) | (nextHeader << 8) | hopLimit);
  view.setInt32(at + 8, s0);
  view.setInt32(at + 12, s1);
  view.setInt32(at + 16, s2);
  view.setInt32(at + 20, s3);
  view.setInt32(at + 24, d0);
  view.setInt32(at + 28, d1);
  view.setInt32(at + 32, d2);
  view.setInt32(at + 36, d3);
}

/** Next header of the extension header at `at` (any kind, the fragment header too). */
export function extNextHeader(view: DataView, at: number): number {
  return view.getUint8(at);
}

/** Bytes of the extension header at `at`; not for the fragment header, whose second byte is reserved. */
export function extLength(view: DataView, at: number): number {
  return (view.getUint8(at + 1) + 1) << 3;
}

/** Routing header (RFC 8200 section 4.4). */
export function routingType(view: DataView, at: number): number {
  return view.getUint8(at + 2);
}

export function routingSegmentsLeft(view: DataView, at: number): number {
  return view.getUint8(at + 3);
}

/** Where this fragment's payload belongs in the fragmentable part, in bytes. */
export function fragmentOffset(view: DataView, at: number): number {
  return view.getUint16(at + 2) & 0xfff8;
}

export function fragmentMore(view: DataView, at: number): boolean {
  return (view.getUint8(at + 3) & 1) !== 0;
}

/** int32 */
export function fragmentId(view: DataView, at: number): number {
  return view.getInt32(at + 4);
}

/** Writes a fragment header; `offset` in bytes, a multiple of eight. */
export function writeFragmentHeader(
  view: DataView, at: number, nextHeader: number, offset: number, more: boolean, id: number,
): void {
  view.setInt32(at, (nextHeader << 24) | offset | (more ? 1 : 0));
  view.setInt32(at + 4, id);
}
