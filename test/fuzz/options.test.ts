/** Option soup (soup.ts): segments that live connections believe, with options of every kind, against a whole stack. */

import t from 'tap';
import { Attack } from './attack.ts';
import { inputs, timeLimit } from './budget.ts';
import { optionSoup } from './soup.ts';

const PACKETS = inputs('options');

t.test('option soup', { timeout: timeLimit(PACKETS) }, async (t) => {
  const attack = new Attack(2);
  const { target, mutator } = attack;
  attack.watched(t, () => {
    while (attack.thrown < PACKETS) {
      const tcb = target.live(mutator.below(12));
      if (tcb === null) target.replenish();
      else attack.throw([optionSoup(mutator, tcb)]);
    }
  });
  const { tcp } = target.stack;
  t.ok(tcp.counters.SackBlocksIn > PACKETS / 100, `it went deep: ${tcp.counters.SackBlocksIn} SACK blocks were looked at`);
  attack.end(t);
});
