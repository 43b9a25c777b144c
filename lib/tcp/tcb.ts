/**
 * The transmission control block (RFC 9293 3.3.1): all that TCP knows of one connection. Only numbers
 * in one order, so that every TCB has the same shape; what only busy or troubled connections need (the
 * out-of-order list) is made when it is needed, and what is in flight is in the home's slab (sent-segments.ts).
 *
 *   send buffer       sndUna              sndNxt            sndEnd
 *        |               |                   |                 |
 *   -----+---------------+-------------------+-----------------+----- sequence space
 *        | acknowledged  |  sent, unacked    |  queued         |
 *                        ^ lost? sacked?     ^ window, cwnd
 *
 *   receive buffer    rcvRead            rcvNxt            rcvAdv
 *   -----+---------------+-------------------+-----------------+----- sequence space
 *        | read by the   | in order, unread  | holes and       |
 *        | application   | (stored, lent)    | out-of-order    |
 */

import { StreamBuffer } from '../buffer/stream-buffer.ts';
import { IpFlow } from '../ip/flow.ts';
import type { Seq } from '../wire/seq.ts';
import type { FastOpen } from './fast-open.ts';
import type { CongestionControl } from './congestion/congestion-control.ts';
import type { TcpHome } from './home.ts';
import type { MtuSearch } from './plpmtud.ts';
import { CLOSED } from './states.ts';

/**
 * `recovery`: no loss known; repairing what SACK, RACK or duplicate ACKs told of; after a retransmission timeout;
 * slowing down because the network asks for it (ECN), or a probe has repaired a loss.
 */
export const RECOVERY_OPEN = 0;
export const RECOVERY_FAST = 1;
export const RECOVERY_LOSS = 2;
export const RECOVERY_CWR = 3;

/** `probe`: none is out; one of new data; one of data sent before (TLP.is_retrans; RFC 8985 7.1). */
export const PROBE_NONE = 0;
export const PROBE_NEW = 1;
export const PROBE_REPEATED = 2;

/** A half-open TCB's listener, or an owner that wants to hear of events. Known to the home only. */
export interface TcbOwner {
  /** `POLL…` bits that came to hold; called at the end of the turn, before output. */
  ready(tcb: Tcb, events: number): void;
}

/** Where a passively opened connection waits until it is accepted. */
export interface TcbListener {
  readonly halfOpen: Set<Tcb>;
  readonly queue: Tcb[];
  /** In `queue` or accepted, but not established yet (Fast Open). */
  readonly fastOpens: Set<Tcb>;
}

export class Tcb {
  readonly home: TcpHome;
  /** Addresses, path MTU, TOS. */
  readonly flow = new IpFlow();
  localPort = 0;
  remotePort = 0;
  state = CLOSED;
  /** Whether the connection was opened passively (MUST-11). */
  passive = false;
  /** Who is told of events: the socket, or null before it is accepted and after it was closed. */
  owner: TcbOwner | null = null;
  /** While half open: whose SYN queue it is in. Known to the home only. */
  listener: TcbListener | null = null;
  /** Fast Open, until the connection is established; null when it is not asked for. */
  fastOpen: FastOpen | null = null;
  /** The user has closed: what is left happens by itself, and nobody reads. */
  orphan = false;
  /** The home's index for this TCB in its connection table, -1 when not there. */
  entry = -1;

  // ---- send sequence space (RFC 9293 3.3.1) ----
  /** SND.UNA: oldest unacknowledged. */
  sndUna = 0 as Seq;
  /** SND.NXT: next to be sent for the first time. Never moves back. */
  sndNxt = 0 as Seq;
  /** SND.WND, scaled: bytes. */
  sndWnd = 0;
  /** SND.WL1, SND.WL2: segment that last updated the window. */
  sndWl1 = 0 as Seq;
  sndWl2 = 0 as Seq;
  /** SND.UP */
  sndUp = 0 as Seq;
  iss = 0 as Seq;
  /** Largest window that the peer ever told (SWS avoidance; RFC 5961 section 5). */
  maxSndWnd = 0;
  /** One past the last byte queued: where a FIN goes. */
  sndEnd = 0 as Seq;
  /** Sequence number of the send buffer's first byte. */
  sndBase = 0 as Seq;
  readonly sndBuffer: StreamBuffer;
  sndbufLimit: number;
  /** Of `sndbufLimit`: what it has taken of the home's `sndbufGrowth`. */
  sndbufGrown = 0;
  sndbufLocked = false;
  /** A FIN is to follow the last byte; it has been sent. */
  finQueued = false;
  finSent = false;
  /** One past the last segment that was smaller than the MSS (Minshall's Nagle, as Linux does it). */
  sndSmall = 0 as Seq;

