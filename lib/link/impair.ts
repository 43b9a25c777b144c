/**
 * Impairment: a bad network between a stack and its link, repeatable by its seed. Loss, single or in bursts,
 * duplication, corruption, reordering, delay, jitter, a rate with a queue (drop-tail, CoDel), congestion marks (ECN),
 * black holes, cuts, each per direction.
 *
 *     stack ─▶ loss ─▶ copies ─▶ corruption ─▶ queue and rate ─▶ delay, jitter, reordering ─▶ link
 *
 * The directions are named as of an access line: **up** is what the stack sends, **down** what it gets.
 * With nothing that delays, packets pass in the same call; else one alarm of the stack's clock moves them
 * (exact in virtual time; the system clock resolves 1 ms).
 *
 * It claims no offload features, so that each fate meets one packet of the wire's size. The link below
 * may hand in merged packets all the same when it was opened with offloads: open a TUN with offload off.
 * Partial checksums are finished on arrival, so that corruption is noticed.
 *
 * Memory is bounded per direction (`limitBytes`). Left out: policing, an MTU that somebody is told of.
 */

import { BLOCK_SIZE, HEADER_SLOT, PacketMemory } from '../buffer/packet-memory.ts';
import { TransmitQueue, TX_LENGTH, TX_STRIDE } from '../buffer/transmit-queue.ts';
import type { Alarm } from '../clock.ts';
import { SeededRandom } from '../random.ts';
import { ImpairedPath, PathPacket } from './impaired-path.ts';
import type { PathOptions } from './impaired-path.ts';
import {
  PacketBatch, RX_CSUM, RX_CSUM_OFFSET, RX_CSUM_PARTIAL, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE, RX_HEADER_LENGTH, RX_LENGTH,
  RX_OFFSET, RX_STRIDE,
} from './link.ts';
import type { Link, LinkHost } from './link.ts';
import { LinkMiddleware } from './middleware.ts';
import { completeChecksum } from './partial-checksum.ts';

/** Settings at the top hold for both directions; `up` and `down` override them. */
export interface ImpairOptions extends PathOptions {
  /** Same seed and same packets: same fates. Default 1. */
  seed?: number;
  /** What the stack sends. */
  up?: PathOptions;
  /** What the stack gets. */
  down?: PathOptions;
}

const BATCH_PACKETS = 256;

/** What the link below sees of memory: a few hundred packets, apart from the stack's own memory. */
const MEMORY = { size: 4 << 20, rxBytes: 512 << 10, headerSlots: BATCH_PACKETS };

/** A link with a bad network in it. Made by `impair()`. */
export class Impairment extends LinkMiddleware {
  /** Settings and counters of each direction; settings may be changed while it runs. */
  readonly paths: { readonly up: ImpairedPath; readonly down: ImpairedPath };
  readonly #memory = new PacketMemory(MEMORY);
  readonly #queue = new TransmitQueue(this.#memory);
  /** The block that takes what does not fit into header slots, and how much of it is used. */
  #block = -1;
  #used = 0;
  #batch: PacketBatch | null = null;
  #alarm: Alarm | null = null;
  /** The link below has left packets in `#queue`; it will say `writable()`. */
  #blocked = false;
  /** Inside `link.send()`. */
  #sending = false;
  #closed = false;

  constructor(link: Link, options: ImpairOptions = {}) {
    super(link);
    const { seed = 1, up, down, ...both } = options;
    this.paths = {
      up: new ImpairedPath(new SeededRandom(seed), { ...both, ...up }),
      down: new ImpairedPath(new SeededRandom(seed ^ 0x5bd1e995), { ...both, ...down }),
    };
  }

  /** Those of the link below, and those of both paths: `upLost`, `downCorrupted`, … */
  override get counters(): object {
    const all: Record<string, number> = { ...this.link.counters };
    for (const [direction, path] of Object.entries(this.paths)) {
      for (const [name, value] of Object.entries(path.counters)) all[direction + name[0]!.toUpperCase() + name.slice(1)] = value;
    }
    return all;
  }

  /** None: fates are for packets of the wire's size. */
  override get features(): number {
    return 0;
  }

  /** The link below works in a memory of this link, so that what waits in it has one owner. */
  override get memory(): PacketMemory {
    return this.#memory;
  }

  override attach(host: LinkHost): void {
    this.#batch = new PacketBatch(host.memory.bytes, BATCH_PACKETS);
    this.#alarm = host.clock.alarm(() => this.#onAlarm());
    super.attach(host);
  }

  override send(queue: TransmitQueue): void {
    if (this.#closed) {
      queue.head = queue.tail;
      return;
    }
    const nowUs = this.clock.nowUs();
    for (; queue.head < queue.tail; queue.head++) {
      const bytes = new Uint8Array(queue.packets[queue.head * TX_STRIDE + TX_LENGTH]!);
      queue.copyPacket(queue.head, bytes, 0);
      this.paths.up.admit(new PathPacket(bytes, 0, 0, 0), nowUs);
    }
    this.#transmit(nowUs);
    this.#setAlarm();
  }

