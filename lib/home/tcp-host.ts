/**
 * A home for TCP connections: connection table, listeners, timers, TIME-WAIT, the list of connections
 * with output to produce, and what is answered when a segment belongs to nobody.
 *
 * The kernel-style TCP (lib/kernel/kernel-tcp.ts) and TCP in an application (lib/tcpu/tcpu-tcp.ts) are
 * this home with different answers to the questions of the report's section 4: where its ports come from
 * (`LocalPorts`), what clock it has (`TimerQueue`), and when it acknowledges (`TcpConfig.delayedAckMs`).
 *
 * In:  `input(packet)` for each segment of a batch → lookup → `tcpInput` → the TCB is marked.
 * Out: `drain()` at the end of the turn → owners are told → what they left is settled → `tcpOutput`.
 */

import { portPair } from '../buffer/flow-table.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import { transportChecksumOk } from '../ip/checksum.ts';
import type { IpFlow } from '../ip/flow.ts';
import { IpPacket } from '../ip/packet.ts';
import { ProbedMtus } from '../ip/path-mtu.ts';
import type { IcmpError } from '../ip/packet.ts';
import { PacketBatch } from '../link/link.ts';
import type { IpLayer, Transport, Turn } from '../ip/transport.ts';
import type { Random } from '../random.ts';
import type { TcpConfig } from '../tcp/config.ts';
import { TcpCounters } from '../tcp/counters.ts';
import { FastOpenCookies } from '../tcp/fast-open.ts';
import { canHandOver } from '../tcp/handover.ts';
import type { TimeWaitState } from '../tcp/handover.ts';
import type { TcpHome } from '../tcp/home.ts';
import { tcpIcmpError, tcpPathMtu } from '../tcp/icmp.ts';
import { tcpInput } from '../tcp/input.ts';
import { FlowSecrets } from '../tcp/isn.ts';
import { OutOfOrderShares } from '../tcp/memory-shares.ts';
import { LentPieces } from '../tcp/receive.ts';
import { Segment } from '../tcp/segment.ts';
import { SentSegments, forgetSent } from '../tcp/sent-segments.ts';
import { CLOSED } from '../tcp/states.ts';
import { StatelessSender } from '../tcp/stateless.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { tcpTimers } from '../tcp/timeouts.ts';
import { clearTimers, earliest } from '../tcp/timers.ts';
import { shutdownSend } from '../tcp/user.ts';
import { abortWith, dropSilently } from '../tcp/ending.ts';
import type { Seq } from '../wire/seq.ts';
import { AddressCounts } from './address-counts.ts';
import { ConnectionTable } from './connection-table.ts';
import type { TimeWaitConnection } from './connection-table.ts';
import { Listening } from './listening.ts';
import type { LocalPorts } from './local-ports.ts';
import { StalledSenders } from './stalled.ts';
import type { TcpListener } from './tcp-listener.ts';
import type { TimerQueue } from './timer-queue.ts';
import { TimeWaiting } from './time-waiting.ts';
import { TurnEnd } from './turn-end.ts';

/** Most packets in a batch: what may be lent at one time. */
const LENT_CAPACITY = 1024;

export interface TcpHostOptions {
  ip: IpLayer;
  memory: PacketMemory;
  random: Random;
  turn: Turn;
  config: TcpConfig;
  ports: LocalPorts;
  timers: TimerQueue;
  /** Hands queued packets to the link now. */
  flush: () => void;
  /** Bytes by which receive buffers may grow together beyond their first size. Default: as far as each may. */
  rcvbufGrowth?: number;
  /** The same for send buffers, for acknowledgments that take their time to get here. Default: they do not. */
  sndbufGrowth?: number;
  /** The clock's alarm is to fire at this time (int32 ms) at the latest. */
  wakeAt: (atMs: number) => void;
  /** Open sockets that keep the process alive are counted here. */
  refs: { ref(): void; unref(): void };
  nowMs: number;
  /** The user whose the ports of its sockets are, as long as a socket is not told another. Default 0. */
  uid?: number;
}

