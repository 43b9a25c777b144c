/**
 * What the attack tests share: `tcpu up` in a namespace of the test's own, those who are served while it is attacked, and
 * what must be as before when the attack is over.
 *
 *     +-- namespace ------------------------------------------------+
 *     | curl, an echo client ──┐                                    |
 *     | nmap, hping3, flood ───┴── Linux .1 ── TUN ── tcpu up .2    |
 *     +-------------------------------------------------------------+
 */

import '../kernel/namespace.ts';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import type { Test } from 'tap';
import { queryStack } from '../../lib/channel/process-channel.ts';
import { patternDigest } from '../../lib/services/byte-pattern.ts';
import type { StackCounters } from '../../lib/stack.ts';
import { STACK4, run, start, up } from '../kernel/harness.ts';
import type { TcpuProcess } from '../kernel/harness.ts';

/** Ports that are served to others; and one that is there to be attacked. */
export const HTTP = 80;
export const ECHO = 7;
export const ATTACKED = 99;
export const DEVICE = 'tun77';
const SERVICES = `http@${HTTP},echo@${ECHO},discard@${ATTACKED}`;

const LISTENERS = 3;
/** Of each: what node:net asks for. */
const BACKLOG = 511;
/** Where the stack listens for questions. */
const SOCKET = `${process.env['XDG_RUNTIME_DIR']}/tcpu.sock`;

const BYTES = 2_000_000;
const DIGEST = patternDigest(BYTES);
/** RSS may grow by this much: V8 takes what it finds useful. */
const RSS_MIB = 96;

interface Reading {
  blocks: number;
  freeBlocks: number;
  connections: number;
  timeWaits: number;
}

/** A client that sends to echo and checks what comes back, for as long as the attack lasts. */
class EchoClient {
  rounds = 0;
  problem: string | null = null;
  readonly #socket: Socket;
  #message: Buffer = Buffer.alloc(0);
  #at = 0;
  #stopping = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', (error) => (this.problem ??= error.message));
    socket.on('close', () => {
      if (!this.#stopping) this.problem ??= 'the connection was closed';
    });
    socket.on('data', (piece) => {
      if (!piece.equals(this.#message.subarray(this.#at, this.#at + piece.length))) this.problem ??= `wrong bytes in round ${this.rounds}`;
      this.#at += piece.length;
      if (this.#at < this.#message.length) return;
      this.rounds++;
      this.#send();
    });
    this.#send();
  }

  #send(): void {
    if (this.#stopping) return;
    this.#message = Buffer.alloc(1000, this.rounds);
    this.#message.writeUInt32BE(this.rounds);
    this.#at = 0;
    this.#socket.write(this.#message);
  }

  /** Resolves when `more` rounds have been made; rejects when something is wrong. */
  async go(more: number): Promise<void> {
    const wanted = this.rounds + more;
    while (this.rounds < wanted) {
      if (this.problem !== null) throw new Error(`echo: ${this.problem}`);
      await once(this.#socket, 'data');
    }
  }

  stop(): void {
    this.#stopping = true;
    this.#socket.destroy();
  }
}

export class Fortress {
  readonly process: TcpuProcess;
  readonly #echo: EchoClient;
  #before: Reading | null = null;
  #rssKb = 0;
  #fds = 0;

  private constructor(process: TcpuProcess, echo: EchoClient) {
    this.process = process;
    this.#echo = echo;
  }

  static async start(t: Test, ...more: string[]): Promise<Fortress> {
    const process = await up(t, '--tun', DEVICE, '--serve', SERVICES, ...more);
    const socket = connect(ECHO, STACK4);
    await once(socket, 'connect');
    const fortress = new Fortress(process, new EchoClient(socket));
    t.teardown(() => fortress.#echo.stop());
    // What the process needs once is not growth.
    await fortress.#download();
    await fortress.#download();
    await fortress.#echo.go(100);
    return fortress;
  }

  /** Counters by layer. */
  async counters(): Promise<Record<string, Record<string, number>>> {
    return ((await queryStack(SOCKET, 'counters')) as StackCounters).layers;
  }

  async #reading(): Promise<Reading> {
    return (await this.counters())['memory']! as unknown as Reading;
  }

  get #pid(): number {
    return this.process.child.pid!;
  }

  #rss(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.#pid}/status`, 'latin1'))![1]);
  }

  async #download(): Promise<void> {
    const hash = createHash('sha256');
    const { code, stderr } = await run('curl', ['-sS', '-m', '40', '--connect-timeout', '20', `http://${STACK4}:${HTTP}/bytes/${BYTES}`], {
      timeoutMs: 50_000, onData: (piece) => void hash.update(piece),
    });
    if (code !== 0) throw new Error(`curl: ${code} ${stderr}`);
    if (hash.digest('hex') !== DIGEST) throw new Error('curl: wrong bytes');
  }

  /**
   * Runs an attacker to its end, or for `seconds`, while others are served; then looks whether all is as before.
   * @returns what the attacker said
   */
  async attacked(t: Test, name: string, command: string, args: readonly string[], seconds = 30): Promise<string> {
    this.#before ??= await this.#reading();
    this.#rssKb ||= this.#rss();
    this.#fds ||= readdirSync(`/proc/${this.#pid}/fd`).length;
    const attacker = start(command, [...args]);
    let said = '';
    let over = false;
    for (const stream of [attacker.stdout!, attacker.stderr!]) stream.on('data', (piece: Buffer) => (said = (said + piece.toString()).slice(-65_536)));
    const ended = once(attacker, 'close').then(() => (over = true));
    const limit = setTimeout(() => attacker.kill('SIGINT'), seconds * 1000);
    const rounds = this.#echo.rounds;
    let downloads = 0;
    try {
      do {
        await this.#download();
        downloads++;
        await this.#echo.go(1);
      } while (!over);
    } catch (error) {
      t.fail(`${name}: ${(error as Error).message}`);
    } finally {
      clearTimeout(limit);
      if (!over) stop(attacker);
      await ended;
    }
    t.pass(`${name}: ${downloads} downloads and ${this.#echo.rounds - rounds} echoes meanwhile`);
    await this.#asBefore(t, name);
    return said;
  }

  async #asBefore(t: Test, name: string): Promise<void> {
    const before = this.#before!;
    try {
      await this.#download();
      await this.#echo.go(10);
    } catch (error) {
      t.fail(`after ${name}: ${(error as Error).message}`);
    }
    t.ok(this.process.child.exitCode === null && this.process.child.signalCode === null, `after ${name} the stack runs`);
    // Half-open connections of forged senders last for a moment: no more of them than the backlogs have room for.
    const now = await this.#reading();
    t.ok(now.connections <= before.connections + LISTENERS * (BACKLOG + 1), `${now.connections} connections after ${name}`);
    // Fragments that never become whole are kept for a while, in a part of the memory that is set apart for them.
    const taken = before.freeBlocks - now.freeBlocks;
    t.ok(taken <= (now.blocks >> 3) + 16, `${taken} of ${now.blocks} blocks more in use after ${name}`);
    const grownMib = (this.#rss() - this.#rssKb) / 1024;
    t.ok(grownMib < RSS_MIB, `the process has grown by ${grownMib.toFixed(1)} MiB after ${name}`);
    const fds = readdirSync(`/proc/${this.#pid}/fd`).length;
    t.ok(fds <= this.#fds + 2, `${fds} descriptors, ${this.#fds} before`);
    t.equal(this.process.stderr, '', 'nothing was complained about');
  }
}

function stop(child: ChildProcess): void {
  child.kill('SIGKILL');
}
