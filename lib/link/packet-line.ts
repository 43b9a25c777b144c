/**
 * One readable line for an IP packet, in the manner of tcpdump:
 *
 *     10.90.0.2.80 > 10.90.0.1.40001: Flags [S.], seq 1, ack 2, win 65535, options [mss 1460], length 0
 *     10.90.0.1 > 10.90.0.2: ICMP echo request, id 7, seq 1, length 64
 *     10.90.0.1 > 10.90.0.2: UDP, frag (id 258: 1480@2960, more)
 *
 * IPv4 and IPv6 with extension headers, TCP, UDP, ICMP, ICMPv6, fragments. It reads any bytes: what is
 * cut short or impossible is said in the line. Sequence numbers are absolute. Left out: payloads,
 * checksum verification (tshark does that), relative numbers.
 */

import { formatAddress, formatIpv4 } from '../wire/address.ts';
import {
  ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER_LENGTH, ICMP_PARAMETER_PROBLEM, ICMP_REDIRECT, ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE,
  ICMPV6_ECHO, ICMPV6_ECHO_REPLY, ICMPV6_PACKET_TOO_BIG, ICMPV6_PARAMETER_PROBLEM, ICMPV6_TIME_EXCEEDED, ICMPV6_UNREACHABLE,
  icmpCode, icmpId, icmpMtu, icmpPointer, icmpSequence, icmpType, icmpv6Mtu, icmpv6Pointer, TIME_EXCEEDED_REASSEMBLY,
  UNREACH_NEEDFRAG,
} from '../wire/icmp.ts';
import {
  IPV4_HEADER_LENGTH, IPV4_MF, ipv4Destination, ipv4Flags, ipv4FragmentOffset, ipv4HeaderLength, ipv4Id, ipv4Protocol, ipv4Source,
  ipv4TotalLength, ipVersion,
} from '../wire/ipv4.ts';
import {
  extLength, extNextHeader, fragmentId, fragmentMore, fragmentOffset, IPV6_DESTINATION, IPV6_HEADER_LENGTH, IPV6_SOURCE,
  ipv6NextHeader, ipv6PayloadLength,
} from '../wire/ipv6.ts';
import {
  EXT_AUTHENTICATION, EXT_DESTINATION, EXT_FRAGMENT, EXT_HOP_BY_HOP, EXT_NONE, EXT_ROUTING, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP,
  PROTO_UDP,
} from '../wire/protocol.ts';
import {
  ACK, CWR, ECE, FIN, OPT_EOL, OPT_MSS, OPT_NOP, OPT_SACK, OPT_SACK_PERMITTED, OPT_TIMESTAMPS, OPT_WINDOW_SCALE, PSH, RST, SYN,
  TCP_ACK, TCP_DATA_OFFSET, TCP_DST_PORT, TCP_FLAGS, TCP_HEADER, TCP_SEQ, TCP_SRC_PORT, TCP_URGENT, TCP_WINDOW, URG,
} from '../wire/tcp.ts';
import { UDP_HEADER_LENGTH, udpLength } from '../wire/udp.ts';

/** What the IP headers say. `length` is what lies at `offset`, at most what the headers promise. */
interface IpFields {
  source: string;
  destination: string;
  protocol: number;
  offset: number;
  length: number;
  /** Text about the fragment, or ''. */
  fragment: string;
  /** Not the first fragment: no transport header. */
  later: boolean;
}

/**
 * Describes the IP packet in `bytes[offset … offset + length)`.
 * @returns one line, without a line end
 */
export function packetLine(bytes: Uint8Array, offset = 0, length = bytes.length - offset): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return line(view, offset, length, false);
}

/** @param quoted the packet lies in an ICMP error: it may be cut anywhere, and only its ends matter */
function line(view: DataView, at: number, length: number, quoted: boolean): string {
  if (length < 1) return 'empty packet';
  const version = ipVersion(view, at);
  const ip = version === 4 ? readIpv4(view, at, length) : version === 6 ? readIpv6(view, at, length) : null;
  if (ip === null) return `malformed packet, version ${version}, length ${length}`;
  if (ip.later) return `${ip.source} > ${ip.destination}: ${protocolName(ip.protocol)}, ${ip.fragment}`;
  const text = transport(view, ip, quoted);
  return ip.fragment === '' ? text : `${text}, ${ip.fragment}`;
}

