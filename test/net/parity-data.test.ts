/** Data: order, encodings, back-pressure, half-open, the ways to read and write; the same on node:net and on ours. */

import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Socket } from '../../lib/net/net.ts';
import { closed, connected, fields, listening, parity, record, turns, until } from './parity.ts';

async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const megabytes = randomBytes(5_000_000);
const hash = (data: Uint8Array): string => createHash('sha1').update(data).digest('hex');

parity('echo, in pieces of many sizes', async (env) => {
  const { client, close } = await connected(env, { server: undefined }).then((made) => {
    made.peer.pipe(made.peer);
    return made;
  });
  const received: Buffer[] = [];
  client.on('data', (chunk: Buffer) => received.push(chunk));
  for (let at = 0, size = 1; at < megabytes.length; at += size, size = Math.min(size * 3, 300_000)) {
    if (!client.write(megabytes.subarray(at, at + size))) await once(client, 'drain');
  }
  client.end();
  await once(client, 'end');
  const record = [hash(Buffer.concat(received)) === hash(megabytes), client.bytesRead, client.bytesWritten];
  await close();
  return record;
});

parity('one write of megabytes', async (env) => {
  const { client, peer, close } = await connected(env);
  const digest = createHash('sha1');
  peer.on('data', (chunk: Buffer) => digest.update(chunk));
  const log: unknown[] = [];
  const whole = client.write(megabytes, (error: unknown) => log.push(['written', error ?? null, client.writableLength]));
  log.push(whole, client.writableLength, client.bytesWritten, client.writableNeedDrain);
  record(env, client, ['drain'], log);
  await once(client, 'drain');
  await until(() => peer.bytesRead === megabytes.length);
  log.push(digest.digest('hex') === hash(megabytes), client.bytesWritten);
  await close();
  return log;
});

parity('a slow reader holds the writer', async (env) => {
  const { client, peer, close } = await connected(env, { server: { pauseOnConnect: true } });
  const chunk = Buffer.alloc(65536, 'x');
  let written = 0;
  let drained = true;
  client.on('drain', () => { drained = true; });
  // Until the pipe is full: buffers of both ends, bounded at a few MB each.
  for (let idle = 0; idle < 50 && written < 200e6;) {
    if (drained) {
      drained = client.write(chunk);
      written += chunk.length;
      idle = 0;
    } else {
      idle++;
      await turns(1);
    }
  }
  const held = [written < 64e6, peer.bytesRead <= 2 * 65536, client.writableNeedDrain];
  peer.resume();
  client.end();
  await once(peer, 'end');
  held.push(peer.bytesRead === written, client.bytesWritten === written);
  await close();
  return held;
});

parity('pipe keeps a bound on what it holds', async (env) => {
  const { client, peer, close } = await connected(env);
  let most = 0;
  let total = 0;
  const slow = new Writable({
    highWaterMark: 16384,
    write(chunk: Buffer, _encoding, done) {
      total += chunk.length;
      most = Math.max(most, slow.writableLength + peer.readableLength);
      setImmediate(done);
    },
  });
  peer.pipe(slow);
  Readable.from((function* () {
    for (let i = 0; i < 100; i++) yield megabytes.subarray(0, 50_000);
  })(), { objectMode: false }).pipe(client);
  await once(slow, 'finish');
  await close();
  return [total, most <= 4 * 65536];
});

parity('encodings', async (env) => {
  const { client, peer, close } = await connected(env);
  const log: unknown[] = [];
  peer.setEncoding('utf8');
  let text = '';
  peer.on('data', (chunk: unknown) => {
    log.push(typeof chunk);
    text += chunk as string;
  });
  client.write('48656c6c6f', 'hex');
  client.write('w6Q=', 'base64');
  client.write('\u00e4\u20ac', 'latin1');
  client.setDefaultEncoding('utf16le');
  client.write('z');
  client.write(new Uint8Array([65, 66]));
  client.write('');
  const euro = Buffer.from('€uro');
  client.write(euro.subarray(0, 1));
  await until(() => peer.bytesRead === 14);
  client.write(euro.subarray(1));
  await until(() => text.endsWith('uro'));
  log.splice(0, log.length, log.every((type) => type === 'string'));
  for (const bad of [null, 5, {}]) {
    try {
      client.write(bad as never);
    } catch (error) {
      log.push(fields(env, error));
    }
  }
  await close();
  return [text, log, client.bytesWritten];
});

