/** Peers that take their time: that never read, never write, open and say nothing; an application that never reads. */

import t from 'tap';
import { ETIMEDOUT } from '../../lib/errno.ts';
import { Peer, World, writes } from './world.ts';

t.test('slow readers use up the memory for sending: those who stand still the longest give it back', async (t) => {
  const world = new World({ memory: 4 << 20, limits: { tcp: { stalledMs: 60_000 } } });
  const errors: number[] = [];
  const writers: ReturnType<typeof writes>[] = [];
  world.listen(80, (socket) => writers.push(writes(socket)));
  // Half of them are quite still, half take a byte now and then.
  const peers = Array.from({ length: 40 }, (_, i) => new Peer(world, 1000 + i, { win: 2000, address: `10.90.5.${i}` }).open());
  t.ok(world.victim.memory.freeBlocks <= world.victim.memory.blockCount / 4 + 1, 'they have all that senders may have');
  let ms = 0;
  for (; ms < 300_000 && world.counters.StalledDrops === 0; ms += 1000) {
    for (const [i, peer] of peers.entries()) {
      if (i % 2 === 0) world.queue(peer.packet({ flags: '.', win: 0 }));
      else world.queue(peer.packet({ flags: '.', ack: (world.tcbOf(peer)!.sndUna + 1) | 0, win: 2000 }));
      peer.got.length = 0;
    }
    world.flush();
    world.run(1000);
  }
  t.ok(ms >= 55_000 && ms <= 75_000, `the first was ended after ${ms / 1000} s`);
  for (const writer of writers) if (writer.error !== 0) errors.push(writer.error);
  t.ok(errors.length > 0 && errors.every((error) => error === ETIMEDOUT));
  t.ok(world.victim.tcp.connections > 0, 'no more of them than it takes');
  const took = world.serves(200_000, 'down', 150_000);
  t.comment(`the neighbour had its 200000 bytes after ${took} ms; ${world.counters.StalledDrops} were ended`);
  t.ok(world.counters.StalledDrops < 40);
  world.check();
  t.equal(world.close(), 0);
});

t.test('as long as there is memory nobody is ended for being slow', async (t) => {
  const world = new World({ memory: 64 << 20 });
  world.listen(80, (socket) => writes(socket));
  const peers = Array.from({ length: 20 }, (_, i) => new Peer(world, 1000 + i, { win: 2000 }).open());
  for (let i = 0; i < 360; i++) {
    for (const peer of peers) world.queue(peer.packet({ flags: '.', win: 0 }));
    world.flush();
    world.run(10_000);
  }
  t.equal(world.victim.tcp.connections, 20);
  t.equal(world.counters.StalledDrops, 0);
  t.equal(world.close(), 0);
});

t.test('stalledMs 0: never', async (t) => {
  const world = new World({ memory: 2 << 20, limits: { tcp: { stalledMs: 0 } } });
  world.listen(80, (socket) => writes(socket));
  const peers = Array.from({ length: 20 }, (_, i) => new Peer(world, 1000 + i, { win: 2000 }).open());
  for (let i = 0; i < 100; i++) {
    for (const peer of peers) world.queue(peer.packet({ flags: '.', win: 0 }));
    world.flush();
    world.run(10_000);
  }
  t.equal(world.victim.tcp.connections, 20);
  t.equal(world.close(), 0);
});

t.test('an application that never reads: its windows close, the memory is not used up, others go on', async (t) => {
  const world = new World({ memory: 8 << 20 });
  world.listen(80);
  const peers = Array.from({ length: 200 }, (_, i) => new Peer(world, 1000 + i, { address: `10.90.4.${i}` }).open());
  for (let round = 0; round < 100; round++) {
    for (const peer of peers) {
      const tcb = world.tcbOf(peer)!;
      // It sends whatever it is told that it may, and beyond.
      peer.seq = tcb.rcvNxt;
      world.queue(peer.packet({ flags: '.', len: 1400 }));
      peer.got.length = 0;
    }
    world.flush();
    world.run(5);
  }
  const { memory } = world.victim;
  t.ok(memory.freeBlocks >= memory.blockCount >> 4, `${memory.freeBlocks} of ${memory.blockCount} blocks are free`);
  world.check();
  t.ok(world.serves(100_000, 'up', 60_000) < 60_000, 'who reads, receives');
  t.ok(world.serves(50_000, 'down', 60_000) < 60_000);
  t.equal(world.close(), 0);
});

t.test('firstDataMs: who opens and says nothing', async (t) => {
  const world = new World({ limits: { tcp: { firstDataMs: 10_000 } } });
  const writers: ReturnType<typeof writes>[] = [];
  world.listen(80, (socket) => writers.push(writes(socket, 1)));
  const silent = Array.from({ length: 100 }, (_, i) => new Peer(world, 1000 + i).open());
  const talks = new Peer(world, 5).open();
  const ends = new Peer(world, 6).open();
  world.run(5000);
  talks.data(1);
  ends.send({ flags: 'F.' });
  world.run(4000);
  t.equal(world.victim.tcp.connections, 102);
  world.run(2000);
  t.equal(world.counters.SilentDrops, 100);
  t.equal(world.victim.tcp.connections, 2, 'those who said something, if only that they have nothing to say');
  t.equal(silent[0]!.got.at(-1)!.flags, 'R.');
  world.run(3_600_000);
  t.ok(world.tcbOf(talks));
  t.equal(world.close(), 0);
});

t.test('connectionsPerAddress', async (t) => {
  const world = new World({ limits: { tcp: { connectionsPerAddress: 10 } } });
  world.listen(80);
  const peers: Peer[] = [];
  for (let i = 0; i < 10; i++) peers.push(new Peer(world, 1000 + i).open());
  t.throws(() => new Peer(world, 2000).open(), 'the eleventh is not answered');
  t.equal(world.counters.AddressDrops, 1);
  new Peer(world, 1, { address: '10.90.66.7' }).open();
  t.ok(world.serves() < 2000, 'other addresses are');
  peers[3]!.send({ flags: 'R' });
  new Peer(world, 2001).open();
  t.throws(() => new Peer(world, 2002).open());
  // TIME-WAIT is not counted: it has a bound of its own.
  for (const peer of peers.slice(4)) peer.send({ flags: 'R' });
  for (let i = 0; i < 6; i++) new Peer(world, 3000 + i).open();
  t.throws(() => new Peer(world, 2003).open());
  t.equal(world.close(), 0);
});

t.test('openers that never finish: bounded, and gone after a minute', async (t) => {
  const world = new World({ limits: { tcp: { halfOpen: 64 } } });
  world.listen(80);
  for (let i = 0; i < 5000; i++) {
    const peer = new Peer(world, 1000 + i, { address: `10.90.${100 + (i % 100)}.${i % 250}` });
    peer.send({ flags: 'S', ack: 0 });
  }
  t.ok(world.victim.tcp.connections <= 64, `${world.victim.tcp.connections} half open`);
  t.ok(world.serves() < 4000, 'the neighbour is served meanwhile');
  world.run(130_000);
  t.equal(world.victim.tcp.connections, 0);
  t.equal(world.close(), 0);
});
