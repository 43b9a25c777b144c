/**
 * The connections of a home, by their addresses and ports: TCBs, and what is left of those in TIME-WAIT.
 * A flow has one entry, whichever of the two it is; the entry stays the same when a TCB becomes TIME-WAIT.
 */

import { FlowTable, portPair } from '../buffer/flow-table.ts';
import { IpFlow } from '../ip/flow.ts';
import type { IpPacket } from '../ip/packet.ts';
import type { TimeWaitState } from '../tcp/handover.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { IPPROTO_TCP } from '../wire/tcp.ts';
import type { LocalPorts } from './local-ports.ts';
import { TimeWaitTable } from './time-wait.ts';

/** A connection in TIME-WAIT, as `forEachTimeWait` shows it. `entry` is its place in the connection table. */
export interface TimeWaitConnection extends TimeWaitState {
  entry: number;
  /** Addresses only. */
  flow: IpFlow;
  localPort: number;
  remotePort: number;
}

export class ConnectionTable {
  readonly timeWait = new TimeWaitTable();
  readonly #ports: LocalPorts;
  /** Entry value: index into #tcbs, or -2 - row of `timeWait`. */
  readonly #flows: FlowTable;
  readonly #tcbs: (Tcb | null)[] = [];
  readonly #freeTcbs: number[] = [];

  constructor(seed: number, ports: LocalPorts) {
    this.#flows = new FlowTable(seed);
    this.#ports = ports;
  }

  /** The entry of the flow that this packet is of, or -1. `ports`: local << 16 | remote. */
  find(packet: IpPacket, ports: number): number {
    return this.#flows.find(
      packet.dst0, packet.dst1, packet.dst2, packet.dst3, packet.src0, packet.src1, packet.src2, packet.src3, ports,
    );
  }

  /** The entry of a flow, or -1. */
  findFlow(flow: IpFlow, localPort: number, remotePort: number): number {
    return this.#flows.find(flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3, portPair(localPort, remotePort));
  }

  /** The entry of the flow that a packet was of that came back in an ICMP error, or -1. */
  findQuoted(error: IpPacketAddresses, ports: number): number {
    return this.#flows.find(error.src0, error.src1, error.src2, error.src3, error.dst0, error.dst1, error.dst2, error.dst3, ports);
  }

  /** The TCB at `entry`, or null when it is in TIME-WAIT. */
  tcb(entry: number): Tcb | null {
    const value = this.#flows.values[entry]!;
    return value >= 0 ? this.#tcbs[value]! : null;
  }

  /** The row of `timeWait` at `entry`; meaningless where there is a TCB. */
  row(entry: number): number {
    return -2 - this.#flows.values[entry]!;
  }

  /** Takes the TCB, whose addresses and ports are set, into the table. False when that flow exists, or cannot be had. */
  insert(tcb: Tcb): boolean {
    const { flow } = tcb;
    if (this.findFlow(flow, tcb.localPort, tcb.remotePort) >= 0) return false;
    const index = this.#freeTcbs.length > 0 ? this.#freeTcbs.pop()! : this.#tcbs.length;
    this.#tcbs[index] = tcb;
    tcb.entry = this.#add(flow, tcb.localPort, tcb.remotePort, index);
    if (this.#ports.opened(tcb)) return true;
    this.leave(tcb);
    this.#flows.remove(tcb.entry);
    tcb.entry = -1;
    return false;
  }

  #add(flow: IpFlow, localPort: number, remotePort: number, value: number): number {
    return this.#flows.insert(
      flow.l0, flow.l1, flow.l2, flow.l3, flow.r0, flow.r1, flow.r2, flow.r3, portPair(localPort, remotePort), value,
    );
  }

  /** The TCB is no more a connection; its flow's entry stays, to be removed or to become TIME-WAIT. */
  leave(tcb: Tcb): void {
    if (tcb.entry < 0) return;
    const index = this.#flows.values[tcb.entry]!;
    if (index < 0) return;
    this.#tcbs[index] = null;
    this.#freeTcbs.push(index);
  }

  /** The flow is no more. */
  remove(entry: number): void {
    this.#flows.remove(entry);
    this.#ports.closed(entry);
  }

  /** What `leave` left at `entry` is in TIME-WAIT until `expiresMs`. */
  wait(entry: number, expiresMs: number, state: TimeWaitState): void {
    const row = this.timeWait.add(entry, expiresMs, state.sndNxt, state.rcvNxt, state.window, state.timestamps, state.tsRecent,
      state.tsOffset, state.tos, state.ttl);
    this.#flows.values[entry] = -2 - row;
  }

  /** A flow that nobody here has, in TIME-WAIT. */
  insertWaiting(flow: IpFlow, localPort: number, remotePort: number, expiresMs: number, state: TimeWaitState): void {
    this.wait(this.#add(flow, localPort, remotePort, 0), expiresMs, state);
  }

  /** TIME-WAIT at `entry` is over. */
  endWait(entry: number): void {
    this.timeWait.remove(this.row(entry));
    this.remove(entry);
  }

  /** Those whose time was up by `nowMs` are no more. */
  expire(nowMs: number): void {
    for (let entry = this.timeWait.expire(nowMs); entry >= 0; entry = this.timeWait.expire(nowMs)) this.remove(entry);
  }

  /** Connections and half-open ones, without those in TIME-WAIT. */
  get connections(): number {
    return this.#tcbs.length - this.#freeTcbs.length;
  }

  /** Calls `visit` for every TCB in the table. */
  forEach(visit: (tcb: Tcb) => void): void {
    for (const tcb of this.#tcbs.slice()) if (tcb !== null) visit(tcb);
  }

  /** Calls `visit` for every connection in TIME-WAIT, oldest first; `visit` may end it. */
  forEachWait(nowMs: number, visit: (connection: TimeWaitConnection) => void): void {
    const flows = this.#flows;
    this.timeWait.forEach((row) => {
      const entry = this.timeWait.entry(row);
      const flow = new IpFlow();
      flow.protocol = IPPROTO_TCP;
      flow.l0 = flows.key(entry, 0);
      flow.l1 = flows.key(entry, 1);
      flow.l2 = flows.key(entry, 2);
      flow.l3 = flows.key(entry, 3);
      flow.r0 = flows.key(entry, 4);
      flow.r1 = flows.key(entry, 5);
      flow.r2 = flows.key(entry, 6);
      flow.r3 = flows.key(entry, 7);
      const ports = flows.key(entry, 8);
      visit({ entry, flow, localPort: ports >>> 16, remotePort: ports & 0xffff, ...this.timeWait.state(row, nowMs) });
    });
  }
}

/** Source and destination, as a packet has them and an ICMP error quotes them. */
export interface IpPacketAddresses {
  src0: number;
  src1: number;
  src2: number;
  src3: number;
  dst0: number;
  dst1: number;
  dst2: number;
  dst3: number;
}
