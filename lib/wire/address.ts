/** IP addresses as text and as four int32 words (IPv4 in its IPv4-mapped form, RFC 4291 2.5.5.2). */

/** Four words, first word first; `::ffff:a.b.c.d` for IPv4. */
export interface AddressWords {
  w0: number;
  w1: number;
  w2: number;
  w3: number;
}

/** The third word of every IPv4-mapped address. */
export const MAPPED = 0xffff;

/** Whether the words are an IPv4 address in mapped form. */
export function isMapped(w0: number, w1: number, w2: number): boolean {
  return w0 === 0 && w1 === 0 && w2 === MAPPED;
}
