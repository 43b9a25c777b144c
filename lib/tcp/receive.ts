/**
 * The receive side: where payload goes, the out-of-order queue with its SACK blocks (RFC 2018), the
 * window that is told (RFC 9293 3.8.6), and a buffer that tunes itself.
 *
 * A segment that header prediction takes is not copied when it arrives: its payload is **lent**, it
 * stays in the receive slab until the batch ends. An application that reads when it is told (before
 * the batch ends) gets it with one copy, from the slab to its own buffer; what it leaves is copied into
 * blocks (`settle`). Data out of order, or that took the long way, goes into blocks at once, at its
 * final place.
 */

import { POLLIN } from '../socket.ts';
import { BLOCK_SIZE, copyBytes } from '../buffer/packet-memory.ts';
import { seqDiff, seqGeq, seqGt, seqLeq, seqLt, seqAdd } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { MAX_SACK_BLOCKS } from '../wire/tcp.ts';
import { dropUnremembered, heldBack, keptFromOutOfOrder, keptFromUnread } from './memory-shares.ts';
import { tuneReceiveBuffer } from './buffer-tuning.ts';
import type { Tcb } from './tcb.ts';

/** What a connection gets when the memory, or its application's part, is exhausted, and nothing of it is unread. */
const LAST_BYTES = BLOCK_SIZE;

/** Pieces of payload in the receive slab, linked into one list for each TCB; all end with the batch. */
export class LentPieces {
  /** The slab that all pieces lie in; another one's packets are copied at once. */
  slab: Uint8Array;
  readonly offset: Int32Array;
  readonly length: Int32Array;
  readonly next: Int32Array;
  count = 0;
  /** Whether lending is allowed now: only while a batch is being handled. */
  open = false;

  constructor(slab: Uint8Array, capacity: number) {
    this.slab = slab;
    this.offset = new Int32Array(capacity);
    this.length = new Int32Array(capacity);
    this.next = new Int32Array(capacity);
  }
}

/**
 * Takes `length` payload bytes that begin at RCV.NXT. `lend`: the out-of-order queue is empty and the
 * bytes lie in the batch's slab. Returns how many bytes were taken: fewer when memory is exhausted.
 */
export function acceptInOrder(tcb: Tcb, slab: Uint8Array, offset: number, length: number, lend: boolean): number {
  if (tcb.rcvShutdown) {
    tcb.rcvNxt = seqAdd(tcb.rcvNxt, length);
    tcb.rcvRead = tcb.rcvNxt;
    tcb.bytesReceived += length;
    return length;
  }
  const lent = tcb.home.lent;
  if (lend && lent.open && slab === lent.slab && lent.count < lent.offset.length) {
    const piece = lent.count++;
    lent.offset[piece] = offset;
    lent.length[piece] = length;
    lent.next[piece] = -1;
    if (tcb.rcvLent === 0) tcb.lentFirst = piece;
    else lent.next[tcb.lentLast] = piece;
    tcb.lentLast = piece;
    tcb.rcvLent += length;
  } else {
    settle(tcb);
    const stored = store(tcb, slab, offset, length);
    if (stored < length) tcb.home.counters.RcvPruned++;
    length = stored;
    tcb.rcvStored += stored;
  }
  tcb.rcvNxt = seqAdd(tcb.rcvNxt, length);
  tcb.bytesReceived += length;
  tcb.events |= POLLIN;
  return length;
}

/** Stores what follows the bytes that are there already, as far as this connection may use the memory. */
function store(tcb: Tcb, slab: Uint8Array, offset: number, length: number): number {
  const stored = tcb.rcvBuffer.put(tcb.rcvStored, slab, offset, length, keptFromUnread(tcb));
  if (stored > 0 || tcb.rcvStored > 0) return stored;
  // A connection of which nothing is unread gets the very last block: whoever reads goes on.
  return tcb.rcvBuffer.put(0, slab, offset, Math.min(length, LAST_BYTES));
}

