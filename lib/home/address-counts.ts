/**
 * Connections by remote address, for `limits.tcp.connectionsPerAddress`; there is none of this where that is off. An
 * IPv6 address stands for its /64, which one host can have to itself. Connections that we opened count as well, but
 * are never refused.
 */

import { FlowTable } from '../buffer/flow-table.ts';
import type { IpFlow } from '../ip/flow.ts';
import { isMapped } from '../wire/address.ts';

export class AddressCounts {
  readonly #most: number;
  readonly #table: FlowTable;

  constructor(most: number, seed: number) {
    this.#most = most;
    this.#table = new FlowTable(seed);
  }

  #find(w0: number, w1: number, w2: number, w3: number): number {
    return isMapped(w0, w1, w2) ? this.#table.find(w0, w1, w2, w3, 0, 0, 0, 0, 0) : this.#table.find(w0, w1, 0, 0, 0, 0, 0, 0, 0);
  }

  /** Whether one more connection from there is welcome. */
  admits(w0: number, w1: number, w2: number, w3: number): boolean {
    const entry = this.#find(w0, w1, w2, w3);
    return entry < 0 || this.#table.values[entry]! < this.#most;
  }

  add({ r0, r1, r2, r3 }: IpFlow): void {
    const entry = this.#find(r0, r1, r2, r3);
    if (entry >= 0) this.#table.values[entry]!++;
    else if (isMapped(r0, r1, r2)) this.#table.insert(r0, r1, r2, r3, 0, 0, 0, 0, 0, 1);
    else this.#table.insert(r0, r1, 0, 0, 0, 0, 0, 0, 0, 1);
  }

  remove({ r0, r1, r2, r3 }: IpFlow): void {
    const entry = this.#find(r0, r1, r2, r3);
    if (entry >= 0 && --this.#table.values[entry]! === 0) this.#table.remove(entry);
  }
}
