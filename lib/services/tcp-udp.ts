/**
 * What the four small services of 1983 (RFC 862, 863, 864, 867) share: the same port on TCP and UDP, a
 * connection object for the one and a function for each datagram of the other.
 */

import { AF_INET6 } from '../socket.ts';
import type { BsdSocket, DatagramRemote, DatagramSocket, UdpProvider } from '../socket.ts';
import type { RunningService, ServiceHost } from './service.ts';
import { TcpListener, listenError } from './tcp-listener.ts';
import type { TcpConnection } from './tcp-listener.ts';

/**
 * Answers a datagram that lies in `slab`; valid during the call. What it returns from `socket.reply()`
 * does not matter: an answer that finds no room is lost, as datagrams are.
 */
export type DatagramHandler = (
  socket: DatagramSocket, slab: Uint8Array, offset: number, length: number, remote: DatagramRemote,
) => void;

/**
 * Two such services that answer each other would never stop (CERT CA-1996-01); so what comes from the
 * port of one of them, or of another that answers everything, is dropped.
 */
function answersEverything(port: number): boolean {
  return port === 7 || port === 13 || port === 17 || port === 19 || port === 37;
}

/** Opens a UDP socket on `port` of all addresses. Throws `ServiceError`. */
export function openUdp(
  host: { readonly udp: UdpProvider }, service: string, port: number, handler: DatagramHandler,
): DatagramSocket {
  const socket = host.udp.socket(AF_INET6);
  if (typeof socket === 'number') throw listenError(service, port, 'UDP', -socket);
  socket.onmessage = (slab, offset, length, remote) => {
    if (!answersEverything(remote.port)) handler(socket, slab, offset, length, remote);
  };
  const result = socket.bind('::', port);
  if (result < 0) {
    socket.close();
    throw listenError(service, port, 'UDP', -result);
  }
  return socket;
}

/** Starts a service on TCP and UDP. Throws `ServiceError`, and then listens on neither. */
export function startTcpUdp(
  host: ServiceHost,
  name: string,
  port: number,
  open: (socket: BsdSocket, listener: TcpListener) => TcpConnection,
  handler: DatagramHandler,
): RunningService {
  const udp = openUdp(host, name, port, handler);
  let tcp: TcpListener;
  try {
    tcp = new TcpListener(host, name, port, open);
  } catch (error) {
    udp.close();
    throw error;
  }
  return {
    name,
    port,
    transports: ['tcp', 'udp'],
    close(graceful = true) {
      tcp.close(graceful);
      udp.close();
    },
  };
}
