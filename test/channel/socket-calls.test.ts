/** A classic application's TCP sockets across the boundary, in virtual time: what they do, what they cost, and how they end. */

import t from 'tap';
import type { Test } from 'tap';
import {
  CALL_SOCKET_ACCEPT, CALL_SOCKET_GETOPT, CALL_SOCKET_POLL, CALL_SOCKET_RECV, CALL_SOCKET_SEND,
} from '../../lib/channel/socket-calls.ts';
import {
  EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, EBADF, ECONNABORTED, ECONNREFUSED, ECONNRESET, EINPROGRESS, EINVAL,
  EMFILE, ENETDOWN, ENOPROTOOPT, ENOTCONN, EPIPE, EPROTONOSUPPORT,
} from '../../lib/errno.ts';
import {
  AF_INET, AF_INET6, IPPROTO_TCP, MSG_PEEK, MSG_TRUNC, POLLERR, POLLHUP, POLLIN, POLLOUT, SHUT_WR, SO_ERROR, SO_LINGER, SO_RCVBUF,
  SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET, TCP_CONGESTION, TCP_INFO, TCP_NODELAY,
} from '../../lib/socket.ts';
import type { BsdSocket, TcpInfo } from '../../lib/socket.ts';
import { A4, A6, B4, exchange, open, Pair, pump } from '../sim/pair.ts';
import type { Flow, PairOptions } from '../sim/pair.ts';
import { CallChannel } from './call-channel.ts';
import type { CallChannelOptions } from './call-channel.ts';

/** Two stacks; an application has its sockets in `b`. */
class Setting extends Pair {
  readonly channel: CallChannel;

  constructor(options: CallChannelOptions & { later?: boolean; pair?: PairOptions } = {}) {
    super(options.pair);
    const { clock } = this;
    const soon = options.later
      ? (deliver: () => void): void => clock.alarm(deliver).set(clock.nowUs() + 100)
      : null;
    this.channel = new CallChannel({ provider: this.b, udp: this.b.udp, echo: this.b.echo }, { soon, ...options });
  }

  socket(domain = AF_INET): BsdSocket {
    const socket = this.channel.client.socket(domain, SOCK_STREAM);
    if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
    return socket;
  }

  /** The application's end of a connection that it accepted from `a`, and a's. */
  accepted(port = 7, domain = AF_INET): [BsdSocket, BsdSocket] {
    const listener = this.socket(domain);
    listener.bind('', port);
    listener.listen(16);
    const peer = open(this.a);
    peer.connect(B4, port);
    let socket: BsdSocket | number = -1;
    this.until(() => {
      if (typeof socket === 'number') socket = listener.accept();
      return typeof socket !== 'number';
    });
    listener.close();
    return [socket as unknown as BsdSocket, peer];
  }

  /** Everything is gone in the end. */
  finish(t: Test): void {
    t.equal(this.channel.client.size, 0, 'no socket is left to the application');
    t.equal(this.channel.server.size, 0, 'no socket is left to the stack');
    this.until(() => this.b.tcp.connections === 0 && this.a.tcp.connections === 0, 600e6, 'the end of all connections');
    this.close();
    t.equal(this.b.memory.freeBlocks, this.b.memory.blockCount, 'every block is back');
  }
}

const bytes = new Uint8Array(100_000);

for (const later of [false, true]) {
  for (const area of [4096, 64 << 10]) {
    t.test(`data both ways, events ${later ? 'later' : 'at once'}, call area ${area}`, (t) => {
      const setting = new Setting({ later, area });
      const [socket, peer] = setting.accepted();
      const [out, back] = exchange(socket, peer, 1_500_000) as [Flow, Flow];
      setting.until(() => out.received === 1_500_000 && back.received === 1_500_000);
      t.pass('every byte has come');
      socket.close();
      peer.close();
      setting.finish(t);
      t.end();
    });
  }
}

