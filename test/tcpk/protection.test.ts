/**
 * What an application may not do (2.1, 2.2 of the report), tried by one that writes its records by hand.
 * Every try is dropped, counted by its reason and told; nothing of it leaves; and what is right still does.
 */

import t from 'tap';
import { FROM_APP_CLOSE, FROM_APP_OPEN, FROM_APP_SEGMENT, FROM_APP_SENDTO } from '../../lib/channel/records.ts';
import { RX_HEAD, TX_HEAD, TX_TAIL } from '../../lib/channel/window.ts';
import { LINK_TSO4, LINK_TSO6 } from '../../lib/link/link.ts';
import { AF_INET } from '../../lib/socket.ts';
import {
  VIOLATION_ADDRESS, VIOLATION_FLOW, VIOLATION_GSO, VIOLATION_LENGTH, VIOLATION_MEMORY, VIOLATION_NAMES, VIOLATION_OPEN, VIOLATION_PORT,
  VIOLATION_RECORD,
} from '../../lib/tcpk/egress.ts';
import { pattern } from '../ip/harness.ts';
import { ACK, ALSO4, OURS4, OURS6, PEER4, PEER6, PSH, RST, SYN, World } from './world.ts';
import type { Hostile } from './world.ts';

/** Ports: the neighbour application's, the kernel-style TCP's, and the hostile application's. */
const NEIGHBOUR = 80;
const KERNEL = 90;
const OWN = 7000;

/** A neighbour with an open flow, a kernel-style connection, and a hostile application with a flow of each version. */
class Scene extends World {
  readonly neighbour: Hostile;
  readonly hostile: Hostile;
  readonly told: [string, number, number][] = [];

  constructor(features = 0) {
    super({ features });
    this.tcpk.onviolation = (app, reason, count) => this.told.push([app.name, reason, count]);
    this.neighbour = this.attach({ name: 'neighbour' });
    this.neighbour.listen(this.neighbour.bind(OURS4, NEIGHBOUR));
    this.neighbour.open(0, OURS4, NEIGHBOUR, PEER4, 5000).flush();
    const listener = this.stack.socket(AF_INET);
    if (typeof listener === 'number') throw new Error('socket');
    listener.bind('', KERNEL);
    listener.listen(5);
    this.receive({ srcPort: 6000, dstPort: KERNEL, seq: 100, flags: SYN });
    this.hostile = this.attach();
    this.hostile.listen(this.hostile.bind(OURS4, OWN));
    this.hostile.bind(OURS6, OWN);
    this.hostile.open(0, OURS4, OWN, PEER4, 8000).open(1, OURS6, OWN, PEER6, 8000).flush();
    this.packets();
    this.hostile.take();
  }
}

const own = { srcPort: OWN, dstPort: 8000 };

type Try = [name: string, reason: number, run: (h: Hostile, scene: Scene) => void];

/** Data of this length in the application's memory. */
const data = (h: Hostile, length: number, at = 0): [number, number] => [h.window.memory + at, length];

