/** What processes share (lib/channel/native.ts): memory, doorbells and Unix sockets, between real processes and threads. */

import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, fstatSync, ftruncateSync, lstatSync, mkdtempSync, openSync, readdirSync,
  readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import t from 'tap';

import { loadChannelNative } from '../../lib/channel/native.ts';
import { EADDRINUSE, EAGAIN, EBADF, ECONNREFUSED, EINVAL, EMSGSIZE, EPERM, EPIPE, ETIMEDOUT } from '../../lib/errno.ts';
import { BELLS, DEAF, ECHO, EXIT, KILL, MAP, SIGNALS, SILENCE } from './native-peer.ts';

const ENOENT = 2;
const EEXIST = 17;
const ENAMETOOLONG = 36;
const O_CLOEXEC = 0o2000000;
const PAGE = 4096;

const native = loadChannelNative();
const addon = fileURLToPath(new URL('../../native/build/Release/tcpu.node', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'tcpu-native-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc') as () => void;

let paths = 0;
const freshPath = () => join(folder, `${paths++}.sock`);
const turn = () => new Promise<void>((resolve) => { setImmediate(resolve); });
const descriptors = () => readdirSync('/proc/self/fd').length;
const mapped = (name: string) => readFileSync('/proc/self/maps', 'utf8').split('\n').filter((line) => line.includes(name)).length;

/** `O_…` bits of a descriptor and its file description (proc_pid_fdinfo(5)). */
const flags = (fd: number) => parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1]!, 8);

/** Turns of the event loop, as many as it takes; the test's timeout is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

/** A watch as a promise. */
function readable(fd: number, isEventfd = false): Promise<void> {
  return new Promise((resolve) => {
    const watch = native.watch(fd, isEventfd, () => {
      native.unwatch(watch);
      resolve();
    });
  });
}

/** Two ends of a connection within this process. */
async function connectedPair(): Promise<[number, number]> {
  const path = freshPath();
  const listener = native.unixListen(path, 0o600);
  const client = native.unixConnect(path);
  const server = native.unixAccept(listener);
  native.closeFd(listener);
  if (client < 0 || server < 0) throw new Error(`${client}, ${server}`);
  return [client, server];
}

/** The other process, and our end of the connection to it. */
async function startPeer(): Promise<{ child: ChildProcess; fd: number }> {
  const path = freshPath();
  const listener = native.unixListen(path, 0o600);
  const child = spawn(process.execPath, ['--import=tsx', fileURLToPath(new URL('native-peer.ts', import.meta.url)), path],
    { stdio: ['ignore', 'inherit', 'inherit'] });
  await readable(listener);
  const fd = native.unixAccept(listener);
  native.closeFd(listener);
  if (fd < 0) throw new Error(`accept: ${fd}`);
  return { child, fd };
}

function send(fd: number, words: number[], fds: number[] | null = null): number {
  const bytes = new Uint8Array(Int32Array.from(words).buffer);
  return native.unixSend(fd, bytes, 0, bytes.length, fds);
}

t.test('an arena is address space until touched, to its far end', async (t) => {
  const before = process.memoryUsage.rss();
  const arena = native.arena(2 ** 31 - PAGE);
  const bytes = new Uint8Array(arena);
  const view = new DataView(arena);
  t.equal(bytes.length, 2 ** 31 - PAGE);
  view.setInt32(bytes.length - 4, -5);
  bytes[0] = 7;
  t.equal(bytes[bytes.length - 1], 251);
  bytes.copyWithin(bytes.length - 4, 0, 1);
  t.equal(view.getUint32(bytes.length - 4), 0x07fffffb);
  t.ok(process.memoryUsage.rss() - before < 32 << 20, 'touching both ends costs two pages (or huge pages)');
});

t.test('sizes of arenas', async (t) => {
  for (const size of [0, -PAGE, 1, PAGE + 1, 1.5, NaN, Infinity, '4096', undefined]) {
    t.throws(() => native.arena(size as number), { code: 'EINVAL' }, String(size));
  }
  t.throws(() => native.arena(2 ** 53 - PAGE), Error, 'more than there is');
});

