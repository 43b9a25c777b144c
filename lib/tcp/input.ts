/**
 * A segment arrives at a connection (RFC 9293 3.10.7.3 and 3.10.7.4, in the RFC's order), with PAWS
 * (RFC 7323), the stricter checks of RFC 5961, and header prediction in front.
 *
 * LISTEN (3.10.7.2) and a segment for no connection (3.10.7.1) are the home's.
 * Nothing is sent from here but what must not wait for the end of the turn: the TCB is marked, and
 * `tcpOutput` sends once for all segments of a batch (MUST-58, MUST-59).
 */

import { ECONNREFUSED, ECONNRESET, EPIPE } from '../errno.ts';
import { POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP } from '../socket.ts';
import { seqAdd, seqDiff, seqGeq, seqGt, seqLeq, seqLt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { ACK, CWR, ECE, FIN, RST, SYN, URG } from '../wire/tcp.ts';
import { noteReceiverRtt, tuneSendBuffer } from './buffer-tuning.ts';
import { windowMayGrow } from './congestion/cwnd.ts';
import { ECN_ECHO, ECN_ON, isNewEcho, takeEcnSynAgain, takeMarks } from './ecn.ts';
import { beginAck, endAck, news, takeAck, takeSacks } from './delivery.ts';
import { sendSyn } from './emit.ts';
import { abortWith, dropSilently, enterTimeWait, finish } from './ending.ts';
import { mostOfSyn, takeSynAck, takeSynData } from './fast-open.ts';
import { startCongestion, takeSyn } from './handshake.ts';
import { armFirstData, armOrphan } from './patience.ts';
import { acceptInOrder, acceptOutOfOrder, forgetOutOfOrder, joinOutOfOrder, noteTwice, settle } from './receive.ts';
import { enterCwr, onAck } from './recovery.ts';
import { noteLeastRtt, sampleRtt } from './rtt.ts';
import { onMtuAck, startMtuSearch } from './plpmtud.ts';
import type { Segment } from './segment.ts';
import {
  CLOSED, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK, SYN_RECEIVED, SYN_SENT, TIME_WAIT,
} from './states.ts';
import { PROBE_NONE, RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { armGiveUp, armKeepalive, armLossProbe, armRetransmit } from './timers.ts';

/** TS.Recent older than this is not believed (RFC 7323 5.5): 24 days, ms. */
const TS_RECENT_LIFE_MS = 24 * 86_400_000;
/** Least time between two answers to pure ACKs that make no sense, ms: less than any probe's. */
const STRAY_MS = 100;
/** Flags that header prediction does not know. */
const UNUSUAL = SYN | FIN | RST | URG | ECE | CWR;
/** Duplicate ACKs that one batch can cause. */
const MAX_GAP_ACKS = 16;
/** Full-sized segments that are worth counting as such begin here. */
const LEAST_RCV_MSS = 88;

/** Handles `segment` for `tcb`, whose flow it matched. Its checksum has been verified. */
export function tcpInput(tcb: Tcb, segment: Segment): void {
  tcb.segsIn += segment.merged;
  if (segment.length > 0) tcb.dataSegsIn += segment.merged;
  if (tcb.state === ESTABLISHED && predicted(tcb, segment)) {
    tcb.predictedIn += segment.merged;
    return;
  }
  tcb.home.counters.Unpredicted++;
  if (tcb.state === SYN_SENT) inputSynSent(tcb, segment);
  else inputGeneral(tcb, segment);
}

/**
 * Header prediction (Van Jacobson; report 3.1.2): the connection is established and undisturbed, and
 * this is the very next segment, or acknowledges new data, or both; then all the checks of the long
 * way are known to pass, and the segment's effect is a few assignments. Timestamps may be present.
 *
 * Why this is enough: SEG.SEQ = RCV.NXT and the payload fits the window, so it is acceptable and in
 * order; SND.UNA =< SEG.ACK =< SND.NXT, so the ACK is; with SEG.SEQ = RCV.NXT >= SND.WL1 the window may
 * be taken over; no flags, no SACK blocks, an empty out-of-order queue and no recovery leave nothing
 * else to do. An ACK that acknowledges nothing and brings nothing may be a duplicate: the long way.
 */
function predicted(tcb: Tcb, segment: Segment): boolean {
  if ((segment.flags & (UNUSUAL | ACK)) !== ACK || segment.seq !== tcb.rcvNxt || segment.sackCount !== 0) return false;
  if (tcb.recovery !== RECOVERY_OPEN || tcb.oooCount !== 0 || tcb.sackedBytes !== 0 || tcb.dupAcks !== 0) return false;
  if (tcb.urgent || tcb.finKnown) return false;
  const acked = seqDiff(segment.ack, tcb.sndUna);
  if (acked < 0 || seqGt(segment.ack, tcb.sndNxt)) return false;
  const length = segment.length;
  if (length === 0 ? acked === 0 : length > seqDiff(tcb.rcvAdv, tcb.rcvNxt)) return false;
  const home = tcb.home;
  if (tcb.timestamps) {
    if (!segment.hasTimestamps || ((segment.tsVal - tcb.tsRecent) | 0) < 0) return false;
    if (seqLeq(segment.seq, tcb.lastAckSent)) {
      tcb.tsRecent = segment.tsVal;
      tcb.tsRecentMs = home.nowMs;
    }
  }
  tcb.lastRecvMs = home.nowMs;
  const window = segment.wnd << tcb.sndWscale;
  if (window !== tcb.sndWnd) takeWindow(tcb, segment, window);
  else {
    tcb.sndWl1 = segment.seq;
    tcb.sndWl2 = segment.ack;
  }
  if (acked > 0) {
    home.counters.PredictedAcks++;
    beginAck(tcb);
    acknowledged(tcb, segment, acked);
  }
  if (length > 0) {
    home.counters.PredictedData++;
    takeData(tcb, segment, segment.offset, length, true);
  }
  home.pend(tcb);
  return true;
}

/** `length` payload bytes at RCV.NXT; notes what the acknowledgment policy needs to know. */
function takeData(tcb: Tcb, segment: Segment, offset: number, length: number, lend: boolean): void {
  if (segment.mssSeen > tcb.rcvMss || tcb.rcvMss === 536 && segment.mssSeen >= LEAST_RCV_MSS) {
    tcb.rcvMss = Math.min(segment.mssSeen, tcb.advMss);
  }
  noteReceiverRtt(tcb, segment);
  if (tcb.ecn >= ECN_ECHO) takeMarks(tcb, segment);
  const taken = acceptInOrder(tcb, segment.slab, offset, length, lend);
  tcb.rcvUnacked += taken;
  if (taken < length) tcb.ackNow = true;
}

/** SND.WND <- SEG.WND (RFC 9293 3.10.7.4, fifth), scaled. */
function takeWindow(tcb: Tcb, segment: Segment, window: number): void {
  tcb.sndWnd = window;
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = segment.ack;
  if (window > tcb.maxSndWnd) tcb.maxSndWnd = window;
  if (window > 0) {
    tcb.persistAt = 0;
    tcb.persistShift = 0;
  }
}

/** SEG.ACK is new: `acked` bytes of sequence space are acknowledged. `beginAck` has been, and SACK blocks are taken. */
function acknowledged(tcb: Tcb, segment: Segment, acked: number): void {
  const home = tcb.home;
  const wasOpen = tcb.recovery === RECOVERY_OPEN;
  takeAck(tcb, segment);
  if (tcb.timing && seqGeq(segment.ack, tcb.timedSeq)) {
    tcb.timing = false;
    sampleRtt(tcb, (segment.timeUs - tcb.timedUs) | 0);
  } else if (!tcb.timing && tcb.timestamps && segment.tsEcr !== 0 && !wasOpen) {
    // While repairing, nothing is timed, but the echo tells which transmission was acknowledged.
    const ms = (home.nowMs + tcb.tsOffset - segment.tsEcr) | 0;
    if (ms >= 0 && ms < 60_000) sampleRtt(tcb, ms * 1000 + 500);
  }
  tcb.sndUna = segment.ack;
  if (seqLt(tcb.sndUp, segment.ack)) tcb.sndUp = segment.ack;
  const fromBuffer = Math.min(seqDiff(segment.ack, tcb.sndBase), seqDiff(tcb.sndEnd, tcb.sndBase));
  if (fromBuffer > 0) {
    tcb.sndBase = seqAdd(tcb.sndBase, fromBuffer);
    if (tcb.sndBase === tcb.sndEnd) tcb.sndBuffer.clear();
    else tcb.sndBuffer.drop(fromBuffer);
    tcb.bytesAcked += fromBuffer;
    // As Linux does, not for every little room: a writer that wakes for each ACK writes crumbs.
    if (tcb.wantWrite && tcb.sndbufLimit - tcb.sndQueued >= tcb.sndbufLimit >> 2) tcb.events |= POLLOUT;
  }
  tcb.retries = 0;
  if (tcb.mtuSearch !== null) onMtuAck(tcb);
  noteLeastRtt(tcb, news.rttUs);
  endAck(tcb);
  // Undisturbed: nothing is to be repaired, nothing to be doubted.
  if (wasOpen && tcb.sackedBytes === 0 && tcb.renoSacked === 0 && tcb.probe === PROBE_NONE && tcb.reorderAt === 0) {
    tcb.dupAcks = 0;
  } else {
    onAck(tcb, segment, acked, false);
  }
  if (tcb.congestion.model !== undefined) tcb.congestion.model(tcb, news);
  else if (wasOpen && tcb.recovery === RECOVERY_OPEN && windowMayGrow(tcb)) tcb.congestion.onAck(tcb, acked, home.nowMs);
  tuneSendBuffer(tcb);
  if (tcb.sndUna === tcb.sndNxt) {
    tcb.rexmtAt = 0;
    tcb.tailAt = 0;
    tcb.reorderAt = 0;
  } else {
    tcb.unackedSinceMs = home.nowMs;
    armRetransmit(tcb);
    armLossProbe(tcb);
  }
  home.pend(tcb);
}

// ---------------------------------------------------------------------------------------- SYN-SENT

/** RFC 9293 3.10.7.3 */
function inputSynSent(tcb: Tcb, segment: Segment): void {
  const home = tcb.home;
  const flags = segment.flags;
  // First, the ACK bit. (A bad ACK: <SEQ=SEG.ACK><CTL=RST>; the home sends it, there is no state to keep.)
  const hasAck = (flags & ACK) !== 0;
  if (hasAck && (seqLeq(segment.ack, tcb.iss) || seqGt(segment.ack, mostOfSyn(tcb)))) {
    if ((flags & RST) === 0) home.reset(segment);
    return;
  }
  // Second, the RST bit.
  if ((flags & RST) !== 0) {
    if (hasAck) {
      home.counters.AttemptFails++;
      abortWith(tcb, ECONNREFUSED, false);
    }
    return;
  }
  // Fourth, the SYN bit.
  if ((flags & SYN) === 0) return;
  if (tcb.timestamps && hasAck && segment.hasTimestamps && segment.tsEcr !== 0
    && ((segment.tsEcr - ((home.nowMs + tcb.tsOffset) | 0)) | 0) > 0) {
    // Echo of a timestamp that we have not sent yet: from an earlier life of these ports.
    home.reset(segment);
    return;
  }
  takeSyn(tcb, segment);
  if (hasAck) {
    if (tcb.timing) {
      tcb.timing = false;
      sampleRtt(tcb, (segment.timeUs - tcb.timedUs) | 0);
    }
    if (tcb.fastOpen !== null) takeSynAck(tcb, segment);
    tcb.sndUna = segment.ack;
    tcb.rexmtAt = 0;
    tcb.state = ESTABLISHED;
    establish(tcb, segment);
    // The window of a SYN is not scaled.
    takeWindow(tcb, segment, segment.wnd);
    if (tcb.finQueued) {
      // CLOSE was called behind the data in the SYN (Fast Open).
      home.counters.CurrEstab--;
      tcb.state = FIN_WAIT_1;
      if (tcb.orphan) armOrphan(tcb);
    }
    tcb.ackNow = true;
    takeText(tcb, segment, seqAdd(segment.seq, 1));
    home.pend(tcb);
    return;
  }
  // Simultaneous open (3.5, figure 7): answer with SYN-ACK, the retransmission timer goes on.
  tcb.state = SYN_RECEIVED;
  takeWindow(tcb, segment, segment.wnd);
  tcb.sndWl2 = tcb.iss;
  tcb.retries = 0;
  sendSyn(tcb);
  armRetransmit(tcb);
}

/** The connection is open. */
function establish(tcb: Tcb, segment: Segment): void {
  const home = tcb.home;
  if (tcb.rcvWscale < 0) tcb.rcvWscale = 0;
  home.counters.CurrEstab++;
  startMtuSearch(tcb);
  startCongestion(tcb);
  tcb.rackFack = tcb.sndUna;
  tcb.recover = seqAdd(tcb.sndUna, -1);
  tcb.sndBase = tcb.sndUna;
  tcb.lastRecvMs = home.nowMs;
  tcb.giveUpAt = 0;
  // What stood in the way has passed.
  tcb.softError = 0;
  armKeepalive(tcb);
  noteReceiverRtt(tcb, segment);
  if (tcb.passive) {
    home.established(tcb);
    armFirstData(tcb);
  }
  tcb.events |= POLLOUT;
  home.pend(tcb);
}

// ------------------------------------------------------------------------------- the other states

/** RFC 9293 3.10.7.4 */
function inputGeneral(tcb: Tcb, segment: Segment): void {
  const home = tcb.home;
  const flags = segment.flags;

  // PAWS (RFC 7323 5.3): R1. RST is exempt.
  const older = tcb.timestamps && segment.hasTimestamps && ((segment.tsVal - tcb.tsRecent) | 0) < 0
    && ((home.nowMs - tcb.tsRecentMs) >>> 0) < TS_RECENT_LIFE_MS;
  if (older && (flags & RST) === 0) {
    home.counters.PawsDrops++;
    // A SYN would be answered whatever its number: within the limit for those (RFC 5961 section 7).
    if ((flags & SYN) !== 0) challengeAck(tcb);
    else answerStray(tcb, segment);
    return;
  }

  // First, check the sequence number.
  const window = tcb.rcvWnd;
  const offset = seqDiff(segment.seq, tcb.rcvNxt);
  // In a simultaneous open the peer's SYN-ACK repeats the SYN that we have (figure 7).
  const synAgain = tcb.state === SYN_RECEIVED && !tcb.passive && segment.seq === tcb.irs && (flags & (SYN | ACK | RST)) === (SYN | ACK);
  if (tcb.state === SYN_RECEIVED && (flags & (SYN | ACK | RST)) === SYN && segment.seq === tcb.irs) {
    // The SYN again: our SYN-ACK was lost. Which of them will be acknowledged cannot be told (Karn).
    tcb.timing = false;
    takeEcnSynAgain(tcb, segment);
    sendSyn(tcb);
    return;
  }
  if (!synAgain && !acceptable(segment, offset, window)) {
    if ((flags & RST) !== 0) {
      home.counters.RstOutOfWindow++;
      return;
    }
    if (segment.length > 0 && offset < 0) {
      home.counters.DuplicateDataIn++;
      noteTwice(tcb, segment.seq, Math.min(segment.length, -offset));
    }
    else home.counters.OutOfWindowIn++;
    if ((flags & SYN) !== 0) {
      challengeAck(tcb);
      return;
    }
    // A probe or keep-alive of the peer ends up here; it still may acknowledge.
    if ((flags & ACK) !== 0 && tcb.state >= ESTABLISHED && offset < 0 && seqLeq(segment.ack, tcb.sndNxt)
      && seqGt(segment.ack, tcb.sndUna)) {
      tcb.lastRecvMs = home.nowMs;
      beginAck(tcb);
      acknowledged(tcb, segment, seqDiff(segment.ack, tcb.sndUna));
      if (afterOurFin(tcb)) return;
    } else if (tcb.state >= ESTABLISHED && offset < 0) {
      tcb.lastRecvMs = home.nowMs;
    }
    answerStray(tcb, segment);
    return;
  }
  // RFC 7323 5.3 R3, by the rule of 4.3: what covers Last.ACK.sent brings the timestamp to echo.
  if (tcb.timestamps && segment.hasTimestamps && seqLeq(segment.seq, tcb.lastAckSent) && (flags & RST) === 0 && !older) {
    tcb.tsRecent = segment.tsVal;
    tcb.tsRecentMs = home.nowMs;
  }
  tcb.lastRecvMs = home.nowMs;

  // Second, the RST bit: exact, or a challenge (RFC 5961 3.2).
  if ((flags & RST) !== 0) {
    if (segment.seq === tcb.rcvNxt) resetReceived(tcb);
    else challengeAck(tcb);
    return;
  }
  // Fourth, the SYN bit (RFC 5961 4.2). In SYN-RECEIVED of a passive open this is RFC 9293's "return to LISTEN".
  if ((flags & SYN) !== 0) {
    if (!synAgain) {
      challengeAck(tcb);
      return;
    }
  }
  // Fifth, the ACK field.
  if ((flags & ACK) === 0) return;
  if (!ackField(tcb, segment)) return;

  // Sixth, the URG bit. Urgent data stays in line; the user is told (MUST-32).
  if ((flags & URG) !== 0 && tcb.state <= FIN_WAIT_2 && segment.urg > 0) {
    const pointer = seqAdd(segment.seq, segment.urg);
    if (seqGt(pointer, tcb.rcvNxt) && (!tcb.urgent || seqGt(pointer, tcb.rcvUp))) {
      tcb.rcvUp = pointer;
      tcb.urgent = true;
      tcb.events |= POLLPRI;
      home.pend(tcb);
    }
  }
  // Seventh, the segment text; eighth, the FIN bit.
  takeText(tcb, segment, (flags & SYN) !== 0 ? seqAdd(segment.seq, 1) : segment.seq);
}

/** Table 6 of RFC 9293 3.4: does any part of the segment lie in the window? */
function acceptable(segment: Segment, offset: number, window: number): boolean {
  if (segment.segLen === 0) {
    if (window === 0) return offset === 0;
    return offset >= 0 && offset < window;
  }
  if (window === 0) {
    // Nothing fits, but ACK, URG and RST of a segment at RCV.NXT are still taken (MUST-66).
    return offset === 0 && segment.length > 0 || offset === 0 && (segment.flags & (RST | FIN)) !== 0;
  }
  const end = offset + segment.segLen - 1;
  return offset >= 0 && offset < window || end >= 0 && end < window || offset < 0 && end >= window;
}

/** RFC 5961: an ACK that makes a genuine peer tell what it thinks; a limited number a second (section 7). */
function challengeAck(tcb: Tcb): void {
  const home = tcb.home;
  if ((home.nowMs - tcb.challengeMs) >>> 0 >= 1000 || tcb.challengeMs === 0) {
    tcb.challengeMs = home.nowMs === 0 ? 1 : home.nowMs;
    tcb.challenges = 0;
  }
  if (tcb.challenges >= home.config.challengeAcksPerSecond) {
    home.counters.ChallengeAcksSuppressed++;
    return;
  }
  tcb.challenges++;
  home.counters.ChallengeAcks++;
  tcb.ackNow = true;
  home.pend(tcb);
}

/**
 * Acknowledges what was not taken. Two ends that disagree would answer each other's pure ACKs without
 * end, so those are answered now and then only (as Linux's tcp_invalid_ratelimit has it); data always.
 */
function answerStray(tcb: Tcb, segment: Segment): void {
  const home = tcb.home;
  if (segment.segLen === 0) {
    if (tcb.strayMs !== 0 && ((home.nowMs - tcb.strayMs) >>> 0) < STRAY_MS) return;
    tcb.strayMs = home.nowMs || 1;
  }
  tcb.ackNow = true;
  home.pend(tcb);
}

function resetReceived(tcb: Tcb): void {
  const counters = tcb.home.counters;
  switch (tcb.state) {
    case SYN_RECEIVED:
      counters.AttemptFails++;
      if (!tcb.passive) abortWith(tcb, ECONNREFUSED, false);
      else if (tcb.fastOpen !== null && tcb.fastOpen.early) abortWith(tcb, ECONNRESET, false);
      else dropSilently(tcb);
      return;
    case CLOSING:
    case LAST_ACK:
    case TIME_WAIT:
      finish(tcb);
      return;
    default:
      counters.EstabResets++;
      abortWith(tcb, tcb.state === CLOSE_WAIT ? EPIPE : ECONNRESET, false);
  }
}

/** Fifth of 3.10.7.4. Returns false when the segment is done with. */
function ackField(tcb: Tcb, segment: Segment): boolean {
  const home = tcb.home;
  const ack = segment.ack;
  if (tcb.state === SYN_RECEIVED) {
    if (seqLeq(ack, tcb.sndUna) || seqGt(ack, mostOfSyn(tcb))) {
      if (!tcb.passive || !home.takesCookie(tcb, segment)) home.reset(segment);
      return false;
    }
    if (tcb.passive && !home.mayEstablish(tcb)) return false;
    if (tcb.timing) {
      tcb.timing = false;
      sampleRtt(tcb, (segment.timeUs - tcb.timedUs) | 0);
    }
    const { fastOpen } = tcb;
    if (fastOpen !== null && !tcb.passive) takeSynData(tcb, ack);
    tcb.state = ESTABLISHED;
    // Data that was sent before the handshake was complete is acknowledged like any other, below.
    const early = fastOpen !== null && fastOpen.early;
    tcb.sndUna = early ? seqAdd(tcb.iss, 1) : ack;
    tcb.rexmtAt = 0;
    establish(tcb, segment);
    tcb.fastOpen = null;
    takeWindow(tcb, segment, (segment.flags & SYN) !== 0 ? segment.wnd : segment.wnd << tcb.sndWscale);
    if (tcb.finQueued) {
      // CLOSE was called before the connection was established.
      home.counters.CurrEstab--;
      tcb.state = FIN_WAIT_1;
      if (tcb.orphan) armOrphan(tcb);
    }
    if ((segment.flags & SYN) !== 0) tcb.ackNow = true;
    if (!early) return true;
    if (tcb.sndNxt !== tcb.sndUna) armRetransmit(tcb);
  }
  // RFC 5961 5.2: an ACK older than the largest window ever told is not believed either.
  if (seqGt(ack, tcb.sndNxt)) {
    home.counters.BadAcks++;
    challengeAck(tcb);
    return false;
  }
  if (seqLt(ack, seqAdd(tcb.sndUna, -Math.max(tcb.maxSndWnd, 1)))) {
    home.counters.BadAcks++;
    challengeAck(tcb);
    return false;
  }
  beginAck(tcb);
  if (tcb.sack && segment.sackCount > 0) takeSacks(tcb, segment);
  const acked = seqDiff(ack, tcb.sndUna);
  const window = segment.wnd << tcb.sndWscale;
  const sameWindow = window === tcb.sndWnd;
  if (acked >= 0 && (seqLt(tcb.sndWl1, segment.seq) || tcb.sndWl1 === segment.seq && seqLeq(tcb.sndWl2, ack))) {
    takeWindow(tcb, segment, window);
    home.pend(tcb);
  }
  if (acked > 0) {
    acknowledged(tcb, segment, acked);
  } else {
    // With SACK a duplicate is what brings news of data. An old ACK, overtaken by others, may do so, too.
    const duplicate = acked === 0 && tcb.sndNxt !== tcb.sndUna && (tcb.sack ? news.sacked > 0 : segment.segLen === 0 && sameWindow);
    if (duplicate || news.sacked > 0 || news.dsack || tcb.probe !== PROBE_NONE) {
      endAck(tcb);
      onAck(tcb, segment, 0, duplicate);
      if (tcb.congestion.model !== undefined) tcb.congestion.model(tcb, news);
    }
  }
  if ((segment.flags & ECE) !== 0 && tcb.ecn === ECN_ON && acked >= 0 && isNewEcho(tcb, ack)) enterCwr(tcb);
  return !afterOurFin(tcb);
}

/** Our FIN may have been acknowledged: moves on. Returns whether the connection is over. */
function afterOurFin(tcb: Tcb): boolean {
  if (!tcb.finSent || tcb.sndUna !== tcb.sndNxt) return false;
  switch (tcb.state) {
    case FIN_WAIT_1:
      tcb.state = FIN_WAIT_2;
      if (tcb.orphan) armGiveUp(tcb, tcb.home.config.finWait2Ms);
      return false;
    case CLOSING:
      enterTimeWait(tcb);
      return true;
    case LAST_ACK:
      finish(tcb);
      return true;
    default:
      return false;
  }
}

/** Seventh and eighth of 3.10.7.4: payload that begins at `seq`, and FIN. */
function takeText(tcb: Tcb, segment: Segment, seq: Seq): void {
  const home = tcb.home;
  if (tcb.state === CLOSED || tcb.state === TIME_WAIT) {
    if (tcb.state === TIME_WAIT && segment.segLen > 0) tcb.ackNow = true;
    return;
  }
  let length = segment.length;
  let offset = segment.offset;
  let fin = (segment.flags & FIN) !== 0;
  if (length === 0 && !fin) return;
  if (tcb.finReceived) {
    // Beyond the peer's FIN there can be nothing: a repeated FIN, or garbage.
    tcb.ackNow = true;
    home.pend(tcb);
    return;
  }
  if (length > 0 && tcb.orphan && tcb.state !== CLOSE_WAIT && tcb.state !== LAST_ACK && tcb.state !== CLOSING
    && seqGt(seqAdd(seq, length), tcb.rcvNxt)) {
    // Nobody is there to read it (RFC 9293 3.6.1: the data would be lost, so say so).
    home.counters.OrphanResets++;
    abortWith(tcb, ECONNRESET, true);
    return;
  }
  // Cut off what was received before, and what lies beyond the window.
  const old = seqDiff(tcb.rcvNxt, seq);
  if (old > 0) {
    const cut = Math.min(old, length);
    noteTwice(tcb, seq, cut);
    offset += cut;
    length -= cut;
    seq = seqAdd(seq, cut);
    tcb.ackNow = true;
    if (length === 0 && cut < old && fin) fin = false;
  }
  const room = seqDiff(tcb.rcvAdv, seq);
  if (length > room) {
    home.counters.OutOfWindowIn++;
    length = Math.max(room, 0);
    fin = false;
    tcb.ackNow = true;
  }
  if (seq === tcb.rcvNxt) {
    if (length > 0) {
      const whole = tcb.oooCount === 0;
      const before = tcb.rcvNxt;
      takeData(tcb, segment, offset, length, false);
      if (seqDiff(tcb.rcvNxt, before) < length) fin = false;
      if (!whole) {
        joinOutOfOrder(tcb);
        // A gap is filled, or partly: at once (RFC 5681 4.2).
        tcb.ackNow = true;
      }
    }
  } else if (length > 0) {
    settle(tcb);
    home.counters.OutOfOrderIn++;
    tcb.outOfOrderIn++;
    if (tcb.ecn >= ECN_ECHO) takeMarks(tcb, segment);
    acceptOutOfOrder(tcb, seq, segment.slab, offset, length);
    if (!tcb.sack) tcb.gapSegments = Math.min(tcb.gapSegments + segment.merged, MAX_GAP_ACKS);
    // RFC 5681 4.2, and the report's 4.2: out of order is acknowledged at once.
    tcb.ackNow = true;
  }
  if (fin) {
    // Remembered also when it came out of order: not its segment, but where it stands.
    tcb.finKnown = true;
    tcb.finAt = seqAdd(seq, length);
    if (tcb.finAt !== tcb.rcvNxt) tcb.ackNow = true;
  }
  if (tcb.finKnown) {
    // What is lent must have found memory before the FIN behind it can count.
    settle(tcb);
    fin = tcb.rcvNxt === tcb.finAt;
  }
  home.pend(tcb);
  if (fin) finReceived(tcb);
}

/** Eighth of 3.10.7.4: everything up to the peer's FIN has arrived. */
function finReceived(tcb: Tcb): void {
  tcb.finReceived = true;
  // There is nothing beyond a FIN, whatever has come.
  if (tcb.oooCount > 0) forgetOutOfOrder(tcb);
  tcb.rcvNxt = seqAdd(tcb.rcvNxt, 1);
  // The FIN takes a place in the window that was told.
  if (seqLt(tcb.rcvAdv, tcb.rcvNxt)) tcb.rcvAdv = tcb.rcvNxt;
  tcb.ackNow = true;
  tcb.events |= POLLIN | POLLRDHUP;
  switch (tcb.state) {
    case SYN_RECEIVED:
    case ESTABLISHED:
      tcb.state = CLOSE_WAIT;
      break;
    case FIN_WAIT_1:
      // Our FIN is not acknowledged, else the ACK step would have moved on.
      tcb.state = CLOSING;
      break;
    case FIN_WAIT_2:
      tcb.events |= POLLHUP;
      enterTimeWait(tcb);
      break;
  }
  tcb.home.pend(tcb);
}
