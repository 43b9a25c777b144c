/**
 * The user's calls (RFC 9293 3.10.1 to 3.10.5). The home's sockets check arguments and states for their own
 * sake; here is what the calls do to the TCB.
 */

import { seqAdd } from '../wire/seq.ts';
import { askForEcn } from './ecn.ts';
import { sendAck, sendSyn } from './emit.ts';
import { abortWith, discardReceived, dropSilently, leaveEstablished } from './ending.ts';
import { FastOpen } from './fast-open.ts';
import { prepareFromCookie, prepareOpen, startCongestion, takeSyn } from './handshake.ts';
import { keptFromSender } from './memory-shares.ts';
import { armOrphan } from './patience.ts';
import { acceptInOrder } from './receive.ts';
import type { Segment } from './segment.ts';
import {
  CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK, SYN_RECEIVED, SYN_SENT, TIME_WAIT,
} from './states.ts';
import type { Tcb } from './tcb.ts';
import { armGiveUp, armRetransmit, deadline } from './timers.ts';

/** Active OPEN (3.10.1): addresses, ports and route are set, the TCB is in the home's table. Sends the SYN. */
export function openActive(tcb: Tcb): void {
  prepareOpen(tcb);
  sendFirstSyn(tcb);
}

function sendFirstSyn(tcb: Tcb): void {
  const { config } = tcb.home;
  tcb.sack = config.sack;
  tcb.timestamps = config.timestamps;
  askForEcn(tcb);
  tcb.state = SYN_SENT;
  tcb.home.counters.ActiveOpens++;
  sendSyn(tcb);
  armRetransmit(tcb);
}

/** How long a SYN waits for the first data, ms, if its peer is known to take data in it. */
const FIRST_DATA_MS = 10;

/**
 * Active OPEN with Fast Open (RFC 7413 4.2.1). With a cookie for the peer the SYN waits for the first data, which goes
 * with it (`openWaiting`); without one it leaves now, and asks for one. Returns whether it waits.
 */
export function openActiveFast(tcb: Tcb): boolean {
  const { home } = tcb;
  const { cache } = home.fastOpen;
  if (!cache.avoids(tcb.flow, home.nowMs)) {
    const fastOpen = new FastOpen();
    tcb.fastOpen = fastOpen;
    cache.recall(tcb.flow, fastOpen);
    if (fastOpen.cookieLength > 0) {
      fastOpen.deferred = true;
      fastOpen.waits = true;
      // The sequence space begins now, so that data can be queued.
      prepareOpen(tcb);
      tcb.state = SYN_SENT;
      tcb.rexmtAt = deadline(tcb, FIRST_DATA_MS);
      home.arm(tcb, tcb.rexmtAt);
      return true;
    }
  }
  openActive(tcb);
  return false;
}

/** The SYN that waited for data leaves, with what is queued. */
export function openWaiting(tcb: Tcb): void {
  const { nowMs, nowUs } = tcb.home;
  tcb.fastOpen!.waits = false;
  tcb.timedUs = nowUs;
  tcb.unackedSinceMs = nowMs;
  sendFirstSyn(tcb);
}

/** A SYN with a cookie of ours arrived for a listener (RFC 7413 4.2.2): its data is taken, and the user told, at once. */
export function openPassiveFast(tcb: Tcb, segment: Segment, fastOpen: FastOpen): void {
  fastOpen.early = true;
  tcb.fastOpen = fastOpen;
  beginPassive(tcb, segment);
  startCongestion(tcb);
  if (segment.length > 0) acceptInOrder(tcb, segment.slab, segment.offset, segment.length, false);
  sendSyn(tcb);
  armRetransmit(tcb);
}

/** A SYN arrived for a listener (3.10.7.2, third): the TCB of the new connection answers. */
export function openPassive(tcb: Tcb, segment: Segment): void {
  beginPassive(tcb, segment);
  sendSyn(tcb);
  armRetransmit(tcb);
}

