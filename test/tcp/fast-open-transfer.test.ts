/**
 * Fast Open over a link that loses, repeats and reorders: requests and answers of many sizes, each on a connection of its
 * own, between two stacks and between two applications with their own TCP. What the server hears is what was asked, from
 * its first byte, and every answer is complete. A request may arrive twice (RFC 7413 6.1): never twice on one connection.
 */

import t from 'tap';
import { impair } from '../../lib/link/impair.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { IPPROTO_TCP, SHUT_WR, TCP_FASTOPEN, TCP_FASTOPEN_CONNECT } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { B4, Pair, open } from '../sim/pair.ts';

const REQUESTS = 40;

/** Reads all there is; whether the stream has ended. */
function read(socket: BsdSocket, into: number[]): boolean {
  const buffer = new Uint8Array(4096);
  for (;;) {
    const taken = socket.recv(buffer, 0, buffer.length);
    if (taken <= 0) return taken !== -11;
    for (let i = 0; i < taken; i++) into.push(buffer[i]!);
  }
}

/** Writes as there is room, then ends the stream. */
function writer(socket: BsdSocket, bytes: Uint8Array): () => void {
  let at = 0;
  let done = false;
  return () => {
    while (at < bytes.length) {
      const taken = socket.send(bytes, at, bytes.length - at);
      if (taken <= 0) return;
      at += taken;
    }
    if (!done) done = socket.shutdown(SHUT_WR) === 0;
  };
}

function exchange(seed: number, tcpu: boolean): { active: number; passive: number } {
  const random = new SeededRandom(seed);
  const below = (n: number): number => (random.int32() >>> 0) % n;
  const pair = new Pair({
    tcpu,
    links: (clock) => {
      const [left, right] = createMemoryPair({ clock, latencyUs: 2000 });
      return [impair(left, { seed, loss: 0.08, duplicate: 0.05, delayUs: 1000, jitterUs: 8000, up: { loss: 0.08, duplicate: 0.05 } }), right];
    },
  });
  const listener = open(pair.b);
  listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, 16);
  listener.bind('', 80);
  listener.listen(64);
  const served: string[] = [];
  const accept = (): void => {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) {
      const socket = one;
      const request: number[] = [];
      let answer: (() => void) | null = null;
      const go = (): void => {
        if (answer === null && read(socket, request)) {
          served.push(request.join());
          answer = writer(socket, Uint8Array.from(request).reverse());
        }
        answer?.();
      };
      socket.onready = go;
      go();
    }
  };
  listener.onready = accept;
  const asked = new Map<string, number>();
  for (let n = 0; n < REQUESTS; n++) {
    const request = new Uint8Array(1 + below(below(4) === 0 ? 20_000 : 1200)).map(() => below(256));
    const text = request.join();
    asked.set(text, (asked.get(text) ?? 0) + 1);
    const client = open(pair.a);
    client.setsockopt(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
    const answer: number[] = [];
    let ended = false;
    const write = writer(client, request);
    client.onready = () => {
      write();
      ended ||= read(client, answer);
    };
    if (client.connect(B4, 80) === 0) write();
    pair.until(() => ended, 600e6, `answer ${n} of seed ${seed}`);
    if (answer.join() !== Array.from(request).reverse().join()) throw new Error(`answer ${n} of seed ${seed} is not right`);
    client.close();
  }
  for (const text of served) if (text !== '' && !asked.has(text)) throw new Error(`seed ${seed}: a request was served that nobody made`);
  listener.close();
  pair.for(700e6);
  for (const host of [pair.a, pair.b]) if (host.tcp.connections !== 0) throw new Error(`seed ${seed}: ${host.tcp.connections} connections are left`);
  const result = { active: pair.a.tcp.counters.FastOpenActive, passive: pair.b.tcp.counters.FastOpenPassive };
  pair.close();
  return result;
}

for (const tcpu of [false, true]) {
  t.test(tcpu ? 'two applications' : 'two stacks', { timeout: 60_000 }, (t) => {
    let active = 0;
    let passive = 0;
    const seeds = tcpu ? 6 : 15;
    for (let seed = 1; seed <= seeds; seed++) {
      const result = exchange(seed, tcpu);
      active += result.active;
      passive += result.passive;
    }
    t.ok(active > seeds * REQUESTS * 0.2, `${active} of ${seeds * REQUESTS} requests went with the SYN`);
    t.ok(passive >= active, `${passive} were taken`);
    t.end();
  });
}
