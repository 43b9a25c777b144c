/**
 * The rings of a channel: what is written arrives, in order and unchanged, across the end of the ring and
 * the wrap of its positions; and neither side can be led out of the ring by what the other writes.
 */

import fc from 'fast-check';
import t from 'tap';
import { PAD, RECORD_LENGTH, RECORD_TYPE, RingReader, RingWriter } from '../../lib/channel/ring.ts';
import { MIN_RING, RX_HEAD, RX_TAIL, TX_HEAD, TX_TAIL, Window, windowFault, windowLength } from '../../lib/channel/window.ts';
import type { WindowSizes } from '../../lib/channel/window.ts';
import { SeededRandom } from '../../lib/random.ts';

/** A ring this small wraps often. It lies where the transmit ring does, with memory around it to be watched. */
const SIZE = 512;
const SMALL: WindowSizes = { rxRing: 4096, txRing: 4096, call: 4096, memory: 4096 };
const SIZES: WindowSizes = { rxRing: MIN_RING, txRing: MIN_RING, call: 4096, memory: 1 << 20 };
const CANARY = 0x5a5a5a5a;

class Ring {
  readonly window = new Window(new ArrayBuffer(windowLength(SMALL)), 0, SMALL);
  readonly base = this.window.txRing;
  readonly writer: RingWriter;
  readonly reader: RingReader;

  /** Both positions begin at `start`. */
  constructor(start = 0) {
    const { words } = this.window;
    words.fill(CANARY);
    words[TX_TAIL] = start;
    words[TX_HEAD] = start;
    this.writer = new RingWriter(this.window, this.base, SIZE, TX_HEAD, TX_TAIL);
    this.reader = new RingReader(this.window, this.base, SIZE, TX_HEAD, TX_TAIL);
  }

  /** First word outside of the ring and the two positions that was written to, or -1. */
  strayed(): number {
    const { words } = this.window;
    const low = this.base >> 2;
    const high = (this.base + SIZE) >> 2;
    for (let i = 0; i < words.length; i++) {
      if (words[i] !== CANARY && i !== TX_TAIL && i !== TX_HEAD && (i < low || i >= high)) return i;
    }
    return -1;
  }

  /** Whether a record at word `w` lies in the ring. */
  inside(w: number, length: number): boolean {
    return Number.isInteger(w) && w * 4 >= this.base && length >= 8 && w * 4 + length <= this.base + SIZE;
  }
}

type Step = { kind: 'write' | 'drop'; length: number } | { kind: 'publish' | 'release' } | { kind: 'read'; most: number };

const steps = fc.array(fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('write' as const), length: fc.integer({ min: 8, max: 200 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), length: fc.integer({ min: 8, max: 200 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('publish' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('read' as const), most: fc.nat(6) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const) }) },
) as fc.Arbitrary<Step>, { maxLength: 300, size: 'max' });

/** Where positions begin: anywhere, or just before int32 wraps, or unsigned 32 bits do. */
const starts = fc.oneof(fc.integer().map((n) => n & ~7), fc.constantFrom(0x7ffffff8, 0x7fffff00, -8, -0x100, 0));

