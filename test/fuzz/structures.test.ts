/** Packets of every structure, drawn field by field (arbitraries.ts), against a whole stack (target.ts, attack.ts). */

import fc from 'fast-check';
import t from 'tap';
import { packetDraw } from './arbitraries.ts';
import { Attack } from './attack.ts';
import { SEED, inputs, timeLimit } from './budget.ts';
import { bytesOf } from './program.ts';

const PACKETS = inputs('structures');
/** Packets of one run of fast-check. */
const EACH = 8;

t.test('packets of every structure', { timeout: timeLimit(PACKETS) }, async (t) => {
  const attack = new Attack(1);
  const { target, mutator } = attack;
  attack.watched(t, () => {
    fc.assert(fc.property(fc.array(packetDraw, { minLength: EACH, maxLength: EACH }), (draws) => {
      for (const draw of draws) {
        const packet = bytesOf(draw, target);
        // The field of the checksum is 16 bits: sometimes a wrong one.
        if (mutator.below(20) === 0) packet[mutator.below(packet.length)]! ^= 1 << mutator.below(8);
        attack.throw([packet]);
      }
    }), { numRuns: Math.ceil(PACKETS / EACH), seed: SEED, endOnFailure: true, verbose: 0, includeErrorInReport: true });
  });
  attack.end(t);
});
