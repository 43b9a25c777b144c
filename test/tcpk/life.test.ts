/**
 * Applications come and go. What one leaves behind when it dies: nothing in the stack, and a reset for each of
 * its peers, with numbers that end the peer's connection at once (RFC 5961 section 3: only the exact one does).
 */

import { once } from 'node:events';
import fc from 'fast-check';
import t from 'tap';
import { attach } from '../../lib/attach.ts';
import type { OwnAttachment } from '../../lib/attach.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { ECONNREFUSED, ECONNRESET, ENETDOWN } from '../../lib/errno.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6, POLLIN, SHUT_WR, SO_ERROR, SO_RCVBUF, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket, SocketProvider } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import type { LocalChannel } from '../../lib/tcpk/local-channel.ts';
import { WindowSpace } from '../../lib/tcpk/window-space.ts';
import { pump } from '../sim/pair.ts';
import { ACK, FIN, OURS4, OURS6, PEER4, PEER6, PSH, RST, SIZES, SYN, World, parseTcp } from './world.ts';

/** A stack with an application, and a host at the other end. */
class Hosts {
  readonly clock = new VirtualClock(1_000_000);
  readonly a: Stack;
  readonly b: Stack;
  app!: OwnAttachment;

  static async create(): Promise<Hosts> {
    const hosts = new Hosts();
    hosts.app = await hosts.attach();
    return hosts;
  }

  private constructor() {
    const { clock } = this;
    const [left, right] = createMemoryPair({ clock, latencyUs: 1000 });
    const common = { clock, memory: 8 << 20 };
    this.a = createStack({
      ...common, link: left, addresses: [`${OURS4}/24`, `${OURS6}/64`], random: new SeededRandom(1),
      applications: { shared: false, windowBytes: 32 << 20 },
    });
    this.b = createStack({ ...common, link: right, addresses: [`${PEER4}/24`, `${PEER6}/64`], random: new SeededRandom(2) });
  }

  attach(): Promise<OwnAttachment> {
    return attach({ stack: this.a, random: new SeededRandom(3), window: SIZES });
  }

  open(host: SocketProvider, domain = AF_INET): BsdSocket {
    const socket = host.socket(domain, 1, 0);
    if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
    return socket;
  }

  until(done: () => boolean): void {
    if (!this.clock.runUntil(done, 30e6)) throw new Error('it does not happen');
  }

  /** Both ends of a connection, the application's (or the kernel-style TCP's) first. */
  connect(port: number, { host = this.app as SocketProvider, v6 = false, rcvbuf = 0, active = false } = {}): [BsdSocket, BsdSocket] {
    const domain = v6 ? AF_INET6 : AF_INET;
    const [server, client] = active ? [this.b, host] : [host, this.b];
    const listener = this.open(server, domain);
    if (rcvbuf > 0) listener.setsockopt(SOL_SOCKET, SO_RCVBUF, rcvbuf);
    if (listener.bind('', port) !== 0 || listener.listen(5) !== 0) throw new Error(`listen ${port}`);
    const one = this.open(client, domain);
    if (rcvbuf > 0) one.setsockopt(SOL_SOCKET, SO_RCVBUF, rcvbuf);
    one.connect(active ? v6 ? PEER6 : PEER4 : v6 ? OURS6 : OURS4, port);
    let other: BsdSocket | number = -1;
    this.until(() => {
      if (typeof other === 'number') other = listener.accept();
      return typeof other !== 'number';
    });
    listener.close();
    return active ? [one, other as unknown as BsdSocket] : [other as unknown as BsdSocket, one];
  }

  /** The application dies: no word to anybody. */
  kill(app = this.app): void {
    app.channel.close();
  }

  close(): void {
    void this.a.close({ graceful: false });
    void this.b.close({ graceful: false });
  }
}

const BYTES = new Uint8Array(1 << 20).map((_, i) => i);