const tries: Try[] = [
  ['another source port', VIOLATION_PORT, (h) => h.segment({ ...own, handle: 0, srcPort: OWN + 1 })],
  ['the neighbour\'s port on its own flow', VIOLATION_PORT, (h) => h.segment({ ...own, handle: 0, srcPort: NEIGHBOUR })],
  ['another remote port on a connected flow', VIOLATION_PORT, (h) => h.segment({ ...own, handle: 0, dstPort: 8001 })],
  ['ports the wrong way round', VIOLATION_PORT, (h) => h.segment({ handle: 0, srcPort: 8000, dstPort: OWN })],
  ...[2, -1, 65_536, 0x7fffffff, -0x80000000].map((handle): Try => [`handle ${handle}`, VIOLATION_FLOW,
    (h) => h.segment({ ...own, handle })]),
  ...[0, 4, 16, 19, 21, 64, -20, 0x7fffffff, -0x80000000].map((headerLength): Try => [`a header of ${headerLength} bytes`, VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, headerLength })]),
  ['a header longer than its data offset', VIOLATION_LENGTH, (h) => h.segment({ ...own, handle: 0, headerLength: 32 })],
  ['a header shorter than its data offset', VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, headerLength: 20, offset: 24 })],
  ['no data offset', VIOLATION_LENGTH, (h) => h.segment({ ...own, handle: 0, headerLength: 20, offset: 0 })],

  ['data in the control words', VIOLATION_MEMORY, (h) => h.segment({ ...own, handle: 0, pieces: [[0, 100]] })],
  ['data in the receive ring', VIOLATION_MEMORY, (h) => h.segment({ ...own, handle: 0, pieces: [[h.window.rxRing, 100]] })],
  ['data in the transmit ring', VIOLATION_MEMORY, (h) => h.segment({ ...own, handle: 0, pieces: [[h.window.txRing, 100]] })],
  ['data in the call area', VIOLATION_MEMORY, (h) => h.segment({ ...own, handle: 0, pieces: [[h.window.call, 100]] })],
  ['data that begins before its memory', VIOLATION_MEMORY,
    (h) => h.segment({ ...own, handle: 0, pieces: [[h.window.memory - 1, 100]] })],
  ['data that ends behind the window', VIOLATION_MEMORY,
    (h) => h.segment({ ...own, handle: 0, pieces: [[h.window.length - 99, 100]] })],
  ['data behind the window', VIOLATION_MEMORY, (h) => h.segment({ ...own, handle: 0, pieces: [[h.window.length, 1]] })],
  ['data in the neighbour\'s window', VIOLATION_MEMORY, (h, { neighbour }) => {
    h.segment({ ...own, handle: 0, pieces: [[neighbour.window.base - h.window.base + neighbour.window.memory, 100]] });
  }],
  ['data in the stack\'s memory', VIOLATION_MEMORY,
    (h, { stack }) => h.segment({ ...own, handle: 0, pieces: [[stack.memory.blockBase - h.window.base, 100]] })],
  ...[-1, -0x80000000, 0x7fffffff, 0x40000000].map((offset): Try => [`data at ${offset}`, VIOLATION_MEMORY,
    (h) => h.segment({ ...own, handle: 0, pieces: [[offset, 100]] })]),
  ...[0, -1, -0x80000000, 0x7fffffff].map((length): Try => [`${length} bytes of data`, VIOLATION_MEMORY,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, length)] })]),
  ['data whose end wraps', VIOLATION_MEMORY,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 0x7fffffff - h.window.memory + 1)] })],
  ['a bad piece behind a good one', VIOLATION_MEMORY, (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 100), [8, 100]] })],

  ['more pieces than there can be', VIOLATION_RECORD,
    (h) => h.segment({ ...own, handle: 0, pieces: Array.from({ length: 12 }, () => data(h, 10)) })],
  ['more pieces than the record holds', VIOLATION_RECORD,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 10)], count: 11 })],
  ...[-1, 12, 0x7fffffff, -0x80000000].map((count): Try => [`${count} pieces`, VIOLATION_RECORD,
    (h) => h.segment({ ...own, handle: 0, count })]),
  ['a byte more than the MTU', VIOLATION_LENGTH, (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 1461)] })],
  ['a byte more with options', VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, options: [1, 1, 1, 0], pieces: [data(h, 1457)] })],
  ['a byte more with IPv6', VIOLATION_LENGTH, (h) => h.segment({ ...own, handle: 1, pieces: [data(h, 1441)] })],
  ['pieces that are too much together', VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 800), data(h, 800)] })],
  ['64 KiB', VIOLATION_LENGTH, (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 65_536)] })],
  ['eleven times 64 KiB', VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, pieces: Array.from({ length: 11 }, () => data(h, 65_535)) })],
  ['all of its memory', VIOLATION_LENGTH, (h) => h.segment({ ...own, handle: 0, pieces: [data(h, h.window.sizes.memory)] })],
  ['segmentation where the link does none', VIOLATION_GSO,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 3000)], gsoType: 1, gsoSize: 1000 })],

  ...[5, 6, 255, -1, 0x7fffffff, -0x80000000].map((type): Try => [`a record of type ${type}`, VIOLATION_RECORD,
    (h) => h.record(type, 64)]),
  ...[8, 16, 56].map((length): Try => [`a segment record of ${length} bytes`, VIOLATION_RECORD,
    (h) => h.record(FROM_APP_SEGMENT, length)]),
  ['a segment record whose header does not fit', VIOLATION_RECORD, (h) => h.segment({ ...own, handle: 0, length: 88 })],
  ['a send-to record that is too short', VIOLATION_RECORD, (h) => h.record(FROM_APP_SENDTO, 120)],
  ['an open record that is too short', VIOLATION_RECORD, (h) => h.record(FROM_APP_OPEN, 40)],
  ['a close record that is too short', VIOLATION_RECORD, (h) => h.record(FROM_APP_CLOSE, 8)],

  ['from another address of the stack', VIOLATION_PORT, (h) => h.sendTo(ALSO4, PEER4, own)],
  ['from an address of somebody else', VIOLATION_ADDRESS, (h) => h.sendTo(PEER4, PEER4, own)],
  ['from an address far away', VIOLATION_ADDRESS, (h) => h.sendTo('8.8.8.8', PEER4, own)],
  ['from 0.0.0.0', VIOLATION_ADDRESS, (h) => h.sendTo('0.0.0.0', PEER4, own)],
  ['from ::', VIOLATION_ADDRESS, (h) => h.sendTo('::', PEER6, own)],
  ['from 127.0.0.1 to the outside', VIOLATION_ADDRESS, (h) => h.sendTo('127.0.0.1', PEER4, own)],
  ['from the broadcast address', VIOLATION_ADDRESS, (h) => h.sendTo('10.0.0.255', PEER4, own)],
  ['from a group', VIOLATION_ADDRESS, (h) => h.sendTo('224.0.0.1', PEER4, own)],
  ['from IPv4 to IPv6', VIOLATION_ADDRESS, (h) => h.sendTo(OURS4, PEER6, own)],
  ['to nobody', VIOLATION_ADDRESS, (h) => h.sendTo(OURS4, '0.0.0.0', own)],
  ['to everybody', VIOLATION_ADDRESS, (h) => h.sendTo(OURS4, '255.255.255.255', own)],
  ['to everybody on the link', VIOLATION_ADDRESS, (h) => h.sendTo(OURS4, '10.0.0.255', own)],
  ['to a group', VIOLATION_ADDRESS, (h) => h.sendTo(OURS6, 'ff02::1', own)],
  ['from the neighbour\'s port', VIOLATION_PORT, (h) => h.sendTo(OURS4, PEER4, { srcPort: NEIGHBOUR, dstPort: 9999 })],
  ['RST on the neighbour\'s connection', VIOLATION_PORT,
    (h) => h.sendTo(OURS4, PEER4, { srcPort: NEIGHBOUR, dstPort: 5000, flags: RST })],
  ['from the kernel-style TCP\'s port', VIOLATION_PORT, (h) => h.sendTo(OURS4, PEER4, { srcPort: KERNEL, dstPort: 9999 })],
  ['RST on a kernel-style connection', VIOLATION_PORT,
    (h) => h.sendTo(OURS4, PEER4, { srcPort: KERNEL, dstPort: 6000, flags: RST })],
  ['from a port of nobody', VIOLATION_PORT, (h) => h.sendTo(OURS4, PEER4, { srcPort: 7001, dstPort: 9999 })],
  ['send-to with a lying header length', VIOLATION_LENGTH, (h) => h.sendTo(OURS4, PEER4, { ...own, headerLength: 60 })],
  ['send-to with an odd header length', VIOLATION_LENGTH, (h) => h.sendTo(OURS4, PEER4, { ...own, headerLength: 22 })],

  ['opens a flow on the neighbour\'s port', VIOLATION_OPEN, (h) => h.open(5, OURS4, NEIGHBOUR, PEER4, 9999)],
  ['opens the neighbour\'s flow', VIOLATION_OPEN, (h) => h.open(5, OURS4, NEIGHBOUR, PEER4, 5000)],
  ['opens a flow on the kernel-style TCP\'s port', VIOLATION_OPEN, (h) => h.open(5, OURS4, KERNEL, PEER4, 9999)],
  ['opens a kernel-style connection\'s flow', VIOLATION_OPEN, (h) => h.open(5, OURS4, KERNEL, PEER4, 6000)],
  ['opens a flow on nobody\'s port', VIOLATION_OPEN, (h) => h.open(5, OURS4, 7001, PEER4, 9999)],
  ['opens a flow on port 0', VIOLATION_OPEN, (h) => h.open(5, OURS4, 0, PEER4, 9999)],
  ['opens a flow at another address', VIOLATION_OPEN, (h) => h.open(5, ALSO4, OWN, PEER4, 9999)],
  ['opens a flow at an address of the peer', VIOLATION_OPEN, (h) => h.open(5, PEER4, OWN, PEER4, 9999)],
  ['opens a flow at 0.0.0.0', VIOLATION_OPEN, (h) => h.open(5, '0.0.0.0', OWN, PEER4, 9999)],
  ['opens a flow to nobody', VIOLATION_OPEN, (h) => h.open(5, OURS4, OWN, '0.0.0.0', 9999)],
  ['opens a flow to a group', VIOLATION_OPEN, (h) => h.open(5, OURS4, OWN, '224.0.0.1', 9999)],
  ['opens a flow to everybody on the link', VIOLATION_OPEN, (h) => h.open(5, OURS4, OWN, '10.0.0.255', 9999)],
  ['opens a flow to port 0', VIOLATION_OPEN, (h) => h.open(5, OURS4, OWN, PEER4, 0)],
  ['opens a flow from IPv4 to IPv6', VIOLATION_OPEN, (h) => h.open(5, OURS4, OWN, PEER6, 9999)],
  ...[-1, 0, 65_536, 0x7fffffff, -0x80000000].map((handle): Try => [`opens a flow by handle ${handle}`, VIOLATION_OPEN,
    (h) => h.open(handle, OURS4, OWN, PEER4, 9999)]),
];

