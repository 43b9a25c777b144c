/**
 * A TCP stream of a test. Receiving copies into one buffer that all streams share and counts; sending
 * copies blocks out of another until the send buffer is full, or until the rate says to wait.
 */

import type { Alarm, Clock } from '../../clock.ts';
import { EAGAIN } from '../../errno.ts';
import {
  IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPV6_TCLASS, IP_TOS, SOL_SOCKET, SO_RCVBUF, SO_SNDBUF, TCP_CONGESTION, TCP_INFO,
  TCP_MAXSEG, TCP_NODELAY,
} from '../../socket.ts';
import type { BsdSocket, TcpInfo } from '../../socket.ts';
import { IE_SET_BUF, IE_SET_CONGESTION, Iperf3Error } from './protocol.ts';
import type { TestParameters } from './protocol.ts';
import { Stream, describe } from './stream.ts';

/** Largest block that iperf3 allows. */
const MAX_BLOCK = 1_048_576;
/** However short the blocks are, so much is read at once. */
const MIN_READ = 131_072;
const ENOENT = 2;

/** What arrives is copied here and forgotten; made with the first test. */
let sink: Uint8Array | null = null;
/** What is sent: bytes that do not compress. */
let source: Uint8Array | null = null;

function makeSource(): Uint8Array {
  const bytes = new Uint8Array(MAX_BLOCK);
  const words = new Int32Array(bytes.buffer);
  let x = 0x2545f491;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return bytes;
}

/** The bytes that streams send, `MAX_BLOCK` of them. */
export function sourceBytes(): Uint8Array {
  return (source ??= makeSource());
}

/** Sets what the client asked for on a data connection. Throws `Iperf3Error`. */
export function prepareSocket(socket: BsdSocket, parameters: TestParameters): void {
  if (parameters.congestion !== '') {
    if (socket.setsockopt(IPPROTO_TCP, TCP_CONGESTION, parameters.congestion) < 0) {
      throw new Iperf3Error(IE_SET_CONGESTION, `there is no congestion control '${parameters.congestion}' here`, ENOENT);
    }
  }
  if (parameters.window > 0) {
    const sent = socket.setsockopt(SOL_SOCKET, SO_SNDBUF, parameters.window);
    const received = socket.setsockopt(SOL_SOCKET, SO_RCVBUF, parameters.window);
    if (sent < 0 || received < 0) throw new Iperf3Error(IE_SET_BUF, `a window of ${parameters.window}`, -Math.min(sent, received));
  }
  if (parameters.noDelay) socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
  // The client limits its own side, and with it what it announces; ours follows where it can.
  if (parameters.mss > 0) socket.setsockopt(IPPROTO_TCP, TCP_MAXSEG, parameters.mss);
  if (parameters.tos > 0) {
    if (socket.getpeername()?.family === 'IPv6') socket.setsockopt(IPPROTO_IPV6, IPV6_TCLASS, parameters.tos);
    else socket.setsockopt(IPPROTO_IP, IP_TOS, parameters.tos);
  }
}

export class TcpStream extends Stream {
  readonly socket: BsdSocket;
  readonly description: string;
  readonly #buffer: Uint8Array;
  readonly #blockLength: number;
  /** Bytes of the block that is being sent that have not been taken yet. */
  #left = 0;
  #pacing: Alarm | null = null;
  #retransBase = 0;
  #stopped = false;
  /** Called when the connection ends before the test does. */
  readonly #ended: (stream: TcpStream) => void;

  constructor(
    id: number,
    sender: boolean,
    parameters: TestParameters,
    clock: Clock,
    socket: BsdSocket,
    ended: (stream: TcpStream) => void,
  ) {
    super(id, sender, parameters, clock);
    this.socket = socket;
    this.#ended = ended;
    this.#blockLength = parameters.blockLength;
    this.#buffer = sender ? sourceBytes() : (sink ??= new Uint8Array(MAX_BLOCK));
    this.description = describe(socket.getsockname(), socket.getpeername());
    if (sender) {
      this.retransmits = 0;
      this.#left = parameters.blockLength;
      if (parameters.rate > 0) this.#pacing = clock.alarm(() => this.#send());
    }
  }

  override start(): void {
    super.start();
    if (this.sender) {
      this.socket.onready = () => this.#send();
      this.#send();
    } else {
      this.socket.onready = () => this.#receive();
      this.#receive();
    }
  }

  override beginMeasurement(): void {
    super.beginMeasurement();
    this.#retransBase = this.#info()?.retransSegs ?? 0;
  }

  override stop(): void {
    if (this.#stopped) return;
    if (this.sender) this.#countRetransmits();
    else this.#receive();
    super.stop();
    this.#letGo();
    this.socket.close();
  }

  override abort(): void {
    if (this.#stopped) return;
    this.#letGo();
    this.socket.abort();
  }

  #letGo(): void {
    this.#stopped = true;
    this.#pacing?.clear();
    this.socket.onready = null;
  }

  #info(): TcpInfo | null {
    const info = this.socket.getsockopt(IPPROTO_TCP, TCP_INFO);
    return typeof info === 'object' ? info : null;
  }

  #countRetransmits(): void {
    const info = this.#info();
    if (info !== null) this.retransmits = info.retransSegs - this.#retransBase;
  }

  #receive(): void {
    const buffer = this.#buffer;
    const readLength = Math.max(this.#blockLength, MIN_READ);
    for (;;) {
      const length = this.socket.recv(buffer, 0, readLength);
      if (length > 0) {
        this.count(length);
        continue;
      }
      if (length !== -EAGAIN) this.#end();
      return;
    }
  }

  #send(): void {
    const buffer = this.#buffer;
    for (;;) {
      if (this.#pacing !== null && this.#left === this.#blockLength) {
        const nowUs = this.clock.nowUs();
        if (!this.mayGo(nowUs)) {
          this.#pacing.set(nowUs + this.parameters.pacingUs);
          return;
        }
      }
      const sent = this.socket.send(buffer, this.#blockLength - this.#left, this.#left);
      if (sent < 0) {
        if (sent !== -EAGAIN) this.#end();
        return;
      }
      this.count(sent);
      this.#left -= sent;
      if (this.#left === 0) this.#left = this.#blockLength;
    }
  }

  #end(): void {
    if (this.#stopped) return;
    this.socket.onready = null;
    this.#pacing?.clear();
    this.#ended(this);
  }
}
