#!/usr/bin/env node
/**
 * Builds the native addon (TUN devices) with node-gyp: native/*.c -> native/build/Release/tcpu.node.
 *
 *     node scripts/build-native.mjs [--force]
 *
 * Does nothing when the addon is newer than its sources and loads. The build runs in a temporary folder
 * and the result is put in place with a rename, so that processes that have the old one mapped, and
 * builds at the same time, do no harm.
 *
 * The addon uses Node-API and libuv's stable uv_poll only, so one build serves every Node; headers of
 * another version than the running one will do. They are looked for beside the running node, then in the
 * usual places; node-gyp downloads them when there are none.
 */

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const script = fileURLToPath(import.meta.url);
const nativeFolder = join(dirname(script), '..', 'native');
const target = join(nativeFolder, 'build', 'Release', 'tcpu.node');
const sources = readdirSync(nativeFolder).filter((name) => /\.(c|h|gyp)$/.test(name));

/** What a person can do something about: printed as one sentence, without a stack. */
class BuildError extends Error {}

function fail(message) {
  throw new BuildError(message);
}

function isUpToDate() {
  if (!existsSync(target)) return false;
  const builtMs = statSync(target).mtimeMs;
  if ([script, ...sources.map((name) => join(nativeFolder, name))].some((file) => statSync(file).mtimeMs > builtMs)) return false;
  try {
    require(target);
    return true;
  } catch {
    return false;
  }
}

/** Whether `command` can be run at all. */
function runs(command, ...args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}

function checkTools() {
  const compilers = process.env.CC ? [process.env.CC] : ['cc', 'gcc', 'clang'];
  if (!compilers.some((compiler) => runs(compiler, '--version'))) {
    fail('no C compiler found; install one (Debian: apt install build-essential; Alpine: apk add build-base), or set CC.');
  }
  if (!runs('make', '--version')) {
    fail('make not found; install it (Debian: apt install build-essential; Alpine: apk add build-base).');
  }
  const pythons = [process.env.npm_config_python, process.env.PYTHON, 'python3', 'python'].filter(Boolean);
  if (!pythons.some((python) => runs(python, '--version'))) {
    fail('python3 not found, which node-gyp needs; install it (Debian: apt install python3; Alpine: apk add python3).');
  }
}

/** The folder that holds include/node/, or null. */
function findHeaders() {
  const prefix = join(dirname(process.execPath), '..');
  return [prefix, '/usr', '/usr/local'].find((folder) =>
    ['node_api.h', 'uv.h', 'common.gypi'].every((name) => existsSync(join(folder, 'include', 'node', name)))) ?? null;
}

function build() {
  let gyp;
  try {
    gyp = require.resolve('node-gyp/bin/node-gyp.js');
  } catch {
    fail('node-gyp is not installed; run `npm ci` first.');
  }
  const folder = mkdtempSync(join(tmpdir(), 'tcpu-native-'));
  try {
    for (const name of sources) copyFileSync(join(nativeFolder, name), join(folder, name));
    const headers = findHeaders();
    const args = [gyp, 'rebuild', '-C', folder, '--loglevel=error'];
    if (headers !== null) args.push(`--nodedir=${headers}`);
    const result = spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, V: '1' } });
    const output = `${result.stdout}${result.stderr}`;
    if (result.status !== 0) {
      console.error(output);
      fail(headers === null && /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT/.test(output)
        ? `the headers of Node ${process.version} are not on this machine and could not be downloaded; install them`
          + ' (Debian: apt install libnode-dev) or build with a Node that has them in <prefix>/include/node.'
        : 'the compiler or node-gyp failed; its output is above.');
    }
    if (/warning:/.test(output)) console.error(output);
    mkdirSync(dirname(target), { recursive: true });
    const fresh = `${target}.${process.pid}`;
    copyFileSync(join(folder, 'build', 'Release', 'tcpu.node'), fresh);
    renameSync(fresh, target);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function main() {
  if (process.platform !== 'linux') {
    console.error('build-native: TUN devices are for Linux only; nothing to build here.');
  } else if (process.argv.includes('--force') || !isUpToDate()) {
    checkTools();
    build();
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  console.error(`build-native: ${error.message}`);
  process.exitCode = 1;
}
