/**
 * The stack's side of a classic application's socket calls (socket-calls.ts): a table of this one
 * application's sockets, the calls on them, and what is told of them. A worker thread that runs TCPU serves
 * its main thread with the same.
 *
 * **The application is not believed.** Its words are a copy of its own making, its call area may change at
 * any time: numbers, lengths and offsets are read once and checked; data is copied once, by the socket's own
 * methods; strings are copied before they are looked at. Whatever it asks, the answer is a number, and all that it can
 * use up is bounded: sockets by `maxSockets` and, of each kind, by `maxDatagramSockets` and `maxEchoSockets`, unseen
 * events by six for each, ICMP errors and echo replies that nobody fetches by a few for each. What its sockets have to
 * send, and what they have received, is bounded for all of them together by `memoryLimit` (lib/buffer/memory-account.ts):
 * beyond it sends wait, windows close, and datagrams are lost; a socket that has nothing unread gets one block all the same.
 * Each alone is bounded by buffers that it cannot make larger than `maxSndbuf` and `maxRcvbuf`, or 4 MiB for UDP.
 *
 * Sockets do not keep the stack's process alive: that is for whoever runs the stack to decide.
 * Left out: passing sockets between applications, and calls that wait.
 */

import { MemoryAccount } from '../buffer/memory-account.ts';
import type { SocketAccounts } from '../buffer/memory-account.ts';
import { EAGAIN, EBADF, EFAULT, EINPROGRESS, EINVAL, EMFILE, EMSGSIZE, ENETDOWN, EOPNOTSUPP, EPROTONOSUPPORT } from '../errno.ts';
import {
  AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, POLLERR, POLLIN, POLLOUT, SO_RCVBUF, SOCK_DGRAM, SOCK_STREAM,
  SOL_SOCKET, SO_SNDBUF,
} from '../socket.ts';
import type {
  BsdSocket, DatagramSocket, EchoErrorInfo, EchoProvider, EchoReplyInfo, IcmpEchoSocket, SocketProvider, UdpErrorInfo, UdpProvider,
} from '../socket.ts';
import { textOf, writeNames } from './call-names.ts';
import { fetchDatagrams, sendDatagrams } from './datagram-calls.ts';
import * as calls from './socket-calls.ts';
import { SocketEntry } from './socket-entry.ts';
import type { OwnedSocket } from './socket-entry.ts';
import type { Window } from './window.ts';

/** ICMP errors and echo replies that wait to be fetched, for each socket. */
const MAX_ERRORS = 8;
const MAX_REPLIES = 100;
/** Receive buffer of a UDP socket whose application asks for none: its reader is a process away. Bytes, doubled as ever. */
const DATAGRAM_BUFFER = 1 << 20;
/** Most that it may ask for. */
const MAX_DATAGRAM_BUFFER = 2 << 20;

export interface SocketCallParts {
  /** Its call area is used. */
  window: Window;
  /** Where TCP sockets come from; UDP and echo sockets, when the application may have any. */
  provider: SocketProvider;
  udp: UdpProvider | null;
  echo: EchoProvider | null;
  /** Tells the application of an event (`TO_APP_EVENT`). Must not call back into the server. */
  notify: (socket: number, events: number, value: number) => void;
  /** Whether the application may bind this port (not 0) of IPPROTO_TCP or IPPROTO_UDP: 0, or a negative errno. */
  mayBind?: (protocol: number, port: number) => number;
  /** Most sockets at one time, 1 to 65536. Default 65536. */
  maxSockets?: number;
  /** Of them, UDP and echo sockets. Default: all. */
  maxDatagramSockets?: number;
  maxEchoSockets?: number;
  /** Most that SO_SNDBUF and SO_RCVBUF of a TCP socket can be set to, bytes. Default: what the sockets allow. */
  maxSndbuf?: number;
  maxRcvbuf?: number;
  /**
   * Bytes of packet memory that all sockets together may have queued to send, those included that were closed since, and
   * as many that are unread. `whenRoom` is called when there is room again, in the middle of a turn, to have `roomAgain()`
   * called in a turn to come. Default: no limit.
   */
  memoryLimit?: number;
  whenRoom?: () => void;
  /** The application and its user, whose the sockets' ports are. Default: this process itself. */
  owner?: object;
  uid?: number;
}

