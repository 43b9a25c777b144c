/**
 * An attached application, as the stack sees it: its window with the two rings, what it is bound to, its
 * flows, and who it is. All that it says is untrusted.
 *
 *     IP ─ Tcpk.deliver ─ ingress.ts ─ receive ring ─ (doorbell) ─ application
 *     IP ─ egress.ts ─── drain() ──── transmit ring ─ (doorbell) ─ application
 *                        call() ───── bind, connect, … and the socket calls of classic applications
 */

import {
  BIND_REUSE_ADDRESS, BIND_REUSE_PORT, BIND_V6ONLY, CALL_BIND, CALL_CONNECT, CALL_HANDOVER, CALL_LISTEN, CALL_SOCKET_FIRST, CALL_UNBIND,
} from '../channel/calls.ts';
import { CALL_WORDS } from '../channel/channel.ts';
import { CALL_DATAGRAM_SEND } from '../channel/socket-calls.ts';
import {
  CLOSE_LENGTH, FROM_APP_CLOSE, FROM_APP_HANDLE, FROM_APP_OPEN, FROM_APP_SEGMENT, FROM_APP_SENDTO, OPEN_LENGTH, OPEN_LOCAL,
  OPEN_PORTS, OPEN_REMOTE, takeAddresses,
} from '../channel/records.ts';
import { Linger } from '../channel/linger.ts';
import { RECORD_TYPE, RingReader } from '../channel/ring.ts';
import { APP_SLEEPS, STACK_SLEEPS, TX_HEAD, TX_TAIL, TX_WAITS } from '../channel/window.ts';
import type { Window } from '../channel/window.ts';
import { EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EBADF, EINVAL, EMFILE, ENETUNREACH } from '../errno.ts';
import { covers } from '../home/local-ports.ts';
import { MAPPED, isUnspecified } from '../wire/address.ts';
import { IPPROTO_TCP } from '../wire/tcp.ts';
import { AppFlow } from './app-flow.ts';
import { Binding } from './binding.ts';
import { VIOLATION_OPEN, VIOLATION_RECORD, sendSegment, sendTo } from './egress.ts';
import { Ingress } from './ingress.ts';
import type { Tcpk } from './tcpk.ts';

/** Who an application is: SO_PEERCRED. */
export interface Credentials {
  pid: number;
  uid: number;
  gid: number;
}

/** Below these, ports are for root, or for whom the stack allows it. */
export const PRIVILEGED_PORTS = 1024;

/** Bindings of one application, and its flows, at most. */
const MAX_BINDINGS = 4096;
/**
 * What one application may have done before all others have had their turn: records, and bytes of payload. Small
 * packets cost the device and the peer as much as large ones, and what the peer answers must be read as fast as it comes.
 */
const BUDGET = 64;
const BUDGET_BYTES = 2 << 20;
/** What a dropped record costs more than a good one (who sends nonsense, waits), and what a call costs. */
const VIOLATION_COST = 8;
const CALL_COST = 4;
/** And what its data costs: one for so many bytes (1 << this) of a stream, and of datagrams. */
const STREAM_SHIFT = 14;
const DATAGRAM_SHIFT = 10;
/** A call does not wait; so many dropped records before one are not an accident any more. */
const MOST_VIOLATIONS = 1024;

/** Longest record of a connection that goes over, bytes: its send buffer, and some. */
const MAX_HANDOVER = 16 << 20;
const MAX_HANDOVER_PIECES = 4096;


export class ApplicationCounters {
  /** Segments and payload bytes from the application that were sent. */
  OutSegs = 0;
  OutOctets = 0;
  /** Dropped: larger than a path MTU that it may not have heard of. */
  OutTooBig = 0;
  /** Lost: a call came behind them while the link took nothing. */
  OutNoRoom = 0;
  /** Dropped: on flows that were refused, or that somebody else has had since. */
  OutLate = 0;
  /** Segments and bytes (TCP headers included) that were put into its ring; dropped because it was full. */
  InSegs = 0;
  InOctets = 0;
  InRingFull = 0;
  /** Dropped because they were not its own to send, or impossible. */
  Violations = 0;
  Calls = 0;
  /** Doorbells rung. */
  Bells = 0;
}

