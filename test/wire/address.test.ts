/** Addresses as text, against node:net's judgement, and RFC 5952's examples. */
import t from 'tap';
import fc from 'fast-check';
import net from 'node:net';
import { formatAddress, isMapped, isUnspecified, parseAddress, parseIpv4 } from '../../lib/wire/address.ts';
import { parseCidr } from '../../lib/ip/cidr.ts';

function round(text: string): string | null {
  const w = parseAddress(text);
  return w === null ? null : formatAddress(w.w0, w.w1, w.w2, w.w3);
}

t.test('RFC 5952', async (t) => {
  const table: [string, string][] = [
    ['2001:0db8:0000:0000:0001:0000:0000:0001', '2001:db8::1:0:0:1'], ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'], ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'], ['2001:DB8::ABCD', '2001:db8::abcd'],
    ['::', '::'], ['0:0:0:0:0:0:0:1', '::1'], ['1::', '1::'], ['1:0:0:2::', '1:0:0:2::'], ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::192.0.2.1', '::c000:201'], ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'], ['fd90::2', 'fd90::2'],
  ];
  for (const [text, canonical] of table) t.equal(round(text), canonical, text);
});

t.test('what is no address', async (t) => {
  const bad = [
    '', '1', '1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '1.2.3.4 ', ' 1.2.3.4', '1.2.3.-4', '0x1.2.3.4', '1..2.3', ':', ':::',
    '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1::2::3', '12345::', 'g::', '::1.2.3', '1.2.3.4::', '1:2:3:4:5:6:7:8::', 'fe80::1%eth0',
    '::1/128', '1:2:3:4:5:6:7:1.2.3.4', '::1.2.3.4:5', ':1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8:',
  ];
  for (const text of bad) {
    t.equal(parseAddress(text), null, JSON.stringify(text));
    if (!text.includes('%')) t.equal(net.isIP(text), 0, 'node:net agrees');
  }
});

t.test('round trips and agrees with node:net', async () => {
  fc.assert(fc.property(fc.ipV4(), (text) => round(text) === text));
  fc.assert(fc.property(fc.ipV6(), (text) => {
    const out = round(text);
    if (out === null || net.isIP(out) === 0) return false;
    return out.includes('.') || JSON.stringify(parseAddress(out)) === JSON.stringify(parseAddress(text));
  }), { numRuns: 2000 });
  fc.assert(fc.property(fc.string({ unit: fc.constantFrom(...'0123456789abcf:.'), maxLength: 24 }), (text) =>
    (parseAddress(text) !== null) === (net.isIP(text) !== 0)), { numRuns: 20_000 });
});

t.test('words', async (t) => {
  t.same(parseAddress('255.255.255.255'), { w0: 0, w1: 0, w2: 0xffff, w3: -1 });
  t.same(parseAddress('ff02::1'), { w0: 0xff020000 | 0, w1: 0, w2: 0, w3: 1 });
  t.equal(parseIpv4('128.0.0.1'), 0x80000001 | 0);
  t.ok(isMapped(0, 0, 0xffff));
  t.ok(isUnspecified(0, 0, 0, 0) && isUnspecified(0, 0, 0xffff, 0));
  t.notOk(isUnspecified(0, 0, 1, 0) || isUnspecified(1, 0, 0, 0) || isUnspecified(0, 0, 0, 1));
});

t.test('CIDR', async (t) => {
  t.same(parseCidr('10.90.0.2/24'), { words: parseAddress('10.90.0.2'), prefix: 24 });
  t.same(parseCidr('fd90::2/64'), { words: parseAddress('fd90::2'), prefix: 64 });
  t.same(parseCidr('0.0.0.0/0'), { words: parseAddress('0.0.0.0'), prefix: 0 });
  t.same(parseCidr('::/0'), { words: parseAddress('::'), prefix: 0 });
  t.same(parseCidr('10.1.2.3'), { words: parseAddress('10.1.2.3'), prefix: 32 });
  t.same(parseCidr('fd90::2'), { words: parseAddress('fd90::2'), prefix: 128 });
  t.same(parseCidr('2001:db8:1:2:3:4:5:6/127')?.prefix, 127);
  const malformed = [
    '10.90.0.2/33', '10.90.0.2/', '10.90.0.2/-1', '10.90.0.2/a', '10.90.0/24', 'fd90::2/129', 'fe80::1%eth0/64', '/24', 'x/8',
    '10.90.0.2/24/1',
  ];
  for (const bad of malformed) t.equal(parseCidr(bad), null, bad);
});