export class SocketCallCounters {
  calls = 0;
  events = 0;
  /** Calls that no library of ours makes: unknown, too short, or for something outside the call area. */
  malformed = 0;
}

export class SocketCallServer {
  readonly counters = new SocketCallCounters();
  readonly #parts: SocketCallParts;
  readonly #window: Window;
  readonly #maxSockets: number;
  /** By place. */
  readonly #entries: (SocketEntry | null)[] = [];
  readonly #free: number[] = [];
  /** How often each place was used. */
  readonly #reuses: number[] = [];
  #size = 0;
  #datagramSockets = 0;
  #echoSockets = 0;
  readonly #accounts: SocketAccounts | null;
  #closed = false;

  constructor(parts: SocketCallParts) {
    this.#parts = parts;
    this.#window = parts.window;
    this.#maxSockets = Math.min(parts.maxSockets ?? 1 << calls.NUMBER_BITS, 1 << calls.NUMBER_BITS);
    const { memoryLimit } = parts;
    const account = (): MemoryAccount => new MemoryAccount(memoryLimit!, () => parts.whenRoom?.());
    this.#accounts = memoryLimit === undefined ? null : { sending: account(), unread: account() };
  }

  /** Open sockets. */
  get size(): number {
    return this.#size;
  }

  /** Visits every open socket, for listings. */
  forEach(
    visit: (number: number, socket: BsdSocket | DatagramSocket | IcmpEchoSocket, protocol: 'tcp' | 'udp' | 'icmp') => void,
  ): void {
    for (const entry of this.#entries.slice()) {
      if (entry === null) continue;
      if (entry.tcp !== null) visit(entry.number, entry.tcp, 'tcp');
      else if (entry.udp !== null) visit(entry.number, entry.udp, 'udp');
      else visit(entry.number, entry.echo!, 'icmp');
    }
  }

