/** TCPU over UDP, on real UDP sockets of the loopback: two programs' worth of TCP in this process. */

import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { EMSGSIZE } from '../../lib/errno.ts';
import type { Server, Socket } from '../../lib/net/net.ts';
import { OverUdp, tcpuOverUdp } from '../../lib/over-udp.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6, SOCK_STREAM } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import type { UdpTcpuOptions } from '../../lib/tcpu/udp-tcpu.ts';
import { fold, sumBytes } from '../../lib/wire/checksum.ts';
import { ACK, RST, SYN } from '../../lib/wire/tcp.ts';

/** Two ends; closed with the test. */
function pair(t: Test, options: UdpTcpuOptions = {}): [OverUdp, OverUdp] {
  const ends: [OverUdp, OverUdp] = [tcpuOverUdp(options), tcpuOverUdp(options)];
  t.teardown(() => Promise.all(ends.map((end) => end.close({ graceful: false }))));
  return ends;
}

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 8) + seed) & 0xff;
  return bytes;
}

/** All until the peer's FIN; leaves the other half as it is. */
function readAll(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    socket.on('end', () => resolve(Buffer.concat(pieces)));
    socket.on('error', reject);
  });
}

async function listen(end: OverUdp, host: string, onconnection: (socket: Socket) => void): Promise<Server> {
  const server = end.net.createServer({ allowHalfOpen: true }, (socket) => {
    // What is left open when a test ends is reset.
    socket.on('error', () => {});
    onconnection(socket);
  });
  server.listen(0, host);
  await once(server, 'listening');
  return server;
}

function portOf(server: Server): number {
  return (server.address() as { port: number }).port;
}

/** Resolves when `done` holds. */
async function until(done: () => boolean): Promise<void> {
  while (!done()) await new Promise((resolve) => setImmediate(resolve));
}

for (const host of ['127.0.0.1', '::1']) {
  t.test(`transfer both ways on ${host}`, { timeout: 30_000 }, async (t) => {
    const [a, b] = pair(t);
    const up = pattern(5_000_000, 1);
    const down = pattern(4_000_000, 2);
    let served: Promise<Buffer> | null = null;
    const server = await listen(b, host, (socket) => {
      socket.end(down);
      served = readAll(socket);
    });
    const socket = a.net.connect({ port: portOf(server), host, allowHalfOpen: true });
    socket.end(up);
    await once(socket, 'connect');
    t.equal(socket.remotePort, portOf(server));
    t.equal(socket.localAddress, host, 'the host has chosen it');
    const got = await readAll(socket);
    t.ok(got.equals(down), 'down');
    t.ok((await served!).equals(up), 'up');
    t.equal(a.counters.InCsumErrors + b.counters.InCsumErrors, 0);
    t.ok(b.counters.InDatagrams > b.counters.InBatches, `${b.counters.InDatagrams} datagrams in ${b.counters.InBatches} batches`);
    const { RcvDirectBytes, RcvBufferedBytes } = b.tcpu.tcp.counters;
    t.equal(RcvDirectBytes + RcvBufferedBytes, up.length);
    t.ok(RcvDirectBytes > up.length / 2, `${RcvDirectBytes} bytes with one copy`);
    server.close();
    await once(server, 'close');
  });
}

t.test('datagrams of the size that is for strange networks', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t, { mtu: 1280 });
  // Not the loopback's larger size: the path is what a destination is known to take.
  for (const end of [a, b]) while (end.ip.lowerMtu(0, 0, 0xffff, 0x7f000001)) { /* down to the least */ }
  const data = pattern(300_000, 3);
  let longest = 0;
  const server = await listen(b, '127.0.0.1', (socket) => socket.pipe(socket));
  const { received } = b;
  b.received = (endpoint, datagram, address, port): void => {
    longest = Math.max(longest, datagram.length);
    received.call(b, endpoint, datagram, address, port);
  };
  const socket = a.net.connect(portOf(server), '127.0.0.1');
  socket.end(data);
  t.ok((await readAll(socket)).equals(data));
  t.equal(longest, 576 - 28);
});

