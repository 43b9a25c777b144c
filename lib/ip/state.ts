/** What the parts of IP share: time, counters, the protocols on top, and the table generation. */

import type { PacketMemory } from '../buffer/packet-memory.ts';
import type { Random } from '../random.ts';
import { IcmpCounters, IpCounters } from './counters.ts';
import type { IcmpError, IpPacket } from './packet.ts';
import type { TcpPortTable, Transport } from './transport.ts';

/** Who sends echo requests (a ping socket): gets the replies, and the errors about its requests. */
export interface IcmpListener {
  /** An echo reply with a good checksum. `packet.offset` is at its ICMP header, the data 8 bytes on. */
  echoReply(packet: IpPacket, id: number, sequence: number): void;
  /**
   * An error that quotes an ICMP or ICMPv6 packet; `error.offset` is at the quoted ICMP header.
   * Returns whether the quoted request is known; only then is a path MTU taken over.
   */
  icmpError?(error: IcmpError): boolean;
}

export class IpState {
  readonly memory: PacketMemory;
  readonly random: Random;
  /** Time of this turn, µs of the stack's clock; given from outside. */
  nowUs = 0;
  /** Raised whenever a route, an address, the link's MTU or a path's MTU changes. */
  generation = 0;
  readonly ip4 = new IpCounters();
  readonly ip6 = new IpCounters();
  readonly icmp4 = new IcmpCounters();
  readonly icmp6 = new IcmpCounters();
  /** By protocol number. */
  readonly transports: (Transport | null)[];
  ports: TcpPortTable | null = null;
  listener: IcmpListener | null = null;

  constructor(memory: PacketMemory, random: Random) {
    this.memory = memory;
    this.random = random;
    this.transports = new Array<Transport | null>(256).fill(null);
  }

  /** Tells every transport that the path MTU to this destination is another. */
  pathMtuChanged(r0: number, r1: number, r2: number, r3: number): void {
    this.generation++;
    this.ports?.pathMtuChanged(r0, r1, r2, r3);
    let last: Transport | null = null;
    for (const transport of this.transports) {
      if (transport === null || transport === last) continue;
      transport.pathMtuChanged(r0, r1, r2, r3);
      last = transport;
    }
  }
}
