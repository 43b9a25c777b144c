/**
 * TUN devices against the Linux kernel, in a network namespace that tun.test.ts made:
 *
 *     this process --- TUN device --- Linux (10.90.0.1/24, fd90::1/64)
 *      10.90.0.2, fd90::2
 */

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import t from 'tap';

import { GSO_TCPV4, GSO_UDP_L4 } from '../../lib/buffer/transmit-queue.ts';
import { LINK_CSUM, LINK_TSO4, RX_CSUM_COMPLETE, RX_CSUM_PARTIAL } from '../../lib/link/link.ts';
import { loadNative } from '../../lib/link/native.ts';
import { openTun } from '../../lib/link/tun.ts';
import type { TunOptions } from '../../lib/link/tun.ts';
import { echoRequest, ipPacket, partialTcp, partialUdp, referenceSum, TestHost } from './tun-host.ts';

const LINUX4 = '10.90.0.1';
const OURS4 = '10.90.0.2';
const LINUX6 = 'fd90::1';
const OURS6 = 'fd90::2';
const ADDRESSES = { hostAddresses: [`${LINUX4}/24`, `${LINUX6}/64`] };

const tunModule = fileURLToPath(new URL('../../lib/link/tun.ts', import.meta.url));

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', timeout: 10_000 });
}

interface IpLink { ifname: string; mtu: number; txqlen: number; flags: string[] }
interface IpAddress { addr_info: { local: string; prefixlen: number; scope: string }[] }

function hasInterface(name: string): boolean {
  return spawnSync('ip', ['link', 'show', name], { stdio: 'ignore', timeout: 10_000 }).status === 0;
}

/** The `code` and message of what `work` throws. */
function errorOf(work: () => unknown): { code: string; message: string; syscall: string } {
  try {
    work();
  } catch (error) {
    return error as { code: string; message: string; syscall: string };
  }
  return { code: 'no error', message: '', syscall: '' };
}

/** Runs a module of one's own in a child process, in this namespace. Returns what it printed. */
function runChild(source: string, command: string[] = []): { status: number | null; output: string } {
  const [file, ...args] = [...command, process.execPath, '--import=tsx', '--input-type=module', '-e', source];
  const result = spawnSync(file!, args, { encoding: 'utf8', timeout: 30_000 });
  return { status: result.status, output: result.stdout + result.stderr };
}

function protocolOf(packet: Buffer): number {
  return packet[0]! >> 4 === 4 ? packet[9]! : packet[6]!;
}

t.test('what was configured is what Linux says, and can be read back', (t) => {
  const tun = openTun({ name: 'tcpu-a%d', mtu: 1400, queueLength: 2345, routes: ['10.91.3.4/16', 'fd91::/48'], ...ADDRESSES });
  t.teardown(() => tun.close());
  t.equal(tun.name, 'tcpu-a0');
  const link = (JSON.parse(ip('-j', 'link', 'show', tun.name)) as IpLink[])[0]!;
  t.equal(link.mtu, 1400);
  t.equal(link.txqlen, 2345);
  t.ok(link.flags.includes('UP'));
  t.equal(tun.mtu, 1400);
  t.equal(tun.queueLength, 2345);
  t.equal(tun.isUp, true);
  const addresses = (JSON.parse(ip('-j', 'addr', 'show', tun.name)) as IpAddress[])[0]!.addr_info;
  t.same(addresses.map((a) => `${a.local}/${a.prefixlen}`), ['10.90.0.1/24', 'fd90::1/64'], 'no link-local address of its own');
  t.same(tun.hostAddresses, ['10.90.0.1/24', 'fd90::1/64']);
  t.equal(tun.ipv4, '10.90.0.1/24');
  t.equal(tun.ipv6, 'fd90::1/64');
  t.match(ip('route', 'get', '10.91.255.1'), `dev ${tun.name}`);
  t.match(ip('-6', 'route', 'show'), `fd91::/48 dev ${tun.name}`);
  t.notMatch(ip('-6', 'addr', 'show', tun.name), 'tentative', 'usable at once');

  tun.mtu = 9000;
  tun.ipv4 = '10.92.0.1/30';
  tun.ipv6 = 'fd92::1/120';
  tun.isUp = false;
  t.equal(tun.mtu, 9000);
  t.same(tun.hostAddresses, ['10.92.0.1/30', 'fd92::1/120'], 'both addresses outlive the interface going down');
  t.equal(tun.isUp, false);
  t.match(ip('link', 'show', tun.name), 'mtu 9000');
  tun.ipv4 = null;
  t.equal(tun.ipv4, null);
  t.end();
});

