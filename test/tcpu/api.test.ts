/**
 * The report's calls (3.2, figures 4 and 5): two stacks on a memory pair in virtual time, an application attached
 * to the one, and as its peer the kernel-style TCP of the other, used through the same calls.
 *
 *     near: calls ─ TCPU ─ channel ─ stack 10.0.0.1 ══ 10.0.0.2 stack ─ kernel-style TCP ─ calls: far
 */

import t from 'tap';
import type { Test } from 'tap';
import { attach } from '../../lib/attach.ts';
import type { AttachOptions, Attachment } from '../../lib/attach.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { impair } from '../../lib/link/impair.ts';
import type { ImpairOptions } from '../../lib/link/impair.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import {
  AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, MSG_MORE, MSG_PEEK, SO_LINGER, SO_RCVTIMEO, SO_SNDBUF, SOCK_DGRAM, SOCK_STREAM,
  SOL_SOCKET, TCP_INFO, TCP_NODELAY,
} from '../../lib/socket.ts';
import type { SocketAddress, TcpInfo } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import { IPPROTO_TCPK, TF_NODELAY, UserRequests } from '../../lib/tcpu/usrreq.ts';

const NEAR = '10.0.0.1';
const FAR = '10.0.0.2';
const RTT_US = 20_000;
/** Turns of the event loop in which nothing happens in virtual time, until that is a failure. */
const PATIENCE = 50;

interface World {
  clock: VirtualClock;
  attachment: Attachment;
  /** The application's calls; the peer's. */
  near: UserRequests;
  far: UserRequests;
  /** Runs virtual time until `promise` is settled. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** Lets everything happen that happens in the next so many ms. */
  pass(ms: number): Promise<void>;
  /** Connected descriptors: [near's, far's]. */
  connected(): Promise<[number, number]>;
}

async function world(t: Test, options: { impair?: ImpairOptions; attach?: Partial<AttachOptions> } = {}): Promise<World> {
  const clock = new VirtualClock(1_000_000);
  const [left, right] = createMemoryPair({ clock, latencyUs: RTT_US / 2 });
  const link = options.impair === undefined ? left : impair(left, options.impair);
  const common = { clock, memory: 16 << 20 };
  const nearStack = createStack({
    ...common, link, addresses: [`${NEAR}/24`, 'fd00::1/64'], random: new SeededRandom(1), applications: { shared: false },
  });
  const farStack = createStack({ ...common, link: right, addresses: [`${FAR}/24`, 'fd00::2/64'], random: new SeededRandom(2) });
  const attachment = await attach({ stack: nearStack, random: new SeededRandom(3), ...options.attach });
  const udp = (): never => {
    throw new Error('UDP was asked for');
  };
  const near = new UserRequests({ clock, tcpk: () => attachment, udp });
  const far = new UserRequests({ clock, tcpk: () => farStack, udp });
  t.teardown(async () => {
    await attachment.close({ graceful: false });
    await nearStack.close({ graceful: false });
    await farStack.close({ graceful: false });
  });
  const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const run = async <T>(promise: Promise<T>): Promise<T> => {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    for (let idle = 0; ; ) {
      await tick();
      if (settled) return promise;
      if (clock.nextUs < Infinity) {
        // One alarm in a turn of the event loop, as with real ones.
        let fired = 0;
        clock.runUntil(() => fired++ > 0);
        idle = 0;
      } else if (++idle > PATIENCE) {
        throw new Error('nothing will happen any more');
      }
    }
  };
  const pass = async (ms: number): Promise<void> => {
    const endUs = clock.nowUs() + ms * 1000;
    for (;;) {
      await tick();
      if (clock.nextUs > endUs) break;
      clock.advanceTo(clock.nextUs);
    }
    clock.advanceTo(endUs);
    await tick();
  };
  const connected = async (): Promise<[number, number]> => {
    const listener = await far.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
    await far.bind(listener, { port: 7 });
    const accepting = far.accept(listener);
    const socket = await near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
    const [, peer] = await run(Promise.all([near.connect(socket, { address: FAR, port: 7 }), accepting]));
    await far.close(listener);
    return [socket, peer];
  };
  return { clock, attachment, near, far, run, pass, connected };
}

/** Bytes that tell where they stand in the stream. */
function pattern(length: number, from = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = ((from + i) * 31 + ((from + i) >>> 8)) & 0xff;
  return bytes;
}

