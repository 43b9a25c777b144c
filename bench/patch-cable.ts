/**
 * Two links joined in this process: what arrives by one leaves by the other. With an impairment around one of them it is
 * the path between two real hosts:
 *
 *     Linux ── TUN ── PatchCable ── impair(TUN) ── Linux
 *
 * For packets of one wire's size: links are to be opened without offloads.
 */

import { HEADER_SLOT, BLOCK_SIZE, PacketMemory } from '../lib/buffer/packet-memory.ts';
import { TransmitQueue } from '../lib/buffer/transmit-queue.ts';
import type { Clock } from '../lib/clock.ts';
import { RX_LENGTH, RX_OFFSET, RX_STRIDE } from '../lib/link/link.ts';
import type { Link, LinkHost, PacketBatch } from '../lib/link/link.ts';

/** One end of the cable: to its link it is the host. */
class Plug implements LinkHost {
  readonly memory = new PacketMemory({ size: 8 << 20, rxBytes: 1 << 20 });
  readonly clock: Clock;
  readonly link: Link;
  /** Packets that found no room. */
  drops = 0;
  peer: Plug | null = null;
  readonly #queue = new TransmitQueue(this.memory);

  constructor(link: Link, clock: Clock) {
    this.clock = clock;
    this.link = link;
  }

  input(batch: PacketBatch): void {
    const peer = this.peer!;
    for (let i = 0; i < batch.count; i++) {
      peer.#add(batch.slab, batch.meta[i * RX_STRIDE + RX_OFFSET]!, batch.meta[i * RX_STRIDE + RX_LENGTH]!);
    }
    peer.writable();
  }

  #add(slab: Uint8Array, offset: number, length: number): void {
    const { memory } = this;
    const queue = this.#queue;
    const head = Math.min(length, HEADER_SLOT);
    if (length > HEADER_SLOT + BLOCK_SIZE || !queue.ready || memory.freeBlocks === 0) {
      this.drops++;
      return;
    }
    memory.bytes.set(slab.subarray(offset, offset + head), queue.begin(head));
    if (length > head) {
      const block = memory.allocate();
      memory.bytes.set(slab.subarray(offset + head, offset + length), block);
      queue.piece(block, length - head);
      queue.owns(block);
    }
    queue.end(-1, 0, 0, 0);
  }

  writable(): void {
    const queue = this.#queue;
    if (!queue.empty) this.link.send(queue);
    queue.reclaim();
  }

  down(error: Error): void {
    throw error;
  }
}

export class PatchCable {
  readonly #plugs: readonly [Plug, Plug];

  constructor(a: Link, b: Link, clock: Clock) {
    this.#plugs = [new Plug(a, clock), new Plug(b, clock)];
    const [left, right] = this.#plugs;
    left.peer = right;
    right.peer = left;
    for (const { link } of this.#plugs) {
      link.attach(link === a ? left : right);
      link.ref();
    }
  }

  get drops(): number {
    return this.#plugs[0].drops + this.#plugs[1].drops;
  }

  close(): void {
    for (const { link } of this.#plugs) link.close();
  }
}
