/** CIDR notation (RFC 4632 section 3.1, RFC 4291 section 2.3), for configuration. Hot paths see words only. */

import { IPv4CidrRange, IPv6CidrRange } from 'ip-num';
import { isMapped, parseAddress } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';

/** An address and how many of its leading bits name the network: 0 to 32 for IPv4 (mapped words), 0 to 128 for IPv6. */
export interface Cidr {
  words: AddressWords;
  prefix: number;
}

/**
 * Parses `10.90.0.2/24` or `fd90::2/64`; an address alone is a network of its own (/32, /128). Host bits
 * are kept: the same text gives an interface its address and its network. Null when it is malformed.
 */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/');
  const words = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (words === null) return null;
  const version = cidrVersion(words);
  if (slash < 0) return { words, prefix: version === 4 ? 32 : 128 };
  if (!/^[0-9]{1,3}$/.test(text.slice(slash + 1))) return null;
  try {
    const range = version === 4 ? IPv4CidrRange.fromCidr(text) : IPv6CidrRange.fromCidr(text);
    return { words, prefix: Number(range.getPrefix().getValue()) };
  } catch {
    return null;
  }
}

/** 4 when the words are an IPv4 address (mapped), else 6. */
export function cidrVersion(words: AddressWords): 4 | 6 {
  return isMapped(words.w0, words.w1, words.w2) ? 4 : 6;
}
