/**
 * UDP (RFC 768; RFC 1122 section 4.1; RFC 8200 section 8.1; ICMP errors as RFC 1122 section 4.1.3.3 and
 * Linux deliver them): the host part, between IP and the sockets.
 *
 *     ip -> input() -> header, length, checksum -> UdpPorts.find() -> UdpSocket.deliver()
 *     UdpSocket.sendTo() -> transmit() -> ip.begin / tx.piece / ip.end
 *
 * Merged datagrams (GSO_UDP_L4) are cut apart here on the way in, and made here on the way out where the
 * link can cut (LINK_USO).
 * Left out: UDP-Lite, UDP encapsulation, zero checksums over IPv6 (RFC 6935).
 */

import { BLOCK_SHIFT, BLOCK_SIZE, copyBytes } from '../buffer/packet-memory.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import { GSO_NONE, GSO_UDP_L4 } from '../buffer/transmit-queue.ts';
import { EAFNOSUPPORT, EAGAIN, EMFILE, EMSGSIZE, ENOBUFS } from '../errno.ts';
import { transportChecksumOk } from '../ip/checksum.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { IcmpError, IpPacket } from '../ip/packet.ts';
import type { IpLayer, Transport, Turn } from '../ip/transport.ts';
import { resolveLimits } from '../limits.ts';
import type { UdpLimits } from '../limits.ts';
import { LINK_USO } from '../link/link.ts';
import type { Random } from '../random.ts';
import { AF_INET, AF_INET6 } from '../socket.ts';
import type { AddressWords } from '../wire/address.ts';
import {
  UDP_CHECKSUM, UDP_HEADER_LENGTH, udpChecksum, udpDestinationPort, udpLength, udpSourcePort, writeUdpHeader,
} from '../wire/udp.ts';
import { IP_PMTUDISC_DO, IP_PMTUDISC_DONT } from './udp-options.ts';
import { UdpPorts } from './udp-ports.ts';
import { UdpSocket } from './udp-socket.ts';

/** Largest payloads: the IPv4 total length, and the IPv6 payload length, are 16 bits. */
const MAX_PAYLOAD_V4 = 65535 - 20 - UDP_HEADER_LENGTH;
const MAX_PAYLOAD_V6 = 65535 - UDP_HEADER_LENGTH;

/** Payloads up to this size go into the header slot, as one piece with the headers. */
const INLINE_PAYLOAD = 64;

/** Most datagrams in one packet that the link cuts: UDP_MAX_SEGMENTS of Linux before 6.9. */
const MAX_SEGMENTS = 64;

/** Destinations that are remembered, to tell whether an ICMP error can be about a datagram of ours. */
const SENT_SLOTS = 4096;

/** What UDP counts: the UDP-MIB (RFC 4113) under its names, then the likes of Linux's. */
export class UdpCounters {
  /** Datagrams delivered to sockets. */
  InDatagrams = 0;
  /** Datagrams to a port that nobody is bound to. */
  NoPorts = 0;
  /** Datagrams that could not be delivered for another reason: the sum of those below. */
  InErrors = 0;
  OutDatagrams = 0;
  /** Shorter than a header, or than their length field says. */
  InLengthErrors = 0;
  InCsumErrors = 0;
  /** The socket's receive buffer was full. */
  RcvbufErrors = 0;
  /** The stack's packet memory was full. */
  MemErrors = 0;
  /** Sends turned away because the transmit queue or the memory was full. */
  SndbufErrors = 0;
  /** Multicasts and broadcasts that nobody wanted. Not an error. */
  IgnoredMulti = 0;
  /** ICMP errors delivered to a socket, and those that quote nothing that was sent. */
  IcmpErrors = 0;
  IcmpErrorsIgnored = 0;
}

export type { UdpLimits } from '../limits.ts';

/** Told as the first, and when the last, of many things begins, and ends, to keep the process alive. */
export interface Liveness {
  ref(): void;
  unref(): void;
}

/** Where multicast groups are joined and left; each socket counts. */
export interface GroupTable {
  joinGroup(group: AddressWords): void;
  leaveGroup(group: AddressWords): unknown;
}

export interface UdpHostOptions {
  ip: IpLayer;
  memory: PacketMemory;
  random: Random;
  turn: Turn;
  /** Hands what is queued to the link now: called when the transmit queue is full in the middle of a turn. */
  flush?: (() => void) | null;
  limits?: UdpLimits;
  /** `ref()` once for each bound socket that is not unref'ed, and `unref()` when that is over. */
  liveness?: Liveness | null;
  /** Told of the groups that sockets join and leave. Default: nobody. */
  groups?: GroupTable | null;
  /** The user whose the ports of its sockets are, as long as a socket is not told another. Default 0. */
  uid?: number;
}

