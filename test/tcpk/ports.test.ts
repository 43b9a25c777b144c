/**
 * Ports are one set for all (2.1 of the report): those of applications with a TCP of their own, and those of
 * the kernel-style TCP. Who may bind to what beside whom, who may not at all, and how many one may have.
 */

import t from 'tap';
import { attach } from '../../lib/attach.ts';
import { EACCES, EADDRINUSE, EADDRNOTAVAIL, EBADF, EINVAL, EMFILE, ENETUNREACH } from '../../lib/errno.ts';
import { EPHEMERAL_COUNT, EPHEMERAL_FIRST, EPHEMERAL_LAST } from '../../lib/kernel/ports.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket, SocketProvider } from '../../lib/socket.ts';
import { ALSO4, OURS4, OURS6, PEER4, PEER6, SYN, World } from './world.ts';

interface Choices {
  v6only?: boolean;
  reuseAddress?: boolean;
  reusePort?: boolean;
}

/** Two applications and the kernel-style TCP of one stack: whoever it is, a port is had in the same way. */
async function hosts(world: World): Promise<[name: string, host: SocketProvider][]> {
  const one = await attach({ stack: world.stack, random: new SeededRandom(2) });
  const other = await attach({ stack: world.stack, random: new SeededRandom(3) });
  return [['one application', one], ['another', other], ['the kernel-style TCP', world.stack]];
}

function socket(host: SocketProvider, address: string, choices: Choices): BsdSocket {
  const made = host.socket(address.includes(':') ? AF_INET6 : AF_INET, 1, 0);
  if (typeof made === 'number') throw new Error(`socket: ${made}`);
  if (choices.v6only) made.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (choices.reuseAddress) made.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  if (choices.reusePort) made.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1);
  return made;
}

const ANY4 = '0.0.0.0';
const ANY6 = '::';

t.test('who is first has the port, whoever is second', async (t) => {
  const world = new World();
  const list = await hosts(world);
  /** Bound by the first, asked for by the second; whether they meet. */
  const cases: [string, Choices, string, Choices, boolean][] = [
    [ANY4, {}, ANY4, {}, true],
    [ANY4, {}, OURS4, {}, true],
    [OURS4, {}, ANY4, {}, true],
    [OURS4, {}, OURS4, {}, true],
    [OURS4, {}, ALSO4, {}, false],
    [ANY6, {}, ANY4, {}, true],
    [ANY4, {}, ANY6, {}, true],
    [ANY6, { v6only: true }, ANY4, {}, false],
    [ANY4, {}, ANY6, { v6only: true }, false],
    [ANY6, {}, OURS4, {}, true],
    [OURS6, {}, ANY4, {}, false],
    [OURS6, {}, ANY6, { v6only: true }, true],
    [OURS6, {}, OURS4, {}, false],
    [`::ffff:${OURS4}`, {}, OURS4, {}, true],
    // One who asks for reuse alone gets nothing by it.
    [ANY4, { reusePort: true }, ANY4, {}, true],
    [ANY4, {}, ANY4, { reusePort: true }, true],
    [ANY4, { reuseAddress: true }, ANY4, {}, true],
    [ANY4, { reusePort: true }, ANY4, { reusePort: true }, false],
    [ANY6, { reusePort: true }, OURS4, { reusePort: true }, false],
    [ANY4, { reusePort: true }, ANY4, { reuseAddress: true }, true],
  ];
  const wrong: string[] = [];
  for (const [firstName, first] of list) {
    for (const [secondName, second] of list) {
      if (first === second) continue;
      for (const [a, aChoices, b, bChoices, meet] of cases) {
        const held = socket(first, a, aChoices);
        const asked = socket(second, b, bChoices);
        const bound = held.bind(a, 8000);
        const got = asked.bind(b, 8000);
        const what = `${firstName} ${a} ${JSON.stringify(aChoices)}, then ${secondName} ${b} ${JSON.stringify(bChoices)}`;
        if (bound !== 0) wrong.push(`${what}: the first gets ${bound}`);
        if (got !== (meet ? -EADDRINUSE : 0)) wrong.push(`${what}: ${got}`);
        // It does not depend on who listens; and a failed bind leaves nothing behind.
        held.close();
        const again = socket(second, b, bChoices);
        if (meet && again.bind(b, 8000) !== 0) wrong.push(`${what}: not free again`);
        again.close();
        asked.close();
        world.step();
      }
    }
  }
  t.same(wrong, []);
  t.equal(world.tcpk.table.bound, 0);
  t.equal(world.tcpk.table.usersOf(8000), 0);
  t.notOk(world.stack.ports.bindings.inUse(8000));
  world.close();
});

