/**
 * The application's side of socket calls (socket-calls.ts): where a classic application's sockets come
 * from. TCP sockets are in remote-socket.ts, UDP and echo sockets in remote-datagrams.ts.
 *
 * Each operation is one call across the boundary, but for those whose answer is known: every answer and every event
 * tells how the socket stands, so that reading what one event told of takes one call, not three.
 *
 * Events that come while a call is going on (from a stack in the same thread) wait until it has been concluded, as the
 * call area and the words are in use; handlers are never called inside of one another.
 */

import { EBADF, EBUSY, ENETDOWN, EPROTONOSUPPORT } from '../errno.ts';
import { POLLERR, POLLHUP, POLLIN, POLLOUT, SOCK_DGRAM, SOCK_STREAM } from '../socket.ts';
import type { BsdSocket, EchoProvider, SocketProvider, UdpProvider } from '../socket.ts';
import { CALL_WORDS } from './channel.ts';
import type { Channel } from './channel.ts';
import { openEcho, RemoteDatagramSocket, RemoteEchoSocket } from './remote-datagrams.ts';
import { RemoteSocket } from './remote-socket.ts';
import type { RemoteEnd } from './remote-socket.ts';
import { reportLater } from './report-later.ts';
import {
  CALL_SOCKET, CALL_SOCKET_CLOSE, IN_SEEN, IN_SOCKET, OUT_AVAILABLE, OUT_STATE, OUT_WRITABLE, STATE_VALID,
} from './socket-calls.ts';

/** Told as the first, and when the last, of the sockets that keep the process alive begins, and ends, to do so. */
export interface SocketRefs {
  ref(): void;
  unref(): void;
}

export interface SocketCallClientOptions {
  /**
   * `ref()` once for each socket that listens, connects, is connected or (UDP) bound, and is not unref'ed; `unref()` when
   * that is over.
   */
  refs?: SocketRefs;
  /** Runs this when other work has had its turn. Default setImmediate. */
  soon?: (run: () => void) => void;
}

const NO_REFS: SocketRefs = { ref: () => undefined, unref: () => undefined };

export class SocketCallClient implements SocketProvider {
  readonly udp: UdpProvider;
  readonly echo: EchoProvider;
  /** @internal What follows is for the sockets. */
  readonly refs: SocketRefs;
  /** The window, where its call area begins, and how long that is. */
  readonly bytes: Uint8Array;
  readonly windowWords: Int32Array;
  readonly area: number;
  readonly areaLength: number;
  /** The stack is gone. */
  lost = false;
  readonly #channel: Channel;
  readonly #words = new Int32Array(CALL_WORDS);
  readonly #sockets = new Map<number, RemoteEnd>();
  /** Number, bits and value of each event that waits. */
  readonly #events: number[] = [];
  /** Sockets that were closed inside a call; and how. */
  readonly #closing: [RemoteEnd, number][] = [];
  /** Sockets that moved their share in this round, and the events to tell them again. */
  readonly #again = new Map<RemoteEnd, number>();
  readonly #soon: (run: () => void) => void;
  #busy = false;
  #telling = false;
  /** @internal Rounds of events so far. */
  round = 0;
  /** A batch of datagrams is handed out from here; see `batch()`. */
  #batch: Uint8Array | null = null;
  #batchWords: Int32Array | null = null;

  constructor(channel: Channel, options: SocketCallClientOptions = {}) {
    const { window } = channel;
    this.#channel = channel;
    this.refs = options.refs ?? NO_REFS;
    this.#soon = options.soon ?? ((run) => void setImmediate(run));
    this.bytes = window.bytes;
    this.windowWords = window.words;
    this.area = window.call;
    this.areaLength = window.sizes.call;
    this.udp = {
      socket: (domain) => {
        const number = this.open(domain, SOCK_DGRAM, 0);
        return number < 0 ? number : this.#add(new RemoteDatagramSocket(this, number, domain));
      },
    };
    this.echo = {
      open: (domain) => {
        const number = openEcho(this, domain);
        return number < 0 ? number : this.#add(new RemoteEchoSocket(this, number, domain));
      },
    };
  }

  socket(domain: number, type: number = SOCK_STREAM, protocol = 0): BsdSocket | number {
    if (type !== SOCK_STREAM) return -EPROTONOSUPPORT;
    const number = this.open(domain, type, protocol);
    return number < 0 ? number : this.#add(new RemoteSocket(this, number, domain));
  }

  /** Open sockets. */
  get size(): number {
    return this.#sockets.size;
  }

  /** A `TO_APP_EVENT` record has come: `EVENT_SOCKET`, `EVENT_BITS`, `EVENT_VALUE`. */
  event(socket: number, bits: number, value: number): void {
    this.#events.push(socket, bits, value);
    this.#tell();
  }

