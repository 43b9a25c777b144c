/**
 * UDP and ICMP echo sockets in the stack, as a classic application has them: `DatagramSocket` and `IcmpEchoSocket`
 * (lib/socket.ts).
 *
 * Datagrams wait in the stack (SO_RCVBUF) until an event has told of the first; then one call fetches as many as the call
 * area takes, and so on while there are more. Each send is a call, `sendSegments` one for all that the call area takes.
 */

import { copyBytes } from '../buffer/packet-memory.ts';
import { EBADF, EINVAL, EMSGSIZE, ENETDOWN } from '../errno.ts';
import { EchoReply } from '../ip/echo-reply.ts';
import { UdpRemote } from '../ip/udp-remote.ts';
import {
  AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, MSG_TRUNC, POLLERR, POLLHUP, POLLIN, POLLOUT, SO_ERROR, SOCK_DGRAM, SOL_SOCKET,
} from '../socket.ts';
import type {
  DatagramRemote, DatagramSocket, EchoErrorInfo, EchoReplyInfo, IcmpEchoSocket, SocketAddress, UdpErrorInfo,
} from '../socket.ts';
import { parseAddress } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';
import { RemoteEnd, writeAddress } from './remote-socket.ts';
import { reportLater } from './report-later.ts';
import type { SocketCallClient } from './socket-call-client.ts';
import * as calls from './socket-calls.ts';

/** Batches that are fetched before other sockets get their turn. */
const MAX_BATCHES = 4;

export class RemoteDatagramSocket extends RemoteEnd implements DatagramSocket {
  onmessage: ((slab: Uint8Array, offset: number, length: number, remote: DatagramRemote) => void) | null = null;
  onerror: ((errno: number, info: UdpErrorInfo) => void) | null = null;
  onreadable: (() => void) | null = null;
  onwritable: (() => void) | null = null;
  readonly remote: UdpRemote;
  #state = 0;
  #available = 0;
  /** The port was asked for, and so survives `disconnect()`. */
  #portChosen = false;
  /** The stack is gone, and nobody has asked for SO_ERROR since. */
  #error = 0;
  /** The address that was last sent to, and the same in words. */
  #text = '';
  #words: AddressWords = { w0: 0, w1: 0, w2: 0, w3: 0 };

  constructor(client: SocketCallClient, number: number, domain: number) {
    super(client, number, domain);
    this.remote = new UdpRemote(domain);
  }

  learn(state: number, available: number): void {
    this.#state = state;
    this.#available = available;
  }

  happened(bits: number): void {
    this.seen |= bits;
    if (this.client.lost) {
      this.#error = ENETDOWN;
      this.onerror?.(ENETDOWN, { address: '', port: 0, from: '', type: 0, code: 0, mtu: 0, pending: true });
      return;
    }
    if ((bits & POLLERR) !== 0) takeErrors(this, this.client, this.onerror);
    if ((bits & POLLIN) !== 0 && !this.closed) {
      if (this.onmessage !== null) this.#fetch();
      else this.onreadable?.();
    }
    if ((bits & POLLOUT) !== 0) this.onwritable?.();
  }

  /** Hands out the datagrams that wait. */
  #fetch(): void {
    const { client, remote } = this;
    for (let batch = 1; batch <= MAX_BATCHES; batch++) {
      const words = client.begin(calls.CALL_DATAGRAM_FETCH, this);
      if (words === null) return;
      words[3] = calls.FETCH_ALL | (batch === MAX_BATCHES ? calls.FETCH_AGAIN : 0);
      words[4] = 0;
      const count = client.run(this, 5);
      if (count <= 0) {
        client.end();
        return;
      }
      const bytes = client.batch(words[calls.OUT_RESULTS]!);
      const more = (this.#state & POLLIN) !== 0;
      client.end();
      const records = client.batchWords;
      for (let i = 0, at = 0; i < count && this.onmessage !== null; i++) {
        const length = this.#readRecord(records, at >> 2);
        const offset = at + calls.DATAGRAM_HEADER;
        at = offset + ((length + 3) & ~3);
        try {
          this.onmessage(bytes, offset, length, remote);
        } catch (error) {
          reportLater(error);
        }
      }
      if (!more) return;
    }
  }

