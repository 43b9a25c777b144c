/**
 * What several buffers may hold of the packet memory together: the sockets of one application, say. Each buffer charges
 * the blocks that it takes, and gives them back when it lets go of them, so that the sum is exact whatever becomes of the
 * sockets.
 *
 *     used   0 ──────────────── 3/4 ──────────────── limit
 *            nobody waits   `onroom`, once        `full`, until there is room again
 *
 * Being full is a word, not a wall: whoever puts something into a buffer asks, and says what may be put all the same.
 */

import { BLOCK_MASK, BLOCK_SHIFT } from './packet-memory.ts';

export class MemoryAccount {
  readonly limitBlocks: number;
  usedBlocks = 0;
  full = false;
  /** Called when there is room again, in the middle of whatever made it: it may only make a note. */
  readonly #onroom: () => void;

  /** @param limitBytes  in whole blocks of 8 KiB, one at least */
  constructor(limitBytes: number, onroom: () => void) {
    this.limitBlocks = Math.max(limitBytes >> BLOCK_SHIFT, 1);
    this.#onroom = onroom;
  }

  /** Blocks were taken, or (negative) given back. */
  charge(blocks: number): void {
    this.usedBlocks += blocks;
    if (this.usedBlocks >= this.limitBlocks) {
      this.full = true;
    } else if (this.full && this.usedBlocks <= this.limitBlocks - (this.limitBlocks >> 2)) {
      this.full = false;
      this.#onroom();
    }
  }

  /** Whether so many bytes more may be held. If not, it is full. */
  admits(bytes: number): boolean {
    if (!this.full && this.usedBlocks + ((bytes + BLOCK_MASK) >> BLOCK_SHIFT) > this.limitBlocks) this.full = true;
    return !this.full;
  }
}

/** For the sockets of one application: what they have queued to send, also when they were closed since, and what is unread. */
export interface SocketAccounts {
  readonly sending: MemoryAccount;
  readonly unread: MemoryAccount;
}
