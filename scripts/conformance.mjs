/**
 * Writes docs/CONFORMANCE.md from test/conformance/requirements/. With --linux also measures Linux's TCP in a network
 * namespace, and writes docs/LINUX-DIFFERENCES.md (needs /dev/net/tun, python3, iproute2). Run as `npm run conformance [-- --linux]`.
 */

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';

const { conformanceDocument } = await import('../test/conformance/document.ts');
writeFileSync(new URL('../docs/CONFORMANCE.md', import.meta.url), conformanceDocument());
if (process.argv.includes('--linux')) {
  const file = new URL('../test/conformance/linux-write.ts', import.meta.url);
  const { status } = spawnSync(process.execPath, ['--import=tsx', file.pathname], { stdio: ['ignore', 'ignore', 'inherit'] });
  process.exitCode = status ?? 1;
}
