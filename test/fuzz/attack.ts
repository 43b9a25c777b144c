/**
 * Throws packets at a target (target.ts) and watches it: no exception, no hang, nothing lost in the books, the invariants
 * of every connection, and a connection that nobody forges gets its bytes. At the end all is given back.
 */

import type { Test } from 'tap';
import { SeededRandom } from '../../lib/random.ts';
import { SEED } from './budget.ts';
import { heapUsed } from './heap.ts';
import { Mutator } from './mutate.ts';
import { Target } from './target.ts';
import type { TargetLimits } from './target.ts';
import { hex } from './wire-format.ts';

/** Packets between two looks at everything, and between two sets of victims. */
const LOOK = 50;
const ROUND = 500;
/** Most processor time between two looks, ms: a hundred times what they take; garbage collection may come in between. */
const SLOW_MS = 400;

export class Attack {
  readonly seed: number;
  readonly target: Target;
  readonly mutator: Mutator;
  readonly random: SeededRandom;
  thrown = 0;
  slowestMs = 0;
  #totalMs = 0;
  #heapBefore: number;
  /** The packets since the last look but one. */
  #recent: Uint8Array[] = [];
  #cpu: NodeJS.CpuUsage;

  /** `seed` tells apart the attacks of one run. */
  constructor(seed: number, limits: TargetLimits = {}) {
    this.seed = seed;
    this.#heapBefore = heapUsed();
    this.random = new SeededRandom(SEED * 1000 + seed);
    this.mutator = new Mutator(this.random);
    this.target = new Target(SEED * 1000 + seed, limits);
    this.#cpu = process.cpuUsage();
  }

  throw(packets: readonly Uint8Array[]): void {
    for (const packet of packets) this.#recent.push(packet);
    this.target.throw(packets);
    const before = this.thrown;
    this.thrown += packets.length;
    if (Math.floor(this.thrown / LOOK) > Math.floor(before / LOOK)) this.#look();
    if (Math.floor(this.thrown / ROUND) > Math.floor(before / ROUND)) {
      this.target.talk();
      this.target.replenish();
    }
  }

  #look(): void {
    this.target.check();
    this.target.clock.advance(this.mutator.below(20_000));
    this.target.check();
    // Processor time: others may use this machine.
    const { user, system } = process.cpuUsage(this.#cpu);
    this.#cpu = process.cpuUsage();
    const ms = (user + system) / 1000;
    this.#totalMs += ms;
    if (ms > this.slowestMs) this.slowestMs = ms;
    if (ms > SLOW_MS) throw new Error(`${ms.toFixed(0)} ms of processor time for these packets`);
    if (this.#recent.length > 2 * LOOK) this.#recent.splice(0, this.#recent.length - LOOK);
  }

  /** Runs `body` and, if it throws, says what led to it. Returns whether it went well. */
  watched(t: Test, body: () => void): boolean {
    try {
      body();
      return true;
    } catch (error) {
      t.fail(`${error instanceof Error ? error.stack : String(error)}\nTCPU_FUZZ_SEED=${SEED}, attack ${this.seed}, packet ${this.thrown}; `
        + `the last ones, oldest first:\n${this.#recent.map(hex).join('\n')}`);
      return false;
    }
  }

  /** No growth: everything comes back when all is closed and every timer has passed. */
  end(t: Test): void {
    const { target } = this;
    const { stack } = target;
    const counters = stack.counters();
    t.comment(`seed ${SEED}: ${this.thrown} packets, ${(this.#totalMs * 1000 / this.thrown).toFixed(1)} µs each with all around them, `
      + `at most ${this.slowestMs.toFixed(1)} ms for ${LOOK}`);
    for (const group of ['tcp', 'ip', 'ip6', 'icmp', 'icmp6', 'udp']) t.comment(`${group} ${JSON.stringify(nonZero(counters[group]!))}`);
    this.watched(t, () => target.talk());
    target.finish(1800e6);
    t.equal(stack.tcp.connections, 0, 'no connection is left');
    t.equal(stack.tcp.timeWaits, 0, 'no TIME-WAIT is left');
    t.same(stack.ip.reassemblyUse, { datagrams: 0, blocks: 0 }, 'no fragment is left');
    t.equal(stack.memory.freeBlocks, stack.memory.blockCount, 'every block is back');
    this.#recent = [];
    const grown = (heapUsed() - this.#heapBefore) / 1048576;
    t.ok(grown < 16, `the heap has grown by ${grown.toFixed(1)} MiB`);
    target.close();
  }
}

function nonZero(counters: Record<string, number>): object {
  return Object.fromEntries(Object.entries(counters).filter(([, value]) => value !== 0));
}
