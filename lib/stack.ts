/**
 * A whole stack: a link below, IP, ICMP, UDP and the kernel-style TCP, and on top the low-level sockets
 * and the APIs in the shape of `node:net` and `node:dgram`. This file puts the parts together and runs
 * the **turns**: whatever begins at the outside (a batch of packets, an API call, the alarm) does all
 * its work and hands all its output to the link before it returns.
 *
 *     batch ─┐                                        ┌─ UDP, ICMP
 *     call  ─┼─ enter ─ (ip.input … / the call) ──────┴─ TCP ─ leave ─ tcp.drain ─ link.send
 *     alarm ─┘                                                          └─ loopback: once more
 */

import { EventEmitter } from 'node:events';
import { BLOCK_SIZE, PacketMemory } from './buffer/packet-memory.ts';
import { TransmitQueue } from './buffer/transmit-queue.ts';
import type { Channel, ChannelInfo } from './channel/channel.ts';
import type { ControlQuery } from './channel/control.ts';
import { SocketCallServer } from './channel/socket-call-server.ts';
import type { WindowSizes } from './channel/window.ts';
import { SystemClock } from './clock.ts';
import type { Alarm, Clock } from './clock.ts';
import { ECONNABORTED, ENETDOWN, EPROTONOSUPPORT } from './errno.ts';
import { listConnections } from './home/connections.ts';
import type { ConnectionInfo } from './home/connections.ts';
import type { TcpHost } from './home/tcp-host.ts';
import { tcpSocket } from './home/tcp-socket.ts';
import { MS_EPOCH, TurnClock } from './home/turn-clock.ts';
import { parseCidr } from './ip/cidr.ts';
import { Ip } from './ip/ip.ts';
import type { RouteConfig } from './ip/route.ts';
import type { Turn } from './ip/transport.ts';
import { EchoHost } from './kernel/echo-socket.ts';
import { createKernelTcp } from './kernel/kernel-tcp.ts';
import type { KernelPorts } from './kernel/kernel-ports.ts';
import { UdpHost } from './kernel/udp.ts';
import { resolveLimits } from './limits.ts';
import type { Limits } from './limits.ts';
import type { Link, LinkHost, PacketBatch } from './link/link.ts';
import { createDgram } from './net/dgram.ts';
import type { Dgram } from './net/dgram.ts';
import { createNet } from './net/net.ts';
import type { Net } from './net/net.ts';
import { SystemRandom } from './random.ts';
import type { Random } from './random.ts';
import { IPPROTO_TCP, IPPROTO_UDP, SOCK_STREAM } from './socket.ts';
import type { BsdSocket, SocketProvider } from './socket.ts';
import { tcpConfig } from './tcp/config.ts';
import type { TcpOptions } from './tcp/config.ts';
import { checkCongestion } from './tcp/congestion/congestion-control.ts';
import { tcpPathMtu } from './tcp/icmp.ts';
import type { Application, SocketCalls } from './tcpk/application.ts';
import { AttachServer } from './tcpk/attach-server.ts';
import { LocalChannel } from './tcpk/local-channel.ts';
import { Survey } from './tcpk/survey.ts';
import type { ApplicationSurvey } from './tcpk/survey.ts';
import { Tcpk } from './tcpk/tcpk.ts';
import { WindowSpace } from './tcpk/window-space.ts';
import { formatAddress, parseAddress } from './wire/address.ts';

/** Turns through the loopback queue before other work gets its chance. */
const LOOPBACK_ROUNDS = 64;
/** Longest time that a graceful close waits by default, ms. */
const CLOSE_TIMEOUT_MS = 2000;
/** What an application is waited for until it is looked after again, µs. */
const LATER_US = 5000;
const MAX_FLOWS = 65_536;
const SHARED_WINDOWS = 1 << 30;
const LOCAL_WINDOWS = 64 << 20;
const DEFAULT_MEMORY = 128 << 20;

/** A route: destination as CIDR; `source` is one of the stack's addresses, for connections that name none. */
export interface RouteOptions {
  to: string;
  source?: string;
}

