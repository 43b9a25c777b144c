/**
 * A TCP socket in the stack, as a classic application has it: `BsdSocket` (lib/socket.ts), one call for each operation.
 *
 * What answers and events told is used again, where that cannot be told from asking: bytes that can be read stay
 * readable, room to write does not shrink, and after a look that found nothing the stack will tell of what comes.
 */

import { EAGAIN, EBADF, ECONNABORTED, EINPROGRESS, EINVAL, ENETDOWN, EPIPE } from '../errno.ts';
import { copyBytes } from '../buffer/packet-memory.ts';
import { addressText } from '../ip/udp-remote.ts';
import {
  AF_INET, MSG_MORE, MSG_OOB, MSG_PEEK, MSG_TRUNC, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, SO_ERROR, SOL_SOCKET,
} from '../socket.ts';
import type { BsdSocket, SocketAddress, TcpInfo } from '../socket.ts';
import { MAPPED, parseAddress } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';
import type { SocketCallClient } from './socket-call-client.ts';
import * as calls from './socket-calls.ts';

/**
 * Looks that are answered without asking, once one has found nothing: `available`, then `recv`, and both again when a stream
 * wants more.
 */
const KNOWN_LOOKS = 4;

/** Bytes that a socket may move in one round of events before others have their turn. */
const ROUND_BYTES = 1 << 20;

/** What every socket that lives in the stack has on this side. */
export abstract class RemoteEnd {
  readonly number: number;
  readonly domain: number;
  closed = false;
  /** Events seen since the last call, and calls so far modulo 256; see socket-calls.ts. */
  seen = 0;
  calls = 0;
  protected readonly client: SocketCallClient;
  /** Bytes that went either way in the round of events of this number. */
  #moved = 0;
  #round = 0;
  /** The user has asked to keep the process alive; there is something to keep it alive for. */
  #wanted = true;
  #active = false;

  constructor(client: SocketCallClient, number: number, domain: number) {
    this.client = client;
    this.number = number;
    this.domain = domain;
  }

  /** How the socket stands: what the answer to a call has told. */
  abstract learn(state: number, available: number, writable: number): void;
  /** An event. */
  abstract happened(bits: number, value: number): void;
  /** What was put off by `mustWait`. */
  again(_bits: number): void {
    // For those who never do.
  }

  abstract close(): number;

  /** The stack is gone. */
  abandon(): void {
    this.deactivate();
  }

