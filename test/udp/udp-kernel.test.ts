/** UDP and echo against Linux across a TUN: `node:dgram` on its side, ours on the other; both versions, with and without offload. */

import '../kernel/namespace.ts';
import nodeDgram from 'node:dgram';
import { once } from 'node:events';
import t from 'tap';
import { LINK_USO } from '../../lib/link/link.ts';
import { openTun } from '../../lib/link/tun.ts';
import type { Dgram } from '../../lib/net/dgram.ts';
import { ping } from '../../lib/net/ping.ts';
import { AF_INET, AF_INET6 } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import { udpSocket } from './two-stacks.ts';

const LINUX = { udp4: '10.90.0.1', udp6: 'fd90::1' };
const STACK = { udp4: '10.90.0.2', udp6: 'fd90::2' };
const TYPES = ['udp4', 'udp6'] as const;
const SIZES = [0, 1, 63, 64, 65, 1000, 1452, 1453, 1472, 1473, 3000, 8192, 20_000, 65_507];

type AnySocket = nodeDgram.Socket;

function socketOf(dgram: typeof nodeDgram | Dgram, type: nodeDgram.SocketType): AnySocket {
  return (dgram as typeof nodeDgram).createSocket(type);
}

async function bound(dgram: typeof nodeDgram | Dgram, type: nodeDgram.SocketType): Promise<AnySocket> {
  const socket = socketOf(dgram, type);
  socket.bind(0);
  await once(socket, 'listening');
  return socket;
}

/** The stack's side and the device, gone when the test ends. */
async function withStack(offload: 'on' | 'off', body: (stack: Stack) => Promise<void>): Promise<void> {
  const tun = openTun({ name: 'tcpu%d', hostAddresses: ['10.90.0.1/24', 'fd90::1/64'], offload });
  const stack = createStack({ link: tun, addresses: ['10.90.0.2/24', 'fd90::2/64'] });
  try {
    await body(stack);
  } finally {
    await stack.close({ graceful: false });
  }
}

async function closeAll(...sockets: AnySocket[]): Promise<void> {
  for (const socket of sockets) {
    const closed = once(socket, 'close');
    socket.close();
    await closed;
  }
}

for (const offload of ['on', 'off'] as const) {
  t.test(`datagrams of every size, there and back: offload ${offload}`, { timeout: 30_000 }, async (t) => {
    await withStack(offload, async (stack) => {
      for (const [server, serverAddress, client] of [[nodeDgram, LINUX, stack.dgram], [stack.dgram, STACK, nodeDgram]] as const) {
        for (const type of TYPES) {
          const from = await bound(server, type);
          from.on('message', (msg, { port, address }) => from.send(msg, port, address));
          const to = await bound(client, type);
          for (const size of SIZES) {
            const data = Buffer.alloc(size, `${type} ${size} `);
            const answer = once(to, 'message');
            to.send(data, from.address().port, serverAddress[type]);
            const [msg] = await answer as [Buffer];
            t.ok(msg.equals(data), `${size} bytes over ${type}`);
          }
          await closeAll(from, to);
        }
      }
      t.equal(stack.udp.counters.InErrors, 0);
    });
  });

  t.test(`refused, in both directions: offload ${offload}`, { timeout: 30_000 }, async (t) => {
    await withStack(offload, async (stack) => {
      for (const [client, address] of [[stack.dgram, LINUX], [nodeDgram, STACK]] as const) {
        for (const type of TYPES) {
          const socket = socketOf(client, type);
          socket.connect(9, address[type]);
          await once(socket, 'connect');
          const failed = once(socket, 'error');
          socket.send('x');
          const [error] = await failed as [NodeJS.ErrnoException];
          t.equal(error.message, 'recvmsg ECONNREFUSED');
          t.equal(error.errno, -111);
          await closeAll(socket);
        }
      }
    });
  });

  t.test(`many datagrams in one call: offload ${offload}`, { timeout: 30_000 }, async (t) => {
    await withStack(offload, async (stack) => {
      const t6 = offload === 'on' && (stack.link.features & LINK_USO) !== 0;
      t.comment(t6 ? 'the device cuts datagrams' : 'the device cuts no datagrams');
      for (const type of TYPES) {
        const sink = await bound(nodeDgram, type);
        sink.setRecvBufferSize(4 << 20);
        const got: Buffer[] = [];
        sink.on('message', (msg) => got.push(msg));
        const source = udpSocket(stack, type === 'udp4' ? AF_INET : AF_INET6);
        t.equal(source.connect(LINUX[type], sink.address().port), 0);
        const data = Buffer.alloc(60 * 1400 + 77);
        for (let i = 0; i < data.length; i++) data[i] = i >> 6;
        t.equal(source.sendSegments(data, 0, data.length, 1400, null, 0), data.length);
        while (got.length < 61) await once(sink, 'message');
        t.ok(Buffer.concat(got).equals(data), 'all of it, in order');
        t.equal(got[0]!.length, 1400);
        t.equal(got[60]!.length, 77);
        source.close();
        await closeAll(sink);
      }
    });
  });

  t.test(`ping: offload ${offload}`, { timeout: 30_000 }, async (t) => {
    await withStack(offload, async (stack) => {
      for (const type of TYPES) {
        for (const size of [0, 56, 1473, 65_000]) {
          let n = 0;
          for await (const result of ping(stack, LINUX[type], { count: 3, intervalMs: 1, size })) {
            t.equal(result.error, undefined);
            t.equal(result.bytes, size + 8);
            t.equal(result.ttl, 64);
            t.ok(result.timeMs >= 0 && result.timeMs < 1000, `${result.timeMs} ms`);
            n++;
          }
          t.equal(n, 3);
        }
      }
    });
  });
}

t.test('every checksum that two bytes can have is good for Linux', { timeout: 60_000 }, async (t) => {
  // Zero among them, which must leave as 0xffff; without offload the stack computes and Linux verifies.
  await withStack('off', async (stack) => {
    const sink = await bound(nodeDgram, 'udp4');
    let got = 0;
    sink.on('message', () => got++);
    const source = udpSocket(stack);
    source.connect(LINUX.udp4, sink.address().port);
    const data = Buffer.alloc(2);
    const deadline = Date.now() + 30_000;
    for (let i = 0; i < 65536; i++) {
      data.writeUInt16BE(i);
      source.sendTo(data, 0, 2, null, 0);
      // Not more than Linux's receive buffer holds.
      if (i % 64 === 63) while (got <= i && Date.now() < deadline) await new Promise(setImmediate);
    }
    t.equal(got, 65536);
    source.close();
    await closeAll(sink);
  });
});
