/**
 * The channel to a stack in another process: a window in shared memory, two doorbells (eventfd) that ring
 * only when the other side sleeps, and the control socket for calls.
 */

import { monotonicZeroUs } from '../clock.ts';
import { EAGAIN, ECONNREFUSED, ENETDOWN, ETIMEDOUT, errnoName } from '../errno.ts';
import type { Channel, ChannelInfo, ChannelUser } from './channel.ts';
import { CALL_WORDS } from './channel.ts';
import { CONTROL_BYTES, CONTROL_REPORT, CONTROL_VERSION, REPORT_HEADER, thisThread } from './control.ts';
import type { ControlError, ControlHello, ControlQuery, ControlWelcome } from './control.ts';
import { SLICE_US } from './linger.ts';
import { loadChannelNative } from './native.ts';
import type { NativeChannel } from './native.ts';
import { RX_TAIL, STACK_SLEEPS, Window, windowLength } from './window.ts';
import type { WindowSizes } from './window.ts';

const ENOENT = 2;
/** A stack that does not answer a call for so long is as good as gone. */
const CALL_TIMEOUT_MS = 10_000;
const HELLO_TIMEOUT_MS = 10_000;
/** While the stack has not taken what of a report was sent, ms. */
const REPORT_RETRY_MS = 2;

/** There is no stack to attach to, or it will not have us. */
export class AttachError extends Error {
  readonly code: string;
  readonly path: string;

  constructor(message: string, code: string, path: string) {
    super(message);
    this.name = 'AttachError';
    this.code = code;
    this.path = path;
  }
}

function connect(native: NativeChannel, path: string): number {
  const fd = native.unixConnect(path);
  if (fd >= 0) return fd;
  const code = fd === -ENOENT ? 'ENOENT' : errnoName(-fd);
  const why = fd === -ENOENT || fd === -ECONNREFUSED
    ? `no stack listens at ${path}; start one with \`tcpu up\`, or name its socket`
    : code === 'EACCES' || code === 'EPERM'
      ? `no permission to attach at ${path}; the stack's owner can give it with --socket-mode`
      : `cannot connect to ${path} (${code})`;
  throw new AttachError(why, code, path);
}

/** Sends the first message and resolves with the answer's text, and the descriptors that came with it. */
function greet(native: NativeChannel, fd: number, path: string, hello: ControlHello): Promise<{ text: string; fds: number[] }> {
  return new Promise((resolve, reject) => {
    const sent = Buffer.from(JSON.stringify(hello));
    const result = native.unixSend(fd, sent, 0, sent.length, null);
    if (result < 0) {
      reject(new AttachError(`cannot send to ${path} (${errnoName(-result)})`, errnoName(-result), path));
      return;
    }
    const answer = Buffer.alloc(CONTROL_BYTES);
    const fds = new Int32Array(9);
    const watch = native.watch(fd, false, () => {
      const length = native.unixReceive(fd, answer, fds);
      if (length === -EAGAIN) return;
      native.unwatch(watch);
      clearTimeout(timer);
      if (length <= 0) reject(new AttachError(`the stack at ${path} hung up`, 'ECONNRESET', path));
      else resolve({ text: answer.toString('utf8', 0, length), fds: [...fds.subarray(1, 1 + fds[0]!)] });
    });
    const timer = setTimeout(() => {
      native.unwatch(watch);
      reject(new AttachError(`the stack at ${path} does not answer`, 'ETIMEDOUT', path));
    }, HELLO_TIMEOUT_MS);
  });
}

export interface ProcessChannelOptions {
  path: string;
  name: string;
  sizes: WindowSizes;
  /** The application's clock now, µs. */
  nowUs: () => number;
  /** Name (`thisThread`) of another thread that waits while this one makes calls. */
  waiter?: string;
}

/** Attaches to the stack that listens at `path`. Rejects with `AttachError`. */
export async function openProcessChannel(options: ProcessChannelOptions): Promise<ProcessChannel> {
  const native = loadChannelNative();
  const { path } = options;
  const fd = connect(native, path);
  const fds: number[] = [];
  try {
    const answer = await greet(native, fd, path, { tcpu: CONTROL_VERSION, name: options.name, sizes: options.sizes });
    fds.push(...answer.fds);
    const welcome = JSON.parse(answer.text) as ControlWelcome | ControlError;
    if ('error' in welcome) throw new AttachError(welcome.error, welcome.code, path);
    if (welcome.thread === thisThread || welcome.thread === options.waiter) {
      throw new AttachError(
        'the stack runs in this very thread, which would wait for itself; attach with attach({ stack })', 'EDEADLK', path,
      );
    }
    if (fds.length !== 3) throw new AttachError(`the stack at ${path} sent ${fds.length} descriptors instead of 3`, 'EPROTO', path);
    const buffer = native.map(fds[0]!, windowLength(welcome.sizes));
    if (buffer === null) throw new AttachError(`cannot map the memory shared with the stack at ${path}`, 'ENOMEM', path);
    return new ProcessChannel(native, fd, fds, new Window(buffer, 0, welcome.sizes), welcome, options.nowUs);
  } catch (error) {
    for (const one of fds) native.closeFd(one);
    native.closeFd(fd);
    throw error;
  }
}

