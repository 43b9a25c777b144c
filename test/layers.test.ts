/**
 * The invariants of the layers (docs/ARCHITECTURE.md), read from the imports of lib/:
 * cli → services → sim → net → tcpu → tcpk → kernel → home → channel → tcp → ip → link → buffer → wire, never upwards and no cycles; the engine has no
 * clock, no timer, no Node; the addon has one door.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const lib = join(dirname(fileURLToPath(import.meta.url)), '..', 'lib');

/** From the top down. A layer may import itself and what comes later. */
const layers = ['cli', 'services', 'sim', 'net', 'tcpu', 'tcpk', 'kernel', 'home', 'channel', 'tcp', 'ip', 'link', 'buffer', 'wire'];
/** Words that every layer may use. */
const vocabulary = new Set(['socket.ts', 'errno.ts', 'clock.ts', 'random.ts', 'limits.ts']);
/** Files that put the layers together; only the top may know them. */
const composition = new Set(['stack.ts', 'attach.ts', 'over-udp.ts', 'api.ts', 'index.ts']);
/** Libraries outside of Node that lib/ uses, and who may. */
const libraries: Record<string, string[]> = {
  debug: ['link', 'net', 'tcpk', 'services', 'cli', 'stack.ts'],
  commander: ['cli'],
  'ip-num': ['ip', 'link', 'cli', 'services', 'net'],
};

interface Import {
  /** Of lib/, with slashes. */
  file: string;
  /** First part of the path: a layer, or a file of lib/ itself. */
  layer: string;
  /** Target: a path of lib/, or a bare name. */
  to: string;
  typeOnly: boolean;
}

const sources = new Map<string, string>();
for (const name of readdirSync(lib, { recursive: true, encoding: 'utf8' })) {
  if (name.endsWith('.ts')) sources.set(name.replaceAll('\\', '/'), readFileSync(join(lib, name), 'utf8'));
}

/** The code without comments and without the contents of strings; import paths are read before. */
function bare(source: string): string {
  return source.replace(/\/\*[^]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1').replace(/'(?:[^'\\\n]|\\.)*'/g, "''")
    .replace(/`[^`]*`/g, '``');
}

function importsOf(file: string, source: string): Import[] {
  const code = source.replace(/\/\*[^]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const list: Import[] = [];
  const pattern = /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:[^'";]*?\sfrom\s+)?'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g;
  for (const match of code.matchAll(pattern)) {
    const target = match[2] ?? match[3]!;
    const to = target.startsWith('.') ? relative(lib, join(lib, dirname(file), target)).replaceAll('\\', '/') : target;
    list.push({ file, layer: file.split('/')[0]!, to, typeOnly: match[1] !== undefined });
  }
  return list;
}

const imports = [...sources].flatMap(([file, source]) => importsOf(file, source));
const inside = imports.filter((i) => sources.has(i.to));

t.test('the reader of imports sees them', (t) => {
  t.ok(sources.size > 50, `${sources.size} files`);
  t.ok(imports.length > 300, `${imports.length} imports`);
  t.ok(inside.some((i) => i.file === 'tcp/input.ts' && i.to === 'tcp/segment.ts'));
  const example = "import { a,\n  b } from '../wire/y.ts';\nimport type { C } from 'node:fs';\nimport 'z';\n// import 'no';";
  t.same(importsOf('tcp/x.ts', example).map((i) => [i.to, i.typeOnly]), [['wire/y.ts', false], ['node:fs', true], ['z', false]]);
  for (const { file, to } of imports) {
    if (!sources.has(to) && to.includes('/') && !/^node:|^@/.test(to)) t.match(to, /\.json$/, `${file}: ${to} is not there`);
  }
  t.end();
});

t.test('every directory of lib/ is a layer', (t) => {
  const known = new Set([...layers, ...vocabulary, ...composition]);
  for (const file of sources.keys()) t.ok(known.has(file.split('/')[0]!), file);
  t.end();
});

t.test('imports point down', (t) => {
  for (const { file, layer, to } of inside) {
    const target = to.split('/')[0]!;
    if (composition.has(layer)) continue;
    if (vocabulary.has(target) || target === layer) continue;
    if (vocabulary.has(layer)) {
      t.fail(`${file}, a word of all layers, imports ${to}`);
    } else if (composition.has(target)) {
      t.ok(['cli', 'services', 'sim'].includes(layer), `${file} imports ${to}: only cli, services and sim stand on the whole stack`);
    } else {
      t.ok(layers.indexOf(target) > layers.indexOf(layer), `${file} imports ${to}`);
    }
  }
  t.end();
});

t.test('no cycles between files, but for types', (t) => {
  const graph = new Map<string, string[]>();
  for (const { file, to, typeOnly } of inside) if (!typeOnly) graph.set(file, [...(graph.get(file) ?? []), to]);
  // The engine's own files call each other in circles (input, output, timers, user); across directories there are none.
  const state = new Map<string, number>();
  const visit = (file: string, path: string[]): void => {
    if (state.get(file) === 2) return;
    if (state.get(file) === 1) {
      const circle = path.slice(path.indexOf(file));
      const homes = new Set(circle.map((f) => f.split('/')[0]));
      if (homes.size > 1) t.fail(`a cycle: ${circle.join(' → ')}`);
      return;
    }
    state.set(file, 1);
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    state.set(file, 2);
  };
  for (const file of graph.keys()) visit(file, []);
  t.pass();
  t.end();
});

t.test('the engine, IP and the wire know no Node, no clock, no timer, no log, no promise', (t) => {
  const words = new RegExp('\\b(Date|performance|setTimeout|setInterval|setImmediate|queueMicrotask|process|console|Buffer'
    + '|Promise|async|await|require|globalThis)\\b');
  for (const [file, source] of sources) {
    if (!/^(tcp|ip|wire)\//.test(file)) continue;
    const found = words.exec(bare(source));
    t.equal(found, null, `${file}${found === null ? '' : ` uses ${found[0]}`}`);
    for (const i of importsOf(file, source)) {
      t.ok(sources.has(i.to) || file.startsWith('ip/') && i.to === 'ip-num', `${file} imports ${i.to}`);
    }
  }
  t.end();
});

t.test('buffers and the kernel-style hosts start no timer and read no clock of Node\'s', (t) => {
  const words = /\b(Date|performance|setTimeout|setInterval|setImmediate|console|Promise|async|await)\b/;
  for (const [file, source] of sources) {
    if (!/^(buffer|home|kernel)\//.test(file)) continue;
    const found = words.exec(bare(source));
    t.equal(found, null, `${file}${found === null ? '' : ` uses ${found[0]}`}`);
    for (const i of importsOf(file, source)) t.notMatch(i.to, /^node:/, `${file} imports ${i.to}`);
  }
  t.end();
});

t.test('one door to the addon', (t) => {
  for (const [file, source] of sources) {
    if (/\bloadNative\b/.test(bare(source))) t.ok(['link/native.ts', 'link/tun.ts', 'channel/native.ts'].includes(file), `${file} loads the addon`);
  }
  for (const [file, source] of sources) {
    if (/\bcreateRequire\b|\bdlopen\b|\.node'/.test(source)) t.equal(file, 'link/native.ts', `${file} loads an addon`);
  }
  t.end();
});

t.test('libraries are used where they belong', (t) => {
  for (const { file, layer, to } of imports) {
    if (sources.has(to) || to.startsWith('node:') || to.startsWith('.') || to.includes('package.json')) continue;
    t.ok(libraries[to]?.includes(layer), `${file} imports ${to}`);
  }
  t.end();
});
