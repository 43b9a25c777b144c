/** A channel for socket calls alone: an application and a stack in one thread, with a window of their own between. */

import type { Channel, ChannelInfo } from '../../lib/channel/channel.ts';
import { CALL_WORDS } from '../../lib/channel/channel.ts';
import { SocketCallClient } from '../../lib/channel/socket-call-client.ts';
import type { SocketRefs } from '../../lib/channel/socket-call-client.ts';
import { SocketCallServer } from '../../lib/channel/socket-call-server.ts';
import type { SocketCallParts } from '../../lib/channel/socket-call-server.ts';
import { CALL_SOCKET } from '../../lib/channel/socket-calls.ts';
import { MIN_MEMORY, MIN_RING, Window, windowLength } from '../../lib/channel/window.ts';

export interface CallChannelOptions extends Partial<SocketCallParts> {
  /** Bytes of the call area. Default 64 KiB. */
  area?: number;
  /** Runs the hand-over of events soon; default: at once, inside of the call or turn that caused them. */
  soon?: ((deliver: () => void) => void) | null;
  refs?: SocketRefs;
}

/** What of the options is for the server. */
function limits(options: CallChannelOptions): Partial<SocketCallParts> {
  const { area: _area, soon: _soon, refs: _refs, ...rest } = options;
  return rest;
}

export class CallChannel implements Channel {
  readonly window: Window;
  readonly info: ChannelInfo = { mtu: 1500, features: 0, addresses: [], name: 'test', pid: 0, clockOffsetUs: 0 };
  readonly server: SocketCallServer;
  readonly client: SocketCallClient;
  /** Events under way, and how many there ever were. */
  readonly events: [number, number, number][] = [];
  eventCount = 0;
  /** Most that were under way at one time. */
  most = 0;
  /** Calls by number, from CALL_SOCKET on. */
  readonly calls = new Int32Array(32);
  readonly #words = new Int32Array(CALL_WORDS);
  readonly #soon: ((deliver: () => void) => void) | null;
  #scheduled = false;

  constructor(parts: Pick<SocketCallParts, 'provider' | 'udp' | 'echo'>, options: CallChannelOptions = {}) {
    const sizes = { rxRing: MIN_RING, txRing: MIN_RING, call: options.area ?? 64 << 10, memory: MIN_MEMORY };
    // Not at the beginning of its memory, as in a stack's arena.
    this.window = new Window(new ArrayBuffer(windowLength(sizes) + 4096), 4096, sizes);
    this.#soon = options.soon ?? null;
    this.server = new SocketCallServer({
      window: this.window, ...limits(options), ...parts,
      notify: (socket, bits, value) => this.#notify(socket, bits, value),
    });
    this.client = new SocketCallClient(this, { refs: options.refs });
  }

  #notify(socket: number, bits: number, value: number): void {
    this.events.push([socket, bits, value]);
    this.eventCount++;
    this.most = Math.max(this.most, this.events.length);
    if (this.#soon === null) {
      this.deliver();
    } else if (!this.#scheduled) {
      this.#scheduled = true;
      this.#soon(() => this.deliver());
    }
  }

  /** Hands over the events that are under way. */
  deliver(): void {
    this.#scheduled = false;
    for (const event of this.events.splice(0)) this.client.event(...event);
  }

  /** As across processes: the stack has a copy of the words, all of which come back. */
  call(words: Int32Array, count: number): number {
    this.calls[words[0]! - CALL_SOCKET]!++;
    this.#words.fill(0);
    this.#words.set(words.subarray(0, count));
    const result = this.server.call(this.#words, count);
    words.set(this.#words);
    return result;
  }

  /** Calls of this number so far. */
  count(call: number): number {
    return this.calls[call - CALL_SOCKET]!;
  }

  get total(): number {
    return this.calls.reduce((sum, n) => sum + n, 0);
  }

  attach(): void {}
  ring(): void {}
  report(): void {}
  ref(): void {}
  unref(): void {}
  close(): void {}
}
