/**
 * ICMP and ICMPv6 that the stack sends of itself: echo replies and errors (RFC 792, 1122 section 3.2.2,
 * 4443). When not to answer with an error: RFC 1122 3.2.2, RFC 4443 2.4 (e). How often: rate-limit.ts.
 */

import { BLOCK_SIZE, HEADER_SLOT, copyBytes } from '../buffer/packet-memory.ts';
import { GSO_NONE } from '../buffer/transmit-queue.ts';
import {
  ICMPV6_ECHO_REPLY, ICMPV6_PACKET_TOO_BIG, ICMPV6_PARAMETER_PROBLEM, ICMPV6_TIME_EXCEEDED, ICMPV6_UNREACHABLE,
  ICMP_CHECKSUM, ICMP_ECHO, ICMP_ECHO_REPLY, ICMP_HEADER_LENGTH, ICMP_MASK_REPLY, ICMP_PARAMETER_PROBLEM,
  ICMP_ROUTER_ADVERTISEMENT, ICMP_ROUTER_SOLICITATION, ICMP_TIMESTAMP, ICMP_TIME_EXCEEDED, ICMP_UNREACHABLE, PARAM6_OPTION,
  writeIcmpHeader,
} from '../wire/icmp.ts';
import { IPV6_HEADER_LENGTH, ipv6NextHeader } from '../wire/ipv6.ts';
import { PROTO_ICMP, PROTO_ICMPV6 } from '../wire/protocol.ts';
import { isUnspecified } from '../wire/address.ts';
import { IpFlow } from './flow.ts';
import { HeaderChain } from './header-chain.ts';
import type { IpOutput } from './output.ts';
import type { IpPacket } from './packet.ts';
import type { TokenBucket } from './rate-limit.ts';
import type { RouteTable } from './route.ts';
import type { IpState } from './state.ts';

/** An ICMP error packet is at most this long: RFC 1812 4.3.2.3, RFC 4443 2.4 (c). */
const ERROR_LENGTH_V4 = 576;
const ERROR_LENGTH_V6 = 1280;
/** IPv4 errors are sent with precedence 'internetwork control' (RFC 1812 4.3.2.5), as by Linux. */
const ERROR_TOS_V4 = 0xc0;
/** Bytes of data that fit into the header slot behind IPv6, fragment and ICMP header. */
const INLINE_DATA = HEADER_SLOT - 48 - ICMP_HEADER_LENGTH;

export class IcmpOutput {
  private readonly state: IpState;
  private readonly output: IpOutput;
  private readonly routes: RouteTable;
  private readonly limit: TokenBucket;
  private readonly flow = new IpFlow();
  private readonly chain = new HeaderChain();
  /** Blocks of the packet being made. */
  private readonly blocks = new Int32Array((65536 / BLOCK_SIZE) + 1);
  private blockCount = 0;

  constructor(state: IpState, output: IpOutput, routes: RouteTable, limit: TokenBucket) {
    this.state = state;
    this.output = output;
    this.routes = routes;
    this.limit = limit;
    this.flow.dontFragment = false;
  }

  /** Answers the echo request whose ICMP header is at `packet.offset`, with its data (RFC 792, RFC 4443 section 4.2). */
  echoReply(packet: IpPacket): void {
    const isV4 = packet.version === 4;
    const counters = isV4 ? this.state.icmp4 : this.state.icmp6;
    // DSCP and ECN come back as they came, as with Linux.
    if (this.address(packet, packet.tos)
      && this.send(isV4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY, 0, packet.view.getInt32(packet.offset + 4), packet.slab,
        packet.offset + ICMP_HEADER_LENGTH, packet.length - ICMP_HEADER_LENGTH)) {
      counters.OutMsgs++;
      counters.OutEchoReps++;
    } else {
      counters.OutErrors++;
    }
  }

  /**
   * Reports an error about a packet that came.
   * @param packet  its addresses, and `ipOffset`/`ipLength` in its slab
   * @param rest    the second word: pointer (ICMP: in the upper byte), MTU, or 0
   */
  error(packet: IpPacket, type: number, code: number, rest: number): void {
    const isV4 = packet.version === 4;
    const counters = isV4 ? this.state.icmp4 : this.state.icmp6;
    if (!this.mayReport(packet, type, code)) return;
    if (!this.limit.take(this.state.nowUs)) {
      counters.OutRateLimited++;
      return;
    }
    const length = Math.min(packet.ipLength, isV4 ? ERROR_LENGTH_V4 - 28 : ERROR_LENGTH_V6 - 48);
    if (!this.address(packet, isV4 ? ERROR_TOS_V4 : 0)
      || !this.send(type, code, rest, packet.slab, packet.ipOffset, length)) {
      counters.OutErrors++;
      return;
    }
    counters.OutMsgs++;
    if (type === (isV4 ? ICMP_UNREACHABLE : ICMPV6_UNREACHABLE)) counters.OutDestUnreachs++;
    else if (type === (isV4 ? ICMP_TIME_EXCEEDED : ICMPV6_TIME_EXCEEDED)) counters.OutTimeExcds++;
    else if (type === (isV4 ? ICMP_PARAMETER_PROBLEM : ICMPV6_PARAMETER_PROBLEM)) counters.OutParmProbs++;
  }

