/**
 * Data: header prediction, reassembly, windows (RFC 9293 3.8.6), Nagle (3.7.4), acknowledgments (3.8.6.3),
 * urgent data (3.8.5), merged and super-segments, and the flags of send and recv.
 */

import { LINK_CSUM, LINK_TSO4, LINK_TSO6 } from '../../lib/link/link.ts';
import {
  IPPROTO_TCP, MSG_MORE, MSG_OOB, MSG_PEEK, MSG_TRUNC, POLLIN, POLLOUT, POLLPRI, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, TCP_CORK,
  TCP_NODELAY, TCP_QUICKACK,
} from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { describe, script } from './harness.ts';
import type { Harness } from './harness.ts';

/** A connection whose receive buffer holds `bytes`. */
function small(h: Harness, bytes: number, options = {}): BsdSocket {
  return h.passive(options, h.listen(80, 5, (l) => l.setsockopt(SOL_SOCKET, SO_RCVBUF, bytes)));
}

/** Ends the quick ACKs of a connection's beginning. */
function slowAcks(s: BsdSocket): void {
  s.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0);
}

// ------------------------------------------------------------------------------- header prediction

script('header prediction takes data and ACKs, without timestamps', (h) => {
  const s = h.passive();
  for (let i = 0; i < 10; i++) {
    h.inject({ flags: 'P.', seq: 1 + i * 100, ack: 1, len: 100 });
    h.expect({ flags: '.', ack: 101 + i * 100 });
    h.recv(s, 100);
  }
  for (let i = 0; i < 10; i++) {
    h.send(s, 100);
    h.expect({ flags: 'P.', seq: 1 + i * 100, len: 100 });
    h.inject({ flags: '.', seq: 1001, ack: 101 + i * 100 });
  }
  h.t.equal(h.counters.PredictedData, 10);
  h.t.equal(h.counters.PredictedAcks, 10);
  h.t.equal(h.info(s).predictedIn, 20);
});

script('header prediction with timestamps', (h) => {
  const s = h.passive({ ts: true, sack: true, ws: 7 });
  for (let i = 0; i < 10; i++) {
    h.advance(1);
    h.inject({ flags: 'P.', seq: 1 + i * 100, ack: 1 + i * 100, len: 100 });
    h.recv(s, 100);
    h.send(s, 100);
    const out = h.take();
    h.t.same(out.at(-1)!.ts, [1001 + i, Math.floor(h.peerTsBase + h.clock.nowUs() / 1000)], 'the echo is of what came');
    h.t.equal(out.at(-1)!.len, 100);
  }
  h.t.equal(h.counters.PredictedData, 10);
  h.t.equal(h.counters.PredictedAcks, 9);
});

script('header prediction leaves a data segment with an old timestamp to PAWS', (h) => {
  const s = h.passive({ ts: true });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100, ts: [400_000, 1000] });
  h.expect({ flags: '.', ack: 1 });
  h.t.equal(h.counters.PredictedData, 0);
  h.t.equal(h.counters.PawsDrops, 1);
  h.t.equal(s.available, 0);
});

script('an agreed timestamp that is missing: the segment is taken the long way', (h) => {
  const s = h.passive({ ts: true });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100, ts: null });
  h.expect({ flags: '.', ack: 101 });
  h.recv(s, 100);
  h.t.equal(h.counters.PredictedData, 0);
});

script('an application that reads when it is told, while the batch is handled', (h) => {
  const s = h.passive();
  let got = 0;
  let calls = 0;
  s.onready = () => {
    calls++;
    while (s.available > 0) {
      const n = Math.min(s.available, 700);
      h.recv(s, n);
      got += n;
    }
  };
  h.inject(...[0, 1, 2, 3].map((i) => ({ flags: '.', seq: 1 + i * 1460, ack: 1, len: 1460 })));
  h.t.equal(got, 5840);
  h.t.equal(calls, 1, 'told once for the batch');
  h.expect({ flags: '.', ack: 5841 });
  h.t.equal(h.stack.memory.freeBlocks, h.stack.memory.blockCount, 'it never was stored');
});

