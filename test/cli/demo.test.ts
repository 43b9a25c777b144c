/** `tcpu demo` in each of its forms, as the first thing that a newcomer sees. */

import { execFile, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const TCPU = fileURLToPath(new URL('../kernel/tcpu.ts', import.meta.url));

function demo(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import=tsx', TCPU, 'demo', ...args], { timeout: 50_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

function tunReason(): string | false {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return 'the demo with Linux is NOT tested: /dev/net/tun cannot be used';
  }
  if (['-n', '-Urn'].some((flags) => spawnSync('unshare', [flags, 'true']).status === 0)) return false;
  return 'the demo with Linux is NOT tested: no network namespaces here';
}

t.test('with Linux, in a namespace of its own', { skip: tunReason(), timeout: 60_000 }, async (t) => {
  const { code, stdout, stderr } = await demo('--link', 'tun');
  t.same({ code, stderr }, { code: 0, stderr: '' }, stdout);
  t.match(stdout, /Linux 10\.90\.0\.1 fd90::1 {2}<-- tcpu0, MTU 1500 --> {2}tcpu 10\.90\.0\.2 fd90::2/);
  t.equal(stdout.match(/100 MB in [0-9.]+ s, every byte right/g)?.length, 2);
  t.match(stdout, /Linux sends, 2 s +[0-9.]+ GB in [0-9.]+ s, [0-9.]+ [MG]bit\/s/);
  t.match(stdout, /the stack sends, 2 s +[0-9.]+ GB in [0-9.]+ s, [0-9.]+ [MG]bit\/s/);
  t.match(stdout, /bin\/tcpu up --serve echo,http,iperf3/, 'how to try it by hand');
  t.notMatch(stdout, /FAILED/);
});

t.test('between two stacks', { timeout: 60_000 }, async (t) => {
  const { code, stdout, stderr } = await demo('--link', 'memory');
  t.same({ code, stderr }, { code: 0, stderr: '' }, stdout);
  t.match(stdout, /5 of 5 answered[^]*20 MB in [0-9.]+ s, every byte right[^]*the other way, 2 s +[0-9.]+ GB/);
  t.notMatch(stdout, /FAILED/);
});
