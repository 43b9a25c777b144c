/**
 * Two links joined back to back: what one stack sends, the other receives. Both stacks live in one
 * process; no privileges, no device. With a `VirtualClock` the pair is exact and repeatable.
 *
 * Each direction is a ring of bytes and a ring of packet records, both reused for ever:
 *
 *     bytes    |....[ packet ][ packet ][ packet ].......|   a packet lies in one run, 8-byte aligned
 *     packets  | offset length flags gso… |               RX_STRIDE fields, as the receiver sees them
 *
 * `send()` copies into the ring; an alarm hands all that is due to the peer, as one batch in the peer's
 * receive slab. A full ring leaves packets in the sender's queue and says `writable()` when it drained.
 *
 * With offload features claimed, super-segments and partial checksums cross as they are, marked as a
 * device would mark them. Packets beyond the MTU that are not to be cut are dropped, as a wire does.
 * Left out: loss, rate, reordering (see impair.ts).
 */

import { copyBytes, HEADER_SLOT } from '../buffer/packet-memory.ts';
import {
  CSUM_PARTIAL, GSO_NONE, TX_CSUM, TX_FIRST_PIECE, TX_FLAGS, TX_GSO_SIZE, TX_GSO_TYPE, TX_HEADER_LENGTH, TX_LENGTH, TX_PIECES,
  TX_STRIDE,
} from '../buffer/transmit-queue.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import type { Clock } from '../clock.ts';
import { LinkAlarm } from './link-alarm.ts';
import {
  PacketBatch, RX_CSUM, RX_CSUM_OFFSET, RX_CSUM_PARTIAL, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE, RX_HEADER_LENGTH, RX_LENGTH,
  RX_OFFSET, RX_STRIDE,
} from './link.ts';
import type { Link, LinkHost } from './link.ts';

export interface MemoryPairOptions {
  /** Largest packet in bytes. Default 1500. */
  mtu?: number;
  /** Whose time the deliveries follow. Default: the clock of the stack that sends. */
  clock?: Clock;
  /** One-way delay in µs. Default 0. The system clock resolves 1 ms. */
  latencyUs?: number;
  /** `LINK_…` bits that both ends claim. Default 0. */
  features?: number;
  /** Most packets under way in each direction. Default 1024. */
  queuePackets?: number;
  /** Most bytes under way in each direction. Default: enough for `queuePackets`, between 256 KiB and 4 MiB. */
  queueBytes?: number;
  /** Names of the two ends. Default `memory0`, `memory1`. */
  names?: [string, string];
}

/** Most packets in one batch. */
const BATCH_PACKETS = 512;

/** One direction of the pair. */
class MemoryPipe {
  readonly bytes: Uint8Array;
  readonly #words: Int32Array;
  /** The sender's memory as words, made once. */
  #from: Uint8Array | null = null;
  #fromWords: Int32Array = new Int32Array(0);
  readonly packets: Int32Array;
  /** When each packet arrives, µs; same index as `packets`. */
  readonly dueUs: Float64Array;
  readonly capacity: number;
  /** Records in use: `count` from index `first`. */
  first = 0;
  count = 0;
  /** Where the next packet goes. */
  end = 0;

  constructor(capacity: number, size: number) {
    this.bytes = new Uint8Array(size);
    this.#words = new Int32Array(this.bytes.buffer);
    this.packets = new Int32Array(capacity * RX_STRIDE);
    this.dueUs = new Float64Array(capacity);
    this.capacity = capacity;
  }

  /** Where a packet of `length` bytes can lie now, or -1 when the pipe is full. */
  place(length: number): number {
    if (this.count === 0) {
      this.first = 0;
      this.end = 0;
      return length <= this.bytes.length ? 0 : -1;
    }
    if (this.count === this.capacity) return -1;
    const begin = this.packets[this.first * RX_STRIDE + RX_OFFSET]!;
    if (this.end <= begin) return begin - this.end >= length ? this.end : -1;
    if (this.bytes.length - this.end >= length) return this.end;
    return begin >= length ? 0 : -1;
  }

