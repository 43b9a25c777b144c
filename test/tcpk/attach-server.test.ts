/** The control socket of a stack and who may come to it: nonsense, crowds, want of descriptors, and reports that are long or unasked. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { CONTROL_REPORT, parseHello } from '../../lib/channel/control.ts';
import { loadChannelNative } from '../../lib/channel/native.ts';
import type { NativeChannel } from '../../lib/channel/native.ts';
import { queryStack } from '../../lib/channel/process-channel.ts';
import { windowFault } from '../../lib/channel/window.ts';
import type { WindowSizes } from '../../lib/channel/window.ts';
import { EAGAIN, EMFILE } from '../../lib/errno.ts';
import { createMemoryPair, createStack } from '../../lib/index.ts';
import type { Stack } from '../../lib/index.ts';
import type { OwnedConnection } from '../../lib/tcpk/survey.ts';

const here = dirname(fileURLToPath(import.meta.url));
const native = loadChannelNative();
const SIZES: WindowSizes = { rxRing: 256 << 10, txRing: 128 << 10, call: 4096, memory: 1 << 20 };
const NOT_TEXT = { toString: 1, valueOf: 1 };

interface World {
  stack: Stack;
  other: Stack;
  path: string;
}

/** `functions` take the place of the addon's. */
function world(t: Test, functions: Partial<NativeChannel> = {}): World {
  const folder = mkdtempSync(join(tmpdir(), 'tcpu-attach-'));
  const [a, b] = createMemoryPair();
  const stack = createStack({ link: a, addresses: ['10.0.0.1/24'], applications: true });
  const other = createStack({ link: b, addresses: ['10.0.0.2/24'] });
  const path = join(folder, 'stack.sock');
  Object.defineProperty(stack.windows!, 'native', { value: Object.assign(Object.create(native) as NativeChannel, functions) });
  const umask = process.umask(0o077);
  stack.listen({ path, mode: 0o660 });
  process.umask(umask);
  stack.ref();
  t.teardown(async () => {
    await stack.close({ graceful: false });
    await other.close({ graceful: false });
    rmSync(folder, { recursive: true, force: true });
  });
  return { stack, other, path };
}

/** Connects and sends a first message; null when nobody accepts. */
function greet(path: string, message: Uint8Array): number {
  const fd = native.unixConnect(path);
  if (fd < 0) throw new Error(`connect: ${fd}`);
  native.unixSend(fd, message, 0, message.length, null);
  return fd;
}

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

