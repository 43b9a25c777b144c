/**
 * A stack whose link is the test, and applications that may be hostile: they write to their windows and
 * make calls as they like, with nothing of TCPU in between. What leaves on the link is parsed by code that
 * shares nothing with the code under test.
 */

import {
  BIND_REUSE_ADDRESS, BIND_REUSE_PORT, BIND_V6ONLY, CALL_BIND, CALL_CONNECT, CALL_LISTEN, CALL_UNBIND,
} from '../../lib/channel/calls.ts';
import { CALL_WORDS } from '../../lib/channel/channel.ts';
import type { ChannelUser } from '../../lib/channel/channel.ts';
import {
  CLOSE_LENGTH, FROM_APP_CLOSE, FROM_APP_HANDLE, FROM_APP_OPEN, FROM_APP_SEGMENT, FROM_APP_SENDTO, OPEN_LENGTH, OPEN_LOCAL, OPEN_PORTS,
  OPEN_REMOTE, SENDTO_LENGTH, SENDTO_LOCAL, SENDTO_REMOTE, SEG_DATA, SEG_LENGTH, TO_APP_SEGMENT, TO_APP_VIOLATION, TX_GSO_SIZE, TX_GSO_TYPE,
  TX_HEADER, TX_HEADER_LENGTH, TX_IP, TX_PIECE, TX_PIECE_COUNT, VIOLATION_COUNT, VIOLATION_REASON,
} from '../../lib/channel/records.ts';
import { RECORD_LENGTH, RECORD_TYPE, RingReader, RingWriter } from '../../lib/channel/ring.ts';
import { APP_SLEEPS, RX_HEAD, RX_TAIL, TX_HEAD, TX_TAIL } from '../../lib/channel/window.ts';
import type { Window, WindowSizes } from '../../lib/channel/window.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack, StackOptions } from '../../lib/stack.ts';
import { LocalChannel } from '../../lib/tcpk/local-channel.ts';
import type { Application } from '../../lib/tcpk/application.ts';
import { concat, ipv4, ipv6, parse, pseudoHeader, u16, u32, withChecksum, words } from '../ip/harness.ts';

export const OURS4 = '10.0.0.1';
export const ALSO4 = '10.0.0.9';
export const OURS6 = 'fd00::1';
export const PEER4 = '10.0.0.2';
export const PEER6 = 'fd00::2';

export const SIZES: WindowSizes = { rxRing: 256 << 10, txRing: 128 << 10, call: 4096, memory: 1 << 20 };

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

/** A TCP segment that came out of the link, or a raw record. */
export interface Out {
  source: string;
  destination: string;
  srcPort: number;
  dstPort: number;
  seq: number;
  ack: number;
  flags: number;
  window: number;
  payload: Uint8Array;
  bytes: number;
}

export function parseTcp(packet: Uint8Array): Out | null {
  const { source, destination, protocol, payload } = parse(packet);
  if (protocol !== 6) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  return {
    source, destination, srcPort: view.getUint16(0), dstPort: view.getUint16(2), seq: view.getInt32(4), ack: view.getInt32(8),
    flags: view.getUint8(13), window: view.getUint16(14), payload: payload.subarray((view.getUint8(12) >> 4) * 4), bytes: packet.length,
  };
}

/** A segment as it goes into a packet or a record. */
export interface Fields {
  srcPort: number;
  dstPort: number;
  seq?: number;
  ack?: number;
  flags?: number;
  window?: number;
  options?: readonly number[];
  /** Data offset in bytes, where it is not to be the right one. */
  offset?: number;
}

export function tcpHeader(f: Fields): Uint8Array {
  const options = f.options ?? [];
  const length = f.offset ?? 20 + options.length;
  return concat(u16(f.srcPort), u16(f.dstPort), u32((f.seq ?? 0) >>> 0), u32((f.ack ?? 0) >>> 0),
    [(length >> 2) << 4 & 0xff, f.flags ?? ACK], u16(f.window ?? 0xffff), [0, 0, 0, 0], options);
}

export class World {
  readonly clock = new VirtualClock(1_000_000);
  readonly stack: Stack;
  readonly link: PacketLink;
  /** What has come out and was not taken yet. */
  #out: Uint8Array[] = [];
  /** Called with each packet that comes out; false when the link is full. */
  onpacket: ((packet: Uint8Array) => boolean | void) | null = null;

  constructor({ mtu, features, ...options }: Partial<StackOptions> & { mtu?: number; features?: number } = {}) {
    this.link = new PacketLink({
      mtu: mtu ?? 1500,
      send: (packet) => {
        if (this.onpacket !== null) return this.onpacket(packet);
        this.#out.push(packet);
      },
    });
    // Packets come out as they are: whatever a device would do to them is not done.
    Object.assign(this.link, { features: features ?? 0 });
    this.stack = createStack({
      link: this.link, addresses: [`${OURS4}/24`, `${ALSO4}/24`, `${OURS6}/64`], clock: this.clock,
      random: new SeededRandom(1), memory: 8 << 20,
      applications: { shared: false, windowBytes: 32 << 20 }, ...options,
    });
  }

