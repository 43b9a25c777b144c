/**
 * TCPU: TCP as a library in the application (section 3 of the report). What a `Stack` is to the stack
 * process, this is to an application: turns, the alarm, sockets. Where segments come from and go to is
 * the business of what it stands on: TCPK through a channel (channel-tcpu.ts), or UDP (udp-tcpu.ts).
 *
 *     segments ─ begin ─ segment() … segment() ─ end ─┐
 *     a call   ─ enter ───────────────────────── leave ┼─ tcp.drain ─ flush
 *     deadline ─ enter ─ tcp.advance ─────────── leave ┘
 */

import type { PacketMemory } from '../buffer/packet-memory.ts';
import type { Clock } from '../clock.ts';
import { ENETDOWN, EPROTONOSUPPORT } from '../errno.ts';
import type { LocalPorts } from '../home/local-ports.ts';
import type { TcpHost } from '../home/tcp-host.ts';
import { tcpSocket } from '../home/tcp-socket.ts';
import { MS_EPOCH, TurnClock } from '../home/turn-clock.ts';
import type { IpPacket } from '../ip/packet.ts';
import type { IpLayer, Turn } from '../ip/transport.ts';
import type { Random } from '../random.ts';
import { IPPROTO_TCP, SOCK_STREAM } from '../socket.ts';
import type { BsdSocket, SocketProvider } from '../socket.ts';
import { checkCongestion } from '../tcp/congestion/congestion-control.ts';
import type { TcpOptions } from '../tcp/config.ts';
import { createTcpuTcp } from './tcpu-tcp.ts';

export interface TcpuOptions {
  ip: IpLayer;
  memory: PacketMemory;
  ports: LocalPorts;
  clock: Clock;
  random: Random;
  tcp?: TcpOptions;
  sndbufMost: number;
  rcvbufMost: number;
  rcvbufGrowth?: number;
  sndbufGrowth?: number;
  /** Hands what was built to the channel. */
  flush: () => void;
  /** Open sockets keep the process alive. */
  refs: { ref(): void; unref(): void };
}

export class Tcpu implements Turn, SocketProvider {
  readonly clock: Clock;
  readonly tcp: TcpHost;
  readonly #flush: () => void;
  readonly #time: TurnClock;
  #depth = 0;
  #closed = false;

  constructor(options: TcpuOptions) {
    this.clock = options.clock;
    this.#flush = options.flush;
    this.#time = new TurnClock(options.clock, () => {
      this.enter();
      this.tcp.advance();
      this.leave();
    });
    this.tcp = createTcpuTcp({
      ip: options.ip, memory: options.memory, ports: options.ports, random: options.random, turn: this, tcp: options.tcp,
      sndbufMost: options.sndbufMost, rcvbufMost: options.rcvbufMost, sndbufGrowth: options.sndbufGrowth, rcvbufGrowth: options.rcvbufGrowth,
      flush: options.flush, refs: options.refs,
      wakeAt: (atMs) => this.#time.wakeAtMs(atMs), nowMs: MS_EPOCH,
    });
    checkCongestion(this.tcp.config.congestion);
    this.#time.serve(this.tcp);
    this.tcp.advance();
  }

  /** Time of this turn, µs of the clock. */
  get nowUs(): number {
    return this.#time.nowUs;
  }

  // ------------------------------------------------------------------------------------- turns

  /** Segments have arrived, in `slab`; they are to be handed in between `begin()` and `end()`. */
  begin(slab: Uint8Array): void {
    this.enter();
    const lent = this.tcp.lent;
    lent.slab = slab;
    lent.count = 0;
    lent.open = true;
  }

  segment(packet: IpPacket): void {
    this.tcp.input(packet);
  }

  /** The input is drained: the application hears of it, and what it leaves is put away; ACKs and data go out. */
  end(): void {
    this.#time.look();
    this.tcp.drain();
    this.tcp.lent.open = false;
    this.leave();
  }

  enter(): void {
    if (this.#depth++ === 0) this.#time.look();
  }

  leave(): void {
    if (this.#depth === 1) {
      this.tcp.drain();
      this.#flush();
    }
    this.#depth--;
  }

  // ----------------------------------------------------------------------------------- sockets

  /** As `Stack.socket`. */
  socket(domain: number, type: number = SOCK_STREAM, protocol = 0): BsdSocket | number {
    if (this.#closed) return -ENETDOWN;
    if (type !== SOCK_STREAM || (protocol !== 0 && protocol !== IPPROTO_TCP)) return -EPROTONOSUPPORT;
    return tcpSocket(this.tcp, domain);
  }

  /**
   * Ends every connection with `errno` for its user, and by RST for its peer as far as the channel carries it. `lost`: nobody
   * here wanted that, so whoever listens is to hear of it, too.
   */
  abort(errno: number, lost = false): void {
    if (this.#closed) return;
    this.enter();
    if (lost) this.tcp.failListeners(errno);
    this.tcp.abortAll(errno);
    this.leave();
    this.#closed = true;
    this.#time.stop();
  }
}
