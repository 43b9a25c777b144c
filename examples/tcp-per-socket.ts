/**
 * Whose TCP a socket has, the program chooses for each: one of this process's own, which stands on segments that the
 * stack hands it (TCPU), or the stack's, by a call for each operation, as programs use their kernel's.
 *
 *     sudo tcpu up                                            (in another terminal)
 *     sudo node --import=tsx examples/tcp-per-socket.ts
 *     nc 10.90.0.2 7001; nc 10.90.0.2 7002                    (in a third one; sudo tcpu ss -a shows the difference)
 *
 * The stack is found at its default path, or where the environment variable TCPU_SOCKET says.
 */

// In a project of yours: import { attach } from 'tcpu';
import { attach } from '../lib/index.ts';
import type { Net } from '../lib/index.ts';

const attachment = await attach();

/** Tells whoever connects what TCP has measured of its peer. The program is the same with one TCP and the other. */
function listen(net: Net, port: number, whose: string): void {
  const server = net.createServer((socket) => {
    socket.on('error', (error) => console.log(error.message));
    socket.end(`${whose}, RTT ${socket.tcpInfo()?.srttMs.toFixed(3)} ms\n`);
  });
  server.listen(port, () => console.log(`port ${port}: ${whose}`));
}

listen(attachment.netOf('tcpu'), 7001, 'TCP of this process');
listen(attachment.netOf('kernel'), 7002, 'TCP of the stack');

process.once('SIGINT', () => void attachment.close());
process.once('SIGTERM', () => void attachment.close());
