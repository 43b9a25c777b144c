/** What the link tests share: a stack that only records, and packets made by hand. */

import { PacketMemory } from '../../lib/buffer/packet-memory.ts';
import { GSO_NONE, TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { VirtualClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { RX_LENGTH, RX_OFFSET, RX_STRIDE } from '../../lib/link/link.ts';
import type { Link, LinkHost, PacketBatch } from '../../lib/link/link.ts';
import { fold, sumAddress, sumBytes } from '../../lib/wire/checksum.ts';
import { finishIpv4Checksum, writeIpv4Header } from '../../lib/wire/ipv4.ts';
import { writeIpv6Header } from '../../lib/wire/ipv6.ts';

/** An arrived packet, copied. */
export interface Arrival {
  bytes: Uint8Array;
  meta: number[];
  timeUs: number;
  /** Number of the batch that it came in. */
  batch: number;
}

/** The stack's side of a link, recording what comes. */
export class RecordingHost implements LinkHost {
  readonly memory = new PacketMemory({ size: 2 << 20, headerSlots: 256 });
  readonly clock: Clock;
  readonly queue = new TransmitQueue(this.memory);
  readonly link: Link;
  readonly arrivals: Arrival[] = [];
  batches = 0;
  writableCalls = 0;
  downs: Error[] = [];
  /** Runs inside `input()`. */
  onInput: ((batch: PacketBatch) => void) | null = null;
  onWritable: (() => void) | null = null;
  inSend = false;

  constructor(link: Link, clock: Clock = new VirtualClock()) {
    this.clock = clock;
    this.link = link;
    link.attach(this);
  }

  input(batch: PacketBatch): void {
    if (this.inSend) throw new Error('input() inside send()');
    for (let i = 0; i < batch.count; i++) {
      const meta = [...batch.meta.subarray(i * RX_STRIDE, (i + 1) * RX_STRIDE)];
      const bytes = batch.slab.slice(meta[RX_OFFSET]!, meta[RX_OFFSET]! + meta[RX_LENGTH]!);
      this.arrivals.push({ bytes, meta, timeUs: batch.timeUs, batch: this.batches });
    }
    this.batches++;
    this.onInput?.(batch);
  }

  writable(): void {
    if (this.inSend) throw new Error('writable() inside send()');
    this.writableCalls++;
    this.flush();
    this.onWritable?.();
  }

  down(error: Error): void {
    this.downs.push(error);
  }

  /** Queues a packet: the first `headerLength` bytes in a header slot, the rest in pieces of `pieceLength`. */
  queuePacket(bytes: Uint8Array, options: {
    headerLength?: number; pieceLength?: number; csumStart?: number; csumOffset?: number; gsoType?: number; gsoSize?: number;
  } = {}): boolean {
    const headerLength = Math.min(options.headerLength ?? 40, bytes.length);
    const pieceLength = options.pieceLength ?? 1000;
    const at = this.queue.begin(headerLength);
    if (at < 0) return false;
    this.memory.bytes.set(bytes.subarray(0, headerLength), at);
    for (let i = headerLength; i < bytes.length; i += pieceLength) {
      const piece = bytes.subarray(i, Math.min(i + pieceLength, bytes.length));
      const block = this.memory.allocate();
      if (block < 0) throw new Error('no block');
      this.memory.bytes.set(piece, block);
      this.queue.piece(block, piece.length);
      this.queue.owns(block);
    }
    this.queue.end(options.csumStart ?? -1, options.csumOffset ?? 0, options.gsoType ?? GSO_NONE, options.gsoSize ?? 0);
    return true;
  }

  /** Gives the link what is queued. */
  flush(): void {
    this.inSend = true;
    this.link.send(this.queue);
    this.inSend = false;
    this.queue.reclaim();
  }

  /** Queues and sends one packet. */
  send(bytes: Uint8Array, options?: Parameters<RecordingHost['queuePacket']>[1]): void {
    if (!this.queuePacket(bytes, options)) throw new Error('transmit queue full');
    this.flush();
  }
}

/** `length` bytes that tell their number and place. */
export function numbered(number: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (number * 31 + i * 7) & 0xff;
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

/** The number that `numbered()` was given. */
export function numberOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

export interface SegmentFields {
  sourcePort?: number;
  destinationPort?: number;
  seq?: number;
  ack?: number;
  flags?: number;
  window?: number;
  options?: number[];
  payload?: Uint8Array;
  /** Leave the checksum to the device: the field holds the pseudo-header's sum. */
  partial?: boolean;
}

const SOURCE4 = 0x0a5a0002 | 0;
const DESTINATION4 = 0x0a5a0001 | 0;
const SOURCE6 = [0xfd90 << 16, 0, 0, 2] as const;
const DESTINATION6 = [0xfd90 << 16, 0, 0, 1] as const;

/** An IP packet from 10.90.0.2 to 10.90.0.1, or fd90::2 to fd90::1, with `transport` after the header. */
export function ipPacket(version: 4 | 6, protocol: number, transport: Uint8Array, fragment = 0x4000, id = 0): Uint8Array {
  const headerLength = version === 4 ? 20 : 40;
  const bytes = new Uint8Array(headerLength + transport.length);
  const view = new DataView(bytes.buffer);
  if (version === 4) {
    writeIpv4Header(view, 0, 20, 0, bytes.length, id, fragment, 64, protocol, SOURCE4, DESTINATION4);
    finishIpv4Checksum(view, 0);
  } else {
    writeIpv6Header(view, 0, 0, 0, transport.length, protocol, 64, ...SOURCE6, ...DESTINATION6);
  }
  bytes.set(transport, headerLength);
  return bytes;
}

/** Stores the transport checksum of a packet made by `ipPacket()`, or the pseudo-header's sum alone. */
export function setChecksum(packet: Uint8Array, protocol: number, field: number, partial = false): Uint8Array {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const at = packet[0]! >> 4 === 4 ? 20 : 40;
  const length = packet.length - at;
  const pseudo = at === 20
    ? sumAddress(0, 0, SOURCE4, DESTINATION4) + protocol + length
    : sumAddress(...SOURCE6) + sumAddress(...DESTINATION6) + protocol + length;
  view.setUint16(at + field, 0);
  view.setUint16(at + field, partial ? fold(pseudo) : ~fold(pseudo + sumBytes(view, at, length)) & 0xffff);
  return packet;
}

/** Whether the transport checksum of a packet made here is right. */
export function checksumRight(packet: Uint8Array, protocol: number): boolean {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const at = packet[0]! >> 4 === 4 ? 20 : 40;
  const length = packet.length - at;
  const pseudo = at === 20
    ? sumAddress(0, 0, view.getInt32(12), view.getInt32(16)) + protocol + length
    : sumBytes(view, 8, 32) + protocol + length;
  return fold(pseudo + sumBytes(view, at, length)) === 0xffff;
}

export function tcpPacket(version: 4 | 6, fields: SegmentFields = {}): Uint8Array {
  const options = fields.options ?? [];
  const payload = fields.payload ?? new Uint8Array(0);
  const headerLength = 20 + options.length;
  const segment = new Uint8Array(headerLength + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, fields.sourcePort ?? 80);
  view.setUint16(2, fields.destinationPort ?? 40001);
  view.setUint32(4, fields.seq ?? 1);
  view.setUint32(8, fields.ack ?? 0);
  view.setUint8(12, (headerLength / 4) << 4);
  view.setUint8(13, fields.flags ?? 0x10);
  view.setUint16(14, fields.window ?? 65535);
  segment.set(options, 20);
  segment.set(payload, headerLength);
  return setChecksum(ipPacket(version, 6, segment), 6, 16, fields.partial);
}

export function udpPacket(version: 4 | 6, payload: Uint8Array, sourcePort = 53, destinationPort = 4000): Uint8Array {
  const datagram = new Uint8Array(8 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, datagram.length);
  datagram.set(payload, 8);
  return setChecksum(ipPacket(version, 17, datagram), 17, 6);
}
