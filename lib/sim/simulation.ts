/**
 * `createSimulation()`: hosts, routers and links in virtual time, for tests.
 *
 *     host a ── link ── router ── link ── host b          one VirtualClock for all
 *       │ stack, net, dgram                │              one seed, from which all randomness comes
 *       programs                           programs       one recorder, which sees every packet
 *
 * `run()` moves time on from event to event as long as there is something to do, and lets the event loop settle in
 * between (event-loop.ts), so that programs with streams and promises run as on a real network, only faster, and the
 * same each time. Programs that use the low-level sockets need no event loop: `advance()` and `runUntil()`.
 */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '../clock.ts';
import type { Alarm } from '../clock.ts';
import { SeededRandom } from '../random.ts';
import { settle } from './event-loop.ts';
import type { LinkOptions } from './link-options.ts';
import { Recorder } from './recorder.ts';
import { SimHost } from './sim-host.ts';
import type { HostOptions } from './sim-host.ts';
import { SimLink } from './sim-link.ts';
import type { SimNode } from './sim-link.ts';
import { SimRouter, addressKey } from './sim-router.ts';

export interface SimulationOptions {
  /** All that is random comes from it: same seed, same run. Default 1. */
  seed?: number;
  /** Path of a pcapng file that all packets go to as they pass. Default: none, only the last ones when a run fails. */
  capture?: string;
  /** Most bytes of packets that are remembered for the capture of a run that fails. Default 16 MiB; 0 for no capture. */
  keepBytes?: number;
  /** Where captures of failed runs go. Default: the environment variable TCPU_SIM_DIR, or a new folder in `os.tmpdir()`. */
  directory?: string;
  /** Called after every event of a `run()`; what it throws fails the run. For invariants. */
  onEvent?: () => void;
}

export interface RunOptions {
  /** Virtual time by which the run must have ended, ms from the simulation's beginning. Default: a day after the run begins. */
  untilMs?: number;
}

/** Something that happens later, and may be called off. */
export interface SimTimer {
  clear(): void;
}

/** Why a run ended that its program has not ended: time is over, or nothing is left that could happen. */
export class SimulationError extends Error {
  override readonly name = 'SimulationError';
  readonly code: string;

  /** @param code  'ERR_SIM_TIMEOUT' or 'ERR_SIM_STALLED' */
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const DAY_MS = 86_400_000;
const KEEP_BYTES = 16 << 20;

type Outcome<T> = { value: T } | { error: unknown };

export class Simulation {
  readonly seed: number;
  readonly clock = new VirtualClock();
  /** For the programs of the test: its numbers depend on the seed only. */
  readonly random: SeededRandom;
  readonly hosts: SimHost[] = [];
  readonly routers: SimRouter[] = [];
  readonly links: SimLink[] = [];
  /** Events that have happened. */
  events = 0;

  readonly #recorder: Recorder;
  readonly #keepBytes: number;
  readonly #directory: string | undefined;
  readonly #onEvent: (() => void) | undefined;
  readonly #addresses = new Map<string, SimHost>();
  /** Routes of each router; forgotten when a host or a link is added. */
  readonly #routes = new Map<SimRouter, Map<string, SimLink>>();
  /** What `at()` and `after()` have thrown. */
  #failed: Outcome<never> | null = null;
  /** Promises of the world outside that time waits for. */
  readonly #outside = new Set<Promise<unknown>>();
  #running = false;
  #closed = false;

  /** Use `createSimulation()`. */
  constructor(options: SimulationOptions = {}) {
    const { seed = 1, keepBytes = KEEP_BYTES } = options;
    if (!Number.isInteger(seed)) throw new RangeError(`seed ${seed} is not a whole number`);
    if (!(keepBytes >= 0)) throw new RangeError(`keepBytes ${keepBytes} is not a number of at least 0`);
    this.seed = seed;
    this.random = new SeededRandom(seed);
    this.#keepBytes = keepBytes;
    this.#directory = options.directory ?? process.env.TCPU_SIM_DIR;
    this.#onEvent = options.onEvent;
    this.#recorder = new Recorder(keepBytes, this.clock.originMs);
    if (options.capture !== undefined) this.#recorder.captureTo(options.capture);
  }

  // ----------------------------------------------------------------------------------- the network

