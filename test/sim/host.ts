/**
 * One end of a simulation: a stack with its own, kernel-style TCP, or an application that is attached to
 * it and brings its TCP along (TCPU). Both look alike from here on: sockets, a home of TCP, a memory.
 *
 *     socket ─ kernel-style TCP ─┐
 *     socket ─ TCPU ─ channel ───┴─ stack ─ link
 */

import type { PacketMemory } from '../../lib/buffer/packet-memory.ts';
import type { Channel, ChannelUser } from '../../lib/channel/channel.ts';
import { DEFAULT_WINDOW, windowLength } from '../../lib/channel/window.ts';
import type { WindowSizes } from '../../lib/channel/window.ts';
import type { Alarm, Clock, VirtualClock } from '../../lib/clock.ts';
import type { TcpHost } from '../../lib/home/tcp-host.ts';
import type { IpLayer } from '../../lib/ip/transport.ts';
import { SeededRandom } from '../../lib/random.ts';
import { SOCK_STREAM } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack, StackOptions } from '../../lib/stack.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import type { Application } from '../../lib/tcpk/application.ts';
import { ChannelTcpu } from '../../lib/tcpu/channel-tcpu.ts';

/** What is drawn, or said, of an application. */
export interface TcpuSide {
  window?: Partial<WindowSizes>;
  tcp?: TcpOptions;
  seed?: number;
  /** µs from a doorbell to the moment at which the one that was rung looks, as between processes. Default 0. */
  appWakesUs?: number;
  stackWakesUs?: number;
}

/** Puts doorbells off, as the scheduler of a machine with other work would. */
class SlowChannel implements Channel, ChannelUser {
  readonly window: Channel['window'];
  readonly info: Channel['info'];
  readonly #inner: Channel;
  readonly #clock: Clock;
  readonly #appWakesUs: number;
  readonly #stackWakesUs: number;
  readonly #toApp: Alarm;
  readonly #toStack: Alarm;
  #user: ChannelUser | null = null;
  #appRung = false;
  #stackRung = false;

