/** The low-level TCP socket of every home of TCP: `BsdSocket` (lib/socket.ts) on TCBs and listeners. */

import {
  EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EALREADY, EBADF, ECONNABORTED, EINPROGRESS, EINVAL, EISCONN, ENETUNREACH, ENOPROTOOPT,
  ENOTCONN, EPIPE,
} from '../errno.ts';
import {
  AF_INET, AF_INET6, IPPROTO_IPV6, IPPROTO_TCP, IPV6_V6ONLY, MSG_MORE, MSG_OOB, MSG_PEEK, MSG_TRUNC, POLLERR, POLLHUP, POLLIN,
  POLLOUT, POLLPRI, POLLRDHUP, SHUT_RD, SHUT_RDWR, SHUT_WR, SO_ACCEPTCONN, SO_ERROR, SO_LINGER, SO_OOBINLINE, SO_REUSEADDR,
  SO_REUSEPORT, SO_TYPE, SOCK_STREAM, SOL_SOCKET, TCP_CONGESTION, TCP_CORK, TCP_QUICKACK,
} from '../socket.ts';
import type { SocketAccounts } from '../buffer/memory-account.ts';
import type { BsdSocket, SocketAddress, TcpInfo } from '../socket.ts';
import { changeCongestionControl, createCongestionControl } from '../tcp/congestion/congestion-control.ts';
import { discardReceived } from '../tcp/ending.ts';
import { abortTcb, closeTcb, openActive, openActiveFast, openWaiting, queueData, shutdownSend } from '../tcp/user.ts';
import { readBytes } from '../tcp/receive.ts';
import { CLOSED, CLOSE_WAIT, ESTABLISHED, SYN_RECEIVED, SYN_SENT, TIME_WAIT } from '../tcp/states.ts';
import { Tcb } from '../tcp/tcb.ts';
import type { TcbOwner } from '../tcp/tcb.ts';
import { armKeepalive } from '../tcp/timers.ts';
import { updateSndMss } from '../tcp/emit.ts';
import { formatAddress, isMapped, MAPPED, parseAddress } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';
import { seqDiff } from '../wire/seq.ts';
import type { PortUser } from './local-ports.ts';
import type { TcpHost } from './tcp-host.ts';
import { SocketOptions } from './socket-options.ts';
import { TcpListener } from './tcp-listener.ts';

/** Where no option was set. */
const NO_OPTIONS = new SocketOptions();
/** Queued bytes that do not wait for the end of the turn. */
const EARLY_BYTES = 128 << 10;
const LOOPBACK_V4 = 0x7f000001;

export class TcpSocket implements BsdSocket, TcbOwner, PortUser {
  readonly #host: TcpHost;
  readonly #domain: number;
  /** Made when an option is set; most sockets set none. */
  #options: SocketOptions | null = null;
  #tcb: Tcb | null = null;
  #listener: TcpListener | null = null;
  /** Bound port, 0 when not bound; and whether PortBindings knows of it. */
  #port = 0;
  #bound = false;
  #closed = false;
  #lingerSeconds = -1;
  #readShut = false;
  /** connect() has been called, and has not yet told how it ended. */
  #connecting = false;
  /** The user has asked to keep the process alive; there is something to keep it alive for. */
  #wanted = true;
  #active = false;
  onready: ((events: number) => void) | null = null;
  /** PortUser */
  b0 = 0;
  b1 = 0;
  b2 = 0;
  b3 = 0;
  v6only = false;
  reuseAddress = false;
  reusePort = false;
  /** The application that it is of, when it was opened by socket calls. */
  owner: object | undefined = undefined;
  uid: number;
  #accounts: SocketAccounts | null = null;

  constructor(host: TcpHost, domain: number) {
    this.#host = host;
    this.#domain = domain;
    this.uid = host.uid;
    if (domain === AF_INET) this.b2 = MAPPED;
  }

  /** The listener that it is, for listings. */
  get listener(): TcpListener | null {
    return this.#listener;
  }

  get listening(): boolean {
    return this.#listener !== null;
  }

