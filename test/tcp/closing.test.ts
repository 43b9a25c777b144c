/** Closing a connection: RFC 9293 3.6, 3.10.4, 3.10.5, 3.10.7.4 (eighth); RFC 1337; RFC 6191. */

import { ECONNRESET } from '../../lib/errno.ts';
import {
  MSG_PEEK, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, SHUT_RD, SHUT_RDWR, SHUT_WR, SO_ERROR, SO_LINGER, SOL_SOCKET,
} from '../../lib/socket.ts';
import { script } from './harness.ts';
import type { Harness } from './harness.ts';

/** Closes first, so that the connection is in TIME-WAIT. */
function toTimeWait(h: Harness, seq = 1, ack = 1): void {
  h.expect({ flags: 'F.', seq: ack, ack: seq });
  h.inject({ flags: '.', seq, ack: ack + 1 });
  h.inject({ flags: 'F.', seq, ack: ack + 1 });
  h.expect({ flags: '.', seq: ack + 1, ack: seq + 1 });
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.t.equal(h.stack.tcp.connections, 0);
}

script('active close: FIN-WAIT-1, FIN-WAIT-2, TIME-WAIT (figure 12)', (h) => {
  const s = h.passive();
  h.t.equal(s.shutdown(SHUT_WR), 0);
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.state(s, 'FIN-WAIT-1');
  h.errno(s.send(new Uint8Array(1), 0, 1), 'EPIPE', 'send');
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'EAGAIN', 'recv');
  h.inject({ flags: '.', seq: 1, ack: 2 });
  h.expectNothing();
  h.state(s, 'FIN-WAIT-2');
  h.t.equal(h.counters.CurrEstab, 0);
  let told = 0;
  s.onready = (events) => (told |= events);
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  h.state(s, 'TIME-WAIT');
  h.t.equal(told & (POLLIN | POLLRDHUP | POLLHUP), POLLIN | POLLRDHUP | POLLHUP);
  h.recv(s, 1, 0);
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.advance(59_999);
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.advance(1);
  h.t.equal(h.stack.tcp.timeWaits, 0);
});

script('FIN that acknowledges our FIN: FIN-WAIT-1 to TIME-WAIT at once', (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  h.t.equal(h.stack.tcp.timeWaits, 1);
});

script('simultaneous close: CLOSING (figure 13)', (h) => {
  const s = h.passive();
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  h.state(s, 'CLOSING');
  h.inject({ flags: '.', seq: 2, ack: 1 });
  h.state(s, 'CLOSING');
  h.inject({ flags: '.', seq: 2, ack: 2 });
  h.expectNothing();
  h.state(s, 'TIME-WAIT');
});

script('passive close: CLOSE-WAIT, LAST-ACK, CLOSED', (h) => {
  const s = h.passive();
  let told = 0;
  s.onready = (events) => (told |= events);
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', seq: 1, ack: 2 });
  h.state(s, 'CLOSE-WAIT');
  h.t.equal(told & (POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
  h.t.equal(s.poll(), POLLIN | POLLRDHUP | POLLOUT);
  h.recv(s, 1, 0);
  h.recv(s, 1, 0);
  h.t.equal(h.counters.CurrEstab, 1, 'CLOSE-WAIT counts (RFC 4022)');
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.', seq: 1, ack: 2 });
  h.state(s, 'LAST-ACK');
  h.t.equal(s.poll() & POLLHUP, POLLHUP, 'both halves are closed');
  h.inject({ flags: '.', seq: 2, ack: 2 });
  h.expectNothing();
  h.state(s, 'CLOSED');
  h.t.equal(h.stack.tcp.connections, 0);
  h.t.equal(h.stack.tcp.timeWaits, 0);
  h.t.equal(h.counters.CurrEstab, 0);
});

script('half-close: the peer goes on for hours after our FIN', (h) => {
  const s = h.passive();
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 2 });
  for (let i = 0; i < 5; i++) {
    h.advance(3_600_000);
    h.inject({ flags: 'P.', seq: 1 + i * 1000, ack: 2, len: 1000 });
    h.expect({ flags: '.', seq: 2, ack: 1001 + i * 1000 });
    h.recv(s, 1000);
  }
  h.state(s, 'FIN-WAIT-2');
  h.inject({ flags: 'F.', seq: 5001, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 5002 });
  h.recv(s, 1, 0);
});

