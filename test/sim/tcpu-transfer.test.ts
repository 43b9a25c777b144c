/**
 * The simulations of transfer.test.ts with TCP in applications, on one side or on both, with small rings
 * and memories and doorbells that come late: the same must hold, nothing may be left with
 * TCPK, and TCPK may have nothing to complain of.
 */

import t from 'tap';
import { drawTcpu } from './draw.ts';
import { seeds, transfers } from './transfers.ts';

const SEEDS = seeds(300);

t.test('every byte arrives once and in order, through rings', { timeout: Math.max(SEEDS * 1000, 110_000) }, async (t) => {
  const total = transfers(t, drawTcpu, SEEDS);
  if (total === null) return;
  t.ok(total.retransmitted! > SEEDS * 10 && total.rtos! > SEEDS / 10, 'there was something to repair');
});
