/**
 * The stack's addresses, the groups it joined, and its routes (RFC 1122 section 3.3.1, RFC 4632).
 *
 * There is one link, on layer 3: a next hop has no meaning of its own on it, so a route says only
 * whether, and from which address, a destination is reached. Route lookup is longest prefix match over
 * a sorted list; source addresses are chosen by RFC 6724 section 5, rules 1, 2 and 8 (the others have
 * no object here).
 *
 * Not here: forwarding, several links, IGMP and MLD reports (on a point-to-point link nobody prunes).
 */

import { MAPPED, isMapped } from '../wire/address.ts';
import type { AddressWords } from '../wire/address.ts';

/** An address of the stack's own and the network it is in; prefix 0 … 32 for IPv4 (mapped words), 0 … 128 for IPv6. */
export interface AddressConfig {
  words: AddressWords;
  prefix: number;
}

export interface RouteConfig {
  to: AddressConfig;
  /** Ignored: the link has no layer below that could address a next hop. */
  via?: AddressWords;
  /** Source address for connections that name none; one of the stack's own. */
  source?: AddressWords;
}

/** A network, as words and leading bits (of 128: an IPv4 prefix counts from 96). */
interface Network {
  w0: number;
  w1: number;
  w2: number;
  w3: number;
  bits: number;
}

export interface Route extends Network {
  source: AddressWords | null;
}

interface LocalAddress extends Network {
  /** IPv4: the directed broadcast address of the network; 0 when it has none (RFC 3021). */
  broadcast: number;
}

interface Group extends AddressWords {
  members: number;
}

/** ff02::1, all nodes of the link. */
const ALL_NODES_W0 = 0xff020000 | 0;
/** ff01::1, all nodes of the interface. */
const ALL_NODES_INTERFACE_W0 = 0xff010000 | 0;
/** 224.0.0.1, all systems. */
const ALL_SYSTEMS = 0xe0000001 | 0;

/** How many leading bits of two addresses are equal, 0 to 128. */
export function commonBits(a: AddressWords, w0: number, w1: number, w2: number, w3: number): number {
  if (a.w0 !== w0) return Math.clz32(a.w0 ^ w0);
  if (a.w1 !== w1) return 32 + Math.clz32(a.w1 ^ w1);
  if (a.w2 !== w2) return 64 + Math.clz32(a.w2 ^ w2);
  return 96 + Math.clz32(a.w3 ^ w3);
}

function totalBits(config: AddressConfig): number {
  const { words, prefix } = config;
  const mapped = isMapped(words.w0, words.w1, words.w2);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > (mapped ? 32 : 128)) {
    throw new RangeError(`bad prefix length ${prefix}`);
  }
  return mapped ? prefix + 96 : prefix;
}

/** fe80::/10 or 169.254.0.0/16. */
function isLinkLocal(w0: number, w1: number, w2: number, w3: number): boolean {
  return isMapped(w0, w1, w2) ? (w3 >>> 16) === 0xa9fe : (w0 >>> 22) === 0x3fa;
}

export class RouteTable {
  private readonly addresses: LocalAddress[] = [];
  private readonly groups: Group[] = [];
  private routes: Route[] = [];
  /** The routes asked for; without any, everything is reached through the link. */
  private readonly configured: RouteConfig[] | null;
  /** Last words of the IPv4 addresses, for the quickest look. */
  private local4 = new Int32Array(0);
  private broadcast4 = new Int32Array(0);
  /** The IPv6 addresses, four words each. */
  private local6 = new Int32Array(0);

  /** @param routes  in any order; null for default routes of both versions. Throws RangeError on a bad prefix. */
  constructor(addresses: readonly AddressConfig[], routes: readonly RouteConfig[] | null) {
    this.configured = routes === null ? null : [...routes];
    for (const route of routes ?? []) totalBits(route.to);
    for (const address of addresses) this.add(address);
    this.rebuild();
  }

