/**
 * The records of a channel's two rings. Numbers are word indices from the record's first word, which
 * `RECORD_LENGTH` and `RECORD_TYPE` (ring.ts) take; addresses are four words, IPv4 in mapped form, as in
 * `IpPacket`.
 */

import type { IpFlow } from '../ip/flow.ts';

/** Writes an address to four words from `at` on. */
export function putAddress(words: Int32Array, at: number, w0: number, w1: number, w2: number, w3: number): void {
  words[at] = w0;
  words[at + 1] = w1;
  words[at + 2] = w2;
  words[at + 3] = w3;
}

/** Reads both addresses of a flow, from four words at `local` and four at `remote`. */
export function takeAddresses(flow: IpFlow, words: Int32Array, local: number, remote: number): void {
  flow.l0 = words[local]!;
  flow.l1 = words[local + 1]!;
  flow.l2 = words[local + 2]!;
  flow.l3 = words[local + 3]!;
  flow.r0 = words[remote]!;
  flow.r1 = words[remote + 1]!;
  flow.r2 = words[remote + 2]!;
  flow.r3 = words[remote + 3]!;
}

// ---- stack → application ----

/** A TCP segment for one of the application's ports or connections, with what IP and the link know of it. */
export const TO_APP_SEGMENT = 1;
/** An ICMP error about a segment that the application sent, checked by the stack as far as it can. */
export const TO_APP_ICMP = 2;
/** The path MTU to a destination is another. */
export const TO_APP_PATH_MTU = 3;
/** Something happened to a socket that the application has in the stack (lib/channel/socket-calls.ts). */
export const TO_APP_EVENT = 4;
/** The stack has dropped what the application sent, and why: `VIOLATION_…` of lib/tcpk/egress.ts. */
export const TO_APP_VIOLATION = 5;
/** A flow that the application opened could not be had: its handle, the errno, and `local port << 16 | remote port`. */
export const TO_APP_REFUSED = 6;
/** The stack asks for a report (a JSON text: `ReportContents`) of the application's connections and counters. */
export const TO_APP_REPORT = 7;

export const SEG_SRC = 2;
export const SEG_DST = 6;
/** version | tos << 8 | ttl << 16 | SEG_CSUM_OK */
export const SEG_IP = 10;
export const SEG_CSUM_OK = 1 << 24;
/** As in IpPacket: `transportSum`, `gsoType`, `gsoSize`. */
export const SEG_SUM = 11;
export const SEG_GSO_TYPE = 12;
export const SEG_GSO_SIZE = 13;
/** Bytes of the TCP segment, which begins at word `SEG_DATA`. */
export const SEG_LENGTH = 14;
/** Arrival at the link, µs of the stack's clock, int32. */
export const SEG_TIME = 15;
export const SEG_DATA = 16;

/** version | fatal << 8; the fields are those of `IcmpError`. */
export const ICMP_VERSION = 2;
export const ICMP_TYPE = 3;
export const ICMP_CODE = 4;
export const ICMP_ERRNO = 5;
export const ICMP_MTU = 6;
export const ICMP_FROM = 7;
export const ICMP_SRC = 11;
export const ICMP_DST = 15;
/** Bytes of the quoted transport header, which begins at word `ICMP_DATA`. */
export const ICMP_LENGTH = 19;
export const ICMP_DATA = 20;

export const PATH_MTU_DST = 2;
export const PATH_MTU_BYTES = 6;

/** The socket's number, POLL… bits, and a word of that socket's kind. */
export const EVENT_SOCKET = 2;
export const EVENT_BITS = 3;
export const EVENT_VALUE = 4;

export const VIOLATION_REASON = 2;
/** How often since the last such record. */
export const VIOLATION_COUNT = 3;

export const REFUSED_HANDLE = 2;
export const REFUSED_ERRNO = 3;
export const REFUSED_PORTS = 4;

export const REPORT_ID = 2;
/** `REPORT_…` bits. */
export const REPORT_WHAT = 3;
export const REPORT_CONNECTIONS = 1;
/** … with the figures of each. */
export const REPORT_DETAILS = 2;
export const REPORT_COUNTERS = 4;

// ---- application → stack ----

/** A TCP segment on the connected flow that the application calls `FROM_APP_HANDLE`. */
export const FROM_APP_SEGMENT = 1;
/** A TCP segment with its addresses, from a bound port: resets, and ACKs of TIME-WAIT. */
export const FROM_APP_SENDTO = 2;
/** The application takes a flow on one of its bound ports for its own ("connect" of the report, 3.1.1). */
export const FROM_APP_OPEN = 3;
/** … and gives it up. */
export const FROM_APP_CLOSE = 4;

/** A small non-negative integer of the application's choice. */
export const FROM_APP_HANDLE = 2;
/** Of FROM_APP_OPEN: addresses, and `local port << 16 | remote port`. */
export const OPEN_LOCAL = 3;
export const OPEN_REMOTE = 7;
export const OPEN_PORTS = 11;
export const OPEN_LENGTH = 12 * 4;
export const CLOSE_LENGTH = 4 * 4;

/** tos | ttl << 8 */
export const TX_IP = 3;
/** As in TransmitQueue; 0 when the segment is not to be cut. */
export const TX_GSO_TYPE = 4;
export const TX_GSO_SIZE = 5;
/** Bytes of the TCP header (20 to 60), which begins at word `TX_HEADER`. */
export const TX_HEADER_LENGTH = 6;
/** Pieces of payload: offset from the window's start and length, word pairs from `TX_PIECES` on. */
export const TX_PIECE_COUNT = 7;
export const TX_HEADER = 8;
/** First word of the pieces: room for the longest TCP header. */
export const TX_PIECE = TX_HEADER + 15;
/** Most pieces of one segment: 64 KB in blocks of 8 KB, begun and ended anywhere (TransmitQueue takes 12 with the headers). */
export const MAX_TX_PIECES = 11;
/** Of FROM_APP_SENDTO, instead of pieces (such segments carry no data): addresses. */
export const SENDTO_LOCAL = TX_PIECE;
export const SENDTO_REMOTE = TX_PIECE + 4;
export const SENDTO_LENGTH = (TX_PIECE + 8) * 4;