t.test('a file over a part of an arena', async (t) => {
  const name = `tcpu-arena-${process.pid}`;
  const arena = native.arena(1 << 20);
  const bytes = new Uint8Array(arena).fill(1);
  const fd = native.memfd(name, 4 * PAGE);
  const map = new Uint8Array(native.map(fd, 4 * PAGE)!);
  map[0] = 42;
  map[4 * PAGE - 1] = 43;
  t.equal(native.arenaMap(arena, 8 * PAGE, 4 * PAGE, fd), 0);
  t.equal(bytes[8 * PAGE], 42, 'the file, not what was there');
  t.equal(bytes[12 * PAGE - 1], 43);
  t.equal(bytes[8 * PAGE - 1], 1, 'before and behind nothing changes');
  t.equal(bytes[12 * PAGE], 1);
  bytes[8 * PAGE + 1] = 9;
  t.equal(map[1], 9, 'what is written goes both ways');

  t.equal(native.arenaUnmap(arena, 8 * PAGE, 4 * PAGE), 0);
  t.ok(bytes.subarray(8 * PAGE, 12 * PAGE).every((byte) => byte === 0), 'zeros');
  bytes[8 * PAGE + 1] = 10;
  t.equal(map[1], 9, 'the file is let go');

  const invalid = (offset: number, length: number) =>
    [native.arenaMap(arena, offset, length, fd), native.arenaUnmap(arena, offset, length)];
  for (const [offset, length] of [[1, PAGE], [0, 100], [0, 0], [1 << 20, PAGE], [(1 << 20) - PAGE, 2 * PAGE], [-PAGE, PAGE],
    [2 ** 53, PAGE], [0, 2 ** 53], [0.5, PAGE]] as const) {
    t.strictSame(invalid(offset, length), [-EINVAL, -EINVAL], `${offset}, ${length}`);
  }
  t.equal(native.arenaMap(arena, 0, 5 * PAGE, fd), -EINVAL, 'more than the file has');
  t.equal(native.arenaMap(new ArrayBuffer(1 << 20), 0, PAGE, fd), -EINVAL, 'not an arena');
  t.equal(native.arenaMap(native.map(fd, PAGE)!, 0, PAGE, fd), -EINVAL, 'neither is a map');
  t.equal(native.arenaMap(arena, 0, PAGE, 999_999), -EBADF);
  t.equal(bytes[0], 1, 'failing changes nothing');
  native.closeFd(fd);
});

t.test('a memfd keeps its size, and only such files are mapped', async (t) => {
  const fd = native.memfd('tcpu-sealed', 2 * PAGE);
  t.throws(() => ftruncateSync(fd, 0), { code: 'EPERM' });
  t.throws(() => ftruncateSync(fd, 3 * PAGE), { code: 'EPERM' });
  t.equal(fstatSync(fd).size, 2 * PAGE);
  t.equal(native.map(fd, 3 * PAGE), null, 'more than the file has');
  t.equal(native.map(fd, 0), null);
  native.closeFd(fd);
  t.equal(native.map(fd, PAGE), null, 'closed');

  const file = join(folder, 'file');
  writeFileSync(file, Buffer.alloc(PAGE));
  const unsealed = openSync(file, 'r+');
  t.equal(native.map(unsealed, PAGE), null);
  t.equal(native.arenaMap(native.arena(PAGE), 0, PAGE, unsealed), -EPERM);
  closeSync(unsealed);
  t.equal(native.memfd('x', 0), -EINVAL);
  t.equal(native.memfd('x'.repeat(300), PAGE), -ENAMETOOLONG);
});

t.test('what is mapped lives as long as it is used, and is let go when it is collected', { timeout: 30_000 }, async (t) => {
  const name = `tcpu-collected-${process.pid}`;
  const make = () => {
    const fd = native.memfd(name, PAGE);
    const arena = native.arena(1 << 20);
    native.arenaMap(arena, 2 * PAGE, PAGE, fd);
    const map = new Int32Array(native.map(fd, PAGE)!);
    native.closeFd(fd);
    map[3] = 77;
    return { map, view: new DataView(arena, 2 * PAGE) };
  };
  let kept: ReturnType<typeof make> | null = make();
  for (let i = 0; i < 20; i++) {
    make();
    gc();
    await turn();
  }
  t.equal(kept.view.getInt32(12, true), 77);
  t.equal(kept.map[3], 77);
  t.ok(mapped(name) >= 2);
  kept = null;
  await until(() => {
    gc();
    return mapped(name) === 0;
  });
  t.pass('nothing is left, not even what lay over an arena');
});

