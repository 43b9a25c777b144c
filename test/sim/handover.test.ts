/**
 * Hand-over in whole networks (lib/tcp/handover.ts): an application's stack closes its connections and is gone,
 * another one with the same address ends them, over a wire that loses packets. And records that somebody has
 * tampered with: never an exception, never a TCB that cannot be.
 *
 *     old ──┐
 *           ├── wire ── peer      `old` has the address until the hand-over, then `next`
 *     next ─┘
 */

import fc from 'fast-check';
import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6, SHUT_WR } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import { handoverKind, HANDOVER_TCB, readTimeWait, writeTimeWait } from '../../lib/tcp/handover.ts';
import { STATE_NAMES } from '../../lib/tcp/states.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import type { Seq } from '../../lib/wire/seq.ts';
import { handOver, recordOf, taken } from './handover.ts';
import { Invariants } from './invariants.ts';
import { A4, A6, B4, B6, open, pump } from './pair.ts';
import type { Flow } from './pair.ts';

/** `old` and `next` are one host to `peer`: what peer sends goes to whoever holds the address. */
class Swap {
  readonly clock = new VirtualClock(1_000_000);
  readonly old: Stack;
  readonly next: Stack;
  readonly peer: Stack;
  holder: 0 | 1 = 0;
  /** Chance to lose a packet that `old`, `next`, `peer` sends. */
  readonly loss = [0, 0, 0];
  readonly #random: SeededRandom;
  readonly #invariants: Invariants[];

