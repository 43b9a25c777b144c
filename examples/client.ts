/**
 * The stack connects out: an HTTP request to a server of Linux, through an `http.Agent` whose connections
 * are the stack's, and what the stack's TCP thinks of the connection afterwards.
 *
 *     sudo node --import=tsx examples/client.ts
 *
 * Without root: `unshare -Urn node --import=tsx examples/client.ts`.
 */

import { once } from 'node:events';
import { Agent, createServer, get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
// In a project of yours: import { createStack, openTun } from 'tcpu';
import { createStack, openTun } from '../lib/index.ts';
import type { Socket } from '../lib/index.ts';

const link = openTun({ name: 'tcpu%d', hostAddresses: ['10.90.0.1/24'] });
const stack = createStack({ link, addresses: ['10.90.0.2/24'] });

class StackAgent extends Agent {
  override createConnection(options: object): Socket {
    return stack.net.connect(options);
  }
}

// The server is Linux's: node:http as it always was.
const server = createServer((request, response) => response.end(`hello ${request.socket.remoteAddress}\n`));
server.listen(0, '10.90.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;

const agent = new StackAgent({ keepAlive: true });
const [response] = await once(get({ host: '10.90.0.1', port, agent }), 'response') as [IncomingMessage];
for await (const piece of response) process.stdout.write(piece as Buffer);

const [connection] = stack.connections();
if (connection?.info) {
  const { state, congestion, srttMs, cwnd, sndMss } = connection.info;
  console.log(`${state}, ${congestion}, RTT ${srttMs.toFixed(3)} ms, cwnd ${cwnd}, MSS ${sndMss}`);
}

agent.destroy();
server.close();
await stack.close();
