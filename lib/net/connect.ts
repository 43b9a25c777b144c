/**
 * How a stream socket finds and reaches its peer: arguments of `connect()`, name look-up, and trying several
 * addresses one after the other (Happy Eyeballs, RFC 8305, in the form of Node 20's `autoSelectFamily`: families
 * alternate, each attempt has a time limit, a slower attempt is given up when the next one begins).
 *
 * Not done: RFC 8305's parallel attempts; ADDRCONFIG, which would ask for the addresses of the host instead of the stack's.
 */

import { lookup as dnsLookup } from 'node:dns';
import type { LookupAddress, LookupOptions } from 'node:dns';
import { getDefaultAutoSelectFamily, getDefaultAutoSelectFamilyAttemptTimeout, isIP } from 'node:net';
import { EINPROGRESS, ETIMEDOUT } from '../errno.ts';
import { AF_INET, AF_INET6, POLLOUT, SOCK_STREAM, SOL_SOCKET, SO_ERROR } from '../socket.ts';
import {
  connectAggregateError, connectionTimeout, exceptionWithHostPort, invalidAddressFamily, invalidArgType, invalidIpAddress,
  validateBoolean, validateFunction, validateInt32, validateNumber, validatePort,
} from './errors.ts';
import type { NetError } from './errors.ts';
import { defer, enter, leave } from './readiness.ts';
import type { Socket, SocketOptions } from './socket.ts';
import { startTimer } from './stream-timer.ts';
import type { StreamTimer } from './stream-timer.ts';
import { applyTcp } from './tcp-options.ts';

/** Resolves a name, with the signature of `dns.lookup`. */
export type LookupFunction = (
  hostname: string,
  options: LookupOptions,
  callback: (error: NodeJS.ErrnoException | null, address: string | LookupAddress[], family?: number) => void,
) => void;

/** Options of `connect()`. */
export interface TcpConnectOptions {
  port: number | string;
  /** Name or address; default 'localhost'. */
  host?: string;
  localAddress?: string;
  localPort?: number;
  /** 4, 6, or 0 for both. */
  family?: number | 'IPv4' | 'IPv6';
  /** Flags for `lookup`. */
  hints?: number;
  lookup?: LookupFunction;
  /** Try all addresses of the name; default `getDefaultAutoSelectFamily()`. */
  autoSelectFamily?: boolean;
  /** Milliseconds for each attempt, at least 10. */
  autoSelectFamilyAttemptTimeout?: number;
}

export interface ConnectOptions extends SocketOptions, Partial<TcpConnectOptions> {
  /** Refused: the stack has no Unix domain sockets. */
  path?: string;
  /** Milliseconds of inactivity for 'timeout'; only for `createConnection()`. */
  timeout?: number;
}

/** Node hands arguments that are normalized already as one array; so do we, among ourselves. */
const normalized = new WeakSet<object>();

export type NormalizedArgs = [options: ConnectOptions, listener: (() => void) | null];

function isPath(value: unknown): value is string {
  return typeof value === 'string' && !(Number(value) >= 0);
}

/** `(options[, cb])`, `(port[, host][, cb])` or `(path[, cb])` as options and listener. */
export function normalizeConnectArgs(args: unknown[]): NormalizedArgs {
  const [first, second] = args;
  if (Array.isArray(first) && normalized.has(first)) return first as NormalizedArgs;
  let options: ConnectOptions = {};
  if (typeof first === 'object' && first !== null) options = first as ConnectOptions;
  else if (isPath(first)) options.path = first;
  else if (args.length > 0) {
    options.port = first as number | string;
    if (typeof second === 'string') options.host = second;
  }
  const last = args.at(-1);
  const result: NormalizedArgs = [options, typeof last === 'function' ? last as () => void : null];
  normalized.add(result);
  return result;
}

/** One connection being made, with the addresses that are left to try. */
export class ConnectAttempt {
  address = '';
  port = 0;
  family = 4;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  /** The rest is for names with several addresses. */
  readonly addresses: LookupAddress[] | null;
  readonly timeoutMs: number;
  readonly errors: NetError[] = [];
  next = 0;
  timer: StreamTimer | null = null;

  constructor(
    port: number, localAddress: string | undefined, localPort: number | undefined, addresses: LookupAddress[] | null,
    timeoutMs: number,
  ) {
    this.port = port;
    this.localAddress = localAddress;
    this.localPort = localPort;
    this.addresses = addresses;
    this.timeoutMs = timeoutMs;
  }

