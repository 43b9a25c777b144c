/** What must not be believed: RFC 5961 (RST, SYN, ACK), PAWS (RFC 7323 section 5), ICMP (RFC 5927), path MTU (RFC 1191). */

import { SHUT_WR } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { script } from './harness.ts';
import type { Harness } from './harness.ts';

const DAY = 86_400_000;

function send10(h: Harness, s: BsdSocket): void {
  h.send(s, 14_600);
  for (let i = 0; i < 10; i++) h.expect({ flags: i < 9 ? '.' : 'P.', seq: 1 + i * 1460, len: 1460 });
}

// --------------------------------------------------------------------------------------- RFC 5961

script('RST: exact resets, in the window is challenged, outside is dropped (RFC 5961 3.2)', (h) => {
  const s = h.passive();
  h.inject({ flags: 'R', seq: 2 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: 'R', seq: 65_535 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: 'R', seq: 65_536 + 1 });
  h.inject({ flags: 'R', seq: 0 });
  h.inject({ flags: 'R', seq: 0x7ffffff0 });
  h.expectNothing();
  h.t.equal(h.counters.RstOutOfWindow, 3);
  h.t.equal(h.counters.ChallengeAcks, 2);
  h.state(s, 'ESTABLISHED');
  h.inject({ flags: 'R', seq: 1 });
  h.state(s, 'CLOSED');
});

script('RST with an ACK number is the same', (h) => {
  const s = h.passive();
  h.inject({ flags: 'R.', seq: 5, ack: 1 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: 'R.', seq: 1, ack: 12_345 });
  h.state(s, 'CLOSED');
});

