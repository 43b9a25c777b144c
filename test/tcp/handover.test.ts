/** Hand-over of closing connections (lib/tcp/handover.ts), segment by segment: one stack begins the script, another one ends it. */

import { writeTcb, tcbRecordLength } from '../../lib/tcp/handover.ts';
import { SO_SNDBUF, SOL_SOCKET, SHUT_WR } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { FIN_WAIT_1, FIN_WAIT_2, CLOSING, LAST_ACK } from '../../lib/tcp/states.ts';
import { handOver, recordOf, taken } from '../sim/handover.ts';
import { Invariants } from '../sim/invariants.ts';
import { byteAt, Harness, kernelScript as script } from './harness.ts';
import type { Options } from './harness.ts';

/** The other home's clock is elsewhere. */
const AHEAD_MS = 123_456_789;

/**
 * Moves what `h` has to another stack, whose script goes on with the same relative numbers. The peer's clock
 * goes on as well; ours is another.
 */
function moved(h: Harness, connections = 1, timeWaits = 0, options: Options = {}): Harness {
  const next = new Harness(h.t, { iss: h.iss, peerIss: h.peerIss, ipv6: h.ipv6, ...options });
  next.advance(AHEAD_MS);
  next.peerTsBase = h.peerTsBase + (h.clock.nowUs() - next.clock.nowUs()) / 1000;
  next.ourPort = h.ourPort;
  next.peerPort = h.peerPort;
  next.timestamps = h.timestamps;
  next.lastTs = h.lastTs;
  h.t.same(handOver(h.stack, next.stack), [connections, timeWaits], 'gone over');
  h.expectNothing('the old home says nothing');
  h.t.equal(h.stack.tcp.connections, 0);
  h.t.equal(h.stack.tcp.timeWaits, 0);
  h.t.equal(h.stack.memory.freeBlocks, h.stack.memory.blockCount, 'and has its memory back');
  h.t.equal(h.counters.CurrEstab, 0);
  h.t.equal(h.counters.OutRsts, 0);
  h.t.equal(next.stack.tcp.connections, connections);
  h.t.equal(next.stack.tcp.timeWaits, timeWaits);
  new Invariants(next.stack, 'new').check();
  return next;
}

function gone(n: Harness, timeWaits: number): void {
  n.t.equal(n.stack.tcp.connections, 0, 'no connection');
  n.t.equal(n.stack.tcp.timeWaits, timeWaits, `${timeWaits} in TIME-WAIT`);
  n.t.equal(n.stack.memory.freeBlocks, n.stack.memory.blockCount, 'no memory');
  n.t.equal(n.counters.CurrEstab, 0);
  n.end();
}

for (const ipv6 of [false, true]) {
  const name = ipv6 ? ', IPv6' : '';
  script(`FIN-WAIT-1, the FIN is in flight and lost: sent again when its time has come, then the usual end${name}`, { ipv6 }, (h) => {
    const s = h.passive();
    s.close();
    h.expect({ flags: 'F.', seq: 1, ack: 1 });
    h.advance(150);
    const n = moved(h);
    n.t.equal(n.tcb.state, FIN_WAIT_1);
    n.expectNothing();
    n.advance(49);
    n.expectNothing();
    n.advance(1);
    n.expect({ flags: 'FP.', seq: 1, ack: 1 });
    n.inject({ flags: '.', seq: 1, ack: 2 });
    n.t.equal(n.tcb.state, FIN_WAIT_2);
    n.inject({ flags: 'F.', seq: 1, ack: 2 });
    n.expect({ flags: '.', seq: 2, ack: 2 });
    gone(n, 1);
  });
}

script('ECN goes over: new data is ECN-capable, and an echo counts', (h) => {
  const listener = h.listen();
  h.inject({ flags: 'SEW', seq: 0, mss: 1460, win: 1460 });
  h.expect({ flags: 'S.E', seq: 0, ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 1, win: 1460 });
  const s = h.accept(listener);
  h.send(s, 10_000);
  s.close();
  h.expect({ flags: '.', seq: 1, ack: 1, len: 1460, ecn: 2 });
  const n = moved(h);
  n.inject({ flags: '.E', seq: 1, ack: 1461, win: 65535 });
  n.expect({ flags: '.W', seq: 1461, len: 1460, ecn: 2 });
  n.t.equal(n.counters.EcnReductions, 1);
  while (n.tcb.state === FIN_WAIT_1) {
    n.take();
    n.inject({ flags: '.', seq: 1, ack: (n.tcb.sndNxt - n.iss) | 0, win: 65535 });
  }
  n.inject({ flags: 'F.', seq: 1, ack: 10_002 });
  n.expect({ flags: '.', ack: 2 });
  gone(n, 1);
});