t.test('a connection from the application, and its end', (t) => {
  const setting = new Setting({ later: true });
  const listener = open(setting.a);
  listener.bind('', 80);
  listener.listen(8);
  const socket = setting.socket();
  t.equal(socket.getpeername(), null);
  t.same(socket.getsockname(), { address: '0.0.0.0', port: 0, family: 'IPv4' });
  t.equal(socket.recv(bytes, 0, 10), -ENOTCONN);
  t.equal(socket.send(bytes, 0, 10), -EPIPE);
  t.equal(socket.connect(A4, 80), -EINPROGRESS);
  const local = socket.getsockname()!;
  t.equal(local.address, B4);
  t.ok(local.port > 1024);
  t.equal(socket.getpeername(), null, 'not yet');
  t.equal(socket.send(bytes, 0, 10), -EAGAIN);
  const told: number[] = [];
  socket.onready = (events) => told.push(events);
  setting.until(() => told.length > 0);
  t.same(told, [POLLOUT]);
  t.equal(socket.getsockopt(SOL_SOCKET, SO_ERROR), 0);
  t.same(socket.getpeername(), { address: A4, port: 80, family: 'IPv4' });
  let peer = listener.accept() as BsdSocket;
  setting.until(() => {
    if (typeof peer === 'number') peer = listener.accept() as BsdSocket;
    return typeof peer !== 'number';
  });
  t.same(peer.getpeername(), local);

  const flow = pump(peer, socket, 50_000, (one) => one.shutdown(SHUT_WR));
  setting.until(() => flow.ended);
  t.equal(flow.received, 50_000);
  t.equal(socket.recv(bytes, 0, 10), 0, 'and it stays the end');
  t.equal(socket.shutdown(SHUT_WR), 0);
  t.equal(socket.send(bytes, 0, 10), -EPIPE);
  t.equal(socket.close(), 0);
  t.equal(socket.close(), -EBADF);
  t.equal(socket.send(bytes, 0, 10), -EBADF);
  t.equal(socket.recv(bytes, 0, 10), -EBADF);
  t.equal(socket.getsockopt(SOL_SOCKET, SO_ERROR), -EBADF);
  t.equal(socket.bind('', 0), -EBADF);
  peer.close();
  listener.close();
  setting.finish(t);
  t.end();
});