function readIpv4(view: DataView, at: number, length: number): IpFields | null {
  if (length < IPV4_HEADER_LENGTH) return null;
  const headerLength = ipv4HeaderLength(view, at);
  const total = ipv4TotalLength(view, at);
  if (headerLength < IPV4_HEADER_LENGTH || headerLength > length || total < headerLength) return null;
  const payload = total - headerLength;
  const more = (ipv4Flags(view, at) & IPV4_MF) !== 0;
  const fragmentAt = ipv4FragmentOffset(view, at);
  return {
    source: formatIpv4(ipv4Source(view, at)),
    destination: formatIpv4(ipv4Destination(view, at)),
    protocol: ipv4Protocol(view, at),
    offset: at + headerLength,
    length: Math.min(payload, length - headerLength),
    fragment: more || fragmentAt > 0 ? fragmentText(ipv4Id(view, at), payload, fragmentAt, more) : '',
    later: fragmentAt > 0,
  };
}

function readIpv6(view: DataView, at: number, length: number): IpFields | null {
  if (length < IPV6_HEADER_LENGTH) return null;
  const promised = IPV6_HEADER_LENGTH + ipv6PayloadLength(view, at);
  const end = at + Math.min(promised, length);
  const ip: IpFields = {
    source: ipv6Text(view, at + IPV6_SOURCE),
    destination: ipv6Text(view, at + IPV6_DESTINATION),
    protocol: ipv6NextHeader(view, at),
    offset: at + IPV6_HEADER_LENGTH,
    length: 0,
    fragment: '',
    later: false,
  };
  while (isExtension(ip.protocol) && !ip.later && ip.offset + 8 <= end) {
    const here = ip.offset;
    if (ip.protocol === EXT_FRAGMENT) {
      const more = fragmentMore(view, here);
      const fragmentAt = fragmentOffset(view, here);
      ip.fragment = fragmentText(fragmentId(view, here), at + promised - here - 8, fragmentAt, more);
      ip.later = fragmentAt > 0;
      ip.offset += 8;
    } else {
      // The authentication header counts in four bytes, less two (RFC 4302 section 2.2).
      ip.offset += ip.protocol === EXT_AUTHENTICATION ? (view.getUint8(here + 1) + 2) * 4 : extLength(view, here);
    }
    ip.protocol = extNextHeader(view, here);
  }
  ip.length = Math.max(end - ip.offset, 0);
  return ip;
}

function isExtension(protocol: number): boolean {
  return protocol === EXT_HOP_BY_HOP || protocol === EXT_ROUTING || protocol === EXT_FRAGMENT || protocol === EXT_DESTINATION
    || protocol === EXT_AUTHENTICATION;
}

function ipv6Text(view: DataView, at: number): string {
  return formatAddress(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12));
}

function fragmentText(id: number, length: number, at: number, more: boolean): string {
  return `frag (id ${id >>> 0}: ${length}@${at}${more ? ', more' : ''})`;
}

function protocolName(protocol: number): string {
  switch (protocol) {
    case PROTO_ICMP: return 'ICMP';
    case PROTO_TCP: return 'TCP';
    case PROTO_UDP: return 'UDP';
    case PROTO_ICMPV6: return 'ICMP6';
    case EXT_NONE: return 'no next header';
    default: return `protocol ${protocol}`;
  }
}

function transport(view: DataView, ip: IpFields, quoted: boolean): string {
  const { offset, length, protocol } = ip;
  if (protocol === PROTO_TCP || protocol === PROTO_UDP) {
    const name = protocolName(protocol);
    if (length < 4) return `${ip.source} > ${ip.destination}: ${name} cut short, length ${length}`;
    // The ports lie in the same place in both headers.
    const from = `${ip.source}.${view.getUint16(offset + TCP_SRC_PORT)}`;
    const ends = `${from} > ${ip.destination}.${view.getUint16(offset + TCP_DST_PORT)}`;
    if (quoted) return `${name} ${ends}`;
    return `${ends}: ${protocol === PROTO_TCP ? tcp(view, offset, length) : udp(view, offset, length)}`;
  }
  const ends = `${ip.source} > ${ip.destination}`;
  if (quoted) return `${protocolName(protocol)} ${ends}`;
  if (protocol === PROTO_ICMP) return `${ends}: ICMP ${icmp(view, offset, length)}`;
  if (protocol === PROTO_ICMPV6) return `${ends}: ICMP6 ${icmp6(view, offset, length)}`;
  return `${ends}: ${protocolName(protocol)}, length ${length}`;
}

