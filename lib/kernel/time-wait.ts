/**
 * TIME-WAIT (RFC 9293 3.6, 3.10.7.4): what is left of a connection that closed first, in 40 bytes
 * beside its key in the connection table, instead of a TCB. All wait equally long, so a ring in order
 * of arrival is all the clock that it takes.
 */

/** Int32 fields of a row. */
const STRIDE = 10;
const ENTRY = 0;
const EXPIRES_MS = 1;
const SND_NXT = 2;
const RCV_NXT = 3;
const WINDOW = 4;
const TS_RECENT = 5;
const TS_OFFSET = 6;
/** Bit 0: timestamps were agreed on. */
const FLAGS = 7;
const TOS_TTL = 8;

export class TimeWaitTable {
  #rows = new Int32Array(64 * STRIDE);
  #capacity = 64;
  /** Oldest row, and how many rows (freed ones in the middle included). Row numbers run on, modulo capacity. */
  #first = 0;
  #length = 0;
  size = 0;

  /** Adds a row for the connection-table entry `entry`. Returns its number. */
  add(
    entry: number, expiresMs: number, sndNxt: number, rcvNxt: number, window: number, timestamps: boolean, tsRecent: number,
    tsOffset: number, tos: number, ttl: number,
  ): number {
    if (this.#length === this.#capacity) this.#grow();
    const row = (this.#first + this.#length++) & 0x3fffffff;
    const r = this.#at(row);
    const rows = this.#rows;
    rows[r + ENTRY] = entry;
    rows[r + EXPIRES_MS] = expiresMs;
    rows[r + SND_NXT] = sndNxt;
    rows[r + RCV_NXT] = rcvNxt;
    rows[r + WINDOW] = window;
    rows[r + TS_RECENT] = tsRecent;
    rows[r + TS_OFFSET] = tsOffset;
    rows[r + FLAGS] = timestamps ? 1 : 0;
    rows[r + TOS_TTL] = (tos << 8) | ttl;
    this.size++;
    return row;
  }

  #at(row: number): number {
    return (row & (this.#capacity - 1)) * STRIDE;
  }

  #grow(): void {
    const old = this.#rows;
    const oldMask = this.#capacity - 1;
    this.#capacity *= 2;
    this.#rows = new Int32Array(this.#capacity * STRIDE);
    for (let i = 0; i < this.#length; i++) {
      const row = (this.#first + i) & 0x3fffffff;
      const from = (row & oldMask) * STRIDE;
      this.#rows.set(old.subarray(from, from + STRIDE), this.#at(row));
    }
  }

  /** Starts the time of a row anew (the peer's FIN came again): it becomes the youngest. Returns its new number. */
  restart(row: number, expiresMs: number): number {
    if (this.#length === this.#capacity) this.#grow();
    const to = (this.#first + this.#length++) & 0x3fffffff;
    const from = this.#at(row);
    this.#rows.copyWithin(this.#at(to), from, from + STRIDE);
    this.#rows[this.#at(to) + EXPIRES_MS] = expiresMs;
    this.#rows[from + ENTRY] = -1;
    return to;
  }

  /** Frees a row before its time (a new connection takes the flow, or RST). */
  remove(row: number): void {
    this.#rows[this.#at(row) + ENTRY] = -1;
    this.size--;
  }

  /** The entry whose row is the oldest: to make room, or -1. */
  get oldestEntry(): number {
    this.#skipFreed();
    return this.#length === 0 ? -1 : this.#rows[this.#at(this.#first) + ENTRY]!;
  }

  /** When the oldest row expires (int32 ms); meaningless when empty. */
  get nextMs(): number {
    this.#skipFreed();
    return this.#rows[this.#at(this.#first) + EXPIRES_MS]!;
  }

  #skipFreed(): void {
    while (this.#length > 0 && this.#rows[this.#at(this.#first) + ENTRY]! < 0) {
      this.#first = (this.#first + 1) & 0x3fffffff;
      this.#length--;
    }
  }

  /** Takes out a row that has expired by `nowMs` and returns its entry, or -1. */
  expire(nowMs: number): number {
    this.#skipFreed();
    if (this.#length === 0) return -1;
    const r = this.#at(this.#first);
    if (((this.#rows[r + EXPIRES_MS]! - nowMs) | 0) > 0) return -1;
    const entry = this.#rows[r + ENTRY]!;
    this.#first = (this.#first + 1) & 0x3fffffff;
    this.#length--;
    this.size--;
    return entry;
  }

  expiresMs(row: number): number {
    return this.#rows[this.#at(row) + EXPIRES_MS]!;
  }

  sndNxt(row: number): number {
    return this.#rows[this.#at(row) + SND_NXT]!;
  }

  rcvNxt(row: number): number {
    return this.#rows[this.#at(row) + RCV_NXT]!;
  }

  /** The window field of ACKs, scaled down already. */
  window(row: number): number {
    return this.#rows[this.#at(row) + WINDOW]!;
  }

  timestamps(row: number): boolean {
    return this.#rows[this.#at(row) + FLAGS] === 1;
  }

  tsRecent(row: number): number {
    return this.#rows[this.#at(row) + TS_RECENT]!;
  }

  tsOffset(row: number): number {
    return this.#rows[this.#at(row) + TS_OFFSET]!;
  }

  tos(row: number): number {
    return this.#rows[this.#at(row) + TOS_TTL]! >> 8;
  }

  ttl(row: number): number {
    return this.#rows[this.#at(row) + TOS_TTL]! & 0xff;
  }
}
