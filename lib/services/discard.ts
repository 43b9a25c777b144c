/** Discard (RFC 863), on TCP and UDP: drops what it gets. The bytes are taken without being copied. */

import { EAGAIN } from '../errno.ts';
import { MSG_TRUNC } from '../socket.ts';
import type { BsdSocket } from '../socket.ts';
import type { Stack } from '../stack.ts';
import type { RunningService, Service } from './service.ts';
import type { TcpConnection, TcpListener } from './tcp-listener.ts';
import { startTcpUdp } from './tcp-udp.ts';

/** Nothing is written to it: with MSG_TRUNC it only bounds how much one call drops. */
const buffer = new Uint8Array(256 * 1024);

class DiscardConnection implements TcpConnection {
  readonly socket: BsdSocket;
  readonly #listener: TcpListener;

  constructor(socket: BsdSocket, listener: TcpListener) {
    this.socket = socket;
    this.#listener = listener;
  }

  ready(): void {
    let length = 0;
    do length = this.socket.recv(buffer, 0, buffer.length, MSG_TRUNC);
    while (length > 0);
    if (length !== -EAGAIN) this.#listener.release(this);
  }
}

export const discard: Service = {
  name: 'discard',
  defaultPort: 9,
  summary: 'drops what it gets (RFC 863; TCP and UDP)',
  start(stack: Stack, port: number): RunningService {
    return startTcpUdp(stack, 'discard', port, (socket, listener) => new DiscardConnection(socket, listener), () => {});
  },
};
