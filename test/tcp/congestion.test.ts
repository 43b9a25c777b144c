/** How the congestion window moves: RFC 5681, 6928, 9438 (against its formulas), RFC 9293 3.8.2. */

import t from 'tap';
import { SO_SNDBUF, SOL_SOCKET } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { Cubic } from '../../lib/tcp/congestion/cubic.ts';
import { NewReno } from '../../lib/tcp/congestion/newreno.ts';
import type { CongestionControl } from '../../lib/tcp/congestion/congestion-control.ts';
import { tcpConfig } from '../../lib/tcp/config.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { Bottleneck, jain } from './bottleneck.ts';
import { script } from './harness.ts';
import type { Harness, Options } from './harness.ts';

const MSS = 1000;
const reno: Options = { tcp: { congestion: 'newreno' } };

function open(h: Harness): BsdSocket {
  return h.active({ mss: MSS, win: 65535, ws: 7 }, (s) => s.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 22), 100);
}

/** A round trip of `rttMs`: all that is in flight is acknowledged, two segments at a time. Returns what was in flight. */
function round(h: Harness, seq: number, rttMs = 100): number {
  const sent = h.take().reduce((sum, o) => sum + o.len, 0);
  h.advance(rttMs);
  for (let done = 0; done < sent;) {
    done = Math.min(done + 2 * MSS, sent);
    h.inject({ flags: '.', seq: 1, ack: seq + done });
  }
  return sent;
}

script('ten segments to begin with, and slow start doubles them each round trip', reno, (h) => {
  const s = open(h);
  h.send(s, 1_000_000);
  let seq = 1;
  const flights: number[] = [];
  for (let i = 0; i < 5; i++) {
    const sent = round(h, seq);
    flights.push(sent / MSS);
    seq += sent;
  }
  h.t.same(flights, [10, 20, 40, 80, 160]);
  h.take();
});

for (const [mss, want] of [[1460, 14_600], [536, 5360], [2000, 14_600], [8960, 17_920]] as const) {
  script(`the initial window with an MSS of ${mss}: min(10 MSS, max(2 MSS, 14600)) (RFC 6928)`, { ...reno, mtu: 9000 }, (h) => {
    const s = h.active({ mss, win: 65535 }, undefined, 10);
    h.t.equal(h.info(s).cwnd, want);
  });
}

script('congestion avoidance of NewReno: a segment each round trip (RFC 5681 3.1)', reno, (h) => {
  const s = open(h);
  h.send(s, 1_000_000);
  h.tcb.ssthresh = 10 * MSS;
  let seq = 1;
  const flights: number[] = [];
  for (let i = 0; i < 6; i++) {
    const sent = round(h, seq);
    flights.push(sent / MSS);
    seq += sent;
  }
  h.t.same(flights, [10, 11, 12, 13, 14, 15]);
  h.take();
});

script('the window does not grow while the application is the limit (RFC 9293 3.8.2, RFC 7661)', reno, (h) => {
  const s = open(h);
  let seq = 1;
  for (let i = 0; i < 100; i++) {
    h.send(s, 2 * MSS);
    seq += round(h, seq, 20);
  }
  h.t.equal(h.info(s).cwnd, 10 * MSS);
});

script('after an idle RTO the window starts again at ten segments (RFC 5681 4.1)', reno, (h) => {
  const s = open(h);
  h.send(s, 150_000);
  let seq = 1;
  for (let i = 0; i < 4; i++) seq += round(h, seq);
  const grown = h.info(s).cwnd;
  h.t.ok(grown >= 75 * MSS);
  h.advance(h.info(s).rtoMs - 150);
  h.send(s, MSS);
  seq += round(h, seq, 50);
  h.t.ok(h.info(s).cwnd >= grown, 'not idle for long enough');
  h.advance(h.info(s).rtoMs + 1000);
  h.send(s, 100_000);
  h.t.equal(h.take().length, 10);
});

