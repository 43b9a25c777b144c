/**
 * SEGMENT ARRIVES (RFC 9293 3.10.7), written as a pure function from the text, in its order, with the options that
 * the text leaves open settled as RFC 5961 has them; timestamps after RFC 7323 5.3; ICMP after 3.9.2.2. It shares
 * nothing with the engine: it is what the engine, and Linux, are compared to.
 *
 * Where this stack knowingly does something else, `DEVIATIONS` has a rule with a name and the reason.
 * Left out: security and compartments (3.10.7.3 third, 3.10.7.4 third), the urgent pointer, windows of the sender.
 */

import type { Arrival, Outcome, Situation, StateName } from './situations.ts';

/** The names that Linux gives to ICMP errors of type/code. */
const ICMP_ERRNO: Record<string, string> = {
  '3/0': 'ENETUNREACH', '3/1': 'EHOSTUNREACH', '3/2': 'ENOPROTOOPT', '3/3': 'ECONNREFUSED', '3/5': 'EOPNOTSUPP', '3/13': 'EHOSTUNREACH',
  '11/0': 'EHOSTUNREACH', '12/0': 'EPROTO',
};

/** `ACK seq SND.NXT ack RCV.NXT+n` */
function ack(advance = 0): string {
  return `ACK seq SND.NXT ack RCV.NXT${advance === 0 ? '' : `+${advance}`}`;
}

/** What RFC 9293 says that comes of it. */
export function oracle(s: Situation, arrival: Arrival): Outcome {
  return arrival.icmp !== undefined ? icmpArrives(s, arrival) : segmentArrives(s, arrival);
}