t.test('offload can be turned off, and the kernel says what it has', (t) => {
  const off = openTun({ offload: 'off' });
  t.equal(off.features, LINK_CSUM, 'the addon finishes checksums');
  const on = openTun({ offload: 'on' });
  t.equal(on.features & (LINK_CSUM | LINK_TSO4), LINK_CSUM | LINK_TSO4);
  off.close();
  on.release();
  t.end();
});

t.test('a ping from Linux arrives as packets in a batch', async (t) => {
  const tun = openTun(ADDRESSES);
  t.teardown(() => tun.close());
  const host = new TestHost(tun);
  const beforeUs = host.clock.nowUs();
  for (const [target, protocol] of [[OURS4, 1], [OURS6, 58]] as const) {
    const ping = spawn('ping', ['-c', '1', '-w', '20', '-s', '57', target], { stdio: 'ignore' });
    const packet = await host.packet(() => true);
    ping.kill();
    await once(ping, 'exit');
    t.equal(protocolOf(packet.bytes), protocol, 'nothing but the ping (no router solicitation, no listener report)');
    t.equal(packet.offset % 16, 0);
    t.equal(packet.gsoType, 0);
    t.equal(packet.bytes.length, (protocol === 1 ? 20 : 40) + 8 + 57);
    t.equal(packet.flags, RX_CSUM_COMPLETE, 'Linux has computed this checksum, so we are told the sum of all');
    t.equal(packet.csum, referenceSum(packet.bytes));
    t.ok(packet.timeUs >= beforeUs && packet.timeUs <= host.clock.nowUs() + 1, 'the time is of the host\'s clock');
  }
  t.equal(tun.counters.rxPackets, 2);
  t.equal(tun.counters.rxErrors, 0);
});

t.test('Linux answers echo requests that are written; many come back in one batch', async (t) => {
  const tun = openTun(ADDRESSES);
  t.teardown(() => tun.close());
  const host = new TestHost(tun);
  for (const [from, to, header] of [[OURS4, LINUX4, 20], [OURS6, LINUX6, 40]] as const) {
    const data = Buffer.from('an odd number of bytes');
    for (let i = 0; i < 100; i++) host.put(echoRequest(from, to, i, data), header + 8, [5, 1, 0, 3]);
    host.send();
    t.ok(host.queue.empty);
    await host.until(() => host.arrived.length === 100);
    host.arrived.forEach((packet, i) => {
      const message = packet.bytes.subarray(header);
      if (message[0] !== (header === 20 ? 0 : 129)) t.fail('not an echo reply');
      if (message.readUInt16BE(6) !== i) t.fail('out of order');
      if (!message.subarray(8).equals(data)) t.fail('other data');
      if (packet.csum !== referenceSum(packet.bytes)) t.fail('wrong sum');
    });
    t.equal(host.arrived[0]!.together, 100, 'one call for all');
    host.arrived.length = 0;
  }
  t.equal(tun.counters.txPackets, 200);
  t.equal(tun.counters.txCalls, 2);
});

t.test('checksums left to the device come out right, whoever finishes them', async (t) => {
  const receiver = createSocket('udp4');
  const receiver6 = createSocket({ type: 'udp6', ipv6Only: true });
  t.teardown(() => { receiver.close(); receiver6.close(); });
  const got: Buffer[] = [];
  for (const socket of [receiver, receiver6]) {
    socket.bind(7000);
    socket.on('message', (message) => got.push(message));
    await once(socket, 'listening');
  }
  for (const offload of ['off', 'auto'] as const) {
    const tun = openTun({ offload, mtu: 65535, ...ADDRESSES });
    const host = new TestHost(tun);
    const sent: Buffer[] = [];
    for (let length = 0; length < 40; length++) {
      for (const [from, to, header] of [[OURS4, LINUX4, 20], [OURS6, LINUX6, 40]] as const) {
        const data = Buffer.from(Array.from({ length: length === 39 ? 65001 : length }, (_, i) => (i * 7919 + length * 31) >> 3));
        const packet = partialUdp(from, to, 5000, 7000, data);
        // Pieces of 1, 3, 5 … bytes begin at odd and even places; empty ones may be among them.
        host.put(packet, header + 8, [1, 3, 0, 5, 2, 7, 1], header, 6);
        host.send();
        sent.push(data);
        if (offload === 'off') {
          const slot = host.memory.bytes.subarray(host.memory.headerBase, host.memory.headerBase + header + 8);
          const field = Buffer.from(slot).readUInt16BE(header + 6);
          const expected = ~referenceSum(packet.subarray(header)) & 0xffff;
          t.equal(field, expected === 0 ? 0xffff : expected, `${length} bytes, IPv${header === 20 ? 4 : 6}`);
        }
        // Linux's socket takes it only with a right checksum. Wait for each: its buffer is bounded.
        while (got.length < sent.length) await once(to === LINUX4 ? receiver : receiver6, 'message');
        if (!got[got.length - 1]!.equals(data)) t.fail('other data than was sent');
      }
    }
    t.equal(got.length, 80, `all arrived, offload ${offload}`);
    got.length = 0;
    tun.close();
  }
});