  // ---- receive sequence space ----
  /** RCV.NXT */
  rcvNxt = 0 as Seq;
  /** RCV.NXT + RCV.WND as last told: the window's right edge, never moved back (SHLD-14). */
  rcvAdv = 0 as Seq;
  irs = 0 as Seq;
  /** RCV.UP, and whether one is pending. */
  rcvUp = 0 as Seq;
  urgent = false;
  /** Sequence number of the next byte that the application will read: the receive buffer's offset 0. */
  rcvRead = 0 as Seq;
  readonly rcvBuffer: StreamBuffer;
  rcvbufLimit: number;
  /** Of `rcvbufLimit`: what it has taken of the home's `rcvbufGrowth`. */
  rcvbufGrown = 0;
  rcvbufLocked = false;
  /** In-order bytes in `rcvBuffer`; in-order bytes after them that still lie in the receive slab. */
  rcvStored = 0;
  rcvLent = 0;
  lentFirst = -1;
  lentLast = -1;
  /** The peer's FIN has been taken in order. */
  finReceived = false;
  /** The peer's FIN has been seen, perhaps out of order; its sequence number. */
  finKnown = false;
  finAt = 0 as Seq;
  /** Nobody reads any more: data is acknowledged and dropped (shutdown(SHUT_RD)). */
  rcvShutdown = false;
  /** Out-of-order ranges: left and right edge, ascending, disjoint, not touching. */
  ooo: Int32Array | null = null;
  oooCount = 0;
  /** What arrived twice, to be told once by the next ACK without data (RFC 2883); empty: nothing. */
  dsackLeft = 0 as Seq;
  dsackRight = 0 as Seq;
  /** First sequence numbers of the latest out-of-order arrivals, newest first, for SACK (RFC 2018 section 4). */
  sackRecent: Int32Array | null = null;

  // ---- acknowledging ----
  ackNow = false;
  /** Segments out of order since the last ACK; counted, up to a few, only when there is no SACK. */
  gapSegments = 0;
  /** Bytes received and not acknowledged. */
  rcvUnacked = 0;
  /** ACKs that are still sent at once, at the start of a connection, as Linux does. */
  quickAcks = 16;
  /** Payload of the largest segment seen: what counts as full-sized (SHLD-19). */
  rcvMss = 536;
  /** Last.ACK.sent (RFC 7323 4.3). */
  lastAckSent = 0 as Seq;

  // ---- options ----
  /** Most payload that the peer takes (its MSS option); that we take. */
  peerMss = 536;
  advMss = 0;
  /** Most payload in a segment now: min of peerMss and path MTU, less options. */
  sndMss = 536;
  userMss = 0;
  /** Shift for windows that we receive (Snd.Wind.Shift), and that we send; -1 before: not agreed. */
  sndWscale = 0;
  rcvWscale = 0;
  timestamps = false;
  sack = false;
  /** TS.Recent and when it was taken (ms). */
  tsRecent = 0;
  tsRecentMs = 0;
  tsOffset = 0;

  // ---- explicit congestion notification (RFC 3168; ecn.ts) ----
  /** `ECN_…` */
  ecn = 0;
  /** A mark has come and the peer has not said CWR: every ACK has ECE. */
  ecnEcho = false;
  /** The window was reduced: the next new data has CWR. */
  ecnCwr = false;
  /** SND.NXT at the last reduction: ECE in ACKs up to here is old news. */
  ecnRecover = 0 as Seq;

  // ---- size of packets (plpmtud.ts, icmp.ts) ----
  /** The search for what the path carries, or null: no need was seen. */
  mtuSearch: MtuSearch | null = null;
  /** The MSS of the first full-sized segment since the MSS changed, and `bytesSent` behind it; 0: none was sent. */
  fullMss = 0;
  fullEnd = 0;
  /** What ICMP said of the segment at `icmpSeq`, and was not believed at once; 0: nothing. */
  icmpMtu = 0;
  icmpSeq = 0 as Seq;

