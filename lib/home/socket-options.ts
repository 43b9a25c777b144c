/**
 * Options of a socket that are set before there is a TCB, and handed on by a listener: numbers, checked as Linux checks
 * them. What is the socket's own business (SO_REUSEADDR, SO_LINGER, TCP_CORK …) is in tcp-socket.ts.
 */

import { EINVAL, ENOPROTOOPT, ENOTCONN } from '../errno.ts';
import {
  IP_TOS, IP_TTL, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, IPV6_TCLASS, IPV6_UNICAST_HOPS, SO_KEEPALIVE, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET,
  TCP_CONGESTION, TCP_CORK, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT, TCP_INFO, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_MAXSEG,
  TCP_NODELAY, TCP_QUICKACK, TCP_SYNCNT, TCP_USER_TIMEOUT,
} from '../socket.ts';
import type { TcpInfo } from '../socket.ts';
import { MAX_BUFFER, MIN_BUFFER } from '../tcp/config.ts';
import type { TcpConfig } from '../tcp/config.ts';
import { tcpInfo } from '../tcp/info.ts';
import { ESTABLISHED } from '../tcp/states.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { MAX_BACKLOG } from './tcp-listener.ts';

export class SocketOptions {
  rcvbuf = 0;
  sndbuf = 0;
  noDelay = false;
  keepAlive = false;
  keepIdleMs = 0;
  keepIntervalMs = 0;
  keepCount = 0;
  userTimeoutMs = 0;
  maxSegment = 0;
  synRetries = -1;
  tos = 0;
  ttl = 64;
  congestion = '';
  /** Of a listener: most connections that are open by their SYN alone. */
  fastOpenQueue = 0;
  fastOpenConnect = false;

  /** Sets what is set. */
  prepare(tcb: Tcb): void {
    if (this.rcvbuf > 0) {
      tcb.rcvbufLimit = this.rcvbuf;
      tcb.rcvbufLocked = true;
    }
    if (this.sndbuf > 0) {
      tcb.sndbufLimit = this.sndbuf;
      tcb.sndbufLocked = true;
    }
    tcb.noDelay = this.noDelay;
    tcb.keepAlive = this.keepAlive;
    if (this.keepIdleMs > 0) tcb.keepIdleMs = this.keepIdleMs;
    if (this.keepIntervalMs > 0) tcb.keepIntervalMs = this.keepIntervalMs;
    if (this.keepCount > 0) tcb.keepCount = this.keepCount;
    tcb.userTimeoutMs = this.userTimeoutMs;
    tcb.userMss = this.maxSegment;
    if (this.synRetries >= 0) tcb.synRetries = this.synRetries;
    tcb.flow.tos = this.tos;
    tcb.flow.ttl = this.ttl;
  }

  /** An option's value: of the TCB, if there is one; -ENOPROTOOPT when there is no such option. */
  get(level: number, option: number, tcb: Tcb | null, config: TcpConfig): number | string | TcpInfo {
    if (level === SOL_SOCKET) {
      switch (option) {
        case SO_KEEPALIVE: return (tcb?.keepAlive ?? this.keepAlive) ? 1 : 0;
        case SO_RCVBUF: return tcb?.rcvbufLimit ?? (this.rcvbuf || config.rcvbufInitial);
        case SO_SNDBUF: return tcb?.sndbufLimit ?? (this.sndbuf || config.sndbufInitial);
      }
    } else if (level === IPPROTO_TCP) {
      switch (option) {
        case TCP_NODELAY: return (tcb?.noDelay ?? this.noDelay) ? 1 : 0;
        case TCP_MAXSEG: return tcb !== null && tcb.state >= ESTABLISHED ? tcb.sndMss : this.maxSegment || 536;
        case TCP_CORK: return tcb?.corked ? 1 : 0;
        case TCP_KEEPIDLE: return Math.round((tcb?.keepIdleMs ?? (this.keepIdleMs || config.keepIdleMs)) / 1000);
        case TCP_KEEPINTVL: return Math.round((tcb?.keepIntervalMs ?? (this.keepIntervalMs || config.keepIntervalMs)) / 1000);
        case TCP_KEEPCNT: return tcb?.keepCount ?? (this.keepCount || config.keepCount);
        case TCP_SYNCNT: return tcb?.synRetries ?? (this.synRetries >= 0 ? this.synRetries : config.synRetries);
        case TCP_QUICKACK: return tcb !== null && tcb.quickAcks > 0 ? 1 : 0;
        case TCP_USER_TIMEOUT: return tcb?.userTimeoutMs ?? this.userTimeoutMs;
        case TCP_CONGESTION: return tcb?.congestion.name ?? (this.congestion || config.congestion);
        case TCP_INFO: return tcb === null ? -ENOTCONN : tcpInfo(tcb);
        case TCP_FASTOPEN: return this.fastOpenQueue;
        case TCP_FASTOPEN_CONNECT: return this.fastOpenConnect ? 1 : 0;
      }
    } else if (level === IPPROTO_IP && option === IP_TOS || level === IPPROTO_IPV6 && option === IPV6_TCLASS) {
      return tcb?.flow.tos ?? this.tos;
    } else if (level === IPPROTO_IP && option === IP_TTL || level === IPPROTO_IPV6 && option === IPV6_UNICAST_HOPS) {
      return tcb?.flow.ttl ?? this.ttl;
    }
    return -ENOPROTOOPT;
  }

