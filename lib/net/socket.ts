/**
 * A TCP connection as a Duplex stream, in the shape of Node's `net.Socket`, on a low-level socket (lib/socket.ts).
 *
 * Members, events, their order and the error objects are those of Node 20 (documentation of `net.Socket`; held by
 * the parity tests). Differences: there are no Unix domain sockets and no file descriptors; there is no `_handle`,
 * so that Node's own http, tls and http2 take their JavaScript stream path; `tcpInfo()`, `setCongestion()` and the option
 * `tcp` are extensions. Host names
 * are resolved by the host's resolver (`dns.lookup`) unless `lookup` is given.
 *
 * Back-pressure: the stream reads from the receive buffer only while it wants data, so that a slow reader lets the
 * receive window close; a write's callback comes when its last byte is in the send buffer.
 */

import { AsyncResource } from 'node:async_hooks';
import { addAbortSignal } from 'node:stream';
import type { DuplexOptions } from 'node:stream';
import type { Clock } from '../clock.ts';
import { EAGAIN, ECANCELED, ENOTCONN } from '../errno.ts';
import { MSG_MORE, POLLERR, POLLHUP, POLLIN, POLLOUT, SHUT_WR } from '../socket.ts';
import type { BsdSocket, SocketProvider } from '../socket.ts';
import { connectSettled, lookupAndConnect, normalizeConnectArgs } from './connect.ts';
import type { ConnectAttempt, ConnectOptions } from './connect.ts';
import {
  endedByPeer, errnoException, invalidArgValue, missingConnectArgs, notOnThisStack, socketClosed, socketClosedBeforeConnection,
  validateNumber,
} from './errors.ts';
import { defer, enter, leave, notify } from './readiness.ts';
import type { ReadyTarget } from './readiness.ts';
import { receiveChunk } from './receive-pool.ts';
import type { Server } from './server.ts';
import { KEEP_ALIVE, NO_DELAY, SocketBase, UNREF } from './socket-base.ts';
import { validateTcp } from './tcp-options.ts';
import type { SocketTcpOptions } from './tcp-options.ts';

/** Since Node 22 the callback of a write that was under way hears that it was cancelled when its socket is destroyed. */
const CANCELS = Number(process.versions.node.split('.')[0]) >= 22;

/** Received bytes go straight into a buffer of the user's; there are no 'data' events then. */
export interface OnReadOptions {
  /** The buffer to read into each time, or a function that gives one. */
  buffer: Uint8Array | (() => Uint8Array);
  /** Called with the number of bytes read and the buffer; `false` pauses the socket. */
  callback(bytesRead: number, buffer: Uint8Array): boolean | void;
}

/** Options of `new Socket()`: Node's, and those of `stream.Duplex` that concern marks and encodings. */
export interface SocketOptions extends DuplexOptions {
  /** Keep the writable side open when the peer has ended; default false. */
  allowHalfOpen?: boolean;
  readable?: boolean;
  writable?: boolean;
  noDelay?: boolean;
  keepAlive?: boolean;
  /** Milliseconds. */
  keepAliveInitialDelay?: number;
  /** Congestion control and the like; an extension. */
  tcp?: SocketTcpOptions;
  onread?: OnReadOptions | null;
  signal?: AbortSignal;
  /** @internal An accepted connection; `_start()` begins to read. */
  handle?: BsdSocket;
  /** @internal */
  pauseOnCreate?: boolean;
}

/** A write that did not fit into the send buffer, or waits for the connection. */
interface PendingWrite {
  /** Further chunks, after `chunk`. */
  readonly chunks: Uint8Array[];
  index: number;
  chunk: Uint8Array;
  offset: number;
  /** Bytes of all chunks that the send buffer took. */
  sent: number;
  readonly callback: (error?: Error | null) => void;
}

/** Bits of `_flags`, besides those of socket-base.ts. */
const READING = 8;
const IN_READ = 16;
/** The peer's FIN has been read. */
const ENDED = 32;
const RESETTING = 64;
const HAD_ERROR = 128;
/** The signal had been aborted when the socket was made: it never connects (Node 20 forgets that). */
const ABORTED = 256;
/** FIN has been asked for; `_finalCallback` is due. */
const SHUT = 512;

