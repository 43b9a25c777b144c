/** TCP Fast Open (RFC 7413), the server's side and the client's. */

import { IPPROTO_TCP, SHUT_WR, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { script } from './harness.ts';
import type { Harness, Out } from './harness.ts';

const FAST_OPEN = 34;
const HOUR = 3_600_000;

/** Options of a SYN: MSS 1460, Fast Open with this cookie. */
function fastOpen(cookie: number[]): number[] {
  const options = [2, 4, 1460 >> 8, 1460 & 0xff, FAST_OPEN, 2 + cookie.length, ...cookie];
  while (options.length % 4 !== 0) options.push(1);
  return options;
}

/** The cookie in what came out; null: no such option. */
function cookieOf(out: Out): number[] | null {
  for (let i = 0; i < out.options.length;) {
    const kind = out.options[i]!;
    if (kind === 0) return null;
    if (kind === 1) {
      i++;
      continue;
    }
    if (kind === FAST_OPEN) return out.options.slice(i + 2, i + out.options[i + 1]!);
    i += out.options[i + 1]!;
  }
  return null;
}

function listen(h: Harness, queue = 8): BsdSocket {
  return h.listen(80, 16, (socket) => h.ok(socket.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, queue), 'TCP_FASTOPEN'));
}

/** Asks for a cookie, from a port of its own. */
function ask(h: Harness): number[] {
  h.inject({ flags: 'S', srcPort: 999, options: fastOpen([]) });
  const cookie = cookieOf(h.expect({ flags: 'S.', seq: 0, ack: 1, dstPort: 999 }));
  h.t.equal(cookie?.length, 8, 'a cookie');
  h.inject({ flags: 'R', seq: 1, srcPort: 999 });
  return cookie!;
}

// -------------------------------------------------------------------------------------- passive

script('the data of a SYN with a cookie is there at once, and may be answered at once', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  h.inject({ flags: 'S', seq: 0, len: 100, options: fastOpen(cookie), win: 1000 });
  const answer = h.expect({ flags: 'S.', seq: 0, ack: 101 });
  h.t.equal(cookieOf(answer), null, 'no new cookie');
  const s = h.accept(l);
  h.state(s, 'SYN-RECEIVED');
  h.t.equal(s.getpeername()!.port, 7000);
  h.recv(s, 200, 100);
  h.send(s, 600);
  h.expect({ flags: 'P.', seq: 1, ack: 101, len: 600 });
  h.t.equal(h.counters.CurrEstab, 0);
  h.inject({ flags: '.', seq: 101, ack: 601, win: 1000 });
  h.state(s, 'ESTABLISHED');
  h.t.equal(h.info(s).bytesAcked, 600);
  h.t.match(h.counters, { FastOpenPassive: 1, FastOpenCookieReqd: 1, FastOpenPassiveFail: 0, CurrEstab: 1 });
  h.inject({ flags: 'P.', seq: 101, ack: 601, len: 50 });
  h.expect({ flags: '.', ack: 151 });
  h.recv(s, 50);
  h.advance(5000);
});

script('nothing is left to be sent again when the handshake is acknowledged alone', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  h.inject({ flags: 'S', seq: 0, len: 100, options: fastOpen(cookie), win: 1000 });
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  const s = h.accept(l);
  h.send(s, 600);
  h.expect({ flags: 'P.', seq: 1, ack: 101, len: 600 });
  h.inject({ flags: '.', seq: 101, ack: 1, win: 1000 });
  h.state(s, 'ESTABLISHED');
  h.advance(3000);
  const again = h.take().filter((out) => out.len > 0);
  h.t.ok(again.length >= 1, 'what was sent early is sent again when it is lost');
  h.inject({ flags: '.', seq: 101, ack: 601, win: 1000 });
  h.t.equal(h.info(s).bytesAcked, 600);
  h.recv(s, 200, 100);
});

