/** Ends of connections: destroy, reset, errors on either side, what callbacks get; the same on node:net and on ours. */

import { once } from 'node:events';
import type { Socket } from '../../lib/net/net.ts';
import { closed, connected, fields, parity, record, turns, until } from './parity.ts';

const ENDS = ['end', 'finish', 'error', 'close'];

parity('destroy: the peer sees the end', async (env) => {
  const { client, peer, close } = await connected(env);
  const mine = record(env, client, ENDS);
  const theirs = record(env, peer, ENDS);
  peer.resume();
  const gone = Promise.all([closed(client), closed(peer)]);
  const same = client.destroy() === client;
  const state = [client.destroyed, client.readyState, client.pending, client.localAddress, same];
  await gone;
  await close();
  return [mine, theirs, state];
});

parity('destroy with an error', async (env) => {
  const { client, peer, close } = await connected(env);
  const mine = record(env, client, ENDS);
  const theirs = record(env, peer, ENDS);
  peer.resume();
  const gone = Promise.all([closed(client), closed(peer)]);
  client.destroy(Object.assign(new Error('mine'), { code: 'EMINE' }));
  client.destroy(new Error('too late'));
  await gone;
  await close();
  return [mine, theirs, client.errored?.message];
});

parity('resetAndDestroy: the peer reads ECONNRESET', async (env) => {
  const { client, peer, close } = await connected(env);
  const mine = record(env, client, ENDS);
  const theirs = record(env, peer, [...ENDS, 'data']);
  const gone = Promise.all([closed(client), closed(peer)]);
  const same = client.resetAndDestroy() === client;
  await gone;
  await close();
  return [mine, theirs, same];
});

parity('resetAndDestroy on the accepting side, with a write under way', async (env) => {
  const { client, peer, close } = await connected(env, { server: { pauseOnConnect: true } });
  const mine = record(env, client, ENDS);
  client.on('data', () => {});
  let error: unknown;
  client.write(Buffer.alloc(64e6), (e: unknown) => { error = e; });
  await turns(50);
  const gone = closed(client);
  peer.resetAndDestroy();
  await gone;
  await close();
  return [mine, fields(env, error)];
});

parity('resetAndDestroy while connecting', async (env) => {
  const server = env.server.createServer();
  server.listen(0, env.host);
  await once(server, 'listening');
  // whether the server sees a connection that is reset as soon as it stands is a matter of timing
  server.on('connection', (peer: Socket) => peer.on('error', () => {}).resume());
  const client = env.client.connect(server.address()!.port, env.host);
  const mine = record(env, client, ['connect', ...ENDS]);
  client.resetAndDestroy();
  const gone = closed(client);
  await gone;
  await turns(20);
  server.close();
  await once(server, 'close');
  return mine;
});

parity('destroyed with unread data: the peer is reset', async (env) => {
  const { client, peer, close } = await connected(env, { server: { pauseOnConnect: true } });
  const theirs = record(env, client, ENDS);
  client.resume();
  client.write('unread');
  await turns(50);
  const gone = closed(client);
  peer.destroy();
  await gone;
  await close();
  return theirs;
});

parity('the peer is gone: EPIPE or ECONNRESET', async (env) => {
  const { client, peer, close } = await connected(env, { client: { allowHalfOpen: true } });
  const ended = once(client, 'end');
  client.resume();
  peer.destroy();
  await ended;
  const gone = new Promise<any>((resolve) => client.once('error', resolve));
  const codes: string[] = [];
  const write = (): void => {
    if (!client.destroyed) client.write('x', (error: any) => error ? codes.push(error.code, error.syscall) : setImmediate(write));
  };
  write();
  const error = await gone;
  await closed(client);
  await close();
  return [fields(env, error), codes];
});