script('an application that reads some while the batch is handled: the rest is kept', (h) => {
  const s = h.passive();
  s.onready = () => {
    s.onready = null;
    h.recv(s, 2000);
  };
  h.inject(...[0, 1, 2, 3].map((i) => ({ flags: '.', seq: 1 + i * 1460, ack: 1, len: 1460 })));
  h.expect({ flags: '.', ack: 5841 });
  h.recv(s, 5000, 3840);
});

script('a peek while the batch is handled takes nothing', (h) => {
  const s = h.passive();
  s.onready = () => {
    s.onready = null;
    h.t.equal(s.recv(new Uint8Array(3000), 0, 3000, MSG_PEEK), 2920);
    h.recv(s, 1);
    h.t.equal(s.recv(new Uint8Array(3000), 0, 3000, MSG_PEEK), 2919);
  };
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1460 }, { flags: '.', seq: 1461, ack: 1, len: 1460 });
  h.expect({ flags: '.', ack: 2921 });
  h.recv(s, 5000, 2919);
});

// ------------------------------------------------------------------------------------ reassembly

script('out of order: kept, acknowledged at once, delivered in order', (h) => {
  const s = h.passive();
  h.inject({ flags: '.', seq: 1001, ack: 1, len: 1000 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: '.', seq: 3001, ack: 1, len: 1000 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(s.available, 0);
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 2001 });
  h.recv(s, 4000, 2000);
  h.inject({ flags: '.', seq: 2001, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 4001 });
  h.recv(s, 4000, 2000);
  h.t.equal(h.info(s).outOfOrderIn, 2);
});

script('overlaps of every kind', (h) => {
  const s = h.passive();
  const pieces: [number, number][] = [[2001, 500], [1801, 300], [2401, 300], [1701, 1200], [2001, 100], [1201, 100], [1101, 400]];
  for (const [seq, len] of pieces) {
    h.inject({ flags: '.', seq, ack: 1, len });
    h.expect({ flags: '.', ack: 1 });
  }
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1200 });
  h.expect({ flags: '.', ack: 1501 });
  h.inject({ flags: '.', seq: 1301, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 2901 });
  h.recv(s, 5000, 2900);
});

script('duplicates are acknowledged and dropped', (h) => {
  const s = h.passive();
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1001 });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1001 });
  h.inject({ flags: 'P.', seq: 501, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1501 }, 'only the new part is taken');
  h.recv(s, 5000, 1500);
  h.t.equal(h.counters.DuplicateDataIn, 1);
});

script('everything in one batch, backwards', (h) => {
  const s = h.passive();
  h.inject(...[9, 8, 7, 6, 5, 4, 3, 2, 1, 0].map((i) => ({ flags: '.', seq: 1 + i * 100, ack: 1, len: 100 })));
  const out = h.take();
  h.t.equal(out.at(-1)!.ack, 1001);
  h.recv(s, 2000, 1000);
});

script('out-of-order ranges are bounded', (h) => {
  const s = h.passive();
  for (let i = 0; i < 1400; i++) h.inject({ flags: '.', seq: 3 + i * 2, ack: 1, len: 1 });
  h.take();
  h.t.ok(h.counters.OfoDrops >= 376, 'segments that would make more than 1024 ranges are dropped');
  h.inject({ flags: '.', seq: 1, ack: 1, len: 2800 });
  h.expect({ flags: '.', ack: 2801 });
  h.recv(s, 4000, 2800);
});

// --------------------------------------------------------------------------------- receive window

script('what lies beyond the window is not taken', (h) => {
  const s = small(h, 5000);
  h.inject({ flags: '.', seq: 5001, ack: 1, len: 10 });
  h.expect({ flags: '.', ack: 1 }, 'wholly beyond');
  h.inject({ flags: '.', seq: 4501, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1 }, 'half beyond: cut');
  for (let i = 0; i < 5; i++) h.inject({ flags: '.', seq: 1 + i * 900, ack: 1, len: 900 });
  h.t.equal(h.take().at(-1)!.ack, 5001);
  h.recv(s, 9000, 5000);
  h.take();
});