/** A server for the calls of classic applications: sockets that live in the stack. */
export interface SocketCalls {
  call(words: Int32Array, count: number): number;
  /** Visits the open sockets, for listings. */
  forEach(visit: (number: number, socket: object) => void): void;
  close(): void;
}

/** What an application is to be told by, and what belongs to it outside. */
export interface ApplicationPort {
  /** Wakes the application. */
  ring(): void;
  /** Calls `Tcpk.resume(app)` when others had their turn. */
  again(): void;
  /** The same after a few microseconds, or when the transmit ring has changed (lib/channel/linger.ts). */
  stayAwake?(): void;
  /** The application has been thrown out, or has gone; its window is free to be unmapped. */
  release(reason: string): void;
}

export class Application {
  readonly tcpk: Tcpk;
  readonly id: number;
  readonly window: Window;
  readonly credentials: Credentials;
  readonly name: string;
  readonly counters = new ApplicationCounters();
  /** `VIOLATION_…` → how often. */
  readonly violations = new Int32Array(16);
  readonly port: ApplicationPort;
  /** What it is told. */
  readonly ingress: Ingress;
  /** Null where nobody can stay awake for it. */
  readonly linger: Linger | null;
  readonly bindings = new Map<number, Binding>();
  readonly #privileged: boolean;
  readonly #maxFlows: number;
  readonly #onPort = new Map<number, Binding[]>();
  readonly #flows: (AppFlow | null)[] = [];
  readonly #tx: RingReader;
  flowCount = 0;
  /** Handles of flows that were refused, until the application has given them up: it may not have heard yet. */
  readonly #refused = new Set<number>();
  #budget = BUDGET;
  /** `counters.OutOctets` may reach this. */
  #octetsLimit = BUDGET_BYTES;
  #nextBinding = 0;
  /** Violations of this turn, and the last one's reason. */
  #violated = 0;
  #violation = 0;
  #sockets: SocketCalls | null = null;
  /** The beginning of a record that is being handed over; connections that were. */
  readonly #handover: Uint8Array[] = [];
  #handedOver = 0;
  /** In Tcpk's list of those to look after at the end of the turn. */
  touched = false;
  /** The link took no more, or the budget ended, while records were left. */
  stalled = false;
  more = false;
  /** It is to be resumed soon, or when others had their turn. */
  waitsTurn = false;
  /** In Tcpk's list of those that it looks at in every turn; turns since it last wanted something sent. */
  awake = false;
  idleTurns = 0;
  gone = false;
  /** It was thrown out. */
  expelled = false;

  constructor(
    tcpk: Tcpk, id: number, window: Window, credentials: Credentials, name: string, privileged: boolean, maxFlows: number, port: ApplicationPort,
  ) {
    this.tcpk = tcpk;
    this.id = id;
    this.window = window;
    this.credentials = credentials;
    this.name = name;
    this.#privileged = privileged;
    this.#maxFlows = maxFlows;
    this.port = port;
    this.linger = port.stayAwake === undefined ? null : new Linger();
    this.ingress = new Ingress(window, tcpk.memory, this.counters, () => {
      if (!this.touched && !this.gone) tcpk.touch(this);
    });
    this.#tx = new RingReader(window, window.txRing, window.sizes.txRing, TX_HEAD, TX_TAIL);
    Atomics.store(window.words, STACK_SLEEPS, 1);
  }

