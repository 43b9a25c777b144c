/** Congestion control by name: for a stack, an attachment, a server, a socket; and what a wrong name meets. */

import { once } from 'node:events';
import t from 'tap';
import { attach } from '../../lib/attach.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { createNet } from '../../lib/net/net.ts';
import type { Net, Socket } from '../../lib/net/net.ts';
import { withTcp } from '../../lib/net/tcp-options.ts';
import { AF_INET, IPPROTO_TCP, SOCK_STREAM, TCP_CONGESTION } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import { congestionNames } from '../../lib/tcp/congestion/congestion-control.ts';
import { FakeProvider } from './fake-provider.ts';

const alive = setInterval(() => {}, 1000);
t.teardown(() => clearInterval(alive));

function makeStack(congestion?: string, applications = false): Stack {
  const [link] = createMemoryPair();
  const stack = createStack({ link, addresses: ['10.90.0.2/24'], tcp: { congestion }, applications });
  t.teardown(() => stack.close({ graceful: false }));
  return stack;
}

/** What both ends of a connection say that they use. */
async function used(net: Net, server: object, client: object, to = net): Promise<{ client?: string; server?: string }> {
  const listening = net.createServer(server);
  listening.listen(0, '10.90.0.2');
  await once(listening, 'listening');
  const socket = to.connect({ port: listening.address()!.port, host: '10.90.0.2', ...client });
  const [[peer]] = await Promise.all([once(listening, 'connection') as Promise<[Socket]>, once(socket, 'connect')]);
  const names = { client: socket.tcpInfo()?.congestion, server: peer.tcpInfo()?.congestion };
  // Data goes both ways with it.
  socket.end('x'.repeat(300_000));
  let bytes = 0;
  peer.on('data', (data: Buffer) => bytes += data.length);
  await once(peer, 'end');
  t.equal(bytes, 300_000);
  peer.destroy();
  socket.destroy();
  listening.close();
  return names;
}

void t.test('the names', async (t) => {
  t.strictSame(congestionNames(), ['cubic', 'bbr', 'newreno', 'reno']);
});

void t.test('default, and for a whole stack', async (t) => {
  t.same(await used(makeStack().net, {}, {}), { client: 'cubic', server: 'cubic' });
  t.same(await used(makeStack('bbr').net, {}, {}), { client: 'bbr', server: 'bbr' });
  t.throws(() => makeStack('vegas'), { name: 'RangeError', message: /no congestion control 'vegas'; there are cubic, bbr, newreno/ });
});

void t.test('for a server, for a socket, and a stack with another', async (t) => {
  const { net } = makeStack('newreno');
  t.same(await used(net, { tcp: { congestion: 'bbr' } }, {}), { client: 'newreno', server: 'bbr' });
  t.same(await used(net, {}, { tcp: { congestion: 'cubic' } }), { client: 'cubic', server: 'newreno' });
  t.same(await used(net, { tcp: {} }, { tcp: { congestion: 'reno' } }), { client: 'newreno', server: 'newreno' }, "Linux's name");
});

void t.test('an application: its own TCP, that of the stack, each socket', async (t) => {
  const stack = makeStack('newreno', true);
  const attachment = await attach({ stack, options: { congestion: 'bbr' } });
  t.teardown(() => attachment.close({ graceful: false }));
  const own = attachment.netOf('tcpu');
  const kernel = attachment.netOf('kernel');
  t.same(await used(own, {}, {}), { client: 'bbr', server: 'bbr' });
  t.same(await used(own, { tcp: { congestion: 'cubic' } }, {}), { client: 'bbr', server: 'cubic' });
  t.same(await used(kernel, {}, {}), { client: 'newreno', server: 'newreno' });
  t.same(await used(kernel, { tcp: { congestion: 'bbr' } }, { tcp: { congestion: 'cubic' } }), { client: 'cubic', server: 'bbr' });
  t.same(await used(stack.net, {}, { tcp: { congestion: 'cubic' } }, own), { client: 'cubic', server: 'newreno' });
  await t.rejects(async () => attach({ stack, options: { congestion: 'vegas' } }), { name: 'RangeError', message: /there are cubic, bbr/ });
});