t.test('SO_REUSEADDR: within one application, as long as nobody listens; then who listens has it', async (t) => {
  const world = new World();
  const list = await hosts(world);
  for (const [firstName, first] of list) {
    for (const [secondName, second] of list) {
      const name = `${firstName}, ${secondName}`;
      const reuse = { reuseAddress: true };
      const one = socket(first, ANY4, reuse);
      const two = socket(second, ANY4, reuse);
      if (first !== second) {
        // Who is bound can take flows of the port: nobody gets between a port and another application's connections.
        t.same([one.bind(ANY4, 8000), two.bind(ANY4, 8000)], [0, -EADDRINUSE], `${name}: only the first is bound`);
        for (const s of [one, two]) s.close();
        continue;
      }
      t.same([one.bind(ANY4, 8000), two.bind(ANY4, 8000)], [0, 0], `${name}: both are bound`);
      t.equal(two.listen(1), 0, `${name}: the second listens`);
      t.equal(one.listen(1), -EADDRINUSE, `${name}: the first cannot any more`);
      const three = socket(first, OURS4, reuse);
      t.equal(three.bind(OURS4, 8000), -EADDRINUSE, `${name}: nor is it to be had`);
      // What comes goes to the listener, although the first was there before.
      world.packets();
      world.receive({ srcPort: 5000, dstPort: 8000, seq: 77, flags: SYN });
      t.same(world.out().map((o) => [o.flags, o.ack]), [[0x12, 78]], `${name}: SYN-ACK`);
      for (const s of [one, two, three]) s.close();
      world.clock.advance(100_000);
      world.packets();
    }
  }
  world.close();
});

t.test('SO_REUSEPORT: connections are spread over all who listen', async (t) => {
  const world = new World();
  const list = await hosts(world);
  const listeners = list.map(([, host]) => {
    const one = socket(host, ANY4, { reusePort: true });
    t.equal(one.bind(ANY4, 8000), 0);
    t.equal(one.listen(1000), 0);
    return one;
  });
  const outsider = socket(list[0]![1], ANY4, {});
  t.equal(outsider.bind(ANY4, 8000), -EADDRINUSE, 'one who does not ask for it');
  const count = (n: number): number[] => {
    for (let i = 0; i < n; i++) {
      const srcPort = 20_000 + i;
      world.receive({ srcPort, dstPort: 8000, seq: 100, flags: SYN, window: 1000 });
      const answers = world.out();
      if (answers.length !== 1 || answers[0]!.flags !== 0x12) throw new Error(`connection ${i}: ${answers.map((o) => o.flags).join()}`);
      // The SYN again finds the same one.
      world.receive({ srcPort, dstPort: 8000, seq: 101, ack: answers[0]!.seq + 1, flags: 0x10 });
    }
    world.step();
    return listeners.map((one) => {
      let accepted = 0;
      for (let s = one.accept(); typeof s !== 'number'; s = one.accept()) {
        accepted++;
        s.abort();
      }
      return accepted;
    });
  };
  const shares = count(600);
  t.equal(shares.reduce((a, b) => a + b), 600, 'each to one');
  t.ok(shares.every((n) => Math.abs(n - 200) < 60), shares.join(', '));
  world.clock.advance(1000);
  world.packets();
  listeners[1]!.close();
  world.step();
  const two = count(300);
  t.ok(two[1]! <= 0 && Math.abs(two[0]! - 150) < 50 && Math.abs(two[2]! - 150) < 50, `one leaves: ${two.join(', ')}`);
  world.close();
});

t.test('a listener of the kernel-style TCP at another address keeps nothing from an application', async (t) => {
  const world = new World();
  const [[, app]] = await hosts(world) as [[string, SocketProvider]];
  const mine = socket(app, OURS4, { reusePort: true });
  const kernel = socket(world.stack, ALSO4, { reusePort: true });
  t.same([mine.bind(OURS4, 8000), mine.listen(100), kernel.bind(ALSO4, 8000), kernel.listen(100)], [0, 0, 0, 0]);
  for (let i = 0; i < 40; i++) {
    for (const destination of [OURS4, ALSO4]) {
      world.receive({ srcPort: 3000 + i, dstPort: 8000, seq: 100, flags: SYN, destination });
      const [answer, ...more] = world.out();
      if (answer === undefined || more.length > 0 || answer.flags !== 0x12) t.fail(`${destination}: flags ${answer?.flags}`);
    }
  }
  t.equal(world.stack.tcp.connections, 40);
  t.equal(world.tcpk.table.flows, 40);
  world.close();
});