/** Asks a stack without attaching. Rejects with `AttachError`. */
export async function queryStack(path: string, query: ControlQuery): Promise<unknown> {
  const native = loadChannelNative();
  const fd = connect(native, path);
  try {
    const { text } = await greet(native, fd, path, { tcpu: CONTROL_VERSION, query });
    if (text.startsWith('{"error"')) {
      const { error, code } = JSON.parse(text) as ControlError;
      throw new AttachError(error, code, path);
    }
    const chunk = Buffer.alloc(CONTROL_BYTES);
    // Characters may be cut by the ends of chunks.
    const chunks = [Buffer.from(text)];
    await new Promise<void>((resolve) => {
      const watch = native.watch(fd, false, () => {
        for (;;) {
          const length = native.unixReceive(fd, chunk, null);
          if (length === -EAGAIN) return;
          if (length <= 0) break;
          chunks.push(Buffer.from(chunk.subarray(0, length)));
        }
        native.unwatch(watch);
        resolve();
      });
    });
    try {
      return JSON.parse(Buffer.concat(chunks).toString()) as unknown;
    } catch {
      throw new AttachError(`the stack at ${path} hung up`, 'ECONNRESET', path);
    }
  } finally {
    native.closeFd(fd);
  }
}

export class ProcessChannel implements Channel {
  readonly window: Window;
  readonly info: ChannelInfo;
  readonly #native: NativeChannel;
  readonly #control: number;
  readonly #memfd: number;
  readonly #bell: number;
  readonly #stackBell: number;
  readonly #controlWatch: number;
  readonly #bellWatch: number;
  #user: ChannelUser | null = null;
  /** The report that is being sent, what of it has gone, and what goes on with it. */
  #reportId = 0;
  #report: Buffer | null = null;
  #reportAt = 0;
  #reportTimer: NodeJS.Timeout | null = null;
  #closed = false;

  /** Takes over the descriptors: control socket; window, the application's bell, the stack's. */
  constructor(native: NativeChannel, control: number, fds: readonly number[], window: Window, welcome: ControlWelcome, nowUs: () => number) {
    this.#native = native;
    this.#control = control;
    this.#memfd = fds[0]!;
    this.#bell = fds[1]!;
    this.#stackBell = fds[2]!;
    this.window = window;
    const { mtu, features, addresses, name, pid } = welcome;
    this.info = { mtu, features, addresses, name, pid, clockOffsetUs: Math.round(welcome.clockZeroUs - monotonicZeroUs(nowUs)) };
    this.#controlWatch = native.watch(control, false, () => this.#onControl());
    native.watchUnref(this.#controlWatch);
    this.#bellWatch = native.watch(this.#bell, true, () => this.#user?.bell());
  }

  attach(user: ChannelUser): void {
    this.#user = user;
  }

  call(words: Int32Array, count: number): number {
    if (this.#closed) return -ENETDOWN;
    const length = this.#native.unixCall(this.#control, words, count * 4, CALL_TIMEOUT_MS);
    if (length === CALL_WORDS * 4) return words[0]!;
    this.#lose(length === -ETIMEDOUT ? 'the stack does not answer' : 'the stack is gone');
    return -ENETDOWN;
  }

  ring(): void {
    if (Atomics.exchange(this.window.words, STACK_SLEEPS, 0) !== 0 && !this.#closed) this.#native.eventfdWrite(this.#stackBell);
  }

  stayAwake(): void {
    const { words } = this.window;
    const tail = words[RX_TAIL]!;
    setImmediate(() => {
      if (this.#closed) return;
      this.#native.awaitChange(words, RX_TAIL, tail, SLICE_US);
      this.#user?.bell();
    });
  }

  /** In pieces, as fast as the stack takes them; a newer report takes the place of one that is not through. */
  report(id: number, json: string): void {
    this.#reportId = id;
    this.#report = Buffer.from(json);
    this.#reportAt = 0;
    this.#sendReport();
  }

  #sendReport(): void {
    if (this.#reportTimer !== null) clearTimeout(this.#reportTimer);
    this.#reportTimer = null;
    const text = this.#report;
    if (text === null || this.#closed) return;
    const message = Buffer.alloc(CONTROL_BYTES >> 1);
    do {
      const at = this.#reportAt;
      const length = Math.min(text.length - at, message.length - REPORT_HEADER);
      message.writeInt32LE(CONTROL_REPORT, 0);
      message.writeInt32LE(this.#reportId, 4);
      message.writeInt32LE(at + length < text.length ? 1 : 0, 8);
      text.copy(message, REPORT_HEADER, at, at + length);
      const sent = this.#native.unixSend(this.#control, message, 0, REPORT_HEADER + length, null);
      if (sent === -EAGAIN) {
        this.#reportTimer = setTimeout(() => this.#sendReport(), REPORT_RETRY_MS);
        this.#reportTimer.unref();
        return;
      }
      if (sent < 0) break;
      this.#reportAt += length;
    } while (this.#reportAt < text.length);
    this.#report = null;
  }

  ref(): void {
    if (!this.#closed) this.#native.watchRef(this.#bellWatch);
  }

  unref(): void {
    if (!this.#closed) this.#native.watchUnref(this.#bellWatch);
  }

  /** Outside of calls nothing comes but the end. */
  #onControl(): void {
    const message = Buffer.alloc(CALL_WORDS * 4);
    const length = this.#native.unixReceive(this.#control, message, null);
    if (length === 0 || length < 0 && length !== -EAGAIN) this.#lose('the stack is gone');
  }

  #lose(reason: string): void {
    if (this.#closed) return;
    this.close();
    // A call may be under way, whose caller does not expect its sockets to fail before it returns.
    queueMicrotask(() => this.#user?.gone(reason));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#reportTimer !== null) clearTimeout(this.#reportTimer);
    this.#reportTimer = null;
    this.#report = null;
    const native = this.#native;
    native.unwatch(this.#controlWatch);
    native.unwatch(this.#bellWatch);
    for (const fd of [this.#control, this.#memfd, this.#bell, this.#stackBell]) native.closeFd(fd);
  }
}