t.test('what Linux leaves unfinished is marked; without offload it is whole, and summed', async (t) => {
  const sender = createSocket('udp4');
  t.teardown(() => sender.close());
  for (const offload of ['auto', 'off'] as const) {
    const tun = openTun({ offload, ...ADDRESSES });
    const host = new TestHost(tun);
    for (const length of [1, 2, 3, 500, 1471, 1472]) {
      sender.send(Buffer.alloc(length, 0xa5), 7000, OURS4);
      const packet = await host.packet((p) => protocolOf(p.bytes) === 17);
      t.equal(packet.bytes.length, 28 + length);
      if (offload === 'auto') {
        t.equal(packet.flags, RX_CSUM_PARTIAL);
        t.equal(packet.csum, 20);
        t.equal(packet.csumOffset, 6);
      } else {
        t.equal(packet.flags, RX_CSUM_COMPLETE);
        t.equal(packet.csum, referenceSum(packet.bytes));
      }
    }
    tun.close();
  }
});

t.test('a super-segment of 60 KB is taken', async (t) => {
  const tun = openTun({ offload: 'on', ...ADDRESSES });
  t.teardown(() => tun.close());
  const host = new TestHost(tun);
  const data = Buffer.alloc(60_000, 1);
  // Nobody listens: Linux answers with a reset whose sequence number is our acknowledgement (RFC 9293 3.5.2).
  host.put(partialTcp(OURS4, LINUX4, 5000, 7, 0x01020304, data), 40, [8192, 8191, 1, 20_001], 20, 16, GSO_TCPV4, 1460);
  host.send();
  const reset = await host.packet((p) => protocolOf(p.bytes) === 6);
  t.equal(reset.bytes[33]! & 4, 4, 'RST');
  t.equal(reset.bytes.readUInt32BE(24), 0x01020304);
  t.equal(tun.counters.txPackets, 1);
  t.equal(tun.counters.txBytes, 60_040);

  if ((tun.features & 8) !== 0) {
    const receiver = createSocket('udp4').bind(7001);
    await once(receiver, 'listening');
    const sizes: number[] = [];
    receiver.on('message', (message) => sizes.push(message.length));
    host.put(partialUdp(OURS4, LINUX4, 5000, 7001, data.subarray(0, 2500)), 28, [], 20, 6, GSO_UDP_L4, 1000);
    host.send();
    while (sizes.length < 3) await once(receiver, 'message');
    t.same(sizes, [1000, 1000, 500], 'UDP is cut');
    receiver.close();
  }
});

t.test('merged segments from Linux arrive whole', async (t) => {
  const tun = openTun({ offload: 'on', ...ADDRESSES });
  t.teardown(() => tun.close());
  if ((tun.features & 8) === 0) return t.comment('the kernel has no USO');
  const host = new TestHost(tun);
  // UDP_SEGMENT (103): Linux cuts, or leaves it to the device.
  const python = 'import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n'
    + `s.setsockopt(17, 103, 1000)\ns.sendto(bytes(5500), ("${OURS4}", 7000))\n`;
  execFileSync('python3', ['-c', python], { timeout: 10_000 });
  const packet = await host.packet((p) => protocolOf(p.bytes) === 17);
  t.equal(packet.bytes.length, 28 + 5500);
  t.equal(packet.gsoType, GSO_UDP_L4);
  t.equal(packet.gsoSize, 1000);
  t.equal(packet.headerLength, 28);
});

