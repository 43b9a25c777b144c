/**
 * An IP layer without a stack around it: packets go in as bytes and come out as bytes, time is set by
 * the test, transports write down what they get. Packets are built, and checksums made, by code that
 * shares nothing with the code under test.
 */

import { PacketMemory } from '../../lib/buffer/packet-memory.ts';
import { CSUM_PARTIAL, TX_CSUM, TX_FLAGS, TX_LENGTH, TX_STRIDE, TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { parseCidr } from '../../lib/ip/cidr.ts';
import type { Cidr } from '../../lib/ip/cidr.ts';
import { IpFlow } from '../../lib/ip/flow.ts';
import { Ip } from '../../lib/ip/ip.ts';
import type { IpLimits, IpOptions } from '../../lib/ip/ip.ts';
import type { IcmpError, IpPacket } from '../../lib/ip/packet.ts';
import type { Transport } from '../../lib/ip/transport.ts';
import { PacketBatch, RX_CSUM, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE } from '../../lib/link/link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { formatAddress, parseAddress } from '../../lib/wire/address.ts';
import type { AddressWords } from '../../lib/wire/address.ts';

export const OURS4 = '10.90.0.2';
export const PEER4 = '10.90.0.1';
export const OURS6 = 'fd90::2';
export const PEER6 = 'fd90::1';

export function words(text: string): AddressWords {
  const w = parseAddress(text);
  if (w === null) throw new Error(`bad address ${text}`);
  return w;
}

export function cidr(text: string): Cidr {
  const c = parseCidr(text);
  if (c === null) throw new Error(`bad CIDR ${text}`);
  return c;
}

/** The checksum as RFC 1071 section 4.1 writes it. */
export function naiveChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return ~sum & 0xffff;
}

export function concat(...parts: readonly (Uint8Array | readonly number[])[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((p) => [...p]));
}

export function u16(n: number): number[] {
  return [(n >>> 8) & 0xff, n & 0xff];
}

export function u32(n: number): number[] {
  return [...u16(n >>> 16), ...u16(n & 0xffff)];
}

export function addressBytes(text: string): number[] {
  const { w0, w1, w2, w3 } = words(text);
  return text.includes(':') ? [w0, w1, w2, w3].flatMap(u32) : u32(w3);
}

/** `length` bytes that are not all alike. */
export function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) * 13 + seed) & 0xff);
}

/** An incompletely summed part with its checksum put in at `at`. */
export function withChecksum(bytes: Uint8Array, at: number, pseudo: Uint8Array = new Uint8Array(0)): Uint8Array {
  const out = bytes.slice();
  out[at] = 0;
  out[at + 1] = 0;
  const sum = naiveChecksum(concat(pseudo, out));
  out[at] = sum >>> 8;
  out[at + 1] = sum & 0xff;
  return out;
}

export function pseudoHeader(source: string, destination: string, protocol: number, length: number): Uint8Array {
  return concat(addressBytes(source), addressBytes(destination), u32(length), [0, 0, 0, protocol]);
}

export interface V4 {
  source?: string;
  destination?: string;
  protocol?: number;
  tos?: number;
  ttl?: number;
  id?: number;
  /** The 16-bit word with flags and offset. */
  fragment?: number;
  options?: readonly number[];
  /** Overrides the right one. */
  totalLength?: number;
}

export function ipv4(payload: Uint8Array | readonly number[], v: V4 = {}): Uint8Array {
  const options = v.options ?? [];
  const headerLength = 20 + options.length;
  const header = concat([0x40 | (headerLength >> 2), v.tos ?? 0], u16(v.totalLength ?? headerLength + payload.length),
    u16(v.id ?? 1), u16(v.fragment ?? 0), [v.ttl ?? 64, v.protocol ?? 17, 0, 0],
    addressBytes(v.source ?? PEER4), addressBytes(v.destination ?? OURS4), options);
  return concat(withChecksum(header, 10), payload);
}

export interface V6 {
  source?: string;
  destination?: string;
  nextHeader?: number;
  tos?: number;
  hopLimit?: number;
  label?: number;
  payloadLength?: number;
}

export function ipv6(payload: Uint8Array | readonly number[], v: V6 = {}): Uint8Array {
  return concat(u32(((6 << 28) | ((v.tos ?? 0) << 20) | (v.label ?? 0)) >>> 0), u16(v.payloadLength ?? payload.length),
    [v.nextHeader ?? 17, v.hopLimit ?? 64], addressBytes(v.source ?? PEER6), addressBytes(v.destination ?? OURS6), payload);
}

