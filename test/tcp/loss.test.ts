/**
 * Loss: timeouts (RFC 6298), fast retransmit and NewReno (RFC 5681, 6582), SACK (RFC 2018, 6675), and what gives up
 * (user timeout, retries, keep-alive).
 */

import {
  IPPROTO_TCP, SHUT_WR, SO_KEEPALIVE, SO_SNDBUF, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT,
} from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { describe, script } from './harness.ts';
import type { Harness, Options, PeerOptions, Seg } from './harness.ts';

const MSS = 1000;
const reno: Options = { tcp: { congestion: 'newreno' } };

/** An established connection with `segments` segments of 1000 bytes in flight, sent at once. */
function inFlight(h: Harness, segments: number, options: PeerOptions = {}, rttMs = 10): BsdSocket {
  const offer = { mss: MSS + (options.ts ? 12 : 0), win: 65535, ...options };
  const s = h.active(offer, (one) => one.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20), rttMs);
  h.send(s, segments * MSS);
  expectSegments(h, 0, segments);
  return s;
}

/** Segments number `from` up to `to` must come out next. */
function expectSegments(h: Harness, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const out = h.take1();
    if (out === undefined || out.len !== MSS || out.seq !== 1 + i * MSS) {
      h.t.fail(`segment ${i} expected, got ${out === undefined ? 'nothing' : describe(out)}`);
      throw new Error('off the track');
    }
  }
}

function ack(segments: number, more: Partial<Seg> = {}): Seg {
  return { flags: '.', seq: 1, ack: 1 + segments * MSS, ...more };
}

/** SACK blocks of segments [from, to). */
function blocks(...ranges: [number, number][]): [number, number][] {
  return ranges.map(([from, to]) => [1 + from * MSS, 1 + to * MSS]);
}

// -------------------------------------------------------------------------------------- timeouts

script('RTT and RTO as RFC 6298 has them, with Linux\'s minimum', (h) => {
  const s = h.active({ mss: MSS }, undefined, 100);
  h.t.match(h.info(s), { srttMs: 100, rttvarMs: 50, rtoMs: 300, minRttMs: 100 });
  h.send(s, 100);
  h.expect({ flags: 'P.', len: 100 });
  h.advance(180);
  h.inject({ flags: '.', seq: 1, ack: 101 });
  // RTTVAR = 3/4 × 50 + 1/4 × 80 = 57.5; SRTT = 7/8 × 100 + 1/8 × 180 = 110
  h.t.match(h.info(s), { srttMs: 110, rttvarMs: 57.5, rtoMs: 340 });
  for (let i = 1; i < 40; i++) {
    h.send(s, 100);
    h.expect({ flags: 'P.', len: 100 });
    h.advance(20);
    h.inject({ flags: '.', seq: 1, ack: 101 + i * 100 });
  }
  h.t.equal(h.info(s).rtoMs, 220, 'a steady path: SRTT and 200 ms');
  h.t.equal(h.info(s).minRttMs, 20);
});

script('retransmission timeout: one segment, doubled each time, then slow start', { tcp: { ...reno.tcp, mtuProbing: 'off' } }, (h) => {
  const s = inFlight(h, 5);
  const rto = h.info(s).rtoMs;
  h.t.equal(rto, 210);
  for (let i = 0; i < 5; i++) {
    h.advance(rto * 2 ** i - 1);
    h.expectNothing();
    h.advance(1);
    expectSegments(h, 0, 1);
    h.expectNothing('one only');
    h.t.equal(h.info(s).backoff, i + 1);
    h.t.equal(h.info(s).cwnd, MSS);
    h.t.equal(h.info(s).ssthresh, 2500, 'half of what was in flight, once');
  }
  h.t.equal(h.info(s).congestionState, 'loss');
  h.inject(ack(1));
  expectSegments(h, 1, 3);
  h.expectNothing();
  h.inject(ack(3));
  expectSegments(h, 3, 5);
  h.inject(ack(5));
  h.expectNothing();
  h.t.equal(h.info(s).congestionState, 'open');
  h.t.equal(h.info(s).retransSegs, 9);
});

