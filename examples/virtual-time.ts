/**
 * Two stacks in virtual time: a million bytes across a bad network, in milliseconds, the same each time.
 *
 *     node --import=tsx examples/virtual-time.ts [seed]
 *
 * The low-level sockets are used here, since all that they cause has happened when a call returns; the
 * stream API emits events through Node's event loop, which knows nothing of virtual time.
 */

// In a project of yours: import { … } from 'tcpu';
import { SeededRandom, VirtualClock, constants, createMemoryPair, createStack, errno, impair } from '../lib/index.ts';
import type { BsdSocket, TcpInfo } from '../lib/index.ts';

const { AF_INET, IPPROTO_TCP, SHUT_WR, TCP_INFO } = constants;
const seed = Number(process.argv[2] ?? 1);
const total = 1_000_000;

const clock = new VirtualClock();
const [left, right] = createMemoryPair({ clock });
// 2 % loss and 20 ms each way, and a bottleneck of 20 Mbit/s with room for 50 packets.
const network = { seed, loss: 0.02, delayUs: 20_000, rate: 20_000_000, queuePackets: 50 };
const client = createStack({ clock, random: new SeededRandom(seed), link: impair(left, network), addresses: ['10.0.0.1/24'] });
const server = createStack({ clock, random: new SeededRandom(seed + 1), link: right, addresses: ['10.0.0.2/24'] });

/** A socket, or the name of what went wrong. */
function checked(socket: BsdSocket | number): BsdSocket {
  if (typeof socket === 'number') throw new Error(errno.errnoName(-socket));
  return socket;
}

// The server reads all it gets.
let received = 0;
let ended = false;
const listener = checked(server.socket(AF_INET));
listener.bind('10.0.0.2', 7000);
listener.listen(1);
listener.onready = () => {
  const socket = checked(listener.accept());
  const into = new Uint8Array(65536);
  socket.onready = () => {
    let n: number;
    while ((n = socket.recv(into, 0, into.length)) > 0) received += n;
    if (n === 0) {
      ended = true;
      socket.close();
    }
  };
};

// The client writes whenever there is room, then half-closes.
const socket = checked(client.socket(AF_INET));
const data = new Uint8Array(total);
let sent = 0;
socket.onready = () => {
  while (sent < total) {
    const n = socket.send(data, sent, total - sent);
    if (n < 0) return;
    sent += n;
  }
  socket.shutdown(SHUT_WR);
  socket.onready = null;
};
socket.connect('10.0.0.2', 7000);

const startMs = performance.now();
const done = clock.runUntil(() => ended, 600e6);
const info = socket.getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
console.log(`${done ? 'all' : 'NOT all'} of it: ${received} bytes in ${(clock.nowUs() / 1e6).toFixed(3)} s of virtual time`);
console.log(`${info.retransSegs} segments sent again, ${info.fastRetransmits} fast recoveries, ${info.rtos} timeouts, `
  + `RTT ${info.srttMs.toFixed(1)} ms, cwnd ${info.cwnd}`);
console.error(`took ${(performance.now() - startMs).toFixed(0)} ms`);
await client.close({ graceful: false });
await server.close({ graceful: false });
