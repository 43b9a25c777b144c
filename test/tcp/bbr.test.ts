/** BBR (draft-cardwell-iccrg-bbr-congestion-control-00) on a path with one bottleneck, and its parts by themselves. */

import t from 'tap';
import { Bbr } from '../../lib/tcp/congestion/bbr.ts';
import { MaxFilter } from '../../lib/tcp/congestion/max-filter.ts';
import { Bottleneck, MSS, jain } from './bottleneck.ts';
import type { BottleneckOptions, Sender } from './bottleneck.ts';

const WIRE = 1500;

function bdp(rate: number, rttMs: number): number {
  return (rate / 8e3) * rttMs;
}

interface Result {
  path: Bottleneck;
  sender: Sender;
  bbr: Bbr;
  /** Of the rate that the link has for payload. */
  share: number;
  /** Mean and greatest time in the queue, ms, after the start. */
  meanMs: number;
  mostMs: number;
}

/** One flow; the first `startSeconds` are not counted. */
function alone(options: BottleneckOptions, startSeconds: number, seconds: number): Result {
  const path = new Bottleneck(options);
  const sender = path.add('bbr');
  path.run(startSeconds);
  const before = sender.delivered;
  let sum = 0;
  let n = 0;
  let mostMs = 0;
  path.run(seconds, () => {
    sum += path.queueMs;
    mostMs = Math.max(mostMs, path.queueMs);
    n++;
  });
  const share = ((sender.delivered - before) * 8 * (WIRE / MSS)) / seconds / options.rate;
  return { path, sender, bbr: sender.cc as Bbr, share, meanMs: sum / n, mostMs };
}

t.test('STARTUP finds the rate in a few round trips, DRAIN takes the queue away, PROBE_BW stays (4.3)', (t) => {
  const rate = 100e6;
  const path = new Bottleneck({ rate, rttMs: 40, buffer: 20 * bdp(rate, 40) });
  const sender = path.add('bbr');
  const bbr = sender.cc as Bbr;
  const seen: [string, number][] = [];
  let queueAtProbe = -1;
  path.run(3, (ms) => {
    if (seen.at(-1)?.[0] !== bbr.mode) seen.push([bbr.mode, ms]);
    if (bbr.mode === 'PROBE_BW' && queueAtProbe < 0) queueAtProbe = path.queueMs;
  });
  t.same(seen.map(([mode]) => mode), ['STARTUP', 'DRAIN', 'PROBE_BW']);
  // log2(BDP / IW) round trips to find it, three to be sure, and the queue that this has made.
  t.ok(seen[1]![1] - seen[0]![1] < 800, `STARTUP took ${seen[1]![1] - seen[0]![1]} ms`);
  t.ok(queueAtProbe < 15, `${queueAtProbe} ms of queue when DRAIN ends`);
  const payload = (rate / 8) * (MSS / WIRE);
  t.ok(Math.abs(bbr.bandwidth / payload - 1) < 0.03, `BtlBw is ${((bbr.bandwidth * 8) / 1e6).toFixed(2)} Mbit/s`);
  t.ok(bbr.minRttUs >= 40_000 && bbr.minRttUs < 40_500, `RTprop is ${bbr.minRttUs} µs`);
  t.equal(path.drops, 0);
  t.end();
});

for (const [rate, rttMs, buffers] of [[100e6, 40, 1], [100e6, 40, 8], [10e6, 20, 2], [1e9, 5, 1], [1e6, 100, 4]] as const) {
  t.test(`${rate / 1e6} Mbit/s, ${rttMs} ms, room for ${buffers} BDP: the pipe is full, the queue is not`, (t) => {
    const { path, share, meanMs, bbr, sender } = alone({ rate, rttMs, buffer: buffers * bdp(rate, rttMs) }, 5, rate > 5e8 ? 4 : 25);
    t.comment(`share ${share.toFixed(3)}, queue ${meanMs.toFixed(1)} ms, ${path.drops} drops`);
    t.ok(share > 0.95, `${share}`);
    t.ok(meanMs < Math.max(0.5 * rttMs, (8 * WIRE * 8e3) / rate), `${meanMs} ms in the queue`);
    t.equal(sender.timeouts, 0);
    t.ok(bbr.minRttUs < rttMs * 1000 + (4 * WIRE * 8e6) / rate, `RTprop ${bbr.minRttUs} µs`);
    t.end();
  });
}

