/** Fragments: any order, duplicates, overlaps, time limits, bounds. */
import t from 'tap';
import fc from 'fast-check';
import {
  OURS4, OURS6, PEER4, PEER6, World, concat, fragmentHeader, icmp, icmpv6, ipv4, ipv6, parse, pattern, udp,
} from './harness.ts';

interface Cut {
  offset: number;
  length: number;
}

/** A datagram's fragments of `share` bytes each, as packets. */
function cut4(payload: Uint8Array, share: number, id = 7, tos = 0): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += share) {
    const more = at + share < payload.length;
    out.push(ipv4(payload.subarray(at, at + share), { id, tos, fragment: (at / 8) | (more ? 0x2000 : 0) }));
  }
  return out;
}

function cut6(payload: Uint8Array, share: number, id = 7, before: readonly number[] = [], tos = 0): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += share) {
    const more = at + share < payload.length;
    const fragment = concat(before, fragmentHeader(17, at, more, id), payload.subarray(at, at + share));
    out.push(ipv6(fragment, { nextHeader: before.length > 0 ? 60 : 44, tos }));
  }
  return out;
}

/** One fragment of a datagram whose payload is `payload`. */
function piece(version: number, payload: Uint8Array, { offset, length }: Cut, more: boolean, id = 7): Uint8Array {
  const part = payload.subarray(offset, offset + length);
  return version === 4 ? ipv4(part, { id, fragment: (offset / 8) | (more ? 0x2000 : 0) })
    : ipv6(concat(fragmentHeader(17, offset, more, id), part), { nextHeader: 44 });
}

t.test('any order, with duplicates, gives the same bytes', async () => {
  const w = new World();
  let id = 0;
  const size = fc.integer({ min: 1, max: 30000 });
  fc.assert(fc.property(fc.boolean(), size, fc.integer({ min: 2, max: 200 }), fc.infiniteStream(fc.nat()),
    (six, size, share8, randoms) => {
      const share = Math.max(share8 * 8, Math.ceil(size / 300 / 8) * 8);
      const data = six ? udp(pattern(size), PEER6, OURS6) : udp(pattern(size));
      const fragments = six ? cut6(data, share, ++id) : cut4(data, share, ++id & 0xffff);
      if (fragments.length < 2) return true;
      for (let i = fragments.length - 1; i > 0; i--) {
        const j = randoms.next().value % (i + 1);
        [fragments[i], fragments[j]] = [fragments[j]!, fragments[i]!];
        // Some come twice, but never the very last one, which would begin the datagram anew.
        if (i < fragments.length - 1 && randoms.next().value % 5 === 0) fragments.splice(i, 0, fragments[i]!);
      }
      w.udp.packets.length = 0;
      for (const f of fragments) if (w.receive(f).length !== 0) return false;
      w.ip.poll(w.ip.nowUs + 61e6);
      w.sent();
      return w.udp.packets.length === 1 && Buffer.compare(w.udp.packets[0]!.payload, data) === 0 && w.blocksInUse === 0;
    }), { numRuns: 400 });
});

t.test('the largest datagrams', async (t) => {
  const w = new World();
  for (const f of cut4(udp(pattern(65507)), 1480)) w.receive(f);
  t.same(w.udp.packets.pop()!.payload, udp(pattern(65507)));
  const big = udp(pattern(65527), PEER6, OURS6);
  for (const f of cut6(big, 1448)) w.receive(f);
  t.same(w.udp.packets.pop()!.payload, big);
  t.equal(w.blocksInUse, 0);
  t.equal(w.ip.ip4.ReasmOKs, 1);
  t.equal(w.ip.ip6.ReasmOKs, 1);
});

t.test('headers of the whole: options kept, extension headers before and after', async (t) => {
  const w = new World();
  const data = udp(pattern(2000), PEER6, OURS6);
  for (const f of cut6(data, 1000, 3, [44, 0, 1, 4, 0, 0, 0, 0])) w.receive(f);
  t.same(w.udp.packets.pop()!.payload, data);
  const chain = concat([17, 0, 1, 4, 0, 0, 0, 0], data);
  for (const at of [1000, 0]) {
    const part = at === 0 ? chain.subarray(0, 1000) : chain.subarray(1000);
    w.receive(ipv6(concat(fragmentHeader(60, at, at === 0, 9), part), { nextHeader: 44 }));
  }
  t.same(w.udp.packets.pop()!.payload, data, 'destination options in the fragmented part');
  const whole = udp(pattern(2000));
  w.receive(ipv4(whole.subarray(0, 1000), { id: 5, fragment: 0x2000, options: [148, 4, 0, 0] }));
  w.receive(ipv4(whole.subarray(1000), { id: 5, fragment: 125 }));
  t.same(w.udp.packets.pop()!.payload, whole);
});

