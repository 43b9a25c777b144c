/** Connecting: order of events, errors, look-up, several addresses, cancellation; the same on node:net and on ours. */

import { once } from 'node:events';
import type { Socket } from '../../lib/net/net.ts';
import { attempt, closed, connected, fields, listening, normal, parity, record, turns, until } from './parity.ts';
import type { Env } from './parity.ts';

const EVENTS = ['lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connect', 'ready', 'end', 'finish', 'timeout',
  'error', 'close'];

function state(env: Env, socket: Socket, ports: Record<string, number | undefined>): unknown {
  const { connecting, pending, readyState, destroyed, bytesRead, bytesWritten, bufferSize, localAddress, localPort,
    localFamily, remoteAddress, remotePort, remoteFamily, timeout, allowHalfOpen, writableHighWaterMark, readableHighWaterMark } = socket;
  return normal(env, {
    connecting, pending, readyState, destroyed, bytesRead, bytesWritten, bufferSize, localAddress, localPort, localFamily,
    remoteAddress, remotePort, remoteFamily, timeout, allowHalfOpen, writableHighWaterMark, readableHighWaterMark,
    address: socket.address(),
  }, ports);
}

async function unusedPort(env: Env): Promise<number> {
  const { server, port } = await listening(env, {});
  server.close();
  await once(server, 'close');
  return port;
}

parity('a connection: events and state', async (env) => {
  const { server, port } = await listening(env, {});
  const socket = new env.client.Socket();
  const log = record(env, socket, EVENTS);
  const states = [state(env, socket, {})];
  const returned = socket.connect(port, env.host, () => log.push('listener')) === socket;
  const opening = state(env, socket, { PORT: port }) as any;
  delete opening.address;
  states.push(opening);
  const [[peer]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(socket, 'connect')]);
  const ports = { PORT: port, LOCAL: socket.localPort };
  states.push(state(env, socket, ports), state(env, peer, ports));
  const belongs = peer.server === server;
  const gone = Promise.all([closed(socket), closed(peer)]);
  socket.end();
  await once(socket, 'finish');
  peer.end();
  await gone;
  states.push(state(env, socket, ports), state(env, peer, ports));
  server.close();
  await once(server, 'close');
  return [normal(env, log, ports), states, returned, belongs];
});

parity('refused', async (env) => {
  const port = await unusedPort(env);
  const socket = env.client.connect(port, env.host);
  const log: unknown[] = [];
  record(env, socket, EVENTS, log, '', { PORT: port });
  socket.write('lost', (error: unknown) => log.push(['written', fields(env, error)]));
  await closed(socket);
  return normal(env, [log, socket.destroyed, socket.readyState, socket.pending], { PORT: port });
});

parity('an await after error still sees close', async (env) => {
  const socket = env.client.connect(await unusedPort(env), env.host);
  const error = await new Promise<any>((resolve) => socket.once('error', resolve));
  await closed(socket);
  return error.code;
});

parity('arguments that are wrong', async (env) => {
  const bad = (options: unknown) => attempt(env, () => new env.client.Socket().connect(options as any));
  return [
    bad({}), bad({ port: null }), bad({ port: 65536 }), bad({ port: -1 }), bad({ port: 1.5 }), bad({ port: NaN }),
      bad({ port: 'x1' }), bad({ port: '' }),
    bad({ port: true }), bad({ port: [] }), bad({ port: 1, localAddress: 'nonsense' }), bad({ port: 1, host: 'h', lookup: 1 }),
    bad({ port: 1, localPort: '5' }), bad({ port: 1, host: 'h', autoSelectFamily: 'yes' }),
    ...[0, 'x', 1.5].map((timeout) => bad({ port: 1, host: 'h', autoSelectFamilyAttemptTimeout: timeout })),
    attempt(env, () => (new env.client.Socket() as any).connect()),
    ...[{ objectMode: true }, { readableObjectMode: true }, { writableObjectMode: true }, { keepAliveInitialDelay: '1' },
      { signal: 1 }]
      .map((options) => attempt(env, () => new env.client.Socket(options as any))),
    ...[['x'], [-1], [NaN], [Infinity], [undefined], [1, 'x'], [0, 5]]
      .map((args) => attempt(env, () => (new env.client.Socket() as any).setTimeout(...args))),
    attempt(env, () => new env.client.Socket().setTimeout('7' as any)),
    attempt(env, () => new env.client.Socket().setTimeout(-7)),
    attempt(env, () => new env.client.Socket().setTimeout(7, 'f' as any)),
    attempt(env, () => new env.client.Socket().setTimeout(0, {} as any)),
  ];
});

