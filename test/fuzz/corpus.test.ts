/**
 * The attacks that are kept (corpus/programs.txt, grown by grow.ts), each on a target of its own: no exception, the books
 * balance, the bystander is served, and all is given back.
 */

import t from 'tap';
import { formatPrograms, parsePrograms, readCorpus, runProgram } from './program.ts';
import { Target } from './target.ts';

t.test('the attacks that are kept', { timeout: 110_000 }, async (t) => {
  const programs = readCorpus();
  let steps = 0;
  const problems: string[] = [];
  for (const program of programs) {
    steps += program.steps.length;
    const target = new Target(1);
    const { stack } = target;
    try {
      runProgram(target, program);
      target.talk();
      target.finish(1800e6);
      if (stack.tcp.connections !== 0) problems.push(`${stack.tcp.connections} connections are left`);
      if (stack.ip.reassemblyUse.datagrams !== 0) problems.push('fragments are left');
      if (stack.memory.freeBlocks !== stack.memory.blockCount) problems.push('blocks are lost');
    } catch (error) {
      problems.push(error instanceof Error ? error.stack! : String(error));
    }
    target.close();
    if (problems.length > 0) {
      t.fail(`${problems.join('\n')}\n${formatPrograms([program])}`);
      break;
    }
  }
  t.comment(`${programs.length} programs of ${steps} steps`);
  t.ok(programs.length > 50, 'the corpus is there');
});

t.test('the format', async (t) => {
  const programs = readCorpus();
  t.same(parsePrograms(formatPrograms(programs)), programs, 'what is written is read again');
  for (const bad of ['x', '- . 0', '1 x 0 45', '- . 0 4', '- . -1 45']) t.throws(() => parsePrograms(bad), /not a step/, bad);
});
