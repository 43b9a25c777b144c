/**
 * Grows the corpus, guided by coverage: programs (program.ts) are mutated, and those that reach places of the engine which
 * none reached before are kept. What fails is printed as a program and ends the run with 1.
 *
 *     node --import=tsx test/fuzz/grow.ts --minutes 10          grows corpus/programs.txt
 *     node --import=tsx test/fuzz/grow.ts --minutes 0           only tells what the corpus reaches
 *
 * Each program runs on a target of its own, so that it means the same when it is run again. At the end the corpus is cut
 * down to programs that still add something, short ones first.
 */

import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import fc from 'fast-check';
import { SeededRandom } from '../../lib/random.ts';
import { packetDraw } from './arbitraries.ts';
import { Coverage } from './coverage.ts';
import { Mutator } from './mutate.ts';
import { CORPUS, Step, bytesOf, formatPrograms, readCorpus, runProgram, stepOf } from './program.ts';
import type { Program } from './program.ts';
import { fragmentGame, optionSoup } from './soup.ts';
import { Target } from './target.ts';
import { repair } from './wire-format.ts';

/** The engine and IP: what packets can reach. */
const WANTED = /\/lib\/(ip|tcp|home|kernel|wire|buffer)\//;
/** All targets of programs are alike. */
const TARGET_SEED = 1;
/** Programs that share a target while it is found out whether they may be of use. */
const EACH = 50;
/** Most steps of a program. */
const MOST_STEPS = 16;

class Grower {
  readonly mutator: Mutator;
  readonly coverage = new Coverage((url) => WANTED.test(url));
  readonly programs: Program[] = [];
  runs = 0;
  failures: Program[] = [];
  /** A target from whose conversation new steps are taken. */
  #source = new Target(TARGET_SEED);
  /** The one that `consider` tries programs on. */
  #used = new Target(TARGET_SEED);

  constructor(seed: number) {
    this.mutator = new Mutator(new SeededRandom(seed));
  }

