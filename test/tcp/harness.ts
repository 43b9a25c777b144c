/**
 * Scripts for the TCP engine, in the manner of packetdrill: one stack in virtual time whose link is the
 * script. `inject` hands segments in, `expect` takes the next segment that came out and compares it field
 * by field, `advance` moves the clock; the calls in between are those of the low-level socket.
 *
 * Sequence numbers in scripts are relative: `seq` of what is injected and `ack` of what is expected count
 * from the peer's initial sequence number, `ack` of what is injected and `seq` of what is expected from
 * ours; SYN is 0, the first byte of data 1. `script` runs each script twice, with raw initial numbers just
 * below 2^31 and just below 2^32, so that both kinds of wrap-around are crossed; and once more with TCPU, since the
 * engine must behave the same in both of its homes.
 *
 * Payload is a function of its place in the stream, and is checked wherever it comes out. Segments are
 * built and taken apart here, with code that shares nothing with the code under test.
 * A script fails when a segment came out that it did not expect, and when a memory block is missing at its end.
 */

import t from 'tap';
import { CSUM_PARTIAL, TX_CSUM, TX_FLAGS, TX_GSO_SIZE, TX_GSO_TYPE, TX_STRIDE } from '../../lib/buffer/transmit-queue.ts';
import type { TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { errnoName } from '../../lib/errno.ts';
import { PacketBatch, RX_CSUM_VALID, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE, RX_STRIDE } from '../../lib/link/link.ts';
import type { Link, LinkHost } from '../../lib/link/link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6, IPPROTO_TCP, TCP_INFO } from '../../lib/socket.ts';
import type { BsdSocket, TcpInfo } from '../../lib/socket.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import type { TcpCounters } from '../../lib/tcp/counters.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import type { Seq } from '../../lib/wire/seq.ts';
import { createHost } from '../sim/host.ts';
import type { Host, TcpuSide } from '../sim/host.ts';

export type Test = typeof t;

export const OURS4 = [10, 90, 0, 2];
export const PEER4 = [10, 90, 0, 1];
/** No word of them is zero, or like another. */
export const OURS6 = [0xfd, 0x90, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 2];
export const PEER6 = [0xfd, 0x90, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 1];

const FLAG_BITS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, '.': 16, U: 32, E: 64, W: 128 };

/** A segment of a script. What is left out of an expectation is not compared, but for `flags`, `len` and `sack`. */
export interface Seg {
  /** `S`, `S.`, `.`, `P.`, `F.`, `R`, … ; W is CWR, E is ECE, U is URG. */
  flags: string;
  seq?: number;
  ack?: number;
  /** The window field as it is on the wire. */
  win?: number;
  /** Payload bytes; default 0. */
  len?: number;
  urg?: number;
  mss?: number;
  sackOK?: boolean;
  /** [TSval, TSecr]; ours begin at 1000 and count milliseconds. In expectations `null`: there is none. */
  ts?: [number, number] | null;
  ws?: number;
  sack?: [number, number][];
  /** Injected: merged from segments of so much payload. Expected: to be cut into such. */
  gso?: number;
  /** ECN codepoint of the IP header: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE. */
  ecn?: number;
  /** Injected: raw options instead of all above. */
  options?: number[];
  /** Injected: other ports. */
  srcPort?: number;
  dstPort?: number;
  /** Injected: wrong checksum. */
  bad?: boolean;
}

/** A segment that came out. */
export interface Out {
  flags: string;
  seq: number;
  ack: number;
  win: number;
  len: number;
  urg: number;
  srcPort: number;
  dstPort: number;
  mss?: number;
  sackOK?: boolean;
  ts?: [number, number];
  ws?: number;
  sack?: [number, number][];
  gso?: number;
  options: number[];
  payload: Uint8Array;
  tos: number;
  ttl: number;
  atMs: number;
  csumOk: boolean;
}

/** What scripts reckon with unless they say otherwise: buffers that ask for a window scale of 7, at home and in applications. */
const SCRIPT_TCP: TcpOptions = { rcvbuf: { max: 4 << 20 }, sndbuf: { max: 4 << 20 } };

