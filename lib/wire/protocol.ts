/**
 * Protocol numbers of the IPv4 header and next header values of IPv6 (IANA "Assigned Internet
 * Protocol Numbers"): those that this stack treats in a way of their own.
 */

export const PROTO_ICMP = 1;
export const PROTO_IGMP = 2;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;
export const PROTO_ICMPV6 = 58;

/** IPv6 extension headers (RFC 8200 section 4; RFC 4302, RFC 4303 for the last two). */
export const EXT_HOP_BY_HOP = 0;
export const EXT_ROUTING = 43;
export const EXT_FRAGMENT = 44;
export const EXT_ESP = 50;
export const EXT_AUTHENTICATION = 51;
/** Nothing follows (RFC 8200 section 4.7). */
export const EXT_NONE = 59;
export const EXT_DESTINATION = 60;
