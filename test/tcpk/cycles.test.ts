/**
 * A thousand applications come and go, and a thousand are killed in the middle of a connection: neither they
 * nor the stack keep a descriptor, memory, a binding, or a flow.
 */

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { createMemoryPair, createStack } from '../../lib/index.ts';
import type { Stack } from '../../lib/index.ts';

const here = dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);
const CYCLES = 1000;
const WARM_UP = 20;

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Resident memory without the heap of JavaScript, which grows and shrinks as it likes; bytes. */
function residentOutsideOfHeap(): number {
  const pages = Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[1]);
  return pages * 4096 - process.memoryUsage().heapTotal;
}

function twoStacks(folder: string): { stack: Stack; other: Stack; path: string } {
  const [a, b] = createMemoryPair();
  const stack = createStack({ link: a, addresses: ['10.0.0.1/24'], applications: true });
  const other = createStack({ link: b, addresses: ['10.0.0.2/24'] });
  const path = join(folder, 'stack.sock');
  stack.listen({ path });
  stack.ref();
  return { stack, other, path };
}

async function until(done: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 10_000;
  while (!done()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

for (const [name, command, args] of [
  ['attached and closed', process.execPath, (path: string, cycles: number) => ['--import=tsx', join(here, 'attach-cycles.ts'), path, String(cycles), '10.0.0.2']],
  ['killed', 'python3', (path: string, cycles: number) => [join(here, 'raw-client.py'), path, 'kill-cycles', String(cycles), '10.0.0.2', '2000']],
] as const) {
  t.test(`${CYCLES} applications, ${name}, leave nothing behind`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'tcpu-cycles-'));
    const { stack, other, path } = twoStacks(folder);
    t.teardown(async () => {
      await stack.close({ graceful: false });
      await other.close({ graceful: false });
      rmSync(folder, { recursive: true, force: true });
    });
    const echo = other.net.createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(9);
    t.teardown(() => echo.close());
    const tcpk = stack.tcpk!;
    const free = stack.windows!.freeBytes;
    const cycle = async (cycles: number): Promise<void> => {
      const { stderr } = await run(command, args(path, cycles), { timeout: 100_000 });
      t.equal(stderr, '');
      await until(() => tcpk.applications.size === 0 && tcpk.leaving === 0, 'the last application to be gone');
    };
    // The first ones make what stays: buffers, tables, compiled code. And what loading has opened is closed by then.
    await cycle(WARM_UP);
    const descriptors = openDescriptors();
    const before = residentOutsideOfHeap();
    await cycle(CYCLES);
    t.equal(tcpk.counters.Attached, WARM_UP + CYCLES);
    t.equal(tcpk.counters.Detached, WARM_UP + CYCLES);
    t.equal(tcpk.table.flows, 0, 'no flow');
    t.equal(tcpk.table.bound, 0, 'no binding');
    for (let port = 2000; port < 2100; port++) if (stack.ports.bindings.inUse(port)) t.fail(`port ${port} is in use`);
    t.equal(stack.windows!.freeBytes, free, 'no window');
    t.ok(openDescriptors() <= descriptors, `no descriptor: ${openDescriptors()} are open, ${descriptors} were`);
    t.equal(tcpk.counters.Expelled, 0);
    t.equal(tcpk.counters.Violations, 0);
    // A window is 1.3 MiB at least, so one of five would be seen. (Some tens of MiB come and go with the version of Node.)
    const grown = residentOutsideOfHeap() - before;
    t.ok(grown < 256 << 20, `no memory: ${(grown / 1048576).toFixed(1)} MiB`);
    await until(() => other.tcp.connections === 0, 'the peer to hear of the end of every connection');
    t.equal(stack.memory.freeBlocks, stack.memory.blockCount, 'no packet memory');
  });
}
