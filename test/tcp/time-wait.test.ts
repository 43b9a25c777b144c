/** TIME-WAIT: new connections with old addresses and ports (RFC 6191, tcp_tw_reuse), strays, assassination (RFC 1337). */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { createHost } from '../sim/host.ts';
import { open } from '../sim/pair.ts';
import { kernelScript, script } from './harness.ts';
import type { Harness } from './harness.ts';
import type { BsdSocket } from '../../lib/socket.ts';

/** An accepted connection that we close first, with timestamps or without. Returns the peer's last timestamp. */
function wait(h: Harness, ts: boolean): number {
  const l = h.listen();
  const s = h.passive({ ts }, l);
  s.close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.timestamps = false;
  return Math.floor(h.peerTsBase + h.clock.nowUs() / 1000);
}

const HIGHER = 3;
const LOWER = -1000;

for (const [old, has, stamp, seq, opens] of [
  // RFC 6191 section 2. The old connection had timestamps; the SYN has; how much newer; its number; whether it opens.
  [true, true, 1, HIGHER, true],
  [true, true, 1, LOWER, true],
  [true, true, 0, HIGHER, true],
  [true, true, 0, LOWER, false],
  [true, true, 0, 2, false],
  [true, true, -1, HIGHER, false],
  [true, true, -1, LOWER, false],
  [true, false, 0, HIGHER, true],
  [true, false, 0, LOWER, false],
  [false, true, 0, HIGHER, true],
  [false, true, 0, LOWER, true],
  [false, false, 0, HIGHER, true],
  [false, false, 0, LOWER, false],
  [false, false, 0, 2, false],
] as const) {
  const of = has ? `timestamp ${stamp > 0 ? 'newer' : stamp < 0 ? 'older' : 'the same'}` : 'no timestamp';
  script(`timestamps ${old ? 'before' : 'not before'}; a SYN with ${of}, number ${seq}: ${opens ? 'opens anew' : 'is old'}`, (h) => {
    const last = wait(h, old);
    h.inject({ flags: 'S', seq, mss: 1460, ...(has ? { ts: [last + stamp, 0] as [number, number] } : {}) });
    if (opens) h.expect({ flags: 'S.', ack: seq + 1 });
    else h.expect({ flags: '.', seq: 2, ack: 2 });
    h.t.equal(h.stack.tcp.timeWaits, opens ? 0 : 1);
    h.t.equal(h.counters.TimeWaitReuses, opens ? 1 : 0);
  });
}

script('when timestamps are off here, those of a SYN say nothing', { tcp: { timestamps: false } }, (h) => {
  wait(h, false);
  h.inject({ flags: 'S', seq: LOWER, mss: 1460, ts: [5, 0] });
  h.expect({ flags: '.', seq: 2, ack: 2 });
});

script('a pair that is taken over is no cookie, though the queue is full', { ownIsn: true, tcp: { synCookies: 'always' } }, (h) => {
  const l = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0 });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.accept(l).close();
  h.expect({ flags: 'F.', seq: 1, ack: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  h.inject({ flags: 'S', seq: 5000, mss: 1460 });
  h.t.ok(h.expect({ flags: 'S.', ack: 5001 }).seq > 65_000, 'above all old numbers');
  h.t.equal(h.stack.tcp.connections, 1);
});

script('what has no data is answered twice a second at most; data and FIN always', (h) => {
  wait(h, false);
  for (let i = 0; i < 500; i++) {
    h.inject({ flags: '.', seq: 70_000, ack: 2 }, { flags: 'S', seq: LOWER });
    h.advance(4);
  }
  const answers = h.take().length;
  h.t.ok(answers >= 4 && answers <= 5, `${answers} answers in two seconds`);
  for (let i = 0; i < 10; i++) h.inject({ flags: 'P.', seq: 1, ack: 2, len: 10 }, { flags: 'F.', seq: 1, ack: 2 });
  h.t.equal(h.take().length, 20);
});

/** RFC 1337 section 2: an old segment, our ACK, and what a peer that knows nothing says to that. */
function assassinate(h: Harness): void {
  wait(h, false);
  h.inject({ flags: 'P.', seq: -500, ack: 2, len: 100 });
  const ack = h.expect({ flags: '.', seq: 2, ack: 2 });
  h.inject({ flags: 'R', seq: ack.ack });
}

