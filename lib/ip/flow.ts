/** The IP side of a conversation: what stays the same from packet to packet. */

import type { IpPacket } from './packet.ts';

/**
 * Filled by its owner (addresses, protocol, and the choices tos, ttl, dontFragment), then completed by
 * `IpLayer.route()`. Addresses are words as in `IpPacket`: local is ours, remote the peer's.
 */
export class IpFlow {
  version = 4;
  protocol = 0;
  l0 = 0;
  l1 = 0;
  l2 = 0;
  l3 = 0;
  r0 = 0;
  r1 = 0;
  r2 = 0;
  r3 = 0;
  /** Traffic class octet; a transport may change the ECN bits from packet to packet. */
  tos = 0;
  ttl = 64;
  /** IPv6 flow label, 20 bits. */
  flowLabel = 0;
  /** IPv4: set DF, and never fragment here. */
  dontFragment = true;
  /** Largest IP packet to this destination, bytes: the link's MTU, or less once the path has said so. */
  mtu = 0;
  /** Bytes of the IP header that `begin()` will write. */
  headerLength = 20;
  /** Unfolded sum of both addresses and the protocol: the pseudo-header without the length. */
  pseudoSum = 0;
  /** Generation of the routing and path MTU tables that `mtu` is from; `begin()` notices when it is old. */
  generation = -1;
  /** The remote address is the stack's own: packets come back in and never reach the link. Set by `route()`. */
  loopback = false;
  /** What TCPK calls this conversation where IP is on the other side of a channel; -1: it has no name. */
  handle = -1;

  /** Version and addresses of whoever answers `packet`: its destination is ours, its source the peer. */
  turn(packet: IpPacket): void {
    this.version = packet.version;
    this.l0 = packet.dst0;
    this.l1 = packet.dst1;
    this.l2 = packet.dst2;
    this.l3 = packet.dst3;
    this.r0 = packet.src0;
    this.r1 = packet.src1;
    this.r2 = packet.src2;
    this.r3 = packet.src3;
  }
}
