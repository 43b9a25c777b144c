/**
 * Trace: one readable line for each packet that crosses a link, through the `debug` package under the
 * name `tcpu:link` (`DEBUG=tcpu:link`), or to a function of yours. `>` marks what the stack sends, `<`
 * what it gets. When nobody listens, `trace()` returns the link itself and costs nothing.
 */

import debug from 'debug';
import { GSO_NONE, TX_GSO_SIZE, TX_GSO_TYPE, TX_LENGTH, TX_STRIDE } from '../buffer/transmit-queue.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import { RX_GSO_SIZE, RX_GSO_TYPE, RX_LENGTH, RX_OFFSET, RX_STRIDE } from './link.ts';
import type { Link, PacketBatch } from './link.ts';
import { LinkMiddleware } from './middleware.ts';
import { packetLine } from './packet-line.ts';

const log = debug('tcpu:link');

/** A link whose packets are shown. Made by `trace()`. */
export class Trace extends LinkMiddleware {
  readonly #print: (line: string) => void;
  #bytes = new Uint8Array(2048);

  constructor(link: Link, print: (line: string) => void) {
    super(link);
    this.#print = print;
  }

  override send(queue: TransmitQueue): void {
    // Shown once the link has taken them: what it leaves comes again. The bytes still lie there.
    let index = queue.head;
    this.link.send(queue);
    for (; index < queue.head; index++) {
      const p = index * TX_STRIDE;
      const length = queue.packets[p + TX_LENGTH]!;
      if (length > this.#bytes.length) this.#bytes = new Uint8Array(length * 2);
      queue.copyPacket(index, this.#bytes, 0);
      const gso = mergedText(queue.packets[p + TX_GSO_TYPE]!, queue.packets[p + TX_GSO_SIZE]!);
      this.#print(`> ${packetLine(this.#bytes, 0, length)}${gso}`);
    }
  }

  override input(batch: PacketBatch): void {
    const meta = batch.meta;
    for (let i = 0; i < batch.count; i++) {
      const m = i * RX_STRIDE;
      const gso = mergedText(meta[m + RX_GSO_TYPE]!, meta[m + RX_GSO_SIZE]!);
      this.#print(`< ${packetLine(batch.slab, meta[m + RX_OFFSET]!, meta[m + RX_LENGTH]!)}${gso}`);
    }
    this.host.input(batch);
  }
}

/** Super-segments tell the size of their parts. */
function mergedText(gsoType: number, gsoSize: number): string {
  return gsoType === GSO_NONE ? '' : `, in parts of ${gsoSize}`;
}

/**
 * Shows what crosses `link`.
 * @param print takes each line; default: `debug('tcpu:link')`, if that is enabled now
 * @returns the link to give to the stack
 */
export function trace(link: Link, print?: (line: string) => void): Link {
  if (print !== undefined) return new Trace(link, print);
  return log.enabled ? new Trace(link, (line) => log('%s', line)) : link;
}
