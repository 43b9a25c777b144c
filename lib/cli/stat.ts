/** `tcpu stat`: all counters of a running stack, by layer, and of the applications attached to it. */

import type { Command } from 'commander';
import { queryStack } from '../channel/process-channel.ts';
import type { StackCounters } from '../stack.ts';
import { addSocketOption, socketPath } from './control-options.ts';
import type { SocketOptions } from './control-options.ts';
import { asCliError } from './open-stack.ts';
import { ownerName } from './ss-format.ts';

interface StatOptions extends SocketOptions {
  json?: boolean;
}

export function addStat(program: Command): void {
  const command = program.command('stat')
    .description('print all counters of a running stack, by layer, and of the applications attached to it')
    .option('--json', 'print one JSON object: layers, and an array of applications');
  addSocketOption(command)
    .addHelpText('after', `
Counters have their SNMP names where they have one. 'tcp' is the stack's own TCP, 'tcpk' what goes between the stack and
applications. Of each application (pid/name), 'channel' is what TCPK has counted; 'tcp', 'tcpu' and 'memory' are its
own, if it answers within half a second.

Examples:
  $ tcpu stat
  $ tcpu stat | grep -i drop
  $ tcpu stat --json | jq .layers.tcp.RetransSegs`)
    .action((options: StatOptions) => stat(options));
}

async function stat(options: StatOptions): Promise<void> {
  let counters: StackCounters;
  try {
    counters = await queryStack(socketPath(options), 'counters') as StackCounters;
  } catch (error) {
    throw asCliError(error);
  }
  process.stdout.write(options.json ? `${JSON.stringify(counters, null, 2)}\n` : formatCounters(counters));
}

/** One line a counter: `layer.Counter value`, or `pid/name.layer.Counter value`. */
export function formatCounters({ layers, applications }: StackCounters): string {
  const lines: [string, string][] = [];
  const add = (prefix: string, counters: object): void => {
    for (const [name, value] of Object.entries(counters)) lines.push([`${prefix}.${name}`, String(value)]);
  };
  for (const [layer, counters] of Object.entries(layers)) add(layer, counters);
  for (const one of applications) {
    const owner = ownerName(one);
    add(owner, { uid: one.uid, bindings: one.bindings, flows: one.flows, sockets: one.sockets });
    add(`${owner}.channel`, one.channel);
    for (const [reason, times] of Object.entries(one.violations)) {
      lines.push([`${owner}.violations.${reason.replaceAll(' ', '-')}`, String(times)]);
    }
    if (one.counters === null) lines.push([`${owner}.answer`, '?']);
    else for (const [layer, counters] of Object.entries(one.counters)) add(`${owner}.${layer}`, counters);
  }
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `${name.padEnd(width)} ${value}\n`).join('');
}
