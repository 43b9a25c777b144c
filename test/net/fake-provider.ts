/**
 * Low-level sockets without a stack: pairs of bounded buffers in memory, for tests of the stream API alone. Readiness
 * comes asynchronously (check phase), or, with `synchronous`, in the middle of the call that causes it, as it does
 * between two stacks over a link without delay. `127.0.0.0/8`, `::1` and `::` are local; nothing else is.
 */

import {
  EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ECONNREFUSED, ECONNRESET, EINPROGRESS, EINVAL, ENETUNREACH, ENOTCONN, EPIPE, EPROTONOSUPPORT,
} from '../../lib/errno.ts';
import {
  AF_INET6, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, SHUT_WR, SOCK_STREAM, SOL_SOCKET, SO_ERROR,
} from '../../lib/socket.ts';
import type { BsdSocket, SocketAddress, SocketProvider, TcpInfo } from '../../lib/socket.ts';

const BUFFER = 65536;

function isLocal(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

export class FakeProvider implements SocketProvider {
  readonly listeners = new Map<number, FakeSocket[]>();
  /** Addresses that never answer. */
  readonly silent = new Set<string>();
  /** Sockets that are open. */
  open = 0;
  nextPort = 40000;
  readonly synchronous: boolean;

  constructor(synchronous = false) {
    this.synchronous = synchronous;
  }

  socket(domain: number, type: number): BsdSocket | number {
    return type === SOCK_STREAM ? new FakeSocket(this, domain === AF_INET6 ? 'IPv6' : 'IPv4') : -EPROTONOSUPPORT;
  }
}

export class FakeSocket implements BsdSocket {
  onready: ((events: number) => void) | null = null;
  readonly options = new Map<string, number | string>();
  readonly #provider: FakeProvider;
  readonly #family: 'IPv4' | 'IPv6';
  #local: SocketAddress | null = null;
  #remote: SocketAddress | null = null;
  #peer: FakeSocket | null = null;
  #queue: FakeSocket[] | null = null;
  #received: Buffer[] = [];
  #available = 0;
  #eof = false;
  #shut = false;
  #connecting = false;
  #wantsOut = false;
  #error = 0;
  #reset = false;
  #closed = false;

  constructor(provider: FakeProvider, family: 'IPv4' | 'IPv6') {
    this.#provider = provider;
    this.#family = family;
    provider.open++;
  }

  get available(): number {
    return this.#available;
  }

  get writable(): number {
    return this.#peer === null ? 0 : Math.max(BUFFER - this.#peer.#available, 0);
  }

  #tell(events: number): void {
    const fire = (): void => {
      if (!this.#closed) this.onready?.(events);
    };
    if (this.#provider.synchronous) fire();
    else setImmediate(fire);
  }

  bind(address: string, port: number): number {
    if (this.#local !== null) return -EINVAL;
    if (!isLocal(address) && address !== '0.0.0.0' && address !== '::') return -EADDRNOTAVAIL;
    if (port !== 0 && this.#provider.listeners.get(port)?.some((other) => this.#clashes(other, address))) return -EADDRINUSE;
    this.#local = { address, port: port || this.#provider.nextPort++, family: this.#family };
    return 0;
  }

  #clashes(other: FakeSocket, address: string): boolean {
    const theirs = other.#local!.address;
    return theirs === address || [theirs, address].some((a) => a === '::' || a === '0.0.0.0');
  }

  listen(): number {
    if (this.#local === null) return -EINVAL;
    this.#queue = [];
    const { listeners } = this.#provider;
    listeners.set(this.#local.port, [...listeners.get(this.#local.port) ?? [], this]);
    return 0;
  }

  accept(): BsdSocket | number {
    if (this.#queue === null) return -EINVAL;
    return this.#queue.shift() ?? -EAGAIN;
  }

  connect(address: string, port: number): number {
    if (this.#provider.silent.has(address)) {
      this.#connecting = true;
      return -EINPROGRESS;
    }
    if (!isLocal(address)) return -ENETUNREACH;
    this.#connecting = true;
    this.#local ??= { address, port: this.#provider.nextPort++, family: this.#family };
    if (this.#local.address === '0.0.0.0' || this.#local.address === '::') this.#local = { ...this.#local, address };
    const listener = this.#provider.listeners.get(port)?.find((l) => [address, '0.0.0.0', '::'].includes(l.#local!.address));
    if (listener === undefined) {
      this.#error = ECONNREFUSED;
      this.#tell(POLLERR | POLLHUP | POLLIN | POLLOUT);
      return -EINPROGRESS;
    }
    const mapped = (end: SocketAddress): SocketAddress => {
      return listener.#family === end.family ? end : { ...end, address: `::ffff:${end.address}`, family: 'IPv6' };
    };
    this.#remote = { address, port, family: this.#family };
    const peer = new FakeSocket(this.#provider, listener.#family);
    peer.#local = mapped(this.#remote);
    peer.#remote = mapped(this.#local);
    peer.#peer = this;
    this.#peer = peer;
    this.#connecting = false;
    listener.#queue!.push(peer);
    listener.#tell(POLLIN);
    this.#tell(POLLOUT);
    return -EINPROGRESS;
  }

  #failure(): number {
    const error = this.#error;
    this.#error = 0;
    return -error;
  }

  send(from: Uint8Array, offset: number, length: number): number {
    if (this.#error !== 0) return this.#failure();
    if (this.#shut || this.#reset) return -EPIPE;
    if (this.#peer === null) return this.#connecting ? -EAGAIN : -ENOTCONN;
    const n = Math.min(this.writable, length);
    if (n < length) this.#wantsOut = true;
    if (n === 0) return length === 0 ? 0 : -EAGAIN;
    this.#peer.#take(Buffer.from(from.subarray(offset, offset + n)));
    return n;
  }

  #take(bytes: Buffer): void {
    if (this.#closed) {
      const peer = this.#peer;
      if (peer !== null) peer.#onReset();
      return;
    }
    this.#received.push(bytes);
    this.#available += bytes.length;
    this.#tell(POLLIN);
  }

  #onReset(): void {
    if (this.#reset || this.#closed) return;
    this.#reset = true;
    this.#error = this.#eof && !this.#shut ? EPIPE : ECONNRESET;
    this.#eof = true;
    this.#tell(POLLIN | POLLERR | POLLHUP | POLLRDHUP);
  }

  recv(to: Uint8Array, offset: number, length: number): number {
    let n = 0;
    while (n < length && this.#received.length > 0) {
      const first = this.#received[0]!;
      const part = first.copy(to, offset + n, 0, length - n);
      n += part;
      if (part === first.length) this.#received.shift();
      else this.#received[0] = first.subarray(part);
    }
    this.#available -= n;
    const peer = this.#peer;
    if (n > 0) {
      if (peer !== null && peer.#wantsOut && peer.writable >= BUFFER / 2) {
        peer.#wantsOut = false;
        peer.#tell(POLLOUT);
      }
      return n;
    }
    if (this.#error !== 0) return this.#failure();
    if (this.#eof) return 0;
    return this.#peer === null && !this.#connecting ? -ENOTCONN : -EAGAIN;
  }

  shutdown(how: number): number {
    if (this.#peer === null || this.#reset) return -ENOTCONN;
    if (how >= SHUT_WR && !this.#shut) {
      this.#shut = true;
      this.#peer.#onEof();
    }
    return 0;
  }

  #onEof(): void {
    if (this.#closed) return;
    this.#eof = true;
    this.#tell(POLLIN | POLLRDHUP);
  }

  getsockopt(level: number, option: number): number | string | TcpInfo {
    if (level === SOL_SOCKET && option === SO_ERROR) return -this.#failure();
    return this.options.get(`${level}/${option}`) ?? 0;
  }

  setsockopt(level: number, option: number, value: number | string): number {
    this.options.set(`${level}/${option}`, value);
    return 0;
  }

  getsockname(): SocketAddress | null {
    return this.#local;
  }

  getpeername(): SocketAddress | null {
    return this.#remote;
  }

  poll(): number {
    const readable = this.#available > 0 || this.#eof;
    return (readable ? POLLIN : 0) | (this.writable > 0 ? POLLOUT : 0) | (this.#error !== 0 ? POLLERR : 0);
  }

  close(): number {
    if (this.#closed) return 0;
    const unread = this.#available > 0;
    if (!unread) this.shutdown(SHUT_WR);
    this.#letGo();
    if (unread && this.#peer !== null) this.#peer.#onReset();
    return 0;
  }

  abort(): number {
    if (this.#closed) return 0;
    this.#letGo();
    if (this.#peer !== null) this.#peer.#onReset();
    return 0;
  }

  #letGo(): void {
    this.#closed = true;
    this.#provider.open--;
    if (this.#queue === null) return;
    const { listeners } = this.#provider;
    listeners.set(this.#local!.port, listeners.get(this.#local!.port)!.filter((other) => other !== this));
    for (const waiting of this.#queue) waiting.abort();
  }

  ref(): void {}
  unref(): void {}
}
