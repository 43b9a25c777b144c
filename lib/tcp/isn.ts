/**
 * Initial sequence numbers (RFC 6528): ISN = M + F(addresses, ports, secret), M a 4 µs clock (MUST-8),
 * F a keyed pseudorandom function (SHLD-1, MUST-9): SipHash-2-4 (Aumasson, Bernstein 2012), here in
 * 32-bit halves. Also gives the per-connection timestamp offset (RFC 7323 5.4) and the start of the
 * search for an ephemeral port (RFC 6056 3.3.3).
 */

import type { Random } from '../random.ts';
import type { Seq } from '../wire/seq.ts';

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

/** High half of the hash that was computed last. */
let high = 0;

/**
 * SipHash-2-4 of `count` int32 words (little-endian), `count` even. Returns the low half; `sipHigh()` gives the other.
 * Each SYN of a flood costs two of these, so it is written out: halves in local int32, and carries by logic, since
 * sums of unsigned numbers would be doubles.
 */
export function sipHash(key: SipKey, words: Int32Array, count: number): number {
  let v0l = key.k0l ^ 0x70736575;
  let v0h = key.k0h ^ 0x736f6d65;
  let v1l = key.k1l ^ 0x6e646f6d;
  let v1h = key.k1h ^ 0x646f7261;
  let v2l = key.k0l ^ 0x6e657261;
  let v2h = key.k0h ^ 0x6c796765;
  let v3l = key.k1l ^ 0x79746573;
  let v3h = key.k1h ^ 0x74656462;
  // The words; then a block with the message's length in its top byte; then the finish.
  for (let i = 0; i <= count + 2; i += 2) {
    let low = 0;
    let up = 0;
    let rounds = 2;
    if (i < count) {
      low = words[i]!;
      up = words[i + 1]!;
    } else if (i === count) {
      up = (count * 4) << 24;
    } else {
      v2l ^= 0xff;
      rounds = 4;
    }
    v3l ^= low;
    v3h ^= up;
    for (; rounds > 0; rounds--) {
      // v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32)
      let sum = (v0l + v1l) | 0;
      v0h = (v0h + v1h + (((v0l & v1l) | ((v0l | v1l) & ~sum)) >>> 31)) | 0;
      let shifted = (v1l << 13) | (v1h >>> 19);
      v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h;
      v1l = shifted ^ sum;
      v0l = v0h;
      v0h = sum;
      // v2 += v3; v3 = rotl(v3, 16) ^ v2
      sum = (v2l + v3l) | 0;
      v2h = (v2h + v3h + (((v2l & v3l) | ((v2l | v3l) & ~sum)) >>> 31)) | 0;
      v2l = sum;
      shifted = (v3l << 16) | (v3h >>> 16);
      v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h;
      v3l = shifted ^ v2l;
      // v0 += v3; v3 = rotl(v3, 21) ^ v0
      sum = (v0l + v3l) | 0;
      v0h = (v0h + v3h + (((v0l & v3l) | ((v0l | v3l) & ~sum)) >>> 31)) | 0;
      v0l = sum;
      shifted = (v3l << 21) | (v3h >>> 11);
      v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h;
      v3l = shifted ^ v0l;
      // v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32)
      sum = (v2l + v1l) | 0;
      v2h = (v2h + v1h + (((v2l & v1l) | ((v2l | v1l) & ~sum)) >>> 31)) | 0;
      shifted = (v1l << 17) | (v1h >>> 15);
      v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h;
      v1l = shifted ^ sum;
      v2l = v2h;
      v2h = sum;
    }
    v0l ^= low;
    v0h ^= up;
  }
  high = v0h ^ v1h ^ v2h ^ v3h;
  return v0l ^ v1l ^ v2l ^ v3l;
}

/** The high half of the hash that was computed last. */
export function sipHigh(): number {
  return high;
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