t.test('doorbells', { timeout: 30_000 }, async (t) => {
  const bell = native.eventfd();
  let calls = 0;
  let microtasks = 0;
  const watch = native.watch(bell, true, () => {
    calls++;
    void Promise.resolve().then(() => microtasks++);
  });
  t.ok(watch >= 0);
  t.equal(native.watch(bell, true, () => {}), -EEXIST);
  native.eventfdWrite(bell);
  native.eventfdWrite(bell);
  await until(() => calls > 0);
  await turn();
  await turn();
  t.equal(calls, 1, 'one call for all rings before it, and it is reset');
  t.equal(microtasks, 1);
  native.eventfdWrite(bell);
  await until(() => calls === 2);
  native.unwatch(watch);
  native.eventfdWrite(bell);
  await turn();
  await turn();
  t.equal(calls, 2);
  native.closeFd(bell);
  t.equal(native.eventfdWrite(bell), -EBADF);
  t.equal(native.eventfdListen(bell), -EBADF);
});

t.test('a bell that is rung in the callback calls again', { timeout: 30_000 }, async (t) => {
  const bell = native.eventfd();
  let calls = 0;
  const watch = native.watch(bell, true, () => {
    if (++calls < 100) native.eventfdWrite(bell);
  });
  native.eventfdWrite(bell);
  await until(() => calls === 100);
  t.equal(calls, 100);
  native.unwatch(watch);
  native.closeFd(bell);
});

t.test('callbacks close themselves and others', { timeout: 30_000 }, async (t) => {
  for (const rounds of [1, 50]) {
    for (let round = 0; round < rounds; round++) {
      const bells = [native.eventfd(), native.eventfd(), native.eventfd()];
      let calls = 0;
      const watches = bells.map((bell) => native.watch(bell, true, () => {
        calls++;
        native.unwatch(watches[0]!);
        native.closeFd(bells[1]!);
        native.unwatch(watches[1]!);
        native.closeFd(bells[2]!);
        native.closeFd(bells[0]!);
        native.unwatch(watches[0]!);
      }));
      for (const bell of bells) native.eventfdWrite(bell);
      await until(() => calls > 0);
      await turn();
      if (calls !== 1) t.fail(`called ${calls} times`);
    }
  }
  const bell = native.eventfd();
  const old = native.watch(bell, true, () => t.fail('closed'));
  native.closeFd(bell);
  const next = native.eventfd();
  t.equal(next, bell, 'the number comes again');
  let calls = 0;
  t.not(native.watch(next, true, () => calls++), old);
  native.unwatch(old);
  native.watchUnref(old);
  native.eventfdWrite(next);
  await until(() => calls === 1);
  native.closeFd(next);
});

t.test('a hostile process cannot make a doorbell block', { timeout: 30_000 }, async (t) => {
  const bell = native.eventfd();
  const [a, b] = await connectedPair();
  send(a, [0], [bell]);
  const fds = new Int32Array(9);
  native.unixReceive(b, new Uint8Array(8), fds);
  const other = fds[1]!;
  let calls = 0;
  const watches = [bell, other].map((fd) => native.watch(fd, true, () => calls++));
  // A child with it as standard input: libuv clears O_NONBLOCK there, of the description that all share.
  spawnSync('true', { stdio: [bell, 'ignore', 'ignore'] });
  t.notOk(flags(bell) & constants.O_NONBLOCK);
  native.eventfdWrite(bell);
  await until(() => calls > 0);
  await turn();
  t.equal(calls, 1, 'both were woken; the second found it silent and did not wait');

  const most = Buffer.alloc(8, 0xff);
  most[0] = 0xfe;
  for (const watch of watches) native.unwatch(watch);
  writeSync(bell, most);
  t.notOk(flags(bell) & constants.O_NONBLOCK);
  t.equal(native.eventfdWrite(bell), 0, 'full: it rings');
  const rung = readable(bell, true);
  await rung;
  for (const fd of [bell, other, a, b]) native.closeFd(fd);
});

