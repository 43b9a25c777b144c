/** Explicit congestion notification (RFC 3168 section 6.1): agreement, marks and their echo, the answer to it. */

import t from 'tap';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { IP_TOS, IPPROTO_IP, SHUT_WR, SO_SNDBUF, SOL_SOCKET, TCP_NODELAY, IPPROTO_TCP } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { tcpConfig } from '../../lib/tcp/config.ts';
import { seqAdd } from '../../lib/wire/seq.ts';
import { kernelScript, script } from './harness.ts';
import type { Harness, Options } from './harness.ts';

const NOT_ECT = 0;
const ECT1 = 1;
const ECT0 = 2;
const CE = 3;
const MSS = 1000;
const asks: Options = { tcp: { ecn: 'on', congestion: 'newreno' } };

/** An open connection that both ends want ECN for; we asked. */
function active(h: Harness, more: { ts?: boolean; sack?: boolean } = {}): BsdSocket {
  const s = h.socket();
  s.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20);
  h.connect(s);
  h.expect({ flags: 'SEW', seq: 0, ecn: NOT_ECT });
  h.advance(10);
  h.inject({ flags: 'S.E', seq: 0, ack: 1, mss: MSS + (more.ts ? 12 : 0), win: 65535, sackOK: more.sack, ts: more.ts ? [1, h.lastTs] : undefined });
  h.timestamps = more.ts ?? false;
  h.expect({ flags: '.', seq: 1, ack: 1, ecn: NOT_ECT });
  h.t.equal(h.info(s).ecn, true);
  return s;
}

/** An open connection that the peer has asked ECN for. */
function passive(h: Harness): BsdSocket {
  const listener = h.listen();
  h.inject({ flags: 'SEW', seq: 0, mss: MSS, win: 65535 });
  h.expect({ flags: 'S.E', seq: 0, ack: 1, ecn: NOT_ECT });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.expectNothing();
  const s = h.accept(listener);
  h.t.equal(h.info(s).ecn, true);
  return s;
}

/** `count` full segments, from segment number `from` on, come out as new data. */
function expectNew(h: Harness, from: number, count: number): void {
  for (let i = from; i < from + count; i++) {
    const out = h.take1();
    if (out === undefined || out.seq !== 1 + i * MSS || out.len !== MSS || (out.tos & 3) !== ECT0 || /[EW]/.test(out.flags)) {
      h.t.fail(`segment ${i} as ECT(0) expected, got ${JSON.stringify(out && { seq: out.seq, len: out.len, tos: out.tos, flags: out.flags })}`);
      throw new Error('off the track');
    }
  }
}

// -------------------------------------------------------------------------------------- agreement

t.test('the setting is checked', async (t) => {
  t.equal(tcpConfig().ecn, 'passive', 'as Linux: agreed to, not asked for');
  t.equal(tcpConfig({ ecn: 'on' }).ecn, 'on');
  t.throws(() => tcpConfig({ ecn: 'yes' as 'on' }), /tcp\.ecn is 'yes'; it must be one of off, passive, on/);
});

