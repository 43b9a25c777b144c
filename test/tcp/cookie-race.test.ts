/** SYN cookies and half-open connections for the same SYN: whichever answer the peer acknowledges, it is connected. */

import { script } from './harness.ts';

script('a SYN that was answered by a cookie comes again when there is room: the ACK of either answer will do', {
  ownIsn: true, tcp: { maxSynBacklog: 4 },
}, (h) => {
  const l = h.listen();
  const peer = h.peerPort;
  const others = (flags: string, seq: number): void => {
    for (let i = 1; i <= 3; i++) {
      h.peerPort = peer + i;
      h.inject({ flags, seq, mss: 1460 });
      h.take();
    }
    h.peerPort = peer;
  };
  others('S', 0);
  h.inject({ flags: 'S', seq: 0, mss: 1400, sackOK: true, ts: [77, 0], ws: 9 });
  const cookie = h.take()[0]!;
  h.t.equal(h.counters.SyncookiesSent, 1);
  others('R', 1);
  h.inject({ flags: 'S', seq: 0, mss: 1400, sackOK: true, ts: [1077, 0], ws: 9 });
  const answer = h.take()[0]!;
  h.t.not(cookie.seq, answer.seq, 'two answers');
  h.iss = (h.iss + cookie.seq) | 0;
  // What acknowledges neither is reset, and changes nothing.
  h.inject({ flags: '.', seq: 1, ack: 1000, ts: [1078, cookie.ts![0]], win: 100 });
  h.expect({ flags: 'R', seq: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 1, ts: [1078, cookie.ts![0]], win: 100 });
  h.expectNothing();
  const s = h.accept(l);
  h.t.match(h.info(s), { state: 'ESTABLISHED', timestamps: true, sack: true, sndWscale: 9, sndWnd: 100 << 9 });
  h.t.match(h.counters, { SyncookiesRecv: 1, CurrEstab: 1 });
});
