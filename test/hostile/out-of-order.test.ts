/** Holes on purpose: what all connections together hold out of order is bounded, and shared. */

import t from 'tap';
import { Peer, World } from './world.ts';

const BLOCK = 8192;

t.test('many connections with holes: a hard bound, and an honest one in the middle of it', async (t) => {
  const world = new World({ limits: { tcp: { outOfOrderBytes: 1 << 20 } } });
  const { outOfOrder, memory } = world.victim.tcp;
  world.listen(80);
  t.equal(outOfOrder.limitBlocks, 128);
  const peers = Array.from({ length: 400 }, (_, i) => new Peer(world, 1000 + i, { address: `10.90.7.${i % 200}`, sack: true }).open());
  let most = 0;
  let mostTold = 0;
  for (let round = 0; round < 60; round++) {
    // One byte in each block of the window: the cheapest way to make somebody hold memory.
    for (const peer of peers) world.queue(peer.packet({ flags: '.', seq: peer.seq + 1 + ((round * 1021) % 65_000), len: 1 }));
    world.flush();
    most = Math.max(most, outOfOrder.usedBlocks);
    mostTold = Math.max(mostTold, world.blocksInUse);
    for (const peer of peers) peer.got.length = 0;
  }
  t.ok(most <= 128, `${most} blocks at most`);
  t.ok(mostTold <= 128 + 16, `${mostTold} of the memory`);
  t.ok(world.counters.OfoDrops > 0 || world.counters.OfoPruned > 0);
  world.check();
  // An honest connection loses a segment now, and needs a little room to hold what comes behind.
  const honest = new Peer(world, 5, { sack: true }).open();
  world.inject(honest.packet({ flags: '.', seq: honest.seq + 1000, len: 1000 }));
  t.match(honest.got.at(-1)!.options.slice(0, 4), [1, 1, 5, 10], 'what came behind its hole was kept, and SACKed');
  t.ok(memory.freeBlocks > memory.blockCount / 2, 'the memory is for all others');
  world.serves(200_000, 'up');
  world.serves(200_000, 'down');
  // Those that fill their holes lose nothing.
  const before = world.tcbOf(honest)!.bytesReceived;
  world.inject(honest.packet({ flags: '.', len: 1000 }));
  t.equal(world.tcbOf(honest)!.bytesReceived - before, 2000);
  for (const peer of peers) world.queue(peer.packet({ flags: 'R', seq: peer.seq }));
  world.flush();
  t.equal(outOfOrder.usedBlocks, 0, 'given back with the connections');
  t.equal(world.close(), 0);
});

t.test('who holds the most gives it up for who holds less', async (t) => {
  const world = new World({ limits: { tcp: { outOfOrderBytes: 16 * BLOCK } }, tcp: { rcvbuf: { initial: 1 << 20, max: 1 << 20 } } });
  const { outOfOrder } = world.victim.tcp;
  world.listen(80);
  const greedy = new Peer(world, 1, { sack: true, ws: 7 }).open();
  for (let i = 0; i < 40; i++) greedy.send({ flags: '.', seq: greedy.seq + 100 + i * 1400, len: 1000 });
  const held = world.tcbOf(greedy)!.oooBlocks;
  t.ok(held > 4 && held <= 16, `one alone may have a lot: ${held} blocks`);
  const others = Array.from({ length: 8 }, (_, i) => new Peer(world, 10 + i, { sack: true }).open());
  for (const other of others) for (let i = 0; i < 12; i++) other.send({ flags: '.', seq: other.seq + 100 + i * 1400, len: 1000 });
  const shares = others.map((other) => world.tcbOf(other)!.oooBlocks);
  t.ok(Math.min(...shares) >= 1, `each of the others has some: ${shares.join(' ')}`);
  t.ok(world.tcbOf(greedy)!.oooBlocks <= 2 * Math.max(...shares), `the first has ${world.tcbOf(greedy)!.oooBlocks}`);
  t.ok(outOfOrder.usedBlocks <= 16);
  t.ok(world.counters.OfoPruned > 0);
  world.check();
  // What was pruned comes again, and nothing is missing or twice.
  const socketBytes = world.tcbOf(greedy)!;
  for (let i = 0; i < 41; i++) {
    greedy.data(1400);
    world.run(1);
  }
  t.equal(socketBytes.bytesReceived, 41 * 1400);
  t.equal(world.close(), 0);
});

