/**
 * IP input: checks a packet, puts fragments together, and hands the payload to its protocol
 * (RFC 791, RFC 1122 section 3.2, RFC 8200). The hot path: no allocation, no exception; a packet that is
 * dropped is counted with its reason (counters.ts).
 *
 *     input ─ input4 ─ admit4 ─ options ─┬─ deliver ─ TCPK's port table, transports, ICMP
 *           └ input6 ─ admit6 ─ chain ───┤
 *                                        └─ reassembly ─ (complete) ─ input4 / input6 again
 *
 * An end host: what is for somebody else is dropped. Jumbograms (RFC 2675), the authentication header
 * and ESP are unknown here.
 */

import {
  PacketBatch, RX_CSUM, RX_CSUM_COMPLETE, RX_CSUM_PARTIAL, RX_CSUM_VALID, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE, RX_LENGTH,
  RX_OFFSET, RX_STRIDE,
} from '../link/link.ts';
import { MAPPED, isMapped } from '../wire/address.ts';
import { subtractSum, sumBytes } from '../wire/checksum.ts';
import {
  ICMPV6_PARAMETER_PROBLEM, ICMPV6_TIME_EXCEEDED, ICMPV6_UNREACHABLE, ICMP_PARAMETER_PROBLEM, ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE, PARAM6_HEADER_CHAIN, PARAM6_HEADER_FIELD, PARAM6_NEXT_HEADER, PARAM6_OPTION, TIME_EXCEEDED_REASSEMBLY,
  UNREACH6_PORT, UNREACH_PORT, UNREACH_PROTOCOL,
} from '../wire/icmp.ts';
import { IPV4_HEADER_LENGTH } from '../wire/ipv4.ts';
import {
  IPV6_FRAGMENT_HEADER_LENGTH, IPV6_HEADER_LENGTH, IPV6_NEXT_HEADER, IPV6_PAYLOAD_LENGTH, extLength, extNextHeader, fragmentId,
  fragmentMore, fragmentOffset, routingSegmentsLeft,
} from '../wire/ipv6.ts';
import {
  EXT_DESTINATION, EXT_FRAGMENT, EXT_HOP_BY_HOP, EXT_NONE, EXT_ROUTING, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP,
} from '../wire/protocol.ts';
import { countEcn } from './counters.ts';
import type { IpCounters } from './counters.ts';
import { HeaderChain, MAX_EXTENSION_HEADERS, upperHeaderLength } from './header-chain.ts';
import type { Icmp } from './icmp.ts';
import type { IcmpOutput } from './icmp-output.ts';
import type { Icmpv6 } from './icmpv6.ts';
import {
  OPTIONS_DISCARD, OPTIONS_MALFORMED, OPTIONS_OK, OPTIONS_REPORT_UNICAST, OPTIONS_SOURCE_ROUTE, checkIpv4Options,
  checkIpv6Options, optionsPointer, optionsReason,
} from './ip-options.ts';
import type { LoopbackQueue } from './loopback.ts';
import { IpPacket } from './packet.ts';
import { FRAGMENT_COMPLETE } from './reassembly.ts';
import type { Reassembly } from './reassembly.ts';
import type { RouteTable } from './route.ts';
import type { IpState } from './state.ts';
import type { Transport } from './transport.ts';

export interface IpInputParts {
  state: IpState;
  routes: RouteTable;
  reassembly: Reassembly;
  loopback: LoopbackQueue;
  sender: IcmpOutput;
  icmp: Icmp;
  icmpv6: Icmpv6;
}

export class IpInput {
  private readonly state: IpState;
  private readonly routes: RouteTable;
  private readonly reassembly: Reassembly;
  private readonly loopback: LoopbackQueue;
  private readonly sender: IcmpOutput;
  private readonly icmp: Icmp;
  private readonly icmpv6: Icmpv6;
  private readonly ip4: IpCounters;
  private readonly ip6: IpCounters;
  private readonly transports: (Transport | null)[];
  /** The one packet that is filled again and again. */
  private readonly packet: IpPacket;
  private readonly chain = new HeaderChain();
  /** Of the packet in hand: RX_FLAGS, RX_CSUM; it came through the loopback queue; it was just put together. */
  private flags = 0;
  private csum = 0;
  private local = false;
  private whole = false;
  /** The pair of IPv4 addresses that was admitted last, in state `okGeneration` of the tables. */
  private okSource = 0;
  private okDestination = 0;
  private okGeneration = -1;