  get tcpk(): NonNullable<Stack['tcpk']> {
    return this.stack.tcpk!;
  }

  attach(options: { privileged?: boolean; sizes?: Partial<WindowSizes>; name?: string } = {}): Hostile {
    const { stack, clock } = this;
    return new Hostile(this, new LocalChannel({
      tcpk: this.tcpk, space: stack.windows!, clock, info: stack.channelInfo(0), sizes: { ...SIZES, ...options.sizes },
      name: options.name ?? 'hostile', credentials: { pid: 1, uid: process.getuid?.() ?? 0, gid: 0 }, privileged: options.privileged ?? true,
      refs: { ref: () => undefined, unref: () => undefined },
      onreport: () => undefined,
    }));
  }

  /** Runs what is due now. */
  step(): void {
    this.clock.advance(0);
  }

  /** Packets that came out since the last look. */
  packets(): Uint8Array[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  /** The TCP segments among them. */
  out(): Out[] {
    this.step();
    return this.packets().map(parseTcp).filter((one) => one !== null);
  }

  /** A segment arrives, and all that is due is done. */
  receive(fields: Fields & { payload?: Uint8Array; source?: string; destination?: string }): void {
    this.arrive(fields);
    this.step();
  }

  /** A segment arrives: one turn. */
  arrive(fields: Fields & { payload?: Uint8Array; source?: string; destination?: string }): void {
    const source = fields.source ?? PEER4;
    const destination = fields.destination ?? (source.includes(':') ? OURS6 : OURS4);
    const bare = concat(tcpHeader(fields), fields.payload ?? []);
    const segment = withChecksum(bare, 16, pseudoHeader(source, destination, 6, bare.length));
    const addresses = { source, destination };
    this.link.receive(source.includes(':') ? ipv6(segment, { ...addresses, nextHeader: 6 }) : ipv4(segment, { ...addresses, protocol: 6 }));
  }

  close(): void {
    void this.stack.close({ graceful: false });
  }
}

/** What an application is to be told by a record. */
export interface Told {
  type: number;
  words: number[];
}

export interface RawSegment extends Fields {
  handle: number;
  /** Offset from the window's start, length. */
  pieces?: readonly (readonly [number, number])[];
  /** What the record says of itself, where it is not to be the truth. */
  count?: number;
  headerLength?: number;
  gsoType?: number;
  gsoSize?: number;
  length?: number;
  tos?: number;
  ttl?: number;
}

/** An application that has nothing but its window and its calls. */
export class Hostile implements ChannelUser {
  readonly world: World;
  readonly channel: LocalChannel;
  readonly window: Window;
  readonly tx: RingWriter;
  readonly rx: RingReader;
  bells = 0;
  /** Why the stack has let go of it. */
  reason: string | null = null;

  constructor(world: World, channel: LocalChannel) {
    this.world = world;
    this.channel = channel;
    const { window } = channel;
    this.window = window;
    this.tx = new RingWriter(window, window.txRing, window.sizes.txRing, TX_HEAD, TX_TAIL);
    this.rx = new RingReader(window, window.rxRing, window.sizes.rxRing, RX_HEAD, RX_TAIL);
    window.words[APP_SLEEPS] = 1;
    channel.attach(this);
  }

  get app(): Application {
    return this.channel.application;
  }

  bell(): void {
    this.bells++;
    this.window.words[APP_SLEEPS] = 1;
  }

  gone(reason: string): void {
    this.reason = reason;
  }

  // ------------------------------------------------------------------------------------ calls

  readonly #call = new Int32Array(CALL_WORDS);

  /** Makes a call. Its further results are in `result()`. */
  call(...args: readonly number[]): number {
    this.#call.fill(0);
    this.#call.set(args);
    return this.channel.call(this.#call, args.length);
  }

  /** Word `i` of the last call's answer. */
  result(i: number): number {
    return this.#call[i]!;
  }

  /** Returns the binding's number or a negative errno. `address` '' is `::`. */
  bind(address: string, port: number, bits: { v6only?: boolean; reuseAddress?: boolean; reusePort?: boolean } = {}): number {
    const w = address === '' ? { w0: 0, w1: 0, w2: 0, w3: 0 } : words(address);
    return this.call(CALL_BIND, w.w0, w.w1, w.w2, w.w3, port,
      (bits.v6only ? BIND_V6ONLY : 0) | (bits.reuseAddress ? BIND_REUSE_ADDRESS : 0) | (bits.reusePort ? BIND_REUSE_PORT : 0));
  }

  listen(binding: number, bits: { reuseAddress?: boolean } = {}): number {
    return this.call(CALL_LISTEN, binding, bits.reuseAddress ? BIND_REUSE_ADDRESS : 0);
  }

  unbind(binding: number): number {
    return this.call(CALL_UNBIND, binding);
  }

  /** Returns the local port or a negative errno. */
  connect(handle: number, remote: string, port: number, binding = -1, local = ''): number {
    const r = words(remote);
    const l = local === '' ? { w0: 0, w1: 0, w2: remote.includes(':') ? 0 : 0xffff, w3: 0 } : words(local);
    return this.call(CALL_CONNECT, handle, binding, l.w0, l.w1, l.w2, l.w3, r.w0, r.w1, r.w2, r.w3, port);
  }

  // ----------------------------------------------------------------------------------- records

  /** Puts a record into the ring, not yet shown. */
  record(type: number, length: number, content: Record<number, number> | readonly number[] = {}): void {
    const w = this.tx.reserve(type, length);
    if (w < 0) throw new Error('the transmit ring is full');
    for (const [i, word] of Object.entries(content)) this.window.words[w + Number(i)] = word;
    this.tx.commit();
  }

  #header(bytes: Uint8Array): Record<number, number> {
    const padded = new Uint8Array(60);
    padded.set(bytes.subarray(0, 60));
    return Object.fromEntries([...new Int32Array(padded.buffer)].map((word, i) => [TX_HEADER + i, word]));
  }

