/**
 * The timers of TCP in an application: the heap against a naive model, what a callback may do, the wrap of
 * int32 time; and that no clock runs while connections idle (section 4.2 of the report).
 */

import fc from 'fast-check';
import t from 'tap';
import { VirtualClock } from '../../lib/clock.ts';
import type { Alarm, Clock } from '../../lib/clock.ts';
import type { TimerQueue } from '../../lib/home/timer-queue.ts';
import { TimingWheel } from '../../lib/kernel/timing-wheel.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { SeededRandom } from '../../lib/random.ts';
import { AF_INET } from '../../lib/socket.ts';
import type { BsdSocket } from '../../lib/socket.ts';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { Deadlines } from '../../lib/tcpu/deadlines.ts';
import { STARTS, asTcb, entry, stepsOf } from '../kernel-tcp/timer-entries.ts';
import type { Entry } from '../kernel-tcp/timer-entries.ts';
import { createHost } from '../sim/host.ts';

const delays = fc.oneof(
  fc.integer({ min: -5, max: 10 }), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 65_000, max: 20_000_000 }),
  fc.constantFrom(0x7ffffe00),
);

const steps = stepsOf(16, delays);

t.test('fires all that is due, in order, nothing early, and says when to come again', (t) => {
  fc.assert(fc.property(STARTS, steps, (start: number, list) => {
    const queue = new Deadlines(start);
    const entries = Array.from({ length: 16 }, entry);
    let now: number = start;
    const advanceTo = (to: number): void => {
      now = to;
      let last = -Infinity;
      queue.advance(now | 0, (tcb) => {
        const e = tcb as unknown as Entry;
        if (e.due > now) throw new Error(`due ${e.due}, fired ${now}`);
        if (e.due < last) throw new Error(`due ${e.due}, fired after one due ${last}`);
        if (e.firesAt !== 0 || e.wheelSlot >= 0) throw new Error('fired, and still set');
        last = e.due;
        e.due = Infinity;
      });
      for (const e of entries) if (e.due <= now) throw new Error(`due ${e.due}, not fired ${now}`);
    };
    for (const step of list) {
      const e = entries[step.who]!;
      if (step.kind === 'set') {
        queue.set(asTcb(e), (now + step.ms) | 0);
        if (e.firesAt !== ((now + step.ms) | 0)) throw new Error('firesAt');
        e.due = now + step.ms;
      } else if (step.kind === 'remove') {
        queue.remove(asTcb(e));
        e.due = Infinity;
      } else if (step.kind === 'pass') {
        advanceTo(now + step.ms);
      } else {
        const first = Math.min(...entries.map((x) => x.due));
        const wait = queue.nextIn();
        if (first === Infinity) {
          if (wait !== -1) throw new Error(`nextIn ${wait} of an empty heap`);
        } else {
          // Exactly, not a bound as the wheel gives: the process sleeps until then.
          if (wait !== Math.max(first - now, 1)) throw new Error(`nextIn ${wait}, first ${first - now}`);
          advanceTo(now + wait);
        }
      }
      if (queue.size !== entries.filter((x) => x.due !== Infinity).length) throw new Error('size');
      for (const x of entries) if ((x.wheelSlot >= 0) !== (x.due !== Infinity)) throw new Error('wheelSlot');
    }
  }), { numRuns: 500 });
  t.pass();
  t.end();
});

t.test('a callback that sets again, sets others and removes others', (t) => {
  const queue = new Deadlines(0);
  const [a, b, c, d] = [entry(), entry(), entry(), entry()];
  const names = new Map([[a, 'a'], [b, 'b'], [c, 'c'], [d, 'd']]);
  const log: string[] = [];
  queue.set(asTcb(a), 10);
  queue.set(asTcb(b), 11);
  queue.set(asTcb(c), 20);
  const fire = (tcb: Tcb): void => {
    const e = tcb as unknown as Entry;
    log.push(names.get(e)!);
    if (e === a && log.length === 1) {
      queue.set(asTcb(a), 15);
      queue.remove(asTcb(b));
      queue.set(asTcb(c), 12);
      queue.set(asTcb(d), 13);
    }
  };
  queue.advance(14, fire);
  for (let ms = 15; ms <= 30; ms++) queue.advance(ms, fire);
  t.same(log, ['a', 'c', 'd', 'a']);
  t.equal(queue.size, 0);
  t.equal(queue.nextIn(), -1);
  t.end();
});

t.test('one that sets itself to the present for ever holds nobody up', (t) => {
  const queue = new Deadlines(0);
  const [a, b] = [entry(), entry()];
  let fired = 0;
  let other = 0;
  queue.set(asTcb(a), 5);
  queue.set(asTcb(b), 6);
  for (let ms = 6; ms < 16; ms++) {
    queue.advance(ms, (tcb) => {
      if (tcb === asTcb(b)) {
        other++;
        return;
      }
      fired++;
      queue.set(tcb, ms);
    });
  }
  t.ok(fired >= 10 && fired <= 12, `${fired} times in 10 ms`);
  t.equal(other, 1);
  t.end();
});

