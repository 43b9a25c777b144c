/**
 * What both ends agree on while a connection opens: sequence numbers, MSS, window scale, timestamps, SACK
 * (RFC 9293 3.5, 3.7.1; RFC 7323; RFC 2018), and the congestion window to begin with (RFC 6928).
 */

import { seqAdd } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';
import { DEFAULT_MSS_V4, DEFAULT_MSS_V6, MAX_WINDOW_SCALE } from '../wire/tcp.ts';
import { initialWindow } from './congestion/cwnd.ts';
import { ECN_OFF, ECN_ON, takeEcnSyn } from './ecn.ts';
import { updateSndMss } from './emit.ts';
import type { Segment } from './segment.ts';
import { ecnOfTimestamp, optionsToTimestamp, sackOfTimestamp, scaleOfTimestamp } from './syn-cookies.ts';
import type { SynCookies } from './syn-cookies.ts';
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
  tcb.rackFack = iss;
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
  takeEcnSyn(tcb, segment);
  agree(tcb, segment, segment.seq, segment.mss, segment.windowScale, segment.sackPermitted);
}

/** Nobody who is honest has a link for segments so small, and each of them costs us a header (CVE-2019-11479). */
function believedMss(tcb: Tcb, mss: number): number {
  const { config: { limits: { leastMss } }, counters } = tcb.home;
  if (mss >= leastMss) return mss;
  counters.TinyMss++;
  return leastMss;
}

/** `segment` is the peer's SYN, whose number and options these are, or completes a handshake that was made by a cookie. */
function agree(tcb: Tcb, segment: Segment, irs: Seq, mss: number, windowScale: number, sackPermitted: boolean): void {
  const config = tcb.home.config;
  tcb.irs = irs;
  tcb.rcvNxt = seqAdd(irs, 1);
  tcb.rcvRead = tcb.rcvNxt;
  tcb.rcvAdv = seqAdd(tcb.rcvNxt, Math.min(tcb.rcvbufLimit, 0xffff));
  tcb.tuneSeq = tcb.rcvNxt;
  tcb.tuneUs = tcb.home.nowUs;
  tcb.lastAckSent = tcb.rcvNxt;
  tcb.lastRecvMs = tcb.home.nowMs;
  tcb.peerMss = mss !== 0 ? believedMss(tcb, mss) : tcb.flow.version === 4 ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6;
  tcb.sack = config.sack && sackPermitted;
  tcb.timestamps = config.timestamps && segment.hasTimestamps;
  if (tcb.timestamps) {
    tcb.tsRecent = segment.tsVal;
    tcb.tsRecentMs = tcb.home.nowMs;
  }
  if (config.windowScaling && windowScale >= 0) {
    tcb.sndWscale = windowScale;
  } else {
    tcb.sndWscale = 0;
    tcb.rcvWscale = -1;
  }
  updateSndMss(tcb);
}

/**
 * A SYN is answered by a cookie (syn-cookies.ts): `tcb`, which is nobody's, becomes what the connection would be, for
 * `sendSyn`. Without timestamps nothing but the MSS can be kept, so nothing else is offered.
 */
export function prepareCookie(tcb: Tcb, segment: Segment, cookies: SynCookies): void {
  const { home } = tcb;
  tcb.passive = true;
  tcb.retries = 0;
  tcb.advMss = announcedMss(tcb);
  tcb.rcvWscale = wantedScale(tcb);
  takeSyn(tcb, segment);
  // Counted when the cookie comes back.
  if (tcb.ecn === ECN_ON) home.counters.EcnHandshakes--;
  tcb.iss = cookies.make(segment, tcb.peerMss, home.nowMs);
  if (tcb.timestamps) {
    const tsVal = optionsToTimestamp((home.nowMs + home.timestampOffset(tcb)) | 0, tcb.rcvWscale < 0 ? -1 : tcb.sndWscale, tcb.sack,
      tcb.ecn === ECN_ON);
    tcb.tsOffset = (tsVal - home.nowMs) | 0;
  } else {
    tcb.sack = false;
    tcb.rcvWscale = -1;
    tcb.ecn = ECN_OFF;
  }
}

/** The cookie has come back in `segment`: the state of a connection whose SYN, with this MSS, was answered. */
export function prepareFromCookie(tcb: Tcb, segment: Segment, mss: number): void {
  const { home } = tcb;
  const kept = home.config.timestamps && segment.hasTimestamps;
  tcb.advMss = announcedMss(tcb);
  tcb.rcvWscale = wantedScale(tcb);
  tcb.tsOffset = home.timestampOffset(tcb);
  startSequence(tcb, seqAdd(segment.ack, -1));
  tcb.unackedSinceMs = home.nowMs;
  agree(tcb, segment, seqAdd(segment.seq, -1), mss, kept ? scaleOfTimestamp(segment.tsEcr) : -1, kept && sackOfTimestamp(segment.tsEcr));
  tcb.ecn = kept && ecnOfTimestamp(segment.tsEcr) ? ECN_ON : ECN_OFF;
  tcb.ecnRecover = tcb.iss;
  if (tcb.ecn === ECN_ON) home.counters.EcnHandshakes++;
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
