/**
 * One direction of an impaired link: decides the fate of each packet and keeps it until it is due.
 * Knows nothing of links or stacks; impair.ts and the simulator (lib/sim) feed and empty it.
 *
 *     cut? ─▶ too long? ─▶ lost? ─▶ copied? ─▶ corrupted? ─▶ queue ─▶ rate ─▶ delay, jitter, reordering
 *
 * The queue is served when somebody looks: a packet that left it in the past is found on its way, with the time that
 * it left at. So a packet costs one look, not two.
 */

import type { SeededRandom } from '../random.ts';
import { BurstLoss } from './burst-loss.ts';
import type { GilbertElliott } from './burst-loss.ts';
import { withCongestionMark } from './congestion-mark.ts';
import { PathQueue } from './path-queue.ts';
import type { QueueDiscipline } from './path-queue.ts';

export interface PathOptions {
  /** Probability that a packet is lost. */
  loss?: number;
  /** Loss in bursts, beside `loss`. */
  burstLoss?: GilbertElliott | null;
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
  /** Most packets, and most bytes, that wait for the rate; what comes then is dropped. Default 1000, and no bound. */
  queuePackets?: number;
  queueBytes?: number;
  /** Default 'droptail'; 'codel' keeps the wait short (RFC 8289). */
  queueDiscipline?: QueueDiscipline;
  /**
   * Packets of ECN-capable transports are marked instead of lost (RFC 3168): those that `loss` or `burstLoss` would take,
   * those that CoDel would drop, and with drop-tail those that find `ecnPackets` waiting (default: half of
   * `queuePackets`). Default false.
   */
  ecn?: boolean;
  ecnPackets?: number;
  /** Packets of more bytes vanish, and nobody is told; 0 (the default) is no such black hole. */
  blackHole?: number;
  /** Nothing that comes passes; what is on its way still arrives. Default false. */
  cut?: boolean;
  /** Most memory for packets that wait or are delayed, bytes. Default 64 MiB. */
  limitBytes?: number;
}

/** Longest time that a packet waits for others to overtake it, µs. */
const HOLD_US = 100_000;

/** What a packet takes beside its bytes; roughly. */
const OVERHEAD = 256;

/** A packet on its way. */
export class PathPacket {
  bytes: Uint8Array;
  /** `GSO_…` and part size, if it came merged; bytes of headers. */
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly headerLength: number;
  /** It has left; a held packet may stand in the heap twice. */
  gone = false;
  /** When it came to the queue, µs. */
  queuedUs = 0;
  /** What was drawn for it: delay beyond the path's, µs; whether others shall overtake it. */
  jitterUs = 0;
  reordered = false;

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
  /** Marked as having met congestion. */
  marked = 0;
  /** Dropped because the queue before the rate was full; because they had waited too long (CoDel). */
  queueDrops = 0;
  codelDrops = 0;
  /** Dropped because they were too long for the black hole; because the path was cut. */
  blackHoleDrops = 0;
  cutDrops = 0;
  /** Dropped because `limitBytes` was reached. */
  limitDrops = 0;
  /** Packets that went on. */
  passed = 0;
}

/** Counters of packets that do not pass, and are known not to when they come. */
export type Refusal = 'lost' | 'cutDrops' | 'blackHoleDrops' | 'limitDrops' | 'queueDrops';

export class ImpairedPath {
  // Settings, see PathOptions. They may be changed at any time; those of queue and rate by `change()`.
  loss = 0;
  duplicate = 0;
  corrupt = 0;
  corruptBits = 1;
  reorder = 0;
  reorderUs = 0;
  reorderPackets = 3;
  delayUs = 0;
  jitterUs = 0;
  rate = 0;
  limitBytes = 64 << 20;
  blackHole = 0;
  cut = false;
  ecn = false;
  /** 0: half of the queue. */
  ecnPackets = 0;

  readonly counters = new PathCounters();
  /** The counter of what became of the last packet that `admit()` refused. */
  refusal: Refusal | '' = '';
  /** Memory that is used now, bytes; never above `limitBytes`. */
  keptBytes = 0;

  readonly #random: SeededRandom;
  readonly #queue: PathQueue;
  #burst: BurstLoss | null = null;
  #heap: HeapEntry[] = [];
  #order = 0;
  #held: Held[] = [];
  /** When the line is free, µs, with fraction. */
  #freeUs = 0;
  /** Due time of the last packet that was not reordered. */
  #lastDueUs = 0;