export interface Options {
  tcp?: TcpOptions;
  /** Link: MTU (1500), LINK_… bits (0). */
  mtu?: number;
  features?: number;
  ipv6?: boolean;
  iss?: number;
  peerIss?: number;
  memory?: number;
  /** Leave the ISN to the stack. */
  ownIsn?: boolean;
  /** TCP in an application that is attached to the stack, instead of the stack's own; with an object, one that is as it says. */
  tcpu?: boolean | TcpuSide;
}

/** What the peer's SYN or SYN-ACK offers. */
export interface PeerOptions {
  mss?: number;
  win?: number;
  ts?: boolean;
  sack?: boolean;
  ws?: number;
}

/** The byte at place `n` of a stream (0 is the first byte of data). */
export function byteAt(n: number): number {
  return (n * 31 + (n >> 8) * 7 + 11) & 0xff;
}

function sum16(bytes: ArrayLike<number>, start: number): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return sum;
}

class ScriptLink implements Link {
  readonly name = 'script';
  readonly mtu: number;
  readonly features: number;
  host!: LinkHost;
  batch!: PacketBatch;
  /** Packets to take before the link is full. */
  room = Infinity;
  readonly onPacket: (bytes: Uint8Array, gsoType: number, gsoSize: number, partial: boolean, csum: number) => void;

  constructor(mtu: number, features: number, onPacket: ScriptLink['onPacket']) {
    this.mtu = mtu;
    this.features = features;
    this.onPacket = onPacket;
  }

  attach(host: LinkHost): void {
    this.host = host;
    this.batch = new PacketBatch(host.memory.bytes, 256);
  }

  send(queue: TransmitQueue): void {
    while (queue.head < queue.tail && this.room > 0) {
      const bytes = new Uint8Array(70_000);
      const length = queue.copyPacket(queue.head, bytes, 0);
      const p = queue.head * TX_STRIDE;
      this.room--;
      queue.head++;
      this.onPacket(bytes.slice(0, length), queue.packets[p + TX_GSO_TYPE]!, queue.packets[p + TX_GSO_SIZE]!,
        (queue.packets[p + TX_FLAGS]! & CSUM_PARTIAL) !== 0, queue.packets[p + TX_CSUM]!);
    }
  }

  ref(): void {}
  unref(): void {}
  close(): void {}
}

export class Harness {
  readonly t: Test;
  readonly clock = new VirtualClock();
  readonly stack: Host;
  readonly link: ScriptLink;
  readonly out: Out[] = [];
  readonly ipv6: boolean;
  /** Raw initial sequence numbers. */
  iss: number;
  peerIss: number;
  /** Ports of the connection that the script is about. */
  ourPort = 0;
  peerPort = 7000;
  /** Agreed on, from `open()`: injected segments then carry timestamps by themselves. */
  timestamps = false;
  /** TSval of injected segments: advances with the clock. */
  peerTsBase = 500_000;
  /** Newest TSval seen from us, echoed by injected segments. */
  lastTs = 0;
  readonly sockets: BsdSocket[] = [];
  #sent = 0;
  #received = 0;
  #nowMs0: number;
  /** The stack chooses its ISN; the first segment that comes out tells it. */
  readonly ownIsn: boolean;
  #knowIsn = false;