  constructor(parts: IpInputParts) {
    this.state = parts.state;
    this.routes = parts.routes;
    this.reassembly = parts.reassembly;
    this.loopback = parts.loopback;
    this.sender = parts.sender;
    this.icmp = parts.icmp;
    this.icmpv6 = parts.icmpv6;
    this.ip4 = parts.state.ip4;
    this.ip6 = parts.state.ip6;
    this.transports = parts.state.transports;
    this.packet = new IpPacket(new PacketBatch(new Uint8Array(0), 0));
  }

  /** Takes packet `index` of a batch. */
  input(batch: PacketBatch, index: number): void {
    const meta = batch.meta;
    const m = index * RX_STRIDE;
    const at = meta[m + RX_OFFSET]!;
    const length = meta[m + RX_LENGTH]!;
    const packet = this.packet;
    if (packet.slab !== batch.slab) {
      packet.slab = batch.slab;
      packet.view = batch.view;
    }
    packet.timeUs = batch.timeUs;
    packet.gsoType = meta[m + RX_GSO_TYPE]!;
    packet.gsoSize = meta[m + RX_GSO_SIZE]!;
    this.flags = meta[m + RX_FLAGS]!;
    this.csum = meta[m + RX_CSUM]!;
    this.local = batch === this.loopback.draining;
    this.whole = false;
    const version = length > 0 ? packet.view.getUint8(at) >>> 4 : 0;
    if (version === 4) {
      this.ip4.InReceives++;
      this.ip4.InOctets += length;
      this.input4(packet, at, length);
    } else if (version === 6) {
      this.ip6.InReceives++;
      this.ip6.InOctets += length;
      this.input6(packet, at, length);
    } else {
      this.ip4.InReceives++;
      this.ip4.InHdrErrors++;
      this.ip4.InBadVersion++;
    }
  }

  private input4(packet: IpPacket, at: number, length: number): void {
    const counters = this.ip4;
    const view = packet.view;
    if (length < IPV4_HEADER_LENGTH) {
      counters.InTruncatedPkts++;
      return;
    }
    const w0 = view.getInt32(at);
    const w1 = view.getInt32(at + 4);
    const w2 = view.getInt32(at + 8);
    const source = view.getInt32(at + 12);
    const destination = view.getInt32(at + 16);
    const headerLength = (w0 >>> 22) & 0x3c;
    const total = w0 & 0xffff;
    if (headerLength < IPV4_HEADER_LENGTH || headerLength > total) {
      counters.InHdrErrors++;
      counters.InBadHeaderLength++;
      return;
    }
    // Bytes after the total length are padding of the layer below, and cut off.
    if (total > length) {
      counters.InTruncatedPkts++;
      return;
    }
    let sum = (w0 >>> 16) + (w0 & 0xffff) + (w1 >>> 16) + (w1 & 0xffff) + (w2 >>> 16) + (w2 & 0xffff)
      + (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff);
    if (headerLength > IPV4_HEADER_LENGTH) sum += sumBytes(view, at + IPV4_HEADER_LENGTH, headerLength - IPV4_HEADER_LENGTH);
    sum = (sum & 0xffff) + (sum >>> 16);
    if (sum !== 0xffff && (sum & 0xffff) + (sum >>> 16) !== 0xffff) {
      counters.InHdrErrors++;
      counters.InBadChecksum++;
      return;
    }
    packet.version = 4;
    packet.src0 = 0;
    packet.src1 = 0;
    packet.src2 = MAPPED;
    packet.src3 = source;
    packet.dst0 = 0;
    packet.dst1 = 0;
    packet.dst2 = MAPPED;
    packet.dst3 = destination;
    packet.protocol = (w2 >>> 16) & 0xff;
    packet.offset = at + headerLength;
    packet.length = total - headerLength;
    packet.ipOffset = at;
    packet.ipLength = total;
    packet.tos = (w0 >>> 16) & 0xff;
    if ((packet.tos & 3) !== 0 && !this.whole) countEcn(counters, packet.tos);
    packet.ttl = w2 >>> 24;
    packet.toMany = false;
    const known = source === this.okSource && destination === this.okDestination
      && this.okGeneration === this.state.generation && !this.local;
    if (!known && !this.admit4(packet, source, destination)) return;
    if (headerLength > IPV4_HEADER_LENGTH && !this.options4(packet, view, at, headerLength)) return;
    if ((w1 & 0x3fff) !== 0) {
      this.fragment4(packet, w1);
      return;
    }
    const flags = this.flags;
    packet.checksumOk = (flags & (RX_CSUM_PARTIAL | RX_CSUM_VALID)) !== 0;
    // A header whose checksum is right sums to zero: the sum of the packet is that of its payload.
    packet.transportSum = (flags & RX_CSUM_COMPLETE) !== 0 && total === length ? this.csum : -1;
    if (packet.protocol === PROTO_ICMP) {
      counters.InDelivers++;
      this.icmp.input(packet);
    } else if (!this.deliver(packet, counters)) {
      this.sender.error(packet, ICMP_UNREACHABLE, UNREACH_PROTOCOL, 0);
    }
  }

