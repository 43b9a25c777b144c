/**
 * Finishes the checksum of a packet that was left to a device (VIRTIO_NET_HDR_F_NEEDS_CSUM): the field
 * holds the folded sum of the pseudo-header, the rest is summed here (RFC 1071). For those who look at
 * or change packets on the way: capture and impairment. Links without `LINK_CSUM` get packets complete.
 */

import { checksum } from '../wire/checksum.ts';

/** Where UDP has its checksum, and no other protocol that sums. */
const UDP_CHECKSUM_OFFSET = 6;

/**
 * Sums `[offset + csumStart, offset + length)` and stores the complement in the checksum field.
 * @param csumStart  offset of the transport header in the packet
 * @param csumOffset offset of the checksum field from there
 * @returns false when the fields do not lie inside the packet; nothing was changed
 */
export function completeChecksum(view: DataView, offset: number, length: number, csumStart: number, csumOffset: number): boolean {
  if (csumStart < 0 || csumOffset < 0 || csumStart + csumOffset + 2 > length) return false;
  const sum = checksum(view, offset + csumStart, length - csumStart);
  // Zero means 'no checksum' in UDP (RFC 768), which alone has its checksum there.
  view.setUint16(offset + csumStart + csumOffset, sum === 0 && csumOffset === UDP_CHECKSUM_OFFSET ? 0xffff : sum);
  return true;
}
