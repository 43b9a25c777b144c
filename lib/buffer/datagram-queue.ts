/**
 * Datagrams that have arrived and wait to be read: records in a first-in-first-out chain of memory
 * blocks.
 *
 *     block      | record | record | reco|   |rd | record |            |
 *                 ^ readAt                                ^ writeAt
 *     record     | length | port | ttl, tos | (pad) | w0 w1 w2 w3 | payload ... (to a multiple of 32) |
 *
 * A record's 32 bytes of header begin at a multiple of 32 and so never lie across two blocks; its
 * payload may. Leaves the limit (SO_RCVBUF) to its owner, who compares `bytes` before `push()`.
 */

import type { MemoryAccount } from './memory-account.ts';
import { BLOCK_MASK, BLOCK_SHIFT, BLOCK_SIZE, copyBytes } from './packet-memory.ts';
import type { PacketMemory } from './packet-memory.ts';

/** Bytes that a record takes besides its payload; also the unit that records are rounded up to. */
export const RECORD_HEADER = 32;

const LENGTH = 0;
const PORT = 4;
const TTL_TOS = 8;
const WORDS = 16;

/** Bytes that a datagram of `length` payload bytes takes in the queue. */
export function recordBytes(length: number): number {
  return (RECORD_HEADER + length + RECORD_HEADER - 1) & ~(RECORD_HEADER - 1);
}

export class DatagramQueue {
  /** Datagrams that wait. */
  count = 0;
  /** Bytes of memory that they take, headers included. */
  bytes = 0;
  /** Of the datagram read next (meaningless when `count` is 0): payload bytes, sender, TTL, traffic class. */
  length = 0;
  port = 0;
  ttl = 0;
  tos = 0;
  w0 = 0;
  w1 = 0;
  w2 = 0;
  w3 = 0;

  readonly #memory: PacketMemory;
  /** Blocks in use, oldest first, from `#first` on. */
  readonly #blocks: number[] = [];
  #first = 0;
  /** Read and write position, bytes from the beginning of block `#first`. */
  #readAt = 0;
  #writeAt = 0;
  /** Who is charged with its blocks, or null: nobody but the memory. */
  readonly account: MemoryAccount | null;

  constructor(memory: PacketMemory, account: MemoryAccount | null = null) {
    this.#memory = memory;
    this.account = account;
  }

  /** Copies a datagram in. Returns false, and has done nothing, when the memory has no blocks left for it. */
  push(
    slab: Uint8Array, offset: number, length: number, w0: number, w1: number, w2: number, w3: number, port: number, ttl: number,
    tos: number,
  ): boolean {
    const size = recordBytes(length);
    const end = this.#writeAt + size;
    const memory = this.#memory;
    const needed = ((end + BLOCK_MASK) >> BLOCK_SHIFT) - (this.#blocks.length - this.#first);
    // A datagram may be lost, a stream may not: the last three eighths of the memory are for others.
    if (needed > 0 && needed > memory.freeBlocks - (memory.blockCount >> 3) * 3) return false;
    for (let i = 0; i < needed; i++) this.#blocks.push(memory.allocate());
    if (needed > 0 && this.account !== null) this.account.charge(needed);

    const at = this.#blocks[this.#first + (this.#writeAt >> BLOCK_SHIFT)]! + (this.#writeAt & BLOCK_MASK);
    const view = memory.view;
    view.setInt32(at + LENGTH, length);
    view.setInt32(at + PORT, port);
    view.setInt32(at + TTL_TOS, (ttl << 8) | tos);
    view.setInt32(at + WORDS, w0);
    view.setInt32(at + WORDS + 4, w1);
    view.setInt32(at + WORDS + 8, w2);
    view.setInt32(at + WORDS + 12, w3);

    let position = this.#writeAt + RECORD_HEADER;
    while (length > 0) {
      const inBlock = position & BLOCK_MASK;
      const n = Math.min(length, BLOCK_SIZE - inBlock);
      copyBytes(memory.bytes, this.#blocks[this.#first + (position >> BLOCK_SHIFT)]! + inBlock, slab, offset, n);
      position += n;
      offset += n;
      length -= n;
    }
    this.#writeAt = end;
    this.bytes += size;
    if (this.count++ === 0) this.#load();
    return true;
  }

  /** Copies up to `length` bytes of the first datagram to `to`, which stays queued. Returns how many. */
  peek(to: Uint8Array, offset: number, length: number): number {
    const total = Math.min(length, this.length);
    let left = total;
    let position = this.#readAt + RECORD_HEADER;
    while (left > 0) {
      const inBlock = position & BLOCK_MASK;
      const n = Math.min(left, BLOCK_SIZE - inBlock);
      copyBytes(to, offset, this.#memory.bytes, this.#blocks[this.#first + (position >> BLOCK_SHIFT)]! + inBlock, n);
      position += n;
      offset += n;
      left -= n;
    }
    return total;
  }

  /** Drops the first datagram and gives blocks that it was the last of back. */
  shift(): void {
    const size = recordBytes(this.length);
    this.#readAt += size;
    this.bytes -= size;
    if (--this.count === 0) {
      this.#free(this.#blocks.length);
      this.#readAt = 0;
      this.#writeAt = 0;
      return;
    }
    const done = this.#readAt >> BLOCK_SHIFT;
    this.#free(this.#first + done);
    this.#readAt -= done << BLOCK_SHIFT;
    this.#writeAt -= done << BLOCK_SHIFT;
    this.#load();
  }

  /** Drops all. */
  clear(): void {
    this.#free(this.#blocks.length);
    this.#readAt = 0;
    this.#writeAt = 0;
    this.count = 0;
    this.bytes = 0;
  }

  #free(until: number): void {
    const blocks = this.#blocks;
    if (until > this.#first && this.account !== null) this.account.charge(this.#first - until);
    while (this.#first < until) this.#memory.free(blocks[this.#first++]!);
    // The list is moved up only when the used-up part is the larger one, so that shifting costs nothing on average.
    if (this.#first * 2 >= blocks.length) {
      blocks.splice(0, this.#first);
      this.#first = 0;
    }
  }

  #load(): void {
    const at = this.#blocks[this.#first + (this.#readAt >> BLOCK_SHIFT)]! + (this.#readAt & BLOCK_MASK);
    const view = this.#memory.view;
    this.length = view.getInt32(at + LENGTH);
    this.port = view.getInt32(at + PORT);
    const ttlTos = view.getInt32(at + TTL_TOS);
    this.ttl = ttlTos >> 8;
    this.tos = ttlTos & 0xff;
    this.w0 = view.getInt32(at + WORDS);
    this.w1 = view.getInt32(at + WORDS + 4);
    this.w2 = view.getInt32(at + WORDS + 8);
    this.w3 = view.getInt32(at + WORDS + 12);
  }
}