  constructor(seed: number, tcp: TcpOptions, peerTcp: TcpOptions, latencyUs: number) {
    const { clock } = this;
    this.#random = new SeededRandom(seed);
    const links: PacketLink[] = [];
    const pass = (from: number, packet: Uint8Array): void => {
      if (this.#random.unit() < this.loss[from]!) return;
      const at = clock.nowUs() + latencyUs;
      const alarm = clock.alarm(() => links[from === 2 ? this.holder : 2]!.receive(packet));
      alarm.set(at);
    };
    for (let i = 0; i < 3; i++) links.push(new PacketLink({ send: (packet) => pass(i, packet) }));
    const make = (i: number, addresses: string[], options: TcpOptions): Stack =>
      createStack({ link: links[i]!, addresses, clock, random: new SeededRandom(seed * 3 + i), memory: 8 << 20, tcp: options });
    this.old = make(0, [`${A4}/24`, `${A6}/64`], tcp);
    this.next = make(1, [`${A4}/24`, `${A6}/64`], tcp);
    this.peer = make(2, [`${B4}/24`, `${B6}/64`], peerTcp);
    this.#invariants = [new Invariants(this.old, 'old'), new Invariants(this.next, 'next'), new Invariants(this.peer, 'peer')];
  }

  check(): void {
    for (const one of this.#invariants) one.check();
  }

  /** Whether `done` came to hold within the time; the invariants are checked after each event. */
  until(done: () => boolean, limitUs: number): boolean {
    return this.clock.runUntil(() => {
      this.check();
      return done();
    }, limitUs);
  }

  handOver(): [number, number] {
    this.holder = 1;
    const count = handOver(this.old, this.next);
    this.check();
    return count;
  }

  close(): void {
    for (const stack of [this.old, this.next, this.peer]) void stack.close({ graceful: false });
  }
}

function connect(swap: Swap, version: 4 | 6, port = 7000): [BsdSocket, BsdSocket] {
  const domain = version === 4 ? AF_INET : AF_INET6;
  const listener = open(swap.peer, domain);
  listener.bind('', port);
  listener.listen(16);
  const client = open(swap.old, domain);
  client.connect(version === 4 ? B4 : B6, port);
  let server: BsdSocket | number = -1;
  const accepted = swap.until(() => typeof (server = typeof server === 'number' ? listener.accept() : server) !== 'number', 60e6);
  listener.close();
  if (!accepted) throw new Error('no connection');
  return [client, server as unknown as BsdSocket];
}

const back = (stack: Stack): boolean => stack.memory.freeBlocks === stack.memory.blockCount;

/** What hand-overs have found, by state. */
const found = new Map<string, number>();

function note(state: string, count = 1): void {
  found.set(state, (found.get(state) ?? 0) + count);
}

/** When the peer closes: before we do, at the same time, when it has read everything, or only after the hand-over. */
type PeerEnds = 'first' | 'together' | 'eager' | 'late';

function transfer(
  seed: number, version: 4 | 6, tcp: TcpOptions, peerTcp: TcpOptions, bytes: number, loss: number, afterUs: number, peerEnds: PeerEnds,
  slow: boolean,
): void {
  const swap = new Swap(seed, tcp, peerTcp, 5000);
  const [client, server] = connect(swap, version);
  if (peerEnds === 'first') {
    server.shutdown(SHUT_WR);
    if (!swap.until(() => client.recv(new Uint8Array(1), 0, 1) === 0, 10e6)) throw new Error('no FIN');
  }
  swap.loss.fill(loss);
  let flow: Flow;
  let closed = false;
  const finish = (socket: BsdSocket): void => {
    socket.close();
    if (peerEnds === 'together') server.shutdown(SHUT_WR);
    closed = true;
  };
  if (bytes === 0) {
    flow = pump(client, server, 0);
    finish(client);
  } else {
    flow = pump(client, server, bytes, finish);
  }
  const hear = server.onready!;
  const read = (): void => {
    hear(0);
    if (peerEnds === 'eager' && flow.ended) server.close();
  };
  server.onready = read;
  // A reader that comes late leaves the window shut.
  if (slow) server.onready = null;
  if (!swap.until(() => closed, 60e6)) throw new Error('the data is not taken');
  swap.until(() => false, afterUs);
  swap.old.tcp.forEach((tcb) => note(STATE_NAMES[tcb.state]!));
  const [, timeWaits] = swap.handOver();
  note('TIME-WAIT', timeWaits);
  if (swap.old.tcp.connections !== 0 || swap.old.tcp.timeWaits !== 0) throw new Error('something stayed behind');
  if (!back(swap.old)) throw new Error('memory stayed behind');
  if (slow) {
    swap.until(() => false, 3e6);
    server.onready = read;
    read();
  }
  if (!swap.until(() => flow.ended, 900e6)) throw new Error(`${flow.received} of ${bytes} bytes have come, and no end`);
  if (flow.received !== bytes) throw new Error(`${flow.received} of ${bytes} bytes`);
  server.close();
  if (!swap.until(() => swap.next.tcp.connections + swap.peer.tcp.connections === 0, 900e6)) throw new Error('it does not end');
  const { next, peer, old } = swap;
  const name = (): string => JSON.stringify({ next: next.tcp.counters, peer: peer.tcp.counters });
  if (loss === 0 && peerEnds !== 'together') {
    const [ours, theirs] = peerEnds === 'first' ? [0, 1] : [1, 0];
    if (next.tcp.timeWaits !== ours || peer.tcp.timeWaits !== theirs) throw new Error(`TIME-WAIT: ${name()}`);
  }
  const resets = next.tcp.counters.OutRsts + peer.tcp.counters.OutRsts + old.tcp.counters.OutRsts;
  if (loss === 0 && resets !== 0) throw new Error(`a reset: ${name()}`);
  if (peer.tcp.counters.PawsDrops + next.tcp.counters.PawsDrops !== 0) throw new Error(`PAWS: ${name()}`);
  for (const stack of [old, next, peer]) {
    if (stack.tcp.counters.CurrEstab !== 0) throw new Error(`CurrEstab ${stack.tcp.counters.CurrEstab}`);
    if (!back(stack)) throw new Error('a block is missing');
  }
  if (!swap.until(() => next.tcp.timeWaits + peer.tcp.timeWaits === 0, 200e6)) throw new Error('TIME-WAIT does not end');
  swap.close();
}

t.test('every byte arrives once, whenever the connection goes over', (t) => {
  const options = fc.record({ timestamps: fc.boolean(), sack: fc.boolean(), windowScaling: fc.boolean() });
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 1 << 30 }), fc.constantFrom<4 | 6>(4, 6), options, options, fc.constantFrom('cubic', 'newreno'),
    fc.oneof(fc.constantFrom(0, 1), fc.integer({ min: 0, max: 350_000 })), fc.constantFrom(0, 0, 0.02, 0.15),
    fc.oneof(fc.integer({ min: 0, max: 40_000 }), fc.integer({ min: 0, max: 2_000_000 })),
    fc.constantFrom<PeerEnds>('first', 'together', 'eager', 'late'),
    fc.constantFrom(false, false, true),
    (seed, version, ours, theirs, congestion, bytes, loss, afterUs, peerEnds, slow) => {
      transfer(seed, version, { ...ours, congestion, finWait2Ms: 600_000 }, theirs, bytes, loss, afterUs, peerEnds, slow);
    },
  ), { numRuns: 200, seed: 8261 });
  for (const state of ['FIN-WAIT-1', 'FIN-WAIT-2', 'CLOSING', 'LAST-ACK', 'TIME-WAIT']) {
    t.ok((found.get(state) ?? 0) > 5, `${state}: ${found.get(state)} times`);
  }
  t.end();
});

