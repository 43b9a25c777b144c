/** Linux connects to a stack that keeps nothing of SYNs: its options come back out of its own ACKs. */

import './namespace.ts';
import { once } from 'node:events';
import { connect } from 'node:net';
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { openTun } from '../../lib/link/tun.ts';
import { createStack } from '../../lib/stack.ts';
import { LINUX4, LINUX6, STACK4, STACK6 } from './harness.ts';

for (const timestamps of [true, false]) {
  t.test(timestamps ? 'with timestamps: scaling, SACK and ECN as ever' : 'without timestamps: the MSS alone', { timeout: 60_000 }, async (t) => {
    writeFileSync('/proc/sys/net/ipv4/tcp_timestamps', timestamps ? '1' : '0');
    writeFileSync('/proc/sys/net/ipv4/tcp_ecn', '1');
    const tun = openTun({ name: 'tcpu0', hostAddresses: [`${LINUX4}/24`, `${LINUX6}/64`], mtu: 1500 });
    const stack = createStack({ link: tun, addresses: [`${STACK4}/24`, `${STACK6}/64`], tcp: { synCookies: 'always' } });
    t.teardown(() => stack.close({ graceful: false }));
    const server = stack.net.createServer({ allowHalfOpen: true }, (socket) => {
      t.match(socket.tcpInfo(), {
        timestamps, sack: timestamps, rcvWscale: timestamps ? 10 : 0, peerMss: socket.remoteAddress!.includes('.') ? 1460 : 1440,
      });
      socket.pipe(socket);
    });
    server.listen(8080);
    await once(server, 'listening');
    const body = Buffer.alloc(2_000_000, 'tcpu');
    for (const host of [STACK4, STACK6]) {
      const socket = connect({ host, port: 8080, allowHalfOpen: true });
      socket.end(body);
      let got = 0;
      for await (const piece of socket) got += (piece as Buffer).length;
      t.equal(got, body.length, `${host}: all came back`);
    }
    const { counters } = stack.tcp;
    t.match(counters, { SyncookiesSent: 2, SyncookiesRecv: 2, SyncookiesFailed: 0, EcnHandshakes: timestamps ? 2 : 0 });
    server.close();
  });
}