  /** The sender goes to `remote`; returns the length. */
  #readRecord(words: Int32Array, w: number): number {
    const remote = this.remote;
    remote.w0 = words[w + calls.DATAGRAM_ADDRESS]!;
    remote.w1 = words[w + calls.DATAGRAM_ADDRESS + 1]!;
    remote.w2 = words[w + calls.DATAGRAM_ADDRESS + 2]!;
    remote.w3 = words[w + calls.DATAGRAM_ADDRESS + 3]!;
    remote.port = words[w + calls.DATAGRAM_PORT]!;
    remote.ttl = words[w + calls.DATAGRAM_IP]! >> 8;
    remote.tos = words[w + calls.DATAGRAM_IP]! & 0xff;
    return words[w + calls.DATAGRAM_LENGTH]!;
  }

  bind(address: string, port: number): number {
    if (this.closed) return -EBADF;
    const words = parseAddress(address);
    if (words === null || !(port >= 0 && port <= 65535)) return -EINVAL;
    const result = this.askAddress(calls.CALL_SOCKET_BIND, words, port);
    if (result === 0) {
      this.#portChosen = port !== 0;
      this.activate();
    }
    return result;
  }

  connect(address: string, port: number): number {
    if (this.closed) return -EBADF;
    const words = parseAddress(address);
    if (words === null || !(port > 0 && port <= 65535)) return -EINVAL;
    const result = this.askAddress(calls.CALL_SOCKET_CONNECT, words, port);
    this.activate();
    return result;
  }

  disconnect(): number {
    const result = this.ask(calls.CALL_DATAGRAM_DISCONNECT, 3);
    if (result === 0 && !this.#portChosen) this.deactivate();
    return result;
  }

  sendTo(from: Uint8Array, offset: number, length: number, address: string | null, port: number): number {
    return this.#sendText(from, offset, length, 0, address, port);
  }

  reply(from: Uint8Array, offset: number, length: number, remote: DatagramRemote): number {
    return this.#send(from, offset, length, 0, remote, remote.port);
  }

  sendSegments(
    from: Uint8Array, offset: number, length: number, segmentSize: number, address: string | null, port: number,
  ): number {
    if (!(segmentSize > 0)) return -EINVAL;
    const most = Math.floor(this.client.areaLength / segmentSize) * segmentSize;
    if (most === 0) return -EMSGSIZE;
    let sent = 0;
    do {
      const part = Math.min(length - sent, most);
      const result = this.#sendText(from, offset + sent, part, segmentSize, address, port);
      if (result < 0) return sent > 0 ? sent : result;
      sent += result;
      if (result < part) break;
    } while (sent < length);
    return sent;
  }

  #sendText(from: Uint8Array, offset: number, length: number, segment: number, address: string | null, port: number): number {
    if (address === null) return this.#send(from, offset, length, segment, null, 0);
    if (this.closed) return -EBADF;
    if (!(port > 0 && port <= 65535)) return -EINVAL;
    if (address !== this.#text) {
      const words = parseAddress(address);
      if (words === null) return -EINVAL;
      this.#words = words;
      this.#text = address;
    }
    return this.#send(from, offset, length, segment, this.#words, port);
  }

  #send(
    from: Uint8Array, offset: number, length: number, segment: number, to: AddressWords | null, port: number,
  ): number {
    const { client } = this;
    if (length > client.areaLength) return -EMSGSIZE;
    const words = client.begin(calls.CALL_DATAGRAM_SEND, this);
    if (words === null) return client.refusal(this);
    copyBytes(client.bytes, client.area, from, offset, length);
    words[3] = length;
    words[4] = segment;
    words[5] = 0;
    if (to !== null) writeAddress(words, 6, to);
    words[10] = port;
    words[11] = to === null ? 0 : 1;
    // It is bound then, be the rest as it may.
    this.activate();
    return client.simple(this, 12);
  }

  recvFrom(to: Uint8Array, offset: number, length: number, flags = 0): number {
    const { client } = this;
    const words = client.begin(calls.CALL_DATAGRAM_FETCH, this);
    if (words === null) return client.refusal(this);
    words[3] = flags & 0xffff;
    words[4] = length;
    const count = client.run(this, 5);
    let result = count;
    if (count > 0) {
      const w = client.area >> 2;
      const copied = this.#readRecord(client.windowWords, w);
      copyBytes(to, offset, client.bytes, client.area + calls.DATAGRAM_HEADER, copied);
      result = (flags & MSG_TRUNC) !== 0 ? client.windowWords[w + calls.DATAGRAM_RESULT]! : copied;
    }
    client.end();
    return result;
  }

  get available(): number {
    return this.ask(calls.CALL_SOCKET_POLL, 3) < 0 ? 0 : this.#available;
  }

  poll(): number {
    if (this.client.lost) return POLLIN | POLLERR | POLLHUP;
    return Math.max(this.ask(calls.CALL_SOCKET_POLL, 3), 0);
  }

  addMembership(group: string): number {
    return this.#membership(group, 1);
  }

  dropMembership(group: string): number {
    return this.#membership(group, 0);
  }

  #membership(group: string, join: number): number {
    if (this.closed) return -EBADF;
    const address = parseAddress(group);
    if (address === null) return -EINVAL;
    return this.askAddress(calls.CALL_DATAGRAM_MEMBERSHIP, address, join);
  }

  getsockopt(level: number, option: number): number {
    if (this.#error !== 0 && level === SOL_SOCKET && option === SO_ERROR && !this.closed) {
      const error = this.#error;
      this.#error = 0;
      return error;
    }
    return this.askOption(level, option) as number;
  }

  setsockopt(level: number, option: number, value: number): number {
    return this.askSetOption(level, option, value);
  }

  getsockname(): SocketAddress | null {
    const name = this.askName(calls.NAMES_LOCAL);
    if (name !== null || this.closed) return name;
    // Without a stack it is bound to nothing.
    return this.domain === AF_INET6 ? { address: '::', port: 0, family: 'IPv6' } : { address: '0.0.0.0', port: 0, family: 'IPv4' };
  }

  getpeername(): SocketAddress | null {
    return this.askName(calls.NAMES_REMOTE);
  }

  close(): number {
    if (this.closed) return -EBADF;
    this.onmessage = null;
    this.onerror = null;
    this.onreadable = null;
    this.onwritable = null;
    this.deactivate();
    this.client.forget(this, calls.CLOSE_GRACEFUL);
    return 0;
  }
}

