/**
 * Who may have the last blocks of a stack's memory. Without an order, two stacks whose send buffers have
 * taken all of it wait for each other for ever: neither can receive, so neither acknowledges.
 *
 *     free    all ───────── 1/4 ──────────── 3/16 ─────────── 1/8 ─────────── 1/16 ──────────── 0
 *     until   a send buffer  a receive buffer  an empty send   a receive buffer  the next bytes of
 *             that holds     that holds        buffer; data    with little       whoever has read
 *             data           unread data       out of order    unread            everything
 *
 * Each of these gives its blocks back without the help of those to its left: what was read in order is
 * free at once, what is out of order becomes readable when the gap is filled, and what was sent leaves
 * when the peer can receive. What is unread waits for the application, which may never read: so whoever has
 * much of it makes way for others. (Datagrams wait in three eighths less than all: see datagram-queue.ts.)
 */

import { BLOCK_SHIFT } from '../buffer/packet-memory.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import { QUARTER_OF_MEMORY } from '../limits.ts';
import { seqDiff } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import type { TcpCounters } from './counters.ts';
import type { Tcb } from './tcb.ts';

/** Free blocks that `tcb` must leave when it queues data to send. */
export function keptFromSender(tcb: Tcb): number {
  return tcb.home.memory.blockCount >> (tcb.sndEnd === tcb.sndBase ? 3 : 2);
}

/** Free blocks that data out of order must leave. */
export function keptFromOutOfOrder(memory: PacketMemory): number {
  return memory.blockCount >> 3;
}

/** Blocks of a receive buffer that has little unread. */
const LITTLE = 1;

/** Free blocks that data in order must leave, when some is unread already: all, when its application has too much unread. */
export function keptFromUnread(tcb: Tcb): number {
  const { blockCount } = tcb.home.memory;
  if (heldBack(tcb)) return blockCount;
  return tcb.rcvBuffer.held > LITTLE ? (blockCount >> 4) * 3 : blockCount >> 4;
}

/** Whether those that share an account with this connection have as much unread as they may, all together. */
export function heldBack(tcb: Tcb): boolean {
  const { account } = tcb.rcvBuffer;
  return account !== null && account.full;
}

/**
 * What all connections of a home hold out of order, in blocks, with one hard bound. Who sends with holes on purpose
 * fills it at no cost of his own, so it is shared by size: when it is full, a connection that holds less than
 * another, or nothing, takes from that one (Linux prunes as well, tcp_prune_ofo_queue, but only within a connection).
 * What is given up was SACKed at best, never acknowledged (RFC 2018 section 8), and comes again.
 *
 * Connections that hold something are kept by the power of two below their blocks: one of the largest, within a
 * factor of two, is found without a search. A connection without holes is in none of the sets.
 */
export class OutOfOrderShares {
  readonly limitBlocks: number;
  usedBlocks = 0;
  readonly #counters: TcpCounters;
  readonly #sets: Set<Tcb>[] = [];
  /** Index of the last set that may have something in it. */
  #top = -1;

  /** @param limitBytes  `QUARTER_OF_MEMORY`, or a number of bytes */
  constructor(memory: PacketMemory, limitBytes: number, counters: TcpCounters) {
    this.limitBlocks = limitBytes === QUARTER_OF_MEMORY ? memory.blockCount >> 2 : limitBytes >> BLOCK_SHIFT;
    this.#counters = counters;
  }

  /** Whether `tcb` may take so many blocks more. Those who hold more than it would then give some up for it. */
  admit(tcb: Tcb, blocks: number): boolean {
    if (blocks > this.limitBlocks) return false;
    while (this.usedBlocks + blocks > this.limitBlocks) {
      const largest = this.#largestBeside(tcb);
      if (largest === null) return false;
      // Where all have as much as this one asks for, only a newcomer gets it, from who has had it the longest: those who
      // repair a loss are done in a round trip, those who fill the memory on purpose stay.
      const fair = tcb.oooBlocks === 0 ? largest.oooBlocks >= blocks : largest.oooBlocks > tcb.oooBlocks + blocks;
      if (!fair) return false;
      this.#counters.OfoPruned++;
      pruneOutOfOrder(largest, largest.oooBlocks >> 1);
      this.note(largest);
    }
    return true;
  }

  /** What `tcb` holds out of order has changed. */
  note(tcb: Tcb): void {
    const before = tcb.oooBlocks;
    const blocks = tcb.oooCount === 0 ? 0 : tcb.rcvBuffer.heldBeyond(tcb.rcvStored);
    if (blocks === before) return;
    tcb.oooBlocks = blocks;
    this.usedBlocks += blocks - before;
    const from = before === 0 ? -1 : 31 - Math.clz32(before);
    const to = blocks === 0 ? -1 : 31 - Math.clz32(blocks);
    if (from === to) return;
    if (from >= 0) this.#sets[from]!.delete(tcb);
    if (to < 0) return;
    while (this.#sets.length <= to) this.#sets.push(new Set());
    this.#sets[to]!.add(tcb);
    if (to > this.#top) this.#top = to;
  }

  #largestBeside(tcb: Tcb): Tcb | null {
    for (; this.#top >= 0; this.#top--) {
      for (const one of this.#sets[this.#top]!) if (one !== tcb) return one;
      if (this.#sets[this.#top]!.size > 0) {
        // Only `tcb` itself is there; whoever is below holds less than it does.
        return null;
      }
    }
    return null;
  }
}

/** Gives up ranges out of order, the highest first, until no more than `blocks` are held. The lowest are the next to be read. */
function pruneOutOfOrder(tcb: Tcb, blocks: number): void {
  const ooo = tcb.ooo!;
  const { rcvBuffer, rcvStored } = tcb;
  while (tcb.oooCount > 0) {
    tcb.oooCount--;
    if (tcb.oooCount === 0) {
      tcb.ooo = null;
      if (rcvStored === 0) rcvBuffer.clear();
      else rcvBuffer.cut(rcvStored);
      return;
    }
    rcvBuffer.cut(seqDiff(ooo[tcb.oooCount * 2 - 1]! as Seq, tcb.rcvRead));
    if (rcvBuffer.heldBeyond(rcvStored) <= blocks) return;
  }
}

/** A segment out of order was not kept: nor is what was stored of it. */
export function dropUnremembered(tcb: Tcb): void {
  if (tcb.oooCount > 0) tcb.rcvBuffer.cut(seqDiff(tcb.ooo![tcb.oooCount * 2 - 1]! as Seq, tcb.rcvRead));
  else if (tcb.rcvStored === 0) tcb.rcvBuffer.clear();
  else tcb.rcvBuffer.cut(tcb.rcvStored);
}
