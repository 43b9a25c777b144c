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

import { FlowTable, portPair } from '../buffer/flow-table.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import { transportChecksumOk } from '../ip/checksum.ts';
import { reportLater } from '../channel/report-later.ts';
import { IpFlow } from '../ip/flow.ts';
import { IpPacket } from '../ip/packet.ts';
import type { IcmpError } from '../ip/packet.ts';
import { PacketBatch } from '../link/link.ts';
import type { IpLayer, Transport, Turn } from '../ip/transport.ts';
import type { Random } from '../random.ts';
import { createCongestionControl } from '../tcp/congestion/congestion-control.ts';
import type { TcpConfig } from '../tcp/config.ts';
import { TcpCounters } from '../tcp/counters.ts';
import { canHandOver } from '../tcp/handover.ts';
import type { TimeWaitState } from '../tcp/handover.ts';
import type { TcpHome } from '../tcp/home.ts';
import { sendAck } from '../tcp/emit.ts';
import { tcpIcmpError, tcpPathMtu } from '../tcp/icmp.ts';
import { tcpInput } from '../tcp/input.ts';
import { FlowSecrets } from '../tcp/isn.ts';
import { tcpOutput } from '../tcp/output.ts';
import { POLLOUT } from '../socket.ts';
import { keptFromSender } from '../tcp/memory-shares.ts';
import { LentPieces, settle } from '../tcp/receive.ts';
import { Segment } from '../tcp/segment.ts';
import { CLOSED } from '../tcp/states.ts';
import { StatelessSender } from '../tcp/stateless.ts';
import { Tcb } from '../tcp/tcb.ts';
import { tcpTimers } from '../tcp/timeouts.ts';
import { clearTimers, earliest } from '../tcp/timers.ts';
import { abortTcb, openPassive, shutdownSend } from '../tcp/user.ts';
import { abortWith, dropSilently } from '../tcp/ending.ts';
import { seqAdd, seqGt, seqMax } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { MAPPED } from '../wire/address.ts';
import { ACK, FIN, IPPROTO_TCP, RST, SYN } from '../wire/tcp.ts';
import type { LocalPorts } from './local-ports.ts';
import { TcpListener } from './tcp-listener.ts';
import { TimeWaitTable } from './time-wait.ts';
import type { TimerQueue } from './timer-queue.ts';

/** Most packets in a batch: what may be lent at one time. */
const LENT_CAPACITY = 1024;
/** More free blocks than a sender asks for, so that it is worth telling it. */
const ENOUGH_BLOCKS = 64;

/** A connection in TIME-WAIT, as `forEachTimeWait` shows it. `entry` is its place in the connection table. */
export interface TimeWaitConnection extends TimeWaitState {
  entry: number;
  /** Addresses only. */
  flow: IpFlow;
  localPort: number;
  remotePort: number;
}

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
}

export class TcpHost implements TcpHome, Transport {
  readonly config: TcpConfig;
  readonly counters = new TcpCounters();
  readonly ip: IpLayer;
  readonly memory: PacketMemory;
  readonly turn: Turn;
  readonly refs: { ref(): void; unref(): void };
  readonly lent: LentPieces;
  readonly ports: LocalPorts;
  rcvbufGrowth: number;
  sndbufGrowth: number;
  nowUs = 0;
  nowMs: number;

  readonly #secrets: FlowSecrets;
  /** Entry value: index into #tcbs, or -2 - row of #timeWait. */
  readonly #flows: FlowTable;
  readonly #tcbs: (Tcb | null)[] = [];
  readonly #freeTcbs: number[] = [];
  /** Local address and port of listeners; wild parts zero. Entry value: index into #listeners. */
  readonly #listenTable: FlowTable;
  readonly #listeners: TcpListener[][] = [];
  readonly #timeWait = new TimeWaitTable();
  readonly #timers: TimerQueue;
  readonly #stateless: StatelessSender;
  readonly #segment: Segment;
  readonly #flush: () => void;
  readonly #wakeAt: (atMs: number) => void;
  readonly #fire: (tcb: Tcb) => void;
  /** Senders that found the memory exhausted. */
  readonly #starved = new Set<Tcb>();
  /** Free blocks when they were last looked at. */
  #starvedFree = 0;
  /** The connection that the last segment belonged to. */
  #last: Tcb | null = null;
  /** TCBs with output or events, the first `#pendingCount`. Never shortened: V8 would throw its store away each turn. */
  readonly #pending: (Tcb | null)[] = [];
  #pendingCount = 0;
  #readyListeners: TcpListener[] = [];
  /** The SYN being handled reuses a pair in TIME-WAIT: its ISN must lie above this (RFC 9293 3.6.1, MAY-2). */
  #reused = false;
  #reusedAbove = 0 as Seq;


