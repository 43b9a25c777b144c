/**
 * The table of figure 2: which application a segment belongs to. The tries one by one, then all against a
 * model that goes through a list, then how long a lookup takes and what it allocates.
 */

import fc from 'fast-check';
import t from 'tap';
import { IpPacket } from '../../lib/ip/packet.ts';
import { PacketBatch } from '../../lib/link/link.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AppFlow } from '../../lib/tcpk/app-flow.ts';
import type { Application } from '../../lib/tcpk/application.ts';
import { Binding } from '../../lib/tcpk/binding.ts';
import { PortTable } from '../../lib/tcpk/port-table.ts';
import { isMapped, parseAddress } from '../../lib/wire/address.ts';
import type { AddressWords } from '../../lib/wire/address.ts';
import { allocated } from '../alloc/allocated.ts';

const ANY4 = '::ffff:0.0.0.0';
const ANY6 = '::';
/** The table never looks into it. */
const APP = {} as Application;

function words(text: string): AddressWords {
  const w = parseAddress(text);
  if (w === null) throw new Error(text);
  return w;
}

interface Choices {
  v6only?: boolean;
  reusePort?: boolean;
  listening?: boolean;
}

function binding(address: string, port: number, { v6only = false, reusePort = false, listening = true }: Choices = {}): Binding {
  const { w0, w1, w2, w3 } = words(address);
  const one = new Binding(APP, 0, w0, w1, w2, w3, v6only, false, reusePort);
  one.port = port;
  one.listening = listening;
  return one;
}

function flow(local: string, localPort: number, remote: string, remotePort: number): AppFlow {
  const one = new AppFlow(APP, 0);
  const l = words(local);
  const r = words(remote);
  Object.assign(one.ip, { l0: l.w0, l1: l.w1, l2: l.w2, l3: l.w3, r0: r.w0, r1: r.w1, r2: r.w2, r3: r.w3 });
  one.ports = (localPort << 16) | remotePort;
  return one;
}

const packet = new IpPacket(new PacketBatch(new Uint8Array(64), 1));

/** Fills the packet; returns the ports as the table wants them. */
function segment(local: string, localPort: number, remote: string, remotePort: number): number {
  const l = words(local);
  const r = words(remote);
  const version = isMapped(l.w0, l.w1, l.w2) ? 4 : 6;
  Object.assign(packet, { version, dst0: l.w0, dst1: l.w1, dst2: l.w2, dst3: l.w3, src0: r.w0, src1: r.w1, src2: r.w2, src3: r.w3 });
  return (localPort << 16) | remotePort;
}

/** Who gets it: what TCPK asks. */
function owner(table: PortTable, local: string, localPort: number, remote: string, remotePort: number): AppFlow | Binding | null {
  const ports = segment(local, localPort, remote, remotePort);
  return table.findFlow(packet, ports) ?? table.findBinding(packet, ports);
}

