/** Trace lines, as people read them; and that any bytes make a line. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { GSO_TCPV4 } from '../../lib/buffer/transmit-queue.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import { packetLine } from '../../lib/link/packet-line.ts';
import { trace } from '../../lib/link/trace.ts';
import { ipPacket, RecordingHost, tcpPacket, udpPacket } from './harness.ts';

const IPV4_MF = 0x2000;

/** Linux's SYN options: mss, sackOK, TS, nop, wscale. */
const SYN_OPTIONS = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 7];

t.test('TCP', (t) => {
  t.equal(
    packetLine(tcpPacket(4, { flags: 0x12, seq: 1, ack: 2, options: SYN_OPTIONS })),
    '10.90.0.2.80 > 10.90.0.1.40001: Flags [S.], seq 1, ack 2, win 65535, '
      + 'options [mss 1460,sackOK,TS val 7 ecr 9,nop,wscale 7], length 0',
  );
  t.equal(
    packetLine(tcpPacket(6, { flags: 0x18, seq: 0xfffffff0, ack: 0x80000000, payload: new Uint8Array(32) })),
    'fd90::2.80 > fd90::1.40001: Flags [P.], seq 4294967280:16, ack 2147483648, win 65535, length 32',
  );
  t.equal(packetLine(tcpPacket(4, { flags: 0x04, seq: 5 })), '10.90.0.2.80 > 10.90.0.1.40001: Flags [R], seq 5, win 65535, length 0');
  t.equal(packetLine(tcpPacket(4, { flags: 0, seq: 5 })), '10.90.0.2.80 > 10.90.0.1.40001: Flags [none], win 65535, length 0');
  t.match(packetLine(tcpPacket(4, { flags: 0xff })), 'Flags [FSRP.UEW], seq 1, ack 0, win 65535, urg 0,');
  t.match(
    packetLine(tcpPacket(4, { options: [1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9] })),
    'options [nop,nop,sack 2 {1:2}{5:9}]',
  );
  t.match(packetLine(tcpPacket(4, { options: [34, 2, 0, 0] })), 'options [option 34 length 2,eol]');
  t.match(packetLine(tcpPacket(4, { options: [2, 0, 1, 1] })), 'options [bad option 2]');
  t.match(packetLine(tcpPacket(4, { options: [1, 1, 1, 8] })), 'options [nop,nop,nop,bad option 8]');
  t.end();
});

t.test('UDP, other protocols', (t) => {
  t.equal(packetLine(udpPacket(4, new Uint8Array(12))), '10.90.0.2.53 > 10.90.0.1.4000: UDP, length 12');
  t.equal(packetLine(udpPacket(6, new Uint8Array(0))), 'fd90::2.53 > fd90::1.4000: UDP, length 0');
  t.equal(packetLine(ipPacket(4, 47, new Uint8Array(9))), '10.90.0.2 > 10.90.0.1: protocol 47, length 9');
  t.end();
});

t.test('ICMP', (t) => {
  const icmp = (...bytes: number[]): string => packetLine(ipPacket(4, 1, Uint8Array.from(bytes)));
  const quoted = [...tcpPacket(4).subarray(0, 28)];
  t.equal(icmp(8, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3), '10.90.0.2 > 10.90.0.1: ICMP echo request, id 7, seq 1, length 11');
  t.equal(icmp(0, 0, 0, 0, 0, 7, 0, 1), '10.90.0.2 > 10.90.0.1: ICMP echo reply, id 7, seq 1, length 8');
  t.equal(
    icmp(3, 3, 0, 0, 0, 0, 0, 0, ...quoted),
    '10.90.0.2 > 10.90.0.1: ICMP port unreachable (TCP 10.90.0.2.80 > 10.90.0.1.40001), length 36',
  );
  t.match(icmp(3, 4, 0, 0, 0, 0, 5, 0x78, ...quoted), 'ICMP need to frag, mtu 1400 (TCP 10.90.0.2.80 > 10.90.0.1.40001), length 36');
  t.match(icmp(3, 13, 0, 0, 0, 0, 0, 0, ...quoted), 'ICMP unreachable, code 13 (');
  t.match(icmp(11, 0, 0, 0, 0, 0, 0, 0, ...quoted), 'ICMP time exceeded in transit (TCP');
  t.match(icmp(3, 1, 0, 0, 0, 0, 0, 0, 0x45), 'ICMP host unreachable (malformed packet, version 4, length 1), length 9');
  t.match(icmp(42, 1, 0, 0, 0, 0, 0, 0), 'ICMP type 42, code 1, length 8');
  t.match(icmp(8, 0, 0), 'ICMP cut short, length 3');
  t.end();
});

