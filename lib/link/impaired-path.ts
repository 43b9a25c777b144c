/**
 * One direction of an impaired link: decides the fate of each packet and keeps it until it is due.
 * Knows nothing of links or stacks; impair.ts feeds and empties it.
 */

import type { SeededRandom } from '../random.ts';

export interface PathOptions {
  /** Probability that a packet is lost. */
  loss?: number;
  /** Probability that a packet arrives twice. */
  duplicate?: number;
  /** Probability that bits of a packet are flipped, and how many (default 1, which every checksum sees). */
  corrupt?: number;
  corruptBits?: number;
  /** Probability that a packet is held back, so that later ones overtake it. */
  reorder?: number;
  /** Hold it this many µs longer. Default 0: hold by packets. */
  reorderUs?: number;
  /** Hold it until this many later packets have passed, but 100 ms at most. Default 3. */
  reorderPackets?: number;
  /** One-way delay, µs. */
  delayUs?: number;
  /** Further delay, uniform between 0 and this, µs. It keeps the order; reordering has its own setting. */
  jitterUs?: number;
  /** Bits per second, counted over IP packets; 0 (the default) is no limit. */
  rate?: number;
  /** Most packets that wait for the rate; what comes then is dropped. Default 1000. */
  queuePackets?: number;
  /** Most memory for packets that wait or are delayed, bytes. Default 64 MiB. */
  limitBytes?: number;
}

/** Longest time that a packet waits for others to overtake it, µs. */
const HOLD_US = 100_000;

/** What a packet takes beside its bytes; roughly. */
const OVERHEAD = 256;

/** A packet on its way. */
export class PathPacket {
  readonly bytes: Uint8Array;
  /** `GSO_…` and part size, if it came merged; bytes of headers. */
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly headerLength: number;
  /** It has left; a held packet may stand in the heap twice. */
  gone = false;

  constructor(bytes: Uint8Array, gsoType: number, gsoSize: number, headerLength: number) {
    this.bytes = bytes;
    this.gsoType = gsoType;
    this.gsoSize = gsoSize;
    this.headerLength = headerLength;
  }
}

interface HeapEntry {
  dueUs: number;
  /** Orders entries of the same instant. */
  order: number;
  packet: PathPacket;
}

interface Held {
  packet: PathPacket;
  /** Packets that still have to pass. */
  left: number;
}

/** What came to a path and what was done to it. A packet can be counted in several. */
export class PathCounters {
  /** Packets and bytes that came in. */
  packets = 0;
  bytes = 0;
  lost = 0;
  duplicated = 0;
  corrupted = 0;
  reordered = 0;
  /** Dropped because the queue before the rate was full. */
  queueDrops = 0;
  /** Dropped because `limitBytes` was reached. */
  limitDrops = 0;
  /** Packets that went on. */
  passed = 0;
}

export class ImpairedPath {
  // Settings, see PathOptions. They may be changed at any time.
  loss: number;
  duplicate: number;
  corrupt: number;
  corruptBits: number;
  reorder: number;
  reorderUs: number;
  reorderPackets: number;
  delayUs: number;
  jitterUs: number;
  rate: number;
  queuePackets: number;
  limitBytes: number;

  readonly counters = new PathCounters();
  /** Memory that is used now, bytes; never above `limitBytes`. */
  keptBytes = 0;

  readonly #random: SeededRandom;
  #heap: HeapEntry[] = [];
  #order = 0;
  #held: Held[] = [];
  /** When the last bit of each packet that waits for the rate will have left. */
  #departures: number[] = [];
  /** When the line is free, µs, with fraction. */
  #freeUs = 0;
  /** Due time of the last packet that was not reordered. */
  #lastDueUs = 0;

  constructor(random: SeededRandom, options: PathOptions) {
    this.#random = random;
    this.loss = probability('loss', options.loss);
    this.duplicate = probability('duplicate', options.duplicate);
    this.corrupt = probability('corrupt', options.corrupt);
    this.corruptBits = amount('corruptBits', options.corruptBits, 1);
    this.reorder = probability('reorder', options.reorder);
    this.reorderUs = amount('reorderUs', options.reorderUs, 0);
    this.reorderPackets = amount('reorderPackets', options.reorderPackets, 3);
    this.delayUs = amount('delayUs', options.delayUs, 0);
    this.jitterUs = amount('jitterUs', options.jitterUs, 0);
    this.rate = amount('rate', options.rate, 0);
    this.queuePackets = amount('queuePackets', options.queuePackets, 1000);
    this.limitBytes = amount('limitBytes', options.limitBytes, 64 << 20);
  }