/** Receives until `length` bytes are there. */
async function receiveAll(calls: UserRequests, socket: number, length: number, piece = 65_536): Promise<Buffer> {
  const all = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const n = await calls.receive(socket, all.subarray(at), Math.min(piece, length - at), 0);
    if (n === 0) throw new Error(`nothing after ${at} bytes`);
    at += n;
  }
  return all;
}

async function echo(calls: UserRequests, socket: number): Promise<void> {
  const buffer = Buffer.alloc(10_000);
  for (;;) {
    const n = await calls.receive(socket, buffer, buffer.length, 0).catch((error: { code: string }) => {
      if (error.code !== 'ESHUTDOWN') throw error;
      return -1;
    });
    if (n < 0) break;
    await calls.send(socket, buffer, n, 0);
  }
  await calls.close(socket);
}

for (const tcp of ['tcpu', 'kernel'] as const) {
  for (const domain of [AF_INET, AF_INET6]) {
    const family = domain === AF_INET ? 'IPv4' : 'IPv6';
    for (const opener of ['near', 'far'] as const) {
      t.test(`echo, tcp: '${tcp}', ${family}, opened by ${opener}`, { timeout: 20_000 }, async (t) => {
        const w = await world(t, { attach: { tcp } });
        const [client, server] = opener === 'near' ? [w.near, w.far] : [w.far, w.near];
        const here = opener === 'near' ? (domain === AF_INET ? NEAR : 'fd00::1') : (domain === AF_INET ? FAR : 'fd00::2');
        const there = opener === 'near' ? (domain === AF_INET ? FAR : 'fd00::2') : (domain === AF_INET ? NEAR : 'fd00::1');
        const listener = await server.socket(domain, SOCK_STREAM, IPPROTO_TCPK);
        t.equal(listener, 3, 'the first descriptor');
        t.equal(await server.bind(listener, { address: there, port: 7 }), 0);
        const peer: Partial<SocketAddress> = {};
        const serving = server.accept(listener, peer).then((socket) => {
          t.equal(socket, 4);
          t.same(peer, { address: here, port: 5000, family });
          t.same(server.peerName(socket), peer);
          return echo(server, socket);
        });
        const socket = await client.socket(domain, SOCK_STREAM, IPPROTO_TCPK);
        await client.bind(socket, { address: here, port: 5000 });
        t.equal(await w.run(client.connect(socket, { address: there, port: 7 })), 0);
        t.same(client.socketName(socket), { address: here, port: 5000, family });
        const data = pattern(100_000);
        const [sent, back] = await w.run(Promise.all([client.send(socket, data, data.length, 0), receiveAll(client, socket, data.length)]));
        t.equal(sent, data.length);
        t.ok(back.equals(data), 'what was sent comes back');
        t.same(await w.run(Promise.all([client.close(socket), serving])), [0, undefined]);
        t.equal(await server.close(listener), 0);
      });
    }
  }
}

t.test('accept_tcpu serves those who wait in turn, goes on listening, and fills in addresses', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const listener = await w.near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
  await w.near.bind(listener, { port: 80 });
  const addresses: Partial<SocketAddress>[] = [{}, {}];
  const accepting = addresses.map((address) => w.near.accept(listener, address));
  const connect = async (port: number): Promise<number> => {
    const socket = await w.far.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
    await w.far.bind(socket, { port });
    await w.far.connect(socket, { address: NEAR, port: 80 });
    return socket;
  };
  await w.run(connect(1001));
  await w.run(connect(1002));
  t.same(await w.run(Promise.all(accepting)), [4, 5]);
  t.same(addresses.map(({ port }) => port), [1001, 1002]);
  await w.run(connect(1003));
  await w.pass(100);
  t.equal(await w.near.accept(listener, null), 6, 'one that waits already');
  const waiting = w.near.accept(listener);
  await w.near.close(listener);
  await t.rejects(waiting, { code: 'ECANCELED', syscall: 'accept_tcpu' });
  await t.rejects(w.run(connect(1004)), { code: 'ECONNREFUSED', syscall: 'connect_tcpu', address: NEAR, port: 80 });
  t.equal(await w.near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK), 3, 'the lowest free descriptor');
});