  /** Adds an address. False when it is there already. */
  addAddress(address: AddressConfig): boolean {
    const { w0, w1, w2, w3 } = address.words;
    if (this.addresses.some((a) => a.w0 === w0 && a.w1 === w1 && a.w2 === w2 && a.w3 === w3)) return false;
    this.add(address);
    this.rebuild();
    return true;
  }

  /** Removes an address. False when there is no such. */
  removeAddress(words: AddressWords): boolean {
    const i = this.addresses.findIndex((a) => a.w0 === words.w0 && a.w1 === words.w1 && a.w2 === words.w2 && a.w3 === words.w3);
    if (i < 0) return false;
    this.addresses.splice(i, 1);
    this.rebuild();
    return true;
  }

  /** The addresses, in the order they were given, with their prefix lengths. */
  listAddresses(): AddressConfig[] {
    return this.addresses.map(({ w0, w1, w2, w3, bits }) => ({
      words: { w0, w1, w2, w3 }, prefix: isMapped(w0, w1, w2) ? bits - 96 : bits,
    }));
  }

  /** Takes packets to this multicast group from now on; as often as it is left, it must have been joined. */
  joinGroup(words: AddressWords): void {
    const group = this.findGroup(words.w0, words.w1, words.w2, words.w3);
    if (group === null) this.groups.push({ ...words, members: 1 });
    else group.members++;
  }

  /** False when nobody had joined. */
  leaveGroup(words: AddressWords): boolean {
    const group = this.findGroup(words.w0, words.w1, words.w2, words.w3);
    if (group === null) return false;
    if (--group.members === 0) this.groups.splice(this.groups.indexOf(group), 1);
    return true;
  }

  /** Whether an IPv4 address (int32) is configured; 127.0.0.0/8 is not asked here. */
  isLocal4(word: number): boolean {
    const local = this.local4;
    for (let i = 0; i < local.length; i++) if (local[i] === word) return true;
    return false;
  }

  isLocal6(w0: number, w1: number, w2: number, w3: number): boolean {
    const local = this.local6;
    for (let i = 0; i < local.length; i += 4) {
      if (local[i + 3] === w3 && local[i + 2] === w2 && local[i + 1] === w1 && local[i] === w0) return true;
    }
    return false;
  }

  /** Whether it is one of the stack's own addresses; the loopback addresses are (RFC 1122 3.2.1.3, RFC 4291 2.5.3). */
  isLocal(w0: number, w1: number, w2: number, w3: number): boolean {
    return isMapped(w0, w1, w2) ? this.isLocal4(w3) || (w3 >>> 24) === 127
      : this.isLocal6(w0, w1, w2, w3) || this.isLoopback(w0, w1, w2, w3);
  }

  /** 127.0.0.0/8 or ::1. */
  isLoopback(w0: number, w1: number, w2: number, w3: number): boolean {
    return isMapped(w0, w1, w2) ? (w3 >>> 24) === 127 : w3 === 1 && w0 === 0 && w1 === 0 && w2 === 0;
  }

  /** 255.255.255.255 or the directed broadcast address of a configured network. */
  isBroadcast4(word: number): boolean {
    if (word === -1) return true;
    const broadcast = this.broadcast4;
    for (let i = 0; i < broadcast.length; i++) if (broadcast[i] === word) return true;
    return false;
  }

  /** Multicast or broadcast. */
  isToMany(w0: number, w1: number, w2: number, w3: number): boolean {
    return isMapped(w0, w1, w2) ? (w3 >>> 28) === 14 || this.isBroadcast4(w3) : (w0 >>> 24) === 0xff;
  }

  /** Whether packets to this multicast group are taken: joined, or one that every host is in. */
  isJoined(w0: number, w1: number, w2: number, w3: number): boolean {
    if (isMapped(w0, w1, w2)) {
      if (w3 === ALL_SYSTEMS) return true;
    } else {
      if (w1 === 0 && w2 === 0 && w3 === 1 && (w0 === ALL_NODES_W0 || w0 === ALL_NODES_INTERFACE_W0)) return true;
      // Solicited-node groups of our addresses, ff02::1:ffxx:xxxx (RFC 4291 section 2.7.1).
      if (w0 === ALL_NODES_W0 && w1 === 0 && w2 === 1 && (w3 >>> 24) === 0xff) {
        for (const a of this.addresses) if (!isMapped(a.w0, a.w1, a.w2) && ((a.w3 ^ w3) & 0xffffff) === 0) return true;
      }
    }
    return this.findGroup(w0, w1, w2, w3) !== null;
  }

