/**
 * How readiness of a low-level socket reaches the code of users.
 *
 * `onready` comes synchronously out of the stack, mostly once for a batch of packets; then the events of the
 * stream are emitted at once, as Node does from libuv's callbacks. But over a link without a device (the memory
 * pair) it can also come while one of our own calls into the stack is running: `connect()` would emit 'connect'
 * before the caller could add a listener, and `write()` would run the peer's 'data' listener. Such events wait for
 * the check phase of the event loop (`setImmediate`), after the promise jobs of the caller, as real I/O would.
 *
 * Listeners run in the async context in which their socket was made (AsyncLocalStorage), as Node's do.
 */

import type { AsyncResource } from 'node:async_hooks';
import { POLLIN } from '../socket.ts';

/** A `Socket` or `Server` that low-level events go to. */
export interface ReadyTarget {
  /** @internal */
  _resource: AsyncResource;
  /** Events that wait for the check phase; 0 when there are none. @internal */
  _deferred: number;
  /** @internal */
  _ready(events: number): void;
}

/** How many of our calls into a stack are running. */
let depth = 0;

/** Before and after every call of a low-level socket's method that may cause events. */
export function enter(): void {
  depth++;
}

export function leave(): void {
  depth--;
}

/** For `onready`: hands the events over now, or soon. */
export function notify(target: ReadyTarget, events: number): void {
  if (depth === 0) run(target, events | target._deferred);
  else defer(target, events);
}

/** Hands the events over in the check phase. */
export function defer(target: ReadyTarget, events: number): void {
  if (target._deferred === 0) setImmediate(runDeferred, target);
  target._deferred |= events;
}

function runDeferred(target: ReadyTarget): void {
  if (target._deferred !== 0) run(target, target._deferred);
}

function run(target: ReadyTarget, events: number): void {
  target._deferred = 0;
  let done = false;
  try {
    target._resource.runInAsyncScope(target._ready, target, events);
    done = true;
  } finally {
    // A listener threw: what it kept us from handing over comes later, should the process live on.
    if (!done) defer(target, events | POLLIN);
  }
}