t.test('a packet that the kernel refuses is counted, and the next goes on', async (t) => {
  const tun = openTun({ offload: 'on', ...ADDRESSES });
  t.teardown(() => tun.close());
  const host = new TestHost(tun);
  host.put(echoRequest(OURS4, LINUX4, 1, Buffer.alloc(8)), 28);
  host.put(ipPacket(OURS4, LINUX4, 6, Buffer.alloc(2000)), 20, [], -1, 0, 77, 500);
  host.put(Buffer.from([0x70, 0, 0, 0]), 4);
  host.put(echoRequest(OURS4, LINUX4, 2, Buffer.alloc(8)), 28);
  // A piece outside the memory.
  host.queue.begin(20);
  host.queue.piece(host.memory.bytes.length - 10, 100);
  host.queue.end(-1, 0, 0, 0);
  host.send();
  t.ok(host.queue.empty);
  await host.until(() => host.arrived.length === 2);
  t.equal(tun.counters.txPackets, 2);
  t.equal(tun.counters.txInvalidDrops, 3);
});

t.test('while the interface is down packets are dropped and counted; afterwards all is well', async (t) => {
  const tun = openTun(ADDRESSES);
  t.teardown(() => tun.close());
  const host = new TestHost(tun);
  tun.isUp = false;
  host.put(echoRequest(OURS4, LINUX4, 1, Buffer.alloc(8)), 28);
  host.send();
  t.equal(tun.counters.txDownDrops, 1);
  t.ok(host.queue.empty);
  tun.isUp = true;
  t.equal(tun.ipv6, `${LINUX6}/64`, 'Linux has not forgotten its address');
  host.put(echoRequest(OURS4, LINUX4, 2, Buffer.alloc(8)), 28);
  host.send();
  const reply = await host.packet(() => true);
  t.equal(reply.bytes.readUInt16BE(26), 2);
  t.equal(host.downError, null);
});

t.test('when the device is full, packets wait, and the host is told of room', async (t) => {
  const tun = openTun({ sendBufferBytes: 4096, mtu: 1500, hostAddresses: [`${LINUX4}/24`] });
  t.teardown(() => tun.close());
  // What we write is sent on, through a slow queue that goes on charging it to our socket.
  ip('link', 'add', 'slow', 'type', 'ifb');
  t.teardown(() => ip('link', 'del', 'slow'));
  ip('link', 'set', 'slow', 'up');
  const tc = (...args: string[]): void => { execFileSync('tc', args, { timeout: 10_000 }); };
  tc('qdisc', 'add', 'dev', 'slow', 'root', 'tbf', 'rate', '4mbit', 'burst', '2000', 'limit', '1000000');
  tc('qdisc', 'add', 'dev', tun.name, 'handle', 'ffff:', 'ingress');
  tc('filter', 'add', 'dev', tun.name, 'parent', 'ffff:', 'protocol', 'all', 'u32', 'match', 'u32', '0', '0',
    'action', 'mirred', 'egress', 'redirect', 'dev', 'slow');
  const host = new TestHost(tun);
  const receiver = createSocket('udp4').bind(7000);
  t.teardown(() => receiver.close());
  await once(receiver, 'listening');
  let messages = 0;
  let next = 0;
  receiver.on('message', (message) => {
    if (message.readUInt32BE(0) !== next++) t.fail('lost or out of order');
    messages++;
  });
  for (let i = 0; i < 50; i++) {
    const data = Buffer.alloc(1000);
    data.writeUInt32BE(i);
    host.put(partialUdp(OURS4, LINUX4, 5000, 7000, data), 28, [], 20, 6);
  }
  host.send();
  t.ok(host.queue.count > 0, `${host.queue.count} of 50 wait`);
  while (!host.queue.empty) {
    const told = host.writables;
    await host.until(() => host.writables > told);
    host.send();
  }
  while (messages < 50) await once(receiver, 'message');
  t.ok(host.writables > 0);
  t.equal(tun.counters.txBlocked >= host.writables, true);
  t.equal(tun.counters.txPackets, 50);
});

