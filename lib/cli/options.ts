/** Options that several commands share, and how their values are read. */

import { InvalidArgumentError, Option } from 'commander';
import type { Command } from 'commander';
import { AbstractIPNum, IPv4, IPv4CidrRange, IPv6, IPv6CidrRange } from 'ip-num';
import { parseServeList } from '../services/index.ts';
import type { ServiceChoice } from '../services/index.ts';
import { congestionNames } from '../tcp/congestion/congestion-control.ts';
import { CliError, EXIT_USAGE } from './exit.ts';

export const DEFAULT_TUN = 'tcpu0';
export const DEFAULT_ADDRESSES = ['10.90.0.2/24', 'fd90::2/64'];
export const DEFAULT_HOST_ADDRESSES = ['10.90.0.1/24', 'fd90::1/64'];

/** IFNAMSIZ of Linux, less the NUL. */
const MAX_NAME = 15;
/** RFC 791: what every link must carry; IPv6 needs 1280 (RFC 8200 5). */
const MIN_MTU = 68;
const MIN_MTU_IPV6 = 1280;
const MAX_MTU = 65535;

/** An address with the length of its network's prefix. */
export interface Cidr {
  text: string;
  address: string;
  prefix: number;
  family: 4 | 6;
  value: bigint;
}

/** Reads `10.90.0.2/24` or `fd90::2/64`. Throws `InvalidArgumentError`. */
export function parseCidr(text: string): Cidr {
  const match = /^([0-9a-fA-F.:]+)\/([0-9]{1,3})$/.exec(text);
  const wrong = (why: string): InvalidArgumentError => new InvalidArgumentError(
    `'${text}' ${why}; write ADDRESS/PREFIX, such as 10.90.0.2/24 or fd90::2/64.`,
  );
  if (match === null) throw wrong(text.includes('/') ? 'is not an address with a prefix length' : 'lacks its prefix length');
  const family = match[1]!.includes(':') ? 6 : 4;
  try {
    const number: AbstractIPNum = family === 6 ? new IPv6(match[1]!) : new IPv4(match[1]!);
    // Checks the prefix length, too.
    if (family === 6) IPv6CidrRange.fromCidr(text);
    else IPv4CidrRange.fromCidr(text);
    return { text, address: match[1]!.toLowerCase(), prefix: Number(match[2]), family, value: number.getValue() };
  } catch {
    throw wrong(`is not an IPv${family} address with a prefix length`);
  }
}

function networkOf(cidr: Cidr): bigint {
  const hostBits = BigInt((cidr.family === 4 ? 32 : 128) - cidr.prefix);
  return (cidr.value >> hostBits) << hostBits;
}

/** Whether `inner`'s address lies in `outer`'s network. */
export function isInside(inner: Cidr, outer: Cidr): boolean {
  return inner.family === outer.family && networkOf({ ...inner, prefix: outer.prefix }) === networkOf(outer);
}

/** The first address of a network that is not `cidr`'s own, for Linux's end of the device; null when there is none. */
export function neighbourOf(cidr: Cidr): Cidr | null {
  const bits = cidr.family === 4 ? 32 : 128;
  if (bits - cidr.prefix < 2) return null;
  let value = networkOf(cidr) + 1n;
  if (value === cidr.value) value++;
  const address = cidr.family === 4 ? new IPv4(value).toString() : shortIPv6(new IPv6(value).toString());
  return { text: `${address}/${cidr.prefix}`, address, prefix: cidr.prefix, family: cidr.family, value };
}

/** ip-num writes all groups out; the URL parser knows the short form (RFC 5952). */
function shortIPv6(text: string): string {
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}

/** A parser for whole numbers from `low` to `high`. */
export function integer(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : NaN;
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`'${text}' is not a whole number from ${low} to ${high}.`);
  };
}

/** A parser for seconds, with decimals, from `low` to `high`. */
export function seconds(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = /^[0-9]{1,9}(\.[0-9]{1,6})?$/.test(text) ? Number(text) : NaN;
    if (value >= low && value <= high) return value;
    throw new InvalidArgumentError(`'${text}' is not a number of seconds from ${low} to ${high}.`);
  };
}

export function parsePortArgument(text: string): number {
  return integer(1, 65535)(text);
}