t.test('twenty connections at once, on one port', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  const server = await listen(b, '127.0.0.1', (socket) => socket.pipe(socket));
  const results = await Promise.all(Array.from({ length: 20 }, async (_, i) => {
    const data = pattern(200_000 + i, i);
    const socket = a.net.connect(portOf(server), '127.0.0.1');
    socket.end(data);
    return (await readAll(socket)).equals(data);
  }));
  t.same(results, new Array(20).fill(true));
  t.equal(b.ports.endpoints.size, 1, 'one UDP socket for all of a port');
  server.close();
  await once(server, 'close');
  await until(() => b.ports.endpoints.size === 0);
  t.pass('closed when the last of them is over');
});

/** A network of our own between a client and `port`: loses and delays datagrams, and has an address of its own, as a NAT has. */
function relay(t: Test, port: number, loss: number, reorder: number, seed: number): Promise<number> {
  const random = new SeededRandom(seed);
  const outside = new Map<number, UdpSocket>();
  const inside = createSocket('udp4');
  const open = [inside];
  let held: (() => void) | null = null;
  const pass = (send: () => void): void => {
    if (random.unit() < loss) return;
    if (held === null && random.unit() < reorder) {
      // Until the next one has overtaken it, or for a while.
      const mine = held = (): void => {
        if (held !== mine) return;
        held = null;
        send();
      };
      setTimeout(mine, 10);
      return;
    }
    send();
    held?.();
  };
  inside.on('message', (datagram, from) => {
    let out = outside.get(from.port);
    if (out === undefined) {
      out = createSocket('udp4');
      open.push(out);
      outside.set(from.port, out);
      out.on('message', (answer) => pass(() => inside.send(answer, from.port, from.address)));
    }
    const to = out;
    pass(() => to.send(datagram, port, '127.0.0.1'));
  });
  t.teardown(() => {
    held = null;
    for (const socket of open) socket.close();
  });
  return new Promise((resolve) => inside.bind(0, '127.0.0.1', () => resolve(inside.address().port)));
}

t.test('through a network that loses and reorders, and changes addresses', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  const data = pattern(1_000_000, 4);
  const server = await listen(b, '127.0.0.1', (socket) => socket.pipe(socket));
  const port = await relay(t, portOf(server), 0.02, 0.03, 5);
  const socket = a.net.connect(port, '127.0.0.1');
  socket.end(data);
  t.ok((await readAll(socket)).equals(data));
  const { RetransSegs } = a.tcpu.tcp.counters;
  t.ok(RetransSegs > 0, `${RetransSegs} segments sent again`);
  const { RcvBufferedBytes } = b.tcpu.tcp.counters;
  t.ok(RcvBufferedBytes > 0, `${RcvBufferedBytes} bytes came out of order`);
});

async function failure(socket: Socket): Promise<{ code: string }> {
  const [error] = await once(socket, 'error') as [{ code: string }];
  return error;
}

t.test('nobody is there', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  const bound = b.socket(AF_INET, SOCK_STREAM, 0) as BsdSocket;
  t.equal(bound.bind('127.0.0.1', 0), 0);
  const { port } = bound.getsockname()!;
  t.match(await failure(a.net.connect(port, '127.0.0.1')), { code: 'ECONNREFUSED', syscall: 'connect' }, 'a port that does not listen: RST');
  t.equal(b.tcpu.tcp.counters.OutRsts, 1);
  bound.close();
  t.match(await failure(a.net.connect(port, '127.0.0.1')), { code: 'ECONNREFUSED', syscall: 'connect' }, 'no socket at all: the host says so');
  t.equal(a.counters.Refused, 1);
  t.equal(a.tcpu.tcp.connections, 0);
  await until(() => a.ports.endpoints.size === 0);
});

