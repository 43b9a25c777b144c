/**
 * Who may have the last blocks of a stack's memory. Without an order, two stacks whose send buffers have
 * taken all of it wait for each other for ever: neither can receive, so neither acknowledges.
 *
 *     free    all ───────────── 1/4 ──────────── 1/8 ─────────── 1/16 ──────────── 0
 *     until   a send buffer      an empty send    a receive buffer  the next bytes of
 *             that holds data    buffer; data     that holds        whoever has read
 *                                out of order     unread data       everything
 *
 * Each of these gives its blocks back without the help of those to its left: what was read in order is
 * free at once, what is out of order becomes readable when the gap is filled, and what was sent leaves
 * when the peer can receive. (Datagrams wait in three eighths less than all: see datagram-queue.ts.)
 */

import type { PacketMemory } from '../buffer/packet-memory.ts';
import type { Tcb } from './tcb.ts';

/** Free blocks that `tcb` must leave when it queues data to send. */
export function keptFromSender(tcb: Tcb): number {
  return tcb.home.memory.blockCount >> (tcb.sndEnd === tcb.sndBase ? 3 : 2);
}

/** Free blocks that data out of order must leave. */
export function keptFromOutOfOrder(memory: PacketMemory): number {
  return memory.blockCount >> 3;
}

/** Free blocks that data in order must leave, when some is unread already. */
export function keptFromUnread(memory: PacketMemory): number {
  return memory.blockCount >> 4;
}
