/**
 * What Linux's TCP sees when an application with its own TCP ends: properly, with data still to be sent; and by
 * SIGKILL, under load. And who may attach, and to which ports.
 */

import './namespace.ts';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { STACK4, STACK6, TcpuProcess, lacking, must, run, serve, start, tcpu, up } from './harness.ts';
import { patternBytes } from './pattern.ts';

const leaving = fileURLToPath(new URL('./leaving-server.ts', import.meta.url));

/** Connections that Linux's TCP has seen reset (EstabResets of RFC 4022). */
function resets(): number {
  const [names, values] = readFileSync('/proc/net/snmp', 'utf8').split('\n').filter((line) => line.startsWith('Tcp:')).map((line) => line.split(' '));
  return Number(values![names!.indexOf('EstabResets')]);
}

/** Everything that a server sends to Linux, read after a while so that it cannot all be under way before. */
async function readSlowly(port: number, beginAfter: Promise<unknown>): Promise<{ bytes: Buffer; error: string | null }> {
  const socket = net.connect({ port, host: STACK4, noDelay: true });
  const pieces: Buffer[] = [];
  let error: string | null = null;
  socket.on('error', (e: NodeJS.ErrnoException) => {
    error = e.code ?? e.message;
  });
  await once(socket, 'connect');
  await beginAfter;
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  await once(socket, 'close');
  return { bytes: Buffer.concat(pieces), error };
}

t.test('an application that ends while its connections close leaves them to the stack', { timeout: 100_000 }, async (t) => {
  await up(t);
  for (const bytes of [1000, 7_000_000]) {
    const server = start(process.execPath, ['--import=tsx', leaving, '4000', String(bytes)]);
    const ended = new Promise((resolve) => server.once('close', resolve));
    let stderr = '';
    server.stderr!.on('data', (piece) => (stderr += piece));
    await once(server.stdout!, 'data');
    const got = await readSlowly(4000, ended);
    t.equal(await ended, 0, stderr);
    t.equal(got.error, null);
    t.equal(got.bytes.length, bytes);
    t.ok(got.bytes.equals(patternBytes(bytes)), 'every byte');
    // TIME-WAIT is the stack's now, and does not keep the port from the next one.
    const { stdout } = await tcpu(['ss', '-a']);
    t.match(stdout, bytes === 1000 ? /TIME-WAIT.*:4000/ : /:4000/);
  }
});

t.test('SIGKILL under load: resets at once, ports free at once, the others unharmed', { timeout: 100_000 }, async (t) => {
  await up(t, '--serve', 'http@8001');
  await serve(t, 'http@8002');
  const listed = async (): Promise<string> => (await tcpu(['ss', '-a'])).stdout;
  for (let round = 0; round < 3; round++) {
    const victim = new TcpuProcess(['serve', 'chargen@9001,echo@9002,discard@9003']);
    await victim.printed(/^ready .*\n/m);
    const sockets: net.Socket[] = [];
    const errors: string[] = [];
    const closed: Promise<void>[] = [];
    for (let i = 0; i < 30; i++) {
      const socket = net.connect(9001 + i % 3, i % 2 === 0 ? STACK4 : STACK6);
      sockets.push(socket);
      socket.on('error', (e: NodeJS.ErrnoException) => errors.push(e.code!));
      closed.push(new Promise((resolve) => socket.once('close', () => resolve())));
      await once(socket, 'connect');
      socket.resume();
      if (i % 3 !== 0) {
        const pump = (): void => {
          while (!socket.destroyed && socket.write(Buffer.alloc(100_000))) ;
        };
        socket.on('drain', pump);
        pump();
      }
    }
    const resetsBefore = resets();
    const others = [8001, 8002].map((port) => run('curl', ['-sS', '-o', '/dev/null', '-w', '%{size_download}', `http://${STACK4}:${port}/bytes/200000000`]));
    victim.child.kill('SIGKILL');
    const before = Date.now();
    await victim.ended;
    await Promise.all(closed);
    // Without resets, Linux would try for a quarter of an hour.
    t.ok(Date.now() - before < 20_000, `all connections ended within ${Date.now() - before} ms`);
    t.same([...new Set(errors)].filter((code) => code !== 'ECONNRESET' && code !== 'EPIPE'), [], 'by reset');
    // libuv may tell of a reset as of an end (POLLHUP after a read that was not full); Linux's TCP knows better.
    t.equal(resets() - resetsBefore, sockets.length, 'every one of them');
    t.notMatch(await listed(), /:900[123]\b.*(LISTEN|ESTABLISHED)/, 'nothing is left in the stack');
    for (const other of others) t.equal((await other).stdout, '200000000', 'the others went on');
    await t.rejects(once(net.connect(9002, STACK4), 'connect'), { code: 'ECONNREFUSED' }, 'nobody listens');
  }
  // The ports are free for the next one.
  await serve(t, 'echo@9002');
  const socket = net.connect(9002, STACK4);
  await once(socket, 'connect');
  socket.end('x');
  t.equal(String((await once(socket, 'data'))[0]), 'x');
});

t.test('who may do what', { skip: process.getuid?.() === 0 ? lacking('setpriv') : 'needs root: NOT tested', timeout: 100_000 }, async (t) => {
  const path = join(process.env['XDG_RUNTIME_DIR']!, 'shared.sock');
  await must('chmod', '755', process.env['XDG_RUNTIME_DIR']!);
  const nobody = (...args: string[]): ReturnType<typeof run> => run('setpriv', [
    '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '--import=tsx', fileURLToPath(new URL('./tcpu.ts', import.meta.url)), ...args,
  ], { timeoutMs: 20_000, env: { ...process.env, HOME: '/tmp', TMPDIR: '/tmp' } });
  await t.test('the socket is its owner\'s', async (t) => {
    await up(t, '--socket', path);
    const { code, stderr } = await nobody('serve', 'echo@7777', '--socket', path);
    t.equal(code, 1);
    t.match(stderr, /permission/);
  });
  await t.test('privileged ports are root\'s', async (t) => {
    await up(t, '--socket', path, '--socket-mode', '666');
    for (const tcp of ['tcpu', 'kernel']) {
      const { code, stderr } = await nobody('serve', 'echo@77', '--socket', path, '--tcp', tcp);
      t.equal(code, 1);
      t.match(stderr, /EACCES|privileged/, tcp);
    }
    // Root may; and what others hold is not to be had.
    await serve(t, 'echo@77', '--socket', path);
    const { code, stderr } = await tcpu(['serve', 'echo@77', '--socket', path]);
    t.equal(code, 1);
    t.match(stderr, /taken/);
  });
  await t.test('--allow-privileged-ports', async (t) => {
    await up(t, '--socket', path, '--socket-mode', '666', '--allow-privileged-ports');
    const child = start('setpriv', [
      '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '--import=tsx', fileURLToPath(new URL('./tcpu.ts', import.meta.url)),
      'serve', 'echo@77', '--socket', path,
    ], { ...process.env, HOME: '/tmp', TMPDIR: '/tmp' });
    let said = '';
    child.stderr!.on('data', (piece) => (said += piece));
    const [first] = await Promise.race([once(child.stdout!, 'data'), once(child, 'close')]);
    t.match(String(first), /^ready /, said);
    child.kill('SIGTERM');
    await once(child, 'close');
  });
});