  constructor(test: Test, options: Options = {}) {
    this.t = test;
    this.iss = (options.iss ?? 0x7fffff00) | 0;
    this.peerIss = (options.peerIss ?? 0xffffff00) | 0;
    this.ipv6 = options.ipv6 ?? false;
    this.ownIsn = options.ownIsn ?? false;
    this.link = new ScriptLink(options.mtu ?? 1500, options.features ?? 0, (...packet) => this.#packet(...packet));
    this.clock.advance(1_000_000);
    const memory = options.memory ?? 16 << 20;
    this.stack = createHost('host', {
      link: this.link, addresses: ['10.90.0.2/24', 'fd90:1:2:3:4:5:6:2/64'], clock: this.clock, random: new SeededRandom(7),
      tcp: { ...SCRIPT_TCP, ...options.tcp }, memory,
    }, typeof options.tcpu === 'object' ? { tcp: { ...SCRIPT_TCP, ...options.tcp }, ...options.tcpu } : options.tcpu === true ? {
      // Scripts say what the kernel-style TCP does: its time for ACKs.
      tcp: { ...SCRIPT_TCP, delayedAckMs: 40, ...options.tcp }, window: { memory, rxRing: 16 << 20 },
    } : null);
    this.#nowMs0 = this.stack.tcp.nowMs;
    if (!this.ownIsn) {
      this.stack.tcp.initialSequence = () => this.iss as Seq;
      this.stack.tcp.timestampOffset = () => (1000 - this.#nowMs0) | 0;
    }
  }

  // ------------------------------------------------------------------------------------ time

  /** Milliseconds since the script began. */
  get nowMs(): number {
    return this.clock.nowUs() / 1000 - 1000;
  }

  advance(ms: number): void {
    this.clock.advance(Math.round(ms * 1000));
  }

  // ----------------------------------------------------------------------------------- input

  /** Hands the segments in, as one batch. */
  inject(...segments: Seg[]): void {
    const batch = this.link.batch;
    batch.count = 0;
    let at = 0;
    for (const segment of segments) {
      const packet = this.build(segment);
      batch.slab.set(packet, at);
      const m = batch.count * RX_STRIDE;
      batch.add(at, packet.length);
      if (segment.gso !== undefined) {
        batch.meta[m + RX_FLAGS] = RX_CSUM_VALID;
        batch.meta[m + RX_GSO_TYPE] = this.ipv6 ? 4 : 1;
        batch.meta[m + RX_GSO_SIZE] = segment.gso;
      }
      at = (at + packet.length + 7) & ~7;
    }
    batch.timeUs = this.clock.nowUs();
    this.link.host.input(batch);
    // The slab is the link's again: nothing may still point into it.
    batch.slab.fill(0xee, 0, at);
    this.stack.settle();
  }

  /** Raw bytes of the packet. */
  build(segment: Seg): Uint8Array {
    const options = this.#options(segment);
    const length = segment.len ?? 0;
    let flags = 0;
    for (const letter of segment.flags) flags |= FLAG_BITS[letter]!;
    const seq = (segment.seq ?? 0) + this.peerIss;
    const ack = segment.ack === undefined ? 0 : segment.ack + this.iss;
    const source = this.ipv6 ? PEER6 : PEER4;
    const destination = this.ipv6 ? OURS6 : OURS4;
    const tcp = new Uint8Array(20 + options.length + length);
    const view = new DataView(tcp.buffer);
    view.setUint16(0, segment.srcPort ?? this.peerPort);
    view.setUint16(2, segment.dstPort ?? this.ourPort);
    view.setInt32(4, seq | 0);
    view.setInt32(8, ack | 0);
    view.setUint8(12, ((20 + options.length) / 4) << 4);
    view.setUint8(13, flags);
    view.setUint16(14, segment.win ?? 65535);
    view.setUint16(18, segment.urg ?? 0);
    tcp.set(options, 20);
    const first = (segment.seq ?? 0) - ((flags & 2) !== 0 ? 0 : 1);
    for (let i = 0; i < length; i++) tcp[20 + options.length + i] = byteAt(first + i);
    const pseudo = sum16([...source, ...destination, 0, 6, ...[tcp.length >> 8, tcp.length & 0xff]], 0);
    view.setUint16(16, (~sum16(tcp, pseudo) & 0xffff) ^ (segment.bad ? 0x1234 : 0));
    return this.#ip(tcp, source, destination, 6, segment.ecn ?? 0);
  }

  #ip(payload: Uint8Array, source: number[], destination: number[], protocol: number, ecn = 0): Uint8Array {
    if (this.ipv6) {
      const packet = new Uint8Array(40 + payload.length);
      packet.set([0x60, ecn << 4, 0, 0, payload.length >> 8, payload.length & 0xff, protocol, 64, ...source, ...destination]);
      packet.set(payload, 40);
      return packet;
    }
    const packet = new Uint8Array(20 + payload.length);
    packet.set([0x45, ecn, packet.length >> 8, packet.length & 0xff, 0, 1, 0x40, 0, 64, protocol, 0, 0, ...source, ...destination]);
    const sum = ~sum16(packet.subarray(0, 20), 0) & 0xffff;
    packet[10] = sum >> 8;
    packet[11] = sum & 0xff;
    packet.set(payload, 20);
    return packet;
  }

  #options(segment: Seg): number[] {
    if (segment.options !== undefined) return segment.options;
    const options: number[] = [];
    const word = (n: number): number[] => [(n >>> 24) & 0xff, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff];
    if (segment.mss !== undefined) options.push(2, 4, segment.mss >> 8, segment.mss & 0xff);
    if (segment.sackOK) options.push(1, 1, 4, 2);
    let ts = segment.ts;
    if (ts === undefined && this.timestamps && !segment.flags.includes('R')) {
      ts = [this.peerTsBase + this.clock.nowUs() / 1000, this.lastTs];
    }
    if (ts != null) options.push(1, 1, 8, 10, ...word(Math.floor(ts[0]) | 0), ...word(ts[1] | 0));
    if (segment.ws !== undefined) options.push(1, 3, 3, segment.ws);
    if (segment.sack !== undefined && segment.sack.length > 0) {
      options.push(1, 1, 5, 2 + 8 * segment.sack.length);
      for (const [left, right] of segment.sack) options.push(...word((left + this.iss) | 0), ...word((right + this.iss) | 0));
    }
    return options;
  }