function run(start: number, list: readonly Step[]): void {
  const ring = new Ring(start);
  const { writer, reader, window: { words } } = ring;
  const written: { length: number; mark: number }[] = [];
  let published = 0;
  let read = 0;
  let mark = 1;
  /** The model: bytes from the start to what was written, and given back. */
  let tail = 0;
  let released = 0;
  const ends: number[] = [0];
  const place = (length: number): { at: number; fits: boolean } => {
    const at = (start + tail) & (SIZE - 1);
    const pad = at + length > SIZE ? SIZE - at : 0;
    return { at: tail + pad + length, fits: tail + pad + length - released <= SIZE };
  };
  for (const step of list) {
    if (step.kind === 'write' || step.kind === 'drop') {
      const length = (step.length + 7) & ~7;
      const { at, fits } = place(length);
      if (writer.hasRoom(step.length) !== fits) throw new Error(`hasRoom says ${!fits}`);
      const w = writer.reserve(7, step.length);
      if ((w >= 0) !== fits) throw new Error(`reserve gives ${w}`);
      if (w < 0) continue;
      if (!ring.inside(w, length)) throw new Error(`record outside of the ring: ${w}`);
      for (let i = 2; i < length >> 2; i++) words[w + i] = mark + i;
      if (step.kind === 'drop') continue;
      writer.commit();
      written.push({ length, mark });
      mark += 1000;
      tail = at;
      ends.push(tail);
    } else if (step.kind === 'publish') {
      if (writer.publish() !== published < written.length) throw new Error('publish');
      published = written.length;
    } else if (step.kind === 'read') {
      for (let i = 0; i < step.most; i++) {
        const w = reader.next();
        // It may look only when it has come to the end of what it has seen, and then sees all that was published.
        if (w < 0) {
          if (read !== published) throw new Error(`record ${read} of ${published} does not arrive`);
          break;
        }
        const want = written[read++]!;
        if (read > published) throw new Error('read before it was published');
        if (reader.length !== want.length || words[w + RECORD_TYPE] !== 7) throw new Error('another record');
        for (let i = 2; i < want.length >> 2; i++) if (words[w + i] !== want.mark + i) throw new Error('changed');
      }
    } else {
      reader.release();
      // Padding in front of a record is given back with it.
      released = ends[read]!;
    }
    if (writer.unpublished !== published < written.length) throw new Error('unpublished');
    if (reader.waiting !== read < published) throw new Error('waiting');
    if (writer.position !== ((start + tail) | 0)) throw new Error('position');
    if (writer.isPast((start + tail) | 0) !== (released === tail)) throw new Error('isPast');
    if (writer.used !== tail - released) throw new Error(`used ${writer.used}`);
    if (writer.broken || reader.broken) throw new Error('broken');
  }
  const strayed = ring.strayed();
  if (strayed >= 0) throw new Error(`word ${strayed} was written to`);
}

t.test('records arrive in order and unchanged, whatever their lengths, wherever positions wrap', (t) => {
  fc.assert(fc.property(starts, steps, run), { numRuns: 600 });
  t.pass();
  t.end();
});

t.test('a full ring takes no more, and takes again what was given back', (t) => {
  const { writer, reader } = new Ring(-64);
  let count = 0;
  while (writer.reserve(1, 64) >= 0) {
    writer.commit();
    count++;
  }
  t.equal(count, SIZE / 64, 'full to the last byte');
  t.equal(writer.hasRoom(8), false);
  writer.publish();
  t.equal(writer.used, SIZE);
  t.ok(reader.next() >= 0);
  t.equal(writer.reserve(1, 64), -1, 'read is not given back');
  reader.release();
  t.ok(writer.reserve(1, 64) >= 0);
  t.equal(writer.reserve(1, SIZE + 8), -1, 'longer than the ring');
  t.equal(writer.reserve(1, 0x7ffffff0), -1);
  t.notOk(writer.broken || reader.broken);
  t.end();
});

/** Words that a hostile side might write: around the ring's own numbers, and anything. */
const hostileWord = fc.oneof(
  fc.integer(), fc.integer({ min: -16, max: 2 * SIZE }), fc.constantFrom(0, 1, 7, 8, SIZE, SIZE - 8, -1, -8, 0x7fffffff, -0x80000000),
  fc.integer({ min: 0, max: SIZE / 8 }).map((n) => n * 8),
);

