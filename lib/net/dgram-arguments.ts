/** The data arguments of `dgram.Socket#send`: from what Node takes to bytes, without a copy where it can be. */

import { outOfBounds } from './dgram-errors.ts';
import { invalidArgType, invalidArgValue, validateNumber } from './errors.ts';

/** What a datagram can be given as. */
export type Bytes = string | NodeJS.ArrayBufferView;

export function toBytes(data: unknown, name: string): Uint8Array {
  if (typeof data === 'string') return Buffer.from(data);
  if (data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw invalidArgType(name, 'of type string or an instance of Buffer, TypedArray, or DataView', data);
}

export function slice(data: unknown, offset: number, length: number): Uint8Array {
  const bytes = toBytes(data, 'buffer');
  offset >>>= 0;
  length >>>= 0;
  if (offset > bytes.byteLength) throw outOfBounds('offset');
  if (offset + length > bytes.byteLength) throw outOfBounds('length');
  return bytes.subarray(offset, offset + length);
}

export function concat(list: readonly unknown[], whole: unknown): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const part of list) {
    if (typeof part !== 'string' && !ArrayBuffer.isView(part)) {
      throw invalidArgType('buffer list arguments', 'of type string or an instance of Buffer, TypedArray, or DataView', whole);
    }
    parts.push(toBytes(part, 'buffer'));
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

export function validateUint32(value: unknown, name: string): void {
  validateNumber(value, name);
  if (value >>> 0 !== value) throw invalidArgValue(name, value, 'must be an integer >= 0 and <= 4294967295');
}
