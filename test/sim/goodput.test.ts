/**
 * Goodput over a path of 100 Mbit/s and 40 ms: what the link gives where nothing is lost, and with random
 * loss at least what Mathis et al. (1997) say of Reno: MSS / RTT × 1.22 / sqrt(p). Nothing is sent twice in
 * vain. (The table: goodput.ts.)
 */

import t from 'tap';
import { PATH, measure } from './goodput.ts';

const MSS = 1448;
const RTT = 0.04;

for (const congestion of ['cubic', 'newreno']) {
  t.test(`${congestion}, nothing lost but what the queue drops`, async (t) => {
    const { mbps, info, duplicates, queueDrops } = measure(PATH, congestion, 15);
    t.comment(`${mbps.toFixed(1)} Mbit/s, ${info.rtos} timeouts, ${info.fastRetransmits} recoveries, ${queueDrops} dropped by the queue`);
    t.ok(mbps > 85 && mbps < 100 * (MSS / 1500), `${mbps} Mbit/s`);
    // Slow start overshoots by a whole queue; a retransmission that is lost itself waits for the timer.
    t.ok(info.rtos <= 2, `${info.rtos} timeouts`);
    t.equal(info.retransSegs - queueDrops, duplicates, 'what was sent again was lost');
  });

  for (const loss of [0.001, 0.01, 0.02]) {
    t.test(`${congestion}, ${loss * 100} % lost`, async (t) => {
      const seconds = 30;
      const { mbps, info, duplicates, queueDrops, lost } = measure({ ...PATH, loss }, congestion, seconds);
      const mathis = ((MSS * 8) / RTT) * (1.22 / Math.sqrt(loss)) / 1e6;
      t.comment(`${mbps.toFixed(2)} Mbit/s (Mathis: ${mathis.toFixed(2)}), ${info.rtos} timeouts, ${info.fastRetransmits} recoveries, ${lost} lost`);
      t.ok(mbps > 0.7 * mathis && mbps < 2 * mathis, `${mbps} Mbit/s, Mathis says ${mathis}`);
      // Retransmissions are lost too, and the end of a flight: in proportion to the loss, and a few.
      t.ok(info.rtos <= 3 + 3 * lost * loss, `${info.rtos} timeouts, ${lost} lost`);
      t.ok(duplicates <= 2 + lost / 50, `${duplicates} sent again in vain`);
      t.ok(info.retransSegs <= lost + queueDrops + 2 + lost / 50, `${info.retransSegs} sent again, ${lost + queueDrops} lost`);
    });
  }
}
