/** The contracts between IP and what stands on it. */

import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import type { IpFlow } from './flow.ts';
import type { IcmpError, IpPacket } from './packet.ts';

/** A transport protocol on top of IP. */
export interface Transport {
  /** A packet for this stack, whole, of this protocol. Nothing is kept of it after the return. */
  input(packet: IpPacket): void;
  /**
   * An ICMP error that quotes a packet of this protocol. Returns whether the quoted packet belongs to
   * a living flow (RFC 5927: TCP looks at the sequence number); only then is a path MTU taken over.
   */
  icmpError(error: IcmpError): boolean;
  /** The path MTU to this destination (words) was lowered or raised: flows to it must look again. */
  pathMtuChanged(r0: number, r1: number, r2: number, r3: number): void;
}

/**
 * Figure 2 of the report: which TCP ports belong to applications that run their own TCP. IP asks it
 * before the kernel-style TCP for every segment.
 */
export interface TcpPortTable {
  /** Takes the segment over (true), or leaves it to the kernel-style TCP (false). */
  deliver(packet: IpPacket): boolean;
  /** As `Transport.icmpError`; null when the quoted flow is no application's. */
  icmpError(error: IcmpError): boolean | null;
  /** As `Transport.pathMtuChanged`. */
  pathMtuChanged(r0: number, r1: number, r2: number, r3: number): void;
}

/** What transports ask of IP. */
export interface IpLayer {
  /** Where packets are built; also shows room and pieces. */
  readonly tx: TransmitQueue;
  /** The attached link's `LINK_…` bits. */
  readonly features: number;
  /**
   * Finds the route to `flow.r*`; picks the source address when `flow.l*` is unspecified (all words 0,
   * or 0.0.0.0 as mapped); fills `mtu`, `headerLength`, `pseudoSum`, `version`.
   * Returns 0, -ENETUNREACH, -EADDRNOTAVAIL (a source that is not ours), -EINVAL.
   */
  route(flow: IpFlow): number;
  /**
   * Begins a packet of `flow`: writes the IP header (its length and checksum come with `end`) and
   * returns the offset in `tx.memory` for a transport header of `transportHeaderLength` bytes, or -1
   * when the transmit queue is full. Payload goes in with `tx.piece()`.
   */
  begin(flow: IpFlow, transportHeaderLength: number): number;
  /**
   * Finishes and queues the packet. `csumOffset` is the offset of the checksum field in the transport
   * header (TCP 16, UDP 6, ICMPv6 2; -1 when there is none to do): IP writes the pseudo-header sum and
   * lets the link finish it, or sums the bytes itself. `gsoType` and `gsoSize` as in TransmitQueue.
   * A packet larger than `flow.mtu` that is not to be cut by the link is fragmented here, unless
   * `flow.dontFragment`.
   * Returns 0, or -EMSGSIZE (nothing was sent).
   */
  end(flow: IpFlow, csumOffset: number, gsoType: number, gsoSize: number): number;
  /**
   * ICMP has told that the path to `flow.r*` carries packets of `mtu` bytes only, and the transport believes it now
   * (it did not when it heard: `Transport.icmpError`). A no-op where others decide.
   */
  lowerPathMtu(flow: IpFlow, mtu: number): void;
  /** Whether this address (words) is one of the stack's own. */
  isLocal(w0: number, w1: number, w2: number, w3: number): boolean;
  /** Whether it is a multicast or broadcast address. */
  isToMany(w0: number, w1: number, w2: number, w3: number): boolean;
  /** Answers a packet that nobody takes with port unreachable (rate limited, never for toMany). */
  sendPortUnreachable(packet: IpPacket): void;
}

/**
 * One turn of the stack. Whoever changes anything from outside a batch (an API call, a timer) works
 * between `enter()` and `leave()`; when the outermost one leaves, output that was put off is produced
 * once and handed to the link. While a batch is being handled the same holds for the batch.
 */
export interface Turn {
  enter(): void;
  leave(): void;
}