t.test('the peer of a dead application is told at once, whatever the connection was at', async (t) => {
  /** Brings the connection there; returns the peer's socket. */
  const cases: [string, (h: Hosts) => BsdSocket][] = [
    ['idle, opened by the peer', (h) => h.connect(80)[1]],
    ['idle, opened by the application', (h) => h.connect(80, { active: true })[1]],
    ['idle, IPv6', (h) => h.connect(80, { v6: true })[1]],
    ['data has gone both ways', (h) => {
      const [ours, theirs] = h.connect(80);
      const flows = [pump(ours, theirs, 100_000), pump(theirs, ours, 100_000)];
      h.until(() => flows[1]!.received === 100_000);
      return theirs;
    }],
    ['data of the application is under way', (h) => {
      const [ours, theirs] = h.connect(80);
      ours.send(BYTES, 0, 50_000);
      h.clock.advance(300);
      return theirs;
    }],
    ['data of the application was not acknowledged yet', (h) => {
      const [ours, theirs] = h.connect(80);
      ours.send(BYTES, 0, 10_000);
      h.clock.advance(1500);
      return theirs;
    }],
    ['the application has not read what came', (h) => {
      const [, theirs] = h.connect(80);
      theirs.send(BYTES, 0, 30_000);
      h.clock.advance(10_000);
      return theirs;
    }],
    ['data of the peer is under way', (h) => {
      const [, theirs] = h.connect(80);
      theirs.send(BYTES, 0, 10_000);
      h.clock.advance(300);
      return theirs;
    }],
    ['the peer\'s window is closed', (h) => {
      const [ours, theirs] = h.connect(80, { rcvbuf: 20_000 });
      ours.send(BYTES, 0, 1 << 20);
      // Until there is nothing but probes.
      h.clock.advance(3_000_000);
      return theirs;
    }],
    ['the application has closed, the peer has not', (h) => {
      const [ours, theirs] = h.connect(80);
      ours.shutdown(SHUT_WR);
      h.clock.advance(10_000);
      return theirs;
    }],
    ['the peer has closed, the application has not', (h) => {
      const [, theirs] = h.connect(80);
      theirs.shutdown(SHUT_WR);
      h.clock.advance(10_000);
      return theirs;
    }],
    ['the FIN of the application is under way', (h) => {
      const [ours, theirs] = h.connect(80);
      ours.send(BYTES, 0, 5000);
      ours.shutdown(SHUT_WR);
      h.clock.advance(300);
      return theirs;
    }],
  ];
  for (const [name, bring] of cases) {
    const h = await Hosts.create();
    const [kernelOurs, kernelTheirs] = h.connect(90, { host: h.a });
    const theirs = bring(h);
    const resets = h.b.tcp.counters.EstabResets;
    const expected = h.b.tcp.connections;
    h.kill();
    // As long as one segment takes: there was no time for a challenge (RFC 5961 3.2) and its answer.
    h.clock.advance(1000);
    const scratch = new Uint8Array(1 << 20);
    // What arrived before the reset may be read; then it ends.
    let result = theirs.recv(scratch, 0, scratch.length);
    while (result > 0) result = theirs.recv(scratch, 0, scratch.length);
    const pending = theirs.getsockopt(SOL_SOCKET, SO_ERROR);
    t.equal(h.b.tcp.connections, expected - 1, `${name}: the connection has ended`);
    t.equal(h.b.tcp.counters.EstabResets, resets + 1, `${name}: by a reset`);
    const told = result === -ECONNRESET || pending === ECONNRESET || result === 0 || result === -32;
    t.ok(told, `${name}: recv ${result}, SO_ERROR ${String(pending)}`);
    t.equal(h.a.tcpk!.table.flows, 0);
    t.equal(h.a.tcpk!.counters.OutResets, 1);
    // The kernel-style TCP goes on.
    const flow = pump(kernelOurs, kernelTheirs, 100_000);
    h.until(() => flow.received === 100_000);
    theirs.close();
    h.close();
  }
});

