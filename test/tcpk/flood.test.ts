/**
 * Garbage by the thousand: an application writes random records, random words all over its window, and makes
 * random calls, while a neighbour and the kernel-style TCP transfer data on the same stack. The stack never
 * throws, their data arrives byte for byte, and every packet that leaves comes from somebody who may send it.
 */

import fc from 'fast-check';
import t from 'tap';
import { attach } from '../../lib/attach.ts';
import type { OwnAttachment } from '../../lib/attach.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { LINK_CSUM, LINK_TSO4, LINK_TSO6 } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET } from '../../lib/socket.ts';
import type { BsdSocket, SocketProvider } from '../../lib/socket.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import { LocalChannel } from '../../lib/tcpk/local-channel.ts';
import { parse } from '../ip/harness.ts';
import { pump } from '../sim/pair.ts';
import type { Flow } from '../sim/pair.ts';
import { Watched } from './watched.ts';
import { Hostile, SIZES, World } from './world.ts';

const OURS = '10.0.0.1';
const PEER = '10.0.0.2';
const NEIGHBOUR_PORT = 80;
const KERNEL_PORT = 90;
/** What the hostile application is bound to. */
const HOSTILE_PORTS = [7000, 7001, 7002];
/** What it sets where it sends by the rules, so that its segments can be told from others'. */
const HOSTILE_TOS = 0x04;

function open(host: SocketProvider): BsdSocket {
  const socket = host.socket(AF_INET, 1, 0);
  if (typeof socket === 'number') throw new Error(`socket: ${socket}`);
  return socket;
}

class Siege {
  readonly clock = new VirtualClock(1_000_000);
  readonly a: Stack;
  readonly b: Stack;
  readonly link: Watched;
  readonly random: SeededRandom;
  hostile: Hostile | null = null;
  readonly wrong: string[] = [];
  flows: Flow[] = [];
  neighbour: OwnAttachment | null = null as OwnAttachment | null;
  attached = 0;
  /** What each transfer is to bring. */
  bytes = 0;
  /** Segments that hostile applications before this one have sent. */
  sentBefore = 0;
  /** Ports that the hostile application has had from the stack. */
  readonly ports = new Set(HOSTILE_PORTS);

  constructor(seed: number, features: number) {
    const { clock } = this;
    this.random = new SeededRandom(seed);
    const [left, right] = createMemoryPair({ clock, latencyUs: 4000, features });
    this.link = new Watched(left, (packet) => this.#check(packet));
    this.a = createStack({
      link: this.link, addresses: [`${OURS}/24`, 'fd00::1/64'], clock, random: new SeededRandom(1), memory: 8 << 20,
      applications: { shared: false, windowBytes: 16 << 20, maxFlows: 64 },
    });
    this.b = createStack({ link: right, addresses: [`${PEER}/24`, 'fd00::2/64'], clock, random: new SeededRandom(2), memory: 8 << 20 });
  }

  /** Where a packet says it comes from must be where it comes from. */
  #check(packet: Uint8Array): void {
    const { source, protocol, payload, tos } = parse(packet);
    if (source !== OURS && source !== 'fd00::1') this.wrong.push(`from ${source}`);
    if (protocol !== 6) {
      if (protocol !== 1 && protocol !== 58) this.wrong.push(`protocol ${protocol}`);
      return;
    }
    const port = (payload[0]! << 8) | payload[1]!;
    const flags = payload[13]!;
    if (port === NEIGHBOUR_PORT || port === KERNEL_PORT) {
      if (tos !== 0) this.wrong.push(`port ${port} with the hostile application's mark`);
    } else if (!this.ports.has(port) && !(tos === 0 && (flags & 4) !== 0)) {
      // The stack itself answers with RST for any port.
      this.wrong.push(`port ${port}, flags ${flags}`);
    }
  }

  async start(bytes: number): Promise<void> {
    this.bytes = bytes;
    const { a, b, clock } = this;
    this.neighbour = await attach({ stack: a, random: new SeededRandom(3), window: { rxRing: 256 << 10, memory: 4 << 20 } });
    const pairs: [BsdSocket, BsdSocket][] = [];
    for (const [host, port] of [[this.neighbour, NEIGHBOUR_PORT], [a, KERNEL_PORT]] as [SocketProvider, number][]) {
      const listener = open(host);
      if (listener.bind('', port) < 0 || listener.listen(16) < 0) throw new Error(`listen ${port}`);
      const client = open(b);
      client.connect(OURS, port);
      let server: BsdSocket | number = -1;
      clock.runUntil(() => {
        if (typeof server === 'number') server = listener.accept();
        return typeof server !== 'number';
      }, 10e6);
      if (typeof server === 'number') throw new Error('accept');
      pairs.push([client, server]);
    }
    for (const [client, server] of pairs) {
      this.flows.push(pump(server, client, bytes));
      const [write, read] = [server.onready!, client.onready!];
      this.flows.push(pump(client, server, bytes));
      const [back, there] = [client.onready!, server.onready!];
      server.onready = (events) => {
        write(events);
        there(events);
      };
      client.onready = (events) => {
        read(events);
        back(events);
      };
    }
  }

