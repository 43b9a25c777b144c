/** SYN cookies (RFC 4987): a connection out of nothing but its last ACK; the bounds of half-open and of waiting connections. */

import t from 'tap';
import { SeededRandom } from '../../lib/random.ts';
import { ECN_ON } from '../../lib/tcp/ecn.ts';
import { ecnOfTimestamp, optionsToTimestamp, sackOfTimestamp, scaleOfTimestamp } from '../../lib/tcp/syn-cookies.ts';
import { script } from './harness.ts';
import type { Harness } from './harness.ts';

const ALWAYS = { ownIsn: true, tcp: { synCookies: 'always' } } as const;

/** No trace of anybody. */
function nothingKept(h: Harness): void {
  h.t.equal(h.stack.tcp.connections, 0, 'nothing is kept');
}

script('a cookie with timestamps keeps all options', ALWAYS, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1400, sackOK: true, ts: [77, 0], ws: 9, win: 5000 });
  const answer = h.expect({ flags: 'S.', seq: 0, ack: 1, mss: 1460, sackOK: true, ws: 7 });
  nothingKept(h);
  h.t.equal(answer.ts![1], 77);
  h.advance(30);
  h.inject({ flags: '.', seq: 1, ack: 1, ts: [107, answer.ts![0]], win: 100 });
  h.expectNothing();
  const s = h.accept(l);
  const info = h.info(s);
  h.t.match(info, { state: 'ESTABLISHED', timestamps: true, sack: true, sndWscale: 9, rcvWscale: 7, peerMss: 1400, sndWnd: 100 << 9, sndMss: 1388 });
  h.t.match(h.counters, { SyncookiesSent: 1, SyncookiesRecv: 1, SyncookiesFailed: 0, PassiveOpens: 1, CurrEstab: 1 });
  h.send(s, 3000);
  const first = h.expect({ flags: '.', seq: 1, ack: 1, len: 1388 });
  h.t.ok(((first.ts![0] - answer.ts![0]) | 0) > 0, 'our clock does not run backwards');
  h.expect({ flags: '.', seq: 1389, len: 1388 });
  h.expect({ flags: 'P.', seq: 2777, len: 224 });
  h.inject({ flags: '.', seq: 1, ack: 3001, ts: [110, first.ts![0]], win: 100 });
});

script('a cookie without timestamps keeps the MSS, and nothing else is offered', ALWAYS, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460, sackOK: true, ws: 9 });
  const answer = h.expect({ flags: 'S.', seq: 0, ack: 1, mss: 1460, ts: null });
  h.t.equal(answer.ws, undefined);
  h.t.notOk(answer.sackOK);
  nothingKept(h);
  h.inject({ flags: '.', seq: 1, ack: 1, win: 4000 });
  const s = h.accept(l);
  h.t.match(h.info(s), { timestamps: false, sack: false, sndWscale: 0, rcvWscale: 0, peerMss: 1460, sndWnd: 4000 });
});

script('scaling and SACK that were not offered are not there later', ALWAYS, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460, ts: [5, 0] });
  const answer = h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.t.equal(answer.ws, undefined);
  h.inject({ flags: '.', seq: 1, ack: 1, ts: [6, answer.ts![0]], win: 4000 });
  h.t.match(h.info(h.accept(l)), { timestamps: true, sack: false, sndWscale: 0, rcvWscale: 0, sndWnd: 4000 });
});

script('an MSS becomes the next lower one of a few', ALWAYS, (h) => {
  const l = h.listen();
  for (const [mss, kept] of [[0, 536], [10, 64], [63, 64], [64, 64], [535, 64], [536, 536], [1219, 536], [1220, 1220], [1459, 1440], [9000, 8940]] as const) {
    h.peerPort++;
    h.inject({ flags: 'S', seq: 0, ...(mss === 0 ? {} : { mss }) });
    h.iss = (h.iss + h.take()[0]!.seq) | 0;
    h.inject({ flags: '.', seq: 1, ack: 1 });
    h.t.equal(h.info(h.accept(l)).peerMss, kept, `${mss} becomes ${kept}`);
  }
});

