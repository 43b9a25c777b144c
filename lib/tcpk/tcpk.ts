/**
 * TCPK, the part of TCP that stays with the stack (2.1, 2.2 of the report): which port belongs to which
 * application, delivery of segments to them, the check of all that they send, and what becomes of their
 * connections when they end.
 */

import { BLOCK_SIZE } from '../buffer/packet-memory.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import { GSO_NONE } from '../buffer/transmit-queue.ts';
import type { Window } from '../channel/window.ts';
import { EINVAL, ENOBUFS } from '../errno.ts';
import type { PortUser } from '../home/local-ports.ts';
import type { TcpHost } from '../home/tcp-host.ts';
import { IpFlow } from '../ip/flow.ts';
import type { Ip } from '../ip/ip.ts';
import type { IcmpError, IpPacket } from '../ip/packet.ts';
import type { TcpPortTable, Turn } from '../ip/transport.ts';
import type { KernelPorts } from '../kernel/kernel-ports.ts';
import { HANDOVER_TCB, HANDOVER_TIME_WAIT, handoverKind, readTcb, readTimeWait } from '../tcp/handover.ts';
import { MAPPED, isMapped } from '../wire/address.ts';
import { seqGeq, seqGt, seqLeq, seqLt } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import {
  ACK, IPPROTO_TCP, RST, TCP_ACK, TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_DST_PORT, TCP_FLAGS, TCP_HEADER, TCP_SEQ, TCP_SRC_PORT, TCP_URGENT,
  TCP_WINDOW,
} from '../wire/tcp.ts';
import type { AppFlow } from './app-flow.ts';
import { Application } from './application.ts';
import type { ApplicationPort, Credentials, SocketCalls } from './application.ts';
import { Binding } from './binding.ts';
import { PortTable } from './port-table.ts';

/** Turns without a word from an application after which it must ring again. */
const IDLE_TURNS = 16;

export interface TcpkOptions {
  ip: Ip;
  memory: PacketMemory;
  /** The kernel-style TCP beside it, and the ports of both. */
  kernel: TcpHost;
  ports: KernelPorts;
  turn: Turn;
  /** Hands queued packets to the link now. */
  flush: () => void;
  /** The link's MTU. */
  linkMtu: () => number;
  /** Makes the server for an application's socket calls. */
  socketCalls: (app: Application) => SocketCalls | null;
  /** Begins a turn in a few milliseconds. */
  later: () => void;
  seed: number;
  /** Flows of one application. */
  maxFlows: number;
}

export class TcpkCounters {
  /** Segments that went to applications. */
  InDelivered = 0;
  Attached = 0;
  Detached = 0;
  /** Applications that were thrown out. */
  Expelled = 0;
  Violations = 0;
  /** Connections that were reset because their application died; that were taken over by the kernel-style TCP. */
  OutResets = 0;
  TakenOver = 0;
  IcmpErrors = 0;
  IcmpErrorsIgnored = 0;
}

function sharesFromKernel(user: PortUser): boolean {
  return user.reusePort && listensInKernel(user);
}

function listensInKernel(user: PortUser): boolean {
  return user.listening && !(user instanceof Binding);
}

export class Tcpk implements TcpPortTable {
  readonly ip: Ip;
  readonly memory: PacketMemory;
  readonly kernel: TcpHost;
  readonly ports: KernelPorts;
  readonly turn: Turn;
  readonly table: PortTable;
  readonly flush: () => void;
  readonly counters = new TcpkCounters();
  readonly applications = new Set<Application>();
  /** Where egress.ts has put the TCP header in hand. */
  headerAt = 0;
  readonly scratchFlow = new IpFlow();
  /** Told of violations, once a turn and application. */
  onviolation: ((app: Application, reason: number, count: number) => void) | null = null;
  readonly #options: TcpkOptions;
  /** Those to look after, the first `#touchedCount`. Never shortened: V8 would throw its store away each turn. */
  readonly #touched: (Application | null)[] = [];
  #touchedCount = 0;
  /** Applications that have sent something lately: looked at in every turn, so that they need not ring. */
  readonly #awake: Application[] = [];
  /** Windows of applications that have gone: free once no queued packet names them. */
  #leaving: { app: Application; reason: string }[] = [];
  #nextId = 1;

