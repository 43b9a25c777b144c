/**
 * IP output: routes for flows, headers, checksums, fragmentation (RFC 791, RFC 8200 section 4.5, RFC 6864).
 *
 * A packet goes straight into the transmit queue: `begin()` writes the IP header into the header slot,
 * the transport adds its own and the payload pieces, `end()` fills in lengths and checksums. Packets to
 * the stack itself are copied to the loopback queue instead.
 *
 * Not here: IPv4 options and IPv6 extension headers other than the fragment header are never sent.
 */

import { EADDRNOTAVAIL, EINVAL, EMSGSIZE, ENETUNREACH, ENOBUFS } from '../errno.ts';
import { HEADER_SLOT } from '../buffer/packet-memory.ts';
import { GSO_NONE, TX_FIRST_PIECE, TX_PIECES, TX_STRIDE } from '../buffer/transmit-queue.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import { LINK_CSUM } from '../link/link.ts';
import { isMapped, isUnspecified } from '../wire/address.ts';
import { fold, sumAddress, sumContinued } from '../wire/checksum.ts';
import {
  IPV4_CHECKSUM, IPV4_DF, IPV4_FRAGMENT, IPV4_HEADER_LENGTH, IPV4_MF, IPV4_TOTAL_LENGTH, finishIpv4Checksum,
} from '../wire/ipv4.ts';
import {
  IPV6_FRAGMENT_HEADER_LENGTH, IPV6_HEADER_LENGTH, IPV6_NEXT_HEADER, IPV6_PAYLOAD_LENGTH, writeFragmentHeader, writeIpv6Header,
} from '../wire/ipv6.ts';
import { EXT_FRAGMENT, PROTO_ICMP, PROTO_ICMPV6, PROTO_UDP } from '../wire/protocol.ts';
import type { IpFlow } from './flow.ts';
import type { LoopbackQueue } from './loopback.ts';
import { hashAddress } from './path-mtu.ts';
import type { PathMtuCache } from './path-mtu.ts';
import type { RouteTable } from './route.ts';
import type { IpState } from './state.ts';

/** What the loopback carries in one piece; Linux's `lo` has 65536. */
export const LOOPBACK_MTU = 65535;

/** Counters for IPv4 identifications; which one a destination uses is a secret (RFC 7739 section 5.1's idea). */
const ID_COUNTERS = 256;

export class IpOutput {
  readonly tx: TransmitQueue;
  /** MTU of the link, bytes. */
  linkMtu: number;
  private readonly state: IpState;
  private readonly routes: RouteTable;
  private readonly pathMtu: PathMtuCache;
  private readonly loopback: LoopbackQueue;
  private readonly view: DataView;
  /** The link finishes checksums. */
  private readonly partial: boolean;
  /** Where the packet begun has its IP header; the words of its IPv4 header that vary. */
  private at = 0;
  private idAndFragment = 0;
  private readonly ids: Uint16Array;
  private readonly secret: number;
  /** Pieces of a packet that is being cut: offset, length. */
  private cut = new Int32Array(64);

  constructor(
    state: IpState, tx: TransmitQueue, routes: RouteTable, pathMtu: PathMtuCache, loopback: LoopbackQueue,
    mtu: number, features: number,
  ) {
    this.state = state;
    this.tx = tx;
    this.routes = routes;
    this.pathMtu = pathMtu;
    this.loopback = loopback;
    this.linkMtu = mtu;
    this.view = tx.memory.view;
    this.partial = (features & LINK_CSUM) !== 0;
    this.ids = new Uint16Array(ID_COUNTERS);
    for (let i = 0; i < ID_COUNTERS; i++) this.ids[i] = state.random.int32();
    this.secret = state.random.int32();
  }

