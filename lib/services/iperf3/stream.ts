/** What all streams of a test have in common: who sends, the counts, and the rate they are held to. */

import type { Clock } from '../../clock.ts';
import type { SocketAddress } from '../../socket.ts';
import type { StreamResult, TestParameters } from './protocol.ts';

/** An address as iperf3 shows it: IPv4 without the `::ffff:` that IPv6 sockets put before it. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

/** Both ends of a stream, for the report. */
export function describe(local: SocketAddress | null, remote: SocketAddress | null): string {
  const end = (side: SocketAddress | null): string => (side === null ? '?' : `${plainAddress(side.address)} port ${side.port}`);
  return `local ${end(local)} connected to ${end(remote)}`;
}

/** One stream of a test. The counts are plain numbers, raised as data moves. */
export abstract class Stream {
  /** As iperf3 counts: 1, 3, 4, 5, … */
  readonly id: number;
  /** Whether this side sends. */
  readonly sender: boolean;
  protected readonly parameters: TestParameters;
  protected readonly clock: Clock;
  /** Bytes moved since the measurement began (that is since the end of `omit`). */
  bytes = 0;
  /** Bytes since the last interval of the report. */
  intervalBytes = 0;
  /** Segments sent again since the measurement began; -1 on a receiver. */
  retransmits = -1;
  /**
   * UDP: smoothed difference of transit times, seconds; datagrams lost, out of order, and in all. The
   * counts go on from before the measurement: iperf3's client takes what it omitted off by itself.
   */
  jitter = 0;
  lost = 0;
  outOfOrder = 0;
  packets = 0;
  /** When data began to flow, when the measurement began, when it ended; µs. */
  #firstUs = 0;
  startUs = 0;
  endUs = 0;
  /** Bytes sent since data began to flow: what the rate limit counts. */
  #paced = 0;

  constructor(id: number, sender: boolean, parameters: TestParameters, clock: Clock) {
    this.id = id;
    this.sender = sender;
    this.parameters = parameters;
    this.clock = clock;
  }

  /** Where the stream's ends are, for the report. */
  abstract readonly description: string;

  /** Begins to send, or to count. */
  start(): void {
    this.#firstUs = this.startUs = this.endUs = this.clock.nowUs();
  }

  /** The time to omit is over: counting begins again. */
  beginMeasurement(): void {
    this.bytes = 0;
    this.intervalBytes = 0;
    this.jitter = 0;
    this.startUs = this.clock.nowUs();
  }

  /** Stops, takes what has arrived already, and lets go of the socket; the counts stay. */
  stop(): void {
    this.endUs = this.clock.nowUs();
  }

  /** Drops the stream; nothing is wanted of it any more. */
  abstract abort(): void;

  protected count(bytes: number): void {
    this.bytes += bytes;
    this.intervalBytes += bytes;
    this.#paced += bytes;
  }

  /** Whether the rate lets another block go now: the mean since the start is what counts, as in iperf3. */
  protected mayGo(nowUs: number): boolean {
    const rate = this.parameters.rate;
    return rate === 0 || this.#paced * 8e6 <= rate * (nowUs - this.#firstUs);
  }

  /** How many blocks the rate lets go now; `burst` of them at least when one may. Infinity without a rate. */
  protected blocksDue(nowUs: number, burst: number): number {
    const { rate, blockLength } = this.parameters;
    if (rate === 0) return Infinity;
    const due = Math.floor(((rate * (nowUs - this.#firstUs)) / 8e6 - this.#paced) / blockLength) + 1;
    return due > 0 ? Math.max(due, burst) : 0;
  }

  result(): StreamResult {
    return {
      id: this.id,
      bytes: this.bytes,
      retransmits: this.retransmits,
      jitter: this.jitter,
      errors: this.lost,
      packets: this.packets,
      start_time: 0,
      end_time: (this.endUs - this.startUs) / 1e6,
    };
  }
}
