/**
 * The listening side of a home (RFC 9293 3.10.7.2, LISTEN): finds the listener that a segment for no
 * connection is for, and answers SYNs.
 *
 *     SYN ──▶ half open ──ACK──▶ queue ──▶ accept()          bounds: `maxSynBacklog` over all, and the backlog;
 *      └─ no room: cookie ──ACK──────▶┘                      the backlog
 *
 * A SYN costs its sender nothing, so what it makes us keep is bounded (RFC 4987): a listener has as many half-open
 * connections as its backlog says, all of them together `maxSynBacklog`, of which a quarter is for those that have
 * completed the handshake while the queue was full. When there is no room, SYNs are answered by cookies, which keep
 * nothing (lib/tcp/syn-cookies.ts). That is also what keeps a host with many half-open connections from starving
 * others: whoever comes next is answered all the same. Counting them by source would cost memory for each source, and
 * say nothing where sources are forged. Without cookies the oldest half-open connection makes room, as in BSD:
 * who answers within the time that a flood takes to go round the queue is served, where Linux would serve nobody new
 * for a minute.
 *
 * A full queue of accept() is as in Linux: SYNs are dropped, and so is the ACK that would complete a handshake; the
 * SYN-ACK is sent again, and the ACK of that has another chance. Other than in Linux, it is sent when accept() makes
 * room already, and not only when its time is up; and a cookie that comes back then becomes a half-open connection:
 * nothing would be sent again for it otherwise, and a client that waits for us to speak would wait in vain.
 */

import { FlowTable, portPair } from '../buffer/flow-table.ts';
import { ECONNRESET } from '../errno.ts';
import type { IpPacket } from '../ip/packet.ts';
import type { Random } from '../random.ts';
import { createCongestionControl } from '../tcp/congestion/congestion-control.ts';
import { sendSyn } from '../tcp/emit.ts';
import { dropSilently } from '../tcp/ending.ts';
import { prepareCookie } from '../tcp/handshake.ts';
import type { TcpHome } from '../tcp/home.ts';
import { COOKIE_BAD, COOKIE_OLD, FastOpen } from '../tcp/fast-open.ts';
import { tcpInput } from '../tcp/input.ts';
import type { Segment } from '../tcp/segment.ts';
import { CLOSED, SYN_RECEIVED } from '../tcp/states.ts';
import { SynCookies } from '../tcp/syn-cookies.ts';
import { Tcb } from '../tcp/tcb.ts';
import { armRetransmit } from '../tcp/timers.ts';
import { abortTcb, openFromCookie, openPassive, openPassiveFast } from '../tcp/user.ts';
import { MAPPED } from '../wire/address.ts';
import { ACK, FIN, IPPROTO_TCP, RST, SYN } from '../wire/tcp.ts';
import type { TcpListener } from './tcp-listener.ts';

/** Retransmissions of SYN-ACKs while more than half of what may be half open is: 7 seconds, as Linux has it. */
const CROWDED_RETRIES = 2;

/** What listening asks of the home that it is a part of. */
export interface ListeningHome extends TcpHome {
  /** Connections and half-open ones. */
  readonly connections: number;
  /** The SYN being handled takes over a flow in TIME-WAIT: its ISN is not free, so it cannot be a cookie. */
  readonly reusing: boolean;
  /** The listener's owner is to be told at the end of the turn. */
  noteReady(listener: TcpListener): void;
  /** Takes the TCB, whose addresses and ports are set, into the connection table. False: its flow cannot be had. */
  insert(tcb: Tcb): boolean;
}

export class Listening {
  readonly #home: ListeningHome;
  /** Local address and port of listeners; wild parts zero. Entry value: index into #listeners. */
  readonly #table: FlowTable;
  readonly #listeners: TcpListener[][] = [];
  readonly #cookies: SynCookies;
  /** Composes the SYN-ACKs that have cookies; null before the first. */
  #composer: Tcb | null = null;
  /** Half-open connections of all listeners. */
  #halfOpen = 0;

  constructor(home: ListeningHome, random: Random, seed: number) {
    this.#home = home;
    this.#cookies = new SynCookies(random);
    this.#table = new FlowTable(seed);
  }