t.test('the tries, in their order', (t) => {
  const table = new PortTable(1);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), null, 'nobody');
  const any6 = binding(ANY6, 80);
  table.addBinding(any6);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), any6, ':: takes IPv4, too');
  const any4 = binding(ANY4, 80);
  table.addBinding(any4);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), any4, '0.0.0.0 goes first');
  const exact = binding('10.0.0.1', 80);
  table.addBinding(exact);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), exact, 'the address goes before any');
  t.equal(owner(table, '10.0.0.9', 80, '10.0.0.2', 5000), any4, 'another address');
  const connected = flow('10.0.0.1', 80, '10.0.0.2', 5000);
  t.ok(table.addFlow(connected));
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), connected, 'a connected flow goes before all');
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), connected, 'and again, as the last one hit');
  for (const [address, port] of [['10.0.0.2', 5001], ['10.0.0.3', 5000], ['10.0.0.2', 80]] as const) {
    t.equal(owner(table, '10.0.0.1', 80, address, port), exact, `not from ${address} ${port}`);
  }
  t.equal(owner(table, '10.0.0.9', 80, '10.0.0.2', 5000), any4, 'nor from another local address');
  t.equal(owner(table, '10.0.0.1', 81, '10.0.0.2', 5000), null, 'nor another port');
  t.equal(table.addFlow(flow('10.0.0.1', 80, '10.0.0.2', 5000)), false, 'a flow has one owner');
  t.equal(owner(table, 'fd00::1', 80, 'fd00::2', 5000), any6, 'IPv6');
  const exact6 = binding('fd00::1', 80);
  table.addBinding(exact6);
  t.equal(owner(table, 'fd00::1', 80, 'fd00::2', 5000), exact6);

  table.removeFlow(connected);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), exact, 'the last one hit is forgotten when it goes');
  table.removeFlow(connected);
  table.removeBinding(exact);
  table.removeBinding(exact);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), any4);
  table.removeBinding(any4);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), any6);
  table.removeBinding(any6);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), null);
  t.equal(owner(table, 'fd00::1', 80, 'fd00::2', 5000), exact6);
  table.removeBinding(exact6);
  t.same([table.flows, table.bound], [0, 0]);
  t.end();
});

t.test('IPv6 only is not for IPv4', (t) => {
  const table = new PortTable(1);
  const only = binding(ANY6, 80, { v6only: true, reusePort: true });
  table.addBinding(only);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), null);
  t.equal(owner(table, 'fd00::1', 80, 'fd00::2', 5000), only);
  // One of each on one place of the table, in both orders.
  const dual = binding(ANY6, 80, { reusePort: true });
  table.addBinding(dual);
  for (let port = 5000; port < 5050; port++) t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', port), dual, 'the one that takes IPv4');
  table.removeBinding(only);
  table.addBinding(only);
  for (let port = 5000; port < 5050; port++) t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', port), dual, 'whoever came first');
  const six = new Set(Array.from({ length: 50 }, (_, i) => owner(table, 'fd00::1', 80, 'fd00::2', 5000 + i)));
  t.equal(six.size, 2, 'IPv6 is for both');
  t.end();
});

t.test('who is bound but does not listen keeps nothing from one who does', (t) => {
  const table = new PortTable(1);
  const client = binding('10.0.0.1', 80, { listening: false });
  table.addBinding(client);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), client, 'as long as there is nobody else');
  const other = binding(ANY4, 80, { listening: false });
  table.addBinding(other);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), client, 'the nearest of those who do not listen');
  const any6 = binding(ANY6, 80);
  table.addBinding(any6);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), any6);
  const any4 = binding(ANY4, 80, { reusePort: true });
  table.addBinding(any4);
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), any4, 'of two on one place likewise');
  any4.listening = false;
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), any6);
  client.listening = true;
  t.equal(owner(table, '10.0.0.1', 80, '10.0.0.2', 5000), client);
  t.end();
});

