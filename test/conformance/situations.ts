/**
 * States and segments: how a TCP is brought into each state of RFC 9293 3.3.2 from outside, and what may arrive
 * there. Written against a `Peer`, behind which our stack sits (engine-peer.ts), or Linux's (linux-peer.ts);
 * the same steps for both.
 *
 * Numbers are relative, as in the scripts of test/tcp/harness.ts: `seq` of what arrives counts from the remote
 * side's initial sequence number, `ack` of what arrives from the one of the TCP that is looked at.
 *
 *      SND.UNA = 101          SND.NXT = 1101 (1102 with FIN)      what the TCP has sent
 *         |  1000 bytes in flight  |
 *      RCV.NXT = 501 (502 with FIN)       right edge              what it has received
 *         |          RCV.WND                 |
 */

import type { Out, Seg } from '../tcp/harness.ts';

/** What a test does to a TCP. Everything but the user's calls goes over the wire. */
export interface Peer {
  /** The initial sequence number of the TCP, once it has sent something. */
  readonly iss: number;
  /** Time goes on by itself: what was not acknowledged may be sent again meanwhile. */
  readonly realTime: boolean;
  /** A passive OPEN on a port of its own; the segments that follow go there. */
  listen(): Promise<void>;
  /** Nobody on the port. */
  nobody(): Promise<void>;
  /** An active OPEN towards the script. `rcvbuf`: SO_RCVBUF. */
  connect(rcvbuf?: number): Promise<void>;
  /** accept(), when something is there to be accepted. */
  accept(): Promise<boolean>;
  send(length: number): Promise<void>;
  shutdown(): Promise<void>;
  inject(segment: Seg): Promise<void>;
  icmp(type: number, code: number, mtu: number, quotedSeq: number): Promise<void>;
  /** What came out since the last call. `patient`: time for a delayed ACK passes first. */
  collect(patient?: boolean): Promise<Out[]>;
  /** From now on injected segments carry timestamps, advancing; `older` are from before. */
  timestamps(): void;
  oldTimestamp(): [number, number];
  /** Reads all there is: bytes, and whether the stream has ended. */
  read(): Promise<{ bytes: number; eof: boolean }>;
  /**
   * How things stand: SO_ERROR by name, or ''; the state of the connection as the RFC prints it, LISTEN or CLOSED where there
   * is none; all there is to read, and whether the stream has ended.
   */
  report(): Promise<{ error: string; state: string; bytes: number; eof: boolean }>;
}

export type StateName = 'CLOSED' | 'LISTEN' | 'SYN-SENT' | 'SYN-RECEIVED' | 'ESTABLISHED' | 'FIN-WAIT-1' | 'FIN-WAIT-2'
  | 'CLOSE-WAIT' | 'CLOSING' | 'LAST-ACK' | 'TIME-WAIT';

/** The variables of RFC 9293 3.3.1 when the segment arrives. */
export interface Situation {
  name: string;
  state: StateName;
  /** Opened passively (MUST-11). */
  passive: boolean;
  /** Somebody listens on the port. */
  listening: boolean;
  sndUna: number;
  sndNxt: number;
  rcvNxt: number;
  rcvWnd: number;
  maxSndWnd: number;
  /** Bytes that arrived before and have not been read. */
  unread: number;
  /** Timestamps were agreed on. */
  timestamps: boolean;
}

/** What arrives: a segment, or an ICMP error that quotes one. */
export interface Arrival {
  name: string;
  segment?: Seg;
  /** The segment's timestamp lies before TS.Recent, or it has none although they were agreed on. */
  stamp?: 'older' | 'none';
  icmp?: { type: number; code: number; mtu: number; seq: number };
}

/** The window that the script tells: small, so that there are ACKs older than it. */
const WINDOW = 8192;
const SENT = 100;
const FLIGHT = 1000;
const RECEIVED = 500;

export const SITUATIONS = [
  'CLOSED', 'LISTEN', 'SYN-SENT', 'SYN-RECEIVED, passive open', 'SYN-RECEIVED, simultaneous open', 'ESTABLISHED',
  'ESTABLISHED, timestamps', 'ESTABLISHED, zero window', 'FIN-WAIT-1', 'FIN-WAIT-2', 'CLOSE-WAIT', 'CLOSING', 'LAST-ACK', 'TIME-WAIT',
  'TIME-WAIT, somebody listens',
] as const;
export type SituationName = (typeof SITUATIONS)[number];

