/**
 * A wire with a router in the middle, between two stacks in virtual time: packets can be looked at, lost,
 * found too large (the router says so by ICMP: RFC 1191, RFC 4443 3.2), and put in by hand.
 *
 *     stack a ── side 0 ── router ── side 1 ── stack b
 */

import type { Alarm, VirtualClock } from '../../lib/clock.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { checksum, fold, sumBytes } from '../../lib/wire/checksum.ts';
import { ICMP_UNREACHABLE, ICMPV6_PACKET_TOO_BIG, UNREACH_NEEDFRAG } from '../../lib/wire/icmp.ts';
import { finishIpv4Checksum, writeIpv4Header } from '../../lib/wire/ipv4.ts';

export interface WireOptions {
  /** MTU of both links; the router's own may be less. Default 1500. */
  mtu?: number;
  latencyUs?: number;
}

const ROUTER4 = 0x0a5a00fe;

export class Wire {
  /** Largest packet that the router passes on. */
  routerMtu: number;
  /** Nothing passes. */
  cut = false;
  /** Returns false to lose the packet. */
  filter: ((packet: Uint8Array, side: number) => boolean) | null = null;
  /** Passed on from each side; refused for their size. */
  passed = [0, 0];
  tooBig = [0, 0];
  /** Largest packet passed on since this was last set to 0. */
  largest = 0;
  readonly links: [PacketLink, PacketLink];
  readonly #clock: VirtualClock;
  readonly #latencyUs: number;
  readonly #under: { dueUs: number; side: number; packet: Uint8Array }[] = [];
  readonly #alarm: Alarm;

  constructor(clock: VirtualClock, options: WireOptions = {}) {
    const mtu = options.mtu ?? 1500;
    this.#clock = clock;
    this.#latencyUs = options.latencyUs ?? 1000;
    this.routerMtu = mtu;
    this.#alarm = clock.alarm(() => this.#deliver());
    this.links = [
      new PacketLink({ mtu, name: 'side0', send: (packet) => this.#take(packet, 0) }),
      new PacketLink({ mtu, name: 'side1', send: (packet) => this.#take(packet, 1) }),
    ];
  }

  /** Hands a packet to the stack on `side` after the latency. */
  put(packet: Uint8Array, side: number): void {
    this.#under.push({ dueUs: this.#clock.nowUs() + this.#latencyUs, side, packet });
    if (this.#under.length === 1) this.#alarm.set(this.#under[0]!.dueUs);
  }

  #take(packet: Uint8Array, side: number): void {
    if (this.cut || this.filter?.(packet, side) === false) return;
    if (packet.length > this.routerMtu) {
      this.tooBig[side]!++;
      this.put(packetTooBig(packet, this.routerMtu), side);
      return;
    }
    this.passed[side]!++;
    this.largest = Math.max(this.largest, packet.length);
    this.put(packet, 1 - side);
  }

  #deliver(): void {
    const nowUs = this.#clock.nowUs();
    const due: [Uint8Array[], Uint8Array[]] = [[], []];
    while (this.#under.length > 0 && this.#under[0]!.dueUs <= nowUs) {
      const { side, packet } = this.#under.shift()!;
      due[side]!.push(packet);
    }
    for (const side of [0, 1]) if (due[side]!.length > 0) this.links[side]!.receiveMany(due[side]!);
    if (this.#under.length > 0) this.#alarm.set(this.#under[0]!.dueUs);
  }
}

/** What a router answers to `packet`, which is too large for its next link. */
export function packetTooBig(packet: Uint8Array, mtu: number): Uint8Array {
  const from = new DataView(packet.buffer, packet.byteOffset);
  if (packet[0]! >> 4 === 4) {
    const quoted = 28;
    const out = new Uint8Array(28 + quoted);
    const view = new DataView(out.buffer);
    writeIpv4Header(view, 0, 20, 0, out.length, 1, 0, 64, 1, ROUTER4, from.getInt32(12));
    finishIpv4Checksum(view, 0);
    view.setUint8(20, ICMP_UNREACHABLE);
    view.setUint8(21, UNREACH_NEEDFRAG);
    view.setUint16(26, mtu);
    out.set(packet.subarray(0, quoted), 28);
    view.setUint16(22, checksum(view, 20, 8 + quoted));
    return out;
  }
  const quoted = Math.min(packet.length, 1280 - 48);
  const out = new Uint8Array(48 + quoted);
  const view = new DataView(out.buffer);
  view.setUint32(0, 0x60000000);
  view.setUint16(4, 8 + quoted);
  view.setUint8(6, 58);
  view.setUint8(7, 64);
  view.setUint32(8, 0xfd900000);
  view.setUint32(20, 0xfe);
  out.set(packet.subarray(8, 24), 24);
  view.setUint8(40, ICMPV6_PACKET_TOO_BIG);
  view.setUint32(44, mtu);
  out.set(packet.subarray(0, quoted), 48);
  view.setUint16(42, ~fold(sumBytes(view, 8, 40 + quoted - 0) + 58 + 8 + quoted) & 0xffff);
  return out;
}
