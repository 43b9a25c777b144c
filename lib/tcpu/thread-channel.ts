/**
 * The main thread's channel to the worker thread that runs its TCPU (thread-worker.ts); thread-calls.ts tells what
 * crosses. Calls are answered before they return: the main thread sleeps in `Atomics.wait` until then. Should
 * the worker end instead, however that comes about, the sleeper notices by itself: its event loop, which would tell it,
 * does not run.
 */

import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { CALL_WORDS } from '../channel/channel.ts';
import type { Channel, ChannelInfo, ChannelUser } from '../channel/channel.ts';
import { thisThread } from '../channel/control.ts';
import { loadChannelNative } from '../channel/native.ts';
import type { NativeChannel } from '../channel/native.ts';
import { AttachError } from '../channel/process-channel.ts';
import { APP_SLEEPS, CALL_ARGUMENTS, CALL_COUNT, CALL_STATE, Window, windowLength } from '../channel/window.ts';
import type { WindowSizes } from '../channel/window.ts';
import { ENETDOWN } from '../errno.ts';
import type { TcpOptions } from '../tcp/config.ts';
import { ANSWERED, ASKED, EVENT_RING, IDLE, THREAD_LEAVE } from './thread-calls.ts';
import type { ThreadData, ThreadFailed, ThreadReady } from './thread-calls.ts';

/** How often a waiting call looks whether the worker is still there, ms. */
const SLICE_MS = 100;
/** A worker that does not answer for so long is as good as gone. Its own calls into the stack may take 10 s. */
const CALL_TIMEOUT_MS = 15_000;

export interface ThreadChannelOptions {
  /** Of the stack's control socket, and what it is told of this application. */
  path: string;
  name: string;
  /** Of the window between TCPU and the stack; `call` is that of the calls between the threads, too. */
  sizes: WindowSizes;
  /** Options of TCPU. */
  tcp?: TcpOptions;
}

/** Starts a worker thread that attaches to the stack at `path`. Rejects with `AttachError`, or RangeError for a bad option. */
export async function openThreadChannel(options: ThreadChannelOptions): Promise<ThreadChannel> {
  const native = loadChannelNative();
  const sizes: WindowSizes = { rxRing: EVENT_RING, txRing: 0, call: options.sizes.call, memory: 0 };
  const buffer = new SharedArrayBuffer(windowLength(sizes));
  const window = new Window(buffer, 0, sizes);
  const bells = [native.eventfd(), native.eventfd()] as const;
  const data: ThreadData = {
    buffer, sizes, workerBell: bells[0], mainBell: bells[1], main: thisThread, path: options.path, name: options.name,
    channelSizes: options.sizes, tcp: options.tcp,
  };
  let worker: Worker | null = null;
  try {
    if (bells[0] < 0 || bells[1] < 0) throw new AttachError('cannot make doorbells: too many open descriptors', 'EMFILE', options.path);
    worker = startWorker(data);
    const ready = await firstMessage(worker, options.path);
    if ('error' in ready) throw ready.code === '' ? new RangeError(ready.error) : new AttachError(ready.error, ready.code, options.path);
    return new ThreadChannel(native, worker, window, bells, ready);
  } catch (error) {
    await worker?.terminate();
    for (const fd of bells) if (fd >= 0) native.closeFd(fd);
    throw error;
  }
}

function startWorker(workerData: ThreadData): Worker {
  if (import.meta.url.endsWith('.js')) {
    // An option for scripts on the command line, which Node 20 does not keep from workers that are files.
    const plain = process.execArgv.some((option) => option.startsWith('--input-type'));
    return new Worker(new URL('./thread-worker.js', import.meta.url), { workerData, execArgv: plain ? [] : undefined });
  }
  // Run from its sources, by tsx, which Node 20 does not carry over to workers.
  const entry = JSON.stringify(new URL('./thread-worker.ts', import.meta.url).href);
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const source = `import(${tsx}).then(({ register }) => { register(); return import(${entry}); })`;
  return new Worker(source, { eval: true, execArgv: [], workerData });
}

function firstMessage(worker: Worker, path: string): Promise<ThreadReady | ThreadFailed> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new AttachError('the thread for TCP has ended before it was attached', 'ESRCH', path)));
  });
}