script('FIN-WAIT-1, data in flight and data that the window did not let go: all of it arrives', (h) => {
  const s = h.passive({ win: 3000 });
  h.send(s, 10_000);
  s.close();
  h.expect({ flags: '.', seq: 1, ack: 1, len: 1460 });
  h.expect({ flags: '.', seq: 1461, ack: 1, len: 1460 });
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 1461, win: 1460 });
  const n = moved(h);
  n.t.equal(n.tcb.sndQueued, 10_000 - 1460);
  n.expectNothing();
  n.inject({ flags: '.', seq: 1, ack: (n.tcb.sndNxt - n.iss) | 0, win: 65535 });
  let at = 2921;
  for (const segment of n.out.splice(0)) {
    n.t.equal(segment.seq, at);
    n.t.ok(segment.payload.every((byte, i) => byte === byteAt(at - 1 + i)), `bytes from ${at} on`);
    at += segment.len;
    n.t.equal(segment.flags.includes('F'), at === 10_001);
  }
  n.t.equal(at, 10_001, 'all data, and the FIN with the last of it');
  n.inject({ flags: '.', seq: 1, ack: 10_002 });
  n.t.equal(n.tcb.state, FIN_WAIT_2);
  n.t.equal(n.tcb.bytesAcked, 10_000);
});

for (const options of [{}, { sack: true }, { sack: true, ts: true, ws: 7 }]) {
  script(`segments lost before the hand-over are sent again, from the first one on; peer's SYN ${JSON.stringify(options)}`, (h) => {
    const s = h.passive({ ...options, win: 60_000 });
    h.send(s, 5000);
    s.close();
    const sizes = h.take().map((segment) => segment.len);
    h.t.equal(sizes.reduce((a, b) => a + b), 5000);
    h.advance(100);
    // With SACK the tail was asked about meanwhile, and the timer began anew.
    h.t.equal(h.take().length, options.sack ? 1 : 0);
    const n = moved(h);
    n.expectNothing();
    n.advance(105);
    const first = n.take();
    n.t.ok(first.length >= 1);
    for (const segment of first) n.t.equal(segment.seq, 1);
    // Slow start, clocked by ACKs: no byte is left out, none comes twice.
    let acked = 0;
    let rest = [first[0]!];
    while (acked < 5000) {
      for (const segment of rest) {
        n.t.equal(segment.seq, acked + 1);
        acked += segment.len;
      }
      if (rest.length === 0) throw new Error('the retransmission is stuck');
      n.inject({ flags: '.', seq: 1, ack: acked + 1 });
      rest = n.take();
    }
    n.t.equal(acked, 5000);
    const fin = rest.length > 0 ? rest[0]! : first[0]!;
    n.t.ok(fin.flags.includes('F') || n.tcb.finSent);
    n.t.equal(n.counters.RetransSegs >= 4, true);
    n.inject({ flags: 'F.', seq: 1, ack: 5002 });
    n.expect({ flags: '.', seq: 5002, ack: 2 });
    gone(n, 1);
  });
}

script('backoff and retries go over, and the connection is given up when they are used up', { tcp: { retries: 4 } }, (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.', seq: 1 });
  h.advance(200);
  h.expect({ flags: 'FP.', seq: 1 });
  h.advance(400);
  h.expect({ flags: 'FP.', seq: 1 });
  const n = moved(h, 1, 0, { tcp: { retries: 4 } });
  n.advance(799);
  n.expectNothing('the third waits for 800 ms');
  n.advance(1);
  n.expect({ flags: 'FP.', seq: 1 });
  n.advance(1600);
  n.expect({ flags: 'FP.', seq: 1 });
  n.advance(3200);
  n.expect({ flags: 'R.', seq: 2 }, 'the fifth does not come');
  gone(n, 0);
});

