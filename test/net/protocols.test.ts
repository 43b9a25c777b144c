/** Node's own protocols over our sockets: http (server, agent, upgrade), http2, tls in both directions, https. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import type { Net, Server, Socket } from '../../lib/net/net.ts';
import { createStack } from '../../lib/stack.ts';
import { until } from './parity.ts';

const HOST = '10.1.0.2';

/** Two stacks, a server on one that hands its connections to `accept`. */
async function withServer(t: Test, accept: (socket: Socket) => void): Promise<{ client: Net; port: number; server: Server }> {
  const [a, b] = createMemoryPair();
  const clientStack = createStack({ link: a, addresses: ['10.1.0.1/24'] });
  const serverStack = createStack({ link: b, addresses: [`${HOST}/24`] });
  const alive = setInterval(() => {}, 1000);
  const server = serverStack.net.createServer(accept);
  server.listen(0, HOST);
  await once(server, 'listening');
  t.teardown(async () => {
    server.close();
    await Promise.all([clientStack.close(), serverStack.close()]);
    clearInterval(alive);
  });
  return { client: clientStack.net, port: server.address()!.port, server };
}

function request(options: http.RequestOptions, body?: Buffer | string): Promise<{ status: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const req = (options.protocol === 'https:' ? https : http).request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode!, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    });
    req.on('error', reject);
    req.end(body);
  });
}

/** An http.Agent whose connections go through the stack. */
function agentOf(net: Net, options: http.AgentOptions = {}): http.Agent {
  const agent = new http.Agent(options);
  (agent as any).createConnection = net.createConnection;
  return agent;
}

const body = randomBytes(300_000);

function echo(req: http.IncomingMessage, res: http.ServerResponse): void {
  if (req.url === '/body') res.end(body);
  else req.pipe(res);
}

void t.test('http: server by emit, agent by createConnection', async (t) => {
  const web = http.createServer(echo);
  const { client, port, server } = await withServer(t, (socket) => web.emit('connection', socket));
  const agent = agentOf(client);
  const got = await request({ host: HOST, port, path: '/body', agent });
  t.equal(got.status, 200);
  t.ok(got.body.equals(body), 'download');
  const posted = await request({ host: HOST, port, path: '/echo', method: 'POST', agent }, body);
  t.ok(posted.body.equals(body), 'upload comes back');
  await until(() => server._connections === 0);
});

void t.test('http: keep-alive uses one connection, and an idle one is closed', async (t) => {
  const web = http.createServer({ keepAliveTimeout: 2000 }, echo);
  let accepted = 0;
  const { client, port, server } = await withServer(t, (socket) => {
    accepted++;
    web.emit('connection', socket);
  });
  const agent = agentOf(client, { keepAlive: true, maxSockets: 1 });
  for (let i = 0; i < 20; i++) {
    const { body } = await request({ host: HOST, port, path: '/', method: 'PUT', agent }, `message ${i}`);
    t.equal(String(body), `message ${i}`);
  }
  t.equal(accepted, 1);
  await until(() => server._connections === 0 && Object.keys(agent.freeSockets).length === 0);
  agent.destroy();
});

void t.test('http: many at once', async (t) => {
  const web = http.createServer(echo);
  const { client, port } = await withServer(t, (socket) => web.emit('connection', socket));
  const agent = agentOf(client, { keepAlive: true, maxSockets: 16 });
  const post = (data: Buffer) => request({ host: HOST, port, path: '/', method: 'POST', agent }, data);
  const bodies = await Promise.all(Array.from({ length: 100 }, (_, i) => post(Buffer.alloc(i * 100, i))));
  t.ok(bodies.every(({ body }, i) => body.equals(Buffer.alloc(i * 100, i))));
  agent.destroy();
});

void t.test('http: refused, reset in the middle, timeout, abort', async (t) => {
  const web = http.createServer((req, res) => {
    if (req.url === '/reset') {
      res.write('partial');
      setImmediate(() => req.socket.resetAndDestroy());
    }
  });
  const { client, port } = await withServer(t, (socket) => web.emit('connection', socket));
  const agent = agentOf(client);
  await t.rejects(request({ host: HOST, port: 1, agent }), {
    code: 'ECONNREFUSED', message: `connect ECONNREFUSED ${HOST}:1`, address: HOST, port: 1,
  });
  await t.rejects(request({ host: HOST, port, path: '/reset', agent }), { code: 'ECONNRESET' });
  const slow = http.request({ host: HOST, port, path: '/never', agent, timeout: 50 });
  slow.end();
  await once(slow, 'timeout');
  const failed = once(slow, 'error');
  slow.destroy(new Error('gave up'));
  t.match((await failed)[0], { message: 'gave up' });
  await t.rejects(request({ host: HOST, port, path: '/never', agent, signal: AbortSignal.timeout(30) }), { code: 'ABORT_ERR' });
});

