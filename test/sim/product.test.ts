/** `tcpu/sim`: what docs/SIMULATION.md promises. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Agent, createServer as createHttpServer, request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createSimulation } from '../../lib/sim/index.ts';
import type { HostOptions, LinkOptions, SimHost, SimLink, Simulation, SimulationOptions } from '../../lib/sim/index.ts';
import { readPcapng } from '../link/pcapng-reader.ts';

const directory = mkdtempSync(join(tmpdir(), 'tcpu-sim-test-'));
t.teardown(() => rmSync(directory, { recursive: true }));

interface Two {
  sim: Simulation;
  a: SimHost;
  b: SimHost;
  link: SimLink;
}

function two(link: LinkOptions = {}, options: SimulationOptions = {}, host: Partial<HostOptions> = {}): Two {
  const sim = createSimulation({ directory, ...options });
  const a = sim.host({ name: 'a', address: ['10.0.0.1/24', 'fd00::1/64'], ...host });
  const b = sim.host({ name: 'b', address: ['10.0.0.2/24', 'fd00::2/64'], ...host });
  return { sim, a, b, link: sim.link(a, b, link) };
}

/** Bytes that `from` sends to `to`, and when the last of them was there, ms. */
async function transfer(sim: Simulation, from: SimHost, to: SimHost, bytes: number, address = to.address): Promise<number> {
  let got = 0;
  const server = to.net.createServer((socket) => {
    socket.on('data', (piece: Buffer) => {
      got += piece.length;
    });
    socket.on('end', () => socket.end());
  }).listen(5000);
  const socket = from.net.connect(5000, address);
  socket.end(Buffer.alloc(bytes, 'x'));
  socket.resume();
  await once(socket, 'end');
  server.close();
  if (got !== bytes) throw new Error(`${got} of ${bytes} bytes`);
  return sim.nowMs;
}

/** One request over HTTP; its body. */
async function get(server: SimHost, path: string, agent: Agent): Promise<string> {
  const outgoing = request({ path, host: server.address, agent });
  outgoing.end();
  const [response] = await once(outgoing, 'response') as [IncomingMessage];
  let text = '';
  for await (const piece of response) text += String(piece);
  return text;
}

/** A run with everything in it: streams, HTTP, datagrams, timers, a router, all that can happen to packets. */
async function everything(seed: number, capture?: string): Promise<{ hash: string; log: string }> {
  const sim = createSimulation({ seed, directory, capture });
  const server = sim.host({ name: 'server', address: ['10.0.0.1/24', 'fd00::1/64'] });
  const clients = [1, 2, 3].map((n) => sim.host({ address: [`10.0.${n}.1/24`, `fd00:${n}::1/64`] }));
  const router = sim.router();
  const trunk = sim.link(router, server, {
    rate: '10Mbit', delayMs: 10, jitterMs: 2, loss: 0.02, duplicate: 0.01, corrupt: 0.005, reorder: { share: 0.02, ms: 4 },
    queue: { bytes: 60_000, discipline: 'codel' },
  });
  for (const client of clients) sim.link(client, router, { rate: '50Mbit', delayMs: 1, loss: { gilbertElliott: { p: 0.001, r: 0.3 } } });
  const log: string[] = [];
  const http = createHttpServer((incoming, outgoing) => {
    // The real date is none of a simulation's.
    outgoing.sendDate = false;
    setImmediate(() => outgoing.end(`${incoming.url} ${Math.round(sim.nowMs)}`));
  });
  server.net.createServer((socket) => http.emit('connection', socket)).listen(80);
  server.net.createServer((socket) => socket.pipe(socket)).listen(7);
  const datagrams = server.dgram.createSocket('udp4', (message, from) => datagrams.send(message, from.port, from.address));
  datagrams.bind(53);
  sim.at(800, () => trunk.down());
  sim.at(1100, () => trunk.up());
  sim.at(2000, () => trunk.set({ rate: '2Mbit', loss: 0 }));
  await sim.run(async () => {
    await Promise.all(clients.map(async (client, n) => {
      const agent = new Agent({ keepAlive: n === 0 });
      agent.createConnection = (() => client.net.connect(80, server.address)) as unknown as typeof agent.createConnection;
      for (let i = 0; i < 3; i++) {
        log.push(await get(server, `/${n}/${i}`, agent));
        await sim.sleep(sim.random.unit() * 300);
      }
      agent.destroy();
      const echo = client.net.connect(7, n === 2 ? 'fd00::1' : server.address);
      echo.end(Buffer.alloc(300_000, n));
      let got = 0;
      for await (const piece of echo) got += (piece as Buffer).length;
      log.push(`${n} echoed ${got} at ${sim.nowMs}`);
      const socket = client.dgram.createSocket('udp4');
      for (let answered = false; !answered;) {
        socket.send(`question ${n}`, 53, server.address);
        answered = await Promise.race([once(socket, 'message').then(() => true), sim.sleep(500).then(() => false)]);
      }
      log.push(`${n} answered at ${sim.nowMs}`);
      socket.close();
    }));
  });
  datagrams.close();
  const { hash, events, packets } = sim;
  sim.close();
  return { hash, log: `${log.join('\n')}\n${events} ${packets}` };
}

