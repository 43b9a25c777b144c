/** Windows and segment sizes that are meant to cost: tiny MSS, silly, shrinking, shut for hours; floods of probes. */

import t from 'tap';
import { ETIMEDOUT } from '../../lib/errno.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { Peer, World, writes } from './world.ts';
import type { WorldOptions } from './world.ts';

const HOUR = 3_600_000;

function sending(options: WorldOptions = {}, peerOptions: ConstructorParameters<typeof Peer>[2] = {}, bytes = Infinity) {
  const world = new World(options);
  let socket: BsdSocket | undefined;
  let writer = { taken: 0, error: 0 };
  world.listen(80, (accepted) => {
    socket = accepted;
    writer = writes(accepted, bytes);
  });
  const peer = new Peer(world, 7, peerOptions).open();
  return { world, peer, tcb: world.tcbOf(peer)!, socket: socket!, writer };
}

t.test('tiny MSS: segments are no smaller than the limit', async (t) => {
  for (const mss of [0, 1, 8, 48]) {
    const { world, peer, tcb } = sending({}, { mss });
    for (let i = 0; i < 200; i++) {
      world.run(20);
      peer.send({ flags: '.' });
    }
    const sizes = peer.got.filter((got) => got.len > 0).map((got) => got.len);
    const mean = sizes.reduce((a, b) => a + b, 0) / sizes.length;
    t.ok(mean >= 60, `MSS ${mss}: ${mean.toFixed(0)} bytes in the mean`);
    t.equal(tcb.sndMss, mss === 0 ? 536 : 64);
    t.equal(world.counters.TinyMss, mss === 0 ? 0 : 1);
    t.ok(world.blocksInUse <= 64, `${world.blocksInUse} blocks`);
    world.check();
    t.ok(world.serves() < 2000);
    t.equal(world.close(), 0);
  }
  const strict = sending({ limits: { tcp: { leastMss: 536 } } }, { mss: 100 });
  t.equal(strict.tcb.sndMss, 536, 'the limit can be another');
  t.equal(strict.world.close(), 0);
});

t.test('windows of a byte: no more segments than ACKs, or than the timers allow', async (t) => {
  for (const shrunk of [false, true]) {
    const { world, peer, tcb } = sending({}, { win: shrunk ? 20_000 : 1 });
    if (shrunk) peer.send({ flags: '.', win: 1 });
    const began = peer.segments;
    for (let i = 0; i < 6000; i++) {
      world.run(10);
      peer.send({ flags: '.', win: 1 });
    }
    const segments = peer.segments - began;
    // Whoever has never told more than a byte is taken at his word (RFC 9293 3.8.6.2.1, Fs = 1/2 of the largest window).
    t.ok(segments <= (shrunk ? 60 * 6 : 6000), `${segments} segments in a minute, with 6000 ACKs`);
    t.ok(tcb.sndQueued <= tcb.sndbufLimit);
    world.check();
    t.ok(world.serves() < 2000);
    t.equal(world.close(), 0);
  }
});

t.test('a window that shrinks: what is beyond is not sent, nothing breaks, it goes on when it opens', async (t) => {
  const { world, peer, tcb } = sending({}, { win: 20_000, mss: 1460 });
  t.ok(tcb.flight > 10_000);
  const edge = (tcb.sndUna + 3000) | 0;
  peer.send({ flags: '.', ack: (tcb.sndUna + 1460) | 0, win: 1540 });
  peer.got.length = 0;
  for (let i = 0; i < 1200; i++) {
    world.run(100);
    if (i % 3 === 0) peer.send({ flags: '.', ack: tcb.sndUna, win: 1540 - (i % 2) * 1000 });
  }
  // A retransmission fills whole segments from SND.UNA on: one segment may stand over the edge.
  t.ok(peer.got.every((got) => ((got.seq - edge) | 0) <= 0), 'nothing beyond the edge was sent again');
  t.ok(peer.got.length < 200, `${peer.got.length} segments in two minutes`);
  world.check();
  for (let i = 0; i < 100; i++) {
    world.run(50);
    peer.send({ flags: '.', ack: peer.ack, win: 60_000 });
  }
  t.ok(tcb.bytesAcked > 1e6, `${tcb.bytesAcked} bytes afterwards`);
  world.check();
  t.equal(world.close(), 0);
});