  /** 3.10.7.2 (LISTEN) and 3.10.7.1 (CLOSED: no such connection). */
  input(segment: Segment): void {
    const home = this.#home;
    const counters = home.counters;
    const packet = segment.packet;
    const listener = this.find(packet, segment);
    if (listener === null) {
      counters.NoPort++;
      home.reset(segment);
      return;
    }
    if ((segment.flags & RST) !== 0) return;
    if ((segment.flags & ACK) !== 0) {
      if ((segment.flags & SYN) === 0 && this.#cookies.mayBeOut(home.nowMs) && this.#inputCookie(listener, segment)) return;
      home.reset(segment);
      return;
    }
    // A SYN with FIN is no SYN that a TCP ever sends. ECE and CWR (ECN set-up) are welcome and ignored.
    if ((segment.flags & SYN) === 0 || (segment.flags & FIN) !== 0) {
      counters.InErrs++;
      return;
    }
    if (listener.full) {
      counters.ListenOverflows++;
      counters.ListenDrops++;
      return;
    }
    const asksFastOpen = listener.fastOpenQueue > 0 && segment.fastOpenLength >= 0;
    if (asksFastOpen && segment.fastOpenLength > 0 && this.#openFast(listener, segment)) return;
    const { synCookies } = home.config;
    if (!home.reusing && (synCookies === 'always' || !this.#roomFor(listener))) {
      if (synCookies !== 'off') {
        this.#answerByCookie(listener, segment);
        return;
      }
      this.#evict(listener);
    }
    const tcb = this.#newTcb(listener, segment);
    if (tcb === null) return;
    if (asksFastOpen) {
      tcb.fastOpen = new FastOpen();
      this.#giveCookie(tcb.fastOpen, segment);
    }
    this.#add(listener, tcb);
    openPassive(tcb, segment);
  }

  /** A SYN with a Fast Open cookie (RFC 7413 4.2.2): returns whether it is done with; if not, it is an ordinary SYN. */
  #openFast(listener: TcpListener, segment: Segment): boolean {
    const home = this.#home;
    const { counters, nowMs } = home;
    const cookie = home.fastOpen.keys.check(segment, nowMs);
    if (cookie === COOKIE_BAD) {
      counters.FastOpenPassiveFail++;
      return false;
    }
    if (!listener.mayFastOpen(nowMs)) {
      counters.FastOpenListenOverflow++;
      return false;
    }
    const tcb = this.#newTcb(listener, segment);
    if (tcb === null) return true;
    counters.FastOpenPassive++;
    const fastOpen = new FastOpen();
    if (cookie === COOKIE_OLD) this.#giveCookie(fastOpen, segment);
    fastOpen.pendingOf = listener;
    listener.fastOpens.add(tcb);
    listener.queue.push(tcb);
    home.noteReady(listener);
    openPassiveFast(tcb, segment, fastOpen);
    return true;
  }

  #giveCookie(fastOpen: FastOpen, segment: Segment): void {
    const home = this.#home;
    home.counters.FastOpenCookieReqd++;
    fastOpen.cookieLength = home.fastOpen.keys.make(segment.packet, home.nowMs, fastOpen.cookie);
  }

  /** Whether one more SYN may be kept. */
  #roomFor(listener: TcpListener): boolean {
    const most = this.#home.config.maxSynBacklog;
    return listener.halfOpen.size < listener.backlog && this.#halfOpen < most - (most >> 2);
  }

