/**
 * The interface of the report (3.2), under its own names. TCPU is a library in the application's process; these are
 * its calls. They are asynchronous where the report's block: each returns a promise of what it returned there.
 *
 * ```js
 * const s = await socket_tcpu(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
 * await connect_tcpu(s, { address: '10.90.0.1', port: 7 });
 * await send_tcpu(s, Buffer.from('hello'), 5, TF_NODELAY);
 * const buffer = Buffer.alloc(1500);
 * const n = await recv_tcpu(s, buffer, buffer.length);
 * await close_tcpu(s);
 * ```
 *
 * Errors are those of Node's for the system: `code` ('ECONNREFUSED'), `errno` (negative), `syscall`
 * ('connect_tcpu'). Every call can fail with EBADF (no such descriptor) and ENETDOWN (the stack has gone); waits
 * that `close_tcpu` cuts short, with ECANCELED.
 *
 * Which stack TCPK is in is a matter of the process: `tcpu_attach()` says so, or the environment variable
 * TCPU_SOCKET, the path of a stack's control socket; without either it is the default path of `attach()`.
 *
 * Not in the report, but needed: `tcpu_attach`, `tcpu_detach`, `getsockname_tcpu`, `getpeername_tcpu`,
 * `setsockopt_tcpu`, `getsockopt_tcpu`.
 */

import { attach } from './attach.ts';
import type { Attachment, AttachOptions } from './attach.ts';
import { SystemClock } from './clock.ts';
import { OverUdp } from './over-udp.ts';
import type { SocketAddress, SocketProvider, TcpInfo } from './socket.ts';
import type { UdpTcpuOptions } from './tcpu/udp-tcpu.ts';
import { UserRequests } from './tcpu/usrreq.ts';
import type { SockAddr } from './tcpu/usrreq.ts';

export { IPPROTO_TCPK, TF_NODELAY } from './tcpu/usrreq.ts';
export type { SockAddr, TcpuError } from './tcpu/usrreq.ts';
export {
  AF_INET, AF_INET6, IPPROTO_UDP, MSG_MORE, MSG_OOB, MSG_PEEK, MSG_TRUNC, SO_RCVTIMEO, SOCK_STREAM, SOL_SOCKET,
} from './socket.ts';

let tcpk: Promise<SocketProvider> | null = null;
/** What `tcpk` is when it was opened here, and so is closed here. */
let opened: Promise<Attachment> | null = null;
let udp: OverUdp | null = null;

const requests = new UserRequests({
  clock: new SystemClock(),
  tcpk: () => tcpk ?? open({}),
  udp: () => udp ??= new OverUdp(),
});

function open(options: AttachOptions): Promise<SocketProvider> {
  const attaching = new Promise<Attachment>((resolve) => resolve(attach(options)));
  const forget = (): void => {
    if (opened !== attaching) return;
    opened = null;
    tcpk = null;
  };
  opened = attaching;
  tcpk = attaching;
  // The next socket tries again.
  attaching.then((attachment) => attachment.once('close', forget), forget);
  return attaching;
}

/**
 * Says which stack `IPPROTO_TCPK` means in this process, from the next `socket_tcpu` on; sockets that exist stay
 * where they are.
 *
 * @param to  an attachment, or anything else that gives low-level TCP sockets; or options for `attach()`
 * @returns where sockets will come from
 * @throws what `attach()` throws
 */
export async function tcpu_attach(to: SocketProvider | AttachOptions = {}): Promise<SocketProvider> {
  await tcpu_detach();
  if (typeof to.socket !== 'function') return open(to as AttachOptions);
  tcpk = Promise.resolve(to as SocketProvider);
  return tcpk;
}

/** Forgets the stack; leaves it, too, when it was not an attachment of yours. Its sockets end as `Attachment.close` says. */
export async function tcpu_detach(): Promise<void> {
  const attaching = opened;
  opened = null;
  tcpk = null;
  const attachment = await attaching?.catch(() => null);
  await attachment?.close();
}

/** Options of TCPU over UDP, before its first socket. @throws RangeError that names the bad one; Error when it is too late */
export function tcpu_over_udp(options: UdpTcpuOptions): OverUdp {
  if (udp !== null) throw new Error('TCPU over UDP is in use already');
  udp = new OverUdp(options);
  return udp;
}

/**
 * Opens a socket.
 *
 * The report: creates a TCB and two buffers, and opens a socket to TCPK; only AF_INET and SOCK_STREAM; "to select
 * the TCPK protocol below TCPU, TCPK is required as the protocol parameter, otherwise, UDP is used". Here: also
 * AF_INET6; buffers take memory only while something is in them.
 *
 * @param domain    AF_INET or AF_INET6; else EAFNOSUPPORT
 * @param type      SOCK_STREAM; else EPROTONOSUPPORT
 * @param protocol  IPPROTO_TCPK, or anything else for TCPU over UDP
 * @returns the lowest descriptor that is free, 3 or more. It is none of the system's.
 */
export function socket_tcpu(domain: number, type: number, protocol: number): Promise<number> {
  return requests.socket(domain, type, protocol);
}

