/**
 * Random packets, as isic, tcpsic, udpsic and icmpsic send them, and others that no honest sender sends, thousands a second
 * from forged addresses (bench/flood.c), against a running `tcpu up`: it goes on serving, and is afterwards as before.
 */

import t from 'tap';
import { FLOOD, compileFlood, floodArgs } from '../../bench/flooder.ts';
import type { FloodResult } from '../../bench/flooder.ts';
import { ATTACKED, DEVICE, ECHO, Fortress } from './harness.ts';
import { STACK4, lacking } from '../kernel/harness.ts';

const skip = lacking('curl', process.env['CC'] ?? 'cc');
const RATE = 15_000;
const SECONDS = 0.7;

t.test('random packets against tcpu up', { skip, timeout: 110_000 }, async (t) => {
  compileFlood();
  const fortress = await Fortress.start(t);
  const ports: Record<string, number> = { udp: ECHO, ack: ECHO, options: ECHO, flags: ECHO, land: ECHO };
  for (const kind of ['ip', 'tcp', 'udps', 'icmps', 'flags', 'options', 'fragments', 'land', 'rst', 'ack', 'data', 'udp', 'icmp', 'syn', 'mix']) {
    const said = await fortress.attacked(t, kind, FLOOD, floodArgs({
      kind, rate: RATE, seconds: SECONDS, device: DEVICE, target: STACK4, port: ports[kind] ?? ATTACKED,
    }));
    const result = JSON.parse(said) as FloodResult;
    t.ok(result.sent > RATE * SECONDS / 10, `${kind}: ${result.sent} packets were sent`);
  }
  const { ip, tcp } = await fortress.counters();
  t.comment(JSON.stringify(ip));
  t.comment(JSON.stringify(tcp));
  for (const name of ['InHdrErrors', 'InAddrErrors', 'InUnknownProtos', 'InTruncatedPkts', 'ReasmFails', 'InOwnSource']) {
    t.ok(ip![name]! > 100, `${name}: ${ip![name]}`);
  }
  for (const name of ['InErrs', 'InCsumErrors', 'NoPort']) t.ok(tcp![name]! > 10, `${name}: ${tcp![name]}`);
});
