/** Defects that the simulations found, each in the few lines that show it. */

import t from 'tap';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { IPPROTO_TCP, SHUT_WR, TCP_NODELAY } from '../../lib/socket.ts';
import { SeededRandom } from '../../lib/random.ts';
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

t.test('on a steady path a delayed ACK is no loss, and a wrong timeout cures itself', async (t) => {
  const pair = new Pair({ pair: { latencyUs: 117_000 }, both: { tcp: { timestamps: false } } });
  const [client, server] = pair.connect(7000, 4, (socket) => socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1));
  const flow = pump(client, server, 0);
  const tcb = tcbOf(pair.a);
  const bytes = new Uint8Array(100);
  // One small segment at a time: each waits for the peer's delayed ACK.
  const say = (): void => {
    client.send(bytes, 0, bytes.length);
    const received = flow.received + bytes.length;
    pair.until(() => tcb.flight === 0 && flow.received >= received);
  };
  server.onready = () => {
    const taken = server.recv(new Uint8Array(1000), 0, 1000);
    if (taken > 0) flow.received += taken;
  };
  for (let i = 0; i < 100; i++) say();
  t.equal(tcb.rtos, 0, 'no timeout without a loss');
  // A timeout that is too short (the path has become longer, say): Karn's rule forbids to measure what was repeated.
  tcb.rtoMs = 200;
  for (let i = 0; i < 20; i++) say();
  t.ok(tcb.rtos >= 1 && tcb.rtos <= 2, `${tcb.rtos} wrong timeouts, not one for each segment`);
  pair.close();
});

t.test('neighbouring seeds have nothing in common', async (t) => {
  for (let position = 0; position < 10; position++) {
    let sum = 0;
    let low = 0;
    for (let seed = 0; seed < 2000; seed++) {
      const random = new SeededRandom(seed);
      for (let i = 0; i < position; i++) random.int32();
      const value = random.unit();
      sum += value;
      if (value < 0.1) low++;
    }
    t.ok(Math.abs(sum / 2000 - 0.5) < 0.03 && low > 140 && low < 260, `draw ${position}: mean ${sum / 2000}, ${low} of 2000 below 0.1`);
  }
});
