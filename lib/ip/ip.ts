/**
 * The IP layer of a stack: versions 4 and 6, ICMP, routes, fragments, path MTU. This class puts the
 * parts together; they are in input.ts, output.ts, icmp*.ts, reassembly.ts, route.ts, path-mtu.ts.
 *
 * It keeps no time of its own: set `nowUs` at the start of each turn, and call `poll()` at
 * `nextDeadlineUs`. It sends nothing: packets wait in `tx` until the stack hands them to its link.
 */

import type { PacketMemory } from '../buffer/packet-memory.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import { resolveLimits } from '../limits.ts';
import type { IpLimits } from '../limits.ts';
import type { PacketBatch } from '../link/link.ts';
import type { Random } from '../random.ts';
import type { AddressWords } from '../wire/address.ts';
import type { IcmpCounters, IpCounters } from './counters.ts';
import type { IpFlow } from './flow.ts';
import { Icmp } from './icmp.ts';
import type { IcmpParts } from './icmp.ts';
import { IcmpOutput } from './icmp-output.ts';
import { Icmpv6 } from './icmpv6.ts';
import { IpInput } from './input.ts';
import { LoopbackQueue } from './loopback.ts';
import { IpOutput } from './output.ts';
import type { IpPacket } from './packet.ts';
import { PathMtuCache } from './path-mtu.ts';
import { TokenBucket } from './rate-limit.ts';
import { Reassembly } from './reassembly.ts';
import { RouteTable } from './route.ts';
import type { AddressConfig, RouteConfig } from './route.ts';
import { IpState } from './state.ts';
import type { IcmpListener } from './state.ts';
import type { IpLayer, TcpPortTable, Transport } from './transport.ts';

export type { IpLimits } from '../limits.ts';

export interface IpOptions {
  tx: TransmitQueue;
  memory: PacketMemory;
  random: Random;
  /** The link's, bytes. */
  mtu: number;
  /** The link's `LINK_…` bits. */
  features: number;
  /** The stack's own; loopback addresses need not be named. */
  addresses: readonly AddressConfig[];
  /** Default: everything is reached through the link. */
  routes?: readonly RouteConfig[] | null;
  limits?: IpLimits;
}

export class Ip implements IpLayer {
  readonly tx: TransmitQueue;
  readonly features: number;
  readonly routes: RouteTable;
  readonly pathMtu: PathMtuCache;
  private readonly state: IpState;
  private readonly inputSide: IpInput;
  private readonly outputSide: IpOutput;
  private readonly reassembly: Reassembly;
  private readonly loopback: LoopbackQueue;

  /** Throws RangeError on a bad prefix length or limit. */
  constructor(options: IpOptions) {
    const { ip: limits } = resolveLimits({ ip: options.limits });
    const state = new IpState(options.memory, options.random);
    const routes = new RouteTable(options.addresses, options.routes ?? null);
    const pathMtu = new PathMtuCache(options.random.int32());
    const loopback = new LoopbackQueue(limits.loopbackBytes);
    const output = new IpOutput(state, options.tx, routes, pathMtu, loopback, options.mtu, options.features);
    const bucket = new TokenBucket(limits.icmpErrorsPerSecond, limits.icmpErrorBurst);
    const sender = new IcmpOutput(state, output, routes, bucket);
    const reassembly = new Reassembly(state, limits);
    const parts: IcmpParts = { state, routes, output, sender };
    const icmp = new Icmp(parts);
    const icmpv6 = new Icmpv6(parts);
    this.tx = options.tx;
    this.features = options.features;
    this.routes = routes;
    this.pathMtu = pathMtu;
    this.state = state;
    this.outputSide = output;
    this.reassembly = reassembly;
    this.loopback = loopback;
    this.inputSide = new IpInput({ state, routes, reassembly, loopback, sender, icmp, icmpv6 });
  }

  /** Time of this turn, µs of the stack's clock. To be set before anything else is called in a turn. */
  get nowUs(): number {
    return this.state.nowUs;
  }

  set nowUs(us: number) {
    this.state.nowUs = us;
  }

  get ip4(): IpCounters {
    return this.state.ip4;
  }

  get ip6(): IpCounters {
    return this.state.ip6;
  }

