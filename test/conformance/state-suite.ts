/** What state-segment.test.ts and state-segment-application.test.ts share. */

import t from 'tap';
import { EnginePeer } from './engine-peer.ts';
import { DEVIATIONS, oracle } from './oracle.ts';
import { SITUATIONS, arrivals, bring, observe, outcomeText } from './situations.ts';
import type { SituationName } from './situations.ts';
import type { Options } from '../tcp/harness.ts';

/** Rules of DEVIATIONS that changed something so far. */
export const used = new Set<string>();

async function count(name: SituationName): Promise<number> {
  const peer = new EnginePeer({});
  const s = await bring(peer, name);
  peer.close();
  return arrivals(s).length;
}

export function stateSuite(variants: (Options & { name: string })[]): void {
  t.setTimeout(120_000);
  for (const name of SITUATIONS) {
    t.test(name, async (t) => {
      const n = await count(name);
      for (const variant of variants) {
        await t.test(variant.name, async (t) => {
          for (let i = 0; i < n; i++) {
            const peer = new EnginePeer(variant);
            const s = await bring(peer, name);
            const arrival = arrivals(s)[i]!;
            const rfc = oracle(s, arrival);
            let want = rfc;
            let by = '';
            for (const rule of DEVIATIONS) {
              const instead = rule.instead(s, arrival, want);
              if (instead === null || outcomeText(instead) === outcomeText(want)) continue;
              want = instead;
              by += ` (${rule.name})`;
              used.add(rule.name);
            }
            t.equal(outcomeText(await observe(peer, s, arrival, want.reply)), outcomeText(want), `${arrival.name}${by}`);
            const left = peer.close();
            if (left !== '') t.fail(`${arrival.name}: ${left}`);
          }
        });
      }
    });
  }
}