const offloadTries: Try[] = [
  ['the other version\'s segmentation', VIOLATION_GSO,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 3000)], gsoType: 4, gsoSize: 1000 })],
  ['the other version\'s segmentation, IPv6', VIOLATION_GSO,
    (h) => h.segment({ ...own, handle: 1, pieces: [data(h, 3000)], gsoType: 1, gsoSize: 1000 })],
  ...[2, 3, 5, 0x81, -1, 0x7fffffff].map((gsoType): Try => [`segmentation of type ${gsoType}`, VIOLATION_GSO,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 3000)], gsoType, gsoSize: 1000 })]),
  ...[0, -1, -0x80000000, 3000, 3001, 65_536, 0x7fffffff].map((gsoSize): Try => [`parts of ${gsoSize}`, VIOLATION_GSO,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 3000)], gsoType: 1, gsoSize })]),
  ['segmentation of nothing', VIOLATION_GSO, (h) => h.segment({ ...own, handle: 0, gsoType: 1, gsoSize: 1 })],
  ['parts so small that one record becomes thousands of packets', VIOLATION_GSO,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 60_000)], gsoType: 1, gsoSize: 1 })],
  ['parts larger than the MTU', VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 3000)], gsoType: 1, gsoSize: 1461 })],
  ['more than an IP packet', VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 65_500)], gsoType: 1, gsoSize: 1000 })],
  ['64 KiB to be cut', VIOLATION_LENGTH,
    (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 65_536)], gsoType: 1, gsoSize: 1000 })],
  ['a large segment that is not to be cut', VIOLATION_LENGTH, (h) => h.segment({ ...own, handle: 0, pieces: [data(h, 3000)] })],
];