const NO_CHUNKS: Uint8Array[] = [];
/** Where the end of the stream, or an error, is looked for when no byte is there. */
const probe = Buffer.alloc(1);

function finish(socket: Socket, error: Error | null): void {
  socket._resource.runInAsyncScope(socket._finished, socket, error);
}

function emitClose(socket: Socket, pending: PendingWrite | null, connecting: boolean): void {
  socket._resource.runInAsyncScope(socket._emitClose, socket, pending, connecting);
}

/** One connection. Made by `stack.net` (`new stack.net.Socket()`), which binds it to its stack. */
export class Socket extends SocketBase implements ReadyTarget {
  /** Bytes received. */
  bytesRead = 0;
  /** The server that accepted this connection; http puts its own here. */
  server: Server | null = null;
  /** @internal The server that counts this connection. */
  _server: Server | null = null;
  /** Name that was looked up. */
  _host: string | null = null;
  /** `address:port` of each attempt when a name with several addresses is connected to. */
  declare autoSelectFamilyAttemptedAddresses: string[];

  readonly _resource: AsyncResource;
  _deferred = 0;
  _attempt: ConnectAttempt | null = null;
  private _bytesDispatched = 0;
  private _pending: PendingWrite | null = null;
  private _finalCallback: ((error?: Error | null) => void) | null = null;
  private _onread: OnReadOptions | null = null;
  private _readBuffer: Uint8Array | null = null;

  constructor(options?: SocketOptions) {
    if (options?.objectMode) throw invalidArgValue('options.objectMode', options.objectMode, 'is not supported');
    if (options?.readableObjectMode) throw invalidArgValue('options.readableObjectMode', true, 'is not supported');
    if (options?.writableObjectMode) throw invalidArgValue('options.writableObjectMode', true, 'is not supported');
    if (options?.keepAliveInitialDelay !== undefined) {
      validateNumber(options.keepAliveInitialDelay, 'options.keepAliveInitialDelay');
    }
    if ((options as { fd?: unknown } | undefined)?.fd !== undefined) {
      throw notOnThisStack('options.fd', (options as { fd?: unknown }).fd);
    }
    super(streamOptions(options));
    this._resource = new AsyncResource('TCPWRAP', { requireManualDestroy: true });
    if (options === undefined) return;
    if (options.noDelay) this.setNoDelay();
    if (options.keepAlive) this.setKeepAlive(true, options.keepAliveInitialDelay);
    if (options.tcp !== undefined) this._tcp = validateTcp(options.tcp);
    if (options.signal?.aborted) this._flags |= ABORTED;
    const onread = options.onread;
    if (onread !== null && typeof onread === 'object' && typeof onread.callback === 'function' &&
        (onread.buffer instanceof Uint8Array || typeof onread.buffer === 'function')) {
      this._onread = onread;
      if (onread.buffer instanceof Uint8Array) this._readBuffer = onread.buffer;
    }
    if (options.handle !== undefined) {
      this._attach(options.handle);
      if (options.pauseOnCreate) this.pause();
    }
    if (options.signal) addAbortSignal(options.signal, this);
  }

  /** Where low-level sockets come from; `createNet` gives each class its own. */
  get _provider(): SocketProvider {
    throw new Error('this class is bound to no stack: use createNet()');
  }

  /** @internal */
  override get _clock(): Clock | undefined {
    return this._provider.clock;
  }

  // ---- connecting

  /**
   * Connects; 'connect' and 'ready' tell of success, 'error' (then 'close') of failure.
   *
   * @throws ERR_MISSING_ARGS, ERR_SOCKET_BAD_PORT, ERR_INVALID_ARG_TYPE, ERR_INVALID_IP_ADDRESS, and
   *         ERR_INVALID_ARG_VALUE for a path: the stack has no Unix domain sockets
   */
  connect(options: ConnectOptions, connectionListener?: () => void): this;
  connect(port: number | string, host: string, connectionListener?: () => void): this;
  connect(port: number | string, connectionListener?: () => void): this;
  connect(path: string, connectionListener?: () => void): this;
  connect(...args: unknown[]): this {
    const [options, listener] = normalizeConnectArgs(args);
    if (listener !== null) this.once('connect', listener);
    if (options.port === undefined && options.path == null) throw missingConnectArgs();
    if (options.path) throw notOnThisStack('options.path', options.path);
    if (options.tcp !== undefined) this._tcp = validateTcp(options.tcp);
    if (this._flags & ABORTED) return this;
    if (this.destroyed) this._reuse();
    this._refreshTimer();
    this.connecting = true;
    lookupAndConnect(this, options);
    return this;
  }

