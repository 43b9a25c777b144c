/**
 * What a simulation remembers of the packets that crossed its links: a hash over all of them, by which two runs are
 * compared, and the last ones themselves, which are written to a pcapng file when something fails (or all, from the
 * beginning, when asked to).
 *
 * Packets are not copied to be remembered: nobody changes the bytes of a packet that is on its way.
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import { EPB_INBOUND, EPB_OUTBOUND, PcapngWriter } from '../link/pcapng.ts';
import type { PcapngSink } from '../link/pcapng.ts';

/** Bytes of a packet that go into the hash: headers, whose checksums stand for the rest. */
const HASHED = 80;
/** Entries are dropped from the front when so many have gone out of use. */
const COMPACT = 4096;

/** A packet at the end of a link that it was sent from, or that it arrived at. */
interface Entry {
  timeUs: number;
  /** Number of the interface; negative (its complement) for a packet that arrived. */
  place: number;
  bytes: Uint8Array;
  note: string;
}

function fileSink(path: string): PcapngSink {
  const fd = openSync(path, 'w');
  return {
    write: (bytes, start, end) => writeSync(fd, bytes, start, end - start),
    close: () => closeSync(fd),
  };
}

export class Recorder {
  /** Packets sent and arrived, in all. */
  packets = 0;
  readonly #keepBytes: number;
  readonly #originUs: number;
  readonly #names: string[] = [];
  #entries: Entry[] = [];
  #first = 0;
  #kept = 0;
  #a = 0x811c9dc5 | 0;
  #b = 0x9e3779b9 | 0;
  /** The file that everything goes to, if there is one. */
  #writer: PcapngWriter | null = null;

  /** @param keepBytes  most bytes of packets that are remembered */
  constructor(keepBytes: number, originMs: number) {
    this.#keepBytes = keepBytes;
    this.#originUs = Math.round(originMs * 1000);
  }

  /** From now on everything goes to `path` as well. Throws the error of `openSync()`. */
  captureTo(path: string): void {
    this.#writer = new PcapngWriter(fileSink(path), { application: 'tcpu/sim' });
    for (const name of this.#names) this.#writer.addInterface(name);
  }

  /** A further end of a link; returns its number. */
  addInterface(name: string): number {
    this.#writer?.addInterface(name);
    return this.#names.push(name) - 1;
  }

  /** A node sent a packet; `note` says what became of it, if that is known. */
  sent(interfaceId: number, timeUs: number, bytes: Uint8Array, note: string): void {
    this.#add(interfaceId, timeUs, bytes, note);
  }

  arrived(interfaceId: number, timeUs: number, bytes: Uint8Array): void {
    this.#add(~interfaceId, timeUs, bytes, '');
  }

  /** 16 hexadecimal digits: the same for two runs in which the same packets were at the same places at the same times. */
  get hash(): string {
    return [this.#a, this.#b].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }

  #mix(word: number): void {
    this.#a = Math.imul(this.#a ^ word, 0x01000193);
    this.#b = Math.imul(((this.#b << 13) | (this.#b >>> 19)) + word | 0, 0x85ebca6b);
  }

  #add(place: number, timeUs: number, bytes: Uint8Array, note: string): void {
    this.packets++;
    this.#mix(place);
    this.#mix(timeUs | 0);
    this.#mix(bytes.length + (note.length << 20));
    const end = Math.min(bytes.length, HASHED) & ~3;
    for (let i = 0; i < end; i += 4) this.#mix(bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
    if (this.#writer !== null) {
      write(this.#writer, this.#originUs, place, timeUs, bytes, note);
    }
    if (this.#keepBytes === 0) return;
    this.#entries.push({ timeUs, place, bytes, note });
    this.#kept += bytes.length;
    while (this.#kept > this.#keepBytes && this.#first < this.#entries.length) this.#kept -= this.#entries[this.#first++]!.bytes.length;
    if (this.#first >= COMPACT && this.#first * 2 >= this.#entries.length) {
      this.#entries.splice(0, this.#first);
      this.#first = 0;
    }
  }

  /** Packets that are remembered. */
  get kept(): number {
    return this.#entries.length - this.#first;
  }

  /** Writes what is remembered to a file. Throws the error of `openSync()`. */
  save(path: string): void {
    const writer = new PcapngWriter(fileSink(path), { application: 'tcpu/sim' });
    for (const name of this.#names) writer.addInterface(name);
    for (let i = this.#first; i < this.#entries.length; i++) {
      const { place, timeUs, bytes, note } = this.#entries[i]!;
      write(writer, this.#originUs, place, timeUs, bytes, note);
    }
    writer.close();
  }

  /** Ends the file of `captureTo()`, and forgets all packets. */
  close(): void {
    this.#writer?.close();
    this.#writer = null;
    this.#entries = [];
    this.#first = 0;
    this.#kept = 0;
  }
}

function write(writer: PcapngWriter, originUs: number, place: number, timeUs: number, bytes: Uint8Array, note: string): void {
  const at = writer.beginPacket(place < 0 ? ~place : place, originUs + timeUs, bytes.length);
  if (at < 0) return;
  writer.bytes.set(bytes, at);
  writer.endPacket(bytes.length, bytes.length, place < 0 ? EPB_INBOUND : EPB_OUTBOUND, note);
}
