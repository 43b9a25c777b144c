/**
 * `node:http` with TCP in this process, in a worker thread of it: segments are acknowledged and sent again also while
 * a request keeps the main thread busy.
 *
 *     sudo tcpu up                                      (in another terminal)
 *     sudo node --import=tsx examples/attached-http.ts
 *     curl http://10.90.0.2/                            (in a third one)
 *
 * The stack is found at its default path, or where the environment variable TCPU_SOCKET says.
 */

import { createServer } from 'node:http';
// In a project of yours: import { attach } from 'tcpu';
import { attach } from '../lib/index.ts';

// Without `thread`, TCP runs in the main thread: quicker, as long as the program never computes for long.
const attachment = await attach({ name: 'web', thread: true });

const web = createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  response.setHeader('content-type', 'text/plain');
  response.end(`${request.method} ${request.url} from ${remoteAddress} port ${remotePort}\n`);
});

// `http.Server` lets its clients half-close, so the sockets below must, too.
const listener = attachment.net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => web.emit('connection', socket));
listener.listen(80, () => console.log(attachment.addresses.map((cidr) => cidr.split('/')[0]).join(' and '), 'port 80'));

function stop(): void {
  web.closeIdleConnections();
  void attachment.close();
}
attachment.once('down', (reason) => console.error(reason));
process.once('SIGINT', stop);
process.once('SIGTERM', stop);
