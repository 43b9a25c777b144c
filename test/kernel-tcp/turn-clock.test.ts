/** The alarm of turns (lib/home/turn-clock.ts): late ones give way to what has arrived meanwhile, once. */

import t from 'tap';
import type { Alarm, Clock } from '../../lib/clock.ts';
import type { TcpHost } from '../../lib/home/tcp-host.ts';
import { TurnClock } from '../../lib/home/turn-clock.ts';

/** A clock whose alarms the test fires by hand. */
class HandClock implements Clock {
  readonly originMs = 0;
  us = 1_000_000;
  fire: () => void = () => {};
  readonly set: number[] = [];

  nowUs(): number {
    return this.us;
  }

  alarm(fire: () => void): Alarm {
    this.fire = fire;
    return { set: (atUs) => void this.set.push(atUs), clear: () => {} };
  }
}

function make(): { clock: HandClock; turns: TurnClock; woken: () => number } {
  const clock = new HandClock();
  let woken = 0;
  const turns = new TurnClock(clock, () => {
    woken++;
    turns.look();
  });
  turns.serve({ nowUs: 0, nowMs: 0, nextIn: () => -1 } as unknown as TcpHost);
  return { clock, turns, woken: () => woken };
}

t.test('in time: at once', async (t) => {
  const { clock, turns, woken } = make();
  turns.wakeAt(1_005_000);
  clock.us = 1_006_900;
  clock.fire();
  t.equal(woken(), 1);
});

t.test('late: what has arrived goes first, then it is done, however late it is', async (t) => {
  const { clock, turns, woken } = make();
  turns.wakeAt(1_005_000);
  clock.us = 1_090_000;
  clock.fire();
  t.equal(woken(), 0, 'put off');
  t.strictSame(clock.set, [1_005_000, 1_090_000], 'until the next round of the loop');
  clock.us = 1_200_000;
  clock.fire();
  t.equal(woken(), 1, 'once only');
  turns.wakeAt(1_210_000);
  clock.us = 1_300_000;
  clock.fire();
  t.equal(woken(), 1, 'the next late one is put off again');
});
