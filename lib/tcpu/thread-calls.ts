/**
 * What crosses between an application's main thread and the worker thread that runs its TCPU. The worker is
 * to the main thread what a kernel is to a classic application: socket calls (lib/channel/socket-calls.ts) go to it,
 * and events of sockets come back through a ring. Both lie in a window (lib/channel/window.ts) over a
 * SharedArrayBuffer, of which only the control words, the receive ring and the call area are used:
 *
 *     main                                        worker
 *     words of the call → CALL_ARGUMENTS
 *     CALL_STATE: idle → asked, bell          →   takes the words, executes
 *     Atomics.wait                            ←   words of the answer, CALL_STATE: asked → answered, notify
 *     CALL_STATE: answered → idle
 *
 *     reads the ring                          ←   TO_APP_EVENT …, bell when APP_SLEEPS
 *     bell when TX_WAITS                      →   goes on with what found no room in the ring
 *
 * Bells are doorbells of the addon (eventfd): a call takes 12 µs with them, with MessagePorts 20 µs. Spinning for the
 * answer, or for the next call, before sleeping gained nothing on two processors, and took both.
 */

import type { ChannelInfo } from '../channel/channel.ts';
import type { WindowSizes } from '../channel/window.ts';
import type { TcpOptions } from '../tcp/config.ts';

/** `CALL_STATE`. */
export const IDLE = 0;
export const ASKED = 1;
export const ANSWERED = 2;
/** The worker has ended: there are no more answers. */
export const ENDED = 3;

/** Calls besides those on sockets. First: close everything; in 1: whether in good order, or by reset. */
export const THREAD_LEAVE = 1;
/**
 * A report (JSON of `ReportContents`) in pieces. in 1 `REPORT_…` bits, 2 offset; 0 makes a new report.
 * Result: bytes in the call area; out 1 bytes that are left after these.
 */
export const THREAD_REPORT = 2;

/** A record of the ring after those of records.ts: the stack is gone, why (bytes of text at word `GONE_TEXT`, and how many). */
export const TO_MAIN_GONE = 64;
export const GONE_LENGTH = 2;
export const GONE_TEXT = 3;

/** Bytes of the ring: events are 24 each, a few for each socket at most. */
export const EVENT_RING = 256 << 10;

/** What the worker begins with. */
export interface ThreadData {
  /** The window. */
  buffer: SharedArrayBuffer;
  sizes: WindowSizes;
  /** Doorbells: the worker's, the main thread's. */
  workerBell: number;
  mainBell: number;
  /** Names the main thread (`thisThread`). */
  main: string;
  /** For the channel to the stack. */
  path: string;
  name: string;
  channelSizes: WindowSizes;
  tcp: TcpOptions | undefined;
}

/** Its one message: it is attached, or why not. */
export interface ThreadReady {
  info: ChannelInfo;
  /** The kernel's number of the thread, 0 where it cannot be told. */
  tid: number;
}

export interface ThreadFailed {
  error: string;
  /** Of an `AttachError`; empty for a bad option (RangeError). */
  code: string;
}
