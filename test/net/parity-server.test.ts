/** Listening and accepting; the same on node:net and on ours. */

import { once } from 'node:events';
import type { Server, Socket } from '../../lib/net/net.ts';
import { attempt, closed, connected, fields, listening, normal, parity, record, turns, until } from './parity.ts';

const EVENTS = ['listening', 'error', 'close'];

parity('listen: forms and address()', async (env) => {
  const log: unknown[] = [];
  const forms: ((server: Server) => unknown)[] = [
    (server) => server.listen(0, env.host), (server) => server.listen({ port: 0, host: env.host }),
      (server) => server.listen(0, env.host, 5),
    (server) => server.listen('0', env.host, 5, () => log.push('listener')),
    (server) => server.listen({ port: '0', host: env.host, backlog: 3 }, () => log.push('listener')),
    (server) => server.listen(), (server) => server.listen(() => log.push('listener')), (server) => server.listen(0),
      (server) => server.listen(null),
    (server) => server.listen({ port: undefined }), (server) => server.listen(0, () => log.push('listener')),
      (server) => server.listen(0, 7),
  ];
  for (const form of forms) {
    const server = env.server.createServer();
    record(env, server, EVENTS, log);
    log.push(server.listening, server.address(), form(server) === server);
    await once(server, 'listening');
    const address = server.address()!;
    log.push(server.listening, normal(env, address, { PORT: address.port }));
    log.push(server.close((error) => log.push(['closed', error])) === server, server.listening, server.address());
    await once(server, 'close');
  }
  return log;
});

parity('listen: arguments that are wrong', async (env) => {
  const listen = (...args: unknown[]): unknown => attempt(env, () => (env.server.createServer().listen as any)(...args));
  return [
    listen({}), listen({ port: -1 }), listen({ port: 65536 }), listen(65536), listen(-1), listen({ port: 'x' }),
      listen({ port: true }), listen({ host: env.host }),
    listen(1.5), listen({ port: NaN }), listen(true), listen({ port: 0, host: env.host, signal: 5 }),
    attempt(env, () => env.server.createServer('x' as any)), attempt(env, () => env.server.createServer(5 as any)),
    attempt(env, () => env.server.createServer({ keepAliveInitialDelay: 'x' } as any)),
    attempt(env, () => env.server.createServer({ highWaterMark: 'x' } as any)),
  ];
});

parity('EADDRINUSE', async (env) => {
  const { server, port } = await listening(env, {});
  const results: unknown[] = [];
  for (const args of [[port, env.host], [port]]) {
    const second = env.server.createServer();
    const log = record(env, second, EVENTS, [], '', { PORT: port });
    let late = false;
    second.on('error', () => log.push(late));
    (second.listen as any)(...args);
    late = true;
    await new Promise((resolve) => second.on('error', resolve));
    log.push(second.listening, second.address());
    results.push(log);
    // it may be tried again
    second.listen(0, env.host);
    await once(second, 'listening');
    second.close();
    await once(second, 'close');
  }
  server.close();
  await once(server, 'close');
  return results;
});

parity('EADDRNOTAVAIL', async (env) => {
  const server = env.server.createServer();
  server.listen(4711, env.foreignHost);
  const [error] = await once(server, 'error') as [Error];
  return fields(env, error);
});

parity('listening twice, closing when not listening', async (env) => {
  const { server } = await listening(env, {});
  const log: unknown[] = [attempt(env, () => server.listen(0, env.host))];
  server.close();
  await once(server, 'close');
  server.close((error) => log.push(fields(env, error)));
  await once(server, 'close');
  await env.server.createServer()[Symbol.asyncDispose]();
  const other = env.server.createServer();
  const done = new Promise((resolve) => other.close(resolve));
  log.push(fields(env, await done));
  // and again after that
  server.listen(0, env.host);
  await once(server, 'listening');
  await server[Symbol.asyncDispose]();
  log.push(server.listening);
  return log;
});

parity('closed before it listens', async (env) => {
  const server = env.server.createServer();
  const log = record(env, server, EVENTS);
  server.listen(0, env.host);
  server.close();
  await turns(20);
  return log;
});

parity('close waits for connections', async (env) => {
  const { server, client, peer } = await connected(env);
  const log: unknown[] = [];
  server.close((error) => log.push(['callback', error]));
  record(env, server, EVENTS, log);
  await turns(20);
  log.push(server.listening, log.length);
  const refused = env.client.connect(client.remotePort!, env.host);
  const error = await new Promise<any>((resolve) => refused.on('error', resolve));
  log.push(error.code);
  const gone = once(server, 'close');
  client.end();
  peer.resume();
  await gone;
  return log;
});

