/**
 * Every parser alone, with what must hold of whatever it makes of any bytes or text. Bytes lie at the very end of their
 * slab, so that whoever reads beyond them is thrown out by the DataView. Texts may be refused with the one kind of error
 * that the parser has for it, and with no other.
 */

import { isIP } from 'node:net';
import { InvalidArgumentError } from 'commander';
import { parseHello } from '../../lib/channel/control.ts';
import { RECORD_HEADER, RingReader } from '../../lib/channel/ring.ts';
import { MIN_MEMORY, MIN_RING, TX_HEAD, TX_TAIL, DEFAULT_WINDOW, Window, windowFault, windowLength } from '../../lib/channel/window.ts';
import { CALL_LENGTHS, CALL_SOCKET, CALL_SOCKET_ACCEPT } from '../../lib/channel/socket-calls.ts';
import { parseWindow } from '../../lib/cli/control-options.ts';
import { integer, parseCidr, parseHostCidr, parseServeArgument, seconds } from '../../lib/cli/options.ts';
import { parseCidr as parseStackCidr } from '../../lib/ip/cidr.ts';
import { HeaderChain } from '../../lib/ip/header-chain.ts';
import { OPTIONS_OK, OPTIONS_REPORT_UNICAST, checkIpv4Options, checkIpv6Options, optionsPointer, optionsReason } from '../../lib/ip/ip-options.ts';
import { IpPacket } from '../../lib/ip/packet.ts';
import { PacketBatch } from '../../lib/link/link.ts';
import { ControlConnection } from '../../lib/services/iperf3/control.ts';
import { Iperf3Error, encodeJson, parseParameters, parseResults } from '../../lib/services/iperf3/protocol.ts';
import { AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { EAGAIN } from '../../lib/errno.ts';
import { Segment } from '../../lib/tcp/segment.ts';
import { formatAddress, parseAddress } from '../../lib/wire/address.ts';
import { checksum, sumBytes, sumContinued } from '../../lib/wire/checksum.ts';
import { extLength } from '../../lib/wire/ipv6.ts';
import { MAX_SACK_BLOCKS, MAX_WINDOW_SCALE } from '../../lib/wire/tcp.ts';
import { CallChannel } from '../channel/call-channel.ts';
import { Pair } from '../sim/pair.ts';
import { Hostile, World } from '../tcpk/world.ts';
import type { Mutator } from './mutate.ts';

/** What an input came to. Each parser must come to both. */
export const REFUSED = 0;
export const TAKEN = 1;
export type Outcome = typeof REFUSED | typeof TAKEN;

export interface Parser {
  name: string;
  /** How many inputs it gets, compared with others. */
  weight: number;
  /** Made when its turn comes. */
  start: () => ParserRun;
}

export interface ParserRun {
  /** Throws when something does not hold. */
  run: (m: Mutator) => Outcome;
  /** Shows the last input. */
  shown: () => string;
  end?: () => void;
}

export function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

// ----------------------------------------------------------------------------------------- bytes

const SLAB_BYTES = 4096;

type ReadBytes = (slab: Uint8Array, view: DataView, at: number, length: number) => Outcome;

/** Mutations of seeds, at the end of a slab. */
function bytes(name: string, weight: number, seeds: readonly (readonly number[])[], make: () => ReadBytes): Parser {
  return {
    name, weight,
    start: () => {
      const read = make();
      const slab = new Uint8Array(SLAB_BYTES);
      const view = new DataView(slab.buffer);
      const pool = seeds.map((seed) => Uint8Array.from(seed));
      let last: Uint8Array = new Uint8Array(0);
      return {
        run: (m) => {
          const seed = m.pick(pool);
          last = m.below(20) === 0 ? seed : m.mutate(seed, m.pick(pool)).subarray(0, 1024);
          const at = SLAB_BYTES - last.length;
          slab.set(last, at);
          return read(slab, view, at, last.length);
        },
        shown: () => Buffer.from(last).toString('hex'),
      };
    },
  };
}

const TCP_SEGMENTS = [
  [0, 80, 200, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 255, 255, 0, 0, 0, 0],
  [0, 80, 200, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, 0x18, 255, 255, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 65, 66, 67],
  [0, 80, 200, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0xa0, 0x02, 255, 255, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
  [0, 80, 200, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xf0, 0x10, 255, 255, 0, 0, 0, 0, 1, 1, 5, 34, 0, 0, 0, 9, 0, 0, 0, 12, 0, 0, 0, 20, 0, 0, 0, 30, 0, 0, 0, 40,
    0, 0, 0, 50, 0, 0, 0, 60, 0, 0, 0, 70, 0, 0],
  [0, 80, 200, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xb0, 0x02, 255, 255, 0, 0, 0, 0, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 254, 6, 0xf9, 0x89, 1, 2, 30, 4, 0, 0, 0, 0, 0, 0],
];

function segmentParser(): ReadBytes {
  const packet = new IpPacket(new PacketBatch(new Uint8Array(0), 0));
  const segment = new Segment(packet);
  return (slab, view, at, length) => {
    packet.slab = slab;
    packet.view = view;
    packet.offset = at;
    packet.length = length;
    packet.gsoType = length > 60 ? 1 : 0;
    packet.gsoSize = length > 60 ? 20 : 0;
    const taken = segment.parse(packet);
    const header = length >= 20 ? (slab[at + 12]! >> 4) * 4 : 0;
    check(taken === (header >= 20 && header <= length), 'taken where it should not be, or the other way round');
    if (!taken) return REFUSED;
    check(segment.offset === at + header && segment.length === length - header, 'payload');
    check(segment.sackCount >= 0 && segment.sackCount <= MAX_SACK_BLOCKS, 'SACK blocks');
    check(segment.windowScale >= -1 && segment.windowScale <= MAX_WINDOW_SCALE, 'window scale');
    check(segment.mss >= 0 && segment.mss <= 65_535 && segment.merged >= 1, 'MSS, merged');
    check(segment.segLen === segment.length + (segment.flags >> 1 & 1) + (segment.flags & 1), 'SEG.LEN');
    if ((segment.flags & 2) === 0) check(segment.mss === 0 && segment.windowScale === -1 && !segment.sackPermitted, 'options of a SYN without one');
    return TAKEN;
  };
}

const IPV4_HEADERS = [
  [0x46, 0, 0, 24, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 148, 4, 0, 0],
  [0x4f, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 1, 7, 7, 4, 0, 0, 0, 0, 68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0,
    131, 7, 4, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  [0x48, 0, 0, 32, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, 137, 7, 4, 10, 0, 0, 9, 0, 0, 0, 0, 0],
];

const OPTION_HEADERS = [
  [6, 0, 1, 4, 0, 0, 0, 0], [6, 0, 5, 2, 0, 0, 1, 0], [6, 1, 0xc2, 4, 0, 1, 0, 0, 0x3e, 0, 0, 0, 0, 0, 1, 0], [6, 0, 0x1e, 4, 1, 2, 3, 4],
  [6, 2, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0, 0x9e, 1, 1, 0x5e, 2, 1, 1, 0, 0, 0, 0],
];

const CHAINS = [
  [0, 60, 0, 1, 4, 0, 0, 0, 0, 43, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [44, 6, 0, 0, 0, 0, 0, 0, 1, 0, 80, 200, 1, 0, 0, 0, 1],
  [51, 6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [6, 1, 2, 3, 4, 5, 6, 7, 8],
  [60, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0],
];

/** What the sum of a text is, told plainly (RFC 1071). */
function plainChecksum(slab: Uint8Array, at: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += slab[at + i]! << (i % 2 === 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65_536);
  return ~sum & 0xffff;
}

const byteParsers: Parser[] = [
  bytes('TCP segment and options', 6, TCP_SEGMENTS, segmentParser),
  bytes('IPv4 options', 3, IPV4_HEADERS, () => (slab, view, at, length) => {
    const header = length > 0 ? (slab[at]! & 15) * 4 : 0;
    // As IP has looked already.
    if (header < 20 || header > length) return REFUSED;
    const result = checkIpv4Options(view, at, header);
    if (result === OPTIONS_OK) return TAKEN;
    check(optionsReason(result) >= 1 && optionsReason(result) <= OPTIONS_REPORT_UNICAST, `reason ${optionsReason(result)}`);
    check(optionsPointer(result) >= at + 20 && optionsPointer(result) < at + header, 'pointer outside of the options');
    return REFUSED;
  }),
  bytes('IPv6 options', 3, OPTION_HEADERS, () => (_slab, view, at, length) => {
    if (length < 8 || extLength(view, at) > length) return REFUSED;
    const result = checkIpv6Options(view, at);
    if (result === OPTIONS_OK) return TAKEN;
    check(optionsReason(result) >= 1 && optionsReason(result) <= OPTIONS_REPORT_UNICAST, `reason ${optionsReason(result)}`);
    check(optionsPointer(result) >= at + 2 && optionsPointer(result) < at + extLength(view, at), 'pointer outside of the options');
    return REFUSED;
  }),
  bytes('IPv6 header chain', 3, CHAINS, () => {
    const chain = new HeaderChain();
    return (slab, view, at, length) => {
      if (length === 0) return REFUSED;
      const end = at + length;
      if (!chain.walk(view, slab[at]!, at + 1, end)) return REFUSED;
      check(chain.offset > at && chain.offset <= end, `the upper layer at ${chain.offset - at} of ${length}`);
      return TAKEN;
    };
  }),
  bytes('checksum', 2, TCP_SEGMENTS, () => (slab, view, at, length) => {
    const wanted = plainChecksum(slab, at, length);
    check(checksum(view, at, length) === wanted, 'checksum');
    const half = (length >> 1) | 1;
    if (length < 3) return REFUSED;
    const continued = sumContinued(sumBytes(view, at, half), half, view, at + half, length - half);
    let folded = continued;
    while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 65_536);
    check((~folded & 0xffff) === wanted, 'checksum of two parts');
    return TAKEN;
  }),
];

// --------------------------------------------------------------------------------------- channel

const WINDOW_SIZES = { rxRing: MIN_RING, txRing: MIN_RING, call: 4096, memory: MIN_MEMORY };

/** Words that are likely to mean something in a record. */
function recordWord(m: Mutator): number {
  return m.below(3) === 0 ? m.pick([0, 1, 8, 16, 64, 4096, -8, -1, 0x7ffffff8, -0x80000000, m.below(100) * 8]) : m.below(0x10000) | (m.below(0x10000) << 16);
}

function ring(): ParserRun {
  const window = new Window(new ArrayBuffer(windowLength(WINDOW_SIZES)), 0, WINDOW_SIZES);
  const { words } = window;
  const base = window.txRing;
  let shown = '';
  return {
    run: (m) => {
      const size = 512;
      const start = m.pick([0, 0x7ffffff8, -8, m.below(1000) * 8]);
      words[TX_HEAD] = start;
      words[TX_TAIL] = start;
      const reader = new RingReader(window, base, size, TX_HEAD, TX_TAIL);
      for (let i = 0; i < size / 4; i++) words[(base >> 2) + i] = m.below(4) === 0 ? recordWord(m) : m.pick([8, 16, 24, 0, 1]);
      words[TX_TAIL] = m.below(8) === 0 ? recordWord(m) : start + 8 * m.below(66);
      shown = `start ${start} tail ${words[TX_TAIL]}: ${words.subarray(base >> 2, (base + size) >> 2).join(' ')}`;
      let records = 0;
      for (let w = reader.next(); w >= 0; w = reader.next()) {
        check(w * 4 >= base && reader.length >= 8 && w * 4 + reader.length <= base + size, `a record at ${w * 4 - base} of ${reader.length} bytes`);
        check(++records <= size / 8, 'more records than there is room for');
      }
      reader.release();
      check(((words[TX_HEAD]! - start) | 0) >= 0 && ((words[TX_HEAD]! - start) | 0) <= size, 'released beyond the ring');
      return reader.broken ? REFUSED : TAKEN;
    },
    shown: () => shown,
  };
}

/** Records of an application that attached: types and lengths that are, and any words. */
function records(): ParserRun {
  const world = new World();
  let hostile: Hostile | null = null;
  let shown = '';
  return {
    run: (m) => {
      if (hostile === null || hostile.reason !== null) {
        hostile?.channel.close();
        hostile = world.attach();
        const binding = hostile.bind('', 7000);
        check(binding >= 0, `bind: ${binding}`);
        hostile.listen(binding);
        hostile.connect(1, '10.0.0.2', 80);
      }
      const before = world.tcpk.counters.Violations;
      const type = m.below(8) === 0 ? m.below(100) : 1 + m.below(6);
      const length = 8 * (1 + m.below(40));
      const words: Record<number, number> = {};
      for (let i = RECORD_HEADER >> 2; i < length >> 2; i++) words[i] = m.below(2) === 0 ? m.below(3) : recordWord(m);
      hostile.record(type, length, words);
      shown = `type ${type}, ${length} bytes: ${Object.values(words).join(' ')}`;
      hostile.flush();
      hostile.take();
      world.packets();
      if (m.below(16) === 0) world.clock.advance(1000);
      return world.tcpk.counters.Violations > before ? REFUSED : TAKEN;
    },
    shown: () => shown,
    end: () => {
      hostile?.channel.close();
      world.clock.advance(600e6);
      const { memory } = world.stack;
      check(memory.freeBlocks === memory.blockCount, `${memory.blockCount - memory.freeBlocks} blocks are lost`);
      world.close();
    },
  };
}

/** Socket calls with any words. */
function calls(): ParserRun {
  const pair = new Pair();
  const { b } = pair;
  const channel = new CallChannel({ provider: b, udp: b.udp, echo: b.echo }, { area: 4096, maxSockets: 24, soon: () => undefined });
  const words = new Int32Array(16);
  const known: number[] = [];
  let count = 0;
  return {
    run: (m) => {
      for (let i = 0; i < words.length; i++) words[i] = m.below(3) > 0 ? m.below(20) : m.pick([0xffff, 4096, 4097, 0x0a5a0001, 0x0a5a0002, -1, recordWord(m)]);
      words[0] = m.below(20) === 0 ? recordWord(m) : CALL_SOCKET + m.below(22);
      if (words[0] === CALL_SOCKET) words.set([m.pick([AF_INET, AF_INET6]), m.pick([SOCK_STREAM, SOCK_DGRAM]), m.pick([0, 0, 0, 6, 17, 1, 58])], 1);
      else if (known.length > 0 && m.below(8) > 0) words[1] = m.pick(known);
      count = m.below(4) === 0 ? 1 + m.below(14) : CALL_LENGTHS[words[0]! - CALL_SOCKET] ?? 14;
      const result = channel.server.call(words, count);
      check(Number.isInteger(result), `the answer is ${result}`);
      check(channel.server.size <= 24, 'more sockets than there may be');
      if (result >= 0 && (words[0] === CALL_SOCKET || words[0] === CALL_SOCKET_ACCEPT)) known.push(result);
      if (known.length > 40) known.splice(0, 20);
      channel.events.length = 0;
      if (m.below(16) === 0) pair.for(3000);
      return result < 0 ? REFUSED : TAKEN;
    },
    shown: () => words.subarray(0, count).join(' '),
    end: () => {
      channel.server.close(false);
      check(channel.server.size === 0 && b.udp.sockets === 0, 'sockets are left');
      pair.until(() => b.tcp.connections === 0, 1200e6, 'the end of all connections');
      pair.close();
    },
  };
}

// ----------------------------------------------------------------------------------------- texts

type ReadText = (text: string) => Outcome;

/** Mutations of texts: characters, pieces of others, words of the dictionary. */
function text(name: string, weight: number, seeds: readonly string[], words: readonly string[], make: () => ReadText): Parser {
  return {
    name, weight,
    start: () => {
      const read = make();
      let last = '';
      const characters = [...'0123456789abcdef.:/%,=@-+ \t\0"{}[]KMGé\u{1f600}'];
      const once = (m: Mutator, from: string): string => {
        const at = m.below(from.length + 1);
        const other = m.pick(seeds);
        switch (m.below(7)) {
          case 0: return from.slice(0, at) + m.pick(characters) + from.slice(at);
          case 1: return from.slice(0, at) + from.slice(at + 1 + m.below(3));
          case 2: return from.slice(0, at) + m.pick(words) + from.slice(at + m.below(3));
          case 3: return from.slice(0, at) + other.slice(m.below(other.length + 1));
          case 4: return from.slice(0, at) + m.pick(characters) + from.slice(at + 1);
          case 5: return from.slice(0, at) + from.slice(m.below(from.length + 1));
          default: return m.below(2) === 0 ? from.toUpperCase() : from.slice(0, at);
        }
      };
      return {
        run: (m) => {
          last = m.pick(seeds);
          for (let n = m.below(5); n > 0; n--) last = once(m, last);
          last = last.slice(0, 300);
          return read(last);
        },
        shown: () => JSON.stringify(last),
      };
    },
  };
}

/** Calls a parser that may refuse with `refusal`; what else it throws goes on. */
function refusing<T>(refusal: new (...args: never[]) => Error, parse: () => T): { value: T } | null {
  try {
    return { value: parse() };
  } catch (error) {
    if (error instanceof refusal && error.message.length > 8) return null;
    throw error;
  }
}

const ADDRESSES = [
  '10.90.0.2', '255.255.255.255', '0.0.0.0', 'fd90::2', '::', '::1', 'fe80::1:2:3', '1:2:3:4:5:6:7:8', '::ffff:10.0.0.1', '64:ff9b::192.0.2.33',
  '2001:db8::0:0:1', '1:2:3:4:5:6:1.2.3.4',
];
const ADDRESS_WORDS = ['::', ':', '.', '0', '00', '256', '255', 'ffff', '10000', '1.2.3.4', ':0:0', '%eth0'];

const IPERF3_PARAMETERS = [
  '{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":1,"len":131072,"pacing_timer":1000,"client_version":"3.12"}',
  '{"udp":true,"omit":0,"time":10,"parallel":2,"reverse":true,"len":1460,"bandwidth":1048576,"udp_counters_64bit":1,"TOS":16}',
  '{"tcp":true,"bidirectional":true,"time":3,"MSS":1400,"window":65536,"nodelay":true,"congestion":"cubic","get_server_output":1,"fqrate":1000}',
  '{"cpu_util_total":1.5,"cpu_util_user":1,"cpu_util_system":0.5,"sender_has_retransmits":1,"streams":[{"id":1,"bytes":1000,"retransmits":0,"jitter":0,"errors":0,"packets":0}]}',
];
const JSON_WORDS = ['true', 'false', 'null', '-1', '1e99', '1e400', '0.5', '[]', '{}', '""', '"x"', '999999999999', '"time":', '"__proto__":', '"len":0,', ','];

/** A socket that gives what the peer sent, in pieces. */
class FedSocket {
  input: Uint8Array = new Uint8Array(0);
  at = 0;
  piece = 1;
  ended = false;
  onready: (() => void) | null = null;

  recv(buffer: Uint8Array, offset: number, length: number): number {
    const n = Math.min(length, this.piece, this.input.length - this.at);
    if (n === 0) return this.ended ? 0 : -EAGAIN;
    buffer.set(this.input.subarray(this.at, this.at + n), offset);
    this.at += n;
    return n;
  }

  send(_buffer: Uint8Array, _offset: number, length: number): number {
    return Math.min(length, this.piece);
  }

  close(): void {
    this.ended = true;
  }

  abort(): void {
    this.ended = true;
  }
}

/** The control connection of iperf3: cookie, then JSON and states by turns, cut anywhere. */
function iperf3Control(): ParserRun {
  let shown = '';
  const cookie = Buffer.from(`${'c'.repeat(36)}\0`);
  return {
    run: (m) => {
      const parts: Uint8Array[] = [cookie];
      for (let n = m.below(5); n > 0; n--) {
        parts.push(m.below(3) === 0 ? Uint8Array.of(m.below(20)) : encodeJson(JSON.parse(m.pick(IPERF3_PARAMETERS))));
      }
      let stream: Uint8Array = Buffer.concat(parts);
      if (m.below(4) > 0) stream = m.mutate(Uint8Array.from(stream), cookie);
      const socket = new FedSocket();
      socket.input = stream;
      socket.piece = 1 + m.below(200);
      shown = Buffer.from(stream).toString('hex');
      let values = 0;
      let over = false;
      const next = (control: ControlConnection): void => {
        if (m.below(2) === 0) control.expectJson();
        else control.expectState();
      };
      const control = new ControlConnection(socket as unknown as BsdSocket, 0, {
        cookie: (one, word) => {
          check(word.length === 36, `a cookie of ${word.length} characters`);
          next(one);
        },
        state: (one, state) => {
          check(Number.isInteger(state) && state >= -128 && state < 128, `state ${state}`);
          values++;
          next(one);
        },
        json: (one, value) => {
          values++;
          refusing(Iperf3Error, () => parseParameters(value));
          refusing(Iperf3Error, () => parseResults(value));
          next(one);
        },
        ended: (one) => {
          check(!over, 'ended twice');
          over = true;
          one.abort();
        },
      });
      for (let i = 0; i < stream.length + 2 && !over && socket.at < stream.length; i++) control.ready();
      socket.ended = true;
      if (!over) control.ready();
      return values > 0 ? TAKEN : REFUSED;
    },
    shown: () => shown,
  };
}

const textParsers: Parser[] = [
  text('addresses', 4, ADDRESSES, ADDRESS_WORDS, () => (given) => {
    const words = parseAddress(given);
    // Node knows zones, which a stack with one link has no use for.
    check((words !== null) === (isIP(given) !== 0 && !given.includes('%')), `we say ${words !== null}, node:net says ${isIP(given)}`);
    if (words === null) return REFUSED;
    const { w0, w1, w2, w3 } = words;
    const written = formatAddress(w0, w1, w2, w3);
    const again = parseAddress(written);
    check(again !== null && again.w0 === w0 && again.w1 === w1 && again.w2 === w2 && again.w3 === w3, `written as ${written}`);
    return TAKEN;
  }),
  text('CIDR', 1, ADDRESSES.flatMap((one) => [`${one}/24`, `${one}/32`, `${one}/64`, one]), [...ADDRESS_WORDS, '/', '/129', '/33', '/0', '/-1'], () => (given) => {
    refusing(InvalidArgumentError, () => parseCidr(given));
    const told = refusing(InvalidArgumentError, () => parseHostCidr(given));
    const stack = parseStackCidr(given);
    if (stack !== null) {
      const most = stack.words.w0 === 0 && stack.words.w1 === 0 && stack.words.w2 === 0xffff ? 32 : 128;
      check(Number.isInteger(stack.prefix) && stack.prefix >= 0 && stack.prefix <= 128 && (most === 128 || given.includes(':') || stack.prefix <= 32), `prefix ${stack.prefix}`);
    }
    if (told === null) return REFUSED;
    check(told.value.prefix >= 0 && told.value.prefix <= (told.value.family === 4 ? 32 : 128), `prefix ${told.value.prefix}`);
    check(stack !== null && stack.prefix === told.value.prefix, 'the command line takes it, the stack does not');
    return TAKEN;
  }),
  text('numbers', 1, ['0', '1', '65535', '1500', '0.5', '86400', '12.25'], ['-', '.', 'e9', '0x', '00', '999999999999', 'Infinity', 'NaN', '1_0'], () => {
    const whole = integer(1, 65_535);
    const time = seconds(0.1, 86_400);
    return (given) => {
      const number = refusing(InvalidArgumentError, () => whole(given));
      const some = refusing(InvalidArgumentError, () => time(given));
      if (number !== null) check(Number.isInteger(number.value) && number.value >= 1 && number.value <= 65_535 && Number(given) === number.value, `${number.value}`);
      if (some !== null) check(some.value >= 0.1 && some.value <= 86_400, `${some.value} s`);
      return number === null && some === null ? REFUSED : TAKEN;
    };
  }),
  text('window sizes', 1, ['rx=4M', 'rx=1M,tx=256K,memory=32M', 'call=64K', 'memory=16777216'], ['rx=', 'tx=', 'G', 'K', ',', '=', '999999999'], () => (given) => {
    const sizes = refusing(InvalidArgumentError, () => parseWindow(given));
    if (sizes === null) return REFUSED;
    check(windowFault({ ...DEFAULT_WINDOW, ...sizes.value }) === null, 'sizes that cannot be');
    return TAKEN;
  }),
  text('services', 1, ['echo', 'echo,http@8080,iperf3', 'all', 'discard@9,chargen@19'], ['@', '@0', '@65536', ',', 'all', 'echo', '@7'], () => (given) => {
    const list = refusing(InvalidArgumentError, () => parseServeArgument(given));
    if (list === null) return REFUSED;
    const ports = list.value.map((one) => one.port);
    check(ports.length > 0 && new Set(ports).size === ports.length && ports.every((port) => port >= 1 && port <= 65_535), `ports ${ports.join()}`);
    return TAKEN;
  }),
  text('first message of an application', 2, [
    '{"tcpu":1,"name":"x","sizes":{"rxRing":4194304,"txRing":262144,"call":262144,"memory":8388608}}', '{"tcpu":1,"query":"connections"}', '{"tcpu":2,"what":[]}',
  ], [...JSON_WORDS, '"sizes":', '"tcpu":1', '"query":"counters"'], () => (given) => {
    const hello = parseHello(given);
    if (hello === null) return REFUSED;
    check(typeof hello.tcpu === 'number' && Object.getPrototypeOf(hello) === Object.prototype, 'shape');
    check(Object.keys(hello).every((key) => ['tcpu', 'name', 'query', 'sizes'].includes(key)), `keys ${Object.keys(hello).join()}`);
    check(hello.name === undefined || typeof hello.name === 'string', 'name');
    if (hello.sizes !== undefined) windowFault(hello.sizes);
    return TAKEN;
  }),
  text('parameters of iperf3', 2, IPERF3_PARAMETERS, JSON_WORDS, () => (given) => {
    let value: unknown;
    try {
      value = JSON.parse(given);
    } catch {
      return REFUSED;
    }
    refusing(Iperf3Error, () => parseResults(value));
    const told = refusing(Iperf3Error, () => parseParameters(value));
    if (told === null) return REFUSED;
    const p = told.value;
    check(p.blockLength > 0 && p.blockLength <= 1 << 20 && p.receivers + p.senders >= 1 && p.receivers + p.senders <= 256, 'streams or blocks');
    for (const number of [p.timeSeconds, p.omitSeconds, p.rate, p.pacingUs, p.burst, p.window, p.mss, p.tos]) check(Number.isInteger(number) && number >= 0, `${number}`);
    return TAKEN;
  }),
];

export const parsers: readonly Parser[] = [
  ...byteParsers,
  { name: 'ring of a channel', weight: 1, start: ring },
  { name: 'records of an application', weight: 3, start: records },
  { name: 'socket calls of an application', weight: 3, start: calls },
  ...textParsers,
  { name: 'control connection of iperf3', weight: 1, start: iperf3Control },
];
