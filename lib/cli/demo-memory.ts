/** The demo where no TUN device can be had: two stacks in this process, joined by the memory link. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { get } from 'node:http';
import type { AgentOptions, IncomingMessage } from 'node:http';
import { Agent } from 'node:http';
import type { Duplex } from 'node:stream';
import { createMemoryPair } from '../link/memory-pair.ts';
import { LINK_CSUM, LINK_TSO4, LINK_TSO6 } from '../link/link.ts';
import { ping } from '../net/ping.ts';
import { patternDigest } from '../services/byte-pattern.ts';
import { services, startServices } from '../services/index.ts';
import { createStack } from '../stack.ts';
import type { Stack } from '../stack.ts';
import { moved } from './demo.ts';
import type { Step } from './demo.ts';

const SERVER = '10.90.0.2';
const DOWNLOAD_BYTES = 20_000_000;
const BULK_MS = 2000;

/** Connections of node:http through a stack. */
class StackAgent extends Agent {
  readonly #stack: Stack;

  constructor(stack: Stack, options?: AgentOptions) {
    super(options);
    this.#stack = stack;
  }

  override createConnection(options: object): Duplex {
    return this.#stack.net.connect(options);
  }
}

async function pingServer(client: Stack): Promise<string> {
  let sum = 0;
  for await (const result of ping(client, SERVER, { count: 5, intervalMs: 100 })) {
    if (result.error !== undefined) throw result.error;
    sum += result.timeMs;
  }
  return `5 of 5 answered, ${(sum / 5).toFixed(3)} ms on average`;
}

async function download(client: Stack): Promise<string> {
  const startMs = performance.now();
  const request = get({ host: SERVER, path: `/bytes/${DOWNLOAD_BYTES}`, agent: new StackAgent(client) });
  const [response] = await once(request, 'response') as [IncomingMessage];
  const hash = createHash('sha256');
  for await (const piece of response) hash.update(piece as Buffer);
  if (hash.digest('hex') !== patternDigest(DOWNLOAD_BYTES)) throw new Error('what came is not what was sent');
  return `${DOWNLOAD_BYTES / 1e6} MB in ${((performance.now() - startMs) / 1000).toFixed(2)} s, every byte right`;
}

async function bulk(client: Stack, name: 'discard' | 'chargen'): Promise<string> {
  const socket = client.net.connect({ host: SERVER, port: services.get(name)!.defaultPort });
  await once(socket, 'connect');
  let bytes = 0;
  const startMs = performance.now();
  socket.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  const piece = Buffer.alloc(256 * 1024);
  while (performance.now() - startMs < BULK_MS) {
    if (name === 'chargen') await new Promise((resolve) => setTimeout(resolve, 20));
    else if (!socket.write(piece)) await once(socket, 'drain');
  }
  const seconds = (performance.now() - startMs) / 1000;
  if (name === 'discard') bytes = socket.bytesWritten - socket.writableLength;
  socket.destroy();
  return moved(bytes, seconds);
}

/** Runs the parts; returns which of them went well. */
export async function memoryDemo(step: Step): Promise<boolean[]> {
  const features = LINK_CSUM | LINK_TSO4 | LINK_TSO6;
  const [left, right] = createMemoryPair({ mtu: 1500, features });
  const client = createStack({ link: left, addresses: ['10.90.0.1/24'] });
  const server = createStack({ link: right, addresses: [`${SERVER}/24`] });
  client.ref();
  await startServices(server, [...services.values()].map((service) => ({ service, port: service.defaultPort })));
  process.stdout.write(`  stack 10.90.0.1  <-- memory link, MTU 1500 -->  stack ${SERVER}\n\n`);
  const results = [
    await step(`ping ${SERVER}`, () => pingServer(client)),
    await step(`http://${SERVER}/bytes/${DOWNLOAD_BYTES}`, () => download(client)),
    await step(`one stack sends to the other, ${BULK_MS / 1000} s`, () => bulk(client, 'discard')),
    await step(`and the other way, ${BULK_MS / 1000} s`, () => bulk(client, 'chargen')),
  ];
  await client.close({ graceful: false });
  await server.close({ graceful: false });
  process.stdout.write(`
Where a TUN device can be made, \`bin/tcpu demo\` shows Linux talking to the stack, and

  sudo bin/tcpu up --serve echo,http,iperf3

runs one to play with; bin/tcpu help up tells more.
`);
  return results;
}
