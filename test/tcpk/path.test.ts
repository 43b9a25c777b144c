/**
 * What routers tell (RFC 792, RFC 4443) reaches the application whose segment they complain of, if it is in
 * flight (RFC 5927 section 4); and what the paths carry (RFC 1191, RFC 8201) is known to all of them.
 */

import t from 'tap';
import { attach } from '../../lib/attach.ts';
import type { OwnAttachment } from '../../lib/attach.ts';
import { EACCES, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH } from '../../lib/errno.ts';
import { PATH_MTU_BYTES, PATH_MTU_DST, TO_APP_PATH_MTU } from '../../lib/channel/records.ts';
import { RECORD_TYPE } from '../../lib/channel/ring.ts';
import { IpFlow } from '../../lib/ip/flow.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6, IPPROTO_TCP, SO_ERROR, SOL_SOCKET, TCP_INFO } from '../../lib/socket.ts';
import type { BsdSocket, SocketProvider, TcpInfo } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import { icmp, icmpv6, ipv4, ipv6 } from '../ip/harness.ts';
import { pump } from '../sim/pair.ts';
import { ACK, OURS4, OURS6, PEER4, PEER6, SYN, World, parseTcp } from './world.ts';
import type { Out } from './world.ts';

const ROUTER4 = '10.0.0.254';
const ROUTER6 = 'fd00::254';

/** An ICMP error about `packet`, from a router. */
function complaint(packet: Uint8Array, type: number, code: number, rest = 0): Uint8Array {
  return packet[0]! >> 4 === 4
    ? ipv4(icmp(type, code, rest, packet.subarray(0, 28)), { source: ROUTER4, destination: OURS4, protocol: 1 })
    : ipv6(icmpv6(type, code, rest, packet.subarray(0, 300), ROUTER6, OURS6), { source: ROUTER6, destination: OURS6, nextHeader: 58 });
}

/** The same packet with other bytes at some place: a forgery. */
function changed(packet: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = packet.slice();
  copy.set(bytes, at);
  return copy;
}

/** The same TCP segment, over IPv4, with another sequence number. */
function shifted(packet: Uint8Array, by: number): Uint8Array {
  const copy = packet.slice();
  const view = new DataView(copy.buffer);
  view.setInt32(24, (view.getInt32(24) + by) | 0);
  return copy;
}

