/**
 * The table of figure 2: which TCP segments belong to applications that run their own TCP. Asked for every
 * segment that IP takes in, in this order (2.1, 2.3 of the report):
 *
 *   0. does anybody have something on the local port at all? (one array access; most segments of a stack
 *      without applications end here)
 *   1. a connected flow: the 4-tuple
 *   2. a binding to the local address and the port
 *   3. a binding to the port alone: `0.0.0.0`, then `::` unless it is IPv6 only
 *
 * Several bindings share a place in the table only when all asked for it (SO_REUSEPORT); a hash of the 4-tuple
 * then picks one, so that all segments of a handshake find the same. Listeners of the kernel-style TCP may be
 * among those who share.
 *
 * A binding that does not listen gets something only when nobody who listens wants it: address reuse lets a
 * client and a server have one port, and the client must not keep the server from its connections.
 */

import { FlowTable, portPair } from '../buffer/flow-table.ts';
import type { IpPacket } from '../ip/packet.ts';
import { MAPPED } from '../wire/address.ts';
import type { AppFlow } from './app-flow.ts';
import type { Binding } from './binding.ts';

/** Where one can be bound, the nearest first. */
const EXACT = 0;
const ANY_V4 = 1;
const ANY_V6 = 2;

const NOBODY: readonly Binding[] = [];

/** The `n`th of those who listen. */
function pick(group: readonly Binding[], n: number, v4: boolean): Binding {
  for (let i = 0; ; i++) {
    const one = group[i]!;
    if (one.listening && !(v4 && one.v6only) && n-- === 0) return one;
  }
}

export class PortTable {
  /** Entry value: index into #flowList. */
  readonly #flows: FlowTable;
  readonly #flowList: (AppFlow | null)[] = [];
  readonly #freeFlows: number[] = [];
  /** Entry value: index into #groups. */
  readonly #bound: FlowTable;
  readonly #groups: Binding[][] = [];
  readonly #freeGroups: number[] = [];
  /** Flows and bindings on each local port. */
  readonly #onPort = new Int32Array(1 << 16);
  readonly #seed: number;
  /** Whether listeners of the kernel-style TCP share this port; how many of them are bound to this place of it. */
  isShared: (port: number) => boolean = () => false;
  sharers: (port: number, b0: number, b1: number, b2: number, b3: number, v4: boolean) => number = () => 0;
  /** The flow that was found last: segments come in runs. */
  #last: AppFlow | null = null;

  constructor(seed: number) {
    this.#seed = seed;
    this.#flows = new FlowTable(seed);
    this.#bound = new FlowTable(Math.imul(seed, 0x9e3779b1) ^ 0x55aa);
  }

  /** Flows, and places in the table that have bindings. */
  get flows(): number {
    return this.#flows.size;
  }

  get bound(): number {
    return this.#bound.size;
  }