export class TcpHost implements TcpHome, Transport {
  readonly config: TcpConfig;
  readonly counters = new TcpCounters();
  readonly ip: IpLayer;
  readonly memory: PacketMemory;
  readonly turn: Turn;
  readonly refs: { ref(): void; unref(): void };
  readonly uid: number;
  readonly lent: LentPieces;
  readonly fastOpen: FastOpenCookies;
  readonly probedMtus: ProbedMtus;
  readonly sent: SentSegments;
  readonly outOfOrder: OutOfOrderShares;
  readonly ports: LocalPorts;
  rcvbufGrowth: number;
  sndbufGrowth: number;
  nowUs = 0;
  nowMs: number;

  readonly #secrets: FlowSecrets;
  readonly #table: ConnectionTable;
  readonly #listening: Listening;
  readonly #turnEnd: TurnEnd;
  readonly #timers: TimerQueue;
  readonly #stateless: StatelessSender;
  /** Resets sent in the second that began at `#resetsMs`. */
  #resets = 0;
  #resetsMs = 0;
  /** Connections by address; null when they have no bound. */
  readonly #addresses: AddressCounts | null;
  readonly #stalled: StalledSenders;
  readonly #segment: Segment;
  readonly #wakeAt: (atMs: number) => void;
  readonly #fire: (tcb: Tcb) => void;
  /** The connection that the last segment belonged to. */
  #last: Tcb | null = null;
  readonly #timeWaiting: TimeWaiting;
  readonly #listens = (segment: Segment): boolean => this.#listening.find(segment.packet, segment) !== null;

