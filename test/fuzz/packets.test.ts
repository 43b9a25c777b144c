/**
 * A hundred thousand bad packets against a whole stack with everything going on (target.ts): no exception, no
 * hang, no growth, no block lost, the invariants of every connection hold, and a connection that nobody
 * forges gets its bytes. Half of the packets have their checksums put right, so that they get deep.
 *
 *     TCPU_FUZZ_SEED=7        another seed
 *     TCPU_FUZZ_PACKETS=1e6   more packets
 */

import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { SeededRandom } from '../../lib/random.ts';
import { packetDraw } from './arbitraries.ts';
import type { PacketDraw } from './arbitraries.ts';
import { heapUsed } from './heap.ts';
import { Mutator } from './mutate.ts';
import { Target } from './target.ts';
import { hex, ipPacket, repair, tcpSegment } from './wire-format.ts';

const SEED = Number(process.env.TCPU_FUZZ_SEED ?? 1);
const PACKETS = Number(process.env.TCPU_FUZZ_PACKETS ?? 100_000);
/** Packets between two looks at everything, and between two sets of victims. */
const LOOK = 50;
const ROUND = 500;
/** Most processor time that the stack may take for one packet, ms; garbage collection may come in between. */
const SLOW_MS = 250;

/** Throws packets at a target and watches it. */
class Attack {
  readonly target: Target;
  readonly mutator: Mutator;
  readonly random: SeededRandom;
  thrown = 0;
  slowestMs = 0;
  totalMs = 0;
  #last: readonly Uint8Array[] = [];
  #recent: string[] = [];

  constructor(seed: number) {
    this.random = new SeededRandom(seed);
    this.mutator = new Mutator(this.random);
    this.target = new Target(seed);
  }

