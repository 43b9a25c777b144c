/**
 * When TCP in an application acknowledges (4.2 of the report), beside the kernel-style TCP: "the receiver
 * receives data PDUs until there are no more packets in the input buffer. After that, the receiver sends an
 * acknowledgment"; out of order, at once; no timer is involved. And how segments get to the application
 * (3.1.2): header prediction, and one copy from the ring to the reader's buffer.
 */

import { IPPROTO_TCP, TCP_QUICKACK } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import { script } from '../tcp/harness.ts';
import type { Harness, Options, Seg } from '../tcp/harness.ts';

/** TCPU as it is when nobody sets anything; the stack's own TCP, likewise. */
const tcpu: Options = { tcpu: {} };
const kernel: Options = { tcpu: false };

/** `count` segments of `length` bytes, the first of which begins at `seq`. */
function segments(count: number, length: number, seq = 1): Seg[] {
  return Array.from({ length: count }, (_, i) => ({ flags: '.', seq: seq + i * length, ack: 1, len: length }));
}

/** Reads whatever comes, when it is told. Returns where the bytes are counted. */
function reading(socket: BsdSocket): { bytes: number } {
  const count = { bytes: 0 };
  const buffer = new Uint8Array(1 << 16);
  socket.onready = () => {
    for (let n = socket.recv(buffer, 0, buffer.length); n > 0; n = socket.recv(buffer, 0, buffer.length)) count.bytes += n;
  };
  return count;
}

/** An established connection that has left behind what is done at the beginning of one (Linux's quick ACKs). */
function settled(h: Harness, options = {}): BsdSocket {
  const socket = h.passive(options);
  socket.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0);
  return socket;
}

for (const count of [1, 2, 3, 17, 64]) {
  script(`${count} segments in one batch: one ACK, when the input is drained`, tcpu, (h) => {
    const socket = settled(h);
    const read = reading(socket);
    h.inject(...segments(count, 1000));
    h.expect({ flags: '.', seq: 1, ack: 1 + count * 1000 });
    h.expectNothing('one for all of them');
    h.t.equal(read.bytes, count * 1000);
    h.t.equal(h.tcb.delackAt, 0, 'no timer for it');
    h.advance(1000);
    h.expectNothing('nothing follows');
    h.t.equal(h.counters.DelayedAcks, 0);
  });
}

script('the kernel-style TCP puts the ACK of a single segment off', kernel, (h) => {
  const socket = settled(h);
  reading(socket);
  h.inject(...segments(1, 1000));
  h.expectNothing('not yet');
  h.t.not(h.tcb.delackAt, 0, 'its timer runs');
  h.advance(39);
  h.expectNothing();
  h.advance(2);
  h.expect({ flags: '.', ack: 1001 });
  h.t.equal(h.counters.DelayedAcks, 1);
});

script('no deadline is left when all is acknowledged', tcpu, (h) => {
  const socket = settled(h);
  reading(socket);
  h.inject(...segments(1, 1000));
  h.expect({ flags: '.', ack: 1001 });
  h.t.equal(h.tcb.wheelSlot < 0 || h.tcb.delackAt === 0, true);
  h.advance(10_000);
  h.t.equal(h.clock.nextUs, Infinity, 'nobody waits for the clock');
});

script('what the application answers carries the ACK', tcpu, (h) => {
  const socket = settled(h);
  socket.onready = () => {
    const buffer = new Uint8Array(2000);
    if (socket.recv(buffer, 0, 2000) > 0) h.send(socket, 100);
  };
  h.inject(...segments(2, 700));
  h.expect({ flags: 'P.', seq: 1, ack: 1401, len: 100 });
  h.expectNothing('no other ACK');
  h.inject({ flags: '.', seq: 1401, ack: 101 });
});

script('data that nobody reads is acknowledged as well', tcpu, (h) => {
  const socket = settled(h);
  h.inject(...segments(5, 1000));
  h.expect({ flags: '.', ack: 5001 });
  h.expectNothing();
  h.recv(socket, 5000);
  h.take();
});

