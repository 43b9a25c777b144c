/** `tcpu serve`: the services of `tcpu up --serve`, in a process of its own that is attached to a running stack. */

import { Argument, Option } from 'commander';
import type { Command } from 'commander';
import type { Attachment } from '../attach.ts';
import type { WindowSizes } from '../channel/window.ts';
import { createNet } from '../net/net.ts';
import { withTcp } from '../net/tcp-options.ts';
import { startServices } from '../services/index.ts';
import type { RunningService, ServiceChoice, ServiceHost } from '../services/index.ts';
import { addSocketOption, addTcpOption, attachTo, parseWindow, socketPath, stackGone } from './control-options.ts';
import type { SocketOptions } from './control-options.ts';
import { asCliError } from './open-stack.ts';
import { addCongestionOption, parseServeArgument } from './options.ts';
import { onSignals } from './signals.ts';
import { serviceHelp } from './up.ts';

interface ServeOptions extends SocketOptions {
  thread?: boolean;
  congestion?: string;
  window?: Partial<WindowSizes>;
  json?: boolean;
}

export function addServe(program: Command): void {
  const command = program.command('serve')
    .description('run services in a process of their own, attached to a running stack, until SIGINT or SIGTERM')
    .addArgument(new Argument(
      '<list>', 'services to run, as name or name@port, separated by commas; all for every one',
    ).argParser(parseServeArgument));
  addCongestionOption(addTcpOption(addSocketOption(command)))
    .addOption(new Option(
      '--window <sizes>',
      'sizes of the memory shared with the stack, such as rx=4M,memory=32M (default: rx=4M,tx=256K,call=256K,memory=8M)',
    ).argParser(parseWindow))
    .option('--thread', 'with --tcp tcpu: run TCP in a worker thread, which goes on while the services compute')
    .option('--json', "print the 'ready' line as JSON")
    .addHelpText('after', `
Services, with the ports they have by default:
${serviceHelp()}

With --tcp tcpu their TCP runs in this process, over segments that the stack hands it; with --tcp kernel
they use the stack's TCP, by a call for each operation on a socket. Others see no difference. When they listen, it
prints one line that begins with 'ready '. It ends with 0 on SIGINT or SIGTERM, and with 1 when the stack goes.

Examples:
  $ sudo tcpu up &
  $ sudo tcpu serve echo,http
  $ sudo tcpu serve iperf3 --tcp kernel
  $ tcpu serve http@8080 --socket /tmp/stack.sock     a stack that was started with this --socket`)
    .action((list: ServiceChoice[], options: ServeOptions) => serve(list, options));
}

async function serve(list: ServiceChoice[], options: ServeOptions): Promise<void> {
  const attachment = await attachTo('serve', options, { window: options.window, thread: options.thread });
  const gone = stackGone(attachment, options);
  let running: RunningService[];
  try {
    running = await startServices(hostFor(attachment, options.congestion), list);
  } catch (error) {
    await attachment.close({ graceful: false });
    throw asCliError(error);
  }
  const ended = new Promise<null>((resolve) => onSignals(() => resolve(null)));
  process.stdout.write(readyLine(attachment, running, options));
  const error = await Promise.race([gone, ended]);
  if (error !== null) throw error;
  for (const service of running) service.close(true);
  // What is left to do for closing connections the stack takes over.
  await attachment.close();
}

/** What the services stand on: the attachment, whose sockets have the congestion control that was asked for. */
function hostFor(attachment: Attachment, congestion: string | undefined): ServiceHost {
  if (congestion === undefined) return attachment;
  const provider = withTcp(attachment, { congestion });
  return {
    socket: provider.socket,
    net: createNet(provider),
    udp: attachment.udp,
    clock: attachment.clock,
    addresses: attachment.addresses,
    connections: () => attachment.connections(),
    counters: () => attachment.counters(),
  };
}

/** `ready socket=… tcp=… address=… serve=… pid=…`, or the same as JSON. */
function readyLine(attachment: Attachment, running: readonly RunningService[], options: ServeOptions): string {
  const ready = {
    socket: socketPath(options),
    tcp: options.tcp ?? 'tcpu',
    address: [...attachment.addresses],
    serve: running.map((service) => `${service.name}@${service.port}`),
    pid: process.pid,
  };
  if (options.json) return `${JSON.stringify({ event: 'ready', ...ready })}\n`;
  const text = Object.entries(ready).map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(',') : value}`);
  return `ready ${text.join(' ')}\n`;
}
