/** The modes of iperf3's client that the kernel-peer tests go through, and what each must have brought about. */

import type { Test } from 'tap';
import { STACK4, STACK6, run, serve, up } from './harness.ts';

/** Runs the client with -J. With it the exit code says nothing: `error` does. */
export async function iperf3(...args: string[]): Promise<any> {
  const { stdout, stderr } = await run('iperf3', [...args, '-J'], { timeoutMs: 30_000 });
  try {
    return JSON.parse(stdout);
  } catch {
    throw new Error(`iperf3 ${args.join(' ')}: ${stdout}${stderr}`);
  }
}

/** Name, arguments, and checks of the client's summary (`end`). */
export type Mode = [name: string, args: string[], check: (t: Test, end: any) => void];

export const TCP_MODES: Mode[] = [
  ['sends', ['-t', '1'], (t, end) => t.ok(end.sum_received.bytes > 10e6)],
  ['-R', ['-t', '1', '-R'], (t, end) => t.ok(end.sum_received.bytes > 10e6)],
  ['--bidir', ['-t', '1', '--bidir'], (t, end) => {
    t.ok(end.sum_received.bytes > 1e6);
    t.ok(end.sum_received_bidir_reverse.bytes > 1e6);
  }],
  ['-P 8', ['-t', '1', '-P', '8'], (t, end) => {
    t.equal(end.streams.length, 8);
    for (const stream of end.streams) t.ok(stream.receiver.bytes > 0);
  }],
  ['-P 8 -R', ['-t', '1', '-P', '8', '-R'], (t, end) => {
    t.equal(end.streams.length, 8);
    for (const stream of end.streams) t.ok(stream.receiver.bytes > 0);
  }],
  ['--bidir -P 4', ['-t', '1', '--bidir', '-P', '4'], (t, end) => t.equal(end.streams.length, 8)],
  ['-n', ['-n', '20M'], (t, end) => t.equal(end.sum_sent.bytes, 20 * 1024 * 1024)],
  ['-n -R', ['-n', '20M', '-R'], (t, end) => t.ok(end.sum_received.bytes >= 20 * 1024 * 1024)],
  ['-k', ['-k', '100'], (t, end) => t.equal(end.sum_sent.bytes, 100 * 131072)],
  ['-l 1K', ['-n', '1M', '-l', '1K'], (t, end) => t.equal(end.sum_sent.bytes, 1024 * 1024)],
  ['-w 64K', ['-t', '1', '-w', '64K', '-R'], (t, end) => t.ok(end.sum_received.bytes > 1e6)],
  ['-M 500', ['-t', '1', '-M', '500'], (t, end) => t.ok(end.sum_received.bytes > 1e6)],
  ['-M 500 -R', ['-t', '1', '-M', '500', '-R'], (t, end) => t.ok(end.sum_received.bytes > 1e6)],
  ['-N', ['-t', '1', '-N', '-l', '100', '-b', '1M', '-R'], (t, end) => t.ok(end.sum_received.bytes > 50_000)],
  ['-b 50M', ['-t', '1', '-b', '50M'], (t, end) => t.ok(end.sum_received.bits_per_second > 40e6 && end.sum_received.bits_per_second < 60e6)],
  ['-b 50M -R', ['-t', '1', '-b', '50M', '-R'], (t, end) => t.ok(end.sum_received.bits_per_second > 40e6 && end.sum_received.bits_per_second < 60e6)],
  ['-O 1', ['-t', '1', '-O', '1', '-b', '20M', '-R'], (t, end) => t.ok(end.sum_sent.bytes < 3.5e6)],
  ['-C cubic', ['-t', '1', '-C', 'cubic', '-R'], (t, end) => t.equal(end.sender_tcp_congestion, 'cubic')],
];

