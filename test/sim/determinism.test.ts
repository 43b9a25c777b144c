/** The same seed gives the same packets at the same times: two captures are equal, byte by byte. */

import t from 'tap';
import { draw, drawTcpu } from './draw.ts';
import type { Draw } from './draw.ts';
import { simulate } from './simulation.ts';

/** A capture target that keeps everything. */
function keep(): { write(bytes: Uint8Array): boolean; end(): void; all(): Buffer } {
  const parts: Buffer[] = [];
  return {
    write: (bytes) => parts.push(Buffer.from(bytes)) > 0,
    end: () => undefined,
    all: () => Buffer.concat(parts),
  };
}

function record(drawn: Draw): Buffer[] {
  const targets: [ReturnType<typeof keep>, ReturnType<typeof keep>] = [keep(), keep()];
  const { failure } = simulate(drawn, { captures: targets });
  if (failure !== '') throw new Error(failure);
  return targets.map((target) => target.all());
}

for (const [name, of] of [['a seed', draw], ['a seed with TCP in applications', drawTcpu]] as const) {
  t.test(`${name} gives byte-identical captures`, async (t) => {
    let last: Buffer = Buffer.alloc(0);
    for (let seed = 1; seed <= 15; seed++) {
      const [first, second] = [record(of(seed)), record(of(seed))];
      t.ok(first[0]!.length > 500 && first[1]!.length > 500, `seed ${seed}: ${first[0]!.length} and ${first[1]!.length} bytes`);
      t.ok(first[0]!.equals(second[0]!) && first[1]!.equals(second[1]!), `seed ${seed} twice`);
      t.notOk(first[0]!.equals(last), 'and another seed gives another');
      last = first[0]!;
    }
  });
}