script('SYN in a synchronized state is challenged, wherever it is (RFC 5961 4.2)', (h) => {
  const s = h.passive();
  h.inject({ flags: 'S', seq: 1 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: 'S', seq: -70_000 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.advance(1000);
  h.inject({ flags: 'S.', seq: 10, ack: 1 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.state(s, 'ESTABLISHED');
});

script('challenges are limited: two a second for each connection (RFC 5961 section 7)', (h) => {
  const s = h.passive();
  for (let i = 0; i < 50; i++) h.inject({ flags: i & 1 ? 'S' : 'R', seq: 2 + i });
  h.t.equal(h.take().length, 2);
  h.t.equal(h.counters.ChallengeAcksSuppressed, 48);
  h.advance(1000);
  for (let i = 0; i < 50; i++) h.inject({ flags: 'R', seq: 2 + i });
  h.t.equal(h.take().length, 2);
  h.state(s, 'ESTABLISHED');
});

script('an ACK of what was never sent is challenged and its data dropped', (h) => {
  const s = h.passive();
  h.inject({ flags: 'P.', seq: 1, ack: 2, len: 100 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.t.equal(s.available, 0);
  h.t.equal(h.counters.BadAcks, 1);
});

script('an ACK older than the largest window is challenged; one within is old news, its data counts (RFC 5961 5.2)', (h) => {
  const s = h.passive({ win: 30_000 });
  send10(h, s);
  h.inject({ flags: '.', seq: 1, ack: 14_601, win: 30_000 });
  h.inject({ flags: 'P.', seq: 1, ack: 14_601 - 30_001, len: 100 });
  h.expect({ flags: '.', seq: 14_601, ack: 1 });
  h.t.equal(s.available, 0);
  h.inject({ flags: 'P.', seq: 1, ack: 14_601 - 30_000, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  h.recv(s, 100);
});

script('a segment without ACK is dropped', (h) => {
  const s = h.passive();
  h.inject({ flags: 'P', seq: 1, len: 100 });
  h.inject({ flags: '', seq: 1, len: 100 });
  h.expectNothing();
  h.t.equal(s.available, 0);
});

script('blind data outside of the window is not taken', (h) => {
  const s = h.passive();
  for (const seq of [70_000, 0x70000000, -1000, -0x70000000]) {
    h.inject({ flags: 'P.', seq, ack: 1, len: 10 });
    h.expect({ flags: '.', seq: 1, ack: 1 });
  }
  h.t.equal(s.available, 0);
});

script('two ends that disagree do not answer each other\'s ACKs without end', (h) => {
  h.passive();
  for (let i = 0; i < 1000; i++) h.inject({ flags: '.', seq: 200_000, ack: 1 });
  h.t.ok(h.take().length <= 10, 'stray ACKs are answered now and then');
  h.advance(1000);
  h.inject({ flags: '.', seq: 200_000, ack: 1 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
});

script('an old ACK for a connection with timestamps too old is not answered without end either', (h) => {
  h.passive({ ts: true });
  for (let i = 0; i < 1000; i++) h.inject({ flags: '.', seq: 1, ack: 1, ts: [1, 1000] });
  h.t.ok(h.take().length <= 10);
  h.t.equal(h.counters.PawsDrops, 1000);
});

script('what is provoked on one connection is not seen on another (CVE-2016-5696)', (h) => {
  const l = h.listen();
  const victim = h.passive({}, l);
  // The attacker has a connection of his own, and sprays resets at another's: whether his own are answered tells him nothing.
  h.peerPort = 7001;
  const own = h.passive({}, l);
  const provoke = (): number => {
    for (let i = 0; i < 300; i++) h.inject({ flags: 'R', seq: 5 + i, srcPort: 7001 });
    return h.take().filter((out) => out.dstPort === 7001).length;
  };
  h.t.equal(provoke(), 2);
  h.advance(1000);
  // Guesses within the victim's window are answered to the victim's peer, and leave the attacker's answers as they were.
  for (let i = 0; i < 300; i++) h.inject({ flags: 'R', seq: 100 + i, srcPort: 7000 });
  h.t.equal(h.take().length, 2);
  h.t.equal(provoke(), 2);
  h.advance(1000);
  for (let i = 0; i < 300; i++) h.inject({ flags: 'R', seq: 70_000 + i, srcPort: 7000 });
  h.t.equal(h.take().length, 0);
  h.t.equal(provoke(), 2);
  // Nor can the ports of a connection be found by the limit (the first step of that attack): there is none for SYNs to nobody.
  h.advance(1000);
  for (let i = 0; i < 300; i++) h.inject({ flags: 'S.', seq: 1, ack: 1, srcPort: 7000 });
  h.t.equal(h.take().length, 2);
  h.t.equal(provoke(), 2);
  h.state(victim, 'ESTABLISHED');
  h.state(own, 'ESTABLISHED');
});

script('a blind attacker sprays the whole space: resets, SYNs, data; only the exact number counts', (h) => {
  const s = h.passive({ win: 65_535 });
  const step = 0x10000;
  for (let i = 0; i < 0x10000; i += 7) {
    const seq = (i * step + 12_345) | 0;
    h.inject({ flags: 'R', seq }, { flags: 'S', seq }, { flags: 'P.', seq, ack: seq, len: 20 });
  }
  const out = h.take();
  h.t.ok(out.every((one) => one.flags === '.' && one.seq === 1 && one.ack === 1), 'only ACKs of the present state came out');
  h.state(s, 'ESTABLISHED');
  h.t.equal(s.available, 0, 'no byte was taken');
  h.advance(1000);
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 20 });
  h.expect({ flags: '.', ack: 21 });
  h.recv(s, 20);
});

script('data is taken only with an acknowledgment that is believable (RFC 5961 5.2)', (h) => {
  const s = h.passive({ win: 10_000 });
  let tried = 0;
  for (const ack of [-10_001, -20_000, 2, 1000, 0x7fffffff, -0x7fffffff]) {
    h.inject({ flags: 'P.', seq: 1, ack, len: 10 });
    tried++;
  }
  h.t.equal(h.take().length, 2, 'challenged, twice');
  h.t.equal(h.counters.BadAcks, tried);
  h.t.equal(s.available, 0);
  h.inject({ flags: 'P.', seq: 1, ack: -9999, len: 10 });
  h.expect({ flags: '.', ack: 11 });
});

script('SYN-RECEIVED: RST counts when exact, is challenged in the window, and means nothing outside', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.inject({ flags: 'R', seq: 0 }, { flags: 'R', seq: 70_000 }, { flags: 'R', seq: -5 });
  h.expectNothing();
  h.inject({ flags: 'R', seq: 2 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.inject({ flags: 'S', seq: 9, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  for (let i = 0; i < 50; i++) h.inject({ flags: 'R', seq: 2 + i }, { flags: 'S', seq: 2 + i });
  h.expectNothing('no more than two a second');
  h.inject({ flags: '.', seq: 1, ack: 2 });
  h.expect({ flags: 'R', seq: 2 }, 'an ACK of what was not sent');
  h.inject({ flags: '.', seq: 1, ack: 0 });
  h.expect({ flags: 'R', seq: 0 });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.state(h.accept(l), 'ESTABLISHED');
});

script('SYN-RECEIVED: the exact RST ends it, and nobody hears of it', (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.' });
  h.inject({ flags: 'R', seq: 1 });
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
  h.errno(l.accept(), 'EAGAIN', 'accept');
});

script('SYN-SENT: what does not acknowledge our SYN is reset or dropped, and the attempt goes on', (h) => {
  const s = h.connect();
  h.expect({ flags: 'S', seq: 0 });
  h.inject({ flags: 'R', seq: 0 }, { flags: 'R.', seq: 0, ack: 0 }, { flags: 'R.', seq: 0, ack: 2 }, { flags: 'R.', seq: 0, ack: -7000 });
  h.expectNothing('resets');
  for (const ack of [0, 2, -1, 0x7fffffff]) {
    h.inject({ flags: '.', seq: 5, ack });
    h.expect({ flags: 'R', seq: ack });
    h.inject({ flags: 'S.', seq: 5, ack });
    h.expect({ flags: 'R', seq: ack });
  }
  h.inject({ flags: '.', seq: 5, ack: 1 }, { flags: 'P.', seq: 5, ack: 1, len: 10 }, { flags: 'F.', seq: 5, ack: 1 });
  h.expectNothing('no SYN');
  h.state(s, 'SYN-SENT');
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
});

// ------------------------------------------------------------------------------------------ PAWS

script('PAWS drops old duplicates and acknowledges them (R1)', (h) => {
  const s = h.passive({ ts: true });
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100 });
  h.expect({ flags: '.', ack: 101 });
  const now = h.peerTsBase + h.clock.nowUs() / 1000;
  h.inject({ flags: 'P.', seq: 101, ack: 1, len: 100, ts: [now - 1, 1000] });
  h.expect({ flags: '.', ack: 101, ts: [1000, now] });
  h.t.equal(h.counters.PawsDrops, 1);
  h.inject({ flags: 'P.', seq: 101, ack: 1, len: 100, ts: [now, 1000] });
  h.expect({ flags: '.', ack: 201 });
  h.recv(s, 200);
});

script('PAWS: an old SYN is challenged, within the limit', (h) => {
  h.passive({ ts: true });
  for (let i = 0; i < 100; i++) h.inject({ flags: 'S', seq: 1, ts: [1, 1000] });
  h.t.equal(h.take().length, 2);
  h.t.match(h.counters, { PawsDrops: 100, ChallengeAcks: 2, ChallengeAcksSuppressed: 98 });
});

script('PAWS lets RST pass (RFC 7323 5.2)', (h) => {
  const s = h.passive({ ts: true });
  h.inject({ flags: 'R', seq: 1, ts: [1, 0] });
  h.state(s, 'CLOSED');
});

script('PAWS: the timestamp wraps', (h) => {
  h.peerTsBase = 0x7fffffff - 2500;
  const s = h.passive({ ts: true });
  for (let i = 0; i < 5; i++) {
    h.inject({ flags: 'P.', seq: 1 + i * 100, ack: 1, len: 100 });
    h.expect({ flags: '.', ack: 101 + i * 100 });
    h.advance(1000);
  }
  h.t.equal(h.counters.PawsDrops, 0);
  h.recv(s, 500);
});

script('TS.Recent is taken only from what covers Last.ACK.sent (RFC 7323 4.3)', (h) => {
  h.passive({ ts: true });
  const base = h.peerTsBase + h.clock.nowUs() / 1000;
  h.inject({ flags: '.', seq: 1001, ack: 1, len: 100, ts: [base + 50, 1000] });
  h.expect({ flags: '.', ack: 1, ts: [1000, base] }, 'out of order: not echoed');
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1000, ts: [base + 20, 1000] });
  h.expect({ flags: '.', ack: 1101, ts: [1000, base + 20] });
});

script('a delayed ACK echoes the earliest segment that it acknowledges (RFC 7323 4.2)', (h) => {
  const s = h.passive({ ts: true });
  s.setsockopt(6, 12, 0);
  const base = h.peerTsBase + h.clock.nowUs() / 1000;
  h.inject({ flags: '.', seq: 1, ack: 1, len: 1448, ts: [base + 1, 1000] });
  h.inject({ flags: '.', seq: 1449, ack: 1, len: 1448, ts: [base + 9, 1000] });
  h.expect({ flags: '.', ack: 2897, ts: [1000, base + 1] });
});

for (const days of [23, 24, 25, 30, 48]) {
  script(`PAWS: after ${days} days of silence TS.Recent is ${days < 24 ? 'still' : 'not'} believed (RFC 7323 5.5)`, (h) => {
    const s = h.passive({ ts: true });
    const old = h.peerTsBase + h.clock.nowUs() / 1000;
    h.advance(days * DAY);
    h.inject({ flags: 'P.', seq: 1, ack: 1, len: 100, ts: [old - 5, 1000] });
    if (days < 24) {
      h.expect({ flags: '.', ack: 1 });
      h.t.equal(h.counters.PawsDrops, 1);
    } else {
      const out = h.expect({ flags: '.', ack: 101 });
      h.t.equal(out.ts![1], old - 5, 'the new timestamp takes the old one\'s place');
      h.recv(s, 100);
    }
  });
}

// ------------------------------------------------------------------------------------------ ICMP

script('ICMP errors are believed only when they quote what is in flight (RFC 5927), and are soft', (h) => {
  const s = h.passive();
  h.icmp(3, 1, 0, 1);
  h.t.equal(h.icmpErrorsIgnored, 1, 'nothing is in flight');
  h.send(s, 1000);
  h.expect({ flags: 'P.', len: 1000 });
  h.icmp(3, 1, 0, 0);
  h.icmp(3, 1, 0, 1001);
  h.icmp(3, 1, 0, 0x7fffffff);
  h.t.equal(h.icmpErrorsIgnored, 4);
  for (const code of [0, 1, 2, 3, 5, 9, 10, 13]) h.icmp(3, code, 0, 1);
  h.icmp(11, 0, 0, 1);
  h.icmp(4, 0, 0, 1);
  h.state(s, 'ESTABLISHED');
  h.inject({ flags: '.', seq: 1, ack: 1001 });
  h.t.equal(h.info(s).unacked, 0);
});

script('fragmentation needed: smaller segments at once, what is in flight is sent again (RFC 1191)', (h) => {
  const s = h.passive();
  send10(h, s);
  h.icmp(3, 4, 1000, 1);
  const out = h.take();
  h.t.equal(h.info(s).sndMss, 960);
  h.t.ok(out.length > 0 && out[0]!.seq === 1 && out.every((o) => o.len <= 960), 'from the first byte on, in smaller segments');
  const cwnd = h.info(s).cwnd;
  h.t.ok(cwnd >= 10 * 960, `no sign of congestion: cwnd ${cwnd}`);
  let last = out.at(-1)!;
  for (let i = 0; i < 30 && last.seq + last.len < 14_601; i++) {
    h.inject({ flags: '.', seq: 1, ack: last.seq + last.len });
    last = h.take().at(-1) ?? last;
  }
  h.inject({ flags: '.', seq: 1, ack: 14_601 });
  h.take();
  h.t.equal(h.info(s).unacked, 0);
});

script('fragmentation needed is not believed when it quotes nothing of ours, or says nonsense', (h) => {
  const s = h.passive();
  send10(h, s);
  h.icmp(3, 4, 1000, 14_601);
  h.icmp(3, 4, 1000, 1, 4242);
  h.icmp(3, 4, 5000, 1);
  h.expectNothing();
  h.t.equal(h.info(s).sndMss, 1460);
  h.icmp(3, 4, 20, 1);
  h.take();
  h.t.ok(h.info(s).sndMss >= 500, `a path of less than 552 bytes is an attack: ${h.info(s).sndMss}`);
});

script('the user\'s peer cannot hold an orphan with a closed window for ever, silent', (h) => {
  const s = h.passive({ win: 1000 });
  h.send(s, 5000);
  h.expect({ flags: '.', len: 1000 });
  h.inject({ flags: '.', seq: 1, ack: 1001, win: 0 });
  s.close();
  h.advance(600_000);
  h.take();
  h.t.equal(h.stack.tcp.connections, 0);
});

script('segments with all kinds of flags in all states raise nothing', (h) => {
  const l = h.listen(80, 1000);
  const flags = ['', 'S', 'F', 'R', 'SF', 'SR', 'FR', '.', 'S.', 'F.', 'R.', 'SF.', 'SFRPU.EW', 'U', 'U.', 'SFU.'];
  for (let state = 0; state < 6; state++) {
    for (const f of flags) {
      for (const seq of [-1, 0, 1, 2, 50, 100_000]) {
        h.peerPort = (h.peerPort + 1) & 0xffff || 1;
        if (state > 0) {
          h.inject({ flags: 'S', seq: 0, mss: 1460 });
          if (state > 1) h.inject({ flags: '.', seq: 1, ack: 1 });
          const s = state > 1 ? l.accept() : 0;
          if (typeof s !== 'number') {
            h.sockets.push(s);
            if (state === 3 || state === 5) s.shutdown(SHUT_WR);
            if (state >= 4) h.inject({ flags: 'F.', seq: 1, ack: 1 });
          }
        }
        h.inject({ flags: f, seq, ack: 1, len: seq === 50 ? 10 : 0, urg: 3 });
        h.inject({ flags: f, seq, ack: 2, len: 3 });
        h.inject({ flags: 'R', seq: 1 }, { flags: 'R', seq: 2 });
        h.take();
      }
    }
  }
  h.t.pass('nothing was thrown');
});
