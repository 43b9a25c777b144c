/**
 * ICMP (RFC 792, 1191, 1812) and ICMPv6 (RFC 4443): types, codes, and fields over (view, offset).
 *
 *     |     Type      |     Code      |           Checksum            |
 *     |   identifier and sequence number, pointer, or next-hop MTU    |
 *     |   echo data, or the packet that the error is about ...        |
 *
 * The ICMPv6 checksum includes the pseudo-header, the ICMP checksum does not.
 */

/** Bytes before echo data or the quoted packet. */
export const ICMP_HEADER_LENGTH = 8;
export const ICMP_CHECKSUM = 2;

// ICMP for IPv4.
export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_SOURCE_QUENCH = 4;
export const ICMP_REDIRECT = 5;
export const ICMP_ECHO = 8;
export const ICMP_ROUTER_ADVERTISEMENT = 9;
export const ICMP_ROUTER_SOLICITATION = 10;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETER_PROBLEM = 12;
export const ICMP_TIMESTAMP = 13;
export const ICMP_TIMESTAMP_REPLY = 14;
/** The last of the questions and answers (RFC 950): 13 to 18 are timestamp, information, address mask. */
export const ICMP_MASK_REPLY = 18;

/** Codes of `ICMP_UNREACHABLE`. */
export const UNREACH_NET = 0;
export const UNREACH_HOST = 1;
export const UNREACH_PROTOCOL = 2;
export const UNREACH_PORT = 3;
export const UNREACH_NEEDFRAG = 4;
export const UNREACH_SOURCE_ROUTE = 5;
export const UNREACH_NET_UNKNOWN = 6;
export const UNREACH_HOST_UNKNOWN = 7;
export const UNREACH_ISOLATED = 8;
export const UNREACH_NET_PROHIBITED = 9;
export const UNREACH_HOST_PROHIBITED = 10;
export const UNREACH_NET_TOS = 11;
export const UNREACH_HOST_TOS = 12;
export const UNREACH_FILTERED = 13;
export const UNREACH_PRECEDENCE_VIOLATION = 14;
export const UNREACH_PRECEDENCE_CUTOFF = 15;

/** Code of time exceeded, in both versions: fragments did not all come in time. */
export const TIME_EXCEEDED_REASSEMBLY = 1;

// ICMPv6. Errors have types below 128.
export const ICMPV6_UNREACHABLE = 1;
export const ICMPV6_PACKET_TOO_BIG = 2;
export const ICMPV6_TIME_EXCEEDED = 3;
export const ICMPV6_PARAMETER_PROBLEM = 4;
export const ICMPV6_ECHO = 128;
export const ICMPV6_ECHO_REPLY = 129;
/** Multicast listener discovery (RFC 2710): query 130, report 131, done 132; version 2 report 143 (RFC 3810). */
export const ICMPV6_MLD_QUERY = 130;
export const ICMPV6_MLD_DONE = 132;
export const ICMPV6_MLD2_REPORT = 143;
/** Neighbour discovery (RFC 4861): router solicitation 133 … redirect 137. */
export const ICMPV6_ROUTER_SOLICITATION = 133;
export const ICMPV6_ND_REDIRECT = 137;

/** Codes of `ICMPV6_UNREACHABLE`. */
export const UNREACH6_NO_ROUTE = 0;
export const UNREACH6_PROHIBITED = 1;
export const UNREACH6_BEYOND_SCOPE = 2;
export const UNREACH6_ADDRESS = 3;
export const UNREACH6_PORT = 4;
export const UNREACH6_POLICY = 5;
export const UNREACH6_REJECT_ROUTE = 6;

/** Codes of `ICMPV6_PARAMETER_PROBLEM` (RFC 4443 section 3.4, RFC 7112 section 4). */
export const PARAM6_HEADER_FIELD = 0;
export const PARAM6_NEXT_HEADER = 1;
export const PARAM6_OPTION = 2;
export const PARAM6_HEADER_CHAIN = 3;

export function icmpType(view: DataView, at: number): number {
  return view.getUint8(at);
}

export function icmpCode(view: DataView, at: number): number {
  return view.getUint8(at + 1);
}

export function icmpChecksum(view: DataView, at: number): number {
  return view.getUint16(at + ICMP_CHECKSUM);
}

/** Identifier of echo messages. */
export function icmpId(view: DataView, at: number): number {
  return view.getUint16(at + 4);
}

/** Sequence number of echo messages. */
export function icmpSequence(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** Next-hop MTU of IPv4's 'fragmentation needed' (RFC 1191 section 4); 0 from old routers. */
export function icmpMtu(view: DataView, at: number): number {
  return view.getUint16(at + 6);
}

/** MTU of ICMPv6's 'packet too big'. */
export function icmpv6Mtu(view: DataView, at: number): number {
  return view.getUint32(at + 4);
}

/** Pointer of a parameter problem: one byte in ICMP, four in ICMPv6. */
export function icmpPointer(view: DataView, at: number): number {
  return view.getUint8(at + 4);
}

export function icmpv6Pointer(view: DataView, at: number): number {
  return view.getUint32(at + 4);
}

/** Writes type, code and the second word as an int32; the checksum is left 0. */
export function writeIcmpHeader(view: DataView, at: number, type: number, code: number, rest: number): void {
  view.setInt32(at, (type << 24) | (code << 16));
  view.setInt32(at + 4, rest);
}

/** The second word of an echo message. */
export function echoWord(id: number, sequence: number): number {
  return (id << 16) | sequence;
}
