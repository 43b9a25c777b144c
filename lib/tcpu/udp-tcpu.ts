/**
 * TCPU over UDP (sections 2 and 3.2 of the report: "Instead of running TCPU over TCPK it would also be possible to
 * run it over UDP. However, in this case, TCPU is not compatible with a pure kernel TCP"): two such programs talk
 * TCP to each other through UDP sockets of their hosts, with no device, no stack process and no privileges. How a
 * segment lies in a datagram is told in udp-ip.ts, what a port is in udp-ports.ts.
 *
 * In: a datagram is checked and copied behind those that came with it; when all that the event loop's turn has
 * brought is there, they are one batch (figure 5: "until there are no more packets in the input buffer"), whose
 * data goes to who waits for it with one copy, and which is acknowledged once.
 * Out: each segment is copied into one datagram; while the host has no room they wait in the transmit queue.
 *
 * A program that ends without `close()` stays until what it has sent is acknowledged: nobody else would see to it.
 */

import { PacketMemory } from '../buffer/packet-memory.ts';
import { SystemClock } from '../clock.ts';
import type { Clock } from '../clock.ts';
import { ECONNABORTED, ECONNREFUSED, ECONNRESET, EMSGSIZE } from '../errno.ts';
import { IpPacket } from '../ip/packet.ts';
import { PacketBatch } from '../link/link.ts';
import { SystemRandom } from '../random.ts';
import type { Random } from '../random.ts';
import type { BsdSocket, SocketProvider } from '../socket.ts';
import type { TcpOptions } from '../tcp/config.ts';
import { abortWith } from '../tcp/ending.ts';
import { CLOSING, FIN_WAIT_1, LAST_ACK, SYN_SENT } from '../tcp/states.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { isMapped, MAPPED, parseAddress } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';
import { fold, sumBytes } from '../wire/checksum.ts';
import { IPPROTO_TCP, TCP_DST_PORT, TCP_SRC_PORT } from '../wire/tcp.ts';
import { Tcpu } from './tcpu.ts';
import { openEndpoint } from './udp-endpoint.ts';
import type { EndpointBuffers, EndpointUser, UdpEndpoint } from './udp-endpoint.ts';
import { DEFAULT_MTU, LEAST_DATAGRAM, UDP_ENCAPSULATION, UDP_MAGIC, UDP_VERSION, UdpIp } from './udp-ip.ts';
import { UdpPorts } from './udp-ports.ts';

/** Datagrams in one batch; `LentPieces` has room for more. */
const BATCH = 512;
const LARGEST_DATAGRAM = 65_535;
const RX_BYTES = 1 << 20;
const DEFAULT_MEMORY = 64 << 20;
const DEFAULT_SOCKET_BUFFER = 2 << 20;
/** Connections in TIME-WAIT: most of them hold a socket of the host's. */
const MAX_TIME_WAIT = 512;
/** Peers whose addresses are remembered in binary. */
const KNOWN_ADDRESSES = 1024;
/** So often in a row "nobody is there" ends an established connection. */
const LAST_REFUSAL = 3;
/** Longest time that a graceful close waits by default, ms. */
const CLOSE_TIMEOUT_MS = 2000;

export interface UdpTcpuOptions {
  tcp?: TcpOptions;
  /** Largest IP packet that the path carries, bytes, 576 to 65535. Default 1400; on the loopback 16384. */
  mtu?: number;
  /** Buffers that UDP sockets are given, bytes. Default 2 MiB; the host may give less (`net.core.rmem_max`). */
  socketBuffer?: number;
  /** Packet memory, bytes: send and receive buffers of all connections. Default 64 MiB, committed when touched. */
  memory?: number;
  clock?: Clock;
  random?: Random;
}

export class UdpTcpuCounters {
  /** Datagrams that held a segment, their bytes, and the batches that they came in. */
  InDatagrams = 0;
  InOctets = 0;
  InBatches = 0;
  /** Dropped: too short; not ours (or from port 0); of another version; damaged. */
  InTooShort = 0;
  InNotOurs = 0;
  InBadVersion = 0;
  InCsumErrors = 0;
  OutDatagrams = 0;
  OutOctets = 0;
  /** Datagrams that the host took back with an error; what it said: too long, nobody there. */
  OutErrors = 0;
  OutTooLong = 0;
  Refused = 0;
  /** Times that the host had no room and segments had to wait; segments whose socket had gone. */
  OutBlocked = 0;
  OutDropped = 0;
}