  /** A destroyed socket may be connected again. */
  private _reuse(): void {
    (this as unknown as { _undestroy(): void })._undestroy();
    this._flags &= NO_DELAY | KEEP_ALIVE | UNREF;
    this._sockname = null;
    this._peername = null;
    this._pending = null;
    this._finalCallback = null;
    this.bytesRead = 0;
    this._bytesDispatched = 0;
  }

  /** @internal Takes a low-level socket on, with the options remembered so far. */
  _attach(handle: BsdSocket): void {
    this._bsd = handle;
    this._sockname = null;
    handle.onready = (events) => notify(this, events);
    this._applyOptions(handle);
  }

  /** @internal Gives an attempt up; another may follow. */
  _detach(): void {
    const handle = this._bsd;
    if (handle === null) return;
    this._bsd = null;
    handle.onready = null;
    enter();
    handle.close();
    leave();
  }

  /** @internal The connection stands. */
  _connected(): void {
    this.connecting = false;
    this._attempt = null;
    this._sockname = null;
    this._refreshTimer();
    this.emit('connect');
    this.emit('ready');
    this._start();
  }

  /** @internal Reads ahead, and so notices the end of the stream and errors, though nobody listens. */
  _start(): void {
    if (this._bsd !== null && !this.isPaused()) this.read(0);
  }

  // ---- readiness

  /** @internal What the low-level socket has to tell, already in the right context. */
  _ready(events: number): void {
    if (this._bsd === null) return;
    if (this.connecting) {
      if ((events & (POLLOUT | POLLERR | POLLHUP)) === 0) return;
      connectSettled(this);
      if (this.connecting) return;
      events |= POLLIN | POLLOUT;
    } else if ((this._flags & SHUT) !== 0 && this._finalCallback !== null) {
      // it was first, and 'finish' may bring destroy()
      this._finished(null);
      defer(this, events);
      return;
    }
    if (this._flags & READING) this._receive();
    if ((events & (POLLOUT | POLLERR | POLLHUP)) !== 0) {
      if (this._pending !== null) this._sendPending();
      if (this._finalCallback !== null) this._shutdown();
    }
  }

  // ---- reading

  override _read(_size: number): void {
    if (this._flags & ENDED) return;
    this._flags |= READING;
    if (this._bsd === null || this.connecting) return;
    if (this._onread === null) this._receive();
    else defer(this, POLLIN);
  }

  /** Moves what was received into the stream, until it has enough or nothing is left. */
  private _receive(): void {
    if ((this._flags & IN_READ) !== 0 || this._bsd === null) return;
    this._flags |= IN_READ;
    try {
      const before = this.bytesRead;
      if (this._onread === null) this._receiveChunks();
      else this._receiveInto(this._onread);
      if (this.bytesRead !== before) this._refreshTimer();
    } finally {
      this._flags &= ~IN_READ;
    }
  }

  private _receiveChunks(): void {
    for (let handle = this._bsd; handle !== null && (this._flags & READING) !== 0; handle = this._bsd) {
      const available = handle.available;
      if (available === 0) {
        if (this._receiveNothing(handle, probe) > 0) this.push(Buffer.from(probe));
        else return;
        continue;
      }
      enter();
      const chunk = receiveChunk(handle, available);
      leave();
      if (typeof chunk === 'number') {
        this._receiveFailed(chunk);
        return;
      }
      this.bytesRead += chunk.length;
      if (!this.push(chunk)) this._flags &= ~READING;
    }
  }

  private _receiveInto(onread: OnReadOptions): void {
    for (let handle = this._bsd; handle !== null && (this._flags & READING) !== 0; handle = this._bsd) {
      const buffer = this._readBuffer ??= (onread.buffer as () => Uint8Array)();
      const n = this._receiveNothing(handle, buffer);
      if (n <= 0) return;
      if (typeof onread.buffer === 'function') this._readBuffer = null;
      if (onread.callback(n, buffer) === false) this._flags &= ~READING;
    }
  }

