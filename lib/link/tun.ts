/**
 * The TUN link: IP packets between a stack and the Linux kernel, through /dev/net/tun.
 *
 * The device is opened with virtio headers (IFF_VNET_HDR), so that segments of up to 64 KB cross in both
 * directions and checksums are left to whoever needs them (linux/virtio_net.h). Packets move in batches
 * in native/tun-io.c; this file opens and configures the device and ties it to the stack. Addresses,
 * routes and the link's attributes are set on Linux's side over rtnetlink(7), without calling `ip`.
 *
 * The class also keeps the vocabulary of the `tuntap2` package: `name`, `mtu`, `ipv4`, `ipv6`, `isUp`,
 * `release()`.
 *
 * Left out: TAP devices, several queues.
 */

import { readFileSync, writeFileSync } from 'node:fs';

import createDebug from 'debug';
import { IPv4, IPv4CidrRange, IPv6, IPv6CidrRange } from 'ip-num';

import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import { monotonicZeroUs } from '../clock.ts';
import { LINK_CSUM, LINK_TSO4, LINK_TSO6, LINK_USO, PacketBatch } from './link.ts';
import type { Link, LinkHost } from './link.ts';
import { loadNative } from './native.ts';
import type { NativeAddon, NativeAddress, NativeLink } from './native.ts';
import { addressTakenError, configureError, downError, ipv6Error, openError, optionError } from './tun-error.ts';

const debug = createDebug('tcpu:tun');

/** TUN_F_… of linux/if_tun.h. */
const TUN_F_CSUM = 0x01;
const TUN_F_TSO4 = 0x02;
const TUN_F_TSO6 = 0x04;
/** Merged segments may carry CWR (`GSO_ECN`). */
const TUN_F_TSO_ECN = 0x08;
/** Linux 6.2 and later; both or none. */
const TUN_F_USO4 = 0x20;
const TUN_F_USO6 = 0x40;

/** What `offload: 'auto'` asks for, the most first. */
const OFFLOAD_STEPS = [
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
  TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
  TUN_F_CSUM,
  0,
];

/** net/if.h, linux/if_tun.h */
const IFF_UP = 1;
const IFF_NAPI = 0x10;

/** EVENT_… of native/tun.h. */
const EVENT_PACKETS = 0;
const EVENT_WRITABLE = 1;

/** Slots of the array shared with native/tun.h. */
const SHARED_TIME = 0;
const SHARED_SLOTS = 12;

/** Packets in one batch, unless the options say otherwise. */
const BATCH_PACKETS = 256;
const QUEUE_LENGTH = 4096;
/** With IFF_NAPI what was written waits in a queue that nothing else bounds. */
const NAPI_SEND_BUFFER = 8 << 20;
/** linux/if_tun.c: ETH_MIN_MTU to 65535. */
const MIN_MTU = 68;
const MAX_MTU = 65535;
/** RFC 8200 section 5. */
const IPV6_MIN_MTU = 1280;
/** How old `mtu` may be: someone may run `ip link set … mtu`. */
const MTU_AGE_MS = 1000;

