/**
 * `tcpu nc`: stdin and stdout on a TCP connection, or on UDP datagrams, of a stack of its own or of a
 * running one. After netcat as OpenBSD has it.
 */

import { Option } from 'commander';
import type { Command } from 'commander';
import type { Dgram } from '../net/dgram.ts';
import type { Net, Socket } from '../net/net.ts';
import { addAttachOptions, attachTo, stackGone, wantsAttach } from './control-options.ts';
import type { AttachCliOptions } from './control-options.ts';
import { CliError, EXIT_USAGE } from './exit.ts';
import { asCliError, openStack } from './open-stack.ts';
import { DEVICE_OPTIONS, addCongestionOption, addDeviceOptions, parsePortArgument, planDevice, seconds } from './options.ts';
import type { DeviceOptions } from './options.ts';
import { onSignals } from './signals.ts';

const CLOSE_TIMEOUT_MS = 2000;
/** Largest datagram that is made of one piece of stdin. */
const MAX_DATAGRAM = 65_507;

interface NcOptions extends DeviceOptions, AttachCliOptions {
  listen?: boolean;
  udp?: boolean;
  shutdown?: boolean;
  wait?: number;
  verbose?: boolean;
  congestion?: string;
}

export function addNc(program: Command): void {
  const command = program.command('nc')
    .description('connect stdin and stdout to a TCP or UDP port, or listen on one')
    .argument('<host-or-port>', 'where to connect to; with -l the port to listen on')
    .argument('[port]', 'the port to connect to')
    .option('-l, --listen', 'listen for one connection instead of making one')
    .option('-u, --udp', 'UDP instead of TCP')
    .option('-N, --shutdown', 'when stdin ends, say so to the peer (half-close); with -u, end')
    .addOption(new Option(
      '-w, --wait <seconds>', 'give up when connecting takes longer, and end when nothing has moved for so long',
    ).argParser(seconds(0.01, 1e6)))
    .option('-v, --verbose', 'say on stderr what happens');
  addAttachOptions(addDeviceOptions(addCongestionOption(command)), true)
    .addHelpText('after', `
The stack is made for this command and lives as long as it, unless --attach takes a running one. Without -N
a connection stays open after stdin has ended, until the peer closes; with -N it stays open after the peer has
ended, until stdin does.

Examples (as root; Linux is 10.90.0.1):
  $ tcpu nc 10.90.0.1 22                 what does the ssh server say?
  $ echo hello | tcpu nc -N fd90::1 7000
  $ tcpu nc -l 7000 > file               $ nc -N 10.90.0.2 7000 < file
  $ tcpu nc -u -w 1 10.90.0.1 53 < query > answer
  $ tcpu nc --attach --tcp kernel -l 7000        while tcpu up runs`)
    .action((target: string, port: string | undefined, options: NcOptions) => nc(command, target, port, options));
}

/** What the connection is made with. */
interface Host {
  net: Net;
  dgram: Dgram;
  /** Whether it has IPv6 addresses. */
  v6: boolean;
  /** Keeps the process alive until it is closed. */
  close(): Promise<void>;
  /** When it goes by itself. */
  gone: Promise<Error>;
}

async function openHost(command: Command, options: NcOptions): Promise<Host> {
  if (!wantsAttach(command, options, DEVICE_OPTIONS)) {
    const { stack, addresses } = openStack(planDevice(options));
    stack.ref();
    return {
      net: stack.net, dgram: stack.dgram, v6: addresses.some((one) => one.family === 6),
      close: () => stack.close({ graceful: true, timeoutMs: CLOSE_TIMEOUT_MS }),
      gone: new Promise((resolve) => stack.once('down', resolve)),
    };
  }
  const attachment = await attachTo('nc', options);
  return {
    net: attachment.net, dgram: attachment.dgram, v6: attachment.addresses.some((one) => one.includes(':')),
    close: () => attachment.close(),
    gone: stackGone(attachment, options),
  };
}

async function nc(command: Command, target: string, portText: string | undefined, options: NcOptions): Promise<void> {
  const portArgument = options.listen ? (portText ?? target) : portText;
  if (portArgument === undefined) throw new CliError('nc needs a port: tcpu nc HOST PORT, or tcpu nc -l PORT', EXIT_USAGE);
  let port: number;
  try {
    port = parsePortArgument(portArgument);
  } catch (error) {
    throw new CliError((error as Error).message.replace(/\.$/, ''), EXIT_USAGE);
  }
  if (options.udp && options.congestion !== undefined) throw new CliError('--congestion is for TCP; leave out -u', EXIT_USAGE);
  const open = await openHost(command, options);
  const say = (text: string): void => {
    if (options.verbose) process.stderr.write(`${text}\n`);
  };
  const ended = new Promise<void>((resolve) => onSignals(resolve));
  try {
    const work = options.udp
      ? datagrams(open, options.listen ? null : target, port, options, say)
      : stream(open, options.listen ? null : target, port, options, say);
    const gone = open.gone.then((error): never => {
      throw asCliError(error);
    });
    // Whatever fails first with it, the stack that is gone is the reason.
    await Promise.race([work, ended, gone]);
  } finally {
    process.stdin.destroy();
    await open.close();
  }
}