parity('cork and uncork', async (env) => {
  const { client, peer, close } = await connected(env);
  const log: unknown[] = [];
  let received = '';
  peer.on('data', (chunk: Buffer) => { received += chunk; });
  client.cork();
  for (const word of ['one ', '', 'two ', 'three']) client.write(word, (error: unknown) => log.push([word, error ?? null]));
  log.push(client.writableLength, client.bytesWritten, client.writableCorked);
  await turns();
  log.push(received);
  client.uncork();
  await until(() => received.length === 13);
  log.push(received, client.writableLength, client.bytesWritten);
  await close();
  return log;
});

parity('reading by hand', async (env) => {
  const { client, peer, close } = await connected(env);
  client.write('0123456789');
  await once(peer, 'readable');
  await until(() => peer.readableLength === 10);
  const log: unknown[] = [String(peer.read(4)), peer.read(100), peer.readableFlowing];
  peer.unshift(Buffer.from('ab'));
  log.push(String(peer.read()), peer.read(), peer.bytesRead);
  client.end();
  peer.read();
  await once(peer, 'end');
  await close();
  return log;
});

parity('paused and resumed', async (env) => {
  const { client, peer, close } = await connected(env);
  let received = '';
  peer.on('data', (chunk: Buffer) => {
    received += chunk;
    peer.pause();
  });
  client.write('a');
  await until(() => received === 'a');
  client.write('b');
  client.end();
  await turns(20);
  const log: unknown[] = [received, peer.isPaused(), peer.readableFlowing];
  peer.resume();
  await until(() => received === 'ab');
  log.push(peer.isPaused());
  peer.resume();
  await until(() => peer.readableEnded);
  await close();
  return log;
});

parity('a listener that comes late', async (env) => {
  const { client, peer, close } = await connected(env);
  client.end('early');
  await turns(20);
  const text = await readAll(peer);
  await close();
  return text;
});

parity('async iteration both ways', async (env) => {
  const { client, peer, close } = await connected(env, { server: { allowHalfOpen: true } });
  client.end('question');
  const question = await readAll(peer);
  peer.end('answer');
  const answer = await readAll(client);
  await close();
  return [question, answer, client.destroyed, peer.destroyed];
});

parity('leaving an iteration destroys', async (env) => {
  const { client, peer, close } = await connected(env);
  const gone = closed(client);
  peer.write('x');
  for await (const chunk of client) {
    if (chunk.length > 0) break;
  }
  await gone;
  const destroyed = client.destroyed;
  await close();
  return destroyed;
});

parity('pipeline', async (env) => {
  const { client, peer, close } = await connected(env);
  const chunks: Buffer[] = [];
  const sink = new Writable({ write: (chunk, _encoding, done) => { chunks.push(chunk); done(); } });
  const [sent] = await Promise.all([
    pipeline(Readable.from([Buffer.from('a'), Buffer.from('b')]), client)
      .then(() => 'sent', (error: unknown) => fields(env, error)),
    pipeline(peer, sink),
  ]);
  const result = [sent, Buffer.concat(chunks).toString()];
  await close();
  return result;
});

parity('half open', async (env) => {
  const { client, peer, close } = await connected(env, { server: { allowHalfOpen: true }, client: { allowHalfOpen: true } });
  const log: unknown[] = [];
  const clientLog = record(env, client, ['end', 'finish', 'close', 'error']);
  const peerLog = record(env, peer, ['end', 'finish', 'error']);
  client.end('question');
  let question = '';
  peer.on('data', (chunk: Buffer) => { question += chunk; });
  await once(peer, 'end');
  await turns();
  log.push(question, client.readyState, peer.readyState, peer.writable, peer.destroyed);
  peer.write('answer');
  const [data] = await once(client, 'data');
  log.push(String(data));
  peer.end();
  await closed(client);
  await turns();
  log.push(client.readyState, peer.readyState);
  await close();
  return [log, clientLog, peerLog];
});