t.test('bytes in the stream are right whatever was pruned on the way', async (t) => {
  // Four senders whose every third segment comes late, a bound that is far too small for them, and all data compared.
  const world = new World({ limits: { tcp: { outOfOrderBytes: 6 * BLOCK } } });
  const received = new Map<number, number>();
  const scratch = new Uint8Array(1 << 16);
  world.listen(80, (socket) => {
    const { port } = socket.getpeername()!;
    received.set(port, 0);
    socket.onready = () => {
      for (let n = socket.recv(scratch, 0, scratch.length); n > 0; n = socket.recv(scratch, 0, scratch.length)) {
        for (let i = 0; i < n; i++) {
          const at = received.get(port)! + i;
          if (scratch[i] !== ((at * 7 + (at >> 8) + port) & 0xff)) throw new Error(`byte ${at} of ${port}`);
        }
        received.set(port, received.get(port)! + n);
      }
    };
  });
  const total = 400_000;
  const peers = [1, 2, 3, 4].map((port) => new Peer(world, port, { sack: true }).open());
  const start = new Map(peers.map((peer) => [peer, peer.seq]));
  const segment = (peer: Peer, at: number): void => {
    const packet = peer.packet({ flags: '.', seq: start.get(peer)! + at, len: Math.min(1000, total - at) });
    for (let i = 40; i < packet.length; i++) packet[i] = ((at + i - 40) * 7 + ((at + i - 40) >> 8) + peer.port) & 0xff;
    world.queue(packet);
  };
  for (let round = 0; round < 4000 && [...received.values()].some((n) => n < total); round++) {
    for (const peer of peers) {
      const una = (world.tcbOf(peer)!.rcvNxt - start.get(peer)!) | 0;
      // The first of the window is left out two times of three; the rest is sent again and again.
      for (let k = round % 3 === 0 ? 0 : 1; k < 40; k++) if (una + k * 1000 < total) segment(peer, una + k * 1000);
      peer.got.length = 0;
    }
    world.flush();
    world.run(1);
    if (world.victim.tcp.outOfOrder.usedBlocks > 6) throw new Error('the bound does not hold');
    if (round % 50 === 0) world.check();
  }
  t.same([...received.values()], [total, total, total, total]);
  t.ok(world.counters.OfoDrops + world.counters.OfoPruned > 20, `${world.counters.OfoDrops} dropped, ${world.counters.OfoPruned} pruned`);
  t.equal(world.close(), 0);
});

t.test('ranges of one connection are bounded', async (t) => {
  const world = new World({ limits: { tcp: { outOfOrderRanges: 50 } } });
  world.listen(80);
  const peer = new Peer(world, 1, { sack: true }).open();
  for (let i = 0; i < 500; i++) peer.send({ flags: '.', seq: peer.seq + 2 + i * 2, len: 1 });
  t.equal(world.tcbOf(peer)!.oooCount, 50);
  t.equal(world.counters.OfoDrops, 450);
  t.equal(world.close(), 0);
});

t.test('nothing out of order at all', async (t) => {
  const world = new World({ limits: { tcp: { outOfOrderBytes: 0 } } });
  world.listen(80);
  const peer = new Peer(world, 1, { sack: true }).open();
  peer.send({ flags: '.', seq: peer.seq + 100, len: 100 });
  t.equal(world.tcbOf(peer)!.oooCount, 0);
  t.equal(world.counters.OfoDrops, 1);
  peer.data(200);
  t.equal(world.tcbOf(peer)!.bytesReceived, 200);
  t.equal(world.close(), 0);
});
