/**
 * One test, from the client's cookie to IPERF_DONE: the server's side of the exchange in protocol.ts,
 * with a time limit for every phase.
 */

import createDebug from 'debug';
import type { Alarm, Clock } from '../../clock.ts';
import {
  IPPROTO_TCP, SOL_SOCKET, SO_KEEPALIVE, TCP_CONGESTION, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY,
} from '../../socket.ts';
import type { ServiceHost } from '../service.ts';
import type { ControlConnection } from './control.ts';
import {
  CLIENT_TERMINATE, CREATE_STREAMS, DISPLAY_RESULTS, EXCHANGE_RESULTS, IE_RECV_PARAMS, IE_STREAM_ACCEPT,
  IPERF_DONE, Iperf3Error, PARAM_EXCHANGE, SERVER_TERMINATE, TEST_END, TEST_RUNNING, TEST_START, encodeJson, encodeServerError,
  parseParameters, parseResults,
} from './protocol.ts';
import type { TestParameters, TestResults } from './protocol.ts';
import { Report } from './report.ts';
import { plainAddress } from './stream.ts';
import type { Stream } from './stream.ts';
import { TcpStream, prepareSocket } from './tcp-stream.ts';
import { UdpStreams } from './udp-stream.ts';

const debug = createDebug('tcpu:iperf3');

/** Time for the client's part of a phase that only exchanges messages. */
const EXCHANGE_US = 20_000_000;
/** Time for all streams to connect; iperf3's UDP client waits 30 s for an answer. */
const CREATE_US = 30_000_000;
/** Time on top of the test's own before the server gives up on a client. */
const GRACE_US = 15_000_000;
/** Time without any data after which a test that has no end of its own is given up. */
const IDLE_US = 120_000_000;
const SECOND_US = 1_000_000;

export class Iperf3Test {
  readonly control: ControlConnection;
  readonly cookie: string;
  readonly #host: ServiceHost;
  readonly #clock: Clock;
  readonly #port: number;
  readonly #done: (test: Iperf3Test) => void;
  readonly #client: string;
  readonly #deadline: Alarm;
  readonly #tick: Alarm;
  readonly #omit: Alarm;
  /** The last state that was sent, `PARAM_EXCHANGE` to `DISPLAY_RESULTS`; `IPERF_DONE` when it is over. */
  #state = PARAM_EXCHANGE;
  #parameters: TestParameters | null = null;
  /** Connections that brought the right cookie, while streams are made. */
  #candidates: ControlConnection[] = [];
  #udp: UdpStreams | null = null;
  #streams: Stream[] = [];
  #congestion = '';
  #report: Report | null = null;
  #omitting = false;
  /** For tests that end by an amount: bytes at the last look, and when they last changed. */
  #idleBytes = 0;
  #idleSinceUs = 0;
  #runningUs = 0;
  #cpu = process.cpuUsage();
  #cpuSinceUs = 0;

  /** `done` is called once, when another client may come. */
  constructor(host: ServiceHost, port: number, control: ControlConnection, done: (test: Iperf3Test) => void) {
    this.control = control;
    this.cookie = control.cookieText;
    this.#host = host;
    this.#clock = host.clock;
    this.#port = port;
    this.#done = done;
    const peer = control.socket.getpeername();
    this.#client = `${plainAddress(peer?.address ?? '?')}, port ${peer?.port}`;
    this.#deadline = this.#clock.alarm(() => this.#late());
    this.#tick = this.#clock.alarm(() => this.#second());
    this.#omit = this.#clock.alarm(() => this.#measure());
  }

