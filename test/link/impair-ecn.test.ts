/** Marks instead of losses (RFC 3168): which packets get them, and when. */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { withCongestionMark } from '../../lib/link/congestion-mark.ts';
import { impair } from '../../lib/link/impair.ts';
import type { PathOptions } from '../../lib/link/impaired-path.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { ipv4ChecksumOk } from '../../lib/wire/ipv4.ts';
import { RecordingHost, checksumRight, tcpPacket } from './harness.ts';

const NOT_ECT = 0;
const ECT1 = 1;
const ECT0 = 2;
const CE = 3;

/** A TCP packet with this ECN codepoint, and DSCP 10. */
function packet(version: 4 | 6, ecn: number): Uint8Array {
  const bytes = tcpPacket(version, { payload: new Uint8Array(1000) });
  if (version === 4) {
    bytes[1] = (10 << 2) | ecn;
    const view = new DataView(bytes.buffer);
    view.setUint16(10, 0);
    let sum = 0;
    for (let i = 0; i < 20; i += 2) sum += view.getUint16(i);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(10, ~sum & 0xffff);
  } else {
    const word = (10 << 2) | ecn;
    bytes[0] = 0x60 | (word >> 4);
    bytes[1] = (word & 15) << 4;
  }
  return bytes;
}

function tos(bytes: Uint8Array): number {
  return bytes[0]! >> 4 === 4 ? bytes[1]! : ((bytes[0]! & 15) << 4) | (bytes[1]! >> 4);
}

for (const version of [4, 6] as const) {
  t.test(`IPv${version}: what can be marked is, and nothing else changes`, async (t) => {
    for (const ecn of [ECT0, ECT1]) {
      const bytes = packet(version, ecn);
      const before = bytes.slice();
      const marked = withCongestionMark(bytes)!;
      t.equal(tos(marked), (10 << 2) | CE);
      if (version === 4) t.ok(ipv4ChecksumOk(new DataView(marked.buffer), 0));
      t.ok(checksumRight(marked, 6), 'TCP does not notice');
      t.same(bytes, before, 'the packet itself stays as it was');
    }
    const marked = packet(version, CE);
    t.equal(withCongestionMark(marked), marked);
    t.equal(withCongestionMark(packet(version, NOT_ECT)), null);
  });
}

t.test('what is no packet is left alone', async (t) => {
  t.equal(withCongestionMark(new Uint8Array(0)), null);
  t.equal(withCongestionMark(Uint8Array.of(0x4f, 2, 0)), null);
  t.equal(withCongestionMark(Uint8Array.of(0x4f, ...new Uint8Array(30).fill(2))), null);
});

/** Sends `count` packets, one each `gapUs`, and returns the path's counters and the codepoints that arrived. */
function run(options: PathOptions, ecn: number, count: number, gapUs: number) {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair({ queuePackets: 4096 });
  const link = impair(left, { up: options });
  const a = new RecordingHost(link, clock);
  const b = new RecordingHost(right, clock);
  for (let i = 0; i < count; i++) {
    a.send(packet(4, ecn));
    clock.advance(gapUs);
  }
  clock.advance(60_000_000);
  return { counters: link.paths.up.counters, arrived: b.arrivals.map(({ bytes }) => tos(bytes) & 3) };
}

t.test('losses become marks, with the same dice', async (t) => {
  const lossy = run({ loss: 0.1 }, ECT0, 2000, 10);
  const marking = run({ loss: 0.1, ecn: true }, ECT0, 2000, 10);
  t.equal(marking.counters.marked, lossy.counters.lost);
  t.equal(marking.counters.lost, 0);
  t.equal(marking.arrived.length, 2000);
  t.equal(marking.arrived.filter((codepoint) => codepoint === CE).length, marking.counters.marked);
  const deaf = run({ loss: 0.1, ecn: true }, NOT_ECT, 2000, 10);
  t.equal(deaf.counters.lost, lossy.counters.lost, 'who does not understand marks loses');
});

t.test('a queue marks from its threshold on, and drops what does not fit', async (t) => {
  // 1040 bytes at 8.32 Mbit/s: one packet a millisecond.
  const { counters, arrived } = run({ rate: 8_320_000, queuePackets: 20, ecn: true, ecnPackets: 5 }, ECT0, 100, 0);
  t.equal(arrived.length, 21, 'one on the line, twenty wait');
  t.same(arrived.slice(0, 6), new Array(6).fill(ECT0));
  t.ok(arrived.slice(6).every((codepoint) => codepoint === CE));
  t.equal(counters.marked, 15);
  t.equal(counters.queueDrops, 79);
  t.equal(run({ rate: 8_320_000, queuePackets: 20, ecn: true }, ECT0, 100, 0).counters.marked, 10, 'half of the queue when nothing is said');
});

t.test('CoDel marks what it would drop', async (t) => {
  const codel: PathOptions = { rate: 8_320_000, queuePackets: 10_000, queueDiscipline: 'codel' };
  const dropping = run(codel, ECT0, 1000, 900);
  const marking = run({ ...codel, ecn: true }, ECT0, 1000, 900);
  t.ok(dropping.counters.codelDrops > 0, `${dropping.counters.codelDrops} dropped`);
  t.equal(marking.counters.codelDrops, 0);
  t.ok(marking.counters.marked >= dropping.counters.codelDrops, `${marking.counters.marked} marked`);
  t.equal(marking.arrived.length, 1000);
  t.ok(run({ ...codel, ecn: true }, NOT_ECT, 1000, 900).counters.codelDrops > 0, 'and drops what does not understand');
});
