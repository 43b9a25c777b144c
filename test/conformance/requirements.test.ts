/**
 * Requirements of RFC 9293 appendix B, and of others, that no test elsewhere is about; each is named with its id.
 * Which test shows which requirement is in requirements/, and in docs/CONFORMANCE.md.
 */

import { EACCES, EADDRINUSE, ENETUNREACH } from '../../lib/errno.ts';
import {
  AF_INET, IPPROTO_IP, IPPROTO_TCP, IP_TOS, IP_TTL, MSG_OOB, POLLPRI, SHUT_WR, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SO_RCVBUF, SO_REUSEADDR,
  TCP_KEEPIDLE, TCP_NODELAY,
} from '../../lib/socket.ts';
import { OURS4, script } from '../tcp/harness.ts';
import type { Harness, Out } from '../tcp/harness.ts';
import { icmpError } from './icmp-packet.ts';

function sum16(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Hands an IPv4 packet in. */
function receive(h: Harness, packet: Uint8Array): void {
  const { batch } = h.link;
  batch.count = 0;
  batch.slab.set(packet, 0);
  batch.add(0, packet.length);
  batch.timeUs = h.clock.nowUs();
  h.link.host.input(batch);
  h.stack.settle();
}

/** The packet with other addresses, its checksums right. */
function readdressed(packet: Uint8Array, source: number[] | null, destination: number[] | null): Uint8Array {
  const copy = packet.slice();
  if (source !== null) copy.set(source, 12);
  if (destination !== null) copy.set(destination, 16);
  copy.set([0, 0], 10);
  const header = sum16(copy.subarray(0, 20));
  copy.set([header >> 8, header & 0xff], 10);
  copy.set([0, 0], 36);
  const pseudo = new Uint8Array([...copy.subarray(12, 20), 0, 6, (copy.length - 20) >> 8, (copy.length - 20) & 0xff]);
  const tcp = sum16(copy.subarray(20), ~sum16(pseudo) & 0xffff);
  copy.set([tcp >> 8, tcp & 0xff], 36);
  return copy;
}

/** Kinds of options, in order; throws when a length is wrong. */
function kinds(out: Out): number[] {
  const found: number[] = [];
  const { options } = out;
  for (let i = 0; i < options.length;) {
    const kind = options[i]!;
    found.push(kind);
    if (kind === 0) break;
    if (kind === 1) {
      i++;
      continue;
    }
    const length = options[i + 1];
    if (length === undefined || length < 2 || i + length > options.length) throw new Error(`option ${kind} has length ${length}`);
    i += length;
  }
  return found;
}

script('a window of more than 32767 is not negative (MUST-1)', (h) => {
  const s = h.active({ win: 65535 }, undefined, 10);
  h.tcb.cwnd = 1 << 20;
  h.send(s, 80_000);
  const out = h.take();
  const end = Math.max(...out.map((o) => o.seq + o.len));
  h.t.ok(end - 1 > 32767 && end - 1 <= 65535, `${end - 1} bytes in flight`);
});

script('windows beyond 16 bits (REC-1; RFC 7323 2.3)', (h) => {
  h.active({ win: 65535, ws: 14 }, undefined, 10);
  h.t.equal(h.tcb.sndWnd, 65535 * 16384, 'a gigabyte less 16 KiB');
});

script('what lies within a window that shrank is repeated as ever (SHLD-16)', (h) => {
  const s = h.active({ win: 5000 }, undefined, 10);
  h.send(s, 4000);
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 1, win: 2000 });
  h.advance(10_000);
  const out = h.take();
  h.t.ok(out.some((o) => o.seq === 1 && o.len > 0), 'the first segment is sent again');
  h.t.ok(out.every((o) => o.seq + o.len <= 4001), 'nothing new beyond it');
});

