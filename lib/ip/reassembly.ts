/**
 * Puts fragments together, for both versions (RFC 791 section 3.2, RFC 815, RFC 8200 section 4.5).
 *
 * - A fragment that overlaps another drops its whole datagram, and what still comes of it until the time
 *   limit (RFC 5722; for IPv4 we do as Linux does). Exact duplicates are ignored.
 * - 30 s after its first fragment came, an incomplete IPv4 datagram is given up (Linux's ipfrag_time;
 *   RFC 791 suggests 15 s, RFC 1122 60 to 120 s), an IPv6 one after 60 s (RFC 8200); ICMP time exceeded
 *   is sent if the fragment with offset 0 is there.
 * - Bytes lie in blocks of the packet memory, at most `reassemblyBytes` of them: the oldest datagram makes
 *   room, that of the same source if this source holds more than half. So one source cannot starve others; nor
 *   can it by their number, which has a bound for each source. Fragments are counted as well, since the smallest
 *   cost more to remember than they bring: the datagram that has been cut up the most makes room.
 * - ECN of fragments is combined as RFC 3168 section 5.3 asks.
 *
 *     datagram payload    | block 0: bytes 0 … 8191 | block 1 | … | block 7 |     blocks as needed
 *     header              first fragment's bytes before the payload (IPv6: with its fragment header)
 *     out                 | header | payload |    one area, valid until the next datagram is complete
 */

import { BLOCK_MASK, BLOCK_SHIFT, BLOCK_SIZE, copyBytes } from '../buffer/packet-memory.ts';
import { IPV4_FRAGMENT, IPV4_DF, IPV4_TOTAL_LENGTH, finishIpv4Checksum, ipv4Flags } from '../wire/ipv4.ts';
import { IPV6_FRAGMENT_HEADER_LENGTH, IPV6_PAYLOAD_LENGTH } from '../wire/ipv6.ts';
import type { IpLimits } from '../limits.ts';
import type { IpCounters } from './counters.ts';
import type { IpPacket } from './packet.ts';
import { hashAddress } from './path-mtu.ts';
import type { IpState } from './state.ts';

export const IPV4_REASSEMBLY_US = 30_000_000;
export const IPV6_REASSEMBLY_US = 60_000_000;

/** Most bytes before the payload that are kept: IPv4 with all options, IPv6 with the usual extension headers. */
const MAX_HEADER = 512;
const MAX_PAYLOAD = 65535;
const BLOCKS = (MAX_PAYLOAD + BLOCK_SIZE) >> BLOCK_SHIFT;
/** Fragments of one datagram: 64 KB in pieces of 48 bytes, the least that a network may carry. */
const MAX_FRAGMENTS = 1400;

/** What became of a fragment. */
export const FRAGMENT_DROPPED = 0;
export const FRAGMENT_KEPT = 1;
/** It was the last one: the datagram is in `out`. */
export const FRAGMENT_COMPLETE = 2;

/** ECN codepoints seen are bits 1 << codepoint. */
const SAW_NOT_ECT = 1;
const SAW_CE = 8;

class Datagram {
  version = 4;
  hash = 0;
  s0 = 0;
  s1 = 0;
  s2 = 0;
  s3 = 0;
  d0 = 0;
  d1 = 0;
  d2 = 0;
  d3 = 0;
  id = 0;
  /** IPv4 only: part of the key. */
  protocol = 0;
  deadlineUs = 0;
  /** Dropped for an overlap; remembered so that late fragments are dropped too. */
  dead = false;
  /** Payload bytes here; in all, or -1 while the last fragment is missing. */
  received = 0;
  total = -1;
  ecn = 0;
  /** Bytes in `header`; 0 while the first fragment is missing. */
  headerLength = 0;
  /** IPv6: where in the header the byte lies that names the fragment header, and what comes instead. */
  nextHeaderAt = 0;
  nextHeader = 0;
  /** Ranges that came, sorted, none overlapping: start, end. */
  readonly ranges: number[] = [];
  readonly header = new Uint8Array(MAX_HEADER);
  /** Offsets in the memory, or -1. */
  readonly blocks = new Int32Array(BLOCKS).fill(-1);
  blockCount = 0;
}

export class Reassembly {
  /** When the first datagram is to be given up, µs; Infinity when there is none. */
  nextDeadlineUs = Infinity;
  /** The datagram that was completed, or timed out, last. */
  out = new Uint8Array(0);
  outView = new DataView(this.out.buffer);
  outLength = 0;
  /** Blocks in use. */
  usedBlocks = 0;

