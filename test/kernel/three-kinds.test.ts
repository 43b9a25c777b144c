/**
 * Three kinds of TCP on one address at once: the stack's own services, an application with its own TCP (TCPU), and
 * an application that uses the stack's TCP. Linux's curl, iperf3 and ping see no difference.
 *
 *     curl iperf3 ping --- Linux --- TUN --- tcpu up -+- http@8001 iperf3@5001 echo@7001   in the stack
 *                                                     +- http@8002 iperf3@5002 echo@7002   tcpu serve --tcp tcpu
 *                                                     +- http@8003 iperf3@5003 echo@7003   tcpu serve --tcp kernel
 */

import './namespace.ts';
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { patternDigest } from '../../lib/services/byte-pattern.ts';
import { LINUX4, LINUX6, STACK4, STACK6, lacking, must, run, serve, tcpu, up } from './harness.ts';
import { iperf3 } from './iperf3-modes.ts';

const skip = lacking('curl', 'iperf3', 'ping');
const BYTES = 30_000_000;
const KINDS = ['stack', 'tcpu', 'kernel'] as const;

function services(kind: number): string {
  return `http@${8001 + kind},iperf3@${5001 + kind},echo@${7001 + kind}`;
}

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

for (const offload of ['on', 'off']) {
  t.test(`all three on one address, offload ${offload}`, { skip, timeout: 200_000 }, async (t) => {
    await up(t, '--offload', offload, '--serve', services(0));
    await serve(t, services(1), '--tcp', 'tcpu');
    await serve(t, services(2), '--tcp', 'kernel');
    const upload = join(process.env['XDG_RUNTIME_DIR']!, 'upload');
    const body = Buffer.alloc(5_000_000);
    for (let i = 0; i < body.length; i++) body[i] = (i * 7 + (i >> 11)) & 0xff;
    writeFileSync(upload, body);

    await t.test('curl and ping, all at once', async (t) => {
      const pings = [must('ping', '-c', '20', '-i', '0.05', STACK4), must('ping', '-6', '-c', '20', '-i', '0.05', STACK6)];
      const wanted = { code: 0, bytes: BYTES, sha256: patternDigest(BYTES) };
      const echoed = { code: 0, bytes: body.length, sha256: createHash('sha256').update(body).digest('hex') };
      await Promise.all(KINDS.flatMap((kind, i) => [STACK4, `[${STACK6}]`].flatMap((host) => [
        digestOf(`http://${host}:${8001 + i}/bytes/${BYTES}`).then((got) => t.same(got, wanted, `${kind} ${host}`)),
        digestOf('-H', 'Expect:', '--data-binary', `@${upload}`, `http://${host}:${8001 + i}/echo`)
          .then((got) => t.same(got, echoed, `${kind} ${host} echo`)),
      ])));
      for (const ping of await Promise.all(pings)) t.match(ping, /20 packets transmitted, 20 received/);
    });

    await t.test('iperf3, all at once, both directions', async (t) => {
      for (const [family, ...more] of [['-4'], ['-4', '-R'], ['-6', '--bidir'], ['-6'], ['-6', '-R']]) {
        await Promise.all(KINDS.map(async (kind, i) => {
          const json = await iperf3(family!, '-c', family === '-4' ? STACK4 : STACK6, '-p', String(5001 + i), '-t', '1', ...more);
          if (json.error !== undefined) t.fail(`${kind} ${family} ${more}: ${json.error}`);
          else t.ok(json.end.sum_received.bytes > 1e5, `${kind} ${family} ${more}: ${json.end.sum_received.bytes}`);
        }));
      }
    });

    await t.test('applications open connections to Linux, the stack, and each other, both versions', async (t) => {
      // An echo server of Linux's beside the three.
      const linux = net.createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(7000, '::');
      t.teardown(() => linux.close());
      // As text, since that is how the output is collected.
      const input = Buffer.from(body.subarray(0, 1_000_000).map((byte) => byte & 0x7f));
      for (const [server, host4, host6, port] of [
        ['Linux', LINUX4, LINUX6, 7000], ['stack', STACK4, STACK6, 7001], ['tcpu', STACK4, STACK6, 7002], ['kernel', STACK4, STACK6, 7003],
      ] as const) {
        await Promise.all(['tcpu', 'kernel'].flatMap((client) => [host4, host6].map(async (host) => {
          const { code, stdout, stderr } = await tcpu(['nc', '--attach', '--tcp', client, '-N', host, String(port)], { input, timeoutMs: 30_000 });
          t.equal(code, 0, `${client} → ${server} ${host}: ${stderr}`);
          t.ok(stdout === input.toString(), `${client} → ${server} ${host}: the same bytes`);
        })));
      }
    });
  });
}
