/**
 * A random network with everything that the simulator has, and what programs do over it: two to five hosts on chains or
 * stars of routers; links with bursts of loss, bounded queues, CoDel, marks, narrow MTUs; while it runs links go down and
 * come up, change their rate and delay and MTU, swallow large packets for a while. Connections between any two hosts.
 *
 * draw.ts has the other kind: one impaired pair, with the settings of stacks (memory, offload, TCPU) turned to extremes.
 */

import { EINPROGRESS } from '../../lib/errno.ts';
import { createSimulation } from '../../lib/sim/index.ts';
import type { DirectionOptions, LinkOptions, SimHost, SimLink, Simulation } from '../../lib/sim/index.ts';
import { AF_INET, AF_INET6 } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import { congestionNames } from '../../lib/tcp/congestion/congestion-control.ts';
import { Application, setOptions } from './application.ts';
import { Dice, drawConnection, drawTcp } from './draw.ts';
import type { ConnectionDraw } from './draw.ts';
import { Invariants } from './invariants.ts';
import { open } from './pair.ts';
import { describe } from './simulation.ts';
import type { SimulationResult } from './simulation.ts';

/** Something that happens to a link. */
interface ChangeDraw {
  atMs: number;
  link: number;
  what: 'down' | 'up' | 'set';
  set?: LinkOptions;
}

interface ScenarioConnection extends ConnectionDraw {
  /** Numbers of the hosts that are side 0 and side 1 of the connection. */
  hosts: [number, number];
  version: 4 | 6;
}

export interface Scenario {
  seed: number;
  hosts: { tcp: TcpOptions; memory: number }[];
  /** Number of routers, in a chain; host i is on router i modulo that, or two hosts are linked to each other when it is 0. */
  routers: number;
  /** Of the hosts first, then those of the chain. */
  links: LinkOptions[];
  changes: ChangeDraw[];
  connections: ScenarioConnection[];
}

/** No link is down for longer, ms. */
const LONGEST_PARTITION_MS = 20_000;
/** Time without any progress, ms: several timeouts in a row, backed off to their limit of 120 s, and each lost again. */
const PATIENCE_MS = 1_200_000;
const LIMIT_MS = 12 * 3_600_000;
const FIRST_PORT = 7000;

function drawDirection(dice: Dice, calm: boolean): DirectionOptions {
  const share = (p: number, most: number): number => (dice.chance(calm ? p / 3 : p) ? dice.between(0, most) : 0);
  const burst = dice.chance(calm ? 0.1 : 0.3);
  return {
    rate: dice.chance(0.4) ? 0 : dice.spread(300_000, 200_000_000),
    delayMs: dice.spread(10, 100_000) / 1000,
    jitterMs: dice.chance(0.6) ? 0 : dice.spread(10, 20_000) / 1000,
    loss: burst ? { gilbertElliott: { p: dice.between(0, 0.02), r: dice.between(0.1, 0.9), good: share(0.3, 0.01), bad: dice.between(0.3, 1) } }
      : share(0.5, 0.04),
    reorder: dice.chance(0.7) ? 0 : dice.chance(0.5) ? { share: share(0.9, 0.1), ms: dice.spread(100, 40_000) / 1000 }
      : { share: share(0.9, 0.1), packets: dice.whole(1, 10) },
    duplicate: share(0.3, 0.03),
    corrupt: share(0.2, 0.01),
    queue: { packets: dice.spread(5, 1000), bytes: dice.chance(0.3) ? dice.spread(20_000, 1_000_000) : 0, discipline: dice.pick('droptail', 'codel') },
    ecn: dice.chance(0.3),
  };
}

function drawLink(dice: Dice, calm: boolean, narrow: boolean): LinkOptions {
  const link: LinkOptions = { ...drawDirection(dice, calm), mtu: narrow ? dice.whole(1280, 1500) : dice.pick(1500, 1500, 9000) };
  if (dice.chance(0.3)) link.backward = drawDirection(dice, calm);
  return link;
}

