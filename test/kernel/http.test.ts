/** curl against `tcpu up --serve http`: bulk both ways with checksums, many at once, both versions. */

import './namespace.ts';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { patternDigest } from '../../lib/services/byte-pattern.ts';
import { STACK4, STACK6, lacking, must, run, up } from './harness.ts';

const skip = lacking('curl');
const MEGABYTES_100 = 100_000_000;

async function digestOf(...args: string[]): Promise<{ code: number; bytes: number; sha256: string }> {
  const hash = createHash('sha256');
  let bytes = 0;
  const { code } = await run('curl', ['-sS', ...args], {
    timeoutMs: 60_000,
    onData: (piece) => {
      bytes += piece.length;
      hash.update(piece);
    },
  });
  return { code, bytes, sha256: hash.digest('hex') };
}

for (const [offload, mtu] of [['on', 1500], ['off', 1500], ['on', 65535], ['off', 1280]] as const) {
  t.test(`100 MB, offload ${offload}, MTU ${mtu}`, { skip, timeout: 100_000 }, async (t) => {
    await up(t, '--offload', offload, '--mtu', String(mtu), '--serve', 'http');
    for (const host of [STACK4, `[${STACK6}]`]) {
      const got = await digestOf(`http://${host}/bytes/${MEGABYTES_100}`);
      t.same(got, { code: 0, bytes: MEGABYTES_100, sha256: patternDigest(MEGABYTES_100) }, host);
    }
  });
}

t.test('everything else', { skip, timeout: 100_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'tcpu-test-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const server = await up(t, '--serve', 'http@8080', '--json');
  const url = `http://${STACK4}:8080`;

  await t.test('an upload comes back', async (t) => {
    const body = Buffer.alloc(30_000_000);
    for (let i = 0; i < body.length; i++) body[i] = (i * 7 + (i >> 11)) & 0xff;
    const path = join(directory, 'upload');
    writeFileSync(path, body);
    const got = await digestOf('-H', 'Expect:', '--data-binary', `@${path}`, `${url}/echo`);
    t.same(got, { code: 0, bytes: body.length, sha256: createHash('sha256').update(body).digest('hex') });
  });

  await t.test('200 curls at once', async (t) => {
    const size = 300_000;
    const wanted = patternDigest(size);
    const results = await Promise.all(Array.from({ length: 200 }, (_, i) => (
      digestOf(i % 2 === 0 ? `${url}/bytes/${size}` : `http://[${STACK6}]:8080/bytes/${size}`)
    )));
    t.equal(results.filter((one) => one.code === 0 && one.sha256 === wanted).length, 200);
  });

  await t.test('the page, HEAD, /stats, and what is not there', async (t) => {
    t.match(await must('curl', '-sS', '-6', `http://[${STACK6}]:8080/`), /<h1>tcpu<\/h1>[^]*10\.90\.0\.2\/24/);
    const head = await must('curl', '-sS', '-I', `${url}/bytes/1000000000000`);
    t.match(head, /^HTTP\/1\.1 200 OK\r\n[^]*content-length: 1000000000000\r\n/i);
    t.equal(await must('curl', '-sS', `${url}/bytes/0`), '');
    const stats = JSON.parse(await must('curl', '-sS', `${url}/stats`)) as { addresses: string[]; connections: unknown[]; counters: object };
    t.same(stats.addresses, ['10.90.0.2/24', 'fd90::2/64']);
    t.ok(stats.connections.length >= 1);
    t.equal(await must('curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', `${url}/nothing`), '404');
    t.equal(await must('curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', `${url}/bytes/x`), '400');
    t.equal(await must('curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', '-X', 'DELETE', `${url}/`), '405');
  });

  await t.test('keep-alive: two requests on one connection', async (t) => {
    const text = await must('curl', '-sS', '-o', '/dev/null', '-o', '/dev/null', '-w', '%{num_connects} ', `${url}/bytes/10`, `${url}/bytes/20`);
    t.equal(text, '1 0 ');
  });

  t.equal((JSON.parse(server.stdout.split('\n')[0]!) as { event: string }).event, 'ready');
});