  // ---- round-trip time (RFC 6298), µs ----
  /** 0 before the first sample. */
  srttUs = 0;
  rttvarUs = 0;
  /** Least sample of the last minutes, and when it was taken (ms). */
  minRttUs = 0;
  minRttMs = 0;
  rtoMs: number;
  /** Doublings of the RTO since the last new ACK. */
  backoff = 0;
  /** The segment being timed ends here; when it was sent (int32 µs). */
  timing = false;
  timedSeq = 0 as Seq;
  timedUs = 0;

  // ---- congestion control and loss recovery ----
  congestion: CongestionControl;
  cwnd = 0;
  ssthresh = 0x7fffffff;
  /** Bytes a second that output is spread over; 0: as the window lets it. Set by congestion control. */
  pacingRate = 0;
  /** Round trip that the last acknowledgment brought, µs; 0: none. */
  lastRttUs = 0;
  /** C.delivered: bytes known to have arrived, in all; when that last changed (int32 µs). */
  delivered = 0;
  deliveredAtUs = 0;
  recovery = RECOVERY_OPEN;
  /** recover (RFC 6582), RecoveryPoint (RFC 6675). */
  recover = 0 as Seq;
  dupAcks = 0;
  /** Validation of cwnd (congestion/cwnd.ts): whether it stopped output in the present flight, and most that was in flight. */
  cwndLimited = false;
  usageFlight = 0;
  /** The present flight is over when this is acknowledged. */
  usageSeq = 0 as Seq;
  /** Most in flight since cwnd was last used, and when that was (ms). */
  unusedFlight = 0;
  unusedMs = 0;
  /** Bytes that duplicate ACKs stand for when there is no SACK. */
  renoSacked = 0;
  /** What is in flight (sent-segments.ts): first and last row by sequence number and by time of sending, -1: none. */
  sentFirst = -1;
  sentLast = -1;
  xmitFirst = -1;
  xmitLast = -1;
  /** Rows there are only because SACK has cut others (ROW_CUT). */
  splits = 0;
  /** Rows in all. */
  rows = 0;
  /** Of it, bytes SACKed; thought lost; thought lost, and sent again. */
  sackedBytes = 0;
  lostBytes = 0;
  rtxBytes = 0;
  /** Below this row nothing is lost that was not sent again; -1: not known. */
  lostHint = -1;
  /** The next retransmission leaves whatever the window says. */
  rtxNow = false;

  // ---- RACK and tail loss probes (RFC 8985) ----
  /** RACK.xmit_ts, RACK.end_seq and RACK.rtt (0: nothing has arrived) of the latest sent that has arrived; RACK.fack. */
  rackXmitUs = 0;
  rackEnd = 0 as Seq;
  rackRttUs = 0;
  /** Whether it had been sent before. */
  rackRepeated = false;
  rackFack = 0 as Seq;
  reorderingSeen = false;
  /** RACK.reo_wnd_mult, RACK.reo_wnd_persist, RACK.dsack_round. */
  reoWndMult = 1;
  reoWndPersist = 0;
  dsackRound = false;
  dsackRoundEnd = 0 as Seq;
  /** `PROBE_…`, and TLP.end_seq. */
  probe = PROBE_NONE;
  probeEnd = 0 as Seq;

  // ---- proportional rate reduction (RFC 6937), bytes ----
  prrDelivered = 0;
  prrOut = 0;
  recoverFs = 0;

  // ---- undo (RFC 3522, 4015, 5682) ----
  /** The last reduction can still turn out to have been for nothing; it began at this SND.UNA. */
  undoable = false;
  undoSeq = 0 as Seq;
  /** Bytes sent again since then and not yet told to have arrived twice; whether there were any, and the timestamp of the first. */
  undoBytes = 0;
  undoSent = false;
  repairTs = 0;
  priorCwnd = 0;
  priorSsthresh = 0;
  /** F-RTO has not decided yet; new data goes before retransmissions. */
  frto = false;
  newFirst = false;

  // ---- delivery rate and pacing ----
  /** C.first_sent_time, µs; C.app_limited: delivered when what was sent with too little to send will have arrived, 0: not. */
  firstSentUs = 0;
  appLimited = 0;
  /** Bytes that may leave, as of `paceUs`. */
  paceCredit = 0;
  paceUs = 0;