script('Karn: the backed-off timeout stays until something is measured', (h) => {
  const s = inFlight(h, 1, {}, 100);
  h.advance(300);
  expectSegments(h, 0, 1);
  const before = h.info(s).srttMs;
  h.advance(50);
  h.inject(ack(1));
  h.t.equal(h.info(s).srttMs, before, 'a repeated segment is not timed');
  h.send(s, MSS);
  expectSegments(h, 1, 2);
  h.advance(599);
  h.expectNothing('the timeout is still doubled');
  h.advance(1);
  expectSegments(h, 1, 2);
  h.inject(ack(2));
  h.send(s, MSS);
  expectSegments(h, 2, 3);
  h.advance(100);
  h.inject(ack(3));
  h.t.equal(h.info(s).backoff, 0);
});

script('with timestamps a repeated segment is timed by its echo', (h) => {
  const s = inFlight(h, 1, { ts: true }, 100);
  h.advance(300);
  expectSegments(h, 0, 1);
  h.advance(60);
  h.inject(ack(1));
  const info = h.info(s);
  h.t.ok(info.srttMs < 100 && info.srttMs > 90, `SRTT ${info.srttMs} has moved towards 60 ms`);
  h.t.equal(info.backoff, 0);
});

script('the timer restarts with every new ACK and stops when all is acknowledged (RFC 6298 5.2, 5.3)', (h) => {
  inFlight(h, 3);
  for (let i = 1; i < 3; i++) {
    h.advance(150);
    h.inject(ack(i));
  }
  h.advance(150);
  h.inject(ack(3));
  h.advance(100_000);
  h.expectNothing();
});

script('retries exhausted: ETIMEDOUT', { tcp: { retries: 4 } }, (h) => {
  const s = inFlight(h, 1);
  h.advance(210 + 420 + 840 + 1680);
  h.t.equal(h.take().length, 4);
  h.advance(3359);
  h.state(s, 'ESTABLISHED');
  h.advance(1);
  h.take();
  h.errno(s.send(new Uint8Array(1), 0, 1), 'ETIMEDOUT', 'send');
});

script('TCP_USER_TIMEOUT: given up when it has passed, not at the next doubling', (h) => {
  const s = inFlight(h, 1);
  s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
  h.advance(4999);
  h.state(s, 'ESTABLISHED');
  h.take();
  h.advance(10);
  h.take();
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ETIMEDOUT', 'recv');
});

script('TCP_USER_TIMEOUT of a connection that was idle long counts from the data', (h) => {
  const s = inFlight(h, 1, { win: 2000 });
  s.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, 30_000);
  h.inject(ack(1, { win: 0 }));
  h.advance(3_600_000);
  h.send(s, 1000);
  h.advance(10_000);
  h.t.ok(h.take().length > 2, 'the window is probed');
  h.state(s, 'ESTABLISHED');
  h.advance(60_000);
  h.take();
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ETIMEDOUT', 'recv');
});

script('an ICMP error is the reason that is told when a connection dies', { tcp: { retries: 2 } }, (h) => {
  const s = inFlight(h, 1);
  h.icmp(3, 1, 0, 1);
  h.state(s, 'ESTABLISHED');
  h.advance(10_000);
  h.take();
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'EHOSTUNREACH', 'recv');
});

// ------------------------------------------------------------------ fast retransmit without SACK

script('fast retransmit at the third duplicate ACK; limited transmit before (RFC 5681 3.2, RFC 3042)', reno, (h) => {
  const s = inFlight(h, 10);
  h.send(s, 20_000);
  h.expectNothing('the congestion window is full');
  h.inject(ack(1));
  expectSegments(h, 10, 12);
  h.inject(ack(1));
  expectSegments(h, 12, 13);
  h.inject(ack(1));
  expectSegments(h, 13, 14);
  h.t.equal(h.info(s).fastRetransmits, 0);
  h.inject(ack(1));
  expectSegments(h, 1, 2);
  h.expectNothing();
  h.t.equal(h.info(s).congestionState, 'recovery');
  h.t.equal(h.counters.FastRecoveries, 1);
  h.t.equal(h.info(s).ssthresh, 6500, 'half of 13 segments in flight');
});

