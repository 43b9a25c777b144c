/**
 * Local ports of TCP in an application: TCPK has them (3.1.1 of the report: "binding the local address and
 * the local port number in TCPK", and "each side does a connect system call to bind the remote address
 * within TCPK"). Binding and connecting are calls; a connection that comes in on a bound port is connected
 * by a record in front of the SYN-ACK, and every flow is given up by a record behind its last segment.
 */

import {
  BIND_REUSE_ADDRESS, BIND_REUSE_PORT, BIND_V6ONLY, CALL_BIND, CALL_CONNECT, CALL_LISTEN, CALL_UNBIND,
} from '../channel/calls.ts';
import { CALL_WORDS } from '../channel/channel.ts';
import type { Channel } from '../channel/channel.ts';
import {
  CLOSE_LENGTH, FROM_APP_CLOSE, FROM_APP_HANDLE, FROM_APP_OPEN, OPEN_LENGTH, OPEN_LOCAL, OPEN_PORTS, OPEN_REMOTE, putAddress,
} from '../channel/records.ts';
import type { RingWriter } from '../channel/ring.ts';
import { covers } from '../home/local-ports.ts';
import type { LocalPorts, PortUser } from '../home/local-ports.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { Tcb } from '../tcp/tcb.ts';
import type { ChannelIp } from './channel-ip.ts';

function bindBits(user: PortUser): number {
  return (user.v6only ? BIND_V6ONLY : 0) | (user.reuseAddress ? BIND_REUSE_ADDRESS : 0) | (user.reusePort ? BIND_REUSE_PORT : 0);
}

export class ChannelPorts implements LocalPorts {
  readonly #channel: Channel;
  readonly #ring: RingWriter;
  readonly #ip: ChannelIp;
  /** Shows TCPK what is in the ring, so that a call finds it done. */
  readonly #flush: () => void;
  readonly #call = new Int32Array(CALL_WORDS);
  readonly #bindings = new Map<PortUser, number>();
  readonly #onPort = new Map<number, PortUser[]>();
  /** By handle: the TCB, or null once only the flow is left (TIME-WAIT). */
  readonly #tcbs: (Tcb | null)[] = [];
  readonly #freeHandles: number[] = [];
  /** By entry of the connection table. */
  readonly #handles: number[] = [];
  /** Flows to give up for which the ring had no room. */
  readonly #unclosed: number[] = [];

  constructor(channel: Channel, ring: RingWriter, ip: ChannelIp, flush: () => void) {
    this.#channel = channel;
    this.#ring = ring;
    this.#ip = ip;
    this.#flush = flush;
  }

  bind(user: PortUser, port: number): number {
    const call = this.#call;
    call[0] = CALL_BIND;
    putAddress(call, 1, user.b0, user.b1, user.b2, user.b3);
    call[5] = port;
    call[6] = bindBits(user);
    const binding = this.#channel.call(call, 7);
    if (binding < 0) return binding;
    const bound = call[1]!;
    this.#bindings.set(user, binding);
    const others = this.#onPort.get(bound);
    if (others === undefined) this.#onPort.set(bound, [user]);
    else others.push(user);
    return bound;
  }

  listen(user: PortUser): number {
    const call = this.#call;
    call[0] = CALL_LISTEN;
    call[1] = this.#bindings.get(user) ?? -1;
    call[2] = bindBits(user);
    return this.#channel.call(call, 3);
  }

  unbind(user: PortUser, port: number): void {
    const binding = this.#bindings.get(user);
    if (binding === undefined) return;
    this.#bindings.delete(user);
    const others = this.#onPort.get(port)!;
    if (others.length === 1) this.#onPort.delete(port);
    else others.splice(others.indexOf(user), 1);
    // What the closing of a listener has caused goes out while the port is still ours.
    this.#flush();
    const call = this.#call;
    call[0] = CALL_UNBIND;
    call[1] = binding;
    this.#channel.call(call, 2);
  }