  /** An ICMP error of IPv4 that quotes a segment of ours with sequence number `seq` (relative). */
  icmp(type: number, code: number, mtu: number, seq: number, quotedPort = this.peerPort): void {
    const quoted = new Uint8Array(28);
    const view = new DataView(quoted.buffer);
    quoted.set([0x45, 0, 5, 220, 0, 1, 0x40, 0, 64, 6, 0, 0, ...OURS4, ...PEER4]);
    const headerSum = ~sum16(quoted.subarray(0, 20), 0) & 0xffff;
    view.setUint16(10, headerSum);
    view.setUint16(20, this.ourPort);
    view.setUint16(22, quotedPort);
    view.setInt32(24, (seq + this.iss) | 0);
    const icmp = new Uint8Array(8 + quoted.length);
    icmp.set([type, code, 0, 0, 0, 0, mtu >> 8, mtu & 0xff]);
    icmp.set(quoted, 8);
    const sum = ~sum16(icmp, 0) & 0xffff;
    icmp[2] = sum >> 8;
    icmp[3] = sum & 0xff;
    const packet = this.#ip(icmp, PEER4, OURS4, 1);
    const batch = this.link.batch;
    batch.count = 0;
    batch.slab.set(packet, 0);
    batch.add(0, packet.length);
    batch.timeUs = this.clock.nowUs();
    this.link.host.input(batch);
    this.stack.settle();
  }

  // ---------------------------------------------------------------------------------- output