t.test('failures', (t) => {
  const setting = new Setting({ later: true, maxSockets: 8, mayBind: (_, port) => port < 1024 ? -EACCES : 0 });
  const { client } = setting.channel;
  t.equal(client.socket(7, SOCK_STREAM), -EAFNOSUPPORT);
  t.equal(client.socket(AF_INET, SOCK_DGRAM), -EPROTONOSUPPORT);
  t.equal(client.socket(AF_INET, SOCK_STREAM, 99), -EPROTONOSUPPORT);
  const socket = setting.socket();
  t.equal(socket.bind('', 80), -EACCES, 'privileged');
  t.equal(socket.bind('10.9.9.9', 8080), -EADDRNOTAVAIL);
  t.equal(socket.bind('fd90::2', 8080), -EAFNOSUPPORT);
  t.equal(socket.bind('nonsense', 8080), -EINVAL);
  t.equal(socket.bind('', 65_536 + 8080), -EINVAL, 'a port is not taken modulo 65536');
  t.equal(socket.bind('', 1.5), -EINVAL);
  t.equal(socket.bind('', 8080), 0);
  t.equal(socket.accept(), -EINVAL);
  t.equal(socket.connect('224.0.0.1', 9), -101);
  const other = setting.socket();
  t.equal(other.bind('', 8080), -EADDRINUSE);

  const told: number[] = [];
  other.onready = (events) => told.push(events);
  t.equal(other.connect(A4, 9), -EINPROGRESS);
  setting.until(() => told.length > 0);
  t.ok(told[0]! & POLLERR);
  t.equal(other.getsockopt(SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  t.equal(other.getsockopt(SOL_SOCKET, SO_ERROR), 0);
  const more = Array.from({ length: 6 }, () => setting.socket());
  t.equal(client.socket(AF_INET), -EMFILE);
  more[0]!.close();
  more[0] = setting.socket();
  for (const one of [socket, other, ...more]) one.close();

  const [mine, peer] = setting.accepted(7000);
  peer.setsockopt(SOL_SOCKET, SO_LINGER, 0);
  t.equal(peer.close(), 0);
  const ends: number[] = [];
  mine.onready = (events) => ends.push(events);
  setting.until(() => ends.length > 0);
  t.ok(ends[0]! & POLLERR);
  t.equal(mine.recv(bytes, 0, 1), -ECONNRESET);
  t.equal(mine.recv(bytes, 0, 1), 0);
  mine.abort();
  setting.finish(t);
  t.end();
});

t.test('options', (t) => {
  const setting = new Setting();
  const [socket, peer] = setting.accepted(7, AF_INET6);
  t.same(socket.getpeername()!.address, `::ffff:${A4}`);
  t.equal(socket.getsockname()!.family, 'IPv6');
  t.equal(socket.getsockopt(IPPROTO_TCP, TCP_NODELAY), 0);
  t.equal(socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1), 0);
  t.equal(socket.getsockopt(IPPROTO_TCP, TCP_NODELAY), 1);
  t.equal(socket.getsockopt(SOL_SOCKET, SO_LINGER), -1, 'a negative value is no errno');
  t.equal(socket.getsockopt(SOL_SOCKET, 4711), -ENOPROTOOPT);
  t.equal(socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1e12), 0, 'too large is as large as can be');
  t.equal(socket.setsockopt(SOL_SOCKET, SO_RCVBUF, NaN), -EINVAL);
  t.equal(socket.getsockopt(IPPROTO_TCP, TCP_CONGESTION), 'cubic');
  t.equal(socket.setsockopt(IPPROTO_TCP, TCP_CONGESTION, 'newreno'), 0);
  t.equal(socket.getsockopt(IPPROTO_TCP, TCP_CONGESTION), 'newreno');
  t.equal(socket.setsockopt(IPPROTO_TCP, TCP_CONGESTION, 'cub\u0169c'), -ENOPROTOOPT);
  t.equal(socket.setsockopt(IPPROTO_TCP, TCP_CONGESTION, 'x'.repeat(300)), -EINVAL);
  const info = socket.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
  t.match(info, { state: 'ESTABLISHED', congestion: 'newreno', congestionState: 'open' });
  t.equal(Object.keys(info).length, Object.keys(peer.getsockopt(IPPROTO_TCP, TCP_INFO)).length);
  t.ok(Object.values(info).every((value) => value !== null), 'every figure survives JSON');
  socket.close();
  peer.close();
  setting.finish(t);
  t.end();
});

t.test('peeking, dropping, parts', (t) => {
  const setting = new Setting({ area: 4096 });
  const [socket, peer] = setting.accepted();
  peer.send(Uint8Array.from({ length: 10_000 }, (_, i) => i & 0xff), 0, 10_000);
  setting.until(() => socket.available === 10_000);
  const into = new Uint8Array(10_000);
  t.equal(socket.recv(into, 0, 3, MSG_PEEK), 3);
  t.equal(socket.recv(into, 0, 2, MSG_TRUNC), 2);
  t.equal(socket.recv(into, 5, 10_000 - 5), 4096, 'no more than the call area takes');
  t.same([...into.subarray(0, 8)], [0, 1, 2, 0, 0, 2, 3, 4]);
  t.equal(socket.available, 10_000 - 2 - 4096);
  t.equal(socket.send(bytes, 0, 50_000), 50_000, 'many calls, one send');
  t.equal(setting.channel.count(CALL_SOCKET_SEND), 13);
  let got = 0;
  setting.until(() => {
    got += Math.max(peer.recv(into, 0, into.length), 0);
    return got === 50_000;
  });
  socket.abort();
  setting.until(() => (peer.poll() & POLLERR) !== 0);
  peer.close();
  setting.finish(t);
  t.end();
});