script('a SYN with a cookie and no data opens as well: the server may speak first', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  h.inject({ flags: 'S', seq: 0, options: fastOpen(cookie), win: 1000 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  const s = h.accept(l);
  h.send(s, 10);
  h.expect({ flags: 'P.', seq: 1, ack: 1, len: 10 });
  h.inject({ flags: '.', seq: 1, ack: 11 });
  h.state(s, 'ESTABLISHED');
});

script('a wrong cookie is answered with the right one, and the data waits for its turn', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  const wrong = [...cookie];
  wrong[3]! ^= 1;
  h.inject({ flags: 'S', seq: 0, len: 100, options: fastOpen(wrong) });
  h.t.same(cookieOf(h.expect({ flags: 'S.', seq: 0, ack: 1 })), cookie);
  h.errno(l.accept(), 'EAGAIN', 'accept');
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  h.recv(h.accept(l), 100);
  h.t.match(h.counters, { FastOpenPassive: 0, FastOpenPassiveFail: 1 });
});

script('cookies of other lengths are wrong; options that cannot be are none', (h) => {
  listen(h);
  for (const length of [4, 6, 16]) {
    h.peerPort++;
    h.inject({ flags: 'S', seq: 0, len: 10, options: fastOpen(new Array(length).fill(7)) });
    h.t.equal(cookieOf(h.expect({ flags: 'S.', ack: 1 }))?.length, 8, `${length} bytes`);
  }
  for (const length of [1, 2, 3, 5, 7, 9, 17, 18]) {
    h.peerPort++;
    h.inject({ flags: 'S', seq: 0, len: 10, options: fastOpen(new Array(length).fill(7)) });
    h.t.equal(cookieOf(h.expect({ flags: 'S.', ack: 1 })), null, `${length} bytes`);
  }
});

script('who has not asked for it has nothing of it', (h) => {
  h.listen();
  h.inject({ flags: 'S', seq: 0, len: 10, options: fastOpen([]) });
  h.t.equal(cookieOf(h.expect({ flags: 'S.', ack: 1 })), null);
});

script('a cookie is for one address, and for a day at most', (h) => {
  listen(h);
  const cookie = ask(h);
  h.advance(12 * HOUR + 1000);
  h.inject({ flags: 'S', seq: 0, len: 10, srcPort: 1, options: fastOpen(cookie) });
  const next = cookieOf(h.expect({ flags: 'S.', ack: 11 }));
  h.t.ok(next !== null && next.join() !== cookie.join(), 'an old one is good, and replaced');
  h.inject({ flags: 'R', seq: 11, srcPort: 1 });
  h.advance(12 * HOUR);
  h.inject({ flags: 'S', seq: 0, len: 10, srcPort: 2, options: fastOpen(cookie) });
  h.expect({ flags: 'S.', ack: 1 });
  h.inject({ flags: 'S', seq: 0, len: 10, srcPort: 3, options: fastOpen(next!) });
  h.expect({ flags: 'S.', ack: 11 });
});

script('no more than the queue are open by their SYN alone, and resets do not make room (RFC 7413 5.1)', (h) => {
  const l = listen(h, 2);
  const cookie = ask(h);
  for (const port of [1, 2, 3]) {
    h.inject({ flags: 'S', seq: 0, len: 10, srcPort: port, options: fastOpen(cookie) });
    h.expect({ flags: 'S.', ack: port < 3 ? 11 : 1, dstPort: port });
  }
  h.t.equal(h.counters.FastOpenListenOverflow, 1);
  h.inject({ flags: 'R', seq: 11, srcPort: 1 });
  h.inject({ flags: 'S', seq: 0, len: 10, srcPort: 4, options: fastOpen(cookie) });
  h.expect({ flags: 'S.', ack: 1 }, 'as good as open');
  h.inject({ flags: '.', seq: 11, ack: 1, srcPort: 2 });
  h.inject({ flags: 'S', seq: 0, len: 10, srcPort: 5, options: fastOpen(cookie) });
  h.expect({ flags: 'S.', ack: 11 }, 'one has completed its handshake');
  h.inject({ flags: '.', seq: 11, ack: 1, srcPort: 5 });
  for (const port of [3, 4]) h.inject({ flags: 'R', seq: 1, srcPort: port });
  h.advance(60_000);
  h.take();
  for (const port of [6, 7]) {
    h.inject({ flags: 'S', seq: 0, len: 10, srcPort: port, options: fastOpen(cookie) });
    h.expect({ flags: 'S.', ack: 11 });
  }
  const first = h.accept(l);
  h.t.equal(first.getpeername(), null);
  h.t.equal(first.available, 10);
});

