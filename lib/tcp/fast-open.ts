/**
 * TCP Fast Open (RFC 7413): data in the SYN, so that a request is answered after one round trip instead of two. What
 * T/TCP wanted (RFC 1644), with a cookie by which a client shows that it receives what is sent to its address.
 *
 *     client                                            server
 *       SYN, empty cookie option ─────────────────────▶ first time: asks for a cookie
 *       ◀───────────────────── SYN-ACK, cookie           = MAC of both addresses
 *       …
 *       SYN, cookie, data ────────────────────────────▶ the cookie is right: the application has the data
 *       ◀───────────────────── SYN-ACK of SYN and data   and may answer at once
 *       ◀───────────────────── data
 *       ACK ──────────────────────────────────────────▶ established
 *
 * What the SYN carries is not yet sent, as far as the sequence space is concerned: SND.NXT stays at ISS + 1 until the
 * SYN-ACK tells how much of it was taken (`takeSynAck`), and the rest leaves in the ordinary way. So there is nothing
 * to retransmit and nothing that congestion control could think lost.
 *
 * A duplicate of a SYN with data that comes when its connection is over makes another connection with that data (6.1):
 * only who can live with that may ask for Fast Open, and it is off unless asked for. While the connection is there, in
 * TIME-WAIT too, a duplicate is an old SYN.
 *
 * A SYN that is repeated is an ordinary one. When that one gets through, and nothing came of the first, something on the
 * way may not like data in SYNs; after the second time the peer gets ordinary SYNs for a while (4.1.3.1, as in Linux).
 *
 * Left out: the experimental option kind 254 (appendix A), and one cache entry for several ports of a server.
 */