  private readonly state: IpState;
  private readonly limits: Readonly<Required<IpLimits>>;
  private readonly limitBlocks: number;
  /** Fragments of all datagrams here. */
  private fragments = 0;
  private readonly secret: number;
  /** Oldest first. */
  private readonly datagrams: Datagram[] = [];
  private readonly spare: Datagram[] = [];

  constructor(state: IpState, limits: Readonly<Required<IpLimits>>) {
    this.state = state;
    this.limits = limits;
    this.limitBlocks = Math.max(BLOCKS, Math.min(limits.reassemblyBytes >> BLOCK_SHIFT, state.memory.blockCount >> 3));
    this.secret = state.random.int32();
  }

  /** Incomplete datagrams, remembered ones included. */
  get size(): number {
    return this.datagrams.length;
  }

  /**
   * Takes a fragment whose form has been checked: not empty, a multiple of eight bytes unless it is the last.
   * @param packet        addresses, tos, ipOffset, protocol (IPv4) of the fragment
   * @param at            where its payload begins in the packet's slab
   * @param length        payload bytes
   * @param offset        where they belong in the datagram
   * @param nextHeaderAt  IPv6: position in the packet of the byte that names the fragment header
   * @param nextHeader    IPv6: what the fragment header names
   */
  add(
    packet: IpPacket, at: number, length: number, offset: number, more: boolean, id: number,
    nextHeaderAt: number, nextHeader: number,
  ): number {
    const counters = this.countersOf(packet.version);
    const end = offset + length;
    const headerLength = at - packet.ipOffset;
    if (end > MAX_PAYLOAD || (offset === 0 && headerLength > MAX_HEADER)) return this.bad(counters);
    const d = this.find(packet, id) ?? this.begin(packet, id);
    if (d.dead) {
      counters.ReasmLate++;
      return FRAGMENT_DROPPED;
    }
    // The end is where the last fragment says, once and for all.
    if (!more) {
      if (d.total >= 0 ? d.total !== end : d.ranges.length > 0 && d.ranges[d.ranges.length - 1]! > end) {
        this.kill(d);
        return this.bad(counters);
      }
    } else if (d.total >= 0 && end > d.total) {
      this.kill(d);
      return this.bad(counters);
    }
    // Where it belongs among the ranges: `i` is the first range that begins at or after it.
    const ranges = d.ranges;
    let i = ranges.length;
    while (i > 0 && ranges[i - 2]! >= offset) i -= 2;
    if (i < ranges.length && ranges[i] === offset && ranges[i + 1] === end) {
      counters.ReasmDuplicates++;
      return FRAGMENT_KEPT;
    }
    if ((i > 0 && ranges[i - 1]! > offset) || (i < ranges.length && ranges[i]! < end)) {
      counters.ReasmOverlaps++;
      this.kill(d);
      return FRAGMENT_DROPPED;
    }
    if (ranges.length >= 2 * MAX_FRAGMENTS || !this.admitFragment(d) || !this.reserve(d, offset, end)) {
      counters.ReasmEvicted++;
      this.drop(d);
      return FRAGMENT_DROPPED;
    }
    ranges.splice(i, 0, offset, end);
    this.fragments++;
    if (!more) d.total = end;
    d.received += length;
    d.ecn |= 1 << (packet.tos & 3);
    if (offset === 0) {
      copyBytes(d.header, 0, packet.slab, packet.ipOffset, headerLength);
      d.headerLength = headerLength;
      d.nextHeaderAt = nextHeaderAt - packet.ipOffset;
      d.nextHeader = nextHeader;
    }
    this.store(d, packet.slab, at, offset, end);
    if (d.received !== d.total) return FRAGMENT_KEPT;
    return this.complete(d) ? FRAGMENT_COMPLETE : FRAGMENT_DROPPED;
  }

  /**
   * Gives up what is too old.
   * @param timeExceeded  told of each datagram whose first fragment came; that fragment, as it came, is in
   *                      `out` (IPv6: the header chain up to the fragment header, then the data)
   */
  expire(nowUs: number, timeExceeded: (version: number) => void): void {
    if (nowUs < this.nextDeadlineUs) return;
    let next = Infinity;
    for (let i = 0; i < this.datagrams.length;) {
      const d = this.datagrams[i]!;
      if (d.deadlineUs > nowUs) {
        if (d.deadlineUs < next) next = d.deadlineUs;
        i++;
        continue;
      }
      const tell = !d.dead && d.headerLength > 0;
      if (!d.dead) {
        const counters = this.countersOf(d.version);
        counters.ReasmTimeout++;
        counters.ReasmFails++;
      }
      if (tell) this.assemble(d, d.ranges[1]!);
      this.remove(d);
      if (tell) timeExceeded(d.version);
    }
    this.nextDeadlineUs = next;
  }