script('the SYN again: its data is not there twice', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  const syn = { flags: 'S', seq: 0, len: 100, options: fastOpen(cookie), win: 1000 };
  h.inject(syn, syn);
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  const s = h.accept(l);
  h.t.equal(s.available, 100);
  // An ordinary SYN, after the first was lost on its way or its answer was.
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  h.inject({ flags: '.', seq: 101, ack: 1 });
  h.inject(syn);
  h.expect({ flags: '.', seq: 1, ack: 101 }, 'challenged');
  h.t.equal(s.available, 100);
  h.recv(s, 100);
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 101 });
  h.inject({ flags: 'F.', seq: 101, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 102 });
  h.inject(syn);
  h.expect({ flags: '.', seq: 2, ack: 102 }, 'in TIME-WAIT it is an old one');
  h.errno(l.accept(), 'EAGAIN', 'accept');
});

script('the SYN-ACK is lost, and comes again', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  h.inject({ flags: 'S', seq: 0, len: 100, options: fastOpen(cookie) });
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  const s = h.accept(l);
  h.advance(1000);
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  h.recv(s, 100);
  h.advance(120_000);
  h.take();
  h.state(s, 'CLOSED');
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ETIMEDOUT', 'recv');
});

script('a reset before the handshake is complete', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  h.inject({ flags: 'S', seq: 0, len: 100, options: fastOpen(cookie) });
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  const s = h.accept(l);
  h.inject({ flags: 'R', seq: 101 });
  h.recv(s, 200, 100);
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ECONNRESET', 'recv');
});

script('answered and closed before the handshake is complete: FIN follows when it is', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  h.inject({ flags: 'S', seq: 0, len: 100, options: fastOpen(cookie), win: 5000 });
  h.expect({ flags: 'S.', seq: 0, ack: 101 });
  const s = h.accept(l);
  h.recv(s, 100);
  h.send(s, 300);
  h.expect({ flags: 'P.', seq: 1, ack: 101, len: 300 });
  s.close();
  h.expectNothing();
  h.inject({ flags: '.', seq: 101, ack: 301 });
  h.expect({ flags: 'F.', seq: 301, ack: 101 });
  h.inject({ flags: 'F.', seq: 101, ack: 302 });
  h.expect({ flags: '.', seq: 302, ack: 102 });
});

script('the listener closes: whom nobody has accepted is reset, who was accepted stays', (h) => {
  const l = listen(h);
  const cookie = ask(h);
  for (const port of [1, 2]) {
    h.inject({ flags: 'S', seq: 0, len: 100, srcPort: port, options: fastOpen(cookie), win: 5000 });
    h.expect({ flags: 'S.', ack: 101 });
  }
  const s = h.accept(l);
  l.close();
  h.expect({ flags: 'R.', dstPort: 2 });
  h.inject({ flags: '.', seq: 101, ack: 1, srcPort: 1 });
  h.state(s, 'ESTABLISHED');
});

script('a queue full of SYNs does not keep cookies out', { tcp: { synCookies: 'always' } }, (h) => {
  const l = h.listen(80, 16, (socket) => socket.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 8));
  h.inject({ flags: 'S', seq: 0, srcPort: 5, options: fastOpen([]) });
  h.t.equal(cookieOf(h.take()[0]!), null, 'nobody is given one then');
  h.errno(l.accept(), 'EAGAIN', 'accept');
});

// --------------------------------------------------------------------------------------- active

const COOKIE = [1, 2, 3, 4, 5, 6];

function client(h: Harness): BsdSocket {
  const s = h.socket();
  h.ok(s.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1), 'TCP_FASTOPEN_CONNECT');
  return s;
}

/** A first connection, by which the cookie is learned. */
function learn(h: Harness, mss = 1460): void {
  const s = h.connect(client(h));
  h.t.same(cookieOf(h.expect({ flags: 'S', seq: 0 })), [], 'asks for a cookie');
  const options = fastOpen(COOKIE);
  options[2] = mss >> 8;
  options[3] = mss & 0xff;
  h.inject({ flags: 'S.', seq: 0, ack: 1, options });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  s.abort();
  h.expect({ flags: 'R.' });
}