export interface StackOptions {
  /** Where packets come from and go to: a TUN device, one end of a memory pair, any object of this shape. */
  link: Link;
  /** The stack's own addresses, as CIDR: `10.90.0.2/24`, `fd90::2/64`. At least one. */
  addresses: readonly string[];
  /** What is reached through the link. Default: everything. */
  routes?: readonly RouteOptions[];
  tcp?: TcpOptions;
  /** Time; default the machine's. With a `VirtualClock` the whole stack runs in virtual time. */
  clock?: Clock;
  /** Randomness: secrets, ports, identifications. Default the platform's. */
  random?: Random;
  /** Bytes of packet memory: buffers, fragments, queues of the whole stack. Default 128 MiB, committed when touched. */
  memory?: number;
  /** Bytes of the receive slab; see PacketMemory. */
  rxBytes?: number;
  /** Bounds on what peers can make the stack hold and do; docs/LIMITS.md has them all. */
  limits?: Limits;
  /** Whether applications may attach, and how much room there is for them. Default: they may not. */
  applications?: boolean | ApplicationOptions;
}

/** Room for applications that run their own TCP, or use the stack's from their own process. */
export interface ApplicationOptions {
  /** Address space for their windows, bytes; default 1 GiB when shared, else 64 MiB. Committed when touched. */
  windowBytes?: number;
  /**
   * Whether they may be in other processes, which takes the native addon. Default true; false is for applications
   * in the same thread only (`attach({ stack })`).
   */
  shared?: boolean;
  /** Connections of one application. Default 65536. */
  maxFlows?: number;
}

/** Where applications of other processes attach. */
export interface ListenForApplications {
  /** Path of the control socket. */
  path: string;
  /** Its permission bits. Default 0o600. */
  mode?: number;
  /** Lets every application bind to ports below 1024, not only those of root. Default false. */
  allowPrivilegedPorts?: boolean;
}

export type { ConnectionInfo } from './home/connections.ts';

/** Counters by layer, and of every attached application, as `tcpu stat` shows them. */
export interface StackCounters {
  layers: Record<string, Record<string, number>>;
  applications: ApplicationSurvey[];
}

export interface CloseOptions {
  /** Send what is queued, exchange FINs, up to `timeoutMs`; then reset the rest. Default true. */
  graceful?: boolean;
  timeoutMs?: number;
}

export interface StackEvents {
  /** The link is gone (device removed); every connection has been aborted. */
  down: [error: Error];
  close: [];
}

export class Stack extends EventEmitter<StackEvents> implements LinkHost, Turn, SocketProvider {
  readonly clock: Clock;
  readonly memory: PacketMemory;
  readonly link: Link;
  /** As given, canonical: `10.90.0.2/24`. */
  readonly addresses: readonly string[];
  readonly ip: Ip;
  readonly tcp: TcpHost;
  readonly ports: KernelPorts;
  readonly udp: UdpHost;
  readonly echo: EchoHost;
  /** `node:net` on this stack. */
  readonly net: Net;
  /** `node:dgram` on this stack. */
  readonly dgram: Dgram;

  /** TCPK: the applications. Null when none may attach. */
  readonly tcpk: Tcpk | null;
  /** What they have open and have counted. */
  readonly survey: Survey | null;
  /** Where their windows lie. */
  readonly windows: WindowSpace | null;

  /** Where applications of other processes attach. */
  readonly #servers = new Set<AttachServer>();
  readonly #tx: TransmitQueue;
  readonly #time: TurnClock;
  /** Comes back to applications for which something is left to do. */
  readonly #later: Alarm;
  /** Turns within turns. */
  #depth = 0;
  #refs = 0;
  #held = false;
  #closed = false;
  #closing: (() => void) | null = null;

