/** What a piece of code allocates: what the heap grew by, and what collections took away meanwhile. */

import v8 from 'node:v8';
import vm from 'node:vm';

v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc') as () => void;

interface Usage {
  heapStatistics: { usedHeapSize: number };
}

/** Bytes that `run` allocates on the heap. */
export function allocated(run: () => void): number {
  gc();
  gc();
  const profiler = new v8.GCProfiler();
  profiler.start();
  const before = process.memoryUsage().heapUsed;
  run();
  const after = process.memoryUsage().heapUsed;
  const result = profiler.stop() as unknown as { statistics: { beforeGC: Usage; afterGC: Usage }[] };
  let collected = 0;
  for (const s of result.statistics) collected += s.beforeGC.heapStatistics.usedHeapSize - s.afterGC.heapStatistics.usedHeapSize;
  return after - before + collected;
}
