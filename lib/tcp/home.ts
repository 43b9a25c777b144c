/**
 * What surrounds the engine. `lib/tcp` is written once and lives in several homes: the kernel-style TCP
 * (`lib/kernel`) with many connections under one clock, and TCP in an application. A home gives time,
 * randomness, memory and IP, finds the TCB for a segment, and decides when output is produced: the
 * engine only marks a TCB (`pend`), and the home calls `tcpOutput` once when its input is drained.
 */

import type { PacketMemory } from '../buffer/packet-memory.ts';
import type { ProbedMtus } from '../ip/path-mtu.ts';
import type { IpLayer } from '../ip/transport.ts';
import type { Seq } from '../wire/seq.ts';
import type { TcpConfig } from './config.ts';
import type { TcpCounters } from './counters.ts';
import type { FastOpenCookies } from './fast-open.ts';
import type { OutOfOrderShares } from './memory-shares.ts';
import type { LentPieces } from './receive.ts';
import type { Segment } from './segment.ts';
import type { SentSegments } from './sent-segments.ts';
import type { Tcb } from './tcb.ts';

export interface TcpHome {
  readonly config: TcpConfig;
  readonly counters: TcpCounters;
  readonly ip: IpLayer;
  readonly memory: PacketMemory;
  /** What probing has found out about paths. */
  readonly probedMtus: ProbedMtus;
  /** Payload that lies in the receive slab until the batch ends. */
  readonly lent: LentPieces;
  /** What all connections have in flight. */
  readonly sent: SentSegments;
  readonly fastOpen: FastOpenCookies;
  /** What all connections together hold out of order. */
  readonly outOfOrder: OutOfOrderShares;
  /** Bytes by which receive buffers that tune themselves may still grow together; connections that end give theirs back. */
  rcvbufGrowth: number;
  /** The same for send buffers, beyond what the round trip asks for (buffer-tuning.ts). */
  sndbufGrowth: number;
  /** The present, as int32 that wrap: µs for measuring, ms for deadlines. Set at the start of each turn. */
  nowUs: number;
  nowMs: number;
  /** This TCB has output to produce, or events to tell, before the turn ends. */
  pend(tcb: Tcb): void;
  /** `tcpTimers(tcb)` is to be called at `atMs` or soon after (`tcb.firesAt` tells what is set already). */
  arm(tcb: Tcb, atMs: number): void;
  /** Answers a segment that belongs to nothing, or acknowledges what was never sent, with RST (3.10.7.1). */
  reset(segment: Segment): void;
  /** Whether a passively opened connection may become established now: if not, its handshake goes on. */
  mayEstablish(tcb: Tcb): boolean;
  /**
   * `segment` does not acknowledge the SYN-ACK of the half-open `tcb`: whether it acknowledges a cookie instead, with which the
   * same SYN was answered before. Then a new TCB has taken the place of `tcb`.
   */
  takesCookie(tcb: Tcb, segment: Segment): boolean;
  /** How often the SYN-ACK of a passively opened connection is sent again before it is given up. */
  synAckRetries(tcb: Tcb): number;
  /** A passively opened connection is established: it may be accepted. */
  established(tcb: Tcb): void;
  /** The connection is over; nothing may refer to the TCB's flow any more. */
  closed(tcb: Tcb): void;
  /** The connection is in TIME-WAIT; the home takes what it needs and lets the TCB go. */
  timeWait(tcb: Tcb): void;
  /** Initial sequence number and timestamp offset for this connection's addresses and ports (RFC 6528). */
  initialSequence(tcb: Tcb): Seq;
  timestampOffset(tcb: Tcb): number;
}
