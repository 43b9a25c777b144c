/**
 * iperf3's server (default port 5201): takes one test at a time from unmodified iperf3 clients, over
 * TCP or UDP, receiving, sending (-R) or both (--bidir). A second client is told that the server is
 * busy. Whatever a client does, the server keeps serving: every phase has a time limit.
 *
 * Leaves out: authentication, SCTP, CPU affinity, zero copy, files.
 */

import createDebug from 'debug';
import type { Alarm, Clock } from '../../clock.ts';
import type { BsdSocket } from '../../socket.ts';
import type { RunningService, Service, ServiceHost } from '../service.ts';
import { TcpListener } from '../tcp-listener.ts';
import type { TcpConnection } from '../tcp-listener.ts';
import { ControlConnection } from './control.ts';
import type { ControlHandler } from './control.ts';
import { ACCESS_DENIED } from './protocol.ts';
import { Iperf3Test } from './test.ts';

const debug = createDebug('tcpu:iperf3');

/** Time for a new connection to say who it is. */
const GREETING_US = 10_000_000;
/** Connections that have not said so yet; more are reset. */
const MAX_GREETINGS = 256;

/** A connection of the server's port: a control connection, a stream, or one that is told no. */
class Connection implements TcpConnection {
  readonly socket: BsdSocket;
  readonly control: ControlConnection;
  readonly deadlineUs: number;

  constructor(control: ControlConnection, deadlineUs: number) {
    this.control = control;
    this.socket = control.socket;
    this.deadlineUs = deadlineUs;
  }

  ready(): void {
    this.control.ready();
  }
}

class Iperf3Server implements ControlHandler {
  readonly #host: ServiceHost;
  readonly #clock: Clock;
  readonly #port: number;
  readonly #listener: TcpListener;
  readonly #greetings = new Map<ControlConnection, Connection>();
  readonly #alarm: Alarm;
  #accepted = 0;
  #test: Iperf3Test | null = null;

  constructor(host: ServiceHost, port: number) {
    this.#host = host;
    this.#clock = host.clock;
    this.#port = port;
    this.#alarm = this.#clock.alarm(() => this.#expire());
    this.#listener = new TcpListener(host, 'iperf3', port, (socket) => this.#accept(socket));
  }

  #accept(socket: BsdSocket): TcpConnection {
    const control = new ControlConnection(socket, ++this.#accepted, this);
    const connection = new Connection(control, this.#clock.nowUs() + GREETING_US);
    if (this.#greetings.size >= MAX_GREETINGS) {
      control.abort();
      return connection;
    }
    if (this.#greetings.size === 0) this.#alarm.set(connection.deadlineUs);
    this.#greetings.set(control, connection);
    return connection;
  }

  /** The first 37 bytes of a connection say what it is. */
  cookie(control: ControlConnection, cookie: string): void {
    const connection = this.#greetings.get(control)!;
    this.#greetings.delete(control);
    // What comes next looks after its sockets itself.
    this.#listener.connections.delete(connection);
    if (this.#test === null) {
      const test = new Iperf3Test(this.#host, this.#port, control, (ended) => {
        if (this.#test === ended) this.#test = null;
      });
      this.#test = test;
      test.begin();
    } else if (cookie === this.#test.cookie && this.#test.wantsStream) {
      this.#test.addStream(control);
    } else {
      debug('busy: %s is turned away', control.socket.getpeername()?.address);
      control.sendState(ACCESS_DENIED);
      control.close();
    }
  }

  state(control: ControlConnection, state: number): void {
    if (this.#test?.control === control) this.#test.state(state);
  }

  json(control: ControlConnection, value: unknown): void {
    if (this.#test?.control === control) this.#test.json(value);
  }

  ended(control: ControlConnection, reason: string): void {
    const connection = this.#greetings.get(control);
    if (connection !== undefined) {
      this.#greetings.delete(control);
      this.#listener.connections.delete(connection);
      control.close();
    } else if (this.#test?.control === control) {
      this.#test.clientGone(reason);
    } else {
      control.close();
    }
  }

  #expire(): void {
    const nowUs = this.#clock.nowUs();
    for (const [control, connection] of this.#greetings) {
      if (connection.deadlineUs > nowUs) {
        this.#alarm.set(connection.deadlineUs);
        return;
      }
      this.#greetings.delete(control);
      this.#listener.connections.delete(connection);
      control.abort();
    }
  }

  close(graceful: boolean): void {
    this.#alarm.clear();
    this.#test?.terminate('the server is shut down');
    this.#listener.close(graceful);
  }
}

export const iperf3: Service = {
  name: 'iperf3',
  defaultPort: 5201,
  summary: "the server of iperf3 (its client: iperf3 -c ADDRESS)",
  start(host: ServiceHost, port: number): RunningService {
    const server = new Iperf3Server(host, port);
    return {
      name: 'iperf3',
      port,
      transports: ['tcp', 'udp'],
      close: (graceful = true) => server.close(graceful),
    };
  },
};
