/**
 * Where a measurement runs: a client's namespace, a target address, and the TCP that answers there. Three Linux
 * topologies are the baselines, our stack behind a TUN device is the candidate, and in its turn the baseline of the
 * **columns** in which applications of other processes answer (`AttachedTun`):
 *
 *     loopback                 veth                              tun
 *     +-------------------+    +----------+   +-------------+    +----------------------------------+
 *     | load -- load serve|    | load   veth---veth  load   |    | load -- Linux TCP -- tcpu0 (TUN) |
 *     |    127.0.0.1      |    |  .1      |   |  .2  serve  |    |   .1                    |        |
 *     +-------------------+    +----------+   +-------------+    |           node bin/tcpu up .2    |
 *                                                                +----------------------------------+
 *
 *     tcpu, thread, kernel-app
 *     +--------------------------------------------------------------------------+
 *     | load -- Linux TCP -- tcpu0 (TUN)                                         |
 *     |  .1                      |                                               |
 *     |           node bin/tcpu up .2  == window, doorbells ==  bin/tcpu serve   |
 *     +--------------------------------------------------------------------------+
 *
 * Each box is a network namespace. No process is pinned to a CPU in any of them.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addNamespace, Child, removeNamespace, run, runIn } from './processes.ts';
import { LOAD } from './load.ts';

export const ROOT = resolve(fileURLToPath(new URL('..', import.meta.url)));

/** Source addresses a client may use, so that no measurement waits for a port (TIME-WAIT). */
export const SOURCES = 8;

/** Ports of the services, the same everywhere. */
export const PORTS = { echo: 7, discard: 9, chargen: 19 } as const;
export type Service = keyof typeof PORTS;
const SERVICES = Object.entries(PORTS).map(([service, port]) => `${service}@${port}`);

/** A process that takes part in answering. */
export interface Server {
  readonly name: 'linux' | 'stack' | 'application';
  readonly child: Child;
}

/** Whose TCP answers in the stack's topologies, and in which process. */
export type Column = 'embedded' | 'tcpu' | 'thread' | 'kernel-app';
export const COLUMN_TITLES: Readonly<Record<Column, string>> = {
  embedded: 'the stack\'s TCP in its own process',
  tcpu: 'TCPU in another process',
  thread: 'TCPU in a worker of another process',
  'kernel-app': 'the stack\'s TCP from another process',
};
export const COLUMNS = Object.keys(COLUMN_TITLES) as readonly Column[];

export interface Topology {
  /** As it stands in tables and filters. */
  readonly name: string;
  /** What it is, in words. */
  readonly title: string;
  /** Whose TCP answers when it is ours; null for Linux's. */
  readonly column: Column | null;
  /** Address the services listen on. */
  readonly target: string;
  /** First of `SOURCES` consecutive addresses of the client. */
  readonly source: string;
  /** Namespace of the client; after `start()`. */
  clientNamespace: string;
  /** The processes that answer, the one with the application last; after `start()`. */
  servers: readonly Server[];
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function startLinuxServer(namespace: string, address: string): Promise<Server[]> {
  const child = new Child(namespace, LOAD, ['serve', '--bind', address, ...SERVICES]);
  const line = await child.line(5000);
  if (!line.startsWith('ready ')) throw new Error(`load serve: ${line}`);
  return [{ name: 'linux', child }];
}

function addSources(namespace: string, device: string, source: string): void {
  const dot = source.lastIndexOf('.');
  const first = Number(source.slice(dot + 1));
  for (let i = 0; i < SOURCES; i++) {
    run('ip', '-n', namespace, 'address', 'add', `${source.slice(0, dot)}.${first + i}/24`, 'dev', device);
  }
}

class Loopback implements Topology {
  readonly name = 'loopback';
  readonly title = 'Linux over loopback (MTU 65536)';
  readonly column = null;
  readonly target = '127.0.0.1';
  readonly source = '127.0.0.101'; // all of 127/8 is local
  clientNamespace = '';
  servers: readonly Server[] = [];

  async start(): Promise<void> {
    this.clientNamespace = addNamespace(this.name);
    this.servers = await startLinuxServer(this.clientNamespace, this.target);
  }

  async stop(): Promise<void> {
    await stopAll(this);
    removeNamespace(this.clientNamespace);
  }
}

class Veth implements Topology {
  readonly name: string;
  readonly title: string;
  readonly column = null;
  readonly target = '10.91.0.2';
  readonly source = '10.91.0.101';
  clientNamespace = '';
  servers: readonly Server[] = [];
  #serverNamespace = '';
  readonly #mtu: number;
  readonly #offload: boolean;

  constructor(name: string, mtu: number, offload: boolean) {
    this.name = name;
    this.title = `Linux over a veth pair, MTU ${mtu}, ${offload ? 'default' : 'no'} offloads`;
    this.#mtu = mtu;
    this.#offload = offload;
  }