t.test('checksums finished here survive having to wait', async (t) => {
  const tun = openTun({ sendBufferBytes: 2048, offload: 'off', hostAddresses: [`${LINUX4}/24`] });
  t.teardown(() => tun.close());
  ip('link', 'add', 'slow', 'type', 'ifb');
  t.teardown(() => ip('link', 'del', 'slow'));
  ip('link', 'set', 'slow', 'up');
  const tc = (...args: string[]): void => { execFileSync('tc', args, { timeout: 10_000 }); };
  tc('qdisc', 'add', 'dev', 'slow', 'root', 'tbf', 'rate', '4mbit', 'burst', '2000', 'limit', '1000000');
  tc('qdisc', 'add', 'dev', tun.name, 'handle', 'ffff:', 'ingress');
  tc('filter', 'add', 'dev', tun.name, 'parent', 'ffff:', 'protocol', 'all', 'u32', 'match', 'u32', '0', '0',
    'action', 'mirred', 'egress', 'redirect', 'dev', 'slow');
  const host = new TestHost(tun);
  const receiver = createSocket('udp4').bind(7000);
  t.teardown(() => receiver.close());
  await once(receiver, 'listening');
  let messages = 0;
  receiver.on('message', () => messages++);
  for (let i = 0; i < 10; i++) host.put(partialUdp(OURS4, LINUX4, 5000, 7000, Buffer.alloc(1001, i)), 28, [3], 20, 6);
  host.send();
  t.ok(!host.queue.empty);
  while (!host.queue.empty) {
    // Trying again at once finds no room, and must not touch the packet a second time.
    host.send();
    const told = host.writables;
    if (!host.queue.empty) await host.until(() => host.writables > told);
    host.send();
  }
  while (messages < 10) await once(receiver, 'message');
  t.equal(messages, 10);
});

t.test('busy polling finds what comes without sleeping', async (t) => {
  const tun = openTun({ busyPollUs: 500, ...ADDRESSES });
  t.teardown(() => tun.close());
  const host = new TestHost(tun);
  // Each answer causes the next request, so all of this happens within few turns of the event loop.
  let requests = 0;
  const request = (): void => {
    host.put(echoRequest(OURS4, LINUX4, requests++, Buffer.alloc(8)), 28);
    host.send();
  };
  let turns = 0;
  const immediate = (): void => { turns++; if (requests < 200) setImmediate(immediate); };
  immediate();
  host.onInput = () => { if (requests < 200) request(); };
  request();
  await host.until(() => host.arrived.length === 200);
  t.ok(turns <= 100, `${turns} turns`);
  t.equal(tun.counters.rxBatches, 200);
});

t.test('a kernel thread takes what is written, when asked for', async (t) => {
  const tun = openTun({ name: `nt${process.pid}`, napi: true, ...ADDRESSES });
  t.teardown(() => tun.close());
  const host = new TestHost(tun);
  for (let i = 0; i < 100; i++) host.put(echoRequest(OURS4, LINUX4, i, Buffer.alloc(100)), 28);
  host.send();
  await host.until(() => host.arrived.length === 100);
  t.same(host.arrived.map((packet) => packet.bytes.readUInt16BE(26)), Array.from({ length: 100 }, (_, i) => i));
  t.notOk(hasInterface('tun0'), 'nothing is left of the probe');
  // The thread is named after the device; threads of all namespaces are seen.
  const count = `cat /proc/[0-9]*/comm | grep -c '^napi/${tun.name}-'`;
  const threads = spawnSync('sh', ['-c', count], { encoding: 'utf8', timeout: 10_000 }).stdout.trim();
  t.equal(threads, tun.napi ? '1' : '0');
  if (!tun.napi) t.comment('no CAP_SYS_ADMIN: it goes without the thread');
});

