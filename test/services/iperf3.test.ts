/**
 * The iperf3 server against the real client, on the host's own TCP; and against clients that misbehave.
 * Real streams over the stack are in test/kernel.
 */

import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { SystemClock } from '../../lib/clock.ts';
import { IPPROTO_TCP, SOL_SOCKET, SO_RCVBUF, SO_SNDBUF, TCP_NODELAY } from '../../lib/socket.ts';
import { iperf3 } from '../../lib/services/iperf3/server.ts';
import type { Stack } from '../../lib/stack.ts';
import { between, measured } from '../attempts.ts';
import { HostSockets } from './host-sockets.ts';

const PORT = 5201;
const missing = spawnSync('iperf3', ['--version']).error !== undefined;
const skip = missing ? 'iperf3 is not installed: the server is NOT tested against its client (apt-get install iperf3)' : false;

async function serve(t: Test): Promise<{ port: number; sockets: HostSockets }> {
  const sockets = new HostSockets();
  const running = await iperf3.start({ socket: () => sockets.socket(), clock: new SystemClock() } as unknown as Stack, PORT);
  t.teardown(() => running.close(false));
  return { port: await sockets.port(PORT), sockets };
}

/** Runs the client to its end. With -J it exits with 0 whatever happens; `error` in the JSON tells. */
function client(port: number, ...args: string[]): Promise<any> {
  return new Promise((resolve) => {
    execFile('iperf3', ['-c', '127.0.0.1', '-p', String(port), '-J', ...args], { timeout: 20_000, maxBuffer: 1 << 26 }, (_error, stdout) => {
      resolve(JSON.parse(stdout));
    });
  });
}

t.test('modes of the client', { skip, timeout: 60_000 }, async (t) => {
  const { port, sockets } = await serve(t);
  await t.test('sends', async (t) => {
    const json = await client(port, '-t', '1');
    t.equal(json.error, undefined);
    t.ok(json.end.sum_received.bytes > 1e6);
    t.ok(json.end.sum_sent.bytes >= json.end.sum_received.bytes);
  });
  await t.test('-R receives', async (t) => {
    const json = await client(port, '-t', '1', '-R');
    t.equal(json.error, undefined);
    t.ok(json.end.sum_received.bytes > 1e6);
    t.equal(json.end.sum_sent.retransmits, 0);
    t.equal(json.end.receiver_tcp_congestion !== undefined, true);
    t.equal(json.end.sender_tcp_congestion, 'cubic');
  });
  await t.test('--bidir, -P 3', async (t) => {
    const json = await client(port, '-t', '1', '--bidir', '-P', '3');
    t.equal(json.error, undefined);
    t.equal(json.end.streams.length, 6);
    t.ok(json.end.sum_received.bytes > 1e5);
    t.ok(json.end.sum_received_bidir_reverse.bytes > 1e5);
  });
  await t.test('-n, -l, -w, -N', async (t) => {
    const json = await client(port, '-n', '5M', '-l', '8K', '-w', '64K', '-N');
    t.equal(json.error, undefined);
    // The client itself looks at the limit between blocks, and now and then sends one more.
    t.ok([0, 8192].includes(json.end.sum_sent.bytes - 5 * 1024 * 1024), `the client sent ${json.end.sum_sent.bytes}`);
    t.equal(sockets.options.get(`${SOL_SOCKET} ${SO_SNDBUF}`), 65536);
    t.equal(sockets.options.get(`${SOL_SOCKET} ${SO_RCVBUF}`), 65536);
    t.equal(sockets.options.get(`${IPPROTO_TCP} ${TCP_NODELAY}`), 1);
  });
  await t.test('-k', async (t) => {
    const json = await client(port, '-k', '20', '-l', '16K');
    t.equal(json.error, undefined);
    t.ok([0, 16384].includes(json.end.sum_sent.bytes - 20 * 16384), `the client sent ${json.end.sum_sent.bytes}`);
  });
  await t.test('a second is a second', (t) => measured(t, 'seconds', async () => {
    const json = await client(port, '-t', '1');
    return between(json.end.sum_received.seconds, 0.9, 1.5);
  }));
  await t.test('-R -b 80M holds the rate', (t) => measured(t, 'Mbit/s', async () => {
    const json = await client(port, '-t', '1', '-R', '-b', '80M', '-l', '10K');
    t.equal(json.error, undefined);
    return between(json.end.sum_received.bits_per_second / 1e6, 70, 90);
  }));
  await t.test('-O 1 omits the first second', (t) => measured(t, 'bytes and seconds', async () => {
    const json = await client(port, '-t', '1', '-O', '1', '-R', '-b', '8M', '-l', '10K');
    t.equal(json.error, undefined);
    return between(json.end.sum_sent.bytes, 0, 1.5e6) || between(json.end.sum_sent.seconds, 0, 1.5);
  }));
  await t.test('--get-server-output', async (t) => {
    const json = await client(port, '-t', '1', '--get-server-output', '-b', '10M');
    t.equal(json.error, undefined);
    t.match(json.server_output_text, /Accepted connection from 127\.0\.0\.1, port \d+\n/);
    t.match(json.server_output_text, /\[ {2}1\] +0\.00-1\.\d\d +sec .*receiver/);
  });
  await t.test('-C with a name that is not there', async (t) => {
    const json = await client(port, '-t', '1', '-C', 'reno');
    t.match(json.error, /TCP_CONGESTION|congestion/i);
  });
});

