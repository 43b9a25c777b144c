/** Data leaves: for the first time, or again. What every path that sends data has to note is noted here. */

import { seqAdd, seqDiff, seqGt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { ACK, FIN, PSH } from '../wire/tcp.ts';
import { countRetransmission, emit } from './emit.ts';
import { spendCredit } from './pacing.ts';
import { noteSent } from './sent-segments.ts';
import type { Tcb } from './tcb.ts';
import { armLossProbe, armRetransmit } from './timers.ts';

/**
 * Sends the next `length` bytes of what is queued, and the FIN behind them if `fin`; `push`: with PSH in any case. Returns false when the transmit
 * queue is full, or too much is unacknowledged in all; nothing has happened then.
 */
export function sendNext(tcb: Tcb, length: number, fin: boolean, push = false): boolean {
  const home = tcb.home;
  if (home.sent.full) {
    home.counters.FlightRowsFull++;
    return false;
  }
  const start = tcb.sndNxt;
  const next = seqAdd(start, length);
  // Nothing more is there (RFC 9293 3.9.1.2).
  if (length > 0 && next === tcb.sndEnd) push = true;
  if (!emit(tcb, start, ACK | (push ? PSH : 0) | (fin ? FIN : 0), length)) return false;
  if (length % tcb.sndMss !== 0) {
    tcb.sndSmall = next;
  } else if (tcb.fullMss !== tcb.sndMss) {
    tcb.fullMss = tcb.sndMss;
    tcb.fullEnd = tcb.bytesSent + length;
  }
  if (!tcb.timing) {
    tcb.timing = true;
    tcb.timedSeq = next;
    tcb.timedUs = home.nowUs;
  }
  if (start === tcb.sndUna) tcb.unackedSinceMs = home.nowMs;
  const end = fin ? seqAdd(next, 1) : next;
  noteSent(tcb, start, end);
  tcb.sndNxt = end;
  if (fin) tcb.finSent = true;
  tcb.bytesSent += length;
  tcb.prrOut += length;
  tcb.persistAt = 0;
  spendCredit(tcb, length);
  if (tcb.rexmtAt === 0) armRetransmit(tcb);
  armLossProbe(tcb);
  return true;
}

/** Sends `length` of sequence space again, which may include the FIN. The rows are the caller's business. */
export function sendAgain(tcb: Tcb, seq: Seq, length: number): boolean {
  const right = seqAdd(seq, length);
  const fin = tcb.finSent && seqGt(right, tcb.sndEnd);
  const bytes = fin ? length - 1 : length;
  if (!emit(tcb, seq, ACK | (right === tcb.sndNxt || fin ? PSH : 0) | (fin ? FIN : 0), bytes)) return false;
  countRetransmission(tcb, bytes);
  tcb.prrOut += length;
  spendCredit(tcb, length);
  // The oldest begins its time anew (RFC 6675 section 6).
  if (tcb.rexmtAt === 0 || seq === tcb.sndUna) armRetransmit(tcb);
  return true;
}

/** Bytes queued and never sent. */
export function unsent(tcb: Tcb): number {
  return Math.max(seqDiff(tcb.sndEnd, tcb.sndNxt), 0);
}

/** Bytes that the peer's window has room for. */
export function windowRoom(tcb: Tcb): number {
  return seqDiff(seqAdd(tcb.sndUna, tcb.sndWnd), tcb.sndNxt);
}
