/** Capture: read back by a reader of our own, and by tshark and capinfos. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { GSO_TCPV4 } from '../../lib/buffer/transmit-queue.ts';
import { VirtualClock } from '../../lib/clock.ts';
import { capture } from '../../lib/link/capture.ts';
import type { CaptureOptions, CaptureStream } from '../../lib/link/capture.ts';
import { LINK_CSUM, LINK_TSO4 } from '../../lib/link/link.ts';
import { createMemoryPair } from '../../lib/link/memory-pair.ts';
import type { MemoryPairOptions } from '../../lib/link/memory-pair.ts';
import { PacketLink } from '../../lib/link/packet-link.ts';
import { checksumRight, numbered, numberOf, RecordingHost, tcpPacket, udpPacket } from './harness.ts';
import { readPcapng } from './pcapng-reader.ts';

const ACK = 0x10;
const PSH = 0x08;
const SYN = 0x02;
const ORIGIN_MS = Date.UTC(2024, 1, 29, 12, 0, 0);

const directory = mkdtempSync(join(tmpdir(), 'tcpu-capture-'));
t.teardown(() => rmSync(directory, { recursive: true }));

/** Keeps all that is written. */
class MemoryStream implements CaptureStream {
  chunks: Uint8Array[] = [];
  ended = false;
  writableNeedDrain = false;

  write(bytes: Uint8Array): boolean {
    this.chunks.push(bytes);
    return true;
  }

  end(): void {
    this.ended = true;
  }

  read() {
    return readPcapng(Buffer.concat(this.chunks));
  }
}

function setUp(target: string | CaptureStream, options: CaptureOptions = {}, pair: MemoryPairOptions = {}) {
  const clock = new VirtualClock(0, ORIGIN_MS);
  const [left, right] = createMemoryPair(pair);
  const link = capture(left, target, options);
  return { clock, link, a: new RecordingHost(link, clock), b: new RecordingHost(right, clock) };
}

const stampNs = (us: number): bigint => BigInt(ORIGIN_MS) * 1_000_000n + BigInt(us) * 1000n;

t.test('both directions, with stamps, direction and names', (t) => {
  const stream = new MemoryStream();
  const { clock, link, a, b } = setUp(stream, {}, { names: ['west', 'east'], latencyUs: 30 });
  clock.advance(4_000_000_123);
  a.send(numbered(1, 61), { pieceLength: 7 });
  clock.advance(5);
  b.send(numbered(2, 1500));
  clock.advance(100);
  link.close();
  t.equal(stream.ended, true);
  const file = stream.read();
  t.equal(file.application, 'tcpu');
  t.same(file.interfaces, [{ linkType: 101, snapLength: 0, name: 'west', timeResolution: 9 }]);
  t.same(file.packets.map(({ bytes }) => [...bytes]), [[...numbered(1, 61)], [...numbered(2, 1500)]]);
  t.same(file.packets.map(({ flags }) => flags & 3), [2, 1]);
  t.same(file.packets.map(({ timeNs }) => timeNs), [stampNs(4_000_000_123), stampNs(4_000_000_158)]);
  t.same(file.packets.map(({ originalLength }) => originalLength), [61, 1500]);
  t.same(file.statistics, { received: 2n, dropped: 0n });
  t.equal(link.packets, 2);
  t.equal(a.arrivals.length, 1);
  t.equal(b.arrivals.length, 1);
  t.end();
});

t.test('what the link leaves in the queue is recorded once, when it leaves', (t) => {
  const stream = new MemoryStream();
  const { clock, link, a } = setUp(stream, {}, { queuePackets: 2 });
  for (let i = 0; i < 5; i++) a.queuePacket(numbered(i, 60));
  a.flush();
  clock.advance(0);
  link.close();
  t.same(stream.read().packets.map(({ bytes }) => numberOf(bytes)), [0, 1, 2, 3, 4]);
  t.end();
});

t.test('partial checksums are finished in the copy only', (t) => {
  for (const complete of [true, false]) {
    const stream = new MemoryStream();
    const { clock, link, a, b } = setUp(stream, { completeChecksums: complete }, { features: LINK_CSUM | LINK_TSO4 });
    const packet = tcpPacket(4, { payload: numbered(0, 3001), partial: true });
    const offload = { csumStart: 20, csumOffset: 16, gsoType: GSO_TCPV4, gsoSize: 1000 };
    a.send(packet, offload);
    b.send(packet, offload);
    clock.advance(0);
    link.close();
    t.same(stream.read().packets.map(({ bytes }) => checksumRight(bytes, 6)), [complete, complete]);
    t.same([...b.arrivals[0]!.bytes], [...packet]);
    t.same([...a.arrivals[0]!.bytes], [...packet]);
  }
  t.end();
});

