/**
 * Throughput of an established connection while 50,000 small packets of no use arrive each second: at least half of what it
 * is without them. Measured in pairs, one after the other; the best of several pairs counts, since the machine may be
 * shared. Where others use it, the stack has a part of it only, and so has the attack. Figures: bench/flood.ts.
 */

import '../kernel/namespace.ts';
import { cpus, loadavg } from 'node:os';
import t from 'tap';
import { FLOOD, compileFlood, floodArgs } from '../../bench/flooder.ts';
import type { FloodResult } from '../../bench/flooder.ts';
import { STACK4, lacking, run, up } from '../kernel/harness.ts';
import { iperf3 } from '../kernel/iperf3-modes.ts';

const skip = lacking('iperf3', process.env['CC'] ?? 'cc');
const RATE = 50_000;
const SHARE = 0.5;
const PAIRS = 6;
const ATTACKED = 99;

async function throughput(args: readonly string[]): Promise<number> {
  const json = await iperf3('-c', STACK4, '-C', 'cubic', '-t', '1', ...args);
  if (json.error !== undefined) throw new Error(json.error);
  return json.end.sum_received.bits_per_second;
}

t.test('throughput under floods', { skip, timeout: 110_000 }, async (t) => {
  compileFlood();
  await up(t, '--serve', `iperf3,discard@${ATTACKED}`);
  await throughput([]);
  for (const kind of ['syn', 'udp', 'ack']) {
    for (const args of [[], ['-R']]) {
      const ratios: number[] = [];
      const rates: number[] = [];
      for (let pair = 0; pair < PAIRS && Math.max(0, ...ratios) < SHARE; pair++) {
        const quiet = await throughput(args);
        // Others that run at this moment have their part of the machine.
        const rate = Math.round(RATE * Math.min(1, cpus().length / Math.max(loadavg()[0]! - 1, 1)));
        // It begins when the connections are open.
        const flood = run(FLOOD, floodArgs({ kind, rate, seconds: 1, device: 'tcpu0', target: STACK4, port: ATTACKED, delay: 0.15 }));
        const kept = await throughput(args);
        const { stdout } = await flood;
        ratios.push(kept / quiet);
        rates.push((JSON.parse(stdout) as FloodResult).perSecond);
      }
      const direction = args.length === 0 ? 'in' : 'out';
      t.ok(Math.max(...ratios) >= SHARE, `${kind}, ${direction}: ${ratios.map((r) => r.toFixed(2)).join(', ')} under ${rates.join(', ')} a second`);
    }
  }
});
