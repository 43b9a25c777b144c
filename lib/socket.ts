/**
 * The low-level socket: BSD semantics, never blocking. Every home of TCP offers this one shape, and
 * the stream API (`lib/net`) stands on it alone.
 *
 * Calls return what the Linux system call returns: a count or 0, or a **negative errno**. All they
 * cause (segments sent, states changed) has happened when they return. Where Linux would block, they
 * return `-EAGAIN`; `onready` tells when to try again.
 */

import type { Clock } from './clock.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;

export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

/** Levels and options of `setsockopt`, with Linux's numbers. */
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_TYPE = 3;
export const SO_ERROR = 4;
export const SO_BROADCAST = 6;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_OOBINLINE = 10;
/** Value: seconds to linger on close; -1 turns it off; 0 means close with a reset. */
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
/** Of `setsockopt_tcpu` alone, where calls wait. Value: milliseconds; 0 waits for ever. */
export const SO_RCVTIMEO = 20;
export const SO_ACCEPTCONN = 30;

export const IPPROTO_IP = 0;
export const IP_TOS = 1;
export const IP_TTL = 2;
/** `IP_PMTUDISC_DONT` 0, `IP_PMTUDISC_WANT` 1 (default), `IP_PMTUDISC_DO` 2 */
export const IP_MTU_DISCOVER = 10;
export const IPPROTO_ICMP = 1;
export const IPPROTO_IPV6 = 41;
export const IPV6_UNICAST_HOPS = 16;
export const IPV6_MTU_DISCOVER = 23;
export const IPV6_V6ONLY = 26;
export const IPV6_TCLASS = 67;
export const IPPROTO_ICMPV6 = 58;

export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const TCP_NODELAY = 1;
export const TCP_MAXSEG = 2;
export const TCP_CORK = 3;
/** Seconds of idleness before the first probe, seconds between probes, probes before giving up. */
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const TCP_SYNCNT = 7;
export const TCP_INFO = 11;
export const TCP_QUICKACK = 12;
/** Value: name of the congestion control, as a string. */
export const TCP_CONGESTION = 13;
/** Milliseconds that sent data may stay unacknowledged; 0 for the default. */
export const TCP_USER_TIMEOUT = 18;
/** Fast Open (RFC 7413). Of a listener: most connections that may be open by their SYN alone; 0, the default: none. */
export const TCP_FASTOPEN = 23;
/**
 * Before connect(): Fast Open. If there is a cookie for the peer, connect() returns 0, and the SYN leaves with the first
 * `send` as far as it fits, at the latest after 10 ms; otherwise connect() asks for a cookie, for the next time.
 */
export const TCP_FASTOPEN_CONNECT = 30;

/** Flags of `send` and `recv`. */
export const MSG_OOB = 0x01;
export const MSG_PEEK = 0x02;
/** `recv`: drop the bytes instead of copying them. */
export const MSG_TRUNC = 0x20;
/** `send`: more follows; do not send a part of a segment yet. */
export const MSG_MORE = 0x8000;

/** Bits of `poll()`, as in poll(2). */
export const POLLIN = 0x001;
export const POLLPRI = 0x002;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLRDHUP = 0x2000;

/** One end of a connection, as text. `family` is 'IPv4' or 'IPv6'. */
export interface SocketAddress {
  address: string;
  port: number;
  family: 'IPv4' | 'IPv6';
}

