/**
 * What a service is: something that listens on a port of a stack, on TCP, UDP or both, and answers
 * until it is closed. `tcpu up --serve` starts them, from the registry in index.ts, in the stack's own process,
 * `tcpu serve` in another.
 */

import type { Clock } from '../clock.ts';
import type { ConnectionInfo } from '../home/connections.ts';
import type { Net } from '../net/net.ts';
import type { SocketProvider, UdpProvider } from '../socket.ts';

/** What services stand on: a `Stack`, or an application's `Attachment` to one. */
export interface ServiceHost extends SocketProvider {
  readonly net: Net;
  readonly udp: UdpProvider;
  readonly clock: Clock;
  /** The stack's addresses, as CIDR. */
  readonly addresses: readonly string[];
  /** Of the TCP that the services use. */
  connections(): ConnectionInfo[];
  /** By layer. */
  counters(): Record<string, Record<string, number>>;
}

/** A service that cannot start; the message is one sentence for the person who asked for it. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  /** Errno name, as in `error.code` of Node's own errors. */
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

/** A service that listens. */
export interface RunningService {
  readonly name: string;
  readonly port: number;
  /** `tcp`, `udp`, or both. */
  readonly transports: readonly string[];
  /**
   * Takes no more connections. With `graceful` those that are open may end by themselves (the stack
   * that closes next waits for them); otherwise they are let go of now.
   */
  close(graceful?: boolean): void;
}

/** One kind of service. */
export interface Service {
  readonly name: string;
  /** The port that IANA gives it, or that its clients use. */
  readonly defaultPort: number;
  /** For `--help`. */
  readonly summary: string;
  /** Listens on `port` of all of the stack's addresses. Throws, or rejects with, `ServiceError`. */
  start(host: ServiceHost, port: number): RunningService | Promise<RunningService>;
}
