/**
 * A test of a program over a bad network, without one: a client that tries again until the server has its message, while
 * the link between them goes down and comes up. It takes half a minute of virtual time, and no time at all.
 *
 *     node --import=tsx examples/simulation.ts [seed]
 *
 * The seed decides what is lost: the same seed is the same run, to the packet.
 */

// In a project of yours: import { createSimulation } from 'tcpu/sim';
import assert from 'node:assert/strict';
import { createSimulation } from '../lib/sim/index.ts';

const sim = createSimulation({ seed: Number(process.argv[2] ?? 1) });
const client = sim.host({ name: 'client', address: '10.0.1.1/24' });
const server = sim.host({ name: 'server', address: '10.0.2.1/24' });
const router = sim.router();

sim.link(client, router, { delayMs: 2 });
const trunk = sim.link(router, server, {
  rate: '10Mbit', delayMs: 30, queue: { packets: 50 }, loss: { gilbertElliott: { p: 0.01, r: 0.3 } },
});

// The network is gone from 0.2 s to 10 s.
sim.at(200, () => trunk.down());
sim.at(10_000, () => trunk.up());

// The program under test: the server takes messages of a line, and answers each.
const messages: string[] = [];
server.net.createServer((socket) => {
  let text = '';
  socket.on('data', (piece: Buffer) => {
    text += piece.toString();
    if (!text.endsWith('\n')) return;
    messages.push(text.trimEnd());
    socket.end('thanks\n');
  });
}).listen(7000);

/** One try. Whether the server has answered within two seconds. */
function deliver(message: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = client.net.connect(7000, server.address);
    socket.setTimeout(2000, () => socket.destroy());
    socket.write(`${message}\n`);
    socket.on('data', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('close', () => resolve(false));
  });
}

const tries = await sim.run(async () => {
  await sim.sleep(500);
  for (let n = 1; ; n++) {
    if (await deliver('hello')) return n;
    await sim.sleep(1000);
  }
}, { untilMs: 60_000 });

assert.deepEqual(messages, ['hello']);
console.log(`delivered at the ${tries}th try, after ${(sim.nowMs / 1000).toFixed(3)} s; ${sim.packets} packets, hash ${sim.hash}`);
sim.close();
