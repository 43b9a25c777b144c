/** Who sent a datagram: what UDP sockets, in the stack and across the boundary of processes, hand to `onmessage`. */

import { AF_INET } from '../socket.ts';
import type { DatagramRemote } from '../socket.ts';
import { formatAddress, isMapped } from '../wire/address.ts';

/**
 * The sender of a datagram, and what its IP header said. One object a socket, filled again for every
 * datagram: valid during `onmessage`, or until the next `recvFrom`.
 */
export class UdpRemote implements DatagramRemote {
  /** Address words; an IPv4 address is mapped. */
  w0 = 0;
  w1 = 0;
  w2 = 0;
  w3 = 0;
  port = 0;
  /** TTL or hop limit, and traffic class octet, as they arrived. */
  ttl = 0;
  tos = 0;
  /** AF_INET or AF_INET6 of the socket: the second shows IPv4 senders as `::ffff:a.b.c.d`. */
  readonly domain: number;
  private text = '';
  private t0 = 0;
  private t1 = 0;
  private t2 = 0;
  private t3 = 0;

  constructor(domain: number) {
    this.domain = domain;
  }

  get family(): 'IPv4' | 'IPv6' {
    return this.domain === AF_INET ? 'IPv4' : 'IPv6';
  }

  /** The address as text: made when asked for, and again only when it has changed. */
  get address(): string {
    if (this.text === '' || this.t3 !== this.w3 || this.t2 !== this.w2 || this.t1 !== this.w1 || this.t0 !== this.w0) {
      this.t0 = this.w0;
      this.t1 = this.w1;
      this.t2 = this.w2;
      this.t3 = this.w3;
      this.text = addressText(this.domain, this.w0, this.w1, this.w2, this.w3);
    }
    return this.text;
  }
}

/** Address words as text, as a socket of this domain shows them. */
export function addressText(domain: number, w0: number, w1: number, w2: number, w3: number): string {
  const text = formatAddress(w0, w1, w2, w3);
  return domain !== AF_INET && isMapped(w0, w1, w2) ? `::ffff:${text}` : text;
}
