// A stack that only applications use: what `tcpu up --socket` is without services of its own. The attached columns of the
// benchmark stand on it (bench/application.mjs is the other process). Runs on the built package, until SIGTERM.
//
//     node bench/stack-process.mjs --tun tcpu0 --address CIDR --host-address CIDR --mtu N --offload on|off --socket PATH

import { parseArgs } from 'node:util';
import { createStack, openTun } from '../dist/lib/index.js';

const text = { type: 'string' };
const { values } = parseArgs({
  options: { tun: text, address: text, 'host-address': text, mtu: text, offload: text, socket: text },
});

const link = openTun({
  name: values.tun, mtu: Number(values.mtu), hostAddresses: [values['host-address']], offload: values.offload,
});
const stack = createStack({ link, addresses: [values.address], applications: true });
const server = stack.listen({ path: values.socket });
stack.ref();
stack.once('down', (error) => {
  throw error;
});
process.once('SIGTERM', () => {
  server.close();
  stack.close({ graceful: false });
});
console.log(`ready tun=${values.tun} pid=${process.pid}`);