export class ThreadChannel implements Channel {
  readonly window: Window;
  readonly info: ChannelInfo;
  readonly #native: NativeChannel;
  readonly #worker: Worker;
  readonly #workerBell: number;
  readonly #mainBell: number;
  readonly #watch: number;
  /** Exists as long as the worker does; empty when that cannot be told. */
  readonly #task: string;
  readonly #ended: Promise<void>;
  #user: ChannelUser | null = null;
  #closed = false;

  constructor(native: NativeChannel, worker: Worker, window: Window, bells: readonly [number, number], ready: ThreadReady) {
    this.#native = native;
    this.#worker = worker;
    this.window = window;
    this.info = ready.info;
    this.#workerBell = bells[0];
    this.#mainBell = bells[1];
    this.#task = ready.tid === 0 ? '' : `/proc/self/task/${ready.tid}`;
    this.#watch = native.watch(this.#mainBell, true, () => this.#user?.bell());
    let failure = '';
    worker.removeAllListeners();
    worker.on('error', (error) => {
      failure = `: ${error.message}`;
    });
    this.#ended = new Promise((resolve) => worker.once('exit', (code) => {
      this.#lose(`the thread that runs TCP has ended${failure === '' ? `, with ${code}` : failure}`);
      for (const fd of bells) native.closeFd(fd);
      resolve();
    }));
    worker.unref();
  }

  attach(user: ChannelUser): void {
    this.#user = user;
    Atomics.store(this.window.words, APP_SLEEPS, 1);
    // What came before rang for nobody.
    this.again();
  }

  /** The user wants to be rung at once, behind other work. */
  again(): void {
    if (!this.#closed) this.#native.eventfdWrite(this.#mainBell);
  }

  call(words: Int32Array, count: number): number {
    const shared = this.window.words;
    if (this.#closed) return -ENETDOWN;
    for (let i = 0; i < count; i++) shared[CALL_ARGUMENTS + i] = words[i]!;
    shared[CALL_COUNT] = count;
    if (Atomics.compareExchange(shared, CALL_STATE, IDLE, ASKED) !== IDLE) return this.#fail('the thread that runs TCP has ended before a call');
    this.#native.eventfdWrite(this.#workerBell);
    let waitedMs = 0;
    while (Atomics.load(shared, CALL_STATE) === ASKED) {
      // Being woken says nothing: the worker may only now wake whoever waited for its answer before this one.
      if (Atomics.wait(shared, CALL_STATE, ASKED, SLICE_MS) !== 'timed-out') continue;
      if (this.#task !== '' && !existsSync(this.#task)) break;
      waitedMs += SLICE_MS;
      if (waitedMs >= CALL_TIMEOUT_MS) return this.#fail('the thread that runs TCP does not answer');
    }
    if (Atomics.compareExchange(shared, CALL_STATE, ANSWERED, IDLE) !== ANSWERED) return this.#fail('the thread that runs TCP has ended in a call');
    for (let i = 0; i < CALL_WORDS; i++) words[i] = shared[CALL_ARGUMENTS + i]!;
    return words[0]!;
  }

  #fail(reason: string): number {
    // The caller does not expect its sockets to fail before its call returns.
    queueMicrotask(() => this.#lose(reason));
    return -ENETDOWN;
  }

  #lose(reason: string): void {
    if (this.#closed) return;
    void this.close();
    this.#user?.gone(reason);
  }

  /** The worker looks whether there is something to do. */
  ring(): void {
    if (!this.#closed) this.#native.eventfdWrite(this.#workerBell);
  }

  /** The worker answers the stack's questions itself. */
  report(): void {}

  ref(): void {
    if (!this.#closed) this.#native.watchRef(this.#watch);
  }

  unref(): void {
    if (!this.#closed) this.#native.watchUnref(this.#watch);
  }

  /** Closes all that the worker has, before it returns; what has to go on then is the stack's. */
  leave(graceful: boolean): void {
    const words = new Int32Array(CALL_WORDS);
    words[0] = THREAD_LEAVE;
    words[1] = graceful ? 1 : 0;
    this.call(words, 2);
    void this.close();
  }

  /** Ends the worker. Resolves when it has ended. */
  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#native.unwatch(this.#watch);
      this.#worker.ref();
      void this.#worker.terminate();
    }
    return this.#ended;
  }
}