script('half-close: we go on for hours after the peer\'s FIN', (h) => {
  const s = h.passive();
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', ack: 2 });
  for (let i = 0; i < 5; i++) {
    h.advance(3_600_000);
    h.send(s, 1000);
    h.expect({ flags: 'P.', seq: 1 + i * 1000, ack: 2, len: 1000 });
    h.inject({ flags: '.', seq: 2, ack: 1001 + i * 1000 });
  }
  s.close();
  h.expect({ flags: 'F.', seq: 5001, ack: 2 });
  h.inject({ flags: '.', seq: 2, ack: 5002 });
  h.t.equal(h.stack.tcp.connections, 0);
});

script('close sends what is queued first; FIN rides on the last segment', (h) => {
  const s = h.passive();
  h.send(s, 2000);
  h.expect({ flags: '.', seq: 1, len: 1460 });
  h.expect({ flags: 'P.', seq: 1461, len: 540 });
  h.send(s, 100);
  h.expectNothing('Nagle: a small segment is unacknowledged');
  s.close();
  h.expect({ flags: 'FP.', seq: 2001, len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 2102 });
  h.t.equal(h.tcb.state, 9, 'FIN-WAIT-2');
});

script('FIN is retransmitted with the data before it', (h) => {
  const s = h.active({}, undefined, 10);
  h.send(s, 100);
  h.expect({ flags: 'P.', seq: 1, len: 100 });
  s.close();
  h.expect({ flags: 'F.', seq: 101, ack: 1 });
  h.advance(210);
  h.expect({ flags: 'FP.', seq: 1, len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 101 });
  h.advance(420);
  h.expect({ flags: 'FP.', seq: 101 });
  h.inject({ flags: '.', seq: 1, ack: 102 });
  h.advance(10_000);
  h.expectNothing();
});

script('a FIN alone is retransmitted, with backoff, and given up after the retries', { tcp: { retries: 3 } }, (h) => {
  const s = h.active({}, undefined, 10);
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  for (const wait of [210, 420, 840]) {
    h.advance(wait - 1);
    h.expectNothing();
    h.advance(1);
    const again = h.take();
    h.t.equal(again.length, 1);
    h.t.match(again[0], { seq: 1, len: 0 });
    h.t.ok(again[0]!.flags.includes('F'));
  }
  h.advance(1680);
  h.take();
  h.t.equal(h.stack.tcp.connections, 0);
});

script('FIN out of order, with data', { tcp: { delayedAckMs: 0 } }, (h) => {
  const s = h.passive({ sack: true });
  h.inject({ flags: 'FP.', seq: 1001, ack: 1, len: 500 });
  h.expect({ flags: '.', seq: 1, ack: 1, sack: [[1001, 1501]] });
  h.state(s, 'ESTABLISHED');
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', seq: 1, ack: 1502 });
  h.state(s, 'CLOSE-WAIT');
  h.recv(s, 2000, 1500);
  h.recv(s, 1, 0);
});

script('FIN out of order, alone: a duplicate ACK at once, and it is remembered', (h) => {
  const s = h.passive();
  h.inject({ flags: 'F.', seq: 1001, ack: 1 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.state(s, 'ESTABLISHED');
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', seq: 1, ack: 1002 });
  h.state(s, 'CLOSE-WAIT');
  h.recv(s, 1000);
  h.recv(s, 1, 0);
});

script('data beyond the FIN is nothing', (h) => {
  const s = h.passive();
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', ack: 2 });
  h.inject({ flags: 'P.', seq: 2, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 2 });
  h.recv(s, 100, 0);
});

script('the peer repeats its FIN in CLOSE-WAIT and LAST-ACK', (h) => {
  const s = h.passive();
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', ack: 2 });
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', ack: 2 });
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 2 });
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.take();
  h.t.equal(h.stack.tcp.connections, 0, 'its ACK counts, though the FIN is old');
});

