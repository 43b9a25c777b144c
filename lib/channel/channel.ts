/**
 * What an application has of a stack: the datagram socket between TCPU and TCPK (2.2 of the report).
 * Behind this interface stand the shared memory of another process (process-channel.ts), the stack in the
 * same thread (lib/tcpk/local-channel.ts, for tests and for whole networks in one process), and a worker thread.
 *
 * - Segments and events go through the window's rings, batched: `ring()` says that there is something
 *   new, once for all of it.
 * - **Calls** (bind, connect, …) are answered before they return, like system calls.
 */

import type { Window } from './window.ts';

/** Words of a call, both ways. */
export const CALL_WORDS = 64;

/** What a stack tells whoever attaches. */
export interface ChannelInfo {
  /** Of the stack: link MTU, `LINK_…` bits, its own addresses as CIDR, its name. */
  mtu: number;
  features: number;
  addresses: string[];
  name: string;
  /** Process id of the stack. */
  pid: number;
  /** What to add to times of the stack's clock to get those of the application's, µs. */
  clockOffsetUs: number;
}

/** Whom a channel tells. */
export interface ChannelUser {
  /** The stack has written to the receive ring (or: look, it may have). */
  bell(): void;
  /** The stack is gone, or has thrown the application out. Nothing works any more. */
  gone(reason: string): void;
}

export interface Channel {
  readonly window: Window;
  readonly info: ChannelInfo;
  /** Called once, before anything is sent. */
  attach(user: ChannelUser): void;
  /**
   * Executes a call: `words[0]` is a `CALL_…` number of calls.ts, the next `count - 1` words its arguments.
   * Returns its result, not negative, or a negative errno; further results are in `words` from index 1.
   * What was published in the transmit ring before is handled before. -ENETDOWN once the stack is gone.
   */
  call(words: Int32Array, count: number): number;
  /** What was published in the transmit ring is to be handled. Cheap when the stack is awake. */
  ring(): void;
  /**
   * The user's bell is to be called soon without the stack's ringing: looks for a few microseconds whether the
   * receive ring changes, behind what else there is to do (linger.ts). Not there where that is of no use.
   */
  stayAwake?(): void;
  /** Sends a report, the answer to TO_APP_REPORT. */
  report(id: number, json: string): void;
  /** Whether the open channel keeps the process alive. */
  ref(): void;
  unref(): void;
  /** Lets go: the stack sees that the application is gone. Closing twice is fine. */
  close(): void;
}
