/**
 * The worker thread that runs TCPU for an application (section 6 of the report: "one of them could
 * permanently listen for packet arrival … another one could implement the timer routines"): it takes
 * segments from the ring, acknowledges, and retransmits, while the main thread computes. It serves the main thread's
 * socket calls, with its own TCPU's sockets, or with sockets of the stack; thread-calls.ts tells what crosses.
 * This file is the worker's entry, started by thread-channel.ts.
 */

import { readlinkSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { CALL_SOCKET_FIRST } from '../channel/calls.ts';
import { CALL_WORDS } from '../channel/channel.ts';
import { loadChannelNative } from '../channel/native.ts';
import type { NativeChannel } from '../channel/native.ts';
import { AttachError, openProcessChannel } from '../channel/process-channel.ts';
import { TO_APP_VIOLATION, VIOLATION_COUNT, VIOLATION_REASON } from '../channel/records.ts';
import { RingWriter } from '../channel/ring.ts';
import { SocketCallClient } from '../channel/socket-call-client.ts';
import { SocketCallServer } from '../channel/socket-call-server.ts';
import { SocketEvents } from '../channel/socket-events.ts';
import { APP_SLEEPS, CALL_ARGUMENTS, CALL_COUNT, CALL_STATE, RX_HEAD, RX_TAIL, TX_WAITS, Window } from '../channel/window.ts';
import { SystemClock } from '../clock.ts';
import { EINVAL } from '../errno.ts';
import { SystemRandom } from '../random.ts';
import { IPPROTO_TCP } from '../socket.ts';
import { ChannelTcpu } from './channel-tcpu.ts';
import { tcpuReport } from './tcpu-report.ts';
import { ANSWERED, ASKED, ENDED, GONE_LENGTH, GONE_TEXT, THREAD_LEAVE, THREAD_REPORT, TO_MAIN_GONE } from './thread-calls.ts';
import type { ThreadData, ThreadFailed, ThreadReady } from './thread-calls.ts';

/** What is told to the main thread: events of sockets, and what befalls all of them. */
class Events {
  readonly #window: Window;
  readonly #ring: RingWriter;
  readonly #wake: () => void;
  readonly #sockets: SocketEvents;
  #violation = 0;
  #violations = 0;
  #gone: Uint8Array | null = null;

  constructor(window: Window, wake: () => void) {
    this.#window = window;
    this.#ring = new RingWriter(window, window.rxRing, window.sizes.rxRing, RX_HEAD, RX_TAIL);
    this.#sockets = new SocketEvents(this.#ring, window);
    this.#wake = wake;
  }

  socket(socket: number, bits: number, value: number): void {
    this.#sockets.add(socket, bits, value);
    this.flush();
  }

  violation(reason: number, count: number): void {
    this.#violation = reason;
    this.#violations += count;
    this.flush();
  }

  gone(reason: string): void {
    this.#gone = new TextEncoder().encode(reason);
    this.flush();
  }

  /** Tells what waits, as far as there is room. */
  flush(): void {
    const words = this.#window.words;
    if (!this.#putAll()) {
      Atomics.store(words, TX_WAITS, 1);
      // Main may have made room just before.
      this.#putAll();
    }
    if (this.#ring.publish() && Atomics.exchange(words, APP_SLEEPS, 0) !== 0) this.#wake();
  }

  /** Returns whether nothing is left. */
  #putAll(): boolean {
    const told = this.#sockets.retry();
    if (this.#violations > 0 && this.#putViolations()) this.#violations = 0;
    if (this.#gone !== null && told && this.#putGone(this.#gone)) this.#gone = null;
    return told && this.#violations === 0 && this.#gone === null;
  }

  #putViolations(): boolean {
    const w = this.#ring.reserve(TO_APP_VIOLATION, (VIOLATION_COUNT + 1) * 4);
    if (w < 0) return false;
    this.#window.words[w + VIOLATION_REASON] = this.#violation;
    this.#window.words[w + VIOLATION_COUNT] = this.#violations;
    this.#ring.commit();
    return true;
  }

  #putGone(text: Uint8Array): boolean {
    const w = this.#ring.reserve(TO_MAIN_GONE, GONE_TEXT * 4 + text.length);
    if (w < 0) return false;
    this.#window.words[w + GONE_LENGTH] = text.length;
    this.#window.bytes.set(text, (w + GONE_TEXT) * 4);
    this.#ring.commit();
    return true;
  }
}

/** Executes the main thread's calls. */
class Calls {
  readonly #native: NativeChannel;
  readonly #window: Window;
  readonly #own: ChannelTcpu;
  readonly #sockets: SocketCallServer;
  readonly #events: Events;
  readonly #words = new Int32Array(CALL_WORDS);
  readonly #watch: number;
  #report: Uint8Array = new Uint8Array(0);

  constructor(native: NativeChannel, bell: number, window: Window, own: ChannelTcpu, sockets: SocketCallServer, events: Events) {
    this.#native = native;
    this.#window = window;
    this.#own = own;
    this.#sockets = sockets;
    this.#events = events;
    this.#watch = native.watch(bell, true, () => this.#rung());
  }

  #rung(): void {
    const shared = this.#window.words;
    if (Atomics.load(shared, CALL_STATE) === ASKED) {
      const words = this.#words;
      const count = Math.min(Math.max(shared[CALL_COUNT]!, 1), CALL_WORDS);
      for (let i = 0; i < count; i++) words[i] = shared[CALL_ARGUMENTS + i]!;
      words.fill(0, count);
      words[0] = this.#execute(words, count);
      for (let i = 0; i < CALL_WORDS; i++) shared[CALL_ARGUMENTS + i] = words[i]!;
      Atomics.compareExchange(shared, CALL_STATE, ASKED, ANSWERED);
      Atomics.notify(shared, CALL_STATE);
    }
    this.#events.flush();
  }

  #execute(words: Int32Array, count: number): number {
    const op = words[0]!;
    if (op >= CALL_SOCKET_FIRST) return this.#sockets.call(words, count);
    switch (op) {
      case THREAD_LEAVE: return this.#leave(words[1] !== 0);
      case THREAD_REPORT: return this.#reportPiece(words);
    }
    return -EINVAL;
  }

  /** Nothing keeps this thread afterwards. */
  #leave(graceful: boolean): number {
    this.#native.unwatch(this.#watch);
    this.#sockets.close(graceful);
    this.#own.close(graceful);
    return 0;
  }

  #reportPiece(words: Int32Array): number {
    const at = words[2]!;
    const { bytes, call, sizes } = this.#window;
    if (at === 0) this.#report = new TextEncoder().encode(JSON.stringify(tcpuReport(this.#own, words[1]!)));
    const piece = this.#report.subarray(at, at + sizes.call);
    bytes.set(piece, call);
    words[1] = this.#report.length - at - piece.length;
    return piece.length;
  }
}

