/** When a side of a channel stays awake for an answer: after single records that came soon, not in dense traffic, not for ever. */

import t from 'tap';
import { Linger } from '../../lib/channel/linger.ts';

/** `count` exchanges: something is shown, and after `us` so many records come. Returns the time then. */
function exchange(linger: Linger, nowUs: number, us: number, records: number, count: number): number {
  for (let i = 0; i < count; i++) {
    linger.shown(nowUs);
    nowUs += us;
    linger.came(nowUs, records);
    nowUs += 1000;
  }
  return nowUs;
}

t.test('at first nobody stays awake; after single answers that came soon one does, up to a limit', async (t) => {
  const linger = new Linger();
  let now = 5000;
  for (let i = 0; i < 4; i++) {
    linger.shown(now);
    t.equal(linger.stays(now), false);
    now = exchange(linger, now, 150, 1, 1);
  }
  t.equal(linger.stays(now), false, 'nothing is due');
  linger.shown(now);
  t.equal(linger.stays(now), true);
  linger.shown(now + 50);
  t.equal(linger.stays(now + 100), true, 'since what was shown first');
  t.equal(linger.stays(now + 101), false);
});

t.test('answers that do not come while one is awake end it', async (t) => {
  const linger = new Linger();
  let now = exchange(linger, 0, 30, 1, 20);
  let stayed = 0;
  for (let i = 0; i < 10; i++) {
    linger.shown(now);
    if (linger.stays(now)) stayed++;
    now += 150;
    linger.came(now, 1);
  }
  t.ok(stayed >= 1 && stayed <= 4, `${stayed} times`);
});

t.test('late answers, and dense ones, are no reason to stay awake', async (t) => {
  const late = new Linger();
  let now = exchange(late, 0, 500, 1, 100);
  late.shown(now);
  t.equal(late.stays(now), false);
  const dense = new Linger();
  now = exchange(dense, 0, 20, 16, 100);
  dense.shown(now);
  t.equal(dense.stays(now), false);
});

t.test('what comes without having been waited for changes nothing', async (t) => {
  const linger = new Linger();
  let now = exchange(linger, 0, 30, 1, 10);
  for (let i = 0; i < 10; i++) linger.came(now += 10, 100);
  linger.shown(now);
  t.equal(linger.stays(now), true);
});
