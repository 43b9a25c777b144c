/** Path MTU discovery by probing (RFC 4821): black holes, the search, what probes are and what their loss is not. */

import t from 'tap';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { SO_SNDBUF, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { tcpConfig } from '../../lib/tcp/config.ts';
import { script } from './harness.ts';
import type { Harness, Options, Out } from './harness.ts';

/** Full segments of a link of 1500 bytes, and of the base that a search begins with. */
const FULL = 1460;
const BASE = 1024;
const reno: Options = { tcp: { congestion: 'newreno' } };
const on: Options = { tcp: { congestion: 'newreno', mtuProbing: 'on' } };

function open(h: Harness, sack = true): BsdSocket {
  return h.active({ mss: 8960, win: 65535, sack }, (one) => one.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20), 10);
}

/** Time passes until the retransmission timer has fired `count` times. Returns what the last of them sent; tail loss probes are dropped. */
function timeouts(h: Harness, s: BsdSocket, count: number): Out[] {
  h.take();
  for (let ms = 0; h.info(s).rtos < count && ms < 60_000; ms += 5) {
    h.take();
    h.advance(5);
  }
  return h.take();
}

/**
 * A path that carries `mtu` bytes: acknowledges what gets through, in order of arrival, as a receiver with SACK does,
 * for `rounds` round trips of 10 ms. Returns the payload sizes that were too large for it.
 */
function receive(h: Harness, mtu: number, rounds: number, state: { next: number; beyond: [number, number][] }): number[] {
  const vanished: number[] = [];
  for (let i = 0; i < rounds; i++) {
    const out = h.take();
    h.advance(10);
    for (const segment of out) for (const part of cut(segment)) arrive(h, mtu, part, state, vanished);
  }
  return vanished;
}

/** All that was sent vanishes, three times; what the third timeout sends is for `receive`. */
function lost(h: Harness, s: BsdSocket): { next: number; beyond: [number, number][] } {
  h.out.push(...timeouts(h, s, 3));
  return { next: 1, beyond: [] };
}

function cut(segment: Out): { seq: number; len: number }[] {
  const parts: { seq: number; len: number }[] = [];
  const size = segment.gso ?? Math.max(segment.len, 1);
  for (let at = 0; at < Math.max(segment.len, 1); at += size) parts.push({ seq: segment.seq + at, len: Math.min(size, segment.len - at) });
  return parts;
}

function arrive(
  h: Harness, mtu: number, { seq, len }: { seq: number; len: number }, state: { next: number; beyond: [number, number][] }, vanished: number[],
): void {
  if (len === 0) return;
  if (len + 40 > mtu) {
    vanished.push(len);
    return;
  }
  state.beyond.push([seq, seq + len]);
  state.beyond.sort((a, b) => a[0] - b[0]);
  for (let moved = true; moved;) {
    moved = false;
    for (const [left, right] of state.beyond) {
      if (left <= state.next && right > state.next) {
        state.next = right;
        moved = true;
      }
    }
  }
  state.beyond = state.beyond.filter(([, right]) => right > state.next);
  const blocks: [number, number][] = [];
  for (const [left, right] of state.beyond) {
    const last = blocks.at(-1);
    if (last !== undefined && left <= last[1]) last[1] = Math.max(last[1], right);
    else blocks.push([left, right]);
  }
  h.inject({ flags: '.', seq: 1, ack: state.next, sack: blocks.slice(0, 3) });
}

t.test('the setting is checked', async (t) => {
  t.equal(tcpConfig().mtuProbing, 'blackhole');
  t.throws(() => tcpConfig({ mtuProbing: 'maybe' as 'on' }), /tcp\.mtuProbing is 'maybe'; it must be one of off, blackhole, on/);
});

script('a connection that nothing happens to has no search', (h) => {
  const s = open(h);
  h.send(s, 3 * FULL);
  h.take();
  h.inject({ flags: '.', seq: 1, ack: 1 + 3 * FULL });
  h.t.equal(h.tcb.mtuSearch, null);
});

script('three timeouts of full-sized segments: a black hole; smaller segments go (RFC 4821 7.7)', reno, (h) => {
  const s = open(h);
  h.send(s, 3 * FULL);
  for (let i = 1; i < 3; i++) h.t.match(timeouts(h, s, i)[0], { seq: 1, len: FULL }, `timeout ${i}: as before`);
  h.t.match(timeouts(h, s, 3)[0], { seq: 1, len: BASE }, 'timeout 3: smaller');
  h.t.equal(h.info(s).sndMss, BASE);
  h.t.equal(h.counters.MtuBlackHoles, 1);
});

script('timeouts of small segments are no black hole', reno, (h) => {
  const s = open(h);
  h.send(s, 700);
  timeouts(h, s, 5);
  h.t.equal(h.counters.MtuBlackHoles, 0);
  h.t.equal(h.info(s).sndMss, FULL);
});

script('IPv6: nothing is smaller than 1280', { ...reno, ipv6: true }, (h) => {
  const s = open(h);
  h.send(s, 3 * 1440);
  timeouts(h, s, 8);
  h.t.equal(h.info(s).sndMss, 1220);
  h.t.equal(h.counters.MtuBlackHoles, 1);
});

script('off: nobody looks', { tcp: { mtuProbing: 'off' } }, (h) => {
  const s = open(h);
  h.send(s, 3 * FULL);
  timeouts(h, s, 6);
  h.t.equal(h.info(s).sndMss, FULL);
});

