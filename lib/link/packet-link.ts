/**
 * The short way to a link of your own: one function that takes packets, and `receive()` for those that
 * arrive. For tunnels, WebSockets, simulators, tests. Packets are complete: no offload, checksums done.
 *
 * The stack must never get a packet while it hands one out (see `LinkHost.input`). So `receive()` hands
 * a packet in at once when the stack is at rest, and everything it causes has happened on return. When
 * the call comes from inside the link's own `send` function, or out of the stack while it handles an
 * earlier packet, the packet is kept (bounded by `queuePackets`) and handed in by an alarm at the present
 * instant: with the system clock in the same turn of the event loop (`setImmediate`) or within 1 ms, in
 * virtual time at the clock's next step, `advance(0)` included.
 */

import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import { TX_LENGTH, TX_STRIDE } from '../buffer/transmit-queue.ts';
import { LinkAlarm } from './link-alarm.ts';
import { PacketBatch, RX_LENGTH, RX_STRIDE } from './link.ts';
import type { Link, LinkHost } from './link.ts';

export interface PacketLinkOptions {
  /** Default `packet`. */
  name?: string;
  /** Largest packet in bytes. Default 1500. */
  mtu?: number;
  /**
   * Takes one whole IP packet; it owns the array. Returns `false` when it cannot take it now: the packet
   * stays queued, and is offered again after `PacketLink.writable()`.
   */
  send(packet: Uint8Array): boolean | void;
  /** Most packets that wait to be handed in; more are dropped and counted. Default 1024. */
  queuePackets?: number;
  /** Whether what feeds this link should keep the process alive: called as sockets come and go. */
  ref?(): void;
  unref?(): void;
  /** Called once, when the stack lets go of the link. */
  close?(): void;
}

const BATCH_PACKETS = 256;

/** The longest IPv6 packet without a jumbo payload option: header and 65535 bytes. */
const MAX_PACKET = 65575;

/** What a packet link has seen; names as in `TunCounters`. */
export class PacketLinkCounters {
  /** Packets, bytes and batches handed to the stack. */
  rxPackets = 0;
  rxBytes = 0;
  rxBatches = 0;
  /** Arrived, but thrown away: no stack, closed, no room, empty, or longer than any IP packet. */
  rxDrops = 0;
  /** Packets and bytes taken by `send`. */
  txPackets = 0;
  txBytes = 0;
  /** Times that `send` returned false. */
  txBlocked = 0;
}

export class PacketLink implements Link {
  readonly name: string;
  readonly mtu: number;
  readonly features = 0;
  readonly counters = new PacketLinkCounters();

  readonly #options: PacketLinkOptions;
  readonly #queuePackets: number;
  #host: LinkHost | null = null;
  #batch: PacketBatch | null = null;
  #alarm: LinkAlarm | null = null;
  #referenced = false;
  #closed = false;
  /** Inside the user's `send`, or inside the stack. */
  #busy = false;
  /** `send` returned false, or `writable()` came while the stack was busy. */
  #blocked = false;
  #wakeUp = false;
  #waiting: Uint8Array[] = [];
  #waitingUs: number[] = [];

  constructor(options: PacketLinkOptions) {
    this.name = options.name ?? 'packet';
    this.mtu = options.mtu ?? 1500;
    this.#options = options;
    this.#queuePackets = options.queuePackets ?? 1024;
  }

