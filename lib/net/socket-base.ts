/**
 * The part of a stream socket that is not about the stream: options, the inactivity timer, addresses and figures of the
 * connection, in the shape of Node's `net.Socket`. Options set before there is a connection are remembered.
 */

import { Duplex } from 'node:stream';
import type { Clock } from '../clock.ts';
import {
  IPPROTO_TCP, SOL_SOCKET, SO_KEEPALIVE, TCP_INFO, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY,
} from '../socket.ts';
import type { BsdSocket, SocketAddress, TcpInfo } from '../socket.ts';
import { errnoException, validateFunction, validateTimeout } from './errors.ts';
import { startTimer } from './stream-timer.ts';
import type { StreamTimer } from './stream-timer.ts';
import { applyTcp, validateCongestion } from './tcp-options.ts';
import type { SocketTcpOptions } from './tcp-options.ts';

/** Bits of `_flags`. */
export const UNREF = 1;
export const NO_DELAY = 2;
export const KEEP_ALIVE = 4;

/** Probes as Node sets them: one each second, ten before the connection is given up. */
const KEEPALIVE_INTERVAL_S = 1;
const KEEPALIVE_PROBES = 10;

function onTimer(socket: SocketBase): void {
  socket._onTimeout();
}

export class SocketBase extends Duplex {
  /** @internal The low-level socket; null before a connection is attempted and after `destroy()`. */
  _bsd: BsdSocket | null = null;
  /** Whether a connection is being made (name look-up included). */
  connecting = false;
  /** Milliseconds that `setTimeout()` was given. */
  timeout: number | undefined = undefined;
  protected _flags = 0;
  private _keepAliveDelay = 0;
  /** @internal What the `tcp` option said; null: nothing. */
  _tcp: SocketTcpOptions | null = null;
  private _timer: StreamTimer | null = null;
  protected _sockname: SocketAddress | null = null;
  protected _peername: SocketAddress | null = null;

  /** @internal The clock of the stack, if it tells. */
  get _clock(): Clock | undefined {
    return undefined;
  }

  // ---- timeout

  /** 'timeout' after `ms` of inactivity; nothing else happens then. 0 turns it off. */
  setTimeout(ms: number, callback?: () => void): this {
    if (this.destroyed) return this;
    this.timeout = ms;
    const delay = validateTimeout(ms, 'msecs');
    this._stopTimer();
    if (callback !== undefined) validateFunction(callback, 'callback');
    if (delay === 0) {
      if (callback !== undefined) this.removeListener('timeout', callback);
      return this;
    }
    this._timer = startTimer<SocketBase>(this._clock, delay, onTimer, this);
    if (callback !== undefined) this.once('timeout', callback);
    return this;
  }

  /** @internal */
  _onTimeout(): void {
    this.emit('timeout');
  }

  protected _stopTimer(): void {
    this._timer?.close();
    this._timer = null;
  }

  /** @internal Something happened on the connection. */
  _refreshTimer(): void {
    if (this._timer !== null) this._timer.refresh();
  }

  // ---- options and figures

  setNoDelay(enable?: boolean): this {
    const on = enable === undefined || Boolean(enable);
    this._flags = on ? this._flags | NO_DELAY : this._flags & ~NO_DELAY;
    this._bsd?.setsockopt(IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
    return this;
  }

  /** @param initialDelay  ms of idleness before the first probe; below 1000 it is left as it was */
  setKeepAlive(enable?: boolean, initialDelay?: number): this {
    this._flags = enable ? this._flags | KEEP_ALIVE : this._flags & ~KEEP_ALIVE;
    this._keepAliveDelay = initialDelay !== undefined && initialDelay > 0 ? Math.trunc(initialDelay / 1000) : 0;
    if (this._bsd !== null) this._applyKeepAlive(this._bsd);
    return this;
  }

  /**
   * Chooses the congestion control by name, now or for when there is a connection. An extension: Node has no such method.
   *
   * @throws ERR_INVALID_ARG_TYPE, ERR_INVALID_ARG_VALUE with the names that there are
   */
  setCongestion(name: string): this {
    validateCongestion(name, 'name');
    this._tcp = { ...this._tcp, congestion: name };
    const result = this._bsd === null ? 0 : applyTcp(this._bsd, this._tcp);
    if (result < 0) throw errnoException(result, 'setsockopt');
    return this;
  }

  /** Hands the options remembered so far to a low-level socket. */
  protected _applyOptions(handle: BsdSocket): void {
    if (this._flags & UNREF) handle.unref();
    if (this._flags & NO_DELAY) handle.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    if (this._flags & KEEP_ALIVE) this._applyKeepAlive(handle);
  }

  private _applyKeepAlive(handle: BsdSocket): void {
    const on = (this._flags & KEEP_ALIVE) !== 0;
    handle.setsockopt(SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
    if (!on) return;
    if (this._keepAliveDelay > 0) handle.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, this._keepAliveDelay);
    handle.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    handle.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
  }

  ref(): this {
    this._flags &= ~UNREF;
    this._bsd?.ref();
    return this;
  }

  /** The process may end though this socket is open. */
  unref(): this {
    this._flags |= UNREF;
    this._bsd?.unref();
    return this;
  }

  /**
   * The state of the connection as `ss -ti` shows Linux's: RTT, windows, retransmissions and more. Null when
   * there is no connection. An extension: Node has no such method.
   */
  tcpInfo(): TcpInfo | null {
    const info = this._bsd?.getsockopt(IPPROTO_TCP, TCP_INFO);
    return typeof info === 'object' ? info : null;
  }

  /** The local end, or {} when there is none. */
  address(): SocketAddress | {} {
    const end = this._localEnd();
    return end === null ? {} : { address: end.address, family: end.family, port: end.port };
  }

  private _localEnd(): SocketAddress | null {
    if (this._bsd === null) return null;
    return this._sockname ??= this._bsd.getsockname();
  }

  private _remoteEnd(): SocketAddress | null {
    if (this._bsd === null || this.connecting) return this._peername;
    return this._peername ??= this._bsd.getpeername();
  }

  get localAddress(): string | undefined {
    return this._localEnd()?.address;
  }

  get localPort(): number | undefined {
    return this._localEnd()?.port;
  }

  get localFamily(): string | undefined {
    return this._localEnd()?.family;
  }

  get remoteAddress(): string | undefined {
    return this._remoteEnd()?.address;
  }

  get remotePort(): number | undefined {
    return this._remoteEnd()?.port;
  }

  get remoteFamily(): string | undefined {
    return this._remoteEnd()?.family;
  }

  /** Whether there is no connection (yet). */
  get pending(): boolean {
    return this._bsd === null || this.connecting;
  }

  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.connecting) return 'opening';
    if (this.readable) return this.writable ? 'open' : 'readOnly';
    return this.writable ? 'writeOnly' : 'closed';
  }

  /** @deprecated `writableLength` */
  get bufferSize(): number {
    // undefined without a connection, as in Node, whose types do not say so
    return this._bsd === null && !this.connecting ? undefined as unknown as number : this.writableLength;
  }

  /** @deprecated `connecting` */
  get _connecting(): boolean {
    return this.connecting;
  }
}
