/**
 * Which local ports sockets are bound to, and the choice of ephemeral ports (RFC 6056). Rules for two
 * sockets on one port follow Linux: they conflict when their addresses overlap, unless both allow reuse
 * and the other does not listen, or both ask for SO_REUSEPORT. Whoever is bound to a port can take flows of it, so
 * between applications the first is not enough, and the second takes that they are of the same user (as in Linux).
 */

import { EADDRINUSE } from '../errno.ts';
import type { PortUser } from '../home/local-ports.ts';
import type { Random } from '../random.ts';
import { MAPPED } from '../wire/address.ts';

/** Linux's default ip_local_port_range. */
export const EPHEMERAL_FIRST = 32768;
export const EPHEMERAL_LAST = 60999;
export const EPHEMERAL_COUNT = EPHEMERAL_LAST - EPHEMERAL_FIRST + 1;

function isAnyV6(u: PortUser): boolean {
  return u.b0 === 0 && u.b1 === 0 && u.b2 === 0 && u.b3 === 0;
}

function isAnyV4(u: PortUser): boolean {
  return u.b0 === 0 && u.b1 === 0 && u.b2 === MAPPED && u.b3 === 0;
}

function isV4(u: PortUser): boolean {
  return u.b0 === 0 && u.b1 === 0 && u.b2 === MAPPED;
}

/** Whether some packet could be for either. */
function overlap(a: PortUser, b: PortUser): boolean {
  if (isAnyV6(a)) return !isV4(b) || !a.v6only;
  if (isAnyV6(b)) return !isV4(a) || !b.v6only;
  if (isV4(a) !== isV4(b)) return false;
  if (isAnyV4(a) || isAnyV4(b)) return true;
  return a.b0 === b.b0 && a.b1 === b.b1 && a.b2 === b.b2 && a.b3 === b.b3;
}

export class PortBindings {
  readonly #users = new Map<number, PortUser[]>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** 0, or -EADDRINUSE. */
  check(user: PortUser, port: number): number {
    const users = this.#users.get(port);
    if (users !== undefined) {
      for (const other of users) {
        if (other === user || !overlap(user, other)) continue;
        if (user.reusePort && other.reusePort && user.uid === other.uid) continue;
        if (user.reuseAddress && other.reuseAddress && !other.listening && user.owner === other.owner) continue;
        return -EADDRINUSE;
      }
    }
    return 0;
  }

  add(user: PortUser, port: number): void {
    const users = this.#users.get(port);
    if (users === undefined) this.#users.set(port, [user]);
    else users.push(user);
  }

  remove(user: PortUser, port: number): void {
    const users = this.#users.get(port);
    if (users === undefined) return;
    const at = users.indexOf(user);
    if (at < 0) return;
    if (users.length === 1) this.#users.delete(port);
    else users.splice(at, 1);
  }

  /** Whether one of those on `port` is as `test` says. */
  some(port: number, test: (user: PortUser) => boolean): boolean {
    return this.#users.get(port)?.some(test) ?? false;
  }

  /** How many of those on `port` are as `test` says. */
  count(port: number, test: (user: PortUser) => boolean): number {
    const users = this.#users.get(port);
    let n = 0;
    if (users !== undefined) for (const user of users) if (test(user)) n++;
    return n;
  }

  inUse(port: number): boolean {
    return this.#users.has(port);
  }

  /** A port that nobody is bound to, for bind(0); -EADDRINUSE when all are taken. */
  pick(user: PortUser): number {
    const start = (this.#random.int32() >>> 0) % EPHEMERAL_COUNT;
    for (let i = 0; i < EPHEMERAL_COUNT; i++) {
      const port = EPHEMERAL_FIRST + ((start + i) % EPHEMERAL_COUNT);
      if (!this.inUse(port) && this.check(user, port) === 0) return port;
    }
    return -EADDRINUSE;
  }
}
