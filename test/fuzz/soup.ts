/**
 * Two kinds of trouble that mutations rarely find. Option soup: segments of live connections with the right numbers and any
 * options, those that exist with right and with wrong lengths, IP options and extension headers before them. Fragment games:
 * datagrams cut into pieces of any size that come in any order, twice, too late, over each other, beyond the end.
 */

import type { Tcb } from '../../lib/tcp/tcb.ts';
import type { Mutator } from './mutate.ts';
import { TCP, UDP, ipPacket, repair, tcpSegment, udpDatagram } from './wire-format.ts';
import type { Ip4Fields, Ip6Fields } from './wire-format.ts';

const NONE = new Uint8Array(0);

// --------------------------------------------------------------------------------------- options

/** What options of a connection speak of. */
interface Numbers {
  sndUna: number;
  tsRecent: number;
  /** What the target's timestamps show now. */
  tsNow: number;
}

/** One option of those that TCP has (IANA), mostly well-formed, with contents that mean something to a connection. */
function tcpOption(m: Mutator, tcb: Numbers): number[] {
  const word = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
  const random = (n: number): number[] => Array.from({ length: n }, () => m.below(256));
  switch (m.below(16)) {
    case 0: return [0];
    case 1: return [1];
    case 2: return [2, 4, m.below(256), m.below(256)];
    case 3: return [3, 3, m.below(256)];
    case 4: return [4, 2];
    case 5:
    case 6: {
      const blocks = 1 + m.below(4);
      const edges: number[] = [];
      for (let i = 0; i < blocks; i++) {
        const left = tcb.sndUna + m.pick([0, 1, 100, 1448, 2896, -1448, -1, 0x7fffffff, m.below(100_000)]);
        edges.push(...word(left), ...word(left + m.pick([0, 1, 100, 1448, 1448, 50_000, -1, 0x7fffffff])));
      }
      return [5, 2 + 8 * blocks, ...edges];
    }
    case 7:
    case 8:
    case 9: return [8, 10, ...word(tcb.tsRecent + m.pick([0, 0, 1, 10, -1, 0x7fffffff])), ...word(m.pick([0, tcb.tsNow, tcb.tsNow, -1, 1]))];
    case 10: return [34, 2 + m.pick([0, 2, 4, 8, 16, 18]), ...random(18)];
    case 11: return [19, 18, ...random(16)];
    case 12: return [29, 2 + m.below(20), ...random(18)];
    case 13: return [30, m.below(24), ...random(20)];
    case 14: return [m.pick([253, 254, 172, 28, 14, 69]), m.below(12), ...random(8)];
    default: return [m.below(256), m.below(256)];
  }
}

function options(m: Mutator, tcb: Numbers): Uint8Array {
  const bytes: number[] = [];
  for (let n = m.below(7); n > 0; n--) bytes.push(...tcpOption(m, tcb));
  return Uint8Array.from(bytes.slice(0, 40));
}