/** Brings the TCP into the situation. Throws when it does not get there. */
export async function bring(peer: Peer, name: SituationName): Promise<Situation> {
  const state = name.replace(/,.*/, '') as StateName;
  const s: Situation = {
    name, state, passive: false, listening: false, sndUna: 0, sndNxt: 1, rcvNxt: 0, rcvWnd: 65535, maxSndWnd: 0, unread: 0, timestamps: false,
  };
  const stamped = name === 'ESTABLISHED, timestamps';
  let edge = 0;
  const collect = async (want: string): Promise<void> => {
    let out = await peer.collect();
    if (out.length === 0) out = await peer.collect(true);
    const got = out.map((o) => o.flags).join(' ');
    if (got !== want) throw new Error(`${name}: expected ${want}, got ${got === '' ? 'nothing' : got}`);
    for (const o of out) edge = Math.max(edge, o.ack + o.win);
    s.rcvWnd = edge - s.rcvNxt;
  };
  const syn: Partial<Seg> = { seq: 0, mss: 1460, win: WINDOW };
  if (stamped) {
    peer.timestamps();
    s.timestamps = true;
  }

  if (state === 'CLOSED') {
    await peer.nobody();
    return s;
  }
  if (state === 'LISTEN') {
    await peer.listen();
    s.listening = true;
    return s;
  }
  if (name === 'SYN-RECEIVED, passive open' || name === 'TIME-WAIT, somebody listens') {
    s.listening = true;
    s.passive = true;
    await peer.listen();
    await peer.inject({ flags: 'S', ...syn });
    s.rcvNxt = 1;
    s.maxSndWnd = WINDOW;
    await collect('S.');
    if (state === 'SYN-RECEIVED') return s;
    await peer.inject({ flags: '.', seq: 1, ack: 1, win: WINDOW });
    if (!await peer.accept()) throw new Error(`${name}: nothing to accept`);
  } else {
    await peer.connect(name === 'ESTABLISHED, zero window' ? 4096 : undefined);
    const out = await peer.collect();
    if (out.map((o) => o.flags).join(' ') !== 'S') throw new Error(`${name}: no SYN`);
    if (state === 'SYN-SENT') return s;
    if (state === 'SYN-RECEIVED') {
      await peer.inject({ flags: 'S', ...syn });
      s.rcvNxt = 1;
      s.maxSndWnd = WINDOW;
      await collect('S.');
      return s;
    }
    await peer.inject({ flags: 'S.', ack: 1, ...syn });
    s.rcvNxt = 1;
    await collect('.');
  }
  s.maxSndWnd = WINDOW;
  s.sndUna = 1;

  // Something was sent and acknowledged, something received and read, something is in flight.
  await peer.send(SENT);
  await collect('P.');
  await peer.inject({ flags: 'P.', seq: 1, ack: 1 + SENT, len: RECEIVED, win: WINDOW });
  s.rcvNxt += RECEIVED;
  s.sndUna = s.sndNxt = 1 + SENT;
  await collect('.');
  if ((await peer.read()).bytes !== RECEIVED) throw new Error(`${name}: the data did not arrive`);
  if (name === 'ESTABLISHED, zero window') {
    for (let i = 0; s.rcvWnd > 0; i++) {
      if (i > 300) throw new Error(`${name}: the window does not close`);
      const length = Math.min(s.rcvWnd, 1460);
      await peer.inject({ flags: 'P.', seq: s.rcvNxt, ack: s.sndUna, len: length, win: WINDOW });
      s.rcvNxt += length;
      s.unread += length;
      // What is old is answered without delay.
      await peer.inject({ flags: 'P.', seq: s.rcvNxt - 1, ack: s.sndUna, len: 1, win: WINDOW });
      for (const o of await peer.collect()) edge = Math.max(edge, o.ack + o.win);
      s.rcvWnd = edge - s.rcvNxt;
    }
  }
  await peer.send(FLIGHT);
  await collect('P.');
  s.sndNxt += FLIGHT;

  const fin = async (): Promise<void> => {
    await peer.inject({ flags: 'F.', seq: s.rcvNxt, ack: s.sndUna, win: WINDOW });
    s.rcvNxt++;
    await collect('.');
  };
  const shutdown = async (): Promise<void> => {
    await peer.shutdown();
    s.sndNxt++;
    await collect('F.');
  };
  const finAcked = async (): Promise<void> => {
    await peer.inject({ flags: '.', seq: s.rcvNxt, ack: s.sndNxt, win: WINDOW });
    s.sndUna = s.sndNxt;
    await collect('');
  };
  if (state === 'CLOSE-WAIT' || state === 'LAST-ACK') await fin();
  if (state !== 'ESTABLISHED' && state !== 'CLOSE-WAIT') await shutdown();
  if (state === 'CLOSING') await fin();
  if (state === 'FIN-WAIT-2' || state === 'TIME-WAIT') await finAcked();
  if (state === 'TIME-WAIT') await fin();
  return s;
}