  /**
   * The end of a turn. `sent`: all that was queued for the link has left it, so the memory of the records
   * that were taken can be used again.
   */
  finish(sent: boolean): void {
    if (this.gone) return;
    const words = this.window.words;
    const { rx } = this.ingress;
    this.ingress.retry();
    if (this.#violated > 0) this.#tellViolations();
    // It is thrown out when others had their turn, not in the middle of one.
    if (rx.broken) this.port.again();
    const shown = rx.publish();
    if (shown && this.linger !== null) this.linger.shown(this.tcpk.ip.nowUs);
    let wake = false;
    if (sent) {
      this.#tx.release();
      if (Atomics.load(words, TX_WAITS) !== 0) {
        Atomics.store(words, TX_WAITS, 0);
        wake = true;
      }
    }
    if (shown && Atomics.exchange(words, APP_SLEEPS, 0) !== 0) wake = true;
    if (wake) {
      this.counters.Bells++;
      this.port.ring();
    }
  }

  #tellViolations(): void {
    this.ingress.tellViolations(this.#violation, this.#violated);
    this.tcpk.violated(this, this.#violation, this.#violated);
    this.#violated = 0;
  }

  // ---------------------------------------------------------------------- application → stack

  /**
   * Handles what is in the transmit ring, up to a budget; `more` then says that something is left. To be
   * called inside a turn. `all`: what is in the ring now is handled whatever it costs, but nothing that is added meanwhile.
   */
  drain(all = false): void {
    const tcpk = this.tcpk;
    const ip = tcpk.ip;
    const tx = ip.tx;
    const reader = this.#tx;
    const words = this.window.words;
    let left = this.window.sizes.txRing;
    let room = true;
    let count = 0;
    this.stalled = false;
    this.more = false;
    this.idleTurns++;
    if (!reader.waiting && !reader.broken && !this.ingress.rx.broken) return;
    this.idleTurns = 0;
    Atomics.store(words, STACK_SLEEPS, 0);
    if (!this.touched) tcpk.touch(this);
    for (;;) {
      if (all ? left <= 0 : this.exhausted) {
        this.more = true;
        return;
      }
      if (room && !tx.ready) {
        tcpk.flush();
        room = tx.ready;
        // A call does not wait for the link: segments before it are lost, as in any full queue, but ports and flows are not.
        if (!room && !all) {
          this.stalled = true;
          return;
        }
      }
      const w = reader.next();
      if (w < 0) break;
      const length = reader.length;
      left -= length;
      count++;
      let fault: number;
      switch (words[w + RECORD_TYPE]) {
        case FROM_APP_SEGMENT:
          fault = length < 64 ? VIOLATION_RECORD : room ? sendSegment(this, ip, w, length) : this.#lose();
          break;
        case FROM_APP_SENDTO:
          fault = room ? sendTo(this, ip, w, length) : this.#lose();
          break;
        case FROM_APP_OPEN:
          fault = length < OPEN_LENGTH ? VIOLATION_RECORD : this.#open(w);
          break;
        case FROM_APP_CLOSE:
          fault = length < CLOSE_LENGTH ? VIOLATION_RECORD : this.#close(words[w + FROM_APP_HANDLE]!);
          break;
        default:
          fault = VIOLATION_RECORD;
      }
      this.#budget--;
      if (fault !== 0) {
        this.violate(fault);
        this.#budget -= VIOLATION_COST;
        if (this.#violated > MOST_VIOLATIONS) {
          tcpk.expel(this, 'it sent nothing but what it must not');
          return;
        }
      }
    }
    if (this.linger !== null) this.linger.came(tcpk.ip.nowUs, count);
    if (reader.broken || this.ingress.rx.broken) tcpk.expel(this, 'the ring was damaged');
  }

  /** It has had its share, until `refill()`. */
  get exhausted(): boolean {
    return this.#budget <= 0 || this.counters.OutOctets >= this.#octetsLimit;
  }

  /** All others have had their turn. What it has taken beyond its share (a call does not wait) is taken off the next. */
  refill(): void {
    this.#budget = Math.min(this.#budget + BUDGET, BUDGET);
    this.#octetsLimit = Math.min(this.#octetsLimit, this.counters.OutOctets) + BUDGET_BYTES;
  }

  /** What it has had done costs more than the record or the call that asked for it. */
  charge(cost: number, octets: number): void {
    this.#budget -= cost;
    this.#octetsLimit -= octets;
  }

  /** The stack is awake anyway: it need not be rung for. */
  attend(): void {
    Atomics.store(this.window.words, STACK_SLEEPS, 0);
  }

  #lose(): number {
    this.counters.OutNoRoom++;
    return 0;
  }

  /**
   * The stack is about to wait: from now on it must be rung for. Returns whether something has come
   * in the meantime after all.
   */
  sleep(): boolean {
    Atomics.store(this.window.words, STACK_SLEEPS, 1);
    if (!this.#tx.waiting) return false;
    Atomics.store(this.window.words, STACK_SLEEPS, 0);
    return true;
  }

  violate(reason: number): void {
    this.#violated++;
    this.#violation = reason;
    this.violations[reason]!++;
    this.counters.Violations++;
  }

  /** FROM_APP_OPEN: a flow on one of its own ports. */
  #open(w: number): number {
    const words = this.window.words;
    const handle = words[w + FROM_APP_HANDLE]!;
    if (handle >= this.#maxFlows && this.#used >= this.#maxFlows && handle < 2 * this.#maxFlows && !this.#refused.has(handle)) {
      // One too many, of an application that counts its flows from 0 on.
      this.#refuse(handle, EMFILE, words[w + OPEN_PORTS]!);
      return 0;
    }
    const flow = this.#newFlow(handle);
    if (flow === null) return VIOLATION_OPEN;
    const ip = flow.ip;
    takeAddresses(ip, words, w + OPEN_LOCAL, w + OPEN_REMOTE);
    flow.ports = words[w + OPEN_PORTS]!;
    const tcpk = this.tcpk;
    if ((ip.l0 | ip.l1 | ip.l3) === 0 || (flow.ports & 0xffff) === 0 || !this.mayUse(ip.l0, ip.l1, ip.l2, ip.l3, flow.ports >>> 16)
      || tcpk.ip.isToMany(ip.r0, ip.r1, ip.r2, ip.r3) || tcpk.ip.route(ip) < 0) return VIOLATION_OPEN;
    if (tcpk.isKernelFlow(ip, flow.ports) || !tcpk.table.addFlow(flow)) {
      this.#refuse(handle, EADDRINUSE, flow.ports);
      return 0;
    }
    this.#flows[handle] = flow;
    this.flowCount++;
    if (ip.mtu !== tcpk.linkMtu && !ip.loopback) this.ingress.tellPathMtu(ip);
    return 0;
  }

  #refuse(handle: number, errno: number, ports: number): void {
    this.#refused.add(handle);
    this.ingress.refuse(handle, errno, ports);
  }