/**
 * Copies what is still lent into blocks: the batch ends, or something must be stored behind it. When
 * the memory is exhausted the bytes are given up again, as if they had not come: they have not been
 * acknowledged yet.
 */
export function settle(tcb: Tcb): void {
  if (tcb.rcvLent === 0) return;
  const lent = tcb.home.lent;
  for (let piece = tcb.lentFirst; piece >= 0; piece = lent.next[piece]!) {
    const length = lent.length[piece]!;
    const stored = store(tcb, lent.slab, lent.offset[piece]!, length);
    tcb.rcvStored += stored;
    tcb.rcvLent -= stored;
    if (stored < length) {
      tcb.home.counters.RcvPruned++;
      tcb.rcvNxt = seqAdd(tcb.rcvNxt, -tcb.rcvLent);
      tcb.bytesReceived -= tcb.rcvLent;
      tcb.rcvLent = 0;
      return;
    }
  }
}

/** Copies up to `length` readable bytes to `to`; `take` also removes them (else MSG_PEEK). Returns the count. */
export function readBytes(tcb: Tcb, to: Uint8Array | null, toOffset: number, length: number, take: boolean): number {
  const total = Math.min(length, tcb.readable);
  if (total === 0) return 0;
  const fromStored = Math.min(total, tcb.rcvStored);
  if (fromStored > 0 && to !== null) tcb.rcvBuffer.copyOut(0, to, toOffset, fromStored);
  let left = total - fromStored;
  let directSegs = 0;
  if (left > 0) {
    const lent = tcb.home.lent;
    let piece = tcb.lentFirst;
    let at = toOffset + fromStored;
    while (left > 0) {
      const size = lent.length[piece]!;
      const n = Math.min(left, size);
      if (to !== null) copyBytes(to, at, lent.slab, lent.offset[piece]!, n);
      at += n;
      left -= n;
      if (!take) {
        piece = lent.next[piece]!;
      } else if (n === size) {
        piece = lent.next[piece]!;
        tcb.lentFirst = piece;
        directSegs++;
      } else {
        lent.offset[piece] = lent.offset[piece]! + n;
        lent.length[piece] = size - n;
      }
    }
  }
  if (take) {
    if (to !== null) {
      const counters = tcb.home.counters;
      counters.RcvBufferedBytes += fromStored;
      counters.RcvDirectBytes += total - fromStored;
      counters.RcvDirectSegs += directSegs;
    }
    tcb.rcvStored -= fromStored;
    tcb.rcvLent -= total - fromStored;
    tcb.rcvRead = seqAdd(tcb.rcvRead, total);
    if (tcb.urgent && seqGeq(tcb.rcvRead, tcb.rcvUp)) tcb.urgent = false;
    if (tcb.rcvStored === 0 && tcb.oooCount === 0) tcb.rcvBuffer.clear();
    else tcb.rcvBuffer.drop(total);
    tuneReceiveBuffer(tcb);
  }
  return total;
}

/**
 * Takes payload beyond RCV.NXT: `[left, left + length)`, already cut to the window. Returns whether it
 * was kept.
 */
