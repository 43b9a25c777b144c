/**
 * Package entry. Three ways in:
 *
 * - **A stack of one's own**: make a link (`openTun`, `createMemoryPair`, `PacketLink`, or an object of your own that
 *   is a `Link`), put a stack on it (`createStack`), and use `stack.net`, `stack.dgram`, or the low-level
 *   `stack.socket()`.
 * - **An application of a running stack** (`tcpu up`, or `stack.listen()`): `attach()` gives the same APIs, with a TCP in
 *   this process (TCPU) or the stack's. The calls of the report, `socket_tcpu` and its like, are on top of it.
 * - **No stack**: `tcpuOverUdp()`, the same TCP over the host's UDP sockets.
 *
 * ```js
 * import { createStack, openTun } from 'tcpu';
 *
 * const link = openTun({ name: 'tcpu0', hostAddresses: ['10.90.0.1/24'] });
 * const stack = createStack({ link, addresses: ['10.90.0.2/24'] });
 * stack.net.createServer((socket) => socket.pipe(socket)).listen(7);
 * ```
 *
 * ```js
 * import { attach } from 'tcpu';
 *
 * const { net } = await attach();
 * net.createServer((socket) => socket.pipe(socket)).listen(7);
 * ```
 */

export { createStack, Stack } from './stack.ts';
export type {
  ApplicationOptions, CloseOptions, ConnectionInfo, ListenForApplications, RouteOptions, StackCounters, StackEvents, StackOptions,
} from './stack.ts';

export { attach, Attachment } from './attach.ts';
export type { AttachmentEvents, AttachOptions, OwnAttachment, ThreadAttachment } from './attach.ts';
export { AttachError, queryStack } from './channel/process-channel.ts';
export { defaultSocketPath } from './channel/control.ts';
export type { ControlQuery } from './channel/control.ts';
export { DEFAULT_WINDOW } from './channel/window.ts';
export type { WindowSizes } from './channel/window.ts';
export { AttachServerError } from './tcpk/attach-server.ts';
export type { AttachServer } from './tcpk/attach-server.ts';
export type { ApplicationSurvey, ConnectionOwner, OwnedConnection } from './tcpk/survey.ts';

export { SystemClock, VirtualClock } from './clock.ts';
export type { Alarm, Clock } from './clock.ts';
export { SeededRandom, SystemRandom } from './random.ts';
export type { Random } from './random.ts';

export * from './link/link.ts';
export { PacketMemory } from './buffer/packet-memory.ts';
export * from './buffer/transmit-queue.ts';
export { openTun, Tun } from './link/tun.ts';
export type { TunOptions } from './link/tun.ts';
export { TunError } from './link/tun-error.ts';
export { NativeError } from './link/native.ts';
export { createMemoryPair } from './link/memory-pair.ts';
export type { MemoryPairOptions } from './link/memory-pair.ts';
export { PacketLink } from './link/packet-link.ts';
export type { PacketLinkOptions } from './link/packet-link.ts';
export { LinkMiddleware } from './link/middleware.ts';
export { capture } from './link/capture.ts';
export type { CaptureOptions } from './link/capture.ts';
export { impair } from './link/impair.ts';
export type { ImpairOptions } from './link/impair.ts';
export { trace } from './link/trace.ts';

export * as constants from './socket.ts';
export * as errno from './errno.ts';
export type { BsdSocket, SocketAddress, SocketProvider, TcpInfo } from './socket.ts';
export type { IpLimits, Limits, TcpLimits, UdpLimits } from './limits.ts';
export type { TcpOptions } from './tcp/config.ts';
export type { UdpSocket } from './kernel/udp-socket.ts';
export { createNet } from './net/net.ts';
export type { ConnectOptions, ListenOptions, Net, Server, ServerOptions, Socket, SocketTcpOptions } from './net/net.ts';
export type { Dgram } from './net/dgram.ts';
export { ping } from './net/ping.ts';
export type { PingOptions, PingResult } from './net/ping.ts';

export * from './api.ts';
export { OverUdp, tcpuOverUdp } from './over-udp.ts';
export type { UdpTcpuCounters, UdpTcpuOptions } from './tcpu/udp-tcpu.ts';