script('close with unread data resets (RFC 2525 2.17)', (h) => {
  const s = h.passive();
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  s.close();
  h.expect({ flags: 'R.', seq: 1, ack: 101 });
  h.t.equal(h.stack.tcp.connections, 0);
});

script('SO_LINGER 0: close resets', (h) => {
  const s = h.passive();
  h.t.equal(s.setsockopt(SOL_SOCKET, SO_LINGER, 0), 0);
  h.send(s, 100);
  h.expect({ flags: 'P.', len: 100 });
  s.close();
  h.expect({ flags: 'R.', seq: 101, ack: 1 });
  h.t.equal(h.stack.tcp.connections, 0);
});

script('abort resets, whatever is queued', (h) => {
  const s = h.passive({ win: 1000 });
  h.send(s, 5000);
  h.expect({ flags: '.', seq: 1, len: 1000 });
  s.abort();
  h.expect({ flags: 'R.', seq: 1001, ack: 1 });
  h.errno(s.abort(), 'EBADF', 'a second abort');
});

script('abort in CLOSING, LAST-ACK and TIME-WAIT says nothing (3.10.5)', (h) => {
  const closing = h.passive();
  closing.shutdown(SHUT_WR);
  h.expect({ flags: 'F.' });
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.' });
  h.state(closing, 'CLOSING');
  closing.abort();
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
  h.peerPort++;
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  const last = h.accept(h.sockets[0]!);
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.' });
  last.shutdown(SHUT_WR);
  h.expect({ flags: 'F.' });
  h.state(last, 'LAST-ACK');
  last.abort();
  h.expectNothing();
  h.peerPort++;
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  const waiting = h.accept(h.sockets[0]!);
  waiting.shutdown(SHUT_WR);
  toTimeWait(h);
  waiting.abort();
  h.expectNothing();
});

script('reset while established: ECONNRESET, but what had arrived can still be read', (h) => {
  const s = h.passive();
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  let told = 0;
  s.onready = (events) => (told |= events);
  h.inject({ flags: 'R', seq: 101 });
  h.expectNothing();
  h.t.equal(told & (POLLERR | POLLHUP | POLLIN), POLLERR | POLLHUP | POLLIN);
  h.t.equal(h.counters.EstabResets, 1);
  h.t.equal(h.counters.CurrEstab, 0);
  h.recv(s, 100);
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ECONNRESET', 'recv');
  h.recv(s, 1, 0);
  h.errno(s.send(new Uint8Array(1), 0, 1), 'EPIPE', 'send');
});

script('reset in CLOSE-WAIT: EPIPE, as Linux', (h) => {
  const s = h.passive();
  h.inject({ flags: 'F.', seq: 1, ack: 1 });
  h.expect({ flags: '.' });
  h.inject({ flags: 'R', seq: 2 });
  h.errno(s.send(new Uint8Array(1), 0, 1), 'EPIPE', 'send');
});

script('reset in FIN-WAIT-1, FIN-WAIT-2, CLOSING, LAST-ACK', (h) => {
  const l = h.listen();
  for (const [name, steps] of [['FIN-WAIT-1', 0], ['FIN-WAIT-2', 1], ['CLOSING', 2], ['LAST-ACK', 3]] as const) {
    h.peerPort++;
    const s = h.passive({}, l);
    let seq = 1;
    if (steps === 3) {
      h.inject({ flags: 'F.', seq: 1, ack: 1 });
      h.expect({ flags: '.' });
      seq = 2;
    }
    s.shutdown(SHUT_WR);
    h.expect({ flags: 'F.' });
    if (steps === 1) h.inject({ flags: '.', seq: 1, ack: 2 });
    if (steps === 2) {
      h.inject({ flags: 'F.', seq: 1, ack: 1 });
      h.expect({ flags: '.' });
      seq = 2;
    }
    h.state(s, name);
    h.inject({ flags: 'R', seq });
    h.expectNothing();
    h.state(s, 'CLOSED');
    h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), steps < 2 ? ECONNRESET : 0);
  }
  h.t.equal(h.stack.tcp.connections, 0);
});