  begin(): void {
    debug('client %s', this.#client);
    const socket = this.control.socket;
    // "It runs" must not wait for the acknowledgment of "it starts", which Linux delays by 40 ms: UDP would not wait with it.
    socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    // A client whose machine is gone says nothing; keep-alive finds out.
    socket.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
    socket.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 10);
    socket.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, 5);
    socket.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 4);
    this.#deadline.set(this.#clock.nowUs() + EXCHANGE_US);
    this.control.sendState(PARAM_EXCHANGE);
    this.control.expectJson();
  }

  json(value: unknown): void {
    try {
      if (this.#state === PARAM_EXCHANGE) this.#createStreams(parseParameters(value));
      else if (this.#state === EXCHANGE_RESULTS) this.#exchange(parseResults(value));
    } catch (error) {
      if (!(error instanceof Iperf3Error)) throw error;
      this.#fail(error);
    }
  }

  state(state: number): void {
    if (state === CLIENT_TERMINATE) {
      this.#finish('the client has terminated');
    } else if (state === TEST_END && this.#state === TEST_RUNNING) {
      this.#end();
    } else if (state === IPERF_DONE && this.#state === DISPLAY_RESULTS) {
      this.#finish('done');
    } else if (state !== TEST_START) {
      this.#finish(`the client sent state ${state} in state ${this.#state}`);
    }
  }

  /** The control connection ended. */
  clientGone(reason: string): void {
    this.#finish(this.#state === DISPLAY_RESULTS ? 'done' : reason);
  }

  /** Ends it from this side. */
  terminate(reason: string): void {
    if (this.#state === IPERF_DONE) return;
    this.control.sendState(SERVER_TERMINATE);
    this.#finish(reason);
  }

  /** Whether connections with the test's cookie are streams now. */
  get wantsStream(): boolean {
    const parameters = this.#parameters;
    return this.#state === CREATE_STREAMS && parameters !== null && !parameters.udp;
  }

  /** A connection with the test's cookie. */
  addStream(candidate: ControlConnection): void {
    const parameters = this.#parameters!;
    candidate.detach();
    try {
      prepareSocket(candidate.socket, parameters);
    } catch (error) {
      candidate.socket.close();
      if (!(error instanceof Iperf3Error)) throw error;
      this.#fail(error);
      return;
    }
    const congestion = candidate.socket.getsockopt(IPPROTO_TCP, TCP_CONGESTION);
    if (typeof congestion === 'string') this.#congestion = congestion;
    this.#candidates.push(candidate);
    if (this.#candidates.length < parameters.receivers + parameters.senders) return;
    // Cookies may have overtaken each other, connections that were accepted have not.
    this.#candidates.sort((a, b) => a.order - b.order);
    this.#run(this.#candidates.map((one, i) => new TcpStream(
      streamId(i), i >= parameters.receivers, parameters, this.#clock, one.socket, (stream) => this.#streamEnded(stream),
    )));
    this.#candidates = [];
  }

  #createStreams(parameters: TestParameters): void {
    debug('client %s: %o', this.#client, parameters);
    this.#parameters = parameters;
    this.#state = CREATE_STREAMS;
    this.#deadline.set(this.#clock.nowUs() + CREATE_US);
    if (parameters.udp) {
      const address = this.control.socket.getsockname()?.address ?? '::';
      const client = this.control.socket.getpeername()?.address ?? '';
      this.#udp = new UdpStreams(this.#host, address, this.#port, client, parameters, (streams) => this.#run(streams));
    }
    this.control.sendState(CREATE_STREAMS);
  }

  #run(streams: Stream[]): void {
    const parameters = this.#parameters!;
    const nowUs = this.#clock.nowUs();
    this.#streams = streams;
    this.#state = TEST_RUNNING;
    this.control.sendState(TEST_START);
    this.control.sendState(TEST_RUNNING);
    if (this.#ended()) return;
    if (parameters.serverOutput) this.#report = new Report(parameters, this.#client, streams);
    if (parameters.timeSeconds > 0) {
      this.#deadline.set(nowUs + (parameters.timeSeconds + parameters.omitSeconds) * SECOND_US + GRACE_US);
    } else {
      this.#deadline.clear();
    }
    this.#idleSinceUs = nowUs;
    this.#cpu = process.cpuUsage();
    this.#cpuSinceUs = nowUs;
    this.#runningUs = nowUs;
    this.#tick.set(nowUs + SECOND_US);
    if (parameters.omitSeconds > 0) {
      this.#omitting = true;
      this.#omit.set(nowUs + parameters.omitSeconds * SECOND_US);
    }
    for (const stream of streams) stream.start();
  }

  /** `-O`: from now on counts count. */
  #measure(): void {
    if (this.#state !== TEST_RUNNING) return;
    this.#report?.interval(this.#streams, this.#clock.nowUs(), true);
    this.#omitting = false;
    for (const stream of this.#streams) stream.beginMeasurement();
    this.#runningUs = this.#clock.nowUs();
    this.#tick.set(this.#runningUs + SECOND_US);
  }

  #second(): void {
    if (this.#state !== TEST_RUNNING) return;
    const nowUs = this.#clock.nowUs();
    this.#report?.interval(this.#streams, nowUs, this.#omitting);
    let bytes = 0;
    for (const stream of this.#streams) bytes += stream.bytes;
    if (bytes !== this.#idleBytes) {
      this.#idleBytes = bytes;
      this.#idleSinceUs = nowUs;
    } else if (nowUs - this.#idleSinceUs > IDLE_US) {
      this.terminate('no data for two minutes');
      return;
    }
    this.#tick.set(nowUs + SECOND_US);
  }

  /** The client says that the time is up, or the amount reached. */
  #end(): void {
    for (const stream of this.#streams) stream.stop();
    this.#udp?.close();
    this.#tick.clear();
    this.#omit.clear();
    this.#report?.interval(this.#streams, this.#clock.nowUs(), this.#omitting);
    this.#state = EXCHANGE_RESULTS;
    this.#deadline.set(this.#clock.nowUs() + EXCHANGE_US);
    this.control.sendState(EXCHANGE_RESULTS);
    this.control.expectJson();
  }

  /** The client's results are here; ours follow. */
  #exchange(_theirs: TestResults): void {
    const parameters = this.#parameters!;
    const cpu = process.cpuUsage(this.#cpu);
    const percent = 100 / Math.max(this.#clock.nowUs() - this.#cpuSinceUs, 1);
    const results: TestResults = {
      cpu_util_total: (cpu.user + cpu.system) * percent,
      cpu_util_user: cpu.user * percent,
      cpu_util_system: cpu.system * percent,
      sender_has_retransmits: parameters.senders === 0 ? -1 : parameters.udp ? 0 : 1,
      streams: this.#streams.map((stream) => stream.result()),
    };
    if (this.#congestion !== '') results.congestion_used = this.#congestion;
    if (this.#report !== null) results.server_output_text = this.#report.finish(this.#streams);
    this.#state = DISPLAY_RESULTS;
    this.control.send(encodeJson(results));
    this.control.sendState(DISPLAY_RESULTS);
    debug('client %s: %o', this.#client, results.streams);
  }

  /** A data connection ended before its test. The client knows why; the test goes on with the others. */
  #streamEnded(stream: Stream): void {
    debug('stream %d of %s ended early', stream.id, this.#client);
  }

  #late(): void {
    const error = this.#state === PARAM_EXCHANGE ? new Iperf3Error(IE_RECV_PARAMS, 'no parameters came')
      : this.#state === CREATE_STREAMS ? new Iperf3Error(IE_STREAM_ACCEPT, 'not all streams came')
      : null;
    if (error !== null) this.#fail(error);
    else this.terminate(`the client was silent for too long in state ${this.#state}`);
  }

  #fail(error: Iperf3Error): void {
    this.control.send(encodeServerError(error.number, error.errno));
    this.#finish(error.message);
  }

  #ended(): boolean {
    return this.#state === IPERF_DONE;
  }

  #finish(reason: string): void {
    if (this.#ended()) return;
    debug('client %s: %s', this.#client, reason);
    this.#state = IPERF_DONE;
    this.#deadline.clear();
    this.#tick.clear();
    this.#omit.clear();
    for (const candidate of this.#candidates) candidate.socket.abort();
    for (const stream of this.#streams) stream.abort();
    this.#udp?.close();
    this.control.close();
    this.#done(this);
  }
}

/** iperf3 numbers streams 1, 3, 4, 5, … */
function streamId(index: number): number {
  return index === 0 ? 1 : index + 2;
}