script('a window that is not used comes down to what is, half the way each RTO; ssthresh remembers (RFC 2861, as in Linux)', reno, (h) => {
  const s = open(h);
  h.send(s, 310_000);
  let seq = 1;
  for (let i = 0; i < 5; i++) seq += round(h, seq);
  const grown = h.info(s).cwnd;
  h.t.ok(grown >= 150 * MSS, `${grown}`);
  h.tcb.ssthresh = 20 * MSS;
  const seen: number[] = [];
  for (let i = 0; i < 40; i++) {
    h.send(s, 20 * MSS);
    seq += round(h, seq, 100);
    if (h.info(s).cwnd !== (seen.at(-1) ?? grown)) seen.push(h.info(s).cwnd);
    if (seen.length === 1) h.t.equal(h.info(s).ssthresh, (grown >> 1) + (grown >> 2));
  }
  let want = grown;
  for (const cwnd of seen) {
    h.t.equal(cwnd, (want + 20 * MSS) >> 1);
    want = cwnd;
    if (want < 60 * MSS) break;
  }
  h.t.ok(want < 60 * MSS && h.info(s).cwnd >= 20 * MSS, `${seen}`);
});

script('ACKs that come in one batch all count, as long as the flight was as large as the window', reno, (h) => {
  const s = open(h);
  h.send(s, 1_000_000);
  h.tcb.ssthresh = 10 * MSS;
  let seq = 1;
  const flights: number[] = [];
  for (let i = 0; i < 5; i++) {
    const sent = h.take().reduce((sum, o) => sum + o.len, 0);
    flights.push(sent / MSS);
    h.advance(100);
    h.inject(...Array.from({ length: sent / MSS }, (_, n) => ({ flags: '.', seq: 1, ack: seq + (n + 1) * MSS })));
    seq += sent;
  }
  h.t.same(flights, [10, 11, 12, 13, 14]);
  h.take();
});

script('an ACK for each byte makes slow start no faster (ACK division; RFC 3465)', reno, (h) => {
  const s = open(h);
  h.send(s, 1_000_000);
  const sent = h.take().reduce((sum, o) => sum + o.len, 0);
  h.advance(100);
  for (let at = 1; at <= 2 * MSS; at++) h.inject({ flags: '.', seq: 1, ack: 1 + at });
  h.t.equal(h.info(s).cwnd, 12 * MSS, 'two segments, in 2000 ACKs');
  h.inject({ flags: '.', seq: 1, ack: 1 + sent });
  h.t.equal(h.info(s).cwnd, 20 * MSS);
  h.take();
});

script('the window of the peer, not ours, is the limit: no growth', reno, (h) => {
  const s = h.active({ mss: MSS, win: 8000 }, (one) => one.setsockopt(SOL_SOCKET, SO_SNDBUF, 1 << 20), 100);
  h.send(s, 200_000);
  let seq = 1;
  for (let i = 0; i < 20; i++) {
    const sent = h.take().reduce((sum, o) => sum + o.len, 0);
    h.advance(100);
    h.inject({ flags: '.', seq: 1, ack: seq + sent, win: 8000 });
    seq += sent;
  }
  h.t.ok(h.info(s).cwnd < 24 * MSS, `cwnd ${h.info(s).cwnd}: it stops at twice the flight, which may be passed by one ACK`);
  h.take();
});

// ------------------------------------------------------------------ the algorithms by themselves

interface Window {
  cwnd: number;
  ssthresh: number;
  sndMss: number;
  srttUs: number;
  flight: number;
  usageFlight: number;
  rtoMs: number;
  home: { config: ReturnType<typeof tcpConfig> };
}

function window(segments: number, rttMs: number): Window {
  return {
    cwnd: segments * MSS, ssthresh: 0x7fffffff, sndMss: MSS, srttUs: rttMs * 1000, flight: segments * MSS, usageFlight: 0, rtoMs: rttMs + 200,
    home: { config: tcpConfig() },
  };
}

const tcb = (w: Window): Tcb => w as unknown as Tcb;

/** Acknowledges `seconds` of sending with a full window, segment by segment, and calls `each` after every round trip. */
function run(cc: CongestionControl, w: Window, fromMs: number, seconds: number, each?: (ms: number) => void): number {
  const rttMs = w.srttUs / 1000;
  let ms = fromMs;
  while (ms < fromMs + seconds * 1000) {
    const segments = Math.floor(w.cwnd / MSS);
    for (let i = 0; i < segments; i++) {
      w.flight = w.cwnd;
      cc.onAck(tcb(w), MSS, Math.floor(ms + (rttMs * i) / segments));
    }
    ms += rttMs;
    each?.(ms);
  }
  return ms;
}

