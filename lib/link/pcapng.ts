/**
 * Writes pcapng (draft-ietf-opsawg-pcapng): section header, interface descriptions, enhanced packet
 * blocks with nanosecond stamps and direction flags, interface statistics at the end. Little-endian.
 *
 *     +------------+-------------------+----------------------+-----+-------------+------------------+
 *     | block type | total length (32) | body, padded to four | ... | opt_endofopt | total length (32) |
 *     +------------+-------------------+----------------------+-----+-------------+------------------+
 *
 * Blocks are composed in one buffer of fixed size. A full buffer goes to the sink; when the sink cannot
 * take it, packets are dropped and counted: memory stays bounded and the stack never waits for a disk.
 * Left out: reading, simple packet blocks, name resolution, decryption secrets.
 */

/** Raw IP: the packet begins with an IPv4 or IPv6 header (LINKTYPE_RAW). */
export const LINKTYPE_RAW = 101;

/** epb_flags, bits 0 and 1: direction (section 4.3.1). */
export const EPB_INBOUND = 1;
export const EPB_OUTBOUND = 2;

const SECTION_HEADER = 0x0a0d0d0a;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const INTERFACE_DESCRIPTION = 1;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;

const OPT_END = 0;
const OPT_COMMENT = 1;
const SHB_OS = 3;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_TSRESOL = 9;
const ISB_IFRECV = 4;
const ISB_IFDROP = 5;
const EPB_FLAGS = 2;

/** Where the finished bytes go. */
export interface PcapngSink {
  /**
   * Takes bytes from the front of `[start, end)` of `bytes`, and returns how many; 0 when it must wait.
   * What it takes it must have copied or written on return.
   */
  write(bytes: Uint8Array, start: number, end: number): number;
  close(): void;
}

export interface PcapngWriterOptions {
  /** Bytes of the buffer. Default 512 KiB, at least 256 KiB. */
  bufferBytes?: number;
  /** Bytes that make it go to the sink. Default half of the buffer. */
  flushBytes?: number;
  /** Written into the section header. Default `tcpu`. */
  application?: string;
}

const encoder = new TextEncoder();

export class PcapngWriter {
  readonly #sink: PcapngSink;
  /** The buffer; `beginPacket()` returns offsets into it. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #flushBytes: number;
  /** Waiting for the sink: `[start, end)`. */
  #start = 0;
  #end = 0;
  /** The block begun. */
  #block = 0;
  #at = 0;
  #captured = 0;
  #interfaces = 0;
  /** What broke the sink: nothing more is written, packets count as dropped. */
  error: Error | null = null;
  /** Packets written to the buffer. */
  packets = 0;
  /** Packets that found no room, because the sink did not keep up. */
  dropped = 0;

  constructor(sink: PcapngSink, options: PcapngWriterOptions = {}) {
    this.#sink = sink;
    const size = Math.max(options.bufferBytes ?? 512 << 10, 256 << 10);
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
    this.#flushBytes = Math.min(options.flushBytes ?? size >> 1, size >> 1);
    this.#begin(SECTION_HEADER);
    this.#u32(BYTE_ORDER_MAGIC);
    this.#u16(1);
    this.#u16(0);
    // Section length: not given (-1).
    this.#u32(0xffffffff);
    this.#u32(0xffffffff);
    this.#textOption(SHB_OS, `Node.js ${globalThis.process?.version ?? ''}`);
    this.#textOption(SHB_USERAPPL, options.application ?? 'tcpu');
    this.#finish();
  }

  /** Bytes that wait for the sink. */
  get pending(): number {
    return this.#end - this.#start;
  }