async function turns(done: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 10_000;
  while (!done()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The next message, as text; '' at the end. What came with it is closed. */
async function answer(fd: number): Promise<string> {
  const into = Buffer.alloc(64 << 10);
  const fds = new Int32Array(9);
  let length = -EAGAIN;
  await turns(() => (length = native.unixReceive(fd, into, fds)) !== -EAGAIN, 'an answer');
  for (const one of fds.subarray(1, 1 + fds[0]!)) native.closeFd(one);
  return into.toString('utf8', 0, Math.max(length, 0));
}

/** An honest application can still come. */
async function honest(t: Test, { stack, path }: World): Promise<void> {
  const fd = greet(path, json({ tcpu: 1, name: 'honest', sizes: SIZES }));
  t.match(JSON.parse(await answer(fd)), { mtu: 1500, sizes: SIZES });
  native.closeFd(fd);
  await turns(() => stack.tcpk!.applications.size === 0, 'it to be gone');
}

const hellos: [unknown, string | null][] = [
  [{ tcpu: NOT_TEXT }, 'EPROTO'], [{ tcpu: 1, sizes: { ...SIZES, rxRing: NOT_TEXT } }, 'EPROTO'], [{ tcpu: 1, query: NOT_TEXT }, 'EPROTO'],
  [{ tcpu: 1, name: NOT_TEXT }, 'EPROTO'], [{ tcpu: 1, sizes: null }, 'EPROTO'], [null, 'EPROTO'], [[], 'EPROTO'], [7, 'EPROTO'],
  [{ tcpu: 2, name: NOT_TEXT }, 'EPROTO'], [{ tcpu: 1, query: 'x' }, 'EINVAL'], [{ tcpu: 1, sizes: { ...SIZES, call: 1 } }, 'EINVAL'],
];

t.test('first messages that are none', async (t) => {
  const w = world(t);
  t.equal(statSync(w.path).mode & 0o777, 0o660, 'the permissions asked for, whatever the umask is');
  for (const [hello, code] of hellos) {
    const fd = greet(w.path, json(hello));
    t.match(JSON.parse(await answer(fd)), { code }, JSON.stringify(hello));
    native.closeFd(fd);
  }
  const odd = fc.oneof(fc.jsonValue(), fc.constant(NOT_TEXT), fc.constantFrom(1, 1.5, -1, 1e300, 4096, 1 << 20, 'details', 'constructor'));
  const hello = fc.record({
    tcpu: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, odd), name: odd, query: odd,
    sizes: fc.oneof(odd, fc.record({ rxRing: odd, txRing: odd, call: odd, memory: odd }, { requiredKeys: [] })),
  }, { requiredKeys: [] });
  const message = fc.oneof(hello.map(json), fc.jsonValue().map(json), fc.uint8Array({ minLength: 1, maxLength: 200 }));
  await fc.assert(fc.asyncProperty(message, async (bytes) => {
    const fd = greet(w.path, bytes);
    // Some answer, or the end.
    await answer(fd);
    native.closeFd(fd);
  }), { numRuns: 300, examples: hellos.map(([one]): [Uint8Array] => [json(one)]) });
  t.equal(parseHello('{"tcpu":1,"name":"a","extra":1,"toString":1}')!.toString, Object.prototype.toString);
  t.match(windowFault({ ...SIZES, rxRing: NOT_TEXT as unknown as number }), 'rxRing is no number');
  await honest(t, w);
});

t.test('what the stack itself does wrong for one connection ends that one only', async (t) => {
  let failing = true;
  const w = world(t, {
    memfd: (name, bytes) => {
      if (failing) throw new Error('on purpose');
      return native.memfd(name, bytes);
    },
  });
  const free = w.stack.windows!.freeBytes;
  const fd = greet(w.path, json({ tcpu: 1, sizes: SIZES }));
  t.equal(await answer(fd), '');
  native.closeFd(fd);
  failing = false;
  t.equal(w.stack.windows!.freeBytes, free, 'the room for its window is free again');
  await honest(t, w);
});

t.test('no descriptor is left: accepting is tried again later, not without end', async (t) => {
  let calls = 0;
  let failing = true;
  const w = world(t, {
    unixAccept: (fd) => {
      if (!failing) return native.unixAccept(fd);
      calls++;
      return -EMFILE;
    },
  });
  const fd = greet(w.path, json({ tcpu: 1, query: 'connections' }));
  const started = Date.now();
  await turns(() => calls >= 3, 'three attempts');
  t.ok(Date.now() - started > 150, 'some time lies between them');
  failing = false;
  t.equal(await answer(fd), '[]');
  native.closeFd(fd);
});

t.test('users do not keep each other out', async (t) => {
  let uid = 12345;
  const w = world(t, { unixPeer: () => ({ pid: 1, uid, gid: 1 }) });
  const fds: number[] = [];
  t.teardown(() => fds.forEach((fd) => native.closeFd(fd)));
  const into = Buffer.alloc(1000);
  /** How many of these, that say nothing, are let in. */
  const letIn = async (count: number): Promise<number> => {
    const mine = Array.from({ length: count }, () => native.unixConnect(w.path));
    fds.push(...mine);
    // The last one has been looked at once those before it have been.
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    return mine.filter((fd) => native.unixReceive(fd, into, null) === -EAGAIN).length;
  };
  t.equal(await letIn(20), 16);
  uid++;
  t.equal(await letIn(20), 16);
  uid++;
  t.equal(await letIn(20), 16);
  uid++;
  t.equal(await letIn(20), 0, 'the rest is for root');
  uid = 0;
  t.equal(await letIn(20), 16);
});

t.test('half of the room for windows is not one user\'s', async (t) => {
  let uid = 12345;
  const w = world(t, { unixPeer: () => ({ pid: 1, uid, gid: 1 }) });
  const space = w.stack.windows!;
  const sizes = { ...SIZES, memory: Math.min(256 << 20, Math.floor((space.end - space.start) / 3 / 4096) * 4096) };
  const fds: number[] = [];
  t.teardown(() => fds.forEach((fd) => native.closeFd(fd)));
  const come = async (): Promise<{ code?: string }> => {
    const fd = greet(w.path, json({ tcpu: 1, sizes }));
    fds.push(fd);
    return JSON.parse(await answer(fd)) as { code?: string };
  };
  let count = 0;
  while (count < 20 && (await come()).code === undefined) count++;
  t.equal(count, Math.floor((space.end - space.start) / 2 / (sizes.memory + 400_000)));
  uid++;
  t.equal((await come()).code, undefined, 'another one comes in');
  uid--;
  native.closeFd(fds.shift()!);
  await turns(() => w.stack.tcpk!.applications.size === count, 'one to be gone');
  t.equal((await come()).code, undefined, 'what he gave back can be had again');
});

t.test('who asks while a survey runs gets the same', async (t) => {
  const w = world(t);
  const survey = w.stack.survey!;
  const connections = survey.connections.bind(survey);
  let surveys = 0;
  survey.connections = (details) => {
    surveys++;
    return connections(details);
  };
  // Does not answer, so that the survey takes its time.
  const silent = greet(w.path, json({ tcpu: 1, name: 'a\u001b[2J\u009b\nb', sizes: SIZES }));
  await answer(silent);
  t.equal([...w.stack.tcpk!.applications][0]!.name, 'a?[2J??b');
  const started = Date.now();
  t.same(await Promise.all(Array.from({ length: 10 }, () => queryStack(w.path, 'connections'))), Array(10).fill([]));
  t.equal(surveys, 1);
  await queryStack(w.path, 'connections');
  t.equal(surveys, 2);
  t.ok(Date.now() - started > 1050, 'with a gap between them');
  native.closeFd(silent);
});

t.test('reports nobody asked for, and one without end', async (t) => {
  const w = world(t);
  const fd = greet(w.path, json({ tcpu: 1, sizes: SIZES }));
  await answer(fd);
  const [app] = w.stack.tcpk!.applications;
  const piece = (id: number, more: boolean, text: string): boolean => {
    const bytes = Buffer.alloc(12 + text.length);
    [CONTROL_REPORT, id, more ? 1 : 0].forEach((word, i) => bytes.writeInt32LE(word, 4 * i));
    bytes.write(text, 12);
    return native.unixSend(fd, bytes, 0, bytes.length, null) === bytes.length;
  };
  const survey = w.stack.survey!;
  let asked = 0;
  app!.ingress.askReport = (id) => {
    asked = id;
    return true;
  };
  const taken: string[] = [];
  const take = survey.answer.bind(survey);
  survey.answer = (app, id, text) => {
    taken.push(text);
    take(app, id, text);
  };
  piece(77, false, '{}');
  piece(78, true, '{"connections":');
  // The beginning of another id's is not its beginning.
  const first = survey.applications();
  piece(asked, false, '{"counters":{"tcp":{"A":1}}}');
  t.same((await first)[0]!.counters, { tcp: { A: 1 } });
  const second = survey.applications();
  const text = 'x'.repeat(30_000);
  let sent = 0;
  await turns(() => {
    if (piece(asked, true, text)) sent++;
    return sent === 10;
  }, 'ten pieces to be taken');
  t.equal((await second)[0]!.counters, null);
  t.same(taken, ['{"counters":{"tcp":{"A":1}}}', '']);
  t.notOk(app!.gone, 'it stays');
  native.closeFd(fd);
});

t.test('the report of an application with many connections comes whole', async (t) => {
  const COUNT = 1500;
  const { other, path } = world(t);
  const child = spawn(process.execPath, ['--import=tsx', join(here, 'attach-listener.ts'), path, '7'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  for (let i = 0; i < COUNT; i += 100) {
    await Promise.all(Array.from({ length: 100 }, async () => {
      const socket = other.net.connect(7, '10.0.0.1');
      socket.on('error', () => undefined);
      await once(socket, 'connect');
    }));
  }
  const list = await queryStack(path, 'details') as OwnedConnection[];
  const flows = list.filter((one) => one.remote !== null);
  t.equal(flows.length, COUNT);
  t.equal(flows.filter((one) => one.state === 'ESTABLISHED' && one.info !== null).length, COUNT);
  t.equal(flows[0]!.owner.name, 'many??be');
  child.stdin.end();
  await once(child, 'exit');
});
