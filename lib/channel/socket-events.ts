/**
 * Events of sockets (`TO_APP_EVENT`) on their way into a ring: what finds no room waits, one entry for each socket, in
 * order, with all that has happened to it since. So none is ever lost, and no more wait than there are sockets.
 */

import { EVENT_BITS, EVENT_SOCKET, EVENT_VALUE, TO_APP_EVENT } from './records.ts';
import type { RingWriter } from './ring.ts';
import type { Window } from './window.ts';

export class SocketEvents {
  readonly #ring: RingWriter;
  readonly #words: Int32Array;
  readonly #late = new Map<number, { bits: number; value: number }>();

  constructor(ring: RingWriter, window: Window) {
    this.#ring = ring;
    this.#words = window.words;
  }

  /** Puts an event into the ring, not yet shown, or behind those that wait. */
  add(socket: number, bits: number, value: number): void {
    if (this.#late.size === 0 && this.#put(socket, bits, value)) return;
    const late = this.#late.get(socket);
    this.#late.set(socket, { bits: bits | (late?.bits ?? 0), value });
  }

  /** Whether some wait for room. */
  get late(): boolean {
    return this.#late.size > 0;
  }

  /** There may be room: puts what waits. Returns whether nothing is left. */
  retry(): boolean {
    for (const [socket, { bits, value }] of this.#late) {
      if (!this.#put(socket, bits, value)) return false;
      this.#late.delete(socket);
    }
    return true;
  }

  #put(socket: number, bits: number, value: number): boolean {
    const w = this.#ring.reserve(TO_APP_EVENT, (EVENT_VALUE + 1) * 4);
    if (w < 0) return false;
    const words = this.#words;
    words[w + EVENT_SOCKET] = socket;
    words[w + EVENT_BITS] = bits;
    words[w + EVENT_VALUE] = value;
    this.#ring.commit();
    return true;
  }
}
