/** What can be said of a simulated link, in the units that people use, and what that is for a path (lib/link/impaired-path.ts). */

import type { GilbertElliott } from '../link/burst-loss.ts';
import type { PathOptions } from '../link/impaired-path.ts';
import type { QueueDiscipline } from '../link/path-queue.ts';

/** Loss in bursts, after Gilbert and Elliott; see `GilbertElliott`. */
export interface BurstLossOptions {
  gilbertElliott: GilbertElliott;
}

export interface ReorderOptions {
  /** Probability that a packet is held back, so that later ones overtake it. */
  share: number;
  /** Hold it this much longer, ms. Default: hold by packets. */
  ms?: number;
  /** Hold it until so many later packets have passed, but 100 ms at most. Default 3. */
  packets?: number;
}

export interface QueueOptions {
  /** Most packets that wait for the rate. Default 1000, or no bound when `bytes` is given. */
  packets?: number;
  /** Most bytes that wait. Default: no bound. */
  bytes?: number;
  /** Default 'droptail'; 'codel' is RFC 8289. */
  discipline?: QueueDiscipline;
}

/** One direction of a link. */
export interface DirectionOptions {
  /** `'100Mbit'`, `'1.5Gbit'`, `'64kbit'`, or a number of bits per second; counted over IP packets. 0, the default: no limit. */
  rate?: string | number;
  /** One-way delay. Default 0. Whole µs count. */
  delayMs?: number;
  /** Further delay, uniform between 0 and this. It keeps the order; reordering has its own setting. */
  jitterMs?: number;
  /** Probability that a packet is lost, or a model of bursts. */
  loss?: number | BurstLossOptions;
  /** Probability that a packet is held back until three later ones have passed, or more about it. */
  reorder?: number | ReorderOptions;
  /** Probability that a packet arrives twice. */
  duplicate?: number;
  /** Probability that a bit of a packet is flipped. */
  corrupt?: number;
  /** What waits for the rate. */
  queue?: QueueOptions;
  /**
   * Packets of ECN-capable connections are marked instead of lost: those that `loss` or CoDel would take, and with
   * drop-tail those that come while half of `queue.packets` wait. Default false.
   */
  ecn?: boolean;
  /** Packets of more bytes vanish, and nobody is told. 0, the default: none do. */
  mtuBlackHole?: number;
}

/** Both directions; `forward` (from the node named first) and `backward` override what is said of both. */
export interface LinkOptions extends DirectionOptions {
  /** Largest packet that the nodes at both ends put on the link, bytes. Default 1500. A host knows it, a router tells by ICMP. */
  mtu?: number;
  forward?: DirectionOptions;
  backward?: DirectionOptions;
}

export const DEFAULT_MTU = 1500;
/** What every network must carry (RFC 791 section 3.2), and the longest packet that there is. */
const MIN_MTU = 68;
const MAX_MTU = 65535;

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9 };
const DIRECTION = ['rate', 'delayMs', 'jitterMs', 'loss', 'reorder', 'duplicate', 'corrupt', 'queue', 'ecn', 'mtuBlackHole'];

/** Bits per second. Throws a RangeError when `rate` is neither a number nor text like `'100Mbit'`. */
export function parseRate(rate: string | number): number {
  if (typeof rate === 'number') {
    if (rate >= 0) return rate;
  } else {
    const match = /^([0-9]+(?:\.[0-9]+)?) ?([kmg]?)bit(?:\/s)?$/i.exec(rate);
    if (match !== null) return Number(match[1]) * UNITS[match[2]!.toLowerCase()]!;
  }
  throw new RangeError(`rate: '${rate}' is not a rate; write for example '100Mbit', '64kbit', or a number of bits per second`);
}

function known(what: string, options: object, names: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) throw new RangeError(`${what} has no setting '${name}'; there are ${names.join(', ')}`);
  }
}

function microseconds(name: string, ms: number | undefined): number | undefined {
  if (ms === undefined) return undefined;
  if (!(ms >= 0)) throw new RangeError(`${name} ${ms} is not a number of at least 0`);
  return Math.round(ms * 1000);
}

/** Settings of a path; what is not said stays undefined. Throws a RangeError that names the bad one. */
function pathOptions(options: DirectionOptions): PathOptions {
  const { loss, reorder, queue } = options;
  const path: PathOptions = {
    rate: options.rate === undefined ? undefined : parseRate(options.rate),
    delayUs: microseconds('delayMs', options.delayMs),
    jitterUs: microseconds('jitterMs', options.jitterMs),
    duplicate: options.duplicate,
    corrupt: options.corrupt,
    blackHole: options.mtuBlackHole,
    ecn: options.ecn,
  };
  if (typeof loss === 'object') {
    known('loss', loss, ['gilbertElliott']);
    known('loss.gilbertElliott', loss.gilbertElliott ?? {}, ['p', 'r', 'good', 'bad']);
    path.loss = 0;
    path.burstLoss = loss.gilbertElliott;
  } else if (loss !== undefined) {
    path.loss = loss;
    path.burstLoss = null;
  }
  if (typeof reorder === 'object') {
    known('reorder', reorder, ['share', 'ms', 'packets']);
    path.reorder = reorder.share;
    path.reorderUs = microseconds('reorder.ms', reorder.ms) ?? 0;
    path.reorderPackets = reorder.packets ?? 3;
  } else if (reorder !== undefined) {
    path.reorder = reorder;
    path.reorderUs = 0;
    path.reorderPackets = 3;
  }
  if (queue !== undefined) {
    known('queue', queue, ['packets', 'bytes', 'discipline']);
    path.queuePackets = queue.packets ?? (queue.bytes === undefined ? 1000 : Number.MAX_SAFE_INTEGER);
    path.queueBytes = queue.bytes ?? 0;
    path.queueDiscipline = queue.discipline ?? 'droptail';
  }
  return path;
}

/** Settings of both paths and the MTU, as far as they are said. Throws a RangeError that names what is bad. */
export function linkOptions(options: LinkOptions): { forward: PathOptions; backward: PathOptions; mtu: number | undefined } {
  const { forward = {}, backward = {}, mtu, ...both } = options;
  known('a link', options, [...DIRECTION, 'mtu', 'forward', 'backward']);
  known('forward', forward, DIRECTION);
  known('backward', backward, DIRECTION);
  if (mtu !== undefined && !(Number.isInteger(mtu) && mtu >= MIN_MTU && mtu <= MAX_MTU)) {
    throw new RangeError(`mtu ${mtu} is not a whole number between ${MIN_MTU} and ${MAX_MTU}`);
  }
  return { forward: pathOptions({ ...both, ...forward }), backward: pathOptions({ ...both, ...backward }), mtu };
}