t.test('a reader whose writer lies stays in the ring, and comes to an end', (t) => {
  const rounds = fc.array(fc.record({
    honest: fc.array(fc.integer({ min: 8, max: 160 }), { maxLength: 8 }),
    scribbles: fc.array(fc.record({ at: fc.integer({ min: 0, max: SIZE / 4 - 1 }), word: hostileWord }), { maxLength: 2 }),
    lie: fc.oneof(
      { weight: 9, arbitrary: fc.constant(null) },
      { weight: 1, arbitrary: fc.record({ tail: hostileWord, relative: fc.boolean() }) },
    ),
    release: fc.boolean(),
  }), { minLength: 1, maxLength: 20, size: 'max' });
  let broken = 0;
  let taken = 0;
  fc.assert(fc.property(starts, fc.integer(), rounds, (start, seed, list) => {
    const ring = new Ring(start);
    const { reader, writer, window: { words }, base } = ring;
    const random = new SeededRandom(seed);
    let sinceRelease = 0;
    for (const { honest, scribbles, lie, release } of list) {
      for (const length of honest) {
        const w = writer.reserve(1, length);
        if (w < 0) continue;
        for (let i = 2; i < length >> 2; i++) words[w + i] = random.int32() & 0x3f8;
        writer.commit();
      }
      writer.publish();
      for (const { at, word } of scribbles) words[(base >> 2) + at] = word;
      if (lie !== null) words[TX_TAIL] = lie.relative ? (words[TX_TAIL]! + lie.tail) | 0 : lie.tail;
      for (;;) {
        const wasBroken = reader.broken;
        const w = reader.next();
        if (w < 0) break;
        if (wasBroken) throw new Error('goes on although it is broken');
        if (!ring.inside(w, reader.length) || (reader.length & 7) !== 0) throw new Error(`outside: ${w}, ${reader.length}`);
        sinceRelease += reader.length;
        if (sinceRelease > SIZE) throw new Error('more than the ring holds');
        taken++;
        // The other side may write on while we read: it never gets more out of us than the ring holds.
        if ((random.int32() & 63) === 0) words[TX_TAIL] = (words[TX_TAIL]! + 8 * (random.int32() & 7)) | 0;
      }
      if (release) {
        reader.release();
        sinceRelease = 0;
      }
      if (reader.broken && (reader.waiting || reader.next() >= 0)) throw new Error('broken is for good');
    }
    if (reader.broken) broken++;
    const strayed = ring.strayed();
    if (strayed >= 0) throw new Error(`word ${strayed} was written to`);
  }), { numRuns: 1500 });
  t.ok(broken > 300 && taken > 5000, `${broken} of 1500 were found out, ${taken} records were taken`);
  t.end();
});

t.test('a writer whose reader lies stays in the ring', (t) => {
  const lengths = fc.array(fc.integer({ min: 8, max: SIZE }), { maxLength: 20 });
  const rounds = fc.array(fc.record({ head: hostileWord, relative: fc.boolean(), lengths }), { minLength: 1, maxLength: 12, size: 'max' });
  let broken = 0;
  fc.assert(fc.property(starts, rounds, (start, list) => {
    const ring = new Ring(start);
    const { writer, window: { words } } = ring;
    for (const { head, relative, lengths } of list) {
      words[TX_HEAD] = relative ? (words[TX_TAIL]! + head) | 0 : head;
      let got = 0;
      for (const length of lengths) {
        const w = writer.reserve(3, length);
        if (w < 0) continue;
        if (!ring.inside(w, (length + 7) & ~7)) throw new Error(`outside: ${w}, ${length}`);
        words.fill(0x33333333, w, w + ((length + 7) >> 3) * 2);
        writer.commit();
        got += length;
        if (got > 2 * SIZE) throw new Error('more than the ring holds');
        if ((got & 1) === 0) writer.publish();
      }
      writer.publish();
      if (writer.used < 0 || writer.used > SIZE) throw new Error(`used ${writer.used}`);
    }
    if (writer.broken) broken++;
    const strayed = ring.strayed();
    if (strayed >= 0) throw new Error(`word ${strayed} was written to`);
  }), { numRuns: 1500 });
  t.ok(broken > 300, `${broken} of 1500 were found out`);
  t.end();
});

