/**
 * Socket calls of an application that means ill: whatever the words and the call area, the answer is a number, and
 * nothing leaks.
 */

import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { CALL_WORDS } from '../../lib/channel/channel.ts';
import {
  ACCEPT_STATE, CALL_DATAGRAM_FETCH, CALL_DATAGRAM_SEND, CALL_ECHO_REPLIES, CALL_ECHO_SEND, CALL_LENGTHS, CALL_SOCKET,
  CALL_SOCKET_ACCEPT, CALL_SOCKET_BIND, CALL_SOCKET_CLOSE, CALL_SOCKET_CONNECT, CALL_SOCKET_GETOPT, CALL_SOCKET_LISTEN,
  CALL_SOCKET_NAMES, CALL_SOCKET_POLL, CALL_SOCKET_RECV, CALL_SOCKET_SEND, CALL_SOCKET_SETOPT, FETCH_ALL, FORM_JSON, FORM_STRING,
  OUT_STATE, STATE_VALID,
} from '../../lib/channel/socket-calls.ts';
import { EAGAIN, EBADF, EFAULT, EINVAL, EMFILE, EMSGSIZE, ENETDOWN, EOPNOTSUPP } from '../../lib/errno.ts';
import {
  AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, MSG_TRUNC, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, SO_RCVBUF,
  TCP_CONGESTION, TCP_INFO,
} from '../../lib/socket.ts';
import { B4, open, Pair } from '../sim/pair.ts';
import { CallChannel } from './call-channel.ts';

const MAPPED = 0xffff;
const B = 0x0a5a0002;
const A = 0x0a5a0001;
const AREA = 4096;

class Attacker {
  readonly pair = new Pair();
  readonly channel: CallChannel;
  readonly words = new Int32Array(CALL_WORDS);
  /** Numbers that it was given. */
  readonly known: number[] = [];

  constructor(maxSockets = 40) {
    const { b } = this.pair;
    this.channel = new CallChannel({ provider: b, udp: b.udp, echo: b.echo }, { area: AREA, maxSockets, soon: () => undefined });
  }

  call(...words: number[]): number {
    this.words.set(words);
    return this.channel.server.call(this.words, words.length);
  }

  open(type = SOCK_STREAM, protocol = 0, domain = AF_INET): number {
    return this.call(CALL_SOCKET, domain, type, protocol);
  }

  /** Closes, and sees that nothing is left. */
  finish(t: Pick<Test, 'same'>, graceful = false): void {
    const { pair, channel } = this;
    channel.server.close(graceful);
    const problems: string[] = [];
    if (channel.server.size !== 0) problems.push(`${channel.server.size} sockets in the server`);
    if (pair.b.udp.sockets !== 0) problems.push(`${pair.b.udp.sockets} UDP sockets`);
    pair.until(() => pair.b.tcp.connections === 0, 1200e6, 'the end of all connections');
    for (const one of pair.b.connections()) problems.push(`${one.state} ${JSON.stringify(one.local)}`);
    pair.close();
    // One block may be UDP's own, which it fills up with what waits for the link.
    const taken = pair.b.memory.blockCount - pair.b.memory.freeBlocks;
    if (taken > 1) problems.push(`${taken} blocks`);
    t.same(problems, [], 'nothing is left');
  }
}

function fail(found: unknown[]): void {
  if (found.length > 0) throw new Error(JSON.stringify(found));
}

const special = [AREA, AREA - 1, AREA + 1, 7, 80, 65_535, 65_536, MAPPED, A, B, 0x7f000001, 1 << 16, 1 << 17, 41];

/** A word that is likely to mean something somewhere. */
const word = (known: () => readonly number[]): fc.Arbitrary<number> => fc.oneof(
  { weight: 4, arbitrary: fc.nat(12).map((i) => known()[i] ?? i) },
  { weight: 3, arbitrary: fc.integer({ min: -2, max: 20 }) },
  { weight: 2, arbitrary: fc.constantFrom(...special) },
  { weight: 1, arbitrary: fc.integer({ min: -0x80000000, max: 0x7fffffff }) },
);

