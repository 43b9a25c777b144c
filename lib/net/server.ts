/**
 * Listens for TCP connections, in the shape of Node's `net.Server`, on a low-level socket (lib/socket.ts).
 *
 * Members, events and errors are those of Node 20 (documentation of `net.Server`; held by the parity tests).
 * Differences: no Unix domain sockets, no handles or descriptors to listen on, no `cluster` (so `exclusive` has no
 * meaning); `reusePort` works as in later versions of Node.
 */

import { AsyncResource } from 'node:async_hooks';
import { lookup } from 'node:dns';
import { EventEmitter, addAbortListener, captureRejectionSymbol } from 'node:events';
import { getDefaultHighWaterMark } from 'node:stream';
import { promisify } from 'node:util';
import { EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, ENETDOWN } from '../errno.ts';
import { AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_STREAM, SOL_SOCKET, SO_REUSEADDR, SO_REUSEPORT } from '../socket.ts';
import type { BsdSocket, SocketAddress, SocketProvider } from '../socket.ts';
import {
  errnoException, invalidArgType, invalidArgValue, listenException, notOnThisStack, serverAlreadyListens, serverNotRunning,
  validateAbortSignal, validateNumber, validatePort,
} from './errors.ts';
import { enter, leave, notify } from './readiness.ts';
import type { ReadyTarget } from './readiness.ts';
import type { Socket, SocketOptions } from './socket.ts';
import { applyTcp, validateTcp } from './tcp-options.ts';
import type { SocketTcpOptions } from './tcp-options.ts';

export interface ServerOptions {
  allowHalfOpen?: boolean;
  /** Accepted sockets do not read before `resume()`. */
  pauseOnConnect?: boolean;
  noDelay?: boolean;
  keepAlive?: boolean;
  /** Milliseconds. */
  keepAliveInitialDelay?: number;
  /** Of both sides of accepted sockets, bytes. */
  highWaterMark?: number;
  /** Of accepted connections: congestion control and the like; an extension. */
  tcp?: SocketTcpOptions;
}

export interface ListenOptions {
  /** 0 or nothing: any free port. */
  port?: number | string | null;
  /** Default: '::', which takes IPv4 too, or '0.0.0.0' on a stack without IPv6. */
  host?: string;
  /** Connections that may wait to be accepted; default 511. */
  backlog?: number;
  exclusive?: boolean;
  /** '::' takes IPv6 only. */
  ipv6Only?: boolean;
  reusePort?: boolean;
  signal?: AbortSignal;
  /** Refused: the stack has no Unix domain sockets. */
  path?: string;
}

/** What the 'drop' event tells about a connection that was one too many. */
export interface DropArgument {
  localAddress?: string;
  localPort?: number;
  localFamily?: string;
  remoteAddress?: string;
  remotePort?: number;
  remoteFamily?: string;
}

const DEFAULT_BACKLOG = 511;

function count(value: unknown): number {
  const n = Number(value);
  return n >= 0 ? n : 0;
}

/** Made by `stack.net` (`stack.net.createServer()`), which binds it to its stack. */
export class Server extends EventEmitter implements ReadyTarget {
  /** The low-level socket while listening, else null. */
  _bsd: BsdSocket | null = null;
  _connections = 0;
  readonly _resource: AsyncResource;
  _deferred = 0;
  allowHalfOpen: boolean;
  pauseOnConnect: boolean;
  noDelay: boolean;
  keepAlive: boolean;
  /** Seconds, as in Node. */
  keepAliveInitialDelay: number;
  highWaterMark: number;
  readonly _tcp: SocketTcpOptions | null;
  /** Connections beyond this many are closed at once ('drop'); 0 or undefined: no limit. */
  declare maxConnections: number;
  private _unref = false;
  /** Tells a look-up that it comes too late. */
  private _listeningId = 1;

  constructor(options?: ServerOptions | ((socket: Socket) => void) | null, connectionListener?: (socket: Socket) => void) {
    super();
    if (typeof options === 'function') {
      connectionListener = options;
      options = null;
    } else if (options != null && typeof options !== 'object') {
      throw invalidArgType('options', 'of type object', options);
    }
    if (typeof connectionListener === 'function') this.on('connection', connectionListener);
    if (options?.keepAliveInitialDelay !== undefined) {
      validateNumber(options.keepAliveInitialDelay, 'options.keepAliveInitialDelay');
    }
    if (options?.highWaterMark !== undefined) validateNumber(options.highWaterMark, 'options.highWaterMark');
    this._tcp = options?.tcp === undefined ? null : validateTcp(options.tcp);
    this.allowHalfOpen = Boolean(options?.allowHalfOpen);
    this.pauseOnConnect = Boolean(options?.pauseOnConnect);
    this.noDelay = Boolean(options?.noDelay);
    this.keepAlive = Boolean(options?.keepAlive);
    this.keepAliveInitialDelay = Math.trunc(Math.max(options?.keepAliveInitialDelay ?? 0, 0) / 1000);
    const highWaterMark = options?.highWaterMark ?? -1;
    this.highWaterMark = highWaterMark < 0 ? getDefaultHighWaterMark(false) : highWaterMark;
    this._resource = new AsyncResource('TCPSERVERWRAP', { requireManualDestroy: true });
  }

