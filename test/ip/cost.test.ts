/** The hot path allocates nothing, and what a packet costs in it. */
import t from 'tap';
import v8 from 'node:v8';
import vm from 'node:vm';
import { World, ipv4, ipv6, pattern } from './harness.ts';
import { PacketBatch, RX_CSUM_VALID, RX_FLAGS, RX_STRIDE } from '../../lib/link/link.ts';
import { IpFlow } from '../../lib/ip/flow.ts';
import { words } from './harness.ts';

v8.setFlagsFromString('--expose-gc');
const gc = vm.runInNewContext('gc') as () => void;

/** Least growth of the heap in bytes, and least time in ns, of `n` steps, over a few rounds. */
function measure(n: number, run: (n: number) => void): { bytes: number; ns: number } {
  run(n);
  let bytes = Infinity;
  let ns = Infinity;
  for (let round = 0; round < 4; round++) {
    gc();
    const before = process.memoryUsage().heapUsed;
    const start = process.hrtime.bigint();
    run(n);
    ns = Math.min(ns, Number(process.hrtime.bigint() - start) / n);
    bytes = Math.min(bytes, process.memoryUsage().heapUsed - before);
  }
  return { bytes, ns };
}

t.test('input', { timeout: 60_000 }, async (t) => {
  for (const packet of [ipv4(pattern(1480), { protocol: 6 }), ipv6(pattern(1460), { nextHeader: 6 })]) {
    const w = new World();
    let seen = 0;
    w.ip.register(6, { input: () => { seen++; }, icmpError: () => true, pathMtuChanged: () => {} });
    const batch = new PacketBatch(w.memory.bytes, 64);
    for (let i = 0; i < 64; i++) {
      batch.slab.set(packet, i * 1500);
      batch.add(i * 1500, 1500);
      batch.meta[i * RX_STRIDE + RX_FLAGS] = RX_CSUM_VALID;
    }
    const { bytes, ns } = measure(1_000_000, (n) => {
      for (let done = 0; done < n; done += 64) {
        batch.timeUs = 1e12 + done;
        for (let i = 0; i < 64; i++) w.ip.input(batch, i);
      }
    });
    t.comment(`IPv${packet[0]! >> 4}: ${ns.toFixed(0)} ns a packet, ${bytes} bytes for a million`);
    t.ok(seen >= 5_000_000);
    t.ok(bytes < 200_000, 'no allocation for each packet');
    t.ok(ns < 1000, 'nothing silly');
  }
});

t.test('output', { timeout: 60_000 }, async (t) => {
  for (const remote of ['192.0.2.1', '2001:db8::1']) {
    const w = new World({ features: 1 });
    const r = words(remote);
    const flow = new IpFlow();
    Object.assign(flow, { protocol: 6, r0: r.w0, r1: r.w1, r2: r.w2, r3: r.w3 });
    w.ip.route(flow);
    const { tx, ip } = w;
    const { bytes, ns } = measure(1_000_000, (n) => {
      for (let i = 0; i < n; i++) {
        if (ip.begin(flow, 32) < 0) {
          tx.head = tx.tail;
          tx.reclaim();
          continue;
        }
        tx.piece(w.memory.blockBase, 1400);
        ip.end(flow, 16, 0, 0);
      }
    });
    t.comment(`to ${remote}: ${ns.toFixed(0)} ns a packet, ${bytes} bytes for a million`);
    t.ok(bytes < 200_000, 'no allocation for each packet');
    t.ok(ns < 1000, 'nothing silly');
  }
});
