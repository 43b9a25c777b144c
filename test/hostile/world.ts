/**
 * A stack under attack, in virtual time:
 *
 *     neighbour 10.90.0.1 ═══════╦═══ victim 10.90.0.2, fd90::2     (a memory link)
 *     Peer 10.90.x.y … ──────────╝                                   (packets that the test makes itself)
 *
 * A `Peer` is one end of a connection that a script plays; what the victim sends to it is kept. Packets are built and
 * taken apart here, with code that shares nothing with the code under test. The neighbour is a stack that behaves:
 * `World.serves()` has it fetch something from the victim, and fails if that takes too long.
 */

import type { TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { EAGAIN } from '../../lib/errno.ts';
import { PacketBatch, RX_CSUM_VALID, RX_FLAGS, RX_STRIDE } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { LinkMiddleware } from '../../lib/link/middleware.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack, StackOptions } from '../../lib/stack.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { Invariants } from '../sim/invariants.ts';
import { open, pump } from '../sim/pair.ts';
import type { Flow } from '../sim/pair.ts';

export const VICTIM = '10.90.0.2';
export const NEIGHBOUR = '10.90.0.1';
/** Port that the neighbour sends to, and reads from. */
const HONEST_PORT = 9000;
const BITS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, '.': 16, U: 32, E: 64, W: 128 };

function quad(address: string): number {
  const [a, b, c, d] = address.split('.').map(Number) as [number, number, number, number];
  return ((a << 24) | (b << 16) | (c << 8) | d) | 0;
}

function toNeighbour(packet: Uint8Array): boolean {
  return packet[0]! >> 4 === 4 ? packet[16] === 10 && packet[17] === 90 && packet[18] === 0 && packet[19] === 1 : packet[39] === 1;
}

/** What a `Peer` sends; numbers are raw, what is left out is what the peer stands at. */
export interface Fields {
  flags: string;
  seq?: number;
  ack?: number;
  /** The window field as it is on the wire. */
  win?: number;
  len?: number;
  urg?: number;
  options?: number[];
}

/** A segment from the victim. */
export interface Got {
  flags: string;
  seq: number;
  ack: number;
  win: number;
  len: number;
  options: number[];
  atMs: number;
}

/** Writes down what the victim sends. */
class Tap extends LinkMiddleware {
  onPacket: (bytes: Uint8Array) => void = () => undefined;
  readonly #scratch = new Uint8Array(70_000);

