/** Packet memory: layout, the free list, exhaustion, and blocks that queued packets still name. */

import fc from 'fast-check';
import t from 'tap';
import { BLOCK_SIZE, copyBytes, HEADER_SLOT, PacketMemory } from '../../lib/buffer/packet-memory.ts';

t.test('the layout: slab, header slots, blocks, apart from each other', (t) => {
  const memory = new PacketMemory({ size: 4 << 20 });
  t.ok(memory.headerBase >= memory.rxBytes);
  t.ok(memory.blockBase >= memory.headerBase + memory.headerSlots * HEADER_SLOT);
  t.equal(memory.blockBase % BLOCK_SIZE, 0);
  t.ok(memory.blockBase + memory.blockCount * BLOCK_SIZE <= memory.bytes.length);
  t.equal(memory.bytes.buffer, memory.buffer);
  t.equal(memory.freeBlocks, memory.blockCount);
  t.throws(() => new PacketMemory({ size: 3e9 }), RangeError);
  t.throws(() => new PacketMemory({ size: 1 << 20, headerSlots: 8000 }), RangeError);
  t.end();
});

t.test('blocks are given once, come back, and run out', (t) => {
  const memory = new PacketMemory({ size: 1 << 20 });
  const taken = new Set<number>();
  for (let i = 0; i < memory.blockCount; i++) taken.add(memory.allocate());
  t.equal(taken.size, memory.blockCount);
  t.equal(memory.freeBlocks, 0);
  t.equal(memory.allocate(), -1);
  t.equal(memory.exhausted, 1);
  for (const block of taken) memory.free(block);
  t.equal(memory.freeBlocks, memory.blockCount);
  t.end();
});

t.test('while pinned, freed blocks are kept back; whatever the order, none is lost or given twice', (t) => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.constant('take') }, { weight: 4, arbitrary: fc.constant('free') }, fc.constant('pin'), fc.constant('unpin'),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
    const memory = new PacketMemory({ size: 1 << 20 });
    const held: number[] = [];
    const kept = new Set<number>();
    let pinned = false;
    for (const step of steps) {
      if (step === 'take') {
        const block = memory.allocate();
        if (block < 0) {
          if (memory.freeBlocks !== 0) throw new Error('refused');
          continue;
        }
        if (held.includes(block) || kept.has(block)) throw new Error('given twice');
        held.push(block);
      } else if (step === 'free' && held.length > 0) {
        const block = held.shift()!;
        memory.free(block);
        if (pinned) kept.add(block);
      } else if (step === 'pin') {
        memory.pin();
        pinned = true;
      } else if (step === 'unpin') {
        memory.unpin();
        pinned = false;
        kept.clear();
      }
      if (memory.freeBlocks !== memory.blockCount - held.length - kept.size) throw new Error('count');
    }
  }), { numRuns: 300 });
  t.pass();
  t.end();
});

t.test('copyBytes: short and long, within one array with overlap, and between two', (t) => {
  for (const length of [0, 1, 23, 24, 25, 100, 1000]) {
    const from = Uint8Array.from({ length: 1100 }, (_, i) => i & 0xff);
    const to = new Uint8Array(1100);
    copyBytes(to, 7, from, 3, length);
    t.same([...to], [...new Uint8Array(7), ...from.slice(3, 3 + length), ...new Uint8Array(1100 - 7 - length)], `${length} bytes`);
    const model = from.slice();
    model.copyWithin(50, 0, length);
    copyBytes(from, 50, from, 0, length);
    if (length > 24) t.same(from, model, 'overlapping');
  }
  t.end();
});