t.test('what is about the whole quotes the whole', async (t) => {
  const w = new World();
  w.udp.onPacket = (p) => w.ip.sendPortUnreachable(p);
  const data = udp(pattern(2000));
  const answers = cut4(data, 1000).flatMap((f) => w.receive(f));
  t.equal(answers.length, 1);
  t.same(parse(answers[0]!).payload, icmp(3, 3, 0, ipv4(data, { id: 7 }).subarray(0, 548)));
});

t.test('echo of fragments', async (t) => {
  const w = new World();
  const request = icmp(8, 0, 99, pattern(8000));
  const replies: Uint8Array[] = [];
  for (let at = 0; at < request.length; at += 1480) {
    const more = at + 1480 < request.length;
    replies.push(...w.receive(ipv4(request.subarray(at, at + 1480), { protocol: 1, fragment: (at / 8) | (more ? 0x2000 : 0) })));
  }
  t.same(concat(...replies.map((r) => parse(r).payload)), icmp(0, 0, 99, pattern(8000)));
});

t.test('keys: what differs in one field is not mixed', async (t) => {
  const w = new World();
  const data = udp(pattern(1000));
  const [first] = cut4(data, 504);
  w.receive(first!);
  const tail = data.subarray(504);
  w.receive(ipv4(tail, { id: 8, fragment: 63 }));
  w.receive(ipv4(tail, { id: 7, fragment: 63, source: '10.90.0.9' }));
  w.receive(ipv4(tail, { id: 7, fragment: 63, protocol: 99 }));
  t.equal(w.udp.packets.length, 0);
  t.equal(w.ip.reassemblyUse.datagrams, 4);
  w.receive(ipv4(tail, { id: 7, fragment: 63 }));
  t.equal(w.udp.packets.length, 1);
  t.equal(w.ip.reassemblyUse.datagrams, 3);
});

t.test('overlap drops the datagram and all that still comes of it', async (t) => {
  for (const version of [4, 6]) {
    const data = version === 4 ? udp(pattern(1000)) : udp(pattern(1000), PEER6, OURS6);
    const cuts: Cut[] = [
      { offset: 496, length: 504 }, { offset: 0, length: 512 }, { offset: 8, length: 8 }, { offset: 400, length: 200 },
      { offset: 0, length: 496 }, { offset: 504, length: 8 },
    ];
    for (const overlapping of cuts) {
      const w = new World();
      w.receive(piece(version, data, { offset: 0, length: 504 }, true));
      w.receive(piece(version, data, overlapping, true));
      w.receive(piece(version, data, { offset: 504, length: 504 }, false));
      const counters = version === 4 ? w.ip.ip4 : w.ip.ip6;
      const isOverlap = overlapping.offset !== 504;
      t.equal(counters.ReasmOverlaps, 1, `IPv${version} ${overlapping.offset}+${overlapping.length}`);
      if (isOverlap) {
        t.equal(counters.ReasmLate, 1);
        t.equal(counters.ReasmFails, 1);
      }
      t.equal(w.udp.packets.length, 0);
      t.equal(w.blocksInUse, 0, 'nothing is kept of it');
      for (const c of [{ offset: 0, length: 504 }, { offset: 504, length: 504 }]) w.receive(piece(version, data, c, c.offset === 0));
      t.equal(w.udp.packets.length, 0, 'not even whole');
      w.ip.poll(61e6);
      w.sent();
      t.equal(w.ip.reassemblyUse.datagrams, 0);
      for (const c of [{ offset: 0, length: 504 }, { offset: 504, length: 504 }]) w.receive(piece(version, data, c, c.offset === 0));
      t.equal(w.udp.packets.length, 1, 'after the time limit the identification is free again');
    }
  }
});

t.test('overlaps are found whatever is cut', async () => {
  // A model: a datagram dies with its first fragment that covers a byte twice without being a duplicate.
  const cut = fc.record({ offset: fc.nat(30), length: fc.integer({ min: 1, max: 12 }) });
  const w = new World();
  const data = pattern(500);
  fc.assert(fc.property(fc.array(cut, { minLength: 2, maxLength: 8 }), (cuts) => {
    const before = w.ip.ip4.ReasmOverlaps;
    const seen: Cut[] = [];
    let dead = false;
    for (const c of cuts) {
      w.receive(piece(4, data, { offset: c.offset * 8, length: c.length * 8 }, true));
      if (dead || seen.some((s) => s.offset === c.offset && s.length === c.length)) continue;
      if (seen.some((s) => c.offset < s.offset + s.length && s.offset < c.offset + c.length)) dead = true;
      seen.push(c);
    }
    const right = (w.ip.ip4.ReasmOverlaps === before + 1) === dead && (w.blocksInUse === 0) === dead;
    w.ip.poll(w.ip.nowUs + 31e6);
    w.sent();
    return right;
  }), { numRuns: 1500 });
});

