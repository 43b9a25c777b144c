/** Daytime (RFC 867), on TCP and UDP: the time of day as one line, in the first form the RFC shows. */

import { MSG_TRUNC } from '../socket.ts';
import type { BsdSocket } from '../socket.ts';
import type { RunningService, Service, ServiceHost } from './service.ts';
import type { TcpConnection, TcpListener } from './tcp-listener.ts';
import { startTcpUdp } from './tcp-udp.ts';

const date = new Intl.DateTimeFormat('en-US', {
  weekday: 'long', month: 'long', day: 'numeric', year: 'numeric', timeZone: 'UTC',
});
const time = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZone: 'UTC',
});
const rest = new Uint8Array(64 * 1024);

/** `Weekday, Month Day, Year Time-Zone` and CR LF, as `Tuesday, February 22, 1982 17:37:43-UTC`. */
export function daytimeLine(now: Date): Uint8Array {
  return Buffer.from(`${date.format(now)} ${time.format(now)}-UTC\r\n`, 'latin1');
}

class DaytimeConnection implements TcpConnection {
  readonly socket: BsdSocket;
  readonly #listener: TcpListener;

  constructor(socket: BsdSocket, listener: TcpListener) {
    this.socket = socket;
    this.#listener = listener;
  }

  ready(): void {
    const line = daytimeLine(new Date());
    this.socket.send(line, 0, line.length);
    // "Any data received is thrown away": otherwise closing would reset the connection.
    while (this.socket.recv(rest, 0, rest.length, MSG_TRUNC) > 0);
    this.#listener.release(this);
  }
}

export const daytime: Service = {
  name: 'daytime',
  defaultPort: 13,
  summary: 'says what time it is and closes (RFC 867; TCP and UDP)',
  start(host: ServiceHost, port: number): RunningService {
    return startTcpUdp(host, 'daytime', port, (socket, listener) => new DaytimeConnection(socket, listener),
      (udp, _slab, _offset, _length, remote) => {
        const line = daytimeLine(new Date());
        udp.reply(line, 0, line.length, remote);
      });
  },
};