  /** Reads into `to`; the end of the stream and errors are dealt with here. Returns the count, or ≤ 0. */
  private _receiveNothing(handle: BsdSocket, to: Uint8Array): number {
    enter();
    const n = handle.recv(to, 0, to.length);
    leave();
    if (n > 0) this.bytesRead += n;
    else this._receiveFailed(n);
    return n;
  }

  private _receiveFailed(n: number): void {
    if (n === -EAGAIN) return;
    this._flags &= ~READING;
    if (n < 0) {
      this.destroy(errnoException(n, 'read'));
      return;
    }
    this._flags |= ENDED;
    this._refreshTimer();
    this.push(null);
    // 'end' comes even when nobody reads, if no data is left
    this.read(0);
  }

  override read(size?: number): any {
    if (this._onread !== null && (this._flags & (READING | ENDED)) === 0) this._read(0);
    return super.read(size);
  }

  override pause(): this {
    if (this._onread !== null) this._flags &= ~READING;
    return super.pause();
  }

  override resume(): this {
    if (this._onread !== null && (this._flags & (READING | ENDED)) === 0) this._read(0);
    return super.resume();
  }

  // ---- writing

  override write(chunk: any, encoding?: any, callback?: any): boolean {
    if (this.writableEnded && this.readableEnded && !this.allowHalfOpen) {
      const done: unknown = typeof encoding === 'function' ? encoding : callback;
      const error = endedByPeer();
      if (typeof done === 'function') process.nextTick(done as (error: Error) => void, error);
      this.destroy(error);
      return false;
    }
    return super.write(chunk, encoding, callback);
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    const handle = this._bsd;
    if (handle === null || this.connecting) {
      this._writeLater(chunk, NO_CHUNKS, callback);
      return;
    }
    this._refreshTimer();
    const length = chunk.length;
    if (length === 0) {
      callback();
      return;
    }
    enter();
    const n = handle.send(chunk, 0, length);
    leave();
    if (n === length) {
      this._bytesDispatched += n;
      callback();
    } else if (n >= 0 || n === -EAGAIN) {
      const sent = n > 0 ? n : 0;
      this._bytesDispatched += sent;
      this._pending = { chunks: NO_CHUNKS, index: 0, chunk, offset: sent, sent, callback };
    } else {
      callback(errnoException(n, 'write'));
    }
  }

  override _writev(writes: { chunk: Uint8Array; encoding: BufferEncoding }[], callback: (error?: Error | null) => void): void {
    const chunks: Uint8Array[] = [];
    for (const { chunk } of writes) {
      if (chunk.length > 0) chunks.push(chunk);
    }
    const first = chunks.shift() ?? writes[0]!.chunk;
    if (this._bsd === null || this.connecting) {
      this._writeLater(first, chunks, callback);
      return;
    }
    this._refreshTimer();
    this._pending = { chunks, index: 0, chunk: first, offset: 0, sent: 0, callback };
    this._sendPending();
  }

  private _writeLater(chunk: Uint8Array, chunks: Uint8Array[], callback: (error?: Error | null) => void): void {
    if (this.connecting) this._pending = { chunks, index: 0, chunk, offset: 0, sent: 0, callback };
    else callback(socketClosed());
  }

  /** Sends what it can of the pending write; the rest waits for POLLOUT. All but the last chunk say that more follows. */
  private _sendPending(): void {
    const pending = this._pending!;
    const { chunks, callback } = pending;
    for (let handle = this._bsd; handle !== null && this._pending === pending; handle = this._bsd) {
      const left = pending.chunk.length - pending.offset;
      if (left > 0) {
        enter();
        const n = handle.send(pending.chunk, pending.offset, left, pending.index < chunks.length ? MSG_MORE : 0);
        leave();
        if (n === -EAGAIN) return;
        if (n < 0) {
          this._pending = null;
          callback(errnoException(n, 'write'));
          return;
        }
        this._refreshTimer();
        this._bytesDispatched += n;
        pending.offset += n;
        pending.sent += n;
        if (n < left) return;
      }
      if (pending.index === chunks.length) {
        this._pending = null;
        callback();
        return;
      }
      pending.chunk = chunks[pending.index++]!;
      pending.offset = 0;
    }
  }

