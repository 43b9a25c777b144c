/**
 * UDP in the shape of `node:dgram`: two stacks in one process, no privileges. One sends back in capitals
 * what the other says; then it speaks to a port where nobody listens, and hears of it by ICMP.
 *
 *     node --import=tsx examples/udp.ts
 */

import { once } from 'node:events';
// In a project of yours: import { createMemoryPair, createStack } from 'tcpu';
import { createMemoryPair, createStack } from '../lib/index.ts';

const [left, right] = createMemoryPair();
const client = createStack({ link: left, addresses: ['fd00::1/64'] });
const server = createStack({ link: right, addresses: ['fd00::2/64'] });

const service = server.dgram.createSocket('udp6', (message, from) => {
  service.send(message.toString().toUpperCase(), from.port, from.address);
});
service.bind(4000);
await once(service, 'listening');

const socket = client.dgram.createSocket('udp6');
socket.send('hello over there', 4000, 'fd00::2');
const [answer, from] = await once(socket, 'message') as [Buffer, { address: string; port: number }];
console.log(`${from.address} port ${from.port}: ${answer.toString()}`);

socket.send('is anybody there?', 4001, 'fd00::2');
const [error] = await once(socket, 'icmpError') as [NodeJS.ErrnoException];
console.log(`port 4001: ${error.code}`);

socket.close();
service.close();
await client.close();
await server.close();
