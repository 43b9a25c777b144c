/** Makes the device and the stack that a command works with, and turns what can go wrong into sentences. */

import { networkInterfaces } from 'node:os';
import { AttachError } from '../channel/process-channel.ts';
import { capture } from '../link/capture.ts';
import { LINK_TSO4, LINK_TSO6 } from '../link/link.ts';
import type { Link } from '../link/link.ts';
import { NativeError } from '../link/native.ts';
import { trace } from '../link/trace.ts';
import { TunError } from '../link/tun-error.ts';
import { hostHasIpv6, openTun } from '../link/tun.ts';
import type { Tun } from '../link/tun.ts';
import { ServiceError } from '../services/index.ts';
import { createStack } from '../stack.ts';
import type { Stack } from '../stack.ts';
import type { TcpOptions } from '../tcp/config.ts';
import { AttachServerError } from '../tcpk/attach-server.ts';
import { CliError } from './exit.ts';
import { DEFAULT_ADDRESSES, DEFAULT_HOST_ADDRESSES, isInside } from './options.ts';
import type { Cidr, DevicePlan } from './options.ts';

/** A stack on a TUN device. */
export interface OpenStack {
  stack: Stack;
  tun: Tun;
  addresses: Cidr[];
  hostAddresses: Cidr[];
  /** Whether super-segments cross the device. */
  offload: boolean;
}

/** Without IPv6 in this kernel the addresses that nobody asked for are left out. */
function withoutUnusableDefaults(plan: DevicePlan): DevicePlan {
  const isDefault = plan.addresses.every((one) => DEFAULT_ADDRESSES.includes(one.text))
    && plan.hostAddresses.every((one) => DEFAULT_HOST_ADDRESSES.includes(one.text));
  if (!isDefault || hostHasIpv6()) return plan;
  return {
    ...plan,
    addresses: plan.addresses.filter((one) => one.family === 4),
    hostAddresses: plan.hostAddresses.filter((one) => one.family === 4),
  };
}

/** The same network on two interfaces would lead Linux's packets to the wrong one without a word. */
function checkHostAddresses(plan: DevicePlan): void {
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const { address } of addresses ?? []) {
      if (plan.addresses.some((one) => one.address === address)) {
        throw new CliError(`${address} is in use: it is this machine's own (${name}); give the stack another with --address`);
      }
      if (name !== plan.tun && plan.hostAddresses.some((one) => one.address === address)) {
        throw new CliError(
          `${address} is in use on ${name}; give another network with --address, and with --host-address if you set that`,
        );
      }
    }
  }
}

/**
 * Opens the device, wraps it with what was asked for, and puts a stack on it, to which applications may attach or
 * not, and with these options of TCP. Throws `CliError`.
 */
export function openStack(asked: DevicePlan, applications = false, tcp: TcpOptions = {}): OpenStack {
  const plan = withoutUnusableDefaults(asked);
  checkHostAddresses(plan);
  let tun: Tun | null = null;
  try {
    // A stack's address outside every network of Linux's side still has to be found through the device.
    const strays = plan.addresses.filter((one) => !plan.hostAddresses.some((host) => isInside(one, host)));
    tun = openTun({
      name: plan.tun,
      mtu: plan.mtu,
      hostAddresses: plan.hostAddresses.map((one) => one.text),
      routes: strays.map((one) => `${one.address}/${one.family === 4 ? 32 : 128}`),
      offload: plan.offload,
    });
    let link: Link = tun;
    if (plan.capture !== null) link = openCapture(link, plan.capture);
    link = trace(link);
    const stack = createStack({ link, addresses: plan.addresses.map((one) => one.text), applications, tcp });
    const offload = (tun.features & (LINK_TSO4 | LINK_TSO6)) !== 0;
    return { stack, tun, addresses: plan.addresses, hostAddresses: plan.hostAddresses, offload };
  } catch (error) {
    tun?.close();
    throw asCliError(error);
  }
}

function openCapture(link: Link, path: string): Link {
  try {
    return capture(link, path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CliError(`cannot write the capture file ${path} (${code}); give another path with --capture`);
  }
}

/** The sentence in an error that people may meet; anything else is a defect and stays as it is. */
export function asCliError(error: unknown): unknown {
  if (error instanceof TunError) return new CliError(error.message.replace(/^E[A-Z]+: /, ''));
  if (error instanceof NativeError || error instanceof ServiceError) return new CliError(error.message);
  if (error instanceof AttachError || error instanceof AttachServerError) return new CliError(error.message);
  return error;
}
