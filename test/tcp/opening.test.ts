/** Opening a connection: RFC 9293 3.5, 3.10.7.1 to 3.10.7.4; options: RFC 9293 3.7.1, RFC 7323, RFC 2018. */

import { ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT } from '../../lib/errno.ts';
import {
  IPPROTO_TCP, POLLERR, POLLHUP, POLLIN, POLLOUT, SO_ERROR, SO_RCVBUF, SO_REUSEPORT, SOL_SOCKET, TCP_MAXSEG, TCP_SYNCNT,
} from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { script } from './harness.ts';
import type { Options, Seg } from './harness.ts';

script('active open (figure 6)', (h) => {
  const s = h.connect();
  h.state(s, 'SYN-SENT');
  h.t.equal(s.poll(), 0, 'neither readable nor writable yet');
  let told = 0;
  s.onready = (events) => (told |= events);
  h.expect({ flags: 'S', seq: 0, mss: 1460, sackOK: true, ts: [1000, 0], ws: 7 });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 1, ts: null });
  h.state(s, 'ESTABLISHED');
  h.t.ok(told & POLLOUT, 'told that it is open');
  h.t.equal(s.poll(), POLLOUT);
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), 0);
  h.t.match(s.getpeername(), { address: '10.90.0.1', port: 7000 });
  h.t.equal(h.counters.ActiveOpens, 1);
  h.t.equal(h.counters.CurrEstab, 1);
});

script('passive open (3.10.7.2)', (h) => {
  const l = h.listen(80, 5);
  let told = 0;
  l.onready = (events) => (told |= events);
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1, mss: 1460, win: 65535 });
  h.errno(l.accept(), 'EAGAIN', 'accept before the handshake is complete');
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.expectNothing();
  h.t.equal(told, POLLIN, 'the listener is told');
  h.t.equal(l.poll(), POLLIN);
  const s = h.accept(l);
  h.state(s, 'ESTABLISHED');
  h.t.equal(l.poll(), 0);
  h.t.match(s.getpeername(), { address: '10.90.0.1', port: 7000 });
  h.t.equal(h.counters.PassiveOpens, 1);
  h.t.equal(h.counters.CurrEstab, 1);
});

script('the options of a SYN, byte for byte as Linux orders them', (h) => {
  h.connect();
  const syn = h.expect({ flags: 'S', seq: 0 });
  h.t.same(syn.options, [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0x03, 0xe8, 0, 0, 0, 0, 1, 3, 3, 7]);
});

script('the options of a SYN without timestamps', { tcp: { timestamps: false } }, (h) => {
  h.connect();
  h.t.same(h.expect({ flags: 'S' }).options, [2, 4, 0x05, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
});

script('the options of a SYN without SACK', { tcp: { sack: false } }, (h) => {
  h.connect();
  h.t.same(h.expect({ flags: 'S' }).options, [2, 4, 0x05, 0xb4, 1, 1, 8, 10, 0, 0, 0x03, 0xe8, 0, 0, 0, 0, 1, 3, 3, 7]);
});

script('the options of a SYN with all off', { tcp: { sack: false, timestamps: false, windowScaling: false } }, (h) => {
  h.connect();
  h.t.same(h.expect({ flags: 'S' }).options, [2, 4, 0x05, 0xb4]);
});

script('a SYN-ACK offers exactly what the SYN offered: all combinations', (h) => {
  const l = h.listen(80, 100);
  for (let bits = 0; bits < 8; bits++) {
    h.peerPort = 8000 + bits;
    const offer: Seg = { flags: 'S', seq: 0, mss: 1460 };
    if (bits & 1) offer.ts = [77, 0];
    if (bits & 2) offer.sackOK = true;
    if (bits & 4) offer.ws = 3;
    h.inject(offer);
    const got = h.expect({ flags: 'S.', seq: 0, ack: 1, mss: 1460 }, `combination ${bits}`);
    h.t.same(got.ts ?? null, bits & 1 ? [1000, 77] : null, 'timestamps');
    h.t.equal(got.sackOK ?? false, (bits & 2) !== 0, 'SACK permitted');
    h.t.equal(got.ws, bits & 4 ? 7 : undefined, 'window scale');
    h.inject({ flags: '.', seq: 1, ack: 1, ...(bits & 1 ? { ts: [78, 1000] } : {}) });
    h.expectNothing();
    const s = h.accept(l);
    const info = h.info(s);
    h.t.equal(info.timestamps, (bits & 1) !== 0);
    h.t.equal(info.sack, (bits & 2) !== 0);
    h.t.equal(info.sndWscale, bits & 4 ? 3 : 0);
    h.t.equal(info.rcvWscale, bits & 4 ? 7 : 0);
    h.t.equal(info.sndWnd, 65535 << (bits & 4 ? 3 : 0), 'the window of the ACK is scaled');
    h.t.equal(info.sndMss, bits & 1 ? 1448 : 1460);
  }
});

script('an active opener switches off what the SYN-ACK leaves out: all combinations', (h) => {
  for (let bits = 0; bits < 8; bits++) {
    h.peerPort = 8000 + bits;
    const s = h.connect();
    h.expect({ flags: 'S', seq: 0, sackOK: true, ws: 7 });
    const offer: Seg = { flags: 'S.', seq: 0, ack: 1, mss: 1460, win: 1000 };
    if (bits & 1) offer.ts = [77, 1000];
    if (bits & 2) offer.sackOK = true;
    if (bits & 4) offer.ws = 3;
    h.inject(offer);
    h.expect({ flags: '.', seq: 1, ack: 1, ts: bits & 1 ? [1000, 77] : null });
    const info = h.info(s);
    h.t.equal(info.timestamps, (bits & 1) !== 0);
    h.t.equal(info.sack, (bits & 2) !== 0);
    h.t.equal(info.sndWscale, bits & 4 ? 3 : 0);
    h.t.equal(info.rcvWscale, bits & 4 ? 7 : 0);
    h.t.equal(info.sndWnd, 1000, 'the window of a SYN is not scaled (RFC 7323 2.2)');
  }
});

const bare: Options = { tcp: { sack: false, timestamps: false, windowScaling: false } };

script('a stack with options off does not agree to them', bare, (h) => {
  h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460, sackOK: true, ts: [5, 0], ws: 7 });
  h.t.same(h.expect({ flags: 'S.', seq: 0, ack: 1 }).options, [2, 4, 0x05, 0xb4]);
});