  segment(s: RawSegment): this {
    const pieces = s.pieces ?? [];
    const header = tcpHeader(s);
    this.record(FROM_APP_SEGMENT, s.length ?? (TX_PIECE + 2 * pieces.length) * 4, {
      [FROM_APP_HANDLE]: s.handle, [TX_IP]: (s.tos ?? 0) | ((s.ttl ?? 64) << 8), [TX_GSO_TYPE]: s.gsoType ?? 0,
      [TX_GSO_SIZE]: s.gsoSize ?? 0,
      [TX_HEADER_LENGTH]: s.headerLength ?? header.length, [TX_PIECE_COUNT]: s.count ?? pieces.length, ...this.#header(header),
      ...Object.fromEntries(pieces.flatMap(([offset, length], i) => [[TX_PIECE + 2 * i, offset], [TX_PIECE + 2 * i + 1, length]])),
    });
    return this;
  }

  sendTo(local: string, remote: string, f: Fields & { length?: number; headerLength?: number }): this {
    const l = words(local);
    const r = words(remote);
    const header = tcpHeader(f);
    this.record(FROM_APP_SENDTO, f.length ?? SENDTO_LENGTH, {
      [FROM_APP_HANDLE]: -1, [TX_IP]: 64 << 8, [TX_GSO_TYPE]: 0, [TX_GSO_SIZE]: 0, 
      [TX_HEADER_LENGTH]: f.headerLength ?? header.length, [TX_PIECE_COUNT]: 0, ...this.#header(header), ...address(SENDTO_LOCAL, l), ...address(SENDTO_REMOTE, r),
    });
    return this;
  }

  open(handle: number, local: string, localPort: number, remote: string, remotePort: number): this {
    this.record(FROM_APP_OPEN, OPEN_LENGTH, {
      [FROM_APP_HANDLE]: handle, ...address(OPEN_LOCAL, words(local)), ...address(OPEN_REMOTE, words(remote)),
      [OPEN_PORTS]: (localPort << 16) | remotePort,
    });
    return this;
  }

  close(handle: number): this {
    this.record(FROM_APP_CLOSE, CLOSE_LENGTH, { [FROM_APP_HANDLE]: handle });
    return this;
  }

  /** Shows the stack what was put into the ring, and lets it work. */
  flush(): this {
    this.tx.publish();
    this.channel.ring();
    this.world.step();
    return this;
  }

  /** Takes what the stack has told. */
  take(): Told[] {
    const told: Told[] = [];
    const { words: all } = this.window;
    for (let w = this.rx.next(); w >= 0; w = this.rx.next()) {
      told.push({ type: all[w + RECORD_TYPE]!, words: [...all.subarray(w, w + (all[w + RECORD_LENGTH]! >> 2))] });
    }
    this.rx.release();
    return told;
  }

  /** The TCP segments among it. */
  segments(): Uint8Array[] {
    return this.take().filter((one) => one.type === TO_APP_SEGMENT)
      .map(({ words: w }) => new Uint8Array(Int32Array.from(w).buffer, SEG_DATA * 4, w[SEG_LENGTH]!));
  }

  /** Reasons and counts of the violations that it was told. */
  violations(): [number, number][] {
    return this.take().filter((one) => one.type === TO_APP_VIOLATION)
      .map(({ words: w }) => [w[VIOLATION_REASON]!, w[VIOLATION_COUNT]!]);
  }

  /** Writes into its own packet memory; returns the offset from the window's start. */
  put(bytes: Uint8Array, at = 0): number {
    this.window.bytes.set(bytes, this.window.memory + at);
    return this.window.memory + at;
  }
}

function address(at: number, { w0, w1, w2, w3 }: { w0: number; w1: number; w2: number; w3: number }): Record<number, number> {
  return { [at]: w0, [at + 1]: w1, [at + 2]: w2, [at + 3]: w3 };
}