export class UdpHost implements Transport {
  readonly counters = new UdpCounters();
  /** Open sockets. */
  sockets = 0;
  /**
   * Some socket's send returned -EAGAIN. Whoever owns the transmit queue is to call `writable()` when it
   * has room again.
   */
  blocked = false;
  readonly uid: number;

  // What follows is for the sockets.
  readonly ip: IpLayer;
  readonly memory: PacketMemory;
  readonly turn: Turn;
  readonly ports: UdpPorts;
  readonly liveness: Liveness | null;
  readonly groups: GroupTable | null;
  /** Goes up when sockets must route their flows again. */
  flowEpoch = 0;

  readonly #flush: (() => void) | null;
  readonly #maxSockets: number;
  /** Packets of the transmit queue that UDP leaves for others (ACKs, ICMP). */
  readonly #reserve: number;
  /** Payload that waits for the link is packed into blocks, from `#used` of block `#block` on. */
  #block = -1;
  #used = 0;
  readonly #waiting: UdpSocket[] = [];
  readonly #receivers: UdpSocket[] = [];
  readonly #sent = new Int32Array(SENT_SLOTS);
  readonly #secret: number;

  constructor(options: UdpHostOptions) {
    this.ip = options.ip;
    this.memory = options.memory;
    this.turn = options.turn;
    this.uid = options.uid ?? 0;
    this.liveness = options.liveness ?? null;
    this.groups = options.groups ?? null;
    this.ports = new UdpPorts(options.random);
    this.#secret = options.random.int32();
    this.#flush = options.flush ?? null;
    this.#maxSockets = resolveLimits({ udp: options.limits }).udp.sockets;
    this.#reserve = options.ip.tx.capacity >> 3;
  }

  /** A new socket, not bound. -EAFNOSUPPORT unless `domain` is AF_INET or AF_INET6; -EMFILE beyond the limit. */
  socket(domain: number): UdpSocket | number {
    if (domain !== AF_INET && domain !== AF_INET6) return -EAFNOSUPPORT;
    if (this.sockets >= this.#maxSockets) return -EMFILE;
    this.sockets++;
    return new UdpSocket(this, domain);
  }

  // In.

  input(packet: IpPacket): void {
    const counters = this.counters;
    const { view, offset } = packet;
    if (packet.length < UDP_HEADER_LENGTH) {
      counters.InErrors++;
      counters.InLengthErrors++;
      return;
    }
    const length = udpLength(view, offset);
    if (length < UDP_HEADER_LENGTH || length > packet.length) {
      counters.InErrors++;
      counters.InLengthErrors++;
      return;
    }
    // RFC 768: what IP carries beyond the length is not part of the datagram, nor of its checksum.
    if (length < packet.length) {
      packet.length = length;
      packet.transportSum = -1;
    }
    const unsummed = udpChecksum(view, offset) === 0 && !packet.checksumOk;
    // RFC 1122 4.1.3.4: 0 means that IPv4's sender computed none. RFC 8200 8.1: IPv6 has no such thing.
    if (unsummed ? packet.version === 6 : !transportChecksumOk(packet)) {
      counters.InErrors++;
      counters.InCsumErrors++;
      return;
    }
    const localPort = udpDestinationPort(view, offset);
    const remotePort = udpSourcePort(view, offset);
    if (packet.toMany) {
      this.#deliverToAll(packet, localPort, remotePort);
      return;
    }
    const socket = this.ports.find(
      packet.version, packet.dst0, packet.dst1, packet.dst2, packet.dst3, localPort,
      packet.src0, packet.src1, packet.src2, packet.src3, remotePort,
    );
    if (socket === null) {
      counters.NoPorts++;
      this.ip.sendPortUnreachable(packet);
      return;
    }
    this.#deliver(socket, packet, remotePort);
  }

  #deliver(socket: UdpSocket, packet: IpPacket, remotePort: number): void {
    const { slab, src0, src1, src2, src3, ttl, tos } = packet;
    let at = packet.offset + UDP_HEADER_LENGTH;
    const end = packet.offset + packet.length;
    const size = packet.gsoType === GSO_UDP_L4 && packet.gsoSize > 0 ? packet.gsoSize : MAX_PAYLOAD_V6;
    do {
      const n = Math.min(end - at, size);
      socket.deliver(slab, at, n, src0, src1, src2, src3, remotePort, ttl, tos);
      at += n;
    } while (at < end && !socket.closed);
  }