/** The kernel's number of this thread, or 0. */
function threadNumber(): number {
  try {
    return Number(/\d+$/.exec(readlinkSync('/proc/thread-self'))?.[0] ?? 0);
  } catch {
    return 0;
  }
}

async function run(data: ThreadData): Promise<ThreadReady> {
  const native = loadChannelNative();
  const window = new Window(data.buffer, 0, data.sizes);
  const clock = new SystemClock();
  // However this thread ends, as long as its own code still runs: whoever waits for an answer need not.
  process.on('exit', () => {
    Atomics.store(window.words, CALL_STATE, ENDED);
    Atomics.notify(window.words, CALL_STATE);
  });
  const channel = await openProcessChannel({
    path: data.path, name: data.name, sizes: data.channelSizes, nowUs: () => clock.nowUs(), waiter: data.main,
  });
  const nothing = { ref: () => undefined, unref: () => undefined };
  let own: ChannelTcpu;
  try {
    own = new ChannelTcpu({ channel, clock, random: new SystemRandom(), tcp: data.tcp, refs: nothing });
  } catch (error) {
    channel.close();
    throw error;
  }
  const events = new Events(window, () => native.eventfdWrite(data.mainBell));
  /** Sockets in the stack. */
  const kernel = new SocketCallClient(channel);
  own.events = {
    event: (socket, bits, value) => kernel.event(socket, bits, value),
    violation: (reason, count) => events.violation(reason, count),
    report: (id, what) => channel.report(id, JSON.stringify(tcpuReport(own, what))),
    gone: (reason) => {
      kernel.gone();
      events.gone(reason);
    },
  };
  const sockets = new SocketCallServer({
    window,
    // Which TCP a socket is of, the main thread says by the protocol (thread-tcpu.ts).
    provider: { socket: (domain, type, protocol) => protocol === IPPROTO_TCP ? kernel.socket(domain, type) : own.tcpu.socket(domain, type, 0) },
    udp: kernel.udp,
    echo: kernel.echo,
    notify: (socket, bits, value) => events.socket(socket, bits, value),
  });
  new Calls(native, data.workerBell, window, own, sockets, events);
  return { info: channel.info, tid: threadNumber() };
}

try {
  parentPort!.postMessage(await run(workerData as ThreadData));
} catch (error) {
  const { message } = error as Error;
  const code = error instanceof AttachError ? error.code : error instanceof RangeError ? '' : 'ENOTSUP';
  parentPort!.postMessage({ error: message, code } satisfies ThreadFailed);
}
