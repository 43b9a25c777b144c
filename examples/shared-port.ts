/**
 * Two applications share a port: each has its own TCP, and the stack spreads connections over those who listen, by a
 * hash of addresses and ports. All of them must ask for it (`reusePort`, SO_REUSEPORT), and be of one user. Start it
 * twice, or more often; one may end, or be started again, without the others taking notice.
 *
 *     sudo tcpu up                                            (in another terminal)
 *     sudo node --import=tsx examples/shared-port.ts one &
 *     sudo node --import=tsx examples/shared-port.ts two &
 *     for i in 1 2 3 4 5 6; do nc 10.90.0.2 7000; done
 *
 * The stack is found at its default path, or where the environment variable TCPU_SOCKET says.
 */

// In a project of yours: import { attach } from 'tcpu';
import { attach } from '../lib/index.ts';

const name = process.argv[2] ?? String(process.pid);
const attachment = await attach({ name });

const server = attachment.net.createServer((socket) => {
  socket.on('error', (error) => console.log(error.message));
  socket.end(`${name}\n`);
});
server.on('error', (error) => {
  // EADDRINUSE: somebody listens there who does not share.
  console.error(error.message);
  void attachment.close();
});
server.listen({ port: 7000, reusePort: true }, () => console.log(`${name} listens on port 7000`));

process.once('SIGINT', () => void attachment.close());
process.once('SIGTERM', () => void attachment.close());
