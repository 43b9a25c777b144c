/**
 * Chief requirements of the RFCs on loss recovery: SACK (2018, 6675), RACK and tail loss probes (8985), proportional rate reduction (6937), D-SACK (2883),
 * undo (3522, 4015, 3708), F-RTO (5682). One script for each; what is about this implementation is tested in test/tcp.
 */

import { script } from '../tcp/harness.ts';
import type { Harness, Out } from '../tcp/harness.ts';
import type { BsdSocket } from '../../lib/socket.ts';

const MSS = 1460;
const RTT = 40;

/** `segments` full segments in flight, on a path of 40 ms. */
function flight(h: Harness, segments: number, options: { ts?: boolean; sack?: boolean } = {}): { s: BsdSocket; sent: Out[] } {
  const s = h.active({ mss: MSS, ws: 7, ...options }, undefined, RTT);
  h.send(s, (MSS - (options.ts ? 12 : 0)) * segments);
  const sent = h.take();
  h.t.equal(sent.length, segments, 'all of it is in flight');
  return { s, sent };
}

const edge = (n: number): number => 1 + n * MSS;

script('SACK: each hole is sent again, once, and nothing that has arrived (RFC 2018 5, 6675 5)', (h) => {
  flight(h, 10, { sack: true });
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(5), edge(10)], [edge(3), edge(4)], [edge(1), edge(2)]] });
  h.advance(RTT / 2);
  h.t.same(h.take().map((o) => [o.seq, o.len]), [[1, MSS], [edge(2), MSS], [edge(4), MSS]], 'in order');
  h.inject({ flags: '.', seq: 1, ack: edge(10), win: 60_000 });
  h.advance(5000);
  h.expectNothing();
});

script('SACK: after a timeout, too, nothing is sent again that has arrived (RFC 6675 5.1)', (h) => {
  flight(h, 10, { sack: true });
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(7), edge(9)]] });
  h.advance(3000);
  const again = h.take();
  h.t.ok(again.filter((o) => o.seq === 1).length >= 2, 'a retransmission, and a timeout');
  for (let n = 1; n <= 7; n += 2) {
    h.inject({ flags: '.', seq: 1, ack: edge(n), win: 60_000, sack: n < 7 ? [[edge(7), edge(9)]] : [] });
    again.push(...h.take());
  }
  h.t.ok(again.every((o) => o.seq + o.len <= edge(7) || o.seq >= edge(9)), 'not what was SACKed');
  h.inject({ flags: '.', seq: 1, ack: edge(10), win: 60_000 });
});

script('RACK: what was sent before something that arrived is lost a reordering window later (RFC 8985 6.2)', (h) => {
  flight(h, 10, { sack: true });
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(1), edge(2)]] });
  h.advance(8);
  h.t.notOk(h.take().some((o) => o.seq === 1), 'not before a quarter of the round trip');
  h.advance(5);
  h.t.ok(h.take().some((o) => o.seq === 1 && o.len === MSS), 'then, though fewer than three segments are SACKed');
});

script('RACK: with three segments SACKed it is lost at once (RFC 8985 6.2, step 4)', (h) => {
  flight(h, 10, { sack: true });
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(1), edge(4)]] });
  h.t.ok(h.take().some((o) => o.seq === 1 && o.len === MSS));
});

script('RACK: what arrives out of order within the window is not sent again (RFC 8985 6.2)', (h) => {
  flight(h, 10, { sack: true });
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(1), edge(3)]] });
  h.advance(5);
  h.inject({ flags: '.', seq: 1, ack: edge(3), win: 60_000 });
  h.advance(20);
  h.t.ok(h.take().every((o) => o.seq >= edge(3)), 'nothing that has arrived');
});

script('RACK: one acknowledgment of much is no sign of reordering (RFC 8985 6.2, step 3)', (h) => {
  flight(h, 10, { sack: true });
  h.advance(RTT);
  // As of a receiver that has one ACK for a batch: what is acknowledged and what is SACKed are told together.
  h.inject({ flags: '.', seq: 1, ack: edge(2), win: 60_000, sack: [[edge(6), edge(10)], [edge(3), edge(5)]] });
  h.t.equal(h.counters.ReorderingSeen, 0);
  h.t.same(h.take().map((o) => o.seq).filter((seq) => seq < edge(10)), [edge(2), edge(5)], 'both holes at once');
  h.inject({ flags: '.', seq: 1, ack: edge(10), win: 60_000 });
});

script('RACK: what arrives late that was SACKed over before is reordering (RFC 8985 6.2, step 3)', (h) => {
  flight(h, 10, { sack: true });
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(1), edge(2)]] });
  h.advance(2);
  h.inject({ flags: '.', seq: 1, ack: edge(2), win: 60_000 });
  h.t.equal(h.counters.ReorderingSeen, 1);
  h.inject({ flags: '.', seq: 1, ack: edge(10), win: 60_000 });
});