function segmentArrives(s: Situation, arrival: Arrival): Outcome {
  const seg = arrival.segment!;
  const has = (flag: string): boolean => seg.flags.includes(flag);
  const seq = seg.seq!;
  const data = seg.len ?? 0;
  const segLen = data + (has('S') ? 1 : 0) + (has('F') ? 1 : 0);
  const o: Outcome = { reply: 'nothing', state: s.state, delivered: 0, eof: false, error: '' };
  const reset = (): Outcome => {
    o.reply = has('.') ? 'RST seq SEG.ACK' : `RST seq 0 ack SEG.SEQ${segLen > 0 ? `+${segLen}` : ''}`;
    return o;
  };

  // 3.10.7.1
  if (s.state === 'CLOSED') return has('R') ? o : reset();

  // 3.10.7.2
  if (s.state === 'LISTEN') {
    if (has('R')) return o;
    if (has('.')) return reset();
    if (!has('S')) return o;
    o.reply = 'SYN-ACK seq ISS ack SEG.SEQ+1';
    o.state = 'SYN-RECEIVED';
    return o;
  }

  // 3.10.7.3
  if (s.state === 'SYN-SENT') {
    if (has('.') && (seg.ack! <= 0 || seg.ack! > s.sndNxt)) return has('R') ? o : reset();
    if (has('R')) {
      if (has('.')) {
        o.error = 'ECONNRESET';
        o.state = 'CLOSED';
      }
      return o;
    }
    if (!has('S')) return o;
    if (!has('.')) {
      o.state = 'SYN-RECEIVED';
      o.reply = 'SYN-ACK seq ISS ack SEG.SEQ+1';
      return o;
    }
    o.state = has('F') ? 'CLOSE-WAIT' : 'ESTABLISHED';
    o.delivered = data;
    o.eof = has('F');
    // One ACK for all of it (MUST-58).
    o.reply = `ACK seq SND.NXT ack SEG.SEQ+${segLen}`;
    return o;
  }

  // 3.10.7.4. Before all else: RFC 7323 5.3, R1; RST is exempt. Segments without are as the user pleases (3.2).
  if (arrival.stamp === 'older' && !has('R')) {
    o.reply = ack();
    return o;
  }
  // TIME-WAIT (3.6.1, MAY-2): a SYN beyond all that was received may begin a new connection where somebody listens.
  if (s.state === 'TIME-WAIT' && s.listening && has('S') && !has('.') && !has('R') && !has('F') && seq > s.rcvNxt) {
    o.reply = `SYN-ACK seq ISS ack RCV.NXT+${seq + 1 - s.rcvNxt}`;
    o.state = 'SYN-RECEIVED';
    return o;
  }
  // First.
  const from = seq - s.rcvNxt;
  const last = from + segLen - 1;
  const inside = (n: number): boolean => n >= 0 && n < s.rcvWnd;
  const acceptable = segLen === 0 ? (s.rcvWnd === 0 ? from === 0 : inside(from)) : s.rcvWnd > 0 && (inside(from) || inside(last));
  // "If the RCV.WND is zero, no segments will be acceptable, but special allowance should be made to accept valid ACKs,
  // URGs, and RSTs." (MUST-66)
  const allowance = s.rcvWnd === 0 && from === 0;
  if (!acceptable && !(allowance && has('R'))) {
    if (!has('R')) o.reply = ack();
    return o;
  }
  // Second, with the three checks of RFC 5961 3.2.
  if (has('R')) {
    if (from !== 0) {
      o.reply = ack();
      return o;
    }
    o.state = 'CLOSED';
    if (s.state === 'SYN-RECEIVED') {
      if (s.passive) o.state = 'LISTEN';
      else o.error = 'ECONNREFUSED';
    } else if (s.state === 'ESTABLISHED' || s.state === 'FIN-WAIT-1' || s.state === 'FIN-WAIT-2' || s.state === 'CLOSE-WAIT') {
      o.error = 'ECONNRESET';
    }
    if (s.listening) o.state = 'LISTEN';
    return o;
  }
  // Fourth, with RFC 5961 4.2.
  if (has('S')) {
    if (s.state === 'SYN-RECEIVED' && s.passive) o.state = 'LISTEN';
    else o.reply = ack();
    return o;
  }
  // Fifth.
  if (!has('.')) return o;
  const segAck = seg.ack!;
  let state: StateName = s.state;
  if (state === 'SYN-RECEIVED') {
    // By the rule of the state, which is of this ACK; that of RFC 5961 5.2 is about established connections.
    if (!(segAck > s.sndUna && segAck <= s.sndNxt)) return reset();
    state = 'ESTABLISHED';
  } else {
    // RFC 5961 5.2 (MAY-12)
    if (segAck > s.sndNxt || segAck < s.sndUna - s.maxSndWnd) {
      o.reply = ack();
      return o;
    }
    const finAcked = segAck === s.sndNxt;
    if (state === 'FIN-WAIT-1' && finAcked) state = 'FIN-WAIT-2';
    else if (state === 'CLOSING') {
      o.state = finAcked ? 'TIME-WAIT' : state;
      return o;
    } else if (state === 'LAST-ACK' && finAcked) {
      o.state = 'CLOSED';
      return o;
    }
  }
  o.state = state;
  // Seventh; out of order is kept (SHLD-31) and acknowledged (MAY-13).
  let whole = true;
  let advance = 0;
  if (state === 'ESTABLISHED' || state === 'FIN-WAIT-1' || state === 'FIN-WAIT-2') {
    if (data > 0) {
      if (from > 0) whole = false;
      else {
        advance = Math.min(from + data, s.rcvWnd);
        whole = advance === from + data;
        o.delivered = Math.max(advance, 0);
      }
    } else if (from !== 0) whole = false;
  }
  // Eighth. A second FIN, beyond the first, is acknowledged where the first stands.
  if (has('F')) {
    if (whole && (state === 'ESTABLISHED' || state === 'FIN-WAIT-1' || state === 'FIN-WAIT-2')) {
      advance++;
      o.eof = true;
      o.state = state === 'ESTABLISHED' ? 'CLOSE-WAIT' : state === 'FIN-WAIT-2' ? 'TIME-WAIT' : 'CLOSING';
    }
    o.reply = ack(advance);
  } else if (data > 0 && (state === 'ESTABLISHED' || state === 'FIN-WAIT-1' || state === 'FIN-WAIT-2')) {
    o.reply = ack(advance);
  }
  return o;
}

