/** The report's calls as a program has them: one set of descriptors, one stack for TCPK, UDP beside it. In real time. */

import t from 'tap';
import type { Test } from 'tap';
import {
  accept_tcpu, AF_INET, AF_INET6, bind_tcpu, close_tcpu, connect_tcpu, createMemoryPair, createStack, getpeername_tcpu,
  getsockname_tcpu, getsockopt_tcpu, IPPROTO_TCPK, IPPROTO_UDP, recv_tcpu, send_tcpu, setsockopt_tcpu, SO_RCVTIMEO, SOCK_STREAM,
  socket_tcpu, SOL_SOCKET, tcpu_attach, tcpu_detach, tcpu_over_udp, TF_NODELAY,
} from '../../lib/index.ts';

/** An exchange between two sockets of one protocol, at this address. */
async function exchange(t: Test, domain: number, protocol: number, address: string): Promise<void> {
  const listener = await socket_tcpu(domain, SOCK_STREAM, protocol);
  t.equal(await bind_tcpu(listener, { address, port: 0 }, 16), 0);
  const { port } = getsockname_tcpu(listener)!;
  t.ok(port > 0);
  const from = { port: 0 };
  const accepting = accept_tcpu(listener, from);
  const client = await socket_tcpu(domain, SOCK_STREAM, protocol);
  t.equal(await connect_tcpu(client, { address, port }, 16), 0);
  t.same(getpeername_tcpu(client), { address, port, family: domain === AF_INET ? 'IPv4' : 'IPv6' });
  const server = await accepting;
  t.equal(from.port, getsockname_tcpu(client)!.port);
  const text = Buffer.from('through the calls of the report');
  t.equal(await send_tcpu(client, text, text.length, TF_NODELAY), text.length);
  const buffer = Buffer.alloc(100);
  t.equal(await recv_tcpu(server, buffer), text.length);
  t.equal(buffer.toString('utf8', 0, text.length), String(text));
  t.equal(await send_tcpu(server, buffer, 7), 7);
  t.equal(await recv_tcpu(client, buffer, 100, 0), 7);
  setsockopt_tcpu(client, SOL_SOCKET, SO_RCVTIMEO, 20);
  t.equal(getsockopt_tcpu(client, SOL_SOCKET, SO_RCVTIMEO), 20);
  t.equal(await recv_tcpu(client, buffer), 0, 'nothing within 20 ms');
  const closing = close_tcpu(client);
  await t.rejects(recv_tcpu(server, buffer), { code: 'ESHUTDOWN' });
  t.same(await Promise.all([close_tcpu(server), closing, close_tcpu(listener)]), [0, 0, 0]);
  await t.rejects(close_tcpu(listener), { code: 'EBADF' });
}

t.test('no stack at TCPU_SOCKET', { timeout: 10_000 }, async (t) => {
  process.env.TCPU_SOCKET = '/nonexistent/tcpu.sock';
  t.teardown(() => delete process.env.TCPU_SOCKET);
  for (let i = 0; i < 2; i++) {
    await t.rejects(socket_tcpu(AF_INET, SOCK_STREAM, IPPROTO_TCPK), { code: 'ENOENT' }, 'each socket tries again');
  }
  await t.rejects(tcpu_attach({ socket: '/nonexistent/other.sock' }), { code: 'ENOENT' });
  await tcpu_detach();
});

t.test('TCPK and UDP side by side', { timeout: 20_000 }, async (t) => {
  const [link] = createMemoryPair();
  const stack = createStack({ link, addresses: ['10.0.0.1/24', 'fd00::1/64'], applications: { shared: false }, memory: 8 << 20 });
  t.teardown(() => stack.close({ graceful: false }));
  const provider = await tcpu_attach({ stack });
  await Promise.all([
    exchange(t, AF_INET, IPPROTO_TCPK, '10.0.0.1'), exchange(t, AF_INET6, IPPROTO_TCPK, 'fd00::1'),
    exchange(t, AF_INET, IPPROTO_UDP, '127.0.0.1'), exchange(t, AF_INET6, 0, '::1'),
  ]);
  t.equal(await tcpu_attach(provider), provider, 'an attachment of one\'s own');
  t.throws(() => tcpu_over_udp({}), /in use already/);
  await stack.close();
  await t.rejects(socket_tcpu(AF_INET, SOCK_STREAM, IPPROTO_TCPK), { code: 'ENETDOWN' });
  await tcpu_detach();
});
