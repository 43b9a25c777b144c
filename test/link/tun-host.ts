/** A stand-in for a stack on a link: keeps what arrives, and sends packets made of bytes. */

import { PacketMemory } from '../../lib/buffer/packet-memory.ts';
import { GSO_NONE, TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { SystemClock } from '../../lib/clock.ts';
import {
  RX_CSUM, RX_CSUM_OFFSET, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE, RX_HEADER_LENGTH, RX_LENGTH, RX_OFFSET, RX_STRIDE,
} from '../../lib/link/link.ts';
import type { Link, LinkHost, PacketBatch } from '../../lib/link/link.ts';

export interface Arrived {
  bytes: Buffer;
  offset: number;
  flags: number;
  gsoType: number;
  gsoSize: number;
  headerLength: number;
  csum: number;
  csumOffset: number;
  timeUs: number;
  /** Packets that came in the same batch. */
  together: number;
}

export class TestHost implements LinkHost {
  readonly memory = new PacketMemory({ size: 4 << 20 });
  readonly clock = new SystemClock();
  readonly queue = new TransmitQueue(this.memory);
  readonly arrived: Arrived[] = [];
  readonly link: Link;
  writables = 0;
  downError: Error | null = null;
  onInput: (() => void) | null = null;
  #wake: (() => void) | null = null;
  #nextByte: number;

  constructor(link: Link) {
    this.link = link;
    this.#nextByte = this.memory.blockBase;
    link.attach(this);
  }

  input(batch: PacketBatch): void {
    for (let i = 0, m = 0; i < batch.count; i++, m += RX_STRIDE) {
      const field = (n: number): number => batch.meta[m + n]!;
      this.arrived.push({
        bytes: Buffer.from(batch.slab.slice(field(RX_OFFSET), field(RX_OFFSET) + field(RX_LENGTH))),
        offset: field(RX_OFFSET),
        flags: field(RX_FLAGS),
        gsoType: field(RX_GSO_TYPE),
        gsoSize: field(RX_GSO_SIZE),
        headerLength: field(RX_HEADER_LENGTH),
        csum: field(RX_CSUM),
        csumOffset: field(RX_CSUM_OFFSET),
        timeUs: batch.timeUs,
        together: batch.count,
      });
    }
    this.onInput?.();
    this.#wake?.();
  }

  writable(): void {
    this.writables++;
    this.#wake?.();
  }

  down(error: Error): void {
    this.downError = error;
    this.#wake?.();
  }

  /** Waits, with the link referenced, until `done()` holds; looks after each event of the link. */
  async until(done: () => boolean): Promise<void> {
    this.link.ref();
    while (!done()) await new Promise<void>((resolve) => { this.#wake = resolve; });
    this.#wake = null;
    this.link.unref();
  }

  /** Waits for a packet that `matches`, and removes it from `arrived`. */
  async packet(matches: (packet: Arrived) => boolean): Promise<Arrived> {
    let index = -1;
    await this.until(() => (index = this.arrived.findIndex(matches)) >= 0);
    return this.arrived.splice(index, 1)[0]!;
  }

  /**
   * Queues a packet: the first `headerLength` bytes go into a header slot, the rest into pieces of the
   * given lengths (the last takes what is left), each at an odd or even place as it falls.
   */
  put(bytes: Uint8Array, headerLength: number, pieces: number[] = [], csum = -1, csumOffset = 0,
    gsoType = GSO_NONE, gsoSize = 0): void {
    const { memory, queue } = this;
    const at = queue.begin(headerLength);
    memory.bytes.set(bytes.subarray(0, headerLength), at);
    let from = headerLength;
    const lengths = [...pieces, Infinity];
    for (const length of lengths) {
      if (from === bytes.length) break;
      const part = bytes.subarray(from, Math.min(from + length, bytes.length));
      memory.bytes.set(part, this.#nextByte);
      queue.piece(this.#nextByte, part.length);
      this.#nextByte += part.length + 1;
      from += part.length;
    }
    queue.end(csum, csumOffset, gsoType, gsoSize);
  }

  send(): void {
    this.link.send(this.queue);
    if (this.queue.empty) this.#nextByte = this.memory.blockBase;
    this.queue.reclaim();
  }
}

/** RFC 1071, the plain way. */
export function referenceSum(bytes: Uint8Array, sum = 0): number {
  for (let i = 0; i < bytes.length; i++) sum += i & 1 ? bytes[i]! : bytes[i]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

function addressBytes(text: string): Buffer {
  if (!text.includes(':')) return Buffer.from(text.split('.').map(Number));
  const [left, right] = text.split('::').map((half) => (half === '' ? [] : half.split(':').map((word) => parseInt(word, 16))));
  const words = [...left!, ...new Array<number>(8 - left!.length - (right?.length ?? 0)).fill(0), ...(right ?? [])];
  return Buffer.from(words.flatMap((word) => [word >> 8, word & 0xff]));
}

/** The sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1). */
export function pseudoSum(from: string, to: string, protocol: number, length: number): number {
  return referenceSum(Buffer.concat([addressBytes(from), addressBytes(to)]), protocol + length);
}

/** A packet with an IP header of no options. */
export function ipPacket(from: string, to: string, protocol: number, payload: Uint8Array): Buffer {
  const source = addressBytes(from);
  const destination = addressBytes(to);
  const header = Buffer.alloc(source.length === 4 ? 20 : 40);
  if (source.length === 4) {
    header[0] = 0x45;
    header.writeUInt16BE(20 + payload.length, 2);
    header[8] = 64;
    header[9] = protocol;
    source.copy(header, 12);
    destination.copy(header, 16);
    header.writeUInt16BE(~referenceSum(header) & 0xffff, 10);
  } else {
    header[0] = 0x60;
    header.writeUInt16BE(payload.length, 4);
    header[6] = protocol;
    header[7] = 64;
    source.copy(header, 8);
    destination.copy(header, 24);
  }
  return Buffer.concat([header, payload]);
}

/** An echo request with the right checksum. */
export function echoRequest(from: string, to: string, sequence: number, data: Uint8Array): Buffer {
  const v6 = from.includes(':');
  const message = Buffer.concat([Buffer.from([v6 ? 128 : 8, 0, 0, 0, 0x12, 0x34, sequence >> 8, sequence & 0xff]), data]);
  const sum = v6 ? pseudoSum(from, to, 58, message.length) : 0;
  message.writeUInt16BE(~referenceSum(message, sum) & 0xffff, 2);
  return ipPacket(from, to, v6 ? 58 : 1, message);
}

/** A UDP packet whose checksum field holds the pseudo-header sum only, as for CSUM_PARTIAL. */
export function partialUdp(from: string, to: string, fromPort: number, toPort: number, data: Uint8Array): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(fromPort, 0);
  header.writeUInt16BE(toPort, 2);
  header.writeUInt16BE(8 + data.length, 4);
  header.writeUInt16BE(pseudoSum(from, to, 17, 8 + data.length), 6);
  return ipPacket(from, to, 17, Buffer.concat([header, data]));
}

/** A TCP segment without options, its checksum field as for CSUM_PARTIAL. */
export function partialTcp(from: string, to: string, fromPort: number, toPort: number, ack: number, data: Uint8Array): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(fromPort, 0);
  header.writeUInt16BE(toPort, 2);
  header.writeUInt32BE(1000, 4);
  header.writeUInt32BE(ack, 8);
  header[12] = 5 << 4;
  header[13] = 0x10; // ACK
  header.writeUInt16BE(0xffff, 14);
  header.writeUInt16BE(pseudoSum(from, to, 6, 20 + data.length), 16);
  return ipPacket(from, to, 6, Buffer.concat([header, data]));
}