script('FIN-WAIT-2 has the rest of its time', (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 2 });
  h.advance(20_000);
  const n = moved(h);
  n.t.equal(n.tcb.state, FIN_WAIT_2);
  n.advance(39_999);
  n.t.equal(n.stack.tcp.connections, 1);
  n.advance(1);
  n.expectNothing();
  gone(n, 0);
});

script('FIN-WAIT-2: the FIN of the peer comes to the new home, and again in its TIME-WAIT', { tcp: { timeWaitMs: 10_000 } }, (h) => {
  const s = h.passive({ ts: true });
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 2 });
  const n = moved(h, 1, 0, { tcp: { timeWaitMs: 10_000 } });
  n.inject({ flags: 'F.', seq: 1, ack: 2 });
  n.expect({ flags: '.', seq: 2, ack: 2 });
  n.advance(9000);
  n.inject({ flags: 'F.', seq: 1, ack: 2 });
  n.expect({ flags: '.', seq: 2, ack: 2 });
  n.advance(9999);
  n.t.equal(n.stack.tcp.timeWaits, 1);
  n.advance(1);
  gone(n, 0);
});

script('FIN-WAIT-2: data for which there is no reader is told to be lost', (h) => {
  const s = h.passive();
  s.close();
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 2 });
  const n = moved(h);
  n.inject({ flags: 'P.', seq: 1, ack: 2, len: 100 });
  n.t.match(n.take1()!.flags, 'R');
  n.t.equal(n.counters.OrphanResets, 1);
  gone(n, 0);
});

script('CLOSING: both FINs are under way', (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  const n = moved(h);
  n.t.equal(n.tcb.state, CLOSING);
  n.t.equal(n.tcb.finReceived, true);
  n.inject({ flags: 'F.', seq: 1, ack: 1 });
  n.expect({ flags: '.', seq: 2, ack: 2 }, 'a FIN that came again is acknowledged again');
  n.advance(200);
  n.expect({ flags: 'FP.', seq: 1, ack: 2 });
  n.inject({ flags: '.', seq: 2, ack: 2 });
  gone(n, 1);
});

script('CLOSING with data that has not been sent, and a window that is shut', (h) => {
  const s = h.passive({ win: 2000 });
  h.inject({ flags: '.', seq: 1, ack: 1, win: 0 });
  h.send(s, 3000);
  s.close();
  h.expectNothing();
  h.inject({ flags: 'F.', seq: 1, ack: 1, win: 0 });
  h.expect({ flags: '.', seq: 1, ack: 2 });
  const n = moved(h);
  n.t.equal(n.tcb.state, CLOSING);
  n.t.equal(n.tcb.finSent, false);
  n.inject({ flags: '.', seq: 2, ack: 1, win: 10_000 });
  n.expect({ flags: '.', seq: 1, ack: 2, len: 1460 });
  n.expect({ flags: '.', seq: 1461, ack: 2, len: 1460 });
  n.expect({ flags: 'FP.', seq: 2921, ack: 2, len: 80 });
  n.inject({ flags: '.', seq: 2, ack: 3002 });
  gone(n, 1);
});

script('LAST-ACK: no TIME-WAIT', (h) => {
  const s = h.passive();
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', ack: 2 });
  h.t.equal(h.counters.CurrEstab, 1);
  h.send(s, 100);
  s.close();
  h.expect({ flags: 'P.', seq: 1, ack: 2, len: 100 });
  h.expect({ flags: 'F.', seq: 101, ack: 2 });
  const n = moved(h);
  n.t.equal(n.tcb.state, LAST_ACK);
  n.t.equal(n.tcb.finReceived, true);
  n.inject({ flags: '.', seq: 2, ack: 101 });
  n.expectNothing();
  n.advance(200);
  n.expect({ flags: 'FP.', seq: 101, ack: 2 });
  n.inject({ flags: '.', seq: 2, ack: 102 });
  gone(n, 0);
});

