/**
 * Each state against each kind of segment and ICMP error (situations.ts): what our stack answers, the state it goes
 * to, what reaches the user, compared with RFC 9293 3.10.7 as a pure function (oracle.ts). Three times: with initial
 * numbers just below 2^31 and 2^32, and with TCP in an application. Deviations are rules with names and reasons; a rule
 * that changes nothing any more fails, too.
 */

import t from 'tap';
import { EnginePeer } from './engine-peer.ts';
import { DEVIATIONS, oracle } from './oracle.ts';
import { SITUATIONS, arrivals, bring, observe, outcomeText } from './situations.ts';
import type { SituationName } from './situations.ts';

const VARIANTS = [
  { name: 'iss 7fffff00, peer ffffff00', iss: 0x7fffff00, peerIss: 0xffffff00 },
  { name: 'iss ffffff00, peer 7fffff00', iss: 0xffffff00, peerIss: 0x7fffff00 },
  {
    name: 'in an application', iss: 0xffffff00, peerIss: 0x7fffff00,
    tcpu: { tcp: { delayedAckMs: 40 }, window: { memory: 1 << 20, rxRing: 1 << 20 } },
  },
];

t.setTimeout(120_000);
const used = new Set<string>();

async function count(name: SituationName): Promise<number> {
  const peer = new EnginePeer({});
  const s = await bring(peer, name);
  peer.close();
  return arrivals(s).length;
}

for (const name of SITUATIONS) {
  t.test(name, async (t) => {
    const n = await count(name);
    for (const variant of VARIANTS) {
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

t.test('every deviation is one', async (t) => {
  for (const rule of DEVIATIONS) t.ok(used.has(rule.name), rule.name);
});
