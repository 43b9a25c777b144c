/**
 * The low-level UDP socket (RFC 768, RFC 1122 section 4.1): BSD semantics, never blocking, with Linux's
 * errno and option numbers. `UdpHost.socket()` makes them.
 *
 * Calls return a count or 0, or a **negative errno**, and all they cause has happened when they return.
 * Arrived datagrams are either handed to `onmessage` where they lie in the packet memory (no copy), or
 * queued for `recvFrom` up to SO_RCVBUF.
 *
 * Left out: IP options, ancillary data other than what `UdpRemote` shows, MSG_MORE, UDP-Lite.
 */

import { DatagramQueue, recordBytes } from '../buffer/datagram-queue.ts';
import type { SocketAccounts } from '../buffer/memory-account.ts';
import {
  EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, EDESTADDRREQ, EINVAL, EMSGSIZE, ENETUNREACH, ENOBUFS,
  ENOTCONN,
} from '../errno.ts';
import { IpFlow } from '../ip/flow.ts';
import type { IcmpError } from '../ip/packet.ts';
import { UdpRemote, addressText } from '../ip/udp-remote.ts';
import {
  AF_INET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, IPV6_V6ONLY, MSG_PEEK, MSG_TRUNC, POLLERR, POLLIN, POLLOUT, SOL_SOCKET,
  SO_ERROR,
} from '../socket.ts';
import type { DatagramRemote, DatagramSocket, SocketAddress, UdpErrorInfo } from '../socket.ts';
import { MAPPED, isMapped, isUnspecified, parseAddress } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';
import { IPV6_MTU, IP_MTU, IP_PMTUDISC_DO, IP_PMTUDISC_DONT, SO_RXQ_OVFL, UdpOptions } from './udp-options.ts';
import type { UdpHost } from './udp.ts';

export type { UdpRemote } from '../ip/udp-remote.ts';
export type { UdpErrorInfo } from '../socket.ts';

/** Groups that one socket may be a member of: Linux's igmp_max_memberships. */
const MAX_MEMBERSHIPS = 20;

function isMulticast(w: AddressWords): boolean {
  return isMapped(w.w0, w.w1, w.w2) ? w.w3 >>> 28 === 0xe : w.w0 >>> 24 === 0xff;
}

export class UdpSocket implements DatagramSocket {
  /**
   * A datagram, as it lies in `slab`; valid during the call only. May call the socket's methods, `close`
   * included. Set it before the socket is bound; while it is null, datagrams are queued for `recvFrom`.
   */
  onmessage: ((slab: Uint8Array, offset: number, length: number, remote: DatagramRemote) => void) | null = null;
  /**
   * An ICMP error about a datagram of this socket's; `errno` is positive. Called for connected sockets
   * and for others; `info.pending` tells whether SO_ERROR holds it too.
   */
  onerror: ((errno: number, info: UdpErrorInfo) => void) | null = null;
  /** A datagram came into the empty receive queue. */
  onreadable: (() => void) | null = null;
  /** After a send that returned -EAGAIN: there is room again. */
  onwritable: (() => void) | null = null;

  /** AF_INET or AF_INET6. */
  readonly domain: number;
  /** Sender of the last datagram. */
  readonly remote: UdpRemote;
  /** Datagrams that this socket has dropped because its buffer, or the memory, was full. */
  drops = 0;

  // What follows is shared with the host and its port table.

  /** Local address: what it is bound to, or when connected the source address. */
  l0 = 0;
  l1 = 0;
  l2 = 0;
  l3 = 0;
  /** 0 while it is not bound. */
  localPort = 0;
  /** The local address is 0.0.0.0 or ::. */
  localAny = true;
  connected = false;
  r0 = 0;
  r1 = 0;
  r2 = 0;
  r3 = 0;
  remotePort = 0;
  readonly options: UdpOptions;
  nextOnPort: UdpSocket | null = null;
  /** Entry in the table of connected sockets, or -1. */
  flowEntry = -1;
  closed = false;
  /** Waits for room in the transmit queue. */
  blocked = false;