script('an ACK with data completes the handshake as well, and so does one with FIN', ALWAYS, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.inject({ flags: 'FP.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', seq: 1, ack: 102 });
  const s = h.accept(l);
  h.recv(s, 200, 100);
  h.state(s, 'CLOSE-WAIT');
});

script('a cookie lives for a minute at least, and two at most', ALWAYS, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.advance(60_500);
  h.inject({ flags: 'S', seq: 0, mss: 1460, srcPort: 9999 });
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.expectNothing();
  h.accept(l).abort();
  h.take();
  h.advance(59_600);
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.expect({ flags: 'R', seq: 1 });
  h.t.match(h.counters, { SyncookiesRecv: 1, SyncookiesFailed: 1 });
  nothingKept(h);
  h.advance(121_000);
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.expect({ flags: 'R', seq: 1 });
  h.t.equal(h.counters.SyncookiesFailed, 1, 'when none can be out, ACKs are not looked at');
});

script('cookies cannot be had by guessing: nothing in the packet may be different', ALWAYS, (h) => {
  h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  for (const one of [{ ack: 17 }, { ack: -15 }, { ack: 0x10000001 }, { seq: 2 }, { seq: 0 }, { srcPort: 7001 }]) {
    h.inject({ flags: '.', seq: 1, ack: 1, ...one });
    h.t.equal(h.take()[0]?.flags, 'R', JSON.stringify(one));
  }
  h.t.equal(h.counters.SyncookiesFailed, 6);
  const random = new SeededRandom(5);
  for (let i = 0; i < 20_000; i++) h.inject({ flags: '.', seq: 1, ack: random.int32() });
  h.t.equal(h.counters.SyncookiesRecv, 0);
  h.take();
  nothingKept(h);
});

script('without an ACK for us cookies are not even looked at: RST, SYN-ACK', ALWAYS, (h) => {
  h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.inject({ flags: 'R', seq: 1 });
  h.inject({ flags: 'R.', seq: 1, ack: 1 });
  h.expectNothing();
  h.inject({ flags: 'S.', seq: 0, ack: 1 });
  h.expect({ flags: 'R', seq: 1 });
  h.t.equal(h.counters.SyncookiesFailed, 0);
  nothingKept(h);
});

script('a SYN that comes again gets the same cookie', ALWAYS, (h) => {
  const l = h.listen();
  for (let i = 0; i < 3; i++) {
    h.inject({ flags: 'S', seq: 0, mss: 1460 });
    h.expect({ flags: 'S.', seq: 0, ack: 1 });
    h.advance(1000);
  }
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.state(h.accept(l), 'ESTABLISHED');
});

script('settings of the listener hold', ALWAYS, (h) => {
  const l = h.listen(80, 16, (socket) => {
    socket.setsockopt(1, 8, 20_000);
    socket.setsockopt(6, 2, 1000);
    socket.setsockopt(0, 2, 33);
  });
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.t.equal(h.expect({ flags: 'S.', seq: 0, ack: 1, mss: 1000, win: 20_000 }).ttl, 33);
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(h.info(h.accept(l)).rcvbuf, 20_000);
});

script('ECN is kept in the timestamp, and not offered without one', ALWAYS, (h) => {
  const l = h.listen();
  h.inject({ flags: 'SEW', seq: 0, mss: 1460, srcPort: 1 });
  h.expect({ flags: 'S.', ack: 1 });
  h.inject({ flags: 'SEW', seq: 0, mss: 1460, ts: [77, 0] });
  const answer = h.expect({ flags: 'SE.', ack: 1 });
  h.t.equal(h.counters.EcnHandshakes, 0);
  h.inject({ flags: '.', seq: 1, ack: answer.seq + 1, ts: [78, answer.ts![0]] });
  h.t.equal(h.accept(l).getpeername()!.port, 7000);
  h.t.equal(h.tcb.ecn, ECN_ON);
  h.t.equal(h.counters.EcnHandshakes, 1);
  h.inject({ flags: 'S', seq: 0, mss: 1460, ts: [77, 0], srcPort: 2 });
  h.expect({ flags: 'S.', ack: 1 });
});