parity('not half open: the end is answered', async (env) => {
  const { client, peer, close } = await connected(env);
  const log: unknown[] = [];
  record(env, client, ['end', 'finish', 'close', 'error'], log);
  const gone = closed(client);
  client.on('end', () => log.push([client.writable, client.readyState]));
  peer.end('bye');
  client.resume();
  await gone;
  log.push(client.readyState, client.writableEnded);
  await close();
  return log;
});

parity('written after the peer has ended', async (env) => {
  const { client, peer, close } = await connected(env);
  const log: unknown[] = [];
  record(env, client, ['error', 'close'], log);
  const gone = closed(client);
  client.on('end', () => {
    const late = (): void => {
      log.push(client.write('late', (error: unknown) => log.push(['written', fields(env, error)])));
    };
    process.nextTick(() => process.nextTick(late));
  });
  client.resume();
  peer.end();
  await gone;
  await turns();
  await close();
  return log.map((entry) => JSON.stringify(entry)).sort();
});

parity('written after end()', async (env) => {
  const { client, close } = await connected(env);
  const log = record(env, client, ['error', 'close', 'finish']);
  const gone = closed(client);
  client.end();
  client.write('late', (error: unknown) => log.push(['written', fields(env, error)]));
  await gone;
  await close();
  return log;
});

for (const how of ['buffer', 'function'] as const) {
  parity(`onread with a ${how}`, async (env) => {
    const { server, port } = await listening(env, {});
    const log: unknown[] = [];
    let made = 0;
    let text = '';
    const socket = env.client.connect({
      port, host: env.host,
      onread: {
        buffer: how === 'buffer' ? Buffer.alloc(4) : () => {
          made++;
          return new Uint8Array(4);
        },
        callback(n: number, buffer: Uint8Array) {
          text += Buffer.from(buffer.subarray(0, n)).toString();
          if (text.length === 8) log.push('paused');
          return text.length !== 8;
        },
      },
    });
    record(env, socket, ['data', 'end', 'close', 'error'], log);
    const [peer] = await once(server, 'connection') as [Socket];
    peer.write('0123456789abcdef');
    await until(() => text.length === 8);
    await turns(20);
    log.push(text, socket.bytesRead);
    socket.resume();
    await until(() => text.length === 16);
    log.push(text, how === 'buffer' || made >= 4);
    peer.end();
    socket.resume();
    await closed(socket);
    server.close();
    await until(() => server._connections === 0);
    return log;
  });
}

parity('onread: pause() and resume()', async (env) => {
  const { server, port } = await listening(env, {});
  let text = '';
  const callback = (n: number, buffer: Uint8Array): void => {
    text += Buffer.from(buffer.subarray(0, n));
  };
  const socket = env.client.connect({ port, host: env.host, onread: { buffer: Buffer.alloc(64), callback } });
  const [[peer]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(socket, 'connect')]);
  peer.write('a');
  await until(() => text === 'a');
  socket.pause();
  peer.write('b');
  await turns(20);
  const log = [text];
  socket.resume();
  await until(() => text === 'ab');
  socket.destroy();
  peer.destroy();
  server.close();
  await until(() => server._connections === 0);
  return log;
});

parity('inactivity', async (env) => {
  const { client, peer, close } = await connected(env);
  const log: unknown[] = [];
  const done = (): void => { log.push('listener'); };
  client.setTimeout(150, done);
  const begun = Date.now();
  let stalled = 0;
  for (let last = begun; last < begun + 220;) {
    peer.write('x');
    await new Promise((resolve) => setTimeout(resolve, 15));
    client.read();
    stalled = Math.max(stalled, Date.now() - last);
    last = Date.now();
  }
  // a machine so busy that things happen late proves nothing
  log.push(log.length === 0 || stalled > 40);
  if (log.length === 1) await once(client, 'timeout');
  log.push(Date.now() - begun >= 150, client.timeout, client.destroyed, client.listenerCount('timeout'));
  client.setTimeout(20, done);
  client.setTimeout(0, done);
  log.push(client.listenerCount('timeout'), client.timeout);
  await new Promise((resolve) => setTimeout(resolve, 40));
  log.sort();
  await close();
  client.setTimeout(5);
  log.push(client.timeout);
  return log;
});
