/** The errors of Node's catalogue that only `dgram` throws; texts as Node 20 has them, which the parity tests compare. */

import { getSystemErrorMap } from 'node:util';
import { nodeError, received } from './errors.ts';
import type { NetError } from './errors.ts';

export function badSocketType(): NetError {
  return nodeError(TypeError, 'ERR_SOCKET_BAD_TYPE', 'Bad socket type specified. Valid types are: udp4, udp6');
}

export function badSocketPort(port: unknown): NetError {
  return nodeError(RangeError, 'ERR_SOCKET_BAD_PORT', `Port should be > 0 and < 65536. Received ${received(port)}.`);
}

export function alreadyBound(): NetError {
  return nodeError(Error, 'ERR_SOCKET_ALREADY_BOUND', 'Socket is already bound');
}

export function alreadyConnected(): NetError {
  return nodeError(Error, 'ERR_SOCKET_DGRAM_IS_CONNECTED', 'Already connected');
}

export function notConnected(): NetError {
  return nodeError(Error, 'ERR_SOCKET_DGRAM_NOT_CONNECTED', 'Not connected');
}

export function notRunning(): NetError {
  return nodeError(Error, 'ERR_SOCKET_DGRAM_NOT_RUNNING', 'Not running');
}

export function badBufferSize(): NetError {
  return nodeError(TypeError, 'ERR_SOCKET_BAD_BUFFER_SIZE', 'Buffer size must be a positive integer');
}

/** @param errno  negative */
export function bufferSizeFailed(errno: number, syscall: string): NetError {
  const [code, message] = getSystemErrorMap().get(errno) ?? [`Unknown system error ${errno}`, 'unknown error'];
  const error = nodeError(Error, 'ERR_SOCKET_BUFFER_SIZE',
    `Could not get or set buffer size: ${syscall} returned ${code} (${message})`);
  for (const [key, value] of [['name', 'SystemError'], ['stack', error.stack!.replace('Error', 'SystemError')]]) {
    Object.defineProperty(error, key!, { value, writable: true, configurable: true, enumerable: false });
  }
  return Object.assign(error, { info: { errno, code, message, syscall }, errno, syscall });
}

export function missingArg(name: string): NetError {
  return nodeError(TypeError, 'ERR_MISSING_ARGS', `The "${name}" argument must be specified`);
}

export function outOfBounds(name: string): NetError {
  return nodeError(RangeError, 'ERR_BUFFER_OUT_OF_BOUNDS', `"${name}" is outside of buffer bounds`);
}
