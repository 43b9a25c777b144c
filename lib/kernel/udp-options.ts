/**
 * The options of UDP sockets and their values. Here are the numbers (linux/in.h, linux/in6.h) that only datagram
 * sockets have; the others are in lib/socket.ts.
 */

import { EINVAL, ENOPROTOOPT } from '../errno.ts';
import {
  AF_INET6, IPPROTO_IP, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_TCLASS, IPV6_UNICAST_HOPS, IPV6_V6ONLY, IP_MTU_DISCOVER, IP_TOS,
  IP_TTL, SOCK_DGRAM, SOL_SOCKET, SO_BROADCAST, SO_RCVBUF, SO_REUSEADDR, SO_REUSEPORT, SO_SNDBUF, SO_TYPE,
} from '../socket.ts';

/** `IP_PMTUDISC_DONT`: never DF. `_WANT`: DF unless the datagram must be cut here. `_DO`: DF always, EMSGSIZE when too large. */
export const IP_PMTUDISC_DONT = 0;
export const IP_PMTUDISC_WANT = 1;
export const IP_PMTUDISC_DO = 2;

/** Every ICMP error becomes the pending error, also of sockets that are not connected and for soft errors. */
export const IP_RECVERR = 11;
/** Path MTU of a connected socket, bytes. Read only. */
export const IP_MTU = 14;
export const IP_MULTICAST_TTL = 33;
export const IP_MULTICAST_LOOP = 34;

export const IPV6_MULTICAST_HOPS = 18;
export const IPV6_MULTICAST_LOOP = 19;
export const IPV6_MTU = 24;
export const IPV6_RECVERR = 25;

/** Datagrams dropped because the receive buffer was full (Linux shows it through SO_RXQ_OVFL). Read only. */
export const SO_RXQ_OVFL = 40;

/** Linux's net.core.rmem_default, and the bounds of SO_RCVBUF and SO_SNDBUF. */
const DEFAULT_BUFFER = 212992;
const MAX_BUFFER = 8 << 20;
const MIN_RCVBUF = 2304;
const MIN_SNDBUF = 4608;

/** A value that -1 resets to `fallback`; -1 when it is out of range. */
function inRange(value: number, least: number, most: number, fallback: number): number {
  if (value === -1) return fallback;
  return Number.isInteger(value) && value >= least && value <= most ? value : -1;
}

/** What can be set on a UDP socket. */
export class UdpOptions {
  reuseAddress = false;
  reusePort = false;
  broadcast = false;
  /** Bytes, as Linux counts them: twice of what was asked for. */
  rcvbuf = DEFAULT_BUFFER;
  sndbuf = DEFAULT_BUFFER;
  /** Of IPv4 and of IPv6. */
  ttl = 64;
  hops = 64;
  tos = 0;
  tclass = 0;
  multicastTtl = 1;
  multicastLoop = 1;
  /** `IP_PMTUDISC_…` */
  mtuDiscover = IP_PMTUDISC_WANT;
  recverr = false;
  v6only = false;
  readonly #domain: number;

  constructor(domain: number) {
    this.#domain = domain;
  }

  /** The value, or -ENOPROTOOPT. */
  get(level: number, option: number): number {
    if (level === SOL_SOCKET) {
      switch (option) {
        case SO_REUSEADDR: return Number(this.reuseAddress);
        case SO_REUSEPORT: return Number(this.reusePort);
        case SO_BROADCAST: return Number(this.broadcast);
        case SO_TYPE: return SOCK_DGRAM;
        case SO_RCVBUF: return this.rcvbuf;
        case SO_SNDBUF: return this.sndbuf;
      }
    } else if (level === IPPROTO_IP) {
      switch (option) {
        case IP_TTL: return this.ttl;
        case IP_TOS: return this.tos;
        case IP_MTU_DISCOVER: return this.mtuDiscover;
        case IP_RECVERR: return Number(this.recverr);
        case IP_MULTICAST_TTL: return this.multicastTtl;
        case IP_MULTICAST_LOOP: return this.multicastLoop;
      }
    } else if (level === IPPROTO_IPV6 && this.#domain === AF_INET6) {
      switch (option) {
        case IPV6_UNICAST_HOPS: return this.hops;
        case IPV6_TCLASS: return this.tclass;
        case IPV6_MTU_DISCOVER: return this.mtuDiscover;
        case IPV6_RECVERR: return Number(this.recverr);
        case IPV6_V6ONLY: return Number(this.v6only);
        case IPV6_MULTICAST_HOPS: return this.multicastTtl;
        case IPV6_MULTICAST_LOOP: return this.multicastLoop;
      }
    }
    return -ENOPROTOOPT;
  }

