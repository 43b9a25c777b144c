/** What socket calls return in odd states: our sockets against a table, and the table against Linux where python3 can ask it. */

import { spawnSync } from 'node:child_process';
import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { createStack } from '../../lib/stack.ts';
import { CallChannel } from '../channel/call-channel.ts';
import { Runner } from './scenario-runner.ts';
import { python, scenarios, stepsOf } from './scenarios.ts';

for (const across of [false, true]) {
  for (const scenario of scenarios) {
    t.test(`${scenario.name}${across ? ', from an application' : ''}`, (t) => {
      const stack = createStack({
        link: new PacketLink({ send: () => {} }), addresses: ['10.90.0.2/24'], clock: new VirtualClock(1_000_000),
        random: new SeededRandom(3),
      });
      const runner = new Runner(across ? new CallChannel({ provider: stack, udp: null, echo: null }).client : stack);
      for (const [operation, want] of stepsOf(scenario)) t.equal(runner.run(operation), want, `${operation} gives ${want}`);
      for (const socket of runner.sockets.values()) socket.abort();
      void stack.close({ graceful: false });
      t.equal(stack.memory.freeBlocks, stack.memory.blockCount, 'every block is back');
      t.end();
    });
  }
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