  get icmp4(): IcmpCounters {
    return this.state.icmp4;
  }

  get icmp6(): IcmpCounters {
    return this.state.icmp6;
  }

  /** TCPK's hook (figure 2 of the report): asked for every TCP segment before the registered TCP. */
  get ports(): TcpPortTable | null {
    return this.state.ports;
  }

  set ports(table: TcpPortTable | null) {
    this.state.ports = table;
  }

  /** Gives `protocol` (TCP 6, UDP 17, …) to a transport, for both versions. ICMP is IP's own. */
  register(protocol: number, transport: Transport): void {
    this.state.transports[protocol] = transport;
  }

  /** Who gets echo replies, and errors about echo requests; null for nobody. */
  onEcho(listener: IcmpListener | null): void {
    this.state.listener = listener;
  }

  /** Takes packet `index` of a batch that arrived. What it causes is in `tx` and the transports when it returns. */
  input(batch: PacketBatch, index: number): void {
    this.inputSide.input(batch, index);
  }

  /**
   * Packets from the stack to itself since the last call, as a batch for `input()`; null when there are
   * none. The batch is valid until the next call. To be called when a turn's output has been produced,
   * until it returns null.
   */
  takeLoopback(): PacketBatch | null {
    return this.loopback.take(this.state.nowUs);
  }

  /** Whether `takeLoopback()` has something to give. */
  get loopbackPending(): boolean {
    return this.loopback.pending > 0;
  }

  /** The next time at which `poll()` has something to do, µs; Infinity when nothing is pending. */
  get nextDeadlineUs(): number {
    return Math.min(this.reassembly.nextDeadlineUs, this.pathMtu.nextDeadlineUs);
  }

  /** Whether `nextDeadlineUs` is Infinity; asked in each turn, where that number would be an object of its own. */
  get idle(): boolean {
    return this.reassembly.nextDeadlineUs === Infinity && this.pathMtu.nextDeadlineUs === Infinity;
  }

  /** Gives up datagrams that never became whole, and forgets old path MTUs. */
  poll(nowUs: number): void {
    const state = this.state;
    state.nowUs = nowUs;
    if (nowUs >= this.reassembly.nextDeadlineUs) {
      this.reassembly.expire(nowUs, (version) => this.inputSide.reassemblyTimeExceeded(version));
    }
    if (nowUs >= this.pathMtu.nextDeadlineUs) {
      this.pathMtu.expire(nowUs, (w0, w1, w2, w3) => state.pathMtuChanged(w0, w1, w2, w3));
    }
  }

  /** The link's MTU is another; flows take it over with their next packet. */
  setMtu(mtu: number): void {
    this.outputSide.linkMtu = mtu;
    this.state.generation++;
  }

  /** Adds an address of the stack's own. False when it is there already. */
  addAddress(address: AddressConfig): boolean {
    this.state.generation++;
    return this.routes.addAddress(address);
  }

  /** Removes an address; connections from it are not touched. False when there is no such. */
  removeAddress(words: AddressWords): boolean {
    this.state.generation++;
    return this.routes.removeAddress(words);
  }

  /** Incomplete datagrams, and the blocks they hold. */
  get reassemblyUse(): { datagrams: number; blocks: number } {
    return { datagrams: this.reassembly.size, blocks: this.reassembly.usedBlocks };
  }

  route(flow: IpFlow): number {
    return this.outputSide.route(flow);
  }

  begin(flow: IpFlow, transportHeaderLength: number): number {
    return this.outputSide.begin(flow, transportHeaderLength);
  }

  end(flow: IpFlow, csumOffset: number, gsoType: number, gsoSize: number): number {
    return this.outputSide.end(flow, csumOffset, gsoType, gsoSize);
  }

  lowerPathMtu({ r0, r1, r2, r3 }: IpFlow, mtu: number): void {
    this.outputSide.lowerMtuTo(r0, r1, r2, r3, mtu);
  }

  isLocal(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.routes.isLocal(w0, w1, w2, w3);
  }

  isToMany(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.routes.isToMany(w0, w1, w2, w3);
  }

  sendPortUnreachable(packet: IpPacket): void {
    this.inputSide.portUnreachable(packet);
  }
}
