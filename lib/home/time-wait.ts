/**
 * TIME-WAIT (RFC 9293 3.6, 3.10.7.4): what is left of a connection that closed first, in 44 bytes
 * beside its key in the connection table, instead of a TCB. All wait equally long, so a list in order
 * of arrival is all the clock that it takes. Freed rows are used again, so that pairs of ports that are
 * used over and over take no more room than there are rows alive. Rows that came from another home have less
 * time left (lib/tcp/handover.ts); they leave late when others stand before them, never early.
 */

import type { TimeWaitState } from '../tcp/handover.ts';
import type { Seq } from '../wire/seq.ts';

/** Int32 fields of a row. */
const STRIDE = 11;
const ENTRY = 0;
const EXPIRES_MS = 1;
const SND_NXT = 2;
const RCV_NXT = 3;
const WINDOW = 4;
const TS_RECENT = 5;
const TS_OFFSET = 6;
/** TTL, then TOS, 8 bits each; bit 16: timestamps were agreed on. */
const FLAGS = 7;
/** Rows that came before and after, -1 at the ends. Free rows are linked by `NEXT`. */
const PREVIOUS = 8;
const NEXT = 9;
/** When a segment without data was answered last (int32 ms); 0: never. */
const ANSWERED_MS = 10;

const TIMESTAMPS = 1 << 16;

export class TimeWaitTable {
  #rows = new Int32Array(64 * STRIDE);
  #capacity = 64;
  #oldest = -1;
  #youngest = -1;
  #free = -1;
  #fresh = 0;
  size = 0;

  /** Adds a row for the connection-table entry `entry`. Returns its number, which stays the same. */
  add(
    entry: number, expiresMs: number, sndNxt: number, rcvNxt: number, window: number, timestamps: boolean, tsRecent: number,
    tsOffset: number, tos: number, ttl: number,
  ): number {
    let row = this.#free;
    if (row >= 0) {
      this.#free = this.#rows[row * STRIDE + NEXT]!;
    } else {
      if (this.#fresh === this.#capacity) this.#grow();
      row = this.#fresh++;
    }
    const r = row * STRIDE;
    const rows = this.#rows;
    rows[r + ENTRY] = entry;
    rows[r + EXPIRES_MS] = expiresMs;
    rows[r + SND_NXT] = sndNxt;
    rows[r + RCV_NXT] = rcvNxt;
    rows[r + WINDOW] = window;
    rows[r + TS_RECENT] = tsRecent;
    rows[r + TS_OFFSET] = tsOffset;
    rows[r + ANSWERED_MS] = 0;
    rows[r + FLAGS] = (timestamps ? TIMESTAMPS : 0) | (tos << 8) | ttl;
    this.#append(row);
    return row;
  }

  #grow(): void {
    this.#capacity *= 2;
    const rows = new Int32Array(this.#capacity * STRIDE);
    rows.set(this.#rows);
    this.#rows = rows;
  }

  #append(row: number): void {
    const rows = this.#rows;
    rows[row * STRIDE + PREVIOUS] = this.#youngest;
    rows[row * STRIDE + NEXT] = -1;
    if (this.#youngest >= 0) rows[this.#youngest * STRIDE + NEXT] = row;
    else this.#oldest = row;
    this.#youngest = row;
    this.size++;
  }

  #unlink(row: number): void {
    const rows = this.#rows;
    const previous = rows[row * STRIDE + PREVIOUS]!;
    const next = rows[row * STRIDE + NEXT]!;
    if (previous >= 0) rows[previous * STRIDE + NEXT] = next;
    else this.#oldest = next;
    if (next >= 0) rows[next * STRIDE + PREVIOUS] = previous;
    else this.#youngest = previous;
    this.size--;
  }

  /** Starts the time of a row anew (the peer's FIN came again): it becomes the youngest. */
  restart(row: number, expiresMs: number): void {
    this.#unlink(row);
    this.#rows[row * STRIDE + EXPIRES_MS] = expiresMs;
    this.#append(row);
  }

  /** Frees a row before its time (a new connection takes the flow, or RST). */
  remove(row: number): void {
    this.#unlink(row);
    this.#rows[row * STRIDE + NEXT] = this.#free;
    this.#free = row;
  }

  /** The entry whose row is the oldest: to make room, or -1. */
  get oldestEntry(): number {
    return this.#oldest < 0 ? -1 : this.#rows[this.#oldest * STRIDE + ENTRY]!;
  }

  /** When the oldest row expires (int32 ms); meaningless when empty. */
  get nextMs(): number {
    return this.#rows[Math.max(this.#oldest, 0) * STRIDE + EXPIRES_MS]!;
  }

  /** Takes out a row that has expired by `nowMs` and returns its entry, or -1. */
  expire(nowMs: number): number {
    const row = this.#oldest;
    if (row < 0 || ((this.#rows[row * STRIDE + EXPIRES_MS]! - nowMs) | 0) > 0) return -1;
    const entry = this.#rows[row * STRIDE + ENTRY]!;
    this.remove(row);
    return entry;
  }

  /** Calls `visit` for every row, oldest first; `visit` may remove it. */
  forEach(visit: (row: number) => void): void {
    for (let row = this.#oldest, next = -1; row >= 0; row = next) {
      next = this.#rows[row * STRIDE + NEXT]!;
      visit(row);
    }
  }

  /** All that a row says, apart from its place in the connection table. */
  state(row: number, nowMs: number): TimeWaitState {
    return {
      sndNxt: this.sndNxt(row) as Seq,
      rcvNxt: this.rcvNxt(row) as Seq,
      window: this.window(row),
      timestamps: this.timestamps(row),
      tsRecent: this.tsRecent(row),
      tsOffset: this.tsOffset(row),
      tos: this.tos(row),
      ttl: this.ttl(row),
      leftMs: Math.max(this.leftMs(row, nowMs), 1),
    };
  }

  /** How long the row still waits, ms. */
  leftMs(row: number, nowMs: number): number {
    return (this.#rows[row * STRIDE + EXPIRES_MS]! - nowMs) | 0;
  }

  /** Whether `leastMs` have passed since this last said yes; which it has then. */
  mayAnswer(row: number, nowMs: number, leastMs: number): boolean {
    const at = row * STRIDE + ANSWERED_MS;
    const last = this.#rows[at]!;
    if (last !== 0 && ((nowMs - last) >>> 0) < leastMs) return false;
    this.#rows[at] = nowMs || 1;
    return true;
  }

  /** The connection-table entry that the row is for. */
  entry(row: number): number {
    return this.#rows[row * STRIDE + ENTRY]!;
  }

  sndNxt(row: number): number {
    return this.#rows[row * STRIDE + SND_NXT]!;
  }

  rcvNxt(row: number): number {
    return this.#rows[row * STRIDE + RCV_NXT]!;
  }

  /** The window field of ACKs, scaled down already. */
  window(row: number): number {
    return this.#rows[row * STRIDE + WINDOW]!;
  }

  timestamps(row: number): boolean {
    return (this.#rows[row * STRIDE + FLAGS]! & TIMESTAMPS) !== 0;
  }

  tsRecent(row: number): number {
    return this.#rows[row * STRIDE + TS_RECENT]!;
  }

  tsOffset(row: number): number {
    return this.#rows[row * STRIDE + TS_OFFSET]!;
  }

  tos(row: number): number {
    return (this.#rows[row * STRIDE + FLAGS]! >> 8) & 0xff;
  }

  ttl(row: number): number {
    return this.#rows[row * STRIDE + FLAGS]! & 0xff;
  }
}
