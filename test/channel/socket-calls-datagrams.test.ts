/** UDP and echo sockets of an application across the boundary, in virtual time. */

import t from 'tap';
import { CALL_DATAGRAM_FETCH, CALL_DATAGRAM_SEND } from '../../lib/channel/socket-calls.ts';
import { EAGAIN, EBADF, ECONNREFUSED, EDESTADDRREQ, EINVAL, EMSGSIZE, ENOPROTOOPT, ENOTCONN } from '../../lib/errno.ts';
import { createDgram } from '../../lib/net/dgram.ts';
import { ping } from '../../lib/net/ping.ts';
import type { PingResult } from '../../lib/net/ping.ts';
import {
  AF_INET, AF_INET6, IPPROTO_IP, IP_MTU_DISCOVER, IP_TTL, MSG_PEEK, MSG_TRUNC, POLLERR, POLLIN, SO_ERROR, SO_RCVBUF, SOL_SOCKET,
} from '../../lib/socket.ts';
import type { DatagramSocket, UdpErrorInfo, UdpProvider } from '../../lib/socket.ts';
import { A, A6, B, twoStacks } from '../udp/two-stacks.ts';
import { CallChannel } from './call-channel.ts';
import type { CallChannelOptions } from './call-channel.ts';

type Context = Parameters<typeof twoStacks>[0];

/** Two stacks; an application has its sockets in `b`. */
function setting(t: Context, options: CallChannelOptions = {}, pair: Parameters<typeof twoStacks>[1] = {}) {
  const stacks = twoStacks(t, pair);
  const { clock, b } = stacks;
  const soon = (deliver: () => void): void => clock.alarm(deliver).set(clock.nowUs() + 100);
  const channel = new CallChannel({ provider: b, udp: b.udp, echo: b.echo }, { soon, ...options });
  return { ...stacks, channel, client: channel.client };
}

