/**
 * The packets that wait to leave through a link, as descriptors over one `PacketMemory`: a packet is
 * a header slot and any number of payload pieces that stay where they lie (gather write).
 *
 *     packets  | first piece | pieces | length | flags | gsoType | gsoSize | hdrLen | csumStart,csumOffset |
 *     pieces   | offset | length | offset | length | ...
 *
 * Build a packet with `begin(headroom)`, write the headers at the offset it returns, add payload with
 * `piece()`, and finish with `end()`. The layers nest: IP begins and ends, TCP fills in between.
 *
 * `Link.send()` takes packets from `head` on and advances `head`; what it leaves, stays queued.
 * When the queue runs empty it starts again at 0, so the header slots in use stay in cache.
 */

import { HEADER_SLOT } from './packet-memory.ts';
import type { PacketMemory } from './packet-memory.ts';

/** Int32 fields of a packet descriptor. */
export const TX_STRIDE = 8;
export const TX_FIRST_PIECE = 0;
export const TX_PIECES = 1;
/** Bytes of the packet in all, from the IP header on. */
export const TX_LENGTH = 2;
/** `CSUM_PARTIAL` or 0. */
export const TX_FLAGS = 3;
/** `GSO_NONE`, `GSO_TCPV4`, … */
export const TX_GSO_TYPE = 4;
/** Payload bytes of each packet that the link cuts from this one; 0 when it does not cut. */
export const TX_GSO_SIZE = 5;
/** Bytes of IP and transport header, which the link repeats when it cuts. */
export const TX_HEADER_LENGTH = 6;
/** Low 16 bits: where the checksummed part begins; high 16 bits: the checksum field's offset from there. */
export const TX_CSUM = 7;

/**
 * The transport checksum field holds the folded sum of the pseudo-header only: whoever transmits must
 * sum from csumStart to the end and store the complement (VIRTIO_NET_HDR_F_NEEDS_CSUM).
 */
export const CSUM_PARTIAL = 1;

/** Values of virtio_net_hdr.gso_type (linux/virtio_net.h). */
export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
/** IPv4 UDP fragmentation offload; old, never asked for. */
export const GSO_UDP = 3;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
/** Bit on top of a TCP type: the segments carry CWR. */
export const GSO_ECN = 0x80;

const PIECES_PER_PACKET = 12;

export class TransmitQueue {
  readonly memory: PacketMemory;
  /** `TX_STRIDE` fields a packet. */
  readonly packets: Int32Array;
  /** Offset and length of each piece; a packet's are side by side. The first is its headers. */
  readonly pieces: Int32Array;
  readonly capacity: number;
  /** The next packet to leave. */
  head = 0;
  /** One past the last complete packet. */
  tail = 0;

  /** Where the next packet's pieces go. */
  #nextPiece = 0;
  /** First piece of the packet begun, and one past its last. */
  #start = 0;
  #piece = 0;
  #headerLength = 0;
  #length = 0;
  /** Blocks to free when the queue has been emptied; see `owns()`. */
  #owned: number[] = [];

  constructor(memory: PacketMemory) {
    this.memory = memory;
    this.capacity = memory.headerSlots;
    this.packets = new Int32Array(this.capacity * TX_STRIDE);
    this.pieces = new Int32Array(this.capacity * PIECES_PER_PACKET * 2);
  }

  /** Packets that wait. */
  get count(): number {
    return this.tail - this.head;
  }

  get empty(): boolean {
    return this.head === this.tail;
  }

  /** How many more packets fit, however many pieces (up to 12 each) they have. */
  get room(): number {
    return this.capacity - this.tail;
  }

  /** Whether `begin()` will succeed: there is room for one more packet of up to 12 pieces. */
  get ready(): boolean {
    return this.tail < this.capacity && this.#nextPiece + PIECES_PER_PACKET <= this.pieces.length >> 1;
  }