script('by default nobody is asked', (h) => {
  h.connect();
  h.expect({ flags: 'S' });
  h.inject({ flags: 'S.E', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.' });
  h.t.equal(h.tcb.ecn, 0, 'a SYN-ACK that answers what was not asked agrees to nothing');
});

script('by default we agree when asked', (h) => {
  passive(h);
  h.t.equal(h.counters.EcnHandshakes, 1);
});

script('off: a SYN that asks is a SYN', { tcp: { ecn: 'off' } }, (h) => {
  h.listen();
  h.inject({ flags: 'SEW', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
});

for (const [flags, what] of [['S', 'neither'], ['SE', 'ECE'], ['SW', 'CWR']] as const) {
  script(`a SYN with ${what} only does not ask`, asks, (h) => {
    h.listen();
    h.inject({ flags, seq: 0, mss: 1460 });
    h.expect({ flags: 'S.', seq: 0, ack: 1 });
    h.t.equal(h.tcb.ecn, 0);
  });
}

for (const [flags, what] of [['S.', 'neither'], ['S.EW', 'both: it only reflects'], ['S.W', 'CWR']] as const) {
  script(`a SYN-ACK with ${what}: no ECN`, asks, (h) => {
    const s = h.connect();
    h.expect({ flags: 'SEW' });
    h.inject({ flags, seq: 0, ack: 1, mss: MSS });
    h.expect({ flags: '.', ecn: NOT_ECT });
    h.t.equal(h.info(s).ecn, false);
    h.send(s, 100);
    h.expect({ flags: 'P.', len: 100, ecn: NOT_ECT });
    h.inject({ flags: 'P.E', seq: 1, ack: 101, len: 100, ecn: CE });
    h.expect({ flags: '.', ack: 101 });
    h.t.equal(h.counters.EcnReductions, 0);
    h.t.equal(h.counters.EcnMarksIn, 0);
  });
}

script('a repeated SYN does not ask again (6.1.1.1)', asks, (h) => {
  const s = h.connect();
  h.expect({ flags: 'SEW' });
  h.advance(1000);
  h.expect({ flags: 'S' });
  h.advance(2000);
  h.expect({ flags: 'S' });
  h.t.equal(h.counters.EcnFallbacks, 1);
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: MSS });
  h.expect({ flags: '.' });
  h.t.equal(h.info(s).ecn, false);
});

script('after it, an answer to the first SYN: marks are echoed, nothing is sent as ECN-capable (6.1.1)', asks, (h) => {
  const s = h.connect();
  h.expect({ flags: 'SEW' });
  h.advance(1000);
  h.expect({ flags: 'S' });
  h.inject({ flags: 'S.E', seq: 0, ack: 1, mss: MSS });
  h.expect({ flags: '.' });
  h.send(s, 100);
  h.expect({ flags: 'P.', len: 100, ecn: NOT_ECT });
  h.inject({ flags: 'P.', seq: 1, ack: 101, len: 100, ecn: CE });
  h.expect({ flags: '.E', ack: 101 });
});

script('the SYN-ACK again still agrees; to a SYN that comes again without asking it does not', (h) => {
  h.listen();
  h.inject({ flags: 'SEW', seq: 0, mss: MSS });
  h.expect({ flags: 'S.E' });
  h.advance(1000);
  h.expect({ flags: 'S.E' }, 'repeated by the timer');
  h.inject({ flags: 'SEW', seq: 0, mss: MSS });
  h.expect({ flags: 'S.E' });
  h.inject({ flags: 'S', seq: 0, mss: MSS });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100, ecn: CE });
  h.expect({ flags: '.E', ack: 101 }, 'whatever the peer thinks: a mark is echoed');
});

script('SYNs that cross: ECN if both ask', asks, (h) => {
  h.connect();
  h.expect({ flags: 'SEW' });
  h.inject({ flags: 'SEW', seq: 0, mss: MSS });
  h.expect({ flags: 'S.E', ack: 1 });
  h.inject({ flags: 'S.E', seq: 0, ack: 1, mss: MSS });
  h.expect({ flags: '.' });
  h.t.equal(h.tcb.ecn, 3);
});

script('SYNs that cross, and only the other asks: no ECN', (h) => {
  h.connect();
  h.expect({ flags: 'S' });
  h.inject({ flags: 'SEW', seq: 0, mss: MSS });
  h.expect({ flags: 'S.', ack: 1 });
  h.t.equal(h.tcb.ecn, 0);
});

// ---------------------------------------------------------------------------------- marks we send

script('ECT(0) on new data, not on what is repeated, pure ACKs, FINs and probes (6.1.4 to 6.1.6)', asks, (h) => {
  const s = active(h);
  h.send(s, 2 * MSS);
  expectNew(h, 0, 2);
  h.advance(h.info(s).rtoMs);
  h.expect({ flags: '.', seq: 1, len: MSS, ecn: NOT_ECT }, 'a retransmission');
  h.inject({ flags: '.', seq: 1, ack: 1 + 2 * MSS, win: 0 });
  h.inject({ flags: 'P.', seq: 1, ack: 1 + 2 * MSS, len: 100, win: 0, ecn: ECT0 });
  h.expect({ flags: '.', ack: 101, ecn: NOT_ECT }, 'a pure ACK');
  h.send(s, 10);
  h.advance(1000);
  h.expect({ flags: '.', len: 0, ecn: NOT_ECT }, 'a window probe');
  h.take();
  h.inject({ flags: '.', seq: 101, ack: 1 + 2 * MSS, win: 65535 });
  h.expect({ flags: 'P.W', len: 10, ecn: ECT0 });
  h.inject({ flags: '.', seq: 101, ack: 11 + 2 * MSS });
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.', len: 0, ecn: NOT_ECT });
});

script('the DSCP is the socket\'s, the ECN bits are the engine\'s', { ...asks, ipv6: true }, (h) => {
  const s = active(h);
  h.t.equal(s.setsockopt(IPPROTO_IP, IP_TOS, 0xb9), 0);
  h.send(s, 10);
  h.t.equal(h.expect({ flags: 'P.', len: 10 }).tos, 0xb8 | ECT0);
  h.t.equal(s.getsockopt(IPPROTO_IP, IP_TOS), 0xb8);
  h.inject({ flags: 'P.', seq: 1, ack: 11, len: 10 });
  h.t.equal(h.expect({ flags: '.' }).tos, 0xb8);
});

// ---------------------------------------------------------------------------------- marks we get