  /** Describes an interface; returns its number. Stamps are in nanoseconds (if_tsresol 9). */
  addInterface(name: string, linkType = LINKTYPE_RAW, snapLength = 0): number {
    this.#begin(INTERFACE_DESCRIPTION);
    this.#u16(linkType);
    this.#u16(0);
    this.#u32(snapLength);
    this.#textOption(IF_NAME, name);
    this.#option(IF_TSRESOL, 1);
    this.view.setUint8(this.#at, 9);
    this.#pad(1);
    this.#finish();
    return this.#interfaces++;
  }

  /**
   * Begins a packet. Returns the offset in `bytes` where all of its `length` bytes are to be copied, or -1
   * when it was dropped. Finish with `endPacket()`.
   * @param timeUs µs since 1970, an integer
   */
  beginPacket(interfaceId: number, timeUs: number, length: number): number {
    // Beside the packet: fixed part 32, flags 8, comment up to 516, end of options 4, padding.
    if (!this.#room(length + 640)) {
      this.dropped++;
      return -1;
    }
    this.#begin(ENHANCED_PACKET);
    this.#u32(interfaceId);
    this.#time(timeUs);
    this.#captured = this.#at;
    this.#at += 8;
    return this.#at;
  }

  /**
   * Finishes the packet.
   * @param captured bytes of it to keep
   * @param original bytes that it had
   * @param flags    `EPB_INBOUND` or `EPB_OUTBOUND`
   */
  endPacket(captured: number, original: number, flags: number, comment?: string): void {
    this.view.setUint32(this.#captured, captured, true);
    this.view.setUint32(this.#captured + 4, original, true);
    this.#pad(captured);
    this.#option(EPB_FLAGS, 4);
    this.#u32(flags);
    if (comment !== undefined && comment !== '') this.#textOption(OPT_COMMENT, comment);
    this.#finish();
    this.packets++;
    if (this.pending >= this.#flushBytes) this.flush();
  }

  /** What an interface has seen and lost; belongs at the end. */
  statistics(interfaceId: number, timeUs: number, received: number, dropped: number): void {
    if (!this.#room(128)) return;
    this.#begin(INTERFACE_STATISTICS);
    this.#u32(interfaceId);
    this.#time(timeUs);
    this.#option(ISB_IFRECV, 8);
    this.#u64(received);
    this.#option(ISB_IFDROP, 8);
    this.#u64(dropped);
    this.#finish();
  }

  /** Gives the sink what it takes. Returns whether it took all. */
  flush(): boolean {
    try {
      while (this.#start < this.#end && this.error === null) {
        const taken = this.#sink.write(this.bytes, this.#start, this.#end);
        if (taken === 0) return false;
        this.#start += taken;
      }
    } catch (error) {
      this.error = error as Error;
    }
    this.#start = 0;
    this.#end = 0;
    return true;
  }

  close(): void {
    this.flush();
    try {
      this.#sink.close();
    } catch (error) {
      this.error ??= error as Error;
    }
  }

  /** Makes room for a block of `length` bytes. */
  #room(length: number): boolean {
    if (this.error !== null) return false;
    if (this.bytes.length - this.#end >= length) return true;
    this.flush();
    if (this.#start > 0) {
      this.bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.bytes.length - this.#end >= length;
  }

  #begin(type: number): void {
    this.#block = this.#end;
    this.#at = this.#end;
    this.#u32(type);
    this.#u32(0);
  }

  #finish(): void {
    this.#u16(OPT_END);
    this.#u16(0);
    const total = this.#at + 4 - this.#block;
    this.#u32(total);
    this.view.setUint32(this.#block + 4, total, true);
    this.#end = this.#at;
  }

  #u16(value: number): void {
    this.view.setUint16(this.#at, value, true);
    this.#at += 2;
  }

  #u32(value: number): void {
    this.view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  #u64(value: number): void {
    this.#u32(value % 0x100000000);
    this.#u32(Math.floor(value / 0x100000000));
  }

  /** Nanoseconds as high and low word; they exceed 2^53, so the two halves are multiplied apart. */
  #time(timeUs: number): void {
    const low = (timeUs % 0x100000000) * 1000;
    const high = Math.floor(timeUs / 0x100000000) * 1000 + Math.floor(low / 0x100000000);
    this.#u32(high);
    this.#u32(low % 0x100000000);
  }

  #option(code: number, length: number): void {
    this.#u16(code);
    this.#u16(length);
  }

  /** Steps over `length` bytes that lie there and zeroes the padding to four. */
  #pad(length: number): void {
    this.#at += length;
    while ((this.#at & 3) !== 0) this.bytes[this.#at++] = 0;
  }

  /** A text option, cut to 512 bytes: `#room()` has counted that much. */
  #textOption(code: number, text: string): void {
    const { written } = encoder.encodeInto(text, this.bytes.subarray(this.#at + 4, this.#at + 4 + 512));
    this.#option(code, written);
    this.#pad(written);
  }
}
