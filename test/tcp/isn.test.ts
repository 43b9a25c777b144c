/** SipHash-2-4 against the vectors of its reference implementation; initial sequence numbers (RFC 6528). */

import t from 'tap';
import { SeededRandom } from '../../lib/random.ts';
import { FlowSecrets, sipHash, sipHigh } from '../../lib/tcp/isn.ts';
import { TCP_SYNCNT, IPPROTO_TCP } from '../../lib/socket.ts';
import { Harness } from './harness.ts';
import type { Test } from './harness.ts';

t.test('SipHash-2-4: key 00 01 … 0f, messages 00 01 … of 0, 8, 16 … bytes', (t) => {
  const vectors = [
    '310e0edd47db6f72', '6224939a79f5f593', 'db9bc2577fcc2a3f', '94af49f6c650adb8', 'ce7cf2722f512771', 'd0a704536ba93e0e',
    '51a9cb9ecba312e6', 'bd838d3aafbf8db7',
  ];
  const message = new DataView(new ArrayBuffer(64));
  for (let i = 0; i < 64; i++) message.setUint8(i, i);
  const word = (i: number): number => message.getInt32(i * 4, true);
  const key = { k0l: word(0), k0h: word(1), k1l: word(2), k1h: word(3) };
  for (let n = 0; n < vectors.length; n++) {
    const words = Int32Array.from({ length: n * 2 }, (_, i) => word(i));
    const out = new DataView(new ArrayBuffer(8));
    out.setInt32(0, sipHash(key, words, n * 2), true);
    out.setInt32(4, sipHigh(), true);
    t.equal(Buffer.from(out.buffer).toString('hex'), vectors[n], `${n * 8} bytes`);
  }
  t.end();
});

t.test('every part of the flow changes the ISN; so does the secret', (t) => {
  const a = new FlowSecrets(new SeededRandom(1));
  const b = new FlowSecrets(new SeededRandom(2));
  type Flow = [number, number, number, number, number, number, number, number, number];
  const base: Flow = [0, 0, 0xffff, 1, 0, 0, 0xffff, 2, (80 << 16) | 5000];
  const seen = new Set<number>();
  seen.add(a.isn(...base, 0));
  for (let i = 0; i < 9; i++) {
    const other: Flow = [...base];
    other[i] = other[i]! ^ 1;
    seen.add(a.isn(...other, 0));
  }
  seen.add(b.isn(...base, 0));
  t.equal(seen.size, 11);
  t.equal((a.isn(...base, 1234) - a.isn(...base, 0)) | 0, 1234, 'and the clock is added');
  t.not(a.timestampOffset(...(base.slice(0, 8) as [number, number, number, number, number, number, number, number])), 0);
  t.end();
});

t.test('the ISN of one flow grows by 250 a millisecond, without a break (MUST-8)', (t) => {
  const h = new Harness(t as unknown as Test, { ownIsn: true });
  const isn = (): number => {
    const s = h.socket();
    s.setsockopt(IPPROTO_TCP, TCP_SYNCNT, 1);
    s.bind('', 5000);
    s.connect('10.90.0.1', 7000);
    const raw = (h.take()[0]!.seq + h.iss) | 0;
    s.close();
    h.take();
    return raw;
  };
  let last = isn();
  for (const minutes of [0.001, 1, 30, 41, 72, 100, 300, 600, 40 * 24 * 60]) {
    h.advance(minutes * 60_000);
    const next = isn();
    t.equal((next - last) | 0, Math.imul(minutes * 60_000, 250), `${minutes} minutes later`);
    last = next;
  }
  h.end();
  t.end();
});

t.test('ports and numbers of two flows have nothing to do with each other', (t) => {
  const h = new Harness(t as unknown as Test, { ownIsn: true });
  const numbers: number[] = [];
  const ports: number[] = [];
  for (let i = 0; i < 20; i++) {
    const s = h.socket();
    s.connect('10.90.0.1', 7000 + i);
    const out = h.take()[0]!;
    numbers.push((out.seq + h.iss) | 0);
    ports.push(out.srcPort);
    t.ok(out.srcPort >= 32768 && out.srcPort <= 60999);
    s.close();
  }
  t.equal(new Set(numbers).size, 20);
  t.ok(new Set(numbers.map((n) => n >>> 24)).size > 10, 'they are spread');
  t.ok(new Set(ports.map((p) => p >> 10)).size > 5, 'so are ports to different destinations (RFC 6056)');
  h.end();
  t.end();
});