parity('getConnections', async (env) => {
  const { server, peer, port, close } = await connected(env);
  const count = () => new Promise((resolve) => server.getConnections((error, n) => resolve([error, n])));
  const log = [await count()];
  const second = env.client.connect(port, env.host);
  const [other] = await once(server, 'connection') as [Socket];
  log.push(await count());
  second.destroy();
  other.resume();
  await closed(other);
  log.push(await count(), server.getConnections(() => {}) === server, peer.server === server);
  await close();
  return log;
});

parity('maxConnections and drop', async (env) => {
  const { server, client, port, close } = await connected(env);
  server.maxConnections = 1;
  const second = env.client.connect(port, env.host);
  second.on('error', () => {});
  second.resume();
  const gone = closed(second);
  const [[data]] = await Promise.all([once(server, 'drop') as Promise<[object]>, once(second, 'connect')]);
  const drop = normal(env, data, { PORT: port, LOCAL: second.localPort });
  await gone;
  const state = [client.destroyed, server._connections, Object.getPrototypeOf(data) === null];
  await close();
  return [drop, state];
});

parity('connections that wait are all accepted', async (env) => {
  const seen: Socket[] = [];
  const { server, port } = await listening(env, {}, (socket) => seen.push(socket));
  const clients = Array.from({ length: 50 }, () => env.client.connect(port, env.host));
  await until(() => seen.length === 50);
  await until(() => clients.every((client) => !client.connecting));
  const ports = new Set(seen.map((socket) => socket.remotePort));
  for (const socket of [...clients, ...seen]) socket.destroy();
  server.close();
  await once(server, 'close');
  return [ports.size, clients.every((client) => client.remotePort === port || client.destroyed)];
});

parity('data before the listener is there', async (env) => {
  const { server, port } = await listening(env, {});
  const client = env.client.connect(port, env.host);
  client.end('early');
  const [peer] = await once(server, 'connection') as [Socket];
  await turns(50);
  let text = '';
  peer.on('data', (chunk: Buffer) => { text += chunk; });
  await once(peer, 'end');
  await closed(peer);
  server.close();
  await once(server, 'close');
  return text;
});

parity('pauseOnConnect', async (env) => {
  const { server, peer, client, close } = await connected(env, { server: { pauseOnConnect: true } });
  client.write('x');
  await turns(50);
  const before = [peer.bytesRead, peer.isPaused(), peer.readableFlowing, server.pauseOnConnect];
  peer.on('data', () => {});
  await turns(20);
  before.push(peer.bytesRead);
  peer.resume();
  await until(() => peer.bytesRead === 1);
  await close();
  return before;
});

parity('options reach accepted sockets', async (env) => {
  const { server, peer, close } = await connected(env, {
    server: { allowHalfOpen: true, highWaterMark: 1234, noDelay: true, keepAlive: true, keepAliveInitialDelay: 5500 },
  });
  const log = [peer.allowHalfOpen, peer.readableHighWaterMark, peer.writableHighWaterMark, server.allowHalfOpen,
    (server as any).noDelay,
    (server as any).keepAlive, (server as any).keepAliveInitialDelay, (server as any).highWaterMark, server.maxConnections];
  await close();
  return log;
});

parity('the signal option', async (env) => {
  const results: unknown[] = [];
  for (const when of ['before', 'after']) {
    const controller = new AbortController();
    const server = env.server.createServer();
    const log = record(env, server, EVENTS);
    if (when === 'before') controller.abort();
    server.listen({ port: 0, host: env.host, signal: controller.signal });
    if (when === 'after') {
      await once(server, 'listening');
      controller.abort();
    }
    await turns(20);
    results.push(log, server.listening);
  }
  return results;
});

parity('chaining and defaults', async (env) => {
  const server = env.server.createServer();
  const socket = new env.client.Socket();
  return [
    server.ref() === server, server.unref() === server, socket.ref() === socket, socket.unref() === socket,
      socket.setNoDelay() === socket,
    socket.setKeepAlive(true, 1000) === socket, socket.setTimeout(0) === socket, socket.pause() === socket,
      socket.resume() === socket,
    socket.timeout, socket.connecting, server.listening, server.maxConnections, (server as any)._connections,
      (server as any).highWaterMark,
    env.client.isIP('::1'), env.client.isIPv4('1.2.3.4'), env.client.isIPv6('1.2.3.4'), env.client.getDefaultAutoSelectFamily(),
    env.client.getDefaultAutoSelectFamilyAttemptTimeout(), typeof env.client.BlockList, typeof env.client.SocketAddress,
    socket instanceof env.client.Stream, server instanceof env.server.Server,
  ];
});
