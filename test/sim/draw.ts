/** What a seed stands for: a network, two stacks' settings, and what applications do over them. */

import { MIN_RING, MIN_RX_RING } from '../../lib/channel/window.ts';
import type { ImpairOptions } from '../../lib/link/impair.ts';
import { LINK_CSUM, LINK_TSO4, LINK_TSO6 } from '../../lib/link/link.ts';
import { SeededRandom } from '../../lib/random.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import type { TcpuSide } from './host.ts';

/** One direction of a connection. */
export interface StreamDraw {
  bytes: number;
  /** The writer gives this much in a call, and waits so long after each. */
  writeSize: number;
  writePauseUs: number;
  /** The reader takes this much in a call; with a pause it reads by the clock, else when it is told. */
  readSize: number;
  readPauseUs: number;
  /** The writer waits for the end of the other direction before it ends its own. */
  endsAfterPeer: boolean;
}

export interface ConnectionDraw {
  /** Which of the two stacks opens it: 0 or 1. */
  opener: number;
  startUs: number;
  /** Sent by stack 0, by stack 1. */
  streams: [StreamDraw, StreamDraw];
  /** Socket options, by stack; 0 leaves the default. */
  noDelay: [boolean, boolean];
  rcvbuf: [number, number];
  sndbuf: [number, number];
  maxSegment: [number, number];
  /** This end closes its socket as soon as it has written everything, without reading to the end; -1: none. */
  closesEarly: number;
}

export interface Draw {
  seed: number;
  version: 4 | 6;
  mtu: number;
  /** µs of the clock when the run begins. */
  startUs: number;
  /** Fates of packets; null when super-segments cross the bare pair. */
  impair: ImpairOptions | null;
  /** With `impair` null: `LINK_…` bits, one-way delay, and the probability that a (super-)segment is lost or overtaken. */
  features: number;
  latencyUs: number;
  batchLoss: number;
  batchSwap: number;
  queuePackets: number;
  memory: [number, number];
  tcp: [TcpOptions, TcpOptions];
  /** First sequence number of connections, or null for the keyed hash. */
  iss: number | null;
  connections: ConnectionDraw[];
  /** Which of the two ends is an application with its own TCP, attached to its stack. */
  tcpu: [TcpuSide | null, TcpuSide | null];
}

/** Draws of one seed. */
export class Dice {
  readonly #random: SeededRandom;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }

  chance(p: number): boolean {
    return this.#random.unit() < p;
  }

  between(low: number, high: number): number {
    return low + this.#random.unit() * (high - low);
  }