function beginPassive(tcb: Tcb, segment: Segment): void {
  tcb.passive = true;
  prepareOpen(tcb);
  takeSyn(tcb, segment);
  tcb.sndWnd = segment.wnd;
  tcb.maxSndWnd = segment.wnd;
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = tcb.iss;
  tcb.state = SYN_RECEIVED;
  tcb.home.counters.PassiveOpens++;
}

/** The ACK of a cookie arrived for a listener: the connection is as it would be if its SYN had been kept. */
export function openFromCookie(tcb: Tcb, segment: Segment, mss: number): void {
  tcb.passive = true;
  prepareFromCookie(tcb, segment, mss);
  tcb.sndWl1 = tcb.irs;
  tcb.sndWl2 = tcb.iss;
  tcb.state = SYN_RECEIVED;
  tcb.home.counters.PassiveOpens++;
}

/**
 * SEND (3.10.2; `urgent`: the data ends with what is urgent): queues up to `length` bytes. Returns how many had room; 0 when the buffer is full or
 * the memory exhausted.
 */
export function queueData(
  tcb: Tcb, from: Uint8Array, offset: number, length: number, more: boolean, urgent: boolean,
): number {
  const room = tcb.sndbufLimit - tcb.sndQueued;
  const n = Math.min(length, room);
  tcb.more = more && n === length;
  if (n <= 0) return 0;
  const stored = tcb.sndBuffer.put(tcb.sndQueued, from, offset, n, keptFromSender(tcb));
  tcb.sndEnd = seqAdd(tcb.sndEnd, stored);
  if (urgent && stored === length) tcb.sndUp = tcb.sndEnd;
  if (stored > 0) tcb.home.pend(tcb);
  return stored;
}

/** CLOSE for the sending half (3.10.4): a FIN follows what is queued. */
export function shutdownSend(tcb: Tcb): void {
  if (tcb.finQueued) return;
  switch (tcb.state) {
    case SYN_SENT:
      if (tcb.fastOpen === null || !tcb.fastOpen.deferred || tcb.orphan && tcb.fastOpen.waits) {
        dropSilently(tcb);
        return;
      }
      tcb.finQueued = true;
      if (tcb.fastOpen.waits) openWaiting(tcb);
      return;
    case SYN_RECEIVED:
      // Queued until the connection is established (input.ts moves on).
      tcb.finQueued = true;
      return;
    case ESTABLISHED:
      leaveEstablished(tcb);
      tcb.finQueued = true;
      tcb.state = FIN_WAIT_1;
      tcb.home.pend(tcb);
      return;
    case CLOSE_WAIT:
      leaveEstablished(tcb);
      tcb.finQueued = true;
      tcb.state = LAST_ACK;
      tcb.home.pend(tcb);
      return;
  }
}

/** The user lets go: both halves close; unread data makes it a reset (3.6.1; RFC 2525 2.17). */
export function closeTcb(tcb: Tcb): void {
  tcb.owner = null;
  tcb.orphan = true;
  tcb.wantWrite = false;
  if (tcb.readable > 0 && tcb.state >= ESTABLISHED && tcb.state !== TIME_WAIT) {
    tcb.home.counters.OrphanResets++;
    abortWith(tcb, 0, true);
    return;
  }
  discardReceived(tcb);
  shutdownSend(tcb);
  if (tcb.state === FIN_WAIT_2) armGiveUp(tcb, tcb.home.config.finWait2Ms);
  else armOrphan(tcb);
}

/** ABORT (3.10.5): RST, unless both FINs are out already, and everything is forgotten. */
export function abortTcb(tcb: Tcb): void {
  // The peer learns that it was connected before it learns that this is over.
  if (tcb.ackNow && tcb.state >= ESTABLISHED) sendAck(tcb);
  const state = tcb.state;
  tcb.owner = null;
  tcb.orphan = true;
  abortWith(tcb, 0, state !== TIME_WAIT && !(tcb.finSent && (state === CLOSING || state === LAST_ACK)));
}
