/** What a stack says to options that cannot be, and to those who ask for sockets when it is closed. */

import { once } from 'node:events';
import t from 'tap';
import { VirtualClock } from '../lib/clock.ts';
import { ENETDOWN } from '../lib/errno.ts';
import { createMemoryPair } from '../lib/link/memory-pair.ts';
import { AF_INET } from '../lib/socket.ts';
import type { BsdSocket } from '../lib/socket.ts';
import { createStack } from '../lib/stack.ts';
import type { StackOptions } from '../lib/stack.ts';

t.test('options that are missing are named', async (t) => {
  const [link] = createMemoryPair();
  const make = (options: unknown) => () => createStack(options as StackOptions);
  t.throws(make(undefined), { name: 'RangeError', message: /needs a link/ });
  t.throws(make({ addresses: ['10.0.0.1/24'] }), { name: 'RangeError', message: /needs a link/ });
  t.throws(make({ link }), { name: 'RangeError', message: /needs addresses/ });
  t.throws(make({ link, addresses: '10.0.0.1/24' }), { name: 'RangeError', message: /needs addresses/ });
  t.throws(make({ link, addresses: [] }), { name: 'RangeError', message: /at least one address/ });
});

t.test('a closed stack gives no sockets, and says so', { timeout: 10_000 }, async (t) => {
  const [link] = createMemoryPair();
  const stack = createStack({ link, addresses: ['10.0.0.1/24'] });
  await stack.close();
  t.equal(stack.socket(AF_INET), -ENETDOWN);
  const [refused] = await once(stack.net.connect(7, '10.0.0.2'), 'error');
  t.match(refused, { code: 'ENETDOWN', syscall: 'connect' });
  const [unheard] = await once(stack.net.createServer().listen(7), 'error');
  t.match(unheard, { code: 'ENETDOWN', syscall: 'listen' });
});

t.test('a link that goes down while the stack closes ends it once', async (t) => {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair({ clock, latencyUs: 100 });
  const a = createStack({ link: left, addresses: ['10.0.0.1/24'], clock, memory: 4 << 20 });
  const b = createStack({ link: right, addresses: ['10.0.0.2/24'], clock, memory: 4 << 20 });
  const listener = b.socket(AF_INET) as BsdSocket;
  listener.bind('', 80);
  listener.listen(1);
  const client = a.socket(AF_INET) as BsdSocket;
  client.connect('10.0.0.2', 80);
  clock.advance(1000);
  const events: string[] = [];
  a.on('down', () => events.push('down'));
  a.on('close', () => events.push('close'));
  const closed = a.close();
  a.down(new Error('gone'));
  await closed;
  clock.advance(10_000_000);
  t.same(events, ['down', 'close']);
  await b.close({ graceful: false });
});
