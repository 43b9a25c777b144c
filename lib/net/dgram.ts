/**
 * `createDgram(host)` makes what `import dgram from 'node:dgram'` gives, on a stack instead of the host:
 * `createSocket` and the class `Socket`, after the documentation of Node 20, "UDP/datagram sockets".
 *
 * Where it differs from Node:
 * - an event `'icmpError'` (error with `address`, `port`, `from`, `type`, `mtu`) tells sockets that are not
 *   connected of ICMP errors about their datagrams; Node keeps silent. Connected ones get `'error'`, as in Node;
 * - a send to a literal address on a bound socket leaves at once, not on the next tick;
 * - sets of source-specific multicast are not supported (ENOPROTOOPT), nor descriptors (`fd`).
 * Names are resolved with `dns.lookup` of the host unless `lookup` is given.
 */

import { AsyncResource } from 'node:async_hooks';
import { Buffer } from 'node:buffer';
import { lookup as dnsLookup } from 'node:dns';
import type { RemoteInfo } from 'node:dgram';
import { EventEmitter } from 'node:events';
import { isIP } from 'node:net';
import type { AddressInfo } from 'node:net';
import { copyBytes } from '../buffer/packet-memory.ts';
import { EADDRNOTAVAIL, EAGAIN, EBADF, ECANCELED, EINVAL, ENOPROTOOPT } from '../errno.ts';
import { IPV6_MULTICAST_HOPS, IPV6_MULTICAST_LOOP, IP_MULTICAST_LOOP, IP_MULTICAST_TTL } from '../kernel/udp-options.ts';
import {
  AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPV6_UNICAST_HOPS, IPV6_V6ONLY, IP_TTL, POLLIN, SOL_SOCKET, SO_BROADCAST,
  SO_ERROR, SO_RCVBUF, SO_REUSEADDR, SO_REUSEPORT, SO_SNDBUF,
} from '../socket.ts';
import type { DatagramRemote, DatagramSocket, UdpErrorInfo, UdpProvider } from '../socket.ts';
import { parseAddress } from '../wire/address.ts';
import { concat, slice, toBytes, validateUint32 } from './dgram-arguments.ts';
import type { Bytes } from './dgram-arguments.ts';
import {
  alreadyBound, alreadyConnected, badBufferSize, badSocketPort, badSocketType, bufferSizeFailed, missingArg, notConnected,
  notRunning,
} from './dgram-errors.ts';
import {
  errnoException, exceptionWithHostPort, invalidArgType, invalidArgValue, validateFunction, validateNumber, validatePort,
} from './errors.ts';
import type {
  DgramBindOptions, DgramEvents, DgramIcmpError, DgramLookup, DgramOptions, MessageListener, SendCallback, SocketType,
} from './dgram-types.ts';
import { enter, leave, notify } from './readiness.ts';
import type { ReadyTarget } from './readiness.ts';

export type { RemoteInfo } from 'node:dgram';
export type * from './dgram-types.ts';

/** A send that found the transmit queue full. */
interface PendingSend {
  data: Uint8Array;
  address: string | null;
  port: number;
  callback: SendCallback | undefined;
}

/** Up to Node 22 a callback of bind() is a listener for errors as well, so that a failure that nobody listens for is silent. */
const LISTENS_FOR_ERRORS = Number(process.versions.node.split('.')[0]) < 24;

const UNBOUND = 0;
const BINDING = 1;
const BOUND = 2;

const DISCONNECTED = 0;
const CONNECTING = 1;
const CONNECTED = 2;

/** A UDP socket with the members, events and errors of `dgram.Socket`. Made by `createDgram(…).createSocket()`. */
export class DgramSocket extends EventEmitter<DgramEvents> implements ReadyTarget {
  readonly type: SocketType;
  /** @internal */
  readonly _resource: AsyncResource;
  /** @internal */
  _deferred = 0;
  readonly #socket: DatagramSocket;
  readonly #lookup: DgramLookup | null;
  readonly #options: DgramOptions;
  #bindState = UNBOUND;
  #connectState = DISCONNECTED;
  #closed = false;
  /** `close()` was called while sends waited for the socket to be bound. */
  #closing = false;
  /** What is to be done when it is bound. */
  #afterBind: (() => void)[] | null = null;
  /** Sends that wait for room. */
  #pending: PendingSend[] = [];
  #pendingBytes = 0;
  /** Messages that came while one of our own calls was running; see readiness.ts. */
  #arrived: [Buffer, RemoteInfo][] = [];
  #failed: Error[] = [];
  #detachSignal: (() => void) | null = null;
  /** The address that was last found to fit. */
  #fitted = '';

