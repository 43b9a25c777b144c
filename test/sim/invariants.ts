/**
 * What must hold of every connection whenever the stack is at rest (RFC 9293 3.3.1 and 3.4, RFC 6675
 * section 4, RFC 6298 section 5, RFC 2018): to be asked between any two events of a simulation.
 *
 * Two kinds: what can be seen in one TCB (order of sequence numbers, counts that agree with a recount,
 * timers that are armed when something depends on them), and what must not change the wrong way from one
 * look to the next (sndUna, sndNxt, rcvNxt and the window's right edge never move back).
 */

import { earliest } from '../../lib/tcp/timers.ts';
import { CLOSED, CLOSE_WAIT, ESTABLISHED, LISTEN, STATE_NAMES, SYN_RECEIVED, SYN_SENT, TIME_WAIT } from '../../lib/tcp/states.ts';
import {
  END, FLAGS, LATER, NEXT, ROW_AGAIN, ROW_LOST, ROW_SACKED, START, XMIT_US, isInFlight,
} from '../../lib/tcp/sent-segments.ts';
import { RECOVERY_OPEN } from '../../lib/tcp/tcb.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import type { PacketMemory } from '../../lib/buffer/packet-memory.ts';
import type { Clock } from '../../lib/clock.ts';
import type { TcpHost } from '../../lib/home/tcp-host.ts';
import { seqDiff, seqGeq, seqLeq, seqLt, seqMin } from '../../lib/wire/seq.ts';
import type { Seq } from '../../lib/wire/seq.ts';

/** A deadline may be overdue by this much: alarms of one instant fire one after the other. */
const OVERDUE_MS = 2;
/** lib/stack.ts, lib/tcpu/tcpu.ts: what TCP's millisecond clock begins with. */
const MS_EPOCH = 1_000_000;

/** Something that must always hold does not. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

class Seen {
  sndUna = 0 as Seq;
  sndNxt = 0 as Seq;
  rcvNxt = 0 as Seq;
  rcvAdv = 0 as Seq;
  bytesReceived = 0;
  /** Round of the checker in which the TCB was last there. */
  round = 0;
}

/** What is checked: a stack with its own TCP, or an application with its. */
export interface Checked {
  readonly memory: PacketMemory;
  readonly tcp: TcpHost;
  readonly clock: Clock;
}

/** Checks one home of TCP again and again. */
export class Invariants {
  /** TCBs looked at. */
  checks = 0;
  readonly #stack: Checked;
  readonly #name: string;
  readonly #seen = new Map<Tcb, Seen>();
  #round = 0;

  constructor(stack: Checked, name: string) {
    this.#stack = stack;
    this.#name = name;
  }