  /** @throws RangeError when a setting is out of range */
  constructor(random: SeededRandom, options: PathOptions) {
    this.#random = random;
    this.#queue = new PathQueue('droptail', 1000, 0, (packet) => {
      this.counters.codelDrops++;
      this.keptBytes -= packet.bytes.length + OVERHEAD;
    }, (packet) => this.#mark(packet));
    this.change(options, 0);
  }

  /**
   * Changes settings from `nowUs` on; those that `options` does not name stay as they are.
   * @throws RangeError when a setting is out of range; then nothing has changed
   */
  change(options: PathOptions, nowUs: number): void {
    const loss = probability('loss', options.loss, this.loss);
    const duplicate = probability('duplicate', options.duplicate, this.duplicate);
    const corrupt = probability('corrupt', options.corrupt, this.corrupt);
    const reorder = probability('reorder', options.reorder, this.reorder);
    const corruptBits = amount('corruptBits', options.corruptBits, this.corruptBits);
    const reorderUs = amount('reorderUs', options.reorderUs, this.reorderUs);
    const reorderPackets = amount('reorderPackets', options.reorderPackets, this.reorderPackets);
    const delayUs = amount('delayUs', options.delayUs, this.delayUs);
    const jitterUs = amount('jitterUs', options.jitterUs, this.jitterUs);
    const rate = amount('rate', options.rate, this.rate);
    const limitBytes = amount('limitBytes', options.limitBytes, this.limitBytes);
    const blackHole = amount('blackHole', options.blackHole, this.blackHole);
    const ecnPackets = amount('ecnPackets', options.ecnPackets, this.ecnPackets);
    const packetLimit = amount('queuePackets', options.queuePackets, this.#queue.packetLimit);
    const byteLimit = amount('queueBytes', options.queueBytes, this.#queue.byteLimit);
    const discipline = options.queueDiscipline ?? this.#queue.discipline;
    if (discipline !== 'droptail' && discipline !== 'codel') {
      throw new RangeError(`queueDiscipline '${String(discipline)}' is not one of 'droptail', 'codel'`);
    }
    const burst = options.burstLoss;
    if (burst !== undefined) this.#burst = burst === null ? null : new BurstLoss(burst);
    this.#serve(nowUs);
    this.loss = loss;
    this.duplicate = duplicate;
    this.corrupt = corrupt;
    this.reorder = reorder;
    this.corruptBits = corruptBits;
    this.reorderUs = reorderUs;
    this.reorderPackets = reorderPackets;
    this.delayUs = delayUs;
    this.jitterUs = jitterUs;
    this.rate = rate;
    this.limitBytes = limitBytes;
    this.blackHole = blackHole;
    this.cut = options.cut ?? this.cut;
    this.ecn = options.ecn ?? this.ecn;
    this.ecnPackets = ecnPackets;
    this.#queue.packetLimit = packetLimit;
    this.#queue.byteLimit = byteLimit;
    this.#queue.discipline = discipline;
  }

  /** Packets, and bytes, that wait for the rate at `nowUs`. */
  waiting(nowUs: number): { packets: number; bytes: number } {
    this.#serve(nowUs);
    return { packets: this.#queue.length, bytes: this.#queue.bytes };
  }

  /**
   * Takes a packet, whose bytes are this path's own from now on, that came at `nowUs`.
   * @returns the number of packets that will arrive for it, as far as is known now: 0 when it is lost, 2 when it is doubled
   */
  admit(packet: PathPacket, nowUs: number): number {
    const { counters } = this;
    counters.packets++;
    counters.bytes += packet.bytes.length;
    if (this.cut) return this.#refuse('cutDrops');
    if (this.blackHole > 0 && packet.bytes.length > this.blackHole) return this.#refuse('blackHoleDrops');
    const lost = this.#chance(this.loss) || (this.#burst !== null && this.#burst.loses(this.#random));
    if (lost && !this.#mark(packet)) return this.#refuse('lost');
    let copy: PathPacket | null = null;
    if (this.#chance(this.duplicate)) {
      counters.duplicated++;
      copy = new PathPacket(packet.bytes.slice(), packet.gsoType, packet.gsoSize, packet.headerLength);
    }
    let admitted = this.#forward(packet, nowUs);
    if (copy !== null) admitted += this.#forward(copy, nowUs);
    return admitted;
  }

  #forward(packet: PathPacket, nowUs: number): number {
    if (this.#chance(this.corrupt)) {
      this.counters.corrupted++;
      packet = this.#flipBits(packet);
    }
    const length = packet.bytes.length;
    if (this.keptBytes + length + OVERHEAD > this.limitBytes) return this.#refuse('limitDrops');
    const queued = this.rate > 0 || this.#queue.length > 0;
    if (queued) {
      this.#serve(nowUs);
      // A line that is free takes it at once.
      if (this.#freeUs > nowUs && !this.#queue.hasRoom(length)) return this.#refuse('queueDrops');
      if (this.#queue.discipline === 'droptail' && this.#queue.length >= (this.ecnPackets || this.#queue.packetLimit >> 1)) this.#mark(packet);
    }
    this.keptBytes += length + OVERHEAD;
    packet.jitterUs = this.jitterUs > 0 ? Math.floor(this.#random.unit() * (this.jitterUs + 1)) : 0;
    packet.reordered = this.#chance(this.reorder);
    if (queued) {
      this.#queue.push(packet, nowUs);
      this.#serve(nowUs);
    } else {
      this.#depart(packet, nowUs);
    }
    return 1;
  }

  #refuse(counter: Refusal): number {
    this.counters[counter]++;
    this.refusal = counter;
    return 0;
  }

  /** Marks the packet, if this path marks and the packet's ends agreed to it. */
  #mark(packet: PathPacket): boolean {
    const bytes = this.ecn ? withCongestionMark(packet.bytes) : null;
    if (bytes === null) return false;
    packet.bytes = bytes;
    this.counters.marked++;
    return true;
  }

  /** Lets the line take what it has taken until `nowUs`. */
  #serve(nowUs: number): void {
    const queue = this.#queue;
    for (let head = queue.head; head !== null; head = queue.head) {
      const startUs = Math.max(this.#freeUs, head.queuedUs);
      if (startUs > nowUs) return;
      const packet = queue.take(startUs);
      if (packet === null) return;
      this.#freeUs = startUs + this.#lineTimeUs(packet);
      this.#depart(packet, wholeUs(this.#freeUs));
    }
  }

  #lineTimeUs(packet: PathPacket): number {
    return this.rate > 0 ? (packet.bytes.length * 8e6) / this.rate : 0;
  }

  /** The packet's last bit has left at `leavesUs`. */
  #depart(packet: PathPacket, leavesUs: number): void {
    const dueUs = leavesUs + this.delayUs + packet.jitterUs;
    if (packet.reordered) {
      this.counters.reordered++;
      if (this.reorderUs > 0) {
        this.#push(packet, dueUs + this.reorderUs);
      } else {
        this.#held.push({ packet, left: Math.max(this.reorderPackets, 1) });
        this.#push(packet, dueUs + HOLD_US);
      }
      return;
    }
    this.#lastDueUs = Math.max(dueUs, this.#lastDueUs);
    this.#push(packet, this.#lastDueUs);
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

  /** A copy: somebody may have kept the packet as it was. */
  #flipBits(packet: PathPacket): PathPacket {
    const bytes = packet.bytes.slice();
    for (let i = 0; i < this.corruptBits; i++) {
      const bit = Math.floor(this.#random.unit() * bytes.length * 8);
      bytes[bit >> 3] = bytes[bit >> 3]! ^ (1 << (bit & 7));
    }
    return new PathPacket(bytes, packet.gsoType, packet.gsoSize, packet.headerLength);
  }

  /** When to look for the next packet, µs, or Infinity. It is due then, or (with jitter, reordering or CoDel) later. */
  get nextUs(): number {
    this.#skipGone();
    const dueUs = this.#heap.length > 0 ? this.#heap[0]!.dueUs : Infinity;
    const { head } = this.#queue;
    if (head === null) return dueUs;
    // CoDel may drop the head, and what follows it may be shorter.
    const lineUs = this.#queue.discipline === 'codel' ? 0 : this.#lineTimeUs(head);
    return Math.min(dueUs, wholeUs(Math.max(this.#freeUs, head.queuedUs) + lineUs) + this.delayUs);
  }

  /** The next packet, if it is due at `nowUs`; it stays until `shift()`. */
  peek(nowUs: number): PathPacket | null {
    this.#serve(nowUs);
    this.#skipGone();
    return this.#heap.length > 0 && this.#heap[0]!.dueUs <= nowUs ? this.#heap[0]!.packet : null;
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
    this.#queue.clear();
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

/** The next whole µs; less a picosecond, which rounding may have added. */
function wholeUs(us: number): number {
  return Math.ceil(us - 1e-6);
}

function probability(name: string, value: number | undefined, preset: number): number {
  if (value === undefined) return preset;
  if (!(value >= 0 && value <= 1)) throw new RangeError(`${name} ${value} is not a probability between 0 and 1`);
  return value;
}

function amount(name: string, value: number | undefined, preset: number): number {
  if (value === undefined) return preset;
  if (!(value >= 0)) throw new RangeError(`${name} ${value} is not a number of at least 0`);
  return value;
}