export class RemoteEchoSocket extends RemoteEnd implements IcmpEchoSocket {
  onreply: ((reply: EchoReplyInfo) => void) | null = null;
  onerror: ((errno: number, info: EchoErrorInfo) => void) | null = null;
  readonly #reply = new EchoReply();

  constructor(client: SocketCallClient, number: number, domain: number) {
    super(client, number, domain);
    this.activate();
  }

  learn(): void {}

  happened(bits: number): void {
    this.seen |= bits;
    if (this.client.lost) return;
    if ((bits & POLLERR) !== 0) takeErrors(this, this.client, this.onerror);
    if ((bits & POLLIN) !== 0 && !this.closed) this.#takeReplies();
  }

  #takeReplies(): void {
    const { client } = this;
    if (client.begin(calls.CALL_ECHO_REPLIES, this) === null) return;
    const count = client.run(this, 3);
    if (count > 0) client.batch(count * calls.REPLY_WORDS * 4);
    client.end();
    if (count <= 0) return;
    const words = client.batchWords;
    const reply = this.#reply;
    for (let i = 0, w = 0; i < count && this.onreply !== null; i++, w += calls.REPLY_WORDS) {
      reply.seq = words[w + calls.REPLY_SEQ]!;
      reply.bytes = words[w + calls.REPLY_BYTES]!;
      reply.ttl = words[w + calls.REPLY_IP]! >> 8;
      reply.tos = words[w + calls.REPLY_IP]! & 0xff;
      reply.rttUs = words[w + calls.REPLY_RTT_US]!;
      reply.duplicate = words[w + calls.REPLY_DUPLICATE] !== 0;
      reply.w0 = words[w + calls.REPLY_ADDRESS]!;
      reply.w1 = words[w + calls.REPLY_ADDRESS + 1]!;
      reply.w2 = words[w + calls.REPLY_ADDRESS + 2]!;
      reply.w3 = words[w + calls.REPLY_ADDRESS + 3]!;
      try {
        this.onreply(reply);
      } catch (error) {
        reportLater(error);
      }
    }
  }

  send(seq: number, data: number | Uint8Array, address: string): number {
    const { client } = this;
    if (this.closed) return -EBADF;
    const to = parseAddress(address);
    const length = typeof data === 'number' ? data : data.length;
    if (to === null || !(seq >= 0 && seq <= 0xffff) || !(length >= 0)) return -EINVAL;
    if (length > 0xffff || typeof data !== 'number' && length > client.areaLength) return -EMSGSIZE;
    const words = client.begin(calls.CALL_ECHO_SEND, this);
    if (words === null) return client.refusal(this);
    if (typeof data !== 'number') copyBytes(client.bytes, client.area, data, 0, length);
    words[3] = seq;
    words[4] = length;
    words[5] = typeof data === 'number' ? 0 : 1;
    writeAddress(words, 6, to);
    return client.simple(this, 10);
  }

  setsockopt(level: number, option: number, value: number): number {
    return this.askSetOption(level, option, value);
  }

  close(): number {
    if (this.closed) return -EBADF;
    this.onreply = null;
    this.onerror = null;
    this.deactivate();
    this.client.forget(this, calls.CLOSE_GRACEFUL);
    return 0;
  }
}

/** Number of a new echo socket, or a negative errno. */
export function openEcho(client: SocketCallClient, domain: number): number {
  return client.open(domain, SOCK_DGRAM, domain === AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/** Fetches the ICMP errors that came, and hands them to `onerror`. */
function takeErrors<Info>(
  socket: RemoteEnd, client: SocketCallClient, onerror: ((errno: number, info: Info) => void) | null,
): void {
  if (client.begin(calls.CALL_SOCKET_ERRORS, socket) === null) return;
  const length = client.run(socket, 3);
  const text = length > 0 ? client.text(length) : '[]';
  client.end();
  if (onerror === null) return;
  for (const { errno, ...info } of JSON.parse(text) as ({ errno: number } & Info)[]) {
    if (socket.closed) return;
    try {
      onerror(errno, info as Info);
    } catch (error) {
      reportLater(error);
    }
  }
}
