/** The figures of a connection as `ss -ti` shows them of Linux's (`TcpInfo` in lib/socket.ts). */

import type { TcpInfo } from '../socket.ts';
import { seqDiff } from '../wire/seq.ts';
import { ECN_ON } from './ecn.ts';
import { STATE_NAMES } from './states.ts';
import type { Tcb } from './tcb.ts';
import { currentRto } from './rtt.ts';

/** By `recovery`. */
const RECOVERY_NAMES = ['open', 'recovery', 'loss', 'cwr'] as const;

export function tcpInfo(tcb: Tcb): TcpInfo {
  const nowMs = tcb.home.nowMs;
  return {
    state: STATE_NAMES[tcb.state]!,
    timestamps: tcb.timestamps,
    sack: tcb.sack,
    ecn: tcb.ecn === ECN_ON,
    rcvWscale: Math.max(tcb.rcvWscale, 0),
    sndWscale: tcb.sndWscale,
    congestion: tcb.congestion.name,
    congestionState: RECOVERY_NAMES[tcb.recovery]!,
    rtoMs: currentRto(tcb),
    srttMs: tcb.srttUs / 1000,
    rttvarMs: tcb.rttvarUs / 1000,
    minRttMs: tcb.minRttUs / 1000,
    sndMss: tcb.sndMss,
    peerMss: tcb.peerMss,
    advMss: tcb.advMss,
    pmtu: tcb.flow.mtu,
    cwnd: tcb.cwnd,
    ssthresh: tcb.ssthresh,
    sndWnd: tcb.sndWnd,
    rcvWnd: tcb.rcvWnd,
    unacked: tcb.flight,
    notSent: Math.max(seqDiff(tcb.sndEnd, tcb.sndNxt), 0),
    recvQueue: tcb.readable,
    sndbuf: tcb.sndbufLimit,
    rcvbuf: tcb.rcvbufLimit,
    inFlight: tcb.pipe,
    sacked: tcb.sackedBytes,
    lost: tcb.lostBytes,
    backoff: tcb.backoff,
    bytesSent: tcb.bytesSent,
    bytesAcked: tcb.bytesAcked,
    bytesReceived: tcb.bytesReceived,
    bytesRetrans: tcb.bytesRetrans,
    segsOut: tcb.segsOut,
    segsIn: tcb.segsIn,
    dataSegsOut: tcb.dataSegsOut,
    dataSegsIn: tcb.dataSegsIn,
    retransSegs: tcb.retransSegs,
    rtos: tcb.rtos,
    fastRetransmits: tcb.fastRetransmits,
    dupAcksIn: tcb.dupAcksIn,
    outOfOrderIn: tcb.outOfOrderIn,
    predictedIn: tcb.predictedIn,
    lastSendMs: tcb.lastSendMs === 0 ? 0 : (nowMs - tcb.lastSendMs) | 0,
    lastRecvMs: (nowMs - tcb.lastRecvMs) | 0,
    pacingRate: tcb.pacingRate,
  };
}