  /** Never about errors, nor to many; about packets to many only where RFC 4443 2.4 (e.3) asks for it. */
  private mayReport(packet: IpPacket, type: number, code: number): boolean {
    const isV4 = packet.version === 4;
    if (isUnspecified(packet.src0, packet.src1, packet.src2, packet.src3)) return false;
    if (this.routes.isToMany(packet.src0, packet.src1, packet.src2, packet.src3)) return false;
    if (packet.toMany && (isV4 || !(type === ICMPV6_PACKET_TOO_BIG
      || (type === ICMPV6_PARAMETER_PROBLEM && code === PARAM6_OPTION)))) return false;
    const view = packet.view;
    const end = packet.ipOffset + packet.ipLength;
    if (isV4) {
      const at = packet.ipOffset + ((view.getUint8(packet.ipOffset) & 15) << 2);
      return packet.protocol !== PROTO_ICMP || (at < end && isQuery(view.getUint8(at)));
    }
    const whole = this.chain.walk(view, ipv6NextHeader(view, packet.ipOffset), packet.ipOffset + IPV6_HEADER_LENGTH, end);
    if (!whole || this.chain.protocol !== PROTO_ICMPV6) return true;
    return this.chain.offset < end && view.getUint8(this.chain.offset) >= 128;
  }

  /** Makes the flow point back to where the packet came from. False when there is no way. */
  private address(packet: IpPacket, tos: number): boolean {
    const flow = this.flow;
    const ours = this.routes.isLocal(packet.dst0, packet.dst1, packet.dst2, packet.dst3);
    flow.protocol = packet.version === 4 ? PROTO_ICMP : PROTO_ICMPV6;
    flow.l0 = ours ? packet.dst0 : 0;
    flow.l1 = ours ? packet.dst1 : 0;
    flow.l2 = ours ? packet.dst2 : 0;
    flow.l3 = ours ? packet.dst3 : 0;
    flow.r0 = packet.src0;
    flow.r1 = packet.src1;
    flow.r2 = packet.src2;
    flow.r3 = packet.src3;
    flow.tos = tos;
    return this.output.route(flow) === 0;
  }

  /** Sends a message whose data is copied, because the receive slab may be written again before it leaves. */
  private send(type: number, code: number, rest: number, slab: Uint8Array, offset: number, length: number): boolean {
    const { output, state } = this;
    const memory = state.memory;
    const inline = length <= INLINE_DATA ? length : 0;
    const at = output.begin(this.flow, ICMP_HEADER_LENGTH + inline);
    if (at < 0) return false;
    writeIcmpHeader(memory.view, at, type, code, rest);
    this.blockCount = 0;
    if (inline > 0) {
      copyBytes(memory.bytes, at + ICMP_HEADER_LENGTH, slab, offset, length);
    } else {
      for (let done = 0; done < length; done += BLOCK_SIZE) {
        const block = memory.allocate();
        if (block < 0) {
          this.freeBlocks();
          return false;
        }
        this.blocks[this.blockCount++] = block;
        const n = Math.min(BLOCK_SIZE, length - done);
        copyBytes(memory.bytes, block, slab, offset + done, n);
        output.tx.piece(block, n);
      }
    }
    if (output.end(this.flow, ICMP_CHECKSUM, GSO_NONE, 0) !== 0) {
      this.freeBlocks();
      return false;
    }
    if (this.flow.loopback) this.freeBlocks();
    else for (let i = 0; i < this.blockCount; i++) output.tx.owns(this.blocks[i]!);
    return true;
  }

  private freeBlocks(): void {
    for (let i = 0; i < this.blockCount; i++) this.state.memory.free(this.blocks[i]!);
    this.blockCount = 0;
  }
}

/** Whether this type of IPv4 ICMP is a question or an answer, not an error. */
function isQuery(type: number): boolean {
  return type === ICMP_ECHO || type === ICMP_ECHO_REPLY || (type >= ICMP_TIMESTAMP && type <= ICMP_MASK_REPLY)
    || type === ICMP_ROUTER_ADVERTISEMENT || type === ICMP_ROUTER_SOLICITATION;
}
