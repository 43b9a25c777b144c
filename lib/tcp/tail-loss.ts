/**
 * Tail loss probes (RFC 8985 section 7): when the last segments of a flight are lost, nothing tells of it until the
 * retransmission timeout. So after two round trips of silence one more segment is sent, new data if there is any,
 * else the last one again; what it brings back lets RACK do the rest. When it shows to be timed is in timers.ts.
 */

import { seqAdd, seqDiff, seqGeq, seqGt, seqMax } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { news } from './delivery.ts';
import type { Segment } from './segment.ts';
import { END, START, noteSentAgain, splitRow } from './sent-segments.ts';
import { RECOVERY_OPEN, PROBE_NEW, PROBE_NONE, PROBE_REPEATED } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { armRetransmit } from './timers.ts';
import { sendAgain, sendNext, unsent, windowRoom } from './transmit.ts';

/** The probe timer fired (7.3). */
export function sendLossProbe(tcb: Tcb): void {
  if (tcb.recovery !== RECOVERY_OPEN || tcb.flight === 0 || tcb.sackedBytes > 0 || tcb.probe !== PROBE_NONE) return;
  const length = Math.min(unsent(tcb), tcb.sndMss);
  if (length > 0 && length <= windowRoom(tcb) && sendNext(tcb, length, false)) tcb.probe = PROBE_NEW;
  else if (repeatLast(tcb)) tcb.probe = PROBE_REPEATED;
  else return;
  tcb.probeEnd = tcb.sndNxt;
  tcb.home.counters.LossProbes++;
  tcb.tailAt = 0;
  armRetransmit(tcb);
}

/** Sends the last segment again. It is not thought lost. */
function repeatLast(tcb: Tcb): boolean {
  let at = tcb.sentLast;
  if (at < 0) return false;
  const end = tcb.home.sent.words[at + END]! as Seq;
  const start = seqMax(seqAdd(end, -tcb.sndMss), tcb.home.sent.words[at + START]! as Seq);
  if (!sendAgain(tcb, start, seqDiff(end, start))) return false;
  if (start !== tcb.home.sent.words[at + START]) {
    at = splitRow(tcb, at, start);
    if (at < 0) return true;
  }
  noteSentAgain(tcb, at, false);
  return true;
}

/** An acknowledgment has come while a probe is out (7.4.2). Returns whether the probe has repaired a loss, which nothing else has told. */
export function probeAnswered(tcb: Tcb, segment: Segment, acked: number): boolean {
  if (!seqGeq(segment.ack, tcb.probeEnd)) return false;
  const repeated = tcb.probe === PROBE_REPEATED;
  const twice = news.dsack && news.dsackRight === tcb.probeEnd;
  if (!repeated || twice) {
    tcb.probe = PROBE_NONE;
    return false;
  }
  if (seqGt(segment.ack, tcb.probeEnd)) {
    tcb.probe = PROBE_NONE;
    tcb.home.counters.LossProbeRecoveries++;
    return true;
  }
  // Once more the same ACK, without SACK: the original and the probe have both arrived.
  if (acked === 0 && segment.sackCount === 0 && segment.segLen === 0) tcb.probe = PROBE_NONE;
  return false;
}
