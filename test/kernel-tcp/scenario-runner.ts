/** Runs the operations of scenarios.ts on low-level sockets. */

import { errnoName } from '../../lib/errno.ts';
import { AF_INET, MSG_PEEK, SO_ERROR, SO_LINGER, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket, SocketProvider } from '../../lib/socket.ts';

const ADDRESS: Record<string, string> = { any: '0.0.0.0', own: '10.90.0.2', foreign: '192.0.2.77', hole: '10.90.0.77' };

export class Runner {
  readonly sockets = new Map<string, BsdSocket>();
  readonly ports = new Map<string, number>();
  readonly provider: SocketProvider;
  readonly #bytes = new Uint8Array(100);

  constructor(provider: SocketProvider) {
    this.provider = provider;
  }

  run(line: string): string {
    const [op, name, ...rest] = line.split(' ') as [string, string, ...string[]];
    const result = this.#do(op, name, rest);
    if (typeof result === 'string') return result;
    return result < 0 ? errnoName(-result) : ['send', 'recv', 'peek', 'poll', 'get'].includes(op) ? String(result) : 'ok';
  }

  #port(text: string): number {
    return text.startsWith('@') ? this.ports.get(text.slice(1))! : Number(text);
  }

  #keep(name: string, made: BsdSocket | number): number {
    if (typeof made === 'number') return made;
    this.sockets.set(name, made);
    return 0;
  }

  #do(op: string, name: string, rest: string[]): number | string {
    if (op === 'socket') return this.#keep(name, this.provider.socket(AF_INET, SOCK_STREAM, 0));
    if (op === 'accept') return this.#keep(name, this.sockets.get(rest[0]!)!.accept());
    const s = this.sockets.get(name)!;
    const n = Number(rest[0]);
    switch (op) {
      case 'bind': {
        const result = s.bind(ADDRESS[rest[0]!]!, this.#port(rest[1]!));
        if (result === 0) this.ports.set(name, s.getsockname()!.port);
        return result;
      }
      case 'listen': return s.listen(n);
      case 'connect': return s.connect(ADDRESS[rest[0]!]!, this.#port(rest[1]!));
      case 'send': return s.send(this.#bytes, 0, n);
      case 'recv': return s.recv(this.#bytes, 0, n);
      case 'peek': return s.recv(this.#bytes, 0, n, MSG_PEEK);
      case 'shutdown': return s.shutdown(n);
      case 'close': return s.close();
      case 'getpeername': return s.getpeername() === null ? 'ENOTCONN' : 'ok';
      case 'error': return -(s.getsockopt(SOL_SOCKET, SO_ERROR) as number);
      case 'reuseaddr': return s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
      case 'linger': return s.setsockopt(SOL_SOCKET, SO_LINGER, n);
      case 'set': return s.setsockopt(n, Number(rest[1]), Number(rest[2]));
      case 'get': return s.getsockopt(n, Number(rest[1])) as number;
      case 'poll': return s.poll();
      default: throw new Error(op);
    }
  }
}