  /** Try 1. `ports` is `local << 16 | remote`. */
  findFlow(packet: IpPacket, ports: number): AppFlow | null {
    if (this.#onPort[ports >>> 16] === 0) return null;
    const last = this.#last;
    if (last !== null && last.ports === ports && last.ip.r3 === packet.src3 && last.ip.l3 === packet.dst3 && last.ip.r2 === packet.src2
      && last.ip.r1 === packet.src1 && last.ip.r0 === packet.src0 && last.ip.l2 === packet.dst2 && last.ip.l1 === packet.dst1
      && last.ip.l0 === packet.dst0) return last;
    const found = this.flowAt(
      packet.dst0, packet.dst1, packet.dst2, packet.dst3, packet.src0, packet.src1, packet.src2, packet.src3, ports,
    );
    if (found !== null) this.#last = found;
    return found;
  }

  /** The flow with these local and remote words, or null. */
  flowAt(
    l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number,
  ): AppFlow | null {
    const entry = this.#flows.find(l0, l1, l2, l3, r0, r1, r2, r3, ports);
    return entry < 0 ? null : this.#flowList[this.#flows.values[entry]!]!;
  }

  /** Tries 2 and 3. Null also when it is the kernel-style TCP's turn. */
  findBinding(packet: IpPacket, ports: number): Binding | null {
    const port = ports >>> 16;
    if (this.#onPort[port] === 0) return null;
    const shared = this.isShared(port);
    let idle: Binding | null = null;
    for (let place = EXACT; place <= ANY_V6; place++) {
      if (place === ANY_V4 && packet.version !== 4) continue;
      const exact = place === EXACT;
      const b0 = exact ? packet.dst0 : 0;
      const b1 = exact ? packet.dst1 : 0;
      const b2 = exact ? packet.dst2 : place === ANY_V4 ? MAPPED : 0;
      const b3 = exact ? packet.dst3 : 0;
      const v4 = place === ANY_V6 && packet.version === 4;
      const entry = this.#bound.find(b0, b1, b2, b3, 0, 0, 0, 0, portPair(port, 0));
      if (entry < 0 && !shared) continue;
      const group = entry < 0 ? NOBODY : this.#groups[this.#bound.values[entry]!]!;
      let listening = 0;
      for (let i = 0; i < group.length; i++) {
        const one = group[i]!;
        // `::` with IPV6_V6ONLY is not for IPv4.
        if (v4 && one.v6only) continue;
        if (one.listening) listening++;
        else idle ??= one;
      }
      const all = shared ? listening + this.sharers(port, b0, b1, b2, b3, v4) : listening;
      if (all === 0) continue;
      const n = all === 1 ? 0 : (this.#hash(packet, ports) >>> 0) % all;
      return n < listening ? pick(group, n, v4) : null;
    }
    return idle;
  }

  #hash(packet: IpPacket, ports: number): number {
    let h = Math.imul(this.#seed ^ packet.src3 ^ Math.imul(packet.src1, 0x27d4eb2f) ^ packet.dst3, 0x85ebca6b);
    h = Math.imul((h ^ (h >>> 13)) + ports, 0xc2b2ae35);
    return h ^ (h >>> 16);
  }

  /** Flows and bindings on a local port. */
  usersOf(port: number): number {
    return this.#onPort[port]!;
  }

  /** Takes the flow in. False when somebody has it. */
  addFlow(flow: AppFlow): boolean {
    const { l0, l1, l2, l3, r0, r1, r2, r3 } = flow.ip;
    if (this.#flows.find(l0, l1, l2, l3, r0, r1, r2, r3, flow.ports) >= 0) return false;
    const index = this.#freeFlows.pop() ?? this.#flowList.length;
    this.#flowList[index] = flow;
    flow.entry = this.#flows.insert(l0, l1, l2, l3, r0, r1, r2, r3, flow.ports, index);
    this.#onPort[flow.ports >>> 16]!++;
    return true;
  }

  removeFlow(flow: AppFlow): void {
    if (flow.entry < 0) return;
    const index = this.#flows.values[flow.entry]!;
    this.#flowList[index] = null;
    this.#freeFlows.push(index);
    this.#flows.remove(flow.entry);
    flow.entry = -1;
    this.#onPort[flow.ports >>> 16]!--;
    if (this.#last === flow) this.#last = null;
  }

  addBinding(binding: Binding): void {
    const { b0, b1, b2, b3 } = binding;
    const key = portPair(binding.port, 0);
    const entry = this.#bound.find(b0, b1, b2, b3, 0, 0, 0, 0, key);
    if (entry >= 0) {
      this.#groups[this.#bound.values[entry]!]!.push(binding);
    } else {
      const index = this.#freeGroups.pop() ?? this.#groups.length;
      this.#groups[index] = [binding];
      this.#bound.insert(b0, b1, b2, b3, 0, 0, 0, 0, key, index);
    }
    this.#onPort[binding.port]!++;
  }

  removeBinding(binding: Binding): void {
    const entry = this.#bound.find(binding.b0, binding.b1, binding.b2, binding.b3, 0, 0, 0, 0, portPair(binding.port, 0));
    if (entry < 0) return;
    const index = this.#bound.values[entry]!;
    const group = this.#groups[index]!;
    const at = group.indexOf(binding);
    if (at < 0) return;
    group.splice(at, 1);
    this.#onPort[binding.port]!--;
    if (group.length > 0) return;
    this.#freeGroups.push(index);
    this.#bound.remove(entry);
  }

  forEachFlow(visit: (flow: AppFlow) => void): void {
    for (const flow of this.#flowList) if (flow != null) visit(flow);
  }
}
