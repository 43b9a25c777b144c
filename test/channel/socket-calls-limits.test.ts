/** What one application may have of the stack by socket calls, and with whom its sockets share ports. */

import t from 'tap';
import { BLOCK_SIZE } from '../../lib/buffer/packet-memory.ts';
import type { PacketMemory } from '../../lib/buffer/packet-memory.ts';
import type { SocketCallParts } from '../../lib/channel/socket-call-server.ts';
import { EADDRINUSE, EAGAIN, EINPROGRESS, EMFILE, ENOBUFS } from '../../lib/errno.ts';
import {
  AF_INET, POLLOUT, SOCK_STREAM, SOL_SOCKET, SO_RCVBUF, SO_REUSEADDR, SO_REUSEPORT, SO_SNDBUF,
} from '../../lib/socket.ts';
import type { BsdSocket, DatagramSocket } from '../../lib/socket.ts';
import { A4, B4, open, Pair } from '../sim/pair.ts';
import { CallChannel } from './call-channel.ts';

function channelOf(pair: Pair, options: Partial<SocketCallParts>): CallChannel {
  const { b } = pair;
  return new CallChannel({ provider: b, udp: b.udp, echo: b.echo }, options);
}

function tcp(channel: CallChannel): BsdSocket {
  const socket = channel.client.socket(AF_INET, SOCK_STREAM, 0);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

function udp(channel: CallChannel): DatagramSocket {
  const socket = channel.client.udp.socket(AF_INET);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

t.test('UDP and echo sockets have limits of their own', (t) => {
  const pair = new Pair();
  const channel = channelOf(pair, { maxSockets: 8, maxDatagramSockets: 2, maxEchoSockets: 1 });
  const { client } = channel;
  const first = udp(channel);
  udp(channel);
  t.equal(client.udp.socket(AF_INET), -EMFILE);
  t.type(client.echo.open(AF_INET), 'object');
  t.equal(client.echo.open(AF_INET), -EMFILE);
  first.close();
  t.type(client.udp.socket(AF_INET), 'object', 'one that was closed counts no more');
  t.equal(channel.server.size, 3);
  channel.server.close();
  pair.close();
  t.end();
});

t.test('buffers are no larger than the stack allows', (t) => {
  const pair = new Pair();
  const channel = channelOf(pair, { maxSndbuf: 1 << 20, maxRcvbuf: 2 << 20 });
  const one = tcp(channel);
  for (const option of [SO_SNDBUF, SO_RCVBUF]) t.equal(one.setsockopt(SOL_SOCKET, option, 1 << 30), 0);
  t.equal(one.getsockopt(SOL_SOCKET, SO_SNDBUF), 1 << 20);
  t.equal(one.getsockopt(SOL_SOCKET, SO_RCVBUF), 2 << 20);
  one.setsockopt(SOL_SOCKET, SO_SNDBUF, 70_000);
  t.equal(one.getsockopt(SOL_SOCKET, SO_SNDBUF), 70_000);
  const two = udp(channel);
  two.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 30);
  t.equal(two.getsockopt(SOL_SOCKET, SO_RCVBUF), 4 << 20);
  channel.server.close();
  pair.close();
  t.end();
});

/** The application's sockets in `b`, with a bound for what they hold; `rooms` counts how often there was room again. */
function bounded(pair: Pair, memoryLimit: number): { channel: CallChannel; rooms: () => number } {
  let rooms = 0;
  const alarm = pair.clock.alarm(() => channel.server.roomAgain());
  const channel = channelOf(pair, {
    memoryLimit,
    whenRoom: () => {
      rooms++;
      alarm.set(pair.clock.nowUs() + 1000);
    },
  });
  return { channel, rooms: () => rooms };
}

/** Bytes of packet memory in use. */
function held({ memory }: { memory: PacketMemory }): number {
  return (memory.blockCount - memory.freeBlocks) * BLOCK_SIZE;
}

function acceptAll(listener: BsdSocket): BsdSocket[] {
  const sockets: BsdSocket[] = [];
  for (let socket = listener.accept(); typeof socket !== 'number'; socket = listener.accept()) sockets.push(socket);
  return sockets;
}

t.test('all that its sockets have queued to send is bounded, and they hear of room', (t) => {
  const pair = new Pair();
  const LIMIT = 1 << 20;
  const { channel, rooms } = bounded(pair, LIMIT);
  const listener = open(pair.a);
  listener.bind(A4, 7);
  listener.listen(100);
  const sockets: BsdSocket[] = [];
  const told = new Set<BsdSocket>();
  for (let i = 0; i < 40; i++) {
    const socket = tcp(channel);
    t.equal(socket.connect(A4, 7), -EINPROGRESS);
    sockets.push(socket);
  }
  pair.for(100_000);
  for (const socket of sockets) {
    socket.onready = (events) => {
      if ((events & POLLOUT) !== 0) told.add(socket);
    };
  }
  // Nobody reads: what the peers' receive buffers do not take stays queued.
  const data = new Uint8Array(16 << 10);
  const refused = new Set<BsdSocket>();
  for (let round = 0; round < 400; round++) {
    for (const socket of sockets) if (socket.send(data, 0, data.length) === -EAGAIN) refused.add(socket);
    if (round % 10 === 0) pair.for(20_000);
  }
  t.ok(held(pair.b) <= LIMIT, `${held(pair.b)} bytes held`);
  t.ok(held(pair.b) > LIMIT / 2, 'and used');
  t.ok(refused.size > 30);
  t.equal(sockets[0]!.poll() & POLLOUT, 0, 'no room, though its own buffer has some');
  const before = rooms();
  pair.for(50_000);
  t.equal(rooms(), before, 'nothing to do as long as there is none');

  told.clear();
  const to = new Uint8Array(1 << 20);
  const peers = acceptAll(listener);
  t.equal(peers.length, 40);
  for (let i = 0; i < 200; i++) {
    for (const peer of peers) while (peer.recv(to, 0, to.length) > 0);
    pair.for(10_000);
  }
  t.ok(rooms() > before);
  t.ok(told.size >= 30, `${told.size} told of room`);
  t.ok(sockets[0]!.send(data, 0, data.length) > 0);
  for (const socket of [...sockets, ...peers, listener]) socket.abort();
  channel.server.close();
  pair.close();
  t.end();
});

t.test('what sockets still have to send that were closed counts as well', (t) => {
  const pair = new Pair();
  const LIMIT = 1 << 20;
  const { channel } = bounded(pair, LIMIT);
  const listener = open(pair.a);
  listener.setsockopt(SOL_SOCKET, SO_RCVBUF, 8192);
  listener.bind(A4, 7);
  listener.listen(1000);
  const data = new Uint8Array(64 << 10).fill(7);
  let sent = 0;
  for (let i = 0; i < 100; i++) {
    const socket = tcp(channel);
    socket.connect(A4, 7);
    pair.for(5000);
    sent += Math.max(socket.send(data, 0, data.length), 0);
    socket.close();
  }
  t.ok(held(pair.b) <= LIMIT, `${held(pair.b)} bytes held`);
  t.equal(channel.server.size, 0);
  const last = tcp(channel);
  last.connect(A4, 7);
  pair.for(5000);
  t.equal(last.send(data, 0, data.length), -EAGAIN);
  // All of it arrives when it is read, and then there is room again.
  const peers = acceptAll(listener);
  let got = 0;
  const to = new Uint8Array(1 << 16);
  pair.until(() => {
    for (const peer of peers) for (let n = peer.recv(to, 0, to.length); n > 0; n = peer.recv(to, 0, to.length)) got += n;
    return got === sent;
  });
  pair.for(1_000_000);
  t.equal(last.send(data, 0, data.length), data.length);
  for (const socket of [last, ...peers, listener]) socket.abort();
  channel.server.close();
  pair.close();
  t.end();
});

t.test('all that its sockets have received and not read is bounded; nothing is lost of a stream', (t) => {
  const pair = new Pair();
  const LIMIT = 2 << 20;
  const PER_SOCKET = 400_000;
  const { channel, rooms } = bounded(pair, LIMIT);
  const listener = tcp(channel);
  listener.bind('', 7);
  listener.listen(100);
  const peers = Array.from({ length: 50 }, () => {
    const peer = open(pair.a);
    peer.connect(B4, 7);
    return { peer, sent: 0 };
  });
  pair.for(100_000);
  // Some are accepted, the others wait with what they have received.
  const sockets: BsdSocket[] = [];
  for (let i = 0; i < 25; i++) sockets.push(listener.accept() as BsdSocket);
  for (const socket of sockets) socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 1 << 20);
  const data = new Uint8Array(PER_SOCKET);
  for (let i = 0; i < data.length; i++) data[i] = i * 7 + (i >> 9);
  const push = (): void => {
    for (const one of peers) {
      if (one.sent === PER_SOCKET) continue;
      one.sent += Math.max(one.peer.send(data, one.sent, PER_SOCKET - one.sent), 0);
    }
  };
  for (let i = 0; i < 300; i++) {
    push();
    pair.for(10_000);
  }
  // One block for each that has nothing else.
  const most = LIMIT + 50 * BLOCK_SIZE;
  t.ok(held(pair.b) <= most, `${held(pair.b)} bytes held`);
  t.ok(held(pair.b) > LIMIT / 2, 'and used');
  t.ok(sockets.every((socket) => socket.available > 0), 'everybody has something');
  t.ok(pair.a.tcp.connections === 50);

  for (const socket of acceptAll(listener)) sockets.push(socket);
  t.equal(sockets.length, 50);
  const got = sockets.map(() => 0);
  const to = new Uint8Array(1 << 16);
  let wrong = 0;
  pair.until(() => {
    push();
    sockets.forEach((socket, i) => {
      for (let n = socket.recv(to, 0, to.length); n > 0; n = socket.recv(to, 0, to.length)) {
        for (let k = 0; k < n; k++) if (to[k] !== data[got[i]! + k]) wrong++;
        got[i] = got[i]! + n;
      }
    });
    return got.every((bytes) => bytes === PER_SOCKET);
  });
  t.ok(got.every((bytes) => bytes === PER_SOCKET), 'every byte came in the end');
  t.equal(wrong, 0);
  t.ok(rooms() > 0);
  for (const socket of [...sockets, ...peers.map(({ peer }) => peer), listener]) socket.abort();
  channel.server.close();
  t.equal(held(pair.b), 0);
  pair.close();
  t.end();
});

