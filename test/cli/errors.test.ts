/** What a person meets when something is wrong: one sentence on stderr, and the exit code. In a namespace of its own. */

import '../kernel/namespace.ts';
import t from 'tap';
import type { Test } from 'tap';
import { runProgram } from '../../lib/cli/main.ts';
import { TcpuProcess, must, run, tcpu, up } from '../kernel/harness.ts';

/** One sentence, the exit code, and nothing on stdout. */
async function fails(t: Test, args: string[], code: number, sentence: RegExp): Promise<void> {
  const result = await tcpu(args);
  t.equal(result.code, code, `tcpu ${args.join(' ')}`);
  t.match(result.stderr, sentence);
  t.match(result.stderr, /^tcpu: [^\n]+\n$/, 'one line');
  t.equal(result.stdout, '');
}

t.test('wrong usage: 2', { timeout: 100_000 }, async (t) => {
  const tries: [string[], RegExp][] = [
    [['up', '--address', '10.90.0.2'], /lacks its prefix length; write ADDRESS\/PREFIX, such as/],
    [['up', '--address', '10.90.0.256/24'], /is not an IPv4 address with a prefix length/],
    [['up', '--host-address', 'fd90::1/129'], /is not an IPv6 address with a prefix length/],
    [['up', '--host-address', '10.90.0.2/24'], /cannot be the stack's and Linux's address at once/],
    [['up', '--serve', 'ftp'], /there is no service 'ftp'; there are echo, discard/],
    [['up', '--serve', 'echo@99999'], /'99999' is not a port; ports are 1 to 65535/],
    [['up', '--serve', 'echo@80,http'], /cannot both have port 80/],
    [['up', '--mtu', '65536'], /'65536' is not a whole number from 68 to 65535/],
    [['up', '--mtu', '1000'], /IPv6 needs an MTU of at least 1280/],
    [['up', '--offload', 'maybe'], /Allowed choices are auto, on, off/],
    [['up', '--stats', 'often'], /'often' is not a number of seconds/],
    [['up', '--tun', 'a-name-that-is-too-long'], /cannot name a device; use up to 15/],
    [['up', '--congestion', 'vegas'], /Allowed choices are cubic, bbr, newreno, reno/],
    [['nc', '-u', '--congestion', 'bbr', '10.90.0.1', '7'], /--congestion is for TCP/],
    [['up', '--nonsense'], /unknown option '--nonsense'/],
    [['ping'], /missing required argument 'host'/],
    [['ping', '-c', '0', '10.90.0.1'], /'0' is not a whole number/],
    [['nc', '10.90.0.1'], /nc needs a port/],
    [['nc', '--attach', '--mtu', '9000', '10.90.0.1', '7'], /--mtu says how to make a device, --attach to use a running stack; give one/],
    [['ping', '--socket', '/x', '10.90.0.1', '--address', '10.7.0.2/24'], /--address says how to make a device/],
    [['nc', '--tcp', 'kernel', '10.90.0.1', '7'], /--tcp goes with --attach/],
    [['up', '--socket-mode', '0999'], /'0999' is not a mode; write permission bits in octal/],
    [['serve'], /missing required argument 'list'/],
    [['serve', 'ftp'], /there is no service 'ftp'/],
    [['serve', 'echo', '--tcp', 'linux'], /Allowed choices are tcpu, kernel/],
    [['serve', 'echo', '--window', 'rx=3M'], /rxRing is 3145728; it must be a power of two/],
    [['serve', 'echo', '--window', 'ring=4M'], /'ring=4M' is not a part of a window; write rx=/],
    [['ss', 'established'], /too many arguments/],
    [['nc', '10.90.0.1', 'http'], /'http' is not a whole number from 1 to 65535/],
  ];
  // One as a process, all in this one: a process takes a second to begin.
  await fails(t, ...[tries[0]![0], 2, tries[0]![1]] as const);
  for (const [args, sentence] of tries) {
    let said = '';
    const write = process.stderr.write;
    process.stderr.write = ((text: string) => {
      said += text;
      return true;
    }) as typeof write;
    const code = await runProgram(['node', 'tcpu', ...args]).finally(() => {
      process.stderr.write = write;
    });
    t.equal(code, 2, `tcpu ${args.join(' ')}`);
    t.match(said, sentence);
    t.match(said, /^tcpu: [^\n]+\n$/, 'one line');
  }
  t.match(await tcpu(['demoo']), { code: 2, stderr: /unknown command 'demoo'\n\(Did you mean demo\?\)/ });
});