t.test('connect_tcpu: refused, tried again, connected', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const socket = await w.near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
  const at = { address: FAR, port: 9 };
  await t.rejects(w.run(w.near.connect(socket, at)), {
    code: 'ECONNREFUSED', errno: -111, syscall: 'connect_tcpu', address: FAR, port: 9, message: `connect_tcpu ECONNREFUSED ${FAR}:9`,
  });
  const listener = await w.far.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
  await w.far.bind(listener, { port: 9 });
  const accepting = w.far.accept(listener);
  t.equal(await w.run(w.near.connect(socket, at)), 0);
  await w.run(accepting);
  await t.rejects(w.near.connect(socket, at), { code: 'EISCONN' });
  const other = await w.near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
  const first = w.near.connect(other, { address: '10.0.0.99', port: 9 });
  await t.rejects(w.near.connect(other, { address: '10.0.0.99', port: 9 }), { code: 'EALREADY' });
  await w.near.close(other);
  await t.rejects(first, { code: 'ECANCELED' });
});

t.test('send_tcpu (figure 4) waits while the message is not wholly stored; messages are not mixed', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  w.near.setOption(near, SOL_SOCKET, SO_SNDBUF, 16_384);
  const data = pattern(3_000_000);
  const sizes = [1_000_000, 1, 999_999, 1_000_000];
  let settled = 0;
  let at = 0;
  const sending = sizes.map(async (size) => {
    const message = data.subarray(at, at += size);
    const sent = await w.near.send(near, message, size, 0);
    settled++;
    return sent;
  });
  await w.pass(10_000);
  t.equal(settled, 0, 'the peer reads nothing, so the first is not stored');
  t.ok((await w.run(receiveAll(w.far, far, data.length, 100_000))).equals(data));
  t.same(await w.run(Promise.all(sending)), sizes);
  t.equal(await w.near.send(near, data, 0, 0), 0);
});

t.test('a connection that breaks ends the calls that wait', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  w.near.setOption(near, SOL_SOCKET, SO_SNDBUF, 16_384);
  const big = pattern(4_000_000);
  const outcome = Promise.allSettled([
    w.near.send(near, big, big.length, 0), w.near.send(near, big, 10, 0), w.near.receive(near, Buffer.alloc(10), 10, 0),
    w.near.receive(near, Buffer.alloc(10), 10, 0),
  ]);
  await w.pass(500);
  w.far.setOption(far, SOL_SOCKET, SO_LINGER, 0);
  t.equal(await w.far.close(far), 0, 'at once, by RST');
  const codes = (await w.run(outcome)).map((one) => one.status === 'rejected' ? (one.reason as { code: string }).code : one.value);
  t.ok(codes.includes('ECONNRESET'), codes.join());
  t.ok(codes.every((code) => ['ECONNRESET', 'EPIPE', 'ESHUTDOWN'].includes(String(code))), codes.join());
});

t.test('TF_NODELAY', { timeout: 20_000 }, async (t) => {
  /** Virtual time from sending two short messages until the second is there, µs. */
  const delay = async (flags: number, noDelay: boolean): Promise<number> => {
    const w = await world(t);
    const [near, far] = await w.connected();
    if (noDelay) w.near.setOption(near, IPPROTO_TCP, TCP_NODELAY, 1);
    const startUs = w.clock.nowUs();
    const reading = receiveAll(w.far, far, 20);
    await Promise.all([w.near.send(near, pattern(10), 10, 0), w.near.send(near, pattern(10), 10, flags)]);
    await w.run(reading);
    return w.clock.nowUs() - startUs;
  };
  const oneWay = RTT_US / 2;
  t.equal(await delay(TF_NODELAY, false), oneWay, 'with it, both leave at once');
  t.ok(await delay(0, false) >= 3 * oneWay, 'without it, the second waits for the acknowledgment of the first');
  t.equal(await delay(0, true), oneWay, 'TCP_NODELAY is for all');
  t.ok(await delay(MSG_MORE, false) >= 3 * oneWay);

  const w = await world(t);
  const [near, far] = await w.connected();
  await w.near.send(near, pattern(10), 10, TF_NODELAY);
  await w.near.send(near, pattern(10), 10, 0);
  t.equal(w.near.getOption(near, IPPROTO_TCP, TCP_NODELAY), 0, 'the flag is for its message');
  t.ok((await w.run(receiveAll(w.far, far, 20))).length === 20);
});