t.test('fragments that contradict each other, or themselves', async (t) => {
  for (const version of [4, 6]) {
    const w = new World();
    const data = pattern(2000);
    const counters = version === 4 ? w.ip.ip4 : w.ip.ip6;
    const bad = (n: number, what: string): void => {
      t.equal(counters.ReasmBadFragments, n, `IPv${version}: ${what}`);
      t.equal(w.udp.packets.length, 0);
    };
    w.receive(piece(version, data, { offset: 0, length: 504 }, true, 1));
    w.receive(piece(version, data, { offset: 504, length: 100 }, false, 2));
    w.receive(piece(version, data, { offset: 600, length: 104 }, true, 2));
    bad(1, 'beyond the end');
    w.receive(piece(version, data, { offset: 504, length: 104 }, true, 3));
    w.receive(piece(version, data, { offset: 8, length: 100 }, false, 3));
    bad(2, 'an end before what came');
    w.receive(piece(version, data, { offset: 504, length: 100 }, false, 4));
    w.receive(piece(version, data, { offset: 704, length: 100 }, false, 4));
    bad(3, 'two ends');
    w.receive(piece(version, data, { offset: 8, length: 0 }, true, 5));
    bad(4, 'empty');
    const odd = w.receive(piece(version, data, { offset: 0, length: 101 }, true, 6));
    bad(5, 'not a multiple of eight');
    const far = version === 4 ? ipv4(pattern(100), { id: 8, fragment: 0x1fff })
      : ipv6(concat(fragmentHeader(17, 65528, false, 8), pattern(100)), { nextHeader: 44 });
    const beyond = w.receive(far);
    bad(6, 'beyond 65535');
    if (version === 6) {
      const problem = (packet: Uint8Array): number[] => [...parse(packet).payload.subarray(0, 8)].filter((_, i) => i < 2 || i > 3);
      t.same(problem(odd[0]!), [4, 0, 0, 0, 0, 4], 'RFC 8200: points at the payload length');
      t.same(problem(beyond[0]!), [4, 0, 0, 0, 0, 42], 'and at the fragment offset');
    } else {
      t.equal(odd.length + beyond.length, 0);
    }
  }
});

t.test('together longer than a packet can be', async (t) => {
  const w = new World();
  w.receive(ipv4(pattern(65480), { fragment: 0x2000, options: Array<number>(40).fill(1), totalLength: 65535 }).subarray(0, 65535));
  // 60 bytes of header and 65496 of payload: each fragment is fine, the whole has no length field.
  w.receive(ipv4(pattern(65472), { id: 3, fragment: 0x2000, options: Array<number>(40).fill(1) }));
  w.receive(ipv4(pattern(24), { id: 3, fragment: 65472 / 8 }));
  t.equal(w.udp.packets.length, 0);
  t.equal(w.ip.ip4.ReasmBadFragments, 2);
  w.ip.poll(31e6);
  t.equal(w.blocksInUse, 0);
});

t.test('first fragments too small for the headers', async (t) => {
  const w = new World();
  const answer = w.receive(ipv6(concat(fragmentHeader(6, 0, true, 1), pattern(16)), { nextHeader: 44 }));
  t.same([...parse(answer[0]!).payload.subarray(0, 2)], [4, 3], 'RFC 7112');
  w.receive(ipv6(concat(fragmentHeader(60, 0, true, 2), [17, 3, 1, 4, 0, 0, 0, 0]), { nextHeader: 44 }));
  t.equal(w.ip.ip6.ReasmTinyFragments, 2);
  w.receive(ipv4(pattern(8), { protocol: 6, fragment: 0x2001 }));
  t.equal(w.ip.ip4.ReasmTinyFragments, 1, 'RFC 1858, RFC 3128');
  t.equal(w.ip.reassemblyUse.datagrams, 0);
});

t.test('a fragment inside a fragmented packet', async (t) => {
  const w = new World();
  const inner = concat(fragmentHeader(17, 0, true, 77), pattern(1000));
  for (const [at, more] of [[504, false], [0, true]] as const) {
    const part = at === 0 ? inner.subarray(0, 504) : inner.subarray(504);
    w.receive(ipv6(concat(fragmentHeader(44, at, more, 5), part), { nextHeader: 44 }));
  }
  t.equal(w.udp.packets.length, 0);
  t.equal(w.ip.reassemblyUse.datagrams, 0);
  t.equal(w.ip.ip6.ReasmBadFragments, 1);
});