function udp(view: DataView, at: number, length: number): string {
  if (length < UDP_HEADER_LENGTH) return `UDP cut short, length ${length}`;
  const promised = udpLength(view, at);
  return `UDP, length ${promised - UDP_HEADER_LENGTH}${promised < UDP_HEADER_LENGTH ? ' (bad)' : ''}`;
}

function tcp(view: DataView, at: number, length: number): string {
  if (length < TCP_HEADER) return `TCP cut short, length ${length}`;
  const headerLength = (view.getUint8(at + TCP_DATA_OFFSET) >> 4) * 4;
  if (headerLength < TCP_HEADER || headerLength > length) return `TCP, bad header length ${headerLength}, length ${length}`;
  const flags = view.getUint8(at + TCP_FLAGS);
  const seq = view.getUint32(at + TCP_SEQ);
  const payload = length - headerLength;
  let text = `Flags [${flagsText(flags)}]`;
  if (payload > 0) text += `, seq ${seq}:${(seq + payload) >>> 0}`;
  else if ((flags & (SYN | FIN | RST)) !== 0) text += `, seq ${seq}`;
  if ((flags & ACK) !== 0) text += `, ack ${view.getUint32(at + TCP_ACK)}`;
  text += `, win ${view.getUint16(at + TCP_WINDOW)}`;
  if ((flags & URG) !== 0) text += `, urg ${view.getUint16(at + TCP_URGENT)}`;
  if (headerLength > TCP_HEADER) text += `, options [${optionsText(view, at + TCP_HEADER, at + headerLength)}]`;
  return `${text}, length ${payload}`;
}

/** tcpdump's letters: a dot is ACK, E is ECE, W is CWR. */
function flagsText(flags: number): string {
  const text = ((flags & FIN) !== 0 ? 'F' : '') + ((flags & SYN) !== 0 ? 'S' : '') + ((flags & RST) !== 0 ? 'R' : '')
    + ((flags & PSH) !== 0 ? 'P' : '') + ((flags & ACK) !== 0 ? '.' : '') + ((flags & URG) !== 0 ? 'U' : '')
    + ((flags & ECE) !== 0 ? 'E' : '') + ((flags & CWR) !== 0 ? 'W' : '');
  return text === '' ? 'none' : text;
}

function optionsText(view: DataView, at: number, end: number): string {
  const words: string[] = [];
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPT_EOL) {
      words.push('eol');
      break;
    }
    if (kind === OPT_NOP) {
      words.push('nop');
      at++;
      continue;
    }
    const length = at + 1 < end ? view.getUint8(at + 1) : 0;
    if (length < 2 || at + length > end) {
      words.push(`bad option ${kind}`);
      break;
    }
    words.push(optionText(view, at, kind, length));
    at += length;
  }
  return words.join(',');
}

function optionText(view: DataView, at: number, kind: number, length: number): string {
  if (kind === OPT_MSS && length === 4) return `mss ${view.getUint16(at + 2)}`;
  if (kind === OPT_WINDOW_SCALE && length === 3) return `wscale ${view.getUint8(at + 2)}`;
  if (kind === OPT_SACK_PERMITTED && length === 2) return 'sackOK';
  if (kind === OPT_TIMESTAMPS && length === 10) return `TS val ${view.getUint32(at + 2)} ecr ${view.getUint32(at + 6)}`;
  if (kind === OPT_SACK && length >= 10 && (length & 7) === 2) {
    let text = `sack ${(length - 2) >> 3} `;
    for (let i = at + 2; i < at + length; i += 8) text += `{${view.getUint32(i)}:${view.getUint32(i + 4)}}`;
    return text;
  }
  return `option ${kind} length ${length}`;
}