t.test('recv_tcpu (figure 5) returns 0 when nothing came within the interval', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  const buffer = Buffer.alloc(100);
  t.equal(w.near.getOption(near, SOL_SOCKET, SO_RCVTIMEO), 5000);
  let startUs = w.clock.nowUs();
  t.equal(await w.run(w.near.receive(near, buffer, 100, 0)), 0);
  t.equal(w.clock.nowUs() - startUs, 5_000_000);
  t.equal(w.near.setOption(near, SOL_SOCKET, SO_RCVTIMEO, 100), 0);
  startUs = w.clock.nowUs();
  const short = w.near.receive(near, buffer, 100, 0);
  w.near.setOption(near, SOL_SOCKET, SO_RCVTIMEO, 50);
  const shorter = w.near.receive(near, buffer, 100, 0);
  t.equal(await w.run(shorter), 0);
  t.equal(w.clock.nowUs() - startUs, 50_000, 'the later one is over first');
  t.equal(await w.run(short), 0);
  t.equal(w.clock.nowUs() - startUs, 100_000);
  w.near.setOption(near, SOL_SOCKET, SO_RCVTIMEO, 0);
  const patient = w.near.receive(near, buffer, 100, 0);
  await w.pass(3_600_000);
  await w.far.send(far, pattern(10), 10, 0);
  t.equal(await w.run(patient), 10, 'after an hour');
  t.ok(buffer.subarray(0, 10).equals(pattern(10)));
  t.throws(() => w.near.setOption(near, SOL_SOCKET, SO_RCVTIMEO, -1), { code: 'EINVAL', syscall: 'setsockopt_tcpu' });
});

t.test('recv_tcpu on a closing connection: the data, then ESHUTDOWN', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  const buffer = Buffer.alloc(100);
  await t.rejects(w.near.receive(await w.near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK), buffer, 100, 0), { code: 'ENOTCONN' });
  const waiting = w.near.receive(near, buffer, 100, 0);
  await w.far.send(far, pattern(30), 30, 0);
  const closing = w.far.close(far);
  t.equal(await w.run(waiting), 30);
  await t.rejects(w.run(w.near.receive(near, buffer, 100, 0)), {
    code: 'ESHUTDOWN', errno: -108, syscall: 'recv_tcpu', message: 'recv_tcpu ESHUTDOWN',
  });
  await t.rejects(w.near.receive(near, buffer, 100, 0), { code: 'ESHUTDOWN' }, 'and again');
  t.equal((w.near.getOption(near, IPPROTO_TCP, TCP_INFO) as TcpInfo).state, 'CLOSE-WAIT');
  t.same(await w.run(Promise.all([w.near.close(near), closing])), [0, 0]);
});

t.test('several buffers wait, and are filled in turn', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  const buffers = [Buffer.alloc(10), Buffer.alloc(20), Buffer.alloc(100)];
  const receiving = buffers.map((buffer) => w.near.receive(near, buffer, buffer.length, 0));
  await w.far.send(far, pattern(50), 50, 0);
  t.same(await w.run(Promise.all(receiving)), [10, 20, 20]);
  t.ok(Buffer.concat([buffers[0]!, buffers[1]!, buffers[2]!.subarray(0, 20)]).equals(pattern(50)));
  await w.far.send(far, pattern(5), 5, 0);
  const peeked = Buffer.alloc(5);
  t.equal(await w.run(w.near.receive(near, peeked, 5, MSG_PEEK)), 5);
  t.equal(await w.near.receive(near, buffers[0]!, 10, 0), 5, 'it is still there');
});

t.test('delivery: in order and waited for, all goes straight into the buffer', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  const data = pattern(2_000_000);
  // Two calls wait, each with room for more than what arrives together: there is always a buffer, also between two batches.
  const wait = (): Promise<Buffer> => {
    const buffer = Buffer.alloc(1 << 20);
    return w.near.receive(near, buffer, buffer.length, 0).then((n) => buffer.subarray(0, n));
  };
  const read = async (): Promise<Buffer> => {
    const pieces: Buffer[] = [];
    const waiting = [wait(), wait()];
    for (let length = 0; length < data.length;) {
      const piece = await waiting.shift()!;
      length += piece.length;
      pieces.push(piece);
      waiting.push(wait());
    }
    void Promise.allSettled(waiting);
    return Buffer.concat(pieces);
  };
  const [, got] = await w.run(Promise.all([w.far.send(far, data, data.length, 0), read()]));
  t.ok(got.equals(data));
  const counters = w.attachment.counters().tcp!;
  t.equal(counters.RcvDirectBytes, data.length);
  t.equal(counters.RcvBufferedBytes, 0);
  t.equal(counters.RcvDirectSegs, counters.PredictedData, 'every predicted segment');
  t.equal((w.near.getOption(near, IPPROTO_TCP, TCP_INFO) as TcpInfo).bytesReceived, data.length);
});