parity('look-up of a name', async (env) => {
  const { server, port } = await listening(env, {});
  const results: unknown[] = [];
  const given: unknown[] = [];
  const answers: [string, any, any, any][] = [
    ['error', Object.assign(new Error('queryA ENOTFOUND'), { code: 'ENOTFOUND' }), undefined, undefined],
    ['not an address', null, 'nonsense', 4],
    ['family', null, env.host, 5],
    ['good', null, env.host, 4],
  ];
  for (const [name, error, address, family] of answers) {
    for (const all of [false, true]) {
      const socket = env.client.connect({
        port, host: 'some.name', autoSelectFamily: all,
        lookup: (host: string, options: any, done: any) => {
          given.push([host, options.all, options.family]);
          setImmediate(() => options.all ? done(error, error ? undefined : [{ address, family }]) : done(error, address, family));
        },
      });
      const log: unknown[] = [];
      record(env, socket, EVENTS, log, '', { PORT: port });
      socket.on('connect', () => socket.destroy());
      await closed(socket);
      results.push(name, all, log, (socket as any)._host);
    }
  }
  server.close();
  await until(() => server._connections === 0);
  return normal(env, [results, given], { PORT: port });
});

parity('destroyed while the name is looked up', async (env) => {
  let answer: (() => void) | undefined;
  const lookup = (_host: string, _options: unknown, done: any): void => {
    answer = () => done(null, [{ address: env.host, family: 4 }]);
  };
  const socket = env.client.connect({ port: 1, host: 'some.name', lookup });
  const log = record(env, socket, EVENTS);
  socket.write('x', (error: unknown) => log.push(['written', fields(env, error)]));
  socket.end(() => log.push(['ended']));
  await until(() => answer !== undefined);
  socket.destroy();
  answer!();
  await closed(socket);
  await turns();
  return log;
});

parity('several addresses', async (env) => {
  const { server, port } = await listening(env, {});
  const refusedPort = await unusedPort(env);
  const results: unknown[] = [];
  for (const at of [refusedPort, port]) {
    const socket = env.client.connect({
      port: at, host: 'some.name', autoSelectFamily: true,
      lookup: (_host: string, _options: any, done: any) => done(null, [
        { address: env.otherHost, family: 4 }, { address: env.otherHost, family: 4 }, { address: 'junk', family: 6 },
          { address: env.host, family: 4 }]),
    });
    const log: unknown[] = [];
    record(env, socket, EVENTS, log, '', { PORT: at });
    socket.on('connect', () => socket.destroy());
    await closed(socket);
    results.push(log, normal(env, socket.autoSelectFamilyAttemptedAddresses, { PORT: at }));
  }
  server.close();
  await until(() => server._connections === 0);
  return results;
});

parity('a local end', async (env) => {
  const { server, port } = await listening(env, {});
  const localPort = await unusedPort(env);
  const good = env.client.connect({ port, host: env.host, localAddress: env.clientHost, localPort });
  await once(good, 'connect');
  const bound = [good.localAddress === env.clientHost, good.localPort === localPort];
  good.destroy();
  await once(good, 'close');
  const bad = env.client.connect({ port, host: env.host, localAddress: env.foreignHost });
  const [error] = await once(bad, 'error').catch((e: unknown) => [e]);
  server.close();
  await until(() => server._connections === 0);
  return [bound, fields(env, error, { PORT: port })];
});

parity('refused from a local end', async (env) => {
  const port = await unusedPort(env);
  const localPort = await unusedPort(env);
  const socket = env.client.connect({ port, host: env.host, localAddress: env.clientHost, localPort });
  const error = await new Promise((resolve) => socket.on('error', resolve));
  return fields(env, error, { PORT: port, LOCAL: localPort });
});

