/** Impairment: what each setting does, how much of it, and that a seed repeats it. */

import t from 'tap';
import { GSO_TCPV4 } from '../../lib/buffer/transmit-queue.ts';
import { SystemClock, VirtualClock } from '../../lib/clock.ts';
import { impair } from '../../lib/link/impair.ts';
import type { ImpairOptions } from '../../lib/link/impair.ts';
import { LINK_CSUM, LINK_TSO4, RX_FLAGS, RX_GSO_SIZE, RX_GSO_TYPE } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import type { MemoryPairOptions } from '../../lib/link/memory-pair.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { checksumRight, numbered, numberOf, RecordingHost, tcpPacket } from './harness.ts';

/** `a` sits behind the impairment, `b` on the clean end. */
function setUp(options: ImpairOptions = {}, pair: MemoryPairOptions = {}) {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair(pair);
  const link = impair(left, options);
  return { clock, link, left, a: new RecordingHost(link, clock), b: new RecordingHost(right, clock) };
}

type SetUp = ReturnType<typeof setUp>;

/** `a` sends `count` packets, one each `gapUs`; returns the numbers that `b` gets. */
function run({ clock, a, b }: SetUp, count: number, gapUs = 10, length = 100): number[] {
  for (let i = 0; i < count; i++) {
    a.send(numbered(i, length));
    clock.advance(gapUs);
  }
  clock.advance(60_000_000);
  return b.arrivals.map(({ bytes }) => numberOf(bytes));
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

t.test('without settings nothing changes, both ways, in the same call', (t) => {
  const { clock, link, a, b } = setUp();
  for (let i = 0; i < 700; i++) {
    const length = 20 + (i * 37) % 1481;
    a.send(numbered(i, length), { pieceLength: 701 });
    b.send(numbered(i, length), { pieceLength: 701 });
    clock.advance(0);
  }
  for (const host of [a, b]) {
    t.same(host.arrivals.map(({ bytes }) => numberOf(bytes)), upTo(700));
    t.ok(host.arrivals.every(({ bytes }, i) => Buffer.compare(bytes, numbered(i, 20 + (i * 37) % 1481)) === 0));
  }
  t.equal(link.paths.up.counters.passed, 700);
  t.equal(link.paths.down.counters.passed, 700);
  t.equal(link.paths.up.keptBytes, 0);
  t.equal(clock.nextUs, Infinity, 'no alarm is left');
  t.end();
});

t.test('loss and duplication come as often as asked', (t) => {
  const n = 20_000;
  const s = setUp({ seed: 3, loss: 0.1, duplicate: 0.05 });
  const got = run(s, n);
  const up = s.link.paths.up.counters;
  // Four standard deviations: sqrt(n p q) = 42 and 30.
  t.ok(Math.abs(up.lost - n * 0.1) < 170, `lost ${up.lost}`);
  t.ok(Math.abs(up.duplicated - n * 0.9 * 0.05) < 120, `duplicated ${up.duplicated}`);
  t.equal(got.length, n - up.lost + up.duplicated);
  t.equal(new Set(got).size, n - up.lost);
  t.same(got, [...got].sort((x, y) => x - y), 'in order');
  t.end();
});

t.test('directions are set apart, and can be changed on the way', (t) => {
  const { clock, link, a, b } = setUp({ loss: 1, up: { loss: 0 } });
  a.send(numbered(1, 60));
  b.send(numbered(2, 60));
  clock.advance(1000);
  t.equal(b.arrivals.length, 1);
  t.equal(a.arrivals.length, 0);
  t.equal(link.paths.down.counters.lost, 1);
  link.paths.down.loss = 0;
  link.paths.up.loss = 1;
  a.send(numbered(1, 60));
  b.send(numbered(2, 60));
  clock.advance(1000);
  t.equal(b.arrivals.length, 1);
  t.equal(a.arrivals.length, 1);
  t.end();
});

t.test('the same seed gives the same run, another one another', (t) => {
  const options = { loss: 0.1, duplicate: 0.1, corrupt: 0.1, reorder: 0.1, delayUs: 500, jitterUs: 300, rate: 50e6 };
  const record = (seed: number): string => {
    const s = setUp({ seed, ...options });
    run(s, 2000);
    return s.b.arrivals.map(({ bytes, timeUs }) => `${timeUs} ${Buffer.from(bytes).toString('base64')}`).join('\n');
  };
  const first = record(42);
  t.ok(first === record(42));
  t.ok(first !== record(43));
  t.end();
});

t.test('corruption flips as many bits as asked, and a checksum sees one', (t) => {
  const s = setUp({ corrupt: 0.5, seed: 11 });
  const packet = tcpPacket(4, { payload: numbered(0, 200) });
  for (let i = 0; i < 1000; i++) {
    s.a.send(packet);
    s.clock.advance(1);
  }
  let changed = 0;
  for (const { bytes } of s.b.arrivals) {
    let bits = 0;
    for (let i = 0; i < bytes.length; i++) for (let x = bytes[i]! ^ packet[i]!; x > 0; x &= x - 1) bits++;
    t.ok(bits <= 1, 'one bit at most') || t.bailout('more bits');
    if (bits === 1) {
      changed++;
      if (bytes[0] === packet[0] && Buffer.compare(bytes.subarray(20), packet.subarray(20)) !== 0) {
        t.notOk(checksumRight(bytes, 6)) || t.bailout('checksum holds');
      }
    }
  }
  t.equal(changed, s.link.paths.up.counters.corrupted);
  t.ok(Math.abs(changed - 500) < 64, `${changed} of 1000`);
  s.link.paths.up.corrupt = 1;
  s.link.paths.up.corruptBits = 400;
  s.b.arrivals.length = 0;
  s.a.send(packet);
  s.clock.advance(1);
  t.ok(Buffer.compare(s.b.arrivals[0]!.bytes, packet) !== 0);
  t.end();
});

t.test('delay and jitter: never earlier, never later, in order', (t) => {
  const s = setUp({ delayUs: 20_000, jitterUs: 5000, seed: 5 });
  const got = run(s, 2000, 1000);
  t.same(got, upTo(2000));
  const delays = s.b.arrivals.map(({ timeUs }, i) => timeUs - i * 1000);
  t.ok(Math.min(...delays) >= 20_000);
  t.ok(Math.max(...delays) <= 25_000);
  t.ok(Math.max(...delays) - Math.min(...delays) > 3000, 'jitter is there');
  t.end();
});

t.test('reordering by packets: held until three have passed', (t) => {
  const s = setUp({ reorder: 0.05, reorderPackets: 3, seed: 9 });
  const got = run(s, 3000);
  const up = s.link.paths.up.counters;
  t.same([...got].sort((x, y) => x - y), upTo(3000), 'nothing is lost');
  t.ok(Math.abs(up.reordered - 150) < 50, `${up.reordered}`);
  let late = 0;
  for (let i = 0, max = -1; i < got.length; i++) {
    if (got[i]! < max) late++;
    max = Math.max(max, got[i]!);
  }
  t.equal(late, up.reordered);
  t.end();
});

t.test('reordering by packets: exactly as many as asked', (t) => {
  const s = setUp({ reorder: 1, reorderPackets: 3 });
  s.a.send(numbered(0, 60));
  s.link.paths.up.reorder = 0;
  for (let i = 1; i <= 5; i++) s.a.send(numbered(i, 60));
  s.clock.advance(0);
  t.same(s.b.arrivals.map(({ bytes }) => numberOf(bytes)), [1, 2, 3, 0, 4, 5]);
  s.clock.advance(1_000_000);
  t.equal(s.b.arrivals.length, 6, 'and only once');
  t.end();
});

t.test('reordering: the last packet is not held for ever', (t) => {
  const s = setUp({ up: { reorder: 1, reorderPackets: 5 } });
  s.a.send(numbered(1, 60));
  s.clock.advance(99_999);
  t.equal(s.b.arrivals.length, 0);
  s.clock.advance(1);
  t.equal(s.b.arrivals.length, 1);
  t.end();
});

t.test('reordering by time', (t) => {
  const s = setUp({ seed: 2, reorder: 0.2, reorderUs: 35, delayUs: 100 });
  const got = run(s, 500, 10);
  t.same([...got].sort((x, y) => x - y), upTo(500));
  t.notSame(got, upTo(500));
  for (const { bytes, timeUs } of s.b.arrivals) {
    const delay = timeUs - numberOf(bytes) * 10;
    t.ok(delay === 100 || delay === 135, `delay ${delay}`) || t.bailout('wrong delay');
  }
  t.end();
});

t.test('rate: N bytes take N * 8 / rate, line after line', (t) => {
  const s = setUp({ up: { rate: 8_000_000 } });
  for (let i = 0; i < 100; i++) s.a.send(numbered(i, 1000));
  s.clock.advance(49_999);
  t.equal(s.b.arrivals.length, 49);
  s.clock.advance(50_001);
  t.same(s.b.arrivals.map(({ timeUs }) => timeUs), upTo(100).map((i) => (i + 1) * 1000));
  s.clock.advance(5000);
  s.a.send(numbered(100, 500));
  s.clock.advance(10_000);
  t.equal(s.b.arrivals[100]!.timeUs, 105_500, 'an idle line begins at once');
  t.end();
});

t.test('rate: fractions of µs add up', (t) => {
  // 100 bytes at 3 Gbit/s take 0.26666 µs.
  const s = setUp({ up: { rate: 3e9 } });
  for (let i = 0; i < 900; i++) s.a.send(numbered(i, 100));
  s.clock.advance(1000);
  t.equal(s.b.arrivals.length, 900);
  t.equal(s.b.arrivals[899]!.timeUs, 240);
  t.end();
});

t.test('a full queue drops the newest', (t) => {
  const s = setUp({ up: { rate: 8_000_000, queuePackets: 10 } });
  for (let i = 0; i < 50; i++) s.a.send(numbered(i, 1000));
  s.clock.advance(3500);
  t.equal(s.b.arrivals.length, 3);
  s.a.send(numbered(50, 1000));
  s.clock.advance(1_000_000);
  t.same(s.b.arrivals.map(({ bytes }) => numberOf(bytes)), [...upTo(11), 50], 'one on the line, ten behind it');
  t.equal(s.link.paths.up.counters.queueDrops, 39);
  t.end();
});

t.test('memory is bounded', (t) => {
  const s = setUp({ delayUs: 1_000_000, limitBytes: 100_000 });
  const got = run(s, 500, 1, 1000);
  t.ok(got.length > 70 && got.length < 100, `${got.length} kept`);
  t.equal(s.link.paths.up.counters.limitDrops, 500 - got.length);
  t.equal(s.link.paths.up.keptBytes, 0);
  t.end();
});

t.test('a link below that is full slows down without loss', (t) => {
  const s = setUp({ delayUs: 100 }, { queuePackets: 5, latencyUs: 10 });
  for (let i = 0; i < 1000; i++) s.a.send(numbered(i, 1500));
  s.clock.advance(1_000_000);
  t.same(s.b.arrivals.map(({ bytes }) => numberOf(bytes)), upTo(1000));
  t.ok(s.b.arrivals.every(({ bytes }, i) => Buffer.compare(bytes, numbered(i, 1500)) === 0), 'bytes too');
  // Once more: the memory below has been used and given back.
  for (let i = 0; i < 200; i++) s.a.send(numbered(i + 1000, 1400));
  s.clock.advance(1_000_000);
  t.ok(s.b.arrivals.slice(1000).every(({ bytes }, i) => Buffer.compare(bytes, numbered(i + 1000, 1400)) === 0));
  t.equal(s.b.arrivals.length, 1200);
  t.end();
});

t.test('features are masked, MTU and name pass', (t) => {
  const s = setUp({}, { mtu: 1234, features: LINK_CSUM | LINK_TSO4, names: ['west', 'east'] });
  t.equal(s.link.features, 0);
  t.equal(s.link.mtu, 1234);
  t.equal(s.link.name, 'west');
  t.end();
});

t.test('partial checksums from below are finished, merged packets stay marked', (t) => {
  const s = setUp({}, { features: LINK_CSUM | LINK_TSO4 });
  const packet = tcpPacket(4, { payload: numbered(0, 20_001), partial: true });
  t.notOk(checksumRight(packet, 6));
  s.b.send(packet, { pieceLength: 8192, csumStart: 20, csumOffset: 16, gsoType: GSO_TCPV4, gsoSize: 1448 });
  s.clock.advance(0);
  const { bytes, meta } = s.a.arrivals[0]!;
  t.ok(checksumRight(bytes, 6));
  t.equal(meta[RX_FLAGS], 0);
  t.equal(meta[RX_GSO_TYPE], GSO_TCPV4);
  t.equal(meta[RX_GSO_SIZE], 1448);
  t.end();
});

t.test('one packet, then many at once, then packets of 64 KB', (t) => {
  const s = setUp({ delayUs: 10 }, { mtu: 65535 });
  const lengths = [1500, ...new Array<number>(20).fill(1400), ...new Array<number>(100).fill(65535)];
  for (const [from, to] of [[0, 1], [1, 21], [21, 121]] as const) {
    for (let i = from; i < to; i++) s.a.send(numbered(i, lengths[i]!), { pieceLength: 8192 });
    s.clock.advance(1000);
  }
  t.equal(s.b.arrivals.length, lengths.length);
  t.ok(s.b.arrivals.every(({ bytes }, i) => Buffer.compare(bytes, numbered(i, lengths[i]!)) === 0));
  t.end();
});

t.test('close: nothing comes any more', (t) => {
  const s = setUp({ delayUs: 100 });
  s.a.send(numbered(1, 60));
  s.b.send(numbered(1, 60));
  s.clock.advance(50);
  s.link.close();
  s.clock.advance(1000);
  t.equal(s.a.arrivals.length, 0);
  t.equal(s.b.arrivals.length, 0);
  s.a.send(numbered(1, 60));
  t.ok(s.a.queue.empty);
  t.end();
});

t.test('a wire that calls the stack from inside its send() does not disturb the queue', (t) => {
  const clock = new VirtualClock();
  const sent: number[] = [];
  const below = new PacketLink({
    send: (packet) => {
      sent.push(numberOf(packet));
      if (sent.length < 20) {
        host.queuePacket(numbered(sent.length, 60));
        host.link.send(host.queue);
        host.queue.reclaim();
      }
    },
  });
  const host = new RecordingHost(impair(below), clock);
  host.send(numbered(0, 60));
  t.same(sent, upTo(20));
  t.end();
});

t.test('settings out of range are refused', (t) => {
  const [link] = createMemoryPair();
  t.throws(() => impair(link, { loss: 1.5 }), RangeError);
  t.throws(() => impair(link, { up: { delayUs: -1 } }), RangeError);
  t.throws(() => impair(link, { rate: NaN }), RangeError);
  t.end();
});

t.test('system clock: a delay is kept', async (t) => {
  const clock = new SystemClock();
  const [left, right] = createMemoryPair();
  const link = impair(left, { up: { delayUs: 20_000 } });
  const a = new RecordingHost(link, clock);
  const b = new RecordingHost(right, clock);
  link.ref();
  t.teardown(() => link.close());
  const startUs = clock.nowUs();
  await new Promise<void>((resolve) => {
    b.onInput = () => resolve();
    a.send(numbered(1, 60));
  });
  t.ok(clock.nowUs() - startUs >= 20_000);
});
