/** An application with TCPU in a worker thread, that ends in the way its second argument says; see thread.test.ts. */

import { once } from 'node:events';
import { attach } from '../../lib/attach.ts';
import { END_PORT, PEER } from './thread-peer.ts';

const [path, way] = process.argv.slice(2) as [string, string];
const app = await attach({ socket: path, thread: true });
if (way !== 'idle') {
  const socket = app.net.connect(END_PORT, PEER);
  await once(socket, 'data');
  switch (way) {
    case 'end':
      socket.end(Buffer.alloc(300_000));
      break;
    case 'exit':
      socket.write(Buffer.alloc(300_000));
      process.exit(3);
      break;
    case 'throw':
      socket.write(Buffer.alloc(300_000));
      throw new Error('of the application');
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
  }
}