  constructor(host: UdpProvider, type: SocketType | DgramOptions, listener?: MessageListener) {
    super();
    const options: DgramOptions = type !== null && typeof type === 'object' ? type : { type };
    if (options.type !== 'udp4' && options.type !== 'udp6') throw badSocketType();
    if (options.lookup !== undefined) validateFunction(options.lookup, 'lookup');
    if (options.recvBufferSize) validateUint32(options.recvBufferSize, 'options.recvBufferSize');
    if (options.sendBufferSize) validateUint32(options.sendBufferSize, 'options.sendBufferSize');
    const { signal } = options;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw invalidArgType('options.signal', 'an instance of AbortSignal', signal);
    }
    this.type = options.type;
    this.#options = options;
    this.#lookup = options.lookup ?? null;
    this._resource = new AsyncResource('UDPWRAP');
    const socket = host.socket(this.type === 'udp4' ? AF_INET : AF_INET6);
    if (typeof socket === 'number') throw errnoException(socket, 'socket');
    this.#socket = socket;
    socket.onmessage = (slab, offset, length, remote) => this.#onmessage(slab, offset, length, remote);
    socket.onerror = (errno, info) => this.#onerror(errno, info);
    socket.onwritable = () => this.#onwritable();
    if (options.reuseAddr) socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
    if (options.reusePort) socket.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
    if (options.ipv6Only && this.type === 'udp6') socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (typeof listener === 'function') this.on('message', listener);
    if (signal !== undefined) {
      const abort = (): void => {
        if (!this.#closed) this.close();
      };
      if (signal.aborted) {
        abort();
      } else {
        signal.addEventListener('abort', abort, { once: true });
        this.#detachSignal = () => signal.removeEventListener('abort', abort);
      }
    }
  }

  // Binding and connecting.

  bind(port?: number | null, address?: string, callback?: () => void): this;
  bind(port?: number | null, callback?: () => void): this;
  bind(callback?: () => void): this;
  bind(options: DgramBindOptions, callback?: () => void): this;
  bind(...args: unknown[]): this {
    this.#check();
    if (this.#bindState !== UNBOUND) throw alreadyBound();
    const callback = args.at(-1);
    const [first, second] = args;
    let port: unknown = first;
    let address: unknown = typeof second === 'function' ? '' : second;
    if (first !== null && typeof first === 'object') {
      if ('fd' in first && first.fd != null) throw invalidArgValue('options.fd', first.fd, 'is a descriptor of the host');
      port = (first as DgramBindOptions).port;
      address = (first as DgramBindOptions).address;
    }
    const number = port == null || typeof port === 'function' || port === '' ? 0 : validatePort(port, 'Port');
    if (address != null && typeof address !== 'string') throw invalidArgType('hostname', 'of type string', address);
    let forget = (): void => undefined;
    if (typeof callback === 'function') {
      const bound = (): void => {
        this.removeListener('error', forget);
        callback.call(this);
      };
      forget = () => void this.removeListener('listening', bound);
      if (LISTENS_FOR_ERRORS) this.once('error', forget);
      this.once('listening', bound);
    }
    this.#bindState = BINDING;
    this.#resolve(address || (this.type === 'udp4' ? '0.0.0.0' : '::'), (error, ip) => {
      // Closed while the name was looked up.
      if (this.#closed) return;
      let failure: Error | null = error;
      if (error === null) {
        enter();
        const result = this.#fits(ip) ? this.#socket.bind(ip, number) : -EINVAL;
        leave();
        if (result < 0) failure = exceptionWithHostPort(result, 'bind', ip, number);
      }
      if (failure !== null) {
        this.#bindState = UNBOUND;
        this.#connectState = DISCONNECTED;
        this.#afterBind = null;
        if (!LISTENS_FOR_ERRORS) forget();
        try {
          this.emit('error', failure);
        } finally {
          if (this.#closing && !this.#closed) this.close();
        }
        return;
      }
      this.#bound();
    });
    return this;
  }

  connect(port: number, address?: string, callback?: (error?: Error) => void): void;
  connect(port: number, callback: (error?: Error) => void): void;
  connect(port: number, address?: string | ((error?: Error) => void), callback?: (error?: Error) => void): void {
    this.#check();
    const number = this.#remotePort(port);
    if (typeof address === 'function') {
      callback = address;
      address = '';
    } else if (address === undefined) {
      address = '';
    } else if (typeof address !== 'string') {
      throw invalidArgType('address', 'of type string', address);
    }
    if (this.#connectState !== DISCONNECTED) throw alreadyConnected();
    this.#connectState = CONNECTING;
    const host = address;
    this.#whenBound(() => this.#connectTo(number, host, callback));
  }

  #connectTo(port: number, address: string, callback: ((error?: Error) => void) | undefined): void {
    this.#resolve(address || this.#loopback(), (error, ip) => {
      if (this.#closed) return;
      let failure: Error | null = error;
      if (error === null) {
        enter();
        const result = this.#fits(ip) ? this.#socket.connect(ip, port) : -EINVAL;
        leave();
        if (result < 0) failure = exceptionWithHostPort(result, 'connect', ip, port);
      }
      if (failure !== null) {
        this.#connectState = DISCONNECTED;
        const reason = failure;
        process.nextTick(() => {
          if (typeof callback === 'function') callback(reason);
          else this.emit('error', reason);
        });
        return;
      }
      this.#connectState = CONNECTED;
      if (typeof callback === 'function') this.once('connect', callback);
      process.nextTick(() => this.emit('connect'));
    });
  }

