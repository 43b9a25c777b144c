/**
 * UDP streams of a test. A client makes one by sending a datagram of four bytes and waiting for one in
 * return; after that every datagram begins with
 *
 * ```
 *  0        4        8                 12 or 16
 *  | seconds | µs     | packet number   | filler ...        all big-endian; the number has 32 or 64 bits
 * ```
 *
 * Sending fills many datagrams at once, and hands them over in one call, so that a link that can cut
 * them gets them in large packets.
 */

import type { Alarm, Clock } from '../../clock.ts';
import { AF_INET6, SOL_SOCKET, SO_RCVBUF, SO_REUSEADDR, SO_SNDBUF } from '../../socket.ts';
import type { DatagramRemote, DatagramSocket, UdpProvider } from '../../socket.ts';
import { EAGAIN } from '../../errno.ts';
import { IE_STREAM_LISTEN, Iperf3Error } from './protocol.ts';
import type { TestParameters } from './protocol.ts';
import { Stream, describe, plainAddress } from './stream.ts';

/** "9876", the answer to the client's "6789"; in the byte order of the machine, as iperf3 has it. */
const CONNECT_REPLY = Uint8Array.of(0x36, 0x37, 0x38, 0x39);
const CONNECT_LENGTH = 4;

/** Bytes of datagrams that are filled before they are handed over. */
const BATCH_BYTES = 128 * 1024;
/** Timers are no finer than this. */
const MIN_LOOK_US = 1000;
/** Datagrams that are sent before other work gets its turn. */
const MAX_RUN = 256;
/** A stream that is late goes so many times as fast as its rate ... */
const CATCH_UP = 1.5;
/** ... but sends no more at once than half of what a receive buffer holds: 208 KiB in Linux, of which bookkeeping takes a half. */
const MAX_CATCH_UP_BYTES = 48 * 1024;

/** Datagrams are filled in here; shared, because nothing stays in it. */
let batch: Uint8Array | null = null;
let batchView: DataView | null = null;

function uint32(slab: Uint8Array, at: number): number {
  return ((slab[at]! << 24) | (slab[at + 1]! << 16) | (slab[at + 2]! << 8) | slab[at + 3]!) >>> 0;
}

/** What these streams need of a stack. */
export interface UdpStreamStack {
  readonly udp: UdpProvider;
  readonly clock: Clock;
}

/** Opens one of a test's sockets on the server's port. Throws `Iperf3Error`. */
function openSocket(stack: UdpStreamStack, address: string, port: number, parameters: TestParameters): DatagramSocket {
  const socket = stack.udp.socket(AF_INET6);
  if (typeof socket === 'number') throw new Iperf3Error(IE_STREAM_LISTEN, 'no UDP socket', -socket);
  socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  if (parameters.window > 0) {
    socket.setsockopt(SOL_SOCKET, SO_SNDBUF, parameters.window);
    socket.setsockopt(SOL_SOCKET, SO_RCVBUF, parameters.window);
  }
  const result = socket.bind(address, port);
  if (result < 0) {
    socket.close();
    throw new Iperf3Error(IE_STREAM_LISTEN, `UDP port ${port} is taken`, -result);
  }
  return socket;
}

/** Waits for the streams of one test, and lets go of their sockets in the end. */
export class UdpStreams {
  readonly #stack: UdpStreamStack;
  readonly #address: string;
  readonly #port: number;
  readonly #parameters: TestParameters;
  readonly #complete: (streams: UdpStream[]) => void;
  readonly #streams: UdpStream[] = [];
  #listening: DatagramSocket | null;

  /**
   * Listens on `port` of `address`, where the control connection is; the streams come from `client` (text).
   * `complete` is called when all are there. Throws `Iperf3Error`.
   */
  constructor(
    stack: UdpStreamStack, address: string, port: number, client: string, parameters: TestParameters,
    complete: (streams: UdpStream[]) => void,
  ) {
    this.#stack = stack;
    this.#address = address;
    this.#port = port;
    this.#parameters = parameters;
    this.#complete = complete;
    const plain = plainAddress(client);
    this.#listening = openSocket(stack, address, port, parameters);
    this.#listening.onmessage = (_slab, _offset, length, remote) => {
      // Data of other streams never comes here: their sockets are connected.
      if (length === CONNECT_LENGTH && plainAddress(remote.address) === plain) this.#open(remote);
    };
  }

  #open(remote: DatagramRemote): void {
    const parameters = this.#parameters;
    const index = this.#streams.length;
    let socket: DatagramSocket;
    try {
      socket = openSocket(this.#stack, this.#address, this.#port, parameters);
    } catch {
      return;
    }
    if (socket.connect(remote.address, remote.port) < 0) {
      socket.close();
      return;
    }
    this.#streams.push(new UdpStream(
      index === 0 ? 1 : index + 2, index >= parameters.receivers, parameters, this.#stack.clock, socket,
    ));
    const all = this.#streams.length === parameters.receivers + parameters.senders;
    if (all) this.#stopListening();
    socket.sendTo(CONNECT_REPLY, 0, CONNECT_REPLY.length, null, 0);
    if (all) this.#complete(this.#streams);
  }

  #stopListening(): void {
    this.#listening?.close();
    this.#listening = null;
  }

  close(): void {
    this.#stopListening();
    for (const stream of this.#streams) stream.abort();
  }
}