  /** `IpLayer.route` */
  route(flow: IpFlow): number {
    const { r0, r1, r2, r3 } = flow;
    const isV4 = isMapped(r0, r1, r2);
    if (isUnspecified(r0, r1, r2, r3)) return -EINVAL;
    const unbound = isUnspecified(flow.l0, flow.l1, flow.l2, flow.l3);
    if (!unbound && isMapped(flow.l0, flow.l1, flow.l2) !== isV4) return -EINVAL;
    const loopback = this.routes.isLocal(r0, r1, r2, r3);
    const route = loopback ? null : this.routes.find(r0, r1, r2, r3);
    if (!loopback && route === null && !this.routes.isToMany(r0, r1, r2, r3)) return this.noRoute(isV4);
    if (unbound) {
      if (loopback) {
        // Linux: a connection to one of our own addresses comes from that address.
        flow.l0 = r0;
        flow.l1 = r1;
        flow.l2 = r2;
        flow.l3 = r3;
      } else {
        const source = this.routes.selectSource(route, r0, r1, r2, r3);
        if (source === null) return this.noRoute(isV4);
        flow.l0 = source.w0;
        flow.l1 = source.w1;
        flow.l2 = source.w2;
        flow.l3 = source.w3;
      }
    } else {
      if (!this.routes.isLocal(flow.l0, flow.l1, flow.l2, flow.l3)) return -EADDRNOTAVAIL;
      // A loopback address never leaves the host (RFC 1122 3.2.1.3 (g), RFC 4291 2.5.3).
      if (!loopback && this.routes.isLoopback(flow.l0, flow.l1, flow.l2, flow.l3)) return -EADDRNOTAVAIL;
    }
    flow.version = isV4 ? 4 : 6;
    flow.headerLength = isV4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH;
    // The third word of an IPv4 address is no part of its pseudo-header.
    flow.pseudoSum = flow.protocol + (isV4
      ? sumAddress(0, 0, flow.l3, r3)
      : sumAddress(flow.l0, flow.l1, flow.l2, flow.l3) + sumAddress(r0, r1, r2, r3));
    this.refresh(flow);
    return 0;
  }

  /** `IpLayer.begin`. At most 80 bytes of transport header, so that a fragment header fits in front of them. */
  begin(flow: IpFlow, transportHeaderLength: number): number {
    if (flow.generation !== this.state.generation) this.refresh(flow);
    const at = this.tx.begin(flow.headerLength + transportHeaderLength);
    if (at < 0) {
      (flow.version === 4 ? this.state.ip4 : this.state.ip6).OutQueueFull++;
      return -1;
    }
    this.at = at;
    if (flow.version === 4) {
      // With DF set the identification means nothing (RFC 6864 section 4.1).
      this.idAndFragment = flow.dontFragment ? IPV4_DF : this.nextId(flow.r3) << 16;
      const view = this.view;
      view.setInt32(at, 0x45000000 | (flow.tos << 16));
      view.setInt32(at + 4, this.idAndFragment);
      view.setInt32(at + 8, (flow.ttl << 24) | (flow.protocol << 16));
      view.setInt32(at + 12, flow.l3);
      view.setInt32(at + 16, flow.r3);
      return at + IPV4_HEADER_LENGTH;
    }
    writeIpv6Header(this.view, at, flow.tos, flow.flowLabel, 0, flow.protocol, flow.ttl,
      flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3);
    return at + IPV6_HEADER_LENGTH;
  }

  /** `IpLayer.end`; also -ENOBUFS when there is no room for all fragments (nothing was sent). */
  end(flow: IpFlow, csumOffset: number, gsoType: number, gsoSize: number): number {
    const tx = this.tx;
    const at = this.at;
    const view = this.view;
    const total = tx.length;
    const headerLength = flow.headerLength;
    const payload = total - headerLength;
    const isV4 = flow.version === 4;
    const counters = isV4 ? this.state.ip4 : this.state.ip6;
    if (total > flow.mtu && gsoType === GSO_NONE && !flow.loopback) return this.endLarge(flow, csumOffset);
    if ((isV4 ? total : payload) > 65535) {
      counters.FragFails++;
      return -EMSGSIZE;
    }
    counters.OutRequests++;
    counters.OutOctets += total;
    if (isV4) {
      view.setUint16(at + IPV4_TOTAL_LENGTH, total);
      // `pseudoSum` holds the addresses and the protocol already.
      const word = this.idAndFragment;
      view.setUint16(at + IPV4_CHECKSUM, ~fold(flow.pseudoSum + 0x4500 + flow.tos + total
        + (word >>> 16) + (word & 0xffff) + (flow.ttl << 8)) & 0xffff);
    } else {
      view.setUint16(at + IPV6_PAYLOAD_LENGTH, payload);
    }
    if (flow.loopback) return this.endLoopback(flow, csumOffset, gsoType, gsoSize);
    if (csumOffset < 0) {
      tx.end(-1, 0, gsoType, gsoSize);
    } else if (this.partial && flow.protocol !== PROTO_ICMP && flow.protocol !== PROTO_ICMPV6) {
      view.setUint16(at + headerLength + csumOffset, fold(flow.pseudoSum + payload));
      tx.end(headerLength, csumOffset, gsoType, gsoSize);
    } else {
      // ICMP is always finished here: raw sockets of the peer would see an unfinished checksum.
      tx.end(-1, 0, gsoType, gsoSize);
      this.finishChecksum(flow, tx.tail - 1, csumOffset, payload);
    }
    return 0;
  }