export interface TunOptions {
  /** Interface name, up to 15 bytes; `%d` in it stands for a number that Linux picks. Default 'tcpu%d'. */
  name?: string;
  /** Largest IP packet in bytes, 68 to 65535 (1280 at least with IPv6). Default: as it is, 1500 when new. */
  mtu?: number;
  /** Addresses of Linux's side, in CIDR form: '10.90.0.1/24', 'fd90::1/64'. */
  hostAddresses?: string[];
  /** Networks that Linux is to reach through the device, in CIDR form, beside those of `hostAddresses`. */
  routes?: string[];
  /**
   * 'auto': take what the kernel offers of checksums, TCP (and UDP) super-segments; 'on': the same, but
   * fail without super-segments; 'off': every packet crosses as it would on a wire. Default 'auto'.
   */
  offload?: 'auto' | 'on' | 'off';
  /** Packets that may wait for this process before Linux drops. Default 4096. */
  queueLength?: number;
  /** Whether the device outlives the process. Default: as it is, no when new. */
  persist?: boolean;
  /** Whether to set the interface up. Default true. */
  up?: boolean;
  /** How long to look for more packets after a batch before sleeping, µs; burns CPU to save wake-ups. Default 0. */
  busyPollUs?: number;
  /** Most packets that are handed to the stack at once. Default 256. */
  batchPackets?: number;
  /** Bytes that Linux may hold of what was sent before it makes us wait. Default: no bound; 8 MiB with `napi`. */
  sendBufferBytes?: number;
  /**
   * Let a kernel thread run Linux's receive path, and merge segments (GRO), instead of running it inside
   * our writes (IFF_NAPI, threaded). Bulk output of plain packets costs this process less than half, at the
   * price of another CPU and of some latency. Needs CAP_SYS_ADMIN; goes without where it cannot be had
   * (`Tun.napi` tells). Default: only when `offload` is 'off', where it doubles what can be written; with
   * super-segments it gains nothing and costs latency.
   */
  napi?: boolean;
}

/** What the device has counted since it was opened. Every packet that was not sent is in one of the `tx…Drops`. */
export class TunCounters {
  /** Packets, bytes (of IP) and batches read. */
  rxPackets = 0;
  rxBytes = 0;
  rxBatches = 0;
  /** Reads that failed or gave no packet. */
  rxErrors = 0;
  /** Packets and bytes (of IP) written, and calls of `send()`. */
  txPackets = 0;
  txBytes = 0;
  txCalls = 0;
  /** Times that the device was full and packets had to wait. */
  txBlocked = 0;
  /** Dropped: the interface is down or gone. */
  txDownDrops = 0;
  /** Dropped: refused by the kernel as malformed. */
  txInvalidDrops = 0;
  /** Dropped: the kernel had no memory. */
  txMemoryDrops = 0;
}

/** An address or network with its prefix length, as text and number. */
interface Cidr {
  version: 4 | 6;
  address: string;
  prefixLength: number;
  value: bigint;
}

function addressValue(address: string): bigint {
  return (address.includes(':') ? new IPv6(address) : new IPv4(address)).value;
}

/** Throws EINVAL for what is no CIDR notation. */
function parseCidr(text: string, what: string): Cidr {
  const version = text.includes(':') ? 6 : 4;
  try {
    if (text.includes('%')) throw new Error('it has a zone');
    const range = version === 6 ? IPv6CidrRange.fromCidr(text) : IPv4CidrRange.fromCidr(text);
    const address = text.slice(0, text.indexOf('/'));
    return { version, address, prefixLength: Number(range.cidrPrefix.value), value: addressValue(address) };
  } catch (error) {
    const example = version === 6 ? 'fd90::1/64' : '10.90.0.1/24';
    throw optionError(`'${text}' is no ${what} in CIDR form such as ${example} (${(error as Error).message})`);
  }
}

/** The network that an address lies in: its host bits cleared, as routes want it. */
function networkOf(cidr: Cidr): string {
  const bits = cidr.version === 6 ? 128n : 32n;
  const hostBits = bits - BigInt(cidr.prefixLength);
  const value = (cidr.value >> hostBits) << hostBits;
  return (cidr.version === 6 ? new IPv6(value) : new IPv4(value)).toString();
}

function checkName(name: string): void {
  const plain = name.replace('%d', '0');
  if (!/^[^\s/:%]{1,15}$/.test(plain) || plain === '.' || plain === '..' || Buffer.byteLength(plain) > 15) {
    throw optionError(`'${name}' is no interface name: 1 to 15 bytes without spaces, '/', ':' and '%'`
      + " (but '%d' stands for a number)");
  }
}

