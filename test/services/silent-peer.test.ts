/** A peer of a service that goes away without a word is found out, in virtual time. */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { discard } from '../../lib/services/discard.ts';
import { echo } from '../../lib/services/echo.ts';
import { AF_INET, POLLOUT } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';

for (const service of [echo, discard]) {
  t.test(`${service.name}: its connection does not stay for ever`, async (t) => {
    const clock = new VirtualClock();
    const [left, right] = createMemoryPair({ clock });
    const client = createStack({ clock, random: new SeededRandom(1), link: left, addresses: ['10.0.0.1/24'] });
    const server = createStack({ clock, random: new SeededRandom(2), link: right, addresses: ['10.0.0.2/24'] });
    const running = await service.start(server, service.defaultPort);
    t.teardown(() => running.close(false));
    const socket = client.socket(AF_INET) as BsdSocket;
    socket.connect('10.0.0.2', service.defaultPort);
    t.ok(clock.runUntil(() => (socket.poll() & POLLOUT) !== 0, 1e6));
    clock.advance(600e6);
    t.equal(server.tcp.connections, 1, 'an idle peer that answers is kept');
    left.close();
    clock.advance(240e6);
    t.equal(server.tcp.connections, 0, 'one that is gone is not');
  });
}
