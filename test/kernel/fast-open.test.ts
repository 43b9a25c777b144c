/** Fast Open (RFC 7413) with Linux: its client and our server, our client and its server. */

import './namespace.ts';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { LINUX4, LINUX6, STACK4, STACK6, lacking, run, stackOnTun, start } from './harness.ts';

const skip = lacking('python3');

/** A figure of Linux's TcpExt, of this namespace. */
function tcpExt(name: string): number {
  const [names, values] = readFileSync('/proc/net/netstat', 'utf8').split('\n').filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  return Number(values![names!.indexOf(name)]);
}

/** Three requests, each on a connection of its own, sent with MSG_FASTOPEN; prints what came back. */
const CLIENT = `
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
for i in range(3):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.sendto(b'request %d ' % i + b'x' * 500, 0x20000000, (sys.argv[1], int(sys.argv[2])))
    s.shutdown(socket.SHUT_WR)
    got = b''
    while True:
        piece = s.recv(65536)
        if not piece: break
        got += piece
    print(len(got), got[:9].decode())
    s.close()
`;

/** Echoes; listens with TCP_FASTOPEN. */
const SERVER = `
import socket, threading
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_TCP, 23, 16)
s.bind(('::', 0))
s.listen(16)
print(s.getsockname()[1], flush=True)
def serve(c):
    while True:
        piece = c.recv(65536)
        if not piece: break
        c.sendall(piece)
    c.close()
while True:
    c, a = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
`;

for (const offload of ['on', 'off'] as const) {
  t.test(`offload ${offload}`, { timeout: 60_000, skip }, async (t) => {
    writeFileSync('/proc/sys/net/ipv4/tcp_fastopen', '3');
    const { stack } = stackOnTun(t, { offload });
    const { counters } = stack.tcp;

    const server = stack.net.createServer({ allowHalfOpen: true, tcp: { fastOpen: 16 } }, (socket) => socket.pipe(socket));
    server.listen(8080);
    for (const host of [STACK4, STACK6]) {
      const [before, passive] = [tcpExt('TCPFastOpenActive'), counters.FastOpenPassive];
      const { code, stdout, stderr } = await run('python3', ['-c', CLIENT, host, '8080']);
      t.equal(code, 0, stderr);
      t.same(stdout.trim().split('\n'), [0, 1, 2].map((i) => `510 request ${i}`), `${host}: the answers`);
      t.equal(counters.FastOpenPassive - passive, 2, 'the second and the third SYN opened');
      t.equal(tcpExt('TCPFastOpenActive') - before, 2, 'and Linux says so, too');
    }

    const echo = start('python3', ['-c', SERVER]);
    t.teardown(() => echo.kill('SIGKILL'));
    const [line] = await once(echo.stdout!, 'data') as [Buffer];
    const port = Number(line.toString());
    for (const host of [LINUX4, LINUX6]) {
      const [before, active] = [tcpExt('TCPFastOpenPassive'), counters.FastOpenActive];
      for (let i = 0; i < 3; i++) {
        const request = Buffer.from(`request ${i} ${'y'.repeat(i === 2 ? 50_000 : 500)}`);
        const socket = stack.net.connect({ host, port, allowHalfOpen: true, tcp: { fastOpen: true } });
        socket.end(request);
        const pieces: Buffer[] = [];
        for await (const piece of socket) pieces.push(piece as Buffer);
        t.ok(Buffer.concat(pieces).equals(request), `${host}: answer ${i}`);
      }
      t.equal(tcpExt('TCPFastOpenPassive') - before, 2, 'the second and the third SYN opened');
      t.equal(counters.FastOpenActive - active, 2, 'and we know');
    }
    server.close();
  });
}

t.test('Linux does not want to: the data follows', { timeout: 60_000, skip }, async (t) => {
  writeFileSync('/proc/sys/net/ipv4/tcp_fastopen', '3');
  const { stack } = stackOnTun(t);
  const echo = start('python3', ['-c', SERVER]);
  t.teardown(() => echo.kill('SIGKILL'));
  const [line] = await once(echo.stdout!, 'data') as [Buffer];
  const port = Number(line.toString());
  const ask = async (): Promise<void> => {
    const socket = stack.net.connect({ host: LINUX4, port, allowHalfOpen: true, tcp: { fastOpen: true } });
    socket.end('request');
    const pieces: Buffer[] = [];
    for await (const piece of socket) pieces.push(piece as Buffer);
    t.equal(Buffer.concat(pieces).toString(), 'request');
  };
  await ask();
  // A new key: the cookie that we have is worth nothing any more, and a new one comes.
  writeFileSync('/proc/sys/net/ipv4/tcp_fastopen_key', '00000001-00000002-00000003-00000004');
  await ask();
  t.match(stack.tcp.counters, { FastOpenActive: 0, FastOpenActiveFail: 1 });
  await ask();
  t.match(stack.tcp.counters, { FastOpenActive: 1, FastOpenActiveFail: 1 });
  writeFileSync('/proc/sys/net/ipv4/tcp_fastopen', '1');
  await ask();
  t.match(stack.tcp.counters, { FastOpenActive: 1, FastOpenActiveFail: 2 });
});

t.test('a server that has gone: the connection that was believed in ends with an error', { timeout: 60_000, skip }, async (t) => {
  writeFileSync('/proc/sys/net/ipv4/tcp_fastopen', '3');
  const { stack } = stackOnTun(t);
  const echo = start('python3', ['-c', SERVER]);
  const [line] = await once(echo.stdout!, 'data') as [Buffer];
  const port = Number(line.toString());
  const options = { host: LINUX4, port, tcp: { fastOpen: true } };
  const first = stack.net.connect(options);
  await once(first, 'connect');
  first.destroy();
  echo.kill('SIGKILL');
  await once(echo, 'close');
  const socket = stack.net.connect(options);
  socket.write('request');
  const [error] = await once(socket, 'error') as [NodeJS.ErrnoException];
  t.equal(error.code, 'ECONNREFUSED');
});
