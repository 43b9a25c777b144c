/**
 * What paths have told about their MTU (RFC 1191, RFC 8201).
 *
 * A value comes from ICMP only, is below the link's MTU, is never raised by ICMP, and is forgotten
 * after ten minutes (RFC 1191 section 6.3, RFC 8201 section 5.3), so that a path that has become wider
 * is found again. IPv4 values below 552 are taken as 552 (Linux's net.ipv4.route.min_pmtu, against
 * ICMP that is forged to make packets tiny); IPv6 values below 1280 are ignored (RFC 8201 section 4).
 *
 * Destinations live in a table of fixed size, four places for each hash value; the place that would be
 * forgotten first makes room. So no flood of ICMP makes it grow.
 */

import { isMapped } from '../wire/address.ts';
import { IPV6_MIN_MTU } from '../wire/ipv6.ts';

export const PATH_MTU_AGE_US = 600_000_000;
export const IPV4_PATH_MTU_FLOOR = 552;

const BUCKETS = 256;
const WAYS = 4;

/** RFC 1191 section 7.1, table 7-1: MTUs that networks have. */
const PLATEAUS: readonly number[] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/** The next plateau below a packet of `totalLength` bytes, for routers that do not tell their MTU (RFC 1191 section 5). */
export function plateauBelow(totalLength: number): number {
  for (const mtu of PLATEAUS) if (mtu < totalLength) return mtu;
  return 68;
}

/** Hash of an address with a secret. */
export function hashAddress(w0: number, w1: number, w2: number, w3: number, secret: number): number {
  let h = Math.imul(w0 ^ secret, 0x9e3779b1);
  h = Math.imul((h ^ (h >>> 15)) + w1, 0x85ebca77);
  h = Math.imul((h ^ (h >>> 13)) + w2, 0xc2b2ae3d);
  h = Math.imul((h ^ (h >>> 16)) + w3, 0x27d4eb2f);
  return h ^ (h >>> 15);
}

export class PathMtuCache {
  /** When the first value is to be forgotten, µs; Infinity when there is none. */
  nextDeadlineUs = Infinity;
  /** Destinations known. */
  size = 0;
  private readonly words = new Int32Array(BUCKETS * WAYS * 4);
  /** 0: the place is free. */
  private readonly mtus = new Int32Array(BUCKETS * WAYS);
  private readonly expiryUs = new Float64Array(BUCKETS * WAYS);
  private readonly secret: number;

  constructor(secret: number) {
    this.secret = secret;
  }

  /** The MTU of the path to this destination in bytes; 0 when nothing is known. */
  get(w0: number, w1: number, w2: number, w3: number): number {
    if (this.size === 0) return 0;
    const place = this.find(w0, w1, w2, w3);
    return place < 0 ? 0 : this.mtus[place]!;
  }

  /**
   * Takes over what ICMP reported.
   * @param limit  what has been used so far (the link's MTU or an earlier value): never raised
   * @returns whether the path's MTU is lower now
   */
  lower(w0: number, w1: number, w2: number, w3: number, mtu: number, limit: number, nowUs: number): boolean {
    if (isMapped(w0, w1, w2)) {
      if (mtu < IPV4_PATH_MTU_FLOOR) mtu = IPV4_PATH_MTU_FLOOR;
    } else if (mtu < IPV6_MIN_MTU) {
      return false;
    }
    let place = this.find(w0, w1, w2, w3);
    if (place >= 0 && mtu === this.mtus[place]) {
      // The same again: it holds for another ten minutes.
      this.expiryUs[place] = nowUs + PATH_MTU_AGE_US;
      return false;
    }
    if (mtu >= limit) return false;
    if (place < 0) place = this.claim(w0, w1, w2, w3);
    this.mtus[place] = mtu;
    this.expiryUs[place] = nowUs + PATH_MTU_AGE_US;
    if (this.expiryUs[place]! < this.nextDeadlineUs) this.nextDeadlineUs = this.expiryUs[place]!;
    return true;
  }

  /** Forgets what is too old, and names each destination to `raised`. */
  expire(nowUs: number, raised: (w0: number, w1: number, w2: number, w3: number) => void): void {
    if (nowUs < this.nextDeadlineUs) return;
    let next = Infinity;
    for (let place = 0; place < this.mtus.length; place++) {
      if (this.mtus[place] === 0) continue;
      if (this.expiryUs[place]! <= nowUs) {
        this.mtus[place] = 0;
        this.size--;
        const w = place * 4;
        raised(this.words[w]!, this.words[w + 1]!, this.words[w + 2]!, this.words[w + 3]!);
      } else if (this.expiryUs[place]! < next) {
        next = this.expiryUs[place]!;
      }
    }
    this.nextDeadlineUs = next;
  }

  private bucket(w0: number, w1: number, w2: number, w3: number): number {
    return (hashAddress(w0, w1, w2, w3, this.secret) & (BUCKETS - 1)) * WAYS;
  }

  private find(w0: number, w1: number, w2: number, w3: number): number {
    const first = this.bucket(w0, w1, w2, w3);
    const words = this.words;
    for (let place = first; place < first + WAYS; place++) {
      const w = place * 4;
      if (this.mtus[place] !== 0 && words[w + 3] === w3 && words[w + 2] === w2 && words[w + 1] === w1 && words[w] === w0) {
        return place;
      }
    }
    return -1;
  }

  /** A free place, or that of the destination that would be forgotten first. */
  private claim(w0: number, w1: number, w2: number, w3: number): number {
    const first = this.bucket(w0, w1, w2, w3);
    let best = first;
    for (let place = first; place < first + WAYS; place++) {
      if (this.mtus[place] === 0) {
        best = place;
        break;
      }
      if (this.expiryUs[place]! < this.expiryUs[best]!) best = place;
    }
    if (this.mtus[best] === 0) this.size++;
    const w = best * 4;
    this.words[w] = w0;
    this.words[w + 1] = w1;
    this.words[w + 2] = w2;
    this.words[w + 3] = w3;
    return best;
  }
}