script('RST with the next number ends the wait (RFC 9293), and so can an old segment (RFC 1337)', (h) => {
  assassinate(h);
  h.t.equal(h.stack.tcp.timeWaits, 0);
});

script('unless that is not wanted (RFC 1337, fix F1)', { tcp: { rfc1337: true } }, (h) => {
  assassinate(h);
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.advance(61_000);
  h.t.equal(h.stack.tcp.timeWaits, 0);
});

// ------------------------------------------------------------------------- connections of ours

/** A connection of ours from port 5555 that we close first. */
function ours(h: Harness, ts: boolean): void {
  const s = h.socket();
  h.ok(s.bind('', 5555), 'bind');
  h.connect(s);
  h.expect({ flags: 'S' });
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460, ...(ts ? { ts: [100, 1000] as [number, number] } : {}) });
  h.expect({ flags: '.' });
  s.close();
  h.expect({ flags: 'F.', seq: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 2, ...(ts ? { ts: [100, 1000] as [number, number] } : {}) });
  h.expect({ flags: '.', seq: 2, ack: 2 });
}

function again(h: Harness): BsdSocket {
  const s = h.socket();
  h.ok(s.bind('', 5555), 'bind');
  return s;
}

kernelScript('a pair with timestamps is taken over after a second, above the old numbers', { ownIsn: true }, (h) => {
  ours(h, true);
  h.errno(again(h).connect('10.90.0.1', 7000), 'EADDRNOTAVAIL', 'connect at once');
  h.sockets.pop()!.close();
  h.advance(1000);
  const s = h.connect(again(h));
  const syn = h.expect({ flags: 'S' });
  h.t.ok(syn.seq > 65_000, `the new ISN is ${syn.seq} above the old one`);
  h.t.equal(h.stack.tcp.timeWaits, 0);
  h.t.equal(h.counters.TimeWaitReuses, 1);
  h.inject({ flags: '.', seq: 2, ack: 2 });
  h.expect({ flags: 'R', seq: 2 }, 'an old ACK means nothing');
  h.inject({ flags: 'S.', seq: 9000, ack: syn.seq + 1, mss: 1460 });
  h.expect({ flags: '.', seq: syn.seq + 1, ack: 9001 });
  h.state(s, 'ESTABLISHED');
});

kernelScript('a pair without timestamps is not', (h) => {
  ours(h, false);
  h.advance(50_000);
  h.errno(again(h).connect('10.90.0.1', 7000), 'EADDRNOTAVAIL', 'connect');
});

kernelScript('nor any when that is not wanted', { tcp: { timeWaitReuse: false } }, (h) => {
  ours(h, true);
  h.advance(50_000);
  h.errno(again(h).connect('10.90.0.1', 7000), 'EADDRNOTAVAIL', 'connect');
});

t.test('all ports are used up: connecting goes on', (t) => {
  const clock = new VirtualClock(1_000_000);
  const [left, right] = createMemoryPair({ clock, latencyUs: 100 });
  const a = createHost('a', { link: left, addresses: ['10.90.0.1/24'], clock, random: new SeededRandom(1), memory: 4 << 20 }, null);
  const b = createHost('b', { link: right, addresses: ['10.90.0.2/24'], clock, random: new SeededRandom(2), memory: 4 << 20 }, null);
  const listener = open(b);
  listener.bind('', 80);
  listener.listen(64);
  listener.onready = () => {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) {
      const socket = one;
      socket.onready = () => {
        if (socket.recv(new Uint8Array(1), 0, 1) === 0) socket.close();
      };
    }
  };
  const total = 28_800;
  let failed = 0;
  for (let i = 0; i < total; i++) {
    const client = open(a);
    if (client.connect('10.90.0.2', 80) !== -115) failed++;
    clock.advance(400);
    client.close();
    if (i % 64 === 63) clock.advance(1000);
  }
  clock.advance(100_000);
  t.equal(failed, 0);
  t.ok(a.tcp.counters.TimeWaitReuses > 400, `${a.tcp.counters.TimeWaitReuses} pairs were taken over`);
  t.equal(b.tcp.counters.PassiveOpens, total, 'and every connection was made');
  t.equal(a.tcp.connections + b.tcp.connections, 0);
  a.close();
  b.close();
  t.end();
});