t.test('SO_REUSEPORT: flows are spread over those who listen, each always to the same', (t) => {
  for (const [local, remote] of [['10.0.0.1', '10.0.0.'], ['fd00::1', 'fd00::']] as const) {
    const table = new PortTable(7);
    const members = Array.from({ length: 4 }, () => binding(local.includes(':') ? ANY6 : ANY4, 80, { reusePort: true }));
    for (const one of members) table.addBinding(one);
    const flows = Array.from({ length: 1000 }, (_, i): [string, number] => [`${remote}${2 + (i % 7)}`, 30_000 + i * 3]);
    const owners = flows.map(([address, port]) => owner(table, local, 80, address, port));
    const shares = members.map((one) => owners.filter((o) => o === one).length);
    // 250 each; five standard deviations.
    t.ok(shares.every((n) => Math.abs(n - 250) < 70), `${local}: ${shares.join(', ')}`);
    t.ok(flows.every(([address, port], i) => owner(table, local, 80, address, port) === owners[i]), 'the same again');

    // One client, successive ports: what one busy client looks like.
    const clients = members.map(() => 0);
    for (let port = 40_000; port < 41_000; port++) clients[members.indexOf(owner(table, local, 80, `${remote}2`, port) as Binding)]!++;
    t.ok(clients.every((n) => Math.abs(n - 250) < 70), `successive ports: ${clients.join(', ')}`);

    members[1]!.listening = false;
    const three = flows.map(([address, port]) => owner(table, local, 80, address, port));
    t.notOk(three.includes(members[1]!), 'who does not listen gets none');
    table.removeBinding(members[2]!);
    const two = flows.map(([address, port]) => owner(table, local, 80, address, port));
    const left = [members[0]!, members[3]!].map((one) => two.filter((o) => o === one).length);
    t.equal(left[0]! + left[1]!, 1000, 'nobody else gets any');
    t.ok(Math.abs(left[0]! - 500) < 80, left.join(', '));
    for (const one of members) table.removeBinding(one);
    t.equal(owner(table, local, 80, `${remote}2`, 30_000), null);
    t.equal(table.bound, 0);
  }
  const shares = [1, 2, 3].map((seed) => {
    const table = new PortTable(seed);
    const two = [binding(ANY4, 80, { reusePort: true }), binding(ANY4, 80, { reusePort: true })];
    for (const one of two) table.addBinding(one);
    return Array.from({ length: 32 }, (_, i) => two.indexOf(owner(table, '10.0.0.1', 80, '10.0.0.2', 1000 + i) as Binding)).join('');
  });
  t.equal(new Set(shares).size, 3, 'the seed decides: nobody can choose his ports so that one gets all');
  t.end();
});

t.test('listeners of the kernel-style TCP may be among those who share, each at its place', (t) => {
  const table = new PortTable(3);
  const kernel: string[] = [];
  table.isShared = (port) => port === 80 && kernel.length > 0;
  table.sharers = (port, b0, b1, b2, b3, v4) => kernel.filter((address) => {
    const w = words(address);
    return port === 80 && w.w0 === b0 && w.w1 === b1 && w.w2 === b2 && w.w3 === b3 && !v4;
  }).length;
  const app = binding(ANY4, 80, { reusePort: true });
  table.addBinding(app);
  const share = (local: string): number => {
    let n = 0;
    for (let i = 0; i < 1000; i++) if (owner(table, local, 80, '10.0.0.2', 5000 + i) === app) n++;
    return n;
  };
  t.equal(share('10.0.0.1'), 1000);
  kernel.push(ANY4, ANY4);
  t.ok(Math.abs(share('10.0.0.1') - 333) < 70, 'a third of it');
  kernel.length = 0;
  kernel.push('10.0.0.9');
  t.equal(share('10.0.0.1'), 1000, 'one at another address has no share');
  t.equal(share('10.0.0.9'), 0, 'and at its own address it is the nearest');
  kernel[0] = ANY6;
  t.equal(share('10.0.0.1'), 1000, 'one at :: is farther away');
  app.listening = false;
  t.equal(share('10.0.0.1'), 1000, 'nobody who listens: here :: is said to be IPv6 only');
  table.sharers = (_port, b0, b1, b2, b3) => (b0 | b1 | b2 | b3) === 0 ? 1 : 0;
  t.equal(share('10.0.0.1'), 0, 'one who listens there goes before one who does not');
  t.end();
});

// ------------------------------------------------------------------------------------- the model

const LOCALS = ['10.0.0.1', '10.0.0.9', 'fd00::1', 'fd00::9'];
const BOUND = [...LOCALS, ANY4, ANY6];
const REMOTES = ['10.0.0.2', '10.0.0.3', 'fd00::2', 'fd00::3'];
const PORTS = [80, 81, 0x8050, 65_535];

function covers(b: Binding, local: AddressWords): number {
  const v4 = isMapped(local.w0, local.w1, local.w2);
  if (b.b0 === local.w0 && b.b1 === local.w1 && b.b2 === local.w2 && b.b3 === local.w3) return 3;
  if (b.b0 !== 0 || b.b1 !== 0 || b.b3 !== 0) return 0;
  if (b.b2 === 0xffff) return v4 ? 2 : 0;
  return b.b2 === 0 && !(v4 && b.v6only) ? 1 : 0;
}

