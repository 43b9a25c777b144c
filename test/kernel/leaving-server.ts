/**
 * An application for the tests of life and death: listens on a port, sends `bytes` of a pattern to whoever connects,
 * closes the connection, and ends at once, as soon as the last byte has been taken by its own TCP.
 *
 *     leaving-server.ts PORT BYTES
 */

import { attach } from '../../lib/attach.ts';
import { patternBytes } from './pattern.ts';

const [port, bytes] = [Number(process.argv[2]), Number(process.argv[3])];
const app = await attach({ name: 'leaving', window: { memory: 16 << 20 }, options: { sndbuf: { initial: 8 << 20, max: 8 << 20 } } });
const server = app.net.createServer((socket) => {
  socket.end(patternBytes(bytes), () => process.exit(0));
});
server.listen(port, () => process.stdout.write('ready \n'));
