// Preloaded into the stack's process by the idle measurement (node --expose-gc --import …/memory-report.mjs):
// on SIGUSR2 collects garbage and writes process.memoryUsage() as one JSON line to descriptor 3.

import { writeSync } from 'node:fs';

process.on('SIGUSR2', () => {
  globalThis.gc();
  globalThis.gc();
  writeSync(3, `${JSON.stringify(process.memoryUsage())}\n`);
});