t.test('a seed replays everything exactly', async (t) => {
  const files = ['first.pcapng', 'second.pcapng'].map((name) => join(directory, name));
  const first = await everything(7, files[0]);
  t.match(first.log, /echoed 300000/);
  for (let i = 0; i < 2; i++) {
    const again = await everything(7, files[1]);
    t.equal(again.log, first.log);
    t.equal(again.hash, first.hash);
    t.ok(readFileSync(files[1]!).equals(readFileSync(files[0]!)), 'captures are equal, byte by byte');
  }
  t.ok(readPcapng(readFileSync(files[0]!)).packets.length > 1000);
  t.not((await everything(8)).hash, first.hash, 'another seed is another run');
});

t.test('what the world outside does meanwhile changes nothing', async (t) => {
  const hash = async (disturb: boolean): Promise<string> => {
    const { sim, a, b } = two({ delayMs: 5, loss: 0.01 });
    await sim.run(async () => {
      await transfer(sim, a, b, 50_000);
      await sim.sleep(100);
      if (disturb) {
        const before = sim.nowMs;
        const text = await sim.outside(readFile(fileURLToPath(import.meta.url), 'utf8'));
        t.match(text, 'the world outside');
        t.equal(sim.nowMs, before, 'time stands still');
        await t.rejects(sim.outside(readFile(join(directory, 'nothing'))), { code: 'ENOENT' });
        await sim.outside(new Promise((resolve) => setTimeout(resolve, 20)));
      }
      await transfer(sim, a, b, 50_000);
    });
    sim.close();
    return sim.hash;
  };
  t.equal(await hash(true), await hash(false));
});

t.test('delay and rate are what they were set to', async (t) => {
  const { sim, a, b, link } = two({ rate: '8Mbit', delayMs: 20, forward: { delayMs: 30 } });
  const once_ = (address: string): Promise<number> => sim.run(async () => {
    for await (const { timeMs } of a.ping(address, { count: 1, size: 972 })) return timeMs;
    return NaN;
  });
  // 1000 bytes take 1 ms at 8 Mbit/s, each way.
  t.equal(await once_(b.address), 52);
  link.set({ rate: '80Mbit', delayMs: 1 });
  t.equal(await once_(b.address), 2.2);
  t.equal((await once_('fd00::2')).toFixed(3), (2 + 2 * 1020 * 8 / 80_000).toFixed(3));
  link.set({ rate: '10Mbit', delayMs: 10 });
  const began = sim.nowMs;
  const took = await sim.run(() => transfer(sim, a, b, 5_000_000)) - began;
  const mbps = 40_000 / took;
  t.ok(mbps > 8.5 && mbps < 10 * (1448 / 1500), `${mbps} Mbit/s of 10`);
  sim.close();
});

