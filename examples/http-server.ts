/**
 * `node:http` over the stack: the server gets its connections from `stack.net` instead of the host.
 *
 *     sudo node --import=tsx examples/http-server.ts
 *     curl http://10.90.0.2/
 *
 * Without root: `unshare -Urn bash`, and both commands in that shell.
 */

import { createServer } from 'node:http';
// In a project of yours: import { createStack, openTun } from 'tcpu';
import { createStack, openTun } from '../lib/index.ts';

const link = openTun({ name: 'tcpu%d', hostAddresses: ['10.90.0.1/24', 'fd90::1/64'] });
const stack = createStack({ link, addresses: ['10.90.0.2/24', 'fd90::2/64'] });

const web = createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  response.setHeader('content-type', 'text/plain');
  response.end(`${request.method} ${request.url} from ${remoteAddress} port ${remotePort}\n`);
});

// `http.Server` lets its clients half-close, so the sockets below must, too.
const listener = stack.net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => web.emit('connection', socket));
listener.listen(80, () => console.log('http://10.90.0.2/ and http://[fd90::2]/'));

function stop(): void {
  web.closeIdleConnections();
  void stack.close();
}
process.once('SIGINT', stop);
process.once('SIGTERM', stop);
