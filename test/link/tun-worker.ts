/** A worker thread with a TUN device of its own: pings Linux, tells the length of the answer, and stays. */
import { parentPort } from 'node:worker_threads';

import { openTun } from '../../lib/link/tun.ts';
import { echoRequest, TestHost } from './tun-host.ts';

const tun = openTun({ name: 'worker0', hostAddresses: ['10.90.0.1/24'] });
const host = new TestHost(tun);
host.put(echoRequest('10.90.0.2', '10.90.0.1', 1, Buffer.alloc(8)), 28);
host.send();
const reply = await host.packet(() => true);
tun.ref();
parentPort!.postMessage(reply.bytes.length);
