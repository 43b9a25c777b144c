/**
 * What a connection sends, and when (RFC 9293 3.7, 3.8.6; RFC 5681; RFC 6675 for the order of things).
 *
 * `tcpOutput` is called once a turn for each TCB that was marked. In this order: what is thought lost;
 * new data as the window, the congestion window and Nagle allow; FIN; and if none of this carried the
 * acknowledgment that is due, a pure ACK. Data leaves in super-segments where the link can cut them.
 * Payload is not touched: a segment is a header and pieces of the send buffer.
 */

import { seqGt } from '../wire/seq.ts';
import { noteUsage } from './congestion/cwnd.ts';
import { maxSegment, sendAck, sendOldAck } from './emit.ts';
import { armPacing, paceRoom } from './pacing.ts';
import { sendMtuProbe } from './plpmtud.ts';
import { windowUpdateDue } from './receive.ts';
import { retransmitLost } from './recovery.ts';
import { currentRto } from './rtt.ts';
import { CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT_1, LAST_ACK, SYN_RECEIVED, TIME_WAIT } from './states.ts';
import { RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { armDelayedAck, armPersist, deadline } from './timers.ts';
import { sendNext, unsent, windowRoom } from './transmit.ts';

/** Longest time that corked data waits, ms (Linux's TCP_CORK ceiling). */
const CORK_MS = 200;

/** Produces all output that is due. Called at the end of the turn, with the present in `home.nowUs`. */
export function tcpOutput(tcb: Tcb): void {
  const state = tcb.state;
  if (state < ESTABLISHED) {
    // With Fast Open data may leave before the handshake is complete (RFC 7413 4.2.2).
    if (state === SYN_RECEIVED && tcb.fastOpen !== null && tcb.fastOpen.early && sendNew(tcb)) return;
    if (state === SYN_RECEIVED && tcb.ackNow) sendAck(tcb);
    return;
  }
  if (state === TIME_WAIT) {
    if (tcb.ackNow) sendAck(tcb);
    return;
  }
  // What is missing is told by an ACK without data: only that counts as a duplicate, and has room for SACK.
  if (tcb.ackNow && tcb.oooCount > 0) acknowledgeGap(tcb);
  let sent = false;
  if (tcb.recovery !== RECOVERY_OPEN) sent = repair(tcb);
  if (state === ESTABLISHED || state === CLOSE_WAIT || state === FIN_WAIT_1 || state === CLOSING || state === LAST_ACK) {
    if (sendNew(tcb)) sent = true;
  }
  if (!sent) acknowledge(tcb);
}

/** What is lost goes first, or, while F-RTO wants to know whether anything is, new data (RFC 5682 2.b). */
function repair(tcb: Tcb): boolean {
  if (tcb.newFirst) {
    tcb.newFirst = false;
    if (sendNew(tcb)) return true;
    tcb.frto = false;
  }
  // F-RTO waits for what the new data brings back.
  if (tcb.frto && seqGt(tcb.sndNxt, tcb.recover)) return false;
  return retransmitLost(tcb);
}

/** Sends new data and FIN. Returns whether a segment left. */
function sendNew(tcb: Tcb): boolean {
  let sent = false;
  let limited = false;
  for (;;) {
    if (tcb.finSent) break;
    const waiting = unsent(tcb);
    const finDue = tcb.finQueued && tcb.state !== SYN_RECEIVED;
    if (waiting === 0 && !finDue) break;
    if (!sent && waiting > 0 && tcb.sndNxt === tcb.sndUna) restartAfterIdle(tcb);
    if (tcb.mtuSearch !== null) {
      const probed = sendMtuProbe(tcb);
      if (probed > 0) {
        sent = true;
        continue;
      }
      if (probed < 0) {
        limited = true;
        break;
      }
    }
    const wndRoom = windowRoom(tcb);
    const cwndRoom = tcb.cwnd - tcb.pipe;
    // A FIN alone does not ask the congestion window, in which there may be less than no room.
    let length = waiting === 0 ? 0 : Math.min(waiting, wndRoom, cwndRoom);
    if (tcb.pacingRate > 0 && length > 0) {
      const credit = paceRoom(tcb);
      if (credit < Math.min(length, tcb.sndMss)) {
        armPacing(tcb);
        break;
      }
      if (credit < length) length = credit - (credit % tcb.sndMss);
    }
    if (waiting > 0 && length <= 0) {
      if (cwndRoom <= 0) limited = true;
      else if (tcb.sndNxt === tcb.sndUna && tcb.persistAt === 0) armPersist(tcb);
      break;
    }
    if (waiting === 0 && wndRoom <= 0) {
      // A FIN needs a window as well.
      if (tcb.sndNxt === tcb.sndUna && tcb.persistAt === 0) armPersist(tcb);
      break;
    }
    const mss = tcb.sndMss;
    const most = maxSegment(tcb);
    if (length > most) length = most;
    const last = length === waiting;
    if (length > mss) {
      const odd = length % mss;
      if (odd !== 0 && !(last && smallMayLeave(tcb))) length -= odd;
    } else if (length < mss && waiting > 0) {
      if (!(last && smallMayLeave(tcb)) && !(tcb.maxSndWnd > 0 && length >= tcb.maxSndWnd >> 1 && !last)) {
        if (length < waiting && cwndRoom <= wndRoom) limited = true;
        if (tcb.sndNxt === tcb.sndUna && tcb.persistAt === 0) holdBack(tcb);
        break;
      }
    }
    const fin = length === waiting && finDue;
    if (!sendNext(tcb, length, fin)) {
      // No room for more to be remembered: somebody's acknowledgment will bring it.
      if (tcb.home.sent.full && tcb.flight === 0 && tcb.persistAt === 0) armPersist(tcb);
      break;
    }
    sent = true;
    if (fin) break;
  }
  noteAppLimited(tcb);
  if (sent || limited) noteUsage(tcb, limited);
  return sent;
}

/**
 * Too little to send, while the window has room: what is in flight now shows what the application does, not what the
 * path can (draft-cheng-iccrg-delivery-rate-estimation 3.4).
 */
function noteAppLimited(tcb: Tcb): void {
  if (tcb.congestion.model === undefined || unsent(tcb) >= tcb.sndMss || tcb.lostBytes > tcb.rtxBytes) return;
  // A buffer that will not grow, and that the application fills, is a limit that stays: measured is what there is.
  if (tcb.wantWrite && (tcb.sndbufLocked || tcb.sndbufLimit >= tcb.home.config.sndbufMax)) return;
  const pipe = tcb.pipe;
  if (pipe < tcb.cwnd) tcb.appLimited = Math.max(tcb.delivered + pipe, 1);
}

/** Nothing in flight, and it was quiet for an RTO: start again from a known window (RFC 5681 4.1). */
function restartAfterIdle(tcb: Tcb): void {
  const home = tcb.home;
  if (tcb.lastSendMs !== 0 && tcb.recovery === RECOVERY_OPEN && (home.nowMs - tcb.lastSendMs) >>> 0 > currentRto(tcb)) {
    tcb.congestion.onIdle(tcb, home.nowMs);
    tcb.lastSendMs = home.nowMs;
  }
}

/**
 * Nagle's algorithm in Minshall's form, as Linux has it: a small segment waits only while another
 * small one is unacknowledged (RFC 9293 3.7.4; SHLD-7). Off with TCP_NODELAY (MUST-17). Corked data waits.
 */
function smallMayLeave(tcb: Tcb): boolean {
  if (tcb.finQueued) return true;
  if (tcb.corked || tcb.more) return false;
  return tcb.noDelay || !seqGt(tcb.sndSmall, tcb.sndUna) || seqGt(tcb.sndSmall, tcb.sndNxt);
}

/** A part of a segment waits with nothing in flight: it leaves after the override timeout at the latest. */
function holdBack(tcb: Tcb): void {
  if (tcb.corked || tcb.more) {
    tcb.unackedSinceMs = tcb.home.nowMs;
    tcb.persistAt = deadline(tcb, CORK_MS);
    tcb.home.arm(tcb, tcb.persistAt);
  } else {
    armPersist(tcb);
  }
}

/** The acknowledgment that is due, if any: now, put off, or a window update. */
export function acknowledge(tcb: Tcb): void {
  if (tcb.rcvUnacked > 0 && !tcb.ackNow) {
    if (tcb.rcvUnacked >= 2 * tcb.rcvMss || tcb.home.config.delayedAckMs === 0) {
      tcb.ackNow = true;
    } else if (tcb.quickAcks > 0) {
      tcb.quickAcks--;
      tcb.ackNow = true;
    } else {
      armDelayedAck(tcb);
    }
  }
  if (tcb.ackNow || windowUpdateDue(tcb)) sendAck(tcb);
}

/**
 * Tells the peer of a gap. One ACK with SACK blocks stands for a whole batch; a peer without SACK
 * counts duplicates, so it gets one for each segment that came out of order (RFC 5681 4.2).
 */
function acknowledgeGap(tcb: Tcb): void {
  const count = tcb.sack ? 1 : Math.max(tcb.gapSegments, 1);
  tcb.gapSegments = 0;
  for (let i = 0; i < count; i++) sendAck(tcb);
}

/**
 * Zero-window probe, as Linux makes it: an empty segment one below SND.UNA, which the peer must answer with
 * an ACK that tells its window. The same call lets small data go that SWS avoidance or a cork held back,
 * when the window does have room.
 */
export function sendProbe(tcb: Tcb): void {
  const waiting = unsent(tcb);
  const room = windowRoom(tcb);
  if (room > 0 && waiting > 0) {
    sendNext(tcb, Math.min(waiting, room, tcb.sndMss), false, true);
    return;
  }
  tcb.home.counters.PersistProbes++;
  sendOldAck(tcb);
}
