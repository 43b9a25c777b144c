/**
 * Initial sequence numbers (RFC 6528): ISN = M + F(addresses, ports, secret), M a 4 µs clock (MUST-8),
 * F a keyed pseudorandom function (SHLD-1, MUST-9): SipHash-2-4 (Aumasson, Bernstein 2012), here in
 * 32-bit halves. Also gives the per-connection timestamp offset (RFC 7323 5.4) and the start of the
 * search for an ephemeral port (RFC 6056 3.3.3).
 */

import type { Random } from '../random.ts';
import type { Seq } from '../wire/seq.ts';

/** Half words of the state: v0l v0h v1l v1h v2l v2h v3l v3h. One scratch for all: nothing is kept between calls. */
const v = new Int32Array(8);

/** 64-bit v[a] += v[b] (indices of the low halves). */
function add(a: number, b: number): void {
  const low = (v[a]! >>> 0) + (v[b]! >>> 0);
  v[a + 1] = v[a + 1]! + v[b + 1]! + (low > 0xffffffff ? 1 : 0);
  v[a] = low | 0;
}

/** v[b] = rotl64(v[b], n) ^ v[a], for n < 32. */
function rotateXor(b: number, n: number, a: number): void {
  const low = v[b]!;
  const high = v[b + 1]!;
  v[b] = ((low << n) | (high >>> (32 - n))) ^ v[a]!;
  v[b + 1] = ((high << n) | (low >>> (32 - n))) ^ v[a + 1]!;
}

/** v[a] = rotl64(v[a], 32) */
function swap(a: number): void {
  const low = v[a]!;
  v[a] = v[a + 1]!;
  v[a + 1] = low;
}

function sipRound(): void {
  add(0, 2);
  rotateXor(2, 13, 0);
  swap(0);
  add(4, 6);
  rotateXor(6, 16, 4);
  add(0, 6);
  rotateXor(6, 21, 0);
  add(4, 2);
  rotateXor(2, 17, 4);
  swap(4);
}

/** A 128-bit key. */
export interface SipKey {
  k0l: number;
  k0h: number;
  k1l: number;
  k1h: number;
}

export function randomKey(random: Random): SipKey {
  return { k0l: random.int32(), k0h: random.int32(), k1l: random.int32(), k1h: random.int32() };
}

/** SipHash-2-4 of `count` int32 words (little-endian), `count` even. Returns the low half; `sipHigh()` gives the other. */
export function sipHash(key: SipKey, words: Int32Array, count: number): number {
  v[0] = key.k0l ^ 0x70736575;
  v[1] = key.k0h ^ 0x736f6d65;
  v[2] = key.k1l ^ 0x6e646f6d;
  v[3] = key.k1h ^ 0x646f7261;
  v[4] = key.k0l ^ 0x6e657261;
  v[5] = key.k0h ^ 0x6c796765;
  v[6] = key.k1l ^ 0x79746573;
  v[7] = key.k1h ^ 0x74656462;
  for (let i = 0; i < count; i += 2) block(words[i]!, words[i + 1]!);
  // The last block carries the message's length in its top byte.
  block(0, (count * 4) << 24);
  v[4] = v[4]! ^ 0xff;
  sipRound();
  sipRound();
  sipRound();
  sipRound();
  return v[0]! ^ v[2]! ^ v[4]! ^ v[6]!;
}

/** The high half of the hash that was computed last. */
export function sipHigh(): number {
  return v[1]! ^ v[3]! ^ v[5]! ^ v[7]!;
}

function block(low: number, high: number): void {
  v[6] = v[6]! ^ low;
  v[7] = v[7]! ^ high;
  sipRound();
  sipRound();
  v[0] = v[0]! ^ low;
  v[1] = v[1]! ^ high;
}

const words = new Int32Array(10);

/** Of local address, remote address (4 words each), ports as `local << 16 | remote`, and one word more. `sipHigh` has the rest. */
export function flowHash(
  key: SipKey, l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number,
  more: number,
): number {
  words[0] = l0;
  words[1] = l1;
  words[2] = l2;
  words[3] = l3;
  words[4] = r0;
  words[5] = r1;
  words[6] = r2;
  words[7] = r3;
  words[8] = ports;
  words[9] = more;
  return sipHash(key, words, 10);
}

/** Secrets of one stack and what is derived from them. */
export class FlowSecrets {
  readonly #isn: SipKey;
  readonly #timestamp: SipKey;
  readonly #port: SipKey;

  constructor(random: Random) {
    this.#isn = randomKey(random);
    this.#timestamp = randomKey(random);
    this.#port = randomKey(random);
  }

  /** `clock4us`: a clock that ticks every 4 µs, as int32. */
  isn(
    l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number, clock4us: number,
  ): Seq {
    return ((flowHash(this.#isn, l0, l1, l2, l3, r0, r1, r2, r3, ports, 0) + clock4us) | 0) as Seq;
  }

  /** Does not depend on the ports, so that the timestamps of a pair of hosts never run backwards. */
  timestampOffset(l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number): number {
    return flowHash(this.#timestamp, l0, l1, l2, l3, r0, r1, r2, r3, 0, 0);
  }

  /** Where the search for an ephemeral port to this destination begins. */
  portOffset(r0: number, r1: number, r2: number, r3: number, remotePort: number): number {
    return flowHash(this.#port, 0, 0, 0, 0, r0, r1, r2, r3, remotePort, 0) >>> 0;
  }
}