script('NewReno: each partial ACK repeats the next segment; the full ACK ends it (RFC 6582)', reno, (h) => {
  const s = inFlight(h, 10);
  for (let i = 0; i < 3; i++) h.inject(ack(0));
  expectSegments(h, 0, 1);
  for (let i = 0; i < 4; i++) h.inject(ack(0));
  h.expectNothing();
  h.inject(ack(4));
  expectSegments(h, 4, 5);
  h.expectNothing();
  h.inject(ack(7));
  expectSegments(h, 7, 8);
  h.t.equal(h.info(s).congestionState, 'recovery');
  h.inject(ack(10));
  h.expectNothing();
  const info = h.info(s);
  h.t.equal(info.congestionState, 'open');
  h.t.equal(info.cwnd, 5000, 'half of the ten that were in flight');
  h.t.equal(info.ssthresh, 5000);
  h.t.equal(info.retransSegs, 3);
  h.t.equal(info.rtos, 0);
});

script('NewReno: duplicates during recovery let new data go, a segment each, when enough have left', reno, (h) => {
  const s = inFlight(h, 10);
  h.send(s, 10_000);
  h.take();
  for (let i = 0; i < 2; i++) h.inject(ack(0));
  expectSegments(h, 10, 12);
  h.inject(ack(0));
  expectSegments(h, 0, 1);
  const sent: number[] = [];
  for (let i = 0; i < 8; i++) {
    h.inject(ack(0));
    sent.push(h.take().length);
  }
  h.t.same(sent, [0, 0, 0, 1, 1, 1, 1, 1], 'cwnd is 6 segments, 9 were left in the network');
});

script('two duplicate ACKs are not three', reno, (h) => {
  inFlight(h, 10);
  h.inject(ack(0));
  h.inject(ack(0));
  h.expectNothing();
  h.inject(ack(1));
  h.inject(ack(1));
  h.inject(ack(1));
  h.expectNothing();
});

script('not duplicates: with data, with another window, or with nothing in flight (RFC 5681 section 2)', reno, (h) => {
  inFlight(h, 5);
  for (let i = 0; i < 5; i++) h.inject(ack(0, { win: 60_000 - i }));
  h.expectNothing();
  for (let i = 0; i < 5; i++) h.inject({ flags: 'P.', seq: 1 + i * 10, ack: 1, win: 60_000 - 4, len: 10 });
  h.t.ok(h.take().every((o) => o.len === 0));
  h.inject({ ...ack(5), seq: 51 });
  for (let i = 0; i < 5; i++) h.inject({ ...ack(5), seq: 51 });
  h.expectNothing();
});

script('duplicates that our own timeout brought about do not start a fast retransmit (RFC 6582 3.2)', reno, (h) => {
  const s = inFlight(h, 6);
  h.advance(210);
  expectSegments(h, 0, 1);
  h.inject(ack(1));
  h.take();
  for (let i = 0; i < 4; i++) h.inject(ack(1));
  h.take();
  h.t.equal(h.info(s).fastRetransmits, 0);
});

// --------------------------------------------------------------------------------- SACK, sending

script('SACK: the hole is repeated at the third SACKed segment, nothing that was SACKed (RFC 6675)', (h) => {
  const s = inFlight(h, 10, { sack: true });
  h.inject(ack(0, { sack: blocks([1, 2]) }));
  h.inject(ack(0, { sack: blocks([1, 3]) }));
  h.expectNothing();
  h.inject(ack(0, { sack: blocks([1, 4]) }));
  expectSegments(h, 0, 1);
  h.expectNothing();
  h.t.equal(h.counters.SackRecoveries, 1);
  h.t.match(h.info(s), { congestionState: 'recovery', sacked: 3000, fastRetransmits: 1 });
  h.inject(ack(10));
  h.t.match(h.info(s), { congestionState: 'open', sacked: 0, lost: 0, cwnd: 7000, ssthresh: 7000 }, 'CUBIC: 0.7');
});

