/**
 * TCP sequence numbers: arithmetic modulo 2^32 (RFC 9293 section 3.4).
 *
 * A sequence number is held as an **int32** (what `DataView#getInt32` gives), never as a uint32:
 * values of 2^31 and above are no small integers, and storing one would change an object's shape.
 * `a` is before `b` when `(a - b) | 0` is negative; this is right for distances below 2^31.
 */

declare const seqBrand: unique symbol;

/** A sequence number, as int32. Compare only with the functions of this file. */
export type Seq = number & { readonly [seqBrand]: true };

/** `s + n`, modulo 2^32; `n` may be negative. */
export function seqAdd(s: Seq, n: number): Seq {
  return ((s + n) | 0) as Seq;
}

/** The signed distance `a - b`: how far `a` is after `b`. */
export function seqDiff(a: Seq, b: Seq): number {
  return (a - b) | 0;
}

/** `a < b` */
export function seqLt(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) < 0;
}

/** `a <= b` */
export function seqLeq(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) <= 0;
}

/** `a > b` */
export function seqGt(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) > 0;
}

/** `a >= b` */
export function seqGeq(a: Seq, b: Seq): boolean {
  return ((a - b) | 0) >= 0;
}

/** The later of the two. */
export function seqMax(a: Seq, b: Seq): Seq {
  return ((a - b) | 0) >= 0 ? a : b;
}

/** The earlier of the two. */
export function seqMin(a: Seq, b: Seq): Seq {
  return ((a - b) | 0) <= 0 ? a : b;
}
