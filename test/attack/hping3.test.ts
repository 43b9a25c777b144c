/**
 * hping3 against a running `tcpu up`: floods, impossible flags, fragments, land, forged senders. It goes on serving, and is
 * afterwards as before. hping3 knows devices by their names: ours is called tun77 here.
 */

import t from 'tap';
import { ATTACKED, DEVICE, ECHO, Fortress, HTTP } from './harness.ts';
import { STACK4, lacking } from '../kernel/harness.ts';

const skip = lacking('curl', 'hping3');
/** Seconds of each flood. */
const FLOOD_S = 2;

const attacks: [name: string, seconds: number, args: string[]][] = [
  ['a SYN flood from everywhere, as fast as it goes', FLOOD_S, ['--flood', '--rand-source', '-S', '-p', `${ATTACKED}`]],
  ['a SYN flood on the port that serves', FLOOD_S, ['-i', 'u50', '--rand-source', '-S', '-p', `${HTTP}`]],
  ['an ACK flood, as fast as it goes', FLOOD_S, ['--flood', '-A', '-p', `${ECHO}`]],
  ['a UDP flood, as fast as it goes', FLOOD_S, ['--flood', '--udp', '-d', '18', '-p', `${ECHO}`]],
  ['an ICMP flood, as fast as it goes', FLOOD_S, ['--flood', '--icmp', '-d', '56']],
  ['all flags', 10, ['-c', '5000', '-i', 'u100', '-F', '-S', '-R', '-P', '-A', '-U', '-X', '-Y', '-p', `${HTTP}`]],
  ['no flags', 10, ['-c', '5000', '-i', 'u100', '-p', `${HTTP}`]],
  ['SYN and FIN', 10, ['-c', '5000', '-i', 'u100', '-S', '-F', '-p', `${HTTP}`]],
  ['wrong checksums', 10, ['-c', '5000', '-i', 'u100', '-S', '-b', '-p', `${HTTP}`]],
  ['land', 10, ['-c', '5000', '-i', 'u100', '-S', '-a', STACK4, '-s', `${HTTP}`, '-k', '-p', `${HTTP}`]],
  ['fragments of large datagrams', 10, ['-c', '300', '-i', 'u1000', '--udp', '-d', '4000', '-f', '-p', `${ECHO}`]],
  ['last fragments without the others', 10, ['-c', '5000', '-i', 'u100', '--udp', '-g', '800', '-d', '64', '-p', `${ECHO}`]],
  ['first fragments without the others', 10, ['-c', '5000', '-i', 'u100', '-x', '-S', '-d', '64', '-p', `${HTTP}`]],
];

t.test('hping3 against tcpu up', { skip, timeout: 110_000 }, async (t) => {
  const fortress = await Fortress.start(t);
  for (const [name, seconds, args] of attacks) {
    const before = (await fortress.counters())['link']!['rxPackets']!;
    const said = await fortress.attacked(t, name, 'hping3', ['-q', '-n', '-I', DEVICE, ...args, STACK4], seconds);
    const packets = (await fortress.counters())['link']!['rxPackets']! - before;
    t.ok(packets > 300, `${name}: ${packets} packets arrived meanwhile`);
    t.notMatch(said, /not supported|can't|Unable|rror/, 'hping3 did its work');
  }
});