script('a window scale above 14 counts as 14 (RFC 7323 2.3)', (h) => {
  const s = h.passive({ ws: 200, win: 1000 });
  h.t.equal(h.info(s).sndWscale, 14);
  h.t.equal(h.info(s).sndWnd, 1000 << 14);
});

script('no MSS option: 536 (MUST-15)', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0 });
  h.expect({ flags: 'S.', mss: 1460 });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  const s = h.accept(l);
  h.t.equal(h.info(s).sndMss, 536);
  h.send(s, 600);
  h.expect({ flags: '.', seq: 1, ack: 1, len: 536 });
  h.expect({ flags: 'P.', seq: 537, ack: 1, len: 64 });
});

script('no MSS option on IPv6: 1220', { ipv6: true }, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0 });
  h.expect({ flags: 'S.', mss: 1440 });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(h.info(h.accept(l)).sndMss, 1220);
});

script('a tiny MSS does not make segments without end', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1, ts: [5, 0] });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 1, ts: [5, 1000] });
  h.t.ok(h.info(h.accept(l)).sndMss >= 36, 'Linux sends 36 bytes at least as well');
});

script('MSS 0 is none', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 0 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(h.info(h.accept(l)).sndMss, 536);
});

script('an MSS larger than the path carries', (h) => {
  const s = h.passive({ mss: 9000 });
  h.t.equal(h.info(s).sndMss, 1460);
});

script('TCP_MAXSEG limits both directions', (h) => {
  const s = h.socket();
  h.ok(s.setsockopt(IPPROTO_TCP, TCP_MAXSEG, 1000), 'TCP_MAXSEG');
  h.connect(s);
  h.expect({ flags: 'S', mss: 1000 });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.' });
  h.send(s, 1500);
  h.expect({ flags: '.', seq: 1, len: 1000 });
  h.expect({ flags: 'P.', seq: 1001, len: 500 });
});

script('malformed options are survived (MUST-6, MUST-7)', (h) => {
  const l = h.listen();
  const garbage = [
    [2, 0, 5, 180], [2, 1, 1, 1], [2, 40, 5, 180], [8, 10, 0, 0], [3, 3, 7, 8, 10, 1, 2, 3], [0, 0, 0, 0], [254, 4, 1, 2],
    [255, 255, 255, 255], [2, 3, 5, 180], [4, 3, 0, 0], [1, 1, 1, 2], [5, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1],
  ];
  for (let i = 0; i < garbage.length; i++) {
    h.peerPort = 9000 + i;
    h.inject({ flags: 'S', seq: 0, options: garbage[i]! });
    h.expect({ flags: 'S.', seq: 0, ack: 1 }, `options ${garbage[i]!.join(' ')}`);
    h.inject({ flags: '.', seq: 1, ack: 1, options: garbage[i]! });
    h.accept(l);
  }
});

