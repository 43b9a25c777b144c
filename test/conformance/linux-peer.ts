/** Linux's TCP behind the steps of situations.ts: raw packets into a TUN device, sockets under control of linux-peer.py. */

import { spawn } from 'node:child_process';
import type { ChildProcessByStdio } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Harness, OURS4, PEER4, byteAt } from '../tcp/harness.ts';
import type { Out, Seg } from '../tcp/harness.ts';
import { icmpError, icmpPacket } from './icmp-packet.ts';
import type { Peer } from './situations.ts';

/** Longer than Linux delays an ACK (40 ms and a tick), shorter than its least RTO. */
const PATIENCE_S = 0.08;
const LISTEN_PORT = 80;
const FIRST_PORT = 7000;

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The program with the device; one for many connections, one after the other. */
export class LinuxHost {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #waiting: ((line: string) => void)[] = [];
  readonly #early: string[] = [];
  /** `uname -r` */
  release = '';
  #serial = 0;
  #failed: unknown = null;

  private constructor() {
    this.#child = spawn('python3', [fileURLToPath(new URL('linux-peer.py', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#child.stdout);
    this.#lines.on('line', (line) => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#early.push(line);
      else next(line);
    });
    this.#lines.on('close', () => {
      for (const next of this.#waiting.splice(0)) next('{"failed":"the program has ended"}');
    });
  }

  /** Must be called in a network namespace of the test's own. */
  static async start(): Promise<LinuxHost> {
    const host = new LinuxHost();
    host.release = await host.#answer();
    return host;
  }

  async #answer(): Promise<any> {
    const line = this.#early.shift() ?? await new Promise<string>((resolve) => this.#waiting.push(resolve));
    const answer = JSON.parse(line);
    if (answer.failed !== undefined) throw new Error(answer.failed);
    return answer.ok;
  }

  async call(...command: unknown[]): Promise<any> {
    this.#child.stdin.write(`${JSON.stringify(command)}\n`);
    const answer = await this.#answer();
    if (this.#failed !== null) throw this.#failed;
    return answer;
  }

  /** As `call`, without waiting; a failure comes out of the next `call`. */
  tell(...command: unknown[]): void {
    this.call(...command).catch((error: unknown) => (this.#failed ??= error));
  }

  /** A new connection's worth: other ports, nothing left of the last. */
  peer(): LinuxPeer {
    this.#failed = null;
    this.tell('reset');
    return new LinuxPeer(this, FIRST_PORT + (this.#serial++ % 50_000));
  }

  async close(): Promise<void> {
    await this.call('reset');
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin.end();
    await ended;
  }
}

let echo = 0;

export class LinuxPeer implements Peer {
  readonly #host: LinuxHost;
  /** Builds segments and takes them apart; its stack is idle. */
  readonly h: Harness;
  readonly realTime = true;
  #known = false;
  #sent = 0;

  constructor(host: LinuxHost, peerPort: number) {
    this.#host = host;
    this.h = new Harness(t, { memory: 1 << 18 });
    this.h.ourPort = LISTEN_PORT;
    this.h.peerPort = peerPort;
  }

  get iss(): number {
    return this.h.iss;
  }

  listen(): Promise<void> {
    this.#host.tell('listen', LISTEN_PORT);
    return Promise.resolve();
  }

  nobody(): Promise<void> {
    return Promise.resolve();
  }

  async connect(rcvbuf = 0): Promise<void> {
    this.h.ourPort = await this.#host.call('connect', this.h.peerPort, rcvbuf);
  }

  accept(): Promise<boolean> {
    return this.#host.call('accept');
  }

  send(length: number): Promise<void> {
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = byteAt(this.#sent++);
    this.#host.tell('send', hex(bytes));
    return Promise.resolve();
  }

  shutdown(): Promise<void> {
    this.#host.tell('shutdown');
    return Promise.resolve();
  }

  inject(segment: Seg): Promise<void> {
    this.h.clock.advance(1000);
    this.#host.tell('write', hex(this.h.build(segment)));
    return Promise.resolve();
  }

  icmp(type: number, code: number, mtu: number, quotedSeq: number): Promise<void> {
    const { h } = this;
    this.#host.tell('write', hex(icmpError(PEER4, OURS4, type, code, mtu, h.ourPort, h.peerPort, quotedSeq + h.iss)));
    return Promise.resolve();
  }

  async collect(patient = false): Promise<Out[]> {
    const marker = icmpPacket(PEER4, OURS4, 8, 0, ++echo, new Uint8Array(8));
    const { packets, answered } = await this.#host.call('collect', hex(marker), patient ? PATIENCE_S : 0);
    if (!answered) throw new Error('Linux does not answer');
    for (const packet of packets as string[]) {
      const bytes = new Uint8Array(Buffer.from(packet, 'hex'));
      const view = new DataView(bytes.buffer);
      const tcp = (bytes[0]! & 15) * 4;
      // Of an earlier connection.
      if (view.getUint16(tcp + 2) !== this.h.peerPort) continue;
      if (!this.#known && (bytes[tcp + 13]! & 2) !== 0) {
        this.h.iss = view.getInt32(tcp + 4);
        this.#known = true;
      }
      this.h.link.onPacket(bytes, 0, 0, false, 0);
    }
    return this.h.out.splice(0);
  }

  timestamps(): void {
    this.h.timestamps = true;
  }

  oldTimestamp(): [number, number] {
    return [this.h.peerTsBase, this.h.lastTs];
  }

  read(): Promise<{ bytes: number; eof: boolean }> {
    return this.#host.call('read');
  }

  async report(): Promise<{ error: string; state: string; bytes: number; eof: boolean }> {
    const report = await this.#host.call('report', this.h.ourPort, this.h.peerPort);
    // One number, two names.
    if (report.error === 'ENOTSUP') report.error = 'EOPNOTSUPP';
    return report;
  }

  /** The path MTU that Linux has learned is forgotten. */
  forget(): void {
    this.#host.tell('flush');
  }

  close(): void {
    void this.h.stack.stack.close({ graceful: false });
  }
}
