/**
 * What TCPU sees of IP when it stands on UDP (sections 2 and 3.2 of the report): TCP segments as the payload
 * of datagrams, behind a header of four bytes.
 *
 *       0                   1                   2                   3
 *      +---------------+---------------+---------------+---------------+
 *      |  'T' = 0x54   |  'C' = 0x43   |  'U' = 0x55   |  version = 1  |
 *      +---------------+---------------+---------------+---------------+
 *      |  TCP header (RFC 9293 3.1), options, data …                   |
 *
 * - Connections are named by the addresses and ports of UDP. The ports in the TCP header are written for those
 *   who read captures, and not believed: a NAT on the way changes the outer ones only.
 * - The TCP checksum covers the TCP header and data without a pseudo-header, for the same reason. It is always
 *   sent and always checked; a segment has been through two programs beside the network.
 * - Nothing is fragmented on purpose: a segment's size comes from `mtu`, which is what the path carries as an
 *   IP packet, less IP, UDP and the four bytes.
 *
 * Left out: traffic class and time to live (the host's defaults hold), ECN, ICMP other than what the host tells
 * a socket.
 */

import { FlowTable } from '../buffer/flow-table.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import { TransmitQueue, TX_FIRST_PIECE, TX_PIECES, TX_STRIDE } from '../buffer/transmit-queue.ts';
import { EINVAL, ENETUNREACH } from '../errno.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { IpPacket } from '../ip/packet.ts';
import type { IpLayer } from '../ip/transport.ts';
import { isMapped, isUnspecified } from '../wire/address.ts';
import { fold, sumContinued } from '../wire/checksum.ts';
import { TCP_HEADER } from '../wire/tcp.ts';
import { addressText } from './udp-endpoint.ts';
import type { UdpEndpoint, UdpPath } from './udp-endpoint.ts';

/** The four bytes in front, as one big-endian word: 'TCU', version 1. */
export const UDP_MAGIC = 0x54435501;
export const UDP_VERSION = UDP_MAGIC & 0xff;
export const UDP_ENCAPSULATION = 4;
/** Shortest datagram that can be one of ours. */
export const LEAST_DATAGRAM = UDP_ENCAPSULATION + TCP_HEADER;
const UDP_HEADER = 8;
const IPV4_HEADER = 20;
const IPV6_HEADER = 40;

/**
 * IP packet that most paths carry: room for a tunnel or two below Ethernet's 1500 bytes, and above the 1280 of
 * IPv6 (RFC 8200 section 5). Datagrams of 1372 bytes over IPv4, 1352 over IPv6.
 */
export const DEFAULT_MTU = 1400;
/** What stays on this machine: fewer, larger datagrams. */
export const LOOPBACK_MTU = 16_384;
/** Sizes to try when the system refuses one (after RFC 1191 section 7). */
const PLATEAUS = [8192, 4352, 1492, DEFAULT_MTU, 1280, 1006, 576];
/** Destinations with a path MTU of their own that are remembered. */
const MAX_PATHS = 4096;

export class UdpIp implements IpLayer {
  readonly tx: TransmitQueue;
  /** UDP sockets of Node's cut nothing and sum nothing. */
  readonly features = 0;
  /** By handle (`IpFlow.handle`): where a connection's segments go. */
  readonly paths: (UdpPath | null)[] = [];
  /** By index in `tx`: where a queued packet goes. */
  readonly queued: (UdpPath | null)[] = [];
  readonly #freeHandles: number[] = [];
  readonly #mtu: number;
  readonly #pathMtus: FlowTable;
  /** Who sent the segment in hand, for what is answered without a connection. */
  #fromEndpoint: UdpEndpoint | null = null;
  #fromAddress = '';
  #fromPort = 0;
  #path: UdpPath | null = null;

  constructor(memory: PacketMemory, mtu: number, seed: number) {
    this.tx = new TransmitQueue(memory);
    this.#mtu = mtu;
    this.#pathMtus = new FlowTable(seed);
  }

  // ------------------------------------------------------------------------------------- paths

  /** The segment that is handed in next came from here; null: there is none any more. */
  from(endpoint: UdpEndpoint | null, address: string, port: number): void {
    this.#fromEndpoint = endpoint;
    this.#fromAddress = address;
    this.#fromPort = port;
  }

