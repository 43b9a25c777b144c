/** The small TCP services on the host's own TCP: what they say, half-close, back-pressure, bounded memory. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { SystemClock } from '../../lib/clock.ts';
import { CHARGEN_PERIOD, chargen } from '../../lib/services/chargen.ts';
import { daytime, daytimeLine } from '../../lib/services/daytime.ts';
import { discard } from '../../lib/services/discard.ts';
import { echo } from '../../lib/services/echo.ts';
import type { RunningService, Service } from '../../lib/services/index.ts';
import type { Stack } from '../../lib/stack.ts';
import { HostSockets } from './host-sockets.ts';

/** A stack that is the host's TCP, and a UDP that takes everything and gives nothing. */
function hostStack(sockets: HostSockets): Stack {
  const udp = { socket: () => ({ bind: () => 0, close: () => 0, onmessage: null }) };
  return { socket: () => sockets.socket(), clock: new SystemClock(), udp } as unknown as Stack;
}

async function withService(t: Test, service: Service, work: (port: number, sockets: HostSockets) => Promise<void>): Promise<void> {
  const sockets = new HostSockets();
  const running: RunningService = await service.start(hostStack(sockets), service.defaultPort);
  t.teardown(() => running.close(false));
  await work(await sockets.port(service.defaultPort), sockets);
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

async function collect(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer);
  // Newer Nodes leave a half-open socket that has been read to its end to its owner.
  socket.destroy();
  return Buffer.concat(pieces);
}

t.test('echo returns every byte, then ends after the FIN', { timeout: 20_000 }, (t) => withService(t, echo, async (port) => {
  const socket = await dial(port);
  const sent = Buffer.alloc(5_000_000);
  for (let i = 0; i < sent.length; i++) sent[i] = (i * 31 + (i >> 8)) & 0xff;
  socket.end(sent);
  const got = await collect(socket);
  t.equal(got.length, sent.length);
  t.ok(got.equals(sent));
}));

t.test('echo holds back a peer that does not read, and loses nothing', { timeout: 20_000 }, (t) => withService(t, echo, async (port) => {
  const socket = await dial(port);
  socket.pause();
  const piece = Buffer.alloc(64 * 1024, 0x61);
  let sent = 0;
  // Writes until nothing is taken any more: the service must not swallow without end.
  for (;;) {
    sent += piece.length;
    if (!socket.write(piece)) {
      const drained = await Promise.race([once(socket, 'drain').then(() => true), new Promise((resolve) => setTimeout(resolve, 300, false))]);
      if (!drained) break;
    }
    if (sent > 200_000_000) throw new Error('it takes without end');
  }
  socket.end();
  const got = await collect(socket);
  t.equal(got.length, sent);
}));

t.test('discard takes everything and closes after the FIN', { timeout: 20_000 }, (t) => withService(t, discard, async (port) => {
  const socket = await dial(port);
  socket.end(Buffer.alloc(3_000_000));
  t.equal((await collect(socket)).length, 0);
}));

t.test('chargen: lines of RFC 864, without a break', { timeout: 20_000 }, (t) => withService(t, chargen, async (port, sockets) => {
  const socket = await dial(port);
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of socket.iterator({ destroyOnReturn: false })) {
    pieces.push(piece as Buffer);
    length += (piece as Buffer).length;
    if (length > 4_000_000) break;
  }
  const text = Buffer.concat(pieces);
  const first = text.toString('latin1', 0, 74);
  t.equal(first, ` !"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_\`abcdefg\r\n`);
  t.equal(text.toString('latin1', 74, 76), '!"');
  const digest = (from: number): string => createHash('sha256').update(text.subarray(from, from + CHARGEN_PERIOD)).digest('hex');
  for (let from = 0; from + CHARGEN_PERIOD <= text.length; from += CHARGEN_PERIOD) {
    if (digest(from) !== digest(0)) return void t.fail(`the pattern breaks in the period at ${from}`);
  }
  t.equal(sockets.open.size, 1);
  socket.resume();
  socket.end();
  await once(socket, 'end');
  t.pass('a FIN ends it');
}));

t.test('daytime: one line, then the end', { timeout: 20_000 }, (t) => withService(t, daytime, async (port) => {
  const got = (await collect(await dial(port))).toString();
  t.match(got, /^[A-Z][a-z]+day, [A-Z][a-z]+ [0-9]{1,2}, [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9]-UTC\r\n$/);
  t.equal(Buffer.from(daytimeLine(new Date(Date.UTC(1982, 1, 22, 17, 37, 43)))).toString(), 'Monday, February 22, 1982 17:37:43-UTC\r\n');
}));

t.test('a peer that resets is forgotten', { timeout: 20_000 }, (t) => withService(t, echo, async (port, sockets) => {
  const socket = await dial(port);
  socket.write('x');
  await once(socket, 'data');
  t.equal(sockets.open.size, 1);
  socket.resetAndDestroy();
  while (sockets.open.size > 0) await new Promise((resolve) => setImmediate(resolve));
  t.equal(sockets.open.size, 0);
}));
