/**
 * Where a measurement runs: a client's namespace, a target address, and the TCP that answers there. Three Linux
 * topologies are the baselines, our stack behind a TUN device is the candidate:
 *
 *     loopback                 veth                              tun
 *     +-------------------+    +----------+   +-------------+    +----------------------------------+
 *     | load -- load serve|    | load   veth---veth  load   |    | load -- Linux TCP -- tcpu0 (TUN) |
 *     |    127.0.0.1      |    |  .1      |   |  .2  serve  |    |   .1                    |        |
 *     +-------------------+    +----------+   +-------------+    |           node bin/tcpu up .2    |
 *                                                                +----------------------------------+
 *
 * Each box is a network namespace. No process is pinned to a CPU in any of them.
 */

import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addNamespace, Child, removeNamespace, run, runIn } from './processes.ts';
import { LOAD } from './load.ts';

export const ROOT = resolve(fileURLToPath(new URL('..', import.meta.url)));

/** Source addresses a client may use, so that no measurement waits for a port (TIME-WAIT). */
export const SOURCES = 8;

/** Ports of the services, the same everywhere. */
export const PORTS = { echo: 7, discard: 9, chargen: 19 } as const;
export type Service = keyof typeof PORTS;

export interface Topology {
  /** As it stands in tables and filters. */
  readonly name: string;
  /** What it is, in words. */
  readonly title: string;
  /** True when our stack answers. */
  readonly candidate: boolean;
  /** Address the services listen on. */
  readonly target: string;
  /** First of `SOURCES` consecutive addresses of the client. */
  readonly source: string;
  /** Namespace of the client; after `start()`. */
  clientNamespace: string;
  /** The process that answers; after `start()`. */
  server: Child | undefined;
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function startLinuxServer(namespace: string, address: string): Promise<Child> {
  const services = Object.entries(PORTS).map(([service, port]) => `${service}@${port}`);
  const server = new Child(namespace, LOAD, ['serve', '--bind', address, ...services]);
  const line = await server.line(5000);
  if (!line.startsWith('ready ')) throw new Error(`load serve: ${line}`);
  return server;
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
  readonly candidate = false;
  readonly target = '127.0.0.1';
  readonly source = '127.0.0.101'; // all of 127/8 is local
  clientNamespace = '';
  server: Child | undefined = undefined;

  async start(): Promise<void> {
    this.clientNamespace = addNamespace(this.name);
    this.server = await startLinuxServer(this.clientNamespace, this.target);
  }

  async stop(): Promise<void> {
    await this.server?.stop();
    removeNamespace(this.clientNamespace);
  }
}

class Veth implements Topology {
  readonly name: string;
  readonly title: string;
  readonly candidate = false;
  readonly target = '10.91.0.2';
  readonly source = '10.91.0.101';
  clientNamespace = '';
  server: Child | undefined = undefined;
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
    this.server = await startLinuxServer(far, this.target);
  }

  async stop(): Promise<void> {
    await this.server?.stop();
    removeNamespace(this.clientNamespace);
    removeNamespace(this.#serverNamespace);
  }
}

/** Our stack, as a user runs it: `node bin/tcpu up` on the built package. */
export class Tun implements Topology {
  readonly name: string;
  readonly title: string;
  readonly candidate = true;
  readonly target = '10.92.0.2';
  readonly source = '10.92.0.101';
  clientNamespace = '';
  server: Child | undefined = undefined;
  readonly #mtu: number;
  readonly #offload: boolean;
  readonly #nodeArgs: string[];

  /** @param nodeArgs options of node itself, for profiles and the like */
  constructor(name: string, mtu: number, offload: boolean, nodeArgs: string[] = []) {
    this.name = name;
    this.title = `tcpu over TUN, MTU ${mtu}, ${offload ? 'offload' : 'plain packets'}`;
    this.#mtu = mtu;
    this.#offload = offload;
    this.#nodeArgs = nodeArgs;
  }

  /** The same with other options of node. */
  withNodeArgs(nodeArgs: string[]): Tun {
    return new Tun(this.name, this.#mtu, this.#offload, nodeArgs);
  }

  async start(): Promise<void> {
    this.clientNamespace = addNamespace(this.name);
    const services = Object.entries(PORTS).map(([service, port]) => `${service}@${port}`);
    const server = new Child(this.clientNamespace, process.execPath, [
      ...this.#nodeArgs, resolve(ROOT, 'bin/tcpu'), 'up', '--tun', 'tcpu0',
      '--address', '10.92.0.2/24', '--host-address', '10.92.0.1/24',
      '--mtu', `${this.#mtu}`, '--offload', this.#offload ? 'on' : 'off', '--serve', services.join(','),
    ], ['ignore', 'pipe', 'pipe', 'pipe']);
    this.server = server;
    try {
      while (!(await server.line(10_000)).startsWith('ready ')) continue;
    } catch (error) {
      throw new Error(`tcpu up does not start (is it built? npm run build): ${(error as Error).message}`);
    }
    addSources(this.clientNamespace, 'tcpu0', this.source);
  }

  async stop(): Promise<void> {
    const code = await this.server?.stop();
    removeNamespace(this.clientNamespace);
    if (code) console.error(`${this.name}: tcpu ended with ${code}: ${this.server?.stderr.trim()}`);
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
    new Tun('tun-plain', 1500, false),
    new Tun('tun-65535', 65535, true),
    new Tun('tun-65535-plain', 65535, false),
  ];
}
