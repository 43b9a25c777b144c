/** Packets made by hand for bad input: whole ones from fields, and checksums put right after a mutation. */

import { fold, sumBytes } from '../../lib/wire/checksum.ts';
import { finishIpv4Checksum } from '../../lib/wire/ipv4.ts';

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ICMPV6 = 58;

/** A chain of IPv6 extension headers, walked as far as it makes sense. */
function upperLayer6(packet: Uint8Array): { protocol: number; at: number; fragment: boolean } {
  let protocol = packet[6]!;
  let at = 40;
  let fragment = false;
  for (let n = 0; n < 16 && at + 8 <= packet.length; n++) {
    if (protocol === 44) {
      fragment ||= packet[at + 2] !== 0 || (packet[at + 3]! & 0xf9) !== 0;
      protocol = packet[at]!;
      at += 8;
    } else if (protocol === 0 || protocol === 43 || protocol === 60) {
      protocol = packet[at]!;
      at += 8 + packet[at + 1]! * 8;
    } else {
      break;
    }
  }
  return { protocol, at, fragment };
}

function finishTransport(packet: Uint8Array, protocol: number, at: number, end: number, pseudo: number): void {
  const view = new DataView(packet.buffer, packet.byteOffset);
  const field = protocol === TCP ? 16 : protocol === UDP ? 6 : protocol === ICMP || protocol === ICMPV6 ? 2 : -1;
  if (field < 0 || at + field + 2 > end) return;
  const length = end - at;
  view.setUint16(at + field, 0);
  const sum = (protocol === ICMP ? 0 : pseudo + protocol + length) + sumBytes(view, at, length);
  view.setUint16(at + field, ~fold(sum) & 0xffff);
}

/** Sets the length field to the truth (`lengths`), and all checksums right, as far as the bytes can be understood. In place. */
export function repair(packet: Uint8Array, lengths = true): void {
  if (packet.length < 20) return;
  const view = new DataView(packet.buffer, packet.byteOffset);
  if (packet[0]! >> 4 === 4) {
    const header = (packet[0]! & 15) * 4;
    if (header < 20 || header > packet.length) return;
    if (lengths) view.setUint16(2, packet.length);
    const end = Math.min(view.getUint16(2), packet.length);
    if ((view.getUint16(6) & 0x3fff) === 0) {
      finishTransport(packet, packet[9]!, header, end, fold(sumBytes(view, 12, 8)));
    }
    finishIpv4Checksum(view, 0);
  } else if (packet[0]! >> 4 === 6 && packet.length >= 40) {
    if (lengths) view.setUint16(4, packet.length - 40);
    const end = Math.min(view.getUint16(4) + 40, packet.length);
    const { protocol, at, fragment } = upperLayer6(packet);
    if (!fragment && at < end) finishTransport(packet, protocol, at, end, fold(sumBytes(view, 8, 32)));
  }
}

export interface Ip4Fields {
  version: 4;
  source: number;
  destination: number;
  protocol: number;
  tos: number;
  ttl: number;
  id: number;
  /** Flags and offset, as the 16-bit field has them. */
  fragment: number;
  options: Uint8Array;
}

export interface Ip6Fields {
  version: 6;
  /** Last word of the address; the rest is fd90::. */
  source: number;
  destination: number;
  protocol: number;
  trafficClass: number;
  flowLabel: number;
  hopLimit: number;
  /** Extension headers: type, and bytes after the next-header field (their length is made a multiple of 8). */
  extensions: { type: number; body: Uint8Array }[];
}

/** The packet, with lengths and checksums that are right. */
export function ipPacket(ip: Ip4Fields | Ip6Fields, payload: Uint8Array): Uint8Array {
  let packet: Uint8Array;
  if (ip.version === 4) {
    const header = 20 + ((ip.options.length + 3) & ~3);
    packet = new Uint8Array(header + payload.length);
    const view = new DataView(packet.buffer);
    packet[0] = 0x40 | (header / 4);
    packet[1] = ip.tos;
    view.setUint16(4, ip.id);
    view.setUint16(6, ip.fragment);
    packet[8] = ip.ttl;
    packet[9] = ip.protocol;
    view.setUint32(12, ip.source);
    view.setUint32(16, ip.destination);
    packet.set(ip.options, 20);
    packet.set(payload, header);
  } else {
    const chain = ip.extensions.map(({ type, body }) => ({ type, bytes: extension(type, body) }));
    const length = chain.reduce((sum, { bytes }) => sum + bytes.length, 0);
    packet = new Uint8Array(40 + length + payload.length);
    const view = new DataView(packet.buffer);
    view.setUint32(0, 0x60000000 | (ip.trafficClass << 20) | ip.flowLabel);
    packet[6] = chain.length > 0 ? chain[0]!.type : ip.protocol;
    packet[7] = ip.hopLimit;
    view.setUint32(8, 0xfd900000);
    view.setUint32(20, ip.source);
    view.setUint32(24, 0xfd900000);
    view.setUint32(36, ip.destination);
    let at = 40;
    for (const [i, { bytes }] of chain.entries()) {
      bytes[0] = chain[i + 1]?.type ?? ip.protocol;
      packet.set(bytes, at);
      at += bytes.length;
    }
    packet.set(payload, at);
  }
  repair(packet);
  return packet;
}

function extension(type: number, body: Uint8Array): Uint8Array {
  if (type === 44) {
    const bytes = new Uint8Array(8);
    bytes.set(body.subarray(0, 6), 2);
    return bytes;
  }
  const bytes = new Uint8Array((Math.max(body.length + 2, 8) + 7) & ~7);
  bytes[1] = bytes.length / 8 - 1;
  bytes.set(body, 2);
  return bytes;
}

export interface TcpFields {
  sourcePort: number;
  destinationPort: number;
  seq: number;
  ack: number;
  flags: number;
  window: number;
  urgent: number;
  options: Uint8Array;
  payload: Uint8Array;
}

export function tcpSegment(tcp: TcpFields): Uint8Array {
  const header = 20 + Math.min((tcp.options.length + 3) & ~3, 40);
  const bytes = new Uint8Array(header + tcp.payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, tcp.sourcePort);
  view.setUint16(2, tcp.destinationPort);
  view.setInt32(4, tcp.seq);
  view.setInt32(8, tcp.ack);
  bytes[12] = (header / 4) << 4;
  bytes[13] = tcp.flags;
  view.setUint16(14, tcp.window);
  view.setUint16(18, tcp.urgent);
  bytes.set(tcp.options.subarray(0, 40), 20);
  bytes.set(tcp.payload, header);
  return bytes;
}

export function udpDatagram(sourcePort: number, destinationPort: number, payload: Uint8Array, length = 8 + payload.length): Uint8Array {
  const bytes = new Uint8Array(8 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, length);
  bytes.set(payload, 8);
  return bytes;
}

export function icmpMessage(type: number, code: number, rest: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + body.length);
  bytes[0] = type;
  bytes[1] = code;
  new DataView(bytes.buffer).setUint32(4, rest >>> 0);
  bytes.set(body, 8);
  return bytes;
}

export function hex(packet: Uint8Array): string {
  return Buffer.from(packet).toString('hex');
}
