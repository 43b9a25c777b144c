/**
 * A channel to a stack in the same thread: the same window, rings and records as across processes, with
 * alarms of the clock for doorbells and function calls for calls. For tests in virtual time, and for whole
 * networks of hosts and applications in one process.
 */

import type { Channel, ChannelInfo, ChannelUser } from '../channel/channel.ts';
import { STACK_SLEEPS, Window, windowFault, windowLength } from '../channel/window.ts';
import type { WindowSizes } from '../channel/window.ts';
import type { Clock } from '../clock.ts';
import { ENETDOWN } from '../errno.ts';
import { LinkAlarm } from '../link/link-alarm.ts';
import type { Application, Credentials } from './application.ts';
import type { Tcpk } from './tcpk.ts';
import type { WindowSpace } from './window-space.ts';

export interface LocalChannelOptions {
  tcpk: Tcpk;
  space: WindowSpace;
  clock: Clock;
  info: ChannelInfo;
  sizes: WindowSizes;
  name: string;
  credentials: Credentials;
  privileged: boolean;
  /** Keep the process alive together with the stack. */
  refs: { ref(): void; unref(): void };
  /** Takes the answer to a report. */
  onreport: (app: Application, id: number, json: string) => void;
}

export class LocalChannel implements Channel {
  readonly window: Window;
  readonly info: ChannelInfo;
  readonly application: Application;
  readonly #options: LocalChannelOptions;
  readonly #toApp: LinkAlarm;
  readonly #toStack: LinkAlarm;
  /** Tells the application that it is over: not in the middle of the stack's turn, as across processes. */
  readonly #over: LinkAlarm;
  #reason = '';
  #user: ChannelUser | null = null;
  #referenced = false;
  #closed = false;

  /** @throws RangeError on impossible sizes, or when the space is used up */
  constructor(options: LocalChannelOptions) {
    const fault = windowFault(options.sizes);
    if (fault !== null) throw new RangeError(fault);
    const { tcpk, space, clock } = options;
    const base = space.allocate(windowLength(options.sizes));
    if (base < 0) throw new RangeError('there is no room for another application; give the stack more applications.windowBytes');
    this.#options = options;
    this.info = options.info;
    this.window = new Window(space.buffer, base, options.sizes);
    this.window.clear();
    this.#toApp = new LinkAlarm(clock, () => this.#user?.bell());
    this.#over = new LinkAlarm(clock, () => {
      this.#over.unref();
      this.#user?.gone(this.#reason);
    });
    this.#toStack = new LinkAlarm(clock, () => tcpk.resume(this.application));
    this.application = tcpk.attach(this.window, options.credentials, options.name, options.privileged, {
      ring: () => this.#toApp.set(clock.nowUs()),
      again: () => this.#toStack.set(clock.nowUs()),
      release: (reason) => this.#release(reason),
    });
  }

  attach(user: ChannelUser): void {
    this.#user = user;
  }

  call(words: Int32Array, count: number): number {
    return this.#closed ? -ENETDOWN : this.application.call(words, count);
  }

  ring(): void {
    if (!this.#closed && Atomics.exchange(this.window.words, STACK_SLEEPS, 0) !== 0) this.#toStack.set(this.#options.clock.nowUs());
  }

  report(id: number, json: string): void {
    if (!this.#closed) this.#options.onreport(this.application, id, json);
  }

  ref(): void {
    if (this.#closed || this.#referenced) return;
    this.#referenced = true;
    this.#toApp.ref();
    this.#toStack.ref();
    this.#options.refs.ref();
  }

  unref(): void {
    if (!this.#referenced) return;
    this.#referenced = false;
    this.#toApp.unref();
    this.#toStack.unref();
    this.#options.refs.unref();
  }

  close(): void {
    this.#options.tcpk.detach(this.application, 'closed');
  }

  /** The stack is done with the window. */
  #release(reason: string): void {
    if (this.#closed) return;
    this.unref();
    this.#closed = true;
    this.#toApp.clear();
    this.#toStack.clear();
    this.#options.space.free(this.window.base, this.window.length);
    this.#reason = reason;
    this.#over.ref();
    this.#over.set(this.#options.clock.nowUs());
  }
}