script('an unknown option with a length is skipped, the rest is read (MUST-5)', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, options: [253, 6, 1, 2, 3, 4, 2, 4, 2, 0, 1, 1] });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(h.info(h.accept(l)).peerMss, 512);
});

script('simultaneous open (figure 7)', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S', seq: 0 });
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.state(s, 'SYN-RECEIVED');
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.state(s, 'ESTABLISHED');
  h.t.equal(s.poll(), POLLOUT);
  h.send(s, 10);
  h.expect({ flags: 'P.', seq: 1, ack: 1, len: 10 });
});

script('simultaneous open ends with a plain ACK as well', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S', seq: 0 });
  h.inject({ flags: 'S', seq: 0, mss: 1460, ts: [5, 0] });
  h.expect({ flags: 'S.', seq: 0, ack: 1, ts: [1000, 5] });
  h.inject({ flags: '.', seq: 1, ack: 1, ts: [5, 1000] });
  h.state(s, 'ESTABLISHED');
});

script('simultaneous open refused', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S', seq: 0 });
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.inject({ flags: 'R', seq: 1 });
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), 0, 'told once');
});

script('SYN retransmission: 1, 2, 4 … seconds, then ETIMEDOUT (RFC 6298, MUST-23)', (h) => {
  const s = h.connect();
  let told = 0;
  s.onready = (events) => (told |= events);
  h.expect({ flags: 'S', seq: 0 });
  let at = 0;
  for (const wait of [1000, 2000, 4000, 8000, 16_000, 32_000]) {
    h.advance(wait - 1);
    h.expectNothing();
    h.advance(1);
    at += wait;
    h.expect({ flags: 'S', seq: 0, ts: [1000 + at, 0] });
  }
  h.advance(63_999);
  h.expectNothing();
  h.t.equal(told, 0);
  h.advance(1);
  h.expectNothing();
  h.t.ok(told & POLLERR && told & POLLHUP);
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), ETIMEDOUT);
  h.t.equal(h.stack.tcp.connections, 0);
  h.t.equal(h.counters.AttemptFails, 1);
});

script('TCP_SYNCNT', (h) => {
  const s = h.socket();
  h.ok(s.setsockopt(IPPROTO_TCP, TCP_SYNCNT, 1), 'TCP_SYNCNT');
  h.connect(s);
  h.expect({ flags: 'S' });
  h.advance(1000);
  h.expect({ flags: 'S' });
  h.advance(2000);
  h.expectNothing();
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), ETIMEDOUT);
});

script('a SYN that had to be repeated: one segment to begin with, RTO of 3 s (RFC 5681 3.1, RFC 6298 5.7)', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  h.advance(1000);
  h.expect({ flags: 'S' });
  h.advance(10);
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1000 });
  h.expect({ flags: '.' });
  h.send(s, 3000);
  h.expect({ flags: '.', seq: 1, len: 1000 });
  h.expectNothing();
  h.t.equal(h.info(s).srttMs, 0, 'what was sent twice is not measured (Karn)');
  h.advance(2999);
  h.expectNothing();
  h.advance(1);
  h.expect({ flags: 'P.', seq: 1, len: 1000 });
});

script('SYN-ACK retransmission, then the half-open connection is forgotten', (h) => {
  h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  for (const wait of [1000, 2000, 4000, 8000, 16_000]) {
    h.advance(wait - 1);
    h.expectNothing();
    h.advance(1);
    h.expect({ flags: 'S.', seq: 0, ack: 1 });
  }
  h.t.equal(h.stack.tcp.connections, 1);
  h.advance(32_000);
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
});

script('a repeated SYN is answered with the same SYN-ACK', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.advance(500);
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.advance(100);
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(h.info(h.accept(l)).srttMs, 0, 'not measured: which SYN-ACK was acknowledged is not known (Karn)');
});

script('refused: RST to a SYN', (h) => {
  const s = h.connect();
  let told = 0;
  s.onready = (events) => (told |= events);
  h.expect({ flags: 'S' });
  h.inject({ flags: 'R.', seq: 0, ack: 1 });
  h.t.ok(told & POLLERR);
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ECONNREFUSED', 'recv');
  h.t.equal(h.counters.AttemptFails, 1);
});

