/** HyStart++ (RFC 9406) by itself, ACK by ACK, and on a path with a queue. */

import t from 'tap';
import { NO_SSTHRESH } from '../../lib/tcp/congestion/cwnd.ts';
import { HyStart } from '../../lib/tcp/congestion/hystart.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { Bottleneck } from './bottleneck.ts';

const MSS = 1000;

/** A connection in its first slow start, of which each `flight()` is sent and acknowledged whole. */
class Start {
  readonly fields: { cwnd: number; ssthresh: number; sndMss: number; sndUna: number; sndNxt: number; lastRttUs: number };
  readonly #hystart: HyStart;

  constructor(segments: number, startSeq = 0x7fff0000) {
    this.fields = { cwnd: segments * MSS, ssthresh: NO_SSTHRESH, sndMss: MSS, sndUna: startSeq, sndNxt: startSeq, lastRttUs: 0 };
    this.fields.sndNxt = (startSeq + segments * MSS) | 0;
    this.#hystart = new HyStart(this.fields as unknown as Tcb);
  }

  get segments(): number {
    return this.fields.cwnd / MSS;
  }

  get over(): boolean {
    return this.fields.ssthresh !== NO_SSTHRESH;
  }

  ack(bytes: number, rttMs: number): void {
    this.fields.sndUna = (this.fields.sndUna + bytes) | 0;
    this.fields.lastRttUs = rttMs * 1000;
    this.#hystart.onAck(this.fields as unknown as Tcb, bytes);
  }

  /**
   * Everything in flight is acknowledged, `step` segments at a time; the first ACK brings `rttMs`, each further one
   * `more` ms on top. What an ACK makes room for is sent after it.
   */
  flight(rttMs: number, step = 2, more = 0): number {
    const before = this.segments;
    const end = this.fields.sndNxt;
    for (let i = 0; this.fields.sndUna !== end && !this.over; i++) {
      this.ack(Math.min(step * MSS, (end - this.fields.sndUna) | 0), rttMs + i * more);
      this.fields.sndNxt = (this.fields.sndUna + this.fields.cwnd) | 0;
    }
    return this.segments / before;
  }
}

t.test('steady round trips: the window doubles each round', (t) => {
  const start = new Start(10);
  for (let i = 0; i < 8; i++) t.equal(start.flight(40), 2);
  t.notOk(start.over);
  t.end();
});

t.test('RttThresh: an eighth of the last round, between 4 and 16 ms (4.2, 4.3)', (t) => {
  for (const [rtt, thresh] of [[10, 4], [32, 4], [40, 5], [96, 12], [128, 16], [400, 16]] as const) {
    const below = new Start(32);
    below.flight(rtt);
    t.equal(below.flight(rtt + thresh - 0.1), 2, `${rtt} ms, and ${thresh - 0.1} more`);
    const above = new Start(32);
    above.flight(rtt);
    t.ok(above.flight(rtt + thresh) < 1.6, `${rtt} ms, and ${thresh} more`);
    t.notOk(above.over);
  }
  t.end();
});

t.test('conservative slow start: a quarter of the pace, and over after five rounds (4.2)', (t) => {
  const start = new Start(32);
  start.flight(40);
  start.flight(60);
  // The round in which it began counts: four more.
  const growth: number[] = [];
  for (let i = 0; i < 4; i++) {
    t.notOk(start.over, `round ${i + 2}`);
    growth.push(start.flight(60));
  }
  t.ok(start.over);
  t.equal(start.fields.ssthresh, start.fields.cwnd);
  for (const g of growth.slice(0, 3)) t.ok(Math.abs(g - 1.25) < 0.01, `${g}`);
  t.end();
});

t.test('shorter round trips bring slow start back (4.2)', (t) => {
  const start = new Start(32);
  start.flight(40);
  start.flight(60);
  t.ok(start.flight(60) < 1.3);
  start.flight(50);
  t.notOk(start.over);
  t.equal(start.flight(50), 2, 'and a new baseline');
  for (let i = 0; i < 4; i++) t.equal(start.flight(50), 2);
  t.end();
});

t.test('single late samples are no delay: the least of the round counts', (t) => {
  const start = new Start(32);
  for (let i = 0; i < 5; i++) t.equal(start.flight(40, 2, 1), 2, 'each ACK of a round is later than the one before');
  t.notOk(start.over);
  t.end();
});

t.test('fewer than eight samples say nothing (N_RTT_SAMPLE)', (t) => {
  const start = new Start(7);
  start.flight(40, 1);
  const few = new Start(7);
  few.flight(40, 1);
  few.fields.cwnd = 7 * MSS;
  few.fields.sndNxt = few.fields.sndUna + 7 * MSS;
  few.ack(MSS, 40);
  for (let i = 0; i < 6; i++) few.ack(MSS, 400);
  t.equal(few.segments, 14, 'seven ACKs, seven segments');
  t.end();
});

t.test('a receiver that merges: one ACK for 44 segments stands for the 22 that it would have sent', (t) => {
  const start = new Start(44);
  t.equal(start.flight(40, 44), 2);
  t.equal(start.flight(41, 44), 2);
  const before = start.segments;
  start.ack(44 * MSS, 60);
  t.equal(start.segments, before + 44, 'the ACK that tells of the delay still counts in full');
  start.ack(44 * MSS, 60);
  t.equal(start.segments, before + 44 + 11, 'the next does not');
  t.end();
});

t.test('one ACK for each whole flight: rounds do not run into each other', (t) => {
  const start = new Start(16);
  for (let i = 0; i < 4; i++) t.equal(start.flight(40, 10_000), 2);
  start.flight(60, 10_000);
  const growth = [start.flight(60, 10_000), start.flight(60, 10_000), start.flight(60, 10_000)];
  t.same(growth, [1.25, 1.25, 1.25]);
  t.notOk(start.over);
  start.flight(60, 10_000);
  t.ok(start.over);
  t.end();
});

t.test('samples that are missing (Karn) and ACKs of less than a segment', (t) => {
  const start = new Start(32);
  start.flight(40);
  const before = start.fields.cwnd;
  for (let i = 0; i < 1000; i++) start.ack(1, 0);
  t.equal(start.fields.cwnd, before + 1000, 'a byte for a byte');
  t.notOk(start.over);
  t.end();
});

/** Loses with HyStart++ as the connection starts on this path, and the window it settles on, in segments. */
function starting(name: string, rate: number, rttMs: number, bdps: number): { drops: number; cwnd: number; bdp: number } {
  const bdp = (rate / 8e3) * rttMs;
  const path = new Bottleneck({ rate, rttMs, buffer: bdp * bdps });
  const sender = path.add(name);
  path.run(0.7);
  return { drops: path.drops, cwnd: sender.fields.cwnd, bdp };
}

t.test('on a path with a deep queue slow start ends before the queue runs over', (t) => {
  for (const name of ['cubic', 'newreno']) {
    const { drops, cwnd, bdp } = starting(name, 50e6, 40, 10);
    t.equal(drops, 0, `${name}: nothing is dropped`);
    t.ok(cwnd > bdp, 'the pipe is full');
  }
  t.end();
});
