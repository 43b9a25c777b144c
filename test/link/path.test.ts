/** One direction of an impaired link by itself: bursts of loss, the queue before the rate, black holes, cuts, changes on the way. */

import t from 'tap';
import { ImpairedPath, PathPacket } from '../../lib/link/impaired-path.ts';
import type { PathOptions } from '../../lib/link/impaired-path.ts';
import { SeededRandom } from '../../lib/random.ts';

interface Arrival {
  number: number;
  atUs: number;
}

/** A path, and what comes out of it whenever it says that there is something. */
class Bench {
  readonly path: ImpairedPath;
  readonly arrivals: Arrival[] = [];
  /** Times that somebody looked. */
  looks = 0;
  nowUs = 0;

  constructor(options: PathOptions, seed = 1) {
    this.path = new ImpairedPath(new SeededRandom(seed), options);
  }

  send(number: number, length = 1000): number {
    const bytes = new Uint8Array(length);
    new DataView(bytes.buffer).setUint32(0, number);
    return this.path.admit(new PathPacket(bytes, 0, 0, 0), this.nowUs);
  }

  until(us: number): void {
    for (let next = this.path.nextUs; next <= us; next = this.path.nextUs) {
      if (next < this.nowUs) throw new Error(`${next} is before ${this.nowUs}`);
      this.nowUs = next;
      this.looks++;
      for (let packet = this.path.peek(next); packet !== null; packet = this.path.peek(next)) {
        this.arrivals.push({ number: new DataView(packet.bytes.buffer).getUint32(0), atUs: next });
        this.path.shift();
      }
    }
    this.nowUs = us;
  }

  /** One packet each `gapUs`, `count` of them. */
  flow(count: number, gapUs: number, length = 1000): void {
    for (let i = 0; i < count; i++) {
      this.send(i, length);
      this.until(this.nowUs + gapUs);
    }
  }
}

t.test('Gilbert-Elliott: share of loss and length of bursts', (t) => {
  const p = 0.01;
  const r = 0.25;
  const n = 100_000;
  const bench = new Bench({ burstLoss: { p, r } }, 5);
  bench.flow(n, 1);
  const share = bench.path.counters.lost / n;
  // p / (p + r) = 0.03846; bursts of 1 / r = 4.
  t.ok(share > 0.034 && share < 0.043, `${share} lost`);
  let bursts = 0;
  for (let i = 1; i < bench.arrivals.length; i++) if (bench.arrivals[i]!.number - bench.arrivals[i - 1]!.number > 1) bursts++;
  const mean = bench.path.counters.lost / bursts;
  t.ok(mean > 3.6 && mean < 4.4, `bursts of ${mean}`);
  bench.path.change({ burstLoss: null }, bench.nowUs);
  const before = bench.path.counters.lost;
  bench.flow(1000, 1);
  t.equal(bench.path.counters.lost, before, 'turned off');

  const both = new Bench({ burstLoss: { p: 0.5, r: 0.5, good: 0.1, bad: 0.3 } }, 6);
  both.flow(n, 1);
  t.ok(Math.abs(both.path.counters.lost / n - 0.2) < 0.01, `${both.path.counters.lost} of ${n}`);
  t.end();
});

t.test('a rate spaces packets, and each costs one look', (t) => {
  const bench = new Bench({ rate: 8e6, delayUs: 500 });
  for (let i = 0; i < 20; i++) t.equal(bench.send(i), 1);
  t.same(bench.path.waiting(0), { packets: 19, bytes: 19_000 }, 'one is on the line');
  bench.until(1e6);
  t.same(bench.arrivals, Array.from({ length: 20 }, (_, i) => ({ number: i, atUs: (i + 1) * 1000 + 500 })));
  t.equal(bench.looks, 20);
  t.equal(bench.path.keptBytes, 0);
  t.end();
});

t.test('the queue is bounded in packets and in bytes', (t) => {
  const packets = new Bench({ rate: 8e6, queuePackets: 3 });
  for (let i = 0; i < 10; i++) packets.send(i);
  packets.until(1e6);
  t.same(packets.arrivals.map(({ number }) => number), [0, 1, 2, 3]);
  t.equal(packets.path.counters.queueDrops, 6);

  const bytes = new Bench({ rate: 8e6, queueBytes: 2500 });
  for (let i = 0; i < 5; i++) bytes.send(i);
  t.equal(bytes.send(5, 400), 1, 'a small one finds room');
  bytes.until(1e6);
  t.same(bytes.arrivals.map(({ number }) => number), [0, 1, 2, 5]);
  t.equal(bytes.path.counters.queueDrops, 2);
  t.equal(bytes.path.keptBytes, 0);
  t.end();
});

