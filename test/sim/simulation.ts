/**
 * One run of one draw: two whole stacks in virtual time over a memory pair, the network of the draw
 * between them, applications on top, invariants checked after every event.
 *
 *     applications              applications
 *     (TCPU)                    (TCPU)
 *     stack 0                   stack 1
 *     (capture)                 (capture)
 *     impairment, or fates      (fates)
 *     memory pair ───────────── memory pair
 */

import { VirtualClock } from '../../lib/clock.ts';
import { EINPROGRESS } from '../../lib/errno.ts';
import { capture } from '../../lib/link/capture.ts';
import type { CaptureStream } from '../../lib/link/capture.ts';
import { impair } from '../../lib/link/impair.ts';
import type { Link } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, AF_INET6 } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import type { Seq } from '../../lib/wire/seq.ts';
import { Application, setOptions } from './application.ts';
import { BatchFates } from './batch-fates.ts';
import { longestRoundTripUs, roundTripLoss, slowest } from './draw.ts';
import type { Draw } from './draw.ts';
import { createHost } from './host.ts';
import type { Host } from './host.ts';
import { Invariants } from './invariants.ts';

const ADDRESSES = { 4: ['10.90.0.1', '10.90.0.2'], 6: ['fd90::1', 'fd90::2'] } as const;
const FIRST_PORT = 7000;

export interface SimulationResult {
  /** What went wrong, or ''. */
  failure: string;
  /** Virtual time that it took, ms. */
  ms: number;
  /** Bytes that arrived. */
  bytes: number;
  segments: number;
  retransmitted: number;
  rtos: number;
  /** TCBs looked at by the invariants. */
  checks: number;
  /** Segments that found no room in an application's ring; times that an application found none in its own. */
  ringDrops: number;
  ringFull: number;
}

export interface SimulationOptions {
  /** Where to record what each of the two stacks sees. */
  captures?: [string | CaptureStream, string | CaptureStream];
}

/**
 * Longest time without any progress that is the network's fault, µs: retransmissions back off, and
 * each may be lost again, so many times in a row as happens once in 10^9.
 */
function patienceUs(draw: Draw): number {
  // Full queues and full memory lose as well.
  const contended = slowest(draw) < Infinity || draw.connections.length > 6 || draw.tcpu[0] !== null || draw.tcpu[1] !== null;
  const f = Math.max(roundTripLoss(draw), contended ? 0.2 : 0);
  const inRow = f === 0 ? 1 : Math.min(Math.max(Math.ceil(Math.log(1e-9) / Math.log(f)), 3), 14);
  const rtoUs = Math.max(200_000, 3 * longestRoundTripUs(draw)) + 1_000_000;
  let us = 5_000_000;
  for (let i = 0; i < inRow; i++) us += Math.min(rtoUs * 2 ** i, 120e6);
  return us;
}

/** All of a transfer takes this long at most, µs. */
function limitUs(draw: Draw): number {
  let bytes = 0;
  for (const { streams } of draw.connections) bytes += streams[0].bytes + streams[1].bytes;
  return 60e6 + 4 * patienceUs(draw) + 20 * ((bytes * 8e6) / slowest(draw)) + (bytes / 500) * (0.05 + roundTripLoss(draw)) * 4e6
    + (bytes / 536) * longestRoundTripUs(draw);
}

function makeLinks(draw: Draw, clock: VirtualClock): [Link, Link] {
  const [left, right] = createMemoryPair({
    clock, mtu: draw.mtu, latencyUs: draw.latencyUs, features: draw.features, queuePackets: draw.queuePackets,
  });
  if (draw.impair !== null) return [impair(left, draw.impair), right];
  const fates = (link: Link, seed: number): Link => (draw.batchLoss + draw.batchSwap === 0 ? link
    : new BatchFates(link, new SeededRandom(draw.seed ^ seed), draw.batchLoss, draw.batchSwap));
  return [fates(left, 0x51ed27), fates(right, 0x2c1b3c)];
}

