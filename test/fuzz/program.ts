/**
 * Attacks that are kept: programs of packets, each either as it is, or told relative to a live connection of the target, so
 * that it means the same whenever it is run. The corpus is a text that people can read and git can compare:
 *
 *     # why it is kept
 *     - . 0 4500…                 as it is; nothing put right; no time passes
 *     3 f 1000 4500…              of the peer of live connection 3: addresses and ports are its own, SEG.SEQ counts from its
 *                                 rcvNxt, SEG.ACK from its sndUna; checksums put right; then 1000 µs pass
 *     - . 0 4500[62*1448]ff       a run of equal bytes
 *
 * Programs stand apart by empty lines.
 */

import { readFileSync } from 'node:fs';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { IPPROTO_TCP } from '../../lib/wire/tcp.ts';
import type { PacketDraw } from './arbitraries.ts';
import type { Target } from './target.ts';
import { ipPacket, repair, tcpSegment } from './wire-format.ts';

export const CORPUS = new URL('corpus/programs.txt', import.meta.url);

export class Step {
  /** Number of the live connection, or -1. */
  readonly live: number;
  /** Whether checksums are put right when it is run. */
  readonly fix: boolean;
  readonly waitUs: number;
  readonly bytes: Uint8Array;

  constructor(live: number, fix: boolean, waitUs: number, bytes: Uint8Array) {
    this.live = live;
    this.fix = fix;
    this.waitUs = waitUs;
    this.bytes = bytes;
  }

  /** The packet for this moment; null when there is no live connection of this IP version. */
  packet(target: Target): Uint8Array | null {
    const bytes = this.bytes.slice();
    if (this.live >= 0) {
      const tcb = liveOf(target, this.live, bytes[0]! >> 4);
      if (tcb === null || !rebase(bytes, tcb, 1)) return null;
    }
    if (this.fix) repair(bytes, false);
    return bytes;
  }

  toString(): string {
    return `${this.live < 0 ? '-' : this.live} ${this.fix ? 'f' : '.'} ${this.waitUs} ${packed(this.bytes)}`;
  }
}

/** Shortest run of equal bytes that is written as such. */
const RUN = 8;

function packed(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length;) {
    let end = i + 1;
    while (end < bytes.length && bytes[end] === bytes[i]) end++;
    const byte = bytes[i]!.toString(16).padStart(2, '0');
    text += end - i >= RUN ? `[${byte}*${end - i}]` : byte.repeat(end - i);
    i = end;
  }
  return text;
}

function unpacked(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replace(/\[(..)\*(\d+)\]/g, (_all, byte: string, times: string) => byte.repeat(Number(times))), 'hex'));
}

export interface Program {
  why: string;
  steps: Step[];
}

/** A live connection of this IP version, from the `n`th on. */
function liveOf(target: Target, n: number, version: number): Tcb | null {
  for (let i = 0; i < 4; i++) {
    const tcb = target.live(n + i);
    if (tcb === null || tcb.flow.version === version) return tcb;
  }
  return null;
}

/** Where the TCP header begins; -1 when this is no TCP segment with a whole header, or has extension headers. */
function tcpAt(bytes: Uint8Array): number {
  const v4 = bytes[0]! >> 4 === 4;
  const at = v4 ? (bytes[0]! & 15) * 4 : 40;
  return bytes.length >= at + 20 && at >= 20 && bytes[v4 ? 9 : 6] === IPPROTO_TCP ? at : -1;
}

/** Turns relative numbers into those of `tcb` (`sign` 1), or back (-1), in place. */
function rebase(bytes: Uint8Array, tcb: Tcb, sign: 1 | -1): boolean {
  const at = tcpAt(bytes);
  if (at < 0) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const { flow } = tcb;
  if (flow.version === 4) {
    view.setInt32(12, flow.r3);
    view.setInt32(16, flow.l3);
  } else {
    for (const [i, word] of [flow.r0, flow.r1, flow.r2, flow.r3, flow.l0, flow.l1, flow.l2, flow.l3].entries()) view.setInt32(8 + 4 * i, word);
  }
  view.setUint16(at, tcb.remotePort);
  view.setUint16(at + 2, tcb.localPort);
  view.setInt32(at + 4, view.getInt32(at + 4) + sign * tcb.rcvNxt);
  view.setInt32(at + 8, view.getInt32(at + 8) + sign * tcb.sndUna);
  return true;
}