t.test('eventfdListen hears and can do nothing else', { timeout: 30_000 }, async (t) => {
  const bell = native.eventfd();
  const ear = native.eventfdListen(bell);
  let calls = 0;
  const watch = native.watch(ear, true, () => calls++);
  for (let i = 1; i <= 10; i++) {
    native.eventfdWrite(bell);
    if (i % 3 === 0) native.eventfdWrite(bell);
    await until(() => calls === i);
    await turn();
  }
  t.equal(calls, 10);
  t.throws(() => writeSync(ear, Buffer.alloc(8, 1)), { code: 'EINVAL' });
  native.eventfdWrite(ear);
  await turn();
  await turn();
  t.equal(calls, 10, 'ringing it does nothing');
  native.unwatch(watch);
  native.closeFd(bell);
  native.closeFd(ear);
});

t.test('unixListen: permissions, names, errors', async (t) => {
  const umask = process.umask(0o027);
  t.teardown(() => process.umask(umask));
  for (const mode of [0o600, 0o666, 0o777, 0o660, 0]) {
    const path = freshPath();
    const fd = native.unixListen(path, mode);
    t.ok(fd >= 0);
    t.equal(lstatSync(path).mode & 0o7777, mode, mode.toString(8));
    t.ok(lstatSync(path).isSocket());
    t.equal(native.unixListen(path, mode), -EADDRINUSE);
    t.equal(native.unixAccept(fd), -EAGAIN);
    native.closeFd(fd);
    t.equal(native.unixConnect(path), -ECONNREFUSED, 'nobody listens');
    t.equal(native.unixListen(path, mode), -EADDRINUSE, 'and the path is there still');
  }
  t.equal(process.umask(), 0o027, 'the umask is as it was');
  t.equal(native.unixConnect(freshPath()), -ENOENT);
  const longest = (bytes: number) => join(folder, 'x'.repeat(bytes - folder.length - 1));
  for (const f of [native.unixConnect, (path: string) => native.unixListen(path, 0o600)]) {
    t.equal(f(longest(108)), -ENAMETOOLONG);
    t.equal(f('x'.repeat(10_000)), -ENAMETOOLONG);
    t.equal(f(''), -EINVAL);
    t.equal(f('\0abstract'), -EINVAL);
    t.equal(f(`${folder}/a\0b`), -EINVAL);
  }
  const fd = native.unixListen(longest(107), 0o600);
  t.ok(fd >= 0);
  native.closeFd(fd);
  t.equal(native.unixListen(join(folder, 'no', 'folder'), 0o600), -ENOENT);
  t.equal(native.unixListen(freshPath(), 0o1777), -EINVAL);
});

t.test('unixListen: at no moment is the path more open than asked', { timeout: 30_000 }, async (t) => {
  const umask = process.umask(0);
  t.teardown(() => process.umask(umask));
  const path = freshPath();
  const control = new Int32Array(new SharedArrayBuffer(16));
  const worker = new Worker(`
    const { workerData: { path, control }, parentPort } = require('node:worker_threads');
    const { lstatSync } = require('node:fs');
    const modes = new Set();
    let looks = 0;
    parentPort.postMessage(null);
    while (Atomics.load(control, 0) === 0) {
      const status = lstatSync(path, { throwIfNoEntry: false });
      if (status !== undefined) modes.add(status.mode & 0o7777);
      Atomics.store(control, 1, ++looks);
    }
    parentPort.postMessage([...modes]);
  `, { eval: true, workerData: { path, control } });
  await once(worker, 'message');
  for (let i = 0; i < 300 || Atomics.load(control, 1) < 3000; i++) {
    native.closeFd(native.unixListen(path, 0o600));
    rmSync(path, { force: true });
  }
  Atomics.store(control, 0, 1);
  const exit = once(worker, 'exit');
  const [modes] = await once(worker, 'message') as [number[]];
  t.strictSame(modes, [0o600]);
  await exit;
});