  /** Takes the MTU to a flow's destination from the tables as they are now. */
  private refresh(flow: IpFlow): void {
    flow.generation = this.state.generation;
    flow.loopback = this.routes.isLocal(flow.r0, flow.r1, flow.r2, flow.r3);
    flow.mtu = flow.loopback ? LOOPBACK_MTU : this.mtuTo(flow.r0, flow.r1, flow.r2, flow.r3);
  }

  /** Largest packet to a destination that is not the stack itself. */
  mtuTo(w0: number, w1: number, w2: number, w3: number): number {
    const known = this.pathMtu.get(w0, w1, w2, w3);
    return known !== 0 && known < this.linkMtu ? known : this.linkMtu;
  }

  /** ICMP has told of a smaller path MTU, and was believed: everybody who sends there hears of it. */
  lowerMtuTo(w0: number, w1: number, w2: number, w3: number, mtu: number): void {
    if (this.pathMtu.lower(w0, w1, w2, w3, mtu, this.mtuTo(w0, w1, w2, w3), this.state.nowUs)) this.state.pathMtuChanged(w0, w1, w2, w3);
  }

  private noRoute(isV4: boolean): number {
    (isV4 ? this.state.ip4 : this.state.ip6).OutNoRoutes++;
    return -ENETUNREACH;
  }

  /** Unique for a destination as long as it can be with 16 bits (RFC 6864 section 4.3). */
  private nextId(destination: number): number {
    const i = hashAddress(0, 0, 0, destination, this.secret) & (ID_COUNTERS - 1);
    return (this.ids[i] = this.ids[i]! + 1) & 0xffff;
  }

  /** Sums the queued packet `index` from its transport header on and stores the checksum. */
  private finishChecksum(flow: IpFlow, index: number, csumOffset: number, payload: number): void {
    const view = this.view;
    const pieces = this.tx.pieces;
    const headerLength = flow.headerLength;
    const field = this.at + headerLength + csumOffset;
    view.setUint16(field, 0);
    // ICMP has no pseudo-header (RFC 792).
    let sum = flow.protocol === PROTO_ICMP ? 0 : flow.pseudoSum + payload;
    let piece = this.tx.packets[index * TX_STRIDE + TX_FIRST_PIECE]! * 2;
    const last = piece + this.tx.packets[index * TX_STRIDE + TX_PIECES]! * 2;
    let length = pieces[piece + 1]! - headerLength;
    sum = sumContinued(sum, 0, view, this.at + headerLength, length);
    let position = length;
    for (piece += 2; piece < last; piece += 2) {
      length = pieces[piece + 1]!;
      sum = sumContinued(sum, position, view, pieces[piece]!, length);
      position += length;
    }
    const sent = ~fold(sum) & 0xffff;
    // UDP: all zero would mean that there is no checksum (RFC 768).
    view.setUint16(field, sent === 0 && flow.protocol === PROTO_UDP ? 0xffff : sent);
  }

  private endLoopback(flow: IpFlow, csumOffset: number, gsoType: number, gsoSize: number): number {
    const counters = flow.version === 4 ? this.state.ip4 : this.state.ip6;
    const tx = this.tx;
    const headerLength = flow.headerLength;
    if (csumOffset >= 0) {
      this.view.setUint16(this.at + headerLength + csumOffset, fold(flow.pseudoSum + tx.length - headerLength));
    }
    tx.end(-1, 0, gsoType, gsoSize);
    tx.takeBack();
    counters.OutLoopback++;
    if (!this.loopback.add(tx, tx.tail, headerLength, csumOffset, gsoType, gsoSize)) counters.OutDiscards++;
    return 0;
  }

