/**
 * One direction of a channel: records of any length in a ring of bytes, one writer, one reader, no
 * locks. It is the report's socket buffer (2.2, 4.1): what does not fit is not written, and counted by
 * the writer.
 *
 *     head (read up to here)            tail (written up to here)
 *      |                                  |
 *   ---+--------+-----------+-------------+------------- positions, free running, int32 that wraps
 *      | record | record    | record      |
 *
 * A record begins with two words, its length in bytes (a multiple of 8, these words included) and its
 * type; it never crosses the end of the ring: what is left there is skipped with a record of type
 * `PAD`. A writer collects records and `publish()`es them together; a reader takes what was published
 * when it looked, and gives the room back with `release()`.
 *
 * **Neither side believes the other.** Each keeps its own position in private memory and only tells it.
 * A position of the other side that cannot be, or a length that does not lie inside what was published,
 * breaks the ring for good (`broken`): the channel is then closed. Contents are for the reader's user to
 * check; they may change while they are read.
 */

import type { Window } from './window.ts';

export const RECORD_LENGTH = 0;
export const RECORD_TYPE = 1;
/** Bytes of the two words that every record begins with. */
export const RECORD_HEADER = 8;
/** Type of the record that fills the end of the ring. */
export const PAD = 0;

/** The writing side. */
export class RingWriter {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #size: number;
  readonly #headIndex: number;
  readonly #tailIndex: number;
  /** Written up to here; published up to there; the reader's position when last looked at. */
  #tail: number;
  #published: number;
  #head: number;
  /** Position one past the record that was reserved last. */
  #next: number;
  /** The other side has told a position that cannot be. */
  broken = false;

  /** `base`: of the ring, from the window's start; indices: of its control words. */
  constructor(window: Window, base: number, size: number, headIndex: number, tailIndex: number) {
    this.#words = window.words;
    this.#base = base;
    this.#size = size;
    this.#headIndex = headIndex;
    this.#tailIndex = tailIndex;
    this.#tail = Atomics.load(this.#words, tailIndex);
    this.#published = this.#tail;
    this.#head = this.#tail;
    this.#next = this.#tail;
  }

  /**
   * Room for a record of `length` bytes (rounded up to a multiple of 8). Writes its two words and returns
   * the **word index** in the window where they lie, or -1 when the ring has no room. The record counts from
   * `commit()` on; another `reserve()` before drops it.
   */
  reserve(type: number, length: number): number {
    length = (length + 7) & ~7;
    const size = this.#size;
    let at = this.#tail & (size - 1);
    const pad = at + length > size ? size - at : 0;
    if (!this.#fits(pad + length)) return -1;
    const words = this.#words;
    if (pad > 0) {
      const w = (this.#base + at) >> 2;
      words[w + RECORD_LENGTH] = pad;
      words[w + RECORD_TYPE] = PAD;
      at = 0;
    }
    this.#next = (this.#tail + pad + length) | 0;
    const w = (this.#base + at) >> 2;
    words[w + RECORD_LENGTH] = length;
    words[w + RECORD_TYPE] = type;
    return w;
  }

  /** Whether `reserve()` would find room for a record of `length` bytes. */
  hasRoom(length: number): boolean {
    length = (length + 7) & ~7;
    const size = this.#size;
    const at = this.#tail & (size - 1);
    return this.#fits(at + length > size ? size - at + length : length);
  }

  /** The record reserved last is complete. */
  commit(): void {
    this.#tail = this.#next;
  }

  /** Shows the reader all complete records. Returns whether there was anything to show. */
  publish(): boolean {
    if (this.#tail === this.#published) return false;
    this.#published = this.#tail;
    Atomics.store(this.#words, this.#tailIndex, this.#tail);
    return true;
  }

  /** Whether there are complete records that the reader has not been shown. */
  get unpublished(): boolean {
    return this.#tail !== this.#published;
  }

  /** Position after the last complete record. */
  get position(): number {
    return this.#tail;
  }

  /** Whether the reader has given back all room up to `position`. */
  isPast(position: number): boolean {
    return ((this.#look() - position) | 0) >= 0;
  }

  /** Bytes of complete records that the reader has not given back. */
  get used(): number {
    return (this.#tail - this.#look()) | 0;
  }

  #fits(length: number): boolean {
    const most = this.#size - length;
    if (((this.#tail - this.#head) | 0) <= most) return true;
    return ((this.#tail - this.#look()) | 0) <= most && !this.broken;
  }

  /** The reader's position, checked. */
  #look(): number {
    if (this.broken) return this.#head;
    const head = Atomics.load(this.#words, this.#headIndex);
    const used = (this.#published - head) | 0;
    if (used < 0 || used > this.#size || ((head - this.#head) | 0) < 0) this.broken = true;
    else this.#head = head;
    return this.#head;
  }
}

/** The reading side. */
export class RingReader {
  readonly #words: Int32Array;
  readonly #base: number;
  readonly #size: number;
  readonly #headIndex: number;
  readonly #tailIndex: number;
  /** Read up to here; given back up to there; published by the writer up to there when last looked at. */
  #head: number;
  #released: number;
  #tail: number;
  /** The other side has told a position or a length that cannot be. */
  broken = false;

  constructor(window: Window, base: number, size: number, headIndex: number, tailIndex: number) {
    this.#words = window.words;
    this.#base = base;
    this.#size = size;
    this.#headIndex = headIndex;
    this.#tailIndex = tailIndex;
    this.#head = Atomics.load(this.#words, headIndex);
    this.#released = this.#head;
    this.#tail = this.#head;
  }

  /** Bytes of the record that `next()` gave last. */
  length = 0;

  /**
   * The next record: the **word index** in the window of its first word, or -1 when there is none (yet).
   * Its length, checked, is in `length`.
   */
  next(): number {
    for (;;) {
      if (this.#head === this.#tail && !this.#look()) return -1;
      const at = this.#head & (this.#size - 1);
      const w = (this.#base + at) >> 2;
      const length = this.#words[w + RECORD_LENGTH]!;
      const pad = this.#words[w + RECORD_TYPE] === PAD;
      const left = (this.#tail - this.#head) | 0;
      // Padding is at the end of the ring only: elsewhere it would keep the reader busy with nothing.
      if (length < RECORD_HEADER || (length & 7) !== 0 || length > left || at + length > this.#size || pad && at + length < this.#size) {
        this.broken = true;
        this.#tail = this.#head;
        return -1;
      }
      this.#head = (this.#head + length) | 0;
      if (pad) continue;
      this.length = length;
      return w;
    }
  }

  /** Whether `next()` has something to look at. */
  get waiting(): boolean {
    return this.#head !== this.#tail || this.#look();
  }

  /** Gives the room of all records taken so far back to the writer. */
  release(): void {
    if (this.#head === this.#released) return;
    this.#released = this.#head;
    Atomics.store(this.#words, this.#headIndex, this.#head);
  }

  #look(): boolean {
    if (this.broken) return false;
    const tail = Atomics.load(this.#words, this.#tailIndex);
    const waiting = (tail - this.#released) | 0;
    if (waiting < 0 || waiting > this.#size || (tail & 7) !== 0 || ((tail - this.#tail) | 0) < 0) {
      this.broken = true;
      return false;
    }
    this.#tail = tail;
    return tail !== this.#head;
  }
}
