/**
 * What other programs make of the stack's packets: tcpdump's capture on the device without offload, and
 * the stack's own pcapng, both read by tshark with every checksum checked, and without a protocol error
 * in its expert information.
 */

import './namespace.ts';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { STACK4, STACK6, lacking, must, run, start, up } from './harness.ts';

const skip = lacking('tshark', 'tcpdump', 'ping', 'curl');

/** Things of all kinds happen between Linux and the stack. */
async function traffic(): Promise<void> {
  await must('ping', '-n', '-c', '2', '-i', '0.02', STACK4);
  await must('ping', '-n', '-c', '2', '-i', '0.02', STACK6);
  await must('ping', '-n', '-c', '2', '-i', '0.02', '-s', '8000', STACK4);
  await must('ping', '-n', '-c', '2', '-i', '0.02', '-s', '8000', STACK6);
  await must('curl', '-sS', '-o', '/dev/null', `http://${STACK4}/bytes/1000000`);
  await must('curl', '-sS', '-o', '/dev/null', `http://[${STACK6}]/bytes/1000000`);
  const { code } = await run('curl', ['-sS', '-H', 'Expect:', '-o', '/dev/null', '--data-binary', '@-', `http://${STACK4}/echo`], {
    input: Buffer.alloc(2_000_001, 'x'),
  });
  if (code !== 0) throw new Error(`curl: ${code}`);
  // Refused, reset, a UDP port that is not there, UDP with an odd length.
  await run('curl', ['-sS', `http://${STACK4}:81/`]);
  const socket = connect(7, STACK6);
  socket.write('x');
  await once(socket, 'data');
  socket.resetAndDestroy();
  const { createSocket } = await import('node:dgram');
  for (const [type, host] of [['udp4', STACK4], ['udp6', STACK6]] as const) {
    const udp = createSocket(type);
    udp.send('odd', 7, host);
    await once(udp, 'message');
    udp.send('nobody', 99, host);
    udp.send(Buffer.alloc(5001), 7, host);
    await once(udp, 'message');
    udp.close();
  }
}

async function tshark(file: string, ...args: string[]): Promise<string> {
  return must('tshark', '-n', '-r', file,
    '-o', 'ip.check_checksum:TRUE', '-o', 'tcp.check_checksum:TRUE', '-o', 'udp.check_checksum:TRUE', ...args);
}

/** Lines of tshark's expert information that are errors, or tell of a malformed packet or a bad checksum. */
async function complaints(file: string): Promise<string[]> {
  const transport = '(tcp.checksum.status == "Bad" || udp.checksum.status == "Bad")';
  // An ICMP error quotes what came, and with offload that came with a checksum which Linux had not finished.
  const quoted = `((icmp.type == 3 || icmpv6.type == 1) && ${transport})`;
  const bad = `(ip.checksum.status == "Bad" || ${transport} || icmp.checksum.status == "Bad" || icmpv6.checksum.status == "Bad"`
    + ` || _ws.malformed || _ws.expert.severity == "Error") && !${quoted}`;
  return (await tshark(file, '-Y', bad)).split('\n').filter((line) => line !== '');
}

async function count(file: string, filter: string): Promise<number> {
  return (await tshark(file, '-Y', filter)).split('\n').length - 1;
}

t.test('tcpdump on the device, offload off', { skip, timeout: 100_000 }, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'tcpu-test-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'device.pcap');
  await up(t, '--offload', 'off', '--serve', 'echo,http');
  // A kernel thread takes what the stack writes, and merges segments before tcpdump sees them, unless told not to.
  await must('ethtool', '-K', 'tcpu0', 'gro', 'off');
  // -Z root: dropping privileges fails in a user namespace.
  const tcpdump = start('tcpdump', ['-i', 'tcpu0', '-n', '-U', '--immediate-mode', '-s', '2000', '-B', '65536', '-Z', 'root', '-w', file]);
  let said = '';
  tcpdump.stderr!.on('data', (piece: Buffer) => {
    said += piece.toString();
  });
  while (!said.includes('listening on')) await once(tcpdump.stderr!, 'data');
  await traffic();
  const ended = once(tcpdump, 'close');
  tcpdump.kill('SIGINT');
  await ended;
  t.match(said, /0 packets dropped by kernel/);
  // Linux leaves the checksums of what it sends to the device, which has not finished them yet: only ours are looked at.
  const ours = join(directory, 'ours.pcap');
  await must('tcpdump', '-n', '-r', file, '-Z', 'root', '-w', ours, `src host ${STACK4} or src host ${STACK6}`);
  t.ok(await count(ours, 'tcp') > 1000, 'TCP segments');
  t.ok(await count(ours, 'icmp || icmpv6') >= 8, 'ICMP');
  t.ok(await count(ours, 'udp') >= 4, 'UDP');
  t.equal(await count(ours, 'ip.len > 1500 || ipv6.plen > 1460'), 0, 'nothing exceeds the MTU');
  t.same(await complaints(ours), []);
  t.ok(await count(ours, 'tcp.checksum.status == "Good"') > 1000, 'and they were looked at');
});

for (const offload of ['on', 'off']) {
  t.test(`our own capture, offload ${offload}`, { skip, timeout: 100_000 }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'tcpu-test-'));
    t.teardown(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'own.pcapng');
    const process = await up(t, '--offload', offload, '--serve', 'echo,http', '--capture', file);
    await traffic();
    t.equal(await process.stop(), 0);
    t.ok(existsSync(file) && statSync(file).size > 2_000_000);
    t.ok(await count(file, 'tcp') > (offload === 'on' ? 100 : 1000));
    t.same(await complaints(file), []);
    t.ok(await count(file, 'tcp.checksum.status == "Good"') > 100);
  });
}