t.test('the reset has the last numbers that the application used', (t) => {
  const world = new World();
  const h = world.attach();
  h.listen(h.bind(OURS4, 80));
  const own = { srcPort: 80 };
  // SYN-RECEIVED.
  h.open(0, OURS4, 80, PEER4, 5000).segment({ ...own, dstPort: 5000, handle: 0, seq: -1, ack: 101, flags: SYN | ACK });
  // Established: data beyond the wrap, then an older segment again, then an ACK of more.
  h.open(1, OURS4, 80, PEER4, 5001).segment({ ...own, dstPort: 5001, handle: 1, seq: -10, ack: 1, flags: SYN | ACK })
    .segment({ ...own, dstPort: 5001, handle: 1, seq: -9, ack: 1, flags: ACK | PSH, pieces: [[h.window.memory, 100]] })
    .segment({ ...own, dstPort: 5001, handle: 1, seq: -9, ack: 5, flags: ACK, pieces: [[h.window.memory, 50]] })
    .segment({ ...own, dstPort: 5001, handle: 1, seq: 91, ack: 0x7fffffff, flags: ACK });
  // FIN sent.
  h.open(2, OURS4, 80, PEER4, 5002)
    .segment({ ...own, dstPort: 5002, handle: 2, seq: 1000, ack: 7, flags: ACK | FIN, pieces: [[h.window.memory, 10]] });
  // It has reset this one itself; this one was closed; this one never said anything.
  h.open(3, OURS4, 80, PEER4, 5003).segment({ ...own, dstPort: 5003, handle: 3, seq: 1, flags: RST });
  h.open(4, OURS4, 80, PEER4, 5004).segment({ ...own, dstPort: 5004, handle: 4, seq: 1 }).close(4);
  h.open(5, OURS4, 80, PEER4, 5005);
  h.flush();
  // SYN-SENT: nothing to acknowledge.
  const port = h.connect(6, PEER4, 99);
  h.segment({ srcPort: port, dstPort: 99, handle: 6, seq: 500, flags: SYN }).flush();
  world.packets();
  // Records that the stack has not taken when it dies are no longer sent.
  h.segment({ ...own, dstPort: 5000, handle: 0, seq: 4000, flags: ACK });
  h.tx.publish();
  h.channel.close();
  const out = world.out();
  t.same(out.map((o) => [o.srcPort, o.dstPort, o.flags, o.seq, o.ack]), [
    [80, 5000, RST | ACK, 0, 101], [80, 5001, RST | ACK, 91, 0x7fffffff], [80, 5002, RST | ACK, 1011, 7], [port, 99, RST, 501, 0],
  ]);
  t.equal(world.tcpk.counters.OutResets, 4);
  world.close();
  t.end();
});

t.test('its ports are free at once, and what still comes for them is answered', async (t) => {
  const h = await Hosts.create();
  const listener = h.open(h.app);
  listener.bind('', 80);
  listener.listen(5);
  const half = h.open(h.b);
  half.connect(OURS4, 80);
  const kernel = h.open(h.a);
  t.ok(kernel.bind('', 80) < 0);
  h.kill();
  t.equal(kernel.bind('', 80), 0, 'before anything else has happened');
  kernel.close();
  h.clock.advance(5000);
  t.equal(half.getsockopt(SOL_SOCKET, SO_ERROR), ECONNREFUSED, 'a SYN that was under way');
  const again = await h.attach();
  const next = h.open(again);
  t.equal(next.bind('', 80), 0);
  t.equal(next.listen(5), 0);
  const client = h.open(h.b);
  client.connect(OURS4, 80);
  h.until(() => typeof next.accept() !== 'number');
  h.close();
});

