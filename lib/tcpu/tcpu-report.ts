/** What TCPU tells of itself: to the stack that asks for it (TO_APP_REPORT), and to its own application. */

import { REPORT_CONNECTIONS, REPORT_COUNTERS, REPORT_DETAILS } from '../channel/records.ts';
import { connectionInfo, listenerInfo, timeWaitInfo } from '../home/connections.ts';
import type { ConnectionInfo } from '../home/connections.ts';
import type { ReportContents } from '../tcpk/survey.ts';
import type { ChannelTcpu } from './channel-tcpu.ts';

/** Counters of TCP, of what it stands on, and of its memory. */
export function tcpuCounters(own: ChannelTcpu): Record<string, Record<string, number>> {
  const { tcpu, counters, memory } = own;
  return {
    tcp: { ...tcpu.tcp.counters },
    tcpu: { ...counters },
    memory: {
      blocks: memory.blockCount, freeBlocks: memory.freeBlocks, exhausted: memory.exhausted, connections: tcpu.tcp.connections,
      timeWaits: tcpu.tcp.timeWaits,
    },
  };
}

/** @param what `REPORT_…` bits */
export function tcpuReport(own: ChannelTcpu, what: number): ReportContents {
  const report: ReportContents = {};
  if ((what & REPORT_CONNECTIONS) !== 0) {
    const list: ConnectionInfo[] = report.connections = [];
    const { tcp } = own.tcpu;
    tcp.forEachListener((listener) => list.push(listenerInfo(listener)));
    tcp.forEach((tcb) => list.push(connectionInfo(tcb, (what & REPORT_DETAILS) !== 0)));
    tcp.forEachTimeWait((connection) => list.push(timeWaitInfo(connection)));
  }
  if ((what & REPORT_COUNTERS) !== 0) report.counters = tcpuCounters(own);
  return report;
}