  /** Whole number in [low, high]. */
  whole(low: number, high: number): number {
    return low + Math.floor(this.#random.unit() * (high - low + 1));
  }

  /** Whole number, each power of ten as likely as the other. */
  spread(low: number, high: number): number {
    return Math.round(low * (high / low) ** this.#random.unit());
  }

  pick<T>(...of: T[]): T {
    return of[this.whole(0, of.length - 1)]!;
  }
}

export function drawTcp(dice: Dice, crowded: boolean): TcpOptions {
  const rcvbuf = dice.spread(crowded ? 100_000 : 4096, 1 << 20);
  const sndbuf = dice.spread(crowded ? 100_000 : 4096, 1 << 20);
  return {
    congestion: dice.pick('cubic', 'newreno'),
    timestamps: dice.chance(0.75),
    sack: dice.chance(0.75),
    windowScaling: dice.chance(0.8),
    initialWindow: dice.pick(1, 4, 10, 10),
    rcvbuf: { initial: rcvbuf, max: dice.chance(0.5) ? rcvbuf : 1 << 20 },
    sndbuf: { initial: sndbuf, max: dice.chance(0.5) ? sndbuf : 1 << 20 },
    delayedAckMs: dice.pick(0, 40, 40, 200),
    // So that no draw is hopeless before it has begun.
    synRetries: 20,
    synAckRetries: 20,
    timeWaitMs: 2000,
  };
}

function drawStream(dice: Dice, most: number, crowded: boolean): StreamDraw {
  const bytes = dice.chance(0.12) ? 0 : crowded ? dice.whole(1, most) : dice.spread(1, most);
  const readSize = dice.pick(1000, 1460, 4096, 16_384, 65_521, dice.spread(50, 65_521));
  const writeSize = dice.pick(100, 1460, 8192, 16_384, 65_521, dice.spread(20, 65_521));
  // A slow end takes half a minute at most.
  const reads = Math.max(bytes / readSize, 1);
  const writes = Math.max(bytes / writeSize, 1);
  return {
    bytes,
    writeSize,
    writePauseUs: dice.chance(0.2) ? dice.whole(1, Math.min(2e6, 15e6 / writes)) : 0,
    readSize,
    readPauseUs: dice.chance(crowded ? 0.7 : 0.3) ? dice.whole(1, Math.min(2e6, 15e6 / reads)) : 0,
    endsAfterPeer: false,
  };
}

export function drawConnection(dice: Dice, most: number, crowded: boolean): ConnectionDraw {
  const streams: [StreamDraw, StreamDraw] = [drawStream(dice, most, crowded), drawStream(dice, most, crowded)];
  if (dice.chance(0.4)) streams[dice.whole(0, 1)]!.endsAfterPeer = true;
  // Closing early loses nothing only where nothing comes: the other end sends nothing and waits for the end.
  let closesEarly = -1;
  if (dice.chance(0.15)) {
    closesEarly = dice.whole(0, 1);
    streams[closesEarly]!.endsAfterPeer = false;
    streams[1 - closesEarly]!.bytes = 0;
    streams[1 - closesEarly]!.endsAfterPeer = true;
  }
  const option = (p: number, low: number, high: number): number => (dice.chance(p) ? dice.spread(low, high) : 0);
  return {
    opener: dice.whole(0, 1),
    startUs: dice.chance(0.5) ? 0 : dice.whole(0, 2e6),
    streams,
    noDelay: [dice.chance(0.4), dice.chance(0.4)],
    rcvbuf: [option(0.2, 4096, 200_000), option(0.2, 4096, 200_000)],
    sndbuf: [option(0.2, 4096, 200_000), option(0.2, 4096, 200_000)],
    maxSegment: [option(0.1, 88, 1400), option(0.1, 88, 1400)],
    closesEarly,
  };
}

function drawImpairments(dice: Dice, seed: number): ImpairOptions {
  const path = (): ImpairOptions => ({
    loss: dice.chance(0.25) ? 0 : dice.between(0, 0.1) * dice.between(0, 1),
    duplicate: dice.chance(0.5) ? 0 : dice.between(0, 0.05),
    corrupt: dice.chance(0.6) ? 0 : dice.between(0, 0.03),
    reorder: dice.chance(0.5) ? 0 : dice.between(0, 0.15),
    reorderUs: dice.chance(0.5) ? 0 : dice.spread(100, 100_000),
    reorderPackets: dice.whole(1, 10),
    delayUs: dice.spread(100, 200_000),
    jitterUs: dice.chance(0.5) ? 0 : dice.spread(10, 50_000),
    rate: dice.chance(0.4) ? 0 : dice.spread(200_000, 200_000_000),
    queuePackets: dice.spread(4, 1000),
  });
  const both = path();
  if (dice.chance(0.3)) both.up = path();
  return { seed, ...both };
}

/** The draw of `seed`; always the same. */
export function draw(seed: number): Draw {
  const dice = new Dice(seed);
  const version = dice.pick<4 | 6>(4, 6);
  const offload = dice.chance(0.25);
  // Many connections with large buffers in little memory: it runs out.
  const crowded = dice.chance(0.08);
  const connections = crowded ? dice.whole(8, 14) : dice.chance(0.6) ? 1 : dice.whole(2, 6);
  const lowest = version === 4 ? 576 : 1280;
  const tso = version === 4 ? LINK_TSO4 : LINK_TSO6;
  return {
    seed,
    version,
    mtu: dice.chance(0.4) ? 1500 : dice.chance(0.3) ? lowest : dice.spread(lowest, 9000),
    startUs: dice.pick(
      1e6,
      dice.whole(0, 0x7fffffff),
      // So that int32 µs, or TCP's int32 ms, pass their end soon.
      0x7fffffff - dice.whole(0, 10e6),
      (0x7fffffff - 1_000_000) * 1000 - dice.whole(0, 10e6),
      (0xffffffff - 1_000_000) * 1000 - dice.whole(0, 10e6),
    ),
    impair: offload ? null : drawImpairments(dice, seed),
    features: offload ? dice.pick(LINK_CSUM, LINK_CSUM | tso, LINK_CSUM | LINK_TSO4 | LINK_TSO6) : 0,
    latencyUs: offload ? dice.spread(1, 50_000) : 1,
    batchLoss: dice.chance(0.5) ? 0 : dice.between(0, 0.05),
    batchSwap: dice.chance(0.5) ? 0 : dice.between(0, 0.2),
    queuePackets: offload ? dice.spread(4, 1024) : 1024,
    memory: crowded ? [1 << 20, 1 << 20] : [dice.pick(1, 2, 8) << 20, dice.pick(1, 2, 8) << 20],
    tcp: [drawTcp(dice, crowded), drawTcp(dice, crowded)],
    iss: dice.chance(0.5) ? null : dice.pick(0x7fffff00, -256, 0x7fffffff - 20_000, -20_000) | 0,
    connections: Array.from({ length: connections }, () => drawConnection(dice, crowded ? 300_000 : Math.floor(2_000_000 / connections), crowded)),
    tcpu: [null, null],
  };
}

/**
 * The draw of `seed`, with TCP in applications on one side or on both: rings and memory that are too small, doorbells
 * that come late.
 */
export function drawTcpu(seed: number): Draw {
  const d = draw(seed);
  const dice = new Dice(seed ^ 0x7c9);
  const tight = d.memory[0] + d.memory[1] === 2 << 20;
  const side = (n: number): TcpuSide => {
    // The policy of its home: no delayed ACKs.
    const { delayedAckMs: _, ...tcp } = d.tcp[n]!;
    const late = dice.chance(0.4);
    return {
      window: {
        rxRing: dice.pick(MIN_RX_RING, MIN_RX_RING, 512 << 10, 2 << 20), txRing: dice.pick(MIN_RING, MIN_RING, 256 << 10), call: 4096,
        memory: tight ? 1 << 20 : dice.pick(1, 2, 8) << 20,
      },
      tcp,
      seed: seed * 2 + n,
      appWakesUs: late ? dice.spread(1, 20_000) : 0,
      stackWakesUs: late ? dice.spread(1, 20_000) : 0,
    };
  };
  const which = dice.pick(1, 2, 3, 3);
  d.tcpu = [(which & 1) !== 0 ? side(0) : null, (which & 2) !== 0 ? side(1) : null];
  return d;
}

/** Rate of the slower direction, bits per second, or Infinity. */
export function slowest(d: Draw): number {
  const up = d.impair?.up?.rate ?? d.impair?.rate ?? 0;
  const down = d.impair?.rate ?? 0;
  return Math.min(up || Infinity, down || Infinity);
}

/** Longest round trip that the network of this draw can make of one packet, µs, queues full. */
export function longestRoundTripUs(d: Draw): number {
  let us = 0;
  for (const side of d.tcpu) us += (side?.appWakesUs ?? 0) + (side?.stackWakesUs ?? 0);
  if (d.impair === null) return us + 2 * d.latencyUs;
  for (const path of [d.impair, { ...d.impair, ...d.impair.up }]) {
    us += path.delayUs! + path.jitterUs! + Math.max(path.reorder! > 0 ? path.reorderUs! || 100_000 : 0, 0);
    if (path.rate! > 0) us += ((path.queuePackets! + 2) * d.mtu * 8e6) / path.rate!;
  }
  return us;
}

/** Probability that a segment, or what answers it, is lost on its way. */
export function roundTripLoss(d: Draw): number {
  if (d.impair === null) return 1 - (1 - d.batchLoss) ** 2;
  const path = (p: { loss?: number; corrupt?: number }): number => 1 - (1 - (p.loss ?? 0)) * (1 - (p.corrupt ?? 0));
  return 1 - (1 - path(d.impair)) * (1 - path({ ...d.impair, ...d.impair.up }));
}
