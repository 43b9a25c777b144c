/**
 * Fragment games (soup.ts) against a whole stack: whatever the pieces, no datagram is ever delivered that was not sent, an
 * honest one arrives once beside all the others, and what never becomes whole is given up.
 */

import t from 'tap';
import { Attack } from './attack.ts';
import { inputs, timeLimit } from './budget.ts';
import { fragmentGame, numberOfPayload } from './soup.ts';

const PACKETS = inputs('fragments');

t.test('fragment games', { timeout: timeLimit(PACKETS) }, async (t) => {
  const attack = new Attack(3);
  const { target, mutator } = attack;
  let arrived = -1;
  let delivered = 0;
  let honest = 0;
  target.ondatagram = (slab, offset, length) => {
    const number = numberOfPayload(slab, offset, length);
    if (number < 0) return;
    if (number === arrived) throw new Error(`datagram ${number} arrived twice`);
    arrived = number;
    delivered++;
  };
  let number = 0;
  attack.watched(t, () => {
    for (; attack.thrown < PACKETS; number++) {
      const game = fragmentGame(mutator, number);
      attack.throw(game.packets);
      if (!game.honest) continue;
      honest++;
      if (arrived !== number) throw new Error(`datagram ${number}, of ${game.packets.length} fragments, did not arrive`);
    }
  });
  t.comment(`${number} datagrams, ${honest} honest, ${delivered} delivered`);
  t.ok(honest > number / 5 && delivered >= honest);
  attack.end(t);
});
