/**
 * The bytes of `/bytes/N`: endless, the same at every place for everybody, and with a period that
 * divides no packet, page or buffer size, so that a piece that is lost, doubled or misplaced shows.
 */

import { createHash } from 'node:crypto';

/** Bytes after which the pattern repeats: a prime. */
export const PATTERN_PERIOD = 65521;

/** Byte `i` of the pattern. */
export function patternByte(i: number): number {
  const p = i % PATTERN_PERIOD;
  return (p * 167 + (p >>> 8) * 13) & 0xff;
}

/** `periods` whole periods, laid out. */
export function patternBytes(periods: number): Buffer {
  const bytes = Buffer.allocUnsafe(periods * PATTERN_PERIOD);
  for (let i = 0; i < PATTERN_PERIOD; i++) bytes[i] = patternByte(i);
  for (let n = 1; n < periods; n++) bytes.copy(bytes, n * PATTERN_PERIOD, 0, PATTERN_PERIOD);
  return bytes;
}

/** SHA-256, in hex, of the first `length` bytes of the pattern. */
export function patternDigest(length: number): string {
  const hash = createHash('sha256');
  const piece = patternBytes(16);
  let left = length;
  for (; left >= piece.length; left -= piece.length) hash.update(piece);
  return hash.update(piece.subarray(0, left)).digest('hex');
}