script('a mark is echoed in every ACK until CWR (6.1.3)', (h) => {
  const s = passive(h);
  h.inject({ flags: '.', seq: 1, ack: 1, len: MSS, ecn: ECT0 });
  h.expect({ flags: '.', ack: 1 + MSS });
  h.inject({ flags: '.', seq: 1 + MSS, ack: 1, len: MSS, ecn: CE });
  h.expect({ flags: '.E', ack: 1 + 2 * MSS });
  h.inject({ flags: '.', seq: 1 + 2 * MSS, ack: 1, len: MSS, ecn: ECT0 });
  h.expect({ flags: '.E', ack: 1 + 3 * MSS });
  h.send(s, 10);
  h.expect({ flags: 'P.E', len: 10, ecn: ECT0 }, 'data has it as well');
  h.inject({ flags: '.', seq: 1 + 3 * MSS, ack: 11, len: MSS, ecn: ECT1 });
  h.advance(500);
  h.expect({ flags: '.E', ack: 1 + 4 * MSS });
  h.inject({ flags: '.W', seq: 1 + 4 * MSS, ack: 11, len: MSS, ecn: ECT0 });
  h.expect({ flags: '.', ack: 1 + 5 * MSS }, 'at once: the peer\'s window is small');
  h.inject({ flags: '.', seq: 1 + 5 * MSS, ack: 11, len: MSS, ecn: ECT0 });
  h.advance(500);
  h.expect({ flags: '.', ack: 1 + 6 * MSS });
  h.t.equal(h.counters.EcnMarksIn, 1);
});

script('CWR and a mark on one segment: echoed further', (h) => {
  passive(h);
  h.inject({ flags: '.', seq: 1, ack: 1, len: MSS, ecn: CE });
  h.expect({ flags: '.E' });
  h.inject({ flags: '.W', seq: 1 + MSS, ack: 1, len: MSS, ecn: CE });
  h.expect({ flags: '.E' });
});

script('a mark on what was predicted is seen, and told at once', (h) => {
  passive(h);
  for (let i = 0; i < 40; i++) h.inject({ flags: '.', seq: 1 + i * MSS, ack: 1, len: MSS, ecn: ECT0 });
  h.take();
  h.advance(500);
  h.take();
  const before = h.counters.PredictedData;
  h.inject({ flags: '.', seq: 1 + 40 * MSS, ack: 1, len: MSS, ecn: CE });
  h.expect({ flags: '.E', ack: 1 + 41 * MSS });
  h.t.equal(h.counters.PredictedData, before + 1);
});

script('a mark on data out of order counts; one on data outside of the window, or on a pure ACK, does not (6.1.5, 6.1.4)', (h) => {
  passive(h);
  h.inject({ flags: '.', seq: 1, ack: 1, ecn: CE });
  h.expectNothing();
  h.inject({ flags: '.', seq: 1 + 10_000_000, ack: 1, len: 100, ecn: CE });
  h.expect({ flags: '.', ack: 1 });
  h.inject({ flags: '.', seq: 1 + MSS, ack: 1, len: MSS, ecn: CE });
  h.expect({ flags: '.E', ack: 1 });
});

script('what was merged on the way in is marked as a whole', { features: LINK_CSUM | LINK_TSO4 }, (h) => {
  passive(h);
  h.inject({ flags: '.', seq: 1, ack: 1, len: 4 * MSS, gso: MSS, ecn: CE });
  h.expect({ flags: '.E', ack: 1 + 4 * MSS });
  h.t.equal(h.counters.EcnMarksIn, 4);
});

// --------------------------------------------------------------------------------- echoes we get

script('ECE: one reduction for each window, CWR with the next new data (6.1.2)', asks, (h) => {
  const s = active(h);
  h.send(s, 40 * MSS);
  expectNew(h, 0, 10);
  h.advance(10);
  for (let i = 1; i <= 10; i++) {
    h.inject({ flags: '.E', seq: 1, ack: 1 + i * MSS });
  }
  h.t.equal(h.counters.EcnReductions, 1, 'all ten told of one window');
  const { cwnd, retransSegs } = h.info(s);
  h.t.ok(cwnd >= 4 * MSS && cwnd <= 6 * MSS, `cwnd ${cwnd} is about half`);
  h.t.equal(retransSegs, 0);
  const out = h.take();
  h.t.ok(out.length >= 4, `${out.length} segments`);
  h.t.equal(out[0]!.flags, 'W.', 'the first has CWR');
  h.t.ok(out.slice(1).every(({ flags }) => !flags.includes('W')), 'and it alone');
  h.t.ok(out.every(({ tos }) => (tos & 3) === ECT0), 'all may be marked');
  // The peer goes on until it sees CWR: not news.
  h.advance(10);
  const end = out.at(-1)!.seq + MSS;
  h.inject({ flags: '.E', seq: 1, ack: out[0]!.seq });
  h.t.equal(h.counters.EcnReductions, 1);
  h.inject({ flags: '.E', seq: 1, ack: end });
  h.t.equal(h.counters.EcnReductions, 2, 'beyond CWR it is news');
  h.take();
});

