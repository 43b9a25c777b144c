/**
 * Two flows over a bottleneck with 40 ms of round trip, in all combinations of loss, reordering, jitter, rate and buffer:
 * what part of the possible they carry together, and how fairly they share (Jain et al. 1984). As a Markdown table.
 */

import { bulk } from './bulk.ts';

const RTT_MS = 40;
const PAYLOAD = 1448 / 1500;

export const LOSSES = [0, 0.001, 0.01] as const;

interface Disturbance {
  name: string;
  jitterMs: number;
  reorder: { share: number; ms: number } | 0;
}

const CALM: Disturbance = { name: '', jitterMs: 0, reorder: 0 };
const DISTURBANCES: readonly Disturbance[] = [
  CALM,
  { name: 'jitter 10 ms', jitterMs: 10, reorder: 0 },
  { name: '5 % late by 8 ms', jitterMs: 0, reorder: { share: 0.05, ms: 8 } },
  { name: 'both', jitterMs: 10, reorder: { share: 0.05, ms: 8 } },
];

/** How long is measured, s: so that enough packets pass, and not too many. */
const RATES: readonly { mbit: number; seconds: number; disturbances: readonly Disturbance[] }[] = [
  { mbit: 2, seconds: 30, disturbances: DISTURBANCES },
  { mbit: 20, seconds: 8, disturbances: DISTURBANCES },
  { mbit: 100, seconds: 3, disturbances: [CALM] },
];
const BUFFERS = [0.3, 1] as const;

export interface Row {
  rate: string;
  buffer: string;
  disturbance: string;
  /** For each of LOSSES: goodput as a fraction of the possible, Jain's index of the two flows. */
  cells: { goodput: number; jain: number }[];
}

export function measureMatrix(): Row[] {
  const rows: Row[] = [];
  for (const { mbit, seconds, disturbances } of RATES) {
    for (const buffer of BUFFERS) {
      const packets = Math.max(Math.round(buffer * mbit * 1000 * RTT_MS / 8 / 1500), 1);
      for (const { name, jitterMs, reorder } of disturbances) {
        const cells = LOSSES.map((loss) => {
          const { total, jain } = bulk({
            seed: 5, starts: [0, 230], fromMs: 2000, toMs: 2000 + seconds * 1000,
            link: { rate: mbit * 1e6, delayMs: RTT_MS / 2, queue: { packets }, forward: { loss, jitterMs, reorder } },
          });
          return { goodput: total / (mbit * PAYLOAD), jain };
        });
        rows.push({ rate: `${mbit} Mbit/s`, buffer: `${buffer} BDP`, disturbance: name, cells });
      }
    }
  }
  return rows;
}

const HEAD = `# Goodput and fairness over bad paths

Two CUBIC flows, 40 ms of round trip: the part of the possible goodput that they have together, and Jain's index of their
shares (1: both have the same, 0.5: one has all). Made by \`test/sim/matrix.test.ts\`, which fails when a figure moves;
\`TCPU_UPDATE=1\` writes the table anew, for review.

| rate | buffer | disturbance | ${LOSSES.map((loss) => `${loss * 100} % lost`).join(' | ')} |
|---|---|---|${LOSSES.map(() => '---|').join('')}
`;

export function formatMatrix(rows: readonly Row[]): string {
  return HEAD + rows.map(({ rate, buffer, disturbance, cells }) => (
    `| ${rate} | ${buffer} | ${disturbance} | ${cells.map(({ goodput, jain }) => `${goodput.toFixed(2)} · ${jain.toFixed(2)}`).join(' | ')} |\n`
  )).join('');
}

export function parseMatrix(text: string): Row[] {
  return text.split('\n').filter((line) => / · /.test(line)).map((line) => {
    const [, rate, buffer, disturbance, ...cells] = line.split('|').map((part) => part.trim());
    return {
      rate: rate!, buffer: buffer!, disturbance: disturbance!,
      cells: cells.filter((cell) => cell !== '').map((cell) => {
        const [goodput, jain] = cell.split(' · ').map(Number);
        return { goodput: goodput!, jain: jain! };
      }),
    };
  });
}
