/** Debian's iperf3 client against `tcpu up --serve iperf3`, in every mode, a second each. */

import './namespace.ts';
import t from 'tap';
import type { Test } from 'tap';
import { STACK4, STACK6, lacking, run, up } from './harness.ts';

const skip = lacking('iperf3');

/** Runs the client with -J. With it the exit code says nothing: `error` does. */
async function iperf3(...args: string[]): Promise<any> {
  const { stdout, stderr } = await run('iperf3', [...args, '-J'], { timeoutMs: 30_000 });
  try {
    return JSON.parse(stdout);
  } catch {
    throw new Error(`iperf3 ${args.join(' ')}: ${stdout}${stderr}`);
  }
}

const TCP_MODES: [string, string[], (t: Test, end: any) => void][] = [
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

for (const offload of ['on', 'off']) {
  t.test(`TCP, offload ${offload}`, { skip, timeout: 110_000 }, async (t) => {
    await up(t, '--offload', offload, '--serve', 'iperf3');
    for (const [name, args, check] of TCP_MODES) {
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
  });
}

const UDP_MODES: [string, string[], (t: Test, end: any) => void][] = [
  ['default 1 Mbit/s', ['-t', '1'], (t, end) => t.ok(end.sum.bits_per_second > 0.9e6 && end.sum.bits_per_second < 1.3e6)],
  ['-R', ['-t', '1', '-R'], (t, end) => t.ok(end.sum.bits_per_second > 0.9e6 && end.sum.bits_per_second < 1.3e6)],
  ['-b 100M', ['-t', '1', '-b', '100M'], (t, end) => t.ok(end.sum.bits_per_second > 90e6)],
  ['-b 100M -R', ['-t', '1', '-b', '100M', '-R'], (t, end) => t.ok(end.sum.bits_per_second > 90e6)],
  ['-b 0 -R', ['-t', '1', '-b', '0', '-R'], (t, end) => t.ok(end.sum.bits_per_second > 90e6)],
  ['--bidir -P 4', ['-t', '1', '-b', '10M', '--bidir', '-P', '4'], (t, end) => t.equal(end.streams.length, 8)],
  ['-P 8', ['-t', '1', '-b', '5M', '-P', '8'], (t, end) => t.equal(end.streams.length, 8)],
  ['64-bit counters', ['-t', '1', '-b', '10M', '--udp-counters-64bit'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['64-bit counters -R', ['-t', '1', '-b', '10M', '--udp-counters-64bit', '-R'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['-l 8000 (fragments)', ['-t', '1', '-b', '20M', '-l', '8000'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['-l 8000 -R', ['-t', '1', '-b', '20M', '-l', '8000', '-R'], (t, end) => t.equal(end.sum.lost_packets, 0)],
  ['-n', ['-n', '1M', '-b', '50M'], (t, end) => t.ok(end.sum.bytes >= 1024 * 1024)],
];

for (const offload of ['on', 'off']) {
  t.test(`UDP, offload ${offload}`, { skip, timeout: 60_000 }, async (t) => {
    await up(t, '--offload', offload, '--serve', 'iperf3');
    for (const [name, args, check] of UDP_MODES) {
      await t.test(name, async (t) => {
        const json = await iperf3('-u', '-c', STACK4, ...args);
        if (json.error !== undefined) {
          t.fail(json.error);
          return;
        }
        check(t, json.end);
        if (!args.includes('0')) t.ok(json.end.sum.lost_percent < 1, `lost ${json.end.sum.lost_percent} %`);
      });
    }
    await t.test('-6 and -6 -R', async (t) => {
      for (const args of [[], ['-R']]) {
        const json = await iperf3('-u', '-6', '-c', STACK6, '-t', '1', '-b', '20M', ...args);
        t.equal(json.error, undefined);
        t.equal(json.end.sum.lost_packets, 0);
      }
    });
  });
}

t.test('what cannot be', { skip, timeout: 60_000 }, async (t) => {
  await up(t, '--serve', 'iperf3');
  await t.test('a second client', async (t) => {
    const first = iperf3('-c', STACK4, '-t', '2', '-b', '1M');
    let second = await iperf3('-c', STACK4, '-t', '1', '-b', '1M');
    while (second.error === undefined) second = await iperf3('-c', STACK4, '-t', '1', '-b', '1M');
    t.match(second.error, /busy running a test/);
    t.equal((await first).error, undefined);
  });
  await t.test('a client that is killed', async (t) => {
    await run('iperf3', ['-c', STACK4, '-t', '10', '-R', '-P', '4'], { timeoutMs: 700 });
    let json = await iperf3('-c', STACK4, '-n', '1M');
    // The resets of the killed one may still be on their way.
    for (let i = 0; i < 20 && /busy/.test(json.error); i++) json = await iperf3('-c', STACK4, '-n', '1M');
    t.equal(json.error, undefined);
  });
  await t.test('--get-server-output', async (t) => {
    const json = await iperf3('-c', STACK4, '-t', '1', '-b', '10M', '--get-server-output');
    t.match(json.server_output_text, /Accepted connection from 10\.90\.0\.1, port/);
  });
});
