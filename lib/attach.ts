/**
 * An application's side of a stack, put together: `attach()` gives a program its own TCP beside others on
 * the addresses of a running stack (`tcp: 'tcpu'`, the report's TCPU), or the stack's TCP across the boundary
 * (`tcp: 'kernel'`, as a classic application has it). Both at once are fine: see `Attachment.tcpu` and
 * `Attachment.kernel`.
 */

import { EventEmitter } from 'node:events';
import { basename } from 'node:path';
import type { Channel } from './channel/channel.ts';
import { defaultSocketPath } from './channel/control.ts';
import { openProcessChannel } from './channel/process-channel.ts';
import { SocketCallClient } from './channel/socket-call-client.ts';
import { REPORT_CONNECTIONS, REPORT_COUNTERS, REPORT_DETAILS } from './channel/records.ts';
import { DEFAULT_WINDOW, windowFault } from './channel/window.ts';
import type { WindowSizes } from './channel/window.ts';
import { SystemClock } from './clock.ts';
import type { Clock } from './clock.ts';
import { connectionInfo, listConnections, listenerInfo, timeWaitInfo } from './home/connections.ts';
import type { ConnectionInfo } from './home/connections.ts';
import { createDgram } from './net/dgram.ts';
import type { Dgram } from './net/dgram.ts';
import { createNet } from './net/net.ts';
import type { Net } from './net/net.ts';
import { SystemRandom } from './random.ts';
import type { Random } from './random.ts';
import type { BsdSocket, EchoProvider, SocketProvider, UdpProvider } from './socket.ts';
import type { Stack } from './stack.ts';
import type { TcpOptions } from './tcp/config.ts';
import { VIOLATION_NAMES } from './tcpk/egress.ts';
import type { ReportContents } from './tcpk/survey.ts';
import { ChannelTcpu } from './tcpu/channel-tcpu.ts';

export interface AttachOptions {
  /** A stack in this thread instead of another process. */
  stack?: Stack;
  /** Path of the stack's control socket. Default `$XDG_RUNTIME_DIR/tcpu.sock`, or `/run/tcpu.sock`. */
  socket?: string;
  /** Whose TCP `net` and `socket()` use: one of this application's own (default), or the stack's. */
  tcp?: 'tcpu' | 'kernel';
  /** Options of this application's own TCP. */
  options?: TcpOptions;
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

export class Attachment extends EventEmitter<AttachmentEvents> implements SocketProvider {
  readonly channel: Channel;
  /** This application's own TCP. */
  readonly tcpu: ChannelTcpu;
  /** The stack's sockets across the boundary: its TCP, and its UDP and ICMP, which stay with the stack. */
  readonly kernel: SocketCallClient;
  /** `node:net` on the chosen TCP. */
  readonly net: Net;
  /** `node:dgram` on the stack's UDP. */
  readonly dgram: Dgram;
  readonly clock: Clock;
  readonly #provider: SocketProvider;
  #refs = 0;
  #closed = false;

