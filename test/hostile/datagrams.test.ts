/** Floods of UDP and ICMP: queues are bounded, for one socket and for all; errors and answers are limited; TCP goes on. */

import t from 'tap';
import { AF_INET } from '../../lib/socket.ts';
import type { UdpSocket } from '../../lib/kernel/udp-socket.ts';
import { icmp, ipv4, pattern, udp } from '../ip/harness.ts';
import { VICTIM, World } from './world.ts';

function bound(world: World, port: number): UdpSocket {
  const socket = world.victim.udp.socket(AF_INET);
  if (typeof socket === 'number' || socket.bind('0.0.0.0', port) < 0) throw new Error('bind');
  return socket;
}

function datagram(port: number, length: number): Uint8Array {
  return ipv4(udp(pattern(length), '10.90.66.6', VICTIM, [1000, port]), { source: '10.90.66.6', destination: VICTIM });
}

t.test('sockets that nobody reads', async (t) => {
  const world = new World({ memory: 8 << 20 });
  const { memory, udp: host } = world.victim;
  const sockets = Array.from({ length: 100 }, (_, i) => bound(world, 3000 + i));
  const packets = sockets.map((_, i) => datagram(3000 + i, 1400));
  for (let round = 0; round < 200; round++) {
    for (const packet of packets) world.queue(packet);
    world.flush();
  }
  t.ok(memory.freeBlocks >= (memory.blockCount >> 3) * 3 - 1, `${memory.freeBlocks} of ${memory.blockCount} blocks are free`);
  t.ok(host.counters.MemErrors > 0, 'the memory for datagrams is used up');
  t.equal(host.counters.InDatagrams + host.counters.InErrors, 20_000, 'each is delivered or counted');
  t.ok(world.serves(200_000, 'up') < 3000, 'streams are not touched');
  t.ok(world.serves(200_000, 'down') < 3000);
  for (const socket of sockets) socket.close();
  t.equal(world.blocksInUse, 0);
  t.equal(world.close(), 0);
});

t.test('one socket has its own bound', async (t) => {
  const world = new World();
  const socket = bound(world, 3000);
  const packet = datagram(3000, 1);
  for (let i = 0; i < 20_000; i++) world.queue(packet);
  world.flush();
  t.ok(world.victim.udp.counters.RcvbufErrors > 10_000);
  t.ok(world.blocksInUse <= 60, `${world.blocksInUse} blocks`);
  socket.close();
  t.equal(world.close(), 0);
});

t.test('errors and answers to a flood', async (t) => {
  const world = new World();
  const closed = datagram(9, 100);
  for (let i = 0; i < 10_000; i++) world.queue(closed);
  world.flush();
  const { icmp4 } = world.victim.ip;
  t.ok(icmp4.OutDestUnreachs <= 51, `${icmp4.OutDestUnreachs} errors at once`);
  t.equal(icmp4.OutDestUnreachs + icmp4.OutRateLimited, 10_000);
  for (let second = 0; second < 3; second++) {
    for (let i = 0; i < 20; i++) {
      for (let k = 0; k < 200; k++) world.queue(closed);
      world.flush();
      world.run(50);
    }
  }
  t.ok(icmp4.OutDestUnreachs <= 51 + 3000, `${icmp4.OutDestUnreachs} errors in three seconds`);
  // An echo is no larger than its request, and goes to nobody else.
  const before = world.bytesOut;
  const request = ipv4(icmp(8, 0, 1, pattern(56)), { source: '10.90.66.6', destination: VICTIM, protocol: 1 });
  for (let i = 0; i < 5000; i++) world.queue(request);
  world.flush();
  t.ok(world.bytesOut - before <= 5000 * request.length);
  // Replies to nothing, errors about nothing.
  const strays = [
    icmp(0, 0, 1, pattern(8)), icmp(3, 3, 0, ipv4(udp(pattern(8), VICTIM, '10.90.66.6', [5, 6]), { source: VICTIM, destination: '10.90.66.6' })),
    icmp(11, 0, 0, pattern(28)), icmp(5, 1, 0x0a5a4206, pattern(28)), icmp(13, 0, 1, pattern(12)), icmp(17, 0, 1, pattern(4)),
  ].map((message) => ipv4(message, { source: '10.90.66.6', destination: VICTIM, protocol: 1 }));
  const quiet = world.packetsOut;
  for (let i = 0; i < 1000; i++) for (const stray of strays) world.queue(stray);
  world.flush();
  t.equal(world.packetsOut, quiet, 'not answered');
  t.equal(world.blocksInUse, 0);
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});