/** Those who may get it. */
function candidates(
  flows: readonly AppFlow[], bindings: readonly Binding[], local: string, localPort: number, remote: string, remotePort: number,
): (AppFlow | Binding)[] {
  const l = words(local);
  const r = words(remote);
  const connected = flows.filter(({ ip, ports }) => ports === ((localPort << 16) | remotePort)
    && ip.l0 === l.w0 && ip.l2 === l.w2 && ip.l3 === l.w3 && ip.r0 === r.w0 && ip.r2 === r.w2 && ip.r3 === r.w3);
  if (connected.length > 0) return connected;
  const able = bindings.filter((b) => b.port === localPort && covers(b, l) > 0);
  const listening = able.filter((b) => b.listening);
  const pool = listening.length > 0 ? listening : able;
  const nearest = Math.max(...pool.map((b) => covers(b, l)));
  return pool.filter((b) => covers(b, l) === nearest);
}

t.test('all against a model', (t) => {
  const pick = <T>(list: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...list);
  const port = pick(PORTS);
  const ends = { l: fc.nat(1), r: fc.nat(1), v6: fc.boolean(), port, remotePort: port };
  const steps = fc.array(fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('bind' as const), address: pick(BOUND), port, v6only: fc.boolean(), listening: fc.boolean() }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('connect' as const), ...ends }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('unbind' as const), n: fc.nat(40) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('close' as const), n: fc.nat(40) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('listen' as const), n: fc.nat(40), on: fc.boolean() }) },
    { weight: 8, arbitrary: fc.record({ kind: fc.constant('ask' as const), ...ends }) },
  ), { maxLength: 120, size: 'max' });
  let found = 0;
  fc.assert(fc.property(fc.integer(), steps, (seed, list) => {
    const table = new PortTable(seed);
    const flows: AppFlow[] = [];
    const bindings: Binding[] = [];
    for (const step of list) {
      if (step.kind === 'bind') {
        const one = binding(step.address, step.port, { v6only: step.v6only, listening: step.listening, reusePort: true });
        table.addBinding(one);
        bindings.push(one);
      } else if (step.kind === 'connect' || step.kind === 'ask') {
        const [local, remote] = [LOCALS[step.l + (step.v6 ? 2 : 0)]!, REMOTES[step.r + (step.v6 ? 2 : 0)]!];
        const want = candidates(flows, bindings, local, step.port, remote, step.remotePort);
        const got = owner(table, local, step.port, remote, step.remotePort);
        if (got === null ? want.length > 0 : !want.includes(got)) {
          throw new Error(`${local}:${step.port} ${remote}:${step.remotePort}: another owner`);
        }
        if (got !== owner(table, local, step.port, remote, step.remotePort)) throw new Error('not the same again');
        if (got !== null) found++;
        if (step.kind === 'ask') continue;
        const one = flow(local, step.port, remote, step.remotePort);
        const taken = want[0] instanceof AppFlow;
        if (table.addFlow(one) === taken) throw new Error('addFlow');
        if (!taken) flows.push(one);
      } else if (step.kind === 'unbind') {
        const [one] = bindings.splice(step.n, 1);
        if (one !== undefined) table.removeBinding(one);
      } else if (step.kind === 'close') {
        const [one] = flows.splice(step.n, 1);
        if (one !== undefined) table.removeFlow(one);
      } else if (bindings[step.n] !== undefined) {
        bindings[step.n]!.listening = step.on;
      }
      if (table.flows !== flows.length) throw new Error('flows');
    }
    let visited = 0;
    table.forEachFlow(() => visited++);
    if (visited !== flows.length) throw new Error('forEachFlow');
    for (const one of flows) table.removeFlow(one);
    for (const one of bindings) table.removeBinding(one);
    if (table.flows !== 0 || table.bound !== 0) throw new Error('something is left');
    for (const p of PORTS) {
      if (owner(table, LOCALS[0]!, p, REMOTES[0]!, 80) !== null) throw new Error('somebody is left');
      if (table.usersOf(p) !== 0) throw new Error(`port ${p} counts ${table.usersOf(p)}`);
    }
  }), { numRuns: 400 });
  t.ok(found > 2000, `${found} found`);
  t.end();
});

