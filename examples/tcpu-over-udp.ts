/**
 * TCPU over UDP: the same TCP in both programs, and UDP sockets of their hosts in between. No stack process, no TUN
 * device, no privileges; works wherever UDP does.
 *
 *     node --import=tsx examples/tcpu-over-udp.ts listen 40001
 *     node --import=tsx examples/tcpu-over-udp.ts connect 127.0.0.1 40001
 *
 * The one that listens counts what comes and says so; the other sends ten million bytes.
 */

// In a project of yours: import { tcpuOverUdp } from 'tcpu';
import { tcpuOverUdp } from '../lib/index.ts';

const [mode, ...rest] = process.argv.slice(2);
if (mode !== 'listen' && mode !== 'connect') {
  console.error('usage: tcpu-over-udp.ts listen PORT | connect HOST PORT');
  process.exit(2);
}

const over = tcpuOverUdp();

if (mode === 'listen') {
  const server = over.net.createServer({ allowHalfOpen: true }, (socket) => {
    let bytes = 0;
    socket.on('data', (piece) => {
      bytes += piece.length;
    });
    socket.on('end', () => socket.end(`${bytes} bytes\n`));
    socket.on('error', (error) => console.log(error.message));
    // One visitor is enough for an example.
    server.close();
  });
  server.listen(Number(rest[0]), () => console.log(`waiting on UDP port ${(server.address() as { port: number }).port}`));
} else {
  const socket = over.net.connect(Number(rest[1]), rest[0]!);
  socket.end(Buffer.alloc(10_000_000));
  socket.setEncoding('utf8');
  socket.on('data', (text) => process.stdout.write(`the other end says: ${text}`));
}
