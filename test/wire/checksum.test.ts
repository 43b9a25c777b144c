/** Ones' complement sums against the plainest reference, edges, and RFC examples. */
import t from 'tap';
import fc from 'fast-check';
import {
  checksum, fold, subtractSum, sumAddress, sumBytes, sumContinued, sumWords2, swap16, updateChecksum,
} from '../../lib/wire/checksum.ts';

function reference(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

/** The bytes at an offset of a larger buffer, with noise on both sides. */
function placed(bytes: Uint8Array, offset: number): DataView {
  const buffer = new Uint8Array(offset + bytes.length + 8).fill(0xa5);
  buffer.set(bytes, offset);
  return new DataView(buffer.buffer);
}

t.test('the example of RFC 1071 section 3', async (t) => {
  const view = placed(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7), 0);
  t.equal(sumBytes(view, 0, 8), 0xddf2);
  t.equal(checksum(view, 0, 8), 0x220d);
});

t.test('equals the reference at every alignment and length', async (t) => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(7), (bytes, offset) => {
    const view = placed(bytes, offset);
    const sum = sumBytes(view, offset, bytes.length);
    return sum === reference(bytes) && checksum(view, offset, bytes.length) === (~sum & 0xffff);
  }), { numRuns: 3000 });
  for (let n = 0; n < 130; n++) {
    const ones = new Uint8Array(n).fill(0xff);
    t.equal(sumBytes(placed(ones, 1), 1, n), reference(ones), `${n} bytes of ones`);
  }
});

t.test('the largest packets', async (t) => {
  for (const n of [65535, 65536, 131071]) {
    const ones = new Uint8Array(n).fill(0xff);
    t.equal(sumBytes(placed(ones, 0), 0, n), reference(ones), `${n} bytes of ones`);
    const noise = Uint8Array.from({ length: n }, (_, i) => (i * i * 31 + (i >> 3)) & 0xff);
    t.equal(sumBytes(placed(noise, 2), 2, n), reference(noise), `${n} bytes of noise`);
  }
});

t.test('both zeros', async (t) => {
  const zeros = placed(new Uint8Array(40), 0);
  t.equal(sumBytes(zeros, 0, 40), 0, 'only zeros sum to 0');
  t.equal(checksum(zeros, 0, 40), 0xffff);
  t.equal(sumBytes(placed(Uint8Array.of(0xff, 0xff), 0), 0, 2), 0xffff, 'what complements itself sums to 0xffff');
  t.equal(sumBytes(placed(Uint8Array.of(0x12, 0x34, 0xed, 0xcb), 0), 0, 4), 0xffff);
  t.equal(checksum(placed(Uint8Array.of(0x12, 0x34, 0xed, 0xcb), 0), 0, 4), 0);
  t.equal(fold(0), 0);
  t.equal(fold(0xffff), 0xffff);
  t.equal(fold(0x10000), 1);
  t.equal(fold(0x1fffe), 0xffff);
  t.equal(fold(2 ** 48 - 1), 0xffff);
  t.equal(fold(2 ** 32), 1);
});

t.test('in parts, odd ones too', async () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 8 }), (parts) => {
    const whole = Uint8Array.from(parts.flatMap((p) => [...p]));
    let sum = 0;
    let position = 0;
    for (const part of parts) {
      sum = sumContinued(sum, position, placed(part, 3), 3, part.length);
      position += part.length;
    }
    return fold(sum) === reference(whole);
  }), { numRuns: 2000 });
});

t.test('words, addresses, subtraction, update', async (t) => {
  fc.assert(fc.property(fc.integer(), fc.integer(), fc.integer(), fc.integer(), fc.uint8Array({ maxLength: 20 }), (a, b, c, d, rest) => {
    const bytes = new Uint8Array(16 + rest.length);
    const view = new DataView(bytes.buffer);
    [a, b, c, d].forEach((w, i) => view.setInt32(i * 4, w));
    bytes.set(rest, 16);
    const whole = sumBytes(view, 0, bytes.length);
    const same = (x: number, y: number): boolean => x % 0xffff === y % 0xffff;
    return fold(sumAddress(a, b, c, d)) === sumBytes(view, 0, 16) && fold(sumWords2(a, b)) === sumBytes(view, 0, 8)
      && same(subtractSum(whole, sumBytes(view, 0, 16)), sumBytes(view, 16, rest.length));
  }));
  t.equal(swap16(0x1234), 0x3412);
  t.equal(updateChecksum(0xdd2f, 0x5555, 0x3285), 0x0000, 'the example of RFC 1624 section 4');
});
