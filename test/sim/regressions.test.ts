/** Defects that the simulations found, each in the few lines that show it. */

import t from 'tap';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { SHUT_WR } from '../../lib/socket.ts';
import { Pair, pump, tcbOf } from './pair.ts';

t.test('a FIN leaves when more is in flight than the congestion window has', async (t) => {
  const pair = new Pair({ pair: { latencyUs: 20_000 } });
  const [client, server] = pair.connect();
  const flow = pump(client, server, 8000);
  const tcb = tcbOf(pair.a);
  t.equal(tcb.flight, 8000);
  // As a loss would have it.
  tcb.cwnd = 2 * tcb.sndMss;
  const before = tcb.sndNxt;
  client.shutdown(SHUT_WR);
  t.ok(((tcb.sndNxt - before) | 0) >= 0, 'sndNxt does not move back');
  pair.until(() => flow.ended, 5e6, 'the end of the stream');
  t.equal(flow.received, 8000);
  pair.close();
});

t.test('after an idle time the first flight is an initial window, not the old congestion window', async (t) => {
  const tcp = { sndbuf: { initial: 1 << 20 }, rcvbuf: { initial: 1 << 20 } };
  const pair = new Pair({ pair: { latencyUs: 20_000, features: LINK_CSUM | LINK_TSO4 }, both: { tcp } });
  const [client, server] = pair.connect();
  const first = pump(client, server, 500_000);
  pair.until(() => first.received === 500_000);
  const tcb = tcbOf(pair.a);
  t.ok(tcb.cwnd > 100_000, `the window has grown to ${tcb.cwnd}`);
  pair.for(10e6);
  pump(client, server, 400_000);
  t.ok(tcb.flight <= 10 * 1460, `${tcb.flight} bytes leave at once`);
  pair.close();
});