/** Calls that hang together: those that the words of chance would hardly find. */
const likely: ((a: Attacker, n: number) => number[])[] = [
  () => [CALL_SOCKET, AF_INET, SOCK_STREAM, 0],
  () => [CALL_SOCKET, AF_INET6, SOCK_STREAM, 0],
  () => [CALL_SOCKET, AF_INET, SOCK_DGRAM, 0],
  () => [CALL_SOCKET, AF_INET, SOCK_DGRAM, IPPROTO_ICMP],
  () => [CALL_SOCKET, AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6],
  (_, n) => [CALL_SOCKET_BIND, n, 0, 0, 0, MAPPED, 0, 7],
  (_, n) => [CALL_SOCKET_LISTEN, n, 0, 4],
  (_, n) => [CALL_SOCKET_ACCEPT, n, -1],
  (_, n) => [CALL_SOCKET_CONNECT, n, 0, 0, 0, MAPPED, B, 7],
  (_, n) => [CALL_SOCKET_CONNECT, n, 0, 0, 0, MAPPED, A, 9],
  (_, n) => [CALL_SOCKET_SEND, n, 0, 3000, 0, 1000],
  (_, n) => [CALL_SOCKET_RECV, n, 0, 3000, 0],
  (_, n) => [CALL_SOCKET_GETOPT, n, 0, IPPROTO_TCP, TCP_INFO],
  (_, n) => [CALL_SOCKET_SETOPT, n, 0, IPPROTO_TCP, TCP_CONGESTION, FORM_STRING, 7],
  (_, n) => [CALL_DATAGRAM_SEND, n, 0, 3000, 100, 0, 0, 0, MAPPED, B, 7, 1],
  (_, n) => [CALL_DATAGRAM_SEND, n, 0, 1000, 0, 0, 0, 0, MAPPED, A, 9, 1],
  (_, n) => [CALL_DATAGRAM_FETCH, n, 0, FETCH_ALL, 0],
  (_, n) => [CALL_ECHO_SEND, n, 0, 5, 56, 0, 0, 0, MAPPED, A],
  (_, n) => [CALL_ECHO_REPLIES, n, 0],
  (_, n) => [CALL_SOCKET_CLOSE, n, 0, 1],
];

t.test('words of every kind', { timeout: 120_000 }, (t) => {
  let accepted = 0;
  const draws = [fc.infiniteStream(fc.nat(99)), fc.infiniteStream(fc.nat(63)), fc.boolean(), fc.integer()] as const;
  fc.assert(fc.property(...draws, (kinds, picks, graceful, seed) => {
    const attacker = new Attacker();
    const { channel, known, pair } = attacker;
    // Something to play with: a listener whom others connect to, a UDP socket that has its own address, echo requests.
    known.push(attacker.open(), attacker.open(SOCK_DGRAM), attacker.open(SOCK_DGRAM, IPPROTO_ICMP), attacker.open());
    attacker.call(CALL_SOCKET_BIND, known[0]!, 0, 0, 0, MAPPED, 0, 7);
    attacker.call(CALL_SOCKET_LISTEN, known[0]!, 0, 16);
    attacker.call(CALL_SOCKET_BIND, known[1]!, 0, 0, 0, MAPPED, 0, 7);
    for (let i = 0; i < 4; i++) open(pair.a).connect(B4, 7);
    pair.for(10_000);
    const anyWord = word(() => known);
    const sampled = fc.sample(fc.array(anyWord, { minLength: 1, maxLength: 20 }), { numRuns: 120, seed });
    const next = (): number => picks.next().value;
    for (const chance of sampled) {
      const kind = kinds.next().value;
      let words: number[];
      if (kind < 60) words = likely[kind % likely.length]!(attacker, known[next() % Math.max(known.length, 1)] ?? 0);
      else if (kind < 95) words = [CALL_SOCKET + next() % (CALL_LENGTHS.length + 2), ...chance];
      else words = chance;
      if (kind % 10 === 9) channel.window.bytes.fill(kind, channel.window.call, channel.window.call + AREA);
      const result = attacker.call(...words);
      if (!Number.isInteger(result)) throw new Error(`${words.join(' ')} gives ${result}`);
      if (words[0] === CALL_SOCKET_ACCEPT && result >= 0) accepted++;
      if (result >= 0 && (words[0] === CALL_SOCKET || words[0] === CALL_SOCKET_ACCEPT)) known.push(result);
      if (channel.server.size > 40) throw new Error('more sockets than may be');
      if (kind % 4 === 0) pair.for(3000);
      // As many as an honest neighbour has, at most, of events that are not seen.
      if (channel.most > 6 * 40 + 120) throw new Error(`${channel.most} events`);
      channel.events.length = 0;
    }
    attacker.finish({ same: fail } as unknown as Test, graceful);
  }), { numRuns: 60 });
  t.ok(accepted > 2, `the game went far enough: ${accepted} connections were accepted`);
  t.end();
});

