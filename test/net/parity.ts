/**
 * One test body, run on node:net (over the host's loopback) and on ours: what the body returns, a record of what it
 * saw, must be the same. Addresses and ports in it are replaced by names, so that different hosts compare.
 */

import { EventEmitter, once } from 'node:events';
import nodeNet from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { attach } from '../../lib/attach.ts';
import type { OwnAttachment } from '../../lib/attach.ts';
import { createNet } from '../../lib/net/net.ts';
import type { Net, Server, Socket } from '../../lib/net/net.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { createStack } from '../../lib/stack.ts';
import type { Stack } from '../../lib/stack.ts';
import { CallChannel } from '../channel/call-channel.ts';
import { FakeProvider } from './fake-provider.ts';

export interface Env {
  readonly name: string;
  /** The module on the side that listens, and on the side that connects. */
  readonly server: Net;
  readonly client: Net;
  /** Where the server listens; an address of the client's; one that is nobody's. */
  readonly host: string;
  readonly clientHost: string;
  readonly foreignHost: string;
  /** Another address of the server's. */
  readonly otherHost: string;
  /** Closes what was made; resolves when nothing is left open. */
  close(): Promise<void>;
}

function nodeEnv(): Env {
  const net = nodeNet as unknown as Net;
  return {
    name: 'node:net', server: net, client: net,
    host: '127.0.0.1', clientHost: '127.0.0.1', foreignHost: '203.0.113.77', otherHost: '127.0.0.9',
    close: async () => {},
  };
}

function fakeEnv(synchronous: boolean): Env {
  const provider = new FakeProvider(synchronous);
  const net = createNet(provider);
  return {
    name: synchronous ? 'synchronous fake' : 'fake', server: net, client: net,
    host: '127.0.0.1', clientHost: '127.0.0.1', foreignHost: '203.0.113.77', otherHost: '127.0.0.9',
    close: () => until(() => provider.open === 0, () => `${provider.open} sockets left open`),
  };
}

/** Resolves when no connection and no listener is left, and the stack is closed. */
async function closeStack(stack: Stack): Promise<void> {
  await until(() => stack.connections().length === 0, () => JSON.stringify(stack.connections()));
  await stack.close();
}

/** Two stacks, back to back. */
function stacksEnv(): Env {
  const [a, b] = createMemoryPair();
  const client = createStack({ link: a, addresses: ['10.1.0.1/24'] });
  const server = createStack({ link: b, addresses: ['10.1.0.2/24', '10.1.0.9/24'] });
  return {
    name: 'two stacks', server: server.net, client: client.net,
    host: '10.1.0.2', clientHost: '10.1.0.1', foreignHost: '203.0.113.77', otherHost: '10.1.0.9',
    close: async () => {
      await Promise.all([closeStack(client), closeStack(server)]);
    },
  };
}

/** One stack that speaks to itself: all of a connection happens inside of calls. */
function loopbackEnv(): Env {
  const [link, other] = createMemoryPair();
  const stack = createStack({ link, addresses: ['10.1.0.1/24', '10.1.0.9/24'] });
  return {
    name: 'one stack', server: stack.net, client: stack.net,
    host: '10.1.0.1', clientHost: '10.1.0.1', foreignHost: '203.0.113.77', otherHost: '10.1.0.9',
    close: async () => {
      await closeStack(stack);
      other.close();
    },
  };
}

/** Two stacks, and applications whose sockets live in them; events come on their own, as over a ring. */
function applicationsEnv(): Env {
  const [a, b] = createMemoryPair();
  const client = createStack({ link: a, addresses: ['10.1.0.1/24'] });
  const server = createStack({ link: b, addresses: ['10.1.0.2/24', '10.1.0.9/24'] });
  // As `tcpu up` does: sockets of others do not keep a stack.
  client.ref();
  server.ref();
  const [clients, servers] = [client, server].map((stack) => {
    return new CallChannel({ provider: stack, udp: stack.udp, echo: stack.echo }, { soon: setImmediate });
  }) as [CallChannel, CallChannel];
  return {
    name: 'two applications', server: createNet(servers.client), client: createNet(clients.client),
    host: '10.1.0.2', clientHost: '10.1.0.1', foreignHost: '203.0.113.77', otherHost: '10.1.0.9',
    close: async () => {
      await until(() => clients.server.size + servers.server.size === 0, () => 'sockets are left open');
      await Promise.all([closeStack(client), closeStack(server)]);
    },
  };
}

/** Resolves when the application has no connection and no listener left, TCPK did not complain, and nothing is left with it. */
async function closeApplication(app: OwnAttachment, stack: Stack): Promise<void> {
  const { tcp } = app.tcpu.tcpu;
  await until(() => tcp.connections === 0, () => JSON.stringify(app.connections()));
  const { table, counters } = stack.tcpk!;
  await until(() => table.flows === tcp.timeWaits && table.bound === 0, () => `TCPK has ${table.flows} flows, ${table.bound} bindings`);
  if (counters.Violations > 0) throw new Error(`${counters.Violations} violations`);
  await app.close();
  await stack.close();
}

const applications = { shared: false, windowBytes: 16 << 20 };

/** Two stacks, back to back, each with an application that has its own TCP. */
async function tcpuStacksEnv(): Promise<Env> {
  const [a, b] = createMemoryPair();
  const near = createStack({ link: a, addresses: ['10.1.0.1/24'], applications });
  const far = createStack({ link: b, addresses: ['10.1.0.2/24', '10.1.0.9/24'], applications });
  const client = await attach({ stack: near });
  const server = await attach({ stack: far });
  return {
    name: 'TCPU on two stacks', server: server.net, client: client.net,
    host: '10.1.0.2', clientHost: '10.1.0.1', foreignHost: '203.0.113.77', otherHost: '10.1.0.9',
    close: async () => {
      await Promise.all([closeApplication(client, near), closeApplication(server, far)]);
    },
  };
}