t.test('CUBIC follows W_cubic(t) = C (t - K)^3 + W_max (RFC 9438 4.2)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(1000, 100);
  cc.onLoss(tcb(w), 1000);
  t.equal(w.cwnd, 700 * MSS, 'β = 0.7');
  t.equal(w.ssthresh, 700 * MSS);
  cc.onRecovered(tcb(w), 1000);
  const k = Math.cbrt((1000 - 700) / 0.4);
  let worst = 0;
  let atK = 0;
  run(cc, w, 1000, 14, (ms) => {
    // cwnd approaches what the curve will be a round trip later.
    const want = 0.4 * ((ms - 1000) / 1000 - k) ** 3 + 1000;
    worst = Math.max(worst, Math.abs(w.cwnd / MSS - want) / want);
    if (atK === 0 && (ms - 1000) / 1000 >= k) atK = w.cwnd / MSS;
  });
  t.ok(worst < 0.02, `at most ${(worst * 100).toFixed(2)} % off`);
  t.ok(Math.abs(atK - 1000) < 5, `W_max again after K = ${k.toFixed(2)} s: ${atK}`);
  t.end();
});

t.test('CUBIC in the Reno-friendly region: α = 3 (1 - β) / (1 + β) segments a round trip, 1 beyond the old window (4.3)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(20, 10);
  cc.onLoss(tcb(w), 1000);
  cc.onRecovered(tcb(w), 1000);
  t.equal(w.cwnd, 14 * MSS);
  const growth: number[] = [];
  let last = w.cwnd;
  run(cc, w, 1000, 0.2, () => {
    growth.push((w.cwnd - last) / MSS);
    last = w.cwnd;
  });
  const alpha = (3 * 0.3) / 1.7;
  for (const g of growth.slice(1, 8)) t.ok(Math.abs(g - alpha) < 0.06, `${g.toFixed(3)} segments, α = ${alpha.toFixed(3)}`);
  for (const g of growth.slice(14)) t.ok(Math.abs(g - 1) < 0.15, `${g.toFixed(3)} segments`);
  t.end();
});

t.test('CUBIC: no more than half of the window in a round trip (4.2)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(10, 1000);
  w.ssthresh = 10 * MSS;
  let last = w.cwnd;
  run(cc, w, 1000, 60, () => {
    t.ok(w.cwnd <= last * 1.66, 'compounded over the ACKs of a round: e^0.5');
    last = w.cwnd;
  });
  t.end();
});

t.test('CUBIC over 30 s: concave to W_max, a plateau, and convex beyond (4.4, 4.5); no part of a byte is lost', (t) => {
  for (const [segments, rttMs] of [[1000, 100], [1000, 50], [8000, 100], [200, 200]] as const) {
    const cc: CongestionControl = new Cubic();
    const w = window(segments, rttMs);
    cc.onLoss(tcb(w), 1000);
    cc.onRecovered(tcb(w), 1000);
    w.cwnd = w.ssthresh;
    const k = Math.cbrt((0.3 * segments) / 0.4);
    let worst = 0;
    let last = w.cwnd;
    let fallen = 0;
    // The Reno-friendly window (4.3) is the greater one somewhere on short paths; there the curve is not looked at.
    let wEst = 0.7 * segments;
    run(cc, w, 1000, 30, (ms) => {
      const t = (ms - 1000) / 1000;
      wEst += wEst >= segments ? 1 : (3 * 0.3) / 1.7;
      const curve = 0.4 * (t - k) ** 3 + segments;
      const want = Math.max(curve, wEst);
      worst = Math.max(worst, Math.abs(w.cwnd / MSS - want) / want);
      if (w.cwnd < last) fallen++;
      last = w.cwnd;
    });
    t.ok(worst < 0.03, `${segments} segments, ${rttMs} ms: at most ${(worst * 100).toFixed(2)} % off`);
    t.equal(fallen, 0, 'it never falls');
  }
  t.end();
});