t.test('a partition heals', async (t) => {
  const { sim, a, b, link } = two({ delayMs: 10, rate: '10Mbit' });
  sim.at(300, () => link.down());
  sim.at(20_000, () => {
    t.notOk(link.isUp);
    link.up();
  });
  const endedMs = await sim.run(() => transfer(sim, a, b, 1_000_000));
  t.ok(endedMs > 20_000 && endedMs < 60_000, `${endedMs} ms`);
  t.ok(link.forward.counters.cutDrops > 3);
  sim.close();
});

t.test('hours in seconds', async (t) => {
  const { sim, a, b } = two({ delayMs: 50, loss: 0.01 });
  const beganMs = performance.now();
  let beats = 0;
  b.net.createServer((socket) => {
    socket.on('data', (piece: Buffer) => {
      beats += piece.length;
    });
  }).listen(1);
  await sim.run(async () => {
    const socket = a.net.connect(1, b.address);
    for (let minute = 0; minute < 600; minute++) {
      socket.write('.');
      await sim.sleep(60_000);
    }
    socket.destroy();
  });
  t.equal(beats, 600);
  t.ok(sim.nowMs >= 36_000_000);
  const factor = sim.nowMs / (performance.now() - beganMs);
  t.comment(`${Math.round(factor)} times as fast as real time`);
  t.ok(factor > 500, `${factor} times`);
  sim.close();
});

t.test('timeouts of sockets follow virtual time', async (t) => {
  const { sim, a, b } = two({ delayMs: 10 });
  b.net.createServer((socket) => socket.resume()).listen(1);
  await sim.run(async () => {
    const socket = a.net.connect(1, b.address);
    socket.setTimeout(7_200_000);
    await sim.sleep(3_600_000);
    socket.write('still here');
    await once(socket, 'timeout');
    t.equal(sim.nowMs, 10_800_000, 'two hours after it has last been used');
    socket.setTimeout(1000);
    socket.setTimeout(0);
    let fired = false;
    socket.once('timeout', () => {
      fired = true;
    });
    await sim.sleep(10_000);
    t.notOk(fired, 'turned off');
    socket.destroy();
  });
  sim.close();
});

t.test('routers: hops are counted, errors come back, the path has the least MTU of its links', async (t) => {
  const sim = createSimulation({ directory });
  const a = sim.host({ name: 'a', address: ['10.0.0.1', 'fd00::1'] });
  const b = sim.host({ name: 'b', address: ['10.0.1.1', 'fd01::1'] });
  const [one, other] = [sim.router(), sim.router({ name: 'other' })];
  sim.link(a, one, { delayMs: 1 });
  const middle = sim.link(one, other, { delayMs: 1, mtu: 1400 });
  sim.link(other, b, { delayMs: 1 });
  const ping = (to: string, ttl: number): Promise<string> => sim.run(async () => {
    for await (const { from, error, ttl: left } of a.ping(to, { count: 1, ttl })) return `${error?.code ?? left} ${from}`;
    return '';
  });
  t.equal(await ping('10.0.1.1', 64), '62 10.0.1.1');
  t.equal(await ping('fd01::1', 64), '62 fd01::1');
  t.equal(await ping('10.0.1.1', 1), 'EHOSTUNREACH 198.18.0.1');
  t.equal(await ping('10.0.1.1', 2), 'EHOSTUNREACH 198.18.0.2');
  t.match(await ping('fd01::1', 2), / 2001:2::2$/);
  t.equal(await ping('10.9.9.9', 64), 'ENETUNREACH 198.18.0.1');
  for (const address of b.addresses) {
    one.counters.tooBig = 0;
    await sim.run(() => transfer(sim, a, b, 1_000_000, address));
    t.ok(one.counters.tooBig > 0, `${one.counters.tooBig} too big over ${address}`);
    t.ok(one.counters.tooBig < 30, 'and then no more');
  }
  const mtu = Math.max(...[middle.forward, middle.backward].map(({ counters }) => counters.bytes / counters.packets));
  t.ok(mtu < 1400);
  sim.close();
});

