/**
 * The application at one end of a simulated connection: writes a stream whose every byte tells its
 * place, reads the other's and compares, at its own pace, and closes in an order that was drawn.
 */

import type { Alarm, Clock } from '../../lib/clock.ts';
import { EAGAIN } from '../../lib/errno.ts';
import { IPPROTO_TCP, SHUT_WR, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, TCP_MAXSEG, TCP_NODELAY } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { SeededRandom } from '../../lib/random.ts';
import type { ConnectionDraw, StreamDraw } from './draw.ts';

/** A prime, so that no power of two brings the same byte to the same place again. */
const PERIOD = 65_521;

/** Two periods of noise: any piece of a stream up to `PERIOD` bytes is one run of it. */
const NOISE = ((): Buffer => {
  const random = new SeededRandom(0x7465_7374);
  const bytes = Buffer.alloc(2 * PERIOD);
  for (let i = 0; i < PERIOD; i++) bytes[i] = bytes[i + PERIOD] = random.int32() >>> 24;
  return bytes;
})();

/** Where in the noise byte `position` of stream `stream` stands. */
function place(stream: number, position: number): number {
  return (stream * 9973 + position) % PERIOD;
}

/** Options that must be set before the connection opens. */
export function setOptions(socket: BsdSocket, draw: ConnectionDraw, side: number): void {
  if (draw.noDelay[side]) socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
  if (draw.rcvbuf[side] !== 0) socket.setsockopt(SOL_SOCKET, SO_RCVBUF, draw.rcvbuf[side]!);
  if (draw.sndbuf[side] !== 0) socket.setsockopt(SOL_SOCKET, SO_SNDBUF, draw.sndbuf[side]!);
  if (draw.maxSegment[side] !== 0) socket.setsockopt(IPPROTO_TCP, TCP_MAXSEG, draw.maxSegment[side]!);
}

export class Application {
  /** What went wrong, or ''. */
  failure = '';
  sent = 0;
  received = 0;
  /** The end of the other's stream has been read. */
  ended = false;
  closed = false;
  readonly name: string;
  readonly #draw: ConnectionDraw;
  readonly #out: StreamDraw;
  readonly #in: StreamDraw;
  readonly #outStream: number;
  readonly #inStream: number;
  readonly #early: boolean;
  readonly #clock: Clock;
  readonly #writeAlarm: Alarm;
  readonly #readAlarm: Alarm;
  /** Its own: a call may end a turn of the stack, in which others read. */
  readonly #scratch: Buffer;
  #socket: BsdSocket | null = null;
  /** The clock will wake the writer, the reader. */
  #writeWaits = false;
  #readWaits = false;
  #shut = false;
  /** Inside a call of the socket's that may end a turn, and so call `onready`: who called goes on himself. */
  #reading = false;
  #writing = false;

  /** @param number  of the connection; `side` of the two stacks this is */
  constructor(clock: Clock, draw: ConnectionDraw, number: number, side: number) {
    this.name = `connection ${number} side ${side}`;
    this.#draw = draw;
    this.#out = draw.streams[side]!;
    this.#in = draw.streams[1 - side]!;
    this.#outStream = number * 2 + side;
    this.#inStream = number * 2 + 1 - side;
    this.#early = draw.closesEarly === side;
    this.#clock = clock;
    this.#scratch = Buffer.alloc(this.#in.readSize);
    this.#writeAlarm = clock.alarm(() => {
      this.#writeWaits = false;
      this.#write();
      this.#settle();
    });
    this.#readAlarm = clock.alarm(() => {
      this.#readWaits = false;
      this.#read();
      this.#settle();
    });
  }

  get done(): boolean {
    return this.closed;
  }

  /** Takes the socket, connected or about to be. */
  start(socket: BsdSocket): void {
    this.#socket = socket;
    socket.onready = () => this.run();
    this.run();
  }

  run(): void {
    this.#read();
    this.#write();
    this.#settle();
  }

  #fail(what: string): void {
    if (this.failure === '') this.failure = `${this.name}: ${what}`;
  }

  #write(): void {
    if (this.#writing) return;
    this.#writing = true;
    this.#writeMore();
    this.#writing = false;
  }

  #writeMore(): void {
    const socket = this.#socket;
    if (socket === null || this.closed || this.#writeWaits || this.#shut) return;
    const { bytes, writeSize, writePauseUs } = this.#out;
    while (this.sent < bytes) {
      const length = Math.min(writeSize, bytes - this.sent);
      const taken = socket.send(NOISE, place(this.#outStream, this.sent), length);
      if (taken < 0) {
        if (taken !== -EAGAIN) this.#fail(`send: errno ${-taken} after ${this.sent} of ${bytes} bytes`);
        return;
      }
      this.sent += taken;
      if (writePauseUs > 0) {
        this.#writeWaits = true;
        this.#writeAlarm.set(this.#clock.nowUs() + writePauseUs);
        return;
      }
    }
  }

  #read(): void {
    if (this.#reading) return;
    this.#reading = true;
    this.#readMore();
    this.#reading = false;
  }

  #readMore(): void {
    const socket = this.#socket;
    if (socket === null || this.closed || this.#readWaits || this.ended) return;
    const { bytes, readSize, readPauseUs } = this.#in;
    const scratch = this.#scratch;
    for (;;) {
      const taken = socket.recv(scratch, 0, readSize);
      if (taken === -EAGAIN) return;
      if (taken < 0) {
        // A connection that is not open yet says ENOTCONN.
        if (socket.getpeername() !== null) this.#fail(`recv: errno ${-taken} after ${this.received} of ${bytes} bytes`);
        return;
      }
      if (taken === 0) {
        this.ended = true;
        if (this.received !== bytes) this.#fail(`end after ${this.received} of ${bytes} bytes`);
        return;
      }
      const at = place(this.#inStream, this.received);
      if (NOISE.compare(scratch, 0, taken, at, at + taken) !== 0) {
        let wrong = 0;
        while (scratch[wrong] === NOISE[at + wrong]) wrong++;
        this.#fail(`byte ${this.received + wrong} of ${bytes} is wrong`);
        return;
      }
      this.received += taken;
      if (this.received > bytes) this.#fail(`${this.received} bytes of ${bytes}`);
      if (readPauseUs > 0) {
        this.#readWaits = true;
        this.#readAlarm.set(this.#clock.nowUs() + readPauseUs);
        return;
      }
    }
  }

  /** Ends what is complete. */
  #settle(): void {
    const socket = this.#socket;
    if (socket === null || this.closed || this.failure !== '') return;
    // Before the connection is open there is nothing to end; afterwards, with both FINs exchanged, it has no peer any more.
    if (this.sent < this.#out.bytes || (!this.#shut && socket.getpeername() === null)) return;
    if (this.#early) {
      if (socket.available > 0) return;
      this.#close();
      return;
    }
    if (!this.#shut && (this.ended || !this.#out.endsAfterPeer)) {
      // An accepted socket may end before its connection has anything to say; a connecting one may not.
      if (socket.shutdown(SHUT_WR) === 0) this.#shut = true;
    }
    if (this.#shut && this.ended) this.#close();
  }

  #close(): void {
    this.closed = true;
    this.#writeAlarm.clear();
    this.#readAlarm.clear();
    this.#socket!.close();
  }

  toString(): string {
    const state = this.closed ? 'closed' : this.#socket === null ? 'not open' : `ended ${this.ended} shut ${this.#shut}`;
    return `${this.name}: sent ${this.sent}/${this.#out.bytes} received ${this.received}/${this.#in.bytes} ${state} (early ${this.#draw.closesEarly})`;
  }
}
