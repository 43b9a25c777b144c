/**
 * What the stack tells an application: the writing side of the receive ring (records TO_APP_… of
 * lib/channel/records.ts). Segments that find no room are dropped and counted, as in any full socket buffer; a part of
 * the ring is kept for the rest. Events of sockets and news of path MTUs that find no room even there wait. (ICMP errors do
 * not: an error comes again.)
 */

import { copyBytes } from '../buffer/packet-memory.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import {
  ICMP_CODE, ICMP_DATA, ICMP_DST, ICMP_ERRNO, ICMP_FROM, ICMP_LENGTH, ICMP_MTU, ICMP_SRC,
  ICMP_TYPE, ICMP_VERSION, PATH_MTU_BYTES, PATH_MTU_DST, REFUSED_ERRNO, REFUSED_HANDLE, REFUSED_PORTS, REPORT_ID, REPORT_WHAT,
  SEG_CSUM_OK, SEG_DATA, SEG_DST, SEG_GSO_SIZE, SEG_GSO_TYPE, SEG_IP, SEG_LENGTH, SEG_SRC, SEG_SUM, SEG_TIME, TO_APP_ICMP, TO_APP_PATH_MTU, TO_APP_REFUSED, TO_APP_REPORT, TO_APP_SEGMENT, TO_APP_VIOLATION, VIOLATION_COUNT, VIOLATION_REASON,
  putAddress,
} from '../channel/records.ts';
import { RingWriter } from '../channel/ring.ts';
import { SocketEvents } from '../channel/socket-events.ts';
import { RX_HEAD, RX_TAIL } from '../channel/window.ts';
import type { Window } from '../channel/window.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { IcmpError, IpPacket } from '../ip/packet.ts';
import type { ApplicationCounters } from './application.ts';

/** A part of the receive ring (size >> this) is not for segments. */
const RESERVE_SHIFT = 4;

const SEGMENT_HEADER = SEG_DATA * 4;
/** Destinations whose path MTUs wait for room, at most. */
const MAX_LATE_PATHS = 1024;
/** Bytes of a transport header that an ICMP error takes along. */
const MAX_QUOTED = 64;

export class Ingress {
  readonly rx: RingWriter;
  readonly #window: Window;
  /** The stack's, in which the window lies. */
  readonly #memory: PacketMemory;
  readonly #counters: ApplicationCounters;
  /** There is something to be shown at the end of the turn. */
  readonly #touch: () => void;
  readonly #reserve: number;
  /** Path MTUs that found no room, by destination: the latest. */
  readonly #latePaths = new Map<string, Int32Array>();
  /** Events of its sockets in the stack. */
  readonly #events: SocketEvents;

  constructor(window: Window, memory: PacketMemory, counters: ApplicationCounters, touch: () => void) {
    this.rx = new RingWriter(window, window.rxRing, window.sizes.rxRing, RX_HEAD, RX_TAIL);
    this.#events = new SocketEvents(this.rx, window);
    this.#window = window;
    this.#memory = memory;
    this.#counters = counters;
    this.#touch = touch;
    this.#reserve = window.sizes.rxRing >> RESERVE_SHIFT;
  }

