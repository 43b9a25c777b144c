/**
 * The timers of a connection. The TCB holds deadlines (int32 ms, 0 = off); the home owns the clock and
 * calls `tcpTimers` when the earliest may be due. A deadline that moves to later costs nothing: the
 * home finds out when it fires.
 */

import { ETIMEDOUT } from '../errno.ts';
import { seqGt } from '../wire/seq.ts';
import { sendKeepalive, sendProbe, sendSyn } from './output.ts';
import { onRetransmissionTimeout } from './recovery.ts';
import { currentRto } from './rtt.ts';
import { ESTABLISHED, SYN_RECEIVED, SYN_SENT } from './states.ts';
import type { Tcb } from './tcb.ts';
import { abortWith, dropSilently } from './user.ts';


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
  if (!tcb.keepAlive || tcb.state < ESTABLISHED) {
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
  tcb.persistAt = 0;
  tcb.delackAt = 0;
  tcb.keepAt = 0;
  tcb.giveUpAt = 0;
}

function due(at: number, nowMs: number): boolean {
  return at !== 0 && ((at - nowMs) | 0) <= 0;
}

/** Fires what is due. Returns the earliest deadline that is left, or 0. */
export function tcpTimers(tcb: Tcb): number {
  const nowMs = tcb.home.nowMs;
  if (due(tcb.delackAt, nowMs)) {
    tcb.delackAt = 0;
    if (tcb.rcvUnacked > 0) {
      tcb.home.counters.DelayedAcks++;
      tcb.ackNow = true;
      tcb.home.pend(tcb);
    }
  }
  if (due(tcb.rexmtAt, nowMs)) {
    tcb.rexmtAt = 0;
    retransmissionTimeout(tcb);
  }
  if (due(tcb.persistAt, nowMs)) {
    tcb.persistAt = 0;
    persistTimeout(tcb);
  }
  if (due(tcb.keepAt, nowMs)) {
    tcb.keepAt = 0;
    keepaliveTimeout(tcb);
  }
  if (due(tcb.giveUpAt, nowMs)) {
    tcb.giveUpAt = 0;
    dropSilently(tcb);
  }
  return earliest(tcb);
}

/** The earliest deadline, or 0. */
export function earliest(tcb: Tcb): number {
  let best = tcb.rexmtAt;
  best = earlier(best, tcb.persistAt);
  best = earlier(best, tcb.delackAt);
  best = earlier(best, tcb.keepAt);
  return earlier(best, tcb.giveUpAt);
}

function earlier(a: number, b: number): number {
  if (a === 0) return b;
  if (b === 0) return a;
  return ((a - b) | 0) <= 0 ? a : b;
}

function retransmissionTimeout(tcb: Tcb): void {
  const home = tcb.home;
  if (tcb.state === SYN_SENT || tcb.state === SYN_RECEIVED) {
    const limit = tcb.passive ? home.config.synAckRetries : tcb.synRetries;
    if (tcb.retries >= limit || userTimeoutPassed(tcb)) {
      home.counters.AttemptFails++;
      if (tcb.passive) dropSilently(tcb);
      else abortWith(tcb, tcb.softError !== 0 ? tcb.softError : ETIMEDOUT, false);
      return;
    }
    tcb.retries++;
    tcb.backoff++;
    tcb.retransSegs++;
    tcb.rtos++;
    home.counters.RetransSegs++;
    tcb.timing = false;
    sendSyn(tcb);
    armRetransmit(tcb);
    return;
  }
  if (!seqGt(tcb.sndNxt, tcb.sndUna)) return;
  // R2 (MUST-20, SHLD-11): Linux's 15 retransmissions, about 15 minutes; or what the user has set (MUST-21).
  if (tcb.retries >= home.config.retries || userTimeoutPassed(tcb)) {
    if (tcb.userTimeoutMs > 0) home.counters.UserTimeouts++;
    abortWith(tcb, tcb.softError !== 0 ? tcb.softError : ETIMEDOUT, true);
    return;
  }
  // A window that the peer shrank to nothing makes these probes: while it answers, they go on (SHLD-17).
  if (tcb.sndWnd > 0 || ((home.nowMs - tcb.lastRecvMs) | 0) > home.config.maxRtoMs) tcb.retries++;
  tcb.rtos++;
  home.counters.RtoTimeouts++;
  onRetransmissionTimeout(tcb);
  tcb.backoff++;
  armRetransmit(tcb);
  home.pend(tcb);
}

function userTimeoutPassed(tcb: Tcb): boolean {
  return tcb.userTimeoutMs > 0 && ((tcb.home.nowMs - tcb.unackedSinceMs) | 0) >= tcb.userTimeoutMs;
}

function persistTimeout(tcb: Tcb): void {
  if (seqGt(tcb.sndNxt, tcb.sndUna) || !seqGt(tcb.sndEnd, tcb.sndNxt) && !(tcb.finQueued && !tcb.finSent)) return;
  const home = tcb.home;
  const silentMs = (home.nowMs - tcb.lastRecvMs) | 0;
  // Answered probes keep the connection open for ever (MUST-37); a peer that is silent is a dead one.
  const limitMs = tcb.userTimeoutMs > 0 ? tcb.userTimeoutMs : 0;
  if (limitMs > 0 && ((home.nowMs - tcb.unackedSinceMs) | 0) >= limitMs
    || tcb.persistShift >= home.config.retries && silentMs > 900_000 || tcb.orphan && silentMs > 120_000) {
    abortWith(tcb, ETIMEDOUT, true);
    return;
  }
  if (tcb.persistShift < 30) tcb.persistShift++;
  sendProbe(tcb);
  armPersist(tcb);
}

function keepaliveTimeout(tcb: Tcb): void {
  if (!tcb.keepAlive || tcb.state < ESTABLISHED) return;
  const home = tcb.home;
  const idleMs = (home.nowMs - tcb.lastRecvMs) | 0;
  if (seqGt(tcb.sndNxt, tcb.sndUna) || idleMs < tcb.keepIdleMs) {
    // Not idle (MUST-26): retransmission watches over data in flight.
    tcb.keepProbes = 0;
    tcb.keepAt = deadline(tcb, Math.max(tcb.keepIdleMs - idleMs, 1));
  } else if (tcb.keepProbes >= tcb.keepCount || tcb.userTimeoutMs > 0 && idleMs >= tcb.userTimeoutMs && tcb.keepProbes > 0) {
    home.counters.KeepaliveDrops++;
    abortWith(tcb, ETIMEDOUT, true);
    return;
  } else {
    tcb.keepProbes++;
    home.counters.KeepaliveProbes++;
    sendKeepalive(tcb);
    tcb.keepAt = deadline(tcb, tcb.keepIntervalMs);
  }
  home.arm(tcb, tcb.keepAt);
}