t.test('ICMPv6', (t) => {
  const icmp = (...bytes: number[]): string => packetLine(ipPacket(6, 58, Uint8Array.from(bytes)));
  const quoted = [...udpPacket(6, new Uint8Array(4))];
  t.equal(icmp(128, 0, 0, 0, 0, 7, 0, 1), 'fd90::2 > fd90::1: ICMP6 echo request, id 7, seq 1, length 8');
  t.equal(
    icmp(1, 4, 0, 0, 0, 0, 0, 0, ...quoted),
    'fd90::2 > fd90::1: ICMP6 port unreachable (UDP fd90::2.53 > fd90::1.4000), length 60',
  );
  t.match(icmp(1, 0, 0, 0, 0, 0, 0, 0, ...quoted), 'ICMP6 no route unreachable (UDP');
  t.match(icmp(2, 0, 0, 0, 0, 0, 5, 0, ...quoted), 'ICMP6 packet too big, mtu 1280 (UDP');
  t.match(icmp(133, 0, 0, 0, 0, 0, 0, 0), 'ICMP6 router solicitation, length 8');
  t.match(icmp(135, 0, 0, 0, 0, 0, 0, 0, 0xfd, 0x90, ...new Array<number>(13).fill(0), 1), 'ICMP6 neighbor solicitation fd90::1, length 24');
  t.end();
});

t.test('fragments and extension headers', (t) => {
  const udp = udpPacket(4, new Uint8Array(24)).subarray(20);
  t.equal(
    packetLine(ipPacket(4, 17, udp, IPV4_MF, 258)),
    '10.90.0.2.53 > 10.90.0.1.4000: UDP, length 24, frag (id 258: 32@0, more)',
  );
  t.equal(packetLine(ipPacket(4, 17, udp, IPV4_MF | 370, 258)), '10.90.0.2 > 10.90.0.1: UDP, frag (id 258: 32@2960, more)');
  t.equal(packetLine(ipPacket(4, 17, udp, 370, 258)), '10.90.0.2 > 10.90.0.1: UDP, frag (id 258: 32@2960)');
  const first = [17, 0, 0, 1, 0xff, 0, 0, 1, ...udp];
  t.equal(packetLine(ipPacket(6, 44, Uint8Array.from(first))), 'fd90::2.53 > fd90::1.4000: UDP, length 24, frag (id 4278190081: 32@0, more)');
  t.equal(packetLine(ipPacket(6, 44, Uint8Array.from([17, 0, 5, 0xa8, 0, 0, 0, 1, ...udp]))), 'fd90::2 > fd90::1: UDP, frag (id 1: 32@1448)');
  const hop = [60, 0, 5, 2, 0, 0, 1, 0];
  const destination = [17, 1, 1, 12, ...new Array<number>(12).fill(0)];
  t.equal(packetLine(ipPacket(6, 0, Uint8Array.from([...hop, ...destination, ...udp]))), 'fd90::2.53 > fd90::1.4000: UDP, length 24');
  t.end();
});

t.test('cut short anywhere, it is still a line; padding is not counted', (t) => {
  const packet = tcpPacket(4, { options: SYN_OPTIONS, payload: new Uint8Array(5) });
  for (let length = 0; length <= packet.length; length++) {
    const line = packetLine(packet, 0, length);
    if (length < 60) t.match(line, /empty|malformed|cut short|bad header length/, `${length} bytes: ${line}`);
  }
  const padded = new Uint8Array(100);
  padded.set(tcpPacket(4), 30);
  t.match(packetLine(padded, 30, 60), /, length 0$/);
  t.equal(packetLine(Uint8Array.from([0x75, 0])), 'malformed packet, version 7, length 2');
  t.end();
});

