/**
 * What one peer may send at once fits into the receive ring, however small that is, whatever the segments are
 * like, and when nobody is awake.
 */

import t from 'tap';
import { MIN_RX_RING } from '../../lib/channel/window.ts';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { Pair, pump } from '../sim/pair.ts';

const BYTES = 3_000_000;

const kinds: [string, number, number][] = [
  ['plain segments', 0, 1500], ['small segments', 0, 600], ['merged segments', LINK_CSUM | LINK_TSO4, 1500],
];

for (const rxRing of [MIN_RX_RING, 512 << 10, 1 << 20]) {
  for (const [name, features, mtu] of kinds) {
    for (const appWakesUs of [0, 20_000]) {
      t.test(`a ring of ${rxRing >> 10} KiB, ${name}, awake after ${appWakesUs / 1000} ms`, async (t) => {
        const pair = new Pair({ pair: { features, mtu, queuePackets: 8192 }, tcpu: { window: { rxRing }, appWakesUs } });
        const [client, server] = pair.connect();
        const flow = pump(client, server, BYTES);
        pair.until(() => flow.received === BYTES, 600e6, 'everything');
        const { InRingFull } = pair.b.application!.counters;
        t.equal(InRingFull, 0, 'the ring is never full');
        t.equal(pair.a.tcp.counters.RetransSegs, 0, 'nothing is sent twice');
        pair.close();
      });
    }
  }
}