  /** Lets the oldest half-open connection go of which nothing was heard but the SYN: the listener's own, or another's. */
  #evict(listener: TcpListener): void {
    let oldest = oldestUnproven(listener);
    if (oldest === null) {
      this.forEach((other) => {
        oldest ??= oldestUnproven(other);
      });
    }
    if (oldest === null) return;
    this.#home.counters.SynEvictions++;
    dropSilently(oldest);
  }

  #add(listener: TcpListener, tcb: Tcb): void {
    listener.halfOpen.add(tcb);
    this.#halfOpen++;
    tcb.listener = listener;
  }

  /** Answers a SYN and keeps nothing of it. */
  #answerByCookie(listener: TcpListener, segment: Segment): void {
    const home = this.#home;
    const { counters } = home;
    if (this.#composer === null) this.#composer = new Tcb(home, createCongestionControl(listener.congestion)!);
    const tcb = this.#composer;
    tcb.rcvbufLimit = home.config.rcvbufInitial;
    tcb.userMss = 0;
    tcb.flow.tos = 0;
    tcb.flow.ttl = 64;
    this.#address(tcb, listener, segment);
    tcb.flow.generation = -1;
    if (home.ip.route(tcb.flow) < 0) {
      counters.ListenDrops++;
      return;
    }
    tcb.state = SYN_RECEIVED;
    prepareCookie(tcb, segment, this.#cookies);
    if (sendSyn(tcb)) counters.SyncookiesSent++;
    else counters.ListenDrops++;
    tcb.state = CLOSED;
  }

  /** An ACK for a listener while cookies are out. Returns whether it is done with; if not, it acknowledges nothing of ours. */
  #inputCookie(listener: TcpListener, segment: Segment): boolean {
    const home = this.#home;
    const { counters } = home;
    const mss = this.#cookies.check(segment, home.nowMs);
    if (mss < 0) {
      counters.SyncookiesFailed++;
      return false;
    }
    counters.SyncookiesRecv++;
    const { full } = listener;
    if (full) counters.ListenOverflows++;
    if (full && this.#halfOpen >= home.config.maxSynBacklog) {
      counters.ListenDrops++;
      return true;
    }
    const tcb = this.#newTcb(listener, segment);
    if (tcb === null) return true;
    openFromCookie(tcb, segment, mss);
    this.#add(listener, tcb);
    if (full) {
      listener.proven.add(tcb);
      armRetransmit(tcb);
    } else {
      tcpInput(tcb, segment);
    }
    return true;
  }

  /**
   * A SYN was answered by a cookie, came again when there was room, and is half open now; then the ACK of the first answer
   * arrives. Returns whether `segment` is that one: the connection is opened from it, in the place of `tcb`.
   */
  takesCookie(tcb: Tcb, segment: Segment): boolean {
    const { nowMs } = this.#home;
    const listener = tcb.listener as TcpListener | null;
    if (listener === null || (segment.flags & SYN) !== 0 || !this.#cookies.mayBeOut(nowMs)) return false;
    if (this.#cookies.check(segment, nowMs) < 0) return false;
    dropSilently(tcb);
    return this.#inputCookie(listener, segment);
  }

  /** A TCB for the flow of `segment`, in the connection table; null when there is no room for it. */
  #newTcb(listener: TcpListener, segment: Segment): Tcb | null {
    const home = this.#home;
    if (home.connections < home.config.maxConnections) {
      const tcb = new Tcb(home, createCongestionControl(listener.congestion)!);
      this.#address(tcb, listener, segment);
      if (home.ip.route(tcb.flow) >= 0 && home.insert(tcb)) return tcb;
    }
    home.counters.ListenDrops++;
    return null;
  }

  /** The flow of `segment`, and the listener's settings. */
  #address(tcb: Tcb, listener: TcpListener, segment: Segment): void {
    const flow = tcb.flow;
    flow.protocol = IPPROTO_TCP;
    flow.turn(segment.packet);
    tcb.localPort = segment.dstPort;
    tcb.remotePort = segment.srcPort;
    listener.prepare(tcb);
  }

  /** The listener that a segment for no connection is for, or null. */
  find(packet: IpPacket, segment: Segment): TcpListener | null {
    const table = this.#table;
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

  /** Whether a half-open connection may become established: it finds room in the queue. Its handshake goes on if not. */
  mayEstablish(tcb: Tcb): boolean {
    const listener = tcb.listener as TcpListener | null;
    if (listener === null || !listener.full) return true;
    const { counters } = this.#home;
    counters.ListenOverflows++;
    counters.ListenDrops++;
    listener.proven.add(tcb);
    return false;
  }

  /** A connection was accepted: whoever found the queue full may try again. */
  accepted(listener: TcpListener): void {
    if (listener.proven.size === 0 || listener.full) return;
    for (const tcb of listener.proven) {
      listener.proven.delete(tcb);
      this.#home.counters.RetransSegs++;
      sendSyn(tcb);
      armRetransmit(tcb);
      return;
    }
  }

  /** How often the SYN-ACK of a half-open connection is sent again. */
  synAckRetries(tcb: Tcb): number {
    const { synAckRetries, maxSynBacklog } = this.#home.config;
    const listener = tcb.listener as TcpListener | null;
    if (listener !== null && listener.proven.has(tcb)) return synAckRetries;
    const crowded = this.#halfOpen * 2 > maxSynBacklog || listener !== null && listener.halfOpen.size * 2 > Math.max(listener.backlog, 8);
    return crowded ? Math.min(synAckRetries, CROWDED_RETRIES) : synAckRetries;
  }

  /** A half-open connection is established: it waits to be accepted. Returns its listener, or null if it has none. */
  established(tcb: Tcb): TcpListener | null {
    const listener = tcb.listener as TcpListener | null;
    this.forget(tcb);
    if (listener === null) return null;
    listener.queue.push(tcb);
    return listener;
  }

  /** A connection is over, or established: no more half open. */
  forget(tcb: Tcb): void {
    if (tcb.fastOpen !== null && tcb.fastOpen.pendingOf !== null) {
      const pendingOf = tcb.fastOpen.pendingOf as TcpListener;
      tcb.fastOpen.pendingOf = null;
      pendingOf.endFastOpen(tcb, tcb.error === ECONNRESET, this.#home.nowMs);
    }
    const listener = tcb.listener as TcpListener | null;
    if (listener === null) return;
    if (listener.halfOpen.delete(tcb)) this.#halfOpen--;
    listener.proven.delete(tcb);
    tcb.listener = null;
  }

  forEach(visit: (listener: TcpListener) => void): void {
    for (const group of this.#listeners) if (group !== undefined) for (const listener of group.slice()) visit(listener);
  }

  add(listener: TcpListener): void {
    const table = this.#table;
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
  remove(listener: TcpListener): void {
    const table = this.#table;
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
}

/** The oldest half-open connection of which nothing was heard but the SYN, or null. */
function oldestUnproven(listener: TcpListener): Tcb | null {
  for (const tcb of listener.halfOpen) if (!listener.proven.has(tcb)) return tcb;
  return null;
}