/** 3.9.2.2: soft errors are kept (SHLD-25, MUST-56), hard ones abort (SHLD-26), Source Quench is discarded (MUST-55). */
function icmpArrives(s: Situation, arrival: Arrival): Outcome {
  const { type, code, seq } = arrival.icmp!;
  const o: Outcome = { reply: 'nothing', state: s.state, delivered: 0, eof: false, error: '' };
  // What quotes nothing in flight is believed by nobody (RFC 5927 4.1, which 9293 3.9.2.2 refers to).
  if (s.state === 'CLOSED' || s.state === 'LISTEN' || seq < s.sndUna || seq >= s.sndNxt) return o;
  // Fragmentation needed: path MTU discovery (RFC 1191): data in flight that is too large is sent again.
  if (type === 3 && code === 4) {
    if (s.sndNxt - s.sndUna > 536) o.reply = 'again from SND.UNA';
    return o;
  }
  // Whatever it is, the user can learn of it (MUST-47, SHLD-25).
  if (!s.passive || s.state !== 'SYN-RECEIVED') o.error = ICMP_ERRNO[`${type}/${code}`] ?? '';
  if (type === 3 && (code === 2 || code === 3)) o.state = s.passive && s.state === 'SYN-RECEIVED' ? 'LISTEN' : 'CLOSED';
  return o;
}

/** Where this stack does something else than the text, and why. Named in docs/CONFORMANCE.md. */
export interface Deviation {
  name: string;
  why: string;
  /** What we do instead of `rfc`, or null where the rule says nothing. */
  instead(s: Situation, arrival: Arrival, rfc: Outcome): Outcome | null;
}

function flagsOf(arrival: Arrival): string {
  return arrival.segment?.flags ?? '';
}

function isSyn(arrival: Arrival): boolean {
  return flagsOf(arrival).includes('S') && !flagsOf(arrival).includes('R');
}

