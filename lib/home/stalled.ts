/**
 * Who gives memory back when there is none left to send with: connections whose peers do not take what is queued for
 * them, those that have stood still for the longest first (RFC 6429 section 4 allows it; Linux's TCPAbortOnMemory is
 * for orphans only). Nobody is looked at, and nothing is remembered, as long as there is memory.
 *
 * A connection stands still when for `limits.tcp.stalledMs` it has moved neither `LEAST_BYTES` nor all that was
 * queued when it was first seen: a peer that takes a byte now and then stands still, too.
 */

import { BLOCK_SIZE } from '../buffer/packet-memory.ts';
import { ETIMEDOUT } from '../errno.ts';
import { abortWith } from '../tcp/ending.ts';
import type { TcpHome } from '../tcp/home.ts';
import { ESTABLISHED } from '../tcp/states.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { seqGeq } from '../wire/seq.ts';
import type { Seq } from '../wire/seq.ts';

/** Least time between two looks at all connections, ms. */
const LOOK_MS = 1000;
/** What was seen longer ago than this says nothing about now, ms. */
const FORGET_MS = 120_000;
const LEAST_BYTES = BLOCK_SIZE;

interface Seen {
  /** One past the last byte that was queued; bytes acknowledged; ms. */
  end: Seq;
  acked: number;
  sinceMs: number;
}

export interface StalledHome extends TcpHome {
  forEach(visit: (tcb: Tcb) => void): void;
}

export class StalledSenders {
  readonly #home: StalledHome;
  #seen = new Map<Tcb, Seen>();
  #lookedMs = 0;

  constructor(home: StalledHome) {
    this.#home = home;
  }

  /** Somebody waits for memory to send with: looks around, now and then, and ends who has stood still for too long. */
  look(): void {
    const home = this.#home;
    const { nowMs, memory, config: { limits: { stalledMs } } } = home;
    const sinceLookMs = (nowMs - this.#lookedMs) >>> 0;
    if (stalledMs === 0 || this.#lookedMs !== 0 && sinceLookMs < LOOK_MS) return;
    const before = this.#lookedMs === 0 || sinceLookMs > FORGET_MS ? new Map<Tcb, Seen>() : this.#seen;
    this.#lookedMs = nowMs === 0 ? 1 : nowMs;
    const seen = new Map<Tcb, Seen>();
    const still: { tcb: Tcb; ms: number }[] = [];
    home.forEach((tcb) => {
      if (tcb.state < ESTABLISHED || tcb.sndBuffer.held === 0) return;
      let one = before.get(tcb);
      if (one === undefined || seqGeq(tcb.sndUna, one.end) || tcb.bytesAcked - one.acked >= LEAST_BYTES) {
        one = { end: tcb.sndEnd, acked: tcb.bytesAcked, sinceMs: nowMs };
      }
      seen.set(tcb, one);
      // The connection's own memory goes further back, but any byte makes it begin anew.
      const waits = tcb.flight > 0 || tcb.persistAt !== 0;
      const ms = Math.max((nowMs - one.sinceMs) | 0, waits ? (nowMs - tcb.unackedSinceMs) | 0 : 0);
      if (ms >= (tcb.orphan ? stalledMs >> 1 : stalledMs)) still.push({ tcb, ms });
    });
    this.#seen = seen;
    still.sort((a, b) => b.ms - a.ms);
    // Until everybody may send again (memory-shares.ts). Blocks come back when the device has let go of them.
    let missing = (memory.blockCount >> 2) + 1 - memory.freeBlocks;
    for (const { tcb } of still) {
      if (missing <= 0) return;
      missing -= tcb.sndBuffer.held;
      seen.delete(tcb);
      home.counters.StalledDrops++;
      abortWith(tcb, ETIMEDOUT, true);
    }
  }
}