  constructor(options: TcpHostOptions) {
    this.config = options.config;
    this.ip = options.ip;
    this.memory = options.memory;
    this.turn = options.turn;
    this.refs = options.refs;
    this.rcvbufGrowth = options.rcvbufGrowth ?? Infinity;
    this.sndbufGrowth = options.sndbufGrowth ?? 0;
    this.nowMs = options.nowMs;
    this.lent = new LentPieces(options.memory.bytes, LENT_CAPACITY);
    this.ports = options.ports;
    this.#secrets = new FlowSecrets(options.random);
    this.#flows = new FlowTable(options.random.int32());
    this.#listenTable = new FlowTable(options.random.int32());
    this.#timers = options.timers;
    this.#stateless = new StatelessSender(options.ip);
    this.#segment = new Segment(new IpPacket(new PacketBatch(options.memory.bytes, 0)));
    this.#flush = options.flush;
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
    const entry = this.#flows.find(
      packet.dst0, packet.dst1, packet.dst2, packet.dst3, packet.src0, packet.src1, packet.src2, packet.src3,
      portPair(segment.dstPort, segment.srcPort),
    );
    if (entry >= 0) {
      const value = this.#flows.values[entry]!;
      if (value >= 0) {
        const tcb = this.#tcbs[value]!;
        this.#last = tcb;
        tcpInput(tcb, segment);
        return;
      }
      if (this.#inputTimeWait(segment, entry, -2 - value)) return;
    }
    this.#inputListen(segment);
    this.#reused = false;
  }

