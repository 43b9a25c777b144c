// An application of a stack in another process, with the small services on TCP: TCPU, TCPU in a worker thread, or the stack's
// own TCP across the boundary. Runs on the built package, until SIGTERM. Exits with 3 when this build does not have what was
// asked for: attach() would run something else without a word.
//
//     node bench/application.mjs --socket PATH --serve echo@7,discard@9 [--tcp tcpu|kernel] [--thread]

import { parseArgs } from 'node:util';
import { attach } from '../dist/lib/attach.js';
import { queryStack } from '../dist/lib/channel/process-channel.js';
import { parseServeList, startServices } from '../dist/lib/services/index.js';

const { values } = parseArgs({
  options: {
    socket: { type: 'string' }, serve: { type: 'string' }, tcp: { type: 'string', default: 'tcpu' },
    thread: { type: 'boolean', default: false }, window: { type: 'string', default: '{}' },
  },
});

/** Ends a process that would measure something else than what its column says. */
function missing(what) {
  console.error(`${what} is not in this build`);
  process.exit(3);
}

let workers = 0;
process.on('worker', () => workers++);

const application = await attach({
  socket: values.socket, tcp: values.tcp, name: 'bench', window: JSON.parse(values.window), ...(values.thread ? { thread: true } : {}),
});
if (values.thread && workers === 0) missing('attach({ thread: true })');

/** The services listen on UDP as well; nothing here is measured over UDP, and it may not be there. */
const noDatagrams = { socket: () => ({ onmessage: null, bind: () => 0, close() {} }) };
const host = {
  net: application.net, udp: noDatagrams, clock: application.clock, addresses: application.addresses,
  socket: (domain, type, protocol) => application.socket(domain, type, protocol),
  connections: () => application.connections(),
  counters: () => application.counters(),
};
const running = await startServices(host, parseServeList(values.serve));

const listeners = (await queryStack(values.socket, 'connections')).filter((one) => one.state === 'LISTEN');
if (!listeners.every((one) => one.tcp === values.tcp)) missing(`attach({ tcp: '${values.tcp}' })`);

application.once('down', (reason) => {
  console.error(`the stack is gone: ${reason}`);
  process.exit(1);
});
process.once('SIGTERM', async () => {
  for (const service of running) service.close(false);
  await application.close({ graceful: false });
  // Whatever a worker still does: the profile of the main thread is written at the exit.
  process.exit(0);
});
console.log(`ready pid=${process.pid}`);