  get done(): boolean {
    return this.flows.every((flow) => flow.received === this.bytes);
  }

  /** The hostile application as it is, or a new one after it was thrown out. */
  attacker(): Hostile {
    if (this.hostile !== null && !this.hostile.app.gone) return this.hostile;
    const { a, clock } = this;
    this.sentBefore += this.hostile?.app.counters.OutSegs ?? 0;
    const hostile = new Hostile({ step: () => undefined } as World, new LocalChannel({
      tcpk: a.tcpk!, space: a.windows!, clock, info: a.channelInfo(0), sizes: SIZES, name: 'hostile',
      credentials: { pid: 1, uid: 1, gid: 1 }, privileged: true, refs: { ref: () => undefined, unref: () => undefined }, onreport: () => undefined,
    }));
    this.attached++;
    for (const port of HOSTILE_PORTS) hostile.bind(port === 7002 ? '' : OURS, port);
    for (let i = 0; i < 4; i++) hostile.open(i, OURS, 7000, PEER, 2000 + i);
    hostile.flush();
    this.hostile = hostile;
    return hostile;
  }

  int(below: number): number {
    return (this.random.int32() >>> 0) % below;
  }

  /** A number that could be a handle, a length, an offset, a port, or anything. */
  word(h: Hostile): number {
    switch (this.int(8)) {
      case 0: return this.random.int32();
      case 1: return this.int(8);
      case 2: return -this.int(8);
      case 3: return this.int(70_000);
      case 4: return h.window.memory + this.int(h.window.sizes.memory);
      case 5: return this.int(h.window.length);
      case 6: return [NEIGHBOUR_PORT, KERNEL_PORT, 7000, 0x0a000001, 0x0a000002, 0xffff, 0x7fffffff, -0x80000000][this.int(8)]!;
      default: return (HOSTILE_PORTS[this.int(3)]! << 16) | (2000 + this.int(4));
    }
  }

  /** One thing that a hostile application might do. */
  strike(): void {
    const h = this.attacker();
    const { window } = h;
    try {
      switch (this.int(12)) {
        case 0: {
          // A record of anything.
          const length = 8 + this.int(300);
          h.record(this.int(8) === 0 ? this.random.int32() || 1 : 1 + this.int(5), length,
            Object.fromEntries(Array.from({ length: (length >> 2) - 2 }, (_, i) => [i + 2, this.word(h)])));
          break;
        }
        case 1: case 2: case 3: {
          // A segment that is nearly right.
          const fields = {
            srcPort: 7000, dstPort: 2000 + this.int(4), seq: this.random.int32(), flags: this.int(256), tos: HOSTILE_TOS, ttl: this.int(256),
          };
          const s = {
            ...fields, handle: fields.dstPort - 2000,
            pieces: Array.from({ length: this.int(4) }, (): [number, number] => [window.memory + this.int(1 << 19), 1 + this.int(500)]),
            gsoType: this.int(4) === 0 ? this.int(6) : 0, gsoSize: this.int(3000),
          };
          const lie = this.int(8);
          if (lie === 0) s.srcPort = [NEIGHBOUR_PORT, KERNEL_PORT, this.int(65_536)][this.int(3)]!;
          if (lie === 1) s.handle = this.word(h);
          if (lie === 2) s.pieces.push([this.word(h), this.word(h)]);
          h.segment({ ...s, ...lie === 3 ? { headerLength: this.word(h) } : {}, ...lie === 4 ? { count: this.word(h) } : {} });
          break;
        }
        case 4: {
          const ports = [NEIGHBOUR_PORT, KERNEL_PORT, ...HOSTILE_PORTS];
          h.record(2, 124, {
            3: HOSTILE_TOS | (64 << 8), 6: 20,
            8: (ports[this.int(5)]! >> 8) | ((ports[this.int(5)]! & 0xff) << 8) | (this.random.int32() << 16),
            9: this.random.int32(), 10: this.random.int32(), 11: 0x50 | (this.int(256) << 8),
            23: 0, 24: 0, 25: 0xffff, 26: 0x0a000001, 27: 0, 28: 0, 29: 0xffff, 30: 0x0a000002,
          });
          break;
        }
        case 5:
          h.open(this.int(80) - 4, [OURS, PEER, 'fd00::1'][this.int(3)]!, [NEIGHBOUR_PORT, KERNEL_PORT, 7000, 7001, 7002][this.int(5)]!,
            [PEER, 'fd00::2', '10.0.0.77'][this.int(3)]!, this.int(65_536));
          break;
        case 6:
          if (this.int(2) === 0) h.close(this.int(80) - 4);
          else for (let i = 0; i < 4; i++) h.close(i).open(i, OURS, 7000, PEER, 2000 + i);
          break;
        case 7: {
          // Words anywhere in the rings, the call area and the packet memory.
          const from = window.rxRing >> 2;
          for (let i = this.int(50); i >= 0; i--) window.words[from + this.int((window.length >> 2) - from)] = this.word(h);
          break;
        }
        case 8:
          // Seldom, since it ends it: the control words.
          if (this.int(10) === 0) window.words[16 * this.int(8)] = this.word(h);
          break;
        case 9: {
          const args = Array.from({ length: 1 + this.int(12) }, () => this.word(h));
          // Those of TCPK. What classic applications may call is another matter.
          args[0] = this.int(4) === 0 ? Math.min(this.word(h), 31) : 1 + this.int(7);
          // It may get ports like anybody.
          const port = h.call(...args);
          if (args[0] === 1 && port >= 0) this.ports.add(h.result(1));
          if (args[0] === 4 && port >= 0) this.ports.add(port);
          break;
        }
        case 10: {
          const port = h.connect(this.int(64), [PEER, 'fd00::2', '8.8.8.8', OURS][this.int(4)]!, 1 + this.int(65_535));
          if (port >= 0) this.ports.add(port);
          break;
        }
        case 11:
          if (this.int(4) === 0) h.take();
          if (this.int(200) === 0) h.channel.close();
          break;
      }
    } catch (error) {
      if (!(error instanceof Error) || !error.message.startsWith('the transmit ring')) throw error;
    }
    h.flush();
  }