  /** Throws InvariantError at the first thing that is wrong. The stack must be at rest. */
  check(): void {
    const { memory, tcp } = this.#stack;
    const round = ++this.#round;
    if (memory.freeBlocks < 0 || memory.freeBlocks > memory.blockCount) throw new InvariantError(`${this.#name}: ${memory.freeBlocks} free blocks`);
    let connections = 0;
    tcp.forEach((tcb) => {
      connections++;
      this.#checkTcb(tcb, round);
    });
    if (connections !== tcp.connections) throw new InvariantError(`${this.#name}: ${tcp.connections} connections counted, ${connections} there`);
    if (this.#seen.size > connections) {
      for (const [tcb, seen] of this.#seen) if (seen.round !== round) this.#seen.delete(tcb);
    }
  }

  #checkTcb(tcb: Tcb, round: number): void {
    this.checks++;
    const state = tcb.state;
    const bad = (what: string): never => {
      throw new InvariantError(`${this.#name} port ${tcb.localPort} ${STATE_NAMES[state]!}: ${what}`);
    };
    if (state === CLOSED || state === LISTEN || state === TIME_WAIT) bad('in the table of connections');
    if (tcb.entry < 0) bad('no entry in the connection table');

    // Send sequence space.
    if (!seqLeq(tcb.sndUna, tcb.sndNxt)) bad(`sndUna is ${seqDiff(tcb.sndUna, tcb.sndNxt)} after sndNxt`);
    if (seqDiff(tcb.sndNxt, tcb.sndEnd) > (tcb.finSent ? 1 : 0)) bad(`sndNxt is ${seqDiff(tcb.sndNxt, tcb.sndEnd)} after sndEnd`);
    if (tcb.finSent && seqDiff(tcb.sndNxt, tcb.sndEnd) !== 1) bad('FIN sent, but sndNxt is not behind it');
    if (tcb.finSent && !tcb.finQueued) bad('FIN sent that was never queued');
    if (tcb.sndWnd < 0) bad(`sndWnd ${tcb.sndWnd}`);
    const flight = seqDiff(tcb.sndNxt, tcb.sndUna);
    if (state === SYN_SENT || state === SYN_RECEIVED) {
      if (flight !== 1) bad(`${flight} in flight`);
      if (tcb.rexmtAt === 0) bad('no retransmission timer');
    } else {
      this.#checkSending(tcb, flight, bad);
      this.#checkReceiving(tcb, bad);
    }

    // Timers: the wheel knows of the earliest, and it is not forgotten.
    const next = earliest(tcb);
    if (next !== 0) {
      if (tcb.wheelSlot < 0) bad('a deadline that the wheel does not know');
      if (((tcb.firesAt - next) | 0) > 0) bad(`the wheel fires ${(tcb.firesAt - next) | 0} ms after the earliest deadline`);
      const nowMs = (Math.floor(this.#stack.clock.nowUs() / 1000) + MS_EPOCH) | 0;
      const late = (nowMs - next) | 0;
      if (late > OVERDUE_MS) bad(`a deadline is overdue by ${late} ms (rexmt ${tcb.rexmtAt} persist ${tcb.persistAt} delack ${tcb.delackAt})`);
    }

    // From look to look.
    let seen = this.#seen.get(tcb);
    if (seen === undefined) {
      seen = new Seen();
      this.#seen.set(tcb, seen);
    } else {
      if (seqLt(tcb.sndUna, seen.sndUna)) bad(`sndUna went back by ${seqDiff(seen.sndUna, tcb.sndUna)}`);
      if (seqLt(tcb.sndNxt, seen.sndNxt)) bad(`sndNxt went back by ${seqDiff(seen.sndNxt, tcb.sndNxt)}`);
      if (state >= ESTABLISHED && seen.rcvAdv !== 0) {
        if (seqLt(tcb.rcvNxt, seen.rcvNxt)) bad(`rcvNxt went back by ${seqDiff(seen.rcvNxt, tcb.rcvNxt)}`);
        if (seqLt(tcb.rcvAdv, seen.rcvAdv)) bad(`the window shrank by ${seqDiff(seen.rcvAdv, tcb.rcvAdv)}`);
        if (tcb.bytesReceived < seen.bytesReceived) bad('bytesReceived went back');
      }
    }
    seen.sndUna = tcb.sndUna;
    seen.sndNxt = tcb.sndNxt;
    seen.rcvNxt = tcb.rcvNxt;
    seen.rcvAdv = tcb.rcvAdv;
    seen.bytesReceived = tcb.bytesReceived;
    seen.round = round;
  }

  #checkSending(tcb: Tcb, flight: number, bad: (what: string) => never): void {
    const { sndUna, sndNxt } = tcb;
    const base = seqMin(sndUna, tcb.sndEnd);
    if (tcb.sndBase !== base) bad(`the send buffer begins ${seqDiff(tcb.sndBase, base)} beside sndUna`);
    if (tcb.sndQueued < 0 || tcb.sndQueued > tcb.sndbufLimit) bad(`${tcb.sndQueued} queued, limit ${tcb.sndbufLimit}`);
    if (tcb.sndMss < 8) bad(`sndMss ${tcb.sndMss}`);
    if (tcb.cwnd < tcb.sndMss) bad(`cwnd ${tcb.cwnd} is less than a segment of ${tcb.sndMss}`);
    if (tcb.ssthresh <= 0) bad(`ssthresh ${tcb.ssthresh}`);

    this.#checkRows(tcb, flight, bad);
    if (tcb.renoSacked < 0 || tcb.renoSacked > flight || tcb.renoSacked > 0 && tcb.sack) bad(`renoSacked ${tcb.renoSacked}, ${flight} in flight`);
    if (tcb.pipe < 0) bad(`pipe ${tcb.pipe}: flight ${flight} sacked ${tcb.sackedBytes} reno ${tcb.renoSacked} lost ${tcb.lostBytes} again ${tcb.rtxBytes}`);

    // Whatever waits, waits for something that will come.
    if (flight > 0 && tcb.rexmtAt === 0) bad(`${flight} in flight and no retransmission timer`);
    if (flight === 0 && tcb.rexmtAt !== 0) bad('a retransmission timer and nothing in flight');
    const waiting = seqDiff(tcb.sndEnd, sndNxt) > 0 || tcb.finQueued && !tcb.finSent;
    if (waiting && flight === 0 && tcb.persistAt === 0 && tcb.paceAt === 0 && !tcb.pending) {
      bad(`${seqDiff(tcb.sndEnd, sndNxt)} to send, sndWnd ${tcb.sndWnd}, cwnd ${tcb.cwnd}, and nothing will set it off`);
    }
  }

  /** What is in flight: rows from SND.UNA to SND.NXT without gaps, the counts of them, and their order in time. */
  #checkRows(tcb: Tcb, flight: number, bad: (what: string) => never): void {
    const { words } = tcb.home.sent;
    let sacked = 0;
    let lost = 0;
    let again = 0;
    let inFlight = 0;
    let edge = tcb.sndUna;
    let before = 0;
    let last = -1;
    for (let at = tcb.sentFirst; at >= 0; at = words[at + NEXT]!) {
      const start = words[at + START]! as Seq;
      const end = words[at + END]! as Seq;
      const flags = words[at + FLAGS]!;
      if (start !== edge) bad(`a row begins at ${seqDiff(start, tcb.sndUna)}, the one before ended at ${seqDiff(edge, tcb.sndUna)}`);
      if (!seqLt(start, end)) bad('an empty row');
      const bytes = seqDiff(end, start);
      if ((flags & ROW_SACKED) !== 0) {
        if ((flags & (ROW_LOST | ROW_AGAIN)) !== 0) bad('SACKed and lost');
        if ((before & ROW_SACKED) !== 0) bad('two SACKed rows side by side');
        sacked += bytes;
      }
      if ((flags & ROW_LOST) !== 0) lost += bytes;
      if ((flags & ROW_AGAIN) !== 0) again += bytes;
      if (isInFlight(flags)) inFlight++;
      if ((flags & (ROW_LOST | ROW_AGAIN)) === ROW_AGAIN) bad('repaired, but not lost');
      before = flags;
      edge = end;
      last = at;
    }
    if (last !== tcb.sentLast) bad('the last row is another');
    if (edge !== (tcb.sentFirst < 0 ? tcb.sndUna : tcb.sndNxt)) bad(`rows end ${seqDiff(edge, tcb.sndNxt)} beside sndNxt`);
    if (tcb.sentFirst < 0 && flight > 0) bad(`${flight} in flight and no row`);
    if (sacked !== tcb.sackedBytes) bad(`sackedBytes ${tcb.sackedBytes}, recounted ${sacked}`);
    if (lost !== tcb.lostBytes) bad(`lostBytes ${tcb.lostBytes}, recounted ${lost}`);
    if (again !== tcb.rtxBytes) bad(`rtxBytes ${tcb.rtxBytes}, recounted ${again}`);
    if (tcb.recovery === RECOVERY_OPEN && lost !== 0) bad('something is lost, and nothing repairs it');
    let inTime = 0;
    for (let at = tcb.xmitFirst; at >= 0; at = words[at + LATER]!) {
      inTime++;
      if (!isInFlight(words[at + FLAGS]!)) bad('a row in the list by time that is not in flight');
      const later = words[at + LATER]!;
      if (later >= 0 && ((words[later + XMIT_US]! - words[at + XMIT_US]!) | 0) < 0) bad('the list by time is out of order');
      if (later < 0 && at !== tcb.xmitLast) bad('the last row by time is another');
    }
    if (inTime !== inFlight) bad(`${inTime} rows in the list by time, ${inFlight} in flight`);
  }

