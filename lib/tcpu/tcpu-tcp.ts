/**
 * TCPU's home for TCP: the same engine and the same home as the kernel-style TCP
 * (lib/kernel/kernel-tcp.ts), with the other answers to section 4 of the report:
 *
 * - **Timers** (4.2) are at the interface: no clock runs, the earliest deadline is the timeout of the wait.
 * - **Acknowledgments** (4.2): "the receiver receives data PDUs until there are no more packets in the
 *   input buffer. After that, the receiver sends an acknowledgment"; out of order, at once. There is no fast
 *   timer: `delayedAckMs` is 0.
 * - **Buffers** (4.1): the retransmission buffer is never larger than what the channel can hold.
 * - **Ports** come from TCPK, or are those of a UDP socket.
 */

import { TcpHost } from '../home/tcp-host.ts';
import type { TcpHostOptions } from '../home/tcp-host.ts';
import { tcpConfig } from '../tcp/config.ts';
import type { TcpOptions } from '../tcp/config.ts';
import { Deadlines } from './deadlines.ts';

/** TCPK counts flows in TIME-WAIT as well (65536 for an application, if not told otherwise): half are for open connections. */
const MAX_TIME_WAIT = 32_768;

export interface TcpuTcpOptions extends Omit<TcpHostOptions, 'timers' | 'config'> {
  tcp?: TcpOptions;
  /** Most bytes of a send buffer, and of a receive buffer, that the channel can hold. */
  sndbufMost: number;
  rcvbufMost: number;
}

/** Throws RangeError on a bad TCP option. */
export function createTcpuTcp(options: TcpuTcpOptions): TcpHost {
  const asked = options.tcp ?? {};
  const config = tcpConfig({ ...asked, delayedAckMs: asked.delayedAckMs ?? 0, maxTimeWait: asked.maxTimeWait ?? MAX_TIME_WAIT });
  config.sndbufMax = Math.min(config.sndbufMax, options.sndbufMost);
  config.sndbufInitial = Math.min(config.sndbufInitial, config.sndbufMax);
  config.rcvbufMax = Math.min(config.rcvbufMax, options.rcvbufMost);
  config.rcvbufInitial = Math.min(config.rcvbufInitial, config.rcvbufMax);
  return new TcpHost({ ...options, config, timers: new Deadlines(options.nowMs) });
}