  /** Runs a program on `target`; returns the places it reached. */
  #runOn(target: Target, program: Program): string[] {
    this.runs++;
    this.coverage.look();
    try {
      runProgram(target, program);
      target.clock.advance(5e6);
      target.check();
      const places = this.coverage.look();
      target.talk();
      return places;
    } catch (error) {
      this.failures.push({ ...program, why: String(error).split('\n')[0]! });
      return [];
    }
  }

  /** Runs a program on a target of its own. */
  run(program: Program): string[] {
    const target = new Target(TARGET_SEED);
    const places = this.#runOn(target, program);
    target.close();
    return places;
  }

  /** Keeps the program when it reaches something new. A target that others have used tells quicker whether it may. */
  consider(program: Program): boolean {
    if (this.runs % EACH === 0) {
      this.#used.close();
      this.#used = new Target(TARGET_SEED);
    } else {
      this.#used.replenish();
    }
    const { seen } = this.coverage;
    if (this.#runOn(this.#used, program).every((place) => seen.has(place))) return false;
    const fresh = this.coverage.add(this.run(program));
    if (fresh.length === 0) return false;
    this.programs.push({ why: program.why !== '' ? program.why : `reaches ${fresh[0]!.split(' ').slice(0, 2).join(' ')}`, steps: program.steps });
    return true;
  }

  /** A step that no program has yet. */
  #fresh(): Step[] {
    const m = this.mutator;
    const target = this.#source;
    if (m.below(200) === 0) target.replenish();
    const wait = m.pick([0, 0, 0, 1000, 50_000, 250_000]);
    switch (m.below(5)) {
      case 0: {
        const tcb = target.live(m.below(12));
        return tcb === null ? [] : [stepOf(target, optionSoup(m, tcb), true, wait)];
      }
      case 1:
        return fragmentGame(m, m.below(1 << 30)).packets.slice(0, 8).map((packet) => new Step(-1, false, 0, packet));
      case 2: {
        const [draw] = fc.sample(packetDraw, { numRuns: 1, seed: m.below(0x7fffffff) });
        return [stepOf(target, bytesOf(draw!, target), m.below(4) > 0, wait)];
      }
      default: {
        const packet = m.pick(target.recorded);
        const mutated = m.below(4) === 0 ? packet.slice() : m.mutate(packet, m.pick(target.recorded));
        if (mutated.length === 0) return [];
        const fix = m.below(4) > 0;
        if (fix) repair(mutated, m.below(2) === 0);
        return [stepOf(target, mutated, fix, wait)];
      }
    }
  }

  /** Some program, changed, or a new one. */
  next(): Program {
    const m = this.mutator;
    const from = this.programs.length === 0 || m.below(6) === 0 ? [] : m.pick(this.programs).steps;
    const steps = [...from];
    for (let n = 1 + m.below(4); n > 0; n--) {
      const at = m.below(steps.length + 1);
      switch (steps.length === 0 ? 0 : m.below(6)) {
        case 0:
        case 1:
          steps.splice(at, 0, ...this.#fresh());
          break;
        case 2:
          steps.splice(at, 1);
          break;
        case 3: {
          const other = this.programs.length > 0 ? m.pick(this.programs).steps : steps;
          const first = m.below(other.length);
          steps.splice(at, 0, ...other.slice(first, first + 1 + m.below(4)));
          break;
        }
        default: {
          const i = m.below(steps.length);
          const { live, fix, waitUs, bytes } = steps[i]!;
          const mutated = m.mutate(bytes, m.pick(steps).bytes);
          if (mutated.length === 0 || mutated.length > 2000) break;
          steps[i] = new Step(m.below(4) === 0 ? m.below(12) : live, fix, m.below(4) === 0 ? m.pick([0, 1000, 250_000, 2e6]) : waitUs, mutated);
        }
      }
    }
    return { why: '', steps: steps.slice(0, MOST_STEPS) };
  }

  /** The programs that add something, those that add most for their length first. */
  reduced(mostPrograms: number): Program[] {
    const reached = this.programs.map((program) => ({
      program, places: new Set(this.run(program)), size: Math.sqrt(formatPrograms([program]).length),
    }));
    const kept: Program[] = [];
    const covered = new Set<string>();
    for (;;) {
      let best: (typeof reached)[number] | undefined;
      let most = 0;
      for (const one of reached) {
        let adds = 0;
        for (const place of one.places) if (!covered.has(place)) adds++;
        // Short ones are quicker, and take less room.
        adds /= one.size;
        if (adds > most) {
          most = adds;
          best = one;
        }
      }
      if (best === undefined || kept.length === mostPrograms) return kept;
      const shorter = this.#shortened(best.program, [...best.places].filter((place) => !covered.has(place)));
      kept.push(shorter.program);
      for (const place of shorter.places) covered.add(place);
      best.places.clear();
    }
  }

  /** Leaves steps out as long as the program still reaches `needed`. */
  #shortened(program: Program, needed: readonly string[]): { program: Program; places: string[] } {
    let steps = program.steps;
    let places = this.run(program);
    for (let i = steps.length - 1; i >= 0 && steps.length > 1; i--) {
      const without = steps.filter((_, at) => at !== i);
      const reached = this.run({ why: '', steps: without });
      const there = new Set(reached);
      if (!needed.every((place) => there.has(place))) continue;
      steps = without;
      places = reached;
    }
    return { program: { why: program.why, steps }, places };
  }
}

const program = new Command('test/fuzz/grow.ts')
  .description('Grows the corpus of attacks, guided by V8\'s coverage.')
  .option('--minutes <n>', 'how long', '1')
  .option('--seed <n>', 'of the mutations', `${Math.floor(Date.now() / 1000)}`)
  .option('--most <n>', 'programs that the corpus may have', '200')
  .parse();
const options = program.opts<{ minutes: string; seed: string; most: string }>();
const grower = new Grower(Number(options.seed));
for (const one of readCorpus()) grower.consider(one);
console.log(`seed ${options.seed}: ${grower.programs.length} programs reach ${grower.coverage.seen.size} places in ${grower.coverage.blocks} blocks`);
const end = performance.now() + Number(options.minutes) * 60_000;
let told = performance.now();
while (performance.now() < end && grower.failures.length === 0) {
  grower.consider(grower.next());
  if (performance.now() - told > 10_000) {
    told = performance.now();
    console.log(`${grower.runs} runs, ${grower.programs.length} programs, ${grower.coverage.seen.size} places in ${grower.coverage.blocks} blocks`);
  }
}
if (grower.failures.length > 0) {
  console.log(`FAILED:\n${formatPrograms(grower.failures)}`);
  process.exitCode = 1;
} else if (Number(options.minutes) > 0) {
  const kept = grower.reduced(Number(options.most));
  writeFileSync(CORPUS, formatPrograms(kept));
  console.log(`${grower.runs} runs; ${kept.length} programs are kept, ${grower.coverage.blocks} blocks`);
}
grower.coverage.close();