  /**
   * Figure 2 of the report: a TCP segment goes to TCPK's port table first, and what that leaves to the
   * transport that the protocol names. False when there is none.
   */
  private deliver(packet: IpPacket, counters: IpCounters): boolean {
    const protocol = packet.protocol;
    const transport = this.transports[protocol]!;
    const ports = this.state.ports;
    counters.InDelivers++;
    if (protocol === PROTO_TCP && ports !== null && ports.deliver(packet)) return true;
    if (transport !== null) {
      transport.input(packet);
      return true;
    }
    counters.InDelivers--;
    counters.InUnknownProtos++;
    return false;
  }

  /** Whether the addresses are sane and the packet is for us (RFC 1122 section 3.2.1.3). Sets `toMany`. */
  private admit4(packet: IpPacket, source: number, destination: number): boolean {
    const counters = this.ip4;
    const routes = this.routes;
    const sourceNet = source >>> 24;
    // 0.0.0.0/8 names 'this host' and cannot be answered; 224.0.0.0/3 are groups and reserved addresses.
    if (sourceNet === 0 || sourceNet >= 224 || routes.isBroadcast4(source)) {
      counters.InAddrErrors++;
      counters.InBadSource++;
      return false;
    }
    if (!this.local) {
      if (sourceNet === 127 || (destination >>> 24) === 127) {
        counters.InAddrErrors++;
        counters.InMartians++;
        return false;
      }
      if (routes.isLocal4(source)) {
        counters.InAddrErrors++;
        counters.InOwnSource++;
        return false;
      }
    }
    if (routes.isLocal4(destination)) {
      if (!this.local) {
        this.okSource = source;
        this.okDestination = destination;
        this.okGeneration = this.state.generation;
      }
      return true;
    }
    if (this.local && (destination >>> 24) === 127) return true;
    if ((destination >>> 28) === 14) {
      if (!routes.isJoined(0, 0, MAPPED, destination)) {
        counters.InNotJoined++;
        return false;
      }
      counters.InMcastPkts++;
      packet.toMany = true;
      return true;
    }
    if (routes.isBroadcast4(destination)) {
      counters.InBcastPkts++;
      packet.toMany = true;
      return true;
    }
    counters.InAddrErrors++;
    counters.InNotOurs++;
    return false;
  }

  private options4(packet: IpPacket, view: DataView, at: number, headerLength: number): boolean {
    const result = checkIpv4Options(view, at, headerLength);
    if (result === OPTIONS_OK) return true;
    this.ip4.InHdrErrors++;
    if (optionsReason(result) === OPTIONS_SOURCE_ROUTE) {
      this.ip4.InSourceRoutes++;
    } else {
      this.ip4.InBadOption++;
      this.sender.error(packet, ICMP_PARAMETER_PROBLEM, 0, (optionsPointer(result) - at) << 24);
    }
    return false;
  }