  /** Copies packet `index` of the queue to `at`, which `place()` gave, and records it. */
  add(queue: TransmitQueue, index: number, at: number, dueUs: number): void {
    const tx = queue.packets;
    const t = index * TX_STRIDE;
    let slot = this.first + this.count++;
    if (slot >= this.capacity) slot -= this.capacity;
    const m = slot * RX_STRIDE;
    const packets = this.packets;
    const length = tx[t + TX_LENGTH]!;
    const partial = (tx[t + TX_FLAGS]! & CSUM_PARTIAL) !== 0;
    packets[m + RX_OFFSET] = at;
    packets[m + RX_LENGTH] = length;
    packets[m + RX_FLAGS] = partial ? RX_CSUM_PARTIAL : 0;
    packets[m + RX_GSO_TYPE] = tx[t + TX_GSO_TYPE]!;
    packets[m + RX_GSO_SIZE] = tx[t + TX_GSO_SIZE]!;
    packets[m + RX_HEADER_LENGTH] = tx[t + TX_HEADER_LENGTH]!;
    packets[m + RX_CSUM] = partial ? tx[t + TX_CSUM]! & 0xffff : 0;
    packets[m + RX_CSUM_OFFSET] = partial ? tx[t + TX_CSUM]! >>> 16 : 0;
    this.dueUs[slot] = dueUs;
    this.end = (at + length + 7) & ~7;

    const from = queue.memory.bytes;
    if (from !== this.#from) {
      this.#from = from;
      this.#fromWords = new Int32Array(queue.memory.buffer);
    }
    let piece = tx[t + TX_FIRST_PIECE]! * 2;
    const last = piece + tx[t + TX_PIECES]! * 2;
    const headerOffset = queue.pieces[piece]!;
    const headerLength = queue.pieces[piece + 1]!;
    if (headerLength <= HEADER_SLOT && (headerOffset & 3) === 0) {
      // Headers go word by word, which makes no view. What is written past them is overwritten by the
      // payload, or is padding.
      const words = this.#words;
      const fromWords = this.#fromWords;
      for (let to = at >> 2, i = headerOffset >> 2, n = i + ((headerLength + 3) >> 2); i < n; i++, to++) words[to] = fromWords[i]!;
      at += headerLength;
      piece += 2;
    }
    for (; piece < last; piece += 2) {
      const pieceLength = queue.pieces[piece + 1]!;
      copyBytes(this.bytes, at, from, queue.pieces[piece]!, pieceLength);
      at += pieceLength;
    }
  }

  drop(): void {
    if (++this.first === this.capacity) this.first = 0;
    this.count--;
  }
}

/** What one end of a pair has seen; names as in `TunCounters`. */
export class MemoryLinkCounters {
  /** Packets, bytes and batches handed to the stack. */
  rxPackets = 0;
  rxBytes = 0;
  rxBatches = 0;
  /** Packets and bytes taken from the stack, dropped ones too, and calls of `send()`. */
  txPackets = 0;
  txBytes = 0;
  txCalls = 0;
  /** Times that the pair was full and packets had to wait. */
  txBlocked = 0;
  /** Dropped: longer than the MTU and not to be cut. */
  txTooLongDrops = 0;
  /** Dropped: one of the ends is closed. */
  txClosedDrops = 0;
}

/** One end of a memory pair. */
export class MemoryLink implements Link {
  readonly name: string;
  /** May be set while the link runs; the stack reads it for each new route. */
  mtu: number;
  readonly features: number;
  readonly counters = new MemoryLinkCounters();

  readonly #latencyUs: number;
  readonly #pipe: MemoryPipe;
  readonly #ownClock: Clock | null;
  #clock: Clock | null;
  #peer: MemoryLink = this;
  #host: LinkHost | null = null;
  /** Delivers what this end sent. */
  #alarm: LinkAlarm | null = null;
  #batch: PacketBatch | null = null;
  /** `send()` left packets behind. */
  #blocked = false;
  #closed = false;
  #referenced = false;

  /** @internal Use `createMemoryPair()`. */
  constructor(name: string, options: MemoryPairOptions) {
    this.name = name;
    this.mtu = options.mtu ?? 1500;
    this.features = options.features ?? 0;
    this.#latencyUs = options.latencyUs ?? 0;
    const capacity = options.queuePackets ?? 1024;
    if (!(capacity >= 1)) throw new RangeError(`queuePackets ${capacity} is not a positive number`);
    const largest = this.features > 1 ? 65536 : (this.mtu + 7) & ~7;
    const size = options.queueBytes ?? Math.min(Math.max(capacity * largest, 256 << 10), 4 << 20);
    this.#pipe = new MemoryPipe(capacity, (Math.max(size, largest) + 7) & ~7);
    this.#ownClock = options.clock ?? null;
    this.#clock = this.#ownClock;
  }

  /** @internal */
  join(peer: MemoryLink): void {
    this.#peer = peer;
  }