/** connect(), which returns at once. */
function again(h: Harness): BsdSocket {
  const s = client(h);
  h.t.equal(s.connect(h.ipv6 ? 'fd90:1:2:3:4:5:6:1' : '10.90.0.1', 7000), 0, 'connect() returns 0');
  h.ourPort = s.getsockname()!.port;
  h.restartStreams();
  h.t.equal(s.getpeername()!.port, 7000);
  h.expectNothing('and the SYN waits');
  return s;
}

for (const ipv6 of [false, true]) {
  script(`the first data goes with the SYN${ipv6 ? ', IPv6' : ''}`, { ipv6 }, (h) => {
    learn(h);
    const s = again(h);
    h.send(s, 100);
    const syn = h.expect({ flags: 'S', seq: 0, len: 100, mss: ipv6 ? 1440 : 1460 }, 'data');
    h.t.same(cookieOf(syn), COOKIE);
    h.errno(s.send(new Uint8Array(1), 0, 1), 'EAGAIN', 'more waits');
    h.inject({ flags: 'S.', seq: 0, ack: 101, mss: 1460 });
    h.expect({ flags: '.', seq: 101, ack: 1 });
    h.state(s, 'ESTABLISHED');
    h.t.match(h.info(s), { bytesSent: 100, bytesAcked: 100, notSent: 0 });
    h.t.match(h.counters, { FastOpenActive: 1, FastOpenActiveFail: 0, ActiveOpens: 2 });
    h.send(s, 50);
    h.expect({ flags: 'P.', seq: 101, len: 50 });
    h.inject({ flags: 'P.', seq: 1, ack: 151, len: 10 });
    h.expect({ flags: '.', ack: 11 });
    h.recv(s, 10);
  });
}

script('the server takes the SYN only: the data follows at once', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.t.equal(h.info(s).bytesAcked, 100);
  h.t.match(h.counters, { FastOpenActive: 0, FastOpenActiveFail: 1, FastOpenLosses: 0 });
  // It is tried again, since nothing was lost.
  const next = again(h);
  h.send(next, 10);
  h.expect({ flags: 'S', len: 10 });
});

script('the server takes a part of it', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.inject({ flags: 'S.', seq: 0, ack: 31, mss: 1460 });
  h.expect({ flags: 'P.', seq: 31, ack: 1, len: 70 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.t.match(h.info(s), { bytesSent: 100, bytesAcked: 100 });
});

script('with an answer in the SYN-ACK', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.inject({ flags: 'S.', seq: 0, ack: 101, mss: 1460, len: 20 });
  h.expect({ flags: '.', seq: 101, ack: 21 });
  h.t.equal(s.available, 20);
});

script('no more than was sent can be acknowledged', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.inject({ flags: 'S.', seq: 0, ack: 102, mss: 1460 });
  h.expect({ flags: 'R', seq: 102 });
  h.inject({ flags: 'S.', seq: 0, ack: 0, mss: 1460 });
  h.expect({ flags: 'R', seq: 0 });
  // Without SYN it says nothing.
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.state(s, 'SYN-SENT');
  h.inject({ flags: 'S.', seq: 0, ack: 101, mss: 1460 });
  h.expect({ flags: '.', seq: 101 });
});

script('as much goes with the SYN as fits, by the server\'s last MSS; the rest as ever', (h) => {
  learn(h, 1000);
  const s = again(h);
  h.send(s, 3000);
  const syn = h.expect({ flags: 'S', seq: 0, len: 1000 - 20 - 8 }, 'the options take room');
  h.t.equal(syn.options.length, 28);
  h.inject({ flags: 'S.', seq: 0, ack: 973, mss: 1000 });
  h.expect({ flags: '.', seq: 973, len: 1000 });
  h.expect({ flags: '.', seq: 1973, len: 1000 });
  h.expect({ flags: 'P.', seq: 2973, len: 28 });
  h.inject({ flags: '.', seq: 1, ack: 3001 });
  h.t.equal(h.info(s).bytesAcked, 3000);
});