/** Everything that may arrive in a situation. */
export function arrivals(s: Situation): Arrival[] {
  const { sndUna: una, sndNxt: nxt, rcvNxt: next } = s;
  const edge = next + s.rcvWnd;
  // Beyond any window here, whatever its size.
  const far = next + 200_000;
  const part = una + ((nxt - una) >> 1);
  const ancient = una - s.maxSndWnd - 1000;
  const list: Arrival[] = [];
  const add = (name: string, flags: string, seq: number, ack: number | undefined, more: Partial<Seg> = {}, stamp?: 'older' | 'none'): void => {
    list.push({ name, segment: { flags, seq, ack, win: WINDOW, ...more }, ...(stamp === undefined ? {} : { stamp }) });
  };
  const error = (name: string, type: number, code: number, mtu = 0, seq = una): void => {
    list.push({ name: `ICMP ${name}`, icmp: { type, code, mtu, seq } });
  };

  add('SYN', 'S', next, undefined, { mss: 1460 });
  add('SYN, the first again', 'S', 0, undefined, { mss: 1460 });
  add('SYN, inside the window', 'S', next + 100, undefined, { mss: 1460 });
  add('SYN, beyond the window', 'S', far, undefined, { mss: 1460 });
  add('SYN, old duplicate', 'S', next - 30_000, undefined, { mss: 1460 });
  add('SYN with data', 'S', next, undefined, { mss: 1460, len: 10 });
  add('SYN-ACK, the first again', 'S.', 0, 1, { mss: 1460 });
  add('SYN-ACK', 'S.', next, nxt, { mss: 1460 });
  add('SYN-ACK of nothing sent', 'S.', next, nxt + 1, { mss: 1460 });
  add('SYN-ACK of nothing new', 'S.', next, una, { mss: 1460 });
  add('SYN-ACK, beyond the window', 'S.', far, nxt, { mss: 1460 });
  add('SYN-ACK with data', 'S.', next, nxt, { mss: 1460, len: 10 });
  add('SYN-ACK with FIN', 'FS.', next, nxt, { mss: 1460 });

  add('ACK of everything', '.', next, nxt);
  add('ACK of a part', '.', next, part);
  add('ACK, duplicate', '.', next, una);
  add('ACK, duplicate, inside the window', '.', next + 100, una);
  add('ACK, old', '.', next, una - 50);
  add('ACK, older than any window', '.', next, ancient);
  add('ACK of nothing sent', '.', next, nxt + 1);
  add('ACK far beyond what was sent', '.', next, nxt + 1_000_000);
  add('ACK, old number, new acknowledgment', '.', next - 1, nxt);
  add('ACK, old number, nothing new', '.', next - 1, una);
  add('ACK, last place of the window', '.', edge - 1, nxt);
  add('ACK, right edge of the window', '.', edge, nxt);
  add('ACK, beyond the window', '.', far, nxt);

  add('data', 'P.', next, una, { len: 100 });
  add('data, and ACK of everything', 'P.', next, nxt, { len: 100 });
  add('data, out of order', 'P.', next + 200, una, { len: 100 });
  add('data, out of order, and ACK of everything', 'P.', next + 200, nxt, { len: 100 });
  add('data, partly old', 'P.', next - 50, una, { len: 100 });
  add('data, all old', 'P.', next - 100, una, { len: 100 });
  add('data, all old, and ACK of everything', 'P.', next - 100, nxt, { len: 100 });
  add('data, over the right edge', 'P.', edge - 50, una, { len: 100 });
  add('data, beyond the window', 'P.', far, una, { len: 100 });
  add('data, old ACK', 'P.', next, una - 50, { len: 100 });
  add('data, ACK older than any window', 'P.', next, ancient, { len: 100 });
  add('data, ACK of nothing sent', 'P.', next, nxt + 1, { len: 100 });
  add('data without ACK', 'P', next, undefined, { len: 100 });

  add('FIN', 'F.', next, una);
  add('FIN, and ACK of everything', 'F.', next, nxt);
  add('FIN, and ACK of a part', 'F.', next, part);
  add('FIN with data', 'FP.', next, una, { len: 100 });
  add('FIN with data, and ACK of everything', 'FP.', next, nxt, { len: 100 });
  add('FIN, out of order', 'F.', next + 100, una);
  add('FIN, old', 'F.', next - 1, una);
  add('FIN, old, and ACK of everything', 'F.', next - 1, nxt);
  add('FIN, beyond the window', 'F.', far, una);
  add('FIN, ACK of nothing sent', 'F.', next, nxt + 1);
  add('FIN without ACK', 'F', next, undefined);

  add('RST', 'R', next, undefined);
  add('RST-ACK', 'R.', next, nxt);
  add('RST-ACK of nothing sent', 'R.', next, nxt + 1);
  add('RST, inside the window', 'R', next + 100, undefined);
  add('RST, last place of the window', 'R', edge - 1, undefined);
  add('RST, right edge of the window', 'R', edge, undefined);
  add('RST, one below the window', 'R', next - 1, undefined);
  add('RST, beyond the window', 'R', far, undefined);
  add('RST, old duplicate', 'R', next - 30_000, undefined);
  add('RST with data', 'R', next, undefined, { len: 10 });
  add('RST-SYN', 'RS', next, undefined);
  add('RST-FIN', 'RF', next, undefined);

  add('SYN-FIN', 'SF', next, undefined);
  add('SYN-FIN, inside the window', 'SF', next + 100, undefined);
  add('SYN-FIN, old duplicate', 'SF', next - 30_000, undefined);
  add('no flags', '', next, undefined);
  add('no flags, with data', '', next, undefined, { len: 100 });
  add('no flags, beyond the window', '', far, undefined);
  add('FIN-PSH-URG without ACK', 'FPU', next, undefined);
  add('every flag', 'FSRPU.', next, nxt);

  if (s.timestamps) {
    add('older timestamp: data', 'P.', next, nxt, { len: 100 }, 'older');
    add('older timestamp: ACK', '.', next, nxt, {}, 'older');
    add('older timestamp: FIN', 'F.', next, nxt, {}, 'older');
    add('older timestamp: SYN', 'S', next, undefined, { mss: 1460 }, 'older');
    add('older timestamp: RST', 'R', next, undefined, {}, 'older');
    add('older timestamp: RST, inside the window', 'R', next + 100, undefined, {}, 'older');
    add('older timestamp: RST, beyond the window', 'R', far, undefined, {}, 'older');
    add('no timestamp: data', 'P.', next, nxt, { len: 100 }, 'none');
    add('no timestamp: ACK', '.', next, nxt, {}, 'none');
    add('no timestamp: FIN', 'F.', next, nxt, {}, 'none');
  }

  error('network unreachable', 3, 0);
  error('host unreachable', 3, 1);
  error('protocol unreachable', 3, 2);
  error('port unreachable', 3, 3);
  error('fragmentation needed', 3, 4, 576);
  error('source route failed', 3, 5);
  error('administratively prohibited', 3, 13);
  error('source quench', 4, 0);
  error('time exceeded', 11, 0);
  error('parameter problem', 12, 0);
  error('port unreachable, about nothing in flight', 3, 3, 0, nxt + 1000);
  error('fragmentation needed, about nothing in flight', 3, 4, 576, nxt + 1000);
  return list;
}

