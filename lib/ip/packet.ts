/** An arrived IP packet (or a reassembled one), as IP hands it to a transport. */

import type { PacketBatch } from '../link/link.ts';

/**
 * One object is filled again for every packet. Addresses are four int32 words, first word first; an
 * IPv4 address is its IPv4-mapped form `::ffff:a.b.c.d` (0, 0, 0xffff, a.b.c.d), so that tables and
 * comparisons have one shape for both versions.
 */
export class IpPacket {
  slab: Uint8Array;
  view: DataView;
  /** 4 or 6. */
  version = 4;
  /** Source, destination: see above. */
  src0 = 0;
  src1 = 0;
  src2 = 0;
  src3 = 0;
  dst0 = 0;
  dst1 = 0;
  dst2 = 0;
  dst3 = 0;
  /** Protocol of the payload (TCP 6, UDP 17, ICMP 1, ICMPv6 58, …). */
  protocol = 0;
  /** The payload, that is the transport header and what follows; offset in the slab, bytes. */
  offset = 0;
  length = 0;
  /** Where the IP header begins, for those who must quote the packet; bytes up to the payload's end. */
  ipOffset = 0;
  ipLength = 0;
  /** Traffic class: DSCP in the upper six bits, ECN in the lower two. */
  tos = 0;
  /** Time to live, or hop limit. */
  ttl = 0;
  /** The destination is a broadcast or multicast address. */
  toMany = false;
  /** The transport checksum needs no check (offload), else `transportSum` or the bytes tell. */
  checksumOk = false;
  /**
   * Ones' complement sum of the transport payload, folded to 16 bits, without the pseudo-header, when
   * the link gave it; -1 when it must be computed.
   */
  transportSum = -1;
  /** `GSO_NONE`, or how this packet was merged, and the payload bytes of each part. */
  gsoType = 0;
  gsoSize = 0;
  /** Arrival at the link, µs of the stack's clock. */
  timeUs = 0;

  constructor(batch: PacketBatch) {
    this.slab = batch.slab;
    this.view = batch.view;
  }
}

/**
 * An ICMP error about a packet of ours, checked for form; the transport must still check that the
 * quoted packet belongs to a living flow.
 */
export interface IcmpError {
  /** 4 or 6. */
  version: number;
  /** ICMP type and code as received, and the errno that Linux gives a socket for it. */
  type: number;
  code: number;
  errno: number;
  /** Linux makes this error final for connected sockets (port, protocol unreachable, prohibited). */
  fatal: boolean;
  /** Next-hop MTU of 'fragmentation needed' and 'packet too big', else 0. */
  mtu: number;
  /** Who reported it, as words. */
  from0: number;
  from1: number;
  from2: number;
  from3: number;
  /** The quoted packet: its source (ours) and destination, and the transport bytes that were quoted. */
  src0: number;
  src1: number;
  src2: number;
  src3: number;
  dst0: number;
  dst1: number;
  dst2: number;
  dst3: number;
  slab: Uint8Array;
  view: DataView;
  /** At least the first 8 bytes of the transport header. */
  offset: number;
  length: number;
}