script('nobody writes: the SYN leaves by itself, or by a write of nothing', (h) => {
  learn(h);
  const s = again(h);
  h.advance(9);
  h.expectNothing();
  h.advance(2);
  h.t.same(cookieOf(h.expect({ flags: 'S', seq: 0, len: 0 })), COOKIE);
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.', seq: 1 });
  h.state(s, 'ESTABLISHED');
  const other = again(h);
  h.t.equal(other.send(new Uint8Array(0), 0, 0), 0);
  h.expect({ flags: 'S', seq: 0, len: 0 });
});

script('a SYN that is repeated is an ordinary one; after the second loss so are all for a while', (h) => {
  learn(h);
  for (let i = 0; i < 2; i++) {
    const s = again(h);
    h.send(s, 100);
    h.expect({ flags: 'S', len: 100 });
    h.advance(1000);
    const plain = h.expect({ flags: 'S', seq: 0, len: 0, mss: 1460 });
    h.t.equal(cookieOf(plain), null);
    h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
    h.expect({ flags: 'P.', seq: 1, len: 100 });
    h.inject({ flags: '.', seq: 1, ack: 101 });
    s.abort();
    h.expect({ flags: 'R.' });
  }
  h.t.equal(h.counters.FastOpenLosses, 2);
  const s = h.connect(client(h));
  h.t.equal(cookieOf(h.expect({ flags: 'S', len: 0 })), null, 'does not even ask');
  s.abort();
  h.advance(121_000);
  h.send(again(h), 100);
  h.expect({ flags: 'S', len: 100 });
});

script('the first SYN did arrive, its answer was late', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.advance(1000);
  h.expect({ flags: 'S', len: 0 });
  h.inject({ flags: 'S.', seq: 0, ack: 101, mss: 1460 });
  h.expect({ flags: '.', seq: 101, ack: 1 });
  h.t.match(h.counters, { FastOpenActive: 1, FastOpenLosses: 0 });
  h.t.equal(h.info(s).bytesAcked, 100);
});

script('data and the end of it: FIN follows when the connection stands', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.t.equal(s.shutdown(SHUT_WR), 0);
  h.expectNothing();
  h.inject({ flags: 'S.', seq: 0, ack: 101, mss: 1460 });
  h.expect({ flags: 'F.', seq: 101, ack: 1 });
  h.state(s, 'FIN-WAIT-1');
  h.inject({ flags: 'F.', seq: 1, ack: 102 });
  h.expect({ flags: '.', seq: 102, ack: 2 });
  h.t.equal(h.counters.CurrEstab, 0);
});

script('written and closed at once: the data arrives all the same', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  s.close();
  h.expectNothing();
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: 'FP.', seq: 1, ack: 1, len: 100 });
  h.inject({ flags: 'F.', seq: 1, ack: 102 });
  h.expect({ flags: '.', seq: 102 });
});

script('closed before anything was written: nobody hears of it', (h) => {
  learn(h);
  again(h).close();
  h.advance(1000);
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
});

script('refused', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.inject({ flags: 'R.', seq: 0, ack: 101 });
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ECONNREFUSED', 'recv');
});

script('nobody answers', { tcp: { synRetries: 2 } }, (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.advance(30_000);
  h.t.equal(h.take().length, 2);
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ETIMEDOUT', 'recv');
});

script('a new cookie takes the old one\'s place; a server that gives none is asked again', (h) => {
  const s = h.connect(client(h));
  h.t.same(cookieOf(h.expect({ flags: 'S' })), []);
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.' });
  s.abort();
  h.expect({ flags: 'R.' });
  learn(h);
  const next = again(h);
  h.send(next, 10);
  h.expect({ flags: 'S', len: 10 });
  h.inject({ flags: 'S.', seq: 0, ack: 1, options: fastOpen([9, 9, 9, 9]) });
  h.expect({ flags: 'P.', seq: 1, len: 10 });
  next.abort();
  h.expect({ flags: 'R.' });
  h.send(again(h), 10);
  h.t.same(cookieOf(h.expect({ flags: 'S', len: 10 })), [9, 9, 9, 9]);
});

script('both at once: what the SYN carried is sent again', (h) => {
  learn(h);
  const s = again(h);
  h.send(s, 100);
  h.expect({ flags: 'S', len: 100 });
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1, len: 0 });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.t.equal(h.info(s).bytesAcked, 100);
});
