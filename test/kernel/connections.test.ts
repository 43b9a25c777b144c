/** TCP connections between Linux and a stack in this process, both ways: how they begin, half-close, reset and fail. */

import './namespace.ts';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { startServices, parseServeList } from '../../lib/services/index.ts';
import { LINUX4, LINUX6, STACK4, STACK6, lacking, run, stackOnTun, tcpu, TcpuProcess } from './harness.ts';

/** A server of Linux on a free port of all addresses. */
async function linuxServer(t: Test, accept: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true }, accept);
  server.listen(0);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

async function collect(socket: AsyncIterable<unknown>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

function numbered(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 13 + (i >> 9)) & 0xff;
  return bytes;
}

for (const offload of ['on', 'off'] as const) {
  t.test(`the stack connects to Linux, offload ${offload}`, { timeout: 60_000 }, async (t) => {
    const { stack } = stackOnTun(t, { offload });
    const port = await linuxServer(t, (socket) => socket.pipe(socket));
    const body = numbered(10_000_000);
    for (const host of [LINUX4, LINUX6]) {
      const socket = stack.net.connect({ host, port, allowHalfOpen: true });
      await once(socket, 'connect');
      t.match(socket.remoteAddress, host);
      socket.end(body);
      const got = await collect(socket);
      t.ok(got.equals(body), `${host}: all of it came back`);
    }
    const many = await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const socket = stack.net.connect({ host: i % 2 === 0 ? LINUX4 : LINUX6, port, allowHalfOpen: true });
      socket.end(body.subarray(i, i + 50_000));
      return (await collect(socket)).equals(body.subarray(i, i + 50_000));
    }));
    t.equal(many.filter((ok) => ok).length, 100, '100 connections at once');
  });
}

t.test('half-close: each side ends when it wants to', { timeout: 30_000 }, async (t) => {
  const { stack } = stackOnTun(t);
  await t.test('Linux ends first, the stack answers then', async () => {
    const server = stack.net.createServer({ allowHalfOpen: true }, (socket) => {
      const pieces: Buffer[] = [];
      socket.on('data', (piece: Buffer) => pieces.push(piece));
      socket.on('end', () => socket.end(Buffer.concat(pieces).reverse()));
    });
    server.listen(1000);
    await once(server, 'listening');
    const socket = connect({ host: STACK4, port: 1000, allowHalfOpen: true });
    socket.end('stressed');
    t.equal((await collect(socket)).toString(), 'desserts');
    server.close();
  });
  await t.test('the stack ends first, Linux answers then', async () => {
    const port = await linuxServer(t, (socket) => {
      const pieces: Buffer[] = [];
      socket.on('data', (piece: Buffer) => pieces.push(piece));
      socket.on('end', () => socket.end(Buffer.concat(pieces).reverse()));
    });
    const socket = stack.net.connect({ host: LINUX6, port, allowHalfOpen: true });
    socket.end('stressed');
    t.equal((await collect(socket)).toString(), 'desserts');
  });
});

t.test('resets arrive as ECONNRESET on both sides', { timeout: 30_000 }, async (t) => {
  const { stack } = stackOnTun(t);
  await t.test('Linux resets', async (t) => {
    const port = await linuxServer(t, (socket) => socket.once('data', () => socket.resetAndDestroy()));
    const socket = stack.net.connect(port, LINUX4);
    socket.write('x');
    const [error] = await once(socket, 'error') as [NodeJS.ErrnoException];
    t.match(error, { code: 'ECONNRESET', syscall: 'read', errno: -104 });
    await once(socket, 'close');
  });
  await t.test('the stack resets', async (t) => {
    const server = stack.net.createServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
    server.listen(1001);
    await once(server, 'listening');
    const socket = connect(1001, STACK6);
    socket.write('x');
    const [error] = await once(socket, 'error') as [NodeJS.ErrnoException];
    t.match(error, { code: 'ECONNRESET' });
    server.close();
  });
  await t.test('Linux is killed with unread data', async (t) => {
    const port = await linuxServer(t, (socket) => {
      socket.pause();
      // Bytes that nobody has read make Linux's close a reset (RFC 2525 2.17).
      setTimeout(() => socket.destroy(), 50);
    });
    const socket = stack.net.connect(port, LINUX4);
    socket.write(Buffer.alloc(1_000_000));
    const [error] = await once(socket, 'error') as [NodeJS.ErrnoException];
    t.match(error.code, /ECONNRESET|EPIPE/);
  });
});