parity('destroyed while connecting', async (env) => {
  const { server, port } = await listening(env, {});
  const log: unknown[] = [];
  for (const error of [undefined, new Error('mine')]) {
    const socket = env.client.connect(port, env.host);
    record(env, socket, ['connect', 'ready', 'error', 'close'], log);
    socket.write('x', (e: unknown) => log.push(['written', fields(env, e)]));
    socket.write('y', (e: unknown) => log.push(['written too', fields(env, e)]));
    socket.end((e?: Error) => log.push(['ended', fields(env, e)]));
    log.push(socket.bytesWritten);
    socket.destroy(error);
    await closed(socket);
    await turns();
  }
  server.close();
  await once(server, 'close');
  return log;
});

parity('written and ended before the connection', async (env) => {
  const { server, port } = await listening(env, {});
  const socket = env.client.connect(port, env.host);
  const log = record(env, socket, EVENTS.filter((name) => name !== 'connectionAttempt'));
  socket.write('one ');
  socket.write('two ', () => log.push('written'));
  log.push(socket.bytesWritten);
  socket.end('three', () => log.push('ended'));
  const [peer] = await once(server, 'connection') as [Socket];
  const received: Buffer[] = [];
  for await (const chunk of peer) received.push(chunk);
  await until(() => socket.closed || socket.destroyed);
  await turns();
  server.close();
  await once(server, 'close');
  return [log, Buffer.concat(received).toString(), peer.bytesRead, socket.bytesWritten];
});

parity('abort signals', async (env) => {
  const { server, port } = await listening(env, {}, (socket) => socket.resume().on('error', () => {}));
  const results: unknown[] = [];
  for (const when of ['before', 'while connecting', 'after']) {
    const controller = new AbortController();
    if (when === 'before') controller.abort();
    const socket = env.client.connect({ port, host: env.host, signal: controller.signal });
    const log = record(env, socket, ['connect', 'error', 'close'], [when]);
    if (when === 'while connecting') controller.abort(new Error('reason'));
    if (when === 'after') socket.on('connect', () => controller.abort());
    await closed(socket);
    // node:net connects although the signal was aborted
    socket.destroy();
    results.push([...log]);
  }
  server.close();
  await until(() => server._connections === 0);
  return results;
});

parity('a socket that was never connected', async (env) => {
  const log: unknown[] = [];
  const writer = new env.client.Socket();
  record(env, writer, ['error', 'close'], log, 'writer ');
  writer.write('x', (error: unknown) => log.push(['written', fields(env, error)]));
  await closed(writer);
  const reset = new env.client.Socket();
  record(env, reset, ['error', 'close'], log, 'reset ');
  reset.resetAndDestroy();
  await closed(reset);
  const destroyed = new env.client.Socket();
  record(env, destroyed, ['error', 'close'], log, 'destroyed ');
  destroyed.destroy();
  await closed(destroyed);
  return [log, writer.readyState, writer.pending, destroyed.address()];
});

parity('connected again after it was destroyed', async (env) => {
  const { client, peer, port, server } = await connected(env);
  client.write('first');
  await once(peer, 'data');
  client.destroy();
  await once(client, 'close');
  client.connect(port, env.host);
  const [again] = await once(server, 'connection') as [Socket];
  client.end('second');
  const [data] = await once(again, 'data');
  again.end();
  await once(client, 'close');
  peer.destroy();
  server.close();
  await once(server, 'close');
  return [String(data), client.bytesWritten];
});

parity('a listener of connect sees a usable socket', async (env) => {
  const { server, port } = await listening(env, {}, (socket) => socket.pipe(socket));
  const seen: unknown[] = [];
  const socket = env.client.createConnection({ port: String(port), host: env.host }, () => {
    seen.push(socket.connecting, socket.readyState, socket.remotePort === port, socket.write('x'));
  });
  const [data] = await once(socket, 'data');
  seen.push(String(data));
  socket.destroy();
  server.close();
  await until(() => server._connections === 0);
  return seen;
});

parity('the timeout option', async (env) => {
  const { server, port } = await listening(env, {});
  const socket = env.client.connect({ port, host: env.host, timeout: 30 });
  const log = record(env, socket, ['timeout', 'close', 'error']);
  await once(socket, 'timeout');
  const alive = [socket.timeout, socket.destroyed];
  socket.destroy();
  await closed(socket);
  server.close();
  await until(() => server._connections === 0);
  return [log, alive];
});