t.test('delivery: what nobody waits for is stored', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  const data = pattern(50_000);
  await w.run(w.far.send(far, data, data.length, 0));
  await w.pass(1000);
  t.ok((await w.run(receiveAll(w.near, near, data.length))).equals(data));
  const counters = w.attachment.counters().tcp!;
  t.equal(counters.RcvDirectBytes, 0);
  t.equal(counters.RcvBufferedBytes, data.length);
});

t.test('delivery: what comes out of order passes through a buffer', { timeout: 30_000 }, async (t) => {
  const w = await world(t, { impair: { seed: 7, down: { reorder: 0.1, jitterUs: 2000 } } });
  const [near, far] = await w.connected();
  const data = pattern(1_000_000);
  const [, got] = await w.run(Promise.all([w.far.send(far, data, data.length, 0), receiveAll(w.near, near, data.length, 4 << 20)]));
  t.ok(got.equals(data));
  const counters = w.attachment.counters().tcp!;
  t.ok(counters.OutOfOrderIn! > 10, `${counters.OutOfOrderIn} out of order`);
  t.ok(counters.RcvBufferedBytes! > 10_000, `${counters.RcvBufferedBytes} bytes stored`);
  t.equal(counters.RcvDirectBytes! + counters.RcvBufferedBytes!, data.length, 'each byte went one way');
});

t.test('close_tcpu sends all, waits for the end of the handshake, and frees the descriptor at once', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near, far] = await w.connected();
  w.near.setOption(near, SOL_SOCKET, SO_SNDBUF, 16_384);
  const data = pattern(500_000);
  const sending = w.near.send(near, data, data.length, 0);
  const receiving = w.near.receive(near, Buffer.alloc(10), 10, 0);
  let closed = false;
  const closing = w.near.close(near).then((result) => {
    closed = true;
    return result;
  });
  await t.rejects(receiving, { code: 'ECANCELED', syscall: 'recv_tcpu' });
  await t.rejects(w.near.send(near, data, 1, 0), { code: 'EBADF', syscall: 'send_tcpu' });
  t.ok((await w.run(receiveAll(w.far, far, data.length))).equals(data), 'what waited was sent');
  t.equal(await w.run(sending), data.length);
  await t.rejects(w.run(w.far.receive(far, Buffer.alloc(1), 1, 0)), { code: 'ESHUTDOWN' });
  await w.pass(1000);
  t.notOk(closed, 'the peer has not closed');
  t.equal(await w.run(w.far.close(far)), 0);
  t.equal(await w.run(closing), 0);
  t.equal(w.attachment.counters().memory!.timeWaits, 1);
  t.equal(w.attachment.counters().memory!.connections, 0);
});

t.test('close_tcpu: time limits, unread data', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  for (const [linger, limitMs] of [[-1, 60_000], [3, 3000]] as const) {
    const [near] = await w.connected();
    w.near.setOption(near, SOL_SOCKET, SO_LINGER, linger);
    const startUs = w.clock.nowUs();
    t.equal(await w.run(w.near.close(near)), 0);
    t.equal(w.clock.nowUs() - startUs, limitMs * 1000, 'the peer does not close');
    await w.pass(70_000);
    t.equal(w.attachment.counters().memory!.connections, 0, 'nor is it remembered for ever');
  }
  const [near, far] = await w.connected();
  await w.far.send(far, pattern(10), 10, 0);
  await w.pass(100);
  t.equal(await w.near.close(near), 0, 'nothing to wait for');
  await t.rejects(w.run(w.far.receive(far, Buffer.alloc(1), 1, 0)), { code: 'ECONNRESET' });
  const [again, peer] = await w.connected();
  const closing = w.near.close(again);
  await w.far.send(peer, pattern(10), 10, 0);
  t.equal(await w.run(closing), 0, 'data that nobody will read');
  await w.pass(100);
  await t.rejects(w.far.send(peer, pattern(1), 1, 0), { code: 'EPIPE' });
});

