/**
 * The user's calls (RFC 9293 3.10.1 to 3.10.6) and the ways in which a connection ends. The home's
 * sockets check arguments and states for their own sake; here is what the calls do to the TCB.
 */

import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP } from '../socket.ts';
import { seqAdd } from '../wire/seq.ts';
import { MAX_WINDOW_SCALE } from '../wire/tcp.ts';
import { takeSyn } from './input.ts';
import { sendAck, sendReset, sendSyn, startSequence } from './output.ts';
import { keptFromSender } from './memory-shares.ts';
import type { Segment } from './segment.ts';
import {
  CLOSED, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK, SYN_RECEIVED, SYN_SENT, TIME_WAIT,
} from './states.ts';
import type { Tcb } from './tcb.ts';
import { armGiveUp, armRetransmit, clearTimers } from './timers.ts';

/** Scale that lets the largest receive buffer be told; -1 when scaling is off. */
function wantedScale(tcb: Tcb): number {
  const config = tcb.home.config;
  if (!config.windowScaling) return -1;
  const most = Math.max(config.rcvbufMax, tcb.rcvbufLimit);
  let scale = 0;
  while (scale < MAX_WINDOW_SCALE && 0xffff << scale < most) scale++;
  return scale;
}

/** The MSS that we announce: the link's MTU less the fixed headers (MUST-67; options are not counted, RFC 6691). */
function announcedMss(tcb: Tcb): number {
  const mss = Math.min(tcb.flow.mtu - tcb.flow.headerLength - 20, 65_495);
  return tcb.userMss > 0 ? Math.min(tcb.userMss, mss) : mss;
}

function begin(tcb: Tcb): void {
  const home = tcb.home;
  tcb.advMss = announcedMss(tcb);
  tcb.rcvWscale = wantedScale(tcb);
  tcb.tsOffset = home.timestampOffset(tcb);
  startSequence(tcb, home.initialSequence(tcb));
  tcb.timing = true;
  tcb.timedSeq = tcb.sndNxt;
  tcb.timedUs = home.nowUs;
  tcb.unackedSinceMs = home.nowMs;
  tcb.lastRecvMs = home.nowMs;
}

/** Active OPEN (3.10.1): addresses, ports and route are set, the TCB is in the home's table. Sends the SYN. */
export function openActive(tcb: Tcb): void {
  const config = tcb.home.config;
  begin(tcb);
  tcb.sack = config.sack;
  tcb.timestamps = config.timestamps;
  tcb.state = SYN_SENT;
  tcb.home.counters.ActiveOpens++;
  sendSyn(tcb);
  armRetransmit(tcb);
}

/** A SYN arrived for a listener (3.10.7.2, third): the TCB of the new connection answers. */
export function openPassive(tcb: Tcb, segment: Segment): void {
  tcb.passive = true;
  begin(tcb);
  takeSyn(tcb, segment);
  tcb.sndWnd = segment.wnd;
  tcb.maxSndWnd = segment.wnd;
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = tcb.iss;
  tcb.state = SYN_RECEIVED;
  tcb.home.counters.PassiveOpens++;
  sendSyn(tcb);
  armRetransmit(tcb);
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
      dropSilently(tcb);
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

/** Ends the connection with `errno` for the user (0: none), telling the peer by RST if `reset`. */
export function abortWith(tcb: Tcb, errno: number, reset: boolean): void {
  if (tcb.state === CLOSED) {
    if (tcb.orphan) discardReceived(tcb);
    return;
  }
  if (reset) sendReset(tcb);
  tcb.error = errno;
  end(tcb);
  tcb.events |= POLLERR | POLLHUP | POLLIN | POLLOUT | POLLRDHUP;
  tcb.home.pend(tcb);
}

/** Ends the connection with no word to anybody: a half-open one that came to nothing, an orphan whose time is up. */
export function dropSilently(tcb: Tcb): void {
  if (tcb.state === CLOSED) return;
  end(tcb);
  tcb.events |= POLLHUP | POLLIN | POLLOUT;
  tcb.home.pend(tcb);
}

/** LAST-ACK or CLOSING is over: the connection ended as it should. */
export function finish(tcb: Tcb): void {
  dropSilently(tcb);
}

/** Both FINs are exchanged and ours came first: the home remembers the rest (3.6). */
export function enterTimeWait(tcb: Tcb): void {
  leaveEstablished(tcb);
  clearTimers(tcb);
  tcb.state = TIME_WAIT;
  tcb.sndBuffer.clear();
  tcb.home.counters.TimeWaits++;
  tcb.events |= POLLHUP;
  tcb.home.timeWait(tcb);
  tcb.home.pend(tcb);
}

function end(tcb: Tcb): void {
  leaveEstablished(tcb);
  clearTimers(tcb);
  tcb.state = CLOSED;
  tcb.sndBuffer.clear();
  tcb.sndEnd = tcb.sndBase;
  if (tcb.orphan) discardReceived(tcb);
  tcb.home.closed(tcb);
}

/** CurrEstab counts ESTABLISHED and CLOSE-WAIT (RFC 4022). To be called before the state is left. */
function leaveEstablished(tcb: Tcb): void {
  if (tcb.state === ESTABLISHED || tcb.state === CLOSE_WAIT) tcb.home.counters.CurrEstab--;
}

/** Forgets what was received and not read. */
export function discardReceived(tcb: Tcb): void {
  tcb.rcvBuffer.clear();
  tcb.rcvStored = 0;
  tcb.rcvLent = 0;
  tcb.oooCount = 0;
  tcb.ooo = null;
}