void t.test('http: upgrade hands the socket over', async (t) => {
  const web = http.createServer();
  web.on('upgrade', (_req, socket, head: Buffer) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    if (head.length > 0) socket.write(head);
    socket.pipe(socket);
  });
  const { client, port } = await withServer(t, (socket) => web.emit('connection', socket));
  const req = http.request({ host: HOST, port, agent: agentOf(client), headers: { Connection: 'Upgrade', Upgrade: 'echo' } });
  req.end();
  const [, socket] = await once(req, 'upgrade');
  socket.write('through');
  const [data] = await once(socket, 'data');
  t.equal(String(data), 'through');
  socket.destroy();
});

void t.test('http2', async (t) => {
  const web = http2.createServer();
  web.on('stream', (stream) => {
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  const { client, port } = await withServer(t, (socket) => web.emit('connection', socket));
  const session = http2.connect(`http://${HOST}:${port}`, { createConnection: () => client.connect(port, HOST) as any });
  const results = await Promise.all(Array.from({ length: 10 }, async (_, i) => {
    const stream = session.request({ ':method': 'POST', ':path': '/' });
    stream.end(Buffer.alloc(50_000, i));
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).equals(Buffer.alloc(50_000, i));
  }));
  t.ok(results.every(Boolean));
  session.close();
  await once(session, 'close');
});

/** A key and a self-signed certificate, or null where there is no openssl. */
function makeCertificate(): { key: Buffer; cert: Buffer } | null {
  const dir = mkdtempSync(join(tmpdir(), 'tcpu-tls-'));
  try {
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=test',
      '-addext', `subjectAltName=IP:${HOST},DNS:test`, '-keyout', join(dir, 'key'), '-out', join(dir, 'cert'),
    ], { stdio: 'pipe', timeout: 20_000 });
    return { key: readFileSync(join(dir, 'key')), cert: readFileSync(join(dir, 'cert')) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const pair = makeCertificate();
const needsOpenssl = pair === null ? { skip: 'NO TLS TESTS: the openssl command is not installed' } : {};

void t.test('tls: TLSSocket on the server, tls.connect({ socket }) on the client', needsOpenssl, async (t) => {
  const { client, port, server } = await withServer(t, (socket) => {
    const secure = new tls.TLSSocket(socket as any, { isServer: true, ...pair! });
    secure.pipe(secure);
  });
  for (const connectedFirst of [false, true]) {
    const raw = client.connect(port, HOST);
    if (connectedFirst) await once(raw, 'connect');
    const secure = tls.connect({ socket: raw as any, ca: pair!.cert, servername: 'test' });
    await once(secure, 'secureConnect');
    t.ok(secure.authorized);
    secure.write(body);
    let received = Buffer.alloc(0);
    for await (const chunk of secure) {
      received = Buffer.concat([received, chunk]);
      if (received.length === body.length) break;
    }
    t.ok(received.equals(body), `echo, ${connectedFirst ? 'connected first' : 'while connecting'}`);
    secure.destroy();
  }
  await until(() => server._connections === 0);
});

void t.test('tls: errors come through', needsOpenssl, async (t) => {
  const { client, port } = await withServer(t, (socket) => {
    const secure = new tls.TLSSocket(socket as any, { isServer: true, ...pair! });
    secure.on('error', () => {});
  });
  const distrusting = tls.connect({ socket: client.connect(port, HOST) as any, servername: 'test' });
  const [error] = await once(distrusting, 'error');
  t.match(error, { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  const refused = tls.connect({ socket: client.connect(1, HOST) as any });
  const [refusal] = await once(refused, 'error');
  t.match(refusal, { code: 'ECONNREFUSED', syscall: 'connect', address: HOST, port: 1 });
});

void t.test('https: tls.Server by emit, https.Agent by createConnection', needsOpenssl, async (t) => {
  const web = https.createServer(pair!, echo);
  const { client, port } = await withServer(t, (socket) => web.emit('connection', socket));
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  (agent as any).createConnection = (options: any) => {
    return tls.connect({ ...options, socket: client.connect({ port: options.port, host: options.host }) });
  };
  for (let i = 0; i < 3; i++) {
    const options: any = { protocol: 'https:', host: HOST, port, path: '/body', agent, ca: pair!.cert, servername: 'test' };
    const got = await request(options);
    t.ok(got.body.equals(body));
  }
  agent.destroy();
});