t.test('what reading and writing cost', (t) => {
  const setting = new Setting({ later: true });
  const { channel } = setting;
  const [socket, peer] = setting.accepted();
  const accepts = channel.count(CALL_SOCKET_ACCEPT);
  t.ok(accepts <= 4, `${accepts} calls to accept one connection`);
  let got = 0;
  // As the stream does: available, recv, until there is nothing more.
  socket.onready = () => {
    for (;;) {
      const available = socket.available;
      const n = socket.recv(bytes, 0, available === 0 ? 1 : available);
      if (n <= 0) return;
      got += n;
    }
  };
  setting.for(1000);
  const before = channel.total;
  for (let i = 1; i <= 10; i++) {
    peer.send(bytes, 0, 100);
    setting.until(() => got === i * 100);
  }
  t.equal(channel.total - before, 10, 'a message that comes costs one call');
  t.equal(channel.count(CALL_SOCKET_POLL), 0);
  t.equal(channel.count(CALL_SOCKET_RECV), 10);
  t.ok(channel.eventCount <= 14, `${channel.eventCount} events`);

  const client = setting.socket();
  const listener = open(setting.a);
  listener.bind('', 81);
  listener.listen(4);
  client.connect(A4, 81);
  let told = 0;
  client.onready = (events) => told |= events;
  setting.until(() => told !== 0);
  t.equal(client.getsockopt(SOL_SOCKET, SO_ERROR), 0);
  t.equal(client.available, 0);
  t.equal(client.recv(bytes, 0, 1), -EAGAIN);
  t.equal(channel.count(CALL_SOCKET_GETOPT), 0, 'the event told that there is no error');
  t.equal(channel.count(CALL_SOCKET_POLL), 0, 'and that there is no data');
  for (const one of [socket, peer, client, listener]) one.close();
  setting.finish(t);
  t.end();
});

t.test('events: one of a kind is under way, and none is lost', (t) => {
  const setting = new Setting({ later: true });
  const { channel } = setting;
  const [socket, peer] = setting.accepted();
  setting.for(10_000);
  const before = channel.eventCount;
  for (let i = 0; i < 50; i++) {
    peer.send(bytes, 0, 1000);
    setting.for(5000);
  }
  t.equal(channel.eventCount - before, 1, 'fifty segments, nobody looks: one event');
  let told = 0;
  socket.onready = (events) => told |= events;
  peer.shutdown(SHUT_WR);
  setting.for(10_000);
  t.ok(told & ~POLLIN, 'another kind of event is told all the same');
  t.notOk(told & POLLIN, 'data was');
  t.equal(socket.recv(bytes, 0, 10), 10);
  setting.until(() => (told & POLLIN) !== 0);
  t.pass('what is left is told again');
  t.equal(socket.recv(bytes, 0, 100_000), 49_990);
  t.equal(socket.recv(bytes, 0, 100_000), 0);
  socket.close();
  peer.close();
  t.ok(channel.most <= 4);
  setting.finish(t);
  t.end();
});

t.test('an event that comes between a record and its reading is not lost', (t) => {
  let due: (() => void) | null = null;
  const setting = new Setting({ soon: (deliver) => due = deliver });
  const [socket, peer] = setting.accepted();
  // Seen, as far as the connection's opening goes.
  (due as (() => void) | null)?.();
  due = null;
  socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
  peer.send(bytes, 0, 10);
  setting.until(() => due !== null);
  // The application reads before it hears, and then more comes, for which the record under way must do.
  let got = socket.recv(bytes, 0, 100);
  for (let i = 0; i < 5 && got === -EAGAIN; i++) got = socket.recv(bytes, 0, 100);
  t.equal(got, 10, 'what looks ahead of events asks the stack soon');
  peer.send(bytes, 0, 20);
  setting.for(10_000);
  let told = 0;
  socket.onready = (events) => told |= events;
  due!();
  t.ok(told & POLLIN);
  t.equal(socket.available, 20);
  t.equal(socket.recv(bytes, 0, 100), 20);
  socket.close();
  peer.close();
  setting.finish(t);
  t.end();
});