  /** The longest prefix that holds the destination, or null. */
  find(w0: number, w1: number, w2: number, w3: number): Route | null {
    const mapped = isMapped(w0, w1, w2);
    for (const route of this.routes) {
      // From here on the routes are for IPv6; '::/0' does not reach IPv4 addresses in mapped form.
      if (mapped && route.bits < 96) return null;
      if (commonBits(route, w0, w1, w2, w3) >= route.bits) return route;
    }
    return null;
  }

  /** Which of the stack's addresses to send from, or null when there is none of that version. */
  selectSource(route: Route | null, w0: number, w1: number, w2: number, w3: number): AddressWords | null {
    const wanted = route?.source ?? null;
    if (wanted !== null && this.isLocal(wanted.w0, wanted.w1, wanted.w2, wanted.w3)) return wanted;
    const mapped = isMapped(w0, w1, w2);
    const linkLocal = isLinkLocal(w0, w1, w2, w3) || (!mapped && (w0 >>> 16 & 0xff0f) === 0xff02);
    let best: LocalAddress | null = null;
    let bestScore = -1;
    for (const a of this.addresses) {
      if (isMapped(a.w0, a.w1, a.w2) !== mapped) continue;
      // Rule 1 (the same address) is the longest match of rule 8; rule 2: the scope of the destination.
      const scope = isLinkLocal(a.w0, a.w1, a.w2, a.w3) === linkLocal ? 1000 : 0;
      const common = Math.min(commonBits(a, w0, w1, w2, w3), a.bits);
      // IPv4: the network the destination is in, else the first address, as with Linux.
      const score = scope + (mapped && common < a.bits ? 0 : common);
      if (score > bestScore) {
        best = a;
        bestScore = score;
      }
    }
    return best;
  }

  private add(address: AddressConfig): void {
    const bits = totalBits(address);
    const { w0, w1, w2, w3 } = address.words;
    // A /31 or /32 has no broadcast address (RFC 3021).
    const broadcast = isMapped(w0, w1, w2) && bits < 127 ? w3 | (bits === 96 ? -1 : (1 << (128 - bits)) - 1) : 0;
    this.addresses.push({ w0, w1, w2, w3, bits, broadcast });
  }

  private findGroup(w0: number, w1: number, w2: number, w3: number): Group | null {
    for (const g of this.groups) if (g.w3 === w3 && g.w2 === w2 && g.w1 === w1 && g.w0 === w0) return g;
    return null;
  }

  private rebuild(): void {
    const four = this.addresses.filter((a) => isMapped(a.w0, a.w1, a.w2));
    const six = this.addresses.filter((a) => !isMapped(a.w0, a.w1, a.w2));
    this.local4 = Int32Array.from(four, (a) => a.w3);
    this.broadcast4 = Int32Array.from(four.filter((a) => a.broadcast !== 0), (a) => a.broadcast);
    this.local6 = Int32Array.from(six.flatMap((a) => [a.w0, a.w1, a.w2, a.w3]));
    const routes: Route[] = [];
    if (this.configured === null) {
      routes.push({ w0: 0, w1: 0, w2: MAPPED, w3: 0, bits: 96, source: null });
      routes.push({ w0: 0, w1: 0, w2: 0, w3: 0, bits: 0, source: null });
    } else {
      for (const { to, source } of this.configured) {
        const { w0, w1, w2, w3 } = to.words;
        routes.push({ w0, w1, w2, w3, bits: totalBits(to), source: source ?? null });
      }
    }
    for (const { w0, w1, w2, w3, bits } of this.addresses) routes.push({ w0, w1, w2, w3, bits, source: null });
    // The sort is stable: a configured route wins over an address's own network of the same size.
    this.routes = routes.sort((a, b) => b.bits - a.bits);
  }
}
