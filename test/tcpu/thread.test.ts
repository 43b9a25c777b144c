/**
 * TCPU in a worker thread: the same API, and segments are acknowledged and sent again while the main thread is blocked.
 * The stack, and the peer behind a memory link, are in another process (thread-peer.ts).
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Worker } from 'node:worker_threads';
import t from 'tap';
import { accept_tcpu, bind_tcpu, close_tcpu, connect_tcpu, IPPROTO_TCPK, recv_tcpu, send_tcpu, socket_tcpu, tcpu_attach, tcpu_detach } from '../../lib/api.ts';
import { attach } from '../../lib/attach.ts';
import type { Attachment } from '../../lib/attach.ts';
import { AttachError } from '../../lib/channel/process-channel.ts';
import { ENETDOWN } from '../../lib/errno.ts';
import { ping } from '../../lib/net/ping.ts';
import { AF_INET, SOCK_STREAM } from '../../lib/socket.ts';
import { between, measured } from '../attempts.ts';
import { startPeer } from './thread-control.ts';
import { PEER, POUR_PORT, STACK } from './thread-peer.ts';

const folder = mkdtempSync(join(tmpdir(), 'tcpu-thread-'));
const path = join(folder, 'socket');

const peer = await startPeer(path);
t.teardown(() => {
  peer.disconnect();
  rmSync(folder, { recursive: true });
});

/** Blocks this thread until the peer has written what it saw. */
function block(file: string): unknown {
  const limit = Date.now() + 20_000;
  while (!existsSync(file)) if (Date.now() > limit) throw new Error('the peer does not answer');
  return JSON.parse(readFileSync(file, 'utf8'));
}

async function ask(command: object): Promise<unknown> {
  const answer = once(peer, 'message');
  peer.send(command);
  return (await answer)[0];
}

function pattern(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0, x = 1; i < length; i++) {
    x = (x * 1103515245 + 12345) & 0x7fffffff;
    bytes[i] = x >> 16;
  }
  return bytes;
}

/** Connects to the peer's port 20, which echoes. */
async function connected(app: Attachment) {
  const socket = app.net.connect(POUR_PORT, PEER);
  await once(socket, 'connect');
  socket.write('x');
  await once(socket, 'data');
  return socket;
}

/** For several tests. */
const app = await attach({ socket: path, thread: true });

t.test('net, both ways of opening, and a large transfer', { timeout: 60_000 }, async (t) => {
  t.same(app.addresses, [`${STACK}/24`]);
  const sent = pattern(5_000_000);
  const socket = app.net.connect(7, PEER);
  socket.end(sent);
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  t.ok(Buffer.concat(pieces).equals(sent), 'every byte came back, in order');
  t.equal(app.connections().filter(({ state }) => state === 'LISTEN').length, 0);

  // To itself, over the stack's loopback, and to the stack's own TCP across two boundaries.
  for (const [server, client] of [['tcpu', 'tcpu'], ['kernel', 'tcpu'], ['tcpu', 'kernel']] as const) {
    const listener = app.netOf(server).createServer((one) => one.pipe(one)).listen(8000);
    await once(listener, 'listening');
    const one = app.netOf(client).connect(8000, STACK);
    one.end('hello');
    t.equal(String((await one.toArray() as Buffer[]).join('')), 'hello', `${client} to ${server}`);
    listener.close();
    await once(listener, 'close');
  }
  t.ok(app.counters().tcp!.ActiveOpens! >= 3);
  await t.rejects(once(app.net.connect(9, PEER), 'connect'), { code: 'ECONNREFUSED', syscall: 'connect', address: PEER, port: 9 });
});

t.test('the stack\'s UDP and ICMP', { timeout: 30_000 }, async (t) => {
  const socket = app.dgram.createSocket('udp4');
  for (const text of ['one', 'two']) {
    socket.send(text, 7, PEER);
    const [message] = await once(socket, 'message') as [Buffer];
    t.equal(String(message), text);
  }
  socket.close();
  for await (const { seq, error } of ping(app, PEER, { count: 2, intervalMs: 1 })) t.equal(error, undefined, `echo reply ${seq}`);
});

t.test('http', { timeout: 30_000 }, async (t) => {
  const http = createServer((request, response) => response.end(`you asked for ${request.url}, and more: ${'.'.repeat(100_000)}`));
  const server = app.net.createServer((socket) => http.emit('connection', socket)).listen(80);
  await once(server, 'listening');
  const body = await ask({ fetch: '/page' });
  t.ok(body === `you asked for /page, and more: ${'.'.repeat(100_000)}`, `${String(body).slice(0, 100)} …`);
  server.close();
});

