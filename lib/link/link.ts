/**
 * What a link is to the stack: a place that takes IP packets and gives IP packets, in batches.
 * TUN devices, the memory pair, and all middleware (capture, impairment, trace) have this shape, and
 * so can any object of yours; `PacketLink` (packet-link.ts) is the short way to one.
 */

import type { Clock } from '../clock.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';

/** The link finishes checksums of packets marked `CSUM_PARTIAL`. */
export const LINK_CSUM = 1;
/** The link cuts TCP over IPv4 (`GSO_TCPV4`), and may hand in merged segments. */
export const LINK_TSO4 = 2;
/** The link cuts TCP over IPv6 (`GSO_TCPV6`). */
export const LINK_TSO6 = 4;
/** The link cuts UDP (`GSO_UDP_L4`). */
export const LINK_USO = 8;

/** Int32 fields of each packet in a batch. */
export const RX_STRIDE = 8;
/** Offset of the IP header in the slab. */
export const RX_OFFSET = 0;
/** Bytes of the packet. */
export const RX_LENGTH = 1;
/** `RX_CSUM_…` bits. */
export const RX_FLAGS = 2;
/** `GSO_NONE`, or how the packet was merged. */
export const RX_GSO_TYPE = 3;
/** Payload bytes of each of the packets that were merged. */
export const RX_GSO_SIZE = 4;
/** Bytes of headers, as the device says; a hint. */
export const RX_HEADER_LENGTH = 5;
/** With `RX_CSUM_PARTIAL`: offset of the transport header. With `RX_CSUM_COMPLETE`: the sum. */
export const RX_CSUM = 6;
/** With `RX_CSUM_PARTIAL`: offset of the checksum field from there. */
export const RX_CSUM_OFFSET = 7;

/** The transport checksum is not filled in, and the data is known to be right (it came from this machine). */
export const RX_CSUM_PARTIAL = 1;
/** The device has verified the transport checksum. */
export const RX_CSUM_VALID = 2;
/** `RX_CSUM` holds the folded 16-bit ones' complement sum of all bytes of the packet (big-endian words). */
export const RX_CSUM_COMPLETE = 4;

/** Packets that arrived together. One object is used again and again; it is valid during `input()` only. */
export class PacketBatch {
  slab: Uint8Array;
  view: DataView;
  /** Packets in this batch. */
  count = 0;
  /** When they were read from the device, in µs of the host's clock. */
  timeUs = 0;
  /** `RX_STRIDE` fields a packet. */
  readonly meta: Int32Array;
  /** Most packets that one batch can hold. */
  readonly capacity: number;

  constructor(slab: Uint8Array, capacity: number) {
    this.slab = slab;
    this.view = new DataView(slab.buffer, slab.byteOffset, slab.byteLength);
    this.capacity = capacity;
    this.meta = new Int32Array(capacity * RX_STRIDE);
  }

  /** Adds a plain packet (no offload) that lies at `offset` of the slab. */
  add(offset: number, length: number): void {
    const m = this.count++ * RX_STRIDE;
    this.meta.fill(0, m, m + RX_STRIDE);
    this.meta[m + RX_OFFSET] = offset;
    this.meta[m + RX_LENGTH] = length;
  }
}

/** What a link sees of the stack that it is attached to. */
export interface LinkHost {
  /**
   * The stack's packet memory. A link lays arriving packets into `memory.bytes[0 … memory.rxBytes)`;
   * it may use a slab of its own instead, at the price of slower copies.
   */
  readonly memory: PacketMemory;
  readonly clock: Clock;
  /**
   * Hands in arrived packets. When it returns, all that they cause has happened, `Link.send()` calls
   * included, and the slab may be overwritten. Never call it from inside `Link.send()`.
   */
  input(batch: PacketBatch): void;
  /** After a `send()` that left packets in the queue: there is room again. Not from inside `send()`. */
  writable(): void;
  /** The link is gone for good (device removed, descriptor broken). */
  down(error: Error): void;
}

export interface Link {
  readonly name: string;
  /** Largest IP packet, in bytes, that the link carries without cutting. Read again for each new route. */
  readonly mtu: number;
  /** `LINK_…` bits. Fixed once attached. */
  readonly features: number;
  /** What the link counts, if it counts. */
  readonly counters?: object;
  /** Called once, by the stack. From now on the link may call the host. */
  attach(host: LinkHost): void;
  /**
   * Takes packets from `queue.head` up to `queue.tail` and advances `queue.head` past those it took.
   * What it takes it must have copied or sent when it returns. Leaves the rest when it would have to
   * wait, and calls `host.writable()` later.
   */
  send(queue: TransmitQueue): void;
  /** Whether an open link keeps the process alive. The stack calls these as sockets come and go. */
  ref(): void;
  unref(): void;
  /** Gives everything back. Nothing calls the host any more. Closing twice is fine. */
  close(): void;
}
