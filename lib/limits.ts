/**
 * Every bound of a stack that can be set: what peers, and whoever pretends to be one, can make it hold or do.
 * One place for names, units, defaults and what values are sensible; docs/LIMITS.md says for each what happens
 * beyond it, which counter tells, and what all of them come to. The layers import this file, it imports none.
 *
 * The packet memory (`createStack({ memory })`) bounds every buffer together; what is here shares it out, and bounds
 * what lies beside it. Buffers of single connections are options of TCP: `tcp.rcvbuf`, `tcp.sndbuf`.
 */

export interface TcpLimits {
  /** Connections and half-open ones at one time. Default 262144 (`tcp.maxConnections` is the same). */
  connections?: number;
  /** Connections that one remote address (IPv6: one /64) has opened, at one time; 0: as many as there may be. Default 0. */
  connectionsPerAddress?: number;
  /** Connections of all listeners that are half open; beyond, SYNs are answered by cookies. Default 1024 (`tcp.maxSynBacklog` is the same). */
  halfOpen?: number;
  /** Connections in TIME-WAIT; the oldest makes room. Default 65536 (`tcp.maxTimeWait` is the same). */
  timeWait?: number;
  /**
   * Data out of order of all connections, bytes of packet memory, in whole blocks of 8 KiB. Default: a quarter of the
   * packet memory. Who holds the most gives it up for who holds less.
   */
  outOfOrderBytes?: number;
  /** Ranges of data out of order of one connection. Default 1024. */
  outOfOrderRanges?: number;
  /**
   * Rows of 48 bytes in which all connections remember what is in flight: one for what one turn has sent, or for a hole
   * that a peer tells of, 4096 of these for one connection. Default 1048576.
   */
  flightRows?: number;
  /** Least MSS that a peer is believed, bytes: segments get no smaller because it asks. Default 64. */
  leastMss?: number;
  /**
   * How long a peer may keep its window shut while data waits for it, ms, even if it answers probes; 0: as long as it
   * likes (RFC 9293 MUST-37). Default 0. Connections that nobody holds any more are given up after 12 probes anyway.
   */
  zeroWindowMs?: number;
  /**
   * When the memory for sending is exhausted: how long a connection may have moved less than 8 KiB and keep what it holds,
   * ms; half of it when nobody holds the connection any more; 0: for ever. Default 180000: probes of shut windows,
   * and retransmissions, may be a minute or two apart.
   */
  stalledMs?: number;
  /** How long a closed connection may take to get rid of each 64 KiB that are left to send, ms; 0: for ever. Default 600000. */
  orphanMs?: number;
  /** How long whoever connects to us may say nothing at all, ms; 0: for ever. Default 0. */
  firstDataMs?: number;
  /** Resets in answer to segments that belong to no connection, in a second; 0: none is held back. Default 1000. */
  resetsPerSecond?: number;
}

export interface IpLimits {
  /** Incomplete datagrams, bytes of packet memory, in whole blocks of 8 KiB. Default 4 MiB, at most an eighth of the memory. */
  reassemblyBytes?: number;
  /** Incomplete datagrams, those included that are only remembered to drop what still comes of them. Default 1024. */
  reassemblyDatagrams?: number;
  /** Incomplete datagrams of one source. Default 256. */
  reassemblyPerSource?: number;
  /** Fragments of all incomplete datagrams. Default 16384. */
  reassemblyFragments?: number;
  /** ICMP errors sent in a second. Default 1000. */
  icmpErrorsPerSecond?: number;
  /** ICMP errors sent at once. Default 50. */
  icmpErrorBurst?: number;
  /** Bytes on the way from the stack to itself. Default 8 MiB. */
  loopbackBytes?: number;
}

export interface UdpLimits {
  /** Open UDP sockets. Default 16384. */
  sockets?: number;
}

export interface Limits {
  tcp?: TcpLimits;
  ip?: IpLimits;
  udp?: UdpLimits;
}

/** `Limits` with every default filled in. */
export interface ResolvedLimits {
  readonly tcp: Readonly<Required<TcpLimits>>;
  readonly ip: Readonly<Required<IpLimits>>;
  readonly udp: Readonly<Required<UdpLimits>>;
}

/** What stands for 'a quarter of the packet memory' in `outOfOrderBytes`. */
export const QUARTER_OF_MEMORY = -1;

/** A day, ms: longest of the times. Deadlines are differences of int32. */
const DAY_MS = 86_400_000;
const GIB = 1 << 30;

/** Default, least and greatest value of each. */
const LIMITS: { readonly [K in keyof ResolvedLimits]: { readonly [N in keyof ResolvedLimits[K]]: readonly [number, number, number] } } = {
  tcp: {
    connections: [262_144, 1, 1 << 24],
    connectionsPerAddress: [0, 0, 1 << 24],
    halfOpen: [1024, 4, 1 << 20],
    timeWait: [65_536, 0, 1 << 22],
    outOfOrderBytes: [QUARTER_OF_MEMORY, 0, GIB],
    outOfOrderRanges: [1024, 1, 65_536],
    flightRows: [1 << 20, 1024, 1 << 24],
    leastMss: [64, 64, 1220],
    zeroWindowMs: [0, 0, DAY_MS],
    stalledMs: [180_000, 0, DAY_MS],
    orphanMs: [600_000, 0, DAY_MS],
    firstDataMs: [0, 0, DAY_MS],
    resetsPerSecond: [1000, 0, 1_000_000],
  },
  ip: {
    reassemblyBytes: [4 << 20, 0, GIB],
    reassemblyDatagrams: [1024, 1, 65_536],
    reassemblyPerSource: [256, 1, 65_536],
    reassemblyFragments: [16_384, 64, 1 << 22],
    icmpErrorsPerSecond: [1000, 0, 1_000_000],
    icmpErrorBurst: [50, 0, 1_000_000],
    loopbackBytes: [8 << 20, 1 << 16, GIB],
  },
  udp: {
    sockets: [16_384, 0, 1 << 20],
  },
};

function resolve(given: Record<string, unknown>, group: string, known: Record<string, readonly [number, number, number]>): Record<string, number> {
  const resolved: Record<string, number> = {};
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const range = known[name];
    if (range === undefined) {
      throw new RangeError(`there is no limit '${group}.${name}'; there are ${Object.keys(known).map((one) => `${group}.${one}`).join(', ')}`);
    }
    const [, least, most] = range;
    if (typeof value !== 'number' || !(value >= least && value <= most)) {
      throw new RangeError(`limits.${group}.${name} is ${String(value)}; it must be a number between ${least} and ${most}`);
    }
    resolved[name] = Math.floor(value);
  }
  for (const [name, [byDefault]] of Object.entries(known)) resolved[name] ??= byDefault;
  return resolved;
}

/**
 * Checks limits and fills in defaults.
 *
 * @throws RangeError that names a limit which does not exist, or is no number within its range
 */
export function resolveLimits(limits: Limits = {}): ResolvedLimits {
  for (const group of Object.keys(limits)) {
    if (!(group in LIMITS)) throw new RangeError(`there are no limits '${group}'; there are ${Object.keys(LIMITS).join(', ')}`);
  }
  const of = (group: keyof ResolvedLimits): unknown => (
    resolve({ ...limits[group] }, group, LIMITS[group] as Record<string, readonly [number, number, number]>)
  );
  return { tcp: of('tcp'), ip: of('ip'), udp: of('udp') } as ResolvedLimits;
}
