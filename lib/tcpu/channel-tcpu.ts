/**
 * TCPU over TCPK: takes what the stack puts into the receive ring, and shows it what the transmit ring
 * holds. A batch is what is in the ring when we wake up; when it is empty we sleep until the doorbell
 * rings or a deadline comes (figure 5 of the report, with the event loop in the place of `select`).
 */

import type { Channel, ChannelUser } from '../channel/channel.ts';
import { Linger } from '../channel/linger.ts';
import {
  EVENT_BITS, EVENT_SOCKET, EVENT_VALUE, ICMP_CODE, ICMP_DATA, ICMP_DST, ICMP_ERRNO, ICMP_FROM, ICMP_LENGTH, ICMP_MTU, ICMP_SRC, ICMP_TYPE,
  ICMP_VERSION, PATH_MTU_BYTES, PATH_MTU_DST, REFUSED_ERRNO, REFUSED_HANDLE, REFUSED_PORTS, REPORT_ID, REPORT_WHAT, SEG_CSUM_OK, SEG_DATA, SEG_DST, SEG_GSO_SIZE,
  SEG_GSO_TYPE, SEG_IP, SEG_LENGTH, SEG_SRC, SEG_SUM, SEG_TIME, TO_APP_EVENT, TO_APP_ICMP, TO_APP_PATH_MTU, TO_APP_REFUSED,
  TO_APP_REPORT, TO_APP_SEGMENT, TO_APP_VIOLATION, VIOLATION_COUNT, VIOLATION_REASON,
} from '../channel/records.ts';
import { RECORD_TYPE, RingReader, RingWriter } from '../channel/ring.ts';
import { APP_SLEEPS, RX_HEAD, RX_TAIL, TX_HEAD, TX_TAIL, TX_WAITS } from '../channel/window.ts';
import type { Clock } from '../clock.ts';
import { ECONNABORTED, ENETDOWN } from '../errno.ts';
import { IpPacket } from '../ip/packet.ts';
import type { IcmpError } from '../ip/packet.ts';
import { LinkAlarm } from '../link/link-alarm.ts';
import { PacketBatch } from '../link/link.ts';
import type { Random } from '../random.ts';
import type { TcpOptions } from '../tcp/config.ts';
import { abortWith } from '../tcp/ending.ts';
import { ChannelIp } from './channel-ip.ts';
import { ChannelMemory } from './channel-memory.ts';
import { ChannelPorts } from './channel-ports.ts';
import { leaveBehind } from './leave.ts';
import { Tcpu } from './tcpu.ts';

/** Records in one batch; `LentPieces` has room for more. */
const BATCH = 512;
/** Batches before other work of the application's gets its chance. */
const ROUNDS = 4;

/**
 * Bytes that one peer may have under way to us, so that the ring takes them: beside the data are headers, what
 * the stack keeps for other news, and up to one segment of 64 KB left over where the ring ends.
 */
function receivable(rxRing: number): number {
  return Math.min((rxRing >> 2) * 3, rxRing - (rxRing >> 3) - (64 << 10));
}

export interface ChannelTcpuOptions {
  channel: Channel;
  clock: Clock;
  random: Random;
  tcp?: TcpOptions;
  refs: { ref(): void; unref(): void };
}

/** What else comes through the channel. */
export interface ChannelEvents {
  /** An event of a socket in the stack. */
  event(socket: number, events: number, value: number): void;
  /** The stack has dropped what we sent. */
  violation(reason: number, count: number): void;
  /** The stack asks for a report; `what` has `REPORT_…` bits. */
  report(id: number, what: number): void;
  gone(reason: string): void;
}

export class ChannelCounters {
  /** Times that we woke up, batches, and records that came. */
  Wakeups = 0;
  Batches = 0;
  Records = 0;
  /** Doorbells rung; times that the transmit ring was full. */
  Bells = 0;
  RingFull = 0;
}

export class ChannelTcpu implements ChannelUser {
  readonly tcpu: Tcpu;
  readonly memory: ChannelMemory;
  readonly ip: ChannelIp;
  readonly ports: ChannelPorts;
  readonly counters = new ChannelCounters();
  events: ChannelEvents | null = null;
  readonly #channel: Channel;
  readonly #rx: RingReader;
  readonly #tx: RingWriter;
  readonly #words: Int32Array;
  readonly #packet: IpPacket;
  readonly #again: LinkAlarm;
  readonly #clock: Clock;
  readonly #linger: Linger | null;
  #gone = false;
  #reading = false;
  /** `Channel.stayAwake` is to call `bell()` soon. */
  #awake = false;

