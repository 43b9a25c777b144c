/**
 * Who listens on which UDP port: binding rules, ephemeral ports (RFC 6056), and the search for the
 * socket that a datagram belongs to, in three tries:
 *
 *   1. connected sockets by the whole 4-tuple (hash table),
 *   2. sockets bound to the local address and the port,
 *   3. sockets bound to the port alone; an IPv4 socket is preferred to a dual-stack IPv6 one.
 *
 * Tries 2 and 3 walk the sockets of one port (nearly always one) and take the best. Of equally good
 * ones that share the port with SO_REUSEPORT a keyed hash of the sender picks one, so that a sender
 * keeps its socket; of those that share with SO_REUSEADDR the one bound last gets all. As Linux.
 * Stricter than Linux: either is for sockets of one user only, as either lets one take what was the other's.
 */

import { FlowTable, portPair } from '../buffer/flow-table.ts';
import { EADDRINUSE } from '../errno.ts';
import type { Random } from '../random.ts';
import { AF_INET } from '../socket.ts';
import { EPHEMERAL_COUNT, EPHEMERAL_FIRST } from './ports.ts';
import type { UdpSocket } from './udp-socket.ts';

/** Random tries before all ports are walked through. */
const RANDOM_TRIES = 32;

const SCORE_PORT = 1;
const SCORE_ADDRESS = 3;

export class UdpPorts {
  /** The sockets of each port, the one bound last first, linked by `nextOnPort`. */
  readonly #heads = new Map<number, UdpSocket>();
  readonly #connected: FlowTable;
  /** By entry of `#connected`. */
  readonly #byEntry: (UdpSocket | null)[] = [];
  /** The connected socket that was found last: datagrams come in runs. */
  #last: UdpSocket | null = null;
  readonly #random: Random;
  readonly #secret: number;

  constructor(random: Random) {
    this.#random = random;
    this.#secret = random.int32();
    this.#connected = new FlowTable(random.int32());
  }

  head(port: number): UdpSocket | null {
    return this.#heads.get(port) ?? null;
  }

  /** Puts a socket, whose local address is set, on `port` (0: a random free one). Returns 0 or -EADDRINUSE. */
  bind(socket: UdpSocket, port: number): number {
    if (port === 0) {
      port = this.#ephemeral(socket);
      if (port === 0) return -EADDRINUSE;
    } else if (this.#conflicts(socket, port)) {
      return -EADDRINUSE;
    }
    socket.localPort = port;
    socket.nextOnPort = this.head(port);
    this.#heads.set(port, socket);
    return 0;
  }

  unbind(socket: UdpSocket): void {
    const first = this.head(socket.localPort);
    if (first === socket) {
      if (socket.nextOnPort === null) this.#heads.delete(socket.localPort);
      else this.#heads.set(socket.localPort, socket.nextOnPort);
    } else {
      for (let s = first; s !== null; s = s.nextOnPort) {
        if (s.nextOnPort === socket) {
          s.nextOnPort = socket.nextOnPort;
          break;
        }
      }
    }
    socket.nextOnPort = null;
    socket.localPort = 0;
  }

  /** Enters the 4-tuple of a socket that connects. Returns 0, or -EADDRINUSE when another socket has the very same. */
  connect(s: UdpSocket): number {
    const ports = portPair(s.localPort, s.remotePort);
    const table = this.#connected;
    if (table.find(s.l0, s.l1, s.l2, s.l3, s.r0, s.r1, s.r2, s.r3, ports) >= 0) return -EADDRINUSE;
    s.flowEntry = table.insert(s.l0, s.l1, s.l2, s.l3, s.r0, s.r1, s.r2, s.r3, ports, 0);
    this.#byEntry[s.flowEntry] = s;
    return 0;
  }

