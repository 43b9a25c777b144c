/**
 * What one connection brings over a lossy path in virtual time. Run it for the table:
 *
 *     node --import=tsx test/sim/goodput.ts
 */

import { VirtualClock } from '../../lib/clock.ts';
import { capture } from '../../lib/link/capture.ts';
import { impair } from '../../lib/link/impair.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { IPPROTO_TCP, TCP_INFO } from '../../lib/socket.ts';
import type { TcpInfo } from '../../lib/socket.ts';
import { Pair, pump } from './pair.ts';

export interface Path {
  /** Bits per second; one-way delay; packets that wait for the rate; probability of loss of data. */
  rate: number;
  delayUs: number;
  queuePackets: number;
  loss: number;
  seed?: number;
}

export interface Goodput {
  /** Mbit/s that reached the application. */
  mbps: number;
  info: TcpInfo;
  /** Segments that the receiver had already; those that the queue dropped, and that were lost by chance. */
  duplicates: number;
  queueDrops: number;
  lost: number;
}

/** Bulk transfer for `seconds` of virtual time. */
export function measure(path: Path, congestion: string, seconds: number, record?: string): Goodput {
  const buffer = { initial: 4 << 20, max: 4 << 20 };
  let impairment!: ReturnType<typeof impair>;
  const links = (clock: VirtualClock) => {
    const [left, right] = createMemoryPair({ clock, latencyUs: 1, queuePackets: 4096 });
    const { rate, delayUs, queuePackets, loss, seed } = path;
    impairment = impair(left, { seed: seed ?? 1, delayUs, up: { rate, queuePackets, loss } });
    return [record === undefined ? impairment : capture(impairment, record, { snapLength: 100 }), right] as [typeof impairment, typeof right];
  };
  const pair = new Pair({ links, both: { memory: 64 << 20, tcp: { congestion, rcvbuf: buffer, sndbuf: buffer } } });
  const [client, server] = pair.connect();
  const flow = pump(client, server);
  const start = flow.received;
  pair.for(seconds * 1e6);
  const result: Goodput = {
    mbps: ((flow.received - start) * 8) / seconds / 1e6,
    info: client.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo,
    duplicates: pair.b.tcp.counters.DuplicateDataIn,
    queueDrops: impairment.paths.up.counters.queueDrops,
    lost: impairment.paths.up.counters.lost,
  };
  pair.close();
  return result;
}

/** 100 Mbit/s, 40 ms, a queue of one bandwidth-delay product. */
export const PATH: Path = { rate: 100e6, delayUs: 20_000, queuePackets: 350, loss: 0 };

if (process.argv[1]?.endsWith('goodput.ts')) {
  console.log('congestion  loss %  Mbit/s  rtos  recoveries  sent again  lost  queue drops  duplicates  srtt ms');
  for (const congestion of ['cubic', 'newreno']) {
    for (const loss of [0, 0.001, 0.01, 0.02]) {
      const { mbps, info, duplicates, queueDrops, lost } = measure({ ...PATH, loss }, congestion, 60);
      console.log(congestion.padEnd(10), String(loss * 100).padStart(7), mbps.toFixed(2).padStart(7), String(info.rtos).padStart(5),
        String(info.fastRetransmits).padStart(11), String(info.retransSegs).padStart(11), String(lost).padStart(5),
        String(queueDrops).padStart(12), String(duplicates).padStart(11), info.srttMs.toFixed(1).padStart(8));
    }
  }
}