export function acceptOutOfOrder(tcb: Tcb, left: Seq, slab: Uint8Array, offset: number, length: number): boolean {
  const counters = tcb.home.counters;
  if (tcb.rcvShutdown || heldBack(tcb)) return false;
  const right = seqAdd(left, length);
  if (seqDiff(right, tcb.rcvNxt) > tcb.home.config.maxOutOfOrder) {
    counters.RcvPruned++;
    return false;
  }
  let ooo = tcb.ooo;
  if (ooo === null) {
    ooo = tcb.ooo = new Int32Array(16);
    tcb.sackRecent = new Int32Array(MAX_SACK_BLOCKS);
  }
  // The ranges from `first` up to `last` touch or overlap the new one and become one with it.
  let first = 0;
  while (first < tcb.oooCount && seqLt(ooo[first * 2 + 1]! as Seq, left)) first++;
  let last = first;
  while (last < tcb.oooCount && seqLeq(ooo[last * 2]! as Seq, right)) last++;
  if (last === first && tcb.oooCount >= tcb.home.config.limits.outOfOrderRanges) {
    counters.OfoDrops++;
    return false;
  }
  const { memory, outOfOrder } = tcb.home;
  const at = seqDiff(left, tcb.rcvRead);
  if (!outOfOrder.admit(tcb, tcb.rcvBuffer.missing(at, length))) {
    counters.OfoDrops++;
    return false;
  }
  if (tcb.rcvBuffer.put(at, slab, offset, length, keptFromOutOfOrder(memory)) < length) {
    dropUnremembered(tcb);
    outOfOrder.note(tcb);
    counters.RcvPruned++;
    return false;
  }
  if (last > first && seqLeq(ooo[first * 2]! as Seq, left) && seqGeq(ooo[first * 2 + 1]! as Seq, right)) {
    counters.DuplicateDataIn++;
    noteRecent(tcb, left);
    noteTwice(tcb, left, length);
    return true;
  }
  const newLeft = last > first && seqLt(ooo[first * 2]! as Seq, left) ? (ooo[first * 2]! as Seq) : left;
  const newRight = last > first && seqGt(ooo[last * 2 - 1]! as Seq, right) ? (ooo[last * 2 - 1]! as Seq) : right;
  if (last === first) {
    if (tcb.oooCount * 2 === ooo.length) {
      const grown = new Int32Array(ooo.length * 2);
      grown.set(ooo);
      ooo = tcb.ooo = grown;
    }
    ooo.copyWithin(first * 2 + 2, first * 2, tcb.oooCount * 2);
    tcb.oooCount++;
  } else if (last > first + 1) {
    ooo.copyWithin(first * 2 + 2, last * 2, tcb.oooCount * 2);
    tcb.oooCount -= last - first - 1;
  }
  ooo[first * 2] = newLeft;
  ooo[first * 2 + 1] = newRight;
  outOfOrder.note(tcb);
  noteRecent(tcb, left);
  return true;
}

/** `length` bytes from `left` on have come twice: the next ACK without data tells of it (RFC 2883). */
export function noteTwice(tcb: Tcb, left: Seq, length: number): void {
  if (!tcb.sack || length <= 0) return;
  tcb.dsackLeft = left;
  tcb.dsackRight = seqAdd(left, length);
}

function noteRecent(tcb: Tcb, left: Seq): void {
  const recent = tcb.sackRecent!;
  if (recent[0] === left) return;
  for (let i = MAX_SACK_BLOCKS - 1; i > 0; i--) recent[i] = recent[i - 1]!;
  recent[0] = left;
}

/** Gives up what is out of order. */
export function forgetOutOfOrder(tcb: Tcb): void {
  tcb.oooCount = 0;
  tcb.ooo = null;
  if (tcb.rcvStored === 0) tcb.rcvBuffer.clear();
  else tcb.rcvBuffer.cut(tcb.rcvStored);
  tcb.home.outOfOrder.note(tcb);
}

/** RCV.NXT has moved: ranges that it has reached become readable. */
export function joinOutOfOrder(tcb: Tcb): void {
  const ooo = tcb.ooo!;
  let gone = 0;
  while (gone < tcb.oooCount && seqLeq(ooo[gone * 2]! as Seq, tcb.rcvNxt)) {
    const more = seqDiff(ooo[gone * 2 + 1]! as Seq, tcb.rcvNxt);
    if (more > 0) {
      tcb.rcvStored += more;
      tcb.bytesReceived += more;
      tcb.rcvUnacked += more;
      tcb.rcvNxt = seqAdd(tcb.rcvNxt, more);
    }
    gone++;
  }
  if (gone > 0) {
    ooo.copyWithin(0, gone * 2, tcb.oooCount * 2);
    tcb.oooCount -= gone;
    tcb.events |= POLLIN;
    if (tcb.oooCount === 0 && ooo.length > 16) tcb.ooo = null;
    tcb.home.outOfOrder.note(tcb);
  }
}

