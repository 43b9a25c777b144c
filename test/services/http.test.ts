/** The HTTP service between two stacks over the memory link: bodies, methods, mistakes. */

import { once } from 'node:events';
import { Agent, request } from 'node:http';
import type { IncomingMessage, RequestOptions } from 'node:http';
import type { Duplex } from 'node:stream';
import t from 'tap';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { PATTERN_PERIOD, patternByte, patternBytes } from '../../lib/services/byte-pattern.ts';
import { parseServeList, startServices } from '../../lib/services/index.ts';
import { createStack } from '../../lib/stack.ts';

const [left, right] = createMemoryPair();
const client = createStack({ link: left, addresses: ['10.90.0.1/24'] });
const server = createStack({ link: right, addresses: ['10.90.0.2/24'] });

class StackAgent extends Agent {
  override createConnection(options: object): Duplex {
    return client.net.connect(options);
  }
}
const agent = new StackAgent({ keepAlive: true });

async function ask(path: string, options: RequestOptions = {}, body?: Buffer): Promise<{ response: IncomingMessage; bytes: Buffer }> {
  const asked = request({ host: '10.90.0.2', path, agent, ...options });
  asked.end(body);
  const [response] = await once(asked, 'response') as [IncomingMessage];
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return { response, bytes: Buffer.concat(pieces) };
}

t.before(async () => {
  client.ref();
  await startServices(server, parseServeList('http'));
});
t.teardown(async () => {
  agent.destroy();
  await client.close({ graceful: false });
  await server.close({ graceful: false });
});

t.test('the pattern', async (t) => {
  const two = patternBytes(2);
  for (const i of [0, 1, 255, 256, 65520, 65521, 70_000, 2 * PATTERN_PERIOD - 1]) t.equal(two[i], patternByte(i), `byte ${i}`);
});

t.test('/bytes/N', { timeout: 20_000 }, async (t) => {
  for (const length of [0, 1, PATTERN_PERIOD, 4 * PATTERN_PERIOD + 1, 3_000_000]) {
    const { response, bytes } = await ask(`/bytes/${length}`);
    t.equal(response.headers['content-length'], String(length));
    t.equal(bytes.length, length);
    t.equal(bytes.findIndex((byte, i) => byte !== patternByte(i)), -1, `${length} bytes are right`);
  }
  const head = await ask('/bytes/1000000000000', { method: 'HEAD' });
  t.equal(head.response.headers['content-length'], '1000000000000');
  t.equal(head.bytes.length, 0);
  for (const bad of ['-1', '1e3', '1000000000001', 'x', '', '10/']) {
    t.equal((await ask(`/bytes/${bad}`)).response.statusCode, 400, `/bytes/${bad}`);
  }
});

t.test('/echo', { timeout: 20_000 }, async (t) => {
  const body = patternBytes(20);
  const { response, bytes } = await ask('/echo', { method: 'POST', headers: { 'content-type': 'x/y', 'content-length': body.length } }, body);
  t.match(response.headers, { 'content-type': 'x/y', 'content-length': String(body.length) });
  t.ok(bytes.equals(body));
  t.equal((await ask('/echo')).response.statusCode, 405);
});

t.test('the page, the statistics, and what is not there', { timeout: 20_000 }, async (t) => {
  const page = (await ask('/?x=1')).bytes.toString();
  t.match(page, /^<!doctype html>[^]*10\.90\.0\.2\/24[^]*ESTABLISHED[^]*tcp\.PassiveOpens/);
  t.match(JSON.parse((await ask('/stats')).bytes.toString()), {
    addresses: ['10.90.0.2/24'], uptimeSeconds: Number, counters: { tcp: { PassiveOpens: 1 } },
    connections: [{ state: 'LISTEN', local: { port: 80 } }, { state: 'ESTABLISHED', remote: { address: '10.90.0.1' } }],
  }, 'and all of it went over one connection');
  t.equal((await ask('/nothing')).response.statusCode, 404);
  const { response } = await ask('/', { method: 'DELETE' });
  t.match([response.statusCode, response.headers.allow], [405, 'GET, HEAD']);
});