for (const ipv6 of [false, true]) {
  script(`TIME-WAIT has the rest of its time, and answers as before${ipv6 ? ', IPv6' : ''}`, { ipv6 }, (h) => {
    const s = h.passive({ ts: true, ws: 3 });
    s.close();
    h.expect({ flags: 'F.', seq: 1, ack: 1 });
    h.inject({ flags: 'F.', seq: 1, ack: 2 });
    const last = h.expect({ flags: '.', seq: 2, ack: 2 });
    h.advance(45_000);
    const n = moved(h, 0, 1);
    n.inject({ flags: 'P.', seq: 1, ack: 2, len: 1 });
    const again = n.expect({ flags: '.', seq: 2, ack: 2, win: last.win });
    n.t.equal(again.ts![0], last.ts![0] + 45_000, 'the timestamp clock goes on');
    n.t.equal(again.ts![1], last.ts![1]);
    n.t.equal(again.ttl, last.ttl);
    n.advance(14_999);
    n.t.equal(n.stack.tcp.timeWaits, 1);
    n.advance(1);
    gone(n, 0);
  });
}

script('a window that is shut is probed in the rhythm that it had', (h) => {
  const s = h.passive({ win: 2000 });
  h.inject({ flags: '.', seq: 1, ack: 1, win: 0 });
  h.send(s, 500);
  s.close();
  h.expectNothing();
  h.advance(200);
  h.expect({ flags: '.', seq: 0 }, 'first probe');
  h.inject({ flags: '.', seq: 1, ack: 1, win: 0 });
  h.advance(350);
  const n = moved(h);
  n.advance(49);
  n.expectNothing();
  n.advance(1);
  n.expect({ flags: '.', seq: 0 }, 'second probe, 400 ms after the first');
  n.advance(799);
  n.expectNothing();
  n.advance(1);
  n.expect({ flags: '.', seq: 0 }, 'third probe');
  n.inject({ flags: '.', seq: 1, ack: 1, win: 5000 });
  n.expect({ flags: 'FP.', seq: 1, len: 500 });
  n.inject({ flags: 'F.', seq: 1, ack: 502 });
  n.expect({ flags: '.', seq: 502, ack: 2 });
  gone(n, 1);
});

script('a shut window of a peer that never opens it: an orphan is given up as in the old home', (h) => {
  const s = h.passive({ win: 2000 });
  h.inject({ flags: '.', seq: 1, ack: 1, win: 0 });
  h.send(s, 500);
  s.close();
  h.advance(200);
  h.take();
  const n = moved(h);
  n.advance(600_000);
  const out = n.take();
  n.t.ok(out.length > 3 && out.length < 14, `${out.length} segments`);
  n.t.match(out.at(-1)!.flags, 'R');
  gone(n, 0);
});