script('SYN-SENT believes no RST without ACK, nor one that acknowledges something else', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  h.inject({ flags: 'R', seq: 0 });
  h.inject({ flags: 'R.', seq: 0, ack: 2 });
  h.inject({ flags: 'R.', seq: 0, ack: 0 });
  h.expectNothing();
  h.state(s, 'SYN-SENT');
});

script('SYN-SENT answers a wrong ACK with RST and stays (3.10.7.3)', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  h.inject({ flags: '.', seq: 500, ack: 2 });
  h.expect({ flags: 'R', seq: 2 });
  h.inject({ flags: '.', seq: 500, ack: 0 });
  h.expect({ flags: 'R', seq: 0 });
  h.inject({ flags: 'S.', seq: 500, ack: 5000 });
  h.expect({ flags: 'R', seq: 5000 });
  h.state(s, 'SYN-SENT');
  h.inject({ flags: '.', seq: 500, ack: 1 });
  h.expectNothing('a right ACK without SYN is dropped');
  h.state(s, 'SYN-SENT');
});

script('a SYN-ACK with data and FIN', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  h.inject({ flags: 'SF.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 2 });
  h.state(s, 'CLOSE-WAIT');
});

script('a segment for a port that nobody listens on (3.10.7.1)', (h) => {
  h.ourPort = 81;
  h.inject({ flags: 'S', seq: 0 });
  h.expect({ flags: 'R.', seq: -h.iss, ack: 1 });
  h.inject({ flags: 'S', seq: 0, len: 10 });
  h.expect({ flags: 'R.', ack: 11 });
  h.inject({ flags: '.', seq: 5, ack: 1234 });
  h.expect({ flags: 'R', seq: 1234 });
  h.inject({ flags: 'F', seq: 5, len: 7 });
  h.expect({ flags: 'R.', ack: 13 });
  h.inject({ flags: 'R', seq: 5 });
  h.inject({ flags: 'R.', seq: 5, ack: 7 });
  h.expectNothing('RST is never answered');
  h.t.equal(h.noPort, 6);
});

script('LISTEN: RST ignored, ACK refused, anything else dropped (3.10.7.2)', (h) => {
  h.listen();
  h.inject({ flags: 'R', seq: 5 });
  h.expectNothing();
  h.inject({ flags: '.', seq: 5, ack: 77 });
  h.expect({ flags: 'R', seq: 77 });
  h.inject({ flags: 'S.', seq: 5, ack: 78 });
  h.expect({ flags: 'R', seq: 78 });
  h.inject({ flags: 'P', seq: 5, len: 10 });
  h.inject({ flags: 'F', seq: 5 });
  h.inject({ flags: '', seq: 5 });
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
});

script('SYN with data: only the SYN is acknowledged, the data comes again', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, len: 100, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.inject({ flags: 'S', seq: 0, len: 100, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 }, 'a repeated SYN with data is a repeated SYN');
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', seq: 1, ack: 101 });
  h.recv(h.accept(l), 100);
});

script('SYN with ECE and CWR is a SYN', (h) => {
  h.listen();
  h.inject({ flags: 'SEW', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.E', seq: 0, ack: 1 }, 'and ECN is agreed to');
});

script('data and FIN with the ACK that completes the handshake', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'PF.', seq: 1, ack: 1, len: 50 });
  h.expect({ flags: '.', seq: 1, ack: 52 });
  const s = h.accept(l);
  h.state(s, 'CLOSE-WAIT');
  h.recv(s, 50);
  h.recv(s, 50, 0);
});

script('SYN-RECEIVED: a wrong ACK is answered with RST (3.10.7.4, fifth)', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 2 });
  h.expect({ flags: 'R', seq: 2 });
  h.inject({ flags: '.', seq: 1, ack: 0 });
  h.expect({ flags: 'R', seq: 0 });
  h.errno(l.accept(), 'EAGAIN', 'accept');
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.accept(l);
});

script('SYN-RECEIVED: a segment without ACK is dropped; data in it waits for the ACK', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'P', seq: 1, len: 10 });
  h.expectNothing();
  h.errno(l.accept(), 'EAGAIN', 'accept');
});

script('RST in SYN-RECEIVED: back to LISTEN, nobody is told', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'R', seq: 1 });
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
  h.errno(l.accept(), 'EAGAIN', 'accept');
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
});

script('another SYN in SYN-RECEIVED is challenged, and the peer\'s RST clears the way', (h) => {
  h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'S', seq: 5000, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: 'R', seq: 1 });
  h.t.equal(h.stack.tcp.connections, 0);
  h.inject({ flags: 'S', seq: 5000, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 5001 });
});