  throw(packets: readonly Uint8Array[]): void {
    this.#last = packets;
    this.#recent.push(...packets.map(hex));
    if (this.#recent.length > LOOK * 2) this.#recent.splice(0, this.#recent.length - LOOK * 2);
    // Processor time: others may use this machine.
    const before = process.cpuUsage();
    this.target.throw(packets);
    const { user, system } = process.cpuUsage(before);
    const ms = (user + system) / 1000;
    this.slowestMs = Math.max(this.slowestMs, ms);
    this.totalMs += ms;
    const passed = Math.floor((this.thrown + packets.length) / LOOK) - Math.floor(this.thrown / LOOK);
    const rounds = Math.floor((this.thrown + packets.length) / ROUND) - Math.floor(this.thrown / ROUND);
    this.thrown += packets.length;
    if (passed > 0) {
      this.target.check();
      this.target.clock.advance(this.mutator.below(20_000));
      this.target.check();
    }
    if (rounds > 0) {
      this.target.talk();
      this.target.replenish();
    }
  }

  /** What led to a failure, for a person. */
  context(): string {
    return `seed ${SEED}, packet ${this.thrown}: ${this.#last.map(hex).join(' ')}\nbefore it:\n${this.#recent.join('\n')}`;
  }
}

/** Runs `body` and, if it throws, says what led to it. */
function watched(t: Test, attack: Attack, body: () => void): boolean {
  try {
    body();
    return true;
  } catch (error) {
    t.fail(`${error instanceof Error ? error.stack : String(error)}\n${attack.context()}`);
    return false;
  }
}

/** No growth: everything comes back when all is closed and every timer has passed. */
function checkEnd(t: Test, attack: Attack, heapBefore: number): void {
  const { target } = attack;
  const { stack } = target;
  const counters = stack.counters();
  t.comment(`${attack.thrown} packets, ${(attack.totalMs * 1000 / attack.thrown).toFixed(1)} µs each, the slowest ${attack.slowestMs.toFixed(1)} ms`);
  t.comment(`tcp ${JSON.stringify(nonZero(counters.tcp!))}`);
  t.comment(`ip ${JSON.stringify(nonZero(counters.ip!))} ip6 ${JSON.stringify(nonZero(counters.ip6!))}`);
  t.ok(attack.slowestMs < SLOW_MS, `no packet took longer than ${SLOW_MS} ms`);
  watched(t, attack, () => target.talk());
  target.finish(1800e6);
  t.equal(stack.tcp.connections, 0, 'no connection is left');
  t.equal(stack.tcp.timeWaits, 0);
  t.same(stack.ip.reassemblyUse, { datagrams: 0, blocks: 0 });
  t.equal(stack.memory.freeBlocks, stack.memory.blockCount, 'every block is back');
  const grown = (heapUsed() - heapBefore) / 1048576;
  t.ok(grown < 16, `the heap has grown by ${grown.toFixed(1)} MiB`);
  target.close();
}

function nonZero(counters: Record<string, number>): object {
  return Object.fromEntries(Object.entries(counters).filter(([, value]) => value !== 0));
}

/** The bytes of a drawn packet, its TCP numbers made relative to a live connection. */
function bytesOf(draw: PacketDraw, target: Target): Uint8Array {
  const { ip, tcp } = draw;
  if (tcp === null) return ipPacket(ip, draw.payload);
  const live = draw.live < 0 ? null : target.live(draw.live);
  if (live === null) return ipPacket(ip, tcpSegment(tcp));
  // To a connection of this version, from its peer.
  const segment = tcpSegment({
    ...tcp, sourcePort: live.remotePort, destinationPort: live.localPort, seq: (live.rcvNxt + tcp.seq) | 0, ack: (live.sndUna + tcp.ack) | 0,
  });
  if (live.flow.version === 4) {
    return ipPacket(ip.version === 4 ? { ...ip, source: live.flow.r3 >>> 0, destination: live.flow.l3 >>> 0 } : {
      version: 4, source: live.flow.r3 >>> 0, destination: live.flow.l3 >>> 0, protocol: 6, tos: 0, ttl: 64, id: 0, fragment: 0, options: new Uint8Array(0),
    }, segment);
  }
  return ipPacket(ip.version === 6 ? { ...ip, source: live.flow.r3, destination: live.flow.l3 } : {
    version: 6, source: live.flow.r3, destination: live.flow.l3, protocol: 6, trafficClass: 0, flowLabel: 0, hopLimit: 64, extensions: [],
  }, segment);
}

t.test('mutations of a live conversation', { timeout: Math.max(100_000, PACKETS) }, async (t) => {
  const heapBefore = heapUsed();
  const attack = new Attack(SEED);
  const { target, mutator } = attack;
  const most = Math.round(PACKETS * 0.7);
  watched(t, attack, () => {
    while (attack.thrown < most) {
      const packet = mutator.pick(target.recorded);
      let packets = mutator.below(12) === 0 ? mutator.fragments(packet) : [packet];
      const bad = packets.map((one) => {
        if (packets.length > 1 && mutator.below(4) > 0) return one;
        const mutated = mutator.mutate(one, mutator.pick(target.recorded));
        // Half of them raw; of the rest some with lengths as mutated.
        if (mutator.below(2) === 0) repair(mutated, mutator.below(4) > 0);
        return mutated;
      });
      packets = bad.filter((one) => one.length > 0);
      if (packets.length > 0) attack.throw(packets);
    }
  });
  checkEnd(t, attack, heapBefore);
});

t.test('packets of every structure', { timeout: Math.max(100_000, PACKETS) }, async (t) => {
  const heapBefore = heapUsed();
  const attack = new Attack(SEED + 1000);
  const { target, mutator } = attack;
  const runs = Math.round((PACKETS * 0.3) / 8);
  watched(t, attack, () => {
    fc.assert(fc.property(fc.array(packetDraw, { minLength: 8, maxLength: 8 }), (draws) => {
      for (const draw of draws) {
        const packet = bytesOf(draw, target);
        // The field of the checksum is 16 bits: sometimes a wrong one.
        if (mutator.below(20) === 0) packet[mutator.below(packet.length)]! ^= 1 << mutator.below(8);
        attack.throw([packet]);
      }
    }), { numRuns: runs, seed: SEED, endOnFailure: true, verbose: 0, includeErrorInReport: true });
  });
  checkEnd(t, attack, heapBefore);
});
