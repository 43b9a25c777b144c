/** Defects that the simulations found, each in the few lines that show it. */

import t from 'tap';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { IPPROTO_TCP, SHUT_WR, TCP_NODELAY } from '../../lib/socket.ts';
import { SeededRandom } from '../../lib/random.ts';
import { script } from '../tcp/harness.ts';
import { Invariants } from './invariants.ts';
import { Pair, exchange, pump, tcbOf } from './pair.ts';
import type { Flow } from './pair.ts';

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

t.test('two stacks whose memory is full of data to send still receive', async (t) => {
  const tcp = { sndbuf: { initial: 1 << 20 }, rcvbuf: { initial: 256 << 10 } };
  const pair = new Pair({ both: { tcp, memory: 1 << 20 } });
  const flows: Flow[] = [];
  for (let i = 0; i < 10; i++) {
    const [client, server] = pair.connect(7000 + i);
    flows.push(...exchange(client, server, 300_000));
  }
  t.ok(pair.a.memory.exhausted + pair.b.memory.exhausted > 0 || pair.a.memory.freeBlocks < pair.a.memory.blockCount / 3, 'memory is short');
  pair.until(() => flows.every((flow) => flow.received === 300_000), 300e6, 'everything');
  pair.close();
});

script('what a retransmission acknowledges in the middle of a batch is kept', { memory: 1 << 20 }, (h) => {
  const s = h.passive({ sack: true });
  h.send(s, 5 * 1460);
  h.take();
  const { memory } = h.stack;
  const taken: number[] = [];
  while (memory.freeBlocks > 0) taken.push(memory.allocate());
  // Data that cannot be kept, and then what sets off a fast retransmission before the batch ends.
  h.inject(
    { flags: '.', seq: 1, ack: 1, len: 1000 },
    { flags: '.', seq: 1001, ack: 1, sack: [[1461, 4381]] },
    { flags: '.', seq: 1001, ack: 1, sack: [[1461, 5841]] },
  );
  const kept = s.available;
  const out = h.take();
  h.t.ok(out.some((segment) => segment.seq === 1 && segment.len === 1460), 'retransmitted');
  for (const segment of out) h.t.equal(segment.ack, 1 + kept);
  for (const block of taken) memory.free(block);
  s.recv(new Uint8Array(1000), 0, 1000);
  h.take();
});

t.test('blocks that a queued packet names are not used again before it has left', async (t) => {
  const pair = new Pair({ pair: { features: LINK_CSUM } });
  const [client, server] = pair.connect(7000);
  const [other, otherServer] = pair.connect(7001);
  const got: number[] = [];
  server.onready = () => {
    const buffer = new Uint8Array(2000);
    const taken = server.recv(buffer, 0, 2000);
    for (let i = 0; i < taken; i++) got.push(buffer[i]!);
  };
  client.onready = () => {
    if (client.recv(new Uint8Array(10), 0, 10) > 0) client.send(new Uint8Array(1000).fill(0x41), 0, 1000);
  };
  // In the same turn, when the answer is queued: its blocks are free, and what this one received needs one.
  other.onready = () => client.abort();
  pair.b.enter();
  server.send(new Uint8Array(1), 0, 1);
  otherServer.send(new Uint8Array(1000).fill(0x42), 0, 1000);
  pair.b.leave();
  pair.for(10_000);
  t.equal(got.length, 1000);
  t.ok(got.every((byte) => byte === 0x41), 'the bytes of one connection do not leave in a packet of another');
  t.equal(pair.a.memory.freeBlocks, pair.a.memory.blockCount - 1);
  pair.close();
});

script('data beyond a FIN is forgotten when the FIN arrives', (h) => {
  const s = h.passive({ sack: true });
  h.inject({ flags: '.', seq: 5001, ack: 1, len: 100 });
  h.take();
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  const out = h.take();
  h.t.equal(out.at(-1)!.ack, 2);
  h.t.notOk(out.at(-1)!.sack?.length, 'nothing more is reported');
  h.t.equal(h.stack.memory.freeBlocks, h.stack.memory.blockCount);
  h.t.equal(s.recv(new Uint8Array(1), 0, 1), 0);
});

script('duplicate ACKs after a timeout stand for nothing when everything counts as lost (no SACK)', (h) => {
  const s = h.passive();
  h.send(s, 4 * 1460);
  h.take();
  h.advance(1500);
  h.take();
  for (let i = 0; i < 5; i++) {
    h.inject({ flags: '.', seq: 1, ack: 1 });
    const tcb = tcbOf(h.stack);
    h.t.ok(tcb.pipe >= 0 && tcb.pipe <= tcb.cwnd, `pipe ${tcb.pipe}, cwnd ${tcb.cwnd}`);
  }
  h.t.same(h.take(), [], 'so nothing more leaves for them');
});

script('SACK blocks of an ACK that came late count too', (h) => {
  const s = h.passive({ sack: true });
  h.send(s, 8 * 1460);
  h.take();
  // A timeout: everything is lost.
  h.advance(1500);
  h.inject({ flags: '.', seq: 1, ack: 2921 });
  h.take();
  // Overtaken by the one before.
  h.inject({ flags: '.', seq: 1, ack: 1461, sack: [[8761, 10221]] });
  h.t.equal(tcbOf(h.stack).sackedBytes, 1460);
  new Invariants(h.stack, 'sender').check();
  h.take();
});
