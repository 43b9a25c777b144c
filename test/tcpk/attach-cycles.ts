/** Attaches to a stack, has a short conversation, and leaves, again and again; checks that nothing is left on this side. */

import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { attach } from '../../lib/attach.ts';

const [path, count, remote] = [process.argv[2]!, Number(process.argv[3]), process.argv[4]!];
let descriptors = 0;
for (let i = 0; i < count; i++) {
  const app = await attach({ socket: path, window: { rxRing: 256 << 10, txRing: 128 << 10, call: 4096, memory: 1 << 20 } });
  const server = app.net.createServer().listen(2000 + i % 100);
  await once(server, 'listening');
  const socket = app.net.connect(9, remote);
  await once(socket, 'connect');
  socket.end('hello');
  socket.resume();
  await once(socket, 'close');
  server.close();
  await app.close();
  if (i === Math.min(9, count - 1)) descriptors = readdirSync('/proc/self/fd').length;
}
const left = readdirSync('/proc/self/fd').length;
// Fewer is fine: what loading has opened is closed in the end.
if (left > descriptors) throw new Error(`${left} descriptors are open, ${descriptors} were after the first rounds`);