/** TCBs in each state, with their records. */
function specimens(): { swap: Swap; records: { tcb: Tcb; record: Uint8Array }[] } {
  const swap = new Swap(5, { finWait2Ms: 600_000 }, {}, 5000);
  const pairs = [0, 1, 2, 3, 4, 5, 6].map((i) => connect(swap, i & 1 ? 6 : 4, 7000 + i));
  const settle = (): boolean => swap.until(() => false, 1e6);
  pairs[2]![1].shutdown(SHUT_WR);
  settle();
  // FIN-WAIT-2; FIN-WAIT-1 with data, with a FIN only, with a window that is shut; LAST-ACK; CLOSING, with data and without.
  pairs[0]![0].close();
  pump(pairs[4]![0], pairs[4]![1], Infinity);
  pairs[4]![1].onready = null;
  settle();
  pairs[4]![0].close();
  settle();
  swap.loss[0] = 1;
  pump(pairs[1]![0], pairs[1]![1], 130_000, (socket) => socket.close());
  pump(pairs[2]![0], pairs[2]![1], 20_000, (socket) => socket.close());
  pairs[3]![0].close();
  pump(pairs[5]![0], pairs[5]![1], 25_000, (socket) => socket.close());
  pairs[5]![1].shutdown(SHUT_WR);
  pairs[6]![0].close();
  pairs[6]![1].shutdown(SHUT_WR);
  swap.until(() => false, 300_000);
  const records: { tcb: Tcb; record: Uint8Array }[] = [];
  swap.old.tcp.forEachClosing((tcb) => records.push({ tcb, record: recordOf(tcb) }));
  return { swap, records };
}

t.test('a record that somebody has tampered with', (t) => {
  const { swap, records } = specimens();
  t.same(new Set(records.map(({ tcb }) => STATE_NAMES[tcb.state])), new Set(['FIN-WAIT-1', 'FIN-WAIT-2', 'CLOSING', 'LAST-ACK']));
  t.equal(records.length, 7);
  swap.holder = 1;
  let accepted = 0;
  let refused = 0;
  const next = swap.next;
  const invariants = new Invariants(next, 'next');
  const value = fc.oneof(fc.constantFrom(0, 1, 7, 8, 9, 0x7f, 0x80, 0xff), fc.nat(255));
  // Most blows hit the fixed part; most hit one field, some all of its bytes.
  const place = fc.oneof({ weight: 9, arbitrary: fc.nat(183) }, { weight: 1, arbitrary: fc.nat(1 << 20) });
  const blow = fc.tuple(place, fc.array(value, { minLength: 1, maxLength: 4 }));
  const cut = fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 20, 184, -1, -8);
  const which = fc.nat(records.length - 1);
  const blows = fc.array(blow, { maxLength: 4 });
  fc.assert(fc.property(which, blows, cut, fc.boolean(), fc.boolean(), (which, blows, less, honest, silent) => {
    const { tcb, record } = records[which]!;
    let forged = record.slice();
    for (const [at, bytes] of blows) {
      for (let i = 0; i < bytes.length; i++) forged[(at + i) % forged.length] = bytes[i]!;
    }
    if (less > 0) forged = forged.slice(0, Math.max(forged.length - less, 0));
    if (less < 0) forged = Uint8Array.from([...forged, ...new Uint8Array(-less)]);
    // With a length that agrees, the rest is looked at.
    if (honest && forged.length >= 8) new DataView(forged.buffer).setInt32(4, forged.length);
    const before = next.memory.freeBlocks;
    next.enter();
    const made = taken(next, tcb.flow, tcb.localPort, tcb.remotePort, forged);
    if (made === null) {
      refused++;
      next.leave();
      if (next.memory.freeBlocks !== before) throw new Error('refused, but it keeps memory');
      return;
    }
    accepted++;
    if (!next.tcp.adopt(made)) throw new Error('not adopted');
    next.leave();
    invariants.check();
    // Nobody answers; or the peer does, after a while, to whatever it was.
    const run = (us: number): boolean => swap.clock.runUntil(() => {
      invariants.check();
      return next.tcp.connections === 0;
    }, us);
    swap.loss[1] = 1;
    run(2e6);
    if (!silent) swap.loss[1] = 0;
    run(3600e6);
    if (next.tcp.connections !== 0) throw new Error(`it never ends: ${STATE_NAMES[made.state]}`);
    next.tcp.forEachTimeWait((one) => next.tcp.releaseTimeWait(one.entry));
    if (!back(next)) throw new Error('a block is missing');
  }), { numRuns: 2000, seed: 1, endOnFailure: true });
  t.ok(accepted > 200, `${accepted} accepted`);
  t.ok(refused > 500, `${refused} refused`);
  swap.close();
  t.end();
});

