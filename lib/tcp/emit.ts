/**
 * Builds segments (RFC 9293 3.1, 3.7.1): headers in the transmit queue, payload as pieces of the send buffer
 * that stay where they lie. What is sent, and when, is decided in output.ts, recovery.ts and timeouts.ts.
 */

import { GSO_NONE, GSO_TCPV4, GSO_TCPV6 } from '../buffer/transmit-queue.ts';
import { LINK_TSO4, LINK_TSO6 } from '../link/link.ts';
import { seqAdd, seqDiff, seqGt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { synOptionsLength, writeFastOpen, writeSack, writeSynOptions, writeTimestamps } from '../wire/tcp-options.ts';
import {
  ACK, MAX_SACK_BLOCKS, OPTLEN_TIMESTAMPS_PADDED, RST, SYN, TCP_ACK, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_DST_PORT, TCP_FLAGS,
  TCP_HEADER, TCP_SEQ, TCP_SRC_PORT, TCP_URGENT, TCP_WINDOW, URG,
} from '../wire/tcp.ts';
import { ECN_ECHO, ecnFlags, ecnSent, ecnSynFlags } from './ecn.ts';
import { addSynData, fastOpenLength } from './fast-open.ts';
import { sackBlocks, settle, windowEdge } from './receive.ts';
import { CLOSED, LISTEN, SYN_RECEIVED, SYN_SENT } from './states.ts';
import type { Tcb } from './tcb.ts';

const sackScratch = new Int32Array(MAX_SACK_BLOCKS * 2);

/**
 * Builds one segment: headers in the transmit queue, payload as pieces of the send buffer from `seq`
 * on. Returns false when the queue is full; nothing has happened then.
 */
export function emit(tcb: Tcb, seq: Seq, flags: number, length: number): boolean {
  const home = tcb.home;
  const ip = home.ip;
  const tx = ip.tx;
  // What is lent may be given up while it is not acknowledged: not after this.
  if (tcb.rcvLent > 0) settle(tcb);
  let optionsLength = tcb.timestamps ? OPTLEN_TIMESTAMPS_PADDED : 0;
  let sacks = 0;
  if (tcb.sack && length === 0 && (tcb.oooCount > 0 || tcb.dsackLeft !== tcb.dsackRight)) {
    sacks = sackBlocks(tcb, sackScratch, tcb.timestamps ? 3 : MAX_SACK_BLOCKS);
    if (sacks > 0) optionsLength += 4 + 8 * sacks;
  }
  const headerLength = TCP_HEADER + optionsLength;
  const marks = tcb.ecn >= ECN_ECHO;
  if (marks) flags = ecnFlags(tcb, seq, flags, length);
  const at = ip.begin(tcb.flow, headerLength);
  if (at < 0) {
    if (marks) ecnSent(tcb, 0);
    home.pend(tcb);
    return false;
  }
  const view = tx.memory.view;
  const edge = (flags & RST) === 0 ? windowEdge(tcb) : tcb.rcvAdv;
  view.setUint16(at + TCP_SRC_PORT, tcb.localPort);
  view.setUint16(at + TCP_DST_PORT, tcb.remotePort);
  view.setInt32(at + TCP_SEQ, seq);
  view.setInt32(at + TCP_ACK, tcb.rcvNxt);
  view.setUint8(at + TCP_DATA_OFFSET, (headerLength >> 2) << 4);
  // The urgent pointer points past the urgent data (MUST-62), and is sent until that is acknowledged.
  const urgent = seqGt(tcb.sndUp, tcb.sndUna) && seqGt(tcb.sndUp, seq) ? Math.min(seqDiff(tcb.sndUp, seq), 0xffff) : 0;
  view.setUint8(at + TCP_FLAGS, urgent > 0 ? flags | URG : flags);
  view.setUint16(at + TCP_WINDOW, Math.min(seqDiff(edge, tcb.rcvNxt) >> Math.max(tcb.rcvWscale, 0), 0xffff));
  view.setUint16(at + TCP_URGENT, urgent);
  let option = at + TCP_HEADER;
  if (tcb.timestamps) option = writeTimestamps(view, option, (home.nowMs + tcb.tsOffset) | 0, tcb.tsRecent);
  if (sacks > 0) {
    writeSack(view, option, sackScratch, sacks);
    if (tcb.dsackLeft !== tcb.dsackRight) {
      tcb.dsackLeft = tcb.dsackRight;
      home.counters.DsackOut++;
    }
  }
  if (length > 0) tcb.sndBuffer.addPieces(seqDiff(seq, tcb.sndBase), length, tx);
  const cut = length > tcb.sndMss;
  ip.end(tcb.flow, TCP_CHECKSUM, cut ? (tcb.flow.version === 4 ? GSO_TCPV4 : GSO_TCPV6) : GSO_NONE, cut ? tcb.sndMss : 0);
  if (marks) ecnSent(tcb, flags);

  tcb.rcvAdv = edge;
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.ackNow = false;
  tcb.delackAt = 0;
  const segments = cut ? Math.ceil(length / tcb.sndMss) : 1;
  home.counters.OutSegs += segments;
  tcb.segsOut += segments;
  if (length > 0) {
    // Data goes both ways: acknowledgments can wait for a ride.
    if (tcb.rcvUnacked > 0) tcb.quickAcks = 0;
    tcb.dataSegsOut += segments;
    tcb.lastSendMs = home.nowMs;
  }
  tcb.rcvUnacked = 0;
  return true;
}

/** A pure ACK. Kept for the next turn when the queue is full. */
export function sendAck(tcb: Tcb): void {
  if (!emit(tcb, tcb.sndNxt, ACK, 0)) tcb.ackNow = true;
}

/**
 * SYN, or SYN-ACK in SYN-RECEIVED: MSS, SACK-permitted, timestamps and window scale in Linux's order.
 * A SYN-ACK offers only what the SYN offered. The window of a SYN is never scaled (RFC 7323 2.2).
 */
export function sendSyn(tcb: Tcb): boolean {
  const home = tcb.home;
  const tx = home.ip.tx;
  const reply = tcb.state === SYN_RECEIVED;
  const scale = tcb.rcvWscale;
  const fastOpen = tcb.fastOpen === null ? 0 : fastOpenLength(tcb);
  const optionsLength = synOptionsLength(tcb.sack, tcb.timestamps, scale) + fastOpen;
  const headerLength = TCP_HEADER + optionsLength;
  const at = home.ip.begin(tcb.flow, headerLength);
  if (at < 0) return false;
  const view = tx.memory.view;
  const window = Math.min(tcb.rcvbufLimit, 0xffff);
  view.setUint16(at + TCP_SRC_PORT, tcb.localPort);
  view.setUint16(at + TCP_DST_PORT, tcb.remotePort);
  view.setInt32(at + TCP_SEQ, tcb.iss);
  view.setInt32(at + TCP_ACK, reply ? tcb.rcvNxt : 0);
  view.setUint8(at + TCP_DATA_OFFSET, (headerLength >> 2) << 4);
  view.setUint8(at + TCP_FLAGS, (reply ? SYN | ACK : SYN) | ecnSynFlags(tcb));
  view.setUint16(at + TCP_WINDOW, window);
  view.setUint16(at + TCP_URGENT, 0);
  const end = writeSynOptions(view, at + TCP_HEADER, tcb.advMss, tcb.sack, tcb.timestamps, (home.nowMs + tcb.tsOffset) | 0,
    reply ? tcb.tsRecent : 0, scale);
  if (fastOpen > 0) {
    writeFastOpen(view, end, tcb.fastOpen!.cookie, tcb.fastOpen!.cookieLength);
    addSynData(tcb, optionsLength);
  }
  home.ip.end(tcb.flow, TCP_CHECKSUM, GSO_NONE, 0);
  if (reply) {
    tcb.rcvAdv = seqAdd(tcb.rcvNxt, window);
    tcb.lastAckSent = tcb.rcvNxt;
    tcb.ackNow = false;
  }
  tcb.segsOut++;
  home.counters.OutSegs++;
  return true;
}

/** An empty segment at SND.UNA - 1, which the peer must answer: keep-alive (RFC 9293 3.8.4, SHLD-12) and window probe. */
export function sendOldAck(tcb: Tcb): void {
  emit(tcb, seqAdd(tcb.sndUna, -1), ACK, 0);
}

/** RST that takes the connection down with it (RFC 9293 3.10.5). */
export function sendReset(tcb: Tcb): void {
  if (tcb.state === CLOSED || tcb.state === LISTEN || tcb.state === SYN_SENT) return;
  tcb.home.counters.OutRsts++;
  emit(tcb, tcb.sndNxt, RST | ACK, 0);
}

/** Counts `length` bytes from `seq` as sent again, and keeps Karn's rule: what is repeated is not timed. */
export function countRetransmission(tcb: Tcb, length: number): void {
  const segments = Math.max(Math.ceil(length / tcb.sndMss), 1);
  tcb.bytesRetrans += length;
  tcb.retransSegs += segments;
  tcb.home.counters.RetransSegs += segments;
  tcb.timing = false;
}

/** Most payload that one emitted segment may have: as many whole MSS as the link can cut, else one. */
export function maxSegment(tcb: Tcb): number {
  const mss = tcb.sndMss;
  const flow = tcb.flow;
  // Each segment of urgent data has a pointer of its own. CWR is for one segment: cut, all would have it.
  if (seqGt(tcb.sndUp, tcb.sndUna) || tcb.ecnCwr) return mss;
  if ((tcb.home.ip.features & (flow.version === 4 ? LINK_TSO4 : LINK_TSO6)) === 0) return mss;
  const room = 0xffff - flow.headerLength - TCP_HEADER - 40;
  return mss >= room ? mss : Math.floor(room / mss) * mss;
}

/** Largest payload in a segment now: what the peer takes, what the path carries, less the options (MUST-16). */
export function updateSndMss(tcb: Tcb): void {
  const mtu = tcb.mtuSearch === null ? tcb.flow.mtu : Math.min(tcb.flow.mtu, tcb.mtuSearch.low);
  const fits = mtu - tcb.flow.headerLength - TCP_HEADER;
  let mss = Math.min(tcb.peerMss, fits);
  if (tcb.userMss > 0) mss = Math.min(mss, tcb.userMss);
  if (tcb.timestamps) mss -= OPTLEN_TIMESTAMPS_PADDED;
  tcb.sndMss = Math.max(mss, 8);
  // A window of one segment stays one (RFC 5681 3.1: the loss window); a smaller one would let nothing out.
  if (tcb.cwnd < tcb.sndMss) tcb.cwnd = tcb.sndMss;
}