for (const [features, list] of [[0, tries], [LINK_TSO4 | LINK_TSO6, offloadTries]] as const) {
  t.test(features === 0 ? 'records that an application must not send' : 'on a link that cuts segments', (t) => {
    const scene = new Scene(features);
    const { hostile, tcpk } = scene;
    const good = pattern(700);
    hostile.put(good, 4096);
    let count = 0;
    let seq = 1;
    const wrong: string[] = [];
    for (const [name, reason, run] of list) {
      const before = [...hostile.app.violations];
      scene.told.length = 0;
      run(hostile, scene);
      hostile.flush();
      count++;
      if (scene.packets().length > 0) wrong.push(`${name}: a packet has left`);
      const reasons = [...hostile.app.violations].flatMap((n, i) => n > before[i]! ? [i] : []);
      const text = reasons.map((i) => VIOLATION_NAMES[i]).join() || 'nothing';
      if (reasons.length !== 1 || reasons[0] !== reason) wrong.push(`${name}: ${text} instead of ${VIOLATION_NAMES[reason]}`);
      const told = hostile.violations();
      if (JSON.stringify(told) !== JSON.stringify([[reason, 1]])) wrong.push(`${name}: told ${JSON.stringify(told)}`);
      if (JSON.stringify(scene.told) !== JSON.stringify([['hostile', reason, 1]])) wrong.push(`${name}: onviolation`);
      // What is right goes out, as it is.
      const pieces = [data(hostile, 300, 4096), data(hostile, 400, 4396)];
      hostile.segment({ ...own, handle: 0, seq, ack: 77, flags: ACK | PSH, pieces }).flush();
      const [out, ...more] = scene.out();
      if (out === undefined || more.length > 0 || out.source !== OURS4 || out.srcPort !== OWN || out.destination !== PEER4
        || out.dstPort !== 8000 || out.seq !== seq || out.ack !== 77 || Buffer.compare(out.payload, good) !== 0) {
        wrong.push(`${name}: then a good segment does not leave as it is`);
      }
      seq += 700;
    }
    t.same(wrong, [], `${list.length} tries`);
    t.equal(hostile.app.counters.Violations, count);
    t.equal(tcpk.counters.Violations, count);
    t.equal(hostile.app.counters.OutSegs, count);
    t.equal(hostile.app.counters.OutOctets, 700 * count);
    if (features !== 0) {
      scene.packets();
      hostile.segment({ ...own, handle: 0, seq, pieces: [data(hostile, 3000)], gsoType: 1, gsoSize: 1460 }).segment({
        ...own, handle: 1, pieces: [data(hostile, 60_000)], gsoType: 4, gsoSize: 8 }).flush();
      t.same(scene.out().map((o) => o.payload.length), [3000, 60_000], 'segments to be cut leave whole');
    }
    t.notOk(hostile.app.gone, 'what is only wrong does not end it');
    t.equal(scene.neighbour.app.counters.Violations, 0);
    t.equal(tcpk.table.flows, 3, 'the flows are as before');
    scene.close();
    t.end();
  });
}

