/** A host of the simulated network: a whole stack with one link, and the APIs on it. */

import { cidrVersion, parseCidr } from '../ip/cidr.ts';
import { PacketBatch } from '../link/link.ts';
import type { Link, LinkHost } from '../link/link.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import { TX_LENGTH, TX_STRIDE } from '../buffer/transmit-queue.ts';
import type { Dgram } from '../net/dgram.ts';
import type { Net } from '../net/net.ts';
import { ping } from '../net/ping.ts';
import type { PingOptions, PingResult } from '../net/ping.ts';
import { createStack } from '../stack.ts';
import type { Stack, StackOptions } from '../stack.ts';
import type { TcpOptions } from '../tcp/config.ts';
import { formatAddress } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';
import { DEFAULT_MTU } from './link-options.ts';
import type { SimLink, SimNode } from './sim-link.ts';

export interface HostOptions {
  /** One address or several, IPv4 and IPv6, with prefix or without: `'10.0.0.1/24'`, `['10.0.0.1', 'fd00::1']`. */
  address: string | readonly string[];
  /** For messages and captures. Default `host1`, `host2`, … */
  name?: string;
  tcp?: TcpOptions;
  /** Bytes of packet memory of its stack. Default 32 MiB. */
  memory?: number;
  /** Anything else for `createStack()`: limits, applications, … */
  stack?: Omit<StackOptions, 'link' | 'addresses' | 'clock' | 'random' | 'tcp' | 'memory'>;
}

const DEFAULT_MEMORY = 32 << 20;
const BATCH_PACKETS = 256;

/** What the port of a host has seen; names as in `TunCounters`. */
export class PortCounters {
  rxPackets = 0;
  rxBytes = 0;
  txPackets = 0;
  txBytes = 0;
  /** Sent without a link. */
  txUnplugged = 0;
}

/** The host's end of its link, as the stack sees it. */
class HostPort implements Link {
  readonly name: string;
  readonly features = 0;
  readonly counters = new PortCounters();
  mtu = DEFAULT_MTU;
  link: SimLink | null = null;
  readonly #node: SimHost;
  #host: LinkHost | null = null;
  #batch: PacketBatch | null = null;

  constructor(node: SimHost, name: string) {
    this.#node = node;
    this.name = name;
  }

  attach(host: LinkHost): void {
    this.#host = host;
    this.#batch = new PacketBatch(host.memory.bytes, BATCH_PACKETS);
  }

  send(queue: TransmitQueue): void {
    const { counters } = this;
    for (; queue.head < queue.tail; queue.head++) {
      const bytes = new Uint8Array(queue.packets[queue.head * TX_STRIDE + TX_LENGTH]!);
      queue.copyPacket(queue.head, bytes, 0);
      counters.txPackets++;
      counters.txBytes += bytes.length;
      if (this.link === null) counters.txUnplugged++;
      else this.link.transmit(this.#node, bytes);
    }
  }

  receive(packets: readonly Uint8Array[]): void {
    const host = this.#host;
    const batch = this.#batch;
    if (host === null || batch === null) return;
    batch.timeUs = host.clock.nowUs();
    batch.count = 0;
    let at = 0;
    for (const packet of packets) {
      this.counters.rxPackets++;
      this.counters.rxBytes += packet.length;
      if (batch.count === batch.capacity || at + packet.length > host.memory.rxBytes) {
        host.input(batch);
        batch.count = 0;
        at = 0;
      }
      batch.slab.set(packet, at);
      batch.add(at, packet.length);
      at = (at + packet.length + 7) & ~7;
    }
    if (batch.count > 0) host.input(batch);
  }

  ref(): void {
    // In virtual time nothing holds the process.
  }

  unref(): void {
    // Likewise.
  }

  close(): void {
    this.#host = null;
    this.#batch = null;
    this.link = null;
  }
}

export class SimHost implements SimNode {
  readonly name: string;
  readonly stack: Stack;
  /** @internal */
  readonly words: readonly AddressWords[];
  readonly #port: HostPort;

  /** @internal Use `Simulation.host()`. Throws a RangeError that names the bad option. */
  constructor(name: string, options: HostOptions, parts: Pick<StackOptions, 'clock' | 'random'>) {
    const texts = typeof options.address === 'string' ? [options.address] : options.address;
    if (!Array.isArray(texts) || texts.length === 0) throw new RangeError(`${name} has no address; write for example address: '10.0.0.1/24'`);
    const parsed = texts.map((text) => {
      const cidr = parseCidr(text);
      if (cidr === null) throw new RangeError(`${name}: '${text}' is not an address; write for example 10.0.0.1/24 or fd00::1/64`);
      const all = cidrVersion(cidr.words) === 4 ? 32 : 128;
      return { words: cidr.words, text: text.includes('/') ? text : `${text}/${all === 32 ? 24 : 64}` };
    });
    this.name = name;
    this.words = parsed.map(({ words }) => words);
    this.#port = new HostPort(this, name);
    this.stack = createStack({
      ...options.stack, ...parts, link: this.#port, addresses: parsed.map(({ text }) => text), tcp: options.tcp,
      memory: options.memory ?? DEFAULT_MEMORY,
    });
  }

  /** `node:net` on this host. */
  get net(): Net {
    return this.stack.net;
  }

  /** `node:dgram` on this host. */
  get dgram(): Dgram {
    return this.stack.dgram;
  }

  /** Its first address, without prefix. */
  get address(): string {
    return this.addresses[0]!;
  }

  /** All of them, without prefixes. */
  get addresses(): string[] {
    return this.words.map(({ w0, w1, w2, w3 }) => formatAddress(w0, w1, w2, w3));
  }

  /** Its link, or null. */
  get link(): SimLink | null {
    return this.#port.link;
  }

  /** Echo requests to a host, as `ping()` of the package. */
  ping(to: SimHost | string, options?: PingOptions): AsyncGenerator<PingResult, void, void> {
    return ping(this.stack, typeof to === 'string' ? to : to.address, options);
  }

  /** @internal */
  plug(link: SimLink): void {
    if (this.#port.link !== null) {
      throw new RangeError(`${this.name} has a link already, to ${this.#port.link.peerOf(this).name}; a host has one: put a router between`);
    }
    this.#port.link = link;
    this.mtuChanged(link);
  }

  /** @internal */
  mtuChanged(link: SimLink): void {
    this.#port.mtu = link.mtu;
    this.stack.mtuChanged();
  }

  /** @internal */
  receive(packets: readonly Uint8Array[]): void {
    this.#port.receive(packets);
  }

  /** Ends the host's connections at once, with resets, and takes it from its link. */
  close(): void {
    void this.stack.close({ graceful: false });
  }
}
