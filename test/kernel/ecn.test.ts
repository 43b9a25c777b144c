/**
 * Explicit congestion notification with Linux, both ways: who asks and who agrees, and what happens when nft marks
 * packets of the one or of the other. Counters of nft and of the stack tell what was on the wire.
 */

import './namespace.ts';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import type { TcpInfo } from '../../lib/socket.ts';
import type { Stack } from '../../lib/stack.ts';
import type { TcpCounters } from '../../lib/tcp/counters.ts';
import type { TcpOptions } from '../../lib/tcp/config.ts';
import { LINUX4, LINUX6, STACK4, STACK6, lacking, run, stackOnTun } from './harness.ts';

const skip = lacking('nft');
const BYTES = 4_000_000;

/** Linux's tcp_ecn: 1 asks and agrees, 2 agrees (its default). */
function linuxEcn(mode: number): void {
  writeFileSync('/proc/sys/net/ipv4/tcp_ecn', String(mode));
}

/**
 * Between Linux and the stack: counts segments by what they say, and marks one of 40 packets that may be marked, of
 * those to the stack (`marksIn`), and of those from it (`marksOut`).
 */
async function watch(t: Test, marksIn: boolean, marksOut: boolean): Promise<() => Promise<Record<string, number>>> {
  const names = ['ect_in', 'ect_out', 'ece_in', 'ece_out', 'cwr_in', 'cwr_out', 'syn_ect'];
  const rules = (way: 'in' | 'out', dev: string, mark: boolean): string => `
    ${dev} "tcpu0" tcp flags & (syn | ecn) == ecn counter name ece_${way}
    ${dev} "tcpu0" tcp flags & (syn | cwr) == cwr counter name cwr_${way}
    ${dev} "tcpu0" ip ecn ect0 counter name ect_${way}
    ${dev} "tcpu0" ip6 ecn ect0 counter name ect_${way}
    ${dev} "tcpu0" tcp flags & syn == syn ip ecn != not-ect counter name syn_ect
    ${dev} "tcpu0" tcp flags & syn == syn ip6 ecn != not-ect counter name syn_ect
    ${mark ? `${dev} "tcpu0" ip ecn ect0 numgen inc mod 40 == 0 ip ecn set ce` : ''}
    ${mark ? `${dev} "tcpu0" ip6 ecn ect0 numgen inc mod 40 == 0 ip6 ecn set ce` : ''}`;
  const table = `table inet marks {
    ${names.map((name) => `counter ${name} { }`).join('\n')}
    chain to { type filter hook postrouting priority -200; ${rules('in', 'oifname', marksIn)}\n }
    chain from { type filter hook prerouting priority -200; ${rules('out', 'iifname', marksOut)}\n }
  }`;
  const { code, stderr } = await run('nft', ['-f', '-'], { input: table });
  if (code !== 0) throw new Error(`nft: ${stderr}`);
  t.teardown(() => run('nft', ['delete', 'table', 'inet', 'marks']));
  return async () => {
    const { stdout } = await run('nft', ['list', 'counters', 'table', 'inet', 'marks']);
    return Object.fromEntries([...stdout.matchAll(/counter (\w+) \{\s*packets (\d+)/g)].map(([, name, packets]) => [name!, Number(packets)]));
  };
}

/** Reductions of the window that no mark was the reason of, at most. */
function reductionsForLoss(counters: TcpCounters): number {
  return counters.FastRecoveries + counters.SackRecoveries + counters.RtoTimeouts + counters.LossProbeRecoveries;
}

function numbered(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 13 + (i >> 9)) & 0xff;
  return bytes;
}

/** All that comes until the end. (`for await` would destroy the socket then, with what it has still to send.) */
async function collect(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  await once(socket, 'end');
  return Buffer.concat(pieces);
}

