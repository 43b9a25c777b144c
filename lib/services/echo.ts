/**
 * Echo (RFC 862), on TCP and UDP.
 *
 * TCP keeps no bytes of its own: what lies in the receive buffer is looked at (MSG_PEEK), handed to
 * the send buffer as far as that has room, and only then taken. A peer that does not read therefore
 * closes its own window, and memory stays bounded by the two socket buffers. After the peer's FIN what
 * is left is sent, then ours follows.
 */

import { EAGAIN } from '../errno.ts';
import { MSG_PEEK, MSG_TRUNC } from '../socket.ts';
import type { BsdSocket } from '../socket.ts';
import type { RunningService, Service, ServiceHost } from './service.ts';
import type { TcpConnection, TcpListener } from './tcp-listener.ts';
import { startTcpUdp } from './tcp-udp.ts';

/** Shared by all connections: nothing stays in it between two calls. */
const buffer = new Uint8Array(256 * 1024);

class EchoConnection implements TcpConnection {
  readonly socket: BsdSocket;
  readonly #listener: TcpListener;

  constructor(socket: BsdSocket, listener: TcpListener) {
    this.socket = socket;
    this.#listener = listener;
  }

  ready(): void {
    const socket = this.socket;
    for (;;) {
      // At least one byte, so that a full send buffer says EAGAIN and POLLOUT is told later.
      const limit = Math.min(Math.max(socket.writable, 1), buffer.length);
      const length = socket.recv(buffer, 0, limit, MSG_PEEK);
      if (length <= 0) {
        if (length !== -EAGAIN) this.#listener.release(this);
        return;
      }
      const sent = socket.send(buffer, 0, length);
      if (sent < 0) {
        if (sent !== -EAGAIN) this.#listener.release(this);
        return;
      }
      socket.recv(buffer, 0, sent, MSG_TRUNC);
    }
  }
}

export const echo: Service = {
  name: 'echo',
  defaultPort: 7,
  summary: 'sends back what it gets (RFC 862; TCP and UDP)',
  start(host: ServiceHost, port: number): RunningService {
    return startTcpUdp(host, 'echo', port, (socket, listener) => new EchoConnection(socket, listener),
      (udp, slab, offset, length, remote) => { udp.reply(slab, offset, length, remote); });
  },
};
