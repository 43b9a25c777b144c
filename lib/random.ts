/** Randomness for a stack: secrets, ports, identifications. Given from outside so that runs can be repeated. */
export interface Random {
  /** A uniform 32-bit value, as int32. */
  int32(): number;
}

/** Cryptographic randomness from the platform, drawn in batches. */
export class SystemRandom implements Random {
  readonly #pool = new Int32Array(256);
  #left = 0;

  int32(): number {
    if (this.#left === 0) {
      globalThis.crypto.getRandomValues(this.#pool);
      this.#left = this.#pool.length;
    }
    return this.#pool[--this.#left]!;
  }
}

/** Murmur3's finalizer: a bijection of 32-bit words in which each bit depends on all. */
function mix(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}

/** A small, fast, repeatable generator (xorshift128). For tests and simulations only: it is predictable. */
export class SeededRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** Seeds that differ little give sequences that have nothing in common: each word is a hash of the seed. */
  constructor(seed: number) {
    this.#a = mix(seed ^ 0x5deece66);
    this.#b = mix(seed ^ 0x6c078965);
    this.#c = mix(seed ^ 0x2545f491);
    // `mix` is a bijection, so at most one of the four is zero.
    this.#d = mix(seed ^ 0x9e3779b9);
  }

  int32(): number {
    let t = this.#d;
    const s = this.#a;
    this.#d = this.#c;
    this.#c = this.#b;
    this.#b = s;
    t ^= t << 11;
    t ^= t >>> 8;
    this.#a = t ^ s ^ (s >>> 19);
    return this.#a;
  }

  /** Uniform in [0, 1). */
  unit(): number {
    return (this.int32() >>> 0) / 4294967296;
  }
}
