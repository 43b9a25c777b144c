/** The ways in which a connection ends (RFC 9293 3.6, 3.10.5, 3.10.7), and what is let go of then. */

import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP } from '../socket.ts';
import { sendReset } from './emit.ts';
import { forgetSent } from './sent-segments.ts';
import { forgetOutOfOrder } from './receive.ts';
import { CLOSED, CLOSE_WAIT, ESTABLISHED, TIME_WAIT } from './states.ts';
import type { Tcb } from './tcb.ts';
import { clearTimers } from './timers.ts';

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
  forgetSent(tcb);
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
  forgetSent(tcb);
  tcb.sndEnd = tcb.sndBase;
  if (tcb.orphan) discardReceived(tcb);
  // What is behind a hole will never be read.
  else if (tcb.oooCount > 0) forgetOutOfOrder(tcb);
  tcb.home.closed(tcb);
}

/** CurrEstab counts ESTABLISHED and CLOSE-WAIT (RFC 4022). To be called before the state is left. */
export function leaveEstablished(tcb: Tcb): void {
  if (tcb.state === ESTABLISHED || tcb.state === CLOSE_WAIT) tcb.home.counters.CurrEstab--;
}

/** Forgets what was received and not read. */
export function discardReceived(tcb: Tcb): void {
  tcb.rcvBuffer.clear();
  tcb.rcvStored = 0;
  tcb.rcvLent = 0;
  tcb.oooCount = 0;
  tcb.ooo = null;
  if (tcb.oooBlocks !== 0) tcb.home.outOfOrder.note(tcb);
}
