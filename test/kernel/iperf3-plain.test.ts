/** Debian's iperf3 client against `tcpu up --serve iperf3` without offload, some modes; and what the server refuses. */

import './namespace.ts';
import t from 'tap';
import { STACK4, lacking, run, up } from './harness.ts';
import { TCP_MODES, UDP_MODES, iperf3, tcpModes, udpModes } from './iperf3-modes.ts';

const skip = lacking('iperf3');

const PLAIN = ['sends', '-R', '--bidir -P 4', '-n -R', '-M 500 -R', '-b 50M -R', '-b 100M', '-b 0 -R', '64-bit counters -R', '-l 8000 -R'];

t.test('TCP, offload off', { skip, timeout: 60_000 }, (t) => (
  tcpModes(t, TCP_MODES.filter(([name]) => PLAIN.includes(name)), '--offload', 'off')
));

t.test('UDP, offload off', { skip, timeout: 60_000 }, (t) => (
  udpModes(t, UDP_MODES.filter(([name]) => PLAIN.includes(name)), '--offload', 'off')
));

t.test('what cannot be', { skip, timeout: 60_000 }, async (t) => {
  await up(t, '--serve', 'iperf3');
  await t.test('a second client', async (t) => {
    const both = await Promise.all([iperf3('-c', STACK4, '-t', '2', '-b', '1M'), iperf3('-c', STACK4, '-t', '2', '-b', '1M')]);
    const errors = both.map((json) => json.error).filter((error) => error !== undefined);
    t.match(errors, [/busy running a test/], 'one of them');
    t.equal((await iperf3('-c', STACK4, '-n', '100K')).error, undefined, 'and then the server is free');
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