  constructor(options: TcpkOptions) {
    this.#options = options;
    this.ip = options.ip;
    this.memory = options.memory;
    this.kernel = options.kernel;
    this.ports = options.ports;
    this.turn = options.turn;
    this.flush = options.flush;
    this.table = new PortTable(options.seed);
    const { bindings } = options.ports;
    this.table.isShared = (port) => bindings.some(port, sharesFromKernel);
    this.table.sharers = (port, b0, b1, b2, b3, v4) => bindings.count(port, (user) => sharesFromKernel(user)
      && user.b0 === b0 && user.b1 === b1 && user.b2 === b2 && user.b3 === b3 && !(v4 && user.v6only));
    this.scratchFlow.protocol = IPPROTO_TCP;
    options.ports.claimed = (flow, localPort, remotePort) => this.table.flowAt(
      flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3, (localPort << 16) | remotePort,
    ) !== null;
    options.ip.ports = this;
  }

  get linkMtu(): number {
    return this.#options.linkMtu();
  }

  // ---------------------------------------------------------------------------- TcpPortTable

  deliver(packet: IpPacket): boolean {
    // What is not even a header, or is for many, is counted and dropped by the kernel-style TCP.
    if (packet.length < TCP_HEADER || packet.toMany) return false;
    const view = packet.view;
    const at = packet.offset;
    const ports = (view.getUint16(at + TCP_DST_PORT) << 16) | view.getUint16(at + TCP_SRC_PORT);
    const flow = this.table.findFlow(packet, ports);
    let app: Application;
    if (flow !== null) {
      app = flow.app;
      if ((view.getUint8(at + TCP_FLAGS) & ACK) !== 0) {
        const ack = view.getInt32(at + TCP_ACK) as Seq;
        if (seqGt(ack, flow.sndUna) && seqLeq(ack, flow.sndNxt)) {
          flow.sndUna = ack;
          if (flow.mostSent > flow.mostAcked && seqGeq(ack, flow.mostSentEnd)) flow.mostAcked = flow.mostSent;
          if (flow.claimedMtu !== 0 && seqGt(ack, flow.claimedSeq)) flow.claimedMtu = 0;
        }
      }
    } else {
      const binding = this.table.findBinding(packet, ports);
      if (binding === null) return false;
      // A port that is only bound leaves room for a listener of the kernel-style TCP (SO_REUSEADDR), and for its connections.
      if (!binding.listening && this.ports.bindings.some(binding.port, listensInKernel)) return false;
      if (this.kernel.connections + this.kernel.timeWaits > 0 && this.kernel.owns(packet, ports)) return false;
      app = binding.app;
    }
    this.counters.InDelivered++;
    app.ingress.deliver(packet);
    return true;
  }

  icmpError(error: IcmpError): boolean | null {
    const ports = error.view.getInt32(error.offset);
    const flow = this.table.flowAt(
      error.src0, error.src1, error.src2, error.src3, error.dst0, error.dst1, error.dst2, error.dst3, ports,
    );
    if (flow === null) return null;
    const seq = error.view.getInt32(error.offset + TCP_SEQ) as Seq;
    // RFC 5927: only what is in flight can be complained of.
    if (!flow.sent || !seqGeq(seq, flow.sndUna) || !seqLt(seq, flow.sndNxt)) {
      this.counters.IcmpErrorsIgnored++;
      return false;
    }
    this.counters.IcmpErrors++;
    // Larger segments have got through: believed when the segment in question is sent again (7.2; lib/tcp/icmp.ts).
    if (error.mtu > 0 && flow.mostAcked > 0 && error.mtu < flow.mostAcked + flow.ip.headerLength + TCP_HEADER) {
      flow.claimedMtu = error.mtu;
      flow.claimedSeq = seq;
      return false;
    }
    if (error.mtu === 0) flow.app.ingress.deliverError(error);
    return true;
  }