  private bad(counters: IpCounters): number {
    counters.ReasmBadFragments++;
    return FRAGMENT_DROPPED;
  }

  private countersOf(version: number): IpCounters {
    return version === 4 ? this.state.ip4 : this.state.ip6;
  }

  private hashOf(packet: IpPacket, id: number): number {
    return hashAddress(packet.src2 ^ packet.dst2, packet.src3, packet.dst3, id, this.secret)
      ^ hashAddress(packet.src0, packet.src1, packet.dst0, packet.dst1, this.secret);
  }

  private find(packet: IpPacket, id: number): Datagram | null {
    const hash = this.hashOf(packet, id);
    const all = this.datagrams;
    for (let i = all.length - 1; i >= 0; i--) {
      const d = all[i]!;
      if (d.hash === hash && d.id === id && d.version === packet.version
        && (d.version === 6 || d.protocol === packet.protocol)
        && d.s3 === packet.src3 && d.s2 === packet.src2 && d.s1 === packet.src1 && d.s0 === packet.src0
        && d.d3 === packet.dst3 && d.d2 === packet.dst2 && d.d1 === packet.dst1 && d.d0 === packet.dst0) return d;
    }
    return null;
  }

  private begin(packet: IpPacket, id: number): Datagram {
    this.makeRoom(packet);
    const d = this.spare.pop() ?? new Datagram();
    d.version = packet.version;
    d.hash = this.hashOf(packet, id);
    d.s0 = packet.src0;
    d.s1 = packet.src1;
    d.s2 = packet.src2;
    d.s3 = packet.src3;
    d.d0 = packet.dst0;
    d.d1 = packet.dst1;
    d.d2 = packet.dst2;
    d.d3 = packet.dst3;
    d.id = id;
    d.protocol = packet.protocol;
    d.deadlineUs = this.state.nowUs + (packet.version === 4 ? IPV4_REASSEMBLY_US : IPV6_REASSEMBLY_US);
    d.dead = false;
    d.received = 0;
    d.total = -1;
    d.ecn = 0;
    d.headerLength = 0;
    d.nextHeaderAt = 0;
    d.nextHeader = 0;
    d.ranges.length = 0;
    this.datagrams.push(d);
    if (d.deadlineUs < this.nextDeadlineUs) this.nextDeadlineUs = d.deadlineUs;
    return d;
  }

  /** There is to be one datagram more, of the source of `packet`. */
  private makeRoom(packet: IpPacket): void {
    const all = this.datagrams;
    const { reassemblyPerSource, reassemblyDatagrams } = this.limits;
    if (all.length >= reassemblyPerSource) {
      let own = 0;
      let oldestOwn = -1;
      for (let i = all.length - 1; i >= 0; i--) {
        const d = all[i]!;
        if (d.s3 !== packet.src3 || d.s2 !== packet.src2 || d.s1 !== packet.src1 || d.s0 !== packet.src0) continue;
        own++;
        oldestOwn = i;
      }
      if (own >= reassemblyPerSource) {
        this.countersOf(packet.version).ReasmSourceLimits++;
        this.evict(all[oldestOwn]!);
        return;
      }
    }
    if (all.length >= reassemblyDatagrams) this.evict(all[0]!);
  }

  /** Whether `d` may have one fragment more: the datagram with the most of them makes room, unless that is `d`. */
  private admitFragment(d: Datagram): boolean {
    if (this.fragments < this.limits.reassemblyFragments) return true;
    this.countersOf(d.version).ReasmFragmentLimits++;
    let most = d;
    for (const other of this.datagrams) if (other.ranges.length > most.ranges.length) most = other;
    if (most === d) return false;
    this.evict(most);
    return true;
  }

  /** Sees to it that the blocks for bytes `offset` to `end` are there. */
  private reserve(d: Datagram, offset: number, end: number): boolean {
    for (let b = offset >> BLOCK_SHIFT; b <= (end - 1) >> BLOCK_SHIFT; b++) {
      if (d.blocks[b]! >= 0) continue;
      let block = this.usedBlocks < this.limitBlocks ? this.state.memory.allocate() : -1;
      if (block < 0) {
        const victim = this.victimFor(d);
        if (victim === d) return false;
        this.evict(victim);
        block = this.state.memory.allocate();
        if (block < 0) return false;
      }
      d.blocks[b] = block;
      d.blockCount++;
      this.usedBlocks++;
    }
    return true;
  }