script('SACK: several holes, repeated in order and in proportion to what arrives, never twice (RFC 6937)', (h) => {
  const s = inFlight(h, 10, { sack: true });
  h.inject(ack(0, { sack: blocks([7, 10]) }));
  expectSegments(h, 0, 3);
  h.expectNothing('three have arrived, three leave');
  h.inject(ack(0, { sack: blocks([3, 4], [7, 10]) }));
  expectSegments(h, 4, 5);
  h.expectNothing('never what was SACKed');
  h.inject(ack(4, { sack: blocks([7, 10]) }));
  expectSegments(h, 5, 7);
  h.expectNothing('and nothing twice');
  h.t.match(h.info(s), { sacked: 3000, lost: 3000, congestionState: 'recovery' }, 'what was acknowledged has left the scoreboard');
  h.inject(ack(10));
  h.t.match(h.info(s), { congestionState: 'open', retransSegs: 6, sacked: 0, lost: 0, cwnd: 7000 });
});

script('SACK with timestamps and super-segments of ACKs: one ACK tells all', (h) => {
  const s = inFlight(h, 10, { sack: true, ts: true });
  h.inject(ack(1, { sack: blocks([2, 10]) }));
  expectSegments(h, 1, 2);
  h.inject(ack(10));
  h.t.equal(h.info(s).retransSegs, 1);
});

script('SACK: new data goes on during the recovery when nothing is left to repeat', (h) => {
  const s = inFlight(h, 10, { sack: true });
  h.send(s, 20_000);
  h.expectNothing();
  h.inject(ack(0, { sack: blocks([1, 4]) }));
  expectSegments(h, 0, 1);
  h.inject(ack(0, { sack: blocks([1, 10]) }));
  expectSegments(h, 10, 16);
  h.expectNothing('ssthresh of 7: one repeated, six new');
  h.inject(ack(16));
  h.t.equal(h.info(s).congestionState, 'open');
  h.take();
});

script('RACK: all holes below what has arrived are repeated, however few segments are SACKed (RFC 8985)', (h) => {
  inFlight(h, 8, { sack: true });
  h.inject(ack(0, { sack: blocks([1, 4], [6, 7]) }));
  expectSegments(h, 0, 1);
  expectSegments(h, 4, 6);
  h.inject(ack(0, { sack: blocks([1, 4], [6, 8]) }));
  h.expectNothing();
});

script('reneging: what was SACKed and thrown away is sent again after a timeout (RFC 2018 section 8)', (h) => {
  const s = inFlight(h, 6, { sack: true });
  h.inject(ack(0, { sack: blocks([1, 4]) }));
  expectSegments(h, 0, 1);
  h.inject(ack(1));
  h.advance(1000);
  expectSegments(h, 1, 2);
  h.t.equal(h.counters.SackReneged, 1);
  h.inject(ack(2));
  h.inject(ack(6));
  h.take();
  h.t.equal(h.info(s).congestionState, 'open');
  h.t.equal(h.info(s).sacked, 0);
});

script('SACK lies: blocks never sent, empty, inverted, or below are not believed', (h) => {
  const s = inFlight(h, 5, { sack: true });
  h.inject(ack(1));
  const lies: [number, number][][] = [
    blocks([5, 7]), blocks([3, 3]), blocks([4, 2]), [[1001 - 500, 2001]], [[-100_000, 4001]], [[2001, 2001 + 0x70000000]],
  ];
  for (const sack of lies) for (let i = 0; i < 4; i++) h.inject(ack(1, { sack }));
  h.expectNothing();
  h.t.equal(h.info(s).sacked, 0);
  h.t.equal(h.counters.SackBlocksBad, 24);
  for (let i = 0; i < 4; i++) h.inject(ack(1, { sack: blocks([0, 1]) }));
  h.expectNothing('a D-SACK is no loss');
  h.t.equal(h.info(s).sacked, 0);
});

script('a peer that SACKs everything but moves nothing: the timeout sends again', (h) => {
  inFlight(h, 5, { sack: true });
  for (let i = 0; i < 5; i++) h.inject(ack(0, { sack: blocks([0, 5]) }));
  h.take();
  h.advance(1000);
  const out = h.take();
  h.t.ok(out.length > 0 && out[0]!.seq === 1, 'segment 0 is sent again');
});