script('the window closes, and opens when half of the buffer or a segment is free (MUST-39)', (h) => {
  const s = small(h, 10_000);
  for (let i = 0; i < 6; i++) h.inject({ flags: '.', seq: 1 + i * 1460, ack: 1, len: 1460 });
  h.inject({ flags: 'P.', seq: 8761, ack: 1, len: 1240 });
  h.t.match(h.take().at(-1), { ack: 10_001, win: 0 });
  h.recv(s, 500);
  h.expectNothing('500 bytes are not worth an update');
  h.inject({ flags: '.', seq: 10_000, ack: 1 });
  h.expect({ flags: '.', ack: 10_001, win: 0 }, 'nor do they show in the answer to a probe (3.8.6.2.2)');
  h.recv(s, 3000);
  h.expect({ flags: '.', ack: 10_001, win: 3500 }, 'two segments are');
});

script('no update for every read of a reader that keeps up', (h) => {
  const s = small(h, 100_000, { ws: 7 });
  slowAcks(s);
  for (let i = 0; i < 20; i++) {
    h.inject({ flags: '.', seq: 1 + i * 2920, ack: 1, len: 1460 }, { flags: '.', seq: 1461 + i * 2920, ack: 1, len: 1460 });
    h.recv(s, 2920);
    h.t.equal(h.take().length, 1, 'one ACK for two segments, none for the read');
  }
});

script('a probe of a closed window: a byte at RCV.NXT is refused and answered, its ACK is used', (h) => {
  const s = small(h, 4096);
  h.send(s, 100);
  h.expect({ flags: 'P.', seq: 1, len: 100 });
  h.inject(
    { flags: '.', seq: 1, ack: 1, len: 1460 }, { flags: '.', seq: 1461, ack: 1, len: 1460 },
    { flags: '.', seq: 2921, ack: 1, len: 1176 },
  );
  h.expect({ flags: '.', ack: 4097, win: 0 });
  h.inject({ flags: 'P.', seq: 4097, ack: 101, len: 1 });
  h.expect({ flags: '.', seq: 101, ack: 4097, win: 0 });
  h.t.equal(h.info(s).unacked, 0, 'the ACK was taken (MUST-66)');
  h.recv(s, 5000, 4096);
  h.expect({ flags: '.', ack: 4097, win: 4096 });
});

script('the receive window never shrinks: a smaller buffer does not take back what was told (SHLD-14)', (h) => {
  const s = small(h, 20_000);
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1001, win: 19_000 });
  s.setsockopt(SOL_SOCKET, SO_RCVBUF, 5000);
  h.inject({ flags: 'P.', seq: 1001, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 2001, win: 18_000 });
});

script('a peer that sends more than the memory holds is pruned, not believed', { memory: 1 << 20 }, (h) => {
  const s = h.passive({ ws: 7 });
  let seq = 1;
  for (let i = 0; i < 600; i++) {
    h.inject({ flags: '.', seq, ack: 1, len: 1460 });
    const out = h.take();
    if (out.length > 0) seq = out.at(-1)!.ack;
  }
  const held = s.available;
  h.t.equal(held, seq - 1, 'what was acknowledged is there');
  h.t.ok(held > 40_000);
  h.recv(s, 1 << 20, held);
  h.t.ok(h.take().at(-1)!.win > 0, 'reading opens the window again');
});

// ------------------------------------------------------------------------------------ send window