  /** A broadcast or multicast: every socket on the port that takes this sender and address gets it. */
  #deliverToAll(packet: IpPacket, localPort: number, remotePort: number): void {
    // Listed first, as a receiver may close sockets; a stack, as it may cause another delivery.
    const receivers = this.#receivers;
    const base = receivers.length;
    for (let s = this.ports.head(localPort); s !== null; s = s.nextOnPort) {
      if (!s.takesVersion(packet.version)) continue;
      if (s.connected && (s.remotePort !== remotePort || s.r0 !== packet.src0 || s.r1 !== packet.src1 || s.r2 !== packet.src2
        || s.r3 !== packet.src3)) continue;
      // A connected socket's local address is its source address, unless it was bound to the group itself.
      if (!s.localAny && !s.connected
        && (s.l0 !== packet.dst0 || s.l1 !== packet.dst1 || s.l2 !== packet.dst2 || s.l3 !== packet.dst3)) continue;
      receivers.push(s);
    }
    if (receivers.length === base) this.counters.IgnoredMulti++;
    while (receivers.length > base) {
      const socket = receivers.pop()!;
      if (!socket.closed) this.#deliver(socket, packet, remotePort);
    }
  }

  icmpError(error: IcmpError): boolean {
    const localPort = udpSourcePort(error.view, error.offset);
    const remotePort = udpDestinationPort(error.view, error.offset);
    const socket = this.ports.find(
      error.version, error.src0, error.src1, error.src2, error.src3, localPort,
      error.dst0, error.dst1, error.dst2, error.dst3, remotePort,
    );
    const { dst0, dst1, dst2, dst3 } = error;
    if (socket === null || !(socket.connected || socket.lastSentTo(dst0, dst1, dst2, dst3, remotePort)
      || this.#wasSent(localPort, dst0, dst1, dst2, dst3, remotePort))) {
      this.counters.IcmpErrorsIgnored++;
      return false;
    }
    this.counters.IcmpErrors++;
    socket.icmpError(error, remotePort);
    return true;
  }

  pathMtuChanged(): void {
    this.flowEpoch++;
  }

  // Out.

  /** Whether a datagram can be queued now. */
  get hasRoom(): boolean {
    return this.ip.tx.room > this.#reserve;
  }

  /** The transmit queue has room again: sockets that were turned away are told. */
  writable(): void {
    if (!this.blocked || !this.hasRoom) return;
    this.blocked = false;
    this.turn.enter();
    // Only those that wait now: one that is turned away again waits for the next time.
    for (let n = this.#waiting.length; n > 0; n--) {
      const socket = this.#waiting.shift()!;
      socket.blocked = false;
      if (!socket.closed) socket.onwritable?.();
    }
    this.turn.leave();
  }

  /** @internal The socket is to be told when there is room. */
  block(socket: UdpSocket): void {
    this.blocked = true;
    if (socket.blocked) return;
    socket.blocked = true;
    this.#waiting.push(socket);
  }

  /** @internal The socket was closed. */
  forget(socket: UdpSocket): void {
    this.sockets--;
    if (socket.blocked) this.#waiting.splice(this.#waiting.indexOf(socket), 1);
  }

  /** @internal Remembers that something was sent to there: ICMP errors that quote it are believed. */
  noteSent(flow: IpFlow, localPort: number, remotePort: number): void {
    const hash = this.#hash(localPort, flow.r0, flow.r1, flow.r2, flow.r3, remotePort);
    this.#sent[hash & (SENT_SLOTS - 1)] = hash;
  }

  #wasSent(localPort: number, r0: number, r1: number, r2: number, r3: number, remotePort: number): boolean {
    const hash = this.#hash(localPort, r0, r1, r2, r3, remotePort);
    return this.#sent[hash & (SENT_SLOTS - 1)] === hash;
  }

  #hash(localPort: number, r0: number, r1: number, r2: number, r3: number, remotePort: number): number {
    let h = Math.imul(this.#secret ^ (localPort << 16 | remotePort), 0x9e3779b1);
    h = Math.imul((h ^ (h >>> 15)) + r3, 0x85ebca6b);
    h = Math.imul((h ^ (h >>> 13)) + r2, 0xc2b2ae35);
    h = Math.imul((h ^ (h >>> 16)) + r1, 0x27d4eb2f);
    h = Math.imul((h ^ (h >>> 15)) + r0, 0x165667b1);
    return (h ^ (h >>> 16)) | 1;
  }

  /** @internal Sends one datagram over a routed flow. Returns `length` or a negative errno. */
  transmit(
    flow: IpFlow, localPort: number, remotePort: number, from: Uint8Array, offset: number, length: number, mtuDiscover: number,
  ): number {
    if (length > (flow.version === 4 ? MAX_PAYLOAD_V4 : MAX_PAYLOAD_V6)) return -EMSGSIZE;
    const size = flow.headerLength + UDP_HEADER_LENGTH + length;
    const fits = size <= flow.mtu;
    let packets = 1;
    if (!fits) {
      if (mtuDiscover === IP_PMTUDISC_DO) return -EMSGSIZE;
      const perFragment = (flow.mtu - flow.headerLength - (flow.version === 6 ? 8 : 0)) & ~7;
      packets = Math.ceil((UDP_HEADER_LENGTH + length) / perFragment);
    }
    const room = this.#checkRoom(packets, length);
    if (room !== 0) return room;
    flow.dontFragment = fits && mtuDiscover !== IP_PMTUDISC_DONT;
    let result = this.#send(flow, localPort, remotePort, from, offset, length, GSO_NONE, 0);
    if (result === -EMSGSIZE && fits && mtuDiscover !== IP_PMTUDISC_DO) {
      // The MTU has gone down since the flow was routed. Linux's IP_PMTUDISC_WANT cuts then.
      flow.dontFragment = false;
      result = this.#send(flow, localPort, remotePort, from, offset, length, GSO_NONE, 0);
    }
    // Not enough room for all fragments beside what is queued already.
    if (result === -ENOBUFS && !this.ip.tx.empty) result = -EAGAIN;
    if (result !== 0) return result;
    this.counters.OutDatagrams++;
    return length;
  }

  /** @internal How many datagrams of this size one packet may carry: 1 unless the link cuts them. */
  segmentsPerPacket(flow: IpFlow, segmentSize: number): number {
    if ((this.ip.features & LINK_USO) === 0 || flow.headerLength + UDP_HEADER_LENGTH + segmentSize > flow.mtu) return 1;
    return Math.max(Math.min(MAX_SEGMENTS, Math.floor(MAX_PAYLOAD_V4 / segmentSize)), 1);
  }

  /** @internal Sends several datagrams as one packet, which the link cuts. Returns `length` or a negative errno. */
  transmitSegments(
    flow: IpFlow, localPort: number, remotePort: number, from: Uint8Array, offset: number, length: number, segmentSize: number,
  ): number {
    const room = this.#checkRoom(1, length);
    if (room !== 0) return room;
    flow.dontFragment = true;
    const result = this.#send(flow, localPort, remotePort, from, offset, length, GSO_UDP_L4, segmentSize);
    if (result !== 0) return result;
    this.counters.OutDatagrams += Math.ceil(length / segmentSize);
    return length;
  }

  #checkRoom(packets: number, length: number): number {
    const { tx } = this.ip;
    const blocks = (length + BLOCK_SIZE - 1) >> BLOCK_SHIFT;
    if (tx.room - this.#reserve >= packets && this.memory.freeBlocks > blocks) return 0;
    if (this.#flush !== null && !tx.empty) {
      this.#flush();
      if (tx.room - this.#reserve >= packets && this.memory.freeBlocks > blocks) return 0;
    }
    this.counters.SndbufErrors++;
    // Waiting helps only when something is queued: room, and the blocks that it holds, come with its leaving.
    return tx.empty ? -ENOBUFS : -EAGAIN;
  }

  #send(
    flow: IpFlow, localPort: number, remotePort: number, from: Uint8Array, offset: number, length: number, gsoType: number,
    gsoSize: number,
  ): number {
    const { ip, memory } = this;
    const inline = length <= INLINE_PAYLOAD;
    const at = ip.begin(flow, inline ? UDP_HEADER_LENGTH + length : UDP_HEADER_LENGTH);
    if (at < 0) {
      this.counters.SndbufErrors++;
      return -EAGAIN;
    }
    writeUdpHeader(memory.view, at, localPort, remotePort, UDP_HEADER_LENGTH + length);
    if (inline) copyBytes(memory.bytes, at + UDP_HEADER_LENGTH, from, offset, length);
    else this.#stage(from, offset, length);
    return ip.end(flow, UDP_CHECKSUM, gsoType, gsoSize);
  }

  /**
   * Copies payload to where it can wait for the link, and adds it to the packet begun. Small payloads
   * share a block; a full block is freed with the packets that it belongs to, and the last one begins
   * anew when the queue is empty.
   */
  #stage(from: Uint8Array, offset: number, length: number): void {
    const { memory } = this;
    const { tx } = this.ip;
    if (tx.empty) this.#used = 0;
    // Half a block or less is not split.
    const whole = length <= BLOCK_SIZE >> 1 ? length : 1;
    while (length > 0) {
      if (this.#block < 0 || this.#used + whole > BLOCK_SIZE) {
        if (this.#block >= 0) tx.owns(this.#block);
        this.#block = memory.allocate();
        this.#used = 0;
      }
      const n = Math.min(length, BLOCK_SIZE - this.#used);
      const at = this.#block + this.#used;
      copyBytes(memory.bytes, at, from, offset, n);
      tx.piece(at, n);
      this.#used = (this.#used + n + 15) & ~15;
      offset += n;
      length -= n;
    }
  }
}
