/** The command line `tcpu`: commands, help, and how errors become sentences and exit codes. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import createDebug from 'debug';
import { addBuildNative } from './build-native.ts';
import { addDemo } from './demo.ts';
import { CliError, EXIT_FAILURE, EXIT_USAGE } from './exit.ts';
import { addNc } from './nc.ts';
import { asCliError } from './open-stack.ts';
import { addPing } from './ping.ts';
import { addServe } from './serve.ts';
import { addSs } from './ss.ts';
import { addStat } from './stat.ts';
import { addUp } from './up.ts';

const debug = createDebug('tcpu:cli');

/** package.json, from the sources and from dist/. */
function version(): string {
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {
      // The other one.
    }
  }
  return 'unknown';
}

/** The program with all its commands. */
export function createProgram(): Command {
  const program = new Command('tcpu')
    .description('A TCP/IP stack in user space, on a TUN device.')
    .version(version(), '-V, --version')
    .helpOption('-h, --help', 'explain a command')
    .option('--log <names>', "what to log on stderr, as with DEBUG: 'tcpu:*', 'tcpu:link' (every packet), 'tcpu:iperf3', …")
    .on('option:log', (names: string) => createDebug.enable(names))
    .showHelpAfterError('(tcpu --help explains; tcpu help COMMAND explains a command)')
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'tcpu: ')) })
    .exitOverride()
    .addHelpText('after', `
Examples:
  $ tcpu demo                                   bring a stack up and let Linux talk to it; needs no setup
  $ sudo tcpu up --serve echo,http,iperf3       a stack at 10.90.0.2 and fd90::2, until Ctrl-C
    $ ping 10.90.0.2; curl http://10.90.0.2/bytes/1000000 | wc -c; iperf3 -c 10.90.0.2
  $ sudo tcpu serve http@8080                   a service in a process of its own, attached to that stack
  $ sudo tcpu ss -ai; sudo tcpu stat            what it and its applications have open, and have counted
  $ sudo tcpu ping 10.90.0.1                    a stack of its own pings Linux
  $ sudo tcpu ping --attach 10.90.0.1           so does the running one
  $ echo hello | sudo tcpu nc -N 10.90.0.1 7000 a stack of its own connects to a server of Linux

Making a TUN device takes root, or CAP_NET_ADMIN, or a namespace of one's own (unshare -Urn).
Exit codes: 0 done, 1 it did not work (a sentence on stderr says why), 2 wrong usage, 130 interrupted twice.`);
  addUp(program);
  addServe(program);
  addSs(program);
  addStat(program);
  addPing(program);
  addNc(program);
  addDemo(program);
  addBuildNative(program);
  for (const command of program.commands) command.exitOverride().showHelpAfterError(false);
  return program;
}

/** Runs the command line; ends the process. */
export async function run(argv: readonly string[]): Promise<void> {
  // Whoever reads the output may leave.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  process.exitCode = await runProgram(argv);
  // Everything is closed now; what keeps the process is a pipe at most.
  await drained(process.stdout);
  process.exit();
}

/** Runs the command line; resolves with the exit code. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  try {
    await createProgram().parseAsync(argv as string[]);
    return Number(process.exitCode ?? 0);
  } catch (thrown) {
    const error = asCliError(thrown);
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (error instanceof CliError) {
      process.stderr.write(`tcpu: ${error.message}\n`);
      debug('%O', thrown);
      return error.exitCode;
    }
    process.stderr.write(`tcpu: a defect: ${error instanceof Error ? error.stack : String(error)}\n`);
    return EXIT_FAILURE;
  }
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.writableLength === 0 || stream.destroyed) resolve();
    else stream.write('', () => resolve());
  });
}