  /** Who is charged with what it holds, and with what the connections hold that it accepts. */
  set accounts(accounts: SocketAccounts) {
    this.#accounts = accounts;
    if (this.#tcb !== null) charge(this.#tcb, accounts);
  }

  /** There is room again in the account of what is unread: the peer may have to hear of it. */
  roomAgain(): void {
    const tcb = this.#tcb;
    if (tcb === null) return;
    this.#host.turn.enter();
    this.#host.pend(tcb);
    this.#host.turn.leave();
  }

  // -------------------------------------------------------------------------------- addresses

  /** Parses `address` for this socket's family; '' is any. Null when it is malformed or of the other family. */
  #parse(address: string): AddressWords | null {
    if (address === '') return { w0: 0, w1: 0, w2: this.#domain === AF_INET ? MAPPED : 0, w3: 0 };
    const words = parseAddress(address);
    if (words === null) return null;
    if (this.#domain === AF_INET && !isMapped(words.w0, words.w1, words.w2)) return null;
    return words;
  }

  bind(address: string, port: number): number {
    if (this.#closed) return -EBADF;
    if (this.#bound || this.#tcb !== null || this.#listener !== null) return -EINVAL;
    if (!Number.isInteger(port) || port < 0 || port > 0xffff) return -EINVAL;
    const words = this.#parse(address);
    if (words === null) return parseAddress(address) === null ? -EINVAL : -EAFNOSUPPORT;
    const any = words.w0 === 0 && words.w1 === 0 && words.w3 === 0 && (words.w2 === 0 || words.w2 === MAPPED);
    if (!any && !this.#host.ip.isLocal(words.w0, words.w1, words.w2, words.w3)) return -EADDRNOTAVAIL;
    this.b0 = words.w0;
    this.b1 = words.w1;
    this.b2 = words.w2;
    this.b3 = words.w3;
    const bound = this.#host.ports.bind(this, port);
    if (bound < 0) return bound;
    this.#port = bound;
    this.#bound = true;
    return 0;
  }

  listen(backlog: number): number {
    if (this.#closed) return -EBADF;
    if (this.#tcb !== null) return -EINVAL;
    if (this.#listener !== null) {
      this.#listener.setBacklog(backlog);
      return 0;
    }
    if (!this.#bound) {
      const result = this.bind('', 0);
      if (result < 0) return result;
    }
    const listener = new TcpListener(
      { w0: this.b0, w1: this.b1, w2: this.b2, w3: this.b3 }, this.#port, this.v6only, backlog,
      this.#options?.congestion || this.#host.config.congestion, (tcb) => this.#prepare(tcb), () => this.#listenerReady(),
    );
    listener.fastOpenQueue = this.#options?.fastOpenQueue ?? 0;
    this.#listener = listener;
    // Now that it listens, address reuse no longer excuses sharing the port with another listener.
    const conflict = this.#host.ports.listen(this, this.#port);
    if (conflict < 0) {
      this.#listener = null;
      return conflict;
    }
    this.#host.addListener(listener);
    this.#activate();
    return 0;
  }

  accept(): BsdSocket | number {
    if (this.#closed) return -EBADF;
    const listener = this.#listener;
    if (listener === null) return -EINVAL;
    const tcb = listener.queue.shift();
    if (tcb === undefined) return listener.error !== 0 ? -listener.error : -EAGAIN;
    if (listener.proven.size > 0) {
      this.#host.turn.enter();
      this.#host.accepted(listener);
      this.#host.turn.leave();
    }
    const socket = new TcpSocket(this.#host, this.#domain);
    // What the listener was set to holds for the connection, also when more is set later.
    if (this.#options !== null) socket.#options = Object.assign(new SocketOptions(), this.#options);
    socket.#tcb = tcb;
    socket.#port = tcb.localPort;
    tcb.owner = socket;
    socket.#activate();
    return socket;
  }

  connect(address: string, port: number): number {
    if (this.#closed) return -EBADF;
    if (this.#listener !== null) return -EISCONN;
    if (this.#tcb !== null) return this.#connectAgain(this.#tcb);
    if (!Number.isInteger(port) || port < 0 || port > 0xffff) return -EINVAL;
    const remote = this.#parse(address);
    if (remote === null) return parseAddress(address) === null ? -EINVAL : -EAFNOSUPPORT;
    if (port === 0) return -EADDRNOTAVAIL;
    const host = this.#host;
    if (host.connections >= host.config.maxConnections) return -EAGAIN;
    const mapped = isMapped(remote.w0, remote.w1, remote.w2);
    if (mapped && remote.w3 === 0) remote.w3 = LOOPBACK_V4;
    else if (!mapped && (remote.w0 | remote.w1 | remote.w2 | remote.w3) === 0) remote.w3 = 1;
    if (host.ip.isToMany(remote.w0, remote.w1, remote.w2, remote.w3)) return -ENETUNREACH;
    const tcb = new Tcb(host, createCongestionControl(this.#options?.congestion || host.config.congestion)!);
    this.#prepare(tcb);
    const flow = tcb.flow;
    flow.protocol = IPPROTO_TCP;
    flow.version = mapped ? 4 : 6;
    flow.r0 = remote.w0;
    flow.r1 = remote.w1;
    flow.r2 = remote.w2;
    flow.r3 = remote.w3;
    if (this.#bound && (this.b0 | this.b1 | this.b3) !== 0) {
      if (isMapped(this.b0, this.b1, this.b2) !== mapped) return -ENETUNREACH;
      flow.l0 = this.b0;
      flow.l1 = this.b1;
      flow.l2 = this.b2;
      flow.l3 = this.b3;
    } else if (mapped) {
      flow.l2 = MAPPED;
    }
    host.turn.enter();
    const result = this.#open(tcb, port);
    host.turn.leave();
    return result;
  }

  /** As Linux has it: the first connect() after the attempt's end tells how it ended, and after a failure makes way for another. */
  #connectAgain(tcb: Tcb): number {
    if (tcb.state === SYN_SENT || tcb.state === SYN_RECEIVED) return this.#connecting ? -EALREADY : -EISCONN;
    if (!this.#connecting) return -EISCONN;
    this.#connecting = false;
    if (tcb.state !== CLOSED) return 0;
    tcb.owner = null;
    this.#tcb = null;
    return tcb.error !== 0 ? this.#takeError(tcb) : -ECONNABORTED;
  }

  #open(tcb: Tcb, port: number): number {
    const host = this.#host;
    tcb.remotePort = port;
    const result = host.ports.connect(tcb, this.#bound ? this : null, this.#port);
    if (result < 0) return result;
    if (!host.insertActive(tcb)) return this.#bound ? -EADDRNOTAVAIL : -EADDRINUSE;
    this.#port = tcb.localPort;
    this.#tcb = tcb;
    tcb.owner = this;
    this.#connecting = true;
    this.#activate();
    if (this.#options?.fastOpenConnect === true) {
      if (!openActiveFast(tcb)) return -EINPROGRESS;
      // As Linux has it: as far as the user is concerned there is a connection, whose first data goes with the SYN.
      this.#connecting = false;
      return 0;
    }
    openActive(tcb);
    return -EINPROGRESS;
  }

  getsockname(): SocketAddress | null {
    const tcb = this.#tcb;
    if (tcb !== null) return this.#address(tcb.flow.l0, tcb.flow.l1, tcb.flow.l2, tcb.flow.l3, tcb.localPort);
    return this.#address(this.b0, this.b1, this.b2, this.b3, this.#port);
  }

  getpeername(): SocketAddress | null {
    const tcb = this.#tcb;
    if (tcb === null || tcb.state === SYN_SENT && !isDeferred(tcb) || tcb.state === CLOSED || tcb.state === TIME_WAIT) return null;
    return this.#address(tcb.flow.r0, tcb.flow.r1, tcb.flow.r2, tcb.flow.r3, tcb.remotePort);
  }

  /** An AF_INET6 socket shows IPv4 addresses in mapped form, as Linux does. */
  #address(w0: number, w1: number, w2: number, w3: number, port: number): SocketAddress {
    const text = formatAddress(w0, w1, w2, w3);
    if (this.#domain === AF_INET) return { address: text, port, family: 'IPv4' };
    return { address: isMapped(w0, w1, w2) ? `::ffff:${text}` : text, port, family: 'IPv6' };
  }

  // ------------------------------------------------------------------------------------- data

  send(from: Uint8Array, offset: number, length: number, flags = 0): number {
    const tcb = this.#tcb;
    if (this.#closed) return -EBADF;
    if (tcb === null) return -EPIPE;
    if (tcb.error !== 0) return this.#takeError(tcb);
    if (tcb.finQueued || tcb.state === CLOSED) return -EPIPE;
    if (tcb.state < ESTABLISHED && tcb.fastOpen !== null && tcb.fastOpen.waits) return this.#sendFirst(tcb, from, offset, length);
    if (tcb.state < ESTABLISHED && !isEarly(tcb)) {
      tcb.wantWrite = true;
      return -EAGAIN;
    }
    if (length === 0) return 0;
    const host = this.#host;
    const room = tcb.sndbufLimit - tcb.sndQueued;
    host.turn.enter();
    const taken = queueData(tcb, from, offset, length, (flags & MSG_MORE) !== 0, (flags & MSG_OOB) !== 0);
    if (seqDiff(tcb.sndEnd, tcb.sndNxt) >= EARLY_BYTES) host.sendEarly(tcb);
    host.turn.leave();
    if (taken < length) {
      tcb.wantWrite = true;
      if (taken < room) host.starve(tcb);
      return taken > 0 ? taken : -EAGAIN;
    }
    tcb.wantWrite = false;
    return taken;
  }

  /** The first data goes with the SYN, as far as it fits (Fast Open); no data sends the SYN alone. */
  #sendFirst(tcb: Tcb, from: Uint8Array, offset: number, length: number): number {
    const { turn } = this.#host;
    turn.enter();
    const taken = length === 0 ? 0 : queueData(tcb, from, offset, length, false, false);
    openWaiting(tcb);
    turn.leave();
    if (taken < length) tcb.wantWrite = true;
    return taken > 0 || length === 0 ? taken : -EAGAIN;
  }

  recv(to: Uint8Array, offset: number, length: number, flags = 0): number {
    const tcb = this.#tcb;
    if (this.#closed) return -EBADF;
    if (tcb === null) return -ENOTCONN;
    if (tcb.readable > 0) {
      if (length === 0) return 0;
      const peek = (flags & MSG_PEEK) !== 0;
      const turn = this.#host.turn;
      turn.enter();
      const taken = readBytes(tcb, (flags & MSG_TRUNC) !== 0 ? null : to, offset, length, !peek);
      // Room has been made: the peer may have to hear of it.
      if (!peek) this.#host.pend(tcb);
      turn.leave();
      return taken;
    }
    if (tcb.finReceived) return 0;
    if (tcb.error !== 0) return this.#takeError(tcb);
    return tcb.state === CLOSED || this.#readShut ? 0 : -EAGAIN;
  }

  get available(): number {
    return this.#tcb === null ? 0 : this.#tcb.readable;
  }

  get writable(): number {
    const tcb = this.#tcb;
    if (tcb === null || tcb.state < ESTABLISHED && !isEarly(tcb) || tcb.finQueued) return 0;
    return Math.max(tcb.sndbufLimit - tcb.sndQueued, 0);
  }

  #takeError(tcb: Tcb): number {
    const error = tcb.error;
    tcb.error = 0;
    return -error;
  }

  /** What ICMP said about a connection that goes on (RFC 9293 MUST-47, SHLD-25): told to those who ask, as in Linux. */
  #takeSoftError(tcb: Tcb): number {
    const error = tcb.softError;
    tcb.softError = 0;
    return error;
  }

  // ----------------------------------------------------------------------------------- ending

  shutdown(how: number): number {
    if (this.#closed) return -EBADF;
    const tcb = this.#tcb;
    if (tcb === null || tcb.state === CLOSED || tcb.state === SYN_SENT && !isDeferred(tcb)) return -ENOTCONN;
    if (how !== SHUT_RD && how !== SHUT_WR && how !== SHUT_RDWR) return -EINVAL;
    const turn = this.#host.turn;
    turn.enter();
    if (how !== SHUT_WR) {
      this.#readShut = true;
      tcb.rcvShutdown = true;
      discardReceived(tcb);
      tcb.rcvRead = tcb.rcvNxt;
    }
    if (how !== SHUT_RD) shutdownSend(tcb);
    turn.leave();
    return 0;
  }

  close(): number {
    if (this.#closed) return -EBADF;
    this.#end(this.#lingerSeconds === 0 ? abortTcb : closeTcb);
    return 0;
  }

  abort(): number {
    if (this.#closed) return -EBADF;
    this.#end(abortTcb);
    return 0;
  }

  #end(how: (tcb: Tcb) => void): void {
    const host = this.#host;
    this.#closed = true;
    this.onready = null;
    this.#deactivate();
    host.turn.enter();
    if (this.#listener !== null) host.removeListener(this.#listener);
    if (this.#tcb !== null) how(this.#tcb);
    if (this.#bound) host.ports.unbind(this, this.#port);
    host.turn.leave();
  }

  // -------------------------------------------------------------------------------- readiness

  poll(): number {
    const listener = this.#listener;
    if (listener !== null) return (listener.queue.length > 0 ? POLLIN : 0) | (listener.error !== 0 ? POLLIN | POLLERR : 0);
    const tcb = this.#tcb;
    if (tcb === null) return POLLOUT | POLLHUP;
    let events = 0;
    if (tcb.error !== 0) events |= POLLERR;
    if (tcb.readable > 0) events |= POLLIN;
    if (tcb.urgent) events |= POLLPRI;
    if (tcb.finReceived || this.#readShut || tcb.state === CLOSED) events |= POLLIN | POLLRDHUP;
    if (tcb.state === CLOSED || (tcb.finReceived || this.#readShut) && tcb.finQueued) events |= POLLHUP;
    if (tcb.state === ESTABLISHED || tcb.state === CLOSE_WAIT || isEarly(tcb)) {
      if (tcb.sndbufLimit > tcb.sndQueued) events |= POLLOUT;
    } else if (tcb.finQueued || tcb.state === CLOSED) {
      events |= POLLOUT;
    }
    return events;
  }

  /** TcbOwner: the host tells at the end of the turn. */
  ready(_tcb: Tcb, events: number): void {
    this.onready?.(events);
  }

  #listenerReady(): void {
    this.onready?.(POLLIN);
  }

  // ---------------------------------------------------------------------------------- options

  #prepare(tcb: Tcb): void {
    if (this.#accounts !== null) charge(tcb, this.#accounts);
    this.#options?.prepare(tcb);
  }

  getsockopt(level: number, option: number): number | string | TcpInfo {
    if (this.#closed) return -EBADF;
    const tcb = this.#tcb;
    if (level === SOL_SOCKET) {
      switch (option) {
        case SO_ERROR: return tcb === null ? 0 : tcb.error !== 0 ? -this.#takeError(tcb) : this.#takeSoftError(tcb);
        case SO_TYPE: return SOCK_STREAM;
        case SO_ACCEPTCONN: return this.#listener !== null ? 1 : 0;
        case SO_REUSEADDR: return this.reuseAddress ? 1 : 0;
        case SO_REUSEPORT: return this.reusePort ? 1 : 0;
        case SO_LINGER: return this.#lingerSeconds;
        case SO_OOBINLINE: return 1;
      }
    } else if (level === IPPROTO_IPV6 && option === IPV6_V6ONLY) {
      return this.v6only ? 1 : 0;
    }
    return (this.#options ?? NO_OPTIONS).get(level, option, tcb, this.#host.config);
  }

  setsockopt(level: number, option: number, value: number | string): number {
    if (this.#closed) return -EBADF;
    const options = (this.#options ??= new SocketOptions());
    const tcb = this.#tcb;
    if (level === IPPROTO_TCP && option === TCP_CONGESTION) {
      const congestion = typeof value === 'string' ? createCongestionControl(value) : undefined;
      if (congestion === undefined) return -ENOPROTOOPT;
      options.congestion = String(value);
      if (tcb !== null) changeCongestionControl(tcb, congestion);
      if (this.#listener !== null) this.#listener.congestion = options.congestion;
      return 0;
    }
    if (typeof value !== 'number' || !Number.isInteger(value)) return -EINVAL;
    const turn = this.#host.turn;
    turn.enter();
    const result = this.#setNumber(options, tcb, level, option, value);
    turn.leave();
    return result;
  }

  #setNumber(options: SocketOptions, tcb: Tcb | null, level: number, option: number, value: number): number {
    if (level === SOL_SOCKET) {
      switch (option) {
        case SO_REUSEADDR:
          this.reuseAddress = value !== 0;
          return 0;
        case SO_REUSEPORT:
          this.reusePort = value !== 0;
          return 0;
        case SO_OOBINLINE:
          return 0;
        case SO_LINGER:
          if (value < -1) return -EINVAL;
          this.#lingerSeconds = value;
          return 0;
      }
    } else if (level === IPPROTO_TCP) {
      switch (option) {
        case TCP_CORK:
          if (tcb === null) return -ENOTCONN;
          tcb.corked = value !== 0;
          this.#host.pend(tcb);
          return 0;
        case TCP_QUICKACK:
          if (tcb === null) return -ENOTCONN;
          tcb.quickAcks = value !== 0 ? 16 : 0;
          if (value !== 0 && tcb.rcvUnacked > 0) tcb.ackNow = true;
          this.#host.pend(tcb);
          return 0;
      }
    } else if (level === IPPROTO_IPV6 && option === IPV6_V6ONLY) {
      if (this.#bound) return -EINVAL;
      this.v6only = value !== 0;
      return 0;
    }
    const result = options.set(level, option, value);
    if (result < 0) return result;
    if (tcb !== null) this.#apply(options, tcb);
    if (this.#listener !== null) this.#listener.fastOpenQueue = options.fastOpenQueue;
    return 0;
  }

  /** An option of a connected socket takes effect at once. */
  #apply(options: SocketOptions, tcb: Tcb): void {
    const keptAlive = tcb.keepAlive;
    const idleMs = tcb.keepIdleMs;
    this.#prepare(tcb);
    if (tcb.keepAlive !== keptAlive || tcb.keepIdleMs !== idleMs) armKeepalive(tcb);
    if (options.maxSegment > 0) updateSndMss(tcb);
    if (tcb.noDelay) this.#host.pend(tcb);
  }

  // ------------------------------------------------------------------------- keeping alive

  ref(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    if (this.#active) this.#host.refs.ref();
  }

  unref(): void {
    if (!this.#wanted) return;
    this.#wanted = false;
    if (this.#active) this.#host.refs.unref();
  }

  #activate(): void {
    if (this.#active) return;
    this.#active = true;
    if (this.#wanted) this.#host.refs.ref();
  }

  #deactivate(): void {
    if (!this.#active) return;
    this.#active = false;
    if (this.#wanted) this.#host.refs.unref();
  }
}

function charge(tcb: Tcb, accounts: SocketAccounts): void {
  tcb.sndBuffer.account = accounts.sending;
  tcb.rcvBuffer.account = accounts.unread;
}

/** Fast Open: whether connect() has returned 0 before there was a connection. */
function isDeferred(tcb: Tcb): boolean {
  return tcb.fastOpen !== null && tcb.fastOpen.deferred;
}

/** Fast Open: whether the connection may be written to although the handshake is not complete. */
function isEarly(tcb: Tcb): boolean {
  const { fastOpen } = tcb;
  return fastOpen !== null && (fastOpen.early && tcb.state === SYN_RECEIVED || fastOpen.waits);
}

/** `socket(2)` of a home of TCP; a socket, or a negative errno. */
export function tcpSocket(host: TcpHost, domain: number): BsdSocket | number {
  if (domain !== AF_INET && domain !== AF_INET6) return -EAFNOSUPPORT;
  return new TcpSocket(host, domain);
}
