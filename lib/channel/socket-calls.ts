/**
 * The socket calls of a classic application: its sockets live in the stack, and it makes one call for
 * each operation on them, as a process does into a UNIX kernel. Numbers go on from calls.ts. A call's
 * words, as the application fills them and as the stack leaves them:
 *
 *     in    0 call | 1 socket | 2 bits of the socket's events that were seen since its last call | 3 … arguments
 *     out          | 1 state  | 2 bytes to read | 3 bytes to write                              | 4 … results
 *
 * The result is not negative, or a negative errno: -EBADF (no such socket), -EOPNOTSUPP (not for this kind of
 * socket), -EINVAL (arguments missing or out of range), -EFAULT (not inside the call area), or what the
 * socket's method returns (lib/socket.ts). Words 1 to 3 of the answer tell how the socket stands **after** the
 * call, whatever its result, so that the application need not ask again; they count when `STATE_VALID` is set.
 *
 * A socket's number names it for good: what it is reused for later has another one. Its low 16 bits are its place in
 * the table, the 14 above count how often that was reused. Data and strings lie in the window's call area, from its
 * beginning unless an offset is given. Addresses are four words; ports are 0 to 65535.
 *
 * **Events.** `TO_APP_EVENT` carries the number, the `POLL…` bits, and in `EVENT_VALUE` the bytes to read (up
 * to 2^24 - 1) with the count of the socket's calls so far, modulo 256, above them. A bit that was told is not told
 * again before the application has seen it (word 2 of its next call on that socket): so at most one record for each bit
 * of a socket is under way, whatever the network does. What came in the meantime is told then, if it still holds.
 */

import { CALL_SOCKET_FIRST } from './calls.ts';

/** Word indices common to all calls but `CALL_SOCKET`. */
export const IN_SOCKET = 1;
export const IN_SEEN = 2;
export const IN_ARGUMENTS = 3;
export const OUT_STATE = 1;
export const OUT_AVAILABLE = 2;
export const OUT_WRITABLE = 3;
export const OUT_RESULTS = 4;
/** With the POLL… bits in `OUT_STATE`: words 1 to 3 were filled in. No socket's number has this bit. */
export const STATE_VALID = 1 << 30;

/** Socket numbers: bits of the place, and the mask of the count of reuses above. */
export const NUMBER_BITS = 16;
export const NUMBER_REUSES = 0x3fff;

/** `EVENT_VALUE`: bits of the bytes to read; above them are 8 bits of the number of calls. */
export const VALUE_BITS = 24;

/**
 * socket(2). in 1 domain, 2 type, 3 protocol. SOCK_STREAM for TCP, SOCK_DGRAM with protocol 0 or IPPROTO_UDP for
 * UDP, with IPPROTO_ICMP or IPPROTO_ICMPV6 for echo requests.
 * Result: the number. -EAFNOSUPPORT, -EPROTONOSUPPORT, -EMFILE
 */
export const CALL_SOCKET = CALL_SOCKET_FIRST;

/** in 3-6 address, 7 port. -EACCES for a port that the application may not have. */
export const CALL_SOCKET_BIND = CALL_SOCKET_FIRST + 1;

/** in 3 backlog */
export const CALL_SOCKET_LISTEN = CALL_SOCKET_FIRST + 2;

/**
 * out result: number of the connection; 4-8 its local address and port, 9-13 the remote, 14 `NAMES_…`,
 * 15-17 how it stands, as words 1 to 3. -EMFILE leaves the connection where it is.
 */
export const CALL_SOCKET_ACCEPT = CALL_SOCKET_FIRST + 3;
export const ACCEPT_STATE = 15;

/** in 3-6 address, 7 port. out 4-8 the local address and port, 14 `NAMES_…` (also with -EINPROGRESS) */
export const CALL_SOCKET_CONNECT = CALL_SOCKET_FIRST + 4;

/** Which names were filled in. */
export const OUT_LOCAL = 4;
export const OUT_REMOTE = 9;
export const OUT_NAMES = 14;
export const NAMES_LOCAL = 1;
export const NAMES_REMOTE = 2;

/** in 3 length, 4 `MSG_…` flags, 5 offset in the call area. Result: bytes taken. */
export const CALL_SOCKET_SEND = CALL_SOCKET_FIRST + 5;

/** in 3 length, 4 `MSG_…` flags. Result: bytes, which lie at the beginning of the call area (not with MSG_TRUNC). */
export const CALL_SOCKET_RECV = CALL_SOCKET_FIRST + 6;

