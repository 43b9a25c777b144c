/**
 * What node:net has no counterpart for, or loopback cannot show: options at the low-level socket, contexts, failing
 * listeners, types.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import type nodeNet from 'node:net';
import t from 'tap';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { createNet } from '../../lib/net/net.ts';
import type { Net, Socket } from '../../lib/net/net.ts';
import { createStack } from '../../lib/stack.ts';
import {
  IPPROTO_IPV6, IPPROTO_TCP, IPV6_V6ONLY, MSG_MORE, SOL_SOCKET, SO_KEEPALIVE, SO_REUSEADDR, SO_REUSEPORT, TCP_KEEPCNT,
  TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY,
} from '../../lib/socket.ts';
import { FakeProvider } from './fake-provider.ts';
import type { FakeSocket } from './fake-provider.ts';
import { closed, until } from './parity.ts';

const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

async function pair(net: Net, options: any = {}): Promise<{ client: Socket; peer: Socket; close(): void }> {
  const server = net.createServer(options.server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect({ port: server.address()!.port, host: '127.0.0.1', ...options.client });
  const [[peer]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(client, 'connect')]);
  return {
    client, peer, close: () => {
      client.destroy();
      peer.destroy();
      server.close();
    },
  };
}

function option(socket: Socket, level: number, name: number): unknown {
  return (socket._bsd as FakeSocket).options.get(`${level}/${name}`);
}

void t.test('types: a socket can stand where node:net asks for one', async (t) => {
  const net = createNet(new FakeProvider());
  const socket: nodeNet.Socket = new net.Socket();
  const server: Pick<nodeNet.Server, 'address' | 'maxConnections' | 'listening'> = new net.Server();
  t.ok(socket instanceof net.Socket && server instanceof net.Server);
});

void t.test('noDelay and keepAlive reach the low-level socket, remembered or at once', async (t) => {
  const net = createNet(new FakeProvider());
  const { client, peer, close } = await pair(net, {
    client: { noDelay: true, keepAlive: true, keepAliveInitialDelay: 7999 },
    server: { noDelay: true, keepAlive: true, keepAliveInitialDelay: 3000 },
  });
  for (const [socket, idle] of [[client, 7], [peer, 3]] as const) {
    t.equal(option(socket, IPPROTO_TCP, TCP_NODELAY), 1);
    t.equal(option(socket, SOL_SOCKET, SO_KEEPALIVE), 1);
    t.equal(option(socket, IPPROTO_TCP, TCP_KEEPIDLE), idle);
    t.equal(option(socket, IPPROTO_TCP, TCP_KEEPINTVL), 1);
    t.equal(option(socket, IPPROTO_TCP, TCP_KEEPCNT), 10);
  }
  client.setNoDelay(false).setKeepAlive(false);
  t.equal(option(client, IPPROTO_TCP, TCP_NODELAY), 0);
  t.equal(option(client, SOL_SOCKET, SO_KEEPALIVE), 0);
  const early = new net.Socket().setNoDelay().setKeepAlive(true, 9000);
  early.connect((peer as any).localPort, '127.0.0.1');
  await once(early, 'connect');
  t.equal(option(early, IPPROTO_TCP, TCP_NODELAY), 1);
  t.equal(option(early, IPPROTO_TCP, TCP_KEEPIDLE), 9);
  early.destroy();
  close();
});

void t.test('listen options reach the low-level socket', async (t) => {
  const net = createNet(new FakeProvider());
  const server = net.createServer().listen({ port: 0, host: '::', ipv6Only: true, reusePort: true });
  await once(server, 'listening');
  const { options } = server._bsd as FakeSocket;
  t.equal(options.get(`${SOL_SOCKET}/${SO_REUSEADDR}`), 1);
  t.equal(options.get(`${SOL_SOCKET}/${SO_REUSEPORT}`), 1);
  t.equal(options.get(`${IPPROTO_IPV6}/${IPV6_V6ONLY}`), 1);
  server.close();
});

void t.test('ref and unref reach the low-level socket, whenever called', async (t) => {
  const net = createNet(new FakeProvider());
  const { client, close } = await pair(net);
  const calls: string[] = [];
  client._bsd!.ref = () => calls.push('ref');
  client._bsd!.unref = () => calls.push('unref');
  client.unref().ref();
  t.same(calls, ['unref', 'ref']);
  close();
});

void t.test('corked chunks go out with MSG_MORE, all but the last', async (t) => {
  const net = createNet(new FakeProvider());
  const { client, close } = await pair(net);
  const sent: [string, number][] = [];
  const handle = client._bsd!;
  const send = handle.send.bind(handle);
  handle.send = (from, offset, length, flags = 0) => {
    sent.push([Buffer.from(from.subarray(offset, offset + length)).toString(), flags]);
    return send(from, offset, length, flags);
  };
  client.cork();
  for (const word of ['a', '', 'b', 'c', '']) client.write(word);
  client.uncork();
  t.same(sent, [['a', MSG_MORE], ['b', MSG_MORE], ['c', 0]]);
  close();
});

void t.test('unreachable at once: the near end is shown', async (t) => {
  const net = createNet(new FakeProvider());
  const socket = net.connect(80, '203.0.113.9');
  const [error] = await once(socket, 'error');
  t.equal(error.message, 'connect ENETUNREACH 203.0.113.9:80 - Local (0.0.0.0:0)');
  t.match(error, { code: 'ENETUNREACH', errno: -101, syscall: 'connect', address: '203.0.113.9', port: 80 });
});

void t.test('several addresses: one that is silent is given up after its time', async (t) => {
  const provider = new FakeProvider();
  provider.silent.add('198.51.100.1').add('2001:db8::1');
  const net = createNet(provider);
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = server.address()!.port;
  const lookup: any = (_name: string, _options: unknown, done: any): unknown => setImmediate(done, null, [
    { address: '198.51.100.1', family: 4 }, { address: '127.0.0.1', family: 4 }, { address: '2001:db8::1', family: 6 }]);
  const socket = net.connect({ port, host: 'name', lookup, autoSelectFamilyAttemptTimeout: 15 });
  const log: unknown[] = [];
  for (const name of ['connectionAttempt', 'connectionAttemptTimeout', 'connectionAttemptFailed', 'connect']) {
    socket.on(name, (...args) => log.push([name, ...args]));
  }
  await once(socket, 'connect');
  t.same(log, [
    ['connectionAttempt', '198.51.100.1', port, 4], ['connectionAttemptTimeout', '198.51.100.1', port, 4],
    ['connectionAttempt', '2001:db8::1', port, 6], ['connectionAttemptTimeout', '2001:db8::1', port, 6],
    ['connectionAttempt', '127.0.0.1', port, 4], ['connect'],
  ]);
  t.same(socket.autoSelectFamilyAttemptedAddresses, [`198.51.100.1:${port}`, `2001:db8::1:${port}`, `127.0.0.1:${port}`]);
  socket.destroy();
  server.close();
  const none = net.connect({ port: 9, host: 'name', lookup, autoSelectFamilyAttemptTimeout: 10 });
  const [error] = await once(none, 'error');
  t.match(error, { name: 'AggregateError', code: 'ETIMEDOUT', errors: [
    { message: 'connect ETIMEDOUT 198.51.100.1:9' }, { message: 'connect ETIMEDOUT 2001:db8::1:9' },
    { message: 'connect ECONNREFUSED 127.0.0.1:9' },
  ] });
  await until(() => provider.open === 1 || provider.open === 0);
});

void t.test('paths and descriptors are refused with a reason', async (t) => {
  const net = createNet(new FakeProvider());
  const refusal = { code: 'ERR_INVALID_ARG_VALUE', message: /use node:net for paths/ };
  t.throws(() => new net.Socket().connect('/tmp/socket'), refusal);
  t.throws(() => net.connect({ path: '/tmp/socket' }), refusal);
  t.throws(() => new net.Socket({ fd: 3 } as any), refusal);
  t.throws(() => net.createServer().listen('/tmp/socket'), refusal);
  t.throws(() => net.createServer().listen({ fd: 3 } as any), refusal);
  t.throws(() => net.createServer().listen(net.createServer().listen(0)._bsd as any), { code: 'ERR_INVALID_ARG_VALUE' });
});

void t.test('listeners run in the async context in which the socket was made', async (t) => {
  const storage = new AsyncLocalStorage<string>();
  const net = createNet(new FakeProvider());
  const seen: unknown[] = [];
  const server = storage.run('server', () => net.createServer((socket) => {
    seen.push(['connection', storage.getStore()]);
    socket.on('data', () => seen.push(['server data', storage.getStore()]));
    socket.on('close', () => seen.push(['server close', storage.getStore()]));
    socket.resume();
  }).listen(0, '127.0.0.1'));
  await once(server, 'listening');
  const { port } = server.address()!;
  const client = storage.run('client', () => {
    return net.connect(port, '127.0.0.1', () => seen.push(['connect', storage.getStore()]));
  });
  client.on('finish', () => seen.push(['finish', storage.getStore()]));
  client.on('close', () => seen.push(['client close', storage.getStore()]));
  client.resume();
  client.end('x');
  await closed(client);
  await until(() => seen.length === 6);
  t.same(new Map(seen as [string, unknown][]), new Map([
    ['connection', 'server'], ['connect', 'client'], ['server data', 'server'], ['finish', 'client'],
    ['client close', 'client'], ['server close', 'server'],
  ]));
  server.close();
});

void t.test('a listener that throws loses nothing for itself or others', async (t) => {
  const [a, b] = createMemoryPair();
  const near = createStack({ link: a, addresses: ['10.1.0.1/24'] });
  const far = createStack({ link: b, addresses: ['10.1.0.2/24'] });
  const thrown: unknown[] = [];
  const onUncaught = (error: unknown): void => { thrown.push(error); };
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', onUncaught);
  try {
    const sockets: Socket[] = [];
    const server = far.net.createServer((socket) => {
      sockets.push(socket);
      let text = '';
      socket.on('data', (chunk: Buffer) => {
        text += chunk;
        if (text.length < 200_000) throw new Error(`data ${sockets.indexOf(socket)}`);
        socket.end(String(text.length));
      });
      throw new Error('connection');
    }).listen(80);
    await once(server, 'listening');
    const clients = [1, 2, 3].map(() => near.net.connect(80, '10.1.0.2'));
    const answers = await Promise.all(clients.map(async (client) => {
      client.write(Buffer.alloc(200_000, 'x'));
      const [data] = await once(client, 'data');
      return String(data);
    }));
    t.same(answers, ['200000', '200000', '200000']);
    t.ok(thrown.filter((error) => (error as Error).message === 'connection').length === 3);
    t.ok(thrown.length > 5);
    const ended = once(server, 'close');
    server.close();
    await ended;
  } finally {
    process.off('uncaughtException', onUncaught);
    for (const other of others) process.on('uncaughtException', other);
    await Promise.all([near.close({ graceful: false }), far.close({ graceful: false })]);
  }
});

void t.test('tcpInfo', async (t) => {
  const [a, b] = createMemoryPair();
  const near = createStack({ link: a, addresses: ['10.1.0.1/24'] });
  const far = createStack({ link: b, addresses: ['10.1.0.2/24'] });
  const server = far.net.createServer((socket) => socket.pipe(socket)).listen(80);
  await once(server, 'listening');
  const client = new near.net.Socket();
  t.equal(client.tcpInfo(), null);
  client.connect(80, '10.1.0.2');
  await once(client, 'connect');
  client.write('x'.repeat(1000));
  await once(client, 'data');
  t.match(client.tcpInfo(), { state: 'ESTABLISHED', bytesReceived: 1000, bytesSent: 1000, sack: true });
  client.destroy();
  t.equal(client.tcpInfo(), null);
  await Promise.all([near.close(), far.close()]);
});
