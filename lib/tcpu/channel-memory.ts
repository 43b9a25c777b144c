/**
 * The packet memory of an application: it lies in the window that it shares with the stack, which sends
 * straight out of it. So a block that was freed while records in the transmit ring may still name it is
 * kept back until the stack has passed them.
 */

import { PacketMemory } from '../buffer/packet-memory.ts';
import type { RingWriter } from '../channel/ring.ts';
import type { Window } from '../channel/window.ts';

/** Header slots: one packet is built at a time. */
const HEADER_SLOTS = 16;

export class ChannelMemory extends PacketMemory {
  readonly #ring: RingWriter;
  /** The first so many kept blocks are free when the stack has passed this position. */
  #marked = 0;
  #position = 0;

  constructor(window: Window, ring: RingWriter) {
    super({
      size: window.sizes.memory, rxBytes: 0, headerSlots: HEADER_SLOTS,
      region: { buffer: window.buffer as ArrayBuffer, byteOffset: window.base, byteLength: window.length, start: window.memory },
    });
    this.#ring = ring;
    this.pin();
  }

  /** The transmit queue is only where one packet is built; what keeps blocks is the ring. */
  override unpin(): void {
    this.collect();
  }

  /** Takes back the blocks that the stack is done with. Returns whether there were any. */
  collect(): boolean {
    const ring = this.#ring;
    const before = this.freeBlocks;
    if (this.#marked > 0) {
      if (!ring.isPast(this.#position)) return false;
      this.releaseKept(this.#marked);
      this.#marked = 0;
    }
    if (this.kept > 0) {
      this.#marked = this.kept;
      this.#position = ring.position;
      if (ring.isPast(this.#position)) {
        this.releaseKept(this.#marked);
        this.#marked = 0;
      }
    }
    return this.freeBlocks > before;
  }
}
