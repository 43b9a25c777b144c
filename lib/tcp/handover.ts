/**
 * Connections that go over from one home to another: a TCP in an application that exits hands what is still
 * closing to the kernel-style TCP, which brings the last bytes, the FIN and TIME-WAIT to their end.
 *
 * What crosses is a record, in network byte order, that holds all that the rest of the connection's life needs:
 *
 *     0          8            28                56            84             168            184
 *     +----------+------------+-----------------+-------------+--------------+--------------+-----------------+
 *     | kind,    | state,     | send sequence   | receive,    | RTT, cwnd,   | name of the  | bytes from      |
 *     | length   | options    | space, window   | timestamps  | timers, ages | congestion   | SND.UNA to the  |
 *     |          |            |                 |             | and figures  | control      | last one queued |
 *     +----------+------------+-----------------+-------------+--------------+--------------+-----------------+
 *
 * Addresses and ports are not in it: whoever takes the record knows which flow it is about. Whoever takes it does
 * not believe it either. It may come from memory that another process writes to while it is read, so the fixed
 * part is copied first; what cannot be (RFC 9293 3.3.1's order of sequence numbers, states, windows) makes the
 * record void, and what would only be unwise (round-trip times, windows of our own, timeouts) is brought within
 * bounds.
 *
 * The two homes have clocks of their own, so deadlines and moments cross as distances from the present. The
 * clock that the peer sees in timestamps goes on from where it stood: a step back would make PAWS drop all that
 * follows (RFC 7323 5.3).
 *
 * Left behind: the SACK scoreboard and whatever recovery goes on (what was lost is sent again when the
 * retransmission timer, which crosses, fires: RFC 6298 (5.4)), the measurement of a round trip under way, a FIN
 * of the peer that came before its turn (it will come again), keep-alive (something else watches over each of
 * these states), and what only an owner could ask for.
 */

import type { IpFlow } from '../ip/flow.ts';
import { seqAdd, seqDiff, seqLeq, seqMax } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { MAX_WINDOW_SCALE } from '../wire/tcp.ts';
import { createCongestionControl } from './congestion/congestion-control.ts';
import { MAX_CWND } from './congestion/cwnd.ts';
import { ECN_OFF, ECN_ON } from './ecn.ts';
import { updateSndMss } from './emit.ts';
import type { TcpHome } from './home.ts';
import { keptFromSender } from './memory-shares.ts';
import { currentRto, updateRto } from './rtt.ts';
import { noteSent, noteSentAgain } from './sent-segments.ts';
import { CLOSING, FIN_WAIT_1, FIN_WAIT_2, LAST_ACK } from './states.ts';
import { RECOVERY_OPEN, Tcb } from './tcb.ts';
import { deadline } from './timers.ts';

/** What a record is about: the first word of each, which also tells apart versions of this file. */
export const HANDOVER_TCB = 0x54434201;
export const HANDOVER_TIME_WAIT = 0x54575401;

const KIND = 0;
/** Bytes of the record in all. */
const LENGTH = 4;

// ---- a TCB: state and options, 8 bits each, then segment sizes ----
const STATE = 8;
const FLAGS = 9;
const SND_WSCALE = 10;
const RCV_WSCALE = 11;
const TOS = 12;
const TTL = 13;
const BACKOFF = 14;
const RETRIES = 15;
const PERSIST_SHIFT = 16;
const PEER_MSS = 20;
const USER_MSS = 22;
const ADV_MSS = 24;
const RCV_MSS = 26;
// ---- send sequence space ----
const SND_UNA = 28;
const SND_NXT = 32;
const SND_UP = 36;
const SND_WND = 40;
const MAX_SND_WND = 44;
const SND_WL1 = 48;
const SND_WL2 = 52;
// ---- receive sequence space, and timestamps ----
const RCV_NXT = 56;
const RCV_ADV = 60;
const LAST_ACK_SENT = 64;
/** What the timestamp clock of this connection shows now (TSval). */
const TS_NOW = 68;
const TS_RECENT = 72;
const TS_RECENT_AGE = 76;
const USER_TIMEOUT = 80;
// ---- round-trip time (µs), windows ----
const SRTT = 84;
const RTTVAR = 88;
const MIN_RTT = 92;
const MIN_RTT_AGE = 96;
const RTO = 100;
const CWND = 104;
const SSTHRESH = 108;
// ---- ms left of timers (0: off), ms since something happened (`NEVER`) ----
const REXMT_LEFT = 112;
const PERSIST_LEFT = 116;
const GIVE_UP_LEFT = 120;
const UNACKED_AGE = 124;
const LAST_SEND_AGE = 128;
const LAST_RECV_AGE = 132;
// ---- figures, 64-bit floats ----
const BYTES_SENT = 136;
const BYTES_ACKED = 144;
const BYTES_RECEIVED = 152;
const BYTES_RETRANS = 160;
/** In ASCII, filled up with zeros; like Linux's TCP_CA_NAME_MAX. */
const CONGESTION = 168;
const CONGESTION_BYTES = 16;
/** The data begins here. */
const TCB_BYTES = CONGESTION + CONGESTION_BYTES;

