/** Floods: what a peer sends can never make memory grow without limit, and who behaves still gets through. */

import t from 'tap';
import { AF_INET } from '../../lib/socket.ts';
import { SeededRandom } from '../../lib/random.ts';
import { BLOCK_SIZE } from '../../lib/buffer/packet-memory.ts';
import { script } from '../tcp/harness.ts';
import { heapUsed } from './heap.ts';
import { Target, VICTIM4 } from './target.ts';
import { TCP, UDP, ipPacket, tcpSegment, udpDatagram } from './wire-format.ts';
import type { Ip4Fields } from './wire-format.ts';

const NONE = new Uint8Array(0);

function ip(source: number, protocol: number, more: Partial<Ip4Fields> = {}): Ip4Fields {
  return {
    version: 4, source: source >>> 0, destination: 0x0a5a0001, protocol, tos: 0, ttl: 64, id: 0, fragment: 0x4000, options: NONE, ...more,
  };
}

/** A host somewhere: not of the target's net, no broadcast, no group. */
function stranger(random: SeededRandom): number {
  return 0x0b000000 + (random.int32() & 0x00ffffff);
}

t.test('100,000 SYNs from everywhere', { timeout: 60_000 }, async (t) => {
  const target = new Target(1);
  const random = new SeededRandom(2);
  const before = heapUsed();
  const { connections } = target.stack.tcp;
  const out = target.wire.passed[0]!;
  let most = 0;
  const syn = { destinationPort: 80, ack: 0, flags: 0x02, window: 65_535, urgent: 0, options: Uint8Array.from([2, 4, 5, 0xb4, 4, 2, 1, 1]), payload: NONE };
  for (let i = 0; i < 100_000; i++) {
    target.throw([ipPacket(ip(stranger(random), TCP), tcpSegment({ ...syn, sourcePort: 1024 + (i % 60_000), seq: random.int32() }))]);
    if (i % 100 === 0) {
      most = Math.max(most, target.stack.tcp.connections - connections);
      target.clock.advance(10_000);
    }
    if (i % 20_000 === 0) target.talk();
  }
  t.ok(most <= 64, `${most} half open at most, as the backlog says`);
  const answered = target.wire.passed[0]! - out;
  t.ok(answered < 101_000, `${answered} packets sent for 100,000: nothing is amplified`);
  const grown = (heapUsed() - before) / 1048576;
  t.ok(grown < 8, `the heap has grown by ${grown.toFixed(1)} MiB`);
  t.ok(target.stack.tcp.counters.SyncookiesSent > 99_000);
  // Half-open connections of nobody fill the queue still; who comes now gets in at once.
  const start = target.clock.nowUs();
  for (const end of target.connect(VICTIM4, 80, 4)) end.abort();
  const took = (target.clock.nowUs() - start) / 1e6;
  t.ok(took < 0.1, `a connection gets in within ${took} s`);
  target.talk();
  target.finish(600e6);
  t.equal(target.stack.tcp.connections, 0);
  target.close();
});

t.test('completed handshakes that nobody accepts', { timeout: 60_000 }, async (t) => {
  const target = new Target(3);
  const listener = target.stack.socket(AF_INET);
  if (typeof listener === 'number') throw new Error('socket');
  listener.bind('', 6666);
  listener.listen(50);
  const random = new SeededRandom(4);
  const { connections } = target.stack.tcp;
  const answers: Uint8Array[] = [];
  const filter = target.wire.filter!;
  target.wire.filter = (packet, side) => {
    if (side === 0 && packet[0] === 0x45 && packet[33] === 0x12) answers.push(packet);
    return filter(packet, side);
  };
  for (let i = 0; i < 5000; i++) {
    const source = stranger(random);
    const seq = random.int32();
    const base = { sourcePort: 2000 + i, destinationPort: 6666, window: 65_535, urgent: 0, options: NONE };
    target.throw([ipPacket(ip(source, TCP), tcpSegment({ ...base, seq, ack: 0, flags: 0x02, payload: NONE }))]);
    const answer = answers.pop();
    if (answer === undefined) continue;
    const ack = new DataView(answer.buffer).getInt32(24) + 1;
    // The handshake is completed, and data comes that nobody reads.
    target.throw([ipPacket(ip(source, TCP), tcpSegment({ ...base, seq: seq + 1, ack, flags: 0x18, payload: new Uint8Array(1000) }))]);
  }
  const waiting = target.stack.tcp.connections - connections;
  t.ok(waiting <= 51 + 128, `${waiting} connections wait`);
  target.talk();
  listener.close();
  target.finish(600e6);
  t.equal(target.stack.memory.freeBlocks, target.stack.memory.blockCount);
  target.close();
});

