/**
 * SYN cookies (RFC 4987 3.6; Bernstein 1996): a SYN is answered without keeping anything of it. All that the
 * connection needs comes back in the ACK that completes the handshake, in its acknowledgment number, which is
 * the cookie, and in the echo of our timestamp.
 *
 *     bits   31 ──────────────────────────────── 4   3 ─── 1     0
 *     ISS    MAC of addresses, ports and the SYN's   MSS: index  which
 *            sequence number                         of a table  key
 *
 *     TSval  our clock, rounded down ──────────── 6   5     4      3 ── 0
 *                                                     ECN   SACK   window scale, 15: none
 *
 * The timestamp's bits are as in Linux (cookie_init_timestamp). A peer without timestamps gets a connection with no
 * more than an MSS: no window scale and no SACK.
 *
 * Linux puts a clock of minutes into the upper bits and keeps one secret for ever. Here the secret itself is changed
 * every minute, the last two are good, and one bit tells which; so a cookie lives for one to two minutes, what an
 * attacker learns is worth no more than that, and 28 bits are left for the MAC, where Linux has the like of 29. What
 * is given up is that later numbers are higher ones (RFC 6528) from one minute to the next; BSD does the same.
 * MSS and options are not covered by the MAC: only the peer itself knows the cookie, and it may offer what it likes.
 */

import type { Random } from '../random.ts';
import type { Seq } from '../wire/seq.ts';
import { flowHash, randomKey, sipHigh } from './isn.ts';
import type { SipKey } from './isn.ts';
import type { Segment } from './segment.ts';

/** How long a secret makes cookies, ms; as long again it is only believed. */
export const COOKIE_PERIOD_MS = 60_000;

/** What is left of a peer's MSS: the next lower one of these. Tunnels, PPPoE, Ethernet with and without IPv6, jumbo frames. */
const MSS_TABLE = Int32Array.of(64, 536, 1220, 1360, 1400, 1440, 1460, 8940);

const TS_BITS = 63;
const TS_NO_SCALE = 15;
const TS_SACK = 16;
const TS_ECN = 32;

export class SynCookies {
  readonly #random: Random;
  /** By the lowest bit of the cookies that they made. Made when the first cookie is. */
  readonly #keys: (SipKey | null)[] = [null, null];
  #current = 0;
  /** When the current key began; when the last cookie was made (int32 ms). */
  #sinceMs = 0;
  #lastMs = 0;
  #made = false;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Whether a cookie may be out: only then an ACK for no connection is worth a look. */
  mayBeOut(nowMs: number): boolean {
    return this.#made && ((nowMs - this.#lastMs) >>> 0) < 2 * COOKIE_PERIOD_MS;
  }

  /** ISS of the answer to the SYN `segment` from a peer that takes `mss`. */
  make(segment: Segment, mss: number, nowMs: number): Seq {
    this.#changeKeys(nowMs);
    this.#made = true;
    this.#lastMs = nowMs;
    let index = MSS_TABLE.length - 1;
    while (index > 0 && MSS_TABLE[index]! > mss) index--;
    const mac = this.#mac(this.#keys[this.#current]!, segment, segment.seq);
    return ((mac & ~15) | (((sipHigh() & 7) ^ index) << 1) | this.#current) as Seq;
  }

  /** The MSS in the cookie that `segment` acknowledges, or -1: it is none of ours, or too old. */
  check(segment: Segment, nowMs: number): number {
    this.#changeKeys(nowMs);
    const cookie = (segment.ack - 1) | 0;
    const key = this.#keys[cookie & 1]!;
    if (key === null) return -1;
    const mac = this.#mac(key, segment, (segment.seq - 1) | 0);
    if (((mac ^ cookie) & ~15) !== 0) return -1;
    return MSS_TABLE[((cookie >> 1) & 7) ^ (sipHigh() & 7)]!;
  }

  #mac(key: SipKey, segment: Segment, irs: number): number {
    const { packet } = segment;
    return flowHash(key, packet.dst0, packet.dst1, packet.dst2, packet.dst3, packet.src0, packet.src1, packet.src2, packet.src3,
      (segment.dstPort << 16) | segment.srcPort, irs);
  }

  #changeKeys(nowMs: number): void {
    const keys = this.#keys;
    const age = (nowMs - this.#sinceMs) >>> 0;
    if (keys[this.#current] !== null && age < COOKIE_PERIOD_MS) return;
    if (keys[this.#current] !== null && age < 2 * COOKIE_PERIOD_MS) {
      this.#sinceMs = (this.#sinceMs + COOKIE_PERIOD_MS) | 0;
    } else {
      keys[this.#current] = null;
      this.#sinceMs = nowMs;
    }
    this.#current ^= 1;
    keys[this.#current] = randomKey(this.#random);
  }
}

/** `tsVal`, or shortly before it, with the options of a SYN in it. `scale` -1: none. */
export function optionsToTimestamp(tsVal: number, scale: number, sack: boolean, ecn: boolean): number {
  const bits = (scale < 0 ? TS_NO_SCALE : scale) | (sack ? TS_SACK : 0) | (ecn ? TS_ECN : 0);
  const value = (tsVal & ~TS_BITS) | bits;
  return ((value - tsVal) | 0) > 0 ? (value - TS_BITS - 1) | 0 : value;
}

/** Window scale in an echoed timestamp, -1: none. 15 is none, and more than 14 there cannot be. */
export function scaleOfTimestamp(tsEcr: number): number {
  const scale = tsEcr & TS_NO_SCALE;
  return scale === TS_NO_SCALE ? -1 : scale;
}

export function sackOfTimestamp(tsEcr: number): boolean {
  return (tsEcr & TS_SACK) !== 0;
}

export function ecnOfTimestamp(tsEcr: number): boolean {
  return (tsEcr & TS_ECN) !== 0;
}