script('backlog: what does not fit is not answered, and comes through later (Linux: backlog + 1)', (h) => {
  const l = h.listen(80, 2);
  const open = (port: number): void => {
    h.peerPort = port;
    h.inject({ flags: 'S', seq: 0, mss: 1460 });
    h.expect({ flags: 'S.', seq: 0, ack: 1 });
    h.inject({ flags: '.', seq: 1, ack: 1 });
  };
  open(1001);
  open(1002);
  open(1003);
  h.peerPort = 1004;
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expectNothing();
  h.t.equal(h.counters.ListenOverflows, 1);
  h.t.equal(h.counters.ListenDrops, 1);
  h.t.equal(h.accept(l).getpeername()!.port, 1001, 'accepted in the order of arrival');
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(h.accept(l).getpeername()!.port, 1002);
  h.t.equal(h.accept(l).getpeername()!.port, 1003);
  h.t.equal(h.accept(l).getpeername()!.port, 1004);
});

script('half-open connections are bounded', (h) => {
  h.listen(80, 8);
  let answered = 0;
  for (let port = 1; port <= 300; port++) {
    h.peerPort = port;
    h.inject({ flags: 'S', seq: 0, mss: 1460 });
    answered += h.take().length;
  }
  h.t.equal(answered, 300, 'the others get cookies');
  h.t.equal(h.stack.tcp.connections, 8);
});

script('accept order is the order in which handshakes were completed', (h) => {
  const l = h.listen();
  for (const port of [1, 2, 3]) {
    h.peerPort = port;
    h.inject({ flags: 'S', seq: 0, mss: 1460 });
    h.expect({ flags: 'S.' });
  }
  for (const port of [3, 1, 2]) {
    h.peerPort = port;
    h.inject({ flags: '.', seq: 1, ack: 1 });
  }
  h.t.same([h.accept(l), h.accept(l), h.accept(l)].map((s) => s.getpeername()!.port), [3, 1, 2]);
});

script('a connection that ends before it is accepted is accepted with its error', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  h.inject({ flags: 'R', seq: 101 });
  const s = h.accept(l);
  h.recv(s, 200, 100);
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'ECONNRESET', 'recv');
});

script('closing a listener resets what is half open or not accepted, and leaks nothing', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.peerPort = 7001;
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  h.peerPort = 7002;
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  h.inject({ flags: 'R', seq: 101 });
  l.close();
  const resets = h.take().map((o) => `${o.flags} ${o.seq} ${o.dstPort}`).sort();
  h.t.same(resets, ['R. 1 7000', 'R. 1 7001']);
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'R.', ack: 1 }, 'nobody listens any more');
});

script('ICMP errors end an attempt to open, when they quote the SYN (RFC 5927)', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  h.icmp(3, 1, 0, 55);
  h.icmp(3, 1, 0, 0, 4242);
  h.state(s, 'SYN-SENT');
  h.t.equal(h.icmpErrorsIgnored, 2);
  h.icmp(3, 1, 0, 0);
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), EHOSTUNREACH);
  h.t.equal(s.poll() & POLLHUP, POLLHUP);
});

script('ICMP port unreachable refuses', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  h.icmp(3, 3, 0, 0);
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), ECONNREFUSED);
});

script('a listener on an address takes precedence over one on all', (h) => {
  const any = h.socket();
  const one = h.socket();
  h.ok(any.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1), 'SO_REUSEPORT');
  h.ok(one.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1), 'SO_REUSEPORT');
  h.ok(any.bind('0.0.0.0', 80), 'bind');
  h.ok(one.bind('10.90.0.2', 80), 'bind');
  h.ok(any.listen(5), 'listen');
  h.ok(one.listen(5), 'listen');
  h.ourPort = 80;
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.errno(any.accept(), 'EAGAIN', 'the one on all');
  h.accept(one);
});

script('SO_RCVBUF before listen shows in the SYN-ACK', (h) => {
  h.listen(80, 5, (l: BsdSocket) => l.setsockopt(SOL_SOCKET, SO_RCVBUF, 20_000));
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', win: 20_000 });
});

script('the first data segments after the handshake find their port and seq across the wrap', (h) => {
  const s = h.passive({ sack: true, ts: true, ws: 7 });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 1000 });
  h.expect({ flags: '.', seq: 1, ack: 1001 });
  h.recv(s, 1000);
});

script('a segment with a bad checksum, and one too short, are dropped', (h) => {
  h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460, bad: true });
  h.expectNothing();
  h.t.equal(h.counters.InCsumErrors, 1);
  h.t.equal(h.counters.InErrs, 1);
});
