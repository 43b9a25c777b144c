/**
 * ICMP errors about a connection (RFC 9293 3.9.2.2; RFC 5927: only such as quote a sequence number in
 * flight are believed). Soft errors are remembered and reported if the connection fails; while it is
 * being opened an error ends the attempt, as Linux has it.
 */

import type { IcmpError } from '../ip/packet.ts';
import { seqGeq, seqLt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { TCP_SEQ } from '../wire/tcp.ts';
import { updateSndMss } from './emit.ts';
import { retransmitAfterMtu } from './recovery.ts';
import { ESTABLISHED, SYN_SENT } from './states.ts';
import type { Tcb } from './tcb.ts';
import { abortWith } from './ending.ts';

/** Returns whether the quoted segment is one that we sent and that is still unacknowledged. */
export function tcpIcmpError(tcb: Tcb, error: IcmpError): boolean {
  const counters = tcb.home.counters;
  const seq = error.view.getInt32(error.offset + TCP_SEQ) as Seq;
  if (!(seqGeq(seq, tcb.sndUna) && seqLt(seq, tcb.sndNxt))) {
    counters.IcmpErrorsIgnored++;
    return false;
  }
  counters.IcmpErrors++;
  // Path MTU news: IP takes the value over and calls `pathMtuChanged`.
  if (error.mtu > 0 || error.errno === 0) return true;
  if (tcb.state === SYN_SENT) {
    counters.AttemptFails++;
    abortWith(tcb, error.errno, false);
  } else {
    tcb.softError = error.errno;
  }
  return true;
}

/** The path MTU of the connection's destination changed. What is in flight was too large: it is sent again. */
export function tcpPathMtu(tcb: Tcb): void {
  const before = tcb.sndMss;
  if (tcb.home.ip.route(tcb.flow) < 0) return;
  updateSndMss(tcb);
  if (tcb.state >= ESTABLISHED && tcb.sndMss < before) {
    retransmitAfterMtu(tcb);
    tcb.home.pend(tcb);
  }
}
