/** `tcpu up`: a stack in the foreground, with the services that were asked for, until a signal. */

import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import createDebug from 'debug';
import { defaultSocketPath } from '../channel/control.ts';
import { services, startServices } from '../services/index.ts';
import type { RunningService, ServiceChoice } from '../services/index.ts';
import type { Application } from '../tcpk/application.ts';
import { AttachServerError } from '../tcpk/attach-server.ts';
import type { AttachServer } from '../tcpk/attach-server.ts';
import { VIOLATION_NAMES } from '../tcpk/egress.ts';
import { DEFAULT_SOCKET_TEXT } from './control-options.ts';
import { asCliError, openStack } from './open-stack.ts';
import type { OpenStack } from './open-stack.ts';
import { addCongestionOption, addDeviceOptions, parseServeArgument, planDevice, seconds } from './options.ts';
import type { DeviceOptions } from './options.ts';
import { onSignals } from './signals.ts';
import { StatsPrinter } from './stats.ts';

const debug = createDebug('tcpu:violation');

/** Time that connections get to close in, once a signal has come. */
const CLOSE_TIMEOUT_MS = 2000;

interface UpOptions extends DeviceOptions {
  serve?: ServiceChoice[];
  stats?: number;
  json?: boolean;
  /** False for --no-socket. */
  socket?: string | false;
  socketMode: number;
  allowPrivilegedPorts?: boolean;
  congestion?: string;
}

/** Permission bits in octal. */
function parseMode(text: string): number {
  if (!/^0?[0-7]{3}$/.test(text)) {
    throw new InvalidArgumentError(`'${text}' is not a mode; write permission bits in octal, such as 0600 or 0660.`);
  }
  return parseInt(text, 8);
}

/** The services, for help texts. */
export function serviceHelp(): string {
  return [...services.values()].map((s) => `  ${s.name.padEnd(8)} ${String(s.defaultPort).padStart(5)}  ${s.summary}`).join('\n');
}

export function addUp(program: Command): void {
  const command = program.command('up').description('run a stack in the foreground, until SIGINT or SIGTERM');
  addCongestionOption(addDeviceOptions(command))
    .addOption(new Option(
      '--serve <list>',
      'services to run, as name or name@port, separated by commas; all for every one',
    ).argParser(parseServeArgument))
    .addOption(new Option('--stats <seconds>', 'print what happened every so often').argParser(seconds(0.1, 86_400)))
    .option('--json', 'print one JSON object a line instead of text')
    .option('--socket <path>', `where applications attach (default: ${DEFAULT_SOCKET_TEXT})`)
    .option('--no-socket', 'let no applications attach')
    .addOption(new Option(
      '--socket-mode <mode>', 'who may: permission bits of that socket, in octal',
    ).default(0o600, '0600').argParser(parseMode))
    .option('--allow-privileged-ports', 'let all applications have ports below 1024, not only those of root')
    .addHelpText('after', `
Services, with the ports they have by default:
${serviceHelp()}

When packets flow, it prints one line that begins with 'ready '. On SIGINT or SIGTERM it closes
connections, removes the device and ends with 0; a second signal ends it at once (130).

Other processes attach through a Unix socket: with a TCP of their own (TCPU) or on this one, on the same addresses.
See tcpu help serve; tcpu ss and tcpu stat show what goes on. A second stack needs a --socket of its own.

Examples:
  $ sudo tcpu up --serve echo,http,iperf3
    $ ping 10.90.0.2
    $ curl http://10.90.0.2/
    $ iperf3 -c fd90::2
  $ sudo tcpu up & sudo tcpu serve http           the service in a process of its own
  $ sudo tcpu up --serve http@8080 --address 10.7.0.2/24 --mtu 9000
  $ sudo DEBUG=tcpu:link tcpu up                  every packet, as a line on stderr
  $ sudo DEBUG=tcpu:violation tcpu up             what applications sent and may not, and who
  $ sudo tcpu up --serve all --capture all.pcapng every packet, for Wireshark
  $ unshare -Urn tcpu up                          without root, in a network namespace of its own`)
    .action((options: UpOptions) => up(options));
}

async function up(options: UpOptions): Promise<void> {
  const open = openStack(planDevice(options), options.socket !== false, { congestion: options.congestion });
  let running: RunningService[] = [];
  let control: AttachServer | null;
  try {
    running = await startServices(open.stack, options.serve ?? []);
    control = openControl(open, options);
  } catch (error) {
    await open.stack.close({ graceful: false });
    throw asCliError(error);
  }
  // An error says that the device is gone.
  const ended = new Promise<Error | null>((resolve) => {
    onSignals(() => resolve(null));
    open.stack.once('down', resolve);
  });
  open.stack.ref();
  process.stdout.write(readyLine(open, running, control, options.json === true));
  const stats = options.stats === undefined ? null : new StatsPrinter(open, options.stats, options.json === true);
  const down = await ended;
  stats?.stop();
  control?.close();
  if (down !== null) throw asCliError(down);
  for (const service of running) service.close(true);
  await open.stack.close({ graceful: true, timeoutMs: CLOSE_TIMEOUT_MS });
}

/** Lets applications attach. Throws what `asCliError` knows. */
function openControl(open: OpenStack, options: UpOptions): AttachServer | null {
  if (options.socket === false) return null;
  try {
    const server = open.stack.listen({
      path: options.socket ?? defaultSocketPath(), mode: options.socketMode, allowPrivilegedPorts: options.allowPrivilegedPorts,
    });
    if (debug.enabled) open.stack.tcpk!.onviolation = logViolation;
    // However this process ends, the socket's file goes.
    process.once('exit', () => server.close());
    return server;
  } catch (error) {
    // Without rights to the usual place, what was asked for still works.
    if (!(error instanceof AttachServerError) || options.socket !== undefined || error.code === 'EADDRINUSE') throw error;
    process.stderr.write(`tcpu: no application can attach: ${error.message}\n`);
    return null;
  }
}

function logViolation({ name, credentials }: Application, reason: number, count: number): void {
  debug('%s (pid %d, uid %d): %d dropped, the last for %s', name, credentials.pid, credentials.uid, count, VIOLATION_NAMES[reason]);
}

/** `ready tun=… address=… pid=…` and more of the kind, or the same as JSON. */
export function readyLine(
  open: OpenStack, running: readonly RunningService[], control: AttachServer | null, json: boolean,
): string {
  const ready = {
    tun: open.tun.name,
    address: open.addresses.map((one) => one.text),
    host: open.hostAddresses.map((one) => one.text),
    mtu: open.tun.mtu,
    offload: open.offload ? 'on' : 'off',
    serve: running.map((service) => `${service.name}@${service.port}`),
    socket: control?.path ?? null,
    pid: process.pid,
  };
  if (json) return `${JSON.stringify({ event: 'ready', ...ready })}\n`;
  const text = Object.entries(ready).map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(',') || '-' : value ?? '-'}`);
  return `ready ${text.join(' ')}\n`;
}
