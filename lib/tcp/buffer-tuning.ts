/**
 * Buffers that tune themselves: they grow to what the path, and whoever reads, can keep moving, up to the
 * configured maximum. Sockets that set SO_SNDBUF or SO_RCVBUF keep what they set.
 *
 * Bigger is not better. What does not fit into the path waits in a queue (the device's, the peer's), out of
 * cache, and is lost when that overflows; and a standing queue makes the present round trip as long as it
 * likes. So the measure is the rate at which data moves times the *least* round trip.
 */

import { seqDiff } from '../wire/seq.ts';
import type { Segment } from './segment.ts';
import type { Tcb } from './tcb.ts';

/** A rate is measured over this time at least, µs. */
const MEASURE_US = 10_000;
/** Bytes up to which a receive buffer covers the pauses of its reader as well; beyond, only the round trip counts. */
const PAUSES_MOST = 4 << 20;
/** A receiver's round trip this much longer than the one it knows is a longer path, not a queue; µs. */
const LONGER_PATH_US = 10_000;

/**
 * How often the bytes of one round trip must fit: twice, so that neither side waits for the other; four
 * times when the rate was measured over a single round trip, in which slow start may have doubled it.
 */
function headroom(rttUs: number, elapsedUs: number): number {
  return 2 + 2 * Math.min(rttUs / elapsedUs, 1);
}

/**
 * Called when new data is acknowledged. More than twice the congestion window is never of use.
 *
 * Where acknowledgments pass through others before they are here (`sndbufGrowth`), the buffer must cover the time
 * between two of them as well: while one batch is sent and acknowledged, the next is written.
 */
export function tuneSendBuffer(tcb: Tcb): void {
  const home = tcb.home;
  const modelled = tcb.congestion.model !== undefined;
  // In a repair a model goes on sending, and what has arrived behind the holes stays in the buffer.
  const most = Math.min(2 * (modelled ? Math.max(tcb.cwnd, tcb.flight) : tcb.cwnd), home.config.sndbufMax);
  const rttUs = tcb.minRttUs;
  if (tcb.sndbufLocked || most <= tcb.sndbufLimit || rttUs === 0) return;
  const nowUs = home.nowUs;
  if (nowUs !== tcb.ackedUs) {
    tcb.ackedUs = nowUs;
    tcb.ackTurns++;
  }
  const elapsedUs = (nowUs - tcb.deliveredUs) | 0;
  if (elapsedUs >= 0 && elapsedUs < Math.max(rttUs, MEASURE_US)) return;
  const delivered = seqDiff(tcb.sndUna, tcb.deliveredSeq);
  tcb.deliveredUs = nowUs;
  tcb.deliveredSeq = tcb.sndUna;
  const intervalUs = elapsedUs / tcb.ackTurns;
  tcb.ackTurns = 0;
  // A measurement that was interrupted by silence says nothing.
  if (elapsedUs <= 0 || elapsedUs > 4 * (tcb.srttUs + MEASURE_US)) return;
  const rate = headroom(rttUs, elapsedUs) * (delivered / elapsedUs);
  // A model of the path must never take the buffer's limit for the application's; it makes no queue that would grow with it.
  const wanted = modelled ? most : Math.min(rate * rttUs, most);
  if (wanted > tcb.sndbufLimit) tcb.sndbufLimit = Math.floor(wanted);
  const grown = share(home.sndbufGrowth, Math.min(rate * (rttUs + intervalUs), most) - tcb.sndbufLimit);
  tcb.sndbufLimit += grown;
  tcb.sndbufGrown += grown;
  home.sndbufGrowth -= grown;
}

/** What one buffer gets of what is left: half at a time, so that others that grow now get something, too. */
function share(left: number, wanted: number): number {
  return Math.max(Math.floor(Math.min(wanted, left / 2)), 0);
}

/** The round trip as a receiver sees it: from telling a timestamp to its echo, on a clock of 1 ms. */
export function noteReceiverRtt(tcb: Tcb, segment: Segment): void {
  if (!tcb.timestamps || segment.tsEcr === 0) return;
  const elapsedMs = (tcb.home.nowMs + tcb.tsOffset - segment.tsEcr) | 0;
  if (elapsedMs < 0 || elapsedMs > 60_000) return;
  const sampleUs = elapsedMs * 1000 + 500;
  // The handshake may have been slow for other reasons: the first connection of a process is.
  if (sampleUs < tcb.minRttUs) tcb.minRttUs = sampleUs;
  tcb.rcvRttUs = tcb.rcvRttUs === 0 ? sampleUs : tcb.rcvRttUs + ((sampleUs - tcb.rcvRttUs) >> 3);
}

/**
 * Called when the application has read. Beside the round trip the window must cover the time between
 * two reads: while one batch is worked on, the peer fills the next.
 */
export function tuneReceiveBuffer(tcb: Tcb): void {
  if (tcb.rcvbufLocked) return;
  const home = tcb.home;
  const nowUs = home.nowUs;
  if (nowUs !== tcb.readUs) {
    tcb.readUs = nowUs;
    tcb.reads++;
  }
  const known = tcb.minRttUs;
  const rttUs = known === 0 || tcb.rcvRttUs > known + LONGER_PATH_US ? tcb.rcvRttUs : known;
  if (rttUs === 0) return;
  const elapsedUs = (nowUs - tcb.tuneUs) | 0;
  if (elapsedUs >= 0 && elapsedUs < Math.max(rttUs, MEASURE_US)) return;
  const read = seqDiff(tcb.rcvRead, tcb.tuneSeq);
  const intervalUs = elapsedUs / tcb.reads;
  tcb.tuneUs = nowUs;
  tcb.tuneSeq = tcb.rcvRead;
  tcb.reads = 0;
  if (elapsedUs <= 0 || elapsedUs > 4 * (rttUs + MEASURE_US)) return;
  const rate = headroom(rttUs, elapsedUs) * (read / elapsedUs);
  const withPauses = Math.min(rate * (rttUs + intervalUs) + 16 * tcb.rcvMss, PAUSES_MOST);
  const wanted = Math.min(Math.max(rate * rttUs, withPauses), home.config.rcvbufMax);
  const grown = share(home.rcvbufGrowth, wanted - tcb.rcvbufLimit);
  tcb.rcvbufLimit += grown;
  tcb.rcvbufGrown += grown;
  home.rcvbufGrowth -= grown;
}