t.test('counts of words', (t) => {
  const attacker = new Attacker();
  const number = attacker.open();
  const { server } = attacker.channel;
  const { words } = attacker;
  for (let op = CALL_SOCKET; op < CALL_SOCKET + CALL_LENGTHS.length; op++) {
    for (const count of [0, 1, -1, NaN, CALL_LENGTHS[op - CALL_SOCKET]! - 1, CALL_WORDS + 1, 1e9]) {
      words.fill(0);
      words[0] = op;
      words[1] = number;
      t.equal(server.call(words, count), -EINVAL);
    }
  }
  for (const op of [0, 1, -1, CALL_SOCKET - 1, CALL_SOCKET + CALL_LENGTHS.length, 0x7fffffff, -0x80000000]) {
    t.equal(attacker.call(op, number, 0, 0, 0, 0), -EINVAL);
  }
  t.ok(server.counters.malformed > 100);
  attacker.finish(t);
  t.end();
});

t.test('numbers that are not the application\'s', (t) => {
  const attacker = new Attacker();
  const first = attacker.open();
  t.equal(attacker.call(CALL_SOCKET_CLOSE, first, 0, 0), 0);
  t.equal(attacker.words[OUT_STATE]! & STATE_VALID, 0);
  const second = attacker.open();
  t.not(second, first, 'a place that is used again has another number');
  for (const number of [first, -1, second + 1, second | 1 << 30, 0x7fffffff, -0x80000000, second & 0xffff]) {
    for (let op = CALL_SOCKET + 1; op < CALL_SOCKET + CALL_LENGTHS.length; op++) {
      t.equal(attacker.call(op, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), -EBADF);
    }
  }
  t.equal(attacker.call(CALL_SOCKET_POLL, second, 0), 20);
  attacker.finish(t);
  t.equal(attacker.call(CALL_SOCKET_POLL, second, 0), -ENETDOWN);
  t.equal(attacker.open(), -ENETDOWN);
  t.end();
});

t.test('places of the call area', (t) => {
  const attacker = new Attacker();
  const tcp = attacker.open();
  const udp = attacker.open(SOCK_DGRAM);
  const echo = attacker.open(SOCK_DGRAM, IPPROTO_ICMP);
  const outside = [[0, AREA + 1], [AREA, 1], [1, AREA], [-1, 1], [0, -1], [0x7fffffff, 0x7fffffff], [-1, -1], [AREA + 1, 0]];
  for (const [offset, length] of outside) {
    t.equal(attacker.call(CALL_SOCKET_SEND, tcp, 0, length!, 0, offset!), -EFAULT);
    t.equal(attacker.call(CALL_DATAGRAM_SEND, udp, 0, length!, 0, offset!, 0, 0, MAPPED, A, 9, 1), -EFAULT);
    t.equal(attacker.call(CALL_DATAGRAM_SEND, udp, 0, length!, 10, offset!, 0, 0, MAPPED, A, 9, 1), -EFAULT);
  }
  for (const length of [AREA + 1, -1, 0x7fffffff, -0x80000000]) {
    t.equal(attacker.call(CALL_SOCKET_RECV, tcp, 0, length, 0), -EFAULT);
    t.equal(attacker.call(CALL_SOCKET_RECV, tcp, 0, length, MSG_TRUNC), -EFAULT);
    t.equal(attacker.call(CALL_ECHO_SEND, echo, 0, 1, length, 1, 0, 0, MAPPED, A), -EFAULT);
  }
  t.equal(attacker.call(CALL_ECHO_SEND, echo, 0, 1, 0x7fffffff, 0, 0, 0, MAPPED, A), -EMSGSIZE);
  t.equal(attacker.call(CALL_ECHO_SEND, echo, 0, 1, -1, 0, 0, 0, MAPPED, A), -EINVAL);
  t.equal(attacker.call(CALL_ECHO_SEND, echo, 0, 65_536, 1, 0, 0, 0, MAPPED, A), -EINVAL);
  t.equal(attacker.call(CALL_SOCKET_SETOPT, tcp, 0, IPPROTO_TCP, TCP_CONGESTION, FORM_STRING, 256), -EINVAL);
  t.equal(attacker.call(CALL_SOCKET_SETOPT, tcp, 0, IPPROTO_TCP, TCP_CONGESTION, FORM_STRING, -1), -EINVAL);
  t.equal(attacker.call(CALL_SOCKET_SETOPT, tcp, 0, IPPROTO_TCP, TCP_CONGESTION, FORM_JSON, 4), -EINVAL);
  t.equal(attacker.call(CALL_DATAGRAM_FETCH, udp, 0, 0, -1), -EINVAL);
  t.equal(attacker.call(CALL_DATAGRAM_FETCH, udp, 0, FETCH_ALL, 0), -EAGAIN);
  t.equal(attacker.call(CALL_DATAGRAM_SEND, udp, 0, 10, -5, 0, 0, 0, MAPPED, A, 9, 1), -EINVAL);
  for (const port of [0, -1, 65_536 + 9]) {
    t.equal(attacker.call(CALL_DATAGRAM_SEND, udp, 0, 10, 0, 0, 0, 0, MAPPED, A, port, 1), -EINVAL);
    if (port !== 0) t.equal(attacker.call(CALL_SOCKET_BIND, tcp, 0, 0, 0, MAPPED, 0, port), -EINVAL);
  }
  attacker.finish(t);
  t.end();
});

