/** A listening socket's side of the connection table: half-open connections and those ready to be accepted, bounded. */

import type { Tcb } from '../tcp/tcb.ts';

/** How long a reset counts as if the connection were still opening, ms. */
const FAST_OPEN_RESET_MS = 60_000;
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
  /** Most connections that may be open by their SYN alone (Fast Open); 0: none. Those that are. */
  fastOpenQueue = 0;
  readonly fastOpens = new Set<Tcb>();
  /** When connections of `fastOpens` were reset, oldest first (int32 ms). */
  readonly #fastOpenResets: number[] = [];
  closed = false;
  /** Why it never takes a connection again, as errno; 0 as long as it does. */
  error = 0;
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

  /**
   * Whether one more may be open by its SYN alone. Who resets such a connection does not make room by it: SYNs sent in
   * the name of others, with cookies that were got at their addresses, would otherwise have no bound (RFC 7413 5.1).
   */
  mayFastOpen(nowMs: number): boolean {
    const resets = this.#fastOpenResets;
    while (resets.length > 0 && ((nowMs - resets[0]!) >>> 0) >= FAST_OPEN_RESET_MS) resets.shift();
    return this.fastOpens.size + resets.length < this.fastOpenQueue;
  }

  /** `tcb` is no more open by its SYN alone; whether because of a reset. */
  endFastOpen(tcb: Tcb, reset: boolean, nowMs: number): void {
    if (this.fastOpens.delete(tcb) && reset) this.#fastOpenResets.push(nowMs);
  }
}