/** By code: net, host, protocol, port. */
const UNREACH4 = ['net', 'host', 'protocol', 'port'];

function icmp(view: DataView, at: number, length: number): string {
  if (length < ICMP_HEADER_LENGTH) return `cut short, length ${length}`;
  const type = icmpType(view, at);
  const code = icmpCode(view, at);
  const about = (): string => ` (${line(view, at + ICMP_HEADER_LENGTH, length - ICMP_HEADER_LENGTH, true)})`;
  const end = `, length ${length}`;
  switch (type) {
    case ICMP_ECHO:
    case ICMP_ECHO_REPLY:
      return `echo ${type === ICMP_ECHO ? 'request' : 'reply'}, id ${icmpId(view, at)}, seq ${icmpSequence(view, at)}${end}`;
    case ICMP_UNREACHABLE: {
      if (code === UNREACH_NEEDFRAG) return `need to frag, mtu ${icmpMtu(view, at)}${about()}${end}`;
      const what = UNREACH4[code];
      return `${what === undefined ? `unreachable, code ${code}` : `${what} unreachable`}${about()}${end}`;
    }
    case ICMP_TIME_EXCEEDED:
      return `time exceeded ${code === TIME_EXCEEDED_REASSEMBLY ? 'in reassembly' : 'in transit'}${about()}${end}`;
    case ICMP_PARAMETER_PROBLEM:
      return `parameter problem at ${icmpPointer(view, at)}${about()}${end}`;
    case ICMP_REDIRECT:
      return `redirect to ${formatIpv4(view.getInt32(at + 4))}${about()}${end}`;
    default:
      return `type ${type}, code ${code}${end}`;
  }
}

/** By code (RFC 4443 section 3.1). */
const UNREACH6 = ['no route', 'prohibited', 'beyond scope', 'address', 'port', 'policy', 'reject route'];
/** RFC 2710, 4861 and 3810: types 130 to 137, and 143. */
const ICMPV6_NAMES = new Map<number, string>([
  [130, 'multicast listener query'], [131, 'multicast listener report'], [132, 'multicast listener done'],
  [133, 'router solicitation'], [134, 'router advertisement'], [135, 'neighbor solicitation'], [136, 'neighbor advertisement'],
  [137, 'redirect'], [143, 'multicast listener report v2'],
]);

function icmp6(view: DataView, at: number, length: number): string {
  if (length < ICMP_HEADER_LENGTH) return `cut short, length ${length}`;
  const type = icmpType(view, at);
  const code = icmpCode(view, at);
  const about = (): string => ` (${line(view, at + ICMP_HEADER_LENGTH, length - ICMP_HEADER_LENGTH, true)})`;
  const end = `, length ${length}`;
  switch (type) {
    case ICMPV6_ECHO:
    case ICMPV6_ECHO_REPLY:
      return `echo ${type === ICMPV6_ECHO ? 'request' : 'reply'}, id ${icmpId(view, at)}, seq ${icmpSequence(view, at)}${end}`;
    case ICMPV6_UNREACHABLE:
      return `${UNREACH6[code] ?? `code ${code}`} unreachable${about()}${end}`;
    case ICMPV6_PACKET_TOO_BIG:
      return `packet too big, mtu ${icmpv6Mtu(view, at)}${about()}${end}`;
    case ICMPV6_TIME_EXCEEDED:
      return `time exceeded ${code === TIME_EXCEEDED_REASSEMBLY ? 'in reassembly' : 'in transit'}${about()}${end}`;
    case ICMPV6_PARAMETER_PROBLEM:
      return `parameter problem, code ${code}, at ${icmpv6Pointer(view, at)}${about()}${end}`;
    default: {
      const name = ICMPV6_NAMES.get(type) ?? `type ${type}, code ${code}`;
      // Neighbour solicitation and advertisement name a target (RFC 4861 sections 4.3, 4.4).
      const target = (type === 135 || type === 136) && length >= 24 ? ` ${ipv6Text(view, at + 8)}` : '';
      return `${name}${target}${end}`;
    }
  }
}