t.test('snap length cuts the copy, the original length is told', (t) => {
  const stream = new MemoryStream();
  const { clock, link, a, b } = setUp(stream, { snapLength: 97 });
  a.send(numbered(1, 1000));
  a.send(numbered(2, 50));
  clock.advance(0);
  link.close();
  const { packets, interfaces } = stream.read();
  t.same(packets.map(({ bytes, originalLength }) => [bytes.length, originalLength]), [[97, 1000], [50, 50]]);
  t.same([...packets[0]!.bytes], [...numbered(1, 97)]);
  t.equal(interfaces[0]!.snapLength, 97);
  t.equal(b.arrivals[0]!.bytes.length, 1000);
  t.end();
});

t.test('comments', (t) => {
  const stream = new MemoryStream();
  const { clock, link, a, b } = setUp(stream, {
    comment: (bytes, offset, length, outbound) => {
      const number = new DataView(bytes.buffer).getUint32(offset);
      return number === 2 ? undefined : number === 3 ? 'é'.repeat(1000) : `${outbound ? 'out' : 'in'} ${number}, ${length} bytes`;
    },
  });
  a.send(numbered(1, 61));
  a.send(numbered(2, 60));
  a.send(numbered(3, 60));
  b.send(numbered(4, 63));
  clock.advance(0);
  link.close();
  t.same(stream.read().packets.map(({ comment }) => comment), ['out 1, 61 bytes', null, 'é'.repeat(256), 'in 4, 63 bytes']);
  t.end();
});

t.test('a slow target loses packets of the capture, not of the stack, and memory stays bounded', (t) => {
  const stream = new MemoryStream();
  const { clock, link, a, b } = setUp(stream, { bufferBytes: 256 << 10 });
  a.send(numbered(0, 1500));
  link.flush();
  stream.writableNeedDrain = true;
  for (let i = 1; i < 1000; i++) {
    a.send(numbered(i, 1500));
    clock.advance(0);
  }
  t.equal(b.arrivals.length, 1000);
  t.ok(link.dropped > 700, `dropped ${link.dropped}`);
  stream.writableNeedDrain = false;
  a.send(numbered(1000, 1500));
  link.close();
  const { packets, statistics } = stream.read();
  t.equal(packets.length, 1001 - link.dropped);
  t.same(packets.map(({ bytes }) => numberOf(bytes)), [...Array.from({ length: packets.length - 1 }, (_, i) => i), 1000]);
  t.same(statistics, { received: 1001n, dropped: BigInt(link.dropped) });
  t.end();
});

t.test('a broken target ends the capture, not the stack', (t) => {
  // Linux's own full disk.
  const { clock, link, a, b } = setUp('/dev/full');
  for (let i = 0; i < 500; i++) {
    a.send(numbered(i, 1500));
    clock.advance(0);
  }
  t.equal(b.arrivals.length, 500);
  t.equal((link.error as NodeJS.ErrnoException).code, 'ENOSPC');
  t.ok(link.dropped > 100);
  t.doesNotThrow(() => link.close());
  t.throws(() => capture(link.link, join(directory, 'missing', 'x.pcapng')), { code: 'ENOENT' });
  t.end();
});

t.test('a node:stream is a target', async (t) => {
  const stream = new PassThrough();
  const { clock, link, a } = setUp(stream);
  a.send(numbered(1, 100));
  clock.advance(0);
  link.close();
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  t.equal(readPcapng(Buffer.concat(chunks)).packets.length, 1);
});

