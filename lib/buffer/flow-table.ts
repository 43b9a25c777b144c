/**
 * Finds a flow by its addresses and ports: open addressing (linear probing, backward-shift deletion)
 * over typed arrays, no strings, no BigInt, no allocation but for growth.
 *
 * A key is nine int32: local address (4 words), remote address (4 words), both ports
 * (`local << 16 | remote`). Wild parts are zeros; who looks up decides which tries to make (exact,
 * then local address and port, then port). An entry has an index that stays the same while it lives;
 * `values[index]` is the owner's.
 *
 * The hash is keyed, so that a peer cannot choose ports that all fall into one place.
 */

const KEY_WORDS = 9;
const INITIAL_SLOTS = 64;

export function portPair(local: number, remote: number): number {
  return (local << 16) | remote;
}

export class FlowTable {
  /** One per entry, for the owner's use. */
  values: Int32Array = new Int32Array(INITIAL_SLOTS >> 1);
  /** Entries in use. */
  size = 0;
  /** Entry index + 1, or 0 where free. */
  #slots = new Int32Array(INITIAL_SLOTS);
  #mask = INITIAL_SLOTS - 1;
  #keys = new Int32Array((INITIAL_SLOTS >> 1) * KEY_WORDS);
  /** Free entries, linked through `values`. */
  #free = -1;
  #fresh = 0;
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  /** Index of the entry with this key, or -1. */
  find(
    l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number,
  ): number {
    const keys = this.#keys;
    let slot = this.#hash(l0, l1, l2, l3, r0, r1, r2, r3, ports);
    for (;;) {
      const entry = this.#slots[slot]! - 1;
      if (entry < 0) return -1;
      const k = entry * KEY_WORDS;
      if (keys[k + 8] === ports && keys[k + 7] === r3 && keys[k + 3] === l3 && keys[k + 4] === r0 && keys[k + 5] === r1
        && keys[k + 6] === r2 && keys[k] === l0 && keys[k + 1] === l1 && keys[k + 2] === l2) return entry;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** Adds a key that is not there yet. Returns its entry index. */
  insert(
    l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number, value: number,
  ): number {
    if (this.size >= this.#slots.length >> 1) this.#grow();
    let entry = this.#free;
    if (entry >= 0) this.#free = this.values[entry]!;
    else entry = this.#fresh++;
    const k = entry * KEY_WORDS;
    const keys = this.#keys;
    keys[k] = l0;
    keys[k + 1] = l1;
    keys[k + 2] = l2;
    keys[k + 3] = l3;
    keys[k + 4] = r0;
    keys[k + 5] = r1;
    keys[k + 6] = r2;
    keys[k + 7] = r3;
    keys[k + 8] = ports;
    this.values[entry] = value;
    this.size++;
    this.#place(entry);
    return entry;
  }

  /** Removes the entry at `entry`. Its index may be given to another key. */
  remove(entry: number): void {
    const slots = this.#slots;
    const mask = this.#mask;
    let hole = this.#home(entry);
    while (slots[hole] !== entry + 1) hole = (hole + 1) & mask;
    // Backward shift: an entry further on moves into the hole unless its own place lies behind the hole.
    for (let next = (hole + 1) & mask; slots[next] !== 0; next = (next + 1) & mask) {
      const home = this.#home(slots[next]! - 1);
      if (((next - home) & mask) >= ((next - hole) & mask)) {
        slots[hole] = slots[next]!;
        hole = next;
      }
    }
    slots[hole] = 0;
    this.values[entry] = this.#free;
    this.#free = entry;
    this.size--;
  }

  /** Word `i` (0 to 8) of an entry's key. */
  key(entry: number, i: number): number {
    return this.#keys[entry * KEY_WORDS + i]!;
  }

  #home(entry: number): number {
    const k = entry * KEY_WORDS;
    const keys = this.#keys;
    return this.#hash(
      keys[k]!, keys[k + 1]!, keys[k + 2]!, keys[k + 3]!, keys[k + 4]!, keys[k + 5]!, keys[k + 6]!, keys[k + 7]!, keys[k + 8]!,
    );
  }

  #place(entry: number): void {
    let slot = this.#home(entry);
    while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask;
    this.#slots[slot] = entry + 1;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    this.#mask = this.#slots.length - 1;
    const keys = new Int32Array(old.length * KEY_WORDS);
    keys.set(this.#keys);
    this.#keys = keys;
    const values = new Int32Array(old.length);
    values.set(this.values);
    this.values = values;
    for (let i = 0; i < old.length; i++) if (old[i] !== 0) this.#place(old[i]! - 1);
  }

  /** Multiply-xorshift over the words, then murmur3's finish. Most words of an IPv4 key are constant. */
  #hash(
    l0: number, l1: number, l2: number, l3: number, r0: number, r1: number, r2: number, r3: number, ports: number,
  ): number {
    let h = Math.imul(this.#seed ^ ports, 0x9e3779b1);
    h = Math.imul((h ^ (h >>> 15)) + r3, 0x85ebca6b);
    h = Math.imul((h ^ (h >>> 13)) + l3, 0xc2b2ae35);
    h = Math.imul((h ^ (h >>> 16)) + (r2 ^ (l2 << 7)), 0x27d4eb2f);
    h = Math.imul((h ^ (h >>> 15)) + (r1 ^ (l1 << 9)), 0x165667b1);
    h = Math.imul((h ^ (h >>> 13)) + (r0 ^ (l0 << 5)), 0x85ebca6b);
    h ^= h >>> 16;
    return h & this.#mask;
  }
}
