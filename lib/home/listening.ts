/**
 * The listening side of a home (RFC 9293 3.10.7.2, LISTEN): finds the listener that a segment for no
 * connection is for, and answers SYNs.
 */

import { FlowTable, portPair } from '../buffer/flow-table.ts';
import type { IpPacket } from '../ip/packet.ts';
import { createCongestionControl } from '../tcp/congestion/congestion-control.ts';
import type { TcpHome } from '../tcp/home.ts';
import type { Segment } from '../tcp/segment.ts';
import { Tcb } from '../tcp/tcb.ts';
import { abortTcb, openPassive } from '../tcp/user.ts';
import { MAPPED } from '../wire/address.ts';
import { ACK, FIN, IPPROTO_TCP, RST, SYN } from '../wire/tcp.ts';
import type { TcpListener } from './tcp-listener.ts';

/** What listening asks of the home that it is a part of. */
export interface ListeningHome extends TcpHome {
  /** Connections and half-open ones. */
  readonly connections: number;
  /** Takes the TCB, whose addresses and ports are set, into the connection table. False: its flow cannot be had. */
  insert(tcb: Tcb): boolean;
}

export class Listening {
  readonly #home: ListeningHome;
  /** Local address and port of listeners; wild parts zero. Entry value: index into #listeners. */
  readonly #table: FlowTable;
  readonly #listeners: TcpListener[][] = [];

  constructor(home: ListeningHome, seed: number) {
    this.#home = home;
    this.#table = new FlowTable(seed);
  }

  /** 3.10.7.2 (LISTEN) and 3.10.7.1 (CLOSED: no such connection). */
  input(segment: Segment): void {
    const home = this.#home;
    const counters = home.counters;
    const packet = segment.packet;
    const listener = this.find(packet, segment);
    if (listener === null) {
      counters.NoPort++;
      home.reset(segment);
      return;
    }
    if ((segment.flags & RST) !== 0) return;
    if ((segment.flags & ACK) !== 0) {
      home.reset(segment);
      return;
    }
    // A SYN with FIN is no SYN that a TCP ever sends. ECE and CWR (ECN set-up) are welcome and ignored.
    if ((segment.flags & SYN) === 0 || (segment.flags & FIN) !== 0) {
      counters.InErrs++;
      return;
    }
    if (!listener.admits()) {
      counters.ListenOverflows++;
      counters.ListenDrops++;
      return;
    }
    if (home.connections >= home.config.maxConnections) {
      counters.ListenDrops++;
      return;
    }
    const tcb = this.#newTcb(listener, segment);
    if (home.ip.route(tcb.flow) < 0 || !home.insert(tcb)) {
      counters.ListenDrops++;
      return;
    }
    listener.halfOpen.add(tcb);
    tcb.listener = listener;
    openPassive(tcb, segment);
  }

  /** A TCB for the flow of `segment`, with the listener's settings. */
  #newTcb(listener: TcpListener, segment: Segment): Tcb {
    const packet = segment.packet;
    const tcb = new Tcb(this.#home, createCongestionControl(listener.congestion)!);
    const flow = tcb.flow;
    flow.protocol = IPPROTO_TCP;
    flow.version = packet.version;
    flow.l0 = packet.dst0;
    flow.l1 = packet.dst1;
    flow.l2 = packet.dst2;
    flow.l3 = packet.dst3;
    flow.r0 = packet.src0;
    flow.r1 = packet.src1;
    flow.r2 = packet.src2;
    flow.r3 = packet.src3;
    tcb.localPort = segment.dstPort;
    tcb.remotePort = segment.srcPort;
    listener.prepare(tcb);
    return tcb;
  }

  /** The listener that a segment for no connection is for, or null. */
  find(packet: IpPacket, segment: Segment): TcpListener | null {
    const table = this.#table;
    const port = portPair(segment.dstPort, 0);
    const v4 = packet.version === 4;
    let entry = table.find(packet.dst0, packet.dst1, packet.dst2, packet.dst3, 0, 0, 0, 0, port);
    if (entry < 0 && v4) entry = table.find(0, 0, MAPPED, 0, 0, 0, 0, 0, port);
    if (entry < 0) {
      entry = table.find(0, 0, 0, 0, 0, 0, 0, 0, port);
      // `::` with IPV6_V6ONLY is not for IPv4.
      if (entry >= 0 && v4 && this.#listeners[table.values[entry]!]![0]!.v6only) entry = -1;
    }
    if (entry < 0) return null;
    const group = this.#listeners[table.values[entry]!]!;
    if (group.length === 1) return group[0]!;
    // SO_REUSEPORT: spread by the flow, so that a repeated SYN finds the same one.
    const hash = Math.imul(packet.src3 ^ packet.src1 ^ (segment.srcPort << 16), 0x9e3779b1) >>> 16;
    return group[hash % group.length]!;
  }

  /** A half-open connection is established: it waits to be accepted. Returns its listener, or null if it has none. */
  established(tcb: Tcb): TcpListener | null {
    const listener = tcb.listener as TcpListener | null;
    if (listener === null) return null;
    this.forget(tcb);
    listener.queue.push(tcb);
    return listener;
  }

  /** A connection is over, or established: no more half open. */
  forget(tcb: Tcb): void {
    if (tcb.listener === null) return;
    tcb.listener.halfOpen.delete(tcb);
    tcb.listener = null;
  }

  forEach(visit: (listener: TcpListener) => void): void {
    for (const group of this.#listeners) if (group !== undefined) for (const listener of group.slice()) visit(listener);
  }

  add(listener: TcpListener): void {
    const table = this.#table;
    const port = portPair(listener.port, 0);
    const entry = table.find(listener.b0, listener.b1, listener.b2, listener.b3, 0, 0, 0, 0, port);
    if (entry >= 0) {
      this.#listeners[table.values[entry]!]!.push(listener);
      return;
    }
    let index = 0;
    while (this.#listeners[index] !== undefined && this.#listeners[index]!.length > 0) index++;
    this.#listeners[index] = [listener];
    table.insert(listener.b0, listener.b1, listener.b2, listener.b3, 0, 0, 0, 0, port, index);
  }

  /** Stops listening: what is half open or not yet accepted is reset. */
  remove(listener: TcpListener): void {
    const table = this.#table;
    const entry = table.find(listener.b0, listener.b1, listener.b2, listener.b3, 0, 0, 0, 0, portPair(listener.port, 0));
    listener.closed = true;
    if (entry >= 0) {
      const group = this.#listeners[table.values[entry]!]!;
      const at = group.indexOf(listener);
      if (at >= 0) group.splice(at, 1);
      if (group.length === 0) table.remove(entry);
    }
    for (const tcb of [...listener.halfOpen, ...listener.queue]) abortTcb(tcb);
    listener.queue.length = 0;
  }
}