  readonly #host: UdpHost;
  /** The way to where the last datagram went; `#flowPort` is 0 when there is none that can be used. */
  readonly #flow = new IpFlow();
  #flowPort = 0;
  #flowEpoch = -1;
  /** The text and port that `#flow` was made from, so that they need no parsing again. */
  #flowText = '';
  #queue: DatagramQueue | null = null;
  /** The address, the port, were asked for and not picked for it: they survive `disconnect()`. */
  #addressChosen = false;
  #portChosen = false;
  #error = 0;
  #refed = true;
  #holds = false;
  #memberships: AddressWords[] | null = null;
  /** Whose it is, for the sharing of ports. */
  uid: number;
  /** Who is charged with the datagrams that wait; set before the first comes. */
  accounts: SocketAccounts | null = null;

  /** @internal use `UdpHost.socket()` */
  constructor(host: UdpHost, domain: number) {
    this.#host = host;
    this.domain = domain;
    this.uid = host.uid;
    this.remote = new UdpRemote(domain);
    this.options = new UdpOptions(domain);
    this.#setAny();
  }

  /** Whether datagrams of this IP version can be for this socket. */
  takesVersion(version: number): boolean {
    if (this.domain === AF_INET) return version === 4;
    if (this.localAny) return version === 6 || !this.options.v6only;
    return isMapped(this.l0, this.l1, this.l2) === (version === 4);
  }

  /**
   * Address as text; '0.0.0.0' and '::' are any. Port 0 picks a free one. An AF_INET6 socket on '::'
   * takes IPv4 as well unless IPV6_V6ONLY is set.
   * Returns 0, -EINVAL (bound already, or malformed), -EADDRINUSE, -EADDRNOTAVAIL, -EAFNOSUPPORT.
   */
  bind(address: string, port: number): number {
    if (this.closed) return -EBADF;
    if (this.localPort !== 0 || !(port >= 0 && port <= 65535)) return -EINVAL;
    const words = parseAddress(address);
    if (words === null) return -EINVAL;
    const bad = this.#unfit(words);
    if (bad !== 0) return bad;
    const { ip } = this.#host;
    const any = isUnspecified(words.w0, words.w1, words.w2, words.w3);
    if (!any && !ip.isLocal(words.w0, words.w1, words.w2, words.w3) && !ip.isToMany(words.w0, words.w1, words.w2, words.w3)) {
      return -EADDRNOTAVAIL;
    }
    this.#setAny();
    if (!any || words.w2 === MAPPED) this.#setLocal(words.w0, words.w1, words.w2, words.w3, any);
    const result = this.#host.ports.bind(this, port);
    if (result !== 0) {
      this.#setAny();
      return result;
    }
    this.#addressChosen = !any;
    this.#portChosen = port !== 0;
    this.#hold();
    return 0;
  }

