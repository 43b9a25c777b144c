/**
 * Low-level sockets on the host's own TCP (node:net on loopback), so that services can be tested without
 * a device and without the stack's TCP. Enough of `BsdSocket` for the services, no more.
 */

import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { EAGAIN, ECONNRESET, EINVAL, EPIPE } from '../../lib/errno.ts';
import {
  IPPROTO_TCP, MSG_PEEK, MSG_TRUNC, POLLIN, POLLOUT, TCP_CONGESTION, TCP_INFO,
} from '../../lib/socket.ts';
import type { BsdSocket, SocketAddress, SocketProvider, TcpInfo } from '../../lib/socket.ts';

const SEND_BUFFER = 256 * 1024;
const RECEIVE_BUFFER = 1024 * 1024;

/** Ports that were asked for lead to the ports that the host gave. */
export class HostSockets implements SocketProvider {
  readonly ports = new Map<number, number>();
  readonly open = new Set<HostSocket>();
  /** Options that were set, by level and number. */
  readonly options = new Map<string, number | string>();
  #waiting: (() => void)[] = [];

  socket(): BsdSocket {
    return new HostSocket(this, null);
  }

  listening(asked: number, got: number): void {
    this.ports.set(asked, got);
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** The host's port for a port that a service listens on. */
  async port(asked: number): Promise<number> {
    while (!this.ports.has(asked)) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.ports.get(asked)!;
  }
}

export class HostSocket implements BsdSocket {
  onready: ((events: number) => void) | null = null;
  readonly #provider: HostSockets;
  readonly #socket: Socket | null;
  #server: Server | null = null;
  #port = 0;
  readonly #accepted: HostSocket[] = [];
  #pieces: Buffer[] = [];
  available = 0;
  #ended = false;
  #error = 0;
  #closed = false;

  constructor(provider: HostSockets, socket: Socket | null) {
    this.#provider = provider;
    this.#socket = socket;
    if (socket === null) return;
    provider.open.add(this);
    socket.on('data', (piece: Buffer) => {
      this.#pieces.push(piece);
      this.available += piece.length;
      if (this.available > RECEIVE_BUFFER) socket.pause();
      this.onready?.(POLLIN);
    });
    socket.on('end', () => {
      this.#ended = true;
      this.onready?.(POLLIN);
    });
    socket.on('drain', () => this.onready?.(POLLOUT));
    socket.on('error', () => {
      this.#error = ECONNRESET;
      this.onready?.(POLLIN);
    });
    socket.on('close', () => provider.open.delete(this));
  }

  bind(_address: string, port: number): number {
    this.#port = port;
    return 0;
  }

  listen(): number {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#accepted.push(new HostSocket(this.#provider, socket));
      this.onready?.(POLLIN);
    });
    this.#server = server;
    server.listen(0, '127.0.0.1', () => this.#provider.listening(this.#port, (server.address() as { port: number }).port));
    return 0;
  }

  accept(): BsdSocket | number {
    return this.#accepted.shift() ?? -EAGAIN;
  }

  connect(): number {
    return -EINVAL;
  }

  get writable(): number {
    return Math.max(SEND_BUFFER - this.#socket!.writableLength, 0);
  }

  send(from: Uint8Array, offset: number, length: number): number {
    if (this.#error !== 0) return -this.#error;
    if (this.#socket!.writableEnded || this.#socket!.destroyed) return -EPIPE;
    const n = Math.min(length, this.writable);
    if (n === 0) return -EAGAIN;
    this.#socket!.write(Buffer.from(from.subarray(offset, offset + n)));
    return n;
  }

  recv(to: Uint8Array, offset: number, length: number, flags = 0): number {
    if (this.available === 0) {
      if (this.#error !== 0) return -this.#error;
      return this.#ended ? 0 : -EAGAIN;
    }
    let copied = 0;
    let index = 0;
    while (copied < length && index < this.#pieces.length) {
      const piece = this.#pieces[index]!;
      const n = Math.min(piece.length, length - copied);
      if ((flags & MSG_TRUNC) === 0) to.set(piece.subarray(0, n), offset + copied);
      copied += n;
      if ((flags & MSG_PEEK) !== 0) index++;
      else if (n === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(n);
    }
    if ((flags & MSG_PEEK) === 0) {
      this.available -= copied;
      if (this.available <= RECEIVE_BUFFER) this.#socket!.resume();
    }
    return copied;
  }

  shutdown(): number {
    this.#socket!.end();
    return 0;
  }

  getsockopt(level: number, option: number): number | string | TcpInfo {
    if (level === IPPROTO_TCP && option === TCP_CONGESTION) return 'cubic';
    if (level === IPPROTO_TCP && option === TCP_INFO) return { retransSegs: 0 } as TcpInfo;
    return -EINVAL;
  }

  setsockopt(level: number, option: number, value: number | string): number {
    this.#provider.options.set(`${level} ${option}`, value);
    return level === IPPROTO_TCP && option === TCP_CONGESTION && value !== 'cubic' ? -EINVAL : 0;
  }

  getsockname(): SocketAddress | null {
    return { address: this.#socket?.localAddress ?? '::', port: this.#socket?.localPort ?? this.#port, family: 'IPv4' };
  }

  getpeername(): SocketAddress | null {
    return { address: this.#socket?.remoteAddress ?? '', port: this.#socket?.remotePort ?? 0, family: 'IPv4' };
  }

  poll(): number {
    return POLLIN | POLLOUT;
  }

  close(): number {
    if (this.#closed) return 0;
    this.#closed = true;
    this.#server?.close();
    if (this.#socket !== null) {
      if (this.available > 0) this.#socket.resetAndDestroy();
      else {
        this.#socket.end();
        this.#socket.resume();
      }
    }
    return 0;
  }

  abort(): number {
    this.#closed = true;
    this.#server?.close();
    this.#socket?.resetAndDestroy();
    return 0;
  }

  ref(): void {}

  unref(): void {}
}
