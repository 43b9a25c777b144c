/**
 * One UDP socket of the host's that TCPU stands on (`node:dgram`), and the ways out of it.
 *
 * `LocalPorts` promises that a call has had its effect when it returns, so binding and connecting must be done
 * then, too. They are, because the look-up that `node:dgram` makes first is replaced by one that answers at once:
 * addresses are literal here.
 *
 * Sending mostly ends inside `send()`: libuv tries the system call at once. Where the system has no room the
 * datagram waits, with the memory that it lies in, and the endpoint is `blocked` until it has left.
 */

import { createSocket } from 'node:dgram';
import type { Socket, SocketOptions } from 'node:dgram';
import { EADDRINUSE, ENETUNREACH } from '../errno.ts';
import type { PortUser } from '../home/local-ports.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { formatAddress, isMapped, MAPPED, parseAddress } from '../wire/address.ts';

type Lookup = NonNullable<SocketOptions['lookup']>;

/** Sizes of the host's socket buffers, bytes; the host may give less (`net.core.rmem_max`). */
export interface EndpointBuffers {
  recvBufferSize: number;
  sendBufferSize: number;
}

/** What an endpoint tells. Never from inside a call to it. */
export interface EndpointUser {
  received(endpoint: UdpEndpoint, datagram: Uint8Array, address: string, port: number): void;
  /** The system's word about something sent: `errno` is positive; `address` is where it went, if that was said. */
  failed(endpoint: UdpEndpoint, errno: number, address: string | null): void;
  /** `blocked` has become false. */
  drained(endpoint: UdpEndpoint): void;
}

/** Where a segment goes: through which socket, to whom. */
export interface UdpPath {
  endpoint: UdpEndpoint;
  /** The peer as the socket names it: an IPv6 socket says `::ffff:a.b.c.d`; may have a zone. */
  address: string;
  port: number;
}

const answerAtOnce: Lookup = (address, _options, answer) => answer(null, address, address.includes(':') ? 6 : 4);

export class UdpEndpoint {
  /** Bound address, words; unspecified when any. An IPv4 address is mapped. */
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
  readonly w3: number;
  readonly port: number;
  /** An IPv6 socket, which names IPv4 peers in mapped form. */
  readonly v6: boolean;
  readonly v6only: boolean;
  /** It takes datagrams from one peer alone. */
  readonly connected: boolean;
  /** A datagram waits in the system's place; nothing more may be sent before `drained`. */
  blocked = false;
  closed = false;
  /** The bound socket of TCP, if it is still there. */
  binder: PortUser | null = null;
  /** Connections on this endpoint, those in TIME-WAIT included. */
  flows = 0;
  /** The one connection that this socket was made for, and connected to its peer. */
  owner: Tcb | null = null;
  /** Times that the peer's host said that nobody is there, since it was last heard of. */
  refusals = 0;
  readonly #socket: Socket;
  readonly #user: EndpointUser;
  readonly #sent: (error: Error | null) => void;

  /** @internal Use `openEndpoint()`. */
  constructor(socket: Socket, user: EndpointUser, v6: boolean, v6only: boolean, connected: boolean) {
    const { address, port } = socket.address();
    const words = parseAddress(address.split('%')[0]!) ?? { w0: 0, w1: 0, w2: v6 ? 0 : MAPPED, w3: 0 };
    this.w0 = words.w0;
    this.w1 = words.w1;
    this.w2 = words.w2;
    this.w3 = words.w3;
    this.port = port;
    this.v6 = v6;
    this.v6only = v6only;
    this.#socket = socket;
    this.#user = user;
    this.connected = connected;
    this.#sent = (error) => this.#onSent(error);
    socket.on('message', (datagram, from) => {
      if (this.closed) return;
      this.refusals = 0;
      user.received(this, datagram, from.address, from.port);
    });
    socket.on('error', (error) => this.#fail(error));
  }

  /** The third word of our address as peers of this IP version see it: any IPv4 address is mapped any. */
  localWord2(v4: boolean): number {
    return v4 ? MAPPED : this.w2;
  }

  /** Sends `length` bytes of `buffer`, which the socket may go on using while `blocked`. */
  send(buffer: Uint8Array, length: number, path: UdpPath): void {
    const socket = this.#socket;
    if (this.connected) socket.send(buffer, 0, length, this.#sent);
    else socket.send(buffer, 0, length, path.port, path.address, this.#sent);
    if (socket.getSendQueueCount() > 0) this.blocked = true;
  }

  #onSent(error: Error | null): void {
    if (this.closed) return;
    if (error !== null) this.#fail(error);
    if (this.blocked && !this.closed && this.#socket.getSendQueueCount() === 0) {
      this.blocked = false;
      this.#user.drained(this);
    }
  }

  #fail(error: Error): void {
    if (this.closed) return;
    const { errno, address } = error as NodeJS.ErrnoException & { address?: string };
    this.#user.failed(this, Math.abs(errno ?? 0), address ?? null);
  }

  ref(): void {
    if (!this.closed) this.#socket.ref();
  }

  unref(): void {
    if (!this.closed) this.#socket.unref();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#socket.close();
  }

  /** Bytes that the system's receive buffer holds, its own overhead included. */
  get recvBufferSize(): number {
    return this.#socket.getRecvBufferSize();
  }
}

/** An address as a socket of this kind wants to have it. */
export function addressText(v6: boolean, w0: number, w1: number, w2: number, w3: number): string {
  const text = formatAddress(w0, w1, w2, w3);
  return v6 && isMapped(w0, w1, w2) ? `::ffff:${text}` : text;
}

export interface EndpointOptions {
  v6: boolean;
  v6only: boolean;
  /** '' is any. */
  address: string;
  port: number;
  /** Connects the socket: it takes datagrams from this peer alone, and hears when nobody is there. */
  peer?: { address: string; port: number };
  buffers: EndpointBuffers;
}

/** Opens a socket that is bound, and connected if a peer is given, when this returns; or a negative errno. */
export function openEndpoint(user: EndpointUser, options: EndpointOptions): UdpEndpoint | number {
  const { v6, v6only, address, port, peer, buffers } = options;
  const socket = createSocket({ type: v6 ? 'udp6' : 'udp4', ipv6Only: v6only, lookup: answerAtOnce, ...buffers });
  let errno = 0;
  const note = (error: NodeJS.ErrnoException): void => {
    errno = -Math.abs(error.errno ?? EADDRINUSE);
  };
  socket.on('error', note);
  let bound = false;
  socket.once('listening', () => {
    bound = true;
  });
  // `exclusive`: in a worker of a cluster as everywhere else.
  socket.bind({ address: address === '' ? (v6 ? '::' : '0.0.0.0') : address, port, exclusive: true });
  if (bound && peer !== undefined) {
    socket.connect(peer.port, peer.address);
    try {
      socket.remoteAddress();
    } catch {
      // What the system said comes with 'error', too late for the caller.
      bound = false;
      errno = -ENETUNREACH;
    }
  }
  if (!bound) {
    socket.close();
    return errno === 0 ? -EADDRINUSE : errno;
  }
  socket.unref();
  const endpoint = new UdpEndpoint(socket, user, v6, v6only, peer !== undefined);
  socket.removeListener('error', note);
  return endpoint;
}
