/** `tcpu up`: its ready line, statistics and JSON, and how it ends. */

import '../kernel/namespace.ts';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { env } from 'node:process';
import t from 'tap';
import { measured } from '../attempts.ts';
import { STACK4, TcpuProcess, must, run, up } from '../kernel/harness.ts';

async function deviceGone(name: string): Promise<boolean> {
  return (await run('ip', ['link', 'show', name])).code !== 0;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal}: connections end with a FIN, the device goes, 0`, { timeout: 30_000 }, async (t) => {
    const process = await up(t, '--serve', 'echo@7007');
    t.match(process.stdout,
      /^ready tun=tcpu0 address=10\.90\.0\.2\/24,fd90::2\/64 host=10\.90\.0\.1\/24,fd90::1\/64 mtu=1500 offload=(on|off) serve=echo@7007 socket=\S+\/tcpu\.sock pid=[0-9]+\n$/);
    const socket = connect({ host: STACK4, port: 7007, allowHalfOpen: true });
    socket.write('x');
    await once(socket, 'data');
    socket.on('error', (error) => t.fail(`the connection ended with ${error.message}`));
    const ended = once(socket.resume(), 'end');
    const code = process.stop(signal);
    await ended;
    socket.end();
    t.equal(await code, 0);
    t.ok(await deviceGone('tcpu0'));
    t.notOk(existsSync(join(env['XDG_RUNTIME_DIR']!, 'tcpu.sock')), 'and the socket');
    t.equal(process.stderr, '');
  });
}

// Each comes before the end that the first one brings after two seconds, unless the machine is busy.
t.test('a second signal ends it at once', { timeout: 60_000 }, (t) => measured(t, 'ended by the second signal', async () => {
  const process = await up(t, '--serve', 'chargen');
  // A peer that neither reads nor closes holds the end up to its limit.
  const socket = connect(19, STACK4);
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.pause();
  const startMs = performance.now();
  process.child.kill('SIGTERM');
  // The first one is at work when nobody listens any more.
  for (;;) {
    const probe = connect(19, STACK4);
    const refused = await Promise.race([once(probe, 'connect').then(() => false), once(probe, 'error').then(() => true)]).catch(() => true);
    probe.on('error', () => {});
    probe.destroy();
    if (refused) break;
  }
  const code = await process.stop('SIGTERM');
  const tookMs = performance.now() - startMs;
  t.ok(await deviceGone('tcpu0'));
  socket.destroy();
  return code === 130 && tookMs < 2000 ? '' : `exit code ${code} after ${tookMs} ms`;
}));

t.test('a peer that does not let go is left after two seconds', { timeout: 30_000 }, async (t) => {
  const process = await up(t, '--serve', 'chargen');
  const socket = connect(19, STACK4);
  socket.on('error', () => {});
  await once(socket, 'connect');
  socket.pause();
  t.equal(await process.stop(), 0);
  t.ok(await deviceGone('tcpu0'));
  socket.destroy();
});

t.test('--json and --stats', { timeout: 30_000 }, async (t) => {
  const process = await up(t, '--json', '--stats', '0.2', '--serve', 'echo', '--mtu', '9000', '--offload', 'off', '--tun', 'other0');
  await must('ping', '-n', '-c', '3', '-i', '0.02', STACK4);
  await process.printed(/"event":"stats".*\n[^]*"event":"stats".*\n/);
  t.equal(await process.stop(), 0);
  const [ready, ...stats] = process.stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as any);
  t.match(ready, {
    event: 'ready', tun: 'other0', address: ['10.90.0.2/24', 'fd90::2/64'], host: ['10.90.0.1/24', 'fd90::1/64'], mtu: 9000, offload: 'off',
    serve: ['echo@7'], socket: join(env['XDG_RUNTIME_DIR']!, 'tcpu.sock'), pid: Number,
  });
  t.match(stats.at(-1), { event: 'stats', seconds: Number, connections: 0, device: { rxPackets: Number }, counters: { icmp: { InEchos: 3 } } });
});

t.test('--stats as text', { timeout: 30_000 }, async (t) => {
  const process = await up(t, '--stats', '0.1', '--serve', 'echo');
  await process.printed(/^stats in \d+ packets\/s [0-9.]+ [kMG]?bit\/s, out \d+ packets\/s [0-9.]+ [kMG]?bit\/s, connections 0, retransmitted 0, dropped 0\n/m);
  t.equal(await process.stop(), 0);
});

t.test('the device is deleted under it', { timeout: 30_000 }, async (t) => {
  const process = await up(t);
  await must('ip', 'link', 'del', 'tcpu0');
  t.equal(await process.ended, 1);
  t.match(process.stderr, /^tcpu: the device tcpu0 is gone: someone deleted it\n$/);
});

t.test('whoever reads its output leaves', { timeout: 30_000 }, async (t) => {
  const process = new TcpuProcess(['up', '--stats', '0.1']);
  await process.printed(/^ready /);
  process.child.stdout!.destroy();
  await must('ping', '-n', '-c', '5', '-i', '0.1', STACK4);
  t.equal(await process.stop(), 0);
});
