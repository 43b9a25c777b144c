/** SACK blocks that lie: outside, overlapping, far too many, all but a byte, taken back; and what one ACK may cost. */

import t from 'tap';
import type { Test } from 'tap';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { Peer, World, writes } from './world.ts';
import type { WorldOptions } from './world.ts';

function sending(options: WorldOptions = {}, flight = 200_000) {
  const world = new World(options);
  world.listen(80, (socket) => writes(socket));
  const peer = new Peer(world, 7, { mss: 1460, sack: true, ws: 10 }).open();
  const tcb = world.tcbOf(peer)!;
  peer.keep = false;
  for (let i = 0; i < 2000 && tcb.flight < flight; i++) {
    world.run(5);
    peer.send({ flags: '.', ack: (tcb.sndNxt - (tcb.flight >> 1)) | 0 });
  }
  if (tcb.flight < flight) throw new Error(`${tcb.flight} in flight`);
  return { world, peer, tcb };
}

/** The connection goes on as if nothing had been, once the peer is honest. */
function recovers(t: Test, world: World, peer: Peer, tcb: Tcb): void {
  const before = tcb.bytesAcked;
  for (let i = 0; i < 400 && tcb.bytesAcked - before < 1e6; i++) {
    world.run(100);
    peer.send({ flags: '.', ack: peer.ack });
  }
  t.ok(tcb.bytesAcked - before >= 1e6, `${tcb.bytesAcked - before} bytes afterwards`);
  world.check();
}

t.test('blocks outside of what is in flight are counted, and nothing else', async (t) => {
  const { world, peer, tcb } = sending();
  const { sndUna, sndNxt, cwnd } = tcb;
  const lies: [number, number][] = [
    [sndNxt + 1, sndNxt + 1000], [sndNxt - 100, sndNxt + 1], [sndUna - 5000, sndUna + 100], [sndUna + 2000, sndUna + 1000],
    [sndUna + 100, sndUna + 100], [sndUna + 0x7fffffff, sndUna + 1000], [sndUna + 0x60000000, sndUna + 0x60001000],
  ];
  for (const lie of lies) for (let i = 0; i < 50; i++) peer.send({ flags: '.', ack: sndUna, options: peer.sack(lie) });
  t.equal(tcb.sackedBytes, 0);
  t.equal(tcb.cwnd, cwnd);
  t.ok(world.counters.SackBlocksBad >= 50 * 6);
  world.check();
  recovers(t, world, peer, tcb);
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});

t.test('far too many ranges: bounded, each ACK at a bounded price', async (t) => {
  // Segments as small as they get, and every second one SACKed, in the worst order there is.
  const world = new World({ memory: 64 << 20, tcp: { sndbuf: { initial: 4 << 20, max: 4 << 20 } } });
  world.listen(80, (socket) => writes(socket));
  const peer = new Peer(world, 7, { mss: 64, sack: true, ws: 10 }).open();
  const tcb = world.tcbOf(peer)!;
  peer.keep = false;
  for (let i = 0; i < 400 && tcb.flight < 400_000; i++) {
    world.run(5);
    peer.send({ flags: '.', ack: (tcb.sndNxt - (tcb.flight >> 1)) | 0 });
  }
  const { sndUna, flight } = tcb;
  t.ok(flight >= 400_000, `${flight} bytes in segments of 64`);
  const heap = process.memoryUsage().heapUsed;
  const pieces = Math.floor(flight / 128) - 2;
  const orders: Record<string, (i: number) => number> = {
    'from below': (i) => i,
    'from above': (i) => pieces - 1 - i,
    scattered: (i) => (i * 7919) % pieces,
  };
  let worst = 0;
  for (const [name, order] of Object.entries(orders)) {
    let best = Infinity;
    for (let attempt = 0; attempt < 3; attempt++) {
      const began = performance.now();
      for (let i = 0; i < pieces; i += 4) {
        const blocks = [0, 1, 2, 3].map((k): [number, number] => {
          const at = sndUna + 64 + 128 * order((i + k) % pieces);
          return [at, at + 64];
        });
        peer.send({ flags: '.', ack: sndUna, options: peer.sack(...blocks) });
      }
      best = Math.min(best, ((performance.now() - began) * 1000) / (pieces / 4));
    }
    t.comment(`${name}: ${best.toFixed(0)} µs for an ACK, ${world.victim.tcp.sent.used} rows`);
    worst = Math.max(worst, best);
    world.check();
  }
  const { used } = world.victim.tcp.sent;
  t.ok(used > 1000 && used < 10_000, `${used} ranges are remembered`);
  // A generous bound: 4 blocks, thousands of ranges, and whatever is sent because of them.
  t.ok(worst < 5000, `${worst.toFixed(0)} µs for the dearest kind of ACK`);
  t.ok(process.memoryUsage().heapUsed - heap < 64 << 20);
  t.ok(world.serves() < 5000);
  t.equal(world.close(), 0);
});

t.test('everything but one byte is SACKed', async (t) => {
  const { world, peer, tcb } = sending();
  const { sndUna, sndNxt } = tcb;
  const before = tcb.bytesRetrans;
  for (let i = 0; i < 1000; i++) {
    peer.send({ flags: '.', ack: sndUna, options: peer.sack([sndUna + 1, sndNxt]) });
    world.run(1);
  }
  t.equal(tcb.sndUna, sndUna);
  t.ok(tcb.bytesRetrans - before <= 20 * 1460, `${tcb.bytesRetrans - before} bytes sent again`);
  t.ok(tcb.flight <= 2 * ((sndNxt - sndUna) | 0) + tcb.sndbufLimit, 'nothing runs away');
  world.check();
  recovers(t, world, peer, tcb);
  t.equal(world.close(), 0);
});

t.test('overlapping blocks are added up once', async (t) => {
  const { world, peer, tcb } = sending();
  const { sndUna } = tcb;
  for (let i = 0; i < 200; i++) {
    const at = sndUna + 1460 + ((i * 37) % 50) * 1000;
    peer.send({ flags: '.', ack: sndUna, options: peer.sack([at, at + 5000], [at + 10, at + 4000], [at - 500, at + 100], [at, at + 5000]) });
  }
  t.ok(tcb.sackedBytes <= tcb.flight);
  world.check();
  recovers(t, world, peer, tcb);
  t.equal(world.close(), 0);
});

t.test('reneging: what was SACKed is wanted again', async (t) => {
  const { world, peer, tcb } = sending();
  const { sndUna, sndNxt } = tcb;
  for (let i = 0; i < 10; i++) peer.send({ flags: '.', ack: sndUna, options: peer.sack([sndUna + 1460, sndNxt]) });
  // It has thrown everything away, and only what comes from now on in order counts.
  let next = sndUna as number;
  peer.onSegment = (got) => {
    if (got.len > 0 && ((got.seq - next) | 0) <= 0 && ((got.seq + got.len - next) | 0) > 0) next = (got.seq + got.len) | 0;
  };
  let ms = 0;
  for (; ms < 300_000 && ((next - sndNxt) | 0) < 0; ms += 50) {
    world.run(50);
    peer.send({ flags: '.', ack: next });
  }
  t.ok(((next - sndNxt) | 0) >= 0, `everything came again, after ${ms / 1000} s`);
  world.check();
  t.equal(world.close(), 0);
});