t.test('with its own flow and port it may do what it likes', (t) => {
  const scene = new Scene();
  const { hostile } = scene;
  // Not all headers make sense to a TCP. Whom they are sent to has agreed to talk.
  hostile.segment({ ...own, handle: 0, seq: -5, flags: 0xff, options: [1, 1, 1, 0], pieces: [[hostile.window.memory, 1456]] }).flush();
  hostile.segment({ ...own, handle: 1, pieces: Array.from({ length: 11 }, (_, i) => data(hostile, 100, i)) }).flush();
  hostile.sendTo(OURS4, PEER4, { srcPort: OWN, dstPort: 1, flags: RST }).flush();
  hostile.sendTo(OURS6, PEER6, { srcPort: OWN, dstPort: 65_535 }).flush();
  // Its own flow by addresses.
  hostile.sendTo(OURS4, PEER4, own).flush();
  const out = scene.out();
  t.same(out.map((o) => [o.source, o.srcPort, o.destination, o.dstPort, o.payload.length]), [
    [OURS4, OWN, PEER4, 8000, 1456], [OURS6, OWN, PEER6, 8000, 1100], [OURS4, OWN, PEER4, 1, 0], [OURS6, OWN, PEER6, 65_535, 0],
    [OURS4, OWN, PEER4, 8000, 0],
  ]);
  t.equal(hostile.app.counters.Violations, 0);
  // To itself, and to others on this stack, it goes through the loopback, with its address.
  hostile.sendTo(OURS4, OURS4, { srcPort: OWN, dstPort: NEIGHBOUR, flags: SYN, seq: 9 }).flush();
  t.equal(scene.packets().length, 0);
  const [segment, ...more] = scene.neighbour.segments();
  t.equal(more.length, 0);
  t.same([...segment!.subarray(0, 8)], [OWN >> 8, OWN & 255, 0, NEIGHBOUR, 0, 0, 0, 9]);
  // A flow may be closed, and the handle used again, also in one go.
  hostile.close(0).close(0).close(77).open(0, OURS4, OWN, PEER4, 8001)
    .segment({ handle: 0, srcPort: OWN, dstPort: 8001 }).close(0).flush();
  t.equal(hostile.app.counters.Violations, 0);
  t.equal(scene.out().length, 1);
  t.equal(hostile.app.flowCount, 1);
  scene.close();
  t.end();
});

