/**
 * Importing this file first puts a test into a network namespace of its own: the process starts itself
 * again under `unshare -n` (or `-Urn` without root), hands its output through, and ends as that one ends.
 *
 *     +-- namespace of this test ------------------------------------------------------+
 *     |  ping curl iperf3 node:net --- Linux 10.90.0.1 fd90::1 --- TUN --- tcpu .2 ::2 |
 *     +--------------------------------------------------------------------------------+
 *
 * A namespace lasts as long as its processes, and they die with the test (PR_SET_PDEATHSIG), so nothing
 * has to be cleaned up on any way out. Sockets of `tcpu up` are in a folder of the test's own ($XDG_RUNTIME_DIR).
 * Where a namespace cannot be made, the test is skipped, loudly.
 */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MARK = 'TCPU_TEST_NAMESPACE';

/** The command that makes a namespace here, or why there is none. */
function way(): string[] | string {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch (error) {
    return `/dev/net/tun cannot be used (${(error as NodeJS.ErrnoException).code}): modprobe tun, or --device /dev/net/tun`;
  }
  for (const flags of process.getuid?.() === 0 ? ['-n', '-Urn'] : ['-Urn']) {
    if (spawnSync('unshare', [flags, 'true']).status === 0) return ['setpriv', '--pdeathsig', 'KILL', 'unshare', flags];
  }
  return 'network namespaces cannot be made here (unshare -n and -Urn fail): run as root, or allow user namespaces';
}

if (process.env[MARK] !== '1') {
  const command = way();
  if (typeof command === 'string') {
    process.stderr.write(`SKIPPED, Linux is NOT tested against: ${command}\n`);
    process.stdout.write(`TAP version 14\n1..0 # SKIP ${command}\n`);
    process.exit(0);
  }
  const folder = mkdtempSync(join(tmpdir(), 'tcpu-test-'));
  const result = spawnSync(
    command[0]!, [...command.slice(1), process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    { stdio: 'inherit', env: { ...process.env, [MARK]: '1', XDG_RUNTIME_DIR: folder, TCPU_SOCKET: '' } },
  );
  rmSync(folder, { recursive: true, force: true });
  if (result.error) throw result.error;
  process.exit(result.status ?? 1);
}

// Loopback begins down; node:net and curl expect it up. Whatever listens there is this test's alone.
spawnSync('ip', ['link', 'set', 'lo', 'up']);
