/** What `Survey` lists: whose each connection is, what an application adds, and what its lies come to. In virtual time. */

import t from 'tap';
import type { Test } from 'tap';
import { attach } from '../../lib/attach.ts';
import type { Attachment, OwnAttachment } from '../../lib/attach.ts';
import { ownerName } from '../../lib/cli/ss-format.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { EINPROGRESS } from '../../lib/errno.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, IPPROTO_TCP, SOCK_STREAM } from '../../lib/socket.ts';
import type { BsdSocket, SocketProvider } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import type { OwnedConnection, Survey } from '../../lib/tcpk/survey.ts';

const SERVER = '10.9.0.2';

interface World {
  clock: VirtualClock;
  client: Stack;
  server: Stack;
  survey: Survey;
  own: OwnAttachment;
  classic: Attachment;
}

/** A client's stack, and a server's with two applications. */
async function world(t: Test): Promise<World> {
  const clock = new VirtualClock();
  const [left, right] = createMemoryPair({ clock });
  const client = createStack({ link: left, addresses: ['10.9.0.1/24'], clock, random: new SeededRandom(1) });
  const server = createStack({
    link: right, addresses: [`${SERVER}/24`], clock, random: new SeededRandom(2), applications: { shared: false },
  });
  const own = await attach({ stack: server, name: 'own', tcp: 'tcpu' }) as OwnAttachment;
  const classic = await attach({ stack: server, name: 'classic', tcp: 'kernel' });
  t.teardown(async () => {
    await own.close();
    await classic.close();
    await client.close({ graceful: false });
    await server.close({ graceful: false });
  });
  return { clock, client, server, survey: server.survey!, own, classic };
}