  /** The application leaves: every socket is closed, as when a process ends. */
  closeAll(): void {
    for (const socket of [...this.#sockets.values()]) socket.close();
  }

  /** The stack is gone: every socket hears of it, and no call does anything any more. */
  gone(): void {
    if (this.lost) return;
    this.lost = true;
    for (const socket of [...this.#sockets.values()]) socket.abandon();
    for (const number of this.#sockets.keys()) this.#events.push(number, POLLERR | POLLHUP | POLLIN | POLLOUT, 0);
    this.#tell();
  }

  // ------------------------------------------------------------------------- for the sockets

  /** socket(2): a number, or a negative errno. */
  open(domain: number, type: number, protocol: number): number {
    if (this.lost) return -ENETDOWN;
    if (this.#busy) return -EBUSY;
    const words = this.#words;
    words[0] = CALL_SOCKET;
    words[1] = domain;
    words[2] = type;
    words[3] = protocol;
    this.#busy = true;
    const number = this.#channel.call(words, 4);
    this.end();
    return number;
  }

  /** @internal A connection that was accepted. */
  accepted(socket: RemoteSocket): RemoteSocket {
    return this.#add(socket);
  }

  #add<T extends RemoteEnd>(socket: T): T {
    this.#sockets.set(socket.number, socket);
    return socket;
  }

  /**
   * Begins a call on a socket: its words, to be filled from `IN_ARGUMENTS` on; null when there can be none now, and
   * `refusal()` says why. Then come `run()` and, when the results have been read, `end()`.
   */
  begin(op: number, socket: RemoteEnd): Int32Array | null {
    return socket.closed || this.lost || this.#busy ? null : this.again(op, socket);
  }

  /** Begins a further call in place of `end()`. */
  again(op: number, socket: RemoteEnd): Int32Array {
    const words = this.#words;
    words[0] = op;
    words[IN_SOCKET] = socket.number;
    words[IN_SEEN] = socket.seen;
    return words;
  }

  /** -EBADF for a closed socket, -ENETDOWN without a stack, -EBUSY inside of another call. */
  refusal(socket: RemoteEnd): number {
    return socket.closed ? -EBADF : this.lost ? -ENETDOWN : -EBUSY;
  }

  run(socket: RemoteEnd, count: number): number {
    const words = this.#words;
    this.#busy = true;
    const result = this.#channel.call(words, count);
    const state = words[OUT_STATE]!;
    if ((state & STATE_VALID) !== 0) {
      socket.seen = 0;
      socket.calls = (socket.calls + 1) & 0xff;
      socket.learn(state & ~STATE_VALID, words[OUT_AVAILABLE]!, words[OUT_WRITABLE]!);
    }
    return result;
  }

  end(): void {
    this.#busy = false;
    while (this.#closing.length > 0 && !this.#busy) this.#close(...this.#closing.shift()!);
    if (this.#events.length > 0) this.#tell();
  }

  /** A call whose only result is its number. */
  simple(socket: RemoteEnd, count: number): number {
    const result = this.run(socket, count);
    this.end();
    return result;
  }

  /** Lets go of a socket, inside of another's call when that is over. */
  forget(socket: RemoteEnd, how: number): void {
    socket.closed = true;
    this.#sockets.delete(socket.number);
    if (this.lost) return;
    if (this.#busy) this.#closing.push([socket, how]);
    else this.#close(socket, how);
  }

  #close(socket: RemoteEnd, how: number): void {
    const words = this.#words;
    words[0] = CALL_SOCKET_CLOSE;
    words[IN_SOCKET] = socket.number;
    words[IN_SEEN] = 0;
    words[3] = how;
    this.#busy = true;
    this.#channel.call(words, 4);
    this.end();
  }

  /** A text of `length` bytes in the call area. */
  text(length: number): string {
    return new TextDecoder().decode(this.bytes.slice(this.area, this.area + length));
  }

  /** Takes `length` bytes out of the call area, which the next call overwrites, to a place of our own. */
  batch(length: number): Uint8Array {
    this.#batch ??= new Uint8Array(this.areaLength);
    this.#batch.set(this.bytes.subarray(this.area, this.area + length));
    return this.#batch;
  }

  /** The same as words. */
  get batchWords(): Int32Array {
    this.#batchWords ??= new Int32Array(this.#batch!.buffer);
    return this.#batchWords;
  }

  /** @internal Events are being handed out: a handler is running. */
  get telling(): boolean {
    return this.#telling;
  }

  /** @internal These bits are to be told to the socket in a round to come. */
  tellAgain(socket: RemoteEnd, bits: number): void {
    if (this.#again.size === 0) this.#soon(() => this.#nextRound());
    this.#again.set(socket, (this.#again.get(socket) ?? 0) | bits);
  }

  #nextRound(): void {
    const again = [...this.#again];
    this.#again.clear();
    this.round++;
    this.#telling = true;
    for (const [socket, bits] of again) {
      if (socket.closed) continue;
      try {
        socket.again(bits);
      } catch (error) {
        reportLater(error);
      }
    }
    this.#telling = false;
    if (this.#events.length > 0) this.#tell();
  }

  /** Hands out the events that wait, in order. */
  #tell(): void {
    if (this.#busy || this.#telling) return;
    const events = this.#events;
    this.#telling = true;
    this.round++;
    for (let i = 0; i < events.length; i += 3) {
      // Those of sockets that are closed now are for nobody.
      const socket = this.#sockets.get(events[i]!);
      if (socket === undefined) continue;
      try {
        socket.happened(events[i + 1]!, events[i + 2]!);
      } catch (error) {
        reportLater(error);
      }
    }
    events.length = 0;
    this.#telling = false;
  }
}
