/**
 * Congestion control in whole stacks: what each algorithm makes of a path of 100 Mbit/s and 40 ms, how long its queue is,
 * what loss does to it, and how flows share. (The algorithms by themselves: test/tcp/congestion.test.ts, bbr.test.ts.)
 */

import t from 'tap';
import { bulk } from './bulk.ts';
import type { Bulk } from './bulk.ts';

/** Share of a rate that is payload: 1448 of 1500 bytes, with timestamps. */
const PAYLOAD = 1448 / 1500;
/** Packets of one bandwidth-delay product of 100 Mbit/s and 40 ms. */
const BDP = 334;

function path(congestion: string, loss: number, queue: number, seconds: number, mbit = 100): Bulk {
  return bulk({
    seed: 5, tcp: { congestion }, fromMs: 3000, toMs: 3000 + seconds * 1000,
    link: { rate: `${mbit}Mbit`, delayMs: 20, queue: { packets: queue }, forward: { loss } },
  });
}

function comment(t: { comment(text: string): void }, name: string, { mbps, infos, rtos, retransmitted, link }: Bulk): void {
  const { lost, queueDrops } = link.forward.counters;
  t.comment(`${name}: ${mbps.map((one) => one.toFixed(1)).join(' and ')} Mbit/s, RTT ${infos.map(({ srttMs }) => srttMs.toFixed(1)).join(', ')} ms, `
    + `${rtos} timeouts, ${retransmitted} sent again, ${lost} lost, ${queueDrops} dropped by the queue`);
}

/** Nothing but what was lost is sent again, or little. */
function nothingInVain(t: { ok(value: boolean, text: string): void }, { retransmitted, link }: Bulk): void {
  const { lost, queueDrops } = link.forward.counters;
  t.ok(retransmitted <= (lost + queueDrops) * 1.02 + 5, `${retransmitted} sent again, ${lost} lost, ${queueDrops} dropped by the queue`);
}

for (const congestion of ['cubic', 'newreno', 'bbr']) {
  t.test(`${congestion}: the pipe is full`, async (t) => {
    const result = path(congestion, 0, BDP, 8);
    comment(t, congestion, result);
    t.ok(result.total > 0.9 * 100 * PAYLOAD, `${result.total.toFixed(1)} Mbit/s`);
    t.equal(result.rtos, 0);
    t.equal(result.infos[0]!.congestion, congestion);
    t.equal(result.infos[0]!.pacingRate > 0, congestion === 'bbr', 'paced by the model only');
    nothingInVain(t, result);
  });

  t.test(`${congestion}: two flows share`, async (t) => {
    const totals = [0, 0];
    for (const seed of [1, 2]) {
      const result = bulk({
        seed, tcp: { congestion }, starts: [0, 500 + 170 * seed], fromMs: 8000, toMs: 28_000,
        link: { rate: '20Mbit', delayMs: 20, queue: { packets: 67 } },
      });
      comment(t, congestion, result);
      result.mbps.forEach((one, i) => totals[i] += one);
      t.ok(result.jain > 0.85, `Jain's index ${result.jain.toFixed(3)}`);
      t.ok(result.total > 0.9 * 20 * PAYLOAD, `${result.total.toFixed(1)} Mbit/s`);
    }
    const share = totals[0]! / (totals[0]! + totals[1]!);
    t.ok(share > 0.38 && share < 0.62, `the first has ${(100 * share).toFixed(0)} % in all`);
  });
}

t.test('bbr: the queue is short, where losses make it long', async (t) => {
  const [bbr, cubic] = ['bbr', 'cubic'].map((congestion) => path(congestion, 0, 4 * BDP, 6, 50)) as [Bulk, Bulk];
  comment(t, 'bbr', bbr);
  comment(t, 'cubic', cubic);
  t.ok(bbr.infos[0]!.srttMs < 50, `RTT ${bbr.infos[0]!.srttMs} ms of 40`);
  t.ok(cubic.infos[0]!.srttMs > 1.5 * bbr.infos[0]!.srttMs);
  t.ok(bbr.total > 0.9 * 50 * PAYLOAD);
});

for (const loss of [0.01, 0.02]) {
  t.test(`bbr: ${loss * 100} % of random loss`, async (t) => {
    const bbr = path('bbr', loss, BDP, 9);
    const cubic = path('cubic', loss, BDP, 9);
    comment(t, 'bbr', bbr);
    comment(t, 'cubic', cubic);
    t.ok(bbr.total > 0.9 * (1 - loss) * 100 * PAYLOAD, `${bbr.total.toFixed(1)} Mbit/s`);
    t.ok(cubic.total < bbr.total / 5, `where CUBIC has ${cubic.total.toFixed(1)} Mbit/s`);
    t.equal(bbr.rtos, 0);
    t.ok(bbr.infos[0]!.srttMs < 60, `RTT ${bbr.infos[0]!.srttMs} ms`);
    nothingInVain(t, bbr);
  });
}

t.test('bbr: an application that pauses does not make it slow', async (t) => {
  // A flow in PROBE_RTT, or without data, measures itself and not the path: twelve seconds cover both.
  const result = bulk({
    seed: 9, tcp: { congestion: 'bbr' }, fromMs: 12_000, toMs: 16_000, link: { rate: '30Mbit', delayMs: 30, queue: { packets: 300 } },
  });
  comment(t, 'bbr', result);
  t.ok(result.total > 0.9 * 30 * PAYLOAD, `${result.total.toFixed(1)} Mbit/s`);
});
