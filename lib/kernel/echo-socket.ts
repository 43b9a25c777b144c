/**
 * ICMP echo sockets (RFC 792, RFC 4443 section 4): what `ping` needs, after Linux's ping sockets
 * (SOCK_DGRAM, IPPROTO_ICMP). A socket has an identifier of its own; it sends requests, and hears of the
 * replies and of the ICMP errors that quote its requests.
 *
 * The host is IP's echo listener. Answering requests is IP's own business.
 * Left out: other ICMP queries, reading ICMP messages that belong to nobody (raw sockets).
 */

import { BLOCK_SHIFT, BLOCK_SIZE, copyBytes } from '../buffer/packet-memory.ts';
import type { PacketMemory } from '../buffer/packet-memory.ts';
import { GSO_NONE } from '../buffer/transmit-queue.ts';
import type { Clock } from '../clock.ts';
import { EACCES, EAFNOSUPPORT, EAGAIN, EBADF, EINVAL, EMFILE, EMSGSIZE, ENOBUFS, ENOPROTOOPT } from '../errno.ts';
import { EchoReply } from '../ip/echo-reply.ts';
import { IpFlow } from '../ip/flow.ts';
import type { IcmpError, IpPacket } from '../ip/packet.ts';
import type { IpLayer, Turn } from '../ip/transport.ts';
import type { Random } from '../random.ts';
import {
  AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_IP, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_TCLASS, IPV6_UNICAST_HOPS,
  IP_MTU_DISCOVER, IP_TOS, IP_TTL,
} from '../socket.ts';
import type { EchoErrorInfo, EchoReplyInfo, IcmpEchoSocket } from '../socket.ts';
import { formatAddress, isMapped, parseAddress } from '../wire/address.ts';
import {
  ICMPV6_ECHO, ICMP_CHECKSUM, ICMP_ECHO, ICMP_HEADER_LENGTH, echoWord, icmpId, icmpSequence, icmpType, writeIcmpHeader,
} from '../wire/icmp.ts';
import { IP_PMTUDISC_DO, IP_PMTUDISC_DONT, IP_PMTUDISC_WANT } from './udp-options.ts';
import type { Liveness } from './udp.ts';

export type { EchoErrorInfo } from '../socket.ts';

/** Requests of a socket whose time of sending is known. */
const REQUESTS = 1024;
/** Data up to this size goes into the header slot. */
const INLINE_DATA = 64;
const MAX_DATA = 65535 - 20 - ICMP_HEADER_LENGTH;

export interface EchoHostOptions {
  ip: IpLayer;
  memory: PacketMemory;
  random: Random;
  turn: Turn;
  clock: Clock;
  /** As `UdpHostOptions.liveness`; for each open socket. */
  liveness?: Liveness | null;
}

/** What is known of the requests of one socket, by `seq % REQUESTS`: 28 KB, made with the first. */
class RequestTable {
  /** The number, or -1; 0x10000 is added when it was answered. */
  readonly seqs = new Int32Array(REQUESTS).fill(-1);
  readonly sentUs = new Float64Array(REQUESTS);
  /** Where to. */
  readonly words = new Int32Array(REQUESTS * 4);
}

/** All echo sockets of a stack; `echoReply` and `icmpError` are IP's `IcmpListener`. */
export class EchoHost {
  /** Replies and errors that were for no socket of ours. */
  unknown = 0;

  // What follows is for the sockets.
  readonly ip: IpLayer;
  readonly memory: PacketMemory;
  readonly turn: Turn;
  readonly clock: Clock;
  readonly liveness: Liveness | null;
  readonly #random: Random;
  readonly #sockets = new Map<number, EchoSocket>();

  constructor(options: EchoHostOptions) {
    this.ip = options.ip;
    this.memory = options.memory;
    this.turn = options.turn;
    this.clock = options.clock;
    this.liveness = options.liveness ?? null;
    this.#random = options.random;
  }

