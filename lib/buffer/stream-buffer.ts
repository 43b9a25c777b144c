/**
 * A window onto a byte stream, kept in blocks of the packet memory. Offset 0 is the first byte still
 * kept; `drop()` moves it on. Bytes may be put anywhere beyond it, also with gaps, so the same
 * structure serves as send buffer (dense) and as receive buffer that takes out-of-order data at its
 * final place (RFC 9293 3.10.7.4; who uses it remembers which ranges are there).
 *
 *      blocks   [#0      ] [#1      ] [ none   ] [#3      ]
 *      bytes        xxxxxx  xxxxxxxx              xxx
 *                   ^ offset 0 = skip bytes into block #0
 *
 * An empty buffer holds no block, so an idle connection costs nothing here.
 */

import type { MemoryAccount } from './memory-account.ts';
import { BLOCK_MASK, BLOCK_SHIFT, BLOCK_SIZE, copyBytes } from './packet-memory.ts';
import type { PacketMemory } from './packet-memory.ts';
import type { TransmitQueue } from './transmit-queue.ts';

const NO_BLOCKS = new Int32Array(0);
/** A block table larger than this is given back when the buffer runs empty. */
const KEEP_TABLE = 16;

export class StreamBuffer {
  readonly #memory: PacketMemory;
  /** Offsets of the blocks, a ring; -1 where there is none. Length is a power of two, or 0. */
  #blocks: Int32Array = NO_BLOCKS;
  #first = 0;
  /** Blocks between the first one and the last one that was ever put to since, gaps included. */
  #span = 0;
  /** Bytes of block 0 that have been dropped. */
  #skip = 0;
  /** Blocks that it holds. */
  held = 0;
  #account: MemoryAccount | null = null;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  /** Who is charged with its blocks, or null: nobody but the memory. */
  get account(): MemoryAccount | null {
    return this.#account;
  }