script('batches that came while the application slept are one input', { tcpu: { appWakesUs: 2000 } }, (h) => {
  const listener = h.listen();
  h.inject({ flags: 'S', seq: 0, mss: 1460 });
  h.advance(3);
  h.expect({ flags: 'S.', ack: 1 });
  h.inject({ flags: '.', seq: 1, ack: 1 });
  h.advance(3);
  const socket = h.accept(listener);
  const read = reading(socket);
  // The first rings; the others come before it is heard.
  for (let batch = 0; batch < 3; batch++) {
    h.inject(...segments(4, 1000, 1 + batch * 4000));
    h.advance(0.5);
    h.expectNothing('asleep');
  }
  h.advance(2);
  h.expect({ flags: '.', ack: 12_001 });
  h.expectNothing('one ACK for three batches');
  h.t.equal(read.bytes, 12_000);
});

script('out of order: an ACK at once with what has come, one for a batch', tcpu, (h) => {
  const socket = settled(h, { sack: true });
  const read = reading(socket);
  h.inject(...segments(3, 1000, 1001));
  h.expect({ flags: '.', ack: 1, sack: [[1001, 4001]] });
  h.expectNothing('one tells all');
  h.inject(...segments(1, 1000, 5001));
  h.expect({ flags: '.', ack: 1, sack: [[5001, 6001], [1001, 4001]] });
  h.expectNothing();
  h.t.equal(read.bytes, 0);
  // What fills a gap is acknowledged at once, too (RFC 5681 4.2).
  h.inject(...segments(1, 1000, 1));
  h.expect({ flags: '.', ack: 4001, sack: [[5001, 6001]] });
  h.inject(...segments(1, 1000, 4001));
  h.expect({ flags: '.', ack: 6001 });
  h.expectNothing();
  h.t.equal(read.bytes, 6000);
  h.t.equal(h.counters.DelayedAcks, 0);
});

script('out of order, for a peer without SACK, which counts: one ACK for each segment', tcpu, (h) => {
  const socket = settled(h);
  reading(socket);
  h.inject(...segments(3, 1000, 1001));
  for (let i = 0; i < 3; i++) h.expect({ flags: '.', ack: 1 });
  h.expectNothing();
  h.inject(...segments(1, 1000, 1));
  h.expect({ flags: '.', ack: 4001 });
});

script('header prediction takes bulk data, and it is copied once, from the ring', tcpu, (h) => {
  const socket = settled(h, { ts: true });
  const read = reading(socket);
  const before = { ...h.counters };
  for (let batch = 0; batch < 10; batch++) {
    h.inject(...segments(20, 1000, 1 + batch * 20_000));
    h.take();
  }
  h.t.equal(read.bytes, 200_000);
  h.t.equal(h.counters.PredictedData - before.PredictedData, 200);
  h.t.equal(h.counters.Unpredicted - before.Unpredicted, 0);
  h.t.equal(h.counters.RcvDirectBytes - before.RcvDirectBytes, 200_000);
  h.t.equal(h.counters.RcvBufferedBytes - before.RcvBufferedBytes, 0);
});

script('header prediction takes the ACKs of bulk data', tcpu, (h) => {
  const socket = settled(h, { ts: true, win: 60_000 });
  h.send(socket, 14_000);
  h.take();
  const before = h.counters.PredictedAcks;
  for (let ack = 1001; ack <= 14_001; ack += 1000) h.inject({ flags: '.', seq: 1, ack, win: 60_000 });
  h.t.equal(h.counters.PredictedAcks - before, 14);
});

script('only what is out of order, or left unread, passes through a buffer', tcpu, (h) => {
  const socket = settled(h, { sack: true });
  const read = reading(socket);
  h.inject(...segments(1, 1000, 1001));
  h.take();
  h.inject(...segments(1, 1000, 1));
  h.take();
  h.t.equal(read.bytes, 2000);
  const { RcvBufferedBytes } = h.counters;
  h.t.ok(RcvBufferedBytes >= 1000 && RcvBufferedBytes <= 2000, `${RcvBufferedBytes} bytes`);
  socket.onready = null;
  h.inject(...segments(2, 1000, 2001));
  h.take();
  h.t.equal(socket.available, 2000);
  const buffer = new Uint8Array(2000);
  socket.recv(buffer, 0, 2000);
  h.t.equal(h.counters.RcvBufferedBytes - RcvBufferedBytes, 2000);
});