function udp(provider: UdpProvider, domain = AF_INET): DatagramSocket {
  const socket = provider.socket(domain);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

const bytes = Uint8Array.from({ length: 70_000 }, (_, i) => i % 251);

t.test('datagrams both ways', (t) => {
  const { clock, a, b, client } = setting(t);
  const far = udp(a.udp);
  far.bind(A, 5000);
  const mine = udp(client.udp);
  t.equal(mine.getsockname()!.port, 0);
  const got: string[] = [];
  mine.onmessage = (slab, offset, length, remote) => {
    const text = Buffer.from(slab.subarray(offset, offset + length)).toString();
    got.push(`${text} of ${remote.address}:${remote.port} ttl ${remote.ttl}`);
    t.equal(mine.reply(slab, offset, length, remote), length);
  };
  const back: string[] = [];
  far.onmessage = (slab, offset, length) => back.push(Buffer.from(slab.subarray(offset, offset + length)).toString());
  t.equal(mine.bind('', 6000), -EINVAL);
  t.equal(mine.bind(B, 6000), 0);
  t.same(mine.getsockname(), { address: B, port: 6000, family: 'IPv4' });
  t.equal(far.setsockopt(IPPROTO_IP, IP_TTL, 33), 0);
  for (const text of ['one', '', 'three']) far.sendTo(Buffer.from(text), 0, text.length, B, 6000);
  clock.advance(10_000);
  t.same(got, [`one of ${A}:5000 ttl 33`, ` of ${A}:5000 ttl 33`, `three of ${A}:5000 ttl 33`]);
  t.same(back, ['one', '', 'three']);

  t.equal(mine.sendTo(bytes, 0, 5, null, 0), -EDESTADDRREQ);
  t.equal(mine.sendTo(bytes, 0, 5, A, 0), -EINVAL);
  t.equal(mine.sendTo(bytes, 0, 5, A, 65_536 + 5000), -EINVAL);
  t.equal(mine.sendTo(bytes, 0, 5, 'nobody', 9), -EINVAL);
  t.equal(mine.sendTo(bytes, 0, 70_000, A, 9), -EMSGSIZE);
  t.equal(mine.sendTo(bytes, 0, 5, A6, 9), -97);
  t.equal(mine.connect(A, 5000), 0);
  t.same(mine.getpeername(), { address: A, port: 5000, family: 'IPv4' });
  t.equal(mine.sendTo(bytes, 0, 5, null, 0), 5);
  t.equal(mine.disconnect(), 0);
  t.equal(mine.disconnect(), -ENOTCONN);
  t.equal(mine.getpeername(), null);
  t.equal(mine.close(), 0);
  t.equal(mine.close(), -EBADF);
  t.equal(mine.sendTo(bytes, 0, 5, A, 5000), -EBADF);
  t.equal(b.udp.sockets, 0);
  far.close();
  t.end();
});

t.test('many at once: few calls, in order, none lost', (t) => {
  const { clock, a, channel, client } = setting(t, {}, { queuePackets: 4096 });
  const far = udp(a.udp);
  const mine = udp(client.udp);
  let next = 0;
  let wrong = 0;
  mine.onmessage = (slab, offset, length) => {
    if (length !== 1000 || ((slab[offset]! << 8) | slab[offset + 1]!) !== next++) wrong++;
  };
  mine.bind(B, 6000);
  const packet = new Uint8Array(1000);
  let sent = 0;
  for (let burst = 0; burst < 10; burst++) {
    for (let i = 0; i < 400; i++, sent++) {
      packet[0] = sent >> 8;
      packet[1] = sent;
      if (far.sendTo(packet, 0, 1000, B, 6000) !== 1000) return t.fail('cannot send');
    }
    clock.advance(1000);
  }
  t.equal(next, 4000);
  t.equal(wrong, 0);
  const fetches = channel.count(CALL_DATAGRAM_FETCH);
  t.ok(fetches <= 100, `${fetches} calls fetched 4000 datagrams`);
  t.ok(channel.most <= 2, 'events do not pile up');
  far.close();
  mine.close();
  t.end();
});

t.test('segments: one call for many', (t) => {
  const { clock, a, channel, client } = setting(t);
  const far = udp(a.udp);
  let got = 0;
  const lengths = new Set<number>();
  far.onmessage = (_slab, _offset, length) => {
    got += length;
    lengths.add(length);
  };
  far.bind(A, 5000);
  const mine = udp(client.udp);
  t.equal(mine.sendSegments(bytes, 0, 1000, 0, A, 5000), -EINVAL);
  t.equal(mine.sendSegments(bytes, 0, 10_050, 100, A, 5000), 10_050);
  t.equal(channel.count(CALL_DATAGRAM_SEND), 1);
  mine.connect(A, 5000);
  t.equal(mine.sendSegments(bytes, 0, 70_000, 1400, null, 0), 70_000, 'more than the call area takes');
  t.equal(channel.count(CALL_DATAGRAM_SEND), 3);
  clock.advance(10_000);
  t.equal(got, 80_050);
  t.same([...lengths].sort(), [100, 1400, 50]);
  far.close();
  mine.close();
  t.end();
});

t.test('reading them oneself', (t) => {
  const { clock, a, client } = setting(t);
  const far = udp(a.udp);
  const mine = udp(client.udp, AF_INET6);
  let readable = 0;
  mine.onreadable = () => readable++;
  mine.bind('::', 6000);
  const into = new Uint8Array(100);
  t.equal(mine.recvFrom(into, 0, 100), -EAGAIN);
  for (const length of [10, 200, 0]) far.sendTo(bytes, 0, length, B, 6000);
  clock.advance(1000);
  t.equal(readable, 1);
  t.equal(mine.available, 10);
  t.equal(mine.poll() & POLLIN, POLLIN);
  t.equal(mine.recvFrom(into, 3, 4, MSG_PEEK), 4);
  t.same([...into.subarray(0, 8)], [0, 0, 0, 0, 1, 2, 3, 0]);
  t.equal(mine.recvFrom(into, 0, 4, MSG_TRUNC), 10);
  t.equal(mine.remote.address, `::ffff:${A}`);
  t.equal(mine.recvFrom(into, 0, 50), 50);
  t.equal(mine.recvFrom(into, 0, 50), 0);
  t.equal(mine.recvFrom(into, 0, 50), -EAGAIN);
  t.equal(mine.getsockopt(SOL_SOCKET, SO_RCVBUF), 212_992, 'as Linux has it');
  mine.setsockopt(SOL_SOCKET, SO_RCVBUF, 10_000);
  t.equal(mine.getsockopt(SOL_SOCKET, SO_RCVBUF), 20_000);
  t.equal(mine.getsockopt(SOL_SOCKET, 4711), -ENOPROTOOPT);
  t.equal(mine.addMembership('10.0.0.1'), -EINVAL);
  t.equal(mine.addMembership('ff02::1234'), 0);
  t.equal(mine.dropMembership('ff02::1234'), 0);
  mine.close();
  far.close();
  t.end();
});

t.test('ICMP errors', (t) => {
  const { clock, client } = setting(t);
  const mine = udp(client.udp);
  const errors: [number, UdpErrorInfo][] = [];
  // The other stack sends no more than some of them a second.
  mine.onerror = (errno, info) => errors.push([errno, info]);
  t.equal(mine.sendTo(bytes, 0, 5, A, 9), 5);
  clock.advance(2e6);
  t.match(errors, [[ECONNREFUSED, { address: A, port: 9, from: A, type: 3, code: 3, pending: false }]]);
  t.equal(mine.sendTo(bytes, 0, 5, A, 9), 5, 'nothing is pending');
  clock.advance(2e6);
  t.equal(mine.connect(A, 9), 0);
  errors.length = 0;
  t.equal(mine.sendTo(bytes, 0, 5, null, 0), 5);
  clock.advance(50);
  t.equal(errors.length, 0, 'not told yet');
  t.equal(mine.poll() & POLLERR, POLLERR);
  t.equal(mine.sendTo(bytes, 0, 5, null, 0), -ECONNREFUSED, 'what is pending comes out of the next call');
  clock.advance(2e6);
  t.same(errors, [], 'and is told once');
  t.equal(mine.sendTo(bytes, 0, 5, null, 0), 5);
  clock.advance(2e6);
  t.match(errors, [[ECONNREFUSED, { pending: true }]]);
  t.equal(mine.getsockopt(SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  t.equal(mine.getsockopt(SOL_SOCKET, SO_ERROR), 0);
  mine.close();
  t.end();
});

t.test('closed in its own handler, or another\'s', (t) => {
  const { clock, a, b, client } = setting(t);
  const far = udp(a.udp);
  const one = udp(client.udp);
  const two = udp(client.udp);
  let got = 0;
  one.onmessage = () => {
    got++;
    one.close();
    two.close();
  };
  two.onmessage = () => got++;
  one.bind(B, 6000);
  two.bind(B, 6001);
  for (const port of [6000, 6000, 6001, 6000]) far.sendTo(bytes, 0, 5, B, port);
  clock.advance(1000);
  t.equal(got, 1);
  t.equal(b.udp.sockets, 0);
  far.close();
  t.end();
});

t.test('a full transmit queue', (t) => {
  const { clock, a, client } = setting(t, {}, { queuePackets: 16, latencyUs: 1000 });
  const far = udp(a.udp);
  let got = 0;
  far.onmessage = () => got++;
  far.bind(A, 5000);
  const mine = udp(client.udp);
  let sent = 0;
  let waits = 0;
  const fill = (): void => {
    while (sent < 3000) {
      const result = mine.sendTo(bytes, 0, 100, A, 5000);
      if (result === -EAGAIN) {
        waits++;
        return;
      }
      if (result !== 100) throw new Error(`sendTo gives ${result}`);
      sent++;
    }
  };
  mine.onwritable = fill;
  fill();
  t.ok(waits > 0, 'the queue was full');
  clock.runUntil(() => got === 3000, 10e6);
  t.equal(got, 3000, 'and went on when there was room');
  far.close();
  mine.close();
  t.end();
});

t.test('node:dgram across the boundary', async (t) => {
  const { clock, a, client } = setting(t);
  const dgram = createDgram(client.udp);
  const mine = dgram.createSocket('udp4');
  const got: string[] = [];
  mine.on('message', (msg, { address, port, size }) => {
    got.push(`${String(msg)} ${address} ${size}`);
    mine.send(`you said ${String(msg)}`, port, address);
  });
  mine.bind(7);
  const far = a.dgram.createSocket('udp4');
  const back: string[] = [];
  far.on('message', (msg) => back.push(String(msg)));
  far.bind();
  await new Promise<void>((resolve) => far.once('listening', resolve));
  far.send('hello', 7, B);
  clock.advance(1000);
  t.same(got, [`hello ${A} 5`]);
  t.same(back, ['you said hello']);
  mine.close();
  far.close();
});

t.test('ping across the boundary', async (t) => {
  const { clock, channel, client } = setting(t, {}, { latencyUs: 2000 });
  const results: PingResult[] = [];
  for (const [host, count, size] of [[A, 3, 56], [A6, 1, 4000], ['203.0.113.5', 1, 8]] as const) {
    const all = (async () => {
      const options = { count, size, intervalMs: 10, timeoutMs: 100 };
      for await (const result of ping({ echo: client.echo, clock }, host, options)) results.push(result);
    })();
    for (let i = 0; i < 60; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      clock.advance(5000);
    }
    await all;
  }
  t.match(results, [
    { seq: 1, bytes: 64, ttl: 64, timeMs: 4, from: A }, { seq: 2, bytes: 64 }, { seq: 3, bytes: 64 },
    { seq: 1, bytes: 4008, timeMs: 4, from: A6 }, { seq: 1, bytes: 0, error: { code: 'ETIMEDOUT' } },
  ]);
  t.equal(channel.server.size, 0);
});

t.test('echo sockets', (t) => {
  const { clock, client } = setting(t);
  const echo = client.echo.open(AF_INET);
  if (typeof echo === 'number') return t.fail();
  t.equal(client.echo.open(7), -97);
  const seqs: number[] = [];
  echo.onreply = (reply) => {
    seqs.push(reply.seq);
    t.equal(reply.from, A);
    t.equal(reply.bytes, 8 + 20);
  };
  for (let i = 0; i < 50; i++) t.equal(echo.send(i, bytes.subarray(0, 20), A), 28);
  clock.advance(10_000);
  t.same(seqs, Array.from({ length: 50 }, (_, i) => i));
  const errors: unknown[] = [];
  echo.onerror = (errno, info) => errors.push([errno, info.seq]);
  t.equal(echo.setsockopt(IPPROTO_IP, IP_TTL, 0), -EINVAL);
  t.equal(echo.setsockopt(IPPROTO_IP, IP_MTU_DISCOVER, 2), 0);
  t.equal(echo.send(7, 5000, A), -EMSGSIZE);
  t.equal(echo.send(7, 70_000, A), -EMSGSIZE);
  t.equal(echo.send(-1, 5, A), -EINVAL);
  t.equal(echo.send(1, 5, 'x'), -EINVAL);
  t.same(errors, []);
  t.equal(echo.close(), 0);
  t.equal(echo.close(), -EBADF);
  t.equal(echo.send(1, 5, A), -EBADF);
  t.equal(client.size, 0);
  t.end();
});