script('TLP: after two round trips of silence the last segment is sent again (RFC 8985 7.2, 7.3)', (h) => {
  flight(h, 3, { sack: true });
  h.advance(2 * RTT - 5);
  h.expectNothing('not before');
  h.advance(15);
  const out = h.take();
  h.t.equal(out.length, 1, 'one probe');
  h.t.same([out[0]!.seq, out[0]!.len], [edge(2), MSS], 'the last');
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(2), edge(3)]] });
  h.advance(RTT);
  h.t.ok(h.take().some((o) => o.seq === 1), 'what it brings back tells of the rest');
});

script('TLP: new data goes first (RFC 8985 7.3)', (h) => {
  const { s } = flight(h, 10, { sack: true });
  h.send(s, MSS);
  h.expectNothing('the congestion window is full');
  h.advance(2 * RTT + 10);
  h.t.same(h.take().map((o) => o.seq), [edge(10)]);
});

script('PRR: in a repair what leaves is in proportion to what arrives (RFC 6937 3)', { tcp: { congestion: 'newreno' } }, (h) => {
  const { s } = flight(h, 10, { sack: true });
  h.send(s, 20 * MSS);
  h.take();
  h.advance(RTT);
  let sent = 0;
  for (let n = 2; n <= 10; n++) {
    h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(1), edge(n)]] });
    const out = h.take();
    h.t.ok(out.length <= 2, `SACK of ${n - 1}: ${out.length} leave`);
    sent += out.length;
  }
  h.t.ok(sent >= 4 && sent <= 7, `nine have arrived, ${sent} have left: about half`);
  h.inject({ flags: '.', seq: 1, ack: edge(10), win: 60_000 });
  h.t.ok(h.info(s).cwnd <= 6 * MSS && h.info(s).cwnd >= 4 * MSS, 'and the window ends at ssthresh');
  h.take();
});

script('undo: an echo from before the retransmission shows that there was no loss (RFC 3522, 4015)', (h) => {
  const { s, sent } = flight(h, 10, { sack: true, ts: true });
  const before = h.info(s).cwnd;
  const echo = sent[0]!.ts![0];
  h.advance(600);
  h.t.ok(h.take().some((o) => o.seq === 1), 'the timeout has sent again');
  h.t.ok(h.info(s).cwnd < before);
  h.inject({ flags: '.', seq: 1, ack: 1 + 1448 * 10, win: 600, ts: [h.peerTsBase + h.clock.nowUs() / 1000, echo] });
  h.t.ok(h.info(s).cwnd >= before, `the window is ${h.info(s).cwnd} again, as ${before} before`);
});

script('undo: D-SACK of all that was sent again shows it as well (RFC 3708)', (h) => {
  const { s } = flight(h, 10, { sack: true });
  const before = h.info(s).cwnd;
  h.advance(RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 60_000, sack: [[edge(1), edge(4)]] });
  h.t.same(h.take().filter((o) => o.seq === 1).length, 1, 'one retransmission');
  h.t.ok(h.info(s).ssthresh < before);
  h.inject({ flags: '.', seq: 1, ack: edge(9), win: 60_000 });
  h.inject({ flags: '.', seq: 1, ack: edge(9), win: 60_000, sack: [[1, edge(1)]] });
  h.t.ok(h.info(s).cwnd >= before - MSS, `the window is ${h.info(s).cwnd} again, as ${before} before`);
  h.take();
});

script('F-RTO: data that was not sent again is acknowledged after a timeout: nothing was lost (RFC 5682 3.1)', (h) => {
  const { s } = flight(h, 10, { sack: true });
  const before = h.info(s).cwnd;
  h.send(s, 20 * MSS);
  h.take();
  h.advance(600);
  h.take();
  h.t.ok(h.info(s).cwnd < before, 'a timeout');
  h.inject({ flags: '.', seq: 1, ack: edge(2), win: 60_000 });
  h.take();
  h.inject({ flags: '.', seq: 1, ack: edge(4), win: 60_000 });
  h.take();
  h.t.ok(h.info(s).cwnd >= before, `the window is ${h.info(s).cwnd} again, as ${before} before`);
});

script('D-SACK: what comes twice is the first block, of what was below the acknowledgment (RFC 2883 4.1)', (h) => {
  h.active({ sack: true }, undefined, RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1000 });
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1001, sack: [[1, 1001]] });
  h.inject({ flags: '.', seq: 1001, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 2001, sack: [] }, 'told once');
});

script('D-SACK: of what is above it, the block that has it is the second (RFC 2883 4.2)', (h) => {
  h.active({ sack: true }, undefined, RTT);
  h.inject({ flags: '.', seq: 1001, ack: 1, len: 2000 });
  h.expect({ flags: '.', ack: 1, sack: [[1001, 3001]] });
  h.inject({ flags: '.', seq: 1001, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1, sack: [[1001, 2001], [1001, 3001]] });
});

script('D-SACK: none without SACK (RFC 2883 4)', (h) => {
  h.active({}, undefined, RTT);
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1000 });
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1001, sack: [] });
});
