/**
 * What a connection sends, and when (RFC 9293 3.7, 3.8.6; RFC 5681; RFC 6675 for the order of things).
 *
 * `tcpOutput` is called once a turn for each TCB that was marked. In this order: what is thought lost;
 * new data as the window, the congestion window and Nagle allow; FIN; and if none of this carried the
 * acknowledgment that is due, a pure ACK. Data leaves in super-segments where the link can cut them.
 * Payload is not touched: a segment is a header and pieces of the send buffer.
 */

import { GSO_NONE, GSO_TCPV4, GSO_TCPV6 } from '../buffer/transmit-queue.ts';
import { LINK_TSO4, LINK_TSO6 } from '../link/link.ts';
import { seqAdd, seqDiff, seqGt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import {
  ACK, FIN, MAX_SACK_BLOCKS, OPTLEN_TIMESTAMPS_PADDED, PSH, RST, SYN, TCP_ACK, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_DST_PORT,
  TCP_FLAGS, TCP_HEADER, TCP_SEQ, TCP_SRC_PORT, TCP_URGENT, TCP_WINDOW, URG,
} from '../wire/tcp.ts';
import { synOptionsLength, writeSack, writeSynOptions, writeTimestamps } from '../wire/tcp-options.ts';
import { initialWindow } from './congestion/newreno.ts';
import { sackBlocks, settle, windowEdge, windowUpdateDue } from './receive.ts';
import { retransmitLost } from './recovery.ts';
import {
  CLOSED, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT_1, LAST_ACK, LISTEN, SYN_RECEIVED, SYN_SENT, TIME_WAIT,
} from './states.ts';
import { RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { armDelayedAck, armPersist, armRetransmit, deadline } from './timers.ts';
import { currentRto } from './rtt.ts';

/** Room that one super-segment needs in the queue's piece table: 64 KB in blocks of 8 KB, and both edges. */
const PIECES_NEEDED = 12;
/** Longest time that corked data waits, ms (Linux's TCP_CORK ceiling). */
const CORK_MS = 200;
/** Retransmission timeout after a SYN that had to be repeated, ms. */
const FALLBACK_RTO_MS = 3000;

const sackScratch = new Int32Array(MAX_SACK_BLOCKS * 2);

/** Produces all output that is due. Called at the end of the turn, with the present in `home.nowUs`. */
export function tcpOutput(tcb: Tcb): void {
  const state = tcb.state;
  if (state < ESTABLISHED) {
    if (state === SYN_RECEIVED && tcb.ackNow) sendAck(tcb);
    return;
  }
  if (state === TIME_WAIT) {
    if (tcb.ackNow) sendAck(tcb);
    return;
  }
  // What is missing is told by an ACK without data: only that counts as a duplicate, and has room for SACK.
  if (tcb.ackNow && tcb.oooCount > 0) acknowledgeGap(tcb);
  let sent = false;
  if (tcb.recovery !== RECOVERY_OPEN) sent = retransmitLost(tcb);
  if (state === ESTABLISHED || state === CLOSE_WAIT || state === FIN_WAIT_1 || state === CLOSING || state === LAST_ACK) {
    if (sendNew(tcb)) sent = true;
  }
  if (!sent) acknowledge(tcb);
}

/** Sends new data and FIN. Returns whether a segment left. */
function sendNew(tcb: Tcb): boolean {
  const home = tcb.home;
  let sent = false;
  for (;;) {
    const unsent = seqDiff(tcb.sndEnd, tcb.sndNxt);
    if (unsent < 0 || tcb.finSent) break;
    const finDue = tcb.finQueued;
    if (unsent === 0 && !finDue) break;
    if (!sent && unsent > 0 && tcb.sndNxt === tcb.sndUna) restartAfterIdle(tcb);
    const windowRoom = seqDiff(seqAdd(tcb.sndUna, tcb.sndWnd), tcb.sndNxt);
    const cwndRoom = tcb.cwnd - tcb.pipe;
    // A FIN alone does not ask the congestion window, in which there may be less than no room.
    let length = unsent === 0 ? 0 : Math.min(unsent, windowRoom, cwndRoom);
    if (unsent > 0 && length <= 0) {
      if (cwndRoom <= 0) tcb.cwndLimited = true;
      else if (tcb.sndNxt === tcb.sndUna && tcb.persistAt === 0) armPersist(tcb);
      break;
    }
    if (unsent === 0 && windowRoom <= 0) {
      // A FIN needs a window as well.
      if (tcb.sndNxt === tcb.sndUna && tcb.persistAt === 0) armPersist(tcb);
      break;
    }
    const mss = tcb.sndMss;
    const most = maxSegment(tcb);
    if (length > most) length = most;
    const last = length === unsent;
    if (length > mss) {
      const odd = length % mss;
      if (odd !== 0 && !(last && smallMayLeave(tcb))) length -= odd;
    } else if (length < mss && unsent > 0) {
      if (!(last && smallMayLeave(tcb)) && !(tcb.maxSndWnd > 0 && length >= tcb.maxSndWnd >> 1 && !last)) {
        if (length < unsent && cwndRoom <= windowRoom) tcb.cwndLimited = true;
        if (tcb.sndNxt === tcb.sndUna && tcb.persistAt === 0) holdBack(tcb);
        break;
      }
    }
    const empties = length === unsent;
    const fin = empties && finDue;
    const next = seqAdd(tcb.sndNxt, length);
    if (!emit(tcb, tcb.sndNxt, ACK | (empties && length > 0 ? PSH : 0) | (fin ? FIN : 0), length)) break;
    sent = true;
    if (length % mss !== 0) tcb.sndSmall = next;
    if (!tcb.timing) {
      tcb.timing = true;
      tcb.timedSeq = next;
      tcb.timedUs = home.nowUs;
    }
    if (tcb.sndNxt === tcb.sndUna) tcb.unackedSinceMs = home.nowMs;
    tcb.sndNxt = fin ? seqAdd(next, 1) : next;
    if (fin) tcb.finSent = true;
    tcb.bytesSent += length;
    tcb.persistAt = 0;
    if (tcb.rexmtAt === 0) armRetransmit(tcb);
    if (fin) break;
  }
  return sent;
}

/** Nothing in flight, and it was quiet for an RTO: start again from a known window (RFC 5681 4.1). */
function restartAfterIdle(tcb: Tcb): void {
  const home = tcb.home;
  if (tcb.lastSendMs !== 0 && tcb.recovery === RECOVERY_OPEN && ((home.nowMs - tcb.lastSendMs) | 0) > currentRto(tcb)) {
    tcb.congestion.onIdle(tcb, home.nowMs);
    tcb.lastSendMs = home.nowMs;
  }
}

/**
 * Nagle's algorithm in Minshall's form, as Linux has it: a small segment waits only while another
 * small one is unacknowledged (RFC 9293 3.7.4; SHLD-7). Off with TCP_NODELAY (MUST-17). Corked data waits.
 */
function smallMayLeave(tcb: Tcb): boolean {
  if (tcb.finQueued) return true;
  if (tcb.corked || tcb.more) return false;
  return tcb.noDelay || !seqGt(tcb.sndSmall, tcb.sndUna);
}

/** A part of a segment waits with nothing in flight: it leaves after the override timeout at the latest. */
function holdBack(tcb: Tcb): void {
  if (tcb.corked || tcb.more) {
    tcb.persistAt = deadline(tcb, CORK_MS);
    tcb.home.arm(tcb, tcb.persistAt);
  } else {
    armPersist(tcb);
  }
}

/** Most payload that one emitted segment may have: as many whole MSS as the link can cut, else one. */
export function maxSegment(tcb: Tcb): number {
  const mss = tcb.sndMss;
  const flow = tcb.flow;
  // Each segment of urgent data has a pointer of its own.
  if (seqGt(tcb.sndUp, tcb.sndUna)) return mss;
  if ((tcb.home.ip.features & (flow.version === 4 ? LINK_TSO4 : LINK_TSO6)) === 0) return mss;
  const room = 0xffff - flow.headerLength - TCP_HEADER - 40;
  return mss >= room ? mss : Math.floor(room / mss) * mss;
}

/** The acknowledgment that is due, if any: now, put off, or a window update. */
function acknowledge(tcb: Tcb): void {
  if (tcb.rcvUnacked > 0 && !tcb.ackNow) {
    if (tcb.rcvUnacked >= 2 * tcb.rcvMss || tcb.home.config.delayedAckMs === 0) {
      tcb.ackNow = true;
    } else if (tcb.quickAcks > 0) {
      tcb.quickAcks--;
      tcb.ackNow = true;
    } else {
      armDelayedAck(tcb);
    }
  }
  if (tcb.ackNow || windowUpdateDue(tcb)) sendAck(tcb);
}

/**
 * Tells the peer of a gap. One ACK with SACK blocks stands for a whole batch; a peer without SACK
 * counts duplicates, so it gets one for each segment that came out of order (RFC 5681 4.2).
 */
function acknowledgeGap(tcb: Tcb): void {
  const count = tcb.sack ? 1 : Math.max(tcb.gapSegments, 1);
  tcb.gapSegments = 0;
  for (let i = 0; i < count; i++) sendAck(tcb);
}

/** A pure ACK. Kept for the next turn when the queue is full. */
export function sendAck(tcb: Tcb): void {
  if (!emit(tcb, tcb.sndNxt, ACK, 0)) tcb.ackNow = true;
}

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
  if (length > 0 && tx.pieceRoom < PIECES_NEEDED) {
    home.pend(tcb);
    return false;
  }
  let optionsLength = tcb.timestamps ? OPTLEN_TIMESTAMPS_PADDED : 0;
  let sacks = 0;
  if (tcb.sack && tcb.oooCount > 0 && length === 0) {
    sacks = sackBlocks(tcb, sackScratch, tcb.timestamps ? 3 : MAX_SACK_BLOCKS);
    if (sacks > 0) optionsLength += 4 + 8 * sacks;
  }
  const headerLength = TCP_HEADER + optionsLength;
  const at = ip.begin(tcb.flow, headerLength);
  if (at < 0) {
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
  if (sacks > 0) writeSack(view, option, sackScratch, sacks);
  if (length > 0) tcb.sndBuffer.addPieces(seqDiff(seq, tcb.sndBase), length, tx);
  const cut = length > tcb.sndMss;
  ip.end(tcb.flow, TCP_CHECKSUM, cut ? (tcb.flow.version === 4 ? GSO_TCPV4 : GSO_TCPV6) : GSO_NONE, cut ? tcb.sndMss : 0);

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

/** Counts `length` bytes from `seq` as sent again, and keeps Karn's rule: what is repeated is not timed. */
export function countRetransmission(tcb: Tcb, length: number): void {
  const segments = Math.max(Math.ceil(length / tcb.sndMss), 1);
  tcb.bytesRetrans += length;
  tcb.retransSegs += segments;
  tcb.home.counters.RetransSegs += segments;
  tcb.timing = false;
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
  const optionsLength = synOptionsLength(tcb.sack, tcb.timestamps, scale);
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
  view.setUint8(at + TCP_FLAGS, reply ? SYN | ACK : SYN);
  view.setUint16(at + TCP_WINDOW, window);
  view.setUint16(at + TCP_URGENT, 0);
  writeSynOptions(view, at + TCP_HEADER, tcb.advMss, tcb.sack, tcb.timestamps, (home.nowMs + tcb.tsOffset) | 0,
    reply ? tcb.tsRecent : 0, scale);
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

/**
 * Zero-window probe: one byte beyond the window if there is one to send, which the peer answers with
 * an ACK that tells its window; the byte counts as sent. The same call lets small data go that SWS
 * avoidance or a cork held back, when the window does have room.
 */
export function sendProbe(tcb: Tcb): void {
  const unsent = seqDiff(tcb.sndEnd, tcb.sndNxt);
  const room = seqDiff(seqAdd(tcb.sndUna, tcb.sndWnd), tcb.sndNxt);
  if (room > 0 && unsent > 0) {
    const length = Math.min(unsent, room, tcb.sndMss);
    const next = seqAdd(tcb.sndNxt, length);
    if (emit(tcb, tcb.sndNxt, ACK | PSH, length)) {
      tcb.sndSmall = next;
      tcb.bytesSent += length;
      tcb.sndNxt = next;
      tcb.unackedSinceMs = tcb.home.nowMs;
      armRetransmit(tcb);
    }
    return;
  }
  tcb.home.counters.PersistProbes++;
  // As Linux does: an ACK one below SND.UNA is out of the peer's window, so it must answer.
  emit(tcb, seqAdd(tcb.sndUna, -1), ACK, 0);
}

/** Keep-alive probe: SEG.SEQ = SND.NXT - 1, no data (RFC 9293 3.8.4, SHLD-12). */
export function sendKeepalive(tcb: Tcb): void {
  emit(tcb, seqAdd(tcb.sndUna, -1), ACK, 0);
}

/** RST that takes the connection down with it (RFC 9293 3.10.5). */
export function sendReset(tcb: Tcb): void {
  if (tcb.state === CLOSED || tcb.state === LISTEN || tcb.state === SYN_SENT) return;
  tcb.home.counters.OutRsts++;
  emit(tcb, tcb.sndNxt, RST | ACK, 0);
}

/** Largest payload in a segment now: what the peer takes, what the path carries, less the options (MUST-16). */
export function updateSndMss(tcb: Tcb): void {
  const fits = tcb.flow.mtu - tcb.flow.headerLength - TCP_HEADER;
  let mss = Math.min(tcb.peerMss, fits);
  if (tcb.userMss > 0) mss = Math.min(mss, tcb.userMss);
  if (tcb.timestamps) mss -= OPTLEN_TIMESTAMPS_PADDED;
  tcb.sndMss = Math.max(mss, 8);
}

/** The congestion window to begin with; one segment when the SYN had to be repeated (RFC 6928 section 2). */
export function startCongestion(tcb: Tcb): void {
  tcb.cwnd = tcb.retries > 0 ? tcb.sndMss : initialWindow(tcb.sndMss, tcb.home.config.initialWindow);
  // A SYN was sent too early and there is no measurement: 3 s to begin with (RFC 6298 (5.7)).
  if (tcb.retries > 0 && tcb.srttUs === 0) tcb.rtoMs = Math.max(tcb.rtoMs, FALLBACK_RTO_MS);
  tcb.retries = 0;
  tcb.backoff = 0;
}

/** Takes sequence space [una, …) as in doubt no more: used when a state machine starts. */
export function startSequence(tcb: Tcb, iss: Seq): void {
  tcb.iss = iss;
  tcb.sndUna = iss;
  tcb.sndNxt = seqAdd(iss, 1);
  tcb.sndEnd = seqAdd(iss, 1);
  tcb.sndBase = seqAdd(iss, 1);
  tcb.sndSmall = iss;
  tcb.sndUp = iss;
  tcb.recover = iss;
  tcb.lostEdge = iss;
  tcb.rtxNxt = iss;
}

