/** A link out of two functions: at once when at rest, later when called from inside, never lost silently. */

import t from 'tap';
import { SystemClock, VirtualClock } from '../../lib/clock.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import type { PacketLinkOptions } from '../../lib/link/packet-link.ts';
import { numbered, numberOf, RecordingHost } from './harness.ts';

function setUp(options: Partial<PacketLinkOptions> = {}) {
  const clock = new VirtualClock();
  const sent: Uint8Array[] = [];
  const link = new PacketLink({
    send: (packet) => {
      sent.push(packet);
    },
    ...options,
  });
  return { clock, link, sent, host: new RecordingHost(link, clock) };
}

t.test('sends whole packets, each in an array of its own', (t) => {
  const { link, sent, host } = setUp({ name: 'wire', mtu: 1400 });
  t.equal(link.name, 'wire');
  t.equal(link.mtu, 1400);
  t.equal(link.features, 0);
  host.queuePacket(numbered(1, 90));
  host.queuePacket(numbered(2, 1400), { headerLength: 52, pieceLength: 333 });
  host.flush();
  t.ok(host.queue.empty);
  t.same(sent.map((packet) => [...packet]), [[...numbered(1, 90)], [...numbered(2, 1400)]]);
  t.equal(link.counters.txPackets, 2);
  t.end();
});

t.test('receives at once when the stack is at rest, with the stamp given', (t) => {
  const { clock, link, host } = setUp();
  clock.advance(777);
  link.receive(numbered(1, 60));
  link.receive(numbered(2, 61), 500);
  t.same(host.arrivals.map(({ bytes, timeUs }) => [numberOf(bytes), bytes.length, timeUs]), [[1, 60, 777], [2, 61, 500]]);
  t.end();
});

t.test('many packets are one batch; too many for the slab are several', (t) => {
  const { link, host } = setUp();
  link.receiveMany([1, 2, 3].map((n) => numbered(n, 1500)));
  t.equal(host.batches, 1);
  t.same(host.arrivals.map(({ bytes }) => numberOf(bytes)), [1, 2, 3]);
  link.receiveMany(Array.from({ length: 20 }, (_, n) => numbered(n + 10, 60_000)));
  t.equal(host.arrivals.length, 23);
  t.ok(host.batches > 2);
  t.same([...host.arrivals[22]!.bytes], [...numbered(29, 60_000)]);
  link.receiveMany([]);
  t.equal(host.arrivals.length, 23);
  t.end();
});

t.test('receive() from inside send() waits until the clock moves', (t) => {
  const { clock, host, link } = setUp({
    // An echoing wire. The harness throws when input() comes inside send().
    send: (packet) => link.receive(packet),
  });
  host.queuePacket(numbered(1, 60));
  host.queuePacket(numbered(2, 60));
  host.flush();
  t.equal(host.arrivals.length, 0);
  clock.advance(0);
  t.same(host.arrivals.map(({ bytes }) => numberOf(bytes)), [1, 2]);
  t.equal(host.batches, 1);
  t.end();
});

t.test('receive() from inside the stack waits, later packets keep their place', (t) => {
  const { clock, link, host } = setUp();
  host.onInput = () => {
    if (host.arrivals.length === 1) link.receive(numbered(2, 60));
  };
  link.receive(numbered(1, 60));
  t.equal(host.arrivals.length, 1);
  link.receive(numbered(3, 60));
  t.equal(host.arrivals.length, 1, 'not before the one that waits');
  clock.advance(0);
  t.same(host.arrivals.map(({ bytes }) => numberOf(bytes)), [1, 2, 3]);
  t.end();
});

t.test('a busy wire leaves packets in the queue until writable()', (t) => {
  let room = 2;
  const { sent, host, link } = setUp({
    send: (packet) => {
      if (room === 0) return false;
      room--;
      sent.push(packet);
      return true;
    },
  });
  for (let i = 0; i < 5; i++) host.queuePacket(numbered(i, 60));
  host.flush();
  t.equal(host.queue.count, 3);
  room = 10;
  host.flush();
  t.equal(host.queue.count, 3, 'not offered again before writable()');
  link.writable();
  t.same(sent.map(numberOf), [0, 1, 2, 3, 4]);
  t.equal(host.writableCalls, 1);
  link.writable();
  t.equal(host.writableCalls, 1, 'nothing to wake');
  t.end();
});

t.test('writable() from inside the stack is put off', (t) => {
  let refused = false;
  const { clock, sent, host, link } = setUp({
    send: (packet) => {
      if (!refused) {
        refused = true;
        return false;
      }
      sent.push(packet);
    },
  });
  host.queuePacket(numbered(1, 60));
  host.flush();
  host.onInput = () => link.writable();
  link.receive(numbered(2, 60));
  t.equal(sent.length, 0);
  clock.advance(0);
  t.equal(sent.length, 1);
  t.end();
});

t.test('bounds: empty, too long, too many, unattached, closed', (t) => {
  const { clock, link, host } = setUp({ queuePackets: 3 });
  link.receive(new Uint8Array(0));
  link.receive(new Uint8Array(70_000));
  t.equal(link.counters.rxDrops, 2);
  host.onInput = () => {
    if (host.arrivals.length === 1) for (let i = 0; i < 5; i++) link.receive(numbered(i, 60));
  };
  link.receive(numbered(9, 60));
  clock.advance(0);
  t.equal(host.arrivals.length, 4);
  t.equal(link.counters.rxDrops, 4);
  let closed = 0;
  const other = new PacketLink({ send: () => {}, close: () => closed++ });
  other.receive(numbered(1, 60));
  t.equal(other.counters.rxDrops, 1);
  const host2 = new RecordingHost(other, clock);
  other.close();
  other.close();
  t.equal(closed, 1);
  other.receive(numbered(1, 60));
  t.equal(host2.arrivals.length, 0);
  host2.send(numbered(1, 60));
  t.ok(host2.queue.empty, 'a closed link swallows what is sent');
  other.down(new Error('gone'));
  t.equal(host2.downs.length, 0);
  link.down(new Error('gone'));
  t.equal(host.downs.length, 1);
  t.end();
});

t.test('two packet links back to back, system clock', async (t) => {
  const clock = new SystemClock();
  const left: PacketLink = new PacketLink({ send: (packet) => right.receive(packet) });
  const right: PacketLink = new PacketLink({ send: (packet) => left.receive(packet) });
  const a = new RecordingHost(left, clock);
  const b = new RecordingHost(right, clock);
  left.ref();
  t.teardown(() => left.close());
  await new Promise<void>((resolve) => {
    b.onInput = () => b.send(numbered(b.arrivals.length, 60));
    a.onInput = () => {
      if (a.arrivals.length < 50) a.send(numbered(0, 60));
      else resolve();
    };
    a.send(numbered(0, 60));
  });
  t.equal(b.arrivals.length, 50);
});