t.test('lies that a reader finds out', (t) => {
  const cases: [string, (ring: Ring) => void][] = [
    ['a tail before the head', ({ window: { words } }) => words[TX_TAIL]! -= 8],
    ['a tail beyond the ring', ({ window: { words } }) => words[TX_TAIL]! += SIZE + 8],
    ['a tail half the numbers away', ({ window: { words } }) => words[TX_TAIL] = (words[TX_TAIL]! + 0x80000000) | 0],
    ['a tail that is no multiple of 8', ({ window: { words } }) => words[TX_TAIL]! += 4],
    ['a record of no length', (ring) => put(ring, 0)],
    ['a record that is all too short', (ring) => put(ring, 4)],
    ['a record of negative length', (ring) => put(ring, -8)],
    ['a record of the least length', (ring) => put(ring, -0x80000000)],
    ['a record of odd length', (ring) => put(ring, 20)],
    ['a record longer than what was published', (ring) => put(ring, 40)],
    ['a record across the end of the ring', (ring) => {
      ring.window.words[TX_TAIL]! += SIZE;
      ring.window.words[(ring.base + SIZE - 64) / 4 + RECORD_LENGTH] = 128;
    }],
    // A pad fills the end of the ring. Elsewhere it would be a way to keep the reader busy for nothing.
    ['padding in the middle of the ring', (ring) => {
      put(ring, 16);
      const w = (ring.base + SIZE - 64) / 4;
      ring.window.words[w + RECORD_TYPE] = PAD;
      ring.window.words[w + 4 + RECORD_LENGTH] = 16;
      ring.window.words[w + 4 + RECORD_TYPE] = 1;
    }],
  ];
  for (const [name, lie] of cases) {
    // 64 bytes are left up to the end of the ring.
    const ring = new Ring(-64);
    lie(ring);
    t.equal(ring.reader.next(), -1, name);
    t.ok(ring.reader.broken, `${name}: broken`);
    t.equal(ring.reader.next(), -1);
  }
  function put(ring: Ring, length: number): void {
    const { window: { words } } = ring;
    words[TX_TAIL]! += 32;
    words[(ring.base + SIZE - 64) / 4 + RECORD_LENGTH] = length;
    words[(ring.base + SIZE - 64) / 4 + RECORD_TYPE] = 1;
  }
  // A position taken back after it was seen.
  const ring = new Ring();
  ring.writer.reserve(1, 64);
  ring.writer.commit();
  ring.writer.publish();
  t.ok(ring.reader.waiting);
  ring.window.words[TX_TAIL]! -= 8;
  t.ok(ring.reader.next() >= 0, 'what was seen');
  t.notOk(ring.reader.waiting);
  t.ok(ring.reader.broken, 'a tail that went back');
  t.end();
});

t.test('lies that a writer finds out', (t) => {
  const cases: [string, number][] = [
    ['a head before the ring', -SIZE - 8], ['a head beyond the tail', 8], ['a head far away', 0x40000000],
  ];
  for (const [name, head] of cases) {
    const ring = new Ring(0x7fffff00);
    const { writer, window: { words } } = ring;
    for (let i = 0; i < SIZE / 64; i++) {
      writer.reserve(1, 64);
      writer.commit();
    }
    writer.publish();
    words[TX_HEAD] = (words[TX_TAIL]! + head) | 0;
    t.equal(writer.reserve(1, 64), -1, name);
    t.ok(writer.broken, `${name}: broken`);
    t.notOk(writer.hasRoom(8));
  }
  const { writer, window: { words } } = new Ring();
  writer.reserve(1, 64);
  writer.commit();
  writer.publish();
  words[TX_HEAD] = 64;
  t.equal(writer.used, 0);
  words[TX_HEAD] = 0;
  t.equal(writer.used, 0, 'a head that went back is not believed');
  t.ok(writer.broken);
  t.end();
});

t.test('a receive ring of 256 KiB takes the largest segment wherever it stands; sizes that cannot be are named', (t) => {
  const sizes = { ...SIZES, rxRing: 256 << 10 };
  const window = new Window(new ArrayBuffer(windowLength(sizes)), 0, sizes);
  const writer = new RingWriter(window, window.rxRing, sizes.rxRing, RX_HEAD, RX_TAIL);
  const reader = new RingReader(window, window.rxRing, sizes.rxRing, RX_HEAD, RX_TAIL);
  const random = new SeededRandom(5);
  for (let i = 0; i < 5000; i++) {
    const length = i % 2 === 0 ? 64 + 65_535 : 64 + ((random.int32() >>> 0) % 2000);
    if (writer.reserve(1, length) < 0) throw new Error(`no room for ${length} bytes at ${writer.position & (sizes.rxRing - 1)}`);
    writer.commit();
    writer.publish();
    reader.next();
    reader.release();
  }
  for (const bad of [
    { rxRing: 1 << 17 }, { txRing: 3 << 16 }, { rxRing: 1 << 30 }, { txRing: 2 << 20 }, { memory: (1 << 20) + 1 }, { call: 0 }, { rxRing: NaN },
    { memory: 1.5 },
  ]) {
    t.type(windowFault({ ...sizes, ...bad }), 'string', JSON.stringify(bad));
  }
  t.equal(windowFault(sizes), null);
  t.end();
});
