/** The types of `createDgram`'s API, after @types/node's `dgram`. */

import type { RemoteInfo } from 'node:dgram';
import type { NetError } from './errors.ts';

export type SocketType = 'udp4' | 'udp6';

/** Resolves a name; the second argument is 4 or 6. */
export type DgramLookup = (
  hostname: string, family: number, callback: (error: NodeJS.ErrnoException | null, address: string, family: number) => void,
) => void;

export interface DgramOptions {
  type: SocketType;
  reuseAddr?: boolean;
  reusePort?: boolean;
  ipv6Only?: boolean;
  recvBufferSize?: number;
  sendBufferSize?: number;
  lookup?: DgramLookup;
  signal?: AbortSignal;
}

export interface DgramBindOptions {
  port?: number;
  address?: string;
  /** Taken and ignored: stacks have no cluster. */
  exclusive?: boolean;
}

export type MessageListener = (msg: Buffer, rinfo: RemoteInfo) => void;
export type SendCallback = (error: Error | null, bytes: number) => void;

/** What an `'icmpError'` event gives: as a send that failed with `errno`, and who said so. */
export interface DgramIcmpError extends NetError {
  address: string;
  port: number;
  /** The host or router that sent the ICMP error. */
  from: string;
  /** ICMP type and code. */
  type: number;
  icmpCode: number;
  /** Next-hop MTU, or 0. */
  mtu: number;
}

export interface DgramEvents {
  close: [];
  connect: [];
  error: [error: Error];
  icmpError: [error: DgramIcmpError];
  listening: [];
  message: [msg: Buffer, rinfo: RemoteInfo];
}
