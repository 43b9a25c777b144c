/**
 * The errors that users of the stream API see, shaped as Node's own `net` shapes them: system errors with
 * `errno` (a negative number), `code`, `syscall`, `address`, `port`; argument errors with an `ERR_…` code.
 *
 * Sources: the documentation of Node 20, "Errors" (class SystemError, Node.js error codes) and what node:net
 * throws and emits, which the parity tests compare field by field.
 */

import { getSystemErrorMap, inspect } from 'node:util';

/** An error with the members that Node gives to errors of the system and of arguments. */
export interface NetError extends Error {
  code: string;
  /** Negative errno, of system errors. */
  errno?: number;
  syscall?: string;
  address?: string;
  port?: number;
  localAddress?: string;
  localPort?: number;
}

function systemName(errno: number): string {
  return getSystemErrorMap().get(errno)?.[0] ?? `Unknown system error ${errno}`;
}

function where(address: string | null | undefined, port: number | null | undefined): string {
  if (typeof port === 'number' && port > 0) return ` ${address}:${port}`;
  return address ? ` ${address}` : '';
}

/** `read ECONNRESET`: fields errno, code, syscall. `errno` is negative, as low-level sockets return it. */
export function errnoException(errno: number, syscall: string): NetError {
  const code = systemName(errno);
  return Object.assign(new Error(`${syscall} ${code}`), { errno, code, syscall });
}

/**
 * `connect ECONNREFUSED 10.0.0.1:80`: fields errno, code, syscall, address, port (unless 0).
 * @param local  `address:port` of the near end, shown when a `connect` fails at once
 */
export function exceptionWithHostPort(errno: number, syscall: string, address: string, port: number, local?: string): NetError {
  const code = systemName(errno);
  const message = `${syscall} ${code}${where(address, port)}${local === undefined ? '' : ` - Local (${local})`}`;
  const error: NetError = Object.assign(new Error(message), { errno, code, syscall, address });
  if (port) error.port = port;
  return error;
}

/** `listen EADDRINUSE: address already in use 10.0.0.1:80`: fields code, errno, syscall, address, port (unless 0). */
export function listenException(errno: number, address: string, port: number): NetError {
  const [code, text] = getSystemErrorMap().get(errno) ?? [systemName(errno), 'unknown error'];
  const message = `listen ${code}: ${text}${where(address, port)}`;
  const error: NetError = Object.assign(new Error(message), { code, errno, syscall: 'listen', address });
  if (port) error.port = port;
  return error;
}

/** An error of Node's catalogue: `code` is a property, and part of the stack's first line and of `toString()`. */
export function nodeError(kind: ErrorConstructor, code: string, message: string): NetError {
  const error = new kind(message) as NetError;
  error.code = code;
  const shown = `${error.name} [${code}]: ${message}`;
  Object.defineProperty(error, 'stack', {
    value: (error.stack ?? '').replace(`${error.name}: ${message}`, shown),
    writable: true, configurable: true, enumerable: false,
  });
  Object.defineProperty(error, 'toString', { value: () => shown, writable: true, configurable: true, enumerable: false });
  return error;
}

/** All addresses of a name were tried in vain: the code is the first failure's. */
export function connectAggregateError(errors: NetError[]): AggregateError & { code: string | undefined } {
  const error = Object.assign(new AggregateError(errors), { code: errors[0]?.code });
  Object.defineProperty(error, 'stack', {
    value: (error.stack ?? '').replace(/^AggregateError/, `AggregateError [${error.code}]: `),
    writable: true, configurable: true, enumerable: false,
  });
  return error;
}

export function socketClosed(): NetError {
  return nodeError(Error, 'ERR_SOCKET_CLOSED', 'Socket is closed');
}