  /** Takes a packet, whose bytes are this path's own from now on, that came at `nowUs`. */
  admit(packet: PathPacket, nowUs: number): void {
    this.counters.packets++;
    this.counters.bytes += packet.bytes.length;
    if (this.#chance(this.loss)) {
      this.counters.lost++;
      return;
    }
    let copy: PathPacket | null = null;
    if (this.#chance(this.duplicate)) {
      this.counters.duplicated++;
      copy = new PathPacket(packet.bytes.slice(), packet.gsoType, packet.gsoSize, packet.headerLength);
    }
    this.#forward(packet, nowUs);
    if (copy !== null) this.#forward(copy, nowUs);
  }

  #forward(packet: PathPacket, nowUs: number): void {
    if (this.#chance(this.corrupt)) {
      this.counters.corrupted++;
      this.#flipBits(packet.bytes);
    }
    const length = packet.bytes.length;
    if (this.keptBytes + length + OVERHEAD > this.limitBytes) {
      this.counters.limitDrops++;
      return;
    }
    let leavesUs = nowUs;
    if (this.rate > 0) {
      while (this.#departures.length > 0 && this.#departures[0]! <= nowUs) this.#departures.shift();
      // The first of them is on the line already.
      if (this.#departures.length > this.queuePackets) {
        this.counters.queueDrops++;
        return;
      }
      this.#freeUs = Math.max(this.#freeUs, nowUs) + (length * 8e6) / this.rate;
      this.#departures.push(this.#freeUs);
      // Less a picosecond, which rounding may have added.
      leavesUs = Math.ceil(this.#freeUs - 1e-6);
    }
    const dueUs = leavesUs + this.delayUs + (this.jitterUs > 0 ? Math.floor(this.#random.unit() * (this.jitterUs + 1)) : 0);
    if (this.#chance(this.reorder)) {
      this.counters.reordered++;
      if (this.reorderUs > 0) {
        this.#push(packet, dueUs + this.reorderUs);
      } else {
        this.#held.push({ packet, left: Math.max(this.reorderPackets, 1) });
        this.#push(packet, dueUs + HOLD_US);
      }
      this.keptBytes += length + OVERHEAD;
      return;
    }
    this.#lastDueUs = Math.max(dueUs, this.#lastDueUs);
    this.#push(packet, this.#lastDueUs);
    this.keptBytes += length + OVERHEAD;
    if (this.#held.length > 0) this.#overtaken();
  }

  /** A packet passes those that are held back. */
  #overtaken(): void {
    let kept = 0;
    for (const held of this.#held) {
      if (held.packet.gone) continue;
      if (--held.left === 0) this.#push(held.packet, this.#lastDueUs);
      else this.#held[kept++] = held;
    }
    this.#held.length = kept;
  }

  #chance(p: number): boolean {
    return p > 0 && this.#random.unit() < p;
  }

  #flipBits(bytes: Uint8Array): void {
    for (let i = 0; i < this.corruptBits; i++) {
      const bit = Math.floor(this.#random.unit() * bytes.length * 8);
      bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
    }
  }

  /** When the next packet is due, µs, or Infinity. */
  get nextUs(): number {
    this.#skipGone();
    return this.#heap.length > 0 ? this.#heap[0]!.dueUs : Infinity;
  }

  /** The next packet, if it is due at `nowUs`; it stays until `shift()`. */
  peek(nowUs: number): PathPacket | null {
    return this.nextUs <= nowUs ? this.#heap[0]!.packet : null;
  }

  /** Lets go of the packet that `peek()` gave. */
  shift(): void {
    const { packet } = this.#heap[0]!;
    packet.gone = true;
    this.keptBytes -= packet.bytes.length + OVERHEAD;
    this.counters.passed++;
    this.#pop();
  }

  /** Forgets all packets. */
  clear(): void {
    this.#heap = [];
    this.#held = [];
    this.#departures = [];
    this.keptBytes = 0;
  }

  #skipGone(): void {
    while (this.#heap.length > 0 && this.#heap[0]!.packet.gone) this.#pop();
  }

  // A binary heap, earliest first.

  #push(packet: PathPacket, dueUs: number): void {
    const heap = this.#heap;
    const entry = { dueUs, order: this.#order++, packet };
    let i = heap.length;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(entry, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: HeapEntry, b: HeapEntry): boolean {
  return a.dueUs < b.dueUs || (a.dueUs === b.dueUs && a.order < b.order);
}

function probability(name: string, value = 0): number {
  if (!(value >= 0 && value <= 1)) throw new RangeError(`${name} ${value} is not a probability between 0 and 1`);
  return value;
}

function amount(name: string, value: number | undefined, preset: number): number {
  if (value === undefined) return preset;
  if (!(value >= 0)) throw new RangeError(`${name} ${value} is not a number of at least 0`);
  return value;
}