/** The sentence for a connection that failed. */
function failure(error: NodeJS.ErrnoException, host: string | null, port: number): CliError {
  switch (error.code) {
    case 'ECONNREFUSED':
      return new CliError(`${host} port ${port} refused: nothing listens there`);
    case 'ETIMEDOUT':
      return new CliError(`${host} port ${port} did not answer; is it up, and does Linux route to it and back?`);
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return new CliError(`${host} cannot be reached: there is no route to it`);
    case 'EADDRINUSE':
      return new CliError(`port ${port} is taken; choose another`);
    case 'ENOTFOUND':
      return new CliError(`there is no host named ${host}`);
    case 'ENETDOWN':
      return new CliError('the stack is gone');
    case 'ECONNRESET':
      return new CliError('the peer reset the connection');
    default:
      return new CliError(error.message);
  }
}

/** One TCP connection, made or taken. Resolves when both directions have ended. */
async function stream(
  { net }: Host, host: string | null, port: number, options: NcOptions, say: (text: string) => void,
): Promise<void> {
  const timeoutMs = options.wait === undefined ? 0 : options.wait * 1000;
  const tcp = { congestion: options.congestion };
  const socket = await new Promise<Socket>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => reject(failure(error, host, port));
    if (host === null) {
      const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, tcp }, (taken) => {
        server.close();
        say(`connection from ${taken.remoteAddress} port ${taken.remotePort}`);
        resolve(taken);
      });
      server.once('error', fail);
      server.listen(port, () => say(`listening on port ${port}`));
      return;
    }
    const made = net.connect({ host, port, allowHalfOpen: true, tcp });
    const late = timeoutMs === 0 ? null : setTimeout(() => {
      made.destroy();
      reject(failure(Object.assign(new Error('connect ETIMEDOUT'), { code: 'ETIMEDOUT' }), host, port));
    }, timeoutMs);
    made.once('error', fail);
    made.once('connect', () => {
      if (late !== null) clearTimeout(late);
      made.removeListener('error', fail);
      say(`connected to ${made.remoteAddress} port ${made.remotePort}`);
      resolve(made);
    });
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', (error: NodeJS.ErrnoException) => reject(failure(error, host, port)));
    socket.once('close', () => resolve());
    // The peer has no more to say. With -N whoever feeds stdin says when it is enough; a person at a terminal does not.
    socket.once('end', () => {
      if (options.shutdown && !process.stdin.isTTY) return;
      process.stdin.unpipe(socket);
      socket.end();
    });
    if (timeoutMs > 0) {
      socket.setTimeout(timeoutMs, () => {
        say('nothing moved for too long');
        socket.destroy();
      });
    }
    process.stdout.once('error', () => socket.destroy());
    socket.pipe(process.stdout, { end: false });
    process.stdin.pipe(socket, { end: options.shutdown === true });
  });
}

/** UDP: pieces of stdin go out as datagrams, what comes from the peer goes to stdout. */
async function datagrams(
  open: Host, host: string | null, port: number, options: NcOptions, say: (text: string) => void,
): Promise<void> {
  const v6 = host === null ? open.v6 : host.includes(':');
  const socket = open.dgram.createSocket({ type: v6 ? 'udp6' : 'udp4' });
  let peer: { address: string; port: number } | null = host === null ? null : { address: host, port };
  /** What came on stdin before anybody was there to hear it. */
  const early: Buffer[] = [];
  await new Promise<void>((resolve, reject) => {
    let idle: NodeJS.Timeout | null = null;
    const moved = (): void => {
      if (options.wait === undefined) return;
      if (idle !== null) clearTimeout(idle);
      idle = setTimeout(resolve, options.wait * 1000);
    };
    const send = (piece: Buffer): void => {
      if (peer === null) {
        early.push(piece);
        process.stdin.pause();
        return;
      }
      for (let at = 0; at < piece.length; at += MAX_DATAGRAM) {
        socket.send(piece.subarray(at, at + MAX_DATAGRAM), peer.port, peer.address);
      }
      moved();
    };
    socket.on('error', (error: NodeJS.ErrnoException) => reject(failure(error, host, port)));
    socket.on('message', (data: Buffer, from: { address: string; port: number }) => {
      if (peer === null) {
        peer = { address: from.address, port: from.port };
        say(`first datagram from ${from.address} port ${from.port}`);
        for (const piece of early.splice(0)) send(piece);
        process.stdin.resume();
      }
      if (from.address !== peer.address || from.port !== peer.port) return;
      process.stdout.write(data);
      moved();
    });
    const begin = (): void => {
      process.stdin.on('data', send);
      process.stdin.once('end', () => {
        if (options.shutdown) setImmediate(resolve);
      });
      process.stdout.once('error', () => resolve());
      moved();
    };
    if (host === null) socket.bind(port, begin);
    else begin();
  }).finally(() => socket.close());
}
