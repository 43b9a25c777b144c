/** Linux pings the stack, and the stack Linux: both versions, small and fragmented, with and without offload. */

import './namespace.ts';
import t from 'tap';
import { LINUX4, LINUX6, STACK4, STACK6, lacking, run, tcpu, up } from './harness.ts';

const skip = lacking('ping');

for (const offload of ['on', 'off']) {
  t.test(`offload ${offload}: Linux pings the stack`, { skip, timeout: 60_000 }, async (t) => {
    await up(t, '--offload', offload);
    for (const address of [STACK4, STACK6]) {
      for (const size of [0, 56, 1472, 8000, 65_000]) {
        const { code, stdout } = await run('ping', ['-n', '-c', '5', '-i', '0.02', '-W', '2', '-s', String(size), address]);
        t.equal(code, 0, `${address}, ${size} bytes`);
        t.match(stdout, /5 received, 0% packet loss/);
        t.notMatch(stdout, /wrong data|DUP!|corrupted/);
      }
    }
    const { stdout } = await run('ping', ['-n', '-c', '2000', '-f', '-W', '1', STACK4]);
    t.match(stdout, / 0% packet loss/, 'a flood');
  });
}

t.test('the stack pings Linux', { skip, timeout: 60_000 }, async (t) => {
  for (const address of [LINUX4, LINUX6]) {
    const { code, stdout, stderr } = await tcpu(['ping', '-c', '3', '-i', '0.05', '-s', '8000', address]);
    t.equal(code, 0, stderr);
    t.match(stdout, new RegExp(`^PING ${address} 8000\\(8008\\) data bytes\\n8008 bytes from ${address}: icmp_seq=1 ttl=64 time=[0-9.]+ ms\\n`));
    t.match(stdout, /3 packets transmitted, 3 received, 0% packet loss/);
    t.match(stdout, /rtt min\/avg\/max\/mdev = /);
  }
});

t.test('the stack pings nobody', { timeout: 60_000 }, async (t) => {
  // In Linux's own network, but nobody there: Linux answers for it, or nobody does.
  const { code, stdout } = await tcpu(['ping', '-c', '2', '-i', '0.05', '-W', '0.3', '192.0.2.1']);
  t.equal(code, 1);
  t.match(stdout, /2 packets transmitted, 0 received, 100% packet loss/);
});
