/**
 * The contract below UDP, in its plainest form: packets that end() queues are handed, checksum computed,
 * to the host on the other side when `deliver()` is called. No IP headers, no fragments.
 */

import { PacketMemory } from '../../lib/buffer/packet-memory.ts';
import { TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { EADDRNOTAVAIL, EMSGSIZE, ENETUNREACH } from '../../lib/errno.ts';
import type { IpFlow } from '../../lib/ip/flow.ts';
import { IpPacket } from '../../lib/ip/packet.ts';
import type { IcmpError } from '../../lib/ip/packet.ts';
import type { IpLayer, Turn } from '../../lib/ip/transport.ts';
import { UdpHost } from '../../lib/kernel/udp.ts';
import type { UdpHostOptions } from '../../lib/kernel/udp.ts';
import { PacketBatch } from '../../lib/link/link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { isMapped, parseAddress } from '../../lib/wire/address.ts';
import type { AddressWords } from '../../lib/wire/address.ts';
import { fold, sumAddress, sumBytes } from '../../lib/wire/checksum.ts';

export function words(text: string): AddressWords {
  const parsed = parseAddress(text);
  if (parsed === null) throw new Error(`no address: ${text}`);
  return parsed;
}

/** What end() was told of a packet, and its bytes from the transport header on. */
export interface SentPacket {
  bytes: Uint8Array;
  gsoType: number;
  gsoSize: number;
  dontFragment: boolean;
  ttl: number;
  tos: number;
  source: AddressWords;
  destination: AddressWords;
}

export class FakeIp implements IpLayer, Turn {
  readonly memory = new PacketMemory({ size: 4 << 20, headerSlots: 64 });
  readonly tx = new TransmitQueue(this.memory);
  features = 0;
  mtu = 1500;
  /** Packets that ended, oldest first; take them. */
  sent: SentPacket[] = [];
  unreachables = 0;
  routes = 0;
  depth = 0;
  /** As a link that takes nothing. */
  stuck = false;
  readonly #local: AddressWords[];

  constructor(...local: string[]) {
    this.#local = local.map(words);
  }

  enter(): void {
    this.depth++;
  }

  leave(): void {
    if (--this.depth === 0 && !this.stuck) this.flush();
  }

  flush(): void {
    this.tx.head = this.tx.tail;
    this.tx.reclaim();
  }

  route(flow: IpFlow): number {
    this.routes++;
    const v4 = isMapped(flow.r0, flow.r1, flow.r2);
    if (flow.l3 === 0) {
      const source = this.#local.find((w) => isMapped(w.w0, w.w1, w.w2) === v4);
      if (source === undefined) return -ENETUNREACH;
      flow.l0 = source.w0;
      flow.l1 = source.w1;
      flow.l2 = source.w2;
      flow.l3 = source.w3;
    } else if (!this.isLocal(flow.l0, flow.l1, flow.l2, flow.l3)) {
      return -EADDRNOTAVAIL;
    }
    flow.version = v4 ? 4 : 6;
    flow.headerLength = v4 ? 20 : 40;
    flow.mtu = this.mtu;
    return 0;
  }

  begin(flow: IpFlow, transportHeaderLength: number): number {
    const at = this.tx.begin(flow.headerLength + transportHeaderLength);
    return at < 0 ? -1 : at + flow.headerLength;
  }

  end(flow: IpFlow, csumOffset: number, gsoType: number, gsoSize: number): number {
    if (this.tx.length > flow.mtu && flow.dontFragment && gsoType === 0) return -EMSGSIZE;
    this.tx.end(-1, 0, gsoType, gsoSize);
    const bytes = new Uint8Array(70000);
    const total = this.tx.copyPacket(this.tx.tail - 1, bytes, 0);
    const packet = bytes.subarray(flow.headerLength, total);
    if (csumOffset >= 0) {
      const view = new DataView(bytes.buffer, flow.headerLength, packet.length);
      const sum = sumAddress(flow.l0, flow.l1, flow.l2, flow.l3) + sumAddress(flow.r0, flow.r1, flow.r2, flow.r3)
        + flow.protocol + packet.length + sumBytes(view, 0, packet.length);
      view.setUint16(csumOffset, (~fold(sum) & 0xffff) || 0xffff);
    }
    this.sent.push({
      bytes: packet, gsoType, gsoSize, dontFragment: flow.dontFragment, ttl: flow.ttl, tos: flow.tos,
      source: { w0: flow.l0, w1: flow.l1, w2: flow.l2, w3: flow.l3 }, destination: { w0: flow.r0, w1: flow.r1, w2: flow.r2, w3: flow.r3 },
    });
    return 0;
  }

  lowerPathMtu(): void {}

  isLocal(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.#local.some((w) => w.w0 === w0 && w.w1 === w1 && w.w2 === w2 && w.w3 === w3);
  }

  isToMany(w0: number, w1: number, w2: number, w3: number): boolean {
    return isMapped(w0, w1, w2) ? w3 === -1 || w3 >>> 28 === 0xe || (w3 & 0xff) === 0xff : w0 >>> 24 === 0xff;
  }

  sendPortUnreachable(): void {
    this.unreachables++;
  }
}

export interface FakeHost {
  ip: FakeIp;
  udp: UdpHost;
}

export function fakeHost(addresses: string[], options: Partial<UdpHostOptions> = {}): FakeHost {
  const ip = new FakeIp(...addresses);
  const udp = new UdpHost({ ip, memory: ip.memory, random: new SeededRandom(7), turn: ip, ...options });
  return { ip, udp };
}

/** Makes an arrived packet of transport bytes. */
export function packetOf(bytes: Uint8Array, source: string | AddressWords, destination: string | AddressWords): IpPacket {
  const slab = new Uint8Array(bytes.length + 16);
  slab.set(bytes, 16);
  const packet = new IpPacket(new PacketBatch(slab, 1));
  const from = typeof source === 'string' ? words(source) : source;
  const to = typeof destination === 'string' ? words(destination) : destination;
  packet.version = isMapped(from.w0, from.w1, from.w2) ? 4 : 6;
  packet.src0 = from.w0;
  packet.src1 = from.w1;
  packet.src2 = from.w2;
  packet.src3 = from.w3;
  packet.dst0 = to.w0;
  packet.dst1 = to.w1;
  packet.dst2 = to.w2;
  packet.dst3 = to.w3;
  packet.protocol = 17;
  packet.offset = 16;
  packet.length = bytes.length;
  packet.ttl = 61;
  packet.tos = 0x28;
  return packet;
}

/** Hands everything that `from` has sent to `to`. Returns how many packets that were. */
export function deliver(from: FakeHost, to: FakeHost): number {
  const sent = from.ip.sent.splice(0);
  for (const s of sent) {
    const packet = packetOf(s.bytes, s.source, s.destination);
    const { w0, w1, w2, w3 } = s.destination;
    packet.toMany = to.ip.isToMany(w0, w1, w2, w3);
    packet.gsoType = s.gsoType;
    packet.gsoSize = s.gsoSize;
    packet.checksumOk = s.gsoType !== 0;
    to.udp.input(packet);
  }
  return sent.length;
}

/** A datagram with a right checksum. */
export function datagram(source: string, sourcePort: number, destination: string, destinationPort: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, bytes.length);
  bytes.set(payload, 8);
  const s = words(source);
  const d = words(destination);
  const sum = sumAddress(s.w0, s.w1, s.w2, s.w3) + sumAddress(d.w0, d.w1, d.w2, d.w3) + 17 + bytes.length + sumBytes(view, 0, bytes.length);
  view.setUint16(6, (~fold(sum) & 0xffff) || 0xffff);
  return bytes;
}

/** An ICMP error that quotes the datagram from `source` to `destination`. */
export function icmpError(
  source: string, sourcePort: number, destination: string, destinationPort: number, fields: Partial<IcmpError> = {},
): IcmpError {
  const slab = new Uint8Array(8);
  const view = new DataView(slab.buffer);
  view.setUint16(0, sourcePort);
  view.setUint16(2, destinationPort);
  view.setUint16(4, 20);
  const s = words(source);
  const d = words(destination);
  return {
    version: isMapped(s.w0, s.w1, s.w2) ? 4 : 6, type: 3, code: 3, errno: 111, fatal: true, mtu: 0,
    from0: d.w0, from1: d.w1, from2: d.w2, from3: d.w3,
    src0: s.w0, src1: s.w1, src2: s.w2, src3: s.w3, dst0: d.w0, dst1: d.w1, dst2: d.w2, dst3: d.w3,
    slab, view, offset: 0, length: 8, ...fields,
  };
}