  /**
   * A host, with a stack of its own.
   * @throws RangeError that names the bad option
   */
  host(options: HostOptions): SimHost {
    const name = options.name ?? `host${this.hosts.length + 1}`;
    this.#checkName(name);
    const host = new SimHost(name, options, { clock: this.clock, random: this.#randomOf(1 + this.hosts.length) });
    for (const [i, { w0, w1, w2, w3 }] of host.words.entries()) {
      const key = addressKey(w0, w1, w2, w3);
      const other = this.#addresses.get(key);
      if (other !== undefined) throw new RangeError(`${host.addresses[i]} of ${name} is an address of ${other.name}`);
      this.#addresses.set(key, host);
    }
    this.hosts.push(host);
    this.#routes.clear();
    return host;
  }

  /** A router, which passes packets on between its links. */
  router(options: { name?: string } = {}): SimRouter {
    const number = this.routers.length + 1;
    const name = options.name ?? `router${number}`;
    this.#checkName(name);
    const router = new SimRouter(name, number, (one) => this.#routesOf(one));
    this.routers.push(router);
    return router;
  }

  /**
   * Joins two nodes. A host takes one link, a router as many as there are.
   * @throws RangeError that names the bad option
   */
  link(a: SimHost | SimRouter, b: SimHost | SimRouter, options: LinkOptions = {}): SimLink {
    for (const node of [a, b]) {
      if (!(this.hosts as SimNode[]).includes(node) && !(this.routers as SimNode[]).includes(node)) {
        throw new RangeError('a link joins two of this simulation\'s own hosts and routers');
      }
    }
    if (a === b) throw new RangeError(`${a.name} cannot be linked to itself`);
    const link = new SimLink(a, b, options, {
      clock: this.clock, recorder: this.#recorder, seed: this.#randomOf(0x10000 + this.links.length).int32(),
    });
    a.plug(link);
    b.plug(link);
    this.links.push(link);
    this.#routes.clear();
    return link;
  }

  #checkName(name: string): void {
    for (const node of [...this.hosts, ...this.routers]) if (node.name === name) throw new RangeError(`there is a ${name} already`);
  }

  /** Randomness of one part: adding another does not change it. */
  #randomOf(part: number): SeededRandom {
    return new SeededRandom(Math.imul(this.seed, 0x9e3779b1) ^ part);
  }

  /** The shortest ways from a router to all addresses; of two of one length the link that was made first. */
  #routesOf(router: SimRouter): Map<string, SimLink> {
    let routes = this.#routes.get(router);
    if (routes !== undefined) return routes;
    routes = new Map();
    const seen = new Set<SimNode>([router]);
    const next: { node: SimNode; first: SimLink }[] = router.links.map((link) => ({ node: link.peerOf(router), first: link }));
    for (const { node, first } of next) {
      if (seen.has(node)) continue;
      seen.add(node);
      if (node instanceof SimHost) {
        for (const { w0, w1, w2, w3 } of node.words) routes.set(addressKey(w0, w1, w2, w3), first);
      } else if (node instanceof SimRouter) {
        for (const link of node.links) next.push({ node: link.peerOf(node), first });
      }
    }
    this.#routes.set(router, routes);
    return routes;
  }

  // ----------------------------------------------------------------------------------- time

  /** Virtual time since the beginning, ms. */
  get nowMs(): number {
    return this.clock.nowUs() / 1000;
  }