function socketOf(provider: SocketProvider): BsdSocket {
  const socket = provider.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

function listen(provider: SocketProvider, port: number): BsdSocket {
  const socket = socketOf(provider);
  if (socket.bind('0.0.0.0', port) !== 0 || socket.listen(8) !== 0) throw new Error(`listen on ${port}`);
  return socket;
}

/** Connects from the client and accepts, unless told not to. */
function connected({ clock, client }: World, listener: BsdSocket, port: number): { far: BsdSocket; near: BsdSocket } {
  const far = socketOf(client);
  if (far.connect(SERVER, port) !== -EINPROGRESS) throw new Error('connect');
  clock.advance(10_000);
  const near = listener.accept();
  if (typeof near === 'number') throw new Error(`accept: ${near}`);
  return { far, near };
}

async function connections({ clock, survey }: World, details = false, us = 1000): Promise<OwnedConnection[]> {
  const list = survey.connections(details);
  clock.advance(us);
  return list;
}

const brief = (list: OwnedConnection[]): unknown[] => list.map(({ tcp, owner, state, local, recvQueue, sendQueue }) => (
  [tcp, owner.name, state, local.port, recvQueue, sendQueue]
));

t.test('whose is what', async (t) => {
  const w = await world(t);
  const [kernel, own, classic] = [listen(w.server, 1), listen(w.own, 2), listen(w.classic, 3)];
  const pairs = [connected(w, kernel, 1), connected(w, own, 2), connected(w, classic, 3)];
  // Nobody accepts these two: they are their listeners'.
  for (const port of [2, 3]) socketOf(w.client).connect(SERVER, port);
  for (const { far } of pairs) far.send(new Uint8Array(100), 0, 100);
  w.clock.advance(10_000);
  t.same(brief(await connections(w)), [
    ['kernel', 'kernel', 'LISTEN', 1, 0, 8],
    ['kernel', 'classic', 'LISTEN', 3, 1, 8],
    ['kernel', 'kernel', 'ESTABLISHED', 1, 100, 0],
    ['kernel', 'classic', 'ESTABLISHED', 3, 100, 0],
    ['kernel', 'classic', 'ESTABLISHED', 3, 0, 0],
    ['tcpu', 'own', 'LISTEN', 2, 1, 8],
    ['tcpu', 'own', 'ESTABLISHED', 2, 100, 0],
    ['tcpu', 'own', 'ESTABLISHED', 2, 0, 0],
  ]);
  t.ok((await connections(w)).every((one) => one.info === null));
  for (const one of await connections(w, true)) {
    t.match(one.info, one.state === 'LISTEN' ? null : { congestion: 'cubic', bytesReceived: Number });
  }
  // One that closes is nobody's; TIME-WAIT is listed as well.
  pairs[2]!.near.recv(new Uint8Array(100), 0, 100);
  pairs[2]!.near.close();
  w.clock.advance(10_000);
  const third = (await connections(w)).filter((one) => one.local.port === 3 && one.state !== 'LISTEN');
  t.same(brief(third), [['kernel', 'kernel', 'FIN-WAIT-2', 3, 0, 0], ['kernel', 'classic', 'ESTABLISHED', 3, 0, 0]]);
  pairs[2]!.far.close();
  pairs[1]!.near.recv(new Uint8Array(100), 0, 100);
  pairs[1]!.near.close();
  pairs[1]!.far.close();
  w.clock.advance(10_000);
  const after = brief((await connections(w)).filter((one) => one.state === 'TIME-WAIT'));
  t.match(after, [['kernel', 'kernel', 'TIME-WAIT', 3], ['tcpu', 'own', 'TIME-WAIT', 2]]);
});

t.test('an application that says nothing, or nonsense', async (t) => {
  const w = await world(t);
  const own = listen(w.own, 2);
  const { far } = connected(w, own, 2);
  const port = far.getsockname()!.port;
  const unknown = [['tcpu', 'own', 'LISTEN', 2, null, null], ['tcpu', 'own', '?', 2, null, null]];
  const events = w.own.tcpu.events!;
  // Silent: an answer comes when its time is up, and not before.
  let asked = 0;
  events.report = (id) => {
    asked = id;
  };
  let settled = false;
  const late = w.survey.connections().finally(() => {
    settled = true;
  });
  w.clock.advance(499_000);
  await new Promise((resolve) => setImmediate(resolve));
  t.notOk(settled);
  w.clock.advance(2000);
  t.same(brief(await late), unknown);
  w.own.channel.report(asked, JSON.stringify({ connections: w.own.connections() }));
  w.own.channel.report(asked + 77, '{}');
  t.same(brief(await connections(w, false, 501_000)), unknown, 'a late answer is for nobody');

  const local = { address: SERVER, port: 2 };
  const remote = { address: '10.9.0.1', port };
  const lies: unknown[] = [
    null, 7, 'text', [], {}, { connections: 7 }, { connections: [null, 1, 'x', {}, { local }, { local: 1, remote: 2 }] },
    // What has no text.
    { connections: [{ local: { address: { toString: 1, valueOf: 1 }, port: 1 } }, { local, remote: { address: SERVER, port: { toString: 1 } } }] },
    { connections: [{ local, remote, state: 'RICH', recvQueue: -1, sendQueue: 'many', info: [] }] },
    // Somebody else's.
    { connections: [{ local: { address: SERVER, port: 22 }, remote, state: 'ESTABLISHED', recvQueue: 1, sendQueue: 1 }] },
  ];
  for (const lie of [...lies.map((one) => JSON.stringify(one)), '', '{', '{"connections":[']) {
    events.report = (id) => w.own.channel.report(id, lie);
    t.same(brief(await connections(w)), unknown, lie);
  }

  // What is plausible is shown, but nothing that a terminal could take amiss.
  const info = { congestion: 'cu\u001b[2Jbic', rtoMs: 200, srttMs: 'x'.repeat(100), 'a b': 1, nested: { a: 1 }, sack: true };
  events.report = (id) => w.own.channel.report(id, JSON.stringify({
    connections: [{ local, remote, state: 'CLOSE-WAIT', recvQueue: 5, sendQueue: 6, info }],
    counters: { tcp: { InSegs: 1, 'In\nSegs': 2, OutSegs: 'many' }, 'no name': { a: 1 }, flat: 1 },
  }));
  const [, one] = await connections(w, true);
  t.same([one!.state, one!.recvQueue, one!.sendQueue, one!.info], ['CLOSE-WAIT', 5, 6, { rtoMs: 200, sack: true }]);
  const applications = w.survey.applications();
  w.clock.advance(1000);
  t.match(await applications, [{ name: 'own', bindings: 1, flows: 1 }, { name: 'classic', sockets: 0 }]);
  t.same((await applications)[0]!.counters, { tcp: { InSegs: 1 } });
});

t.test('an application that goes while it is asked', async (t) => {
  const w = await world(t);
  listen(w.own, 2);
  const list = w.survey.connections();
  await w.own.close();
  w.clock.advance(501_000);
  t.same(await list, []);
});

t.test('an application that calls itself kernel', async (t) => {
  const w = await world(t);
  const other = await attach({ stack: w.server, name: 'kernel', tcp: 'tcpu' }) as OwnAttachment;
  t.teardown(() => other.close());
  listen(other, 5);
  listen(w.server, 6);
  const list = await connections(w);
  t.same(list.map(({ local, owner }) => [local.port, owner.kind]), [[6, 'stack'], [5, 'application']]);
  t.equal(ownerName(list[0]!.owner), 'kernel');
  t.equal(ownerName(list[1]!.owner), `${list[1]!.owner.pid}/kernel`);
});
