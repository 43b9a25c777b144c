/**
 * What an acknowledgment tells: which of the rows sent (sent-segments.ts) have arrived, by SEG.ACK and by SACK
 * (RFC 2018, RFC 6675 section 4) and D-SACK (RFC 2883); the round trip and the delivery rate that they show
 * (draft-cheng-iccrg-delivery-rate-estimation, section 3); and what RACK wants to know of them (RFC 8985 6.2, steps 1
 * to 3). What is lost, and what to do, is decided afterwards: rack.ts, recovery.ts.
 *
 * The news of one acknowledgment are collected in `news`, which is filled again for each: one at a time.
 */

import { seqDiff, seqGeq, seqGt, seqLeq, seqLt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import type { RateSample } from './congestion/congestion-control.ts';
import type { Segment } from './segment.ts';
import {
  DELIVERED, DELIVERED_US, END, FIRST_SENT_US, FLAGS, NEXT, ROW_APP_LIMITED, ROW_CUT, ROW_LOST, ROW_REPEATED, ROW_SACKED, START, XMIT_US,
  dropFirst, markSacked, mayCut, rowAt, sentAfter, splitRow, trimFirst,
} from './sent-segments.ts';
import { PROBE_REPEATED } from './tcb.ts';
import type { Tcb } from './tcb.ts';

class AckNews implements RateSample {
  acked = 0;
  lost = 0;
  priorPipe = 0;
  delivered = 0;
  intervalUs = 0;
  priorDelivered = 0;
  appLimited = false;
  rttUs = 0;

  /** Bytes newly SACKed, of `acked`. */
  sacked = 0;
  /** It has a D-SACK block, and where that ends. */
  dsack = false;
  dsackOfProbe = false;
  dsackRight = 0 as Seq;
  /** A row arrived that was sent once only, and before the repair began: not all that was thought lost is lost (RFC 5682). */
  original = false;
  /** A row was acknowledged, not SACKed, that was sent more than once. */
  repeated = false;

  /** RACK.fack before it: one acknowledgment can tell of much, and has no order in it. */
  priorFack = 0 as Seq;
  /** The newest row that arrived: when it was sent, and what was known then. */
  newest = false;
  newestUs = 0;
  newestEnd = 0 as Seq;
  sendElapsedUs = 0;
  priorUs = 0;
}

export const news = new AckNews();

/** An acknowledgment is about to be looked at. */
export function beginAck(tcb: Tcb): void {
  news.acked = 0;
  news.lost = 0;
  news.priorPipe = tcb.pipe;
  news.priorFack = tcb.rackFack;
  news.rttUs = 0;
  news.sacked = 0;
  news.dsack = false;
  news.dsackOfProbe = false;
  news.original = false;
  news.repeated = false;
  news.newest = false;
  news.intervalUs = 0;
  news.delivered = 0;
  news.priorDelivered = -1;
  news.appLimited = false;
  tcb.lastRttUs = 0;
}

/** `bytes` of the row have arrived, which end at `end`. */
function arrived(tcb: Tcb, words: Int32Array, at: number, bytes: number, end: Seq, segment: Segment, bySack: boolean): void {
  const flags = words[at + FLAGS]!;
  const sentUs = words[at + XMIT_US]!;
  tcb.delivered += bytes;
  tcb.deliveredAtUs = segment.timeUs;
  news.acked += bytes;
  let rttUs = (segment.timeUs - sentUs) | 0;
  if (rttUs < 1) rttUs = 1;
  const repeated = (flags & ROW_REPEATED) !== 0;
  if (!repeated) {
    if (news.rttUs === 0 || rttUs < news.rttUs) news.rttUs = rttUs;
    if (seqLeq(end, tcb.recover)) news.original = true;
    // RFC 8985 6.2, step 3: it arrived after something of a higher number, which an earlier acknowledgment has told.
    if (seqLt(end, news.priorFack)) {
      if (!tcb.reorderingSeen) tcb.home.counters.ReorderingSeen++;
      tcb.reorderingSeen = true;
    }
  } else {
    news.repeated = true;
    // Step 2: the original's acknowledgment says nothing of when the retransmission arrived. The echoed timestamp tells;
    // but not in a SACK: it is that of what came in order last (RFC 7323 4.3). Then haste does.
    if (tcb.timestamps && segment.tsEcr !== 0 && !bySack) {
      const sentTs = (tcb.home.nowMs + tcb.tsOffset - Math.floor(((tcb.home.nowUs - sentUs) | 0) / 1000)) | 0;
      if (((segment.tsEcr - sentTs) | 0) < -1) return;
    } else if (rttUs < tcb.minRttUs - (tcb.minRttUs >> 3)) {
      return;
    }
  }
  if (seqGt(end, tcb.rackFack)) tcb.rackFack = end;
  if (!news.newest || sentAfter(sentUs, end, news.newestUs, news.newestEnd)) {
    news.newest = true;
    news.newestUs = sentUs;
    news.newestEnd = end;
    news.priorDelivered = words[at + DELIVERED]!;
    news.priorUs = words[at + DELIVERED_US]!;
    news.sendElapsedUs = (sentUs - words[at + FIRST_SENT_US]!) | 0;
    news.appLimited = (flags & ROW_APP_LIMITED) !== 0;
    tcb.firstSentUs = sentUs;
  }
  if (tcb.rackRttUs === 0 || sentAfter(sentUs, end, tcb.rackXmitUs, tcb.rackEnd)) {
    tcb.rackXmitUs = sentUs;
    tcb.rackEnd = end;
    tcb.rackRttUs = rttUs;
    tcb.rackRepeated = repeated;
  }
}

/** SEG.ACK is new: the rows below it have arrived, if SACK had not told so before. SND.UNA has not moved yet. */
export function takeAck(tcb: Tcb, segment: Segment): void {
  const words = tcb.home.sent.words;
  const ack = segment.ack;
  for (;;) {
    const at = tcb.sentFirst;
    if (at < 0) break;
    const start = words[at + START]! as Seq;
    const end = words[at + END]! as Seq;
    if (seqGt(end, ack)) {
      if (seqGt(ack, start)) {
        if ((words[at + FLAGS]! & ROW_SACKED) === 0) arrived(tcb, words, at, seqDiff(ack, start), ack, segment, false);
        trimFirst(tcb, ack);
      }
      break;
    }
    if ((words[at + FLAGS]! & ROW_SACKED) === 0) arrived(tcb, words, at, seqDiff(end, start), end, segment, false);
    if (at === tcb.lostHint) tcb.lostHint = -1;
    dropFirst(tcb);
  }
}

/** Takes the segment's SACK blocks. SND.UNA has not moved yet. */
export function takeSacks(tcb: Tcb, segment: Segment): void {
  const counters = tcb.home.counters;
  const { sack, sackCount } = segment;
  let first = 0;
  if (isDsack(tcb, segment)) {
    first = 1;
    counters.DsackIn++;
    noteDsack(tcb, sack[0]! as Seq, sack[1]! as Seq);
  }
  let from = -1;
  for (let i = first; i < sackCount; i++) {
    const left = sack[i * 2]! as Seq;
    const right = sack[i * 2 + 1]! as Seq;
    counters.SackBlocksIn++;
    // Old news, of an ACK that was overtaken; beyond SND.NXT, or empty, it is a lie.
    if (seqLeq(right, tcb.sndUna) || seqLeq(right, segment.ack)) continue;
    if (!seqLt(left, right) || seqGt(right, tcb.sndNxt) || seqLt(left, tcb.sndUna)) {
      counters.SackBlocksBad++;
      continue;
    }
    from = takeBlock(tcb, left, right, from, segment);
  }
}

/** Marks the rows in `[left, right)`. Returns the last of them, from where the next block may be looked for. */
function takeBlock(tcb: Tcb, left: Seq, right: Seq, from: number, segment: Segment): number {
  let at = rowAt(tcb, left, from);
  let last = from;
  while (at >= 0) {
    let words = tcb.home.sent.words;
    const start = words[at + START]! as Seq;
    if (seqGeq(start, right)) break;
    let end = words[at + END]! as Seq;
    if ((words[at + FLAGS]! & ROW_SACKED) !== 0) {
      last = at;
      at = words[at + NEXT]!;
      continue;
    }
    if (seqLt(start, left)) {
      at = cut(tcb, at, left);
      if (at < 0) return last;
      continue;
    }
    if (seqGt(end, right)) {
      if (cut(tcb, at, right) < 0) return last;
      end = right;
      words = tcb.home.sent.words;
    }
    if ((words[at + FLAGS]! & ROW_LOST) !== 0 && at === tcb.lostHint) tcb.lostHint = -1;
    const bytes = seqDiff(end, start);
    arrived(tcb, words, at, bytes, end, segment, true);
    news.sacked += bytes;
    // Rows are swallowed here, perhaps the hint's, which is lost, not SACKed: never that one.
    last = markSacked(tcb, at);
    at = tcb.home.sent.words[last + NEXT]!;
  }
  return last;
}

/** Splits the row at `seq`, within bounds: who SACKs crumbs gets no scoreboard of crumbs. Returns the second part, or -1. */
function cut(tcb: Tcb, at: number, seq: Seq): number {
  if (!mayCut(tcb)) {
    tcb.home.counters.SackBlocksBad++;
    return -1;
  }
  const second = splitRow(tcb, at, seq);
  if (second < 0) return -1;
  tcb.splits++;
  const { words } = tcb.home.sent;
  words[second + FLAGS] = words[second + FLAGS]! | ROW_CUT;
  return second;
}

/** RFC 2883 section 4: the first block lies below SEG.ACK, or inside the second block. */
function isDsack(tcb: Tcb, segment: Segment): boolean {
  const { sack } = segment;
  const left = sack[0]! as Seq;
  const right = sack[1]! as Seq;
  if (!seqLt(left, right) || seqGt(right, tcb.sndNxt)) return false;
  if (seqLeq(right, segment.ack)) return true;
  return segment.sackCount > 1 && seqGeq(left, sack[2]! as Seq) && seqLeq(right, sack[3]! as Seq);
}

/** `[left, right)` arrived twice. If we have sent it twice, that was once too often (undo.ts). */
function noteDsack(tcb: Tcb, left: Seq, right: Seq): void {
  news.dsack = true;
  news.dsackRight = right;
  // That of a tail probe, or what was sent since, has nothing to do with the repair.
  if (tcb.probe === PROBE_REPEATED && right === tcb.probeEnd) {
    news.dsackOfProbe = true;
  } else if (tcb.undoable && tcb.undoBytes > 0 && seqGeq(left, tcb.undoSeq) && seqLeq(right, tcb.recover)) {
    tcb.undoBytes = Math.max(tcb.undoBytes - seqDiff(right, left), 0);
  }
}

/** All rows are accounted for: the round trip and the rate that they show. */
export function endAck(tcb: Tcb): void {
  tcb.lastRttUs = news.rttUs;
  if (tcb.appLimited > 0 && tcb.delivered > tcb.appLimited) tcb.appLimited = 0;
  if (!news.newest) return;
  const ackElapsedUs = (tcb.deliveredAtUs - news.priorUs) | 0;
  // Rows have 32 bits of it.
  news.delivered = (tcb.delivered - news.priorDelivered) | 0;
  news.priorDelivered = tcb.delivered - news.delivered;
  news.intervalUs = Math.max(news.sendElapsedUs, ackElapsedUs);
  // Faster than the least round trip nothing can be known (section 3.3, 4.1.2).
  if (news.intervalUs < tcb.minRttUs) news.intervalUs = 0;
}
