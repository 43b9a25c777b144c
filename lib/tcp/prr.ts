/**
 * Proportional rate reduction (RFC 6937, with the reduction bound of its successor draft-ietf-tcpm-prr-rfc6937bis):
 * while a loss is repaired, or the network has asked to slow down, what leaves is in proportion to what arrives, so
 * that the pipe comes down to `ssthresh` smoothly, and is filled up to it again when loss has emptied it.
 *
 * The window during the repair is `pipe` and what may leave now.
 */

import { news } from './delivery.ts';
import type { Tcb } from './tcb.ts';

/** A reduction begins; congestion control has set `ssthresh`. */
export function beginReduction(tcb: Tcb, flight: number): void {
  tcb.prrDelivered = 0;
  tcb.prrOut = 0;
  tcb.recoverFs = Math.max(flight, tcb.sndMss);
}

/** An acknowledgment has come; `acked`: SND.UNA has moved. What is lost is marked. Sets `cwnd`. */
export function reduceInProportion(tcb: Tcb, acked: boolean): void {
  const mss = tcb.sndMss;
  const pipe = tcb.pipe;
  tcb.prrDelivered += news.acked;
  let room: number;
  if (pipe > tcb.ssthresh) {
    room = Math.ceil((tcb.prrDelivered * tcb.ssthresh) / tcb.recoverFs) - tcb.prrOut;
  } else {
    // Conservation only, when this acknowledgment told of more loss; else slow start up to ssthresh.
    room = Math.max(tcb.prrDelivered - tcb.prrOut, news.acked);
    if (acked && news.lost === 0) room += mss;
    room = Math.min(room, tcb.ssthresh - pipe);
  }
  tcb.cwnd = Math.max(pipe + Math.max(room, 0), mss);
}