  private fragment4(packet: IpPacket, w1: number): void {
    const counters = this.ip4;
    const offset = (w1 & 0x1fff) << 3;
    const more = (w1 & 0x2000) !== 0;
    counters.ReasmReqds++;
    if (packet.length === 0 || (more && (packet.length & 7) !== 0)) {
      counters.ReasmFails++;
      counters.ReasmBadFragments++;
      return;
    }
    // A second fragment that would begin inside the TCP header (RFC 1858 section 3.2, RFC 3128).
    if (offset === 8 && packet.protocol === PROTO_TCP) {
      counters.ReasmFails++;
      counters.ReasmTinyFragments++;
      return;
    }
    const result = this.reassembly.add(packet, packet.offset, packet.length, offset, more, w1 >>> 16, 0, 0);
    if (result === FRAGMENT_COMPLETE) this.inputWhole(packet);
  }

  /** The datagram that was put together goes the way of any packet, from a slab of its own. */
  private inputWhole(packet: IpPacket): void {
    const reassembly = this.reassembly;
    packet.slab = reassembly.out;
    packet.view = reassembly.outView;
    packet.gsoType = 0;
    packet.gsoSize = 0;
    this.flags = 0;
    this.whole = true;
    if (packet.version === 4) this.input4(packet, 0, reassembly.outLength);
    else this.input6(packet, 0, reassembly.outLength);
  }

  private input6(packet: IpPacket, at: number, length: number): void {
    const counters = this.ip6;
    const view = packet.view;
    if (length < IPV6_HEADER_LENGTH) {
      counters.InTruncatedPkts++;
      return;
    }
    const w0 = view.getInt32(at);
    const w1 = view.getInt32(at + 4);
    const total = IPV6_HEADER_LENGTH + (w1 >>> 16);
    if (total > length) {
      counters.InTruncatedPkts++;
      return;
    }
    packet.version = 6;
    packet.src0 = view.getInt32(at + 8);
    packet.src1 = view.getInt32(at + 12);
    packet.src2 = view.getInt32(at + 16);
    packet.src3 = view.getInt32(at + 20);
    packet.dst0 = view.getInt32(at + 24);
    packet.dst1 = view.getInt32(at + 28);
    packet.dst2 = view.getInt32(at + 32);
    packet.dst3 = view.getInt32(at + 36);
    packet.protocol = (w1 >>> 8) & 0xff;
    packet.offset = at + IPV6_HEADER_LENGTH;
    packet.length = total - IPV6_HEADER_LENGTH;
    packet.ipOffset = at;
    packet.ipLength = total;
    packet.tos = (w0 >>> 20) & 0xff;
    if ((packet.tos & 3) !== 0 && !this.whole) countEcn(counters, packet.tos);
    packet.ttl = w1 & 0xff;
    packet.toMany = false;
    if (!this.admit6(packet)) return;
    // Where the byte lies that names the upper layer, for the parameter problem.
    let nextHeaderAt = at + IPV6_NEXT_HEADER;
    if (packet.protocol !== PROTO_TCP && packet.protocol !== PROTO_ICMPV6 && this.transports[packet.protocol]! === null) {
      nextHeaderAt = this.extensions(packet, at + total);
      if (nextHeaderAt < 0) return;
    }
    const flags = this.flags;
    packet.checksumOk = (flags & (RX_CSUM_PARTIAL | RX_CSUM_VALID)) !== 0;
    packet.transportSum = (flags & RX_CSUM_COMPLETE) !== 0 && total === length
      ? subtractSum(this.csum, sumBytes(view, at, packet.offset - at)) : -1;
    if (packet.protocol === PROTO_ICMPV6) {
      counters.InDelivers++;
      this.icmpv6.input(packet);
    } else if (!this.deliver(packet, counters)) {
      this.sender.error(packet, ICMPV6_PARAMETER_PROBLEM, PARAM6_NEXT_HEADER, nextHeaderAt - at);
    }
  }

