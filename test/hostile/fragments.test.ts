/** Reassembly bombs: tiny, overlapping, endless fragments, many ids, many sources; memory, heap and time stay bounded. */

import t from 'tap';
import { heapUsed } from '../fuzz/heap.ts';
import { concat, fragmentHeader, ipv4, ipv6, pattern, udp } from '../ip/harness.ts';
import { VICTIM, World } from './world.ts';

const VICTIM6 = 'fd90::2';
const LIMITS = { reassemblyBytes: 1 << 20, reassemblyDatagrams: 256, reassemblyPerSource: 64, reassemblyFragments: 2000 };

function source(version: number, i: number): string {
  return version === 4 ? `10.90.${1 + (i % 200)}.${1 + (i >> 8) % 200}` : `fd90::${(i + 16).toString(16)}`;
}

function piece(version: number, from: string, id: number, offset: number, length: number, more: boolean): Uint8Array {
  const data = pattern(length);
  return version === 4 ? ipv4(data, { source: from, destination: VICTIM, id: id & 0xffff, fragment: (offset / 8) | (more ? 0x2000 : 0) })
    : ipv6(concat(fragmentHeader(17, offset, more, id), data), { source: from, destination: VICTIM6, nextHeader: 44 });
}

/** An honest datagram in three pieces gets through. */
function honest(world: World, version: number, id: number): boolean {
  const counters = version === 4 ? world.victim.ip.ip4 : world.victim.ip.ip6;
  const before = counters.ReasmOKs;
  const from = version === 4 ? '10.90.250.1' : 'fd90::aaaa';
  for (const [offset, length, more] of [[0, 1000, true], [1000, 1000, true], [2000, 500, false]] as const) {
    world.inject(piece(version, from, id, offset, length, more));
  }
  return counters.ReasmOKs === before + 1;
}

for (const version of [4, 6]) {
  t.test(`IPv${version}: bombs of every kind`, async (t) => {
    const world = new World({ limits: { ip: LIMITS } });
    const { ip } = world.victim;
    const counters = version === 4 ? ip.ip4 : ip.ip6;
    const bound = (what: string): void => {
      t.ok(ip.reassemblyUse.blocks <= 128, `${what}: ${ip.reassemblyUse.blocks} blocks`);
      t.ok(ip.reassemblyUse.datagrams <= 256, `${what}: ${ip.reassemblyUse.datagrams} datagrams`);
    };
    const before = heapUsed();
    // Many ids from one source: no more than its share, and others are not pushed out.
    world.inject(piece(version, source(version, 7), 1, 0, 1000, true));
    for (let i = 0; i < 1500; i++) world.queue(piece(version, source(version, 1), i, 8, 8, true));
    world.flush();
    bound('many ids');
    t.equal(ip.reassemblyUse.datagrams, 65, '64 of one source, and the other one');
    t.ok(counters.ReasmSourceLimits >= 1400);
    world.inject(piece(version, source(version, 7), 1, 1000, 1000, false));
    t.equal(counters.ReasmOKs, 1, 'which becomes whole');
    t.ok(honest(world, version, 5000), 'and so does a new one');
    // Many sources.
    for (let i = 0; i < 1500; i++) world.queue(piece(version, source(version, i), i, 8 * (i % 1000), 8, true));
    world.flush();
    bound('many sources');
    t.ok(counters.ReasmEvicted > 1000);
    t.ok(honest(world, version, 5001));
    // Fragments as small as they get, as many as there are, backwards.
    for (let id = 0; id < 3; id++) {
      for (let at = 1399; at >= 1; at--) world.queue(piece(version, source(version, 40 + id), 9000 + id, at * 8, 8, true));
    }
    world.flush();
    bound('tiny fragments');
    t.ok(counters.ReasmFragmentLimits > 0, 'their number is bounded');
    t.ok(honest(world, version, 5002));
    // Overlaps: the datagram is dropped, and what still comes of it.
    const fails = counters.ReasmOverlaps;
    for (let i = 0; i < 1000; i++) {
      world.queue(piece(version, source(version, (i >> 3) % 100), 20_000 + (i >> 3), (i % 8) * 16, 64, true));
    }
    world.flush();
    bound('overlaps');
    t.ok(counters.ReasmOverlaps > fails);
    t.ok(honest(world, version, 5003));
    // Beyond the largest datagram (ping of death).
    world.inject(piece(version, source(version, 3), 77, 65_528, 64, false));
    t.ok(counters.ReasmBadFragments > 0);
    t.ok(heapUsed() - before < 4 << 20, `${((heapUsed() - before) / 1e6).toFixed(1)} MB of heap`);
    t.ok(world.serves() < 2000, 'TCP of the neighbour is not touched by all this');
    // Time takes care of the rest.
    world.run(61_000);
    t.equal(ip.reassemblyUse.blocks, 0);
    t.equal(ip.reassemblyUse.datagrams, 0);
    t.equal(world.close(), 0);
  });
}

t.test('what a fragment costs does not grow with what is there', async (t) => {
  const world = new World();
  const measure = (from: number): number => {
    let best = Infinity;
    for (let attempt = 0; attempt < 3; attempt++) {
      const packets = Array.from({ length: 400 }, (_, i) => piece(4, source(4, i), from + attempt * 400 + i, 8, 8, true));
      const began = performance.now();
      for (const packet of packets) world.queue(packet);
      world.flush();
      best = Math.min(best, (performance.now() - began) / 400);
    }
    return best * 1000;
  };
  measure(0);
  const empty = measure(2000);
  for (let i = 0; i < 5000; i++) world.queue(piece(4, source(4, i), 10_000 + i, 8, 8, true));
  world.flush();
  const full = measure(20_000);
  t.comment(`${empty.toFixed(1)} µs with few datagrams, ${full.toFixed(1)} µs with as many as there may be`);
  t.ok(full < 100 * Math.max(empty, 1) && full < 500);
  world.run(61_000);
  t.equal(world.close(), 0);
});

t.test('honest fragments of a datagram for a socket arrive in the middle of a flood', async (t) => {
  const world = new World();
  const socket = world.victim.udp.socket(2);
  if (typeof socket === 'number') throw new Error('socket');
  socket.bind('0.0.0.0', 2000);
  const data = udp(pattern(3000), '10.90.250.1', VICTIM);
  for (let i = 0; i < 1000; i++) world.queue(piece(4, '10.90.66.6', i, 0, 8, true));
  for (const at of [0, 1000, 2000]) {
    world.queue(ipv4(data.subarray(at, at + 1000), { source: '10.90.250.1', destination: VICTIM, id: 3, fragment: (at / 8) | 0x2000 }));
    for (let i = 0; i < 500; i++) world.queue(piece(4, '10.90.66.6', 2000 + at + i, 0, 8, true));
  }
  world.inject(ipv4(data.subarray(3000), { source: '10.90.250.1', destination: VICTIM, id: 3, fragment: 3000 / 8 }));
  const out = new Uint8Array(4000);
  t.equal(socket.recvFrom(out, 0, out.length), 3000);
  socket.close();
  world.run(31_000);
  t.equal(world.close(), 0);
});