for (const loss of [0.01, 0.02]) {
  t.test(`${loss * 100} % random loss does not slow it down`, (t) => {
    const rate = 100e6;
    const { share, sender, path } = alone({ rate, rttMs: 40, buffer: bdp(rate, 40), loss }, 3, 12);
    t.comment(`share ${share.toFixed(3)}, ${sender.repairs} repairs, ${path.drops} drops`);
    t.ok(share > 0.9 * (1 - loss), `${share}`);
    t.equal(sender.timeouts, 0);
    const cubic = new Bottleneck({ rate, rttMs: 40, buffer: bdp(rate, 40), loss });
    const other = cubic.add('cubic');
    cubic.run(15);
    t.ok(other.delivered < sender.delivered / 4, 'as it does CUBIC');
    t.end();
  });
}

t.test('PROBE_RTT: every ten seconds four segments for 200 ms, then on as before (4.3.5)', (t) => {
  const rate = 50e6;
  const path = new Bottleneck({ rate, rttMs: 30, buffer: 4 * bdp(rate, 30) });
  const sender = path.add('bbr');
  const bbr = sender.cc as Bbr;
  const entered: number[] = [];
  let since = 0;
  let least = Infinity;
  const lasted: number[] = [];
  let before = 0;
  path.run(60, (ms) => {
    const probing = bbr.mode === 'PROBE_RTT';
    if (probing && since === 0) {
      since = ms;
      entered.push(ms);
      before = bbr.bandwidth;
    }
    if (probing) least = Math.min(least, sender.fields.pipe);
    if (!probing && since > 0) {
      lasted.push(ms - since);
      since = 0;
      t.ok(bbr.bandwidth > 0.98 * before, 'what it sent so slowly is no measure of the path');
    }
  });
  t.ok(least > 0 && least <= 4 * MSS, `${least} bytes in flight`);
  // Sooner or later within the cycles the least round trip is seen again, and nothing need be probed.
  t.ok(entered.length >= 1 && entered.length <= 6, `${entered.length} times`);
  for (const ms of lasted) t.ok(ms >= 200 && ms < 400, `${ms} ms`);
  t.end();
});

t.test('a path that becomes longer is believed after ten seconds (4.1.2)', (t) => {
  const rate = 20e6;
  const options = { rate, rttMs: 20, buffer: 4 * bdp(rate, 60) };
  const path = new Bottleneck(options);
  const sender = path.add('bbr');
  const bbr = sender.cc as Bbr;
  path.run(5);
  t.ok(bbr.minRttUs < 21_500);
  options.rttMs = 60;
  path.run(25);
  t.ok(bbr.minRttUs > 59_000, `${bbr.minRttUs} µs`);
  const start = sender.delivered;
  path.run(10);
  const share = ((sender.delivered - start) * 8 * (WIRE / MSS)) / 10 / rate;
  t.ok(share > 0.9, `and the pipe is full again: ${share}`);
  t.end();
});

for (const [from, to] of [[20e6, 80e6], [80e6, 20e6]] as const) {
  t.test(`a path that goes from ${from / 1e6} to ${to / 1e6} Mbit/s is followed`, (t) => {
    const options = { rate: from, rttMs: 40, buffer: 2 * bdp(80e6, 40) };
    const path = new Bottleneck(options);
    const sender = path.add('bbr');
    path.run(5);
    options.rate = to;
    path.run(8);
    const start = sender.delivered;
    let queue = 0;
    path.run(5, () => {
      queue = Math.max(queue, path.queueMs);
    });
    const share = ((sender.delivered - start) * 8 * (WIRE / MSS)) / 5 / to;
    t.ok(share > 0.9, `${share}`);
    t.ok(queue < 80, `${queue} ms of queue`);
    t.end();
  });
}

