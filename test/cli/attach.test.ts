/**
 * Commands that talk to a running stack: serve, ss, stat, nc --attach, ping --attach, and what goes wrong.
 *
 *     Linux 10.90.0.1 fd90::1 --- TUN --- tcpu up (echo@7) --+-- tcpu serve echo@7001,http@8001 --tcp tcpu
 *                                         .2 ::2             +-- tcpu serve echo@7002,http@8002 --tcp kernel
 */

import '../kernel/namespace.ts';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { env } from 'node:process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { attach } from '../../lib/attach.ts';
import { runProgram } from '../../lib/cli/main.ts';
import { queryStack } from '../../lib/channel/process-channel.ts';
import { EACCES } from '../../lib/errno.ts';
import { AF_INET, IPPROTO_TCP, SOCK_STREAM } from '../../lib/socket.ts';
import type { OwnedConnection } from '../../lib/tcpk/survey.ts';
import { LINUX4, LINUX6, STACK4, STACK6, TcpuProcess, lacking, run, start, tcpu, up } from '../kernel/harness.ts';
import type { Finished } from '../kernel/harness.ts';

const folder = env['XDG_RUNTIME_DIR']!;
const path = join(folder, 'tcpu.sock');

async function serve(t: Test, ...args: string[]): Promise<TcpuProcess> {
  const process = new TcpuProcess(['serve', ...args]);
  t.teardown(async () => {
    if (process.child.exitCode === null) await process.stop();
  });
  await process.printed(/^(ready |\{"event":"ready").*\n/m);
  return process;
}

/** A connection of Linux that has said something and heard it back. */
async function echoed(port: number, host = STACK4): Promise<Socket> {
  const socket = connect(port, host);
  socket.write('x');
  await once(socket, 'data');
  return socket;
}

async function fetched(url: string): Promise<number> {
  const request = get(url, { agent: false });
  const [response] = await once(request, 'response') as [IncomingMessage];
  let bytes = 0;
  for await (const piece of response) bytes += (piece as Buffer).length;
  return bytes;
}

/** Runs a command in this process, which saves the second that another takes to begin. One at a time. */
async function here(...args: string[]): Promise<Finished> {
  const finished = { code: 0, stdout: '', stderr: '' };
  const writes = (['stdout', 'stderr'] as const).map((name) => {
    const { write } = process[name];
    process[name].write = ((text: string) => {
      finished[name] += text;
      return true;
    }) as typeof write;
    return () => {
      process[name].write = write;
    };
  });
  try {
    finished.code = await runProgram(['node', 'tcpu', ...args]);
  } finally {
    for (const restore of writes) restore();
    process.exitCode = undefined;
  }
  return finished;
}

async function fails(t: Test, args: string[], sentence: RegExp): Promise<void> {
  const { code, stdout, stderr } = await here(...args);
  t.equal(code, 1, `tcpu ${args.join(' ')}`);
  t.match(stderr, sentence);
  t.match(stderr, /^tcpu: [^\n]+\n$/, 'one line');
  t.equal(stdout, '');
}

t.test('no stack', { timeout: 30_000 }, async (t) => {
  const none = new RegExp(`^tcpu: no stack listens at ${path}; start one with \`tcpu up\``);
  for (const args of [['ss'], ['stat', '--json'], ['serve', 'echo'], ['nc', '--attach', LINUX4, '7'], ['ping', '--attach', LINUX4]]) {
    await fails(t, args, none);
  }
  t.match(await tcpu(['ss']), { code: 1, stdout: '', stderr: none }, 'as a process of its own');
});

t.test('services of three processes on one address, and what is seen of them', { timeout: 100_000 }, async (t) => {
  const stack = await up(t, '--serve', 'echo');
  const [own, classic] = await Promise.all([
    serve(t, 'echo@7001,http@8001', '--window', 'rx=1M,memory=4M'), serve(t, 'echo@7002,http@8002', '--tcp', 'kernel', '--json', '--congestion', 'bbr'),
  ]);
  const pids = { stack: stack.child.pid!, own: own.child.pid!, classic: classic.child.pid! };

  await t.test('ready lines', async (t) => {
    t.match(own.stdout, new RegExp(
      `^ready socket=${path} tcp=tcpu address=10\\.90\\.0\\.2/24,fd90::2/64 serve=echo@7001,http@8001 pid=${pids.own}\\n$`,
    ));
    t.match(JSON.parse(classic.stdout), {
      event: 'ready', socket: path, tcp: 'kernel', address: ['10.90.0.2/24', 'fd90::2/64'], serve: ['echo@7002', 'http@8002'], pid: pids.classic,
    });
  });

  const sockets = await Promise.all([echoed(7), echoed(7001), echoed(7002), echoed(7001, STACK6)]);
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  for (const port of [8001, 8002]) {
    t.equal(await fetched(`http://${STACK4}:${port}/bytes/3000000`), 3_000_000);
    t.equal(await fetched(`http://[${STACK6}]:${port}/bytes/3000000`), 3_000_000);
  }

  await t.test('ss', async (t) => {
    const [plain, listening] = [await tcpu(['ss']), await here('ss', '-l', '--socket', path)];
    const [all, json] = [await here('ss', '-ai'), await here('ss', '-a', '--json')];
    for (const { code, stderr } of [plain, listening, all, json]) t.same([code, stderr], [0, '']);
    t.match(plain.stdout, /^State +Recv-Q +Send-Q +Local Address:Port +Peer Address:Port +TCP +PID\/Name\n/);
    const established = (end: string, peer: string, owner: string): RegExp => (
      new RegExp(`^ESTABLISHED +0 +0  ${end} +${peer}:\\d+ +${owner}$`, 'm')
    );
    t.match(plain.stdout, established('10\\.90\\.0\\.2:7', '10\\.90\\.0\\.1', 'kernel +kernel'));
    t.match(plain.stdout, established('10\\.90\\.0\\.2:7001', '10\\.90\\.0\\.1', `tcpu +${pids.own}/tcpu-serve`));
    t.match(plain.stdout, established('\\[fd90::2\\]:7001', '\\[fd90::1\\]', `tcpu +${pids.own}/tcpu-serve`));
    t.match(plain.stdout, established('10\\.90\\.0\\.2:7002', '10\\.90\\.0\\.1', `kernel +${pids.classic}/tcpu-serve`));
    t.notMatch(plain.stdout, /LISTEN|TIME-WAIT/);
    t.notMatch(listening.stdout, /ESTABLISHED|TIME-WAIT/);
    t.equal(listening.stdout.match(/^LISTEN +0 +511 +\[::\]:\d+ +\* /gm)?.length, 5);
    const figures = /\bcubic wscale:\d+,\d+ rto:\d+ rtt:[0-9.]+\/[0-9.]+ mss:1448 pmtu:1500 .*\bbytes_sent:1 .*\bbytes_received:1 /;
    t.match(all.stdout, new RegExp(`^ESTABLISHED .*tcpu .*\\n\\t .*${figures.source}`, 'm'));
    t.match(all.stdout, /^ESTABLISHED .*:7002 .*kernel .*\n\t .*\bbbr wscale:/m, 'what --congestion says');
    t.match(all.stdout, /^LISTEN /m);
    const list = JSON.parse(json.stdout) as OwnedConnection[];
    t.match(list.find((one) => one.state === 'ESTABLISHED' && one.local.port === 7002), {
      tcp: 'kernel', owner: { pid: pids.classic, name: 'tcpu-serve', uid: 0 }, remote: { address: LINUX4, port: (sockets[2]!.localPort) },
    });
    t.match(list.find((one) => one.state === 'LISTEN' && one.local.port === 7), {
      tcp: 'kernel', owner: { pid: pids.stack, name: 'kernel' },
    });
  });

  await t.test('stat', async (t) => {
    const [text, json] = [await here('stat'), await here('stat', '--json', '--socket', path)];
    t.same([text.code, text.stderr, json.code, json.stderr], [0, '', 0, '']);
    const { stdout } = text;
    for (const layer of ['ip', 'ip6', 'icmp', 'tcp', 'udp', 'tcpk', 'link', 'memory']) {
      t.match(stdout, new RegExp(`^${layer}\\.\\w+ +\\d+$`, 'm'), layer);
    }
    t.match(stdout, /^tcpk\.Applications +2$/m);
    for (const name of ['channel.InSegs', 'tcp.PassiveOpens', 'tcpu.Wakeups']) {
      t.match(stdout, new RegExp(`^${pids.own}/tcpu-serve\\.${name} +[1-9]\\d*$`, 'm'));
    }
    const counters = JSON.parse(json.stdout) as { layers: object; applications: { pid: number }[] };
    t.match(counters.layers, { tcp: { PassiveOpens: Number }, tcpk: { InDelivered: Number } });
    const of = (pid: number): object | undefined => counters.applications.find((one) => one.pid === pid);
    t.match(of(pids.own), { bindings: 2, flows: Number, sockets: 1, counters: { tcp: {} } });
    t.match(of(pids.classic), { bindings: 0, flows: 0, sockets: Number, channel: { Calls: Number } });
  });

  await t.test('an application that does not answer is listed all the same', async (t) => {
    own.child.kill('SIGSTOP');
    const startMs = performance.now();
    const list = await queryStack(path, 'details') as OwnedConnection[];
    const tookMs = performance.now() - startMs;
    const counters = await queryStack(path, 'counters');
    own.child.kill('SIGCONT');
    t.ok(tookMs > 450 && tookMs < 5000, `${tookMs} ms`);
    t.match(list.filter((one) => one.owner.pid === pids.own && one.local.port === 7001 && one.remote?.address === LINUX4),
      [{ state: '?', recvQueue: null, sendQueue: null, info: null, remote: { port: sockets[1]!.localPort } }]);
    t.match(list.filter((one) => one.owner.pid === pids.own && one.state === 'LISTEN').map((one) => one.local.port), [7001, 8001]);
    const neighbour = list.find((one) => one.local.port === 7002 && one.remote !== null);
    t.match(neighbour, { state: 'ESTABLISHED' }, 'its neighbour is not concerned');
const { applications } = counters as { applications: { pid: number; counters: object | null }[] };
    t.same(new Map(applications.map((one) => [one.pid, one.counters !== null])), new Map([[pids.own, false], [pids.classic, true]]));
    sockets[1]!.write('y');
    t.same((await once(sockets[1]!, 'data'))[0], Buffer.from('y'), 'it goes on');
  });

  await t.test('ping', async (t) => {
    const v4 = await tcpu(['ping', '--attach', '-c', '3', '-i', '0.05', LINUX4]);
    const v6 = await here('ping', '--socket', path, '-c', '2', '-i', '0.05', '-s', '4000', LINUX6);
    t.match(v4.stdout, /^PING 10\.90\.0\.1 [^]*3 packets transmitted, 3 received, 0% packet loss/);
    t.match(v6.stdout, /4008 bytes from fd90::1: [^]*2 packets transmitted, 2 received, 0% packet loss/);
    t.same([v4.code, v6.code], [0, 0]);
  });

  await t.test('nc', async (t) => {
    const got: string[] = [];
    const server = createServer((socket) => {
      let text = '';
      socket.on('data', (piece) => {
        text += piece.toString();
      });
      socket.on('end', () => {
        got.push(text);
        socket.end('heard');
      });
    }).listen(0, LINUX4);
    await once(server, 'listening');
    const port = String((server.address() as AddressInfo).port);
    t.teardown(() => server.close());
    const calls = await Promise.all(['tcpu', 'kernel'].map((tcp) => (
      tcpu(['nc', '--attach', '--tcp', tcp, '-N', LINUX4, port], { input: `from ${tcp}` })
    )));
    t.same(calls.map(({ code, stdout, stderr }) => [code, stdout, stderr]), [[0, 'heard', ''], [0, 'heard', '']]);
    t.same(got.sort(), ['from kernel', 'from tcpu']);
    // To the stack's own TCP, and to an application's, from a third one.
    const inside = await Promise.all(['7', '7001'].map((one) => tcpu(['nc', '--attach', '-N', STACK4, one], { input: 'around' })));
    t.same(inside.map(({ code, stdout }) => [code, stdout]), Array(2).fill([0, 'around']));
  });

  await t.test('nc takes connections, and datagrams', async (t) => {
    for (const tcp of ['tcpu', 'kernel']) {
      const nc = new TcpuProcess(['nc', '--attach', '--tcp', tcp, '-v', '-l', '7100']);
      await nc.printed(/^listening on port 7100$/m);
      connect(7100, STACK6).end(`to ${tcp}`);
      await nc.printed(new RegExp(`^to ${tcp}$`, 'm'));
      nc.child.stdin!.end();
      t.equal(await nc.ended, 0);
      t.match(nc.stderr, /^listening on port 7100\nconnection from fd90::1 port \d+\n$/);
    }
    const peer = createSocket('udp4').bind(0, LINUX4);
    await once(peer, 'listening');
    const nc = new TcpuProcess(['nc', '--attach', '-u', '-N', LINUX4, String(peer.address().port)]);
    nc.child.stdin!.write('ask');
    const [asked, from] = await once(peer, 'message') as [Buffer, AddressInfo];
    t.same([asked.toString(), from.address], ['ask', STACK4]);
    peer.send('answer', from.port, from.address);
    await nc.printed(/^answer/);
    nc.child.stdin!.end();
    t.equal(await nc.ended, 0);
    peer.close();
  });

  await t.test('what cannot be', async (t) => {
    const taken = (name: string, transport: string, port: number): RegExp => (
      new RegExp(`^tcpu: ${name}: ${transport} port ${port} is taken by another .* of this stack; give another with ${name}@PORT$`, 'm')
    );
    const tries: [string[], RegExp][] = [
      [['serve', 'echo'], taken('echo', 'UDP', 7)],
      [['serve', 'http@7001'], taken('http', 'TCP', 7001)],
      [['serve', 'http@7001', '--tcp', 'kernel'], taken('http', 'TCP', 7001)],
      [['serve', 'http@7002'], taken('http', 'TCP', 7002)],
      [['up', '--tun', 'tcpu1', '--address', '10.7.0.2/24'], new RegExp(`^tcpu: another stack listens at ${path}; .* --socket$`, 'm')],
    ];
    for (const [args, sentence] of tries) await fails(t, args, sentence);
    const refused = /^tcpu: 10\.90\.0\.1 port 1 refused: nothing listens there\n$/;
    t.match(await tcpu(['nc', '--attach', LINUX4, '1']), { code: 1, stdout: '', stderr: refused });
    t.not((await run('ip', ['link', 'show', 'tcpu1'])).code, 0, 'nothing is left behind');
  });

  await t.test('a service ends, and its port is free', async (t) => {
    // A FIN; nothing that the application leaves behind spoils it.
    const ended = once(sockets[1]!.resume(), 'end');
    t.equal(await own.stop('SIGINT'), 0);
    await ended;
    t.equal(own.stderr, '');
    const again = await serve(t, 'echo@7001', '--tcp', 'kernel');
    (await echoed(7001)).destroy();
    t.equal(await again.stop(), 0);
  });

  await t.test('the stack ends', async (t) => {
    t.equal(await stack.stop(), 0);
    t.equal(await classic.ended, 1);
    t.match(classic.stderr, new RegExp(`^tcpu: the stack is gone \\(it listened at ${path}\\)\\n$`));
    t.notOk(existsSync(path));
  });
});

t.test('a stack is killed: those attached end, its socket is replaced', { timeout: 30_000 }, async (t) => {
  const first = new TcpuProcess(['up', '--socket', path, '--socket-mode', '0640']);
  await first.printed(/^ready .* socket=\S+ pid=\d+\n/);
  t.equal(statSync(path).mode & 0o7777, 0o640);
  const nc = new TcpuProcess(['nc', '--attach', '-v', '-l', '7100']);
  await nc.printed(/^listening/);
  await first.stop('SIGKILL');
  t.equal(await nc.ended, 1);
  t.match(nc.stderr, /^tcpu: the stack is gone/m);
  t.ok(existsSync(path), 'a file that nobody listens at');
  const second = await up(t);
  t.equal(statSync(path).mode & 0o7777, 0o600);
  t.same(await queryStack(path, 'connections'), []);
  t.equal(await second.stop(), 0);
});

t.test('no socket', { timeout: 30_000 }, async (t) => {
  const stack = await up(t, '--no-socket');
  t.match(stack.stdout, / socket=- pid=/);
  t.notOk(existsSync(path));
  await fails(t, ['ss'], /^tcpu: no stack listens at /);
});

t.test('other users', { timeout: 30_000 }, async (t) => {
  const NOBODY = 65534;
  try {
    process.seteuid!(NOBODY);
    process.seteuid!(0);
  } catch (error) {
    process.stderr.write(`SKIPPED: there are no other users in this namespace (${String(error)}): NOT tested with them\n`);
    t.comment('no other users here');
    return;
  }
  /** Credentials are read when somebody connects. */
  async function asNobody<T>(work: () => Promise<T>): Promise<T> {
    process.seteuid!(NOBODY);
    const working = work();
    process.seteuid!(0);
    return working;
  }
  const open = join(folder, 'open');
  chmodSync(folder, 0o755);
  mkdirSync(open);
  t.teardown(() => rmSync(open, { recursive: true }));
  chmodSync(open, 0o755);
  const socket = join(open, 'sock');

  const closed = await up(t, '--socket', socket);
  await t.rejects(asNobody(() => attach({ socket })), { code: 'EACCES', message: /^no permission to attach at .*; .* --socket-mode$/ });
  await t.rejects(asNobody(() => queryStack(socket, 'connections')), { code: 'EACCES' });
  t.equal(await closed.stop(), 0);

  for (const [args, expected] of [[[], -EACCES], [['--allow-privileged-ports'], 0]] as const) {
    const stack = await up(t, '--socket', socket, '--socket-mode', '0666', ...args);
    for (const tcp of ['tcpu', 'kernel'] as const) {
      const attachment = await asNobody(() => attach({ socket, tcp, name: 'somebody' }));
      const bound = attachment.socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
      if (typeof bound === 'number') return t.fail(`no socket: ${bound}`);
      t.equal(bound.bind('0.0.0.0', 80), expected, `${tcp} ${args.join()}`);
      t.match(await queryStack(socket, 'counters'), { applications: [{ name: 'somebody', uid: NOBODY }] });
      bound.close();
      await attachment.close();
    }
    t.equal(await stack.stop(), 0);
  }
});

t.test('serve --thread', { timeout: 60_000 }, async (t) => {
  await up(t);
  const threaded = await serve(t, 'echo@7001,http@8001', '--thread');
  const pid = threaded.child.pid!;
  t.match(threaded.stdout, new RegExp(`^ready socket=${path} tcp=tcpu .*serve=echo@7001,http@8001 pid=${pid}\\n$`));
  t.ok(readdirSync(`/proc/${pid}/task`).some((task) => task !== String(pid)));
  const socket = await echoed(7001);
  t.equal(await fetched(`http://[${STACK6}]:8001/bytes/3000000`), 3_000_000);
  const { stdout } = await here('ss');
  t.match(stdout, new RegExp(`^ESTABLISHED .*10\\.90\\.0\\.2:7001 .* tcpu +${pid}/tcpu-serve$`, 'm'));
  const ended = once(socket.resume(), 'end');
  const code = threaded.stop();
  await ended;
  socket.end();
  t.equal(await code, 0);
  t.equal(threaded.stderr, '');
});

t.test('violations are logged and counted', { timeout: 60_000, skip: lacking('python3') }, async (t) => {
  const process = new TcpuProcess(['up'], { ...env, DEBUG: 'tcpu:violation' });
  t.teardown(() => process.stop());
  await process.printed(/^ready /);
  const raw = fileURLToPath(new URL('../tcpk/raw-client.py', import.meta.url));
  const attacker = start('python3', [raw, path, 'attack', 'spoof', STACK4, '5002', LINUX4]);
  await process.printed(/tcpu:violation .*attacker \(pid \d+, uid \d+\): \d+ dropped, the last for (address|port) that is not its own/);
  attacker.kill('SIGKILL');
  const { layers } = JSON.parse((await here('stat', '--json')).stdout) as { layers: { tcpk: { Violations: number } } };
  t.ok(layers.tcpk.Violations > 0);
});