  /** Puts an arrived segment into the ring: the one copy that the boundary costs. */
  deliver(packet: IpPacket): void {
    const length = packet.length;
    const rx = this.rx;
    const w = rx.hasRoom(SEGMENT_HEADER + length + this.#reserve) ? rx.reserve(TO_APP_SEGMENT, SEGMENT_HEADER + length) : -1;
    if (w < 0) {
      this.#counters.InRingFull++;
      // Not full but damaged: somebody is to notice.
      if (rx.broken) this.#touch();
      return;
    }
    const window = this.#window;
    const words = window.words;
    putAddress(words, w + SEG_SRC, packet.src0, packet.src1, packet.src2, packet.src3);
    putAddress(words, w + SEG_DST, packet.dst0, packet.dst1, packet.dst2, packet.dst3);
    words[w + SEG_IP] = packet.version | (packet.tos << 8) | (packet.ttl << 16) | (packet.checksumOk ? SEG_CSUM_OK : 0);
    words[w + SEG_SUM] = packet.transportSum;
    words[w + SEG_GSO_TYPE] = packet.gsoType;
    words[w + SEG_GSO_SIZE] = packet.gsoSize;
    words[w + SEG_LENGTH] = length;
    words[w + SEG_TIME] = packet.timeUs | 0;
    copyBytes(this.#memory.bytes, window.base + w * 4 + SEGMENT_HEADER, packet.slab, packet.offset, length);
    rx.commit();
    this.#counters.InSegs++;
    this.#counters.InOctets += length;
    this.#touch();
  }

  /** Tells of an ICMP error about a segment that the application sent. */
  deliverError(error: IcmpError): void {
    const length = Math.min(error.length, MAX_QUOTED);
    const w = this.rx.reserve(TO_APP_ICMP, ICMP_DATA * 4 + length);
    if (w < 0) return;
    const words = this.#window.words;
    words[w + ICMP_VERSION] = error.version | (error.fatal ? 256 : 0);
    words[w + ICMP_TYPE] = error.type;
    words[w + ICMP_CODE] = error.code;
    words[w + ICMP_ERRNO] = error.errno;
    words[w + ICMP_MTU] = error.mtu;
    putAddress(words, w + ICMP_FROM, error.from0, error.from1, error.from2, error.from3);
    putAddress(words, w + ICMP_SRC, error.src0, error.src1, error.src2, error.src3);
    putAddress(words, w + ICMP_DST, error.dst0, error.dst1, error.dst2, error.dst3);
    words[w + ICMP_LENGTH] = length;
    copyBytes(this.#memory.bytes, this.#window.base + (w + ICMP_DATA) * 4, error.slab, error.offset, length);
    this.#commit();
  }

  /** Tells what the path to `flow.r*` carries. */
  tellPathMtu({ r0, r1, r2, r3, mtu }: IpFlow): void {
    const to = `${r0},${r1},${r2},${r3}`;
    if (this.#putPathMtu(r0, r1, r2, r3, mtu)) {
      this.#latePaths.delete(to);
      return;
    }
    // A smaller one would be told again when a segment is too large for it; a larger one never.
    if (this.#latePaths.size < MAX_LATE_PATHS || this.#latePaths.has(to)) this.#latePaths.set(to, Int32Array.of(r0, r1, r2, r3, mtu));
    this.#touch();
  }

  #putPathMtu(r0: number, r1: number, r2: number, r3: number, mtu: number): boolean {
    const w = this.rx.reserve(TO_APP_PATH_MTU, (PATH_MTU_BYTES + 1) * 4);
    if (w < 0) return false;
    const words = this.#window.words;
    putAddress(words, w + PATH_MTU_DST, r0, r1, r2, r3);
    words[w + PATH_MTU_BYTES] = mtu;
    this.#commit();
    return true;
  }

  /** Asks for a report (`REPORT_…` bits). Returns false when the ring is full: an application that does not even listen. */
  askReport(id: number, what: number): boolean {
    const w = this.rx.reserve(TO_APP_REPORT, (REPORT_WHAT + 1) * 4);
    if (w < 0) return false;
    this.#window.words[w + REPORT_ID] = id;
    this.#window.words[w + REPORT_WHAT] = what;
    this.#commit();
    return true;
  }

  /** An event of one of its sockets in the stack. Never lost: what finds no room waits, once for each socket. */
  notify(socket: number, events: number, value: number): void {
    this.#events.add(socket, events, value);
    this.#touch();
  }

  /** Whether events, or path MTUs, wait for room in the ring. */
  get late(): boolean {
    return this.#events.late || this.#latePaths.size > 0;
  }

  #commit(): void {
    this.rx.commit();
    this.#touch();
  }

  /** What had to wait finds room now, perhaps. */
  retry(): void {
    for (const [to, path] of this.#latePaths) {
      if (!this.#putPathMtu(path[0]!, path[1]!, path[2]!, path[3]!, path[4]!)) return;
      this.#latePaths.delete(to);
    }
    this.#events.retry();
  }

  /** A flow that the application opened cannot be had. */
  refuse(handle: number, errno: number, ports: number): void {
    const w = this.rx.reserve(TO_APP_REFUSED, (REFUSED_PORTS + 1) * 4);
    if (w < 0) return;
    this.#window.words[w + REFUSED_HANDLE] = handle;
    this.#window.words[w + REFUSED_ERRNO] = errno;
    this.#window.words[w + REFUSED_PORTS] = ports;
    this.#commit();
  }

  /** What it sent was dropped, so often in this turn, at last for this reason. */
  tellViolations(reason: number, count: number): void {
    const w = this.rx.reserve(TO_APP_VIOLATION, (VIOLATION_COUNT + 1) * 4);
    if (w < 0) return;
    this.#window.words[w + VIOLATION_REASON] = reason;
    this.#window.words[w + VIOLATION_COUNT] = count;
    this.rx.commit();
  }
}