  /** The way back to who sent the segment in hand, or null. */
  wayBack(): UdpPath | null {
    const endpoint = this.#fromEndpoint;
    return endpoint === null ? null : { endpoint, address: this.#fromAddress, port: this.#fromPort };
  }

  /** Remembers where a connection's segments go. Returns the handle. */
  addPath(path: UdpPath): number {
    const handle = this.#freeHandles.pop() ?? this.paths.length;
    this.paths[handle] = path;
    return handle;
  }

  removePath(handle: number): UdpPath | null {
    const path = this.paths[handle] ?? null;
    if (path === null) return null;
    this.paths[handle] = null;
    this.#freeHandles.push(handle);
    return path;
  }

  // ----------------------------------------------------------------------------------- IpLayer

  route(flow: IpFlow): number {
    const { r0, r1, r2, r3 } = flow;
    if (isUnspecified(r0, r1, r2, r3)) return -EINVAL;
    const v4 = isMapped(r0, r1, r2);
    if (!isUnspecified(flow.l0, flow.l1, flow.l2, flow.l3) && isMapped(flow.l0, flow.l1, flow.l2) !== v4) return -ENETUNREACH;
    flow.version = v4 ? 4 : 6;
    flow.headerLength = (v4 ? IPV4_HEADER : IPV6_HEADER) + UDP_HEADER + UDP_ENCAPSULATION;
    flow.mtu = this.#mtuTo(r0, r1, r2, r3);
    return 0;
  }

  #mtuTo(w0: number, w1: number, w2: number, w3: number): number {
    const known = this.#pathMtus.find(0, 0, 0, 0, w0, w1, w2, w3, 0);
    if (known >= 0) return this.#pathMtus.values[known]!;
    const loopback = isMapped(w0, w1, w2) ? (w3 >>> 24) === 127 : w0 === 0 && w1 === 0 && w2 === 0 && w3 === 1;
    return loopback ? Math.max(LOOPBACK_MTU, this.#mtu) : this.#mtu;
  }

  /** The system found a datagram to this destination too large. Returns whether smaller ones can be tried. */
  lowerMtu(w0: number, w1: number, w2: number, w3: number): boolean {
    const table = this.#pathMtus;
    const mtu = this.#mtuTo(w0, w1, w2, w3);
    const least = isMapped(w0, w1, w2) ? 576 : 1280;
    const lower = PLATEAUS.find((plateau) => plateau < mtu && plateau >= least);
    if (lower === undefined) return false;
    const known = table.find(0, 0, 0, 0, w0, w1, w2, w3, 0);
    if (known >= 0) table.values[known] = lower;
    else if (table.size < MAX_PATHS) table.insert(0, 0, 0, 0, w0, w1, w2, w3, 0, lower);
    return true;
  }

  begin(flow: IpFlow, transportHeaderLength: number): number {
    const path = flow.handle >= 0 ? this.paths[flow.handle] ?? null : this.wayBack();
    if (path === null) return -1;
    const at = this.tx.begin(UDP_ENCAPSULATION + transportHeaderLength);
    if (at < 0) return -1;
    this.#path = path;
    this.tx.memory.view.setInt32(at, UDP_MAGIC);
    return at + UDP_ENCAPSULATION;
  }

  end(_flow: IpFlow, csumOffset: number, _gsoType: number, _gsoSize: number): number {
    const tx = this.tx;
    const view = tx.memory.view;
    tx.end(-1, 0, 0, 0);
    const index = tx.tail - 1;
    this.queued[index] = this.#path;
    const p = index * TX_STRIDE;
    let piece = tx.packets[p + TX_FIRST_PIECE]! * 2;
    const last = piece + tx.packets[p + TX_PIECES]! * 2;
    const header = tx.pieces[piece]! + UDP_ENCAPSULATION;
    view.setUint16(header + csumOffset, 0);
    let position = tx.pieces[piece + 1]! - UDP_ENCAPSULATION;
    let sum = sumContinued(0, 0, view, header, position);
    for (piece += 2; piece < last; piece += 2) {
      const length = tx.pieces[piece + 1]!;
      sum = sumContinued(sum, position, view, tx.pieces[piece]!, length);
      position += length;
    }
    view.setUint16(header + csumOffset, ~fold(sum) & 0xffff);
    return 0;
  }

  lowerPathMtu(): void {
    // The system hears ICMP, not we.
  }

  /** Any address may be ours: the host knows, and says so when a socket is bound. */
  isLocal(): boolean {
    return true;
  }

  isToMany(w0: number, w1: number, w2: number, w3: number): boolean {
    return isMapped(w0, w1, w2) ? (w3 >>> 28) === 14 || w3 === -1 : (w0 >>> 24) === 0xff;
  }

  sendPortUnreachable(_packet: IpPacket): void {
    // The host does that.
  }
}

/** The path to a flow's peer out of `endpoint`. */
export function pathTo(endpoint: UdpEndpoint, flow: IpFlow, port: number): UdpPath {
  return { endpoint, address: addressText(endpoint.v6, flow.r0, flow.r1, flow.r2, flow.r3), port };
}
