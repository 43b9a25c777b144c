/** The rate of the iperf3 server's UDP streams, in virtual time: held when looks at it come late, without floods. */

import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import type { Alarm, Clock } from '../../lib/clock.ts';
import { parseParameters } from '../../lib/services/iperf3/protocol.ts';
import { UdpStream } from '../../lib/services/iperf3/udp-stream.ts';
import type { DatagramSocket } from '../../lib/socket.ts';

/** Timers of a machine that is busy: each fires so much later than it was set for. */
class LateClock implements Clock {
  readonly originMs = 0;
  readonly #clock: VirtualClock;
  lateUs: number;

  constructor(clock: VirtualClock, lateUs: number) {
    this.#clock = clock;
    this.lateUs = lateUs;
  }

  nowUs(): number {
    return this.#clock.nowUs();
  }

  alarm(fire: () => void): Alarm {
    const alarm = this.#clock.alarm(fire);
    return { set: (atUs) => alarm.set(atUs + this.lateUs), clear: () => alarm.clear() };
  }
}

/** What a stream of this rate sends in a second: Mbit/s, and the most bytes at one instant. */
function send(rate: number, lateUs: number, stall = false): { mbits: number; burst: number } {
  const virtual = new VirtualClock(1_000_000);
  const clock = new LateClock(virtual, lateUs);
  let bytes = 0;
  let burst = 0;
  let atUs = -1;
  let now = 0;
  const socket = {
    getsockname: () => null,
    getpeername: () => null,
    sendSegments(_from: Uint8Array, _offset: number, length: number) {
      now = virtual.nowUs() === atUs ? now + length : length;
      atUs = virtual.nowUs();
      burst = Math.max(burst, now);
      bytes += length;
      return length;
    },
    close: () => 0,
  } as unknown as DatagramSocket;
  const parameters = parseParameters({ udp: true, reverse: true, bandwidth: rate, len: 1448, time: 1, parallel: 1 });
  const stream = new UdpStream(1, true, parameters, clock, socket);
  stream.start();
  if (stall) {
    virtual.advance(400_000);
    // Nothing of this process runs for 100 ms.
    clock.lateUs = 100_000;
    virtual.advance(5000);
    clock.lateUs = lateUs;
    virtual.advance(595_000);
  } else {
    virtual.advance(1_000_000);
  }
  stream.stop();
  return { mbits: (bytes * 8) / 1e6, burst };
}

t.test('the rate is held, on time and late', (t) => {
  for (const rate of [1e6, 20e6, 100e6, 1e9]) {
    for (const lateUs of [0, 500, 1000, 2000, 4000]) {
      const { mbits } = send(rate, lateUs);
      // Late looks of fast streams cost some of the rate: no more is sent at once than receivers hold.
      const least = 0.95 * Math.min(rate / 1e6, 48 * 1024 * 8 / (lateUs + 1000));
      t.ok(mbits >= least && mbits <= 1.05 * rate / 1e6, `${rate / 1e6} Mbit/s, ${lateUs} µs late: ${mbits.toFixed(1)} Mbit/s`);
    }
  }
  t.end();
});

t.test('what is behind time goes little by little', (t) => {
  const { mbits, burst } = send(100e6, 0, true);
  t.ok(mbits > 95 && mbits < 105, `${mbits} Mbit/s`);
  t.ok(burst <= 52_000, `${burst} bytes at once, where 100 ms are worth 1.25 MB`);
  t.end();
});