  constructor(options: TcpHostOptions) {
    this.config = options.config;
    this.ip = options.ip;
    this.memory = options.memory;
    this.turn = options.turn;
    this.refs = options.refs;
    this.uid = options.uid ?? 0;
    this.rcvbufGrowth = options.rcvbufGrowth ?? Infinity;
    this.sndbufGrowth = options.sndbufGrowth ?? 0;
    this.nowMs = options.nowMs;
    this.probedMtus = new ProbedMtus(options.random);
    this.lent = new LentPieces(options.memory.bytes, LENT_CAPACITY);
    this.sent = new SentSegments(options.config.limits.flightRows);
    this.outOfOrder = new OutOfOrderShares(options.memory, options.config.limits.outOfOrderBytes, this.counters);
    this.ports = options.ports;
    this.fastOpen = new FastOpenCookies(options.random);
    this.#secrets = new FlowSecrets(options.random);
    this.#table = new ConnectionTable(options.random.int32(), options.ports);
    this.#listening = new Listening(this, options.random, options.random.int32());
    this.#turnEnd = new TurnEnd(options.ip, options.memory, options.flush);
    this.#timers = options.timers;
    this.#stateless = new StatelessSender(options.ip);
    this.#timeWaiting = new TimeWaiting(this, this.#table, this.#stateless, options.wakeAt);
    const { connectionsPerAddress } = this.config.limits;
    this.#addresses = connectionsPerAddress === 0 ? null : new AddressCounts(connectionsPerAddress, options.random.int32());
    this.#stalled = new StalledSenders(this);
    this.#segment = new Segment(new IpPacket(new PacketBatch(options.memory.bytes, 0)));
    this.#wakeAt = options.wakeAt;
    this.#fire = (tcb) => {
      const next = tcpTimers(tcb);
      if (next !== 0) this.#timers.set(tcb, next);
    };
  }

  // ------------------------------------------------------------------------------------- input

  input(packet: IpPacket): void {
    const counters = this.counters;
    const segment = this.#segment;
    if (!segment.parse(packet)) {
      counters.InSegs++;
      counters.InErrs++;
      return;
    }
    counters.InSegs += segment.merged;
    if (!transportChecksumOk(packet)) {
      counters.InCsumErrors++;
      counters.InErrs++;
      return;
    }
    // A segment to many is nobody's (MUST-57), whatever it says.
    if (packet.toMany) {
      counters.InErrs++;
      return;
    }
    const last = this.#last;
    if (last !== null && last.localPort === segment.dstPort && last.remotePort === segment.srcPort && last.flow.r3 === packet.src3
      && last.flow.l3 === packet.dst3 && last.flow.r2 === packet.src2 && last.flow.r1 === packet.src1 && last.flow.r0 === packet.src0
      && last.flow.l2 === packet.dst2 && last.flow.l1 === packet.dst1 && last.flow.l0 === packet.dst0) {
      tcpInput(last, segment);
      return;
    }
    const entry = this.#table.find(packet, portPair(segment.dstPort, segment.srcPort));
    if (entry >= 0) {
      const tcb = this.#table.tcb(entry);
      if (tcb !== null) {
        this.#last = tcb;
        tcpInput(tcb, segment);
        return;
      }
      this.#timeWaiting.forgetReuse();
      if (this.#timeWaiting.input(segment, entry, this.#listens)) return;
    }
    if (this.#addresses !== null && !this.#addresses.admits(packet.src0, packet.src1, packet.src2, packet.src3)) {
      counters.AddressDrops++;
      return;
    }
    this.#listening.input(segment);
    this.#timeWaiting.forgetReuse();
  }

  // ------------------------------------------------------------------------ what the engine asks

  pend(tcb: Tcb): void {
    this.#turnEnd.pend(tcb);
  }

  arm(tcb: Tcb, atMs: number): void {
    if (tcb.wheelSlot >= 0 && ((tcb.firesAt - atMs) | 0) <= 0) return;
    this.#timers.set(tcb, atMs);
    this.#wakeAt(atMs);
  }

  reset(segment: Segment): void {
    const { resetsPerSecond } = this.config.limits;
    if (resetsPerSecond > 0) {
      if (((this.nowMs - this.#resetsMs) >>> 0) >= 1000) {
        this.#resetsMs = this.nowMs;
        this.#resets = 0;
      }
      if (this.#resets >= resetsPerSecond) {
        this.counters.ResetsLimited++;
        return;
      }
    }
    if (this.#stateless.reset(segment)) {
      this.#resets++;
      this.counters.OutRsts++;
      this.counters.OutSegs++;
    }
  }

  established(tcb: Tcb): void {
    const listener = this.#listening.established(tcb);
    if (listener !== null) this.#turnEnd.noteReady(listener);
  }

  /** A connection has been taken out of the listener's queue. */
  accepted(listener: TcpListener): void {
    this.#listening.accepted(listener);
  }

  /** The listener's owner is to be told at the end of the turn. */
  noteReady(listener: TcpListener): void {
    this.#turnEnd.noteReady(listener);
  }

  mayEstablish(tcb: Tcb): boolean {
    return this.#listening.mayEstablish(tcb);
  }

  takesCookie(tcb: Tcb, segment: Segment): boolean {
    return this.#listening.takesCookie(tcb, segment);
  }

  synAckRetries(tcb: Tcb): number {
    return this.#listening.synAckRetries(tcb);
  }

  closed(tcb: Tcb): void {
    this.#listening.forget(tcb);
    this.#turnEnd.forget(tcb);
    this.#forget(tcb);
    if (tcb.entry >= 0) {
      this.#table.remove(tcb.entry);
      tcb.entry = -1;
    }
  }

  timeWait(tcb: Tcb): void {
    const entry = tcb.entry;
    this.#forget(tcb);
    tcb.entry = -1;
    if (entry >= 0) this.#timeWaiting.enter(tcb, entry);
  }

  get reusing(): boolean {
    return this.#timeWaiting.reusing;
  }

  initialSequence(tcb: Tcb): Seq {
    const flow = tcb.flow;
    const isn = this.#secrets.isn(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3,
      portPair(tcb.localPort, tcb.remotePort), Math.imul(this.nowMs, 250));
    return this.#timeWaiting.aboveOld(isn);
  }

  timestampOffset(tcb: Tcb): number {
    const flow = tcb.flow;
    return this.#secrets.timestampOffset(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3);
  }

  // -------------------------------------------------------------------------- connection table

  /** Takes the TCB, whose addresses and ports are set, into the table. False when that flow exists, or cannot be had. */
  insert(tcb: Tcb): boolean {
    if (!this.#table.insert(tcb)) return false;
    this.#addresses?.add(tcb.flow);
    return true;
  }

  /** The TCB leaves the table's list and the wheel; its flow entry stays. */
  #forget(tcb: Tcb): void {
    this.#timers.remove(tcb);
    this.rcvbufGrowth += tcb.rcvbufGrown;
    tcb.rcvbufGrown = 0;
    this.sndbufGrowth += tcb.sndbufGrown;
    tcb.sndbufGrown = 0;
    if (this.#last === tcb) this.#last = null;
    if (tcb.entry >= 0) this.#addresses?.remove(tcb.flow);
    this.#table.leave(tcb);
  }

  /** Connections and half-open ones, without those in TIME-WAIT. */
  get connections(): number {
    return this.#table.connections;
  }

  get timeWaits(): number {
    return this.#table.timeWait.size;
  }

  /** Calls `visit` for every TCB in the table. */
  forEach(visit: (tcb: Tcb) => void): void {
    this.#table.forEach(visit);
  }

  forEachListener(visit: (listener: TcpListener) => void): void {
    this.#listening.forEach(visit);
  }

  /** As `insert`, for a connection that we open: it may take over a flow in TIME-WAIT. */
  insertActive(tcb: Tcb): boolean {
    this.#timeWaiting.forgetReuse();
    this.#timeWaiting.reuse(tcb);
    return this.insert(tcb);
  }

  /** Whether a connection that we open may have this flow although it is in TIME-WAIT. */
  mayReuse(flow: IpFlow, localPort: number, remotePort: number): boolean {
    return this.#timeWaiting.mayReuse(flow, localPort, remotePort);
  }

  /** Whether the table has the flow of this segment (`ports`: local << 16 | remote), in TIME-WAIT or not. */
  owns(packet: IpPacket, ports: number): boolean {
    return this.#table.find(packet, ports) >= 0;
  }

  /** Whether the table has this flow, in TIME-WAIT or not. */
  hasFlow(flow: IpFlow, localPort: number, remotePort: number): boolean {
    return this.#table.findFlow(flow, localPort, remotePort) >= 0;
  }

  addListener(listener: TcpListener): void {
    this.#listening.add(listener);
  }

  /** Stops listening: what is half open or not yet accepted is reset. */
  removeListener(listener: TcpListener): void {
    this.#listening.remove(listener);
  }

  /** Stops listening, and lets every connection end with a FIN behind what is queued. */
  closeAll(): void {
    this.forEachListener((listener) => this.removeListener(listener));
    this.forEach((tcb) => shutdownSend(tcb));
  }

  /** Ends every listening socket with `errno` for its user, who may not have asked for it. */
  failListeners(errno: number): void {
    this.forEachListener((listener) => {
      this.removeListener(listener);
      listener.error = errno;
      this.#turnEnd.noteReady(listener);
    });
  }

  /** Stops listening, and ends every connection at once with `errno` for its user and RST for its peer. */
  abortAll(errno: number): void {
    this.forEachListener((listener) => this.removeListener(listener));
    this.forEach((tcb) => abortWith(tcb, errno, true));
  }

  // --------------------------------------------------------------- hand-over (lib/tcp/handover.ts)

  /** Calls `visit` for every connection that can go over to another home; `visit` may release it. */
  forEachClosing(visit: (tcb: Tcb) => void): void {
    this.forEach((tcb) => {
      if (canHandOver(tcb)) visit(tcb);
    });
  }

  /** Calls `visit` for every connection in TIME-WAIT, oldest first; `visit` may release it. */
  forEachTimeWait(visit: (connection: TimeWaitConnection) => void): void {
    this.#table.forEachWait(this.nowMs, visit);
  }

  /** Another home has this connection now: it is forgotten here, and no segment tells of it. */
  release(tcb: Tcb): void {
    dropSilently(tcb);
  }

  releaseTimeWait(entry: number): void {
    this.#table.endWait(entry);
  }

  /**
   * Takes over a TCB that `readTcb` made for this home, in the same turn: its timers run, and what is due is sent
   * at the turn's end. False when this home has the flow already, or too many connections; the TCB is void then.
   */
  adopt(tcb: Tcb): boolean {
    if (this.connections >= this.config.maxConnections || !this.insert(tcb)) {
      clearTimers(tcb);
      tcb.state = CLOSED;
      tcb.sndBuffer.clear();
      forgetSent(tcb);
      return false;
    }
    const next = earliest(tcb);
    if (next !== 0) this.arm(tcb, next);
    this.pend(tcb);
    return true;
  }

  /**
   * Takes over a connection in TIME-WAIT. It may last longer than it has left, if others came before it; never
   * less. False when this home has the flow already, or no room: nobody else's is given up for it.
   */
  adoptTimeWait(flow: IpFlow, localPort: number, remotePort: number, state: TimeWaitState): boolean {
    const { config } = this;
    if (this.hasFlow(flow, localPort, remotePort)) return false;
    if (config.timeWaitMs === 0 || this.timeWaits >= config.maxTimeWait) {
      this.counters.TimeWaitOverflows++;
      return false;
    }
    const expiresMs = (this.nowMs + state.leftMs) | 0;
    this.#table.insertWaiting(flow, localPort, remotePort, expiresMs, state);
    this.#wakeAt(expiresMs);
    return true;
  }

  // ------------------------------------------------------------------------------------- turns

  /** Data piles up for `tcb` while a turn goes on: it leaves already now, while the caches hold it. */
  sendEarly(tcb: Tcb): void {
    this.#turnEnd.sendEarly(tcb);
  }

  /** A `send` found no memory: POLLOUT is told when there is some again. */
  starve(tcb: Tcb): void {
    this.#turnEnd.starve(tcb);
  }

  /** Whether somebody waits for memory. */
  get starving(): boolean {
    return this.#turnEnd.starving;
  }

  /** The end of the turn: tells owners, settles, and produces output until nothing is left to do. */
  drain(): void {
    if (this.#turnEnd.starving) this.#stalled.look();
    this.#turnEnd.drain();
  }

  /** Time has passed: fires timers, ends TIME-WAITs. */
  advance(): void {
    this.#timers.advance(this.nowMs, this.#fire);
    this.#table.expire(this.nowMs);
  }

  /** Milliseconds until `advance` may have something to do, or -1. */
  nextIn(): number {
    const wheel = this.#timers.nextIn();
    const { timeWait } = this.#table;
    if (timeWait.size === 0) return wheel;
    const expires = Math.max((timeWait.nextMs - this.nowMs) | 0, 1);
    return wheel < 0 ? expires : Math.min(wheel, expires);
  }

  // -------------------------------------------------------------------------------------- ICMP

  icmpError(error: IcmpError): boolean {
    if (error.length < 8) return false;
    const localPort = error.view.getUint16(error.offset);
    const remotePort = error.view.getUint16(error.offset + 2);
    const entry = this.#table.findQuoted(error, portPair(localPort, remotePort));
    const tcb = entry < 0 ? null : this.#table.tcb(entry);
    if (tcb === null) {
      this.counters.IcmpErrorsIgnored++;
      return false;
    }
    return tcpIcmpError(tcb, error);
  }

  pathMtuChanged(r0: number, r1: number, r2: number, r3: number): void {
    this.#table.forEach((tcb) => {
      const flow = tcb.flow;
      if (tcb.state !== CLOSED && flow.r3 === r3 && flow.r2 === r2 && flow.r1 === r1 && flow.r0 === r0) tcpPathMtu(tcb);
    });
  }
}
