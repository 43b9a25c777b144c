/**
 * `tcpu demo`: brings a stack up, lets Linux ping it, fetch from it and push bulk TCP through it both
 * ways, prints what happened, and leaves nothing behind.
 *
 * It works in a network namespace of its own (as root made with `unshare -n`, otherwise `-Urn`). Where
 * neither a namespace nor a TUN device can be had, two stacks talk to each other over the memory link.
 */

import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Option } from 'commander';
import type { Command } from 'commander';
import { patternDigest } from '../services/byte-pattern.ts';
import { services, startServices } from '../services/index.ts';
import { memoryDemo } from './demo-memory.ts';
import { CliError, EXIT_FAILURE } from './exit.ts';
import { openStack } from './open-stack.ts';
import { planDevice } from './options.ts';
import { formatBitRate } from './stats.ts';

/** Says "no TUN device here" to the process outside of the namespace. */
const EXIT_NO_DEVICE = 77;
const DOWNLOAD_BYTES = 100_000_000;
const BULK_SECONDS = 2;
const CLIENT_TIMEOUT_MS = 15_000;

interface DemoOptions {
  link: 'auto' | 'tun' | 'memory';
  inside?: boolean;
}

export function addDemo(program: Command): void {
  program.command('demo')
    .description('bring a stack up, let Linux ping it, curl it and push bulk TCP through it, and clean up')
    .addOption(new Option('--link <kind>', 'insist on a TUN device, or on two stacks over the memory link')
      .default('auto').choices(['auto', 'tun', 'memory']))
    .addOption(new Option('--inside').hideHelp())
    .addHelpText('after', `
As root or not, the device is made in a network namespace of its own (unshare -n, or -Urn), which
vanishes with the demo; nothing of this machine's network is touched.`)
    .action((options: DemoOptions) => demo(options));
}

async function demo(options: DemoOptions): Promise<void> {
  if (options.inside) {
    await insideNamespace();
    return;
  }
  if (options.link !== 'memory') {
    const flags = namespaceFlags();
    if (flags !== null) {
      const code = await runInside(flags);
      if (code !== EXIT_NO_DEVICE) {
        process.exitCode = code;
        return;
      }
    }
    const why = flags === null ? 'this user may not make network namespaces (unshare -Urn is refused)'
      : 'no TUN device can be made here';
    if (options.link === 'tun') throw new CliError(`${why}; run the demo as root, or with --link memory`);
    process.stdout.write(`${why[0]!.toUpperCase()}${why.slice(1)}, so Linux cannot take part:\n`
      + 'two stacks talk to each other over the memory link instead.\n\n');
  }
  report(await memoryDemo(step));
}

/** How `unshare` makes a network namespace here: root's way, anybody's way, or not at all (null). */
function namespaceFlags(): string | null {
  const ways = process.getuid?.() === 0 ? ['-n', '-Urn'] : ['-Urn'];
  return ways.find((flags) => spawnSync('unshare', [flags, 'true'], { stdio: 'ignore', timeout: 5000 }).status === 0) ?? null;
}

/** Runs this very program again, in a namespace. */
function runInside(flags: string): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(
      'unshare', [flags, process.execPath, ...process.execArgv, process.argv[1]!, 'demo', '--inside'], { stdio: 'inherit' },
    );
    // A terminal signals the whole group; from elsewhere it is passed on.
    const pass = (signal: NodeJS.Signals): void => void child.kill(signal);
    process.once('SIGTERM', pass);
    process.once('SIGINT', pass);
    child.on('error', () => resolve(EXIT_NO_DEVICE));
    child.on('exit', (code) => resolve(code ?? EXIT_FAILURE));
  });
}

/** Runs one part of a demo and prints how it went. Returns whether it did. */
export type Step = (what: string, work: () => Promise<string>) => Promise<boolean>;

async function step(what: string, work: () => Promise<string>): Promise<boolean> {
  process.stdout.write(`  ${what.padEnd(54)} `);
  try {
    process.stdout.write(`${await work()}\n`);
    return true;
  } catch (error) {
    process.stdout.write(`FAILED: ${error instanceof Error ? error.message : String(error)}\n`);
    return false;
  }
}

function report(results: boolean[]): void {
  const failed = results.filter((ok) => !ok).length;
  if (failed === 0) return;
  process.stdout.write(`\n${failed} of ${results.length} parts failed.\n`);
  process.exitCode = EXIT_FAILURE;
}

interface Finished {
  stdout: string;
  stderr: string;
}

/** Runs a program; rejects when it is not there, fails, or takes too long. `onData` takes its output instead. */
function client(command: string, args: string[], onData?: (piece: Buffer) => void): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: CLIENT_TIMEOUT_MS });
    const finished = { stdout: '', stderr: '' };
    child.stdout.on('data', onData ?? ((piece: Buffer) => {
      finished.stdout += piece.toString();
    }));
    child.stderr.on('data', (piece: Buffer) => {
      finished.stderr += piece.toString();
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const said = (finished.stderr.trim() || finished.stdout.trim()).slice(0, 300);
      if (code !== 0) reject(new Error(`${command} ended with ${signal ?? code}: ${said}`));
      else resolve(finished);
    });
  });
}

function installed(command: string): boolean {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined;
}

/** The demo's own client of Linux's TCP, in a process of its own. */
async function nodeClient(...args: string[]): Promise<{ bytes: number; seconds: number; sha256?: string }> {
  const path = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './demo-client.ts' : './demo-client.js', import.meta.url));
  const { stdout } = await client(process.execPath, [...process.execArgv, path, ...args]);
  return JSON.parse(stdout) as { bytes: number; seconds: number; sha256?: string };
}