t.test('CUBIC: a window of 60,000 segments grows by less than a byte an ACK, and grows (4.4)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(60_000, 100);
  cc.onLoss(tcb(w), 1000);
  cc.onRecovered(tcb(w), 1000);
  w.cwnd = w.ssthresh;
  const k = Math.cbrt((0.3 * 60_000) / 0.4);
  // To the flat part of the curve, and into it.
  let ms = 1000;
  for (const seconds of [k - 1.5, 0.5, 0.5]) {
    // Each ACK stands for 64 segments: it is growth per byte that counts.
    const end = ms + seconds * 1000;
    while (ms < end) {
      const acks = Math.ceil(w.cwnd / (64 * MSS));
      for (let i = 0; i < acks; i++) {
        w.flight = w.cwnd;
        for (let j = 0; j < 64; j++) cc.onAck(tcb(w), MSS, Math.floor(ms + (100 * i) / acks));
      }
      ms += 100;
    }
    const want = 0.4 * ((ms - 1000) / 1000 - k) ** 3 + 60_000;
    t.ok(Math.abs(w.cwnd / MSS - want) < 12, `${(w.cwnd / MSS).toFixed(1)} segments, ${want.toFixed(1)} on the curve`);
  }
  t.end();
});

t.test('CUBIC: a loss that was none is undone, as if it had not been (4.9)', (t) => {
  for (const how of ['loss', 'timeout'] as const) {
    const [one, other] = [new Cubic() as CongestionControl, new Cubic() as CongestionControl];
    const [w, v] = [window(1000, 100), window(1000, 100)];
    for (const [cc, x] of [[one, w], [other, v]] as const) {
      cc.onLoss(tcb(x), 1000);
      cc.onRecovered(tcb(x), 1000);
      run(cc, x, 1000, 4);
    }
    t.equal(w.cwnd, v.cwnd);
    const { cwnd, ssthresh } = w;
    w.flight = w.cwnd;
    if (how === 'loss') one.onLoss(tcb(w), 5000);
    else one.onTimeout(tcb(w), true, 5000);
    t.ok(w.cwnd < cwnd);
    // The engine restores the windows.
    w.cwnd = cwnd;
    w.ssthresh = ssthresh;
    one.onUndo(tcb(w), 5100);
    run(one, w, 5000, 8);
    run(other, v, 5000, 8);
    t.equal(w.cwnd, v.cwnd, `${how}: the curve goes on where it was`);
  }
  t.end();
});

t.test('CUBIC: no undo of a reduction that the window has long passed (4.9.2)', (t) => {
  const [one, other] = [new Cubic() as CongestionControl, new Cubic() as CongestionControl];
  const [w, v] = [window(100, 50), window(100, 50)];
  for (const [cc, x] of [[one, w], [other, v]] as const) {
    cc.onLoss(tcb(x), 1000);
    cc.onRecovered(tcb(x), 1000);
    run(cc, x, 1000, 12);
  }
  t.ok(w.cwnd > 100 * MSS);
  one.onUndo(tcb(w), 13_000);
  run(one, w, 13_000, 5);
  run(other, v, 13_000, 5);
  t.equal(w.cwnd, v.cwnd);
  t.end();
});

t.test('CUBIC out of HyStart++: from there with K = 0, W_max = cwnd (4.10)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(400, 100);
  w.ssthresh = w.cwnd;
  run(cc, w, 1000, 6);
  const want = 400 + 0.4 * 6 ** 3;
  t.ok(Math.abs(w.cwnd / MSS - want) < 0.03 * want, `${w.cwnd / MSS} segments, ${want} on the curve`);
  t.end();
});

t.test('a reduction is from the window that was used, not from one that the application left empty (RFC 7661 4.4.1)', (t) => {
  const w = window(1000, 100);
  w.flight = 20 * MSS;
  w.usageFlight = 600 * MSS;
  new Cubic().onLoss(tcb(w));
  t.equal(w.ssthresh, 420 * MSS, 'the flight before was of 600 segments');
  const v = window(1000, 100);
  v.flight = 20 * MSS;
  v.usageFlight = 20 * MSS;
  new Cubic().onLoss(tcb(v));
  t.equal(v.ssthresh, 14 * MSS);
  t.end();
});

t.test('slow start after a timeout without SACK: a segment an ACK (RFC 3465 2.3)', (t) => {
  for (const [sack, want] of [[false, 2], [true, 31]] as const) {
    const w = { ...window(100, 100), recovery: 2, sack };
    const cc: CongestionControl = new NewReno();
    cc.onTimeout(tcb(w), true, 1000);
    cc.onAck(tcb(w), 30 * MSS, 1100);
    t.equal(w.cwnd, want * MSS);
  }
  t.end();
});

