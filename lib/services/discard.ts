/** Discard (RFC 863), on TCP and UDP: reads what it gets, as any application would, and drops it. */

import { EAGAIN } from '../errno.ts';
import type { BsdSocket } from '../socket.ts';
import type { RunningService, Service, ServiceHost } from './service.ts';
import type { TcpConnection, TcpListener } from './tcp-listener.ts';
import { startTcpUdp } from './tcp-udp.ts';

/** Shared by all connections: nobody looks into it. */
const buffer = new Uint8Array(64 * 1024);

class DiscardConnection implements TcpConnection {
  readonly socket: BsdSocket;
  readonly #listener: TcpListener;

  constructor(socket: BsdSocket, listener: TcpListener) {
    this.socket = socket;
    this.#listener = listener;
  }

  ready(): void {
    let length = 0;
    do length = this.socket.recv(buffer, 0, buffer.length);
    while (length > 0);
    if (length !== -EAGAIN) this.#listener.release(this);
  }
}

export const discard: Service = {
  name: 'discard',
  defaultPort: 9,
  summary: 'drops what it gets (RFC 863; TCP and UDP)',
  start(host: ServiceHost, port: number): RunningService {
    return startTcpUdp(host, 'discard', port, (socket, listener) => new DiscardConnection(socket, listener), () => {});
  },
};