/** Bits of `FLAGS`. */
const FIN_SENT = 1;
const TIMESTAMPS = 2;
const SACK = 4;
/** An acknowledgment is due. */
const ACK_DUE = 8;
/** Loss was being repaired. */
const REPAIRING = 16;
/** ECN is agreed on. */
const ECN = 32;
const ALL_FLAGS = 63;

const NEVER = -1;

// ---- a connection in TIME-WAIT ----
const TW_FLAGS = 8;
const TW_TOS = 9;
const TW_TTL = 10;
const TW_WINDOW = 12;
const TW_SND_NXT = 16;
const TW_RCV_NXT = 20;
const TW_TS_NOW = 24;
const TW_TS_RECENT = 28;
const TW_LEFT = 32;
const TIME_WAIT_BYTES = 36;

/** Linux's TCP_MIN_MSS: who asks for smaller segments gets none of them here. */
const LEAST_USER_MSS = 88;
/** The least that takeSyn (handshake.ts) ever makes of a peer's MSS. */
const LEAST_PEER_MSS = 64;
/** No round trip is believed to be longer, µs. */
const MAX_RTT_US = 120_000_000;
const MAX_AGE_MS = 0x7fffffff;
/** Doublings beyond which none is ever counted (rtt.ts, timers.ts). */
const MAX_SHIFT = 30;
/** Most data of one connection that goes over, bytes: the two homes may have send buffers of different sizes. */
const MAX_QUEUED = 16 << 20;
/** The longest interval of the persist timer, ms (timers.ts). */
const MAX_PERSIST_MS = 60_000;

/** The fixed part of the record being read: what was checked does not change any more. */
const scratch = new Uint8Array(TCB_BYTES);
const fields = new DataView(scratch.buffer);

/** What is left of a connection in TIME-WAIT (lib/home/time-wait.ts). Times are the home's. */
export interface TimeWaitState {
  sndNxt: Seq;
  rcvNxt: Seq;
  /** The window field of ACKs, scaled down already. */
  window: number;
  timestamps: boolean;
  tsRecent: number;
  tsOffset: number;
  tos: number;
  ttl: number;
  /** Until it is over, ms. */
  leftMs: number;
}

/** Whether this TCB can go over: its user has closed it, and only the end of the connection is left to happen. */
export function canHandOver(tcb: Tcb): boolean {
  const state = tcb.state;
  return tcb.orphan && tcb.finQueued && (state === FIN_WAIT_1 || state === FIN_WAIT_2 || state === CLOSING || state === LAST_ACK);
}

/** Bytes that the record of `tcb` takes. */
export function tcbRecordLength(tcb: Tcb): number {
  return TCB_BYTES + tcb.sndQueued;
}

/** `HANDOVER_TCB`, `HANDOVER_TIME_WAIT`, or 0: the `length` bytes at `at` are no record. */
export function handoverKind(view: DataView, at: number, length: number): number {
  if (at < 0 || length < TIME_WAIT_BYTES || at + length > view.byteLength) return 0;
  const kind = view.getInt32(at + KIND);
  return kind === HANDOVER_TCB || kind === HANDOVER_TIME_WAIT ? kind : 0;
}

// ------------------------------------------------------------------------------------------- writing

/** Milliseconds since `thenMs`. */
function age(tcb: Tcb, thenMs: number): number {
  return Math.min((tcb.home.nowMs - thenMs) >>> 0, MAX_AGE_MS);
}

