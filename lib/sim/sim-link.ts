/**
 * A link of the simulated network: two nodes, a path for each direction (lib/link/impaired-path.ts), one alarm.
 *
 *     node a ── forward ──▶ node b
 *            ◀─ backward ──
 *
 * Every packet has its own bytes, which nobody changes from the moment it is sent.
 */

import type { Alarm, Clock } from '../clock.ts';
import { ImpairedPath, PathPacket } from '../link/impaired-path.ts';
import { SeededRandom } from '../random.ts';
import { DEFAULT_MTU, linkOptions } from './link-options.ts';
import type { LinkOptions } from './link-options.ts';
import type { Recorder } from './recorder.ts';

/** What links join: hosts and routers. */
export interface SimNode {
  readonly name: string;
  /** @internal A link has been put to this node; throws when the node takes no further one. */
  plug(link: SimLink): void;
  /** @internal Packets have come by `link`, at the present instant. */
  receive(packets: readonly Uint8Array[], link: SimLink): void;
  /** @internal The link has another MTU now. */
  mtuChanged(link: SimLink): void;
}

/** What a link needs of its simulation. */
export interface SimLinkParts {
  clock: Clock;
  recorder: Recorder;
  seed: number;
}

/** Why a packet did not pass, in the words of the capture. */
const REFUSALS: Readonly<Record<string, string>> = {
  lost: 'lost', queueDrops: 'dropped: the queue is full', cutDrops: 'dropped: the link is down',
  blackHoleDrops: 'dropped: too long for the black hole', limitDrops: 'dropped: too much is under way',
};

export class SimLink {
  /** `a-b`, after the nodes. */
  readonly name: string;
  readonly nodes: readonly [SimNode, SimNode];
  /** From the first node to the second, and back: settings as they are, counters. */
  readonly forward: ImpairedPath;
  readonly backward: ImpairedPath;
  readonly #clock: Clock;
  readonly #recorder: Recorder;
  readonly #interfaces: readonly [number, number];
  readonly #alarm: Alarm;
  #mtu = DEFAULT_MTU;

  /** @internal Use `Simulation.link()`. */
  constructor(a: SimNode, b: SimNode, options: LinkOptions, parts: SimLinkParts) {
    const { forward, backward, mtu } = linkOptions(options);
    this.name = `${a.name}-${b.name}`;
    this.nodes = [a, b];
    this.#clock = parts.clock;
    this.#recorder = parts.recorder;
    this.forward = new ImpairedPath(new SeededRandom(parts.seed), forward);
    this.backward = new ImpairedPath(new SeededRandom(parts.seed ^ 0x5bd1e995), backward);
    this.#mtu = mtu ?? DEFAULT_MTU;
    this.#interfaces = [parts.recorder.addInterface(`${a.name} to ${b.name}`), parts.recorder.addInterface(`${b.name} to ${a.name}`)];
    this.#alarm = parts.clock.alarm(() => this.#deliver());
  }

  get mtu(): number {
    return this.#mtu;
  }

  /** The node at the other end. */
  peerOf(node: SimNode): SimNode {
    return node === this.nodes[0] ? this.nodes[1] : this.nodes[0];
  }

  /** Changes settings from now on. What is not named stays as it is; a setting of both directions changes both. */
  set(options: LinkOptions): this {
    const { forward, backward, mtu } = linkOptions(options);
    const nowUs = this.#clock.nowUs();
    this.forward.change(forward, nowUs);
    this.backward.change(backward, nowUs);
    if (mtu !== undefined && mtu !== this.#mtu) {
      this.#mtu = mtu;
      for (const node of this.nodes) node.mtuChanged(this);
    }
    this.#setAlarm();
    return this;
  }

  /** Nothing that is sent from now on passes, in either direction; what is under way arrives. Nobody is told. */
  down(): this {
    this.forward.cut = this.backward.cut = true;
    return this;
  }

  /** Ends what `down()` began. */
  up(): this {
    this.forward.cut = this.backward.cut = false;
    return this;
  }

  get isUp(): boolean {
    return !this.forward.cut;
  }

  /** @internal `from` puts a packet on the link, and does not touch its bytes again. */
  transmit(from: SimNode, bytes: Uint8Array): void {
    const side = from === this.nodes[0] ? 0 : 1;
    const path = side === 0 ? this.forward : this.backward;
    const nowUs = this.#clock.nowUs();
    const passed = path.admit(new PathPacket(bytes, 0, 0, 0), nowUs);
    this.#recorder.sent(this.#interfaces[side]!, nowUs, bytes, passed === 0 ? REFUSALS[path.refusal]! : '');
    if (passed > 0) this.#setAlarm();
  }

  #setAlarm(): void {
    const nextUs = Math.min(this.forward.nextUs, this.backward.nextUs);
    if (nextUs < Infinity) this.#alarm.set(Math.max(nextUs, this.#clock.nowUs()));
    else this.#alarm.clear();
  }

  #deliver(): void {
    this.#hand(this.forward, 1);
    this.#hand(this.backward, 0);
    this.#setAlarm();
  }

  #hand(path: ImpairedPath, side: 0 | 1): void {
    const nowUs = this.#clock.nowUs();
    const packets: Uint8Array[] = [];
    for (let packet = path.peek(nowUs); packet !== null; packet = path.peek(nowUs)) {
      packets.push(packet.bytes);
      path.shift();
      this.#recorder.arrived(this.#interfaces[side]!, nowUs, packet.bytes);
    }
    if (packets.length > 0) this.nodes[side].receive(packets, this);
  }

  /** @internal Forgets what is under way. */
  close(): void {
    this.#alarm.clear();
    this.forward.clear();
    this.backward.clear();
  }
}
