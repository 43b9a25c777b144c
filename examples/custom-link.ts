/**
 * A link of one's own: IP packets in UDP datagrams of the host, between two processes. Each has a stack;
 * together they are a small network that the host knows nothing of (and, unlike a VPN, one without keys).
 *
 *     node --import=tsx examples/custom-link.ts listen 40000
 *     node --import=tsx examples/custom-link.ts connect 127.0.0.1 40000
 *
 * The one that connects pings the other and sends it a line over TCP.
 */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
// In a project of yours: import { PacketLink, createStack, ping } from 'tcpu';
import { PacketLink, createStack, ping } from '../lib/index.ts';

const [mode, ...rest] = process.argv.slice(2);
if (mode !== 'listen' && mode !== 'connect') {
  console.error('usage: custom-link.ts listen PORT | connect HOST PORT');
  process.exit(2);
}

const tunnel = createSocket('udp4');
/** Where the other end is; the listening one learns it from the first packet. */
let peer = mode === 'connect' ? { address: rest[0]!, port: Number(rest[1]) } : null;

const link = new PacketLink({
  name: 'tunnel',
  // What is left of 1500 bytes beside the outer IP and UDP headers.
  mtu: 1472,
  send(packet) {
    if (peer !== null) tunnel.send(packet, peer.port, peer.address);
  },
  ref: () => tunnel.ref(),
  unref: () => tunnel.unref(),
  close: () => tunnel.close(),
});
tunnel.on('message', (packet, from) => {
  peer ??= { address: from.address, port: from.port };
  link.receive(packet);
});
tunnel.bind(mode === 'listen' ? Number(rest[0]) : 0);
await once(tunnel, 'listening');

const stack = createStack({ link, addresses: [mode === 'listen' ? '10.91.0.1/24' : '10.91.0.2/24'] });

if (mode === 'listen') {
  const server = stack.net.createServer((socket) => {
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      process.stdout.write(`${socket.remoteAddress} says: ${text}`);
      socket.end('goodbye\n');
    });
    // One visitor is enough for an example.
    socket.on('close', () => void stack.close());
  });
  server.listen(7000, () => console.log(`waiting on UDP port ${tunnel.address().port}`));
} else {
  for await (const { seq, from, timeMs, error } of ping(stack, '10.91.0.1', { count: 3, intervalMs: 100 })) {
    console.log(error ? `ping ${seq}: ${error.code}` : `ping ${seq}: ${from} answered after ${timeMs.toFixed(2)} ms`);
  }
  const socket = stack.net.connect(7000, '10.91.0.1', () => socket.end('hello through the tunnel\n'));
  socket.setEncoding('utf8');
  for await (const text of socket) process.stdout.write(`10.91.0.1 says: ${text}`);
  await stack.close();
}