  stop(): void {
    this.timer?.close();
    this.timer = null;
  }

  /** The error of this attempt, after the SYN was sent. */
  failure(errno: number): NetError {
    const { localAddress, localPort } = this;
    if (!localAddress || !localPort) return exceptionWithHostPort(errno, 'connect', this.address, this.port);
    const error = exceptionWithHostPort(errno, 'connect', this.address, this.port, `${localAddress}:${localPort}`);
    return Object.assign(error, { localAddress, localPort });
  }
}

/** Checks the options, finds the addresses, and begins. @throws argument errors */
export function lookupAndConnect(socket: Socket, options: ConnectOptions): void {
  const { localAddress, localPort } = options;
  const host = options.host || 'localhost';
  if (localAddress && isIP(localAddress) === 0) throw invalidIpAddress(localAddress);
  if (localPort) validateNumber(localPort, 'options.localPort');
  if (typeof options.port !== 'number' && typeof options.port !== 'string') {
    throw invalidArgType('options.port', 'one of type number or string', options.port);
  }
  const port = validatePort(options.port, 'Port');
  const autoSelectFamily = options.autoSelectFamily ?? getDefaultAutoSelectFamily();
  validateBoolean(autoSelectFamily, 'options.autoSelectFamily');
  const timeoutMs = options.autoSelectFamilyAttemptTimeout ?? getDefaultAutoSelectFamilyAttemptTimeout();
  validateInt32(timeoutMs, 'options.autoSelectFamilyAttemptTimeout', 1);

  const single = new ConnectAttempt(port, localAddress, localPort, null, 0);
  const ipFamily = isIP(host);
  if (ipFamily !== 0) {
    process.nextTick(() => {
      if (socket.connecting) attemptOnly(socket, single, host, ipFamily);
    });
    return;
  }
  if (options.lookup != null) validateFunction(options.lookup, 'options.lookup');
  const lookup = options.lookup ?? dnsLookup as LookupFunction;
  const family = options.family === 'IPv4' ? 4 : options.family === 'IPv6' ? 6 : options.family;
  const hints = options.hints || 0;
  socket._host = host;
  if (family !== 4 && family !== 6 && !localAddress && autoSelectFamily) {
    lookup(host, { family, hints, all: true }, (error, found) => {
      if (!socket.connecting) return;
      if (error) {
        socket.emit('lookup', error, undefined, undefined, host);
        process.nextTick(fail, socket, error);
        return;
      }
      const addresses = alternate(socket, found as LookupAddress[], host, port);
      if (addresses === null) return;
      socket._refreshTimer();
      if (addresses.length === 1) {
        attemptOnly(socket, single, addresses[0]!.address, addresses[0]!.family);
        return;
      }
      socket.autoSelectFamilyAttemptedAddresses = [];
      socket._attempt = new ConnectAttempt(port, localAddress, localPort, addresses, Math.max(timeoutMs, 10));
      attemptNext(socket, socket._attempt);
    });
    return;
  }
  lookup(host, { family, hints }, (error, address, found) => {
    socket.emit('lookup', error, address, found, host);
    if (!socket.connecting) return;
    if (error) {
      process.nextTick(fail, socket, error);
    } else if (isIP(address as string) === 0) {
      process.nextTick(fail, socket, invalidIpAddress(address));
    } else if (found !== 4 && found !== 6) {
      process.nextTick(fail, socket, invalidAddressFamily(found, host, port));
    } else {
      socket._refreshTimer();
      attemptOnly(socket, single, address as string, found);
    }
  });
}

function fail(socket: Socket, error: Error): void {
  socket.destroy(error);
}

/**
 * Emits 'lookup' for each address; gives the usable ones, families alternating, the first one's first. Null when it
 * ends here.
 */
