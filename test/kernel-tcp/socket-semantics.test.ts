/** What socket calls return in odd states: our sockets against a table, and the table against Linux where python3 can ask it. */

import { spawnSync } from 'node:child_process';
import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { errnoName } from '../../lib/errno.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, MSG_PEEK, SO_ERROR, SO_LINGER, SO_REUSEADDR, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import { python, scenarios, stepsOf } from './scenarios.ts';

const ADDRESS: Record<string, string> = { any: '0.0.0.0', own: '10.90.0.2', foreign: '192.0.2.77', hole: '10.90.0.77' };

class Runner {
  readonly sockets = new Map<string, BsdSocket>();
  readonly ports = new Map<string, number>();
  readonly stack: Stack;
  readonly #bytes = new Uint8Array(100);

  constructor(stack: Stack) {
    this.stack = stack;
  }

  run(line: string): string {
    const [op, name, ...rest] = line.split(' ') as [string, string, ...string[]];
    const result = this.#do(op, name, rest);
    if (typeof result === 'string') return result;
    return result < 0 ? errnoName(-result) : ['send', 'recv', 'peek', 'poll', 'get'].includes(op) ? String(result) : 'ok';
  }

  #port(text: string): number {
    return text.startsWith('@') ? this.ports.get(text.slice(1))! : Number(text);
  }

  #keep(name: string, made: BsdSocket | number): number {
    if (typeof made === 'number') return made;
    this.sockets.set(name, made);
    return 0;
  }

  #do(op: string, name: string, rest: string[]): number | string {
    if (op === 'socket') return this.#keep(name, this.stack.socket(AF_INET));
    if (op === 'accept') return this.#keep(name, this.sockets.get(rest[0]!)!.accept());
    const s = this.sockets.get(name)!;
    const n = Number(rest[0]);
    switch (op) {
      case 'bind': {
        const result = s.bind(ADDRESS[rest[0]!]!, this.#port(rest[1]!));
        if (result === 0) this.ports.set(name, s.getsockname()!.port);
        return result;
      }
      case 'listen': return s.listen(n);
      case 'connect': return s.connect(ADDRESS[rest[0]!]!, this.#port(rest[1]!));
      case 'send': return s.send(this.#bytes, 0, n);
      case 'recv': return s.recv(this.#bytes, 0, n);
      case 'peek': return s.recv(this.#bytes, 0, n, MSG_PEEK);
      case 'shutdown': return s.shutdown(n);
      case 'close': return s.close();
      case 'getpeername': return s.getpeername() === null ? 'ENOTCONN' : 'ok';
      case 'error': return -(s.getsockopt(SOL_SOCKET, SO_ERROR) as number);
      case 'reuseaddr': return s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
      case 'linger': return s.setsockopt(SOL_SOCKET, SO_LINGER, n);
      case 'set': return s.setsockopt(n, Number(rest[1]), Number(rest[2]));
      case 'get': return s.getsockopt(n, Number(rest[1])) as number;
      case 'poll': return s.poll();
      default: throw new Error(op);
    }
  }
}

for (const scenario of scenarios) {
  t.test(scenario.name, (t) => {
    const stack = createStack({
      link: new PacketLink({ send: () => {} }), addresses: ['10.90.0.2/24'], clock: new VirtualClock(1_000_000),
      random: new SeededRandom(3),
    });
    const runner = new Runner(stack);
    const done: string[] = [];
    for (const [operation, want] of stepsOf(scenario)) {
      const got = runner.run(operation);
      done.push(operation);
      t.equal(got, want, `${operation} gives ${want}`);
    }
    for (const socket of runner.sockets.values()) socket.abort();
    void stack.close({ graceful: false });
    t.equal(stack.memory.freeBlocks, stack.memory.blockCount, 'every block is back');
    t.end();
  });
}

t.test('the table is what Linux does', (t) => {
  // A namespace of its own, gone with the process: loopback, and a device that swallows what is sent to 10.99.0.2.
  const setUp = 'ip link set lo up && ip link add hole type veth peer name swallow && ip addr add 10.99.0.1/24 dev hole'
    + ' && ip link set hole up && ip link set swallow up && ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev hole';
  const child = spawnSync('unshare', ['-rn', 'sh', '-c', `${setUp} && exec python3 -c "$SCRIPT"`], {
    input: JSON.stringify(scenarios.map((scenario) => stepsOf(scenario).map(([operation]) => operation))),
    env: { ...process.env, SCRIPT: python }, encoding: 'utf8', timeout: 60_000,
  });
  if (child.error !== undefined || child.status !== 0) {
    const reason = child.error?.message ?? child.stderr.trim();
    // Without a namespace, python3 or a veth pair Linux cannot be asked; say so loudly.
    t.comment(`LINUX WAS NOT ASKED: ${reason}`);
    t.pass(`Linux was not asked: ${reason}`, { skip: reason });
    t.end();
    return;
  }
  const results = JSON.parse(child.stdout) as string[][];
  scenarios.forEach((scenario, i) => {
    stepsOf(scenario).forEach(([operation, want], k) => {
      t.equal(results[i]![k], want, `${scenario.name}: ${operation} gives ${want}`);
    });
  });
  t.end();
});