/** Milliseconds until the deadline, at least 1; 0 when it is off. */
function left(tcb: Tcb, atMs: number): number {
  return atMs === 0 ? 0 : Math.max((atMs - tcb.home.nowMs) | 0, 1);
}

/**
 * Writes the record of a closing connection that nobody holds any more, with everything from SND.UNA on that
 * its send buffer has, to `view` at `at`. The TCB stays as it is: once the record is accepted, the home that
 * had it lets go without a word (`TcpHost.release`).
 *
 * Returns the bytes written; 0 when they are more than `room`, or the TCB cannot go over (`canHandOver`).
 */
export function writeTcb(tcb: Tcb, view: DataView, at: number, room: number): number {
  const queued = tcb.sndQueued;
  const length = TCB_BYTES + queued;
  if (!canHandOver(tcb) || length > room || at < 0 || at + length > view.byteLength) return 0;
  const home = tcb.home;
  const repairing = tcb.recovery !== RECOVERY_OPEN;
  view.setInt32(at + KIND, HANDOVER_TCB);
  view.setInt32(at + LENGTH, length);

  view.setUint8(at + STATE, tcb.state);
  view.setUint8(at + FLAGS, (tcb.finSent ? FIN_SENT : 0) | (tcb.timestamps ? TIMESTAMPS : 0) | (tcb.sack ? SACK : 0)
    | (tcb.ackNow || tcb.rcvUnacked > 0 ? ACK_DUE : 0) | (repairing ? REPAIRING : 0)
    | (tcb.ecn === ECN_ON ? ECN : 0));
  view.setUint8(at + SND_WSCALE, tcb.sndWscale);
  view.setUint8(at + RCV_WSCALE, Math.max(tcb.rcvWscale, 0));
  view.setUint8(at + TOS, tcb.flow.tos);
  view.setUint8(at + TTL, tcb.flow.ttl);
  view.setUint8(at + BACKOFF, Math.min(tcb.backoff, MAX_SHIFT));
  view.setUint8(at + RETRIES, Math.min(tcb.retries, 255));
  view.setUint8(at + PERSIST_SHIFT, tcb.persistShift);
  for (let i = PERSIST_SHIFT + 1; i < PEER_MSS; i++) view.setUint8(at + i, 0);
  view.setUint16(at + PEER_MSS, tcb.peerMss);
  view.setUint16(at + USER_MSS, tcb.userMss);
  view.setUint16(at + ADV_MSS, tcb.advMss);
  view.setUint16(at + RCV_MSS, tcb.rcvMss);

  view.setInt32(at + SND_UNA, tcb.sndUna);
  view.setInt32(at + SND_NXT, tcb.sndNxt);
  view.setInt32(at + SND_UP, seqMax(tcb.sndUp, tcb.sndUna));
  view.setInt32(at + SND_WND, tcb.sndWnd);
  view.setInt32(at + MAX_SND_WND, tcb.maxSndWnd);
  view.setInt32(at + SND_WL1, tcb.sndWl1);
  view.setInt32(at + SND_WL2, tcb.sndWl2);

  view.setInt32(at + RCV_NXT, tcb.rcvNxt);
  view.setInt32(at + RCV_ADV, tcb.rcvAdv);
  view.setInt32(at + LAST_ACK_SENT, tcb.lastAckSent);
  view.setInt32(at + TS_NOW, (home.nowMs + tcb.tsOffset) | 0);
  view.setInt32(at + TS_RECENT, tcb.tsRecent);
  view.setInt32(at + TS_RECENT_AGE, age(tcb, tcb.tsRecentMs));
  view.setInt32(at + USER_TIMEOUT, Math.min(tcb.userTimeoutMs, MAX_AGE_MS));

  view.setInt32(at + SRTT, tcb.srttUs);
  view.setInt32(at + RTTVAR, tcb.rttvarUs);
  view.setInt32(at + MIN_RTT, tcb.minRttUs);
  view.setInt32(at + MIN_RTT_AGE, age(tcb, tcb.minRttMs));
  view.setInt32(at + RTO, tcb.rtoMs);
  view.setInt32(at + CWND, repairing ? Math.min(tcb.cwnd, tcb.ssthresh) : tcb.cwnd);
  view.setInt32(at + SSTHRESH, tcb.ssthresh);

  view.setInt32(at + REXMT_LEFT, left(tcb, tcb.rexmtAt));
  view.setInt32(at + PERSIST_LEFT, left(tcb, tcb.persistAt));
  view.setInt32(at + GIVE_UP_LEFT, left(tcb, tcb.giveUpAt));
  view.setInt32(at + UNACKED_AGE, age(tcb, tcb.unackedSinceMs));
  view.setInt32(at + LAST_SEND_AGE, tcb.lastSendMs === 0 ? NEVER : age(tcb, tcb.lastSendMs));
  view.setInt32(at + LAST_RECV_AGE, age(tcb, tcb.lastRecvMs));

  view.setFloat64(at + BYTES_SENT, tcb.bytesSent);
  view.setFloat64(at + BYTES_ACKED, tcb.bytesAcked);
  view.setFloat64(at + BYTES_RECEIVED, tcb.bytesReceived);
  view.setFloat64(at + BYTES_RETRANS, tcb.bytesRetrans);
  const { name } = tcb.congestion;
  for (let i = 0; i < CONGESTION_BYTES; i++) view.setUint8(at + CONGESTION + i, i < name.length ? name.charCodeAt(i) : 0);

  if (queued > 0) tcb.sndBuffer.copyOut(0, bytesOf(view), at + TCB_BYTES, queued);
  return length;
}

