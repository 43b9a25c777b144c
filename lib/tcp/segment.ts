/**
 * An arrived TCP segment, taken apart (RFC 9293 3.1, 3.2): one object is filled again for each.
 * Malformed options are survived, not believed (MUST-6, MUST-7): parsing stops at the first bad length.
 */

import type { IpPacket } from '../ip/packet.ts';
import type { Seq } from '../wire/seq.ts';
import {
  MAX_FAST_OPEN_COOKIE, MAX_SACK_BLOCKS, MAX_WINDOW_SCALE, MIN_FAST_OPEN_COOKIE, OPT_EOL, OPT_FAST_OPEN, OPT_MSS, OPT_NOP, OPT_SACK, OPT_SACK_PERMITTED, OPT_TIMESTAMPS, OPT_WINDOW_SCALE,
  OPTLEN_FAST_OPEN, OPTLEN_MSS, OPTLEN_SACK_PERMITTED, OPTLEN_TIMESTAMPS, OPTLEN_WINDOW_SCALE, FIN, SYN, TCP_ACK, TCP_DATA_OFFSET, TCP_DST_PORT,
  TCP_FLAGS, TCP_HEADER, TCP_SEQ, TCP_SRC_PORT, TCP_URGENT, TCP_WINDOW,
} from '../wire/tcp.ts';

/** NOP NOP Timestamps length 10, as one word: how nearly every segment's options begin. */
const TIMESTAMPS_WORD = (OPT_NOP << 24) | (OPT_NOP << 16) | (OPT_TIMESTAMPS << 8) | OPTLEN_TIMESTAMPS;

export class Segment {
  /** The IP packet that it came in. */
  packet: IpPacket;
  slab: Uint8Array;
  view: DataView;
  srcPort = 0;
  dstPort = 0;
  /** SEG.SEQ, SEG.ACK */
  seq = 0 as Seq;
  ack = 0 as Seq;
  flags = 0;
  /** The window field, unscaled: 0 to 65535. */
  wnd = 0;
  /** The urgent pointer. */
  urg = 0;
  /** Payload: offset in the slab, bytes. */
  offset = 0;
  length = 0;
  /** SEG.LEN: payload bytes, and one for each of SYN and FIN. */
  segLen = 0;
  /** Payload bytes of each segment that was merged into this one; the payload length otherwise. */
  mssSeen = 0;
  /** How many segments this one was on the wire. */
  merged = 1;
  /** Options. `mss` 0, `windowScale` -1: not present. */
  mss = 0;
  windowScale = -1;
  sackPermitted = false;
  hasTimestamps = false;
  tsVal = 0;
  tsEcr = 0;
  /** Fast Open, on a SYN: where the cookie is in the slab, its length; 0: asks for one, -1: not present. */
  fastOpenAt = 0;
  fastOpenLength = -1;
  /** SACK blocks: left and right edge, one after the other. */
  sackCount = 0;
  readonly sack = new Int32Array(MAX_SACK_BLOCKS * 2);
  /** Arrival at the link, µs, as int32. */
  timeUs = 0;

  constructor(packet: IpPacket) {
    this.packet = packet;
    this.slab = packet.slab;
    this.view = packet.view;
  }

  /** Fills the fields from `packet`. Returns false when the header is too short or its length impossible. */
  parse(packet: IpPacket): boolean {
    if (packet.length < TCP_HEADER) return false;
    const view = packet.view;
    const at = packet.offset;
    const headerLength = (view.getUint8(at + TCP_DATA_OFFSET) >> 4) << 2;
    if (headerLength < TCP_HEADER || headerLength > packet.length) return false;
    this.packet = packet;
    this.slab = packet.slab;
    this.view = view;
    this.srcPort = view.getUint16(at + TCP_SRC_PORT);
    this.dstPort = view.getUint16(at + TCP_DST_PORT);
    this.seq = view.getInt32(at + TCP_SEQ) as Seq;
    this.ack = view.getInt32(at + TCP_ACK) as Seq;
    const flags = view.getUint8(at + TCP_FLAGS);
    this.flags = flags;
    this.wnd = view.getUint16(at + TCP_WINDOW);
    this.urg = view.getUint16(at + TCP_URGENT);
    this.offset = at + headerLength;
    const length = packet.length - headerLength;
    this.length = length;
    this.segLen = length + ((flags & SYN) >> 1) + (flags & FIN);
    if (packet.gsoType !== 0 && packet.gsoSize > 0 && packet.gsoSize < length) {
      this.mssSeen = packet.gsoSize;
      this.merged = Math.ceil(length / packet.gsoSize);
    } else {
      this.mssSeen = length;
      this.merged = 1;
    }
    this.timeUs = packet.timeUs | 0;
    this.mss = 0;
    this.windowScale = -1;
    this.sackPermitted = false;
    this.fastOpenLength = -1;
    this.sackCount = 0;
    if (headerLength === 32 && view.getInt32(at + TCP_HEADER) === TIMESTAMPS_WORD) {
      this.hasTimestamps = true;
      this.tsVal = view.getInt32(at + TCP_HEADER + 4);
      this.tsEcr = view.getInt32(at + TCP_HEADER + 8);
    } else {
      this.hasTimestamps = false;
      if (headerLength > TCP_HEADER) this.#parseOptions(at + TCP_HEADER, at + headerLength);
    }
    return true;
  }

  #parseOptions(at: number, end: number): void {
    const view = this.view;
    while (at < end) {
      const kind = view.getUint8(at);
      if (kind === OPT_EOL) return;
      if (kind === OPT_NOP) {
        at++;
        continue;
      }
      if (at + 2 > end) return;
      const length = view.getUint8(at + 1);
      if (length < 2 || at + length > end) return;
      switch (kind) {
        case OPT_MSS:
          if (length === OPTLEN_MSS && (this.flags & SYN) !== 0) this.mss = view.getUint16(at + 2);
          break;
        case OPT_WINDOW_SCALE:
          if (length === OPTLEN_WINDOW_SCALE && (this.flags & SYN) !== 0) {
            this.windowScale = Math.min(view.getUint8(at + 2), MAX_WINDOW_SCALE);
          }
          break;
        case OPT_SACK_PERMITTED:
          if (length === OPTLEN_SACK_PERMITTED && (this.flags & SYN) !== 0) this.sackPermitted = true;
          break;
        case OPT_TIMESTAMPS:
          if (length === OPTLEN_TIMESTAMPS) {
            this.hasTimestamps = true;
            this.tsVal = view.getInt32(at + 2);
            this.tsEcr = view.getInt32(at + 6);
          }
          break;
        case OPT_FAST_OPEN: {
          const cookie = length - OPTLEN_FAST_OPEN;
          if ((this.flags & SYN) !== 0 && (cookie === 0
            || cookie >= MIN_FAST_OPEN_COOKIE && cookie <= MAX_FAST_OPEN_COOKIE && (cookie & 1) === 0)) {
            this.fastOpenAt = at + OPTLEN_FAST_OPEN;
            this.fastOpenLength = cookie;
          }
          break;
        }
        case OPT_SACK:
          if (length >= 10 && (length - 2) % 8 === 0) {
            const count = Math.min((length - 2) >> 3, MAX_SACK_BLOCKS);
            for (let i = 0; i < count * 2; i++) this.sack[i] = view.getInt32(at + 2 + i * 4);
            this.sackCount = count;
          }
          break;
      }
      at += length;
    }
  }
}