t.test('messages and descriptors', async (t) => {
  const [a, b] = await connectedPair();
  t.strictSame(native.unixPeer(a), { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() });
  t.equal(native.unixPeer(0x7fff), -EBADF);
  const into = new Uint8Array(8);
  const fds = new Int32Array(9);
  t.equal(native.unixReceive(b, into, fds), -EAGAIN);

  const message = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  t.equal(native.unixSend(a, message, 2, 3, null), 3);
  t.equal(native.unixSend(a, message, 0, 10, null), 10);
  t.equal(native.unixSend(a, message, 0, 8, null), 8);
  fds.fill(-1);
  t.equal(native.unixReceive(b, into, fds), 3);
  t.strictSame([...into.subarray(0, 3)], [2, 3, 4]);
  t.equal(fds[0], 0);
  t.equal(native.unixReceive(b, into, null), -EMSGSIZE, 'too long: lost');
  t.equal(native.unixReceive(b, into, null), 8, 'the next one is whole');
  for (const [offset, length] of [[0, 0], [0, 11], [10, 1], [11, 0], [-1, 2], [0.5, 1]] as const) {
    t.equal(native.unixSend(a, message, offset, length, null), -EINVAL, `${offset}, ${length}`);
  }

  const file = native.memfd('passed', PAGE);
  const before = descriptors();
  const eight = new Array<number>(8).fill(file);
  t.equal(native.unixSend(a, message, 0, 1, eight), 1);
  t.equal(native.unixSend(a, message, 0, 1, [...eight, file]), -EINVAL);
  t.equal(native.unixSend(a, message, 0, 1, [999_999]), -EBADF);
  t.equal(native.unixSend(a, message, 0, 1, ['x'] as unknown as number[]), -EINVAL);
  t.equal(native.unixReceive(b, into, fds), 1);
  t.equal(fds[0], 8);
  t.equal(new Set(fds.subarray(1)).size, 8);
  for (const fd of fds.subarray(1)) {
    t.equal(fstatSync(fd).ino, fstatSync(file).ino);
    t.ok(flags(fd) & O_CLOEXEC, 'close-on-exec');
    native.closeFd(fd);
  }
  t.equal(descriptors(), before);

  native.unixSend(a, message, 0, 1, eight);
  const few = new Int32Array(3);
  t.equal(native.unixReceive(b, into, few), 1);
  t.equal(few[0], 2);
  t.equal(descriptors(), before + 2, 'those without room are closed');
  native.closeFd(few[1]!);
  native.closeFd(few[2]!);
  native.unixSend(a, message, 0, 1, eight);
  t.equal(native.unixReceive(b, into, null), 1);
  native.unixSend(a, message, 0, 10, eight);
  t.equal(native.unixReceive(b, into, fds), -EMSGSIZE);
  t.equal(fds[0], 0);
  t.equal(descriptors(), before);

  let sent = 0;
  while (native.unixSend(a, message, 0, 10, null) === 10) sent++;
  t.ok(sent > 10 && sent < 100_000, `${sent} messages without a reader`);
  t.equal(native.unixSend(a, message, 0, 10, null), -EAGAIN);
  native.closeFd(b);
  t.equal(native.unixReceive(a, into, fds), 0, 'closed with messages unread');
  t.equal(native.unixReceive(a, into, fds), 0);
  t.equal(native.unixSend(a, message, 0, 10, null), -EPIPE);
  native.closeFd(a);
  native.closeFd(file);
});