/** What both clocks must do alike. */
const clocks: [string, (ms: number) => TimerQueue][] = [['deadlines', (ms) => new Deadlines(ms)], ['timing wheel', (ms) => new TimingWheel(ms)]];
for (const [name, make] of clocks) {
  t.test(`${name}: moved to later fires once, at the later time; moved to earlier likewise; a far one is found`, (t) => {
    for (const start of [1000, 0x7ffffff0]) {
      const queue = make(start);
      const [a, b] = [entry(), entry()];
      const at = new Map<Entry, number>();
      let now = start;
      queue.set(asTcb(a), (start + 10) | 0);
      queue.set(asTcb(a), (start + 30) | 0);
      queue.set(asTcb(b), (start + 100_000) | 0);
      queue.set(asTcb(b), (start + 20) | 0);
      for (let turns = 0; queue.size > 0 && turns < 100; turns++) {
        now += queue.nextIn();
        queue.advance(now | 0, (tcb) => at.set(tcb as unknown as Entry, now - start));
      }
      t.same([at.get(a), at.get(b)], [30, 20]);
    }
    t.end();
  });
}

t.test('ten thousand in any order leave in order, and moving is quick', (t) => {
  const random = new SeededRandom(5);
  const queue = new Deadlines(0);
  const entries = Array.from({ length: 10_000 }, entry);
  const started = process.hrtime.bigint();
  for (let round = 0; round < 20; round++) for (const e of entries) queue.set(asTcb(e), 1 + Math.floor(random.unit() * 1e6));
  for (let i = 0; i < entries.length; i += 2) queue.remove(asTcb(entries[i]!));
  const ms = Number(process.hrtime.bigint() - started) / 1e6;
  let last = 0;
  let count = 0;
  for (let now = 0; queue.size > 0;) {
    now += queue.nextIn();
    queue.advance(now, () => {
      if (now < last) throw new Error('out of order');
      last = now;
      count++;
    });
  }
  t.equal(count, 5000);
  t.ok(ms < 2000, `200,000 moves and 5000 removals in ${ms.toFixed(0)} ms`);
  t.end();
});

/** A host's view of a clock: counts the alarms of its own that fire. */
class CountingClock implements Clock {
  fired = 0;
  readonly originMs = 0;
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  nowUs(): number {
    return this.#clock.nowUs();
  }

  alarm(fire: () => void): Alarm {
    return this.#clock.alarm(() => {
      this.fired++;
      fire();
    });
  }
}

/** Alarms that fire, and connections that have echoed, when 50 connections have carried something and are silent then. */
function idleAlarms(tcpu: boolean): { soon: number; later: number; echoed: number } {
  const shared = new VirtualClock(1_000_000);
  const clocks = [new CountingClock(shared), new CountingClock(shared)];
  const [left, right] = createMemoryPair({ clock: shared, latencyUs: 1000 });
  const side = tcpu ? {} : null;
  const a = createHost('a', { link: left, addresses: ['10.90.0.1/24'], clock: clocks[0]!, random: new SeededRandom(1) }, side);
  const b = createHost('b', { link: right, addresses: ['10.90.0.2/24'], clock: clocks[1]!, random: new SeededRandom(2) }, side);
  const open = (host: typeof a): BsdSocket => host.socket(AF_INET) as BsdSocket;
  const listener = open(b);
  listener.bind('', 80);
  listener.listen(100);
  const servers: BsdSocket[] = [];
  listener.onready = () => {
    for (let one = listener.accept(); typeof one !== 'number'; one = listener.accept()) {
      const socket = one;
      servers.push(socket);
      socket.onready = () => {
        const buffer = new Uint8Array(10_000);
        const n = socket.recv(buffer, 0, buffer.length);
        if (n > 0) socket.send(buffer, 0, n);
      };
    }
  };
  const clients = Array.from({ length: 50 }, () => {
    const socket = open(a);
    socket.connect('10.90.0.2', 80);
    return socket;
  });
  shared.advance(100_000);
  let echoed = 0;
  for (const socket of clients) {
    socket.send(new Uint8Array(5000), 0, 5000);
    shared.advance(7000);
  }
  shared.advance(50_000);
  for (const socket of clients) echoed += socket.recv(new Uint8Array(10_000), 0, 10_000) === 5000 ? 1 : 0;
  const count = (us: number): number => {
    const before = clocks[0]!.fired + clocks[1]!.fired;
    shared.advance(us);
    return clocks[0]!.fired + clocks[1]!.fired - before;
  };
  const soon = count(2e6);
  const later = count(3600e6);
  a.close();
  b.close();
  return { soon, later, echoed };
}

t.test('no clock runs while connections are silent', (t) => {
  for (const tcpu of [true, false]) {
    const name = tcpu ? 'TCPU' : 'kernel-style TCP';
    const { soon, later, echoed } = idleAlarms(tcpu);
    t.equal(echoed, 50, 'all have echoed');
    // Retransmission timers that were stopped leave what fires early and finds nothing due: once for each end at most.
    t.ok(soon <= 100, `${name}: ${soon} alarms in the two seconds after`);
    t.equal(later, 0, `${name}: and none in the hour that follows`);
  }
  t.end();
});

t.test('a far deadline is slept for in one piece, where the wheel of the kernel-style TCP looks in at its levels', (t) => {
  const wakes = (queue: TimerQueue): number => {
    queue.set(asTcb(entry()), 12_345 + 7_200_000);
    let now = 12_345;
    for (let count = 0; ; count++) {
      if (queue.size === 0) return now === 12_345 + 7_200_000 ? count : -1;
      now += queue.nextIn();
      queue.advance(now, () => undefined);
    }
  };
  t.equal(wakes(new Deadlines(12_345)), 1);
  const wheel = wakes(new TimingWheel(12_345));
  t.ok(wheel > 1 && wheel <= 4, `${wheel} times in two hours`);
  t.end();
});