/** What `getsockopt(IPPROTO_TCP, TCP_INFO)` gives: the figures that `ss -ti` shows of Linux's TCP. */
export interface TcpInfo {
  /** As RFC 9293 prints it: 'ESTABLISHED', 'FIN-WAIT-1', … */
  state: string;
  /** Whether the options were agreed on. */
  timestamps: boolean;
  sack: boolean;
  ecn: boolean;
  /** Window scale shifts: ours (receive), the peer's (send). */
  rcvWscale: number;
  sndWscale: number;
  congestion: string;
  /** 'open', 'recovery', 'loss' */
  congestionState: string;
  rtoMs: number;
  srttMs: number;
  rttvarMs: number;
  minRttMs: number;
  /** Largest payload that is sent in a segment, the peer's MSS as advertised, ours, path MTU; bytes. */
  sndMss: number;
  peerMss: number;
  advMss: number;
  pmtu: number;
  /** Bytes. */
  cwnd: number;
  ssthresh: number;
  sndWnd: number;
  rcvWnd: number;
  /** Bytes sent and not acknowledged; queued and not sent; received and not read. */
  unacked: number;
  notSent: number;
  recvQueue: number;
  /** Limits that the buffers have grown to. */
  sndbuf: number;
  rcvbuf: number;
  /** Bytes thought to be in the network; held by the peer out of order (SACK). */
  inFlight: number;
  sacked: number;
  lost: number;
  backoff: number;
  /** Totals over the life of the connection. */
  bytesSent: number;
  bytesAcked: number;
  bytesReceived: number;
  bytesRetrans: number;
  segsOut: number;
  segsIn: number;
  dataSegsOut: number;
  dataSegsIn: number;
  retransSegs: number;
  rtos: number;
  fastRetransmits: number;
  dupAcksIn: number;
  outOfOrderIn: number;
  /** Segments that header prediction took whole. */
  predictedIn: number;
  /** Milliseconds since data was last sent, since a segment was last received. */
  lastSendMs: number;
  lastRecvMs: number;
  /** Bytes a second that output is paced at; 0: it is not. */
  pacingRate: number;
}

export interface BsdSocket {
  /**
   * Address as text; '0.0.0.0' and '::' are any. Port 0 picks one. An AF_INET6 socket bound to '::'
   * takes IPv4 as well unless IPV6_V6ONLY is set.
   * Returns 0, -EINVAL (bound already, or malformed), -EADDRINUSE, -EADDRNOTAVAIL.
   */
  bind(address: string, port: number): number;
  listen(backlog: number): number;
  /** The next connection that is ready, or -EAGAIN; -EINVAL on a socket that does not listen. */
  accept(): BsdSocket | number;
  /**
   * Sends the SYN and returns -EINPROGRESS. POLLOUT tells of success; POLLERR of failure, with the
   * errno in SO_ERROR. At once: -ENETUNREACH, -EADDRNOTAVAIL, -EISCONN, -EALREADY …
   */
  connect(address: string, port: number): number;
  /**
   * Copies up to `length` bytes of `from` into the send buffer. Returns how many it took, -EAGAIN when
   * it has no room, -EPIPE after shutdown(SHUT_WR) and when not connected, or the pending error.
   */
  send(from: Uint8Array, offset: number, length: number, flags?: number): number;
  /**
   * Copies received bytes to `to`. Returns how many, 0 at the end of the stream, -EAGAIN when nothing
   * is there, or the pending error once the data has been read.
   */
  recv(to: Uint8Array, offset: number, length: number, flags?: number): number;
  /** Bytes that `recv` can give now. */
  readonly available: number;
  /** Bytes that `send` would take now. */
  readonly writable: number;
  shutdown(how: number): number;
  /** The number or string asked for; for TCP_INFO a `TcpInfo`; a negative errno when there is no such option. */
  getsockopt(level: number, option: number): number | string | TcpInfo;
  setsockopt(level: number, option: number, value: number | string): number;
  getsockname(): SocketAddress | null;
  getpeername(): SocketAddress | null;
  /** Which of POLLIN POLLOUT POLLERR POLLHUP POLLRDHUP POLLPRI hold now. */
  poll(): number;
  /**
   * Called when some of POLLIN, POLLOUT, POLLERR, POLLHUP, POLLRDHUP begins to hold or new data or
   * connections came, once for all packets of a batch. May call the socket's methods. POLLOUT is told
   * only after a `send` that came up short, and when the connection opens. It may come from inside a call
   * of yours to this or another socket (what a call causes has happened when it returns).
   */
  onready: ((events: number) => void) | null;
  /**
   * Lets go of the socket. What is buffered is still sent, and FIN exchanged, in the background, unless
   * SO_LINGER is 0 or received data was left unread (then RST, RFC 9293 3.6.1).
   */
  close(): number;
  /** Resets the connection and lets go of the socket. */
  abort(): number;
  /** Whether this open socket keeps the process alive. Counted once however often it is called. */
  ref(): void;
  unref(): void;
}

/** Where `BsdSocket`s come from: a stack, or an application's attachment to one. */
export interface SocketProvider {
  /** -EAFNOSUPPORT, -EPROTONOSUPPORT or -ENOBUFS when it cannot. Only SOCK_STREAM. */
  socket(domain: number, type: number, protocol: number): BsdSocket | number;
  /** Whose time the sockets' is, where it is not the machine's: timeouts of streams then follow it. */
  readonly clock?: Clock;
}

