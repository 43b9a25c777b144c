/**
 * The Internet checksum (RFC 1071, RFC 1624): 16-bit ones' complement sums.
 *
 * A **sum** is a plain number that counts big-endian 16-bit words; it may be larger than 16 bits and
 * sums are added with `+`. `fold()` brings it to 16 bits; the **checksum** is the complement of that.
 * Bytes that are valid together with their checksum fold to 0xffff.
 *
 * Both 0x0000 and 0xffff stand for zero in ones' complement. A sum of words is 0 only when all of them
 * are 0; else it folds to 0x0001 … 0xffff.
 */

/** Most bytes that one call of `sumBytes` may sum: beyond, its 32-bit accumulators would overflow. */
export const SUM_LIMIT = 1 << 17;

/** Folds a sum (any integer from 0 to 2^48) to 16 bits, end-around carry. */
export function fold(sum: number): number {
  while (sum > 0x7fffffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/** Swaps the two bytes of a folded sum: what it is when its bytes begin at an odd position. */
export function swap16(folded: number): number {
  return ((folded & 0xff) << 8) | (folded >>> 8);
}

/**
 * Sum of `length` bytes (at most `SUM_LIMIT`) at `offset`; an odd last byte counts as the upper half of
 * a word (RFC 1071 section 1). The result is folded.
 *
 * Two additions and a shift for four bytes: with `whole` = Σ w (modulo 2^32) and `high` = Σ (w >>> 16),
 * the sum of the low halves is `whole - (high << 16)`. Words are loaded little-endian, which is what
 * machines have; the sum does not depend on it but for a swap of the result (RFC 1071 section 2 (B)).
 */
export function sumBytes(view: DataView, offset: number, length: number): number {
  let whole = 0;
  let high = 0;
  const end = offset + length;
  for (const stop = end - 31; offset < stop; offset += 32) {
    const a = view.getInt32(offset, true);
    const b = view.getInt32(offset + 4, true);
    const c = view.getInt32(offset + 8, true);
    const d = view.getInt32(offset + 12, true);
    const e = view.getInt32(offset + 16, true);
    const f = view.getInt32(offset + 20, true);
    const g = view.getInt32(offset + 24, true);
    const h = view.getInt32(offset + 28, true);
    whole = (whole + a + b + c + d + e + f + g + h) | 0;
    high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)
      + (e >>> 16) + (f >>> 16) + (g >>> 16) + (h >>> 16)) | 0;
  }
  for (const stop = end - 3; offset < stop; offset += 4) {
    const a = view.getInt32(offset, true);
    whole = (whole + a) | 0;
    high = (high + (a >>> 16)) | 0;
  }
  let low = ((whole - (high << 16)) >>> 0) + (high >>> 0);
  if (offset + 1 < end) {
    low += view.getUint16(offset, true);
    offset += 2;
  }
  // Little-endian: the first byte of a word is its lower half.
  if (offset < end) low += view.getUint8(offset);
  return swap16(fold(low));
}

/**
 * Adds the sum of bytes that follow `position` bytes already summed: after an odd number of bytes the
 * halves change places.
 */
export function sumContinued(sum: number, position: number, view: DataView, offset: number, length: number): number {
  const next = sumBytes(view, offset, length);
  return sum + ((position & 1) === 0 ? next : swap16(next));
}

/** Sum of the four 16-bit words of two int32 words. */
export function sumWords2(a: number, b: number): number {
  return (a >>> 16) + (a & 0xffff) + (b >>> 16) + (b & 0xffff);
}

/** Sum of an address given as four int32 words. The IPv4-mapped form sums like the IPv4 address: 0xffff is zero. */
export function sumAddress(w0: number, w1: number, w2: number, w3: number): number {
  return sumWords2(w0, w1) + sumWords2(w2, w3);
}

/** The checksum of `length` bytes, ready to be stored big-endian. */
export function checksum(view: DataView, offset: number, length: number): number {
  return ~sumBytes(view, offset, length) & 0xffff;
}

/** `sum` without a part of it that folds to `part`. Right in ones' complement: the result may be either zero. */
export function subtractSum(sum: number, part: number): number {
  return fold(sum + (~fold(part) & 0xffff));
}

/** The checksum after one 16-bit word changed from `from` to `to` (RFC 1624 section 3, equation 3). */
export function updateChecksum(old: number, from: number, to: number): number {
  return ~fold((~old & 0xffff) + (~from & 0xffff) + to) & 0xffff;
}