script('SACK blocks without the option agreed are ignored', reno, (h) => {
  const s = inFlight(h, 5);
  h.inject(ack(0, { sack: blocks([1, 4]) }));
  h.expectNothing();
  h.t.equal(h.info(s).sacked, 0);
});

script('a lost retransmission is left to the timeout when nothing sent later can tell of it', (h) => {
  const s = inFlight(h, 10, { sack: true });
  h.inject(ack(0, { sack: blocks([1, 4]) }));
  expectSegments(h, 0, 1);
  h.inject(ack(0, { sack: blocks([1, 10]) }));
  h.expectNothing();
  h.advance(h.info(s).rtoMs);
  expectSegments(h, 0, 1);
  h.inject(ack(10));
  h.t.equal(h.info(s).rtos, 1);
});

script('after a timeout SACKed segments are not sent again', (h) => {
  const s = inFlight(h, 6, { sack: true });
  h.inject(ack(0, { sack: blocks([2, 3], [4, 5]) }));
  h.expectNothing('too few to tell loss from reordering at once');
  h.advance(Math.ceil(h.info(s).minRttMs / 4) + 1);
  expectSegments(h, 0, 1);
  h.expectNothing('the reordering window has passed');
  h.advance(h.info(s).rtoMs);
  expectSegments(h, 0, 1);
  h.t.equal(h.info(s).congestionState, 'loss');
  h.inject(ack(1, { sack: blocks([2, 3], [4, 5]) }));
  expectSegments(h, 1, 2);
  expectSegments(h, 3, 4);
  h.inject(ack(5));
  expectSegments(h, 5, 6);
});

script('a super-segment that is repeated counts as its segments', { features: LINK_CSUM | LINK_TSO4 }, (h) => {
  const s = h.active({ mss: MSS, sack: true }, undefined, 10);
  h.send(s, 10 * MSS);
  h.expect({ flags: 'P.', seq: 1, len: 10 * MSS, gso: MSS });
  h.inject(ack(0, { sack: blocks([7, 10]) }));
  h.expect({ flags: '.', seq: 1, len: 3 * MSS, gso: MSS }, 'three have arrived, three leave');
  h.inject(ack(0, { sack: blocks([5, 10]) }));
  h.expect({ flags: '.', seq: 1 + 3 * MSS, len: 2 * MSS, gso: MSS }, 'the rest of the hole at once');
  h.t.match(h.info(s), { retransSegs: 5, bytesRetrans: 5 * MSS });
  h.t.equal(h.counters.RetransSegs, 5);
  h.inject(ack(10));
});

script('a FIN in the hole', (h) => {
  const s = inFlight(h, 2, { sack: true });
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.', seq: 2001 });
  h.inject(ack(2));
  h.advance(1000);
  const again = h.take();
  h.t.ok(again.length >= 1 && again.every((o) => o.seq === 2001 && o.len === 0 && o.flags.includes('F')));
  h.inject({ flags: '.', seq: 1, ack: 2002 });
  h.state(s, 'FIN-WAIT-2');
});

// ------------------------------------------------------------------------------- SACK, receiving

script('SACK blocks that we send: the latest first, then earlier ones, four at most (RFC 2018 section 4)', (h) => {
  const s = h.passive({ sack: true });
  const arrive = (n: number): void => h.inject({ flags: '.', seq: 1 + n * 100, ack: 1, len: 100 });
  arrive(2);
  h.expect({ flags: '.', ack: 1, sack: [[201, 301]] });
  arrive(4);
  h.expect({ flags: '.', ack: 1, sack: [[401, 501], [201, 301]] });
  arrive(6);
  h.expect({ flags: '.', ack: 1, sack: [[601, 701], [401, 501], [201, 301]] });
  arrive(8);
  h.expect({ flags: '.', ack: 1, sack: [[801, 901], [601, 701], [401, 501], [201, 301]] });
  arrive(10);
  h.expect({ flags: '.', ack: 1, sack: [[1001, 1101], [801, 901], [601, 701], [401, 501]] });
  arrive(3);
  h.expect({ flags: '.', ack: 1, sack: [[201, 501], [1001, 1101], [801, 901], [601, 701]] }, 'joined');
  arrive(0);
  h.expect({ flags: '.', ack: 101, sack: [[201, 501], [1001, 1101], [801, 901], [601, 701]] });
  arrive(1);
  h.expect({ flags: '.', ack: 501, sack: [[1001, 1101], [801, 901], [601, 701]] });
  h.recv(s, 500);
});