t.test('unixCall: time, the end, wrong arguments', async (t) => {
  const [a, b] = await connectedPair();
  const words = new Int32Array(64);
  const start = process.hrtime.bigint();
  t.equal(native.unixCall(a, words, 8, 60), -ETIMEDOUT);
  const ms = Number(process.hrtime.bigint() - start) / 1e6;
  t.ok(ms >= 60 && ms < 5000, `${ms} ms`);
  send(b, [5, 6, 7]);
  t.equal(native.unixCall(a, words, 8, 1000), 12, 'the answer is there already');
  t.strictSame([...words.subarray(0, 3)], [5, 6, 7]);
  send(b, new Array<number>(65).fill(1));
  t.equal(native.unixCall(a, words, 8, 1000), -EMSGSIZE);
  while (send(a, [1, 2]) > 0);
  t.equal(native.unixCall(a, words, 8, 10), -ETIMEDOUT, 'no room to ask');
  for (const [bytes, ms] of [[0, 1], [257, 1], [-1, 1], [8, -1], [NaN, 1]] as const) {
    t.equal(native.unixCall(a, words, bytes, ms), -EINVAL);
  }
  native.closeFd(b);
  t.equal(native.unixCall(a, words, 8, 1000), 0);
  t.equal(native.unixCall(a, words, 8, 1000), 0);
  native.closeFd(a);
  t.equal(native.unixCall(a, words, 8, 1000), -EBADF);
});

t.test('another process', { timeout: 60_000 }, async (t) => {
  const { child, fd } = await startPeer();
  t.teardown(() => child.kill('SIGKILL'));
  t.equal((native.unixPeer(fd) as { pid: number }).pid, child.pid);
  const words = new Int32Array(64);

  words.set([ECHO, 10, -20]);
  t.equal(native.unixCall(fd, words, 12, 10_000), 12);
  t.strictSame([...words.subarray(0, 3)], [ECHO, 11, -19]);

  const file = native.memfd('tcpu-shared', 2 * PAGE);
  const arena = native.arena(1 << 20);
  native.arenaMap(arena, 5 * PAGE, 2 * PAGE, file);
  const window = new Int32Array(arena, 5 * PAGE, 2048);
  window[0] = 1234;
  window[2047] = 4321;
  send(fd, [MAP, 0, 0], [file]);
  await readable(fd);
  const bytes = new Uint8Array(words.buffer);
  t.equal(native.unixReceive(fd, bytes, null), 12);
  t.strictSame([...words.subarray(0, 3)], [MAP, 1234, 4321], 'it sees what was written here');
  t.equal(window[1024], child.pid, 'and the other way');
  native.closeFd(file);

  for (const listen of [false, true]) {
    const bells = [native.eventfd(), native.eventfd()] as const;
    const ear = listen ? native.eventfdListen(bells[0]) : bells[0];
    send(fd, [BELLS], [ear, bells[1]]);
    await readable(fd);
    native.unixReceive(fd, bytes, null);
    for (let i = 0; i < 20; i++) {
      const back = readable(bells[1], true);
      native.eventfdWrite(bells[0]);
      await back;
    }
    t.pass(`bells${listen ? ', heard through eventfdListen' : ''}`);
    for (const bell of new Set([...bells, ear])) native.closeFd(bell);
  }

  let signals = 0;
  const count = () => signals++;
  process.on('SIGUSR2', count);
  words[0] = SIGNALS;
  t.equal(native.unixCall(fd, words, 4, 10_000), 4, 'interrupted, and answered');
  await until(() => signals > 0);
  process.off('SIGUSR2', count);
  words[0] = SILENCE;
  t.equal(native.unixCall(fd, words, 4, 20), -ETIMEDOUT);

  const exit = once(child, 'exit');
  const gone = readable(fd);
  send(fd, [EXIT]);
  t.strictSame(await exit, [7, null], 'ending inside of a callback is no crash');
  await gone;
  t.equal(native.unixReceive(fd, bytes, null), 0);
  native.closeFd(fd);
});