t.test('a program that vanishes resets its connections in the end', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  const server = await listen(b, '127.0.0.1', () => {});
  const socket = a.net.connect(portOf(server), '127.0.0.1');
  await once(socket, 'connect');
  // As a SIGKILL would: without a word.
  for (const endpoint of b.ports.endpoints) endpoint.close();
  socket.write('anybody there?');
  t.match(await failure(socket), { code: 'ECONNRESET' });
  t.equal(a.counters.Refused, 3, 'not on the first word of a host');
});

/** A datagram with a TCP segment in it. */
function segment(flags: number, seq: number, ack: number, data = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.concat([Buffer.from([0x54, 0x43, 0x55, 1]), Buffer.alloc(20), data]);
  // The ports are not believed.
  bytes.writeUInt16BE(1, 4);
  bytes.writeUInt16BE(2, 6);
  bytes.writeInt32BE(seq, 8);
  bytes.writeInt32BE(ack, 12);
  bytes[16] = 0x50;
  bytes[17] = flags;
  bytes.writeUInt16BE(1000, 18);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  bytes.writeUInt16BE(~sumBytes(view, 4, bytes.length - 4) & 0xffff, 20);
  return bytes;
}

t.test('what is in a datagram: handshake by hand, resets, garbage', { timeout: 30_000 }, async (t) => {
  const [, b] = pair(t);
  const accepted: Socket[] = [];
  const server = await listen(b, '127.0.0.1', (socket) => accepted.push(socket));
  const peer = createSocket('udp4');
  t.teardown(() => peer.close());
  peer.connect(portOf(server), '127.0.0.1');
  await once(peer, 'connect');
  const exchange = async (datagram: Buffer): Promise<Buffer> => {
    const answer = once(peer, 'message');
    peer.send(datagram);
    return (await answer as [Buffer])[0];
  };

  const reset = await exchange(segment(ACK, 1000, 777));
  t.equal(reset.length, 24);
  t.same([...reset.subarray(0, 4)], [0x54, 0x43, 0x55, 1], 'TCU, version 1');
  t.equal(reset.readUInt16BE(4), portOf(server), 'the ports are those of UDP');
  t.equal(reset.readUInt16BE(6), peer.address().port);
  t.equal(reset.readInt32BE(8), 777);
  t.equal(reset[17], RST);
  t.equal(fold(sumBytes(new DataView(reset.buffer, reset.byteOffset, reset.length), 4, 20)), 0xffff, 'no pseudo-header');

  const synAck = await exchange(segment(SYN, 5000, 0));
  t.equal(synAck[17], SYN | ACK);
  t.equal(synAck.readInt32BE(12), 5001);
  const iss = synAck.readInt32BE(8);
  peer.send(segment(ACK, 5001, iss + 1, Buffer.from('hello')));
  await until(() => accepted.length === 1);
  t.equal(accepted[0]!.remotePort, peer.address().port);
  t.equal(accepted[0]!.localPort, portOf(server));
  const [data] = await once(accepted[0]!, 'data') as [Buffer];
  t.equal(String(data), 'hello');

  const counters = { ...b.counters };
  const good = segment(ACK, 5006, iss + 1, Buffer.from('!'));
  const damaged = Buffer.from(good);
  damaged[24]! ^= 1;
  const foreign = Buffer.from(good);
  foreign[0] = 0;
  const newer = Buffer.from(good);
  newer[3] = 2;
  const random = new SeededRandom(6);
  const garbage = Array.from({ length: 100 }, () => Buffer.from(Array.from({ length: 24 + (random.int32() & 63) }, () => random.int32() & 0xff)));
  for (const datagram of [Buffer.alloc(0), good.subarray(0, 23), damaged, foreign, newer, ...garbage]) peer.send(datagram);
  // A header length that lies, with a right checksum, is TCP's to drop.
  const lying = segment(ACK, 5006, iss + 1);
  lying[16] = 0xf0;
  lying.writeUInt16BE(0, 20);
  lying.writeUInt16BE(~sumBytes(new DataView(lying.buffer, lying.byteOffset, lying.length), 4, 20) & 0xffff, 20);
  peer.send(lying);
  const [endpoint] = b.ports.endpoints;
  b.received(endpoint!, segment(ACK, 1, 1), '127.0.0.1', 0);
  const next = once(accepted[0]!, 'data');
  peer.send(good);
  t.equal(String((await next as [Buffer])[0]), '!', 'the connection did not notice');
  t.equal(b.counters.InTooShort - counters.InTooShort, 2);
  t.equal(b.counters.InCsumErrors - counters.InCsumErrors, 1);
  t.equal(b.counters.InNotOurs - counters.InNotOurs, 102);
  t.equal(b.counters.InBadVersion - counters.InBadVersion, 1);
  t.equal(b.counters.InDatagrams - counters.InDatagrams, 2);
  t.equal(b.tcpu.tcp.counters.InErrs, 1);
});