/** A packet as a step: relative to the live connection that it belongs to, if it does to one. */
export function stepOf(target: Target, packet: Uint8Array, fix: boolean, waitUs: number): Step {
  const bytes = packet.slice();
  const at = tcpAt(bytes);
  if (at >= 0) {
    const view = new DataView(bytes.buffer);
    for (let n = 0; n < 16; n++) {
      const tcb = target.live(n);
      if (tcb === null || tcb.flow.version !== bytes[0]! >> 4) continue;
      if (tcb.remotePort !== view.getUint16(at) || tcb.localPort !== view.getUint16(at + 2)) continue;
      rebase(bytes, tcb, -1);
      return new Step(n, fix, waitUs, bytes);
    }
  }
  return new Step(-1, fix, waitUs, bytes);
}

export function parsePrograms(text: string): Program[] {
  const programs: Program[] = [];
  for (const block of text.split(/\n\s*\n/)) {
    const program: Program = { why: '', steps: [] };
    for (const line of block.split('\n').map((one) => one.trim()).filter((one) => one !== '')) {
      if (line.startsWith('#')) {
        program.why = `${program.why} ${line.slice(1).trim()}`.trim();
        continue;
      }
      const [live, fix, waitUs, bytes] = line.split(' ');
      if (bytes === undefined || !/^(-|\d+) [f.] \d+ ([0-9a-f]{2}|\[[0-9a-f]{2}\*\d{1,5}\])+$/.test(line)) throw new Error(`not a step: ${line}`);
      program.steps.push(new Step(live === '-' ? -1 : Number(live), fix === 'f', Number(waitUs), unpacked(bytes)));
    }
    if (program.steps.length > 0) programs.push(program);
  }
  return programs;
}

export function formatPrograms(programs: readonly Program[]): string {
  return programs.map(({ why, steps }) => `${why === '' ? '' : `# ${why}\n`}${steps.join('\n')}\n`).join('\n');
}

/** The programs that are kept. */
export function readCorpus(): Program[] {
  return parsePrograms(readFileSync(CORPUS, 'utf8'));
}

/** Runs a program; the target is looked at after each step. Throws what goes wrong. */
export function runProgram(target: Target, program: Program): void {
  for (const step of program.steps) {
    const packet = step.packet(target);
    if (packet !== null && packet.length > 0) target.throw([packet]);
    target.check();
    if (step.waitUs > 0) target.clock.advance(step.waitUs);
  }
  target.check();
}

/** The bytes of a drawn packet, its TCP numbers made relative to a live connection. */
export function bytesOf(draw: PacketDraw, target: Target): Uint8Array {
  const { ip, tcp } = draw;
  if (tcp === null) return ipPacket(ip, draw.payload);
  const live = draw.live < 0 ? null : target.live(draw.live);
  if (live === null) return ipPacket(ip, tcpSegment(tcp));
  // To a connection of this version, from its peer.
  const segment = tcpSegment({
    ...tcp, sourcePort: live.remotePort, destinationPort: live.localPort, seq: (live.rcvNxt + tcp.seq) | 0, ack: (live.sndUna + tcp.ack) | 0,
  });
  if (live.flow.version === 4) {
    return ipPacket(ip.version === 4 ? { ...ip, source: live.flow.r3 >>> 0, destination: live.flow.l3 >>> 0 } : {
      version: 4, source: live.flow.r3 >>> 0, destination: live.flow.l3 >>> 0, protocol: 6, tos: 0, ttl: 64, id: 0, fragment: 0, options: new Uint8Array(0),
    }, segment);
  }
  return ipPacket(ip.version === 6 ? { ...ip, source: live.flow.r3, destination: live.flow.l3 } : {
    version: 6, source: live.flow.r3, destination: live.flow.l3, protocol: 6, trafficClass: 0, flowLabel: 0, hopLimit: 64, extensions: [],
  }, segment);
}