  /** Where low-level sockets come from; `createNet` gives each class its own. */
  get _provider(): SocketProvider {
    throw new Error('this class is bound to no stack: use createNet()');
  }

  /** @internal The class of accepted connections. */
  get _socketClass(): new (options: SocketOptions) => Socket {
    throw new Error('this class is bound to no stack: use createNet()');
  }

  // ---- listening

  /**
   * Listens; 'listening' tells of success, 'error' of failure (`listen EADDRINUSE: …`).
   *
   * @throws ERR_SERVER_ALREADY_LISTEN, ERR_SOCKET_BAD_PORT, ERR_INVALID_ARG_VALUE (also for paths, handles and descriptors)
   */
  listen(port?: number | string | null, hostname?: string, backlog?: number, listeningListener?: () => void): this;
  listen(port?: number | string | null, hostname?: string, listeningListener?: () => void): this;
  listen(port?: number | string | null, backlog?: number, listeningListener?: () => void): this;
  listen(port?: number | string | null, listeningListener?: () => void): this;
  listen(path: string, backlog?: number, listeningListener?: () => void): this;
  listen(path: string, listeningListener?: () => void): this;
  listen(options: ListenOptions, listeningListener?: () => void): this;
  listen(handle: any, backlog?: number, listeningListener?: () => void): this;
  listen(handle: any, listeningListener?: () => void): this;
  listen(listeningListener?: () => void): this;
  listen(...args: any[]): this {
    if (this._bsd !== null) throw serverAlreadyListens();
    const [first, second, third] = args as unknown[];
    const last: unknown = args.at(-1);
    let options: ListenOptions;
    if (typeof first === 'object' && first !== null) {
      options = first as ListenOptions;
    } else if (typeof first === 'string' && !(Number(first) >= 0)) {
      options = { path: first };
    } else {
      options = { port: typeof first === 'function' ? 0 : first as number };
      if (typeof second === 'string') options.host = second;
    }
    if (typeof last === 'function') this.once('listening', last as () => void);
    const id = ++this._listeningId;
    this._closeOnAbort(options.signal);
    const wanted = listenPort(options);
    const port = validatePort(wanted, 'options.port');
    const backlog = options.backlog || count(second) || count(third) || DEFAULT_BACKLOG;
    if (!options.host) {
      this._bind(null, port, 6, backlog, options);
      return this;
    }
    lookup(options.host, (error, address, family) => {
      if (id !== this._listeningId) return;
      if (error) this.emit('error', error);
      else this._bind(address, port, family, backlog, options);
    });
    return this;
  }

  private _closeOnAbort(signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    validateAbortSignal(signal, 'options.signal');
    if (signal.aborted) {
      process.nextTick(() => this.close());
      return;
    }
    const disposable = addAbortListener(signal, () => this.close());
    this.once('close', () => disposable[Symbol.dispose]());
  }

  private _bind(address: string | null, port: number, family: number, backlog: number, options: ListenOptions): void {
    if (this._bsd !== null) return;
    let shown = address ?? '::';
    let bound: BsdSocket | number;
    if (address === null) {
      // any address: IPv6, which takes IPv4 too, where the stack has it
      bound = this._boundSocket(AF_INET6, shown, port, options);
      if (bound === -EAFNOSUPPORT || bound === -EADDRNOTAVAIL) {
        shown = '0.0.0.0';
        bound = this._boundSocket(AF_INET, shown, port, options);
      }
    } else {
      bound = this._boundSocket(family === 6 ? AF_INET6 : AF_INET, address, port, options);
    }
    if (typeof bound !== 'number') {
      const result = bound.listen(backlog);
      if (result < 0) {
        bound.close();
        bound = result;
      }
    }
    if (typeof bound === 'number') {
      process.nextTick(emitError, this, listenException(bound, shown, port));
      return;
    }
    this._bsd = bound;
    bound.onready = (events) => notify(this, events);
    if (this._unref) bound.unref();
    process.nextTick(emitListening, this);
  }

