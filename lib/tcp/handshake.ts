/**
 * What both ends agree on while a connection opens: sequence numbers, MSS, window scale, timestamps, SACK
 * (RFC 9293 3.5, 3.7.1; RFC 7323; RFC 2018), and the congestion window to begin with (RFC 6928).
 */

import { seqAdd } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { DEFAULT_MSS_V4, DEFAULT_MSS_V6, MAX_WINDOW_SCALE } from '../wire/tcp.ts';
import { initialWindow } from './congestion/cwnd.ts';
import { takeEcnSyn } from './ecn.ts';
import { updateSndMss } from './emit.ts';
import type { Segment } from './segment.ts';
import type { Tcb } from './tcb.ts';

/** Scale that lets the largest receive buffer be told; -1 when scaling is off. */
function wantedScale(tcb: Tcb): number {
  const config = tcb.home.config;
  if (!config.windowScaling) return -1;
  const most = Math.max(config.rcvbufMax, tcb.rcvbufLimit);
  let scale = 0;
  while (scale < MAX_WINDOW_SCALE && 0xffff << scale < most) scale++;
  return scale;
}

/** The MSS that we announce: the link's MTU less the fixed headers (MUST-67; options are not counted, RFC 6691). */
function announcedMss(tcb: Tcb): number {
  const mss = Math.min(tcb.flow.mtu - tcb.flow.headerLength - 20, 65_495);
  return tcb.userMss > 0 ? Math.min(tcb.userMss, mss) : mss;
}

/** All of the send sequence space begins at ISS; the SYN takes its first number. */
function startSequence(tcb: Tcb, iss: Seq): void {
  tcb.iss = iss;
  tcb.sndUna = iss;
  tcb.sndNxt = seqAdd(iss, 1);
  tcb.sndEnd = seqAdd(iss, 1);
  tcb.sndBase = seqAdd(iss, 1);
  tcb.sndSmall = iss;
  tcb.sndUp = iss;
  tcb.recover = iss;
  tcb.lostEdge = iss;
  tcb.rtxNxt = iss;
}

/** The state of a connection that is about to send its SYN, or SYN-ACK. Addresses, ports and route are set. */
export function prepareOpen(tcb: Tcb): void {
  const home = tcb.home;
  tcb.advMss = announcedMss(tcb);
  tcb.rcvWscale = wantedScale(tcb);
  tcb.tsOffset = home.timestampOffset(tcb);
  startSequence(tcb, home.initialSequence(tcb));
  tcb.timing = true;
  tcb.timedSeq = tcb.sndNxt;
  tcb.timedUs = home.nowUs;
  tcb.unackedSinceMs = home.nowMs;
  tcb.lastRecvMs = home.nowMs;
}

/** What the peer's SYN says: sequence number and options. Ours that it does not agree to are switched off. */
export function takeSyn(tcb: Tcb, segment: Segment): void {
  const config = tcb.home.config;
  tcb.irs = segment.seq;
  tcb.rcvNxt = seqAdd(segment.seq, 1);
  tcb.rcvRead = tcb.rcvNxt;
  tcb.rcvAdv = seqAdd(tcb.rcvNxt, Math.min(tcb.rcvbufLimit, 0xffff));
  tcb.tuneSeq = tcb.rcvNxt;
  tcb.tuneUs = tcb.home.nowUs;
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.lastRecvMs = tcb.home.nowMs;
  tcb.peerMss = segment.mss !== 0 ? Math.max(segment.mss, 64) : tcb.flow.version === 4 ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6;
  takeEcnSyn(tcb, segment);
  tcb.sack = config.sack && segment.sackPermitted;
  tcb.timestamps = config.timestamps && segment.hasTimestamps;
  if (tcb.timestamps) {
    tcb.tsRecent = segment.tsVal;
    tcb.tsRecentMs = tcb.home.nowMs;
  }
  if (config.windowScaling && segment.windowScale >= 0) {
    tcb.sndWscale = segment.windowScale;
  } else {
    tcb.sndWscale = 0;
    tcb.rcvWscale = -1;
  }
  updateSndMss(tcb);
}

/** Retransmission timeout after a SYN that had to be repeated, ms. */
const FALLBACK_RTO_MS = 3000;

/** The congestion window to begin with; one segment when the SYN had to be repeated (RFC 6928 section 2). */
export function startCongestion(tcb: Tcb): void {
  tcb.cwnd = tcb.retries > 0 ? tcb.sndMss : initialWindow(tcb.sndMss, tcb.home.config.initialWindow);
  // A SYN was sent too early and there is no measurement: 3 s to begin with (RFC 6298 (5.7)).
  if (tcb.retries > 0 && tcb.srttUs === 0) tcb.rtoMs = Math.max(tcb.rtoMs, FALLBACK_RTO_MS);
  tcb.retries = 0;
  tcb.backoff = 0;
}