  /** 3.10.7.2 (LISTEN) and 3.10.7.1 (CLOSED: no such connection). */
  #inputListen(segment: Segment): void {
    const counters = this.counters;
    const packet = segment.packet;
    const listener = this.#findListener(packet, segment);
    if (listener === null) {
      counters.NoPort++;
      this.reset(segment);
      return;
    }
    if ((segment.flags & RST) !== 0) return;
    if ((segment.flags & ACK) !== 0) {
      this.reset(segment);
      return;
    }
    // A SYN with FIN is no SYN that a TCP ever sends. ECE and CWR (ECN set-up) are welcome and ignored.
    if ((segment.flags & SYN) === 0 || (segment.flags & FIN) !== 0) {
      counters.InErrs++;
      return;
    }
    if (!listener.admits()) {
      counters.ListenOverflows++;
      counters.ListenDrops++;
      return;
    }
    if (this.connections >= this.config.maxConnections) {
      counters.ListenDrops++;
      return;
    }
    const tcb = new Tcb(this, createCongestionControl(listener.congestion)!);
    const flow = tcb.flow;
    flow.protocol = IPPROTO_TCP;
    flow.version = packet.version;
    flow.l0 = packet.dst0;
    flow.l1 = packet.dst1;
    flow.l2 = packet.dst2;
    flow.l3 = packet.dst3;
    flow.r0 = packet.src0;
    flow.r1 = packet.src1;
    flow.r2 = packet.src2;
    flow.r3 = packet.src3;
    tcb.localPort = segment.dstPort;
    tcb.remotePort = segment.srcPort;
    listener.prepare(tcb);
    if (this.ip.route(flow) < 0) {
      counters.ListenDrops++;
      return;
    }
    if (!this.insert(tcb)) {
      counters.ListenDrops++;
      return;
    }
    listener.halfOpen.add(tcb);
    tcb.listener = listener;
    openPassive(tcb, segment);
  }

  #findListener(packet: IpPacket, segment: Segment): TcpListener | null {
    const table = this.#listenTable;
    const port = portPair(segment.dstPort, 0);
    const v4 = packet.version === 4;
    let entry = table.find(packet.dst0, packet.dst1, packet.dst2, packet.dst3, 0, 0, 0, 0, port);
    if (entry < 0 && v4) entry = table.find(0, 0, MAPPED, 0, 0, 0, 0, 0, port);
    if (entry < 0) {
      entry = table.find(0, 0, 0, 0, 0, 0, 0, 0, port);
      // `::` with IPV6_V6ONLY is not for IPv4.
      if (entry >= 0 && v4 && this.#listeners[table.values[entry]!]![0]!.v6only) entry = -1;
    }
    if (entry < 0) return null;
    const group = this.#listeners[table.values[entry]!]!;
    if (group.length === 1) return group[0]!;
    // SO_REUSEPORT: spread by the flow, so that a repeated SYN finds the same one.
    const hash = Math.imul(packet.src3 ^ packet.src1 ^ (segment.srcPort << 16), 0x9e3779b1) >>> 16;
    return group[hash % group.length]!;
  }

  /** Returns whether the segment is done with; false lets a new SYN open a new connection (MAY-2). */
  #inputTimeWait(segment: Segment, entry: number, row: number): boolean {
    const table = this.#timeWait;
    const flags = segment.flags;
    const rcvNxt = table.rcvNxt(row) as Seq;
    if ((flags & RST) !== 0) {
      // Exact only (RFC 5961 3.2).
      if (segment.seq === rcvNxt) this.#endTimeWait(entry, row);
      return true;
    }
    if ((flags & (SYN | ACK)) === SYN) {
      const newer = segment.hasTimestamps && table.timestamps(row)
        ? ((segment.tsVal - table.tsRecent(row)) | 0) > 0 || seqGt(segment.seq, rcvNxt) && segment.tsVal === table.tsRecent(row)
        : seqGt(segment.seq, rcvNxt);
      // Only where somebody listens: a forged SYN must not end the wait of a mere client.
      if (newer && this.#findListener(segment.packet, segment) !== null) {
        this.counters.TimeWaitReuses++;
        this.#reused = true;
        this.#reusedAbove = table.sndNxt(row) as Seq;
        this.#endTimeWait(entry, row);
        return false;
      }
    }
    if (segment.segLen === 0 && segment.seq === rcvNxt) return true;
    // The FIN again: the time begins anew.
    if ((flags & FIN) !== 0 && ((segment.seq + segment.segLen) | 0) === rcvNxt) table.restart(row, (this.nowMs + this.config.timeWaitMs) | 0);
    const sent = this.#stateless.acknowledge(segment, table.sndNxt(row), rcvNxt, table.window(row), table.tos(row), table.ttl(row),
      table.timestamps(row), (this.nowMs + table.tsOffset(row)) | 0, table.tsRecent(row));
    if (sent) this.counters.OutSegs++;
    return true;
  }

  #endTimeWait(entry: number, row: number): void {
    this.#timeWait.remove(row);
    this.#removeFlow(entry);
  }

  // ------------------------------------------------------------------------ what the engine asks

  pend(tcb: Tcb): void {
    if (tcb.pending) return;
    tcb.pending = true;
    this.#pending[this.#pendingCount++] = tcb;
  }

  arm(tcb: Tcb, atMs: number): void {
    if (tcb.wheelSlot >= 0 && ((tcb.firesAt - atMs) | 0) <= 0) return;
    this.#timers.set(tcb, atMs);
    this.#wakeAt(atMs);
  }

  reset(segment: Segment): void {
    if (this.#stateless.reset(segment)) {
      this.counters.OutRsts++;
      this.counters.OutSegs++;
    }
  }

  established(tcb: Tcb): void {
    const listener = tcb.listener as TcpListener | null;
    if (listener === null) return;
    tcb.listener = null;
    listener.halfOpen.delete(tcb);
    listener.queue.push(tcb);
    this.noteReady(listener);
  }

  /** The listener's owner is to be told at the end of the turn. */
  noteReady(listener: TcpListener): void {
    if (listener.noted) return;
    listener.noted = true;
    this.#readyListeners.push(listener);
  }

  closed(tcb: Tcb): void {
    if (tcb.listener !== null) {
      tcb.listener.halfOpen.delete(tcb);
      tcb.listener = null;
    }
    this.#starved.delete(tcb);
    this.#forget(tcb);
    if (tcb.entry >= 0) {
      this.#removeFlow(tcb.entry);
      tcb.entry = -1;
    }
  }

  timeWait(tcb: Tcb): void {
    const entry = tcb.entry;
    this.#forget(tcb);
    tcb.entry = -1;
    if (entry < 0) return;
    const config = this.config;
    if (config.timeWaitMs === 0 || config.maxTimeWait === 0) {
      // As long as the flow is ours.
      if (tcb.ackNow) sendAck(tcb);
      this.#removeFlow(entry);
      return;
    }
    if (this.#timeWait.size >= config.maxTimeWait) {
      this.counters.TimeWaitOverflows++;
      const oldest = this.#timeWait.oldestEntry;
      this.#endTimeWait(oldest, -2 - this.#flows.values[oldest]!);
    }
    const expiresMs = (this.nowMs + config.timeWaitMs) | 0;
    const window = Math.min(tcb.rcvWnd >> Math.max(tcb.rcvWscale, 0), 0xffff);
    const row = this.#timeWait.add(entry, expiresMs, tcb.sndNxt, tcb.rcvNxt, window, tcb.timestamps, tcb.tsRecent, tcb.tsOffset,
      tcb.flow.tos, tcb.flow.ttl);
    this.#flows.values[entry] = -2 - row;
    this.#wakeAt(expiresMs);
  }

  initialSequence(tcb: Tcb): Seq {
    const flow = tcb.flow;
    const isn = this.#secrets.isn(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3,
      portPair(tcb.localPort, tcb.remotePort), Math.imul(this.nowMs, 250));
    return this.#reused ? seqMax(isn, seqAdd(this.#reusedAbove, 65_537)) : isn;
  }

  timestampOffset(tcb: Tcb): number {
    const flow = tcb.flow;
    return this.#secrets.timestampOffset(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3);
  }

  // -------------------------------------------------------------------------- connection table

  /** Takes the TCB, whose addresses and ports are set, into the table. False when that flow exists, or cannot be had. */
  insert(tcb: Tcb): boolean {
    const flow = tcb.flow;
    const ports = portPair(tcb.localPort, tcb.remotePort);
    const present = this.#flows.find(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3, ports);
    if (present >= 0) return false;
    const index = this.#freeTcbs.length > 0 ? this.#freeTcbs.pop()! : this.#tcbs.length;
    this.#tcbs[index] = tcb;
    tcb.entry = this.#flows.insert(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3, ports, index);
    if (this.ports.opened(tcb)) return true;
    this.#forget(tcb);
    this.#flows.remove(tcb.entry);
    tcb.entry = -1;
    return false;
  }

  #removeFlow(entry: number): void {
    this.#flows.remove(entry);
    this.ports.closed(entry);
  }

  /** The TCB leaves the table's list and the wheel; its flow entry stays. */
  #forget(tcb: Tcb): void {
    this.#timers.remove(tcb);
    this.rcvbufGrowth += tcb.rcvbufGrown;
    tcb.rcvbufGrown = 0;
    this.sndbufGrowth += tcb.sndbufGrown;
    tcb.sndbufGrown = 0;
    if (this.#last === tcb) this.#last = null;
    if (tcb.entry >= 0) {
      const index = this.#flows.values[tcb.entry]!;
      if (index >= 0) {
        this.#tcbs[index] = null;
        this.#freeTcbs.push(index);
      }
    }
  }

  /** Connections and half-open ones, without those in TIME-WAIT. */
  get connections(): number {
    return this.#tcbs.length - this.#freeTcbs.length;
  }

  get timeWaits(): number {
    return this.#timeWait.size;
  }

  /** Calls `visit` for every TCB in the table. */
  forEach(visit: (tcb: Tcb) => void): void {
    for (const tcb of this.#tcbs.slice()) if (tcb !== null) visit(tcb);
  }

  forEachListener(visit: (listener: TcpListener) => void): void {
    for (const group of this.#listeners) if (group !== undefined) for (const listener of group.slice()) visit(listener);
  }

  /** Whether the table has the flow of this segment (`ports`: local << 16 | remote), in TIME-WAIT or not. */
  owns(packet: IpPacket, ports: number): boolean {
    return this.#flows.find(
      packet.dst0, packet.dst1, packet.dst2, packet.dst3, packet.src0, packet.src1, packet.src2, packet.src3, ports,
    ) >= 0;
  }

  /** Whether the table has this flow, in TIME-WAIT or not. */
  hasFlow(flow: IpFlow, localPort: number, remotePort: number): boolean {
    return this.#flows.find(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3, portPair(localPort, remotePort)) >= 0;
  }

  addListener(listener: TcpListener): void {
    const table = this.#listenTable;
    const port = portPair(listener.port, 0);
    const entry = table.find(listener.b0, listener.b1, listener.b2, listener.b3, 0, 0, 0, 0, port);
    if (entry >= 0) {
      this.#listeners[table.values[entry]!]!.push(listener);
      return;
    }
    let index = 0;
    while (this.#listeners[index] !== undefined && this.#listeners[index]!.length > 0) index++;
    this.#listeners[index] = [listener];
    table.insert(listener.b0, listener.b1, listener.b2, listener.b3, 0, 0, 0, 0, port, index);
  }

  /** Stops listening: what is half open or not yet accepted is reset. */
  removeListener(listener: TcpListener): void {
    const table = this.#listenTable;
    const entry = table.find(listener.b0, listener.b1, listener.b2, listener.b3, 0, 0, 0, 0, portPair(listener.port, 0));
    listener.closed = true;
    if (entry >= 0) {
      const group = this.#listeners[table.values[entry]!]!;
      const at = group.indexOf(listener);
      if (at >= 0) group.splice(at, 1);
      if (group.length === 0) table.remove(entry);
    }
    for (const tcb of [...listener.halfOpen, ...listener.queue]) abortTcb(tcb);
    listener.queue.length = 0;
  }

  /** Stops listening, and lets every connection end with a FIN behind what is queued. */
  closeAll(): void {
    this.forEachListener((listener) => this.removeListener(listener));
    this.forEach((tcb) => shutdownSend(tcb));
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
    const flows = this.#flows;
    this.#timeWait.forEach((row) => {
      const entry = this.#timeWait.entry(row);
      const flow = new IpFlow();
      flow.protocol = IPPROTO_TCP;
      flow.l0 = flows.key(entry, 0);
      flow.l1 = flows.key(entry, 1);
      flow.l2 = flows.key(entry, 2);
      flow.l3 = flows.key(entry, 3);
      flow.r0 = flows.key(entry, 4);
      flow.r1 = flows.key(entry, 5);
      flow.r2 = flows.key(entry, 6);
      flow.r3 = flows.key(entry, 7);
      const ports = flows.key(entry, 8);
      visit({ entry, flow, localPort: ports >>> 16, remotePort: ports & 0xffff, ...this.#timeWait.state(row, this.nowMs) });
    });
  }

  /** Another home has this connection now: it is forgotten here, and no segment tells of it. */
  release(tcb: Tcb): void {
    dropSilently(tcb);
  }

  releaseTimeWait(entry: number): void {
    this.#endTimeWait(entry, -2 - this.#flows.values[entry]!);
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
    if (config.timeWaitMs === 0 || this.#timeWait.size >= config.maxTimeWait) {
      this.counters.TimeWaitOverflows++;
      return false;
    }
    const entry = this.#flows.insert(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3,
      portPair(localPort, remotePort), 0);
    const expiresMs = (this.nowMs + state.leftMs) | 0;
    const row = this.#timeWait.add(entry, expiresMs, state.sndNxt, state.rcvNxt, state.window, state.timestamps, state.tsRecent,
      state.tsOffset, state.tos, state.ttl);
    this.#flows.values[entry] = -2 - row;
    this.#wakeAt(expiresMs);
    return true;
  }

  // ------------------------------------------------------------------------------------- turns

  /**
   * Data piles up for `tcb` while a turn goes on: it leaves already now, while the caches hold it. What
   * has come in is settled first, since the segments acknowledge it.
   */
  sendEarly(tcb: Tcb): void {
    if (!this.ip.tx.ready) return;
    settle(tcb);
    tcpOutput(tcb);
    this.#flush();
  }

  /** A `send` found no memory: POLLOUT is told when there is some again. */
  starve(tcb: Tcb): void {
    this.#starved.add(tcb);
    this.#starvedFree = Math.min(this.#starvedFree, this.memory.freeBlocks);
  }

  /** Whether somebody waits for memory. */
  get starving(): boolean {
    return this.#starved.size > 0;
  }

  /** Blocks have come back since the last look: tells those that `queueData` would give something now. */
  #feedStarved(): void {
    const { blockCount, freeBlocks } = this.memory;
    for (const tcb of this.#starved) {
      if (freeBlocks <= keptFromSender(tcb) + Math.min(ENOUGH_BLOCKS, blockCount >> 5)) continue;
      this.#starved.delete(tcb);
      tcb.events |= POLLOUT;
      this.pend(tcb);
    }
  }

  /** The end of the turn: tells owners, settles, and produces output until nothing is left to do. */
  drain(): void {
    const tx = this.ip.tx;
    for (;;) {
      if (this.#starved.size > 0) {
        const free = this.memory.freeBlocks;
        if (free > this.#starvedFree) this.#feedStarved();
        this.#starvedFree = free;
      }
      if (this.#readyListeners.length > 0) this.#tellListeners();
      if (this.#pendingCount === 0) return;
      const pending = this.#pending;
      for (let i = 0; i < this.#pendingCount; i++) {
        if (!tx.ready) {
          this.#flush();
          if (!tx.ready) {
            // The link takes no more: the rest waits until it does (`Link` calls `writable`).
            this.#stall(i);
            return;
          }
        }
        const tcb = pending[i]!;
        pending[i] = null;
        if (tcb.events !== 0) this.#tell(tcb);
        if (this.#readyListeners.length > 0) this.#tellListeners();
        tcb.pending = false;
        settle(tcb);
        tcpOutput(tcb);
      }
      this.#pendingCount = 0;
    }
  }

  /** Output of `#pending[from …]` waits, but nobody is kept from hearing and no slab is kept from being reused. */
  #stall(from: number): void {
    const pending = this.#pending;
    pending.copyWithin(0, from, this.#pendingCount);
    pending.fill(null, this.#pendingCount - from, this.#pendingCount);
    this.#pendingCount -= from;
    for (let i = 0; i < this.#pendingCount; i++) {
      const tcb = pending[i]!;
      if (tcb.events !== 0) this.#tell(tcb);
      settle(tcb);
    }
    if (this.#readyListeners.length > 0) this.#tellListeners();
  }

  #tell(tcb: Tcb): void {
    const events = tcb.events;
    tcb.events = 0;
    const owner = tcb.owner;
    if (owner === null) return;
    try {
      owner.ready(tcb, events);
    } catch (error) {
      reportLater(error);
    }
  }

  #tellListeners(): void {
    const ready = this.#readyListeners;
    this.#readyListeners = [];
    for (const listener of ready) {
      listener.noted = false;
      if (listener.closed || listener.queue.length === 0) continue;
      try {
        listener.ready();
      } catch (error) {
        reportLater(error);
      }
    }
  }

  /** Time has passed: fires timers, ends TIME-WAITs. */
  advance(): void {
    this.#timers.advance(this.nowMs, this.#fire);
    for (let entry = this.#timeWait.expire(this.nowMs); entry >= 0; entry = this.#timeWait.expire(this.nowMs)) {
      this.#removeFlow(entry);
    }
  }

  /** Milliseconds until `advance` may have something to do, or -1. */
  nextIn(): number {
    const wheel = this.#timers.nextIn();
    if (this.#timeWait.size === 0) return wheel;
    const expires = Math.max((this.#timeWait.nextMs - this.nowMs) | 0, 1);
    return wheel < 0 ? expires : Math.min(wheel, expires);
  }

  // -------------------------------------------------------------------------------------- ICMP

  icmpError(error: IcmpError): boolean {
    if (error.length < 8) return false;
    const localPort = error.view.getUint16(error.offset);
    const remotePort = error.view.getUint16(error.offset + 2);
    const entry = this.#flows.find(error.src0, error.src1, error.src2, error.src3, error.dst0, error.dst1, error.dst2, error.dst3,
      portPair(localPort, remotePort));
    const value = entry < 0 ? -1 : this.#flows.values[entry]!;
    if (value < 0) {
      this.counters.IcmpErrorsIgnored++;
      return false;
    }
    return tcpIcmpError(this.#tcbs[value]!, error);
  }

  pathMtuChanged(r0: number, r1: number, r2: number, r3: number): void {
    for (const tcb of this.#tcbs) {
      if (tcb === null || tcb.state === CLOSED) continue;
      const flow = tcb.flow;
      if (flow.r3 === r3 && flow.r2 === r2 && flow.r1 === r1 && flow.r0 === r0) tcpPathMtu(tcb);
    }
  }
}
