/** TCPU over UDP, put together with the APIs on top: `tcpuOverUdp()`. */

import { createNet } from './net/net.ts';
import type { Net } from './net/net.ts';
import type { SocketProvider } from './socket.ts';
import { UdpTcpu } from './tcpu/udp-tcpu.ts';
import type { UdpTcpuOptions } from './tcpu/udp-tcpu.ts';

/** TCP of this program's own, over UDP sockets of the host. */
export class OverUdp extends UdpTcpu implements SocketProvider {
  /** `node:net` on it. Local addresses of accepted connections are those that the server is bound to. */
  readonly net: Net = createNet(this);
}

/**
 * The same TCP as everywhere in this package, over datagrams of the host's UDP sockets: between two programs that
 * both do so, across any network that carries UDP, without a TUN device or privileges. A port is a UDP port.
 *
 * ```js
 * const { net } = tcpuOverUdp();
 * net.createServer((socket) => socket.pipe(socket)).listen(7000);
 * ```
 *
 * @throws RangeError that names the bad option
 */
export function tcpuOverUdp(options: UdpTcpuOptions = {}): OverUdp {
  return new OverUdp(options);
}
