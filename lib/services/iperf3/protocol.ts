/**
 * What iperf3's client and server say to each other over the control connection.
 *
 * ```
 * client                                   server
 *   | -- cookie, 37 bytes -------------------> |
 *   | <------------------ PARAM_EXCHANGE ----- |
 *   | -- length, JSON of parameters ---------> |
 *   | <------------------ CREATE_STREAMS ----- |
 *   | == one connection each, cookie ========> |   (UDP: a datagram each way)
 *   | <------------------ TEST_START --------- |
 *   | <------------------ TEST_RUNNING ------- |
 *   | -- TEST_END ---------------------------> |
 *   | <------------------ EXCHANGE_RESULTS --- |
 *   | -- length, JSON of results ------------> |
 *   | <------------------ length, JSON ------- |
 *   | <------------------ DISPLAY_RESULTS ---- |
 *   | -- IPERF_DONE -------------------------> |
 * ```
 *
 * States are one signed byte; the length before JSON is four bytes, big-endian. The numbers are those of
 * iperf 3.12 (iperf_api.h); they have not changed since 3.0.
 */

export const TEST_START = 1;
export const TEST_RUNNING = 2;
export const TEST_END = 4;
export const PARAM_EXCHANGE = 9;
export const CREATE_STREAMS = 10;
export const SERVER_TERMINATE = 11;
export const CLIENT_TERMINATE = 12;
export const EXCHANGE_RESULTS = 13;
export const DISPLAY_RESULTS = 14;
export const IPERF_DONE = 16;
/** The server is busy; the client says so and gives up. */
export const ACCESS_DENIED = -1;
/** Followed by two big-endian int32: iperf's own error number and an errno. */
export const SERVER_ERROR = -2;

/** 36 characters and a NUL. Every connection of a test begins with the same cookie. */
export const COOKIE_LENGTH = 37;

/** iperf's error numbers that this server sends; the client prints its own sentence for each. */
export const IE_DURATION = 5;
export const IE_NUM_STREAMS = 6;
export const IE_BLOCK_SIZE = 7;
export const IE_BUFFER_SIZE = 8;
export const IE_MSS = 10;
export const IE_OMIT = 12;
export const IE_UNIMPLEMENTED = 13;
export const IE_BURST = 15;
export const IE_UDP_BLOCK_SIZE = 20;
export const IE_REVERSE_BIDIR = 25;
export const IE_RECV_PARAMS = 114;
export const IE_RECV_RESULTS = 117;
export const IE_SET_BUF = 124;
export const IE_PROTOCOL = 131;
export const IE_SET_CONGESTION = 134;
export const IE_STREAM_LISTEN = 202;
export const IE_STREAM_ACCEPT = 204;

/** Limits of iperf 3.12. */
const MAX_STREAMS = 128;
const MAX_TIME_SECONDS = 86_400;
const MAX_OMIT_SECONDS = 60;
const MAX_BLOCK = 1_048_576;
const MAX_UDP_BLOCK = 65_507;
const MAX_BUFFER = 536_870_912;
const MAX_MSS = 9216;
const MAX_BURST = 1000;
const MIN_UDP_BLOCK = 16;

const DEFAULT_TCP_BLOCK = 131_072;
const DEFAULT_UDP_BLOCK = 1460;

/** Why a test cannot go on: an iperf error number for the client, and words for the log. */
export class Iperf3Error extends Error {
  override readonly name = 'Iperf3Error';
  readonly number: number;
  readonly errno: number;

  constructor(number: number, message: string, errno = 0) {
    super(message);
    this.number = number;
    this.errno = errno;
  }
}

/** What the client asks for. Names in comments are the JSON's. */
export interface TestParameters {
  udp: boolean;
  /** Streams that the server receives, and that it sends (`parallel`, `reverse`, `bidirectional`). */
  receivers: number;
  senders: number;
  /** Seconds to measure (`time`), 0 when the test ends by an amount; seconds before that (`omit`). */
  timeSeconds: number;
  omitSeconds: number;
  /** Bytes of one write or datagram (`len`). */
  blockLength: number;
  /** Bits a second of each stream, 0 for no limit (`bandwidth`, or `fqrate`). */
  rate: number;
  /** Microseconds between two looks at the rate (`pacing_timer`). */
  pacingUs: number;
  /** Blocks that are sent at once however low the rate (`burst`). */
  burst: number;
  /** SO_SNDBUF and SO_RCVBUF, 0 for the stack's own (`window`). */
  window: number;
  /** TCP_MAXSEG, 0 for the stack's own (`MSS`). */
  mss: number;
  noDelay: boolean;
  /** IP_TOS (`TOS`). */
  tos: number;
  /** TCP_CONGESTION, '' for the default. */
  congestion: string;
  /** UDP headers carry 64-bit packet numbers. */
  counters64: boolean;
  /** The client wants the server's own report too. */
  serverOutput: boolean;
  clientVersion: string;
}

function integer(json: Record<string, unknown>, key: string, low: number, high: number, error: number): number {
  const value = json[key];
  if (value === undefined) return 0;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high) {
    throw new Iperf3Error(error, `${key} is ${JSON.stringify(value)}, not a number from ${low} to ${high}`);
  }
  return value;
}