export const UDP_MODES: Mode[] = [
  ['default 1 Mbit/s', ['-t', '1'], (t, end) => t.ok(end.sum.bits_per_second > 0.9e6 && end.sum.bits_per_second < 1.3e6)],
  ['-R', ['-t', '1', '-R'], (t, end) => t.ok(end.sum.bits_per_second > 0.9e6 && end.sum.bits_per_second < 1.3e6)],
  ['-b 100M', ['-t', '1', '-b', '100M'], (t, end) => t.ok(end.sum.bits_per_second > 90e6)],
  ['-b 100M -R', ['-t', '1', '-b', '100M', '-R'], (t, end) => t.ok(end.sum.bits_per_second > 60e6)],
  ['-b 0 -R', ['-t', '1', '-b', '0', '-R'], (t, end) => t.ok(end.sum.bits_per_second > 60e6)],
  ['--bidir -P 4', ['-t', '1', '-b', '10M', '--bidir', '-P', '4'], (t, end) => t.equal(end.streams.length, 8)],
  ['-P 8', ['-t', '1', '-b', '5M', '-P', '8'], (t, end) => t.equal(end.streams.length, 8)],
  ['64-bit counters', ['-t', '1', '-b', '10M', '--udp-counters-64bit'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['64-bit counters -R', ['-t', '1', '-b', '10M', '--udp-counters-64bit', '-R'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['-l 8000 (fragments)', ['-t', '1', '-b', '20M', '-l', '8000'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['-l 8000 -R', ['-t', '1', '-b', '20M', '-l', '8000', '-R'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['-n', ['-n', '1M', '-b', '50M'], (t, end) => t.ok(end.sum.bytes >= 1024 * 1024)],
];

/** Starts the server in the stack with these options and runs the modes over TCP, then three of them over IPv6. */
export async function tcpModes(t: Test, modes: readonly Mode[], ...options: string[]): Promise<void> {
  await up(t, '--serve', 'iperf3', ...options);
  await runTcpModes(t, modes);
}

/** The same with the server in an application. */
export async function tcpModesOfApplication(t: Test, modes: readonly Mode[], tcp: 'tcpu' | 'kernel', ...options: string[]): Promise<void> {
  await up(t, ...options);
  await serve(t, 'iperf3', '--tcp', tcp);
  await runTcpModes(t, modes);
}

async function runTcpModes(t: Test, modes: readonly Mode[]): Promise<void> {
  for (const [name, args, check] of modes) {
    await t.test(name, async (t) => {
      const json = await iperf3('-c', STACK4, ...args);
      if (json.error !== undefined) t.fail(json.error);
      else check(t, json.end);
    });
  }
  for (const args of [[], ['-R'], ['--bidir']]) {
    await t.test(`-6 ${args.join(' ')}`, async (t) => {
      const json = await iperf3('-6', '-c', STACK6, '-t', '1', ...args);
      t.equal(json.error, undefined);
      t.ok(json.end.sum_received.bytes > 1e6);
    });
  }
}

/** The same over UDP. */
export async function udpModes(t: Test, modes: readonly Mode[], ...options: string[]): Promise<void> {
  await up(t, '--serve', 'iperf3', ...options);
  await runUdpModes(t, modes);
}

export async function udpModesOfApplication(t: Test, modes: readonly Mode[], ...options: string[]): Promise<void> {
  await up(t, ...options);
  await serve(t, 'iperf3');
  await runUdpModes(t, modes);
}

async function runUdpModes(t: Test, modes: readonly Mode[]): Promise<void> {
  for (const [name, args, check] of modes) {
    await t.test(name, async (t) => {
      const json = await iperf3('-u', '-c', STACK4, ...args);
      if (json.error !== undefined) {
        t.fail(json.error);
        return;
      }
      check(t, json.end);
      // At high rates it depends on the other load of the machine how much overflows the client's receive buffer.
      if (!args.includes('0') && !args.includes('100M')) t.ok(json.end.sum.lost_percent < 1, `lost ${json.end.sum.lost_percent} %`);
    });
  }
  for (const args of [[], ['-R']]) {
    await t.test(`-6 ${args.join(' ')}`, async (t) => {
      const json = await iperf3('-u', '-6', '-c', STACK6, '-t', '1', '-b', '20M', ...args);
      t.equal(json.error, undefined);
      t.equal(json.end.sum.lost_packets, 0);
    });
  }
}
