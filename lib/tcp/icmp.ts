/**
 * ICMP errors about a connection (RFC 9293 3.9.2.2), and what forged ones cannot do (RFC 5927):
 *
 * - Only an error that quotes a sequence number in flight is believed (4.1).
 * - None ends a connection that is synchronized (5.2): it is remembered, and reported if the connection fails. While a
 *   connection is being opened an error ends the attempt, as Linux has it.
 * - Source quench is ignored (6; RFC 6633). lib/ip sees to that, and to values that no path has.
 * - A path MTU is taken over at once as long as no larger segment has been acknowledged: that is how it is found out when
 *   a connection begins. After that it is set aside, and counts only if the segment that it complains of is not
 *   acknowledged in time (7.2): a path that carries larger segments does not carry smaller ones only.
 */

import type { IcmpError } from '../ip/packet.ts';
import { seqGeq, seqLt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { OPTLEN_TIMESTAMPS_PADDED, TCP_HEADER, TCP_SEQ } from '../wire/tcp.ts';
import { updateSndMss } from './emit.ts';
import { onMtuNews } from './plpmtud.ts';
import { retransmitAfterMtu } from './recovery.ts';
import { ESTABLISHED, SYN_SENT } from './states.ts';
import type { Tcb } from './tcb.ts';
import { abortWith } from './ending.ts';

/** Returns whether the error is to be believed: the quoted segment is one that we sent and that is still unacknowledged. */
export function tcpIcmpError(tcb: Tcb, error: IcmpError): boolean {
  const counters = tcb.home.counters;
  const seq = error.view.getInt32(error.offset + TCP_SEQ) as Seq;
  if (!(seqGeq(seq, tcb.sndUna) && seqLt(seq, tcb.sndNxt))) {
    counters.IcmpErrorsIgnored++;
    return false;
  }
  counters.IcmpErrors++;
  if (error.mtu > 0) {
    // IP takes the value over and calls `pathMtuChanged`.
    if (error.mtu >= acknowledgedSize(tcb)) return true;
    counters.IcmpMtuDeferred++;
    tcb.icmpMtu = error.mtu;
    tcb.icmpSeq = seq;
    return false;
  }
  if (error.errno === 0) return true;
  if (tcb.state === SYN_SENT) {
    counters.AttemptFails++;
    abortWith(tcb, error.errno, false);
  } else {
    tcb.softError = error.errno;
  }
  return true;
}

/** Size of a packet as large as the largest segments that have been acknowledged since the MSS last changed; 0: none was. */
function acknowledgedSize(tcb: Tcb): number {
  if (tcb.fullMss === 0 || tcb.bytesAcked < tcb.fullEnd) return 0;
  return tcb.fullMss + tcb.flow.headerLength + TCP_HEADER + (tcb.timestamps ? OPTLEN_TIMESTAMPS_PADDED : 0);
}

/** The retransmission timer has fired: what ICMP has said of a segment that is still not acknowledged is true, it seems. */
export function takeDeferredMtu(tcb: Tcb): void {
  const mtu = tcb.icmpMtu;
  tcb.icmpMtu = 0;
  if (seqGeq(tcb.icmpSeq, tcb.sndUna) && seqLt(tcb.icmpSeq, tcb.sndNxt)) tcb.home.ip.lowerPathMtu(tcb.flow, mtu);
}

/** The path MTU of the connection's destination changed. What is in flight was too large: it is sent again. */
export function tcpPathMtu(tcb: Tcb): void {
  const before = tcb.sndMss;
  const mtu = tcb.flow.mtu;
  if (tcb.home.ip.route(tcb.flow) < 0) return;
  if (tcb.flow.mtu !== mtu) onMtuNews(tcb);
  updateSndMss(tcb);
  if (tcb.state >= ESTABLISHED && tcb.sndMss < before) {
    retransmitAfterMtu(tcb);
    tcb.home.pend(tcb);
  }
}
