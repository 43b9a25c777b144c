/**
 * How long a peer may take (limits.tcp; RFC 6429 for windows that stay shut): connections that cost memory and
 * bring nothing are ended, as far as the limits say so.
 *
 * - **Shut windows**: looked at with each probe. RFC 9293 (MUST-37) keeps such a connection as long as probes are
 *   answered, and so it is here, unless `zeroWindowMs` is set.
 * - **Orphans**: nobody would notice that a closed connection never gets rid of what is left to send, so each must
 *   move `ORPHAN_LEAST` in `orphanMs`. One byte now and then does not count.
 * - **Silent openers**: whoever connects and never says anything, when `firstDataMs` is set.
 *
 * What is done when memory is short is the home's (lib/home/stalled.ts).
 */

import { ETIMEDOUT } from '../errno.ts';
import { abortWith, dropSilently } from './ending.ts';
import { CLOSED, CLOSING, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK } from './states.ts';
import type { Tcb } from './tcb.ts';
import { armGiveUp } from './timers.ts';

/** Bytes that an orphan must get rid of in its time. */
const ORPHAN_LEAST = 1 << 16;

/** A connection was closed by its user, and something is left to be sent or acknowledged. */
export function armOrphan(tcb: Tcb): void {
  const { orphanMs } = tcb.home.config.limits;
  if (orphanMs === 0 || tcb.state !== FIN_WAIT_1 && tcb.state !== CLOSING && tcb.state !== LAST_ACK) return;
  tcb.orphanAcked = tcb.bytesAcked;
  armGiveUp(tcb, orphanMs);
}

/** A peer has opened a connection: it is to say something. */
export function armFirstData(tcb: Tcb): void {
  const { firstDataMs } = tcb.home.config.limits;
  if (firstDataMs > 0 && tcb.bytesReceived === 0) armGiveUp(tcb, firstDataMs);
}

/** `giveUpAt` has come. */
export function giveUpTimeout(tcb: Tcb): void {
  const { counters } = tcb.home;
  if (tcb.state === CLOSED) return;
  if (tcb.orphan) {
    if (tcb.state === FIN_WAIT_2) {
      dropSilently(tcb);
    } else if (tcb.home.config.limits.orphanMs === 0) {
      return;
    } else if (tcb.bytesAcked - tcb.orphanAcked >= ORPHAN_LEAST) {
      armOrphan(tcb);
    } else {
      counters.OrphanDrops++;
      abortWith(tcb, ETIMEDOUT, true);
    }
  } else if (tcb.passive && tcb.bytesReceived === 0 && !tcb.finReceived) {
    counters.SilentDrops++;
    abortWith(tcb, ETIMEDOUT, true);
  }
}

/** Whether the peer has kept its window shut for longer than it may; counted if so. */
export function shutTooLong(tcb: Tcb): boolean {
  const { zeroWindowMs } = tcb.home.config.limits;
  if (zeroWindowMs === 0 || tcb.sndWnd > 0 || ((tcb.home.nowMs - tcb.unackedSinceMs) >>> 0) < zeroWindowMs) return false;
  tcb.home.counters.ZeroWindowDrops++;
  return true;
}