  /**
   * From now on this socket sends to, and hears from, this peer alone; binds first when needed.
   * Returns 0, -EINVAL, -EAFNOSUPPORT, -ENETUNREACH, -EADDRNOTAVAIL, -EADDRINUSE, -EACCES (broadcast).
   * A connected socket may connect anew, and is as it was before when that fails.
   */
  connect(address: string, port: number): number {
    if (this.closed) return -EBADF;
    if (!(port > 0 && port <= 65535)) return -EINVAL;
    const words = parseAddress(address);
    if (words === null) return -EINVAL;
    const bound = this.localPort !== 0 || this.#autobind() === 0;
    if (!bound) return -EAGAIN;
    const bad = this.#aim(words.w0, words.w1, words.w2, words.w3, port);
    if (bad !== 0) return bad;
    const flow = this.#flow;
    if (this.connected) this.#host.ports.disconnect(this);
    const before = [this.l0, this.l1, this.l2, this.l3, this.r0, this.r1, this.r2, this.r3, this.remotePort] as const;
    const wasAny = this.localAny;
    if (!this.#addressChosen) this.#setLocal(flow.l0, flow.l1, flow.l2, flow.l3, false);
    this.#setRemote(flow.r0, flow.r1, flow.r2, flow.r3, port);
    const result = this.#host.ports.connect(this);
    if (result !== 0) {
      this.#setLocal(before[0], before[1], before[2], before[3], wasAny);
      this.#setRemote(before[4], before[5], before[6], before[7], before[8]);
      if (this.connected) this.#host.ports.connect(this);
      return result;
    }
    this.connected = true;
    this.#error = 0;
    return 0;
  }

  /**
   * Undoes `connect()`. As on Linux a port that was not asked for is given back too; the next send
   * picks a new one. Returns 0 or -ENOTCONN.
   */
  disconnect(): number {
    if (!this.connected) return -ENOTCONN;
    this.#host.ports.disconnect(this);
    this.connected = false;
    this.#setRemote(0, 0, 0, 0, 0);
    this.#flowPort = 0;
    if (!this.#portChosen) {
      this.#host.ports.unbind(this);
      this.#release();
    }
    if (!this.#addressChosen) this.#setAny();
    return 0;
  }

  /**
   * Sends one datagram: `length` bytes of `from`, which are copied. `address` null means the connected
   * peer. Binds first when needed. Sending to the same text and port again costs no parsing and no
   * route.
   * Returns `length`; -EMSGSIZE (more than UDP can carry, or than the path can where DF is asked for),
   * -EDESTADDRREQ, -ENETUNREACH, -EAFNOSUPPORT, -EINVAL (no address, port 0), -EACCES (broadcast without
   * SO_BROADCAST), -EAGAIN (the transmit queue is full: `onwritable` will tell), -ENOBUFS (the memory is
   * full), or the pending error.
   */
  sendTo(from: Uint8Array, offset: number, length: number, address: string | null, port: number): number {
    const result = this.#target(address, port);
    return result !== 0 ? result : this.#transmit(from, offset, length);
  }

  /** As `sendTo`, to whom a datagram came from: no text is made or parsed. */
  reply(from: Uint8Array, offset: number, length: number, remote: DatagramRemote): number {
    const result = this.#ready() || this.#aim(remote.w0, remote.w1, remote.w2, remote.w3, remote.port);
    return result !== 0 ? result : this.#transmit(from, offset, length);
  }

  /**
   * Sends `length` bytes as datagrams of `segmentSize` bytes each (the last may be shorter), as
   * UDP_SEGMENT does: in packets of up to 64 KB where the link can cut them, else one by one.
   * Returns the bytes that were sent, less than `length` (but whole datagrams) when the transmit queue
   * filled up on the way, or a negative errno as `sendTo` when nothing was sent.
   */
  sendSegments(
    from: Uint8Array, offset: number, length: number, segmentSize: number, address: string | null, port: number,
  ): number {
    if (!(segmentSize > 0)) return -EINVAL;
    let result = this.#target(address, port);
    if (result !== 0) return result;
    const host = this.#host;
    host.turn.enter();
    const perPacket = host.segmentsPerPacket(this.#flow, segmentSize);
    let sent = 0;
    do {
      const n = Math.min(length - sent, perPacket * segmentSize);
      result = n > segmentSize
        ? host.transmitSegments(this.#flow, this.localPort, this.#flowPort, from, offset + sent, n, segmentSize)
        : this.#transmit(from, offset + sent, n);
      if (result < 0) {
        if (result === -EAGAIN) host.block(this);
        break;
      }
      sent += n;
    } while (sent < length);
    host.turn.leave();
    return sent > 0 ? sent : result;
  }

  /**
   * Takes a queued datagram: copies up to `length` bytes to `to`, and drops the rest of it. The sender is
   * in `remote`. Flags: MSG_PEEK leaves it queued, MSG_TRUNC makes the whole length the result.
   * Returns the bytes copied, -EAGAIN when there is none, or the pending error.
   */
  recvFrom(to: Uint8Array, offset: number, length: number, flags = 0): number {
    if (this.closed) return -EBADF;
    if (this.#error !== 0) return -this.#takeError();
    const queue = this.#queue;
    if (queue === null || queue.count === 0) return -EAGAIN;
    const copied = queue.peek(to, offset, length);
    const whole = queue.length;
    const remote = this.remote;
    remote.w0 = queue.w0;
    remote.w1 = queue.w1;
    remote.w2 = queue.w2;
    remote.w3 = queue.w3;
    remote.port = queue.port;
    remote.ttl = queue.ttl;
    remote.tos = queue.tos;
    if ((flags & MSG_PEEK) === 0) queue.shift();
    return (flags & MSG_TRUNC) !== 0 ? whole : copied;
  }

  /** Bytes of the next queued datagram, or 0. */
  get available(): number {
    return this.#queue !== null && this.#queue.count > 0 ? this.#queue.length : 0;
  }

  /** Which of POLLIN, POLLOUT and POLLERR hold now. */
  poll(): number {
    return (this.#queue !== null && this.#queue.count > 0 ? POLLIN : 0)
      | (this.#host.hasRoom ? POLLOUT : 0) | (this.#error !== 0 ? POLLERR | POLLIN : 0);
  }

  /**
   * Joins a multicast group (text). Returns 0, -EINVAL when it is none, -EADDRINUSE when it is a member
   * already, -ENOBUFS when it is a member of 20. As with Linux's IP_MULTICAST_ALL, datagrams to a group that the stack has joined go to all
   * sockets on their port.
   */
  addMembership(group: string): number {
    if (this.closed) return -EBADF;
    const words = this.#groupWords(group);
    if (words === null) return -EINVAL;
    this.#memberships ??= [];
    if (this.#membership(words) >= 0) return -EADDRINUSE;
    if (this.#memberships.length >= MAX_MEMBERSHIPS) return -ENOBUFS;
    this.#memberships.push(words);
    this.#host.groups?.joinGroup(words);
    return 0;
  }

  /** -EINVAL when it is no group, -EADDRNOTAVAIL when this socket is no member. */
  dropMembership(group: string): number {
    if (this.closed) return -EBADF;
    const words = this.#groupWords(group);
    if (words === null) return -EINVAL;
    const index = this.#membership(words);
    if (index < 0) return -EADDRNOTAVAIL;
    this.#memberships!.splice(index, 1);
    this.#host.groups?.leaveGroup(words);
    return 0;
  }

  /** The number asked for, or -ENOPROTOOPT. SO_ERROR is reset by asking; SO_RXQ_OVFL is `drops`; IP_MTU needs a peer. */
  getsockopt(level: number, option: number): number {
    if (this.closed) return -EBADF;
    if (level === SOL_SOCKET && option === SO_ERROR) return this.#takeError();
    if (level === SOL_SOCKET && option === SO_RXQ_OVFL) return this.drops;
    if ((level === IPPROTO_IP && option === IP_MTU) || (level === IPPROTO_IPV6 && option === IPV6_MTU)) return this.#pathMtu();
    return this.options.get(level, option);
  }

  /**
   * Returns 0, -EINVAL (out of range, or IPV6_V6ONLY on a bound socket) or -ENOPROTOOPT. As on Linux,
   * SO_RCVBUF and SO_SNDBUF are doubled, to make room for bookkeeping. SO_SNDBUF is only remembered: a
   * datagram waits in the stack's transmit queue or not at all.
   */
  setsockopt(level: number, option: number, value: number): number {
    if (this.closed) return -EBADF;
    if (level === IPPROTO_IPV6 && option === IPV6_V6ONLY && this.localPort !== 0) return -EINVAL;
    this.#flowPort = 0;
    return this.options.set(level, option, value);
  }

  /** Where it is bound to (port 0: nowhere), or null when it is closed. */
  getsockname(): SocketAddress | null {
    if (this.closed) return null;
    return this.#socketAddress(this.l0, this.l1, this.l2, this.l3, this.localPort);
  }

  /** The connected peer, or null. */
  getpeername(): SocketAddress | null {
    if (!this.connected) return null;
    return this.#socketAddress(this.r0, this.r1, this.r2, this.r3, this.remotePort);
  }

  /** Lets go of the port and of what is queued. Returns 0, or -EBADF when it was closed. */
  close(): number {
    if (this.closed) return -EBADF;
    if (this.connected) this.#host.ports.disconnect(this);
    if (this.localPort !== 0) this.#host.ports.unbind(this);
    this.connected = false;
    this.closed = true;
    this.#queue?.clear();
    if (this.#memberships !== null) for (const words of this.#memberships) this.#host.groups?.leaveGroup(words);
    this.#release();
    this.#host.forget(this);
    this.onmessage = null;
    this.onerror = null;
    this.onreadable = null;
    this.onwritable = null;
    return 0;
  }

  /** Whether this socket, while it is bound, keeps the process alive. Counted once however often it is called. */
  ref(): void {
    this.#refed = true;
    if (this.localPort !== 0) this.#hold();
  }

  unref(): void {
    this.#refed = false;
    this.#release();
  }

  /** @internal A datagram for this socket. */
  deliver(
    slab: Uint8Array, offset: number, length: number, w0: number, w1: number, w2: number, w3: number, port: number, ttl: number,
    tos: number,
  ): void {
    const host = this.#host;
    if (this.onmessage !== null) {
      const remote = this.remote;
      remote.w0 = w0;
      remote.w1 = w1;
      remote.w2 = w2;
      remote.w3 = w3;
      remote.port = port;
      remote.ttl = ttl;
      remote.tos = tos;
      host.counters.InDatagrams++;
      this.onmessage(slab, offset, length, remote);
      return;
    }
    this.#queue ??= new DatagramQueue(host.memory, this.accounts?.unread);
    const queue = this.#queue;
    // As on Linux, one datagram is always taken, however small the buffer.
    if (queue.count > 0 && (queue.bytes + recordBytes(length) > this.options.rcvbuf || queue.account?.full === true)) {
      this.drops++;
      host.counters.RcvbufErrors++;
      host.counters.InErrors++;
      return;
    }
    if (!queue.push(slab, offset, length, w0, w1, w2, w3, port, ttl, tos)) {
      this.drops++;
      host.counters.MemErrors++;
      host.counters.InErrors++;
      return;
    }
    host.counters.InDatagrams++;
    if (queue.count === 1 && this.onreadable !== null) this.onreadable();
  }

  /** @internal Whether the last datagram went to this destination: ICMP errors about it are believed. */
  lastSentTo(r0: number, r1: number, r2: number, r3: number, port: number): boolean {
    const flow = this.#flow;
    return this.#flowPort === port && flow.r3 === r3 && flow.r0 === r0 && flow.r1 === r1 && flow.r2 === r2;
  }

  /**
   * @internal An ICMP error about a datagram of ours. As on Linux (`__udp4_lib_err`, `__udp6_lib_err`) it
   * becomes the pending error of connected sockets when it is final, or of any with IP_RECVERR.
   */
  icmpError(error: IcmpError, remotePort: number): void {
    let fatal = error.fatal;
    if (error.errno === EMSGSIZE) {
      fatal = error.version === 4 ? this.options.mtuDiscover !== IP_PMTUDISC_DONT : this.options.mtuDiscover === IP_PMTUDISC_DO;
    }
    const pending = error.errno !== 0 && (this.options.recverr || (this.connected && fatal));
    if (pending) this.#error = error.errno;
    if (this.onerror === null) return;
    this.onerror(error.errno, {
      address: addressText(this.domain, error.dst0, error.dst1, error.dst2, error.dst3),
      port: remotePort,
      from: addressText(this.domain, error.from0, error.from1, error.from2, error.from3),
      type: error.type,
      code: error.code,
      mtu: error.mtu,
      pending,
    });
  }

  /** Everything that must hold before a datagram can be sent. Returns 0 or a negative errno. */
  #ready(): number {
    if (this.closed) return -EBADF;
    if (this.#error !== 0) return -this.#takeError();
    return this.localPort !== 0 ? 0 : this.#autobind();
  }

  #target(address: string | null, port: number): number {
    const result = this.#ready();
    if (result !== 0) return result;
    if (address === null) {
      if (!this.connected) return -EDESTADDRREQ;
      return this.#aim(this.r0, this.r1, this.r2, this.r3, this.remotePort);
    }
    if (port === this.#flowPort && address === this.#flowText && this.#flowEpoch === this.#host.flowEpoch) return 0;
    if (!(port > 0 && port <= 65535)) return -EINVAL;
    const words = parseAddress(address);
    if (words === null) return -EINVAL;
    const bad = this.#aim(words.w0, words.w1, words.w2, words.w3, port);
    if (bad === 0) this.#flowText = address;
    return bad;
  }

  /** Makes `#flow` lead to this destination. Returns 0 or a negative errno. */
  #aim(w0: number, w1: number, w2: number, w3: number, port: number): number {
    const flow = this.#flow;
    const host = this.#host;
    if (port === this.#flowPort && flow.r3 === w3 && flow.r0 === w0 && flow.r1 === w1 && flow.r2 === w2
      && this.#flowEpoch === host.flowEpoch) return 0;
    this.#flowText = '';
    this.#flowPort = 0;
    if (port === 0) return -EINVAL;

    const v4 = isMapped(w0, w1, w2);
    if (!v4 && this.domain === AF_INET) return -EAFNOSUPPORT;
    if (!this.takesVersion(v4 ? 4 : 6)) return -ENETUNREACH;
    const toMany = host.ip.isToMany(w0, w1, w2, w3);
    const multicast = toMany && (v4 ? w3 >>> 28 === 0xe : true);
    if (toMany && !multicast && !this.options.broadcast) return -EACCES;

    // The source is the bound address, unless that is any, or a group that is only listened to.
    const unspecified = this.localAny || (!this.connected && host.ip.isToMany(this.l0, this.l1, this.l2, this.l3));
    flow.version = v4 ? 4 : 6;
    flow.protocol = IPPROTO_UDP;
    flow.l0 = unspecified ? 0 : this.l0;
    flow.l1 = unspecified ? 0 : this.l1;
    flow.l2 = unspecified ? (v4 ? MAPPED : 0) : this.l2;
    flow.l3 = unspecified ? 0 : this.l3;
    flow.r0 = w0;
    flow.r1 = w1;
    flow.r2 = w2;
    flow.r3 = w3;
    flow.tos = v4 ? this.options.tos : this.options.tclass;
    flow.ttl = multicast ? this.options.multicastTtl : v4 ? this.options.ttl : this.options.hops;
    const result = host.ip.route(flow);
    if (result !== 0) return result;
    this.#flowPort = port;
    this.#flowEpoch = host.flowEpoch;
    host.noteSent(flow, this.localPort, port);
    return 0;
  }

  #transmit(from: Uint8Array, offset: number, length: number): number {
    const host = this.#host;
    host.turn.enter();
    const result = host.transmit(this.#flow, this.localPort, this.#flowPort, from, offset, length, this.options.mtuDiscover);
    if (result === -EAGAIN) host.block(this);
    host.turn.leave();
    return result;
  }

  #autobind(): number {
    const result = this.#host.ports.bind(this, 0);
    if (result !== 0) return -EAGAIN;
    this.#hold();
    return 0;
  }

  /** An address of the other version than this socket speaks. */
  #unfit(words: AddressWords): number {
    const mapped = isMapped(words.w0, words.w1, words.w2);
    if (this.domain === AF_INET) return mapped ? 0 : -EAFNOSUPPORT;
    return mapped && this.options.v6only ? -EAFNOSUPPORT : 0;
  }

  #groupWords(group: string): AddressWords | null {
    const words = parseAddress(group);
    return words !== null && isMulticast(words) && this.#unfit(words) === 0 ? words : null;
  }

  #membership(words: AddressWords): number {
    const { w0, w1, w2, w3 } = words;
    return this.#memberships?.findIndex((m) => m.w3 === w3 && m.w0 === w0 && m.w1 === w1 && m.w2 === w2) ?? -1;
  }

  #setAny(): void {
    this.#setLocal(0, 0, this.domain === AF_INET ? MAPPED : 0, 0, true);
  }

  #setLocal(w0: number, w1: number, w2: number, w3: number, any: boolean): void {
    this.l0 = w0;
    this.l1 = w1;
    this.l2 = w2;
    this.l3 = w3;
    this.localAny = any;
  }

  #setRemote(w0: number, w1: number, w2: number, w3: number, port: number): void {
    this.r0 = w0;
    this.r1 = w1;
    this.r2 = w2;
    this.r3 = w3;
    this.remotePort = port;
  }

  #pathMtu(): number {
    if (!this.connected) return -ENOTCONN;
    const result = this.#aim(this.r0, this.r1, this.r2, this.r3, this.remotePort);
    return result !== 0 ? result : this.#flow.mtu;
  }

  #takeError(): number {
    const error = this.#error;
    this.#error = 0;
    return error;
  }

  #hold(): void {
    if (this.#holds || !this.#refed) return;
    this.#holds = true;
    this.#host.liveness?.ref();
  }

  #release(): void {
    if (!this.#holds) return;
    this.#holds = false;
    this.#host.liveness?.unref();
  }

  #socketAddress(w0: number, w1: number, w2: number, w3: number, port: number): SocketAddress {
    return { address: addressText(this.domain, w0, w1, w2, w3), port, family: this.remote.family };
  }
}