function drawChanges(dice: Dice, links: readonly LinkOptions[]): ChangeDraw[] {
  const changes: ChangeDraw[] = [];
  for (let n = dice.chance(0.4) ? 0 : dice.whole(1, 4); n > 0; n--) {
    const link = dice.whole(0, links.length - 1);
    const atMs = dice.spread(50, 20_000);
    const laterMs = atMs + dice.spread(20, LONGEST_PARTITION_MS);
    if (dice.chance(0.4)) {
      changes.push({ atMs, link, what: 'down' }, { atMs: laterMs, link, what: 'up' });
    } else if (dice.chance(0.25)) {
      changes.push({ atMs, link, what: 'set', set: { mtuBlackHole: dice.whole(600, 1400) } }, { atMs: laterMs, link, what: 'set', set: { mtuBlackHole: 0 } });
    } else if (dice.chance(0.3)) {
      changes.push({ atMs, link, what: 'set', set: { mtu: dice.whole(1280, 1500) } });
    } else {
      changes.push({ atMs, link, what: 'set', set: drawDirection(dice, true) });
    }
  }
  return changes.sort((a, b) => a.atMs - b.atMs);
}

/** The scenario of `seed`; always the same. */
export function drawScenario(seed: number): Scenario {
  const dice = new Dice(seed ^ 0x5ce0a210);
  const routers = dice.pick(0, 1, 1, 2, 3);
  const hostCount = routers === 0 ? 2 : dice.whole(2, 5);
  const hosts = Array.from({ length: hostCount }, () => {
    const tcp: TcpOptions = { ...drawTcp(dice, false), congestion: dice.pick(...congestionNames()) };
    if (dice.chance(0.3)) tcp.ecn = 'on';
    return { tcp, memory: dice.pick(1, 2, 8) << 20 };
  });
  // Where there are several links in a row, each is a little less bad. All hosts' links are of one MTU or narrower.
  const calm = routers > 0;
  const links = Array.from({ length: routers === 0 ? 1 : hostCount + routers - 1 }, (_, i) => drawLink(dice, calm, i >= hostCount && dice.chance(0.4)));
  const count = dice.chance(0.5) ? 1 : dice.whole(2, 6);
  const connections = Array.from({ length: count }, (): ScenarioConnection => {
    const first = dice.whole(0, hostCount - 1);
    const hostsOf: [number, number] = [first, (first + dice.whole(1, hostCount - 1)) % hostCount];
    return { ...drawConnection(dice, Math.floor(1_000_000 / count), false), hosts: hostsOf, version: dice.pick<4 | 6>(4, 6) };
  });
  return { seed, hosts, routers, links, changes: drawChanges(dice, links), connections };
}

interface Built {
  sim: Simulation;
  hosts: SimHost[];
  links: SimLink[];
}

function build(scenario: Scenario, onEvent: () => void): Built {
  const sim = createSimulation({ seed: scenario.seed, keepBytes: 4 << 20, onEvent });
  const hosts = scenario.hosts.map(({ tcp, memory }, i) => sim.host({ address: [`10.0.${i}.1/24`, `fd00:${i}::1/64`], tcp, memory }));
  const routers = Array.from({ length: scenario.routers }, () => sim.router());
  const links = scenario.links.map((options, i) => {
    if (routers.length === 0) return sim.link(hosts[0]!, hosts[1]!, options);
    if (i < hosts.length) return sim.link(hosts[i]!, routers[i % routers.length]!, options);
    return sim.link(routers[i - hosts.length]!, routers[i - hosts.length + 1]!, options);
  });
  for (const { atMs, link, what, set } of scenario.changes) {
    sim.at(atMs, () => {
      if (what === 'set') links[link]!.set(set!);
      else links[link]![what]();
    });
  }
  return { sim, hosts, links };
}

