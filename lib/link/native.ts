/**
 * Finds and loads the native addon (native/*.c), which is needed for TUN devices, and between
 * a stack and applications of other processes.
 * It lies in `native/build/Release/` of the package when built there, else in
 * `native/prebuilt/<platform>-<arch>[-musl]/`.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What `link()` tells of an interface. */
export interface NativeLink {
  name: string;
  index: number;
  /** Bytes. */
  mtu: number;
  /** Packets that wait for a reader before Linux drops. */
  queueLength: number;
  /** `IFF_…` bits of net/if.h; 1 is up. */
  flags: number;
}

/** One address of one of the machine's interfaces. */
export interface NativeAddress {
  /** Interface index. */
  index: number;
  /** As inet_ntop(3) writes it. */
  address: string;
  prefixLength: number;
}

/** `(event, value)`: an `EVENT_…` of native/tun.h and what belongs to it. */
export type NativeCallback = (event: number, value: number) => void;

/**
 * The addon's functions. Devices are small integer ids. What returns a number gives a negative errno
 * when it failed, and `failedCall()` then names the system call; -EBADF for an id that is closed.
 */
export interface NativeAddon {
  /** Opens, or takes over, the TUN device of this name ('' or 'x%d': Linux picks). Returns its id. */
  open(name: string, extraFlags: number): number;
  close(id: number): void;
  ref(id: number): void;
  unref(id: number): void;
  failedCall(): string;
  /** 0 when there is no such interface. */
  interfaceIndex(name: string): number;
  setOffload(id: number, tunFlags: number): number;
  setPersist(id: number, on: number): number;
  setSendBuffer(id: number, bytes: number): number;
  /** Lets a kernel thread take what is written; for a device opened with IFF_NAPI. */
  setThreaded(id: number): number;
  setMtu(id: number, bytes: number): number;
  setQueueLength(id: number, packets: number): number;
  setUp(id: number, up: number): number;
  disableLinkLocal(id: number): number;
  addAddress(id: number, address: string, prefixLength: number): number;
  removeAddress(id: number, address: string, prefixLength: number): number;
  addRoute(id: number, network: string, prefixLength: number): number;
  link(id: number): NativeLink | number;
  addresses(): NativeAddress[] | number;
  /**
   * Starts reading into `memory[0 … rxBytes)`, describing packets in `meta` (`RX_…` of link.ts) and
   * counting in `shared` (slots in native/tun.h).
   */
  attach(id: number, memory: ArrayBuffer, rxBytes: number, meta: Int32Array, shared: Float64Array,
    busyPollUs: number, callback: NativeCallback): number;
  /** Names the transmit queue's arrays for `send`. */
  bind(id: number, packets: Int32Array, pieces: Int32Array): number;
  /** Writes packets `head … tail - 1`. Returns the first that was not taken. */
  send(id: number, head: number, tail: number): number;
}

/** Why the addon could not be loaded; `code` is 'ERR_TCPU_NATIVE'. */
export class NativeError extends Error {
  readonly code = 'ERR_TCPU_NATIVE';
}

/** The folder of package.json, from lib/ as well as from dist/lib/. */
function packageRoot(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  let folder = here;
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) return join(here, '..', '..');
    folder = parent;
  }
  return folder;
}

function isMusl(): boolean {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header !== undefined && report.header.glibcVersionRuntime === undefined;
}

function find(): string | null {
  const folder = join(packageRoot(), 'native');
  const built = join(folder, 'build', 'Release', 'tcpu.node');
  if (existsSync(built)) return built;
  if (!existsSync(join(folder, 'prebuilt'))) return null;
  const prebuilt = join(folder, 'prebuilt', `${process.platform}-${process.arch}${isMusl() ? '-musl' : ''}`, 'tcpu.node');
  return existsSync(prebuilt) ? prebuilt : null;
}

let addon: NativeAddon | null = null;

/** Loads the addon, once per thread. Throws `NativeError` when it is missing or does not load. */
export function loadNative(): NativeAddon {
  if (addon !== null) return addon;
  if (process.platform !== 'linux') throw new NativeError('TUN devices are for Linux only; use a memory link here');
  const file = find();
  if (file === null) {
    throw new NativeError('the native addon (TUN devices, attaching) is not built; run `npx tcpu build-native`, or `npm run build:native`'
      + ` in ${packageRoot()} (needs a C compiler, make and python3)`);
  }
  try {
    addon = createRequire(import.meta.url)(file) as NativeAddon;
  } catch (cause) {
    throw new NativeError(`the native addon ${file} does not load (${(cause as Error).message});`
      + ' build it anew with `npm run build:native -- --force`', { cause });
  }
  return addon;
}