script('the send window is kept to, and the rest follows its updates', (h) => {
  const s = h.passive({ win: 3000 });
  h.send(s, 10_000);
  h.expect({ flags: '.', seq: 1, len: 1460 });
  h.expect({ flags: '.', seq: 1461, len: 1460 });
  h.expectNothing('80 bytes are silly (SWS, 3.8.6.2.1)');
  h.inject({ flags: '.', seq: 1, ack: 1461, win: 3000 });
  h.expect({ flags: '.', seq: 2921, len: 1460 });
  h.inject({ flags: '.', seq: 1, ack: 4381, win: 8000 });
  h.expect({ flags: '.', seq: 4381, len: 1460 });
  h.expect({ flags: '.', seq: 5841, len: 1460 });
  h.expect({ flags: '.', seq: 7301, len: 1460 });
  h.expect({ flags: 'P.', seq: 8761, len: 1240 });
});

script('a window smaller than a segment is used from half of the largest on', (h) => {
  const s = h.passive({ win: 1000 });
  h.send(s, 3000);
  h.expect({ flags: '.', seq: 1, len: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 400 });
  h.expectNothing('less than half');
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 500 });
  h.expect({ flags: '.', seq: 1001, len: 500 });
});

script('a small window that stays: the override lets the data go (3.8.6.2.1)', (h) => {
  const s = h.active({ win: 1000 }, undefined, 10);
  h.send(s, 3000);
  h.expect({ flags: '.', seq: 1, len: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 100 });
  h.expectNothing();
  const rto = h.info(s).rtoMs;
  h.advance(rto - 1);
  h.expectNothing();
  h.advance(1);
  h.expect({ flags: 'P.', seq: 1001, len: 100 });
});

script('an old segment does not set the window (SND.WL1, SND.WL2)', (h) => {
  const s = h.passive({ win: 5000 });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100, win: 5000 });
  h.expect({ flags: '.', ack: 101 });
  h.send(s, 1000);
  h.expect({ flags: 'P.', len: 1000 });
  h.inject({ flags: '.', seq: 101, ack: 1001, win: 4000 });
  h.inject({ flags: '.', seq: 101, ack: 501, win: 0 });
  h.t.equal(h.info(s).sndWnd, 4000);
});

script('zero window: probes with backoff, for hours, while they are answered (MUST-36, MUST-37)', (h) => {
  const s = h.active({ win: 1000 }, undefined, 10);
  h.send(s, 5000);
  h.expect({ flags: '.', seq: 1, len: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 0 });
  h.expectNothing();
  let last = h.nowMs;
  const rto = h.info(s).rtoMs;
  h.t.ok(rto >= 200 && rto <= 210);
  const waits: number[] = [];
  while (h.nowMs < 4 * 3_600_000) {
    h.clock.runUntil(() => h.out.length > 0, 3_600_000_000);
    for (const probe of h.take()) {
      if (probe.flags !== '.' || probe.seq !== 1000 || probe.len !== 0) h.t.fail(describe(probe));
      waits.push(Math.round(probe.atMs - last));
      last = probe.atMs;
      h.inject({ flags: '.', seq: 1, ack: 1001, win: 0 });
    }
  }
  h.t.same(waits.slice(0, 10), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].map((n) => Math.min(n * rto, 60_000)));
  h.t.ok(waits.length > 230);
  h.state(s, 'ESTABLISHED');
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 10_000 });
  h.expect({ flags: '.', seq: 1001, len: 1460 });
  h.expect({ flags: '.', seq: 2461, len: 1460 });
  h.expect({ flags: 'P.', seq: 3921, len: 1080 });
});

script('zero window: unanswered probes end the connection', (h) => {
  const s = h.active({ win: 1000 }, undefined, 10);
  h.send(s, 5000);
  h.expect({ flags: '.', seq: 1, len: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 0 });
  h.advance(30 * 60_000);
  h.take();
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ETIMEDOUT', 'recv');
});

script('a peer that shrinks its window (MUST-34, SHLD-15, SHLD-17)', (h) => {
  const s = h.active({ win: 5000 }, undefined, 10);
  h.send(s, 8000);
  for (let i = 0; i < 3; i++) h.expect({ flags: '.', seq: 1 + i * 1460, len: 1460 });
  h.inject({ flags: '.', seq: 1, ack: 1461, win: 1000 });
  h.expectNothing('the usable window is negative');
  h.inject({ flags: '.', seq: 1, ack: 4381, win: 3620 });
  h.expect({ flags: '.', seq: 4381, len: 1460 });
  h.expect({ flags: '.', seq: 5841, len: 1460 });
  h.expect({ flags: 'P.', seq: 7301, len: 700 });
});

