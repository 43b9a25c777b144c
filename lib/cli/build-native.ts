/** `tcpu build-native`: builds the addon that TUN devices and attaching need, for a package that was installed from a registry. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { CliError, EXIT_FAILURE } from './exit.ts';

/** scripts/build-native.mjs, from the sources and from dist/. */
const SCRIPTS = ['../../scripts/build-native.mjs', '../../../scripts/build-native.mjs'];

export function addBuildNative(program: Command): void {
  program.command('build-native')
    .description('build the native addon that TUN devices and attaching to a stack need (C compiler, make, python3)')
    .option('--force', 'build it though it is there and loads')
    .addHelpText('after', `
npm does not do this when it installs the package: run it once after \`npm install tcpu\`. Without the addon
all else works: stacks over other links, and TCP over UDP.`)
    .action((options: { force?: boolean }) => {
      const script = SCRIPTS.map((path) => fileURLToPath(new URL(path, import.meta.url))).find(existsSync);
      if (script === undefined) {
        throw new CliError('scripts/build-native.mjs is not in this installation; install the tcpu package anew');
      }
      const { status } = spawnSync(process.execPath, [script, ...(options.force ? ['--force'] : [])], { stdio: 'inherit' });
      process.exitCode = status ?? EXIT_FAILURE;
    });
}