script('a closed window keeps neither urgency nor a reset out (MUST-66)', (h) => {
  const s = h.active({}, (socket) => socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096), 10);
  for (let at = 1; at < 4097; at += 1024) h.inject({ flags: '.', seq: at, ack: 1, len: 1024 });
  h.t.equal(h.take().at(-1)!.win, 0, 'the window is closed');
  h.inject({ flags: 'U.', seq: 4097, ack: 1, len: 1, urg: 1 });
  h.t.equal(s.poll() & POLLPRI, POLLPRI, 'the user is told of what is urgent');
  h.expect({ flags: '.', seq: 1, ack: 4097, win: 0 });
  h.inject({ flags: 'R', seq: 4097 });
  h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), 104, 'ECONNRESET');
});

script('MSS is an option of SYNs (MUST-65)', (h) => {
  const s = h.active({ mss: 1000 }, undefined, 10);
  h.inject({ flags: '.', seq: 1, ack: 1, mss: 200 });
  h.send(s, 1000);
  h.expect({ flags: 'P.', seq: 1, len: 1000 }, 'an MSS outside of a SYN says nothing');
  h.inject({ flags: 'F.', seq: 1, ack: 1001, mss: 200 });
  s.shutdown(SHUT_WR);
  for (const out of h.take()) h.t.notOk(kinds(out).includes(2), `${out.flags} has no MSS`);
});

script('options that are sent have their length, and headers are whole words (MUST-68, MUST-69)', (h) => {
  const s = h.socket();
  h.connect(s);
  const all = h.take();
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460, sackOK: true, ts: [500_000, h.lastTs], ws: 7 });
  h.timestamps = true;
  h.inject({ flags: '.', seq: 1001, ack: 1, len: 100 });
  h.inject({ flags: '.', seq: 2001, ack: 1, len: 100 });
  h.send(s, 100);
  all.push(...h.take());
  h.t.ok(all.length >= 4);
  for (const out of all) {
    h.t.equal(out.options.length % 4, 0, `${out.flags}: ${out.options.length} bytes`);
    h.t.ok(kinds(out).every((kind) => [1, 2, 3, 4, 5, 8].includes(kind)), `${out.flags}: ${kinds(out).join(' ')}`);
  }
});

script('options are read wherever they begin (MUST-64)', (h) => {
  h.listen();
  // One NOP, MSS at 21; timestamps at an odd place; SACK-permitted and scale as they come.
  h.inject({ flags: 'S', seq: 0, options: [1, 2, 4, 0x03, 0xe8, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 4, 2, 3, 3, 2] });
  const out = h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.t.same([out.sackOK, out.ts?.[1], out.ws !== undefined], [true, 256, true]);
  h.t.equal(h.tcb.peerMss, 1000);
  h.inject({ flags: '.', seq: 1, ack: 1, options: [8, 10, 0, 0, 1, 7, ...[24, 16, 8, 0].map((n) => (out.ts![0] >> n) & 0xff), 1, 1] });
  h.t.equal(h.tcb.tsRecent, 263, 'without NOPs before them');
});

script('options come in segments of any kind (MUST-5, MUST-6)', (h) => {
  const s = h.active({}, undefined, 10);
  const unknown = [253, 6, 1, 2, 3, 4, 1, 0];
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 10, options: unknown });
  h.expect({ flags: '.', ack: 11 });
  h.recv(s, 10);
  h.inject({ flags: 'F.', seq: 11, ack: 1, options: unknown });
  h.expect({ flags: '.', ack: 12 });
  h.state(s, 'CLOSE-WAIT');
  h.inject({ flags: 'R', seq: 12, options: unknown });
  h.state(s, 'CLOSED');
});

script('the MSS that is told is what the link carries (MUST-67, SHLD-5)', { mtu: 1400 }, (h) => {
  h.connect();
  h.expect({ flags: 'S', seq: 0, mss: 1360 });
});