t.test('ports', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  const server = await listen(b, '127.0.0.1', (socket) => socket.resume());
  const port = portOf(server);
  for (const end of [a, b]) {
    const [error] = await once(end.net.createServer().listen(port, '127.0.0.1'), 'error');
    t.match(error, { code: 'EADDRINUSE', syscall: 'listen', address: '127.0.0.1', port });
  }
  const [nowhere] = await once(a.net.createServer().listen(0, '203.0.113.1'), 'error');
  t.match(nowhere, { code: 'EADDRNOTAVAIL' });

  // A connection goes on while its server is closed and another takes the port.
  const first = a.net.connect(port, '127.0.0.1');
  await once(server, 'connection');
  server.close();
  const again = b.net.createServer((socket) => socket.resume().end('again'));
  again.listen(port, '127.0.0.1');
  await once(again, 'listening');
  t.equal(String(await readAll(a.net.connect(port, '127.0.0.1'))), 'again');
  t.equal(first.readyState, 'open');
  first.destroy();
  again.close();
  await once(again, 'close');

  // Any address, both families; a socket that is bound and then connects.
  const both = await new Promise<Server>((resolve) => {
    const any = b.net.createServer((socket) => socket.resume().end(socket.remoteAddress));
    any.listen(0, () => resolve(any));
  });
  t.equal(String(await readAll(a.net.connect(portOf(both), '127.0.0.1'))), '::ffff:127.0.0.1');
  t.equal(String(await readAll(a.net.connect(portOf(both), '::1'))), '::1');
  const local = createSocket('udp4').bind(0, '127.0.0.1');
  await once(local, 'listening');
  const localPort = local.address().port;
  await new Promise<void>((resolve) => local.close(resolve));
  const bound = a.net.connect({ port: portOf(both), host: '127.0.0.1', localAddress: '127.0.0.1', localPort });
  t.equal(String(await readAll(bound)), '::ffff:127.0.0.1');
  const v4 = a.socket(AF_INET, SOCK_STREAM, 0) as BsdSocket;
  t.equal(v4.bind('127.0.0.1', 0), 0);
  t.equal(v4.connect('::1', 1), -97, 'EAFNOSUPPORT');
  t.equal((a.socket(AF_INET6, SOCK_STREAM, 0) as BsdSocket).connect('ff02::1', 1), -101, 'ENETUNREACH: multicast');
  v4.close();
  both.close();
  await once(both, 'close');
});

t.test('the system refuses a datagram for its size', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  const server = await listen(b, '127.0.0.1', (socket) => socket.pipe(socket));
  const socket = a.net.connect(portOf(server), '127.0.0.1');
  await once(socket, 'connect');
  const mss = (): number => {
    let found = 0;
    a.tcpu.tcp.forEach((tcb) => {
      found = tcb.sndMss;
    });
    return found;
  };
  const sizes = [mss()];
  for (let i = 0; i < 3; i++) {
    const [endpoint] = a.ports.endpoints;
    a.failed(endpoint!, EMSGSIZE, null);
    sizes.push(mss());
  }
  t.ok(sizes.every((size, i) => i === 0 || size < sizes[i - 1]!), sizes.join());
  t.equal(a.counters.OutTooLong, 3);
  const data = pattern(100_000, 7);
  socket.end(data);
  t.ok((await readAll(socket)).equals(data));
});

