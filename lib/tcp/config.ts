/** What can be set about TCP, for a whole stack. Sockets may override some of it by their options. */

import { resolveLimits } from '../limits.ts';
import type { TcpLimits } from '../limits.ts';

export type SynCookieMode = 'auto' | 'always' | 'off';

export interface TcpOptions {
  /** Congestion control of new connections: 'cubic' (RFC 9438, default), 'bbr' (version 1) or 'newreno' (RFC 5681, 6582). */
  congestion?: string;
  /** Receive buffer, bytes: what it starts at and what it may grow to by itself. Default 128 KiB, 32 MiB. */
  rcvbuf?: { initial?: number; max?: number };
  /** Send buffer, bytes, likewise. Default 384 KiB, 32 MiB. */
  sndbuf?: { initial?: number; max?: number };
  /** Offer and accept timestamps and PAWS (RFC 7323). Default true. */
  timestamps?: boolean;
  /** Offer and accept SACK (RFC 2018). Default true. */
  sack?: boolean;
  /** Offer and accept window scaling (RFC 7323). Default true. */
  windowScaling?: boolean;
  /** Segments in the initial congestion window (RFC 6928). Default 10. */
  initialWindow?: number;
  /** Retransmission timeout: first, least and greatest, ms (RFC 6298; the minimum is Linux's). Default 1000, 200, 120000. */
  initialRtoMs?: number;
  minRtoMs?: number;
  maxRtoMs?: number;
  /** Longest time that an acknowledgment is put off, ms; 0 acknowledges when the input is drained. Default 40. */
  delayedAckMs?: number;
  /** Retransmissions of a SYN, of a SYN-ACK, and of data, before giving up. Default 6, 5, 15. */
  synRetries?: number;
  synAckRetries?: number;
  retries?: number;
  /** Keep-alive for sockets that ask for it: idle time, interval (ms), probes. Default 7200000, 75000, 9. */
  keepIdleMs?: number;
  keepIntervalMs?: number;
  keepCount?: number;
  /** TIME-WAIT in ms. Default 60000, as Linux (RFC 9293 says 2 × MSL = 4 minutes). */
  timeWaitMs?: number;
  /**
   * Connections of ours may take over a pair of ports from TIME-WAIT, a second after it began, when timestamps were agreed
   * on (Linux's tcp_tw_reuse = 1). Default true.
   */
  timeWaitReuse?: boolean;
  /** RST does not end TIME-WAIT (RFC 1337, fix F1; Linux's tcp_rfc1337). Default false, as RFC 9293 3.10.7.4 says. */
  rfc1337?: boolean;
  /** FIN-WAIT-2 of a connection that nobody holds any more, ms. Default 60000. */
  finWait2Ms?: number;
  /** Most connections, and most in TIME-WAIT, at one time. Default 262144, 65536. */
  maxConnections?: number;
  maxTimeWait?: number;
  /**
   * What happens to SYNs when half-open connections are as many as they may be (RFC 4987): 'auto' answers with cookies
   * (default, as Linux's tcp_syncookies = 1), 'off' lets the oldest half-open connection go. 'always' answers all SYNs so.
   */
  synCookies?: SynCookieMode;
  /** Most half-open connections of all listeners together; a listener has no more than its backlog. Default 1024. */
  maxSynBacklog?: number;
  /** How far beyond RCV.NXT data out of order is kept, bytes. Default: as far as the receive window. */
  maxOutOfOrder?: number;
  /** Challenge ACKs per second, for each connection (RFC 5961 section 7). Default 2. */
  challengeAcksPerSecond?: number;
  /**
   * Explicit congestion notification (RFC 3168): 'off'; 'passive' agrees when the peer asks (the default, as Linux's
   * tcp_ecn = 2); 'on' asks as well.
   */
  ecn?: EcnMode;
  /**
   * Path MTU discovery by probing, where ICMP does not come through (RFC 4821): 'off'; 'blackhole' begins when segments
   * of full size vanish again and again (the default; Linux's tcp_mtu_probing = 1); 'on' begins with small segments.
   */
  mtuProbing?: MtuProbing;
}

/** `TcpOptions` with every default filled in. */
export interface TcpConfig {
  congestion: string;
  rcvbufInitial: number;
  rcvbufMax: number;
  sndbufInitial: number;
  sndbufMax: number;
  timestamps: boolean;
  sack: boolean;
  windowScaling: boolean;
  initialWindow: number;
  initialRtoMs: number;
  minRtoMs: number;
  maxRtoMs: number;
  delayedAckMs: number;
  synRetries: number;
  synAckRetries: number;
  retries: number;
  keepIdleMs: number;
  keepIntervalMs: number;
  keepCount: number;
  timeWaitMs: number;
  timeWaitReuse: boolean;
  rfc1337: boolean;
  finWait2Ms: number;
  maxConnections: number;
  maxTimeWait: number;
  synCookies: SynCookieMode;
  maxSynBacklog: number;
  maxOutOfOrder: number;
  challengeAcksPerSecond: number;
  ecn: EcnMode;
  mtuProbing: MtuProbing;
  limits: Readonly<Required<TcpLimits>>;
}

