/** Writes TCP options (RFC 9293 3.2). Reading them is `Segment.parse` (lib/tcp/segment.ts). */

import {
  OPT_FAST_OPEN, OPT_MSS, OPT_NOP, OPT_SACK, OPT_SACK_PERMITTED, OPT_TIMESTAMPS, OPT_WINDOW_SCALE, OPTLEN_FAST_OPEN, OPTLEN_MSS,
  OPTLEN_SACK_PERMITTED, OPTLEN_TIMESTAMPS, OPTLEN_WINDOW_SCALE,
} from './tcp.ts';

/** NOP NOP Timestamps: 12 bytes. */
export function writeTimestamps(view: DataView, at: number, tsVal: number, tsEcr: number): number {
  view.setInt32(at, (OPT_NOP << 24) | (OPT_NOP << 16) | (OPT_TIMESTAMPS << 8) | OPTLEN_TIMESTAMPS);
  view.setInt32(at + 4, tsVal);
  view.setInt32(at + 8, tsEcr);
  return at + 12;
}

/** NOP NOP SACK with `count` blocks out of `blocks` (left and right edge, one after the other): 4 + 8 × count bytes. */
export function writeSack(view: DataView, at: number, blocks: Int32Array, count: number): number {
  view.setInt32(at, (OPT_NOP << 24) | (OPT_NOP << 16) | (OPT_SACK << 8) | (2 + count * 8));
  for (let i = 0; i < count * 2; i++) view.setInt32(at + 4 + i * 4, blocks[i]!);
  return at + 4 + count * 8;
}

/** Bytes that `writeSynOptions` will write. */
export function synOptionsLength(sackPermitted: boolean, timestamps: boolean, windowScale: number): number {
  return OPTLEN_MSS + (timestamps ? 12 : sackPermitted ? 4 : 0) + (windowScale >= 0 ? 4 : 0);
}

/**
 * The options of a SYN in the order that Linux sends them: MSS, SACK-permitted and timestamps
 * (sharing four bytes), NOP, window scale. `windowScale` -1 leaves that one out.
 */
export function writeSynOptions(
  view: DataView, at: number, mss: number, sackPermitted: boolean, timestamps: boolean, tsVal: number, tsEcr: number, windowScale: number,
): number {
  view.setInt32(at, (OPT_MSS << 24) | (OPTLEN_MSS << 16) | mss);
  at += OPTLEN_MSS;
  if (timestamps) {
    view.setInt32(at, sackPermitted
      ? (OPT_SACK_PERMITTED << 24) | (OPTLEN_SACK_PERMITTED << 16) | (OPT_TIMESTAMPS << 8) | OPTLEN_TIMESTAMPS
      : (OPT_NOP << 24) | (OPT_NOP << 16) | (OPT_TIMESTAMPS << 8) | OPTLEN_TIMESTAMPS);
    view.setInt32(at + 4, tsVal);
    view.setInt32(at + 8, tsEcr);
    at += 12;
  } else if (sackPermitted) {
    view.setInt32(at, (OPT_NOP << 24) | (OPT_NOP << 16) | (OPT_SACK_PERMITTED << 8) | OPTLEN_SACK_PERMITTED);
    at += 4;
  }
  if (windowScale >= 0) {
    view.setInt32(at, (OPT_NOP << 24) | (OPT_WINDOW_SCALE << 16) | (OPTLEN_WINDOW_SCALE << 8) | windowScale);
    at += 4;
  }
  return at;
}

/** Fast Open (RFC 7413 4.1.1) with the first `length` bytes of `cookie`, and NOPs before it: (2 + length) made a multiple of 4. */
export function writeFastOpen(view: DataView, at: number, cookie: Uint8Array, length: number): number {
  const end = at + ((OPTLEN_FAST_OPEN + length + 3) & ~3);
  while (at < end - OPTLEN_FAST_OPEN - length) view.setUint8(at++, OPT_NOP);
  view.setUint8(at++, OPT_FAST_OPEN);
  view.setUint8(at++, OPTLEN_FAST_OPEN + length);
  for (let i = 0; i < length; i++) view.setUint8(at++, cookie[i]!);
  return end;
}