t.test('any bytes make one line', (t) => {
  const seeds = [
    tcpPacket(4, { options: SYN_OPTIONS }), tcpPacket(6, { options: SYN_OPTIONS }), udpPacket(6, new Uint8Array(9)),
    ipPacket(4, 1, Uint8Array.from([3, 3, 0, 0, 0, 0, 0, 0, ...tcpPacket(4)])),
    ipPacket(6, 58, Uint8Array.from([1, 3, 0, 0, 0, 0, 0, 0, ...tcpPacket(6)])),
    ipPacket(6, 0, Uint8Array.from([44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 1, 0, 0, 0, 9, 128, 0, 0, 0, 0, 1, 0, 1])),
  ];
  const change = fc.tuple(fc.nat(120), fc.nat(255));
  fc.assert(fc.property(fc.constantFrom(...seeds), fc.array(change, { maxLength: 6 }), fc.nat(130), (seed, changes, length) => {
    const bytes = seed.slice();
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    const line = packetLine(bytes, 0, Math.min(length, bytes.length));
    return line.length > 0 && !line.includes('\n') && !line.includes('undefined') && !line.includes('NaN');
  }), { numRuns: 20_000, seed: 1 });
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => packetLine(bytes).length > 0), { numRuns: 5000, seed: 1 });
  t.end();
});

t.test('trace(): both directions, super-segments, once each', (t) => {
  const clock = new VirtualClock();
  const lines: string[] = [];
  const [left, right] = createMemoryPair({ features: LINK_CSUM | LINK_TSO4, queuePackets: 1 });
  const link = trace(left, (line) => lines.push(line));
  t.not(link, left);
  t.equal(link.features, left.features);
  const a = new RecordingHost(link, clock);
  const b = new RecordingHost(right, clock);
  a.queuePacket(tcpPacket(4, { payload: new Uint8Array(10_000) }), { gsoType: GSO_TCPV4, gsoSize: 1448 });
  a.queuePacket(tcpPacket(4, { seq: 10_001, flags: 0x11 }));
  a.flush();
  t.equal(lines.length, 1, 'the second has not left yet');
  clock.advance(0);
  b.send(tcpPacket(4, { flags: 0x10, ack: 10_002 }));
  clock.advance(0);
  t.same(lines, [
    '> 10.90.0.2.80 > 10.90.0.1.40001: Flags [.], seq 1:10001, ack 0, win 65535, length 10000, in parts of 1448',
    '> 10.90.0.2.80 > 10.90.0.1.40001: Flags [F.], seq 10001, ack 0, win 65535, length 0',
    '< 10.90.0.2.80 > 10.90.0.1.40001: Flags [.], ack 10002, win 65535, length 0',
  ]);
  t.equal(b.arrivals.length, 2);
  t.equal(a.arrivals.length, 1);
  t.end();
});

t.test('DEBUG=tcpu:link turns it on; without it the link is returned as it is', (t) => {
  const [left] = createMemoryPair();
  t.equal(trace(left), left);
  const child = spawnSync(process.execPath, ['--import=tsx', '--input-type=module', '-e', `
    import { trace } from './lib/link/trace.ts';
    import { createMemoryPair } from './lib/link/memory-pair.ts';
    import { RecordingHost, udpPacket } from './test/link/harness.ts';
    new RecordingHost(trace(createMemoryPair()[0])).send(udpPacket(4, new Uint8Array(3)));`,
  ], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)), encoding: 'utf8', timeout: 20_000,
    env: { ...process.env, DEBUG: 'tcpu:link', DEBUG_COLORS: '0' },
  });
  t.equal(child.status, 0);
  t.match(child.stderr, /tcpu:link > 10\.90\.0\.2\.53 > 10\.90\.0\.1\.4000: UDP, length 3/);
  t.end();
});
