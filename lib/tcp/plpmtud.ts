/**
 * Packetisation-layer path MTU discovery (RFC 4821, RFC 8899 for its words), as Linux's tcp_mtu_probing: what the path
 * carries is found out by TCP's own segments, where routers do not say, or nobody lets their ICMP through.
 *
 *     established, nothing known ──────────────▶ (no search: the MSS is that of the link)
 *          │ 'on', or a size known               │ three timeouts of what is larger than the base
 *          ▼                                     ▼
 *     SEARCHING  ◀─────────────────────────  low = base: a black hole (RFC 4821 7.7, RFC 8899 4.3)
 *       low ≤ path MTU ≤ high                   ▲ again ten minutes later
 *       a probe got through: low = its size     │
 *       a probe was lost twice: high = less     │
 *          └── nothing left to try ──▶ DONE ────┘
 *
 * A probe is one segment of queued data that is larger than the MSS, with enough behind it that its loss is noticed by
 * what arrives after it (7.4). It never leaves as part of a super-segment. Its loss is no congestion (7.6.1).
 *
 * What a search has found is shared by all connections to the destination (`ProbedMtus`, 5.2). Connections without a
 * search have no state but a null. Left out: probing with padding, for want of anything in TCP that could be padded.
 */

import { IPV4_PATH_MTU_FLOOR } from '../ip/path-mtu.ts';
import { IPV6_MIN_MTU } from '../wire/ipv6.ts';
import { seqAdd, seqGeq, seqGt, seqLt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { OPTLEN_TIMESTAMPS_PADDED, TCP_HEADER } from '../wire/tcp.ts';
import { updateSndMss } from './emit.ts';
import { paceRoom } from './pacing.ts';
import { END, FLAGS, NEXT, ROW_LOST, START, markLost, rowAt, splitRow } from './sent-segments.ts';
import { RECOVERY_LOSS, RECOVERY_OPEN } from './tcb.ts';
import type { Tcb } from './tcb.ts';
import { sendNext, unsent, windowRoom } from './transmit.ts';

/** Payload with which a search begins (RFC 4821 7.2; Linux's tcp_base_mss). */
const BASE_MSS = 1024;
/** Timeouts in a row after which a black hole is suspected; one that takes not even the base, as hardly any does. */
const BLACK_HOLE_TIMEOUTS = 3;
const DEEP_HOLE_TIMEOUTS = 6;
/** A search ends when it is so exact, bytes (Linux's tcp_probe_threshold). */
const EXACT = 8;
/** After a search: when the path may have become wider (RFC 4821 7.3; Linux's tcp_probe_interval), ms. */
const AGAIN_MS = 600_000;
/** Segments behind a probe: DupThresh, so that its loss is noticed (RFC 4821 7.4). */
const BEHIND = 3;
/** A probe that is lost may have met congestion: it is tried again once. */
const TRIES = 2;

/** MTUs that links and tunnels have (RFC 4821 7.3 would have them tried): a guess that is right saves the rest of the search. */
const USUAL: readonly number[] = [
  576, 1006, 1280, 1300, 1358, 1380, 1400, 1420, 1440, 1450, 1460, 1472, 1476, 1480, 1492, 1500, 2002, 2304, 4352, 4464, 8000, 8166, 9000,
  17914, 32000, 65535,
];

/** The search of one connection. Sizes are those of whole IP packets, bytes. */
export class MtuSearch {
  /** Known to get through; may get through. */
  low: number;
  high: number;
  /** Nothing smaller than `high` was tried yet: it is the first to be tried. */
  fresh = true;
  /** When to begin again, int32 ms; 0: the search goes on. */
  againMs = 0;
  /** The probe under way, 0: none; its place, and how often this size was lost already. */
  probe = 0;
  start = 0 as Seq;
  end = 0 as Seq;
  lost = 0;

  constructor(low: number, high: number) {
    this.low = low;
    this.high = high;
  }
}

/** Bytes of headers in front of the payload. */
function overhead(tcb: Tcb): number {
  return tcb.flow.headerLength + TCP_HEADER + (tcb.timestamps ? OPTLEN_TIMESTAMPS_PADDED : 0);
}

/** Largest packet that the link, ICMP, the peer and the user allow. */
function mostAllowed(tcb: Tcb): number {
  const mss = tcb.userMss > 0 ? Math.min(tcb.userMss, tcb.peerMss) : tcb.peerMss;
  return Math.min(tcb.flow.mtu, mss + tcb.flow.headerLength + TCP_HEADER);
}

/** The size to begin with; the least that is ever tried. IPv6 has no network that carries less than 1280. */
function baseSize(tcb: Tcb): number {
  return tcb.flow.version === 4 ? BASE_MSS + overhead(tcb) : IPV6_MIN_MTU;
}

function leastSize(tcb: Tcb): number {
  return tcb.flow.version === 4 ? IPV4_PATH_MTU_FLOOR : IPV6_MIN_MTU;
}

// -------------------------------------------------------------------------------------- begin, end

/** The connection is established: what is known of the path, or (`mtuProbing: 'on'`) the base. */
export function startMtuSearch(tcb: Tcb): void {
  const { config, probedMtus, nowMs } = tcb.home;
  if (config.mtuProbing === 'off' || tcb.flow.loopback) return;
  const most = mostAllowed(tcb);
  const known = probedMtus.get(tcb.flow, nowMs);
  if (known > 0 && known < most) {
    const search = tcb.mtuSearch = new MtuSearch(known, most);
    finish(tcb, search);
  } else if (known === 0 && config.mtuProbing === 'on' && baseSize(tcb) < most) {
    tcb.mtuSearch = new MtuSearch(baseSize(tcb), most);
  } else {
    return;
  }
  updateSndMss(tcb);
}

/** Nothing is left to try for now. */
function finish(tcb: Tcb, search: MtuSearch): void {
  search.againMs = (tcb.home.nowMs + AGAIN_MS) | 0 || 1;
  search.lost = 0;
}

/** Tells other connections what this one has found. */
function share(tcb: Tcb, search: MtuSearch): void {
  const { probedMtus, nowMs } = tcb.home;
  if (search.low >= mostAllowed(tcb)) probedMtus.forget(tcb.flow);
  else probedMtus.set(tcb.flow, search.low, nowMs);
}

// ------------------------------------------------------------------------------------ black holes

/**
 * The retransmission timer has fired, `tcb.retries` times in a row. When what is not acknowledged may be too large for
 * the path, and nobody says so, it is sent again in smaller segments.
 */
export function onMtuTimeout(tcb: Tcb): void {
  const { config, probedMtus, counters, nowMs } = tcb.home;
  const search = tcb.mtuSearch;
  if (search !== null && search.probe !== 0) {
    // A timeout tells nothing of a probe that is not the oldest (RFC 4821 7.7).
    if (tcb.sndUna === search.start) noteLost(tcb, search);
    search.probe = 0;
  }
  if (config.mtuProbing === 'off' || tcb.flow.loopback || tcb.retries === 0) return;
  const size = overhead(tcb) + Math.min(tcb.sndMss, tcb.flight);
  const known = search === null ? probedMtus.get(tcb.flow, nowMs) : 0;
  if (known > 0 && known < size) {
    lower(tcb, known, size);
  } else if (tcb.retries >= BLACK_HOLE_TIMEOUTS) {
    const base = baseSize(tcb);
    const low = size > base ? base : tcb.retries >= DEEP_HOLE_TIMEOUTS ? leastSize(tcb) : size;
    if (low >= size) return;
    counters.MtuBlackHoles++;
    lower(tcb, low, size);
  }
}

/** Packets of `size` bytes did not get through: from now on none is larger than `low`, and the search begins. */
function lower(tcb: Tcb, low: number, size: number): void {
  const search = tcb.mtuSearch ??= new MtuSearch(low, size);
  search.low = low;
  search.high = Math.max(search.high, size);
  // It may have been an outage: then this is the only probe.
  search.fresh = true;
  search.againMs = 0;
  search.lost = 0;
  updateSndMss(tcb);
}

// --------------------------------------------------------------------------------------- probing

/**
 * Sends a probe, if one is due and can be sent: 1 when one left; -1 when acknowledgments have to make room first, and
 * nothing else is to take it; else 0. Asked only when there is a search.
 */
export function sendMtuProbe(tcb: Tcb): number {
  const search = tcb.mtuSearch!;
  if (search.probe !== 0 || tcb.recovery !== RECOVERY_OPEN || tcb.dupAcks > 0 || tcb.sackedBytes > 0) return 0;
  if (search.againMs !== 0 && ((tcb.home.nowMs - search.againMs) | 0) < 0) return 0;
  const mss = tcb.sndMss;
  const behind = BEHIND * mss;
  const waiting = unsent(tcb);
  // Most often it ends here: too little to send.
  if (waiting < mss + behind) return 0;
  const size = nextSize(tcb, search);
  if (size === 0) return 0;
  const length = size - overhead(tcb);
  if (length <= mss || waiting < length + behind || Math.min(tcb.sndWnd, tcb.cwnd) < length + behind
    || paceRoom(tcb) < length || tcb.ecnCwr || seqGt(tcb.sndUp, tcb.sndUna)) return 0;
  if (Math.min(windowRoom(tcb), tcb.cwnd - tcb.pipe) < length) return tcb.flight > 0 ? -1 : 0;
  const start = tcb.sndNxt;
  // As long as it is on its way out the MSS is what it takes to be one segment.
  tcb.sndMss = length;
  const sent = sendNext(tcb, length, false);
  tcb.sndMss = mss;
  if (!sent) return 0;
  search.probe = size;
  search.start = start;
  search.end = seqAdd(start, length);
  // Nothing is left of earlier repairs: duplicate ACKs will speak of the probe (RFC 6582 3.2).
  tcb.recover = seqAdd(tcb.sndUna, -1);
  tcb.home.counters.MtuProbes++;
  return 1;
}

/** The size to try now; 0: none, and the search ends. */
function nextSize(tcb: Tcb, search: MtuSearch): number {
  const most = mostAllowed(tcb);
  if (search.againMs !== 0) {
    search.againMs = 0;
    search.high = most;
    search.fresh = true;
  }
  const high = Math.min(search.high, most);
  if (search.low >= high || !search.fresh && high - search.low < EXACT) {
    share(tcb, search);
    finish(tcb, search);
    return 0;
  }
  return search.fresh ? high : between(search.low, high);
}

/** About half-way between what gets through and what may, where possible a size that links have. */
function between(low: number, high: number): number {
  const middle = (low + high + 1) >> 1;
  const off = (high - low) >> 2;
  let best = middle;
  let distance = off + 1;
  for (const usual of USUAL) {
    const d = Math.abs(usual - middle);
    if (d <= distance && usual > low && usual <= high) {
      best = usual;
      distance = d;
    }
  }
  return best;
}

/** SND.UNA has moved. Asked only when there is a search. */
export function onMtuAck(tcb: Tcb): void {
  const search = tcb.mtuSearch!;
  if (search.probe === 0 || !seqGeq(tcb.sndUna, search.end)) return;
  tcb.home.counters.MtuProbesAcked++;
  search.low = Math.max(search.low, search.probe);
  search.probe = 0;
  search.lost = 0;
  search.fresh = false;
  updateSndMss(tcb);
  share(tcb, search);
}

/**
 * Something is thought lost, and nothing is being repaired yet. Returns true when that is the probe and nothing else: it
 * will be sent again in segments that fit, and the window stays what it is (RFC 4821 7.6.1). Else it is congestion, which
 * tells nothing of the probe (7.6.2). Asked only when there is a search.
 */
export function probeWasLost(tcb: Tcb): boolean {
  const search = tcb.mtuSearch!;
  if (search.probe === 0) return false;
  if (!onlyLost(tcb, search)) {
    search.probe = 0;
    return false;
  }
  repairProbe(tcb, search);
  noteLost(tcb, search);
  search.probe = 0;
  return true;
}

/** Sends the probe again in segments of the usual size: for its loss alone nothing slows down. */
function repairProbe(tcb: Tcb, { start, end }: MtuSearch): void {
  const { sent } = tcb.home;
  let at = rowAt(tcb, start, -1);
  if (at < 0) at = tcb.sentFirst;
  else if (sent.words[at + START] !== start) at = splitRow(tcb, at, start);
  for (; at >= 0 && seqLt(sent.words[at + START]! as Seq, end); at = sent.words[at + NEXT]!) {
    if (seqGt(sent.words[at + END]! as Seq, end) && splitRow(tcb, at, end) < 0) break;
    markLost(tcb, at);
  }
  tcb.recovery = RECOVERY_LOSS;
  tcb.recover = tcb.sndNxt;
  tcb.undoable = false;
  tcb.frto = false;
  tcb.newFirst = false;
  tcb.renoSacked = 0;
  tcb.lostHint = -1;
  tcb.rtxNow = true;
  tcb.home.pend(tcb);
}

/** Whether all that is lost is of the probe. */
function onlyLost(tcb: Tcb, { start, end }: MtuSearch): boolean {
  const words = tcb.home.sent.words;
  for (let at = tcb.sentFirst; at >= 0; at = words[at + NEXT]!) {
    if ((words[at + FLAGS]! & ROW_LOST) === 0) continue;
    if (seqLt(words[at + START]! as Seq, start) || seqGt(words[at + END]! as Seq, end)) return false;
  }
  return tcb.lostBytes > 0;
}

function noteLost(tcb: Tcb, search: MtuSearch): void {
  if (++search.lost < TRIES) return;
  tcb.home.counters.MtuProbesLost++;
  search.lost = 0;
  search.high = search.probe - 1;
  search.fresh = false;
  share(tcb, search);
}

/** ICMP has told of a smaller MTU, or IP has forgotten what it told. */
export function onMtuNews(tcb: Tcb): void {
  const search = tcb.mtuSearch;
  if (search === null) return;
  if (search.probe > tcb.flow.mtu && tcb.recovery === RECOVERY_OPEN) repairProbe(tcb, search);
  search.probe = 0;
  search.lost = 0;
  // A first try shows what the news are worth.
  search.high = tcb.flow.mtu;
  search.fresh = true;
}
