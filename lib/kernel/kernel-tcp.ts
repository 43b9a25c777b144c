/**
 * The kernel-style TCP: TCP as it is in the stack process, for everybody who does not bring their own.
 * Its answers to section 4 of the report:
 *
 * - **Timers** (4.2): one clock for all timers of all connections, a timing wheel.
 * - **Acknowledgments**: put off for up to 40 ms while there is hope that data will carry them, as BSD's
 *   fast timer and Linux do (`TcpConfig.delayedAckMs`); several segments of one batch get one.
 * - **Ports**: its own table, which is also the one that applications' bindings are entered in.
 *
 * lib/tcpu/tcpu-tcp.ts has the other answers.
 */

import { BLOCK_SIZE } from '../buffer/packet-memory.ts';
import { TcpHost } from '../home/tcp-host.ts';
import type { TcpHostOptions } from '../home/tcp-host.ts';
import { KernelPorts } from './kernel-ports.ts';
import { TimingWheel } from './timing-wheel.ts';

export interface KernelTcp {
  readonly host: TcpHost;
  readonly ports: KernelPorts;
}

export function createKernelTcp(options: Omit<TcpHostOptions, 'ports' | 'timers'>): KernelTcp {
  const ports = new KernelPorts(options.random);
  const host = new TcpHost({
    // Windows that are told must be kept: all connections' together may not be more than there is.
    rcvbufGrowth: (options.memory.blockCount * BLOCK_SIZE) / 2, ...options, ports, timers: new TimingWheel(options.nowMs),
  });
  ports.host = host;
  return { host, ports };
}