export class UdpStream extends Stream {
  readonly description: string;
  readonly #socket: DatagramSocket;
  readonly #headerLength: number;
  readonly #blockLength: number;
  /** Datagrams that the rate lets go in a microsecond, and between two looks at it; Infinity without a rate. */
  readonly #perUs: number;
  readonly #perLook: number;
  /** When the rate was last looked at, µs. */
  #lookedUs = 0;
  /** Of the datagram before: seconds that it travelled, on clocks that need not agree. */
  #transit = NaN;
  #pacing: Alarm | null = null;
  #immediate: NodeJS.Immediate | null = null;
  #running = false;
  #stopped = false;

  constructor(id: number, sender: boolean, parameters: TestParameters, clock: Clock, socket: DatagramSocket) {
    super(id, sender, parameters, clock);
    this.#socket = socket;
    this.#headerLength = parameters.counters64 ? 16 : 12;
    this.#blockLength = parameters.blockLength;
    this.#perUs = parameters.rate === 0 ? Infinity : parameters.rate / (8e6 * parameters.blockLength);
    this.#perLook = Math.max(Math.ceil(this.#perUs * Math.max(parameters.pacingUs, MIN_LOOK_US)), parameters.burst);
    this.description = describe(socket.getsockname(), socket.getpeername());
    if (sender) {
      this.#pacing = clock.alarm(() => this.#send());
      socket.onwritable = () => this.#send();
    }
    socket.onmessage = (slab, offset, length) => this.#receive(slab, offset, length);
  }

  override start(): void {
    super.start();
    this.#running = true;
    this.#lookedUs = this.startUs;
    if (this.sender) this.#send();
  }

  override stop(): void {
    if (this.#stopped) return;
    super.stop();
    this.abort();
  }

  override abort(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#running = false;
    this.#pacing?.clear();
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#socket.onmessage = null;
    this.#socket.onwritable = null;
    this.#socket.close();
  }

  #receive(slab: Uint8Array, offset: number, length: number): void {
    if (this.sender || !this.#running || length < this.#headerLength) return;
    this.count(length);
    const number = this.#headerLength === 16
      ? uint32(slab, offset + 8) * 4294967296 + uint32(slab, offset + 12)
      : uint32(slab, offset + 8);
    if (number > this.packets) {
      // Those between the highest so far and this one are lost, until they turn up after all.
      this.lost += number - this.packets - 1;
      this.packets = number;
    } else {
      this.outOfOrder++;
      if (this.lost > 0) this.lost--;
    }
    // RFC 1889 6.3.1 and A.8: interarrival jitter, smoothed over 16.
    const transit = this.clock.nowUs() / 1e6 - (uint32(slab, offset) + uint32(slab, offset + 4) / 1e6);
    if (!Number.isNaN(this.#transit)) this.jitter += (Math.abs(transit - this.#transit) - this.jitter) / 16;
    this.#transit = transit;
  }

  /** Sends what the rate allows now, and says when to go on. */
  #send(): void {
    if (!this.#running) return;
    const parameters = this.parameters;
    const most = this.#mostNow();
    let run = Math.min(MAX_RUN, most);
    for (;;) {
      const nowUs = this.clock.nowUs();
      const due = Math.min(this.blocksDue(nowUs, parameters.burst), run, Math.max(Math.floor(BATCH_BYTES / this.#blockLength), 1));
      if (due === 0) break;
      const sent = this.#sendBlocks(due, nowUs);
      if (sent === -EAGAIN) return;
      // A pending error (port unreachable: the client is gone) is taken with this; the control connection tells more.
      run -= due;
      if (sent < due * this.#blockLength) break;
      if (run <= 0 && most > MAX_RUN) {
        this.#immediate ??= setImmediate(() => {
          this.#immediate = null;
          this.#send();
        });
        return;
      }
    }
    this.#pacing!.set(this.clock.nowUs() + parameters.pacingUs);
  }

  /**
   * Datagrams that may go at this look. What is behind time is made up for over several looks, since in one burst it would
   * flood the receiver's buffer; but looks that come late, as on a busy machine all do, must not hold the rate down.
   */
  #mostNow(): number {
    if (this.#perLook === Infinity) return Infinity;
    const nowUs = this.clock.nowUs();
    const late = Math.min(CATCH_UP * (nowUs - this.#lookedUs) * this.#perUs, MAX_CATCH_UP_BYTES / this.#blockLength);
    this.#lookedUs = nowUs;
    return Math.ceil(Math.max(CATCH_UP * this.#perLook, late));
  }

  /** Sends `blocks` datagrams; returns the bytes that went, or a negative errno. */
  #sendBlocks(blocks: number, nowUs: number): number {
    const length = this.#blockLength;
    batch ??= new Uint8Array(BATCH_BYTES);
    batchView ??= new DataView(batch.buffer);
    const wallUs = this.clock.originMs * 1000 + nowUs;
    const second = Math.floor(wallUs / 1e6);
    const us = Math.floor(wallUs - second * 1e6);
    for (let i = 0; i < blocks; i++) {
      const at = i * length;
      const number = this.packets + i + 1;
      batchView.setUint32(at, second);
      batchView.setUint32(at + 4, us);
      if (this.#headerLength === 16) {
        batchView.setUint32(at + 8, Math.floor(number / 4294967296));
        batchView.setUint32(at + 12, number >>> 0);
      } else {
        batchView.setUint32(at + 8, number >>> 0);
      }
    }
    const sent = this.#socket.sendSegments(batch, 0, blocks * length, length, null, 0);
    if (sent > 0) {
      this.packets += Math.floor(sent / length);
      this.count(sent);
    }
    return sent;
  }
}