parity('callbacks of writes that will not be sent', async (env) => {
  const { client, close } = await connected(env, { server: { pauseOnConnect: true } });
  const log: unknown[] = [];
  client.write(Buffer.alloc(64e6), (error: unknown) => log.push(['under way', fields(env, error)]));
  client.write('next', (error: unknown) => log.push(['next', fields(env, error)]));
  client.end('last', () => log.push(['ended']));
  record(env, client, ENDS, log);
  await turns();
  const gone = closed(client);
  client.destroy();
  await gone;
  await turns();
  await close();
  return log;
});

parity('write, destroy, in one go', async (env) => {
  const { client, peer, close } = await connected(env);
  const log: unknown[] = [];
  let text = '';
  peer.on('data', (chunk: Buffer) => { text += chunk; });
  const gone = closed(peer);
  client.write('all of it', (error: unknown) => log.push(fields(env, error)));
  client.destroy();
  await gone;
  await turns();
  await close();
  return [text, log.length];
});

parity('end(): callback, finish, close', async (env) => {
  const { client, peer, close } = await connected(env);
  const log = record(env, client, ENDS);
  peer.resume();
  const gone = closed(client);
  const same = client.end('bye', 'utf8', () => log.push('callback')) === client;
  await gone;
  await close();
  return [log, same, peer.bytesRead];
});

parity('end() twice, and with a callback after the end', async (env) => {
  const { client, peer, close } = await connected(env);
  const log: unknown[] = [];
  record(env, client, ['error'], log);
  peer.resume();
  const gone = closed(client);
  client.end();
  client.end((error: unknown) => log.push(['second', fields(env, error)]));
  await gone;
  client.end((error: unknown) => log.push(['third', fields(env, error)]));
  await turns();
  await close();
  return log;
});

parity('destroySoon sends what was written', async (env) => {
  const { client, peer, close } = await connected(env);
  const log = record(env, client, ENDS);
  peer.resume();
  const gone = Promise.all([closed(client), closed(peer)]);
  const data = Buffer.alloc(3e6);
  client.write(data);
  client.destroySoon();
  await gone;
  await close();
  return [log, peer.bytesRead];
});

parity('destroyed in a listener', async (env) => {
  const log: unknown[] = [];
  for (const event of ['data', 'end', 'readable']) {
    const { client, peer, close } = await connected(env);
    const mine = record(env, client, ENDS.filter((name) => name !== event));
    client.on(event, () => client.destroy());
    if (event === 'end') client.resume();
    const gone = closed(client);
    peer.write('a');
    peer.end('b');
    await gone;
    await turns();
    log.push([event, mine]);
    await close();
  }
  return log;
});

parity('Symbol.asyncDispose', async (env) => {
  const { client, peer, close } = await connected(env);
  const log = record(env, client, ENDS);
  peer.resume();
  const gone = closed(client);
  await client[Symbol.asyncDispose]();
  log.push(client.destroyed);
  await gone;
  await close();
  return log;
});

parity('addresses after the end', async (env) => {
  const { client, peer, port, close } = await connected(env);
  const asked = [client.remotePort === port, peer.remotePort === client.localPort];
  client.destroy();
  await closed(client);
  asked.push(client.remotePort === port, client.localPort === undefined);
  const log = [...asked, Object.keys(client.address()).length, client.remoteFamily];
  await close();
  return log;
});

parity('an async listener that fails, with captureRejections', async (env) => {
  const server = env.server.createServer();
  (server as any)[Symbol.for('nodejs.rejection')] !== undefined || server.emit('error', new Error('no handler for rejections'));
  const error = new Error('from the listener');
  server.listen(0, env.host);
  await once(server, 'listening');
  const client = env.client.connect(server.address()!.port, env.host);
  const [peer] = await once(server, 'connection') as [Socket];
  const failed = once(peer, 'error');
  (server as any)[Symbol.for('nodejs.rejection')](error, 'connection', peer);
  const [seen] = await failed;
  client.destroy();
  server.close();
  await until(() => server._connections === 0);
  return seen === error;
});
