/** The modes of iperf3's client that the kernel-peer tests go through, and what each must have brought about. */

import type { Test } from 'tap';
import { between, measured } from '../attempts.ts';
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

/**
 * Name, arguments; what is amiss with the measurement in the client's summary (`end`), '' for nothing; and checks of
 * what does not depend on time.
 */
export type Mode = [name: string, args: string[], amiss: (end: any) => string, exact?: (t: Test, end: any) => void];

const received = (least: number) => (end: any): string => between(end.sum_received.bytes, least);
const atRate = (least: number, most: number) => (end: any): string => between(end.sum_received.bits_per_second, least, most);
const udpRate = (least: number, most = Infinity) => (end: any): string => between(end.sum.bits_per_second, least, most);
/** None, if the client has time to read: its receive buffer holds some 50 ms of 20 Mbit/s. */
const hardlyLost = (end: any): string => between(end.sum.lost_percent, 0, 3);
const eachStream = (end: any): string => end.streams.map((stream: any) => between(stream.receiver.bytes, 1)).join('');
const anything = (): string => '';
/** The client looks at its limit between blocks, and now and then sends one more. */
const sent = (bytes: number, block: number) => (t: Test, end: any): void => {
  t.ok(end.sum_sent.bytes === bytes || end.sum_sent.bytes === bytes + block, `the client sent ${end.sum_sent.bytes}, wanted ${bytes}`);
};
const streams = (count: number) => (t: Test, end: any): void => void t.equal(end.streams.length, count, 'streams');

export const TCP_MODES: Mode[] = [
  ['sends', ['-t', '1'], received(10e6)],
  ['-R', ['-t', '1', '-R'], received(10e6)],
  ['--bidir', ['-t', '1', '--bidir'], (end) => received(1e6)(end) || between(end.sum_received_bidir_reverse.bytes, 1e6)],
  ['-P 8', ['-t', '1', '-P', '8'], eachStream, streams(8)],
  ['-P 8 -R', ['-t', '1', '-P', '8', '-R'], eachStream, streams(8)],
  ['--bidir -P 4', ['-t', '1', '--bidir', '-P', '4'], anything, streams(8)],
  ['-n', ['-n', '20M'], anything, sent(20 * 1024 * 1024, 131072)],
  ['-n -R', ['-n', '20M', '-R'], anything, (t, end) => t.ok(end.sum_received.bytes >= 20 * 1024 * 1024)],
  ['-k', ['-k', '100'], anything, sent(100 * 131072, 131072)],
  ['-l 1K', ['-n', '1M', '-l', '1K'], anything, sent(1024 * 1024, 1024)],
  ['-w 64K', ['-t', '1', '-w', '64K', '-R'], received(1e6)],
  ['-M 500', ['-t', '1', '-M', '500'], received(1e6)],
  ['-M 500 -R', ['-t', '1', '-M', '500', '-R'], received(1e6)],
  ['-N', ['-t', '1', '-N', '-l', '100', '-b', '1M', '-R'], received(50_000)],
  ['-b 50M', ['-t', '1', '-b', '50M'], atRate(40e6, 60e6)],
  ['-b 50M -R', ['-t', '1', '-b', '50M', '-R'], atRate(40e6, 60e6)],
  ['-O 1', ['-t', '1', '-O', '1', '-b', '20M', '-R'], (end) => between(end.sum_sent.bytes, 0, 3.5e6)],
  ['-C cubic', ['-t', '1', '-C', 'cubic', '-R'], anything, (t, end) => t.equal(end.sender_tcp_congestion, 'cubic')],
  ['-C reno', ['-t', '1', '-C', 'reno', '-R'], anything, (t, end) => t.equal(end.sender_tcp_congestion, 'newreno')],
];

export const UDP_MODES: Mode[] = [
  ['default 1 Mbit/s', ['-t', '1'], udpRate(0.9e6, 1.3e6)],
  ['-R', ['-t', '1', '-R'], udpRate(0.9e6, 1.3e6)],
  ['-b 100M', ['-t', '1', '-b', '100M'], udpRate(90e6)],
  ['-b 100M -R', ['-t', '1', '-b', '100M', '-R'], udpRate(40e6)],
  ['-b 0 -R', ['-t', '1', '-b', '0', '-R'], udpRate(40e6)],
  ['--bidir -P 4', ['-t', '1', '-b', '10M', '--bidir', '-P', '4'], anything, streams(8)],
  ['-P 8', ['-t', '1', '-b', '5M', '-P', '8'], anything, streams(8)],
  ['64-bit counters', ['-t', '1', '-b', '10M', '--udp-counters-64bit'], hardlyLost],
  ['64-bit counters -R', ['-t', '1', '-b', '10M', '--udp-counters-64bit', '-R'], hardlyLost],
  ['-l 8000 (fragments)', ['-t', '1', '-b', '20M', '-l', '8000'], hardlyLost],
  ['-l 8000 -R', ['-t', '1', '-b', '20M', '-l', '8000', '-R'], hardlyLost],
  ['-n', ['-n', '1M', '-b', '50M'], anything, (t, end) => t.ok(end.sum.bytes >= 1024 * 1024)],
];

/** Runs the client, again when its measurement is amiss. An error counts at once. */
function attempt(t: Test, args: string[], amiss: (end: any) => string, exact?: (t: Test, end: any) => void): Promise<void> {
  return measured(t, `iperf3 ${args.join(' ')}`, async () => {
    const { error, end } = await iperf3(...args);
    t.equal(error, undefined, 'no error');
    if (error !== undefined) return '';
    exact?.(t, end);
    return amiss(end);
  });
}

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
  for (const [name, args, amiss, exact] of modes) await t.test(name, (t) => attempt(t, ['-c', STACK4, ...args], amiss, exact));
  for (const args of [[], ['-R'], ['--bidir']]) {
    await t.test(`-6 ${args.join(' ')}`, (t) => attempt(t, ['-6', '-c', STACK6, '-t', '1', ...args], received(1e6)));
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
  for (const [name, args, amiss, exact] of modes) {
    // At high rates it depends on the other load of the machine how much overflows the client's receive buffer.
    const few = args.includes('0') || args.includes('100M') ? anything : hardlyLost;
    await t.test(name, (t) => attempt(t, ['-u', '-c', STACK4, ...args], (end) => amiss(end) || few(end), exact));
  }
  for (const args of [[], ['-R']]) {
    await t.test(`-6 ${args.join(' ')}`, (t) => attempt(t, ['-u', '-6', '-c', STACK6, '-t', '1', '-b', '20M', ...args], hardlyLost));
  }
}
