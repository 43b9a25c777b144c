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

/** A small, fast, repeatable generator (xorshift128). For tests and simulations only: it is predictable. */
export class SeededRandom implements Random {
  #a: number;
  #b = 0x6c078965 | 0;
  #c = 0x2545f491 | 0;
  #d = 0x9e3779b9 | 0;

  constructor(seed: number) {
    this.#a = (seed ^ 0x5deece66) | 0;
    if (this.#a === 0) this.#a = 1;
    for (let i = 0; i < 20; i++) this.int32();
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
