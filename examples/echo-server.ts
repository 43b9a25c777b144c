/**
 * An echo server that Linux talks to across a TUN device.
 *
 *     sudo node --import=tsx examples/echo-server.ts
 *     nc 10.90.0.2 7                                    (in another terminal; or nc fd90::2 7)
 *
 * Without root: `unshare -Urn bash`, and both commands in that shell. Node 24 and later run the file as it
 * is, without `--import=tsx`.
 */

// In a project of yours: import { createStack, openTun } from 'tcpu';
import { createStack, openTun } from '../lib/index.ts';

// Linux has the first address of each network, the stack the second.
const link = openTun({ name: 'tcpu%d', hostAddresses: ['10.90.0.1/24', 'fd90::1/64'] });
const stack = createStack({ link, addresses: ['10.90.0.2/24', 'fd90::2/64'] });

const server = stack.net.createServer((socket) => {
  const peer = `${socket.remoteAddress} port ${socket.remotePort}`;
  console.log(`${peer} connected`);
  socket.on('error', (error) => console.log(`${peer}: ${error.message}`));
  socket.on('close', () => console.log(`${peer} is gone after ${socket.bytesRead} bytes`));
  socket.pipe(socket);
});
server.listen(7, () => console.log(`listening on ${stack.addresses.join(' and ')} port 7, by way of ${link.name}`));

process.once('SIGINT', () => void stack.close());
process.once('SIGTERM', () => void stack.close());