t.test('the wrong kind of socket', (t) => {
  const attacker = new Attacker();
  const numbers = { tcp: attacker.open(), udp: attacker.open(SOCK_DGRAM), echo: attacker.open(SOCK_DGRAM, IPPROTO_ICMP) };
  const tcpOnly = [CALL_SOCKET_LISTEN, CALL_SOCKET_ACCEPT, CALL_SOCKET_SEND, CALL_SOCKET_RECV];
  const udpOnly = [CALL_DATAGRAM_SEND, CALL_DATAGRAM_FETCH];
  const echoOnly = [CALL_ECHO_SEND, CALL_ECHO_REPLIES];
  const zeros = new Array<number>(10).fill(0);
  for (const op of [...udpOnly, ...echoOnly]) t.equal(attacker.call(op, numbers.tcp, ...zeros), -EOPNOTSUPP);
  for (const op of [...tcpOnly, ...echoOnly]) t.equal(attacker.call(op, numbers.udp, ...zeros), -EOPNOTSUPP);
  for (const op of [...tcpOnly, ...udpOnly, CALL_SOCKET_BIND, CALL_SOCKET_CONNECT, CALL_SOCKET_NAMES, CALL_SOCKET_GETOPT]) {
    t.equal(attacker.call(op, numbers.echo, ...zeros), -EOPNOTSUPP);
  }
  attacker.finish(t);
  t.end();
});

t.test('as many sockets as there may be, and not one more', (t) => {
  const attacker = new Attacker(10);
  const numbers = new Set<number>();
  for (let i = 0; i < 10; i++) numbers.add(attacker.open(i % 2 === 0 ? SOCK_STREAM : SOCK_DGRAM));
  t.equal(numbers.size, 10);
  for (let i = 0; i < 100; i++) t.equal(attacker.open(), -EMFILE);
  // Nor by accepting: the connection waits.
  const [listener, second] = [...numbers];
  attacker.call(CALL_SOCKET_BIND, listener!, 0, 0, 0, MAPPED, 0, 7);
  attacker.call(CALL_SOCKET_LISTEN, listener!, 0, 4);
  const peer = open(attacker.pair.a);
  peer.connect(B4, 7);
  attacker.pair.for(100_000);
  t.equal(attacker.call(CALL_SOCKET_ACCEPT, listener!, 0), -EMFILE);
  attacker.call(CALL_SOCKET_CLOSE, second!, 0, 0);
  const accepted = attacker.call(CALL_SOCKET_ACCEPT, listener!, 0);
  t.ok(accepted >= 0);
  t.notOk(numbers.has(accepted));
  t.not(attacker.words[ACCEPT_STATE], 0);
  peer.close();
  attacker.finish(t);
  t.end();
});

t.test('what nobody fetches is bounded', (t) => {
  const attacker = new Attacker();
  const { channel, pair } = attacker;
  const echo = attacker.open(SOCK_DGRAM, IPPROTO_ICMP);
  const udp = attacker.open(SOCK_DGRAM);
  t.equal(attacker.call(CALL_SOCKET_SETOPT, udp, 0, SOL_SOCKET, SO_RCVBUF, 0, 4096), 0);
  for (let i = 0; i < 500; i++) {
    t.ok(attacker.call(CALL_ECHO_SEND, echo, 0, i, 8, 0, 0, 0, MAPPED, A) > 0);
    // Nobody is there: an ICMP error each, as fast as they may come.
    attacker.call(CALL_DATAGRAM_SEND, udp, 0, 10, 0, 0, 0, 0, MAPPED, A, 9, 1);
    pair.for(20_000);
  }
  t.ok(channel.eventCount <= 4, `${channel.eventCount} events for all of them`);
  t.equal(attacker.call(CALL_ECHO_REPLIES, echo, 0), 100);
  t.equal(attacker.call(CALL_ECHO_REPLIES, echo, 0), 0);
  // One that says of everything that it has seen it gets no more events than it makes calls.
  const before = channel.eventCount;
  for (let i = 0; i < 50; i++) {
    attacker.call(CALL_ECHO_SEND, echo, -1, i, 8, 0, 0, 0, MAPPED, A);
    pair.for(20_000);
  }
  t.ok(channel.eventCount - before <= 50);
  attacker.finish(t);
  t.end();
});
