/** The base of all middleware passes everything; checksums are finished as a device would. */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { capture } from '../../lib/link/capture.ts';
import { impair } from '../../lib/link/impair.ts';
import type { Link, LinkHost } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { LinkMiddleware } from '../../lib/link/middleware.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { completeChecksum } from '../../lib/link/partial-checksum.ts';
import { checksumRight, numbered, numberOf, RecordingHost, setChecksum, tcpPacket, udpPacket } from './harness.ts';

t.test('everything passes, through several layers', (t) => {
  const calls: string[] = [];
  let host: LinkHost | null = null;
  const bottom: Link = {
    name: 'bottom', mtu: 4321, features: 5,
    attach: (h) => void (host = h),
    send: (queue) => {
      calls.push(`send ${queue.count}`);
      queue.head = queue.tail;
    },
    ref: () => void calls.push('ref'),
    unref: () => void calls.push('unref'),
    close: () => void calls.push('close'),
  };
  const link = new LinkMiddleware(new LinkMiddleware(bottom));
  t.equal(link.name, 'bottom');
  t.equal(link.mtu, 4321);
  t.equal(link.features, 5);
  t.throws(() => link.host, /not attached/);
  t.equal(link.attached, false);
  const clock = new VirtualClock();
  const stack = new RecordingHost(link, clock);
  t.equal(link.attached, true);
  t.equal(host!.clock, clock);
  t.equal(host!.memory, stack.memory);
  stack.send(numbered(1, 60));
  link.ref();
  link.unref();
  link.close();
  t.same(calls, ['send 1', 'ref', 'unref', 'close']);
  host!.writable();
  t.equal(stack.writableCalls, 1);
  const error = new Error('gone');
  host!.down(error);
  t.same(stack.downs, [error]);
  t.end();
});

t.test('counters of all layers come together', (t) => {
  const below = new PacketLink({ send: () => {} });
  const link = capture(impair(below, { up: { loss: 1 } }), { write: () => true, end: () => {} });
  const stack = new RecordingHost(link);
  stack.send(numbered(1, 60));
  below.receive(numbered(2, 70));
  link.close();
  t.match(link.counters, {
    txPackets: 0, rxPackets: 1, rxBytes: 70, rxBatches: 1, upPackets: 1, upLost: 1, downPassed: 1, captured: 2, captureDrops: 0,
  });
  t.ok(Object.values(link.counters).every((value) => typeof value === 'number'));
  t.end();
});

t.test('a subclass can take packets out', (t) => {
  class EvenOnly extends LinkMiddleware {
    override input(...args: Parameters<LinkMiddleware['input']>): void {
      if ((args[0].slab[3]! & 1) === 0) super.input(...args);
    }
  }
  const below = new PacketLink({ send: () => {} });
  const stack = new RecordingHost(new EvenOnly(below));
  for (let i = 0; i < 4; i++) below.receive(numbered(i, 60));
  t.same(stack.arrivals.map(({ bytes }) => numberOf(bytes)), [0, 2]);
  t.end();
});

t.test('memory pair under middleware, attached in either order', (t) => {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair();
  const b = new RecordingHost(new LinkMiddleware(right), clock);
  const a = new RecordingHost(new LinkMiddleware(left), clock);
  a.send(numbered(1, 60));
  b.send(numbered(2, 60));
  clock.advance(0);
  t.equal(numberOf(b.arrivals[0]!.bytes), 1);
  t.equal(numberOf(a.arrivals[0]!.bytes), 2);
  t.end();
});

t.test('partial checksums', (t) => {
  for (const version of [4, 6] as const) {
    const at = version === 4 ? 20 : 40;
    for (const length of [0, 1, 2, 3, 31, 1447, 60_000]) {
      const packet = tcpPacket(version, { payload: numbered(1, Math.max(length, 4)).subarray(0, length), partial: true });
      t.notOk(checksumRight(packet, 6));
      const slab = new Uint8Array(packet.length + 10).fill(0xaa);
      slab.set(packet, 3);
      t.ok(completeChecksum(new DataView(slab.buffer), 3, packet.length, at, 16));
      t.ok(checksumRight(slab.subarray(3, 3 + packet.length), 6), `version ${version}, ${length} bytes`);
      t.equal(slab[2], 0xaa);
      t.equal(slab[3 + packet.length], 0xaa);
    }
  }
  t.end();
});

t.test('a UDP checksum is never stored as zero', (t) => {
  // A payload word chosen so that the sum comes to 0xffff: its complement is zero.
  const packet = udpPacket(4, new Uint8Array(2));
  const view = new DataView(packet.buffer);
  view.setUint16(28, view.getUint16(26));
  setChecksum(packet, 17, 6);
  t.equal(view.getUint16(26), 0, 'the case is met');
  setChecksum(packet, 17, 6, true);
  completeChecksum(view, 0, packet.length, 20, 6);
  t.equal(view.getUint16(26), 0xffff);
  t.ok(checksumRight(packet, 17));
  t.end();
});

t.test('fields outside the packet change nothing', (t) => {
  const packet = tcpPacket(4);
  const before = [...packet];
  const view = new DataView(packet.buffer);
  for (const [start, offset] of [[-1, 16], [20, -1], [30, 16], [20, 19], [65535, 65535]] as const) {
    t.equal(completeChecksum(view, 0, packet.length, start, offset), false);
  }
  t.same([...packet], before);
  t.end();
});