t.test('CUBIC: fast convergence (4.7)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(1000, 100);
  cc.onLoss(tcb(w), 1000);
  cc.onRecovered(tcb(w), 1000);
  w.flight = w.cwnd;
  cc.onLoss(tcb(w), 1100);
  t.ok(Math.abs(w.cwnd - 490 * MSS) <= 1);
  cc.onRecovered(tcb(w), 1100);
  // W_max = 700 × (1 + β) / 2 = 595; K = cbrt((595 - 490) / 0.4)
  const k = Math.cbrt(105 / 0.4);
  run(cc, w, 1100, k);
  t.ok(Math.abs(w.cwnd / MSS - 595) < 10, `${w.cwnd / MSS} segments after K`);
  t.end();
});

t.test('CUBIC after a timeout: slow start to 0.7, then from there with K = 0 (4.8)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(1000, 100);
  cc.onTimeout(tcb(w), true, 1000);
  t.equal(w.cwnd, MSS);
  t.equal(w.ssthresh, 700 * MSS);
  cc.onTimeout(tcb(w), false, 2000);
  t.equal(w.ssthresh, 700 * MSS, 'once');
  const ms = run(cc, w, 3000, 1.1);
  t.ok(w.cwnd >= 700 * MSS && w.cwnd < 760 * MSS, `${w.cwnd}`);
  const start = w.cwnd / MSS;
  run(cc, w, ms, 3);
  const want = start + 0.4 * 27;
  t.ok(Math.abs(w.cwnd / MSS - want) < 0.06 * want, `${w.cwnd / MSS} segments, not the steep way up to the old window; about ${want}`);
  t.end();
});

t.test('CUBIC: time in which the window was not used does not count (5.8)', (t) => {
  const cc: CongestionControl = new Cubic();
  const w = window(1000, 100);
  cc.onLoss(tcb(w), 1000);
  cc.onRecovered(tcb(w), 1000);
  const ms = run(cc, w, 1000, 2);
  const before = w.cwnd;
  run(cc, w, ms + 60_000, 0.3);
  t.ok(w.cwnd < before * 1.2, `${before} to ${w.cwnd} after a minute of little traffic`);
  t.end();
});

t.test('two flows share a path', (t) => {
  for (const name of ['cubic', 'newreno']) {
    const totals = [0, 0];
    for (const seed of [1, 2, 3]) {
      const rate = 50e6;
      const path = new Bottleneck({ rate, rttMs: 40, buffer: 250_000, seed, jitterUs: 1000 });
      const flows = [path.add(name)];
      path.run(1 + seed / 3);
      flows.push(path.add(name));
      path.run(20);
      const before = flows.map((flow) => flow.delivered);
      path.run(60);
      const got = flows.map((flow, i) => flow.delivered - before[i]!);
      got.forEach((bytes, i) => totals[i] += bytes);
      t.ok(jain(got) > 0.9, `${name}: ${got.map((bytes) => ((bytes * 8) / 60e6).toFixed(1)).join(' and ')} Mbit/s`);
      t.ok(((got[0]! + got[1]!) * 8) / 60 > 0.93 * rate, 'and use all of it');
    }
    const ratio = totals[0]! / totals[1]!;
    t.ok(ratio > 0.8 && ratio < 1.25, `${name}: ${ratio.toFixed(2)} in all`);
  }
  t.end();
});

t.test('NewReno: half, and one segment after a timeout', (t) => {
  const cc: CongestionControl = new NewReno();
  const w = window(100, 100);
  cc.onLoss(tcb(w), 0);
  t.equal(w.cwnd, 50 * MSS);
  w.flight = 3 * MSS;
  cc.onLoss(tcb(w), 0);
  t.equal(w.ssthresh, 2 * MSS, 'two segments at least');
  w.flight = 40 * MSS;
  cc.onTimeout(tcb(w), true, 0);
  t.equal(w.cwnd, MSS);
  t.equal(w.ssthresh, 20 * MSS);
  cc.onTimeout(tcb(w), false, 0);
  t.equal(w.ssthresh, 20 * MSS);
  t.end();
});
