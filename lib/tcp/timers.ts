/**
 * The timers of a connection. The TCB holds deadlines (int32 ms, 0 = off); the home owns the clock. A deadline
 * that moves to later costs nothing: the home finds out when it fires. What firing does is in timeouts.ts.
 */

import { currentRto } from './rtt.ts';
import { ESTABLISHED, TIME_WAIT } from './states.ts';
import { PROBE_NONE, RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';

/**
 * How long a peer may put off the acknowledgment of a single segment (WCDelAckT, RFC 8985 7.2). The RFC's 200 ms is
 * what one may; 40 ms is what Linux does, BSD 100 at most. A probe that is too early costs one segment.
 */
const PEER_DELAYED_ACK_MS = 80;

/** The user's timeout is looked at when a timer fires, so that one must not fire later. */
function untilUserTimeout(tcb: Tcb, ms: number): number {
  if (tcb.userTimeoutMs === 0) return ms;
  return Math.min(ms, Math.max(tcb.userTimeoutMs - ((tcb.home.nowMs - tcb.unackedSinceMs) | 0), 1));
}

/** A deadline `ms` from now; never 0, which means off. */
export function deadline(tcb: Tcb, ms: number): number {
  return (tcb.home.nowMs + ms) | 0 || 1;
}

/**
 * Retransmission timer. Armed when something that occupies sequence space is sent and it is off;
 * restarted by an ACK of new data; cleared when all is acknowledged (RFC 6298 section 5). Firing
 * retransmits the oldest, or the SYN, and doubles the timeout.
 */
export function armRetransmit(tcb: Tcb): void {
  tcb.rexmtAt = deadline(tcb, untilUserTimeout(tcb, currentRto(tcb)));
  tcb.home.arm(tcb, tcb.rexmtAt);
}

/**
 * Tail loss probe (RFC 8985 7.2). Armed, anew each time, when new data is sent or acknowledged, as long as nothing
 * seems to be wrong; cleared when a repair begins, or all is acknowledged. Firing sends a segment (tail-loss.ts). The
 * retransmission timer runs beside it, and starts anew with the probe.
 */
export function armLossProbe(tcb: Tcb): void {
  if (!tcb.sack || tcb.recovery !== RECOVERY_OPEN || tcb.sackedBytes > 0 || tcb.probe !== PROBE_NONE || tcb.srttUs === 0) {
    tcb.tailAt = 0;
    return;
  }
  const ms = Math.ceil((2 * tcb.srttUs) / 1000) + (tcb.flight <= tcb.sndMss ? PEER_DELAYED_ACK_MS : 2);
  tcb.tailAt = deadline(tcb, ms);
  if (tcb.rexmtAt !== 0 && ((tcb.rexmtAt - tcb.tailAt) | 0) <= 0) tcb.tailAt = 0;
  else tcb.home.arm(tcb, tcb.tailAt);
}

/**
 * Persist timer. Armed when data waits, nothing is in flight, and the window does not let it go (or
 * SWS avoidance holds it back); cleared when the window opens. Firing sends a probe and doubles the
 * interval (RFC 9293 3.8.6.1), without end as long as probes are answered (MUST-37).
 */
export function armPersist(tcb: Tcb): void {
  const ms = Math.min(tcb.rtoMs * 2 ** Math.min(tcb.persistShift, 16), 60_000);
  if (tcb.persistShift === 0) tcb.unackedSinceMs = tcb.home.nowMs;
  tcb.persistAt = deadline(tcb, untilUserTimeout(tcb, ms));
  tcb.home.arm(tcb, tcb.persistAt);
}

/** Delayed ACK. Armed when data has come that need not be acknowledged at once; firing acknowledges. */
export function armDelayedAck(tcb: Tcb): void {
  if (tcb.delackAt !== 0) return;
  tcb.delackAt = deadline(tcb, tcb.home.config.delayedAckMs);
  tcb.home.arm(tcb, tcb.delackAt);
}

/**
 * Keep-alive, only when asked for (MUST-25). Armed when the connection is established and whenever it
 * fires: it looks at how long nothing has come, so segments need not touch it. Firing after the idle
 * time sends a probe, and gives up after `keepCount` unanswered ones.
 */
export function armKeepalive(tcb: Tcb): void {
  if (!tcb.keepAlive || tcb.state < ESTABLISHED || tcb.state === TIME_WAIT) {
    tcb.keepAt = 0;
    return;
  }
  tcb.keepProbes = 0;
  tcb.keepAt = deadline(tcb, tcb.keepIdleMs);
  tcb.home.arm(tcb, tcb.keepAt);
}

/** Gives up in `ms`: an orphan in FIN-WAIT-2, or a lingering close. */
export function armGiveUp(tcb: Tcb, ms: number): void {
  tcb.giveUpAt = deadline(tcb, ms);
  tcb.home.arm(tcb, tcb.giveUpAt);
}

export function clearTimers(tcb: Tcb): void {
  tcb.rexmtAt = 0;
  tcb.reorderAt = 0;
  tcb.tailAt = 0;
  tcb.paceAt = 0;
  tcb.persistAt = 0;
  tcb.delackAt = 0;
  tcb.keepAt = 0;
  tcb.giveUpAt = 0;
}

/** The earliest deadline, or 0. */
export function earliest(tcb: Tcb): number {
  let best = tcb.rexmtAt;
  best = earlier(best, tcb.tailAt);
  best = earlier(best, tcb.reorderAt);
  best = earlier(best, tcb.paceAt);
  best = earlier(best, tcb.persistAt);
  best = earlier(best, tcb.delackAt);
  best = earlier(best, tcb.keepAt);
  return earlier(best, tcb.giveUpAt);
}

export function earlier(a: number, b: number): number {
  if (a === 0) return b;
  if (b === 0) return a;
  return ((a - b) | 0) <= 0 ? a : b;
}
