/** Mutations of valid packets: bits, bytes, fields, lengths, splices, fragments. All from one seeded generator. */

import type { SeededRandom } from '../../lib/random.ts';
import { TCP, repair } from './wire-format.ts';

const BYTES = [0, 1, 2, 0x3f, 0x40, 0x45, 0x46, 0x60, 0x7f, 0x80, 0xfe, 0xff];
const WORDS = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff];

export class Mutator {
  readonly #random: SeededRandom;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** Whole number in [0, n). */
  below(n: number): number {
    return Math.floor(this.#random.unit() * n);
  }

  pick<T>(of: readonly T[]): T {
    return of[this.below(of.length)]!;
  }

  /** One or several mutations of a copy of `packet`; `other` is what it may be spliced with. */
  mutate(packet: Uint8Array, other: Uint8Array): Uint8Array {
    let bytes: Uint8Array = packet.slice();
    for (let n = 1 + this.below(3); n > 0 && bytes.length > 0; n--) bytes = this.#once(bytes, other);
    return bytes;
  }

  #once(bytes: Uint8Array, other: Uint8Array): Uint8Array {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const at = this.below(bytes.length);
    switch (this.below(12)) {
      case 0:
        bytes[at] = bytes[at]! ^ (1 << this.below(8));
        return bytes;
      case 1:
        for (let i = 0; i < 8; i++) bytes[this.below(bytes.length)]! ^= 1 << this.below(8);
        return bytes;
      case 2:
        bytes[at] = this.pick(BYTES);
        return bytes;
      case 3:
        if (bytes.length >= 2) view.setUint16(this.below(bytes.length - 1), this.pick(WORDS));
        return bytes;
      case 4:
        if (bytes.length >= 4) view.setInt32(this.below(bytes.length - 3), this.#random.int32());
        return bytes;
      case 5:
        return bytes.slice(0, at);
      case 6: {
        const longer = new Uint8Array(Math.min(bytes.length + 1 + this.below(200), 65_535));
        longer.set(bytes);
        for (let i = bytes.length; i < longer.length; i++) longer[i] = this.#random.int32();
        return longer;
      }
      case 7: {
        // The beginning of one and the end of another.
        const from = this.below(other.length);
        const spliced = new Uint8Array(at + other.length - from);
        spliced.set(bytes.subarray(0, at));
        spliced.set(other.subarray(from), at);
        return spliced;
      }
      case 8: {
        // A piece of the other over this one.
        const length = Math.min(1 + this.below(32), bytes.length - at, other.length);
        bytes.set(other.subarray(0, length), at);
        return bytes;
      }
      case 9:
        bytes.copyWithin(at, this.below(bytes.length), this.below(bytes.length + 1));
        return bytes;
      default:
        return this.#tcpField(bytes);
    }
  }

  /** A field of a TCP segment near what is plausible: these get deep. */
  #tcpField(bytes: Uint8Array): Uint8Array {
    const v4 = bytes[0]! >> 4 === 4;
    const at = v4 ? (bytes[0]! & 15) * 4 : 40;
    if (bytes.length < at + 20 || bytes[v4 ? 9 : 6] !== TCP) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const near = (): number => this.pick([-65_536, -1460, -2, -1, 0, 1, 2, 100, 1460, 65_535, 0x7fffffff]) + this.below(3);
    switch (this.below(8)) {
      case 0:
        view.setInt32(at + 4, view.getInt32(at + 4) + near());
        return bytes;
      case 1:
        view.setInt32(at + 8, view.getInt32(at + 8) + near());
        return bytes;
      case 2:
        bytes[at + 13] = this.below(256);
        return bytes;
      case 3:
        view.setUint16(at + 14, this.pick([0, 1, 100, 65_535]));
        return bytes;
      case 4:
        view.setUint16(at + 18, this.below(65_536));
        bytes[at + 13]! |= 0x20;
        return bytes;
      case 5:
        return this.#withOptions(bytes, at, this.#sack(view.getInt32(at + 8)));
      case 6:
        return this.#withOptions(bytes, at, this.#optionNoise());
      default:
        bytes[at + 12] = this.below(256);
        return bytes;
    }
  }

  /** SACK blocks around an acknowledgment number: true ones, lies, empty and backward ones. */
  #sack(ack: number): Uint8Array {
    const count = 1 + this.below(4);
    const bytes = new Uint8Array(4 + 8 * count);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    view.setUint32(0, 0x01010500 | (2 + 8 * count));
    for (let i = 0; i < count; i++) {
      const left = ack + this.pick([-3000, -1, 0, 1, 1448, 2896, 50_000]) + this.below(2);
      view.setInt32(4 + 8 * i, left);
      view.setInt32(8 + 8 * i, left + this.pick([-1, 0, 1, 1448, 20_000, 0x7fffffff]));
    }
    return bytes;
  }

  #optionNoise(): Uint8Array {
    const bytes = new Uint8Array(4 * (1 + this.below(10)));
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.pick([0, 1, 2, 3, 4, 5, 8, 10, this.below(256)]);
    return bytes;
  }

  #withOptions(bytes: Uint8Array, at: number, options: Uint8Array): Uint8Array {
    const old = Math.min((bytes[at + 12]! >> 4) * 4, bytes.length - at);
    if (old < 20) return bytes;
    const result = new Uint8Array(bytes.length - old + 20 + options.length);
    result.set(bytes.subarray(0, at + 20));
    result.set(options, at + 20);
    result.set(bytes.subarray(at + old), at + 20 + options.length);
    result[at + 12] = ((20 + options.length) / 4) << 4;
    return result;
  }

  /** IPv4 fragments of a packet, some overlapping, repeated, or left out. */
  fragments(packet: Uint8Array): Uint8Array[] {
    if (packet[0] !== 0x45 || packet.length < 60) return [packet];
    const payload = packet.subarray(20);
    const share = 8 * (1 + this.below(Math.max(payload.length >> 4, 1)));
    const pieces: Uint8Array[] = [];
    const id = this.below(65_536);
    for (let offset = 0; offset < payload.length; offset += share) {
      if (this.below(20) === 0) continue;
      const from = this.below(10) === 0 && offset >= 8 ? offset - 8 : offset;
      const part = payload.subarray(from, Math.min(offset + share, payload.length));
      const piece = new Uint8Array(20 + part.length);
      piece.set(packet.subarray(0, 20));
      piece.set(part, 20);
      const view = new DataView(piece.buffer);
      view.setUint16(4, id);
      view.setUint16(6, (from >> 3) | (offset + share < payload.length ? 0x2000 : 0));
      repair(piece);
      pieces.push(piece);
      if (this.below(20) === 0) pieces.push(piece.slice());
    }
    if (this.below(3) === 0) pieces.reverse();
    return pieces;
  }
}