  override input(batch: PacketBatch): void {
    if (this.#closed) return;
    const meta = batch.meta;
    for (let i = 0; i < batch.count; i++) {
      const m = i * RX_STRIDE;
      const offset = meta[m + RX_OFFSET]!;
      const bytes = batch.slab.slice(offset, offset + meta[m + RX_LENGTH]!);
      if ((meta[m + RX_FLAGS]! & RX_CSUM_PARTIAL) !== 0) {
        completeChecksum(new DataView(bytes.buffer), 0, bytes.length, meta[m + RX_CSUM]!, meta[m + RX_CSUM_OFFSET]!);
      }
      const packet = new PathPacket(bytes, meta[m + RX_GSO_TYPE]!, meta[m + RX_GSO_SIZE]!, meta[m + RX_HEADER_LENGTH]!);
      this.paths.down.admit(packet, batch.timeUs);
    }
    this.#deliver(Math.max(this.clock.nowUs(), batch.timeUs));
    this.#setAlarm();
  }

  override writable(): void {
    this.#blocked = false;
    if (this.#closed) return;
    this.#transmit(this.clock.nowUs());
    this.#setAlarm();
  }

  #onAlarm(): void {
    if (this.#closed) return;
    const nowUs = this.clock.nowUs();
    this.#transmit(nowUs);
    this.#deliver(nowUs);
    this.#setAlarm();
  }

  #setAlarm(): void {
    if (this.#closed) return;
    const upUs = this.#blocked ? Infinity : this.paths.up.nextUs;
    const nextUs = Math.min(upUs, this.paths.down.nextUs);
    if (nextUs < Infinity) this.#alarm!.set(nextUs);
    else this.#alarm!.clear();
  }

  /** Hands the link below what is due. */
  #transmit(nowUs: number): void {
    // A call from inside the link below: the loop that runs already takes what has come.
    if (this.#sending) return;
    const { up } = this.paths;
    const queue = this.#queue;
    while (!this.#blocked && !this.#closed) {
      for (let packet = up.peek(nowUs); packet !== null && this.#enqueue(packet.bytes); packet = up.peek(nowUs)) up.shift();
      if (queue.empty) return;
      this.#sending = true;
      this.link.send(queue);
      this.#sending = false;
      this.#blocked = !queue.empty;
      queue.reclaim();
      if (queue.empty) this.#block = -1;
    }
  }

  /** Queues a packet for the link below. Returns false when there is no room. */
  #enqueue(bytes: Uint8Array): boolean {
    const queue = this.#queue;
    const memory = this.#memory;
    const rest = Math.max(bytes.length - HEADER_SLOT, 0);
    if (Math.ceil(rest / BLOCK_SIZE) + 1 > memory.freeBlocks) return false;
    const header = queue.begin(bytes.length - rest);
    if (header < 0) return false;
    memory.bytes.set(bytes.subarray(0, bytes.length - rest), header);
    for (let at = bytes.length - rest; at < bytes.length;) {
      if (this.#block < 0 || this.#used === BLOCK_SIZE) {
        this.#block = memory.allocate();
        this.#used = 0;
        queue.owns(this.#block);
      }
      const length = Math.min(bytes.length - at, BLOCK_SIZE - this.#used);
      const offset = this.#block + this.#used;
      memory.bytes.set(bytes.subarray(at, at + length), offset);
      queue.piece(offset, length);
      this.#used += length;
      at += length;
    }
    queue.end(-1, 0, 0, 0);
    return true;
  }

  /** Hands the stack what is due. */
  #deliver(nowUs: number): void {
    const { down } = this.paths;
    const batch = this.#batch!;
    const room = this.host.memory.rxBytes;
    let packet = down.peek(nowUs);
    while (packet !== null && !this.#closed) {
      batch.count = 0;
      let at = 0;
      for (; packet !== null && batch.count < batch.capacity && at + packet.bytes.length <= room; packet = down.peek(nowUs)) {
        // The stamp is when the last of them arrives, not when a late timer lets it.
        batch.timeUs = down.nextUs;
        const m = batch.count * RX_STRIDE;
        batch.slab.set(packet.bytes, at);
        batch.add(at, packet.bytes.length);
        batch.meta[m + RX_GSO_TYPE] = packet.gsoType;
        batch.meta[m + RX_GSO_SIZE] = packet.gsoSize;
        batch.meta[m + RX_HEADER_LENGTH] = packet.headerLength;
        at = (at + packet.bytes.length + 7) & ~7;
        down.shift();
      }
      this.host.input(batch);
    }
  }

  override close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#alarm?.clear();
    this.paths.up.clear();
    this.paths.down.clear();
    this.#queue.clear();
    super.close();
  }
}

/**
 * Puts a bad network between a stack and `link`.
 * @example
 * impair(link, { seed: 7, loss: 0.01, delayUs: 20_000, up: { rate: 10_000_000, queuePackets: 50 } })
 * @throws RangeError when a setting is out of range
 */
export function impair(link: Link, options: ImpairOptions = {}): Impairment {
  return new Impairment(link, options);
}
