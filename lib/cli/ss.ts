/** `tcpu ss`: the connections of a running stack and of all applications attached to it, after ss(8). */

import type { Command } from 'commander';
import { queryStack } from '../channel/process-channel.ts';
import type { OwnedConnection } from '../tcpk/survey.ts';
import { addSocketOption, socketPath } from './control-options.ts';
import type { SocketOptions } from './control-options.ts';
import { asCliError } from './open-stack.ts';
import { formatConnections } from './ss-format.ts';

interface SsOptions extends SocketOptions {
  info?: boolean;
  listening?: boolean;
  all?: boolean;
  json?: boolean;
}

export function addSs(program: Command): void {
  const command = program.command('ss')
    .description('list the TCP connections of a running stack and of the applications attached to it')
    .option('-i, --info', 'with the figures of each, in the words of ss(8)')
    .option('-l, --listening', 'listeners only')
    .option('-a, --all', 'listeners and TIME-WAIT, too')
    .option('--json', 'print a JSON array, with every connection as one object');
  addSocketOption(command)
    .addHelpText('after', `
TCP is 'kernel' for the stack's own TCP and 'tcpu' for that of an application. The last column names whom a connection
belongs to: 'kernel' for the stack's own process, or an application, as pid/name. States and queues that only an
application knows are '?' when it does not answer within half a second. For a listener, Recv-Q has the
connections that wait to be accepted, Send-Q the most that may.

Examples:
  $ tcpu ss
  $ tcpu ss -ai
  $ tcpu ss -a --json | jq '.[] | select(.owner.kind == "stack")'`)
    .action((options: SsOptions) => ss(options));
}

async function ss(options: SsOptions): Promise<void> {
  let list: OwnedConnection[];
  try {
    list = await queryStack(socketPath(options), options.info ? 'details' : 'connections') as OwnedConnection[];
  } catch (error) {
    throw asCliError(error);
  }
  const shown = list.filter(({ state }) => {
    if (options.all) return true;
    return options.listening ? state === 'LISTEN' : state !== 'LISTEN' && state !== 'TIME-WAIT';
  });
  process.stdout.write(options.json ? `${JSON.stringify(shown, null, 2)}\n` : formatConnections(shown));
}
