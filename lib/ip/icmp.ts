/**
 * ICMP for IPv4 (RFC 792, RFC 1122 section 3.2.2, RFC 1191), input side: echo, and errors about packets
 * of ours. Echo requests to broadcast and multicast addresses are not answered (RFC 1122 3.2.2.6 lets
 * us; Linux's icmp_echo_ignore_broadcasts). Source quench is ignored (RFC 6633), redirects too: there
 * is one link and no gateway to change. Timestamps are not answered (RFC 1122 3.2.2.8: MAY).
 */

import { MAPPED } from '../wire/address.ts';
import {
  ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER_LENGTH, ICMP_PARAMETER_PROBLEM, ICMP_REDIRECT, ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE, UNREACH_NEEDFRAG, icmpCode, icmpId, icmpMtu, icmpSequence, icmpType,
} from '../wire/icmp.ts';
import {
  IPV4_HEADER_LENGTH, ipVersion, ipv4Destination, ipv4FragmentOffset, ipv4HeaderLength, ipv4Protocol, ipv4Source, ipv4TotalLength,
} from '../wire/ipv4.ts';
import { PROTO_ICMP, PROTO_TCP } from '../wire/protocol.ts';
import { icmpChecksumOk } from './checksum.ts';
import { IcmpErrorRecord, classifyIcmpError } from './icmp-error.ts';
import type { IcmpOutput } from './icmp-output.ts';
import type { IpOutput } from './output.ts';
import type { IpPacket } from './packet.ts';
import { IPV4_PATH_MTU_FLOOR, plateauBelow } from './path-mtu.ts';
import type { RouteTable } from './route.ts';
import type { IpState } from './state.ts';

/** Bytes of the transport header that an error quotes at least (RFC 792). */
export const MIN_QUOTED = 8;

/** What ICMP of both versions needs around it. */
export interface IcmpParts {
  state: IpState;
  routes: RouteTable;
  output: IpOutput;
  sender: IcmpOutput;
}

/**
 * Hands an error to the transport of the packet it quotes, and takes over the path MTU it tells if that
 * transport knows the packet (RFC 5927, RFC 8201 section 4).
 */
export function deliverError(parts: IcmpParts, error: IcmpErrorRecord, protocol: number, icmpProtocol: number): void {
  const { state, output } = parts;
  const counters = error.version === 4 ? state.icmp4 : state.icmp6;
  let known = false;
  if (protocol === icmpProtocol) known = state.listener?.icmpError?.(error) ?? false;
  else known = (protocol === PROTO_TCP ? state.ports?.icmpError(error) : null) ?? state.transports[protocol]?.icmpError(error) ?? false;
  if (!known) {
    counters.InQuoteUnknown++;
    return;
  }
  if (error.mtu === 0) return;
  output.lowerMtuTo(error.dst0, error.dst1, error.dst2, error.dst3, error.mtu);
}

export class Icmp {
  private readonly parts: IcmpParts;
  private readonly state: IpState;
  private readonly record = new IcmpErrorRecord();

  constructor(parts: IcmpParts) {
    this.parts = parts;
    this.state = parts.state;
  }

  input(packet: IpPacket): void {
    const counters = this.state.icmp4;
    const { view, offset } = packet;
    counters.InMsgs++;
    if (packet.length < ICMP_HEADER_LENGTH) {
      counters.InErrors++;
      return;
    }
    if (!icmpChecksumOk(packet)) {
      counters.InCsumErrors++;
      return;
    }
    const type = icmpType(view, offset);
    switch (type) {
      case ICMP_ECHO:
        counters.InEchos++;
        if (packet.toMany) counters.InIgnored++;
        else this.parts.sender.echoReply(packet);
        return;
      case ICMP_ECHO_REPLY:
        counters.InEchoReps++;
        this.state.listener?.echoReply(packet, icmpId(view, offset), icmpSequence(view, offset));
        return;
      case ICMP_UNREACHABLE:
        counters.InDestUnreachs++;
        if (icmpCode(view, offset) === UNREACH_NEEDFRAG) counters.InPktTooBigs++;
        break;
      case ICMP_TIME_EXCEEDED:
        counters.InTimeExcds++;
        break;
      case ICMP_PARAMETER_PROBLEM:
        counters.InParmProbs++;
        break;
      default:
        if (type === ICMP_REDIRECT) counters.InRedirects++;
        else counters.InIgnored++;
        return;
    }
    this.errorInput(packet, type);
  }

  /** An error: the packet it quotes must be one that we could have sent. */
  private errorInput(packet: IpPacket, type: number): void {
    const { view } = packet;
    const quoted = packet.offset + ICMP_HEADER_LENGTH;
    const end = packet.offset + packet.length;
    const headerLength = quoted + IPV4_HEADER_LENGTH <= end ? ipv4HeaderLength(view, quoted) : 0;
    const at = quoted + headerLength;
    if (headerLength < IPV4_HEADER_LENGTH || at + MIN_QUOTED > end || ipVersion(view, quoted) !== 4
      || ipv4FragmentOffset(view, quoted) !== 0 || packet.toMany
      || !this.parts.routes.isLocal(0, 0, MAPPED, ipv4Source(view, quoted))) {
      this.state.icmp4.InQuoteErrors++;
      return;
    }
    const error = this.record;
    error.version = 4;
    error.type = type;
    error.code = icmpCode(view, packet.offset);
    classifyIcmpError(error);
    error.mtu = 0;
    if (type === ICMP_UNREACHABLE && error.code === UNREACH_NEEDFRAG) {
      const told = icmpMtu(view, packet.offset);
      error.mtu = Math.max(told === 0 ? plateauBelow(ipv4TotalLength(view, quoted)) : told, IPV4_PATH_MTU_FLOOR);
    }
    error.from0 = packet.src0;
    error.from1 = packet.src1;
    error.from2 = packet.src2;
    error.from3 = packet.src3;
    error.src0 = 0;
    error.src1 = 0;
    error.src2 = MAPPED;
    error.src3 = ipv4Source(view, quoted);
    error.dst0 = 0;
    error.dst1 = 0;
    error.dst2 = MAPPED;
    error.dst3 = ipv4Destination(view, quoted);
    error.slab = packet.slab;
    error.view = view;
    error.offset = at;
    error.length = end - at;
    deliverError(this.parts, error, ipv4Protocol(view, quoted), PROTO_ICMP);
  }
}