  /** The datagram that makes room: the oldest of this source if it holds more than half, else the oldest of all. */
  private victimFor(d: Datagram): Datagram {
    let own = 0;
    let oldestOwn = d;
    let oldest = d;
    for (let i = this.datagrams.length - 1; i >= 0; i--) {
      const other = this.datagrams[i]!;
      if (other.blockCount === 0 || other === d) continue;
      oldest = other;
      if (other.s3 === d.s3 && other.s2 === d.s2 && other.s1 === d.s1 && other.s0 === d.s0) {
        own += other.blockCount;
        oldestOwn = other;
      }
    }
    return own + d.blockCount > this.limitBlocks >> 1 ? oldestOwn : oldest;
  }

  private evict(d: Datagram): void {
    if (d.dead) {
      this.remove(d);
      return;
    }
    this.countersOf(d.version).ReasmEvicted++;
    this.drop(d);
  }

  private store(d: Datagram, slab: Uint8Array, at: number, offset: number, end: number): void {
    const bytes = this.state.memory.bytes;
    while (offset < end) {
      const n = Math.min(BLOCK_SIZE - (offset & BLOCK_MASK), end - offset);
      copyBytes(bytes, d.blocks[offset >> BLOCK_SHIFT]! + (offset & BLOCK_MASK), slab, at, n);
      at += n;
      offset += n;
    }
  }

  /** Lays the header and the first `length` bytes of payload into `out`. */
  private assemble(d: Datagram, length: number): void {
    if (this.out.length === 0) {
      this.out = new Uint8Array(MAX_HEADER + MAX_PAYLOAD);
      this.outView = new DataView(this.out.buffer);
    }
    copyBytes(this.out, 0, d.header, 0, d.headerLength);
    this.copyPayload(d, d.headerLength, length);
    this.outLength = d.headerLength + length;
  }

  private copyPayload(d: Datagram, to: number, length: number): void {
    for (let done = 0; done < length; done += BLOCK_SIZE) {
      const n = Math.min(BLOCK_SIZE, length - done);
      copyBytes(this.out, to + done, this.state.memory.bytes, d.blocks[done >> BLOCK_SHIFT]!, n);
    }
  }

  /** Makes `out` the packet that the sender fragmented. */
  private complete(d: Datagram): boolean {
    const counters = this.countersOf(d.version);
    const isV6 = d.version === 6;
    const headerLength = isV6 ? d.headerLength - IPV6_FRAGMENT_HEADER_LENGTH : d.headerLength;
    // The length field must hold the whole: RFC 791 counts the header in, RFC 8200 the extension headers.
    const fits = isV6 ? headerLength - 40 + d.total <= 65535 : headerLength + d.total <= 65535;
    const badEcn = (d.ecn & SAW_CE) !== 0 && (d.ecn & SAW_NOT_ECT) !== 0;
    if (!fits || badEcn) {
      if (badEcn) counters.ReasmBadEcn++;
      else counters.ReasmBadFragments++;
      this.drop(d);
      return false;
    }
    this.assemble(d, 0);
    this.copyPayload(d, headerLength, d.total);
    this.outLength = headerLength + d.total;
    const view = this.outView;
    if (isV6) {
      this.out[d.nextHeaderAt] = d.nextHeader;
      view.setUint16(IPV6_PAYLOAD_LENGTH, this.outLength - 40);
      if ((d.ecn & SAW_CE) !== 0) view.setUint16(0, view.getUint16(0) | 0x30);
    } else {
      view.setUint16(IPV4_TOTAL_LENGTH, this.outLength);
      view.setUint16(IPV4_FRAGMENT, ipv4Flags(view, 0) & IPV4_DF);
      if ((d.ecn & SAW_CE) !== 0) this.out[1] = this.out[1]! | 3;
      finishIpv4Checksum(view, 0);
    }
    this.remove(d);
    counters.ReasmOKs++;
    return true;
  }

  /** Drops what is here and goes on dropping what comes. */
  private kill(d: Datagram): void {
    this.countersOf(d.version).ReasmFails++;
    this.release(d);
    d.dead = true;
  }

  private drop(d: Datagram): void {
    this.countersOf(d.version).ReasmFails++;
    this.remove(d);
  }

  private remove(d: Datagram): void {
    this.release(d);
    this.datagrams.splice(this.datagrams.indexOf(d), 1);
    if (this.spare.length < 64) this.spare.push(d);
    if (this.datagrams.length === 0) this.nextDeadlineUs = Infinity;
  }

  private release(d: Datagram): void {
    for (let b = 0; b < BLOCKS; b++) {
      if (d.blocks[b]! < 0) continue;
      this.state.memory.free(d.blocks[b]!);
      d.blocks[b] = -1;
      this.usedBlocks--;
    }
    d.blockCount = 0;
    this.fragments -= d.ranges.length >> 1;
    d.ranges.length = 0;
  }
}