/** Runs the draw to its end. Two runs of one draw are the same, packet by packet. */
export function simulate(draw: Draw, options: SimulationOptions = {}): SimulationResult {
  const clock = new VirtualClock(draw.startUs);
  const links = makeLinks(draw, clock);
  const hosts = links.map((link, side) => createHost(`host ${side}`, {
    link: options.captures === undefined ? link : capture(link, options.captures[side]!),
    addresses: [`${ADDRESSES[4][side]!}/24`, `${ADDRESSES[6][side]!}/64`],
    clock,
    random: new SeededRandom(draw.seed * 2 + side),
    memory: draw.memory[side]!,
    tcp: draw.tcp[side]!,
  }, draw.tcpu[side]!));
  if (draw.iss !== null) for (const host of hosts) host.tcp.initialSequence = () => draw.iss as Seq;
  const invariants = hosts.map((host) => new Invariants(host, host.name));
  const ends: Application[] = [];
  const failures: string[] = [];
  draw.connections.forEach((connection, number) => {
    const pair = [0, 1].map((side) => new Application(clock, connection, number, side));
    ends.push(...pair);
    openConnection(draw, hosts, clock, number, pair, failures);
  });

  let progressUs = clock.nowUs();
  let before = -1;
  const patience = patienceUs(draw);
  const step = (): string => {
    for (const one of invariants) one.check();
    for (const host of hosts) {
      const violations = host.violations();
      if (violations !== '') return violations;
    }
    let progress = 0;
    for (const end of ends) {
      if (end.failure !== '') return end.failure;
      progress += end.received + end.sent + (end.closed ? 1 : 0) + (end.ended ? 1 : 0);
    }
    progress += hosts[0]!.tcp.counters.CurrEstab + hosts[1]!.tcp.counters.CurrEstab;
    if (progress !== before) {
      before = progress;
      progressUs = clock.nowUs();
    } else if (clock.nowUs() - progressUs > patience) {
      return `no progress for ${(clock.nowUs() - progressUs) / 1e6} s of virtual time`;
    }
    return failures[0] ?? '';
  };
  const failure = run(draw, clock, hosts, ends, step);
  const result: SimulationResult = {
    failure,
    ms: (clock.nowUs() - draw.startUs) / 1000,
    bytes: ends.reduce((sum, end) => sum + end.received, 0),
    segments: hosts.reduce((sum, host) => sum + host.tcp.counters.OutSegs, 0),
    retransmitted: hosts.reduce((sum, host) => sum + host.tcp.counters.RetransSegs, 0),
    rtos: hosts.reduce((sum, host) => sum + host.tcp.counters.RtoTimeouts, 0),
    checks: invariants.reduce((sum, one) => sum + one.checks, 0),
    ringDrops: hosts.reduce((sum, host) => sum + (host.application?.counters.InRingFull ?? 0), 0),
    ringFull: hosts.reduce((sum, host) => sum + (host.tcpu?.counters.RingFull ?? 0), 0),
  };
  if (failure !== '') result.failure = `${failure}\n  ${ends.filter((end) => !end.done).join('\n  ')}\n${describe(hosts)}`;
  for (const host of hosts) host.close();
  return result;
}

function openConnection(
  draw: Draw, hosts: Host[], clock: VirtualClock, number: number, pair: Application[], failures: string[],
): void {
  const connection = draw.connections[number]!;
  const { opener, startUs } = connection;
  const domain = draw.version === 4 ? AF_INET : AF_INET6;
  const port = FIRST_PORT + number;
  const listener = hosts[1 - opener]!.socket(domain) as BsdSocket;
  setOptions(listener, connection, 1 - opener);
  const bound = listener.bind('', port);
  if (bound < 0) failures.push(`bind: errno ${-bound}`);
  listener.listen(16);
  listener.onready = () => {
    const socket = listener.accept();
    if (typeof socket === 'number') return;
    pair[1 - opener]!.start(socket);
    if (typeof listener.accept() !== 'number') failures.push(`connection ${number} was accepted twice`);
    listener.close();
  };
  const connect = clock.alarm(() => {
    const socket = hosts[opener]!.socket(domain) as BsdSocket;
    setOptions(socket, connection, opener);
    const result = socket.connect(ADDRESSES[draw.version][1 - opener]!, port);
    if (result !== -EINPROGRESS) failures.push(`connect: ${result}`);
    pair[opener]!.start(socket);
  });
  connect.set(clock.nowUs() + startUs);
}

