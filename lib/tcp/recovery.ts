/**
 * Loss recovery: what an acknowledgment, or the retransmission timer, means for what is in flight.
 *
 *              loss marked                          SND.UNA >= recover
 *     OPEN ────────────────────▶ FAST ─────────────────────────────────▶ OPEN
 *       │ ─── ECN echo ──▶ CWR ──▶ (loss) FAST                            ▲
 *       └─── timeout ────▶ LOSS ──────────────────────────────────────────┘
 *                            any ── it was for nothing (undo.ts) ──▶ OPEN
 *
 * With SACK loss is told by time (rack.ts), and the tail is probed (tail-loss.ts); without it by duplicate ACKs: each
 * stands for one segment that has left the network (`renoSacked`), and only the oldest segment can be told to be lost
 * (NewReno, RFC 6582). What is lost is sent again in order, before anything new, as far as the window allows
 * (RFC 6675 section 5); the window comes down in proportion to what arrives (prr.ts), unless congestion control has a
 * model of its own. `sndNxt` never moves back.
 *
 * Limited transmit (RFC 3042) needs no rule: what the first duplicate ACKs or SACKs stand for is no longer in the pipe.
 */

import { seqAdd, seqDiff, seqGeq, seqGt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { beginAck, news } from './delivery.ts';
import { queueCwr } from './ecn.ts';
import { maxSegment } from './emit.ts';
import { paceRoom, armPacing } from './pacing.ts';
import { probeWasLost } from './plpmtud.ts';
import { beginReduction, reduceInProportion } from './prr.ts';
import { DUP_THRESH, detectLost, markTimedOut, noteRecoveryEnd, noteRoundTrip } from './rack.ts';
import type { Segment } from './segment.ts';
import {
  END, FLAGS, LATER, NEXT, ROW_AGAIN, ROW_LOST, START, forgetSacks, isUnaSacked, markLost, nextLost, noteSentAgain, splitRow,
} from './sent-segments.ts';
import { PROBE_NONE, RECOVERY_CWR, RECOVERY_FAST, RECOVERY_LOSS, RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { probeAnswered } from './tail-loss.ts';
import { sendAgain, unsent, windowRoom } from './transmit.ts';
import { noteRepair, rememberWindows, tryUndo } from './undo.ts';

/**
 * An acknowledgment, or SACK, has been accounted for (delivery.ts), and SND.UNA has moved by `acked`. `duplicate`: it
 * acknowledges nothing new, and is one as RFC 5681 section 2 has it.
 */
export function onAck(tcb: Tcb, segment: Segment, acked: number, duplicate: boolean): void {
  if (acked > 0) tcb.dupAcks = 0;
  else if (duplicate) {
    tcb.dupAcks++;
    tcb.dupAcksIn++;
    tcb.home.counters.DupAcksIn++;
  }
  // A probe that has repaired a loss nothing else has told of is a sign of congestion all the same (RFC 8985 7.4.2).
  if (tcb.probe !== PROBE_NONE && probeAnswered(tcb, segment, acked)) enterCwr(tcb);
  if (tcb.sack) noteRoundTrip(tcb);
  const undone = tryUndo(tcb, segment, acked);
  if (!undone && tcb.recovery === RECOVERY_LOSS && tcb.frto) judgeTimeout(tcb, acked, duplicate);
  if (tcb.recovery !== RECOVERY_OPEN && acked > 0 && seqGeq(tcb.sndUna, tcb.recover)) leaveRecovery(tcb);

  if (tcb.sack) {
    // RFC 8985 6.2. What was sent before SND.UNA moved last cannot be lost: there is nothing to look for then.
    if (tcb.sentFirst >= 0 && (tcb.sackedBytes > 0 || tcb.recovery !== RECOVERY_OPEN || tcb.reorderAt !== 0)) detectLost(tcb, segment.timeUs);
  } else if (acked > 0) {
    afterPartialAck(tcb, acked);
  } else if (duplicate) {
    countDuplicate(tcb);
  }
  react(tcb, acked);
}

/** The reordering window of RACK has passed (RFC 8985 6.3). */
export function onReorderTimeout(tcb: Tcb): void {
  if (tcb.sentFirst < 0) return;
  beginAck(tcb);
  if (detectLost(tcb, tcb.home.nowUs) === 0) return;
  react(tcb, 0);
  if (tcb.congestion.model !== undefined) tcb.congestion.model(tcb, news);
}

/** Begins to repair what is newly lost, and lets the window follow. */
function react(tcb: Tcb, acked: number): void {
  if (tcb.lostBytes > 0 && (tcb.recovery === RECOVERY_OPEN || tcb.recovery === RECOVERY_CWR)) {
    if (tcb.mtuSearch === null || !probeWasLost(tcb)) enterFast(tcb);
  }
  if (tcb.congestion.model === undefined) {
    if (tcb.recovery === RECOVERY_FAST || tcb.recovery === RECOVERY_CWR) reduceInProportion(tcb, acked > 0);
    // Slow start (RFC 5681 3.1) until ssthresh, clocked by what the retransmissions bring, not by what SACK told of before.
    else if (tcb.recovery === RECOVERY_LOSS && acked > 0) {
      tcb.congestion.onAck(tcb, tcb.sack ? Math.min(acked, news.acked) : acked, tcb.home.nowMs);
    }
  }
  tcb.home.pend(tcb);
}

// ------------------------------------------------------------------------------------- without SACK

/** One more duplicate ACK: one more segment has left the network (RFC 6582 3.2). */
function countDuplicate(tcb: Tcb): void {
  const before = tcb.renoSacked;
  // After a timeout everything that was in flight counts as lost already: it can only be what was sent since.
  const most = tcb.recovery === RECOVERY_LOSS ? seqDiff(tcb.sndNxt, tcb.recover) : tcb.flight - tcb.sndMss;
  tcb.renoSacked = Math.max(Math.min(before + tcb.sndMss, most, tcb.flight - tcb.lostBytes), 0);
  if (tcb.recovery === RECOVERY_LOSS) return;
  news.acked += tcb.renoSacked - before;
  // Not for duplicates that our own retransmissions after a timeout brought about.
  if (tcb.recovery !== RECOVERY_FAST && tcb.dupAcks >= DUP_THRESH && !isWithinRepair(tcb)) markOldest(tcb);
}

/** SND.UNA lies below `recover`, which only means something as long as it lies in what is in flight. */
function isWithinRepair(tcb: Tcb): boolean {
  return seqGeq(tcb.recover, tcb.sndUna) && !seqGt(tcb.recover, tcb.sndNxt);
}

/** New data is acknowledged. In a recovery it is a partial ACK: the next segment was lost as well (RFC 6582 3.2). */
function afterPartialAck(tcb: Tcb, acked: number): void {
  if (tcb.recovery !== RECOVERY_FAST) {
    tcb.renoSacked = 0;
    return;
  }
  const before = tcb.renoSacked;
  tcb.renoSacked = Math.max(Math.min(before - (acked - tcb.sndMss), tcb.flight - tcb.sndMss), 0);
  // What duplicates have stood for does not arrive again (RFC 6937 3).
  if (before > tcb.renoSacked) news.acked = Math.max(news.acked - (before - tcb.renoSacked), 0);
  markOldest(tcb);
}

/** The oldest segment is lost. */
function markOldest(tcb: Tcb): void {
  const at = tcb.sentFirst;
  if (at < 0) return;
  const words = tcb.home.sent.words;
  const edge = seqAdd(tcb.sndUna, tcb.sndMss);
  if (seqGt(words[at + END]! as Seq, edge)) splitRow(tcb, at, edge);
  const before = tcb.pipe;
  markLost(tcb, at);
  news.lost += before - tcb.pipe;
  tcb.lostHint = -1;
  // The pipe cannot be less than nothing: the duplicates stood for what comes after it.
  tcb.renoSacked = Math.max(Math.min(tcb.renoSacked, tcb.flight - tcb.lostBytes), 0);
  tcb.rtxNow = true;
}

// ------------------------------------------------------------------------------------------- states

/** Something is lost: the windows are reduced, once for all that was in flight by now. */
function enterFast(tcb: Tcb): void {
  const counters = tcb.home.counters;
  if (tcb.sack) counters.SackRecoveries++;
  else counters.FastRecoveries++;
  if (tcb.recovery === RECOVERY_OPEN) beginReducing(tcb);
  tcb.recovery = RECOVERY_FAST;
  tcb.recover = tcb.sndNxt;
  tcb.fastRetransmits++;
  tcb.probe = PROBE_NONE;
  tcb.tailAt = 0;
  // The first retransmission leaves whatever the pipe says (RFC 6675 section 5 (4.3)).
  tcb.rtxNow = true;
}

function beginReducing(tcb: Tcb): void {
  rememberWindows(tcb);
  beginReduction(tcb, tcb.flight);
  tcb.congestion.onLoss(tcb, tcb.home.nowMs);
  queueCwr(tcb);
}

/** The network has marked packets (ECN; RFC 3168 6.1.2): the window is reduced as for a loss, and nothing is sent again. */
export function enterCwr(tcb: Tcb): void {
  if (tcb.recovery !== RECOVERY_OPEN) return;
  beginReducing(tcb);
  // A mark is no mistake: there is nothing that could show it to be one.
  tcb.undoable = false;
  if (tcb.sndUna === tcb.sndNxt) {
    // Nothing is in flight whose arrival could end it.
    tcb.congestion.onRecovered(tcb, tcb.home.nowMs);
    return;
  }
  tcb.recovery = RECOVERY_CWR;
  tcb.recover = tcb.sndNxt;
  tcb.home.pend(tcb);
}

/** What was in flight when the repair began has arrived. */
function leaveRecovery(tcb: Tcb): void {
  const before = tcb.recovery;
  tcb.recovery = RECOVERY_OPEN;
  tcb.renoSacked = 0;
  tcb.frto = false;
  tcb.rtxNow = false;
  noteRecoveryEnd(tcb);
  if (before !== RECOVERY_LOSS) tcb.congestion.onRecovered(tcb, tcb.home.nowMs);
}

/**
 * The retransmission timer fired (RFC 6298 (5.4), RFC 8985 6.3): what has been in flight for a round trip counts as
 * lost, one segment leaves now, and the rest follows in slow start, if F-RTO does not find that nothing was lost.
 */
export function onRetransmissionTimeout(tcb: Tcb): void {
  if (isUnaSacked(tcb)) {
    tcb.home.counters.SackReneged++;
    forgetSacks(tcb);
  }
  const reduced = tcb.recovery === RECOVERY_FAST || tcb.recovery === RECOVERY_CWR;
  const first = tcb.retries <= 1 && !reduced;
  if (first) rememberWindows(tcb);
  tcb.congestion.onTimeout(tcb, first, tcb.home.nowMs);
  queueCwr(tcb);
  // Not below the RecoveryPoint of a repair (RFC 5682 section 3, step 1).
  tcb.frto = tcb.recovery !== RECOVERY_FAST;
  tcb.recovery = RECOVERY_LOSS;
  tcb.recover = tcb.sndNxt;
  tcb.newFirst = false;
  tcb.dupAcks = 0;
  tcb.renoSacked = 0;
  tcb.probe = PROBE_NONE;
  tcb.tailAt = 0;
  tcb.reorderAt = 0;
  markTimedOut(tcb);
  tcb.rtxNow = true;
}

/**
 * F-RTO (RFC 5682 section 3): after a timeout the first ACK that brings news lets new data go instead of more
 * retransmissions; if the next one does, too, without the help of any, nothing was lost (undo.ts has looked at that).
 */
function judgeTimeout(tcb: Tcb, acked: number, duplicate: boolean): void {
  if (seqGt(tcb.sndNxt, tcb.recover)) {
    // Step 3.a: what was sent after the timeout has arrived, and what was sent before has not.
    if (news.sacked > 0 || duplicate) stopJudging(tcb);
  } else if (acked > 0 && !seqGeq(tcb.sndUna, tcb.recover)) {
    // Step 2.b.
    tcb.recover = tcb.sndNxt;
    if (unsent(tcb) > 0 && windowRoom(tcb) > 0) tcb.newFirst = true;
    else stopJudging(tcb);
  }
}

function stopJudging(tcb: Tcb): void {
  tcb.frto = false;
  tcb.newFirst = false;
}

/** A smaller path MTU: what is in flight is sent again in smaller segments; no sign of congestion (RFC 1191 6.4). */
export function retransmitAfterMtu(tcb: Tcb): void {
  if (tcb.sentFirst < 0) return;
  if (tcb.recovery === RECOVERY_OPEN) {
    tcb.recovery = RECOVERY_LOSS;
    tcb.recover = tcb.sndNxt;
    tcb.undoable = false;
    tcb.frto = false;
  }
  tcb.renoSacked = 0;
  const words = tcb.home.sent.words;
  for (let at = tcb.xmitFirst; at >= 0;) {
    const later = words[at + LATER]!;
    markLost(tcb, at);
    at = later;
  }
  tcb.lostHint = -1;
}

// ----------------------------------------------------------------------------------- sending again

/** Sends again what is lost, as far as the window allows. Returns whether anything left. */
export function retransmitLost(tcb: Tcb): boolean {
  // A peer that has shrunk its window is not sent what lies beyond; rounding to its scale is no shrinking (RFC 7323 2.4).
  const edge = seqAdd(tcb.sndUna, tcb.sndWnd + (1 << tcb.sndWscale) - 1);
  let sent = false;
  while (tcb.lostBytes > tcb.rtxBytes) {
    const at = nextLost(tcb, tcb.lostHint);
    tcb.lostHint = at;
    if (at < 0) break;
    const words = tcb.home.sent.words;
    const start = words[at + START]! as Seq;
    const run = lostRun(tcb, at, maxSegment(tcb));
    let room = tcb.cwnd - tcb.pipe;
    const needed = Math.min(run, tcb.sndMss);
    if (tcb.rtxNow) {
      room = Math.max(room, needed);
    } else {
      if (room < needed || seqGeq(start, edge)) break;
      const credit = paceRoom(tcb);
      if (credit < needed) {
        armPacing(tcb);
        break;
      }
      room = Math.min(room, credit);
    }
    const length = room >= run ? run : Math.max(room - (room % tcb.sndMss), needed);
    if (!sendAgain(tcb, start, length)) break;
    noteRepair(tcb, length);
    tcb.rtxNow = false;
    markAgain(tcb, at, seqAdd(start, length));
    sent = true;
  }
  return sent;
}

/** Bytes from this row on that are lost without a gap, at most `most`. */
function lostRun(tcb: Tcb, at: number, most: number): number {
  const words = tcb.home.sent.words;
  const start = words[at + START]! as Seq;
  let bytes = 0;
  while (at >= 0 && bytes < most && (words[at + FLAGS]! & (ROW_LOST | ROW_AGAIN)) === ROW_LOST) {
    bytes = seqDiff(words[at + END]! as Seq, start);
    at = words[at + NEXT]!;
  }
  return Math.min(bytes, most);
}

/** The rows from `at` up to `right` have been sent again. */
function markAgain(tcb: Tcb, at: number, right: Seq): void {
  while (at >= 0) {
    if (seqGeq(tcb.home.sent.words[at + START]! as Seq, right)) return;
    if (seqGt(tcb.home.sent.words[at + END]! as Seq, right)) splitRow(tcb, at, right);
    noteSentAgain(tcb, at, true);
    at = tcb.home.sent.words[at + NEXT]!;
  }
}