/** What came of an arrival, in words that can be compared. */
export interface Outcome {
  /** `ACK seq SND.NXT ack RCV.NXT`, `RST seq SEG.ACK`, … ; several with ` + ` between; or `nothing`. */
  reply: string;
  state: string;
  /** Bytes that reached the user. */
  delivered: number;
  /** The stream's end reached the user. */
  eof: boolean;
  /** SO_ERROR afterwards, or ''. */
  error: string;
}

export function outcomeText(o: Outcome): string {
  const parts = [o.reply, o.state];
  if (o.delivered !== 0) parts.push(`${o.delivered} bytes`);
  if (o.eof) parts.push('end of stream');
  if (o.error !== '') parts.push(o.error);
  return parts.join('; ');
}

function offset(name: string, n: number): string {
  return n === 0 ? name : `${name}${n > 0 ? '+' : '-'}${Math.abs(n)}`;
}

/** A number of sequence space as the oracle writes it. */
export function rcvPlace(s: Situation, arrival: Arrival, ack: number): string {
  const seg = arrival.segment;
  if (s.state === 'CLOSED' || s.state === 'LISTEN' || s.state === 'SYN-SENT') return offset('SEG.SEQ', (ack - (seg?.seq ?? 0)) | 0);
  return offset('RCV.NXT', (ack - s.rcvNxt) | 0);
}

