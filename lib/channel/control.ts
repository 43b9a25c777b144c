/**
 * The control socket (Unix, SOCK_SEQPACKET): how an application gets its channel, and what crosses besides
 * the rings. The first message is a JSON text that says what is wanted; the answer is another.
 *
 *     application                                stack
 *     { tcpu: 1, name, sizes }            →
 *                                         ←      { mtu, features, addresses, … } and three descriptors: the
 *                                                window (memfd), the application's bell, the stack's bell
 *     words of a call                     →
 *                                         ←      words of its result
 *     REPORT, id, more; JSON text         →      (answer to TO_APP_REPORT)
 *
 *     { tcpu: 1, query: 'connections' }   →
 *                                         ←      chunks of a JSON text, then the end of the stream
 *
 * Who is on the other side is read from the socket (SO_PEERCRED), not from what it says.
 */

import { randomUUID } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import type { WindowSizes } from './window.ts';

/** Version of all that crosses: rings, records, calls. Both sides must have the same. */
export const CONTROL_VERSION = 1;
/** Longest message, bytes. */
export const CONTROL_BYTES = 64 << 10;
/** First word of a message that is no call. */
export const CONTROL_REPORT = -1;
/** Bytes before the text of a report: three words. */
export const REPORT_HEADER = 12;

/** What one can ask a stack without attaching. */
export const CONTROL_QUERIES = ['connections', 'details', 'counters'] as const;
/**
 * `connections`: every connection and listener of every TCP; `details` with the figures of each (`OwnedConnection[]` of
 * lib/tcpk/survey.ts). `counters`: those of all layers and applications (`StackCounters` of lib/stack.ts).
 */
export type ControlQuery = typeof CONTROL_QUERIES[number];

export interface ControlHello {
  tcpu: number;
  name?: string;
  sizes?: WindowSizes;
  query?: ControlQuery;
}

/**
 * Reads a first message from whoever it may be: an object with nothing in it but what a `ControlHello` has, each of
 * its type, or null. Of another version than ours only `tcpu` is there. `query` may still be none of `CONTROL_QUERIES`.
 */
export function parseHello(text: string): (Omit<ControlHello, 'query'> & { query?: string }) | null {
  let said: unknown;
  try {
    said = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof said !== 'object' || said === null) return null;
  const { tcpu, name, sizes, query } = said as Record<string, unknown>;
  if (typeof tcpu !== 'number') return null;
  if (tcpu !== CONTROL_VERSION) return { tcpu };
  if (name !== undefined && typeof name !== 'string') return null;
  if (query !== undefined && typeof query !== 'string') return null;
  const hello: ReturnType<typeof parseHello> = { tcpu };
  if (name !== undefined) hello.name = name;
  if (query !== undefined) hello.query = query;
  if (sizes === undefined) return hello;
  if (typeof sizes !== 'object' || sizes === null) return null;
  const { rxRing, txRing, call, memory } = sizes as Record<string, unknown>;
  if (typeof rxRing !== 'number' || typeof txRing !== 'number' || typeof call !== 'number' || typeof memory !== 'number') return null;
  hello.sizes = { rxRing, txRing, call, memory };
  return hello;
}

export interface ControlWelcome {
  mtu: number;
  features: number;
  addresses: string[];
  name: string;
  pid: number;
  /** The stack's clock shows 0 at this time of the machine's monotonic clock, µs. */
  clockZeroUs: number;
  sizes: WindowSizes;
  /** Names the thread that the stack runs in. */
  thread: string;
}

export interface ControlError {
  error: string;
  code: string;
}

/** A name for this thread that no other has: whoever called into a stack of the same thread would wait for himself. */
export const thisThread: string = randomUUID();

/** Where a stack listens unless told otherwise: at `$TCPU_SOCKET`, else in `$XDG_RUNTIME_DIR`, else in `/run`. */
export function defaultSocketPath(): string {
  const named = process.env['TCPU_SOCKET'];
  if (named !== undefined && named !== '') return named;
  const folder = process.env['XDG_RUNTIME_DIR'];
  if (folder !== undefined && folder !== '') {
    try {
      accessSync(folder, constants.W_OK | constants.X_OK);
      return join(folder, 'tcpu.sock');
    } catch {
      // Not for us.
    }
  }
  return '/run/tcpu.sock';
}