export function fragmentHeader(nextHeader: number, offset: number, more: boolean, id: number): number[] {
  return [nextHeader, 0, ...u16(offset | (more ? 1 : 0)), ...u32(id)];
}

export function udp(data: Uint8Array | readonly number[], source = PEER4, destination = OURS4, ports = [1000, 2000]): Uint8Array {
  const length = 8 + data.length;
  const bytes = concat(u16(ports[0]!), u16(ports[1]!), u16(length), [0, 0], data);
  return withChecksum(bytes, 6, pseudoHeader(source, destination, 17, length));
}

export function icmp(type: number, code: number, rest: number, data: Uint8Array | readonly number[]): Uint8Array {
  return withChecksum(concat([type, code, 0, 0], u32(rest >>> 0), data), 2);
}

export function icmpv6(
  type: number, code: number, rest: number, data: Uint8Array | readonly number[], source = PEER6, destination = OURS6,
): Uint8Array {
  const bytes = concat([type, code, 0, 0], u32(rest >>> 0), data);
  return withChecksum(bytes, 2, pseudoHeader(source, destination, 58, bytes.length));
}

/** What a transport was given, copied. */
export interface Received {
  version: number;
  source: string;
  destination: string;
  protocol: number;
  payload: Uint8Array;
  tos: number;
  ttl: number;
  toMany: boolean;
  checksumOk: boolean;
  transportSum: number;
  gsoType: number;
  gsoSize: number;
  timeUs: number;
}

export class Recorder implements Transport {
  readonly packets: Received[] = [];
  readonly errors: (IcmpError & { quoted: Uint8Array })[] = [];
  readonly changed: string[] = [];
  /** Called with each packet itself. */
  onPacket: ((packet: IpPacket) => void) | null = null;
  /** Whether quoted packets belong to a living flow. */
  knows = true;

  input(packet: IpPacket): void {
    this.packets.push({
      version: packet.version,
      source: formatAddress(packet.src0, packet.src1, packet.src2, packet.src3),
      destination: formatAddress(packet.dst0, packet.dst1, packet.dst2, packet.dst3),
      protocol: packet.protocol,
      payload: packet.slab.slice(packet.offset, packet.offset + packet.length),
      tos: packet.tos,
      ttl: packet.ttl,
      toMany: packet.toMany,
      checksumOk: packet.checksumOk,
      transportSum: packet.transportSum,
      gsoType: packet.gsoType,
      gsoSize: packet.gsoSize,
      timeUs: packet.timeUs,
    });
    this.onPacket?.(packet);
  }

  icmpError(error: IcmpError): boolean {
    this.errors.push({ ...error, quoted: error.slab.slice(error.offset, error.offset + error.length) });
    return this.knows;
  }

  pathMtuChanged(r0: number, r1: number, r2: number, r3: number): void {
    this.changed.push(formatAddress(r0, r1, r2, r3));
  }
}

export interface WorldOptions {
  addresses?: readonly string[];
  routes?: IpOptions['routes'];
  mtu?: number;
  features?: number;
  limits?: IpLimits;
  memorySize?: number;
  headerSlots?: number;
}

export class World {
  readonly memory: PacketMemory;
  readonly tx: TransmitQueue;
  readonly ip: Ip;
  readonly udp = new Recorder();
  readonly tcp = new Recorder();
  readonly batch: PacketBatch;

  constructor(options: WorldOptions = {}) {
    this.memory = new PacketMemory({ size: options.memorySize ?? 16 << 20, headerSlots: options.headerSlots ?? 256 });
    this.tx = new TransmitQueue(this.memory);
    this.ip = new Ip({
      tx: this.tx, memory: this.memory, random: new SeededRandom(7), mtu: options.mtu ?? 1500, features: options.features ?? 0,
      addresses: (options.addresses ?? [`${OURS4}/24`, `${OURS6}/64`]).map(cidr), routes: options.routes, limits: options.limits,
    });
    this.ip.register(17, this.udp);
    this.ip.register(6, this.tcp);
    this.batch = new PacketBatch(this.memory.bytes, 4);
  }

  get blocksInUse(): number {
    return this.memory.blockCount - this.memory.freeBlocks;
  }

  /** Hands in one packet and returns what was sent because of it. */
  receive(packet: Uint8Array, meta: { flags?: number; csum?: number; gsoType?: number; gsoSize?: number } = {}): Uint8Array[] {
    const { batch } = this;
    batch.count = 0;
    batch.timeUs = this.ip.nowUs;
    // An offset that is not aligned, as in a dense slab.
    batch.slab.set(packet, 3);
    batch.add(3, packet.length);
    batch.meta[RX_FLAGS] = meta.flags ?? 0;
    batch.meta[RX_CSUM] = meta.csum ?? 0;
    batch.meta[RX_GSO_TYPE] = meta.gsoType ?? 0;
    batch.meta[RX_GSO_SIZE] = meta.gsoSize ?? 0;
    this.ip.input(batch, 0);
    batch.slab.fill(0xee, 3, 3 + packet.length);
    return this.sent();
  }

