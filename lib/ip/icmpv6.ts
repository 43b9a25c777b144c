/**
 * ICMPv6 (RFC 4443, RFC 8201), input side: echo, and errors about packets of ours. Neighbour and router
 * discovery and multicast listener discovery have no object on a layer-3 link: counted and ignored.
 */

import { isMapped } from '../wire/address.ts';
import {
  ICMPV6_ECHO, ICMPV6_ECHO_REPLY, ICMPV6_ND_REDIRECT, ICMPV6_PACKET_TOO_BIG, ICMPV6_PARAMETER_PROBLEM, ICMPV6_TIME_EXCEEDED,
  ICMPV6_UNREACHABLE, ICMP_HEADER_LENGTH, icmpCode, icmpId, icmpSequence, icmpType, icmpv6Mtu,
} from '../wire/icmp.ts';
import { ipVersion } from '../wire/ipv4.ts';
import { IPV6_DESTINATION, IPV6_HEADER_LENGTH, IPV6_MIN_MTU, IPV6_SOURCE, ipv6NextHeader } from '../wire/ipv6.ts';
import { PROTO_ICMPV6 } from '../wire/protocol.ts';
import { transportChecksumOk } from './checksum.ts';
import { HeaderChain } from './header-chain.ts';
import { IcmpErrorRecord, classifyIcmpError } from './icmp-error.ts';
import { MIN_QUOTED, deliverError } from './icmp.ts';
import type { IcmpParts } from './icmp.ts';
import type { IpPacket } from './packet.ts';
import type { IpState } from './state.ts';

export class Icmpv6 {
  private readonly parts: IcmpParts;
  private readonly state: IpState;
  private readonly record = new IcmpErrorRecord();
  private readonly chain = new HeaderChain();

  constructor(parts: IcmpParts) {
    this.parts = parts;
    this.state = parts.state;
  }

  input(packet: IpPacket): void {
    const counters = this.state.icmp6;
    const { view, offset } = packet;
    counters.InMsgs++;
    if (packet.length < 4) {
      counters.InErrors++;
      return;
    }
    if (!transportChecksumOk(packet)) {
      counters.InCsumErrors++;
      return;
    }
    const type = icmpType(view, offset);
    // Echo and errors have eight bytes before their data; what is ignored may have less.
    const known = type <= ICMPV6_PARAMETER_PROBLEM || type === ICMPV6_ECHO || type === ICMPV6_ECHO_REPLY;
    if (known && packet.length < ICMP_HEADER_LENGTH) {
      counters.InErrors++;
      return;
    }
    switch (type) {
      case ICMPV6_ECHO:
        // To a multicast group as well; the reply comes from one of our own addresses (RFC 4443 4.2).
        counters.InEchos++;
        this.parts.sender.echoReply(packet);
        return;
      case ICMPV6_ECHO_REPLY:
        counters.InEchoReps++;
        this.state.listener?.echoReply(packet, icmpId(view, offset), icmpSequence(view, offset));
        return;
      case ICMPV6_UNREACHABLE:
        counters.InDestUnreachs++;
        break;
      case ICMPV6_PACKET_TOO_BIG:
        counters.InPktTooBigs++;
        break;
      case ICMPV6_TIME_EXCEEDED:
        counters.InTimeExcds++;
        break;
      case ICMPV6_PARAMETER_PROBLEM:
        counters.InParmProbs++;
        break;
      default:
        if (type === ICMPV6_ND_REDIRECT) counters.InRedirects++;
        else counters.InIgnored++;
        return;
    }
    this.errorInput(packet, type);
  }

  /** An error: the packet it quotes must be one that we could have sent. */
  private errorInput(packet: IpPacket, type: number): void {
    const { view } = packet;
    const counters = this.state.icmp6;
    const quoted = packet.offset + ICMP_HEADER_LENGTH;
    const end = packet.offset + packet.length;
    const start = quoted + IPV6_HEADER_LENGTH;
    if (start + MIN_QUOTED > end || ipVersion(view, quoted) !== 6 || packet.toMany
      || !this.chain.walk(view, ipv6NextHeader(view, quoted), start, end) || this.chain.offset + MIN_QUOTED > end) {
      counters.InQuoteErrors++;
      return;
    }
    const error = this.record;
    const source = quoted + IPV6_SOURCE;
    const destination = quoted + IPV6_DESTINATION;
    error.version = 6;
    error.type = type;
    error.code = icmpCode(view, packet.offset);
    classifyIcmpError(error);
    error.mtu = 0;
    error.src0 = view.getInt32(source);
    error.src1 = view.getInt32(source + 4);
    error.src2 = view.getInt32(source + 8);
    error.src3 = view.getInt32(source + 12);
    error.dst0 = view.getInt32(destination);
    error.dst1 = view.getInt32(destination + 4);
    error.dst2 = view.getInt32(destination + 8);
    error.dst3 = view.getInt32(destination + 12);
    // Words of the mapped form would be taken for IPv4 by whoever looks them up.
    if (isMapped(error.src0, error.src1, error.src2) || isMapped(error.dst0, error.dst1, error.dst2)
      || !this.parts.routes.isLocal(error.src0, error.src1, error.src2, error.src3)) {
      counters.InQuoteErrors++;
      return;
    }
    if (type === ICMPV6_PACKET_TOO_BIG) {
      const mtu = icmpv6Mtu(view, packet.offset);
      // Below the least that IPv6 requires: to be discarded (RFC 8201 section 4).
      if (mtu < IPV6_MIN_MTU) {
        counters.InQuoteErrors++;
        return;
      }
      error.mtu = mtu > 65535 ? 65535 : mtu;
    }
    error.from0 = packet.src0;
    error.from1 = packet.src1;
    error.from2 = packet.src2;
    error.from3 = packet.src3;
    error.slab = packet.slab;
    error.view = view;
    error.offset = this.chain.offset;
    error.length = end - this.chain.offset;
    deliverError(this.parts, error, this.chain.protocol, PROTO_ICMPV6);
  }
}