/**
 * SACK blocks to send: the one with the latest arrival first, then those of earlier ones (RFC 2018
 * section 4). Fills `out` and returns how many, at most `most`.
 */
export function sackBlocks(tcb: Tcb, out: Int32Array, most: number): number {
  const ooo = tcb.ooo;
  const count = tcb.oooCount;
  let n = 0;
  if (tcb.dsackLeft !== tcb.dsackRight) {
    // What arrived twice goes first (RFC 2883 section 4); if it is a part of a range, that comes next.
    out[0] = tcb.dsackLeft;
    out[1] = tcb.dsackRight;
    n = 1;
  }
  if (ooo === null || count === 0) return n;
  const first = n;
  const recent = tcb.sackRecent!;
  // First the ranges of recent arrivals, then whatever else there is.
  for (let i = 0; i < MAX_SACK_BLOCKS + count && n < most; i++) {
    let range = i - MAX_SACK_BLOCKS;
    if (range < 0) {
      const seq = recent[i]! as Seq;
      range = 0;
      while (range < count && !(seqLeq(ooo[range * 2]! as Seq, seq) && seqLt(seq, ooo[range * 2 + 1]! as Seq))) range++;
      if (range === count) continue;
    }
    const left = ooo[range * 2]!;
    let known = false;
    for (let k = first; k < n; k++) if (out[k * 2] === left) known = true;
    if (known) continue;
    out[n * 2] = left;
    out[n * 2 + 1] = ooo[range * 2 + 1]!;
    n++;
  }
  return n;
}

/**
 * The right edge to tell: what fits into the buffer beyond what is unread, in whole units of the
 * scale, never less than told before (SHLD-14), and moved only when it moves by something worthwhile
 * (MUST-39: a segment, or half of the buffer).
 */
export function windowEdge(tcb: Tcb): Seq {
  const told = tcb.rcvAdv;
  let space = tcb.rcvbufLimit - tcb.rcvStored - tcb.rcvLent;
  const scale = tcb.rcvWscale > 0 ? tcb.rcvWscale : 0;
  const most = 0xffff << scale;
  if (space > most) space = most;
  // When the stack's memory runs low, windows close before data must be dropped.
  const memory = tcb.home.memory;
  if (memory.freeBlocks < memory.blockCount >> 3) space = Math.min(space, memory.freeBlocks << 10);
  if (heldBack(tcb)) space = Math.min(space, LAST_BYTES - tcb.readable);
  space = (space >> scale) << scale;
  const edge = seqAdd(tcb.rcvNxt, space);
  const more = seqDiff(edge, told);
  if (more <= 0) return told;
  if (more < tcb.rcvMss && more < tcb.rcvbufLimit >> 1) return told;
  return edge;
}

/** Whether the window has opened so far that the peer should hear of it without waiting for a segment. */
export function windowUpdateDue(tcb: Tcb): boolean {
  // The window of a SYN-ACK is small because it is not scaled: the peer has no use for more before it sends,
  // and none at all after its FIN.
  if (tcb.bytesReceived === 0 || tcb.finReceived) return false;
  const more = seqDiff(windowEdge(tcb), tcb.rcvAdv);
  if (more <= 0) return false;
  const open = seqDiff(tcb.rcvAdv, tcb.rcvNxt);
  return more >= 2 * tcb.rcvMss && (more >= tcb.rcvbufLimit >> 2 || open <= tcb.rcvbufLimit >> 3)
    || more >= tcb.rcvbufLimit >> 1;
}
