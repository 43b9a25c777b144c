/**
 * Capture: writes what crosses a link to a pcapng file or stream, for Wireshark, tshark and tcpdump.
 *
 * Packets are written as the stack sees them: super-segments whole, as tcpdump shows them on a device
 * with offloads. Checksums that were left to the device are finished in the copy, so that they are not
 * shown as errors. Arriving packets carry the stamp of their arrival, departing ones that of the call.
 *
 * Files are written in large chunks, at least once a second, on `close()` and when the process exits;
 * so `tail -f FILE | wireshark -k -i -` can follow. What the target does not take in time is dropped
 * and counted; a broken target ends the capture, never the stack.
 */

import { closeSync, constants, openSync, writeSync } from 'node:fs';
import debug from 'debug';
import {
  CSUM_PARTIAL, TX_CSUM, TX_FLAGS, TX_LENGTH, TX_STRIDE,
} from '../buffer/transmit-queue.ts';
import type { TransmitQueue } from '../buffer/transmit-queue.ts';
import {
  RX_CSUM, RX_CSUM_OFFSET, RX_CSUM_PARTIAL, RX_FLAGS, RX_LENGTH, RX_OFFSET, RX_STRIDE,
} from './link.ts';
import type { Link, LinkHost, PacketBatch } from './link.ts';
import { LinkMiddleware } from './middleware.ts';
import { completeChecksum } from './partial-checksum.ts';
import { EPB_INBOUND, EPB_OUTBOUND, LINKTYPE_RAW, PcapngWriter } from './pcapng.ts';
import type { PcapngSink } from './pcapng.ts';

const log = debug('tcpu:capture');

/** A stream to capture to; any `node:stream` Writable is one. */
export interface CaptureStream {
  write(bytes: Uint8Array): unknown;
  end(): unknown;
  /** True while the stream cannot take more: packets are then kept up to the buffer's end, and dropped. */
  readonly writableNeedDrain?: boolean;
}

export interface CaptureOptions {
  /** Most bytes kept of each packet; 0 (the default) keeps all. */
  snapLength?: number;
  /** Finish partial checksums in the copy. Default true. */
  completeChecksums?: boolean;
  /** Name of the interface in the file. Default: the link's. */
  interfaceName?: string;
  /** Bytes that are buffered before packets are dropped. Default 512 KiB. */
  bufferBytes?: number;
  /** Longest time that packets stay in the buffer, ms of real time. Default 1000. */
  flushMs?: number;
  /** A comment for a packet (opt_comment); the packet is `bytes[offset … offset + length)`. */
  comment?(bytes: Uint8Array, offset: number, length: number, outbound: boolean): string | undefined;
}

/** Bytes written to a file at once. */
const FILE_CHUNK = 256 << 10;

