/**
 * Each state against each kind of segment and ICMP error (situations.ts): what our stack answers, the state it goes
 * to, what reaches the user, compared with RFC 9293 3.10.7 as a pure function (oracle.ts), with initial numbers just below
 * 2^31 and 2^32. Deviations are rules with names and reasons; a rule that changes nothing any more fails, too.
 */

import t from 'tap';
import { DEVIATIONS } from './oracle.ts';
import { stateSuite, used } from './state-suite.ts';

stateSuite([
  { name: 'iss 7fffff00, peer ffffff00', iss: 0x7fffff00, peerIss: 0xffffff00 },
  { name: 'iss ffffff00, peer 7fffff00', iss: 0xffffff00, peerIss: 0x7fffff00 },
]);

t.test('every deviation is one', async (t) => {
  for (const rule of DEVIATIONS) t.ok(used.has(rule.name), rule.name);
});
