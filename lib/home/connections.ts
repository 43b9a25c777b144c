/** Listings of what a home of TCP holds, as `ss` shows Linux's: connections, listeners, TIME-WAIT. */

import type { TcpInfo } from '../socket.ts';
import { tcpInfo } from '../tcp/info.ts';
import { STATE_NAMES, TIME_WAIT } from '../tcp/states.ts';
import type { Tcb } from '../tcp/tcb.ts';
import { formatAddress } from '../wire/address.ts';
import type { TimeWaitConnection } from './connection-table.ts';
import type { TcpHost } from './tcp-host.ts';
import type { TcpListener } from './tcp-listener.ts';

/** One connection, or one listener. */
export interface ConnectionInfo {
  protocol: 'tcp';
  /** As RFC 9293 prints it. */
  state: string;
  local: { address: string; port: number };
  /** Null for a listener. */
  remote: { address: string; port: number } | null;
  /** Bytes unread; bytes unacknowledged or unsent. For a listener: connections that wait, and the backlog. */
  recvQueue: number;
  sendQueue: number;
  /** Null for a listener, in TIME-WAIT, and where it was not asked for. */
  info: TcpInfo | null;
}

export function listenerInfo(listener: TcpListener): ConnectionInfo {
  return {
    protocol: 'tcp',
    state: 'LISTEN',
    local: { address: formatAddress(listener.b0, listener.b1, listener.b2, listener.b3), port: listener.port },
    remote: null,
    recvQueue: listener.queue.length,
    sendQueue: listener.backlog,
    info: null,
  };
}

export function connectionInfo(tcb: Tcb, details: boolean): ConnectionInfo {
  return {
    protocol: 'tcp',
    state: STATE_NAMES[tcb.state]!,
    ...ends(tcb),
    recvQueue: tcb.readable,
    sendQueue: tcb.sndQueued,
    info: details ? tcpInfo(tcb) : null,
  };
}

export function timeWaitInfo(connection: TimeWaitConnection): ConnectionInfo {
  return { protocol: 'tcp', state: STATE_NAMES[TIME_WAIT]!, ...ends(connection), recvQueue: 0, sendQueue: 0, info: null };
}

function ends({ flow, localPort, remotePort }: Pick<TimeWaitConnection, 'flow' | 'localPort' | 'remotePort'>) {
  return {
    local: { address: formatAddress(flow.l0, flow.l1, flow.l2, flow.l3), port: localPort },
    remote: { address: formatAddress(flow.r0, flow.r1, flow.r2, flow.r3), port: remotePort },
  };
}

/** Every listener and every connection with a TCB, with its figures. */
export function listConnections(tcp: TcpHost): ConnectionInfo[] {
  const list: ConnectionInfo[] = [];
  tcp.forEachListener((listener) => list.push(listenerInfo(listener)));
  tcp.forEach((tcb) => list.push(connectionInfo(tcb, true)));
  return list;
}
