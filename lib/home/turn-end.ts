/**
 * The end of a turn: TCBs that were marked while segments came in and calls were made. Owners are told,
 * what they left unread is settled, and `tcpOutput` runs once for each (RFC 9293 MUST-58, MUST-59). Here
 * also wait those senders that found the memory exhausted.
 */

import type { PacketMemory } from '../buffer/packet-memory.ts';
import { reportLater } from '../channel/report-later.ts';
import type { IpLayer } from '../ip/transport.ts';
import { POLLOUT } from '../socket.ts';
import { keptFromSender } from '../tcp/memory-shares.ts';
import { tcpOutput } from '../tcp/output.ts';
import { settle } from '../tcp/receive.ts';
import type { Tcb } from '../tcp/tcb.ts';
import type { TcpListener } from './tcp-listener.ts';

/** More free blocks than a sender asks for, so that it is worth telling it. */
const ENOUGH_BLOCKS = 64;

export class TurnEnd {
  readonly #ip: IpLayer;
  readonly #memory: PacketMemory;
  readonly #flush: () => void;
  /** TCBs with output or events, the first `#pendingCount`. Never shortened: V8 would throw its store away each turn. */
  readonly #pending: (Tcb | null)[] = [];
  #pendingCount = 0;
  #readyListeners: TcpListener[] = [];
  /** Senders that found the memory exhausted. */
  readonly #starved = new Set<Tcb>();
  /** Free blocks when they were last looked at. */
  #starvedFree = 0;

  constructor(ip: IpLayer, memory: PacketMemory, flush: () => void) {
    this.#ip = ip;
    this.#memory = memory;
    this.#flush = flush;
  }

  /** There is something to do for `tcb`. */
  pend(tcb: Tcb): void {
    if (tcb.pending) return;
    tcb.pending = true;
    this.#pending[this.#pendingCount++] = tcb;
  }

  /** The listener's owner is to be told. */
  noteReady(listener: TcpListener): void {
    if (listener.noted) return;
    listener.noted = true;
    this.#readyListeners.push(listener);
  }

  /** A `send` found no memory: POLLOUT is told when there is some again. */
  starve(tcb: Tcb): void {
    this.#starved.add(tcb);
    this.#starvedFree = Math.min(this.#starvedFree, this.#memory.freeBlocks);
  }

  /** Whether somebody waits for memory. */
  get starving(): boolean {
    return this.#starved.size > 0;
  }

  /** The connection is over: it waits for no memory. */
  forget(tcb: Tcb): void {
    this.#starved.delete(tcb);
  }

  /** Blocks have come back since the last look: tells those that `queueData` would give something now. */
  #feedStarved(): void {
    const { blockCount, freeBlocks } = this.#memory;
    for (const tcb of this.#starved) {
      if (freeBlocks <= keptFromSender(tcb) + Math.min(ENOUGH_BLOCKS, blockCount >> 5)) continue;
      this.#starved.delete(tcb);
      tcb.events |= POLLOUT;
      this.pend(tcb);
    }
  }

  /**
   * Data piles up for `tcb` while a turn goes on: it leaves already now, while the caches hold it. What
   * has come in is settled first, since the segments acknowledge it.
   */
  sendEarly(tcb: Tcb): void {
    if (!this.#ip.tx.ready) return;
    settle(tcb);
    tcpOutput(tcb);
    this.#flush();
  }

  /** Tells owners, settles, and produces output until nothing is left to do. */
  drain(): void {
    const tx = this.#ip.tx;
    for (;;) {
      if (this.#starved.size > 0) {
        const free = this.#memory.freeBlocks;
        if (free > this.#starvedFree) this.#feedStarved();
        this.#starvedFree = free;
      }
      if (this.#readyListeners.length > 0) this.#tellListeners();
      if (this.#pendingCount === 0) return;
      const pending = this.#pending;
      for (let i = 0; i < this.#pendingCount; i++) {
        if (!tx.ready) {
          this.#flush();
          if (!tx.ready) {
            // The link takes no more: the rest waits until it does (`Link` calls `writable`).
            this.#stall(i);
            return;
          }
        }
        const tcb = pending[i]!;
        pending[i] = null;
        if (tcb.events !== 0) this.#tell(tcb);
        if (this.#readyListeners.length > 0) this.#tellListeners();
        tcb.pending = false;
        settle(tcb);
        tcpOutput(tcb);
      }
      this.#pendingCount = 0;
    }
  }

  /** Output of `#pending[from …]` waits, but nobody is kept from hearing and no slab is kept from being reused. */
  #stall(from: number): void {
    const pending = this.#pending;
    pending.copyWithin(0, from, this.#pendingCount);
    pending.fill(null, this.#pendingCount - from, this.#pendingCount);
    this.#pendingCount -= from;
    for (let i = 0; i < this.#pendingCount; i++) {
      const tcb = pending[i]!;
      if (tcb.events !== 0) this.#tell(tcb);
      settle(tcb);
    }
    if (this.#readyListeners.length > 0) this.#tellListeners();
  }

  #tell(tcb: Tcb): void {
    const events = tcb.events;
    tcb.events = 0;
    const owner = tcb.owner;
    if (owner === null) return;
    try {
      owner.ready(tcb, events);
    } catch (error) {
      reportLater(error);
    }
  }

  #tellListeners(): void {
    const ready = this.#readyListeners;
    this.#readyListeners = [];
    for (const listener of ready) {
      listener.noted = false;
      if (listener.error === 0 && (listener.closed || listener.queue.length === 0)) continue;
      try {
        listener.ready();
      } catch (error) {
        reportLater(error);
      }
    }
  }
}
