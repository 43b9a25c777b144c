/**
 * A **window** is the memory that a stack and one application share: two rings, an area for the data of
 * calls, and the application's packet memory, in which its send buffers lie, so that the stack can hand
 * what it sends to the device without copying it ("data could be copied directly to a buffer, which is
 * accessible by the kernel as well as the application", section 6 of the report).
 *
 *     0          rxRing          txRing          call            memory                    length
 *     +----------+---------------+---------------+---------------+-------------------------+
 *     | control  | stack →       | application → | data of one   | header slots, blocks    |
 *     | words    | application   | stack         | call          | (PacketMemory)          |
 *     +----------+---------------+---------------+---------------+-------------------------+
 *
 * The same layout lies in a memfd that both processes map (attach-server.ts of lib/tcpk, process-channel.ts), in a
 * part of the stack's own memory for an application in the same thread, and in a SharedArrayBuffer for
 * one in a worker. All offsets that cross are relative to the window's start, in bytes. Integers are in
 * the machine's order: both sides are on one machine.
 *
 * The application can write all of it at any time. Whatever the stack reads from it, it reads once,
 * checks, and only then uses (ring.ts, lib/tcpk/egress.ts).
 */

/** Indices of the control words, 64 bytes apart so that no two share a cache line. */
const LINE = 16;
/** Position up to which the stack has written to, and the application has read from, the receive ring. */
export const RX_TAIL = 0 * LINE;
export const RX_HEAD = 1 * LINE;
/** Position up to which the application has written to, and the stack has read from, the transmit ring. */
export const TX_TAIL = 2 * LINE;
export const TX_HEAD = 3 * LINE;
/** 1 while the application, the stack, waits for its doorbell. */
export const APP_SLEEPS = 4 * LINE;
export const STACK_SLEEPS = 5 * LINE;
/** 1 while the application waits for room in the transmit ring: the stack rings when it has made some. */
export const TX_WAITS = 7 * LINE;
/** Calls over shared memory (worker threads): 1 while one is asked, 2 once it is answered; see lib/tcpu/thread-calls.ts. */
export const CALL_STATE = 6 * LINE;
/** … how many words the call has, and the words themselves, both ways (`CALL_WORDS` of channel.ts). */
export const CALL_COUNT = CALL_STATE + 1;
export const CALL_ARGUMENTS = 8 * LINE;

const CONTROL_BYTES = 4096;
const PAGE = 4096;

/** Sizes of the parts of a window, bytes. */
export interface WindowSizes {
  /** Powers of two, at least 128 KiB; the transmit ring, which holds no data, at most 1 MiB. */
  rxRing: number;
  txRing: number;
  /** Multiples of 4096. */
  call: number;
  memory: number;
}

/** What an application gets when it does not ask, and the bounds of what it may ask for. */
export const DEFAULT_WINDOW: WindowSizes = { rxRing: 4 << 20, txRing: 256 << 10, call: 256 << 10, memory: 8 << 20 };
export const MIN_RING = 128 << 10;
/** So that a super-segment of 64 KB fits into an empty ring wherever that begins. */
export const MIN_RX_RING = 256 << 10;
export const MAX_RING = 64 << 20;
/** A call waits until all that was published before it is handled: so long may one application keep the stack busy. */
export const MAX_TX_RING = 1 << 20;
export const MIN_MEMORY = 1 << 20;
export const MAX_MEMORY = 256 << 20;

/** Bytes of a window with these parts. */
export function windowLength(sizes: WindowSizes): number {
  return CONTROL_BYTES + sizes.rxRing + sizes.txRing + sizes.call + sizes.memory;
}

/** What an application or a configuration says may be no number, and have no text. */
function shown(size: unknown): string {
  return typeof size === 'number' ? String(size) : 'no number';
}

/** Why these sizes cannot be, or null. */
export function windowFault(sizes: WindowSizes): string | null {
  for (const [name, least, most] of [['rxRing', MIN_RX_RING, MAX_RING], ['txRing', MIN_RING, MAX_TX_RING]] as const) {
    const size = sizes[name];
    if (!Number.isInteger(size) || size < least || size > most || (size & (size - 1)) !== 0) {
      return `${name} is ${shown(size)}; it must be a power of two from ${least} to ${most}`;
    }
  }
  if (!Number.isInteger(sizes.memory) || sizes.memory < MIN_MEMORY || sizes.memory > MAX_MEMORY || sizes.memory % PAGE !== 0) {
    return `memory is ${shown(sizes.memory)}; it must be a multiple of ${PAGE} from ${MIN_MEMORY} to ${MAX_MEMORY}`;
  }
  if (!Number.isInteger(sizes.call) || sizes.call < PAGE || sizes.call > MAX_RING || sizes.call % PAGE !== 0) {
    return `call is ${shown(sizes.call)}; it must be a multiple of ${PAGE} from ${PAGE} to ${MAX_RING}`;
  }
  return null;
}

/** One side's view of a window. */
export class Window {
  /** Memory that holds the window; for the stack this is its whole arena. */
  readonly buffer: ArrayBufferLike;
  /** Where the window begins in `buffer`, bytes; a multiple of 8. */
  readonly base: number;
  readonly length: number;
  readonly sizes: WindowSizes;
  /** Offsets of the parts from `base`. */
  readonly rxRing: number;
  readonly txRing: number;
  readonly call: number;
  readonly memory: number;
  /** The window as bytes and as words: index 0 is its start. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;

  constructor(buffer: ArrayBufferLike, base: number, sizes: WindowSizes) {
    this.buffer = buffer;
    this.base = base;
    this.length = windowLength(sizes);
    this.sizes = { ...sizes };
    this.rxRing = CONTROL_BYTES;
    this.txRing = this.rxRing + sizes.rxRing;
    this.call = this.txRing + sizes.txRing;
    this.memory = this.call + sizes.call;
    this.bytes = new Uint8Array(buffer, base, this.length);
    this.words = new Int32Array(buffer, base, this.length >> 2);
  }

  /** Whether these bytes of the call area are in it. */
  callHolds(offset: number, length: number): boolean {
    const size = this.sizes.call;
    return length >= 0 && offset >= 0 && offset <= size && length <= size - offset;
  }

  /** For a window whose memory was used before. */
  clear(): void {
    this.words.fill(0, 0, CONTROL_BYTES >> 2);
  }
}
