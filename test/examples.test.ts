/** The programs in examples/, run as a reader would run them, in a network namespace of this test. */

import './kernel/namespace.ts';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { createStack, openTun } from '../lib/index.ts';

/** A running example and what it has printed. */
interface Example {
  child: ChildProcess;
  stdout: string;
  stderr: string;
  /** Resolves with the exit code when it has ended and all output is here. */
  ended: Promise<number | null>;
}

function start(t: Test, name: string, ...args: string[]): Example {
  const path = fileURLToPath(new URL(`../examples/${name}`, import.meta.url));
  const child = spawn(process.execPath, ['--import=tsx', path, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const example: Example = { child, stdout: '', stderr: '', ended };
  child.stdout.on('data', (piece: Buffer) => {
    example.stdout += piece.toString();
  });
  child.stderr.on('data', (piece: Buffer) => {
    example.stderr += piece.toString();
  });
  t.teardown(() => child.kill('SIGKILL'));
  return example;
}

/** Resolves when the example has printed what matches; rejects when it ends without. */
function printed(example: Example, pattern: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (pattern.test(example.stdout)) resolve();
    };
    example.child.stdout!.on('data', look);
    void example.ended.then((code) => reject(new Error(`ended with ${code}\n${example.stdout}${example.stderr}`)));
    look();
  });
}

/** Asks it to end, as Ctrl-C does. */
async function stop(t: Test, example: Example): Promise<void> {
  example.child.kill('SIGINT');
  t.equal(await example.ended, 0, 'ends with 0');
  t.equal(example.stderr, '', 'without a complaint');
}

async function fetchText(url: string): Promise<string> {
  const [response] = await once(get(url, { agent: false }), 'response') as [IncomingMessage];
  let text = '';
  for await (const piece of response) text += String(piece);
  return text;
}

async function echoed(host: string): Promise<string> {
  const socket = connect(7, host);
  socket.end('hello\n');
  let text = '';
  for await (const piece of socket) text += String(piece);
  return text;
}

t.test('echo-server.ts', { timeout: 30_000 }, async (t) => {
  const example = start(t, 'echo-server.ts');
  await printed(example, /^listening on 10\.90\.0\.2\/24 and fd90::2\/64 port 7, by way of tcpu0$/m);
  t.equal(await echoed('10.90.0.2'), 'hello\n');
  t.equal(await echoed('fd90::2'), 'hello\n');
  await printed(example, /^fd90::1 port \d+ is gone after 6 bytes$/m);
  await stop(t, example);
});

t.test('http-server.ts', { timeout: 30_000 }, async (t) => {
  const example = start(t, 'http-server.ts');
  await printed(example, /^http:/);
  t.match(await fetchText('http://10.90.0.2/a/b'), /^GET \/a\/b from ::ffff:10\.90\.0\.1 port \d+\n$/);
  t.match(await fetchText('http://[fd90::2]/'), /^GET \/ from fd90::1 port \d+\n$/);
  await stop(t, example);
});

t.test('client.ts', { timeout: 30_000 }, async (t) => {
  const example = start(t, 'client.ts');
  t.equal(await example.ended, 0);
  t.match(example.stdout, /^hello 10\.90\.0\.2\nESTABLISHED, cubic, RTT [\d.]+ ms, cwnd \d+, MSS 1448\n$/);
  t.equal(example.stderr, '');
});

t.test('virtual-time.ts', { timeout: 60_000 }, async (t) => {
  const outputs: string[] = [];
  for (const seed of ['1', '1', '2']) {
    const example = start(t, 'virtual-time.ts', seed);
    t.equal(await example.ended, 0);
    t.match(example.stdout, /^all of it: 1000000 bytes in [\d.]+ s of virtual time\n[1-9]\d* segments sent again/);
    outputs.push(example.stdout);
  }
  t.equal(outputs[0], outputs[1], 'the same seed, the same figures');
  t.not(outputs[0], outputs[2], 'another seed, others');
});

t.test('udp.ts', { timeout: 30_000 }, async (t) => {
  const example = start(t, 'udp.ts');
  t.equal(await example.ended, 0);
  t.equal(example.stdout, 'fd00::2 port 4000: HELLO OVER THERE\nport 4001: ECONNREFUSED\n');
  t.equal(example.stderr, '');
});

t.test('tcpu-echo.ts', { timeout: 30_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tcpu-examples-'));
  const link = openTun({ name: 'tcpu%d', hostAddresses: ['10.90.0.1/24'] });
  const stack = createStack({ link, addresses: ['10.90.0.2/24'], applications: true });
  const server = stack.listen({ path: join(folder, 'stack.sock') });
  t.teardown(async () => {
    server.close();
    await stack.close();
    rmSync(folder, { recursive: true });
    delete process.env.TCPU_SOCKET;
  });
  process.env.TCPU_SOCKET = join(folder, 'stack.sock');
  const example = start(t, 'tcpu-echo.ts', '7');
  await printed(example, /^waiting on port 7$/m);
  t.equal(await echoed('10.90.0.2'), 'hello\n');
  await printed(example, /^10\.90\.0\.1 port \d+: 6 bytes, then recv_tcpu ESHUTDOWN$/m);
  await stop(t, example);
});

t.test('tcpu-over-udp.ts', { timeout: 30_000 }, async (t) => {
  const listening = start(t, 'tcpu-over-udp.ts', 'listen', '40001');
  await printed(listening, /^waiting on UDP port 40001$/m);
  const connecting = start(t, 'tcpu-over-udp.ts', 'connect', '127.0.0.1', '40001');
  t.equal(await connecting.ended, 0);
  t.equal(connecting.stdout, 'the other end says: 10000000 bytes\n');
  t.equal(await listening.ended, 0);
  t.equal(listening.stderr + connecting.stderr, '');
  t.equal(await start(t, 'tcpu-over-udp.ts').ended, 2);
});

t.test('custom-link.ts', { timeout: 30_000 }, async (t) => {
  const listening = start(t, 'custom-link.ts', 'listen', '40000');
  await printed(listening, /^waiting on UDP port 40000$/m);
  const connecting = start(t, 'custom-link.ts', 'connect', '127.0.0.1', '40000');
  t.equal(await connecting.ended, 0);
  t.match(connecting.stdout, /^(ping [123]: 10\.91\.0\.1 answered after [\d.]+ ms\n){3}10\.91\.0\.1 says: goodbye\n$/);
  t.equal(await listening.ended, 0);
  t.match(listening.stdout, /^::ffff:10\.91\.0\.2 says: hello through the tunnel$/m);
  t.equal(listening.stderr + connecting.stderr, '');
  const usage = start(t, 'custom-link.ts');
  t.equal(await usage.ended, 2);
});