function alternate(socket: Socket, found: LookupAddress[], host: string, port: number): LookupAddress[] | null {
  const byFamily: LookupAddress[][] = [[], []];
  let firstFamily = 0;
  for (const entry of found) {
    socket.emit('lookup', null, entry.address, entry.family, host);
    if (!socket.connecting) return null;
    if (isIP(entry.address) === 0 || (entry.family !== 4 && entry.family !== 6)) continue;
    firstFamily ||= entry.family;
    const list = byFamily[entry.family === firstFamily ? 0 : 1]!;
    if (!list.some((other) => other.address === entry.address)) list.push(entry);
  }
  const [preferred, other] = byFamily as [LookupAddress[], LookupAddress[]];
  const result: LookupAddress[] = [];
  for (let i = 0; i < Math.max(preferred.length, other.length); i++) {
    if (i < preferred.length) result.push(preferred[i]!);
    if (i < other.length) result.push(other[i]!);
  }
  if (result.length > 0) return result;
  const first = found[0];
  const bad = first === undefined || isIP(first.address) === 0;
  process.nextTick(fail, socket, bad ? invalidIpAddress(first?.address) : invalidAddressFamily(first.family, host, port));
  return null;
}

/** Begins a connection. Returns 0 when it is under way, or what went wrong at once. */
function begin(socket: Socket, attempt: ConnectAttempt, address: string, family: number): NetError | null {
  attempt.address = address;
  attempt.family = family;
  const port = attempt.port;
  const handle = socket._provider.socket(family === 6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  if (typeof handle === 'number') return exceptionWithHostPort(handle, 'connect', address, port);
  socket._attach(handle);
  const set = socket._tcp === null ? 0 : applyTcp(handle, socket._tcp);
  if (set < 0) return exceptionWithHostPort(set, 'setsockopt', address, port);
  const localAddress = attempt.addresses === null ? attempt.localAddress : undefined;
  if (localAddress || attempt.localPort) {
    const from = localAddress || (family === 6 ? '::' : '0.0.0.0');
    const bound = handle.bind(from, attempt.localPort ?? 0);
    if (bound < 0) return exceptionWithHostPort(bound, 'bind', from, attempt.localPort ?? 0);
  }
  socket.emit('connectionAttempt', address, port, family);
  if (socket._bsd !== handle) return null;
  socket.autoSelectFamilyAttemptedAddresses?.push(`${address}:${port}`);
  enter();
  const result = handle.connect(address, port);
  leave();
  if (result === 0) {
    defer(socket, POLLOUT);
  } else if (result !== -EINPROGRESS) {
    const local = handle.getsockname();
    const from = local?.address ?? (family === 6 ? '::' : '0.0.0.0');
    return exceptionWithHostPort(result, 'connect', address, port, `${from}:${local?.port ?? 0}`);
  }
  return null;
}

function attemptOnly(socket: Socket, attempt: ConnectAttempt, address: string, family: number): void {
  socket._attempt = attempt;
  const error = begin(socket, attempt, address, family);
  if (error !== null) socket.destroy(error);
}

function attemptNext(socket: Socket, attempt: ConnectAttempt): void {
  attempt.stop();
  while (socket.connecting && socket._attempt === attempt) {
    const target = attempt.addresses![attempt.next++];
    if (target === undefined) {
      socket.destroy(attempt.errors.length === 0 ? connectionTimeout() : connectAggregateError(attempt.errors));
      return;
    }
    socket._detach();
    const error = begin(socket, attempt, target.address, target.family);
    if (error === null) {
      if (!socket.connecting) return;
      attempt.timer = startTimer(socket._clock, attempt.timeoutMs, (late: ConnectAttempt) => attemptTimedOut(socket, late), attempt);
      return;
    }
    attempt.errors.push(error);
    if (error.syscall === 'connect') socket.emit('connectionAttemptFailed', target.address, attempt.port, target.family, error);
  }
}

function attemptTimedOut(socket: Socket, attempt: ConnectAttempt): void {
  attempt.timer = null;
  if (!socket.connecting || socket._attempt !== attempt) return;
  socket.emit('connectionAttemptTimeout', attempt.address, attempt.port, attempt.family);
  attempt.errors.push(attempt.failure(-ETIMEDOUT));
  attemptNext(socket, attempt);
}

/** The low-level socket has an outcome. */
export function connectSettled(socket: Socket): void {
  const attempt = socket._attempt;
  const handle = socket._bsd;
  if (attempt === null || handle === null) return;
  attempt.stop();
  const status = Number(handle.getsockopt(SOL_SOCKET, SO_ERROR));
  if (status === 0) {
    socket._connected();
    return;
  }
  const error = attempt.failure(-Math.abs(status));
  socket.emit('connectionAttemptFailed', attempt.address, attempt.port, attempt.family, error);
  if (!socket.connecting) return;
  if (attempt.addresses === null) {
    socket.destroy(error);
    return;
  }
  attempt.errors.push(error);
  attemptNext(socket, attempt);
}
