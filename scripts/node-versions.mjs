#!/usr/bin/env node
/**
 * Runs the built library and its addon under other versions of Node: a transfer over the memory link, and,
 * as root, the demo on a TUN device. Each version comes from the npm registry (the package `node`).
 *
 *     npm run test:versions                 20, 24 and 26
 *     npm run test:versions -- 22 24
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const versions = process.argv.length > 2 ? process.argv.slice(2) : ['20', '24', '26'];
const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs node of this version; returns whether it ended well, and prints what it said when not. */
function node(version, what, args) {
  const { status, stdout, stderr } = spawnSync('npx', ['--yes', '--package', `node@${version}`, '--', 'node', ...args], {
    cwd: root, encoding: 'utf8', timeout: 180_000,
  });
  const ok = status === 0;
  const said = /^v[0-9.]+$/m.exec(stdout)?.[0];
  if (ok) console.log(`node ${version}: ${what}: ok${said === undefined ? '' : `, ${said}`}`);
  else console.log(`node ${version}: ${what}: FAILED (${status ?? 'time'})\n${stdout}${stderr}`);
  return ok;
}

const transfer = `
  import { createMemoryPair, createStack } from './dist/lib/index.js';
  const [left, right] = createMemoryPair();
  const a = createStack({ link: left, addresses: ['10.0.0.1/24'] });
  const b = createStack({ link: right, addresses: ['10.0.0.2/24'] });
  console.log(process.version);
  let bytes = 0;
  b.net.createServer((socket) => socket.on('data', (piece) => { bytes += piece.length; }).on('end', async () => {
    await Promise.all([a.close(), b.close()]);
    if (bytes !== 10_000_000) throw new Error(bytes + ' bytes came');
  })).listen(7);
  a.net.connect(7, '10.0.0.2').end(Buffer.alloc(10_000_000));
`;

let failed = false;
for (const version of versions) {
  const ways = [
    ['memory link', ['--input-type=module', '--eval', transfer]],
    ['TUN device', ['bin/tcpu', 'demo', '--link', 'tun']],
  ];
  // From 24 on, Node runs TypeScript as it is.
  if (parseInt(version, 10) >= 24) ways.push(['the sources, unbuilt', ['examples/udp.ts']]);
  for (const [what, args] of ways) failed = !node(version, what, args) || failed;
}
process.exitCode = failed ? 1 : 0;
