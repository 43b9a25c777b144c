/** 50,000 forged SYNs a second for seconds: who is honest connects within a second, and transfers data as ever. */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET, IPPROTO_TCP, TCP_INFO } from '../../lib/socket.ts';
import type { BsdSocket, TcpInfo } from '../../lib/socket.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import { TCP, ipPacket, tcpSegment } from '../fuzz/wire-format.ts';
import { createHost } from '../sim/host.ts';
import type { TcpuSide } from '../sim/host.ts';
import { open, pump } from '../sim/pair.ts';
import { Wire } from '../sim/wire.ts';

const NONE = new Uint8Array(0);
const SYN_OPTIONS = Uint8Array.from([2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7]);
const PER_MS = 50;

interface Case {
  tcp?: TcpOptions;
  tcpu?: TcpuSide;
  /** The client's. */
  client?: TcpOptions;
  /** All forged SYNs come from one address. */
  oneSource?: boolean;
  backlog?: number;
}

function flooded(test: typeof t, { tcp, tcpu, client, oneSource, backlog = 128 }: Case, then: (info: TcpInfo, c: { sent: number; recv: number }) => void): void {
  const clock = new VirtualClock(1_000_000);
  const wire = new Wire(clock, { latencyUs: 5000 });
  const random = new SeededRandom(9);
  const victim = createHost('victim', {
    link: wire.links[0], addresses: ['10.90.0.2/24'], clock, random: new SeededRandom(1), memory: 16 << 20, tcp,
  }, tcpu === undefined ? null : { tcp, ...tcpu });
  const honest = createHost('honest', {
    link: wire.links[1], addresses: ['10.90.0.1/24'], clock, random: new SeededRandom(2), memory: 16 << 20, tcp: client,
  }, null);
  // Forged sources do not answer; their SYN-ACKs go nowhere.
  wire.filter = (packet, side) => side === 1 || packet[16] === 10;
  const listener = open(victim, AF_INET);
  listener.bind('', 80);
  listener.listen(backlog);
  const accepted: BsdSocket[] = [];
  listener.onready = () => {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) accepted.push(one);
  };
  const { connections } = victim.tcp;
  let forged = 0;
  const flood = clock.alarm(() => {
    const packets: Uint8Array[] = [];
    for (let i = 0; i < PER_MS; i++, forged++) {
      const source = oneSource === true ? 0x0b000001 : 0x0b000000 | (random.int32() >>> 8);
      packets.push(ipPacket(
        { version: 4, source, destination: 0x0a5a0002, protocol: TCP, tos: 0, ttl: 64, id: 0, fragment: 0x4000, options: NONE },
        tcpSegment({
          sourcePort: 1024 + (random.int32() >>> 17), destinationPort: 80, seq: random.int32(), ack: 0, flags: 0x02, window: 65_535,
          urgent: 0, options: SYN_OPTIONS, payload: NONE,
        }),
      ));
    }
    wire.links[0].receiveMany(packets);
    flood.set(clock.nowUs() + 1000);
  });
  flood.set(clock.nowUs());
  clock.advance(1_000_000);
  let slowest = 0;
  let last: [BsdSocket, BsdSocket] | undefined;
  for (let i = 0; i < 10; i++) {
    const far = open(honest, AF_INET);
    const start = clock.nowUs();
    far.connect('10.90.0.2', 80);
    const found = clock.runUntil(() => accepted.length > i, 5e6);
    if (!found) {
      test.fail(`connection ${i} does not get in`);
      break;
    }
    slowest = Math.max(slowest, clock.nowUs() - start);
    last = [far, accepted[i]!];
  }
  test.ok(slowest < 1e6, `the slowest of ten connections took ${slowest / 1000} ms`);
  if (last !== undefined) {
    const info = last[1].getsockopt(IPPROTO_TCP, TCP_INFO) as TcpInfo;
    then(info, { sent: victim.tcp.counters.SyncookiesSent, recv: victim.tcp.counters.SyncookiesRecv });
    const flow = pump(last[0], last[1], 500_000);
    test.ok(clock.runUntil(() => flow.received === 500_000, 10e6), 'and transfers data meanwhile');
  }
  test.ok(victim.tcp.connections - connections <= backlog + 10, `${victim.tcp.connections} connections`);
  test.comment(`${forged} forged SYNs`);
  flood.clear();
  test.equal(victim.violations(), '');
  for (const host of [victim, honest]) host.close();
}

t.test('cookies', (t) => {
  flooded(t as never, {}, (info, { sent, recv }) => {
    t.ok(sent > 50_000);
    t.equal(recv, 10, 'the honest ones got cookies, too');
    t.match(info, { timestamps: true, sack: true, sndWscale: 10, rcvWscale: 10, peerMss: 1460 }, 'and all options');
  });
  t.end();
});

t.test('cookies, from one address', (t) => {
  flooded(t as never, { oneSource: true }, () => undefined);
  t.end();
});

t.test('cookies, and a client without timestamps', (t) => {
  flooded(t as never, { client: { timestamps: false } }, (info) => {
    t.match(info, { timestamps: false, sack: false, sndWscale: 0, rcvWscale: 0, peerMss: 1460 });
  });
  t.end();
});

// 4096 half-open connections are 80 ms of this flood, eight round trips.
t.test('no cookies, and a long queue: the oldest makes room, and who answers soon gets in', (t) => {
  flooded(t as never, { tcp: { synCookies: 'off', maxSynBacklog: 8192 }, backlog: 4096 }, () => undefined);
  t.end();
});

t.test('an application with its own TCP', (t) => {
  flooded(t as never, { tcpu: {} }, (info, { recv }) => {
    t.equal(recv, 10);
    t.match(info, { timestamps: true, sack: true });
  });
  t.end();
});
