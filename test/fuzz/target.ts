/**
 * What bad input is thrown at: a whole stack with everything going on, in virtual time.
 *
 *     target 10.90.0.1  ── wire ──  peer 10.90.0.2 (victims), 10.90.0.77 (bystander)
 *          ▲
 *          └─ bad input
 *
 * Victims are connections in many states whose packets are recorded and mutated: they may die of it, as a
 * forged packet with the right numbers is a right packet. The bystander is one that nobody forges: it must
 * get all its bytes. Beside them: listeners, connections being opened both ways, UDP sockets, reassembly.
 */

import { VirtualClock } from '../../lib/clock.ts';
import { AF_INET, AF_INET6, SHUT_WR } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import type { UdpSocket } from '../../lib/kernel/udp-socket.ts';
import { SeededRandom } from '../../lib/random.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { Invariants } from '../sim/invariants.ts';
import { open } from '../sim/pair.ts';
import { Wire } from '../sim/wire.ts';

export const VICTIM4 = '10.90.0.2';
const VICTIM6 = 'fd90::2';
const BYSTANDER4 = '10.90.0.77';
const TARGET4 = '10.90.0.1';
const TARGET6 = 'fd90::1';
/** Packets of victims that are kept for mutation. */
const RECORDED = 256;

interface Victim {
  /** At the target, at the peer. */
  near: BsdSocket;
  far: BsdSocket;
  kind: number;
}

export interface TargetLimits {
  memory?: number;
  /** Most connections of the target. */
  maxConnections?: number;
  synCookies?: 'auto' | 'always' | 'off';
}

export class Target {
  readonly clock = new VirtualClock(1_000_000);
  readonly wire: Wire;
  readonly stack: Stack;
  readonly peer: Stack;
  /** Packets that victims' peers have sent to the target lately. */
  readonly recorded: Uint8Array[] = [];
  readonly udp: UdpSocket[] = [];
  /** Datagrams that reached the socket that reads. */
  datagrams = 0;
  /** Is shown those that it gets. May throw. */
  ondatagram: ((slab: Uint8Array, offset: number, length: number) => void) | null = null;
  readonly #invariants: Invariants;
  #record = 0;
  /** What the victims' peers send is recorded and does not arrive: so it stays what the target waits for. */
  #held = false;
  #victims: Victim[] = [];
  #listeners: BsdSocket[] = [];
  #accepted: BsdSocket[] = [];
  #dialing: BsdSocket[] = [];
  #bystander: [BsdSocket, BsdSocket] | null = null;
  #said = 0;
  #port = 20_000;