  /** Sets an option: 0, -EINVAL, or -ENOPROTOOPT when there is no such option. */
  set(level: number, option: number, value: number): number {
    if (level === SOL_SOCKET) return this.#setSocket(option, value);
    if (level === IPPROTO_TCP) return this.#setTcp(option, value);
    if (level === IPPROTO_IP && option === IP_TOS || level === IPPROTO_IPV6 && option === IPV6_TCLASS) {
      if (value < 0 || value > 255) return -EINVAL;
      // The ECN bits are TCP's own.
      this.tos = value & 0xfc;
    } else if (level === IPPROTO_IP && option === IP_TTL || level === IPPROTO_IPV6 && option === IPV6_UNICAST_HOPS) {
      if (value < 1 || value > 255) return -EINVAL;
      this.ttl = value;
    } else {
      return -ENOPROTOOPT;
    }
    return 0;
  }

  #setSocket(option: number, value: number): number {
    switch (option) {
      case SO_RCVBUF:
        if (value < 1) return -EINVAL;
        this.rcvbuf = Math.min(Math.max(value, MIN_BUFFER), MAX_BUFFER);
        return 0;
      case SO_SNDBUF:
        if (value < 1) return -EINVAL;
        this.sndbuf = Math.min(Math.max(value, MIN_BUFFER), MAX_BUFFER);
        return 0;
      case SO_KEEPALIVE:
        this.keepAlive = value !== 0;
        return 0;
      default:
        return -ENOPROTOOPT;
    }
  }

  #setTcp(option: number, value: number): number {
    switch (option) {
      case TCP_NODELAY:
        this.noDelay = value !== 0;
        return 0;
      case TCP_MAXSEG:
        if (value < 88 || value > 65_495) return -EINVAL;
        this.maxSegment = value;
        return 0;
      case TCP_KEEPIDLE:
        if (value < 1 || value > 32_767) return -EINVAL;
        this.keepIdleMs = value * 1000;
        return 0;
      case TCP_KEEPINTVL:
        if (value < 1 || value > 32_767) return -EINVAL;
        this.keepIntervalMs = value * 1000;
        return 0;
      case TCP_KEEPCNT:
        if (value < 1 || value > 127) return -EINVAL;
        this.keepCount = value;
        return 0;
      case TCP_SYNCNT:
        if (value < 1 || value > 127) return -EINVAL;
        this.synRetries = value;
        return 0;
      case TCP_USER_TIMEOUT:
        if (value < 0) return -EINVAL;
        this.userTimeoutMs = value;
        return 0;
      case TCP_FASTOPEN:
        if (value < 0) return -EINVAL;
        this.fastOpenQueue = Math.min(value, MAX_BACKLOG);
        return 0;
      case TCP_FASTOPEN_CONNECT:
        if (value !== 0 && value !== 1) return -EINVAL;
        this.fastOpenConnect = value === 1;
        return 0;
      default:
        return -ENOPROTOOPT;
    }
  }
}