  private _boundSocket(domain: number, address: string, port: number, options: ListenOptions): BsdSocket | number {
    const handle = this._provider.socket(domain, SOCK_STREAM, 0);
    if (typeof handle === 'number') return handle;
    handle.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
    if (options.reusePort) handle.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
    if (options.ipv6Only && domain === AF_INET6) handle.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1);
    let result = this._tcp === null ? 0 : applyTcp(handle, this._tcp);
    if (result === 0) result = handle.bind(address, port);
    if (result === 0) return handle;
    handle.close();
    return result;
  }

  // ---- accepting

  /** @internal Connections are ready. */
  _ready(_events: number): void {
    for (let handle = this._bsd; handle !== null; handle = this._bsd) {
      enter();
      const accepted = handle.accept();
      leave();
      if (typeof accepted === 'number') {
        if (accepted === -EAGAIN) return;
        // Without a stack there is nothing to wait for any more: 'close' follows 'error'.
        if (accepted === -ENETDOWN) this.close();
        this.emit('error', errnoException(accepted, 'accept'));
        return;
      }
      this._accepted(accepted);
    }
  }

  private _accepted(handle: BsdSocket): void {
    if (this.maxConnections && this._connections >= this.maxConnections) {
      const local = handle.getsockname();
      const remote = handle.getpeername();
      const data: DropArgument = Object.create(null);
      data.localAddress = local?.address;
      data.localPort = local?.port;
      data.localFamily = local?.family;
      data.remoteAddress = remote?.address;
      data.remotePort = remote?.port;
      data.remoteFamily = remote?.family;
      try {
        this.emit('drop', data);
      } finally {
        enter();
        handle.close();
        leave();
      }
      return;
    }
    const socket = new this._socketClass({
      handle,
      allowHalfOpen: this.allowHalfOpen,
      pauseOnCreate: this.pauseOnConnect,
      readableHighWaterMark: this.highWaterMark,
      writableHighWaterMark: this.highWaterMark,
      noDelay: this.noDelay,
      keepAlive: this.keepAlive,
      keepAliveInitialDelay: this.keepAliveInitialDelay * 1000,
    });
    this._connections++;
    socket.server = this;
    socket._server = this;
    try {
      this.emit('connection', socket);
    } finally {
      // not before there are listeners: what is there already, be it an error, is read at once
      socket._start();
    }
  }

  /** Node's: a connection whose async listener failed is destroyed. */
  override [captureRejectionSymbol](error: Error, event: string | symbol, ...args: any[]): void {
    const socket = args[0] as Socket;
    if (event === 'connection') socket.destroy(error);
    else this.emit('error', error);
  }

  // ---- closing

  /** Stops listening; 'close' (and `callback`) when all connections have ended. */
  close(callback?: (error?: Error) => void): this {
    this._listeningId++;
    const handle = this._bsd;
    if (typeof callback === 'function') {
      if (handle === null) this.once('close', () => callback(serverNotRunning()));
      else this.once('close', callback);
    }
    if (handle !== null) {
      handle.onready = null;
      this._bsd = null;
      enter();
      handle.close();
      leave();
    }
    this._emitCloseIfDrained();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this._bsd !== null) await promisify((done: (error?: Error) => void) => this.close(done))();
  }

  /** @internal */
  _connectionClosed(): void {
    this._connections--;
    this._emitCloseIfDrained();
  }

  _emitCloseIfDrained(): void {
    if (this._bsd === null && this._connections === 0) process.nextTick(emitClose, this);
  }

  // ---- state

  get listening(): boolean {
    return this._bsd !== null;
  }

  /** Where the server listens, or null. */
  address(): SocketAddress | null {
    const end = this._bsd === null ? null : this._bsd.getsockname();
    return end === null ? null : { address: end.address, family: end.family, port: end.port };
  }

  getConnections(callback: (error: Error | null, count: number) => void): this {
    process.nextTick(callback, null, this._connections);
    return this;
  }

  ref(): this {
    this._unref = false;
    this._bsd?.ref();
    return this;
  }

  /** The process may end though the server listens. */
  unref(): this {
    this._unref = true;
    this._bsd?.unref();
    return this;
  }
}

/** The port asked for. @throws when the options ask for something else than TCP */
function listenPort(options: ListenOptions): unknown {
  const other = options as { fd?: unknown; handle?: unknown; _handle?: unknown };
  if (typeof other.fd === 'number' && other.fd >= 0) throw notOnThisStack('options.fd', other.fd);
  const handle = other.handle ?? other._handle;
  if (handle !== undefined) throw notOnThisStack('options.handle', handle);
  if (options.port === null || ('port' in options && options.port === undefined)) return 0;
  if (typeof options.port === 'number' || typeof options.port === 'string') return options.port;
  if (options.path) throw notOnThisStack('options.path', options.path);
  const named = 'port' in options || 'path' in options;
  throw invalidArgValue('options', options, named ? undefined : 'must have the property "port" or "path"');
}

function emitError(server: Server, error: Error): void {
  server.emit('error', error);
}

function emitListening(server: Server): void {
  if (server._bsd !== null) server.emit('listening');
}

function emitClose(server: Server): void {
  server._resource.runInAsyncScope(server.emit, server, 'close');
}
