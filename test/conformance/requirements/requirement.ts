/** A row of docs/CONFORMANCE.md. */

/**
 * `pass`: as the text says, and the tests show it. `deviates`: knowingly not, or not wholly, and `why` says so. `n/a`: the
 * requirement is not about what this stack is, or is a MAY that is not taken up.
 */
export type Status = 'pass' | 'deviates' | 'n/a';

export interface Requirement {
  /** As the RFC has it (`MUST-4`), or the section where there are no ids. */
  id: string;
  /** In brief, in our words. */
  words: string;
  status: Status;
  /** `file › test`; the file by its name in `FILES`. */
  tests: string[];
  why: string;
}

export interface Source {
  /** `RFC 9293, appendix B` */
  title: string;
  about: string;
  rows: Requirement[];
}

/** Test files by a short name. */
export const FILES: Record<string, string> = {
  opening: 'test/tcp/opening.test.ts',
  closing: 'test/tcp/closing.test.ts',
  data: 'test/tcp/data.test.ts',
  loss: 'test/tcp/loss.test.ts',
  security: 'test/tcp/security.test.ts',
  congestion: 'test/tcp/congestion.test.ts',
  hystart: 'test/tcp/hystart.test.ts',
  bbr: 'test/tcp/bbr.test.ts',
  ecn: 'test/tcp/ecn.test.ts',
  'time-wait': 'test/tcp/time-wait.test.ts',
  isn: 'test/tcp/isn.test.ts',
  cookies: 'test/tcp/syn-cookies.test.ts',
  'fast-open': 'test/tcp/fast-open.test.ts',
  'syn-flood': 'test/tcp/syn-flood.test.ts',
  states: 'test/conformance/state-segment.test.ts',
  recovery: 'test/conformance/recovery.test.ts',
  requirements: 'test/conformance/requirements.test.ts',
  'ip-input': 'test/ip/input.test.ts',
  'ip-output': 'test/ip/output.test.ts',
  icmp: 'test/ip/icmp.test.ts',
  reassembly: 'test/ip/reassembly.test.ts',
};

export function pass(id: string, words: string, ...tests: string[]): Requirement {
  return { id, words, status: 'pass', tests, why: '' };
}

export function deviates(id: string, words: string, why: string, ...tests: string[]): Requirement {
  return { id, words, status: 'deviates', tests, why };
}

export function notApplicable(id: string, words: string, why: string, ...tests: string[]): Requirement {
  return { id, words, status: 'n/a', tests, why };
}
