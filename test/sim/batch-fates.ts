/** Loss and overtaking of whole packets of a batch, super-segments included: what impair.ts cannot do. */

import { LinkMiddleware } from '../../lib/link/middleware.ts';
import { RX_STRIDE } from '../../lib/link/link.ts';
import type { Link, PacketBatch } from '../../lib/link/link.ts';
import type { SeededRandom } from '../../lib/random.ts';

export class BatchFates extends LinkMiddleware {
  readonly #random: SeededRandom;
  readonly #loss: number;
  readonly #swap: number;
  lost = 0;

  constructor(link: Link, random: SeededRandom, loss: number, swap: number) {
    super(link);
    this.#random = random;
    this.#loss = loss;
    this.#swap = swap;
  }

  override input(batch: PacketBatch): void {
    const { meta } = batch;
    let kept = 0;
    for (let i = 0; i < batch.count; i++) {
      if (this.#loss > 0 && this.#random.unit() < this.#loss) {
        this.lost++;
        continue;
      }
      meta.copyWithin(kept * RX_STRIDE, i * RX_STRIDE, (i + 1) * RX_STRIDE);
      kept++;
    }
    batch.count = kept;
    if (kept === 0) return;
    for (let i = 1; i < kept && this.#swap > 0; i++) {
      if (this.#random.unit() >= this.#swap) continue;
      const earlier = meta.slice((i - 1) * RX_STRIDE, i * RX_STRIDE);
      meta.copyWithin((i - 1) * RX_STRIDE, i * RX_STRIDE, (i + 1) * RX_STRIDE);
      meta.set(earlier, i * RX_STRIDE);
    }
    super.input(batch);
  }
}