script('one port listens while a connection from it is being opened (MUST-41, MUST-42)', (h) => {
  const s = h.socket();
  s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  h.ok(s.bind('', 80), 'bind');
  h.connect(s, 7001);
  h.expect({ flags: 'S', seq: 0 });
  const listener = h.socket();
  listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1);
  h.ok(listener.bind('', 80), 'bind of the listener');
  h.ok(listener.listen(4), 'listen');
  h.peerPort = 7002;
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.expect({ flags: 'S.', seq: 0, ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.accept(listener);
  h.state(s, 'SYN-SENT');
  h.peerPort = 7001;
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.state(s, 'ESTABLISHED');
});

script('nothing is opened to many, or to nowhere (MUST-46)', (h) => {
  for (const address of ['255.255.255.255', '10.90.0.255', '224.0.0.1', '239.1.2.3']) {
    const result = h.socket().connect(address, 80);
    h.t.ok(result === -ENETUNREACH || result === -EACCES, `${address}: ${result}`);
  }
  h.expectNothing();
});

script('what is sent to many, or comes from an impossible address, is dropped without a word (MUST-57, MUST-63)', (h) => {
  h.listen();
  const syn = h.build({ flags: 'S', seq: 0, mss: 1460 });
  for (const destination of [[255, 255, 255, 255], [10, 90, 0, 255], [224, 0, 0, 1]]) receive(h, readdressed(syn, null, destination));
  for (const source of [[255, 255, 255, 255], [10, 90, 0, 255], [224, 0, 0, 1], [127, 0, 0, 1], [0, 0, 0, 0], [240, 0, 0, 1], OURS4]) {
    receive(h, readdressed(syn, source, null));
  }
  h.expectNothing();
  h.t.equal(h.stack.tcp.connections, 0);
  receive(h, readdressed(syn, null, null));
  h.expect({ flags: 'S.', seq: 0, ack: 1 }, 'the same, from where it may come');
});

script('TTL and type of service are the user\'s, and may change (MUST-48, MUST-49, SHLD-21, SHLD-22)', (h) => {
  const s = h.socket();
  h.ok(s.setsockopt(IPPROTO_IP, IP_TTL, 33), 'IP_TTL');
  h.ok(s.setsockopt(IPPROTO_IP, IP_TOS, 0x28), 'IP_TOS');
  h.connect(s);
  const syn = h.expect({ flags: 'S', seq: 0 });
  h.t.same([syn.ttl, syn.tos & 0xfc], [33, 0x28]);
  h.inject({ flags: 'S.', seq: 0, ack: 1, mss: 1460 });
  h.expect({ flags: '.', seq: 1, ack: 1 });
  h.ok(s.setsockopt(IPPROTO_IP, IP_TTL, 12), 'IP_TTL');
  h.ok(s.setsockopt(IPPROTO_IP, IP_TOS, 0xb8), 'IP_TOS');
  h.send(s, 10);
  const data = h.expect({ flags: 'P.', seq: 1, len: 10 });
  h.t.same([data.ttl, data.tos & 0xfc], [12, 0xb8]);
});

script('soft errors are there for who asks, and end nothing (MUST-47, MUST-56, SHLD-20, SHLD-25)', (h) => {
  const s = h.active({}, undefined, 10);
  h.send(s, 10);
  h.expect({ flags: 'P.', seq: 1, len: 10 });
  for (const [type, code, errno] of [[3, 0, 101], [3, 1, 113], [3, 5, 95], [11, 0, 113], [12, 0, 71]] as const) {
    receive(h, icmpError([10, 90, 0, 1], OURS4, type, code, 0, h.ourPort, h.peerPort, 1 + h.iss));
    h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), errno, `${type}/${code}`);
    h.t.equal(s.getsockopt(SOL_SOCKET, SO_ERROR), 0, 'told once');
    h.state(s, 'ESTABLISHED');
  }
  h.inject({ flags: '.', seq: 1, ack: 11 });
  h.errno(s.recv(new Uint8Array(1), 0, 1), 'EAGAIN', 'who does not ask is not disturbed: recv');
});

