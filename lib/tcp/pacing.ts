/**
 * Pacing: output is spread over the round trip at the rate that congestion control asks for (`tcb.pacingRate`),
 * instead of leaving in bursts (RFC 9438 does not ask for it; BBR does). A bucket of credit fills with time, and
 * holds a few milliseconds' worth, since timers have milliseconds; what may not leave yet waits for `paceAt`.
 */

import type { Tcb } from './tcb.ts';
import { deadline } from './timers.ts';

/** The bucket holds what the rate gives in this time, µs, and two segments. */
const DEPTH_US = 5000;
/** More than anything that could be sent: no pacing. */
const UNPACED = 0x3fffffff;

/** Bytes that may leave now. */
export function paceRoom(tcb: Tcb): number {
  const rate = tcb.pacingRate;
  if (rate === 0) return UNPACED;
  const nowUs = tcb.home.nowUs;
  const elapsedUs = (nowUs - tcb.paceUs) >>> 0;
  tcb.paceUs = nowUs;
  const depth = (rate * DEPTH_US) / 1e6 + 2 * tcb.sndMss;
  tcb.paceCredit = Math.min(tcb.paceCredit + (rate * elapsedUs) / 1e6, depth);
  return Math.floor(tcb.paceCredit);
}

/** `bytes` have left. */
export function spendCredit(tcb: Tcb, bytes: number): void {
  if (tcb.pacingRate > 0) tcb.paceCredit -= bytes;
}

/** Output waits until there is credit for a segment. */
export function armPacing(tcb: Tcb): void {
  if (tcb.paceAt !== 0) return;
  const waitMs = Math.ceil(((tcb.sndMss - tcb.paceCredit) * 1000) / tcb.pacingRate);
  tcb.paceAt = deadline(tcb, Math.min(Math.max(waitMs, 1), 1000));
  tcb.home.arm(tcb, tcb.paceAt);
}