script('an outage: the first probe shows that there is no black hole', reno, (h) => {
  const s = open(h);
  h.send(s, 200_000);
  const state = lost(h, s);
  h.t.equal(receive(h, 1500, 30, state).length, 0);
  h.t.equal(h.info(s).sndMss, FULL);
  h.t.equal(h.counters.MtuProbes, 1);
  h.t.equal(h.counters.MtuProbesAcked, 1);
  h.take();
});

for (const mtu of [1280, 1400, 1492]) {
  script(`a black hole of ${mtu} bytes: found to the byte, and nothing slows down for probes`, reno, (h) => {
    const s = open(h);
    h.send(s, 900_000);
    const state = lost(h, s);
    receive(h, mtu, 6, state);
    const { ssthresh, rtos } = h.info(s);
    receive(h, mtu, 100, state);
    const info = h.info(s);
    h.t.equal(info.sndMss, mtu - 40);
    h.t.equal(info.ssthresh, ssthresh, 'ssthresh is as it was');
    h.t.equal(info.rtos, rtos, 'and no timeout');
    h.t.ok(h.counters.MtuProbes <= 20, `${h.counters.MtuProbes} probes`);
    h.take();
  });
}

script('on: a new connection begins with the base, and searches', on, (h) => {
  const s = open(h);
  h.send(s, 500_000);
  const out = h.take();
  h.t.equal(out[0]!.len, FULL, 'the first segment is a probe');
  h.t.ok(out.slice(1).every(({ len }) => len <= BASE), 'one at a time');
  h.t.equal(h.info(s).sndMss, BASE);
  h.inject({ flags: '.', seq: 1, ack: out[1]!.seq });
  h.t.equal(h.info(s).sndMss, FULL, 'it got through');
  h.take();
});

script('a probe is one segment, whatever the link can cut', { ...on, features: LINK_CSUM | LINK_TSO4 }, (h) => {
  const s = open(h);
  h.send(s, 500_000);
  const out = h.take();
  h.t.match(out[0], { seq: 1, len: FULL });
  h.t.equal(out[0]!.gso, undefined);
  h.t.equal(out[1]!.gso, BASE, 'what follows is a super-segment as usual');
});

script('no probe without enough behind it to notice its loss (RFC 4821 7.4)', on, (h) => {
  const s = open(h);
  h.send(s, FULL + 2 * BASE);
  h.t.ok(h.take().every(({ len }) => len <= BASE));
  h.t.equal(h.counters.MtuProbes, 0);
});

script('without SACK: three duplicate ACKs tell of the probe, and nothing slows down', on, (h) => {
  const s = open(h, false);
  h.send(s, 500_000);
  const before = h.info(s);
  h.t.equal(h.take()[0]!.len, FULL);
  h.advance(10);
  for (let i = 0; i < 3; i++) h.inject({ flags: '.', seq: 1, ack: 1 });
  const again = h.take().find(({ seq }) => seq === 1);
  h.t.match(again, { seq: 1, len: BASE }, 'sent again, smaller');
  h.t.match(h.info(s), { cwnd: before.cwnd, ssthresh: before.ssthresh });
});

script('loss beside that of the probe is congestion (RFC 4821 7.6.2)', on, (h) => {
  const s = open(h);
  h.send(s, 500_000);
  const { ssthresh } = h.info(s);
  const out = h.take();
  h.advance(10);
  // The probe and the segment behind it are lost.
  h.inject({ flags: '.', seq: 1, ack: 1, sack: [[out[2]!.seq, out.at(-1)!.seq]] });
  h.advance(10);
  h.t.ok(h.info(s).ssthresh < ssthresh, 'the window is reduced');
  h.t.equal(h.counters.MtuProbesLost, 0, 'and of the size nothing is known');
  h.take();
});

script('ten minutes later the path may be wider', reno, (h) => {
  const s = open(h);
  h.send(s, 100_000);
  const state = lost(h, s);
  for (let i = 0; i < 100 && h.tcb.mtuSearch?.againMs === 0; i++) {
    receive(h, 1280, 3, state);
    h.send(s, 50_000);
  }
  receive(h, 1280, 20, state);
  h.t.equal(h.info(s).sndMss, 1240);
  h.advance(300_000);
  h.send(s, 50_000);
  receive(h, 1500, 20, state);
  h.t.equal(h.info(s).sndMss, 1240, 'not yet');
  h.advance(310_000);
  h.send(s, 100_000);
  receive(h, 1500, 40, state);
  h.t.equal(h.info(s).sndMss, FULL);
  h.take();
});

script('what one connection has found the next begins with', reno, (h) => {
  const s = open(h);
  h.send(s, 400_000);
  const state = lost(h, s);
  receive(h, 1400, 100, state);
  h.t.equal(h.info(s).sndMss, 1360);
  s.abort();
  h.take();
  h.restartStreams();
  const next = open(h);
  h.send(next, 20_000);
  h.t.ok(h.take().every(({ len }) => len <= 1360));
  h.t.equal(h.info(next).sndMss, 1360);
});

script('ICMP about the probe: it is sent again at once, in segments that fit, and what it told is tried', on, (h) => {
  const s = open(h);
  h.send(s, 500_000);
  const { cwnd, ssthresh } = h.info(s);
  h.t.equal(h.take()[0]!.len, FULL);
  h.icmp(3, 4, 1400, 1);
  const out = h.take();
  h.t.match(out[0], { seq: 1, len: BASE });
  h.t.match(h.info(s), { cwnd, ssthresh, pmtu: 1400, sndMss: BASE });
});
