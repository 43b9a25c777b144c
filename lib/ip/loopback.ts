/**
 * Packets from the stack to itself. `end()` copies them here; the stack takes them as a batch after the
 * turn that made them, so that input never runs inside output. They pass unfragmented, whatever their
 * size, and their transport checksum is not computed: the bytes never leave the process.
 *
 * Two slabs change places: one is being filled while the other is being read. They grow by doubling up
 * to a limit; beyond it packets are lost, as on any link.
 */

import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import { TX_LENGTH, TX_STRIDE } from '../buffer/transmit-queue.ts';
import {
  PacketBatch, RX_CSUM, RX_CSUM_OFFSET, RX_CSUM_PARTIAL, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE, RX_STRIDE,
} from '../link/link.ts';

const FIRST_BYTES = 1 << 18;
const FIRST_PACKETS = 256;

export class LoopbackQueue {
  /** The batch that was taken last; its packets are the stack's own. */
  draining: PacketBatch;
  private filling: PacketBatch;
  /** Bytes of `filling` in use. */
  private used = 0;
  private readonly limit: number;

  /** @param limit  most bytes that wait at once */
  constructor(limit: number) {
    this.limit = limit;
    this.filling = new PacketBatch(new Uint8Array(0), 0);
    this.draining = new PacketBatch(new Uint8Array(0), 0);
  }

  get pending(): number {
    return this.filling.count;
  }

  /** Copies packet `index` of the transmit queue; `csumOffset` -1: it is complete. False when there is no room. */
  add(tx: TransmitQueue, index: number, csumStart: number, csumOffset: number, gsoType: number, gsoSize: number): boolean {
    const length = tx.packets[index * TX_STRIDE + TX_LENGTH]!;
    while (this.filling.count === this.filling.capacity || this.used + length > this.filling.slab.length) {
      if (!this.grow(length)) return false;
    }
    const batch = this.filling;
    tx.copyPacket(index, batch.slab, this.used);
    const m = batch.count * RX_STRIDE;
    batch.add(this.used, length);
    if (csumOffset >= 0) {
      batch.meta[m + RX_FLAGS] = RX_CSUM_PARTIAL;
      batch.meta[m + RX_CSUM] = csumStart;
      batch.meta[m + RX_CSUM_OFFSET] = csumOffset;
    }
    batch.meta[m + RX_GSO_TYPE] = gsoType;
    batch.meta[m + RX_GSO_SIZE] = gsoSize;
    this.used = (this.used + length + 15) & ~15;
    return true;
  }

  /** What waits, as a batch that is valid until the next call; null when nothing does. */
  take(nowUs: number): PacketBatch | null {
    if (this.filling.count === 0) return null;
    const batch = this.filling;
    this.filling = this.draining;
    this.draining = batch;
    this.filling.count = 0;
    this.used = 0;
    batch.timeUs = nowUs;
    return batch;
  }

  private grow(length: number): boolean {
    const old = this.filling;
    const bytes = Math.max(FIRST_BYTES, old.slab.length);
    const needMore = this.used + length > bytes;
    const size = needMore ? bytes * 2 : bytes;
    const capacity = Math.max(FIRST_PACKETS, old.count === old.capacity ? old.capacity * 2 : old.capacity);
    if (size > this.limit || capacity * 128 > this.limit) return false;
    const batch = new PacketBatch(size === old.slab.length ? old.slab : new Uint8Array(size), capacity);
    if (batch.slab !== old.slab) batch.slab.set(old.slab.subarray(0, this.used));
    batch.meta.set(old.meta.subarray(0, old.count * RX_STRIDE));
    batch.count = old.count;
    this.filling = batch;
    return true;
  }
}
