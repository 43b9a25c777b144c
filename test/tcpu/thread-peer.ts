/**
 * The other process of thread.test.ts: a stack that applications attach to, and behind a memory link the peer that they
 * speak to. It does what it is told by messages, and writes what it has seen to a file, since whoever asks may be blocked:
 *
 *     test process: application ── TCPU  ══ window ══  stack 10.0.0.1 ── link ── peer 10.0.0.2
 *
 *     { pour: bytes, ms, file }    sends on the connection to port 20; file: bytes acknowledged after so many ms
 *     { lose: ms, file }           answers; loses all that the peer gets; file: how often each lost segment of port 20 was sent
 *     { fetch: path }              HTTP, from the peer to port 80; answers with the body
 *     { ended: port }              answers how the last connection to port 30 ended
 */

import { once } from 'node:events';
import { get } from 'node:http';
import { renameSync, writeFileSync } from 'node:fs';
import { LinkMiddleware } from '../../lib/link/middleware.ts';
import { RX_LENGTH, RX_OFFSET, RX_STRIDE } from '../../lib/link/link.ts';
import type { PacketBatch } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import type { Socket } from '../../lib/net/net.ts';
import { createStack } from '../../lib/stack.ts';
import { TCP_DATA_OFFSET, TCP_DST_PORT, TCP_SEQ } from '../../lib/wire/tcp.ts';

export const STACK = '10.0.0.1';
export const PEER = '10.0.0.2';
export const POUR_PORT = 20;
export const END_PORT = 30;

/** Loses, when told to, what comes, and counts the segments of data to `POUR_PORT` in it. */
class Losing extends LinkMiddleware {
  /** Times that a segment was sent, by its sequence number. */
  seen: Map<number, number> | null = null;

  override input(batch: PacketBatch): void {
    const { seen } = this;
    if (seen === null) {
      super.input(batch);
      return;
    }
    const view = new DataView(batch.slab.buffer, batch.slab.byteOffset);
    for (let i = 0; i < batch.count; i++) {
      const at = batch.meta[i * RX_STRIDE + RX_OFFSET]!;
      const length = batch.meta[i * RX_STRIDE + RX_LENGTH]!;
      const tcp = at + (view.getUint8(at) & 15) * 4;
      const data = length - (tcp - at) - (view.getUint8(tcp + TCP_DATA_OFFSET) >> 4) * 4;
      if (view.getUint16(tcp + TCP_DST_PORT) !== POUR_PORT || data <= 0) continue;
      const seq = view.getUint32(tcp + TCP_SEQ);
      seen.set(seq, (seen.get(seq) ?? 0) + 1);
    }
  }
}

function write(file: string, result: unknown): void {
  writeFileSync(`${file}.part`, JSON.stringify(result));
  renameSync(`${file}.part`, file);
}

async function main(path: string): Promise<void> {
  const [a, b] = createMemoryPair();
  const losing = new Losing(b);
  const stack = createStack({ link: a, addresses: [`${STACK}/24`], applications: true });
  const peer = createStack({ link: losing, addresses: [`${PEER}/24`] });
  stack.ref();
  peer.net.createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(7);
  const datagrams = peer.dgram.createSocket('udp4');
  datagrams.on('message', (message, from) => datagrams.send(message, from.port, from.address)).bind(7);

  let connected: Socket | null = null;
  peer.net.createServer((socket) => {
    connected = socket.on('error', () => {});
    socket.pipe(socket);
  }).listen(POUR_PORT);

  let ended: Promise<{ bytes: number; how: string }> = new Promise(() => {});
  peer.net.createServer({ allowHalfOpen: true }, (socket) => {
    ended = new Promise((resolve) => {
      let bytes = 0;
      socket.on('data', (piece) => {
        bytes += piece.length;
      });
      socket.on('end', () => {
        socket.end();
        resolve({ bytes, how: 'end' });
      });
      socket.on('error', (error: NodeJS.ErrnoException) => resolve({ bytes, how: error.code! }));
    });
    socket.write('hello');
  }).listen(END_PORT);

  process.on('message', (message: { pour?: number; lose?: number; ms?: number; file?: string; fetch?: string; ended?: boolean }) => {
    if (message.pour !== undefined) {
      const before = connected!.tcpInfo()!.bytesAcked;
      connected!.write(Buffer.alloc(message.pour, 'pour'));
      setTimeout(() => write(message.file!, connected!.tcpInfo()!.bytesAcked - before), message.ms);
    } else if (message.lose !== undefined) {
      const seen = losing.seen = new Map<number, number>();
      setTimeout(() => {
        losing.seen = null;
        write(message.file!, [...seen.values()]);
      }, message.lose);
      process.send!('losing');
    } else if (message.fetch !== undefined) {
      const createConnection = () => peer.net.connect(80, STACK) as never;
      get({ createConnection, host: STACK, path: message.fetch }, (response) => {
        let text = '';
        response.setEncoding('latin1').on('data', (piece: string) => {
          text += piece;
        }).on('end', () => process.send!(text));
      });
    } else {
      void ended.then((how) => process.send!(how));
    }
  });
  process.on('disconnect', () => process.exit(0));
  await once(peer.net.createServer().listen(1), 'listening');
  stack.listen({ path });
  process.send!('ready');
}

if (process.send !== undefined && process.argv[2] !== undefined) await main(process.argv[2]);