script('IPv6', { ...ALWAYS, ipv6: true }, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1440, sackOK: true, ts: [77, 0], ws: 9 });
  const answer = h.expect({ flags: 'S.', seq: 0, ack: 1, mss: 1440 });
  h.inject({ flags: '.', seq: 1, ack: 1, ts: [78, answer.ts![0]] });
  h.t.match(h.info(h.accept(l)), { peerMss: 1440, sack: true, sndWscale: 9 });
});

// ----------------------------------------------------------------------------------- the bounds

/** A SYN from `port`; the peer answers what it gets, as far as it gets something. */
function syn(h: Harness, port: number): boolean {
  h.inject({ flags: 'S', seq: 0, mss: 1460, srcPort: port });
  return h.take().length > 0;
}

script('a listener has as many half-open connections as its backlog says, then cookies', { ownIsn: true }, (h) => {
  h.listen(80, 5);
  for (let port = 1; port <= 50; port++) h.t.ok(syn(h, port), 'answered');
  h.t.equal(h.stack.tcp.connections, 5);
  h.t.equal(h.counters.SyncookiesSent, 45);
  // Half-open ones go away, and the queue is used again. With more than half of it in use they go early.
  h.advance(8000);
  h.t.equal(h.stack.tcp.connections, 4, 'in 7 s until half of it is free');
  h.advance(56_000);
  h.take();
  nothingKept(h);
  syn(h, 60);
  h.t.equal(h.stack.tcp.connections, 1);
});

script('all listeners together have `maxSynBacklog`', { ownIsn: true, tcp: { maxSynBacklog: 16 } }, (h) => {
  h.listen(81, 100);
  for (let port = 1; port <= 50; port++) syn(h, port);
  h.t.equal(h.stack.tcp.connections, 12, 'a quarter is for those that are known to be there');
  h.listen(80, 100);
  h.t.ok(syn(h, 1));
  h.t.equal(h.stack.tcp.connections, 12);
});

script('without cookies the oldest half-open connection makes room', { tcp: { synCookies: 'off' } }, (h) => {
  const l = h.listen(80, 3);
  for (let port = 1; port <= 5; port++) h.t.ok(syn(h, port));
  h.t.equal(h.stack.tcp.connections, 3);
  h.t.match(h.counters, { SyncookiesSent: 0, SynEvictions: 2 });
  h.inject({ flags: '.', seq: 1, ack: 1, srcPort: 2 });
  h.expect({ flags: 'R' });
  for (const port of [3, 4, 5]) h.inject({ flags: '.', seq: 1, ack: 1, srcPort: port });
  h.expectNothing();
  h.t.same([3, 4, 5], [0, 0, 0].map(() => h.accept(l).getpeername()!.port));
});

script('nobody accepts: the last ACK is dropped, the SYN-ACK comes again, and the connection with it', (h) => {
  const l = h.listen(80, 1);
  const open = (port: number): void => {
    h.inject({ flags: 'S', seq: 0, mss: 1460, srcPort: port });
    h.expect({ flags: 'S.', dstPort: port });
  };
  open(1);
  h.inject({ flags: '.', seq: 1, ack: 1, srcPort: 1 });
  open(2);
  h.inject({ flags: '.', seq: 1, ack: 1, srcPort: 2 });
  h.t.equal(h.counters.ListenOverflows, 0);
  // Two wait; of a third not even the SYN is taken (Linux: more than the backlog).
  h.inject({ flags: 'S', seq: 0, mss: 1460, srcPort: 3 });
  h.expectNothing();
  h.t.match(h.counters, { ListenOverflows: 1, ListenDrops: 1 });
  h.t.equal(h.accept(l).getpeername()!.port, 1);
  h.t.equal(h.accept(l).getpeername()!.port, 2);
});

