/**
 * TCPU in a worker thread, as the main thread has it: the counterpart of channel-tcpu.ts. Sockets are
 * those of socket calls; which TCP serves one, the worker's own or the stack's, is in the protocol that they are
 * asked for with.
 */

import { CALL_WORDS } from '../channel/channel.ts';
import type { ChannelUser } from '../channel/channel.ts';
import {
  EVENT_BITS, EVENT_SOCKET, EVENT_VALUE, REPORT_CONNECTIONS, REPORT_COUNTERS, REPORT_DETAILS, TO_APP_EVENT, TO_APP_VIOLATION,
  VIOLATION_COUNT, VIOLATION_REASON,
} from '../channel/records.ts';
import { RECORD_TYPE, RingReader } from '../channel/ring.ts';
import { SocketCallClient } from '../channel/socket-call-client.ts';
import type { SocketRefs } from '../channel/socket-call-client.ts';
import { APP_SLEEPS, RX_HEAD, RX_TAIL, TX_WAITS } from '../channel/window.ts';
import { EPROTONOSUPPORT } from '../errno.ts';
import type { ConnectionInfo } from '../home/connections.ts';
import { IPPROTO_TCP, SOCK_STREAM } from '../socket.ts';
import type { BsdSocket, EchoProvider, SocketProvider, UdpProvider } from '../socket.ts';
import type { ReportContents } from '../tcpk/survey.ts';
import { GONE_LENGTH, GONE_TEXT, THREAD_REPORT, TO_MAIN_GONE } from './thread-calls.ts';
import type { ThreadChannel } from './thread-channel.ts';

/** Records that are handled before other work gets its chance. */
const BATCH = 512;

/** What else comes. */
export interface ThreadEvents {
  /** The stack has dropped what TCPU sent. */
  violation(reason: number, count: number): void;
  /** The stack, or the worker, is gone. */
  gone(reason: string): void;
}

export class ThreadTcpu implements ChannelUser {
  /** Sockets of TCPU, and of the stack's TCP. */
  readonly own: SocketProvider;
  readonly kernel: SocketProvider;
  readonly udp: UdpProvider;
  readonly echo: EchoProvider;
  readonly #channel: ThreadChannel;
  readonly #sockets: SocketCallClient;
  readonly #events: ThreadEvents;
  readonly #ring: RingReader;
  #gone = false;

  constructor(channel: ThreadChannel, refs: SocketRefs, events: ThreadEvents) {
    const { window } = channel;
    const sockets = new SocketCallClient(channel, { refs });
    const socket = (domain: number, type: number, protocol: number, which: number): BsdSocket | number => (
      type !== SOCK_STREAM || protocol !== 0 && protocol !== IPPROTO_TCP ? -EPROTONOSUPPORT : sockets.socket(domain, type, which)
    );
    this.#channel = channel;
    this.#sockets = sockets;
    this.#events = events;
    this.#ring = new RingReader(window, window.rxRing, window.sizes.rxRing, RX_HEAD, RX_TAIL);
    this.own = { socket: (domain, type = SOCK_STREAM, protocol = 0) => socket(domain, type, protocol, 0) };
    this.kernel = { socket: (domain, type = SOCK_STREAM, protocol = 0) => socket(domain, type, protocol, IPPROTO_TCP) };
    this.udp = sockets.udp;
    this.echo = sockets.echo;
    channel.attach(this);
  }

  /** ChannelUser: there is something in the ring. */
  bell(): void {
    const { words } = this.#channel.window;
    const ring = this.#ring;
    Atomics.store(words, APP_SLEEPS, 0);
    for (let count = 0; ; count++) {
      if (count === BATCH) {
        this.#channel.again();
        break;
      }
      const w = ring.next();
      if (w >= 0) {
        this.#record(w);
        if (this.#gone) return;
        continue;
      }
      Atomics.store(words, APP_SLEEPS, 1);
      if (!ring.waiting) break;
      Atomics.store(words, APP_SLEEPS, 0);
    }
    ring.release();
    if (Atomics.exchange(words, TX_WAITS, 0) !== 0) this.#channel.ring();
  }

  #record(w: number): void {
    const { words, bytes } = this.#channel.window;
    switch (words[w + RECORD_TYPE]) {
      case TO_APP_EVENT:
        this.#sockets.event(words[w + EVENT_SOCKET]!, words[w + EVENT_BITS]!, words[w + EVENT_VALUE]!);
        break;
      case TO_APP_VIOLATION:
        this.#events.violation(words[w + VIOLATION_REASON]!, words[w + VIOLATION_COUNT]!);
        break;
      case TO_MAIN_GONE: {
        const at = (w + GONE_TEXT) * 4;
        const reason = new TextDecoder().decode(bytes.slice(at, at + words[w + GONE_LENGTH]!));
        void this.#channel.close();
        this.gone(reason);
        break;
      }
    }
  }

  /** ChannelUser: nothing works any more. */
  gone(reason: string): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#sockets.gone();
    this.#events.gone(reason);
  }

  /** Every listener and connection of TCPU, with its figures. */
  connections(): ConnectionInfo[] {
    return this.#report(REPORT_CONNECTIONS | REPORT_DETAILS).connections ?? [];
  }

  counters(): Record<string, Record<string, number>> {
    return this.#report(REPORT_COUNTERS).counters ?? {};
  }

  #report(what: number): ReportContents {
    const call = new Int32Array(CALL_WORDS);
    const pieces: Uint8Array[] = [];
    const { bytes, call: area } = this.#channel.window;
    let at = 0;
    do {
      call[0] = THREAD_REPORT;
      call[1] = what;
      call[2] = at;
      const length = this.#channel.call(call, 3);
      if (length < 0) return {};
      pieces.push(bytes.slice(area, area + length));
      at += length;
    } while (call[1]! > 0);
    return JSON.parse(Buffer.concat(pieces).toString()) as ReportContents;
  }

  /** See ChannelTcpu.close. The worker's end follows (ThreadChannel.close). */
  leave(graceful: boolean): void {
    if (this.#gone) return;
    this.#gone = true;
    // Closed, not failed: nobody is to be told of an error.
    if (graceful) this.#sockets.closeAll();
    this.#channel.leave(graceful);
    this.#sockets.gone();
  }
}
