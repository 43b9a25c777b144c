/**
 * Character generator (RFC 864), on TCP and UDP: the 72-character lines of the RFC's example, turning
 * through the 95 printing ASCII characters, as fast as the peer reads. On UDP one datagram of 0 to 512
 * characters answers each datagram.
 *
 * RFC 864 writes until the user ends the connection; a peer's FIN counts as that.
 */

import { EAGAIN } from '../errno.ts';
import { MSG_TRUNC } from '../socket.ts';
import type { BsdSocket } from '../socket.ts';
import type { RunningService, Service, ServiceHost } from './service.ts';
import type { TcpConnection, TcpListener } from './tcp-listener.ts';
import { startTcpUdp } from './tcp-udp.ts';

/** Printing characters, ' ' to '~'. */
const CHARACTERS = 95;
/** 72 characters, CR, LF. */
const LINE = 74;
/** Bytes after which the pattern begins again. */
export const CHARGEN_PERIOD = CHARACTERS * LINE;

/** The endless text, long enough to be sent from any place of its first period in large pieces. */
const text = makeText(36 * CHARGEN_PERIOD);
/** Takes what the peer sends; nothing is written to it. */
const rest = new Uint8Array(64 * 1024);

function makeText(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const column = i % LINE;
    const line = Math.floor(i / LINE) % CHARACTERS;
    bytes[i] = column === 72 ? 13 : column === 73 ? 10 : 32 + ((line + column) % CHARACTERS);
  }
  return bytes;
}

class ChargenConnection implements TcpConnection {
  readonly socket: BsdSocket;
  readonly #listener: TcpListener;
  /** Place in the pattern, 0 … CHARGEN_PERIOD - 1. */
  #offset = 0;

  constructor(socket: BsdSocket, listener: TcpListener) {
    this.socket = socket;
    this.#listener = listener;
  }

  ready(): void {
    const socket = this.socket;
    let length = 0;
    do length = socket.recv(rest, 0, rest.length, MSG_TRUNC);
    while (length > 0);
    while (length === -EAGAIN) {
      const sent = socket.send(text, this.#offset, text.length - this.#offset);
      if (sent === -EAGAIN) return;
      if (sent < 0) break;
      this.#offset = (this.#offset + sent) % CHARGEN_PERIOD;
    }
    this.#listener.release(this);
  }
}

export const chargen: Service = {
  name: 'chargen',
  defaultPort: 19,
  summary: 'writes as fast as the peer reads (RFC 864; TCP and UDP)',
  start(host: ServiceHost, port: number): RunningService {
    return startTcpUdp(host, 'chargen', port, (socket, listener) => new ChargenConnection(socket, listener),
      (udp, _slab, _offset, _length, remote) => { udp.reply(text, 0, Math.floor(Math.random() * 513), remote); });
  },
};
