/**
 * Loss recovery: the SACK scoreboard and pipe of RFC 6675, NewReno without SACK (RFC 6582), fast
 * retransmit (RFC 5681 3.2), retransmission after a timeout (RFC 6298 (5.4), RFC 6675 5.1).
 *
 *      sndUna        rtxNxt       lostEdge                     sndNxt
 *   -----+-------------+-------------+-----------------------------+-----
 *        | sent again  | to be sent  | in the network, or SACKed   |
 *        |             | again       |                             |
 *
 * Everything unSACKed below `lostEdge` is lost; of this, everything below `rtxNxt` has been sent again.
 * `sndNxt` never moves back. Without SACK each duplicate ACK stands for one segment that has left the
 * network (`renoSacked`), and only the oldest segment can be told to be lost.
 *
 * Left to come: NextSeg's rescue retransmission (4) and, better than it, RACK-TLP, F-RTO and undo, PRR, D-SACK.
 */

import { seqAdd, seqDiff, seqGeq, seqGt, seqLeq, seqLt, seqMax, seqMin } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { ACK, FIN, PSH } from '../wire/tcp.ts';
import { queueCwr } from './ecn.ts';
import { countRetransmission, emit, maxSegment } from './emit.ts';
import type { Segment } from './segment.ts';
import { RECOVERY_FAST, RECOVERY_LOSS, RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { armRetransmit } from './timers.ts';

/** DupThresh (RFC 5681, 6675). */
const DUP_THRESH = 3;
/** Most SACKed ranges remembered; beyond it, blocks that would add one are ignored. */
const MAX_RANGES = 1024;

/** Takes the segment's SACK blocks into the scoreboard. Returns how many bytes are newly SACKed. */
export function updateScoreboard(tcb: Tcb, segment: Segment): number {
  const counters = tcb.home.counters;
  const before = tcb.sackedBytes;
  for (let i = 0; i < segment.sackCount; i++) {
    const left = segment.sack[i * 2]! as Seq;
    const right = segment.sack[i * 2 + 1]! as Seq;
    counters.SackBlocksIn++;
    // A block at or below SND.UNA is a D-SACK (RFC 2883); one beyond SND.NXT, or empty, is a lie.
    if (seqLeq(right, tcb.sndUna)) continue;
    if (!seqLt(left, right) || seqGt(right, tcb.sndNxt) || seqLt(left, tcb.sndUna)) {
      counters.SackBlocksBad++;
      continue;
    }
    addRange(tcb, left, right);
  }
  return tcb.sackedBytes - before;
}

function addRange(tcb: Tcb, left: Seq, right: Seq): void {
  let board = tcb.scoreboard;
  if (board === null) board = tcb.scoreboard = new Int32Array(16);
  let first = 0;
  while (first < tcb.sackedCount && seqLt(board[first * 2 + 1]! as Seq, left)) first++;
  let last = first;
  while (last < tcb.sackedCount && seqLeq(board[last * 2]! as Seq, right)) last++;
  if (last === first) {
    if (tcb.sackedCount === MAX_RANGES) {
      tcb.home.counters.SackBlocksBad++;
      return;
    }
    if (tcb.sackedCount * 2 === board.length) {
      const grown = new Int32Array(board.length * 2);
      grown.set(board);
      board = tcb.scoreboard = grown;
    }
    board.copyWithin(first * 2 + 2, first * 2, tcb.sackedCount * 2);
    tcb.sackedCount++;
    tcb.sackedBytes += seqDiff(right, left);
  } else {
    let covered = 0;
    for (let i = first; i < last; i++) covered += seqDiff(board[i * 2 + 1]! as Seq, board[i * 2]! as Seq);
    left = seqMin(left, board[first * 2]! as Seq);
    right = seqMax(right, board[last * 2 - 1]! as Seq);
    tcb.sackedBytes += seqDiff(right, left) - covered;
    if (last > first + 1) {
      board.copyWithin(first * 2 + 2, last * 2, tcb.sackedCount * 2);
      tcb.sackedCount -= last - first - 1;
    }
  }
  board[first * 2] = left;
  board[first * 2 + 1] = right;
}

/** SND.UNA has moved: forgets what lies below. */
function trimScoreboard(tcb: Tcb): void {
  const board = tcb.scoreboard;
  if (board === null || tcb.sackedCount === 0) return;
  let gone = 0;
  while (gone < tcb.sackedCount && seqLeq(board[gone * 2 + 1]! as Seq, tcb.sndUna)) {
    tcb.sackedBytes -= seqDiff(board[gone * 2 + 1]! as Seq, board[gone * 2]! as Seq);
    gone++;
  }
  if (gone > 0) {
    board.copyWithin(0, gone * 2, tcb.sackedCount * 2);
    tcb.sackedCount -= gone;
  }
  if (tcb.sackedCount > 0 && seqLt(board[0]! as Seq, tcb.sndUna)) {
    tcb.sackedBytes -= seqDiff(tcb.sndUna, board[0]! as Seq);
    board[0] = tcb.sndUna;
  }
}

/** UnSACKed bytes in [sndUna, edge). */
function unsackedBelow(tcb: Tcb, edge: Seq): number {
  let bytes = seqDiff(edge, tcb.sndUna);
  if (bytes <= 0) return 0;
  const board = tcb.scoreboard;
  for (let i = 0; i < tcb.sackedCount; i++) {
    const left = board![i * 2]! as Seq;
    if (seqGeq(left, edge)) break;
    bytes -= seqDiff(seqMin(board![i * 2 + 1]! as Seq, edge), left);
  }
  return bytes;
}

/** Recounts what is lost and what of it was sent again, after any of the edges or the scoreboard moved. */
function recount(tcb: Tcb): void {
  if (seqLt(tcb.lostEdge, tcb.sndUna)) tcb.lostEdge = tcb.sndUna;
  if (seqLt(tcb.rtxNxt, tcb.sndUna)) tcb.rtxNxt = tcb.sndUna;
  tcb.lostBytes = tcb.lostEdge === tcb.sndUna ? 0 : unsackedBelow(tcb, tcb.lostEdge);
  tcb.rtxBytes = tcb.rtxNxt === tcb.sndUna ? 0 : unsackedBelow(tcb, tcb.rtxNxt);
}

/**
 * IsLost (RFC 6675 section 4) for all at once: the highest sequence number that has DupThresh SACKed
 * ranges, or more than (DupThresh - 1) × SMSS SACKed bytes, above it.
 */
function sackLostEdge(tcb: Tcb): Seq {
  const board = tcb.scoreboard;
  let bytes = 0;
  const enough = (DUP_THRESH - 1) * tcb.sndMss;
  for (let i = tcb.sackedCount - 1, ranges = 1; i >= 0; i--, ranges++) {
    bytes += seqDiff(board![i * 2 + 1]! as Seq, board![i * 2]! as Seq);
    if (ranges >= DUP_THRESH || bytes > enough) return board![i * 2]! as Seq;
  }
  return tcb.sndUna;
}

/**
 * An ACK that acknowledges nothing new came with the window unchanged, data is in flight, and it has
 * no payload (RFC 5681 section 2), or it brought new SACK information.
 */
export function onDuplicateAck(tcb: Tcb, newlySacked: number): void {
  tcb.dupAcks++;
  tcb.dupAcksIn++;
  tcb.home.counters.DupAcksIn++;
  if (tcb.sack) {
    if (newlySacked > 0) afterSack(tcb);
    return;
  }
  // After a timeout everything in flight counts as lost already.
  if (tcb.recovery === RECOVERY_LOSS) return;
  const most = tcb.flight - tcb.sndMss;
  tcb.renoSacked = Math.max(Math.min(tcb.renoSacked + tcb.sndMss, most), 0);
  // RFC 6582 3.2: not for duplicates that our own retransmissions after a timeout brought about.
  if (tcb.recovery === RECOVERY_OPEN && tcb.dupAcks >= DUP_THRESH && seqGt(tcb.sndUna, tcb.recover)) {
    tcb.home.counters.FastRecoveries++;
    enterFastRecovery(tcb, seqAdd(tcb.sndUna, Math.min(tcb.sndMss, tcb.flight)));
  }
  tcb.home.pend(tcb);
}

/** The scoreboard has grown: finds what is lost now, and begins to repair. */
export function afterSack(tcb: Tcb): void {
  const edge = sackLostEdge(tcb);
  if (tcb.recovery === RECOVERY_OPEN) {
    if (seqGt(edge, tcb.sndUna) || tcb.dupAcks >= DUP_THRESH) {
      tcb.home.counters.SackRecoveries++;
      enterFastRecovery(tcb, seqMax(edge, seqAdd(tcb.sndUna, Math.min(tcb.sndMss, tcb.flight))));
    } else {
      recount(tcb);
    }
  } else {
    if (seqGt(edge, tcb.lostEdge)) tcb.lostEdge = edge;
    recount(tcb);
  }
  tcb.home.pend(tcb);
}

function enterFastRecovery(tcb: Tcb, lostEdge: Seq): void {
  tcb.recovery = RECOVERY_FAST;
  tcb.recover = tcb.sndNxt;
  tcb.fastRetransmits++;
  tcb.congestion.onLoss(tcb, tcb.home.nowMs);
  queueCwr(tcb);
  tcb.lostEdge = lostEdge;
  tcb.rtxNxt = tcb.sndUna;
  recount(tcb);
  // The first retransmission leaves whatever the pipe says (RFC 6675 section 5 (4.3)).
  retransmitHole(tcb, tcb.sndMss);
}

/** `acked` bytes are newly acknowledged; SND.UNA has moved already. */
export function onNewAck(tcb: Tcb, acked: number): void {
  tcb.dupAcks = 0;
  trimScoreboard(tcb);
  switch (tcb.recovery) {
    case RECOVERY_OPEN:
      tcb.renoSacked = 0;
      if (tcb.sackedCount > 0) afterSack(tcb);
      else recount(tcb);
      return;
    case RECOVERY_FAST:
      if (seqGeq(tcb.sndUna, tcb.recover)) {
        leaveRecovery(tcb);
        tcb.congestion.onRecovered(tcb, tcb.home.nowMs);
        return;
      }
      if (!tcb.sack) {
        // Partial ACK (RFC 6582 3.2): the next segment was lost as well.
        tcb.renoSacked = Math.max(Math.min(tcb.renoSacked - (acked - tcb.sndMss), tcb.flight - tcb.sndMss), 0);
        tcb.lostEdge = seqAdd(tcb.sndUna, Math.min(tcb.sndMss, tcb.flight));
        tcb.rtxNxt = tcb.sndUna;
        recount(tcb);
        retransmitHole(tcb, tcb.sndMss);
        return;
      }
      afterSack(tcb);
      return;
    default:
      if (seqGeq(tcb.sndUna, tcb.recover)) {
        leaveRecovery(tcb);
        return;
      }
      tcb.renoSacked = 0;
      if (tcb.sack && tcb.sackedCount > 0) afterSack(tcb);
      else recount(tcb);
      // Slow start (RFC 5681 3.1) until ssthresh, clocked by what the retransmissions bring.
      tcb.congestion.onAck(tcb, acked, tcb.home.nowMs);
      tcb.home.pend(tcb);
  }
}

function leaveRecovery(tcb: Tcb): void {
  tcb.recovery = RECOVERY_OPEN;
  tcb.renoSacked = 0;
  tcb.lostEdge = tcb.sndUna;
  tcb.rtxNxt = tcb.sndUna;
  recount(tcb);
  tcb.home.pend(tcb);
}

/**
 * The retransmission timer fired: all that is in flight counts as lost, one segment leaves now, and the
 * rest follows in slow start.
 */
export function onRetransmissionTimeout(tcb: Tcb): void {
  // The peer has thrown away what it once SACKed, if SND.UNA itself is SACKed (RFC 2018 section 8).
  if (tcb.sackedCount > 0 && tcb.scoreboard![0] === tcb.sndUna) {
    tcb.home.counters.SackReneged++;
    tcb.sackedCount = 0;
    tcb.sackedBytes = 0;
  }
  tcb.congestion.onTimeout(tcb, tcb.retries <= 1, tcb.home.nowMs);
  queueCwr(tcb);
  tcb.recovery = RECOVERY_LOSS;
  tcb.recover = tcb.sndNxt;
  tcb.dupAcks = 0;
  tcb.renoSacked = 0;
  tcb.lostEdge = tcb.sndNxt;
  tcb.rtxNxt = tcb.sndUna;
  recount(tcb);
  retransmitHole(tcb, tcb.sndMss);
}

/** A smaller path MTU: what is in flight is sent again in smaller segments; no sign of congestion (RFC 1191 6.4). */
export function retransmitAfterMtu(tcb: Tcb): void {
  if (tcb.flight === 0) return;
  if (tcb.recovery === RECOVERY_OPEN) {
    tcb.recovery = RECOVERY_LOSS;
    tcb.recover = tcb.sndNxt;
  }
  tcb.renoSacked = 0;
  tcb.lostEdge = tcb.sndNxt;
  tcb.rtxNxt = tcb.sndUna;
  recount(tcb);
}

/**
 * Sends again what is lost, as far as the pipe allows (RFC 6675 section 5 (C)). Returns whether
 * anything left. Without SACK the first segment has left already.
 */
export function retransmitLost(tcb: Tcb): boolean {
  let sent = false;
  if (tcb.recovery === RECOVERY_FAST && tcb.sackedCount > 0 && tcb.rtxNxt === tcb.lostEdge && tcb.sndNxt === tcb.sndEnd) {
    // NextSeg (3): nothing new is there to send, so what lies below the highest SACKed range goes as well.
    tcb.lostEdge = seqMax(tcb.lostEdge, tcb.scoreboard![tcb.sackedCount * 2 - 2]! as Seq);
    recount(tcb);
  }
  // A peer that has shrunk its window is not sent what lies beyond; rounding to its scale is no shrinking (RFC 7323 2.4).
  const edge = seqAdd(tcb.sndUna, tcb.sndWnd + (1 << tcb.sndWscale) - 1);
  while (seqLt(tcb.rtxNxt, tcb.lostEdge)) {
    const room = tcb.cwnd - tcb.pipe;
    if (room < tcb.sndMss || seqGeq(tcb.rtxNxt, edge)) break;
    if (!retransmitHole(tcb, Math.min(room - (room % tcb.sndMss), maxSegment(tcb)))) break;
    sent = true;
  }
  return sent;
}

/** Retransmits up to `most` bytes of the first hole at or after rtxNxt and below lostEdge. */
function retransmitHole(tcb: Tcb, most: number): boolean {
  const board = tcb.scoreboard;
  let from = tcb.rtxNxt;
  let to = tcb.lostEdge;
  for (let i = 0; i < tcb.sackedCount; i++) {
    const left = board![i * 2]! as Seq;
    const right = board![i * 2 + 1]! as Seq;
    if (seqLeq(right, from)) continue;
    if (seqLeq(left, from)) {
      from = right;
    } else {
      to = seqMin(to, left);
      break;
    }
  }
  const length = Math.min(seqDiff(to, from), most);
  if (length <= 0) {
    tcb.rtxNxt = tcb.lostEdge;
    recount(tcb);
    return false;
  }
  if (!sendAgain(tcb, from, length)) return false;
  tcb.rtxNxt = seqAdd(from, length);
  recount(tcb);
  return true;
}

/** Emits `length` of sequence space from `seq`, which may include the FIN. */
function sendAgain(tcb: Tcb, seq: Seq, length: number): boolean {
  const right = seqAdd(seq, length);
  const fin = tcb.finSent && seqGt(right, tcb.sndEnd);
  const bytes = fin ? length - 1 : length;
  if (!emit(tcb, seq, ACK | (right === tcb.sndNxt || fin ? PSH : 0) | (fin ? FIN : 0), bytes)) return false;
  countRetransmission(tcb, bytes);
  if (tcb.rexmtAt === 0) armRetransmit(tcb);
  return true;
}