void t.test('new Socket() and connect() both take it; setCongestion() before and after', async (t) => {
  const { net } = makeStack();
  const server = net.createServer();
  server.listen(0, '10.90.0.2');
  await once(server, 'listening');
  const to = { port: server.address()!.port, host: '10.90.0.2' };
  const one = new net.Socket({ tcp: { congestion: 'bbr' } }).connect(to);
  await once(one, 'connect');
  t.equal(one.tcpInfo()!.congestion, 'bbr');
  t.equal(one.setCongestion('cubic'), one);
  t.equal(one.tcpInfo()!.congestion, 'cubic');
  const two = new net.Socket().setCongestion('newreno').connect(to);
  await once(two, 'connect');
  t.equal(two.tcpInfo()!.congestion, 'newreno');
  one.destroy();
  two.destroy();
  server.close();
});

void t.test('a name that there is not', async (t) => {
  const { net } = makeStack();
  const wrong = { code: 'ERR_INVALID_ARG_VALUE', message: /'options\.tcp\.congestion' is not .* there are cubic, bbr, newreno, reno\. Received 'vegas'/ };
  const tcp = { congestion: 'vegas' };
  t.throws(() => net.connect({ port: 7, host: '10.90.0.2', tcp }), wrong);
  t.throws(() => new net.Socket({ tcp }), wrong);
  t.throws(() => new net.Socket().connect({ port: 7, tcp }), wrong);
  t.throws(() => net.createServer({ tcp }), wrong);
  t.throws(() => new net.Socket().setCongestion('vegas'), { code: 'ERR_INVALID_ARG_VALUE', message: /there are cubic/ });
  t.throws(() => new net.Socket().setCongestion(7 as never), { code: 'ERR_INVALID_ARG_TYPE' });
  t.throws(() => net.createServer({ tcp: { congestion: 7 as never } }), { code: 'ERR_INVALID_ARG_TYPE' });
  for (const bad of [null, 'bbr', 7] as never[]) t.throws(() => net.createServer({ tcp: bad }), { code: 'ERR_INVALID_ARG_TYPE' });
});

/** Low-level sockets of a stack that does not know what we know. */
class OldProvider extends FakeProvider {
  override socket(domain: number, type: number): ReturnType<FakeProvider['socket']> {
    const handle = super.socket(domain, type);
    if (typeof handle !== 'number') {
      const { setsockopt } = handle;
      handle.setsockopt = function (level, option, value) {
        return level === IPPROTO_TCP && option === TCP_CONGESTION ? -92 : setsockopt.call(this, level, option, value);
      };
    }
    return handle;
  }
}

void t.test('a stack elsewhere that knows less: an error, not another algorithm', async (t) => {
  const provider = new OldProvider();
  const net = createNet(provider);
  const socket = net.connect({ port: 7, host: '127.0.0.1', tcp: { congestion: 'bbr' } });
  const [error] = await once(socket, 'error');
  t.match(error, { code: 'ENOPROTOOPT', syscall: 'setsockopt' });
  const server = net.createServer({ tcp: { congestion: 'bbr' } });
  server.listen(0, '127.0.0.1');
  const [other] = await once(server, 'error');
  t.match(other, { code: 'ENOPROTOOPT', syscall: 'listen' });
  t.equal(withTcp(provider, { congestion: 'bbr' }).socket(AF_INET, SOCK_STREAM, 0), -92);
  t.equal(provider.open, 0, 'and nothing stays open');
});

void t.test('withTcp: all sockets of a provider', async (t) => {
  const stack = makeStack();
  t.same(await used(createNet(withTcp(stack, { congestion: 'bbr' })), {}, {}), { client: 'bbr', server: 'bbr' });
});
