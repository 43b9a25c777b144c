/** Two whole stacks over a memory pair, in virtual time. */

import type { TestBase } from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import type { EchoSocket } from '../../lib/kernel/echo-socket.ts';
import type { UdpSocket } from '../../lib/kernel/udp-socket.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import type { MemoryPairOptions } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';

export const A = '10.90.0.1';
export const B = '10.90.0.2';
export const A6 = 'fd90::1';
export const B6 = 'fd90::2';

export interface TwoStacks {
  clock: VirtualClock;
  a: Stack;
  b: Stack;
}

export function twoStacks(t: TestBase & { teardown: (f: () => void) => void }, options: MemoryPairOptions = {}): TwoStacks {
  const clock = new VirtualClock(1_000_000);
  const [left, right] = createMemoryPair({ clock, ...options });
  const common = { clock, memory: 16 << 20 };
  const a = createStack({ link: left, addresses: [`${A}/24`, `${A6}/64`], random: new SeededRandom(1), ...common });
  const b = createStack({ link: right, addresses: [`${B}/24`, `${B6}/64`], random: new SeededRandom(2), ...common });
  t.teardown(() => {
    void a.close({ graceful: false });
    void b.close({ graceful: false });
  });
  return { clock, a, b };
}

export function udpSocket(stack: Stack, domain = AF_INET): UdpSocket {
  const socket = stack.udp.socket(domain);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

export function echoSocket(stack: Stack, domain = AF_INET): EchoSocket {
  const socket = stack.echo.open(domain);
  if (typeof socket === 'number') throw new Error(`open: ${socket}`);
  return socket;
}
