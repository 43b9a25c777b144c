/**
 * Middleware: a link that wraps a link. To the stack above it is the `Link`; to the link below it is
 * the `LinkHost`. This base passes everything on; capture, impairment and trace override what they need,
 * and so can any subclass of yours.
 *
 *     stack ── send ──▶ middleware ── send ──▶ link
 *     stack ◀─ input ── middleware ◀─ input ── link
 *
 * Middleware nests: `capture(impair(link))` records what the stack sees, `impair(capture(link))` what
 * the wire carries. A middleware that cannot handle super-segments or partial checksums overrides
 * `features` so as not to claim them.
 */

import type { PacketMemory } from '../buffer/packet-memory.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import type { Clock } from '../clock.ts';
import type { Link, LinkHost, PacketBatch } from './link.ts';

export class LinkMiddleware implements Link, LinkHost {
  /** The link below. */
  readonly link: Link;
  #host: LinkHost | null = null;

  constructor(link: Link) {
    this.link = link;
  }

  /** The stack above, or the middleware next to it. Only after `attach()`. */
  get host(): LinkHost {
    if (this.#host === null) throw new Error(`link ${this.name} is not attached to a stack`);
    return this.#host;
  }

  /** Whether there is a stack above. */
  get attached(): boolean {
    return this.#host !== null;
  }

  get name(): string {
    return this.link.name;
  }

  get mtu(): number {
    return this.link.mtu;
  }

  get features(): number {
    return this.link.features;
  }

  /** What the link below counts; a middleware that counts adds its own. */
  get counters(): object | undefined {
    return this.link.counters;
  }

  /** Keeps the host and attaches itself to the link below. An override calls this last: packets may come at once. */
  attach(host: LinkHost): void {
    this.#host = host;
    this.link.attach(this);
  }

  send(queue: TransmitQueue): void {
    this.link.send(queue);
  }

  ref(): void {
    this.link.ref();
  }

  unref(): void {
    this.link.unref();
  }

  close(): void {
    this.link.close();
  }

  get memory(): PacketMemory {
    return this.host.memory;
  }

  get clock(): Clock {
    return this.host.clock;
  }

  input(batch: PacketBatch): void {
    this.host.input(batch);
  }

  writable(): void {
    this.host.writable();
  }

  down(error: Error): void {
    this.host.down(error);
  }
}