script('a peer that shrinks its window to nothing and stays there does not lose us (MUST-35)', (h) => {
  const s = h.active({ win: 5000 }, undefined, 10);
  h.send(s, 4000);
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 1, win: 0 });
  for (let i = 0; i < 120; i++) {
    h.advance(60_000);
    for (const probe of h.take()) {
      if (probe.seq !== 1 && probe.len > 0) h.t.fail(`${describe(probe)} is sent into a closed window`);
      h.inject({ flags: '.', seq: 1, ack: 1, win: 0 });
    }
  }
  h.state(s, 'ESTABLISHED');
  h.inject({ flags: '.', seq: 1, ack: 1, win: 5000 });
  h.advance(120_000);
  h.t.ok(h.take().length > 0, 'it goes on when the window opens');
});

script('a blocked writer hears of room once a quarter is free', (h) => {
  const s = h.socket();
  s.setsockopt(SOL_SOCKET, SO_SNDBUF, 10_000);
  h.connect(s);
  h.expect({ flags: 'S' });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1000, win: 65535 });
  h.expect({ flags: '.' });
  h.t.equal(h.send(s, 20_000, 0, true), 10_000);
  h.errno(s.send(new Uint8Array(1), 0, 1), 'EAGAIN', 'send');
  h.t.equal(s.writable, 0);
  h.t.equal(s.poll() & POLLOUT, 0);
  h.take();
  let told = 0;
  s.onready = (events) => (told |= events);
  h.inject({ flags: '.', seq: 1, ack: 1001 });
  h.t.equal(told & POLLOUT, 0);
  h.inject({ flags: '.', seq: 1, ack: 4001 });
  h.t.equal(told & POLLOUT, POLLOUT);
  h.t.equal(s.writable, 4000);
});

// ------------------------------------------------------------------------------------------ Nagle

script('Nagle as Minshall has it: a small segment waits only for another small one', (h) => {
  const s = h.passive();
  h.send(s, 100);
  h.expect({ flags: 'P.', seq: 1, len: 100 });
  h.send(s, 100);
  h.send(s, 100);
  h.expectNothing();
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.expect({ flags: 'P.', seq: 101, len: 200 });
  h.inject({ flags: '.', seq: 1, ack: 301 });
  h.send(s, 1560);
  h.expect({ flags: '.', seq: 301, len: 1460 });
  h.expect({ flags: 'P.', seq: 1761, len: 100 }, 'only a full segment is unacknowledged');
  h.send(s, 1460);
  h.expect({ flags: 'P.', seq: 1861, len: 1460 }, 'a full segment need not wait');
});

script('TCP_NODELAY', (h) => {
  const s = h.passive();
  h.send(s, 100);
  h.expect({ flags: 'P.', seq: 1, len: 100 });
  h.send(s, 50);
  h.expectNothing();
  s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
  h.expect({ flags: 'P.', seq: 101, len: 50 }, 'setting it lets go of what waits');
  h.send(s, 10);
  h.expect({ flags: 'P.', seq: 151, len: 10 });
});

script('MSG_MORE', (h) => {
  const s = h.passive();
  h.send(s, 100, MSG_MORE);
  h.expectNothing();
  h.send(s, 100, MSG_MORE);
  h.expectNothing();
  h.send(s, 100);
  h.expect({ flags: 'P.', seq: 1, len: 300 });
  h.inject({ flags: '.', seq: 1, ack: 301 });
  h.send(s, 2000, MSG_MORE);
  h.expect({ flags: '.', seq: 301, len: 1460 }, 'full segments leave');
  h.expectNothing();
  h.inject({ flags: '.', seq: 1, ack: 1761 });
  h.advance(199);
  h.expectNothing();
  h.advance(2);
  h.expect({ flags: 'P.', seq: 1761, len: 540 }, 'after 200 ms the rest does');
});

