/**
 * A flood costs little: a SYN that is answered by a cookie, and an ACK with a cookie that is none, allocate nothing,
 * and there are hundreds of thousands a second of them through a whole stack.
 */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import { LINK_CSUM, PacketBatch, RX_CSUM_VALID, RX_FLAGS, RX_STRIDE } from '../../lib/link/link.ts';
import type { Link, LinkHost } from '../../lib/link/link.ts';
import type { TransmitQueue } from '../../lib/buffer/transmit-queue.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET } from '../../lib/socket.ts';
import { createHost } from '../sim/host.ts';
import type { Host } from '../sim/host.ts';
import { open } from '../sim/pair.ts';
import { allocated } from './allocated.ts';

const BATCH = 64;
const PACKETS = 100_000;
/** Bytes a packet that are noise. */
const NOISE = 4;
/** In a second of CPU time; a small part of what it is. */
const LEAST_A_SECOND = 100_000;
/** MSS 1460, SACK, timestamps, window scale 7. */
const OPTIONS = [0x020405b4, 0x0402080a, 0x00000064, 0, 0x01030307];

class Flooder implements Link {
  readonly name = 'flooder';
  readonly mtu = 1500;
  readonly features = LINK_CSUM;
  readonly clock = new VirtualClock(1_000_000);
  readonly stack: Host;
  host!: LinkHost;
  batch!: PacketBatch;
  answers = 0;
  #n = 0;

  constructor() {
    this.stack = createHost('host', {
      link: this, addresses: ['10.90.0.2/24'], clock: this.clock, random: new SeededRandom(1), memory: 16 << 20,
    }, null);
    const listener = open(this.stack, AF_INET);
    listener.bind('', 80);
    listener.listen(16);
  }

  attach(host: LinkHost): void {
    this.host = host;
    this.batch = new PacketBatch(host.memory.bytes, BATCH);
  }

  send(queue: TransmitQueue): void {
    this.answers += queue.tail - queue.head;
    queue.head = queue.tail;
  }

  ref(): void {}
  unref(): void {}
  close(): void {}

  /** A batch of segments with these flags, each from a source of its own. */
  flood(flags: number): void {
    const { batch } = this;
    const { view } = batch;
    batch.count = 0;
    for (let i = 0; i < BATCH; i++) {
      const at = i * 128;
      const n = this.#n++;
      view.setInt32(at, 0x45000000 | 60);
      view.setInt32(at + 4, 0x00014000);
      view.setInt32(at + 8, 0x40060000);
      view.setInt32(at + 12, 0x0b000000 | (Math.imul(n, 0x9e3779b1) >>> 8));
      view.setInt32(at + 16, 0x0a5a0002);
      let sum = 0;
      for (let k = 0; k < 20; k += 2) sum += view.getUint16(at + k);
      sum = (sum & 0xffff) + (sum >>> 16);
      view.setUint16(at + 10, ~((sum & 0xffff) + (sum >>> 16)));
      view.setInt32(at + 20, ((1024 + (n & 0x7fff)) << 16) | 80);
      view.setInt32(at + 24, Math.imul(n, 0x85ebca6b));
      view.setInt32(at + 28, Math.imul(n, 0xc2b2ae35));
      view.setInt32(at + 32, ((40 << 26) | (flags << 16) | 0xffff) | 0);
      view.setInt32(at + 36, 0);
      for (let k = 0; k < 5; k++) view.setInt32(at + 40 + 4 * k, OPTIONS[k]!);
      batch.add(at, 60);
      batch.meta[i * RX_STRIDE + RX_FLAGS] = RX_CSUM_VALID;
    }
    batch.timeUs = this.clock.nowUs();
    this.host.input(batch);
  }

  /** Bytes a packet that are allocated, after a warm-up; and packets for a second of CPU time, the best of three. */
  measure(flags: number): { bytes: number; rate: number } {
    const rounds = Math.ceil(PACKETS / BATCH);
    const run = (): void => {
      for (let i = 0; i < rounds; i++) this.flood(flags);
    };
    run();
    let rate = 0;
    for (let i = 0; i < 3; i++) {
      const start = process.cpuUsage();
      run();
      const { user, system } = process.cpuUsage(start);
      rate = Math.max(rate, rounds * BATCH / ((user + system) / 1e6));
    }
    return { bytes: allocated(run) / PACKETS, rate };
  }
}

t.test('a SYN that is answered by a cookie', (t) => {
  const flooder = new Flooder();
  for (let i = 0; i < 4; i++) flooder.flood(0x02);
  const before = flooder.answers;
  const { bytes, rate } = flooder.measure(0x02);
  const { counters } = flooder.stack.tcp;
  t.ok(counters.SyncookiesSent >= 5 * PACKETS, `${counters.SyncookiesSent} cookies`);
  t.ok(flooder.answers - before >= 5 * PACKETS, 'all of them left');
  t.equal(flooder.stack.tcp.connections, 16);
  t.ok(bytes < NOISE, `${bytes.toFixed(2)} bytes a SYN`);
  t.ok(rate > LEAST_A_SECOND, `${Math.round(rate / 1000)},000 SYNs a second`);
  t.end();
});

t.test('an ACK whose cookie is none', (t) => {
  const flooder = new Flooder();
  for (let i = 0; i < 4; i++) flooder.flood(0x02);
  const { bytes, rate } = flooder.measure(0x10);
  const { counters } = flooder.stack.tcp;
  t.ok(counters.SyncookiesFailed >= 5 * PACKETS, `${counters.SyncookiesFailed} were looked at`);
  t.equal(counters.SyncookiesRecv, 0);
  t.ok(bytes < NOISE, `${bytes.toFixed(2)} bytes an ACK`);
  t.ok(rate > LEAST_A_SECOND, `${Math.round(rate / 1000)},000 ACKs a second`);
  t.end();
});
