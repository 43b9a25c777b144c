/**
 * What must not be taken for loss, for reordering, or for an idle peer: regressions of loss recovery (RFC 8985, 2883,
 * 4015, 5482), each of which went wrong once.
 */

import { IPPROTO_TCP, SO_SNDBUF, SOL_SOCKET, TCP_CORK, TCP_USER_TIMEOUT } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { script } from './harness.ts';
import type { Harness, Seg } from './harness.ts';

const MSS = 1000;
const RTT_MS = 40;

/** A connection with `segments` segments in flight, which left in one turn. */
function inFlight(h: Harness, segments: number): BsdSocket {
  const s = h.active({ mss: MSS, win: 65535, sack: true }, (one) => one.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20), RTT_MS);
  h.send(s, segments * MSS);
  h.t.equal(h.take().length, segments);
  return s;
}

function ack(segments: number, more: Partial<Seg> = {}): Seg {
  return { flags: '.', seq: 1, ack: 1 + segments * MSS, ...more };
}

function block(from: number, to: number): [number, number] {
  return [1 + from * MSS, 1 + to * MSS];
}

script('corked data waits for the cork, not for the user timeout', (h) => {
  const s = h.active({ mss: MSS });
  s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
  h.advance(10_000);
  s.setsockopt(IPPROTO_TCP, TCP_CORK, 1);
  h.send(s, 100);
  h.expectNothing();
  h.advance(200);
  h.expect({ flags: 'P.', len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.t.equal(h.counters.UserTimeouts, 0);
});

script('an ACK of a part of what left in one turn is no sign of reordering', (h) => {
  inFlight(h, 10);
  h.advance(RTT_MS);
  h.inject(ack(2));
  h.inject(ack(2, { sack: [block(3, 4)] }));
  h.t.equal(h.tcb.reorderingSeen, false);
  h.inject(ack(2, { sack: [block(3, 6)] }));
  const [first] = h.take();
  h.t.equal(first?.seq, 1 + 2 * MSS, 'three are SACKed: repeated at once');
});

script('after a long silence what arrived before it does not lie in the future', (h) => {
  const s = inFlight(h, 2);
  h.advance(RTT_MS);
  h.inject(ack(2));
  // More than half of what 32 bits of µs can tell apart.
  h.advance(40 * 60_000);
  h.send(s, 2 * MSS);
  h.t.equal(h.take().length, 2);
  h.advance(50);
  h.inject(ack(4));
  h.send(s, 4 * MSS);
  h.t.equal(h.take().length, 4);
  h.t.equal(h.tcb.rackRttUs, 50_000, 'measured anew');
  h.advance(5);
  h.send(s, MSS);
  h.t.equal(h.take().length, 1);
  h.advance(45);
  h.inject(ack(4, { sack: [block(5, 8)] }));
  const again = h.take();
  h.t.equal(again.length, 1);
  h.t.equal(again[0]!.seq, 1 + 4 * MSS, 'only what was sent before what has arrived is lost');
  h.t.equal(h.tcb.lostBytes, MSS);
});

script('the D-SACK of a needless tail probe does not undo an earlier reduction', (h) => {
  const s = inFlight(h, 10);
  h.advance(RTT_MS);
  h.inject(ack(0, { sack: [block(1, 4)] }));
  h.t.equal(h.take()[0]?.seq, 1);
  h.advance(RTT_MS);
  h.inject(ack(10));
  const { ssthresh } = h.info(s);
  h.t.ok(ssthresh < 10 * MSS);
  h.send(s, MSS);
  h.t.equal(h.take().length, 1);
  h.advance(1000);
  const probe = h.take();
  h.t.ok(probe.length >= 1, 'nobody answers: it is asked');
  h.t.ok(h.counters.LossProbes >= 1);
  h.inject(ack(11, { sack: [block(10, 11)] }));
  h.t.equal(h.counters.DsackIn, 1);
  h.t.equal(h.counters.UndoDsack, 0);
  h.t.ok(h.info(s).ssthresh <= ssthresh, 'the reduction was for a loss');
});

script('rows of a connection that sends crumbs are bounded', (h) => {
  const s = h.active({ mss: 64, win: 65535, ws: 7, sack: true }, (one) => one.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20), RTT_MS);
  h.tcb.cwnd = 1 << 20;
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000 });
  for (let i = 0; i < 5000; i++) {
    h.send(s, 64);
    h.advance(0.01);
    h.take();
  }
  h.t.ok(h.tcb.rows <= 4096, `${h.tcb.rows} rows`);
  h.t.ok(h.tcb.flight >= 5000 * 64 || h.tcb.flight > 4096 * 64, `${h.tcb.flight} bytes`);
});
