/**
 * A hostile application beside honest ones, with Linux as the peer of all: raw access to its ring (raw-client.py), every
 * kind of attack in turn. Its neighbour, an application with its own TCP, keeps its share of the throughput and every
 * byte; nothing that is not the attacker's own reaches Linux.
 *
 * The neighbour's share is what is left to it by a program that is just as busy and does not attack: it spins. Compared
 * in pairs, one after the other, since the machine may be shared; the best of eight pairs counts.
 */

import './namespace.ts';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { patternDigest } from '../../lib/services/byte-pattern.ts';
import { LINUX4, STACK4, lacking, run, serve, start, tcpu, up } from './harness.ts';
import { iperf3 } from './iperf3-modes.ts';

const skip = lacking('curl', 'iperf3', 'tcpdump', 'python3');
const raw = fileURLToPath(new URL('../tcpk/raw-client.py', import.meta.url));
const socket = `${process.env['XDG_RUNTIME_DIR']}/tcpu.sock`;
const BYTES = 50_000_000;
const SHARE = 0.8;
const PAIRS = 8;

const SPIN = 'while True: pass';
/** Sends as fast as it may, so that it has a share of the stack itself: the neighbour's is half then. */
const TAKES_HALF = new Set(['flood', 'feed']);

interface Foe {
  stop(): Promise<void>;
}

function foe(...args: string[]): Foe {
  const child = start('python3', args);
  return {
    stop: () => new Promise((resolve) => {
      child.once('close', () => resolve());
      child.kill('SIGKILL');
    }),
  };
}

async function throughput(...more: string[]): Promise<number> {
  const json = await iperf3('-c', STACK4, '-p', '5002', '-C', 'cubic', '-t', '1', ...more);
  if (json.error !== undefined) throw new Error(json.error);
  return json.end.sum_received.bits_per_second;
}

async function compare(t: Test, attack: string, more: string[]): Promise<void> {
  const wanted = TAKES_HALF.has(attack) ? SHARE / 2 : SHARE;
  const ratios: number[] = [];
  for (let pair = 0; pair < PAIRS; pair++) {
    const spinning = foe('-c', SPIN);
    const share = await throughput(...more);
    await spinning.stop();
    const attacking = foe(raw, socket, 'attack', attack, STACK4, '5002', LINUX4);
    const kept = await throughput(...more);
    await attacking.stop();
    ratios.push(kept / share);
    if (kept / share >= wanted) break;
  }
  t.ok(Math.max(...ratios) >= wanted, `${attack} ${more.join(' ')}: ${ratios.map((r) => r.toFixed(2)).join(', ')} of its share`);
}

t.test('neighbours of a hostile application', { skip, timeout: 230_000 }, async (t) => {
  await up(t, '--serve', 'http@8001');
  await serve(t, 'http@8002,iperf3@5002');
  for (const attack of ['spoof', 'garbage', 'indices', 'memory', 'flood', 'calls', 'feed', 'deaf']) {
    await t.test(attack, async (t) => {
      // What reaches Linux from addresses or ports that are nobody's, or the neighbour's towards port 80.
      const dump = start('tcpdump', ['-i', 'tcpu0', '-n', '-l', '--immediate-mode', 'src host 192.0.2.1 or (src port 5002 and dst port 80)']);
      let seen = '';
      dump.stdout!.on('data', (piece) => (seen += piece));
      await new Promise<void>((resolve) => dump.stderr!.on('data', (piece) => /listening/.test(String(piece)) && resolve()));
      await compare(t, attack, []);
      await compare(t, attack, ['-R']);
      const attacking = foe(raw, socket, 'attack', attack, STACK4, '5002', LINUX4);
      const wanted = { code: 0, sha256: patternDigest(BYTES) };
      await Promise.all([8001, 8002].map(async (port) => {
        const hash = createHash('sha256');
        const { code } = await run('curl', ['-sS', `http://${STACK4}:${port}/bytes/${BYTES}`], { onData: (piece) => void hash.update(piece), timeoutMs: 60_000 });
        t.same({ code, sha256: hash.digest('hex') }, wanted, `every byte from port ${port}`);
      }));
      await attacking.stop();
      await new Promise((resolve) => {
        dump.once('close', resolve);
        dump.kill('SIGINT');
      });
      t.equal(seen.trim(), '', 'nothing of what was forged has left');
    });
  }
  const { stdout } = await tcpu(['stat', '--json']);
  const { tcpk } = JSON.parse(stdout).layers;
  t.ok(tcpk.Violations > 1000, `${tcpk.Violations} violations were counted`);
  t.ok(tcpk.Expelled > 0, `${tcpk.Expelled} applications were thrown out`);
});