export class UdpTcpu implements SocketProvider, EndpointUser {
  readonly tcpu: Tcpu;
  readonly ip: UdpIp;
  readonly ports: UdpPorts;
  readonly memory: PacketMemory;
  readonly counters = new UdpTcpuCounters();
  readonly #clock: Clock;
  readonly #buffers: EndpointBuffers;
  readonly #packet: IpPacket;
  /** The batch that is being gathered: `#count` datagrams, `#used` bytes of the receive slab. */
  #count = 0;
  #used = 0;
  #immediate: NodeJS.Immediate | null = null;
  readonly #offsets = new Int32Array(BATCH);
  readonly #lengths = new Int32Array(BATCH);
  readonly #timesUs = new Float64Array(BATCH);
  readonly #ports = new Int32Array(BATCH);
  readonly #addresses: string[] = new Array<string>(BATCH).fill('');
  readonly #endpoints: (UdpEndpoint | null)[] = new Array<UdpEndpoint | null>(BATCH).fill(null);
  readonly #known = new Map<string, AddressWords>();
  /** Where a datagram is put together. */
  #datagram = Buffer.allocUnsafeSlow(LARGEST_DATAGRAM + 1);
  #refs = 0;
  #alive = false;
  #closed = false;
  #closing: (() => void) | null = null;

