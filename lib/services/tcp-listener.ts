/**
 * The accept loop of the services that speak through low-level sockets: one listening socket for
 * IPv4 and IPv6, one small object per connection.
 */

import { EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, ENETDOWN, errnoName } from '../errno.ts';
import {
  AF_INET, AF_INET6, IPPROTO_TCP, SOCK_STREAM, SO_KEEPALIVE, SO_REUSEADDR, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL,
} from '../socket.ts';
import type { BsdSocket, SocketProvider } from '../socket.ts';
import { ServiceError } from './service.ts';

/** A connection of a service. It ends itself with `TcpListener.release()`. */
export interface TcpConnection {
  readonly socket: BsdSocket;
  /** Once after the accept, then whenever the socket's `onready` tells something. */
  ready(): void;
}

const BACKLOG = 511;
/**
 * A peer that goes away without a word (its reset may be lost) leaves a connection on which these services
 * have nothing to send. Probes find that out after two minutes of silence, and then within one.
 */
const KEEPALIVE_IDLE_S = 120;
const KEEPALIVE_INTERVAL_S = 10;
const KEEPALIVE_PROBES = 6;

/** Listens on a port of all addresses and keeps the connections, so that they can be closed together. */
export class TcpListener {
  readonly socket: BsdSocket;
  readonly connections = new Set<TcpConnection>();
  readonly #open: (socket: BsdSocket, listener: TcpListener) => TcpConnection;

  /** `open` makes what handles an accepted socket. */
  constructor(
    provider: SocketProvider,
    service: string,
    port: number,
    open: (socket: BsdSocket, listener: TcpListener) => TcpConnection,
  ) {
    this.#open = open;
    let socket = listen(provider, AF_INET6, '::', port);
    // A stack without IPv6.
    if (socket === -EAFNOSUPPORT || socket === -EADDRNOTAVAIL) socket = listen(provider, AF_INET, '0.0.0.0', port);
    if (typeof socket === 'number') throw listenError(service, port, 'TCP', -socket);
    this.socket = socket;
    socket.onready = () => this.#accept();
    socket.ref();
  }

  #accept(): void {
    for (;;) {
      const socket = this.socket.accept();
      if (typeof socket === 'number') return;
      const connection = this.#open(socket, this);
      this.connections.add(connection);
      socket.onready = () => connection.ready();
      connection.ready();
    }
  }

  /** Forgets a connection and closes its socket; what is buffered is still sent. */
  release(connection: TcpConnection): void {
    if (!this.connections.delete(connection)) return;
    connection.socket.onready = null;
    connection.socket.close();
  }

  /** Stops listening and closes the connections: with FIN when `graceful`, otherwise with a reset. */
  close(graceful: boolean): void {
    this.socket.onready = null;
    this.socket.close();
    for (const connection of this.connections) {
      connection.socket.onready = null;
      if (graceful) connection.socket.close();
      else connection.socket.abort();
    }
    this.connections.clear();
  }
}

function listen(provider: SocketProvider, domain: number, address: string, port: number): BsdSocket | number {
  const socket = provider.socket(domain, SOCK_STREAM, IPPROTO_TCP);
  if (typeof socket === 'number') return socket;
  socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  // Accepted sockets inherit these.
  socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
  socket.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
  socket.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
  socket.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
  let result = socket.bind(address, port);
  if (result === 0) result = socket.listen(BACKLOG);
  if (result === 0) return socket;
  socket.close();
  return result;
}

/** The sentence for a service that cannot listen. */
export function listenError(service: string, port: number, transport: string, errno: number): ServiceError {
  if (errno === EADDRINUSE) {
    return new ServiceError(
      `${service}: ${transport} port ${port} is taken by another service or application of this stack; give another with `
      + `${service}@PORT`,
      'EADDRINUSE',
    );
  }
  if (errno === EACCES) {
    return new ServiceError(
      `${service}: ${transport} port ${port} is for root's applications only; give one from 1024 on with ${service}@PORT, or start `
      + 'the stack with --allow-privileged-ports',
      'EACCES',
    );
  }
  if (errno === ENETDOWN) return new ServiceError(`${service}: the stack is gone`, 'ENETDOWN');
  return new ServiceError(`${service}: cannot listen on ${transport} port ${port} (${errnoName(errno)})`, errnoName(errno));
}