  connect(tcb: Tcb, user: PortUser | null): number {
    const flow = tcb.flow;
    const handle = this.#freeHandles.pop() ?? this.#tcbs.length;
    const call = this.#call;
    // The handle may have been another flow's a moment ago.
    this.#flush();
    call[0] = CALL_CONNECT;
    call[1] = handle;
    call[2] = user === null ? -1 : this.#bindings.get(user) ?? -1;
    putAddress(call, 3, flow.l0, flow.l1, flow.l2, flow.l3);
    putAddress(call, 7, flow.r0, flow.r1, flow.r2, flow.r3);
    call[11] = tcb.remotePort;
    const port = this.#channel.call(call, 12);
    if (port < 0) {
      this.#freeHandles.push(handle);
      return port;
    }
    this.#tcbs[handle] = tcb;
    flow.handle = handle;
    flow.l0 = call[1]!;
    flow.l1 = call[2]!;
    flow.l2 = call[3]!;
    flow.l3 = call[4]!;
    tcb.localPort = port;
    const routed = this.#ip.route(flow);
    if (routed === 0 && !flow.loopback && call[5] !== flow.mtu) {
      this.#ip.setPathMtu(flow.r0, flow.r1, flow.r2, flow.r3, call[5]!);
      return this.#ip.route(flow);
    }
    if (routed < 0) this.#giveUp(handle);
    return routed;
  }

  /** Whether a binding covers this local address and port: what leaves from there, TCPK lets pass. */
  covers(flow: IpFlow, port: number): boolean {
    const users = this.#onPort.get(port);
    if (users === undefined) return false;
    for (const user of users) if (covers(user, flow.l0, flow.l1, flow.l2, flow.l3)) return true;
    return false;
  }

  opened(tcb: Tcb): boolean {
    const flow = tcb.flow;
    if (flow.handle < 0) {
      // What has been given up comes first: it may be the same flow.
      if (this.waiting) this.retry();
      if (this.waiting) return false;
      const w = this.#ring.reserve(FROM_APP_OPEN, OPEN_LENGTH);
      if (w < 0) return false;
      const handle = this.#freeHandles.pop() ?? this.#tcbs.length;
      const words = this.#channel.window.words;
      words[w + FROM_APP_HANDLE] = handle;
      putAddress(words, w + OPEN_LOCAL, flow.l0, flow.l1, flow.l2, flow.l3);
      putAddress(words, w + OPEN_REMOTE, flow.r0, flow.r1, flow.r2, flow.r3);
      words[w + OPEN_PORTS] = (tcb.localPort << 16) | tcb.remotePort;
      this.#ring.commit();
      this.#tcbs[handle] = tcb;
      flow.handle = handle;
    }
    this.#handles[tcb.entry] = flow.handle;
    return true;
  }

  closed(entry: number): void {
    this.#giveUp(this.#handles[entry]!);
  }

  #giveUp(handle: number): void {
    this.#tcbs[handle] = null;
    if (this.#unclosed.length > 0 || !this.#close(handle)) this.#unclosed.push(handle);
  }

  #close(handle: number): boolean {
    const w = this.#ring.reserve(FROM_APP_CLOSE, CLOSE_LENGTH);
    if (w < 0) return false;
    this.#channel.window.words[w + FROM_APP_HANDLE] = handle;
    this.#ring.commit();
    this.#freeHandles.push(handle);
    return true;
  }

  /** There may be room in the ring again. */
  retry(): void {
    while (this.#unclosed.length > 0 && this.#close(this.#unclosed[0]!)) this.#unclosed.shift();
  }

  /** Flows that wait to be given up. */
  get waiting(): boolean {
    return this.#unclosed.length > 0;
  }

  /** What TCPK calls the flow at `entry` of the connection table. */
  handleOf(entry: number): number {
    return this.#handles[entry] ?? -1;
  }

  /** The TCB of a flow that TCPK has refused, or null. `ports` (local << 16 | remote) tell it from a later one with that handle. */
  tcbOf(handle: number, ports: number): Tcb | null {
    const tcb = this.#tcbs[handle] ?? null;
    return tcb !== null && ((tcb.localPort << 16) | tcb.remotePort) === ports ? tcb : null;
  }
}