t.test('each rule by itself', (t) => {
  const { swap, records } = specimens();
  // With data in flight, and data that has not been sent; and one whose FIN is acknowledged.
  const sending = records.find(({ tcb }) => STATE_NAMES[tcb.state] === 'FIN-WAIT-1' && tcb.flight > 0 && !tcb.finSent)!;
  const done = records.find(({ tcb }) => STATE_NAMES[tcb.state] === 'FIN-WAIT-2')!;
  const { sndUna, sndNxt, sndQueued, flight, rcvNxt, rcvAdv, sndWnd, maxSndWnd } = sending.tcb;
  t.ok(flight > 0 && flight < sndQueued);
  /** `[offset, value]`, of 32 bits, or of 8 with `[offset, value, 1]`. */
  type Edit = [number, number, 1?];
  const edited = ({ tcb, record }: { tcb: Tcb; record: Uint8Array }, edits: Edit[]): Tcb | null => {
    const copy = record.slice();
    const view = new DataView(copy.buffer);
    for (const [at, value, width] of edits) {
      if (width === 1) view.setUint8(at, value);
      else view.setInt32(at, value | 0);
    }
    swap.next.enter();
    const made = taken(swap.next, tcb.flow, tcb.localPort, tcb.remotePort, copy);
    made?.sndBuffer.clear();
    swap.next.leave();
    return made;
  };
  const [una, nxt, up, wnd, maxWnd, wl1, wl2, next, adv, ackSent] = [28, 32, 36, 40, 44, 48, 52, 56, 60, 64];
  const refused: [string, Edit[]][] = [
    ['LISTEN', [[8, 1, 1]]], ['SYN-SENT', [[8, 2, 1]]], ['ESTABLISHED', [[8, 4, 1]]],
    ['CLOSE-WAIT', [[8, 5, 1]]], ['TIME-WAIT', [[8, 10, 1]]],
    ['FIN-WAIT-2 with data', [[8, 9, 1]]],
    ['a flag that means nothing', [[9, 64, 1]]],
    ['FIN sent, and unsent data', [[9, 1, 1]]],
    ['window scale 15', [[10, 15, 1]]], ['our window scale 15', [[11, 15, 1]]],
    ['TTL 0', [[13, 0, 1]]],
    ['MSS 63', [[20, 63 << 16]]],
    ['SND.UNA after SND.NXT', [[una!, sndNxt + 1], [up!, sndNxt + 1]]],
    ['SND.NXT before SND.UNA', [[nxt!, sndUna - 1], [wl2!, sndUna - 1]]],
    ['SND.NXT behind the data', [[nxt!, sndUna + sndQueued + 1]]],
    ['urgent before SND.UNA', [[up!, sndUna - 1]]], ['urgent behind the data', [[up!, sndUna + sndQueued + 1]]],
    ['a window less than none', [[wnd!, -1]]], ['a window larger than the largest', [[wnd!, maxSndWnd + 1]]],
    ['a window that cannot be told', [[maxWnd!, 0x7fffffff]]],
    ['a window told from beyond our own', [[wl1!, rcvAdv + 1]]],
    ['a window told with an ACK of what was not sent', [[wl2!, sndNxt + 1]]],
    ['RCV.NXT beyond the window', [[next!, rcvAdv + 1]]], ['more window than can be told', [[adv!, rcvNxt + (0xffff << 14) + 1]]],
    ['acknowledged what has not come', [[ackSent!, rcvNxt + 1]]],
    ['a user timeout in the past', [[80, -1]]],
    ['a count that is none', [[136, 0x7ff80000]]], ['a count below zero', [[144, -1]]],
    ['a congestion control that there is not', [[168, 0x41414141]]],
  ];
  for (const [what, edits] of refused) t.ok(edited(sending, edits) === null, what);
  t.ok(edited(done, [[nxt!, done.tcb.sndNxt + 1]]) === null, 'FIN-WAIT-2 with something in flight');
  t.ok(edited(done, [[9, 0, 1]]) === null, 'FIN-WAIT-2 without a FIN');
  // What is unwise only: brought within bounds.
  const bounds: [string, Edit[], (tcb: Tcb) => boolean][] = [
    ['nothing changed', [], (tcb) => tcb.sndWnd === sndWnd && tcb.flight === flight],
    ['urgent at its last', [[up!, sndUna + sndQueued]], (tcb) => tcb.sndUp === ((sndUna + sndQueued) | 0)],
    ['round trip', [[84, 0x7fffffff], [88, -1]], (tcb) => tcb.srttUs === 120_000_000 && tcb.rttvarUs === 0 && tcb.rtoMs === 120_000],
    ['no round trip, endless timeout', [[84, 0], [100, 0x7fffffff]], (tcb) => tcb.rtoMs === 120_000],
    ['no round trip, no timeout', [[84, 0], [100, 0]], (tcb) => tcb.rtoMs === 200],
    ['no congestion window', [[104, 0]], (tcb) => tcb.cwnd === tcb.sndMss],
    ['no end to it', [[104, 0x7fffffff]], (tcb) => tcb.cwnd === 1 << 30],
    ['no threshold', [[108, -1]], (tcb) => tcb.ssthresh === 2 * tcb.sndMss],
    ['a timer that fires never', [[112, 0x7fffffff]], (tcb) => ((tcb.rexmtAt - swap.next.tcp.nowMs) | 0) <= 120_000],
    ['timers that do not run', [[112, 0], [116, 5], [120, 5]], (tcb) => tcb.rexmtAt !== 0 && tcb.persistAt === 0 && ((tcb.giveUpAt - swap.next.tcp.nowMs) | 0) === 600_000],
    ['doublings', [[14, 255, 1], [16, 255, 1]], (tcb) => tcb.backoff === 30 && tcb.persistShift === 30],
  ];
  for (const [what, edits, holds] of bounds) {
    const made = edited(sending, edits);
    t.ok(made !== null && holds(made), what);
  }
  t.ok(((edited(done, [[120, 0x7fffffff]])?.giveUpAt ?? 0) - swap.next.tcp.nowMs) <= 600_000, 'FIN-WAIT-2 for ever');
  t.ok(back(swap.next));
  swap.close();
  t.end();
});