t.test('one who is killed while the link is full', (t) => {
  const world = new World();
  const free = world.stack.windows!.freeBytes;
  const h = world.attach();
  h.listen(h.bind(OURS4, 80));
  h.open(0, OURS4, 80, PEER4, 5000).flush();
  const at = h.put(new Uint8Array(1000).fill(7));
  const out: Uint8Array[] = [];
  let full = true;
  world.onpacket = (packet) => {
    if (full) return false;
    out.push(packet);
  };
  for (let i = 0; i < 10; i++) h.segment({ handle: 0, srcPort: 80, dstPort: 5000, seq: i * 1000, pieces: [[at, 1000]] });
  h.flush();
  h.channel.close();
  world.clock.advance(100_000);
  t.equal(world.tcpk.leaving, 1, 'its window stays as long as queued packets lie in it');
  t.ok(world.stack.windows!.freeBytes < free);
  t.equal(h.reason, null);
  // Somebody else gets other memory.
  const other = world.attach();
  other.window.bytes.fill(0xee, other.window.memory);
  full = false;
  world.link.writable();
  world.clock.advance(100_000);
  t.equal(world.tcpk.leaving, 0);
  t.equal(h.reason, 'closed');
  const segments = out.map((packet) => parseTcp(packet)!);
  t.equal(segments.length, 11);
  const untouched = segments.slice(0, 10).every((o) => o.payload.length === 1000 && o.payload.every((byte) => byte === 7));
  t.ok(untouched, 'as they were when they were sent');
  t.same([segments[10]!.flags & RST, segments[10]!.seq], [RST, 10_000]);
  other.channel.close();
  world.step();
  t.equal(world.stack.windows!.freeBytes, free);
  world.close();
  t.end();
});

t.test('a thousand applications, one after the other, leave nothing', { timeout: 60_000 }, (t) => {
  const world = new World();
  const { stack, tcpk } = world;
  const random = new SeededRandom(9);
  const before = JSON.stringify([stack.windows!.freeBytes, stack.memory.freeBlocks, tcpk.table.flows, tcpk.table.bound]);
  let bases = 0;
  for (let i = 0; i < 1000; i++) {
    const h = world.attach({ sizes: { memory: (1 << 20) + (random.int32() & 7) * 4096 } });
    bases = Math.max(bases, h.window.base);
    h.listen(h.bind('', 80));
    h.bind(OURS6, 0);
    for (let k = 0; k < 5; k++) {
      h.connect(k, PEER4, 80);
      h.open(10 + k, OURS4, 80, PEER4, 5000 + k)
        .segment({ handle: 10 + k, srcPort: 80, dstPort: 5000 + k, seq: i, pieces: [[h.window.memory, 1000]] });
    }
    if (i % 2 === 0) h.flush();
    world.receive({ srcPort: 5000, dstPort: 80, seq: 1 });
    if (i % 3 === 0) h.window.words[32] = 0x12345;
    if (i % 5 === 0) tcpk.expel(h.app, 'test');
    else h.channel.close();
    if (i % 7 === 0) h.channel.close();
    world.step();
    if (!h.app.gone || h.reason === null) throw new Error(`application ${i} is still there`);
    world.packets();
  }
  t.equal(JSON.stringify([stack.windows!.freeBytes, stack.memory.freeBlocks, tcpk.table.flows, tcpk.table.bound]), before);
  t.equal(tcpk.applications.size, 0);
  t.equal(tcpk.leaving, 0);
  t.same([tcpk.counters.Attached, tcpk.counters.Detached], [1000, 1000]);
  t.equal(tcpk.table.usersOf(80), 0);
  t.notOk(stack.ports.bindings.inUse(80));
  t.equal(bases, stack.windows!.start, 'the same memory again and again');
  world.close();
  t.end();
});

t.test('as many applications as there is room for', (t) => {
  const world = new World({ applications: { shared: false, windowBytes: 5 << 20 } });
  const list = [world.attach(), world.attach()];
  list.push(world.attach());
  t.throws(() => world.attach(), { name: 'RangeError', message: /no room for another application/ });
  list[1]!.channel.close();
  world.step();
  t.equal(world.attach().window.base, list[1]!.window.base);
  t.throws(() => world.attach());
  t.throws(() => world.attach({ sizes: { rxRing: 1000 } }), { message: /rxRing/ });
  world.close();
  t.end();
});

