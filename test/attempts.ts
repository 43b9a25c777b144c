/**
 * Measurements in real time, on machines that others use as well: one that is spoilt is made again; what is really too
 * slow, too late or too much is so each time. Only for what depends on time: everything else must hold at once.
 */

import type { Test } from 'tap';

export const ATTEMPTS = 3;

/** Passes when `measure` finds nothing amiss (''), once in `ATTEMPTS` times; else fails with what it found last. */
export async function measured(t: Test, name: string, measure: () => string | Promise<string>): Promise<void> {
  for (let left = ATTEMPTS; ; left--) {
    const amiss = await measure();
    if (amiss === '' || left === 1) {
      t.equal(amiss, '', name);
      return;
    }
    t.comment(`${name}: ${amiss}; measured again`);
  }
}

/** '' for a value from `least` to `most`, or what is amiss with it. */
export function between(value: number, least: number, most = Infinity): string {
  return value >= least && value <= most ? '' : `${value} is not from ${least} to ${most}`;
}
