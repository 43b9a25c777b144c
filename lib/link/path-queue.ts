/**
 * What waits in front of the rate of a path: a queue with bounds in packets and bytes, that is either cut off at its
 * end (drop-tail) or kept short by CoDel (RFC 8289).
 *
 * CoDel looks at how long each packet has waited when it leaves. When that was above a target for a whole interval, it
 * drops, and drops the more often the longer it stays so: the interval divided by the square root of the number of
 * drops (RFC 8289 section 3.3). Names are those of the pseudo-code in section 5.
 *
 * Where packets may be marked (RFC 3168), CoDel marks what it would drop. Left out: flow queueing (RFC 8290).
 */

import type { PathPacket } from './impaired-path.ts';

/** How a full, or a standing, queue is dealt with. */
export type QueueDiscipline = 'droptail' | 'codel';

/** RFC 8289 sections 4.2 and 4.3: 5 ms of queue are tolerated for 100 ms, about the longest usual round trip. */
export const CODEL_TARGET_US = 5_000;
export const CODEL_INTERVAL_US = 100_000;

/** Packets that left the front of the array are cut off when they are so many, and half of it. */
const COMPACT = 64;

export class PathQueue {
  /** Bytes that wait. */
  bytes = 0;
  /** Most packets and bytes that wait; what comes then is dropped. 0 bytes is no bound. */
  packetLimit: number;
  byteLimit: number;
  discipline: QueueDiscipline;

  #packets: PathPacket[] = [];
  #first = 0;
  /** What CoDel drops goes here. */
  readonly #dropped: (packet: PathPacket) => void;
  /** Marks what CoDel would drop. False: it is to be dropped. */
  readonly #mark: (packet: PathPacket) => boolean;

  // CoDel, RFC 8289 section 5.2.
  #dropping = false;
  #count = 0;
  #lastCount = 0;
  #dropNextUs = 0;
  #firstAboveUs = 0;
  /** The packet just dequeued has waited too long, and may be dropped. */
  #okToDrop = false;
  #maxPacket = 0;

  constructor(
    discipline: QueueDiscipline, packetLimit: number, byteLimit: number, dropped: (packet: PathPacket) => void,
    mark: (packet: PathPacket) => boolean = () => false,
  ) {
    this.discipline = discipline;
    this.packetLimit = packetLimit;
    this.byteLimit = byteLimit;
    this.#dropped = dropped;
    this.#mark = mark;
  }

  get length(): number {
    return this.#packets.length - this.#first;
  }

  /** The packet that leaves next, unless CoDel drops it; null when none waits. */
  get head(): PathPacket | null {
    return this.#packets[this.#first] ?? null;
  }

  /** Whether a packet of `length` bytes finds room behind those that wait. */
  hasRoom(length: number): boolean {
    return this.length < this.packetLimit && (this.byteLimit === 0 || this.bytes + length <= this.byteLimit);
  }

  push(packet: PathPacket, nowUs: number): void {
    packet.queuedUs = nowUs;
    this.bytes += packet.bytes.length;
    if (packet.bytes.length > this.#maxPacket) this.#maxPacket = packet.bytes.length;
    this.#packets.push(packet);
  }

  /** The line is free at `nowUs`: the packet that leaves now, or null when CoDel dropped all that waited. */
  take(nowUs: number): PathPacket | null {
    return this.discipline === 'codel' ? this.#takeCodel(nowUs) : this.#shift();
  }

  clear(): void {
    this.#packets = [];
    this.#first = 0;
    this.bytes = 0;
  }

  #shift(): PathPacket | null {
    const packet = this.#packets[this.#first];
    if (packet === undefined) return null;
    this.bytes -= packet.bytes.length;
    this.#first++;
    if (this.#first >= COMPACT && this.#first * 2 >= this.#packets.length) {
      this.#packets.splice(0, this.#first);
      this.#first = 0;
    }
    return packet;
  }

  /** RFC 8289 section 5.5, dequeue(). */
  #takeCodel(nowUs: number): PathPacket | null {
    let packet = this.#shiftTimed(nowUs);
    if (this.#dropping) {
      if (!this.#okToDrop) this.#dropping = false;
      while (this.#dropping && nowUs >= this.#dropNextUs) {
        this.#count++;
        if (this.#mark(packet!)) {
          this.#dropNextUs = controlLaw(this.#dropNextUs, this.#count);
          break;
        }
        this.#dropped(packet!);
        packet = this.#shiftTimed(nowUs);
        if (this.#okToDrop) this.#dropNextUs = controlLaw(this.#dropNextUs, this.#count);
        else this.#dropping = false;
      }
    } else if (this.#okToDrop) {
      if (!this.#mark(packet!)) {
        this.#dropped(packet!);
        packet = this.#shiftTimed(nowUs);
      }
      this.#dropping = true;
      // A queue that was bad a moment ago goes on where the control law was then.
      const delta = this.#count - this.#lastCount;
      this.#count = delta > 1 && nowUs - this.#dropNextUs < 16 * CODEL_INTERVAL_US ? delta : 1;
      this.#dropNextUs = controlLaw(nowUs, this.#count);
      this.#lastCount = this.#count;
    }
    return packet;
  }

  /** RFC 8289 section 5.4, dodequeue(). */
  #shiftTimed(nowUs: number): PathPacket | null {
    const packet = this.#shift();
    this.#okToDrop = false;
    if (packet === null || nowUs - packet.queuedUs < CODEL_TARGET_US || this.bytes <= this.#maxPacket) {
      this.#firstAboveUs = 0;
    } else if (this.#firstAboveUs === 0) {
      this.#firstAboveUs = nowUs + CODEL_INTERVAL_US;
    } else if (nowUs >= this.#firstAboveUs) {
      this.#okToDrop = true;
    }
    return packet;
  }
}

/** When to drop next (RFC 8289 section 5.6). */
function controlLaw(us: number, count: number): number {
  return us + CODEL_INTERVAL_US / Math.sqrt(count);
}