t.test('the space for windows against a model', (t) => {
  const PAGES = 64;
  const steps = fc.array(fc.record({ take: fc.boolean(), n: fc.nat(20) }), { maxLength: 100, size: 'max' });
  fc.assert(fc.property(steps, (list) => {
    const space = new WindowSpace(4096, PAGES * 4096, false);
    const pages = new Array<number>(PAGES).fill(0);
    const taken: [number, number][] = [];
    let id = 1;
    for (const { take, n } of list) {
      if (take) {
        const bytes = n * 4096 + (n % 2 === 0 ? 1 : 4096);
        const count = Math.ceil(bytes / 4096);
        const at = space.allocate(bytes);
        const run = pages.reduce(([now, most], page) => page === 0 ? [now! + 1, Math.max(most!, now! + 1)] : [0, most!], [0, 0])[1]!;
        if ((at >= 0) !== (run >= count)) throw new Error(`${count} pages: ${at}, ${run} are free in a row`);
        if (at < 0) continue;
        const first = (at - space.start) / 4096;
        const there = pages.slice(first, first + count);
        if (there.length !== count || there.some((page) => page !== 0)) throw new Error('taken twice, or outside');
        pages.fill(id++, first, first + count);
        taken.push([at, bytes]);
      } else {
        const [one] = taken.splice(n, 1);
        if (one === undefined) continue;
        space.free(...one);
        pages.fill(0, (one[0] - space.start) / 4096, (one[0] - space.start) / 4096 + Math.ceil(one[1] / 4096));
      }
      if (space.freeBytes !== pages.filter((page) => page === 0).length * 4096) throw new Error('freeBytes');
    }
    for (const one of taken) space.free(...one);
    if (space.allocate(PAGES * 4096) !== space.start) throw new Error('not one piece again');
  }), { numRuns: 300 });
  t.pass();
  t.end();
});

t.test('the stack closes', async (t) => {
  for (const graceful of [true, false]) {
    const h = await Hosts.create();
    const [ours, theirs] = h.connect(80);
    const waiting = h.open(h.app);
    waiting.bind('', 81);
    waiting.listen(5);
    const down: string[] = [];
    const order: string[] = [];
    h.app.on('down', (reason) => {
      down.push(reason);
      order.push('down');
    });
    h.app.on('close', () => order.push('close'));
    let told = 0;
    ours.onready = () => told++;
    const closed = h.a.close({ graceful });
    h.clock.advance(3_000_000);
    await closed;
    t.same(down, ['the stack has closed'], `graceful ${graceful}`);
    t.same(order, ['down', 'close']);
    t.ok(told > 0, 'its sockets are told');
    t.ok(ours.recv(new Uint8Array(10), 0, 10) < 0);
    t.equal(h.app.socket(AF_INET, 1, 0), -ENETDOWN);
    t.equal(h.app.channel.call(new Int32Array(64), 7), -ENETDOWN);
    h.clock.advance(1_000_000);
    t.equal(h.b.tcp.connections, 0, 'the peer was reset');
    t.equal(theirs.getsockopt(SOL_SOCKET, SO_ERROR), ECONNRESET);
    t.equal(h.a.windows!.freeBytes, h.a.windows!.end - h.a.windows!.start);
    // Closing what is closed is fine.
    await h.app.close();
    h.app.channel.close();
    h.close();
  }
});

