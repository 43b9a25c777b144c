/** Games with flags, numbers and timestamps: urgent pointers, PAWS, data after FIN, floods of resets, and of segments for nobody. */

import t from 'tap';
import type { BsdSocket } from '../../lib/socket.ts';
import { Peer, World, writes } from './world.ts';
import type { WorldOptions } from './world.ts';

function receiving(options: WorldOptions = {}) {
  const world = new World(options);
  const state = { bytes: 0, end: 0, events: 0 };
  const scratch = new Uint8Array(1 << 16);
  let socket: BsdSocket | undefined;
  world.listen(80, (accepted) => {
    socket = accepted;
    accepted.onready = () => {
      state.events++;
      for (;;) {
        const n = accepted.recv(scratch, 0, scratch.length);
        if (n === 0) state.end++;
        if (n <= 0) return;
        state.bytes += n;
      }
    };
  });
  const peer = new Peer(world, 7).open();
  return { world, peer, tcb: world.tcbOf(peer)!, state, socket: socket! };
}

function timestamps(value: number, echo: number): number[] {
  const word = (n: number): number[] => [(n >>> 24) & 0xff, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff];
  return [1, 1, 8, 10, ...word(value), ...word(echo)];
}

t.test('urgent pointers everywhere: the stream stays what it is', async (t) => {
  const { world, peer, state } = receiving();
  for (let i = 0; i < 500; i++) {
    peer.send({ flags: 'PU.', len: 100, urg: [0, 1, 50, 100, 101, 65_535, i][i % 7]! });
    peer.seq = (peer.seq + 100) | 0;
    // Empty ones, old ones, ones far away.
    peer.send({ flags: 'U.', urg: 65_535 });
    peer.send({ flags: 'U.', seq: peer.seq - 1000, urg: 10 });
    peer.send({ flags: 'U.', seq: peer.seq + 60_000, len: 1, urg: 60_000 });
    world.run(1);
  }
  t.ok(state.bytes >= 50_000 && state.bytes <= 50_000, `${state.bytes} bytes`);
  t.ok(state.events < 3000, `${state.events} wake-ups`);
  world.check();
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});

t.test('PAWS: one forged timestamp does not cut the honest peer off, unless it is in order and in the window', async (t) => {
  const world = new World();
  let bytes = 0;
  const scratch = new Uint8Array(1 << 16);
  world.listen(80, (socket) => {
    socket.onready = () => {
      for (let n = socket.recv(scratch, 0, scratch.length); n > 0; n = socket.recv(scratch, 0, scratch.length)) bytes += n;
    };
  });
  const peer = new Peer(world, 7);
  peer.synOptions = () => timestamps(1000, 0);
  // By hand: every segment has timestamps from now on.
  peer.send({ flags: 'S', ack: 0, options: timestamps(1000, 0) });
  peer.seq = (peer.seq + 1) | 0;
  peer.send({ flags: '.', options: timestamps(1000, 0) });
  const tcb = world.tcbOf(peer)!;
  t.ok(tcb.timestamps);
  // Blind forgeries: old numbers, numbers beyond the window, far ahead in time.
  for (let i = 0; i < 2000; i++) {
    peer.send({ flags: '.', seq: peer.seq + 100_000 + i * 7919, len: 10, options: timestamps(0x70000000, 0) });
    peer.send({ flags: '.', seq: peer.seq - 100 - i, len: 10, options: timestamps(0x70000000 + i, 0) });
  }
  t.equal(tcb.tsRecent, 1000, 'no forgery outside of the window moves TS.Recent');
  peer.send({ flags: 'P.', len: 100, options: timestamps(1001, 0) });
  peer.seq = (peer.seq + 100) | 0;
  t.equal(bytes, 100, 'the peer goes on');
  // Old ones: dropped, and answered now and then only.
  const before = world.packetsOut;
  for (let i = 0; i < 5000; i++) peer.send({ flags: '.', options: timestamps(5, 0) });
  t.ok(world.packetsOut - before <= 2, `${world.packetsOut - before} answers to 5000`);
  t.equal(world.counters.PawsDrops >= 5000, true);
  world.check();
  t.equal(world.close(), 0);
});