  // ---- timers: int32 ms of the home, 0 = off ----
  /** Retransmission. Armed while something is unacknowledged, SYN and FIN included. */
  rexmtAt = 0;
  /** Zero-window probe, and the override of SWS avoidance. */
  persistAt = 0;
  persistShift = 0;
  /** Delayed ACK. */
  delackAt = 0;
  /** Reordering window of RACK; tail loss probe; credit for the next paced segment. */
  reorderAt = 0;
  tailAt = 0;
  paceAt = 0;
  /** Keep-alive, when asked for. */
  keepAt = 0;
  keepProbes = 0;
  /** Connection establishment, FIN-WAIT-2 of an orphan, lingering close: gives up. */
  giveUpAt = 0;
  /** Earliest of them, as the home knows it. */
  firesAt = 0;
  /** Since when the oldest data has been unacknowledged: for the user timeout. */
  unackedSinceMs = 0;
  lastSendMs = 0;
  lastRecvMs = 0;
  retries = 0;

  // ---- choices of the user ----
  noDelay = false;
  corked = false;
  more = false;
  keepAlive = false;
  keepIdleMs: number;
  keepIntervalMs: number;
  keepCount: number;
  userTimeoutMs = 0;
  synRetries: number;

  // ---- end of the turn ----
  /** In the home's list. */
  pending = false;
  /** POLL… bits to tell. */
  events = 0;
  /** The user wants POLLOUT. */
  wantWrite = false;
  /** Errno to report, and the soft one (ICMP) to report if the connection fails. */
  error = 0;
  softError = 0;

  // ---- send buffer tuning: start of the measurement of what is delivered ----
  deliveredUs = 0;
  deliveredSeq = 0 as Seq;
  /** When an acknowledgment came last, µs; turns with one since `deliveredUs`. */
  ackedUs = 0;
  ackTurns = 0;

  // ---- receive buffer tuning ----
  /** When the application last read (int32 µs), and in how many turns since the measurement began. */
  readUs = 0;
  reads = 0;
  /** Start of the measurement: time (int32 µs), and what had been read by then. */
  tuneUs = 0;
  tuneSeq = 0 as Seq;
  rcvRttUs = 0;

  // ---- challenge ACKs: tokens of this second ----
  challengeMs = 0;
  challenges = 0;
  /** When an ACK that made no sense was answered last; 0: never. */
  strayMs = 0;

  // ---- figures ----
  bytesSent = 0;
  bytesAcked = 0;
  bytesReceived = 0;
  bytesRetrans = 0;
  segsOut = 0;
  segsIn = 0;
  dataSegsOut = 0;
  dataSegsIn = 0;
  retransSegs = 0;
  rtos = 0;
  fastRetransmits = 0;
  dupAcksIn = 0;
  outOfOrderIn = 0;
  predictedIn = 0;

  // ---- limits ----
  /** Blocks that hold data out of order only, as the home's shares have them (memory-shares.ts). */
  oooBlocks = 0;
  /** `bytesAcked` when the time of an orphan last began (patience.ts). */
  orphanAcked = 0;

  // ---- links of the home's timing wheel ----
  wheelNext: Tcb | null = null;
  wheelPrevious: Tcb | null = null;
  wheelSlot = -1;

  constructor(home: TcpHome, congestion: CongestionControl) {
    const config = home.config;
    this.home = home;
    this.congestion = congestion;
    this.sndBuffer = new StreamBuffer(home.memory);
    this.rcvBuffer = new StreamBuffer(home.memory);
    this.sndbufLimit = config.sndbufInitial;
    this.rcvbufLimit = config.rcvbufInitial;
    this.rtoMs = config.initialRtoMs;
    this.keepIdleMs = config.keepIdleMs;
    this.keepIntervalMs = config.keepIntervalMs;
    this.keepCount = config.keepCount;
    this.synRetries = config.synRetries;
  }

  /** Bytes sent and not acknowledged (FlightSize), FIN included. */
  get flight(): number {
    return (this.sndNxt - this.sndUna) | 0;
  }

  /** pipe (RFC 6675 section 4): bytes thought to be in the network. */
  get pipe(): number {
    return ((this.sndNxt - this.sndUna) | 0) - this.sackedBytes - this.renoSacked - this.lostBytes + this.rtxBytes;
  }

  /** Bytes in the send buffer, sent or not. */
  get sndQueued(): number {
    return (this.sndEnd - this.sndBase) | 0;
  }

  /** Bytes that the application can read. */
  get readable(): number {
    return this.rcvStored + this.rcvLent;
  }

  /** RCV.WND: what we have told the peer that it may still send. */
  get rcvWnd(): number {
    return (this.rcvAdv - this.rcvNxt) | 0;
  }
}