  constructor(channel: Channel, clock: Clock, options: AttachOptions) {
    super();
    const refs = { ref: () => this.#addRef(1), unref: () => this.#addRef(-1) };
    this.channel = channel;
    this.clock = clock;
    this.tcpu = new ChannelTcpu({
      channel, clock, random: options.random ?? new SystemRandom(), tcp: options.options, refs,
    });
    this.kernel = new SocketCallClient(channel, { refs });
    this.tcpu.events = {
      event: (socket, events, value) => this.kernel.event(socket, events, value),
      violation: (reason, count) => this.emit('violation', VIOLATION_NAMES[reason] ?? 'unknown', count),
      report: (id, what) => this.channel.report(id, JSON.stringify(this.#report(what))),
      gone: (reason) => this.#down(reason),
    };
    this.#provider = options.tcp === 'kernel' ? this.kernel : this.tcpu.tcpu;
    this.net = createNet(this);
    this.dgram = createDgram(this.udp);
    channel.unref();
    rememberOpen(this);
  }

  /** A low-level socket of the chosen TCP; see `Stack.socket`. */
  socket(domain: number, type: number, protocol: number): BsdSocket | number {
    return this.#provider.socket(domain, type, protocol);
  }

  /** `node:net` on one TCP or the other, whatever was chosen for this attachment: the choice can be made for each socket. */
  netOf(tcp: 'tcpu' | 'kernel'): Net {
    return createNet(tcp === 'kernel' ? this.kernel : this.tcpu.tcpu);
  }

  /** Low-level UDP and echo sockets of the stack. */
  get udp(): UdpProvider {
    return this.kernel.udp;
  }

  get echo(): EchoProvider {
    return this.kernel.echo;
  }

  /** The stack's addresses, as CIDR. */
  get addresses(): readonly string[] {
    return this.channel.info.addresses;
  }

  /** Every connection and listener of this application's own TCP. */
  connections(): ConnectionInfo[] {
    return listConnections(this.tcpu.tcpu.tcp);
  }

  /** Counters of this application's own TCP, of its channel and its memory. */
  counters(): Record<string, Record<string, number>> {
    const { tcpu, counters, memory } = this.tcpu;
    return {
      tcp: { ...tcpu.tcp.counters },
      tcpu: { ...counters },
      memory: {
        blocks: memory.blockCount, freeBlocks: memory.freeBlocks, exhausted: memory.exhausted, connections: tcpu.tcp.connections,
        timeWaits: tcpu.tcp.timeWaits,
      },
    };
  }

  /** What the stack asks for, for whoever asks it. */
  #report(what: number): ReportContents {
    const report: ReportContents = {};
    if ((what & REPORT_CONNECTIONS) !== 0) {
      const list: ConnectionInfo[] = report.connections = [];
      const { tcp } = this.tcpu.tcpu;
      tcp.forEachListener((listener) => list.push(listenerInfo(listener)));
      tcp.forEach((tcb) => list.push(connectionInfo(tcb, (what & REPORT_DETAILS) !== 0)));
      tcp.forEachTimeWait((connection) => list.push(timeWaitInfo(connection)));
    }
    if ((what & REPORT_COUNTERS) !== 0) report.counters = this.counters();
    return report;
  }

  #addRef(change: number): void {
    this.#refs += change;
    if (this.#closed) return;
    if (this.#refs === 1 && change === 1) this.channel.ref();
    else if (this.#refs === 0) this.channel.unref();
  }

  #down(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    this.kernel.gone();
    this.emit('down', reason);
    this.emit('close');
  }

  /**
   * Lets go of the stack. Connections are closed; what is left to do for them (data to be acknowledged, FIN,
   * TIME-WAIT) the stack takes over. With `graceful: false` they are reset. Closing twice is fine.
   */
  close(options: { graceful?: boolean } = {}): Promise<void> {
    this.leave(options.graceful ?? true);
    return Promise.resolve();
  }

  /** `close()` without the promise: a process that ends closes its sockets. */
  leave(graceful: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    if (graceful) this.kernel.closeAll();
    this.tcpu.close(graceful);
    this.kernel.gone();
    this.emit('close');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
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
export function attach(options: AttachOptions): Promise<Attachment> {
  const sizes = { ...DEFAULT_WINDOW, ...options.window };
  const fault = windowFault(sizes);
  if (fault !== null) throw new RangeError(`window.${fault}`);
  if (options.stack !== undefined) {
    const { stack } = options;
    return Promise.resolve(new Attachment(stack.attach({ name: options.name, sizes }), options.clock ?? stack.clock, options));
  }
  return attachProcess(options, sizes);
}

async function attachProcess(options: AttachOptions, sizes: WindowSizes): Promise<Attachment> {
  const clock = options.clock ?? new SystemClock();
  const channel = await openProcessChannel({
    path: options.socket ?? defaultSocketPath(), name: options.name ?? programName(), sizes, nowUs: () => clock.nowUs(),
  });
  return new Attachment(channel, clock, options);
}

function programName(): string {
  return basename(process.argv[1] ?? process.argv[0] ?? '');
}