  /** A new echo socket for AF_INET or AF_INET6; -EAFNOSUPPORT, or -EMFILE when all identifiers are taken. */
  open(domain: number): EchoSocket | number {
    if (domain !== AF_INET && domain !== AF_INET6) return -EAFNOSUPPORT;
    if (this.#sockets.size >= 0x8000) return -EMFILE;
    let id: number;
    do id = this.#random.int32() & 0xffff; while (this.#sockets.has(id));
    const socket = new EchoSocket(this, domain, id);
    this.#sockets.set(id, socket);
    this.liveness?.ref();
    return socket;
  }

  echoReply(packet: IpPacket, id: number, sequence: number): void {
    const socket = this.#sockets.get(id);
    if (socket === undefined || !socket.reply(packet, sequence)) this.unknown++;
  }

  /** Whether the quoted packet is a request of ours (RFC 8201 section 4). */
  icmpError(error: IcmpError): boolean {
    const { view, offset } = error;
    const type = icmpType(view, offset);
    const socket = type === (error.version === 4 ? ICMP_ECHO : ICMPV6_ECHO) ? this.#sockets.get(icmpId(view, offset)) : undefined;
    if (socket === undefined || !socket.failed(error, icmpSequence(view, offset))) {
      this.unknown++;
      return false;
    }
    return true;
  }

  /** @internal */
  forget(socket: EchoSocket): void {
    this.#sockets.delete(socket.id);
    this.liveness?.unref();
  }
}

export class EchoSocket implements IcmpEchoSocket {
  /** A reply to one of our requests. */
  onreply: ((reply: EchoReplyInfo) => void) | null = null;
  /** An ICMP error that quotes one of our requests; `errno` is positive, 0 for what is none (as redirects). */
  onerror: ((errno: number, info: EchoErrorInfo) => void) | null = null;

  readonly domain: number;
  /** The identifier in all its requests. */
  readonly id: number;

  readonly #host: EchoHost;
  readonly #reply = new EchoReply();
  readonly #flow = new IpFlow();
  #flowText = '';
  #requests: RequestTable | null = null;
  #ttl = 64;
  #tos = 0;
  #mtuDiscover = IP_PMTUDISC_WANT;
  #closed = false;

  /** @internal use `EchoHost.open()` */
  constructor(host: EchoHost, domain: number, id: number) {
    this.#host = host;
    this.domain = domain;
    this.id = id;
  }