  /**
   * @throws RangeError that names the bad option
   */
  constructor(options: UdpTcpuOptions = {}) {
    const mtu = within('mtu', options.mtu ?? DEFAULT_MTU, 576, LARGEST_DATAGRAM);
    const size = within('socketBuffer', options.socketBuffer ?? DEFAULT_SOCKET_BUFFER, 4096, 1 << 30);
    const clock = options.clock ?? new SystemClock();
    const random = options.random ?? new SystemRandom();
    this.#clock = clock;
    this.#buffers = { recvBufferSize: size, sendBufferSize: size };
    this.memory = new PacketMemory({ size: options.memory ?? DEFAULT_MEMORY, rxBytes: RX_BYTES });
    this.ip = new UdpIp(this.memory, mtu, random.int32());
    this.ports = new UdpPorts(this.ip, (endpoint) => this.#open(endpoint));
    this.#packet = new IpPacket(new PacketBatch(this.memory.bytes, 0));
    this.tcpu = new Tcpu({
      ip: this.ip, memory: this.memory, ports: this.ports, clock, random,
      tcp: { ...options.tcp, maxTimeWait: options.tcp?.maxTimeWait ?? MAX_TIME_WAIT },
      sndbufMost: this.memory.blockCount << 12,
      // 4.1 of the report. About half of the host's buffer is overhead.
      rcvbufMost: this.#hostBuffer() >> 1,
      flush: () => this.#flush(),
      refs: { ref: () => this.#addRef(1), unref: () => this.#addRef(-1) },
    });
    this.ports.hasFlow = (flow, localPort, remotePort) => this.tcpu.tcp.hasFlow(flow, localPort, remotePort);
  }

  /** What the host gives a socket that asks for `socketBuffer`. */
  #hostBuffer(): number {
    for (const v6 of [false, true]) {
      const endpoint = openEndpoint(this, { v6, v6only: false, address: '', port: 0, buffers: this.#buffers });
      if (typeof endpoint === 'number') continue;
      const size = endpoint.recvBufferSize;
      endpoint.close();
      return size;
    }
    return this.#buffers.recvBufferSize;
  }

  #open(options: Omit<Parameters<typeof openEndpoint>[1], 'buffers'>): UdpEndpoint | number {
    const endpoint = openEndpoint(this, { ...options, buffers: this.#buffers });
    if (typeof endpoint !== 'number' && this.#alive) endpoint.ref();
    return endpoint;
  }

  /** A low-level socket, as `Stack.socket`. */
  socket(domain: number, type: number, protocol: number): BsdSocket | number {
    return this.tcpu.socket(domain, type, protocol);
  }

  // ------------------------------------------------------------------------------------- input

  /** EndpointUser */
  received(endpoint: UdpEndpoint, datagram: Uint8Array, address: string, port: number): void {
    if (this.#closed) return;
    const { counters, memory } = this;
    const length = datagram.length;
    if (port === 0) {
      // RFC 768: no answer is wanted, and no connection has that port.
      counters.InNotOurs++;
      return;
    }
    if (length < LEAST_DATAGRAM) {
      counters.InTooShort++;
      return;
    }
    const magic = (datagram[0]! << 24) | (datagram[1]! << 16) | (datagram[2]! << 8) | datagram[3]!;
    if (magic !== UDP_MAGIC) {
      if (((magic ^ UDP_MAGIC) & ~0xff) === 0 && datagram[3] !== UDP_VERSION) counters.InBadVersion++;
      else counters.InNotOurs++;
      return;
    }
    if (this.#count === BATCH || this.#used + length > memory.rxBytes) this.#handleBatch();
    const at = this.#used;
    memory.bytes.set(datagram, at);
    if (fold(sumBytes(memory.view, at + UDP_ENCAPSULATION, length - UDP_ENCAPSULATION)) !== 0xffff) {
      counters.InCsumErrors++;
      return;
    }
    counters.InDatagrams++;
    counters.InOctets += length;
    const i = this.#count++;
    this.#used = (at + length + 7) & ~7;
    this.#offsets[i] = at + UDP_ENCAPSULATION;
    this.#lengths[i] = length - UDP_ENCAPSULATION;
    this.#timesUs[i] = this.#clock.nowUs();
    this.#ports[i] = port;
    this.#addresses[i] = address;
    this.#endpoints[i] = endpoint;
    // After all that this turn of the event loop reads.
    this.#immediate ??= setImmediate(() => {
      this.#immediate = null;
      this.#handleBatch();
    });
  }

  /** Nothing may be there any more: the batch was full before its time. */
  #handleBatch(): void {
    if (this.#closed || this.#count === 0) return;
    const { tcpu, ip } = this;
    this.counters.InBatches++;
    tcpu.begin(this.memory.bytes);
    for (let i = 0; i < this.#count; i++) {
      const endpoint = this.#endpoints[i]!;
      this.#endpoints[i] = null;
      if (endpoint.closed) continue;
      const address = this.#addresses[i]!;
      ip.from(endpoint, address, this.#ports[i]!);
      this.#segment(i, endpoint, this.#words(address));
    }
    ip.from(null, '', 0);
    tcpu.end();
    this.#count = 0;
    this.#used = 0;
  }

  #segment(i: number, endpoint: UdpEndpoint, peer: AddressWords): void {
    const packet = this.#packet;
    const v4 = isMapped(peer.w0, peer.w1, peer.w2);
    const at = this.#offsets[i]!;
    packet.version = v4 ? 4 : 6;
    packet.src0 = peer.w0;
    packet.src1 = peer.w1;
    packet.src2 = peer.w2;
    packet.src3 = peer.w3;
    packet.dst0 = endpoint.w0;
    packet.dst1 = endpoint.w1;
    packet.dst2 = endpoint.localWord2(v4);
    packet.dst3 = endpoint.w3;
    packet.protocol = IPPROTO_TCP;
    packet.offset = at;
    packet.length = this.#lengths[i]!;
    packet.ipOffset = at;
    packet.ipLength = packet.length;
    packet.checksumOk = true;
    packet.timeUs = this.#timesUs[i]!;
    // The ports that count are UDP's.
    packet.view.setUint16(at + TCP_SRC_PORT, this.#ports[i]!);
    packet.view.setUint16(at + TCP_DST_PORT, endpoint.port);
    this.tcpu.segment(packet);
  }

  #words(address: string): AddressWords {
    const known = this.#known.get(address);
    if (known !== undefined) return known;
    const words = parseAddress(address.split('%')[0]!) ?? { w0: 0, w1: 0, w2: MAPPED, w3: 0 };
    if (this.#known.size >= KNOWN_ADDRESSES) this.#known.clear();
    this.#known.set(address, words);
    return words;
  }

  // ------------------------------------------------------------------------------------ output

  #flush(): void {
    const { ip, counters } = this;
    const { tx } = ip;
    while (!tx.empty) {
      const path = ip.queued[tx.head]!;
      const { endpoint } = path;
      if (endpoint.blocked) break;
      if (endpoint.closed) {
        counters.OutDropped++;
      } else {
        const length = tx.copyPacket(tx.head, this.#datagram, 0);
        endpoint.send(this.#datagram, length, path);
        counters.OutDatagrams++;
        counters.OutOctets += length;
        if (endpoint.blocked) {
          // The host goes on using this one.
          this.#datagram = Buffer.allocUnsafeSlow(LARGEST_DATAGRAM + 1);
          counters.OutBlocked++;
        }
      }
      ip.queued[tx.head] = null;
      tx.head++;
    }
    tx.reclaim();
    if (tx.empty) while (this.ports.retired.length > 0) this.ports.retired.pop()!.close();
    this.#stayAlive();
    if (this.#closing !== null && this.tcpu.tcp.connections === 0) this.#closing();
  }

  /** EndpointUser: what waits may go on. */
  drained(): void {
    if (this.#closed) return;
    this.tcpu.enter();
    this.#flush();
    this.tcpu.leave();
  }

  /** EndpointUser */
  failed(endpoint: UdpEndpoint, errno: number, address: string | null): void {
    if (this.#closed) return;
    this.counters.OutErrors++;
    const { owner } = endpoint;
    this.tcpu.enter();
    if (errno === EMSGSIZE) this.#tooLong(owner, address);
    else if (errno === ECONNREFUSED) this.#refused(endpoint, owner);
    else if (owner !== null && owner.state === SYN_SENT && errno !== 0) abortWith(owner, errno, false);
    else if (owner !== null) owner.softError = errno;
    this.tcpu.leave();
  }

  #tooLong(owner: Tcb | null, address: string | null): void {
    this.counters.OutTooLong++;
    let words: AddressWords | null = address === null ? null : this.#words(address);
    if (owner !== null) words = { w0: owner.flow.r0, w1: owner.flow.r1, w2: owner.flow.r2, w3: owner.flow.r3 };
    if (words === null || !this.ip.lowerMtu(words.w0, words.w1, words.w2, words.w3)) return;
    this.tcpu.tcp.pathMtuChanged(words.w0, words.w1, words.w2, words.w3);
  }

  /**
   * The peer's host has no such port. While opening that ends the attempt, as a RST would. Afterwards one such
   * message may be anybody's (RFC 5927 4.2 takes ICMP errors for soft ones); several in a row that nothing from the
   * peer contradicts mean that its program has gone.
   */
  #refused(endpoint: UdpEndpoint, owner: Tcb | null): void {
    this.counters.Refused++;
    if (owner === null) return;
    if (owner.state === SYN_SENT) {
      this.tcpu.tcp.counters.AttemptFails++;
      abortWith(owner, ECONNREFUSED, false);
    } else if (++endpoint.refusals >= LAST_REFUSAL) {
      abortWith(owner, ECONNRESET, false);
    } else {
      owner.softError = ECONNREFUSED;
    }
  }

  // ------------------------------------------------------------------------------ life and death

  #addRef(change: number): void {
    this.#refs += change;
    this.#stayAlive();
  }

  /** The process lives on for open sockets, and for closed ones with something unacknowledged. */
  #stayAlive(): void {
    const alive = !this.#closed && (this.#refs > 0 || this.#closing !== null || this.#unfinished());
    if (alive === this.#alive) return;
    this.#alive = alive;
    for (const endpoint of this.ports.endpoints) {
      if (alive) endpoint.ref();
      else endpoint.unref();
    }
  }

  #unfinished(): boolean {
    if (this.tcpu.tcp.connections === 0) return false;
    let unfinished = false;
    this.tcpu.tcp.forEach((tcb) => {
      if (tcb.orphan && (tcb.state === FIN_WAIT_1 || tcb.state === CLOSING || tcb.state === LAST_ACK)) unfinished = true;
    });
    return unfinished;
  }

  /**
   * Ends all connections, and closes the UDP sockets: after FINs were exchanged, within `timeoutMs` (default 2000),
   * unless `graceful` is false; what is left then is reset. Closing twice is fine.
   */
  close(options: { graceful?: boolean; timeoutMs?: number } = {}): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (options.graceful === false) {
      this.#shut();
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const before = this.#closing;
      const limit = this.#clock.alarm(() => this.#closing?.());
      limit.set(this.#clock.nowUs() + (options.timeoutMs ?? CLOSE_TIMEOUT_MS) * 1000);
      this.#closing = () => {
        limit.clear();
        this.#shut();
        before?.();
        resolve();
      };
      this.#stayAlive();
      this.tcpu.enter();
      this.tcpu.tcp.closeAll();
      this.tcpu.leave();
    });
  }

  #shut(): void {
    if (this.#closed) return;
    this.#closing = null;
    this.tcpu.abort(ECONNABORTED);
    this.#flush();
    this.#closed = true;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
    this.ip.tx.clear();
    for (const endpoint of this.ports.endpoints) endpoint.close();
    for (const endpoint of this.ports.retired) endpoint.close();
    this.ports.endpoints.clear();
    this.ports.retired.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function within(name: string, value: number, low: number, high: number): number {
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new RangeError(`${name} is ${value}; it must be an integer between ${low} and ${high}`);
  }
  return value;
}