t.test('a host knows the MTU of its link, and nobody that of a black hole', async (t) => {
  const { sim, a, b, link } = two({ mtu: 900, delayMs: 1 });
  await sim.run(() => transfer(sim, a, b, 100_000));
  t.equal(a.link, link);
  const { packets, bytes } = link.forward.counters;
  t.ok(bytes / packets <= 900 && bytes / packets > 700, `${bytes / packets} bytes a packet`);
  link.set({ mtuBlackHole: 500 });
  const lost = await sim.run(async () => {
    for await (const { error } of a.ping(b, { count: 1, size: 600, timeoutMs: 1000 })) return error?.code;
  });
  t.equal(lost, 'ETIMEDOUT');
  t.equal(link.forward.counters.blackHoleDrops, 1);
  sim.close();
});

t.test('a run that fails tells its seed, and where its packets are', async (t) => {
  const { sim, a, b } = two({ delayMs: 5, loss: 0.5 }, { seed: 99 });
  const error = await sim.run(async () => {
    await transfer(sim, a, b, 20_000);
    throw new RangeError('not what was expected');
  }).then(() => new Error('it has not failed'), (thrown: Error) => thrown);
  t.type(error, RangeError, 'it is the same error');
  t.match(error.message, /^not what was expected\n {2}seed 99, after [\d.]+ s of virtual time and \d+ packets\n {2}the last \d+ of them: .*seed-99\.pcapng$/);
  t.match(error.stack!, 'seed 99', 'the stack tells it, too');
  const path = /: (\S*seed-99\.pcapng)/.exec(error.message)![1]!;
  const { application, interfaces, packets } = readPcapng(readFileSync(path));
  t.equal(application, 'tcpu/sim');
  t.same(interfaces.map(({ name }) => name), ['a to b', 'b to a']);
  t.equal(packets.length, sim.packets);
  const lost = packets.filter(({ comment }) => comment === 'lost').length;
  t.ok(lost > 5 && lost < packets.length / 2, `${lost} of ${packets.length} are marked as lost`);
  t.equal(await sim.run(() => 'it can go on'), 'it can go on');
  sim.close();
  await t.rejects(sim.run(() => undefined), /the simulation is closed/);
});

t.test('a run that cannot end is found out', async (t) => {
  const { sim, a, b } = two({ delayMs: 5 });
  await t.rejects(sim.run(() => new Promise(() => undefined)), { name: 'SimulationError', code: 'ERR_SIM_STALLED' });
  const never = sim.run(() => new Promise<void>(() => {
    const socket = a.net.connect(1, b.address);
    socket.on('error', () => undefined);
    const tick = (): void => void sim.after(1000, tick);
    tick();
  }), { untilMs: 90_000 });
  t.throws(() => sim.advance(1), /time is moved by run/);
  await t.rejects(sim.run(() => undefined), /running already/);
  await t.rejects(never, { name: 'SimulationError', code: 'ERR_SIM_TIMEOUT', message: /not ended by 90000 ms/ });
  t.equal(sim.nowMs, 90_000);
  sim.close();
});

t.test('what timers and events throw fails the run', async (t) => {
  const { sim } = two();
  sim.at(10, () => {
    throw new Error('in a timer');
  });
  await t.rejects(sim.run(() => sim.sleep(20)), /^in a timer\n {2}seed 1/);
  sim.after(10, () => Promise.reject(new Error('in a promise')));
  await t.rejects(sim.run(() => sim.sleep(20)), /in a promise/);
  const cleared = sim.after(10, () => {
    throw new Error('called off');
  });
  cleared.clear();
  await sim.run(() => sim.sleep(20));
  sim.after(1, () => {
    throw new Error('without the event loop');
  });
  t.throws(() => sim.advance(2), /without the event loop\n {2}seed/);
  sim.close();

  const watched = two({}, { onEvent: () => {
    if (watched.sim.nowMs > 5) throw new Error('an invariant');
  } });
  await t.rejects(watched.sim.run(() => watched.sim.sleep(10)), /an invariant/);
  watched.sim.close();
});

