/**
 * What happens when a timer fires. The home calls `tcpTimers` when the earliest deadline may be due; the
 * deadlines, and what each timer is for, are in timers.ts.
 */

import { ETIMEDOUT } from '../errno.ts';
import { seqGt } from '../wire/seq.ts';
import { sendOldAck, sendSyn } from './emit.ts';
import { abortWith, dropSilently } from './ending.ts';
import { giveUpTimeout, shutTooLong } from './patience.ts';
import { takeDeferredMtu } from './icmp.ts';
import { sendProbe } from './output.ts';
import { onMtuTimeout } from './plpmtud.ts';
import { onReorderTimeout, onRetransmissionTimeout } from './recovery.ts';
import { ESTABLISHED, SYN_RECEIVED, SYN_SENT, TIME_WAIT } from './states.ts';
import { sendLossProbe } from './tail-loss.ts';
import type { Tcb } from './tcb.ts';
import { openWaiting } from './user.ts';
import { armPersist, armRetransmit, deadline, earliest } from './timers.ts';

/** Probes of a closed window that a connection without an owner makes before it is given up. */
const ORPHAN_PROBES = 12;

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
  if (due(tcb.paceAt, nowMs)) {
    tcb.paceAt = 0;
    tcb.home.pend(tcb);
  }
  if (due(tcb.reorderAt, nowMs)) {
    tcb.reorderAt = 0;
    onReorderTimeout(tcb);
  }
  if (due(tcb.rexmtAt, nowMs)) {
    tcb.rexmtAt = 0;
    retransmissionTimeout(tcb);
  } else if (due(tcb.tailAt, nowMs)) {
    tcb.tailAt = 0;
    sendLossProbe(tcb);
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
    giveUpTimeout(tcb);
  }
  return earliest(tcb);
}

function retransmissionTimeout(tcb: Tcb): void {
  const home = tcb.home;
  if (tcb.state === SYN_SENT || tcb.state === SYN_RECEIVED) {
    if (tcb.fastOpen !== null && tcb.fastOpen.waits) {
      openWaiting(tcb);
      return;
    }
    const limit = tcb.passive ? home.synAckRetries(tcb) : tcb.synRetries;
    if (tcb.retries >= limit || userTimeoutPassed(tcb)) {
      home.counters.AttemptFails++;
      if (tcb.passive && !(tcb.fastOpen !== null && tcb.fastOpen.early)) dropSilently(tcb);
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
  const timedOut = userTimeoutPassed(tcb);
  if (tcb.retries >= home.config.retries || timedOut || shutTooLong(tcb)) {
    if (timedOut) home.counters.UserTimeouts++;
    abortWith(tcb, tcb.softError !== 0 ? tcb.softError : ETIMEDOUT, true);
    return;
  }
  // A window that the peer shrank to nothing makes these probes: while it answers, they go on (SHLD-17).
  if (tcb.sndWnd > 0 || tcb.orphan || (home.nowMs - tcb.lastRecvMs) >>> 0 > home.config.maxRtoMs) tcb.retries++;
  tcb.rtos++;
  home.counters.RtoTimeouts++;
  if (tcb.icmpMtu !== 0) takeDeferredMtu(tcb);
  onMtuTimeout(tcb);
  onRetransmissionTimeout(tcb);
  tcb.backoff++;
  armRetransmit(tcb);
  home.pend(tcb);
}

function userTimeoutPassed(tcb: Tcb): boolean {
  return tcb.userTimeoutMs > 0 && (tcb.home.nowMs - tcb.unackedSinceMs) >>> 0 >= tcb.userTimeoutMs;
}

function persistTimeout(tcb: Tcb): void {
  if (seqGt(tcb.sndNxt, tcb.sndUna) || !seqGt(tcb.sndEnd, tcb.sndNxt) && !(tcb.finQueued && !tcb.finSent)) return;
  const home = tcb.home;
  const silentMs = (home.nowMs - tcb.lastRecvMs) >>> 0;
  const timedOut = userTimeoutPassed(tcb);
  // Answered probes keep the connection open for ever (MUST-37); a peer that is silent is a dead one. But for a
  // connection that nobody holds any more memory is not kept without end (RFC 6429), as Linux has it.
  if (timedOut || shutTooLong(tcb) || tcb.persistShift >= home.config.retries && silentMs > 900_000
    || tcb.orphan && (silentMs > 120_000 || tcb.persistShift >= ORPHAN_PROBES)) {
    if (timedOut) home.counters.UserTimeouts++;
    abortWith(tcb, ETIMEDOUT, true);
    return;
  }
  if (tcb.persistShift < 30) tcb.persistShift++;
  sendProbe(tcb);
  armPersist(tcb);
}

function keepaliveTimeout(tcb: Tcb): void {
  if (!tcb.keepAlive || tcb.state < ESTABLISHED || tcb.state === TIME_WAIT) return;
  const home = tcb.home;
  const idleMs = (home.nowMs - tcb.lastRecvMs) >>> 0;
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
    sendOldAck(tcb);
    tcb.keepAt = deadline(tcb, tcb.keepIntervalMs);
  }
  home.arm(tcb, tcb.keepAt);
}