  /** Returns 0, -EINVAL (out of range) or -ENOPROTOOPT. */
  set(level: number, option: number, value: number): number {
    if (level === SOL_SOCKET) return this.#setSocket(option, value);
    if (level === IPPROTO_IP) return this.#setIp(option, value);
    if (level === IPPROTO_IPV6 && this.#domain === AF_INET6) return this.#setIpv6(option, value);
    return -ENOPROTOOPT;
  }

  #setSocket(option: number, value: number): number {
    switch (option) {
      case SO_REUSEADDR: this.reuseAddress = value !== 0; break;
      case SO_REUSEPORT: this.reusePort = value !== 0; break;
      case SO_BROADCAST: this.broadcast = value !== 0; break;
      case SO_RCVBUF: this.rcvbuf = Math.max(Math.min(value * 2, MAX_BUFFER), MIN_RCVBUF); break;
      case SO_SNDBUF: this.sndbuf = Math.max(Math.min(value * 2, MAX_BUFFER), MIN_SNDBUF); break;
      default: return -ENOPROTOOPT;
    }
    return 0;
  }

  #setIp(option: number, value: number): number {
    let v = 0;
    switch (option) {
      case IP_TTL: v = inRange(value, 1, 255, 64); if (v >= 0) this.ttl = v; break;
      case IP_TOS: v = inRange(value, 0, 255, 0); if (v >= 0) this.tos = v; break;
      case IP_MTU_DISCOVER: v = this.#setMtuDiscover(value); break;
      case IP_RECVERR: this.recverr = value !== 0; break;
      case IP_MULTICAST_TTL: v = inRange(value, 0, 255, 1); if (v >= 0) this.multicastTtl = v; break;
      case IP_MULTICAST_LOOP: this.multicastLoop = value !== 0 ? 1 : 0; break;
      default: return -ENOPROTOOPT;
    }
    return v < 0 ? -EINVAL : 0;
  }

  #setIpv6(option: number, value: number): number {
    let v = 0;
    switch (option) {
      case IPV6_UNICAST_HOPS: v = inRange(value, 0, 255, 64); if (v >= 0) this.hops = v; break;
      case IPV6_TCLASS: v = inRange(value, 0, 255, 0); if (v >= 0) this.tclass = v; break;
      case IPV6_MTU_DISCOVER: v = this.#setMtuDiscover(value); break;
      case IPV6_RECVERR: this.recverr = value !== 0; break;
      case IPV6_V6ONLY: this.v6only = value !== 0; break;
      case IPV6_MULTICAST_HOPS: v = inRange(value, 0, 255, 1); if (v >= 0) this.multicastTtl = v; break;
      case IPV6_MULTICAST_LOOP: this.multicastLoop = value !== 0 ? 1 : 0; break;
      default: return -ENOPROTOOPT;
    }
    return v < 0 ? -EINVAL : 0;
  }

  #setMtuDiscover(value: number): number {
    if (value !== IP_PMTUDISC_DONT && value !== IP_PMTUDISC_WANT && value !== IP_PMTUDISC_DO) return -1;
    this.mtuDiscover = value;
    return 0;
  }
}