  /** As `admit4` (RFC 4291 sections 2.5 and 2.7, RFC 4443 section 2.4 (e)). */
  private admit6(packet: IpPacket): boolean {
    const counters = this.ip6;
    const routes = this.routes;
    const { src0, src1, src2, src3, dst0, dst1, dst2, dst3 } = packet;
    if ((src0 >>> 24) === 0xff || (src0 === 0 && src1 === 0 && src2 === 0 && src3 === 0)) {
      counters.InAddrErrors++;
      counters.InBadSource++;
      return false;
    }
    // Mapped addresses stand for IPv4 inside the stack and must not come from outside (RFC 4942 section 2.2.2).
    if (isMapped(src0, src1, src2) || isMapped(dst0, dst1, dst2)) {
      counters.InAddrErrors++;
      counters.InMartians++;
      return false;
    }
    if (!this.local) {
      if (routes.isLoopback(src0, src1, src2, src3) || routes.isLoopback(dst0, dst1, dst2, dst3)) {
        counters.InAddrErrors++;
        counters.InMartians++;
        return false;
      }
      if (routes.isLocal6(src0, src1, src2, src3)) {
        counters.InAddrErrors++;
        counters.InOwnSource++;
        return false;
      }
    }
    if (routes.isLocal6(dst0, dst1, dst2, dst3)) return true;
    if (this.local && routes.isLoopback(dst0, dst1, dst2, dst3)) return true;
    if ((dst0 >>> 24) === 0xff) {
      if (!routes.isJoined(dst0, dst1, dst2, dst3)) {
        counters.InNotJoined++;
        return false;
      }
      counters.InMcastPkts++;
      packet.toMany = true;
      return true;
    }
    counters.InAddrErrors++;
    counters.InNotOurs++;
    return false;
  }

  /**
   * Walks over extension headers (RFC 8200 section 4) and leaves protocol, offset and length of the upper
   * layer in the packet. Returns where the byte lies that names it, or -1 when the packet is done with.
   */
  private extensions(packet: IpPacket, end: number): number {
    const counters = this.ip6;
    const view = packet.view;
    const start = packet.ipOffset;
    let protocol = packet.protocol;
    let at = packet.offset;
    let nextHeaderAt = start + IPV6_NEXT_HEADER;
    for (let n = 0; ; n++) {
      // Hop-by-hop options anywhere but first are an unknown header (RFC 8200 section 4, 4.1).
      const isOptions = protocol === EXT_DESTINATION || (protocol === EXT_HOP_BY_HOP && n === 0);
      if (!isOptions && protocol !== EXT_ROUTING && protocol !== EXT_FRAGMENT) break;
      if (n === MAX_EXTENSION_HEADERS) {
        counters.InHdrErrors++;
        counters.InLongChain++;
        return -1;
      }
      if (at + 8 > end || (protocol !== EXT_FRAGMENT && at + extLength(view, at) > end)) {
        counters.InHdrErrors++;
        counters.InBadOption++;
        return -1;
      }
      if (protocol === EXT_FRAGMENT) {
        // An atomic fragment is a whole packet, apart from all others (RFC 6946).
        if (fragmentOffset(view, at) !== 0 || fragmentMore(view, at)) {
          this.fragment6(packet, at, end, nextHeaderAt);
          return -1;
        }
      } else if (isOptions ? !this.options6(packet, view, at) : !this.routing(packet, view, at)) {
        return -1;
      }
      nextHeaderAt = at;
      at += protocol === EXT_FRAGMENT ? IPV6_FRAGMENT_HEADER_LENGTH : extLength(view, at);
      protocol = extNextHeader(view, nextHeaderAt);
    }
    packet.protocol = protocol;
    packet.offset = at;
    packet.length = end - at;
    if (protocol === EXT_NONE) {
      counters.InNoNextHeader++;
      return -1;
    }
    return nextHeaderAt;
  }

  /** Hop-by-hop or destination options. */
  private options6(packet: IpPacket, view: DataView, at: number): boolean {
    const result = checkIpv6Options(view, at);
    if (result === OPTIONS_OK) return true;
    const reason = optionsReason(result);
    const pointer = optionsPointer(result) - packet.ipOffset;
    this.ip6.InHdrErrors++;
    if (reason === OPTIONS_MALFORMED) {
      this.ip6.InBadOption++;
      this.sender.error(packet, ICMPV6_PARAMETER_PROBLEM, PARAM6_HEADER_FIELD, pointer);
    } else {
      this.ip6.InUnknownOption++;
      if (reason !== OPTIONS_DISCARD && (reason !== OPTIONS_REPORT_UNICAST || !packet.toMany)) {
        this.sender.error(packet, ICMPV6_PARAMETER_PROBLEM, PARAM6_OPTION, pointer);
      }
    }
    return false;
  }