/** One application that speaks to itself over the stack's loopback. */
async function tcpuLoopbackEnv(): Promise<Env> {
  const [link, other] = createMemoryPair();
  const stack = createStack({ link, addresses: ['10.1.0.1/24', '10.1.0.9/24'], applications });
  const app = await attach({ stack });
  return {
    name: 'TCPU on one stack', server: app.net, client: app.net,
    host: '10.1.0.1', clientHost: '10.1.0.1', foreignHost: '203.0.113.77', otherHost: '10.1.0.9',
    close: async () => {
      await closeApplication(app, stack);
      other.close();
    },
  };
}

/** Makers of the environments that are compared with node:net. */
export const targets: (() => Env | Promise<Env>)[] = [
  () => fakeEnv(false), () => fakeEnv(true), stacksEnv, loopbackEnv, applicationsEnv, tcpuStacksEnv, tcpuLoopbackEnv,
];

/** Waits, turn by turn of the event loop, until the condition holds; fails after 10 s. */
export async function until(holds: () => boolean, what: () => string = () => 'condition does not hold'): Promise<void> {
  const end = Date.now() + 10_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(what());
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Resolves at 'close', whether there was an error or not. */
export function closed(emitter: EventEmitter): Promise<unknown[]> {
  return new Promise((resolve) => emitter.once('close', (...args) => resolve(args)));
}

/** Some turns of the event loop, for events that must not come. */
export async function turns(n = 5): Promise<void> {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
}

export type Ports = Record<string, number | undefined>;

/** A copy with addresses and ports, in text and as numbers, replaced by names. */
export function normal(env: Env, value: unknown, ports: Ports = {}): unknown {
  if (typeof value === 'number') {
    for (const [name, port] of Object.entries(ports)) {
      if (port === value) return name;
    }
    return value;
  }
  if (typeof value === 'string') {
    for (const [name, port] of Object.entries(ports)) {
      if (port !== undefined) value = (value as string).replaceAll(new RegExp(`\\b${port}\\b`, 'g'), name);
    }
    return (value as string).replaceAll(env.foreignHost, 'FOREIGN').replaceAll(env.otherHost, 'OTHER')
      .replaceAll(env.host, 'HOST').replaceAll(env.clientHost, 'HOST');
  }
  if (value instanceof Error) return fields(env, value, ports);
  if (Buffer.isBuffer(value)) return normal(env, value.toString(), ports);
  if (Array.isArray(value)) return value.map((item) => normal(env, item, ports));
  if (typeof value !== 'object' || value === null || value instanceof EventEmitter) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, normal(env, item, ports)]));
}

/** All of an error that a program can look at. */
export function fields(env: Env, error: any, ports: Ports = {}): unknown {
  if (!(error instanceof Error)) return error;
  return normal(env, {
    text: String(error), name: error.name, message: error.message, type: error.constructor.name, own: Object.entries(error),
    cause: error.cause && String(error.cause), firstLine: error.stack?.split('\n')[0],
    errors: error instanceof AggregateError ? error.errors : undefined,
  }, ports);
}

/** Records what happens to an emitter, in order. */
export function record(
  env: Env, emitter: EventEmitter, names: string[], log: unknown[] = [], prefix = '', ports: Ports = {},
): unknown[] {
  for (const name of names) {
    emitter.on(name, (...args: unknown[]) => {
      log.push(normal(env, [prefix + name, ...args], ports));
    });
  }
  return log;
}

/** What a call throws, or what it returns. */
export function attempt(env: Env, call: () => unknown): unknown {
  try {
    const result = call();
    return typeof result === 'object' ? 'object' : result;
  } catch (error) {
    return fields(env, error);
  }
}

export async function listening(
  env: Env, options: any, listener?: (socket: Socket) => void,
): Promise<{ server: Server; port: number }> {
  const server = env.server.createServer(options, listener);
  server.listen(0, env.host);
  await once(server, 'listening');
  return { server, port: server.address()!.port };
}

export interface Connected {
  server: Server;
  port: number;
  client: Socket;
  /** The accepted end. */
  peer: Socket;
  close(): Promise<void>;
}

/** A server and one connection to it. */
export async function connected(env: Env, options: { server?: any; client?: any } = {}): Promise<Connected> {
  const { server, port } = await listening(env, options.server);
  const client = env.client.connect({ port, host: env.host, ...options.client });
  const [[peer]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(client, 'connect')]);
  const close = async (): Promise<void> => {
    client.destroy();
    peer.destroy();
    server.close();
    await until(() => server._connections === 0);
  };
  return { server, port, client, peer, close };
}

/** Runs the body on node:net and on each target, and compares the records. */
export function parity(name: string, body: (env: Env, t: Test) => Promise<unknown>): void {
  void t.test(name, async (t) => {
    const reference = nodeEnv();
    const expected = await body(reference, t);
    t.ok(expected !== undefined, 'the body returns a record');
    for (const make of targets) {
      const env = await make();
      await t.test(env.name, async (t) => {
        // unlike sockets of the host, the fake's do not keep the process alive
        const alive = setInterval(() => {}, 1000);
        try {
          t.strictSame(await body(env, t), expected, `${env.name} does as node:net`);
          await env.close();
        } finally {
          clearInterval(alive);
        }
      });
    }
  });
}
