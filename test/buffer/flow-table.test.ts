/** The flow table against a Map, through growth and removals. */

import fc from 'fast-check';
import t from 'tap';
import { FlowTable, portPair } from '../../lib/buffer/flow-table.ts';

type Key = [number, number, number, number, number, number, number, number, number];

/** Few different keys, so that they meet again; some differ in one word only. */
function key(n: number): Key {
  const k: Key = [0, 0, 0xffff, 0x0a5a0002, 0, 0, 0xffff, 0x0a5a0001, portPair(80, 1000)];
  k[n % 9] = (k[n % 9]! + (n >> 2)) | 0;
  if (n % 3 === 0) k[8] = portPair(65535, n & 0xffff);
  return k;
}

t.test('find, insert and remove do what a Map does', (t) => {
  const steps = fc.array(fc.record({ n: fc.nat(600), insert: fc.boolean() }), { maxLength: 1500 });
  fc.assert(fc.property(fc.integer(), steps, (seed, steps) => {
    const table = new FlowTable(seed);
    const model = new Map<string, { entry: number; value: number; key: Key }>();
    for (const { n, insert } of steps) {
      const k = key(n);
      const name = k.join();
      const known = model.get(name);
      const found = table.find(...k);
      if (found !== (known === undefined ? -1 : known.entry)) throw new Error(`find ${name}`);
      if (known !== undefined && table.values[found] !== known.value) throw new Error('value');
      if (insert && known === undefined) model.set(name, { entry: table.insert(...k, n), value: n, key: k });
      if (!insert && known !== undefined) {
        table.remove(known.entry);
        model.delete(name);
      }
      if (table.size !== model.size) throw new Error('size');
    }
    const entries = new Set<number>();
    for (const { entry, value, key: k } of model.values()) {
      if (table.find(...k) !== entry || table.values[entry] !== value) throw new Error('lost');
      for (let i = 0; i < 9; i++) if (table.key(entry, i) !== k[i]) throw new Error('key');
      entries.add(entry);
    }
    if (entries.size !== model.size) throw new Error('two keys at one entry');
  }), { numRuns: 150 });
  t.pass();
  t.end();
});

t.test('a hundred thousand flows: an entry keeps its index, room is used again', (t) => {
  const table = new FlowTable(99);
  const at = (i: number): Key => [0, 0, 0xffff, 1, 0, 0, 0xffff, i >> 14, portPair(80, i & 0x3fff)];
  const entries = Array.from({ length: 100_000 }, (_, i) => table.insert(...at(i), i));
  t.ok(entries.every((entry, i) => table.find(...at(i)) === entry && table.values[entry] === i));
  for (let i = 0; i < 100_000; i += 2) table.remove(entries[i]!);
  t.equal(table.size, 50_000);
  t.ok(entries.every((entry, i) => table.find(...at(i)) === ((i & 1) === 1 ? entry : -1)));
  const length = table.values.length;
  for (let i = 0; i < 100_000; i += 2) table.insert(...at(i), i);
  t.equal(table.values.length, length, 'no growth');
  t.end();
});

t.test('flows of one peer spread well, whatever the ports', (t) => {
  // Linear probing is quick only while runs are short: 20,000 finds of present keys must not take long walks.
  for (const step of [1, 2, 256, 1024]) {
    const table = new FlowTable(0x12345678);
    const at = (i: number): Key => [0, 0, 0xffff, 1, 0, 0, 0xffff, ((i * step) >> 16) + 2, portPair(80, (i * step) & 0xffff)];
    const keys = Array.from({ length: 20_000 }, (_, i) => at(i));
    keys.forEach((k, i) => table.insert(...k, i));
    t.equal(table.size, 20_000);
    let ns = Infinity;
    for (let r = 0; r < 5; r++) {
      const start = process.hrtime.bigint();
      for (const k of keys) if (table.find(...k) < 0) throw new Error('lost');
      ns = Math.min(ns, Number(process.hrtime.bigint() - start) / 20_000);
    }
    t.ok(ns < 5000, `${ns.toFixed(0)} ns a lookup with ports ${step} apart`);
  }
  t.end();
});