  /** Packets for the neighbour go on, in runs; all others end here. */
  override send(queue: TransmitQueue): void {
    const { tail } = queue;
    while (queue.head < tail) {
      const length = queue.copyPacket(queue.head, this.#scratch, 0);
      if (toNeighbour(this.#scratch)) {
        queue.tail = queue.head + 1;
        super.send(queue);
        const stuck = queue.head < queue.tail;
        queue.tail = tail;
        if (stuck) return;
      } else {
        queue.head++;
      }
      this.onPacket(this.#scratch.slice(0, length));
    }
  }
}

export interface WorldOptions extends Partial<StackOptions> {
  /** Between neighbour and victim, one way. Default 1000. */
  latencyUs?: number;
}

export class World {
  readonly clock = new VirtualClock(1_000_000);
  readonly victim: Stack;
  readonly neighbour: Stack;
  /** What the victim has sent, in all. */
  packetsOut = 0;
  bytesOut = 0;
  readonly #peers = new Map<string, Peer>();
  readonly #batch = new PacketBatch(new Uint8Array(1 << 20), 512);
  readonly #invariants: Invariants;
  #at = 0;
  #server: BsdSocket | null = null;
  readonly #accepted: BsdSocket[] = [];

  constructor(options: WorldOptions = {}) {
    const { latencyUs, ...victim } = options;
    const [left, right] = createMemoryPair({ clock: this.clock, latencyUs: latencyUs ?? 1000 });
    const tap = new Tap(right);
    tap.onPacket = (bytes) => this.#packet(bytes);
    const common = { clock: this.clock, memory: 16 << 20 };
    this.victim = createStack({ ...common, link: tap, addresses: [`${VICTIM}/16`, 'fd90::2/64'], random: new SeededRandom(2), ...victim });
    this.neighbour = createStack({ ...common, link: left, addresses: [`${NEIGHBOUR}/16`, 'fd90::1/64'], random: new SeededRandom(1) });
    this.#invariants = new Invariants(this.victim, 'victim');
  }

  get nowMs(): number {
    return this.clock.nowUs() / 1000;
  }

  get counters(): Stack['tcp']['counters'] {
    return this.victim.tcp.counters;
  }

  get blocksInUse(): number {
    return this.victim.memory.blockCount - this.victim.memory.freeBlocks;
  }

  run(ms: number): void {
    this.clock.advance(Math.round(ms * 1000));
  }

  until(done: () => boolean, ms = 60_000): boolean {
    return this.clock.runUntil(done, ms * 1000);
  }

  /** Throws when an invariant of any of the victim's connections does not hold. */
  check(): void {
    this.#invariants.check();
  }

  // ------------------------------------------------------------------------------------ packets

  /** Puts a packet into the batch under way. */
  queue(packet: Uint8Array): void {
    const { slab, count } = this.#batch;
    if (count === 512 || this.#at + packet.length > slab.length) this.flush();
    slab.set(packet, this.#at);
    this.#batch.add(this.#at, packet.length);
    this.#batch.meta[(this.#batch.count - 1) * RX_STRIDE + RX_FLAGS] = RX_CSUM_VALID;
    this.#at = (this.#at + packet.length + 7) & ~7;
  }

  /** Hands the batch to the victim. */
  flush(): void {
    this.#batch.timeUs = this.clock.nowUs();
    if (this.#batch.count > 0) this.victim.input(this.#batch);
    this.#batch.count = 0;
    this.#at = 0;
  }

  inject(...packets: Uint8Array[]): void {
    for (const packet of packets) this.queue(packet);
    this.flush();
  }

  add(peer: Peer): void {
    this.#peers.set(`${peer.address} ${peer.port} ${peer.victimPort}`, peer);
  }

  #packet(bytes: Uint8Array): void {
    this.packetsOut++;
    this.bytesOut += bytes.length;
    if (bytes[0]! >> 4 !== 4 || bytes[9] !== 6) return;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const tcp = (bytes[0]! & 15) * 4;
    const peer = this.#peers.get(`${view.getInt32(16)} ${view.getUint16(tcp + 2)} ${view.getUint16(tcp)}`);
    if (peer === undefined) return;
    const header = (bytes[tcp + 12]! >> 4) * 4;
    let flags = '';
    for (const letter of 'SFRPUEW.') if ((bytes[tcp + 13]! & BITS[letter]!) !== 0) flags += letter;
    peer.take({
      flags, seq: view.getInt32(tcp + 4), ack: view.getInt32(tcp + 8), win: view.getUint16(tcp + 14), len: bytes.length - tcp - header,
      options: [...bytes.subarray(tcp + 20, tcp + header)], atMs: this.nowMs,
    });
  }

  // ---------------------------------------------------------------------------------- the victim

  /** A listening socket of the victim; each connection is handed to `accepted`. */
  listen(port: number, accepted: (socket: BsdSocket) => void = () => undefined, backlog = 4096): BsdSocket {
    const listener = open(this.victim, AF_INET);
    if (listener.bind('', port) < 0 || listener.listen(backlog) < 0) throw new Error('listen');
    listener.onready = () => {
      for (;;) {
        const socket = listener.accept();
        if (typeof socket === 'number') return;
        this.#accepted.push(socket);
        accepted(socket);
      }
    };
    return listener;
  }

  tcbOf(peer: Peer): Tcb | undefined {
    let found: Tcb | undefined;
    this.victim.tcp.forEach((tcb) => {
      if (tcb.flow.r3 === peer.address && tcb.remotePort === peer.port && tcb.localPort === peer.victimPort) found = tcb;
    });
    return found;
  }

  // -------------------------------------------------------------------------------- the neighbour

  /**
   * The neighbour opens a connection and sends, or fetches, `bytes`. Returns the virtual milliseconds that it took.
   * @throws Error when it is not done within `limitMs`
   */
  serves(bytes = 200_000, direction: 'up' | 'down' = 'up', limitMs = 10_000): number {
    const began = this.nowMs;
    let server: BsdSocket | null = null;
    this.#server ??= this.listen(HONEST_PORT);
    this.#server.onready = () => {
      const socket = this.#server!.accept();
      if (typeof socket !== 'number') server = socket;
    };
    const client = open(this.neighbour, AF_INET);
    client.connect(VICTIM, HONEST_PORT);
    if (!this.until(() => server !== null, limitMs)) throw new Error(`the neighbour cannot connect within ${limitMs} ms`);
    const flow: Flow = direction === 'up' ? pump(client, server!, bytes) : pump(server!, client, bytes);
    const done = this.until(() => flow.received === bytes, limitMs);
    client.abort();
    (server as unknown as BsdSocket).abort();
    if (!done) throw new Error(`the neighbour has ${flow.received} of ${bytes} bytes after ${limitMs} ms`);
    return this.nowMs - began;
  }

  /** The end: everything is aborted, and every block must be back. Returns how many are not. */
  close(): number {
    for (const socket of this.#accepted) socket.abort();
    void this.victim.close({ graceful: false });
    void this.neighbour.close({ graceful: false });
    return this.blocksInUse;
  }
}

export interface PeerOptions {
  address?: string;
  victimPort?: number;
  mss?: number;
  win?: number;
  sack?: boolean;
  /** Window scale; default none. */
  ws?: number;
}

/** One hostile end of a connection. */
export class Peer {
  readonly world: World;
  readonly address: number;
  readonly port: number;
  readonly victimPort: number;
  readonly options: PeerOptions;
  /** Where it stands: its next sequence number; what it has had from the victim (in order or not, the highest). */
  seq = 0x7ffffff0 | 0;
  ack = 0;
  win: number;
  iss = 0;
  /** What the victim has sent to it. */
  got: Got[] = [];
  /** Counts only, when `got` is not wanted. */
  segments = 0;
  dataBytes = 0;
  keep = true;
  onSegment: ((got: Got) => void) | null = null;

  constructor(world: World, port: number, options: PeerOptions = {}) {
    this.world = world;
    this.options = options;
    this.address = quad(options.address ?? '10.90.66.6');
    this.port = port;
    this.victimPort = options.victimPort ?? 80;
    this.win = options.win ?? 65535;
    world.add(this);
  }

  take(got: Got): void {
    this.segments++;
    this.dataBytes += got.len;
    const end = (got.seq + got.len + (/[SF]/.test(got.flags) ? 1 : 0)) | 0;
    if (got.flags.includes('S')) {
      this.iss = got.seq;
      this.ack = end;
    } else if (((end - this.ack) | 0) > 0 && !got.flags.includes('R')) this.ack = end;
    if (this.keep) this.got.push(got);
    this.onSegment?.(got);
  }

  packet(fields: Fields): Uint8Array {
    const options = fields.options ?? [];
    const length = fields.len ?? 0;
    const bytes = new Uint8Array(40 + options.length + length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, 0x45000000 | bytes.length);
    view.setUint32(4, 0x4000);
    view.setUint32(8, 0x40060000);
    view.setInt32(12, this.address);
    view.setInt32(16, quad(VICTIM));
    let sum = 0;
    for (let i = 0; i < 20; i += 2) sum += view.getUint16(i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(10, ~sum & 0xffff);
    let flags = 0;
    for (const letter of fields.flags) flags |= BITS[letter]!;
    view.setUint16(20, this.port);
    view.setUint16(22, this.victimPort);
    view.setInt32(24, (fields.seq ?? this.seq) | 0);
    view.setInt32(28, (flags & 16) === 0 ? 0 : (fields.ack ?? this.ack) | 0);
    view.setUint8(32, ((20 + options.length) >> 2) << 4);
    view.setUint8(33, flags);
    view.setUint16(34, fields.win ?? this.win);
    view.setUint16(38, fields.urg ?? 0);
    bytes.set(options, 40);
    return bytes;
  }

  /** Sends a segment at once. The peer's own `seq` stays where it is. */
  send(fields: Fields): void {
    this.world.inject(this.packet(fields));
  }

  /** Sends `length` bytes in order. */
  data(length: number, flags = 'P.'): void {
    this.send({ flags, len: length });
    this.seq = (this.seq + length) | 0;
  }

  synOptions(): number[] {
    const { mss, sack, ws } = this.options;
    const options: number[] = [];
    if (mss !== undefined) options.push(2, 4, mss >> 8, mss & 0xff);
    if (sack) options.push(1, 1, 4, 2);
    if (ws !== undefined) options.push(1, 3, 3, ws);
    return options;
  }

  /** The handshake. Throws when it is not answered. */
  open(): this {
    this.send({ flags: 'S', ack: 0, options: this.synOptions() });
    this.seq = (this.seq + 1) | 0;
    const synAck = this.got.shift();
    if (synAck?.flags !== 'S.') throw new Error(`SYN answered by ${synAck?.flags}`);
    this.send({ flags: '.' });
    return this;
  }

  sack(...blocks: [number, number][]): number[] {
    const word = (n: number): number[] => [(n >>> 24) & 0xff, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff];
    return [1, 1, 5, 2 + 8 * blocks.length, ...blocks.flatMap(([left, right]) => [...word(left | 0), ...word(right | 0)])];
  }
}

const noise = new Uint8Array(1 << 16).map((_, i) => (i * 31 + (i >> 8)) & 0xff);

/** Keeps writing whatever the socket takes, up to `bytes`. Returns what was taken so far, and the errno that ended it. */
export function writes(socket: BsdSocket, bytes = Infinity): { taken: number; error: number } {
  const state = { taken: 0, error: 0 };
  const write = (): void => {
    while (state.taken < bytes) {
      const n = socket.send(noise, 0, Math.min(noise.length, bytes - state.taken));
      if (n <= 0) {
        if (n !== -EAGAIN) state.error = -n;
        return;
      }
      state.taken += n;
    }
  };
  socket.onready = write;
  write();
  return state;
}