t.test('help teaches', { timeout: 30_000 }, async (t) => {
  const general = await tcpu(['--help']);
  t.equal(general.code, 0);
  t.match(general.stdout, /Commands:[^]*up \[options\][^]*ping[^]*nc[^]*demo[^]*Examples:\n[^]*Exit codes: /);
  const up = await tcpu(['help', 'up']);
  t.equal(up.code, 0);
  for (const word of ['--tun', '--address', '--host-address', '--mtu', '--offload', '--serve', '--capture', '--stats', '--json', '--socket', '--no-socket',
    '--socket-mode', '--allow-privileged-ports', 'Examples:', 'iperf3']) {
    t.ok(up.stdout.includes(word), word);
  }
});

t.test('no CAP_NET_ADMIN', { timeout: 30_000 }, async (t) => {
  const { code, stderr } = await run('setpriv', [
    '--inh-caps=-all', '--bounding-set=-all', process.execPath, '--import=tsx', new URL('../kernel/tcpu.ts', import.meta.url).pathname, 'up',
  ]);
  t.equal(code, 1);
  t.match(stderr, /^tcpu: no permission to make a TUN device \(no CAP_NET_ADMIN\); run as root, or under `unshare -Urn`.*\n$/);
});

t.test('no /dev/net/tun', { timeout: 30_000 }, async (t) => {
  // A mount namespace in which the device is hidden.
  const { code, stderr } = await run('unshare', [
    '-m', 'sh', '-c', 'mount -t tmpfs none /dev/net && exec "$0" "$@"',
    process.execPath, '--import=tsx', new URL('../kernel/tcpu.ts', import.meta.url).pathname, 'up',
  ]);
  t.equal(code, 1);
  t.match(stderr, /^tcpu: there is no \/dev\/net\/tun; run `modprobe tun`, or run the container with `--device \/dev\/net\/tun`\n$/);
});

t.test('names and addresses that are taken', { timeout: 60_000 }, async (t) => {
  await up(t);
  await fails(t, ['up'], 1, /10\.90\.0\.[12].* in use|device tcpu0 is in use by another process/);
  await fails(t, ['up', '--tun', 'tcpu1'], 1, /10\.90\.0\.1 is in use on tcpu0; give another network with --address/);
  await fails(t, ['up', '--tun', 'tcpu1', '--address', '10.90.0.1/24', '--host-address', '10.90.1.1/24'], 1,
    /10\.90\.0\.1 is in use: it is this machine's own \(tcpu0\); give the stack another with --address/);
  await fails(t, ['up', '--tun', 'lo', '--address', '10.7.0.2/24'], 1, /the name lo is taken by an interface that is not a \(single-queue\) TUN device/);
  await fails(t, ['up', '--tun', 'tcpu1', '--address', '10.7.0.2/24', '--capture', '/nonexistent/file'], 1,
    /cannot write the capture file \/nonexistent\/file \(ENOENT\)/);
  await t.rejects(must('ip', 'link', 'show', 'tcpu1'), /does not exist/, 'nothing is left behind');
  // Another network works beside it.
  const other = new TcpuProcess(['up', '--tun', 'tcpu1', '--address', '10.7.0.2/24', 'fd07::2/64', '--no-socket']);
  await other.printed(/^ready tun=tcpu1 address=10\.7\.0\.2\/24,fd07::2\/64 host=10\.7\.0\.1\/24,fd07::1\/64 .*\n/m);
  await must('ping', '-n', '-c', '1', '10.7.0.2');
  await must('ping', '-n', '-c', '1', 'fd07::2');
  t.equal(await other.stop(), 0);
});