t.test('nobody there', { timeout: 60_000 }, async (t) => {
  const { stack } = stackOnTun(t);
  await t.test('refused by Linux', async (t) => {
    for (const host of [LINUX4, LINUX6]) {
      const [error] = await once(stack.net.connect(9, host), 'error') as [NodeJS.ErrnoException];
      t.match(error, { code: 'ECONNREFUSED', syscall: 'connect', address: host, port: 9 });
    }
  });
  await t.test('refused by the stack', async (t) => {
    for (const host of [STACK4, STACK6]) {
      const [error] = await once(connect(9, host), 'error') as [NodeJS.ErrnoException];
      t.match(error, { code: 'ECONNREFUSED', address: host });
    }
  });
  await t.test('unreachable: Linux says so', async (t) => {
    await run('sh', ['-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward; ip route add unreachable 192.0.2.0/24; ip -6 route add unreachable 2001:db8::/64']);
    await run('sh', ['-c', 'echo 1 > /proc/sys/net/ipv6/conf/all/forwarding']);
    // An unreachable route gives EHOSTUNREACH for IPv4; for IPv6 it is answered with code 0, no route: ENETUNREACH.
    for (const [host, code] of [['192.0.2.1', 'EHOSTUNREACH'], ['2001:db8::1', /E(HOST|NET)UNREACH/]] as const) {
      const [error] = await once(stack.net.connect(80, host), 'error') as [NodeJS.ErrnoException];
      t.match(error.code, code, host);
    }
  });
  await t.test('a port without UDP: Linux hears of it', async (t) => {
    const { createSocket } = await import('node:dgram');
    const socket = createSocket('udp4');
    socket.connect(9, STACK4);
    await once(socket, 'connect');
    socket.send('x');
    const [error] = await once(socket, 'error') as [NodeJS.ErrnoException];
    t.equal(error.code, 'ECONNREFUSED');
    socket.close();
  });
});

t.test('a service whose port is taken', { timeout: 30_000 }, async (t) => {
  const { stack } = stackOnTun(t);
  const server = stack.net.createServer().listen(7007);
  await once(server, 'listening');
  const taken = { name: 'ServiceError', code: 'EADDRINUSE' };
  await t.rejects(startServices(stack, parseServeList('discard,echo@7007')), { ...taken, message: /^echo: TCP port 7007 is taken/ });
  await t.rejects(startServices(stack, parseServeList('discard,http@7007')), { ...taken, message: /^http: TCP port 7007 is taken/ });
  await t.rejects(startServices(stack, parseServeList('discard,iperf3@7007')), { ...taken, message: /^iperf3: TCP port 7007 is taken/ });
  server.close();
  await once(server, 'close');
  const running = await startServices(stack, parseServeList('discard,echo@7007'));
  t.equal(running.length, 2, 'those that had started were closed again');
  const udp = stack.dgram.createSocket('udp6').bind(9009);
  await once(udp, 'listening');
  await t.rejects(startServices(stack, parseServeList('discard@9009')), { ...taken, message: /^discard: UDP port 9009 is taken/ });
});

