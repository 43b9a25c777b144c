/**
 * `createNet(provider)` makes what `import net from 'node:net'` gives, on a stack instead of the host:
 * the classes `Socket` and `Server`, bound to the stack, and the functions of the module.
 */

import {
  BlockList, SocketAddress, getDefaultAutoSelectFamily, getDefaultAutoSelectFamilyAttemptTimeout, isIP, isIPv4, isIPv6,
  setDefaultAutoSelectFamily, setDefaultAutoSelectFamilyAttemptTimeout,
} from 'node:net';
import type { SocketProvider } from '../socket.ts';
import { normalizeConnectArgs } from './connect.ts';
import type { ConnectOptions } from './connect.ts';
import { Server as BaseServer } from './server.ts';
import type { ServerOptions } from './server.ts';
import { Socket as BaseSocket } from './socket.ts';

export type { ConnectOptions, LookupFunction, TcpConnectOptions } from './connect.ts';
export type { NetError } from './errors.ts';
export type { DropArgument, ListenOptions, ServerOptions } from './server.ts';
export type { OnReadOptions, SocketOptions } from './socket.ts';
export type { SocketTcpOptions } from './tcp-options.ts';
export type { BaseSocket as Socket, BaseServer as Server };

/** Connects a new socket, as `net.connect` does. */
export interface ConnectFunction {
  (options: ConnectOptions, connectionListener?: () => void): BaseSocket;
  (port: number | string, host: string, connectionListener?: () => void): BaseSocket;
  (port: number | string, connectionListener?: () => void): BaseSocket;
}

/**
 * What `createNet` makes: the members of `node:net`. Defaults and address tools are the process's own, shared with
 * `node:net`.
 */
export interface Net {
  Socket: typeof BaseSocket;
  /** Old name of `Socket`, as in Node. */
  Stream: typeof BaseSocket;
  Server: typeof BaseServer;
  connect: ConnectFunction;
  createConnection: ConnectFunction;
  createServer(connectionListener?: (socket: BaseSocket) => void): BaseServer;
  createServer(options?: ServerOptions | null, connectionListener?: (socket: BaseSocket) => void): BaseServer;
  isIP: typeof isIP;
  isIPv4: typeof isIPv4;
  isIPv6: typeof isIPv6;
  BlockList: typeof BlockList;
  SocketAddress: typeof SocketAddress;
  getDefaultAutoSelectFamily: typeof getDefaultAutoSelectFamily;
  setDefaultAutoSelectFamily: typeof setDefaultAutoSelectFamily;
  getDefaultAutoSelectFamilyAttemptTimeout: typeof getDefaultAutoSelectFamilyAttemptTimeout;
  setDefaultAutoSelectFamilyAttemptTimeout: typeof setDefaultAutoSelectFamilyAttemptTimeout;
}

/**
 * `node:net` on a stack.
 *
 * @param provider  a stack, or anything else that gives low-level TCP sockets
 */
export function createNet(provider: SocketProvider): Net {
  class Socket extends BaseSocket {
    override get _provider(): SocketProvider {
      return provider;
    }
  }

  class Server extends BaseServer {
    override get _provider(): SocketProvider {
      return provider;
    }

    override get _socketClass(): typeof Socket {
      return Socket;
    }
  }

  function connect(...args: unknown[]): Socket {
    const normalized = normalizeConnectArgs(args);
    const options = normalized[0];
    const socket = new Socket(options);
    if (options.timeout) socket.setTimeout(options.timeout);
    return socket.connect(normalized as never);
  }

  return {
    Socket,
    Stream: Socket,
    Server,
    connect,
    createConnection: connect,
    createServer: (options?: unknown, listener?: unknown) => new Server(options as ServerOptions, listener as never),
    isIP,
    isIPv4,
    isIPv6,
    BlockList,
    SocketAddress,
    getDefaultAutoSelectFamily,
    setDefaultAutoSelectFamily,
    getDefaultAutoSelectFamilyAttemptTimeout,
    setDefaultAutoSelectFamilyAttemptTimeout,
  };
}