/** A file or named pipe. Opened non-blocking: a pipe nobody reads fills up instead of stopping the stack. */
class FileSink implements PcapngSink {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NONBLOCK, 0o644);
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    try {
      return writeSync(this.#fd, bytes, start, Math.min(end - start, FILE_CHUNK));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0;
      throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

class StreamSink implements PcapngSink {
  readonly #stream: CaptureStream;

  constructor(stream: CaptureStream) {
    this.#stream = stream;
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    if (this.#stream.writableNeedDrain === true) return 0;
    // A stream keeps what it is given, so it gets a copy.
    this.#stream.write(bytes.slice(start, end));
    return end - start;
  }

  close(): void {
    this.#stream.end();
  }
}

/** Captures to be finished when the process exits. */
const open = new Set<Capture>();

function stopAll(): void {
  for (const capture of open) capture.stop();
}

/** A link whose packets are recorded. Made by `capture()`. */
export class Capture extends LinkMiddleware {
  readonly #writer: PcapngWriter;
  readonly #interface: number;
  readonly #snapLength: number;
  readonly #complete: boolean;
  readonly #flushMs: number;
  readonly #comment: CaptureOptions['comment'];
  #originUs = 0;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(link: Link, target: string | CaptureStream, options: CaptureOptions = {}) {
    super(link);
    this.#snapLength = options.snapLength ?? 0;
    this.#complete = options.completeChecksums ?? true;
    this.#flushMs = options.flushMs ?? 1000;
    this.#comment = options.comment;
    const sink = typeof target === 'string' ? new FileSink(target) : new StreamSink(target);
    this.#writer = new PcapngWriter(sink, { bufferBytes: options.bufferBytes });
    this.#interface = this.#writer.addInterface(options.interfaceName ?? link.name, LINKTYPE_RAW, this.#snapLength);
    if (open.size === 0) process.on('exit', stopAll);
    open.add(this);
  }

  /** Packets recorded, and packets lost because the target was too slow or broken. */
  get packets(): number {
    return this.#writer.packets;
  }

  get dropped(): number {
    return this.#writer.dropped;
  }

  override get counters(): object {
    return { ...this.link.counters, captured: this.packets, captureDrops: this.dropped };
  }

  /** What broke the target and so ended the capture, or null. */
  get error(): Error | null {
    return this.#writer.error;
  }

  override attach(host: LinkHost): void {
    this.#originUs = Math.round(host.clock.originMs * 1000);
    super.attach(host);
  }

  override send(queue: TransmitQueue): void {
    // Recorded after the link has taken them: what it leaves comes again. The bytes still lie there.
    let index = queue.head;
    const timeUs = this.#closed ? 0 : this.clock.nowUs();
    this.link.send(queue);
    if (this.#closed) return;
    const writer = this.#writer;
    for (; index < queue.head; index++) {
      const p = index * TX_STRIDE;
      const length = queue.packets[p + TX_LENGTH]!;
      const at = writer.beginPacket(this.#interface, this.#originUs + timeUs, length);
      if (at < 0) continue;
      queue.copyPacket(index, writer.bytes, at);
      const partial = (queue.packets[p + TX_FLAGS]! & CSUM_PARTIAL) !== 0;
      const csum = queue.packets[p + TX_CSUM]!;
      this.#record(at, length, partial, csum & 0xffff, csum >>> 16, true);
    }
  }

  override input(batch: PacketBatch): void {
    if (!this.#closed) {
      const writer = this.#writer;
      const meta = batch.meta;
      for (let i = 0; i < batch.count; i++) {
        const m = i * RX_STRIDE;
        const length = meta[m + RX_LENGTH]!;
        const at = writer.beginPacket(this.#interface, this.#originUs + batch.timeUs, length);
        if (at < 0) continue;
        const offset = meta[m + RX_OFFSET]!;
        writer.bytes.set(batch.slab.subarray(offset, offset + length), at);
        const partial = (meta[m + RX_FLAGS]! & RX_CSUM_PARTIAL) !== 0;
        this.#record(at, length, partial, meta[m + RX_CSUM]!, meta[m + RX_CSUM_OFFSET]!, false);
      }
    }
    this.host.input(batch);
  }

  /** The packet has been copied to `at`: finishes its block. */
  #record(at: number, length: number, partial: boolean, csumStart: number, csumOffset: number, outbound: boolean): void {
    const writer = this.#writer;
    if (partial && this.#complete) completeChecksum(writer.view, at, length, csumStart, csumOffset);
    const captured = this.#snapLength > 0 ? Math.min(length, this.#snapLength) : length;
    const comment = this.#comment?.(writer.bytes, at, length, outbound);
    writer.endPacket(captured, length, outbound ? EPB_OUTBOUND : EPB_INBOUND, comment);
    if (this.#timer === null) this.#startTimer();
  }

  #startTimer(): void {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      // What the target did not take is tried again.
      if (!this.flush()) this.#startTimer();
    }, this.#flushMs);
    this.#timer.unref();
  }

  /** Writes out what is buffered. Returns whether the target took all of it. */
  flush(): boolean {
    const before = this.error;
    const all = this.#writer.flush();
    if (this.error !== before) log('capture of %s ended: %s', this.name, this.error!.message);
    return all;
  }

  /** Ends the capture and leaves the link open: packets pass unrecorded from now on. */
  stop(): void {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    if (open.size === 0) process.removeListener('exit', stopAll);
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const { packets, dropped } = this.#writer;
    const timeUs = this.attached ? this.#originUs + this.clock.nowUs() : 0;
    this.#writer.statistics(this.#interface, timeUs, packets + dropped, dropped);
    this.#writer.close();
  }

  override close(): void {
    super.close();
    this.stop();
  }
}

/**
 * Records what crosses `link`.
 * @param target path of a pcapng file (created, or overwritten), or a stream
 * @returns the link to give to the stack; `close()` finishes the file
 * @throws the error of `fs.openSync` when the file cannot be opened
 */
export function capture(link: Link, target: string | CaptureStream, options: CaptureOptions = {}): Capture {
  return new Capture(link, target, options);
}