t.test('UDP services', { timeout: 30_000 }, async (t) => {
  const { stack } = stackOnTun(t);
  await startServices(stack, parseServeList('echo,discard,chargen,daytime'));
  const { createSocket } = await import('node:dgram');
  for (const [type, host] of [['udp4', STACK4], ['udp6', STACK6]] as const) {
    const socket = createSocket(type);
    const ask = async (port: number, data: Buffer): Promise<Buffer> => {
      socket.send(data, port, host);
      const [answer] = await once(socket, 'message') as [Buffer];
      return answer;
    };
    for (const length of [0, 1, 1472, 9000, 60_000]) {
      const data = numbered(length);
      t.ok((await ask(7, data)).equals(data), `${host}: echo of ${length} bytes`);
    }
    t.match((await ask(13, Buffer.alloc(0))).toString(), /^[A-Z][a-z]+day, .*-UTC\r\n$/);
    t.ok((await ask(19, Buffer.alloc(0))).length <= 512);
    socket.close();
  }
  // From the port of another such service nothing is answered, so what comes next is the echo.
  const loop = createSocket('udp4');
  loop.bind(19, LINUX4);
  await once(loop, 'listening');
  loop.send('to be dropped', 7, STACK4);
  loop.close();
  await once(loop, 'close');
});

t.test('tcpu nc', { timeout: 60_000 }, async (t) => {
  await t.test('connects, says and hears', async (t) => {
    const port = await linuxServer(t, (socket) => socket.pipe(socket));
    const { code, stdout, stderr } = await tcpu(['nc', '-N', LINUX4, String(port)], { input: 'hello\n' });
    t.same({ code, stdout, stderr }, { code: 0, stdout: 'hello\n', stderr: '' });
  });
  await t.test('refused', async (t) => {
    const { code, stderr } = await tcpu(['nc', LINUX6, '9']);
    t.same({ code, stderr }, { code: 1, stderr: `tcpu: ${LINUX6} port 9 refused: nothing listens there\n` });
  });
  await t.test('no answer', async (t) => {
    await run('ip', ['route', 'add', 'blackhole', '198.51.100.0/24']);
    const { code, stderr } = await tcpu(['nc', '-w', '0.5', '198.51.100.1', '80']);
    t.equal(code, 1);
    t.match(stderr, /^tcpu: 198\.51\.100\.1 port 80 did not answer/);
  });
  await t.test('-l takes one connection', async (t) => {
    const nc = new TcpuProcess(['nc', '-v', '-l', '-N', '7000']);
    await nc.printed(/listening on port 7000/);
    const socket = connect({ host: STACK4, port: 7000, allowHalfOpen: true });
    nc.child.stdin!.end('from the stack');
    socket.end('from Linux');
    t.equal((await collect(socket)).toString(), 'from the stack');
    t.equal(await nc.ended, 0);
    t.equal(nc.stdout, 'from Linux');
  });
  await t.test('-u and -u -l', async (t) => {
    const { createSocket } = await import('node:dgram');
    const echo = createSocket('udp4');
    echo.on('message', (data, from) => echo.send(data, from.port, from.address));
    echo.bind(0);
    await once(echo, 'listening');
    const { code, stdout } = await tcpu(['nc', '-u', '-w', '2', LINUX4, String(echo.address().port)], { input: 'datagram' });
    t.same({ code, stdout }, { code: 0, stdout: 'datagram' });
    echo.close();
    const nc = new TcpuProcess(['nc', '-v', '-u', '-l', '7001']);
    const socket = createSocket('udp6');
    // Nobody says when a UDP port is open; what comes too early is lost.
    const knock = setInterval(() => socket.send('knock', 7001, STACK6), 50);
    await nc.printed(/first datagram from fd90::1/);
    clearInterval(knock);
    nc.child.stdin!.write('who is there?');
    const [answer] = await once(socket, 'message') as [Buffer];
    t.equal(answer.toString(), 'who is there?');
    socket.close();
    t.equal(await nc.stop('SIGINT'), 0);
    t.match(nc.stdout, /^knock/);
  });
});

t.test('Linux sees the right reset behaviour of curl', { skip: lacking('curl'), timeout: 20_000 }, async (t) => {
  stackOnTun(t);
  const { code } = await run('curl', ['-sS', '-m', '5', `http://${STACK4}:81/`]);
  t.equal(code, 7, 'failed to connect');
});
