/**
 * The same scenarios on `node:dgram`, over Linux's loopback, and on ours, over the stack's own. Each writes
 * down what happened: events, results, and errors with all their fields; the two accounts must be equal.
 */

import { strict as assert } from 'node:assert';
import nodeDgram from 'node:dgram';
import t from 'tap';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { createDgram } from '../../lib/net/dgram.ts';
import { createStack } from '../../lib/stack.ts';
import { CallChannel } from '../channel/call-channel.ts';

type Dgram = typeof nodeDgram;
type Socket = nodeDgram.Socket;

/** What one scenario saw. */
class Account {
  readonly lines: string[] = [];
  /** Ports differ from run to run: they are shown by these names. */
  readonly #ports = new Map<number, string>();

  name(port: number, name: string): number {
    this.#ports.set(port, name);
    return port;
  }

  add(...values: unknown[]): void {
    let line = values.map((value) => this.#show(value)).join(' ');
    for (const [port, name] of this.#ports) line = line.replaceAll(new RegExp(`\\b${port}\\b`, 'g'), name);
    this.lines.push(line);
  }

  /** What a call returns or throws. */
  call(name: string, f: () => unknown): void {
    try {
      this.add(name, '->', f());
    } catch (error) {
      this.add(name, 'throws', error);
    }
  }

  #show(value: unknown): string {
    if (value instanceof Error) {
      const fields = Object.keys(value).sort().map((key) => `${key}=${JSON.stringify((value as unknown as Record<string, unknown>)[key])}`);
      return `${value.name}(${value.message}) ${fields.join(' ')} stack:${value.stack!.split('\n')[0]}`;
    }
    if (Buffer.isBuffer(value)) return `Buffer(${value.toString('latin1')})`;
    if (typeof value === 'object' && value !== null && 'eventNames' in value) return 'socket';
    return typeof value === 'string' ? value : JSON.stringify(value);
  }
}

/** Waits for an event, so that it does not matter when it comes. */
function event(socket: Socket, name: string): Promise<unknown[]> {
  return new Promise((resolve) => socket.once(name, (...args: unknown[]) => resolve(args)));
}

async function bound(dgram: Dgram, options: nodeDgram.SocketType | nodeDgram.SocketOptions, address?: string): Promise<Socket> {
  const socket = dgram.createSocket(options as nodeDgram.SocketOptions);
  const listening = event(socket, 'listening');
  socket.bind(0, address);
  await listening;
  return socket;
}

/** A port that nobody is bound to. */
async function freePort(dgram: Dgram): Promise<number> {
  const socket = await bound(dgram, 'udp4', '127.0.0.1');
  const { port } = socket.address();
  const closed = event(socket, 'close');
  socket.close();
  await closed;
  return port;
}

function sent(socket: Socket, account: Account, name: string, ...args: unknown[]): Promise<void> {
  return new Promise((resolve) => {
    (socket.send as (...all: unknown[]) => void)(...args, (...result: unknown[]) => {
      account.add(name, ...result);
      resolve();
    });
  });
}

const SCENARIOS: Record<string, (dgram: Dgram, account: Account) => Promise<void>> = {
  'arguments of createSocket': async (dgram, account) => {
    const create = dgram.createSocket as (...args: unknown[]) => Socket;
    account.call('udp5', () => create('udp5'));
    account.call('nothing', () => create());
    account.call('recvBufferSize', () => create({ type: 'udp4', recvBufferSize: 'x' }));
    account.call('sendBufferSize', () => create({ type: 'udp4', sendBufferSize: 'x' }));
    account.call('lookup', () => create({ type: 'udp4', lookup: 'x' }));
    account.call('signal', () => create({ type: 'udp4', signal: 'x' }));
    const socket = create('udp6');
    account.add((socket as unknown as { type: string }).type, socket.listenerCount('message'));
    socket.close();
    const listening = create({ type: 'udp4' }, () => {});
    account.add((listening as unknown as { type: string }).type, listening.listenerCount('message'));
    listening.close();
  },

  'before it is bound': async (dgram, account) => {
    const s = dgram.createSocket('udp4');
    account.call('address', () => s.address());
    account.call('remoteAddress', () => s.remoteAddress());
    account.call('disconnect', () => s.disconnect());
    account.call('setTTL', () => s.setTTL(3));
    account.call('setBroadcast', () => s.setBroadcast(true));
    account.call('setMulticastTTL', () => s.setMulticastTTL(3));
    account.call('setMulticastLoopback', () => s.setMulticastLoopback(true));
    account.call('setMulticastInterface', () => s.setMulticastInterface('127.0.0.1'));
    account.call('addMembership', () => (s.addMembership as () => void)());
    account.call('getRecvBufferSize', () => s.getRecvBufferSize());
    account.call('getSendQueueSize', () => s.getSendQueueSize());
    account.call('getSendQueueCount', () => s.getSendQueueCount());
    account.call('ref', () => s.ref() === s);
    account.call('unref', () => s.unref() === s);
    s.close();
  },

  'arguments of send and connect': async (dgram, account) => {
    const s = await bound(dgram, 'udp4', '127.0.0.1');
    const send = s.send.bind(s) as (...args: unknown[]) => void;
    account.call('none', () => send());
    account.call('number', () => send(5, 1));
    account.call('port 0', () => send('x', 0));
    account.call('port 70000', () => send('x', 70000, '127.0.0.1'));
    account.call('no port', () => send('x'));
    account.call('port text', () => send('x', 'abc'));
    account.call('callback for a port', () => send('x', () => {}));
    account.call('address', () => send('x', 1234, 5));
    account.call('length', () => send(Buffer.from('abc'), 0, 5, 1234));
    account.call('offset', () => send(Buffer.from('abc'), 4, 0, 1234));
    account.call('negative', () => send(Buffer.from('abc'), -1, 0, 1234));
    account.call('array', () => send([5], 1234));
    const connect = s.connect.bind(s) as (...args: unknown[]) => void;
    account.call('connect 0', () => connect(0));
    account.call('connect text', () => connect('x'));
    account.call('connect', () => connect());
    account.call('connect address', () => connect(12, 5));
    s.close();
  },

  'a message and its sender': async (dgram, account) => {
    const server = await bound(dgram, 'udp4', '127.0.0.1');
    const port = account.name(server.address().port, 'SERVER');
    account.add(server.address());
    const client = dgram.createSocket('udp4');
    for (const args of [
      ['hello', port, '127.0.0.1'],
      [Buffer.from('abcdef'), 1, 3, port, '127.0.0.1'],
      ['string', 2, 3, port, '127.0.0.1'],
      [['a', Buffer.from('b'), new Uint8Array([99])], port, '127.0.0.1'],
      [[], port, '127.0.0.1'],
      [new Uint16Array([0x4241]), port, '127.0.0.1'],
      [new DataView(new ArrayBuffer(3)), port, '127.0.0.1'],
      ['to the loopback', port],
      ['null', port, null],
      ['empty', port, ''],
      ['as text', String(port), '127.0.0.1'],
      ['x'.repeat(60000), port],
    ] as unknown[][]) {
      const message = event(server, 'message');
      await sent(client, account, 'sent', ...args);
      const [msg, rinfo] = await message as [Buffer, nodeDgram.RemoteInfo];
      account.name(rinfo.port, 'CLIENT');
      account.add(msg.length > 100 ? msg.length : msg, rinfo);
    }
    const address = client.address();
    account.add(address);
    client.close();
    server.close();
  },

  'IPv6, and IPv4 on a dual-stack socket': async (dgram, account) => {
    const server = await bound(dgram, 'udp6');
    const port = account.name(server.address().port, 'SERVER');
    account.add(server.address());
    for (const [type, to] of [['udp6', '::1'], ['udp4', '127.0.0.1']] as const) {
      const client = await bound(dgram, type);
      account.name(client.address().port, 'CLIENT');
      const message = event(server, 'message');
      await sent(client, account, 'sent', 'x', port, to);
      account.add(...await message);
      client.close();
    }
    const wrong = await bound(dgram, 'udp6');
    await sent(wrong, account, 'IPv4 from udp6', 'x', port, '127.0.0.1');
    wrong.close();
    const four = await bound(dgram, 'udp4');
    await sent(four, account, 'IPv6 from udp4', 'x', port, '::1');
    four.close();
    server.close();
  },

  'binding': async (dgram, account) => {
    const s = dgram.createSocket('udp4');
    s.on('listening', () => account.add('listening', s.listenerCount('error')));
    account.call('bind', () => s.bind(0, '127.0.0.1', function bindCallback(this: Socket) {
      account.add('callback', this === s);
    }));
    account.call('twice', () => s.bind(0));
    account.call('too early', () => s.address());
    await event(s, 'listening');
    account.call('when bound', () => s.bind(0));
    const port = account.name(s.address().port, 'PORT');
    account.add(s.address());

    const taken = dgram.createSocket('udp4');
    const failed = event(taken, 'error');
    taken.bind(port, '127.0.0.1', () => account.add('never'));
    account.add('error', ...await failed);
    const later = event(taken, 'listening');
    taken.bind({ port: 0, address: '127.0.0.1', exclusive: true });
    await later;
    account.add('bound after all', taken.address().address, taken.listenerCount('listening'), taken.listenerCount('error'));
    taken.close();

    for (const args of [[], [undefined], [null], [{}], [{ port: 0 }], ['0', '127.0.0.1']] as unknown[][]) {
      const one = dgram.createSocket('udp4');
      const listening = event(one, 'listening');
      (one.bind as (...all: unknown[]) => void)(...args);
      await listening;
      account.add('bound', args, one.address().address);
      one.close();
    }
    const foreign = dgram.createSocket('udp4');
    const notOurs = event(foreign, 'error');
    foreign.bind({ address: '198.51.100.7', port: account.name(47811, 'P') });
    account.add('error', ...await notOurs);
    foreign.close();
    const family = dgram.createSocket('udp6');
    const notSix = event(family, 'error');
    family.bind(0, '127.0.0.1');
    account.add('error', ...await notSix);
    account.call('address type', () => (family.bind as (...all: unknown[]) => void)(5454, 5));
    family.close();
    s.close();
  },

  'sharing an address': async (dgram, account) => {
    const first = dgram.createSocket({ type: 'udp4', reuseAddr: true });
    const listening = event(first, 'listening');
    first.bind(0);
    await listening;
    const port = account.name(first.address().port, 'PORT');
    const second = dgram.createSocket({ type: 'udp4', reuseAddr: true });
    const both = event(second, 'listening');
    second.bind(port);
    await both;
    first.on('message', () => account.add('first'));
    const message = event(second, 'message');
    await sent(second, account, 'sent', 'x', port, '127.0.0.1');
    await message;
    account.add('the one bound last');
    const third = dgram.createSocket('udp4');
    const failed = event(third, 'error');
    third.bind(port);
    account.add(...await failed);
    const six = dgram.createSocket('udp6');
    const failed6 = event(six, 'error');
    six.bind(port);
    account.add(...await failed6);
    const only = dgram.createSocket({ type: 'udp6', ipv6Only: true });
    const fine = event(only, 'listening');
    only.bind(port);
    await fine;
    account.add('ipv6Only beside it');
    for (const s of [first, second, third, six, only]) s.close();
  },

  'connected': async (dgram, account) => {
    const server = await bound(dgram, 'udp4', '127.0.0.1');
    const port = account.name(server.address().port, 'SERVER');
    const s = dgram.createSocket('udp4');
    s.on('listening', () => account.add('listening'));
    const connected = event(s, 'connect');
    account.call('connect', () => s.connect(port, '127.0.0.1', (...args: unknown[]) => account.add('callback', ...args)));
    account.call('while connecting', () => s.connect(port));
    account.call('no peer yet', () => s.remoteAddress());
    await connected;
    account.name(s.address().port, 'CLIENT');
    account.add(s.remoteAddress(), s.address());
    account.call('again', () => s.connect(port));
    account.call('send with address', () => (s.send as (...all: unknown[]) => void)(Buffer.from('xyz'), 0, 1, port, '127.0.0.1'));
    const messages: Promise<unknown[]> = event(server, 'message');
    await sent(s, account, 'sent', 'plain');
    account.add(...await messages);
    const part = event(server, 'message');
    await sent(s, account, 'sent', Buffer.from('xyz'), 1, 2);
    account.add(...await part);
    const list = event(server, 'message');
    await sent(s, account, 'sent', ['x', 'y']);
    account.add(...await list);

    // Only the peer is heard.
    const stranger = await bound(dgram, 'udp4', '127.0.0.1');
    s.on('message', (msg, rinfo) => account.add('got', msg, rinfo));
    await sent(stranger, account, 'stranger', 'no', s.address().port, '127.0.0.1');
    const answer = event(s, 'message');
    await sent(server, account, 'server', 'yes', s.address().port, '127.0.0.1');
    await answer;
    account.call('disconnect', () => s.disconnect());
    account.add(s.address());
    account.call('peer', () => s.remoteAddress());
    account.call('twice', () => s.disconnect());
    account.call('send', () => s.send('x'));
    const again = event(s, 'connect');
    s.connect(port, () => account.add('without an address'));
    await again;
    account.add(s.remoteAddress());
    for (const one of [s, stranger, server]) one.close();
  },

  'refused': async (dgram, account) => {
    const port = account.name(await freePort(dgram), 'CLOSED');
    const s = await bound(dgram, 'udp4', '127.0.0.1');
    await sent(s, account, 'not connected', 'x', port, '127.0.0.1');
    s.on('error', (error) => account.add('error', error));
    const connected = event(s, 'connect');
    s.connect(port, '127.0.0.1');
    await connected;
    const failed = event(s, 'error');
    await sent(s, account, 'sent', 'x');
    await failed;
    s.close();
  },

  'sends that fail': async (dgram, account) => {
    const s = await bound(dgram, 'udp4', '127.0.0.1');
    const port = account.name(s.address().port, 'PORT');
    await sent(s, account, 'too large', Buffer.alloc(65508), port, '127.0.0.1');
    s.send(Buffer.alloc(65508), port, '127.0.0.1');
    await sent(s, account, 'largest', Buffer.alloc(65507), port, '127.0.0.1');
    const lookup = (_host: string, family: number, callback: (error: Error | null, address: string, family: number) => void): void => {
      process.nextTick(callback, Object.assign(new Error('no such name'), { code: 'ENAME', family }), '', 0);
    };
    const l = dgram.createSocket({ type: 'udp4', lookup: lookup as never });
    const failed = event(l, 'error');
    l.bind(0, 'a.name');
    account.add('bind', ...await failed);
    l.close();
    let fail = false;
    const half = dgram.createSocket({
      type: 'udp4',
      lookup: ((host: string, family: number, callback: (error: Error | null, address: string, family: number) => void) => {
        account.add('lookup', host, family);
        if (fail) lookup(host, family, callback);
        else process.nextTick(callback, null, '127.0.0.1', 4);
      }) as never,
    });
    const listening = event(half, 'listening');
    half.bind(0);
    await listening;
    await sent(half, account, 'resolved', 'x', port, 'some.name');
    fail = true;
    await sent(half, account, 'sent', 'x', port, 'a.name');
    const unheard = event(half, 'error');
    half.send('x', port, 'a.name');
    account.add('without a callback', ...await unheard);
    const told = new Promise<void>((resolve) => half.connect(port, 'a.name', (...args: unknown[]) => {
      account.add('connect', ...args);
      resolve();
    }));
    await told;
    const event2 = event(half, 'error');
    half.connect(port, 'a.name');
    account.add('connect without a callback', ...await event2);
    half.close();
    const wrong = await bound(dgram, 'udp4', '127.0.0.1');
    await new Promise<void>((resolve) => wrong.connect(port, '::1', (...args: unknown[]) => {
      account.add('connect', ...args);
      resolve();
    }));
    wrong.close();
    s.close();
  },

  'options': async (dgram, account) => {
    const s = await bound(dgram, 'udp4', '127.0.0.1');
    account.call('setTTL', () => s.setTTL(20));
    account.call('setTTL 0', () => s.setTTL(0));
    account.call('setTTL 256', () => s.setTTL(256));
    account.call('setTTL text', () => s.setTTL('x' as never));
    account.call('setBroadcast', () => s.setBroadcast(true));
    account.call('setMulticastTTL', () => s.setMulticastTTL(3));
    account.call('setMulticastTTL 300', () => s.setMulticastTTL(300));
    account.call('setMulticastTTL text', () => s.setMulticastTTL('3' as never));
    account.call('setMulticastLoopback', () => s.setMulticastLoopback(true));
    account.call('setMulticastInterface', () => s.setMulticastInterface('127.0.0.1'));
    account.call('setMulticastInterface bad', () => s.setMulticastInterface('abc'));
    account.call('setMulticastInterface number', () => s.setMulticastInterface(5 as never));
    account.call('addMembership bad', () => s.addMembership('10.0.0.1'));
    account.call('addMembership', () => s.addMembership('224.0.0.114', '127.0.0.1'));
    account.call('addMembership twice', () => s.addMembership('224.0.0.114', '127.0.0.1'));
    account.call('dropMembership', () => s.dropMembership('224.0.0.114', '127.0.0.1'));
    account.call('dropMembership twice', () => s.dropMembership('224.0.0.114', '127.0.0.1'));
    account.call('source', () => s.addSourceSpecificMembership(5 as never, '232.1.1.1'));
    account.call('setRecvBufferSize', () => s.setRecvBufferSize(10000));
    account.call('getRecvBufferSize', () => s.getRecvBufferSize());
    account.call('setRecvBufferSize 1', () => s.setRecvBufferSize(1));
    account.call('getRecvBufferSize', () => s.getRecvBufferSize());
    account.call('setRecvBufferSize -1', () => s.setRecvBufferSize(-1));
    account.call('setRecvBufferSize text', () => s.setRecvBufferSize('x' as never));
    account.call('setRecvBufferSize huge', () => s.setRecvBufferSize(2147483648));
    account.call('setSendBufferSize', () => s.setSendBufferSize(10000));
    account.call('getSendBufferSize', () => s.getSendBufferSize());
    account.call('setSendBufferSize 1', () => s.setSendBufferSize(1));
    account.call('getSendBufferSize', () => s.getSendBufferSize());
    account.call('getSendQueueSize', () => s.getSendQueueSize());
    account.call('getSendQueueCount', () => s.getSendQueueCount());
    s.close();
    const sized = await bound(dgram, { type: 'udp4', recvBufferSize: 12345, sendBufferSize: 23456 });
    account.add(sized.getRecvBufferSize(), sized.getSendBufferSize());
    sized.close();
  },

  'closing': async (dgram, account) => {
    const s = await bound(dgram, 'udp4', '127.0.0.1');
    s.on('close', () => account.add('close'));
    const closed = event(s, 'close');
    account.call('close', () => s.close((...args: unknown[]) => account.add('callback', ...args)) === s);
    account.add('not yet');
    account.call('twice', () => s.close());
    account.call('send', () => s.send('x', 1, '127.0.0.1'));
    account.call('bind', () => s.bind());
    account.call('address', () => s.address());
    account.call('remoteAddress', () => s.remoteAddress());
    account.call('disconnect', () => s.disconnect());
    account.call('ref', () => s.ref() === s);
    account.call('unref', () => s.unref() === s);
    await closed;

    const unbound = dgram.createSocket('udp4');
    await new Promise<void>((resolve) => unbound.close(resolve));
    account.add('unbound');
    const early = dgram.createSocket('udp4');
    early.on('listening', () => account.add('listening all the same'));
    const gone = event(early, 'close');
    early.bind(0);
    early.close();
    await gone;
    account.add('closed before it was bound');

    const controller = new AbortController();
    const aborted = dgram.createSocket({ type: 'udp4', signal: controller.signal });
    const end = event(aborted, 'close');
    controller.abort();
    await end;
    account.call('aborted', () => aborted.close());
    const never = dgram.createSocket({ type: 'udp4', signal: controller.signal });
    await event(never, 'close');
    account.call('aborted before', () => never.bind());

    const disposed = await bound(dgram, 'udp4', '127.0.0.1');
    disposed.on('close', () => account.add('close'));
    await disposed[Symbol.asyncDispose]();
    await disposed[Symbol.asyncDispose]();
    account.add('disposed');
  },

  'a listener that throws': async (dgram, account) => {
    const s = await bound(dgram, 'udp4', '127.0.0.1');
    const handlers = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    try {
      const caught = new Promise<Error>((resolve) => process.once('uncaughtException', resolve));
      s.once('message', () => {
        throw new Error('boo');
      });
      s.send('first', s.address().port, '127.0.0.1');
      account.add('uncaught', (await caught).message);
      const next = event(s, 'message');
      s.send('second', s.address().port, '127.0.0.1');
      account.add('goes on', (await next)[0]);
    } finally {
      for (const handler of handlers) process.on('uncaughtException', handler as never);
    }
    s.close();
  },
};

const [left] = createMemoryPair();
const stack = createStack({ link: left, addresses: ['10.90.0.1/24', 'fd90::1/64'] });
t.teardown(() => stack.close({ graceful: false }));

const channel = new CallChannel({ provider: stack, udp: stack.udp, echo: stack.echo }, { soon: setImmediate });
const targets: Record<string, unknown> = { 'the stack': stack.dgram, 'an application': createDgram(channel.client.udp) };

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  for (const [target, dgram] of Object.entries(targets)) {
    t.test(`${name}: ${target}`, { timeout: 10_000 }, async (t) => {
      const theirs = new Account();
      await scenario(nodeDgram, theirs);
      const ours = new Account();
      await scenario(dgram as Dgram, ours);
      assert(theirs.lines.length > 0);
      for (let i = 0; i < Math.max(theirs.lines.length, ours.lines.length); i++) t.equal(ours.lines[i], theirs.lines[i]);
      t.equal(stack.udp.sockets, 0, 'all sockets are closed');
    });
  }
}

t.test('the type is that of node:dgram', async (t) => {
  const socket: Socket = stack.dgram.createSocket('udp4');
  socket.close();
  t.ok(socket instanceof stack.dgram.Socket);
});
