/**
 * The hot path allocates nothing: 200,000 data segments in, and 200,000 ACKs in while sending, through a whole stack
 * with a link that counts. What the heap grew by, and what collections took away meanwhile, is added up and divided
 * by the packets.
 */

import t from 'tap';
import { BATCH, hotPaths, perPacket } from './paths.ts';

t.test('the measurement sees an object a packet', (t) => {
  let last: object = {};
  const bytes = perPacket(() => {
    for (let i = 0; i < BATCH; i++) last = { i };
  });
  t.ok(bytes > 16, `${bytes.toFixed(1)} bytes for { i }`);
  t.ok(last);
  t.ok(perPacket(() => {}) < 0.5, 'and nothing where there is nothing');
  t.end();
});

hotPaths(t, null);
