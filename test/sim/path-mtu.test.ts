/**
 * Paths that carry less than their ends believe, in virtual time: nobody is told (a black hole), from the beginning or
 * in the middle of a transfer. What arrives is what was sent; the invariants of the TCBs hold all the time.
 */

import t from 'tap';
import { impair } from '../../lib/link/impair.ts';
import type { Impairment } from '../../lib/link/impair.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { IPPROTO_TCP, TCP_INFO } from '../../lib/socket.ts';
import type { TcpInfo } from '../../lib/socket.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import { Pair, pump } from './pair.ts';

interface Case {
  mtu?: number;
  hole: number;
  loss?: number;
  tcp?: TcpOptions;
  tcpu?: boolean;
  version?: 4 | 6;
  /** When the hole comes, s. Default: it is there. */
  at?: number;
}

function run({ mtu = 1500, hole, loss = 0, tcp = {}, tcpu = false, version = 4, at = 0 }: Case, seconds = 12) {
  let link!: Impairment;
  const pair = new Pair({
    links: (clock) => {
      const [left, right] = createMemoryPair({ clock, latencyUs: 1, mtu });
      link = impair(left, { delayUs: 5000, up: { rate: 10e6, queuePackets: 100, blackHole: at === 0 ? hole : 0, loss } });
      return [link, right];
    },
    both: { tcp }, tcpu,
  });
  const [client, server] = pair.connect(7000, version);
  const flow = pump(client, server);
  if (at > 0) {
    pair.for(at * 1e6);
    link.paths.up.change({ blackHole: hole }, pair.clock.nowUs());
  }
  const before = flow.received;
  let resumedMs = 0;
  const startUs = pair.clock.nowUs();
  pair.until(() => flow.received > before + 100_000, 30e6, 'data behind the black hole');
  resumedMs = (pair.clock.nowUs() - startUs) / 1000;
  pair.for(seconds * 1e6);
  const info = client.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
  const counters = pair.a.tcp.counters;
  pair.close();
  return { info, counters, resumedMs, size: info.sndMss + (version === 4 ? 40 : 60) + (info.timestamps ? 12 : 0), received: flow.received };
}

for (const one of [
  { hole: 1280 }, { hole: 1400 }, { hole: 1492 }, { hole: 1337 }, { hole: 1280, tcpu: true }, { hole: 1400, version: 6 },
  { hole: 1280, version: 6 }, { hole: 1400, tcp: { timestamps: false } }, { hole: 4000, mtu: 9000 }, { hole: 1400, at: 2 },
] as Case[]) {
  t.test(`a black hole: ${JSON.stringify(one)}`, async (t) => {
    const { info, counters, resumedMs, size } = run(one);
    t.comment(`${size} bytes; went on after ${resumedMs.toFixed(0)} ms; ${counters.MtuProbes} probes, ${info.retransSegs} sent again`);
    t.equal(counters.MtuBlackHoles, 1);
    t.ok(size <= one.hole && size > one.hole - 8, `packets of ${size} bytes`);
    t.ok(resumedMs < 4000, `${resumedMs} ms`);
  });
}

t.test('with loss beside', async (t) => {
  const { counters, size } = run({ hole: 1400, loss: 0.005 }, 30);
  t.comment(`${size} bytes, ${counters.MtuProbes} probes, ${counters.MtuProbesLost} sizes given up`);
  t.ok(size <= 1400 && size >= 1280, `packets of ${size} bytes`);
});

t.test('a search from the base upwards, where nothing is wrong', async (t) => {
  const { counters, size, info } = run({ hole: 0, tcp: { mtuProbing: 'on' } });
  t.equal(size, 1500);
  t.equal(counters.MtuBlackHoles, 0);
  t.ok(counters.MtuProbes >= 1 && counters.MtuProbes <= 3, `${counters.MtuProbes} probes`);
  t.equal(info.rtos, 0);
});

t.test('a search from the base upwards, in a black hole: nobody waits for a timer', async (t) => {
  const { size, info, resumedMs } = run({ hole: 1400, tcp: { mtuProbing: 'on' } });
  t.equal(size, 1400);
  t.equal(info.rtos, 0);
  t.ok(resumedMs < 1000, `${resumedMs} ms`);
});