function checkInteger(value: number, least: number, most: number, what: string): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw optionError(`the ${what} ${value} is not an integer from ${least} to ${most}`);
  }
}

function checkOptions(options: TunOptions): void {
  checkName(options.name ?? 'tcpu%d');
  if (options.mtu !== undefined) checkInteger(options.mtu, MIN_MTU, MAX_MTU, 'MTU');
  checkInteger(options.queueLength ?? QUEUE_LENGTH, 1, 1 << 20, 'queue length');
  checkInteger(options.busyPollUs ?? 0, 0, 1000, 'busy poll time in µs');
  checkInteger(options.batchPackets ?? BATCH_PACKETS, 1, 1 << 16, 'batch size in packets');
  if (options.sendBufferBytes !== undefined) checkInteger(options.sendBufferBytes, 1, 0x7fffffff, 'send buffer size');
  if (!['auto', 'on', 'off'].includes(options.offload ?? 'auto')) {
    throw optionError(`offload is '${options.offload}'; it may be 'auto', 'on' or 'off'`);
  }
}

/** Whether Linux gives new interfaces IPv6 here; containers often have it turned off. */
export function hostHasIpv6(): boolean {
  try {
    return readFileSync('/proc/sys/net/ipv6/conf/default/disable_ipv6', 'latin1').trim() === '0';
  } catch {
    return false;
  }
}

