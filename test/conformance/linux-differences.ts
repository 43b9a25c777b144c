/**
 * Why Linux answers differently from us: each difference that the suite finds belongs to one of these. The cases
 * themselves are measured, and stand in docs/LINUX-DIFFERENCES.md; linux-suite.ts compares them.
 */

import type { Arrival, Outcome, Situation } from './situations.ts';
import { outcomeText } from './situations.ts';

/** A case in which Linux and we differ. */
export interface Difference {
  situation: string;
  arrival: string;
  ours: string;
  theirs: string;
}

export interface Explanation {
  title: string;
  why: string;
  explains(s: Situation, arrival: Arrival, ours: Outcome, theirs: Outcome): boolean;
}

const same = (a: Outcome, b: Outcome, ...but: (keyof Outcome)[]): boolean => {
  const keys: (keyof Outcome)[] = ['reply', 'state', 'delivered', 'eof', 'error'];
  return keys.every((key) => but.includes(key) || a[key] === b[key]);
};
const isReset = (arrival: Arrival): boolean => arrival.segment?.flags.includes('R') ?? false;
const synchronized = (s: Situation): boolean => s.state !== 'SYN-SENT' && s.state !== 'SYN-RECEIVED' && s.state !== 'TIME-WAIT';
const afterFin = (s: Situation): boolean => s.state === 'CLOSE-WAIT' || s.state === 'CLOSING' || s.state === 'LAST-ACK';

export const EXPLANATIONS: Explanation[] = [
  {
    title: 'Data and FIN of a SYN-ACK',
    why: 'RFC 9293 3.10.7.3 goes on with the text and the FIN of a SYN-ACK. Linux looks at them only where Fast Open was asked for, and '
      + 'lets the peer send them again.',
    explains: (s, arrival) => s.state === 'SYN-SENT' && /^SYN-ACK with/.test(arrival.name),
  },
  {
    title: 'A half-open connection is a request',
    why: 'For a passive open Linux keeps a request of a few words until the handshake is complete. A SYN that is not the first one, or a '
      + 'SYN-ACK, ends it with RST where RFC 9293 goes back to LISTEN without a word; we challenge it, so that nobody else can end the attempt. '
      + 'An old or strange acknowledgment is answered with RST before its number is looked at, where 3.10.7.4 has the number first. The '
      + 'place just beyond the window counts as inside.',
    explains: (s, arrival) => s.state === 'SYN-RECEIVED' && s.passive && arrival.segment !== undefined,
  },
  {
    title: 'ICMP errors before the connection is open',
    why: 'In SYN-RECEIVED Linux lets any error that quotes the SYN-ACK end the attempt, as it does in SYN-SENT. Once a SYN has arrived '
      + 'the path works, so that we remember the error and go on.',
    explains: (s, arrival) => s.state === 'SYN-RECEIVED' && arrival.icmp !== undefined,
  },
  {
    title: 'The ACK that ends a simultaneous open',
    why: 'RFC 9293 3.10.7.4, fifth, wants SND.UNA < SEG.ACK =< SND.NXT, else RST. Linux takes an ACK that repeats SND.UNA as well, and one of a '
      + 'segment that ends at the left edge of the window.',
    explains: (s, arrival, ours, theirs) => s.state === 'SYN-RECEIVED' && !s.passive && !isReset(arrival) && ours.state === 'SYN-RECEIVED'
      && (theirs.state === 'ESTABLISHED' || theirs.state === 'CLOSE-WAIT') && arrival.name !== 'ACK, right edge of the window',
  },
  {
    title: 'The SYN again in a simultaneous open',
    why: 'Linux sends an ACK, as for any old segment; we send the SYN-ACK again, as for a passive open: it is what the peer is missing.',
    explains: (s, arrival) => s.state === 'SYN-RECEIVED' && !s.passive && /^SYN, the first again|^SYN-FIN/.test(arrival.name),
  },
  {
    title: 'A reset of a simultaneous open',
    why: 'RFC 9293 3.10.7.4 calls it "connection refused"; Linux tells ECONNRESET in every state but SYN-SENT and CLOSE-WAIT.',
    explains: (s, arrival, ours, theirs) => s.state === 'SYN-RECEIVED' && isReset(arrival) && same(ours, theirs, 'error'),
  },
  {
    title: 'The place just beyond the window',
    why: 'Table 6 of RFC 9293 3.4 has SEG.SEQ < RCV.NXT+RCV.WND. Linux takes the place at the right edge as well, so that a peer that '
      + 'has filled the window can still acknowledge when part of it was lost; its reset is challenged.',
    explains: (_s, arrival) => /right edge of the window$/.test(arrival.name),
  },
  {
    title: 'Segments without ACK, SYN and RST',
    why: 'Linux drops them before it looks at anything else; RFC 9293 looks at the number first, and answers what lies outside of the window.',
    explains: (_s, arrival, ours, theirs) => /^no flags|without ACK/.test(arrival.name) && theirs.reply === 'nothing' && same(ours, theirs, 'reply'),
  },
  {
    title: 'Data with an acknowledgment from long ago',
    why: 'Linux has the check of RFC 5961 section 5, but header prediction takes the data before it comes to that.',
    explains: (_s, arrival) => arrival.name === 'data, ACK older than any window',
  },
  {
    title: 'What lies beyond the FIN',
    why: 'RFC 9293 ignores it; so does Linux, unless the segment begins below the FIN, which it answers with RST. We acknowledge it and do nothing else.',
    explains: (s, arrival, ours) => afterFin(s) && arrival.segment !== undefined && !isReset(arrival)
      && ours.reply === 'ACK seq SND.NXT ack RCV.NXT' && ours.state === s.state && /^data|^FIN/.test(arrival.name),
  },
  {
    title: 'An old segment that acknowledges our FIN',
    why: 'RFC 9293 drops what lies below the window with everything in it, as Linux does. We take its acknowledgment, since keep-alives and window '
      + 'probes of the peer lie there.',
    explains: (_s, arrival, ours, theirs) => /old.*(new acknowledgment|ACK of everything)$/.test(arrival.name) && ours.state !== theirs.state,
  },
  {
    title: 'The number of the FIN in a reset',
    why: 'Some systems send RST with the number of their FIN, one below RCV.NXT, when a program closes with data unread. Linux believes it in '
      + 'the states after a FIN. RFC 5961 wants RCV.NXT exactly, and so do we.',
    explains: (s, arrival) => afterFin(s) && arrival.name === 'RST, one below the window',
  },
  {
    title: 'A reset after both FINs',
    why: 'In CLOSING and LAST-ACK RFC 9293 deletes the TCB and tells nobody; Linux tells ECONNRESET if the socket is still held.',
    explains: (s, arrival, ours, theirs) => (s.state === 'CLOSING' || s.state === 'LAST-ACK') && isReset(arrival) && same(ours, theirs, 'error'),
  },
  {
    title: 'A reset that carries something, when the window is closed',
    why: 'MUST-66 takes a RST at RCV.NXT when the window is zero. Linux does, unless data, SYN or FIN make it end beyond the window.',
    explains: (s, arrival) => s.rcvWnd === 0 && isReset(arrival) && arrival.name !== 'RST',
  },
  {
    title: 'SYN with FIN in TIME-WAIT',
    why: 'Linux ends TIME-WAIT for the new SYN and then drops it because of the FIN; here TIME-WAIT stays.',
    explains: (s, arrival) => s.state === 'TIME-WAIT' && /^SYN-FIN/.test(arrival.name),
  },
  {
    title: 'Errors about nothing in flight',
    why: 'Linux looks whether the quoted number lies between SND.UNA and SND.NXT, both included; we leave SND.NXT out.',
    explains: (s, arrival, ours, theirs) => arrival.icmp !== undefined && synchronized(s) && same(ours, theirs, 'error'),
  },
];