t.test('events of a socket that is closed are not for the next of its place', (t) => {
  let due: (() => void) | null = null;
  const setting = new Setting({ soon: (deliver) => due = deliver });
  const [socket, peer] = setting.accepted();
  peer.send(bytes, 0, 10);
  setting.until(() => due !== null);
  setting.for(10_000);
  socket.abort();
  const next = setting.socket();
  let told = 0;
  next.onready = () => told++;
  due!();
  t.equal(told, 0);
  t.equal(setting.channel.server.size, 1);
  next.close();
  peer.close();
  setting.finish(t);
  t.end();
});

t.test('handlers may do what they like', (t) => {
  const setting = new Setting();
  const [socket, peer] = setting.accepted();
  const [other, otherPeer] = setting.accepted(8);
  let inside = 0;
  let deepest = 0;
  const handle = (one: BsdSocket) => (): void => {
    deepest = Math.max(deepest, ++inside);
    one.send(bytes, 0, 5);
    one.recv(bytes, 0, 100);
    if (one === socket) other.close();
    inside--;
  };
  socket.onready = handle(socket);
  other.onready = handle(other);
  otherPeer.send(bytes, 0, 10);
  peer.send(bytes, 0, 10);
  setting.for(100_000);
  t.equal(deepest, 1, 'never one inside of another');
  t.equal(peer.available, 5);
  socket.close();
  peer.close();
  otherPeer.close();
  setting.finish(t);
  t.end();
});

t.test('what a handler throws', async (t) => {
  const setting = new Setting();
  const [socket, peer] = setting.accepted();
  const caught: unknown[] = [];
  const handlers = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => caught.push(error));
  socket.onready = () => {
    throw new Error('of the user');
  };
  peer.send(bytes, 0, 10);
  setting.for(10_000);
  await new Promise((resolve) => setImmediate(resolve));
  process.removeAllListeners('uncaughtException');
  for (const handler of handlers) process.on('uncaughtException', handler);
  t.match(caught, [{ message: 'of the user' }]);
  t.equal(socket.recv(bytes, 0, 100), 10, 'and goes on');
  socket.close();
  peer.close();
  setting.finish(t);
});

t.test('keeping the process alive', (t) => {
  let refs = 0;
  const setting = new Setting({ refs: { ref: () => refs++, unref: () => refs-- } });
  const listener = setting.socket();
  t.equal(refs, 0);
  listener.bind('', 7);
  t.equal(refs, 0, 'bound only');
  listener.listen(1);
  t.equal(refs, 1);
  listener.unref();
  listener.unref();
  t.equal(refs, 0);
  listener.ref();
  t.equal(refs, 1);
  listener.close();
  t.equal(refs, 0);
  const [socket, peer] = setting.accepted();
  t.equal(refs, 1);
  const client = setting.socket();
  client.unref();
  client.connect(A4, 9);
  t.equal(refs, 1);
  client.ref();
  t.equal(refs, 2);
  client.close();
  const udp = setting.channel.client.udp.socket(AF_INET);
  if (typeof udp === 'number') return t.fail();
  t.equal(refs, 1);
  udp.sendTo(bytes, 0, 1, A4, 9);
  t.equal(refs, 2, 'bound by sending');
  udp.connect(A4, 9);
  udp.disconnect();
  t.equal(refs, 1, 'its port is gone');
  udp.close();
  const echo = setting.channel.client.echo.open(AF_INET6);
  t.equal(refs, 2);
  if (typeof echo !== 'number') echo.close();
  setting.channel.client.gone();
  t.equal(refs, 0);
  socket.close();
  peer.close();
  setting.channel.server.close(false);
  setting.finish(t);
  t.end();
});