  constructor(options: ChannelTcpuOptions) {
    const { channel } = options;
    const { window } = channel;
    this.#channel = channel;
    this.#clock = options.clock;
    this.#linger = channel.stayAwake === undefined ? null : new Linger();
    this.#words = window.words;
    this.#rx = new RingReader(window, window.rxRing, window.sizes.rxRing, RX_HEAD, RX_TAIL);
    this.#tx = new RingWriter(window, window.txRing, window.sizes.txRing, TX_HEAD, TX_TAIL);
    this.memory = new ChannelMemory(window, this.#tx);
    this.ip = new ChannelIp(window, this.#tx, this.memory, channel.info, options.random.int32());
    this.ports = new ChannelPorts(channel, this.#tx, this.ip, () => this.#flush());
    this.ip.mayAnswer = (flow, local, remote) => this.ports.covers(flow, local) || this.tcpu.tcp.hasFlow(flow, local, remote);
    this.#packet = new IpPacket(new PacketBatch(this.memory.bytes, 0));
    this.#again = new LinkAlarm(options.clock, () => {
      this.#again.unref();
      this.bell();
    });
    this.tcpu = new Tcpu({
      ip: this.ip, memory: this.memory, ports: this.ports, clock: options.clock, random: options.random, tcp: options.tcp, refs: options.refs,
      // Half of the memory for one retransmission buffer; of the ring for what one peer may send at once, not all, and for
      // what all may send beyond their first windows less than half: what finds it full is lost, and sent again.
      sndbufMost: window.sizes.memory >> 1, sndbufGrowth: window.sizes.memory >> 3,
      rcvbufMost: receivable(window.sizes.rxRing), rcvbufGrowth: (window.sizes.rxRing >> 3) * 3,
      flush: () => this.#flush(),
    });
    channel.attach(this);
    Atomics.store(this.#words, APP_SLEEPS, 1);
    if (this.#rx.waiting) this.bell();
  }

  // ------------------------------------------------------------------------------------- input

  /** ChannelUser: there is something in the ring. */
  bell(): void {
    if (this.#gone || this.#reading) return;
    this.#reading = true;
    this.#awake = false;
    this.counters.Wakeups++;
    Atomics.store(this.#words, APP_SLEEPS, 0);
    // With nothing in it, too: the stack may have made room for what waits here.
    this.memory.collect();
    for (let round = 0; ; round++) {
      if (round === ROUNDS) {
        this.#comeBack();
        break;
      }
      if (!this.#batch()) {
        if (this.#staysAwake()) break;
        Atomics.store(this.#words, APP_SLEEPS, 1);
        if (!this.#rx.waiting) break;
        Atomics.store(this.#words, APP_SLEEPS, 0);
      }
    }
    this.#reading = false;
    if (this.#rx.broken) this.#leave('the receive ring was damaged');
  }

  /** Looks again soon, for an answer to what was sent, and need not be rung for until then. */
  #staysAwake(): boolean {
    const linger = this.#linger;
    if (linger === null || !linger.stays(this.tcpu.nowUs)) return false;
    if (!this.#awake) this.#channel.stayAwake!();
    this.#awake = true;
    return true;
  }

  /** Goes on after others had their turn. */
  #comeBack(): void {
    if (this.#gone) return;
    this.#again.ref();
    this.#again.set(this.#clock.nowUs());
  }

  /** Takes what is in the ring, up to a batch. Returns whether more may be there. */
  #batch(): boolean {
    const rx = this.#rx;
    const words = this.#words;
    const tcpu = this.tcpu;
    let count = 0;
    tcpu.begin(this.memory.bytes);
    const nowUs = tcpu.nowUs;
    while (count < BATCH) {
      const w = rx.next();
      if (w < 0) break;
      count++;
      if (words[w + RECORD_TYPE] === TO_APP_SEGMENT) this.#segment(w);
      else this.#record(w);
      if (this.#gone) return false;
    }
    if (count > 0 && this.#linger !== null) this.#linger.came(nowUs, count);
    tcpu.end();
    if (count === 0) return false;
    this.counters.Batches++;
    this.counters.Records += count;
    return true;
  }

  #segment(w: number): void {
    const words = this.#words;
    const packet = this.#packet;
    const ip = words[w + SEG_IP]!;
    packet.version = ip & 0xff;
    packet.tos = (ip >>> 8) & 0xff;
    packet.ttl = (ip >>> 16) & 0xff;
    packet.checksumOk = (ip & SEG_CSUM_OK) !== 0;
    packet.src0 = words[w + SEG_SRC]!;
    packet.src1 = words[w + SEG_SRC + 1]!;
    packet.src2 = words[w + SEG_SRC + 2]!;
    packet.src3 = words[w + SEG_SRC + 3]!;
    packet.dst0 = words[w + SEG_DST]!;
    packet.dst1 = words[w + SEG_DST + 1]!;
    packet.dst2 = words[w + SEG_DST + 2]!;
    packet.dst3 = words[w + SEG_DST + 3]!;
    packet.protocol = 6;
    packet.transportSum = words[w + SEG_SUM]!;
    packet.gsoType = words[w + SEG_GSO_TYPE]!;
    packet.gsoSize = words[w + SEG_GSO_SIZE]!;
    packet.offset = (w + SEG_DATA) * 4;
    packet.length = words[w + SEG_LENGTH]!;
    packet.ipOffset = packet.offset;
    packet.ipLength = packet.length;
    packet.timeUs = words[w + SEG_TIME]! + this.#channel.info.clockOffsetUs;
    this.tcpu.segment(packet);
  }

  #record(w: number): void {
    const words = this.#words;
    switch (words[w + RECORD_TYPE]) {
      case TO_APP_EVENT:
        this.events?.event(words[w + EVENT_SOCKET]!, words[w + EVENT_BITS]!, words[w + EVENT_VALUE]!);
        break;
      case TO_APP_ICMP:
        this.tcpu.tcp.icmpError(this.#icmpError(w));
        break;
      case TO_APP_PATH_MTU: {
        const d = w + PATH_MTU_DST;
        this.ip.setPathMtu(words[d]!, words[d + 1]!, words[d + 2]!, words[d + 3]!, words[w + PATH_MTU_BYTES]!);
        this.tcpu.tcp.pathMtuChanged(words[d]!, words[d + 1]!, words[d + 2]!, words[d + 3]!);
        break;
      }
      case TO_APP_REFUSED: {
        const tcb = this.ports.tcbOf(words[w + REFUSED_HANDLE]!, words[w + REFUSED_PORTS]!);
        if (tcb !== null) abortWith(tcb, words[w + REFUSED_ERRNO]!, false);
        break;
      }
      case TO_APP_VIOLATION:
        this.events?.violation(words[w + VIOLATION_REASON]!, words[w + VIOLATION_COUNT]!);
        break;
      case TO_APP_REPORT:
        this.events?.report(words[w + REPORT_ID]!, words[w + REPORT_WHAT]!);
        break;
    }
  }

  #icmpError(w: number): IcmpError {
    const words = this.#words;
    const version = words[w + ICMP_VERSION]!;
    return {
      version: version & 0xff,
      fatal: (version & 256) !== 0,
      type: words[w + ICMP_TYPE]!,
      code: words[w + ICMP_CODE]!,
      errno: words[w + ICMP_ERRNO]!,
      mtu: words[w + ICMP_MTU]!,
      from0: words[w + ICMP_FROM]!,
      from1: words[w + ICMP_FROM + 1]!,
      from2: words[w + ICMP_FROM + 2]!,
      from3: words[w + ICMP_FROM + 3]!,
      src0: words[w + ICMP_SRC]!,
      src1: words[w + ICMP_SRC + 1]!,
      src2: words[w + ICMP_SRC + 2]!,
      src3: words[w + ICMP_SRC + 3]!,
      dst0: words[w + ICMP_DST]!,
      dst1: words[w + ICMP_DST + 1]!,
      dst2: words[w + ICMP_DST + 2]!,
      dst3: words[w + ICMP_DST + 3]!,
      slab: this.memory.bytes,
      view: this.memory.view,
      offset: (w + ICMP_DATA) * 4,
      length: words[w + ICMP_LENGTH]!,
    };
  }

  // ------------------------------------------------------------------------------------ output

  /** Shows the stack what is in the transmit ring. */
  #flush(): void {
    if (this.#gone) return;
    const { ports, memory } = this;
    // Before the acknowledgment that lets the peer fill the room; not while payload is still lent from there.
    if (!this.tcpu.tcp.lent.open) this.#rx.release();
    if (ports.waiting) ports.retry();
    if (this.#tx.publish()) {
      this.counters.Bells++;
      this.#channel.ring();
      if (this.#linger !== null) this.#linger.shown(this.tcpu.nowUs);
      if (!this.#reading && this.#staysAwake()) Atomics.store(this.#words, APP_SLEEPS, 0);
    }
    const freed = memory.collect();
    const { starving } = this.tcpu.tcp;
    const full = !this.ip.tx.ready || ports.waiting;
    if (full) this.counters.RingFull++;
    if (full || starving && memory.kept > 0) {
      Atomics.store(this.#words, TX_WAITS, 1);
      // It may have made room just before.
      if (full ? this.ip.tx.ready : memory.collect()) this.#comeBack();
    } else if (starving && freed) {
      // A sender waits for blocks, and is told in a turn.
      this.#comeBack();
    }
    if (this.#tx.broken) this.#leave('the transmit ring was damaged');
  }

  // ------------------------------------------------------------------------------------ ending

  #leave(reason: string): void {
    this.#channel.close();
    this.gone(reason);
  }

  /** ChannelUser: the stack has gone. */
  gone(reason: string): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#again.clear();
    this.#again.unref();
    this.tcpu.abort(ENETDOWN, true);
    this.events?.gone(reason);
  }

  /**
   * We go. With `graceful`, connections are closed, and what is left to do for them is the stack's; what cannot go
   * over, or all without, is reset.
   */
  close(graceful: boolean): void {
    if (this.#gone) return;
    if (graceful) leaveBehind(this.tcpu, this.ports, this.#channel);
    if (this.#gone) return;
    this.tcpu.abort(ECONNABORTED);
    this.#gone = true;
    this.#again.clear();
    this.#again.unref();
    this.#channel.close();
  }
}
