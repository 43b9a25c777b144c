/**
 * What peers may send at once is less than the receive ring holds: receive buffers grow out of one share, that of
 * connections which end comes back, and room in the ring is given back before the acknowledgment that lets the peer use it.
 * The application here is woken late, as on a busy machine, so that whatever peers may send does lie in the ring.
 */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { LINK_TSO4 } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, SOCK_STREAM } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createHost } from '../sim/host.ts';
import type { Host, TcpuSide } from '../sim/host.ts';

const ADDRESS = '10.90.0.2';
const buffer = new Uint8Array(1 << 16);

function pair(side: TcpuSide): { clock: VirtualClock; sender: Host; receiver: Host } {
  const clock = new VirtualClock(1_000_000);
  const [left, right] = createMemoryPair({ clock, latencyUs: 100, mtu: 1500, features: LINK_TSO4, queueBytes: 64 << 20 });
  const common = { clock, memory: 32 << 20 };
  return {
    clock,
    sender: createHost('sender', { ...common, link: left, addresses: ['10.90.0.1/24'], random: new SeededRandom(1) }, null),
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