/** Linux forgets IPv6 addresses when an interface is set down, unless told otherwise. Where that is not allowed, it forgets. */
function keepAddressesWhenDown(name: string): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/keep_addr_on_down`, '1');
  } catch (error) {
    debug('%s: keep_addr_on_down: %s', name, (error as NodeJS.ErrnoException).code);
  }
}

/**
 * Opens a TUN device and configures Linux's side of it, or takes over an existing one that belongs to the
 * user. Of a device that exists, only what differs from the options is changed.
 *
 * Throws `TunError` (`code`: 'ENOENT' no /dev/net/tun, 'EPERM' no rights, 'EBUSY' name taken, 'EINVAL' bad
 * option, 'EEXIST' address taken, …) or `NativeError` ('ERR_TCPU_NATIVE': the addon is not built).
 */
export function openTun(options: TunOptions = {}): Tun {
  checkOptions(options);
  const addresses = (options.hostAddresses ?? []).map((text) => parseCidr(text, 'address'));
  const routes = (options.routes ?? []).map((text) => parseCidr(text, 'network'));
  if ((options.mtu ?? MAX_MTU) < IPV6_MIN_MTU && addresses.some((address) => address.version === 6)) {
    throw optionError(`the MTU ${options.mtu} is too small for IPv6, which needs ${IPV6_MIN_MTU}`);
  }
  const native = loadNative();
  const name = options.name ?? 'tcpu%d';
  const existed = native.interfaceIndex(name) !== 0;
  const napi = (options.napi ?? options.offload === 'off') && canThread(native);
  const id = native.open(name, napi ? IFF_NAPI : 0);
  if (id < 0) throw openError(id, native.failedCall(), name, existed);
  try {
    const tun = new Tun(native, id, napi, options);
    tun.configure(options, addresses, routes, existed);
    debug('%s: mtu %d, features %d, %o', tun.name, tun.mtu, tun.features, tun.hostAddresses);
    return tun;
  } catch (error) {
    native.close(id);
    throw error;
  }
}

/** Whether a TUN device can have a kernel thread here; found out with one that is dropped again. */
function canThread(native: NativeAddon): boolean {
  const id = native.open('', IFF_NAPI);
  if (id < 0) return false;
  const result = native.setThreaded(id);
  native.close(id);
  if (result < 0) debug('no kernel thread for the device: errno %d', -result);
  return result === 0;
}

/** A TUN device. Made by `openTun()`. Keeps the process alive only while `ref()`ed. */
export class Tun implements Link {
  /** Interface name, as Linux has it. */
  readonly name: string;
  /** `LINK_…` bits. Checksums are always finished, by the kernel or the addon. */
  features = LINK_CSUM;
  /** Whether a kernel thread takes what is written. */
  readonly napi: boolean;

  private readonly native: NativeAddon;
  private readonly id: number;
  private readonly busyPollUs: number;
  private readonly batchPackets: number;
  private closed = false;
  private host: LinkHost | null = null;
  private batch: PacketBatch | null = null;
  /** The queue whose arrays the addon knows. */
  private queue: TransmitQueue | null = null;
  /** Host clock minus CLOCK_MONOTONIC, µs. */
  private clockOffsetUs = 0;
  private readonly shared = new Float64Array(SHARED_SLOTS);
  private readonly totals = new TunCounters();
  private knownMtu = 0;
  private mtuReadMs = -Infinity;

  /** @internal */
  constructor(native: NativeAddon, id: number, napi: boolean, options: TunOptions) {
    this.native = native;
    this.id = id;
    this.napi = napi;
    this.busyPollUs = options.busyPollUs ?? 0;
    this.batchPackets = options.batchPackets ?? BATCH_PACKETS;
    this.name = (native.link(id) as NativeLink).name;
  }

  /** @internal */
  configure(options: TunOptions, addresses: Cidr[], routes: Cidr[], existed: boolean): void {
    const { native, id } = this;
    this.#setOffload(options.offload ?? 'auto');
    if (options.persist !== undefined) this.#check(native.setPersist(id, Number(options.persist)), 'make the device persistent');
    if (this.napi) this.#check(native.setThreaded(id), 'start a kernel thread for it');
    const sendBufferBytes = options.sendBufferBytes ?? (this.napi ? NAPI_SEND_BUFFER : 0);
    if (sendBufferBytes > 0) this.#check(native.setSendBuffer(id, sendBufferBytes), 'set the send buffer size');
    // Without rights a device that was made ready for this user is taken as it is, so far as nothing was asked for.
    const { queueLength } = this.#link();
    const wantedLength = options.queueLength ?? QUEUE_LENGTH;
    if (queueLength !== wantedLength) {
      const result = native.setQueueLength(id, wantedLength);
      if (options.queueLength !== undefined || !existed) this.#check(result, `set the queue length to ${wantedLength}`);
    }
    // The kernel may lack IPv6, in which case there is nothing to turn off.
    if (!existed) {
      native.disableLinkLocal(id);
      keepAddressesWhenDown(this.name);
    }
    if (options.mtu !== undefined && options.mtu !== this.mtu) this.mtu = options.mtu;
    if ((options.up ?? true) && !this.isUp) this.isUp = true;
    for (const address of addresses) this.#addAddress(address);
    for (const route of routes) {
      const network = networkOf(route);
      this.#check(native.addRoute(id, network, route.prefixLength), `add a route to ${network}/${route.prefixLength}`);
    }
  }

  /** Bytes. Setting it changes the interface. */
  get mtu(): number {
    const nowMs = performance.now();
    if (nowMs - this.mtuReadMs >= MTU_AGE_MS && !this.closed) {
      const link = this.native.link(this.id);
      if (typeof link !== 'number') this.knownMtu = link.mtu;
      this.mtuReadMs = nowMs;
    }
    return this.knownMtu;
  }

  set mtu(bytes: number) {
    checkInteger(bytes, MIN_MTU, MAX_MTU, 'MTU');
    this.#check(this.native.setMtu(this.id, bytes), `set the MTU to ${bytes}`);
    this.knownMtu = bytes;
  }

  /** Whether the interface is up (administratively). Setting it changes that. */
  get isUp(): boolean {
    const link = this.native.link(this.id);
    return typeof link !== 'number' && (link.flags & IFF_UP) !== 0;
  }

  set isUp(up: boolean) {
    this.#check(this.native.setUp(this.id, Number(up)), up ? 'set it up' : 'set it down');
  }

  /** Linux's first IPv4 address on the device in CIDR form; null when it has none. Setting it replaces all. */
  get ipv4(): string | null {
    return this.#addressesOf(4)[0] ?? null;
  }

  set ipv4(cidr: string | null) {
    this.#replaceAddresses(4, cidr);
  }

  /** Linux's first IPv6 address on the device in CIDR form; null when it has none. Setting it replaces all. */
  get ipv6(): string | null {
    return this.#addressesOf(6)[0] ?? null;
  }

  set ipv6(cidr: string | null) {
    this.#replaceAddresses(6, cidr);
  }

  /** All of Linux's addresses on the device, in CIDR form. */
  get hostAddresses(): string[] {
    return [...this.#addressesOf(4), ...this.#addressesOf(6)];
  }

  /** Packets that may wait for this process before Linux drops. */
  get queueLength(): number {
    return this.#link().queueLength;
  }

  /** The interface index; 0 when the device is gone. */
  get index(): number {
    const link = this.native.link(this.id);
    return typeof link === 'number' ? 0 : link.index;
  }

  /** Totals until now; one object, brought up to date by each read of this property. */
  get counters(): TunCounters {
    const { shared, totals } = this;
    totals.rxPackets = shared[1]!;
    totals.rxBytes = shared[2]!;
    totals.rxBatches = shared[3]!;
    totals.rxErrors = shared[4]!;
    totals.txPackets = shared[5]!;
    totals.txBytes = shared[6]!;
    totals.txCalls = shared[7]!;
    totals.txBlocked = shared[8]!;
    totals.txDownDrops = shared[9]!;
    totals.txInvalidDrops = shared[10]!;
    totals.txMemoryDrops = shared[11]!;
    return totals;
  }

  attach(host: LinkHost): void {
    if (this.closed) throw this.#closedError();
    if (this.host !== null) throw new Error(`${this.name} is attached to a stack already`);
    const { memory } = host;
    const batch = new PacketBatch(memory.bytes, this.batchPackets);
    this.host = host;
    this.batch = batch;
    this.clockOffsetUs = -monotonicZeroUs(() => host.clock.nowUs());
    const callback = (event: number, value: number): void => this.onEvent(event, value);
    const result = this.native.attach(this.id, memory.buffer, memory.rxBytes, batch.meta, this.shared, this.busyPollUs, callback);
    this.#check(result, 'watch it for packets');
  }

  send(queue: TransmitQueue): void {
    if (queue !== this.queue) this.#bind(queue);
    // A closed device takes everything and sends nothing.
    queue.head = this.native.send(this.id, queue.head, queue.tail);
  }

  ref(): void {
    this.native.ref(this.id);
  }

  unref(): void {
    this.native.unref(this.id);
  }

  /** Closes the descriptor; unless it is persistent, the device is gone when this returns. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.native.close(this.id);
    this.host = null;
    this.batch = null;
    debug('%s: closed', this.name);
  }

  /** The same as `close()`. */
  release(): void {
    this.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private onEvent(event: number, value: number): void {
    const { host, batch } = this;
    if (host === null || batch === null) return;
    if (event === EVENT_PACKETS) {
      batch.count = value;
      batch.timeUs = this.shared[SHARED_TIME]! + this.clockOffsetUs;
      host.input(batch);
    } else if (event === EVENT_WRITABLE) {
      host.writable();
    } else {
      debug('%s: gone, errno %d', this.name, value);
      host.down(downError(value, this.name));
    }
  }

  #bind(queue: TransmitQueue): void {
    if (this.closed) return;
    if (this.host === null || queue.memory !== this.host.memory) {
      throw new Error(`${this.name} can only send from the memory of the stack that it is attached to`);
    }
    this.#check(this.native.bind(this.id, queue.packets, queue.pieces), 'use the transmit queue');
    this.queue = queue;
  }

  #setOffload(offload: 'auto' | 'on' | 'off'): void {
    const steps = offload === 'off' ? [0] : OFFLOAD_STEPS;
    let result = 0;
    const got = steps.find((bits) => (result = this.native.setOffload(this.id, bits)) === 0) ?? 0;
    if (offload === 'on' && (got & TUN_F_TSO4) === 0) {
      throw configureError(result || -95, this.native.failedCall(), this.name,
        "turn on TCP segmentation offload (use offload 'auto' or 'off')");
    }
    this.features = LINK_CSUM
      | ((got & TUN_F_TSO4) !== 0 ? LINK_TSO4 : 0)
      | ((got & TUN_F_TSO6) !== 0 ? LINK_TSO6 : 0)
      | ((got & TUN_F_USO4) !== 0 ? LINK_USO : 0);
  }

  #closedError(): Error {
    return configureError(-9, '', this.name, 'use the device after it was closed');
  }

  /** Throws when `result` is a negative errno. */
  #check(result: number, what: string): void {
    if (result >= 0) return;
    if (this.closed) throw this.#closedError();
    throw configureError(result, this.native.failedCall(), this.name, what);
  }

  #link(): NativeLink {
    const link = this.native.link(this.id);
    if (typeof link !== 'number') return link;
    this.#check(link, 'tell the state of the interface');
    throw new Error('unreachable');
  }

  /** The addresses of all interfaces. */
  #allAddresses(): NativeAddress[] {
    const addresses = this.native.addresses();
    return typeof addresses === 'number' ? [] : addresses;
  }

  #addressesOf(version: 4 | 6): string[] {
    const { index } = this;
    return this.#allAddresses()
      .filter((entry) => entry.index === index && entry.address.includes(':') === (version === 6))
      .map((entry) => `${entry.address}/${entry.prefixLength}`);
  }

  #addAddress(cidr: Cidr): void {
    const { native, id, name } = this;
    const text = `${cidr.address}/${cidr.prefixLength}`;
    const same = this.#allAddresses()
      .filter((entry) => entry.address.includes(':') === (cidr.version === 6) && addressValue(entry.address) === cidr.value);
    const { index } = this;
    if (same.some((entry) => entry.index === index && entry.prefixLength === cidr.prefixLength)) return;
    if (same.some((entry) => entry.index !== index)) throw addressTakenError(name, text);
    let result = native.addAddress(id, cidr.address, cidr.prefixLength);
    if (cidr.version === 4) {
      this.#check(result, `add the address ${text}`);
      return;
    }
    if (result < 0 && this.#enableIpv6()) result = native.addAddress(id, cidr.address, cidr.prefixLength);
    if (result < 0) throw ipv6Error(result, native.failedCall(), name, `add the address ${text}`);
  }

  /** New interfaces may come with IPv6 turned off; this one is ours to turn it on. */
  #enableIpv6(): boolean {
    try {
      const file = `/proc/sys/net/ipv6/conf/${this.name}/disable_ipv6`;
      if (readFileSync(file, 'latin1').trim() === '0') return false;
      writeFileSync(file, '0');
      this.native.disableLinkLocal(this.id);
      return true;
    } catch {
      return false;
    }
  }

  #replaceAddresses(version: 4 | 6, text: string | null): void {
    const cidr = text === null ? null : parseCidr(text, 'address');
    if (cidr !== null && cidr.version !== version) throw optionError(`'${text}' is no IPv${version} address`);
    for (const old of this.#addressesOf(version)) {
      const { address, prefixLength } = parseCidr(old, 'address');
      if (cidr !== null && addressValue(address) === cidr.value && prefixLength === cidr.prefixLength) continue;
      this.#check(this.native.removeAddress(this.id, address, prefixLength), `remove the address ${old}`);
    }
    if (cidr !== null) this.#addAddress(cidr);
  }
}
