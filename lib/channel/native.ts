/**
 * What processes share, from the native addon (native/channel.c, shared-memory.c, unix-socket.c, watch.c):
 * memory, doorbells, and the Unix socket that carries calls and descriptors. It knows nothing of rings,
 * records, or calls. What a mistaken or hostile process could do with what it is given is said here.
 */

import { loadNative } from '../link/native.ts';

/** Who is on the other side of a Unix socket (SO_PEERCRED). */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

/**
 * What returns a number gives a negative errno when it failed. Descriptors are plain integers,
 * close-on-exec, and belong to the caller. A watch is a small id of its own, and keeps the process alive
 * unless `watchUnref`ed.
 */
export interface NativeChannel {
  /**
   * Reserves `bytes` of address space, readable and writable, not committed until touched, as an external
   * ArrayBuffer; given back when that is collected. Throws when `bytes` is no multiple of the page size,
   * or when there is no room.
   */
  arena(bytes: number): ArrayBuffer;
  /**
   * Maps the file `fd` (whole, shared) over `[offset, offset + length)` of an arena. Page aligned. -EINVAL when
   * this is not inside of an arena or the file is shorter; -EPERM for a file that is not sealed
   * against shrinking, with which whoever has it could end this process (SIGBUS).
   */
  arenaMap(arena: ArrayBuffer, offset: number, length: number, fd: number): number;
  /** Puts fresh anonymous memory there again: what was mapped is let go, reading gives zeros. */
  arenaUnmap(arena: ArrayBuffer, offset: number, length: number): number;
  /** A memfd of this size, sealed so that nobody can shrink or grow it (F_SEAL_SHRINK|GROW|SEAL). */
  memfd(name: string, bytes: number): number;
  /** Maps a file whole, shared; unmapped when collected. Null when it failed: the conditions are arenaMap's. */
  map(fd: number, bytes: number): ArrayBuffer | null;

  /** eventfd(2): EFD_NONBLOCK | EFD_CLOEXEC. */
  eventfd(): number;
  /** Adds one: whoever watches wakes up. 0 also when it has been rung beyond counting. */
  eventfdWrite(fd: number): number;
  /**
   * A descriptor that others can watch in place of the eventfd (`isEventfd` is true for it too) and cannot write,
   * read or reconfigure it through. For processes that are not trusted: with the eventfd itself they could
   * clear O_NONBLOCK, fill the counter, and so, in a race that they may lose often, block eventfdWrite.
   */
  eventfdListen(fd: number): number;
  /**
   * Waits up to `us` microseconds until `words[index]` is another than `value`, without sleeping, giving way to
   * whoever wants the processor. 1 when it is, else 0. Blocks the thread.
   */
  awaitChange(words: Int32Array, index: number, value: number, us: number): number;

  /**
   * A listening Unix socket (SOCK_SEQPACKET) with these permission bits from the start; -EADDRINUSE when
   * the path exists, -ENAMETOOLONG from 108 bytes on. The path stays when the socket is closed.
   */
  unixListen(path: string, mode: number): number;
  /** A new connection, or -EAGAIN. */
  unixAccept(fd: number): number;
  /** -ENOENT, -ECONNREFUSED when nobody listens, -EACCES, -EAGAIN when too many wait to be accepted. */
  unixConnect(path: string): number;
  unixPeer(fd: number): PeerCredentials | number;
  /**
   * Sends `bytes[offset, offset + length)` as one message, with descriptors (up to 8), not blocking.
   * Returns the length, -EAGAIN when the other side does not read, or -EPIPE or -ECONNRESET when it has closed.
   * No empty messages: -EINVAL.
   */
  unixSend(fd: number, bytes: Uint8Array, offset: number, length: number, fds: readonly number[] | null): number;
  /**
   * Takes one message, not blocking: its length, 0 when the other side has closed, -EAGAIN when nothing is there,
   * -EMSGSIZE when it was longer than `into` (and lost). Descriptors that came with it go to `fds`
   * (count first, then up to 8; those that find no room are closed).
   */
  unixReceive(fd: number, into: Uint8Array, fds: Int32Array | null): number;
  /**
   * Sends a message and waits for one message in answer, at most `timeoutMs`. Blocks the thread.
   * Returns the answer's length in `words` (bytes), 0 when the other side has closed, -ETIMEDOUT; the
   * answer may still come then, so that the socket is of no use for further calls.
   */
  unixCall(fd: number, words: Int32Array, sendBytes: number, timeoutMs: number): number;

  /**
   * Calls `callback` whenever `fd` is readable (an eventfd is read, and so reset, before). Returns the watch, or
   * -EEXIST when this thread watches `fd` already. The callback may close any watch and any descriptor.
   */
  watch(fd: number, isEventfd: boolean, callback: () => void): number;
  watchRef(watch: number): void;
  watchUnref(watch: number): void;
  /** The descriptor stays open. */
  unwatch(watch: number): void;
  /** Ends this thread's watch of the descriptor too, if there is one. */
  closeFd(fd: number): void;
}

/** Loads the addon. Throws `NativeError` when it is missing. */
export function loadChannelNative(): NativeChannel {
  return loadNative() as unknown as NativeChannel;
}
