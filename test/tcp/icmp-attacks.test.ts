/** Attacks by forged ICMP errors (RFC 5927): what they cannot do. The attacker knows addresses and ports, and guesses numbers. */

import { SO_SNDBUF, SOL_SOCKET, TCP_NODELAY, IPPROTO_TCP } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { kernelScript, script } from './harness.ts';
import type { Harness } from './harness.ts';

const UNREACHABLE = 3;
const SOURCE_QUENCH = 4;
const REDIRECT = 5;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;
const NEEDFRAG = 4;
const MSS = 1460;

function open(h: Harness): BsdSocket {
  const s = h.active({ mss: MSS, win: 65535 }, (one) => one.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20), 20);
  s.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
  return s;
}

/** Sends `count` full segments and has them acknowledged; returns the next sequence number. */
function exchange(h: Harness, s: BsdSocket, from: number, count: number): number {
  h.send(s, count * MSS);
  h.take();
  h.advance(20);
  h.inject({ flags: '.', seq: 1, ack: from + count * MSS });
  h.expectNothing();
  return from + count * MSS;
}

script('blind connection reset: no error ends an open connection, even with the right number (5.2)', (h) => {
  const s = open(h);
  h.send(s, 100);
  h.expect({ flags: 'P.', len: 100 });
  for (let code = 0; code < 16; code++) if (code !== NEEDFRAG) h.icmp(UNREACHABLE, code, 0, 1);
  for (const code of [0, 1]) h.icmp(TIME_EXCEEDED, code, 0, 1);
  h.icmp(PARAMETER_PROBLEM, 0, 0, 1);
  h.state(s, 'ESTABLISHED');
  h.inject({ flags: 'P.', seq: 1, ack: 101, len: 50 });
  h.expect({ flags: '.', ack: 51 });
  h.recv(s, 50);
});

script('nor a half-open one that the peer began', (h) => {
  const listener = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: MSS });
  h.expect({ flags: 'S.' });
  for (let code = 0; code < 16; code++) if (code !== NEEDFRAG) h.icmp(UNREACHABLE, code, 0, 0);
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.accept(listener);
});

script('while it is being opened only an error with the number of the SYN counts (4.1)', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S' });
  for (const seq of [-1, 1, 1000, -70_000, 2 ** 30]) h.icmp(UNREACHABLE, 1, 0, seq);
  h.state(s, 'SYN-SENT');
  h.t.equal(h.icmpErrorsIgnored, 5);
  h.icmp(UNREACHABLE, 1, 0, 0);
  h.errno(s.send(new Uint8Array(1), 0, 1), 'EHOSTUNREACH', 'send');
});

script('blind throughput reduction: source quench and redirects do nothing (6; RFC 6633)', (h) => {
  const s = open(h);
  h.send(s, 2 * MSS);
  h.take();
  const { cwnd, ssthresh } = h.info(s);
  for (let i = 0; i < 10; i++) {
    h.icmp(SOURCE_QUENCH, 0, 0, 1);
    h.icmp(REDIRECT, 1, 0, 1);
  }
  h.t.match(h.info(s), { cwnd, ssthresh });
  h.expectNothing();
});

script('blind performance degrading: path MTUs that quote nothing in flight', (h) => {
  const s = open(h);
  const next = exchange(h, s, 1, 2);
  h.send(s, MSS);
  h.take();
  for (const seq of [1, next - 1, next + MSS, next + 65535, next - 2 ** 30]) h.icmp(UNREACHABLE, NEEDFRAG, 600, seq);
  h.t.equal(h.info(s).sndMss, MSS);
  h.t.equal(h.icmpErrorsIgnored, 5);
});

script('a path MTU that comes although larger segments get through is set aside (7.2)', (h) => {
  const s = open(h);
  let next = exchange(h, s, 1, 4);
  for (const mtu of [68, 296, 552, 1000, 1492, 1499]) {
    h.send(s, 2 * MSS);
    h.take();
    h.icmp(UNREACHABLE, NEEDFRAG, mtu, next);
    h.icmp(UNREACHABLE, NEEDFRAG, mtu, next + MSS);
    h.expectNothing('nothing is sent again');
    h.t.equal(h.info(s).sndMss, MSS);
    h.advance(20);
    next += 2 * MSS;
    h.inject({ flags: '.', seq: 1, ack: next });
    h.expectNothing();
  }
  if (h.stack.tcpu === null) h.t.equal(h.counters.IcmpMtuDeferred, 12);
  // A timeout later on has nothing to do with them.
  h.send(s, MSS);
  h.take();
  h.advance(500);
  h.t.equal(h.take()[0]!.len, MSS);
  h.t.equal(h.info(s).sndMss, MSS);
});

script('TCPK: it counts when the segment that it quotes is sent again', { tcpu: true }, (h) => {
  const s = open(h);
  const next = exchange(h, s, 1, 4);
  h.send(s, 2 * MSS);
  h.take();
  h.icmp(UNREACHABLE, NEEDFRAG, 1040, next);
  h.t.equal(h.info(s).sndMss, MSS);
  h.advance(h.info(s).rtoMs);
  h.t.match(h.take()[0], { seq: next, len: MSS }, 'sent again');
  h.t.match(h.info(s), { sndMss: 1000, pmtu: 1040 });
  h.advance(2 * h.info(s).rtoMs);
  h.t.match(h.take()[0], { seq: next, len: 1000 }, 'and smaller from now on');
});

kernelScript('it counts when the segment that it quotes is not acknowledged in time', (h) => {
  const s = open(h);
  const next = exchange(h, s, 1, 4);
  h.send(s, 2 * MSS);
  h.take();
  h.icmp(UNREACHABLE, NEEDFRAG, 1040, next);
  h.t.equal(h.info(s).sndMss, MSS);
  h.advance(h.info(s).rtoMs);
  const [first] = h.take();
  h.t.match(first, { seq: next, len: 1000 });
  h.t.match(h.info(s), { sndMss: 1000, pmtu: 1040 });
});

script('before anything was acknowledged it counts at once: that is how a path is found out', (h) => {
  const s = open(h);
  h.send(s, 3 * MSS);
  h.take();
  h.icmp(UNREACHABLE, NEEDFRAG, 1040, 1);
  const out = h.take();
  h.t.match(out[0], { seq: 1, len: 1000 });
  h.t.equal(h.info(s).sndMss, 1000);
});

script('small segments that were acknowledged prove nothing', (h) => {
  const s = open(h);
  h.send(s, 200);
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 201 });
  h.send(s, 2 * MSS);
  h.take();
  h.icmp(UNREACHABLE, NEEDFRAG, 1040, 201);
  h.t.match(h.take()[0], { seq: 201, len: 1000 });
  h.t.equal(h.info(s).sndMss, 1000);
});

script('no path MTU makes segments tiny: 552 at least (Linux\'s min_pmtu)', (h) => {
  const s = open(h);
  h.send(s, 3 * MSS);
  h.take();
  for (const mtu of [1, 68, 100, 551]) h.icmp(UNREACHABLE, NEEDFRAG, mtu, 1);
  h.t.match(h.take()[0], { seq: 1, len: 512 });
  h.t.equal(h.info(s).sndMss, 512);
});

script('a path MTU that is none: larger than what is sent', (h) => {
  const s = open(h);
  h.send(s, MSS);
  h.take();
  for (const mtu of [1500, 1501, 65535]) h.icmp(UNREACHABLE, NEEDFRAG, mtu, 1);
  h.t.equal(h.info(s).sndMss, MSS);
  h.expectNothing();
});
