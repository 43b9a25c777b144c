/** The seeds after those of scenarios.test.ts, in a process of their own. */

import t from 'tap';
import { scenarios } from './scenarios.ts';
import { seeds } from './transfers.ts';

const SEEDS = seeds(600);

t.test('every byte arrives once and in order', { timeout: Math.max(SEEDS * 1000, 110_000) }, async (t) => scenarios(t, 1_000_001, SEEDS));