export type EcnMode = 'off' | 'passive' | 'on';
export type MtuProbing = 'off' | 'blackhole' | 'on';

/** Largest buffer: with window scale 14 a window of 1 GiB can be told. */
export const MAX_BUFFER = 1 << 30;
export const MIN_BUFFER = 4096;

function oneOf<T extends string>(name: string, value: T, ...choices: readonly T[]): T {
  if (!choices.includes(value)) throw new RangeError(`tcp.${name} is '${String(value)}'; it must be one of ${choices.join(', ')}`);
  return value;
}

function within(name: string, value: number, low: number, high: number): number {
  if (!Number.isFinite(value) || value < low || value > high) {
    throw new RangeError(`tcp.${name} is ${value}; it must be between ${low} and ${high}`);
  }
  return Math.floor(value);
}

/** Checks the options and fills in defaults; limits win where both name one. Throws a RangeError that names the bad one. */
export function tcpConfig(options: TcpOptions = {}, given: TcpLimits = {}): TcpConfig {
  const rcvbufMax = within('rcvbuf.max', options.rcvbuf?.max ?? 32 << 20, MIN_BUFFER, MAX_BUFFER);
  const sndbufMax = within('sndbuf.max', options.sndbuf?.max ?? 32 << 20, MIN_BUFFER, MAX_BUFFER);
  const maxConnections = within('maxConnections', options.maxConnections ?? 262_144, 1, 1 << 24);
  const maxTimeWait = within('maxTimeWait', options.maxTimeWait ?? 65_536, 0, 1 << 22);
  const maxSynBacklog = within('maxSynBacklog', options.maxSynBacklog ?? 1024, 4, 1 << 20);
  const { tcp: limits } = resolveLimits({
    tcp: {
      ...given, connections: given.connections ?? maxConnections, halfOpen: given.halfOpen ?? maxSynBacklog,
      timeWait: given.timeWait ?? maxTimeWait,
    },
  });
  return {
    congestion: options.congestion ?? 'cubic',
    rcvbufInitial: Math.min(within('rcvbuf.initial', options.rcvbuf?.initial ?? 128 << 10, MIN_BUFFER, MAX_BUFFER), rcvbufMax),
    rcvbufMax,
    sndbufInitial: Math.min(within('sndbuf.initial', options.sndbuf?.initial ?? 384 << 10, MIN_BUFFER, MAX_BUFFER), sndbufMax),
    sndbufMax,
    timestamps: options.timestamps ?? true,
    sack: options.sack ?? true,
    windowScaling: options.windowScaling ?? true,
    initialWindow: within('initialWindow', options.initialWindow ?? 10, 1, 1000),
    initialRtoMs: within('initialRtoMs', options.initialRtoMs ?? 1000, 1, 60_000),
    minRtoMs: within('minRtoMs', options.minRtoMs ?? 200, 1, 60_000),
    maxRtoMs: within('maxRtoMs', options.maxRtoMs ?? 120_000, 1000, 3_600_000),
    delayedAckMs: within('delayedAckMs', options.delayedAckMs ?? 40, 0, 499),
    synRetries: within('synRetries', options.synRetries ?? 6, 0, 255),
    synAckRetries: within('synAckRetries', options.synAckRetries ?? 5, 0, 255),
    retries: within('retries', options.retries ?? 15, 1, 255),
    keepIdleMs: within('keepIdleMs', options.keepIdleMs ?? 7_200_000, 1000, 0x3fffffff),
    keepIntervalMs: within('keepIntervalMs', options.keepIntervalMs ?? 75_000, 1000, 0x3fffffff),
    keepCount: within('keepCount', options.keepCount ?? 9, 1, 127),
    timeWaitMs: within('timeWaitMs', options.timeWaitMs ?? 60_000, 0, 600_000),
    timeWaitReuse: options.timeWaitReuse ?? true,
    rfc1337: options.rfc1337 ?? false,
    finWait2Ms: within('finWait2Ms', options.finWait2Ms ?? 60_000, 0, 600_000),
    maxConnections: limits.connections,
    maxTimeWait: limits.timeWait,
    synCookies: oneOf<SynCookieMode>('synCookies', options.synCookies ?? 'auto', 'auto', 'always', 'off'),
    maxSynBacklog: limits.halfOpen,
    maxOutOfOrder: within('maxOutOfOrder', options.maxOutOfOrder ?? MAX_BUFFER, 0, MAX_BUFFER),
    challengeAcksPerSecond: within('challengeAcksPerSecond', options.challengeAcksPerSecond ?? 2, 0, 1_000_000),
    ecn: oneOf<EcnMode>('ecn', options.ecn ?? 'passive', 'off', 'passive', 'on'),
    mtuProbing: oneOf<MtuProbing>('mtuProbing', options.mtuProbing ?? 'blackhole', 'off', 'blackhole', 'on'),
    limits,
  };
}
