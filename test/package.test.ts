/**
 * The package as npm publishes it: what is in it, that it can be imported and type-checked from an empty
 * project, that all but TUN works without the addon, and that the addon can be built where it is installed.
 *
 * It is packed from a copy, so that nobody's dist/ changes, and unpacked with its dependencies linked
 * from here, so that no registry is needed.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const { version, dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string; dependencies: Record<string, string>;
};

const directory = mkdtempSync(join(tmpdir(), 'tcpu-package-'));
const source = join(directory, 'source');
const consumer = join(directory, 'consumer');
const installed = join(consumer, 'node_modules/tcpu');
t.teardown(() => rmSync(directory, { recursive: true }));

function run(cwd: string, command: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  // What npm says of the test command is not for commands of the test, nor are tap's hooks for child processes.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_(?!config_)|^TAP/.test(name)));
  const { status, stdout, stderr, error } = spawnSync('env', ['-u', 'NODE_OPTIONS', command, ...args], {
    cwd, env, encoding: 'utf8', timeout: 100_000,
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

function write(name: string, text: string): void {
  writeFileSync(join(consumer, name), text);
}

/** Paths in the tarball. */
let files: string[] = [];

t.test('npm pack', { timeout: 120_000, bail: true }, async (t) => {
  const parts = [
    'package.json', 'README.md', 'LICENSE', 'tsconfig.json', 'tsconfig.build.json', 'bin', 'lib', 'native', 'scripts', 'docs',
    'docker', 'examples', 'test', 'bench',
  ];
  const build = join(ROOT, 'native/build');
  for (const part of parts) cpSync(join(ROOT, part), join(source, part), { recursive: true, filter: (path) => path !== build });
  symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'));
  // What an earlier build left of a file that is no more must not be packed.
  mkdirSync(join(source, 'dist/lib'), { recursive: true });
  writeFileSync(join(source, 'dist/lib/left-over.js'), '');
  const packed = run(source, 'npm', 'pack', '--json', '--offline');
  t.equal(packed.status, 0, packed.stderr);
  // The scripts that npm runs may print before it.
  const listing = JSON.parse(packed.stdout.slice(packed.stdout.search(/^[[{]/m))) as object;
  const [about] = Object.values(listing) as { filename: string; files: { path: string }[] }[];
  files = about!.files.map((file) => file.path);
  mkdirSync(installed, { recursive: true });
  const unpacked = run(directory, 'tar', '-xzf', join(source, about!.filename), '-C', installed, '--strip-components=1');
  t.equal(unpacked.status, 0, unpacked.stderr);
  for (const name of [...Object.keys(dependencies), 'ms', '@types/node', 'undici-types']) {
    const link = join(consumer, 'node_modules', name);
    mkdirSync(join(link, '..'), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), link);
  }
  write('package.json', '{ "private": true, "type": "module" }');
});

t.test('what is in it', async (t) => {
  const wanted = [
    'package.json', 'README.md', 'LICENSE', 'bin/tcpu', 'dist/lib/index.js', 'dist/lib/index.d.ts', 'dist/lib/cli/main.js',
    'native/addon.c', 'native/tun.h', 'native/binding.gyp', 'scripts/build-native.mjs', 'docs/ARCHITECTURE.md',
    'docs/SIMULATION.md', 'dist/lib/sim/index.js',
  ];
  for (const path of wanted) t.ok(files.includes(path), path);
  const allowed = new RegExp([
    'package\\.json', 'README\\.md', 'LICENSE', 'bin/tcpu', 'dist/lib/.*\\.(js|d\\.ts)', 'native/[\\w-]+\\.[ch]',
    'native/binding\\.gyp', 'scripts/build-native\\.mjs', 'docs/[A-Z-]+\\.md',
  ].map((part) => `^${part}$`).join('|'));
  t.same(files.filter((path) => !allowed.test(path)), [], 'and nothing else');
  t.notOk(files.includes('dist/lib/left-over.js'), 'dist/ is built afresh');
});

t.test('imported without the addon', { timeout: 60_000 }, async (t) => {
  write('index.js', `
    import assert from 'node:assert/strict';
    import { createMemoryPair, createStack, openTun } from 'tcpu';

    const [left, right] = createMemoryPair();
    const a = createStack({ link: left, addresses: ['10.0.0.1/24'] });
    const b = createStack({ link: right, addresses: ['10.0.0.2/24'] });
    b.net.createServer((socket) => socket.pipe(socket)).listen(7);
    const socket = a.net.connect(7, '10.0.0.2');
    socket.end('hello');
    let text = '';
    for await (const piece of socket) text += piece;
    assert.equal(text, 'hello');
    await a.close();
    await b.close();

    assert.throws(() => openTun(), (error) => {
      console.log(error.message);
      return error.code === 'ERR_TCPU_NATIVE';
    });
  `);
  const { status, stdout, stderr } = run(consumer, process.execPath, 'index.js');
  t.equal(stderr, '');
  t.equal(status, 0);
  t.match(stdout, /not built; run `npx tcpu build-native`/, 'openTun says what to do');
});

t.test('the simulator', { timeout: 60_000 }, async (t) => {
  write('sim.js', `
    import { createSimulation } from 'tcpu/sim';

    const sim = createSimulation({ seed: 2 });
    const [a, b] = ['10.0.0.1', '10.0.0.2'].map((address) => sim.host({ address }));
    sim.link(a, b, { delayMs: 25 });
    b.net.createServer((socket) => socket.end('there')).listen(7);
    await sim.run(async () => {
      for await (const piece of a.net.connect(7, b.address)) console.log(String(piece), sim.nowMs);
    });
  `);
  const { stdout, stderr, status } = run(consumer, process.execPath, 'sim.js');
  t.same({ stdout, stderr, status }, { stdout: 'there 100\n', stderr: '', status: 0 });
});

t.test('only the entries and package.json can be imported', async (t) => {
  write('inside.js', "import('tcpu/dist/lib/stack.js').catch((error) => console.log(error.code));");
  t.equal(run(consumer, process.execPath, 'inside.js').stdout, 'ERR_PACKAGE_PATH_NOT_EXPORTED\n');
});

t.test('types', { timeout: 60_000 }, async (t) => {
  write('types.ts', `
    import { PacketLink, SeededRandom, VirtualClock, constants, createMemoryPair, createStack, errno, openTun, ping } from 'tcpu';
    import { createSimulation } from 'tcpu/sim';
    import type { LinkOptions } from 'tcpu/sim';
    import type { BsdSocket, Link, LinkHost, PacketBatch, Stack, TcpInfo, TransmitQueue } from 'tcpu';

    const [left] = createMemoryPair({ clock: new VirtualClock() });
    export const stack: Stack = createStack({ link: left, addresses: ['fd00::1/64'], random: new SeededRandom(1) });
    export const socket: BsdSocket | number = stack.socket(constants.AF_INET6);
    export const info: TcpInfo | null = stack.net.connect(7, 'fd00::2').tcpInfo();
    export const links: Link[] = [new PacketLink({ send() {} }), openTun({ name: 'tun7' })];
    export class Mine implements Link {
      readonly name = 'mine';
      readonly mtu = 1500;
      readonly features = 0;
      attach(host: LinkHost): void { const batch: PacketBatch | null = null; if (batch) host.input(batch); }
      send(queue: TransmitQueue): void { queue.head = queue.tail; }
      ref(): void {}
      unref(): void {}
      close(): void {}
    }
    for await (const result of ping(stack, 'fd00::2', { count: 1 })) console.log(result.timeMs, errno.EAGAIN);
    const bad: LinkOptions = { rate: '1Gbit', loss: { gilbertElliott: { p: 0.01, r: 0.3 } }, queue: { discipline: 'codel' } };
    export const made = await createSimulation({ seed: 1 }).run(() => bad.rate);
    // @ts-expect-error there is no such option
    createStack({ link: left, addresses: [], adresses: [] });
  `);
  write('tsconfig.json', JSON.stringify({
    compilerOptions: {
      target: 'es2022', module: 'nodenext', lib: ['es2023', 'esnext.disposable'], types: ['node'], strict: true, noEmit: true,
    },
    files: ['types.ts'],
  }));
  const { status, stdout } = run(consumer, join(ROOT, 'node_modules/.bin/tsc'), '-p', '.');
  t.equal(stdout, '');
  t.equal(status, 0);
});

t.test('the command line, and the addon built where it is installed', { timeout: 120_000 }, async (t) => {
  const tcpu = join(installed, 'bin/tcpu');
  t.equal(run(consumer, tcpu, '--version').stdout, `${version}\n`);
  const up = run(consumer, tcpu, 'up');
  t.equal(up.status, 1);
  t.match(up.stderr, /^tcpu: .*not built; run `npx tcpu build-native`/);
  const built = run(consumer, tcpu, 'build-native');
  t.equal(built.status, 0, built.stderr);
  t.ok(existsSync(join(installed, 'native/build/Release/tcpu.node')));
  // A name that is taken by what is no TUN device: refused by the addon, whoever asks, and nothing is made.
  write('tun.js', `
    import { TunError, openTun } from 'tcpu';
    try {
      openTun({ name: 'lo' });
    } catch (error) {
      console.log(error instanceof TunError, error.message);
    }
  `);
  const tun = run(consumer, process.execPath, 'tun.js');
  t.match(tun.stdout, /^true /, 'the addon loads');
  t.same({ status: tun.status, stderr: tun.stderr }, { status: 0, stderr: '' });
});