script('three SACK blocks with timestamps', (h) => {
  h.passive({ sack: true, ts: true });
  for (const n of [2, 4, 6, 8]) h.inject({ flags: '.', seq: 1 + n * 100, ack: 1, len: 100 });
  const last = h.take().at(-1)!;
  h.t.same(last.sack, [[801, 901], [601, 701], [401, 501]]);
  h.t.same(last.options.length, 40, 'all the room there is');
});

script('no SACK blocks when the peer did not permit them', (h) => {
  h.passive();
  h.inject({ flags: '.', seq: 201, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 1 });
});

script('a gap is told although data is being sent (RFC 2018 section 3)', (h) => {
  const s = h.passive({ sack: true });
  h.send(s, 5000, 0);
  h.take();
  h.inject({ flags: '.', seq: 201, ack: 1461, len: 100 });
  h.send(s, 5000);
  const out = h.take();
  h.t.ok(out.some((o) => o.sack !== undefined && o.sack[0]![0] === 201), out.map(describe).join(' '));
});

script('every segment that comes out of order is told to a peer without SACK (RFC 5681 4.2)', (h) => {
  h.passive();
  h.inject(...[1, 2, 3, 4].map((n) => ({ flags: '.', seq: 1 + n * 1000, ack: 1, len: 1000 })));
  const out = h.take();
  h.t.ok(out.length >= 3, 'a batch of four segments behind a gap makes the three duplicate ACKs that the peer needs');
  h.t.ok(out.every((o) => o.ack === 1));
});

// ----------------------------------------------------------------------------------- keep-alive

function keepAlive(s: BsdSocket): void {
  s.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
  s.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  s.setsockopt(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  s.setsockopt(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

script('keep-alive: probes after the idle time, answered for ever (3.8.4)', (h) => {
  const s = h.active({}, keepAlive);
  for (let i = 0; i < 5; i++) {
    h.advance(59_999);
    h.expectNothing();
    h.advance(1);
    h.expect({ flags: '.', seq: 0, ack: 1, len: 0, urg: 0 });
    h.inject({ flags: '.', seq: 1, ack: 1 });
  }
  h.state(s, 'ESTABLISHED');
  h.t.equal(h.counters.KeepaliveProbes, 5);
});

script('keep-alive after data was exchanged is still no urgent data', (h) => {
  const s = h.active({}, keepAlive);
  h.send(s, 100);
  h.expect({ flags: 'P.', len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.advance(60_000);
  h.expect({ flags: '.', seq: 100, ack: 1, urg: 0 });
});

script('keep-alive: an unanswered peer is given up', (h) => {
  const s = h.active({}, keepAlive);
  h.advance(60_000);
  h.expect({ flags: '.', seq: 0 });
  h.advance(10_000);
  h.expect({ flags: '.', seq: 0 });
  h.advance(10_000);
  h.expect({ flags: '.', seq: 0 });
  h.advance(9999);
  h.expectNothing();
  h.advance(1);
  h.take();
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ETIMEDOUT', 'recv');
  h.t.equal(h.counters.KeepaliveDrops, 1);
});

script('keep-alive: a reset in answer is one', (h) => {
  const s = h.active({}, keepAlive);
  h.advance(60_000);
  h.expect({ flags: '.', seq: 0 });
  h.inject({ flags: 'R', seq: 1 });
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ECONNRESET', 'recv');
});

script('keep-alive is off by default and its time begins anew with what is received (MUST-25, MUST-26)', (h) => {
  const s = h.active();
  h.advance(24 * 3_600_000);
  h.expectNothing();
  keepAlive(s);
  h.advance(30_000);
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 10 });
  h.expect({ flags: '.', ack: 11 });
  h.advance(59_999);
  h.expectNothing();
  h.advance(1);
  h.expect({ flags: '.', seq: 0, ack: 11 });
});
