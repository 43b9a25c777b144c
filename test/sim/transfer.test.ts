/**
 * Two stacks over a bad network, in virtual time, hundreds of seeds: every byte arrives once and in
 * order, both ends see the end, connections end, no block of memory is lost, the invariants hold.
 * How to run more seeds, or one: transfers.ts.
 */

import t from 'tap';
import { draw } from './draw.ts';
import { seeds, transfers } from './transfers.ts';

const SEEDS = seeds(500);

t.test('every byte arrives once and in order', { timeout: Math.max(SEEDS * 1000, 110_000) }, async (t) => {
  const total = transfers(t, draw, SEEDS);
  // A network that loses nothing would prove nothing.
  if (total !== null) t.ok(total.retransmitted! > SEEDS * 10 && total.rtos! > SEEDS / 10, 'there was something to repair');
});
