/** Limits: what docs/LIMITS.md says is what the code has; bad ones are refused by name; an idle stack, and one after attacks, stay small. */

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createMemoryPair, createStack } from '../lib/index.ts';
import { QUARTER_OF_MEMORY, resolveLimits } from '../lib/limits.ts';
import type { Limits } from '../lib/limits.ts';
import { tcpConfig } from '../lib/tcp/config.ts';
import { heapUsed } from './fuzz/heap.ts';
import { Peer, World, writes } from './hostile/world.ts';

const document = readFileSync(fileURLToPath(new URL('../docs/LIMITS.md', import.meta.url)), 'utf8');

/** Rows of the tables below a heading, as cells. */
function rows(heading: string): string[][] {
  const from = document.indexOf(`## ${heading}\n`);
  if (from < 0) throw new Error(`no heading ${heading}`);
  const to = document.indexOf('\n## ', from + 1);
  const lines = document.slice(from, to < 0 ? undefined : to).split('\n').filter((line) => line.startsWith('| '));
  return lines.map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim())).filter((cells) => cells[0] !== 'limit' && cells[0] !== 'what');
}

const spans = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);

/** Whether a counter of this name is counted by a stack. */
function checkCounters(counters: Record<string, Record<string, number>>, cell: string, what: string): void {
  if (cell === '-') return;
  t.ok(spans(cell).length > 0, `${what} names a counter, or says that there is none`);
  for (const span of spans(cell)) {
    const [layer, name] = span.split('.') as [string, string];
    t.type(counters[layer]?.[name], 'number', `${what}: ${span} is counted`);
  }
}

t.test('the tables of docs/LIMITS.md', async (t) => {
  const [link] = createMemoryPair();
  const stack = createStack({ link, addresses: ['10.0.0.1/24'], memory: 4 << 20 });
  const counters = stack.counters();
  const defaults = resolveLimits() as unknown as Record<string, Record<string, number>>;
  const inCode = Object.entries(defaults).flatMap(([group, values]) => Object.keys(values).map((name) => `${group}.${name}`));
  const settable = rows('Limits that can be set');
  t.same(settable.map(([name]) => spans(name!)[0]), inCode, 'every limit is there, in order, and no other');
  for (const [name, byDefault, unit, counter, what] of settable as [string, string, string, string, string][]) {
    const [group, key] = spans(name)[0]!.split('.') as [string, string];
    const value = defaults[group]![key]!;
    if (value === QUARTER_OF_MEMORY) t.equal(byDefault, 'a quarter of `memory`');
    else t.equal(Number(byDefault), value, `the default of ${group}.${key}`);
    t.ok(unit.length > 0 && what.length > 0);
    checkCounters(counters, counter, name);
  }
  const config = tcpConfig() as unknown as Record<string, number>;
  for (const [name, byDefault, , counter] of rows('Limits that are options of TCP or of a socket') as [string, string, string, string][]) {
    checkCounters(counters, counter, name);
    const option = /^`tcp\.(.*)`$/.exec(name)?.[1];
    if (option === undefined) continue;
    const key = option.replace(/\.max$/, 'Max');
    t.equal(Number(byDefault), config[key], `the default of ${name}`);
  }
  for (const path of document.match(/(?:lib|test)\/[\w./-]+\w/g)!) t.ok(existsSync(fileURLToPath(new URL(`../${path}`, import.meta.url))), path);
  await stack.close({ graceful: false });
});

t.test('bad limits are refused, by name', async (t) => {
  const [link] = createMemoryPair();
  const create = (limits: unknown): void => void createStack({ link, addresses: ['10.0.0.1/24'], limits: limits as Limits });
  t.throws(() => create({ tcp: { conections: 1 } }), { name: 'RangeError', message: /no limit 'tcp\.conections'; there are tcp\.connections, / });
  t.throws(() => create({ icmp: {} }), { name: 'RangeError', message: /no limits 'icmp'; there are tcp, ip, udp/ });
  t.throws(() => create({ tcp: { connections: 0 } }), { name: 'RangeError', message: 'limits.tcp.connections is 0; it must be a number between 1 and 16777216' });
  t.throws(() => create({ ip: { reassemblyBytes: '1' } }), { name: 'RangeError', message: /limits\.ip\.reassemblyBytes is 1; it must be a number/ });
  t.throws(() => create({ udp: { sockets: NaN } }), { name: 'RangeError', message: /limits\.udp\.sockets is NaN/ });
  t.throws(() => create({ tcp: { orphanMs: -1 } }), RangeError);
  t.throws(() => create({ tcp: { leastMss: Infinity } }), RangeError);
  t.equal(resolveLimits({ tcp: { connections: undefined } }).tcp.connections, 262_144, 'undefined is as good as nothing');
});

