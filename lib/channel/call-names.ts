/** Addresses and names in the words of socket calls (socket-calls.ts), on the stack's side. */

import type { SocketAddress } from '../socket.ts';
import { formatAddress, parseAddress } from '../wire/address.ts';
import { NAMES_LOCAL, NAMES_REMOTE, OUT_LOCAL, OUT_NAMES, OUT_REMOTE } from './socket-calls.ts';

/** The address in four words, as text. */
export function textOf(words: Int32Array, at: number): string {
  return formatAddress(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!);
}

/** Fills in the names that are known. */
export function writeNames(words: Int32Array, local: SocketAddress | null, remote: SocketAddress | null): void {
  const hasLocal = local !== null && writeName(words, OUT_LOCAL, local);
  const hasRemote = remote !== null && writeName(words, OUT_REMOTE, remote);
  words[OUT_NAMES] = (hasLocal ? NAMES_LOCAL : 0) | (hasRemote ? NAMES_REMOTE : 0);
}

function writeName(words: Int32Array, at: number, { address, port }: SocketAddress): boolean {
  const parsed = parseAddress(address);
  if (parsed === null) return false;
  words[at] = parsed.w0;
  words[at + 1] = parsed.w1;
  words[at + 2] = parsed.w2;
  words[at + 3] = parsed.w3;
  words[at + 4] = port;
  return true;
}