async function ping(address: string): Promise<string> {
  const { stdout } = await client('ping', ['-n', '-c', '5', '-i', '0.2', '-W', '2', address]);
  const lost = /([0-9.]+)% packet loss/.exec(stdout)?.[1];
  const rtt = /= ([0-9.]+)\/([0-9.]+)\//.exec(stdout);
  if (lost !== '0') throw new Error(`${lost}% of the packets were lost`);
  return `5 of 5 answered, ${rtt?.[2]} ms on average`;
}

async function download(url: string, withCurl: boolean): Promise<string> {
  let seconds: number;
  let bytes = 0;
  let digest: string;
  if (withCurl) {
    const hash = createHash('sha256');
    const startMs = performance.now();
    await client('curl', ['-sS', '--noproxy', '*', url], (piece) => {
      bytes += piece.length;
      hash.update(piece);
    });
    seconds = (performance.now() - startMs) / 1000;
    digest = hash.digest('hex');
  } else {
    const result = await nodeClient('get', url);
    ({ bytes, seconds } = result);
    digest = result.sha256!;
  }
  if (bytes !== DOWNLOAD_BYTES || digest !== patternDigest(DOWNLOAD_BYTES)) {
    throw new Error(`the ${bytes} bytes that came are not those that were sent`);
  }
  return `${DOWNLOAD_BYTES / 1e6} MB in ${seconds.toFixed(2)} s, every byte right`;
}

async function bulk(host: string, toStack: boolean, withIperf3: boolean): Promise<string> {
  if (withIperf3) {
    const args = ['-c', host, '-t', String(BULK_SECONDS), '-J'];
    const { stdout } = await client('iperf3', toStack ? args : [...args, '-R']);
    const { end } = JSON.parse(stdout) as { end: { sum_received: { bytes: number; seconds: number } } };
    return moved(end.sum_received.bytes, end.sum_received.seconds);
  }
  const name = toStack ? 'discard' : 'chargen';
  const port = String(services.get(name)!.defaultPort);
  const result = await nodeClient(toStack ? 'send' : 'receive', host, port, String(BULK_SECONDS));
  return moved(result.bytes, result.seconds);
}

/** `2.34 GB, 9.36 Gbit/s`; nothing at all is an error. */
export function moved(bytes: number, seconds: number): string {
  if (!(bytes > 0)) throw new Error('no byte arrived');
  return `${(bytes / 1e9).toFixed(2)} GB in ${seconds.toFixed(1)} s, ${formatBitRate((bytes * 8) / seconds)}`;
}

/** The demo proper, where the network is its own. */
async function insideNamespace(): Promise<void> {
  let open;
  try {
    open = openStack(planDevice({ tun: 'tcpu0', mtu: 1500, offload: 'auto' }));
  } catch (error) {
    process.stderr.write(`tcpu: ${(error as Error).message}\n`);
    process.exitCode = EXIT_NO_DEVICE;
    return;
  }
  const { stack, addresses, hostAddresses } = open;
  stack.ref();
  await startServices(stack, [...services.values()].map((service) => ({ service, port: service.defaultPort })));
  const [v4, v6] = [4, 6].map((family) => addresses.find((one) => one.family === family)?.address);
  const withCurl = installed('curl');
  const withIperf3 = installed('iperf3');
  process.stdout.write([
    'In a network namespace of its own, so nothing of this machine is touched:',
    '',
    `  Linux ${hostAddresses.map((one) => one.address).join(' ')}  <-- ${open.tun.name}, MTU ${open.tun.mtu} -->  `
    + `tcpu ${addresses.map((one) => one.address).join(' ')}`,
    `  segments of up to 64 KB cross the device ${open.offload ? 'whole (offload on)' : 'cut (offload off)'}`,
    '',
    '',
  ].join('\n'));
  const results: boolean[] = [];
  const url = `http://${v4}/bytes/${DOWNLOAD_BYTES}`;
  if (installed('ping')) {
    results.push(await step(`ping ${v4}`, () => ping(v4!)));
    if (v6 !== undefined) results.push(await step(`ping ${v6}`, () => ping(v6)));
  } else {
    process.stdout.write('  ping is not installed, left out\n');
  }
  const fetcher = withCurl ? 'curl' : "Node's http client";
  results.push(await step(`${fetcher}: ${url}`, () => download(url, withCurl)));
  if (v6 !== undefined) {
    results.push(await step(`${fetcher}: the same over IPv6`, () => download(`http://[${v6}]/bytes/${DOWNLOAD_BYTES}`, withCurl)));
  }
  const pusher = withIperf3 ? 'iperf3' : "Node's net client";
  results.push(await step(`${pusher}: Linux sends, ${BULK_SECONDS} s`, () => bulk(v4!, true, withIperf3)));
  results.push(await step(`${pusher}: the stack sends, ${BULK_SECONDS} s`, () => bulk(v4!, false, withIperf3)));
  const { rxPackets, txPackets } = open.tun.counters;
  process.stdout.write(`\n  ${rxPackets} packets came in, ${txPackets} went out.\n`);
  await stack.close({ graceful: true, timeoutMs: 2000 });
  report(results);
  process.stdout.write(`
By hand, as root (or inside \`unshare -Urn bash\` as anybody):

  bin/tcpu up --serve echo,http,iperf3 &
  ping ${v4}; curl http://${v4}/; iperf3 -c ${v4}; iperf3 -c ${v4} -R
  bin/tcpu help up
`);
}
