/**
 * What TCPU sees of IP: the socket to TCPK (2.2 of the report). A segment becomes a record in the
 * transmit ring: the TCP header, and where in the shared memory its payload lies. The IP header, the
 * checksum, routes and fragments are the stack's business; here is only known what TCP must know: which
 * addresses are ours, and what fits into a packet.
 */

import { FlowTable } from '../buffer/flow-table.ts';
import { TX_FIRST_PIECE, TX_PIECES, TX_STRIDE, TransmitQueue } from '../buffer/transmit-queue.ts';
import type { ChannelInfo } from '../channel/channel.ts';
import {
  FROM_APP_HANDLE, FROM_APP_SEGMENT, FROM_APP_SENDTO, MAX_TX_PIECES, SENDTO_LENGTH, SENDTO_LOCAL, SENDTO_REMOTE, TX_GSO_SIZE,
  TX_GSO_TYPE, TX_HEADER, TX_HEADER_LENGTH, TX_IP, TX_PIECE, TX_PIECE_COUNT, putAddress,
} from '../channel/records.ts';
import type { RingWriter } from '../channel/ring.ts';
import type { Window } from '../channel/window.ts';
import { EADDRNOTAVAIL, EINVAL, EMSGSIZE, ENETUNREACH } from '../errno.ts';
import type { Cidr } from '../ip/cidr.ts';
import type { IpFlow } from '../ip/flow.ts';
import type { IpLayer } from '../ip/transport.ts';
import { RouteTable } from '../ip/route.ts';
import { isMapped, isUnspecified, parseAddress } from '../wire/address.ts';
import type { ChannelMemory } from './channel-memory.ts';

const RECORD_MOST = (TX_PIECE + 2 * MAX_TX_PIECES) * 4;
/**
 * An address with prefix, as the stack has written it. Not by `parseCidr`, which is for what people write: loading its
 * library takes longer than all else that an application's thread begins with.
 */
function fromStack(text: string): Cidr[] {
  const [address = '', prefix] = text.split('/');
  const words = parseAddress(address);
  return words === null ? [] : [{ words, prefix: Number(prefix) }];
}

/** What the stack's loopback carries in one piece. */
const LOOPBACK_MTU = 65535;

/** The queue in which one packet is built; whether it is ready is a matter of the ring. */
class ChannelQueue extends TransmitQueue {
  readonly #ring: RingWriter;

  constructor(memory: ChannelMemory, ring: RingWriter) {
    super(memory);
    this.#ring = ring;
  }

  override get ready(): boolean {
    return this.#ring.hasRoom(RECORD_MOST);
  }
}

export class ChannelIp implements IpLayer {
  readonly tx: TransmitQueue;
  readonly features: number;
  readonly #window: Window;
  readonly #ring: RingWriter;
  readonly #mtu: number;
  readonly #routes: RouteTable;
  /** Path MTUs by destination, where they differ from the link's. Entry value: bytes. */
  readonly #paths: FlowTable;
  /**
   * Whether a segment that belongs to no connection may leave from here: TCPK lets out only what comes from ports
   * and flows of ours, and segments for one that we have just given up may still have been in the ring.
   */
  mayAnswer: (flow: IpFlow, localPort: number, remotePort: number) => boolean = () => true;
  #generation = 0;
  #at = 0;

  constructor(window: Window, ring: RingWriter, memory: ChannelMemory, info: ChannelInfo, seed: number) {
    this.tx = new ChannelQueue(memory, ring);
    this.features = info.features;
    this.#window = window;
    this.#ring = ring;
    this.#mtu = info.mtu;
    this.#routes = new RouteTable(info.addresses.flatMap(fromStack), null);
    this.#paths = new FlowTable(seed);
  }

  route(flow: IpFlow): number {
    const { r0, r1, r2, r3 } = flow;
    if (isUnspecified(r0, r1, r2, r3)) return -EINVAL;
    const v4 = isMapped(r0, r1, r2);
    if (isUnspecified(flow.l0, flow.l1, flow.l2, flow.l3)) return -EADDRNOTAVAIL;
    if (isMapped(flow.l0, flow.l1, flow.l2) !== v4) return -ENETUNREACH;
    flow.version = v4 ? 4 : 6;
    flow.headerLength = v4 ? 20 : 40;
    this.#refresh(flow);
    return 0;
  }