  constructor(inner: Channel, clock: Clock, appWakesUs: number, stackWakesUs: number) {
    this.window = inner.window;
    this.info = inner.info;
    this.#inner = inner;
    this.#clock = clock;
    this.#appWakesUs = appWakesUs;
    this.#stackWakesUs = stackWakesUs;
    this.#toApp = clock.alarm(() => {
      this.#appRung = false;
      this.#user!.bell();
    });
    this.#toStack = clock.alarm(() => {
      this.#stackRung = false;
      inner.ring();
    });
  }

  attach(user: ChannelUser): void {
    this.#user = user;
    this.#inner.attach(this);
  }

  call(words: Int32Array, count: number): number {
    return this.#inner.call(words, count);
  }

  ring(): void {
    if (this.#stackRung) return;
    this.#stackRung = true;
    this.#toStack.set(this.#clock.nowUs() + this.#stackWakesUs);
  }

  bell(): void {
    if (this.#appRung) return;
    this.#appRung = true;
    this.#toApp.set(this.#clock.nowUs() + this.#appWakesUs);
  }

  gone(reason: string): void {
    this.#toApp.clear();
    this.#toStack.clear();
    this.#user!.gone(reason);
  }

  report(id: number, json: string): void {
    this.#inner.report(id, json);
  }

  ref(): void {
    this.#inner.ref();
  }

  unref(): void {
    this.#inner.unref();
  }

  close(): void {
    this.#inner.close();
  }
}

export class Host {
  readonly name: string;
  readonly stack: Stack;
  readonly tcp: TcpHost;
  readonly memory: PacketMemory;
  readonly clock: Clock;
  /** The application's side, and the stack's view of it; null where the kernel-style TCP is used. */
  readonly tcpu: ChannelTcpu | null;
  readonly application: Application | null;

  constructor(name: string, stack: Stack, side: TcpuSide | null) {
    this.name = name;
    this.stack = stack;
    this.clock = stack.clock;
    if (side === null) {
      this.tcpu = null;
      this.application = null;
      this.tcp = stack.tcp;
      this.memory = stack.memory;
      return;
    }
    const { clock } = stack;
    let channel = stack.attach({ name, sizes: { ...DEFAULT_WINDOW, ...side.window } });
    this.application = [...stack.tcpk!.applications].at(-1)!;
    if ((side.appWakesUs ?? 0) + (side.stackWakesUs ?? 0) > 0) {
      channel = new SlowChannel(channel, clock, side.appWakesUs ?? 0, side.stackWakesUs ?? 0);
    }
    this.tcpu = new ChannelTcpu({
      channel, clock, random: new SeededRandom(side.seed ?? 77), tcp: side.tcp, refs: { ref: () => undefined, unref: () => undefined },
    });
    this.tcp = this.tcpu.tcpu.tcp;
    this.memory = this.tcpu.memory;
  }

  socket(domain: number, type: number = SOCK_STREAM, protocol = 0): BsdSocket | number {
    return (this.tcpu?.tcpu ?? this.stack).socket(domain, type, protocol);
  }

  /** What the stack has besides. */
  get udp(): Stack['udp'] {
    return this.stack.udp;
  }

  get echo(): Stack['echo'] {
    return this.stack.echo;
  }

  /** Of the stack's own TCP. */
  connections(): ReturnType<Stack['connections']> {
    return this.stack.connections();
  }

  /** Where closed connections have left something behind, or ''. To be asked when all have ended and nothing is under way. */
  leftOver(): string {
    const { memory, tcp, tcpu, application, stack, name } = this;
    if (tcp.counters.CurrEstab !== 0) return `${name}: CurrEstab is ${tcp.counters.CurrEstab}`;
    if (tcpu !== null) {
      // Blocks are taken back when something happens.
      this.settle();
      if (memory.freeBlocks + tcpu.memory.kept !== memory.blockCount) {
        return `${name}: ${memory.blockCount - memory.freeBlocks - tcpu.memory.kept} blocks leaked`;
      }
    }
    if (memory.freeBlocks !== memory.blockCount) return `${name}: ${memory.blockCount - memory.freeBlocks} blocks leaked`;
    if (stack.memory.freeBlocks !== stack.memory.blockCount) {
      return `${name}: ${stack.memory.blockCount - stack.memory.freeBlocks} blocks of the stack leaked`;
    }
    if (application !== null) {
      const { table } = stack.tcpk!;
      const { flowCount, bindings } = application;
      if (flowCount + table.flows !== 0) return `${name}: ${flowCount} flows left with TCPK, ${table.flows} in its table`;
      if (bindings.size + table.bound !== 0) return `${name}: ${bindings.size} bindings left, ${table.bound} in the table`;
    }
    return this.violations();
  }

  /** What TCPK complains of, or ''. */
  violations(): string {
    const { application } = this;
    if (application === null || application.counters.Violations === 0) return '';
    const counts = [...application.violations.entries()].filter(([, count]) => count > 0);
    return `${this.name}: violations ${counts.map(([reason, count]) => `${count} of ${reason}`).join(', ')}`;
  }

  /** What the home of TCP stands on. */
  get ip(): IpLayer {
    return this.tcp.ip;
  }

  enter(): void {
    (this.tcpu?.tcpu ?? this.stack).enter();
  }

  leave(): void {
    (this.tcpu?.tcpu ?? this.stack).leave();
  }

  /** As the link does when it takes packets again. */
  writable(): void {
    this.stack.writable();
    this.settle();
  }

  /** Blocks that buffers hold, or whose last bytes the stack has not passed yet. */
  get blocksHeld(): number {
    return this.memory.blockCount - this.memory.freeBlocks - (this.tcpu?.memory.kept ?? 0);
  }

  /** Lets what has been put off until the present happen: doorbells. */
  settle(): void {
    if (this.tcpu === null) return;
    (this.clock as VirtualClock).advance(0);
    this.tcpu.memory.collect();
    this.tcpu.memory.collect();
  }

  close(): void {
    this.tcpu?.close(false);
    void this.stack.close({ graceful: false });
  }
}

/** A stack, and on it an application when `side` is given. */
export function createHost(name: string, options: StackOptions, side: TcpuSide | null): Host {
  const windowBytes = side === null ? 0 : windowLength({ ...DEFAULT_WINDOW, ...side.window });
  const given = typeof options.applications === 'object' ? options.applications : {};
  const applications = side === null ? options.applications : { shared: false, windowBytes, ...given };
  return new Host(name, createStack({ ...options, applications }), side);
}
