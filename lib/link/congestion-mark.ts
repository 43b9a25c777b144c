/** What a router does to a packet instead of dropping it, if both ends can make something of it (RFC 3168 section 5). */

import { IPV4_HEADER_LENGTH, finishIpv4Checksum, ipVersion, ipv4HeaderLength } from '../wire/ipv4.ts';

const ECN_MASK = 3;
const CE = 3;

/**
 * The IP packet with the CE codepoint: a copy, or `bytes` if it has it already; null when the packet is not of an
 * ECN-capable transport.
 */
export function withCongestionMark(bytes: Uint8Array): Uint8Array | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < IPV4_HEADER_LENGTH) return null;
  const v4 = ipVersion(view, 0) === 4;
  if (v4 && ipv4HeaderLength(view, 0) > bytes.length) return null;
  const ecn = (v4 ? bytes[1]! : bytes[1]! >> 4) & ECN_MASK;
  if (ecn === 0 || ecn === CE) return ecn === CE ? bytes : null;
  const marked = bytes.slice();
  marked[1] = marked[1]! | (v4 ? CE : CE << 4);
  if (v4) finishIpv4Checksum(new DataView(marked.buffer), 0);
  return marked;
}