/** Returns what went wrong, or ''. */
function run(draw: Draw, clock: VirtualClock, hosts: Host[], ends: Application[], step: () => string): string {
  let failure = '';
  try {
    const stopUs = clock.nowUs() + limitUs(draw);
    // One look at everything after each event.
    const through = clock.runUntil(() => {
      failure = step();
      return failure !== '' || ends.every((end) => end.done);
    }, stopUs - clock.nowUs());
    if (failure !== '') return failure;
    if (!through) return clock.nextUs === Infinity ? 'nothing is left that could happen' : `not through after ${limitUs(draw) / 1e6} s of virtual time`;
    for (const end of ends) if (!end.ended && !end.toString().includes('early')) return `${end.name} did not see the end`;
    // What the applications have left behind goes by itself: last ACKs, TIME-WAIT, packets on their way.
    const gone = clock.runUntil(() => {
      failure = step();
      return failure !== '' || hosts.every(({ tcp }) => tcp.connections === 0 && tcp.timeWaits === 0);
    }, patienceUs(draw) + 70e6);
    if (failure !== '') return failure;
    if (!gone) return 'connections are left over';
    clock.advance(1e6);
    for (const host of hosts) {
      const left = host.leftOver();
      if (left !== '') return left;
    }
    return '';
  } catch (error) {
    return error instanceof Error ? error.stack ?? error.message : String(error);
  }
}

function nonZero(counters: object): object {
  return Object.fromEntries(Object.entries(counters).filter(([, value]) => value !== 0));
}

/** The connections as they stand, for a person. */
export function describe(hosts: readonly Pick<Host, 'name' | 'tcp' | 'memory' | 'tcpu' | 'application'>[]): string {
  const lines: string[] = [];
  for (const stack of hosts) {
    stack.tcp.forEach((tcb) => {
      lines.push(`  ${stack.name} ${tcb.localPort}->${tcb.remotePort} state ${tcb.state} flight ${tcb.flight} unsent ${(tcb.sndEnd - tcb.sndNxt) | 0}`
        + ` sndWnd ${tcb.sndWnd} cwnd ${tcb.cwnd} pipe ${tcb.pipe} mss ${tcb.sndMss} recovery ${tcb.recovery} sacked ${tcb.sackedBytes}`
        + ` lost ${tcb.lostBytes} rexmtAt ${tcb.rexmtAt} persistAt ${tcb.persistAt} backoff ${tcb.backoff} rto ${tcb.rtoMs} now ${stack.tcp.nowMs}`
        + ` readable ${tcb.readable} rcvWnd ${tcb.rcvWnd} ooo ${tcb.oooCount} rtos ${tcb.rtos} fin ${tcb.finQueued}/${tcb.finSent}/${tcb.finReceived}`);
    });
    lines.push(`  ${stack.name} free blocks ${stack.memory.freeBlocks}/${stack.memory.blockCount} exhausted ${stack.memory.exhausted}`
      + ` time-waits ${stack.tcp.timeWaits} ${JSON.stringify(nonZero(stack.tcp.counters))}`);
    if (stack.tcpu !== null) {
      lines.push(`  ${stack.name} kept ${stack.tcpu.memory.kept} ${JSON.stringify(nonZero(stack.tcpu.counters))}`
        + ` TCPK ${JSON.stringify(nonZero(stack.application!.counters))} flows ${stack.application!.flowCount}`);
    }
  }
  return lines.join('\n');
}