/** A retransmission. */
const AGAIN = 'again from SND.UNA';

function replyText(s: Situation, arrival: Arrival, out: Out, iss: number): string {
  const seg = arrival.segment;
  const flags = [...out.flags].sort().join('');
  const ack = rcvPlace(s, arrival, out.ack);
  if (flags === 'R' || flags === '.R') {
    const seq = ((out.seq + iss) | 0) === 0 ? '0' : seg?.ack !== undefined && out.seq === seg.ack ? 'SEG.ACK' : offset('SND.NXT', out.seq - s.sndNxt);
    return flags === 'R' ? `RST seq ${seq}` : `RST seq ${seq} ack ${ack}`;
  }
  if (flags === '.S') return `SYN-ACK seq ${out.seq === 0 || s.state === 'TIME-WAIT' ? 'ISS' : 'other'} ack ${ack}`;
  if (out.len > 0 || flags.includes('F') || flags.includes('S')) return out.seq < s.sndNxt ? AGAIN : `[${out.flags} seq ${out.seq} len ${out.len}]`;
  if (flags === '.') return `ACK seq ${offset('SND.NXT', out.seq - s.sndNxt)} ack ${ack}`;
  return `[${out.flags} seq ${out.seq}]`;
}

export function repliesText(s: Situation, arrival: Arrival, out: Out[], iss: number): string {
  const texts = out.map((o) => replyText(s, arrival, o, iss));
  // What is cut up anew is one thing.
  const list = texts.filter((text, i) => text !== AGAIN || texts.indexOf(text) === i);
  return list.length === 0 ? 'nothing' : list.join(' + ');
}

/** Lets it arrive, and tells what came of it. Unless `reply` comes at once, an ACK may be under way that is delayed. */
export async function observe(peer: Peer, s: Situation, arrival: Arrival, reply: string): Promise<Outcome> {
  if (arrival.icmp !== undefined) await peer.icmp(arrival.icmp.type, arrival.icmp.code, arrival.icmp.mtu, arrival.icmp.seq);
  else {
    const segment = { ...arrival.segment! };
    if (arrival.stamp === 'older') segment.ts = peer.oldTimestamp();
    if (arrival.stamp === 'none') segment.ts = null;
    await peer.inject(segment);
  }
  const replies = (): string => {
    const text = repliesText(s, arrival, out, peer.iss);
    if (!peer.realTime || reply.includes(AGAIN)) return text;
    return text.split(' + ').filter((one) => one !== AGAIN).join(' + ') || 'nothing';
  };
  const out = await peer.collect();
  if (replies() !== reply) out.push(...await peer.collect(true));
  if (s.passive && s.state === 'SYN-RECEIVED') await peer.accept();
  const { error, state, bytes, eof } = await peer.report();
  const before = s.state === 'CLOSE-WAIT' || s.state === 'CLOSING' || s.state === 'LAST-ACK' || s.state === 'TIME-WAIT';
  return { reply: replies(), state, delivered: bytes - s.unread, eof: eof && !before && error === '' && state !== 'CLOSED', error };
}