t.test('a second client is told that the server is busy', { skip, timeout: 30_000 }, async (t) => {
  const { port } = await serve(t);
  const both = await Promise.all([client(port, '-t', '2', '-b', '1M'), client(port, '-t', '2', '-b', '1M')]);
  const errors = both.map((json) => json.error).filter((error) => error !== undefined);
  t.match(errors, [/busy running a test/], 'one of them');
  t.equal((await client(port, '-n', '100K')).error, undefined, 'and then the server is free');
});

// ---- clients that misbehave

const COOKIE = Buffer.from(`${'c'.repeat(36)}\0`);

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
}

async function read(socket: Socket, length: number): Promise<Buffer> {
  let got = Buffer.alloc(0);
  while (got.length < length) {
    const piece = socket.read() as Buffer | null;
    if (piece !== null) got = Buffer.concat([got, piece]);
    else if (socket.readableEnded || socket.destroyed) break;
    else await new Promise<void>((resolve) => socket.once('readable', resolve).once('close', resolve));
  }
  return got;
}

function json(value: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(value));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([length, text]);
}

/** What the server answers to these parameters. */
async function parameters(t: Test, port: number, value: unknown): Promise<Buffer> {
  const socket = await dial(port);
  socket.write(COOKIE);
  t.same([...await read(socket, 1)], [9], 'PARAM_EXCHANGE');
  socket.write(json(value));
  const answer = await read(socket, 9);
  socket.destroy();
  return answer;
}

t.test('parameters that cannot be', { timeout: 30_000 }, async (t) => {
  const { port } = await serve(t);
  const tries: [unknown, number][] = [
    [{ tcp: true, parallel: 129 }, 6],
    [{ tcp: true, len: 1 << 21 }, 7],
    [{ udp: true, len: 70_000 }, 20],
    [{ udp: true, len: 8 }, 20],
    [{ tcp: true, time: -1 }, 5],
    [{ tcp: true, omit: 'x' }, 12],
    [{ tcp: true, reverse: true, bidirectional: true }, 25],
    [{ sctp: true }, 131],
    [[], 114],
  ];
  for (const [value, number] of tries) {
    const answer = await parameters(t, port, value);
    t.equal(answer.readInt8(0), -2, `SERVER_ERROR for ${JSON.stringify(value)}`);
    t.equal(answer.readInt32BE(1), number);
  }
  const fine = await dial(port);
  fine.write(COOKIE);
  t.same([...await read(fine, 1)], [9], 'and still serves');
  fine.destroy();
});

t.test('garbage and vanishing clients', { timeout: 30_000 }, async (t) => {
  const { port } = await serve(t);
  const begun = async (): Promise<Socket> => {
    const socket = await dial(port);
    socket.write(COOKIE);
    const state = await read(socket, 1);
    t.same([...state], [9]);
    return socket;
  };
  const closed = async (socket: Socket): Promise<void> => {
    socket.resume();
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  };
  // A JSON text longer than anything a client says.
  let socket = await begun();
  socket.write(Buffer.from([0x7f, 0xff, 0xff, 0xff]));
  await closed(socket);
  // Not JSON.
  socket = await begun();
  socket.write(Buffer.from([0, 0, 0, 3, 0x7b, 0x7b, 0x7b]));
  await closed(socket);
  // Gone in the middle of the parameters.
  socket = await begun();
  socket.write(Buffer.from([0, 0, 1, 0, 0x7b]));
  socket.destroy();
  // Gone while streams are made.
  socket = await begun();
  socket.write(json({ tcp: true, parallel: 2, time: 1 }));
  t.same([...await read(socket, 1)], [10], 'CREATE_STREAMS');
  const stream = await dial(port);
  stream.write(COOKIE);
  // A stranger, meanwhile.
  const stranger = await dial(port);
  stranger.write(Buffer.from(`${'d'.repeat(36)}\0`));
  t.same([...await read(stranger, 1)], [255], 'ACCESS_DENIED');
  socket.resetAndDestroy();
  await closed(stream);
  // A connection that says nothing holds nobody up.
  const silent = await dial(port);
  // A state that makes no sense.
  socket = await begun();
  socket.write(json({ tcp: true, time: 1 }));
  t.same([...await read(socket, 1)], [10]);
  socket.write(Buffer.from([99]));
  await closed(socket);
  socket = await begun();
  socket.destroy();
  silent.destroy();
  t.pass('the server lived through it');
});
