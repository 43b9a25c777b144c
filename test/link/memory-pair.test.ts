/** The memory pair: order, batches, back-pressure, offload marks, latency, life of the process. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { CSUM_PARTIAL, GSO_TCPV4 } from '../../lib/buffer/transmit-queue.ts';
import { SystemClock, VirtualClock } from '../../lib/clock.ts';
import {
  LINK_CSUM, LINK_TSO4, RX_CSUM, RX_CSUM_OFFSET, RX_CSUM_PARTIAL, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE, RX_HEADER_LENGTH,
} from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import type { MemoryPairOptions } from '../../lib/link/memory-pair.ts';
import { numbered, numberOf, RecordingHost } from './harness.ts';

function setUp(options: MemoryPairOptions = {}) {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair(options);
  return { clock, left, right, a: new RecordingHost(left, clock), b: new RecordingHost(right, clock) };
}

t.test('packets arrive whole, in order, in one batch, and not before the clock moves', (t) => {
  const { clock, a, b } = setUp();
  const lengths = [20, 21, 47, 500, 1500, 333];
  lengths.forEach((length, i) => a.queuePacket(numbered(i, length), { headerLength: [20, 21, 40, 52, 60, 128][i]!, pieceLength: 401 }));
  a.flush();
  t.ok(a.queue.empty, 'all taken');
  t.equal(b.arrivals.length, 0);
  clock.advance(0);
  t.equal(b.batches, 1);
  t.same(b.arrivals.map(({ bytes }) => [...bytes]), lengths.map((length, i) => [...numbered(i, length)]));
  t.same(b.arrivals.map(({ meta }) => meta[RX_FLAGS]), lengths.map(() => 0));
  t.equal(a.arrivals.length, 0);
  t.end();
});

t.test('what is sent from inside input() goes the other way afterwards', (t) => {
  const { clock, a, b } = setUp();
  b.onInput = () => b.send(numbered(b.arrivals.length + 100, 60));
  a.send(numbered(1, 60));
  a.send(numbered(2, 60));
  clock.advance(0);
  t.same(b.arrivals.map(({ bytes }) => numberOf(bytes)), [1, 2]);
  t.same(a.arrivals.map(({ bytes }) => numberOf(bytes)), [102]);
  t.end();
});

t.test('latency: each packet at its time, the stamp is the arrival', (t) => {
  const { clock, a, b } = setUp({ latencyUs: 250 });
  a.send(numbered(1, 100));
  clock.advance(100);
  a.send(numbered(2, 100));
  clock.advance(149);
  t.equal(b.arrivals.length, 0);
  clock.advance(1);
  t.same(b.arrivals.map(({ timeUs }) => timeUs), [250]);
  clock.advance(1000);
  t.same(b.arrivals.map(({ timeUs }) => timeUs), [250, 350]);
  t.equal(b.batches, 2);
  t.end();
});

t.test('a full pair leaves packets in the queue and says when there is room', (t) => {
  const { clock, a, b } = setUp({ queuePackets: 10 });
  for (let i = 0; i < 25; i++) a.queuePacket(numbered(i, 80));
  a.flush();
  t.equal(a.queue.count, 15);
  t.equal(a.writableCalls, 0);
  clock.advance(0);
  t.ok(a.queue.empty);
  t.equal(a.writableCalls, 2);
  t.same(b.arrivals.map(({ bytes }) => numberOf(bytes)), Array.from({ length: 25 }, (_, i) => i));
  t.equal(a.memory.freeBlocks, a.memory.blockCount, 'no block is lost');
  t.end();
});

t.test('the byte ring wraps: a long random run arrives as it was sent', (t) => {
  const { clock, a, b, left } = setUp({ queueBytes: 8192, mtu: 1500, latencyUs: 3 });
  let x = 12345;
  const next = (n: number): number => (x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff) % n;
  const sent: Uint8Array[] = [];
  let taken = 0;
  while (sent.length < 3000) {
    for (let n = next(8); n >= 0 && a.queue.count < 20; n--) {
      const packet = numbered(sent.length, 20 + next(1480));
      if (!a.queuePacket(packet, { pieceLength: 1 + next(1400) + 200 })) break;
      sent.push(packet);
    }
    a.flush();
    clock.advance(next(3));
    // The harness gets its blocks back only when its queue runs empty.
    if (a.memory.freeBlocks < 60) clock.advance(1000);
  }
  clock.advance(1000);
  t.equal(b.arrivals.length, sent.length);
  for (; taken < sent.length; taken++) {
    if (Buffer.compare(b.arrivals[taken]!.bytes, sent[taken]!) !== 0) break;
  }
  t.equal(taken, sent.length, 'all bytes equal');
  t.ok(a.writableCalls > 10, 'it was full at times');
  t.ok(b.batches < sent.length / 1.5, `batches: ${b.batches}`);
  t.equal(left.counters.txPackets, sent.length);
  t.equal(left.counters.txTooLongDrops, 0);
  t.end();
});

t.test('more than a receive slab at once: several batches, nothing lost', (t) => {
  const { clock, a, b } = setUp({ mtu: 65535, queueBytes: 4 << 20 });
  let sent = 0;
  for (let i = 0; i < 40; i++) {
    a.send(numbered(i, 60000), { pieceLength: 8000 });
    sent++;
  }
  clock.advance(0);
  t.same(b.arrivals.map(({ bytes }) => numberOf(bytes)), Array.from({ length: sent }, (_, i) => i));
  t.ok(b.batches > 1 && b.batches < 10, `${b.batches} batches`);
  t.end();
});

t.test('offloads: super-segments and partial checksums cross as they are, marked', (t) => {
  const { clock, a, b, left } = setUp({ features: LINK_CSUM | LINK_TSO4 });
  t.equal(left.features, LINK_CSUM | LINK_TSO4);
  const bytes = numbered(7, 30_000);
  a.send(bytes, { headerLength: 52, pieceLength: 8192, csumStart: 20, csumOffset: 16, gsoType: GSO_TCPV4, gsoSize: 1448 });
  a.send(numbered(8, 100), { headerLength: 40 });
  clock.advance(0);
  t.same([...b.arrivals[0]!.bytes], [...bytes]);
  const { meta } = b.arrivals[0]!;
  t.equal(CSUM_PARTIAL, 1);
  t.equal(meta[RX_FLAGS], RX_CSUM_PARTIAL);
  t.equal(meta[RX_GSO_TYPE], GSO_TCPV4);
  t.equal(meta[RX_GSO_SIZE], 1448);
  t.equal(meta[RX_HEADER_LENGTH], 52);
  t.equal(meta[RX_CSUM], 20);
  t.equal(meta[RX_CSUM_OFFSET], 16);
  t.equal(b.arrivals[1]!.meta[RX_FLAGS], 0);
  t.equal(b.arrivals[1]!.meta[RX_GSO_TYPE], 0);
  t.end();
});

t.test('a packet beyond the MTU is dropped and counted', (t) => {
  const { clock, a, b, left } = setUp({ mtu: 1400 });
  a.send(numbered(1, 1400));
  a.send(numbered(2, 1401));
  clock.advance(0);
  t.same(b.arrivals.map(({ bytes }) => numberOf(bytes)), [1]);
  t.equal(left.counters.txTooLongDrops, 1);
  left.mtu = 1500;
  a.send(numbered(3, 1500));
  clock.advance(0);
  t.equal(b.arrivals.length, 2);
  t.end();
});

t.test('before the peer is attached packets wait for it', (t) => {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair({ queuePackets: 2 });
  const a = new RecordingHost(left, clock);
  for (let i = 0; i < 3; i++) a.send(numbered(i, 60));
  clock.advance(1000);
  t.equal(a.queue.count, 1);
  const b = new RecordingHost(right, clock);
  clock.advance(0);
  t.same(b.arrivals.map(({ bytes }) => numberOf(bytes)), [0, 1, 2]);
  t.end();
});

t.test('close: what was sent arrives, what was coming is lost, the peer drains', (t) => {
  const { clock, a, b, left, right } = setUp({ queuePackets: 2 });
  a.send(numbered(1, 60));
  for (let i = 0; i < 3; i++) b.send(numbered(i, 60));
  t.equal(b.queue.count, 1);
  left.close();
  left.close();
  clock.advance(0);
  t.same(b.arrivals.map(({ bytes }) => numberOf(bytes)), [1]);
  t.equal(a.arrivals.length, 0);
  t.ok(b.queue.empty, 'a blocked peer goes on');
  t.equal(right.counters.txClosedDrops, 3);
  b.send(numbered(9, 60));
  t.ok(b.queue.empty);
  t.equal(right.counters.txClosedDrops, 4);
  t.end();
});

t.test('system clock: without latency packets do not wait for a timer', async (t) => {
  const clock = new SystemClock();
  const [left, right] = createMemoryPair();
  const a = new RecordingHost(left, clock);
  const b = new RecordingHost(right, clock);
  left.ref();
  t.teardown(() => left.unref());
  const rounds = 300;
  const startUs = clock.nowUs();
  b.onInput = () => b.send(numbered(b.arrivals.length, 60));
  await new Promise<void>((resolve) => {
    a.onInput = () => {
      if (a.arrivals.length === rounds) resolve();
      else a.send(numbered(a.arrivals.length, 60));
    };
    a.send(numbered(0, 60));
    t.equal(b.arrivals.length, 0, 'not inside send()');
  });
  // With 1 ms alarms this would take 600 ms at least.
  const tookMs = (clock.nowUs() - startUs) / 1000;
  t.ok(tookMs < 500, `${rounds} round trips in ${tookMs.toFixed(1)} ms`);
});

t.test('only a ref keeps the process alive', (t) => {
  const program = (body: string): ReturnType<typeof spawnSync> => spawnSync(process.execPath, [
    '--import=tsx', '--input-type=module', '-e', `
      import { createMemoryPair } from './lib/link/memory-pair.ts';
      import { SystemClock } from './lib/clock.ts';
      import { RecordingHost, numbered } from './test/link/harness.ts';
      const clock = new SystemClock();
      const [left, right] = createMemoryPair({ latencyUs: 20_000 });
      const a = new RecordingHost(left, clock), b = new RecordingHost(right, clock);
      ${body}`,
  ], { cwd: fileURLToPath(new URL('../..', import.meta.url)), encoding: 'utf8', timeout: 20_000 });
  const without = program(`b.onInput = () => console.log('arrived'); a.send(numbered(1, 60));`);
  t.equal(without.status, 0);
  t.equal(without.stdout, '', 'it ended before the packet arrived');
  const withRef = program(`right.ref(); b.onInput = () => { console.log('arrived'); right.unref(); }; a.send(numbered(1, 60));`);
  t.equal(withRef.status, 0, String(withRef.stderr));
  t.equal(withRef.stdout, 'arrived\n', 'and it ends when the ref is gone');
  t.end();
});
