/**
 * What has been sent and is not acknowledged: for each connection a list of **rows**, in the order of sequence
 * numbers, without gaps from SND.UNA to SND.NXT. A row is a range whose bytes have one fate: sent at one time, and
 * since then SACKed, lost, sent again, or none of it. It is the scoreboard of RFC 6675 and the per-segment state of
 * RFC 8985 in one.
 *
 *       SND.UNA                                                          SND.NXT
 *          |  lost,     |  SACKed    |  lost     |  SACKed |  in flight     |
 *          |  sent again|            |           |         |                |
 *     time:   5              .            .           .       3 -> 4
 *
 * Rows in flight are in a second list, in the order in which they were sent (last): RACK looks at it from its old end,
 * and stops at the first row that is too young to be lost. SACKed neighbours become one row, and so does what is sent
 * in one turn, so that there are few rows whatever the size of segments.
 *
 * All connections of a home share one slab of rows; a connection with nothing in flight has none. The slab is bounded
 * (`full`): then nothing new is sent until acknowledgments bring rows back.
 */

import { seqDiff, seqGt, seqLeq } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import type { Tcb } from './tcb.ts';

/** Words of a row: sequence numbers; when it was sent last, int32 µs; `ROW_…` bits. */
export const START = 0;
export const END = 1;
export const XMIT_US = 2;
export const FLAGS = 3;
/** Delivery rate: C.delivered, C.delivered_time and C.first_sent_time when it was sent last. */
export const DELIVERED = 4;
export const DELIVERED_US = 5;
export const FIRST_SENT_US = 6;
/** Neighbours by sequence number, and by the time of sending; -1: none. */
export const NEXT = 7;
const PREVIOUS = 8;
export const LATER = 9;
const EARLIER = 10;
const STRIDE = 12;

export const ROW_SACKED = 1;
/** Thought lost. Stays while a retransmission is in flight. */
export const ROW_LOST = 2;
/** A retransmission is in flight. */
export const ROW_AGAIN = 4;
/** Was sent more than once: says nothing of the round trip (Karn). */
export const ROW_REPEATED = 8;
export const ROW_APP_LIMITED = 16;
/** The second part of a row that a peer's SACK has cut: counted in `splits`. */
export const ROW_CUT = 32;

const FIRST_ROWS = 64;
/** Rows in all; 48 MiB. A row is a whole turn's output, or a hole between SACKed ranges. */
const MOST_ROWS = 1 << 20;
/** Rows of one connection, beyond which new data lengthens the last. */
const MOST_OF_ONE = 4096;
/** Rows that peers may make out of one connection's by SACKing parts of them. */
const MOST_SPLIT = 4096;

export class SentSegments {
  words = new Int32Array(FIRST_ROWS * STRIDE);
  /** Rows in use. */
  used = 0;
  readonly #most: number;
  /** Offset of the first free row, linked by NEXT; -1: none. */
  #free = -1;
  /** Offset of the first row that was never used. */
  #fresh = 0;

  constructor(most = MOST_ROWS) {
    this.#most = most;
  }

  get full(): boolean {
    return this.used >= this.#most;
  }

  /** Half of the rows are in use: the rest is for what is sent, not for what peers cut up. */
  get crowded(): boolean {
    return this.used >= this.#most >> 1;
  }