  #packet(bytes: Uint8Array, gsoType: number, gsoSize: number, partial: boolean, csum: number): void {
    const v6 = bytes[0]! >> 4 === 6;
    if ((v6 ? bytes[6] : bytes[9]) !== 6) return;
    const ipLength = v6 ? 40 : (bytes[0]! & 15) * 4;
    const tcp = bytes.subarray(ipLength);
    const view = new DataView(tcp.buffer, tcp.byteOffset, tcp.byteLength);
    const headerLength = (tcp[12]! >> 4) * 4;
    const bits = tcp[13]!;
    const addresses = v6 ? bytes.subarray(8, 40) : bytes.subarray(12, 20);
    const pseudo = sum16([...addresses, 0, 6, tcp.length >> 8, tcp.length & 0xff], 0);
    // A partial checksum holds the sum of the pseudo-header; a whole one makes everything 0xffff.
    const csumOk = partial
      ? view.getUint16(16) % 0xffff === pseudo % 0xffff && csum === (ipLength | (16 << 16))
      : sum16(tcp, pseudo) === 0xffff;
    if (this.ownIsn && !this.#knowIsn) {
      this.iss = view.getInt32(4);
      this.#knowIsn = true;
    }
    const out: Out = {
      flags: '', seq: (view.getInt32(4) - this.iss) | 0, ack: (bits & 16) === 0 ? 0 : (view.getInt32(8) - this.peerIss) | 0,
      win: view.getUint16(14), len: tcp.length - headerLength, urg: view.getUint16(18),
      srcPort: view.getUint16(0), dstPort: view.getUint16(2),
      options: [...tcp.subarray(20, headerLength)], payload: tcp.slice(headerLength),
      tos: v6 ? ((bytes[0]! & 15) << 4) | (bytes[1]! >> 4) : bytes[1]!, ttl: v6 ? bytes[7]! : bytes[8]!, atMs: this.nowMs, csumOk,
    };
    for (const letter of 'SFRPUEW.') if ((bits & FLAG_BITS[letter]!) !== 0) out.flags += letter;
    if (gsoType !== 0) out.gso = gsoSize;
    for (let i = 20; i < headerLength;) {
      const kind = tcp[i]!;
      if (kind === 0) break;
      if (kind === 1) {
        i++;
        continue;
      }
      if (kind === 2) out.mss = view.getUint16(i + 2);
      if (kind === 3) out.ws = tcp[i + 2]!;
      if (kind === 4) out.sackOK = true;
      if (kind === 8) {
        out.ts = [view.getInt32(i + 2), view.getInt32(i + 6)];
        this.lastTs = out.ts[0];
      }
      if (kind === 5) {
        out.sack = [];
        for (let k = i + 2; k < i + tcp[i + 1]!; k += 8) {
          out.sack.push([(view.getInt32(k) - this.peerIss) | 0, (view.getInt32(k + 4) - this.peerIss) | 0]);
        }
      }
      i += tcp[i + 1]!;
    }
    this.out.push(out);
  }

  /** The next segment that came out must be this one. Returns it. */
  expect(want: Seg, message?: string): Out {
    this.stack.settle();
    const got = this.out.shift();
    const where = message === undefined ? '' : `${message}: `;
    if (got === undefined) {
      this.t.fail(`${where}expected ${describe(want)}, but nothing came out`);
      throw new Error(`expected ${describe(want)}, but nothing came out`);
    }
    const sorted = (flags: string): string => [...flags].sort().join('');
    const differences: string[] = [];
    const compare = (name: string, a: unknown, b: unknown): void => {
      if (JSON.stringify(a) !== JSON.stringify(b)) differences.push(`${name} ${JSON.stringify(b)} instead of ${JSON.stringify(a)}`);
    };
    compare('flags', sorted(want.flags), sorted(got.flags));
    compare('len', want.len ?? 0, got.len);
    if (want.seq !== undefined) compare('seq', want.seq, got.seq);
    if (want.ack !== undefined) compare('ack', want.ack, got.ack);
    if (want.win !== undefined) compare('win', want.win, got.win);
    if (want.urg !== undefined) compare('urg', want.urg, got.urg);
    if (want.mss !== undefined) compare('mss', want.mss, got.mss);
    if (want.sackOK !== undefined) compare('sackOK', want.sackOK, got.sackOK ?? false);
    if (want.ws !== undefined) compare('ws', want.ws, got.ws);
    if (want.ts !== undefined) compare('ts', want.ts, got.ts ?? null);
    if (want.gso !== undefined) compare('gso', want.gso, got.gso);
    if (want.ecn !== undefined) compare('ecn', want.ecn, got.tos & 3);
    compare('sack', want.sack ?? [], got.sack ?? []);
    if (!got.csumOk) differences.push('bad checksum');
    const first = got.flags.includes('S') ? got.seq : got.seq - 1;
    for (let i = 0; i < got.len; i++) {
      if (got.payload[i] !== byteAt(first + i)) {
        differences.push(`payload byte ${i} (stream byte ${first + i}) is ${got.payload[i]}`);
        break;
      }
    }
    if (differences.length === 0) this.t.pass(where + describe(want));
    else {
      this.t.fail(`${where}expected ${describe(want)}, got ${describe(got)}: ${differences.join('; ')}`);
      throw new Error('the script is off the track');
    }
    return got;
  }

  expectNothing(message = 'nothing came out'): void {
    this.stack.settle();
    if (this.out.length === 0) this.t.pass(message);
    else {
      this.t.fail(`${message}: ${this.out.map(describe).join(' | ')}`);
      throw new Error('the script is off the track');
    }
  }

  /** Takes the next segment, whatever it is. */
  take1(): Out | undefined {
    this.stack.settle();
    return this.out.shift();
  }

  /** Takes all that came out. */
  take(): Out[] {
    this.stack.settle();
    return this.out.splice(0);
  }

  // --------------------------------------------------------------------------------- sockets

  socket(): BsdSocket {
    const socket = this.stack.socket(this.ipv6 ? AF_INET6 : AF_INET);
    if (typeof socket === 'number') throw new Error(errnoName(-socket));
    this.sockets.push(socket);
    return socket;
  }

  listen(port = 80, backlog = 16, prepare?: (socket: BsdSocket) => void): BsdSocket {
    const socket = this.socket();
    prepare?.(socket);
    this.ok(socket.bind('', port), 'bind');
    this.ok(socket.listen(backlog), 'listen');
    this.ourPort = port;
    return socket;
  }

  accept(listener: BsdSocket): BsdSocket {
    const socket = listener.accept();
    if (typeof socket === 'number') throw new Error(`accept: ${errnoName(-socket)}`);
    this.sockets.push(socket);
    return socket;
  }

  /** connect(); the SYN is left to be expected. */
  connect(socket = this.socket(), port = this.peerPort): BsdSocket {
    const result = socket.connect(this.ipv6 ? 'fd90:1:2:3:4:5:6:1' : '10.90.0.1', port);
    if (result !== -115) throw new Error(`connect: ${errnoName(-result)}`);
    this.ourPort = socket.getsockname()!.port;
    this.peerPort = port;
    return socket;
  }

  #peerSyn(options: PeerOptions): Partial<Seg> {
    const syn: Partial<Seg> = { mss: options.mss ?? 1460, win: options.win ?? 65535 };
    if (options.sack) syn.sackOK = true;
    if (options.ts) syn.ts = [this.peerTsBase + this.clock.nowUs() / 1000, this.lastTs];
    if (options.ws !== undefined) syn.ws = options.ws;
    return syn;
  }

  /** An established connection that the peer opened. */
  passive(options: PeerOptions = {}, listener = this.listen()): BsdSocket {
    this.inject({ flags: 'S', seq: 0, ...this.#peerSyn(options) });
    this.expect({ flags: 'S.', seq: 0, ack: 1 });
    this.timestamps = options.ts ?? false;
    this.inject({ flags: '.', seq: 1, ack: 1, win: this.#window(options) });
    this.expectNothing();
    return this.accept(listener);
  }

  /** An established connection that we opened, round trip `rttMs`. */
  active(options: PeerOptions = {}, prepare?: (socket: BsdSocket) => void, rttMs = 0): BsdSocket {
    const socket = this.socket();
    prepare?.(socket);
    this.connect(socket);
    this.expect({ flags: 'S', seq: 0 });
    if (rttMs > 0) this.advance(rttMs);
    this.inject({ flags: 'S.', seq: 0, ack: 1, ...this.#peerSyn(options) });
    this.timestamps = options.ts ?? false;
    this.expect({ flags: '.', seq: 1, ack: 1 });
    if (options.ws !== undefined) {
      this.inject({ flags: '.', seq: 1, ack: 1, win: this.#window(options) });
      this.expectNothing();
    }
    return socket;
  }

  #window(options: PeerOptions): number {
    return Math.min((options.win ?? 65535), 65535);
  }

  ok(result: number, what: string): void {
    if (result < 0) {
      this.t.fail(`${what}: ${errnoName(-result)}`);
      throw new Error(what);
    }
  }

  /** Sends `length` bytes of the stream, which must all be taken unless `some`. Returns how many were. */
  send(socket: BsdSocket, length: number, flags = 0, some = false): number {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = byteAt(this.#sent + i);
    const taken = socket.send(bytes, 0, length, flags);
    if (taken > 0) this.#sent += taken;
    if (!some && taken !== length) {
      this.t.fail(`send(${length}) returned ${taken}`);
      throw new Error('send');
    }
    return taken;
  }

  /** Reads up to `length` bytes, of which `want` (default all) must be there, and checks them. */
  recv(socket: BsdSocket, length: number, want = length): void {
    const bytes = new Uint8Array(length);
    const got = socket.recv(bytes, 0, length);
    this.t.equal(got, want, `recv(${length}) gives ${want}`);
    for (let i = 0; i < got; i++) {
      if (bytes[i] !== byteAt(this.#received + i)) {
        this.t.fail(`received byte ${this.#received + i} is ${bytes[i]}, not ${byteAt(this.#received + i)}`);
        break;
      }
    }
    if (got > 0) this.#received += got;
  }

  /** A second connection's streams begin anew. */
  restartStreams(): void {
    this.#sent = 0;
    this.#received = 0;
  }

  info(socket: BsdSocket): TcpInfo {
    return socket.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
  }

  state(socket: BsdSocket, want: string): void {
    this.t.equal(this.info(socket).state, want, `state ${want}`);
  }

  errno(result: number | BsdSocket, want: string, what: string): void {
    const got = typeof result === 'number' ? (result < 0 ? errnoName(-result) : String(result)) : 'a socket';
    this.t.equal(got, want, `${what} gives ${want}`);
  }

  get counters(): TcpCounters {
    return this.stack.tcp.counters;
  }

  /** ICMP errors that nobody believed; where there is an application, TCPK is the first to doubt. */
  get icmpErrorsIgnored(): number {
    const { stack, tcp, tcpu } = this.stack;
    return tcp.counters.IcmpErrorsIgnored + (tcpu === null ? 0 : stack.tcp.counters.IcmpErrorsIgnored + stack.tcpk!.counters.IcmpErrorsIgnored);
  }

  /** Segments for nobody; where there is an application, they are the kernel-style TCP's to answer. */
  get noPort(): number {
    return this.counters.NoPort + (this.stack.tcpu === null ? 0 : this.stack.stack.tcp.counters.NoPort);
  }

  /** The only TCB in the table, for what no interface shows. */
  get tcb(): Tcb {
    let only: Tcb | undefined;
    this.stack.tcp.forEach((tcb) => (only = tcb));
    return only!;
  }

  /** The end of a script: nothing left unexpected; all blocks come back when the sockets are gone. */
  end(): void {
    this.expectNothing('nothing else came out');
    for (const socket of this.sockets) socket.abort();
    this.stack.settle();
    this.t.equal(this.stack.violations(), '', 'TCPK has nothing to complain of');
    this.stack.close();
    this.t.equal(this.stack.tcp.connections, 0, 'no connection is left');
    this.t.equal(this.stack.blocksHeld, 0, 'every block is back');
  }
}

export function describe(segment: Seg | Out): string {
  const parts = [segment.flags];
  if (segment.seq !== undefined) parts.push(`seq ${segment.seq}`);
  if (segment.ack !== undefined) parts.push(`ack ${segment.ack}`);
  if (segment.win !== undefined) parts.push(`win ${segment.win}`);
  if (segment.len) parts.push(`len ${segment.len}`);
  if (segment.urg) parts.push(`urg ${segment.urg}`);
  if (segment.mss !== undefined) parts.push(`mss ${segment.mss}`);
  if (segment.sackOK) parts.push('sackOK');
  if (segment.ts) parts.push(`ts ${segment.ts.join(',')}`);
  if (segment.ws !== undefined) parts.push(`ws ${segment.ws}`);
  if (segment.sack && segment.sack.length > 0) parts.push(`sack ${segment.sack.map((b) => b.join('-')).join(' ')}`);
  if (segment.gso !== undefined) parts.push(`gso ${segment.gso}`);
  return `[${parts.join(' ')}]`;
}

/** Runs `body` once for each pair of initial sequence numbers, and once with TCP in an application. */
export function script(name: string, options: Options | ((h: Harness) => void), body?: (h: Harness) => void): void {
  const run = typeof options === 'function' ? options : body!;
  const given = typeof options === 'function' ? {} : options;
  const variants: Options[] = [{ iss: 0x7fffff00, peerIss: 0xffffff00 }, { iss: 0xffffff00, peerIss: 0x7fffff00 }];
  if (given.tcpu === undefined) variants.push({ iss: 0x7fffff00, peerIss: 0x7fffff00, tcpu: true });
  t.test(name, (test) => {
    for (const variant of variants) {
      test.test(`iss ${variant.iss!.toString(16)}${variant.tcpu ? ', in an application' : ''}`, (inner) => {
        const h = new Harness(inner as unknown as Test, { ...variant, ...given });
        try {
          run(h);
          h.end();
        } catch (error) {
          // An expectation that failed has said so already.
          if (inner.passing()) inner.fail(error instanceof Error ? error.stack ?? error.message : String(error));
        }
        inner.end();
      });
    }
    test.end();
  });
}

/** As `script`, for what only the kernel-style TCP does. */
export function kernelScript(name: string, options: Options | ((h: Harness) => void), body?: (h: Harness) => void): void {
  const given = typeof options === 'function' ? {} : options;
  script(name, { ...given, tcpu: false }, typeof options === 'function' ? options : body!);
}
