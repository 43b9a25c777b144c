/** Bulk TCP both ways through a router that loses 1 % and 5 % of the packets, in one direction and in the other. */

import './namespace.ts';
import { createHash } from 'node:crypto';
import t from 'tap';
import { patternDigest } from '../../lib/services/byte-pattern.ts';
import { STACK4, STACK6, lacking, lossyClient, runOn, up } from './harness.ts';

const skip = lacking('nft', 'curl', 'nsenter');
const BYTES = 3_000_000;

for (const [name, toStack, toClient] of [
  ['1 % to the stack', 1, 0], ['1 % from the stack', 0, 1], ['1 % both ways', 1, 1],
  ['5 % to the stack', 5, 0], ['5 % from the stack', 0, 5],
] as const) {
  t.test(name, { skip, timeout: 100_000 }, async (t) => {
    await up(t, '--offload', 'off', '--serve', 'http');
    const client = await lossyClient(t, toStack, toClient);
    const startMs = performance.now();

    await t.test('download', async (t) => {
      const hash = createHash('sha256');
      const { code, stderr } = await runOn(client, 'curl', ['-sS', '-m', '60', `http://${STACK4}/bytes/${BYTES}`], {
        timeoutMs: 70_000, onData: (piece) => hash.update(piece),
      });
      t.equal(code, 0, stderr);
      t.equal(hash.digest('hex'), patternDigest(BYTES));
    });

    await t.test('upload, and back', async (t) => {
      const body = Buffer.alloc(BYTES / 2);
      for (let i = 0; i < body.length; i++) body[i] = (i * 7 + (i >> 11)) & 0xff;
      const hash = createHash('sha256');
      const { code, stderr } = await runOn(
        client, 'curl', ['-sS', '-m', '60', '-H', 'Expect:', '--data-binary', '@-', `http://[${STACK6}]/echo`],
        { timeoutMs: 70_000, input: body, onData: (piece) => hash.update(piece) },
      );
      t.equal(code, 0, stderr);
      t.equal(hash.digest('hex'), createHash('sha256').update(body).digest('hex'));
    });
    t.comment(`${((performance.now() - startMs) / 1000).toFixed(1)} s`);
  });
}

t.test('1 % of super-segments both ways, offload on', { skip, timeout: 100_000 }, async (t) => {
  await up(t, '--offload', 'on', '--serve', 'http');
  const client = await lossyClient(t, 1, 1, false);
  const hash = createHash('sha256');
  const { code, stderr } = await runOn(client, 'curl', ['-sS', '-m', '60', `http://${STACK4}/bytes/${10 * BYTES}`], {
    timeoutMs: 70_000, onData: (piece) => hash.update(piece),
  });
  t.equal(code, 0, stderr);
  t.equal(hash.digest('hex'), patternDigest(10 * BYTES));
});