  constructor(options: StackOptions) {
    super();
    // JavaScript reaches this without a compiler's word.
    if (options?.link === undefined) throw new RangeError('a stack needs a link; give for example link: openTun({ name: \'tcpu0\' })');
    if (!Array.isArray(options.addresses)) throw new RangeError('a stack needs addresses; give for example addresses: [\'10.90.0.2/24\']');
    resolveLimits(options.limits);
    const config = tcpConfig(options.tcp, options.limits?.tcp);
    checkCongestion(config.congestion);
    const addresses = options.addresses.map((text) => {
      const cidr = parseCidr(text);
      if (cidr === null) throw new RangeError(`'${text}' is not an address with prefix; write for example 10.90.0.2/24 or fd90::2/64`);
      return cidr;
    });
    if (addresses.length === 0) throw new RangeError('a stack needs at least one address; give for example addresses: [\'10.90.0.2/24\']');
    const routes = options.routes?.map((route): RouteConfig => {
      const to = parseCidr(route.to);
      const source = route.source === undefined ? undefined : parseAddress(route.source);
      if (to === null) throw new RangeError(`route to '${route.to}': not a network; write for example 10.0.0.0/8`);
      if (source === null) throw new RangeError(`route to '${route.to}': source '${route.source}' is not an address`);
      return { to, source };
    });
    const random = options.random ?? new SystemRandom();
    const link = options.link;
    this.clock = options.clock ?? new SystemClock();
    this.windows = windowSpace(options);
    this.memory = new PacketMemory({
      size: options.memory, rxBytes: options.rxBytes,
      region: this.windows === null ? undefined : { buffer: this.windows.buffer, byteOffset: 0, byteLength: this.windows.end, start: 0 },
    });
    this.link = link;
    this.addresses = addresses.map(({ words, prefix }) => `${formatAddress(words.w0, words.w1, words.w2, words.w3)}/${prefix}`);
    this.#tx = new TransmitQueue(this.memory);
    this.#time = new TurnClock(this.clock, () => {
      this.enter();
      this.tcp.advance();
      if (this.ip.nowUs >= this.ip.nextDeadlineUs) this.ip.poll(this.ip.nowUs);
      this.leave();
    });
    const uid = process.getuid?.() ?? 0;
    const common = { memory: this.memory, random, turn: this, uid };
    const refs = { ref: () => this.#addRef(1), unref: () => this.#addRef(-1) };
    this.ip = new Ip({
      tx: this.#tx, memory: this.memory, random, mtu: link.mtu, features: link.features, addresses, routes: routes ?? null, limits: options.limits?.ip,
    });
    const kernel = createKernelTcp({
      ...common, ip: this.ip, config, refs, flush: () => this.#flush(), wakeAt: (atMs) => this.#time.wakeAtMs(atMs), nowMs: MS_EPOCH,
    });
    this.tcp = kernel.host;
    this.ports = kernel.ports;
    this.udp = new UdpHost({
      ...common, ip: this.ip, flush: () => this.#flush(), limits: options.limits?.udp, liveness: refs, groups: this.ip.routes,
    });
    this.echo = new EchoHost({ ...common, ip: this.ip, clock: this.clock, liveness: refs });
    this.ip.register(IPPROTO_TCP, this.tcp);
    this.ip.register(IPPROTO_UDP, this.udp);
    this.ip.onEcho(this.echo);
    this.#later = this.clock.alarm(() => {
      this.enter();
      this.leave();
    });
    this.tcpk = this.windows === null ? null : new Tcpk({
      ip: this.ip, memory: this.memory, kernel: this.tcp, ports: this.ports, turn: this, flush: () => this.#flush(), linkMtu: () => link.mtu,
      socketCalls: (app) => this.#socketCalls(app), later: () => this.#later.set(this.clock.nowUs() + LATER_US), seed: random.int32(),
      maxFlows: typeof options.applications === 'object' ? options.applications.maxFlows ?? MAX_FLOWS : MAX_FLOWS,
    });
    this.survey = this.tcpk === null ? null : new Survey({
      tcpk: this.tcpk, clock: this.clock, pid: process.pid, uid,
    });
    this.net = createNet(this);
    this.dgram = createDgram(this.udp);
    this.#time.serve(this.tcp);
    this.#setNow();
    this.tcp.advance();
    link.attach(this);
    link.unref();
  }

  // ------------------------------------------------------------------------------------- turns

  /** LinkHost: packets have arrived. */
  input(batch: PacketBatch): void {
    if (this.#closed) return;
    this.enter();
    if (this.tcpk !== null) this.tcpk.begin();
    this.#handle(batch);
    this.leave();
  }

  #handle(batch: PacketBatch): void {
    const lent = this.tcp.lent;
    lent.slab = batch.slab;
    lent.count = 0;
    lent.open = true;
    const ip = this.ip;
    const count = batch.count;
    for (let i = 0; i < count; i++) ip.input(batch, i);
    // Output is stamped with the time at which it leaves, not with that of the batch's arrival.
    this.#setNow();
    this.tcp.drain();
    lent.open = false;
  }

  enter(): void {
    if (this.#depth++ === 0) this.#setNow();
  }

  leave(): void {
    if (this.#depth === 1) this.#finish();
    this.#depth--;
  }

  /** The outermost turn ends: output until there is none left, and what was sent to ourselves. */
  #finish(): void {
    const ip = this.ip;
    if (this.tcpk !== null) this.tcpk.poll();
    for (let round = 0; ; round++) {
      this.tcp.drain();
      this.#flush();
      if (!ip.loopbackPending) break;
      if (round === LOOPBACK_ROUNDS) {
        this.#time.wakeAt(this.clock.nowUs());
        break;
      }
      this.#handle(ip.takeLoopback()!);
    }
    if (this.tcpk !== null) this.tcpk.finish(this.#tx.empty);
    if (!ip.idle) this.#time.wakeAt(ip.nextDeadlineUs);
    if (this.#closing !== null && this.tcp.connections === 0) this.#closing();
  }

  #setNow(): void {
    this.ip.nowUs = this.#time.look();
  }

  #flush(): void {
    const tx = this.#tx;
    // Even when nothing is to leave: what went to ourselves may have left blocks to free.
    if (!tx.empty) this.link.send(tx);
    tx.reclaim();
  }

  /** LinkHost: the link takes packets again. */
  writable(): void {
    if (this.#closed) return;
    this.enter();
    this.#flush();
    if (this.udp.blocked) this.udp.writable();
    this.tcpk?.writable();
    this.leave();
  }

  /**
   * The link's MTU is another: connections take it over at once, and send again what was too large for it. To be called
   * by whoever changes it; the stack does not watch its link. Applications with a TCP of their own are not told.
   */
  mtuChanged(): void {
    if (this.#closed) return;
    this.enter();
    this.ip.setMtu(this.link.mtu);
    this.tcp.forEach((tcb) => tcpPathMtu(tcb));
    this.leave();
  }

  // ----------------------------------------------------------------------------------- sockets

  /**
   * A low-level TCP socket.
   * @param domain AF_INET or AF_INET6
   * @param type SOCK_STREAM (datagrams: `stack.udp`)
   * @returns the socket, -EAFNOSUPPORT, -EPROTONOSUPPORT, or -ENETDOWN once the stack is closed
   */
  socket(domain: number, type: number = SOCK_STREAM, protocol = 0): BsdSocket | number {
    if (this.#closed) return -ENETDOWN;
    if (type !== SOCK_STREAM || (protocol !== 0 && protocol !== IPPROTO_TCP)) return -EPROTONOSUPPORT;
    return tcpSocket(this.tcp, domain);
  }

  /** What an application in this thread stands on; `attach({ stack })` is the usual way to it. */
  attach(options: { name?: string; sizes: WindowSizes }): Channel {
    if (this.#closed) throw new Error('the stack is closed');
    if (this.tcpk === null || this.windows === null) {
      throw new RangeError('this stack takes no applications; create it with applications: true');
    }
    return new LocalChannel({
      tcpk: this.tcpk, space: this.windows, clock: this.clock, info: this.channelInfo(0), sizes: options.sizes, name: options.name ?? '',
      credentials: { pid: 0, uid: 0, gid: 0 }, privileged: true, refs: { ref: () => this.#addRef(1), unref: () => this.#addRef(-1) },
      onreport: (app, id, json) => this.survey!.answer(app, id, json),
    });
  }

  /**
   * Lets applications of other processes attach, through a Unix socket at `path`.
   *
   * @throws RangeError when the stack was not created for applications; AttachServerError when the path cannot be had
   */
  listen(options: ListenForApplications): AttachServer {
    if (this.#closed) throw new Error('the stack is closed');
    if (this.tcpk === null || this.windows === null) {
      throw new RangeError('this stack takes no applications; create it with applications: true');
    }
    const server = new AttachServer({
      ...options, tcpk: this.tcpk, space: this.windows, clock: this.clock, info: () => this.channelInfo(0),
      onquery: (kind) => this.#query(kind), awaits: (app, id) => this.survey!.awaits(app, id),
      onreport: (app, id, json) => this.survey!.answer(app, id, json),
    });
    this.#servers.add(server);
    return server;
  }

  #query(kind: ControlQuery): Promise<unknown> {
    const survey = this.survey!;
    if (kind !== 'counters') return survey.connections(kind === 'details');
    return survey.applications().then((applications): StackCounters => ({ layers: this.counters(), applications }));
  }

  /** What attached applications are told of this stack. */
  channelInfo(clockOffsetUs: number): ChannelInfo {
    return {
      mtu: this.link.mtu, features: this.link.features, addresses: [...this.addresses], name: this.link.name, pid: 0, clockOffsetUs,
    };
  }

  /** Serves the sockets that an application has in this stack. */
  #socketCalls(app: Application): SocketCalls {
    const room = this.clock.alarm(() => {
      if (this.#closed) return;
      this.enter();
      server.roomAgain();
      this.leave();
    });
    const server = new SocketCallServer({
      window: app.window, provider: this, udp: this.udp, echo: this.echo,
      notify: (socket, events, value) => app.ingress.notify(socket, events, value), mayBind: (_protocol, port) => app.mayBind(port),
      maxSockets: 4096, maxDatagramSockets: 1024, maxEchoSockets: 64,
      maxSndbuf: this.tcp.config.sndbufMax, maxRcvbuf: this.tcp.config.rcvbufMax,
      // An application may have a quarter of the memory for what it sends, and a quarter for what it has not read.
      memoryLimit: this.memory.blockCount * BLOCK_SIZE / 4, whenRoom: () => room.set(this.clock.nowUs()),
      owner: app, uid: app.credentials.uid,
    });
    return server;
  }

  /** Every connection and listener of the kernel-style TCP. Those of applications: `survey`. */
  connections(): ConnectionInfo[] {
    this.#setNow();
    return listConnections(this.tcp);
  }

  /** Counters of every layer, under their SNMP names where they have one. */
  counters(): Record<string, Record<string, number>> {
    const { memory } = this;
    return {
      ip: { ...this.ip.ip4 },
      ip6: { ...this.ip.ip6 },
      icmp: { ...this.ip.icmp4 },
      icmp6: { ...this.ip.icmp6 },
      tcp: { ...this.tcp.counters },
      udp: { ...this.udp.counters },
      ...this.tcpk === null ? {} : { tcpk: { ...this.tcpk.counters, Applications: this.tcpk.applications.size } },
      link: { ...this.link.counters },
      memory: {
        blocks: memory.blockCount, freeBlocks: memory.freeBlocks, exhausted: memory.exhausted, connections: this.tcp.connections,
        timeWaits: this.tcp.timeWaits,
      },
    };
  }

  // -------------------------------------------------------------------------- life and death

  /** Keeps the process alive as long as the stack is open. By itself only its open sockets do. */
  ref(): this {
    if (!this.#held) {
      this.#held = true;
      this.#addRef(1);
    }
    return this;
  }

  unref(): this {
    if (this.#held) {
      this.#held = false;
      this.#addRef(-1);
    }
    return this;
  }

  #addRef(change: number): void {
    this.#refs += change;
    if (this.#closed) return;
    if (this.#refs === 1 && change === 1) this.link.ref();
    else if (this.#refs === 0) this.link.unref();
  }

  /** LinkHost: the device is gone. */
  down(error: Error): void {
    if (this.#closed) return;
    this.#shut();
    this.emit('down', error);
    this.emit('close');
  }

  /** Ends all connections and closes the link. Resolves when that is done; closing twice is fine. */
  close(options: CloseOptions = {}): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (options.graceful === false) {
      this.#shut();
      this.emit('close');
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      // Whatever ends the stack first: the last connection, the time limit, or the loss of the link.
      this.once('close', resolve);
      if (this.#closing !== null) return;
      const finish = (): void => {
        if (this.#closed) return;
        this.#shut();
        this.emit('close');
      };
      const limit = this.clock.alarm(finish);
      limit.set(this.clock.nowUs() + (options.timeoutMs ?? CLOSE_TIMEOUT_MS) * 1000);
      this.once('close', () => limit.clear());
      this.ref();
      this.#closing = finish;
      this.enter();
      this.tcp.closeAll();
      this.leave();
    });
  }

  /** Resets what is still open and lets go of the link. */
  #shut(): void {
    this.#closing = null;
    this.enter();
    for (const server of this.#servers) server.close();
    this.tcpk?.close('the stack has closed');
    this.tcp.abortAll(ECONNABORTED);
    this.leave();
    // A graceful close ends in the middle of a turn: the resets of applications' connections leave all the same.
    this.#flush();
    this.#closed = true;
    this.#time.stop();
    this.#later.clear();
    this.#tx.clear();
    this.tcpk?.finish(true);
    this.link.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Room for applications' windows behind the stack's own memory, or null. */
function windowSpace(options: StackOptions): WindowSpace | null {
  if (options.applications === undefined || options.applications === false) return null;
  const asked = options.applications === true ? {} : options.applications;
  const shared = asked.shared ?? true;
  return new WindowSpace(options.memory ?? DEFAULT_MEMORY, asked.windowBytes ?? (shared ? SHARED_WINDOWS : LOCAL_WINDOWS), shared);
}

/**
 * Makes a stack on a link.
 *
 * @throws RangeError that names the bad option
 */
export function createStack(options: StackOptions): Stack {
  return new Stack(options);
}