t.test('whoever reads one socket while others are full gets on', (t) => {
  const pair = new Pair();
  const { channel } = bounded(pair, 256 << 10);
  const listener = tcp(channel);
  listener.bind('', 7);
  listener.listen(100);
  const peers = Array.from({ length: 3 }, () => {
    const peer = open(pair.a);
    peer.connect(B4, 7);
    return peer;
  });
  pair.for(100_000);
  const [read] = acceptAll(listener);
  const data = new Uint8Array(100_000);
  let sent = 0;
  let got = 0;
  const to = new Uint8Array(1 << 16);
  // The second and third are not read, and fill the account.
  for (let i = 0; i < 100; i++) {
    for (const peer of peers.slice(1)) peer.send(data, 0, data.length);
    pair.for(10_000);
  }
  const total = 1_000_000;
  pair.until(() => {
    sent += Math.max(peers[0]!.send(data, 0, Math.min(data.length, total - sent)), 0);
    for (let n = read!.recv(to, 0, to.length); n > 0; n = read!.recv(to, 0, to.length)) got += n;
    return got === total;
  }, 60e6);
  t.equal(got, total);
  channel.server.close();
  pair.close();
  t.end();
});

t.test('all datagrams that wait are bounded, too', (t) => {
  const pair = new Pair();
  const LIMIT = 1 << 20;
  const { channel } = bounded(pair, LIMIT);
  const sockets = Array.from({ length: 20 }, (_, i) => {
    const socket = udp(channel);
    socket.bind('0.0.0.0', 100 + i);
    return socket;
  });
  const sender = pair.a.udp.socket(AF_INET);
  if (typeof sender === 'number') throw new Error(`socket: ${sender}`);
  const data = new Uint8Array(1400);
  for (let round = 0; round < 200; round++) {
    for (let i = 0; i < sockets.length; i++) sender.sendTo(data, 0, data.length, B4, 100 + i);
    pair.for(1000);
  }
  t.ok(held(pair.b) <= LIMIT + sockets.length * BLOCK_SIZE, `${held(pair.b)} bytes held`);
  t.ok(held(pair.b) > LIMIT / 2);
  t.ok(pair.b.udp.counters.RcvbufErrors > 1000, 'the rest is counted');
  const to = new Uint8Array(2000);
  for (const socket of sockets) {
    let count = 0;
    while (socket.recvFrom(to, 0, to.length) > 0) count++;
    t.ok(count > 0, 'everybody got something');
  }
  t.equal(held(pair.b), 0);
  sender.sendTo(data, 0, data.length, B4, 100);
  pair.for(10_000);
  t.equal(sockets[0]!.recvFrom(to, 0, to.length), 1400, 'there is room again');
  sender.close();
  channel.server.close();
  pair.close();
  t.end();
});