t.test('the host has no room, and then it has', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  const server = await listen(b, '127.0.0.1', (socket) => socket.pipe(socket));
  const socket = a.net.connect(portOf(server), '127.0.0.1');
  await once(socket, 'connect');
  const [endpoint] = a.ports.endpoints;
  endpoint!.blocked = true;
  const sent = a.counters.OutDatagrams;
  const data = pattern(1_000_000, 9);
  socket.end(data);
  await until(() => !a.ip.tx.empty);
  t.equal(a.counters.OutDatagrams, sent, 'segments wait');
  endpoint!.blocked = false;
  a.drained();
  t.ok((await readAll(socket)).equals(data));
});

t.test('close', { timeout: 30_000 }, async (t) => {
  const [a, b] = pair(t);
  let served: Promise<Buffer> | null = null;
  const server = await listen(b, '127.0.0.1', (socket) => {
    served = readAll(socket);
    socket.on('end', () => socket.end());
  });
  const data = pattern(1_000_000, 8);
  const socket = a.net.connect(portOf(server), '127.0.0.1');
  socket.write(data.subarray(0, 200_000));
  await once(socket, 'connect');
  socket.on('error', () => {});
  await a.close();
  t.equal(a.ports.endpoints.size, 0);
  t.ok((await served!).equals(data.subarray(0, (await served!).length)));
  t.ok((await served!).length > 0, 'what TCP had was sent');
  t.equal(a.socket(AF_INET, SOCK_STREAM, 0), -100, 'ENETDOWN');
  await a.close();
  await b.close({ graceful: false });
  t.throws(() => tcpuOverUdp({ mtu: 100 }), { name: 'RangeError', message: /mtu is 100/ });
  t.throws(() => tcpuOverUdp({ socketBuffer: NaN }), { name: 'RangeError', message: /socketBuffer/ });
  t.throws(() => tcpuOverUdp({ tcp: { congestion: 'none' } }), { name: 'RangeError' });
});

/** Runs a program of its own; it must end by itself. */
function program(body: string): { status: number | null; stdout: string; stderr: string } {
  const lib = new URL('../../lib/over-udp.ts', import.meta.url).href;
  const source = `import { tcpuOverUdp } from ${JSON.stringify(lib)};\nconst a = tcpuOverUdp(); const b = tcpuOverUdp();\n${body}`;
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TAP') && name !== 'NODE_OPTIONS'));
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import=tsx', '--input-type=module', '-e', source], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)), env, encoding: 'utf8', timeout: 20_000,
  });
  return { status, stdout, stderr };
}

t.test('a program ends when it is done, and not before', { timeout: 60_000 }, async (t) => {
  t.match(program(`
    const server = b.net.createServer((socket) => {
      let n = 0;
      socket.on('data', (piece) => { n += piece.length; });
      socket.on('end', () => { socket.end(); server.close(); console.log(n); });
    });
    server.listen(0, '127.0.0.1', () => a.net.connect(server.address().port, '127.0.0.1').end(Buffer.alloc(3000000)));
  `), { status: 0, stdout: '3000000\n', stderr: '' }, 'nothing is closed but sockets');
  t.match(program(`
    const server = b.net.createServer((socket) => socket.on('data', (piece) => console.log(String(piece)))).listen(0, '127.0.0.1', () => {
      const socket = a.net.connect(server.address().port, '127.0.0.1', () => {
        server.unref();
        socket.unref();
        socket.end('last words');
        socket.destroySoon();
      });
    });
  `), { status: 0, stdout: 'last words\n', stderr: '' }, 'what a closed socket has sent is seen to');
  t.match(program("a.net.createServer().listen(0, '127.0.0.1').unref();"), { status: 0, stdout: '', stderr: '' }, 'unref');
});