  /** Takes what waits to be sent, with checksums finished as a link would. */
  sent(): Uint8Array[] {
    const { tx } = this;
    const out: Uint8Array[] = [];
    for (let i = tx.head; i < tx.tail; i++) {
      let bytes = new Uint8Array(tx.packets[i * TX_STRIDE + TX_LENGTH]!);
      tx.copyPacket(i, bytes, 0);
      if ((tx.packets[i * TX_STRIDE + TX_FLAGS]! & CSUM_PARTIAL) !== 0) {
        const csum = tx.packets[i * TX_STRIDE + TX_CSUM]!;
        const start = csum & 0xffff;
        const at = start + (csum >>> 16);
        const sum = naiveChecksum(bytes.subarray(start));
        bytes = concat(bytes.subarray(0, at), u16(sum), bytes.subarray(at + 2)) as Uint8Array<ArrayBuffer>;
      }
      out.push(bytes);
    }
    tx.head = tx.tail;
    tx.reclaim();
    return out;
  }

  /** Hands in all packets that the stack sent to itself. */
  loop(): number {
    let n = 0;
    for (let batch = this.ip.takeLoopback(); batch !== null; batch = this.ip.takeLoopback()) {
      for (let i = 0; i < batch.count; i++) this.ip.input(batch, i);
      n += batch.count;
    }
    return n;
  }

  flow(remote: string, protocol = 17, choices: Partial<IpFlow> = {}): IpFlow {
    const r = words(remote);
    const flow = new IpFlow();
    Object.assign(flow, { protocol, r0: r.w0, r1: r.w1, r2: r.w2, r3: r.w3 }, choices);
    return flow;
  }

  /** Sends a datagram: `header` goes into the slot, `data` into blocks, in pieces of `pieceSize`. */
  send(flow: IpFlow, header: Uint8Array, data: Uint8Array, csumOffset: number, pieceSize = 8192): number {
    const at = this.ip.begin(flow, header.length);
    if (at < 0) return at;
    this.memory.bytes.set(header, at);
    const blocks: number[] = [];
    for (let i = 0; i < data.length; i += pieceSize) {
      const part = data.subarray(i, i + pieceSize);
      const block = this.memory.allocate();
      blocks.push(block);
      this.memory.bytes.set(part, block);
      this.tx.piece(block, part.length);
    }
    const result = this.ip.end(flow, csumOffset, 0, 0);
    for (const block of blocks) this.tx.owns(block);
    return result;
  }
}

/** A packet that came out, taken apart. */
export function parse(packet: Uint8Array): {
  version: number; source: string; destination: string; protocol: number; payload: Uint8Array; tos: number; ttl: number;
  id: number; fragment: number;
} {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const text = (at: number, n: number): string => n === 1
    ? formatAddress(0, 0, 0xffff, view.getInt32(at))
    : formatAddress(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12));
  if (packet[0]! >>> 4 === 4) {
    const headerLength = (packet[0]! & 15) * 4;
    if (naiveChecksum(packet.subarray(0, headerLength)) !== 0) throw new Error('bad header checksum');
    if (view.getUint16(2) !== packet.length) throw new Error('bad total length');
    return {
      version: 4, source: text(12, 1), destination: text(16, 1), protocol: packet[9]!, payload: packet.subarray(headerLength),
      tos: packet[1]!, ttl: packet[8]!, id: view.getUint16(4), fragment: view.getUint16(6),
    };
  }
  if (view.getUint16(4) !== packet.length - 40) throw new Error('bad payload length');
  return {
    version: 6, source: text(8, 4), destination: text(24, 4), protocol: packet[6]!, payload: packet.subarray(40),
    tos: (view.getUint16(0) >>> 4) & 0xff, ttl: packet[7]!, id: 0, fragment: 0,
  };
}

/** Whether the transport checksum of a packet that came out is right. */
export function transportOk(packet: Uint8Array): boolean {
  const p = parse(packet);
  const pseudo = p.protocol === 1 ? new Uint8Array(0) : pseudoHeader(p.source, p.destination, p.protocol, p.payload.length);
  return naiveChecksum(concat(pseudo, p.payload)) === 0;
}