t.test('limits win over the options of TCP of the same meaning', async (t) => {
  const config = tcpConfig({ maxConnections: 10, maxTimeWait: 20, maxSynBacklog: 30 }, { connections: 5 });
  t.equal(config.maxConnections, 5);
  t.equal(config.maxTimeWait, 20);
  t.equal(config.maxSynBacklog, 30);
  t.equal(config.limits.connections, 5);
  t.equal(config.limits.timeWait, 20);
});

t.test('connections', async (t) => {
  const world = new World({ limits: { tcp: { connections: 50 } } });
  world.listen(80);
  let open = 0;
  for (let i = 0; i < 60; i++) {
    const peer = new Peer(world, 1000 + i);
    peer.send({ flags: 'S', ack: 0 });
    if (peer.got[0]?.flags === 'S.') {
      peer.seq = (peer.seq + 1) | 0;
      peer.send({ flags: '.' });
      open++;
    }
  }
  t.ok(open <= 50 && world.victim.tcp.connections <= 50, `${world.victim.tcp.connections} connections`);
  t.ok(world.counters.ListenDrops >= 10 || world.counters.SyncookiesSent > 0);
  t.equal(world.close(), 0);
});

/** Bytes of the document's formula that are not packet memory, for so many connections. */
const PER_CONNECTION = 16 << 10;

t.test('what connections cost beside the packet memory: quiet ones, and the worst that peers can make of them', async (t) => {
  const CONNECTIONS = 1000;
  const world = new World({ memory: 64 << 20, tcp: { sndbuf: { initial: 64 << 10, max: 64 << 10 } } });
  world.listen(80, (socket) => {
    if (socket.getpeername()!.port % 2 === 0) writes(socket);
  });
  const peers = Array.from({ length: CONNECTIONS }, (_, i) => {
    const peer = new Peer(world, 1000 + i, { address: `10.90.3.${i % 250}`, mss: 64, sack: true, ws: 7 });
    peer.keep = false;
    return peer;
  });
  const before = heapUsed() + process.memoryUsage().arrayBuffers;
  for (const peer of peers) {
    let answer = 0;
    peer.onSegment = (got) => {
      if (got.flags === 'S.') answer++;
    };
    peer.send({ flags: 'S', ack: 0, options: peer.synOptions() });
    if (answer !== 1) throw new Error('no answer');
    peer.onSegment = null;
    peer.seq = (peer.seq + 1) | 0;
    peer.send({ flags: '.' });
  }
  const quiet = heapUsed() + process.memoryUsage().arrayBuffers - before;
  // Every sender's flight is SACKed in crumbs, every receiver holds as many crumbs out of order as it gets.
  for (let round = 0; round < 300; round++) {
    for (const peer of peers) {
      if (peer.port % 2 === 0) {
        const at = peer.iss + 1 + 64 + 128 * ((round * 4) % 400);
        world.queue(peer.packet({
          flags: '.', ack: peer.iss + 1, options: peer.sack([at, at + 64], [at + 128, at + 192], [at + 256, at + 320], [at + 384, at + 448]),
        }));
      } else {
        world.queue(peer.packet({ flags: '.', seq: peer.seq + 2 + round * 2, len: 1 }));
      }
    }
    world.flush();
  }
  const troubled = heapUsed() + process.memoryUsage().arrayBuffers - before;
  t.comment(`${Math.round(quiet / CONNECTIONS)} bytes for a quiet connection, ${Math.round(troubled / CONNECTIONS)} for a troubled one`);
  t.ok(quiet / CONNECTIONS < 4096, `${Math.round(quiet / CONNECTIONS)} bytes for a quiet connection`);
  t.ok(troubled / CONNECTIONS < PER_CONNECTION, `${Math.round(troubled / CONNECTIONS)} bytes for a troubled one`);
  t.ok(world.victim.tcp.outOfOrder.usedBlocks <= world.victim.tcp.outOfOrder.limitBlocks);
  for (const peer of peers) world.queue(peer.packet({ flags: 'R' }));
  world.flush();
  t.equal(world.victim.tcp.connections, 0);
  t.equal(world.close(), 0);
});
