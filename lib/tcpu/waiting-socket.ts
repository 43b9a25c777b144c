/**
 * A socket whose calls wait: what a descriptor of the report's interface (usrreq.ts) stands for. Under it is the
 * low-level socket, which never waits (lib/socket.ts). Calls of one kind are served in the order in which they
 * were made: messages are not mixed, and several buffers may be given to `receive` at once.
 *
 * The copy that is saved (3.1.2, 4.1 of the report) is saved in `#ready`: it runs while the segments of a batch still
 * lie where they arrived, so `receive` that waits has its buffer filled from there.
 *
 * Waits end with an errno, not with an Error: those are usrreq.ts's.
 */

import type { Alarm, Clock } from '../clock.ts';
import { EAGAIN, ECANCELED, EINPROGRESS, EINVAL, ESHUTDOWN } from '../errno.ts';
import {
  IPPROTO_TCP, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, SHUT_WR, SO_LINGER, SO_RCVTIMEO, SOL_SOCKET, TCP_INFO, TCP_NODELAY,
} from '../socket.ts';
import type { BsdSocket, TcpInfo } from '../socket.ts';

/** Default interval of `receive`, ms. */
export const RECEIVE_INTERVAL_MS = 5000;
/** Connections that may wait to be accepted. */
const BACKLOG = 128;
/** Longest time that `close` waits for the peer, ms; the rest goes on without it. */
const CLOSE_LIMIT_MS = 60_000;
/** `setTimeout` can wait no longer. */
const LONGEST_INTERVAL_MS = 0x7fffffff;

/** A count or a descriptor's like, or a negative errno. */
type Answer = (result: number) => void;

interface Receive {
  buffer: Uint8Array;
  length: number;
  flags: number;
  /** µs; Infinity: never. */
  deadlineUs: number;
  answer: Answer;
}

interface Send {
  buffer: Uint8Array;
  length: number;
  done: number;
  flags: number;
  noDelay: boolean;
  answer: Answer;
}

export class WaitingSocket {
  readonly socket: BsdSocket;
  readonly #clock: Clock;
  /** Ends waits of `receive`, and of `close`. */
  readonly #alarm: Alarm;
  readonly #receives: Receive[] = [];
  readonly #sends: Send[] = [];
  /** `#serveSends` is at work; it was asked for meanwhile. */
  #sending = false;
  #sendAgain = false;
  readonly #accepts: ((result: BsdSocket | number) => void)[] = [];
  #connect: Answer | null = null;
  #connectAddress = '';
  #connectPort = 0;
  #close: Answer | null = null;
  #closeDeadlineUs = Infinity;
  /** FIN is queued: `#close` waits for the end of the handshake. */
  #shut = false;
  #gone = false;
  #listening = false;
  #intervalMs = RECEIVE_INTERVAL_MS;
  /** TCP_NODELAY as the user has set it, and as it is now. */
  #wantsNoDelay = false;
  #noDelay = false;

  constructor(socket: BsdSocket, clock: Clock) {
    this.socket = socket;
    this.#clock = clock;
    this.#alarm = clock.alarm(() => this.#onAlarm());
    socket.onready = (events) => this.#ready(events);
  }

  // ---------------------------------------------------------------------------------- opening

  /** The next connection, as a low-level socket. Listens, the first time. */
  accept(answer: (result: BsdSocket | number) => void): void {
    if (!this.#listening) {
      const result = this.socket.listen(BACKLOG);
      if (result < 0) {
        answer(result);
        return;
      }
      this.#listening = true;
    }
    this.#accepts.push(answer);
    if (this.#accepts.length === 1) this.#serveAccepts();
  }

  #serveAccepts(): void {
    while (this.#accepts.length > 0) {
      const result = this.socket.accept();
      if (result === -EAGAIN) return;
      this.#accepts.shift()!(result);
    }
  }

  connect(address: string, port: number, answer: Answer): void {
    const result = this.socket.connect(address, port);
    if (result !== -EINPROGRESS) {
      answer(result);
      return;
    }
    this.#connect = answer;
    this.#connectAddress = address;
    this.#connectPort = port;
    // It may be over already, where what a call causes happens inside it.
    const events = this.socket.poll() & (POLLOUT | POLLERR | POLLHUP);
    if (events !== 0) this.#serveConnect();
  }

