/**
 * A connected flow of an application: both addresses, both ports ("each side does a connect system call to
 * bind the remote address within TCPK", 3.1.1 of the report), and the little of its TCP that TCPK reads in
 * passing, so that it can end the connection when the application dies, and tell an ICMP error that is
 * about it from one that is forged.
 */

import { IpFlow } from '../ip/flow.ts';
import type { Seq } from '../wire/seq.ts';
import type { Application } from './application.ts';

export class AppFlow {
  readonly app: Application;
  /** The application's number for it. */
  readonly handle: number;
  readonly ip = new IpFlow();
  /** `local << 16 | remote` */
  ports = 0;
  /** Index in the port table, -1 when not there. */
  entry = -1;
  /** One past the highest sequence number that the application has sent; the highest that was acknowledged. */
  sndNxt = 0 as Seq;
  sndUna = 0 as Seq;
  /** The last acknowledgment number that it sent. */
  rcvNxt = 0 as Seq;
  /**
   * Payload of the largest segment sent, and where that ended; of the largest acknowledged. What ICMP said of the path
   * MTU although larger segments had got through, and of which segment; 0: nothing (RFC 5927 7.2).
   */
  mostSent = 0;
  mostSentEnd = 0 as Seq;
  mostAcked = 0;
  claimedMtu = 0;
  claimedSeq = 0 as Seq;
  /** Whether sndNxt and sndUna, and rcvNxt, are known. */
  sent = false;
  acked = false;
  /** The application has sent RST: nothing is left to end. */
  reset = false;

  constructor(app: Application, handle: number) {
    this.app = app;
    this.handle = handle;
  }
}