  /** The offset of a row whose words are undefined, or -1. Invalidates `words` that were taken before. */
  take(): number {
    const at = this.#free;
    if (at >= 0) {
      this.#free = this.words[at + NEXT]!;
      this.used++;
      return at;
    }
    if (this.used >= this.#most) return -1;
    if (this.#fresh === this.words.length) {
      const grown = new Int32Array(Math.min(this.words.length * 2, this.#most * STRIDE));
      grown.set(this.words);
      this.words = grown;
    }
    const fresh = this.#fresh;
    this.#fresh += STRIDE;
    this.used++;
    return fresh;
  }

  giveBack(at: number): void {
    this.words[at + NEXT] = this.#free;
    this.#free = at;
    this.used--;
  }
}

// ---------------------------------------------------------------------------------- the list by time

function appendXmit(tcb: Tcb, words: Int32Array, at: number): void {
  words[at + EARLIER] = tcb.xmitLast;
  words[at + LATER] = -1;
  if (tcb.xmitLast >= 0) words[tcb.xmitLast + LATER] = at;
  else tcb.xmitFirst = at;
  tcb.xmitLast = at;
}

function removeXmit(tcb: Tcb, words: Int32Array, at: number): void {
  const earlier = words[at + EARLIER]!;
  const later = words[at + LATER]!;
  if (earlier >= 0) words[earlier + LATER] = later;
  else tcb.xmitFirst = later;
  if (later >= 0) words[later + EARLIER] = earlier;
  else tcb.xmitLast = earlier;
}

/** Whether a row with these flags is in the network, and so in the list by time. */
export function isInFlight(flags: number): boolean {
  return (flags & ROW_SACKED) === 0 && (flags & (ROW_LOST | ROW_AGAIN)) !== ROW_LOST;
}

// ------------------------------------------------------------------------------------------- sending

/** `[start, end)` has just been sent for the first time; `start` was SND.NXT. There was room (`SentSegments.full`). */
export function noteSent(tcb: Tcb, start: Seq, end: Seq): void {
  const home = tcb.home;
  const sent = home.sent;
  const nowUs = home.nowUs;
  const last = tcb.sentLast;
  if (last >= 0 && last === tcb.xmitLast) {
    const words = sent.words;
    if (words[last + XMIT_US] === nowUs && (words[last + FLAGS]! & ~ROW_APP_LIMITED) === 0) {
      words[last + END] = end;
      return;
    }
  }
  if (tcb.rows >= MOST_OF_ONE && last >= 0 && last === tcb.xmitLast) {
    const words = sent.words;
    if ((words[last + FLAGS]! & ~ROW_APP_LIMITED) === 0) {
      // Small segments by the thousand, at the pace of a peer who asks for them: they are all as young as the last.
      words[last + END] = end;
      words[last + XMIT_US] = nowUs;
      return;
    }
  }
  if (tcb.sentFirst < 0) {
    // What arrived last may have been sent so long ago that it seems to lie in the future.
    tcb.rackXmitUs = nowUs;
    tcb.rackEnd = start;
    // Nothing was in flight: a new interval of delivery begins.
    tcb.firstSentUs = nowUs;
    tcb.deliveredAtUs = nowUs;
  }
  const at = sent.take();
  if (at < 0) {
    // It was full all the same: the last row takes it along, with a time that is too early for it.
    if (last >= 0) sent.words[last + END] = end;
    return;
  }
  tcb.rows++;
  const words = sent.words;
  words[at + START] = start;
  words[at + END] = end;
  words[at + FLAGS] = 0;
  words[at + NEXT] = -1;
  words[at + PREVIOUS] = last;
  if (last >= 0) words[last + NEXT] = at;
  else tcb.sentFirst = at;
  tcb.sentLast = at;
  stamp(tcb, words, at, nowUs);
  appendXmit(tcb, words, at);
}

/** The row is sent now: remembers what the delivery rate will be measured from. */
function stamp(tcb: Tcb, words: Int32Array, at: number, nowUs: number): void {
  words[at + XMIT_US] = nowUs;
  words[at + DELIVERED] = tcb.delivered;
  words[at + DELIVERED_US] = tcb.deliveredAtUs;
  words[at + FIRST_SENT_US] = tcb.firstSentUs;
  if (tcb.appLimited > 0) words[at + FLAGS] = words[at + FLAGS]! | ROW_APP_LIMITED;
  else words[at + FLAGS] = words[at + FLAGS]! & ~ROW_APP_LIMITED;
}

/** The row has just been sent again: because it is lost, or only to probe. */
export function noteSentAgain(tcb: Tcb, at: number, lost: boolean): void {
  const words = tcb.home.sent.words;
  const flags = words[at + FLAGS]!;
  if (isInFlight(flags)) removeXmit(tcb, words, at);
  if (lost && (flags & ROW_AGAIN) === 0) tcb.rtxBytes += seqDiff(words[at + END]! as Seq, words[at + START]! as Seq);
  words[at + FLAGS] = flags | ROW_REPEATED | (lost ? ROW_AGAIN : 0);
  stamp(tcb, words, at, tcb.home.nowUs);
  appendXmit(tcb, words, at);
}

/**
 * Cuts the row in two at `seq`, which lies inside. Returns the new second part, which has all that the first has, or
 * -1 when there are too many rows.
 */
export function splitRow(tcb: Tcb, at: number, seq: Seq): number {
  const sent = tcb.home.sent;
  const second = sent.take();
  if (second < 0) return -1;
  tcb.rows++;
  const words = sent.words;
  for (let i = XMIT_US; i < NEXT; i++) words[second + i] = words[at + i]!;
  words[second + FLAGS] = words[second + FLAGS]! & ~ROW_CUT;
  words[second + START] = seq;
  words[second + END] = words[at + END]!;
  words[at + END] = seq;
  const next = words[at + NEXT]!;
  words[second + NEXT] = next;
  words[second + PREVIOUS] = at;
  words[at + NEXT] = second;
  if (next >= 0) words[next + PREVIOUS] = second;
  else tcb.sentLast = second;
  if (isInFlight(words[at + FLAGS]!)) {
    const later = words[at + LATER]!;
    words[second + EARLIER] = at;
    words[second + LATER] = later;
    words[at + LATER] = second;
    if (later >= 0) words[later + EARLIER] = second;
    else tcb.xmitLast = second;
  }
  return second;
}

// --------------------------------------------------------------------------------------------- fates

/** The row was SACKed. It is in flight no more; a SACKed neighbour and it become one. Returns the row that it is now. */
export function markSacked(tcb: Tcb, at: number): number {
  const words = tcb.home.sent.words;
  const flags = words[at + FLAGS]!;
  const bytes = seqDiff(words[at + END]! as Seq, words[at + START]! as Seq);
  if (isInFlight(flags)) removeXmit(tcb, words, at);
  if ((flags & ROW_LOST) !== 0) tcb.lostBytes -= bytes;
  if ((flags & ROW_AGAIN) !== 0) tcb.rtxBytes -= bytes;
  words[at + FLAGS] = flags & (ROW_REPEATED | ROW_CUT) | ROW_SACKED;
  tcb.sackedBytes += bytes;
  const previous = words[at + PREVIOUS]!;
  if (previous >= 0 && (words[previous + FLAGS]! & ROW_SACKED) !== 0) {
    swallowNext(tcb, words, previous);
    at = previous;
  }
  const next = words[at + NEXT]!;
  if (next >= 0 && (words[next + FLAGS]! & ROW_SACKED) !== 0) swallowNext(tcb, words, at);
  return at;
}

/** The row and the next, both SACKed, become one. */
function swallowNext(tcb: Tcb, words: Int32Array, at: number): void {
  const next = words[at + NEXT]!;
  const after = words[next + NEXT]!;
  words[at + END] = words[next + END]!;
  words[at + NEXT] = after;
  if (after >= 0) words[after + PREVIOUS] = at;
  else tcb.sentLast = at;
  if ((words[next + FLAGS]! & ROW_CUT) !== 0) tcb.splits--;
  tcb.rows--;
  tcb.home.sent.giveBack(next);
}

/** The row in flight is thought lost. */
export function markLost(tcb: Tcb, at: number): void {
  const words = tcb.home.sent.words;
  const flags = words[at + FLAGS]!;
  if (!isInFlight(flags)) return;
  const bytes = seqDiff(words[at + END]! as Seq, words[at + START]! as Seq);
  removeXmit(tcb, words, at);
  if ((flags & ROW_LOST) === 0) tcb.lostBytes += bytes;
  if ((flags & ROW_AGAIN) !== 0) tcb.rtxBytes -= bytes;
  words[at + FLAGS] = (flags | ROW_LOST) & ~ROW_AGAIN;
}

/** Nothing is lost after all: what was thought so is in flight, as long as nothing says otherwise. */
export function unmarkLost(tcb: Tcb): void {
  const words = tcb.home.sent.words;
  for (let at = tcb.sentFirst; at >= 0; at = words[at + NEXT]!) {
    const flags = words[at + FLAGS]!;
    if ((flags & ROW_LOST) === 0) continue;
    if ((flags & ROW_AGAIN) === 0) putBackXmit(tcb, words, at);
    words[at + FLAGS] = flags & ~(ROW_LOST | ROW_AGAIN);
  }
  tcb.lostBytes = 0;
  tcb.rtxBytes = 0;
  tcb.lostHint = -1;
}

/** What the peer has SACKed it has thrown away again (RFC 2018 section 8): in flight, sent when it was sent. */
export function forgetSacks(tcb: Tcb): void {
  const words = tcb.home.sent.words;
  for (let at = tcb.sentFirst; at >= 0; at = words[at + NEXT]!) {
    const flags = words[at + FLAGS]!;
    if ((flags & ROW_SACKED) === 0) continue;
    words[at + FLAGS] = flags & ~ROW_SACKED | ROW_REPEATED;
    putBackXmit(tcb, words, at);
  }
  tcb.sackedBytes = 0;
}

/** Where its time of sending belongs. */
function putBackXmit(tcb: Tcb, words: Int32Array, at: number): void {
  const us = words[at + XMIT_US]!;
  const end = words[at + END]! as Seq;
  let earlier = tcb.xmitLast;
  while (earlier >= 0 && sentAfter(words[earlier + XMIT_US]!, words[earlier + END]! as Seq, us, end)) earlier = words[earlier + EARLIER]!;
  const later = earlier >= 0 ? words[earlier + LATER]! : tcb.xmitFirst;
  words[at + EARLIER] = earlier;
  words[at + LATER] = later;
  if (earlier >= 0) words[earlier + LATER] = at;
  else tcb.xmitFirst = at;
  if (later >= 0) words[later + EARLIER] = at;
  else tcb.xmitLast = at;
}

/** RACK_sent_after (RFC 8985 5.2): the first was sent after the second; at one time, the higher sequence number. */
export function sentAfter(us1: number, end1: Seq, us2: number, end2: Seq): boolean {
  const later = (us1 - us2) | 0;
  return later > 0 || later === 0 && seqGt(end1, end2);
}

// ---------------------------------------------------------------------------------------- forgetting

/** SND.UNA has passed the first row. It is gone, with all that was counted of it. */
export function dropFirst(tcb: Tcb): void {
  const sent = tcb.home.sent;
  const words = sent.words;
  const at = tcb.sentFirst;
  const flags = words[at + FLAGS]!;
  const bytes = seqDiff(words[at + END]! as Seq, words[at + START]! as Seq);
  if ((flags & ROW_SACKED) !== 0) tcb.sackedBytes -= bytes;
  else {
    if (isInFlight(flags)) removeXmit(tcb, words, at);
    if ((flags & ROW_LOST) !== 0) tcb.lostBytes -= bytes;
    if ((flags & ROW_AGAIN) !== 0) tcb.rtxBytes -= bytes;
  }
  const next = words[at + NEXT]!;
  tcb.sentFirst = next;
  if (next >= 0) words[next + PREVIOUS] = -1;
  else tcb.sentLast = -1;
  if ((flags & ROW_CUT) !== 0) tcb.splits--;
  tcb.rows--;
  sent.giveBack(at);
}

/** SND.UNA lies inside the first row: what is below is gone. */
export function trimFirst(tcb: Tcb, una: Seq): void {
  const words = tcb.home.sent.words;
  const at = tcb.sentFirst;
  const flags = words[at + FLAGS]!;
  const bytes = seqDiff(una, words[at + START]! as Seq);
  if ((flags & ROW_SACKED) !== 0) tcb.sackedBytes -= bytes;
  if ((flags & ROW_LOST) !== 0) tcb.lostBytes -= bytes;
  if ((flags & ROW_AGAIN) !== 0) tcb.rtxBytes -= bytes;
  words[at + START] = una;
}

/** The connection ends: all its rows go back. */
export function forgetSent(tcb: Tcb): void {
  while (tcb.sentFirst >= 0) dropFirst(tcb);
}

// ------------------------------------------------------------------------------------------- finding

/** The row that has `seq`, looked for from `from` on (-1: from the first). -1: there is none. */
export function rowAt(tcb: Tcb, seq: Seq, from: number): number {
  const words = tcb.home.sent.words;
  let at = from >= 0 && seqLeq(words[from + START]! as Seq, seq) ? from : tcb.sentFirst;
  while (at >= 0 && seqLeq(words[at + END]! as Seq, seq)) at = words[at + NEXT]!;
  return at >= 0 && seqLeq(words[at + START]! as Seq, seq) ? at : -1;
}

/** Whether a row may be cut because a peer SACKs a part of it. */
export function mayCut(tcb: Tcb): boolean {
  return tcb.splits < MOST_SPLIT && !tcb.home.sent.crowded;
}

/** The first lost row whose retransmission is not in flight, at or after `from` (-1: the first row), or -1. */
export function nextLost(tcb: Tcb, from: number): number {
  const words = tcb.home.sent.words;
  let at = from >= 0 ? from : tcb.sentFirst;
  while (at >= 0 && (words[at + FLAGS]! & (ROW_LOST | ROW_AGAIN)) !== ROW_LOST) at = words[at + NEXT]!;
  return at;
}

/** Whether SND.UNA itself is SACKed, which means that the peer has thrown away what it had (RFC 2018 section 8). */
export function isUnaSacked(tcb: Tcb): boolean {
  const at = tcb.sentFirst;
  return at >= 0 && (tcb.home.sent.words[at + FLAGS]! & ROW_SACKED) !== 0;
}