t.test('applications that go in the middle of a turn', async (t) => {
  const h = await Hosts.create();
  const second = await h.attach();
  const [ours, theirs] = h.connect(80);
  const [secondOurs, secondTheirs] = h.connect(81, { host: second });
  const order: string[] = [];
  // One that closes itself, and one that ends another, from inside of their callbacks.
  ours.onready = () => {
    order.push('first');
    second.channel.close();
    void h.app.close({ graceful: false });
  };
  secondOurs.onready = () => order.push('second');
  second.on('down', () => order.push('down'));
  theirs.send(BYTES, 0, 100);
  secondTheirs.send(BYTES, 0, 100);
  h.clock.advance(1_000_000);
  t.ok(order.includes('first') && order.includes('down'), order.join());
  t.equal(h.a.tcpk!.applications.size, 0);
  t.equal(h.b.tcp.connections, 0, 'both peers were told');
  t.equal(h.a.windows!.freeBytes, h.a.windows!.end - h.a.windows!.start);
  // An attachment from inside the news that another has ended.
  const third = await h.attach();
  let fourth: Promise<OwnAttachment> | null = null;
  third.on('down', () => fourth = h.attach());
  third.channel.close();
  h.clock.advance(1000);
  const last = await fourth!;
  const [a, b] = h.connect(82, { host: last });
  const flow = pump(a, b, 10_000);
  h.until(() => flow.received === 10_000);
  h.close();
});

t.test('listeners hear that the stack has gone, on whichever TCP they are: error, then close', async (t) => {
  const h = await Hosts.create();
  const order: string[] = [];
  for (const tcp of ['tcpu', 'kernel'] as const) {
    const server = h.app.netOf(tcp).createServer().listen(tcp === 'tcpu' ? 80 : 81);
    server.on('error', (error: NodeJS.ErrnoException) => {
      order.push(`${tcp} ${error.code} ${error.syscall}`);
      t.notOk(server.listening);
    });
    server.on('close', () => order.push(`${tcp} close`));
    await once(server, 'listening');
  }
  const raw = h.open(h.app);
  raw.bind('', 82);
  raw.listen(5);
  raw.onready = (events) => order.push(`raw ${events & POLLIN} ${raw.accept()}`);
  void h.a.close({ graceful: false });
  h.clock.advance(1000);
  await new Promise(setImmediate);
  t.same(order.sort(), ['kernel ENETDOWN accept', 'kernel close', `raw ${POLLIN} ${-ENETDOWN}`, 'tcpu ENETDOWN accept', 'tcpu close']);
  h.close();
});

t.test('who closes an attachment hears of no error', async (t) => {
  for (const graceful of [true, false]) {
    const h = await Hosts.create();
    const server = h.app.netOf('tcpu').createServer().listen(80);
    server.on('error', (error) => t.fail(error.message));
    await once(server, 'listening');
    void h.app.close({ graceful });
    h.clock.advance(1000);
    await new Promise(setImmediate);
    h.close();
  }
});

t.test('the news comes after the turn in which it happened', async (t) => {
  const h = await Hosts.create();
  const order: string[] = [];
  h.app.on('down', () => order.push('down'));
  h.a.enter();
  h.a.tcpk!.expel((h.app.channel as LocalChannel).application, 'of the test');
  order.push('expelled');
  h.a.leave();
  order.push('turn over');
  t.same(order, ['expelled', 'turn over']);
  t.equal(h.app.channel.call(new Int32Array(64), 7), -ENETDOWN, 'calls know it at once');
  h.clock.advance(0);
  t.same(order, ['expelled', 'turn over', 'down']);
  h.close();
});

t.test('a call that makes the stack throw leaves its turns in order', async (t) => {
  const h = await Hosts.create();
  const { tcpk } = h.a;
  const bind = tcpk!.bind;
  tcpk!.bind = () => {
    throw new Error('a defect of the stack');
  };
  const socket = h.open(h.app);
  t.throws(() => socket.bind('', 5000), /a defect/);
  tcpk!.bind = bind;
  // Turns end, output leaves, doorbells are rung.
  const [a, b] = h.connect(82);
  const flow = pump(a, b, 100_000);
  h.until(() => flow.received === 100_000);
  h.close();
});