script('data for a socket that was closed: reset', (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: 'P.', seq: 1, ack: 2, len: 100 });
  h.expect({ flags: 'R.', seq: 2 });
  h.t.equal(h.stack.tcp.connections, 0);
});

script('a closed socket\'s peer may still acknowledge and close', (h) => {
  const s = h.passive();
  h.send(s, 2920);
  h.expect({ flags: '.', len: 1460 });
  h.expect({ flags: 'P.', len: 1460 });
  s.close();
  h.expect({ flags: 'F.', seq: 2921 });
  h.inject({ flags: '.', seq: 1, ack: 1461 });
  h.inject({ flags: '.', seq: 1, ack: 2922 });
  h.inject({ flags: 'F.', seq: 1, ack: 2922 });
  h.expect({ flags: '.', seq: 2922, ack: 2 });
});

script('an orphan in FIN-WAIT-2 is given up after its time; a peer that comes later is reset', (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 2 });
  h.advance(59_999);
  h.t.equal(h.stack.tcp.connections, 1);
  h.advance(1);
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: 'R', seq: 2 });
});

script('FIN-WAIT-2 of a socket that is held has no limit, but closing it sets one', (h) => {
  const s = h.passive();
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.' });
  h.inject({ flags: '.', seq: 1, ack: 2 });
  h.advance(3_600_000);
  h.state(s, 'FIN-WAIT-2');
  s.close();
  h.advance(60_000);
  h.t.equal(h.stack.tcp.connections, 0);
});

script('TIME-WAIT acknowledges a repeated FIN and waits anew (3.10.7.4)', (h) => {
  const s = h.passive({ ts: true });
  s.shutdown(SHUT_WR);
  toTimeWait(h);
  s.close();
  h.advance(30_000);
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 2, ts: [31_000, 501_000] });
  h.advance(59_999);
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.advance(1);
  h.t.equal(h.stack.tcp.timeWaits, 0);
});

