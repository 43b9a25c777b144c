/**
 * An application's side of a stack, put together: `attach()` gives a program its own TCP beside others on
 * the addresses of a running stack (`tcp: 'tcpu'`, the report's TCPU), or the stack's TCP across the boundary
 * (`tcp: 'kernel'`, as a classic application has it). Both at once are fine: see `Attachment.netOf`.
 * TCPU runs in the thread that attaches, or, with `thread: true`, in a worker thread of its own.
 */

import { EventEmitter } from 'node:events';
import { basename } from 'node:path';
import type { Channel } from './channel/channel.ts';
import { defaultSocketPath } from './channel/control.ts';
import { openProcessChannel } from './channel/process-channel.ts';
import { SocketCallClient } from './channel/socket-call-client.ts';
import { DEFAULT_WINDOW, windowFault } from './channel/window.ts';
import type { WindowSizes } from './channel/window.ts';
import { SystemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { listConnections } from './home/connections.ts';
import type { ConnectionInfo } from './home/connections.ts';
import { createDgram } from './net/dgram.ts';
import type { Dgram } from './net/dgram.ts';
import { createNet } from './net/net.ts';
import type { Net } from './net/net.ts';
import { SystemRandom } from './random.ts';
import type { Random } from './random.ts';
import type { BsdSocket, EchoProvider, SocketProvider, UdpProvider } from './socket.ts';
import type { Stack } from './stack.ts';
import { tcpConfig } from './tcp/config.ts';
import type { TcpOptions } from './tcp/config.ts';
import { checkCongestion } from './tcp/congestion/congestion-control.ts';
import { VIOLATION_NAMES } from './tcpk/egress.ts';
import { ChannelTcpu } from './tcpu/channel-tcpu.ts';
import { tcpuCounters, tcpuReport } from './tcpu/tcpu-report.ts';
import { openThreadChannel } from './tcpu/thread-channel.ts';
import type { ThreadChannel } from './tcpu/thread-channel.ts';
import { ThreadTcpu } from './tcpu/thread-tcpu.ts';

export interface AttachOptions {
  /** A stack in this thread instead of another process. */
  stack?: Stack;
  /** Path of the stack's control socket. Default `$TCPU_SOCKET`, else `$XDG_RUNTIME_DIR/tcpu.sock`, else `/run/tcpu.sock`. */
  socket?: string;
  /** Whose TCP `net` and `socket()` use: one of this application's own (default), or the stack's. */
  tcp?: 'tcpu' | 'kernel';
  /** Options of this application's own TCP. */
  options?: TcpOptions;
  /**
   * Runs this application's own TCP in a worker thread: it acknowledges and retransmits whatever this thread does
   * meanwhile. Each operation on a socket is then a call to that thread. Not with `stack`, `clock` or `random`.
   */
  thread?: boolean;
  /** Name that `tcpu ss` shows. Default the program's. */
  name?: string;
  /** Sizes of the parts of the shared memory, bytes (lib/channel/window.ts). */
  window?: Partial<WindowSizes>;
  /** Default: the machine's, or the stack's when it is in this thread. */
  clock?: Clock;
  random?: Random;
}

export interface AttachmentEvents {
  /** The stack has gone, or has thrown this application out. All sockets have failed. */
  down: [reason: string];
  /** The stack has dropped what this application sent. */
  violation: [reason: string, count: number];
  close: [];
}

/** What `attach()` gives, wherever TCPU runs. */
export abstract class Attachment extends EventEmitter<AttachmentEvents> implements SocketProvider {
  readonly channel: Channel;
  readonly clock: Clock;
  /** `node:net` on the chosen TCP. */
  readonly net: Net;
  /** This application's own TCP. */
  protected abstract readonly own: SocketProvider;
  /** The stack's TCP across the boundary. */
  abstract readonly kernel: SocketProvider;
  /** Low-level UDP and echo sockets: UDP and ICMP stay with the stack. */
  abstract readonly udp: UdpProvider;
  abstract readonly echo: EchoProvider;
  /** Told by the sockets that keep the process alive. */
  protected readonly refs: { ref(): void; unref(): void };
  readonly #tcp: 'tcpu' | 'kernel';
  #dgram: Dgram | null = null;
  #refs = 0;
  #closed = false;

  constructor(channel: Channel, clock: Clock, options: AttachOptions) {
    super();
    this.channel = channel;
    this.clock = clock;
    this.refs = { ref: () => this.#addRef(1), unref: () => this.#addRef(-1) };
    this.#tcp = options.tcp ?? 'tcpu';
    this.net = createNet(this);
    channel.unref();
    rememberOpen(this);
  }

  #provider(tcp: 'tcpu' | 'kernel'): SocketProvider {
    return tcp === 'kernel' ? this.kernel : this.own;
  }

  /** A low-level socket of the chosen TCP; see `Stack.socket`. */
  socket(domain: number, type: number, protocol: number): BsdSocket | number {
    return this.#provider(this.#tcp).socket(domain, type, protocol);
  }

  /** `node:net` on one TCP or the other, whatever was chosen for this attachment: the choice can be made for each socket. */
  netOf(tcp: 'tcpu' | 'kernel'): Net {
    return createNet(this.#provider(tcp));
  }

  /** `node:dgram` on the stack's UDP. */
  get dgram(): Dgram {
    return (this.#dgram ??= createDgram(this.udp));
  }

  /** The stack's addresses, as CIDR. */
  get addresses(): readonly string[] {
    return this.channel.info.addresses;
  }

  /** Every connection and listener of this application's own TCP. */
  abstract connections(): ConnectionInfo[];

  /** Counters of this application's own TCP, of its channel and its memory. */
  abstract counters(): Record<string, Record<string, number>>;

  #addRef(change: number): void {
    this.#refs += change;
    if (this.#closed) return;
    if (this.#refs === 1 && change === 1) this.channel.ref();
    else if (this.#refs === 0) this.channel.unref();
  }

  protected violated(reason: number, count: number): void {
    // Later: a listener that throws must not do so in the middle of a batch.
    queueMicrotask(() => this.emit('violation', VIOLATION_NAMES[reason] ?? 'unknown', count));
  }

  /** The stack is gone; all sockets know. */
  protected down(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    this.emit('down', reason);
    this.emit('close');
  }

  /**
   * Lets go of the stack. Connections are closed; what is left to do for them (data to be acknowledged, FIN,
   * TIME-WAIT) the stack takes over. With `graceful: false` they are reset. Closing twice is fine.
   */
  close(options: { graceful?: boolean } = {}): Promise<void> {
    this.leave(options.graceful ?? true);
    return this.ended();
  }

  /** `close()` without the promise: a process that ends closes its sockets. */
  leave(graceful: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    this.end(graceful);
    this.emit('close');
  }

  protected abstract end(graceful: boolean): void;

  /** Resolves when all that `leave()` has begun is done. */
  protected abstract ended(): Promise<void>;

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** TCPU in the thread that has attached. */
export class OwnAttachment extends Attachment {
  readonly tcpu: ChannelTcpu;
  protected readonly own: SocketProvider;
  readonly kernel: SocketCallClient;
  readonly udp: UdpProvider;
  readonly echo: EchoProvider;

  constructor(channel: Channel, clock: Clock, options: AttachOptions) {
    super(channel, clock, options);
    this.tcpu = new ChannelTcpu({
      channel, clock, random: options.random ?? new SystemRandom(), tcp: options.options, refs: this.refs,
    });
    this.own = this.tcpu.tcpu;
    this.kernel = new SocketCallClient(channel, { refs: this.refs, soon: soonOn(clock) });
    this.udp = this.kernel.udp;
    this.echo = this.kernel.echo;
    this.tcpu.events = {
      event: (socket, events, value) => this.kernel.event(socket, events, value),
      violation: (reason, count) => this.violated(reason, count),
      report: (id, what) => channel.report(id, JSON.stringify(tcpuReport(this.tcpu, what))),
      gone: (reason) => {
        this.kernel.gone();
        this.down(reason);
      },
    };
  }

  connections(): ConnectionInfo[] {
    return listConnections(this.tcpu.tcpu.tcp);
  }

  counters(): Record<string, Record<string, number>> {
    return tcpuCounters(this.tcpu);
  }

  protected end(graceful: boolean): void {
    if (graceful) this.kernel.closeAll();
    this.tcpu.close(graceful);
    this.kernel.gone();
  }

  protected ended(): Promise<void> {
    return Promise.resolve();
  }
}

/** TCPU in a worker thread. */
export class ThreadAttachment extends Attachment {
  readonly #tcpu: ThreadTcpu;
  readonly #thread: ThreadChannel;

  constructor(channel: ThreadChannel, clock: Clock, options: AttachOptions) {
    super(channel, clock, options);
    this.#thread = channel;
    this.#tcpu = new ThreadTcpu(channel, this.refs, {
      violation: (reason, count) => this.violated(reason, count),
      gone: (reason) => this.down(reason),
    });
  }

  protected get own(): SocketProvider {
    return this.#tcpu.own;
  }

  get kernel(): SocketProvider {
    return this.#tcpu.kernel;
  }

  get udp(): UdpProvider {
    return this.#tcpu.udp;
  }

  get echo(): EchoProvider {
    return this.#tcpu.echo;
  }

  connections(): ConnectionInfo[] {
    return this.#tcpu.connections();
  }

  counters(): Record<string, Record<string, number>> {
    return this.#tcpu.counters();
  }

  protected end(graceful: boolean): void {
    this.#tcpu.leave(graceful);
  }

  /** Resolves when the worker has ended, too. */
  protected ended(): Promise<void> {
    return this.#thread.close();
  }
}

/** Runs something when other work has had its turn; in virtual time, by an alarm that is due at once. */
function soonOn(clock: Clock): ((run: () => void) => void) | undefined {
  if (clock instanceof SystemClock) return undefined;
  let run: () => void = () => undefined;
  const alarm = clock.alarm(() => run());
  return (next) => {
    run = next;
    alarm.set(clock.nowUs());
  };
}

/** Attachments of this thread that are open: they are left properly when it ends. */
const open = new Set<Attachment>();
let watching = false;

function rememberOpen(attachment: Attachment): void {
  open.add(attachment);
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const one of [...open]) one.leave(true);
  });
}

/**
 * Attaches this program to a stack.
 *
 * @throws RangeError that names the bad option; an Error with `code` when there is no stack to attach to
 */
export function attach(options: AttachOptions & { thread: true }): Promise<ThreadAttachment>;
export function attach(options?: AttachOptions & { thread?: false }): Promise<OwnAttachment>;
export function attach(options: AttachOptions): Promise<Attachment>;
export function attach(options: AttachOptions = {}): Promise<Attachment> {
  const sizes = { ...DEFAULT_WINDOW, ...options.window };
  const fault = windowFault(sizes);
  if (fault !== null) throw new RangeError(`window.${fault}`);
  return attachChecked(options, sizes);
}

async function attachChecked(options: AttachOptions, sizes: WindowSizes): Promise<Attachment> {
  // Before there is anything that would have to be given back.
  checkCongestion(tcpConfig(options.options).congestion);
  if (options.thread === true) return attachThread(options, sizes);
  const { stack } = options;
  if (stack === undefined) return attachProcess(options, sizes);
  return new OwnAttachment(stack.attach({ name: options.name, sizes }), options.clock ?? stack.clock, options);
}

async function attachProcess(options: AttachOptions, sizes: WindowSizes): Promise<OwnAttachment> {
  const clock = options.clock ?? new SystemClock();
  const channel = await openProcessChannel({
    path: options.socket ?? defaultSocketPath(), name: options.name ?? programName(), sizes, nowUs: () => clock.nowUs(),
  });
  return new OwnAttachment(channel, clock, options);
}

async function attachThread(options: AttachOptions, sizes: WindowSizes): Promise<ThreadAttachment> {
  if (options.stack !== undefined || options.clock !== undefined || options.random !== undefined) {
    throw new RangeError('thread: true is for a stack in another process, and with the machine\'s clock; leave out stack, clock and random');
  }
  const channel = await openThreadChannel({
    path: options.socket ?? defaultSocketPath(), name: options.name ?? programName(), sizes, tcp: options.options,
  });
  return new ThreadAttachment(channel, new SystemClock(), options);
}

function programName(): string {
  return basename(process.argv[1] ?? process.argv[0] ?? '');
}