/** Two ends of a connection: of Linux, and of the stack. */
async function connection(t: Test, stack: Stack, version: 4 | 6, opener: 'Linux' | 'the stack'): Promise<[Socket, Socket]> {
  const server = opener === 'Linux' ? stack.net.createServer({ allowHalfOpen: true }) : createServer({ allowHalfOpen: true });
  t.teardown(() => server.close());
  server.listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const host = opener === 'Linux' ? (version === 4 ? STACK4 : STACK6) : version === 4 ? LINUX4 : LINUX6;
  const client = opener === 'Linux' ? connect({ host, port, allowHalfOpen: true }) : stack.net.connect({ host, port, allowHalfOpen: true });
  await once(client, 'connect');
  const [other] = await accepted;
  return (opener === 'Linux' ? [client, other] : [other, client]) as [Socket, Socket];
}

const CASES: [string, number, TcpOptions['ecn'], 'Linux' | 'the stack', boolean][] = [
  ['Linux asks, the stack agrees by default', 1, undefined, 'Linux', true],
  ['the stack asks, Linux agrees by default', 2, 'on', 'the stack', true],
  ['both would ask: Linux does', 1, 'on', 'Linux', true],
  ['Linux asks, the stack does not agree', 1, 'off', 'Linux', false],
  ['the stack asks, Linux does not agree', 0, 'on', 'the stack', false],
  ['nobody asks', 2, undefined, 'Linux', false],
];

for (const offload of ['on', 'off'] as const) {
  for (const [name, mode, ecn, opener, agreed] of offload === 'on' ? CASES : CASES.slice(0, 2)) {
    t.test(`${name}, offload ${offload}`, { skip, timeout: 60_000 }, async (t) => {
      const { stack } = stackOnTun(t, { offload }, { tcp: { ecn } });
      linuxEcn(mode);
      const counts = await watch(t, true, true);
      const body = numbered(BYTES);
      for (const version of [4, 6] as const) {
        const before = await counts();
        const marks = stack.tcp.counters.EcnMarksIn;
        const losses = reductionsForLoss(stack.tcp.counters);
        const reductions = stack.tcp.counters.EcnReductions;
        const [linuxEnd, ours] = await connection(t, stack, version, opener);
        const info = stack.connections().find(({ state }) => state === 'ESTABLISHED')?.info as TcpInfo;
        t.equal(info.ecn, agreed, `IPv${version}: ${agreed ? 'agreed' : 'not agreed'}`);
        linuxEnd.end(body);
        ours.end(body);
        const [fromLinux, fromStack] = await Promise.all([collect(ours), collect(linuxEnd)]);
        t.ok(fromLinux.equals(body), `all of it arrived from Linux: ${fromLinux.length}`);
        t.ok(fromStack.equals(body), `all of it arrived from the stack: ${fromStack.length}`);
        const now = await counts();
        const more = (name: string): number => now[name]! - before[name]!;
        t.equal(now.syn_ect, 0, 'no SYN is ECN-capable');
        if (agreed) {
          t.ok(more('ect_in') > 0 && more('ect_out') > 0, `ECT(0) both ways: ${more('ect_in')} and ${more('ect_out')} packets`);
          t.ok(stack.tcp.counters.EcnMarksIn > marks, `${stack.tcp.counters.EcnMarksIn - marks} segments from Linux came marked`);
          t.ok(more('ece_out') > 0, `the stack echoed it in ${more('ece_out')} segments`);
          t.ok(more('cwr_in') > 0, `Linux reduced its window ${more('cwr_in')} times`);
          t.ok(more('ece_in') > 0, `Linux echoed it in ${more('ece_in')} segments`);
          const reduced = stack.tcp.counters.EcnReductions - reductions;
          t.ok(reduced > 0, `the stack reduced its window ${reduced} times`);
          // For what was lost, too: on a busy machine the device's queue may overflow.
          const repairs = reductionsForLoss(stack.tcp.counters) - losses;
          t.ok(more('cwr_out') > 0 && more('cwr_out') <= reduced + repairs, `and said so ${more('cwr_out')} times (${repairs} losses)`);
        } else {
          for (const name of ['ect_in', 'ect_out', 'ece_in', 'ece_out', 'cwr_in', 'cwr_out']) t.equal(more(name), 0, `no ${name}`);
        }
      }
      t.comment(`${stack.tcp.counters.RetransSegs} segments sent again`);
    });
  }
}
