/** Two stacks in virtual time and a connection between them, for cases that are written out one by one. */

import { VirtualClock } from '../../lib/clock.ts';
import type { TcpHost } from '../../lib/home/tcp-host.ts';
import type { Link } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import type { MemoryPairOptions } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6 } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import type { StackOptions } from '../../lib/stack.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { createHost } from './host.ts';
import type { Host, TcpuSide } from './host.ts';
import { Invariants } from './invariants.ts';

export const A4 = '10.90.0.1';
export const B4 = '10.90.0.2';
export const A6 = 'fd90::1';
export const B6 = 'fd90::2';

export interface PairOptions {
  pair?: MemoryPairOptions;
  /** Other links than those of a memory pair. */
  links?: (clock: VirtualClock) => [Link, Link];
  a?: Partial<StackOptions>;
  b?: Partial<StackOptions>;
  both?: Partial<StackOptions>;
  /** Both are applications with their own TCP, attached to the stacks. Default: as `pairsAre` says. */
  tcpu?: TcpuSide | boolean;
}

/** What pairs are that are not said to be something else: for suites that run with either. */
export const pairsAre = { tcpu: false };

/** The application of a host that is made with these options: TCPU has them, and the memory, instead of the stack. */
function tcpuSide(tcpu: TcpuSide | boolean, options: Partial<StackOptions>): TcpuSide | null {
  if (tcpu === false) return null;
  const memory = options.memory ?? 16 << 20;
  // What is told of the kernel-style TCP is told of its time for ACKs, too.
  return { tcp: { delayedAckMs: 40, ...options.tcp }, window: { memory, rxRing: 8 << 20 }, ...(tcpu === true ? {} : tcpu) };
}

export class Pair {
  readonly clock = new VirtualClock(1_000_000);
  readonly a: Host;
  readonly b: Host;
  readonly #invariants: Invariants[];

  constructor(options: PairOptions = {}) {
    const { clock } = this;
    const [left, right] = options.links?.(clock) ?? createMemoryPair({ clock, latencyUs: 1000, ...options.pair });
    const common = { clock, memory: 16 << 20, ...options.both };
    const tcpu = options.tcpu ?? pairsAre.tcpu;
    const a = { link: left, addresses: [`${A4}/24`, `${A6}/64`], random: new SeededRandom(1), ...common, ...options.a };
    const b = { link: right, addresses: [`${B4}/24`, `${B6}/64`], random: new SeededRandom(2), ...common, ...options.b };
    this.a = createHost('a', a, tcpuSide(tcpu, a));
    this.b = createHost('b', b, tcpuSide(tcpu, b));
    this.#invariants = [new Invariants(this.a, 'a'), new Invariants(this.b, 'b')];
  }

  /** Runs until `done` holds, with the invariants checked after each event. Throws when it does not within `limitUs`. */
  until(done: () => boolean, limitUs = 60e6, what = 'it'): void {
    const reached = this.clock.runUntil(() => {
      for (const one of this.#invariants) one.check();
      return done();
    }, limitUs);
    if (!reached) throw new Error(`${what} has not happened in ${limitUs / 1e6} s of virtual time`);
  }

  /** Runs for so long, with the invariants checked after each event. */
  for(us: number): void {
    const stop = this.clock.nowUs() + us;
    this.clock.runUntil(() => {
      for (const one of this.#invariants) one.check();
      return false;
    }, us);
    this.clock.advanceTo(stop);
  }

  /** Both ends of a new connection from `a` to `b`. */
  connect(port = 7000, version: 4 | 6 = 4, prepare: (socket: BsdSocket) => void = () => undefined): [BsdSocket, BsdSocket] {
    const domain = version === 4 ? AF_INET : AF_INET6;
    const listener = open(this.b, domain);
    prepare(listener);
    listener.bind('', port);
    listener.listen(16);
    const client = open(this.a, domain);
    prepare(client);
    client.connect(version === 4 ? B4 : B6, port);
    let server: BsdSocket | number = -1;
    this.until(() => {
      if (typeof server === 'number') server = listener.accept();
      return typeof server !== 'number';
    }, 60e6, 'accept');
    listener.close();
    return [client, server as unknown as BsdSocket];
  }

  close(): void {
    for (const host of [this.a, this.b]) if (host.violations() !== '') throw new Error(host.violations());
    this.a.close();
    this.b.close();
  }
}

export function open(stack: { socket(domain: number): BsdSocket | number }, domain = AF_INET): BsdSocket {
  const socket = stack.socket(domain);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

/** The only TCB of a stack, or the one with this local or remote port. */
export function tcbOf(stack: { readonly tcp: TcpHost }, port = 0): Tcb {
  const found: Tcb[] = [];
  stack.tcp.forEach((tcb) => {
    if (port === 0 || tcb.localPort === port || tcb.remotePort === port) found.push(tcb);
  });
  if (found.length !== 1) throw new Error(`${found.length} connections instead of one`);
  return found[0]!;
}

const noise = new Uint8Array(1 << 16).map((_, i) => (i * 2654435761) >>> 24);

/** Bytes that a pump has moved. */
export interface Flow {
  sent: number;
  received: number;
  ended: boolean;
}

/** Keeps `from` writing (up to `bytes`) and `to` reading whenever they are told. The bytes are compared. */
export function pump(from: BsdSocket, to: BsdSocket, bytes = Infinity, finish: (socket: BsdSocket) => void = () => undefined): Flow {
  const flow: Flow = { sent: 0, received: 0, ended: false };
  const scratch = new Uint8Array(1 << 16);
  // A call of the socket's may end a turn, and so call `onready`: who called goes on himself.
  let writing = false;
  let reading = false;
  const write = (): void => {
    if (writing) return;
    writing = true;
    while (flow.sent < bytes) {
      const at = flow.sent & 0x7fff;
      const taken = from.send(noise, at, Math.min(bytes - flow.sent, 0x8000 - at));
      if (taken <= 0) break;
      flow.sent += taken;
      if (flow.sent === bytes) finish(from);
    }
    writing = false;
  };
  const read = (): void => {
    if (reading) return;
    reading = true;
    readAll();
    reading = false;
  };
  const readAll = (): void => {
    for (;;) {
      const taken = to.recv(scratch, 0, scratch.length);
      if (taken === 0) flow.ended = true;
      if (taken <= 0) return;
      for (let i = 0; i < taken; i += taken < 64 ? 1 : 61) {
        if (scratch[i] !== noise[(flow.received + i) & 0x7fff]) throw new Error(`byte ${flow.received + i} is wrong`);
      }
      flow.received += taken;
    }
  };
  from.onready = write;
  to.onready = read;
  write();
  read();
  return flow;
}

/** `bytes` in both directions at once. */
export function exchange(one: BsdSocket, other: BsdSocket, bytes: number): Flow[] {
  const there = pump(one, other, bytes);
  const [writeOne, readOther] = [one.onready!, other.onready!];
  const back = pump(other, one, bytes);
  const [writeOther, readOne] = [other.onready!, one.onready!];
  one.onready = (events) => {
    readOne(events);
    writeOne(events);
  };
  other.onready = (events) => {
    readOther(events);
    writeOther(events);
  };
  return [there, back];
}