t.test('CoDel keeps a standing queue short, and lets a burst pass', (t) => {
  // 1 % more than the line takes, for a minute: drop-tail fills up; CoDel keeps near its target.
  const longest = (discipline: 'droptail' | 'codel'): { waitUs: number; bench: Bench } => {
    const bench = new Bench({ rate: 8e6, queuePackets: 500, queueDiscipline: discipline });
    const sentUs: number[] = [];
    for (let i = 0; i < 60_000; i++) {
      sentUs.push(bench.nowUs);
      bench.send(i);
      bench.until(bench.nowUs + 990);
    }
    const late = bench.arrivals.filter(({ number }) => number > 30_000);
    return { waitUs: Math.max(...late.map(({ number, atUs }) => atUs - sentUs[number]!)), bench };
  };
  const tail = longest('droptail');
  const codel = longest('codel');
  t.ok(tail.waitUs > 490_000, `drop-tail: ${tail.waitUs} µs`);
  t.ok(codel.waitUs < 60_000, `CoDel: ${codel.waitUs} µs`);
  t.ok(codel.bench.path.counters.codelDrops > 300, `${codel.bench.path.counters.codelDrops} dropped`);
  t.equal(codel.bench.path.counters.queueDrops, 0);
  const { arrivals } = codel.bench;
  t.ok(arrivals.every(({ number }, i) => i === 0 || arrivals[i - 1]!.number < number), 'in order');

  // A burst that is gone within the interval of 100 ms loses nothing.
  const burst = new Bench({ rate: 8e6, queueDiscipline: 'codel' });
  for (let i = 0; i < 90; i++) burst.send(i);
  burst.until(1e6);
  t.equal(burst.arrivals.length, 90);
  t.equal(burst.path.counters.codelDrops, 0);
  t.equal(burst.path.keptBytes, 0);
  t.end();
});

t.test('CoDel drops by the control law', (t) => {
  // Far too much, for a second: the first drop after 100 ms above the target, then after 100 / sqrt(n) ms (RFC 8289 5.6).
  const bench = new Bench({ rate: 8e6, queuePackets: 1e6, queueDiscipline: 'codel' });
  bench.flow(2000, 500);
  bench.until(1e6);
  const gone = new Set(bench.arrivals.map(({ number }) => number));
  const last = bench.arrivals.at(-1)!.number;
  let dropped = 0;
  for (let i = 0; i < last; i++) if (!gone.has(i)) dropped++;
  // 0.11 + sum of 0.1 / sqrt(k) for k = 1 … n reaches 1 s at n = 29.
  t.ok(dropped >= 26 && dropped <= 31, `${dropped} dropped in the first second`);
  t.end();
});

t.test('a black hole takes what is too long, a cut takes all', (t) => {
  const bench = new Bench({ blackHole: 1000, delayUs: 1000 });
  t.equal(bench.send(0, 1000), 1);
  t.equal(bench.send(1, 1001), 0);
  bench.path.change({ cut: true }, 0);
  t.equal(bench.send(2, 100), 0);
  bench.until(5000);
  t.same(bench.arrivals, [{ number: 0, atUs: 1000 }], 'what was under way arrives');
  bench.path.change({ cut: false, blackHole: 0 }, 5000);
  t.equal(bench.send(3, 9000), 1);
  t.match(bench.path.counters, { blackHoleDrops: 1, cutDrops: 1, passed: 1 });
  t.end();
});

t.test('a rate that changes holds for what still waits', (t) => {
  const bench = new Bench({ rate: 8e6, delayUs: 100_000 });
  for (let i = 0; i < 10; i++) bench.send(i);
  // Three and a half have left; nobody has looked meanwhile.
  bench.nowUs = 3500;
  bench.path.change({ rate: 80e6 }, 3500);
  bench.until(1e6);
  t.same(bench.arrivals.map(({ atUs }) => atUs - 100_000), [1000, 2000, 3000, 4000, 4100, 4200, 4300, 4400, 4500, 4600]);
  bench.path.change({ rate: 8e6 }, 1e6);
  bench.send(0);
  bench.send(1);
  bench.path.change({ rate: 0 }, 1e6);
  bench.send(2);
  bench.until(2e6);
  t.same(bench.arrivals.slice(-3).map(({ number, atUs }) => [number, atUs - 1_100_000]), [[0, 1000], [1, 1000], [2, 1000]]);
  t.end();
});

t.test('settings out of range are refused, and change nothing', (t) => {
  const { path } = new Bench({ loss: 0.1 });
  for (const [options, message] of [
    [{ loss: 2 }, /loss 2 is not a probability/],
    [{ burstLoss: { p: 0.1, r: -1 } }, /burstLoss\.r -1 is not a probability/],
    [{ burstLoss: { p: 0.1 } }, /burstLoss\.r is missing/],
    [{ queueDiscipline: 'red' }, /queueDiscipline 'red' is not one of 'droptail', 'codel'/],
    [{ rate: NaN }, /rate NaN is not a number/],
    [{ blackHole: -1 }, /blackHole -1/],
  ] as const) {
    t.throws(() => path.change({ delayUs: 7, ...options } as PathOptions, 0), { name: 'RangeError', message });
  }
  t.equal(path.loss, 0.1);
  t.equal(path.delayUs, 0);
  t.end();
});