  set account(account: MemoryAccount | null) {
    if (account === this.#account) return;
    if (this.held > 0) {
      this.#account?.charge(-this.held);
      account?.charge(this.held);
    }
    this.#account = account;
  }

  /**
   * Stores `length` bytes at offset `at`. Returns how many were stored: fewer when no more than `keep`
   * blocks are free, which are meant for others.
   */
  put(at: number, from: Uint8Array, fromOffset: number, length: number, keep = 0): number {
    if (length <= 0) return 0;
    const memory = this.#memory;
    let position = this.#skip + at;
    const firstIndex = position >> BLOCK_SHIFT;
    const lastIndex = (position + length - 1) >> BLOCK_SHIFT;
    if (lastIndex >= this.#span) this.#extend(lastIndex + 1);
    if (lastIndex > firstIndex && memory.freeBlocks - keep > lastIndex - firstIndex) this.#allocateRun(firstIndex, lastIndex);
    let done = 0;
    while (done < length) {
      const slot = (this.#first + (position >> BLOCK_SHIFT)) & (this.#blocks.length - 1);
      let block = this.#blocks[slot]!;
      if (block < 0) {
        block = memory.freeBlocks > keep || keep === 0 ? memory.allocate() : -1;
        if (block < 0) break;
        this.#blocks[slot] = block;
        this.#hold();
      }
      const n = this.#run(position, length - done);
      copyBytes(memory.bytes, block + (position & BLOCK_MASK), from, fromOffset + done, n);
      done += n;
      position += n;
    }
    return done;
  }

  /**
   * Takes the blocks from `first` to `last` that are missing, in falling order: blocks that were freed one
   * after the other come back last first, and so lie side by side again.
   */
  #allocateRun(first: number, last: number): void {
    for (let index = last; index >= first; index--) {
      const slot = (this.#first + index) & (this.#blocks.length - 1);
      if (this.#blocks[slot]! >= 0) continue;
      this.#blocks[slot] = this.#memory.allocate();
      this.#hold();
    }
  }

  /** Blocks that `put` of so many bytes at offset `at` would have to take. */
  missing(at: number, length: number): number {
    const first = (this.#skip + at) >> BLOCK_SHIFT;
    const last = (this.#skip + at + length - 1) >> BLOCK_SHIFT;
    let n = last - first + 1;
    for (let index = first; index <= last && index < this.#span; index++) {
      if (this.#blocks[(this.#first + index) & (this.#blocks.length - 1)]! >= 0) n--;
    }
    return n;
  }

  /** Blocks that hold nothing of the first `length` bytes, all of which are there. */
  heldBeyond(length: number): number {
    return length === 0 ? this.held : this.held - ((this.#skip + length + BLOCK_MASK) >> BLOCK_SHIFT);
  }

  /** How many of the `length` bytes at `position`, the first of which is there, lie side by side in memory. */
  #run(position: number, length: number): number {
    const blocks = this.#blocks;
    let index = this.#first + (position >> BLOCK_SHIFT);
    let block = blocks[index & (blocks.length - 1)]!;
    let n = BLOCK_SIZE - (position & BLOCK_MASK);
    while (n < length) {
      block += BLOCK_SIZE;
      if (blocks[++index & (blocks.length - 1)] !== block) break;
      n += BLOCK_SIZE;
    }
    return n < length ? n : length;
  }

  /** Copies `length` bytes at offset `at`, which must be there, to `to`. */
  copyOut(at: number, to: Uint8Array, toOffset: number, length: number): void {
    const bytes = this.#memory.bytes;
    let position = this.#skip + at;
    while (length > 0) {
      const n = this.#run(position, length);
      copyBytes(to, toOffset, bytes, this.#offset(position), n);
      toOffset += n;
      position += n;
      length -= n;
    }
  }

  /** Adds the bytes at `[at, at + length)`, which must be there, to the packet begun in `queue`. */
  addPieces(at: number, length: number, queue: TransmitQueue): void {
    let position = this.#skip + at;
    while (length > 0) {
      const n = this.#run(position, length);
      queue.piece(this.#offset(position), n);
      position += n;
      length -= n;
    }
  }

  /** Where in the packet memory the byte at `position` lies. */
  #offset(position: number): number {
    return this.#blocks[(this.#first + (position >> BLOCK_SHIFT)) & (this.#blocks.length - 1)]! + (position & BLOCK_MASK);
  }

  /** Lets go of the first `length` bytes, whether they were ever put or not. */
  drop(length: number): void {
    this.#skip += length;
    while (this.#skip >= BLOCK_SIZE) {
      if (this.#span === 0) {
        this.#skip &= BLOCK_MASK;
        return;
      }
      this.#skip -= BLOCK_SIZE;
      const slot = this.#first & (this.#blocks.length - 1);
      const block = this.#blocks[slot]!;
      if (block >= 0) this.#free(block);
      this.#blocks[slot] = -1;
      this.#first = (this.#first + 1) & (this.#blocks.length - 1);
      this.#span--;
    }
  }

  /** Lets go of the blocks that hold only bytes from offset `at` on. */
  cut(at: number): void {
    const span = Math.min((this.#skip + at + BLOCK_MASK) >> BLOCK_SHIFT, this.#span);
    for (let i = this.#span - 1; i >= span; i--) {
      const slot = (this.#first + i) & (this.#blocks.length - 1);
      const block = this.#blocks[slot]!;
      if (block >= 0) this.#free(block);
      this.#blocks[slot] = -1;
    }
    this.#span = span;
  }

  #hold(): void {
    this.held++;
    if (this.#account !== null) this.#account.charge(1);
  }

  #free(block: number): void {
    this.#memory.free(block);
    this.held--;
    if (this.#account !== null) this.#account.charge(-1);
  }

  /** Lets go of everything. What is put next may be at any offset again. */
  clear(): void {
    if (this.#span !== 0) {
      const mask = this.#blocks.length - 1;
      for (let i = 0; i < this.#span; i++) {
        const slot = (this.#first + i) & mask;
        const block = this.#blocks[slot]!;
        if (block >= 0) this.#free(block);
        this.#blocks[slot] = -1;
      }
      this.#span = 0;
      if (this.#blocks.length > KEEP_TABLE) this.#blocks = NO_BLOCKS;
    }
    this.#first = 0;
    this.#skip = 0;
  }

  #extend(span: number): void {
    if (span > this.#blocks.length) {
      let size = Math.max(this.#blocks.length, 2);
      while (size < span) size <<= 1;
      const grown = new Int32Array(size).fill(-1);
      for (let i = 0; i < this.#span; i++) grown[i] = this.#blocks[(this.#first + i) & (this.#blocks.length - 1)]!;
      this.#blocks = grown;
      this.#first = 0;
    }
    this.#span = span;
  }
}