t.test('a port is shared with sockets of the same user only', (t) => {
  const pair = new Pair();
  const users = [1001, 1002, 1001].map((uid) => channelOf(pair, { uid, owner: { uid } }));
  const [ours, others, oursToo] = users as [CallChannel, CallChannel, CallChannel];
  const bind = (socket: BsdSocket | DatagramSocket, option: number, port: number): number =>
    socket.setsockopt(SOL_SOCKET, option, 1) || socket.bind('0.0.0.0', port);

  t.equal(bind(tcp(ours), SO_REUSEPORT, 700), 0);
  t.equal(bind(tcp(others), SO_REUSEPORT, 700), -EADDRINUSE);
  t.equal(bind(open(pair.b), SO_REUSEPORT, 700), -EADDRINUSE, 'the stack\'s own are of the user of its process');
  t.equal(bind(tcp(oursToo), SO_REUSEPORT, 700), 0);
  const own = channelOf(pair, { uid: process.getuid!(), owner: {} });
  t.equal(bind(open(pair.b), SO_REUSEPORT, 701), 0);
  t.equal(bind(tcp(own), SO_REUSEPORT, 701), 0);
  t.equal(bind(tcp(ours), SO_REUSEPORT, 701), -EADDRINUSE);
  t.equal(bind(tcp(ours), SO_REUSEADDR, 702), 0);
  t.equal(bind(tcp(ours), SO_REUSEADDR, 702), 0);
  t.equal(bind(tcp(oursToo), SO_REUSEADDR, 702), -EADDRINUSE, 'of another application');

  for (const [option, port, shared] of [[SO_REUSEPORT, 800, -EADDRINUSE], [SO_REUSEADDR, 801, 0]] as const) {
    t.equal(bind(udp(ours), option, port), 0);
    t.equal(bind(udp(others), option, port), shared, 'address reuse of UDP is for everybody, as in Linux');
    t.equal(bind(udp(oursToo), option, port), 0);
    const stacks = pair.b.udp.socket(AF_INET);
    if (typeof stacks === 'number') throw new Error(`socket: ${stacks}`);
    t.equal(bind(stacks, option, port), shared);
    stacks.close();
  }
  for (const channel of [...users, own]) channel.server.close();
  pair.close();
  t.end();
});

t.test('a socket is a member of 20 groups at most', (t) => {
  const pair = new Pair();
  const channel = channelOf(pair, {});
  const socket = udp(channel);
  for (let i = 1; i <= 20; i++) t.equal(socket.addMembership(`239.0.0.${i}`), 0);
  t.equal(socket.addMembership('239.0.0.21'), -ENOBUFS);
  socket.dropMembership('239.0.0.3');
  t.equal(socket.addMembership('239.0.0.21'), 0);
  channel.server.close();
  pair.close();
  t.end();
});

t.test('an echo socket hears of replies to its own requests alone', (t) => {
  const pair = new Pair();
  const channel = channelOf(pair, {});
  const echo = channel.client.echo.open(AF_INET);
  if (typeof echo === 'number') throw new Error(`echo: ${echo}`);
  const idle = channel.client.echo.open(AF_INET);
  if (typeof idle === 'number') throw new Error(`echo: ${idle}`);
  idle.onreply = () => t.fail('it has sent nothing');
  const seen: number[] = [];
  echo.onreply = (reply) => seen.push(reply.seq);
  t.equal(echo.send(5, 8, A4), 16);
  pair.for(50_000);
  t.same(seen, [5]);
  channel.server.close();
  pair.close();
  t.end();
});
