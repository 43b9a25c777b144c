/** A link around a link that shows every packet that a stack sends, before it leaves. */

import { TX_LENGTH, TX_STRIDE } from '../../lib/buffer/transmit-queue.ts';
import type { TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import type { Link, LinkHost } from '../../lib/link/link.ts';

export class Watched implements Link {
  readonly #inner: Link;
  readonly #look: (packet: Uint8Array) => void;
  #shown = 0;
  packets = 0;

  constructor(inner: Link, look: (packet: Uint8Array) => void) {
    this.#inner = inner;
    this.#look = look;
  }

  get name(): string {
    return this.#inner.name;
  }

  get mtu(): number {
    return this.#inner.mtu;
  }

  get features(): number {
    return this.#inner.features;
  }

  attach(host: LinkHost): void {
    this.#inner.attach(host);
  }

  send(queue: TransmitQueue): void {
    // What the link left last time has been shown.
    for (let i = queue.head + this.#shown; i < queue.tail; i++) {
      const packet = new Uint8Array(queue.packets[i * TX_STRIDE + TX_LENGTH]!);
      queue.copyPacket(i, packet, 0);
      this.packets++;
      this.#look(packet);
    }
    this.#inner.send(queue);
    this.#shown = queue.tail - queue.head;
  }

  ref(): void {
    this.#inner.ref();
  }

  unref(): void {
    this.#inner.unref();
  }

  close(): void {
    this.#inner.close();
  }
}
