/**
 * IP addresses as text and as four int32 words (IPv4 in its IPv4-mapped form, RFC 4291 2.5.5.2).
 *
 * Text in: dotted IPv4 as inet_pton(3) takes it (four decimal parts, no leading zeros), IPv6 as RFC 4291
 * section 2.2 writes it. Zone identifiers (`%eth0`) and prefixes are not part of an address here.
 * Text out: dotted IPv4 for mapped addresses, else RFC 5952's canonical form.
 */

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

/** Whether the words are `::` or, mapped, `0.0.0.0`. */
export function isUnspecified(w0: number, w1: number, w2: number, w3: number): boolean {
  return w3 === 0 && w0 === 0 && w1 === 0 && (w2 === 0 || w2 === MAPPED);
}

/** Words of an IPv4 address given as int32 or uint32. */
export function mappedWords(ipv4: number): AddressWords {
  return { w0: 0, w1: 0, w2: MAPPED, w3: ipv4 | 0 };
}

/** The int32 of a dotted IPv4 address, or null. */
export function parseIpv4(text: string): number | null {
  const parts = text.split('.');
  if (parts.length !== 4) return null;
  let word = 0;
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return null;
    const octet = Number(part);
    if (octet > 255) return null;
    word = (word << 8) | octet;
  }
  return word;
}

/** The words of an address, or null when the text is not one. `::ffff:1.2.3.4` is the IPv4 address 1.2.3.4. */
export function parseAddress(text: string): AddressWords | null {
  if (!text.includes(':')) {
    const word = parseIpv4(text);
    return word === null ? null : mappedWords(word);
  }
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1]!, true) : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  // '::' stands for at least one group (RFC 5952 section 4.2.2 says never for one; accepted all the same).
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const word = (i: number): number => (groups[i]! << 16) | groups[i + 1]!;
  return { w0: word(0), w1: word(2), w2: word(4), w3: word(6) };
}

/** 16-bit groups between colons; a dotted IPv4 address may stand for the last two. Null when malformed. */
function parseGroups(text: string, last: boolean): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    if (part.includes('.')) {
      const word = last && i === parts.length - 1 ? parseIpv4(part) : null;
      if (word === null) return null;
      groups.push(word >>> 16, word & 0xffff);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null;
      groups.push(parseInt(part, 16));
    }
  }
  return groups;
}

/** Dotted form of an IPv4 address given as int32 or uint32. */
export function formatIpv4(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 0xff}.${(word >>> 8) & 0xff}.${word & 0xff}`;
}

/** Text of an address: dotted for IPv4 (mapped), else RFC 5952 section 4. */
export function formatAddress(w0: number, w1: number, w2: number, w3: number): string {
  if (isMapped(w0, w1, w2)) return formatIpv4(w3);
  const groups: number[] = [];
  for (const word of [w0, w1, w2, w3]) groups.push(word >>> 16, word & 0xffff);
  // The longest run of two or more zero groups is shortened, the first of equals (4.2.2, 4.2.3).
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > bestLength) {
      best = i;
      bestLength = end - i;
    }
    if (end > i) i = end - 1;
  }
  const hex = (from: number, to: number): string => groups.slice(from, to).map((g) => g.toString(16)).join(':');
  return best < 0 ? hex(0, 8) : `${hex(0, best)}::${hex(best + bestLength, 8)}`;
}
