/**
 * How much is fuzzed: a million inputs in CI, ten million in nightly mode, shared out among the files here.
 *
 *     TCPU_NIGHTLY=1          ten million, of a seed that is another one each day
 *     TCPU_FUZZ_INPUTS=3e5    another number
 *     TCPU_FUZZ_SEED=7        another seed; what fails prints the one it had
 */

export const NIGHTLY = process.env['TCPU_NIGHTLY'] === '1';

const INPUTS = Number(process.env['TCPU_FUZZ_INPUTS'] ?? (NIGHTLY ? 10e6 : 1e6));

/** Of each file; together they are 1. */
const SHARES = { parsers: 0.45, mutations: 0.25, options: 0.1, fragments: 0.1, structures: 0.1 } as const;

/** The seed of this run. */
export const SEED = Number(process.env['TCPU_FUZZ_SEED'] ?? (NIGHTLY ? Math.floor(Date.now() / 86_400_000) : 1));

/** Inputs that a file is to make. */
export function inputs(of: keyof typeof SHARES): number {
  return Math.round(INPUTS * SHARES[of]);
}

/** Time limit of a test with so many inputs, ms: an input takes 0.1 ms at most on a machine that is not busy. */
export function timeLimit(count: number): number {
  return Math.max(110_000, count);
}
