/**
 * What is known of the MTU of paths: what ICMP has told (RFC 1191, RFC 8201), which no packet may exceed, and what
 * probing has found (RFC 4821, lib/tcp/plpmtud.ts), which TCP begins with.
 *
 * A value of `PathMtuCache` comes from ICMP only, is below the link's MTU, is never raised by ICMP, and is forgotten
 * after ten minutes (RFC 1191 section 6.3, RFC 8201 section 5.3), so that a path that has become wider
 * is found again. IPv4 values below 552 are taken as 552 (Linux's net.ipv4.route.min_pmtu, against
 * ICMP that is forged to make packets tiny); IPv6 values below 1280 are ignored (RFC 8201 section 4).
 *
 * Destinations live in a table of fixed size, four places for each hash value; the place that would be
 * forgotten first makes room. So no flood of ICMP makes it grow.
 */

import type { Random } from '../random.ts';
import { isMapped } from '../wire/address.ts';
import { IPV6_MIN_MTU } from '../wire/ipv6.ts';
import type { IpFlow } from './flow.ts';

export const PATH_MTU_AGE_US = 600_000_000;
/** Longer than the time after which a connection looks again, so that it finds what others have found. */
export const PROBED_MTU_AGE_MS = 660_000;
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

/** A value for each destination, and when it is to be forgotten, by the owner's clock. */
class DestinationTable {
  /** Destinations known. */
  size = 0;
  protected readonly words = new Int32Array(BUCKETS * WAYS * 4);
  /** 0: the place is free. */
  protected readonly mtus = new Int32Array(BUCKETS * WAYS);
  protected readonly expiry = new Float64Array(BUCKETS * WAYS);
  private readonly secret: number;

  constructor(secret: number) {
    this.secret = secret;
  }

  private bucket(w0: number, w1: number, w2: number, w3: number): number {
    return (hashAddress(w0, w1, w2, w3, this.secret) & (BUCKETS - 1)) * WAYS;
  }

  protected find(w0: number, w1: number, w2: number, w3: number): number {
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
  protected claim(w0: number, w1: number, w2: number, w3: number): number {
    const first = this.bucket(w0, w1, w2, w3);
    let best = first;
    for (let place = first; place < first + WAYS; place++) {
      if (this.mtus[place] === 0) {
        best = place;
        break;
      }
      if (this.expiry[place]! < this.expiry[best]!) best = place;
    }
    if (this.mtus[best] === 0) this.size++;
    const w = best * 4;
    this.words[w] = w0;
    this.words[w + 1] = w1;
    this.words[w + 2] = w2;
    this.words[w + 3] = w3;
    return best;
  }

  protected remove(place: number): void {
    this.mtus[place] = 0;
    this.size--;
  }
}

export class PathMtuCache extends DestinationTable {
  /** When the first value is to be forgotten, µs; Infinity when there is none. */
  nextDeadlineUs = Infinity;

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
      this.expiry[place] = nowUs + PATH_MTU_AGE_US;
      return false;
    }
    if (mtu >= limit) return false;
    if (place < 0) place = this.claim(w0, w1, w2, w3);
    this.mtus[place] = mtu;
    this.expiry[place] = nowUs + PATH_MTU_AGE_US;
    if (this.expiry[place]! < this.nextDeadlineUs) this.nextDeadlineUs = this.expiry[place]!;
    return true;
  }

  /** Forgets what is too old, and names each destination to `raised`. */
  expire(nowUs: number, raised: (w0: number, w1: number, w2: number, w3: number) => void): void {
    if (nowUs < this.nextDeadlineUs) return;
    let next = Infinity;
    for (let place = 0; place < this.mtus.length; place++) {
      if (this.mtus[place] === 0) continue;
      if (this.expiry[place]! <= nowUs) {
        this.remove(place);
        const w = place * 4;
        raised(this.words[w]!, this.words[w + 1]!, this.words[w + 2]!, this.words[w + 3]!);
      } else if (this.expiry[place]! < next) {
        next = this.expiry[place]!;
      }
    }
    this.nextDeadlineUs = next;
  }
}

/**
 * What packetisation-layer probing has found that paths carry where ICMP says nothing (RFC 4821 section 5.2: shared by
 * all connections to a destination), for ten minutes after the last connection that found it so. Times are int32 ms.
 */
export class ProbedMtus {
  readonly #random: Random;
  #table: ProbedTable | null = null;

  constructor(random: Random) {
    this.#random = random;
  }

  /** The size in bytes that has got through to the destination of `flow` last, while larger ones did not; 0: nothing is known. */
  get(flow: IpFlow, nowMs: number): number {
    return this.#table === null ? 0 : this.#table.get(flow, nowMs);
  }

  set(flow: IpFlow, mtu: number, nowMs: number): void {
    this.#table ??= new ProbedTable(this.#random.int32());
    this.#table.set(flow, mtu, nowMs);
  }

  /** The path carries what the link carries. */
  forget(flow: IpFlow): void {
    this.#table?.forget(flow);
  }
}

class ProbedTable extends DestinationTable {
  get({ r0, r1, r2, r3 }: IpFlow, nowMs: number): number {
    const place = this.size === 0 ? -1 : this.find(r0, r1, r2, r3);
    if (place < 0) return 0;
    if (((nowMs - this.expiry[place]!) | 0) < 0) return this.mtus[place]!;
    this.remove(place);
    return 0;
  }

  set({ r0, r1, r2, r3 }: IpFlow, mtu: number, nowMs: number): void {
    const found = this.find(r0, r1, r2, r3);
    const place = found >= 0 ? found : this.claim(r0, r1, r2, r3);
    this.mtus[place] = mtu;
    this.expiry[place] = (nowMs + PROBED_MTU_AGE_MS) | 0;
  }

  forget({ r0, r1, r2, r3 }: IpFlow): void {
    const place = this.size === 0 ? -1 : this.find(r0, r1, r2, r3);
    if (place >= 0) this.remove(place);
  }
}
