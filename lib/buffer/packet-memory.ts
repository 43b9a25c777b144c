/**
 * The memory of a stack: one `ArrayBuffer` that holds every packet byte, so that the device can be
 * handed `(offset, length)` pairs against one base address, and copies inside it allocate nothing
 * (`copyWithin`).
 *
 *     0            rxBytes                            size
 *     +------------+-----------------+-----------------+
 *     | receive    | header slots    | blocks          |
 *     | slab       | (transmit)      | (BLOCK_SIZE)    |
 *     +------------+-----------------+-----------------+
 *
 * - The **receive slab** is where a link lays arriving packets, densely. A batch in it is valid until
 *   `LinkHost.input()` returns.
 * - A **header slot** of `HEADER_SLOT` bytes belongs to one queued packet (see transmit-queue.ts).
 * - **Blocks** hold what must outlive a batch: send buffers, receive buffers, fragments, datagrams.
 *   They come from a free list, last freed first (the warmest in cache). Their number bounds the
 *   memory of the whole stack, whatever the peers send.
 *
 * The buffer is reserved at once but the system commits a page only when it is first touched.
 *
 * Freed blocks may still be named by packets that wait in the transmit queue, so while the queue is
 * not empty (`pin`), they are kept back and come to the free list when it has been emptied (`unpin`).
 */

/** Bytes in one block. A power of two. */
export const BLOCK_SIZE = 8192;
export const BLOCK_SHIFT = 13;
export const BLOCK_MASK = BLOCK_SIZE - 1;

/** Bytes in one header slot: IPv6 with a fragment header (48) and the longest TCP header (60) fit. */
export const HEADER_SLOT = 128;

/** Smallest receive slab: one packet of 64 KB and some headroom must fit. */
const MIN_RX_BYTES = 1 << 17;

export interface PacketMemoryOptions {
  /** Bytes in all. Default 128 MiB, at least 1 MiB. Reserved, not committed, until touched. */
  size?: number;
  /** Bytes of the receive slab. Default 512 KiB; 0 for none. */
  rxBytes?: number;
  /** Number of header slots, which is the transmit queue's capacity in packets. Default 1024. */
  headerSlots?: number;
  /** Memory to use instead of an ArrayBuffer of its own. */
  region?: MemoryRegion;
}

/**
 * `bytes` becomes `[byteOffset, byteOffset + byteLength)` of `buffer`; the parts of the picture above lie from
 * `start` of it on, and what is before and after can be named by transmit queues too: the windows of
 * applications behind a stack's memory, the rings before an application's (lib/channel/window.ts).
 */
export interface MemoryRegion {
  buffer: ArrayBuffer;
  byteOffset: number;
  byteLength: number;
  start: number;
}

export class PacketMemory {
  /** The whole memory. All offsets in the stack are offsets into this. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly buffer: ArrayBuffer;
  /** Bytes of the receive slab, which begins at offset 0, or where the region says. */
  readonly rxBytes: number;
  readonly headerSlots: number;
  /** Offset of header slot 0. */
  readonly headerBase: number;
  /** Offset of block 0. */
  readonly blockBase: number;
  readonly blockCount: number;
  /** Blocks that can be had now. */
  freeBlocks: number;
  /** Times that `allocate()` found no block. */
  exhausted = 0;

  readonly #free: Int32Array;
  #freeCount = 0;
  /**
   * Blocks never yet used are taken from the end on, one after the other, so that untouched pages stay
   * uncommitted, and in falling order like those that were freed (see StreamBuffer).
   */
  #fresh = 0;
  readonly #kept: Int32Array;
  #keptCount = 0;
  #pinned = false;

  constructor(options: PacketMemoryOptions = {}) {
    const size = Math.max(options.size ?? 128 << 20, 1 << 20);
    if (!Number.isSafeInteger(size) || size > 0x7fffffff) {
      throw new RangeError(`memory size ${size} is not an integer below 2 GiB`);
    }
    const region = options.region ?? { buffer: new ArrayBuffer(size), byteOffset: 0, byteLength: size, start: 0 };
    if (region.start + size > region.byteLength) throw new RangeError(`memory size ${size} does not fit into its region`);
    this.rxBytes = options.rxBytes === 0 ? 0 : Math.max(options.rxBytes ?? Math.min(512 << 10, size >> 2), MIN_RX_BYTES);
    this.headerSlots = options.headerSlots ?? 1024;
    this.headerBase = (region.start + this.rxBytes + 4095) & ~4095;
    this.blockBase = (this.headerBase + this.headerSlots * HEADER_SLOT + BLOCK_MASK) & ~BLOCK_MASK;
    this.blockCount = (region.start + size - this.blockBase) >> BLOCK_SHIFT;
    if (this.blockCount < 16) throw new RangeError(`memory size ${size} leaves no room for blocks beside the receive slab`);
    this.buffer = region.buffer;
    this.bytes = new Uint8Array(region.buffer, region.byteOffset, region.byteLength);
    this.view = new DataView(region.buffer, region.byteOffset, region.byteLength);
    this.freeBlocks = this.blockCount;
    this.#free = new Int32Array(this.blockCount);
    this.#kept = new Int32Array(this.blockCount);
  }

  /** Takes a block. Returns its byte offset, or -1 when there is none (counted in `exhausted`). */
  allocate(): number {
    if (this.#freeCount > 0) {
      this.freeBlocks--;
      return this.#free[--this.#freeCount]!;
    }
    if (this.#fresh < this.blockCount) {
      this.freeBlocks--;
      return this.blockBase + ((this.blockCount - ++this.#fresh) << BLOCK_SHIFT);
    }
    this.exhausted++;
    return -1;
  }

  /** Gives the block at byte offset `block` back. */
  free(block: number): void {
    if (this.#pinned) {
      this.#kept[this.#keptCount++] = block;
    } else {
      this.#free[this.#freeCount++] = block;
      this.freeBlocks++;
    }
  }

  /** From now on freed blocks are kept back: queued packets may still name them. */
  pin(): void {
    this.#pinned = true;
  }

  /** The transmit queue is empty: blocks that were kept back can be had again. */
  unpin(): void {
    this.#pinned = false;
    this.releaseKept(this.#keptCount);
  }

  /** Blocks that are kept back. */
  get kept(): number {
    return this.#keptCount;
  }

  /** The first `count` blocks that were kept back can be had again, in the order in which they were freed. */
  releaseKept(count: number): void {
    const kept = this.#kept;
    for (let i = 0; i < count; i++) this.#free[this.#freeCount++] = kept[i]!;
    this.freeBlocks += count;
    if (count < this.#keptCount) kept.copyWithin(0, count, this.#keptCount);
    this.#keptCount -= count;
  }
}

/** Below this many bytes a loop is quicker than making a view. */
const LOOP_LIMIT = 24;

/**
 * Copies `length` bytes. Within one array this allocates nothing; between two arrays a view is made
 * when the piece is not small.
 */
export function copyBytes(to: Uint8Array, toOffset: number, from: Uint8Array, fromOffset: number, length: number): void {
  if (length <= LOOP_LIMIT) {
    for (let i = 0; i < length; i++) to[toOffset + i] = from[fromOffset + i]!;
  } else if (to === from) {
    to.copyWithin(toOffset, fromOffset, fromOffset + length);
  } else {
    to.set(from.subarray(fromOffset, fromOffset + length), toOffset);
  }
}
