/** `--stats`: what went over the device since the line before, as text or JSON. */

import type { OpenStack } from './open-stack.ts';

/** `1.23 Gbit/s` */
export function formatBitRate(bitsPerSecond: number): string {
  const units = ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s'];
  let value = bitsPerSecond;
  let i = 0;
  while (value >= 999.5 && i < units.length - 1) {
    value /= 1000;
    i++;
  }
  return `${value.toFixed(i === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2)} ${units[i]}`;
}

interface Sample {
  timeMs: number;
  rxPackets: number;
  rxBytes: number;
  txPackets: number;
  txBytes: number;
  drops: number;
  retransmitted: number;
}

/** Prints a line every so often until it is stopped. */
export class StatsPrinter {
  readonly #open: OpenStack;
  readonly #json: boolean;
  readonly #timer: NodeJS.Timeout;
  #last: Sample;

  constructor(open: OpenStack, everySeconds: number, json: boolean) {
    this.#open = open;
    this.#json = json;
    this.#last = this.#sample();
    this.#timer = setInterval(() => this.#print(), everySeconds * 1000);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #sample(): Sample {
    const device = this.#open.tun.counters;
    return {
      timeMs: performance.now(),
      rxPackets: device.rxPackets,
      rxBytes: device.rxBytes,
      txPackets: device.txPackets,
      txBytes: device.txBytes,
      drops: device.txDownDrops + device.txInvalidDrops + device.txMemoryDrops,
      retransmitted: this.#open.stack.tcp.counters.RetransSegs,
    };
  }

  #print(): void {
    const last = this.#last;
    const now = this.#sample();
    this.#last = now;
    const seconds = Math.max((now.timeMs - last.timeMs) / 1000, 1e-3);
    const { connections } = this.#open.stack.tcp;
    if (this.#json) {
      process.stdout.write(`${JSON.stringify({
        event: 'stats',
        seconds,
        connections,
        device: { ...this.#open.tun.counters },
        counters: this.#open.stack.counters(),
      })}\n`);
      return;
    }
    const way = (packets: number, bytes: number): string => (
      `${(packets / seconds).toFixed(0)} packets/s ${formatBitRate((bytes * 8) / seconds)}`
    );
    process.stdout.write(
      `stats in ${way(now.rxPackets - last.rxPackets, now.rxBytes - last.rxBytes)},`
      + ` out ${way(now.txPackets - last.txPackets, now.txBytes - last.txBytes)},`
      + ` connections ${connections}, retransmitted ${now.retransmitted - last.retransmitted},`
      + ` dropped ${now.drops - last.drops}\n`,
    );
  }
}