  /** Without segments left it is skipped; else it is unknown, type 0 included (RFC 8200 4.4, RFC 5095). */
  private routing(packet: IpPacket, view: DataView, at: number): boolean {
    if (routingSegmentsLeft(view, at) === 0) return true;
    this.ip6.InHdrErrors++;
    this.ip6.InSourceRoutes++;
    this.sender.error(packet, ICMPV6_PARAMETER_PROBLEM, PARAM6_HEADER_FIELD, at + 2 - packet.ipOffset);
    return false;
  }

  private fragment6(packet: IpPacket, at: number, end: number, nextHeaderAt: number): void {
    const counters = this.ip6;
    const view = packet.view;
    const offset = fragmentOffset(view, at);
    const more = fragmentMore(view, at);
    const payload = at + IPV6_FRAGMENT_HEADER_LENGTH;
    const length = end - payload;
    counters.ReasmReqds++;
    // RFC 8200 section 4.5 says for each of these what is reported, and where.
    if (more && (length & 7) !== 0) {
      counters.ReasmFails++;
      counters.ReasmBadFragments++;
      this.sender.error(packet, ICMPV6_PARAMETER_PROBLEM, PARAM6_HEADER_FIELD, IPV6_PAYLOAD_LENGTH);
      return;
    }
    if (offset + length > 65535) {
      counters.ReasmFails++;
      counters.ReasmBadFragments++;
      this.sender.error(packet, ICMPV6_PARAMETER_PROBLEM, PARAM6_HEADER_FIELD, at + 2 - packet.ipOffset);
      return;
    }
    if (length === 0) {
      counters.ReasmFails++;
      counters.ReasmBadFragments++;
      return;
    }
    if (offset === 0) {
      // The first fragment holds all headers, that of the upper layer included (RFC 7112 section 5).
      const chain = this.chain;
      if (!chain.walk(view, extNextHeader(view, at), payload, end) || chain.offset + upperHeaderLength(chain.protocol) > end) {
        counters.ReasmFails++;
        counters.ReasmTinyFragments++;
        this.sender.error(packet, ICMPV6_PARAMETER_PROBLEM, PARAM6_HEADER_CHAIN, 0);
        return;
      }
    }
    // A fragment inside a fragment would never end.
    if (this.whole) {
      counters.ReasmFails++;
      counters.ReasmBadFragments++;
      return;
    }
    const result = this.reassembly.add(packet, payload, length, offset, more, fragmentId(view, at), nextHeaderAt,
      extNextHeader(view, at));
    if (result === FRAGMENT_COMPLETE) this.inputWhole(packet);
  }

  /** Answers a packet that no port takes. */
  portUnreachable(packet: IpPacket): void {
    if (packet.version === 4) this.sender.error(packet, ICMP_UNREACHABLE, UNREACH_PORT, 0);
    else this.sender.error(packet, ICMPV6_UNREACHABLE, UNREACH6_PORT, 0);
  }

  /**
   * The time for reassembly is over; the first fragment is in `reassembly.out`.
   * @param version  of the datagram given up
   */
  reassemblyTimeExceeded(version: number): void {
    const { out, outView: view, outLength } = this.reassembly;
    const packet = this.packet;
    packet.slab = out;
    packet.view = view;
    packet.version = version;
    packet.ipOffset = 0;
    packet.ipLength = outLength;
    const v4 = version === 4;
    packet.src0 = v4 ? 0 : view.getInt32(8);
    packet.src1 = v4 ? 0 : view.getInt32(12);
    packet.src2 = v4 ? MAPPED : view.getInt32(16);
    packet.src3 = v4 ? view.getInt32(12) : view.getInt32(20);
    packet.dst0 = v4 ? 0 : view.getInt32(24);
    packet.dst1 = v4 ? 0 : view.getInt32(28);
    packet.dst2 = v4 ? MAPPED : view.getInt32(32);
    packet.dst3 = v4 ? view.getInt32(16) : view.getInt32(36);
    packet.protocol = v4 ? view.getUint8(9) : view.getUint8(6);
    packet.toMany = this.routes.isToMany(packet.dst0, packet.dst1, packet.dst2, packet.dst3);
    this.sender.error(packet, v4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED, TIME_EXCEEDED_REASSEMBLY, 0);
  }
}