  close(): void {
    void this.a.close({ graceful: false });
    void this.b.close({ graceful: false });
  }
}

for (const [name, features] of [['plain packets', 0], ['with offload', LINK_CSUM | LINK_TSO4 | LINK_TSO6]] as const) {
  t.test(`neighbours of an application that writes garbage: ${name}`, { timeout: 60_000 }, async (t) => {
    const totals = { violations: 0, attached: 0, expelled: 0, sent: 0, strikes: 0 };
    await fc.assert(fc.asyncProperty(fc.integer(), async (seed) => {
      const siege = new Siege(seed, features);
      const { clock, a } = siege;
      const blocks = a.memory.freeBlocks;
      const space = a.windows!.freeBytes;
      await siege.start(1_000_000);
      let strikes = 0;
      for (; !siege.done && strikes < 20_000; strikes++) {
        siege.strike();
        if (strikes % 4 === 0) clock.advance(100);
      }
      if (!siege.done) throw new Error(`the transfers do not end: ${siege.flows.map((f) => f.received).join(', ')}`);
      if (siege.wrong.length > 0) throw new Error(siege.wrong.slice(0, 5).join('; '));
      const { counters, table } = a.tcpk!;
      const { tcp } = siege.neighbour!.tcpu.tcpu;
      if (tcp.counters.EstabResets + a.tcp.counters.EstabResets > 0) throw new Error('a connection was reset');
      totals.violations += counters.Violations;
      totals.expelled += counters.Expelled;
      totals.attached += siege.attached;
      totals.sent += siege.sentBefore + siege.hostile!.app.counters.OutSegs;
      totals.strikes += strikes;
      // When it has gone, nothing of it is left.
      siege.hostile!.channel.close();
      clock.advance(1_000_000);
      const left = [table.flows, table.bound];
      if (left.join() !== '1,1') throw new Error(`flows and bindings that are left: ${left.join(', ')}`);
      await siege.neighbour!.close({ graceful: false });
      clock.advance(200_000_000);
      siege.a.tcp.abortAll(103);
      clock.advance(1_000_000);
      if (table.flows + table.bound > 0) throw new Error('flows or bindings are left');
      if (a.windows!.freeBytes !== space) throw new Error('window space is lost');
      if (a.memory.freeBlocks !== blocks) throw new Error(`${blocks - a.memory.freeBlocks} blocks are lost`);
      siege.close();
    }), { numRuns: 12 });
    t.ok(totals.violations > 1000 && totals.expelled > 3 && totals.sent > 1000, JSON.stringify(totals));
  });
}