t.test('errors say what to do', (t) => {
  const tun = openTun({ name: 'taken', ...ADDRESSES });
  t.teardown(() => tun.close());
  const cases: [TunOptions, string, RegExp][] = [
    [{ name: 'taken' }, 'EBUSY', /taken is in use .* choose another name/],
    [{ name: 'lo' }, 'EBUSY', /lo is taken by an interface that is not/],
    [{ name: 'much-too-long-a-name' }, 'EINVAL', /no interface name/],
    [{ name: 'a/b' }, 'EINVAL', /no interface name/],
    [{ name: '' }, 'EINVAL', /no interface name/],
    [{ mtu: 67 }, 'EINVAL', /MTU 67 .* from 68 to 65535/],
    [{ mtu: 65536 }, 'EINVAL', /MTU 65536/],
    [{ mtu: 1500.5 }, 'EINVAL', /MTU 1500.5/],
    [{ mtu: 1000, hostAddresses: ['fd99::1/64'] }, 'EINVAL', /too small for IPv6/],
    [{ hostAddresses: ['10.0.0.1'] }, 'EINVAL', /'10.0.0.1' is no address in CIDR form such as 10.90.0.1\/24/],
    [{ hostAddresses: ['10.0.0.256/24'] }, 'EINVAL', /'10.0.0.256\/24'/],
    [{ hostAddresses: ['10.0.0.1/33'] }, 'EINVAL', /10.0.0.1\/33/],
    [{ hostAddresses: ['fd99::1/129'] }, 'EINVAL', /such as fd90::1\/64/],
    [{ hostAddresses: ['fe80::1%eth0/64'] }, 'EINVAL', /zone/],
    [{ routes: ['x/8'] }, 'EINVAL', /'x\/8' is no network/],
    [{ hostAddresses: [`${LINUX4}/24`] }, 'EEXIST', /10.90.0.1\/24 belongs to another interface/],
    [{ hostAddresses: ['FD90:0::1/64'] }, 'EEXIST', /another interface/],
    [{ queueLength: 0 }, 'EINVAL', /queue length/],
    [{ offload: 'maybe' as 'on' }, 'EINVAL', /offload is 'maybe'/],
  ];
  for (const [options, code, message] of cases) {
    const error = errorOf(() => openTun(options).close());
    t.equal(error.code, code, JSON.stringify(options));
    t.match(error.message, message);
  }
  t.notOk(hasInterface('tcpu0'), 'a device that could not be configured is not left behind');
  tun.close();
  t.equal(errorOf(() => { tun.mtu = 1400; }).code, 'EBADF');
  t.equal(errorOf(() => { tun.attach(null as never); }).code, 'EBADF');
  t.end();
});

const printError = `import { openTun } from ${JSON.stringify(tunModule)};
try { openTun(); } catch (error) { console.log(error.code, error.syscall, error.errno, error.message); }`;

t.test('without CAP_NET_ADMIN', (t) => {
  const { output } = runChild(printError, ['setpriv', '--bounding-set=-all', '--inh-caps=-all']);
  t.match(output, /^EPERM ioctl\(TUNSETIFF\) -1 .*run as root, or under `unshare -Urn`/);
  t.end();
});