t.test('a killed process is seen as closed', { timeout: 60_000 }, async (t) => {
  const into = new Uint8Array(64);
  const words = new Int32Array(64);
  for (const unread of [false, true]) {
    const { child, fd } = await startPeer();
    words[0] = DEAF;
    t.equal(native.unixCall(fd, words, 4, 10_000), 4);
    if (unread) send(fd, [ECHO, 1]);
    let calls = 0;
    let length = -1;
    const watch = native.watch(fd, false, () => {
      calls++;
      length = native.unixReceive(fd, into, null);
      if (calls > 1) native.unwatch(watch);
    });
    await turn();
    t.equal(calls, 0);
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await until(() => calls === 2);
    t.equal(length, 0, `${unread ? 'messages unread: the watch survives the error' : 'nothing unread'}`);
    await exit;
    native.closeFd(fd);
  }
  const { child, fd } = await startPeer();
  const exit = once(child, 'exit');
  words[0] = KILL;
  t.equal(native.unixCall(fd, words, 4, 20_000), 0, 'in the middle of a call');
  native.closeFd(fd);
  t.strictSame(await exit, [null, 'SIGKILL']);
});

t.test('worker threads', { timeout: 60_000 }, async (t) => {
  const name = `tcpu-worker-${process.pid}`;
  const bell = native.eventfd();
  const back = native.eventfd();
  const start = (code: string) => new Worker(`
    const { workerData: { addon, name, bell, back }, parentPort } = require('node:worker_threads');
    const native = require(addon);
    const arena = native.arena(1 << 20);
    const file = native.memfd(name, 4096);
    native.arenaMap(arena, 4096, 4096, file);
    const map = native.map(file, 4096);
    native.closeFd(file);
    let calls = 0;
    ${code}
    parentPort.postMessage('ready');
  `, { eval: true, workerData: { addon, name, bell, back } });

  const one = start(`const watch = native.watch(bell, true, () => {
    if (++calls === 3) native.unwatch(watch);
    native.eventfdWrite(back);
  });`);
  const exit = once(one, 'exit');
  await once(one, 'message');
  t.equal(mapped(name), 2);
  for (let i = 0; i < 3; i++) {
    const answered = readable(back, true);
    native.eventfdWrite(bell);
    await answered;
  }
  t.strictSame(await exit, [0], 'it lives as long as the watch');
  t.equal(mapped(name), 0, 'its memory is given back');

  const unref = start('native.watchUnref(native.watch(bell, true, () => {}));');
  t.strictSame(await once(unref, 'exit'), [0], 'an unrefed watch keeps nobody');
  const ref = start('const w = native.watch(bell, true, () => native.unwatch(w)); native.watchUnref(w); native.watchRef(w);');
  const refExit = once(ref, 'exit');
  await once(ref, 'message');
  native.eventfdWrite(bell);
  t.strictSame(await refExit, [0]);

  const thrower = start('native.watch(bell, true, () => { throw new Error("from the callback"); });');
  const failed = once(thrower, 'error');
  const failedExit = new Promise((resolve) => { thrower.once('exit', resolve); });
  await once(thrower, 'message');
  native.eventfdWrite(bell);
  t.match((await failed)[0], { message: 'from the callback' });
  await failedExit;

  for (let i = 0; i < 15; i++) {
    const worker = start(i % 3 === 0 ? 'native.watch(bell, true, () => process.exit());'
      : 'native.watch(bell, true, () => native.eventfdWrite(bell));');
    await once(worker, 'message');
    native.eventfdWrite(bell);
    if (i % 3 === 0) await once(worker, 'exit');
    else await worker.terminate();
  }
  t.equal(mapped(name), 0);
  native.closeFd(bell);
  native.closeFd(back);
});

t.test('a thousand rounds leave no descriptor and no mapping', { timeout: 60_000 }, async (t) => {
  const name = `tcpu-rounds-${process.pid}`;
  const path = freshPath();
  const listener = native.unixListen(path, 0o600);
  const arena = native.arena(1 << 20);
  const into = new Uint8Array(16);
  const fds = new Int32Array(9);
  const message = new Uint8Array(4);
  const round = async () => {
    const client = native.unixConnect(path);
    const server = native.unixAccept(listener);
    const file = native.memfd(name, PAGE);
    const bell = native.eventfd();
    const ear = native.eventfdListen(bell);
    native.unixSend(server, message, 0, 4, [file, ear]);
    native.unixReceive(client, into, fds);
    native.arenaMap(arena, PAGE, PAGE, file);
    native.map(fds[1]!, PAGE);
    const heard = readable(fds[2]!, true);
    native.eventfdWrite(bell);
    await heard;
    native.watch(server, false, () => {});
    native.arenaUnmap(arena, PAGE, PAGE);
    for (const fd of [client, server, file, bell, ear, fds[1]!, fds[2]!]) native.closeFd(fd);
  };
  await round();
  const before = descriptors();
  for (let i = 0; i < 1000; i++) await round();
  t.equal(descriptors(), before);
  await until(() => {
    gc();
    return mapped(name) === 0;
  });
  native.closeFd(listener);
});

