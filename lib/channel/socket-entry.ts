/** A socket that a classic application has in the stack, and what is known of how far the application has heard of it. */

import type { SocketAccounts } from '../buffer/memory-account.ts';
import type { BsdSocket, DatagramSocket, EchoErrorInfo, IcmpEchoSocket, UdpErrorInfo } from '../socket.ts';

/** Sockets that can be told whose they are, and who is charged with what they hold. */
export interface OwnedSocket {
  owner?: object;
  uid?: number;
  accounts?: SocketAccounts | null;
  /** There is room again in `accounts.unread`. */
  roomAgain?(): void;
}

/** A socket of the application: one of the three is not null. */
export class SocketEntry {
  number = 0;
  tcp: BsdSocket | null = null;
  udp: DatagramSocket | null = null;
  echo: IcmpEchoSocket | null = null;
  /** Events that the application was told of and has not seen yet, as far as known; what happened besides. */
  told = 0;
  waiting = 0;
  /** A call on it is going on: what it causes is told at its end. */
  busy = false;
  /** A send was turned away because all sockets together have too much queued. */
  starved = false;
  /** Calls so far, modulo 256. */
  calls = 0;
  errors: (({ errno: number }) & (UdpErrorInfo | EchoErrorInfo))[] | null = null;
  replies: Int32Array | null = null;
  replyCount = 0;
  /** What SO_RCVBUF shows while the application has not set it; -1 after that. */
  rcvbuf = -1;
}