script('TIME-WAIT: plain ACKs are not answered, strange segments are told where we are', (h) => {
  const s = h.passive();
  s.close();
  toTimeWait(h);
  h.inject({ flags: '.', seq: 2, ack: 2 });
  h.expectNothing();
  h.inject({ flags: 'P.', seq: 2, ack: 2, len: 10 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
});

script('TIME-WAIT: RST ends it only when exact (RFC 1337, RFC 5961)', (h) => {
  const s = h.passive();
  s.close();
  toTimeWait(h);
  h.inject({ flags: 'R', seq: 1 });
  h.inject({ flags: 'R', seq: 3 });
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.inject({ flags: 'R', seq: 2 });
  h.t.equal(h.stack.tcp.timeWaits, 0);
  h.expectNothing();
});

script('TIME-WAIT: a SYN with a higher sequence number opens anew, above our old numbers (MAY-2)', { ownIsn: true }, (h) => {
  const l = h.listen();
  const s = h.passive({}, l);
  h.send(s, 1000);
  h.expect({ flags: 'P.', len: 1000 });
  s.close();
  h.expect({ flags: 'F.', seq: 1001, ack: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 1002 });
  h.expect({ flags: '.', seq: 1002, ack: 2 });
  h.inject({ flags: 'S', seq: 2, mss: 1460 });
  h.expect({ flags: '.', seq: 1002, ack: 2 }, 'not higher: an old duplicate');
  h.inject({ flags: 'S', seq: 3, mss: 1460 });
  const synAck = h.expect({ flags: 'S.', ack: 4 });
  h.t.ok(synAck.seq > 1002, `the new ISN ${synAck.seq} is above SND.NXT of the old connection`);
  h.t.equal(h.stack.tcp.timeWaits, 0);
  h.t.equal(h.counters.TimeWaitReuses, 1);
});

script('TIME-WAIT: with timestamps a newer timestamp opens anew, an older one does not (RFC 6191)', (h) => {
  const l = h.listen();
  const s = h.passive({ ts: true }, l);
  s.close();
  toTimeWait(h);
  const old = h.peerTsBase + h.clock.nowUs() / 1000;
  h.inject({ flags: 'S', seq: 100, mss: 1460, ts: [old - 1, 0] });
  h.expect({ flags: '.', seq: 2, ack: 2 }, 'an old duplicate');
  h.inject({ flags: 'S', seq: -5000, mss: 1460, ts: [old + 1, 0] });
  h.expect({ flags: 'S.', ack: -4999 });
});

script('TIME-WAIT: a SYN for a port that no longer listens does not end the wait, as in Linux', (h) => {
  const l = h.listen();
  const s = h.passive({}, l);
  s.close();
  toTimeWait(h);
  l.close();
  h.inject({ flags: 'S', seq: 100, mss: 1460 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
});

script('TIME-WAIT is bounded: the oldest goes', { tcp: { maxTimeWait: 3 } }, (h) => {
  const l = h.listen();
  for (let i = 0; i < 5; i++) {
    h.peerPort = 7000 + i;
    const s = h.passive({}, l);
    s.close();
    h.expect({ flags: 'F.' });
    h.inject({ flags: 'F.', seq: 1, ack: 2 });
    h.expect({ flags: '.' });
    h.advance(10);
  }
  h.t.equal(h.stack.tcp.timeWaits, 3);
  h.t.equal(h.counters.TimeWaitOverflows, 2);
  h.peerPort = 7001;
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: 'R', seq: 2 }, 'forgotten');
  h.peerPort = 7002;
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 2 }, 'remembered');
});

script('no TIME-WAIT when it is switched off', { tcp: { timeWaitMs: 0 } }, (h) => {
  const s = h.passive();
  s.close();
  h.expect({ flags: 'F.' });
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', ack: 2 });
  h.t.equal(h.stack.tcp.timeWaits, 0);
});

script('what was received before TIME-WAIT can still be read', (h) => {
  const s = h.passive();
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.' });
  h.inject({ flags: '.', seq: 1, ack: 2 });
  h.inject({ flags: 'FP.', seq: 1, ack: 2, len: 1000 });
  h.expect({ flags: '.', seq: 2, ack: 1002 });
  h.state(s, 'TIME-WAIT');
  h.t.equal(s.recv(new Uint8Array(10), 0, 10, MSG_PEEK), 10);
  h.recv(s, 400);
  h.recv(s, 1000, 600);
  h.recv(s, 10, 0);
  h.t.equal(s.close(), 0);
  h.expectNothing();
});

script('closing a socket in TIME-WAIT with unread data resets nothing', (h) => {
  const s = h.passive();
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.' });
  h.inject({ flags: 'FP.', seq: 1, ack: 2, len: 1000 });
  h.expect({ flags: '.', ack: 1002 });
  s.close();
  h.expectNothing();
  h.t.equal(h.stack.tcp.timeWaits, 1);
});

script('connect to a pair in TIME-WAIT: EADDRNOTAVAIL', (h) => {
  const s = h.socket();
  h.ok(s.bind('', 5555), 'bind');
  h.connect(s);
  h.expect({ flags: 'S' });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.' });
  s.close();
  toTimeWait(h);
  const again = h.socket();
  h.ok(again.bind('', 5555), 'bind');
  h.errno(again.connect('10.90.0.1', 7000), 'EADDRNOTAVAIL', 'connect');
});

script('close in SYN-SENT says nothing; a late SYN-ACK is reset', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  s.close();
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
  h.inject({ flags: 'S.', seq: 0, ack: 1 });
  h.expect({ flags: 'R', seq: 1 });
});

