/**
 * Mutations of a live conversation against a whole stack (target.ts, attack.ts): packets that the target waits for at that
 * moment, with bits, fields, lengths and options changed, spliced, cut into fragments. Half of them have their checksums
 * put right, so that they get deep. One in eight is a step of the corpus (program.ts), mutated in turn.
 */

import t from 'tap';
import { Attack } from './attack.ts';
import { inputs, timeLimit } from './budget.ts';
import { readCorpus } from './program.ts';
import { repair } from './wire-format.ts';

const PACKETS = inputs('mutations');

t.test('mutations of a live conversation', { timeout: timeLimit(PACKETS) }, async (t) => {
  const attack = new Attack(0);
  const { target, mutator } = attack;
  const steps = readCorpus().flatMap((program) => program.steps);
  attack.watched(t, () => {
    while (attack.thrown < PACKETS) {
      const known = mutator.below(8) === 0 ? mutator.pick(steps).packet(target) : null;
      const packet = known ?? mutator.pick(target.recorded);
      let packets = mutator.below(12) === 0 ? mutator.fragments(packet) : [packet];
      const bad = packets.map((one) => {
        if (packets.length > 1 && mutator.below(4) > 0) return one;
        const mutated = mutator.mutate(one, mutator.pick(target.recorded));
        // Half of them raw; of the rest some with lengths as mutated.
        if (mutator.below(2) === 0) repair(mutated, mutator.below(4) > 0);
        return mutated;
      });
      packets = bad.filter((one) => one.length > 0);
      if (packets.length > 0) attack.throw(packets);
    }
  });
  attack.end(t);
});