t.test('the stack goes', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const [near] = await w.connected();
  const receiving = w.near.receive(near, Buffer.alloc(10), 10, 0);
  await w.attachment.close({ graceful: false });
  const codes = await receiving.then(() => 'data', (error: { code: string }) => error.code);
  t.match(codes, /^(ENETDOWN|ECONNABORTED|ESHUTDOWN)$/);
  await t.rejects(w.near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK), { code: 'ENETDOWN', syscall: 'socket_tcpu' });
  t.equal(await w.near.close(near), 0);
});

t.test('bad arguments', { timeout: 20_000 }, async (t) => {
  const w = await world(t);
  const { near } = w;
  await t.rejects(near.socket(1, SOCK_STREAM, IPPROTO_TCPK), { code: 'EAFNOSUPPORT', syscall: 'socket_tcpu' });
  await t.rejects(near.socket(AF_INET, SOCK_DGRAM, IPPROTO_TCPK), { code: 'EPROTONOSUPPORT', syscall: 'socket_tcpu' });
  await t.rejects(near.socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), { message: 'UDP was asked for' });
  await t.rejects(near.socket(AF_INET, SOCK_STREAM, 0), { message: 'UDP was asked for' });
  const socket = await near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
  const bad = (value: unknown): never => value as never;
  for (const descriptor of [0, 99, -1, 1.5, NaN, bad(undefined), bad('x')]) {
    await t.rejects(near.bind(descriptor, { port: 1 }), { code: 'EBADF', errno: -9, syscall: 'bind_tcpu' }, String(descriptor));
    await t.rejects(near.accept(descriptor), { code: 'EBADF' });
    await t.rejects(near.connect(descriptor, { port: 1 }), { code: 'EBADF' });
    await t.rejects(near.send(descriptor, Buffer.alloc(1), 1, 0), { code: 'EBADF' });
    await t.rejects(near.receive(descriptor, Buffer.alloc(1), 1, 0), { code: 'EBADF' });
    await t.rejects(near.close(descriptor), { code: 'EBADF' });
    t.throws(() => near.socketName(descriptor), { code: 'EBADF' });
  }
  await t.rejects(near.bind(socket, bad(null)), { code: 'EFAULT' });
  await t.rejects(near.bind(socket, bad({})), { code: 'EINVAL' });
  await t.rejects(near.bind(socket, { port: 70_000 }), { code: 'EINVAL' });
  await t.rejects(near.bind(socket, { address: 'nowhere', port: 1 }), { code: 'EINVAL' });
  await t.rejects(near.bind(socket, { address: 'fd00::1', port: 1 }), { code: 'EAFNOSUPPORT' });
  await t.rejects(near.bind(socket, { address: FAR, port: 1 }), { code: 'EADDRNOTAVAIL', address: FAR, port: 1 });
  t.equal(await near.bind(socket, { port: 1000 }), 0);
  await t.rejects(near.bind(await near.socket(AF_INET, SOCK_STREAM, IPPROTO_TCPK), { port: 1000 }), { code: 'EADDRINUSE' });
  await t.rejects(near.connect(socket, bad(undefined)), { code: 'EFAULT' });
  await t.rejects(near.connect(socket, { address: FAR, port: -1 }), { code: 'EINVAL' });
  await t.rejects(near.send(socket, bad('text'), 4, 0), { code: 'EFAULT' });
  await t.rejects(near.send(socket, Buffer.alloc(4), 5, 0), { code: 'EINVAL' });
  await t.rejects(near.send(socket, Buffer.alloc(4), -1, 0), { code: 'EINVAL' });
  await t.rejects(near.send(socket, Buffer.alloc(4), 4, 0x40), { code: 'EOPNOTSUPP' });
  await t.rejects(near.send(socket, Buffer.alloc(4), 4, 0), { code: 'EPIPE' }, 'not connected');
  await t.rejects(near.receive(socket, bad(undefined), 4, 0), { code: 'EFAULT' });
  await t.rejects(near.receive(socket, Buffer.alloc(4), 4.5, 0), { code: 'EINVAL' });
  await t.rejects(near.receive(socket, Buffer.alloc(4), 4, TF_NODELAY), { code: 'EOPNOTSUPP' });
  t.throws(() => near.getOption(socket, 99, 99), { code: 'ENOPROTOOPT', syscall: 'getsockopt_tcpu' });
  t.equal(await near.close(socket), 0);
});
