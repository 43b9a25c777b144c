/**
 * RACK (RFC 8985 section 6): loss is told by time. Whatever was sent before something that has arrived, and has not
 * arrived a reordering window later, is lost; retransmissions are judged like everything else. The window starts at
 * nothing once DupThresh segments are SACKed, as in RFC 6675, and at a quarter of the least round trip before; when the
 * path is seen to reorder it is that at least, and D-SACKs make it wider, up to the smoothed round trip.
 *
 * Deadlines have milliseconds here: the timer rounds up. Needs SACK; without it recovery.ts counts duplicate ACKs.
 */

import { seqGeq } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { news } from './delivery.ts';
import { END, FLAGS, LATER, ROW_REPEATED, XMIT_US, markLost, sentAfter } from './sent-segments.ts';
import { RECOVERY_FAST, RECOVERY_LOSS } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { deadline } from './timers.ts';

/** DupThresh (RFC 5681, 6675). */
export const DUP_THRESH = 3;
/** Steps of a quarter round trip that the window may have, as in Linux. */
const MOST_STEPS = 255;
/** Recoveries for which a widened window stays (6.2, step 4). */
const PERSIST = 16;

/** Step 4, what D-SACKs do to the window: a step wider, once a round trip. */
export function noteRoundTrip(tcb: Tcb): void {
  if (tcb.dsackRound && seqGeq(tcb.sndUna, tcb.dsackRoundEnd)) tcb.dsackRound = false;
  if (news.dsack && !news.dsackOfProbe && !tcb.dsackRound) {
    tcb.dsackRound = true;
    tcb.dsackRoundEnd = tcb.sndNxt;
    tcb.reoWndMult = Math.min(tcb.reoWndMult + 1, MOST_STEPS);
    tcb.reoWndPersist = PERSIST;
  }
}

/** Step 4, too: a recovery is over; after some without D-SACK the window is as it was. */
export function noteRecoveryEnd(tcb: Tcb): void {
  if (tcb.reoWndPersist > 0 && --tcb.reoWndPersist === 0) tcb.reoWndMult = 1;
}

/** RACK.reo_wnd, µs. */
function reorderingWindow(tcb: Tcb): number {
  if (!tcb.reorderingSeen) {
    if (tcb.recovery === RECOVERY_FAST || tcb.recovery === RECOVERY_LOSS) return 0;
    if (tcb.sackedBytes >= DUP_THRESH * tcb.sndMss) return 0;
  }
  return Math.min((tcb.reoWndMult * tcb.minRttUs) >> 2, tcb.srttUs);
}

/**
 * Step 5: marks what is lost at `nowUs`, and arms the timer for what may be lost a little later. Returns how many
 * bytes are newly lost.
 */
export function detectLost(tcb: Tcb, nowUs: number): number {
  tcb.reorderAt = 0;
  if (tcb.rackRttUs === 0) return 0;
  const words = tcb.home.sent.words;
  const limitUs = tcb.rackRttUs + reorderingWindow(tcb);
  const before = tcb.pipe;
  let waits = false;
  for (let at = tcb.xmitFirst; at >= 0;) {
    const sentUs = words[at + XMIT_US]!;
    if (!sentAfter(tcb.rackXmitUs, tcb.rackEnd, sentUs, words[at + END]! as Seq)) break;
    // Sent again in the very µs in which what has arrived was sent for the first time: not before it.
    if (sentUs === tcb.rackXmitUs && !tcb.rackRepeated && (words[at + FLAGS]! & ROW_REPEATED) !== 0) break;
    // Times are cut to whole µs.
    if (((nowUs - sentUs) | 0) + 1 < limitUs) {
      waits = true;
      break;
    }
    const later = words[at + LATER]!;
    markLost(tcb, at);
    at = later;
  }
  const lost = before - tcb.pipe;
  if (lost > 0) tcb.lostHint = -1;
  if (waits) {
    // The last of those that may be lost was sent no later than RACK.segment.
    const waitUs = limitUs - ((nowUs - tcb.rackXmitUs) | 0);
    tcb.reorderAt = deadline(tcb, Math.max(Math.ceil(waitUs / 1000), 1));
    tcb.home.arm(tcb, tcb.reorderAt);
  }
  news.lost += lost;
  return lost;
}

/** After a retransmission timeout (6.3): the oldest is lost, and what was sent a round trip and a window ago. */
export function markTimedOut(tcb: Tcb): void {
  const words = tcb.home.sent.words;
  const nowUs = tcb.home.nowUs;
  const limitUs = tcb.sack && tcb.rackRttUs > 0 ? tcb.rackRttUs + reorderingWindow(tcb) : 0;
  for (let at = tcb.xmitFirst; at >= 0;) {
    const later = words[at + LATER]!;
    if (at === tcb.sentFirst || ((nowUs - words[at + XMIT_US]!) | 0) >= limitUs) markLost(tcb, at);
    at = later;
  }
  tcb.lostHint = -1;
}
