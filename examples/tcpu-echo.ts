/**
 * An echo server with the calls of the report: TCP runs in this process, as TCPU, beside others on the addresses of
 * a running stack (TCPK).
 *
 *     sudo tcpu up                                  (in another terminal)
 *     sudo node --import=tsx examples/tcpu-echo.ts 7
 *     nc 10.90.0.2 7                                (in a third one)
 *
 * The stack is found at its default path, or where the environment variable TCPU_SOCKET says.
 */

// In a project of yours: import { … } from 'tcpu';
import {
  accept_tcpu, AF_INET, bind_tcpu, close_tcpu, IPPROTO_TCPK, recv_tcpu, send_tcpu, SOCK_STREAM, socket_tcpu, TF_NODELAY,
} from '../lib/index.ts';
import type { SocketAddress } from '../lib/index.ts';

const port = Number(process.argv[2] ?? 7);

async function serve(socket: number, from: Partial<SocketAddress>): Promise<void> {
  const buffer = Buffer.alloc(65_536);
  let bytes = 0;
  try {
    for (;;) {
      // 0: nothing for five seconds, which is no reason to stop. The end of the connection is an error (ESHUTDOWN).
      const received = await recv_tcpu(socket, buffer, buffer.length, 0);
      bytes += await send_tcpu(socket, buffer, received, TF_NODELAY);
    }
  } catch (error) {
    console.log(`${from.address} port ${from.port}: ${bytes} bytes, then ${(error as Error).message}`);
  }
  await close_tcpu(socket);
}

const listener = await socket_tcpu(AF_INET, SOCK_STREAM, IPPROTO_TCPK);
await bind_tcpu(listener, { port });
console.log(`waiting on port ${port}`);

process.once('SIGINT', () => void close_tcpu(listener));
process.once('SIGTERM', () => void close_tcpu(listener));
try {
  for (;;) {
    const from: Partial<SocketAddress> = {};
    const socket = await accept_tcpu(listener, from);
    void serve(socket, from);
  }
} catch (error) {
  // `close_tcpu` has ended the wait.
  if ((error as { code?: string }).code !== 'ECANCELED') throw error;
}