  /**
   * Sends an echo request with number `seq` (0 to 65535) to an address (text).
   * @param data  the bytes to carry, or how many; then byte i has the value i modulo 256
   * Returns the bytes of ICMP sent (8 more than the data), or -EINVAL, -EAFNOSUPPORT, -EMSGSIZE, -ENETUNREACH,
   * -EAGAIN (the transmit queue is full), -ENOBUFS (the memory is).
   */
  send(seq: number, data: number | Uint8Array, address: string): number {
    if (this.#closed) return -EBADF;
    const routed = this.#aim(address);
    if (routed !== 0) return routed;
    const length = typeof data === 'number' ? data : data.length;
    if (!(length >= 0 && length <= MAX_DATA)) return length > MAX_DATA ? -EMSGSIZE : -EINVAL;
    const flow = this.#flow;
    const fits = flow.headerLength + ICMP_HEADER_LENGTH + length <= flow.mtu;
    if (!fits && this.#mtuDiscover === IP_PMTUDISC_DO) return -EMSGSIZE;
    flow.dontFragment = fits && this.#mtuDiscover !== IP_PMTUDISC_DONT;
    const host = this.#host;
    host.turn.enter();
    const i = seq % REQUESTS;
    const { seqs, sentUs, words } = this.#requests ??= new RequestTable();
    seqs[i] = seq;
    sentUs[i] = host.clock.nowUs();
    words[i * 4] = flow.r0;
    words[i * 4 + 1] = flow.r1;
    words[i * 4 + 2] = flow.r2;
    words[i * 4 + 3] = flow.r3;
    let result = this.#transmit(seq, data, length);
    if (result === -EMSGSIZE && fits && this.#mtuDiscover !== IP_PMTUDISC_DO) {
      // The path's MTU has gone down since the flow was routed; `begin()` has noticed.
      flow.dontFragment = false;
      result = this.#transmit(seq, data, length);
    }
    if (result < 0) seqs[i] = -1;
    host.turn.leave();
    return result;
  }

  #transmit(seq: number, data: number | Uint8Array, length: number): number {
    const { ip, memory } = this.#host;
    const flow = this.#flow;
    const inline = length <= INLINE_DATA;
    const blocks = inline ? 0 : (length + BLOCK_SIZE - 1) >> BLOCK_SHIFT;
    if (memory.freeBlocks < blocks) return -ENOBUFS;
    const at = ip.begin(flow, ICMP_HEADER_LENGTH + (inline ? length : 0));
    if (at < 0) return -EAGAIN;
    writeIcmpHeader(memory.view, at, flow.version === 4 ? ICMP_ECHO : ICMPV6_ECHO, 0, echoWord(this.id, seq));
    for (let done = 0; done < length;) {
      let to = at + ICMP_HEADER_LENGTH;
      const n = Math.min(length - done, BLOCK_SIZE);
      if (!inline) {
        to = memory.allocate();
        ip.tx.owns(to);
        ip.tx.piece(to, n);
      }
      if (typeof data === 'number') for (let i = 0; i < n; i++) memory.bytes[to + i] = (done + i) & 0xff;
      else copyBytes(memory.bytes, to, data, done, n);
      done += n;
    }
    const result = ip.end(flow, ICMP_CHECKSUM, GSO_NONE, 0);
    return result < 0 ? result : ICMP_HEADER_LENGTH + length;
  }

  /** IP_TTL, IP_TOS, IP_MTU_DISCOVER and their IPv6 twins, as `UdpSocket.setsockopt`. */
  setsockopt(level: number, option: number, value: number): number {
    if (this.#closed) return -EBADF;
    if (level !== (this.domain === AF_INET ? IPPROTO_IP : IPPROTO_IPV6)) return -ENOPROTOOPT;
    if (!Number.isInteger(value) || value < 0 || value > 255) return -EINVAL;
    this.#flowText = '';
    const v4 = this.domain === AF_INET;
    if (option === (v4 ? IP_TTL : IPV6_UNICAST_HOPS)) {
      if (value === 0) return -EINVAL;
      this.#ttl = value;
    } else if (option === (v4 ? IP_TOS : IPV6_TCLASS)) {
      this.#tos = value;
    } else if (option === (v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER)) {
      if (value > IP_PMTUDISC_DO) return -EINVAL;
      this.#mtuDiscover = value;
    } else {
      return -ENOPROTOOPT;
    }
    return 0;
  }

  close(): number {
    if (this.#closed) return -EBADF;
    this.#closed = true;
    this.onreply = null;
    this.onerror = null;
    this.#host.forget(this);
    return 0;
  }

  /** @internal Returns whether the reply is to a request that is known. */
  reply(packet: IpPacket, sequence: number): boolean {
    const requests = this.#requests;
    if (requests === null) return false;
    const i = sequence % REQUESTS;
    const known = requests.seqs[i]!;
    if (known === -1 || (known & 0xffff) !== sequence || packet.version !== (this.domain === AF_INET ? 4 : 6)) return false;
    const reply = this.#reply;
    reply.seq = sequence;
    reply.bytes = packet.length;
    reply.ttl = packet.ttl;
    reply.tos = packet.tos;
    reply.rttUs = packet.timeUs - requests.sentUs[i]!;
    reply.duplicate = known > 0xffff;
    reply.w0 = packet.src0;
    reply.w1 = packet.src1;
    reply.w2 = packet.src2;
    reply.w3 = packet.src3;
    requests.seqs[i] = sequence | 0x10000;
    if (this.onreply !== null) this.onreply(reply);
    return true;
  }

  /** @internal Returns whether the error quotes a request that is known. */
  failed(error: IcmpError, sequence: number): boolean {
    if (this.#requests === null) return false;
    const { seqs, words } = this.#requests;
    const i = sequence % REQUESTS;
    if (seqs[i] === -1 || (seqs[i]! & 0xffff) !== sequence) return false;
    if (words[i * 4 + 3] !== error.dst3 || words[i * 4] !== error.dst0 || words[i * 4 + 1] !== error.dst1
      || words[i * 4 + 2] !== error.dst2) return false;
    if (error.mtu > 0) this.#flowText = '';
    if (this.onerror !== null) {
      this.onerror(error.errno, {
        seq: sequence,
        address: formatAddress(error.dst0, error.dst1, error.dst2, error.dst3),
        from: formatAddress(error.from0, error.from1, error.from2, error.from3),
        type: error.type,
        code: error.code,
        mtu: error.mtu,
      });
    }
    return true;
  }

  #aim(address: string): number {
    const host = this.#host;
    if (address === this.#flowText) return 0;
    const words = parseAddress(address);
    if (words === null) return -EINVAL;
    const { w0, w1, w2, w3 } = words;
    const v4 = isMapped(w0, w1, w2);
    if (v4 !== (this.domain === AF_INET)) return -EAFNOSUPPORT;
    // Linux asks for SO_BROADCAST here (ping -b); a stack need not be a smurf amplifier at all.
    if (host.ip.isToMany(w0, w1, w2, w3)) return -EACCES;
    const flow = this.#flow;
    this.#flowText = '';
    flow.version = v4 ? 4 : 6;
    flow.protocol = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    flow.l0 = 0;
    flow.l1 = 0;
    flow.l2 = v4 ? w2 : 0;
    flow.l3 = 0;
    flow.r0 = w0;
    flow.r1 = w1;
    flow.r2 = w2;
    flow.r3 = w3;
    flow.ttl = this.#ttl;
    flow.tos = this.#tos;
    const result = host.ip.route(flow);
    if (result !== 0) return result;
    this.#flowText = address;
    return 0;
  }
}
