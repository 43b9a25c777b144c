/** A reply to an echo request: what echo sockets, in the stack and across the boundary of processes, hand to `onreply`. */

import type { EchoReplyInfo } from '../socket.ts';
import { formatAddress } from '../wire/address.ts';

/** An echo reply. One object a socket; valid during `onreply`. */
export class EchoReply implements EchoReplyInfo {
  seq = 0;
  /** Bytes of ICMP, the header's 8 included, as `ping` counts them. */
  bytes = 0;
  /** TTL or hop limit, and traffic class octet, as they arrived. */
  ttl = 0;
  tos = 0;
  /** µs from sending to arrival at the link. */
  rttUs = 0;
  /** Another reply to the same request came before. */
  duplicate = false;
  w0 = 0;
  w1 = 0;
  w2 = 0;
  w3 = 0;

  /** The sender as text. */
  get from(): string {
    return formatAddress(this.w0, this.w1, this.w2, this.w3);
  }
}