export function socketClosedBeforeConnection(): NetError {
  return nodeError(Error, 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION', 'Socket closed before the connection was established');
}

export function connectionTimeout(): NetError {
  return nodeError(Error, 'ERR_SOCKET_CONNECTION_TIMEOUT', 'Socket connection timeout');
}

/** A write after the peer ended a connection that is not allowed to be half open. */
export function endedByPeer(): NetError {
  return Object.assign(new Error('This socket has been ended by the other party'), { code: 'EPIPE' });
}

export function serverAlreadyListens(): NetError {
  return nodeError(Error, 'ERR_SERVER_ALREADY_LISTEN', 'Listen method has been called more than once without closing.');
}

export function serverNotRunning(): NetError {
  return nodeError(Error, 'ERR_SERVER_NOT_RUNNING', 'Server is not running.');
}

export function invalidIpAddress(address: unknown): NetError {
  return nodeError(TypeError, 'ERR_INVALID_IP_ADDRESS', `Invalid IP address: ${String(address)}`);
}

export function invalidAddressFamily(family: unknown, host: unknown, port: unknown): NetError {
  const error = nodeError(RangeError, 'ERR_INVALID_ADDRESS_FAMILY', `Invalid address family: ${family} ${host}:${port}`);
  return Object.assign(error, { host, port }) as NetError;
}

/** How Node names a value that has the wrong type. */
export function received(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') {
    const name: unknown = value.constructor?.name;
    return typeof name === 'string' ? `an instance of ${name}` : inspect(value, { depth: -1 });
  }
  if (typeof value === 'string') {
    const text = value.length > 28 ? `${value.slice(0, 25)}...` : value;
    return `type string (${text.includes("'") ? JSON.stringify(text) : `'${text}'`})`;
  }
  return `type ${typeof value} (${Object.is(value, -0) ? '-0' : String(value)}${typeof value === 'bigint' ? 'n' : ''})`;
}

/** @param expected  what follows "must be ", as 'of type number' or 'an instance of Object' */
export function invalidArgType(name: string, expected: string, value: unknown): NetError {
  const kind = name.includes('.') ? 'property' : 'argument';
  return nodeError(TypeError, 'ERR_INVALID_ARG_TYPE', `The "${name}" ${kind} must be ${expected}. Received ${received(value)}`);
}

export function invalidArgValue(name: string, value: unknown, reason = 'is invalid'): NetError {
  const kind = name.includes('.') ? 'property' : 'argument';
  const text = inspect(value);
  const shown = text.length > 128 ? `${text.slice(0, 128)}...` : text;
  return nodeError(TypeError, 'ERR_INVALID_ARG_VALUE', `The ${kind} '${name}' ${reason}. Received ${shown}`);
}

/** Unix domain sockets and inherited descriptors belong to the host, not to this stack. */
export function notOnThisStack(name: string, value: unknown): NetError {
  return invalidArgValue(name, value, 'is not supported: this stack only speaks TCP, use node:net for paths and descriptors');
}

export function missingConnectArgs(): NetError {
  return nodeError(TypeError, 'ERR_MISSING_ARGS', 'The "options" or "port" or "path" argument must be specified');
}

function outOfRange(name: string, range: string, value: unknown): NetError {
  const message = `The value of "${name}" is out of range. It must be ${range}. Received ${String(value)}`;
  return nodeError(RangeError, 'ERR_OUT_OF_RANGE', message);
}

export function validateFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw invalidArgType(name, 'of type function', value);
}

export function validateAbortSignal(value: unknown, name: string): asserts value is AbortSignal {
  if (typeof value !== 'object' || value === null || !('aborted' in value)) {
    throw invalidArgType(name, 'an instance of AbortSignal', value);
  }
}

export function validateNumber(value: unknown, name: string): asserts value is number {
  if (typeof value !== 'number') throw invalidArgType(name, 'of type number', value);
}

export function validateBoolean(value: unknown, name: string): asserts value is boolean {
  if (typeof value !== 'boolean') throw invalidArgType(name, 'of type boolean', value);
}

export function validateInt32(value: unknown, name: string, min: number): asserts value is number {
  validateNumber(value, name);
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value);
  if (value < min || value > 0x7fffffff) throw outOfRange(name, `>= ${min} && <= ${0x7fffffff}`, value);
}

/** A port as number or text, 0 to 65535. */
export function validatePort(value: unknown, name: string): number {
  const port = (typeof value === 'number' || (typeof value === 'string' && value.trim() !== '')) ? Number(value) : NaN;
  if (Number.isInteger(port) && port >= 0 && port <= 65535) return port;
  throw nodeError(RangeError, 'ERR_SOCKET_BAD_PORT', `${name} should be >= 0 and < 65536. Received ${received(value)}.`);
}

const TIMEOUT_MAX_MS = 0x7fffffff;

/** Milliseconds for a timer; what is longer than a timer can be is cut, with a warning. */
export function validateTimeout(value: unknown, name: string): number {
  validateNumber(value, name);
  if (!Number.isFinite(value) || value < 0) throw outOfRange(name, 'a non-negative finite number', value);
  if (value <= TIMEOUT_MAX_MS) return value;
  process.emitWarning(`${value} does not fit into a 32-bit signed integer.\nTimer duration was truncated to ${TIMEOUT_MAX_MS}.`,
    'TimeoutOverflowWarning');
  return TIMEOUT_MAX_MS;
}
