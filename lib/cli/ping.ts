/** `tcpu ping`: echo requests from a stack of its own, or from a running one, with output like ping(8). */

import { Option } from 'commander';
import type { Command } from 'commander';
import { ping as sendPings } from '../net/ping.ts';
import type { PingResult, PingStack } from '../net/ping.ts';
import { addAttachOptions, attachTo, stackGone, wantsAttach } from './control-options.ts';
import type { AttachCliOptions } from './control-options.ts';
import { CliError, EXIT_FAILURE } from './exit.ts';
import { openStack } from './open-stack.ts';
import { DEVICE_OPTIONS, addDeviceOptions, integer, planDevice, seconds } from './options.ts';
import type { DeviceOptions } from './options.ts';
import { onSignals } from './signals.ts';

/** ICMP header. */
const HEADER_LENGTH = 8;
const MAX_SIZE = 65_507;

interface PingCliOptions extends DeviceOptions, AttachCliOptions {
  count?: number;
  interval: number;
  size: number;
  timeout: number;
  ttl?: number;
}

export function addPing(program: Command): void {
  const command = program.command('ping')
    .description('send ICMP echo requests, from a stack of its own or from a running one')
    .argument('<host>', 'an address, or a name')
    .addOption(new Option('-c, --count <n>', 'stop after so many (default: at SIGINT)').argParser(integer(1, 1e9)))
    .addOption(new Option('-i, --interval <seconds>', 'time between two').default(1).argParser(seconds(0.001, 86_400)))
    .addOption(new Option('-s, --size <bytes>', 'data bytes in each').default(56).argParser(integer(0, MAX_SIZE)))
    .addOption(new Option('-W, --timeout <seconds>', 'how long to wait for each answer').default(2).argParser(seconds(0.001, 86_400)))
    .addOption(new Option('-t, --ttl <n>', 'TTL, or hop limit, of the requests').argParser(integer(1, 255)));
  addAttachOptions(addDeviceOptions(command), false)
    .addHelpText('after', `
Exit code 0 when any answer came, 1 when none did.

Examples (as root; Linux is 10.90.0.1 and fd90::1):
  $ tcpu ping -c 3 10.90.0.1
  $ tcpu ping -c 3 -s 8000 fd90::1       fragments
  $ tcpu ping --attach 10.90.0.1         while tcpu up runs`)
    .action((host: string, options: PingCliOptions) => ping(command, host, options));
}

function line(result: PingResult): string {
  if (result.error === undefined) {
    return `${result.bytes} bytes from ${result.from}: icmp_seq=${result.seq} ttl=${result.ttl} time=${formatMs(result.timeMs)} ms\n`;
  }
  if (result.error.code === 'ETIMEDOUT') return `no answer yet for icmp_seq=${result.seq}\n`;
  return `From ${result.from} icmp_seq=${result.seq} ${explain(result.error.code)}\n`;
}

function explain(code: string): string {
  switch (code) {
    case 'EHOSTUNREACH': return 'Destination Host Unreachable';
    case 'ENETUNREACH': return 'Destination Net Unreachable';
    case 'ECONNREFUSED': return 'Destination Port Unreachable';
    case 'EMSGSIZE': return 'Message too long';
    default: return code;
  }
}

/** Three significant figures, as ping(8) has them. */
function formatMs(ms: number): string {
  return ms.toFixed(ms < 1 ? 3 : ms < 10 ? 2 : ms < 100 ? 1 : 0);
}

/** What sends, and how to let go of it. */
interface Sender {
  stack: PingStack;
  close(): Promise<void>;
  /** Whether it has gone. */
  gone: Promise<CliError> | null;
}

async function openSender(command: Command, options: PingCliOptions): Promise<Sender> {
  if (!wantsAttach(command, options, DEVICE_OPTIONS)) {
    const { stack } = openStack(planDevice(options));
    stack.ref();
    return { stack, close: () => stack.close({ graceful: false }), gone: null };
  }
  const attachment = await attachTo('ping', options);
  return { stack: attachment, close: () => attachment.close(), gone: stackGone(attachment, options) };
}

async function ping(command: Command, host: string, options: PingCliOptions): Promise<void> {
  const sender = await openSender(command, options);
  const abort = new AbortController();
  let gone: CliError | null = null;
  void sender.gone?.then((error) => {
    gone = error;
    abort.abort();
  });
  onSignals(() => abort.abort());
  const startMs = performance.now();
  let sent = 0;
  const times: number[] = [];
  try {
    process.stdout.write(`PING ${host} ${options.size}(${options.size + HEADER_LENGTH}) data bytes\n`);
    const results = sendPings(sender.stack, host, {
      count: options.count,
      intervalMs: options.interval * 1000,
      size: options.size,
      timeoutMs: options.timeout * 1000,
      ttl: options.ttl,
      signal: abort.signal,
    });
    for await (const result of results) {
      sent++;
      if (result.error === undefined) times.push(result.timeMs);
      process.stdout.write(line(result));
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === 'getaddrinfo') throw new CliError(`there is no host named ${host}`);
    throw error;
  } finally {
    await sender.close();
  }
  if (gone !== null) throw gone as CliError;
  const lost = sent === 0 ? 0 : (100 * (sent - times.length)) / sent;
  const took = performance.now() - startMs;
  process.stdout.write(`\n--- ${host} ping statistics ---\n`
    + `${sent} packets transmitted, ${times.length} received, ${Number(lost.toPrecision(4))}% packet loss, time ${took.toFixed(0)}ms\n`);
  if (times.length > 0) {
    const mean = times.reduce((a, b) => a + b) / times.length;
    const deviation = Math.sqrt(times.reduce((a, b) => a + (b - mean) ** 2, 0) / times.length);
    const [least, most] = [Math.min(...times), Math.max(...times)];
    process.stdout.write(`rtt min/avg/max/mdev = ${[least, mean, most, deviation].map((ms) => ms.toFixed(3)).join('/')} ms\n`);
  }
  if (times.length === 0) process.exitCode = EXIT_FAILURE;
}