t.test('the calls of the report', { timeout: 30_000 }, async (t) => {
  await tcpu_attach(app);
  const listener = await socket_tcpu(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
  await bind_tcpu(listener, { address: '0.0.0.0', port: 4000 });
  const accepting = accept_tcpu(listener, {});
  const client = await socket_tcpu(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
  await connect_tcpu(client, { address: STACK, port: 4000 });
  const server = await accepting;
  t.equal(await send_tcpu(client, Buffer.from('hello')), 5);
  const buffer = Buffer.alloc(10);
  t.equal(await recv_tcpu(server, buffer), 5);
  t.equal(buffer.toString('latin1', 0, 5), 'hello');
  // Each end's close waits for the other's.
  await Promise.all([client, server, listener].map(close_tcpu));
  await tcpu_detach();
  await app.close();
  t.equal(app.socket(AF_INET, SOCK_STREAM, 0), -ENETDOWN, 'closed');
});

for (const thread of [true, false]) {
  t.test(`the main thread is blocked for two seconds, TCPU ${thread ? 'in a worker' : 'in it'}`, { timeout: 60_000 }, async (t) => {
    const app = await attach({ socket: path, thread });
    const socket = await connected(app);
    let bytes = 0;
    let got = 0;
    socket.on('data', (piece) => {
      got += piece.length;
    });
    const pour = async (round: number): Promise<number> => {
      const poured = join(folder, `poured-${thread}-${round}`);
      const before = got;
      bytes += 100_000;
      peer.send({ pour: 100_000, ms: 2000, file: poured });
      const acknowledged = block(poured) as number;
      t.equal(got, before, 'this thread was blocked');
      while (got < bytes) await once(socket, 'data');
      return acknowledged;
    };
    let round = 0;
    if (thread) await measured(t, 'the peer got its acknowledgments meanwhile', async () => between(await pour(round++), 100_000, 100_000));
    // One: the ACK that opened the connection may have been on its way still.
    else await pour(round).then((acknowledged) => t.ok(acknowledged <= 1, `the peer got no acknowledgments meanwhile: ${acknowledged}`));

    // Lost on the way: with an RTO of 200 ms sent again after 200, 600 and 1400.
    const file = join(folder, `lost-${thread}`);
    t.equal(await ask({ lose: 2000, file }), 'losing');
    socket.write('lost');
    const times = block(file) as number[];
    if (thread) t.ok(times.length === 1 && times[0]! >= 3, `the segment was sent ${times.join()} times`);
    else t.same(times, [1], 'sent once');
    while (got < bytes + 4) await once(socket, 'data');
    t.equal(got, bytes + 4, 'and came back in the end');
    socket.destroy();
    await app.close();
  });
}

t.test('what cannot be', { timeout: 30_000 }, async (t) => {
  await t.rejects(attach({ socket: join(folder, 'nobody'), thread: true }), { name: 'AttachError', code: 'ENOENT', path: join(folder, 'nobody') });
  await t.rejects(attach({ socket: join(folder, 'nobody'), thread: true }), AttachError);
  await t.rejects(attach({ socket: path, thread: true, options: { congestion: 'hope' } }), RangeError);
  t.throws(() => attach({ socket: path, thread: true, window: { call: 1 } }), RangeError);
  const { createStack } = await import('../../lib/stack.ts');
  const { createMemoryPair } = await import('../../lib/link/memory-pair.ts');
  const stack = createStack({ link: createMemoryPair()[0], addresses: ['10.0.0.9/24'], applications: true });
  await t.rejects(attach({ stack, thread: true }), RangeError);
  const own = stack.listen({ path: join(folder, 'own') });
  await t.rejects(attach({ socket: own.path, thread: true }), { code: 'EDEADLK' }, 'who waits for his own thread');
  own.close();
  await stack.close({ graceful: false });
});

t.test('a worker that ends takes its sockets with it', { timeout: 30_000 }, async (t) => {
  for (const waiting of [true, false]) {
    const made = once(process, 'worker') as Promise<[Worker]>;
    const app = await attach({ socket: path, thread: true });
    const [worker] = await made;
    const socket = await connected(app);
    const failed = once(socket, 'error') as Promise<[NodeJS.ErrnoException]>;
    const down = once(app, 'down') as Promise<[string]>;
    void worker.terminate();
    // A call that meets nobody, or nobody any more, comes back.
    if (waiting) t.ok(app.connections().length <= 2);
    t.match((await down)[0], /thread that runs TCP has ended/);
    t.match((await failed)[0].code, /^(ECONNABORTED|ENETDOWN|EPIPE)$/);
    t.equal(app.socket(AF_INET, SOCK_STREAM, 0), -ENETDOWN);
    await app.close();
  }
});

t.test('a stack that ends', { timeout: 30_000 }, async (t) => {
  const at = join(folder, 'short-lived');
  const child = await startPeer(at);
  const app = await attach({ socket: at, thread: true });
  const socket = await connected(app);
  const failed = once(socket, 'error') as Promise<[NodeJS.ErrnoException]>;
  child.kill('SIGKILL');
  const [reason] = await once(app, 'down') as [string];
  t.equal(reason, 'the stack is gone');
  t.match((await failed)[0].code, /^(ECONNABORTED|ENETDOWN)$/);
  await app.close();
});

for (const [way, code, bytes, how] of [
  ['end', 0, 300_000, 'end'], ['exit', 3, 300_000, 'end'], ['throw', 1, 300_000, 'end'], ['kill', null, 0, 'ECONNRESET'], ['idle', 0, -1, ''],
] as const) {
  t.test(`a process that ends: ${way}`, { timeout: 30_000 }, async (t) => {
    const script = fileURLToPath(new URL('./thread-app.ts', import.meta.url));
    const child = spawn(process.execPath, ['--import=tsx', script, path, way], { stdio: ['ignore', 'inherit', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (piece) => {
      errors += String(piece);
    });
    t.equal((await once(child, 'close'))[0], code, errors);
    if (way === 'throw') t.match(errors, /of the application/);
    else t.equal(errors, '');
    if (bytes >= 0) t.same(await ask({ ended: true }), { bytes, how });
  });
}