  attach(host: LinkHost): void {
    this.#host = host;
    this.#clock = this.#ownClock ?? host.clock;
    this.#batch = new PacketBatch(host.memory.bytes, BATCH_PACKETS);
    this.#alarm = new LinkAlarm(this.#clock, () => this.#deliver());
    if (this.#referenced || this.#peer.#referenced) this.#hold(true);
    // What the peer sent before this end was attached has waited for it.
    this.#peer.#schedule();
  }

  send(queue: TransmitQueue): void {
    const counters = this.counters;
    counters.txCalls++;
    if (this.#closed || this.#peer.#closed) {
      counters.txClosedDrops += queue.tail - queue.head;
      counters.txPackets += queue.tail - queue.head;
      queue.head = queue.tail;
      return;
    }
    const pipe = this.#pipe;
    const dueUs = this.#clock!.nowUs() + this.#latencyUs;
    const idle = pipe.count === 0;
    while (queue.head < queue.tail) {
      const t = queue.head * TX_STRIDE;
      const length = queue.packets[t + TX_LENGTH]!;
      if (length > pipe.bytes.length || (length > this.mtu && queue.packets[t + TX_GSO_TYPE] === GSO_NONE)) {
        counters.txTooLongDrops++;
      } else {
        const at = pipe.place(length);
        if (at < 0) {
          this.#blocked = true;
          counters.txBlocked++;
          break;
        }
        pipe.add(queue, queue.head, at, dueUs);
      }
      counters.txPackets++;
      counters.txBytes += length;
      queue.head++;
    }
    if (idle) this.#schedule();
  }

  #schedule(): void {
    if (this.#alarm === null || this.#peer.#host === null || (this.#pipe.count === 0 && !this.#blocked)) return;
    this.#alarm.set(this.#pipe.count > 0 ? this.#pipe.dueUs[this.#pipe.first]! : this.#clock!.nowUs());
  }

  /** Hands the peer what has come to its time. */
  #deliver(): void {
    const pipe = this.#pipe;
    const peer = this.#peer;
    const nowUs = this.#clock!.nowUs();
    if (peer.#closed) {
      this.counters.txClosedDrops += pipe.count;
      pipe.count = 0;
    }
    // Only what was there at the start: answers to it wait for the next alarm.
    let due = 0;
    for (let slot = pipe.first; due < pipe.count && pipe.dueUs[slot]! <= nowUs; due++) {
      if (++slot === pipe.capacity) slot = 0;
    }
    while (due > 0 && !peer.#closed) {
      const count = peer.#fill(pipe, due);
      if (count === 0) break;
      due -= count;
      peer.#input();
    }
    if (this.#blocked && !this.#closed) {
      this.#blocked = false;
      this.#host!.writable();
    }
    if (pipe.count > 0) this.#schedule();
  }

  /** Moves up to `due` packets from the pipe to this end's receive slab. Returns how many fitted. */
  #fill(pipe: MemoryPipe, due: number): number {
    const batch = this.#batch!;
    const meta = batch.meta;
    const room = this.#host!.memory.rxBytes;
    const most = Math.min(due, batch.capacity);
    let count = 0;
    let at = 0;
    // Packets that lie side by side are copied as one run: pipe [runFrom, runEnd) to slab runAt.
    let runFrom = -1;
    let runEnd = -1;
    let runAt = 0;
    while (count < most) {
      const p = pipe.first * RX_STRIDE;
      const offset = pipe.packets[p + RX_OFFSET]!;
      const length = pipe.packets[p + RX_LENGTH]!;
      if (at + length > room) break;
      const m = count * RX_STRIDE;
      for (let i = 0; i < RX_STRIDE; i++) meta[m + i] = pipe.packets[p + i]!;
      meta[m + RX_OFFSET] = at;
      if (((runEnd + 7) & ~7) !== offset || runFrom < 0) {
        if (runFrom >= 0) copyBytes(batch.slab, runAt, pipe.bytes, runFrom, runEnd - runFrom);
        runFrom = offset;
        runAt = at;
      }
      runEnd = offset + length;
      this.counters.rxBytes += length;
      at = (at + length + 7) & ~7;
      count++;
      pipe.drop();
    }
    if (runFrom >= 0) copyBytes(batch.slab, runAt, pipe.bytes, runFrom, runEnd - runFrom);
    batch.count = count;
    return count;
  }

  #input(): void {
    const batch = this.#batch!;
    batch.timeUs = this.#host!.clock.nowUs();
    const counters = this.counters;
    counters.rxPackets += batch.count;
    counters.rxBatches++;
    this.#host!.input(batch);
  }

  ref(): void {
    this.#referenced = true;
    this.#hold(true);
  }

  unref(): void {
    this.#referenced = false;
    this.#hold(false);
  }

  /** A packet under way in either direction matters to both ends: who waits may wait for an answer. */
  #hold(on: boolean): void {
    if (on) {
      this.#alarm?.ref();
      this.#peer.#alarm?.ref();
    } else if (!this.#peer.#referenced) {
      this.#alarm?.unref();
      this.#peer.#alarm?.unref();
    }
  }

  close(): void {
    if (this.#closed) return;
    this.unref();
    this.#closed = true;
    // What this end has sent still arrives, as from a cable. What was on its way here is lost.
    this.#peer.#schedule();
    this.#schedule();
  }
}

/**
 * Joins two stacks in one process.
 * @example
 * const [left, right] = createMemoryPair();
 * const a = createStack({ link: left, addresses: ['10.90.0.1/24'] });
 * const b = createStack({ link: right, addresses: ['10.90.0.2/24'] });
 */
export function createMemoryPair(options: MemoryPairOptions = {}): [MemoryLink, MemoryLink] {
  const [left, right] = options.names ?? ['memory0', 'memory1'];
  const a = new MemoryLink(left, options);
  const b = new MemoryLink(right, options);
  a.join(b);
  b.join(a);
  return [a, b];
}