/** Writes the record of a connection in TIME-WAIT; `nowMs` is its home's. Returns the bytes written, 0 when there is no room. */
export function writeTimeWait(state: TimeWaitState, nowMs: number, view: DataView, at: number, room: number): number {
  if (room < TIME_WAIT_BYTES || at < 0 || at + TIME_WAIT_BYTES > view.byteLength) return 0;
  view.setInt32(at + KIND, HANDOVER_TIME_WAIT);
  view.setInt32(at + LENGTH, TIME_WAIT_BYTES);
  view.setUint8(at + TW_FLAGS, state.timestamps ? TIMESTAMPS : 0);
  view.setUint8(at + TW_TOS, state.tos);
  view.setUint8(at + TW_TTL, state.ttl);
  view.setUint8(at + TW_TTL + 1, 0);
  view.setUint16(at + TW_WINDOW, state.window);
  view.setUint16(at + TW_WINDOW + 2, 0);
  view.setInt32(at + TW_SND_NXT, state.sndNxt);
  view.setInt32(at + TW_RCV_NXT, state.rcvNxt);
  view.setInt32(at + TW_TS_NOW, (nowMs + state.tsOffset) | 0);
  view.setInt32(at + TW_TS_RECENT, state.tsRecent);
  view.setInt32(at + TW_LEFT, state.leftMs);
  return TIME_WAIT_BYTES;
}

