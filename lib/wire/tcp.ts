/** TCP header: field offsets and flags (RFC 9293 section 3.1), option kinds and lengths (3.2; RFC 7323, 2018). */

export const IPPROTO_TCP = 6;

/** Bytes of the header without options, and at most. */
export const TCP_HEADER = 20;
export const TCP_HEADER_MAX = 60;

/** Byte offsets in the header. */
export const TCP_SRC_PORT = 0;
export const TCP_DST_PORT = 2;
export const TCP_SEQ = 4;
export const TCP_ACK = 8;
/** Data offset in the upper four bits. */
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

export const OPT_EOL = 0;
export const OPT_NOP = 1;
export const OPT_MSS = 2;
export const OPT_WINDOW_SCALE = 3;
export const OPT_SACK_PERMITTED = 4;
export const OPT_SACK = 5;
export const OPT_TIMESTAMPS = 8;
export const OPT_FAST_OPEN = 34;

export const OPTLEN_MSS = 4;
export const OPTLEN_WINDOW_SCALE = 3;
export const OPTLEN_SACK_PERMITTED = 2;
export const OPTLEN_TIMESTAMPS = 10;
/** Fast Open without a cookie; the shortest and the longest cookie, whose length is even (RFC 7413 4.1.1). */
export const OPTLEN_FAST_OPEN = 2;
export const MIN_FAST_OPEN_COOKIE = 4;
export const MAX_FAST_OPEN_COOKIE = 16;
/** The timestamps option with two NOPs before it, as everybody sends it (RFC 7323 appendix A). */
export const OPTLEN_TIMESTAMPS_PADDED = 12;

/** Largest window scale (RFC 7323 2.3). */
export const MAX_WINDOW_SCALE = 14;
/** What a peer takes when it names no MSS (RFC 9293 3.7.1, MUST-15). */
export const DEFAULT_MSS_V4 = 536;
export const DEFAULT_MSS_V6 = 1220;
/** Most SACK blocks in one segment. */
export const MAX_SACK_BLOCKS = 4;