import type { Random } from '../random.ts';
import { seqAdd, seqDiff, seqGt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { MAX_FAST_OPEN_COOKIE, OPTLEN_FAST_OPEN } from '../wire/tcp.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { IpPacket } from '../ip/packet.ts';
import { flowHash, randomKey, sipHigh } from './isn.ts';
import type { SipKey } from './isn.ts';
import type { Segment } from './segment.ts';
import { SYN_SENT } from './states.ts';
import type { Tcb, TcbListener } from './tcb.ts';

/** Length of our cookies. */
const COOKIE_LENGTH = 8;
/** Servers that are remembered. */
const CACHE_SIZE = 1024;
/** A peer that lost a second SYN with data is left alone for 2 minutes, then 4, 8 …: this, shifted by the losses, ms. */
const LOSS_MS = 60_000;
const MOST_LOSSES = 10;
/** How long a key makes cookies, ms; as long again it is believed. */
const KEY_PERIOD_MS = 12 * 3_600_000;
/** Most data of a SYN to a server whose MSS is not known (4.2.2 allows the smallest that every host takes). */
const UNKNOWN_MSS = 536;

/** `FastOpenKeys.check`: none of ours; good; good, but to be replaced soon. */
export const COOKIE_BAD = 0;
export const COOKIE_GOOD = 1;
export const COOKIE_OLD = 2;

/** What a TCB has of Fast Open while it opens. */
export class FastOpen {
  /** Cookie in the option of our SYN or SYN-ACK. */
  readonly cookie = new Uint8Array(MAX_FAST_OPEN_COOKIE);
  /** Its length; 0: none, which in a SYN asks for one. */
  cookieLength = 0;
  /** Active: the SYN was to wait for the first data, so that the user believes to be connected; it waits still. */
  deferred = false;
  waits = false;
  /** Active: what the peer's MSS was the last time, bytes; payload of our SYN. */
  mss = UNKNOWN_MSS;
  synData = 0;
  /** Passive: the user has the connection already; where it is counted as long as the handshake is not complete. */
  early = false;
  pendingOf: TcbListener | null = null;
}

/** Makes and checks the cookies of a server (4.1.2). A cookie is for a pair of addresses, whatever the ports. */
export class FastOpenKeys {
  readonly #random: Random;
  #current: SipKey | null = null;
  #previous: SipKey | null = null;
  #sinceMs = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Puts a cookie for whom `packet` came from into `to`. Returns its length. */
  make(packet: IpPacket, nowMs: number, to: Uint8Array): number {
    this.#changeKeys(nowMs);
    const low = mac(this.#current!, packet);
    putWord(to, 0, low);
    putWord(to, 4, sipHigh());
    return COOKIE_LENGTH;
  }

  /** What the cookie of the SYN `segment` is: `COOKIE_…`. */
  check(segment: Segment, nowMs: number): number {
    if (segment.fastOpenLength !== COOKIE_LENGTH) return COOKIE_BAD;
    this.#changeKeys(nowMs);
    if (matches(this.#current!, segment)) return COOKIE_GOOD;
    return this.#previous !== null && matches(this.#previous, segment) ? COOKIE_OLD : COOKIE_BAD;
  }

  #changeKeys(nowMs: number): void {
    const age = (nowMs - this.#sinceMs) >>> 0;
    if (this.#current !== null && age < KEY_PERIOD_MS) return;
    this.#previous = age < 2 * KEY_PERIOD_MS ? this.#current : null;
    this.#current = randomKey(this.#random);
    this.#sinceMs = nowMs;
  }
}

function mac(key: SipKey, packet: IpPacket): number {
  return flowHash(key, packet.dst0, packet.dst1, packet.dst2, packet.dst3, packet.src0, packet.src1, packet.src2, packet.src3, 0, 0);
}

function matches(key: SipKey, segment: Segment): boolean {
  const low = mac(key, segment.packet);
  const { view, fastOpenAt } = segment;
  return ((view.getInt32(fastOpenAt) ^ low) | (view.getInt32(fastOpenAt + 4) ^ sipHigh())) === 0;
}

function putWord(to: Uint8Array, at: number, word: number): void {
  to[at] = word >>> 24;
  to[at + 1] = word >>> 16;
  to[at + 2] = word >>> 8;
  to[at + 3] = word;
}

/** What a client knows of a server (4.1.3). */
interface Known {
  cookie: Uint8Array;
  mss: number;
  /** SYNs with data, in sequence, that came to nothing while an ordinary one got through; when the last was (ms). */
  losses: number;
  lostMs: number;
}

/** The cookies of a client, by server address; who was asked longest ago makes room. */
export class FastOpenCache {
  readonly #known = new Map<string, Known>();

  static #key(flow: IpFlow): string {
    return `${flow.r0},${flow.r1},${flow.r2},${flow.r3}`;
  }

  get size(): number {
    return this.#known.size;
  }

  /** Whether SYNs to the peer of `flow` are better ordinary ones for now. */
  avoids(flow: IpFlow, nowMs: number): boolean {
    const known = this.#known.get(FastOpenCache.#key(flow));
    return known !== undefined && known.losses > 1 && ((nowMs - known.lostMs) >>> 0) < LOSS_MS << Math.min(known.losses - 1, MOST_LOSSES);
  }

  /** Tells `fastOpen` the cookie and MSS of the peer of `flow`, if there are. */
  recall(flow: IpFlow, fastOpen: FastOpen): void {
    const key = FastOpenCache.#key(flow);
    const known = this.#known.get(key);
    if (known === undefined) return;
    this.#known.delete(key);
    this.#known.set(key, known);
    fastOpen.cookie.set(known.cookie);
    fastOpen.cookieLength = known.cookie.length;
    fastOpen.mss = known.mss;
  }

  /** A SYN-ACK has come. `lost`: it answers an ordinary SYN, and nothing says that the first one has arrived. */
  learn(flow: IpFlow, segment: Segment, lost: boolean, nowMs: number): void {
    const key = FastOpenCache.#key(flow);
    let known = this.#known.get(key);
    if (known === undefined) {
      if (segment.fastOpenLength <= 0 && !lost) return;
      known = { cookie: new Uint8Array(0), mss: 0, losses: 0, lostMs: 0 };
      if (this.#known.size >= CACHE_SIZE) for (const [oldest] of this.#known) if (this.#known.delete(oldest)) break;
      this.#known.set(key, known);
    }
    if (segment.fastOpenLength > 0) {
      known.cookie = segment.slab.slice(segment.fastOpenAt, segment.fastOpenAt + segment.fastOpenLength);
    }
    known.mss = segment.mss !== 0 ? segment.mss : UNKNOWN_MSS;
    known.losses = lost ? known.losses + 1 : 0;
    if (lost) known.lostMs = nowMs;
  }
}

/** Fast Open of one home: its own keys, and the cookies of others. */
export class FastOpenCookies {
  readonly keys: FastOpenKeys;
  readonly cache = new FastOpenCache();

  constructor(random: Random) {
    this.keys = new FastOpenKeys(random);
  }
}

// ------------------------------------------------------------------------------------ our SYN

/** Length of the option, with NOPs, in the SYN or SYN-ACK that `tcb` sends now. `tcb.fastOpen` is not null. */
export function fastOpenLength(tcb: Tcb): number {
  const fastOpen = tcb.fastOpen!;
  // A SYN that is sent again is an ordinary one; a SYN-ACK has the option if there is a cookie to give.
  if (tcb.passive ? fastOpen.cookieLength === 0 : tcb.retries > 0 || tcb.state !== SYN_SENT) return 0;
  return (OPTLEN_FAST_OPEN + fastOpen.cookieLength + 3) & ~3;
}

/** Adds data from the send buffer to the SYN that `tcb` sends now, `optionsLength` bytes of options in it. */
export function addSynData(tcb: Tcb, optionsLength: number): void {
  const fastOpen = tcb.fastOpen!;
  if (tcb.passive || fastOpen.cookieLength === 0) return;
  const { flow } = tcb;
  const room = Math.min(fastOpen.mss, flow.mtu - flow.headerLength - 20) - optionsLength;
  const length = Math.min(tcb.sndQueued, room);
  if (length <= 0) return;
  tcb.sndBuffer.addPieces(0, length, tcb.home.ip.tx);
  fastOpen.synData = length;
}

// --------------------------------------------------------------------------- what comes of it

/** The highest acknowledgment that makes sense while our SYN, and perhaps data in it, is unacknowledged. */
export function mostOfSyn(tcb: Tcb): Seq {
  const { fastOpen } = tcb;
  return fastOpen === null ? tcb.sndNxt : seqAdd(tcb.sndNxt, fastOpen.synData);
}

/** The peer has acknowledged our SYN, up to `mostOfSyn`: what it took of the data in it has been sent. */
export function takeSynData(tcb: Tcb, ack: Seq): number {
  const fastOpen = tcb.fastOpen!;
  fastOpen.synData = 0;
  if (!seqGt(ack, tcb.sndNxt)) return 0;
  const taken = seqDiff(ack, tcb.sndNxt);
  tcb.sndNxt = ack;
  if (taken === tcb.sndQueued) tcb.sndBuffer.clear();
  else tcb.sndBuffer.drop(taken);
  tcb.sndBase = ack;
  tcb.bytesSent += taken;
  tcb.bytesAcked += taken;
  tcb.dataSegsOut++;
  return taken;
}

/** A SYN-ACK answers our SYN, whose ACK is acceptable: learns what it teaches, and lets go of what is no more needed. */
export function takeSynAck(tcb: Tcb, segment: Segment): void {
  const { home } = tcb;
  const sent = tcb.fastOpen!.synData;
  const taken = takeSynData(tcb, segment.ack);
  if (sent > 0) {
    if (taken > 0) home.counters.FastOpenActive++;
    else home.counters.FastOpenActiveFail++;
  }
  const lost = tcb.retries > 0 && taken === 0 && segment.fastOpenLength < 0;
  if (lost) home.counters.FastOpenLosses++;
  home.fastOpen.cache.learn(tcb.flow, segment, lost, home.nowMs);
  tcb.fastOpen = null;
}