  override _final(callback: (error?: Error | null) => void): void {
    this._finalCallback = callback;
    // as Node: a socket that was ended before connect() ends when it has been connected
    if (this._bsd !== null && !this.connecting) this._shutdown();
  }

  private _shutdown(): void {
    this._flags |= SHUT;
    enter();
    const result = this._bsd === null ? 0 : this._bsd.shutdown(SHUT_WR);
    leave();
    // 'finish' comes in a later phase, as in Node: destroy() right after end() forestalls it
    setImmediate(finish, this, result === 0 || result === -ENOTCONN ? null : errnoException(result, 'shutdown'));
  }

  /** @internal */
  _finished(error: Error | null): void {
    const callback = this._finalCallback;
    this._finalCallback = null;
    if (callback !== null) callback(error);
  }

  // ---- closing

  /** Ends the writable side, and destroys the socket when all has been written. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', this.destroy);
  }

  /** Resets the connection (RST) and destroys the socket; while connecting, as soon as it is connected. */
  resetAndDestroy(): this {
    if (this.connecting) {
      this.once('connect', this._reset);
    } else if (this._bsd !== null) {
      this._reset();
    } else {
      this.destroy(socketClosed());
    }
    return this;
  }

  private _reset(): void {
    this._flags |= RESETTING;
    this.destroy();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const used = this._bsd !== null || this.connecting;
    const connecting = this.connecting;
    this.connecting = false;
    if (this._attempt !== null) {
      this._attempt.stop();
      this._attempt = null;
    }
    this._stopTimer();
    const pending = this._pending;
    this._pending = null;
    this._finalCallback = null;
    this._deferred = 0;
    if (error) this._flags |= HAD_ERROR;
    const handle = this._bsd;
    if (handle !== null) {
      handle.onready = null;
      this._bsd = null;
      this._sockname = null;
      enter();
      if (this._flags & RESETTING) handle.abort();
      else handle.close();
      leave();
    }
    this._flags &= ~(RESETTING | READING);
    callback(error);
    // 'close' comes in a later phase than 'error', after the promise jobs of whoever awaited that
    if (used) setImmediate(emitClose, this, pending, connecting);
    else process.nextTick(emitUnusedClose, this);
    if (this._server !== null && used) this._server._connectionClosed();
  }

  /** @internal */
  _emitClose(pending: PendingWrite | null, connecting: boolean): void {
    // as in Node, a write that waited for room ends before 'close', one that waited for the connection after it
    if (pending !== null && !connecting) pending.callback(CANCELS ? errnoException(-ECANCELED, 'write') : null);
    this.emit('close', (this._flags & HAD_ERROR) !== 0);
    if (pending !== null && connecting) pending.callback(socketClosedBeforeConnection());
    if (this._bsd === null) this._resource.emitDestroy();
  }

  // ---- figures

  /** Bytes given to the socket, those included that wait for room or for the connection. */
  get bytesWritten(): number {
    return this._bytesDispatched - (this._pending?.sent ?? 0) + this.writableLength;
  }
}

const DEFAULTS: SocketOptions = { allowHalfOpen: false, emitClose: false, autoDestroy: true };

/**
 * Options for Duplex, of one shape: a spread costs several µs. Not among them: `signal`, for an aborted one would
 * destroy what has not been made yet, and implementations (`read`, `write` …).
 */
function streamOptions(options: SocketOptions | undefined): SocketOptions {
  if (options === undefined) return DEFAULTS;
  return {
    allowHalfOpen: Boolean(options.allowHalfOpen),
    emitClose: false,
    autoDestroy: true,
    readable: options.readable,
    writable: options.writable,
    highWaterMark: options.highWaterMark,
    readableHighWaterMark: options.readableHighWaterMark,
    writableHighWaterMark: options.writableHighWaterMark,
    encoding: options.encoding,
    defaultEncoding: options.defaultEncoding,
  };
}

function emitUnusedClose(socket: Socket): void {
  socket.emit('close');
  socket._resource.emitDestroy();
}
