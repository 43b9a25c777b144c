/** The transmit queue: descriptors, pieces, taking back, and blocks that it owns. */

import t from 'tap';
import { HEADER_SLOT, PacketMemory } from '../../lib/buffer/packet-memory.ts';
import {
  CSUM_PARTIAL, GSO_TCPV4, TransmitQueue, TX_CSUM, TX_FLAGS, TX_GSO_SIZE, TX_GSO_TYPE, TX_HEADER_LENGTH, TX_LENGTH, TX_PIECES,
  TX_STRIDE,
} from '../../lib/buffer/transmit-queue.ts';

function queue(headerSlots = 16): TransmitQueue {
  return new TransmitQueue(new PacketMemory({ size: 1 << 20, headerSlots }));
}

/** Queues a packet of a header of `header` bytes and payload that lies at `pieces`. */
function add(q: TransmitQueue, mark: number, header: number, pieces: [number, number][]): void {
  const at = q.begin(header);
  q.memory.bytes.fill(mark, at, at + header);
  for (const [offset, length] of pieces) q.piece(offset, length);
  q.end(20, 16, GSO_TCPV4, 1460);
}

t.test('a packet is its header and its pieces, in order', (t) => {
  const q = queue();
  const block = q.memory.allocate();
  for (let i = 0; i < 100; i++) q.memory.bytes[block + i] = i;
  t.ok(q.empty);
  add(q, 0xaa, 40, [[block + 10, 5], [block + 50, 3]]);
  t.equal(q.count, 1);
  t.equal(q.packets[TX_LENGTH], 48);
  t.equal(q.packets[TX_PIECES], 3);
  t.equal(q.packets[TX_FLAGS], CSUM_PARTIAL);
  t.equal(q.packets[TX_GSO_TYPE], GSO_TCPV4);
  t.equal(q.packets[TX_GSO_SIZE], 1460);
  t.equal(q.packets[TX_HEADER_LENGTH], 40);
  t.equal(q.packets[TX_CSUM], 20 | (16 << 16));
  const out = new Uint8Array(100);
  t.equal(q.copyPacket(0, out, 2), 48);
  t.same([...out.slice(0, 50)], [0, 0, ...new Array<number>(40).fill(0xaa), 10, 11, 12, 13, 14, 50, 51, 52]);
  t.end();
});

t.test('packets have slots of their own; what is begun and not ended leaves no trace', (t) => {
  const q = queue();
  add(q, 1, 20, []);
  const at = q.begin(30);
  q.piece(0, 10);
  t.equal(q.length, 40);
  t.equal(q.begin(20), at, 'begun anew at the same place');
  q.end(-1, 0, 0, 0);
  t.equal(q.packets[TX_STRIDE + TX_LENGTH], 20);
  t.equal(q.packets[TX_STRIDE + TX_FLAGS], 0);
  t.equal(at, q.memory.headerBase + HEADER_SLOT);
  t.end();
});

t.test('full: begin() gives -1, and after reclaim() there is room again', (t) => {
  const q = queue(4);
  for (let i = 0; i < 4; i++) add(q, i, 20, []);
  t.equal(q.room, 0);
  t.equal(q.begin(20), -1);
  q.head = 2;
  q.reclaim();
  t.equal(q.begin(20), -1, 'descriptors start over only when all have left');
  q.head = 4;
  q.reclaim();
  t.equal(q.head, 0);
  t.equal(q.room, 4);
  t.not(q.begin(20), -1);
  t.end();
});

t.test('pieces run out before packets do: begin() says so in time', (t) => {
  const q = queue(16);
  let packets = 0;
  while (q.begin(20) >= 0) {
    for (let i = 0; i < 20 && q.pieceRoom > 0; i++) q.piece(0, 1);
    q.end(-1, 0, 0, 0);
    packets++;
  }
  t.ok(packets >= 4 && packets < 16, `${packets} packets`);
  let pieces = 0;
  for (let i = 0; i < packets; i++) pieces += q.packets[i * TX_STRIDE + TX_PIECES]!;
  t.ok(pieces * 2 <= q.pieces.length);
  t.end();
});

t.test('takeBack(): the last packet goes, the one before stays', (t) => {
  const q = queue();
  add(q, 1, 20, [[0, 5]]);
  add(q, 2, 20, [[0, 7]]);
  q.takeBack();
  t.equal(q.count, 1);
  t.equal(q.packets[q.tail * TX_STRIDE + TX_LENGTH], 27, 'still readable');
  add(q, 3, 24, []);
  const out = new Uint8Array(100);
  t.equal(q.copyPacket(0, out, 0), 25);
  t.equal(q.copyPacket(1, out, 0), 24);
  t.equal(out[0], 3);
  t.end();
});

t.test('a waiting queue pins the memory; owned blocks are freed when it is empty, also when dropped', (t) => {
  const q = queue();
  const memory = q.memory;
  const a = memory.allocate();
  const b = memory.allocate();
  add(q, 1, 20, [[a, 10]]);
  q.owns(a);
  q.reclaim();
  memory.free(b);
  t.equal(memory.freeBlocks, memory.blockCount - 2, 'kept back');
  q.head = q.tail;
  q.reclaim();
  t.equal(memory.freeBlocks, memory.blockCount);
  const c = memory.allocate();
  add(q, 1, 20, [[c, 10]]);
  q.owns(c);
  t.equal(q.clear(), 1);
  t.equal(memory.freeBlocks, memory.blockCount);
  t.end();
});