  /**
   * Begins a packet whose headers take `headerLength` bytes (at most `HEADER_SLOT`). Returns the offset
   * where they go, or -1 when the queue is full (of packets, or nearly so of pieces). Nothing is queued
   * before `end()`; another `begin()` drops what was begun.
   */
  begin(headerLength: number): number {
    if (!this.ready) return -1;
    const offset = this.memory.headerBase + this.tail * HEADER_SLOT;
    this.#start = this.#nextPiece;
    this.#piece = this.#start + 1;
    this.#headerLength = headerLength;
    this.#length = headerLength;
    this.pieces[this.#start * 2] = offset;
    this.pieces[this.#start * 2 + 1] = headerLength;
    return offset;
  }

  /** Pieces that can still be added to the packet begun. */
  get pieceRoom(): number {
    return Math.min((this.pieces.length >> 1) - this.#piece, 1024 - (this.#piece - this.#start));
  }

  /** Adds `length` payload bytes at `offset` of the memory to the packet begun. Ask `pieceRoom` first. */
  piece(offset: number, length: number): void {
    const i = this.#piece++ * 2;
    this.pieces[i] = offset;
    this.pieces[i + 1] = length;
    this.#length += length;
  }

  /** Bytes of the packet begun so far, headers included. */
  get length(): number {
    return this.#length;
  }

  /**
   * Queues the packet begun.
   * @param csumStart  offset of the transport header in the packet, when the link is to finish the
   *                   checksum; -1 when the packet is complete
   * @param csumOffset offset of the checksum field from there
   * @param gsoType    how the link is to cut the packet, or `GSO_NONE`
   * @param gsoSize    payload bytes of each part
   */
  end(csumStart: number, csumOffset: number, gsoType: number, gsoSize: number): void {
    const p = this.tail * TX_STRIDE;
    const packets = this.packets;
    packets[p + TX_FIRST_PIECE] = this.#start;
    packets[p + TX_PIECES] = this.#piece - this.#start;
    packets[p + TX_LENGTH] = this.#length;
    packets[p + TX_FLAGS] = csumStart >= 0 ? CSUM_PARTIAL : 0;
    packets[p + TX_GSO_TYPE] = gsoType;
    packets[p + TX_GSO_SIZE] = gsoSize;
    packets[p + TX_HEADER_LENGTH] = this.#headerLength;
    packets[p + TX_CSUM] = csumStart >= 0 ? csumStart | (csumOffset << 16) : 0;
    this.tail++;
    // Until the packet has left, nobody may get the blocks that it names, whoever frees them.
    this.memory.pin();
    this.#nextPiece = this.#piece;
  }

  /**
   * Takes the packet last ended back, before any `send()`. Its descriptor stays readable at index `tail`,
   * its pieces and header slot until the next `begin()`: for a packet that must be cut up, or that
   * does not leave through the link.
   */
  takeBack(): void {
    this.tail--;
    this.#nextPiece = this.packets[this.tail * TX_STRIDE + TX_FIRST_PIECE]!;
  }

  /** The block at `block` carries pieces of queued packets and nobody else's: it is freed with them. */
  owns(block: number): void {
    this.#owned.push(block);
  }

  /** To be called by the owner of the queue after `Link.send()`: starts over when all have left. */
  reclaim(): void {
    if (this.head !== this.tail) return;
    this.head = 0;
    this.tail = 0;
    this.#nextPiece = 0;
    this.#start = 0;
    this.#piece = 0;
    this.memory.unpin();
    while (this.#owned.length > 0) this.memory.free(this.#owned.pop()!);
  }

  /** Drops all that wait (the link is gone). Returns how many packets that were. */
  clear(): number {
    const dropped = this.count;
    this.head = this.tail;
    this.reclaim();
    return dropped;
  }

  /** Copies packet `index` as one run of bytes to `to[at…]`. Returns its length. */
  copyPacket(index: number, to: Uint8Array, at: number): number {
    const p = index * TX_STRIDE;
    const bytes = this.memory.bytes;
    let piece = this.packets[p + TX_FIRST_PIECE]! * 2;
    const last = piece + this.packets[p + TX_PIECES]! * 2;
    const start = at;
    for (; piece < last; piece += 2) {
      const offset = this.pieces[piece]!;
      const length = this.pieces[piece + 1]!;
      to.set(bytes.subarray(offset, offset + length), at);
      at += length;
    }
    return at - start;
  }
}