/** The file: explanations with their cases. */
export function differencesDocument(groups: Map<Explanation, Difference[]>, cases: number, kernel: string): string {
  const lines = [
    '# Linux and tcpu',
    '',
    'Generated by `npm run conformance -- --linux`; do not edit. Each state of RFC 9293 meets each kind of segment and ICMP error, once here and once',
    'in Linux\'s TCP, with raw packets through a TUN device (`test/conformance/state-segment-linux-opening.test.ts` and others). Where the two do not do the same,',
    'the case is listed here under its explanation; a difference that is not listed fails the test, and so does one that is gone.',
    'Where tcpu differs from RFC 9293 is in [CONFORMANCE.md](CONFORMANCE.md). Outcomes are: what is answered; the state afterwards; bytes that reached the user; errors told.',
    '',
  ];
  let count = 0;
  for (const list of groups.values()) count += list.length;
  lines.push(`${cases} cases, ${cases - count} the same, ${count} differ. Measured with Linux ${kernel}.`, '');
  for (const [explanation, list] of groups) {
    lines.push(`## ${explanation.title}`, '', explanation.why, '', '| state | arrives | tcpu | Linux |', '|---|---|---|---|');
    for (const d of list) lines.push(`| ${d.situation} | ${d.arrival} | ${d.ours} | ${d.theirs} |`);
    lines.push('');
  }
  return `${lines.join('\n').trimEnd()}\n`;
}

/** The cases that the file lists, by `situation | arrival`. */
export function recordedDifferences(markdown: string): Map<string, Difference> {
  const found = new Map<string, Difference>();
  for (const row of markdown.matchAll(/^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$/gm)) {
    const [, situation, arrival, ours, theirs] = row as unknown as [string, string, string, string, string];
    if (situation !== 'state') found.set(`${situation} | ${arrival}`, { situation, arrival, ours, theirs });
  }
  return found;
}

/** The series of Linux that the file was measured with. */
export function recordedKernel(markdown: string): string {
  return /Measured with Linux ([\d.]*\d)/.exec(markdown)?.[1] ?? '';
}

export function difference(s: Situation, arrival: Arrival, ours: Outcome, theirs: Outcome): Difference {
  return { situation: s.name, arrival: arrival.name, ours: outcomeText(ours), theirs: outcomeText(theirs) };
}