  #close(handle: number): number {
    const flow = this.flow(handle);
    // A flow that was refused is closed as well.
    if (flow !== null) this.dropFlow(flow);
    else this.#refused.delete(handle);
    return 0;
  }

  /** Handles that are taken. */
  get #used(): number {
    return this.flowCount + this.#refused.size;
  }

  /** A flow object for a handle that is free and possible, or null. */
  #newFlow(handle: number): AppFlow | null {
    if (handle < 0 || handle >= this.#maxFlows || this.flow(handle) !== null || this.#refused.has(handle)) return null;
    const flow = new AppFlow(this, handle);
    flow.ip.protocol = IPPROTO_TCP;
    return flow;
  }

  flow(handle: number): AppFlow | null {
    return handle >= 0 && handle < this.#flows.length ? this.#flows[handle] ?? null : null;
  }

  /** Whether this flow was refused, so that what the application sends on it is lost, but no violation. */
  isRefused(handle: number): boolean {
    return this.#refused.has(handle);
  }

  dropFlow(flow: AppFlow): void {
    if (this.#flows[flow.handle] !== flow) return;
    this.#flows[flow.handle] = null;
    this.flowCount--;
    this.tcpk.table.removeFlow(flow);
  }

  /** Visits its sockets in the stack: those that it uses as a classic application. */
  forEachSocket(visit: (socket: object) => void): void {
    this.#sockets?.forEach((_number, socket) => visit(socket));
  }

  forEachFlow(visit: (flow: AppFlow) => void): void {
    for (const flow of this.#flows) if (flow != null) visit(flow);
  }

  /** Whether a binding of this application covers this local address and port. */
  mayUse(l0: number, l1: number, l2: number, l3: number, port: number): boolean {
    const bindings = this.#onPort.get(port);
    if (bindings === undefined) return false;
    for (const binding of bindings) if (covers(binding, l0, l1, l2, l3)) return true;
    return false;
  }

  // ------------------------------------------------------------------------------------ calls

  /** Executes a call (lib/channel/calls.ts). Results go to `words[1 …]`. */
  call(words: Int32Array, count: number): number {
    this.counters.Calls++;
    if (this.gone || count < 1 || count > CALL_WORDS) return -EINVAL;
    this.tcpk.turn.enter();
    try {
      this.#budget -= CALL_COST;
      this.drain(true);
      return this.gone ? -EBADF : this.#execute(words, count);
    } finally {
      // An error of ours ends this application (see AttachServer), not the turns of all others.
      this.tcpk.wake(this);
      this.tcpk.turn.leave();
    }
  }

  #execute(words: Int32Array, count: number): number {
    const op = words[0]!;
    if (op >= CALL_SOCKET_FIRST) {
      const sockets = (this.#sockets ??= this.tcpk.socketCalls(this));
      if (sockets === null) return -EAFNOSUPPORT;
      const result = sockets.call(words, count);
      // What such a call moves, either way, is in its result: bytes.
      if (result > 0) this.charge(op === CALL_DATAGRAM_SEND ? result >> DATAGRAM_SHIFT : result >> STREAM_SHIFT, result);
      return result;
    }
    // What was not sent is zero.
    words.fill(0, count);
    switch (op) {
      case CALL_BIND: return this.#bind(words);
      case CALL_LISTEN: return this.#listen(words);
      case CALL_UNBIND: return this.#unbind(words[1]!);
      case CALL_CONNECT: return this.#connect(words);
      case CALL_HANDOVER: return this.#handOver(words[1]!, words[2]!, words[3] !== 0);
    }
    return -EINVAL;
  }

  /** 0, or -EACCES for a port that this application may not bind to. */
  mayBind(port: number): number {
    return port > 0 && port < PRIVILEGED_PORTS && !this.#privileged ? -EACCES : 0;
  }

  #bind(words: Int32Array): number {
    const port = words[5]!;
    const bits = words[6]!;
    if (port < 0 || port > 0xffff) return -EINVAL;
    if (this.bindings.size >= MAX_BINDINGS) return -EMFILE;
    const denied = this.mayBind(port);
    if (denied < 0) return denied;
    const b0 = words[1]!;
    const b1 = words[2]!;
    const b2 = words[3]!;
    const b3 = words[4]!;
    const any = (b0 | b1 | b3) === 0 && (b2 === 0 || b2 === MAPPED);
    if (!any && !this.tcpk.ip.isLocal(b0, b1, b2, b3)) return -EADDRNOTAVAIL;
    const binding = new Binding(
      this, this.#nextBinding, b0, b1, b2, b3, (bits & BIND_V6ONLY) !== 0, (bits & BIND_REUSE_ADDRESS) !== 0, (bits & BIND_REUSE_PORT) !== 0,
    );
    const bound = this.tcpk.bind(binding, port);
    if (bound < 0) return bound;
    binding.port = bound;
    this.#nextBinding = (this.#nextBinding + 1) & 0x7fffffff;
    this.bindings.set(binding.id, binding);
    const others = this.#onPort.get(bound);
    if (others === undefined) this.#onPort.set(bound, [binding]);
    else others.push(binding);
    this.tcpk.table.addBinding(binding);
    words[1] = bound;
    return binding.id;
  }

  #listen(words: Int32Array): number {
    const binding = this.bindings.get(words[1]!);
    if (binding === undefined) return -EBADF;
    binding.reuseAddress = (words[2]! & BIND_REUSE_ADDRESS) !== 0;
    binding.listening = true;
    const conflict = this.tcpk.ports.listen(binding, binding.port);
    if (conflict < 0) binding.listening = false;
    return conflict;
  }

  #unbind(id: number): number {
    const binding = this.bindings.get(id);
    if (binding === undefined) return -EBADF;
    this.bindings.delete(id);
    const others = this.#onPort.get(binding.port)!;
    others.splice(others.indexOf(binding), 1);
    if (others.length === 0) this.#onPort.delete(binding.port);
    this.tcpk.table.removeBinding(binding);
    this.tcpk.ports.unbind(binding, binding.port);
    return 0;
  }

  /** Collects the record of a connection that goes over to the kernel-style TCP. */
  #handOver(handle: number, bytes: number, more: boolean): number {
    const { window } = this;
    const before = this.#handover.reduce((sum, piece) => sum + piece.length, 0);
    if (bytes < 0 || bytes > window.sizes.call || before + bytes > MAX_HANDOVER || this.#handover.length >= MAX_HANDOVER_PIECES) {
      this.#handover.length = 0;
      return -EINVAL;
    }
    // Copied also so that it does not change any more.
    this.#handover.push(window.bytes.slice(window.call, window.call + bytes));
    if (more) return 0;
    const record = new Uint8Array(before + bytes);
    let at = 0;
    for (const piece of this.#handover.splice(0)) {
      record.set(piece, at);
      at += piece.length;
    }
    const flow = this.flow(handle);
    if (flow === null) return -EBADF;
    if (this.#handedOver >= this.#maxFlows) return -EMFILE;
    const result = this.tcpk.takeOver(flow, record);
    if (result === 0) this.#handedOver++;
    return result;
  }

  #connect(words: Int32Array): number {
    const handle = words[1]!;
    const tcpk = this.tcpk;
    const remotePort = words[11]!;
    if (remotePort < 1 || remotePort > 0xffff) return -EINVAL;
    let binding: Binding | null = null;
    if (words[2] !== -1) {
      binding = this.bindings.get(words[2]!) ?? null;
      if (binding === null) return -EBADF;
    }
    if (this.#used >= this.#maxFlows) return -EMFILE;
    const flow = this.#newFlow(handle);
    if (flow === null) return -EINVAL;
    const ip = flow.ip;
    takeAddresses(ip, words, 3, 7);
    if (isUnspecified(ip.r0, ip.r1, ip.r2, ip.r3)) return -EINVAL;
    if (tcpk.ip.isToMany(ip.r0, ip.r1, ip.r2, ip.r3)) return -ENETUNREACH;
    const routed = tcpk.ip.route(ip);
    if (routed < 0) return routed;
    let local: number;
    if (binding === null) {
      local = tcpk.ports.pick(ip, remotePort);
    } else {
      local = binding.port;
      if (!this.mayUse(ip.l0, ip.l1, ip.l2, ip.l3, local) || tcpk.ports.taken(ip, local, remotePort)) local = -EADDRNOTAVAIL;
    }
    if (local < 0) return local;
    flow.ports = (local << 16) | remotePort;
    if (!tcpk.table.addFlow(flow)) return -EADDRNOTAVAIL;
    this.#flows[handle] = flow;
    this.flowCount++;
    words[1] = ip.l0;
    words[2] = ip.l1;
    words[3] = ip.l2;
    words[4] = ip.l3;
    words[5] = ip.mtu;
    return local;
  }

  /** All that it holds is given back; its peers are told. To be called inside a turn. */
  clear(): void {
    if (this.#violated > 0) this.#tellViolations();
    this.gone = true;
    this.#sockets?.close();
    this.#sockets = null;
    this.forEachFlow((flow) => {
      this.dropFlow(flow);
      this.tcpk.resetFlow(flow);
    });
    for (const id of [...this.bindings.keys()]) this.#unbind(id);
  }
}