  disconnect(): void {
    if (this.#connectState !== CONNECTED) throw notConnected();
    this.#connectState = DISCONNECTED;
    this.#socket.disconnect();
  }

  close(callback?: () => void): this {
    if (typeof callback === 'function') this.on('close', callback);
    // What was sent before is sent first.
    if (this.#afterBind !== null && !this.#closed) {
      this.#closing = true;
      this.#afterBind.push(() => this.close());
      return this;
    }
    this.#check();
    this.#closed = true;
    this.#connectState = DISCONNECTED;
    this.#detachSignal?.();
    this.#socket.close();
    for (const { callback: cb, address, port } of this.#pending.splice(0)) {
      const error = exceptionWithHostPort(-ECANCELED, 'send', address as string, port);
      if (cb !== undefined) process.nextTick(cb as (error: Error) => void, error);
    }
    this.#pendingBytes = 0;
    process.nextTick(() => this.emit('close'));
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => this.close(resolve));
  }

  // Sending.

  send(msg: Bytes | readonly Bytes[], port?: number, address?: string | null, callback?: SendCallback): void;
  send(msg: Bytes | readonly Bytes[], port?: number, callback?: SendCallback): void;
  send(msg: Bytes | readonly Bytes[], callback?: SendCallback): void;
  send(msg: Bytes, offset: number, length: number, port?: number, address?: string | null, callback?: SendCallback): void;
  send(msg: Bytes, offset: number, length: number, port?: number, callback?: SendCallback): void;
  send(msg: Bytes, offset: number, length: number, callback?: SendCallback): void;
  send(msg: unknown, ...args: unknown[]): void {
    const connected = this.#connectState === CONNECTED;
    // (offset, length, …) come first when the third argument of what follows is there, or for a connected socket a length.
    const ranged = connected ? typeof args[1] === 'number' : Boolean(args[3] || (args[2] && typeof args[2] !== 'function'));
    let data: Uint8Array;
    if (ranged) data = slice(msg, args[0] as number, args[1] as number);
    else data = Array.isArray(msg) ? concat(msg, msg) : toBytes(msg, 'buffer');
    const rest = ranged ? args.slice(2) : args;

    let callback: unknown;
    let host: string | null = null;
    let port = 0;
    if (connected) {
      callback = rest.find((arg) => typeof arg === 'function');
      if (ranged && typeof rest[0] !== 'function' && (rest[0] || rest[1])) throw alreadyConnected();
    } else {
      port = this.#remotePort(rest[0]);
      const address = rest[1];
      callback = typeof address === 'function' ? address : rest[2];
      if (typeof address === 'string') host = address;
      else if (address != null && typeof address !== 'function') throw invalidArgType('address', 'of type string', address);
      host ||= this.#loopback();
    }
    const done = typeof callback === 'function' ? callback as SendCallback : undefined;
    this.#check();
    if (this.#bindState === BOUND) this.#sendBound(data, host, port, done);
    else this.#whenBound(() => this.#sendBound(data, host, port, done));
  }

  #sendBound(data: Uint8Array, host: string | null, port: number, callback: SendCallback | undefined): void {
    if (host === null || (this.#lookup === null && (host === this.#fitted || isIP(host) !== 0))) {
      this.#transmit(data, host, port, callback);
      return;
    }
    this.#resolve(host, (error, ip) => {
      if (this.#closed) return;
      if (error === null) this.#transmit(data, ip, port, callback);
      else if (callback !== undefined) process.nextTick(callback as (error: Error) => void, error);
      else process.nextTick(() => this.emit('error', error));
    });
  }