t.test('the file can be followed: it is written out by itself', async (t) => {
  const path = join(directory, 'follow.pcapng');
  const { clock, link, a } = setUp(path, { flushMs: 20 });
  t.teardown(() => link.close());
  a.send(numbered(1, 100));
  clock.advance(0);
  const deadline = Date.now() + 10_000;
  const packets = (): number => {
    const bytes = readFileSync(path);
    return bytes.length === 0 ? 0 : readPcapng(bytes).packets.length;
  };
  t.equal(packets(), 0);
  while (packets() === 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  t.equal(packets(), 1);
});

t.test('a process that exits without close() leaves a whole file', (t) => {
  const path = join(directory, 'exit.pcapng');
  const child = spawnSync(process.execPath, ['--import=tsx', '--input-type=module', '-e', `
    import { capture } from './lib/link/capture.ts';
    import { createMemoryPair } from './lib/link/memory-pair.ts';
    import { RecordingHost, numbered } from './test/link/harness.ts';
    const [left] = createMemoryPair();
    const a = new RecordingHost(capture(left, ${JSON.stringify(path)}));
    for (let i = 0; i < 10; i++) a.send(numbered(i, 100));
    process.exit(3);`,
  ], { cwd: fileURLToPath(new URL('../..', import.meta.url)), encoding: 'utf8', timeout: 20_000 });
  t.equal(child.status, 3, child.stderr);
  const file = readPcapng(readFileSync(path));
  t.equal(file.packets.length, 10);
  t.same(file.statistics, { received: 10n, dropped: 0n });
  t.end();
});

/** A small conversation, both versions, with a super-segment and partial checksums. */
function conversation(path: string): number {
  const { clock, link, a, b } = setUp(path, {}, { features: LINK_CSUM | LINK_TSO4 });
  /** The same bytes with both ends exchanged; sums do not change. */
  const reversed = (packet: Uint8Array): Uint8Array => {
    const at = packet[0]! >> 4 === 4 ? 12 : 8;
    const size = at === 12 ? 4 : 16;
    const end = at + 2 * size;
    const copy = packet.slice();
    copy.set(packet.subarray(at + size, end), at);
    copy.set(packet.subarray(at, at + size), at + size);
    copy.set(packet.subarray(end + 2, end + 4), end);
    copy.set(packet.subarray(end, end + 2), end + 2);
    return copy;
  };
  let count = 0;
  for (const version of [4, 6] as const) {
    const csumStart = version === 4 ? 20 : 40;
    const out = (fields: Parameters<typeof tcpPacket>[1], gsoSize = 0): void => {
      a.send(tcpPacket(version, { ...fields, partial: true }), {
        csumStart, csumOffset: 16, headerLength: csumStart + 20, gsoSize, gsoType: gsoSize > 0 ? GSO_TCPV4 : 0,
      });
      clock.advance(100);
      count++;
    };
    /** The peer's: `reversed` swaps the ports too, so both name them alike. */
    const back = (fields: Parameters<typeof tcpPacket>[1]): void => {
      b.send(reversed(tcpPacket(version, fields)));
      clock.advance(100);
      count++;
    };
    const mss = [2, 4, 5, 0xb4];
    out({ seq: 1000, flags: SYN, options: mss });
    back({ seq: 5000, ack: 1001, flags: SYN | ACK, options: mss });
    out({ seq: 1001, ack: 5001, flags: ACK });
    out({ seq: 1001, ack: 5001, flags: PSH | ACK, payload: numbered(1, 20_000) }, 1448);
    back({ seq: 5001, ack: 21_001, flags: ACK });
    a.send(udpPacket(version, new Uint8Array(33), 4001, 4000));
    clock.advance(100);
    count++;
  }
  link.close();
  return count;
}

const TOOLS = ['tshark', 'capinfos'] as const;
const missing = TOOLS.filter((tool) => spawnSync(tool, ['--version'], { timeout: 20_000 }).status !== 0);
const skip = missing.length > 0 ? `NOT VERIFIED BY WIRESHARK: ${missing.join(', ')} not installed` : false;

t.test('tshark opens it and finds nothing wrong', { skip }, (t) => {
  const path = join(directory, 'talk.pcapng');
  const count = conversation(path);
  const tool = (name: string, args: string[]): string => {
    const child = spawnSync(name, args, { encoding: 'utf8', timeout: 60_000 });
    t.equal(child.status, 0, `${name}: ${child.stderr}`);
    return child.stdout;
  };
  const info = tool('capinfos', ['-M', path]);
  t.match(info, /File type:.*pcapng/);
  t.match(info, /encapsulation:\s+raw ?ip/i);
  t.match(info, new RegExp(`Number of packets:\\s+${count}\\b`));
  t.match(info, /precision:\s+nanoseconds/i);
  const checks = ['-o', 'tcp.check_checksum:TRUE', '-o', 'udp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE'];
  const fields = ['frame.interface_name', 'frame.packet_flags_direction', 'frame.time_epoch', 'frame.len', '_ws.expert.message'];
  const rows = tool('tshark', ['-r', path, '-n', ...checks, '-T', 'fields', ...fields.flatMap((f) => ['-e', f])])
    .trimEnd().split('\n').map((row) => row.split('\t'));
  t.equal(rows.length, count);
  t.same(rows.map(([name]) => name), rows.map(() => 'memory0'));
  const directions = rows.slice(0, 6).map(([, direction]) => Number(direction));
  t.same(directions, [2, 1, 2, 2, 1, 2]);
  t.match(rows[1]![2], /^1709208000\.000100000$|^2024-02-29T12:00:00\.000100000Z$/);
  // Errors and warnings: bad checksums, retransmissions, malformed packets.
  const bad = tool('tshark', ['-r', path, '-n', ...checks, '-Y', '_ws.malformed || _ws.expert.severity >= "Warning"']);
  t.equal(bad, '', 'no expert warning or error');
  const sums = tool('tshark', ['-r', path, '-n', ...checks, '-Y', 'tcp.checksum.status == "Good" || udp.checksum.status == "Good"'])
    .trimEnd().split('\n');
  t.equal(sums.length, count, 'every checksum was looked at, and is right');
  t.end();
});

t.test('stop() ends the capture and leaves the link open', (t) => {
  const stream = new MemoryStream();
  const sent: Uint8Array[] = [];
  const below = new PacketLink({ send: (packet) => void sent.push(packet) });
  const link = capture(below, stream);
  const host = new RecordingHost(link);
  host.send(numbered(1, 60));
  link.stop();
  host.send(numbered(2, 60));
  below.receive(numbered(3, 60));
  t.equal(sent.length, 2);
  t.equal(host.arrivals.length, 1);
  t.equal(stream.read().packets.length, 1);
  t.end();
});