function open(host: SocketProvider, v6 = false): BsdSocket {
  const socket = host.socket(v6 ? AF_INET6 : AF_INET, 1, 0);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

function info(socket: BsdSocket): TcpInfo {
  return socket.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
}

function app(world: World): Promise<OwnAttachment> {
  return attach({ stack: world.stack, random: new SeededRandom(3), window: { rxRing: 512 << 10, memory: 4 << 20 } });
}

t.test('an error about a SYN ends the attempt', async (t) => {
  const world = new World();
  const own = await app(world);
  const cases: [string, boolean, number, number, number][] = [
    ['port unreachable', false, 3, 3, ECONNREFUSED], ['host unreachable', false, 3, 1, EHOSTUNREACH],
    ['network unreachable', false, 3, 0, ENETUNREACH], ['no more hops', false, 11, 0, EHOSTUNREACH],
    ['IPv6: port unreachable', true, 1, 4, ECONNREFUSED], ['IPv6: no route', true, 1, 0, ENETUNREACH],
    ['IPv6: prohibited', true, 1, 1, EACCES],
  ];
  for (const [name, v6, type, code, errno] of cases) {
    const socket = open(own, v6);
    let events = 0;
    socket.onready = () => events++;
    socket.connect(v6 ? PEER6 : PEER4, 80);
    world.step();
    const [syn] = world.packets();
    const before = world.tcpk.counters.IcmpErrors;
    world.link.receive(complaint(syn!, type, code));
    world.step();
    t.equal(socket.getsockopt(SOL_SOCKET, SO_ERROR), errno, name);
    t.ok(events > 0, `${name}: told`);
    t.equal(world.tcpk.counters.IcmpErrors, before + 1);
    t.equal(own.tcpu.tcpu.tcp.counters.AttemptFails > 0, true);
    socket.close();
    world.step();
    t.equal(world.tcpk.table.flows, 0, `${name}: nothing is left`);
  }
  t.equal(world.stack.tcp.counters.IcmpErrors + world.stack.tcp.counters.IcmpErrorsIgnored, 0, 'none of it is the kernel-style TCP\'s');
  world.close();
});

t.test('what is not in flight cannot be complained of', async (t) => {
  const world = new World();
  const own = await app(world);
  const other = await app(world);
  const bystander = open(other);
  bystander.connect(PEER4, 81);
  const socket = open(own);
  socket.connect(PEER4, 80);
  world.step();
  const [bystanderSyn, syn] = world.packets();
  const forgeries: [string, Uint8Array][] = [
    ['a sequence number far away', shifted(syn!, 0x40000000)],
    ['one before it', shifted(syn!, -1)],
    ['one behind it', shifted(syn!, 1)],
  ];
  const { counters } = world.tcpk;
  for (const [name, packet] of forgeries) {
    const before = counters.IcmpErrorsIgnored;
    world.link.receive(complaint(packet, 3, 3));
    world.link.receive(complaint(packet, 3, 4, 600));
    world.step();
    t.equal(counters.IcmpErrorsIgnored, before + 2, `${name}: counted`);
  }
  const kernel = world.stack.tcp.counters.IcmpErrorsIgnored;
  for (const [name, packet] of [
    ['another source port', changed(syn!, 20, 0x12, 0x34)], ['another remote port', changed(syn!, 22, 0, 99)],
    ['another remote address', changed(syn!, 16, 10, 0, 0, 3)],
  ] as const) {
    world.link.receive(complaint(packet, 3, 3));
    world.step();
    t.equal(counters.IcmpErrors, 0, `${name}: nobody's`);
  }
  t.equal(world.stack.tcp.counters.IcmpErrorsIgnored, kernel + 3);
  t.equal(socket.getsockopt(SOL_SOCKET, SO_ERROR), 0);
  t.equal(info(socket).state, 'SYN-SENT');
  t.equal(info(socket).pmtu, 1500);

  // A true one about one application's SYN is nothing to the other.
  world.link.receive(complaint(bystanderSyn!, 3, 3));
  world.step();
  t.equal(bystander.getsockopt(SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  t.equal(info(socket).state, 'SYN-SENT');

  // Once the SYN is acknowledged, an error about it is late.
  const sent = parseTcp(syn!)!;
  world.receive({ srcPort: 80, dstPort: sent.srcPort, seq: 999, ack: sent.seq + 1, flags: SYN | ACK });
  t.equal(info(socket).state, 'ESTABLISHED');
  const before = counters.IcmpErrorsIgnored;
  world.link.receive(complaint(syn!, 3, 3));
  world.step();
  t.equal(counters.IcmpErrorsIgnored, before + 1);
  // What is in flight then may be complained of, but ends nothing (RFC 9293 3.9.2.2).
  world.packets();
  socket.send(new Uint8Array(100), 0, 100);
  world.step();
  const data = world.packets().find((packet) => (parseTcp(packet)?.payload.length ?? 0) > 0)!;
  world.link.receive(complaint(data, 3, 1));
  world.step();
  t.equal(counters.IcmpErrors, 2);
  t.equal(own.tcpu.tcpu.tcp.counters.IcmpErrors, 1, 'the application has heard of it');
  t.equal(info(socket).state, 'ESTABLISHED');
  t.equal(socket.getsockopt(SOL_SOCKET, SO_ERROR), EHOSTUNREACH, 'told to who asks (MUST-47)');
  t.equal(socket.getsockopt(SOL_SOCKET, SO_ERROR), 0, 'once');
  world.close();
});

/** A host behind a router whose next link carries less. */
class Narrow extends World {
  readonly b: Stack;
  readonly #far: PacketLink;
  narrow: number;
  /** Complaints of the router, and the longest packet that it has let through. */
  complaints = 0;
  longest = 0;

  constructor(narrow: number) {
    super();
    this.narrow = narrow;
    this.#far = new PacketLink({ send: (packet) => this.link.receive(packet) });
    this.b = createStack({
      link: this.#far, addresses: [`${PEER4}/24`, `${PEER6}/64`], clock: this.clock, random: new SeededRandom(5), memory: 8 << 20,
    });
    this.onpacket = (packet) => {
      if (packet.length <= this.narrow) {
        this.longest = Math.max(this.longest, packet.length);
        this.#far.receive(packet);
        return;
      }
      this.complaints++;
      this.link.receive(packet[0]! >> 4 === 4 ? complaint(packet, 3, 4, this.narrow) : complaint(packet, 2, 0, this.narrow));
    };
  }

  until(done: () => boolean): void {
    if (!this.clock.runUntil(done, 60e6)) throw new Error('it does not happen');
  }

  /** An application's end, and the far host's. */
  connection(host: SocketProvider, port: number, { v6 = false, active = true } = {}): [BsdSocket, BsdSocket] {
    const listener = open(active ? this.b : host, v6);
    if (listener.bind('', port) < 0 || listener.listen(5) < 0) throw new Error('listen');
    const client = open(active ? host : this.b, v6);
    client.connect(active ? v6 ? PEER6 : PEER4 : v6 ? OURS6 : OURS4, port);
    let server: BsdSocket | number = -1;
    this.until(() => {
      if (typeof server === 'number') server = listener.accept();
      return typeof server !== 'number';
    });
    listener.close();
    return active ? [client, server as unknown as BsdSocket] : [server as unknown as BsdSocket, client];
  }

  transfer(from: BsdSocket, to: BsdSocket, bytes = 300_000): void {
    const flow = pump(from, to, bytes);
    this.until(() => flow.received === bytes);
  }
}

for (const v6 of [false, true]) {
  const [narrow, header] = v6 ? [1300, 40] : [1000, 20];
  t.test(`a path that carries less, IPv${v6 ? 6 : 4}`, async (t) => {
    const world = new Narrow(narrow);
    const one = await app(world);
    const two = await app(world);
    const [ours, theirs] = world.connection(one, 7000, { v6 });
    const [others, othersTheirs] = world.connection(two, 7001, { v6 });
    const [kernel, kernelTheirs] = world.connection(world.stack, 7002, { v6 });
    t.equal(info(ours).pmtu, 1500);
    world.transfer(ours, theirs);
    t.ok(world.complaints > 0 && world.longest === narrow, `${world.complaints} complaints`);
    t.equal(info(ours).pmtu, narrow);
    t.equal(info(ours).sndMss, narrow - header - 20 - 12, 'MSS without timestamps');
    t.equal(one.tcpu.tcpu.tcp.counters.RetransSegs < 40, true, 'what was too large was sent again, at once');

    // All who send there know it now.
    world.complaints = 0;
    world.transfer(others, othersTheirs);
    world.transfer(kernel, kernelTheirs);
    t.equal(world.complaints, 0, 'nobody had to be told again');
    t.same([info(others).pmtu, info(kernel).pmtu], [narrow, narrow]);

    // So do those who come later: who connects, and who is connected to; in an application that was not there then.
    const late = await app(world);
    for (const active of [true, false]) {
      const [mine, far] = world.connection(late, 7010 + Number(active), { v6, active });
      world.transfer(mine, far);
      t.equal(world.complaints, 0, active ? 'connect' : 'accept');
      t.equal(info(mine).pmtu, narrow);
    }
    t.same([one, two, late].map(({ tcpu: { tcpu } }) => tcpu.tcp.counters.RetransSegs > 0), [true, false, false], 'no other loss');
    t.equal(world.tcpk.counters.Violations, 0, 'nobody did wrong');

    // It is forgotten after ten minutes, and all know that as well, whoever has a connection, or had one.
    const passive = await app(world);
    const [heard, heardFar] = world.connection(passive, 7020, { v6, active: false });
    t.equal(info(heard).pmtu, narrow);
    heardFar.close();
    heard.close();
    world.narrow = 1500;
    world.clock.advance(700e6);
    t.equal(info(ours).pmtu, 1500, 'an open connection');
    world.longest = 0;
    world.transfer(others, othersTheirs);
    t.equal(world.longest, 1500);
    const [again, againFar] = world.connection(passive, 7020, { v6, active: false });
    world.transfer(again, againFar);
    t.equal(info(again).pmtu, 1500, 'an application that had none then');
    t.equal(world.complaints, 0);
    world.close();
    void world.b.close({ graceful: false });
  });
}

t.test('a segment that was on its way to the stack when the path became narrow', async (t) => {
  const world = new World();
  const h = world.attach();
  const port = h.connect(0, PEER4, 80);
  const fields = { handle: 0, srcPort: port, dstPort: 80 };
  h.segment({ ...fields, seq: 1, pieces: [[h.window.memory, 1400]] }).flush();
  const [first] = world.packets();
  world.link.receive(complaint(first!, 3, 4, 1000));
  world.step();
  const news = h.take().filter((one) => one.type === 3);
  t.equal(news.length, 1);
  t.same(news[0]!.words.slice(2, 7), [0, 0, 0xffff, 0x0a000002, 1000]);
  // It has not heard yet: no violation, but no packet either; it is told again.
  h.segment({ ...fields, seq: 1401, pieces: [[h.window.memory, 1400]] }).flush();
  t.equal(world.out().length, 0);
  t.equal(h.app.counters.OutTooBig, 1);
  t.equal(h.app.counters.Violations, 0);
  t.equal(h.take().filter((one) => one.type === 3).length, 1);
  // What could never have been right is one.
  h.segment({ ...fields, seq: 1401, pieces: [[h.window.memory, 1461]] }).flush();
  t.same([h.app.counters.OutTooBig, h.app.counters.Violations], [1, 1]);
  h.segment({ ...fields, seq: 1, pieces: [[h.window.memory, 960]] }).flush();
  t.same(world.out().map((o: Out) => o.bytes), [1000]);
  world.close();
});

t.test('what a path carries is told in the end, however full the ring was, and the latest of it', (t) => {
  const world = new World();
  const hostile = world.attach();
  const { ingress } = hostile.app;
  const flow = (i: number, mtu: number): IpFlow => Object.assign(new IpFlow(), { r2: 0xffff, r3: i, mtu });
  // Nobody takes anything.
  world.stack.enter();
  for (let i = 0; !ingress.late; i++) ingress.tellPathMtu(flow(1000 + i, 1280));
  for (const [to, mtu] of [[1, 1300], [2, 1300], [1, 1500], [2, 1400], [2, 1500], [3, 1280]] as const) ingress.tellPathMtu(flow(to, mtu));
  world.stack.leave();
  const told = new Map<number, number>();
  const take = (): void => {
    for (let w = hostile.rx.next(); w >= 0; w = hostile.rx.next()) {
      if (hostile.window.words[w + RECORD_TYPE] !== TO_APP_PATH_MTU) t.fail('another record');
      told.set(hostile.window.words[w + PATH_MTU_DST + 3]!, hostile.window.words[w + PATH_MTU_BYTES]!);
    }
    hostile.rx.release();
  };
  take();
  t.same([told.get(1), told.get(2), told.get(3)], [undefined, undefined, undefined]);
  world.clock.advance(100_000);
  take();
  t.same([told.get(1), told.get(2), told.get(3)], [1500, 1500, 1280]);
  t.notOk(ingress.late);
  const before = hostile.bells;
  world.clock.advance(1_000_000);
  t.equal(hostile.bells, before, 'and then there is peace');
  world.close();
  t.end();
});