  /**
   * Whether this socket has moved its share in this round of events, and others come first: then `bits` are told
   * again in the next. Within a handler the stack goes on taking and giving, so that it may never say EAGAIN.
   */
  protected mustWait(bits: number): boolean {
    const { client } = this;
    if (this.#round !== client.round) {
      this.#round = client.round;
      this.#moved = 0;
    }
    if (this.#moved < ROUND_BYTES || !client.telling) return false;
    client.tellAgain(this, bits);
    return true;
  }

  protected move(bytes: number): void {
    if (bytes > 0) this.#moved += bytes;
  }

  ref(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    if (this.#active) this.client.refs.ref();
  }

  unref(): void {
    if (!this.#wanted) return;
    this.#wanted = false;
    if (this.#active) this.client.refs.unref();
  }

  protected activate(): void {
    if (this.#active || this.client.lost) return;
    this.#active = true;
    if (this.#wanted) this.client.refs.ref();
  }

  protected deactivate(): void {
    if (!this.#active) return;
    this.#active = false;
    if (this.#wanted) this.client.refs.unref();
  }

  /** A call without arguments but for up to two numbers. */
  protected ask(op: number, count: number, first = 0, second = 0): number {
    const words = this.client.begin(op, this);
    if (words === null) return this.client.refusal(this);
    words[3] = first;
    words[4] = second;
    return this.client.simple(this, count);
  }

  /** A call with an address and a number. */
  protected askAddress(op: number, address: AddressWords, number: number): number {
    const words = this.client.begin(op, this);
    if (words === null) return this.client.refusal(this);
    writeAddress(words, 3, address);
    words[7] = number;
    return this.client.simple(this, 8);
  }

  /** Text of the address at `at` of the answer, and its port. */
  protected nameAt(words: Int32Array, at: number): SocketAddress {
    const address = addressText(this.domain, words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!);
    return { address, port: words[at + 4]!, family: this.domain === AF_INET ? 'IPv4' : 'IPv6' };
  }

  /** The local (`NAMES_LOCAL`) or remote name, asked for. */
  protected askName(which: number): SocketAddress | null {
    const words = this.client.begin(calls.CALL_SOCKET_NAMES, this);
    if (words === null) return null;
    const result = this.client.run(this, 3);
    const known = result >= 0 && (words[calls.OUT_NAMES]! & which) !== 0;
    const name = known ? this.nameAt(words, which === calls.NAMES_LOCAL ? calls.OUT_LOCAL : calls.OUT_REMOTE) : null;
    this.client.end();
    return name;
  }

  protected askOption(level: number, option: number): number | string | TcpInfo {
    const { client } = this;
    const words = client.begin(calls.CALL_SOCKET_GETOPT, this);
    if (words === null) return client.refusal(this);
    words[3] = level;
    words[4] = option;
    const form = client.run(this, 5);
    const value = words[calls.OUT_RESULTS]!;
    let result: number | string | TcpInfo = form < 0 ? form : value;
    if (form === calls.FORM_STRING || form === calls.FORM_JSON) {
      const text = client.text(value);
      result = form === calls.FORM_STRING ? text : JSON.parse(text) as TcpInfo;
    }
    client.end();
    return result;
  }

  protected askSetOption(level: number, option: number, value: number | string): number {
    const { client } = this;
    if (typeof value === 'string' ? value.length > calls.MAX_OPTION_STRING : !Number.isInteger(value)) return -EINVAL;
    const words = client.begin(calls.CALL_SOCKET_SETOPT, this);
    if (words === null) return client.refusal(this);
    words[3] = level;
    words[4] = option;
    if (typeof value === 'number') {
      words[5] = calls.FORM_NUMBER;
      words[6] = Math.max(Math.min(value, 0x7fffffff), -0x80000000);
    } else {
      words[5] = calls.FORM_STRING;
      words[6] = value.length;
      // Names of options are ASCII; what is not becomes the name of nothing.
      for (let i = 0; i < value.length; i++) client.bytes[client.area + i] = Math.min(value.charCodeAt(i), 0xff);
    }
    return client.simple(this, 7);
  }
}

export function writeAddress(words: Int32Array, at: number, address: AddressWords): void {
  words[at] = address.w0;
  words[at + 1] = address.w1;
  words[at + 2] = address.w2;
  words[at + 3] = address.w3;
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 0 && port <= 0xffff;
}

export class RemoteSocket extends RemoteEnd implements BsdSocket {
  onready: ((events: number) => void) | null = null;
  /** Bytes that can be read at least, and be written at least. */
  #available = 0;
  #writable = 0;
  #state = 0;
  /** Looks for data, or for connections, that will find nothing: see `KNOWN_LOOKS`. */
  #idle = 0;
  /** `#state` is of the call before, and `poll()` has not given it yet. */
  #fresh = false;
  /** The last event told of no error. */
  #sound = false;
  /** An error that `send` has taken after it had sent something; or that of a stack that is gone. */
  #error = 0;
  /** The last bytes that `recv` gave are still there. */
  #peeked = false;
  #listening = false;
  #connected = false;
  #local: SocketAddress | null = null;
  #peer: SocketAddress | null = null;

  learn(state: number, available: number, writable: number): void {
    this.#state = state;
    this.#fresh = true;
    this.#available = available;
    this.#writable = writable;
    this.#idle = (state & (POLLIN | POLLERR | POLLHUP)) === 0 ? KNOWN_LOOKS : 0;
    this.#sound = false;
  }

  happened(bits: number, value: number): void {
    this.seen |= bits;
    this.#fresh = false;
    if ((bits & (POLLERR | POLLHUP)) !== 0) this.#peer = null;
    if (this.client.lost) {
      this.onready?.(bits);
      return;
    }
    if (value >>> calls.VALUE_BITS === this.calls) {
      // No call since: what was told since the last one is all that there is.
      this.#available = value & ((1 << calls.VALUE_BITS) - 1);
      this.#idle = (this.seen & (POLLIN | POLLERR | POLLHUP | POLLRDHUP)) === 0 ? KNOWN_LOOKS : 0;
      this.#sound = (this.seen & (POLLERR | POLLHUP)) === 0;
    } else {
      // The record may stand for what came after the last call as well.
      this.#idle = 0;
      this.#sound = false;
    }
    if ((bits & POLLOUT) !== 0) this.#writable = 0;
    this.onready?.(bits);
  }

  override again(bits: number): void {
    this.onready?.(bits);
  }

  override abandon(): void {
    super.abandon();
    if (this.#connected && (this.#state & POLLHUP) === 0) this.#error = ECONNABORTED;
  }

  #parse(address: string): AddressWords | null {
    return address === '' ? { w0: 0, w1: 0, w2: this.domain === AF_INET ? MAPPED : 0, w3: 0 } : parseAddress(address);
  }

  bind(address: string, port: number): number {
    if (this.closed) return -EBADF;
    const local = this.#parse(address);
    if (local === null || !isPort(port)) return -EINVAL;
    return this.askAddress(calls.CALL_SOCKET_BIND, local, port);
  }

  listen(backlog: number): number {
    const result = this.ask(calls.CALL_SOCKET_LISTEN, 4, Math.max(Math.min(backlog, 0x7fffffff), 0));
    if (result === 0) {
      this.#listening = true;
      this.activate();
    }
    return result;
  }

  accept(): BsdSocket | number {
    const { client } = this;
    if (this.#listening && this.#idle > 0 && !this.closed && !client.lost) {
      this.#idle--;
      return -EAGAIN;
    }
    const words = client.begin(calls.CALL_SOCKET_ACCEPT, this);
    if (words === null) return client.refusal(this);
    const result = client.run(this, 3);
    if (result < 0) {
      client.end();
      return result;
    }
    const socket = client.accepted(new RemoteSocket(client, result, this.domain));
    const names = words[calls.OUT_NAMES]!;
    if ((names & calls.NAMES_LOCAL) !== 0) socket.#local = this.nameAt(words, calls.OUT_LOCAL);
    if ((names & calls.NAMES_REMOTE) !== 0) socket.#peer = this.nameAt(words, calls.OUT_REMOTE);
    socket.learn(words[calls.ACCEPT_STATE]!, words[calls.ACCEPT_STATE + 1]!, words[calls.ACCEPT_STATE + 2]!);
    socket.#connected = true;
    socket.activate();
    client.end();
    return socket;
  }

  connect(address: string, port: number): number {
    if (this.closed) return -EBADF;
    const remote = this.#parse(address);
    if (remote === null || !isPort(port)) return -EINVAL;
    const { client } = this;
    const words = client.begin(calls.CALL_SOCKET_CONNECT, this);
    if (words === null) return client.refusal(this);
    writeAddress(words, 3, remote);
    words[7] = port;
    const result = client.run(this, 8);
    if (result === 0 || result === -EINPROGRESS) {
      if ((words[calls.OUT_NAMES]! & calls.NAMES_LOCAL) !== 0) this.#local = this.nameAt(words, calls.OUT_LOCAL);
      this.#connected = true;
      this.activate();
    }
    client.end();
    return result;
  }

  send(from: Uint8Array, offset: number, length: number, flags = 0): number {
    if (this.closed) return -EBADF;
    if (this.#error !== 0) return this.#takeError();
    const { client } = this;
    if (client.lost) return -EPIPE;
    if (this.mustWait(POLLOUT)) return -EAGAIN;
    let words = client.begin(calls.CALL_SOCKET_SEND, this);
    if (words === null) return client.refusal(this);
    let sent = 0;
    for (;;) {
      const part = Math.min(length - sent, client.areaLength);
      copyBytes(client.bytes, client.area, from, offset + sent, part);
      words[3] = part;
      words[4] = sent + part < length ? (flags & ~MSG_OOB) | MSG_MORE : flags;
      words[5] = 0;
      const result = client.run(this, 6);
      if (result > 0) sent += result;
      if (result < 0 && sent === 0) sent = result;
      else if (result < 0 && result !== -EAGAIN) this.#error = -result;
      if (result < part || sent === length) break;
      words = client.again(calls.CALL_SOCKET_SEND, this);
    }
    this.move(sent);
    client.end();
    return sent;
  }

  recv(to: Uint8Array, offset: number, length: number, flags = 0): number {
    if (this.closed) return -EBADF;
    const { client } = this;
    if (client.lost) return this.#error !== 0 ? this.#takeError() : 0;
    if (this.#idle > 0 && !this.#listening) {
      this.#idle--;
      return -EAGAIN;
    }
    // What was shown by MSG_PEEK can be taken.
    if (!this.#peeked && this.mustWait(POLLIN)) return -EAGAIN;
    const words = client.begin(calls.CALL_SOCKET_RECV, this);
    if (words === null) return client.refusal(this);
    words[3] = Math.min(length, client.areaLength);
    words[4] = flags;
    const result = client.run(this, 5);
    if (result > 0 && (flags & MSG_TRUNC) === 0) copyBytes(to, offset, client.bytes, client.area, result);
    this.move(result);
    if (result > 0) this.#peeked = (flags & MSG_PEEK) !== 0;
    client.end();
    return result;
  }

  get available(): number {
    if (this.closed || this.client.lost) return 0;
    if (this.#available > 0) return this.#available;
    if (this.#idle > 0) this.#idle--;
    else this.ask(calls.CALL_SOCKET_POLL, 3);
    return this.#available;
  }

  get writable(): number {
    if (this.closed || this.client.lost) return 0;
    if (this.#writable === 0) this.ask(calls.CALL_SOCKET_POLL, 3);
    return this.#writable;
  }

  shutdown(how: number): number {
    return this.ask(calls.CALL_SOCKET_SHUTDOWN, 4, how);
  }

  getsockopt(level: number, option: number): number | string | TcpInfo {
    if (level === SOL_SOCKET && option === SO_ERROR && !this.closed) {
      if (this.#error !== 0) return -this.#takeError();
      if (this.client.lost) return this.#connected ? 0 : ENETDOWN;
      if (this.#sound) {
        this.#sound = false;
        return 0;
      }
    }
    return this.askOption(level, option);
  }

  setsockopt(level: number, option: number, value: number | string): number {
    return this.askSetOption(level, option, value);
  }

  getsockname(): SocketAddress | null {
    return this.#local === null ? this.askName(calls.NAMES_LOCAL) : { ...this.#local };
  }

  getpeername(): SocketAddress | null {
    return this.#peer === null ? this.askName(calls.NAMES_REMOTE) : { ...this.#peer };
  }

  poll(): number {
    if (this.closed) return POLLOUT | POLLHUP;
    if (this.client.lost) return POLLIN | POLLOUT | POLLHUP | POLLRDHUP | (this.#error !== 0 ? POLLERR : 0);
    const fresh = this.#fresh;
    const result = fresh ? this.#state : this.ask(calls.CALL_SOCKET_POLL, 3);
    this.#fresh = false;
    return result < 0 ? 0 : result;
  }

  close(): number {
    return this.#end(calls.CLOSE_GRACEFUL);
  }

  abort(): number {
    return this.#end(calls.CLOSE_ABORT);
  }

  #end(how: number): number {
    if (this.closed) return -EBADF;
    this.onready = null;
    this.deactivate();
    this.client.forget(this, how);
    return 0;
  }

  #takeError(): number {
    const error = this.#error;
    this.#error = 0;
    return -error;
  }
}
