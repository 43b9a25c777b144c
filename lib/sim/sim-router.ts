/**
 * A router: passes packets on by their destination, counts TTL and hop limit down, and says by ICMP what it cannot pass
 * on (router-errors.ts). Routes are the shortest ways to all hosts of the simulation; a link that is down stays in them.
 *
 * Its addresses, from which the errors come, are of the networks for benchmarks: 198.18.0.n (RFC 2544) and 2001:2::n
 * (RFC 5180). Left out: fragmentation (packets without DF that are too large are dropped), routes of one's own.
 */

import { updateChecksum } from '../wire/checksum.ts';
import { IPV4_CHECKSUM, IPV4_TTL } from '../wire/ipv4.ts';
import { routerError } from './router-errors.ts';
import type { RouterError } from './router-errors.ts';
import type { SimLink, SimNode } from './sim-link.ts';

const ROUTER4 = 0xc6120000 | 0;
const IPV6_HOP_LIMIT = 7;

export class RouterCounters {
  forwarded = 0;
  noRoute = 0;
  ttlExceeded = 0;
  tooBig = 0;
  /** Not IP. */
  malformed = 0;
}

/** The key of an address in a table of routes. */
export function addressKey(w0: number, w1: number, w2: number, w3: number): string {
  return `${w0} ${w1} ${w2} ${w3}`;
}

export class SimRouter implements SimNode {
  readonly name: string;
  readonly links: SimLink[] = [];
  readonly counters = new RouterCounters();
  readonly #number: number;
  /** Where each address is reached, brought up to date when the network has changed. */
  readonly #routes: () => ReadonlyMap<string, SimLink>;

  /** @internal Use `Simulation.router()`. */
  constructor(name: string, number: number, routes: (router: SimRouter) => ReadonlyMap<string, SimLink>) {
    this.name = name;
    this.#number = number;
    this.#routes = () => routes(this);
  }

  /** @internal */
  plug(link: SimLink): void {
    this.links.push(link);
  }

  /** @internal */
  mtuChanged(): void {
    // The MTU is looked up for each packet.
  }

  /** @internal */
  receive(packets: readonly Uint8Array[], link: SimLink): void {
    for (const packet of packets) this.#route(packet, link);
  }

  #linkTo(packet: Uint8Array, view: DataView): SimLink | undefined {
    const key = packet[0]! >> 4 === 4 ? addressKey(0, 0, 0xffff, view.getInt32(16))
      : addressKey(view.getInt32(24), view.getInt32(28), view.getInt32(32), view.getInt32(36));
    return this.#routes().get(key);
  }

  #route(packet: Uint8Array, from: SimLink): void {
    const version = packet.length === 0 ? 0 : packet[0]! >> 4;
    if (!(version === 4 && packet.length >= 20) && !(version === 6 && packet.length >= 40)) {
      this.counters.malformed++;
      return;
    }
    const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
    const link = this.#linkTo(packet, view);
    if (link === undefined) {
      this.counters.noRoute++;
      this.#refuse(packet, 'no route', from, 0);
      return;
    }
    const hops = version === 4 ? packet[IPV4_TTL]! : packet[IPV6_HOP_LIMIT]!;
    if (hops <= 1) {
      this.counters.ttlExceeded++;
      this.#refuse(packet, 'time exceeded', from, 0);
      return;
    }
    if (packet.length > link.mtu) {
      this.counters.tooBig++;
      this.#refuse(packet, 'too big', from, link.mtu);
      return;
    }
    // A copy: the packet as it came may be remembered for a capture.
    const out = packet.slice();
    if (version === 4) {
      const word = view.getUint16(IPV4_TTL);
      out[IPV4_TTL] = hops - 1;
      new DataView(out.buffer).setUint16(IPV4_CHECKSUM, updateChecksum(view.getUint16(IPV4_CHECKSUM), word, word - 0x100));
    } else {
      out[IPV6_HOP_LIMIT] = hops - 1;
    }
    this.counters.forwarded++;
    link.transmit(this, out);
  }

  #refuse(packet: Uint8Array, error: RouterError, from: SimLink, mtu: number): void {
    const answer = routerError(packet, error, ROUTER4 + this.#number, this.#number, mtu);
    if (answer !== null) from.transmit(this, answer);
  }
}