function ipOptions(m: Mutator): Uint8Array {
  if (m.below(3) > 0) return NONE;
  const bytes: number[] = [];
  for (let n = 1 + m.below(4); n > 0; n--) {
    bytes.push(...m.pick([
      [0], [1], [7, 7, 4, 0, 0, 0, 0], [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], [68, 4, 5, 1], [148, 4, 0, 0], [130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      [131, 7, 4, 10, 90, 0, 9], [137, 7, 8, 10, 90, 0, 9], [136, 4, 0, 0], [82, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [m.below(256), m.below(20)],
    ]));
  }
  return Uint8Array.from(bytes.slice(0, 40));
}

function extensions(m: Mutator): Ip6Fields['extensions'] {
  if (m.below(3) > 0) return [];
  return Array.from({ length: 1 + m.below(4) }, () => ({
    type: m.pick([0, 60, 60, 43, 44, 51, 135]),
    body: Uint8Array.from(m.pick([
      [1, 4, 0, 0, 0, 0], [5, 2, 0, 0, 1, 0], [0xc2, 4, 0, 1, 0, 0], [0x3e, 0], [0x1e, 200, 1, 2, 3, 4], [0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      Array.from({ length: m.below(30) }, () => m.below(256)),
    ])),
  }));
}

function headerTo(tcb: Tcb, m: Mutator): Ip4Fields | Ip6Fields {
  const { flow } = tcb;
  if (flow.version === 4) {
    return {
      version: 4, source: flow.r3 >>> 0, destination: flow.l3 >>> 0, protocol: TCP, tos: m.below(8), ttl: 64, id: m.below(65_536),
      fragment: m.pick([0, 0x4000]), options: ipOptions(m),
    };
  }
  return {
    version: 6, source: flow.r3, destination: flow.l3, protocol: TCP, trafficClass: m.below(8), flowLabel: 0, hopLimit: 64, extensions: extensions(m),
  };
}

const FLAGS = [0x10, 0x10, 0x18, 0x18, 0x11, 0x02, 0x12, 0x14, 0x04, 0x38, 0x50, 0x90, 0xc2, 0xd0, 0x00, 0x29];

/** A segment to `tcb` from its peer: numbers as they should be or a little off, options of every kind. */
export function optionSoup(m: Mutator, tcb: Tcb): Uint8Array {
  const off = (): number => (m.below(2) === 0 ? 0 : m.pick([1, -1, 100, 1448, -1448, 65_535, -65_536]));
  const flight = (tcb.sndNxt - tcb.sndUna) | 0;
  const segment = tcpSegment({
    sourcePort: tcb.remotePort, destinationPort: tcb.localPort, seq: (tcb.rcvNxt + off()) | 0,
    ack: (tcb.sndUna + (m.below(3) === 0 ? m.below(flight + 1) : off())) | 0, flags: m.below(8) === 0 ? m.below(256) : m.pick(FLAGS),
    window: m.pick([0, 1, 100, 1000, 65_535]), urgent: m.pick([0, 0, 0, 1, 65_535]),
    options: options(m, { sndUna: tcb.sndUna, tsRecent: tcb.tsRecent, tsNow: tcb.tsOffset + tcb.home.nowMs }),
    payload: m.below(3) > 0 ? NONE : new Uint8Array(m.pick([1, 2, 100, 1448])).fill(0x61),
  });
  // The data offset may say that options end elsewhere.
  if (m.below(8) === 0) segment[12] = m.below(16) << 4;
  return ipPacket(headerTo(tcb, m), segment);
}

/** A peer that opens a connection to the target, as far as it comes. */
export interface Opening {
  version: 4 | 6;
  /** Of 10.90.0.x, or of fd90::x. */
  host: number;
  port: number;
  to: number;
  seq: number;
}

export function opening(m: Mutator): Opening {
  return { version: m.pick([4, 6]), host: 0x80 + m.below(64), port: 1024 + m.below(60_000), to: m.pick([7, 80, 7000]), seq: m.below(0x100000000) | 0 };
}

function openingPacket(m: Mutator, from: Opening, segment: Uint8Array): Uint8Array {
  return ipPacket(from.version === 4 ? {
    version: 4, source: 0x0a5a0000 | from.host, destination: 0x0a5a0001, protocol: TCP, tos: m.below(4), ttl: 64, id: 0, fragment: 0x4000, options: ipOptions(m),
  } : {
    version: 6, source: from.host, destination: 1, protocol: TCP, trafficClass: m.below(4), flowLabel: 0, hopLimit: 64, extensions: [],
  }, segment);
}

/** A SYN with any options, sometimes with data, FIN, or the flags of ECN. */
export function synSoup(m: Mutator, from: Opening): Uint8Array {
  return openingPacket(m, from, tcpSegment({
    sourcePort: from.port, destinationPort: from.to, seq: from.seq, ack: 0, flags: m.pick([0x02, 0x02, 0x02, 0xc2, 0x42, 0x0a, 0x03]),
    window: m.pick([0, 1, 1000, 65_535]), urgent: 0, options: options(m, { sndUna: 0, tsRecent: m.below(0x7fffffff), tsNow: 0 }),
    payload: m.below(6) === 0 ? new Uint8Array(1 + m.below(1000)) : NONE,
  }));
}

/**
 * What follows the target's SYN-ACK (the numbers of which are given): the last ACK, with data or without, right or a little
 * wrong, with any options; `tsVal` is echoed in most.
 */
export function lastAckSoup(m: Mutator, from: Opening, seq: number, tsVal: number): Uint8Array {
  const off = (): number => (m.below(4) > 0 ? 0 : m.pick([1, -1, 100, 0x7fffffff, 64]));
  return openingPacket(m, from, tcpSegment({
    sourcePort: from.port, destinationPort: from.to, seq: (from.seq + 1 + off()) | 0, ack: (seq + 1 + off()) | 0,
    flags: m.pick([0x10, 0x10, 0x18, 0x11, 0x14, 0x12, 0x50]), window: m.pick([0, 1, 65_535]), urgent: 0,
    options: options(m, { sndUna: seq + 1, tsRecent: m.below(0x7fffffff), tsNow: tsVal }),
    payload: m.below(2) === 0 ? NONE : new Uint8Array(1 + m.below(1400)),
  }));
}

// ------------------------------------------------------------------------------------- fragments

/** Marks datagrams whose contents tell whether they were put together right. */
const MAGIC = 0x7e57f4a6;
const LEAST = 16;

/** A payload that `payloadOk` knows: magic, number, length, and bytes that follow from both. */
export function tellingPayload(number: number, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(length, LEAST));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (number * 31 + i * 7 + (i >> 8)) & 255;
  view.setInt32(0, MAGIC);
  view.setInt32(4, number);
  view.setInt32(8, bytes.length);
  return bytes;
}

/** Its number; -1 when it is none of `tellingPayload`; throws when it is one that is not whole. */
export function numberOfPayload(slab: Uint8Array, offset: number, length: number): number {
  const view = new DataView(slab.buffer, slab.byteOffset + offset, length);
  if (length < LEAST || view.getInt32(0) !== MAGIC) return -1;
  const number = view.getInt32(4);
  const wanted = tellingPayload(number, view.getInt32(8));
  if (view.getInt32(8) !== length || Buffer.compare(wanted, slab.subarray(offset, offset + length)) !== 0) {
    throw new Error(`datagram ${number} of ${view.getInt32(8)} bytes was put together wrong: ${length} bytes arrived`);
  }
  return number;
}

export interface Game {
  packets: Uint8Array[];
  /** All pieces are there, and nothing contradicts anything: it must be delivered, once. */
  honest: boolean;
}

interface Piece {
  from: number;
  bytes: Uint8Array;
  more: boolean;
}

const HONEST4 = 0x0a5a0003;
const HOSTILE4 = 0x0a5a0004;

/**
 * The pieces of a UDP datagram with a telling payload, to port 9000 of the target. `number` must be another one each time:
 * identifications follow from it.
 */
export function fragmentGame(m: Mutator, number: number): Game {
  const v6 = m.below(2) === 0;
  const honest = m.below(3) === 0;
  const datagram = udpDatagram(4000 + (number & 1023), 9000, tellingPayload(number, LEAST + m.below(m.pick([40, 400, 3000, 9000]))));
  const source = honest ? 3 : 4;
  const whole = ipPacket(v6 ? {
    version: 6, source, destination: 1, protocol: UDP, trafficClass: 0, flowLabel: 0, hopLimit: 64, extensions: [],
  } : { version: 4, source: honest ? HONEST4 : HOSTILE4, destination: 0x0a5a0001, protocol: UDP, tos: 0, ttl: 64, id: 0, fragment: 0, options: NONE }, datagram);
  // With its checksum, which covers the addresses.
  const body = whole.subarray(v6 ? 40 : 20);
  const pieces = cut(m, body, honest);
  if (!honest) spoil(m, pieces, body);
  const order = m.below(4);
  if (order === 1) pieces.reverse();
  if (order >= 2) for (let i = pieces.length - 1; i > 0; i--) swap(pieces, i, m.below(i + 1));
  if (honest && m.below(3) === 0) pieces.splice(m.below(pieces.length), 0, m.pick(pieces));
  return { packets: pieces.map((piece) => (v6 ? fragment6(m, source, number, piece, honest) : fragment4(honest ? HONEST4 : HOSTILE4, number, piece))), honest };
}

function swap<T>(list: T[], i: number, j: number): void {
  const one = list[i]!;
  list[i] = list[j]!;
  list[j] = one;
}

/** At least two pieces, all but the last a multiple of eight long; the first holds the UDP header. */
function cut(m: Mutator, body: Uint8Array, honest: boolean): Piece[] {
  const pieces: Piece[] = [];
  // Many small pieces of a large datagram are what an attacker would send.
  const least = honest && body.length > 1000 ? 256 : 8;
  for (let from = 0; from < body.length;) {
    let length = (least + m.below(Math.max(body.length >> 1, 8))) & ~7;
    if (from + length >= body.length) length = from === 0 ? Math.max((body.length - 8) & ~7, 8) : body.length - from;
    pieces.push({ from, bytes: body.subarray(from, from + length), more: from + length < body.length });
    from += length;
  }
  return pieces;
}

/** One or several things that no honest sender does. */
function spoil(m: Mutator, pieces: Piece[], body: Uint8Array): void {
  for (let n = 1 + m.below(3); n > 0 && pieces.length > 0; n--) {
    const piece = m.pick(pieces);
    switch (m.below(10)) {
      case 0:
        pieces.splice(pieces.indexOf(piece), 1);
        break;
      case 1:
        // Over the one before it, with other contents.
        if (piece.from >= 8) pieces.push({ from: piece.from - 8, bytes: new Uint8Array(16).fill(m.below(256)), more: true });
        break;
      case 2:
        pieces.push({ from: piece.from, bytes: piece.bytes.slice().fill(0x58), more: piece.more });
        break;
      case 3:
        // Another end.
        pieces.push({ from: (body.length + m.below(400)) & ~7, bytes: new Uint8Array(1 + m.below(100)), more: false });
        break;
      case 4:
        pieces.push({ from: 65_528, bytes: new Uint8Array(8 + m.below(64)), more: m.below(2) === 0 });
        break;
      case 5:
        pieces.push({ from: piece.from, bytes: piece.bytes.subarray(0, m.below(piece.bytes.length)), more: true });
        break;
      case 6:
        pieces.push({ from: 0, bytes: body.subarray(0, m.below(9)), more: true });
        break;
      case 7:
        piece.more = !piece.more;
        break;
      case 8:
        piece.from = m.below(8192) * 8;
        break;
      default:
        for (let i = 0; i < 10; i++) pieces.push({ from: m.below(1024) * 8, bytes: new Uint8Array(8), more: true });
    }
  }
}

function fragment4(source: number, number: number, piece: Piece): Uint8Array {
  return ipPacket({
    version: 4, source, destination: 0x0a5a0001, protocol: UDP, tos: 0, ttl: 64, id: number & 0xffff,
    fragment: (piece.from >> 3) | (piece.more ? 0x2000 : 0), options: NONE,
  }, piece.bytes);
}

function fragment6(m: Mutator, source: number, number: number, piece: Piece, honest: boolean): Uint8Array {
  const header = new Uint8Array(6);
  const view = new DataView(header.buffer);
  view.setUint16(0, (piece.from & 0xfff8) | (piece.more ? 1 : 0));
  view.setInt32(2, number);
  const chain = [{ type: 44, body: header }];
  // Another header before it, or one that does not belong there.
  if (!honest && m.below(6) === 0) chain.splice(m.below(2), 0, { type: m.pick([0, 60, 43, 44]), body: new Uint8Array(6) });
  const packet = ipPacket({
    version: 6, source, destination: 1, protocol: UDP, trafficClass: 0, flowLabel: 0, hopLimit: 64, extensions: chain,
  }, piece.bytes);
  if (!honest && m.below(20) === 0) repair(packet, true);
  return packet;
}