t.test('waiting awake for a word', { timeout: 20_000 }, async (t) => {
  const words = new Int32Array(new SharedArrayBuffer(16));
  words[1] = -5;
  const begin = performance.now();
  t.equal(native.awaitChange(words, 1, -5, 2000), 0, 'it is as it was');
  t.ok(performance.now() - begin >= 2, 'for as long as was asked');
  t.equal(native.awaitChange(words, 1, 5, 10_000_000), 1, 'it is another at once');
  t.equal(native.awaitChange(words, 4, 0, 1), -EINVAL, 'there is no such word');
  const worker = new Worker('const { workerData } = require("worker_threads"); workerData[2] = 1; while (workerData[3] === 0); workerData[0] = 7;',
    { eval: true, workerData: words });
  t.equal(native.awaitChange(words, 2, 0, 10_000_000), 1, 'the other thread has begun');
  words[3] = 1;
  t.equal(native.awaitChange(words, 0, 0, 10_000_000), 1);
  t.equal(words[0], 7);
  await once(worker, 'exit');
});

t.test('nonsense from JavaScript is an errno', async (t) => {
  const nonsense = [undefined, null, NaN, -1, 1.5, 2 ** 31, 2 ** 53, Infinity, '', 'x', true, {}, [], () => {}, Symbol('s'), 5n,
    new Uint8Array(0), new Int32Array(4), new Float64Array(2), new ArrayBuffer(8), new DataView(new ArrayBuffer(8)),
    new SharedArrayBuffer(8), new Proxy({}, {})];
  const functions = Object.entries(native as unknown as Record<string, unknown>)
    .filter(([name]) => ['arenaMap', 'arenaUnmap', 'map', 'eventfdListen', 'eventfdWrite', 'awaitChange', 'unixAccept', 'unixPeer', 'unixSend',
      'unixReceive', 'unixCall', 'watch', 'watchRef', 'watchUnref', 'unwatch', 'closeFd'].includes(name)) as
    [string, (...args: unknown[]) => unknown][];
  t.equal(functions.length, 16);
  let seed = 1;
  const pick = () => nonsense[(seed = (seed * 48271) % 0x7fffffff) % nonsense.length];
  const before = descriptors();
  for (const [name, f] of functions) {
    f();
    for (let i = 0; i < 400; i++) {
      const result = f(pick(), pick(), pick(), pick(), pick());
      if (typeof result === 'number' && result >= 0) t.fail(`${name} took it: ${result}`);
    }
  }
  const arena = native.arena(PAGE);
  try {
    structuredClone(arena, { transfer: [arena] });
  } catch { /* Node 20 copies, later ones refuse. */ }
  t.equal(arena.byteLength, PAGE, 'an arena is not transferred to another thread');
  const { transfer } = arena as { transfer?: () => ArrayBuffer };
  if (transfer !== undefined) {
    const moved = transfer.call(arena);
    t.equal(native.arenaMap(arena, 0, PAGE, 0), -EINVAL, 'detached');
    t.equal(native.arenaUnmap(moved, 0, PAGE), -EINVAL, 'and what it went to is none');
    t.equal(new Uint8Array(moved)[0], 0);
  }
  t.equal(descriptors(), before);
  const [a, b] = await connectedPair();
  t.equal(native.unixReceive(a, new Int32Array(4) as unknown as Uint8Array, null), -EINVAL);
  t.equal(native.unixReceive(a, new Uint8Array(4), new Int32Array(0)), -EINVAL);
  t.equal(native.unixSend(a, new Uint8Array(4), 0, 4, {} as number[]), -EINVAL);
  native.closeFd(a);
  native.closeFd(b);
});
