/**
 * Undo: a repair that turns out to have been for nothing must not cost the window (RFC 4015, RFC 3708). That it was
 * for nothing is told
 *  - by timestamps (Eifel, RFC 3522): the acknowledgment echoes a time before the first retransmission;
 *  - by D-SACK (RFC 2883, 3708): every retransmission arrived as a duplicate;
 *  - after a timeout, by data that was never sent again and is acknowledged all the same (F-RTO, RFC 5682).
 */

import { seqGeq } from '../wire/seq.ts';
import { news } from './delivery.ts';
import type { Segment } from './segment.ts';
import { unmarkLost } from './sent-segments.ts';
import { RECOVERY_LOSS, RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';

/** The windows are about to be reduced: remembers them. */
export function rememberWindows(tcb: Tcb): void {
  tcb.undoable = true;
  tcb.undoSeq = tcb.sndUna;
  // What an earlier repair has sent may still be on its way, and is not spurious for coming before this one's.
  tcb.undoBytes = tcb.rtxBytes;
  if (tcb.rtxBytes === 0) tcb.undoSent = false;
  tcb.priorCwnd = tcb.cwnd;
  tcb.priorSsthresh = tcb.ssthresh;
}

/** `bytes` are sent again. */
export function noteRepair(tcb: Tcb, bytes: number): void {
  if (!tcb.undoSent) {
    tcb.undoSent = true;
    tcb.repairTs = (tcb.home.nowMs + tcb.tsOffset) | 0;
  }
  tcb.undoBytes += bytes;
}

/** Undoes the reduction if this acknowledgment shows that there was no cause for it. Returns whether it did. */
export function tryUndo(tcb: Tcb, segment: Segment, acked: number): boolean {
  if (!tcb.undoable) return false;
  const counters = tcb.home.counters;
  if (tcb.undoSent && tcb.undoBytes === 0 && news.dsack) {
    counters.UndoDsack++;
  } else if (tcb.recovery !== RECOVERY_OPEN && acked > 0 && tcb.timestamps && tcb.undoSent && segment.tsEcr !== 0
    && ((segment.tsEcr - tcb.repairTs) | 0) < 0) {
    counters.UndoTimestamp++;
  } else if (tcb.recovery === RECOVERY_LOSS && tcb.frto && news.original && (tcb.sack || !news.repeated)) {
    counters.UndoFrto++;
  } else {
    return false;
  }
  undo(tcb);
  return true;
}

function undo(tcb: Tcb): void {
  if (tcb.recovery === RECOVERY_LOSS) {
    tcb.home.counters.SpuriousRtos++;
    tcb.backoff = 0;
  }
  tcb.undoable = false;
  tcb.frto = false;
  tcb.recovery = RECOVERY_OPEN;
  tcb.renoSacked = 0;
  if (tcb.lostBytes > 0) unmarkLost(tcb);
  tcb.cwnd = Math.max(tcb.cwnd, tcb.priorCwnd);
  tcb.ssthresh = Math.max(tcb.ssthresh, tcb.priorSsthresh);
  // What was in flight then begins no repair of its own (RFC 6582 3.2).
  if (!seqGeq(tcb.recover, tcb.sndUna)) tcb.recover = tcb.sndUna;
  tcb.congestion.onUndo(tcb, tcb.home.nowMs);
}
