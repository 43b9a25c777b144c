/**
 * What the measurements of the hot path stand on: a host whose link counts, a peer that is a few bytes in its
 * slab, a clock that allocates nothing, and what each path may allocate for a packet.
 */

import type { Test } from 'tap';
import type { Alarm, Clock } from '../../lib/clock.ts';
import { LINK_CSUM, LINK_TSO4, PacketBatch, RX_CSUM_VALID, RX_FLAGS, RX_STRIDE } from '../../lib/link/link.ts';
import type { Link, LinkHost } from '../../lib/link/link.ts';
import type { TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, MSG_TRUNC, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createHost } from '../sim/host.ts';
import type { Host, TcpuSide } from '../sim/host.ts';
import { allocated } from './allocated.ts';

const PACKETS = 200_000;
export const BATCH = 32;
const MSS = 1448;
/** Bytes a packet that are noise. */
const NOISE = 4;
/** Bytes of one view, generously. */
const VIEW = 140;

/** Time stands still; alarms of the present are fired by `run()`, without a list being made. */
class StillClock implements Clock {
  readonly originMs = 0;
  readonly #due: boolean[] = [];
  readonly #fire: (() => void)[] = [];

  nowUs(): number {
    return 1_000_000;
  }

  alarm(fire: () => void): Alarm {
    const n = this.#fire.push(fire) - 1;
    this.#due.push(false);
    return {
      set: (atUs) => {
        this.#due[n] = atUs <= 1_000_000;
      },
      clear: () => {
        this.#due[n] = false;
      },
    };
  }

  run(): void {
    for (let n = 0; n < this.#due.length; n++) {
      if (!this.#due[n]) continue;
      this.#due[n] = false;
      this.#fire[n]!();
      n = -1;
    }
  }
}

class CountingLink implements Link {
  readonly name = 'counting';
  readonly mtu = 1500;
  readonly features = LINK_CSUM | LINK_TSO4;
  host!: LinkHost;
  batch!: PacketBatch;
  packets = 0;

  attach(host: LinkHost): void {
    this.host = host;
    this.batch = new PacketBatch(host.memory.bytes, BATCH);
  }

  send(queue: TransmitQueue): void {
    this.packets += queue.tail - queue.head;
    queue.head = queue.tail;
  }

  ref(): void {}
  unref(): void {}
  close(): void {}
}

/** A peer that is a few bytes in the slab. */
export class Peer {
  readonly link = new CountingLink();
  readonly clock = new StillClock();
  readonly stack: Host;
  readonly socket: BsdSocket;
  seq = 1000;
  ack = 0;
  #ts = 100;

  /** @param side  the application that has the connection; null: the stack itself */
  constructor(side: TcpuSide | null) {
    const { link } = this;
    this.stack = createHost('host', {
      link, addresses: ['10.90.0.2/24'], clock: this.clock, random: new SeededRandom(1), memory: 32 << 20,
    }, side);
    this.stack.tcp.initialSequence = () => 5000 as never;
    this.stack.tcp.timestampOffset = () => 0;
    const listener = this.#socket();
    listener.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20);
    listener.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20);
    listener.bind('', 80);
    listener.listen(5);
    this.ack = 5001;
    // SYN with MSS 1460, SACK, timestamps, window scale 10.
    this.#build(0, 0x02, 0, [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 100, 0, 0, 0, 0, 1, 3, 3, 10]);
    this.#input(1);
    this.seq++;
    this.segments(1, 0);
    const socket = listener.accept();
    if (typeof socket === 'number') throw new Error(`accept: ${socket}`);
    this.socket = socket;
  }

  #socket(): BsdSocket {
    const socket = this.stack.socket(AF_INET);
    if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
    return socket;
  }

  /** Writes packet number `i` of the batch, `length` bytes of payload, whose options are given or timestamps. */
  #build(i: number, flags: number, length: number, options: number[] | null): void {
    const { view, slab } = this.link.batch;
    const at = i * 1536;
    const optionBytes = options === null ? 12 : options.length;
    const total = 40 + optionBytes + length;
    view.setInt32(at, 0x45000000 | total);
    view.setInt32(at + 4, 0x00014000);
    view.setInt32(at + 8, 0x40060000);
    view.setInt32(at + 12, 0x0a5a0001);
    view.setInt32(at + 16, 0x0a5a0002);
    let sum = 0;
    for (let k = 0; k < 20; k += 2) sum += view.getUint16(at + k);
    sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(at + 10, ~((sum & 0xffff) + (sum >>> 16)));
    view.setInt32(at + 20, (7000 << 16) | 80);
    view.setInt32(at + 24, this.seq);
    view.setInt32(at + 28, flags === 0x02 ? 0 : this.ack);
    view.setInt32(at + 32, (((20 + optionBytes) << 26) | (flags << 16) | 0xffff) | 0);
    view.setInt32(at + 36, 0);
    if (options !== null) {
      for (let k = 0; k < options.length; k++) slab[at + 40 + k] = options[k]!;
    } else {
      view.setInt32(at + 40, 0x0101080a);
      view.setInt32(at + 44, this.#ts);
      view.setInt32(at + 48, this.#ts);
    }
    const batch = this.link.batch;
    batch.count = i;
    batch.add(at, total);
    batch.meta[i * RX_STRIDE + RX_FLAGS] = RX_CSUM_VALID;
  }

  #input(count: number): void {
    this.link.batch.count = count;
    this.link.batch.timeUs = this.clock.nowUs();
    this.link.host.input(this.link.batch);
    this.clock.run();
  }

  /** `count` segments of `length` bytes, as one batch. */
  segments(count: number, length: number): void {
    for (let i = 0; i < count; i++) {
      this.#build(i, 0x10, length, null);
      this.seq = (this.seq + length) | 0;
    }
    this.#input(count);
  }

  /** `count` ACKs, `bytes` further each, as one batch. */
  acks(count: number, bytes: number): void {
    for (let i = 0; i < count; i++) {
      this.ack = (this.ack + bytes) | 0;
      this.#build(i, 0x10, 0, null);
    }
    this.#input(count);
  }
}