script('keep-alive begins after two hours, or when the user says (MUST-27, MUST-28, SHLD-12)', (h) => {
  const s = h.active({}, undefined, 10);
  s.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1);
  h.advance(7_199_000);
  h.expectNothing('not before two hours');
  h.advance(2000);
  h.expect({ flags: '.', seq: 0, len: 0 }, 'without data');
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.ok(s.setsockopt(IPPROTO_TCP, TCP_KEEPIDLE, 30), 'TCP_KEEPIDLE');
  h.advance(29_000);
  h.expectNothing('not before the user\'s time');
  h.advance(2000);
  h.expect({ flags: '.', seq: 0, len: 0 });
});

script('TIME-WAIT lasts a minute (MUST-13)', (h) => {
  const s = h.active({}, undefined, 10);
  s.shutdown(SHUT_WR);
  h.expect({ flags: 'F.', seq: 1 });
  h.inject({ flags: 'F.', seq: 1, ack: 2 });
  h.expect({ flags: '.', seq: 2, ack: 2 });
  h.advance(59_900);
  h.t.equal(h.stack.tcp.timeWaits, 1);
  h.advance(200);
  h.t.equal(h.stack.tcp.timeWaits, 0);
});

script('data is tried for more than 100 s, a SYN for 127 s (MUST-20, MUST-23, SHLD-11)', (h) => {
  const from = h.nowMs;
  const syn = h.connect();
  while (syn.getsockopt(SOL_SOCKET, SO_ERROR) === 0 && h.nowMs - from < 400_000) h.advance(1000);
  h.t.ok(h.nowMs - from >= 126_000 && h.nowMs - from <= 129_000, `SYN: ${h.nowMs - from} ms`);
  h.take();
  h.restartStreams();
  const s = h.active({}, undefined, 10);
  h.send(s, 10);
  const sent = h.nowMs;
  while (s.getsockopt(SOL_SOCKET, SO_ERROR) === 0 && h.nowMs - sent < 4_000_000) h.advance(1000);
  h.t.ok(h.nowMs - sent >= 100_000, `data: ${h.nowMs - sent} ms`);
  h.t.ok(h.nowMs - sent <= 2_000_000, 'but not for ever');
  h.take();
});

script('the user may name the local address (MUST-43, MUST-45)', (h) => {
  const s = h.socket();
  h.ok(s.bind('10.90.0.2', 5555), 'bind');
  h.connect(s);
  const syn = h.expect({ flags: 'S', seq: 0 });
  h.t.equal(syn.srcPort, 5555);
  h.t.equal(s.getsockname()!.address, '10.90.0.2');
  h.t.equal(h.socket().bind('10.90.0.3', 0), -99, 'an address that is not ours: EADDRNOTAVAIL');
  h.t.equal(h.socket().bind('10.90.0.2', 5555), -EADDRINUSE);
});

script('IP is asked for the source where none is named (MUST-44)', { ipv6: false }, (h) => {
  const s = h.socket();
  h.connect(s);
  h.expect({ flags: 'S', seq: 0 });
  h.t.equal(s.getsockname()!.address, '10.90.0.2');
});

script('timestamps are in every segment once they are agreed on (RFC 7323 3.2)', (h) => {
  const s = h.active({ ts: true, sack: true }, undefined, 10);
  h.send(s, 3000);
  h.inject({ flags: '.', seq: 1001, ack: 1, len: 100 });
  h.inject({ flags: '.', seq: 1, ack: 3001, len: 100 });
  s.shutdown(SHUT_WR);
  h.advance(50);
  const out = h.take();
  h.t.ok(out.length >= 4);
  for (const o of out) h.t.ok(o.ts !== undefined, `${o.flags} seq ${o.seq} has timestamps`);
});

script('timestamps that were not agreed on are neither sent nor believed (RFC 7323 3.2)', (h) => {
  const s = h.active({}, undefined, 10);
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 10, ts: [1000, 1000] });
  h.expect({ flags: '.', ack: 11, ts: null });
  h.inject({ flags: 'P.', seq: 11, ack: 1, len: 10, ts: [10, 1000] });
  h.expect({ flags: '.', ack: 21, ts: null }, 'no PAWS');
  h.recv(s, 20);
});