  /** The attempt has ended: the first connect(2) afterwards tells how. */
  #serveConnect(): void {
    const answer = this.#connect!;
    this.#connect = null;
    answer(this.socket.connect(this.#connectAddress, this.#connectPort));
  }

  // ------------------------------------------------------------------------------------- data

  /** Figure 4. */
  send(buffer: Uint8Array, length: number, flags: number, noDelay: boolean, answer: Answer): void {
    if (length === 0) {
      answer(0);
      return;
    }
    this.#sends.push({ buffer, length, done: 0, flags, noDelay, answer });
    if (this.#sends.length === 1) this.#serveSends();
  }

  #serveSends(): void {
    if (this.#sending) {
      this.#sendAgain = true;
      return;
    }
    this.#sending = true;
    do {
      this.#sendAgain = false;
      while (this.#sends.length > 0 && this.#sendSome(this.#sends[0]!)) this.#sends.shift();
    } while (this.#sendAgain);
    this.#sending = false;
    if (this.#sends.length === 0 && this.#close !== null && !this.#shut) this.#shutdown();
  }

  /** Returns whether this message is done with. */
  #sendSome(send: Send): boolean {
    this.#setNoDelay(this.#wantsNoDelay || send.noDelay);
    const result = this.socket.send(send.buffer, send.done, send.length - send.done, send.flags);
    if (result === -EAGAIN) return false;
    if (result >= 0) {
      send.done += result;
      // The rest waits for acknowledgments: POLLOUT.
      if (send.done < send.length) return false;
    }
    send.answer(result < 0 ? result : send.length);
    return true;
  }

  #setNoDelay(noDelay: boolean): void {
    if (noDelay === this.#noDelay) return;
    this.#noDelay = noDelay;
    this.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, noDelay ? 1 : 0);
  }

  /** Figure 5. */
  receive(buffer: Uint8Array, length: number, flags: number, answer: Answer): void {
    if (length === 0) {
      answer(0);
      return;
    }
    if (this.#receives.length === 0) {
      const result = this.socket.recv(buffer, 0, length, flags);
      if (result !== -EAGAIN) {
        answer(result === 0 ? -ESHUTDOWN : result);
        return;
      }
    }
    const deadlineUs = this.#intervalMs === 0 ? Infinity : this.#clock.nowUs() + this.#intervalMs * 1000;
    this.#receives.push({ buffer, length, flags, deadlineUs, answer });
    this.#setAlarm();
  }

  #serveReceives(): void {
    while (this.#receives.length > 0) {
      // Not in the queue meanwhile: should `recv` lead back to here, what comes then is the next one's.
      const receive = this.#receives.shift()!;
      const { buffer, length, flags, answer } = receive;
      const result = this.socket.recv(buffer, 0, length, flags);
      if (result === -EAGAIN) {
        this.#receives.unshift(receive);
        break;
      }
      // 0 is the end of the stream, which is no message of no bytes.
      answer(result === 0 ? -ESHUTDOWN : result);
    }
    this.#setAlarm();
  }

  // ----------------------------------------------------------------------------------- events

  #ready(events: number): void {
    if (this.#gone) return;
    const ended = events & (POLLERR | POLLHUP);
    if (this.#accepts.length > 0) this.#serveAccepts();
    if (this.#connect !== null && (events & POLLOUT || ended)) this.#serveConnect();
    if (this.#receives.length > 0 && (events & (POLLIN | POLLRDHUP) || ended)) this.#serveReceives();
    if (this.#sends.length > 0 && (events & POLLOUT || ended)) this.#serveSends();
    if (this.#shut) this.#serveClose();
  }

  #setAlarm(): void {
    let nextUs = this.#closeDeadlineUs;
    for (const { deadlineUs } of this.#receives) if (deadlineUs < nextUs) nextUs = deadlineUs;
    if (nextUs === Infinity) this.#alarm.clear();
    else this.#alarm.set(nextUs);
  }

  #onAlarm(): void {
    const nowUs = this.#clock.nowUs();
    const receives = this.#receives;
    for (let i = 0; i < receives.length;) {
      if (receives[i]!.deadlineUs > nowUs) i++;
      else receives.splice(i, 1)[0]!.answer(0);
    }
    if (nowUs >= this.#closeDeadlineUs) this.#release(0);
    else this.#setAlarm();
  }

  // ---------------------------------------------------------------------------------- options

  setOption(level: number, option: number, value: number | string): number {
    if (level === SOL_SOCKET && option === SO_RCVTIMEO) {
      if (typeof value !== 'number' || !(value >= 0) || value > LONGEST_INTERVAL_MS) return -EINVAL;
      this.#intervalMs = value;
      return 0;
    }
    const result = this.socket.setsockopt(level, option, value);
    if (result === 0 && level === IPPROTO_TCP && option === TCP_NODELAY) {
      this.#wantsNoDelay = value !== 0;
      this.#noDelay = this.#wantsNoDelay;
    }
    return result;
  }

  getOption(level: number, option: number): number | string | TcpInfo {
    if (level === SOL_SOCKET && option === SO_RCVTIMEO) return this.#intervalMs;
    return this.socket.getsockopt(level, option);
  }

  // ----------------------------------------------------------------------------------- ending

  /** 3.1.3: "the sending side must send all data stored in the buffer before finally closing the connection". */
  close(answer: Answer): void {
    this.#close = answer;
    for (const accept of this.#accepts.splice(0)) accept(-ECANCELED);
    for (const receive of this.#receives.splice(0)) receive.answer(-ECANCELED);
    const connect = this.#connect;
    this.#connect = null;
    connect?.(-ECANCELED);
    const linger = this.socket.getsockopt(SOL_SOCKET, SO_LINGER);
    // Listening, or to be reset (with unread data, too: RFC 9293 3.6.1, RFC 2525 2.17): there is nothing to wait for.
    if (this.#listening || connect !== null || linger === 0 || this.socket.available > 0) {
      this.#release(0);
      return;
    }
    const limitMs = typeof linger === 'number' && linger > 0 ? linger * 1000 : CLOSE_LIMIT_MS;
    this.#closeDeadlineUs = this.#clock.nowUs() + limitMs * 1000;
    this.#setAlarm();
    if (this.#sends.length === 0) this.#shutdown();
  }

  #shutdown(): void {
    this.#shut = true;
    // Not connected (any more): nothing to wait for either.
    if (this.socket.shutdown(SHUT_WR) < 0) this.#release(0);
    else this.#serveClose();
  }

  /** Waits for what the handshake ends in; data that comes now has no reader, and makes it a reset. */
  #serveClose(): void {
    if (this.#gone) return;
    const info = this.socket.getsockopt(IPPROTO_TCP, TCP_INFO);
    const over = typeof info !== 'object' || info.state === 'TIME-WAIT' || info.state === 'CLOSED';
    if (over || this.socket.available > 0) this.#release(0);
  }

  #release(result: number): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#alarm.clear();
    this.socket.close();
    for (const send of this.#sends.splice(0)) send.answer(-ECANCELED);
    this.#close?.(result);
  }
}