export const DEVIATIONS: Deviation[] = [
  {
    name: 'a SYN with FIN opens nothing',
    why: 'No TCP sends one; it is a scan, or meant for packet filters that look at FIN first. LISTEN drops it, as Linux does.',
    instead: (s, arrival, rfc) => s.state === 'LISTEN' && /^(SF|FS)$/.test(flagsOf(arrival))
      ? { ...rfc, reply: 'nothing', state: 'LISTEN' } : null,
  },
  {
    name: 'a reset in SYN-SENT is told as ECONNREFUSED',
    why: 'The text says "connection reset"; every sockets API says that the connection was refused.',
    instead: (s, _arrival, rfc) => s.state === 'SYN-SENT' && rfc.error === 'ECONNRESET' ? { ...rfc, error: 'ECONNREFUSED' } : null,
  },
  {
    name: 'ICMP errors end an attempt to open',
    why: 'MUST-56 keeps them from ending connections; an attempt that cannot get anywhere is told at once, so that the next address '
      + 'can be tried (RFC 5461 section 4.1), as Linux does.',
    instead: (s, arrival, rfc) => {
      if (s.state !== 'SYN-SENT' || arrival.icmp === undefined || arrival.icmp.seq >= s.sndNxt) return null;
      return rfc.error === '' ? null : { ...rfc, state: 'CLOSED' };
    },
  },
  {
    name: 'hard ICMP errors are soft once a SYN has arrived',
    why: 'SHLD-26 lets anybody who guesses a number in flight end a connection; RFC 5927 section 5.2 takes them as soft, as Linux does. '
      + 'The error is what the user is told if the connection fails.',
    instead: (s, arrival, rfc) => arrival.icmp !== undefined && s.state !== 'SYN-SENT' && rfc.state !== s.state
      ? { ...rfc, state: s.state } : null,
  },
  {
    name: 'a repeated SYN is answered with the SYN-ACK again',
    why: 'The text answers the old duplicate with an ACK that the peer, in SYN-SENT, must refuse when it has lost the SYN-ACK: '
      + 'the SYN-ACK itself opens the connection without waiting for our timer.',
    instead: (s, arrival, rfc) => s.state === 'SYN-RECEIVED' && /^(S|FS|SF)$/.test(flagsOf(arrival)) && arrival.segment!.seq === s.rcvNxt - 1
      ? { ...rfc, reply: 'SYN-ACK seq ISS ack RCV.NXT', state: 'SYN-RECEIVED' } : null,
  },
  {
    name: 'a SYN in SYN-RECEIVED of a passive open is challenged',
    why: '"Return to LISTEN" lets a forged SYN end an attempt of somebody else; it is treated as in synchronized states (RFC 5961 4.2).',
    instead: (s, arrival, rfc) => s.state === 'SYN-RECEIVED' && s.passive && isSyn(arrival) && rfc.state === 'LISTEN'
      ? { ...rfc, reply: ack(), state: 'SYN-RECEIVED' } : null,
  },
  {
    name: 'the SYN-ACK of a simultaneous open is taken',
    why: 'Its number is below the window since the SYN was taken; without this the exchange of RFC 9293 figure 7 would not end.',
    instead: (s, arrival, rfc) => s.state === 'SYN-RECEIVED' && !s.passive && flagsOf(arrival) === 'S.'
      && arrival.segment!.seq === s.rcvNxt - 1 && arrival.segment!.ack === s.sndNxt
      ? { ...rfc, state: 'ESTABLISHED' } : null,
  },
  {
    name: 'a FIN is taken though the window is closed',
    why: 'It takes a number but no room; refusing it keeps the peer probing until the user has read. As Linux.',
    instead: (s, arrival, rfc) => s.rcvWnd === 0 && flagsOf(arrival) === 'F.' && arrival.segment!.seq === s.rcvNxt
      && arrival.segment!.ack! <= s.sndNxt
      ? { ...rfc, reply: ack(1), state: 'CLOSE-WAIT', eof: true } : null,
  },
  {
    name: 'with a closed window, a segment at RCV.NXT without ACK is dropped in silence',
    why: 'Such a segment is looked at for its ACK (MUST-66); without one it is dropped as by the fifth step.',
    instead: (s, arrival, rfc) => s.rcvWnd === 0 && arrival.segment !== undefined && arrival.segment.seq === s.rcvNxt
      && !/[SR.]/.test(flagsOf(arrival)) ? { ...rfc, reply: 'nothing' } : null,
  },
  {
    name: 'an old segment may acknowledge new data',
    why: 'Keep-alives and window probes lie below the window; what they acknowledge is true all the same. It shows where it acknowledges our FIN.',
    instead: (s, arrival, rfc) => {
      const seg = arrival.segment;
      if (seg === undefined || seg.seq! >= s.rcvNxt || !/^F?P?\.$/.test(seg.flags) || seg.ack !== s.sndNxt || rfc.reply !== ack()) return null;
      if (s.sndUna === s.sndNxt) return null;
      switch (s.state) {
        case 'FIN-WAIT-1': return { ...rfc, state: 'FIN-WAIT-2' };
        case 'CLOSING': return { ...rfc, reply: 'nothing', state: 'TIME-WAIT' };
        case 'LAST-ACK': return { ...rfc, reply: 'nothing', state: 'CLOSED' };
        default: return null;
      }
    },
  },
  {
    name: 'a reset in CLOSE-WAIT is told as EPIPE',
    why: 'As BSD and Linux tell it: the user has read the end already, what fails is writing.',
    instead: (s, _arrival, rfc) => s.state === 'CLOSE-WAIT' && rfc.error === 'ECONNRESET' && rfc.state === 'CLOSED' ? { ...rfc, error: 'EPIPE' } : null,
  },
  {
    name: 'what lies beyond the FIN is acknowledged',
    why: 'The text ignores it. A peer that sends beyond its FIN, or repeats it, learns where we are.',
    instead: (s, arrival, rfc) => {
      if (s.state !== 'CLOSE-WAIT' && s.state !== 'CLOSING' && s.state !== 'LAST-ACK') return null;
      const seg = arrival.segment;
      if (seg === undefined || /[SR]/.test(seg.flags) || !seg.flags.includes('.') || rfc.reply !== 'nothing' || rfc.state !== s.state) return null;
      return (seg.len ?? 0) > 0 || seg.flags.includes('F') ? { ...rfc, reply: ack() } : null;
    },
  },
  {
    name: 'TIME-WAIT remembers little',
    why: 'Forty bytes stand for the connection: an empty segment at RCV.NXT is not answered whatever it acknowledges, a RST elsewhere is dropped '
      + '(RFC 1337), everything else is told where we are. What the peer can learn from it is the same.',
    instead: (s, arrival, rfc) => {
      const seg = arrival.segment;
      if (s.state !== 'TIME-WAIT' || seg === undefined || rfc.state !== 'TIME-WAIT') return null;
      if (seg.flags.includes('R')) return { ...rfc, reply: 'nothing' };
      const empty = (seg.len ?? 0) === 0 && !/[SF]/.test(seg.flags);
      return { ...rfc, reply: empty && seg.seq === s.rcvNxt ? 'nothing' : ack() };
    },
  },
];