  async start(): Promise<void> {
    const near = (this.clientNamespace = addNamespace(`${this.name}-a`));
    const far = (this.#serverNamespace = addNamespace(`${this.name}-b`));
    run('ip', '-n', near, 'link', 'add', 'veth0', 'mtu', `${this.#mtu}`, 'type', 'veth',
      'peer', 'name', 'veth0', 'mtu', `${this.#mtu}`, 'netns', far);
    for (const [namespace, address] of [[near, '10.91.0.1/24'], [far, '10.91.0.2/24']] as const) {
      run('ip', '-n', namespace, 'address', 'add', address, 'dev', 'veth0');
      if (!this.#offload) {
        runIn(namespace, 'ethtool', '-K', 'veth0',
          'tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off', 'rx', 'off', 'sg', 'off');
      }
      run('ip', '-n', namespace, 'link', 'set', 'veth0', 'up');
    }
    addSources(near, 'veth0', this.source);
    this.servers = await startLinuxServer(far, this.target);
  }

  async stop(): Promise<void> {
    await stopAll(this);
    removeNamespace(this.clientNamespace);
    removeNamespace(this.#serverNamespace);
  }
}

const ADDRESS = '10.92.0.2/24';
const HOST_ADDRESS = '10.92.0.1/24';

/** Stops the processes, the last first. What one of them has to say about its end is printed. */
async function stopAll(topology: Topology): Promise<void> {
  for (const { name, child } of [...topology.servers].reverse()) {
    const code = await child.stop();
    if (code !== 0 && name !== 'linux') console.error(`${topology.name}: the ${name} ended with ${code}: ${child.stderr.trim()}`);
  }
}

/** Our stack, as a user runs it: `node bin/tcpu up` on the built package. */
export class Tun implements Topology {
  readonly name: string;
  readonly title: string;
  readonly column: Column;
  readonly target = '10.92.0.2';
  readonly source = '10.92.0.101';
  clientNamespace = '';
  servers: readonly Server[] = [];
  readonly mtu: number;
  readonly offload: boolean;
  /** Options of node itself, for profiles and the like. */
  nodeArgs: readonly string[] = [];

  constructor(name: string, mtu: number, offload: boolean, column: Column = 'embedded') {
    this.name = name;
    this.column = column;
    this.title = `${COLUMN_TITLES[column]} over TUN, MTU ${mtu}, ${offload ? 'offload' : 'plain packets'}`;
    this.mtu = mtu;
    this.offload = offload;
  }

  /** What `tcpu up` serves. */
  protected get services(): string[] {
    return SERVICES;
  }

  protected get deviceArgs(): string[] {
    return [
      '--tun', 'tcpu0', '--address', ADDRESS, '--host-address', HOST_ADDRESS, '--mtu', `${this.mtu}`,
      '--offload', this.offload ? 'on' : 'off',
    ];
  }

  /** Starts a command of ours and waits for its 'ready'. */
  protected async run(name: Server['name'], command: string, args: string[]): Promise<void> {
    const child = new Child(
      this.clientNamespace, process.execPath, [...this.nodeArgs, resolve(ROOT, 'bin/tcpu'), command, ...args], ['ignore', 'pipe', 'pipe', 'pipe'],
    );
    this.servers = [...this.servers, { name, child }];
    try {
      while (!(await child.line(10_000)).startsWith('ready ')) continue;
    } catch (error) {
      throw new Error(`tcpu ${command} does not start (is it built? npm run build): ${(error as Error).message}`);
    }
  }

  async start(): Promise<void> {
    this.clientNamespace = addNamespace(this.name);
    await this.run('stack', 'up', [...this.deviceArgs, '--no-socket', '--serve', this.services.join(',')]);
    addSources(this.clientNamespace, 'tcpu0', this.source);
  }

  async stop(): Promise<void> {
    await stopAll(this);
    this.servers = [];
    removeNamespace(this.clientNamespace);
  }
}

/** The same with the services in an application of another process, attached to the stack. */
export class AttachedTun extends Tun {
  /** Sizes of the window's parts, as `tcpu serve --window` takes them; '' for the defaults. */
  window = '';
  /** Path of the stack's control socket; after `start()`. */
  socket = '';

  override async start(): Promise<void> {
    this.clientNamespace = addNamespace(this.name);
    const directory = mkdtempSync(join(tmpdir(), 'tcpu-bench-'));
    try {
      this.socket = join(directory, 'stack.sock');
      await this.run('stack', 'up', [ ...this.deviceArgs, '--socket', this.socket]);
      addSources(this.clientNamespace, 'tcpu0', this.source);
      await this.run('application', 'serve', [
        SERVICES.join(','), '--socket', this.socket, '--tcp', this.column === 'kernel-app' ? 'kernel' : 'tcpu',
        ...(this.column === 'thread' ? ['--thread'] : []), ...(this.window === '' ? [] : ['--window', this.window]),
      ]);
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  override async stop(): Promise<void> {
    await super.stop();
    if (this.socket !== '') rmSync(dirname(this.socket), { recursive: true, force: true });
  }
}

/** Every topology, baselines first. */
export function topologies(): Topology[] {
  return [
    new Loopback(),
    new Veth('veth', 1500, true),
    new Veth('veth-plain', 1500, false),
    new Veth('veth-65535', 65535, true),
    new Tun('tun', 1500, true),
    new AttachedTun('tcpu', 1500, true, 'tcpu'),
    new AttachedTun('thread', 1500, true, 'thread'),
    new AttachedTun('kernel-app', 1500, true, 'kernel-app'),
    new Tun('tun-plain', 1500, false),
    new Tun('tun-65535', 65535, true),
    new AttachedTun('tcpu-65535', 65535, true, 'tcpu'),
    new AttachedTun('thread-65535', 65535, true, 'thread'),
    new AttachedTun('kernel-app-65535', 65535, true, 'kernel-app'),
    new Tun('tun-65535-plain', 65535, false),
  ];
}
