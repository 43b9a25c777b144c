/** Segments that no TCB stands behind: resets (RFC 9293 3.10.7.1) and the ACKs of TIME-WAIT. */

import { GSO_NONE } from '../buffer/transmit-queue.ts';
import { IpFlow } from '../ip/flow.ts';
import type { IpLayer } from '../ip/transport.ts';
import {
  ACK, IPPROTO_TCP, OPTLEN_TIMESTAMPS_PADDED, RST, TCP_ACK, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_DST_PORT, TCP_FLAGS, TCP_HEADER, TCP_SEQ,
  TCP_SRC_PORT, TCP_URGENT, TCP_WINDOW,
} from '../wire/tcp.ts';
import { writeTimestamps } from '../wire/tcp-options.ts';
import type { Segment } from './segment.ts';

/** Time to live of resets. */
const RESET_TTL = 64;

export class StatelessSender {
  readonly #ip: IpLayer;
  readonly #flow = new IpFlow();

  constructor(ip: IpLayer) {
    this.#ip = ip;
    this.#flow.protocol = IPPROTO_TCP;
  }

  /**
   * Answers `segment` with RST, so that the peer forgets what it believes to be a connection: an ACK is
   * answered with its own number, anything else with what would acknowledge it. Returns whether it left.
   */
  reset(segment: Segment): boolean {
    if ((segment.flags & RST) !== 0 || segment.packet.toMany) return false;
    if ((segment.flags & ACK) !== 0) return this.#reply(segment, segment.ack, 0, RST, 0, 0, RESET_TTL, false, 0, 0);
    return this.#reply(segment, 0, (segment.seq + segment.segLen) | 0, RST | ACK, 0, 0, RESET_TTL, false, 0, 0);
  }

  /** `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>` in answer to a segment of a connection in TIME-WAIT. */
  acknowledge(
    segment: Segment, seq: number, ack: number, window: number, tos: number, ttl: number, timestamps: boolean, tsVal: number,
    tsRecent: number,
  ): boolean {
    return this.#reply(segment, seq, ack, ACK, window, tos, ttl, timestamps, tsVal, tsRecent);
  }

  #reply(
    segment: Segment, seq: number, ack: number, flags: number, window: number, tos: number, ttl: number, timestamps: boolean,
    tsVal: number, tsEcr: number,
  ): boolean {
    const flow = this.#flow;
    flow.turn(segment.packet);
    flow.tos = tos;
    flow.ttl = ttl;
    flow.generation = -1;
    const ip = this.#ip;
    if (ip.route(flow) < 0) return false;
    const headerLength = timestamps ? TCP_HEADER + OPTLEN_TIMESTAMPS_PADDED : TCP_HEADER;
    const at = ip.begin(flow, headerLength);
    if (at < 0) return false;
    const view = ip.tx.memory.view;
    view.setUint16(at + TCP_SRC_PORT, segment.dstPort);
    view.setUint16(at + TCP_DST_PORT, segment.srcPort);
    view.setInt32(at + TCP_SEQ, seq);
    view.setInt32(at + TCP_ACK, ack);
    view.setUint8(at + TCP_DATA_OFFSET, (headerLength >> 2) << 4);
    view.setUint8(at + TCP_FLAGS, flags);
    view.setUint16(at + TCP_WINDOW, window);
    view.setUint16(at + TCP_URGENT, 0);
    if (timestamps) writeTimestamps(view, at + TCP_HEADER, tsVal, tsEcr);
    return ip.end(flow, TCP_CHECKSUM, GSO_NONE, 0) === 0;
  }
}