  /** A packet that is larger than the path takes: cut into fragments, or refused. */
  private endLarge(flow: IpFlow, csumOffset: number): number {
    const isV4 = flow.version === 4;
    const counters = isV4 ? this.state.ip4 : this.state.ip6;
    const tx = this.tx;
    const view = this.view;
    const first = this.at;
    const payload = tx.length - flow.headerLength;
    const headerLength = flow.headerLength + (isV4 ? 0 : IPV6_FRAGMENT_HEADER_LENGTH);
    // All fragments but the last carry a multiple of eight bytes.
    const share = (flow.mtu - headerLength) & ~7;
    if (flow.dontFragment || share < 8 || (isV4 ? tx.length : payload) > 65535) {
      counters.FragFails++;
      return -EMSGSIZE;
    }
    const count = Math.ceil(payload / share);
    tx.end(-1, 0, GSO_NONE, 0);
    if (csumOffset >= 0) this.finishChecksum(flow, tx.tail - 1, csumOffset, payload);
    tx.takeBack();
    const pieceCount = this.saveForCut(flow, headerLength);
    if (count > tx.room || tx.pieceRoom < 2 * count + pieceCount + 16 || pieceCount === 0) {
      counters.FragFails++;
      counters.OutDiscards++;
      return -ENOBUFS;
    }
    counters.OutRequests++;
    counters.OutOctets += flow.headerLength + payload;
    counters.FragOKs++;
    counters.FragCreates += count;
    // The first fragment takes the slot of the packet itself, so its header is there.
    const id6 = isV4 ? 0 : this.state.random.int32();
    if (!isV4) view.setUint8(first + IPV6_NEXT_HEADER, EXT_FRAGMENT);
    const bytes = tx.memory.bytes;
    let piece = 0;
    let used = 0;
    for (let offset = 0; offset < payload; offset += share) {
      const size = Math.min(share, payload - offset);
      const more = offset + size < payload;
      const at = tx.begin(headerLength);
      if (at !== first) bytes.copyWithin(at, first, first + flow.headerLength);
      if (isV4) {
        view.setUint16(at + IPV4_TOTAL_LENGTH, headerLength + size);
        view.setUint16(at + IPV4_FRAGMENT, (offset >>> 3) | (more ? IPV4_MF : 0));
        finishIpv4Checksum(view, at);
      } else {
        view.setUint16(at + IPV6_PAYLOAD_LENGTH, IPV6_FRAGMENT_HEADER_LENGTH + size);
        writeFragmentHeader(view, at + IPV6_HEADER_LENGTH, flow.protocol, offset, more, id6);
      }
      for (let left = size; left > 0;) {
        const n = Math.min(this.cut[piece + 1]! - used, left);
        if (n > 0) tx.piece(this.cut[piece]! + used, n);
        left -= n;
        used += n;
        if (used === this.cut[piece + 1]) {
          piece += 2;
          used = 0;
        }
      }
      tx.end(-1, 0, GSO_NONE, 0);
    }
    return 0;
  }

  /**
   * Notes where the payload of the packet taken back lies: its transport header, which stays in the slot
   * behind `headerLength` bytes of the first fragment's, then its pieces. Returns how many, 0 when the
   * slot is too small.
   */
  private saveForCut(flow: IpFlow, headerLength: number): number {
    const tx = this.tx;
    const p = tx.tail * TX_STRIDE;
    const first = tx.packets[p + TX_FIRST_PIECE]! * 2;
    const count = tx.packets[p + TX_PIECES]!;
    if (this.cut.length < count * 2) this.cut = new Int32Array(count * 4);
    this.cut.set(tx.pieces.subarray(first, first + count * 2));
    const from = this.at + flow.headerLength;
    const to = this.at + headerLength;
    const length = tx.pieces[first + 1]! - flow.headerLength;
    if (to + length > this.at + HEADER_SLOT) return 0;
    if (to !== from) tx.memory.bytes.copyWithin(to, from, from + length);
    this.cut[0] = to;
    this.cut[1] = length;
    return count;
  }
}