t.test('data after FIN, FIN again, FIN elsewhere', async (t) => {
  const { world, peer, state } = receiving();
  peer.data(100);
  peer.send({ flags: 'F.' });
  peer.seq = (peer.seq + 1) | 0;
  const fin = peer.seq;
  for (let i = 0; i < 2000; i++) {
    world.queue(peer.packet({ flags: 'P.', seq: fin, len: 1000 }));
    world.queue(peer.packet({ flags: 'F.', seq: fin - 1 }));
    world.queue(peer.packet({ flags: 'F.', seq: fin + 100 + i }));
    world.queue(peer.packet({ flags: 'P.', seq: fin + 5000, len: 1000 }));
    if (i % 50 === 0) {
      world.flush();
      world.run(1);
    }
  }
  world.flush();
  t.equal(state.bytes, 100);
  t.ok(state.end >= 1, 'the end was told');
  t.equal(world.tcbOf(peer)!.rcvNxt, fin);
  t.equal(world.blocksInUse, 0, 'nothing is kept of it');
  world.check();
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});

t.test('a FIN out of order far away, then another: the first that is in order counts', async (t) => {
  const { world, peer, state } = receiving();
  for (let i = 1; i < 200; i++) peer.send({ flags: 'F.', seq: peer.seq + i * 300 });
  t.equal(state.end, 0);
  peer.data(50);
  t.equal(state.bytes, 50);
  world.check();
  world.run(1000);
  peer.send({ flags: 'R' });
  t.equal(world.victim.tcp.connections, 0);
  t.equal(world.close(), 0);
});

t.test('resets that are not exact: dropped or challenged, a limited number of times', async (t) => {
  const { world, peer, tcb, state } = receiving();
  const before = world.packetsOut;
  for (let i = 0; i < 20_000; i++) {
    world.queue(peer.packet({ flags: 'R', seq: peer.seq + 1 + ((i * 2_654_435_761) >>> 8) }));
    if (i % 500 === 0) world.flush();
  }
  world.flush();
  t.ok(world.packetsOut - before <= 2, `${world.packetsOut - before} challenges`);
  t.equal(world.tcbOf(peer), tcb, 'the connection lives');
  t.ok(world.counters.RstOutOfWindow > 19_000);
  peer.data(10);
  t.equal(state.bytes, 10);
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});

t.test('segments for nobody: resets are limited, SYNs to closed ports and stray ACKs alike', async (t) => {
  const world = new World();
  const before = world.packetsOut;
  for (let i = 0; i < 20_000; i++) {
    const peer = i % 100 === 0 ? new Peer(world, 1000 + (i % 30_000), { victimPort: 1 + (i % 9) }) : null;
    if (peer !== null) peer.keep = false;
    world.queue((peer ?? new Peer(world, 5, { victimPort: 3 })).packet({ flags: i % 2 === 0 ? 'S' : '.', ack: 77 }));
    if (i % 500 === 0) world.flush();
  }
  world.flush();
  t.ok(world.packetsOut - before <= 1000, `${world.packetsOut - before} resets in a second`);
  t.ok(world.counters.ResetsLimited >= 19_000);
  world.run(1000);
  const peer = new Peer(world, 99, { victimPort: 3 });
  peer.send({ flags: 'S', ack: 0 });
  t.equal(peer.got[0]!.flags, 'R.', 'a second later they are told again');
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});

t.test('a thousand connections that are opened and reset leave nothing', async (t) => {
  const world = new World();
  world.listen(80, (socket) => writes(socket));
  for (let round = 0; round < 10; round++) {
    const peers = Array.from({ length: 100 }, (_, i) => new Peer(world, 1000 + i, { win: 30_000 }).open());
    world.run(10);
    for (const peer of peers) world.queue(peer.packet({ flags: 'R' }));
    world.flush();
  }
  t.equal(world.victim.tcp.connections, 0);
  t.equal(world.blocksInUse, 0);
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});
