/** Our stack behind the steps of situations.ts, in virtual time. */

import t from 'tap';
import { errnoName } from '../../lib/errno.ts';
import { SHUT_WR, SOL_SOCKET, SO_ERROR, SO_RCVBUF } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { STATE_NAMES } from '../../lib/tcp/states.ts';
import { Harness, OURS4, PEER4 } from '../tcp/harness.ts';
import type { Options, Out, Seg } from '../tcp/harness.ts';
import { icmpError } from './icmp-packet.ts';
import type { Peer } from './situations.ts';

/** Longer than an ACK is delayed, shorter than any retransmission. */
const PATIENCE_MS = 60;

export class EnginePeer implements Peer {
  readonly h: Harness;
  readonly realTime = false;
  #listener: BsdSocket | null = null;
  #socket: BsdSocket | null = null;

  constructor(options: Options) {
    this.h = new Harness(t, { memory: 1 << 19, ...options });
    this.h.ourPort = 80;
  }

  get iss(): number {
    return this.h.iss;
  }

  listen(): Promise<void> {
    this.#listener = this.h.listen(80);
    return Promise.resolve();
  }

  nobody(): Promise<void> {
    return Promise.resolve();
  }

  connect(rcvbuf?: number): Promise<void> {
    const socket = this.h.socket();
    if (rcvbuf !== undefined) socket.setsockopt(SOL_SOCKET, SO_RCVBUF, rcvbuf);
    this.#socket = this.h.connect(socket);
    return Promise.resolve();
  }

  accept(): Promise<boolean> {
    const socket = this.#listener!.accept();
    if (typeof socket === 'number') return Promise.resolve(false);
    this.h.sockets.push(socket);
    this.#socket = socket;
    return Promise.resolve(true);
  }

  send(length: number): Promise<void> {
    this.h.send(this.#socket!, length);
    return Promise.resolve();
  }

  shutdown(): Promise<void> {
    this.#socket!.shutdown(SHUT_WR);
    return Promise.resolve();
  }

  inject(segment: Seg): Promise<void> {
    this.h.advance(1);
    this.h.inject(segment);
    return Promise.resolve();
  }

  icmp(type: number, code: number, mtu: number, quotedSeq: number): Promise<void> {
    const { h } = this;
    const packet = icmpError(PEER4, OURS4, type, code, mtu, h.ourPort, h.peerPort, quotedSeq + h.iss);
    const { batch } = h.link;
    batch.count = 0;
    batch.slab.set(packet, 0);
    batch.add(0, packet.length);
    batch.timeUs = h.clock.nowUs();
    h.link.host.input(batch);
    h.stack.settle();
    return Promise.resolve();
  }

  collect(patient = false): Promise<Out[]> {
    if (patient) this.h.advance(PATIENCE_MS);
    const out = this.h.take();
    for (const segment of out) if (!segment.csumOk) throw new Error('a bad checksum came out');
    return Promise.resolve(out);
  }

  timestamps(): void {
    this.h.timestamps = true;
  }

  oldTimestamp(): [number, number] {
    return [this.h.peerTsBase, this.h.lastTs];
  }

  read(): Promise<{ bytes: number; eof: boolean }> {
    const buffer = new Uint8Array(4096);
    let bytes = 0;
    if (this.#socket === null) return Promise.resolve({ bytes: 0, eof: false });
    for (;;) {
      const n = this.#socket.recv(buffer, 0, buffer.length);
      if (n <= 0) return Promise.resolve({ bytes, eof: n === 0 });
      bytes += n;
    }
  }

  async report(): Promise<{ error: string; state: string; bytes: number; eof: boolean }> {
    // The error is asked for first: reading takes it.
    const error = this.#socket === null ? 0 : this.#socket.getsockopt(SOL_SOCKET, SO_ERROR) as number;
    const { tcp } = this.h.stack;
    let state = '';
    tcp.forEach((tcb) => (state = STATE_NAMES[tcb.state]!));
    if (state === '') state = tcp.timeWaits > 0 ? 'TIME-WAIT' : this.#listener !== null ? 'LISTEN' : 'CLOSED';
    return { error: error === 0 ? '' : errnoName(Math.abs(error)), state, ...await this.read() };
  }

  /** Takes everything down. Returns what was left over, or ''. */
  close(): string {
    const { h } = this;
    for (const socket of h.sockets) socket.abort();
    h.stack.settle();
    const violations = h.stack.violations();
    h.stack.close();
    if (violations !== '') return violations;
    return h.stack.tcp.connections !== 0 ? 'a connection is left' : h.stack.blocksHeld !== 0 ? 'blocks are left' : '';
  }
}