  attach(host: LinkHost): void {
    this.#host = host;
    this.#batch = new PacketBatch(host.memory.bytes, BATCH_PACKETS);
    this.#alarm = new LinkAlarm(host.clock, () => this.#handIn());
    if (this.#referenced) this.#alarm.ref();
  }

  send(queue: TransmitQueue): void {
    if (this.#blocked && !this.#closed) return;
    const wasBusy = this.#busy;
    this.#busy = true;
    try {
      while (queue.head < queue.tail) {
        if (!this.#closed) {
          const length = queue.packets[queue.head * TX_STRIDE + TX_LENGTH]!;
          const packet = new Uint8Array(length);
          queue.copyPacket(queue.head, packet, 0);
          if (this.#options.send(packet) === false) {
            this.#blocked = true;
            this.counters.txBlocked++;
            break;
          }
          this.counters.txPackets++;
          this.counters.txBytes += length;
        }
        queue.head++;
      }
    } finally {
      this.#busy = wasBusy;
      if (!wasBusy) this.#arm();
    }
  }

  /** `send` can take packets again, after it returned `false`. */
  writable(): void {
    if (this.#closed || !this.#blocked) return;
    this.#blocked = false;
    if (this.#busy) {
      this.#wakeUp = true;
    } else {
      this.#host!.writable();
    }
  }

  /**
   * A packet has arrived.
   * @param packet the IP packet; copied, so it may be reused after the call
   * @param timeUs when it arrived, µs of the stack's clock; default now
   */
  receive(packet: Uint8Array, timeUs?: number): void {
    if (!this.#accepts(packet)) return;
    if (this.#busy || this.#waiting.length > 0) {
      this.#keep(packet, timeUs);
      return;
    }
    const batch = this.#batch!;
    batch.count = 0;
    batch.slab.set(packet, 0);
    batch.add(0, packet.length);
    this.#input(timeUs ?? this.#host!.clock.nowUs());
  }

  /** Packets that have arrived together: handled as one batch, which is cheaper and acknowledged once. */
  receiveMany(packets: readonly Uint8Array[], timeUs?: number): void {
    if (this.#busy || this.#waiting.length > 0) {
      for (const packet of packets) if (this.#accepts(packet)) this.#keep(packet, timeUs);
      return;
    }
    const arrivedUs = timeUs ?? this.#host?.clock.nowUs() ?? 0;
    const batch = this.#batch;
    if (batch !== null) batch.count = 0;
    let at = 0;
    for (const packet of packets) {
      if (!this.#accepts(packet)) continue;
      if (batch!.count === batch!.capacity || at + packet.length > this.#host!.memory.rxBytes) {
        this.#input(arrivedUs);
        batch!.count = 0;
        at = 0;
      }
      batch!.slab.set(packet, at);
      batch!.add(at, packet.length);
      at = (at + packet.length + 7) & ~7;
    }
    if (batch !== null && batch.count > 0 && !this.#closed) this.#input(arrivedUs);
  }

  /** The link is gone for good: the stack's connections fail. */
  down(error: Error): void {
    if (!this.#closed) this.#host?.down(error);
  }

  #accepts(packet: Uint8Array): boolean {
    if (this.#closed || this.#host === null || packet.length === 0 || packet.length > MAX_PACKET) {
      this.counters.rxDrops++;
      return false;
    }
    return true;
  }

  #keep(packet: Uint8Array, timeUs: number | undefined): void {
    if (this.#waiting.length >= this.#queuePackets) {
      this.counters.rxDrops++;
      return;
    }
    this.#waiting.push(packet.slice());
    this.#waitingUs.push(timeUs ?? this.#host!.clock.nowUs());
  }

  /** The stack and `send` are at rest again: what was put off comes next. */
  #arm(): void {
    if (!this.#closed && (this.#waiting.length > 0 || this.#wakeUp)) this.#alarm!.set(this.#host!.clock.nowUs());
  }

  #input(timeUs: number): void {
    const batch = this.#batch!;
    batch.timeUs = timeUs;
    this.counters.rxPackets += batch.count;
    this.counters.rxBatches++;
    for (let i = 0; i < batch.count; i++) this.counters.rxBytes += batch.meta[i * RX_STRIDE + RX_LENGTH]!;
    this.#busy = true;
    try {
      this.#host!.input(batch);
    } finally {
      this.#busy = false;
      this.#arm();
    }
  }

  /** The alarm: hands in what was kept, and says `writable()` when that was put off. */
  #handIn(): void {
    // Busy only when someone moves a virtual clock from inside the stack; the end of that arms again.
    if (this.#closed || this.#busy) return;
    const waiting = this.#waiting;
    const waitingUs = this.#waitingUs;
    this.#waiting = [];
    this.#waitingUs = [];
    const batch = this.#batch!;
    batch.count = 0;
    let at = 0;
    for (let i = 0; i < waiting.length && !this.#closed; i++) {
      const packet = waiting[i]!;
      batch.slab.set(packet, at);
      batch.add(at, packet.length);
      at = (at + packet.length + 7) & ~7;
      const next = waiting[i + 1];
      if (
        next === undefined || batch.count === batch.capacity || at + next.length > this.#host!.memory.rxBytes ||
        waitingUs[i + 1] !== waitingUs[i]
      ) {
        this.#input(waitingUs[i]!);
        batch.count = 0;
        at = 0;
      }
    }
    if (this.#wakeUp && !this.#closed) {
      this.#wakeUp = false;
      this.#host!.writable();
    }
  }

  ref(): void {
    this.#referenced = true;
    this.#alarm?.ref();
    this.#options.ref?.();
  }

  unref(): void {
    this.#referenced = false;
    this.#alarm?.unref();
    this.#options.unref?.();
  }

  close(): void {
    if (this.#closed) return;
    this.unref();
    this.#closed = true;
    this.#waiting = [];
    this.#waitingUs = [];
    this.#alarm?.clear();
    this.#options.close?.();
  }
}
