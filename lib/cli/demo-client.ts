/**
 * Linux's side of the demo where curl or iperf3 is not installed: run as a process of its own, it talks
 * through Linux's TCP and prints what it found as JSON.
 *
 *     node demo-client.js get URL                       length and SHA-256 of the body
 *     node demo-client.js send HOST PORT SECONDS        bytes that the peer took
 *     node demo-client.js receive HOST PORT SECONDS     bytes that came
 */

import { createHash } from 'node:crypto';
import { get } from 'node:http';
import { connect } from 'node:net';

const [mode, ...rest] = process.argv.slice(2);

function print(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function fail(error: Error): void {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

if (mode === 'get') {
  const startMs = performance.now();
  get(rest[0]!, (response) => {
    const hash = createHash('sha256');
    let bytes = 0;
    response.on('data', (piece: Buffer) => {
      bytes += piece.length;
      hash.update(piece);
    });
    response.on('end', () => print({ bytes, seconds: (performance.now() - startMs) / 1000, sha256: hash.digest('hex') }));
  }).on('error', fail);
} else {
  const [host, port, seconds] = [rest[0]!, Number(rest[1]), Number(rest[2])];
  const socket = connect({ host, port });
  let bytes = 0;
  let startMs = 0;
  const finish = (): void => {
    const moved = mode === 'send' ? socket.bytesWritten - socket.writableLength : bytes;
    print({ bytes: moved, seconds: (performance.now() - startMs) / 1000 });
    socket.destroy();
  };
  socket.on('error', fail);
  socket.on('data', (piece) => {
    bytes += piece.length;
  });
  socket.on('connect', () => {
    startMs = performance.now();
    setTimeout(finish, seconds * 1000);
    if (mode !== 'send') return;
    const piece = Buffer.alloc(256 * 1024);
    const write = (): void => {
      while (!socket.destroyed && socket.write(piece));
    };
    socket.on('drain', write);
    write();
  });
}
