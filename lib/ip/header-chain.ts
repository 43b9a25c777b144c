/**
 * Walks the header chain of an IPv6 packet (RFC 8200 section 4.1) without judging it: for packets that
 * ICMP errors quote, for first fragments (RFC 7112), and to tell what a malformed packet carries.
 */

import {
  EXT_AUTHENTICATION, EXT_DESTINATION, EXT_FRAGMENT, EXT_HOP_BY_HOP, EXT_ROUTING, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP,
} from '../wire/protocol.ts';
import { IPV6_FRAGMENT_HEADER_LENGTH, extLength, extNextHeader, fragmentOffset } from '../wire/ipv6.ts';

/** No packet needs more extension headers than this: each of RFC 8200's once, destination options twice, some spare. */
export const MAX_EXTENSION_HEADERS = 10;

export class HeaderChain {
  /** Of the upper layer, or of the first header that could not be walked over. */
  protocol = 0;
  /** Where that header begins. */
  offset = 0;

  /**
   * Follows the chain from header `protocol` at `at` to the upper layer. False when it is cut off before
   * `end`, is too long, or leads into a fragment other than the first.
   */
  walk(view: DataView, protocol: number, at: number, end: number): boolean {
    let ok = false;
    for (let n = 0; n <= MAX_EXTENSION_HEADERS; n++) {
      if (!isExtension(protocol)) {
        ok = true;
        break;
      }
      if (at + 8 > end) break;
      if (protocol === EXT_FRAGMENT) {
        if (fragmentOffset(view, at) !== 0) break;
        protocol = extNextHeader(view, at);
        at += IPV6_FRAGMENT_HEADER_LENGTH;
      } else {
        // The authentication header counts in units of four bytes (RFC 4302 section 2.2).
        const length = protocol === EXT_AUTHENTICATION ? (view.getUint8(at + 1) + 2) << 2 : extLength(view, at);
        protocol = extNextHeader(view, at);
        at += length;
      }
    }
    this.protocol = protocol;
    this.offset = at;
    return ok && at <= end;
  }
}

function isExtension(protocol: number): boolean {
  return protocol === EXT_HOP_BY_HOP || protocol === EXT_ROUTING || protocol === EXT_FRAGMENT
    || protocol === EXT_DESTINATION || protocol === EXT_AUTHENTICATION;
}

/** Bytes of the upper-layer header that a first fragment must hold. */
export function upperHeaderLength(protocol: number): number {
  switch (protocol) {
    case PROTO_TCP: return 20;
    case PROTO_UDP: return 8;
    case PROTO_ICMPV6: return 8;
    default: return 0;
  }
}