  #refresh(flow: IpFlow): void {
    flow.generation = this.#generation;
    flow.loopback = this.#routes.isLocal(flow.r0, flow.r1, flow.r2, flow.r3);
    const entry = this.#paths.find(0, 0, 0, 0, flow.r0, flow.r1, flow.r2, flow.r3, 0);
    flow.mtu = flow.loopback ? LOOPBACK_MTU : entry >= 0 ? this.#paths.values[entry]! : this.#mtu;
  }

  /** The stack has told what the path to a destination carries. */
  setPathMtu(r0: number, r1: number, r2: number, r3: number, mtu: number): void {
    const entry = this.#paths.find(0, 0, 0, 0, r0, r1, r2, r3, 0);
    this.#generation++;
    if (entry >= 0) {
      if (mtu === this.#mtu) this.#paths.remove(entry);
      else this.#paths.values[entry] = mtu;
    } else if (mtu !== this.#mtu) {
      this.#paths.insert(0, 0, 0, 0, r0, r1, r2, r3, 0, mtu);
    }
  }

  begin(flow: IpFlow, transportHeaderLength: number): number {
    if (flow.generation !== this.#generation) this.#refresh(flow);
    this.#at = this.tx.begin(transportHeaderLength);
    return this.#at;
  }

  end(flow: IpFlow, _csumOffset: number, gsoType: number, gsoSize: number): number {
    const tx = this.tx;
    tx.end(-1, 0, gsoType, gsoSize);
    tx.takeBack();
    const p = tx.tail * TX_STRIDE;
    const piece = tx.packets[p + TX_FIRST_PIECE]! * 2;
    const count = tx.packets[p + TX_PIECES]! - 1;
    const pieces = tx.pieces;
    const headerLength = pieces[piece + 1]!;
    const connected = flow.handle >= 0;
    if (count > MAX_TX_PIECES || !connected && count > 0) return -EMSGSIZE;
    const { view } = tx.memory;
    if (!connected && !this.mayAnswer(flow, view.getUint16(this.#at), view.getUint16(this.#at + 2))) return -EADDRNOTAVAIL;
    const w = this.#ring.reserve(
      connected ? FROM_APP_SEGMENT : FROM_APP_SENDTO, connected ? (TX_PIECE + 2 * count) * 4 : SENDTO_LENGTH,
    );
    // `begin()` has seen to it that there is room.
    if (w < 0) return -EMSGSIZE;
    const words = this.#window.words;
    words[w + FROM_APP_HANDLE] = flow.handle;
    words[w + TX_IP] = flow.tos | (flow.ttl << 8);
    words[w + TX_GSO_TYPE] = gsoType;
    words[w + TX_GSO_SIZE] = gsoSize;
    words[w + TX_HEADER_LENGTH] = headerLength;
    words[w + TX_PIECE_COUNT] = count;
    const from = this.#at >> 2;
    for (let i = 0; i < headerLength >> 2; i++) words[w + TX_HEADER + i] = words[from + i]!;
    if (connected) {
      for (let i = 0; i < 2 * count; i++) words[w + TX_PIECE + i] = pieces[piece + 2 + i]!;
    } else {
      putAddress(words, w + SENDTO_LOCAL, flow.l0, flow.l1, flow.l2, flow.l3);
      putAddress(words, w + SENDTO_REMOTE, flow.r0, flow.r1, flow.r2, flow.r3);
    }
    this.#ring.commit();
    return 0;
  }

  lowerPathMtu(): void {
    // TCPK decides what to believe, and tells all who are concerned.
  }

  isLocal(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.#routes.isLocal(w0, w1, w2, w3);
  }

  isToMany(w0: number, w1: number, w2: number, w3: number): boolean {
    return this.#routes.isToMany(w0, w1, w2, w3);
  }

  sendPortUnreachable(): void {
    // For UDP only, which stays with the stack.
  }
}