t.test('on a port that it shares, it cannot take what others have', (t) => {
  const world = new World();
  const [one, other] = [world.attach({ name: 'one' }), world.attach({ name: 'other' })];
  for (const h of [one, other]) h.listen(h.bind('', 8080, { reusePort: true }));
  one.open(0, OURS4, 8080, PEER4, 5000).segment({ handle: 0, srcPort: 8080, dstPort: 5000, seq: 1 }).flush();
  t.equal(world.out().length, 1);
  other.open(0, OURS4, 8080, PEER4, 5000).segment({ handle: 0, srcPort: 8080, dstPort: 5000, seq: 2 })
    .sendTo(OURS4, PEER4, { srcPort: 8080, dstPort: 5000, flags: RST }).flush();
  t.equal(world.out().length, 0, 'nothing on the flow of the other');
  t.equal(other.take().filter((r) => r.type === 6).length, 1, 'the flow was refused');
  world.receive({ srcPort: 5000, dstPort: 8080, seq: 5 });
  t.equal(one.segments().length, 1);
  t.equal(other.segments().length, 0);
  // A kernel-style connection on a port that it may use as well.
  const listener = world.stack.socket(AF_INET);
  if (typeof listener === 'number') throw new Error('socket');
  listener.setsockopt(1, 15, 1);
  t.equal(listener.bind('', 8080), 0);
  t.equal(listener.listen(5), 0);
  let port = 20_000;
  const connections = (): number => world.stack.tcp.connections;
  while (connections() === 0) world.receive({ srcPort: port++, dstPort: 8080, seq: 100, flags: SYN });
  const kernelPort = port - 1;
  world.packets();
  other.take();
  other.open(9, OURS4, 8080, PEER4, kernelPort).segment({ handle: 9, srcPort: 8080, dstPort: kernelPort })
    .sendTo(OURS4, PEER4, { srcPort: 8080, dstPort: kernelPort, flags: RST }).flush();
  t.equal(world.out().length, 0);
  t.equal(connections(), 1);
  t.equal(other.call(4, 10, 0, 0, 0, 0xffff, 0x0a000001, 0, 0, 0xffff, 0x0a000002, kernelPort), -99, 'nor by connect');
  world.close();
  t.end();
});