t.test('the stack is gone', (t) => {
  const setting = new Setting({ later: true });
  const { client, server } = setting.channel;
  const [socket, peer] = setting.accepted();
  const listener = setting.socket();
  listener.bind('', 99);
  listener.listen(1);
  const fresh = setting.socket();
  const told = new Map<BsdSocket, number>();
  for (const one of [socket, listener, fresh]) one.onready = (events) => told.set(one, events);
  const udp = client.udp.socket(AF_INET);
  if (typeof udp === 'number') return t.fail();
  let udpError = 0;
  udp.onerror = (errno) => udpError = errno;
  server.close(false);
  setting.until(() => (peer.poll() & POLLERR) !== 0);
  t.equal(peer.recv(bytes, 0, 1), -ECONNRESET, 'its peers are told');
  told.clear();

  client.gone();
  client.gone();
  for (const one of [socket, listener, fresh]) t.equal(told.get(one)! & (POLLERR | POLLHUP), POLLERR | POLLHUP);
  t.equal(socket.recv(bytes, 0, 1), -ECONNABORTED);
  t.equal(socket.recv(bytes, 0, 1), 0);
  t.equal(socket.send(bytes, 0, 1), -EPIPE);
  t.equal(listener.accept(), -ENETDOWN);
  t.equal(fresh.connect(A4, 9), -ENETDOWN);
  t.equal(client.socket(AF_INET), -ENETDOWN);
  t.equal(udpError, ENETDOWN);
  t.same(udp.getsockname(), { address: '0.0.0.0', port: 0, family: 'IPv4' });
  t.equal(udp.getsockopt(SOL_SOCKET, SO_ERROR), ENETDOWN);
  t.equal(udp.sendTo(bytes, 0, 1, A4, 9), -ENETDOWN);
  for (const one of [socket, listener, fresh, udp]) t.equal(one.close(), 0);
  peer.close();
  setting.finish(t);
  t.end();
});

t.test('the application is gone', (t) => {
  for (const graceful of [true, false]) {
    const setting = new Setting({ later: true });
    const { client, server } = setting.channel;
    const [socket, peer] = setting.accepted();
    const listener = setting.socket(AF_INET6);
    listener.bind('', 99);
    listener.listen(1);
    const half = setting.socket();
    half.connect(A4, 4711);
    client.udp.socket(AF_INET);
    client.echo.open(AF_INET);
    socket.send(bytes, 0, 5000);
    const seen: string[] = [];
    server.forEach((number, one, protocol) => {
      seen.push(protocol);
      t.ok(number >= 0 && one !== undefined);
    });
    t.same(seen.sort(), ['icmp', 'tcp', 'tcp', 'tcp', 'udp']);
    server.close(graceful);
    t.equal(server.size, 0);
    t.equal(setting.b.udp.sockets, 0);
    t.equal(socket.send(bytes, 0, 1), -ENETDOWN);
    if (graceful) {
      setting.until(() => peer.available === 5000);
      t.equal(peer.recv(bytes, 0, 5000), 5000, 'what was sent comes');
      setting.until(() => peer.recv(bytes, 0, 1) === 0);
    } else {
      setting.until(() => (peer.poll() & POLLERR) !== 0);
    }
    peer.close();
    client.gone();
    for (const one of [socket, listener, half]) one.close();
    setting.until(() => setting.b.tcp.connections === 0, 600e6);
    t.same(setting.b.connections(), []);
    setting.close();
  }
  t.end();
});

t.test('IPv6', (t) => {
  const setting = new Setting();
  const listener = open(setting.a, AF_INET6);
  listener.bind('', 80);
  listener.listen(1);
  const socket = setting.socket(AF_INET6);
  t.equal(socket.connect(A6, 80), -EINPROGRESS);
  setting.until(() => (socket.poll() & POLLOUT) !== 0);
  t.same(socket.getpeername(), { address: A6, port: 80, family: 'IPv6' });
  t.ok(socket.writable > 10_000);
  socket.abort();
  t.equal(socket.abort(), -EBADF);
  listener.close();
  setting.finish(t);
  t.end();
});