script('segments leave room for their options (MUST-16)', (h) => {
  const s = h.active({ ts: true, mss: 1460 }, undefined, 10);
  h.send(s, 2000);
  h.expect({ flags: '.', seq: 1, len: 1448 });
  h.expect({ flags: 'P.', seq: 1449, len: 552 });
});

script('TSval counts milliseconds (RFC 7323 5.4)', (h) => {
  const s = h.active({ ts: true }, undefined, 10);
  h.send(s, 10);
  const first = h.expect({ flags: 'P.', seq: 1, len: 10 }).ts![0];
  h.inject({ flags: '.', seq: 1, ack: 11 });
  h.advance(12_345);
  h.send(s, 10);
  h.t.equal(h.expect({ flags: 'P.', seq: 11, len: 10 }).ts![0] - first, 12_345);
});

script('a TS.Recent of 24 days ago is not believed (RFC 7323 5.5)', (h) => {
  const s = h.active({ ts: true }, undefined, 10);
  h.inject({ flags: 'P.', seq: 1, ack: 1, len: 10, ts: [900_000, h.lastTs] });
  h.expect({ flags: '.', ack: 11 });
  h.advance(23 * 86_400_000);
  h.inject({ flags: 'P.', seq: 11, ack: 1, len: 10, ts: [800_000, h.lastTs] });
  h.expect({ flags: '.', ack: 11 }, 'after 23 days it still is');
  h.advance(86_400_000 + 1000);
  h.inject({ flags: 'P.', seq: 11, ack: 1, len: 10, ts: [800_000, h.lastTs] });
  h.expect({ flags: '.', ack: 21 });
  h.recv(s, 20);
});

script('timestamps begin somewhere, and elsewhere for another peer (RFC 7323 7.1)', { ownIsn: true }, (h) => {
  const values = ['10.90.0.1', '10.90.0.77', '10.90.0.1'].map((address) => {
    h.socket().connect(address, 7000);
    return h.take1()!.ts![0];
  });
  h.t.ok(Math.abs(values[0]!) > 1_000_000, `${values[0]} is not the uptime`);
  h.t.ok(Math.abs(values[0]! - values[1]!) > 1_000_000, `${values[1]} for another peer`);
  h.t.equal(values[2], values[0], 'the same for the same peer: it never runs backwards');
});

script('the timeout doubles to two minutes, and no further (RFC 6298 2.5, 5.5)', (h) => {
  const s = h.active({}, undefined, 10);
  h.send(s, 10);
  h.expect({ flags: 'P.', seq: 1, len: 10 });
  const times: number[] = [];
  for (let i = 0; i < 900; i++) {
    h.advance(1000);
    for (const out of h.take()) if (out.len > 0) times.push(out.atMs);
  }
  const gaps = times.map((time, i) => time - (times[i - 1] ?? 0)).slice(1);
  h.t.ok(Math.max(...gaps) > 60_000 && Math.max(...gaps) <= 121_000, `${gaps.map((gap) => Math.round(gap / 1000)).join(' ')} s`);
});

script('urgent data of any length, at the user\'s word (MUST-30, MUST-31)', (h) => {
  const s = h.active({}, (socket) => socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1), 10);
  h.send(s, 3000, MSG_OOB);
  h.expect({ flags: 'U.', seq: 1, len: 1460, urg: 3000 });
  h.expect({ flags: 'U.', seq: 1461, len: 1460, urg: 1540 });
  h.expect({ flags: 'PU.', seq: 2921, len: 80, urg: 80 });
  h.inject({ flags: '.', seq: 1, ack: 3001 });
  h.send(s, 10);
  h.expect({ flags: 'P.', seq: 3001, len: 10, urg: 0 });
});

script('a socket of another family is refused (MUST-46)', (h) => {
  const s = h.stack.socket(AF_INET);
  if (typeof s === 'number') throw new Error('socket');
  h.sockets.push(s);
  h.t.ok(s.connect('fd90:1:2:3:4:5:6:1', 80) < 0);
  h.t.ok(s.connect('0.0.0.0.0', 80) < 0, 'no address at all');
  h.expectNothing();
});
