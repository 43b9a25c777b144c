/** Addresses that nobody has: land attack, martians, broadcasts, our own address; for TCP, UDP and echo requests. */

import t from 'tap';
import type { Test } from 'tap';
import { concat, icmp, icmpv6, ipv4, ipv6, pattern, pseudoHeader, u16, u32, udp, withChecksum } from '../ip/harness.ts';
import { Peer, VICTIM, World } from './world.ts';

const VICTIM6 = 'fd90::2';

function syn(source: string, destination: string, sport = 7, dport = 80): Uint8Array {
  const segment = concat(u16(sport), u16(dport), u32(1), u32(0), [0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
  return withChecksum(segment, 16, pseudoHeader(source, destination, 6, segment.length));
}

function total(world: World): { connections: number; sent: number } {
  return { connections: world.victim.tcp.connections, sent: world.packetsOut };
}

function attack(t: Test, world: World, packet: Uint8Array, what: string): void {
  const before = total(world);
  world.inject(packet);
  world.run(1);
  t.same(total(world), before, what);
}


t.test('sources that cannot be: nothing is answered, nothing is kept', async (t) => {
  const world = new World();
  world.listen(80);
  const { ip4, ip6 } = world.victim.ip;
  const sources = [
    ['127.0.0.1', 'InMartians'], ['127.255.255.254', 'InMartians'], ['0.0.0.0', 'InBadSource'], ['0.1.2.3', 'InBadSource'],
    ['240.0.0.1', 'InBadSource'], ['255.255.255.255', 'InBadSource'], ['224.0.0.1', 'InBadSource'], ['239.1.2.3', 'InBadSource'],
    ['10.90.255.255', 'InBadSource'], [VICTIM, 'InOwnSource'],
  ] as const;
  for (const [source, counter] of sources) {
    const before = ip4[counter];
    attack(t, world, ipv4(syn(source, VICTIM), { source, destination: VICTIM, protocol: 6 }), `SYN from ${source}`);
    attack(t, world, ipv4(udp(pattern(20), source, VICTIM), { source, destination: VICTIM }), `UDP from ${source}`);
    attack(t, world, ipv4(icmp(8, 0, 1, pattern(8)), { source, destination: VICTIM, protocol: 1 }), `echo request from ${source}`);
    t.equal(ip4[counter] - before, 3, `${counter} tells`);
  }
  const sources6 = [
    ['::1', 'InMartians'], ['::', 'InBadSource'], ['ff02::1', 'InBadSource'], ['::ffff:10.90.0.9', 'InMartians'],
    ['::ffff:127.0.0.1', 'InMartians'], [VICTIM6, 'InOwnSource'],
  ] as const;
  for (const [source, counter] of sources6) {
    const before = ip6[counter];
    attack(t, world, ipv6(syn(source, VICTIM6), { source, destination: VICTIM6, nextHeader: 6 }), `SYN from ${source}`);
    attack(t, world, ipv6(udp(pattern(20), source, VICTIM6), { source, destination: VICTIM6 }), `UDP from ${source}`);
    attack(t, world, ipv6(icmpv6(128, 0, 1, pattern(8), source, VICTIM6), { source, destination: VICTIM6, nextHeader: 58 }), `echo from ${source}`);
    t.equal(ip6[counter] - before, 3, `${counter} tells`);
  }
  t.ok(world.serves() < 2000, 'the neighbour is served');
  t.equal(world.close(), 0);
});

t.test('land: a SYN from our own address and port', async (t) => {
  const world = new World();
  world.listen(80);
  for (let i = 0; i < 1000; i++) world.queue(ipv4(syn(VICTIM, VICTIM, 80, 80), { source: VICTIM, destination: VICTIM, protocol: 6 }));
  world.flush();
  world.run(1000);
  t.equal(world.victim.ip.ip4.InOwnSource, 1000);
  t.equal(world.victim.tcp.connections, 0);
  t.equal(world.packetsOut, 0);
  world.serves();
  t.equal(world.close(), 0);
});

t.test('to everybody: TCP takes nothing (MUST-57), and nobody is made to answer many', async (t) => {
  const world = new World();
  world.listen(80);
  for (const destination of ['255.255.255.255', '10.90.255.255', '224.0.0.1']) {
    const before = world.counters.InErrs;
    attack(t, world, ipv4(syn('10.90.9.9', destination), { source: '10.90.9.9', destination, protocol: 6 }), `SYN to ${destination}`);
    t.equal(world.counters.InErrs, before + 1, 'counted');
    attack(t, world, ipv4(udp(pattern(20), '10.90.9.9', destination), { source: '10.90.9.9', destination }), `UDP to nobody at ${destination}`);
    attack(t, world, ipv4(icmp(8, 0, 1, pattern(8)), { source: '10.90.9.9', destination, protocol: 1 }), `smurf at ${destination}`);
  }
  attack(t, world, ipv6(syn('fd90::9', 'ff02::1'), { source: 'fd90::9', destination: 'ff02::1', nextHeader: 6 }), 'SYN to ff02::1');
  attack(t, world, ipv6(udp(pattern(20), 'fd90::9', 'ff02::1'), { source: 'fd90::9', destination: 'ff02::1' }), 'UDP to ff02::1');
  for (const destination of ['127.0.0.1', '10.90.0.3', '8.8.8.8', '0.0.0.0', '240.0.0.1', '224.1.2.3']) {
    attack(t, world, ipv4(syn('10.90.9.9', destination), { source: '10.90.9.9', destination, protocol: 6 }), `SYN to ${destination}`);
  }
  t.equal(world.close(), 0);
});

t.test('a connection from an address that is no host is not opened by us either', async (t) => {
  const world = new World();
  const peer = new Peer(world, 7, { address: '10.90.1.1' });
  world.listen(80);
  peer.open();
  t.equal(world.victim.tcp.connections, 1, 'the world itself works');
  t.equal(world.close(), 0);
});