script('TCP_CORK', (h) => {
  const s = h.passive();
  s.setsockopt(IPPROTO_TCP, TCP_CORK, 1);
  h.send(s, 100);
  h.send(s, 100);
  h.expectNothing();
  s.setsockopt(IPPROTO_TCP, TCP_CORK, 0);
  h.expect({ flags: 'P.', seq: 1, len: 200 });
  h.inject({ flags: '.', seq: 1, ack: 201 });
  s.setsockopt(IPPROTO_TCP, TCP_CORK, 1);
  h.send(s, 300);
  h.advance(200);
  h.expect({ flags: 'P.', seq: 201, len: 300 });
});

script('closing lets corked data go', (h) => {
  const s = h.passive();
  h.send(s, 100, MSG_MORE);
  s.close();
  h.expect({ flags: 'FP.', seq: 1, len: 100 });
});

script('PSH on what empties the send buffer, only there', (h) => {
  const s = h.passive();
  h.send(s, 4380);
  h.expect({ flags: '.', seq: 1, len: 1460 });
  h.expect({ flags: '.', seq: 1461, len: 1460 });
  h.expect({ flags: 'P.', seq: 2921, len: 1460 });
});

// ------------------------------------------------------------------------------- acknowledgments

script('quick ACKs at the start, then every second full segment, then 40 ms', (h) => {
  const s = h.passive();
  let seq = 1;
  const data = (len: number): void => {
    h.inject({ flags: '.', seq, ack: 1, len });
    seq += len;
    h.recv(s, len);
  };
  let quick = 0;
  for (let i = 0; i < 40; i++) {
    data(100);
    if (h.take().length === 0) break;
    quick++;
  }
  h.t.equal(quick, 16);
  h.advance(39);
  h.expectNothing();
  h.advance(1);
  h.expect({ flags: '.', ack: seq });
  h.t.equal(h.counters.DelayedAcks, 1);
  data(1460);
  h.expectNothing();
  data(1460);
  h.expect({ flags: '.', ack: seq });
  data(1460);
  h.expectNothing();
  h.send(s, 10);
  h.expect({ flags: 'P.', len: 10, ack: seq }, 'the ACK rides along');
  h.advance(100);
  h.expectNothing();
});

script('one ACK for a batch (MUST-58, MUST-59)', (h) => {
  const s = h.passive();
  h.inject(...Array.from({ length: 20 }, (_, i) => ({ flags: '.', seq: 1 + i * 1000, ack: 1, len: 1000 })));
  h.expect({ flags: '.', ack: 20_001 });
  h.recv(s, 20_000);
});

script('no delayed ACKs when they are switched off', { tcp: { delayedAckMs: 0 } }, (h) => {
  const s = h.passive();
  slowAcks(s);
  for (let i = 0; i < 30; i++) {
    h.inject({ flags: '.', seq: 1 + i, ack: 1, len: 1 });
    h.expect({ flags: '.', ack: 2 + i });
  }
  h.recv(s, 30);
});