  pathMtuChanged(r0: number, r1: number, r2: number, r3: number): void {
    const path = this.scratchFlow;
    path.l0 = 0;
    path.l1 = 0;
    path.l2 = isMapped(r0, r1, r2) ? MAPPED : 0;
    path.l3 = 0;
    path.r0 = r0;
    path.r1 = r1;
    path.r2 = r2;
    path.r3 = r3;
    if (this.ip.route(path) < 0) return;
    // When it is the link's again, all are told: whoever had a connection there remembers less.
    const wide = path.mtu === this.linkMtu;
    for (const app of this.applications) {
      let concerned = wide;
      app.forEachFlow(({ ip }) => {
        if (ip.r3 === r3 && ip.r2 === r2 && ip.r1 === r1 && ip.r0 === r0) concerned = true;
      });
      if (concerned) app.ingress.tellPathMtu(path);
    }
  }

  // ------------------------------------------------------------------------------ life, death

  /** Takes an application in. Its window lies in the stack's memory, at `window.base`, and is clear. */
  attach(window: Window, credentials: Credentials, name: string, privileged: boolean, port: ApplicationPort): Application {
    const app = new Application(this, this.#nextId++, window, credentials, name, privileged, this.#options.maxFlows, port);
    this.applications.add(app);
    this.counters.Attached++;
    return app;
  }

  /** The application has gone, properly or not: nothing of it stays, its peers are told by RST. */
  detach(app: Application, reason: string): void {
    if (app.gone) return;
    this.turn.enter();
    app.clear();
    this.applications.delete(app);
    this.counters.Detached++;
    this.#leaving.push({ app, reason });
    this.turn.leave();
  }

  /** Throws an application out that has broken its own channel. */
  expel(app: Application, reason: string): void {
    if (app.gone) return;
    this.counters.Expelled++;
    app.expelled = true;
    this.detach(app, reason);
  }

  /** All applications are thrown out: the stack closes. */
  close(reason: string): void {
    for (const app of [...this.applications]) this.detach(app, reason);
  }

  /** Applications that have gone, and whose windows still wait for the link to be done with them. */
  get leaving(): number {
    return this.#leaving.length;
  }

  /** RST for a connection whose application is no more, with the last numbers that it used (RFC 9293 3.10.5). */
  resetFlow(flow: AppFlow): void {
    if (!flow.sent || flow.reset) return;
    const tx = this.ip.tx;
    if (!tx.ready) this.flush();
    if (this.ip.route(flow.ip) < 0) return;
    const at = this.ip.begin(flow.ip, TCP_HEADER);
    if (at < 0) return;
    const view = this.memory.view;
    view.setUint16(at + TCP_SRC_PORT, flow.ports >>> 16);
    view.setUint16(at + TCP_DST_PORT, flow.ports & 0xffff);
    view.setInt32(at + TCP_SEQ, flow.sndNxt);
    view.setInt32(at + TCP_ACK, flow.acked ? flow.rcvNxt : 0);
    view.setUint8(at + TCP_DATA_OFFSET, (TCP_HEADER >> 2) << 4);
    view.setUint8(at + TCP_FLAGS, flow.acked ? RST | ACK : RST);
    view.setUint16(at + TCP_WINDOW, 0);
    view.setUint16(at + TCP_URGENT, 0);
    if (this.ip.end(flow.ip, TCP_CHECKSUM, GSO_NONE, 0) === 0) this.counters.OutResets++;
  }

  /**
   * A connection that its application leaves behind closing, or in TIME-WAIT, goes over to the kernel-style TCP,
   * with its flow. `record`: lib/tcp/handover.ts. Returns 0 or a negative errno; then nothing has changed.
   */
  takeOver(flow: AppFlow, record: Uint8Array): number {
    const { kernel } = this;
    const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
    const { ip, ports } = flow;
    // What others leave behind may not take the memory of those who are there.
    const { blockCount, freeBlocks } = this.memory;
    if (record.length > (freeBlocks - (blockCount >> 1)) * BLOCK_SIZE) return -ENOBUFS;
    if (this.ip.route(ip) < 0) return -EINVAL;
    const local = ports >>> 16;
    const remote = ports & 0xffff;
    switch (handoverKind(view, 0, record.length)) {
      case HANDOVER_TCB: {
        const tcb = readTcb(kernel, ip, local, remote, view, 0, record.length);
        if (tcb === null) return -EINVAL;
        if (!kernel.adopt(tcb)) return -ENOBUFS;
        break;
      }
      case HANDOVER_TIME_WAIT: {
        const state = readTimeWait(kernel, view, 0, record.length);
        if (state === null) return -EINVAL;
        if (!kernel.adoptTimeWait(ip, local, remote, state)) return -ENOBUFS;
        break;
      }
      default:
        return -EINVAL;
    }
    flow.app.dropFlow(flow);
    this.counters.TakenOver++;
    return 0;
  }

  // ------------------------------------------------------------------------------------ ports

  /** Binds on behalf of an application: the same table as the kernel-style TCP's. Returns the port. */
  bind(binding: Binding, port: number): number {
    return this.ports.bind(binding, port);
  }

  /** Whether the kernel-style TCP has this flow. */
  isKernelFlow(flow: IpFlow, ports: number): boolean {
    return this.kernel.hasFlow(flow, ports >>> 16, ports & 0xffff);
  }

  socketCalls(app: Application): SocketCalls | null {
    return this.#options.socketCalls(app);
  }

  // ------------------------------------------------------------------------------------ turns

  /** The application has rung: it wants something sent. */
  serve(app: Application): void {
    if (app.gone) return;
    this.wake(app);
    this.turn.enter();
    this.turn.leave();
  }

  /** All others have had their turn since this application's share was used up, or since it was found to want more. */
  resume(app: Application): void {
    app.waitsTurn = false;
    if (app.gone) return;
    app.refill();
    if (app.exhausted) this.comeBack(app);
    this.serve(app);
  }

  /** The application wants more than its share: it gets a new one when all others have had their turn. */
  comeBack(app: Application): void {
    if (app.waitsTurn) return;
    app.waitsTurn = true;
    app.port.again();
  }

  /** What the application was just shown, it will answer soon. */
  #stayAwake(app: Application): void {
    app.attend();
    if (app.waitsTurn) return;
    app.waitsTurn = true;
    app.port.stayAwake!();
  }