  #checkReceiving(tcb: Tcb, bad: (what: string) => never): void {
    if (tcb.rcvLent !== 0 && !tcb.pending) bad(`${tcb.rcvLent} bytes still lie in the receive slab`);
    if (!seqLeq(tcb.rcvNxt, tcb.rcvAdv)) bad(`rcvNxt is ${seqDiff(tcb.rcvNxt, tcb.rcvAdv)} beyond the window`);
    const fin = tcb.finReceived ? 1 : 0;
    if (!tcb.orphan && !tcb.rcvShutdown && seqDiff(tcb.rcvNxt, tcb.rcvRead) !== tcb.rcvStored + tcb.rcvLent + fin) {
      bad(`${seqDiff(tcb.rcvNxt, tcb.rcvRead)} between rcvRead and rcvNxt, ${tcb.rcvStored} stored`);
    }
    if (!tcb.orphan && seqDiff(tcb.rcvAdv, tcb.rcvRead) > Math.max(tcb.rcvbufLimit, 0) + fin) {
      bad(`${seqDiff(tcb.rcvAdv, tcb.rcvRead)} told, the buffer has ${tcb.rcvbufLimit}`);
    }
    let before = tcb.rcvNxt;
    for (let i = 0; i < tcb.oooCount; i++) {
      const left = tcb.ooo![i * 2]! as Seq;
      const right = tcb.ooo![i * 2 + 1]! as Seq;
      if (!seqLt(left, right)) bad(`out-of-order range ${i} is empty`);
      if (!seqLt(before, left)) bad(`out-of-order range ${i} touches what is before it`);
      before = right;
    }
    if (!seqLeq(before, tcb.rcvAdv)) bad(`out-of-order data ${seqDiff(before, tcb.rcvAdv)} beyond the window`);
    if (tcb.finReceived && tcb.oooCount > 0) bad('data beyond the FIN');
    if (tcb.finReceived && (tcb.state === ESTABLISHED) || !tcb.finReceived && tcb.state === CLOSE_WAIT) bad(`finReceived ${tcb.finReceived}`);
    if (tcb.rcvUnacked > 0 && tcb.delackAt === 0 && !tcb.ackNow && !tcb.pending) bad(`${tcb.rcvUnacked} received, and nothing will acknowledge them`);
    if (seqGeq(tcb.rcvNxt, tcb.lastAckSent) === false) bad('acknowledged what has not come');
  }
}