script('CWR of a super-segment: the first segment leaves alone', { ...asks, features: LINK_CSUM | LINK_TSO4 }, (h) => {
  const s = active(h);
  h.send(s, 100 * MSS);
  h.expect({ flags: '.', len: 10 * MSS, gso: MSS, ecn: ECT0 });
  h.inject({ flags: '.', seq: 1, ack: 1 + 8 * MSS });
  h.take();
  h.inject({ flags: '.E', seq: 1, ack: 1 + 10 * MSS });
  h.inject({ flags: '.E', seq: 1, ack: 1 + 18 * MSS });
  h.inject({ flags: '.E', seq: 1, ack: 1 + 26 * MSS });
  const out = h.take();
  const first = out.findIndex(({ flags }) => flags.includes('W'));
  h.t.ok(first >= 0, 'CWR is sent');
  h.t.equal(out[first]!.len, MSS);
  h.t.equal(out.filter(({ flags }) => flags.includes('W')).length, 1);
  h.t.ok(out.slice(first + 1).some(({ len }) => len > MSS), 'super-segments follow');
});

script('a loss is a reduction as well: CWR with the next new data, ECE of that window is ignored', asks, (h) => {
  const s = active(h, { sack: true });
  h.send(s, 100 * MSS);
  expectNew(h, 0, 10);
  h.advance(10);
  const left = 1 + MSS;
  for (let i = 2; i <= 9; i++) h.inject({ flags: '.E', seq: 1, ack: 1, sack: [[left, left + (i - 1) * MSS]] });
  const marked = h.counters.EcnReductions;
  const sent = h.take();
  h.t.ok(sent.some(({ seq, tos, flags }) => seq === 1 && (tos & 3) === NOT_ECT && !flags.includes('W')), 'the repair is not ECN-capable');
  h.t.equal(sent.filter(({ flags }) => flags.includes('W')).length, 1, 'CWR once');
  h.t.equal(sent.find(({ flags }) => flags.includes('W'))!.seq, 1 + 10 * MSS, 'with the first new data');
  h.inject({ flags: '.E', seq: 1, ack: 1 + 10 * MSS });
  h.t.ok(h.counters.EcnReductions <= 1 && h.counters.EcnReductions === marked, 'no second reduction for one window');
  h.take();
  h.t.ok(h.info(s).cwnd <= 6 * MSS, `cwnd ${h.info(s).cwnd}`);
});

script('after a timeout CWR is sent as well', asks, (h) => {
  const s = active(h);
  h.send(s, 2 * MSS);
  expectNew(h, 0, 2);
  h.advance(h.info(s).rtoMs);
  h.expect({ flags: '.', seq: 1, len: MSS, ecn: NOT_ECT });
  h.inject({ flags: '.', seq: 1, ack: 1 + 2 * MSS });
  h.send(s, MSS);
  h.expect({ flags: 'P.W', seq: 1 + 2 * MSS, len: MSS, ecn: ECT0 });
});

script('ECE that comes after gigabytes is still news', asks, (h) => {
  const s = active(h);
  h.send(s, MSS);
  expectNew(h, 0, 1);
  h.inject({ flags: '.E', seq: 1, ack: 1 + MSS });
  h.t.equal(h.counters.EcnReductions, 1);
  // As if 3 GiB had gone by.
  h.tcb.ecnRecover = seqAdd(h.tcb.sndNxt, -3 * 2 ** 30);
  h.send(s, MSS);
  h.expect({ flags: 'P.W', len: MSS });
  h.inject({ flags: '.E', seq: 1, ack: 1 + 2 * MSS });
  h.t.equal(h.counters.EcnReductions, 2);
});

script('ECE spoils no prediction of what comes without', asks, (h) => {
  const s = active(h);
  s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
  const before = h.counters.PredictedAcks;
  for (let i = 0; i < 4; i++) {
    h.send(s, 100);
    h.take1();
    h.inject({ flags: '.', seq: 1, ack: 1 + (i + 1) * 100 });
  }
  h.t.equal(h.counters.PredictedAcks, before + 4);
});

// -------------------------------------------------------------------------------------- hand-over

kernelScript('a connection that is closed keeps to it', asks, (h) => {
  const s = active(h);
  h.send(s, 2 * MSS);
  expectNew(h, 0, 2);
  h.send(s, 20 * MSS);
  expectNew(h, 2, 8);
  s.close();
  h.inject({ flags: '.E', seq: 1, ack: 1 + 10 * MSS });
  h.expect({ flags: '.W', seq: 1 + 10 * MSS, len: MSS, ecn: ECT0 });
  h.take();
});