  constructor(seed: number, limits: TargetLimits = {}) {
    this.wire = new Wire(this.clock, { latencyUs: 500 });
    const { clock, wire } = this;
    this.stack = createStack({
      link: wire.links[0], addresses: [`${TARGET4}/24`, `${TARGET6}/64`], clock, random: new SeededRandom(seed),
      memory: limits.memory ?? 8 << 20, tcp: { maxConnections: limits.maxConnections ?? 2000, timeWaitMs: 5000, synCookies: limits.synCookies },
    });
    this.peer = createStack({
      link: wire.links[1], addresses: [`${VICTIM4}/24`, `${BYSTANDER4}/24`, `${VICTIM6}/64`], clock, random: new SeededRandom(seed + 1),
      memory: 16 << 20, tcp: { timeWaitMs: 5000 },
    });
    this.#invariants = new Invariants(this.stack, 'target');
    wire.filter = (packet, side) => {
      if (side === 0 || fromBystander(packet)) return true;
      this.recorded[this.#record++ % RECORDED] = packet;
      return !this.#held;
    };
    for (const port of [7, 80, 7000]) {
      const listener = open(this.stack, AF_INET6);
      listener.bind('', port);
      listener.listen(64);
      listener.onready = () => this.#accept(listener, port);
      this.#listeners.push(listener);
    }
    for (const port of [7, 9000, 9001]) {
      const socket = this.stack.udp.socket(AF_INET6);
      if (typeof socket === 'number') throw new Error(`udp: ${socket}`);
      // One reads and answers, one reads, one does not read.
      if (port === 7) {
        socket.onmessage = (slab, offset, length, remote) => {
          this.datagrams++;
          socket.sendTo(slab, offset, length, remote.address, remote.port);
        };
      } else if (port === 9000) {
        socket.onmessage = (slab, offset, length) => {
          this.datagrams++;
          this.ondatagram?.(slab, offset, length);
        };
      }
      const bound = socket.bind('::', port);
      if (bound < 0) throw new Error(`bind: ${bound}`);
      this.udp.push(socket);
    }
    this.#bystander = this.connect(BYSTANDER4, 80, 4);
    this.replenish();
  }

  #accept(listener: BsdSocket, port: number): void {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) {
      const socket = one;
      this.#accepted.push(socket);
      // Port 7 echoes, port 80 reads, port 7000 does nothing.
      if (port === 7000) continue;
      socket.onready = () => {
        const buffer = new Uint8Array(4096);
        for (let taken = socket.recv(buffer, 0, 4096); taken >= 0; taken = socket.recv(buffer, 0, 4096)) {
          if (taken === 0) {
            socket.close();
            return;
          }
          if (port === 7) socket.send(buffer, 0, taken);
        }
      };
    }
  }

  /** A connection from the peer's address to a listening port of the target: the target's end, the peer's. */
  connect(from: string, port: number, version: 4 | 6): [BsdSocket, BsdSocket] {
    this.#held = false;
    const far = open(this.peer, version === 4 ? AF_INET : AF_INET6);
    far.bind(from, this.#port++);
    const { port: farPort } = far.getsockname()!;
    far.connect(version === 4 ? TARGET4 : TARGET6, port);
    // Forged SYNs may fill the backlog: half-open connections of nobody go away in a minute or two.
    let near = -1;
    const found = this.clock.runUntil(() => {
      near = this.#accepted.findIndex((socket) => socket.getpeername()?.port === farPort);
      return near >= 0;
    }, 300e6);
    if (!found) throw new Error('the target does not accept');
    return [this.#accepted.splice(near, 1)[0]!, far];
  }

  /** Sees to it that there are victims in all states, and lets go of the dead. */
  replenish(): void {
    for (const socket of [...this.#accepted, ...this.#dialing]) socket.abort();
    this.#accepted = [];
    this.#dialing = [];
    for (const { near, far } of this.#victims.splice(0)) {
      near.abort();
      far.abort();
    }
    this.clock.advance(2000);
    const data = new Uint8Array(3000).fill(0x62);
    for (let kind = 0; kind < 8; kind++) {
      const version = kind % 2 === 0 ? 4 : 6;
      const [near, far] = this.connect(version === 4 ? VICTIM4 : VICTIM6, 7000, version);
      near.onready = null;
      // 0, 1: data both ways, unread. 2, 3: the peer has closed. 4, 5: the target has. 6: both at once. 7: idle.
      if (kind < 4) far.send(data, 0, data.length);
      if (kind < 2 || kind === 4) near.send(data, 0, data.length);
      if (kind === 2 || kind === 3 || kind === 6) far.shutdown(SHUT_WR);
      if (kind >= 4 && kind <= 6) near.shutdown(SHUT_WR);
      this.#victims.push({ near, far, kind });
    }
    // Being opened: by the target, to nobody; and with data in flight, to a peer that does not hear for a moment.
    for (const address of ['10.90.0.99', VICTIM4]) {
      const socket = open(this.stack);
      socket.connect(address, 4444);
      this.#dialing.push(socket);
    }
    this.clock.advance(2000);
    this.#held = true;
    for (const { near, far, kind } of this.#victims) {
      if (kind < 2 || kind === 7) {
        far.send(data, 0, 500);
        near.send(data, 0, data.length);
      }
    }
  }

  /** Some TCB of a victim's, by number; what it expects next is what a packet must say to be believed. */
  live(n: number): Tcb | null {
    const found: Tcb[] = [];
    this.stack.tcp.forEach((tcb) => {
      if (tcb.flow.r3 !== 0x0a5a004d) found.push(tcb);
    });
    return found.length === 0 ? null : found[n % found.length]!;
  }

  /** Hands the target packets. */
  throw(packets: readonly Uint8Array[]): void {
    this.wire.links[0].receiveMany(packets);
  }

  check(): void {
    this.#invariants.check();
    checkBooks(this.stack);
  }

  /** The bystander sends something both ways, and everything must arrive. */
  talk(): void {
    const [near, far] = this.#bystander!;
    const message = new Uint8Array(2000).map((_, i) => (this.#said + i * 7) & 0xff);
    this.#said++;
    near.onready = null;
    for (const [from, to, way] of [[near, far, 'from'], [far, near, 'to']] as const) {
      const sent = from.send(message, 0, message.length);
      if (sent !== message.length) throw new Error(`the bystander ${way} the target: sent ${sent}`);
      const buffer = new Uint8Array(4000);
      let got = 0;
      const arrived = this.clock.runUntil(() => {
        const taken = to.recv(buffer, got, 4000 - got);
        if (taken > 0) got += taken;
        return got >= message.length;
      }, 30e6);
      if (!arrived || Buffer.compare(buffer.subarray(0, got), message) !== 0) {
        throw new Error(`the bystander ${way} the target: ${got} bytes arrived in ${arrived ? '' : 'more than '}30 s, or they are wrong`);
      }
    }
  }

  /** Everything is closed: what remains after `us` is lost for good. */
  finish(us: number): void {
    for (const { near, far } of this.#victims) {
      near.abort();
      far.abort();
    }
    for (const socket of [...this.#accepted, ...this.#dialing, ...this.#listeners, ...this.#bystander!]) socket.abort();
    for (const socket of this.udp) socket.close();
    this.clock.advance(us);
  }

  close(): void {
    void this.stack.close({ graceful: false });
    void this.peer.close({ graceful: false });
  }
}

/** Every packet that came in is in the books: delivered, or dropped for one reason. Throws where the sums differ. */
export function checkBooks(stack: Stack): void {
  const { ip4, ip6, icmp4, icmp6 } = stack.ip;
  const link = stack.link.counters as { rxPackets: number };
  const received = ip4.InReceives + ip6.InReceives;
  const came = link.rxPackets + ip4.OutLoopback + ip6.OutLoopback;
  if (received !== came) throw new Error(`${received} packets received by IP, ${came} came`);
  for (const [name, c] of [['ip', ip4], ['ip6', ip6]] as const) {
    const dropped = c.InHdrErrors + c.InTruncatedPkts + c.InAddrErrors + c.InNotJoined + c.InUnknownProtos + c.InNoNextHeader;
    // A fragment goes to reassembly; a datagram that was put together comes from there.
    const out = c.InDelivers + dropped + c.ReasmReqds;
    if (c.InReceives + c.ReasmOKs !== out) throw new Error(`${name}: ${c.InReceives} + ${c.ReasmOKs} in, ${out} delivered, dropped, or fragments`);
  }
  const udp = stack.udp.counters;
  const taken = stack.tcp.counters.InSegs + icmp4.InMsgs + icmp6.InMsgs + udp.InDatagrams + udp.NoPorts + udp.InErrors + udp.IgnoredMulti;
  if (ip4.InDelivers + ip6.InDelivers !== taken) throw new Error(`${ip4.InDelivers + ip6.InDelivers} delivered by IP, ${taken} taken by protocols`);
}

function fromBystander(packet: Uint8Array): boolean {
  return packet[0] === 0x45 && packet[15] === 77;
}