// -------------------------------------------------------------------------------------- the cost

t.test('a lookup takes less than a microsecond, and allocates nothing', (t) => {
  const table = new PortTable(3);
  const random = new SeededRandom(4);
  const FLOWS = 10_000;
  for (let i = 0; i < FLOWS; i++) {
    table.addFlow(flow('10.0.0.1', 443, `10.1.${i >> 8}.${i & 255}`, 1024 + ((random.int32() >>> 0) % 60_000)));
  }
  table.addBinding(binding(ANY4, 443));
  for (let i = 0; i < 4; i++) table.addBinding(binding(ANY6, 8080, { reusePort: true }));
  const known: AppFlow[] = [];
  table.forEachFlow((one) => known.push(one));
  // Addresses and ports, so that looking up is all that is measured.
  const remotes = Int32Array.from(known, ({ ip }) => ip.r3);
  const ports = Int32Array.from(known, (one) => one.ports);
  const other = new SeededRandom(5);
  const order = Int32Array.from({ length: 4096 }, () => (other.int32() >>> 0) % FLOWS);
  let hits = 0;
  /** As TCPK asks. */
  const ask = (pair: number): void => {
    if (table.findFlow(packet, pair) !== null || table.findBinding(packet, pair) !== null) hits++;
  };
  const cases: [string, number, () => void][] = [
    ['the flow of the last segment', 1, () => {
      segment('10.0.0.1', 443, '10.0.0.2', 1);
      packet.src3 = remotes[0]!;
      for (let i = 0; i < 500_000; i++) if (table.findFlow(packet, ports[0]!) !== null) hits++;
    }],
    ['another flow each time', 1, () => {
      segment('10.0.0.1', 443, '10.0.0.2', 1);
      for (let i = 0; i < 500_000; i++) {
        const k = order[i & 4095]!;
        packet.src3 = remotes[k]!;
        if (table.findFlow(packet, ports[k]!) !== null) hits++;
      }
    }],
    ['a binding', 1, () => {
      segment('10.0.0.1', 443, '10.0.0.2', 1);
      for (let i = 0; i < 500_000; i++) ask((443 << 16) | 5);
    }],
    ['one of four who share a port', 1, () => {
      segment('fd00::1', 8080, 'fd00::2', 1);
      for (let i = 0; i < 500_000; i++) ask((8080 << 16) | (i & 0xffff));
    }],
    ['nobody, on a port of somebody', 0, () => {
      segment('fd00::1', 443, 'fd00::2', 1);
      for (let i = 0; i < 500_000; i++) ask((443 << 16) | 9);
    }],
    ['nobody at all', 0, () => {
      segment('10.0.0.1', 22, '10.0.0.2', 1);
      for (let i = 0; i < 500_000; i++) ask((22 << 16) | 9);
    }],
  ];
  for (const [name, hit, run] of cases) {
    run();
    let best = Infinity;
    for (let round = 0; round < 5; round++) {
      hits = 0;
      const start = process.hrtime.bigint();
      run();
      best = Math.min(best, Number(process.hrtime.bigint() - start));
      if (hits !== hit * 500_000) t.fail(`${name}: ${hits} hits`);
    }
    const millions = 500_000 / best * 1000;
    const bytes = allocated(run) / 500_000;
    t.ok(millions > 1, `${name}: ${millions.toFixed(1)} million lookups a second`);
    t.ok(bytes < 1, `${name}: ${bytes.toFixed(2)} bytes a lookup`);
  }
  t.end();
});