script('timestamps go on without a step, both ways', (h) => {
  const s = h.passive({ ts: true });
  h.advance(5000);
  h.send(s, 100);
  const sent = h.expect({ flags: 'P.', seq: 1, len: 100 });
  h.t.same(sent.ts![0], 1000 + 5000);
  s.close();
  h.expect({ flags: 'F.', seq: 101 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.advance(50);
  const n = moved(h);
  n.advance(150);
  const again = n.expect({ flags: 'FP.', seq: 101, ack: 1 });
  const late = again.atMs - AHEAD_MS;
  n.t.equal(again.ts![0], 6000 + 50 + late, `${late} ms later by our clock, and by the timestamp`);
  n.t.equal(again.ts![1], h.peerTsBase + 1_000_000 / 1000 + 5000, 'TS.Recent');
  // PAWS of ours: what is older than TS.Recent is dropped in the new home, too.
  n.inject({ flags: 'F.', seq: 1, ack: 102, ts: [again.ts![1] - 1, again.ts![0]] });
  n.t.equal(n.counters.PawsDrops, 1);
  n.expect({ flags: '.', ack: 1 });
  n.inject({ flags: 'F.', seq: 1, ack: 102 });
  n.expect({ flags: '.', ack: 2 });
  gone(n, 1);
});

script('window scales hold in the new home', (h) => {
  const s = h.passive({ ws: 8, win: 100 });
  s.close();
  h.expect({ flags: 'F.', seq: 1 });
  const { sndWnd, rcvWscale, rcvAdv } = h.tcb;
  h.t.equal(sndWnd, 100 << 8);
  const n = moved(h);
  n.t.equal(n.tcb.sndWnd, 100 << 8);
  n.t.equal(n.tcb.rcvWscale, rcvWscale);
  n.t.equal(n.tcb.rcvAdv, rcvAdv);
  n.inject({ flags: '.', seq: 1, ack: 1, win: 200 });
  n.t.equal(n.tcb.sndWnd, 200 << 8);
  n.inject({ flags: '.', seq: 1, ack: 2, win: 200 });
  n.inject({ flags: '.', seq: 0, ack: 2, win: 200 });
  const ack = n.expect({ flags: '.', seq: 2, ack: 1 });
  n.t.ok(ack.win << rcvWscale >= ((rcvAdv - n.peerIss - 1) | 0) - (1 << rcvWscale), 'the window has not shrunk');
});

script('a reset ends it in the new home, without an answer', (h) => {
  const s = h.passive();
  h.send(s, 100);
  s.close();
  h.take();
  const n = moved(h);
  n.inject({ flags: 'R', seq: 100 });
  n.expect({ flags: '.', seq: 102, ack: 1 }, 'a challenge: not exactly RCV.NXT');
  n.inject({ flags: 'R', seq: 1 });
  n.expectNothing();
  gone(n, 0);
});

script('an acknowledgment that was due goes over', (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.link.room = 0;
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expectNothing('the device is full');
  // One that is queued has left, as far as the TCB knows; this one never came so far.
  h.tcb.ackNow = true;
  const n = moved(h);
  n.expect({ flags: '.', seq: 2, ack: 2 });
  n.inject({ flags: '.', seq: 2, ack: 2 });
  gone(n, 1);
});

script('SACK is understood in the new home', (h) => {
  const s = h.passive({ sack: true });
  h.send(s, 1460 * 6);
  s.close();
  h.t.equal(h.take().length >= 6, true);
  const n = moved(h);
  n.inject({ flags: '.', seq: 1, ack: 1, sack: [[1461, 1461 + 4 * 1460]] });
  n.expect({ flags: '.', seq: 1, len: 1460 });
  n.t.equal(n.counters.SackRecoveries, 1);
  new Invariants(n.stack, 'new').check();
});

script('without SACK: duplicate ACKs of an earlier repair begin no second one', (h) => {
  const s = h.passive();
  h.send(s, 1460 * 8);
  s.close();
  h.take();
  for (let i = 0; i < 3; i++) h.inject({ flags: '.', seq: 1, ack: 1 });
  h.expect({ flags: '.', seq: 1, len: 1460 }, 'fast retransmit');
  h.take();
  const n = moved(h);
  for (let i = 0; i < 4; i++) n.inject({ flags: '.', seq: 1, ack: 1 });
  n.expectNothing();
  n.t.equal(n.counters.FastRecoveries, 0);
  new Invariants(n.stack, 'new').check();
});

script('without SACK, undisturbed: a loss after the hand-over is repaired by duplicate ACKs', (h) => {
  const s = h.passive();
  h.send(s, 1460 * 8);
  s.close();
  h.take();
  const n = moved(h);
  for (let i = 0; i < 3; i++) n.inject({ flags: '.', seq: 1, ack: 1 });
  n.expect({ flags: '.', seq: 1, len: 1460 });
  n.t.equal(n.counters.FastRecoveries, 1);
});

script('what the user chose stays: TTL, TOS, congestion control, user timeout', (h) => {
  const s = h.passive();
  const { tcb } = h;
  tcb.flow.ttl = 17;
  tcb.flow.tos = 0x28;
  tcb.userTimeoutMs = 5000;
  h.send(s, 100);
  s.close();
  h.take();
  h.advance(150);
  const n = moved(h, 1, 0, { tcp: { congestion: 'newreno' } });
  n.t.equal(n.tcb.congestion.name, 'cubic');
  n.advance(50);
  const segment = n.take1()!;
  n.t.equal(segment.ttl, 17);
  n.t.equal(segment.tos, 0x28);
  n.advance(4799);
  n.t.equal(n.stack.tcp.connections, 1);
  n.advance(1);
  n.t.equal(n.counters.UserTimeouts, 1);
  n.take();
  gone(n, 0);
});

script('round trip and congestion window go over', (h) => {
  const s = h.active({ mss: 1000 }, undefined, 80);
  h.send(s, 2000);
  h.take();
  h.advance(80);
  h.inject({ flags: '.', seq: 1, ack: 2001 });
  h.send(s, 500);
  s.close();
  h.take();
  const { srttUs, rttvarUs, minRttUs, rtoMs, cwnd, ssthresh, sndMss } = h.tcb;
  h.t.ok(srttUs > 0 && rtoMs > 200);
  const n = moved(h);
  n.t.same({ srttUs, rttvarUs, minRttUs, rtoMs, cwnd, ssthresh, sndMss }, (({ tcb }) => ({
    srttUs: tcb.srttUs, rttvarUs: tcb.rttvarUs, minRttUs: tcb.minRttUs, rtoMs: tcb.rtoMs, cwnd: tcb.cwnd, ssthresh: tcb.ssthresh,
    sndMss: tcb.sndMss,
  }))(n));
});

script('only what is closing, and that nobody holds any more, can go over', (h) => {
  const s = h.passive();
  const { tcb } = h;
  const view = new DataView(new ArrayBuffer(4096));
  h.t.equal(writeTcb(tcb, view, 0, 4096), 0, 'ESTABLISHED');
  h.send(s, 1000);
  h.take();
  s.shutdown(SHUT_WR);
  h.take();
  h.t.equal(writeTcb(tcb, view, 0, 4096), 0, 'FIN-WAIT-1, but its owner is there');
  s.close();
  const length = tcbRecordLength(tcb);
  h.t.equal(writeTcb(tcb, view, 0, length - 1), 0, 'no room');
  h.t.equal(writeTcb(tcb, view, 4096 - length + 1, length), 0, 'no such room');
  h.t.equal(writeTcb(tcb, view, 4096 - length, length), length);
  h.t.equal(h.stack.tcp.connections, 1, 'writing changes nothing');
});

script('who is full, or has the flow, adopts nothing and keeps nothing', { tcp: { maxConnections: 2 } }, (h) => {
  const listener = h.listen();
  const s = h.passive({}, listener);
  h.send(s, 20_000);
  s.close();
  h.take();
  const old = h.tcb;
  const record = recordOf(old);
  const free = h.stack.memory.freeBlocks;
  const make = (port: number): boolean => {
    h.stack.enter();
    const made = taken(h.stack, old.flow, 80, port, record);
    h.t.ok(made);
    const adopted = h.stack.tcp.adopt(made!);
    h.stack.leave();
    return adopted;
  };
  h.t.equal(make(h.peerPort), false, 'the flow is there');
  h.t.equal(h.stack.memory.freeBlocks, free);
  h.t.equal(make(9001), true);
  h.t.equal(h.stack.tcp.connections, 2);
  const less = h.stack.memory.freeBlocks;
  h.t.equal(make(9002), false, 'too many');
  h.t.equal(h.stack.memory.freeBlocks, less);
  new Invariants(h.stack, 'h').check();
});

script('a full send buffer fits into a home with smaller ones; not more than 16 MiB, nor more than there is memory for', {
  tcp: { sndbuf: { max: 1 << 20 } },
}, (h) => {
  const s: BsdSocket = h.passive({ win: 1000 });
  s.setsockopt(SOL_SOCKET, SO_SNDBUF, 800_000);
  h.send(s, 800_000);
  s.close();
  h.take();
  const { tcb } = h;
  const record = recordOf(tcb);
  const take = (by: Harness, bytes: Uint8Array): Tcb | null => taken(by.stack, tcb.flow, tcb.localPort, tcb.remotePort, bytes);
  const poor = new Harness(h.t, { memory: 1 << 20 });
  h.t.ok(take(poor, record) === null);
  poor.end();
  const rich = new Harness(h.t, { memory: 64 << 20 });
  for (const more of [0, 1]) {
    const large = new Uint8Array(record.length - 800_000 + (16 << 20) + more);
    large.set(record);
    new DataView(large.buffer).setInt32(4, large.length);
    const made = take(rich, large);
    h.t.equal(made === null, more === 1);
    made?.sndBuffer.clear();
  }
  rich.end();
  const n = moved(h, 1, 0, { tcp: { sndbuf: { max: 256 << 10 } } });
  n.t.equal(n.tcb.sndQueued, 800_000);
  n.t.ok(n.tcb.sndbufLimit >= 800_000);
});
