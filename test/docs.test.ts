/**
 * What the documents say: names and files that ARCHITECTURE.md speaks of exist, commands and options in
 * README.md are those of `--help`, links lead somewhere, examples type-check, and run where they can.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import t from 'tap';
import type { Test } from 'tap';
import { DEFAULT_WINDOW } from '../lib/channel/window.ts';
import { createProgram } from '../lib/cli/main.ts';
import { DEFAULT_ADDRESSES, DEFAULT_HOST_ADDRESSES, DEFAULT_TUN } from '../lib/cli/options.ts';
import { createMemoryPair, createStack } from '../lib/index.ts';
import { services } from '../lib/services/index.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DOCUMENTS = ['README.md', 'docs/ARCHITECTURE.md', 'docs/LIMITS.md', 'docs/SIMULATION.md', 'docker/README.md', 'bench/README.md'];

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Without code blocks, fenced or indented. */
function prose(markdown: string): string {
  return markdown.replace(/^```[^]*?^```$/gm, '').replace(/^ {4}.*$/gm, '');
}

function codeSpans(markdown: string): string[] {
  return [...prose(markdown).matchAll(/`([^`\n]+)`/g)].map((match) => match[1]!);
}

/** Code blocks of a language. */
function blocks(markdown: string, language: string): string[] {
  return [...markdown.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, 'gm'))].map((match) => match[1]!);
}

/** All sources of the project, as one text. */
function sources(): string {
  const parts: string[] = [];
  for (const folder of ['lib', 'native']) {
    for (const name of readdirSync(join(ROOT, folder), { recursive: true }) as string[]) {
      if (/\.(ts|c|h)$/.test(name) && !name.startsWith('build')) parts.push(read(join(folder, name)));
    }
  }
  return parts.join('\n');
}

const code = sources();

/** Whether a function, method, accessor or C function of this name is defined. */
function isDefined(name: string): boolean {
  const word = name.replace(/[$#]/g, '\\$&');
  return new RegExp(
    `\\bfunction\\*? ${word}\\b|^ +(?:(?:override|private|static|async|readonly|get|set) )*${word}\\([^\\n]*[{;(,]$`
    + `|^(?:static |inline )*[a-z_0-9]+ (?:\\w+ )?\\*?${word}\\(|^ +${word}: `, 'm',
  ).test(code);
}

function isMentioned(name: string): boolean {
  return new RegExp(`(?<![\\w$])${name.replace(/[$#]/g, '\\$&')}(?![\\w$])`).test(code);
}

t.test('names in ARCHITECTURE.md', async (t) => {
  // Of the world outside, and figures of speech.
  const foreign = new Set(['code form', 'depth', 'exit', '--offload off']);
  const program = createProgram();
  for (const span of new Set(codeSpans(read('docs/ARCHITECTURE.md')))) {
    if (foreign.has(span) || /^node:/.test(span)) continue;
    if (/^(lib|native|test|bench|docs|examples|docker|scripts|bin)\/|^native$/.test(span) || /\.md$/.test(span)) {
      t.ok(existsSync(join(ROOT, span)), `${span} exists`);
      continue;
    }
    if (span.startsWith('(')) continue;
    if (span.startsWith('tcpu ')) {
      checkCommand(t, program, span.split(' ').slice(1), span);
      continue;
    }
    const call = /^(?:([A-Za-z]\w*)\.)?([A-Za-z_#]\w*)\(\)$/.exec(span);
    if (call !== null) {
      const [, owner, name] = call;
      t.ok(isDefined(name!), `${span} is defined`);
      if (owner !== undefined) t.match(code, new RegExp(`\\b(class|interface) ${owner}\\b`), `${owner} of ${span} is defined`);
    } else {
      t.match(span, /^[\w#.]+$/, `${span} looks like a name`);
      for (const name of span.split('.')) t.ok(isMentioned(name), `${span} is in the sources`);
    }
  }
});

t.test('links', async (t) => {
  const anchors = (path: string): Set<string> => new Set([...read(path).matchAll(/^#+ (.*)$/gm)].map((match) => (
    match[1]!.toLowerCase().replace(/[^\w\- ]/g, '').replace(/ /g, '-')
  )));
  for (const document of DOCUMENTS) {
    for (const [, target] of read(document).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const [path, anchor] = target!.split('#') as [string, string?];
      const file = path === '' ? document : join(dirname(document), path);
      t.ok(existsSync(join(ROOT, file)), `${document}: ${target}`);
      if (anchor !== undefined) t.ok(anchors(file).has(anchor), `${document}: #${anchor}`);
    }
  }
});

t.test('the two commands', async (t) => {
  const lines = read('README.md').split('\n');
  const demo = lines.indexOf('    npm ci && npm run demo');
  const test = lines.indexOf('    npm ci && npm test');
  t.ok(demo > 0 && demo < 20, 'the first stands near the top');
  t.ok(test > demo && test < 20, 'and the second below it');
  t.equal(lines.filter((line) => /^ {4}npm ci/.test(line)).length, 2);
});

const scripts = Object.keys((JSON.parse(read('package.json')) as { scripts: object }).scripts);

/** The options of a command line that begins with `tcpu`, each of which must exist. */
function checkCommand(t: Test, program: Command, words: string[], line: string): void {
  if (words[0]!.startsWith('-') || words[0] === 'help') return;
  const command = program.commands.find((one) => one.name() === words[0]);
  t.ok(command, `${line}: the command ${words[0]}`);
  for (const word of words.slice(1)) {
    if (!/^--?[a-zA-Z]/.test(word)) continue;
    const known = command?.options.some((option) => option.short === word || option.long === word) || word === '--help';
    t.ok(known, `${line}: the option ${word}`);
  }
}

t.test('commands', async (t) => {
  const program = createProgram();
  const readme = read('README.md');
  let seen = 0;
  for (const document of DOCUMENTS) {
    const lines = blocks(read(document), 'sh').join('\n').replace(/\\\n/g, ' ').split('\n');
    for (const line of lines) {
      const plain = line.replace(/ +#.*/, '').split('|').at(-1)!.trim();
      const tcpu = /^(?:sudo )?(?:[A-Z]+=\S+ )*(?:npx )?(?:bin\/)?tcpu (.*)$/.exec(plain);
      if (tcpu !== null) {
        seen++;
        checkCommand(t, program, tcpu[1]!.split(/ +/), line);
      }
      // In a container's command line, what follows the image's name.
      const image = /^docker run .* tcpu (\S.*)$/.exec(plain);
      if (image !== null) checkCommand(t, program, image[1]!.split(/ +/), line);
      const npm = /\bnpm run ([\w:-]+)/.exec(plain);
      if (npm !== null) t.ok(scripts.includes(npm[1]!), `${line}: the script`);
    }
  }
  t.ok(seen >= 5, 'there are command lines to look at');
  for (const command of program.commands) t.match(readme, `tcpu ${command.name()}`, `README speaks of ${command.name()}`);
  const up = program.commands.find((one) => one.name() === 'up')!;
  for (const option of up.options) t.match(readme, option.long!, `README speaks of ${option.long}`);
  for (const service of services.values()) t.match(readme, `\`${service.name}\``, `README speaks of ${service.name}`);
  for (const value of [...DEFAULT_ADDRESSES, ...DEFAULT_HOST_ADDRESSES, DEFAULT_TUN]) t.match(readme, value);
});

t.test('options that README speaks of outside of examples', async (t) => {
  const known = new Set(createProgram().commands.flatMap((command) => command.options.flatMap((one) => [one.short, one.long])));
  // Of other programs.
  const foreign = new Set(['-R', '-P', '-6', '--bidir', '-Urn', '-n', '--import', '-ti', '--help']);
  for (const span of codeSpans(read('README.md'))) {
    for (const word of span.split(/[ =]/)) {
      if (/^-[a-zA-Z6]$|^--[a-z]/.test(word) && !foreign.has(word)) t.ok(known.has(word), `${span}: ${word}`);
    }
  }
});

t.test('functions and counters that README speaks of', async (t) => {
  const exported = Object.keys(await import('../lib/index.ts'));
  for (const span of codeSpans(read('README.md'))) {
    const counter = /^(?:tcp|ip)\.([A-Z]\w+)$/.exec(span)?.[1];
    if (counter !== undefined) t.ok(isMentioned(counter), span);
    const name = /^(?:new |stack\.|socket\.)?([A-Za-z]\w+)\(/.exec(span)?.[1];
    if (name !== undefined) t.ok(exported.includes(name) || isDefined(name), span);
  }
});

t.test('code in README', { timeout: 100_000 }, async (t) => {
  const examples = blocks(read('README.md'), 'ts');
  t.ok(examples.length >= 4);
  const directory = mkdtempSync(join(tmpdir(), 'tcpu-docs-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'run'));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({
    extends: join(ROOT, 'tsconfig.json'),
    compilerOptions: { paths: { tcpu: [join(ROOT, 'lib/index.ts')] }, typeRoots: [join(ROOT, 'node_modules/@types')] },
    include: [],
    files: examples.map((_, i) => `${i}.ts`),
  }));
  examples.forEach((text, i) => {
    writeFileSync(join(directory, `${i}.ts`), text);
    writeFileSync(join(directory, 'run', `${i}.ts`), text.replaceAll("from 'tcpu'", `from '${join(ROOT, 'lib/index.ts')}'`));
  });
  // tap's hooks for child processes (NODE_OPTIONS) do not suit every program.
  const run = (...args: string[]) => (
    spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, ...args], { cwd: ROOT, encoding: 'utf8', timeout: 60_000 })
  );
  const tsc = run(join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', directory);
  t.equal(tsc.stdout + tsc.stderr, '');
  t.equal(tsc.status, 0, 'they type-check');
  // The running stack that some attach to, at its default path, with an echo service.
  const [link] = createMemoryPair();
  const stack = createStack({ link, addresses: DEFAULT_ADDRESSES, applications: true });
  const control = stack.listen({ path: join(directory, 'tcpu.sock') });
  t.teardown(async () => {
    control.close();
    await stack.close();
  });
  stack.net.createServer((socket) => socket.pipe(socket)).listen(7);
  for (const [i, text] of examples.entries()) {
    // A TUN device takes rights; examples with one are tested in examples.test.ts.
    if (text.includes('openTun')) continue;
    const child = spawn('env', [
      '-u', 'NODE_OPTIONS', '-u', 'TCPU_SOCKET', `XDG_RUNTIME_DIR=${directory}`, process.execPath, '--import=tsx', join(directory, 'run', `${i}.ts`),
    ], { cwd: ROOT, timeout: 30_000 });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) child[name].setEncoding('utf8').on('data', (piece: string) => (output[name] += piece));
    const [status] = await once(child, 'close') as [number | null];
    t.equal(output.stderr, '', `example ${i} complains of nothing`);
    t.equal(status, 0, `example ${i} runs and ends`);
    if (text.includes('console.log(String(')) t.match(output.stdout, /^hello$/m, `example ${i} says hello`);
  }
  t.equal(stack.tcpk!.counters.Attached, 2, 'two of them have attached');
});

t.test('sizes that README speaks of', async (t) => {
  const readme = read('README.md');
  t.match(readme, `half of its window's memory on one connection (by default ${(DEFAULT_WINDOW.memory >> 1) / (1 << 20)} MiB)`);
  t.match(readme, `its receive ring (by default ${DEFAULT_WINDOW.rxRing / (1 << 20)} MiB)`);
});

t.test('what the container is built from', async (t) => {
  const dockerfile = read('docker/Dockerfile');
  const sent = new Set([...read('.dockerignore').matchAll(/^!(.*)$/gm)].map((match) => match[1]!));
  for (const [, list] of dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)) {
    for (const path of list!.split(' ')) {
      t.ok(existsSync(join(ROOT, path)), `${path} exists`);
      t.ok(sent.has(path), `.dockerignore lets ${path} through`);
    }
  }
  const program = createProgram();
  const command = /^CMD (\[.*\])$/m.exec(dockerfile)![1]!;
  checkCommand(t, program, JSON.parse(command) as string[], `CMD ${command}`);
  const compose = [...read('docker/compose.yaml').matchAll(/^ {4}command: \[((?:up|serve).*)\]$/gm)].map((match) => match[1]!);
  t.equal(compose.length, 2);
  for (const words of compose) checkCommand(t, program, words.split(', '), `command: ${words}`);
  const { dependencies } = JSON.parse(read('package.json')) as { dependencies: object };
  for (const name of Object.keys(dependencies)) if (name !== 'node-gyp') t.match(read('docker/README.md'), `\`${name}\``);
});

t.test('every example is in README, and tested', async (t) => {
  const readme = read('README.md');
  const tests = read('test/examples.test.ts');
  for (const name of readdirSync(join(ROOT, 'examples'))) {
    t.match(readme, `(examples/${name})`);
    t.match(tests, `'${name}'`);
  }
});