script('a pure ACK, a window update, an old ACK are not answered', (h) => {
  const s = h.passive();
  h.send(s, 100);
  h.expect({ flags: 'P.', len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.inject({ flags: '.', seq: 1, ack: 101, win: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 51 });
  h.expectNothing();
});

script('a keep-alive of the peer is answered (an old byte, or none)', (h) => {
  h.passive();
  h.inject({ flags: '.', seq: 0, ack: 1 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: '.', seq: 0, ack: 1, len: 1 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
});

// ---------------------------------------------------------------------------------- urgent data

script('urgent data stays in line; the user is told, and it passes (3.8.5)', (h) => {
  const s = h.passive();
  let told = 0;
  s.onready = (events) => (told |= events);
  h.inject({ flags: 'PU.', seq: 1, ack: 1, len: 10, urg: 5 });
  h.expect({ flags: '.', ack: 11 });
  h.t.ok(told & POLLPRI);
  h.t.equal(s.poll() & POLLPRI, POLLPRI);
  h.recv(s, 4);
  h.t.equal(s.poll() & POLLPRI, POLLPRI);
  h.recv(s, 6);
  h.t.equal(s.poll() & POLLPRI, 0);
  const before = h.counters.PredictedData;
  h.inject({ flags: 'P.', seq: 11, ack: 1, len: 10 });
  h.expect({ flags: '.', ack: 21 });
  h.t.equal(h.counters.PredictedData, before + 1, 'header prediction is back');
  h.recv(s, 10);
});

script('an urgent pointer ahead of its data (MUST-31, MUST-32)', (h) => {
  const s = h.passive();
  let told = 0;
  s.onready = (events) => (told |= events);
  h.inject({ flags: 'U.', seq: 1, ack: 1, urg: 1000 });
  h.t.ok(told & POLLPRI);
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1001 });
  h.recv(s, 1000);
  h.t.equal(s.poll() & POLLPRI, 0);
});

script('MSG_OOB sends an urgent pointer (MUST-30, MUST-62)', (h) => {
  const s = h.passive();
  h.send(s, 10, MSG_OOB);
  h.expect({ flags: 'PU.', seq: 1, len: 10, urg: 10 });
  h.inject({ flags: '.', seq: 1, ack: 11 });
  h.send(s, 10);
  h.expect({ flags: 'P.', seq: 11, len: 10, urg: 0 });
});

// ------------------------------------------------------------------- merged and super-segments

script('a merged segment (GSO) counts as the segments that it was', (h) => {
  const s = h.passive({ ts: true });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 14_480, gso: 1448 });
  h.expect({ flags: '.', ack: 14_481 });
  h.recv(s, 14_480);
  h.t.equal(h.info(s).dataSegsIn, 10);
  h.t.equal(h.info(s).segsIn, 11);
  h.t.equal(h.counters.InSegs, 12);
  h.t.equal(h.counters.PredictedData, 1);
});

script('a merged segment out of order, and one that overlaps', (h) => {
  const s = h.passive({ sack: true });
  h.inject({ flags: 'P.', seq: 14_601, ack: 1, len: 14_600, gso: 1460 });
  h.expect({ flags: '.', ack: 1, sack: [[14_601, 29_201]] });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 21_900, gso: 1460 });
  h.expect({ flags: '.', ack: 29_201 });
  h.recv(s, 30_000, 29_200);
});

script('super-segments leave when the link can cut', { features: LINK_CSUM | LINK_TSO4 }, (h) => {
  const s = h.passive();
  h.send(s, 14_700);
  h.expect({ flags: '.', seq: 1, len: 14_600, gso: 1460 });
  h.inject({ flags: '.', seq: 1, ack: 14_601 });
  h.expect({ flags: 'P.', seq: 14_601, len: 100 });
  h.t.equal(h.info(s).dataSegsOut, 11);
});

script('a super-segment has 64 KB at most and whole segments', { features: LINK_CSUM | LINK_TSO4 }, (h) => {
  const s = h.socket();
  s.setsockopt(SOL_SOCKET, SO_SNDBUF, 400_000);
  h.connect(s);
  h.expect({ flags: 'S' });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460, ws: 7 });
  h.expect({ flags: '.' });
  h.inject({ flags: '.', seq: 1, ack: 1, win: 65535 });
  h.send(s, 390_000);
  let seq = 1;
  let largest = 0;
  for (let round = 0; round < 10; round++) {
    for (const out of h.take()) {
      h.t.ok(out.len + 40 <= 65_535);
      if (out.gso === undefined) h.t.ok(out.len <= 1460);
      else h.t.equal(out.gso, 1460);
      largest = Math.max(largest, out.len);
      h.t.equal(out.seq, seq);
      seq += out.len;
    }
    h.inject({ flags: '.', seq: 1, ack: seq });
  }
  h.t.equal(seq, 390_001);
  h.t.equal(largest, 44 * 1460);
});