script('half open while the queue fills', (h) => {
  const l = h.listen(80, 2);
  for (const port of [1, 2]) {
    h.inject({ flags: 'S', seq: 0, mss: 1460, srcPort: port });
    h.expect({ flags: 'S.', dstPort: port });
  }
  for (const port of [1, 2]) h.inject({ flags: '.', seq: 1, ack: 1, srcPort: port });
  for (const port of [3, 4]) {
    h.inject({ flags: 'S', seq: 0, mss: 1460, srcPort: port });
    h.expect({ flags: 'S.', dstPort: port });
  }
  h.inject({ flags: '.', seq: 1, ack: 1, srcPort: 3 });
  h.inject({ flags: 'P.', seq: 1, ack: 1, srcPort: 4, len: 10 });
  h.expectNothing();
  h.t.match(h.counters, { ListenOverflows: 1, ListenDrops: 1, CurrEstab: 3 });
  h.advance(1000);
  h.expect({ flags: 'S.', dstPort: 4 });
  h.accept(l);
  h.expect({ flags: 'S.', dstPort: 4 }, 'at once, when there is room');
  h.inject({ flags: '.', seq: 11, ack: 1, srcPort: 4 });
  h.t.equal(h.counters.CurrEstab, 4);
  h.t.equal(h.accept(l).getpeername()!.port, 2);
  h.t.equal(h.accept(l).getpeername()!.port, 3);
  const last = h.accept(l);
  h.t.equal(last.getpeername()!.port, 4);
  h.t.equal(last.available, 0, 'the data that was dropped comes again');
  h.inject({ flags: 'P.', seq: 1, ack: 1, srcPort: 4, len: 10 });
  h.expect({ flags: '.', ack: 11 });
  h.t.equal(last.available, 10);
});

script('a cookie that comes back while the queue is full waits half open', { ...ALWAYS, tcp: { synCookies: 'always', maxSynBacklog: 4 } }, (h) => {
  const l = h.listen(80, 1);
  const isns: number[] = [];
  for (let port = 1; port <= 8; port++) {
    h.inject({ flags: 'S', seq: 0, mss: 1460, srcPort: port });
    const [answer] = h.take();
    isns.push((h.iss + answer!.seq) | 0);
  }
  const iss = h.iss;
  isns.forEach((isn, i) => h.inject({ flags: '.', seq: 1, ack: (isn - iss + 1) | 0, srcPort: i + 1 }));
  h.expectNothing();
  h.t.equal(h.counters.SyncookiesRecv, 8);
  h.t.equal(h.stack.tcp.connections, 2 + 4, 'two wait to be accepted, four are half open');
  h.t.match(h.counters, { ListenOverflows: 6, ListenDrops: 2 });
  h.accept(l);
  h.accept(l);
  const again = h.take().filter((out) => out.flags === 'S.');
  h.t.same(again.map((out) => out.dstPort), [3, 4], 'as many as there is room for');
  for (const out of again) h.inject({ flags: '.', seq: 1, ack: out.seq + 1, srcPort: out.dstPort });
  h.t.same([h.accept(l).getpeername()!.port, h.accept(l).getpeername()!.port], [3, 4]);
  h.t.same(h.take().map((out) => out.dstPort), [5, 6]);
});

t.test('options in a timestamp', (t) => {
  const random = new SeededRandom(3);
  for (let i = 0; i < 10_000; i++) {
    const now = random.int32();
    const scale = (random.int32() >>> 0) % 16 - 1;
    const sack = (random.int32() & 1) !== 0;
    const ecn = (random.int32() & 1) !== 0;
    const value = optionsToTimestamp(now, scale, sack, ecn);
    const behind = (now - value) | 0;
    if (behind < 0 || behind > 63) t.fail(`${behind} ms behind`);
    if (scaleOfTimestamp(value) !== scale || sackOfTimestamp(value) !== sack || ecnOfTimestamp(value) !== ecn) t.fail(`${now} ${scale}`);
  }
  t.pass('what goes in comes out, and the clock is behind by less than 64 ms');
  t.end();
});