script('close in SYN-RECEIVED of a simultaneous open: FIN follows when it is established (3.10.4)', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  s.close();
  h.expectNothing();
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', ack: 2 });
  h.t.equal(h.counters.CurrEstab, 0);
});

script('shutdown(SHUT_RD): the end for the reader; what comes is acknowledged and dropped', (h) => {
  const s = h.passive();
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  h.t.equal(s.shutdown(SHUT_RD), 0);
  h.expectNothing();
  h.recv(s, 10, 0);
  h.t.equal(s.poll() & (POLLIN | POLLRDHUP), POLLIN | POLLRDHUP);
  h.inject({ flags: 'P.', seq: 101, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1101, win: 65535 });
  h.recv(s, 10, 0);
  h.inject({ flags: 'P.', seq: 3101, ack: 1, len: 1000 });
  h.expect({ flags: '.', ack: 1101 });
  h.inject({ flags: 'P.', seq: 1101, ack: 1, len: 2000 });
  h.take();
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 3101 });
});

script('shutdown(SHUT_RDWR): FIN, and POLLHUP', (h) => {
  const s = h.passive();
  h.t.equal(s.shutdown(SHUT_RDWR), 0);
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.t.equal(s.poll() & POLLHUP, POLLHUP);
  h.recv(s, 10, 0);
});

script('FIN while the congestion window is overfull after a loss', (h) => {
  const s = h.passive({ sack: true });
  h.send(s, 14_600);
  for (let i = 0; i < 10; i++) h.expect({ flags: i < 9 ? '.' : 'P.', seq: 1 + i * 1460, len: 1460 });
  h.inject({ flags: '.', seq: 1, ack: 1, sack: [[1461, 2921]] });
  h.inject({ flags: '.', seq: 1, ack: 1, sack: [[1461, 4381]] });
  h.inject({ flags: '.', seq: 1, ack: 1, sack: [[1461, 5841]] });
  h.expect({ flags: '.', seq: 1, len: 1460 });
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.', seq: 14_601 }, 'a FIN takes no room in the congestion window');
  h.inject({ flags: '.', seq: 1, ack: 14_602 });
  h.state(s, 'FIN-WAIT-2');
});

script('a FIN waits for a window that is closed', (h) => {
  const s = h.passive({ win: 1000 });
  h.send(s, 1000);
  h.expect({ flags: 'P.', seq: 1, len: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 0 });
  s.close();
  h.expectNothing();
  h.advance(60_000);
  h.t.ok(h.take().length > 3, 'the window is probed');
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 1000 });
  h.expect({ flags: 'F.', seq: 1001 });
});

script('the peer fills the window exactly and closes: the FIN is taken', (h) => {
  const s = h.passive({}, h.listen(80, 5, (l) => l.setsockopt(SOL_SOCKET, 8, 4096)));
  h.inject(
    { flags: '.', seq: 1, ack: 1, len: 1460 }, { flags: '.', seq: 1461, ack: 1, len: 1460 },
    { flags: 'FP.', seq: 2921, ack: 1, len: 1176 },
  );
  h.expect({ flags: '.', ack: 4098, win: 0 });
  h.state(s, 'CLOSE-WAIT');
  h.recv(s, 5000, 4096);
  h.recv(s, 10, 0);
});

script('a FIN alone is taken when the window is closed', (h) => {
  const s = h.passive({}, h.listen(80, 5, (l) => l.setsockopt(SOL_SOCKET, 8, 4096)));
  h.inject(
    { flags: '.', seq: 1, ack: 1, len: 1460 }, { flags: '.', seq: 1461, ack: 1, len: 1460 },
    { flags: 'P.', seq: 2921, ack: 1, len: 1176 },
  );
  h.expect({ flags: '.', ack: 4097, win: 0 });
  h.inject({ flags: 'F.', seq: 4097, ack: 1 });
  h.expect({ flags: '.', ack: 4098, win: 0 });
  h.state(s, 'CLOSE-WAIT');
  h.recv(s, 5000, 4096);
});