export function parseServeArgument(text: string): ServiceChoice[] {
  try {
    return parseServeList(text);
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`);
  }
}

function parseTunName(text: string): string {
  if (!/^[A-Za-z0-9_.-]+$/.test(text) || text.length > MAX_NAME || text === '.' || text === '..') {
    throw new InvalidArgumentError(`'${text}' cannot name a device; use up to ${MAX_NAME} letters, digits, '-', '_' and '.'.`);
  }
  return text;
}

/** Why no host can have this address, or null: it stands for nobody, for a group or for a whole network. */
function unusableBecause(cidr: Cidr): string | null {
  const { family, prefix, value } = cidr;
  if (value === 0n) return 'is the unspecified address';
  if (family === 6) {
    if (value >> 32n === 0xffffn) return 'is an IPv4 address in IPv6 form';
    return value >> 120n === 0xffn ? 'is a multicast address' : null;
  }
  if (value >> 28n === 0xen) return 'is a multicast address';
  if (value >> 28n === 0xfn) return 'is a reserved address';
  // Networks of one or two addresses have no broadcast (RFC 3021).
  if (prefix > 30) return null;
  if (value === networkOf(cidr)) return 'is the address of the network itself';
  return value === networkOf(cidr) + (1n << BigInt(32 - prefix)) - 1n ? 'is the broadcast address of its network' : null;
}

/** As `parseCidr`, for an address that an interface is to have. */
export function parseHostCidr(text: string): Cidr {
  const cidr = parseCidr(text);
  const reason = unusableBecause(cidr);
  if (reason !== null) throw new InvalidArgumentError(`'${text}' ${reason}; choose another, such as 10.90.0.2/24 or fd90::2/64.`);
  return cidr;
}

function collectCidr(text: string, before: Cidr[] | undefined): Cidr[] {
  return [...(before ?? []), parseHostCidr(text)];
}

/** Values of the options that `addDeviceOptions` adds. */
export interface DeviceOptions {
  tun: string;
  address?: Cidr[];
  hostAddress?: Cidr[];
  mtu: number;
  offload: 'auto' | 'on' | 'off';
  capture?: string;
}

/** What the device and the stack are made with, after defaults and checks. */
export interface DevicePlan {
  tun: string;
  addresses: Cidr[];
  hostAddresses: Cidr[];
  mtu: number;
  offload: 'auto' | 'on' | 'off';
  capture: string | null;
}

/** Their names. */
export const DEVICE_OPTIONS: readonly (keyof DeviceOptions)[] = ['tun', 'address', 'hostAddress', 'mtu', 'offload', 'capture'];

/** Gives a command the options that say which device and stack it works with. */
export function addDeviceOptions(command: Command): Command {
  return command
    .addOption(new Option('--tun <name>', 'name of the TUN device').default(DEFAULT_TUN).argParser(parseTunName))
    .addOption(new Option(
      '--address <cidr...>',
      `the stack's own addresses (default: ${DEFAULT_ADDRESSES.join(' and ')})`,
    ).argParser(collectCidr))
    .addOption(new Option(
      '--host-address <cidr...>',
      `addresses of Linux's side of the device (default: ${DEFAULT_HOST_ADDRESSES.join(' and ')}, `
      + 'or the first other address of each --address network)',
    ).argParser(collectCidr))
    .addOption(new Option('--mtu <bytes>', 'largest IP packet on the device').default(1500).argParser(integer(MIN_MTU, MAX_MTU)))
    .addOption(new Option(
      '--offload <mode>',
      'let Linux cut and merge large segments and finish checksums: auto takes what the kernel has, on insists, '
      + 'off does it all here',
    ).default('auto').choices(['auto', 'on', 'off']))
    .addOption(new Option('--capture <file.pcapng>', 'record all packets, for Wireshark or tshark'));
}

export function addCongestionOption(command: Command): Command {
  return command.addOption(new Option(
    '--congestion <name>', "congestion control of its TCP connections' sending side (default: cubic)",
  ).choices(congestionNames()));
}

/** Fills in defaults and checks what goes together. Throws `CliError` (usage). */
export function planDevice(options: DeviceOptions): DevicePlan {
  const addresses = options.address ?? DEFAULT_ADDRESSES.map(parseCidr);
  const derived = options.address === undefined ? DEFAULT_HOST_ADDRESSES.map(parseCidr) : addresses.map(neighbourOf);
  const hostAddresses = options.hostAddress ?? derived.filter((one) => one !== null);
  for (const address of addresses) {
    if (hostAddresses.some((host) => host.family === address.family && host.value === address.value)) {
      throw new CliError(
        `${address.address} cannot be the stack's and Linux's address at once; change --address or --host-address`, EXIT_USAGE,
      );
    }
    if (addresses.some((other) => other !== address && other.family === address.family && other.value === address.value)) {
      throw new CliError(`--address ${address.address} is given twice`, EXIT_USAGE);
    }
  }
  if (options.mtu < MIN_MTU_IPV6 && [...addresses, ...hostAddresses].some((one) => one.family === 6)) {
    throw new CliError(
      `IPv6 needs an MTU of at least ${MIN_MTU_IPV6}; raise --mtu, or give only IPv4 addresses with --address and --host-address`,
      EXIT_USAGE,
    );
  }
  return {
    tun: options.tun,
    addresses,
    hostAddresses,
    mtu: options.mtu,
    offload: options.offload,
    capture: options.capture ?? null,
  };
}
