/** SIGINT and SIGTERM: the first asks the command to end, the second ends it at once. */

import { EXIT_INTERRUPTED } from './exit.ts';

/**
 * Calls `first` at the first signal. The device needs no care at the second: the kernel takes it away
 * with the process.
 */
export function onSignals(first: () => void): void {
  let signals = 0;
  const handler = (): void => {
    signals++;
    if (signals === 1) first();
    else process.exit(EXIT_INTERRUPTED);
  };
  process.on('SIGINT', handler);
  process.on('SIGTERM', handler);
}