/**
 * Binds the socket to an address and port of its own, in TCPU and TCPK. Port 0 picks one: `getsockname_tcpu`.
 * Errors: EADDRINUSE, EADDRNOTAVAIL, EACCES (privileged ports), EINVAL, EAFNOSUPPORT.
 *
 * @param addrlen  not needed
 * @returns 0
 */
export function bind_tcpu(socket: number, addr: SockAddr, _addrlen?: number): Promise<number> {
  return requests.bind(socket, addr);
}

/**
 * Waits for the next connection to the socket's port: listen(2), the first time, and accept(2).
 *
 * The report: `socket` itself becomes the connection, so that a server serves one. Here it goes on listening (128
 * connections may wait), and the connection is a new descriptor; several calls may wait at once, and are served in
 * turn. `close_tcpu(socket)` ends the listening, and calls that wait with ECANCELED.
 *
 * @param addr  an object that is filled in with the peer's `address`, `port` and `family`
 * @returns the connection's descriptor
 */
export function accept_tcpu(socket: number, addr?: Partial<SocketAddress> | null, _addrlen?: number): Promise<number> {
  return requests.accept(socket, addr);
}

/**
 * Opens a connection; settled when it is established or has failed. Errors: ECONNREFUSED, ETIMEDOUT, ENETUNREACH,
 * EHOSTUNREACH, EADDRNOTAVAIL, EISCONN, EALREADY …, with `address` and `port`. After a failure it may be tried again.
 *
 * @returns 0
 */
export function connect_tcpu(socket: number, addr: SockAddr, _addrlen?: number): Promise<number> {
  return requests.connect(socket, addr);
}

/**
 * Sends a message: figure 4. As much as there is room for goes into the retransmission buffer, and from there onto
 * the network; while the message is not wholly stored, acknowledgments are waited for. The buffer must stay as it is
 * until then. Messages of several calls follow each other whole.
 *
 * The report: TF_NODELAY "must be set to send short messages", which otherwise may wait for one of the next calls
 * for an indefinite time. Here: without the flag Nagle's algorithm holds (RFC 9293 3.7.4, in Minshall's form), and
 * a short message waits at most until the one before it is acknowledged; with it the message, and what is before
 * it, leaves as soon as the windows let it. MSG_MORE is the report's collecting: a part of a segment waits for
 * more, up to 200 ms. Errors: EPIPE (not connected, or closed), ECONNRESET, ETIMEDOUT …
 *
 * @param length  bytes of the message, from the buffer's beginning
 * @param flags   TF_NODELAY, MSG_MORE, MSG_OOB
 * @returns the number of bytes sent, which is `length`
 */
export function send_tcpu(socket: number, buffer: Uint8Array, length: number = buffer?.length, flags = 0): Promise<number> {
  return requests.send(socket, buffer, length, flags);
}

/**
 * Receives: figure 5. What is there is returned at once, else the call waits: predicted segments (in order, nothing
 * unusual) that come in then are copied from where they arrived into `buffer`, once (3.1.2, 4.1). What finds no room
 * in it is stored for the next call. Several calls may wait, and their buffers are filled in turn: so there is one also
 * for what comes before the program has taken notice of the last. (Counters: RcvDirectBytes, RcvBufferedBytes.)
 *
 * The report: returns 0 "if no data are received within a certain interval", and must not be used while the
 * connection is closing. Here: the interval is SO_RCVTIMEO (`setsockopt_tcpu`), in ms, by default 5000, and 0 waits
 * for ever. When the peer has closed and all of its data was read, the error is ESHUTDOWN. Acknowledgments do not
 * wait for this call. Other errors: ENOTCONN, ECONNRESET, ETIMEDOUT …
 *
 * @param length  most bytes
 * @param flags   MSG_PEEK, MSG_TRUNC
 * @returns the number of bytes received; 0 when none came within the interval
 */
export function recv_tcpu(socket: number, buffer: Uint8Array, length: number = buffer?.length, flags = 0): Promise<number> {
  return requests.receive(socket, buffer, length, flags);
}

/**
 * Closes: messages of calls that wait, and what is stored, are sent, FINs exchanged (3.1.3), and the descriptor is
 * free from the beginning. Settled when the connection is over for this application: released, or in TIME-WAIT,
 * which is TCPU's own affair. The peer is waited for no longer than 60 s (or SO_LINGER's seconds); the rest goes on
 * without the application, or passes to the stack when the process ends. As everywhere, data that nobody has read,
 * and SO_LINGER 0, make it a reset; then nothing is waited for.
 *
 * @returns 0
 */
export function close_tcpu(socket: number): Promise<number> {
  return requests.close(socket);
}

/** An option of the socket, with Linux's numbers (`constants`); SO_RCVTIMEO in ms. Throws at once. */
export function setsockopt_tcpu(socket: number, level: number, option: number, value: number | string): number {
  return requests.setOption(socket, level, option, value);
}

/** An option's value; TCP_INFO gives a `TcpInfo`. Throws at once. */
export function getsockopt_tcpu(socket: number, level: number, option: number): number | string | TcpInfo {
  return requests.getOption(socket, level, option);
}

/** The socket's own end. Throws at once. */
export function getsockname_tcpu(socket: number): SocketAddress | null {
  return requests.socketName(socket);
}

/** The peer's end; null when not connected. Throws at once. */
export function getpeername_tcpu(socket: number): SocketAddress | null {
  return requests.peerName(socket);
}
