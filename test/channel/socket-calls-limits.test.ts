/** What one application may have of the stack by socket calls, and with whom its sockets share ports. */

import t from 'tap';
import type { SocketCallParts } from '../../lib/channel/socket-call-server.ts';
import { EADDRINUSE, EAGAIN, EINPROGRESS, EMFILE, ENOBUFS } from '../../lib/errno.ts';
import {
  AF_INET, POLLOUT, SOCK_STREAM, SOL_SOCKET, SO_RCVBUF, SO_REUSEADDR, SO_REUSEPORT, SO_SNDBUF,
} from '../../lib/socket.ts';
import type { BsdSocket, DatagramSocket } from '../../lib/socket.ts';
import { A4, open, Pair } from '../sim/pair.ts';
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

t.test('all that its sockets have queued to send is bounded, and they hear of room', (t) => {
  const pair = new Pair();
  const LIMIT = 1 << 20;
  let full = 0;
  const alarm = pair.clock.alarm(() => channel.server.roomAgain());
  const channel = channelOf(pair, {
    memoryLimit: LIMIT,
    whenFull: () => {
      full++;
      alarm.set(pair.clock.nowUs() + 1000);
    },
  });
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
  const { memory } = pair.b;
  const held = (memory.blockCount - memory.freeBlocks) / memory.blockCount * (16 << 20);
  t.ok(held < 1.6 * LIMIT, `${held} bytes held`);
  t.ok(full > 0);
  t.ok(refused.size > 30);
  t.equal(sockets[0]!.poll() & POLLOUT, 0, 'no room, though its own buffer has some');
  const before = full;
  pair.for(50_000);
  t.ok(full > before && full < before + 60, 'looked after about each millisecond');

  told.clear();
  const to = new Uint8Array(1 << 20);
  const peers: BsdSocket[] = [];
  for (let peer = listener.accept(); typeof peer !== 'number'; peer = listener.accept()) peers.push(peer);
  t.equal(peers.length, 40);
  for (let i = 0; i < 200; i++) {
    for (const peer of peers) while (peer.recv(to, 0, to.length) > 0);
    pair.for(10_000);
  }
  t.ok(told.size >= 30, `${told.size} told of room`);
  t.ok(sockets[0]!.send(data, 0, data.length) > 0);
  for (const socket of [...sockets, ...peers, listener]) socket.abort();
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

  for (const [option, port] of [[SO_REUSEPORT, 800], [SO_REUSEADDR, 801]] as const) {
    t.equal(bind(udp(ours), option, port), 0);
    t.equal(bind(udp(others), option, port), -EADDRINUSE);
    t.equal(bind(udp(oursToo), option, port), 0);
    const stacks = pair.b.udp.socket(AF_INET);
    if (typeof stacks === 'number') throw new Error(`socket: ${stacks}`);
    t.equal(bind(stacks, option, port), -EADDRINUSE);
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