t.test('low-level sockets need no event loop', async (t) => {
  const { sim, a } = two({ delayMs: 5 });
  let called = 0;
  sim.at(50, () => called++);
  sim.advance(49);
  t.equal(called, 0);
  t.ok(sim.runUntil(() => called === 1, 100));
  t.equal(sim.nowMs, 50);
  t.notOk(sim.runUntil(() => called === 2, 100));
  t.equal(sim.nowMs, 150);
  t.equal(typeof a.stack.socket(2), 'object');
  sim.close();
});

t.test('bad options are named', async (t) => {
  const sim = createSimulation();
  const a = sim.host({ address: '10.0.0.1/24' });
  const b = sim.host({ address: '10.0.0.2' });
  const other = createSimulation().host({ address: '10.0.0.3' });
  const cases: [() => unknown, RegExp][] = [
    [() => createSimulation({ seed: 1.5 }), /seed 1\.5 is not a whole number/],
    [() => createSimulation({ keepBytes: -1 }), /keepBytes -1/],
    [() => sim.host({ address: '10.0.0.2/24' }), /10\.0\.0\.2 of host3 is an address of host2/],
    [() => sim.host({ address: 'nowhere' }), /host3: 'nowhere' is not an address; write for example/],
    [() => sim.host({ address: [] }), /host3 has no address/],
    [() => sim.host({ name: 'host1', address: '10.0.0.9' }), /there is a host1 already/],
    [() => sim.host({ address: '10.0.0.9', tcp: { congestion: 'wishful' } }), /no congestion control 'wishful'/],
    [() => sim.link(a, a), /host1 cannot be linked to itself/],
    [() => sim.link(a, other), /own hosts and routers/],
    [() => sim.link(a, b, { rate: '100Mb' }), /rate: '100Mb' is not a rate; write for example '100Mbit'/],
    [() => sim.link(a, b, { rate: -1 }), /rate: '-1' is not a rate/],
    [() => sim.link(a, b, { loss: 2 }), /loss 2 is not a probability/],
    [() => sim.link(a, b, { loss: { gilbertElliott: { p: 2, r: 0.1 } } }), /burstLoss\.p 2 is not a probability/],
    [() => sim.link(a, b, { delayMs: NaN }), /delayMs NaN/],
    [() => sim.link(a, b, { delay: 20 } as LinkOptions), /a link has no setting 'delay'; there are rate, delayMs, /],
    [() => sim.link(a, b, { queue: { size: 2 } as object }), /queue has no setting 'size'/],
    [() => sim.link(a, b, { queue: { discipline: 'red' as 'codel' } }), /queueDiscipline 'red'/],
    [() => sim.link(a, b, { forward: { mtu: 9 } as object }), /forward has no setting 'mtu'/],
    [() => sim.link(a, b, { mtu: 20 }), /mtu 20 is not a whole number between/],
    [() => sim.at(-1, () => undefined), /at -1/],
  ];
  for (const [call, message] of cases) t.throws(call, { name: 'RangeError', message });
  t.equal(sim.links.length, 0, 'nothing was left half-made');
  sim.link(a, b, { rate: '1.5Gbit' });
  t.equal(sim.links[0]!.forward.rate, 1.5e9);
  t.throws(() => sim.link(sim.router(), a), /host1 has a link already, to host2; a host has one: put a router between/);
  sim.close();
});

t.test('a link whose MTU changes: connections take it over at once', async (t) => {
  for (const mtu of [1300, 9000]) {
    const { sim, a, b, link } = two({ delayMs: 5, rate: '50Mbit' });
    sim.at(200, () => link.set({ mtu }));
    await sim.run(() => transfer(sim, a, b, 5_000_000));
    t.ok(sim.nowMs < 5000, `MTU ${mtu}: ${sim.nowMs} ms`);
    t.equal(a.stack.counters().tcp!.RtoTimeouts, 0, 'no timer was needed');
    sim.close();
  }
});
