/**
 * An echo server with a TCP of its own, on the addresses of a stack that runs in another process. Next to
 * echo-server.ts, which has the stack itself, only the first lines are others.
 *
 *     sudo tcpu up                                      (in another terminal)
 *     sudo node --import=tsx examples/attached-echo.ts
 *     nc 10.90.0.2 7                                    (in a third one; sudo tcpu ss -a shows whose it is)
 *
 * The stack is found at its default path, or where the environment variable TCPU_SOCKET says.
 */

// In a project of yours: import { attach } from 'tcpu';
import { attach } from '../lib/index.ts';

const attachment = await attach({ name: 'echo' });

const server = attachment.net.createServer((socket) => {
  const peer = `${socket.remoteAddress} port ${socket.remotePort}`;
  console.log(`${peer} connected`);
  socket.on('error', (error) => console.log(`${peer}: ${error.message}`));
  socket.on('close', () => console.log(`${peer} is gone after ${socket.bytesRead} bytes`));
  socket.pipe(socket);
});
server.listen(7, () => console.log(`listening on ${attachment.addresses.join(' and ')} port 7`));

// When the stack goes the listener hears of it as an 'error'; 'down' says why.
server.on('error', () => server.close());
attachment.once('down', (reason) => console.error(reason));
// Connections that are still closing then are brought to their end by the stack.
process.once('SIGINT', () => void attachment.close());
process.once('SIGTERM', () => void attachment.close());
