/** The stream buffer against an array of bytes, with gaps, and with a memory that runs out; no block is ever lost. */

import fc from 'fast-check';
import t from 'tap';
import { BLOCK_SIZE, PacketMemory } from '../../lib/buffer/packet-memory.ts';
import { StreamBuffer } from '../../lib/buffer/stream-buffer.ts';
import { TransmitQueue } from '../../lib/buffer/transmit-queue.ts';

const source = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 97 + (i >> 8) * 31 + 5) & 0xff);

type Step =
  | { kind: 'put'; at: number; length: number; from: number }
  | { kind: 'drop'; length: number }
  | { kind: 'clear' };

const steps = fc.array(fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('put' as const), at: fc.nat(60_000), length: fc.nat(30_000), from: fc.nat(60_000) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('drop' as const), length: fc.nat(40_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('clear' as const) }) },
), { maxLength: 60 });

function run(memory: PacketMemory, list: Step[]): void {
  const total = memory.freeBlocks;
  const buffer = new StreamBuffer(memory);
  const out = new Uint8Array(100_000);
  const queue = new TransmitQueue(memory);
  /** Stream position → byte, from `base` on. */
  let model = new Map<number, number>();
  let base = 0;
  for (const step of list) {
    if (step.kind === 'put') {
      const stored = buffer.put(step.at, source, step.from, step.length);
      if (stored > step.length || stored < step.length && memory.freeBlocks > 0) throw new Error(`stored ${stored}`);
      for (let i = 0; i < stored; i++) model.set(base + step.at + i, source[step.from + i]!);
    } else if (step.kind === 'drop') {
      buffer.drop(step.length);
      base += step.length;
      for (const position of model.keys()) if (position < base) model.delete(position);
    } else {
      buffer.clear();
      model = new Map();
      if (memory.freeBlocks !== total) throw new Error('blocks left after clear()');
    }
    // Runs of bytes that are there can be copied out, and named as pieces.
    const positions = [...model.keys()].sort((a, b) => a - b);
    for (let i = 0; i < positions.length;) {
      let end = i + 1;
      while (end < positions.length && positions[end] === positions[end - 1]! + 1) end++;
      const at = positions[i]! - base;
      const length = end - i;
      buffer.copyOut(at, out, 0, length);
      for (let k = 0; k < length; k++) if (out[k] !== model.get(positions[i]! + k)) throw new Error(`byte ${at + k}`);
      const named = Math.min(length, 60_000);
      queue.begin(0);
      buffer.addPieces(at, named, queue);
      queue.end(-1, 0, 0, 0);
      if (queue.copyPacket(queue.head, out, 0) !== named) throw new Error('pieces');
      for (let k = 0; k < named; k++) if (out[k] !== model.get(positions[i]! + k)) throw new Error(`piece byte ${at + k}`);
      queue.clear();
      i = end;
    }
  }
  buffer.clear();
  if (memory.freeBlocks !== total) throw new Error('a block was lost');
}

t.test('puts at any place, drops, clears', (t) => {
  fc.assert(fc.property(steps, (list) => run(new PacketMemory({ size: 2 << 20 }), list)), { numRuns: 150 });
  t.pass();
  t.end();
});

t.test('the same with a memory that runs out', (t) => {
  fc.assert(fc.property(steps, fc.integer({ min: 1, max: 8 }), (list, blocks) => {
    const memory = new PacketMemory({ size: 1 << 20 });
    while (memory.freeBlocks > blocks) memory.allocate();
    run(memory, list);
  }), { numRuns: 150 });
  t.pass();
  t.end();
});

t.test('a stream that goes on for long holds few blocks, and a gap holds none', (t) => {
  const memory = new PacketMemory({ size: 2 << 20 });
  const buffer = new StreamBuffer(memory);
  for (let i = 0; i < 5000; i++) {
    buffer.put(0, source, i, 1460);
    buffer.drop(1460);
  }
  t.ok(memory.blockCount - memory.freeBlocks <= 1);
  buffer.clear();
  buffer.put(40 * BLOCK_SIZE, source, 0, 10);
  t.equal(memory.blockCount - memory.freeBlocks, 1, 'forty blocks on, one block is held');
  buffer.drop(40 * BLOCK_SIZE + 10);
  buffer.clear();
  t.equal(memory.freeBlocks, memory.blockCount);
  t.end();
});