/** in 3 SHUT_… */
export const CALL_SOCKET_SHUTDOWN = CALL_SOCKET_FIRST + 7;

/**
 * in 3 level, 4 option. Result: `FORM_…`; out 4 the number, which may be a negative errno, or the length of the
 * text in the call area: a string, or the JSON of an object (TCP_INFO).
 */
export const CALL_SOCKET_GETOPT = CALL_SOCKET_FIRST + 8;
/** in 3 level, 4 option, 5 `FORM_NUMBER` or `FORM_STRING`, 6 the number, or the length of the string (up to 255). */
export const CALL_SOCKET_SETOPT = CALL_SOCKET_FIRST + 9;
export const FORM_NUMBER = 0;
export const FORM_STRING = 1;
export const FORM_JSON = 2;
export const MAX_OPTION_STRING = 255;

/** Both names at once. out 4-8 local, 9-13 remote, 14 `NAMES_…` */
export const CALL_SOCKET_NAMES = CALL_SOCKET_FIRST + 10;

/** Result: the POLL… bits. */
export const CALL_SOCKET_POLL = CALL_SOCKET_FIRST + 11;

/** in 3 `CLOSE_…`. The number is nobody's from now on. */
export const CALL_SOCKET_CLOSE = CALL_SOCKET_FIRST + 12;
export const CLOSE_GRACEFUL = 0;
export const CLOSE_ABORT = 1;

/**
 * Sends one datagram, or `length` bytes as datagrams of `segment` bytes.
 * in  3 length, 4 segment or 0, 5 offset in the call area, 6-9 address, 10 port, 11: 0 for the connected peer, 1 for
 *     this address
 * Result: bytes sent.
 */
export const CALL_DATAGRAM_SEND = CALL_SOCKET_FIRST + 13;

/**
 * Fetches datagrams.
 * in  3 MSG_PEEK, MSG_TRUNC, FETCH_…; 4 most payload bytes of one (without FETCH_ALL)
 * out result: how many, as records in the call area; 4 bytes of all records
 * -EAGAIN, or the pending error; with FETCH_ALL that is passed over.
 */
export const CALL_DATAGRAM_FETCH = CALL_SOCKET_FIRST + 14;
/** As many as fit, none cut short that is not larger than the call area. */
export const FETCH_ALL = 1 << 16;
/** When some are left, POLLIN is told anew. */
export const FETCH_AGAIN = 1 << 17;
/** Words of a datagram's record; payload follows, and what fills it up to a multiple of 4. */
export const DATAGRAM_LENGTH = 0;
export const DATAGRAM_PORT = 1;
/** ttl << 8 | tos */
export const DATAGRAM_IP = 2;
/** The recvFrom's result: the length, or the whole length with MSG_TRUNC. */
export const DATAGRAM_RESULT = 3;
export const DATAGRAM_ADDRESS = 4;
export const DATAGRAM_HEADER = 32;

/** connect(2) with AF_UNSPEC. */
export const CALL_DATAGRAM_DISCONNECT = CALL_SOCKET_FIRST + 15;

/** in 3-6 group, 7: 1 joins, 0 leaves */
export const CALL_DATAGRAM_MEMBERSHIP = CALL_SOCKET_FIRST + 16;

/**
 * Takes the ICMP errors that came. Result: length of a JSON text in the call area, an array of `UdpErrorInfo`s or
 * `EchoErrorInfo`s with an `errno` each, oldest first; 0 when there are none.
 */
export const CALL_SOCKET_ERRORS = CALL_SOCKET_FIRST + 17;

/** in 3 number, 4 data bytes, 5: 0 the stack's pattern, 1 what is in the call area; 6-9 address. Result: bytes of ICMP. */
export const CALL_ECHO_SEND = CALL_SOCKET_FIRST + 18;

/** Takes echo replies. Result: how many, as records of `REPLY_WORDS` words in the call area. */
export const CALL_ECHO_REPLIES = CALL_SOCKET_FIRST + 19;
export const REPLY_SEQ = 0;
export const REPLY_BYTES = 1;
/** ttl << 8 | tos */
export const REPLY_IP = 2;
export const REPLY_RTT_US = 3;
export const REPLY_DUPLICATE = 4;
export const REPLY_ADDRESS = 5;
export const REPLY_WORDS = 9;

/** Words that each call must have, from `CALL_SOCKET` on. */
export const CALL_LENGTHS: readonly number[] = [4, 8, 4, 3, 8, 6, 5, 4, 5, 7, 3, 3, 4, 12, 5, 3, 8, 3, 10, 3];
