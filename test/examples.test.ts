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
import type { Stack } from '../lib/index.ts';

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

/** What a server has to say to those who connect. */
async function said(host: string, port: number, question = ''): Promise<string> {
  const socket = connect(port, host);
  socket.end(question);
  let text = '';
  for await (const piece of socket) text += String(piece);
  return text;
}

function echoed(host: string): Promise<string> {
  return said(host, 7, 'hello\n');
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

t.test('simulation.ts', { timeout: 60_000 }, async (t) => {
  const outputs: string[] = [];
  for (const seed of ['1', '1', '2']) {
    const example = start(t, 'simulation.ts', seed);
    t.equal(await example.ended, 0, example.stderr);
    t.match(example.stdout, /^delivered at the \dth try, after 1\d\.\d+ s; \d+ packets, hash [0-9a-f]{16}\n$/);
    outputs.push(example.stdout);
  }
  t.equal(outputs[0], outputs[1], 'the same seed, the same run');
  t.not(outputs[0], outputs[2], 'another seed, another');
});

t.test('udp.ts', { timeout: 30_000 }, async (t) => {
  const example = start(t, 'udp.ts');
  t.equal(await example.ended, 0);
  t.equal(example.stdout, 'fd00::2 port 4000: HELLO OVER THERE\nport 4001: ECONNREFUSED\n');
  t.equal(example.stderr, '');
});

/** A stack at 10.90.0.2 and fd90::2 that this test's children attach to. */
function stackForApplications(t: Test): Stack {
  const folder = mkdtempSync(join(tmpdir(), 'tcpu-examples-'));
  const link = openTun({ name: 'tcpu%d', hostAddresses: ['10.90.0.1/24', 'fd90::1/64'] });
  const stack = createStack({ link, addresses: ['10.90.0.2/24', 'fd90::2/64'], applications: true });
  const server = stack.listen({ path: join(folder, 'stack.sock') });
  t.teardown(async () => {
    server.close();
    await stack.close();
    rmSync(folder, { recursive: true });
    delete process.env.TCPU_SOCKET;
  });
  process.env.TCPU_SOCKET = server.path;
  return stack;
}

/** What each listener of the stack and its applications is: `TCP, owner's name` by port. */
async function listeners(stack: Stack): Promise<Map<number, string>> {
  const list = await stack.survey!.connections(false);
  return new Map(list.filter(({ state }) => state === 'LISTEN').map(({ local, tcp, owner }) => [local.port, `${tcp}, ${owner.name}`]));
}

t.test('tcpu-echo.ts', { timeout: 30_000 }, async (t) => {
  stackForApplications(t);
  const example = start(t, 'tcpu-echo.ts', '7');
  await printed(example, /^waiting on port 7$/m);
  t.equal(await echoed('10.90.0.2'), 'hello\n');
  await printed(example, /^10\.90\.0\.1 port \d+: 6 bytes, then recv_tcpu ESHUTDOWN$/m);
  await stop(t, example);
});

t.test('attached-echo.ts', { timeout: 30_000 }, async (t) => {
  const stack = stackForApplications(t);
  const example = start(t, 'attached-echo.ts');
  await printed(example, /^listening on 10\.90\.0\.2\/24 and fd90::2\/64 port 7$/m);
  t.equal((await listeners(stack)).get(7), 'tcpu, echo');
  t.equal(await echoed('10.90.0.2'), 'hello\n');
  t.equal(await echoed('fd90::2'), 'hello\n');
  await printed(example, /^fd90::1 port \d+ is gone after 6 bytes$/m);
  await stop(t, example);
  const second = start(t, 'attached-echo.ts');
  await printed(second, /^listening/m);
  await stack.close();
  t.equal(await second.ended, 0, 'ends with the stack');
  t.equal(second.stderr, 'the stack is gone\n');
});

t.test('attached-http.ts', { timeout: 30_000 }, async (t) => {
  const stack = stackForApplications(t);
  const example = start(t, 'attached-http.ts');
  await printed(example, /^10\.90\.0\.2 and fd90::2 port 80$/m);
  t.equal((await listeners(stack)).get(80), 'tcpu, web');
  t.match(await fetchText('http://10.90.0.2/a/b'), /^GET \/a\/b from ::ffff:10\.90\.0\.1 port \d+\n$/);
  t.match(await fetchText('http://[fd90::2]/'), /^GET \/ from fd90::1 port \d+\n$/);
  await stop(t, example);
});

t.test('shared-port.ts', { timeout: 30_000 }, async (t) => {
  stackForApplications(t);
  const examples = ['one', 'two'].map((name) => start(t, 'shared-port.ts', name));
  await Promise.all(examples.map((example) => printed(example, /^\w+ listens on port 7000$/m)));
  const heard = new Set<string>();
  // Each port of ours is one more throw of the coin: within a hundred, both come up but once in 2^99.
  for (let i = 0; i < 100 && heard.size < 2; i++) heard.add(await said('10.90.0.2', 7000));
  t.same([...heard].sort(), ['one\n', 'two\n']);
  await stop(t, examples[0]!);
  for (let i = 0; i < 10; i++) t.equal(await said('10.90.0.2', 7000), 'two\n');
  await stop(t, examples[1]!);
});

t.test('tcp-per-socket.ts', { timeout: 30_000 }, async (t) => {
  const stack = stackForApplications(t);
  const example = start(t, 'tcp-per-socket.ts');
  await printed(example, /^port 7001: [^]*^port 7002: /m);
  const whose = await listeners(stack);
  t.equal(whose.get(7001), 'tcpu, tcp-per-socket.ts');
  t.equal(whose.get(7002), 'kernel, tcp-per-socket.ts');
  t.match(await said('10.90.0.2', 7001), /^TCP of this process, RTT [\d.]+ ms\n$/);
  t.match(await said('10.90.0.2', 7002), /^TCP of the stack, RTT [\d.]+ ms\n$/);
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
