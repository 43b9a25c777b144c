/** Round-trip time and retransmission timeout (RFC 6298), in µs; clock granularity G is 1 ms. */

import type { Tcb } from './tcb.ts';

const G_US = 1000;
/** The least round trip is forgotten after this time, as in Linux (tcp_min_rtt_wlen). */
const MIN_RTT_LIFE_MS = 300_000;

/** The least round trip, of this or the last minutes; `rttUs` 0: no measurement. */
export function noteLeastRtt(tcb: Tcb, rttUs: number): void {
  if (rttUs === 0) return;
  const nowMs = tcb.home.nowMs;
  if (tcb.minRttUs === 0 || rttUs <= tcb.minRttUs || ((nowMs - tcb.minRttMs) | 0) > MIN_RTT_LIFE_MS) {
    tcb.minRttUs = rttUs;
    tcb.minRttMs = nowMs;
  }
}

/** Takes a measurement of a segment that was sent once only (Karn's algorithm, section 3). */
export function sampleRtt(tcb: Tcb, rttUs: number): void {
  if (rttUs < 1) rttUs = 1;
  noteLeastRtt(tcb, rttUs);
  if (tcb.srttUs === 0) {
    // (2.2)
    tcb.srttUs = rttUs;
    tcb.rttvarUs = rttUs >> 1;
  } else {
    // (2.3) with alpha = 1/8, beta = 1/4
    const error = Math.abs(tcb.srttUs - rttUs);
    tcb.rttvarUs = (3 * tcb.rttvarUs + error) >> 2;
    tcb.srttUs = Math.max((7 * tcb.srttUs + rttUs) >> 3, 1);
  }
  // Not before: an ACK of what was repeated tells nothing, and the longer timeout must go on (Karn; section 5, end).
  tcb.backoff = 0;
  updateRto(tcb);
}

/**
 * (2.3), (2.4), (2.5). As Linux does, the minimum is one of the variance term, not of the sum: on a
 * steady path of a long round trip the peer's delayed ACK would come after SRTT and little more.
 */
export function updateRto(tcb: Tcb): void {
  const config = tcb.home.config;
  const rtoUs = tcb.srttUs + Math.max(config.minRtoMs * 1000, G_US, 4 * tcb.rttvarUs);
  tcb.rtoMs = Math.min(Math.floor(rtoUs / 1000), config.maxRtoMs);
}

/** The timeout to arm now, with its backoff (5.5). */
export function currentRto(tcb: Tcb): number {
  return Math.min(tcb.rtoMs * 2 ** Math.min(tcb.backoff, 20), tcb.home.config.maxRtoMs);
}