/** Reads and checks the parameters. Throws `Iperf3Error`. */
export function parseParameters(json: unknown): TestParameters {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new Iperf3Error(IE_RECV_PARAMS, 'the parameters are not a JSON object');
  }
  const from = json as Record<string, unknown>;
  const flag = (key: string): boolean => from[key] !== undefined && from[key] !== false && from[key] !== 0;
  const udp = flag('udp');
  if (!udp && !flag('tcp')) throw new Iperf3Error(IE_PROTOCOL, 'the client asks for neither TCP nor UDP');
  const both = flag('bidirectional');
  const reverse = flag('reverse');
  if (both && reverse) throw new Iperf3Error(IE_REVERSE_BIDIR, 'reverse and bidirectional at once');
  const parallel = integer(from, 'parallel', 1, MAX_STREAMS, IE_NUM_STREAMS) || 1;
  const blockLength = udp
    ? integer(from, 'len', 0, MAX_UDP_BLOCK, IE_UDP_BLOCK_SIZE) || DEFAULT_UDP_BLOCK
    : integer(from, 'len', 0, MAX_BLOCK, IE_BLOCK_SIZE) || DEFAULT_TCP_BLOCK;
  if (udp && blockLength < MIN_UDP_BLOCK) {
    throw new Iperf3Error(IE_UDP_BLOCK_SIZE, `datagrams of ${blockLength} bytes cannot hold the header of ${MIN_UDP_BLOCK}`);
  }
  const rate = integer(from, 'bandwidth', 0, Number.MAX_SAFE_INTEGER, IE_UNIMPLEMENTED);
  const fqRate = integer(from, 'fqrate', 0, Number.MAX_SAFE_INTEGER, IE_UNIMPLEMENTED);
  return {
    udp,
    receivers: reverse ? 0 : parallel,
    senders: reverse || both ? parallel : 0,
    timeSeconds: integer(from, 'time', 0, MAX_TIME_SECONDS, IE_DURATION),
    omitSeconds: integer(from, 'omit', 0, MAX_OMIT_SECONDS, IE_OMIT),
    blockLength,
    rate: fqRate === 0 ? rate : rate === 0 ? fqRate : Math.min(rate, fqRate),
    pacingUs: integer(from, 'pacing_timer', 0, 1_000_000_000, IE_UNIMPLEMENTED) || 1000,
    burst: integer(from, 'burst', 0, MAX_BURST, IE_BURST),
    window: integer(from, 'window', 0, MAX_BUFFER, IE_BUFFER_SIZE),
    mss: integer(from, 'MSS', 0, MAX_MSS, IE_MSS),
    noDelay: flag('nodelay'),
    tos: integer(from, 'TOS', 0, 255, IE_UNIMPLEMENTED),
    congestion: typeof from['congestion'] === 'string' ? from['congestion'] : '',
    counters64: flag('udp_counters_64bit'),
    serverOutput: flag('get_server_output'),
    clientVersion: typeof from['client_version'] === 'string' ? from['client_version'].slice(0, 32) : 'unknown',
  };
}

/** Figures of one stream, as the results carry them. */
export interface StreamResult {
  id: number;
  bytes: number;
  /** -1 where it is not known. */
  retransmits: number;
  /** Seconds. */
  jitter: number;
  /** Datagrams lost, and datagrams in all. */
  errors: number;
  packets: number;
  /** Seconds from the start of the measurement. */
  start_time: number;
  end_time: number;
}

/** Results as they cross the control connection. */
export interface TestResults {
  /** Percent of one processor. */
  cpu_util_total: number;
  cpu_util_user: number;
  cpu_util_system: number;
  /** 1 when this side sends and counts retransmissions, 0 when it does not count, -1 when it receives. */
  sender_has_retransmits: number;
  congestion_used?: string;
  server_output_text?: string;
  streams: StreamResult[];
}

/** Reads the client's results; only their form is checked. Throws `Iperf3Error`. */
export function parseResults(json: unknown): TestResults {
  const from = json as Partial<TestResults> | null;
  if (typeof from !== 'object' || from === null || !Array.isArray(from.streams) || typeof from.cpu_util_total !== 'number') {
    throw new Iperf3Error(IE_RECV_RESULTS, "the client's results are not what they should be");
  }
  return from as TestResults;
}

/** A JSON value with its length in front. */
export function encodeJson(value: unknown): Uint8Array {
  const text = Buffer.from(JSON.stringify(value), 'utf8');
  const message = Buffer.allocUnsafe(4 + text.length);
  message.writeUInt32BE(text.length, 0);
  text.copy(message, 4);
  return message;
}

/** SERVER_ERROR with its two numbers. */
export function encodeServerError(number: number, errno: number): Uint8Array {
  const message = Buffer.allocUnsafe(9);
  message.writeInt8(SERVER_ERROR, 0);
  message.writeInt32BE(number, 1);
  message.writeInt32BE(errno, 5);
  return message;
}