t.test('ephemeral ports of bind and connect are nobody else\'s', async (t) => {
  const world = new World();
  const list = await hosts(world);
  const sockets: BsdSocket[] = [];
  const bound = new Set<number>();
  const flows = new Set<string>();
  let order = 0;
  for (let i = 0; i < 900; i++) {
    const [name, host] = list[i % 3]!;
    if (i % 2 === 0) {
      const s = socket(host, ANY4, {});
      if (s.bind('', 0) !== 0) throw new Error(name);
      const { port } = s.getsockname()!;
      if (port < EPHEMERAL_FIRST || port > EPHEMERAL_LAST || bound.has(port)) t.fail(`${name}: port ${port}`);
      bound.add(port);
      sockets.push(s);
    } else {
      const s = socket(host, ANY4, {});
      if (s.connect(PEER4, 80 + (order++ % 3)) !== -115) throw new Error(`${name}: connect`);
      const { port, address } = s.getsockname()!;
      const flow = `${address}:${port} ${80 + ((order - 1) % 3)}`;
      if (flows.has(flow) || bound.has(port)) t.fail(`${name}: flow ${flow}`);
      flows.add(flow);
      sockets.push(s);
    }
  }
  // What left shows the same: no two SYNs of one flow, all from different ports or to different ports.
  const syns = world.out().filter((o) => o.flags === SYN).map((o) => `${o.srcPort} ${o.dstPort}`);
  t.equal(syns.length, 450);
  t.equal(new Set(syns).size, 450);
  for (const s of sockets) s.abort();
  world.step();
  t.equal(world.tcpk.table.flows, 0);
  world.close();
});

t.test('all ephemeral ports are in use to one destination', { timeout: 60_000 }, async (t) => {
  const world = new World({ applications: { shared: false, windowBytes: 32 << 20, maxFlows: 65_536 } });
  const h = world.attach({ sizes: { rxRing: 1 << 20 } });
  const ports = new Set<number>();
  for (let i = 0; i < EPHEMERAL_COUNT; i++) {
    const port = h.connect(i, PEER4, 80);
    if (port < EPHEMERAL_FIRST || port > EPHEMERAL_LAST || ports.has(port)) throw new Error(`connection ${i} gets ${port}`);
    ports.add(port);
  }
  t.equal(h.connect(EPHEMERAL_COUNT, PEER4, 80), -EADDRNOTAVAIL);
  t.ok(h.connect(EPHEMERAL_COUNT, PEER4, 81) > 0, 'another destination');
  const other = socket(world.stack, ANY4, {});
  t.equal(other.connect(PEER4, 80), -EADDRNOTAVAIL, 'nor for the kernel-style TCP');
  h.close(0).flush();
  t.equal(other.connect(PEER4, 80), -115, 'one is free again');
  world.close();
});

t.test('ports below 1024 are for those who may', async (t) => {
  const world = new World();
  const h = world.attach({ privileged: false });
  for (const port of [1, 80, 1023]) {
    for (const address of ['', ANY4, OURS4, OURS6]) t.equal(h.bind(address, port), -EACCES, `${address} ${port}`);
    t.equal(h.bind('', port, { reusePort: true, reuseAddress: true, v6only: true }), -EACCES);
  }
  const high = h.bind(OURS4, 1024);
  t.ok(high >= 0);
  for (let i = 0; i < 200; i++) {
    const binding = h.bind('', 0);
    if (binding < 0 || h.result(1) < 1024) t.fail(`port 0 gives ${h.result(1)}`);
    h.unbind(binding);
  }
  // No other way leads to one.
  t.equal(h.listen(99), -EBADF);
  t.ok(h.connect(3, PEER4, 80) >= 1024);
  h.open(5, OURS4, 80, PEER4, 5000).sendTo(OURS4, PEER4, { srcPort: 80, dstPort: 5000 }).flush();
  t.equal(h.app.counters.Violations, 2);
  t.equal(world.out().length, 0);
  const root = world.attach();
  t.ok(root.bind(OURS4, 80) >= 0);
  world.close();
});