  /** Calls `fn` at `ms` of virtual time. What it throws, or rejects with, fails the run. */
  at(ms: number, fn: () => unknown): SimTimer {
    if (!(ms >= 0)) throw new RangeError(`at ${ms}: not a time in ms`);
    const alarm: Alarm = this.clock.alarm(() => this.#call(fn));
    alarm.set(Math.max(Math.round(ms * 1000), this.clock.nowUs()));
    return alarm;
  }

  /** Calls `fn` when `ms` of virtual time have passed, as `setTimeout()` does of real time. */
  after(ms: number, fn: () => unknown): SimTimer {
    return this.at(this.nowMs + ms, fn);
  }

  #call(fn: () => unknown): void {
    const fail = (error: unknown): void => {
      this.#failed ??= { error };
    };
    try {
      const result = fn();
      if (result instanceof Promise) result.catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  /** Resolves when `ms` of virtual time have passed. Time passes only during `run()`. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve);
    });
  }

  /**
   * Waits for something of the world outside (a file, a child process, a timer of Node's). Virtual time stands still
   * meanwhile, so that the run stays the same however long it takes.
   */
  async outside<T>(promise: Promise<T>): Promise<T> {
    this.#outside.add(promise);
    try {
      return await promise;
    } finally {
      this.#outside.delete(promise);
    }
  }

  /**
   * Runs a program: calls `body`, and moves time on from event to event until what it returned is settled. Other
   * programs that were begun before go on meanwhile, and stand still afterwards.
   *
   * @returns what `body` resolves with
   * @throws what `body` throws or rejects with, or a SimulationError; the message then tells the seed, and the path of a
   *   capture of the last packets
   */
  async run<T>(body: () => T | Promise<T>, options: RunOptions = {}): Promise<T> {
    if (this.#closed) throw new Error('the simulation is closed');
    if (this.#running) throw new Error('the simulation is running already');
    const untilMs = options.untilMs ?? this.nowMs + DAY_MS;
    if (!(untilMs >= 0)) throw new RangeError(`untilMs ${untilMs} is not a time in ms`);
    this.#running = true;
    const monitor = (error: Error): void => {
      process.stderr.write(`tcpu/sim: ${error.message}\n${this.#circumstances()}\n`);
    };
    process.on('uncaughtExceptionMonitor', monitor);
    try {
      let outcome = null as Outcome<T> | null;
      new Promise<T>((resolve) => {
        resolve(body());
      }).then((value) => {
        outcome = { value };
      }, (error: unknown) => {
        outcome = { error };
      });
      while (outcome === null) {
        await settle();
        if (outcome !== null) break;
        if (this.#failed !== null) outcome = this.#failed;
        else if (this.#outside.size > 0) await Promise.race(this.#outside).catch(() => undefined);
        else outcome = this.#step(untilMs);
      }
      this.#failed = null;
      if ('error' in outcome) throw this.#explained(outcome.error);
      return outcome.value;
    } finally {
      process.removeListener('uncaughtExceptionMonitor', monitor);
      this.#running = false;
    }
  }

  /** One event. Returns the failure of the run, or null. */
  #step(untilMs: number): Outcome<never> | null {
    const nextUs = this.clock.nextUs;
    if (nextUs === Infinity) {
      return {
        error: new SimulationError('ERR_SIM_STALLED', 'the run has not ended, and nothing is left that could happen; '
          + 'if it waits for the world outside, say so: await sim.outside(promise)'),
      };
    }
    if (nextUs > untilMs * 1000) {
      this.clock.advanceTo(Math.max(Math.round(untilMs * 1000), this.clock.nowUs()));
      return { error: new SimulationError('ERR_SIM_TIMEOUT', `the run has not ended by ${untilMs} ms of virtual time`) };
    }
    try {
      this.events++;
      this.clock.step();
      this.#onEvent?.();
    } catch (error) {
      return { error };
    }
    return null;
  }

  /**
   * Moves time on by `ms`, without the event loop: for programs on low-level sockets, whose every call is done when it
   * returns. Not during `run()`.
   */
  advance(ms: number): void {
    const stopUs = this.clock.nowUs() + Math.round(ms * 1000);
    this.runUntil(() => false, ms);
    this.clock.advanceTo(stopUs);
  }

  /**
   * Moves time on until `done()` holds, without the event loop. `done` is asked after every event.
   * @returns whether it holds: false when nothing is left to happen, or `limitMs` have passed
   */
  runUntil(done: () => boolean, limitMs = DAY_MS): boolean {
    if (this.#running) throw new Error('time is moved by run() now; wait with await sim.sleep(ms)');
    const reached = this.clock.runUntil(() => {
      this.events++;
      this.#onEvent?.();
      return this.#failed !== null || done();
    }, Math.round(limitMs * 1000));
    const failed = this.#failed as Outcome<never> | null;
    this.#failed = null;
    if (failed !== null && 'error' in failed) throw this.#explained(failed.error);
    return reached;
  }

  // ----------------------------------------------------------------------------------- what it has seen

  /** Of all packets so far, their places and times: two runs were the same when it is the same. 16 hexadecimal digits. */
  get hash(): string {
    return this.#recorder.hash;
  }

  /** Packets that were sent or arrived, at all links. */
  get packets(): number {
    return this.#recorder.packets;
  }

  /** Writes the packets that are remembered to a pcapng file. */
  save(path: string): void {
    this.#recorder.save(path);
  }

  /** For the end of a message: how to repeat it, and what can be looked at. */
  #circumstances(): string {
    const lines = [`  seed ${this.seed}, after ${this.nowMs / 1000} s of virtual time and ${this.packets} packets`];
    if (this.#keepBytes > 0 && this.#recorder.kept > 0) {
      try {
        const directory = this.#directory ?? mkdtempSync(join(tmpdir(), 'tcpu-sim-'));
        const path = join(directory, `seed-${this.seed}.pcapng`);
        this.save(path);
        lines.push(`  the last ${this.#recorder.kept} of them: ${path}`);
      } catch (error) {
        lines.push(`  the packets could not be written: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return lines.join('\n');
  }

  /** The same error, with the circumstances in its message; it keeps its class and its fields. */
  #explained(thrown: unknown): Error {
    const error = thrown instanceof Error ? thrown : new Error(`thrown: ${String(thrown)}`, { cause: thrown });
    const { message, stack } = error;
    const text = `${message}\n${this.#circumstances()}`;
    Object.defineProperty(error, 'message', { value: text, configurable: true, writable: true, enumerable: false });
    if (message !== '' && stack !== undefined) error.stack = stack.replace(message, () => text);
    return error;
  }

  /**
   * Lets go of everything, and finishes the capture. Time stands still for ever: the programs on the hosts hear nothing
   * of it.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const link of this.links) link.close();
    this.#recorder.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Makes a simulated network; it is empty.
 * @throws RangeError that names the bad option
 */
export function createSimulation(options: SimulationOptions = {}): Simulation {
  return new Simulation(options);
}
