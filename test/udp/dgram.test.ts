/** What `node:dgram` has no counterpart for, or cannot be brought to: 'icmpError', a link that takes nothing, virtual time. */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import type { Link, LinkHost } from '../../lib/link/link.ts';
import type { DgramIcmpError } from '../../lib/net/dgram.ts';
import { createStack } from '../../lib/stack.ts';
import { A, B, B6, twoStacks } from './two-stacks.ts';

function tick(): Promise<void> {
  return new Promise(setImmediate);
}

t.test("'icmpError' tells a socket that is not connected", async (t) => {
  const { clock, a } = twoStacks(t);
  for (const [type, address] of [['udp4', B], ['udp6', B6]] as const) {
    const socket = a.dgram.createSocket(type);
    socket.on('error', (error) => t.fail(error.message));
    const errors: DgramIcmpError[] = [];
    socket.on('icmpError', (error) => errors.push(error));
    socket.send('x', 4444, address);
    await tick();
    clock.advance(0);
    t.equal(errors.length, 1);
    const error = errors[0]!;
    t.ok(error instanceof Error);
    t.equal(error.message, `recvmsg ECONNREFUSED ${address}:4444`);
    t.match(error, { code: 'ECONNREFUSED', errno: -111, syscall: 'recvmsg', address, port: 4444, from: address, mtu: 0 });
    socket.close();
  }
});

t.test('messages come within the turn in which the packets arrive', async (t) => {
  const { clock, a, b } = twoStacks(t, { latencyUs: 1000 });
  const server = b.dgram.createSocket('udp4', (msg, rinfo) => server.send(msg, rinfo.port, rinfo.address));
  server.bind(7);
  const client = a.dgram.createSocket('udp4');
  client.bind();
  await tick();
  const got: string[] = [];
  client.on('message', (msg) => got.push(String(msg)));
  client.send('one', 7, B);
  client.send('two', 7, B);
  clock.advance(1999);
  t.same(got, []);
  clock.advance(1);
  t.same(got, ['one', 'two']);
  client.close();
  server.close();
});

t.test('a message is a copy', async (t) => {
  const { clock, a, b } = twoStacks(t);
  const got: Buffer[] = [];
  const server = b.dgram.createSocket('udp4', (msg) => got.push(msg));
  server.bind(7);
  const client = a.dgram.createSocket('udp4');
  client.bind();
  await tick();
  for (const text of ['first', 'again']) {
    client.send(text, 7, B);
    clock.advance(0);
  }
  t.same(got.map(String), ['first', 'again']);
  client.close();
  server.close();
});

/** A link that can be stopped from taking packets. */
class StubbornLink implements Link {
  readonly name = 'stubborn';
  readonly mtu = 1500;
  readonly features = 0;
  host: LinkHost | null = null;
  taking = true;
  taken = 0;

  attach(host: LinkHost): void {
    this.host = host;
  }

  send(queue: { head: number; tail: number }): void {
    if (!this.taking) return;
    this.taken += queue.tail - queue.head;
    queue.head = queue.tail;
  }

  ref(): void {}
  unref(): void {}
  close(): void {}
}

t.test('sends wait, in order, while the link takes nothing', async (t) => {
  const link = new StubbornLink();
  const stack = createStack({ link: link as unknown as Link, addresses: [`${A}/24`], clock: new VirtualClock() });
  const socket = stack.dgram.createSocket('udp4');
  socket.bind();
  await tick();
  link.taking = false;
  const done: number[] = [];
  for (let i = 0; i < 2000; i++) socket.send(`datagram ${i}`, 9, B, () => done.push(i));
  await tick();
  const waiting = socket.getSendQueueCount();
  t.ok(waiting > 900, 'the rest waits');
  t.ok(socket.getSendQueueSize() > waiting * 9);
  t.equal(done.length, 2000 - waiting);
  link.taking = true;
  while (socket.getSendQueueCount() > 0) {
    const before = socket.getSendQueueCount();
    link.host!.writable();
    if (socket.getSendQueueCount() === before) return t.fail('no progress');
  }
  await tick();
  t.equal(link.taken, 2000);
  t.same(done, [...done].sort((x, y) => x - y));
  t.equal(done.length, 2000);
  t.equal(socket.getSendQueueSize(), 0);

  link.taking = false;
  const ends: (string | null)[] = [];
  for (let i = 0; i < 2000; i++) {
    socket.send('x', 9, B, (error) => ends.push(error === null ? null : `${(error as NodeJS.ErrnoException).code} ${error.message}`));
  }
  socket.close();
  await tick();
  t.equal(ends.length, 2000);
  t.equal(ends[1999], `ECANCELED send ECANCELED ${B}:9`, 'what waits when it is closed');
  await stack.close({ graceful: false });
});

t.test('multicast membership binds, and takes effect', async (t) => {
  const { clock, a, b } = twoStacks(t);
  const got: string[] = [];
  const member = b.dgram.createSocket({ type: 'udp4', reuseAddr: true }, (msg) => got.push(String(msg)));
  member.bind(5353, () => member.addMembership('224.0.0.251'));
  const sender = a.dgram.createSocket('udp4');
  sender.bind();
  const lazy = b.dgram.createSocket('udp4');
  lazy.addMembership('239.0.0.1');
  await tick();
  t.not(lazy.address().port, 0, 'bound by joining');
  sender.send('hello', 5353, '224.0.0.251');
  clock.advance(0);
  t.same(got, ['hello']);
  member.dropMembership('224.0.0.251');
  sender.send('nobody', 5353, '224.0.0.251');
  clock.advance(0);
  t.same(got, ['hello']);
  t.throws(() => member.addSourceSpecificMembership('10.0.0.1', '232.0.0.1'), { code: 'ENOPROTOOPT' });
  t.throws(() => a.dgram.createSocket('udp4').bind({ fd: 3 } as never), { code: 'ERR_INVALID_ARG_VALUE' });
  for (const socket of [member, sender, lazy]) socket.close();
});

t.test('closed while sends wait for a bind that fails', async (t) => {
  const { a } = twoStacks(t);
  const socket = a.dgram.createSocket('udp4');
  const errors: string[] = [];
  socket.on('error', (error) => errors.push(error.message));
  socket.bind(1, '10.9.9.9');
  socket.send('x', 9, B);
  const closed = new Promise<void>((resolve) => socket.close(resolve));
  await closed;
  t.same(errors, ['bind EADDRNOTAVAIL 10.9.9.9:1']);
  t.equal(a.udp.sockets, 0);
});

t.test('a socket outlives its stack without harm', async (t) => {
  const { a } = twoStacks(t);
  const socket = a.dgram.createSocket('udp4');
  socket.bind();
  await tick();
  await a.close({ graceful: false });
  const result = await new Promise((resolve) => socket.send('x', 9, B, (error, bytes) => resolve(error ?? bytes)));
  t.ok(result === 1 || result instanceof Error);
  socket.close();
});