t.test('a window shut for eight hours, probes answered: kept, at little cost, and it goes on (MUST-37)', async (t) => {
  const { world, peer, tcb } = sending({}, { win: 10_000 });
  let answers = 0;
  peer.send({ flags: '.', win: 0 });
  peer.got.length = 0;
  for (let i = 0; i < 8 * 360; i++) {
    world.run(10_000);
    if (peer.got.length === 0) continue;
    peer.got.length = 0;
    answers++;
    peer.send({ flags: '.', win: 0 });
  }
  t.ok(answers < 8 * 60 + 30, `${answers} probes in eight hours`);
  t.ok(answers > 8 * 50);
  t.ok(world.blocksInUse <= (tcb.sndbufLimit >> 13) + 2);
  world.check();
  peer.win = 65_535;
  for (let i = 0; i < 100; i++) {
    peer.send({ flags: '.' });
    world.run(50);
  }
  t.ok(tcb.bytesAcked > 1e6, 'and then it went on');
  t.equal(world.close(), 0);
});

t.test('zeroWindowMs ends it, answered or not, in flight or not', async (t) => {
  for (const inFlight of [false, true]) {
    const { world, peer, tcb, writer } = sending({ limits: { tcp: { zeroWindowMs: HOUR } } }, { win: 10_000 });
    peer.send({ flags: '.', ack: inFlight ? (tcb.sndNxt - 1000) | 0 : tcb.sndNxt, win: 0 });
    let ended = 0;
    const ack = tcb.sndUna;
    for (let i = 0; i < 1200 && ended === 0; i++) {
      world.run(10_000);
      if (world.tcbOf(peer) === undefined) ended = i * 10_000;
      else if (peer.got.length > 0) peer.send({ flags: '.', ack, win: 0 });
      peer.got.length = 0;
    }
    t.ok(ended > HOUR - 60_000 && ended < HOUR + 180_000, `ended after ${ended / 60_000} minutes, ${inFlight ? 'with' : 'without'} data in flight`);
    t.equal(world.counters.ZeroWindowDrops, 1);
    t.equal(writer.error, ETIMEDOUT);
    t.equal(world.blocksInUse, 0);
    t.equal(world.close(), 0);
  }
});

t.test('an orphan with a shut window, or one that opens a byte at a time, does not stay for ever', async (t) => {
  for (const drip of [false, true]) {
    const { world, peer, tcb, socket } = sending({}, { win: 10_000 }, 300_000);
    peer.send({ flags: '.', win: 0 });
    socket.close();
    let ms = 0;
    for (; ms < 2 * HOUR && world.tcbOf(peer) !== undefined; ms += 5000) {
      world.run(5000);
      peer.send({ flags: '.', ack: peer.ack, win: drip ? 1 : 0 });
      peer.got.length = 0;
    }
    t.ok(ms <= 20 * 60_000, `${drip ? 'dripping' : 'shut'}: gone after ${ms / 60_000} minutes, ${tcb.bytesAcked} bytes moved`);
    if (drip) t.equal(world.counters.OrphanDrops, 1);
    t.equal(world.blocksInUse, 0);
    t.equal(world.close(), 0);
  }
});

t.test('an orphan that moves is left alone', async (t) => {
  const { world, peer, socket, tcb } = sending({ limits: { tcp: { orphanMs: 90_000 } } }, { win: 10_000 }, 300_000);
  socket.close();
  for (let i = 0; i < 400 && world.tcbOf(peer) !== undefined; i++) {
    world.run(3000);
    peer.send({ flags: '.', ack: peer.ack, win: 4096 });
  }
  t.equal(tcb.bytesAcked, 300_000, 'slow, but all of it');
  t.equal(world.counters.OrphanDrops, 0);
  t.equal(world.close(), 0);
});

t.test('a flood of probes into a window that is shut', async (t) => {
  const world = new World({ tcp: { rcvbuf: { initial: 8192, max: 8192 } } });
  world.listen(80);
  const peer = new Peer(world, 7).open();
  for (let i = 0; i < 8; i++) peer.data(1024);
  world.run(100);
  const tcb = world.tcbOf(peer)!;
  t.equal(tcb.rcvWnd, 0);
  const before = world.packetsOut;
  for (let i = 0; i < 20_000; i++) {
    world.queue(peer.packet({ flags: '.', len: 1 }));
    if (i % 100 === 99) world.flush();
  }
  t.ok(world.packetsOut - before <= 200, `${world.packetsOut - before} answers to 20000 probes in 200 batches`);
  const quiet = world.packetsOut;
  for (let i = 0; i < 5000; i++) peer.send({ flags: '.', seq: peer.seq - 1 });
  t.ok(world.packetsOut - quiet <= 2, `${world.packetsOut - quiet} answers to 5000 that are empty`);
  t.equal(tcb.bytesReceived, 8192);
  t.ok(world.blocksInUse <= 2);
  world.check();
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});