function openConnection(built: Built, connection: ScenarioConnection, number: number, pair: Application[], failures: string[]): void {
  const { opener, startUs, version } = connection;
  const domain = version === 4 ? AF_INET : AF_INET6;
  const port = FIRST_PORT + number;
  const [from, to] = [opener, 1 - opener].map((side) => built.hosts[connection.hosts[side]!]!) as [SimHost, SimHost];
  const listener = open(to.stack, domain);
  setOptions(listener, connection, 1 - opener);
  listener.bind('', port);
  listener.listen(16);
  listener.onready = () => {
    const socket = listener.accept();
    if (typeof socket === 'number') return;
    pair[1 - opener]!.start(socket);
    listener.close();
  };
  built.sim.at(startUs / 1000, () => {
    const socket: BsdSocket = open(from.stack, domain);
    setOptions(socket, connection, opener);
    const result = socket.connect(to.addresses[version === 4 ? 0 : 1]!, port);
    if (result !== -EINPROGRESS) failures.push(`connect: ${result}`);
    pair[opener]!.start(socket);
  });
}

/** Runs the scenario to its end. Two runs of one scenario are the same, packet by packet. */
export function runScenario(scenario: Scenario, save?: string): SimulationResult & { hash: string } {
  let checks: Invariants[] = [];
  const built = build(scenario, () => {
    for (const one of checks) one.check();
  });
  const { sim, hosts } = built;
  checks = hosts.map((host) => new Invariants({ tcp: host.stack.tcp, memory: host.stack.memory, clock: sim.clock }, host.name));
  const ends: Application[] = [];
  const failures: string[] = [];
  scenario.connections.forEach((connection, number) => {
    const pair = [0, 1].map((side) => new Application(sim.clock, connection, number, side));
    ends.push(...pair);
    openConnection(built, connection, number, pair, failures);
  });
  let progressMs = 0;
  let before = -1;
  let failure = '';
  const look = (): string => {
    let progress = 0;
    for (const end of ends) {
      if (end.failure !== '') return end.failure;
      progress += end.received + end.sent + (end.closed ? 1 : 0) + (end.ended ? 1 : 0);
    }
    for (const { stack } of hosts) progress += stack.tcp.counters.CurrEstab;
    if (progress !== before) {
      before = progress;
      progressMs = sim.nowMs;
    } else if (sim.nowMs - progressMs > PATIENCE_MS) {
      return `no progress for ${(sim.nowMs - progressMs) / 1000} s of virtual time`;
    }
    return failures[0] ?? '';
  };
  const finish = (): string => {
    const done = (all: () => boolean, limitMs: number, what: string): string => {
      const reached = sim.runUntil(() => {
        failure = look();
        return failure !== '' || all();
      }, limitMs);
      return failure !== '' ? failure : reached ? '' : what;
    };
    return done(() => ends.every((end) => end.done), LIMIT_MS, 'not through')
      || ends.filter((end) => !end.ended && !end.toString().includes('early')).map((end) => `${end.name} did not see the end`).join()
      || done(() => hosts.every(({ stack }) => stack.tcp.connections === 0 && stack.tcp.timeWaits === 0), PATIENCE_MS, 'connections are left over');
  };
  try {
    failure = finish();
    sim.advance(1000);
    for (const { stack, name } of hosts) {
      if (failure === '' && stack.memory.freeBlocks !== stack.memory.blockCount) failure = `${name}: ${stack.memory.blockCount - stack.memory.freeBlocks} blocks leaked`;
    }
  } catch (error) {
    failure = error instanceof Error ? error.stack ?? error.message : String(error);
  }
  if (save !== undefined) sim.save(save);
  const sum = (of: (host: SimHost) => number): number => hosts.reduce((total, host) => total + of(host), 0);
  const result = {
    failure: failure === '' ? '' : `${failure}\n  ${ends.filter((end) => !end.done).join('\n  ')}\n${describe(hosts.map(({ stack, name }) => ({
      name, tcp: stack.tcp, memory: stack.memory, tcpu: null, application: null,
    })))}`,
    ms: sim.nowMs,
    bytes: ends.reduce((total, end) => total + end.received, 0),
    segments: sum(({ stack }) => stack.tcp.counters.OutSegs),
    retransmitted: sum(({ stack }) => stack.tcp.counters.RetransSegs),
    rtos: sum(({ stack }) => stack.tcp.counters.RtoTimeouts),
    checks: checks.reduce((total, one) => total + one.checks, 0),
    ringDrops: 0,
    ringFull: 0,
    hash: sim.hash,
  };
  sim.close();
  return result;
}
