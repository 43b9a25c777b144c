/** The server's own report as text, for clients that ask for it with --get-server-output. */

import type { TestParameters } from './protocol.ts';
import type { Stream } from './stream.ts';

const LINE = '- - - - - - - - - - - - - - - - - - - - - - - - -';

function scaled(value: number, base: number, units: readonly string[]): string {
  let i = 0;
  while (value >= base * 0.9995 && i < units.length - 1) {
    value /= base;
    i++;
  }
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits).padStart(4)} ${units[i]}`;
}

/** `12.3 MBytes` */
export function formatBytes(bytes: number): string {
  return scaled(bytes, 1024, ['Bytes', 'KBytes', 'MBytes', 'GBytes', 'TBytes']);
}

/** `9.42 Gbits/sec` */
export function formatRate(bitsPerSecond: number): string {
  return scaled(bitsPerSecond, 1000, ['bits/sec', 'Kbits/sec', 'Mbits/sec', 'Gbits/sec', 'Tbits/sec']);
}

function row(label: string, from: number, to: number, bytes: number, tail: string): string {
  const seconds = Math.max(to - from, 1e-6);
  const interval = `${from.toFixed(2).padStart(6)}-${to.toFixed(2).padEnd(6)} sec`;
  const rate = formatRate((bytes * 8) / seconds).padStart(14);
  return `[${label.padStart(3)}] ${interval}  ${formatBytes(bytes).padStart(11)}  ${rate}  ${tail}`;
}

function datagramTail(stream: Stream): string {
  if (stream.sender) return `${stream.packets}`;
  const share = stream.packets > 0 ? ((100 * stream.lost) / stream.packets).toPrecision(2) : '0';
  return `${(stream.jitter * 1000).toFixed(3)} ms  ${stream.lost}/${stream.packets} (${share}%)`;
}

/** Collects lines while a test runs. */
export class Report {
  readonly #lines: string[] = [];
  readonly #parameters: TestParameters;
  #lastUs = 0;

  constructor(parameters: TestParameters, client: string, streams: readonly Stream[]) {
    this.#parameters = parameters;
    this.#lines.push(`Accepted connection from ${client}`);
    for (const stream of streams) this.#lines.push(`[${String(stream.id).padStart(3)}] ${stream.description}`);
    this.#lines.push('[ ID] Interval           Transfer     Bitrate');
  }

  /** Adds one line a stream for the time since the last call. */
  interval(streams: readonly Stream[], nowUs: number, omitted: boolean): void {
    for (const stream of streams) {
      const from = Math.max(this.#lastUs, stream.startUs);
      if (nowUs > from) {
        const tail = omitted ? '(omitted)' : '';
        const [start, end] = [(from - stream.startUs) / 1e6, (nowUs - stream.startUs) / 1e6];
        this.#lines.push(row(String(stream.id), start, end, stream.intervalBytes, tail));
      }
      stream.intervalBytes = 0;
    }
    this.#lastUs = nowUs;
  }

  /** The whole text, with the summary. */
  finish(streams: readonly Stream[]): string {
    this.#lines.push(LINE, '[ ID] Interval           Transfer     Bitrate');
    let total = 0;
    let seconds = 0;
    for (const stream of streams) {
      const end = (stream.endUs - stream.startUs) / 1e6;
      const role = stream.sender ? 'sender' : 'receiver';
      const figures = this.#parameters.udp ? datagramTail(stream) : stream.sender ? `${stream.retransmits} retr` : '';
      this.#lines.push(row(String(stream.id), 0, end, stream.bytes, `${figures}  ${role}`));
      total += stream.bytes;
      seconds = Math.max(seconds, end);
    }
    if (streams.length > 1) this.#lines.push(row('SUM', 0, seconds, total, ''));
    return `${this.#lines.join('\n')}\n`;
  }
}