t.test('what is no record at all', (t) => {
  const { swap, records } = specimens();
  const { tcb, record } = records[0]!;
  const refuse = (bytes: Uint8Array): boolean => taken(swap.next, tcb.flow, 1, 2, bytes) === null;
  for (let length = 0; length < record.length; length += length < 200 ? 1 : 997) t.ok(refuse(record.slice(0, length)), `cut to ${length}`);
  t.ok(refuse(new Uint8Array(4096)));
  t.equal(handoverKind(new DataView(record.slice().buffer), 0, record.length), HANDOVER_TCB);
  t.equal(handoverKind(new DataView(record.slice().buffer), 1, record.length), 0);
  t.equal(handoverKind(new DataView(new ArrayBuffer(8)), 0, 8), 0);
  t.ok(back(swap.next));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), fc.boolean(), (bytes, honest) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (honest && bytes.length >= 8) {
      view.setInt32(0, 0x54575401);
      view.setInt32(4, bytes.length);
    }
    swap.next.enter();
    const state = readTimeWait(swap.next.tcp, view, 0, bytes.length);
    swap.next.leave();
    if (state === null) return;
    if (!honest || bytes.length !== 36 || state.leftMs < 1 || state.leftMs > 60_000 || state.window > 0xffff) throw new Error('accepted');
  }));
  const view = new DataView(new ArrayBuffer(36));
  const state = {
    sndNxt: -5 as Seq, rcvNxt: 7 as Seq, window: 513, timestamps: true, tsRecent: 9, tsOffset: -77, tos: 4, ttl: 3, leftMs: 4321,
  };
  t.equal(writeTimeWait(state, swap.next.tcp.nowMs, view, 0, 35), 0);
  t.equal(writeTimeWait(state, swap.next.tcp.nowMs, view, 1, 36), 0);
  t.equal(writeTimeWait(state, swap.next.tcp.nowMs, view, 0, 36), 36);
  t.same(readTimeWait(swap.next.tcp, view, 0, 36), state);
  swap.close();
  t.end();
});
