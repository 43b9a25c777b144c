/**
 * What the algorithms that count losses have in common about the congestion window: its bounds, the window to begin
 * and to go on with (RFC 6928, RFC 5681 4.1), slow start (RFC 5681 3.1, RFC 3465), and validation: a window that is not
 * used does not grow, and does not stay.
 *
 * Validation follows Linux (tcp_cwnd_validate, tcp_is_cwnd_limited), which has RFC 2861's decay and the idea of RFC 7661
 * that a window counts as used when a whole flight has used it, not only when the last segment did:
 *
 *     output: noteUsage()                    acknowledgment: windowMayGrow()
 *     cwnd stopped it? most in flight?  -->  yes: onAck(), the window grows
 *     neither for an RTO: cwnd comes half
 *     the way down to what was used
 *
 * RFC 7661 itself keeps an unused window for five minutes, and asks for pacing in return; windows that losses make
 * are not paced here, so they do not keep it.
 */

import { seqGeq } from '../../wire/seq.ts';
import type { Tcb } from '../tcb.ts';
import { RECOVERY_LOSS, RECOVERY_OPEN } from '../tcb.ts';

/** Largest congestion window: nothing can ever need more. */
export const MAX_CWND = 1 << 30;
/** ssthresh before anything is known of the path ("arbitrarily high", RFC 5681 3.1). */
export const NO_SSTHRESH = 0x7fffffff;

/** IW (RFC 6928): min(10 × MSS, max(2 × MSS, 14600)), for `segments` = 10. */
export function initialWindow(mss: number, segments: number): number {
  return Math.min(segments * mss, Math.max(2 * mss, segments * 1460));
}

/**
 * Slow start: one byte for each byte acknowledged, up to ssthresh, so that dividing ACKs gains nothing (RFC 3465). Its
 * limit L of two segments an ACK is Linux's and ours only where an ACK may stand for what left the network long ago:
 * after a timeout, without SACK (section 2.3, and there L = 1). Otherwise a peer that merges what it receives (GRO) may
 * acknowledge 64 KB with one ACK, and would be held to a fraction of its due.
 * Returns the acknowledged bytes that are left when ssthresh is reached.
 */
export function slowStart(tcb: Tcb, acked: number): number {
  if (tcb.recovery === RECOVERY_LOSS && !tcb.sack) acked = Math.min(acked, tcb.sndMss);
  const grow = Math.min(acked, tcb.ssthresh - tcb.cwnd);
  tcb.cwnd = Math.min(tcb.cwnd + grow, MAX_CWND);
  return acked - grow;
}

/**
 * Nothing was sent for an RTO: the restart window (RFC 5681 4.1). What the old one was is remembered in ssthresh, as far
 * as it has not been tried lately (RFC 2861 3.1, RFC 7661 4.4.3): slow start leads back to most of it.
 */
export function restartWindow(tcb: Tcb): void {
  const restart = initialWindow(tcb.sndMss, tcb.home.config.initialWindow);
  if (restart >= tcb.cwnd) return;
  keepThreeQuarters(tcb);
  tcb.cwnd = restart;
}

function keepThreeQuarters(tcb: Tcb): void {
  tcb.ssthresh = Math.max(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2));
}

/** Output has sent something, or cwnd has kept it from sending (`limited`). */
export function noteUsage(tcb: Tcb, limited: boolean): void {
  const flight = tcb.flight;
  if (!limited) limited = tcb.cwnd - tcb.pipe < tcb.sndMss;
  // The strongest sign of a whole flight is what counts, not that of its last segment.
  if (limited || seqGeq(tcb.sndUna, tcb.usageSeq) || !tcb.cwndLimited && flight > tcb.usageFlight) {
    tcb.cwndLimited = limited;
    tcb.usageFlight = flight;
    tcb.usageSeq = tcb.sndNxt;
  }
  const { nowMs } = tcb.home;
  if (windowMayGrow(tcb)) {
    tcb.unusedFlight = 0;
    tcb.unusedMs = nowMs;
    return;
  }
  if (flight > tcb.unusedFlight) tcb.unusedFlight = flight;
  if (((nowMs - tcb.unusedMs) | 0) < tcb.rtoMs) return;
  if (tcb.recovery === RECOVERY_OPEN && tcb.congestion.model === undefined) comeDown(tcb);
  tcb.unusedFlight = 0;
  tcb.unusedMs = nowMs;
}

/** Half the way to what was used, but not below what a new connection may have (RFC 2861 3.2). */
function comeDown(tcb: Tcb): void {
  const used = Math.max(tcb.unusedFlight, initialWindow(tcb.sndMss, tcb.home.config.initialWindow));
  if (used >= tcb.cwnd) return;
  keepThreeQuarters(tcb);
  tcb.cwnd = (tcb.cwnd + used) >> 1;
}

/**
 * Whether the window has been what limits us since about a round trip (RFC 9293 3.8.2, RFC 7661); in slow start half of
 * it must have been used, since each ACK makes room for more than it frees.
 */
export function windowMayGrow(tcb: Tcb): boolean {
  return tcb.cwndLimited || tcb.cwnd < tcb.ssthresh && tcb.cwnd < 2 * tcb.usageFlight;
}

/**
 * What a reduction starts from: cwnd as far as the last flight has used it, so that a pause of the application before
 * the loss does not count as congestion, nor an unused window as capacity (RFC 9438 4.6; RFC 7661 4.4.1).
 */
export function usedWindow(tcb: Tcb): number {
  return Math.min(tcb.cwnd, Math.max(tcb.flight, tcb.usageFlight));
}
