/** Who may be bound beside whom, as Linux decides it (inet_csk_bind_conflict), and ephemeral ports. */

import t from 'tap';
import { EPHEMERAL_COUNT, EPHEMERAL_FIRST, EPHEMERAL_LAST, PortBindings } from '../../lib/kernel/ports.ts';
import type { PortUser } from '../../lib/home/local-ports.ts';
import { SeededRandom } from '../../lib/random.ts';
import { parseAddress } from '../../lib/wire/address.ts';

interface Choice {
  reuse?: boolean;
  port?: boolean;
  listen?: boolean;
  v6only?: boolean;
}

function user(address: string, choice: Choice = {}): PortUser {
  const { w0, w1, w2, w3 } = parseAddress(address)!;
  return {
    b0: w0, b1: w1, b2: w2, b3: w3,
    v6only: choice.v6only ?? false, reuseAddress: choice.reuse ?? false, reusePort: choice.port ?? false, listening: choice.listen ?? false,
    uid: 0,
  };
}

const any4 = '0.0.0.0';
const any6 = '::';
const a4 = '10.90.0.2';
const b4 = '10.90.0.3';
const a6 = 'fd90::2';

/** first, its choices, second, its choices, whether the second is refused */
const table: [string, Choice, string, Choice, boolean][] = [
  [a4, {}, a4, {}, true],
  [a4, {}, b4, {}, false],
  [a4, {}, any4, {}, true],
  [any4, {}, a4, {}, true],
  [any4, {}, any4, {}, true],
  [any6, {}, any4, {}, true],
  [any4, {}, any6, {}, true],
  [any6, {}, a4, {}, true],
  [any6, { v6only: true }, any4, {}, false],
  [any4, {}, any6, { v6only: true }, false],
  [any6, { v6only: true }, a4, {}, false],
  [any6, {}, a6, {}, true],
  [any6, { v6only: true }, a6, {}, true],
  [a6, {}, any6, {}, true],
  [a6, {}, any4, {}, false],
  [a6, {}, a4, {}, false],
  [any6, {}, any6, { v6only: true }, true],
  [a4, { reuse: true }, a4, { reuse: true }, false],
  [a4, { reuse: true }, a4, {}, true],
  [a4, {}, a4, { reuse: true }, true],
  [a4, { reuse: true, listen: true }, a4, { reuse: true }, true],
  [a4, { reuse: true }, a4, { reuse: true, listen: true }, false],
  [any4, { reuse: true, listen: true }, a4, { reuse: true }, true],
  [a4, { port: true }, a4, { port: true }, false],
  [a4, { port: true, listen: true }, a4, { port: true, listen: true }, false],
  [a4, { port: true }, a4, {}, true],
  [a4, { port: true, listen: true }, any4, { port: true, listen: true }, false],
  [a4, { port: true }, a4, { reuse: true }, true],
];

t.test('the table of conflicts', (t) => {
  for (const [first, one, second, other, refused] of table) {
    const ports = new PortBindings(new SeededRandom(1));
    ports.add(user(first, one), 80);
    const what = `${first} ${JSON.stringify(one)}, then ${second} ${JSON.stringify(other)}`;
    t.equal(ports.check(user(second, other), 80), refused ? -98 : 0, what);
    t.equal(ports.check(user(second, other), 81), 0);
  }
  t.end();
});

t.test('a socket does not conflict with itself, and what is removed with nobody', (t) => {
  const ports = new PortBindings(new SeededRandom(1));
  const u = user(a4);
  ports.add(u, 80);
  t.equal(ports.check(u, 80), 0);
  t.ok(ports.inUse(80));
  ports.remove(u, 80);
  ports.remove(u, 80);
  t.notOk(ports.inUse(80));
  t.equal(ports.check(user(a4), 80), 0);
  t.end();
});

t.test('ephemeral ports: Linux\'s range, every one of them before none is left', (t) => {
  const ports = new PortBindings(new SeededRandom(1));
  const seen = new Set<number>();
  for (let i = 0; i < EPHEMERAL_COUNT; i += 1) {
    // Fill all but a few by hand: picking each would take a search of many.
    if (i % 1000 !== 0) {
      ports.add(user(a4), EPHEMERAL_FIRST + i);
      seen.add(EPHEMERAL_FIRST + i);
    }
  }
  for (let i = 0; i < Math.ceil(EPHEMERAL_COUNT / 1000); i++) {
    const port = ports.pick(user(a4));
    t.ok(port >= EPHEMERAL_FIRST && port <= EPHEMERAL_LAST);
    t.notOk(seen.has(port));
    seen.add(port);
    ports.add(user(a4), port);
  }
  t.equal(ports.pick(user(a4)), -98);
  t.end();
});


t.test('SO_REUSEPORT is shared by applications of one user only', (t) => {
  const ports = new PortBindings(new SeededRandom(1));
  const share = { port: true };
  ports.add({ ...user(a4, share), uid: 1 }, 7);
  t.equal(ports.check({ ...user(a4, share), uid: 1 }, 7), 0);
  t.equal(ports.check({ ...user(a4, share), uid: 2 }, 7), -98);
  t.equal(ports.check(user(a4, share), 7), -98, 'of user 0');
  t.end();
});