t.test('calls that ask for what cannot be', async (t) => {
  const world = new World();
  const h = world.attach();
  t.equal(h.bind('10.0.0.77', 8000), -EADDRNOTAVAIL, 'not our address');
  t.equal(h.bind('fd00::77', 8000), -EADDRNOTAVAIL);
  t.equal(h.bind('10.0.0.255', 8000), -EADDRNOTAVAIL, 'the broadcast address');
  t.equal(h.bind('224.0.0.1', 8000), -EADDRNOTAVAIL);
  t.ok(h.bind('127.0.0.1', 8000) >= 0, 'the loopback address is ours');
  t.equal(h.bind(OURS4, -1), -EINVAL);
  t.equal(h.bind(OURS4, 65_536), -EINVAL);
  t.equal(h.bind(OURS4, 0x10050), -EINVAL);
  const port = 9000;
  const binding = h.bind(OURS4, port);
  t.ok(binding >= 0);
  t.equal(h.connect(0, PEER4, 0), -EINVAL, 'to port 0');
  t.equal(h.connect(0, PEER4, 65_536), -EINVAL);
  t.equal(h.connect(0, PEER4, -5), -EINVAL);
  t.equal(h.connect(0, ANY4, 80), -EINVAL);
  t.equal(h.connect(0, ANY6, 80), -EINVAL);
  t.equal(h.connect(0, '224.0.0.1', 80), -ENETUNREACH);
  t.equal(h.connect(0, '10.0.0.255', 80), -ENETUNREACH);
  t.equal(h.connect(0, PEER4, 80, binding, ALSO4), -EADDRNOTAVAIL, 'from an address that it is not bound to');
  t.equal(h.connect(0, PEER4, 80, -1, '10.0.0.77'), -EADDRNOTAVAIL, 'from an address that is not ours');
  t.ok(h.connect(0, PEER6, 80, binding) < 0, 'the other version from that binding');
  t.equal(h.connect(0, PEER4, 80, 12345), -EBADF, 'from no binding');
  t.equal(h.connect(0, PEER4, 80, -2), -EBADF);
  t.equal(h.connect(-1, PEER4, 80), -EINVAL, 'handle');
  t.equal(h.connect(65_536, PEER4, 80), -EINVAL);
  t.equal(h.connect(0x7fffffff, PEER4, 80), -EINVAL);
  t.equal(world.tcpk.table.flows, 0, 'nothing of it is kept');
  t.equal(h.connect(7, PEER4, 80, binding), port);
  t.equal(h.connect(7, PEER4, 81, binding), -EINVAL, 'the handle is in use');
  t.equal(h.connect(8, PEER4, 80, binding), -EADDRNOTAVAIL, 'the flow is in use');
  t.equal(h.unbind(-1), -EBADF);
  t.equal(h.unbind(binding), 0);
  t.equal(h.unbind(binding), -EBADF, 'twice');
  t.equal(h.listen(binding), -EBADF);
  t.equal(h.app.flow(7)?.handle, 7, 'flows outlive the binding');
  h.segment({ handle: 7, srcPort: port, dstPort: 80 }).flush();
  t.equal(world.out().length, 1);
  for (const op of [0, -1, 6, 31, 0x7fffffff, -0x80000000]) t.ok(h.call(op, 1, 2, 3) < 0, `call ${op}`);
  t.equal(h.call(), -EINVAL, 'no call at all');
  t.equal(h.channel.call(new Int32Array(100), 100), -EINVAL, 'too many words');
  // What was not sent counts as nothing, not as what the call before left there.
  h.bind(OURS4, 9100);
  t.equal(h.channel.call(Int32Array.of(1, 0, 0, 0xffff), 4) >= 0, true);
  t.equal(h.app.counters.Violations, 0);
  world.close();
});

t.test('so many bindings and flows, and no more', { timeout: 60_000 }, async (t) => {
  const world = new World({ applications: { shared: false, windowBytes: 32 << 20, maxFlows: 100 } });
  const h = world.attach();
  const bindings: number[] = [];
  for (let result = h.bind(OURS4, 0); result >= 0; result = h.bind(OURS4, 0)) bindings.push(result);
  t.equal(bindings.length, 4096);
  t.equal(h.bind(OURS4, 0), -EMFILE);
  t.equal(h.bind(OURS4, 8000), -EMFILE);
  t.equal(new Set(bindings).size, 4096, 'each has a number of its own');
  h.unbind(bindings[17]!);
  t.ok(h.bind(OURS4, 0) >= 0);

  for (let i = 0; i < 100; i++) if (h.connect(i, PEER4, 80) < 0) throw new Error(`flow ${i}`);
  t.equal(h.connect(100, PEER4, 80), -EMFILE);
  t.equal(h.connect(-1, PEER4, 80), -EMFILE);
  h.close(50).flush();
  t.equal(h.connect(100, PEER4, 80), -EINVAL, 'handles end where flows end');
  t.ok(h.connect(50, PEER4, 80) > 0);
  t.equal(h.app.flowCount, 100);
  // Others have their own.
  t.ok(world.attach().connect(0, PEER4, 80) > 0);
  h.channel.close();
  world.step();
  t.equal(world.tcpk.table.bound, 0);
  t.equal(world.tcpk.table.flows, 1);
  world.close();
});