// ---- datagrams

/**
 * Who sent a datagram, and what its IP header said. One object a socket, filled again for every datagram:
 * valid during `onmessage`, or until the next `recvFrom`.
 */
export interface DatagramRemote {
  /** Address words; an IPv4 address is mapped. */
  w0: number;
  w1: number;
  w2: number;
  w3: number;
  port: number;
  /** TTL or hop limit, and traffic class octet, as they arrived. */
  ttl: number;
  tos: number;
  readonly family: 'IPv4' | 'IPv6';
  /** As text; IPv6 sockets show IPv4 senders as `::ffff:a.b.c.d`. */
  readonly address: string;
}

/** What an ICMP error told of a datagram that this socket sent. */
export interface UdpErrorInfo {
  /** Where the datagram was sent to. */
  address: string;
  port: number;
  /** Who reported it. */
  from: string;
  /** ICMP (or ICMPv6) type and code. */
  type: number;
  code: number;
  /** Next-hop MTU where the error is EMSGSIZE, else 0. */
  mtu: number;
  /** Whether it became the socket's pending error (SO_ERROR), as Linux decides. */
  pending: boolean;
}

/** The low-level UDP socket; lib/kernel/udp-socket.ts documents each member. */
export interface DatagramSocket {
  onmessage: ((slab: Uint8Array, offset: number, length: number, remote: DatagramRemote) => void) | null;
  onerror: ((errno: number, info: UdpErrorInfo) => void) | null;
  onreadable: (() => void) | null;
  onwritable: (() => void) | null;
  /** AF_INET or AF_INET6. */
  readonly domain: number;
  readonly remote: DatagramRemote;
  bind(address: string, port: number): number;
  connect(address: string, port: number): number;
  disconnect(): number;
  sendTo(from: Uint8Array, offset: number, length: number, address: string | null, port: number): number;
  reply(from: Uint8Array, offset: number, length: number, remote: DatagramRemote): number;
  sendSegments(
    from: Uint8Array, offset: number, length: number, segmentSize: number, address: string | null, port: number,
  ): number;
  recvFrom(to: Uint8Array, offset: number, length: number, flags?: number): number;
  /** Bytes of the next queued datagram, or 0. */
  readonly available: number;
  poll(): number;
  addMembership(group: string): number;
  dropMembership(group: string): number;
  getsockopt(level: number, option: number): number;
  setsockopt(level: number, option: number, value: number): number;
  getsockname(): SocketAddress | null;
  getpeername(): SocketAddress | null;
  close(): number;
  ref(): void;
  unref(): void;
}

/** Where UDP sockets come from: a stack's `udp`, or an application's attachment to one. */
export interface UdpProvider {
  /** -EAFNOSUPPORT unless `domain` is AF_INET or AF_INET6; -EMFILE beyond the limit. */
  socket(domain: number): DatagramSocket | number;
}

/** A reply to an echo request. One object a socket; valid during `onreply`. */
export interface EchoReplyInfo {
  seq: number;
  /** Bytes of ICMP, the header's 8 included, as `ping` counts them. */
  bytes: number;
  ttl: number;
  tos: number;
  /** µs from sending to arrival at the link. */
  rttUs: number;
  /** Another reply to the same request came before. */
  duplicate: boolean;
  /** Address words of the sender, and the same as text. */
  w0: number;
  w1: number;
  w2: number;
  w3: number;
  readonly from: string;
}

/** An ICMP error that quotes an echo request of ours. */
export interface EchoErrorInfo {
  seq: number;
  /** Where the request went, and who reports. */
  address: string;
  from: string;
  /** ICMP or ICMPv6 type and code. */
  type: number;
  code: number;
  /** Next-hop MTU, or 0. */
  mtu: number;
}

/** The low-level ICMP echo socket; lib/kernel/echo-socket.ts documents each member. */
export interface IcmpEchoSocket {
  onreply: ((reply: EchoReplyInfo) => void) | null;
  onerror: ((errno: number, info: EchoErrorInfo) => void) | null;
  readonly domain: number;
  send(seq: number, data: number | Uint8Array, address: string): number;
  setsockopt(level: number, option: number, value: number): number;
  close(): number;
}

/** Where echo sockets come from: a stack's `echo`, or an application's attachment to one. */
export interface EchoProvider {
  /** -EAFNOSUPPORT, -EMFILE. */
  open(domain: number): IcmpEchoSocket | number;
}