  /** The application is gone. Its connections end with FIN when `graceful`, otherwise (it was killed) with a reset. */
  close(graceful = false): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const entry of this.#entries.slice()) if (entry !== null) this.#remove(entry, !graceful);
  }

  /** One call; see Channel.call. */
  call(words: Int32Array, count: number): number {
    if (this.#closed) return -ENETDOWN;
    const counters = this.counters;
    counters.calls++;
    const op = words[0]!;
    const least = calls.CALL_LENGTHS[op - calls.CALL_SOCKET];
    if (least === undefined || !(count >= least) || !(count <= words.length)) {
      counters.malformed++;
      return -EINVAL;
    }
    if (op === calls.CALL_SOCKET) return this.#open(words[1]!, words[2]!, words[3]!);
    const entry = this.#find(words[calls.IN_SOCKET]!);
    if (entry === null) return -EBADF;
    const seen = words[calls.IN_SEEN]!;
    entry.busy = true;
    const result = this.#run(entry, op, words);
    entry.busy = false;
    if (result === -EFAULT) counters.malformed++;
    if (entry.number >= 0) this.#conclude(entry, words, seen);
    else words[calls.OUT_STATE] = 0;
    return result;
  }

  /** Says how the socket stands now, and what happened that was not told. */
  #conclude(entry: SocketEntry, words: Int32Array, seen: number): void {
    const state = this.#poll(entry);
    words[calls.OUT_STATE] = calls.STATE_VALID | state;
    words[calls.OUT_AVAILABLE] = this.#available(entry);
    words[calls.OUT_WRITABLE] = entry.tcp !== null && !entry.starved ? Math.min(entry.tcp.writable, 0x7fffffff) : 0;
    entry.calls = (entry.calls + 1) & 0xff;
    entry.told &= ~seen;
    const waiting = entry.waiting;
    if (waiting === 0) return;
    entry.waiting = 0;
    // What the call itself has dealt with needs no telling.
    this.#tell(entry, waiting & (state | ~(POLLIN | POLLOUT)));
  }

  #tell(entry: SocketEntry, events: number): void {
    if (entry.busy) {
      entry.waiting |= events;
      return;
    }
    // Told again when the application has seen the first, if it still holds.
    entry.waiting |= events & entry.told;
    if (entry.tcp !== null) events |= entry.tcp.poll() & POLLIN;
    events &= ~entry.told;
    if (events === 0) return;
    entry.told |= events;
    this.counters.events++;
    const most = (1 << calls.VALUE_BITS) - 1;
    this.#parts.notify(entry.number, events, (entry.calls << calls.VALUE_BITS) | Math.min(this.#available(entry), most));
  }

  #poll(entry: SocketEntry): number {
    let state = entry.errors !== null && entry.errors.length > 0 ? POLLERR : 0;
    if (entry.tcp !== null) state |= entry.tcp.poll() & (entry.starved ? ~POLLOUT : -1);
    else if (entry.udp !== null) state |= entry.udp.poll();
    else state |= (entry.replyCount > 0 ? POLLIN : 0) | POLLOUT;
    return state;
  }

  #available(entry: SocketEntry): number {
    return entry.tcp !== null ? entry.tcp.available : entry.udp !== null ? entry.udp.available : 0;
  }

  // ----------------------------------------------------------------------------------- the table

  #find(number: number): SocketEntry | null {
    if (number < 0) return null;
    const entry = this.#entries[number & ((1 << calls.NUMBER_BITS) - 1)] ?? null;
    return entry !== null && entry.number === number ? entry : null;
  }

  get #full(): boolean {
    return this.#size >= this.#maxSockets;
  }

  #add(entry: SocketEntry): number {
    const place = this.#free.pop() ?? this.#entries.length;
    const reuses = ((this.#reuses[place] ?? -1) + 1) & calls.NUMBER_REUSES;
    this.#reuses[place] = reuses;
    this.#entries[place] = entry;
    this.#size++;
    entry.number = (reuses << calls.NUMBER_BITS) | place;
    return entry.number;
  }

  #remove(entry: SocketEntry, abort: boolean): number {
    const place = entry.number & ((1 << calls.NUMBER_BITS) - 1);
    entry.number = -1;
    this.#entries[place] = null;
    this.#free.push(place);
    this.#size--;
    if (entry.udp !== null) this.#datagramSockets--;
    if (entry.echo !== null) this.#echoSockets--;
    // What it may still have to tell is for nobody.
    entry.busy = true;
    const { tcp } = entry;
    if (tcp === null) return (entry.udp ?? entry.echo!).close();
    tcp.onready = null;
    return abort ? tcp.abort() : tcp.close();
  }

  #open(domain: number, type: number, protocol: number): number {
    const { provider, udp, echo, maxDatagramSockets = Infinity, maxEchoSockets = Infinity } = this.#parts;
    if (this.#full) return -EMFILE;
    if (type === SOCK_STREAM && (protocol === 0 || protocol === IPPROTO_TCP)) {
      const socket = provider.socket(domain, type, protocol);
      return typeof socket === 'number' ? socket : this.#addTcp(socket).number;
    }
    if (type !== SOCK_DGRAM) return -EPROTONOSUPPORT;
    if (udp !== null && (protocol === 0 || protocol === IPPROTO_UDP)) {
      if (this.#datagramSockets >= maxDatagramSockets) return -EMFILE;
      const socket = udp.socket(domain);
      return typeof socket === 'number' ? socket : this.#addUdp(socket);
    }
    if (echo !== null && protocol === (domain === AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
      if (this.#echoSockets >= maxEchoSockets) return -EMFILE;
      const socket = echo.open(domain);
      return typeof socket === 'number' ? socket : this.#addEcho(socket);
    }
    return -EPROTONOSUPPORT;
  }

  #addTcp(socket: BsdSocket): SocketEntry {
    const entry = new SocketEntry();
    entry.tcp = socket;
    this.#own(socket as OwnedSocket);
    socket.unref();
    socket.onready = (events) => this.#tell(entry, events);
    this.#add(entry);
    return entry;
  }

  #own(socket: OwnedSocket): void {
    const { owner, uid } = this.#parts;
    if (owner !== undefined) socket.owner = owner;
    if (uid !== undefined) socket.uid = uid;
    if (this.#accounts !== null) socket.accounts = this.#accounts;
  }

  #addUdp(socket: DatagramSocket): number {
    const entry = new SocketEntry();
    entry.udp = socket;
    this.#datagramSockets++;
    this.#own(socket as OwnedSocket);
    socket.unref();
    entry.rcvbuf = socket.getsockopt(SOL_SOCKET, SO_RCVBUF);
    socket.setsockopt(SOL_SOCKET, SO_RCVBUF, DATAGRAM_BUFFER);
    socket.onreadable = () => this.#tell(entry, POLLIN);
    socket.onwritable = () => this.#tell(entry, POLLOUT);
    socket.onerror = (errno, info) => this.#failed(entry, errno, info);
    return this.#add(entry);
  }

  #addEcho(socket: IcmpEchoSocket): number {
    const entry = new SocketEntry();
    entry.echo = socket;
    this.#echoSockets++;
    socket.onreply = (reply) => this.#replied(entry, reply);
    socket.onerror = (errno, info) => this.#failed(entry, errno, info);
    return this.#add(entry);
  }

  #failed(entry: SocketEntry, errno: number, info: UdpErrorInfo | EchoErrorInfo): void {
    entry.errors ??= [];
    if (entry.errors.length < MAX_ERRORS) entry.errors.push({ errno, ...info });
    this.#tell(entry, POLLERR);
  }

  #replied(entry: SocketEntry, reply: EchoReplyInfo): void {
    if (entry.replyCount < MAX_REPLIES) {
      entry.replies ??= new Int32Array(MAX_REPLIES * calls.REPLY_WORDS);
      const at = entry.replyCount++ * calls.REPLY_WORDS;
      const words = entry.replies;
      words[at + calls.REPLY_SEQ] = reply.seq;
      words[at + calls.REPLY_BYTES] = reply.bytes;
      words[at + calls.REPLY_IP] = reply.ttl << 8 | reply.tos;
      words[at + calls.REPLY_RTT_US] = Math.min(Math.round(reply.rttUs), 0x7fffffff);
      words[at + calls.REPLY_DUPLICATE] = reply.duplicate ? 1 : 0;
      words[at + calls.REPLY_ADDRESS] = reply.w0;
      words[at + calls.REPLY_ADDRESS + 1] = reply.w1;
      words[at + calls.REPLY_ADDRESS + 2] = reply.w2;
      words[at + calls.REPLY_ADDRESS + 3] = reply.w3;
    }
    this.#tell(entry, POLLIN);
  }

  // ----------------------------------------------------------------------------------- the calls

  #run(entry: SocketEntry, op: number, words: Int32Array): number {
    switch (op) {
      case calls.CALL_SOCKET_SETOPT: return this.#setOption(entry, words);
      case calls.CALL_SOCKET_POLL: return this.#poll(entry);
      case calls.CALL_SOCKET_CLOSE: return this.#remove(entry, words[3] === calls.CLOSE_ABORT);
      case calls.CALL_SOCKET_ERRORS: return this.#takeErrors(entry);
    }
    const { tcp, udp } = entry;
    if (entry.echo !== null) return this.#runEcho(entry, entry.echo, op, words);
    switch (op) {
      case calls.CALL_SOCKET_BIND: return this.#bind(entry, words);
      case calls.CALL_SOCKET_CONNECT: return this.#connect(tcp ?? udp!, words);
      case calls.CALL_SOCKET_GETOPT: return this.#getOption(entry, words);
      case calls.CALL_SOCKET_NAMES: {
        const socket = tcp ?? udp!;
        writeNames(words, socket.getsockname(), socket.getpeername());
        return 0;
      }
    }
    return tcp !== null ? this.#runTcp(entry, tcp, op, words) : this.#runUdp(entry, udp!, op, words);
  }

  #runTcp(entry: SocketEntry, socket: BsdSocket, op: number, words: Int32Array): number {
    const { bytes, call } = this.#window;
    switch (op) {
      case calls.CALL_SOCKET_SEND: {
        const length = words[3]!;
        const offset = words[5]!;
        if (!this.#window.callHolds(offset, length)) return -EFAULT;
        if (this.#turnedAway(entry, socket, length)) return -EAGAIN;
        return socket.send(bytes, call + offset, length, words[4]!);
      }
      case calls.CALL_SOCKET_RECV: {
        const length = words[3]!;
        return this.#window.callHolds(0, length) ? socket.recv(bytes, call, length, words[4]!) : -EFAULT;
      }
      case calls.CALL_SOCKET_LISTEN: return socket.listen(words[3]!);
      case calls.CALL_SOCKET_ACCEPT: return this.#accept(socket, words);
      case calls.CALL_SOCKET_SHUTDOWN: return socket.shutdown(words[3]!);
      default: return -EOPNOTSUPP;
    }
  }

  /** Whether this socket has to wait, though it has room of its own, since all of them together have too much queued. */
  #turnedAway(entry: SocketEntry, socket: BsdSocket, length: number): boolean {
    // Without room, or at its end, the socket gives the answer itself.
    if (this.#accounts === null || this.#accounts.sending.admits(length) || socket.writable === 0) return false;
    entry.starved = true;
    return true;
  }

  /** As `whenRoom` asked: those whose sends were turned away hear of it, and peers of windows that open again. */
  roomAgain(): void {
    const accounts = this.#accounts;
    if (this.#closed || accounts === null) return;
    for (const entry of this.#entries.slice()) {
      if (entry === null || entry.tcp === null) continue;
      if (!accounts.unread.full) (entry.tcp as OwnedSocket).roomAgain?.();
      if (!entry.starved || accounts.sending.full) continue;
      entry.starved = false;
      this.#tell(entry, POLLOUT);
    }
  }

  #runUdp(entry: SocketEntry, socket: DatagramSocket, op: number, words: Int32Array): number {
    switch (op) {
      case calls.CALL_DATAGRAM_SEND: return sendDatagrams(entry, socket, words, this.#window);
      case calls.CALL_DATAGRAM_FETCH: {
        const result = fetchDatagrams(socket, words, this.#window);
        if (result >= 0 && (words[3]! & calls.FETCH_AGAIN) !== 0 && (socket.poll() & POLLIN) !== 0) this.#tell(entry, POLLIN);
        return result;
      }
      case calls.CALL_DATAGRAM_DISCONNECT: return socket.disconnect();
      case calls.CALL_DATAGRAM_MEMBERSHIP: {
        const group = textOf(words, 3);
        return words[7] !== 0 ? socket.addMembership(group) : socket.dropMembership(group);
      }
      default: return -EOPNOTSUPP;
    }
  }

  #runEcho(entry: SocketEntry, socket: IcmpEchoSocket, op: number, words: Int32Array): number {
    const { bytes, call } = this.#window;
    switch (op) {
      case calls.CALL_ECHO_SEND: {
        const seq = words[3]!;
        const length = words[4]!;
        if (seq < 0 || seq > 0xffff) return -EINVAL;
        if (words[5] === 0) return socket.send(seq, length, textOf(words, 6));
        if (!this.#window.callHolds(0, length)) return -EFAULT;
        return socket.send(seq, bytes.subarray(call, call + length), textOf(words, 6));
      }
      case calls.CALL_ECHO_REPLIES: {
        const count = entry.replyCount;
        entry.replyCount = 0;
        const most = count * calls.REPLY_WORDS;
        for (let i = 0; i < most; i++) this.#window.words[(call >> 2) + i] = entry.replies![i]!;
        return count;
      }
      default: return -EOPNOTSUPP;
    }
  }

  #bind(entry: SocketEntry, words: Int32Array): number {
    const port = words[7]!;
    if (port < 0 || port > 0xffff) return -EINVAL;
    if (port !== 0) {
      const allowed = this.#parts.mayBind?.(entry.tcp !== null ? IPPROTO_TCP : IPPROTO_UDP, port) ?? 0;
      if (allowed < 0) return allowed;
    }
    return (entry.tcp ?? entry.udp!).bind(textOf(words, 3), port);
  }

  #connect(socket: BsdSocket | DatagramSocket, words: Int32Array): number {
    const result = socket.connect(textOf(words, 3), words[7]!);
    writeNames(words, result === 0 || result === -EINPROGRESS ? socket.getsockname() : null, null);
    return result;
  }

  #accept(listener: BsdSocket, words: Int32Array): number {
    if (this.#full) return -EMFILE;
    const socket = listener.accept();
    if (typeof socket === 'number') return socket;
    const entry = this.#addTcp(socket);
    writeNames(words, socket.getsockname(), socket.getpeername());
    words[calls.ACCEPT_STATE] = socket.poll();
    words[calls.ACCEPT_STATE + 1] = socket.available;
    words[calls.ACCEPT_STATE + 2] = Math.min(socket.writable, 0x7fffffff);
    return entry.number;
  }

  #getOption(entry: SocketEntry, words: Int32Array): number {
    const level = words[3]!;
    const option = words[4]!;
    if (entry.udp !== null && entry.rcvbuf >= 0 && level === SOL_SOCKET && option === SO_RCVBUF) {
      words[calls.OUT_RESULTS] = entry.rcvbuf;
      return calls.FORM_NUMBER;
    }
    const value = (entry.tcp ?? entry.udp!).getsockopt(level, option);
    if (typeof value === 'number') {
      words[calls.OUT_RESULTS] = value;
      return calls.FORM_NUMBER;
    }
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    const length = this.#write(text);
    if (length < 0) return length;
    words[calls.OUT_RESULTS] = length;
    return typeof value === 'string' ? calls.FORM_STRING : calls.FORM_JSON;
  }

  #setOption(entry: SocketEntry, words: Int32Array): number {
    const level = words[3]!;
    const option = words[4]!;
    const form = words[5]!;
    const value = words[6]!;
    if (form === calls.FORM_STRING) {
      if (value < 0 || value > calls.MAX_OPTION_STRING) return -EINVAL;
      if (!this.#window.callHolds(0, value)) return -EFAULT;
      if (entry.tcp === null) return -EINVAL;
      const { bytes, call } = this.#window;
      let text = '';
      for (let i = 0; i < value; i++) text += String.fromCharCode(bytes[call + i]!);
      return entry.tcp.setsockopt(level, option, text);
    }
    if (form !== calls.FORM_NUMBER) return -EINVAL;
    const most = level === SOL_SOCKET ? this.#largest(entry, option) : Infinity;
    const result = (entry.tcp ?? entry.udp ?? entry.echo!).setsockopt(level, option, Math.min(value, most));
    if (result === 0 && level === SOL_SOCKET && option === SO_RCVBUF) entry.rcvbuf = -1;
    return result;
  }

  /** Most that this option of SOL_SOCKET can be set to. */
  #largest(entry: SocketEntry, option: number): number {
    if (option !== SO_SNDBUF && option !== SO_RCVBUF) return Infinity;
    if (entry.tcp === null) return MAX_DATAGRAM_BUFFER;
    return (option === SO_SNDBUF ? this.#parts.maxSndbuf : this.#parts.maxRcvbuf) ?? Infinity;
  }

  /** Writes a text to the call area. Returns its length in bytes, or -EMSGSIZE. */
  #write(text: string): number {
    const encoded = new TextEncoder().encode(text);
    const { bytes, call, sizes } = this.#window;
    if (encoded.length > sizes.call) return -EMSGSIZE;
    bytes.set(encoded, call);
    return encoded.length;
  }

  #takeErrors(entry: SocketEntry): number {
    const { errors } = entry;
    if (errors === null || errors.length === 0) return 0;
    entry.errors = null;
    return this.#write(JSON.stringify(errors));
  }
}