// ------------------------------------------------------------------------------------------- reading

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Copies the fixed part of a record to `scratch`. Returns false when it is no record of this kind and of exactly this length. */
function take(kind: number, view: DataView, at: number, length: number, fixed: number): boolean {
  if (at < 0 || length < fixed || at + length > view.byteLength) return false;
  scratch.set(new Uint8Array(view.buffer, view.byteOffset + at, fixed));
  return fields.getInt32(KIND) === kind && fields.getInt32(LENGTH) === length;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

/** A count of bytes as `writeTcb` wrote it, or -1. */
function figure(at: number): number {
  const value = fields.getFloat64(at);
  return Number.isSafeInteger(value) && value >= 0 ? value : -1;
}

/** The moment `field` milliseconds ago; never 0, which means that it never was. */
function since(home: TcpHome, field: number): number {
  return (home.nowMs - Math.max(fields.getInt32(field), 0)) | 0 || 1;
}

/** The deadline that has `field` milliseconds left, at most `mostMs`; 0 when it is off. */
function due(tcb: Tcb, field: number, mostMs: number): number {
  const ms = fields.getInt32(field);
  return ms <= 0 ? 0 : deadline(tcb, clamp(ms, 1, mostMs));
}

/**
 * Whether the states and sequence numbers in `fields` can be those of one connection that has `queued` bytes
 * from SND.UNA on (RFC 9293 3.3.1, 3.3.2).
 */
function consistent(queued: number): boolean {
  const state = fields.getUint8(STATE);
  if (state !== FIN_WAIT_1 && state !== FIN_WAIT_2 && state !== CLOSING && state !== LAST_ACK) return false;
  const flags = fields.getUint8(FLAGS);
  if ((flags & ~ALL_FLAGS) !== 0) return false;
  const sndWscale = fields.getUint8(SND_WSCALE);
  const rcvWscale = fields.getUint8(RCV_WSCALE);
  if (sndWscale > MAX_WINDOW_SCALE || rcvWscale > MAX_WINDOW_SCALE || fields.getUint8(TTL) === 0) return false;
  const userMss = fields.getUint16(USER_MSS);
  if (fields.getUint16(PEER_MSS) < LEAST_PEER_MSS || userMss !== 0 && userMss < LEAST_USER_MSS) return false;

  // SND.UNA =< SND.NXT =< what is queued, and the FIN behind it, which is acknowledged in FIN-WAIT-2 only.
  const sndUna = fields.getInt32(SND_UNA) as Seq;
  const sndNxt = fields.getInt32(SND_NXT) as Seq;
  const flight = seqDiff(sndNxt, sndUna);
  const finSent = (flags & FIN_SENT) !== 0;
  if (state === FIN_WAIT_2) {
    if (!finSent || flight !== 0 || queued !== 0) return false;
  } else if (finSent ? flight !== queued + 1 : flight < 0 || flight > queued) {
    return false;
  }
  const urgent = seqDiff(fields.getInt32(SND_UP) as Seq, sndUna);
  if (urgent < 0 || urgent > queued) return false;
  // The window, and the segment that told it.
  const mostSent = 0xffff << sndWscale;
  const sndWnd = fields.getInt32(SND_WND);
  const maxSndWnd = fields.getInt32(MAX_SND_WND);
  if (sndWnd < 0 || sndWnd > maxSndWnd || maxSndWnd > mostSent) return false;
  const rcvNxt = fields.getInt32(RCV_NXT) as Seq;
  const rcvAdv = fields.getInt32(RCV_ADV) as Seq;
  if (!seqLeq(fields.getInt32(SND_WL1) as Seq, rcvAdv) || !seqLeq(fields.getInt32(SND_WL2) as Seq, sndNxt)) return false;
  // RCV.WND.
  const rcvWnd = seqDiff(rcvAdv, rcvNxt);
  if (rcvWnd < 0 || rcvWnd > 0xffff << rcvWscale) return false;
  return seqLeq(fields.getInt32(LAST_ACK_SENT) as Seq, rcvNxt)
    && fields.getInt32(USER_TIMEOUT) >= 0
    && figure(BYTES_SENT) >= 0 && figure(BYTES_ACKED) >= 0 && figure(BYTES_RECEIVED) >= 0 && figure(BYTES_RETRANS) >= 0;
}

/** The name in `fields`, or ''. */
function congestionName(): string {
  let name = '';
  for (let i = 0; i < CONGESTION_BYTES; i++) {
    const code = scratch[CONGESTION + i]!;
    if (code === 0) break;
    name += String.fromCharCode(code);
  }
  return name;
}

/**
 * Makes the TCB of a connection that another home had, out of the record of exactly `length` bytes at `at`. It is
 * in no table yet and no timer is set: `TcpHost.adopt` comes next, in the same turn, or the TCB's send buffer is
 * to be cleared.
 *
 * @param flow addresses and route, as `IpLayer.route` left it; copied. `tos` and `ttl` are the record's
 * @returns null when the record is not one that `writeTcb` could have written, has more data than 16 MiB, or when the
 * memory for them cannot be had
 */
export function readTcb(
  home: TcpHome, flow: IpFlow, localPort: number, remotePort: number, view: DataView, at: number, length: number,
): Tcb | null {
  const queued = length - TCB_BYTES;
  if (queued > MAX_QUEUED || !take(HANDOVER_TCB, view, at, length, TCB_BYTES) || !consistent(queued)) return null;
  const congestion = createCongestionControl(congestionName());
  // What is in flight must be remembered as such.
  if (congestion === undefined || home.sent.full) return null;

  const tcb = new Tcb(home, congestion);
  if (queued > 0 && tcb.sndBuffer.put(0, bytesOf(view), at + TCB_BYTES, queued, keptFromSender(tcb)) < queued) {
    tcb.sndBuffer.clear();
    return null;
  }
  Object.assign(tcb.flow, flow);
  tcb.flow.tos = fields.getUint8(TOS);
  tcb.flow.ttl = fields.getUint8(TTL);
  tcb.localPort = localPort;
  tcb.remotePort = remotePort;
  readState(tcb, queued);
  readSequence(tcb, queued);
  readPath(tcb);
  readTimers(tcb);
  return tcb;
}

function readState(tcb: Tcb, queued: number): void {
  const { config } = tcb.home;
  const flags = fields.getUint8(FLAGS);
  const state = fields.getUint8(STATE);
  tcb.state = state;
  // As closeTcb (user.ts) leaves it.
  tcb.orphan = true;
  tcb.finQueued = true;
  tcb.rcvShutdown = true;
  tcb.finSent = (flags & FIN_SENT) !== 0;
  tcb.finReceived = state === CLOSING || state === LAST_ACK;
  tcb.timestamps = (flags & TIMESTAMPS) !== 0;
  tcb.sack = (flags & SACK) !== 0;
  tcb.ecn = (flags & ECN) !== 0 ? ECN_ON : ECN_OFF;
  tcb.ackNow = (flags & ACK_DUE) !== 0;
  tcb.sndWscale = fields.getUint8(SND_WSCALE);
  tcb.rcvWscale = fields.getUint8(RCV_WSCALE);
  tcb.peerMss = fields.getUint16(PEER_MSS);
  tcb.userMss = fields.getUint16(USER_MSS);
  tcb.advMss = fields.getUint16(ADV_MSS);
  tcb.rcvMss = Math.max(fields.getUint16(RCV_MSS), 1);
  tcb.sndbufLimit = Math.max(queued, config.sndbufInitial);
  tcb.sndbufLocked = true;
  tcb.quickAcks = 0;
  tcb.bytesSent = figure(BYTES_SENT);
  tcb.bytesAcked = figure(BYTES_ACKED);
  tcb.bytesReceived = figure(BYTES_RECEIVED);
  tcb.bytesRetrans = figure(BYTES_RETRANS);
}

function readSequence(tcb: Tcb, queued: number): void {
  const { home } = tcb;
  const sndUna = fields.getInt32(SND_UNA) as Seq;
  const sndNxt = fields.getInt32(SND_NXT) as Seq;
  tcb.sndUna = sndUna;
  tcb.sndNxt = sndNxt;
  tcb.sndUp = fields.getInt32(SND_UP) as Seq;
  // In FIN-WAIT-2 the FIN's number lies between the end of the data and SND.UNA.
  tcb.sndBase = tcb.state === FIN_WAIT_2 ? seqAdd(sndUna, -1) : sndUna;
  tcb.sndEnd = seqAdd(tcb.sndBase, queued);
  tcb.sndSmall = sndUna;
  tcb.ecnRecover = seqAdd(sndUna, -1);
  tcb.sndWnd = fields.getInt32(SND_WND);
  tcb.maxSndWnd = fields.getInt32(MAX_SND_WND);
  tcb.sndWl1 = fields.getInt32(SND_WL1) as Seq;
  tcb.sndWl2 = fields.getInt32(SND_WL2) as Seq;
  tcb.rackFack = sndUna;
  // What is in flight counts as sent now; it may have been sent before, so that it says nothing of the round trip.
  if (sndNxt !== sndUna) {
    noteSent(tcb, sndUna, sndNxt);
    noteSentAgain(tcb, tcb.sentFirst, false);
  }
  tcb.deliveredSeq = sndUna;
  tcb.deliveredUs = home.nowUs;
  // RFC 6582 3.2: duplicate ACKs that an earlier repair brings about begin no other.
  tcb.recover = (fields.getUint8(FLAGS) & REPAIRING) !== 0 ? sndNxt : seqAdd(sndUna, -1);

  const rcvNxt = fields.getInt32(RCV_NXT) as Seq;
  tcb.rcvNxt = rcvNxt;
  tcb.rcvRead = rcvNxt;
  tcb.tuneSeq = rcvNxt;
  tcb.tuneUs = home.nowUs;
  tcb.rcvAdv = fields.getInt32(RCV_ADV) as Seq;
  tcb.lastAckSent = fields.getInt32(LAST_ACK_SENT) as Seq;
  tcb.tsOffset = (fields.getInt32(TS_NOW) - home.nowMs) | 0;
  tcb.tsRecent = fields.getInt32(TS_RECENT);
  tcb.tsRecentMs = since(home, TS_RECENT_AGE);
}

/** Round trip and windows. `readSequence` has been. */
function readPath(tcb: Tcb): void {
  const { home } = tcb;
  const { config } = home;
  updateSndMss(tcb);
  tcb.srttUs = clamp(fields.getInt32(SRTT), 0, MAX_RTT_US);
  tcb.rttvarUs = clamp(fields.getInt32(RTTVAR), 0, MAX_RTT_US);
  tcb.minRttUs = clamp(fields.getInt32(MIN_RTT), 0, MAX_RTT_US);
  tcb.minRttMs = since(home, MIN_RTT_AGE);
  if (tcb.srttUs > 0) updateRto(tcb);
  else tcb.rtoMs = clamp(fields.getInt32(RTO), Math.min(config.minRtoMs, config.initialRtoMs), config.maxRtoMs);
  tcb.backoff = Math.min(fields.getUint8(BACKOFF), MAX_SHIFT);
  tcb.retries = fields.getUint8(RETRIES);
  tcb.cwnd = clamp(fields.getInt32(CWND), tcb.sndMss, MAX_CWND);
  tcb.ssthresh = Math.max(fields.getInt32(SSTHRESH), 2 * tcb.sndMss);
}

function readTimers(tcb: Tcb): void {
  const { home } = tcb;
  tcb.userTimeoutMs = fields.getInt32(USER_TIMEOUT);
  tcb.unackedSinceMs = since(home, UNACKED_AGE);
  tcb.lastSendMs = fields.getInt32(LAST_SEND_AGE) === NEVER ? 0 : since(home, LAST_SEND_AGE);
  tcb.lastRecvMs = since(home, LAST_RECV_AGE);
  tcb.persistShift = Math.min(fields.getUint8(PERSIST_SHIFT), MAX_SHIFT);
  // Each timer runs where something depends on it, and nowhere else, whatever the record says.
  if (tcb.flight > 0) tcb.rexmtAt = due(tcb, REXMT_LEFT, currentRto(tcb)) || deadline(tcb, currentRto(tcb));
  else if (!tcb.finSent) tcb.persistAt = due(tcb, PERSIST_LEFT, MAX_PERSIST_MS);
  const finWait2Ms = tcb.home.config.finWait2Ms;
  if (tcb.state === FIN_WAIT_2) tcb.giveUpAt = due(tcb, GIVE_UP_LEFT, finWait2Ms) || deadline(tcb, finWait2Ms);
  else if (tcb.home.config.limits.orphanMs > 0) tcb.giveUpAt = deadline(tcb, tcb.home.config.limits.orphanMs);
}

/** What `writeTimeWait` wrote, as it is in `home`; or null when it did not write this. */
export function readTimeWait(home: TcpHome, view: DataView, at: number, length: number): TimeWaitState | null {
  if (length !== TIME_WAIT_BYTES || !take(HANDOVER_TIME_WAIT, view, at, length, TIME_WAIT_BYTES)) return null;
  const flags = fields.getUint8(TW_FLAGS);
  const ttl = fields.getUint8(TW_TTL);
  if ((flags & ~TIMESTAMPS) !== 0 || ttl === 0) return null;
  return {
    sndNxt: fields.getInt32(TW_SND_NXT) as Seq,
    rcvNxt: fields.getInt32(TW_RCV_NXT) as Seq,
    window: fields.getUint16(TW_WINDOW),
    timestamps: flags !== 0,
    tsRecent: fields.getInt32(TW_TS_RECENT),
    tsOffset: (fields.getInt32(TW_TS_NOW) - home.nowMs) | 0,
    tos: fields.getUint8(TW_TOS),
    ttl,
    leftMs: clamp(fields.getInt32(TW_LEFT), 1, Math.max(home.config.timeWaitMs, 1)),
  };
}