  disconnect(s: UdpSocket): void {
    if (s.flowEntry < 0) return;
    this.#connected.remove(s.flowEntry);
    this.#byEntry[s.flowEntry] = null;
    s.flowEntry = -1;
    if (this.#last === s) this.#last = null;
  }

  /** The socket that a datagram from remote (r, rport) to local (l, lport) belongs to, or null. */
  find(
    version: number, l0: number, l1: number, l2: number, l3: number, lport: number, r0: number, r1: number, r2: number,
    r3: number, rport: number,
  ): UdpSocket | null {
    if (this.#connected.size > 0) {
      const last = this.#last;
      if (last !== null && last.localPort === lport && last.remotePort === rport && last.r3 === r3 && last.l3 === l3
        && last.r0 === r0 && last.r1 === r1 && last.r2 === r2 && last.l0 === l0 && last.l1 === l1 && last.l2 === l2) return last;
      const entry = this.#connected.find(l0, l1, l2, l3, r0, r1, r2, r3, portPair(lport, rport));
      if (entry >= 0) return this.#last = this.#byEntry[entry]!;
    }

    const head = this.#heads.get(lport);
    if (head === undefined) return null;
    let best: UdpSocket | null = null;
    let bestScore = 0;
    let equals = 0;
    for (let s: UdpSocket | null = head; s !== null; s = s.nextOnPort) {
      const score = this.#score(s, version, l0, l1, l2, l3);
      if (score > bestScore) {
        best = s;
        bestScore = score;
        equals = 1;
      } else if (score === bestScore && best !== null && best.options.reusePort && s.options.reusePort) {
        equals++;
      }
    }
    if (equals <= 1) return best;

    let h = Math.imul(this.#secret ^ (lport << 16 | rport), 0x9e3779b1);
    h = Math.imul((h ^ (h >>> 15)) + r3, 0x85ebca6b);
    h = Math.imul((h ^ (h >>> 13)) + (r0 ^ r1 ^ r2), 0xc2b2ae35);
    let skip = ((h ^ (h >>> 16)) & 0xffff) % equals;
    for (let s: UdpSocket | null = best; s !== null; s = s.nextOnPort) {
      if (s.options.reusePort && this.#score(s, version, l0, l1, l2, l3) === bestScore && skip-- === 0) return s;
    }
    return best;
  }

  /** 0 when the socket, which is on the right port, does not take datagrams to this local address. */
  #score(s: UdpSocket, version: number, l0: number, l1: number, l2: number, l3: number): number {
    if (s.connected || !s.takesVersion(version)) return 0;
    const preferred = s.domain === AF_INET ? 1 : 0;
    if (s.localAny) return SCORE_PORT + preferred;
    return s.l3 === l3 && s.l0 === l0 && s.l1 === l1 && s.l2 === l2 ? SCORE_ADDRESS + preferred : 0;
  }

  /** Whether another socket on `port` with an overlapping address forbids sharing. */
  #conflicts(socket: UdpSocket, port: number): boolean {
    for (let s = this.head(port); s !== null; s = s.nextOnPort) {
      if (s === socket) continue;
      // As in Linux: whoever asks for address reuse shares with everybody who does, for multicast; with SO_REUSEPORT the
      // user must be the same.
      if (s.options.reuseAddress && socket.options.reuseAddress) continue;
      if (s.options.reusePort && socket.options.reusePort && s.uid === socket.uid) continue;
      const bothTakeV4 = s.takesVersion(4) && socket.takesVersion(4);
      const bothTakeV6 = s.takesVersion(6) && socket.takesVersion(6);
      if (!bothTakeV4 && !bothTakeV6) continue;
      if (s.localAny || socket.localAny) return true;
      if (s.l0 === socket.l0 && s.l1 === socket.l1 && s.l2 === socket.l2 && s.l3 === socket.l3) return true;
    }
    return false;
  }

  /** RFC 6056 section 3.3.2: random tries, then all in order from a random place. 0 when none is free. */
  #ephemeral(socket: UdpSocket): number {
    for (let i = 0; i < RANDOM_TRIES; i++) {
      const port = EPHEMERAL_FIRST + (this.#random.int32() >>> 0) % EPHEMERAL_COUNT;
      if (!this.#heads.has(port)) return port;
    }
    const start = (this.#random.int32() >>> 0) % EPHEMERAL_COUNT;
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      const port = EPHEMERAL_FIRST + (start + i) % EPHEMERAL_COUNT;
      if (!this.#conflicts(socket, port)) return port;
    }
    return 0;
  }
}
