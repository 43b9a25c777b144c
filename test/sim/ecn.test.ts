/**
 * Congestion marks instead of losses, in virtual time: a bottleneck of 20 Mbit/s and 40 ms fills up and marks, and the
 * link is used as well as with losses, without anything being sent twice.
 */

import t from 'tap';
import { impair } from '../../lib/link/impair.ts';
import type { Impairment } from '../../lib/link/impair.ts';
import type { PathOptions } from '../../lib/link/impaired-path.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { IPPROTO_TCP, TCP_INFO } from '../../lib/socket.ts';
import type { TcpInfo } from '../../lib/socket.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import { Pair, pump } from './pair.ts';

const RATE = 20e6;
/** One bandwidth-delay product. */
const QUEUE = 70;
const SECONDS = 6;

function measure(path: PathOptions, tcp: TcpOptions, tcpu = false) {
  let link!: Impairment;
  const pair = new Pair({
    links: (clock) => {
      const [left, right] = createMemoryPair({ clock, latencyUs: 1 });
      link = impair(left, { delayUs: 20_000, up: { rate: RATE, queuePackets: 2 * QUEUE, ...path } });
      return [link, right];
    },
    both: { tcp }, tcpu,
  });
  const [client, server] = pair.connect();
  const flow = pump(client, server);
  pair.for(SECONDS * 1e6);
  const result = {
    mbps: (flow.received * 8) / SECONDS / 1e6, info: client.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo,
    path: link.paths.up.counters, sender: pair.a.tcp.counters, receiver: pair.b.tcp.counters,
  };
  pair.close();
  return result;
}

for (const congestion of ['cubic', 'newreno']) {
  for (const tcpu of [false, true]) {
    t.test(`${congestion}${tcpu ? ', TCPU' : ''}: a queue that marks`, async (t) => {
      const { mbps, info, path, sender, receiver } = measure({ ecn: true, ecnPackets: 20 }, { congestion, ecn: 'on' }, tcpu);
      t.comment(`${mbps.toFixed(1)} Mbit/s, ${path.marked} marked, ${sender.EcnReductions} reductions, SRTT ${info.srttMs.toFixed(0)} ms`);
      t.equal(info.ecn, true);
      t.equal(path.queueDrops, 0, 'nothing is dropped');
      t.equal(info.retransSegs, 0, 'nothing is sent again');
      t.equal(receiver.EcnMarksIn > 0 && receiver.EcnMarksIn <= path.marked, true, 'marks arrive');
      t.ok(sender.EcnReductions >= 1 && sender.EcnReductions <= path.marked, `${sender.EcnReductions} reductions`);
      t.ok(mbps > 0.75 * (RATE / 1e6), `${mbps} Mbit/s`);
    });
  }

  t.test(`${congestion}: marks at random, as often as packets would be lost`, async (t) => {
    const options = { congestion, ecn: 'on' as const };
    const marked = measure({ loss: 0.002, ecn: true }, options);
    const lost = measure({ loss: 0.002 }, options);
    t.comment(`${marked.mbps.toFixed(1)} Mbit/s with ${marked.path.marked} marks, ${lost.mbps.toFixed(1)} with ${lost.path.lost} losses`);
    t.equal(marked.path.lost, 0, 'marks take the place of losses');
    t.equal(marked.info.retransSegs, marked.path.queueDrops);
    t.ok(marked.sender.EcnReductions > 0);
    t.ok(marked.mbps > 0.7 * lost.mbps, 'a mark costs no more than a loss');
  });
}

t.test('CoDel marks, and the queue stays short', async (t) => {
  const { info, path, mbps } = measure({ ecn: true, queueDiscipline: 'codel' }, { ecn: 'on' });
  t.comment(`${mbps.toFixed(1)} Mbit/s, ${path.marked} marked, SRTT ${info.srttMs.toFixed(0)} ms`);
  t.equal(path.codelDrops, 0);
  t.ok(path.marked > 0);
  t.ok(mbps > 0.7 * (RATE / 1e6), `${mbps} Mbit/s`);
});

t.test('who does not agree to ECN is not marked, and loses', async (t) => {
  const { info, path, sender } = measure({ ecn: true, ecnPackets: 20 }, { ecn: 'off' });
  t.equal(path.marked, 0);
  t.ok(path.queueDrops > 0 && info.retransSegs > 0);
  t.equal(sender.EcnReductions, 0);
});