script('super-segments on IPv6', { features: LINK_CSUM | LINK_TSO6, ipv6: true }, (h) => {
  const s = h.passive({ mss: 1440 });
  h.send(s, 14_400);
  h.expect({ flags: 'P.', seq: 1, len: 14_400, gso: 1440 });
});

script('no super-segments of the other family', { features: LINK_CSUM | LINK_TSO6 }, (h) => {
  const s = h.passive();
  h.send(s, 2920);
  h.expect({ flags: '.', len: 1460 });
  h.expect({ flags: 'P.', len: 1460 });
});

script('small segments over one batch of ACKs, sent once at the end of the turn', (h) => {
  const s = h.passive();
  s.onready = () => {
    if (s.available > 0) {
      h.recv(s, s.available);
      h.send(s, 64);
    }
  };
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 64 });
  h.expect({ flags: 'P.', seq: 1, ack: 65, len: 64 }, 'the answer carries the ACK');
});

// -------------------------------------------------------------------------------- flags of recv

script('MSG_PEEK and MSG_TRUNC', (h) => {
  const s = h.passive();
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.' });
  const bytes = new Uint8Array(200);
  h.t.equal(s.recv(bytes, 0, 200, MSG_PEEK), 100);
  h.t.equal(s.recv(bytes, 0, 50, MSG_PEEK), 50);
  h.recv(s, 10);
  h.t.equal(s.available, 90);
  h.t.equal(s.recv(bytes, 0, 40, MSG_TRUNC), 40, 'dropped without a copy');
  h.t.equal(s.available, 50);
  h.t.equal(s.poll() & POLLIN, POLLIN);
  h.t.equal(s.recv(bytes, 0, 100, MSG_TRUNC), 50);
  h.errno(s.recv(bytes, 0, 100), 'EAGAIN', 'recv');
});

script('reading through many blocks, in odd pieces', (h) => {
  const s = h.passive({ ws: 7 });
  for (let i = 0; i < 40; i++) h.inject({ flags: '.', seq: 1 + i * 1460, ack: 1, len: 1460 });
  h.take();
  let left = 58_400;
  for (let n = 1; left > 0; n = (n * 7 + 3) % 5000) {
    const piece = Math.min(n, left);
    h.recv(s, piece);
    left -= piece;
  }
  h.take();
});

// ------------------------------------------------------------------------------ a link that is full

script('a link that takes nothing for a while: everything is sent when it can', (h) => {
  const s = h.passive();
  h.link.room = 2;
  h.send(s, 14_600);
  h.stack.settle();
  h.t.equal(h.out.length, 2);
  let told = 0;
  s.onready = (events) => (told |= events);
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.t.equal(told & POLLIN, POLLIN, 'nobody is kept from hearing');
  h.recv(s, 100);
  h.stack.settle();
  h.t.equal(h.out.length, 2);
  h.link.room = Infinity;
  h.stack.writable();
  const out = h.take();
  h.t.equal(out.filter((o) => o.len > 0).reduce((sum, o) => sum + o.len, 0), 14_600);
  h.t.ok(out.some((o) => o.ack === 101), 'and the ACK');
});

script('the send buffer keeps its blocks while the link still holds packets of it', (h) => {
  const s = h.passive();
  h.link.room = 0;
  h.send(s, 14_600);
  h.inject({ flags: '.', seq: 1, ack: 14_601 });
  h.send(s, 14_600);
  h.link.room = Infinity;
  h.stack.writable();
  let sum = 0;
  for (const out of h.take()) {
    for (let i = 0; i < out.len; i++) {
      const n = out.seq - 1 + i;
      if (out.payload[i] !== ((n * 31 + (n >> 8) * 7 + 11) & 0xff)) h.t.fail(`byte ${n}`);
    }
    sum += out.len;
  }
  h.t.equal(sum, 29_200);
});
