/** A listening socket's side of the connection table: half-open connections and those ready to be accepted, bounded. */

import type { Tcb } from '../tcp/tcb.ts';

/** Linux's net.core.somaxconn. */
export const MAX_BACKLOG = 4096;

export class TcpListener {
  /** Bound address (words) and port; see PortUser. */
  readonly b0: number;
  readonly b1: number;
  readonly b2: number;
  readonly b3: number;
  readonly port: number;
  readonly v6only: boolean;
  backlog = 1;
  /** Name of the congestion control of new connections. */
  congestion: string;
  readonly halfOpen = new Set<Tcb>();
  /** Of `halfOpen`: those whose last ACK has come, and found the queue full. */
  readonly proven = new Set<Tcb>();
  readonly queue: Tcb[] = [];
  closed = false;
  noted = false;
  /** Hands the listener's settings on to a new connection. */
  readonly prepare: (tcb: Tcb) => void;
  /** Connections wait in `queue`. */
  readonly ready: () => void;

  constructor(
    address: { w0: number; w1: number; w2: number; w3: number }, port: number, v6only: boolean, backlog: number, congestion: string,
    prepare: (tcb: Tcb) => void, ready: () => void,
  ) {
    this.b0 = address.w0;
    this.b1 = address.w1;
    this.b2 = address.w2;
    this.b3 = address.w3;
    this.port = port;
    this.v6only = v6only;
    this.setBacklog(backlog);
    this.congestion = congestion;
    this.prepare = prepare;
    this.ready = ready;
  }

  /** listen(2): how many connections may wait to be accepted, and be half open, 1 to `MAX_BACKLOG`. */
  setBacklog(backlog: number): void {
    this.backlog = Math.min(Math.max(backlog, 1), MAX_BACKLOG);
  }

  /** Whether no more connections may wait to be accepted (one more than the backlog says, as in Linux). */
  get full(): boolean {
    return this.queue.length > this.backlog;
  }
}
