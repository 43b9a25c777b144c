/**
 * Buffers of an application grow out of shares that all its connections have together, and what connections had that end
 * comes back. What peers may send at once is so less than the receive ring holds, and room in that is given back before
 * the acknowledgment that lets the peer use it. Send buffers cover the time that acknowledgments take through the stack.
 * The application here is woken late, as on a busy machine, so that whatever may wait does wait.
 */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { impair } from '../../lib/link/impair.ts';
import type { PathOptions } from '../../lib/link/impaired-path.ts';
import { LINK_TSO4 } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, SOCK_STREAM } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createHost } from '../sim/host.ts';
import type { Host, TcpuSide } from '../sim/host.ts';

const ADDRESS = '10.90.0.2';
const buffer = new Uint8Array(1 << 16);

function pair(
  side: TcpuSide | null, sending: TcpuSide | null = null, up: PathOptions = {},
): { clock: VirtualClock; sender: Host; receiver: Host } {
  const clock = new VirtualClock(1_000_000);
  const [left, right] = createMemoryPair({ clock, latencyUs: 100, mtu: 1500, features: LINK_TSO4, queueBytes: 64 << 20 });
  const near = up.rate === undefined ? left : impair(left, { up });
  const common = { clock, memory: 32 << 20 };
  return {
    clock,
    sender: createHost('sender', { ...common, link: near, addresses: ['10.90.0.1/24'], random: new SeededRandom(1) }, sending),
    receiver: createHost('receiver', { ...common, link: right, addresses: [`${ADDRESS}/24`], random: new SeededRandom(2) }, side),
  };
}

function open(host: Host): BsdSocket {
  const socket = host.socket(AF_INET, SOCK_STREAM);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

/** The receiver reads all that comes on port 9. Returns where it is counted. */
function discard(receiver: Host): { bytes: number } {
  const count = { bytes: 0 };
  const listener = open(receiver);
  listener.bind(ADDRESS, 9);
  listener.listen(64);
  listener.onready = () => {
    for (;;) {
      const socket = listener.accept();
      if (typeof socket === 'number') return;
      socket.onready = () => {
        let n = 0;
        do {
          n = socket.recv(buffer, 0, buffer.length);
          count.bytes += Math.max(n, 0);
        } while (n > 0);
        if (n === 0) socket.close();
      };
    }
  };
  return count;
}

/** The sender writes on one more connection until it is told to stop. */
function flood(sender: Host): () => void {
  const socket = open(sender);
  const write = (): void => {
    while (socket.send(buffer, 0, buffer.length) > 0);
  };
  socket.onready = write;
  socket.connect(ADDRESS, 9);
  return () => {
    socket.onready = null;
    socket.close();
  };
}

function limits(receiver: Host): number[] {
  const found: number[] = [];
  receiver.tcp.forEach((tcb) => found.push(tcb.rcvbufLimit));
  return found;
}

for (const connections of [1, 8]) {
  t.test(`${connections} connections: nothing is lost, however late the application looks`, async (t) => {
    const { clock, sender, receiver } = pair({ window: { rxRing: 4 << 20 }, appWakesUs: 3000 });
    const count = discard(receiver);
    const stops = Array.from({ length: connections }, () => flood(sender));
    clock.advance(2_000_000);
    t.equal(receiver.application!.counters.InRingFull, 0);
    t.ok(count.bytes > 100 << 20, `${count.bytes} bytes came`);
    const grown = limits(receiver);
    t.equal(grown.length, connections);
    t.ok(Math.max(...grown) > 128 << 10, `buffers have grown: ${grown.join(', ')}`);
    t.ok(grown.reduce((a, b) => a + b) <= 128 * 1024 * connections + 1.5 * 1024 * 1024, `to ${grown.join(', ')} in all`);
    for (const stop of stops) stop();
    clock.advance(1_000_000);
    t.equal(receiver.tcp.rcvbufGrowth, (4 << 20) / 8 * 3, 'what the connections had taken is there again');
    receiver.close();
    sender.close();
  });
}

t.test('a connection that comes late gets a part of what is left', async (t) => {
  const { clock, sender, receiver } = pair({ window: { rxRing: 1 << 20 }, appWakesUs: 3000 });
  discard(receiver);
  const stops = [flood(sender), flood(sender)];
  clock.advance(60_000);
  stops.push(flood(sender));
  clock.advance(1_000_000);
  const grown = limits(receiver);
  t.equal(grown.length, 3);
  t.ok(Math.min(...grown) > 128 << 10, `each has grown: ${grown.join(', ')}`);
  t.equal(receiver.application!.counters.InRingFull, 0);
  for (const stop of stops) stop();
  receiver.close();
  sender.close();
});

/** Where a connection's send buffer stands that has written for a third of a second, at 1 Gbit/s. */
function sending(side: TcpuSide | null): { limit: number; left: number; close(): number } {
  const { clock, sender, receiver } = pair(null, side, { rate: 1e9, queuePackets: 10_000 });
  discard(receiver);
  const stop = flood(sender);
  clock.advance(300_000);
  let limit = 0;
  sender.tcp.forEach((tcb) => {
    limit = tcb.sndbufLimit;
  });
  return {
    limit, left: sender.tcp.sndbufGrowth,
    close() {
      stop();
      clock.advance(300_000);
      const left = sender.tcp.sndbufGrowth;
      receiver.close();
      sender.close();
      return left;
    },
  };
}

t.test('a send buffer covers the time between two looks at acknowledgments, as far as the share goes', async (t) => {
  const memory = 8 << 20;
  const prompt = sending({ window: { memory } });
  t.equal(prompt.limit, 384 << 10, 'a round trip of 0.2 ms takes no more than the first size');
  const late = sending({ window: { memory }, appWakesUs: 2000 });
  t.ok(late.limit > 512 << 10, `2 ms more: ${late.limit} bytes`);
  t.equal(late.limit - (384 << 10), (memory >> 3) - late.left, 'from the share');
  t.ok(late.left > 0, `${late.left} bytes are left for others`);
  t.equal(late.close(), memory >> 3, 'what it had is there again');
  prompt.close();
});

t.test('the kernel-style TCP has its acknowledgments at once: its buffers take no share', async (t) => {
  const own = sending(null);
  t.equal(own.limit, 384 << 10);
  t.equal(own.left, 0);
  t.equal(own.close(), 0);
});