t.test('time limits', async (t) => {
  for (const [version, limitUs] of [[4, 30e6], [6, 60e6]] as const) {
    const w = new World();
    w.ip.nowUs = 1000;
    const data = pattern(1000);
    const first = piece(version, data, { offset: 0, length: 504 }, true, 1);
    w.receive(first);
    w.receive(piece(version, data, { offset: 504, length: 104 }, true, 2));
    t.equal(w.ip.nextDeadlineUs, 1000 + limitUs);
    w.ip.poll(limitUs + 999);
    t.equal(w.sent().length, 0);
    t.equal(w.ip.reassemblyUse.datagrams, 2);
    w.ip.poll(limitUs + 1000);
    const answers = w.sent();
    t.equal(answers.length, 1, 'only where the first fragment came');
    const p = parse(answers[0]!);
    t.match(p, version === 4 ? { source: OURS4, destination: PEER4, protocol: 1 }
      : { source: OURS6, destination: PEER6, protocol: 58 });
    const expected = version === 4 ? icmp(11, 1, 0, first.subarray(0, 548)) : icmpv6(3, 1, 0, first, OURS6, PEER6);
    t.same(p.payload, expected, 'the fragment as it came');
    t.equal((version === 4 ? w.ip.ip4 : w.ip.ip6).ReasmTimeout, 2);
    t.equal(w.ip.nextDeadlineUs, Infinity);
    t.equal(w.blocksInUse, 0);
  }
});

t.test('memory is bounded, the oldest makes room', async (t) => {
  const w = new World({ limits: { reassemblyBytes: 32 * 8192 } });
  let most = 0;
  for (let i = 0; i < 2000; i++) {
    w.receive(ipv4(pattern(8), { id: i, source: `10.90.${1 + (i % 7)}.1`, fragment: 0x2000 | ((i * 13) % 8000) }));
    most = Math.max(most, w.blocksInUse);
  }
  t.equal(most, 32);
  t.ok(w.ip.ip4.ReasmEvicted > 1900);
  const data = udp(pattern(3000));
  for (const f of cut4(data, 1000, 9999)) w.receive(f);
  t.same(w.udp.packets[0]!.payload, data, 'newcomers get through');
  w.ip.poll(31e6);
  t.equal(w.blocksInUse, 0);
  t.equal(w.ip.reassemblyUse.datagrams, 0);
});

t.test('one source cannot push out the others', async (t) => {
  const w = new World({ limits: { reassemblyBytes: 32 * 8192 } });
  const data = udp(pattern(3000));
  const [first, ...rest] = cut4(data, 1000, 1);
  w.receive(first!);
  for (let i = 0; i < 500; i++) w.receive(ipv4(pattern(8), { id: i, source: '10.90.0.66', fragment: 0x2000 }));
  for (const f of rest) w.receive(f);
  t.equal(w.udp.packets.length, 1);
  t.ok(w.ip.ip4.ReasmEvicted > 400);
});

t.test('dropped datagrams are remembered within a bound', async (t) => {
  const w = new World();
  for (let i = 0; i < 3000; i++) {
    w.receive(ipv4(pattern(16), { id: i, fragment: 0x2000 }));
    w.receive(ipv4(pattern(24), { id: i, fragment: 0x2000 }));
  }
  t.equal(w.ip.ip4.ReasmOverlaps, 3000);
  t.equal(w.ip.reassemblyUse.datagrams, 256, 'as many as one source may have');
  t.equal(w.blocksInUse, 0);
});

t.test('ECN of fragments (RFC 3168 section 5.3)', async (t) => {
  const table: [number[], number | null][] = [[[0, 0], 0], [[2, 2], 2], [[2, 3], 3], [[3, 1], 3], [[0, 3], null], [[3, 3], 3]];
  for (const version of [4, 6]) {
    for (const [codepoints, result] of table) {
      const w = new World();
      const data = version === 4 ? udp(pattern(1000)) : udp(pattern(1000), PEER6, OURS6);
      codepoints.forEach((tos, i) => {
        w.receive((version === 4 ? cut4(data, 504, 1, tos) : cut6(data, 504, 1, [], tos))[i]!);
      });
      t.equal(w.udp.packets[0]?.tos ?? null, result, `IPv${version} ${codepoints.join(' ')}`);
    }
  }
});