t.test('100,000 fragments that never become whole', { timeout: 60_000 }, async (t) => {
  const target = new Target(5);
  const random = new SeededRandom(6);
  const before = heapUsed();
  const { ip: layer, memory } = target.stack;
  let blocks = 0;
  let datagrams = 0;
  const payload = new Uint8Array(1024);
  const fair = udpDatagram(4000, 9000, new Uint8Array(1500).fill(1));
  let expected = target.datagrams;
  for (let i = 0; i < 100_000; i++) {
    // Half of them from one host, the other half from everywhere.
    const source = i % 2 === 0 ? 0x0b000001 : stranger(random);
    const fragment = (1 + (random.int32() & 63)) * 128 | 0x2000;
    target.throw([ipPacket(ip(source, UDP, { id: random.int32() & 0xffff, fragment }), payload)]);
    const use = layer.reassemblyUse;
    blocks = Math.max(blocks, use.blocks);
    datagrams = Math.max(datagrams, use.datagrams);
    if (i % 10_000 === 9999) {
      // In between somebody who means it: both fragments are there before the flood can push them out.
      const whole = ip(0x0a5a0002, UDP, { id: i & 0xffff, fragment: 0x2000 });
      target.throw([ipPacket(whole, fair.subarray(0, 800)), ipPacket({ ...whole, fragment: 100 }, fair.subarray(800))]);
      expected++;
      target.talk();
    }
  }
  t.ok(blocks <= memory.blockCount >> 3, `${blocks} of ${memory.blockCount} blocks`);
  t.ok(datagrams <= 1024, `${datagrams} datagrams at once`);
  t.equal(target.datagrams, expected, 'whole datagrams got through');
  const grown = (heapUsed() - before) / 1048576;
  t.ok(grown < 8, `the heap has grown by ${grown.toFixed(1)} MiB`);
  target.clock.advance(61e6);
  t.same(layer.reassemblyUse, { datagrams: 0, blocks: 0 });
  target.finish(600e6);
  t.equal(memory.freeBlocks, memory.blockCount);
  target.close();
});

const orders: [string, (n: number) => number[]][] = [
  ['ascending', (n) => Array.from({ length: n }, (_, i) => i + 1)],
  ['descending', (n) => Array.from({ length: n }, (_, i) => n - i)],
  ['every second, then the others', (n) => Array.from({ length: n }, (_, i) => (2 * i < n ? 2 * i + 1 : 2 * (i - (n >> 1))) % n + 1)],
];
for (const [name, order] of orders) {
  script(`single bytes out of order at every place of the window, ${name}`, { memory: 4 << 20 }, (h) => {
    const s = h.passive({ sack: true });
    const { memory } = h.stack;
    const places = order(60_000);
    const before = process.cpuUsage();
    let least = memory.freeBlocks;
    for (let i = 0; i < places.length; i += 100) {
      h.inject(...places.slice(i, i + 100).map((place) => ({ flags: '.', seq: 1 + place, ack: 1, len: 1 })));
      least = Math.min(least, memory.freeBlocks);
      h.take();
    }
    const { user } = process.cpuUsage(before);
    const used = memory.blockCount - least;
    h.t.ok(used <= 65_536 / BLOCK_SIZE + 2, `${used} blocks`);
    h.t.ok(user / places.length < 200, `${(user / places.length).toFixed(1)} µs a segment, the making of it included`);
    // The first byte, and whatever was pruned: the stream is whole.
    let next = 1;
    while (next <= 60_001) {
      h.inject({ flags: '.', seq: next, ack: 1, len: Math.min(1460, 60_002 - next) });
      h.advance(50);
      next = h.take().at(-1)!.ack!;
    }
    h.recv(s, 65_536, 60_001);
    h.take();
  });
}

t.test('datagrams for sockets that do not read', { timeout: 60_000 }, async (t) => {
  const target = new Target(7, { memory: 4 << 20 });
  const { memory, udp } = target.stack;
  // More sockets than the memory has room for.
  const sockets = Array.from({ length: 60 }, (_, i) => {
    const socket = udp.socket(AF_INET);
    if (typeof socket === 'number') throw new Error('socket');
    if (socket.bind('0.0.0.0', 10_000 + i) < 0) throw new Error('bind');
    return socket;
  });
  const random = new SeededRandom(8);
  let least = memory.freeBlocks;
  for (let i = 0; i < 50_000; i++) {
    target.throw([ipPacket(ip(stranger(random), UDP), udpDatagram(5000, 10_000 + (i % 60), new Uint8Array(random.int32() & 1023)))]);
    least = Math.min(least, memory.freeBlocks);
    if (i % 5000 === 4999) target.talk();
  }
  t.ok(least >= memory.blockCount >> 2, `${least} of ${memory.blockCount} blocks stay free for others`);
  t.ok(sockets.every((socket) => socket.drops > 0), 'every socket has dropped');
  const buffer = new Uint8Array(2000);
  let read = 0;
  for (const socket of sockets) while (socket.recvFrom(buffer, 0, buffer.length) >= 0) read++;
  t.ok(read > 1000, `${read} datagrams were kept`);
  for (const socket of sockets) socket.close();
  target.finish(600e6);
  t.equal(memory.freeBlocks, memory.blockCount);
  target.close();
});
