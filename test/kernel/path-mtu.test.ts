/**
 * A path that carries less than both of its ends believe, between the stack and a Linux client behind a router: told by
 * ICMP, and (a black hole) not told. `lossyClient` (harness.ts) has the picture; here the router's link to the client
 * carries 1300 bytes.
 */

import './namespace.ts';
import { createHash } from 'node:crypto';
import t from 'tap';
import { IpFlow } from '../../lib/ip/flow.ts';
import { patternDigest } from '../../lib/services/byte-pattern.ts';
import { parseServeList, startServices } from '../../lib/services/index.ts';
import { parseAddress } from '../../lib/wire/address.ts';
import { CLIENT4, CLIENT6, STACK4, STACK6, lacking, lossyClient, must, run, runOn, stackOnTun } from './harness.ts';

const skip = lacking('nft', 'curl', 'nsenter');
const BYTES = 1_500_000;
const MTU = 1300;

for (const [name, told, offload] of [
  ['told by ICMP', true, 'on'], ['a black hole, offload on', false, 'on'], ['a black hole, offload off', false, 'off'],
] as const) {
  t.test(name, { skip, timeout: 120_000 }, async (t) => {
    const { stack } = stackOnTun(t, { offload });
    await startServices(stack, parseServeList('http'));
    const client = await lossyClient(t, 0, 0);
    await must('ip', 'link', 'set', 'veth-r', 'mtu', String(MTU));
    if (!told) {
      const table = `table inet deaf {
        chain out { type filter hook output priority 0; meta l4proto { icmp, ipv6-icmp } oifname "tcpu0" drop
        }
      }`;
      const { code, stderr } = await run('nft', ['-f', '-'], { input: table });
      if (code !== 0) throw new Error(`nft: ${stderr}`);
      t.teardown(() => run('nft', ['delete', 'table', 'inet', 'deaf']));
    }
    for (const [version, host, address] of [[4, STACK4, CLIENT4], [6, `[${STACK6}]`, CLIENT6]] as const) {
      const holes = stack.tcp.counters.MtuBlackHoles;
      for (const which of ['first', 'second']) {
        const hash = createHash('sha256');
        const startMs = performance.now();
        const { code, stderr } = await runOn(client, 'curl', ['-sS', '-m', '50', `http://${host}/bytes/${BYTES}`], {
          timeoutMs: 60_000, onData: (piece) => hash.update(piece),
        });
        t.equal(code, 0, `curl ${stderr}`);
        t.equal(hash.digest('hex'), patternDigest(BYTES), `IPv${version}, ${which} download: all of it arrived`);
        t.comment(`${(performance.now() - startMs).toFixed(0)} ms`);
        t.equal(stack.tcp.counters.MtuBlackHoles - holes, told ? 0 : 1, told ? 'ICMP tells' : 'a black hole, found once');
      }
      const words = parseAddress(address)!;
      const flow = Object.assign(new IpFlow(), { r0: words.w0, r1: words.w1, r2: words.w2, r3: words.w3 });
      const probed = stack.tcp.probedMtus.get(flow, stack.tcp.nowMs);
      if (told) t.equal(probed, 0, 'nothing was probed');
      else t.ok(probed > MTU - 30 && probed <= MTU, `the path carries packets of ${probed} bytes, it seems`);
    }
  });
}