/** Bytes a packet of `step`, which handles `BATCH` packets, over 200,000 packets after a warm-up. */
export function perPacket(step: () => void): number {
  for (let i = 0; i < 3000; i++) step();
  return allocated(() => {
    for (let i = 0; i < PACKETS / BATCH; i++) step();
  }) / PACKETS;
}

/**
 * What may be allocated for a packet on each path. What remains is noise (feedback, compilation) of less than a byte a
 * packet. Where the application's own array is on one side of a copy there is one view (`subarray`) for each piece of a
 * block or packet: about 100 bytes (V8 has no copy between arrays that takes a range). An object literal a packet would
 * be 24 bytes and more: the test would fail.
 */
export function hotPaths(t: Test, side: TcpuSide | null): void {
  t.test('data in, ACKs out, dropped by the reader: nothing', (t) => {
    const peer = new Peer(side);
    const buffer = new Uint8Array(1 << 16);
    peer.socket.onready = () => {
      peer.socket.recv(buffer, 0, 1 << 20, MSG_TRUNC);
    };
    const before = peer.stack.tcp.counters.PredictedData;
    const bytes = perPacket(() => peer.segments(BATCH, MSS));
    const taken = peer.stack.tcp.counters.PredictedData - before;
    t.ok(taken >= PACKETS, `${taken} segments by header prediction`);
    t.ok(peer.link.packets > PACKETS / BATCH, `${peer.link.packets} packets out`);
    t.ok(bytes < NOISE, `${bytes.toFixed(2)} bytes a segment`);
    t.end();
  });

  t.test('data in, read with one copy into the application\'s array: a view for each packet', (t) => {
    const peer = new Peer(side);
    const buffer = new Uint8Array(1 << 16);
    let received = 0;
    peer.socket.onready = () => {
      received += peer.socket.recv(buffer, 0, buffer.length);
    };
    const bytes = perPacket(() => peer.segments(BATCH, MSS));
    t.ok(received >= PACKETS * MSS);
    t.ok(bytes < VIEW + NOISE, `${bytes.toFixed(2)} bytes a segment`);
    t.end();
  });

  t.test('data in that nobody reads at once: stored in blocks and read from there', (t) => {
    const peer = new Peer(side);
    const own = peer.stack.memory.bytes;
    const bytes = perPacket(() => {
      peer.segments(BATCH, MSS);
      // Into the stack's own memory (the receive slab): a copy within one array needs no view.
      peer.socket.recv(own, 0, 1 << 16);
    });
    t.ok(bytes < NOISE, `${bytes.toFixed(2)} bytes a segment`);
    t.end();
  });

  t.test('ACKs in, super-segments out: nothing but what the application\'s own copy takes', (t) => {
    const peer = new Peer(side);
    const own = peer.stack.memory.bytes;
    let flight = 0;
    peer.stack.tcp.forEach((tcb) => {
      // Slow start until twice a batch is in flight.
      while (flight < 2 * BATCH * MSS) {
        while (peer.socket.send(own, 0, BATCH * MSS) > 0);
        flight = tcb.flight;
        if (flight < 2 * BATCH * MSS) peer.acks(1, flight);
      }
    });
    const step = (): void => {
      peer.acks(BATCH, MSS);
      // From the stack's own memory: a copy within one array needs no view.
      peer.socket.send(own, 0, BATCH * MSS);
    };
    const before = peer.stack.tcp.counters.PredictedAcks;
    const bytes = perPacket(step);
    const taken = peer.stack.tcp.counters.PredictedAcks - before;
    t.ok(taken >= PACKETS, `${taken} ACKs by header prediction`);
    t.ok(bytes < NOISE, `${bytes.toFixed(2)} bytes an ACK`);
    t.end();
  });

  t.test('request and response: 64 bytes each way', (t) => {
    const peer = new Peer(side);
    const own = peer.stack.memory.bytes;
    let asked = 0;
    peer.socket.onready = () => {
      while (peer.socket.available > 0) {
        peer.socket.recv(own, 40_000, 64);
        peer.socket.send(own, 40_000, 64);
        asked++;
      }
    };
    const bytes = perPacket(() => {
      for (let i = 0; i < BATCH; i++) {
        peer.segments(1, 64);
        peer.ack = (peer.ack + 64) | 0;
      }
    });
    t.ok(asked >= PACKETS);
    t.ok(bytes < NOISE, `${bytes.toFixed(2)} bytes a transaction`);
    t.end();
  });
}
