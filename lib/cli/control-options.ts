/** Options of the commands that talk to a running stack, in another process, through its control socket. */

import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { attach } from '../attach.ts';
import type { AttachOptions, Attachment } from '../attach.ts';
import { defaultSocketPath } from '../channel/control.ts';
import { DEFAULT_WINDOW, windowFault } from '../channel/window.ts';
import type { WindowSizes } from '../channel/window.ts';
import { CliError, EXIT_USAGE } from './exit.ts';
import { asCliError } from './open-stack.ts';

/** For help texts: where the socket is by default. */
export const DEFAULT_SOCKET_TEXT = '$TCPU_SOCKET, else $XDG_RUNTIME_DIR/tcpu.sock, else /run/tcpu.sock';

/** Values of `addSocketOption`, and of `addTcpOption`. */
export interface SocketOptions {
  socket?: string;
  tcp?: 'tcpu' | 'kernel';
}

export function addSocketOption(command: Command): Command {
  return command.option('--socket <path>', `control socket of the running stack (default: ${DEFAULT_SOCKET_TEXT})`);
}

export function addTcpOption(command: Command): Command {
  return command.addOption(new Option(
    '--tcp <which>', 'whose TCP: tcpu, one in this process, or kernel, that of the stack',
  ).default('tcpu').choices(['tcpu', 'kernel']));
}

/** Options of the commands that make a stack of their own unless told to attach to one. */
export interface AttachCliOptions extends SocketOptions {
  attach?: boolean;
}

export function addAttachOptions(command: Command, tcp: boolean): Command {
  command
    .option('--attach', 'use the running stack instead of making one')
    .option('--socket <path>', `control socket of that stack; implies --attach (default: ${DEFAULT_SOCKET_TEXT})`);
  if (!tcp) return command;
  return command.addOption(new Option(
    '--tcp <which>', 'with --attach, whose TCP: tcpu, one in this process, or kernel, that of the stack (default: tcpu)',
  ).choices(['tcpu', 'kernel']));
}

/** Whether to attach. Options of the device do not go with that. Throws `CliError` (usage). */
export function wantsAttach(command: Command, options: AttachCliOptions, deviceOptions: readonly string[]): boolean {
  if (!options.attach && options.socket === undefined) {
    if (options.tcp !== undefined) throw new CliError('--tcp goes with --attach: a stack of its own has one TCP', EXIT_USAGE);
    return false;
  }
  const given = deviceOptions.find((name) => command.getOptionValueSource(name) === 'cli');
  if (given !== undefined) {
    const option = command.options.find((one) => one.attributeName() === given)!;
    throw new CliError(`${option.long} says how to make a device, --attach to use a running stack; give one of them`, EXIT_USAGE);
  }
  return true;
}

/** Attaches to the running stack. Throws `CliError`. */
export async function attachTo(
  name: string, options: SocketOptions, how: Pick<AttachOptions, 'window' | 'thread'> = {},
): Promise<Attachment> {
  try {
    return await attach({ ...how, socket: socketPath(options), tcp: options.tcp, name: `tcpu-${name}` });
  } catch (error) {
    throw asCliError(error);
  }
}

export function socketPath(options: SocketOptions): string {
  return options.socket ?? defaultSocketPath();
}

/** Resolves with an error when the stack goes, or lets go of us. */
export function stackGone(attachment: Attachment, options: SocketOptions): Promise<CliError> {
  return new Promise((resolve) => {
    attachment.once('down', (reason) => resolve(new CliError(`${reason} (it listened at ${socketPath(options)})`)));
  });
}

const PARTS: Record<string, keyof WindowSizes> = { rx: 'rxRing', tx: 'txRing', call: 'call', memory: 'memory' };

/** Reads `rx=4M,memory=32M`. Throws `InvalidArgumentError`. */
export function parseWindow(text: string): Partial<WindowSizes> {
  const sizes: Partial<WindowSizes> = {};
  for (const part of text.split(',')) {
    const match = /^([a-z]+)=([0-9]{1,9})([KM]?)$/.exec(part);
    const name = match === null ? undefined : PARTS[match[1]!];
    if (name === undefined) {
      throw new InvalidArgumentError(
        `'${part}' is not a part of a window; write rx=, tx=, call= or memory= with a size such as 256K or 4M.`,
      );
    }
    sizes[name] = Number(match![2]) * { '': 1, K: 1 << 10, M: 1 << 20 }[match![3]!]!;
  }
  const fault = windowFault({ ...DEFAULT_WINDOW, ...sizes });
  if (fault !== null) throw new InvalidArgumentError(`${fault}.`);
  return sizes;
}