t.test('an application whose ring does not make sense is thrown out', (t) => {
  const lies: [string, (h: Hostile, w: World) => void][] = [
    ['a tail before the head', ({ window: { words } }) => words[TX_TAIL]! -= 8],
    ['a tail beyond the ring', ({ window: { words, sizes } }) => words[TX_TAIL]! += sizes.txRing + 8],
    ['an odd tail', ({ window: { words } }) => words[TX_TAIL]! += 3],
    ['a record of no length', (h) => raw(h, 0, 2)],
    ['a record of odd length', (h) => raw(h, 13, 2)],
    ['a record of negative length', (h) => raw(h, -64, 2)],
    ['a record longer than the ring', (h) => raw(h, 0x7ffffff8, 2)],
    ['padding where none is', (h) => raw(h, 8, 0)],
    ['a receive ring that was read further than it was written', (h, world) => {
      h.window.words[RX_HEAD]! += h.window.sizes.rxRing;
      // Found out when something is to be written.
      fill(world);
    }],
    ['a receive ring that was read backwards', (h, world) => {
      h.window.words[RX_HEAD]! -= 64;
      fill(world);
    }],
  ];
  function raw(h: Hostile, length: number, type: number): void {
    const { words, txRing, sizes } = h.window;
    const w = (txRing + (words[TX_TAIL]! & (sizes.txRing - 1))) >> 2;
    words[w] = length;
    words[w + 1] = type;
    words[TX_TAIL]! += 64;
  }
  function fill(world: World): void {
    for (let i = 0; i < 200; i++) world.receive({ srcPort: 8000, dstPort: OWN, payload: new Uint8Array(1400) });
  }
  for (const [name, lie] of lies) {
    const scene = new Scene();
    const { hostile, neighbour, tcpk } = scene;
    hostile.segment({ ...own, handle: 0, seq: 1000, ack: 2000 }).flush();
    scene.packets();
    lie(hostile, scene);
    hostile.channel.ring();
    scene.clock.advance(10_000);
    t.ok(hostile.app.gone, name);
    t.type(hostile.reason, 'string', `${name}: told why`);
    t.equal(tcpk.counters.Expelled, 1);
    const [reset] = scene.out();
    t.same([reset?.srcPort, reset?.flags, reset?.seq, reset?.dstPort], [OWN, RST | ACK, 1000, 8000], `${name}: its peer is told`);
    t.equal(hostile.call(1, 0, 0, 0, 0, 0, 0) < 0, true, 'it is nobody any more');
    hostile.channel.ring();
    hostile.channel.close();
    scene.step();
    t.notOk(neighbour.app.gone);
    t.equal(tcpk.table.flows, 1);
    // Its port is free for others, and what comes for it is answered as for any closed port.
    scene.receive({ srcPort: 8000, dstPort: OWN, seq: 1, ack: 4711 });
    t.same(scene.out().map((o) => [o.flags, o.seq]), [[RST, 4711]], `${name}: RST`);
    t.ok(neighbour.bind(OURS4, OWN) >= 0, `${name}: the port is free`);
    scene.close();
  }
  t.end();
});

t.test('the positions that it tells of its own reading are not needed', (t) => {
  const scene = new Scene();
  const { hostile } = scene;
  // The stack's own words: what stands there is nothing to it.
  hostile.window.words[TX_HEAD] = 0x12345678;
  hostile.segment({ ...own, handle: 0, seq: 1 });
  hostile.tx.publish();
  hostile.window.words[TX_TAIL] = hostile.tx.position;
  hostile.channel.ring();
  scene.step();
  t.equal(scene.out().length, 1);
  t.notOk(hostile.app.gone);
  scene.close();
  t.end();
});

t.test('an application that never takes anything out of its ring', (t) => {
  const scene = new Scene();
  const { hostile, neighbour, stack, tcpk } = scene;
  const payload = new Uint8Array(1400);
  const blocks = stack.memory.freeBlocks;
  let delivered = 0;
  for (let i = 0; i < 3000; i++) {
    scene.receive({ srcPort: 8000, dstPort: OWN, seq: i * 1400, payload });
    if (i % 10 === 0) {
      scene.receive({ srcPort: 5000, dstPort: NEIGHBOUR, seq: i, payload });
      delivered += neighbour.segments().filter((s) => s.length === 1420).length;
    }
    // It makes the stack want to tell it things as well.
    if (i % 50 === 0) hostile.segment({ ...own, handle: 77 }).flush();
  }
  t.equal(delivered, 300, 'the neighbour gets everything');
  const { counters } = hostile.app;
  t.ok(counters.InSegs > 130 && counters.InSegs < 190, `${counters.InSegs} segments were put into the ring`);
  t.equal(counters.InRingFull, 3000 - counters.InSegs, 'the others were counted');
  t.equal(stack.memory.freeBlocks, blocks, 'nothing is kept for it');
  t.equal(tcpk.counters.Expelled, 0);
  // It wakes up after all.
  const first = hostile.take();
  t.equal(first.filter((r) => r.type === 1).length, counters.InSegs);
  scene.receive({ srcPort: 8000, dstPort: OWN, payload });
  t.equal(hostile.segments().length, 1, 'there is room again');
  t.equal(hostile.app.counters.InRingFull, 3000 - counters.InSegs + 1);
  scene.close();
  t.end();
});

