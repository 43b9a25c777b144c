/** `ping(stack, host)`: echo requests to a host, one result for each, as an async iterator. */

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Clock } from '../clock.ts';
import { ETIMEDOUT } from '../errno.ts';
import { AF_INET, AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPV6_UNICAST_HOPS, IP_TTL } from '../socket.ts';
import type { EchoProvider } from '../socket.ts';
import { errnoException, exceptionWithHostPort, invalidArgValue } from './errors.ts';
import type { NetError } from './errors.ts';

/** What `ping` needs of a stack. */
export interface PingStack {
  readonly echo: EchoProvider;
  readonly clock: Clock;
}

export interface PingOptions {
  /** Requests to send. Default: until the signal. */
  count?: number;
  /** Between requests. Default 1000. */
  intervalMs?: number;
  /** Data bytes of a request. Default 56, as ping(8). */
  size?: number;
  /** How long an answer is waited for. Default 2000. */
  timeoutMs?: number;
  /** 4 or 6: the version a name is resolved for. */
  family?: number;
  ttl?: number;
  /** Ends the iteration. */
  signal?: AbortSignal;
}

export interface PingResult {
  /** From 1 on. */
  seq: number;
  /** Bytes of ICMP in the reply (8 more than the data); 0 with an error. */
  bytes: number;
  /** TTL or hop limit of the reply; 0 with an error. */
  ttl: number;
  /** Milliseconds from sending to arrival at the link; NaN with an error. */
  timeMs: number;
  /** Who answered, or who sent the ICMP error; with another error where the request went. */
  from: string;
  /** ETIMEDOUT, an ICMP error (EHOSTUNREACH, ECONNREFUSED …), or why it could not be sent. */
  error?: NetError;
}

interface Waiting {
  seq: number;
  deadlineUs: number;
}

/**
 * Sends echo requests and gives a result for each, as they are answered, fail, or time out.
 * Throws what `dns.lookup` throws when the name cannot be resolved. Time is the stack's clock's.
 * @example
 * for await (const { seq, timeMs, error } of ping(stack, '10.90.0.1', { count: 3 })) console.log(seq, error?.code ?? timeMs);
 */
export async function* ping(stack: PingStack, host: string, options: PingOptions = {}): AsyncGenerator<PingResult, void, void> {
  const { count = Infinity, intervalMs = 1000, size = 56, timeoutMs = 2000, signal } = options;
  for (const [name, value] of Object.entries({ count, intervalMs, size, timeoutMs })) {
    if (!(value >= 0)) throw invalidArgValue(`options.${name}`, value);
  }
  if (signal?.aborted) return;
  const address = isIP(host) !== 0 ? host : (await lookup(host, { family: options.family ?? 0 })).address;
  const v6 = isIP(address) === 6;
  const socket = stack.echo.open(v6 ? AF_INET6 : AF_INET);
  if (typeof socket === 'number') throw errnoException(socket, 'socket');
  if (options.ttl !== undefined) {
    const [level, option] = v6 ? [IPPROTO_IPV6, IPV6_UNICAST_HOPS] : [IPPROTO_IP, IP_TTL];
    const result = socket.setsockopt(level, option, options.ttl);
    if (result < 0) {
      socket.close();
      throw invalidArgValue('options.ttl', options.ttl);
    }
  }

  const results: PingResult[] = [];
  /** By number on the wire; in the order they were sent. */
  const waiting = new Map<number, Waiting>();
  let sent = 0;
  let nextUs = stack.clock.nowUs();
  let wake = (): void => {};

  const fail = (seq: number, error: NetError, from: string): void => {
    results.push({ seq, bytes: 0, ttl: 0, timeMs: NaN, from, error });
    wake();
  };
  /** Sends and gives up what is due, and sets the alarm for what is due next. */
  const tick = (): void => {
    const nowUs = stack.clock.nowUs();
    if (sent < count && nowUs >= nextUs) {
      sent++;
      nextUs = Math.max(nextUs + intervalMs * 1000, nowUs);
      const number = sent & 0xffff;
      waiting.set(number, { seq: sent, deadlineUs: nowUs + timeoutMs * 1000 });
      const result = socket.send(number, size, address);
      if (result < 0) {
        waiting.delete(number);
        fail(sent, exceptionWithHostPort(result, 'send', address, 0), address);
      }
    }
    for (const [number, { seq, deadlineUs }] of waiting) {
      if (deadlineUs > nowUs) break;
      waiting.delete(number);
      fail(seq, exceptionWithHostPort(-ETIMEDOUT, 'ping', address, 0), address);
    }
    const first = waiting.values().next().value;
    const dueUs = Math.min(sent < count ? nextUs : Infinity, first === undefined ? Infinity : first.deadlineUs);
    if (dueUs < Infinity) alarm.set(dueUs);
  };
  const alarm = stack.clock.alarm(tick);

  socket.onreply = (reply) => {
    const request = waiting.get(reply.seq);
    if (request === undefined) return;
    waiting.delete(reply.seq);
    results.push({ seq: request.seq, bytes: reply.bytes, ttl: reply.ttl, timeMs: reply.rttUs / 1000, from: reply.from });
    wake();
  };
  socket.onerror = (errno, info) => {
    const request = waiting.get(info.seq);
    if (request === undefined || errno === 0) return;
    waiting.delete(info.seq);
    fail(request.seq, exceptionWithHostPort(-errno, 'ping', address, 0), info.from);
  };
  const abort = (): void => wake();
  signal?.addEventListener('abort', abort, { once: true });

  try {
    tick();
    for (;;) {
      for (let result = results.shift(); result !== undefined; result = results.shift()) yield result;
      if (signal?.aborted || (sent >= count && waiting.size === 0 && results.length === 0)) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    alarm.clear();
    socket.close();
  }
}
