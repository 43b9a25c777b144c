/**
 * Explicit congestion notification (RFC 3168 section 6.1; RFC 9293 SHLD-8): routers mark packets of an ECN-capable
 * transport instead of dropping them, the receiver echoes the mark, the sender slows down as for a loss, and nothing
 * has to be sent again.
 *
 *     sender                     router                     receiver
 *     ECT(0) in the IP header ──▶ queue is long: CE ──▶ marks: `ecnEcho`
 *     `enterCwr`: one reduction ◀── ECE in every ACK ──────────┘
 *     CWR with the next new data ──────────────────────────▶ `takeMarks`: no more ECE
 *
 * ECT(0) is set on new data only: not on SYNs, pure ACKs, retransmissions and window probes (6.1.1, 6.1.4 to 6.1.6).
 * RFC 8311 would allow experiments with more; none of them is here: no AccECN (RFC 9768), no ECN++, no L4S. A SYN that
 * offers AccECN is answered as one that offers RFC 3168's ECN, which it is meant to be.
 *
 * After Linux: ECN is not asked for but agreed to (tcp_ecn = 2); a SYN that is repeated does not ask again
 * (tcp_ecn_fallback, 6.1.1.1); the first mark is acknowledged at once.
 */

import type { Seq } from '../wire/seq.ts';
import { seqGeq, seqLeq } from '../wire/seq.ts';
import { ACK, CWR, ECE, RST } from '../wire/tcp.ts';
import type { Segment } from './segment.ts';
import { SYN_RECEIVED } from './states.ts';
import { RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';

/** `Tcb.ecn`: not agreed on; our SYN asks. */
export const ECN_OFF = 0;
export const ECN_ASKED = 1;
/** Marks are echoed, but nothing is sent as ECN-capable: one of our SYNs, or of the peer's, did not ask (6.1.1). */
export const ECN_ECHO = 2;
/** Agreed on. */
export const ECN_ON = 3;

/** Codepoints in the lower two bits of the traffic class (section 5). */
export const ECN_MASK = 3;
export const ECT_0 = 2;
export const CE = 3;

const SETUP = ECE | CWR;

/** What ECN begins with when a connection is opened actively. */
export function askForEcn(tcb: Tcb): void {
  tcb.ecn = tcb.home.config.ecn === 'on' ? ECN_ASKED : ECN_OFF;
}

/** What the peer's SYN or SYN-ACK says (6.1.1). `tcb.passive` has been set, and `tcb.iss`. */
export function takeEcnSyn(tcb: Tcb, segment: Segment): void {
  const flags = segment.flags & SETUP;
  tcb.ecnRecover = tcb.iss;
  if ((segment.flags & ACK) !== 0) {
    // ECE alone agrees: a host that only reflects what it does not know sends both back.
    if (tcb.ecn !== ECN_ASKED || flags !== ECE) tcb.ecn = ECN_OFF;
    else tcb.ecn = tcb.retries > 0 ? ECN_ECHO : ECN_ON;
  } else {
    // Of two SYNs that cross, both must ask.
    const willing = tcb.passive ? tcb.home.config.ecn !== 'off' : tcb.ecn === ECN_ASKED;
    tcb.ecn = willing && flags === SETUP ? ECN_ON : ECN_OFF;
  }
  if (tcb.ecn === ECN_ON) tcb.home.counters.EcnHandshakes++;
}

/** The peer's SYN came again: a peer that has given up asking may not be able to tell us of marks. */
export function takeEcnSynAgain(tcb: Tcb, segment: Segment): void {
  if (tcb.ecn === ECN_ON && (segment.flags & SETUP) !== SETUP) tcb.ecn = ECN_ECHO;
}

/** Flags of our SYN, or SYN-ACK. */
export function ecnSynFlags(tcb: Tcb): number {
  if (tcb.state === SYN_RECEIVED) return tcb.ecn === ECN_ON ? ECE : 0;
  if (tcb.ecn !== ECN_ASKED) return 0;
  if (tcb.retries === 0) return SETUP;
  // Something on the way may drop SYNs that ask (6.1.1.1).
  if (tcb.retries === 1) tcb.home.counters.EcnFallbacks++;
  return 0;
}

/**
 * Flags of a segment that is about to be built, `tcb.ecn` being `ECN_ECHO` or more; sets the ECN bits of `tcb.flow.tos`
 * for it, which `ecnSent` takes away again.
 */
export function ecnFlags(tcb: Tcb, seq: Seq, flags: number, length: number): number {
  if ((flags & RST) !== 0) return flags;
  if (tcb.ecnEcho) flags |= ECE;
  if (tcb.ecn === ECN_ON && length > 0 && seq === tcb.sndNxt) {
    tcb.flow.tos |= ECT_0;
    if (tcb.ecnCwr) flags |= CWR;
  }
  return flags;
}

/** The segment of `ecnFlags` has been queued with these flags, or (`flags` 0) could not be. */
export function ecnSent(tcb: Tcb, flags: number): void {
  tcb.flow.tos &= ~ECN_MASK;
  if ((flags & CWR) !== 0) tcb.ecnCwr = false;
}

/**
 * Data in the window has arrived, `tcb.ecn` being `ECN_ECHO` or more: CWR ends the echo, CE begins it (6.1.3, in this
 * order). What was merged on the way in (GRO) is marked as a whole.
 */
export function takeMarks(tcb: Tcb, segment: Segment): void {
  if ((segment.flags & CWR) !== 0) {
    tcb.ecnEcho = false;
    // The peer's window is small now: it waits for this.
    tcb.ackNow = true;
  }
  if ((segment.packet.tos & ECN_MASK) !== CE) return;
  tcb.home.counters.EcnMarksIn += segment.merged;
  if (!tcb.ecnEcho) tcb.ackNow = true;
  tcb.ecnEcho = true;
}

/**
 * An acceptable ACK has ECE, `tcb.ecn` being `ECN_ON`. Returns whether the window is to be reduced: once for each window
 * of data (6.1.2), since until what was sent after the last reduction is acknowledged, the peer may not have seen CWR.
 * While loss is being repaired the window has been reduced already.
 */
export function isNewEcho(tcb: Tcb, ack: Seq): boolean {
  if (tcb.recovery !== RECOVERY_OPEN || seqGeq(tcb.ecnRecover, ack) && seqLeq(tcb.ecnRecover, tcb.sndNxt)) return false;
  tcb.home.counters.EcnReductions++;
  return true;
}

/** The congestion window was reduced, whatever for: CWR goes with the next new data (6.1.2). */
export function queueCwr(tcb: Tcb): void {
  if (tcb.ecn !== ECN_ON) return;
  tcb.ecnCwr = true;
  tcb.ecnRecover = tcb.sndNxt;
}
