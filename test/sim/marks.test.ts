/**
 * What loss recovery, congestion control and buffers must reach, in the simulator:
 *
 * - goodput at 1 % random loss, 100 Mbit/s and 40 ms: at least 0.9 of what Linux's TCP had on the same path
 *   (bench/linux-goodput.ts has measured it, bench/results/linux-goodput.json keeps it);
 * - no timeout under pure reordering, of up to half a round trip;
 * - a lost tail is sent again within 2 SRTT + 100 ms after the last that the sender has heard;
 * - two CUBIC flows share within 20 %;
 * - one connection with default settings fills 1 Gbit/s at 100 ms.
 */

import { readFileSync } from 'node:fs';
import t from 'tap';
import { createSimulation } from '../../lib/sim/index.ts';
import { IPPROTO_TCP, TCP_NODELAY } from '../../lib/socket.ts';
import { bulk, connectPair, infoOf } from './bulk.ts';
import { pump } from './pair.ts';

/** Share of a rate that is payload: 1448 of 1500 bytes, with timestamps. */
const PAYLOAD = 1448 / 1500;

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}

interface Recorded {
  path: { rate: string; delayMs: number; queuePackets: number; loss: number; seconds: number };
  /** `atRttMbps`: as it would be with the round trip of the path alone, without that of a busy machine. */
  linux: { congestion: string; medianMbps: number; atRttMbps: number }[];
}

t.test('goodput with 1 % of random loss, beside that of Linux', async (t) => {
  const { path, linux } = JSON.parse(readFileSync(new URL('../../bench/results/linux-goodput.json', import.meta.url), 'utf8')) as Recorded;
  t.match(path, { rate: '100Mbit', delayMs: 20, loss: 0.01 });
  for (const { congestion, medianMbps, atRttMbps } of linux) {
    const linuxMbps = Math.max(medianMbps, atRttMbps);
    const samples = [1, 2, 3, 4, 5].map((seed) => bulk({
      seed, tcp: { congestion: congestion === 'reno' ? 'newreno' : congestion }, fromMs: 0, toMs: path.seconds * 1000,
      link: { rate: path.rate, delayMs: path.delayMs, queue: { packets: path.queuePackets }, forward: { loss: path.loss } },
    }));
    const mbps = median(samples.map(({ total }) => total));
    t.comment(`${congestion}: ${mbps.toFixed(2)} Mbit/s, Linux ${linuxMbps.toFixed(2)}; timeouts ${samples.map(({ rtos }) => rtos).join(', ')}`);
    t.ok(mbps >= 0.9 * linuxMbps, `${congestion}: ${mbps.toFixed(2)} Mbit/s of Linux's ${linuxMbps.toFixed(2)}`);
  }
});

for (const share of [0.01, 0.1, 0.5]) {
  for (const ms of [2, 10, 20]) {
    t.test(`no timeout when ${share * 100} % of the packets are ${ms} ms late, of 40 ms RTT`, async (t) => {
      const { total, rtos, retransmitted, infos } = bulk({
        seed: 11, check: true, fromMs: 0, toMs: 6000,
        link: { rate: '20Mbit', delayMs: 20, queue: { packets: 200 }, forward: { reorder: { share, ms } } },
      });
      t.comment(`${total.toFixed(1)} Mbit/s of 20, ${retransmitted} of ${infos[0]!.dataSegsOut} segments sent again`);
      t.equal(rtos, 0);
      t.ok(total > 0.7 * 20 * PAYLOAD, `${total} Mbit/s`);
    });
  }
}

