/**
 * Where the windows of applications lie: address space behind a stack's own packet memory, in one
 * ArrayBuffer with it, so that a transmit queue can name both and one base address serves the device.
 *
 *     0             memory                                          memory + windows
 *     +-------------+------------+---------+-----------------------+
 *     | PacketMemory| window     | window  | free                  |
 *     +-------------+------------+---------+-----------------------+
 *
 * With `shared`, the space is the native addon's, and the windows of other processes are mapped into it;
 * what is not mapped reads as zeros. Without, it is an ordinary ArrayBuffer, good for applications in
 * the same thread. Nothing of it is committed before it is touched.
 */

import { loadChannelNative } from '../channel/native.ts';
import type { NativeChannel } from '../channel/native.ts';

const PAGE = 4096;
/** Most that int32 offsets reach. */
const MAX_BYTES = 0x7ffff000;

export class WindowSpace {
  readonly buffer: ArrayBuffer;
  /** Where windows begin. */
  readonly start: number;
  readonly end: number;
  /** Null: not shared with other processes. */
  readonly native: NativeChannel | null;
  /** Free ranges, ascending, not touching: start, length. */
  readonly #free: { start: number; length: number }[];

  /** @throws NativeError when `shared` and there is no addon; RangeError when it is too large */
  constructor(memoryBytes: number, windowBytes: number, shared: boolean) {
    this.start = Math.ceil(memoryBytes / PAGE) * PAGE;
    this.end = Math.min(this.start + Math.ceil(windowBytes / PAGE) * PAGE, MAX_BYTES);
    if (!(this.end - this.start >= PAGE)) throw new RangeError(`windows of ${windowBytes} bytes leave no room for an application`);
    this.native = shared ? loadChannelNative() : null;
    this.buffer = this.native === null ? new ArrayBuffer(this.end) : this.native.arena(this.end);
    this.#free = [{ start: this.start, length: this.end - this.start }];
  }

  /** Takes `length` bytes (made whole pages). Returns where they begin, or -1. */
  allocate(length: number): number {
    length = Math.ceil(length / PAGE) * PAGE;
    for (let i = 0; i < this.#free.length; i++) {
      const range = this.#free[i]!;
      if (range.length < length) continue;
      const at = range.start;
      if (range.length === length) {
        this.#free.splice(i, 1);
      } else {
        range.start += length;
        range.length -= length;
      }
      return at;
    }
    return -1;
  }

  free(start: number, length: number): void {
    length = Math.ceil(length / PAGE) * PAGE;
    const free = this.#free;
    let i = 0;
    while (i < free.length && free[i]!.start < start) i++;
    free.splice(i, 0, { start, length });
    const next = free[i + 1];
    if (next !== undefined && start + length === next.start) {
      free[i]!.length += next.length;
      free.splice(i + 1, 1);
    }
    const previous = free[i - 1];
    if (previous !== undefined && previous.start + previous.length === start) {
      previous.length += free[i]!.length;
      free.splice(i, 1);
    }
  }

  /** Bytes that are free. */
  get freeBytes(): number {
    return this.#free.reduce((sum, range) => sum + range.length, 0);
  }
}