t.test('floods: a turn has a bound, and so has a call', (t) => {
  const kinds: [string, (h: Hostile, i: number) => void, boolean][] = [
    ['nonsense', (h) => h.record(99, 8), true],
    ['flows of others', (h, i) => h.open(i & 0x7fff, OURS4, NEIGHBOUR, PEER4, 1 + i % 60_000), true],
    ['flows that are refused', (h, i) => h.open(2 + i % 60_000, OURS4, OWN, PEER4, 8000), false],
    ['closing what is not open', (h, i) => h.close(i), false],
    ['segments', (h) => h.segment({ ...own, handle: 0 }), false],
  ];
  for (const [name, write, expelled] of kinds) {
    const scene = new Scene();
    const { hostile, neighbour, tcpk } = scene;
    let put = 0;
    const fill = (): number => {
      const from = put;
      try {
        for (;; put++) write(hostile, put);
      } catch {
        return put - from;
      }
    };
    // When it rings, it gets its turns like everybody.
    const count = fill();
    hostile.tx.publish();
    hostile.channel.ring();
    let turns = 0;
    let delivered = 0;
    while (hostile.window.words[TX_HEAD] !== hostile.window.words[TX_TAIL] && turns < count) {
      let ran = 0;
      scene.clock.runUntil(() => ran++ > 0, 1e6);
      scene.arrive({ srcPort: 5000, dstPort: NEIGHBOUR, seq: turns });
      delivered += neighbour.segments().length;
      turns += 2;
    }
    t.ok(turns >= count / 256 && turns < count, `${name}: ${count} records take ${turns} turns`);
    t.equal(delivered, turns >> 1, `${name}: between them, the neighbour gets its segments`);
    t.notOk(hostile.app.gone);
    // A call takes all that is before it; whoever puts nothing but nonsense there is thrown out.
    fill();
    hostile.tx.publish();
    const before = tcpk.counters.Violations;
    const started = process.hrtime.bigint();
    const result = hostile.bind('', 0);
    const ms = Number(process.hrtime.bigint() - started) / 1e6;
    t.equal(result < 0, expelled, `${name}: call gives ${result} after ${ms.toFixed(1)} ms`);
    scene.step();
    t.equal(hostile.app.gone, expelled);
    if (expelled) t.equal(tcpk.counters.Violations, before + 1025, 'all that were dropped are counted');
    scene.close();
  }
  t.end();
});

t.test('what changes in the window between the record and the link is the payload, and no more', (t) => {
  const world = new World();
  const h = world.attach();
  h.listen(h.bind(OURS4, OWN));
  h.open(0, OURS4, OWN, PEER4, 8000).flush();
  const { window } = h;
  const at = h.put(pattern(1000));
  // The link is full, so that records are checked and queued, but do not leave yet.
  const held: Uint8Array[] = [];
  let full = true;
  world.onpacket = (packet) => {
    if (full) return false;
    held.push(packet);
  };
  for (let i = 0; i < 20; i++) h.segment({ ...own, handle: 0, seq: 1000 * i, pieces: [[at, 1000]] });
  h.flush();
  t.equal(held.length, 0);
  // Everything in the window changes: the records, the data.
  window.bytes.fill(0xee, window.txRing, window.length);
  full = false;
  world.link.writable();
  world.clock.advance(10_000);
  t.equal(held.length, 20);
  for (const [i, packet] of held.entries()) {
    t.equal(packet.length, 1040);
    const checked = [10, 0, 0, 1, 10, 0, 0, 2, OWN >> 8, OWN & 255, 8000 >> 8, 8000 & 255];
    t.same([...packet.subarray(12, 24)], checked, 'addresses and ports are as checked');
    t.same([...packet.subarray(24, 28)], [0, 0, (1000 * i) >> 8, (1000 * i) & 255]);
    t.ok(packet.subarray(40).every((byte) => byte === 0xee), 'only the payload is the new one');
  }
  world.close();
  t.end();
});