t.test('a receiver that merges what comes in a millisecond', (t) => {
  const rate = 500e6;
  const { share, meanMs } = alone({ rate, rttMs: 20, buffer: 2 * bdp(rate, 20), mergeUs: 1000 }, 2, 4);
  t.ok(share > 0.93, `${share}`);
  t.ok(meanMs < 15, `${meanMs} ms`);
  t.end();
});

t.test('two flows share, whoever came first', (t) => {
  for (const seed of [1, 2, 3]) {
    const rate = 50e6;
    const path = new Bottleneck({ rate, rttMs: 40, buffer: 2 * bdp(rate, 40), seed });
    const flows = [path.add('bbr')];
    path.run(2 + seed / 3);
    flows.push(path.add('bbr'));
    path.run(15);
    const before = flows.map((flow) => flow.delivered);
    path.run(30);
    const got = flows.map((flow, i) => flow.delivered - before[i]!);
    t.ok(jain(got) > 0.97, `${got.map((bytes) => ((bytes * 8) / 30e6).toFixed(1)).join(' and ')} Mbit/s`);
    t.ok(((got[0]! + got[1]!) * 8 * (WIRE / MSS)) / 30 > 0.95 * rate);
  }
  t.end();
});

t.test('while a sender has little to send, what it measures is not taken for the path (4.1.1.4)', (t) => {
  const path = new Bottleneck({ rate: 50e6, rttMs: 40, buffer: 4 * bdp(50e6, 40) });
  const sender = path.add('bbr');
  const bbr = sender.cc as Bbr;
  path.run(3);
  const full = bbr.bandwidth;
  const sample = {
    acked: MSS, lost: 0, priorPipe: 2 * MSS, delivered: 2 * MSS, intervalUs: 40_000, priorDelivered: 0, appLimited: true, rttUs: 40_100,
  };
  for (let round = 0; round < 40; round++) {
    sample.priorDelivered = sender.fields.delivered;
    sender.fields.delivered += MSS;
    bbr.model(sender.tcb, sample);
  }
  t.equal(bbr.bandwidth, full);
  sample.appLimited = false;
  for (let round = 0; round < 40; round++) {
    sample.priorDelivered = sender.fields.delivered;
    sender.fields.delivered += MSS;
    bbr.model(sender.tcb, sample);
  }
  t.ok(bbr.bandwidth < full / 10, 'but it is when the path is what limits');
  t.end();
});

t.test('after a timeout: one segment, and the old window when the repair is over (4.2.3.5)', (t) => {
  const path = new Bottleneck({ rate: 50e6, rttMs: 40, buffer: 4 * bdp(50e6, 40) });
  const sender = path.add('bbr');
  path.run(3);
  const before = sender.fields.cwnd;
  const rate = sender.fields.pacingRate;
  sender.cc.onTimeout(sender.tcb, true, 0);
  t.equal(sender.fields.cwnd, MSS);
  sender.fields.recovery = 2;
  path.run(0.05);
  sender.fields.recovery = 0;
  path.run(0.2);
  t.ok(sender.fields.cwnd >= 0.95 * before, `${sender.fields.cwnd} after ${before}`);
  t.ok(sender.fields.pacingRate > 0.7 * rate);
  t.end();
});

t.test('the filter: the largest of ten rounds', (t) => {
  const filter = new MaxFilter();
  t.equal(filter.best, 0);
  filter.update(100, 0);
  filter.update(90, 1);
  filter.update(80, 2);
  for (let round = 3; round < 10; round++) {
    filter.update(10, round);
    t.equal(filter.best, 100, `round ${round}`);
  }
  filter.update(10, 10);
  t.equal(filter.best, 90);
  filter.update(10, 11);
  t.equal(filter.best, 80);
  filter.update(70, 11);
  filter.update(20, 11);
  filter.update(10, 12);
  t.equal(filter.best, 70);
  filter.update(5, 1000);
  t.equal(filter.best, 5, 'all are old, however long nothing was measured');
  filter.update(7, 1000);
  t.equal(filter.best, 7);
  t.end();
});
