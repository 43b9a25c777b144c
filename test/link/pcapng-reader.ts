/** Reads as much of pcapng (draft-ietf-opsawg-pcapng) as the capture tests need, independently of the writer. */

export interface CapturedPacket {
  interfaceId: number;
  /** Nanoseconds since 1970. */
  timeNs: bigint;
  bytes: Uint8Array;
  originalLength: number;
  flags: number;
  comment: string | null;
}

export interface PcapngFile {
  application: string;
  interfaces: { linkType: number; snapLength: number; name: string; timeResolution: number }[];
  packets: CapturedPacket[];
  statistics: { received: bigint; dropped: bigint } | null;
}

export function readPcapng(file: Buffer): PcapngFile {
  const result: PcapngFile = { application: '', interfaces: [], packets: [], statistics: null };
  let at = 0;
  while (at < file.length) {
    const type = file.readUInt32LE(at);
    const total = file.readUInt32LE(at + 4);
    if (total < 12 || (total & 3) !== 0 || at + total > file.length) throw new Error(`block at ${at}: length ${total}`);
    if (file.readUInt32LE(at + total - 4) !== total) throw new Error(`block at ${at}: lengths differ`);
    if (at === 0 && type !== 0x0a0d0d0a) throw new Error('no section header');
    const body = at + 8;
    const end = at + total - 4;
    if (type === 0x0a0d0d0a) {
      if (file.readUInt32LE(body) !== 0x1a2b3c4d) throw new Error('byte order');
      if (file.readUInt16LE(body + 4) !== 1 || file.readUInt16LE(body + 6) !== 0) throw new Error('version');
      if (file.readBigInt64LE(body + 8) !== -1n) throw new Error('section length');
      result.application = options(file, body + 16, end).get(4)?.toString() ?? '';
    } else if (type === 1) {
      const o = options(file, body + 8, end);
      result.interfaces.push({
        linkType: file.readUInt16LE(body),
        snapLength: file.readUInt32LE(body + 4),
        name: o.get(2)?.toString() ?? '',
        timeResolution: o.get(9)?.[0] ?? 6,
      });
    } else if (type === 6) {
      const captured = file.readUInt32LE(body + 12);
      const data = body + 20;
      const o = options(file, data + ((captured + 3) & ~3), end);
      result.packets.push({
        interfaceId: file.readUInt32LE(body),
        timeNs: (BigInt(file.readUInt32LE(body + 4)) << 32n) | BigInt(file.readUInt32LE(body + 8)),
        bytes: new Uint8Array(file.subarray(data, data + captured)),
        originalLength: file.readUInt32LE(body + 16),
        flags: o.get(2)?.readUInt32LE(0) ?? 0,
        comment: o.get(1)?.toString() ?? null,
      });
    } else if (type === 5) {
      const o = options(file, body + 12, end);
      result.statistics = { received: o.get(4)!.readBigUInt64LE(0), dropped: o.get(5)!.readBigUInt64LE(0) };
    } else {
      throw new Error(`block type ${type}`);
    }
    at += total;
  }
  return result;
}

function options(file: Buffer, at: number, end: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  while (at < end) {
    const code = file.readUInt16LE(at);
    const length = file.readUInt16LE(at + 2);
    if (code === 0) return found;
    if (at + 4 + length > end) throw new Error(`option ${code} is too long`);
    found.set(code, file.subarray(at + 4, at + 4 + length));
    at += 4 + ((length + 3) & ~3);
  }
  throw new Error('options without an end');
}