t.test('without /dev/net/tun', (t) => {
  const { output } = runChild(printError, ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$@"', 'sh']);
  t.match(output, /^ENOENT open -2 .*--device \/dev\/net\/tun/);
  t.end();
});

t.test('a device is gone after close(), and after the process', (t) => {
  const tun = openTun({ name: 'gone0' });
  t.ok(hasInterface('gone0'));
  tun.close();
  tun.close();
  t.notOk(hasInterface('gone0'));
  t.equal(tun.isUp, false, 'reading of a closed one does no harm');
  t.same(tun.hostAddresses, []);

  // Unreferenced, it does not keep the process alive.
  const { status, output } = runChild(`import { openTun } from ${JSON.stringify(tunModule)};
    console.log(openTun({ name: 'gone1' }).isUp);`);
  t.equal(output, 'true\n');
  t.equal(status, 0);
  t.notOk(hasInterface('gone1'));
  t.end();
});

t.test('a persistent device stays, and is taken over as it is', (t) => {
  const first = openTun({ name: 'keep0', persist: true, mtu: 1300, ...ADDRESSES, routes: ['10.99.0.0/16'] });
  first.close();
  t.ok(hasInterface('keep0'));
  const second = openTun({ name: 'keep0', ...ADDRESSES, routes: ['10.99.0.0/16'] });
  t.equal(second.mtu, 1300);
  t.same(second.hostAddresses, ['10.90.0.1/24', 'fd90::1/64']);
  second.close();
  t.ok(hasInterface('keep0'));
  openTun({ name: 'keep0', persist: false }).close();
  t.notOk(hasInterface('keep0'));
  t.end();
});

t.test('a persistent device that belongs to a user needs no rights', (t) => {
  ip('tuntap', 'add', 'dev', 'mine0', 'mode', 'tun', 'user', 'nobody');
  t.teardown(() => ip('link', 'del', 'mine0'));
  ip('addr', 'add', '10.90.0.1/24', 'dev', 'mine0');
  ip('link', 'set', 'mine0', 'up');
  // Opening /dev/net/tun itself may be root's alone: keep CAP_DAC_OVERRIDE for that.
  const uid = execFileSync('id', ['-u', 'nobody'], { encoding: 'utf8' }).trim();
  const caps = ['--inh-caps=-all,+dac_override', '--ambient-caps=-all,+dac_override', '--bounding-set=-all,+dac_override'];
  const { output } = runChild(`import { openTun } from ${JSON.stringify(tunModule)};
    const tun = openTun({ name: 'mine0', hostAddresses: ['10.90.0.1/24'] });
    console.log(tun.name, tun.ipv4, tun.features > 1);`, ['setpriv', `--reuid=${uid}`, '--clear-groups', ...caps]);
  t.equal(output, 'mine0 10.90.0.1/24 true\n');
  t.end();
});

t.test('200 times open and close leave no descriptor', async (t) => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  openTun().close();
  const before = descriptors();
  for (let i = 0; i < 200; i++) {
    const tun = openTun({ hostAddresses: ['10.90.0.1/24'] });
    if (i % 2 === 0) new TestHost(tun);
    tun.close();
    if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  t.equal(descriptors(), before);
  t.equal(loadNative().interfaceIndex('tcpu0'), 0);
});

t.test('close() from inside input()', async (t) => {
  const tun = openTun(ADDRESSES);
  const host = new TestHost(tun);
  host.onInput = () => tun.close();
  for (let i = 0; i < 3; i++) host.put(echoRequest(OURS4, LINUX4, i, Buffer.alloc(8)), 28);
  host.send();
  await host.until(() => host.arrived.length > 0);
  t.notOk(hasInterface(tun.name));
  host.put(echoRequest(OURS4, LINUX4, 9, Buffer.alloc(8)), 28);
  host.send();
  t.ok(host.queue.empty, 'a closed device takes everything and sends nothing');
});

t.test('a device that is deleted underneath tells the host', async (t) => {
  const tun = openTun(ADDRESSES);
  const host = new TestHost(tun);
  ip('link', 'del', tun.name);
  host.put(echoRequest(OURS4, LINUX4, 1, Buffer.alloc(8)), 28);
  host.send();
  t.equal(host.downError, null, 'not from inside send()');
  t.ok(host.queue.empty);
  await host.until(() => host.downError !== null);
  t.equal((host.downError as unknown as { code: string }).code, 'EBADFD');
  t.match(host.downError!.message, /is gone: someone deleted it/);
  t.equal(tun.counters.txDownDrops, 1);
  tun.close();
});

t.test('an exception in input() is an uncaught exception, and reading goes on', (t) => {
  const hostModule = fileURLToPath(new URL('./tun-host.ts', import.meta.url));
  const { status, output } = runChild(`
    import { openTun } from ${JSON.stringify(tunModule)};
    import { TestHost, echoRequest } from ${JSON.stringify(hostModule)};
    const tun = openTun({ hostAddresses: ['10.90.0.1/24'] });
    const host = new TestHost(tun);
    let inputs = 0;
    host.onInput = () => {
      inputs++;
      if (inputs === 1) throw new Error('of the stack');
      console.log('second');
      tun.close();
    };
    const ping = () => { host.put(echoRequest('10.90.0.2', '10.90.0.1', 1, Buffer.alloc(8)), 28); host.send(); };
    process.on('uncaughtException', (error) => { console.log('uncaught', error.message); ping(); });
    tun.ref();
    ping();`);
  t.equal(output, 'uncaught of the stack\nsecond\n');
  t.equal(status, 0);
  t.end();
});

t.test('works in a worker, and is gone when the worker ends', async (t) => {
  // Node 20 does not carry `--import=tsx` over to workers.
  const tsx = JSON.stringify(import.meta.resolve('tsx/esm/api'));
  const file = JSON.stringify(new URL('./tun-worker.ts', import.meta.url).href);
  const source = `import(${tsx}).then(({ register }) => { register(); return import(${file}); })`;
  const worker = new Worker(source, { eval: true, execArgv: [] });
  const [length] = await once(worker, 'message') as [number];
  t.equal(length, 36);
  t.ok(hasInterface('worker0'));
  t.equal(await worker.terminate(), 1);
  t.notOk(hasInterface('worker0'));
  // This thread's own instance is another one.
  const tun = openTun({ name: 'worker0' });
  t.ok(hasInterface('worker0'));
  tun.close();
});