  #transmit(data: Uint8Array, address: string | null, port: number, callback: SendCallback | undefined): void {
    // What waits goes first.
    const result = this.#pending.length > 0 ? -EAGAIN : this.#tryToSend(data, address, port);
    if (result === -EAGAIN) {
      this.#pending.push({ data, address, port, callback });
      this.#pendingBytes += data.length;
    } else if (callback !== undefined) {
      this.#sent(result, address, port, callback);
    }
  }

  #tryToSend(data: Uint8Array, address: string | null, port: number): number {
    if (address !== null && !this.#fits(address)) return -EINVAL;
    enter();
    const result = this.#socket.sendTo(data, 0, data.length, address, port);
    leave();
    return result;
  }

  /** Tells how a send went, on the next tick. */
  #sent(result: number, address: string | null, port: number, callback: SendCallback): void {
    if (result >= 0) {
      process.nextTick(callback, null, result);
    } else {
      const error = exceptionWithHostPort(result, 'send', (address ?? undefined) as string, port);
      process.nextTick(callback as (error: Error) => void, error);
    }
  }

  #onwritable(): void {
    while (this.#pending.length > 0) {
      const next = this.#pending[0]!;
      const result = this.#tryToSend(next.data, next.address, next.port);
      if (result === -EAGAIN) return;
      this.#pending.shift();
      this.#pendingBytes -= next.data.length;
      if (next.callback !== undefined) this.#sent(result, next.address, next.port, next.callback);
    }
  }

  // Receiving.

  #onmessage(slab: Uint8Array, offset: number, length: number, remote: DatagramRemote): void {
    const msg = Buffer.allocUnsafe(length);
    copyBytes(msg, 0, slab, offset, length);
    this.#arrived.push([msg, { address: remote.address, family: remote.family, port: remote.port, size: length }]);
    this.#notify();
  }

  #onerror(errno: number, info: UdpErrorInfo): void {
    if (info.pending) {
      this.#socket.getsockopt(SOL_SOCKET, SO_ERROR);
      this.#failed.push(errnoException(-errno, 'recvmsg'));
    } else {
      const { address, port, from, type, code, mtu } = info;
      const error = exceptionWithHostPort(-errno, 'recvmsg', address, port);
      this.#failed.push(Object.assign(error, { from, type, icmpCode: code, mtu }));
    }
    this.#notify();
  }

  /** A listener that throws must not upset the stack, which has more packets to hand out: it is told to the process instead. */
  #notify(): void {
    try {
      notify(this, POLLIN);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** @internal */
  _ready(): void {
    while (this.#failed.length > 0 && !this.#closed) {
      const error = this.#failed.shift()!;
      if ('icmpCode' in error) this.emit('icmpError', error as DgramIcmpError);
      else this.emit('error', error);
    }
    while (this.#arrived.length > 0 && !this.#closed) {
      const [msg, rinfo] = this.#arrived.shift()!;
      this.emit('message', msg, rinfo);
    }
  }

  // Addresses and options.

  address(): AddressInfo {
    this.#check();
    if (this.#bindState !== BOUND) throw errnoException(-EBADF, 'getsockname');
    const { address, family, port } = this.#socket.getsockname()!;
    return { address, family, port };
  }

  remoteAddress(): AddressInfo {
    this.#check();
    const peer = this.#connectState === CONNECTED ? this.#socket.getpeername() : null;
    if (peer === null) throw notConnected();
    return { address: peer.address, family: peer.family, port: peer.port };
  }

  setBroadcast(flag: boolean): void {
    this.#set('setBroadcast', SOL_SOCKET, SO_BROADCAST, flag ? 1 : 0);
  }

  setTTL(ttl: number): number {
    validateNumber(ttl, 'ttl');
    if (ttl < 1) throw errnoException(-EINVAL, 'setTTL');
    if (this.type === 'udp6') this.#set('setTTL', IPPROTO_IPV6, IPV6_UNICAST_HOPS, ttl);
    this.#set('setTTL', IPPROTO_IP, IP_TTL, ttl);
    return ttl;
  }

  setMulticastTTL(ttl: number): number {
    validateNumber(ttl, 'ttl');
    if (this.type === 'udp6') this.#set('setMulticastTTL', IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl);
    else this.#set('setMulticastTTL', IPPROTO_IP, IP_MULTICAST_TTL, ttl);
    return ttl;
  }

  setMulticastLoopback(flag: boolean): boolean {
    const value = flag ? 1 : 0;
    if (this.type === 'udp6') this.#set('setMulticastLoopback', IPPROTO_IPV6, IPV6_MULTICAST_LOOP, value);
    else this.#set('setMulticastLoopback', IPPROTO_IP, IP_MULTICAST_LOOP, value);
    return flag;
  }

  /** A stack has one link, so this only checks its argument. */
  setMulticastInterface(interfaceAddress: string): void {
    this.#check();
    if (typeof interfaceAddress !== 'string') throw invalidArgType('interfaceAddress', 'of type string', interfaceAddress);
    if (this.#bindState !== BOUND) throw errnoException(-EBADF, 'setMulticastInterface');
    if (!this.#isInterface(interfaceAddress)) throw errnoException(-EINVAL, 'setMulticastInterface');
  }

  /** Binds first, to any address and a random port, when that has not been done. */
  addMembership(multicastAddress: string, multicastInterface?: string): void {
    this.#membership('addMembership', multicastAddress, multicastInterface);
  }

  dropMembership(multicastAddress: string, multicastInterface?: string): void {
    this.#membership('dropMembership', multicastAddress, multicastInterface);
  }

  addSourceSpecificMembership(sourceAddress: string, groupAddress: string, _interface?: string): void {
    this.#sourceMembership('addSourceSpecificMembership', sourceAddress, groupAddress);
  }

  dropSourceSpecificMembership(sourceAddress: string, groupAddress: string, _interface?: string): void {
    this.#sourceMembership('dropSourceSpecificMembership', sourceAddress, groupAddress);
  }

  setRecvBufferSize(size: number): void {
    this.#setBufferSize('uv_recv_buffer_size', SO_RCVBUF, size);
  }

  setSendBufferSize(size: number): void {
    this.#setBufferSize('uv_send_buffer_size', SO_SNDBUF, size);
  }

  getRecvBufferSize(): number {
    this.#checkBuffer('uv_recv_buffer_size');
    return this.#socket.getsockopt(SOL_SOCKET, SO_RCVBUF);
  }

  getSendBufferSize(): number {
    this.#checkBuffer('uv_send_buffer_size');
    return this.#socket.getsockopt(SOL_SOCKET, SO_SNDBUF);
  }

  /** Bytes of the sends that wait for room. */
  getSendQueueSize(): number {
    return this.#pendingBytes;
  }

  /** How many sends wait for room. */
  getSendQueueCount(): number {
    return this.#pending.length;
  }

  ref(): this {
    if (!this.#closed) this.#socket.ref();
    return this;
  }

  unref(): this {
    if (!this.#closed) this.#socket.unref();
    return this;
  }

  // Within.

  #check(): void {
    if (this.#closed) throw notRunning();
  }

  #loopback(): string {
    return this.type === 'udp4' ? '127.0.0.1' : '::1';
  }

  /** Node hands a socket only addresses of its own family. */
  #fits(ip: string): boolean {
    if (ip === this.#fitted) return true;
    if (isIP(ip) !== (this.type === 'udp4' ? 4 : 6)) return false;
    this.#fitted = ip;
    return true;
  }

  #remotePort(value: unknown): number {
    const port = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '') ? Number(value) : 0;
    if (!Number.isInteger(port) || port <= 0 || port > 65535) throw badSocketPort(value);
    return port;
  }

  /** Calls back on a later tick, as `dns.lookup` does for addresses too. */
  #resolve(host: string, callback: (error: Error | null, ip: string) => void): void {
    const family = this.type === 'udp4' ? 4 : 6;
    if (this.#lookup !== null) this.#lookup(host, family, callback);
    else if (isIP(host) !== 0) process.nextTick(callback, null, host);
    else dnsLookup(host, family, callback);
  }

  #bound(): void {
    this.#bindState = BOUND;
    const { recvBufferSize, sendBufferSize } = this.#options;
    if (recvBufferSize) this.setRecvBufferSize(recvBufferSize);
    if (sendBufferSize) this.setSendBufferSize(sendBufferSize);
    this.emit('listening');
    const queue = this.#afterBind;
    this.#afterBind = null;
    if (queue !== null) for (const action of queue) if (!this.#closed) action();
  }

  /** Runs `action` now, or when the socket is bound; binds it to a random port unless that is under way. */
  #whenBound(action: () => void): void {
    if (this.#bindState === BOUND) {
      action();
      return;
    }
    if (this.#bindState === UNBOUND) this.bind({ port: 0 });
    this.#afterBind ??= [];
    this.#afterBind.push(action);
  }

  #set(syscall: string, level: number, option: number, value: number): void {
    this.#check();
    const result = this.#bindState === BOUND ? this.#socket.setsockopt(level, option, value) : -EBADF;
    if (result < 0) throw errnoException(result, syscall);
  }

  #setBufferSize(syscall: string, option: number, size: number): void {
    if (size >>> 0 !== size) throw badBufferSize();
    this.#checkBuffer(syscall);
    if (size > 0x7fffffff) throw bufferSizeFailed(-EINVAL, syscall);
    this.#socket.setsockopt(SOL_SOCKET, option, size);
  }

  /** Node's socket has buffers only once it is bound. */
  #checkBuffer(syscall: string): void {
    this.#check();
    if (this.#bindState !== BOUND) throw bufferSizeFailed(-EBADF, syscall);
  }

  #isInterface(address: string): boolean {
    return this.#fits(address) && parseAddress(address) !== null;
  }

  #membership(syscall: 'addMembership' | 'dropMembership', group: string, multicastInterface: string | undefined): void {
    this.#check();
    if (!group) throw missingArg('multicastAddress');
    let result = -EINVAL;
    if (multicastInterface && !this.#isInterface(multicastInterface)) result = -EADDRNOTAVAIL;
    else if (this.#fits(group)) result = this.#socket[syscall](group);
    if (result < 0) throw errnoException(result, syscall);
    if (this.#bindState === UNBOUND) this.bind({ port: 0 });
  }

  #sourceMembership(syscall: string, source: string, group: string): void {
    this.#check();
    if (typeof source !== 'string') throw invalidArgType('sourceAddress', 'of type string', source);
    if (typeof group !== 'string') throw invalidArgType('groupAddress', 'of type string', group);
    throw errnoException(-ENOPROTOOPT, syscall);
  }
}

/** What `createDgram` makes: the members of `node:dgram`. */
export interface Dgram {
  Socket: new (type: SocketType | DgramOptions, listener?: MessageListener) => DgramSocket;
  createSocket(type: SocketType | DgramOptions, callback?: MessageListener): DgramSocket;
}

/** `node:dgram` on a stack's UDP, its own (`stack.udp`) or an attachment's. */
export function createDgram(host: UdpProvider): Dgram {
  class Socket extends DgramSocket {
    constructor(type: SocketType | DgramOptions, listener?: MessageListener) {
      super(host, type, listener);
    }
  }
  return {
    Socket,
    createSocket: (type, callback) => new Socket(type, callback),
  };
}
