/**
 * ACKs that lie (Savage, Cardwell, Wetherall, Anderson: TCP Congestion Control with a Misbehaving Receiver): of what was
 * never sent, of what has not arrived, a byte at a time, the same again and again; and two ends that disagree.
 */

import t from 'tap';
import type { Tcb } from '../../lib/tcp/tcb.ts';
import { Pair, tcbOf } from '../sim/pair.ts';
import { Peer, World, writes } from './world.ts';

function sending(options: ConstructorParameters<typeof World>[0] = {}, peerOptions: ConstructorParameters<typeof Peer>[2] = {}) {
  const world = new World(options);
  world.listen(80, (socket) => writes(socket));
  const peer = new Peer(world, 7, { mss: 1460, ws: 7, ...peerOptions }).open();
  return { world, peer, tcb: world.tcbOf(peer)! };
}

t.test('ACK of what was never sent: challenged, a limited number of times', async (t) => {
  const { world, peer, tcb } = sending();
  const { cwnd, sndUna } = tcb;
  const before = world.packetsOut;
  for (let i = 0; i < 5000; i++) peer.send({ flags: '.', ack: (tcb.sndNxt + 1 + i * 100_000) | 0 });
  t.equal(tcb.cwnd, cwnd, 'cwnd has not moved');
  t.equal(tcb.sndUna, sndUna);
  t.ok(world.packetsOut - before <= 2, `${world.packetsOut - before} answers to 5000`);
  t.equal(world.counters.BadAcks, 5000);
  t.ok(world.serves() < 2000);
  t.equal(world.close(), 0);
});

t.test('ACK of data before it arrives: neither cwnd nor memory run away', async (t) => {
  for (const congestion of ['cubic', 'newreno', 'bbr']) {
    const { world, peer, tcb } = sending({ tcp: { congestion, sndbuf: { max: 1 << 20 } } });
    const { sndbufMax } = world.victim.tcp.config;
    peer.keep = false;
    let flight = 0;
    for (let i = 0; i < 500; i++) {
      peer.send({ flags: '.', ack: tcb.sndNxt });
      flight = Math.max(flight, tcb.flight);
      // At a gigabit a second, and yet without any round trip.
      if (i % 8 === 0) world.run(1);
    }
    t.ok(flight <= sndbufMax, `${congestion}: ${flight} in flight at most`);
    t.ok(tcb.cwnd <= 4 * sndbufMax, `${congestion}: cwnd ${tcb.cwnd}`);
    t.ok(world.blocksInUse * 8192 <= 2 * sndbufMax, `${congestion}: ${world.blocksInUse} blocks`);
    world.check();
    t.ok(world.serves() < 3000, `${congestion}: the neighbour is served`);
    t.equal(world.close(), 0);
  }
});

t.test('a byte at a time: cwnd grows by bytes, not by ACKs', async (t) => {
  const grown = (step: number): number => {
    const { world, peer, tcb } = sending();
    const from = tcb.sndUna;
    const before = tcb.cwnd;
    const end = (tcb.sndUna + 10 * 1460) | 0;
    world.run(20);
    for (let at = step; at <= 14_600; at += step) peer.send({ flags: '.', ack: (from + at) | 0 });
    if (((tcb.sndUna - end) | 0) < 0) peer.send({ flags: '.', ack: end });
    const result = tcb.cwnd - before;
    t.equal(world.close(), 0);
    return result;
  };
  const honest = grown(1460);
  for (const step of [1, 7, 100, 730]) t.ok(grown(step) <= honest + 1460, `ACKs of ${step} bytes: ${grown(step)}, of a segment: ${honest}`);
});

function duplicates(tcb: Tcb, peer: Peer, count: number): number {
  const before = tcb.sndNxt;
  for (let i = 0; i < count; i++) peer.send({ flags: '.', ack: tcb.sndUna });
  return (tcb.sndNxt - before) | 0;
}

t.test('duplicate ACKs that nothing caused: no more leaves than was in flight (RFC 5681 section 6)', async (t) => {
  for (const sack of [false, true]) {
    const { world, peer, tcb } = sending({}, { sack });
    // Up to a flight of some size.
    for (let i = 0; i < 12; i++) {
      world.run(10);
      peer.send({ flags: '.', ack: tcb.sndNxt });
    }
    const { flight } = tcb;
    const more = duplicates(tcb, peer, 5000);
    t.ok(more <= flight, `${sack ? 'with' : 'without'} SACK: ${more} bytes more, ${flight} were in flight`);
    const { bytesRetrans } = tcb;
    t.ok(bytesRetrans <= flight, `${bytesRetrans} sent again`);
    world.check();
    // It goes on when the peer behaves.
    for (let i = 0; i < 50; i++) {
      world.run(100);
      peer.send({ flags: '.', ack: peer.ack });
    }
    t.ok(tcb.bytesAcked > 3 * flight, 'the connection lives');
    t.ok(world.serves() < 2000);
    t.equal(world.close(), 0);
  }
});

t.test('two ends that disagree do not answer each other for ever', async (t) => {
  const pair = new Pair();
  const [client] = pair.connect();
  const [a, b] = [tcbOf(pair.a), tcbOf(pair.b)];
  pair.for(1e6);
  // Somebody has made each believe that the other sent more than it did.
  for (const tcb of [a, b]) {
    tcb.rcvNxt = (tcb.rcvNxt + 1000) as typeof tcb.rcvNxt;
    tcb.rcvRead = tcb.rcvNxt;
    tcb.rcvAdv = (tcb.rcvAdv + 1000) as typeof tcb.rcvAdv;
  }
  const packets = (): number => pair.a.stack.ip.ip4.OutRequests + pair.b.stack.ip.ip4.OutRequests;
  const before = packets();
  client.send(new Uint8Array(10), 0, 10);
  pair.clock.advance(60e6);
  const storm = packets() - before;
  t.ok(storm < 60 * 30, `${storm} packets in a minute`);
  t.ok(storm > 0);
  client.abort();
  pair.a.close();
  pair.b.close();
});