/** A connection that has measured its round trip, and rests; then ten segments, the last `tail` of which are lost. */
function loseTail(rttMs: number, tail: number): { waitedMs: number; allMs: number; srttMs: number; rtos: number } {
  const sim = createSimulation({ seed: rttMs + tail });
  const a = sim.host({ address: '10.0.0.1' });
  const b = sim.host({ address: '10.0.0.2' });
  const link = sim.link(a, b, { delayMs: rttMs / 2, rate: '1Gbit' });
  const [client, server] = connectPair(sim, a, b, 7000);
  client.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
  const flow = pump(client, server, 200_000);
  if (!sim.runUntil(() => flow.received === 200_000, 60_000)) throw new Error('the first part has not arrived');
  sim.advance(5 * rttMs + 500);
  let received = 0;
  const into = new Uint8Array(1 << 16);
  server.onready = () => {
    for (let n = server.recv(into, 0, into.length); n > 0; n = server.recv(into, 0, into.length)) received += n;
  };
  const before = infoOf(client);
  const segment = new Uint8Array(1448);
  for (let i = 0; i < 10; i++) {
    if (i === 10 - tail) link.down();
    if (client.send(segment, 0, segment.length) !== segment.length) throw new Error('not taken');
  }
  let { unacked } = infoOf(client);
  if (unacked < 10 * 1448) throw new Error('not all was sent at once');
  link.up();
  // The last that the sender does or hears before it must help itself.
  let heardMs = sim.nowMs;
  const again = sim.runUntil(() => {
    const info = infoOf(client);
    if (info.unacked < unacked) heardMs = sim.nowMs;
    unacked = info.unacked;
    return info.retransSegs > before.retransSegs;
  }, 60_000);
  if (!again) throw new Error('nothing was sent again');
  const waitedMs = sim.nowMs - heardMs;
  if (!sim.runUntil(() => received === 14_480, 60_000)) throw new Error('the tail has not arrived');
  const result = { waitedMs, allMs: sim.nowMs - heardMs, srttMs: before.srttMs, rtos: infoOf(client).rtos - before.rtos };
  sim.close();
  return result;
}

for (const rttMs of [10, 40, 100, 200]) {
  t.test(`a lost tail is sent again within 2 SRTT + 100 ms, at ${rttMs} ms`, async (t) => {
    for (const tail of [1, 2, 3, 5, 10]) {
      const { waitedMs, allMs, srttMs, rtos } = loseTail(rttMs, tail);
      t.ok(waitedMs <= 2 * srttMs + 100, `the last ${tail} of 10 lost: sent again after ${waitedMs.toFixed(1)} ms, SRTT ${srttMs.toFixed(1)} ms`);
      t.comment(`the last ${tail} of 10 lost: all of it there after ${allMs.toFixed(1)} ms, ${rtos} timeouts`);
    }
  });
}

t.test('two CUBIC flows share within 20 %', async (t) => {
  for (const [name, link] of [
    ['a queue of one BDP', { rate: '10Mbit', delayMs: 20, queue: { packets: 33 } }],
    ['CoDel', { rate: '10Mbit', delayMs: 20, queue: { packets: 1000, discipline: 'codel' } }],
  ] as const) {
    const ratios = [1, 2, 3, 4, 5].map((seed) => {
      const { mbps, total } = bulk({ seed, link, starts: [0, 700 + 130 * seed], fromMs: 10_000, toMs: 60_000 });
      t.comment(`${name}: ${mbps.map((one) => one.toFixed(2)).join(' and ')} Mbit/s`);
      t.ok(total > 0.85 * 10 * PAYLOAD, `${total.toFixed(2)} Mbit/s of 10`);
      return Math.min(...mbps) / Math.max(...mbps);
    });
    t.ok(median(ratios) >= 0.8, `${name}: the smaller has ${ratios.map((one) => one.toFixed(2)).join(', ')} of the greater`);
  }
});

t.test('one connection fills 1 Gbit/s at 100 ms, with default settings', async (t) => {
  // Large packets: the same bytes in flight by fewer events. The nightly run has the usual ones.
  for (const mtu of process.env.TCPU_NIGHTLY === '1' ? [9000, 1500] : [9000]) {
    const packets = Math.round(12.5e6 / mtu);
    const { total, infos, rtos } = bulk({
      memory: 128 << 20, fromMs: 6000, toMs: 10_000, link: { rate: '1Gbit', delayMs: 50, mtu, queue: { packets } },
    });
    const [info] = infos;
    const possible = 1000 * (mtu - 52) / mtu;
    t.comment(`MTU ${mtu}: ${total.toFixed(0)} Mbit/s, sndbuf ${info!.sndbuf}, window ${info!.sndWnd}, cwnd ${info!.cwnd}, ${rtos} timeouts`);
    t.ok(total >= 0.9 * possible, `MTU ${mtu}: ${total.toFixed(0)} Mbit/s`);
  }
});