  /** From now on the application is looked at in every turn, for a while. */
  wake(app: Application): void {
    app.idleTurns = 0;
    if (app.awake) return;
    app.awake = true;
    this.#awake.push(app);
  }

  /** Packets have come: while they are handled, no application need ring. */
  begin(): void {
    for (let i = 0; i < this.#awake.length; i++) this.#awake[i]!.attend();
  }

  /** Takes what applications want sent, within each one's budget. Part of every turn. */
  poll(): void {
    for (let i = 0; i < this.#awake.length; i++) {
      const app = this.#awake[i]!;
      if (!app.gone) app.drain();
    }
  }

  /** The application is to be looked after at the end of the turn. */
  touch(app: Application): void {
    app.touched = true;
    this.#touched[this.#touchedCount++] = app;
  }

  /** The end of a turn, or of a part of it: what was written is shown, doorbells are rung. `sent`: nothing is queued any more. */
  finish(sent: boolean): void {
    const touched = this.#touched;
    let kept = 0;
    for (let i = 0; i < this.#touchedCount; i++) {
      const app = touched[i]!;
      touched[i] = null;
      app.finish(sent);
      if (!app.gone && (!sent || app.ingress.late)) touched[kept++] = app;
      else app.touched = false;
    }
    this.#touchedCount = kept;
    if (kept > 0) this.#options.later();
    const awake = this.#awake;
    let left = 0;
    for (let i = 0; i < awake.length; i++) {
      const app = awake[i]!;
      if (!app.gone && !app.stalled) {
        // To stay awake for several at a time would be to sleep for none.
        if (!app.more && awake.length === 1 && app.linger !== null && app.linger.stays(this.ip.nowUs)) this.#stayAwake(app);
        else if (app.more || app.sleep()) this.comeBack(app);
      }
      if (!app.gone && app.idleTurns <= IDLE_TURNS) awake[left++] = app;
      else app.awake = false;
    }
    awake.length = left;
    if (sent && this.#leaving.length > 0) {
      const leaving = this.#leaving;
      this.#leaving = [];
      for (const { app, reason } of leaving) app.port.release(reason);
    }
  }

  /** The link takes packets again. */
  writable(): void {
    for (const app of this.applications) if (app.stalled) this.wake(app);
  }

  violated(app: Application, reason: number, count: number): void {
    this.counters.Violations += count;
    this.onviolation?.(app, reason, count);
  }
}
