/** Attaches to a stack and listens at a port, keeping all that is accepted, until its input ends. */

import { once } from 'node:events';
import { attach } from '../../lib/attach.ts';

const app = await attach({ socket: process.argv[2]!, name: 'many\n\u009bbe' });
const server = app.net.createServer((socket) => socket.on('error', () => undefined)).listen(Number(process.argv[3]));
await once(server, 'listening');
process.stdout.write('listening\n');
process.stdin.resume();
await once(process.stdin, 'end');
process.exit(0);
