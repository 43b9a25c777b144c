/** As state-segment.test.ts, with TCP in an application. */

import { stateSuite } from './state-suite.ts';

stateSuite([{
  name: 'in an application', iss: 0xffffff00, peerIss: 0x7fffff00,
  tcpu: { tcp: { delayedAckMs: 40 }, window: { memory: 1 << 20, rxRing: 1 << 20 } },
}]);
